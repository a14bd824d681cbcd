"""What a damaged file costs the dashboard's visitors: what is asked of it."""

import shutil
from pathlib import Path

import duckdb
import pytest

from app import log as opened
from collector.log.schema import METRICS
from tests.collector.damage import end_database


def test_a_question_that_ends_the_database_is_nobody_elses_trouble(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A file is damaged once it has been looked at, and the question is asked before anybody looks again."""
    root = Path(shutil.copytree(log, tmp_path / "runs"))
    monkeypatch.setenv("LAMBC_RUNS", str(root))
    damaged, whole = sorted(run for run in root.iterdir() if list((run / METRICS.folder).glob("*.parquet")))[:2]
    version = opened.log_version()
    monkeypatch.setattr(opened, "log_version", lambda: version)
    opened.ask("FROM runs")
    end_database(next((damaged / METRICS.folder).glob("*.parquet")))
    with pytest.raises(duckdb.InternalException):
        opened.ask("SELECT sum(hash(metrics)) FROM metrics WHERE run = $run", run=damaged.name)
    assert opened.ask("SELECT count(*) AS n FROM metrics WHERE run = $run", run=whole.name)["n"].iloc[0] > 0
