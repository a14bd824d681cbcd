"""What waits on the host for the writer, and what happens when it is too much."""

import threading
import time
from collections.abc import Callable

from collector.recording.blocks import Block, MetricRewind, Rewind

PATIENCE_SECONDS = 60.0
"""How long training waits for a writer that writes nothing; then the oldest rows are dropped."""

_ASK_SECONDS = 1.0


class Backlog:
    """Blocks in their order, and those that the writer has taken and not yet written.

    lock: what every caller of a method holds. limit: the most bytes that are kept; the newest block stays whatever its
    size. waits: whether the thread that records waits for the writer when there are more; else the oldest go.

    lost_rows: how many were dropped. full: whether it ever hit the limit.
    """

    def __init__(self, lock: threading.Lock, limit: int, *, waits: bool) -> None:
        self.lost_rows = 0
        self.full = False
        self._limit = limit
        self._waits = waits
        self._gave_up = False  # until the writer brings something to the disk again
        self._changed = threading.Condition(lock)
        self._blocks: list[Block] = []
        self._taken: list[Block] = []  # the writer takes out what is on the disk

    @property
    def nbytes(self) -> int:
        """The host memory that it takes, roughly."""
        return sum(block.nbytes for block in (*self._taken, *self._blocks))

    @property
    def waiting_rows(self) -> int:
        """How many rows there are, at most."""
        return sum(block.count for block in (*self._taken, *self._blocks))

    def append(self, block: Block) -> None:
        """Add the newest block."""
        self._blocks.append(block)

    def take(self) -> list[Block]:
        """All blocks; one caller at a time, who gives back what is left of the list."""
        self._taken, self._blocks = self._blocks, []
        return self._taken

    def give_back(self, blocks: list[Block]) -> None:
        """Keep what could not be written."""
        self._gave_up &= bool(blocks)
        self._blocks = blocks + self._blocks
        self._taken = []
        if not self._waiting:
            self._drop_oldest()
        self._changed.notify_all()

    def make_room(self, wake_writer: Callable[[], None]) -> None:
        """Come below the limit: by waiting for the writer, or by letting the oldest go."""
        size = self.nbytes
        self.full |= size > self._limit
        patient_until = time.monotonic() + PATIENCE_SECONDS
        while self._waiting and size > self._limit:
            wake_writer()
            self._changed.wait(_ASK_SECONDS)
            before, size = size, self.nbytes
            if size < before:
                patient_until = time.monotonic() + PATIENCE_SECONDS
            self._gave_up = time.monotonic() > patient_until
        self._drop_oldest()

    def stop_waiting(self) -> None:
        """Have nobody wait any more: there is no writer."""
        self._waits = False
        self._changed.notify_all()

    @property
    def _waiting(self) -> bool:
        return self._waits and not self._gave_up

    def _drop_oldest(self) -> None:
        excess = self.nbytes - self._limit
        for block in self._blocks[:-1]:
            if excess <= 0:
                return
            if not isinstance(block, Rewind | MetricRewind):
                self.full = True
                self.lost_rows += block.count
                self._blocks.remove(block)
                excess -= block.nbytes
