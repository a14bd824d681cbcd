import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Self

import pytest
from streamlit.components.v2.component_manager import BidiComponentManager
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

import app
from app.shell.pages import PAGES
from tests import dashboard_log

SCRIPT = Path(app.__file__).parent / "shell" / "dashboard.py"


class Page(AppTest):
    """A page of the dashboard. Each run of it fails where the page, or a part of it, could not be drawn to its end."""

    whole = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._bidi_component_manager = components()

    def _run(self, *args: Any, **kwargs: Any) -> Self:
        main = sys.modules["__main__"]
        try:
            super()._run(*args, **kwargs)
        finally:
            # Streamlit puts its script there, which every process that is spawned later would run.
            sys.modules["__main__"] = main
        if self.whole:
            assert self.troubles() == []
        return self

    def troubles(self) -> list[str]:
        """What the page says instead of what it could not draw."""
        undrawn = [each.value for each in self.warning if "could not be drawn" in each.value]
        return [each.value for each in self.exception] + undrawn

    def go_to(self, name: str) -> Self:
        """Open a page, as a link does: the address stays."""
        if self._registered_pages:
            self.switch_page(str(PAGES[name]))
        else:  # before the first run, switch_page() knows a page by its file's name, which is page.py for all of them
            self._page_hash = calc_hash(name)
        return self.run()


@cache
def components() -> BidiComponentManager:
    """What a server finds once, when it starts: to look for components in each installed package takes 0.3 s."""
    manager = BidiComponentManager()
    manager.discover_and_register_components(start_file_watching=False)
    return manager


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dashboard_log.build(tmp_path_factory.mktemp("log"))


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Page]:
    """Opens a page of the dashboard over a folder of runs, with the runs chosen that a test names.

    whole: False where the test is of a page that cannot be drawn to its end, and looks at what it says itself.
    """

    def open_page(name: str, root: Path, *runs: str, whole: bool = True) -> Page:
        monkeypatch.setenv("LAMBC_RUNS", str(root))
        page = Page(str(SCRIPT), default_timeout=600)
        page.whole = whole
        if runs:
            page.query_params["runs"] = list(runs)
        return page.run() if name == "runs" else page.go_to(name)

    return open_page
