from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import app
from tests import dashboard_log

SCRIPT = Path(app.__file__).parent / "shell" / "dashboard.py"


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dashboard_log.build(tmp_path_factory.mktemp("log"))


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """Opens a page of the dashboard over a folder of runs, with the runs chosen that a test names."""

    def open_page(name: str, root: Path, *runs: str) -> AppTest:
        monkeypatch.setenv("LAMBC_RUNS", str(root))
        test = AppTest.from_file(str(SCRIPT), default_timeout=60)
        if runs:
            test.query_params["runs"] = list(runs)
        if name != "runs":
            test.switch_page(str(SCRIPT.parent.parent / name / "page.py"))
        return test.run()

    return open_page
