"""The processes that answer the SQL page: a few for all sessions, one query at a time in each, gone when nobody asks.

A process takes 130 MB and most of a second to start. So those that are free are kept for a while, and there are never
more than `PLACES`; and since a query has a process for itself, stopping it stops no other.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from collector.store.connect import connect
from collector.store.sandbox import QueryError, Sandbox

PLACES = 4
IDLE = 60.0
"""Seconds that a free process is kept."""

PATIENCE = 60.0
"""Seconds that a query waits for a place: those before it are stopped after half of that."""

TIMEOUT, MAX_ROWS, MAX_BYTES = 30.0, 200_000, 2**24
"""What a query may take in seconds, and its answer in rows and bytes: it is held for as long as its page is open."""

MEMORY = "128MB"
"""What DuckDB may take for a query: with this, four processes and the server stay below 1 GB (bench/visitors.py)."""


class _Free(NamedTuple):
    version: str
    since: float
    sandbox: Sandbox


class Sandboxes:
    """Lends a sandbox to a query. Its methods may be called from any thread."""

    def __init__(self, *, places: int = PLACES, idle: float = IDLE, timeout: float = TIMEOUT) -> None:
        self._idle = idle
        self._timeout = timeout
        self._places = threading.BoundedSemaphore(places)
        self._lock = threading.Lock()
        self._free: list[_Free] = []

    @contextmanager
    def lend(self, roots: tuple[str, ...], version: str) -> Iterator[Sandbox]:
        """A sandbox that shows the log as of `version`, its process started. Raises QueryError, or as `connect`."""
        if not self._places.acquire(timeout=PATIENCE):
            raise QueryError("other queries take all the places; ask again in a moment")
        try:
            sandbox = self._take(version) or connect(
                list(roots),
                untrusted=True,
                timeout=self._timeout,
                max_rows=MAX_ROWS,
                max_bytes=MAX_BYTES,
                memory=MEMORY,
            )
            try:
                _wake(sandbox)
                yield sandbox
            finally:
                self._keep(version, sandbox)
        finally:
            self._places.release()

    def _take(self, version: str) -> Sandbox | None:
        """A free sandbox of this version; those of others have had their day."""
        with self._lock:
            current = [free.sandbox for free in self._free if free.version == version]
            outdated = [free.sandbox for free in self._free if free.version != version]
            taken = current.pop() if current else None
            self._free = [free for free in self._free if free.sandbox in current]
        for sandbox in outdated:
            sandbox.close()
        return taken

    def _keep(self, version: str, sandbox: Sandbox) -> None:
        with self._lock:
            self._free.append(_Free(version, time.monotonic(), sandbox))
        timer = threading.Timer(self._idle, self._close_idle)
        timer.daemon = True
        timer.start()

    def _close_idle(self) -> None:
        with self._lock:
            until = time.monotonic() - self._idle
            idle = [free.sandbox for free in self._free if free.since <= until]
            self._free = [free for free in self._free if free.since > until]
        for sandbox in idle:
            sandbox.close()


def _wake(sandbox: Sandbox) -> None:
    """Start its process, which is not the query's time; one that died while it was free is replaced."""
    try:
        sandbox.execute("SELECT 1")
    except QueryError:
        sandbox.execute("SELECT 1")
