"""A process that is killed at any of its file operations leaves a run that can be read, resumed, replaced and removed.

Each operation by which a run is made, resumed from an earlier step, compacted, replaced or removed is one at which the
process is killed just before it. Where that is the sync of a new file, half of it is cut off too, as if it had been
killed while it wrote.
"""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LAYERS = ["a", "b"]
EACH = int(os.environ.get("KILL_EACH", "6"))
"""Every so manieth operation is one at which the process is killed; 1 for all of them, which takes some minutes."""

_EVENTS = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.utime", "os.truncate"}


def record(
    root: Path, first: int, last: int, *, say: Callable[[int], None] = lambda step: None, **options: Any
) -> None:
    """Steps and metrics from `first` to `last`, and how far the log is said to be on the disk."""
    from collector import Collector
    from tests.collector.emitter import Emitter

    emitter = Emitter(LAYERS)
    with Collector(emitter, root, name="r", flush_seconds=3600, **options) as collector:
        for step in range(first, last + 1):
            emitter.say(step)
            collector.log({"loss": 1 / step})
            if step % 3 == 0:
                collector.flush()
                say(step)
    say(last)


def leave(root: Path, first: int, last: int) -> None:
    """The same, and an end without a word, so that no parts are merged."""
    record(root, first, last, say=lambda step: os._exit(0), resume=True)


def age(root: Path) -> None:
    """Have the run's process be dead for long, as far as its heartbeat says."""
    if (root / "r" / "heartbeat").exists():
        (root / "r" / "heartbeat").write_text(json.dumps({"time": "2020-01-01T00:00:00+00:00", "step": 1}))


def make_new(root: Path, say: Callable[[int], None]) -> None:
    record(root, 1, 7, say=say)


def resume(root: Path, say: Callable[[int], None]) -> None:
    """From a step in the midst of a part on: it is rewritten, and later ones move."""
    record(root, 5, 12, say=say, resume=True)


def replace(root: Path, say: Callable[[int], None]) -> None:
    record(root, 1, 7, say=say, overwrite=True)


def compact(root: Path, say: Callable[[int], None]) -> None:
    from collector.log.maintain import compact_run

    compact_run(root / "r")


def remove(root: Path, say: Callable[[int], None]) -> None:
    from collector.log.maintain import remove_run

    remove_run(root / "r")


WORKS = {"new": make_new, "resumed": resume, "compacted": compact, "replaced": replace, "removed": remove}
KEPT = {"new": 0, "resumed": 4, "compacted": 9, "replaced": 0, "removed": 0}
"""Up to which step all rows of the run that was there before are there still."""


