"""What waits in memory for the disk is bounded."""

import json
import re
import time
from threading import Event

import pytest

from collector import Collector
from collector.recording import writer
from tests.collector.disks import unwritable

SLOTS = 4
BLOCK = SLOTS * 7 * 2 * 4  # bytes of a full ring of two layers


@pytest.fixture(autouse=True)
def short_rings(monkeypatch):
    """Rings of four steps, so that a few steps are many blocks."""
    monkeypatch.setattr("collector.recording.ring._MOST_SLOTS", SLOTS)
    monkeypatch.setattr("collector.recording.ring._FEWEST_SLOTS", SLOTS)


@pytest.fixture
def slow_disk(monkeypatch):
    """A disk that takes a part only when it is told to, `let_go.set()`."""
    let_go = Event()
    write_part = writer.write_part

    def wait_and_write(*args):
        let_go.wait()
        return write_part(*args)

    monkeypatch.setattr("collector.recording.writer.write_part", wait_and_write)
    yield let_go
    let_go.set()


def run_json(collector) -> dict:
    return json.loads((collector.folder / "run.json").read_text())


def say(emitter, first: int, last: int) -> None:
    for step in range(first, last + 1):
        emitter.say(step)


def until(condition) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_oldest_rows_go_and_are_counted_while_the_run_goes_on(emitter, tmp_path, slow_disk, steps_of):
    collector = Collector(emitter, tmp_path, name="r", memory_limit=3 * BLOCK, flush_seconds=3600)
    say(emitter, 1, 4)
    until(lambda: collector._attempt.recorder._backlog._taken)  # the writer is at the disk with steps 1 to 4
    say(emitter, 5, 12)
    with pytest.warns(
        UserWarning, match=rf"run 'r' falls behind: .*memory_limit={3 * BLOCK} bytes, so the oldest"
    ) as said:
        say(emitter, 13, 20)
    assert len(said) == 1
    slow_disk.set()
    until(lambda: "lost_rows" in run_json(collector))
    assert run_json(collector)["status"] == "running"
    with pytest.warns(UserWarning, match="run .r.: 16 rows were lost; the rows that wait for the disk reached"):
        collector.close()
    assert steps_of(collector.folder) == [*range(1, 5), *range(13, 21)]
    assert run_json(collector)["lost_rows"] == 16


def test_training_waits_for_the_writer_and_nothing_is_lost(emitter, tmp_path, monkeypatch, steps_of):
    write_part = writer.write_part
    monkeypatch.setattr("collector.recording.writer.write_part", lambda *args: time.sleep(0.02) or write_part(*args))
    with Collector(emitter, tmp_path, name="r", memory_limit=BLOCK, when_full="wait", flush_seconds=3600) as collector:
        with pytest.warns(UserWarning, match="run 'r' falls behind: .* so training waits, too") as said:
            say(emitter, 1, 100)
        assert len(said) == 1
    assert steps_of(collector.folder) == list(range(1, 101))
    assert "lost_rows" not in run_json(collector)


