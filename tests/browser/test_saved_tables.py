"""What the button CSV of a chart saves, in a real Chromium: the component alone draws a figure."""

import base64
import json
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from playwright.sync_api import Browser, Page

from app.charts.answer import Drawing, answer_chart, what_is_drawn
from app.charts.block_matrix import block_matrix
from app.charts.bounds import survival_curves
from app.charts.difference import QUANTITIES, difference_map
from app.charts.distribution import ratio_distribution
from app.charts.family_bounds import family_bounds
from app.charts.heatmap import heatmap
from app.charts.hit_matrix import hit_matrix
from app.charts.hit_rates import hit_rates_by_layer
from app.charts.metrics import HITS, metric_curves
from app.charts.paper import Curve, accuracy_by_epoch
from app.charts.theme import lines
from app.plotly_view import PLOTLY_FILE, SCRIPT
from app.plotly_view.packed import packed, with_head
from tests.app.figures import LAYERS, in_depth_order, metric, row_cells

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

DRAW = """async ([script, data]) => {
    const { default: draw } = await import("data:text/javascript;base64," + script);
    window.lambcPlotly = Promise.resolve(Plotly);
    const bytes = Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0));
    draw({ parentElement: document.body, data: bytes, setStateValue() {}, setTriggerValue() {} });
}"""

Save = Callable[[go.Figure], pd.DataFrame]


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 900, "height": 900})
    yield page
    page.close()


@pytest.fixture
def saved(page: Page, tmp_path: Path) -> Save:
    view = resources.files("app.plotly_view")

    def saved(figure: go.Figure) -> pd.DataFrame:
        page.set_content(view.joinpath("view.html").read_text())
        page.add_script_tag(path=PLOTLY_FILE)
        head = {"token": "1", "label": "chart", "of": "", "height": 400, "widths": [], "width": 0, "reveal": ""}
        data = with_head(json.dumps(head), packed(figure))
        page.evaluate(DRAW, [base64.b64encode(part).decode() for part in (SCRIPT.encode(), data)])
        page.locator(".lambc-chart[data-drawn]").wait_for()
        with page.expect_download() as download:
            page.get_by_role("button", name="CSV", exact=True).dispatch_event("click")
        return pd.read_csv(download.value.path())

    return saved


CURVE = pd.DataFrame({"step": [1, 3.5], "epoch": [1, 2], "seconds": [60.0, 1200.0], "value": [0.5, 0.25]})
MEAN = pd.DataFrame({"x": [1, 2], "mean": [0.5, 0.75], "std": 0.1, "lowest": 0.4, "n": 2})


@pytest.mark.parametrize(
    ("by", "column", "along"),
    [("step", "step", [1, 3]), ("time", "minutes of training", [1, 20])],  # of two steps, the first
)
def test_curves_are_saved_with_their_metric_and_the_unit_of_their_axis(saved: Save, by, column, along):
    metrics = [metric("test/accuracy"), metric("test/loss"), metric("train/loss"), HITS]
    curves = {("lamb", each): CURVE for each in metrics}
    table = saved(metric_curves(curves, by=by, lines=lines(["lamb"])))
    assert list(table) == ["series", "metric", column, "value"]
    names = ["test/accuracy", "test/loss", "train/loss", "clip hits"]
    assert table.to_numpy().tolist() == [
        ["lamb", name, place, value] for name in names for place, value in zip(along, [0.5, 0.25], strict=True)
    ]


def test_means_are_saved_with_their_batch_size(saved: Save):
    curves = [Curve(size, "1", False, 2, MEAN) for size in (512, 1024)]
    table = saved(accuracy_by_epoch(curves, bounds=["1"], unbounded="none"))
    assert list(table) == ["series", "batch_size", "epoch", "value"]
    rows = [[size, epoch, mean] for size in (512, 1024) for epoch, mean in ((1, 0.5), (2, 0.75))]
    assert table.drop(columns="series").to_numpy().tolist() == rows


def test_hits_by_layer_are_saved_with_their_run_and_a_layer_that_has_no_rate_is_left_out(saved: Save):
    rates = pd.DataFrame({"layer": ["a", "b"], "upper_rate": [0.0, np.nan], "lower_rate": [0.25, np.nan]})
    rates = rates.assign(upper_hits=0, lower_hits=[1, 0], first_hit=pd.array([3, None], dtype="Int64"))
    table = saved(hit_rates_by_layer({"one": rates, "other": rates}, layers=["a", "b"], lines=lines(["one", "other"])))
    assert list(table) == ["series", "run", "layer", "hit_rate"]
    assert table.to_numpy().tolist() == [
        [f"{bound} bound", run, "a", rate]
        for run in ("one", "other")
        for bound, rate in (("upper", 0), ("lower", 0.25))
    ]


def test_a_metric_below_the_heatmap_has_a_column_of_its_own(saved: Save):
    table = saved(heatmap(row_cells(2), stack=in_depth_order(LAYERS), curves={metric("test/loss"): CURVE}))
    assert list(table) == ["series", "step", "layer", "lowest", "highest", "value"]
    assert table[table["series"] == "test/loss"]["value"].tolist() == [0.5, 0.25]
    cells = table[table["series"] == "Trust ratio, 2 steps"]
    assert cells[["lowest", "highest"]].notna().all(axis=None)
    assert cells["value"].isna().all()


