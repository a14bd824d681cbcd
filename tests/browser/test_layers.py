"""The Layers page in a real Chromium: filter, keyboard, and what a chart is saved as."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from collector import connect
from tests.browser.conftest import settle
from tests.browser.test_dashboard import heatmap

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

OpenPage = Callable[[str], Page]


def save(page: Page, name: str, called: str = "trust-ratio-of-every-layer-at-every-step") -> Path:
    """Press one of the buttons above the heatmap, which are there once the chart is pointed at.

    called: the name of the file, as the chart's label has it.
    """
    page.locator(".lambc-chart[data-drawn]").first.hover()
    with page.expect_download() as download:
        page.get_by_role("button", name=name, exact=True).first.click()
    assert download.value.suggested_filename == f"{called}.{name.lower()}"
    return download.value.path()


def test_a_chart_is_saved_as_the_table_that_it_shows(open_page: OpenPage, address: str, log: Path):
    page = open_page(f"{address}/layers?runs=clipped")
    with save(page, "CSV").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["series"].startswith("Trust ratio")]
    answer = connect(log).sql("SELECT layer, step, trust_ratio FROM trust_ratios WHERE run = 'clipped'").fetchall()
    saved = {(row["layer"], float(row["step"])): float(row["value"]) for row in rows}
    assert len(saved) == len(answer)
    assert np.allclose([saved[layer, step] for layer, step, _ in answer], [ratio for *_, ratio in answer], rtol=1e-6)


def test_a_chart_is_saved_as_a_picture_and_as_a_drawing(open_page: OpenPage, address: str):
    page = open_page(f"{address}/layers?runs=clipped")
    assert save(page, "PNG").read_bytes().startswith(b"\x89PNG")
    drawing = save(page, "SVG").read_text()
    assert drawing.startswith("<svg")
    assert "last.weight" in drawing


def test_keys_zoom_move_and_show_everything(open_page: OpenPage, address: str):
    page = open_page(f"{address}/layers?runs=clipped")
    whole = heatmap(page)["range"]
    page.locator(".lambc-chart[data-drawn]").first.focus()
    page.keyboard.press("+")
    page.wait_for_url("**steps=**")
    settle(page)
    zoomed = heatmap(page)["range"]
    assert zoomed[1] - zoomed[0] == pytest.approx((whole[1] - whole[0]) / 2)
    page.locator(".lambc-chart[data-drawn]").first.focus()
    page.keyboard.press("0")
    page.wait_for_function("!location.search.includes('steps=')")
    settle(page)
    assert heatmap(page)["range"] == whole


def test_a_filter_is_in_the_link(open_page: OpenPage, address: str):
    page = open_page(f"{address}/layers?runs=clipped")
    page.get_by_label("Layers", exact=True).last.fill("last.*")
    page.keyboard.press("Enter")
    page.wait_for_url("**layers=last.***")
    settle(page)
    expect(page.get_by_text("cells, a cell a step.")).to_be_visible()
    assert heatmap(page)["layers"] == ["last.weight", "last.bias"]
    assert heatmap(open_page(page.url)) == heatmap(page)
