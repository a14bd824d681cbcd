import itertools
import math

import numpy as np
import pandas as pd
import pytest

from app.charts.bands import Member, stack
from app.charts.heatmap import heatmap
from app.charts.theme import DARK, LIGHT
from tests.app.figures import LAYERS, in_depth_order, metric, row_cells, texts
from tests.dashboard_log import HOSTILE_LAYER

DEPTH = in_depth_order(LAYERS)


def test_a_ratio_is_drawn_as_its_logarithm_and_said_as_itself():
    trace = heatmap(row_cells(), stack=DEPTH).data[0]
    assert np.allclose(trace.z.ravel(), np.linspace(-2, 2, 12))
    assert np.allclose(trace.customdata.ravel(), np.geomspace(0.01, 100, 12))
    assert "%{customdata:" in trace.hovertemplate


def test_layers_go_down_in_the_order_given():
    figure = heatmap(row_cells(layers=LAYERS[::-1]), stack=in_depth_order(LAYERS[::-1]))
    assert list(figure.data[0].y) == LAYERS[::-1]
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]
    assert np.allclose(figure.data[0].customdata[0], np.geomspace(0.01, 100, 12)[8:])


def test_nearly_all_steps_are_not_all_of_them_and_hardly_any_not_none():
    shares = [0.9999999, 0.00004, 0.5, 1.0] * 3
    for cells in (row_cells(hit_rate=shares), row_cells(width=64, hit_rate=shares)):
        trace = heatmap(cells, stack=DEPTH, value="hit_rate").data[0]
        assert "%{customdata:.4~p}" in trace.hovertemplate or "%{customdata[0]:.4~p}" in trace.hovertemplate
        said = np.asarray(trace.customdata, dtype=float).reshape(3, 4, -1)[0, :, -1]
        assert [f"{100 * share:.4g}%" for share in said] == ["99.99%", "0.004%", "50%", "100%"]


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_one_has_the_middle_colour_and_the_scale_is_the_same_on_both_sides(theme):
    axis = heatmap(row_cells(), stack=DEPTH, theme=theme).layout.coloraxis
    assert axis.cmin == -axis.cmax
    assert axis.colorscale[len(axis.colorscale) // 2][1] == theme.diverging[len(theme.diverging) // 2]


def test_the_ratio_before_and_after_clipping_have_one_scale():
    before, after = (heatmap(row_cells(), stack=DEPTH, value=value) for value in ("trust_ratio", "clipped_ratio"))
    assert before.layout.coloraxis.cmax == after.layout.coloraxis.cmax


def test_one_wild_layer_leaves_the_others_their_colours():
    ratios = [1.0] * 11 + [1e9]
    assert heatmap(row_cells(trust_ratio=ratios), stack=DEPTH).layout.coloraxis.cmax == 2


def test_the_colour_bar_is_labelled_in_ratios_and_marks_the_bound():
    bar = heatmap(row_cells(), stack=DEPTH, bound=3.0).layout.coloraxis.colorbar
    labels = dict(zip(bar.ticktext, bar.tickvals, strict=True))
    assert labels["1"] == 0
    assert labels["10"] == 1
    assert labels["<b>3 bound</b>"] == pytest.approx(math.log10(3))


@pytest.mark.parametrize(("bound", "end"), [(90.0, False), (3.0, True)])
def test_the_bound_is_not_written_over_the_end_of_the_colour_bar(bound: float, end: bool):
    ratios = [1.0] * 11 + [1e9]
    bar = heatmap(row_cells(trust_ratio=ratios), stack=DEPTH, bound=bound).layout.coloraxis.colorbar
    assert f"<b>{bound:g} bound</b>" in bar.ticktext
    assert ("≥ 100" in bar.ticktext) == end


def test_a_share_goes_from_never_to_always():
    figure = heatmap(row_cells(), stack=DEPTH, value="hit_rate")
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)
    assert figure.data[0].z.max() == 0.5


def test_a_cell_of_many_steps_lies_over_all_of_them():
    trace = heatmap(row_cells(width=10), stack=DEPTH).data[0]
    assert trace.x0 - trace.dx / 2 == 0.5  # step 1 begins here
    assert trace.x0 + 3.5 * trace.dx == 40.5  # and step 40 ends here


def test_finer_cells_lie_over_the_others():
    figure = heatmap(row_cells(width=10), detail=row_cells(), shown=(1, 4), stack=DEPTH)
    assert [trace.dx for trace in figure.data] == [10, 1]
    assert tuple(figure.layout.xaxis.range) == (0.5, 4.5)


