"""Logs in places as people have them: a home folder, network disks, folders of others, names that are taken."""

import errno
import os
import shutil
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app import log as opened
from collector import Collector, connect
from collector.log import atomic
from collector.log.listing import run_folders, run_version
from collector.log.run import Run, read_run
from collector.store.check import check_run
from collector.store.connect import fingerprint
from collector.store.runs import read_runs
from lambc.cli import app
from tests.collector.emitter import Emitter

NOBODY = 65534


def record(root: Path | str, name: str | None = "r", **options: Any) -> Path:
    emitter = Emitter(["a"])
    with Collector(emitter, root, name=name, **options) as collector:
        emitter.say(1)
        collector.log({"loss": 1.0})
    return collector.folder


def rows(root: Path | str) -> list[tuple]:
    return connect(root).sql("SELECT run, count(*) FROM trust_ratios GROUP BY run ORDER BY run").fetchall()


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty home folder, and an empty working directory."""
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


@pytest.fixture
def open_root() -> Iterator[Path]:
    """A root that others may look into, as pytest's own folders are not."""
    if os.geteuid() == 0:
        closed = [each for each in (Path(__file__), Path(sys.prefix, "_")) if not others_may_enter(each.parent)]
        if closed:
            pytest.skip(f"root becomes somebody else in this test, who may not enter {closed[0].parent}")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "none").mkdir()
    connect(folder / "none")  # imports what it uses, which somebody else may not
    yield folder
    shutil.rmtree(folder)


def others_may_enter(folder: Path) -> bool:
    return all(each.stat().st_mode & stat.S_IXOTH for each in (folder, *folder.parents))


@contextmanager
def forbidden(path: Path) -> Iterator[None]:
    """Nobody may read `path`, nor may this process, who may be root: it is somebody else meanwhile."""
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(NOBODY)
        yield
    finally:
        if root:
            os.seteuid(0)
        path.chmod(mode)


def test_a_tilde_is_the_home_folder_wherever_a_root_is_given(home, monkeypatch):
    record("~/runs")
    assert [path.name for path in (home / "runs").iterdir()] == ["r"]
    assert rows("~/runs") == rows(Path("~/runs")) == rows(["~/runs"]) == [("r", 1)]
    assert fingerprint("~/runs") == fingerprint(home / "runs")
    for command in (
        ["runs", "--runs=~/runs"],
        ["sql", "FROM runs", "--runs=~/runs"],
        ["check", "--runs=~/runs"],
        ["compact", "--runs=~/runs"],
        ["export", "--runs=~/runs", "-o", "out"],
    ):
        done = CliRunner().invoke(app, command)
        assert (done.exit_code, done.stderr) == (0, ""), command
    monkeypatch.setenv("LAMBC_RUNS", "~/runs")
    assert opened.named_roots() == [str(home / "runs")]
    assert [path.name for path in Path().iterdir()] == ["out"]


def test_a_home_that_is_not_there_and_a_url_that_was_made_a_path_are_refused(home, emitter):
    with pytest.raises(ValueError, match="'~nobody-of-this-name/runs': there is no such home folder; give the whole"):
        Collector(emitter, "~nobody-of-this-name/runs", name="r")
    with pytest.raises(ValueError, match="'s3:/bucket/runs' was a URL, of which a path leaves one slash"):
        Collector(emitter, Path("s3://bucket/runs"), name="r")
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("code", sorted(atomic._FOLDER_SYNC_UNSUPPORTED), ids=errno.errorcode.get)
def test_a_disk_that_syncs_no_folders_takes_a_run(tmp_path, monkeypatch, code):
    synced = []

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        synced.append(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    record(tmp_path)
    assert rows(tmp_path) == [("r", 1)]
    assert synced


@pytest.mark.parametrize(
    ("code", "folders"), [(errno.EIO, True), (errno.EINVAL, False), (errno.ENOSPC, True)], ids=["EIO", "file", "full"]
)
def test_what_may_have_lost_rows_is_an_error(tmp_path, monkeypatch, code, folders):
    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == folders:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises(OSError, match=os.strerror(code)):
        atomic.write_text(tmp_path / "file", "text")


def test_jobs_that_begin_unnamed_runs_together_get_one_each(tmp_path):
    together = threading.Barrier(8)

    def begin(job: int) -> tuple[str, str]:
        together.wait()
        run = Run.create(tmp_path / "runs" / "now", None, {"job": job}, numbered=True)
        return run.folder.name, read_run(run.folder)["run"]

    with ThreadPoolExecutor(8) as jobs:
        found = sorted(jobs.map(begin, range(8)))
    names = ["now", *(f"now-{number}" for number in range(2, 9))]
    assert found == [(name, name) for name in names]
    assert sorted(path.name for path in run_folders(tmp_path / "runs")) == names


def test_an_unnamed_run_passes_over_whatever_has_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr("collector.recording.attempt.name_of_now", lambda *, unique: f"now{'!' * unique}")
    (tmp_path / "now").touch()
    (tmp_path / "now-2").symlink_to("nowhere")
    assert record(tmp_path, None).name == "now-3"
    assert rows(tmp_path) == [("now-3", 1)]
    assert record((tmp_path / "url").as_uri(), None).name == "now!"  # where no folder can be claimed


def test_a_run_that_cannot_begin_leaves_no_folder_behind(tmp_path, monkeypatch):
    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("collector.log.atomic.write_text", full)
        with pytest.raises(OSError, match=r"cannot write a run to .*: No space left on device; choose another root"):
            record(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert rows(record(tmp_path).parent) == [("r", 1)]


def looked_at(root: Path) -> list[tuple]:
    """The problems of a root with the runs `good` and `r`, of which the first must be as if it were alone."""
    fingerprint(root)
    for folder in run_folders(root):
        run_version(folder)
        if os.access(sys.executable, os.X_OK, effective_ids=True):  # check starts a process, which this user may not
            check_run(folder)
    read_runs([root])
    connection = connect(root)
    assert connection.sql("SELECT status, steps FROM runs WHERE run = 'good'").fetchall() == [("finished", 1)]
    for view in ("trust_ratios", "metrics"):
        assert connection.sql(f"SELECT count(*) FROM {view} WHERE run = 'good'").fetchall() == [(1,)]
    return connection.sql("FROM problems").fetchall()


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("r", "it cannot be opened (Permission denied), so the run is left out: mend it"),
        ("r/trust_ratios", "it cannot be opened (Permission denied), so its rows are left out: mend or remove it"),
        ("r/metrics", "it cannot be opened (Permission denied), so its rows are left out: mend or remove it"),
        (
            "r/run.json",
            "it cannot be read (Permission denied), so status, config and layers of the run are not known: ",
        ),
        ("r/trust_ratios/*", "it cannot be opened (Permission denied), so its rows are left out: mend or remove it"),
    ],
)
def test_what_may_not_be_read_is_named_costs_its_own_run_alone_and_is_back_once_it_may(open_root, what, words):
    for name in ("good", "r"):
        record(open_root, name)
    (path,) = open_root.glob(what)
    assert looked_at(open_root) == []
    before = fingerprint(open_root)
    with forbidden(path):
        ((run, file, problem),) = looked_at(open_root)
        assert (run, file) == ("r", str(path))
        assert problem.startswith(words)
        assert fingerprint(open_root) != before
    assert looked_at(open_root) == []
    assert rows(open_root) == [("good", 1), ("r", 1)]


