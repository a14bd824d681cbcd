"""Merging, removing and checking runs that nobody writes to."""

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from collector import Collector, connect
from collector.log.aside import move_aside
from collector.log.maintain import compact_run, remove_run
from collector.log.parts import list_parts, write_part
from collector.log.schema import ROLLUPS, TRUST_RATIOS
from collector.store.check import check_run
from lambc.cli import app
from tests.collector.emitter import Emitter


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of several parts, with rollups."""
    emitter = Emitter(["a", "b"])
    with Collector(emitter, tmp_path, name="r", flush_seconds=3600) as collector:
        for step in range(1, 301):
            emitter.say(step)
            collector.log({"loss": 1 / step})
    with Collector(emitter, tmp_path, name="r", flush_seconds=3600, resume=True) as collector:
        emitter.say(301)
    (part,) = list_parts(collector.folder / "trust_ratios")
    rows = pq.read_table(part.path)
    part.path.unlink()
    for number, first in enumerate(range(0, len(rows), 200), start=1):
        write_part(rows.slice(first, 200), TRUST_RATIOS, collector.folder / "trust_ratios", number)
    return collector.folder


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)


def test_compacting_changes_no_answer(run):
    questions = "FROM trust_ratios ORDER BY layer, step", "FROM metrics ORDER BY step", "FROM clip_hits ORDER BY layer"
    before = [connect(run.parent).sql(question).to_arrow_table().to_pylist() for question in questions]
    assert compact_run(run) == (5, 2)
    assert [connect(run.parent).sql(question).to_arrow_table().to_pylist() for question in questions] == before
    assert len(list((run / ROLLUPS.folder).iterdir())) == 1
    assert compact_run(run) == (2, 2)
    assert check_run(run) == []


def test_a_run_that_is_written_to_is_left_alone(tmp_path):
    emitter = Emitter(["a"])
    with Collector(emitter, tmp_path, name="r") as collector:
        emitter.say(1)
        collector.flush()
        for work in (compact_run, remove_run):
            with pytest.raises(ValueError, match="run 'r' is being written to: wait until it has ended"):
                work(collector.folder)


def test_a_run_that_died_can_be_compacted_and_removed(run):
    contents = json.loads((run / "run.json").read_text()) | {"status": "running"}
    (run / "run.json").write_text(json.dumps(contents))
    beat = json.loads((run / "heartbeat").read_text()) | {"time": "2020-01-01T00:00:00+00:00"}
    (run / "heartbeat").write_text(json.dumps(beat))
    compact_run(run)
    remove_run(run)
    assert os.listdir(run.parent) == []


def test_a_good_run_has_no_problems(run):
    assert check_run(run) == []


@pytest.mark.parametrize("table", ["trust_ratios", "metrics", "rollups"])
def test_flipped_bytes_in_a_page_are_found_and_the_file_is_named(run, table):
    compact_run(run)
    (path,) = (run / table).iterdir()
    flip(path, 100)
    ((file, problem),) = check_run(run)
    assert file == str(path)
    assert problem.startswith("it is damaged (")


def test_rows_that_are_there_twice_are_found(run):
    rows = pq.read_table(list_parts(run / "trust_ratios")[0].path)
    write_part(rows.slice(0, 3), TRUST_RATIOS, run / "trust_ratios", 99)
    ((_, problem),) = check_run(run)
    assert problem.startswith("3 rows are there twice")


def test_a_ratio_outside_of_its_bounds_is_found(run):
    path = list_parts(run / "trust_ratios")[0].path
    rows = pq.read_table(path)
    place = rows.schema.names.index("clipped_ratio")
    rows = rows.set_column(place, TRUST_RATIOS.schema.field("clipped_ratio"), rows["lr"].take([0] * len(rows)))
    write_part(rows, TRUST_RATIOS, path.parent, 98)
    path.unlink()
    ((_, problem),) = check_run(run)
    assert "the clipped ratio is not the ratio within its bounds" in problem


def test_a_rollup_of_other_rows_is_found(run):
    compact_run(run)
    (rollup,) = (run / ROLLUPS.folder).iterdir()
    cells = pq.read_table(rollup)
    pq.write_table(cells.slice(0, len(cells) - 1), rollup)
    ((file, problem),) = check_run(run)
    assert (file, problem.partition(":")[0]) == (str(rollup), "it was made of other rows than its part has")


def test_what_the_store_notices_is_found_too(run):
    (run / "trust_ratios" / "foreign.parquet").write_bytes(b"no Parquet")
    (run / "run.json").write_text("{")
    assert {Path(file).name for file, _ in check_run(run)} == {"foreign.parquet", "run.json"}


@pytest.mark.parametrize("left", [".r.removed", "r"], ids=["half removed", "not yet begun"])
def test_what_a_killed_process_left_of_a_run_is_removed(tmp_path, left):
    (tmp_path / left / "trust_ratios").mkdir(parents=True)
    (tmp_path / left / ".run.json.tmp").write_text("{")
    done = CliRunner().invoke(app, ["rm", "-y", "r", "--runs", str(tmp_path)])
    assert (done.exit_code, os.listdir(tmp_path)) == (0, []), done.output


def test_a_run_whose_run_json_is_damaged_can_be_removed(run):
    (run / "run.json").write_text("{")
    (run / "heartbeat").write_text("{")
    remove_run(run)
    assert os.listdir(run.parent) == []


def test_a_folder_that_is_no_run_is_not_removed(run):
    other = run.parent / "mine"
    other.mkdir()
    (other / "mine.txt").touch()
    done = CliRunner().invoke(app, ["rm", "-y", "mine", "--runs", str(run.parent)])
    assert done.exit_code == 2
    assert "there is no run 'mine'" in done.output
    assert (other / "mine.txt").exists()


@pytest.mark.parametrize("name", ["rm", "compact"])
def test_the_run_that_was_moved_aside_is_not_forgotten(run, name):
    """As where the process was killed that began a new one in its place."""
    aside = move_aside(run)
    Collector(Emitter(["a"]), run.parent, name="s").close()
    (run.parent / "s").rename(run)
    contents = json.loads((run / "run.json").read_text()) | {"run": "r"}
    (run / "run.json").write_text(json.dumps(contents))
    done = CliRunner().invoke(app, [name, "r", *(["-y"] if name == "rm" else []), "--runs", str(run.parent)])
    assert done.exit_code == 0, done.output
    assert not aside.exists()
    assert (run / "superseded" / "overwritten-1" / "run.json").exists() == (name == "compact")


def test_compacting_clears_what_was_never_published(run):
    for name in ("trust_ratios", "rollups", "superseded/attempt-2/metrics", "."):
        (run / name).mkdir(parents=True, exist_ok=True)
        (run / name / ".half.parquet.tmp").touch()
    compact_run(run)
    assert list(run.rglob("*.tmp")) == []


@pytest.mark.parametrize("kind", ["csv", "duckdb"])
def test_nothing_is_exported_into_a_run(run, kind):
    before = sorted(run.rglob("*"))
    done = CliRunner().invoke(
        app, ["export", "-o", str(run / "metrics" / "copy"), "--format", kind, "--runs", str(run.parent)]
    )
    assert done.exit_code == 2
    assert f"lies in the run {run}, which is kept as it is: give a file outside of it" in done.output.replace("\n", "")
    assert sorted(run.rglob("*")) == before
