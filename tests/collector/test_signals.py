"""Signals at any moment of a run: calls from a handler, SIGTERM, and the processes that are forked off."""

import json
import signal
from pathlib import Path

import duckdb
import pytest

from tests.preloaded import run_preloaded

BEGIN = """
import itertools, multiprocessing, os, signal, sys, threading, time
import torch
from collector import Collector
from tests.collector.disks import unwritable
from tests.collector.emitter import Emitter

root = sys.argv[1]
emitter = Emitter(["a", "b"])

def poke(times, pause=0.002):
    "Send SIGUSR1 to the main thread so many times, on a thread; `over` is set then."
    global over
    over, main = threading.Event(), threading.main_thread().ident
    def send():
        for _ in range(times):
            time.sleep(pause)
            signal.pthread_kill(main, signal.SIGUSR1)
        over.set()
    threading.Thread(target=send, daemon=True).start()
"""


def process(root: Path, code: str, returncode: int = 0, begin: str = BEGIN) -> str:
    """Run `code` in a process of its own; returns what it printed."""
    done = run_preloaded(begin + code, root)
    assert done.returncode == returncode, done.stdout + done.stderr
    return done.stdout


def contents(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


def metrics_of(run: Path) -> dict[str, list[float]]:
    query = "SELECT name, list(value ORDER BY value) FROM read_parquet($1) GROUP BY name"
    return dict(duckdb.execute(query, [f"{run}/metrics/*.parquet"]).fetchall())


@pytest.mark.slow
@pytest.mark.parametrize("resumed", [False, True])
def test_a_handler_that_logs_records_and_flushes_at_any_moment_loses_nothing(tmp_path, steps_of, resumed):
    code = """
if resumed:
    with Collector(emitter, root, "r") as collector:
        emitter.say(1)
    emitter = Emitter(["a", "b"])
collector = Collector(emitter, root, "r", resume=resumed, flush_seconds=0.01)
first = 2 if resumed else 1
emitter.say(first)
heard = replayed = 0
def notice(*_):
    global heard
    heard += 1
    collector.log({"heard": float(heard)})
    if heard % 3 == 0:
        collector.flush()
    if heard % 5 == 0:
        collector.record()
signal.signal(signal.SIGUSR1, notice)
poke(300)
logged = 0
while not over.is_set() or heard <= 30:
    if over.is_set():  # a busy machine delivers several as one
        poke(300)
    logged += 1
    collector.log({"loss": float(logged)})
    collector.record()
    if logged % 50 == 0:
        collector.flush()
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
last = collector.step
collector.close()
print(heard, logged, first + logged + heard // 5, last)
"""
    heard, logged, steps, last = map(int, process(tmp_path, f"resumed = {resumed}\n{code}").split())
    assert last == steps
    assert steps_of(tmp_path / "r") == list(range(1, steps + 1))
    assert metrics_of(tmp_path / "r") == {
        "heard": [float(each) for each in range(1, heard + 1)],
        "loss": [float(each) for each in range(1, logged + 1)],
    }
    assert contents(tmp_path / "r")["status"] == "finished"


@pytest.mark.slow
def test_a_handler_that_raises_loses_nothing_that_had_returned(tmp_path, steps_of):
    code = """
class Notice(Exception): pass
numbers = itertools.count(1)
returned = []
within = False
def notice(*_):
    global within
    number = next(numbers)
    collector.log({"heard": float(number)})  # unless another signal ends it by its Notice
    returned.append(number)
    if within:
        within = False
        raise Notice
collector = Collector(emitter, root, "r", flush_seconds=0.01)
said = stopped = 0
signal.signal(signal.SIGUSR1, notice)
poke(200)
while not over.is_set() or stopped <= 20:
    if over.is_set():  # a busy machine delivers several as one
        poke(200)
    said += 1
    try:
        within = True
        emitter.say(said)
        if said % 20 == 0:
            collector.flush()
        within = False
    except Notice:
        stopped += 1
emitter.say(said + 1)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
collector.close()
print(said, stopped, *returned)
"""
    said, stopped, *returned = map(int, process(tmp_path, code).split())
    steps = steps_of(tmp_path / "r")
    assert steps == sorted(set(steps))
    assert len(steps) >= said + 1 - stopped
    heard = metrics_of(tmp_path / "r")["heard"]
    assert len(heard) == len(set(heard))
    assert set(returned) <= set(heard)


@pytest.mark.slow
def test_a_handler_may_close_the_run_in_the_middle_of_a_call(tmp_path, steps_of):
    code = """
def notice(*_):
    collector.log({"last": 1.0})
    collector.close()
    closed.append(collector)
signal.signal(signal.SIGUSR1, notice)
for number in range(20):
    closed = []
    emitter = Emitter(["a", "b"])
    collector = Collector(emitter, root, str(number), flush_seconds=0.01)
    poke(1, pause=0.002 * number)
    said = 0
    while not closed:
        said += 1
        emitter.say(said)
        collector.flush() if said % 10 == 0 else None
    over.wait()
    assert Collector.open_runs() == (), number
    print(said)
"""
    for number, said in enumerate(map(int, process(tmp_path, code).split())):
        run = tmp_path / str(number)
        steps = steps_of(run) if list(run.glob("trust_ratios/*.parquet")) else []
        assert steps in (list(range(1, said + 1)), list(range(1, said)))
        assert metrics_of(run) == {"last": [1.0]}
        assert contents(run)["status"] == "finished"


def test_calls_that_were_put_off_are_all_made_though_one_raises(tmp_path):
    code = """
def notice(*_):
    collector.log({"before": 1.0})
    collector.log({"wrong": "no number"})
    collector.log({"after": 1.0})
    collector.close()
signal.signal(signal.SIGUSR1, notice)
collector = Collector(emitter, root, "r")
class InTheMiddle(dict):
    def items(self):
        os.kill(os.getpid(), signal.SIGUSR1)
        return super().items()
try:
    collector.log(InTheMiddle(loss=2.0))
except TypeError as error:
    print(error)
print(Collector.open_runs())
"""
    assert (
        process(tmp_path, code) == "metric 'wrong' is 'no number', a str: log a number or a tensor of one element\n()\n"
    )
    assert metrics_of(tmp_path / "r") == {"loss": [2.0], "before": [1.0], "after": [1.0]}


def test_close_may_be_repeated_until_the_disk_takes_the_rows(tmp_path, steps_of):
    code = """
import warnings
warnings.simplefilter("ignore")
collector = Collector(emitter, root, "r", flush_seconds=1e6)
for step in range(1, 11):
    emitter.say(step)
with unwritable(collector):
    for status in ("failed", "finished", "interrupted"):
        collector.end(status, "the first says why" if status == "failed" else None)
        print(Collector.open_runs() == (collector,))
    import json
    print(json.load(open(collector.folder / "run.json"))["lost_rows"])
collector.close()
print(Collector.open_runs())
"""
    assert process(tmp_path, code).split() == ["True"] * 3 + ["20", "()"]
    assert steps_of(tmp_path / "r") == list(range(1, 11))
    run = contents(tmp_path / "r")
    assert (run["status"], run["failure"]) == ("failed", "the first says why")
    assert run.get("lost_rows", 0) == 0


TRAIN_AND_TERMINATE = """
step = 0
while True:
    step += 1
    emitter.say(step)
    collector.log({"loss": float(step)})
    if step == 100:
        os.kill(os.getpid(), signal.SIGTERM)
"""


def test_sigterm_ends_the_run_as_interrupted_and_the_process_by_sigterm(tmp_path, steps_of):
    code = 'collector = Collector(emitter, root, "r", flush_seconds=1e6)\n' + TRAIN_AND_TERMINATE
    process(tmp_path, code, returncode=-signal.SIGTERM)
    assert steps_of(tmp_path / "r")[:100] == list(range(1, 101))
    run = contents(tmp_path / "r")
    assert (run["status"], run["failure"]) == ("interrupted", "SIGTERM")


@pytest.mark.parametrize("interrupted", [0, 1, 2])
def test_sigterm_in_the_middle_of_a_call_of_one_of_several_runs_ends_all(tmp_path, steps_of, interrupted):
    code = f"""
emitters = [Emitter(["a", "b"]) for _ in range(3)]
collectors = [Collector(each, root, str(number), flush_seconds=1e6) for number, each in enumerate(emitters)]
for each in emitters:
    each.say(1)
class InTheMiddle(dict):
    def items(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return super().items()
collectors[{interrupted}].log(InTheMiddle(loss=2.0))
"""
    process(tmp_path, code, returncode=-signal.SIGTERM)
    for number in range(3):
        assert contents(tmp_path / str(number))["status"] == "interrupted"
        assert steps_of(tmp_path / str(number)) == [1]
    assert metrics_of(tmp_path / str(interrupted)) == {"loss": [2.0]}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_handler_of_the_users_gets_sigterm_alone(tmp_path, steps_of, when):
    code = f"""
def mine(number, frame):
    print("mine", len(Collector.open_runs()))
    sys.exit(3)
def install():
    signal.signal(signal.SIGTERM, mine)
"before" == {when!r} and install()
collector = Collector(emitter, root, "r", flush_seconds=1e6)
"after" == {when!r} and install()
"""
    assert process(tmp_path, code + TRAIN_AND_TERMINATE, returncode=3) == "mine 1\n"
    assert steps_of(tmp_path / "r")[:99] == list(range(1, 100))
    run = contents(tmp_path / "r")
    assert (run["status"], run["failure"]) == ("interrupted", None)


def test_after_close_sigterm_is_as_before(tmp_path):
    code = """
first, second = Collector(emitter, root, "1"), Collector(emitter, root, "2")
assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
first.close()
assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
second.close()
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
def mine(*_): pass
signal.signal(signal.SIGTERM, mine)
with Collector(emitter, root, "3"):
    assert signal.getsignal(signal.SIGTERM) is mine
assert signal.getsignal(signal.SIGTERM) is mine
print("all asserted")
"""
    assert process(tmp_path, code) == "all asserted\n"


def test_a_collector_that_another_thread_made_is_closed_at_exit(tmp_path, steps_of):
    code = """
def work():
    collector = Collector(emitter, root, "r", flush_seconds=1e6)
    emitter.say(1)
worker = threading.Thread(target=work)
worker.start()
worker.join()
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
"""
    process(tmp_path, code)
    assert contents(tmp_path / "r")["status"] == "interrupted"
    assert steps_of(tmp_path / "r") == [1]


def test_a_forked_worker_that_gets_sigterm_does_no_harm_to_the_run(tmp_path, steps_of):
    code = """
class Slow(torch.utils.data.Dataset):
    def __len__(self): return 8
    def __getitem__(self, index):
        if index == 7:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        return index
def sleep(ready):
    ready.send(True)
    time.sleep(60)
collector = Collector(emitter, root, "r", flush_seconds=1e6)
emitter.say(1)
fork = multiprocessing.get_context("fork")
hear, ready = fork.Pipe()
child = fork.Process(target=sleep, args=(ready,))
child.start()
hear.recv()  # Python forgets a signal that comes while it forks
child.terminate()
child.join()
print(child.exitcode)
try:
    # Batches of plain numbers: a tensor's memory could not be fetched from a worker that is gone.
    for batch in torch.utils.data.DataLoader(Slow(), num_workers=1, multiprocessing_context="fork", collate_fn=list):
        emitter.say(collector.step + 1)
except RuntimeError:  # of torch: its worker was killed
    print("True")
emitter.say(collector.step + 1)
print(len(Collector.open_runs()), collector.step)
collector.close()
"""
    exitcode, killed, still_open, last = process(tmp_path, code).split()
    assert (exitcode, killed, still_open) == ("-15", "True", "1")
    assert contents(tmp_path / "r")["status"] == "finished"
    assert steps_of(tmp_path / "r") == list(range(1, int(last) + 1))


def run_of_a_child(root: str, name: str) -> None:
    """Begin a run in this process, and leave it open."""
    from collector import Collector
    from tests.collector.emitter import Emitter

    emitter = Emitter(["a", "b"])
    collector = Collector(emitter, root, name, flush_seconds=1e6)
    for step in range(1, 11):
        emitter.say(step)
    collector.log({"loss": 1.0})


@pytest.mark.parametrize("parent_has_one", [False, True])
@pytest.mark.parametrize("kind", ["fork", "spawn", "os.fork"])
def test_a_child_that_never_closes_its_run_leaves_it_interrupted_with_all_rows(
    tmp_path, steps_of, kind, parent_has_one
):
    code = f"""
from tests.collector.test_signals import run_of_a_child
if {parent_has_one}:
    collector = Collector(emitter, root, "parent", flush_seconds=1e6)
    emitter.say(1)
if {kind!r} == "os.fork":
    child = os.fork()
    if not child:
        run_of_a_child(root, "child")
        sys.exit(0)
    print(os.waitpid(child, 0)[1])
else:
    child = multiprocessing.get_context({kind!r}).Process(target=run_of_a_child, args=(root, "child"))
    child.start()
    child.join()
    print(child.exitcode)
if {parent_has_one}:
    emitter.say(2)
    collector.close()
"""
    assert process(tmp_path, code) == "0\n"
    assert contents(tmp_path / "child")["status"] == "interrupted"
    assert steps_of(tmp_path / "child") == list(range(1, 11))
    assert metrics_of(tmp_path / "child") == {"loss": [1.0]}
    if parent_has_one:
        assert contents(tmp_path / "parent")["status"] == "finished"
        assert steps_of(tmp_path / "parent") == [1, 2]
