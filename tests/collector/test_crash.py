"""What is on the disk after a process came to an end that nobody planned."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from collector import Collector, connect
from tests.preloaded import run_preloaded

# Trains without end, and says after each flush which step is on the disk.
TRAIN = """
import sys, torch
from collector import Collector
from lambc import LAMBC
model = torch.nn.Linear(3, 2)
optimizer = LAMBC(model.named_parameters())
collector = Collector(optimizer, sys.argv[1], name="r", flush_seconds=0.2)
step = 0
while True:
    step += 1
    optimizer.zero_grad()
    model(torch.randn(5, 3)).square().mean().backward()
    optimizer.step()
    collector.log({"train/loss": 0.5})
    if step % 10 == 0:
        collector.flush()
        print(step, flush=True)
"""


def test_kill_9_loses_nothing_that_was_flushed(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", TRAIN, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    flushed = 0
    while flushed < 250:  # a part each 10 steps, 16 of which become one
        flushed = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()

    con = connect(tmp_path)
    for query in ("trust_ratios WHERE layer = 'weight'", "trust_ratios WHERE layer = 'bias'", "metrics"):
        steps = [step for (step,) in con.sql(f"SELECT step FROM {query} ORDER BY step").fetchall()]
        assert steps == list(range(1, len(steps) + 1))
        assert len(steps) >= flushed
    assert con.sql("FROM problems").fetchall() == []
    assert con.sql("SELECT status FROM runs").fetchall() == [("running",)]  # for all that one can know within a minute

    beat = json.loads((tmp_path / "r" / "heartbeat").read_text())
    (tmp_path / "r" / "heartbeat").write_text(json.dumps(beat | {"time": "2020-01-01T00:00:00+00:00"}))
    assert con.sql("SELECT status FROM runs").fetchall() == [("stalled",)]


EMITTER = """
import os, sys
from collector import Collector
from tests.collector.emitter import Emitter
emitter = Emitter(["a"])
c = Collector(emitter, sys.argv[1], name="r")
emitter.say(1)
"""


def run_python(code: str, root: Path) -> tuple[int, str]:
    """Return code and stderr of a process that records a step and then does what `code` says."""
    done = run_preloaded(EMITTER + code, root)
    return done.returncode, done.stderr


def test_an_exit_without_close_saves_all_and_notes_that_it_was_interrupted(tmp_path, steps_of):
    assert run_python("sys.exit(3)", tmp_path) == (3, "")
    assert steps_of(tmp_path / "r") == [1]
    assert json.loads((tmp_path / "r" / "run.json").read_text())["status"] == "interrupted"


def test_a_forked_child_neither_writes_nor_ends_the_run(tmp_path, steps_of):
    code = """
child = os.fork()
if not child:
    for step in range(2, 10_000): emitter.say(step)  # more than a ring takes
    c.flush()
    c.close()
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
emitter.say(2)
c.close()
"""
    assert run_python(code, tmp_path) == (0, "")
    assert steps_of(tmp_path / "r") == [1, 2]
    assert json.loads((tmp_path / "r" / "run.json").read_text())["status"] == "finished"


def test_a_forked_child_is_told_that_what_it_logs_would_be_lost(tmp_path):
    code = """
child = os.fork()
if not child: c.log({"a": 1.0})
assert os.waitpid(child, 0)[1]
c.close()
"""
    returned, said = run_python(code, tmp_path)
    assert returned == 0
    assert "RuntimeError: run 'r' is recorded by process" in said
    assert "log from there" in said
    assert connect(tmp_path).sql("FROM metrics").fetchall() == []


def test_the_heartbeat_goes_on_though_no_step_comes(emitter, tmp_path, monkeypatch):
    monkeypatch.setattr("collector.recording.writer._HEARTBEAT_SECONDS", 0.02)
    with Collector(emitter, tmp_path, name="r") as collector:
        heartbeat = collector.folder / "heartbeat"
        emitter.say(7)
        seen = set()
        deadline = time.monotonic() + 600
        while len(seen) < 3 and time.monotonic() < deadline:
            seen.add(json.loads(heartbeat.read_text())["time"])
        assert len(seen) == 3
        assert json.loads(heartbeat.read_text())["step"] == 7