def test_layers_along_epochs_are_saved_by_step(saved: Save):
    epochs = pd.DataFrame({"epoch": [1, 2], "first_step": [1, 3]})
    table = saved(heatmap(row_cells(), stack=in_depth_order(LAYERS), epochs=epochs))
    assert list(table) == ["series", "step", "layer", "value"]
    assert table["step"].tolist() == [1, 2, 3, 4] * len(LAYERS)


def test_a_distribution_is_saved_with_the_ratios_in_the_middle_of_its_bars(saved: Save):
    edges = 2.0 ** (np.arange(3) / 8)
    bins = pd.DataFrame({"above": edges[:-1], "up_to": edges[1:], "steps": [3, 1]})
    table = saved(ratio_distribution(bins, bins.assign(steps=1), bound=1.0))
    assert list(table) == ["series", "trust ratio before clipping", "value"]
    assert table["trust ratio before clipping"].tolist() == pytest.approx([2 ** (1 / 16), 2 ** (3 / 16)] * 2)
    assert table["value"].tolist() == [0.75, 0.25, 0.5, 0.5]


def test_what_is_not_finite_is_saved_with_its_first_and_its_last_step(saved: Save):
    cells = row_cells(not_finite=[0, 1, 1, *[0] * 9])
    table = saved(heatmap(cells, stack=in_depth_order(LAYERS)))
    assert table[table["series"] == "NaN or infinite"]["step"].tolist() == [2, 3]


BLOCKS = pd.DataFrame(
    {
        "layer": ["b.0.w", "b.1.w", "head"],
        "family": ["b.*.w", "b.*.w", "head"],
        "block": [0, 1, None],
        "change": [2.0, 0.5, 1.0],
        "upper_rate": [0.25, 0.5, 1.0],
        "lower_rate": 0.0,
    }
)


def test_layers_by_family_and_block_are_saved_with_both(saved: Save):
    table = saved(block_matrix(BLOCKS))
    assert list(table) == ["series", "block", "family", "times_usual", "layer"]
    assert table.drop(columns="series").to_numpy().tolist() == [[0, "b.*.w", 2, "b.0.w"], [1, "b.*.w", 0.5, "b.1.w"]]


def test_hits_by_block_are_saved_with_the_layers_of_no_family(saved: Save):
    table = saved(hit_matrix(BLOCKS))
    assert table[["layer", "upper_hit_rate"]].to_numpy().tolist() == [["b.0.w", 0.25], ["b.1.w", 0.5], ["head", 1]]
    assert table["block"].tolist()[:2] == [0, 1]
    assert table[["block", "family"]].iloc[2].isna().all()


def test_what_a_bound_would_clip_of_each_layer_is_saved_with_the_layer(saved: Save):
    counts = [("a", 0.1, 10), ("a", 1.0, 5), ("a", 10.0, 0), ("b", 0.1, 10), ("b", 1.0, 1), ("b", 10.0, 0)]
    survival = pd.DataFrame(counts, columns=["layer", "bound", "above"]).assign(kind="linear", steps=10)
    table = saved(survival_curves(survival, bound=1.0, clipped=0.3))
    assert list(table) == ["series", "upper bound", "layer", "value"]
    of_layers = table[table["layer"].notna()].to_numpy().tolist()
    assert of_layers == [["linear", bound, layer, above / 10] for layer, bound, above in counts]
    assert table[table["layer"].isna()]["series"].unique().tolist() == ["linear", "all layers", "suggested"]


def test_bounds_by_family_are_saved_with_the_layers(saved: Save):
    ranges = BLOCKS.head(2).assign(own=[2.0, 2.5], q50=1.0, clipped_by_all=0.1)
    table = saved(family_bounds(ranges, pd.Series({"b.*.w": 2.25}), bound=1.5, wanted=0.1))
    assert list(table) == ["series", "upper bound", "family", "layer", "median", "clipped_by_all"]
    assert table["upper bound"].tolist() == [2, 2.5, 2.25]
    assert table["layer"].tolist()[:2] == ["b.0.w", "b.1.w"]


def test_a_difference_is_saved_with_the_names_of_both_runs(saved: Save):
    cells = row_cells().assign(one=1.0, other=2.0, apart=np.log10(0.5))
    stack = in_depth_order(LAYERS)
    table = saved(difference_map(cells, stack=stack, quantity=QUANTITIES[0], names=("lamb", "clipped")))
    assert set(table["series"]) == {"A lamb, B clipped"}


def test_bars_of_an_answer_are_saved_under_the_name_of_their_column(saved: Save):
    drawing = Drawing("bars", "optimizer", "ratio", "")
    rows, _ = what_is_drawn(pd.DataFrame({"optimizer": ["lamb", "lars"], "ratio": [1.0, 2.0]}), drawing)
    table = saved(answer_chart(rows, drawing))
    assert list(table) == ["optimizer", "value"]
    assert table.to_numpy().tolist() == [["lamb", 1], ["lars", 2]]
