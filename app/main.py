"""Serves the dashboard: the pages, and Plotly's own file beside them. Start it with `streamlit run app/main.py`.

What caches is imported when the server runs: before, Streamlit has no place for caches, and says so for each of them.
"""

import gzip
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from importlib import import_module

import streamlit as st
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.plotly_view import PLOTLY_ADDRESS, PLOTLY_FILE, script_address


@asynccontextmanager
async def look_ahead(_: st.App) -> AsyncIterator[None]:
    """Get ready as soon as the server starts what nobody should wait for: of thousands of runs a look takes seconds."""
    threading.Thread(target=_look, daemon=True).start()
    yield


def _look() -> None:
    from app import log as opened
    from app import queries

    plotly()
    import_module("app.charts.heatmap")  # which brings Plotly's Python
    with suppress(Exception):  # a page says what is wrong
        if opened.roots():
            queries.results()


@cache
def plotly() -> bytes:
    """Plotly's own file, compressed once: Streamlit would do it anew for every page, which takes half a second."""
    return gzip.compress(PLOTLY_FILE.read_bytes(), 6)


def serve_plotly(_: Request) -> Response:
    """Plotly, for good: its address has its version."""
    headers = {"content-encoding": "gzip", "cache-control": "public, max-age=31536000, immutable"}
    return Response(plotly(), media_type="text/javascript", headers=headers)


class PlotlyAhead:
    """Middleware: with the page itself, the browser is told to fetch Plotly, and parses it while Streamlit starts."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, and add to an answer that is a page."""

        async def send_with_link(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):
                    headers.append("link", f"<{script_address()}>; rel=preload; as=script")
            await send(message)

        await self.app(scope, receive, send_with_link if scope["type"] == "http" else send)


def trouble(error: Exception) -> bool:
    """What a page says instead of a traceback."""
    from app.shell import notices

    return notices.trouble(error)


app = st.App(
    "shell/dashboard.py",
    routes=[Route(PLOTLY_ADDRESS, serve_plotly)],
    middleware=[Middleware(PlotlyAhead)],
    lifespan=look_ahead,
    on_script_error=trouble,
)
