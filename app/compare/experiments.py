"""Which runs belong to one experiment of the paper's kind: the same but for batch size, bound and seed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.compare.seeds import Setting, comparable, settings

VARIED = ("batch_size", "clip", "optimizer", "seed", "name")
"""What differs within an experiment. The optimizer is `lamb` without a bound and `lambc` with one."""


@dataclass(frozen=True)
class Cell:
    """A cell of Table 1: runs of one batch size and bound, told apart by the seed. clip: as in the config."""

    batch_size: int
    clip: float | tuple[float, float] | None
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Experiment:
    """Runs that are the same but for batch size, bound and seed.

    name: what tells it from the other experiments, in the words of the configs. left_out: runs that repeat a seed.
    """

    name: str
    cells: tuple[Cell, ...]
    left_out: tuple[str, ...]

    @property
    def batch_sizes(self) -> list[int]:
        """From small to large."""
        return sorted({cell.batch_size for cell in self.cells})

    @property
    def clips(self) -> list[float | tuple[float, float] | None]:
        """The bounds from tight to wide, no bound at the end."""
        return sorted({cell.clip for cell in self.cells}, key=_width)

    def cell(self, batch_size: int, clip: float | tuple[float, float] | None) -> Cell | None:
        """The cell there, or None."""
        return next((cell for cell in self.cells if (cell.batch_size, cell.clip) == (batch_size, clip)), None)


def experiments(configs: Mapping[str, Mapping[str, Any]]) -> list[Experiment]:
    """The experiments that some runs make up, the one of most runs first.

    configs: by run, oldest first. A run without a whole `batch_size` and a `clip` (a number, two, or None) belongs to
    none.
    """
    known = {run: config for run, config in configs.items() if _is_known(config)}
    rests: dict[str, dict[str, Any]] = {}
    together: dict[str, dict[tuple[int, Any], list[Setting]]] = {}
    for setting in settings(known):
        config = known[setting.runs[0]]
        place = (config["batch_size"], _clip(config["clip"]))
        rest = _rest(config)
        key = comparable(rest)
        rests.setdefault(key, rest)
        together.setdefault(key, {}).setdefault(place, []).append(setting)
    names = _names([*rests.values()])
    found = []
    for name, places in zip(names, together.values(), strict=True):
        # Where a seed was run again, the older run is a setting of its own.
        kept = {place: max(reversed(there), key=lambda setting: len(setting.runs)) for place, there in places.items()}
        cells = tuple(Cell(*place, setting.runs) for place, setting in kept.items())
        runs = [run for there in places.values() for setting in there for run in setting.runs]
        counted = {run for cell in cells for run in cell.runs}
        found.append(Experiment(name, cells, tuple(run for run in runs if run not in counted)))
    return sorted(found, key=lambda experiment: -sum(len(cell.runs) for cell in experiment.cells))


def _is_known(config: Mapping[str, Any]) -> bool:
    batch_size = config.get("batch_size")
    whole = isinstance(batch_size, int) and not isinstance(batch_size, bool) and batch_size > 0
    if not whole or "clip" not in config:
        return False
    clip = config["clip"]
    ends = clip if isinstance(clip, list) and len(clip) == 2 else [clip]
    return clip is None or all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)


def _clip(clip: Any) -> float | tuple[float, float] | None:
    return (float(clip[0]), float(clip[1])) if isinstance(clip, list) else None if clip is None else float(clip)


def _rest(config: Mapping[str, Any]) -> dict[str, Any]:
    optimizer = str(config.get("optimizer", "lamb")).lower()
    rest: dict[str, Any] = {"optimizer": "lamb" if optimizer in ("lamb", "lambc") else optimizer}
    return rest | {key: value for key, value in config.items() if key not in VARIED}


def _names(rests: list[dict[str, Any]]) -> list[str]:
    """Each experiment by the options that are not the same in all of them; the data alone where there is one."""
    keys = sorted({key for rest in rests for key in rest})
    differing = [key for key in keys if len({comparable(rest.get(key, "not noted")) for rest in rests}) > 1]
    said = [", ".join(f"{key} {rest.get(key, 'not noted')}" for key in differing) for rest in rests]
    return [name or str(rest.get("data", "one experiment")) for name, rest in zip(said, rests, strict=True)]


def _width(clip: float | tuple[float, float] | None) -> tuple[float, float]:
    if clip is None:
        return math.inf, 0.0
    return (clip[1], clip[0]) if isinstance(clip, tuple) else (clip, 0.0)
