"""The heatmap: every layer at every step, in depth order, and under it the metrics on the same axis."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts import curves_below
from app.charts.cells import layer_axis, on_grid, one_step_each, steps_said
from app.charts.layers import blocks
from app.charts.metric import Metric
from app.charts.text import escape, label_margin, ratio_text, ratio_ticks, shorten
from app.charts.theme import LIGHT, Line, Theme

RIGHT = 100
"""Room at the right, in pixels: for the colour bar here, for the lines' names where one layer is drawn below."""

GAP = 10
"""Pixels between the layers and the metrics."""

MOST_DECADES = 2.0
"""Colour saturates at a hundredth and at a hundredfold, so that one wild layer leaves the others their colours."""

MOST_MARKS = 5000
"""So many stretches of steps are marked as not finite: where a run goes wrong for good, there is one a layer."""


@dataclass(frozen=True)
class Quantity:
    """A column that the heatmap can show, and how: about 1, or from small to large, or as a share."""

    column: str
    label: str
    kind: str
    says: str

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns that are needed to draw it: a ratio's scale is that of the ratio before and after clipping."""
        return ("trust_ratio", "clipped_ratio") if self.kind == "ratio" else (self.column,)


QUANTITIES = (
    Quantity("trust_ratio", "Trust ratio", "ratio", "Trust ratio of each layer before clipping."),
    Quantity("clipped_ratio", "After clipping", "ratio", "Trust ratio that the step really used."),
    Quantity("hit_rate", "Clip hits", "share", "Share of the steps in which the bound cut the ratio."),
    Quantity("weight_norm", "Weight norm", "norm", "‖w‖ of each layer."),
    Quantity("update_norm", "Update norm", "norm", "‖update‖ of each layer, before the trust ratio scales it."),
)


def heatmap(
    cells: pd.DataFrame,
    *,
    value: str = "trust_ratio",
    layers: Sequence[str],
    detail: pd.DataFrame | None = None,
    shown: tuple[int, int] | None = None,
    epochs: pd.DataFrame | None = None,
    curves: dict[Metric, pd.DataFrame] | None = None,
    line: Line | None = None,
    bound: float | None = None,
    theme: Theme = LIGHT,
) -> go.Figure:
    """Layers from input to output, steps from left to right.

    cells: a row a cell: layer, step (its first), width (in steps), not_finite (in so many steps a norm was NaN or
    infinite, which is marked) and the columns of `QUANTITIES`.
    value: the column to show.
    layers: all rows from top to bottom.
    detail: finer cells for a part of the steps, drawn over `cells`.
    shown: the first and last step to show; None for all.
    epochs: epoch and first_step, where the axis counts these.
    curves: metrics to draw below, those of one quantity together: step and value.
    bound: an upper bound to mark on the colour bar.
    """
    quantity = next(quantity for quantity in QUANTITIES if quantity.column == value)
    below = curves_below.stacked(curves or {})
    along = curves_below.shared(below)
    row_height = 18 if len(layers) <= 24 else 12 if len(layers) <= 70 else 4
    map_height = min(max(row_height * len(layers), 260), 760)
    height = map_height + curves_below.height(below) + 70
    inner = height - 56
    figure = go.Figure(layout={"template": theme.template, "height": height})
    low, high = _limits(cells, quantity)
    for part in (cells, detail):
        if part is not None and len(part):
            figure.add_trace(_cells(part, quantity, layers))
    figure.add_traces(_marks(cells if detail is None or detail.empty else detail, map_height / len(layers), theme))
    figure.update_layout(
        coloraxis=_colour_axis(quantity, low, high, bound, map_height / inner, theme),
        margin={"l": label_margin(layers), "r": RIGHT, "t": 10, "b": 46},
        hovermode="closest",
    )
    map_bottom = 1 - map_height / inner
    figure.update_yaxes(
        domain=[map_bottom, 1],
        showgrid=False,
        **layer_axis(layers, map_height),
    )
    first, last = _edges(cells)
    figure.update_xaxes(
        showgrid=False,
        anchor=f"y{along + 1}" if along else "y",
        hoverformat=",.0f",
        **({"title": "step"} if epochs is None else _epoch_ticks(epochs)),
        autorangeoptions={"clipmin": first, "clipmax": last},
        range=[shown[0] - 0.5, shown[1] + 0.5] if shown else None,
    )
    _divide(figure, layers, map_height, theme)
    curves_below.draw(figure, below, curves or {}, inner - map_height - GAP, inner, line or Line(0, "solid"), theme)
    return figure


