"""How the ratios of a layer are distributed, in the steps that are shown and in the whole run."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts.heatmap import RIGHT
from app.charts.text import ratio_text, ratio_ticks
from app.charts.theme import LIGHT, Theme

_BARS_AN_OCTAVE = 8


def ratio_distribution(
    shown: pd.DataFrame, whole: pd.DataFrame | None, *, bound: float | None, left: int = 76, theme: Theme = LIGHT
) -> go.Figure:
    """Bars for the steps that are shown, and behind them a line for all steps; bars above the bound in its colour.

    shown, whole: bins of ratio_histogram: above, up_to, steps.
    bound: the layer's upper bound.
    """
    figure = go.Figure(layout={"template": theme.template, "height": 190})
    bars = _shares(shown)
    clipped = bars["middle"] > (np.inf if bound is None else bound)
    figure.add_trace(
        go.Bar(
            x=np.log10(bars["middle"]),
            y=bars["share"],
            name="steps shown" if whole is not None else "all steps",
            marker={"color": np.where(clipped, theme.upper, theme.runs[0]), "line": {"width": 0}},
            meta={"x": list(bars["middle"])},
            customdata=[_between(middle) for middle in bars["middle"]],
            hovertemplate="%{customdata}<br><b>%{y:.1%}</b> of the steps<extra>%{fullData.name}</extra>",
        )
    )
    if whole is not None:
        every = _shares(whole)
        figure.add_trace(
            go.Scatter(
                x=np.log10(every["middle"]),
                y=every["share"],
                meta={"x": list(every["middle"])},
                name="all steps",
                mode="lines",
                line={"color": theme.faint, "width": 1.5, "shape": "hvh"},
                hovertemplate="<b>%{y:.1%}</b> of the steps<extra>all steps</extra>",
            )
        )
    logs = np.log10(np.concatenate([bars["middle"], whole["up_to"] if whole is not None else bars["middle"]]))
    ticks = ratio_ticks(float(logs.min()) - 0.1, float(logs.max()) + 0.1)
    figure.update_layout(
        bargap=0.06,
        margin={"l": left, "r": RIGHT, "t": 22, "b": 40},
        showlegend=whole is not None,
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"},
        xaxis={
            "title": "trust ratio before clipping",
            "tickvals": np.log10(ticks),
            "ticktext": [ratio_text(tick) for tick in ticks],
            "showgrid": False,
        },
        yaxis={"tickformat": ".0%", "rangemode": "tozero", "nticks": 4, "title": "share of steps"},
    )
    if bound is not None and logs.min() - 0.1 <= np.log10(bound) <= logs.max() + 0.1:
        figure.add_vline(x=float(np.log10(bound)), line={"color": theme.upper, "width": 1, "dash": "dash"})
    return figure


def _shares(bins: pd.DataFrame) -> pd.DataFrame:
    """The share of the steps in each eighth of an octave, from the first that has any to the last."""
    eighth = np.ceil(_BARS_AN_OCTAVE * np.log2(np.sqrt(bins["above"] * bins["up_to"]))).astype(int)
    counts = bins["steps"].groupby(eighth).sum()
    counts = counts.reindex(range(counts.index.min(), counts.index.max() + 1), fill_value=0)
    middle = 2.0 ** ((counts.index.to_numpy() - 0.5) / _BARS_AN_OCTAVE)
    return pd.DataFrame({"middle": middle, "share": counts.to_numpy() / counts.sum()})


def _between(middle: float) -> str:
    half = 2 ** (0.5 / _BARS_AN_OCTAVE)
    return f"ratio {ratio_text(middle / half)} to {ratio_text(middle * half)}"
