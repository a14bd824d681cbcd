"""The page Clipping of models of more layers than have room for their names."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from app.words import plain
from collector import connect
from lambc.experiments.wide_logs import Moment, WideLog, jump, mixture, transformer
from tests.app.test_bounds import decoded
from tests.app.test_clipping import charts
from tests.app.test_pages import figure, text
from tests.app.test_stride_and_metrics import drawn_cells, open_at

OpenPage = Callable[..., AppTest]

pytestmark = pytest.mark.filterwarnings("ignore:.*nanobind.*")

JUMPED = "blocks.3.attn.qkv.weight"
EXPERT = "model.layers.3.block_sparse_moe.experts.17.w1.weight"


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,440 layers of which one of 200 experts falls below its bound in one step; and 76 that have no bound."""
    root = tmp_path_factory.mktemp("wide")
    WideLog(mixture(5, 200, 1), 20, [jump(EXPERT, 7, 1)]).write(root, "experts")
    WideLog(transformer(6), 20, clip=None).write(root, "free")
    return root


def heatmaps(page: AppTest, key: str = "hit_map") -> dict[str, np.ndarray]:
    """The rows that are drawn, by what a hover calls them."""
    found = {}
    for trace in figure(page, key)["data"]:
        if trace["type"] == "heatmap":
            z = np.asarray(decoded(trace["z"]), dtype=float).reshape(len(trace["y"]), -1)
            found |= dict(zip(trace["y"], z, strict=True))
    return found


def test_a_row_is_the_most_clipped_of_its_layers(open_page: OpenPage, wide: Path):
    page = open_page("clipping", wide, "experts")
    drawn = heatmaps(page)
    assert len(drawn) == 52
    rows = connect(wide).sql("""
        SELECT step, max((outcome = 'upper')::INTEGER) AS hit FROM trust_ratios
        WHERE run = 'experts' AND layer LIKE 'model.layers.3.%.experts.%.w1.weight' GROUP BY step ORDER BY step
    """).to_arrow_table().to_pandas()  # fmt: skip
    row = drawn["model.layers.3.block_sparse_moe.experts.*.w1.weight (200 tensors)"]
    assert list(row) == list(rows["hit"])
    label = plain("…experts.*.w1")
    assert f"2,440 layers → 52 rows: a row of {label} is the most clipped of its 200 tensors." in text(page)
    assert "a cell a step." in text(page)


def test_many_layers_are_by_kind_and_in_depth_order_on_request(open_page: OpenPage, wide: Path):
    page = open_page("clipping", wide, "experts")
    assert page.query_params["order"] == "kind"
    page.segmented_control(key="order").set_value("depth").run()
    assert page.query_params["order"] == "depth"
    assert len([trace for trace in figure(page, "hit_map")["data"] if trace["type"] == "heatmap"]) == 1


def test_of_many_layers_a_single_run_has_its_families_by_blocks(open_page: OpenPage, wide: Path):
    page = open_page("clipping", wide, "experts")
    assert charts(page) == ["hit_map", "hits_over_time", "hits_by_block_0"]
    (cells, others) = figure(page, "hits_by_block_0")["data"]
    assert len(cells["y"]) == 10
    assert len(cells["x"]) == 5
    assert [label for label in np.ravel(others["text"]) if label][-2:] == ["model.norm", "lm_head"]


def test_a_run_that_was_never_clipped_says_so_in_place_of_its_families(open_page: OpenPage, wide: Path):
    page = open_page("clipping", wide, "experts", "free")
    assert "hits_by_layer" not in charts(page)
    assert any("**free**: never clipped" in each.value for each in page.markdown)
    assert len([key for key in charts(page) if key.startswith("hits_by_block")]) == 1


def plant(moment: Moment) -> None:
    """Every ratio is a half, but for one layer's in one step, which is above the bound."""
    moment.update[:] = 2 * moment.weight
    moment.update[list(moment.layers).index(JUMPED), moment.steps == 1003] = 0.1


def test_steps_in_the_address_are_shown_in_finer_cells(open_page: OpenPage, tmp_path: Path):
    WideLog(transformer(6), 1500, [plant]).write(tmp_path, "hit")
    page = open_at(open_page, "clipping", tmp_path, "hit", steps="1001-1100")
    assert page.query_params["steps"] == "1001-1100"
    chart = figure(page, "hit_map")
    assert chart["layout"]["xaxis"]["range"] == [1000.5, 1100.5]
    whole, part = (trace for trace in chart["data"] if trace["type"] == "heatmap" and JUMPED in trace["y"])
    assert (whole["dx"], part["dx"]) == (16, 1)
    row = np.asarray(decoded(part["z"])).reshape(len(part["y"]), -1)[part["y"].index(JUMPED)]
    assert [part["x0"] + place for place in np.flatnonzero(row)] == [1003]
    assert "a cell a step." in text(page)
    assert {trace["dx"] for trace in drawn_cells(open_page("clipping", tmp_path, "hit"), "hit_map")} == {4}
