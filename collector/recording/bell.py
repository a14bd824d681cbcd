"""What wakes the thread that writes."""

from queue import Empty, SimpleQueue


class Bell:
    """What wakes the writer. `threading.Event` stays locked for ever if Ctrl-C strikes within it; this does not."""

    def __init__(self) -> None:
        self._rings: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """Have `wait` return."""
        self._rings.put(None)

    def wait(self, seconds: float) -> bool:
        """Whether it rang within so many seconds, or since the last call."""
        try:
            self._rings.get(timeout=seconds)
        except Empty:
            return False
        while not self._rings.empty():
            self._rings.get()
        return True
