"""Runs that record every 100th step, and metrics of any name: what the pages draw of them."""

import itertools
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from streamlit.testing.v1 import AppTest

from app.charts import curves_below
from app.charts.heatmap import heatmap
from app.charts.metric import Metric, in_order
from app.charts.metrics import HITS, metric_curves
from app.charts.theme import lines
from collector import Collector
from tests.app import stride_log
from tests.app.figures import LAYERS, in_depth_order, metric, row_cells
from tests.app.test_bounds import decoded
from tests.app.test_pages import figure, text
from tests.collector.emitter import Emitter

OpenPage = Callable[..., AppTest]

pytestmark = pytest.mark.filterwarnings("ignore:.*nanobind.*")


@pytest.fixture(scope="module")
def strides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stride_log.build(tmp_path_factory.mktemp("strides"))


def open_at(open_page: OpenPage, name: str, root: Path, *runs: str, **query: str) -> AppTest:
    page = open_page("runs", root, *runs)
    for key, value in query.items():
        page.query_params[key] = value
    return page.go_to(name)


def drawn_cells(page: AppTest, key: str) -> list[dict]:
    return [trace for trace in figure(page, key)["data"] if trace["type"] == "heatmap"]


def filled(trace: dict) -> float:
    """The share of the cells that have a value."""
    return float(np.isfinite(np.asarray(decoded(trace["z"]), dtype=float)).mean())


@pytest.mark.parametrize(("run", "width"), [("hundred", 100), ("sixtyfour", 64), ("one", 2)])
def test_every_cell_of_the_heatmap_is_filled(open_page: OpenPage, strides: Path, run: str, width: int):
    """A cell is as wide as the run's stride, or as the plot needs it: 1000 steps do not fit into 600 pixels."""
    (trace,) = drawn_cells(open_page("layers", strides, run), "heatmap")
    assert trace["dx"] == width
    assert filled(trace) == 1


def test_a_zoom_into_less_than_a_stride_shows_the_cell_that_it_lies_in(open_page: OpenPage, strides: Path):
    page = open_at(open_page, "layers", strides, "hundred", steps="130-150")
    assert not page.exception
    (trace,) = drawn_cells(page, "heatmap")  # there is nothing finer to fetch
    assert (trace["dx"], filled(trace)) == (100, 1)
    (before,) = (each for each in figure(page, "layer_curve")["data"] if each["name"] == "before clipping")
    assert list(decoded(before["x"])) == [100]  # the step that was recorded, not its cell's middle
    assert "one of every 100 steps was recorded; each is a cell" in text(page)
    assert "In no recorded step of these could the layer be clipped" in text(page)


@pytest.mark.parametrize(("at", "step"), [(1, 1), (2, 1), (50, 1), (99, 1), (100, 100), (450, 400), (1000, 1000)])
def test_one_layer_is_told_at_the_last_step_that_was_recorded(open_page: OpenPage, strides: Path, at: int, step: int):
    page = open_at(open_page, "layers", strides, "hundred", at=str(at), layer="conv.weight")
    assert f"**At step {step:,}:** ‖w‖ {step / 100:g} / ‖update‖ 1" in text(page)


def test_part_of_a_stride_is_shown_by_the_step_before_it(open_page: OpenPage, strides: Path):
    assert "**At step 1:**" in text(open_at(open_page, "layers", strides, "hundred", steps="2-90"))


def test_norms_are_compared_with_those_of_a_step_by_name(open_page: OpenPage, strides: Path):
    page = open_at(open_page, "layers", strides, "hundred", at="100", layer="conv.weight")
    assert "Since step 1: the update +0.0 %, the weights grew 100×." in text(page)
    page = open_at(open_page, "layers", strides, "hundred", at="200", layer="conv.weight")
    assert "Since step 100: the update +0.0 %, the weights grew 2×." in text(page)


@pytest.mark.parametrize(("at", "said"), [(380, "**At step 100:**"), (9, "Neither step 9 nor any before it was")])
def test_a_gap_of_the_log_shows_the_step_before_it(open_page: OpenPage, tmp_path: Path, at: int, said: str):
    """As GradScaler leaves one: of steps that it skips there are no rows."""
    emitter = Emitter(["a.0.q", "a.1.q"])
    with Collector(emitter, tmp_path, name="r"):
        for step in range(1, 401):
            emitter.say(step, None if 10 <= step <= 100 or step > 390 else torch.full((7, 2), torch.nan))
    assert said in text(open_at(open_page, "layers", tmp_path, "r", at=str(at)))


