"""The Layers page: which layers are shown, along what, and one of them."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest

from app.charts.theme import LIGHT
from collector import Collector, connect
from tests import unusual_log
from tests.app.test_bounds import decoded
from tests.app.test_pages import figure, text
from tests.collector.emitter import Emitter
from tests.dashboard_log import Training

OpenPage = Callable[..., AppTest]

pytestmark = pytest.mark.filterwarnings("ignore:.*nanobind.*")


def rows_shown(page: AppTest) -> list[str]:
    return list(figure(page, "heatmap")["layout"]["yaxis"]["categoryarray"])


def test_a_pattern_leaves_the_layers_that_it_means(open_page: OpenPage, log: Path):
    page = open_page("layers", log, "clipped")
    every = rows_shown(page)
    page.text_input(key="layers").set_value("*.bias").run()
    assert rows_shown(page) == [layer for layer in every if layer.endswith(".bias")] != []
    assert page.query_params["layers"] == "*.bias"
    page.text_input(key="layers").set_value("").run()
    assert rows_shown(page) == every
    assert "layers" not in page.query_params


def test_a_pattern_that_is_wrong_is_said_and_leaves_the_rest_of_the_page(open_page: OpenPage, log: Path):
    page = open_page("layers", log, "clipped")
    page.text_input(key="layers").set_value("/(/").run()
    assert not page.exception
    assert "no regular expression" in page.warning[0].value
    assert page.selectbox(key="layer").value
    page.text_input(key="layers").set_value("no such layer").run()
    assert not page.exception
    assert "No layer of this run is meant by that." in text(page)


def test_kinds_that_the_run_has_can_be_chosen(open_page: OpenPage, log: Path):
    page = open_page("layers", log, "clipped")
    every, kinds = rows_shown(page), page.pills(key="kinds")
    assert "bias" in kinds.options
    kinds.set_value(["bias"]).run()
    assert rows_shown(page) == [layer for layer in every if layer.endswith("bias")] != []
    assert page.query_params["kinds"] == "bias"


def test_the_axis_counts_epochs_where_there_are_some(open_page: OpenPage, log: Path):
    page = open_page("layers", log, "clipped")
    page.segmented_control(key="axis").set_value("epoch").run()
    assert figure(page, "heatmap")["layout"]["xaxis"]["title"]["text"] == "epoch"
    epochs = connect(log).sql("SELECT DISTINCT epoch FROM metrics WHERE run = 'clipped' ORDER BY epoch").fetchall()
    assert figure(page, "heatmap")["layout"]["xaxis"]["ticktext"] == [str(epoch) for (epoch,) in epochs]


def test_a_link_to_some_steps_shows_these_of_the_layer_too(open_page: OpenPage, log: Path):
    page = open_page("runs", log, "clipped")
    page.query_params["steps"] = "11-20"
    page.go_to("layers")
    assert figure(page, "heatmap")["layout"]["xaxis"]["range"] == [10.5, 20.5]
    (before,) = (each for each in figure(page, "layer_curve")["data"] if each["name"] == "before clipping")
    assert list(decoded(before["x"])) == list(range(11, 21))


def test_a_link_counts_until_the_browser_says_what_it_shows(open_page: OpenPage, log: Path):
    """The page may run again, for a run that trains, before the chart is drawn."""
    page = open_page("runs", log, "clipped")
    page.query_params["steps"] = "11-20"
    page.go_to("layers")
    page.run()
    assert figure(page, "heatmap")["layout"]["xaxis"]["range"] == [10.5, 20.5]
    assert page.query_params["steps"] == "11-20"


def test_where_a_norm_is_not_finite_the_layer_is_struck_out(open_page: OpenPage, tmp_path: Path):
    """Its ratio was set to 1, which has the page's colour."""
    page = open_page("layers", unusual_log.build(tmp_path), "unusual")
    (bar,) = (trace for trace in figure(page, "heatmap")["data"] if trace["name"] == "NaN or infinite")
    assert list(decoded(bar["x"]))[:2] == [149.5, 200.5]
    assert list(bar["y"]) == ["fc.weight", "fc.weight", None]
    assert r"In fc\.weight a norm is no finite number, first at step 150" in text(page)


def test_the_curve_of_a_layer_has_a_gap_where_there_is_no_ratio(open_page: OpenPage, tmp_path: Path):
    page = open_page("layers", unusual_log.build(tmp_path), "unusual")
    page.selectbox(key="layer").set_value("fc.weight").run()
    drawn = {trace["name"]: trace for trace in figure(page, "layer_curve")["data"]}
    before = dict(zip(decoded(drawn["before clipping"]["x"]), decoded(drawn["before clipping"]["y"]), strict=True))
    assert {step for step, ratio in before.items() if math.isnan(ratio)} == set(range(150, 201))
    assert "A gap is where no ratio could be taken" in text(page)


