"""A log that strangers may ask: their SQL is answered by a process of its own, which can read the log and nothing else.

DuckDB alone does not keep SQL in: a SELECT may hold a COPY that overwrites what it was allowed to read, and neither its
memory limit nor an interrupt holds for all functions. So, from the inside out:

1. the text is a parameter of `query(?)`, and calls only table functions that are known to read (sandbox_worker.py),
2. DuckDB is allowed the log's own files and no others, no network, no extension, no setting (sql/untrusted.sql),
3. the process has 2 GiB of memory, no environment, no open file but two pipes, and is killed when its time is over,
4. where the kernel has Landlock (Linux 5.13; most distributions switch it on), the process can read the log and
   Python's libraries, and do nothing with any other file. Elsewhere 1 to 3 hold.

A query can still see the paths of the log's files.
"""

import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from collector.store.runs import RunFiles, read_runs
from collector.store.sandbox_worker import Ending, Orders
from collector.store.verify import verified

TIMEOUT, MAX_ROWS, MAX_BYTES, MEMORY = 30.0, 1_000_000, 2**28, "512MB"
"""What `connect(root, untrusted=True)` allows a query unless told: seconds, rows and bytes of its answer, memory."""

GRACE = 1.0
"""Seconds that a query has to end after an interrupt, which not all of DuckDB's functions hear, until it is killed."""


NICENESS = 10
"""The priority of a query's process after `give_way`."""


class QueryError(ValueError):
    """A query without an answer; the message is a sentence for whoever asked."""


