"""The first page as somebody uses it: runs are ticked in the table, searched, and watched."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from collector import Collector
from tests.browser.dashboard import serve, settle, wait_until
from tests.browser.slow_line import slow_line
from tests.collector.emitter import Emitter
from tests.dashboard_log import HOSTILE, Training

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

OpenPage = Callable[[str], Page]

ROW, HEAD, BOXES = 35, 35, 32
"""Heights in the table, in pixels, and the width of the column of boxes: it is drawn on a canvas."""


def table(page: Page) -> Locator:
    return page.get_by_test_id("stDataFrame")


def tick(page: Page, row: int) -> None:
    """Click the box of a row, counted from 0 as the table shows them."""
    table(page).click(position={"x": 16, "y": HEAD + ROW * (row + 0.5)})  # waits until it moves no more


def expect_rows(page: Page, names: list[str]) -> None:
    """From top to bottom, by the table that a screen reader is given."""
    expect(table(page).locator("tbody tr td[aria-colindex='1']")).to_have_text(names)


def ticks(page: Page) -> Locator:
    return table(page).locator("tbody tr[aria-selected=true] td[aria-colindex='1']")


def expect_ticked(page: Page, names: list[str]) -> None:
    expect(ticks(page)).to_have_text(names)


def sort_by(page: Page, column: str) -> None:
    """Click the head of a column: the table is drawn on a canvas, its columns as wide as they are told to be."""
    table(page).scroll_into_view_if_needed()
    box = table(page).locator("canvas").first.bounding_box()
    assert box
    heads = [text.strip(" ▲▼") for text in table(page).locator("thead th").all_inner_texts()]
    widths = {"run": 170, "status": 100, "note": 220}
    before = BOXES + sum(widths[head] for head in heads[: heads.index(column)])
    page.mouse.click(box["x"] + before + 20, box["y"] + HEAD / 2)
    page.mouse.move(0, 0)


def chosen(page: Page) -> list[str]:
    """What the address says."""
    return page.evaluate("new URLSearchParams(location.search).getAll('runs')")


def test_ticked_rows_are_the_choice_of_runs_and_lead_on(open_page: OpenPage, address: str):
    page = open_page(f"{address}/?runs=lamb")
    expect_rows(page, ["killed", HOSTILE, "failed", "between", "clipped", "lamb"])  # the newest first
    expect_ticked(page, ["lamb"])
    expect(page.get_by_role("button", name="Compare")).to_be_disabled()
    tick(page, 4)
    page.wait_for_url("**runs=clipped**")
    assert chosen(page) == ["lamb", "clipped"]
    expect(page.get_by_test_id("stSidebar").get_by_test_id("stMultiSelect")).to_contain_text("clipped")
    settle(page)
    tick(page, 5)
    page.wait_for_url(lambda url: "lamb" not in url)
    expect(page.get_by_text("6 runs, 1 chosen")).to_be_visible()
    settle(page)
    tick(page, 1)
    page.wait_for_url("**script**")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="Compare", exact=True)).to_be_visible()
    settle(page)
    assert sorted(chosen(page)) == sorted(["clipped", HOSTILE])


def test_what_a_search_hides_stays_chosen(open_page: OpenPage, address: str):
    page = open_page(f"{address}/?runs=lamb&find=clip%3D0.2&only={quote('status: ✓ finished')}")
    expect_rows(page, ["clipped"])
    tick(page, 0)
    page.wait_for_url("**runs=clipped**")
    assert chosen(page) == ["lamb", "clipped"]
    page.get_by_role("searchbox", name="Search").fill("nothing says this")
    expect(page.get_by_text("No run is like that.")).to_be_visible()
    page.get_by_role("searchbox", name="Search").fill("")
    expect(page.get_by_text("of 6 runs, 2 chosen")).to_be_visible()
    expect_ticked(page, ["clipped", "lamb"])


def test_a_run_that_begins_moves_no_tick(open_page: OpenPage, tmp_path: Path):
    """Rows are ticked by their place, and a new run comes in at the top."""
    for name in ("first", "second"):
        training = Training(tmp_path / "runs", name, 0.2)
        training.steps(10)
        training.collector.close()
    with serve(tmp_path / "runs") as address:
        page = open_page(address)
        tick(page, 1)  # both were chosen at first
        page.wait_for_url("**runs=second**")
        expect_ticked(page, ["second"])
        training = Training(tmp_path / "runs", "third", 0.2)
        training.steps(10)
        training.collector.flush()
        expect(page.get_by_text("3 runs, 1 chosen")).to_be_visible()
        settle(page)
        expect_rows(page, ["third", "second", "first"])
        expect_ticked(page, ["second"])
        assert chosen(page) == ["second"]
        tick(page, 0)
        page.wait_for_url("**runs=third**")
        expect_ticked(page, ["third", "second"])
        training.collector.close()


def test_a_sorted_table_moves_on_under_no_tick(open_page: OpenPage, tmp_path: Path):
    """A live run's first accuracy moves its row; a tick is of the run, not of the place."""
    for name in ("first", "second"):
        training = Training(tmp_path / "runs", name, 0.2)
        training.steps(10)
        training.collector.close()
    live = Training(tmp_path / "runs", "live", 0.2)
    live.steps(4)  # there is no accuracy before step 8
    live.collector.flush()
    with serve(tmp_path / "runs") as address:
        page = open_page(f"{address}/?runs=live")
        expect_rows(page, ["live", "second", "first"])
        sort_by(page, "best")
        page.wait_for_url("**sort=best-down**")
        expect_rows(page, ["second", "first", "live"])
        expect_ticked(page, ["live"])
        live.collector.log({"test/accuracy": 1.0})
        live.steps(1)
        live.collector.flush()
        expect_rows(page, ["live", "second", "first"])
        expect_ticked(page, ["live"])
        settle(page)
        tick(page, 1)
        page.wait_for_url("**runs=second**")
        expect_ticked(page, ["live", "second"])
        assert chosen(page) == ["live", "second"]
        sort_by(page, "best")
        page.wait_for_url("**sort=best-up**")
        expect_rows(page, ["second", "first", "live"])
        expect_ticked(page, ["second", "live"])
        sort_by(page, "best")
        page.wait_for_url(lambda url: "sort=" not in url)
        expect_rows(page, ["live", "second", "first"])
        expect_ticked(page, ["live", "second"])
        live.collector.close()


