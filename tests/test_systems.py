"""Other systems than Linux: in processes from which the calls that they do not have are taken away."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import lambc

ROOT = Path(lambc.__file__).parents[1]

TAKE_AWAY = """
import os, signal, sys

def take_away(platform, *names, modules=()):
    # What Python itself and other packages ask of their own system is imported by then.
    for module in (os, signal):
        for name in [each for each in dir(module) if each.startswith(names)]:
            delattr(module, name)
    for name in modules:
        sys.modules[name] = None  # an import of it raises ImportError
    sys.platform = platform
"""

MACOS = (
    TAKE_AWAY
    + """
import ctypes, multiprocessing, pathlib, resource, subprocess, threading
import duckdb, filelock, numpy, pandas, plotly, pyarrow.parquet, torch, typer
from streamlit.testing.v1 import AppTest

setrlimit, library = resource.setrlimit, ctypes.CDLL

def refuse_address_space(limit, most):
    if limit == resource.RLIMIT_AS:
        raise ValueError("current limit exceeds maximum limit")
    setrlimit(limit, most)

class Library:
    def __init__(self, name, **options):
        assert name is None

    def __getattr__(self, name):  # as macOS's: what another system's number means there, nobody knows
        assert name != "syscall", "a system call of Linux was made"
        raise AttributeError(name)

resource.setrlimit, ctypes.CDLL = refuse_address_space, Library
take_away("darwin", "sched_", "O_PATH", "O_DIRECT", "posix_fadvise", "memfd", "pidfd", "eventfd", "setpriority",
          "copy_file_range", "sendfile", "sigwaitinfo", "sigtimedwait", "splice", "posix_fallocate")

def refuse_proc(event, given):
    if event == "open" and str(given[0]).startswith("/proc/"):
        raise FileNotFoundError(2, "No such file or directory", given[0])

sys.addaudithook(refuse_proc)
root = sys.argv[1]
"""
)

WINDOWS = (
    TAKE_AWAY
    + """
import contextlib, io, pathlib, subprocess, sysconfig, threading, typer, rich.console
sysconfig.get_config_vars()
take_away("win32", "sched_", "O_NONBLOCK", "O_CLOEXEC", "O_PATH", "fork", "register_at_fork", "nice", "setpriority",
          "getuid", "geteuid", "killpg", "SIGHUP", "SIGKILL", "pthread_sigmask", "setsid", "statvfs",
          modules=("fcntl", "resource", "pwd", "grp", "termios"))
"""
)


def run(system: str, script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What a process says from which calls were taken away."""
    command = [sys.executable, "-W", "ignore", "-c", system + script, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TERM": "dumb", "COLUMNS": "400"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)


def test_without_what_only_linux_has_a_run_is_recorded_read_and_shown(tmp_path: Path):
    done = run(
        MACOS,
        """
from lambc import LAMBC, Collector, connect
model = torch.nn.Linear(3, 2)
optimizer = LAMBC(model.named_parameters())
with Collector(optimizer, root, name="r") as collector:
    for _ in range(20):
        model(torch.ones(4, 3)).sum().backward()
        optimizer.step()
        collector.log({"train/loss": 0.5})
print(connect(root).sql("SELECT count(*) FROM trust_ratios").fetchall()[0][0])
print(connect(root, verify=True).sql("SELECT count(*) FROM problems").fetchall()[0][0])

import app
os.environ["LAMBC_RUNS"] = root
page = AppTest.from_file(str(pathlib.Path(app.__file__).parent / "shell" / "dashboard.py"), default_timeout=120).run()
print([each.value for each in page.header], [each.value for each in page.exception], len(page.warning))

from app.questions import give_way
give_way(threading.get_native_id())
""",
        tmp_path,
    )
    assert done.stdout.splitlines() == ["40", "0", "['Runs'] [] 0"], done.stderr
    assert done.returncode == 0, done.stderr


def test_a_strangers_sql_is_bounded_by_what_the_system_has(tmp_path: Path):
    done = run(
        MACOS,
        """
from collector.store import landlock, sandbox_worker
before = resource.getrlimit(resource.RLIMIT_AS)
sandbox_worker.spare_address_space()
sandbox_worker.limit_resources()
print(landlock.confine([root]), resource.getrlimit(resource.RLIMIT_CORE))
print(resource.getrlimit(resource.RLIMIT_AS) == before)
pathlib.Path(root, "file").write_text("nothing is forbidden")
""",
        tmp_path,
    )
    assert done.stdout == "False (0, 0)\nTrue\n", done.stderr


def test_on_windows_the_optimizers_work():
    done = run(
        f"import torch\n{WINDOWS}",
        """
from lambc import LAMB, LAMBC, LARS, bounds, parameter_groups
for kind in (LAMB, LAMBC, LARS):
    model = torch.nn.Linear(3, 2)
    optimizer = kind(parameter_groups(model))
    model(torch.ones(4, 3)).sum().backward()
    optimizer.register_trust_ratio_hook(lambda ratios: print(ratios.step, len(ratios.layers)))
    optimizer.step()
""",
    )
    assert done.stdout == "1 2\n" * 3, done.stderr


@pytest.mark.parametrize("package", ["lambc", "collector"])
@pytest.mark.parametrize("name", ["Collector", "connect"])
def test_on_windows_recording_and_reading_say_what_to_use_in_one_sentence(package: str, name: str):
    done = run(
        WINDOWS,
        f"""
try:
    from {package} import {name}
except ImportError as error:
    print(error)
""",
    )
    assert done.stdout.startswith("Collector, connect and the lambc commands do not work on Windows"), done.stderr
    assert "WSL" in done.stdout
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    "command", ["train", "demo", "reproduce", "runs", "sql", "dashboard", "check", "compact", "export", "rm"]
)
def test_on_windows_a_command_says_what_to_use_in_one_line(command: str):
    done = run(WINDOWS, f"from lambc.cli import app\nsys.argv = ['lambc', {command!r}, 'x']\napp(prog_name='lambc')")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert "WSL" in done.stderr


def test_the_classifiers_name_the_systems_that_are_supported():
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    systems = [each.rpartition(" :: ")[2] for each in named if each.startswith("Operating System")]
    assert sorted(systems) == ["Linux", "MacOS"]
    assert "on Linux or macOS" in (ROOT / "README.md").read_text()
