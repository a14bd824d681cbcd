"""A training process that is killed again and again, and goes on from its last checkpoint, has the log of one that was
not disturbed."""

import mmap
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from collector import connect

LAYERS = ["a", "b", "c"]
KILLS = int(os.environ.get("KILLS", "40"))
"""How often it is killed; 200 take some minutes."""


def train(root: Path, *, until: int, compact_first: bool, begun: memoryview | None = None) -> None:
    """Go on from the checkpoint. Flushes, merges and rollups come so often that a kill hits one more often than not.

    begun: whose first number becomes 1 when there is a step.
    """
    import torch

    from collector import Collector
    from collector.log import compact, rollups
    from collector.log.schema import TRUST_RATIOS
    from tests.collector.emitter import Emitter

    compact.TIERS, compact.MIN_PARTS = (0, 60, 240), 3
    folder = root / "r" / TRUST_RATIOS.folder
    if compact_first and folder.is_dir():
        compact.finish_merge(folder)
        compact.merge_all(TRUST_RATIOS, folder, LAYERS)
        rollups.roll_up(folder)
    checkpoint = root / "checkpoint"
    done = int(checkpoint.read_text()) if checkpoint.exists() else 0
    emitter = Emitter(LAYERS)
    with Collector(emitter, root, name="r", resume=True, flush_seconds=0.002) as collector:
        for step in range(done + 1, until + 1):
            emitter.say(step, torch.full((7, len(LAYERS)), step + 0.5))
            if begun is not None:
                begun[0] = 1
            collector.log({"loss": 1 / step})
            if step % 20 == 0:
                collector.flush()
                checkpoint.with_suffix(".new").write_text(str(step))
                os.replace(checkpoint.with_suffix(".new"), checkpoint)
            time.sleep(0.0005)


def check(root: Path) -> None:
    """Nothing is damaged, and every row that was flushed is there once."""
    import duckdb

    from collector.store.check import check_run

    assert check_run(root / "r") == []
    checkpoint = root / "checkpoint"
    flushed = int(checkpoint.read_text()) if checkpoint.exists() else 0
    con: duckdb.DuckDBPyConnection = connect(root)
    for source in ("trust_ratios WHERE layer = 'c'", "metrics"):
        steps = [step for (step,) in con.sql(f"SELECT step FROM {source} ORDER BY step").fetchall()]
        assert steps == list(range(1, len(steps) + 1)), source
        assert len(steps) >= flushed, source


def in_a_child(work, *arguments, **options) -> int:
    """Start `work` in a fork of this process, which has imported all that it needs; returns its id."""
    child = os.fork()
    if not child:
        try:
            work(*arguments, **options)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def drive(root: Path) -> None:
    """The process that starts and kills the others. It has no threads of its own, so that it can be forked."""
    # What the forks need, which would else be imported in each of them.
    import duckdb  # noqa: F401
    import torch

    import collector.recording.collector
    import collector.store.check  # noqa: F401
    import tests.collector.emitter  # noqa: F401

    torch.set_num_threads(1)
    kills = 0
    generator = random.Random(0)
    while kills < KILLS:
        # Far enough that no process comes to its end before it is killed.
        begun = memoryview(mmap.mmap(-1, 1))  # by both processes
        child = in_a_child(train, root, until=10**6, compact_first=generator.random() < 0.3, begun=begun)
        if generator.random() < 0.5:  # else it may be while the run is opened, however slow the machine is
            deadline = time.monotonic() + 600
            while not begun[0] and time.monotonic() < deadline:
                time.sleep(0.001)
        time.sleep(generator.uniform(0.0, 0.12))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
        if (root / "r" / "run.json").exists():
            assert os.waitpid(in_a_child(check, root), 0)[1] == 0, f"after kill {kills}"
    print("killed at step", (root / "checkpoint").read_text(), flush=True)
    until = int((root / "checkpoint").read_text()) + 50
    assert os.waitpid(in_a_child(train, root, until=until, compact_first=True), 0)[1] == 0
    (root / "until").write_text(str(until))


@pytest.mark.slow
def test_kills_at_any_moment_leave_the_log_of_an_undisturbed_run(tmp_path, monkeypatch):
    import subprocess

    from collector.log import compact

    for name in ("TIERS", "MIN_PARTS"):  # which `train` sets: for this test alone
        monkeypatch.setattr(compact, name, getattr(compact, name))

    done = subprocess.run(
        [sys.executable, "-c", f"from tests.collector.test_kill import drive, Path; drive(Path({str(tmp_path)!r}))"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    until = int((tmp_path / "until").read_text())
    train(tmp_path / "undisturbed", until=until, compact_first=False)
    logs = []
    for root in (tmp_path, tmp_path / "undisturbed"):
        con = connect(root)
        rows = con.sql("SELECT * EXCLUDE (relative_step) FROM trust_ratios ORDER BY layer, step").to_arrow_table()
        values = con.sql("SELECT step, name, value FROM metrics ORDER BY step").fetchall()
        hits = con.sql("SELECT * FROM clip_hits ORDER BY layer").fetchall()
        logs.append((rows.to_pylist(), values, hits, con.sql("SELECT status, steps FROM runs").fetchall()))
    assert logs[0] == logs[1]
    assert logs[0][3] == [("finished", until)]
