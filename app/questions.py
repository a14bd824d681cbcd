"""Questions to one database from many visitors at once.

None waits for another's, and none goes on once nobody waits for its answer.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any

import duckdb
import pandas as pd

from collector.store.sandbox import NICENESS
from collector.store.siblings import Siblings

PLACES = 16
"""Questions at once. A visitor asks one at a time, and few are on their way at any moment."""

POLL = 0.1
"""Seconds between two looks whether the answer is still wanted."""

SLOW = 1.0
"""Seconds after which a question gets only what others leave of the processors: most pages ask for far less."""

GRACE = 1.0
"""Seconds in which a question that nobody waits for should have heard that."""

StillWanted = Callable[[], None]
"""Raises where nobody waits for the answer any more."""


class Database:
    """Answers questions from any thread, each by a connection and a thread of its own."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, *, memory: str, folder: str) -> None:
        """connection: to the views, for this alone. memory: DuckDB's limit. folder: for what exceeds it."""
        connection.execute("SET memory_limit = ?", [memory])
        connection.execute("SET temp_directory = ?", [folder])
        _in_thread(lambda: _make_helpers(connection))
        self._siblings = Siblings(connection)
        self._places = threading.BoundedSemaphore(PLACES)
        self._free: list[duckdb.DuckDBPyConnection] = []

    def ask(self, statement: str, parameters: dict[str, Any], still_wanted: StillWanted) -> pd.DataFrame:
        """The rows of a statement. still_wanted: what it raises ends the question, and is raised."""
        while not self._places.acquire(timeout=POLL):
            still_wanted()
        try:
            question = _Question(self._connection(), statement, parameters)
            try:
                return question.answer(still_wanted)
            finally:
                if question.over:
                    self._free.append(question.connection)
        finally:
            self._places.release()

    def _connection(self) -> duckdb.DuckDBPyConnection:
        try:
            return self._free.pop()
        except IndexError:
            return self._siblings.one_more()


class _Question(threading.Thread):
    """A statement that is executed while somebody waits for it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, statement: str, parameters: dict[str, Any]) -> None:
        super().__init__(name="question", daemon=True)
        self.connection = connection
        self._asked = statement, parameters
        self._answer: Future[pd.DataFrame] = Future()

    @property
    def over(self) -> bool:
        return self._answer.done()

    def run(self) -> None:
        statement, parameters = self._asked
        try:
            self._answer.set_result(self.connection.sql(statement, params=parameters).to_arrow_table().to_pandas())
        except BaseException as error:  # whoever waits has it
            self._answer.set_exception(error)

    def answer(self, still_wanted: StillWanted) -> pd.DataFrame:
        """Wait for the answer for as long as it is wanted."""
        self.start()
        since = time.monotonic()
        yields = False
        try:
            while not wait([self._answer], POLL).done:
                still_wanted()
                if not yields and time.monotonic() - since > SLOW:
                    yields = True
                    give_way(self.native_id)
        except BaseException:
            self._end()
            raise
        return self._answer.result()

    def _end(self) -> None:
        """Interrupt it until it is over: an interrupt before it has begun is not heard."""
        until = time.monotonic() + GRACE
        while not self.over and time.monotonic() < until:
            self.connection.interrupt()
            wait([self._answer], 0.01)


def give_way(thread: int | None) -> None:
    """Let a thread have what others leave of the processors, for good, where a thread has a priority of its own."""
    if sys.platform == "linux" and thread is not None:
        with suppress(OSError):  # it has ended, or the system does not allow it
            os.setpriority(os.PRIO_PROCESS, thread, NICENESS)


def _make_helpers(connection: duckdb.DuckDBPyConnection) -> None:
    """Make DuckDB's own threads anew, as threads that give way: they have the priority of the one that makes them."""
    give_way(threading.get_native_id())
    ((threads,),) = connection.execute("SELECT current_setting('threads')").fetchall()
    connection.execute("SET threads = 1")
    connection.execute(f"SET threads = {threads}")


def _in_thread(call: Callable[[], None]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
