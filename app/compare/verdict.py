"""Which setting is ahead, by how much, and whether that says anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from app import words
from app.compare.measures import Measure
from app.compare.seeds import Setting, Spread, comparable

BOUND = ("clip", "optimizer", "seed", "name")
"""What may differ between runs that are compared by their bound; the optimizer is `lamb` without one."""


ONE_RUN = "n = 1: cannot tell"
WITHIN = "within the spread of the seeds"
NOT_THE_BOUND = "differ in"
UNEQUAL = "step "

LEVEL_STEPS = 0.95
"""Where a run did not finish, settings are held to have been trained equally long above this share of the steps."""

MOST_NAMED = 3
"""So many settings are named in a sentence; more are counted."""


@dataclass(frozen=True)
class Difference:
    """A setting against another: how far its mean is from that one's.

    caveat: why that says little; '' where it is more than the seeds of both are apart.
    """

    text: str
    caveat: str


def against(
    one: tuple[Setting, Spread],
    other: tuple[Setting, Spread],
    measure: Measure,
    configs: Mapping[str, Mapping[str, Any]],
    runs: pd.DataFrame,
) -> Difference:
    """Compare two settings of which each has a value.

    runs: rows of the view `runs`, by run.
    """
    (mine, ours), (theirs, its) = one, other
    apart = measure.apart(ours.mean, its.mean)
    if unequal := _trained_to_other_steps(mine, theirs, runs):
        return Difference(apart, unequal)
    mine_is, theirs_is = configs[mine.runs[0]], configs[theirs.runs[0]]
    if options := other_options(mine_is, theirs_is):
        named = ", ".join(options[:3]) + (f" and {len(options) - 3} more" if len(options) > 3 else "")
        same_bound = comparable(mine_is.get("clip")) == comparable(theirs_is.get("clip"))
        return Difference(apart, f"{NOT_THE_BOUND} {named}" if same_bound else f"also differ in {named}")
    if min(ours.n, its.n) == 1:
        return Difference(apart, ONE_RUN)
    if abs(ours.mean - its.mean) <= max(ours.std, its.std):
        return Difference(apart, WITHIN)
    return Difference(apart, "")


def sentence(
    first: tuple[Setting, Spread],
    difference: Difference | None,
    level: Sequence[Setting],
    what: str,
    measure: Measure,
) -> str:
    """Who is ahead, and whether that says anything.

    first: the best setting. difference: from the next best; None where there is none of the same data. level: all that
    are as good as the best. what: what is measured, as `test accuracy`.
    """
    setting, leads = first
    if difference is None:
        return f"**{words.plain(setting.short)}**: {measure.which} {what} is {measure.text(leads)}."
    if len(level) > 1:
        return f"{_names(level)} share the best {what}, {measure.text(leads)}."
    best = f"**{words.plain(setting.short)}** has the best {what}, {measure.text(leads)}"
    said = f"{best}: {difference.text} against the next best"
    caveats = {
        "": "that is more than the seeds of one setting are apart",
        ONE_RUN: "with one run of a setting that may be chance",
        WITHIN: "the seeds of one setting are as far apart",
    }
    if difference.caveat.startswith(UNEQUAL):
        return f"{said}; they were trained to other steps, {difference.caveat.removeprefix(UNEQUAL)}."
    if difference.caveat in caveats:
        return f"{said}; {caveats[difference.caveat]}."
    if difference.caveat.startswith(NOT_THE_BOUND):
        return f"{said}; their bound is the same, they {difference.caveat}."
    return f"{said}; they {difference.caveat}, so that it is not the bound alone."


def without_best(measured: Sequence[Spread], what: str) -> str:
    """That no setting is ahead: all that have a value diverged, or none has one that is finite."""
    if any(each.n for each in measured):
        return f"No run is ahead: all that have a {what} diverged."
    return f"None of these runs has a {what} that is finite."


def diverged(settings: Sequence[Setting]) -> str:
    """That settings of which a run diverged are not ranked, however good they were before."""
    if not settings:
        return ""
    return f" {_names(settings)} diverged, and {'is' if len(settings) == 1 else 'are'} not ranked."


def _names(settings: Sequence[Setting]) -> str:
    if len(settings) > MOST_NAMED:
        return f"{len(settings)} settings"
    *most, last = (f"**{words.plain(setting.short)}**" for setting in settings)
    return f"{', '.join(most)} and {last}" if most else last


def _trained_to_other_steps(mine: Setting, theirs: Setting, runs: pd.DataFrame) -> str:
    """That one of the settings is still training, or stopped early, at another step than the other; '' if it is not."""
    if (runs["status"].loc[[*mine.runs, *theirs.runs]] == "finished").all():
        return ""
    here, there = (int(runs["last_step"].loc[list(each.runs)].fillna(0).min()) for each in (mine, theirs))
    return "" if min(here, there) >= LEVEL_STEPS * max(here, there) else f"{UNEQUAL}{here:,} against {there:,}"


def other_options(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The options beside bound and seed that are not the same in two configs."""
    keys = dict.fromkeys([*one, *other])
    found = [key for key in keys if key not in BOUND and comparable(one.get(key)) != comparable(other.get(key))]
    optimizers = {str(config.get("optimizer", "lamb")).lower().replace("lambc", "lamb") for config in (one, other)}
    return (["optimizer"] if len(optimizers) > 1 else []) + found