def _divide(figure: go.Figure, layers: Sequence[str], height: int, theme: Theme) -> None:
    """A gap between blocks of layers; where rows are too thin for their names, the blocks are named instead."""
    found = blocks(layers, most=max(2, height // 26))
    for _, place, _ in found[1:]:
        edge = place - 0.5
        figure.add_shape(
            type="line",
            xref="paper",
            x0=0,
            x1=1,
            yref="y",
            y0=edge,
            y1=edge,
            line={"color": theme.background, "width": 2},
        )
    if found and len(layers) * 11 > height:
        middles = [(place + end - 1) // 2 for _, place, end in found]
        figure.layout.yaxis.tickvals = [escape(layers[middle]) for middle in middles]
        figure.layout.yaxis.ticktext = [escape(shorten(name)) for name, _, _ in found]


def _epoch_ticks(epochs: pd.DataFrame) -> dict[str, object]:
    """At most a dozen epochs, each written where it begins."""
    every = epochs.iloc[:: max(1, -(-len(epochs) // 12))]
    return {
        "title": "epoch",
        "tickvals": every["first_step"] - 0.5,
        "ticktext": [f"{epoch:,}" for epoch in every["epoch"]],
    }


def _cells(cells: pd.DataFrame, quantity: Quantity, layers: Sequence[str]) -> go.Heatmap:
    width = int(cells["width"].iloc[0])
    first = int(cells["step"].min())
    columns = (int(cells["step"].max()) - first) // width + 1
    shown = on_grid(cells, cells[quantity.column], layers, first=first, columns=columns)
    drawn = np.log10(np.maximum(shown, 1e-12)) if quantity.kind != "share" else shown
    number = ".0%" if quantity.kind == "share" else ".4~g"
    value, said, data, meta = "customdata", steps_said(width), shown, None
    if one_step_each(cells):
        recorded = on_grid(cells, cells["last_step"], layers, first=first, columns=columns, dtype=np.float64)
        value, said, data = "customdata[0]", steps_said(width, "customdata[1]"), np.stack([shown, recorded], axis=-1)
        meta = {"columns": ["value", "recorded_step"]}
    return go.Heatmap(
        z=drawn,
        x0=first + (width - 1) / 2,  # a cell's middle
        dx=width,
        y=[escape(layer) for layer in layers],
        name=f"{quantity.label}, a step" if width == 1 else f"{quantity.label}, {width} steps",
        customdata=data,
        meta=meta,
        coloraxis="coloraxis",
        hovertemplate=f"<b>%{{y}}</b><br>{said}<br>{quantity.label} <b>%{{{value}:{number}}}</b><extra></extra>",
        hoverongaps=False,
        zsmooth=False,
    )


def _marks(cells: pd.DataFrame, row_height: float, theme: Theme) -> list[go.Scatter]:
    """A bar over the cells in which a norm was not finite: their ratio was set to 1, and would look calm."""
    broken = cells[cells["not_finite"] > 0].sort_values(["layer", "step"])
    if broken.empty:
        return []
    goes_on = (broken["layer"] == broken["layer"].shift()) & (
        broken["step"] == (broken["step"] + broken["width"]).shift()
    )
    stretches = broken.assign(end=broken["step"] + broken["width"]).groupby((~goes_on).cumsum(), sort=False)
    bars = stretches.agg(layer=("layer", "first"), first=("step", "first"), end=("end", "last")).head(MOST_MARKS)
    names = [escape(layer) for layer in bars["layer"]]
    return [
        go.Scatter(
            x=np.stack([bars["first"] - 0.5, bars["end"] - 0.5, np.full(len(bars), np.nan)], axis=1).ravel(),
            y=np.stack([names, names, np.full(len(bars), None)], axis=1).ravel(),
            name="NaN or infinite",
            mode="lines",
            line={"color": theme.text, "width": max(2.0, 0.6 * row_height)},
            hoverinfo="skip",
        )
    ]


def _edges(cells: pd.DataFrame) -> tuple[float, float]:
    """Where the first cell begins and the last one ends."""
    if cells.empty:
        return 0.5, 1.5
    return float(cells["step"].min()) - 0.5, float((cells["step"] + cells["width"]).max()) - 0.5


def _limits(cells: pd.DataFrame, quantity: Quantity) -> tuple[float, float]:
    """The ends of the colour scale, in what is drawn."""
    if quantity.kind == "share":
        return 0.0, 1.0
    if quantity.kind == "ratio":
        # One scale for the ratio before and after clipping, so that switching between the two shows what clipping took.
        both = cells[["trust_ratio", "clipped_ratio"]].to_numpy(dtype=float)
        sizes = np.abs(np.log10(both[(both > 0) & np.isfinite(both)]))
        reach = float(np.clip(np.quantile(sizes, 0.995) if len(sizes) else 1, 0.3, MOST_DECADES))
        return -reach, reach
    norms = cells[quantity.column].to_numpy(dtype=float)
    logs = np.log10(norms[(norms > 0) & np.isfinite(norms)])
    if not len(logs):
        return 0.0, 1.0
    low, high = float(np.quantile(logs, 0.002)), float(np.quantile(logs, 0.998))
    return low, max(high, low + 0.1)


def _colour_axis(
    quantity: Quantity, low: float, high: float, bound: float | None, share: float, theme: Theme
) -> dict[str, object]:
    if quantity.kind == "share":
        ticks, texts = [0.0, 0.25, 0.5, 0.75, 1.0], ["never", "25 %", "50 %", "75 %", "always"]
    else:
        ratios = ratio_ticks(low, high)
        if quantity.kind == "ratio" and bound and low <= np.log10(bound) <= high:
            ratios = [ratio for ratio in ratios if abs(np.log10(ratio / bound)) > 0.05 * (high - low)] + [bound]
        ticks = [float(np.log10(ratio)) for ratio in ratios]
        texts = [
            f"<b>{ratio_text(ratio)} bound</b>" if ratio == bound and quantity.kind == "ratio" else ratio_text(ratio)
            for ratio in ratios
        ]
    return {
        "colorscale": theme.diverging_scale if quantity.kind == "ratio" else theme.sequential_scale,
        "cmin": low,
        "cmax": high,
        "colorbar": {
            "tickvals": ticks,
            "ticktext": texts,
            "len": share,
        },
    }
