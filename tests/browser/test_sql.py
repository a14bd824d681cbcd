"""The SQL page as somebody uses it, and as somebody tries to break it."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlparse

import pandas as pd
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Page, expect

from collector import connect
from tests.browser.dashboard import serve, settle, wait_until
from tests.dashboard_log import Training

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

OpenPage = Callable[[str], Page]

ENDLESS = "SELECT count(*) FROM range(1_000_000_000_000_000) AS a WHERE hash(a.range) = 7"


def write(page: Page, sql: str) -> None:
    page.get_by_role("textbox", name="Query").fill(sql)


def run(page: Page, sql: str) -> None:
    """Write a query and press Ctrl+Enter."""
    write(page, sql)
    page.keyboard.press("Control+Enter")


def download(page: Page, kind: str) -> Path:
    with page.expect_download() as started:
        page.locator(f".st-key-sql-{kind.lower()} button").click()
    assert re.fullmatch(rf"lambc-\d{{8}}-\d{{6}}\.{kind.lower()}", started.value.suggested_filename)
    return started.value.path()


def workers(address: str) -> dict[int, int]:
    """The processes that answer queries for the server at `address`, and the ticks that each has worked."""
    port, found = str(urlparse(address).port).encode(), {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            numbers = (process / "stat").read_text().rpartition(")")[2].split()
            server = Path("/proc", numbers[1], "cmdline").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"collector.store.sandbox_worker" in command and port in server:
            found[int(process.name)] = int(numbers[11]) + int(numbers[12])
    return found


def test_attacks_are_refused_an_endless_join_is_stopped_and_the_next_query_is_answered(open_page: OpenPage, log: Path):
    with serve(log) as address:
        page = open_page(f"{address}/sql?runs=clipped&sql=" + quote("FROM read_text('/etc/passwd')"))
        complaint = page.get_by_test_id("stAlert")
        expect(complaint).to_have_text(re.compile(r"read_text\(\) cannot be asked here"))
        assert "root:" not in page.inner_text("body")
        for attack, said in (
            (f"WITH x AS (COPY (SELECT 1) TO '{log}/new') FROM x", "containing a COPY statement"),
            ("LOAD httpfs", "only a query that reads is answered"),
            ("SET enable_external_access = true", "only a query that reads is answered"),
        ):
            run(page, attack)
            page.wait_for_url(f"**sql={attack.split()[0]}*")
            expect(complaint).to_have_text(re.compile(re.escape(said)))
        assert not (log / "new").exists()
        run(page, ENDLESS)
        page.get_by_role("button", name="Stop").click()
        expect(complaint).to_have_text(re.compile("Stopped after"))
        run(page, "SELECT 6 * 7 AS x")
        expect(page.get_by_text(re.compile("^1 row in"))).to_be_visible()
        expect(complaint).to_have_count(0)
        assert page.get_by_role("textbox", name="Query").input_value() == "SELECT 6 * 7 AS x"


def test_an_answer_is_drawn_and_kept_in_files_and_a_link_shows_it_again(open_page: OpenPage, address: str, log: Path):
    sql = "SELECT run, step, value FROM metrics WHERE name = 'train/loss' AND run IN ('clipped', 'lamb') ORDER BY ALL"
    page = open_page(f"{address}/sql?runs=clipped&runs=lamb")
    run(page, sql)
    expect(page.get_by_text(re.compile("^80 rows in"))).to_be_visible()
    settle(page)
    expected = connect(log).sql(sql).to_arrow_table()
    pd.testing.assert_frame_equal(pd.read_csv(download(page, "CSV")), expected.to_pandas())
    assert pq.read_table(download(page, "Parquet")).to_pylist() == expected.to_pylist()
    page.get_by_role("combobox", name="Draw").click()
    page.get_by_role("option", name="points").click()
    page.wait_for_url("**sql-draw=points**")
    settle(page)  # while the page runs, its address may lack what it has yet to say
    assert "sql=SELECT" in page.url
    again = open_page(page.url)
    expect(again.get_by_text(re.compile("^80 rows in"))).to_be_visible()
    settle(again)
    chart = again.locator(".lambc-chart[data-drawn]").first
    assert chart.evaluate("(chart) => chart._fullData.map((trace) => [trace.name, trace.mode])") == [
        ["clipped", "markers"],
        ["lamb", "markers"],
    ]
    assert chart.evaluate("(chart) => Array.from(chart.calcdata[0], (point) => point.y)") == pytest.approx(
        expected.to_pandas().query("run == 'clipped'")["value"].tolist()
    )


def test_what_is_being_written_and_the_answer_outlive_the_refreshes_of_a_run_that_goes_on(
    open_page: OpenPage, tmp_path: Path
):
    training = Training(tmp_path / "runs", "live", 0.2)
    training.steps(4)
    training.collector.flush()
    with serve(tmp_path / "runs") as address:
        page = open_page(f"{address}/sql?sql=SELECT+count(*)+AS+n+FROM+trust_ratios")
        expect(page.get_by_text(re.compile("^1 row in"))).to_be_visible()
        write(page, "SELECT half a thought")
        training.steps(4)
        training.collector.flush()
        expect(page.get_by_text("the log has grown since")).to_be_visible()
        assert page.get_by_role("textbox", name="Query").input_value() == "SELECT half a thought"
        run(page, "SELECT 'n' || count(*) AS x, count(*) AS n FROM trust_ratios, range(2) GROUP BY range")
        expect(page.get_by_text(re.compile("^2 rows in"))).to_be_visible()
        expect(page.get_by_text("the log has grown since")).to_have_count(0)
        assert pd.read_csv(download(page, "CSV"))["n"].tolist() == [48, 48]
        training.collector.close()


def test_a_page_that_is_closed_stops_its_query_and_a_server_that_ends_leaves_no_process(open_page: OpenPage, log: Path):
    with serve(log) as address:
        page = open_page(f"{address}/sql?sql={quote(ENDLESS)}")
        expect(page.get_by_role("button", name="Stop")).to_be_visible()
        expect(page.get_by_text(re.compile("Running for [2-9]"))).to_be_visible()
        left = set(workers(address))
        assert left
        page.close()

        def rests() -> bool:
            before = workers(address)
            time.sleep(1)
            return workers(address) == before

        wait_until(rests)
    wait_until(lambda: not any(Path("/proc", str(process), "exe").exists() for process in left))