def test_a_layer_that_is_not_adapted_has_no_bounds_and_says_so(open_page: OpenPage, tmp_path: Path):
    emitter = Emitter(["a"])
    with Collector(emitter, tmp_path, name="outside"):
        for step in range(1, 11):
            emitter.say(step, torch.tensor([[4.0], [1.0], [4.0], [1.0], [1.0], [1.0], [0.01]]))
    page = open_page("layers", tmp_path, "outside")
    drawn = {trace["name"]: trace for trace in figure(page, "layer_curve")["data"]}
    assert not {"upper bound", "lower bound"} & set(drawn)
    assert "fill" not in drawn["before clipping"]
    assert "This layer is not adapted: its steps used 1" in text(page)
    assert "never clipped, since in none of its 10 steps it could be" in text(page)


@pytest.mark.parametrize(
    ("steps", "ratio", "said"),
    [
        (1, 4.0, "clipped in its only step, step 1"),
        (1, 1.0, "never clipped in 1 step"),
        (3, 4.0, "clipped in **100.0%** of 3 steps, first at step 1, last at step 3"),
    ],
)
def test_how_often_a_layer_was_clipped_is_said(open_page: OpenPage, tmp_path: Path, steps, ratio, said):
    emitter = Emitter(["a"])
    with Collector(emitter, tmp_path, name="r"):
        for step in range(1, steps + 1):
            emitter.say(step, torch.tensor([[ratio], [1.0], [ratio], [min(ratio, 2.0)], [0.0], [2.0], [0.01]]))
    (facts,) = (line for line in text(open_page("layers", tmp_path, "r")).split("\n") if "clipped in" in line)
    assert facts.endswith(said)


@pytest.mark.parametrize(("upper", "said"), [([3.0, 3.0, 5.0], ["<b>3 bound</b>"]), ([2.0, 3.0, 5.0], [])])
def test_the_bound_on_the_colour_bar_is_that_of_most_layers(open_page: OpenPage, tmp_path: Path, upper, said):
    emitter = Emitter(["a", "b", "c"])
    one = torch.ones(3)
    ratio = torch.tensor([0.1, 1.0, 10.0])
    with Collector(emitter, tmp_path, name="r"):
        for step in range(1, 4):
            emitter.say(step, torch.stack([ratio, one, ratio, ratio, 0 * one, torch.tensor(upper), 0.01 * one]))
    bar = figure(open_page("layers", tmp_path, "r"), "heatmap")["layout"]["coloraxis"]["colorbar"]
    assert [label for label in bar["ticktext"] if "bound" in label] == said


@pytest.mark.parametrize(
    ("steps", "said", "clipped"),
    [("1-100", ["10 bound"], False), ("101-200", ["1 bound"], True), ("51-140", [], False)],
)
def test_a_bound_is_that_of_the_steps_that_are_shown_and_none_where_it_moves_in_them(
    open_page: OpenPage, tmp_path: Path, steps: str, said: list[str], clipped: bool
):
    emitter = Emitter(["a", "b", "c"])
    one, ratio = torch.ones(3), torch.tensor([0.1, 3.0, 10.0])
    with Collector(emitter, tmp_path, name="r"):
        for step in range(1, 201):
            upper = (10.0 if step <= 100 else 1.0) * one
            emitter.say(step, torch.stack([ratio, one, ratio, ratio.clamp(max=upper), 0 * one, upper, 0.01 * one]))
    page = open_page("runs", tmp_path, "r")
    page.query_params["steps"] = steps
    page.query_params["layer"] = "b"
    page.go_to("layers")
    bar = figure(page, "heatmap")["layout"]["coloraxis"]["colorbar"]
    assert [label for label in bar["ticktext"] if "bound" in label] == [f"<b>{each}</b>" for each in said]
    bars = figure(page, "distribution")["data"][0]
    assert (LIGHT.upper in bars["marker"]["color"]) == clipped


@pytest.mark.parametrize("name", ["layers", "clipping"])
def test_a_run_whose_ratios_cannot_be_read_says_so(open_page: OpenPage, tmp_path: Path, name: str):
    training = Training(tmp_path, "a", 0.2)
    training.steps(40)
    training.collector.close()
    for part in (tmp_path / "a" / "trust_ratios").glob("*.parquet"):
        os.truncate(part, 200)
    page = open_page(name, tmp_path, "a")
    assert not page.exception
    assert "a has metrics, but no trust ratios that can be read" in text(page)
    assert not page.success
    assert not page.warning


def test_one_layer_is_shown_with_its_bound_and_the_distribution_of_its_ratios(open_page: OpenPage, log: Path):
    page = open_page("layers", log, "clipped")
    page.selectbox(key="layer").set_value("last.weight").run()
    names = [trace["name"] for trace in figure(page, "layer_curve")["data"]]
    assert {"before clipping", "after clipping", "upper bound", "‖w‖", "‖update‖"} <= set(names)
    (bars,) = figure(page, "distribution")["data"]
    assert bars["name"] == "all steps"
