"""An internal error of DuckDB, which a damaged file causes, ends a database, and nothing else."""

import os
from pathlib import Path

import pytest

from collector import connect
from collector.store.check import _inspect
from collector.store.sandbox import QueryError
from tests.collector.damage import end_database, two_runs


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """A part of one of two runs."""
    two_runs(tmp_path)
    (path,) = (tmp_path / "a" / "metrics").glob("*.parquet")
    return path


def test_a_file_that_ends_a_database_is_named_alone(tmp_path, part):
    end_database(part)
    assert [file for file, _ in _inspect(tmp_path / "a", [], lambda path: None)] == [str(part)]
    for path in (tmp_path / "b").rglob("*.parquet"):
        os.utime(path)  # it is read again
    assert _inspect(tmp_path / "b", [], lambda path: None) == []
    assert connect(tmp_path).sql("SELECT count(*) FROM metrics WHERE run = 'b'").fetchall() == [(200,)]


def test_a_sandbox_answers_again_after_a_query_that_ended_its_database(tmp_path, part):
    """The file is damaged once it has been looked at."""
    with connect(tmp_path, untrusted=True) as log:
        log.execute("FROM runs")
        end_database(part)
        with pytest.raises(QueryError, match="INTERNAL Error"):
            log.execute("SELECT sum(hash(metrics)) FROM metrics WHERE run = 'a'")
        assert log.execute("SELECT count(*) AS n FROM metrics WHERE run = 'b'").to_pylist() == [{"n": 200}]
