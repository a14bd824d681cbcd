"""What benchmarks of the dashboard share: a Chromium, how long a page takes in it, and what the server costs."""

import json
import os
import socket
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from websockets.sync.client import connect

from tests.browser.dashboard import ARGUMENTS, CHROMIUM, settle

UNWATCHED = 7.0
"""Seconds that a page has for itself, before it is asked when it was drawn."""


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


def opened(page: Page, address: str, drawn: str) -> float:
    """Seconds until a page is drawn; `drawn` is a selector of what must be there."""
    start = time.perf_counter()
    page.goto(address)
    page.wait_for_selector(drawn)
    settle(page)
    return time.perf_counter() - start


def server_of(address: str) -> Path:
    """Where Linux tells of the server's process: Streamlit's, not that of the command that waits for it."""
    words = {b"streamlit", address.rpartition(":")[2].encode()}
    for process in Path("/proc").iterdir():
        with suppress(OSError):  # it has ended since
            if process.name.isdigit() and words <= set((process / "cmdline").read_bytes().split(b"\0")):
                return process
    raise LookupError(f"no process serves {address}")


def resident(process: Path) -> float:
    """Megabytes."""
    line = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def busy(process: Path) -> float:
    """Seconds of processor time so far."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def spread(seconds: list[float]) -> str:
    return f"{min(seconds):.2f} / {statistics.median(seconds):.2f}"


@contextmanager
def unwatched(address: str, profile: Path, script: str = "") -> Iterator[Page]:
    """A Chromium that opens a page as a user's does, and is looked into only afterwards.

    Where somebody listens from the start, as Playwright does, each error that a script throws and catches has its
    position looked up, for which Chromium parses the script again: for Plotly, three times its 4.8 MB, 0.7 s.
    profile: the folder of what the browser remembers; an empty one is a new browser. script: what the page runs before
    its own.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(CHROMIUM), "--headless", "--window-size=1280,900", *ARGUMENTS]
    command += [f"--remote-debugging-port={port}", f"--user-data-dir={profile}"]
    command.append("about:blank" if script else address)
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        if script:
            _go_to(port, address, script)
        else:
            time.sleep(UNWATCHED)
        with sync_playwright() as playwright:
            browser = playwright.chromium.connect_over_cdp(f"http://127.0.0.1:{port}")
            yield browser.contexts[0].pages[0]
            browser.close()
    finally:
        process.terminate()
        process.wait()


def _go_to(port: int, address: str, script: str) -> None:
    """By DevTools' protocol, with which nobody listens for errors unless he asks."""
    while True:
        try:
            targets = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json"))
            break
        except OSError:  # it is starting
            time.sleep(0.1)
    page = next(target for target in targets if target["type"] == "page")
    with connect(page["webSocketDebuggerUrl"]) as tools:
        asked = (
            ("Page.enable", {}),
            ("Page.addScriptToEvaluateOnNewDocument", {"source": script}),
            ("Page.navigate", {"url": address}),
        )
        for number, (method, parameters) in enumerate(asked):
            tools.send(json.dumps({"id": number, "method": method, "params": parameters}))
            while json.loads(tools.recv()).get("id") != number:
                pass
        time.sleep(UNWATCHED)  # the script goes with who asked for it


def drawn(page: Page) -> dict[str, float]:
    """What each chart shows, and how many seconds after the page was asked for it was drawn first."""
    marks = page.evaluate("performance.getEntriesByType('mark').map((mark) => [mark.name, mark.startTime / 1000])")
    return {name.removeprefix("first drawn: "): seconds for name, seconds in marks if name.startswith("first drawn: ")}
