"""What the views say, and that nothing on the disk takes them down."""

import json
import math
import os
import re
import shutil
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from collector import Collector, connect
from collector.log.compact import MIN_PARTS
from collector.log.schema import METRICS, TRUST_RATIOS
from collector.store import footers
from collector.store.connect import fingerprint
from collector.store.views import STATEMENTS
from tests.collector.emitter import Emitter
from tests.outcomes import OUTCOMES, say

VIEWS = ("runs", "layers", "trust_ratios", "metrics", "clip_hits", "problems")


def record(root: Path, name: str, steps: int = 1, **options) -> Path:
    """A run with the layers a and b."""
    emitter = Emitter(["a", "b"])
    with Collector(emitter, root, name=name, **options) as collector:
        for step in range(1, steps + 1):
            emitter.say(step)
            collector.log({"loss": float(step)})
    return collector.folder


def ask(root: Path | list, query: str) -> list[tuple]:
    return connect(root).sql(query).fetchall()


def test_a_ratio_that_phi_kept_finite_is_no_fallback(tmp_path):
    emitter = Emitter(["a"])
    with Collector(emitter, tmp_path, name="r"):
        emitter.say(1, say((1e30, 1e-30, 1e31, 1e31, 0.0, math.inf, 0.1)))
    assert ask(tmp_path, "SELECT outcome FROM trust_ratios") == [("free",)]


def test_hit_rate_is_hits_over_free_and_hits(tmp_path):
    cases = ["free", "upper", "upper", "lower", "fallback: NaN", "exempt"]
    emitter = Emitter(["a", "never adapted"])
    with Collector(emitter, tmp_path, name="r"):
        for step, case in enumerate(cases, start=1):
            emitter.say(step, say(OUTCOMES[case], OUTCOMES["exempt"]))
    rows = ask(tmp_path, "SELECT layer, steps, upper_hits, lower_hits, hit_rate FROM clip_hits ORDER BY layer")
    assert rows == [("a", 6, 2, 1, 0.75), ("never adapted", 6, 0, 0, None)]


def test_relative_step_is_how_far_a_layer_moved_against_its_own_size(tmp_path):
    emitter = Emitter(["moved", "no weight"])
    with Collector(emitter, tmp_path, name="r"):
        emitter.say(1, say(OUTCOMES["upper"], OUTCOMES["fallback: no weight"]))
    found = dict(ask(tmp_path, "SELECT layer, relative_step FROM trust_ratios"))
    assert found == {"moved": pytest.approx(0.1 * 1.0 * 4.0 / 8.0), "no weight": None}


def test_relative_step_is_the_learning_rate_under_unclipped_lamb(new_training, tmp_path):
    training = new_training(clip=None)
    with Collector(training.optimizer, tmp_path, name="r"):
        training.steps(3)
    rows = ask(tmp_path, "SELECT relative_step FROM trust_ratios WHERE outcome = 'free'")
    assert [step for (step,) in rows] == pytest.approx([1e-2] * len(rows), rel=1e-5)
    assert len(rows) >= 8


def test_runs_say_how_they_stand(tmp_path):
    record(tmp_path, "r", steps=3, config={"lr": 0.1, "nan": math.nan})
    query = "SELECT run, status, steps, config ->> 'lr', config ->> 'nan', failure, finished > started FROM runs"
    assert ask(tmp_path, query) == [("r", "finished", 3, "0.1", "nan", None, True)]
    types = dict(connect(tmp_path).sql("SELECT column_name, column_type FROM (DESCRIBE runs)").fetchall())
    assert types["started"] == types["finished"] == types["heartbeat"] == "TIMESTAMP WITH TIME ZONE"
    assert types["config"] == "JSON"


def test_a_time_of_a_view_is_handed_to_python_in_utc(tmp_path):
    written = json.loads((record(tmp_path, "r") / "run.json").read_text())
    for view in ("runs", "run_summaries"):
        assert ask(tmp_path, f"SELECT started FROM {view}") == [(datetime.fromisoformat(written["started"]),)]


