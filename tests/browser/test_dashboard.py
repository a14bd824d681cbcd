"""The dashboard as somebody sees it: a real server, a real Chromium, a real log."""

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from collector import connect
from tests.browser.dashboard import serve, settle, wait_for_chart
from tests.dashboard_log import HOSTILE, Training

# One server and one browser, on one worker.
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

OpenPage = Callable[[str], Page]

DRAWN = """(chart) => {
    const [first] = chart.calcdata.map(([entry]) => entry).filter((entry) => entry.z);
    return {
        z: first.z.map((row) => Array.from(row)),
        x: Array.from(first.x),
        layers: chart._fullLayout.yaxis._categories,
        range: chart._fullLayout.xaxis.range.map(Number),
        heatmaps: chart._fullData.filter((trace) => trace.type === "heatmap").length,
    };
}"""


def heatmap(page: Page) -> dict:
    """What the heatmap shows: values as drawn, edges of the columns, layers from top to bottom."""
    return page.locator(".lambc-chart[data-drawn]").first.evaluate(DRAWN)


def zoom(page: Page, start: float, end: float) -> None:
    """Drag over a part of the heatmap, given as shares of its width."""
    box = page.locator(".lambc-chart[data-drawn] .nsewdrag").first.bounding_box()
    assert box
    y = box["y"] + 40
    page.mouse.move(box["x"] + start * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + end * box["width"], y + 2, steps=5)
    page.mouse.up()


def go_to(page: Page, name: str) -> None:
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=name).click()
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
    settle(page)


@pytest.mark.parametrize("run", ["clipped", "killed"])
@pytest.mark.parametrize("value", ["trust_ratio", "clipped_ratio"])
def test_the_heatmap_shows_what_the_log_says(open_page: OpenPage, address: str, log: Path, run: str, value: str):
    drawn = heatmap(open_page(f"{address}/layers?runs={run}&show={value}"))
    rows = (
        connect(log)
        .sql(
            f"""
        SELECT layer, "position", step, log10({value}) AS drawn FROM trust_ratios JOIN layers USING (run, layer)
        WHERE run = $run ORDER BY "position", step
        """,
            params={"run": run},
        )
        .df()
    )
    assert drawn["layers"] == list(rows["layer"].unique())
    steps = sorted(rows["step"].unique())
    assert np.allclose(drawn["x"], np.arange(steps[0], steps[-1] + 2) - 0.5)
    expected = rows.pivot(index="position", columns="step", values="drawn").to_numpy()
    assert np.allclose(np.array(drawn["z"], dtype=float), expected, atol=1e-5)


@pytest.mark.parametrize("runs", [["lamb", "clipped", "between"], ["killed"], ["failed", HOSTILE]])
def test_no_page_has_an_error(open_page: OpenPage, address: str, runs: list[str]):
    query = "&".join(f"runs={quote(run)}" for run in runs)
    page = open_page(f"{address}/?{query}")
    for name in ("Runs", "Layers", "Clipping", "Bounds", "Compare", "SQL"):
        go_to(page, name)
        expect(page.locator("[data-testid=stException], [data-testid=stAlertContentError]")).to_have_text([])
        assert "Traceback" not in page.inner_text("body")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.url.count("runs=") == len(runs)  # they stay chosen


def test_a_killed_run_is_said_not_to_have_finished(open_page: OpenPage, address: str):
    page = open_page(f"{address}/?runs=killed")
    sentence = re.compile(r"no word for \d+ minutes; the run did not finish")
    expect(page.locator("[data-testid=stSidebar]").get_by_text(sentence)).to_be_visible()
    expect(page.locator("[data-testid=stMain]").get_by_text(sentence).first).to_be_visible()


def test_hostile_names_are_shown_as_they_are(open_page: OpenPage, address: str):
    page = open_page(f"{address}/layers?runs={quote(HOSTILE)}")
    assert HOSTILE in page.locator("[data-testid=stSidebar] [data-testid=stMultiSelect]").inner_text()
    assert "a <script>alert(…" in page.locator("[data-testid=stSidebar] [data-testid=stMarkdown]").last.inner_text()
    heatmap(page)
    assert page.locator("img[src=x], [onclick]").count() == 0
    ticks = page.locator(".lambc-chart .ytick text").all_text_contents()
    assert ticks[0].startswith("<b onc…=alert(1)>")
    page.goto(f"{address}/compare?runs={quote(HOSTILE)}&runs=clipped")
    curves = page.get_by_role("img", name="Accuracy, loss and clip hits of the runs")
    expect(curves.locator(".legendtext").last).to_contain_text("<script>")


