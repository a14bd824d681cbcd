"""The Layers page: which layers are shown, along what, and one of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from collector import connect
from tests.app.test_bounds import decoded
from tests.app.test_pages import figure, text

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
    kinds = page.pills(key="kinds")
    assert "bias" in kinds.options
    kinds.set_value(["bias"]).run()
    assert all(layer.endswith("bias") for layer in rows_shown(page))
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
    page.switch_page(page._script_path.replace("shell/dashboard.py", "pages/layers.py")).run()
    assert figure(page, "heatmap")["layout"]["xaxis"]["range"] == [10.5, 20.5]
    (before,) = (each for each in figure(page, "layer_curve")["data"] if each["name"] == "before clipping")
    assert list(decoded(before["x"])) == list(range(11, 21))


def test_one_layer_is_shown_with_its_bound_and_the_distribution_of_its_ratios(open_page: OpenPage, log: Path):
    page = open_page("layers", log, "clipped")
    page.selectbox(key="layer").set_value("last.weight").run()
    names = [trace["name"] for trace in figure(page, "layer_curve")["data"]]
    assert {"before clipping", "after clipping", "upper bound", "‖w‖", "‖update‖"} <= set(names)
    (bars,) = figure(page, "distribution")["data"]
    assert bars["name"] == "all steps"