def test_rows_stay_ticked_where_the_page_runs_again_before_the_table_is_drawn(browser: Browser, tmp_path: Path):
    training = Training(tmp_path / "runs", "live", 0.2)
    training.steps(10)
    training.collector.flush()
    held: list[Route] = []
    with serve(tmp_path / "runs") as address, browser.new_context() as context:
        context.set_default_timeout(120_000)
        page = context.new_page()
        page.route("**/DataFrame.*.js", lambda route: held.append(route))
        page.goto(address)
        expect(page.get_by_text("10 steps")).to_be_visible()
        training.steps(10)
        training.collector.flush()
        expect(page.get_by_text("20 steps")).to_be_visible()
        assert held, "the script that draws tables has another name by now"
        for route in held:
            route.continue_()
        settle(page)
        expect_ticked(page, ["live"])
    training.collector.close()


@pytest.mark.slow
def test_over_a_slow_line_no_tick_is_taken_back(open_page: OpenPage, tmp_path: Path):
    """The page looks at the log by itself meanwhile, and with each look the browser says what it thinks is chosen."""
    for name in ("a", "b", "c"):
        training = Training(tmp_path / "runs", name, 0.2)
        training.steps(10)
        training.collector.close()
    with serve(tmp_path / "runs") as served, slow_line(int(served.rpartition(":")[2]), there=1.5, back=0.3) as line:
        address, slow = line
        page = open_page(address)
        expect_ticked(page, ["c", "b", "a"])
        slow.set()
        for ticked in (["a"], ["c", "b", "a"], ["a"]):
            for row in (0, 1):
                tick(page, row)
                page.wait_for_timeout(300)
            wait_until(lambda ticked=ticked: sorted(chosen(page)) == sorted(ticked))
            page.wait_for_timeout(5_700)  # by then any news has come: the page looks every two seconds
            # Not waited for: ticks that come back go away again, or not, with the next looks.
            assert ticks(page).all_inner_texts() == ticked
            assert sorted(chosen(page)) == sorted(ticked)
        tick(page, 1)
        page.wait_for_timeout(300)
        page.get_by_test_id("stSidebarNav").get_by_text("Layers").click()
        page.wait_for_timeout(9_000)
        # Two choices have crossed on the line. Either may win, but of all that shows a choice nothing may lag behind.
        sidebar = page.get_by_test_id("stSidebar")

        def is_one_choice() -> bool:
            texts = sidebar.get_by_test_id("stMarkdown").all_inner_texts()
            drawn = [text.split()[1] for text in texts if text and text[0] in "■◧▤▦"]
            options = [
                each for each in "abc" if sidebar.get_by_role("button", name=f"Remove {each}", exact=True).count()
            ]
            return sorted(drawn) == sorted(options) == sorted(chosen(page)) != []

        wait_until(is_one_choice)


def test_a_dashboard_offers_no_deployment(open_page: OpenPage, address: str):
    page = open_page(address)
    expect(page.get_by_test_id("stAppDeployButton")).to_have_count(0)
    assert "Deploy" not in page.inner_text("body")


def test_what_stands_beside_a_number_is_read_to_its_end_with_four_cards(open_page: OpenPage, tmp_path: Path):
    for run in "abcd":
        with Collector(Emitter(["w"]), tmp_path, name=run) as collector:
            collector.log({"train/loss": 1.0}, step=1)
    with serve(tmp_path) as address:
        page = open_page(f"{address}/?runs=a&runs=b&runs=c&runs=d")
        beside = page.get_by_test_id("stMetricDelta").filter(has_text="bound not noted")
        expect(beside).to_have_count(4)
        for each in beside.all():
            assert each.evaluate("""(delta) => [delta, ...delta.querySelectorAll("*")].every(
                (part) => part.scrollWidth <= part.clientWidth)""")
