"""The Layers page at any width of the model: what was planted is drawn, by the pixels of the page."""

import io
import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from lambc.experiments.wide_logs import WideLog, jump, transformer
from tests import wide_spikes
from tests.browser.dashboard import serve, settle, settle_wide

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser")]

OpenPage = Callable[..., Page]

CHART = ".lambc-chart[data-drawn]"

PLACES = """(chart) => {
    const { xaxis, ...layout } = chart._fullLayout;
    const rows = {};
    for (const trace of chart._fullData.filter((trace) => trace.type === "heatmap")) {
        const axis = layout["yaxis" + trace.yaxis.slice(1)];
        Array.from(trace.y).forEach((name, row) => {
            rows[trace.meta.first_row + row] = {
                name,
                top: axis._offset + axis.c2p(row - 0.5),
                bottom: axis._offset + axis.c2p(row + 0.5),
                x0: trace.x0, dx: trace.dx,
                highest: Array.from(trace.customdata[row], (cell) => (cell.length ? cell[cell.length - 1] : cell)),
            };
        });
    }
    return {
        rows: Object.keys(rows).map((number) => rows[number]),
        left: xaxis._offset, width: xaxis._length,
        perStep: (xaxis.c2p(1e5) - xaxis.c2p(0)) / 1e5, // Plotly rounds to hundredths
        origin: xaxis.c2p(0),
    };
}"""


@pytest.fixture(scope="module", params=[62, 400, 1943, 10180])
def wide(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """How many layers the run has, and the address of its dashboard."""
    root = wide_spikes.build(tmp_path_factory.mktemp("wide") / "runs", request.param)
    with serve(root) as address:
        yield request.param, address


def pixels(page: Page, scale: int) -> tuple[np.ndarray, dict]:
    """The heatmap as the screen shows it, and where its rows and steps are, in CSS pixels."""
    chart = page.locator(CHART).first
    page.set_viewport_size({"width": page.viewport_size["width"], "height": 2600})
    page.wait_for_timeout(500)
    settle(page)
    places, box = chart.evaluate(PLACES), chart.bounding_box()
    # Whole pixels: a clip that begins between two of them is drawn anew, and not as the screen has it.
    assert abs(box["y"] - round(box["y"])) < 0.02
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    image = np.asarray(picture, dtype=int)
    return image[round(box["y"] * scale) :, round(box["x"] * scale) :], places


@pytest.mark.parametrize(
    ("width", "scale"),
    [(390, 1), (1280, 1), (1280, 2), (1920, 1)],
)
def test_every_spike_of_one_step_is_drawn(open_page: OpenPage, wide: tuple[int, str], width: int, scale: int):
    layers, address = wide
    if layers == 10180 and (width, scale) != (1280, 1):
        pytest.skip("its rows are as many as those of 2,000 layers")
    page = open_page(f"{address}/layers?runs=spikes", width, scale=scale)
    settle_wide(page)
    image, places = pixels(page, scale)
    names = list(wide_spikes.SHAPES[layers])
    row_of = rows_of(names, places)
    lost = []
    for layer, step in wide_spikes.spikes(layers, wide_spikes.STEPS[layers]):
        row = places["rows"][row_of[layer]]
        column = int((step - row["x0"] + row["dx"] / 2) // row["dx"])
        assert row["highest"][column] == pytest.approx(wide_spikes.SPIKE, rel=1e-3)  # as the hover says it
        left = places["left"] + places["origin"] + places["perStep"] * (row["x0"] + (column - 0.5) * row["dx"])
        right = left + places["perStep"] * row["dx"]
        seen = image[
            round(row["top"] * scale) : max(round(row["bottom"] * scale), round(row["top"] * scale) + 1),
            round(left * scale) : max(round(right * scale), round(left * scale) + 1),
        ]
        if seen.size == 0 or not orange(seen).any():
            lost.append((names[layer], step))
    assert lost == []


def orange(seen: np.ndarray) -> np.ndarray:
    """Which pixels are as dark an orange as a ratio far above 1 has."""
    red, green, blue = seen[..., 0], seen[..., 1], seen[..., 2]
    return (red > blue + 60) & (green < 140)


def rows_of(names: list[str], places: dict) -> list[int]:
    """The row of each layer: the one that has its name, or that of its block."""
    from app.charts.bands import Member, stack
    from collector.store.families import families

    found = families(wide_spikes.SHAPES[len(names)].items())
    rows = stack([Member(name, *found[name]) for name in names])
    assert [row.said for row in rows.rows] == [row["name"] for row in places["rows"]]
    return [rows.row_of[name] for name in names]


PLACE = """(chart, [layer, step]) => {
    const trace = chart._fullData.find((each) => each.type === "heatmap" && Array.from(each.y).includes(layer));
    const axis = chart._fullLayout["yaxis" + trace.yaxis.slice(1)];
    const box = chart.getBoundingClientRect();
    const { xaxis } = chart._fullLayout;
    const row = Array.from(trace.y).indexOf(layer);
    return [box.x + xaxis._offset + xaxis.c2p(step), box.y + axis._offset + axis.c2p(row)];
}"""


@pytest.fixture(scope="module")
def transformer_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the dashboard of a run of 148 layers, one of which jumps for two steps."""
    root = tmp_path_factory.mktemp("jump") / "runs"
    WideLog(transformer(12), 3000, [jump("blocks.7.attn.qkv.weight", 2005)]).write(root, "jumps")
    with serve(root) as address:
        yield address


@pytest.fixture
def page(open_page: OpenPage, transformer_log: str) -> Page:
    """The Layers page on a laptop, with its events marked."""
    page = open_page(f"{transformer_log}/layers?runs=jumps", height=800)
    page.wait_for_selector(f"{CHART} .annotation-text:has-text('jump')")
    settle(page)
    return page


@pytest.mark.parametrize("layer", ["blocks.0.ln_1.weight", "blocks.11.ln_1.weight", "blocks.7.attn.proj.bias"])
def test_a_click_opens_the_layer_under_it_in_sight(page: Page, layer: str):
    x, y = page.locator(CHART).first.evaluate(PLACE, [layer, 2005])
    page.mouse.click(x, y)
    page.wait_for_url(f"**layer={layer}**")
    settle(page)
    page.wait_for_function(
        "document.querySelector('.st-key-layer_at_step')?.getBoundingClientRect().bottom <= innerHeight + 1"
    )
    box = page.locator(".st-key-layer_at_step").bounding_box()
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= 801
    expect(page.get_by_text("Of its family")).to_be_in_viewport()


def test_a_click_on_the_jump_tells_its_step_and_its_size(page: Page):
    x, y = page.locator(CHART).first.evaluate(PLACE, ["blocks.7.attn.qkv.weight", 2006])
    page.mouse.click(x, y)
    page.wait_for_url("**at=**")
    settle(page)
    expect(page.get_by_text(re.compile("At step 2,00[56]:"))).to_be_visible()


def test_the_name_of_a_family_shows_it_alone_and_a_mark_zooms_to_its_steps(page: Page):
    page.locator(".annotation-text", has_text=re.compile("^attn.qkv$")).click()
    page.wait_for_url("**layers=**")
    settle(page)
    rows = page.locator(CHART).first.evaluate("(chart) => chart._fullLayout.yaxis._categories")
    assert rows == [f"blocks.{block}.attn.qkv.weight" for block in range(12)]
    page.locator(".annotation-text", has_text="jump").click()
    page.wait_for_url("**steps=**")
    first, last = map(int, re.search(r"steps=(\d+)-(\d+)", page.url).groups())
    assert 1900 < first < 2005 < last < 2100
