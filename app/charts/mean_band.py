"""The mean of several seeds as a line, with a band of one standard deviation on either side."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts.text import escape
from app.charts.theme import Line, Theme

NEAR_ZERO = 0.1
"""Of a mean: where the band would go lower, it ends at the lowest value."""


def mean_band(
    rows: pd.DataFrame, *, name: str, seeds: int, line: Line, theme: Theme, number: Callable[[float], str]
) -> list[go.Scatter]:
    """The line first, then, dotted with an open point where one is lost, what comes from fewer seeds, then the band.

    rows: x, mean, std, lowest (the smallest value) and n, in order. seeds: how many there are. number: how a value is
    written.
    """
    colour = line.colour(theme)
    from_all = rows["n"] == seeds
    said = [_said(*values, seeds, number) for values in zip(rows["mean"], rows["std"], rows["n"], strict=True)]
    mean = go.Scatter(
        x=rows["x"],
        y=rows["mean"].where(from_all),
        name=escape(name),
        mode="lines" if from_all.sum() > 1 else "lines+markers",
        line={"color": colour, "dash": line.dash, "width": 2.4},
        text=said,
        hovertemplate="%{text}",
    )
    band = _band(rows, colour)
    if from_all.all():
        return [mean, band]
    # The dotted line begins in the last point of all seeds and ends in the next one, so that there is no gap.
    shown = ~from_all | ~from_all.shift(-1, fill_value=True) | ~from_all.shift(1, fill_value=True)
    drops = ~from_all & (rows["n"] < rows["n"].shift(1, fill_value=0))
    fewer = go.Scatter(
        x=rows["x"],
        y=rows["mean"].where(shown),
        name=escape(name),
        mode="lines+markers",
        line={"color": colour, "dash": "dot", "width": 1.8},
        marker={"symbol": "circle-open", "size": np.where(drops, 8, 0), "color": colour},
        text=said,
        hovertemplate="%{text}",
    )
    return [mean, fewer, band]


def _band(rows: pd.DataFrame, colour: str) -> go.Scatter:
    """One polygon for each stretch in which there is a deviation."""
    known = rows["std"].notna()
    xs: list[float | None] = []
    ys: list[float | None] = []
    for _, part in rows[known].groupby((~known).cumsum()[known]):
        low = part["mean"] - part["std"]
        # A loss's axis is logarithmic: it has no place below 0, and what comes near to it would stretch it by decades.
        low = low.where((low > NEAR_ZERO * part["mean"]) | (part["lowest"] <= 0), low.clip(lower=part["lowest"]))
        xs += [*part["x"], *part["x"][::-1], None]
        ys += [*(part["mean"] + part["std"]), *low[::-1], None]
    return go.Scatter(
        x=xs[:-1],
        y=ys[:-1],
        mode="lines",
        line={"width": 0, "color": colour},
        fill="toself",
        fillcolor=colour,
        opacity=0.17,
        hoverinfo="skip",
        showlegend=False,
    )


def _said(mean: float, std: float, n: int, seeds: int, number: Callable[[float], str]) -> str:
    if seeds == 1:
        return number(mean)
    of = f"{seeds} seeds" if n == seeds else f"{n} of {seeds} seeds"
    return f"{number(mean)} ({of})" if pd.isna(std) else f"{number(mean)} ± {number(std)} ({of})"
