"""Ctrl-C, once and twice, at any moment of a run's life."""

import atexit
import faulthandler
import json
import mmap
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest

INTERRUPTS = int(os.environ.get("INTERRUPTS", "30"))
"""How many runs are interrupted; 200 take a minute or two."""

PATIENCE = 300.0
"""Seconds after which an interrupted process is said not to end: it takes milliseconds."""


def train(root: Path, returned: memoryview) -> None:
    """Train without end, and put the number of each step that has returned into `returned`."""
    import torch

    from collector import Collector
    from tests.collector.emitter import Emitter

    emitter = Emitter(["a", "b"])
    with Collector(emitter, root, name="r", flush_seconds=0.01) as collector:
        for step in range(1, 10**9):
            emitter.say(step, torch.full((7, 2), step + 0.5))
            returned[0] = step
            collector.log({"loss": torch.tensor(float(step))})
            if step % 50 == 0:
                collector.flush()


def interrupt(root: Path, generator: random.Random) -> None:
    """Interrupt a run once or twice, and check that it says so and has every row."""
    import pyarrow.parquet as pq

    shared = memoryview(mmap.mmap(-1, 8)).cast("q")  # by both processes
    # What strikes while Python calls back those that asked for it after a fork is printed, and lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    child = os.fork()
    if not child:
        faulthandler.register(signal.SIGUSR1)
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            train(root, shared)
        except KeyboardInterrupt:
            pass
        except BaseException:
            traceback.print_exc()
        finally:
            atexit._run_exitfuncs()
            os._exit(0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    until = time.monotonic() + 600
    if generator.random() < 0.7:  # else it may be before the run has begun
        while not shared[0] and time.monotonic() < until:
            time.sleep(0.001)
    time.sleep(generator.uniform(0.0, 0.1))
    returned = shared[0]
    os.kill(child, signal.SIGINT)
    if generator.random() < 0.6:
        time.sleep(generator.choice([0.0, 0.001, 0.005, 0.02]))
        os.kill(child, signal.SIGINT)
    end(child)
    if not (root / "r").exists():
        assert returned == 0, "a run that had begun is gone"
        return
    contents = json.loads((root / "r" / "run.json").read_text())
    assert contents["status"] == "interrupted", contents["status"]
    steps = sorted(
        step
        for part in (root / "r" / "trust_ratios").glob("*.parquet")
        for step, layer, value in pq.read_table(part)
        .select(["step", "layer", "lr"])
        .to_pandas()
        .itertuples(index=False)
        if layer == "a" and value == step + 0.5
    )
    assert steps == list(range(1, len(steps) + 1)), "a row is there twice, or has another's values"
    assert len(steps) + contents.get("lost_rows", 0) >= returned, (len(steps), returned)


def end(child: int) -> None:
    """Wait until an interrupted process has ended; one that goes on says where it is, and is killed."""
    until = time.monotonic() + PATIENCE
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > until:
            os.kill(child, signal.SIGUSR1)  # faulthandler
            time.sleep(1)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError(f"the process still trained {PATIENCE:.0f} s after its interrupt; its stack is above")
        time.sleep(0.001)


def drive(root: Path) -> None:
    """The process that starts and interrupts the others. It has no threads of its own, so that it can be forked."""
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import torch

    import collector.recording.collector  # noqa: F401
    import tests.collector.emitter  # noqa: F401

    torch.set_num_threads(1)
    generator = random.Random(0)
    for number in range(INTERRUPTS):
        interrupt(root / str(number), generator)
    print("runs that had begun:", sum((root / str(number) / "r").exists() for number in range(INTERRUPTS)))


@pytest.mark.slow
def test_a_run_that_is_interrupted_says_so_and_keeps_every_row(tmp_path):
    code = f"from tests.collector.test_interrupts import drive, Path; drive(Path({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split(":")[1]) > 0
