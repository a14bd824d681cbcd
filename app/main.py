"""Serves the dashboard: the pages, and Plotly's own file beside them. Start it with `streamlit run app/main.py`.

What caches is imported when the server runs: before, Streamlit has no place for caches, and says so for each of them.
"""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import streamlit as st
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from app.plotly_view import PLOTLY_ADDRESS, PLOTLY_FOLDER


@asynccontextmanager
async def look_ahead(_: st.App) -> AsyncIterator[None]:
    """Read the log as soon as the server starts: of thousands of runs it takes seconds, which nobody then waits for."""
    threading.Thread(target=_read, daemon=True).start()
    yield


def _read() -> None:
    from app import queries

    with suppress(Exception):  # a page says what is wrong
        if queries.roots():
            queries.results()


def trouble(error: Exception) -> bool:
    """What a page says instead of a traceback."""
    from app.shell import notices

    return notices.trouble(error)


app = st.App(
    "shell/dashboard.py",
    routes=[Mount(PLOTLY_ADDRESS, StaticFiles(directory=PLOTLY_FOLDER))],
    lifespan=look_ahead,
    on_script_error=trouble,
)
