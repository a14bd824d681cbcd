"""A log at a URL is the log that a folder would be."""

import json
import os
import re
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from app import log as opened
from app import queries
from collector import Collector, connect
from collector.log.remote import Place, _not_found_if_gone, fetch, versions
from collector.recording import open_runs
from collector.store.connect import fingerprint
from lambc.cli import app
from tests.collector import s3_server
from tests.collector.s3_server import S3Server
from tests.preloaded import run_preloaded


@pytest.fixture(scope="module")
def running() -> Iterator[S3Server]:
    with s3_server.running() as server:
        yield server


@pytest.fixture
def server(running, monkeypatch, tmp_path) -> S3Server:
    """A server with an empty bucket, `bucket`, and whoever may use it."""
    for name, value in running.environment(tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    running.forget()
    running.files.create_dir("bucket")
    return running


URL = "s3://bucket/runs"


def steps(url: str, layer: str = "a", run: str = "r") -> list[int]:
    """The steps of a layer in order, each as often as a reader finds it."""
    question = "SELECT step FROM trust_ratios WHERE layer = $1 AND run = $2 ORDER BY step"
    return [step for (step,) in connect(url).execute(question, [layer, run]).fetchall()]


def run_json(server: S3Server, run: str = "r") -> dict:
    with server.files.open_input_stream(f"bucket/runs/{run}/run.json") as file:
        return json.loads(file.read())


def spools(tmp_path: Path) -> list[Path]:
    return [path.parent for path in tmp_path.glob("cache/lambc/spool/*/*/*/run.json")]


def wait_for(condition) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.filterwarnings("ignore:run 'r' is still open in this process and records the same optimizer")
def test_a_run_at_a_url_is_the_run_that_a_folder_holds(server, training, tmp_path):
    folder = tmp_path / "local"
    at_url = Collector(training.optimizer, URL, name="r", config={"lr": 0.01})
    with at_url, Collector(training.optimizer, folder, name="r", config={"lr": 0.01}) as local:
        for epoch in range(3):
            at_url.epoch = local.epoch = epoch
            training.steps(2)
            for each in (at_url, local):
                each.log({"train/loss": 0.5 / (epoch + 1)})
                each.flush()
            assert steps(URL, "0.weight") == list(range(1, 2 * epoch + 3))  # while it trains
            assert connect(URL).sql("SELECT status FROM runs").fetchall() == [("running",)]
    here, there = connect(folder), connect(URL)
    for query in (
        "trust_ratios ORDER BY ALL",
        "SELECT * EXCLUDE time FROM metrics ORDER BY ALL",
        "layers ORDER BY ALL",
        "SELECT run, status, steps, config FROM runs",
        "clip_hits ORDER BY ALL",
        "problems",
    ):
        query = query if query.startswith("SELECT") else f"FROM {query}"
        assert there.sql(query).fetchall() == here.sql(query).fetchall()
    assert there.sql("SELECT count(*) FROM trust_ratios").fetchall() == [(6 * 4,)]
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("[!.]*") if path.is_file())
    files.remove("r/index.json")  # by the times that files have here
    assert server.names("bucket/runs") == files
    assert not list(tmp_path.glob("cache/lambc/spool/*"))


