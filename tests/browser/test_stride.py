"""A run that records every 100th step, in a real Chromium: no column lies empty, however far one zooms in."""

import csv
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.app import stride_log
from tests.browser.dashboard import serve, settle
from tests.browser.test_dashboard import heatmap, zoom
from tests.browser.test_layers import save

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

OpenPage = Callable[[str], Page]


@pytest.fixture(scope="module")
def strides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(stride_log.build(tmp_path_factory.mktemp("strides") / "runs")) as address:
        yield address


def columns(page: Page) -> np.ndarray:
    """What is drawn, a column a cell; what is empty is NaN."""
    return np.array(heatmap(page)["z"], dtype=float)


def test_no_column_is_empty_in_whole_and_in_part(open_page: OpenPage, strides: str):
    page = open_page(f"{strides}/layers?runs=hundred")
    assert columns(page).shape == (3, 11)  # step 1, and ten hundreds
    assert np.isfinite(columns(page)).all()
    zoom(page, 0.42, 0.46)
    page.wait_for_url("**steps=**")
    settle(page)
    first, last = heatmap(page)["range"]
    assert last - first < 100
    edges = np.array(heatmap(page)["x"])
    shown = (edges[1:] > first) & (edges[:-1] < last)
    assert shown.any()
    assert np.isfinite(columns(page)[:, shown]).all()
    expect(page.get_by_text("one of every 100 steps was recorded; each is a cell")).to_be_visible()


def test_the_table_of_a_chart_has_the_steps_that_were_recorded(open_page: OpenPage, strides: str):
    page = open_page(f"{strides}/layers?runs=hundred")
    called = "trust-ratio-of-every-layer-at-every-step-hundred-bound-5-steps-1-to-1-000"
    with save(page, "CSV", called).open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["layer"] == "conv.weight"]
    assert [float(row["recorded_step"]) for row in rows] == [1, *range(100, 1001, 100)]
    assert [float(row["value"]) for row in rows] == pytest.approx([0.01, *range(1, 11)])


def test_metrics_over_tokens_leave_the_layers_their_width(open_page: OpenPage, strides: str):
    page = open_page(f"{strides}/layers?runs=tokens")
    assert heatmap(page)["range"] == [-0.5, 1099.5]
    axes = page.locator(".lambc-chart[data-drawn]").first.evaluate(
        "chart => Object.entries(chart._fullLayout).filter(([key]) => /^xaxis/.test(key)).map(([, axis]) => axis.range)"
    )
    assert max(last for _, last in axes) >= 1000 * 4096
    open_page(f"{strides}/compare?runs=tokens&runs=hundred")