class Sandbox:
    """A log that answers one query at a time, and cannot be harmed by any; made by `collector.connect`.

    Its methods may be called from any thread: a query waits for the one before it. `with` closes it.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        *,
        verify: bool = False,
        timeout: float | None,
        max_rows: int,
        max_bytes: int,
        memory: str,
    ) -> None:
        self._roots = roots
        self._verify = verify
        self._timeout = timeout
        self._limits = max_rows, max_bytes, memory
        self._turn = threading.Lock()
        self._query: _Query | None = None
        self._closed = False
        self._worker: _Worker | None = self._start()

    def execute(self, sql: str) -> pa.Table:
        """The answer to a query: SELECT, FROM, WITH, VALUES, DESCRIBE, SHOW, SUMMARIZE, or PIVOT with an IN list.

        An answer of more rows or bytes than are allowed is cut off, and `cut_off` says so.

        Raises QueryError if it is no such query, is wrong, takes too long or too much memory, or was interrupted.
        Afterwards the next one can be asked, of a new process if need be, which sees the files of then.
        """
        with self._turn:
            try:
                return self._ask(sql)
            except _FileGoneError:  # a run ended, and removed what it had merged: list the files again
                return self._ask(sql)

    def interrupt(self) -> None:
        """Interrupt the query that is being answered, if any; its `execute` raises QueryError."""
        if query := self._query:
            query.stop("the query was interrupted")

    def give_way(self) -> None:
        """Let the query that is being answered, if any, have what other processes leave of the processors.

        A process cannot take that back, so the next query is answered by a new one.
        """
        if self._query and (worker := self._worker):
            worker.give_way()

    def close(self) -> None:
        """End the process; a query that is being answered raises QueryError."""
        self._closed = True
        if query := self._query:
            query.stop("the connection was closed", grace=0.0)
        with self._turn:
            self._end_worker()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> "_Worker":
        runs = read_runs(self._roots)
        return _Worker(verified(runs) if self._verify else runs, *self._limits)

    def _ask(self, sql: str) -> pa.Table:
        if self._closed:
            raise QueryError("the connection is closed; connect again")
        if self._worker and self._worker.has_ended():  # somebody killed it while nothing was asked
            self._end_worker()
        worker = self._worker = self._worker or self._start()
        query = self._query = _Query(worker)
        try:
            worker.wait_until_ready()
            query.limit(self._timeout)
            return worker.ask(sql)
        except _FileGoneError:
            self._end_worker()
            raise
        except _CrashError as error:
            self._end_worker()
            raise QueryError(query.stopped or str(error)) from None
        except QueryError as error:
            raise QueryError(query.stopped or str(error)) from None
        except BaseException:  # Ctrl-C: what would come now is the answer to this query, not to the next
            self._end_worker()
            raise
        finally:
            self._query = None
            query.end()
            if worker.gives_way:
                self._end_worker()

    def _end_worker(self) -> None:
        if self._worker:
            self._worker.end()
            self._worker = None


def cut_off(answer: pa.Table) -> str:
    """Where an answer was cut off ('after 1,000,000 rows'), or '' for a whole one."""
    return (answer.schema.metadata or {}).get(b"cut_off", b"").decode()


class _FileGoneError(QueryError):
    """A file of the log is there no more."""


class _CrashError(QueryError):
    """The process ended before its answer did."""


class _Query:
    """A query under way: whoever stops it first says why; if it goes on for `GRACE` seconds, its process is killed."""

    def __init__(self, worker: "_Worker") -> None:
        self.stopped = ""
        self._worker = worker
        self._lock = threading.Lock()
        self._over = False
        self._timers: list[threading.Timer] = []

    def limit(self, seconds: float | None) -> None:
        """Stop the query once it has taken so long."""
        if seconds is not None:
            too_long = f"the query took longer than {seconds:g} s and was stopped: ask for less at once"
            self._later(seconds, lambda: self.stop(too_long))

    def stop(self, why: str, *, grace: float = GRACE) -> None:
        """Interrupt the query, unless it has ended or been stopped."""
        with self._lock:
            if not self._over:
                self.stopped = self.stopped or why
                self._worker.interrupt()
                self._later(grace, self._kill)

    def end(self) -> None:
        """Note that it has ended: from now on nothing stops it."""
        with self._lock:
            self._over = True
            for timer in self._timers:
                timer.cancel()

    def _kill(self) -> None:
        with self._lock:
            if not self._over:
                self._worker.kill()

    def _later(self, seconds: float, function: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, function)
        timer.daemon = True
        timer.start()
        self._timers.append(timer)


class _Worker:
    """The process (sandbox_worker.py), and the two pipes to it."""

    def __init__(self, runs: Sequence[RunFiles], max_rows: int, max_bytes: int, memory: str) -> None:
        # -I and -S: neither the environment nor the current folder nor a .pth file says what it imports, but this
        # process does: what it has found itself, wherever that was installed. -B: no bytecode is written.
        command = [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", _MAIN, *package_folders()]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,  # a terminal's Ctrl-C is for us, and we pass it on
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        self._sending = threading.Lock()
        self._ready = False
        self.gives_way = False
        self._asked = 0
        self._send(Orders(list(_readable(runs)), max_rows, max_bytes, memory))
        self._send(list(runs))

    def wait_until_ready(self) -> None:
        """Return when the log is open; how long that takes is not the query's fault. Raises what `ask` does."""
        if not self._ready:
            self._read_ending()
            self._ready = True

    def ask(self, sql: str) -> pa.Table:
        """The answer. Raises QueryError, _FileGoneError or _CrashError."""
        self._asked += 1
        self._send((self._asked, sql))
        try:
            with pa.ipc.open_stream(self._output) as stream:
                answer = stream.read_all()
        except (OSError, ValueError) as error:  # Arrow's errors are of these kinds too
            raise _CrashError(self._cause_of_death()) from error
        cut = self._read_ending()["cut"]
        return answer.replace_schema_metadata({"cut_off": cut} if cut else None)

    def _read_ending(self) -> Ending:
        try:
            ending: Ending = json.loads(self._output.readline())
        except (OSError, ValueError) as error:
            raise _CrashError(self._cause_of_death()) from error
        if ending["error"]:
            raise (_FileGoneError if ending["gone"] else QueryError)(ending["error"])
        return ending

    def interrupt(self) -> None:
        """Interrupt the query that was asked last, unless it is answered already."""
        self._send((self._asked, None))

    def give_way(self) -> None:
        """Let all its threads have what others leave of the processors: it leads a process group, of itself alone."""
        self.gives_way = True
        with suppress(OSError):  # it has ended
            os.setpriority(os.PRIO_PGRP, self._process.pid, NICENESS)

    def has_ended(self) -> bool:
        """Whether the process is there no more."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def end(self) -> None:
        """End the process, and close what led to it."""
        self._process.kill()
        with suppress(BrokenPipeError), self._process:  # waits, and closes the pipes: one may hold what it never read
            pass

    def _cause_of_death(self) -> str:
        try:
            code = self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            return "the process that answers queries no longer makes sense; ask again"
        if code < 0:
            return "the query was ended by the system, most likely for want of memory: ask for less at once"
        return f"the process that answers queries ended with exit code {code} before it had an answer"

    def _send(self, message: Any) -> None:
        # If it has ended, whoever waits for an answer sees that.
        with self._sending, suppress(OSError):
            self._input.write(pickle.dumps(message))
            self._input.flush()


_MAIN = "import sys; sys.path += sys.argv[1:]; from collector.store.sandbox_worker import main; main()"


def package_folders() -> list[str]:
    """The folders where this process has what the other one imports; each package is found in the first that has it."""
    specs = [find_spec(package) for package in ("collector", "duckdb", "pyarrow", "numpy")]
    return list(dict.fromkeys(str(Path(spec.origin).parents[1]) for spec in specs if spec and spec.origin))


def _readable(runs: Sequence[RunFiles]) -> Iterable[str]:
    """The folders of the runs, and what links in them lead to."""
    for run in runs:
        yield str(run.folder)
        files = [*chain.from_iterable(run.files.values()), *run.rollups]
        yield from {os.path.dirname(file) for file in files}
        yield from (os.path.realpath(file) for file in files if os.path.islink(file))
        if run.heartbeat:
            yield os.path.realpath(run.heartbeat)
