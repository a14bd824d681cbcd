"""How things are said: status, durations and names in plain words."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

Run = pd.Series | Mapping[str, Any]
"""A row of the view `runs`."""

ICONS = {
    "running": ":material/play_circle:",
    "finished": ":material/check_circle:",
    "stalled": ":material/hourglass_disabled:",
    "failed": ":material/error:",
    "interrupted": ":material/stop_circle:",
}
COLOURS = {"running": "green", "finished": "gray", "stalled": "orange", "failed": "red", "interrupted": "orange"}


def status_sentence(run: pd.Series, now: datetime | None = None) -> str:
    """How a run stands, in one sentence."""
    status = run["status"]
    now = now or datetime.now(UTC)
    if status == "running":
        return f"training, last word {duration(now - run['heartbeat'])} ago"
    if status == "stalled":
        if pd.isna(run["heartbeat"]):
            return "no word since it started; the run did not finish"
        return f"no word for {duration(now - run['heartbeat'])}; the run did not finish"
    if status == "failed":
        return f"failed at step {steps(run)}: {run['failure'] or 'no reason was noted'}"
    if status == "interrupted":
        return f"interrupted at step {steps(run)}"
    if status == "finished":
        return "finished"
    return "its run.json cannot be read"


def standing(run: pd.Series) -> str:
    """The sentence, but for a run that is training: for where the seconds do not tick."""
    return "training" if run["status"] == "running" else status_sentence(run)


def diverged(since: int) -> str:
    """That a run diverged."""
    return f"diverged at step {since:,}"


def steps(run: pd.Series) -> str:
    """The last step that a run took, recorded or not, with separators."""
    return f"{int(run['last_step']):,}" if pd.notna(run["last_step"]) else "0"


def duration(time: Any) -> str:
    """A span of time in the unit that one would say: under a second, 40 seconds, 4 minutes, 2.5 hours."""
    seconds = max(0.0, pd.Timedelta(time).total_seconds())
    if seconds < 1:
        return "under a second"
    if seconds < 90:
        return _many(round(seconds), "second")
    if seconds < 90 * 60:
        return _many(round(seconds / 60), "minute")
    if seconds < 36 * 3600:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 86400:.1f} days"


def time_taken(run: Run) -> pd.Timedelta | None:
    """From a run's start to its end, or to its last sign of life."""
    if pd.isna(run["started"]):
        return None
    end = run["finished"] if pd.notna(run["finished"]) else run["heartbeat"]
    if pd.isna(end):
        return None
    return pd.Timestamp(end) - pd.Timestamp(run["started"])


def config(run: Run) -> dict[str, Any]:
    """A run's config; empty if it has none."""
    if not isinstance(run["config"], str):
        return {}
    read = json.loads(run["config"])
    if not isinstance(read, dict):
        return {}
    match read.get("clip"):
        case [0, upper]:  # as one writes it where there is but an upper bound
            read["clip"] = upper
    return read


def bound(options: Mapping[str, Any]) -> str:
    """The clip bound of a config."""
    if "clip" not in options:
        return "bound not noted"
    return bound_text(options["clip"])


def bound_text(clip: Any) -> str:
    """A clip bound as a config has it: a number, two, or None."""
    if clip is None:
        return "no bound"
    if isinstance(clip, list | tuple) and len(clip) == 2:
        return f"bound {_number(clip[0])} to {_number(clip[1])}"
    return f"bound {_number(clip)}"


@dataclass(frozen=True)
class UnlikeBound:
    """A bound in the rows of a run that is no number, 'moving' or 'by layer'.

    of: what tells it from others that are said alike: those are not the same bound.
    """

    said: str
    of: str

    def __str__(self) -> str:
        return self.said


def percent(share: Any, digits: int = 1) -> str:
    """A share as a percentage, which is 0 % or 100 % of nothing and of all alone; a dash where there is none."""
    if pd.isna(share):
        return "—"
    said, least = f"{share:.{digits}%}", 10.0**-digits
    if share > 0 and said == f"{0:.{digits}%}":
        return f"<{least:.{digits}f}%"
    if share < 1 and said == f"{1:.{digits}%}":
        return f">{100 - least:.{digits}f}%"
    return said


def layer_steps(most_recorded: tuple[int, int, float] | None) -> str:
    """What a share of a run is a share of; most_recorded: which steps have how much of it, if that must be said."""
    if most_recorded is None:
        return "layer-steps"
    first, last, share = most_recorded
    return f"recorded layer-steps, {percent(share)} of which are of steps {first:,} to {last:,}"


def loss(value: Any) -> str:
    """A loss in as many digits as one compares, or NaN or Inf; a dash where there is none."""
    return f"{value:.4g}".replace("nan", "NaN").replace("inf", "Inf") if value is not None else "—"


def plain(name: str) -> str:
    """A name for Streamlit's Markdown, in which nothing of it is read as markup."""
    flat = re.sub(r"\s+", " ", name)
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", flat)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _many(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
