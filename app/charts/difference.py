"""The difference of two heatmaps: where, and by how much, one run's ratios or hits are above another's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts.cells import layer_axis, on_grid, one_step_each, steps_said
from app.charts.heatmap import RIGHT
from app.charts.text import escape, label_margin, ratio_text, ratio_ticks, shorten
from app.charts.theme import LIGHT, Theme

LEAST, MOST = 0.301_1, 2.0
"""Decades at which the colours of a ratio's factor end: twice at least, a hundredfold at most."""


@dataclass(frozen=True)
class Quantity:
    """What can be compared: a ratio by its factor, a share by the difference. name: of what the log has."""

    name: str
    label: str
    ratio: bool

    @property
    def column(self) -> str:
        """Of the heatmap's cells: a ratio's mean over a cell, since its furthest from 1 may lie on either side."""
        return f"{self.name}_geometric_mean" if self.ratio else self.name


QUANTITIES = (
    Quantity("trust_ratio", "Ratio before clipping", True),
    Quantity("clipped_ratio", "Ratio after clipping", True),
    Quantity("hit_rate", "Clip hits", False),
)


@dataclass(frozen=True)
class Difference:
    """Cells of two runs on one grid, a row a layer, a column a cell of `width` steps of which the first begins at
    `first`: the values of each, and the difference, which is log10 of the factor for a ratio. NaN where one has none.

    recorded: of each cell the one step that is recorded there; None where cells have several.
    """

    layers: tuple[str, ...]
    first: int
    width: int
    one: np.ndarray
    other: np.ndarray
    difference: np.ndarray
    recorded: np.ndarray | None = None


def difference(one: pd.DataFrame, other: pd.DataFrame, *, quantity: Quantity, layers: Sequence[str]) -> Difference:
    """Lay the cells of two runs, which are of one width, over each other.

    one, other: layer, step, width, rows, last_step and the quantity. layers: the rows, from top to bottom.
    """
    both = pd.concat([one[["step", "width"]], other[["step", "width"]]])
    if both.empty:
        nothing = np.empty((len(layers), 0))
        return Difference(tuple(layers), 1, 1, nothing, nothing, nothing)
    width, first, last = int(both["width"].iloc[0]), int(both["step"].min()), int(both["step"].max())
    columns = (last - first) // width + 1
    mine, theirs = (_grid(cells, quantity.column, layers, first, columns) for cells in (one, other))
    recorded = None
    if one_step_each(one) and one_step_each(other):
        recorded = on_grid(one, one["last_step"], layers, first=first, columns=columns, dtype=np.float64)
    apart = mine - theirs
    if quantity.ratio:
        apart = np.log10(np.maximum(mine, 1e-12)) - np.log10(np.maximum(theirs, 1e-12))
    return Difference(tuple(layers), first, width, mine, theirs, apart, recorded)


def _grid(cells: pd.DataFrame, column: str, layers: Sequence[str], first: int, columns: int) -> np.ndarray:
    grid = on_grid(cells, cells[column], layers, first=first, columns=columns)
    grid[~np.isfinite(grid)] = np.nan
    return grid


def difference_map(
    compared: Difference,
    *,
    quantity: Quantity,
    names: tuple[str, str],
    detail: Difference | None = None,
    shown: tuple[int, int] | None = None,
    theme: Theme = LIGHT,
) -> go.Figure:
    """Orange where the first run is above the second, blue where it is below, the page's colour where they agree.

    detail: finer cells of the same layers for a part of the steps, drawn over `compared`.
    shown: the first and last step to show; None for all.
    """
    layers = compared.layers
    row_height = 18 if len(layers) <= 24 else 12 if len(layers) <= 70 else 4
    height = min(max(row_height * len(layers), 200), 760)
    figure = go.Figure(layout={"template": theme.template, "height": height + 56})
    for part in (compared, detail):
        if part is not None and part.difference.size:
            figure.add_trace(_cells(part, quantity, names))
    reach = _reach(compared, quantity)
    end = compared.first + compared.width * compared.difference.shape[1]
    figure.update_layout(
        margin={"l": label_margin(layers), "r": RIGHT, "t": 10, "b": 46},
        hovermode="closest",
        coloraxis=_colours(quantity, reach, theme),
        xaxis={
            "title": "step",
            "showgrid": False,
            "autorangeoptions": {"clipmin": compared.first - 0.5, "clipmax": end - 0.5},
            "range": [shown[0] - 0.5, shown[1] + 0.5] if shown else None,
        },
        yaxis={
            "showgrid": False,
            **layer_axis(layers, height),
        },
    )
    return figure


def _cells(compared: Difference, quantity: Quantity, names: tuple[str, str]) -> go.Heatmap:
    one, other = (escape(shorten(name, 36)) for name in names)
    number = ".4~g" if quantity.ratio else ".1%"
    factor = 10**compared.difference if quantity.ratio else compared.difference * 100
    says = "factor <b>%{customdata[2]:.3~g}</b>" if quantity.ratio else "difference <b>%{customdata[2]:+.1f} points</b>"
    data, said = [compared.one, compared.other, factor], steps_said(compared.width)
    named = ["a", "b", "factor" if quantity.ratio else "difference_in_points"]
    if compared.recorded is not None:
        data.append(compared.recorded)
        said, named = steps_said(compared.width, "customdata[3]"), [*named, "recorded_step"]
    return go.Heatmap(
        z=compared.difference.astype(np.float32),
        x0=compared.first + (compared.width - 1) / 2,  # a cell's middle
        dx=compared.width,
        y=[escape(layer) for layer in compared.layers],
        customdata=np.stack(data, axis=-1).astype(np.float32 if compared.recorded is None else np.float64),
        meta={"columns": named},
        coloraxis="coloraxis",
        hovertemplate=f"<b>%{{y}}</b><br>{said}<br>A {one} <b>%{{customdata[0]:{number}}}</b>"
        f"<br>B {other} <b>%{{customdata[1]:{number}}}</b><br>{says}<extra></extra>",
        hoverongaps=False,
        zsmooth=False,
    )


def _reach(compared: Difference, quantity: Quantity) -> float:
    """Where the colours end, the same on both sides."""
    if not quantity.ratio:
        return 1.0
    sizes = np.abs(compared.difference[np.isfinite(compared.difference)])
    return float(np.clip(np.quantile(sizes, 0.995), LEAST, MOST)) if len(sizes) else LEAST


def _colours(quantity: Quantity, reach: float, theme: Theme) -> dict[str, object]:
    if quantity.ratio:
        factors = ratio_ticks(-reach, reach)
        ticks = [float(np.log10(factor)) for factor in factors]
        texts = ["same" if factor == 1 else f"× {ratio_text(factor)}" for factor in factors]
    else:
        ticks = [-1.0, -0.5, 0.0, 0.5, 1.0]
        texts = ["−100 points", "−50", "same", "+50", "+100 points"]
    return {
        "colorscale": theme.diverging_scale,
        "cmin": -reach,
        "cmax": reach,
        "colorbar": {
            "tickvals": ticks,
            "ticktext": texts,
        },
    }
