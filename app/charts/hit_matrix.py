"""How often the layers of one run are clipped: families by blocks, and under them what stands alone."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts.block_matrix import ROW, Places, draw_axes, places
from app.charts.heatmap import RIGHT
from app.charts.hit_map import hit_colours
from app.charts.short_names import short_names
from app.charts.text import escape
from app.charts.theme import LIGHT, Theme

LEFT = 190
"""Pixels for the names of the families."""

BESIDE = 4
"""So many layers of no family stand beside each other."""

AXIS, GAP = 44, 12
"""Pixels under the families for the blocks' numbers, and at the edges."""

META = {"columns": ["upper_hit_rate", "lower_hit_rate", "layer", "of"]}
"""What `customdata` has, for a saved table."""

HOVER = (
    "<b>%{customdata[2]}</b><br>upper bound <b>%{customdata[0]:.4~p}</b> of its steps"
    "<br>lower bound <b>%{customdata[1]:.4~p}</b>%{customdata[3]}<extra></extra>"
)


def hit_matrix(rates: pd.DataFrame, *, theme: Theme = LIGHT) -> go.Figure | None:
    """In which share of its steps each layer was clipped: orange by the upper bound, blue by the lower, as in hit_map.

    rates: a row a layer in depth order: layer, family, block, upper_rate and lower_rate, NaN where it could not be. Of
    several layers of a family in a block the one that was clipped most. None where families tell too little: where no
    family has several blocks, or less than half of the layers are in those that have.
    """
    upper, lower = (rates[name].astype(float) for name in ("upper_rate", "lower_rate"))
    rates = rates.assign(shown=upper.where(~(upper < lower), -lower), upper_rate=upper, lower_rate=lower)
    found = places(rates, (upper + lower).fillna(-1))
    if found is None or 2 * len(found.layers) < len(rates):
        return None
    alone = rates[~rates["layer"].isin(found.layers["layer"])]
    lines = -(-len(alone) // BESIDE)
    inner = found.height + (AXIS + ROW * lines if lines else 0)
    figure = go.Figure(layout={"template": theme.template, "height": inner + GAP + (GAP if lines else AXIS)})
    families = draw_axes(figure, found, LEFT)
    figure.add_trace(_families(found, families))
    figure.update_layout(
        margin={"l": LEFT, "r": RIGHT, "t": GAP, "b": GAP if lines else AXIS},
        yaxis={"domain": [1 - found.height / inner, 1]},
        coloraxis=hit_colours(bool((lower > 0).any()), theme),
    )
    if lines:
        _draw_alone(figure, alone, lines, ROW * lines / inner)
    return figure


def _families(found: Places, families: list[str]) -> go.Heatmap:
    more = [f"<br>the most clipped of its {tensors}" if tensors > 1 else "" for tensors in found.cells["tensors"]]
    found = Places(found.families, found.blocks, found.layers, found.cells.assign(more=more))
    columns = [
        found.grid("upper_rate"),
        found.grid("lower_rate"),
        found.grid("said", object),
        found.grid("more", object),
    ]
    return go.Heatmap(
        z=found.grid("shown"),
        x=found.blocks,
        y=families,
        customdata=np.stack(columns, axis=-1),
        meta=META,
        name="clip hits",
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
        hovertemplate=HOVER,
        hoverongaps=False,
    )


def _draw_alone(figure: go.Figure, alone: pd.DataFrame, lines: int, share: float) -> None:
    """The layers that no family has, a box each with its name, under the axis of the blocks."""
    count = len(alone)
    shape = (lines, BESIDE if lines > 1 else count)

    def boxes(values: list, nothing: object) -> np.ndarray:
        return np.array([*values, *[nothing] * (shape[0] * shape[1] - count)], dtype=object).reshape(shape)

    names = [escape(layer) for layer in alone["layer"]]
    short = short_names([layer.removesuffix(".weight") for layer in alone["layer"]], 84 // shape[1])
    labels = [escape(label) for label in short]
    figure.add_trace(
        go.Heatmap(
            z=boxes(list(alone["shown"]), np.nan).astype(float),
            xaxis="x2",
            yaxis="y2",
            customdata=np.stack(
                [
                    boxes(list(alone["upper_rate"]), np.nan),
                    boxes(list(alone["lower_rate"]), np.nan),
                    boxes(names, ""),
                    boxes([""] * count, ""),
                ],
                axis=-1,
            ),
            meta=META,
            text=boxes(labels, ""),
            texttemplate="%{text}",
            textfont={"size": 10},
            name="clip hits, others",
            coloraxis="coloraxis",
            xgap=3,
            ygap=1,
            hovertemplate=HOVER,
            hoverongaps=False,
        )
    )
    hidden = {"showticklabels": False, "showgrid": False, "fixedrange": True}
    figure.update_layout(
        xaxis2={"anchor": "y2", **hidden},
        yaxis2={
            "domain": [0, share],
            "anchor": "x2",
            "range": [lines - 0.5, -0.5],
            **hidden,
            "showticklabels": True,
            "tickvals": [(lines - 1) / 2],
            "ticktext": ["others"],
        },
    )
