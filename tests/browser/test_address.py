"""The address says what is shown, and the browser's history goes back over what the reader did."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState

from tests.browser.dashboard import serve, settle, wait_for_chart
from tests.browser.test_dashboard import go_to, heatmap, zoom
from tests.dashboard_log import Training

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

OpenPage = Callable[[str], Page]


def said(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlparse(page.url).query)


def show(page: Page, quantity: str) -> None:
    page.get_by_role("radio", name=quantity, exact=True).click()


def test_the_page_that_opens_first_says_in_its_address_what_it_shows(open_page: OpenPage, address: str):
    page = open_page(f"{address}/layers")
    page.wait_for_url("**show=**layer=**")
    assert len(said(page)["runs"]) == 3
    assert said(page)["run"] == said(page)["runs"][-1:]
    assert said(page)["show"] == ["trust_ratio"]


def test_a_link_stays_with_its_runs_when_another_begins(open_page: OpenPage, tmp_path: Path):
    for name in ("a", "b"):
        training = Training(tmp_path / "runs", name, 0.2)
        training.steps(10)
        training.collector.close()
    with serve(tmp_path / "runs") as address:
        page = open_page(f"{address}/layers")
        page.wait_for_url("**run=b**")
        link = page.url
        training = Training(tmp_path / "runs", "newer", 0.2)
        training.steps(10)
        training.collector.close()
        page = open_page(link)
        expect(page.get_by_role("combobox", name="of run")).to_have_value("b")
        assert said(page)["runs"] == ["a", "b"]


def test_a_step_back_takes_back_one_option_and_the_next_one_leaves_the_page(open_page: OpenPage, address: str):
    page = open_page(f"{address}/?runs=clipped&runs=lamb")
    go_to(page, "Clipping")
    go_to(page, "Layers")
    page.wait_for_url("**layer=**")
    for quantity, column in (("Weight norm", "weight_norm"), ("Clip hits", "hit_rate")):
        show(page, quantity)
        page.wait_for_url(f"**show={column}**")
        settle(page)
    page.go_back()
    page.wait_for_url("**show=weight_norm**")
    expect(page.get_by_role("radio", name="Weight norm", exact=True)).to_be_checked()
    page.go_back()
    page.wait_for_url("**show=trust_ratio**")
    expect(page.get_by_role("radio", name="Trust ratio", exact=True)).to_be_checked()
    settle(page)
    page.go_forward()
    page.wait_for_url("**show=weight_norm**")
    expect(page.get_by_role("radio", name="Weight norm", exact=True)).to_be_checked()
    settle(page)
    page.go_back()
    page.wait_for_url("**show=trust_ratio**")
    settle(page)
    page.go_back()
    expect(page.get_by_role("heading", name="Clipping", exact=True)).to_be_visible()
    assert said(page)["runs"] == ["clipped", "lamb"]


def test_a_step_back_takes_back_a_zoom(open_page: OpenPage, address: str):
    page = open_page(f"{address}/layers?runs=clipped")
    page.wait_for_url("**layer=**")
    everything = heatmap(page)["range"]
    zoom(page, 0.2, 0.6)
    page.wait_for_url("**steps=**")
    settle(page)
    page.go_back()
    page.wait_for_url(lambda url: "steps=" not in url)
    wait_for_chart(page, f"(chart) => chart._fullLayout.xaxis.range[1] === {everything[1]}")
    settle(page)
    assert "steps" not in said(page)


GO_BACK_WHILE_A_CHART_IS_REDRAWN = """async (chart) => {
    const before = chart.dataset.drawn;
    for (let step = 10; step < 60 && chart.dataset.drawn === before; step++) {
        Plotly.relayout(chart, { "xaxis.range": [step - 5, step] });
        if (step === 12) window.history.back(); // while the server is at work on the steps before
        await new Promise((next) => setTimeout(next, 2));
    }
}"""


def test_a_step_back_counts_though_a_chart_is_redrawn_late(open_page: OpenPage, address: str):
    page = open_page(f"{address}/layers?runs=clipped")
    page.wait_for_url("**layer=**")
    everything = heatmap(page)["range"]
    for _ in range(3):
        zoom(page, 0.2, 0.6)
        page.wait_for_url("**steps=**")
        settle(page)
        page.locator(".lambc-chart[data-drawn]").first.evaluate(GO_BACK_WHILE_A_CHART_IS_REDRAWN)
        wait_for_chart(page, f"(chart) => chart._fullLayout.xaxis.range[1] === {everything[1]}")
        settle(page)
        assert "steps" not in said(page)


BACK_AND_BACK = """async (times) => {
    for (let step = 0; step < times; step++) {
        window.history.back();
        await new Promise((next) => setTimeout(next, 40));
    }
}"""


def entries(page: Page) -> list[str]:
    """The addresses that the browser's history has."""
    return page.evaluate("navigation.entries().map((entry) => entry.url)")


def test_quick_steps_back_leave_the_history_as_it_is(open_page: OpenPage, address: str):
    page = open_page(f"{address}/layers?runs=clipped&show=trust_ratio")
    for quantity, column in (("Weight norm", "weight_norm"), ("Update norm", "update_norm"), ("Clip hits", "hit_rate")):
        show(page, quantity)
        page.wait_for_url(f"**show={column}**")
        settle(page)
    before = entries(page)
    page.evaluate(BACK_AND_BACK, 3)
    expect(page.get_by_role("radio", name="Trust ratio", exact=True)).to_be_checked()
    settle(page)
    assert said(page)["show"] == ["trust_ratio"]
    assert entries(page) == before


