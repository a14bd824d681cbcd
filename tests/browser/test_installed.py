"""The dashboard as it is installed: from a wheel, without torch, started where modules of the user hide ours."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Error, Page, expect

from tests.browser.dashboard import settle
from tests.distribution import build_sdist, build_wheel, install

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser")]


def test_the_installed_dashboard_draws_the_layers(browser, log: Path, tmp_path: Path):
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("collector.py", "app.py"):
        (folder / name).write_text("raise SystemExit('a module of the user was run')\n")
    wheel = build_wheel(build_sdist(tmp_path / "sdist"), tmp_path / "wheel")
    lambc = install(wheel, tmp_path / "environment", extra="app") / "lambc"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with (tmp_path / "said.txt").open("w+") as said:
        command = [lambc, "dashboard", log, "--port", str(port)]
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
        try:
            page = browser.new_page()
            reach(page, f"http://127.0.0.1:{port}/layers?runs=clipped", server)
            settle(page)
            expect(page.locator(".lambc-chart[data-drawn]").first).to_be_visible()
            assert page.locator("[data-testid=stException]").count() == 0
            page.close()
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
        said.seek(0)
        assert "Traceback" not in said.read()


def reach(page: Page, address: str, server: subprocess.Popen[bytes]) -> None:
    """Open an address as soon as it is served."""
    while True:
        try:
            page.goto(address)
            return
        except Error as error:
            if "ERR_CONNECTION_REFUSED" not in str(error) or server.poll() is not None:
                raise
            page.wait_for_timeout(200)
