"""What came of each run: accuracies, loss, hit rates; asked of the store for those runs alone that have changed."""

import threading
from collections.abc import Callable
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from app.charts.metric import HIGHEST_SHARE
from collector.log import rollups

Ask = Callable[..., pd.DataFrame]

CELLS = 30
"""Points of a small curve: a table's cell has no room for more."""

FINEST = 2**rollups.FINEST
"""Steps of the finest cells that a rollup has: finer ones are read from rows."""

SHORT = 512
"""Steps up to which a run has too few of these cells for a curve."""

FINE = 100
"""So many short runs, the newest, have their curves from rows; those of thousands would take seconds."""


class Results:
    """A row a run, for all sessions; it is asked again with every version of the log."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known = pd.DataFrame({"run": [], "version": []}).set_index("run")

    def of(self, runs: pd.DataFrame, ask: Ask) -> pd.DataFrame:
        """The columns of `run_results` and `hit_rate_curves`, in the order of `runs`.

        damaged: whether a file of the run could not be read, which takes no other run with it. diverged: whether a norm
        was ever NaN or infinite, or the last training loss is.

        ask: gives the rows of a statement with its parameters.
        """
        with self._lock:
            before = self._known["version"].reindex(runs["run"]).to_numpy()
            changed = runs[runs["version"].to_numpy() != before]
            if len(changed) or len(self._known) != len(runs):
                kept = self._known.drop(index=changed["run"], errors="ignore")
                news = [_asked(changed, len(changed) == len(runs), widths(runs), ask)] if len(changed) else []
                self._known = pd.concat([*([kept] if len(kept) else []), *news]).reindex(runs["run"])
            return self._known.drop(columns="version").reset_index()


def _asked(changed: pd.DataFrame, everything: bool, width: pd.Series, ask: Ask) -> pd.DataFrame:
    damaged: set[str] = set()
    results = _as_shares(_readable(ask, "FROM log.results($runs)", list(changed["run"]), damaged, everything))
    curves = []
    for each, group in changed["run"].groupby(width):
        most = everything and len(group) > len(changed) / 2
        found = _readable(
            ask, "FROM hit_rate_curves($runs, $width)", list(group), damaged, everything=most, width=int(each)
        )
        curves.append(found[found["run"].isin(group)])
    rows = changed.set_index("run")[["version"]].join(results.set_index("run"))
    rows = rows.join(pd.concat(curves).set_index("run")).assign(damaged=rows.index.isin(damaged))
    broken = rows["broken_since"].notna() & ~np.isfinite(rows["last_train_loss"].astype(float))
    return rows.assign(diverged=broken | (rows["not_finite"].fillna(0) > 0))


def _as_shares(results: pd.DataFrame) -> pd.DataFrame:
    """Accuracies between 0 and 1: where one is above, the run logged percentages, and `in_percent` is true."""
    results = results.assign(in_percent=results["best_accuracy"].gt(HIGHEST_SHARE))
    for best, others in (
        ("best_test_accuracy", ("last_test_accuracy", "test_accuracies")),
        ("best_accuracy", ("last_accuracy", "accuracies")),
    ):
        unit = results[best].gt(HIGHEST_SHARE).map({True: 100.0, False: 1.0})
        for column in (best, *others):
            # An array of one run's accuracies, or None, is divided as it stands.
            divided = [value if value is None else value / by for value, by in zip(results[column], unit, strict=True)]
            results = results.assign(**{column: pd.Series(divided, index=results.index, dtype=results[column].dtype)})
    return results


def _readable(
    ask: Ask, statement: str, runs: list[str], damaged: set[str], everything: bool = False, **parameters: Any
) -> pd.DataFrame:
    """The rows of the runs, but for those with a damaged file, which are found by halving and noted in `damaged`.

    everything: whether all runs of the log may be read: of thousands it costs less than to look up the files of each.
    """
    try:
        return ask(statement, runs=None if everything else runs, **parameters)
    except duckdb.Error:
        if len(runs) == 1:
            damaged.add(runs[0])
            return ask(statement, runs=[], **parameters)
    half = len(runs) // 2
    return pd.concat([_readable(ask, statement, part, damaged, **parameters) for part in (runs[:half], runs[half:])])


def widths(runs: pd.DataFrame) -> pd.Series:
    """For each run how many steps a cell of its small curve takes in."""
    steps = runs["steps"].fillna(0).astype(int)
    width = steps.map({each: _cell_width(each) for each in steps.unique()})
    short = runs.index[steps <= SHORT][-FINE:]
    return width.where(width.index.isin(short), width.clip(lower=FINEST))


def _cell_width(steps: int) -> int:
    """As collector/sql/cell_width.sql says, for all of a run."""
    width = 1
    while steps // width + 1 > CELLS:
        width *= 2
    return width


def thinned(values: object) -> list[float]:
    """At most so many values of a curve, the last among them; NaN where there is none."""
    if values is None or isinstance(values, float):
        return []
    every = max(1, -(-len(values) // CELLS))  # type: ignore[arg-type]
    kept = values[::-1][::every][::-1]  # type: ignore[index]
    return [float("nan") if value is None else float(value) for value in kept]
