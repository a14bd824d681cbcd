"""What the server sends before Streamlit has started: how the runs stand, and scripts that are small."""

import asyncio
import gzip
import hashlib
import http.client
import os
import random
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import repeat
from pathlib import Path
from urllib.parse import quote, urlsplit

import pandas as pd
import pyarrow as pa
import pytest
import streamlit
from starlette.types import Message, Receive, Scope, Send

from app.compressed import Compressed
from app.first_sight import sentence
from app.plotly_view import PLOTLY_FILE
from tests.browser.dashboard import serve, wait_until
from tests.dashboard_log import HOSTILE

STATIC = Path(streamlit.__file__).parent / "static"


@pytest.fixture(scope="module")
def address(log: Path) -> Iterator[str]:
    with serve(log) as address:
        yield address


def ask(
    address: str, path: str, encodings: str = "gzip, br", kind: str = "text/html,*/*"
) -> tuple[http.client.HTTPResponse, bytes]:
    with closing(http.client.HTTPConnection(urlsplit(address).netloc, timeout=120)) as connection:
        connection.request("GET", path, headers={"Accept-Encoding": encodings, "Accept": kind})
        answer = connection.getresponse()
        return answer, answer.read()


def runs_said(address: str, path: str) -> list[str]:
    """The names of the runs that a page speaks of, once the server knows them: it holds up no page."""
    for _ in range(600):
        if found := re.findall(r"<b>(.*?)</b>", ask(address, path)[1].decode()):
            break
    return found


def test_a_page_says_how_its_runs_stand_before_a_script_has_run(address: str):
    assert runs_said(address, "/layers?runs=clipped&runs=lamb") == ["lamb", "clipped"]
    _, page = ask(address, "/layers?runs=clipped")
    assert re.search(
        r"<b>clipped</b>: .*step [\d,]+, accuracy [\d.]+%, clipped in [\d.]+% of its layer-steps", page.decode()
    )


def test_a_page_that_names_no_run_speaks_of_the_newest(address: str):
    assert len(runs_said(address, "/")) == 3
    assert runs_said(address, "/?runs=nowhere") == runs_said(address, "/")


def test_a_name_that_is_a_script_is_text(address: str):
    (said,) = runs_said(address, f"/?runs={quote(HOSTILE)}")
    assert "<" not in said
    assert "&lt;" in said


def test_a_run_of_which_nothing_came_is_said_to_stand_where_it_does():
    run = pd.Series({"run": "new", "status": "finished", "last_step": None})
    nothing = pd.Series({"diverged": None, "last_accuracy": None, "hit_rate": None})
    assert sentence(run, nothing) == "<b>new</b>: finished, step 0"
    assert sentence(run, pd.Series(dict(nothing) | {"diverged": True})) == "<b>new</b>: diverged, finished, step 0"


def test_nearly_all_and_hardly_any_are_not_said_to_be_all_and_none():
    run = pd.Series({"run": "r", "status": "finished", "last_step": 3000})
    came = pd.Series({"diverged": None, "last_accuracy": 0.9996, "hit_rate": 1 / 3000})
    said = "finished, step 3,000, accuracy &gt;99.9%, clipped in &lt;0.1% of its layer-steps"
    assert sentence(run, came) == f"<b>r</b>: {said}"


def test_a_page_is_whole(address: str):
    answer, page = ask(address, "/layers")
    assert int(answer.headers["content-length"]) == len(page)
    assert page.rstrip().endswith(b"</html>")
    assert re.fullmatch(r"</plotly\.min\.js\?v=[\d.]+>; rel=preload; as=script", answer.headers["link"])


@pytest.mark.parametrize(("accepted", "codec"), [("gzip, deflate, br, zstd", "br"), ("gzip", "gzip"), ("zstd", None)])
def test_scripts_and_styles_are_sent_compressed_and_are_what_they_were(address: str, accepted: str, codec: str | None):
    names = re.findall(r'"\./(static/[^"]+\.(?:js|css))"', (STATIC / "index.html").read_text())
    for path, file in [("plotly.min.js", PLOTLY_FILE), *((name, STATIC / name) for name in names[:3] + names[-1:])]:
        for _ in range(2):  # made, and kept
            answer, body = ask(address, f"/{path}", accepted, "*/*")
            assert answer.status == 200
            whole = file.read_bytes()
            assert answer.headers.get("content-encoding") == codec
            assert answer.headers["content-type"].startswith(("text/javascript", "application/javascript", "text/css"))
            assert int(answer.headers["content-length"]) == len(body)
            if codec == "gzip":
                body = gzip.decompress(body)
            elif codec:
                body = pa.Codec("brotli").decompress(body, len(whole), asbytes=True)
            assert body == whole


def test_scripts_that_many_ask_for_at_once_are_whole(log: Path):
    files = sorted(STATIC.glob("static/js/*.js"))[:120]

    def differs(file: Path) -> bool:
        answer, body = ask(address, f"/{file.relative_to(STATIC).as_posix()}", "gzip", "*/*")
        return answer.status != 200 or gzip.decompress(body) != file.read_bytes()

    with serve(log) as address, ThreadPoolExecutor(12) as browsers:
        assert [file.name for file, bad in zip(files, browsers.map(differs, files), strict=True) if bad] == []


