"""A query that is answered while its page goes on: it can be waited for, and stopped."""

import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pyarrow as pa

from app.questions import SLOW
from app.sql.sandboxes import Sandboxes
from collector.store.sandbox import QueryError, Sandbox


class Inquiry:
    """A query, and once `over` its `answer`, or in `error` the sentence that says why there is none.

    version: that of the log when it was asked. seconds: how long it took, without the wait for a process.
    """

    def __init__(self, sql: str, sandboxes: Sandboxes, roots: tuple[str, ...], version: str) -> None:
        self.sql = sql
        self.version = version
        self.asked = datetime.now(UTC)
        self.answer: pa.Table | None = None
        self.error = ""
        self.seconds = 0.0
        self.stopped = False
        self._began = time.monotonic()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._sandbox: Sandbox | None = None
        threading.Thread(target=self._ask, args=(sandboxes, roots), name="inquiry", daemon=True).start()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait until it is over, or so long; whether it is over."""
        return self._over.wait(seconds)

    def running(self) -> float:
        """Seconds since it was asked."""
        return time.monotonic() - self._began

    def stop(self) -> None:
        """Stop it, unless it is over."""
        with self._lock:
            self.stopped = True
            if self._sandbox:
                self._sandbox.interrupt()

    def _ask(self, sandboxes: Sandboxes, roots: tuple[str, ...]) -> None:
        try:
            with sandboxes.lend(roots, self.version) as sandbox, self._stoppable(sandbox):
                if not self.stopped:  # while it waited for a place
                    self._answer_from(sandbox)
        except (QueryError, OSError) as error:  # OSError: the log's folder is gone
            self.error = str(error)
        except Exception as error:
            traceback.print_exception(error)
            self.error = f"{type(error).__name__}: {error}"
        finally:
            self._over.set()

    @contextmanager
    def _stoppable(self, sandbox: Sandbox) -> Iterator[None]:
        """Let `stop` interrupt the sandbox for as long as this has it: then it may be another's."""
        with self._lock:
            self._sandbox = sandbox
        try:
            yield
        finally:
            with self._lock:
                self._sandbox = None

    def _answer_from(self, sandbox: Sandbox) -> None:
        start = time.monotonic()
        patience = threading.Timer(SLOW, sandbox.give_way)
        patience.start()
        try:
            self.answer = sandbox.execute(self.sql)
        finally:
            patience.cancel()
            self.seconds = time.monotonic() - start
