"""The list of runs: a row a run with what its config says, how it stands and what came of it; searched and filtered."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd

from app import words
from app.charts.sparkline import sparkline
from app.results import thinned

FACETS = ("status", "data", "model", "optimizer", "bound", "batch")
"""Columns that are filtered by their values."""

MOST_VALUES = 60
"""A column of more values than this is searched, not filtered."""

STATUS = {
    "running": "▶ live",
    "finished": "✓ finished",
    "stalled": "◌ stalled",
    "failed": "✕ failed",
    "interrupted": "■ interrupted",
}
UNREADABLE = "✕ unreadable"
DIVERGED = "✕ diverged"
"""Whether it has finished or not: what came after is of no use."""


def listed(runs: pd.DataFrame, results: pd.DataFrame, *, line: str, filled: str) -> pd.DataFrame:
    """A row a run, in the order of `runs`, as precise as one compares; `said` holds all that a search looks at.

    line, filled: the colours of the small curves of accuracies and of hits.
    """
    rows = pd.DataFrame([_row(run) for run in runs.to_dict("records")])
    came = results.set_index("run").reindex(runs["run"]).reset_index(drop=True)
    return rows.assign(
        status=rows["status"].mask(came["diverged"].astype(bool), DIVERGED),
        note=_notes(rows, came),
        batch=pd.to_numeric(rows["batch"], errors="coerce"),
        accuracies=came["accuracies"].map(thinned).map(partial(sparkline, colour=line, scale=(0, 1))),
        best=_share(came["best_accuracy"]),
        last=_share(came["last_accuracy"]),
        loss=came["last_loss"].astype(float),
        hit_rates=came["hit_rates"].map(thinned).map(partial(sparkline, colour=filled, scale=(0, 1))),
        hits=_share(came["hit_rate"]),
    )


def _share(values: pd.Series) -> pd.Series:
    """As precise as one compares, and where this would say 0 % or 100 % of what is neither, as a table can say it."""
    exact = values.astype(float)
    said = exact.round(3)
    untrue = said.isin([0, 1]) & (said != exact) & exact.between(0, 1)
    return said.mask(untrue, exact.round(4).clip(0.0001, 0.9999))


def _notes(rows: pd.DataFrame, came: pd.DataFrame) -> pd.Series:
    since = came["broken_since"].map(lambda step: f" since step {int(step):,}" if pd.notna(step) else "")
    diverged = "NaN or infinite" + since + ("; " + rows["status"].str.split(" ", n=1).str[1])
    notes = rows["note"].mask(came["diverged"].astype(bool) & rows["note"].isna(), diverged)
    return notes.mask(came["damaged"].astype(bool), "a file is damaged: lambc check names it")


def _row(run: dict[Any, Any]) -> dict[str, object]:
    options = words.config(run)
    return {
        "run": run["run"],
        "status": STATUS.get(run["status"], UNREADABLE),
        "bound": words.bound(options).removeprefix("bound "),
        "batch": str(options.get("batch_size")),
        **{option: _text(options.get(option)) for option in ("optimizer", "model", "data")},
        "steps": run["last_step"],
        "duration": _seconds(words.time_taken(run)),
        "started": run["started"],
        "note": _note(run),
        "said": " ".join([run["run"], *(f"{key}={value}" for key, value in options.items())]).lower(),
    }


def _seconds(time: pd.Timedelta | None) -> pd.Timedelta | None:
    return None if time is None else time.round("s")


def _text(option: object) -> str | None:
    """A config holds whatever its user put there; a column holds one kind."""
    return None if option is None else str(option)


def _note(run: dict[Any, Any]) -> str | None:
    if run["status"] == "failed":
        return run["failure"] or "no reason was noted"
    if run["status"] == "stalled":
        return f"no word since {run['heartbeat']:%Y-%m-%d %H:%M} UTC" if pd.notna(run["heartbeat"]) else "no word yet"
    return None if run["status"] in STATUS else "its run.json cannot be read"


def values(rows: pd.DataFrame) -> list[str]:
    """All that one can filter by, as `column: value`; a column whose value is the same in all rows is left out."""
    found = []
    for column in FACETS:
        distinct = sorted(rows[column].dropna().unique())
        if 1 < len(distinct) <= MOST_VALUES:
            found += [_value(column, each) for each in distinct]
    return found


def found(rows: pd.DataFrame, words_sought: str, wanted: Sequence[str]) -> pd.DataFrame:
    """The rows that say all of the words, and have, of each column that `wanted` names, one of its values there."""
    kept = pd.Series(True, index=rows.index)
    for word in words_sought.lower().split():
        kept &= rows["said"].str.contains(word, regex=False)
    for column in FACETS:
        if any(each.startswith(f"{column}: ") for each in wanted):
            kept &= rows[column].map(lambda value, column=column: _value(column, value)).isin(wanted)
    return rows[kept]


def _value(column: str, value: object) -> str:
    return f"{column}: {value:.15g}" if column == "batch" else f"{column}: {value}"
