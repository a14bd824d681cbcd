"""The dashboard as a user has it: served on this machine, and drawn by a Chromium."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page

import app

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
    """The dashboard as `lambc dashboard` starts it, in a folder that is not the project's; gives its address.

    runs: the folder of all runs or its URL. folder: where to start it; beside the runs if not said.
    """
    if isinstance(runs, Path):
        runs = runs.absolute()
        folder = folder or runs.parent
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(Path(app.__file__).parent / "main.py")]
    command += ["--server.address", "127.0.0.1", "--server.port", str(port), "--server.headless", "true"]
    command += ["--browser.gatherUsageStats", "false", "--server.fileWatcherType", "none"]
    environment = os.environ | {"LAMBC_RUNS": str(runs)}
    assert folder, "a URL has no folder beside it: say where to start"
    log = (folder / f"server-{port}.txt").open("w")
    server = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < until, "the dashboard did not start"
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()
        log.close()


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