def test_the_commands_name_a_run_that_may_not_be_read_and_go_on(open_root, monkeypatch):
    for name in ("good", "r"):
        record(open_root, name)
    done = CliRunner().invoke(app, ["runs", "--runs", str(open_root)])  # imports what it uses, while it may
    assert done.exit_code == 0
    checked = None
    with forbidden(open_root / "r"):
        listed = CliRunner().invoke(app, ["runs", "--runs", str(open_root)])
        if os.access(sys.executable, os.X_OK, effective_ids=True):  # check starts a process, which this user may not
            checked = CliRunner().invoke(app, ["check", "--runs", str(open_root)])
    said = f"{open_root}/r: it cannot be opened (Permission denied), so the run is left out: mend it\n"
    assert "good" in listed.stdout
    assert (listed.exit_code, listed.stderr) == (0, said)
    assert checked is None or (checked.exit_code, checked.stdout) == (1, said)


def test_a_root_that_may_not_be_read_is_an_error_in_a_sentence(open_root):
    root = record(open_root / "runs").parent
    with forbidden(root):
        with pytest.raises(OSError, match=r"the folder '.*runs' cannot be read \(Permission denied\): give one that"):
            connect(root)
        done = CliRunner().invoke(app, ["check", "--runs", str(root)])
    assert done.exit_code == 2
    assert "cannot be read (Permission denied)" in done.stderr


def test_the_lost_and_found_of_a_disk_is_no_run(open_root):
    record(open_root, "good")
    (open_root / "lost+found").mkdir()
    with forbidden(open_root / "lost+found"):
        assert looked_at(open_root) == []


@pytest.mark.parametrize("table", ["trust_ratios", "metrics"])
@pytest.mark.parametrize(
    ("target", "words"),
    [(None, "Not a directory"), ("LOOP", "Too many levels of symbolic links"), ("nowhere", "No such file")],
)
def test_a_table_that_is_no_folder_is_named_and_costs_its_own_rows_alone(tmp_path, table, target, words):
    for name in ("good", "r"):
        record(tmp_path, name)
    place = tmp_path / "r" / table
    shutil.rmtree(place)
    if target:
        place.symlink_to(target.replace("LOOP", table))
    else:
        place.touch()
    ((run, file, problem),) = looked_at(tmp_path)
    assert (run, file) == ("r", str(place))
    assert problem.startswith(f"it cannot be opened ({words}")
    assert problem.endswith("so its rows are left out: mend or remove it")
    assert connect(tmp_path).sql("SELECT status FROM runs WHERE run = 'r'").fetchall() == [("finished",)]


def test_a_run_that_is_a_link_in_a_circle_is_named(tmp_path):
    record(tmp_path, "good")
    (tmp_path / "r").symlink_to("other")
    (tmp_path / "other").symlink_to("r")
    (tmp_path / "unmounted").symlink_to("nowhere")
    problem = "it cannot be opened (Too many levels of symbolic links), so the run is left out: mend it"
    assert looked_at(tmp_path) == [(name, str(tmp_path / name), problem) for name in ("other", "r")]


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path):
    for name in ("good", "r"):
        record(tmp_path, name)
    pipes = [tmp_path / "r" / name for name in ("heartbeat", "metrics/x.parquet", "run.json", "trust_ratios/x.parquet")]
    for pipe in pipes:
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
    found = looked_at(tmp_path)
    assert sorted(file for _, file, _ in found) == [str(pipe) for pipe in pipes]
    assert all(problem.startswith("it is no file, so ") for _, _, problem in found)
    assert rows(tmp_path) == [("good", 1), ("r", 1)]


def test_a_layer_table_from_elsewhere_does_not_speak_for_another_run(tmp_path):
    folder = record(tmp_path, "r")
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text.replace('"layer": "a"', '"layer": "a", "run": "other"'))
    assert connect(tmp_path).sql("SELECT run, layer FROM layers").fetchall() == [("r", "a")]
