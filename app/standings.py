"""How all runs stand: the view `runs`, asked of the store no more often than its answer can change."""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

FRESH = 10**9
"""Nanoseconds that the answer holds while a run may say another word: a heartbeat changes no version of the log."""

_MAY_CHANGE = ("running", "stalled")


class Standing(NamedTuple):
    """The rows of `runs` at a version of the log, and when they were asked for, which no two have in common."""

    asked: int
    version: str
    runs: pd.DataFrame


class Standings:
    """The rows of `runs`, for all sessions. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: Standing | None = None

    def of(self, version: str, ask: Callable[[], pd.DataFrame]) -> Standing:
        """How the runs stand at a version of the log. ask: gives the rows of now."""
        with self._lock:
            if self._known is None or self._is_old(self._known, version):
                self._known = Standing(time.monotonic_ns(), version, ask())
            # A shallow copy: what is changed in it is changed in it alone.
            return self._known._replace(runs=self._known.runs.copy(deep=False))

    @staticmethod
    def _is_old(known: Standing, version: str) -> bool:
        if version != known.version:
            return True
        may_change = known.runs["status"].isin(_MAY_CHANGE).any()
        return bool(may_change) and time.monotonic_ns() - known.asked >= FRESH