def test_a_run_is_stalled_as_soon_as_its_heartbeat_is_a_minute_old(tmp_path):
    """Within one connection: the heartbeat is read by each query."""
    collector = Collector(Emitter(["a"]), tmp_path, name="r", flush_seconds=3600)
    con = connect(tmp_path)
    assert con.sql("SELECT status FROM runs").fetchall() == [("running",)]
    collector.close()
    run = json.loads((collector.folder / "run.json").read_text())
    (collector.folder / "run.json").write_text(json.dumps(run | {"status": "running"}))
    for age, status in ((0, "running"), (50, "running"), (70, "stalled"), (86400, "stalled")):
        beat = {"time": (datetime.now(UTC) - timedelta(seconds=age)).isoformat(), "step": 1}
        (collector.folder / "heartbeat").write_text(json.dumps(beat))
        assert con.sql("SELECT status FROM runs").fetchall() == [(status,)]
    (collector.folder / "heartbeat").write_text("damaged")
    assert con.sql("SELECT status, heartbeat FROM runs").fetchall() == [("stalled", None)]


@pytest.mark.parametrize("status", ["running", "failed"])
def test_a_run_took_the_steps_that_its_heartbeat_says_recorded_or_not(tmp_path, status):
    emitter = Emitter(["a"])
    collector = Collector(emitter, tmp_path, name="r", every=1000)
    for step in range(1, 481):
        emitter.say(step)
    collector.close()
    path = collector.folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": status}))
    con = connect(tmp_path)
    assert con.sql("SELECT steps, last_step FROM runs").fetchall() == [(1, 480)]
    assert con.sql("SELECT steps, last_step FROM run_summaries").fetchall() == [(1, 480)]
    (collector.folder / "heartbeat").unlink()
    assert connect(tmp_path).sql("SELECT steps, last_step FROM runs").fetchall() == [(1, 1)]


def test_layers_are_in_depth_order_with_their_shapes(tmp_path):
    record(tmp_path, "r")
    rows = ask(tmp_path, 'SELECT run, layer, position, shape, parameters, "group" FROM layers ORDER BY position')
    assert rows == [("r", "a", 0, [2, 3], 6, 0), ("r", "b", 1, [2, 3], 6, 0)]


def test_an_empty_log_gives_empty_typed_views(tmp_path):
    con = connect(tmp_path)
    for view in VIEWS:
        assert con.sql(f"FROM {view}").fetchall() == []
    for view, table in (("trust_ratios", TRUST_RATIOS), ("metrics", METRICS)):
        empty = con.sql(f"SELECT {', '.join(table.schema.names)} FROM {view}").to_arrow_table().schema
        record(tmp_path / "full", view)
        full = connect(tmp_path / "full").sql(f"SELECT {', '.join(table.schema.names)} FROM {view}").to_arrow_table()
        assert empty == full.schema


def test_every_statement_of_the_loader_is_a_file_with_a_comment_on_top():
    folder = Path(connect.__code__.co_filename).parent.parent / "sql"
    assert set(VIEWS) <= set(STATEMENTS)
    for name in STATEMENTS:
        assert (folder / f"{name}.sql").read_text().startswith("-- ")


