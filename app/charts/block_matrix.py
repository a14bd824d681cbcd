"""Families from top to bottom, blocks from left to right: a cell a layer, or of several the one that stands out."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts import bands
from app.charts.heatmap import RIGHT
from app.charts.short_names import short_names
from app.charts.text import escape
from app.charts.theme import LIGHT, Theme

ROW = 20
"""Pixels of a family."""

DECADES = 1.0
"""The colours end at a tenth and at tenfold."""


@dataclass(frozen=True)
class Places:
    """Families with several blocks, in depth order, and the blocks; the layers of these, and one for each cell.

    layers, cells: the columns of the layers, and row and column, the cell's place; of cells also `tensors`, how many
    layers it has, and `said`, its layer's name as a hover says it.
    """

    families: list[str]
    blocks: list[int]
    layers: pd.DataFrame
    cells: pd.DataFrame

    def grid(self, column: str, dtype: type = float) -> np.ndarray:
        """[families, blocks] of a column of the cells; NaN, or an empty text, where there is no layer."""
        nothing = "" if dtype is object else np.nan
        found: np.ndarray = np.full((len(self.families), len(self.blocks)), nothing, dtype=dtype)
        found[self.cells["row"], self.cells["column"]] = self.cells[column].to_numpy(dtype=dtype)
        return found

    @property
    def height(self) -> int:
        """Pixels of all families."""
        return ROW * len(self.families)


def places(layers: pd.DataFrame, size: pd.Series) -> Places | None:
    """The layers by family and block. None where no family has several blocks.

    layers: a row a layer in depth order, with layer, family and block. size: of several layers of a family in a block,
    the cell has the one with the largest, and of all the one where it is NaN.
    """
    found = layers[layers["block"].notna()].assign(size=size)
    families = [str(family) for family, its in found.groupby("family", sort=False) if its["block"].nunique() > 1]
    found = found[found["family"].isin(families)]
    if found.empty:
        return None
    blocks = sorted(int(block) for block in found["block"].unique())
    found = found.assign(
        row=found["family"].map({family: row for row, family in enumerate(families)}).astype(int),
        column=found["block"].astype(int).map({block: column for column, block in enumerate(blocks)}).astype(int),
    )
    cells = found.sort_values("size", kind="stable", na_position="last").groupby(["row", "column"], as_index=False)
    each = cells.last(skipna=False).assign(tensors=cells["layer"].count()["layer"])
    each = each.assign(said=[escape(layer) for layer in each["layer"]])
    return Places(families, blocks, found, each)


def draw_axes(figure: go.Figure, found: Places, left: int) -> list[str]:
    """Name the families and the blocks; the families' places on their axis. left: pixels for the names."""
    rows_named = [escape(family) for family in found.families]  # labels may be shortened to the same
    room = round((left - 10) / 5.4)
    labels = [escape(label) for label in short_names(bands.labels(found.families)[1], room)]
    shown = found.blocks[:: max(1, -(-len(found.blocks) // 20))]  # as many numbers as one reads
    ticks = {"ticks": "", "showgrid": False, "fixedrange": True, "type": "category", "tickmode": "array"}
    figure.update_layout(
        meta={"rows": "family"},
        xaxis={
            "title": {"text": "block", "standoff": 4},
            "tickvals": shown,
            "ticktext": [str(block) for block in shown],
            **ticks,
        },
        yaxis={
            "range": [len(found.families) - 0.5, -0.5],
            "categoryorder": "array",
            "categoryarray": rows_named,
            "tickvals": rows_named,
            "ticktext": labels,
            **ticks,
        },
    )
    return rows_named


def block_matrix(
    layers: pd.DataFrame, *, chosen: str | None = None, left: int = 76, theme: Theme = LIGHT
) -> go.Figure | None:
    """How far each layer was from what is usual for it at one step; of several, the one furthest from it.

    layers: a row a layer in depth order: layer, family, block, and change, its ratio over its usual one, NaN where a
    norm was NaN or infinite, which is struck out. chosen: the layer to frame. None where no family has several blocks.
    """
    found = places(layers, np.abs(np.log10(layers["change"].clip(lower=1e-12))))
    if found is None:
        return None
    figure = go.Figure(layout={"template": theme.template, "height": found.height + 58})
    rows_named = draw_axes(figure, found, left)
    change = found.grid("change")
    figure.add_trace(
        go.Heatmap(
            z=np.log10(np.maximum(change, 1e-12)),
            x=found.blocks,
            y=rows_named,
            customdata=np.stack([change, found.grid("said", object)], axis=-1),
            meta={"columns": ["times_usual", "layer"]},
            name="against usual",
            coloraxis="coloraxis",
            xgap=1,
            ygap=1,
            hovertemplate="<b>%{customdata[1]}</b><br>×%{customdata[0]:.3~g} of its usual ratio<extra></extra>",
            hoverongaps=False,
        )
    )
    _strike_out(figure, found.layers[found.layers["change"].isna()], theme)
    for _, layer in found.layers[found.layers["layer"] == chosen].iterrows():
        _frame(figure, layer["column"], layer["row"], theme)
    many = len(found.families) > 4
    figure.update_layout(
        margin={"l": left, "r": RIGHT, "t": 6, "b": 42},
        coloraxis={
            "colorscale": theme.diverging_scale,
            "cmin": -DECADES,
            "cmax": DECADES,
            "colorbar": {
                "tickvals": [-1, -0.301, 0, 0.301, 1] if many else [-1, 0, 1],
                "ticktext": ["≤ ×0.1", "×0.5", "<b>as usual</b>", "×2", "≥ ×10"]
                if many
                else ["≤ ×0.1", "<b>as usual</b>", "≥ ×10"],
            },
        },
    )
    return figure


def _strike_out(figure: go.Figure, broken: pd.DataFrame, theme: Theme) -> None:
    if broken.empty:
        return
    figure.add_trace(
        go.Scatter(
            x=broken["block"].astype(int),
            y=[escape(family) for family in broken["family"]],
            mode="markers",
            marker={"symbol": "x-thin", "size": 8, "line": {"width": 2, "color": theme.text}},
            name="NaN or infinite",
            hovertemplate="a norm is NaN or infinite<extra></extra>",
        )
    )


def _frame(figure: go.Figure, column: int, row: int, theme: Theme) -> None:
    figure.add_shape(
        type="rect",
        xref="x",
        yref="y",
        x0=column - 0.5,
        x1=column + 0.5,
        y0=row - 0.5,
        y1=row + 0.5,
        line={"color": theme.text, "width": 2},
    )
