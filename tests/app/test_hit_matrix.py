"""How often layers are clipped: families by blocks."""

import numpy as np
import pandas as pd
import pytest

from app.charts.hit_matrix import hit_matrix
from app.charts.theme import LIGHT
from tests.dashboard_log import HOSTILE_LAYER

COLUMNS = ["layer", "family", "block", "upper_rate", "lower_rate"]


def rates(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS)


EXPERTS = (
    ("b.0.e.0.w", "b.*.e.*.w", 0, 0.2, 0.0),
    ("b.0.e.1.w", "b.*.e.*.w", 0, 0.9, 0.0),
    ("b.0.q", "b.*.q", 0, 0.0, 0.0),
    ("b.1.e.0.w", "b.*.e.*.w", 1, 0.1, 0.4),
    ("b.1.q", "b.*.q", 1, np.nan, np.nan),
)
ALONE = ("head.weight", "head.weight", np.nan, 0.5, 0.0)


def test_a_cell_is_the_layer_of_a_block_that_was_clipped_most():
    (cells,) = hit_matrix(rates(*EXPERTS)).data
    assert list(cells.y) == ["b.*.e.*.w", "b.*.q"]
    assert np.array_equal(cells.z, [[0.9, -0.4], [0, np.nan]], equal_nan=True)
    upper, lower, name, more = cells.customdata[0][0]
    assert (upper, lower, name, more) == (0.9, 0.0, "b.0.e.1.w", "<br>the most clipped of its 2")
    assert cells.customdata[1][0][3] == ""


def test_where_no_lower_bound_cuts_the_colours_have_one_side():
    scale = hit_matrix(rates(*EXPERTS).assign(lower_rate=0.0)).layout.coloraxis
    assert (scale.cmin, scale.cmax, scale.colorscale[-1][1]) == (0, 1, LIGHT.upper)
    assert hit_matrix(rates(*EXPERTS)).layout.coloraxis.cmin == -1


def test_layers_of_no_family_have_boxes_of_their_own_below():
    figure = hit_matrix(rates(*EXPERTS, ALONE, (HOSTILE_LAYER, HOSTILE_LAYER, np.nan, np.nan, np.nan)))
    _, others = figure.data
    assert np.array_equal(others.z, [[0.5, np.nan]], equal_nan=True)
    assert others.text[0][0] == "head"
    assert others.customdata[0][0][2] == "head.weight"
    assert figure.layout.yaxis2.domain[1] < figure.layout.yaxis.domain[0]
    assert "<img" not in figure.to_json().replace("\\u003c", "<")


@pytest.mark.parametrize(
    "rows", [[ALONE], [EXPERTS[0], EXPERTS[3], *[(f"l{n}", f"l{n}", np.nan, 0, 0) for n in range(3)]]]
)
def test_where_families_tell_too_little_there_is_no_matrix(rows):
    assert hit_matrix(rates(*rows)) is None
