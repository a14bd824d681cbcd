"""Work that neither Ctrl-C nor a signal handler cuts off: it is done by threads of its own.

Both strike the main thread between any two of Python's instructions, also within `threading.Event` and `Condition`,
which then stay locked for ever. So there are none of these here: what is shared with the main thread is changed by
single calls into C.
"""

import _thread
import threading
import time
from collections.abc import Callable

_MOST_INTERRUPTS = 3
"""How many Ctrl-C end the wait for work that must not be cut off: the disk may hang."""

_LOOK_SECONDS = 0.1
_START_SECONDS = 2.0


class Work:
    """A piece of work under way. done: whether it has ended. error: what ended it, if it failed."""

    def __init__(self, action: Callable[[], object], before: "Work | None") -> None:
        self.done = False
        self.error: BaseException | None = None
        self._action = action
        self._before = before
        self._begun = False
        self._ended = threading.Lock()
        self._ended.acquire()

    def run(self) -> None:
        """Do it, once what came before has ended."""
        self._begun = True
        if self._before:
            self._before._let_end()
            self._before = None
        try:
            self._action()
        except BaseException as error:
            self.error = error
        self.done = True
        self._ended.release()

    def wait(self) -> None:
        """Wait until it has ended, and raise its error. Ctrl-C ends the waiting."""
        while not self.done:
            if self._ended.acquire(timeout=_LOOK_SECONDS):
                self._ended.release()
        if self.error:
            raise self.error

    def wait_whatever_comes(self) -> None:
        """As `wait`, but Ctrl-C is raised once it has ended, and only the third one at once."""
        interrupts: list[KeyboardInterrupt] = []
        while not self.done and len(interrupts) < _MOST_INTERRUPTS:
            try:
                self.wait()
            except KeyboardInterrupt as error:
                interrupts.append(error)
        if self.done:
            self.wait()
        if interrupts:
            raise interrupts[0]

    def _let_end(self) -> None:
        """Wait for its end; if Ctrl-C kept it from being begun at all, there is nothing to wait for."""
        latest = time.monotonic() + _START_SECONDS
        while not self.done and (self._begun or time.monotonic() < latest):
            if self._ended.acquire(timeout=_LOOK_SECONDS):
                self._ended.release()


class Apart:
    """Does one piece of work after the other, in the order in which they were started, each on a thread of its own."""

    def __init__(self) -> None:
        self._last: Work | None = None

    def start(self, action: Callable[[], object]) -> Work:
        """Begin with `action`."""
        work = self._last = Work(action, self._last)
        try:
            _thread.start_new_thread(work.run, ())
        except RuntimeError:  # the interpreter shuts down, or the process may have no more threads
            work.run()
        return work

    def finish(self, action: Callable[[], object]) -> None:
        """Do `action`, and raise its error. Ctrl-C is raised when it is done."""
        self.start(action).wait_whatever_comes()
