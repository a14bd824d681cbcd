"""Runs that differ by their seed alone, and what they have in common: mean and standard deviation."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import pandas as pd

from app import words
from app.charts.run_names import told_apart

SIGNS = 36
"""Signs of a setting's name, in a card or a sentence."""

MOST_NAMED = 4
"""So many runs are named in a sentence; more are counted."""

POINTS = 300
"""Points of a mean by time, where runs have no common places of their own."""


@dataclass(frozen=True)
class Setting:
    """Runs whose configs are the same but for the seed; or one run alone.

    name: what the runs' names have in common, or all that they are. short: the name, cut where it is long; no two of
    the settings that are compared have the same.
    """

    name: str
    runs: tuple[str, ...]
    short: str

    @property
    def grouped(self) -> bool:
        """Whether there is more than one seed of it."""
        return len(self.runs) > 1


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of so many values that are there and finite; NaN where there are too few."""

    mean: float
    std: float
    n: int


def settings(configs: Mapping[str, Mapping[str, Any]]) -> list[Setting]:
    """The runs, those together that differ by the seed alone; in the order of each setting's first run.

    configs: by run, oldest first. `seed` and `name` do not count; a run without a seed stands alone. A seed counts
    once: of two runs with the same one the newer belongs to the setting, and the older stands alone.
    """
    together: dict[str, dict[str, str]] = {}
    for run, config in configs.items():
        if config.get("seed") is not None:
            same = {key: value for key, value in config.items() if key not in ("seed", "name")}
            together.setdefault(comparable(same), {})[comparable(config["seed"])] = run
    groups = [tuple(runs.values()) for runs in together.values() if len(runs) > 1]
    grouped = {run for runs in groups for run in runs}
    every = [*groups, *((run,) for run in configs if run not in grouped)]
    place = {run: number for number, run in enumerate(configs)}
    every = [tuple(sorted(runs, key=place.__getitem__)) for runs in every]
    every.sort(key=lambda runs: place[runs[0]])
    return named(every)


def named(groups: Sequence[tuple[str, ...]]) -> list[Setting]:
    """Settings of these runs, with names that no other has."""
    common = [common_name(runs) for runs in groups]
    names = [name if common.count(name) == 1 else _names_of(runs) for name, runs in zip(common, groups, strict=True)]
    short = told_apart(names, SIGNS)
    return [Setting(name, runs, short[name]) for name, runs in zip(names, groups, strict=True)]


def common_name(runs: Sequence[str]) -> str:
    """The words at the beginning and the end of the runs' names that are the same in all of them, or that of which each
    has its own number, as `seed` of `seed0` and `seed1`; else all that they are.
    """
    if len(runs) == 1:
        return runs[0]
    words = [re.findall(r"[^\W_]+|[\W_]+", run) for run in runs]
    start = "".join(_same(words)).strip("-_. ")
    end = "".join(_same([each[::-1] for each in words])[::-1]).strip("-_. ")
    if start in runs:  # as in `clip1`, `clip1-seed1`: there is no end
        return start
    numbered = {re.sub(r"\d+$", "", run) for run in runs}
    stem = numbered.pop().strip("-_. ") if len(numbered) == 1 else ""
    return "…".join(part for part in (start, end) if part) or stem or _names_of(runs)


def listed(runs: Sequence[str]) -> str:
    """Runs by their names; of many the first, and how many more."""
    named = ", ".join(map(words.plain, told_apart(runs[:MOST_NAMED], 40).values()))
    return named + (f" and {len(runs) - MOST_NAMED} more" if len(runs) > MOST_NAMED else "")


def _names_of(runs: Sequence[str]) -> str:
    """Runs by their names; of many the first, so that none is taken for the setting."""
    first, *others = runs
    if not others:
        return first
    return f"{first} + {others[0] if len(others) == 1 else f'{len(others)} more'}"


def _same(words: Sequence[Sequence[str]]) -> list[str]:
    """What all the lists begin with."""
    return [first for first, *_ in takewhile(lambda each: len(set(each)) == 1, zip(*words, strict=False))]


def spread(values: Sequence[float | None]) -> Spread:
    """What is said of the results of some seeds."""
    there = np.array([value for value in values if value is not None], dtype=float)
    there = there[np.isfinite(there)]
    mean = float(there.mean()) if len(there) else float("nan")
    return Spread(mean, float(there.std(ddof=1)) if len(there) > 1 else float("nan"), len(there))


def mean_curve(curves: Sequence[pd.DataFrame], *, by: str) -> pd.DataFrame:
    """Mean and sample standard deviation over seeds: a row a place `x`, with `n`, how many seeds have a value there.

    curves: one a seed. by: 'epoch' takes the values of an epoch together, from columns epoch and value; 'step' those of
    a cell of steps, from step, middle and value; 'time' those at a moment, between two of which a curve is a straight
    line, from seconds and value; it has a row without a mean wherever a seed begins or ends.
    """
    if by == "time":
        return _mean_by_time(curves)
    rows = pd.concat(curves)
    rows = rows[np.isfinite(rows["value"].astype(float))]
    rows = rows.assign(x=rows["epoch" if by == "epoch" else "middle"])
    means = rows.groupby(by, sort=True).agg(
        x=("x", "mean"), mean=("value", "mean"), std=("value", "std"), lowest=("value", "min"), n=("value", "size")
    )
    return means.reset_index(drop=True)


def _mean_by_time(curves: Sequence[pd.DataFrame]) -> pd.DataFrame:
    there = [curve[np.isfinite(curve["value"].astype(float))] for curve in curves]
    there = [curve.sort_values("seconds") for curve in there if len(curve)]
    if not there:
        return pd.DataFrame(columns=["x", "mean", "std", "lowest", "n"])
    first = min(curve["seconds"].iloc[0] for curve in there)
    last = max(curve["seconds"].iloc[-1] for curve in there)
    x = np.unique(np.linspace(first, last, POINTS))
    rows = pd.DataFrame([np.interp(x, curve["seconds"], curve["value"], left=np.nan, right=np.nan) for curve in there])
    means = pd.DataFrame({"x": x, "mean": rows.mean(), "std": rows.std(), "lowest": rows.min(), "n": rows.count()})
    return _broken(means[means["n"] > 0].reset_index(drop=True))


def _broken(means: pd.DataFrame) -> pd.DataFrame:
    """A gap wherever a seed begins or ends: across it a line would show the jump of a mean that has lost a seed."""
    places = means.index[means["n"].ne(means["n"].shift()) & (means.index > 0)]
    gaps = pd.DataFrame({"x": means["x"][places], "n": means["n"].shift()[places].astype(int)})
    return pd.concat([means, gaps.set_index(places - 0.5)]).sort_index().reset_index(drop=True)


def comparable(value: object) -> str:
    """A value of a config, or all of one, as a text that is the same where they are: 1 is 1.0."""
    return json.dumps(json.loads(json.dumps(value, default=repr), parse_int=float), sort_keys=True)
