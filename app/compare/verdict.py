"""Which setting is ahead, by how much, and whether that says anything."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.compare.measures import Measure
from app.compare.seeds import Setting, Spread

BOUND = ("clip", "optimizer", "seed", "name")
"""What may differ between runs that are compared by their bound; the optimizer is `lamb` without one."""


@dataclass(frozen=True)
class Difference:
    """A setting against another: how far its mean is from that one's, which it is better than or not.

    caveat: why that says little; '' where it is more than the seeds of both are apart.
    """

    text: str
    better: bool
    caveat: str


def against(
    one: tuple[Setting, Spread],
    other: tuple[Setting, Spread],
    measure: Measure,
    configs: Mapping[str, Mapping[str, Any]],
) -> Difference:
    """Compare two settings of which each has a value."""
    (mine, ours), (theirs, its) = one, other
    apart = measure.apart(ours.mean, its.mean)
    better = measure.rank(ours) < measure.rank(its)
    options = other_options(configs[mine.runs[0]], configs[theirs.runs[0]])
    if options:
        named = ", ".join(options[:3]) + (f" and {len(options) - 3} more" if len(options) > 3 else "")
        return Difference(apart, better, f"also differ in {named}")
    if min(ours.n, its.n) == 1:
        return Difference(apart, better, "n = 1: cannot tell")
    if abs(ours.mean - its.mean) <= max(ours.std, its.std):
        return Difference(apart, better, "within the spread of the seeds")
    return Difference(apart, better, "")


def other_options(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The options beside bound and seed that are not the same in two configs."""
    keys = dict.fromkeys([*one, *other])
    found = [key for key in keys if key not in BOUND and _said(one.get(key)) != _said(other.get(key))]
    optimizers = {str(config.get("optimizer", "lamb")).lower().replace("lambc", "lamb") for config in (one, other)}
    return (["optimizer"] if len(optimizers) > 1 else []) + found


def _said(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)
