"""Which layers are clipped when: every layer over the steps, upper and lower bound apart."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts.cells import layer_axis, on_grid, one_step_each, steps_said
from app.charts.heatmap import RIGHT
from app.charts.text import escape, label_margin
from app.charts.theme import LIGHT, Theme

MOST_MARKED = 70
"""So many layers have their first and last hit marked; thinner rows have no room for it."""


def hit_map(cells: pd.DataFrame, rates: pd.DataFrame, *, layers: Sequence[str], theme: Theme = LIGHT) -> go.Figure:
    """Layers from input to output, steps from left to right: orange where the upper bound cuts, blue where the lower.

    cells: a row a cell: layer, step, width, rows, last_step, hit_rate, upper_hits and lower_hits. Where both bounds cut
    in one cell, its colour is that of the one that cut more often; the hover says both.
    rates: a row a layer: layer, first_hit and last_hit.
    """
    row_height = 18 if len(layers) <= 24 else 12 if len(layers) <= MOST_MARKED else 3
    map_height = min(max(row_height * len(layers), 220), 760)
    figure = go.Figure(layout={"template": theme.template, "height": map_height + 56})
    upper, lower = _shares(cells, layers)
    width, first = int(cells["width"].iloc[0]), int(cells["step"].min())
    data, said, named = [upper, lower], steps_said(width), ["upper_hit_rate", "lower_hit_rate"]
    if one_step_each(cells):
        columns = upper.shape[1]
        data.append(on_grid(cells, cells["last_step"], layers, first=first, columns=columns, dtype=np.float64))
        said, named = steps_said(width, "customdata[2]"), [*named, "recorded_step"]
    figure.add_trace(
        go.Heatmap(
            z=np.where(upper >= lower, upper, np.where(np.isnan(upper), np.nan, -lower)),
            x0=first + (width - 1) / 2,  # a cell's middle
            dx=width,
            y=[escape(layer) for layer in layers],
            name="clip hits",
            customdata=np.stack(data, axis=-1),
            meta={"columns": named},
            coloraxis="coloraxis",
            hovertemplate=f"<b>%{{y}}</b><br>{said}<br>upper bound <b>%{{customdata[0]:.0%}}</b>"
            "<br>lower bound <b>%{customdata[1]:.0%}</b><extra></extra>",
            hoverongaps=False,
            zsmooth=False,
        )
    )
    if len(layers) <= MOST_MARKED:
        figure.add_trace(_marks(rates, "first_hit", "triangle-right", "first hit", theme))
        figure.add_trace(_marks(rates, "last_hit", "triangle-left", "last hit", theme))
    end = float((cells["step"] + cells["width"]).max()) - 0.5
    figure.update_layout(
        coloraxis=_colour_axis(bool(np.nansum(lower) > 0), theme),
        margin={"l": label_margin(layers), "r": RIGHT, "t": 10, "b": 46},
        hovermode="closest",
        xaxis={"title": "step", "showgrid": False, "hoverformat": ",.0f", "range": [first - 0.5, end]},
        yaxis={
            "showgrid": False,
            **layer_axis(layers, map_height),
        },
    )
    return figure


def _shares(cells: pd.DataFrame, layers: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """By layer and cell: in which share of the steps the upper bound cut the ratio, and the lower one."""
    width, first = int(cells["width"].iloc[0]), int(cells["step"].min())
    columns = (int(cells["step"].max()) - first) // width + 1
    hits = cells["upper_hits"] + cells["lower_hits"]
    each = cells["hit_rate"].astype(float) / hits.where(hits > 0, 1)
    upper, lower = (
        on_grid(cells, each * cells[name], layers, first=first, columns=columns)
        for name in ("upper_hits", "lower_hits")
    )
    return upper, lower


def _marks(rates: pd.DataFrame, column: str, symbol: str, said: str, theme: Theme) -> go.Scatter:
    hit = rates[rates[column].notna()]
    return go.Scatter(
        x=hit[column].astype(float),
        y=[escape(layer) for layer in hit["layer"]],
        name=said,
        mode="markers",
        marker={"symbol": symbol, "size": 7, "color": theme.text, "line": {"width": 1, "color": theme.background}},
        cliponaxis=False,
        hovertemplate=f"<b>%{{y}}</b><br>{said} at step <b>%{{x:,.0f}}</b><extra></extra>",
    )


def _colour_axis(both: bool, theme: Theme) -> dict[str, object]:
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
