"""Accuracy, loss and clip hits of several runs over each other, and the mean of those that differ by the seed alone."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts.mean_band import mean_band
from app.charts.panels import Panel, lay_out
from app.charts.text import escape, shorten
from app.charts.theme import LIGHT, Line, Theme

HITS = "hit_rate"
PANELS = {
    "test/accuracy": "Test accuracy",
    "train/accuracy": "Train accuracy",
    "test/loss": "Test loss",
    "train/loss": "Train loss",
    HITS: "Clip hits",
}
"""The metrics that are drawn, and what each is called, in reading order, two a row."""

COLUMNS = {"step": "step", "epoch": "epoch", "time": "seconds"}
"""Along what curves are drawn, and the column of a curve that says it."""

Curves = dict[tuple[str, str], pd.DataFrame]
"""By run and metric: `COLUMNS` and value."""


@dataclass(frozen=True)
class Mean:
    """One metric of the runs of a setting (app.seeds.mean_curve)."""

    setting: str
    metric: str
    seeds: int
    rows: pd.DataFrame


def metric_curves(
    curves: Curves,
    *,
    means: tuple[Mean, ...] = (),
    faint: frozenset[str] = frozenset(),
    by: str = "step",
    lines: dict[str, Line],
    theme: Theme = LIGHT,
) -> go.Figure:
    """A panel for each metric that any run has: accuracy and loss, on the test set and in training, and clip hits.

    means: of settings, which are drawn as the runs are that `lines` has under their names.
    faint: runs whose curves stand behind those of their setting.
    by: what to draw along: 'step', 'epoch' or 'time'.
    """
    there = {metric for (_, metric), curve in curves.items() if len(curve)} | {mean.metric for mean in means}
    titles = {metric: title for metric, title in PANELS.items() if metric in there}
    names = [shorten(run, 44) for run in dict.fromkeys(run for run, _ in curves) if run not in faint]
    names += [_label(mean) for mean in {mean.setting: mean for mean in means}.values()]
    figure = go.Figure(layout={"template": theme.template, "hovermode": "x unified"})
    scale, axis = _unit(curves, means, by)
    places = lay_out(figure, list(titles.values()), columns=2, row=244, axis=axis, entries=names)
    panels = dict(zip(titles, places, strict=True))
    for metric, panel in panels.items():
        values = [curve["value"] for (_, name), curve in curves.items() if name == metric and len(curve)]
        values += [mean.rows["mean"] for mean in means if mean.metric == metric]
        _set_value_axis(figure, panel, metric, positive=not any((each <= 0).any() for each in values))
    named: set[str] = set()
    for (run, metric), curve in curves.items():
        if len(curve):
            drawn = curve.assign(x=curve[COLUMNS[by]] * scale)
            trace = _curve(run, metric, drawn, lines[run], theme, faint=run in faint)
            _add(figure, trace, panels[metric], run, named)
    for mean in means:
        for trace in _mean(mean, scale, lines[mean.setting], theme):
            _add(figure, trace, panels[mean.metric], f"mean {mean.setting}", named)
    return figure


def _add(figure: go.Figure, trace: go.Scatter, panel: Panel, group: str, named: set[str]) -> None:
    """Put a trace into its panel; the first of its group that the legend may have is what the legend has."""
    in_legend = trace.showlegend is not False and group not in named
    if in_legend:
        named.add(group)
    figure.add_trace(trace.update(xaxis=panel.x, yaxis=panel.y, legendgroup=group, showlegend=in_legend))


def _set_value_axis(figure: go.Figure, panel: Panel, metric: str, *, positive: bool) -> None:
    share = not metric.endswith("loss")
    figure.layout[f"yaxis{panel.number}"].update(
        type="log" if positive and not share else "linear",
        tickformat=".3~p" if share else "~g",
        rangemode="tozero" if metric == HITS else "normal",
        nticks=6,
    )


def _unit(curves: Curves, means: tuple[Mean, ...], by: str) -> tuple[float, str]:
    """By what to multiply the places, and what to call the axis then."""
    if by != "time":
        return 1, by
    ends = [curve["seconds"].max() for curve in curves.values() if len(curve)]
    longest = np.nanmax([0.0, *ends, *(mean.rows["x"].max() for mean in means)])
    if longest < 180:
        return 1, "seconds of training"
    if longest < 3 * 3600:
        return 1 / 60, "minutes of training"
    return 1 / 3600, "hours of training"


def _curve(run: str, metric: str, curve: pd.DataFrame, line: Line, theme: Theme, *, faint: bool) -> go.Scatter:
    dense = len(curve) > 60
    return go.Scatter(
        x=curve["x"],
        y=curve["value"],
        name=escape(shorten(run, 44)),
        mode="lines" if len(curve) > 1 else "markers",
        line={"color": line.colour(theme), "dash": line.dash, "width": 1 if faint else 1.2 if dense else 2},
        opacity=0.25 if faint else 0.8 if dense and metric != HITS else 1,
        showlegend=False if faint else None,
        hoverinfo="skip" if faint else None,
        hovertemplate=None if faint else "%{y:.4~g}" if metric.endswith("loss") else "%{y:.2%}",
    )


def _mean(mean: Mean, scale: float, line: Line, theme: Theme) -> list[go.Scatter]:
    return mean_band(
        mean.rows.assign(x=mean.rows["x"] * scale),
        name=_label(mean),
        seeds=mean.seeds,
        line=line,
        theme=theme,
        number=loss_text if mean.metric.endswith("loss") else share_text,
    )


def share_text(share: float) -> str:
    """A share as a percentage."""
    return f"{share:.2%}"


def loss_text(loss: float) -> str:
    """A loss in as many digits as one compares."""
    return f"{loss:.4g}"


def _label(mean: Mean) -> str:
    return f"{shorten(mean.setting, 40)}, mean of {mean.seeds}"
