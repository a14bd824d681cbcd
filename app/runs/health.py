"""Is a run healthy? What a practitioner would look for first, in a few words each, the worst first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from app import words

FALLEN = 0.1
"""Accuracy that is so far below its best has fallen, and does not waver."""

NEARLY_ALL = 0.99


@dataclass(frozen=True)
class Finding:
    """Something that is wrong (serious), or that one should know of."""

    sentence: str
    serious: bool = False


def findings(
    result: Any,
    rates: pd.DataFrame,
    not_finite: pd.DataFrame,
    events: pd.DataFrame,
    diverged_since: int | None,
    constant: tuple[int, Sequence[str]],
) -> list[Finding]:
    """What is not as it should be; nothing for a run that is well.

    result: the run's row of `results`. rates: how often each layer was clipped. not_finite: the row of
    `unusual.not_finite`. events: those of `unusual.events`. constant: layers whose ratio stands still, and since when.
    """
    found = []
    if diverged_since is not None:
        found.append(Finding(words.diverged(diverged_since), serious=True))
    if pd.notna(result["broken_since"]):
        found.append(Finding(f"loss not finite since step {int(result['broken_since']):,}"))
    elif pd.notna(result["first_broken"]):
        found.append(Finding(_broken_for_a_while(int(result["first_broken"]), int(result["broken_steps"]))))
    layers = int(not_finite["layers"].iloc[0])
    if layers:
        found.append(Finding(f"NaN or Inf in {_of(layers, len(rates))}"))
    jumps = events[events["kind"] == "jump"]
    if len(jumps) and diverged_since is None:
        factor = float(np.exp(np.abs(np.log(jumps["after"] / jumps["before"]))).max())
        where = f"in {_of(jumps['layer'].nunique(), len(rates))}, first at step {int(jumps['step'].min()):,}"
        found.append(Finding(f"ratio jumped {where}, by up to {factor:.0f} times"))
    since, still = constant
    if still:
        found.append(Finding(f"ratio constant in {_of(len(still), len(rates))} since step {since:,} or earlier"))
    best, last = result["best_accuracy"], result["last_accuracy"]
    if pd.notna(best) and not last >= best - FALLEN:
        found.append(Finding("accuracy has fallen"))
    always, adapted = clipped_nearly_always(rates)
    if adapted and always > adapted / 2:
        found.append(Finding(nearly_always(rates)))
    return found


def nearly_always(rates: pd.DataFrame) -> str:
    """How many layers are clipped in nearly all steps, in words."""
    return f"{_of(*clipped_nearly_always(rates))} clipped in nearly all steps"


def clipped_nearly_always(rates: pd.DataFrame) -> tuple[int, int]:
    """How many layers are, of how many that could be."""
    adapted = rates[rates["adapted"] > 0]
    hits = adapted["upper_hits"] + adapted["lower_hits"]
    return int((hits >= NEARLY_ALL * adapted["adapted"]).sum()), len(adapted)


def _broken_for_a_while(first: int, steps: int) -> str:
    where = f"1 step, at step {first:,}" if steps == 1 else f"{steps:,} steps, first at step {first:,}"
    return f"loss was NaN or infinite in {where}"


def _of(some: int, every: int) -> str:
    if some == every:
        return f"all {every:,} layers" if every > 1 else "its only layer"
    return f"{some:,} of {every:,} layers"
