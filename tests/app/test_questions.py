"""Many visitors ask one log at once."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from streamlit.testing.v1 import AppTest

from app.questions import PLACES, Database
from collector.store.connect import connect
from collector.store.sandbox import NICENESS
from collector.store.siblings import Siblings

ENDLESS = "SELECT count(*) FROM range(10_000_000_000) AS a, range(10_000_000_000) AS b WHERE hash(a.range, b.range) = 0"


class GoneError(Exception):
    """The visitor has gone."""


class Visitor:
    """Asks an endless question in a thread of its own, until it leaves."""

    def __init__(self, database: Database) -> None:
        self.waits = threading.Event()
        self._leaves = threading.Event()
        self._database = database
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        with pytest.raises(GoneError):
            self._database.ask(ENDLESS, {}, self._still_wanted)

    def _still_wanted(self) -> None:
        self.waits.set()
        if self._leaves.is_set():
            raise GoneError

    def leave(self) -> None:
        self._leaves.set()
        self._thread.join()


@pytest.fixture
def database(log: Path, tmp_path: Path) -> Iterator[Database]:
    yield Database(connect(log), memory="256MB", folder=str(tmp_path))
    assert questions() == []


def questions() -> list[threading.Thread]:
    """Those that go on, given time to hear an interrupt."""
    found = [thread for thread in threading.enumerate() if thread.name == "question"]
    for thread in found:
        thread.join(30)
    return [thread for thread in found if thread.is_alive()]


def wanted() -> None:
    pass


def test_a_question_is_answered_while_other_visitors_wait_for_theirs(database: Database):
    visitors = [Visitor(database) for _ in range(5)]
    try:
        assert all(visitor.waits.wait(60) for visitor in visitors)
        assert database.ask("SELECT $one + 1 AS two", {"one": 1}, wanted)["two"].tolist() == [2]
        assert len(database.ask("FROM runs", {}, wanted)) > 1
    finally:
        for visitor in visitors:
            visitor.leave()


def test_a_question_that_nobody_waits_for_ends_and_its_place_is_free(database: Database):
    for _ in range(2):
        visitors = [Visitor(database) for _ in range(PLACES)]
        assert all(visitor.waits.wait(60) for visitor in visitors)
        for visitor in visitors:
            visitor.leave()
        assert questions() == []
    assert database.ask("SELECT 1 AS one", {}, wanted)["one"].tolist() == [1]


def test_a_visitor_who_waits_for_a_place_may_leave(database: Database):
    visitors = [Visitor(database) for _ in range(PLACES + 1)]
    assert all(visitor.waits.wait(60) for visitor in visitors)
    for visitor in visitors[::-1]:
        visitor.leave()


def test_a_question_that_is_wrong_harms_no_other(database: Database):
    with pytest.raises(duckdb.Error, match="nothing_of_the_kind"):
        database.ask("FROM nothing_of_the_kind", {}, wanted)
    assert database.ask("SELECT 1 AS one", {}, wanted)["one"].tolist() == [1]


def test_a_page_that_is_left_ends_its_question(log: Path, monkeypatch: pytest.MonkeyPatch):
    def page() -> None:
        from app.log import ask
        from tests.app.test_questions import ENDLESS

        ask(ENDLESS)

    monkeypatch.setenv("LAMBC_RUNS", str(log))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # where Streamlit puts its script
    with pytest.raises(RuntimeError, match="timed out"):  # then it asks the page to stop
        AppTest.from_function(page).run(timeout=3)
    assert questions() == []


def test_siblings_show_what_the_first_connection_shows(log: Path):
    first = connect(log)
    shown = (
        "FROM duckdb_variables() ORDER BY name",
        "SELECT run, steps, config FROM runs ORDER BY run",
        "SELECT run, layer, shape FROM layers ORDER BY ALL",
        "SELECT count(*), sum(trust_ratio) FROM trust_ratios WHERE run = 'clipped'",
        "FROM heatmap('clipped', 1, 100, 10) ORDER BY ALL",
    )
    rows = [first.execute(statement).fetchall() for statement in shown]
    siblings = Siblings(first)
    for sibling in (siblings.one_more(), siblings.one_more()):
        assert [sibling.execute(statement).fetchall() for statement in shown] == rows


def test_what_memory_does_not_hold_lies_in_the_folder_that_was_named(database: Database, tmp_path: Path):
    ((memory, folder),) = database.ask(
        "SELECT current_setting('memory_limit') AS memory, current_setting('temp_directory') AS folder", {}, wanted
    ).itertuples(index=False)
    assert memory == "244.1 MiB"
    assert folder == str(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_a_question_that_takes_long_gives_way_to_the_pages(database: Database):
    visitor = Visitor(database)
    try:
        assert visitor.waits.wait(60)
        (question,) = [thread for thread in threading.enumerate() if thread.name == "question"]
        until = time.monotonic() + 60
        while os.getpriority(os.PRIO_PROCESS, question.native_id) < NICENESS and time.monotonic() < until:
            time.sleep(0.05)
        assert os.getpriority(os.PRIO_PROCESS, question.native_id) >= NICENESS
        assert os.getpriority(os.PRIO_PROCESS, threading.main_thread().native_id) < NICENESS
    finally:
        visitor.leave()
