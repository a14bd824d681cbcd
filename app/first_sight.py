"""What a reader sees before Streamlit has started, which on a slow line takes ten seconds: how the runs stand."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import parse_qs

import pandas as pd
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.plotly_view import script_address

SECONDS = 0.3
"""The page is not held up for longer than this: of thousands of runs the first look takes seconds."""

PLACE = b'<div id="root">'

BLOCK = """<style>
#lambc-first { color-scheme: light dark; position: fixed; inset: 5rem auto auto 2rem; z-index: 1; padding-right: 2rem;
  background: Canvas; color: CanvasText; font: 1rem/1.7 system-ui, sans-serif; }
body:has(#root h2, [role="dialog"]) #lambc-first { display: none; }
</style><div id="lambc-first">%s<br><small>The dashboard is being loaded …</small></div>
"""


class FirstSight:
    """Middleware: adds to a page how its runs stand, and has the browser fetch Plotly while Streamlit starts."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, and add to an answer that is a page."""
        start: Message | None = None

        async def send_more(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_page(message):
                start = message
                MutableHeaders(scope=start).append("link", f"<{script_address()}>; rel=preload; as=script")
            elif start and PLACE in message.get("body", b""):
                block = (await _block(scope["query_string"])).encode()
                headers = MutableHeaders(scope=start)
                if "content-length" in headers:
                    headers["content-length"] = str(int(headers["content-length"]) + len(block))
                await send(start)
                start = None
                await send({**message, "body": message["body"].replace(PLACE, block + PLACE, 1)})
            else:
                if start:
                    await send(start)
                    start = None
                await send(message)

        if scope["type"] != "http" or "text/html" not in Headers(scope=scope).get("accept", ""):
            await self._app(scope, receive, send)
            return
        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        await self._app({**scope, "headers": plain}, receive, send_more)


def _is_page(start: Message) -> bool:
    headers = MutableHeaders(scope=start)
    return headers.get("content-type", "").startswith("text/html") and "content-encoding" not in headers


async def _block(query: bytes) -> str:
    """Nothing where the log takes too long, or cannot be read: the page itself will say why."""
    chosen = parse_qs(query.decode(errors="replace")).get("runs", [])
    with suppress(Exception):
        return await asyncio.wait_for(asyncio.to_thread(_said, chosen), SECONDS)
    return ""


def _said(chosen: Sequence[str]) -> str:
    from app import log, queries
    from app.shell.selection import PRESELECTED

    if not log.roots():
        return ""
    runs = queries.runs()
    named = runs[runs["run"].isin(chosen)]
    shown = (named if len(named) else runs).tail(PRESELECTED)
    came = queries.results().set_index("run").reindex(shown["run"])
    lines = [sentence(run, result) for (_, run), (_, result) in zip(shown.iterrows(), came.iterrows(), strict=True)]
    return BLOCK % "<br>".join(lines) if lines else ""


def sentence(run: pd.Series, result: pd.Series) -> str:
    """How a run stands, and what came of it, as HTML."""
    from app import words
    from app.charts.text import escape

    said = [words.standing(run), f"step {words.steps(run)}"]
    if result["diverged"] == 1:
        said.insert(0, "diverged")
    if pd.notna(result["last_accuracy"]):
        said.append(f"accuracy {words.percent(result['last_accuracy'])}")
    if pd.notna(result["hit_rate"]):
        said.append(f"clipped in {words.percent(result['hit_rate'])} of its layer-steps")
    return f"<b>{escape(str(run['run']))}</b>: {escape(', '.join(said))}"
