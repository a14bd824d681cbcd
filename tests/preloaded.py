"""Processes that run a text as `python -c` does, and begin with torch and the collector imported.

They are forks of one process that does nothing else, and end as an interpreter ends, with all that it runs at its exit.
The imports take 2.5 s, and some files start a process in each of their tests.
"""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

_SERVER = """
import gc, json, os, sys
import numpy, pyarrow.parquet, torch
import collector.recording.collector

gc.freeze()
for request in sys.stdin:
    request = json.loads(request)
    process = os.fork()
    if not process:
        break
    os.write(1, b"%d\\n" % os.waitpid(process, 0)[1])
else:
    os._exit(0)
for number, path in enumerate((os.devnull, *request["said"])):
    os.dup2(os.open(path, os.O_RDWR), number)
os.environ.clear()
os.environ.update(request["environment"])
sys.argv = ["-c", *request["arguments"]]
exec(request["code"])
"""


def run_preloaded(code: str, *arguments: str | Path, seconds: float = 600) -> subprocess.CompletedProcess[str]:
    """Run `code`, whose sys.argv has the arguments; the process may take so many seconds."""
    server = _server()
    assert server.stdin
    assert server.stdout
    with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as errors:
        request = {
            "code": code,
            "arguments": [str(each) for each in arguments],
            "environment": dict(os.environ),
            "said": [out.name, errors.name],
        }
        try:
            server.stdin.write(json.dumps(request).encode() + b"\n")
            if not select.select([server.stdout], [], [], seconds)[0]:
                raise subprocess.TimeoutExpired(code, seconds)
            status = int(server.stdout.readline() or "the process has ended the one that it was forked from")
        except BaseException:  # also Ctrl-C: the next request is not to get this one's answer
            _end(server)
            raise
        return subprocess.CompletedProcess(code, os.waitstatus_to_exitcode(status), out.read(), errors.read())


@cache
def _server() -> "subprocess.Popen[bytes]":
    """Ends once its pipe is closed, at the latest with this process."""
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
        cwd=Path(__file__).parents[1],
    )
    atexit.register(_end, server)
    return server


def _end(server: "subprocess.Popen[bytes]") -> None:
    """Kill it with the process that it has forked, if any."""
    _server.cache_clear()
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.communicate()