@pytest.mark.parametrize("late", ["", "Plotly.relayout(chart, { 'xaxis.range': [5, 20] });"])
def test_a_step_back_to_another_page_outlives_what_this_one_says_late(open_page: OpenPage, address: str, late: str):
    page = open_page(f"{address}/clipping?runs=clipped&runs=lamb&run=clipped")
    go_to(page, "Layers")
    show(page, "Weight norm")
    page.wait_for_url("**show=weight_norm**")
    settle(page)
    page.go_back()
    page.wait_for_url("**show=trust_ratio**")
    settle(page)
    before = entries(page)
    chart = page.locator(".lambc-chart[data-drawn]").first
    chart.evaluate(f"(chart) => {{ window.addEventListener('popstate', () => {{ {late} }}); window.history.back(); }}")
    expect(page.get_by_role("heading", name="Clipping", exact=True)).to_be_visible()
    settle(page)
    assert urlparse(page.url).path == "/clipping"
    assert said(page)["runs"] == ["clipped", "lamb"]
    assert entries(page) == before


def test_a_click_that_opens_another_page_is_one_step(open_page: OpenPage, address: str):
    page = open_page(f"{address}/clipping?runs=clipped&runs=lamb&run=clipped")
    before = len(entries(page))
    box = page.locator(".lambc-chart[data-drawn] .nsewdrag").first.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.get_by_role("heading", name="Layers", exact=True)).to_be_visible()
    settle(page)
    assert len(entries(page)) == before + 1
    page.go_back()
    expect(page.get_by_role("heading", name="Clipping", exact=True)).to_be_visible()
    settle(page)
    assert (said(page)["runs"], said(page)["run"]) == (["clipped", "lamb"], ["clipped"])


def test_a_step_back_counts_on_a_page_in_a_frame(open_page: OpenPage, address: str):
    page = open_page(f"{address}/layers?runs=clipped&show=trust_ratio&embed=true")
    show(page, "Weight norm")
    page.wait_for_url("**show=weight_norm**")
    settle(page)
    page.go_back()
    expect(page.get_by_role("radio", name="Trust ratio", exact=True)).to_be_checked()
    settle(page)
    show(page, "Clip hits")
    page.wait_for_url("**show=hit_rate**")


@pytest.mark.parametrize("more", ["", "&steps=5-35"])
def test_a_page_is_asked_for_once_when_it_opens_and_once_for_a_zoom(context: BrowserContext, address: str, more: str):
    page = context.new_page()
    frames: list[bytes] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: frames.append(bytes(frame))))
    page.goto(f"{address}/layers?runs=clipped{more}")
    settle(page)
    page.wait_for_timeout(1000)
    opened = len(asked_for(frames))
    before = page.url
    zoom(page, 0.2, 0.6)
    page.wait_for_url(lambda url: url != before)
    settle(page)
    page.wait_for_timeout(1000)
    page.close()
    assert (opened, len(asked_for(frames))) == (1, 2)


def asked_for(frames: list[bytes]) -> list[ClientState]:
    """What of some messages of the browser asks for a whole page, and not for a part that looks at the log again."""
    asked = [
        BackMsg.FromString(frame).rerun_script for frame in frames if BackMsg.FromString(frame).HasField("rerun_script")
    ]
    return [each for each in asked if not each.fragment_id]


def test_a_step_back_takes_back_the_choice_of_a_run(open_page: OpenPage, address: str):
    page = open_page(f"{address}/layers?runs=clipped&runs=lamb")
    page.wait_for_url("**layer=**")
    page.get_by_test_id("stSidebar").get_by_role("button", name="Remove lamb", exact=True).click()
    page.wait_for_url(lambda url: "runs=lamb" not in url)
    settle(page)
    page.go_back()
    page.wait_for_url("**runs=lamb**")
    expect(page.get_by_test_id("stSidebar").get_by_role("button", name="Remove lamb", exact=True)).to_be_visible()


def test_a_link_to_a_run_that_is_gone_says_so_and_shows_the_rest(open_page: OpenPage, address: str):
    page = open_page(f"{address}/layers?runs=clipped&runs=renamed&run=clipped")
    expect(page.get_by_text("renamed is named in the address, and is not in this log")).to_be_visible()
    expect(page.get_by_role("combobox", name="of run")).to_have_value("clipped")
    assert said(page)["runs"] == ["clipped", "renamed"]
    page = open_page(f"{address}/layers?runs=renamed")
    expect(page.get_by_text("Choose one or several runs in the sidebar.")).to_be_visible()


def test_a_tab_is_called_by_its_page_and_its_runs(open_page: OpenPage, address: str):
    page = open_page(f"{address}/?runs=clipped")
    expect(page).to_have_title("Runs · clipped · LAMBC")
    go_to(page, "Bounds")
    expect(page).to_have_title("Bounds · clipped · LAMBC")
    page = open_page(f"{address}/compare?runs=clipped&runs=lamb")
    expect(page).to_have_title("Compare · 2 runs · LAMBC")
