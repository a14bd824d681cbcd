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
        self._thread = _Thread()

    def make(self, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Returns what `call` returns; None if it is put off. Raises what it raises, or what one put off does."""
        thread = self._thread
        if thread.busy:
            thread.put_off.append(partial(call, *args, **options))
            return None
        thread.busy = True
        try:
            return call(*args, **options)
        finally:
            thread.busy = False
            if thread.put_off:
                self._make_up(thread)

    def _make_up(self, thread: "_Thread") -> None:
        """Make what was put off, and what is put off meanwhile; an error is raised when all of it has been made."""
        errors: list[BaseException] = []
        while thread.put_off:
            thread.busy = True
            try:
                if thread.put_off:  # a handler may have made it before `busy` was set
                    thread.put_off.popleft()()
            except BaseException as error:
                errors.append(error)
            finally:
                thread.busy = False
        if errors:
            raise errors[0]


class _Thread(threading.local):
    """What each thread has of its own. busy: whether it is in a call. put_off: the calls to be made after it."""

    busy = False

    def __init__(self) -> None:
        self.put_off: deque[Callable[[], Any]] = deque()