def test_a_layer_without_rows_in_a_cell_leaves_a_hole():
    trace = heatmap(row_cells().drop(index=5), stack=DEPTH).data[0]
    assert np.isnan(trace.z[1, 1])
    assert np.isnan(trace.z).sum() == 1


@pytest.mark.parametrize("odd", [0.0, math.nan, math.inf])
def test_a_value_that_has_no_logarithm_breaks_nothing(odd):
    for value in ("trust_ratio", "weight_norm"):
        figure = heatmap(row_cells(**{value: [odd] * 12}), stack=DEPTH, value=value)
        assert math.isfinite(figure.layout.coloraxis.cmin)


def test_curves_share_the_axis_of_the_steps():
    curve = pd.DataFrame({"step": range(1, 5), "value": 0.5})
    names = ("test/accuracy", "train/loss", "lr")
    figure = heatmap(row_cells(), stack=DEPTH, curves={metric(name): curve for name in names})
    assert [trace.name for trace in figure.data[1:]] == list(names)
    assert {trace.xaxis or "x" for trace in figure.data} == {"x"}


def test_a_hostile_name_is_text():
    figure = heatmap(row_cells(), stack=in_depth_order([*LAYERS[:2], HOSTILE_LAYER]))
    assert HOSTILE_LAYER in texts(figure)
    assert not any("<img" in name for name in (*figure.data[0].y, *figure.layout.yaxis.ticktext))
    assert max(len(tick) for tick in figure.layout.yaxis.ticktext) < 60
    assert HOSTILE_LAYER not in figure.data[0].hovertemplate


def test_blocks_of_layers_have_a_gap_between_them():
    assert [shape.y0 for shape in heatmap(row_cells(), stack=DEPTH).layout.shapes] == [1.5]  # conv | fc


def test_rows_too_thin_for_names_are_named_by_their_blocks():
    many = [f"encoder.{block}.part{part}.weight" for block in range(10) for part in range(30)]
    axis = heatmap(row_cells(), stack=in_depth_order(many)).layout.yaxis
    assert list(axis.ticktext) == [f"encoder.{block}" for block in range(10)]
    assert axis.tickvals[0] == "encoder.0.part14.weight"  # the middle of its block


def places_named(figure, layers):
    """Where the names beside the rows stand, in pixels from the top of the rows, which are of one height."""
    height = in_depth_order(layers).height / len(layers)
    return [(layers.index(said) + 0.5) * height for said in figure.layout.yaxis.tickvals]


def gpt(blocks):
    inner = [f"model.layers.{block}.part{part}.weight" for block in range(blocks) for part in range(10)]
    return ["model.embed.weight", *inner, "model.norm.weight", "lm_head.weight"]


@pytest.mark.parametrize(("count", "every"), [(12, 1), (30, 1), (64, 2)])
def test_of_many_blocks_every_nth_is_named(count, every):
    names = gpt(count)
    figure = heatmap(row_cells(), stack=in_depth_order(names))
    numbers = [int(text.split(".")[2]) for text in figure.layout.yaxis.ticktext if text.startswith("model.layers.")]
    assert {later - former for former, later in itertools.pairwise(numbers)} == {every}
    assert len(numbers) >= count // every - 2  # those at the ends may be too near to others


@pytest.mark.parametrize("count", [7, 12, 30, 64, 70])
def test_no_name_beside_the_rows_lies_on_another(count):
    names = gpt(count)
    places = places_named(heatmap(row_cells(), stack=in_depth_order(names)), names)
    assert len(places) > 5
    assert all(below - above >= 11 for above, below in itertools.pairwise(places))


@pytest.mark.parametrize(("width", "numbers"), [(1, [1, 2]), (64, [2, 2])])
def test_one_layer_at_one_step_has_one_number_and_several_have_two(width, numbers):
    routers = [Member(f"b.{block}.router", "b.*.router", block) for block in range(300)]
    experts = [Member(f"b.{block}.e.{each}", "b.*.e.*", block) for block in range(300) for each in range(2)]
    figure = heatmap(row_cells(width), stack=stack([*routers, *experts], "kind"))
    assert [trace.hovertemplate.count("%{customdata") for trace in figure.data[:2]] == numbers


def test_an_axis_of_epochs_names_each_where_it_begins_and_no_more_than_a_dozen():
    epochs = pd.DataFrame({"epoch": range(30), "first_step": range(1, 31)})
    axis = heatmap(row_cells(), stack=DEPTH, epochs=epochs).layout.xaxis
    assert axis.title.text == "epoch"
    assert list(axis.ticktext) == [str(epoch) for epoch in range(0, 30, 3)]
    assert list(axis.tickvals)[:2] == [0.5, 3.5]
