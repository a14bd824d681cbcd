"""A disk that takes nothing does not stop the training."""

import json
import time
from contextlib import contextmanager

import pytest

from collector import Collector


@contextmanager
def disk_full(collector: Collector):
    """As if it were: a file stands where the folder of the parts was."""
    folder = collector.folder / "trust_ratios"
    kept = folder.rename(collector.folder / "kept")
    folder.touch()
    yield
    folder.unlink()
    kept.rename(folder)


def wait_for_trouble(collector: Collector) -> None:
    deadline = time.monotonic() + 10
    while collector._writer.trouble is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_training_goes_on_is_warned_once_and_every_row_is_written_later(emitter, tmp_path, steps_of):
    with Collector(emitter, tmp_path, name="r", flush_seconds=0.02) as collector:
        emitter.say(1)
        with disk_full(collector):
            emitter.say(2)
            wait_for_trouble(collector)
            with pytest.warns(UserWarning, match="run 'r' cannot be written, so its rows wait in memory") as caught:
                emitter.say(3)
            assert len(caught) == 1
            emitter.say(4)
            collector.log({"a": 1.0})
        collector.flush()
        assert steps_of(collector.folder) == [1, 2, 3, 4]
    assert "lost_rows" not in json.loads((tmp_path / "r" / "run.json").read_text())


def test_flush_says_that_it_could_not(emitter, tmp_path, steps_of):
    with Collector(emitter, tmp_path, name="r", flush_seconds=3600) as collector:
        emitter.say(1)
        with disk_full(collector), pytest.raises(OSError, match="trust_ratios"):
            collector.flush()
        collector.flush()
        assert steps_of(collector.folder) == [1]


def test_close_tries_once_more_and_says_how_many_rows_are_lost(emitter, tmp_path):
    collector = Collector(emitter, tmp_path, name="r", flush_seconds=3600)
    emitter.say(1)
    with disk_full(collector):
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


def test_what_waits_in_memory_is_bounded_and_the_newest_rows_stay(emitter, tmp_path, monkeypatch, steps_of):
    monkeypatch.setattr("collector.recorder._MOST_BYTES", 3 * 7 * 2 * 4)
    collector = Collector(emitter, tmp_path, name="r", flush_seconds=3600)
    with disk_full(collector):
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
    with disk_full(collector), pytest.raises(ZeroDivisionError) as caught, collector:
        raise ZeroDivisionError("the reason")
    assert str(caught.value) == "the reason"
    assert "2 rows were lost" in caught.value.__notes__[0]
