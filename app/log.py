"""The log that the dashboard shows: where it lies, what version it has, and one connection to it."""

import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import streamlit as st

from collector.log.remote import is_url
from collector.store.connect import connect, fingerprint


@dataclass
class Log:
    """A connection for all sessions; `ask` lets one in at a time."""

    connection: duckdb.DuckDBPyConnection
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, statement: str, **parameters: Any) -> pd.DataFrame:
        """The rows of a statement."""
        with self.lock:
            table: pd.DataFrame = self.connection.sql(statement, params=parameters).to_arrow_table().to_pandas()
        return table


def roots() -> tuple[str, ...]:
    """The folders of runs that are there, and the URLs that have runs."""
    return tuple(_versions(tuple(named_roots())))


def named_roots() -> list[str]:
    """Where to look, from LAMBC_RUNS: one a line, or folders as in PATH; else `runs`."""
    named = os.environ.get("LAMBC_RUNS") or "runs"
    lines = "\n" in named or is_url(named)
    return [os.path.expanduser(root) for root in named.split("\n" if lines else os.pathsep) if root]


def log_version() -> str:
    """Changes when anything in the log does, but for heartbeats."""
    return " ".join(_versions(tuple(named_roots())).values())


def ask(statement: str, **parameters: Any) -> pd.DataFrame:
    """Returns the answer of the log as it is now."""
    try:
        return _log().ask(statement, **parameters)
    except duckdb.IOException:  # parts were merged since they were listed: list them again
        _versions.clear()
        return _log().ask(statement, **parameters)


# A page asks for it a dozen times while it is drawn, and the watch looks again two seconds later.
@st.cache_data(ttl=1, max_entries=4, show_spinner=False)
def _versions(named: tuple[str, ...]) -> dict[str, str]:
    """The fingerprint of each root that is there: folders and buckets may get their first run later."""
    found = {}
    for root in named:
        if is_url(root) or Path(root).is_dir():
            with suppress(FileNotFoundError):
                found[root] = fingerprint(root)
    return found


def _log() -> Log:
    return _connected(roots(), log_version())


@st.cache_resource(max_entries=2, show_spinner=False)
def _connected(folders: tuple[str, ...], version: str) -> Log:
    return Log(connect(list(folders)))
