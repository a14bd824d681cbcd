"""How far apart the recorded steps of a run are: `Collector(every=…)`, which a resume may change.

run.json notes the last attempt's stride, and old logs do not. So the rows decide: where their number is not what the
noted stride gives, the steps themselves are read, once for each version of a file.
"""

import os
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from collector.log.arrays import to_numpy

_END = 2**62
_VERSIONS_KEPT = 2**12
_MOST_GROUPS = 256
"""The most row groups read of a file, evenly spread: some 8 million rows."""


class Part(NamedTuple):
    """A file of trust ratios, as its footer has it."""

    path: str
    first_step: int
    last_step: int
    rows: int


class Stretch(NamedTuple):
    """The steps from `first_step` to `last_step`, of which those `stride` apart are recorded."""

    first_step: int
    last_step: int
    stride: int


class _Gaps(NamedTuple):
    """The recorded steps of a part within a stretch: the ends, and how often two neighbours are so far apart."""

    first: int
    last: int
    counts: tuple[tuple[int, int], ...]


def stretches(parts: Sequence[Part], contents: dict[str, Any] | None) -> list[Stretch]:
    """The stretches of a run in their order, which take in all steps; one where no attempt changed the stride.

    parts: all files of the run. contents: its run.json, or None.
    """
    read = contents or {}
    noted = read.get("every")
    noted = noted if type(noted) is int and noted > 0 else None
    layers = len(read.get("layers", ()))
    found: list[Stretch] = []
    for first, last in pairwise([0, *_starts(read), _END]):
        stride = _stride(parts, first, last - 1, layers, noted)
        if found and stride in (None, found[-1].stride):
            found[-1] = found[-1]._replace(last_step=last - 1)
        else:
            found.append(Stretch(first, last - 1, stride or noted or 1))
    return found


def _starts(contents: dict[str, Any]) -> list[int]:
    """The steps at which an attempt resumed; one that begins earlier has taken the rows of those before it back."""
    starts: list[int] = []
    for attempt in reversed(contents.get("attempts", ())[1:]):
        first = attempt.get("first_step") if isinstance(attempt, dict) else None
        if type(first) is int and first > 1 and (not starts or first < starts[-1]):
            starts.append(first)
    return starts[::-1]


def _stride(parts: Sequence[Part], first: int, last: int, layers: int, noted: int | None) -> int | None:
    """Returns the most frequent gap between recorded steps; None if there are none."""
    within = sorted((part for part in parts if part.first_step <= last and part.last_step >= first), key=_place)
    if not within:
        return None
    if all(first <= part.first_step and part.last_step <= last for part in within):
        # An old log has a stride of 1 noted nowhere; of a single step anything may be true.
        expected, ends = noted or 1, (within[0].first_step, max(part.last_step for part in within))
        if (noted or ends[0] < ends[1]) and sum(part.rows for part in within) == layers * _steps(*ends, expected):
            return expected
    gaps = [each for part in within if (each := _read(part, first, last))]
    counts = Counter[int]()
    for each in gaps:
        counts.update(dict(each.counts))
    counts.update(_apart(one.last, other.first) for one, other in pairwise(gaps) if one.last < other.first)
    if not counts:
        step = gaps[0].first if gaps else 1
        return noted if noted or step == 1 else step
    most = max(counts.values())
    return max(gap for gap, count in counts.items() if count == most)


def _place(part: Part) -> tuple[int, int]:
    return part.first_step, part.last_step


def _steps(first: int, last: int, stride: int) -> int:
    """Returns how many steps are recorded from `first` to `last`; 0 if these two cannot be."""
    on_grid = last % stride == 0 or last == 1
    if not on_grid or (first % stride and first != 1):
        return 0
    return last // stride - (first - 1) // stride + (first == 1 and stride > 1)


def _apart(one: int, other: int) -> int:
    """From a recorded step to the next. Step 1 is always recorded, and stands for 0 where steps are multiples."""
    return other - (0 if one == 1 and other > 2 else one)


def _read(part: Part, first: int, last: int) -> _Gaps | None:
    try:
        status = os.stat(part.path)
        return _read_version(part.path, first, last, status.st_mtime_ns, status.st_size)
    except (OSError, ValueError):  # it was merged just now, or is damaged behind its footer
        return None


@lru_cache(_VERSIONS_KEPT)
def _read_version(path: str, first: int, last: int, mtime_ns: int, size: int) -> _Gaps | None:
    with pq.ParquetFile(path) as file:
        groups = range(0, file.num_row_groups, -(-file.num_row_groups // _MOST_GROUPS))
        found = [np.unique(to_numpy(file.read_row_group(group, columns=["step"])["step"])) for group in groups]
    steps = np.unique(np.concatenate(found))
    steps = steps[(steps >= first) & (steps <= last)]
    if not len(steps):
        return None
    gaps = np.diff(steps)
    if len(steps) > 1:
        gaps[0] = _apart(int(steps[0]), int(steps[1]))
    values, counts = np.unique(gaps, return_counts=True)
    return _Gaps(int(steps[0]), int(steps[-1]), tuple(zip(values.tolist(), counts.tolist(), strict=True)))
