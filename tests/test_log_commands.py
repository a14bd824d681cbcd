"""check, compact, export and rm: a log in the hands of its user."""

import json
import math
from pathlib import Path

import duckdb
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from collector import Collector, connect
from lambc import cli
from tests import unusual_log
from tests.collector.emitter import Emitter


def lambc(*arguments: object):
    return CliRunner(env={"COLUMNS": "160", "TERM": "dumb"}).invoke(cli.app, [str(each) for each in arguments])


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs of 30 steps."""
    for name in ("one", "two"):
        emitter = Emitter(["a", "b"])
        with Collector(emitter, tmp_path / "runs", name=name) as collector:
            for step in range(1, 31):
                emitter.say(step)
                collector.log({"train/loss": 1 / step})
    return tmp_path / "runs"


def test_check_says_that_nothing_is_damaged(runs):
    result = lambc("check", "--runs", runs)
    assert (result.exit_code, result.output) == (0, "nothing is damaged in 2 runs\n")


def test_check_names_what_is_damaged(runs):
    (part,) = (runs / "two" / "trust_ratios").iterdir()
    part.write_bytes(part.read_bytes()[:-20])
    result = lambc("check", "--runs", runs)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{part}: it is damaged (")
    assert lambc("check", "one", "--runs", runs).exit_code == 0


def test_compact_merges_and_says_what_it_saved(runs):
    result = lambc("compact", "one", "--runs", runs)
    assert result.exit_code == 0
    assert result.stdout.startswith("one: 2 files, now 2; ")
    assert lambc("check", "--runs", runs).exit_code == 0


def test_compact_makes_the_index_of_runs_that_have_none(runs):
    before = (runs / "one" / "index.json").read_text()
    (runs / "one" / "index.json").unlink()
    assert lambc("compact", "--runs", runs).exit_code == 0
    assert (runs / "one" / "index.json").read_text() == before


def test_a_run_that_is_written_to_is_said_and_left(runs):
    emitter = Emitter(["a"])
    with Collector(emitter, runs, name="live"):
        emitter.say(1)
        for command in (("compact",), ("rm", "live", "two", "--yes")):
            result = lambc(*command, "--runs", runs)
            assert result.exit_code == 1
            assert "live is left as it is: run 'live' is being written to: wait until it has ended" in result.stderr
            assert "two" in result.stdout  # the others are worked on
    assert sorted(folder.name for folder in runs.iterdir()) == ["live", "one"]


def test_rm_asks_before_it_removes(runs):
    assert CliRunner().invoke(cli.app, ["rm", "one", "--runs", str(runs)], input="n\n").exit_code == 0
    assert (runs / "one").is_dir()
    assert lambc("rm", "one", "--runs", runs, "--yes").stdout == "one is removed\n"
    assert [folder.name for folder in runs.iterdir()] == ["two"]


def test_rm_removes_nothing_where_nobody_can_answer(runs):
    result = CliRunner().invoke(cli.app, ["rm", "one", "two", "--runs", str(runs)], input="")
    assert (result.exit_code, result.stdout.strip()) == (2, "")
    assert result.stderr.endswith("not removed: give --yes\n")
    assert result.stderr.count("\n") == 1
    assert sorted(folder.name for folder in runs.iterdir()) == ["one", "two"]


def test_a_run_that_diverged_is_marked_in_the_list_of_runs(tmp_path):
    unusual_log.build(tmp_path, "broken")
    unusual_log.build(tmp_path, "calm", calm=True)
    emitter = Emitter(["a"])
    with Collector(emitter, tmp_path, name="lost") as collector:
        for step in range(1, 4):
            emitter.say(step)
            collector.log({"train/loss": 1.0 if step < 3 else math.inf})
    listed = json.loads(lambc("runs", tmp_path, "--format", "json").stdout)
    assert {run["run"]: run["diverged"] for run in listed} == {"broken": "yes", "calm": None, "lost": "yes"}
    counted = connect(tmp_path).sql("SELECT not_finite FROM clip_hits WHERE run = 'broken' ORDER BY layer").fetchall()
    assert counted == [(0,), (0,), (0,), (51,)]  # fc.weight is NaN from step 150 of 200 on


@pytest.mark.parametrize("command", ["check", "compact", "export", "rm"])
def test_a_run_that_is_not_there_is_said(runs, command):
    rest = ["-o", runs.parent / "out"] if command == "export" else []
    result = lambc(command, "nobody", "--runs", runs, *rest)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"there is no run 'nobody' in {runs}: lambc runs --runs {runs} lists them\n"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_exported_files_hold_the_views(runs, tmp_path, kind):
    assert lambc("export", "one", "--runs", runs, "-o", tmp_path / "out", "--format", kind).exit_code == 0
    read = pq.read_table if kind == "parquet" else pyarrow.csv.read_csv
    rows = read(tmp_path / "out" / f"trust_ratios.{kind}")
    expected = connect(runs).sql("FROM trust_ratios WHERE run = 'one'").to_arrow_table()
    assert rows["trust_ratio"].to_pylist() == expected["trust_ratio"].to_pylist()
    assert set(rows["run"].to_pylist()) == {"one"}
    assert len(read(tmp_path / "out" / f"metrics.{kind}")) == 30


def test_an_exported_duckdb_file_holds_the_tables_of_all_runs(runs, tmp_path):
    assert lambc("export", "--runs", runs, "-o", tmp_path / "it's.duckdb", "--format", "duckdb").exit_code == 0
    with duckdb.connect(tmp_path / "it's.duckdb", read_only=True) as con:
        assert con.sql("SELECT run, count(*) FROM trust_ratios GROUP BY run ORDER BY run").fetchall() == [
            ("one", 60),
            ("two", 60),
        ]
        assert con.sql("SELECT count(*) FROM layers").fetchall() == [(4,)]


def test_tensorboard_reads_what_is_exported_for_it(runs, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert lambc("export", "one", "--runs", runs, "-o", tmp_path / "tb", "--format", "tensorboard").exit_code == 0
    events = EventAccumulator(str(tmp_path / "tb" / "one")).Reload()
    assert [event.value for event in events.Scalars("trust_ratio/b")] == [float(step) for step in range(1, 31)]
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, 31))


def test_an_export_overwrites_nothing(runs, tmp_path):
    (tmp_path / "out").mkdir()
    result = lambc("export", "--runs", runs, "-o", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (2, f"--output {tmp_path / 'out'} is there already: give a new one\n")


def test_the_run_json_survives_a_compaction_as_it_was(runs):
    before = json.loads((runs / "one" / "run.json").read_text())
    lambc("compact", "--runs", runs)
    assert json.loads((runs / "one" / "run.json").read_text()) == before
