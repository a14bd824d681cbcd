"""A disk that takes nothing does not stop the training."""

import ctypes
import json
import time

import pytest
import torch

from collector import Collector, connect
from tests.collector.disks import remount, small_disk, unwritable


def wait_for_trouble(collector: Collector) -> None:
    deadline = time.monotonic() + 600
    while collector._attempt.writer.trouble is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def train_on(emitter, collector: Collector) -> None:
    """Steps from the second on, the first of which may already find that the disk has failed."""
    emitter.say(2)
    wait_for_trouble(collector)
    emitter.say(3)
    emitter.say(4)
    collector.log({"a": 1.0})


def test_training_goes_on_is_warned_once_and_every_row_is_written_later(emitter, tmp_path, steps_of):
    with Collector(emitter, tmp_path, name="r", flush_seconds=0.02) as collector:
        emitter.say(1)
        with (
            unwritable(collector),
            pytest.warns(UserWarning, match="run 'r' cannot be written, so its rows wait in memory") as caught,
        ):
            train_on(emitter, collector)
        assert len(caught) == 1
        collector.flush()
        assert steps_of(collector.folder) == [1, 2, 3, 4]
    assert "lost_rows" not in json.loads((tmp_path / "r" / "run.json").read_text())


def test_flush_says_that_it_could_not(emitter, tmp_path, steps_of):
    with Collector(emitter, tmp_path, name="r", flush_seconds=3600) as collector:
        emitter.say(1)
        with unwritable(collector), pytest.raises(OSError, match="trust_ratios"):
            collector.flush()
        collector.flush()
        assert steps_of(collector.folder) == [1]


def test_close_tries_once_more_and_says_how_many_rows_are_lost(emitter, tmp_path):
    collector = Collector(emitter, tmp_path, name="r", flush_seconds=3600)
    emitter.say(1)
    with unwritable(collector):
        emitter.say(2)
        with pytest.warns(UserWarning, match="run 'r': 4 rows were lost; NotADirectoryError"):
            collector.close()
    contents = json.loads((collector.folder / "run.json").read_text())
    assert (contents["status"], contents["lost_rows"]) == ("finished", 4)


def test_metrics_are_saved_once_though_the_rows_beside_them_had_to_wait(emitter, tmp_path, stored):
    collector = Collector(emitter, tmp_path, name="r", flush_seconds=3600)
    metrics = collector.folder / "metrics"
    emitter.say(1)
    collector.log({"a": 1.0})
    kept = metrics.rename(collector.folder / "kept")
    metrics.touch()
    with pytest.raises(OSError, match="metrics"):
        collector.flush()
    metrics.unlink()
    kept.rename(metrics)
    collector.close()
    assert stored(metrics)["value"].to_pylist() == [1.0]
    assert sorted(stored(collector.folder / "trust_ratios")["layer"].to_pylist()) == ["a", "b"]


@pytest.mark.filterwarnings("ignore:run 'r' falls behind")
def test_what_waits_in_memory_is_bounded_and_the_newest_rows_stay(emitter, tmp_path, steps_of):
    collector = Collector(emitter, tmp_path, name="r", memory_limit=3 * 7 * 2 * 4, flush_seconds=3600)
    with unwritable(collector):
        for step in range(1, 6):
            emitter.say(step)
            with pytest.raises(OSError, match="trust_ratios"):
                collector.flush()
    with pytest.warns(UserWarning, match="run 'r': 4 rows were lost"):
        collector.close()
    assert steps_of(collector.folder) == [3, 4, 5]
    assert json.loads((collector.folder / "run.json").read_text())["lost_rows"] == 4


def test_a_failure_at_close_does_not_hide_the_error_that_ended_the_training(emitter, tmp_path):
    collector = Collector(emitter, tmp_path, name="r", flush_seconds=3600)
    emitter.say(1)
    with unwritable(collector), pytest.raises(ZeroDivisionError) as caught, collector:
        raise ZeroDivisionError("the reason")
    assert str(caught.value) == "the reason"
    assert "2 rows were lost" in caught.value.__notes__[0]


def whole_steps(root) -> list[int]:
    """The steps of a log in which nothing is wrong and no layer is missing."""
    con = connect(root)
    assert con.sql("FROM problems").fetchall() == []
    rows = con.sql("SELECT step, count(*) FROM trust_ratios GROUP BY step ORDER BY step").fetchall()
    assert {count for _, count in rows} == {100}
    return [step for step, _ in rows]


def train_until(condition, emitter, step: int) -> int:
    """Take steps until something is so; returns the last."""
    deadline = time.monotonic() + 600
    while not condition():
        step += 1
        emitter.say(step, torch.rand(7, 100))
        time.sleep(0.001)
        assert time.monotonic() < deadline
    return step


@pytest.fixture
def wide(new_emitter):
    """An optimizer of 100 layers."""
    return new_emitter([f"layer{n}" for n in range(100)])


