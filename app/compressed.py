"""Sends scripts and styles compressed. Streamlit serves its own as they are, which on a slow line takes three times as
long; and what is compressed anew for each visitor takes the server half a second.
"""

import asyncio

import pyarrow as pa
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CODECS = {"br": "brotli", "gzip": "gzip"}
"""By their names in HTTP, the best first. Browsers take `br` from this machine, also through a tunnel, or by HTTPS."""

COMPRESSED = (".js", ".css")


class Compressed:
    """Middleware: compresses each script and style once, and keeps it: none changes while the server runs."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._kept: dict[tuple[str, str], tuple[Message, bytes]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with what was kept, or have the answer made, and keep it."""
        codec = _codec(scope)
        if codec is None:
            await self._app(scope, receive, send)
            return
        key = (scope["path"], codec)
        if key not in self._kept:
            start, body = await self._answer(scope, receive)
            if _is_whole_script(start, body):
                start, body = self._kept[key] = await asyncio.to_thread(_compressed, start, body, codec)
        else:
            start, body = self._kept[key]
        await send(start)
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[Message, bytes]:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        await self._app({**scope, "headers": plain}, receive, keep)
        return messages[0], b"".join(message.get("body", b"") for message in messages[1:])


def _codec(scope: Scope) -> str | None:
    """The name of the best codec, for a request whose answer can be compressed."""
    if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].endswith(COMPRESSED):
        return None
    headers = Headers(scope=scope)
    accepted = {each.strip() for each in headers.get("accept-encoding", "").split(",")}
    return None if "range" in headers else next((name for name in CODECS if name in accepted), None)


def _is_whole_script(start: Message, body: bytes) -> bool:
    """Whether it is: for a file that is not there Streamlit sends a page, and to a browser that has left, a part."""
    headers = Headers(raw=start["headers"])
    kind = headers.get("content-type", "").startswith(("text/javascript", "application/javascript", "text/css"))
    return start["status"] == 200 and kind and headers.get("content-length") == str(len(body))


def _compressed(start: Message, body: bytes, codec: str) -> tuple[Message, bytes]:
    # One of its own: pyarrow's gzip serves no two threads at once.
    smaller = pa.Codec(CODECS[codec], compression_level=6).compress(body, asbytes=True)
    headers = MutableHeaders(raw=list(start["headers"]))
    headers["content-encoding"], headers["content-length"] = codec, str(len(smaller))
    headers.add_vary_header("Accept-Encoding")
    return {**start, "headers": headers.raw}, smaller
