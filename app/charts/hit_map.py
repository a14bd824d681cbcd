"""Which layers are clipped when: every layer over the steps, upper and lower bound apart."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts import band_map
from app.charts.bands import Stack
from app.charts.cells import one_step_each, steps_said
from app.charts.heatmap import RIGHT
from app.charts.rounding import short_of_all
from app.charts.text import escape
from app.charts.theme import LIGHT, Theme

MOST_MARKED = 70
"""So many rows have their first and last hit marked; thinner rows have no room for it."""

MOST_BARS = 5000
"""So many stretches of steps are marked as not finite."""


def marked(stack: Stack) -> bool:
    """Whether the first and the last hit are marked: where each row is one layer, and is high enough."""
    return not stack.merged and len(stack.rows) <= MOST_MARKED


def hit_map(
    cells: pd.DataFrame,
    rates: pd.DataFrame,
    *,
    stack: Stack,
    detail: pd.DataFrame | None = None,
    shown: tuple[int, int] | None = None,
    theme: Theme = LIGHT,
) -> go.Figure:
    """Layers from top to bottom, steps from left to right: orange where the upper bound cuts, blue where the lower.

    cells: a row a cell: row (in `stack`), step, width, stride, rows, last_step, upper_rate, lower_rate and not_finite.
    Where both bounds cut in one cell, its colour is that of the one that cut more often; the hover says both.
    rates: a row a layer: layer, first_hit and last_hit.
    detail: finer cells of the same rows for a part of the steps, drawn over `cells`.
    shown: the first and last step to show; None for all.
    """
    top = 24 if stack.head else 10
    figure = go.Figure(layout={"template": theme.template, "height": stack.height + 46 + top})
    parts = [part for part in (cells, detail) if part is not None and len(part)]
    both = any((part["lower_rate"] > 0).any() for part in parts)
    for part in parts:
        figure.add_traces(_cells(part, stack))
    finest = parts[-1]
    figure.add_traces(band_map.bars(stack, finest[finest["not_finite"] > 0], "NaN or infinite", MOST_BARS, theme))
    if marked(stack):
        figure.add_traces(_marks(rates, "first_hit", "triangle-right", "first hit", stack, theme))
        figure.add_traces(_marks(rates, "last_hit", "triangle-left", "last hit", stack, theme))
    first, end = float(cells["step"].min()) - 0.5, float((cells["step"] + cells["width"]).max()) - 0.5
    figure.update_layout(
        coloraxis=hit_colours(both, theme),
        margin={"l": band_map.left_margin(stack), "r": RIGHT, "t": top, "b": 46},
        hovermode="closest",
        xaxis={
            "title": "step",
            "anchor": band_map.axis(len(stack.bands) - 1),
            "showgrid": False,
            "hoverformat": ",.0f",
            "autorangeoptions": {"clipmin": first, "clipmax": end},
            "range": [shown[0] - 0.5, shown[1] + 0.5] if shown else None,
        },
    )
    band_map.draw_axes(figure, stack, 0, stack.height, theme)
    return figure


def _cells(cells: pd.DataFrame, stack: Stack) -> list[go.Heatmap]:
    upper, lower = (band_map.grid(cells, cells[name], stack) for name in ("upper_rate", "lower_rate"))
    width = int(cells["width"].iloc[0])
    data = [short_of_all(rates) for rates in (upper, lower)]
    said, named = steps_said(width), ["upper_hit_rate", "lower_hit_rate"]
    if one_step_each(cells):
        data.append(band_map.grid(cells, cells["last_step"], stack, np.float64))
        said, named = steps_said(width, "customdata[2]"), [*named, "recorded_step"]
    return band_map.heatmaps(
        stack,
        cells,
        np.where(upper >= lower, upper, np.where(np.isnan(upper), np.nan, -lower)),
        np.stack(data, axis=-1),
        hover=f"{said}<br>upper bound <b>%{{customdata[0]:.4~p}}</b><br>lower bound <b>%{{customdata[1]:.4~p}}</b>",
        meta={"columns": named},
        name="clip hits" if width == 1 else f"clip hits, {width} steps",
    )


def _marks(rates: pd.DataFrame, column: str, symbol: str, said: str, stack: Stack, theme: Theme) -> list[go.Scatter]:
    """A mark at a step of each layer that has it, a trace a band."""
    hit = rates[rates[column].notna() & rates["layer"].isin(stack.row_of)]
    traces = []
    for place, band in enumerate(stack.bands):
        its = hit[hit["layer"].isin([row.layers[0] for row in band.rows])]
        if its.empty:
            continue
        traces.append(
            go.Scatter(
                x=its[column].astype(float),
                y=[escape(layer) for layer in its["layer"]],
                yaxis=band_map.axis(place),
                name=said,
                mode="markers",
                marker={
                    "symbol": symbol,
                    "size": 7,
                    "color": theme.text,
                    "line": {"width": 1, "color": theme.background},
                },
                cliponaxis=False,
                hovertemplate=f"<b>%{{y}}</b><br>{said} at step <b>%{{x:,.0f}}</b><extra></extra>",
            )
        )
    return traces


def hit_colours(both: bool, theme: Theme) -> dict[str, object]:
    """From never to always; where the lower bound cuts, too, to both sides."""
    never = theme.diverging[len(theme.diverging) // 2]
    colours = [theme.lower, never, theme.upper] if both else [never, theme.upper]
    return {
        "colorscale": [[place / (len(colours) - 1), colour] for place, colour in enumerate(colours)],
        "cmin": -1 if both else 0,
        "cmax": 1,
        "colorbar": {
            "tickvals": [-1, -0.5, 0, 0.5, 1] if both else [0, 0.5, 1],
            "ticktext": ["always, lower", "50 %", "never", "50 %", "always, upper"]
            if both
            else ["never", "50 %", "always"],
        },
    }
