"""Takes a picture of every page of the dashboard into docs/images/.

python docs/screenshots.py runs                          # 1280 pixels wide, light and dark
python docs/screenshots.py runs --widths 1280 1920 --pages layers --query 'runs=clip1&runs=lamb'
"""

import argparse
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

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
MAIN = HERE.parent / "app" / "main.py"
PAGES = ("runs", "layers", "clipping", "compare")
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def main() -> None:
    """Read the command line, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="the folder of runs to show")
    parser.add_argument("--widths", type=int, nargs="+", default=[1280])
    parser.add_argument("--themes", nargs="+", default=["light", "dark"], choices=["light", "dark"])
    parser.add_argument("--pages", nargs="+", default=list(PAGES), choices=PAGES)
    parser.add_argument("--query", default="", help="what follows the ? in the address")
    parser.add_argument("--out", type=Path, default=HERE / "images")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with dashboard(options.runs) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for theme in options.themes:
            for width in options.widths:
                for name in options.pages:
                    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
                    path = "" if name == "runs" else name  # the first page has no path of its own
                    page.goto(f"{address}/{path}?{options.query}")
                    file = options.out / f"{name}-{width}-{theme}.png"
                    take(page, file)
                    page.close()
                    print(file)
        browser.close()


def take(page: Page, file: Path) -> None:
    """A picture of the whole page, once everything on it is drawn."""
    page.wait_for_selector("[data-testid=stMainBlockContainer] h2")
    settle(page)
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": page.viewport_size["width"], "height": max(640, min(height, 4000))})
    settle(page)
    page.screenshot(path=file)


def settle(page: Page) -> None:
    """Wait until the script has run to its end and every chart is drawn."""
    page.wait_for_function(
        """() => document.querySelector('[data-testid=stApp][data-test-script-state=notRunning]')
            && [...document.querySelectorAll('.lambc-chart')].every((chart) => chart.dataset.drawn)"""
    )
    page.wait_for_timeout(1200)


@contextmanager
def dashboard(runs: Path) -> Iterator[str]:
    """The dashboard over a folder of runs, on a free port of this machine; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(MAIN), "--server.address", "127.0.0.1"]
    command += ["--server.port", str(port), "--server.headless", "true", "--server.fileWatcherType", "none"]
    server = subprocess.Popen(command, env=os.environ | {"LAMBC_RUNS": str(runs.absolute())})
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.25)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