def kill_at(number: int, root: Path) -> Callable[[], int]:
    """Have this process killed at so manieth operation on a file below `root`; what is returned counts them."""
    counter = itertools.count()
    seen = [0]
    below = str(root)

    def look(event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            syncs = str(path).endswith(".tmp") and not flags & (os.O_WRONLY | os.O_RDWR)
            if not (syncs or flags & (os.O_WRONLY | os.O_RDWR)):
                return
        elif event in _EVENTS:
            path, syncs = arguments[0], False
            if event in ("os.remove", "os.rmdir") and arguments[1] != -1:  # a name in a folder that is open
                path = os.path.join(os.readlink(f"/proc/self/fd/{arguments[1]}"), path)
        else:
            return
        if isinstance(path, int) or below not in os.fsdecode(path):
            return
        seen[0] = next(counter)
        if seen[0] == number:
            if syncs:
                os.truncate(path, os.path.getsize(path) // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)
    return lambda: seen[0] + 1


def forked(work: Callable[[], None]) -> int:
    """How a fork of this process ended that did the work: 0, or what killed it."""
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def steps_of(root: Path) -> list[int]:
    """The steps of a log in which nothing is wrong, and each row is there once."""
    from collector import connect
    from collector.log.aside import is_unfinished
    from collector.store.check import _inspect

    con = connect(root)
    if (root / "r").is_dir() and is_unfinished(root / "r"):
        return []
    assert con.sql("FROM problems").fetchall() == []
    if not con.sql("SELECT run FROM runs").fetchall():
        return []
    assert _inspect(root / "r", [], lambda path: None) == []
    found = [[step for (step,) in con.sql(f"SELECT step FROM {rows} ORDER BY step").fetchall()] for rows in
             ("trust_ratios WHERE layer = 'a'", "trust_ratios WHERE layer = 'b'", "metrics")]  # fmt: skip
    assert all(steps == list(range(1, len(steps) + 1)) for steps in found), found
    return min(found, key=len)


def rows_of(root: Path) -> list[int]:
    """The steps of the trust ratios of a layer, as they lie there."""
    import pyarrow.parquet as pq

    parts = [pq.read_table(path, partitioning=None) for path in (root / "r" / "trust_ratios").glob("*.parquet")]
    rows = [row for part in parts for row in part.select(["step", "layer"]).to_pylist()]
    steps = sorted(row["step"] for row in rows if row["layer"] == "a")
    assert steps == list(range(1, len(steps) + 1))
    return steps


def leftovers(root: Path) -> list[str]:
    return [path.name for path in root.rglob("*") if path.suffix in (".tmp", ".removed", ".overwritten")]


def goes_on(root: Path, scratch: Path, least: int) -> None:
    """What a killed process left can be read, resumed, replaced and removed."""
    from collector.log.aside import is_left
    from collector.log.maintain import remove_run

    age(root)
    steps = steps_of(root)
    assert len(steps) >= least, (steps, least)

    def copy() -> Path:
        shutil.rmtree(scratch, ignore_errors=True)
        return Path(shutil.copytree(root, scratch))

    resumed = copy()
    record(resumed, len(steps) + 1, len(steps) + 3, resume=True)
    assert len(rows_of(resumed)) >= len(steps) + 3
    assert leftovers(resumed) == []
    replaced = copy()
    record(replaced, 1, 2, overwrite=True)
    assert rows_of(replaced) == [1, 2]
    removed = copy()
    if (removed / "r").exists() or is_left(removed / "r"):
        remove_run(removed / "r")
    assert list(removed.iterdir()) == []


def drive(root: Path, name: str, each: int) -> None:
    """Kill at every `each`th operation. This process has no threads of its own, so that it can be forked."""
    # What the forks need, which would else be imported in each of them.
    import duckdb  # noqa: F401
    import pyarrow.dataset  # noqa: F401
    import torch

    import collector.log.maintain
    import collector.recording.collector
    import collector.store.check  # noqa: F401
    import tests.collector.emitter  # noqa: F401
    from collector.log import compact as merging

    torch.set_num_threads(1)
    os.fsync = lambda descriptor: None  # nobody cuts the power
    merging.TIERS, merging.MIN_PARTS = (0, 60, 240), 3
    before = root / "before"
    before.mkdir()
    if name != "new":
        for first in (1, 4, 7):
            assert forked(lambda first=first: leave(before, first, first + 2)) == 0
        age(before)
    flushed, count = root / "flushed", root / "count"

    def work(number: int) -> None:
        counted = kill_at(number, root / "runs")
        WORKS[name](root / "runs", lambda step: (root / "flushed").write_text(str(step)))
        count.write_text(str(counted()))

    killed = 0
    for number in itertools.count(0, each):
        shutil.rmtree(root / "runs", ignore_errors=True)
        shutil.copytree(before, root / "runs")
        flushed.unlink(missing_ok=True)
        ended = forked(lambda number=number: work(number))
        if ended == 0:
            break
        assert ended == signal.SIGKILL, f"operation {number}: {ended}"
        killed += 1
        print(f"{name}: operation {number}", flush=True)
        least = max(KEPT[name], int(flushed.read_text()) if flushed.exists() else 0)
        assert forked(lambda least=least: goes_on(root / "runs", root / "scratch", least)) == 0, f"operation {number}"
    print(f"{name}: killed {killed} times at {count.read_text()} operations")


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKS)
def test_a_kill_at_a_file_operation_leaves_a_run_that_goes_on(tmp_path, name):
    code = f"from tests.collector.test_kill_points import *; drive(Path({str(tmp_path)!r}), {name!r}, {EACH})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