def test_a_click_on_a_cell_opens_its_layer(open_page: OpenPage, address: str):
    page = open_page(f"{address}/layers?runs=clipped")
    box = page.locator(".lambc-chart[data-drawn] .nsewdrag").first.bounding_box()
    assert box
    layers = heatmap(page)["layers"]
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] * 3.5 / len(layers))
    page.wait_for_url(f"**layer={layers[3]}**")
    expect(page.get_by_role("combobox", name="Layer")).to_have_value(layers[3])


def test_a_link_shows_what_its_sender_saw(open_page: OpenPage, address: str):
    query = "runs=clipped&runs=lamb&run=clipped&show=clipped_ratio&layer=last.bias&steps=11-20"
    page = open_page(f"{address}/layers?{query}")
    assert heatmap(page)["range"] == [10.5, 20.5]
    expect(page.get_by_role("combobox", name="Layer")).to_have_value("last.bias")
    expect(page.get_by_role("combobox", name="of run")).to_have_value("clipped")
    again = open_page(page.url)
    assert heatmap(again) == heatmap(page)


def test_zoom_outlives_the_refreshes_of_a_run_that_goes_on(open_page: OpenPage, tmp_path: Path):
    training = Training(tmp_path / "runs", "live", 0.2)
    training.steps(30)
    training.collector.flush()
    with serve(tmp_path / "runs") as address:
        page = open_page(f"{address}/layers")
        assert len(heatmap(page)["z"][0]) == 30
        zoom(page, 0.2, 0.6)
        page.wait_for_url("**steps=**")
        zoomed = heatmap(page)["range"]
        assert 1 < zoomed[0] < zoomed[1] < 30
        for steps in (40, 50):
            training.steps(10)
            training.collector.flush()
            wait_for_chart(page, f"(chart) => chart.calcdata[0][0].z[0].length === {steps}")
            settle(page)
            assert heatmap(page)["range"] == pytest.approx(zoomed, abs=1e-6)
        box = page.locator(".lambc-chart[data-drawn] .nsewdrag").first.bounding_box()
        assert box
        page.mouse.dblclick(box["x"] + 200, box["y"] + 60)
        wait_for_chart(page, "(chart) => chart._fullLayout.xaxis.range[1] === 50.5")
        training.collector.close()
        expect(page.locator("[data-testid=stSidebar]").get_by_text("finished")).to_be_visible()


def test_a_zoom_into_many_steps_fetches_every_one_of_them(open_page: OpenPage, tmp_path: Path):
    training = Training(tmp_path / "runs", "long", 0.2)
    training.steps(1200)
    training.collector.close()
    with serve(tmp_path / "runs") as address:
        page = open_page(f"{address}/layers")
        assert heatmap(page)["heatmaps"] == 1
        expect(page.get_by_text("7,200 rows → 3,606 cells, a cell for 2 steps.")).to_be_visible()
        zoom(page, 0.5, 0.6)
        wait_for_chart(page, "(chart) => chart._fullData.filter((trace) => trace.type === 'heatmap').length === 2")
        expect(page.get_by_text("cells, a cell a step.")).to_be_visible()


def test_the_first_rows_replace_the_empty_page(open_page: OpenPage, tmp_path: Path):
    (tmp_path / "runs").mkdir()
    with serve(tmp_path / "runs") as address:
        page = open_page(address)
        expect(page.get_by_text("No runs yet")).to_be_visible()
        training = Training(tmp_path / "runs", "first", 0.2)
        training.steps(10)
        training.collector.close()
        expect(page.get_by_role("heading", name="All runs")).to_be_visible()


def test_a_part_that_breaks_while_it_is_read_is_said_without_a_traceback(open_page: OpenPage, tmp_path: Path):
    training = Training(tmp_path / "runs", "broken", 0.2)
    training.steps(200)
    training.collector.close()
    (part,) = (tmp_path / "runs" / "broken" / "trust_ratios").glob("*.parquet")
    with part.open("r+b") as file:  # its footer is good, so it is found when its rows are read
        file.seek(4)
        file.write(b"\xff" * 2000)
    with serve(tmp_path / "runs") as address:
        page = open_page(f"{address}/layers")
        expect(page.get_by_text("This part could not be drawn.").first).to_be_visible()
        assert "Traceback" not in page.inner_text("body")