def test_training_waits_no_longer_than_a_minute_for_a_disk_that_takes_nothing(
    emitter, tmp_path, monkeypatch, slow_disk, steps_of
):
    monkeypatch.setattr("collector.recording.backlog.PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr("collector.recording.backlog._ASK_SECONDS", 0.02)
    collector = Collector(emitter, tmp_path, name="r", memory_limit=BLOCK, when_full="wait", flush_seconds=3600)
    backlog = collector._attempt.recorder._backlog
    waits, wait = [], backlog._changed.wait
    monkeypatch.setattr(backlog._changed, "wait", lambda seconds: waits.append(seconds) or wait(seconds))
    with pytest.warns(UserWarning, match="run 'r' falls behind"):
        say(emitter, 1, 12)
    assert backlog._gave_up
    once = len(waits)
    assert once > 0
    say(emitter, 13, 100)
    assert len(waits) == once  # not again at each of 22 blocks
    slow_disk.set()
    until(lambda: not backlog._gave_up)
    with pytest.warns(UserWarning, match=r"\d+ rows were lost"):
        collector.close()
    steps = steps_of(collector.folder)
    assert steps[:4] == [1, 2, 3, 4]
    assert steps[-4:] == [97, 98, 99, 100]
    assert run_json(collector)["lost_rows"] == 2 * (100 - len(steps))


# Python itself says nothing of a SystemExit; pytest does.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_training_waits_no_longer_for_a_thread_that_ended(emitter, tmp_path, monkeypatch, steps_of):
    def end(*args):
        raise SystemExit("out of luck")

    with monkeypatch.context() as patch:
        patch.setattr("collector.recording.writer.write_part", end)
        collector = Collector(emitter, tmp_path, name="r", memory_limit=2 * BLOCK, when_full="wait", flush_seconds=3600)
        with pytest.warns(UserWarning, match="run 'r'") as said:
            say(emitter, 1, 40)
        assert not collector._attempt.recorder._backlog._gave_up  # as it does after a minute
    messages = {str(each.message) for each in said}
    assert (
        "run 'r' has lost its writer thread, so its rows wait for flush() or close(): SystemExit: out of luck"
        in messages
    )
    with pytest.warns(UserWarning, match="rows were lost"):
        collector.close()
    kept = steps_of(collector.folder)
    assert kept == list(range(kept[0], 41))
    assert SLOTS < len(kept) < 5 * SLOTS


BEHIND = pytest.mark.filterwarnings("ignore:run 'r' falls behind")


def lose_two_steps_of_three(emitter, root, **options) -> Collector:
    """A closed collector that could write only when it was closed, and may keep no more than the newest rows."""
    collector = Collector(emitter, root, name="r", memory_limit=1, flush_seconds=3600, **options)
    with unwritable(collector):
        for step in (1, 2, 3):
            emitter.say(step)
            with pytest.raises(OSError, match="trust_ratios"):
                collector.flush()
    with pytest.warns(UserWarning, match="4 rows were lost"):
        collector.close()
    return collector


@BEHIND
def test_the_newest_rows_stay_whatever_the_limit(emitter, tmp_path, steps_of):
    collector = lose_two_steps_of_three(emitter, tmp_path)
    assert steps_of(collector.folder) == [3]


def log_much(collector) -> None:
    for _ in range(10):
        collector.log({f"m{n}": 0.0 for n in range(4096)})
    collector.log({"last": 1.0})


def test_metrics_without_a_step_are_bounded_too(emitter, tmp_path, slow_disk):
    with Collector(emitter, tmp_path, name="r", memory_limit=10_000 * 200, flush_seconds=3600) as collector:
        with pytest.warns(UserWarning, match="falls behind"):
            log_much(collector)
        slow_disk.set()
        with pytest.warns(UserWarning, match="rows were lost"):
            collector.close()
    assert run_json(collector)["lost_rows"] % 4096 == 0


@BEHIND
@pytest.mark.filterwarnings("ignore:run 'r' was resumed, and its log reaches step")
def test_lost_rows_of_all_attempts_add_up(emitter, tmp_path):
    for resume, lost in ((False, 4), (True, 8)):
        collector = lose_two_steps_of_three(emitter, tmp_path, resume=resume)
        assert run_json(collector)["lost_rows"] == lost


@pytest.mark.filterwarnings("ignore:run 'r' cannot be written")
def test_what_waited_is_written_in_parts_of_bounded_size(emitter, tmp_path, monkeypatch, steps_of):
    monkeypatch.setattr("collector.recording.writer._PART_BYTES", 2 * BLOCK)
    most = []
    write_part = writer.write_part
    monkeypatch.setattr(
        "collector.recording.writer.write_part", lambda rows, *args: most.append(len(rows)) or write_part(rows, *args)
    )
    collector = Collector(emitter, tmp_path, name="r", flush_seconds=3600)
    with unwritable(collector):
        say(emitter, 1, 40)
        with pytest.raises(OSError, match="trust_ratios"):
            collector.flush()
    collector.flush()
    assert max(most) <= 2 * SLOTS * 2
    assert sum(most) == 80
    collector.close()
    assert steps_of(collector.folder) == list(range(1, 41))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"memory_limit": 0}, "memory_limit=0: the bytes that may wait for the disk are above 0"),
        ({"when_full": "block"}, "when_full='block': give 'drop' or 'wait'"),
    ],
)
def test_an_option_that_makes_no_sense_is_an_error(emitter, tmp_path, option, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Collector(emitter, tmp_path, **option)
