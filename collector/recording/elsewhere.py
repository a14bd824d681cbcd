"""What a collector is on the ranks of a job that do not write."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collector.log.remote import is_url, local_folder
from collector.recording.observer import steps_taken


class Elsewhere:
    """Takes every call of a collector and records nothing: another rank does.

    Raises nothing but from `folder`, so that no rank of a job ends where the others go on.
    """

    def __init__(self, rank: int, optimizer: Any, root: str | os.PathLike[str], name: str | None) -> None:
        self._rank = rank
        self._optimizer = optimizer
        self._folder = None if name is None or is_url(root) else local_folder(root) / name
        self.epoch = 0

    @property
    def folder(self) -> Path:
        """The run's folder. Raises RuntimeError where this rank cannot know it."""
        if self._folder is None:
            raise RuntimeError(f"rank {self._rank} does not know where rank 0 writes: ask there, or give a name=")
        return self._folder

    @property
    def step(self) -> int:
        """The optimizer's count."""
        return steps_taken(self._optimizer) or 0

    def set_epoch(self, epoch: float) -> None:
        """Keep the epoch, for whoever asks this rank."""
        self.epoch = math.floor(epoch)

    def log(self, metrics: Mapping[str, Any], step: int | None, epoch: float | None) -> None:
        """Record nothing."""
        if epoch is not None:
            self.set_epoch(epoch)

    def record(self, optimizer: Any) -> None:
        """Record nothing."""

    def save(self) -> None:
        """Write nothing."""

    def check_open(self) -> None:
        """Nothing was opened."""

    def close(self, status: str, failure: str | None) -> None:
        """Nothing is to be closed."""
