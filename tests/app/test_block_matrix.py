"""One step of a run: families by blocks."""

import numpy as np
import pandas as pd

from app.charts.block_matrix import block_matrix


def layers(*rows):
    return pd.DataFrame(rows, columns=["layer", "family", "block", "change"])


def test_a_cell_is_the_layer_of_a_block_that_is_furthest_from_its_usual():
    found = layers(
        ("b.0.e.0.w", "b.*.e.*.w", 0, 1.5),
        ("b.0.e.1.w", "b.*.e.*.w", 0, 0.1),
        ("b.1.e.0.w", "b.*.e.*.w", 1, 3.0),
        ("head", "head", np.nan, 9.0),
    )
    figure = block_matrix(found, chosen="b.1.e.0.w")
    (cells,) = figure.data
    assert np.allclose(10.0**cells.z, [[0.1, 3.0]])
    assert [name for _, name in cells.customdata[0]] == ["b.0.e.1.w", "b.1.e.0.w"]
    assert (figure.layout.shapes[0].x0, figure.layout.shapes[0].x1) == (0.5, 1.5)


def test_what_is_not_finite_is_struck_out_and_two_labels_that_are_shortened_alike_stay_two_rows():
    names = [f"encoder.*.a.very.long.name.{kind}.of.a.layer.that.goes.on" for kind in "ab"]
    rows = [(name.replace("*", str(block)), name, block, 1.0) for name in names for block in (0, 1)]
    rows[0] = (*rows[0][:3], np.nan)
    figure = block_matrix(layers(*rows), left=60)
    assert len(set(figure.data[0].y)) == 2
    assert list(figure.data[1].y) == [names[0]]


def test_without_blocks_there_is_no_matrix():
    assert block_matrix(layers(("a", "a", np.nan, 1.0), ("b.0.w", "b.*.w", 0, 1.0))) is None
