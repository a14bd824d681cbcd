"""The page Compare of models of more layers than have room for their names."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from app.words import plain
from lambc.experiments.wide_logs import Moment, WideLog, mixture
from tests.app.test_bounds import decoded
from tests.app.test_pages import figure, text

OpenPage = Callable[..., AppTest]

pytestmark = pytest.mark.filterwarnings("ignore:.*nanobind.*")

EXPERT = "model.layers.3.block_sparse_moe.experts.17.w1.weight"
ROW = "model.layers.3.block_sparse_moe.experts.*.w1.weight (200 tensors)"


def plant(moment: Moment) -> None:
    """One of 200 experts has a quarter of its ratio in one step."""
    moment.update[list(moment.layers).index(EXPERT), moment.steps == 7] *= 4


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of 2,440 layers that differ in one layer and one step."""
    root = tmp_path_factory.mktemp("wide")
    WideLog(mixture(5, 200, 1), 20).write(root, "same")
    WideLog(mixture(5, 200, 1), 20, [plant]).write(root, "odd")
    return root


def heatmaps(page: AppTest) -> list[dict]:
    return [trace for trace in figure(page, "difference_map")["data"] if trace["type"] == "heatmap"]


def test_a_merged_row_has_the_layer_that_lies_furthest_apart(open_page: OpenPage, wide: Path):
    page = open_page("compare", wide, "same", "odd")
    assert page.query_params["order"] == "kind"
    traces = heatmaps(page)
    assert sum(len(trace["y"]) for trace in traces) == 52
    drawn = {}
    for trace in traces:
        z = np.asarray(decoded(trace["z"]), dtype=float).reshape(len(trace["y"]), -1)
        drawn |= dict(zip(trace["y"], z, strict=True))
    odd = drawn.pop(ROW)
    assert list(np.flatnonzero(np.abs(odd) > 1e-6)) == [6]
    assert odd[6] == pytest.approx(-np.log10(4), abs=1e-4)
    assert all(np.abs(row).max() < 1e-6 for row in drawn.values())
    label = plain("…experts.*.w1")
    assert f"2,440 layers → 52 rows: a row of {label} is the one furthest apart of its 200 tensors" in text(page)
    assert "A's ratio is typically that of B in every layer, within a median factor of 1.02." in text(page)


def test_the_layer_that_differs_most_is_named_where_rows_are_merged(open_page: OpenPage, wide: Path):
    said = text(open_page("compare", wide, "same", "odd"))
    assert EXPERT.replace(".", "\\.") not in said
    page = open_page("compare", wide, "same", "odd")
    page.segmented_control(key="difference").set_value("hit_rate").run()
    assert not page.exception
    assert figure(page, "difference_map")["layout"]["coloraxis"]["cmax"] == 1


def test_many_layers_are_in_depth_order_on_request(open_page: OpenPage, wide: Path):
    page = open_page("compare", wide, "same", "odd")
    page.segmented_control(key="order").set_value("depth").run()
    (trace,) = heatmaps(page)
    assert len(trace["y"]) == 610
