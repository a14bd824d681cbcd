"""The Layers page in a real Chromium: filter, keyboard, and what a chart is saved as."""

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Page, expect

from collector import Collector, connect
from lambc.experiments.wide_logs import WideLog, transformer
from tests.browser.dashboard import serve, settle
from tests.browser.test_dashboard import heatmap
from tests.dashboard_log import Training

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

OpenPage = Callable[..., Page]


CALLED = "trust-ratio-of-every-layer-at-every-step-clipped-bound-0.2-steps-1-to-40"

AT_BOTH_ENDS = """(button) => {
    const { left, right, top, bottom } = button.getBoundingClientRect();
    const seen = (x) => button.contains(document.elementFromPoint(x, (top + bottom) / 2));
    return [seen(left + 4), seen(right - 4)];
}"""
"""Whether a button is what a pointer finds there."""


def save(page: Page, name: str, called: str = CALLED) -> Path:
    """Press one of the buttons above the heatmap, which are there once the chart is pointed at.

    called: the name of the file: what the chart shows, of which runs, bounds and steps.
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


def test_the_saved_table_of_a_layer_has_its_lines_and_not_what_is_filled_between_them(
    open_page: OpenPage, address: str, log: Path
):
    page = open_page(f"{address}/layers?runs=clipped&layer=last.weight")
    chart = page.get_by_label("Trust ratio of the layer", exact=True)
    chart.hover()
    with page.expect_download() as download:
        chart.locator("..").get_by_role("button", name="CSV", exact=True).click()
    with download.value.path().open(newline="") as file:
        rows = list(csv.DictReader(file))
    asked = "SELECT count(*) FROM trust_ratios WHERE run = 'clipped' AND layer = 'last.weight'"
    ((steps,),) = connect(log).sql(asked).fetchall()
    series = Counter(row["series"] for row in rows)
    assert series["before clipping"] == series["after clipping"] == steps
    assert "clipped away" not in series


def test_a_chart_is_saved_as_a_picture_and_as_a_drawing(open_page: OpenPage, address: str):
    page = open_page(f"{address}/layers?runs=clipped")
    assert save(page, "PNG").read_bytes().startswith(b"\x89PNG")
    drawing = save(page, "SVG").read_text()
    assert drawing.startswith("<svg")
    assert "last.weight" in drawing
    assert "clipped (bound 0.2), steps 1 to 40" in drawing


def test_a_saved_table_has_the_digits_that_the_hover_shows_where_a_cell_is_several_steps(
    open_page: OpenPage, tmp_path: Path
):
    """Of a cell's ends no more is sent to the browser; these digits are those of the log."""
    WideLog(transformer(1), 1200).write(tmp_path / "runs", "long")
    with serve(tmp_path / "runs") as address:
        page = open_page(f"{address}/layers?runs=long")
        with save(page, "CSV", "trust-ratio-of-every-layer-at-every-step-long-bound-1-steps-1-to-1-200").open() as file:
            rows = [row for row in csv.DictReader(file) if row["series"] == "Trust ratio, 2 steps"]
    ends = connect(tmp_path / "runs").sql(
        "SELECT layer, step // 2 * 2, min(trust_ratio), max(trust_ratio) FROM trust_ratios GROUP BY ALL"
    )
    expected = {(layer, step): (f"{low:.4g}", f"{high:.4g}") for layer, step, low, high in ends.fetchall()}
    saved = {
        (row["layer"], int(row["step"])): tuple(f"{float(row[end]):.15g}" for end in ("lowest", "highest"))
        for row in rows
    }
    assert saved == expected


def test_steps_in_a_saved_table_are_whole(open_page: OpenPage, tmp_path: Path):
    training = Training(tmp_path / "runs", "long", 0.2)
    training.steps(1200)  # a cell of the map is two steps wide
    training.collector.close()
    with serve(tmp_path / "runs") as address:
        page = open_page(f"{address}/clipping?runs=long")
        for place, called in enumerate(("which-layers-are-clipped-when", "clip-hits-over-time")):
            page.locator(".lambc-chart[data-drawn]").nth(place).hover()
            with page.expect_download() as download:
                page.get_by_role("button", name="CSV", exact=True).nth(place).click()
            assert download.value.suggested_filename == f"{called}-long-bound-0.2-steps-1-to-1-200.csv"
            with download.value.path().open(newline="") as file:
                steps = {row["step"] for row in csv.DictReader(file)}
            assert len(steps) > 100
            assert all(step.isdecimal() for step in steps)


def test_on_a_phone_most_of_the_width_is_data(open_page: OpenPage, address: str):
    for path in ("clipping", "layers"):
        page = open_page(f"{address}/{path}?runs=clipped", width=390, height=844)
        plot = page.locator(".lambc-chart[data-drawn] .nsewdrag").first.bounding_box()
        assert plot
        assert plot["width"] > 0.6 * 390
    page = open_page(f"{address}/bounds?runs=lamb", width=390, height=844)
    title = page.get_by_role("heading", name="Bounds", exact=True).bounding_box()
    head = page.get_by_test_id("stHeader").bounding_box()
    answer = page.get_by_role("heading", name="An upper bound of").bounding_box()
    assert title
    assert head
    assert answer
    assert head["y"] + head["height"] <= title["y"]
    assert answer["y"] + answer["height"] < 400


@pytest.mark.parametrize("width", [1280, 1024, 390])
def test_every_quantity_can_be_chosen_also_where_the_page_is_narrow(open_page: OpenPage, tmp_path: Path, width: int):
    """The relative step, which comes last, is the main number of an optimizer without trust ratios."""
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    with Collector(optimizer, tmp_path / "runs", name="adamw", model=model, gradients=True):
        for _ in range(3):
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
    with serve(tmp_path / "runs") as address:
        page = open_page(f"{address}/layers?runs=adamw", width=width, height=900)
        choices = page.locator(".st-key-show button")
        assert len(choices.all()) == 8
        for choice in choices.all():
            assert choice.evaluate(AT_BOTH_ENDS) == [True, True], choice.inner_text()


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
