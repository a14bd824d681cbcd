"""Accuracy and loss of several runs over each other."""

import pandas as pd
import plotly.graph_objects as go

from app.charts.text import escape, shorten
from app.charts.theme import LIGHT, Line, Theme

PANELS = (
    ("test/accuracy", "Test accuracy"),
    ("train/accuracy", "Train accuracy"),
    ("test/loss", "Test loss"),
    ("train/loss", "Train loss"),
)
"""The metrics that are drawn, in reading order, two a row."""


def metric_curves(
    curves: dict[tuple[str, str], pd.DataFrame], *, by: str = "step", lines: dict[str, Line], theme: Theme = LIGHT
) -> go.Figure:
    """Two by two panels: accuracy and loss, on the test set and in training.

    curves: by run and metric: step or epoch, and value.
    by: the column to draw along, 'step' or 'epoch'.
    """
    figure = go.Figure(layout={"template": theme.template, "height": 640})
    named: set[str] = set()
    for place, (metric, title) in enumerate(PANELS):
        number = "" if place == 0 else str(place + 1)
        left, top = (place % 2) * 0.53, 1 - (place // 2) * 0.56
        accuracy = metric.endswith("accuracy")
        figure.update_layout(
            {
                f"xaxis{number}": {
                    "domain": [left, left + 0.47],
                    "anchor": f"y{number}",
                    "matches": "x" if place else None,
                    "title": by if place >= 2 else None,
                    "showgrid": False,
                },
                f"yaxis{number}": {
                    "domain": [max(0.0, top - 0.44), top],
                    "anchor": f"x{number}",
                    "type": "linear" if accuracy else "log",
                    "tickformat": ".0%" if accuracy else "~g",
                    "nticks": 6,
                },
            }
        )
        figure.add_annotation(
            text=f"<b>{title}</b>",
            x=left,
            xref="paper",
            xanchor="left",
            y=top,
            yref="paper",
            yanchor="bottom",
            showarrow=False,
            font={"size": 13},
        )
        for (run, name), curve in curves.items():
            if name == metric and len(curve):
                figure.add_trace(_curve(run, metric, curve, by, number, lines[run], theme, run not in named))
                named.add(run)
    figure.update_layout(
        hovermode="x unified",
        margin={"l": 56, "r": 16, "t": 62, "b": 44},
        showlegend=True,
        legend={"orientation": "h", "y": 1.07, "yanchor": "bottom", "x": 0, "font": {"size": 12}},
    )
    return figure


def _curve(
    run: str, metric: str, curve: pd.DataFrame, by: str, number: str, line: Line, theme: Theme, in_legend: bool
) -> go.Scatter:
    every_step = metric.startswith("train/") and by == "step"
    return go.Scatter(
        x=curve[by],
        y=curve["value"],
        xaxis=f"x{number}",
        yaxis=f"y{number}",
        name=escape(shorten(run, 44)),
        legendgroup=run,
        showlegend=in_legend,
        mode="lines" if len(curve) > 1 else "markers",
        line={"color": line.colour(theme), "dash": line.dash, "width": 1.2 if every_step else 2},
        opacity=0.8 if every_step else 1,
        hovertemplate="%{y:.2%}" if metric.endswith("accuracy") else "%{y:.4~g}",
    )
