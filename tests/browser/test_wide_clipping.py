"""The page Clipping at any width of the model: what was planted is drawn, and a click leads to its layer."""

import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from playwright.sync_api import Page

from lambc.experiments.wide_logs import Moment, WideLog, mixture, transformer
from tests.browser.dashboard import serve, settle, settle_wide, wait_for_chart
from tests.browser.test_wide_layers import CHART, PLACE, pixels

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser")]

STEPS = 1500

FINEST = """(chart) => {
    const cells = chart._fullData.filter((trace) => trace.type === "heatmap");
    const dx = Math.min(...cells.map((trace) => trace.dx));
    const finest = cells.filter((trace) => trace.dx === dx);
    const rows = Object.fromEntries(
        finest.flatMap((trace) => Array.from(trace.y, (name, row) => [name, Array.from(trace.z[row])])));
    return { dx, x0: finest[0].x0, rows, range: chart._fullLayout.xaxis.range };
}"""
MODELS = {400: transformer(), 1943: mixture()}


def hits(layers: int) -> np.ndarray:
    """The step at which each layer is clipped: one each, all over the run."""
    return 1 + np.arange(layers) * 7919 % STEPS


def plant(moment: Moment) -> None:
    """Every ratio is a half, but for one step of each layer, in which it is above the bound."""
    moment.update[:] = 2 * moment.weight
    rows, columns = np.nonzero(moment.steps[None, :] == hits(len(moment.layers))[:, None])
    moment.update[rows, columns] = moment.weight[rows, columns] / 4


@pytest.fixture(scope="module", params=list(MODELS))
def clipped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """How many layers the run has, and the address of its dashboard."""
    root = tmp_path_factory.mktemp("hits") / "runs"
    WideLog(MODELS[request.param], STEPS, [plant]).write(root, "hits")
    with serve(root) as address:
        yield request.param, address


@pytest.fixture
def page(open_page: Callable[[str], Page], clipped: tuple[int, str]) -> Page:
    page = open_page(f"{clipped[1]}/clipping?runs=hits")
    settle_wide(page)
    return page


def test_a_hit_of_one_step_in_every_layer_is_drawn(page: Page, clipped: tuple[int, str]):
    layers, _ = clipped
    image, places = pixels(page, 1)
    rows = {row["name"]: row for row in places["rows"]}
    lost = []
    for layer, step in zip(MODELS[layers], hits(layers), strict=True):
        row = rows.get(layer) or rows[merged(layer)]
        column = int((step - row["x0"] + row["dx"] / 2) // row["dx"])
        left = places["left"] + places["origin"] + places["perStep"] * (row["x0"] + (column - 0.5) * row["dx"])
        top, right = round(row["top"]), round(left + places["perStep"] * row["dx"])
        seen = image[top : max(round(row["bottom"]), top + 1), round(left) : max(right, round(left) + 1)]
        if not (seen[..., 0] - seen[..., 2] > 12).any():  # orange, however faint
            lost.append((layer, int(step)))
    assert lost == []
    blank = image[round(places["rows"][5]["top"]), :, 0] - image[round(places["rows"][5]["top"]), :, 2]
    assert (blank[round(places["left"]) : round(places["left"] + places["width"])] < 12).mean() > 0.9


def merged(layer: str) -> str:
    """What the row of a block's experts is called."""
    head, _, tail = layer.partition(".experts.")
    return f"{head}.experts.*.{tail.partition('.')[2]} (8 tensors)"


def test_a_click_shows_the_layer_that_was_clipped_there(page: Page, clipped: tuple[int, str]):
    layer = list(MODELS[clipped[0]])[-1]
    step = int(hits(clipped[0])[-1])
    page.set_viewport_size({"width": 1280, "height": 2000})
    page.wait_for_timeout(500)
    settle(page)
    x, y = page.locator(CHART).first.evaluate(PLACE, [layer, step])
    page.mouse.click(x, y)
    page.wait_for_url("**/layers?**")
    settle(page)
    assert {f"layer={layer}", "run=hits"} <= set(page.url.split("?")[1].split("&"))
    at = next(int(part[3:]) for part in page.url.split("?")[1].split("&") if part.startswith("at="))
    assert abs(at - step) < 8


def test_a_zoom_fetches_every_step_and_a_link_shows_the_same(page: Page, clipped: tuple[int, str]):
    layers, _ = clipped
    chart = page.locator(CHART).first
    chart.scroll_into_view_if_needed()
    before = chart.evaluate(FINEST)
    assert before["dx"] > 1
    box = chart.locator(".nsewdrag").first.bounding_box()
    y = box["y"] + 20
    page.mouse.move(box["x"] + 0.5 * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], y, steps=5)
    page.mouse.up()
    wait_for_chart(page, f"(chart) => ({FINEST})(chart).dx === 1")
    settle(page)
    first, last = map(int, re.search(r"steps=(\d+)-(\d+)", page.url).groups())
    assert STEPS * 0.08 < last - first < STEPS * 0.12
    zoomed = page.locator(CHART).first.evaluate(FINEST)
    step = next(int(step) for step in hits(layers) if first <= step <= last)
    layer = list(MODELS[layers])[list(hits(layers)).index(step)]
    row = zoomed["rows"].get(layer) or zoomed["rows"][merged(layer)]
    assert row[step - int(zoomed["x0"])] == 1
    page.goto(page.url)
    settle(page)
    again = page.locator(CHART).first.evaluate(FINEST)
    assert again["dx"] == 1
    assert [round(edge) for edge in again["range"]] == [round(first - 0.5), round(last + 0.5)]
    assert again["rows"] == zoomed["rows"]
