import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests import dashboard_log
from tests.browser.dashboard import ARGUMENTS, CHROMIUM, serve, settle


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        message = "no Chromium on this machine: these tests need one (on Debian: apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    expect.set_options(timeout=120_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dashboard_log.build(tmp_path_factory.mktemp("log") / "runs")


@pytest.fixture(scope="session")
def address(log: Path) -> Iterator[str]:
    with serve(log) as address:
        yield address


@pytest.fixture(scope="session")
def context(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """One for all tests, with a profile: without one Chromium keeps no compiled scripts from page to page."""
    profile, size = tmp_path_factory.mktemp("profile"), {"width": 1280, "height": 1000}
    with browser.browser_type.launch_persistent_context(
        profile, executable_path=CHROMIUM, args=ARGUMENTS, viewport=size
    ) as context:
        context.set_default_timeout(120_000)
        yield context


@pytest.fixture
def open_page(browser: Browser, context: BrowserContext) -> Iterator[Callable[..., Page]]:
    """Opens an address, and holds the page to its manners: no error, and no request that leaves this machine.

    scale: how many of the screen's pixels each of the page's takes, either way.
    """
    pages, complaints = [], []

    def open_page(address: str, width: int = 1280, height: int = 1000, scale: int = 1) -> Page:
        page = context.new_page() if scale == 1 else browser.new_page(device_scale_factor=scale)
        page.set_default_timeout(120_000)
        pages.append(page)
        page.set_viewport_size({"width": width, "height": height})
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: complaints.append(request.url) if leaves(request.url) else None)
        page.goto(address)
        settle(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert complaints == []


def leaves(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:"))
