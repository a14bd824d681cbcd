"""The page Clipping in a real Chromium: the map of hits, and the way from an event to its place."""

from collections.abc import Callable, Iterator

import pandas as pd
import pytest
from playwright.sync_api import Locator, Page, expect

from tests import unusual_log
from tests.browser.dashboard import serve, settle

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

MAP = """(chart) => ({
    z: chart.calcdata[0][0].z.map((row) => Array.from(row)),
    layers: chart._fullLayout.yaxis._categories,
})"""

OpenPage = Callable[[str], Page]


@pytest.fixture(scope="module")
def unusual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard over a calm run and one in which something happens."""
    root = unusual_log.build(tmp_path_factory.mktemp("log") / "runs", "calm", calm=True)
    with serve(unusual_log.build(root)) as address:
        yield address


def choose_row(page: Page, row: int) -> None:
    """Tick a row of the table of events, whose cells are drawn on a canvas."""
    table = page.get_by_test_id("stDataFrame").first
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    assert box
    page.mouse.click(box["x"] + 15, box["y"] + 35 * (row + 1) + 17)


def test_an_event_leads_to_its_place(open_page: OpenPage, unusual: str):
    page = open_page(f"{unusual}/clipping?runs=calm&runs=unusual")
    choose_row(page, 0)
    page.wait_for_url("**/layers?**")
    settle(page)
    expect(page.get_by_role("heading", name="Layers", exact=True)).to_be_visible()
    assert {"layer=fc.weight", "steps=120-200", "at=150"} <= set(page.url.split("?")[1].split("&"))
    expect(page.get_by_role("combobox", name="Layer", exact=True)).to_have_value("fc.weight")
    expect(page.get_by_role("combobox", name="of run")).to_have_value("unusual")
    shown = page.locator(".lambc-chart[data-drawn]").first.evaluate("(chart) => chart._fullLayout.xaxis.range")
    assert shown == [119.5, 200.5]


def test_a_second_event_leads_to_another_place(open_page: OpenPage, unusual: str):
    page = open_page(f"{unusual}/clipping?runs=unusual")
    for row, steps, at in ((0, "steps=120-200", "at=150"), (1, "steps=51-112", "at=81")):
        choose_row(page, row)
        page.wait_for_function(  # the run stays chosen
            "(parts) => location.pathname === '/layers' && parts.every((part) => location.search.includes(part))",
            arg=["runs=unusual", steps, at],
        )
        settle(page)
        page.get_by_test_id("stSidebarNav").get_by_role("link", name="Clipping").click()
        expect(page.get_by_role("heading", name="Clipping", exact=True)).to_be_visible()
        settle(page)


def test_the_map_shows_both_bounds_and_all_layers(open_page: OpenPage, unusual: str):
    page = open_page(f"{unusual}/clipping?runs=calm")
    drawn = page.locator(".lambc-chart[data-drawn]").first.evaluate(MAP)
    assert drawn["layers"] == unusual_log.LAYERS
    kinds = [set(row) for row in drawn["z"]]
    assert kinds == [{0, -1}, {0}, {1}, {0}]
    expect(page.get_by_text("Nothing unusual in 800 layer-steps")).to_be_visible()


def test_the_map_is_saved_with_a_column_for_each_bound(open_page: OpenPage, unusual: str):
    page = open_page(f"{unusual}/clipping?runs=unusual")
    chart = page.locator(".lambc-chart[data-drawn]:has(.heatmaplayer .hm)").first
    chart.hover()
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV", exact=True).nth(charts_before(chart)).click()
    saved = pd.read_csv(download.value.path())
    cells = saved[saved["upper_hit_rate"].notna() & saved["lower_hit_rate"].notna()]
    drawn = [value for row in chart.evaluate(MAP)["z"] for value in row if value is not None]
    assert len(cells) == len(drawn)
    assert cells["lower_hit_rate"].max() > 0
    assert cells["upper_hit_rate"].max() > 0
    assert set(saved[saved["series"] == "first hit"]["layer"]) <= set(unusual_log.LAYERS)


def charts_before(chart: Locator) -> int:
    return chart.evaluate("(chart) => [...document.querySelectorAll('.lambc-chart')].indexOf(chart)")
