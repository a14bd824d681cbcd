"""The curves that are compared: of single runs, and means over the seeds of a setting."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from app import queries, seeds
from app.charts.metrics import HITS, PANELS, Curves, Mean
from app.queries import RunState
from app.seeds import Setting

MOST_POINTS = 150_000
"""Of single runs; the means have as many."""

LOGGED = tuple(metric for metric in PANELS if metric != HITS)


def of_runs(states: dict[str, RunState], *, by: str) -> Curves:
    """Each run's metrics and its clip hits."""
    columns = _columns(len(states))
    curves: Curves = {}
    for run, state in states.items():
        logged = {
            metric: queries.metric_epochs(state, metric)
            if by == "epoch"
            else queries.metric_curve(state, metric, columns)
            for metric in LOGGED
        }
        curves |= {(run, metric): curve for metric, curve in logged.items()}
        curves[run, HITS] = _hits(state, state.steps, logged, by).assign(step=lambda hits: hits["middle"])
    return curves


def of_settings(groups: Sequence[Setting], states: dict[str, RunState], *, by: str) -> tuple[Mean, ...]:
    """The mean of each setting's runs."""
    found = []
    for setting in groups:
        of_seeds = [states[run] for run in setting.runs]
        last = max(state.steps for state in of_seeds)
        logged = {
            metric: [
                queries.metric_epochs(state, metric)
                if by == "epoch"
                else queries.metric_cells(state, metric, last, _columns(len(groups)))
                for state in of_seeds
            ]
            for metric in LOGGED
        }
        hits = [
            _hits(state, last, {metric: curves[place] for metric, curves in logged.items()}, by)
            for place, state in enumerate(of_seeds)
        ]
        # An epoch is the same in every seed, and so is a cell of hits; a moment is in none.
        rows = {metric: seeds.mean_curve(curves, by=by) for metric, curves in logged.items()}
        rows[HITS] = seeds.mean_curve(
            [curve.assign(middle=curve["epoch"]) if by == "epoch" else curve for curve in hits],
            by="time" if by == "time" else "step",
        )
        found += [Mean(setting.name, metric, len(of_seeds), mean) for metric, mean in rows.items() if len(mean)]
    return tuple(found)


def _columns(curves: int) -> int:
    """Parts of a curve, each of which keeps four points, in each panel."""
    return max(8, min(queries.POINTS, MOST_POINTS // (4 * len(PANELS) * max(1, curves))))


def _hits(state: RunState, last: int, logged: dict[str, pd.DataFrame], by: str) -> pd.DataFrame:
    """The share of clipped ratios in cells of steps; epoch and time come from what was logged at these steps."""
    cells = queries.hit_rates_over_time(state, last)
    middle = np.minimum(cells["step"] + (cells["width"] - 1) / 2, state.steps)
    curve = cells[["step"]].assign(middle=middle, value=cells["upper_rate"] + cells["lower_rate"])
    if by == "step":
        return curve
    # What reaches furthest: another metric may have more values, and have ended before.
    longest = max(logged.values(), key=lambda rows: (rows["step"].max(), len(rows)) if len(rows) else (0, 0))
    if longest.empty:
        return curve.assign(epoch=np.nan, seconds=np.nan).head(0)
    if by == "epoch":
        ends = [0, *longest["step"]]
        return curve.assign(epoch=np.interp(middle, ends, [longest["epoch"].iloc[0] - 1, *longest["epoch"]]))
    steps = longest["middle"] if "middle" in longest else longest["step"]
    seconds = np.interp(middle, [0, *steps], [0.0, *longest["seconds"]], right=np.nan)
    return curve.assign(seconds=seconds).dropna(subset="seconds")
