"""Calls that a signal handler makes in the middle of another call."""

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any


class Calls:
    """Makes the calls of one object, in each thread one after the other.

    A signal handler runs in the middle of whatever its thread is doing, so also of a call that holds a lock. If it made
    a further call, that one would wait for the lock for ever. It is put off until the interrupted one has ended.
    """

    def __init__(self) -> None:
        self._thread = threading.local()

    def make(self, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Returns what `call` returns; None if it is put off."""
        thread = self._thread
        if getattr(thread, "busy", False):
            thread.put_off.append(partial(call, *args, **options))
            return None
        put_off: deque[Callable[[], Any]] = deque()
        thread.put_off, thread.busy = put_off, True
        try:
            return call(*args, **options)
        finally:
            thread.busy = False
            while put_off:
                self.make(put_off.popleft())
