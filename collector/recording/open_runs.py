"""The collectors of this process that are open, and what ends them when nobody closes them: its end, or SIGTERM."""

import atexit
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from multiprocessing.util import Finalize
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from collector.recording.apart import Apart

if TYPE_CHECKING:
    from collector.recording.collector import Collector

_open: dict["Collector", Sequence[Any]] = {}  # with the optimizers of each
_being_made: list[tuple[Apart, ExitStack]] = []

_process: int | None = None
"""The process that `_open` is of: a forked child has a copy of its parent's list, and none of its runs."""


def all_open() -> tuple["Collector", ...]:
    """Returns the collectors that this process made and has not closed, in the order in which they were made."""
    return tuple(_open) if _process == os.getpid() else ()


def take_over(folder: Path, *, allowed: bool) -> None:
    """Close a collector of this process that still writes a run, as when the cell of a notebook is run again.

    Raises FileExistsError if there is one, and that is not allowed.
    """
    for other in all_open():
        if other.folder == folder:
            if not allowed:
                raise FileExistsError(
                    f"run {folder.name!r} is open in this process: close it (Collector.open_runs() has it), give "
                    "resume=True to go on with it, or overwrite=True to begin it anew"
                )
            other.end("interrupted", "the run was opened again by the same process")


def warn_of_others(optimizers: Sequence[Any]) -> None:
    """Warn of a collector of this process that goes on recording one of these optimizers."""
    mine = set(map(id, optimizers))
    for other in all_open():
        if mine.intersection(map(id, _open[other])):
            warnings.warn(
                f"run {other.folder.name!r} is still open in this process and records the same optimizer, so it gets "
                "the new run's steps, too: close it first (Collector.open_runs() has it) unless both are meant",
                stacklevel=4,
            )


def cleanup_at_exit(apart: Apart) -> ExitStack:
    """Returns a stack of clean-ups for a run that is being made; they run at exit if two Ctrl-C skip them."""
    global _process
    if _process != os.getpid():
        _open.clear()
        _being_made.clear()
        if _process is None:
            atexit.register(_close_all)
        _process = os.getpid()
        if multiprocessing.parent_process() is not None:  # a worker that was forked ends without atexit
            Finalize(None, _close_all, exitpriority=0)
    stack = ExitStack()
    _being_made.append((apart, stack))
    return stack


def made(stack: ExitStack) -> None:
    """Note that the run of a stack has been made, or taken back."""
    stack.pop_all()
    _being_made[:] = [each for each in _being_made if each[1] is not stack]


def add(collector: "Collector", optimizers: Sequence[Any]) -> None:
    """Have `collector` closed at the process's end, and by SIGTERM if nothing else of this process deals with it."""
    _open[collector] = optimizers
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


def remove(collector: "Collector") -> None:
    """Forget a collector that was closed; after the last one SIGTERM is as it was."""
    _open.pop(collector, None)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not _open and in_main_thread and signal.getsignal(signal.SIGTERM) is _terminate:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _close_all() -> None:
    try:
        _close_each()
    except KeyboardInterrupt:  # after another Ctrl-C, still close the rest
        _close_each()


def _close_each() -> None:
    if _process == os.getpid():
        for apart, stack in _being_made:
            apart.finish(stack.close)
    for collector in all_open():
        collector.end("interrupted")


def _terminate(number: int, frame: FrameType | None) -> None:
    """Close all runs, then end as if there had been no handler."""
    left = list(all_open())
    if not left:
        _end_by_sigterm()
    with ExitStack() as each_is_closed:  # also after an error of another
        for run in reversed(all_open()):
            each_is_closed.callback(run.end, "interrupted", "SIGTERM", then=partial(_end_after_the_last, left, run))


def _end_after_the_last(left: list["Collector"], run: "Collector") -> None:
    """`run` has ended: one that the signal interrupted in a call ends later than the others."""
    left.remove(run)
    if not left:
        _end_by_sigterm()


def _end_by_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