def test_the_hover_tells_the_step_that_was_recorded(open_page: OpenPage, strides: Path):
    (trace,) = drawn_cells(open_page("layers", strides, "hundred"), "heatmap")
    assert "step %{customdata[1]:,.0f}, the one of 100 that was recorded" in trace["hovertemplate"]
    recorded = np.asarray(decoded(trace["customdata"]), dtype=float).reshape(3, -1, 2)[0, :, 1]
    assert list(recorded) == [1, *range(100, 1001, 100)]


def test_the_hit_map_has_no_empty_cell(open_page: OpenPage, strides: Path):
    (trace,) = drawn_cells(open_page("clipping", strides, "hundred"), "hit_map")
    assert (trace["dx"], filled(trace)) == (100, 1)


def test_that_a_layer_took_one_step_in_20_does_not_mean_that_one_in_20_was_recorded(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As an expert does that few tokens reach."""
    emitter = Emitter(["dense", "expert"])
    with Collector(emitter, tmp_path, name="r"):
        for step in range(1, 2001):
            table = torch.full((7, 2), 1 + step / 1000)
            table[:, 1:] *= 1.0 if step % 20 == 0 else torch.nan
            emitter.say(step, table)
    monkeypatch.setattr("app.plotly_view.WIDTHS", (250,))
    page = open_at(open_page, "layers", tmp_path, "r", layers="expert", layer="expert")
    assert "100 rows → 100 cells, a cell for 8 steps." in text(page)
    assert "A point for 4 steps, of which the layer took one at most." in text(page)
    (trace,) = drawn_cells(page, "heatmap")
    assert "8 steps around step %{x:,.0f}" in trace["hovertemplate"]


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ("conv.weight", "clipped in **45.5%** of 11 recorded steps, first at step 600, last at step 1,000"),
        ("fc.weight", "never clipped in 11 recorded steps"),
    ],
)
def test_how_often_a_layer_was_clipped_is_told_of_recorded_steps(
    open_page: OpenPage, strides: Path, layer: str, said: str
):
    assert said in text(open_at(open_page, "layers", strides, "hundred", layer=layer))


def test_where_a_resume_changed_the_stride_a_share_says_which_steps_have_most_of_it(
    open_page: OpenPage, tmp_path: Path
):
    stride_log.write(tmp_path, "r", 1, last=800, clip=5)
    stride_log.write(tmp_path, "r", 100, first=801, last=4000, resume=True, clip=5)
    # Of 800 + 32 steps of three layers one is clipped in 300 + 32.
    of = "recorded layer-steps, 96.2% of which are of steps 1 to 800"
    assert f"clip hits are of {of}" in text(open_page("runs", tmp_path, "r"))
    assert f"clipped in **13.3%** of its {of}; no layer" in text(open_page("clipping", tmp_path, "r"))
    assert f"clipped itself, in 13.3% of its {of}: its" in text(open_page("bounds", tmp_path, "r"))


def test_of_steps_that_are_not_recorded_bounds_says_so(open_page: OpenPage, strides: Path):
    page = open_at(open_page, "bounds", strides, "hundred", part="steps", between="110-190")
    assert "None of steps 110 to 190 is recorded. Choose another part of training." in text(page)
    assert not page.code


def test_nor_is_there_a_bound_of_the_steps_before_a_run_begins(open_page: OpenPage, tmp_path: Path):
    stride_log.write(tmp_path, "late", 1, first=201)
    page = open_at(open_page, "bounds", tmp_path, "late", part="first")
    assert "None of steps 1 to 100 is recorded." in text(page)


def test_that_none_of_some_steps_before_it_diverged_is_recorded_does_not_say_that_none_is(
    open_page: OpenPage, tmp_path: Path
):
    stride_log.write(tmp_path, "broken", 100, {250: {"train/loss": math.nan}})
    page = open_at(open_page, "bounds", tmp_path, "broken", part="steps", between="210-300")
    (said,) = (each.value for each in page.error)
    assert said == (
        "**This run diverged at step 250**: none of steps 210 to 237 before that is recorded. No bound is suggested."
    )


@pytest.mark.parametrize(("one", "other", "width"), [("hundred", "sixtyfour", 100), ("sixtyfour", "one", 64)])
def test_two_runs_are_compared_in_cells_of_the_larger_stride(
    open_page: OpenPage, strides: Path, one: str, other: str, width: int
):
    (trace,) = drawn_cells(open_page("compare", strides, one, other), "difference_map")
    assert (trace["dx"], filled(trace)) == (width, 1)


def test_a_run_is_said_to_stand_at_the_step_that_it_took_recorded_or_not(open_page: OpenPage, tmp_path: Path):
    emitter = Emitter(["a"])
    with suppress(RuntimeError), Collector(emitter, tmp_path, name="r", every=1000):
        for step in range(1, 481):
            emitter.say(step)
        raise RuntimeError
    page = open_page("runs", tmp_path, "r")
    assert sum("failed at step 480" in each.value for each in page.sidebar.markdown) == 1
    assert sum("failed at step 480" in each.value for each in page.main.markdown) == 1
    assert "480 steps" in text(page)


def names_drawn(page: AppTest) -> list[str]:
    return [trace["name"] for trace in figure(page, "heatmap")["data"] if trace["type"] == "scatter"]


def test_every_metric_is_drawn_under_the_heatmap_or_it_is_said_how_many_are(open_page: OpenPage, strides: Path):
    page = open_page("layers", strides, "hundred")
    assert names_drawn(page) == [
        "eval_loss", "loss", "train_loss", "grad_norm", "learning_rate", "epoch", "eval_runtime", "train_runtime",
    ]  # fmt: skip
    assert not any(each.key == "below" for each in page.multiselect)


def test_of_500_metrics_some_are_drawn_and_the_others_can_be_chosen(open_page: OpenPage, strides: Path):
    page = open_page("layers", strides, "many")
    assert names_drawn(page)[0] == "loss"
    choice = next(each for each in page.multiselect if each.key == "below")
    assert choice.placeholder == f"{len(names_drawn(page))} of 500 metrics are drawn: choose others"
    assert len(choice.options) == 500
    choice.set_value(["probe3/m402", "probe0/m0"]).run()
    assert names_drawn(page) == ["probe0/m0", "probe3/m402"]
    assert "2 of 500 metrics are drawn." in text(page)
    again = open_page("runs", strides, "many")
    again.query_params["below"] = ["probe3/m402"]
    again.go_to("layers")
    assert names_drawn(again) == ["probe3/m402"]


def test_a_metric_over_tokens_has_an_axis_of_its_own(open_page: OpenPage, strides: Path):
    layout = figure(open_page("layers", strides, "tokens"), "heatmap")
    (loss,) = (trace for trace in layout["data"] if trace["name"] == "loss")
    assert loss["xaxis"] != "x"
    own = layout["layout"][f"xaxis{loss['xaxis'][1:]}"]
    assert own["title"]["text"] == "step, as it was logged"
    assert list(decoded(loss["x"]))[-1] == 1000 * 4096
    assert drawn_cells(open_page("layers", strides, "tokens"), "heatmap")[0]["dx"] == 100
    compared = figure(open_page("compare", strides, "tokens"), "compare")
    place = {trace["xaxis"]: trace for trace in compared["data"]}
    axes = {key: axis for key, axis in compared["layout"].items() if key.startswith("xaxis")}
    (own,) = (key for key, axis in axes.items() if axis["title"].get("text") == "step, as it was logged")
    assert "matches" not in axes[own]
    assert max(decoded(place[own.replace("axis", "")]["x"])) == 1000 * 4096


def test_compare_has_a_panel_a_metric_those_of_a_prefix_together(open_page: OpenPage, strides: Path):
    page = open_page("compare", strides, "hundred")
    titles = [said["text"] for said in figure(page, "compare")["layout"]["annotations"]]
    assert titles == [
        "<b>eval_loss</b>", "<b>loss</b>", "<b>train_loss</b>", "<b>Clip hits</b>",
        "<b>Other metrics</b>", "<b>grad_norm</b>", "<b>learning_rate</b>", "<b>epoch</b>",
        "<b>eval</b>", "<b>eval_runtime</b>", "<b>train</b>", "<b>train_runtime</b>",
    ]  # fmt: skip


@pytest.mark.parametrize("by", ["epoch", "time"])
def test_metrics_over_tokens_are_drawn_along_epochs_and_time_too(open_page: OpenPage, strides: Path, by: str):
    page = open_at(open_page, "compare", strides, "tokens", "hundred", along=by)
    assert not page.exception


def test_a_run_without_an_accuracy_shows_its_loss(open_page: OpenPage, strides: Path):
    page = open_page("runs", strides, "hundred", "sixtyfour", "tokens")
    shown = {metric.label: metric.value for metric in page.metric if metric.label != "Clip hits"}
    assert shown == {
        "Validation loss": f"{6 / np.log(1000):.4g}",
        "Validation accuracy": "95.0%",  # logged as 95
        "Test accuracy": "75.0%",
    }
    table = page.dataframe[0].value.set_index("run")
    assert table.loc["hundred", "loss"] == pytest.approx(6 / np.log(1000))
    assert pd.isna(table.loc["hundred", "best"])
    assert table.loc["sixtyfour", "best"] == pytest.approx(0.95)


def test_settings_without_an_accuracy_are_compared_by_their_loss(open_page: OpenPage, strides: Path):
    page = open_page("compare", strides, "hundred", "many")
    assert {metric.label: metric.value for metric in page.metric} == {
        "hundred": f"{6 / np.log(1000):.4g}",
        "many": "2",
    }
    assert not any(metric.delta for metric in page.metric)  # validation against training says nothing


def test_panels_are_of_a_quantity_and_steps_of_their_own_come_last():
    names = [metric("lr"), metric("train/loss", own_steps=True), metric("test/loss"), metric("train/loss")]
    curve = pd.DataFrame({"step": [1, 2], "value": [0.5, 0.6]})
    stack = curves_below.stacked(dict.fromkeys(in_order(names), curve))
    assert [[each.name for each in panel] for panel in stack] == [["test/loss", "train/loss"], ["lr"], ["train/loss"]]
    drawn = heatmap(row_cells(), stack=in_depth_order(LAYERS), curves=dict.fromkeys(names, curve))
    assert drawn.layout.xaxis.anchor == "y3"  # under the panels that lie along its steps
    domains = [drawn.layout[f"yaxis{number}"].domain for number in ("", 2, 3, 4)]
    assert all(above[0] >= below[1] for above, below in itertools.pairwise(domains))


def test_names_that_differ_in_case_alone_have_lines_of_their_own():
    curve = pd.DataFrame({"step": [1, 2], "value": [0.5, 0.6]})
    names = [Metric(name, "train", "loss", "log") for name in ("Loss", "loss", "LOSS ")]
    drawn = heatmap(row_cells(), stack=in_depth_order(LAYERS), curves=dict.fromkeys(names, curve))
    assert [trace.name for trace in drawn.data[1:]] == ["Loss", "loss", "LOSS "]
    assert len({trace.line.dash for trace in drawn.data[1:]}) == 3


@pytest.mark.parametrize(("largest", "written"), [(0.9, ".3~p"), (92.0, "~g")])
def test_an_accuracy_above_1_is_a_percentage_already(largest: float, written: str):
    curve = pd.DataFrame({"step": [1, 2], "value": [0.5, largest]})
    drawn = metric_curves({("a", metric("validation/accuracy")): curve}, lines=lines(["a"]))
    assert drawn.layout.yaxis.tickformat == written


def test_metrics_that_everybody_looks_at_come_first_and_bookkeeping_last():
    names = ["epoch", "zeta", "m10", "m2", "grad_norm", "train/loss", "eval_runtime", "test/loss", "test/accuracy"]
    found = [each.name for each in in_order([*map(metric, names)])]
    assert found == [
        "test/accuracy",
        "test/loss",
        "train/loss",
        "grad_norm",
        "m2",
        "m10",
        "zeta",
        "epoch",
        "eval_runtime",
    ]
    assert HITS.name not in found