def bodies(
    served: Iterator[bytes], length: int, encoding: bytes, folder: Path, wanted: Callable[[list[bytes]], bool]
) -> list[bytes]:
    """What is sent of a script, asked for again until it is `wanted`.

    served: what the app sends for it. folder: where the server keeps what it has compressed.
    """

    async def serve_script(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/javascript"), (b"content-length", str(length).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": next(served)})

    async def ask_again() -> list[bytes]:
        sent: list[bytes] = []

        async def send(message: Message) -> None:
            if "body" in message:
                sent.append(message["body"])

        compressed = Compressed(serve_script, later=0.0, folder=folder)
        scope = {"type": "http", "method": "GET", "path": "/a.js", "headers": [(b"accept-encoding", encoding)]}
        while not wanted(sent):
            await compressed(scope, lambda: asyncio.sleep(0), send)
            await asyncio.sleep(0.05)
        return sent

    with ThreadPoolExecutor(1) as thread:  # of its own: Playwright, once it was used, has a loop running in this one
        return thread.submit(asyncio.run, ask_again()).result()


def test_a_script_that_its_browser_left_is_not_kept_in_part(tmp_path: Path):
    served = iter([b"const", b"const a = 1;"])
    cut, *whole = bodies(served, 12, b"gzip", tmp_path, lambda sent: len(sent) == 3)
    assert cut == b"const"
    assert [gzip.decompress(each) for each in whole] == [b"const a = 1;"] * 2


@pytest.fixture(scope="module")
def large() -> bytes:
    drawn = random.Random(0)
    return b"".join(b"const v%d = %d;" % (drawn.randrange(10**6), drawn.randrange(10**6)) for _ in range(2**16))


def packed(body: bytes) -> bytes:
    return pa.Codec("brotli").compress(body, asbytes=True)


def unpacked(body: bytes, length: int) -> bytes:
    return pa.Codec("brotli").decompress(body, length, asbytes=True)


def is_smaller(sent: list[bytes]) -> bool:
    """Whether another answer than the first has been sent, or two minutes are over."""
    return len(set(sent)) == 2 or len(sent) == 2400


def test_a_large_script_is_sent_smaller_once_there_was_time(large: bytes, tmp_path: Path):
    first, *_, last = bodies(repeat(large), len(large), b"br", tmp_path, is_smaller)
    assert len(last) < len(first)
    assert [unpacked(each, len(large)) for each in (first, last)] == [large] * 2


def test_a_later_server_sends_a_large_script_smaller_from_the_first_visitor_on(large: bytes, tmp_path: Path):
    *_, smaller = bodies(repeat(large), len(large), b"br", tmp_path, is_smaller)
    wait_until(lambda: bool(list(tmp_path.glob("*.br"))))  # it is sent before it is on the disk
    assert bodies(repeat(large), len(large), b"br", tmp_path, lambda sent: len(sent) == 1) == [smaller]


def test_what_another_server_has_kept_since_the_first_answer_is_sent(large: bytes, tmp_path: Path, monkeypatch):
    by_another, held = packed(large), []
    monkeypatch.setattr(threading.Timer, "start", lambda timer: held.append(timer))

    def is_sent(sent: list[bytes]) -> bool:
        if len(sent) == 1:
            (tmp_path / f"{hashlib.sha256(large).hexdigest()[:16]}.br").write_bytes(by_another)
            (timer,) = held
            timer.function()
        return len(sent) == 2

    assert bodies(repeat(large), len(large), b"br", tmp_path, is_sent)[1] == by_another


@pytest.mark.parametrize("kept", [b"", b"const", packed(b"another script"), packed(b" " * 2**21), None])
def test_a_kept_file_that_is_not_the_script_is_not_sent(large: bytes, tmp_path: Path, kept: bytes | None):
    name = hashlib.sha256(large).hexdigest()[:16]
    (tmp_path / f"{name}.br").write_bytes(packed(large)[:-9] if kept is None else kept)
    (sent,) = bodies(repeat(large), len(large), b"br", tmp_path, lambda sent: len(sent) == 1)
    assert unpacked(sent, len(large)) == large


def test_a_pipe_in_the_place_of_a_kept_file_is_not_waited_for(large: bytes, tmp_path: Path):
    os.mkfifo(tmp_path / f"{hashlib.sha256(large).hexdigest()[:16]}.br")
    (sent,) = bodies(repeat(large), len(large), b"br", tmp_path, lambda sent: len(sent) == 1)
    assert unpacked(sent, len(large)) == large


def test_a_home_that_cannot_be_written_is_no_hindrance(large: bytes, tmp_path: Path):
    (tmp_path / "file").touch()
    first, *_, last = bodies(repeat(large), len(large), b"br", tmp_path / "file" / "scripts", is_smaller)
    assert len(last) < len(first)


def test_a_script_that_is_not_there_is_answered_as_streamlit_does(address: str):
    for _ in range(2):
        answer, body = ask(address, "/static/js/nowhere.js", "br", "*/*")
        assert answer.headers.get("content-encoding") is None
        assert body.rstrip().endswith(b"</html>")
