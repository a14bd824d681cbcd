"""The log that the dashboard shows: where it lies, what version it has, and what it is asked."""

import os
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from app.questions import Database, StillWanted
from collector.log.remote import is_url
from collector.store.connect import connect, fingerprint

MEMORY = "256MB"
"""What DuckDB holds for all visitors, of each version of the log; a question that needs more takes it on the disk."""


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
        return _log().ask(statement, parameters, _still_wanted())
    except duckdb.IOException:  # parts were merged since they were listed: list them again
        _versions.clear()
        return _log().ask(statement, parameters, _still_wanted())
    except duckdb.FatalException:  # a damaged file's internal error has ended the database for all questions
        _connected.clear()
        return _log().ask(statement, parameters, _still_wanted())


def _still_wanted() -> StillWanted:
    """Streamlit's own question whether the page that is being drawn is to be drawn anew, or has nobody who sees it."""
    run = get_script_run_ctx(suppress_warning=True)
    return run.yield_check if run else lambda: None


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


def _log() -> Database:
    return _connected(roots(), log_version())


@st.cache_resource(max_entries=2, show_spinner=False)
def _connected(folders: tuple[str, ...], version: str) -> Database:
    return Database(connect(list(folders)), memory=MEMORY, folder=_disk().name)


def clear_disk() -> None:
    """Remove what DuckDB has put on the disk, at the server's end."""
    _disk().cleanup()


@cache
def _disk() -> tempfile.TemporaryDirectory[str]:
    """Where DuckDB puts what its memory does not hold; by default the folder in which the dashboard was started."""
    return tempfile.TemporaryDirectory(prefix="lambc-", ignore_cleanup_errors=True)
