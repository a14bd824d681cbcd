"""How often layers are clipped: by layer, and over time; upper and lower bound apart."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from app.charts.cells import layer_axis
from app.charts.run_names import told_apart
from app.charts.text import escape, label_margin
from app.charts.theme import LIGHT, Line, Theme

MOST_PANELS = 8
"""More beside each other are too narrow to be read."""


def hit_rates_by_layer(
    rates: dict[str, pd.DataFrame], *, layers: Sequence[str], lines: dict[str, Line], theme: Theme = LIGHT
) -> go.Figure:
    """A panel a run, a row a layer: how often the upper bound cut it, to the right, and the lower one, to the left.

    rates: by run, at most `MOST_PANELS`: layer, upper_rate, lower_rate, upper_hits, lower_hits, first_hit.
    layers: all rows from top to bottom, the same in every panel.
    """
    height = min(max(18 * len(layers), 220), 820)
    figure = go.Figure(layout={"template": theme.template, "height": height + 78, "meta": {"of": "run"}})
    lowest = max((frame["lower_rate"].max() for frame in rates.values() if len(frame)), default=0)
    left = -1.0 if pd.notna(lowest) and lowest > 0 else 0.0
    gap = 0.05 if len(rates) < 6 else 0.01
    share = (1 + gap) / max(1, len(rates))
    short = told_apart(rates, max(14, 84 // max(1, len(rates))))
    for place, (run, frame) in enumerate(rates.items()):
        axis = "" if place == 0 else str(place + 1)
        start = place * share
        figure.update_layout(
            {
                f"xaxis{axis}": {
                    "domain": [start, min(1.0, start + share - gap)],
                    "range": [left * 1.02, 1.02],
                    "tickvals": [-1, -0.5, 0, 0.5, 1] if left else [0, 0.5, 1],
                    "ticktext": ["100 %", "50 %", "0", "50 %", "100 %"] if left else ["0", "50 %", "100 %"],
                    "fixedrange": True,
                }
            }
        )
        for column, sign, name, colour in (
            ("upper_rate", 1, "upper bound", theme.upper),
            ("lower_rate", -1, "lower bound", theme.lower),
        ):
            if sign == 1 or left:
                meta = {"of": escape(run), "columns": ["hit_rate"]}
                figure.add_trace(_bars(frame, column, sign, name, colour, f"x{axis}").update(meta=meta))
        if not (frame["upper_hits"] + frame["lower_hits"]).any():
            figure.add_annotation(
                text="never clipped",
                x=left / 2 + 0.5,
                xref=f"x{axis}",
                y=0.5,
                yref="paper",
                showarrow=False,
                font={"color": theme.faint},
            )
        figure.add_annotation(
            text=f"<b>{escape(short[run])}</b>",
            x=start,
            xref="paper",
            xanchor="left",
            y=1,
            yref="paper",
            yanchor="bottom",
            yshift=6,
            showarrow=False,
            font={"color": lines[run].colour(theme), "size": 13},
        )
    figure.update_layout(
        barmode="overlay",
        bargap=0.25,
        margin={"l": label_margin(layers), "r": 24, "t": 34, "b": 44},
        yaxis=layer_axis(layers, height),
    )
    return figure


def _bars(frame: pd.DataFrame, column: str, sign: int, name: str, colour: str, axis: str) -> go.Bar:
    first = ["never" if pd.isna(step) else f"first at step {int(step):,}" for step in frame["first_hit"]]
    return go.Bar(
        x=sign * frame[column].fillna(0),
        y=[escape(layer) for layer in frame["layer"]],
        xaxis=axis,
        orientation="h",
        name=name,
        marker={"color": colour, "line": {"width": 0}},
        customdata=list(zip(frame[column], first, strict=True)),
        hovertemplate=f"<b>%{{y}}</b><br>{name} <b>%{{customdata[0]:.4~p}}</b><br>%{{customdata[1]}}<extra></extra>",
    )


def hit_rates_over_time(rates: dict[str, pd.DataFrame], *, lines: dict[str, Line], theme: Theme = LIGHT) -> go.Figure:
    """A line a run: the share of its layers that is clipped; dotted the lower bound, where a run has such hits.

    rates: by run: step, upper_rate, lower_rate.
    """
    figure = go.Figure(layout={"template": theme.template, "height": 300})
    short = told_apart(rates, 40)
    for run, frame in rates.items():
        for column, bound in (("upper_rate", "upper"), ("lower_rate", "lower")):
            if bound == "lower" and not (frame["lower_rate"] > 0).any():
                continue
            figure.add_trace(
                go.Scatter(
                    x=frame["step"],
                    y=frame[column],
                    name=escape(short[run]) + (" (lower)" if bound == "lower" else ""),
                    mode="lines" if len(frame) > 1 else "markers",
                    line={
                        "color": lines[run].colour(theme),
                        "dash": lines[run].dash if bound == "upper" else "dot",
                        "width": 2,
                    },
                    hovertemplate="%{y:.4~p}",
                )
            )
    figure.update_layout(
        hovermode="x unified",
        margin={"l": 60, "r": 24, "t": 34, "b": 44},
        showlegend=len(figure.data) > 1,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        xaxis={"title": "step", "showgrid": False, "tickformat": ","},
        yaxis={"tickformat": ".0%", "rangemode": "tozero", "nticks": 5},
    )
    return figure
