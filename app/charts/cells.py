"""What charts of layers over steps have in common: the axis of the layers, how a cell is called."""

from collections.abc import Sequence

import pandas as pd

from app.charts.text import escape, layer_ticks


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


def one_step_each(cells: pd.DataFrame, runs: int = 1) -> bool:
    """Whether each cell has the one step of several that each of its runs records, as every 100th.

    That a cell has one row does not say so: of a run that records every step, a layer may take one in a hundred.
    """
    strides = (cells["width"] > 1) & (cells["width"] == cells["stride"])
    return len(cells) > 0 and bool((strides & (cells["rows"] == runs)).all())


def steps_said(width: int, recorded: str | None = None) -> str:
    """What a hover says of a cell's steps.

    recorded: where the hover finds the one step that each cell has, as `customdata[1]`.
    """
    if recorded:
        return f"step %{{{recorded}:,.0f}}, the one of {width:,} that was recorded"
    return "step %{x:,.0f}" if width == 1 else f"{width:,} steps around step %{{x:,.0f}}"
