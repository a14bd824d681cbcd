"""A metric as the charts know it: its role, which the log says (collector/sql/metric_roles.sql), and its place."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

KNOWN = ("accuracy", "loss")
"""Quantities that everybody looks at first, in reading order."""

TELLING = ("grad_norm", "gradient_norm", "lr")
"""Quantities that are looked at next, as are all that have a scale of their own."""

BOOKKEEPING = re.compile(r"^(epoch|step|global_step|total_flos)$|runtime|per_second|(^|_)(time|tokens|samples)(_|$)")
"""Quantities that come last."""

HIGHEST_SHARE = 1.001
"""A value above is a percentage; rounding takes the sum of a batch's shares a little above 1."""

SPLITS = ("test", "validation", "train", None)


@dataclass(frozen=True)
class Metric:
    """A name that was logged, and what it is.

    split: 'test', 'validation', 'train' or None. quantity: 'loss', 'accuracy', or what else it is. scale: 'share',
    'log' or 'linear'. prefix: what names of its group begin with. own_steps: whether its steps are not the optimizer's.
    """

    name: str
    split: str | None = None
    quantity: str = ""
    scale: str = "linear"
    prefix: str = ""
    own_steps: bool = False

    @property
    def known(self) -> bool:
        """Whether it is a loss or an accuracy."""
        return self.quantity in KNOWN

    @property
    def title(self) -> str:
        """What a panel of it alone is called: its name, in plain words where it is `test/accuracy` or the like."""
        plain = self.known and self.name == f"{self.split}/{self.quantity}"
        return f"{self.split} {self.quantity}".capitalize() if plain else self.name


def in_order(metrics: Iterable[Metric]) -> list[Metric]:
    """Those first that everybody looks at: accuracies and losses, of the test set before those of training."""
    return sorted(metrics, key=_place)


def _place(metric: Metric) -> tuple[object, ...]:
    if metric.known:
        return KNOWN.index(metric.quantity), SPLITS.index(metric.split), metric.prefix, _natural(metric.name)
    telling = metric.scale != "linear" or metric.quantity in TELLING
    rank = 0 if telling else 2 if BOOKKEEPING.search(metric.quantity) else 1
    return len(KNOWN) + rank, 0, metric.prefix, _natural(metric.name)


def _natural(name: str) -> list[tuple[int, str]]:
    """What sorts layer2 before layer10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def is_share(metric: Metric, values: Sequence[pd.Series]) -> bool:
    """Whether it is written as a percentage: a value above 1 is one already, and shown as it is."""
    return metric.scale == "share" and not any((each > HIGHEST_SHARE).any() for each in values)


def as_shares(metric: Metric, curve: pd.DataFrame) -> pd.DataFrame:
    """One run's curve of it, of shares from 0 to 1: where a value is above 1, the run logged percentages."""
    percentages = metric.scale == "share" and bool(
        ((curve["value"] > HIGHEST_SHARE) & np.isfinite(curve["value"])).any()
    )
    return curve.assign(value=curve["value"] / 100) if percentages else curve


def is_log(metric: Metric, values: Sequence[pd.Series]) -> bool:
    """Whether its axis is logarithmic: it has no place for 0 and less."""
    return metric.scale == "log" and not any((each <= 0).any() for each in values)


def axis(metric: Metric, values: Sequence[pd.Series]) -> dict[str, object]:
    """The axis of its values: a percentage, a logarithm or a number; of one value alone nothing but that is marked."""
    found = pd.concat(values) if values else pd.Series(dtype=float)
    there = found[np.isfinite(found.astype(float))].unique()
    share = is_share(metric, values)
    return {
        "type": "log" if is_log(metric, values) else "linear",
        "tickformat": ".3~p" if share else "~g",
        "tickvals": list(there) if len(there) == 1 else None,
    }
