"""How a run is recorded, as it was asked for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from collector.log.run_folder import check_name
from collector.recording.selection import Selection


@dataclass(frozen=True)
class Options:
    """The options of a Collector, by the names that they have there.

    models: `model` as a list. config: as run.json has it.

    Raises ValueError, with the value, for one that makes no sense.
    """

    name: str | None
    config: dict[str, Any] | None
    resume: bool
    overwrite: bool
    models: Sequence[torch.nn.Module]
    selection: Selection
    flush_seconds: float
    memory_limit: int
    when_full: str
    gradients: bool = False

    def __post_init__(self) -> None:
        if self.resume and self.overwrite:
            raise ValueError("resume=True goes on with a run, and overwrite=True begins it anew: give one of them")
        if self.overwrite and self.name is None:
            raise ValueError("overwrite=True needs the name of the run to begin anew")
        if self.resume and self.name is None:
            raise ValueError("resume=True needs the name of the run to go on with")
        if self.name is not None:
            check_name(self.name)
        if not self.flush_seconds > 0:
            raise ValueError(f"flush_seconds={self.flush_seconds!r}: the seconds between two flushes are above 0")
        if not self.memory_limit > 0:
            raise ValueError(f"memory_limit={self.memory_limit!r}: the bytes that may wait for the disk are above 0")
        if self.when_full not in ("drop", "wait"):
            raise ValueError(f"when_full={self.when_full!r}: give 'drop' or 'wait'")


def as_models(model: Any) -> list[torch.nn.Module]:
    """Returns `model=` as a list. Raises TypeError for what is neither a module nor several."""
    if not isinstance(model, Iterable) or isinstance(model, torch.nn.Module):
        model = [] if model is None else [model]
    models = list(model)
    for each in models:
        if not isinstance(each, torch.nn.Module):
            raise TypeError(f"model={type(each).__name__}: give the torch.nn.Module that is trained, or a list of them")
    return models
