"""What a collector is on the ranks of a job that do not write."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from collector.log.remote import is_url, local_folder
from collector.recording.counting import StepCounts
from collector.recording.hooks import register
from collector.recording.names import LayerNames
from collector.recording.observer import Observer, observers
from collector.recording.options import Options
from collector.recording.ranks import Agreement
from lambc.counts import steps_taken


class Elsewhere:
    """Takes every call of a collector and records nothing: another rank does.

    Only `folder` raises, so that no rank of a job stops while the others go on.

    agreement: of layers that each rank holds a part of, and that are observed on all of them; None where there are
        none. What it raises, the constructor does.
    """

    def __init__(
        self,
        rank: int,
        optimizers: Sequence[Any],
        root: str | os.PathLike[str],
        options: Options,
        agreement: Agreement | None,
    ) -> None:
        self._rank = rank
        self._optimizers = optimizers
        self._folder = None if options.name is None or is_url(root) else local_folder(root) / options.name
        self.epoch = 0
        self._handles: list[Any] = []
        if agreement:
            names = LayerNames(options.models, optimizers)
            counts = StepCounts(optimizers, names.first(self._optimizers), *agreement.reach())
            self._handles += counts.watch(lambda standing: None, lambda: counts.note([None] * len(optimizers)))
            # What they measure, or ask for, takes part in the same collective operations as on rank 0.
            asked = options.selection.has_step if options.gradients else None
            for each in observers(optimizers, options, counts, names, together=True):
                if isinstance(each, Observer) or asked:
                    self._handles.append(register(each, lambda record: None, asked))

    @property
    def folder(self) -> Path:
        """The run's folder. Raises RuntimeError where this rank cannot know it."""
        if self._folder is None:
            raise RuntimeError(f"rank {self._rank} does not know where rank 0 writes: ask there, or give a name=")
        return self._folder

    @property
    def step(self) -> int:
        """The optimizer's count."""
        return steps_taken(self._optimizers[0]) or 0

    def set_epoch(self, epoch: float) -> None:
        """Keep the epoch, for whoever asks this rank."""
        self.epoch = math.floor(epoch)

    def log(self, metrics: Mapping[str, Any], step: int | None, epoch: float | None) -> None:
        """Record nothing."""
        if epoch is not None:
            self.set_epoch(epoch)

    def note_clip(self, values: Mapping[str, Any], params: Sequence[Any]) -> None:
        """Record nothing."""

    def record(self, optimizer: Any) -> None:
        """Record nothing."""

    def save(self) -> None:
        """Write nothing."""

    def check_open(self) -> None:
        """Nothing was opened."""

    def close(self, status: str, failure: str | None) -> None:
        """Take part in no further step."""
        while self._handles:
            self._handles.pop().remove()