def test_a_root_that_is_a_link_to_nothing_is_an_error(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for look in (connect, fingerprint):
        with pytest.raises(FileNotFoundError, match=r"the link '.*link' leads to no folder; give"):
            look(tmp_path / "link")


def test_a_root_that_is_not_there_is_an_error(tmp_path):
    for look in (connect, fingerprint):
        with pytest.raises(FileNotFoundError, match=r"there is no folder '.*nowhere'"):
            look(tmp_path / "nowhere")


def damage(folder: Path) -> dict[str, Path]:
    """Every kind of bad file beside the good ones."""
    good = next((folder / "trust_ratios").iterdir())
    data = good.read_bytes()
    bad = {name: folder / "trust_ratios" / f"{name}.parquet" for name in ("empty", "truncated", "foreign", "text")}
    bad["empty"].touch()
    bad["truncated"].write_bytes(data[: len(data) // 2])
    bad["text"].write_text("PAR1 is how it should begin")
    pq.write_table(pa.table({"x": [1]}), bad["foreign"])
    bad["metrics"] = folder / "metrics" / "step-1.parquet"
    bad["metrics"].write_bytes(data)
    return bad


def test_bad_files_are_left_out_and_named(tmp_path):
    bad = damage(record(tmp_path, "r", steps=2))
    record(tmp_path, "other", steps=3)
    con = connect(tmp_path)
    assert con.sql("SELECT run, count(*) FROM trust_ratios GROUP BY run ORDER BY run").fetchall() == [
        ("other", 6),
        ("r", 4),
    ]
    assert con.sql("SELECT run, count(*) FROM metrics GROUP BY run ORDER BY run").fetchall() == [("other", 3), ("r", 2)]
    problems = con.sql("SELECT file, run, problem FROM problems").fetchall()
    assert {file for file, _, _ in problems} == {str(path) for path in bad.values()}
    assert {run for _, run, _ in problems} == {"r"}
    said = {Path(file).stem: problem for file, _, problem in problems}
    assert "it is damaged" in said["empty"]
    assert "it is damaged" in said["truncated"]
    assert "it is damaged" in said["text"]
    assert said["foreign"] == "it has other columns than the log's trust_ratios: move it out of the folder"
    assert said["step-1"] == "it has other columns than the log's metrics: move it out of the folder"


@pytest.mark.parametrize("target", ["nowhere", "link.parquet"], ids=["to nothing", "to itself"])
def test_a_link_that_leads_nowhere_is_named_and_hides_no_other_rows(tmp_path, target):
    link = record(tmp_path, "r", steps=2) / "trust_ratios" / "link.parquet"
    link.symlink_to(target)
    con = connect(tmp_path)
    assert con.sql("SELECT count(*) FROM trust_ratios").fetchall() == [(4,)]
    ((file, problem),) = con.sql("SELECT file, problem FROM problems").fetchall()
    assert file == str(link)
    assert "cannot be opened" in problem
    fingerprint(tmp_path)


@pytest.mark.parametrize("column", ["run", "step"])
@pytest.mark.parametrize("where", ["layer = 'a'", "true"], ids=["some", "all"])
def test_a_file_with_rows_of_no_run_or_no_step_is_left_out_and_named(tmp_path, column, where):
    (part,) = (record(tmp_path, "r", steps=2) / "trust_ratios").iterdir()
    foreign = part.with_name("foreign.parquet")
    columns = f"* REPLACE (CASE WHEN NOT ({where}) THEN {column} END AS {column})"
    duckdb.sql(f"COPY (SELECT {columns} FROM '{part}') TO '{foreign}'")
    con = connect(tmp_path)
    assert con.sql("SELECT run, count(*) FROM trust_ratios GROUP BY run").fetchall() == [("r", 4)]
    ((file, problem),) = con.sql("SELECT file, problem FROM problems").fetchall()
    assert file == str(foreign)
    assert "rows without a run or a step" in problem


@pytest.mark.parametrize(
    "contents",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 2}',
        "{}",
        "[" * 100_000,
        '{"format": 1, "config": 3}',
        "\udcff",
        "LAYERS",
        "LAYERS without a field",
        "TIME",
        "TIME missing",
        "half a pair",
    ],
)
def test_a_bad_run_json_is_named_and_the_rows_stay(tmp_path, contents):
    folder = record(tmp_path, "r", steps=2)
    good = json.loads((folder / "run.json").read_text())
    if contents == "LAYERS":
        contents = json.dumps(good | {"layers": [{"layer": "a", "shape": "round"}]})
    if contents == "LAYERS without a field":
        contents = json.dumps(good | {"layers": [{}]})
    if contents == "TIME missing":
        contents = json.dumps({key: value for key, value in good.items() if key != "started"})
    if contents == "half a pair":
        contents = json.dumps(good | {"config": {"note": "\ud83d"}})
    if contents == "TIME":
        contents = json.dumps(good | {"started": "yesterday"})
    (folder / "run.json").write_bytes(contents.encode(errors="surrogateescape"))
    record(tmp_path, "other")
    con = connect(tmp_path)
    assert con.sql("SELECT run, status FROM runs ORDER BY run").fetchall() == [("other", "finished"), ("r", None)]
    assert con.sql("SELECT count(*) FROM trust_ratios WHERE run = 'r'").fetchall() == [(4,)]
    ((run, file, problem),) = con.sql("FROM problems").fetchall()
    assert (run, file) == ("r", str(folder / "run.json"))
    assert re.fullmatch(r"it (is|cannot) .+, so status, config and layers of the run are not known: mend it", problem)
    assert str(folder) not in problem  # `file` says it


def test_a_run_json_with_nan_from_elsewhere_is_read(tmp_path):
    folder = record(tmp_path, "r", config={"lr": 1})
    text = (folder / "run.json").read_text().replace('{"lr": 1}', '{"lr": NaN}')
    (folder / "run.json").write_text(text)
    assert ask(tmp_path, "SELECT config ->> 'lr' FROM runs") == [("NaN",)]


def test_a_run_whose_folder_was_renamed_is_left_out_until_it_is_called_so_again(tmp_path):
    record(tmp_path, "old", steps=2).rename(tmp_path / "new")
    record(tmp_path, "other")
    con = connect(tmp_path)
    assert con.sql("SELECT DISTINCT run FROM trust_ratios").fetchall() == [("other",)]
    ((run, file, problem),) = con.sql("FROM problems").fetchall()
    assert (run, file) == ("new", str(tmp_path / "new"))
    assert "until the folder is called 'old' again" in problem
    (tmp_path / "new").rename(tmp_path / "old")
    assert ask(tmp_path, "FROM problems") == []
    assert ask(tmp_path, "SELECT count(*) FROM trust_ratios WHERE run = 'old'") == [(4,)]


def test_what_is_no_run_is_passed_over(tmp_path):
    record(tmp_path, "r")
    (tmp_path / "notes").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "README.md").touch()
    assert ask(tmp_path, "SELECT run FROM runs") == [("r",)]
    assert ask(tmp_path, "FROM problems") == []