def test_the_endpoint_may_stand_in_the_url(server, emitter, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    url = f"{URL}?endpoint_override=127.0.0.1:{server.port}&scheme=http"
    with Collector(emitter, url, name="r"):
        emitter.say(1)
    assert steps(url) == [1]


def test_a_merge_is_mirrored(server, emitter, tmp_path):
    with Collector(emitter, URL, name="r", flush_seconds=0.02) as collector:
        for step in range(1, 17):
            emitter.say(step)
            collector.flush()
        parts = "bucket/runs/r/trust_ratios"
        wait_for(lambda: server.names(parts) == ["step-000000000001-part-000001-000016.parquet"])
        assert steps(URL) == list(range(1, 17))
        assert list(collector.folder.glob("replaced_*/*"))
        assert not [name for name in server.names("bucket/runs/r") if "replaced_" in name]


def test_whoever_looks_in_between_finds_each_row_once(server, emitter):
    seen: list[list[int]] = []
    trained = threading.Event()

    def look() -> None:
        while not trained.is_set():
            seen.append(steps(URL))

    with Collector(emitter, URL, name="r", flush_seconds=0.02) as collector:
        emitter.say(1)
        collector.flush()
        reader = threading.Thread(target=look)
        reader.start()
        for step in range(2, 81):  # five merges
            emitter.say(step)
            collector.flush()
        wait_for(lambda: len(seen) > 3)
    trained.set()
    reader.join()
    assert all(each == list(range(1, len(each) + 1)) for each in seen)
    assert [len(each) for each in seen] == sorted(len(each) for each in seen)
    assert steps(URL) == list(range(1, 81))


@pytest.mark.parametrize("length", [4, 4000])
def test_a_part_that_goes_while_it_is_read_is_not_found(server, length):
    """Which `fetch` takes for one that was merged; what S3 says of it depends on how much was asked for."""
    with server.files.open_output_stream("bucket/runs/part") as file:
        file.write(bytes(length))
    with server.files.open_input_stream("bucket/runs/part") as file:
        server.files.delete_file("bucket/runs/part")
        with pytest.raises(FileNotFoundError), _not_found_if_gone(Place(server.files, "bucket/runs"), "part"):
            file.read()


def test_a_connection_outlives_a_merge(server, emitter):
    with Collector(emitter, URL, name="r", flush_seconds=3600) as collector:
        for step in range(1, 17):
            emitter.say(step)
            collector.flush()
        before = connect(URL)
        collector._attempt.writer._merge()
        collector.flush()
        assert steps(URL) == list(range(1, 17))
        assert before.sql("SELECT count(*) FROM trust_ratios").fetchall() == [(32,)]


def test_a_run_is_resumed_from_another_machine(server, new_emitter, tmp_path, monkeypatch):
    emitter = new_emitter(["a"])
    with Collector(emitter, URL, name="r"):
        for step in range(1, 6):
            emitter.say(step)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    emitter = new_emitter(["a"])
    with Collector(emitter, URL, name="r", resume=True):
        for step in range(4, 8):
            emitter.say(step)
    assert steps(URL) == list(range(1, 8))
    assert [each["first_step"] for each in run_json(server)["attempts"]] == [1, 4]
    assert any(name.startswith("superseded/attempt-2/trust_ratios/") for name in server.names("bucket/runs/r"))


def test_what_a_killed_process_had_not_sent_is_sent_when_the_run_is_resumed(server, new_emitter, tmp_path):
    code = """
import os, sys
from collector import Collector
from tests.collector.emitter import Emitter
emitter = Emitter(["a"])
c = Collector(emitter, sys.argv[1], name="r", flush_seconds=3600)
emitter.say(1); c.flush()
emitter.say(2); c._attempt.writer._save()
os.kill(os.getpid(), 9)
"""
    assert run_preloaded(code, URL).returncode == -signal.SIGKILL
    assert steps(URL) == [1]
    emitter = new_emitter(["a"])
    with Collector(emitter, URL, name="r", resume=True):
        emitter.say(3)
    assert steps(URL) == [1, 2, 3]
    assert spools(tmp_path) == []


def test_what_was_left_here_is_not_put_over_what_went_on_elsewhere(server, new_emitter, tmp_path, monkeypatch):
    emitter = new_emitter(["a"])
    left = Collector(emitter, URL, name="r", flush_seconds=3600)
    emitter.say(1)
    left.flush()
    left._attempt.writer.abandon()  # as if its process had ended
    left._attempt.held.close()
    open_runs.remove(left)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    emitter = new_emitter(["a"])
    with Collector(emitter, URL, name="r", resume=True):
        emitter.say(2)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(
        FileExistsError, match=r"run 'r' went on elsewhere since .* was left here: move that folder away"
    ):
        Collector(new_emitter(["a"]), URL, name="r", resume=True)
    assert steps(URL) == [1, 2]


def test_a_name_that_is_there_is_refused(server, new_emitter):
    with Collector(new_emitter(["a"]), URL, name="r"):
        with pytest.raises(FileExistsError, match="run 'r' is open in this process"):
            Collector(new_emitter(["a"]), URL, name="r")
        with Collector(new_emitter(["a"]), URL) as first, Collector(new_emitter(["a"]), URL) as second:
            assert first.run != second.run
    with pytest.raises(FileExistsError, match="run 'r' is there already in s3://bucket/runs; take another name"):
        Collector(new_emitter(["a"]), URL, name="r")


def test_training_goes_on_while_the_server_is_away_and_every_row_arrives_when_it_is_back(server, emitter, tmp_path):
    with Collector(emitter, URL, name="r", flush_seconds=0.05) as collector:
        emitter.say(1)
        collector.flush()
        server.stop()
        emitter.say(2)
        wait_for(lambda: collector._attempt.writer.trouble)
        with pytest.warns(
            UserWarning, match=r"so its rows wait in .*/spool/.*/r for the next try: .* be reached"
        ) as caught:
            emitter.say(3)
        assert len(caught) == 1
        emitter.say(4)
        with pytest.raises(OSError, match="s3://bucket/runs: it cannot be reached; check the network"):
            collector.flush()
        server.start()  # it has forgotten everything
        server.files.create_dir("bucket")
        wait_for(lambda: server.names("bucket/runs/r"))
        collector.flush()
        assert steps(URL) == [1, 2, 3, 4]
        emitter.say(5)
    assert steps(URL) == [1, 2, 3, 4, 5]
    assert spools(tmp_path) == []


def test_what_could_not_be_sent_is_kept_and_sent_when_the_run_is_resumed(server, new_emitter, tmp_path):
    emitter = new_emitter(["a"])
    collector = Collector(emitter, URL, name="r", flush_seconds=3600)
    emitter.say(1)
    server.stop()
    with pytest.warns(
        UserWarning, match=r"run 'r' was not sent to its end: .*cannot be reached.* all of it is in"
    ) as caught:
        collector.close()
    (spool,) = spools(tmp_path)
    assert str(spool) in str(caught[0].message)
    assert steps(str(spool.parent)) == [1]
    server.start()
    server.files.create_dir("bucket")
    emitter = new_emitter(["a"])
    with Collector(emitter, URL, name="r", resume=True):
        emitter.say(2)
    assert steps(URL) == [1, 2]
    assert spools(tmp_path) == []


def test_only_what_is_new_is_copied_and_what_is_gone_is_removed(server, new_emitter):
    emitter = new_emitter(["a"])
    with Collector(emitter, URL, name="r", flush_seconds=3600) as collector:
        emitter.say(1)
        collector.flush()
        folder = fetch(URL)
        before = {path.name: path.stat().st_ino for path in folder.rglob("*.parquet")}
        emitter.say(2)
        collector.flush()
        fetch(URL)
        after = {path.name: path.stat().st_ino for path in folder.rglob("*.parquet")}
        assert len(after) == 2
        assert before.items() <= after.items()
    with Collector(new_emitter(["a"]), URL, name="s"):
        pass
    server.files.delete_dir("bucket/runs/r")
    assert connect(URL).sql("SELECT run FROM runs").fetchall() == [("s",)]


def test_nothing_but_a_log_is_copied_from_a_bucket(server, emitter, tmp_path):
    with Collector(emitter, "s3://bucket", name="r"):
        emitter.say(1)
    server.put("bucket/other/large.bin", b"0")
    server.put("bucket/r/checkpoint.pt", b"0")
    folder = fetch("s3://bucket")
    assert folder.name == "bucket"
    copied = {path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert {name for name in copied if not name.endswith(".parquet")} == {".lock", "run.json", "heartbeat"}
    assert steps("s3://bucket") == [1]


def test_no_object_is_copied_to_a_place_outside():
    def info(path: str) -> SimpleNamespace:
        return SimpleNamespace(path=path, is_file=True, size=1, mtime_ns=2)

    found = [info(f"bucket/{path}") for path in ("r/run.json", "../run.json", "r/../../s/run.json", "/r/run.json")]
    store = SimpleNamespace(get_file_info=lambda selector: found)
    assert versions(Place(store, "bucket")) == {"r/run.json": (1, 2)}


def test_the_fingerprint_changes_with_the_log_and_reads_no_file(server, emitter, tmp_path):
    with Collector(emitter, URL, name="r", flush_seconds=3600) as collector:
        first = fingerprint(URL)
        assert fingerprint(URL) == first
        emitter.say(1)
        collector.flush()
        second = fingerprint(URL)
        assert second != first
    assert fingerprint(URL) != second
    assert not (tmp_path / "cache" / "lambc" / "read").exists()


def test_folders_and_urls_stand_beside_each_other(server, new_emitter, tmp_path):
    for root, step in ((tmp_path / "local", 1), (URL, 2)):
        emitter = new_emitter(["a"])
        with Collector(emitter, root, name="r"):
            emitter.say(step)
    rows = connect([tmp_path / "local", URL]).sql("SELECT run, step FROM trust_ratios ORDER BY step").fetchall()
    assert rows == [("local/r", 1), ("runs/r", 2)]
    assert len({fingerprint(each) for each in (URL, tmp_path / "local", [tmp_path / "local", URL])}) == 3


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("s3://no-such-bucket/runs", OSError, r"^s3://no-such-bucket/runs: there is no such bucket; make it"),
        ("s3://bucket/runs?endpoint_override=127.0.0.1:1&scheme=http", OSError, "it cannot be reached; check the"),
        ("s3://bucket/runs?color=red", ValueError, "is not of the form s3://bucket/folder"),
        ("s3://key:secret@bucket/runs", ValueError, "a URL holds no secrets: set AWS_ACCESS_KEY_ID"),
        ("odd://bucket/runs", ValueError, "'odd://bucket/runs' names no store that is known"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_url_is_said_in_a_sentence(server, emitter, url, error, message):
    for attempt in (lambda: connect(url), lambda: fingerprint(url), lambda: Collector(emitter, url, name="r")):
        with pytest.raises(error, match=message) as caught:
            attempt()
        assert "\n" not in str(caught.value)
        assert "secret@" not in str(caught.value)


def test_a_url_with_no_runs_is_not_there(server):
    with pytest.raises(FileNotFoundError, match="there are no runs at 's3://bucket/runs'; give the URL"):
        connect(URL)


def test_a_server_that_refuses_says_what_to_set(running, server, monkeypatch):
    strict = S3Server()
    strict.start(INITIAL_NO_AUTH_ACTION_COUNT="0")
    monkeypatch.setenv("AWS_ENDPOINT_URL", strict.endpoint)
    try:
        with pytest.raises(OSError, match="it refuses access; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
            connect(URL)
    finally:
        strict.stop()


@pytest.mark.parametrize(
    "ending",
    [
        "sys.exit()",
        "child = os.fork()\nif not child: sys.exit()\nos.waitpid(child, 0)\nsys.exit()",
        "connect(sys.argv[1]); sys.exit()",
    ],
    ids=["without close", "with a forked child", "after reading"],
)
def test_an_exit_sends_what_is_left_and_does_not_hang(server, tmp_path, ending):
    code = f"""
import os, sys
from collector import Collector, connect
from tests.collector.emitter import Emitter
emitter = Emitter(["a"])
c = Collector(emitter, sys.argv[1], name="r", flush_seconds=3600)
emitter.say(1)
{ending}
"""
    done = run_preloaded(code, URL)
    assert (done.returncode, done.stderr) == (0, "")
    assert run_json(server)["status"] == "interrupted"
    assert steps(URL) == [1]
    assert spools(tmp_path) == []


def test_strangers_sql_reads_a_url(server, emitter):
    with Collector(emitter, URL, name="r"):
        emitter.say(1)
    safe = connect(URL, untrusted=True)
    try:
        assert safe.execute("SELECT count(*) AS n FROM trust_ratios").to_pylist() == [{"n": 2}]
    finally:
        safe.close()


def test_the_command_reads_a_url(server, emitter):
    with Collector(emitter, URL, name="r"):
        emitter.say(1)
    command = CliRunner()
    listed = command.invoke(app, ["runs", "--runs", URL, "--format", "csv"])
    assert listed.stdout.splitlines()[1].startswith("r,finished,,1,")
    asked = command.invoke(app, ["sql", "SELECT count(*) AS n FROM trust_ratios", "--runs", URL, "--format", "csv"])
    assert asked.stdout.splitlines() == ["n", "2"]
    for arguments, words in (
        (["runs", "--runs", "s3://bucket/none"], "there are no runs at 's3://bucket/none'; give the URL"),
        (["demo", "--runs", URL], "this needs a folder; a URL is read by runs, sql and dashboard"),
    ):
        failed = command.invoke(app, arguments)
        assert failed.exit_code == 2
        assert words in " ".join(failed.stderr.split())


def test_the_dashboard_looks_at_folders_and_urls(server, emitter, tmp_path, monkeypatch):
    url = f"{URL}?endpoint_override=127.0.0.1:{server.port}&scheme=http"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monkeypatch.setenv("LAMBC_RUNS", f"{tmp_path}{os.pathsep}{tmp_path / 'cache'}")
        assert opened.roots() == (str(tmp_path),)
        monkeypatch.setenv("LAMBC_RUNS", f"{tmp_path}\n{url}")
        assert opened.roots() == (str(tmp_path),)  # nobody has written there yet
        with Collector(emitter, URL, name="r"):
            emitter.say(1)
        wait_for(lambda: opened.roots() == (str(tmp_path), url))
        assert list(queries.runs()["run"]) == ["r"]
        opened._connected.clear()


def test_a_heartbeat_reaches_its_readers(server, emitter, monkeypatch):
    monkeypatch.setattr("collector.recording.writer._HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr("collector.log.remote._BEAT_NS", 1)
    with Collector(emitter, URL, name="r", flush_seconds=3600):
        first = fingerprint(URL)
        wait_for(lambda: fingerprint(URL) != first)
        (beat,) = connect(URL).sql("SELECT heartbeat FROM runs").to_arrow_table()["heartbeat"]
        wait_for(lambda: connect(URL).sql("SELECT heartbeat FROM runs").to_arrow_table()["heartbeat"][0] != beat)


def test_any_store_that_pyarrow_knows_will_do(emitter, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url = (tmp_path / "far").as_uri()
    with Collector(emitter, url, name="r"):
        emitter.say(1)
    assert steps(url) == steps(str(tmp_path / "far")) == [1]
    assert re.fullmatch(r"[\w.-]+", fetch(url).parent.name)
