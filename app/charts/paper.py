"""Accuracy by epoch as the paper draws it: a panel a batch size, a line a bound (Figures 1 to 3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from app.charts.mean_band import mean_band
from app.charts.metrics import share_text
from app.charts.panels import lay_out
from app.charts.theme import LIGHT, Line, Theme

UNBOUNDED = 6
"""The grey of the hues is for what is not clipped."""


@dataclass(frozen=True)
class Curve:
    """Accuracy of the seeds of one bound and batch size (app.compare.seeds.mean_curve by epoch)."""

    batch_size: int
    bound: str
    training: bool
    seeds: int
    rows: pd.DataFrame


def accuracy_by_epoch(
    curves: Sequence[Curve],
    *,
    bounds: Sequence[str],
    unbounded: str,
    hues: Mapping[str, int] | None = None,
    theme: Theme = LIGHT,
) -> go.Figure:
    """One panel for each batch size; on the test set solid, in training dashed.

    bounds: all that there are, in the order of the legend; each keeps its hue. unbounded: the one that is none.
    hues: of each bound, where its runs are drawn elsewhere too.
    """
    sizes = sorted({curve.batch_size for curve in curves})
    places = [bound for bound in bounds if bound != unbounded]
    hues = hues or {bound: place % UNBOUNDED for place, bound in enumerate(places)} | {unbounded: UNBOUNDED}
    figure = go.Figure(layout={"template": theme.template, "hovermode": "x unified", "meta": {"of": "batch_size"}})
    names = list(dict.fromkeys(_name(curve) for curve in curves))
    titles = [f"Batch size {size:,}" for size in sizes]
    laid = lay_out(figure, titles, columns=3, row=300, axis="epoch", entries=names)
    panels = dict(zip(sizes, laid, strict=True))
    figure.update_yaxes(tickformat=".3~p", nticks=7)
    for panel in laid[1:]:
        figure.layout[f"yaxis{panel.number}"].matches = "y"  # one scale, so that panels can be compared
    named: set[str] = set()
    for curve in sorted(curves, key=lambda curve: (curve.training, list(bounds).index(curve.bound))):
        panel, name = panels[curve.batch_size], _name(curve)
        line = Line(hues[curve.bound], "dash" if curve.training else "solid")
        traces = mean_band(curve.rows, name=name, seeds=curve.seeds, line=line, theme=theme, number=share_text)
        for trace in traces:
            trace.meta = {"of": curve.batch_size}
            in_legend = name not in named and trace.showlegend is not False
            named |= {name} if in_legend else set()
            figure.add_trace(trace.update(xaxis=panel.x, yaxis=panel.y, legendgroup=name, showlegend=in_legend))
    return figure


def _name(curve: Curve) -> str:
    return f"{curve.bound}, in training" if curve.training else curve.bound
