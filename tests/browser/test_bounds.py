"""The page on bounds as somebody sees it."""

import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.browser.dashboard import settle, wait_for_chart
from tests.dashboard_log import HOSTILE

# One server and one browser, on one worker.
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

OpenPage = Callable[[str], Page]

MARKED = "(chart) => chart._fullData.find((trace) => trace.mode === 'markers').x[0]"


def suggested(page: Page) -> float:
    said = page.get_by_role("heading", name="An upper bound of").inner_text()
    return float(re.search(r"bound of (\S+) would clip", said)[1])


def test_another_hit_rate_gives_another_bound_in_words_in_code_and_in_the_chart(open_page: OpenPage, address: str):
    page = open_page(f"{address}/bounds?runs=lamb")
    before = suggested(page)
    page.get_by_role("slider", name="Wanted hit rate").press("ArrowRight")
    page.wait_for_url("**rate=10**")
    expect(page.get_by_role("heading", name=f"An upper bound of {before:g} ")).to_have_count(0)
    settle(page)
    after = suggested(page)
    assert after < before
    expect(page.get_by_test_id("stCode").first).to_contain_text(f"clip={after:g})")
    chart = page.locator(".lambc-chart[data-drawn]").first
    wait_for_chart(page, f"(chart) => chart.layout.annotations[0].text.includes('{after:g}')")
    assert chart.evaluate(MARKED) == after


def test_a_pointer_on_a_curve_tells_what_a_bound_there_would_clip(open_page: OpenPage, address: str):
    page = open_page(f"{address}/bounds?runs=lamb")
    box = page.locator(".lambc-chart[data-drawn] .nsewdrag").first.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    told = page.locator(".lambc-chart .hoverlayer").first
    expect(told).to_contain_text(re.compile(r"A bound of .* would clip"))
    for name in ("all layers", "linear", "bias"):
        expect(told).to_contain_text(re.compile(rf"{name} : \d+\.\d%"))


def test_a_link_asks_what_its_sender_asked(open_page: OpenPage, address: str):
    asked = "runs=lamb&runs=clipped&run=lamb&part=epochs&epochs=2-3&rate=20&apart=layer"
    page = open_page(f"{address}/bounds?{asked}")
    expect(page.get_by_text("steps 9 to 24.")).to_be_visible()
    expect(page.get_by_test_id("stCode").last).to_contain_text("at most 20% of each layer's steps")
    assert suggested(open_page(page.url)) == suggested(page)


def test_hostile_names_stay_text(open_page: OpenPage, address: str):
    page = open_page(f"{address}/bounds?runs={quote(HOSTILE)}&runs=clipped&run={quote(HOSTILE)}&apart=layer")
    assert page.locator("img[src=x], [onclick]").count() == 0
    assert page.locator(".lambc-chart .ytick text").first.is_visible()
    expect(page.get_by_test_id("stCode").last).to_contain_text("<b onclick=")
    expect(page.get_by_test_id("stCode").last).to_be_visible()
    expect(page.locator("[data-testid=stException], [data-testid=stAlertContentError]")).to_have_text([])
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
