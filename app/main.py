"""Serves the dashboard: the pages, and Plotly's own file beside them. Start it with `streamlit run app/main.py`.

What caches is imported when the server runs: before, Streamlit has no place for caches, and says so for each of them.
"""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib import import_module

import streamlit as st
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

from app.compressed import Compressed
from app.door import Door
from app.first_sight import FirstSight
from app.plotly_view import PLOTLY_ADDRESS, PLOTLY_FILE


@asynccontextmanager
async def look_ahead(_: st.App) -> AsyncIterator[None]:
    """Get ready as soon as the server starts what nobody should wait for: of thousands of runs a look takes seconds."""
    threading.Thread(target=_look, daemon=True).start()
    yield
    from app import log as opened

    opened.clear_disk()  # a server that was told to end runs no finalizers


def _look() -> None:
    from app import log as opened
    from app import queries

    import_module("app.charts.heatmap")  # which brings Plotly's Python
    with suppress(Exception):  # a page says what is wrong
        if opened.roots():
            queries.results()


def serve_plotly(_: Request) -> FileResponse:
    """Plotly, for good: its address has its version."""
    headers = {"cache-control": "public, max-age=31536000, immutable"}
    return FileResponse(PLOTLY_FILE, media_type="text/javascript", headers=headers)


def trouble(error: Exception) -> bool:
    """What a page says instead of a traceback."""
    from app.shell import notices

    return notices.trouble(error)


app = st.App(
    "shell/dashboard.py",
    routes=[Route(PLOTLY_ADDRESS, serve_plotly)],
    middleware=[Middleware(Door), Middleware(Compressed), Middleware(FirstSight)],
    lifespan=look_ahead,
    on_script_error=trouble,
)