def test_a_file_name_that_is_not_utf8_takes_nothing_down(tmp_path):
    folder = record(tmp_path, "r")
    part = next((folder / "trust_ratios").iterdir())
    os.rename(part, os.fsencode(part.parent) + b"/\xff.parquet")
    os.rename(os.fsencode(record(tmp_path, "s")), os.fsencode(tmp_path) + b"/\xfe")
    record(tmp_path, "other")
    con = connect(tmp_path)
    assert con.sql("SELECT DISTINCT run FROM trust_ratios").fetchall() == [("other",)]
    problems = con.sql("SELECT problem FROM problems").fetchall()
    assert problems == [("its name is not UTF-8, which DuckDB needs: rename it",)] * 2
    fingerprint(tmp_path)


def test_a_file_that_another_tool_wrote_is_read(tmp_path):
    folder = record(tmp_path, "r")
    part = next((folder / "trust_ratios").iterdir())
    duckdb.sql(f"COPY (FROM '{part}') TO '{tmp_path / 'copy.parquet'}'")
    shutil.move(tmp_path / "copy.parquet", part)
    assert ask(tmp_path, "FROM problems") == []
    assert ask(tmp_path, "SELECT count(*), max(steps) FROM trust_ratios, runs") == [(2, 1)]


def test_two_roots_with_a_run_of_one_name_put_theirs_before_it(tmp_path):
    record(tmp_path / "x", "same", steps=1)
    record(tmp_path / "y", "same", steps=2)
    record(tmp_path / "y", "own", steps=3)
    con = connect([tmp_path / "x", tmp_path / "y"])
    for query in ("SELECT run, max(step) FROM trust_ratios GROUP BY run", "SELECT run, steps FROM runs"):
        assert sorted(con.sql(query).fetchall()) == [("own", 3), ("x/same", 1), ("y/same", 2)]
    for view in ("metrics", "layers", "clip_hits"):
        assert sorted(con.sql(f"SELECT DISTINCT run FROM {view}").fetchall()) == [("own",), ("x/same",), ("y/same",)]
    assert con.sql("FROM trust_ratios").columns == connect(tmp_path / "x").sql("FROM trust_ratios").columns
    assert ask([tmp_path / "x", tmp_path / "x"], "SELECT run FROM runs") == [("same",)]


def test_two_roots_of_one_name_are_told_apart(tmp_path):
    record(tmp_path / "x" / "runs", "same")
    record(tmp_path / "y" / "runs", "same")
    runs = ask([tmp_path / "x" / "runs", tmp_path / "y" / "runs"], "SELECT run FROM runs ORDER BY run")
    assert runs == [(f"{tmp_path}/x/runs/same",), (f"{tmp_path}/y/runs/same",)]


def test_the_fingerprint_changes_with_the_log_and_not_with_the_heartbeat(tmp_path):
    emitter = Emitter(["a"])
    seen = [fingerprint(tmp_path)]
    with Collector(emitter, tmp_path, name="r", flush_seconds=3600) as collector:
        seen.append(fingerprint(tmp_path))
        emitter.say(1)
        collector.flush()
        seen.append(fingerprint(tmp_path))
        (collector.folder / "heartbeat").write_text("{}")
        assert fingerprint(tmp_path) == seen[-1]
        collector.log({"x": 1.0})
        collector.flush()
        seen.append(fingerprint(tmp_path))
    seen.append(fingerprint(tmp_path))
    assert len(set(seen)) == len(seen)


