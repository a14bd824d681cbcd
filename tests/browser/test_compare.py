"""The page Compare as somebody sees it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.app import compare_log
from tests.browser.dashboard import serve, settle

# One server and one browser, on one worker.
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

OpenPage = Callable[[str], Page]

DRAWN = """() => {
    const map = document.querySelector('[aria-label^="Ratio after clipping"]');
    const finer = map?.calcdata?.[1]?.[0];
    return finer && { z: Array.from(finer.z[0]), steps: finer.z[0].length, range: map._fullLayout.xaxis.range };
}"""
"""The finer cells of the first layer."""

RUNS = "runs=lamb&runs=clip&runs=clip-seed1&runs=large"


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard over runs that can be compared."""
    with serve(compare_log.build(tmp_path_factory.mktemp("log") / "runs")) as address:
        yield address


def chart(page: Page, label: str):
    return page.get_by_role("img", name=label)


def hover(page: Page, label: str, right: float, down: float) -> str:
    """What a chart says of a place, given as shares of its first panel."""
    box = chart(page, label).locator(".nsewdrag").first
    box.scroll_into_view_if_needed()
    place = box.bounding_box()
    assert place
    page.mouse.move(place["x"] + right * place["width"], place["y"] + down * place["height"], steps=3)
    said = chart(page, label).locator(".hoverlayer")
    expect(said).not_to_be_empty()
    return said.text_content() or ""


def test_a_group_says_its_mean_and_deviation_and_comes_apart_at_a_switch(open_page: OpenPage, compared: str):
    page = open_page(f"{compared}/compare?{RUNS}")
    legend = chart(page, "Accuracy, loss and clip hits of the runs").locator(".legendtext")
    assert legend.all_text_contents() == ["lamb", "large", "clip, mean of 2"]
    assert "clip, mean of 2 : 86.00% ± 1.41% (2 seeds)" in hover(page, "Accuracy, loss and clip hits", 0.98, 0.5)
    page.get_by_test_id("stCheckbox").filter(has_text="Group seeds").locator("label").click()
    page.wait_for_url("**group=off**")
    settle(page)
    expect(legend).to_have_text(["lamb", "clip", "clip-seed1", "large"])


def test_a_cell_of_the_difference_says_both_values(open_page: OpenPage, compared: str):
    page = open_page(f"{compared}/compare?{RUNS}&a=clip&b=lamb&difference=clipped_ratio")
    said = hover(page, "Ratio after clipping: run A against run B", 0.99, 0.1)
    assert "conv" in said
    assert "A clip 1" in said
    assert "B lamb 2.5" in said  # the ratio of the first layer at step 40
    assert "factor 0.4" in said


def test_a_zoom_into_the_difference_fetches_every_step_and_a_link_shows_the_same(open_page: OpenPage, tmp_path: Path):
    for name, clip in (("free", None), ("clipped", 1.0)):
        compare_log.write(tmp_path / "runs", name, layers=("conv",), steps=1200, clip=clip)
    with serve(tmp_path / "runs") as address:
        page = open_page(f"{address}/compare?difference=clipped_ratio")
        expect(page.get_by_text("A over B, steps 1 to 1,200. A cell for 2 steps.")).to_be_visible()
        label = "Ratio after clipping: run A against run B"
        box = chart(page, label).locator(".nsewdrag").first
        box.scroll_into_view_if_needed()
        place = box.bounding_box()
        assert place
        y = place["y"] + place["height"] / 2
        page.mouse.move(place["x"] + 0.5 * place["width"], y)
        page.mouse.down()
        page.mouse.move(place["x"] + 0.6 * place["width"], y + 2, steps=5)
        page.mouse.up()
        page.wait_for_url("**steps=**")
        expect(page.get_by_text("A cell a step.")).to_be_visible()
        settle(page)
        first, last = map(int, parse_qs(urlparse(page.url).query)["steps"][0].split("-"))
        again = open_page(page.url)
        expect(again.get_by_text("A cell a step.")).to_be_visible()
        for each in (page, again):
            each.wait_for_function(f"() => ({DRAWN})()?.steps === {last - first + 1}")
            drawn = each.evaluate(DRAWN)
            assert drawn["range"] == pytest.approx([first - 0.5, last + 0.5], abs=1)
            steps = np.arange(first, last + 1)
            assert np.allclose(drawn["z"], -np.log10(0.5 + 0.05 * steps), atol=1e-4)


def test_a_link_to_another_axis_and_pair_shows_the_same(open_page: OpenPage, compared: str):
    page = open_page(f"{compared}/compare?{RUNS}&along=time&a=large&b=clip&training=on&seeds=off")
    expect(page.get_by_role("combobox", name="Run A")).to_have_value("large")
    expect(page.get_by_role("combobox", name="against run B")).to_have_value("clip")
    titles = chart(page, "Accuracy, loss and clip hits").locator(".g-xtitle, .g-x2title, .g-x3title")
    expect(titles.last).to_have_text("seconds of training")
    expect(page.get_by_test_id("stTable")).to_contain_text("86.00 ± 1.41")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
