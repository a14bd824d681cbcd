"""Two processes never write into one run."""

import errno
import os
import signal
import subprocess
from pathlib import Path

import pytest

from collector import Collector
from tests.preloaded import run_preloaded

EMITTER = """
import os, sys, time
from collector import Collector
from tests.collector.emitter import Emitter
emitter = Emitter(["a"])
"""


def run_python(code: str, root: Path) -> subprocess.CompletedProcess:
    return run_preloaded(EMITTER + code, root)


def test_a_second_process_is_told_that_the_run_is_being_written(emitter, tmp_path, steps_of):
    with Collector(emitter, tmp_path, name="r") as collector:
        emitter.say(1)
        done = run_python("Collector(emitter, sys.argv[1], name='r', resume=True)", tmp_path)
        assert done.stderr.splitlines()[-1] == (
            f"RuntimeError: run 'r' in {tmp_path} is being written by another Collector: "
            "wait until that one is closed, or begin a run of another name"
        )
        emitter.say(2)
    assert steps_of(collector.folder) == [1, 2]


def test_a_collector_of_the_same_process_takes_the_run_over(emitter, new_emitter, tmp_path, steps_of):
    """As when the cell of a notebook is run again, and the variable of the first is lost."""
    first = Collector(emitter, tmp_path, name="r")
    emitter.say(1)
    with pytest.raises(FileExistsError, match=r"run 'r' is open in this process: close it \(Collector\.open_runs\(\)"):
        Collector(emitter, tmp_path, name="r")
    second = new_emitter(["a", "b"])
    with Collector(second, tmp_path, name="r", resume=True):
        with pytest.raises(RuntimeError, match="run 'r' is closed"):
            first.log({"x": 1.0})
        emitter.say(2)
        second.say(2)
    assert steps_of(tmp_path / "r") == [1, 2]


def test_the_lock_ends_with_a_process_that_is_killed(emitter, tmp_path, steps_of):
    """Also where a child that it forked, as a DataLoader does, lives on."""
    code = """
Collector(emitter, sys.argv[1], name='r')
emitter.say(1)
up, say = os.pipe()
child = os.fork()
if child:
    os.read(up, 1)  # it let go of the lock as it began
    print(child, flush=True)
    os.kill(os.getpid(), 9)
os.write(say, b"x")
time.sleep(600)
"""
    child = int(run_python(code, tmp_path).stdout)
    with Collector(emitter, tmp_path, name="r", resume=True) as collector:
        emitter.say(1)
    os.kill(child, signal.SIGKILL)  # it was there all the time
    assert steps_of(collector.folder) == [1]


def test_a_forked_child_does_not_release_it(tmp_path):
    code = """
c = Collector(emitter, sys.argv[1], name='r')
child = os.fork()
if not child:
    c.close()
    del c
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
child = os.fork()
if not child:
    try:
        Collector(Emitter(["a"]), sys.argv[1], name='r', resume=True)
    except RuntimeError:
        os._exit(7)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run_python(code, tmp_path).stdout == "7\n"


def test_a_collector_that_could_not_be_made_holds_no_lock(emitter, new_emitter, tmp_path):
    Collector(emitter, tmp_path, name="r").close()
    with pytest.raises(ValueError, match="matches no layer") as kept:  # whose traceback keeps what it made
        Collector(new_emitter(["a", "b"]), tmp_path, name="r", resume=True, include="c")
    Collector(emitter, tmp_path, name="r", resume=True).close()
    del kept


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_on_a_file_system_without_locks_it_goes_on_with_a_warning(emitter, tmp_path, monkeypatch, steps_of, code):
    def flock(descriptor, operation):
        raise OSError(code, "not here")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.warns(UserWarning, match=r"the file system of .*r has no locks \(not here\), so nothing keeps") as said:
        collector = Collector(emitter, tmp_path, name="r")
    assert said[0].filename == __file__
    with collector:
        emitter.say(1)
    assert steps_of(collector.folder) == [1]
