"""What charts of layers over steps have in common: cells on a grid, the axis of the layers, how a cell is called."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from app.charts.text import escape, layer_ticks


def on_grid(cells: pd.DataFrame, values: pd.Series, layers: Sequence[str], *, first: int, columns: int) -> np.ndarray:
    """float32 [layers, columns]: a row a layer, a column a cell, the first of which begins at `first`; else NaN.

    cells: layer, step and width, which is the same in all. values: one a cell.
    """
    row = cells["layer"].map({layer: row for row, layer in enumerate(layers)}).to_numpy(dtype=float)
    known = ~np.isnan(row)
    column = ((cells["step"] - first) // cells["width"]).to_numpy()
    grid = np.full((len(layers), columns), np.nan, dtype=np.float32)
    grid[row[known].astype(int), column[known]] = values.to_numpy(dtype=np.float32)[known]
    return grid


def layer_axis(layers: Sequence[str], height: int) -> dict[str, object]:
    """Layers from top to bottom over `height` pixels, with as many names as there is room for."""
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": [escape(layer) for layer in layers],
        "range": [len(layers) - 0.5, -0.5],
        "fixedrange": True,
        "tickmode": "array",
        **layer_ticks(layers, height),
    }


def steps_said(width: int) -> str:
    """What a hover says of a cell's steps."""
    return "step %{x:,.0f}" if width == 1 else f"{width:,} steps around step %{{x:,.0f}}"
