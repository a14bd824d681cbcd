"""The Layers page of a model of more layers than have room for their names."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from app.band_cells import least_width
from app.words import plain
from lambc.experiments.wide_logs import Moment, WideLog, mixture, transformer, unused_experts
from tests.app.test_bounds import decoded
from tests.app.test_pages import figure, text

OpenPage = Callable[..., AppTest]

pytestmark = pytest.mark.filterwarnings("ignore:.*nanobind.*")

QKV = "blocks.3.attn.qkv.weight"
FALL = 1000


def plant(moment: Moment) -> None:
    """Every ratio is 8, but one layer's, which falls to 0.5 in one step; and one that jumps up in another."""
    moment.update[:] = moment.weight / 8
    layer = list(moment.layers).index(QKV)
    moment.update[layer, moment.steps == FALL] = moment.weight[layer, moment.steps == FALL] / 0.5


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """76 and 172 layers; the first over 20,000 steps, so that a cell stands for many."""
    root = tmp_path_factory.mktemp("wide")
    WideLog(transformer(6), 20_000, [plant]).write(root, "long")
    WideLog(mixture(5, 200, 1), 20, [unused_experts(r"\.[23]\.block_sparse_moe\.experts\.5\.")]).write(root, "experts")
    return root


def open_at(open_page: OpenPage, root: Path, run: str, **query: str) -> AppTest:
    page = open_page("runs", root, run)
    for key, value in query.items():
        page.query_params[key] = value
    return page.go_to("layers")


def heatmaps(page: AppTest) -> list[dict]:
    return [trace for trace in figure(page, "heatmap")["data"] if trace["type"] == "heatmap"]


def cell_of(page: AppTest, layer: str, step: int) -> np.ndarray:
    """What the hover says of a cell."""
    trace = next(each for each in heatmaps(page) if layer in each["y"])
    shape = (len(trace["y"]), -1, 2)
    column = int((step - trace["x0"] + trace["dx"] / 2) // trace["dx"])
    return np.asarray(decoded(trace["customdata"]), dtype=float).reshape(shape)[list(trace["y"]).index(layer), column]


def test_many_layers_are_by_kind_and_in_depth_order_on_request_which_the_address_says(open_page, wide):
    page = open_at(open_page, wide, "long")
    assert len(heatmaps(page)) == 14  # twelve families, and what stands before and behind them
    assert page.query_params["order"] == "kind"
    page.segmented_control(key="order").set_value("depth").run()
    (trace,) = heatmaps(page)
    assert list(trace["y"]) == list(transformer(6))
    assert page.query_params["order"] == "depth"


def test_a_fall_towards_1_in_one_step_of_many_shows_against_what_is_usual(open_page, wide):
    page = open_at(open_page, wide, "long", show="usual")
    assert figure(page, "heatmap")["layout"]["coloraxis"]["cmin"] == -1
    low, high = cell_of(page, QKV, FALL)
    assert (low, high) == pytest.approx((1 / 16, 1), rel=1e-3)
    trace = next(each for each in heatmaps(page) if QKV in each["y"])
    drawn = np.asarray(decoded(trace["z"]), dtype=float).reshape(len(trace["y"]), -1)
    assert drawn.min() == pytest.approx(np.log10(1 / 16), rel=1e-3)


def test_the_hover_of_the_ratio_says_the_lowest_and_the_highest(open_page, wide):
    page = open_at(open_page, wide, "long")
    assert cell_of(page, QKV, FALL) == pytest.approx((0.5, 8), rel=1e-3)


def test_the_caption_says_what_a_row_and_a_cell_stand_for(open_page, wide):
    said = text(open_at(open_page, wide, "experts"))
    row = f"a row of {plain('…experts.*.w1')} is the furthest from 1 of its 200 tensors."
    assert f"2,440 layers → 52 rows: {row}" in said
    assert "48,800 rows → 1,040 cells, a cell a step." in said


def test_events_are_marked_once_they_are_known(open_page, wide):
    page = open_at(open_page, wide, "long")
    notes = [note["text"] for note in figure(page, "heatmap")["layout"]["annotations"]]
    assert any("blocks.3.attn.qkv jump" in note for note in notes)


def test_a_layer_is_explained_at_its_step_and_the_blocks_beside_it_are_a_press_away(open_page, wide):
    page = open_at(open_page, wide, "long", layer=QKV, at=str(FALL))
    said = text(page)
    assert "**At step 1,000:**" in said
    assert "Since step 999: the update grew 16×" in said
    assert "Usually the ratio is 8." in said
    assert "5 of 6 were clipped in that step" in said
    page.button(key="block_◀").click().run()
    assert page.selectbox(key="layer").value == "blocks.2.attn.qkv.weight"
    assert page.query_params["layer"] == "blocks.2.attn.qkv.weight"
    matrix = figure(page, "matrix")
    assert len(matrix["data"][0]["y"]) == 12


def test_a_link_to_a_step_that_is_none_shows_the_last(open_page, wide):
    page = open_at(open_page, wide, "long", at="99999999")
    assert page.number_input(key="at").value == 20_000


def test_a_family_alone_has_its_pattern_in_the_address(open_page, wide):
    page = open_at(open_page, wide, "long", layers=r"/^blocks\.\d+\.attn\.qkv\.weight$/")
    (trace,) = heatmaps(page)
    assert list(trace["y"]) == [f"blocks.{block}.attn.qkv.weight" for block in range(6)]
    assert figure(page, "heatmap")["layout"]["yaxis"]["ticktext"] == [str(block) for block in range(6)]


@pytest.mark.parametrize("show", ["relative_step", "hit_rate", "clipped_ratio", "update_norm", "weight_norm"])
@pytest.mark.parametrize("run", ["long", "experts"])
def test_every_quantity_is_drawn(open_page, wide, show, run):
    page = open_at(open_page, wide, run, show=show, steps="5-15")
    drawn = np.concatenate([np.ravel(decoded(each["z"])) for each in heatmaps(page)])
    assert np.isfinite(np.asarray(drawn, dtype=float)).any()


@pytest.mark.parametrize(
    ("first", "last", "columns", "layers", "width"),
    [
        (1, 9_824, 327, 10_180, 64),  # 100 million rows, in cells of 32 steps otherwise
        (1, 9_824, 327, 62, 1),  # few rows, from which cells may be made
        (1, 51_467, 311, 1_943, 1),  # cells of 256 steps, of which there is a rollup
        (1, 600, 327, 10_180, 1),  # in cells of 64 steps the picture would have ten columns
    ],
)
def test_where_there_are_very_many_rows_cells_come_from_the_finest_rollup(first, last, columns, layers, width):
    assert least_width(first, last, columns, layers) == width


def test_layers_that_are_never_updated_are_named(open_page, wide):
    said = text(open_at(open_page, wide, "experts", show="usual"))
    names = [plain(f"model.layers.2.block_sparse_moe.experts.5.w{number}.weight") for number in (1, 2, 3)]
    assert f"In 6 layers ({', '.join(names)} and 3 more) the ratio has not changed since step 10 or earlier" in said
