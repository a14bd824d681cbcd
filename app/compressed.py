"""Sends scripts and styles compressed. Streamlit serves its own as they are, which on a slow line takes three times as
long; and what is compressed anew for each visitor takes the server half a second.

The largest are compressed a second time, to a tenth less, which takes seconds: once the first visitor has been served.
That is kept in ~/.cache/lambc/scripts, for the servers that are started later.
"""

import asyncio
import hashlib
import tempfile
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

import pyarrow as pa
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from collector.system import cache_home

CODECS = {"br": "brotli", "gzip": "gzip"}
"""By their names in HTTP, the best first. Browsers take `br` from this machine, also through a tunnel, or by HTTPS."""

COMPRESSED = (".js", ".css")

LARGE = 2**20
"""Bytes from which a script is compressed a second time; Plotly's has nearly five times as many."""

LATER = 30.0
"""Seconds after the first answer: by then the first visitor's page is drawn, over a slow line, too."""

AT_ONCE = 6
BETTER = {"br": 10}
"""Levels of compression; gzip has hardly a better one."""


class Compressed:
    """Middleware: compresses each script and style once, and keeps it: none changes while the server runs."""

    def __init__(self, app: ASGIApp, later: float = LATER, folder: Path | None = None) -> None:
        self._app, self._later, self._folder = app, later, folder or cache_home() / "scripts"
        self._kept: dict[tuple[str, str], tuple[Message, bytes]] = {}
        self._again: dict[tuple[str, str], object] = {}

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
                start, body = self._kept.setdefault(key, await asyncio.to_thread(self._compress, key, start, body))
        else:
            start, body = self._kept[key]
        await send(start)
        await send({"type": "http.response.body", "body": body})

    def _compress(self, key: tuple[str, str], start: Message, body: bytes) -> tuple[Message, bytes]:
        _, codec = key
        if codec in BETTER and len(body) >= LARGE:
            file = self._folder / f"{hashlib.sha256(body).hexdigest()[:16]}.{codec}"
            if smaller := _read(file, body, codec):
                return _answer_of(start, smaller, codec)
            mine = object()
            if self._again.setdefault(key, mine) is mine:  # of several first visitors, each in a thread
                timer = threading.Timer(self._later, partial(self._compress_again, key, start, body, file))
                timer.daemon = True  # the server's end waits for none
                timer.start()
        return _answer_of(start, _compressed(body, codec, AT_ONCE), codec)

    def _compress_again(self, key: tuple[str, str], start: Message, body: bytes, file: Path) -> None:
        _, codec = key
        kept = _read(file, body, codec)  # another server may have kept it since
        smaller = kept or _compressed(body, codec, BETTER[codec])
        self._kept[key] = _answer_of(start, smaller, codec)
        if not kept:
            with suppress(OSError):  # a home that is full, or may not be written
                _write(file, smaller)

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


def _compressed(body: bytes, codec: str, level: int) -> bytes:
    # One of its own: pyarrow's gzip serves no two threads at once.
    return bytes(pa.Codec(CODECS[codec], compression_level=level).compress(body, asbytes=True))


def _read(file: Path, body: bytes, codec: str) -> bytes:
    """What an earlier server kept of a script; nothing where that is not the script."""
    with suppress(OSError):
        if not file.is_file() or file.stat().st_size >= len(body):  # a pipe, or what is not ours
            return b""
        smaller = file.read_bytes()
        if pa.Codec(CODECS[codec]).decompress(smaller, len(body), asbytes=True) == body:
            return smaller
    return b""


def _write(file: Path, smaller: bytes) -> None:
    """Write a file that other servers may read, or write, meanwhile."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        (made := Path(folder) / file.name).write_bytes(smaller)
        made.replace(file)


def _answer_of(start: Message, smaller: bytes, codec: str) -> tuple[Message, bytes]:
    headers = MutableHeaders(raw=list(start["headers"]))
    headers["content-encoding"], headers["content-length"] = codec, str(len(smaller))
    headers.add_vary_header("Accept-Encoding")
    return {**start, "headers": headers.raw}, smaller
