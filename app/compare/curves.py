"""The curves that are compared: of single runs, and means over the seeds of a setting."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from app import queries
from app.charts.metric import Metric, as_shares, in_order
from app.charts.metrics import HITS, Curves, Mean
from app.compare import epochs, seeds
from app.compare.seeds import Setting
from app.queries import RunState

MOST_POINTS = 150_000
"""Of single runs; the means have as many."""

MOST_DRAWN = 12
"""Metrics that are drawn where nobody has chosen any: six rows of panels."""


def logged(states: Iterable[RunState]) -> list[Metric]:
    """What any of the runs logged. Steps of a name are its own where they are in any of them."""
    found: dict[str, Metric] = {}
    for state in states:
        for name, metric in queries.metrics(state).items():
            found[name] = metric if metric.own_steps else found.get(name, metric)
    return in_order(found.values())


def of_runs(states: dict[str, RunState], metrics: Sequence[Metric], *, by: str) -> Curves:
    """Each run's metrics and its clip hits."""
    columns = _columns(len(states), len(metrics))
    without = epochs.without(queries.results(), states) if by == "epoch" else []
    curves: Curves = {}
    for run, state in states.items():
        there = {} if run in without else queries.metrics(state)
        logged = {
            metric: as_shares(
                metric,
                queries.metric_epochs(state, metric.name).dropna(subset="epoch")
                if by == "epoch"
                else queries.metric_curve(state, metric.name, columns),
            )
            for metric in metrics
            if metric.name in there
        }
        curves |= {(run, metric): curve for metric, curve in logged.items()}
        curves[run, HITS] = _hits(state, state.steps, logged, by).assign(step=lambda hits: hits["middle"])
    return curves


def of_settings(
    groups: Sequence[Setting], states: dict[str, RunState], metrics: Sequence[Metric], *, by: str
) -> tuple[Mean, ...]:
    """The mean of each setting's runs."""
    without = epochs.without(queries.results(), states) if by == "epoch" else []
    found = []
    for setting in groups:
        of_seeds = [states[run] for run in setting.runs if run not in without]
        if not of_seeds:
            continue
        last = max(state.steps for state in of_seeds)
        widest = max(queries.stride(state, 1, last) for state in of_seeds)
        columns = _columns(len(groups), len(metrics))
        logged = {metric: _of_seeds(of_seeds, metric, columns, by) for metric in metrics}
        hits = [
            _hits(state, last, {metric: curves[place] for metric, curves in logged.items()}, by, widest)
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


def _of_seeds(of_seeds: Sequence[RunState], metric: Metric, columns: int, by: str) -> list[pd.DataFrame]:
    """A metric of each seed; by step in cells that all of them share."""
    if by == "epoch":
        return [
            as_shares(metric, queries.metric_epochs(state, metric.name).dropna(subset="epoch")) for state in of_seeds
        ]
    last = max(queries.last_step_of(state, metric.name) for state in of_seeds)
    return [as_shares(metric, queries.metric_cells(state, metric.name, last, columns)) for state in of_seeds]


def _columns(curves: int, panels: int) -> int:
    """Parts of a curve, each of which keeps four points, in each panel."""
    return max(8, min(queries.POINTS, MOST_POINTS // (4 * (panels + 1) * max(1, curves))))


def _hits(
    state: RunState, last: int, logged: dict[Metric, pd.DataFrame], by: str, least_width: int = 1
) -> pd.DataFrame:
    """The share of clipped ratios in cells of steps; epoch and time come from what was logged at these steps."""
    cells = queries.hit_rates_over_time(state, last, least_width)
    middle = np.minimum(cells["step"] + (cells["width"] - 1) / 2, cells["last_step"])
    curve = cells[["step"]].assign(middle=middle, value=cells["upper_rate"] + cells["lower_rate"])
    if by == "step":
        return curve
    # What reaches furthest: another metric may have more values, and have ended before.
    known = [rows for metric, rows in logged.items() if len(rows) and not metric.own_steps]
    longest = max(known, key=lambda rows: (rows["step"].max(), len(rows)), default=None)
    if longest is None:
        return curve.assign(epoch=np.nan, seconds=np.nan).head(0)
    if by == "epoch":
        ends = [0, *longest["step"]]
        return curve.assign(epoch=np.interp(middle, ends, [longest["epoch"].iloc[0] - 1, *longest["epoch"]]))
    steps = longest["middle"] if "middle" in longest else longest["step"]
    seconds = np.interp(middle, [0, *steps], [0.0, *longest["seconds"]], right=np.nan)
    return curve.assign(seconds=seconds).dropna(subset="seconds")
