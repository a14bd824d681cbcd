"""The collectors of this process that are open, and what ends them when nobody closes them: its end, or SIGTERM."""

import atexit
import multiprocessing
import os
import signal
import threading
from multiprocessing.util import Finalize
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collector.collector import Collector

_open: list["Collector"] = []
_process: int | None = None
"""The process that `_open` is of: a forked child has a copy of its parent's list, and none of its runs."""


def all_open() -> tuple["Collector", ...]:
    """Returns the collectors that this process made and has not closed, in the order in which they were made."""
    return tuple(_open) if _process == os.getpid() else ()


def add(collector: "Collector") -> None:
    """Have `collector` closed at the process's end, and by SIGTERM if nothing else of this process deals with it."""
    global _process
    if _process != os.getpid():
        _open.clear()
        if _process is None:
            atexit.register(_close_all)
        _process = os.getpid()
        if multiprocessing.parent_process() is not None:  # a worker that was forked ends without atexit
            Finalize(None, _close_all, exitpriority=0)
    _open.append(collector)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


def remove(collector: "Collector") -> None:
    """Forget a collector that was closed; after the last one SIGTERM is as it was."""
    if collector in _open:
        _open.remove(collector)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not _open and in_main_thread and signal.getsignal(signal.SIGTERM) is _terminate:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _close_all(failure: str | None = None) -> None:
    for collector in all_open():
        collector.end("interrupted", failure)


def _terminate(number: int, frame: FrameType | None) -> None:
    """Close all runs, then end as if there had been no handler."""
    runs = all_open()
    if not runs:
        _end_by_sigterm()
    for run in runs:
        run.end("interrupted", "SIGTERM", then=_end_by_sigterm if run is runs[-1] else None)


def _end_by_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
