"""The page Compare as somebody sees it."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.app import compare_log
from tests.browser.conftest import serve, settle

# One server and one browser, on one worker.
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

OpenPage = Callable[[str], Page]

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


def test_a_link_to_another_axis_and_pair_shows_the_same(open_page: OpenPage, compared: str):
    page = open_page(f"{compared}/compare?{RUNS}&along=time&a=large&b=clip&training=on&seeds=off")
    expect(page.get_by_role("combobox", name="Run A")).to_have_value("large")
    expect(page.get_by_role("combobox", name="against run B")).to_have_value("clip")
    titles = chart(page, "Accuracy, loss and clip hits").locator(".g-xtitle, .g-x2title, .g-x3title")
    expect(titles.last).to_have_text("seconds of training")
    expect(page.get_by_test_id("stTable")).to_contain_text("86.00 ± 1.41")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
