"""The map of differences on the page Compare: a click on it opens the page Layers."""

from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Locator, Page, expect

from lambc.experiments.wide_logs import WideLog, mixture
from tests.app.test_wide_compare import EXPERT, ROW, plant
from tests.browser.dashboard import serve, settle
from tests.browser.test_wide_layers import PLACE

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

OpenPage = Callable[[str], Page]

OTHER_ROW = ROW.replace("layers.3", "layers.2")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard over two runs of 2,440 layers that differ in one of 200 experts and in step 7."""
    root = tmp_path_factory.mktemp("pair") / "runs"
    WideLog(mixture(5, 200, 1), 20).write(root, "same")
    WideLog(mixture(5, 200, 1), 20, [plant]).write(root, "odd")
    with serve(root) as address:
        yield address


def difference(page: Page) -> Locator:
    found = page.locator(".lambc-chart[data-drawn][aria-label*='run A against run B']")
    found.scroll_into_view_if_needed()
    settle(page)
    return found


def opened(page: Page) -> dict[str, list[str]]:
    """What the address says of the page Layers that has been opened."""
    page.wait_for_url("**/layers?**")
    settle(page)
    return parse_qs(urlparse(page.url).query)


def test_a_click_opens_the_layer_that_is_furthest_apart_there(open_page: OpenPage, pair: str):
    page = open_page(f"{pair}/compare?runs=same&runs=odd&a=odd&b=same&difference=clipped_ratio&steps=3-12")
    page.mouse.click(*difference(page).evaluate(PLACE, [ROW, 7]))
    said = opened(page)
    assert {key: said[key] for key in ("run", "layer", "at", "show", "steps")} == {
        "run": ["odd"], "layer": [EXPERT], "at": ["7"], "show": ["clipped_ratio"], "steps": ["3-12"],
    }  # fmt: skip
    assert set(said["runs"]) == {"same", "odd"}
    expect(page.get_by_role("combobox", name="Layer", exact=True)).to_have_value(EXPERT)
    expect(page.get_by_role("combobox", name="of run")).to_have_value("odd")
    page.go_back()
    page.wait_for_url("**/compare?**")
    expect(page.get_by_role("heading", name="Compare", exact=True)).to_be_visible()
    settle(page)  # one that is closed while it is being loaded anew may never say that it is


def test_a_click_where_the_runs_are_equal_opens_a_layer_of_that_row(open_page: OpenPage, pair: str):
    page = open_page(f"{pair}/compare?runs=same&runs=odd&a=same&b=odd")
    page.mouse.click(*difference(page).evaluate(PLACE, [OTHER_ROW, 15]))
    said = opened(page)
    assert said["run"] == ["same"]
    assert said["at"] == ["15"]
    assert said["layer"][0].startswith("model.layers.2.block_sparse_moe.experts.")
    assert "steps" not in said


def test_a_click_on_the_name_of_a_kind_shows_its_layers_alone(open_page: OpenPage, pair: str):
    page = open_page(f"{pair}/compare?runs=same&runs=odd")
    difference(page).locator(".annotation", has_text="experts.*.w1").first.click()
    said = opened(page)
    assert "experts" in said["layers"][0]
    assert "layer" in said