def test_a_disk_that_fills_up_keeps_what_it_took_and_training_ends_as_it_should(wide, tmp_path):
    with small_disk(tmp_path / "disk") as root:
        collector = Collector(wide, root, name="r", flush_seconds=0.05)
        with pytest.warns(UserWarning, match=r"run 'r' cannot be written.*No space left on device"):
            step = train_until(lambda: collector._attempt.said, wide, 0)
        seen = whole_steps(root)
        assert seen == list(range(1, len(seen) + 1))
        assert len(seen) > 10
        for later in range(1, 2001):  # goes on, at length
            wide.say(step + later, torch.rand(7, 100))
        with pytest.warns(UserWarning, match=r"run 'r': \d+ rows were lost; .*No space left on device"):
            collector.close()
        kept = whole_steps(root)
        assert kept == list(range(1, len(kept) + 1))
        assert len(kept) >= len(seen)
        assert collector.step == step + 2000


def test_rows_that_waited_for_room_are_all_written_when_there_is_some(wide, tmp_path):
    with small_disk(tmp_path / "disk") as root:
        with Collector(wide, root, name="r", flush_seconds=0.05) as collector:
            (root / "ballast").write_bytes(bytes(900 * 1024))
            with pytest.warns(UserWarning, match="No space left on device"):
                step = train_until(lambda: collector._attempt.said, wide, 0)
            (root / "ballast").unlink()
            collector.flush()
        assert whole_steps(root) == list(range(1, step + 1))
        contents = json.loads((root / "r" / "run.json").read_text())
        assert (contents["status"], "lost_rows" in contents) == ("finished", False)


def test_a_disk_that_becomes_read_only_says_so_and_keeps_what_it_has(wide, tmp_path):
    with small_disk(tmp_path / "disk") as root:
        collector = Collector(wide, root, name="r", flush_seconds=0.05)
        wide.say(1, torch.rand(7, 100))
        collector.flush()
        collector._attempt.held.close()  # a disk with a file open, as the lock's is, becomes read-only by a fault alone
        remount(root, "ro")
        with pytest.warns(UserWarning, match=r"run 'r' cannot be written.*Read-only file system"):
            step = train_until(lambda: collector._attempt.said, wide, 1)
        assert whole_steps(root) == [1]
        remount(root, "rw")
        collector.close()
        assert whole_steps(root) == list(range(1, step + 1))


def test_a_run_on_a_read_only_disk_is_an_error_before_training_starts(wide, tmp_path):
    with small_disk(tmp_path / "disk") as root:
        Collector(wide, root, name="r").close()
        remount(root, "ro")
        for options in ({"name": "other"}, {"name": "r", "resume": True}):
            with pytest.raises(OSError, match=r"cannot write a run to .*: Read-only file system; choose another root"):
                Collector(wide, root, **options)


def end_by(error):
    """What `write_part` may do as the last deed of a thread."""

    def end(*args):
        raise error

    return end


# Python's own hook says nothing of a SystemExit, and prints others; pytest makes a warning of each.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [SystemExit("out of luck"), KeyboardInterrupt("out of luck")])
def test_a_writer_thread_that_ends_is_told_once_and_close_saves_all(emitter, tmp_path, monkeypatch, steps_of, error):
    collector = Collector(emitter, tmp_path, name="r", flush_seconds=0.02)
    with monkeypatch.context() as patch:
        patch.setattr("collector.recording.writer.write_part", end_by(error))
        emitter.say(1)
        collector._attempt.writer._thread.join(10)
    what = f"run 'r' has lost its writer thread, .*: {type(error).__name__}: out of luck"
    with pytest.warns(UserWarning, match=what) as said:
        emitter.say(2)
    assert len(said) == 1
    emitter.say(3)
    collector.flush()
    assert steps_of(collector.folder) == [1, 2, 3]
    emitter.say(4)
    collector.close()
    assert steps_of(collector.folder) == [1, 2, 3, 4]
    assert json.loads((collector.folder / "run.json").read_text())["status"] == "finished"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_so_is_one_that_is_ended_from_outside_while_it_sleeps(emitter, tmp_path, monkeypatch, steps_of):
    monkeypatch.setattr("collector.recording.writer._HEARTBEAT_SECONDS", 0.02)
    collector = Collector(emitter, tmp_path, name="r", flush_seconds=3600)
    thread = collector._attempt.writer._thread
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
    thread.join(10)
    with pytest.warns(UserWarning, match="has lost its writer thread"):
        emitter.say(1)
    collector.close()
    assert steps_of(collector.folder) == [1]


def test_a_want_of_memory_is_tried_again(emitter, tmp_path, monkeypatch, steps_of):
    with Collector(emitter, tmp_path, name="r", flush_seconds=0.02) as collector:
        with monkeypatch.context() as patch:
            patch.setattr("collector.recording.writer.write_part", end_by(MemoryError("no room")))
            emitter.say(1)
            wait_for_trouble(collector)
            with pytest.warns(UserWarning, match="its rows wait in memory for the next try: MemoryError: no room"):
                emitter.say(2)
        collector.flush()
        assert steps_of(collector.folder) == [1, 2]
