"""Metrics and clip hits of several runs over each other, and the mean of those that differ by the seed alone."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts.mean_band import mean_band
from app.charts.metric import Metric, in_order, is_share
from app.charts.metric import axis as axis_of
from app.charts.panels import Panel, lay_out
from app.charts.run_names import told_apart
from app.charts.text import escape
from app.charts.theme import LIGHT, Line, Theme

HITS = Metric("\0clip hits", quantity="clip hits", scale="share")
"""Drawn as metrics are; no user's metric has its name."""

COLUMNS = {"step": "step", "epoch": "epoch", "time": "seconds"}
"""Along what curves are drawn, and the column of a curve that says it."""

OWN_AXIS = "step, as it was logged"
"""Along a metric that counts something else than the optimizer's steps."""

FEW_EPOCHS = 8
"""So few have a tick each: else there would be ticks between them."""

Curves = dict[tuple[str, Metric], pd.DataFrame]
"""By run and metric: `COLUMNS` and value."""


@dataclass(frozen=True)
class Mean:
    """One metric of the runs of a setting (app.compare.seeds.mean_curve)."""

    setting: str
    metric: Metric
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
    """A panel for each metric that any run has: accuracy, loss and clip hits first, then the others by their prefix.

    means: of settings, which are drawn as the runs are that `lines` has under their names.
    faint: runs whose curves stand behind those of their setting.
    by: what to draw along: 'step', 'epoch' or 'time'.
    """
    there = [metric for (_, metric), curve in curves.items() if len(curve)] + [mean.metric for mean in means]
    first, others = _ordered(list(dict.fromkeys(there)))
    metrics = [*first, *others]
    alone = dict.fromkeys(run for run, _ in curves if run not in faint)
    short = told_apart([*alone, *(mean.setting for mean in means)], 42)
    settings = {mean.setting: f"{short[mean.setting]}, mean of {mean.seeds}" for mean in means}
    scale, axis = _unit(curves, means, by)
    meta = {"of": "metric", "along": axis}
    figure = go.Figure(layout={"template": theme.template, "hovermode": "x unified", "meta": meta})
    places = lay_out(
        figure,
        ["Clip hits" if metric == HITS else metric.title for metric in metrics],
        columns=2,
        row=244,
        axis=axis,
        entries=[*(short[run] for run in alone), *settings.values()],
        headings=_headings(first, others),
        own={place: OWN_AXIS for place, metric in enumerate(metrics) if metric.own_steps and by == "step"},
    )
    panels = dict(zip(metrics, places, strict=True))
    if by == "epoch" and _last(curves, means) <= FEW_EPOCHS:
        figure.update_xaxes(dtick=1)
    shares: set[Metric] = set()
    for metric, panel in panels.items():
        values = [curve["value"] for (_, each), curve in curves.items() if each == metric and len(curve)]
        values += [mean.rows["mean"] for mean in means if mean.metric == metric]
        shares |= {metric} if is_share(metric, values) else set()
        figure.layout[f"yaxis{panel.number}"].update(
            rangemode="tozero" if metric == HITS else "normal", nticks=6, **axis_of(metric, values)
        )
    named: set[str] = set()
    for (run, metric), curve in curves.items():
        if len(curve):
            drawn = curve.assign(x=curve[COLUMNS[by]] * scale)
            name = short.get(run, run)
            trace = _curve(name, metric, drawn, lines[run], theme, faint=run in faint, share=metric in shares)
            _add(figure, trace, metric, panels[metric], run, named)
    for mean in means:
        name = settings[mean.setting]
        for trace in _mean(name, mean, scale, lines[mean.setting], theme, share=mean.metric in shares):
            _add(figure, trace, mean.metric, panels[mean.metric], f"mean {mean.setting}", named)
    return figure


def _last(curves: Curves, means: tuple[Mean, ...]) -> float:
    """The last epoch."""
    ends = [curve["epoch"].max() for curve in curves.values() if len(curve)]
    return float(np.nanmax([0.0, *ends, *(mean.rows["x"].max() for mean in means)]))


def _add(figure: go.Figure, trace: go.Scatter, metric: Metric, panel: Panel, group: str, named: set[str]) -> None:
    """Put a trace into its panel; the first of its group that the legend may have is what the legend has."""
    in_legend = trace.showlegend is not False and group not in named
    if in_legend:
        named.add(group)
    meta = {"of": escape(metric.quantity if metric == HITS else metric.name)}
    figure.add_trace(trace.update(xaxis=panel.x, yaxis=panel.y, legendgroup=group, showlegend=in_legend, meta=meta))


def _ordered(metrics: list[Metric]) -> tuple[list[Metric], list[Metric]]:
    """What everybody looks at, clip hits last; and the others, those of a prefix together."""
    named = in_order(metric for metric in metrics if metric != HITS)
    known = [metric for metric in named if metric.known]
    others = [metric for metric in named if not metric.known]
    prefixes = list(dict.fromkeys(metric.prefix for metric in others))
    return known + [HITS] * (HITS in metrics), sorted(others, key=lambda metric: prefixes.index(metric.prefix))


def _headings(first: list[Metric], others: list[Metric]) -> dict[int, str]:
    """By place: what the metrics of a prefix, or of none, have above them; nothing where all are of one."""
    prefixes = [metric.prefix for metric in others]
    if not first and len(set(prefixes)) < 2:
        return {}
    return {len(first) + prefixes.index(prefix): prefix or "Other metrics" for prefix in prefixes}


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


def _curve(
    name: str, metric: Metric, curve: pd.DataFrame, line: Line, theme: Theme, *, faint: bool, share: bool
) -> go.Scatter:
    dense = len(curve) > 60
    return go.Scatter(
        x=curve["x"],
        y=curve["value"],
        name=escape(name),
        mode="lines" if len(curve) > 1 else "markers",
        line={"color": line.colour(theme), "dash": line.dash, "width": 1 if faint else 1.2 if dense else 2},
        opacity=0.25 if faint else 0.8 if dense and metric != HITS else 1,
        showlegend=False if faint else None,
        hoverinfo="skip" if faint else None,
        hovertemplate=None if faint else "%{y:.2%}" if share else "%{y:.4~g}",
    )


def _mean(name: str, mean: Mean, scale: float, line: Line, theme: Theme, *, share: bool) -> list[go.Scatter]:
    return mean_band(
        mean.rows.assign(x=mean.rows["x"] * scale),
        name=name,
        seeds=mean.seeds,
        line=line,
        theme=theme,
        number=share_text if share else number_text,
    )


def share_text(share: float) -> str:
    """A share as a percentage."""
    return f"{share:.2%}"


def number_text(number: float) -> str:
    """A number in as many digits as one compares."""
    return f"{number:.4g}"