def test_files_that_are_merged_stay_readable_also_from_two_roots(tmp_path):
    record(tmp_path / "x", "same", steps=1)
    emitter = Emitter(["a"])
    with Collector(emitter, tmp_path / "y", name="same", flush_seconds=3600) as collector:
        for step in range(1, MIN_PARTS + 1):
            emitter.say(step)
            collector.flush()
        one, both = connect(tmp_path / "y"), connect([tmp_path / "x", tmp_path / "y"])
        collector._attempt.writer._merge()
        assert len(list((collector.folder / "trust_ratios").iterdir())) == 1
        assert one.sql("SELECT run, step FROM trust_ratios").fetchall() == [("same", n + 1) for n in range(MIN_PARTS)]
        query = "SELECT run, max(step) FROM trust_ratios GROUP BY run ORDER BY run"
        assert both.sql(query).fetchall() == [("x/same", 1), ("y/same", MIN_PARTS)]
    assert not (collector.folder / "replaced_trust_ratios").exists()


def test_a_merge_while_the_store_looks_is_no_harm(tmp_path):
    """Parts come, and merge, as fast as they can; each connection sees each row once."""
    emitter = Emitter(["a"])
    with Collector(emitter, tmp_path, name="r", flush_seconds=0.001) as collector:
        for step in range(1, 121):
            emitter.say(step)
            time.sleep(0.001)
            if step % 20:
                continue
            con = connect(tmp_path)
            for _ in range(2):
                ((count, steps),) = con.sql("SELECT count(*), count(DISTINCT step) FROM trust_ratios").fetchall()
                assert count == steps
                time.sleep(0.1)
        collector.flush()
        assert ask(tmp_path, "SELECT count(*), count(DISTINCT step) FROM trust_ratios") == [(step, step)]


OPENED: list[str] | None = None  # where Python's own opening of files is noted, since an audit hook stays for ever


def _note(event: str, arguments: tuple) -> None:
    if OPENED is not None and event == "open" and str(arguments[0]).endswith(".parquet"):
        OPENED.append(str(arguments[0]))


sys.addaudithook(_note)


def looks(root: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Counter[str], Counter[str], int]:
    """How often `connect` has Python and DuckDB open each part of `root`, and how many statements DuckDB is given."""
    duck, opened = footers.cursor(), []
    duck.execute("CALL truncate_duckdb_logs()")
    duck.execute("CALL enable_logging(['FileSystem', 'QueryLog'])")
    monkeypatch.setattr(f"{__name__}.OPENED", opened)
    connect(root)
    monkeypatch.setattr(f"{__name__}.OPENED", None)
    duck.execute("CALL disable_logging()")
    logged = duck.sql("SELECT type, message FROM duckdb_logs").fetchall()
    events = [json.loads(message) for kind, message in logged if kind == "FileSystem"]
    statements = [message for kind, message in logged if kind == "QueryLog" and "disable_logging" not in message]
    ours = (event["path"] for event in events if event["op"] == "OPEN" and event["path"].startswith(str(root)))
    return Counter(opened), Counter(ours), len(statements)


def test_a_thousand_new_files_take_no_more_statements_than_one_and_none_is_opened_again(tmp_path, monkeypatch):
    (part,) = (record(tmp_path, "r") / "trust_ratios").iterdir()
    connect(tmp_path)
    statements = {}
    for numbers in (range(2, 3), range(3, 1001)):
        copies = [shutil.copy(part, part.with_name(f"step-000000000001-part-{each:06}.parquet")) for each in numbers]
        python, duckdb, statements[len(copies)] = looks(tmp_path, monkeypatch)
        assert python == dict.fromkeys(map(str, copies), 1)
        assert duckdb.keys() == python.keys()
        assert max(duckdb.values()) <= 4  # for the statistics, for where its columns lie, and as a query does
    assert statements[1] == statements[998] > 0
    assert looks(tmp_path, monkeypatch) == ({}, {}, 0)
    assert ask(tmp_path, "SELECT count(*) FROM trust_ratios") == [(2000,)]
