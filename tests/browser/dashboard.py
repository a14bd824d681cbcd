"""The dashboard as a user has it: served on this machine, and drawn by a Chromium."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page

import lambc

ROOT = Path(lambc.__file__).parents[1]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""Where this machine has its Chromium, or None."""

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def serve(runs: Path | str, folder: Path | None = None) -> Iterator[str]:
    """The dashboard as `lambc dashboard` serves it, in a folder that is not the project's; gives its address.

    runs: the folder of all runs or its URL. folder: where to start it; beside the runs if not said.
    """
    if isinstance(runs, Path):
        runs = runs.absolute()
        folder = folder or runs.parent
    assert folder, "a URL has no folder beside it: say where to start"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "lambc", "dashboard", str(runs), "--port", str(port)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    said = folder / f"server-{port}.txt"
    with said.open("w") as log:
        server = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    try:
        while not answers(f"http://127.0.0.1:{port}/_stcore/health"):
            assert server.poll() is None, f"the dashboard did not start:\n{said.read_text()}"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()
    assert server.returncode == 0, said.read_text()


def answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=30).close()
    except OSError:
        return False
    return True


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 600
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def wait_for_chart(page: Page, holds: str) -> None:
    """Wait until `holds`, a JavaScript function of the first chart, is true; while a page changes there may be none."""
    page.wait_for_function(
        f"""() => {{
            const chart = document.querySelector(".lambc-chart[data-drawn]");
            return chart && ({holds})(chart);
        }}"""
    )


def settle_wide(page: Page) -> None:
    """The same where a plot is of another width than the page takes it for, which asks for the page once more."""
    settle(page)
    page.wait_for_timeout(1000)
    settle(page)


def settle(page: Page) -> None:
    """Wait until the page has its heading, what stands on it is of its last run, and every chart on it is drawn.

    A skeleton stands where Streamlit still fetches an element's own script: once all are gone, no chart is missing.
    """
    page.wait_for_selector("[data-testid=stMain] :is(h2, h3)")
    page.wait_for_function(
        """() => document.querySelector('[data-testid=stApp][data-test-script-state=notRunning]')
            && !document.querySelector('[data-testid=stSkeleton], [data-stale=true]')
            && [...document.querySelectorAll('[data-testid=stMain] [data-testid=stBidiComponentRegular]')].every(
                (chart) => chart.querySelector('.lambc-chart[data-drawn]'))"""
    )
