"""The heatmap: layers over steps, in bands or in depth order, and under them the metrics on the same axis."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts import band_map, curves_below
from app.charts.bands import Stack
from app.charts.cells import one_step_each, steps_said
from app.charts.marks import Mark
from app.charts.marks import draw as draw_marks
from app.charts.metric import Metric
from app.charts.rounding import coarse, rounded, short_of_all
from app.charts.text import ratio_text, ratio_ticks
from app.charts.theme import LIGHT, Line, Theme

RIGHT = 100
"""Room at the right, in pixels: for the colour bar here, for the lines' names where one layer is drawn below."""

GAP = 10
"""Pixels between the layers and the metrics."""

MOST_DECADES, MOST_DECADES_ZOOMED = 2.0, 4.0
"""Colour saturates at a hundredth and at a hundredfold, so that one wild layer leaves the others their colours. Where
one has zoomed in, the wild layer is what one looks at."""

DIGITS = 4
"""A hover has so many, and a saved table where a cell stands for several rows; the value of one row it has in full."""

MOST_MARKS = 5000
"""So many stretches of steps are marked as not finite: where a run goes wrong for good, there is one a layer."""


@dataclass(frozen=True)
class Quantity:
    """What the heatmap can show. name: as the address has it. low, high: the columns of its lowest and its highest.

    kind: 'ratio', drawn about 1; 'change', drawn about what is usual; 'share'; or 'norm', from small to large.
    """

    name: str
    label: str
    kind: str
    says: str
    low: str
    high: str

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns that are needed to draw it: a ratio's scale is that of the ratio before and after clipping."""
        return _RATIOS if self.kind == "ratio" else tuple(dict.fromkeys((self.low, self.high)))

    def drawn(self, low: pd.Series, high: pd.Series) -> pd.Series:
        """What stands for a cell: of ratios the one further from 1 (or from what is usual), else the highest."""
        if self.kind not in ("ratio", "change"):
            return high
        return low.where(_decades(low).abs() > _decades(high).abs(), high)

    def size(self, drawn: pd.Series) -> pd.Series:
        """How much a value stands out."""
        return _decades(drawn).abs() if self.kind in ("ratio", "change") else drawn


def _decades(values: pd.Series) -> pd.Series:
    return pd.Series(np.log10(values.to_numpy(float).clip(min=1e-12)), values.index)


def _quantity(name: str, label: str, kind: str, says: str, low: str = "{}_low", high: str = "{}_high") -> Quantity:
    return Quantity(name, label, kind, says, low.format(name), high.format(name))


_RATIOS = ("trust_ratio_low", "trust_ratio_high", "clipped_ratio_low", "clipped_ratio_high")

QUANTITIES = (
    _quantity("trust_ratio", "Trust ratio", "ratio", "Trust ratio of each layer before clipping."),
    _quantity("clipped_ratio", "After clipping", "ratio", "Trust ratio that the step really used."),
    _quantity(
        "usual", "Against usual", "change", "Each layer's ratio over its usual one, the median over the run.",
        "trust_ratio_low", "trust_ratio_high",
    ),
    _quantity(
        "hit_rate", "Clip hits", "share", "Share of the steps in which the bound cut the ratio.",
        "hit_rate_low", "hit_rate",
    ),
    _quantity("weight_norm", "Weight norm", "norm", "‖w‖ of each layer."),
    _quantity("update_norm", "Update norm", "norm", "‖update‖ of each layer, before the trust ratio scales it."),
    _quantity("grad_norm", "Gradient norm", "norm", "‖g‖ of each layer, as the step was given it."),
    _quantity(
        "relative_step", "Relative step", "norm", "‖Δw‖ / ‖w‖: how far each layer moved against its own size.",
        "relative_step", "relative_step",
    ),
)  # fmt: skip
"""In the order in which they are offered."""


def heatmap(
    cells: pd.DataFrame,
    *,
    value: str = "trust_ratio",
    stack: Stack,
    detail: pd.DataFrame | None = None,
    shown: tuple[int, int] | None = None,
    epochs: pd.DataFrame | None = None,
    curves: dict[Metric, pd.DataFrame] | None = None,
    line: Line | None = None,
    bound: float | None = None,
    marks: Sequence[Mark] = (),
    theme: Theme = LIGHT,
) -> go.Figure:
    """Layers from top to bottom, steps from left to right.

    cells: a row a cell: row (in `stack`), step (its first), width (in steps), not_finite (in so many steps a norm was
    NaN or infinite, which is marked) and the columns that the quantity needs.
    value: the name of the quantity to show.
    detail: finer cells for a part of the steps, drawn over `cells`.
    shown: the first and last step to show; None for all. The colours are those of what is shown.
    epochs: epoch and first_step, where the axis counts these.
    curves: metrics to draw below, those of one quantity together: step and value.
    bound: an upper bound to mark on the colour bar.
    marks: events, named above and drawn as lines where no layer is hidden by them.
    """
    quantity = next(quantity for quantity in QUANTITIES if quantity.name == value)
    below = curves_below.stacked(curves or {})
    along = curves_below.shared(below)
    top = 24 if marks or stack.head else 10
    height = stack.height + curves_below.height(below) + 60 + top
    inner = height - 46 - top
    figure = go.Figure(layout={"template": theme.template, "height": height, "meta": {"along": "step"}})
    parts = [part for part in (cells, detail) if part is not None and len(part)]
    for part in parts:
        figure.add_traces(_cells(part, quantity, stack))
    finest = parts[-1] if parts else cells
    figure.add_traces(band_map.bars(stack, finest[finest["not_finite"] > 0], "NaN or infinite", MOST_MARKS, theme))
    scale = _limits(finest if shown is None else _within(finest, shown), quantity, zoomed=shown is not None)
    figure.update_layout(
        coloraxis=_colour_axis(quantity, scale, bound, stack.height / inner, theme),
        margin={
            "l": band_map.left_margin(stack),
            "r": RIGHT,
            "t": top,
            "b": 46,
        },
        hovermode="closest",
    )
    band_map.draw_axes(figure, stack, inner - stack.height, inner, theme)
    first, last = _edges(cells)
    figure.update_xaxes(
        showgrid=False,
        anchor=f"y{along + len(stack.bands)}" if along else band_map.axis(len(stack.bands) - 1),
        hoverformat=",.0f",
        **({"title": "step"} if epochs is None else _epoch_ticks(epochs)),
        autorangeoptions={"clipmin": first, "clipmax": last},
        range=[shown[0] - 0.5, shown[1] + 0.5] if shown else None,
    )
    number = len(stack.bands) + 1
    curves_below.draw(
        figure, below, curves or {}, inner - stack.height - GAP, inner, line or Line(0, "solid"), theme,
        number=number, shown=shown,
    )  # fmt: skip
    draw_marks(figure, marks, stack, inner, [f"y{number + place}" for place in range(along)], theme)
    return figure


def _within(cells: pd.DataFrame, shown: tuple[int, int]) -> pd.DataFrame:
    return cells[(cells["step"] + cells["width"] > shown[0]) & (cells["step"] <= shown[1])]


def _epoch_ticks(epochs: pd.DataFrame) -> dict[str, object]:
    """At most a dozen epochs, each written where it begins."""
    every = epochs.iloc[:: max(1, -(-len(epochs) // 12))]
    return {
        "title": "epoch",
        "tickvals": every["first_step"] - 0.5,
        "ticktext": [f"{epoch:,}" for epoch in every["epoch"]],
    }


def _cells(cells: pd.DataFrame, quantity: Quantity, stack: Stack) -> list[go.Heatmap]:
    width = int(cells["width"].iloc[0])
    low, high = cells[quantity.low], cells[quantity.high]
    ends = band_map.grid(cells, quantity.drawn(low, high), stack)
    share = quantity.kind == "share"
    drawn = ends if share else np.log10(np.maximum(ends, 1e-12))
    number = f".{DIGITS}~p" if share else f".{DIGITS}~g"
    value, said, columns = f"%{{customdata:{number}}}", steps_said(width), ["value"]
    alone = None
    data, digits = short_of_all(ends) if share else ends, None
    if one_step_each(cells):
        recorded = band_map.grid(cells, cells["last_step"], stack, np.float64)
        value, said = f"%{{customdata[0]:{number}}}", steps_said(width, "customdata[1]")
        data, columns = np.stack([data, recorded], axis=-1), ["value", "recorded_step"]
    elif stack.merged or width > 1:
        if quantity.low != quantity.high:
            value = f"%{{customdata[0]:{number}}} … %{{customdata[1]:{number}}}"
            data = np.stack([band_map.grid(cells, end, stack) for end in (low, high)], axis=-1)
            data = short_of_all(data) if share else data
            columns = ["lowest", "highest"]
            alone = f"%{{customdata[0]:{number}}}" if width == 1 else None  # one layer at one step has one value
        if not share:
            drawn, data, digits = coarse(drawn), rounded(data, DIGITS), [DIGITS] * len(columns)
    named = f"{said}<br>{quantity.label} <b>{'×' if quantity.kind == 'change' else ''}"
    return band_map.heatmaps(
        stack,
        cells,
        drawn,
        data,
        hover=f"{named}{value}</b>",
        hover_alone=alone and f"{named}{alone}</b>",
        meta={"columns": columns, "digits": digits},
        name=f"{quantity.label}, a step" if width == 1 else f"{quantity.label}, {width} steps",
    )


def _edges(cells: pd.DataFrame) -> tuple[float, float]:
    """Where the first cell begins and the last one ends."""
    if cells.empty:
        return 0.5, 1.5
    return float(cells["step"].min()) - 0.5, float((cells["step"] + cells["width"]).max()) - 0.5


@dataclass(frozen=True)
class _Scale:
    """The ends of the colour scale, in what is drawn; and whether something lies beyond them."""

    low: float
    high: float
    below: bool = False
    above: bool = False


def _limits(cells: pd.DataFrame, quantity: Quantity, *, zoomed: bool) -> _Scale:
    if quantity.kind == "share":
        return _Scale(0.0, 1.0)
    drawn = _finite(quantity.drawn(cells[quantity.low], cells[quantity.high]))
    if quantity.kind == "norm":
        if not len(drawn):
            return _Scale(0.0, 1.0)
        low, high = float(np.quantile(drawn, 0.002)), float(np.quantile(drawn, 0.998))
        high = max(high, low + 0.1)
        return _Scale(low, high, bool((drawn < low).any()), bool((drawn > high).any()))
    sizes = np.abs(drawn)
    if quantity.kind == "ratio":
        # One scale for the ratio before and after clipping, so that switching between the two shows what clipping took.
        pairs = zip(_RATIOS[::2], _RATIOS[1::2], strict=True)
        sizes = np.abs(np.concatenate([_finite(quantity.drawn(cells[low], cells[high])) for low, high in pairs]))
    least, most = 0.5 if quantity.kind == "change" else 0.3, MOST_DECADES_ZOOMED if zoomed else MOST_DECADES
    reach = float(np.quantile(sizes, 0.999 if zoomed else 0.995)) if len(sizes) else 1.0
    if quantity.kind == "change" and not zoomed:
        reach = 1.0
    reach = float(np.clip(reach, least, most))
    return _Scale(-reach, reach, bool((drawn < -reach).any()), bool((drawn > reach).any()))


def _finite(values: pd.Series) -> np.ndarray:
    found = values.to_numpy(dtype=float)
    return np.log10(found[(found > 0) & np.isfinite(found)])


def _colour_axis(
    quantity: Quantity, scale: _Scale, bound: float | None, share: float, theme: Theme
) -> dict[str, object]:
    if quantity.kind == "share":
        labels = {0.0: "never", 0.25: "25 %", 0.5: "50 %", 0.75: "75 %", 1.0: "always"}
    else:
        labels = _bar_labels(quantity, scale, bound)
    return {
        "colorscale": theme.diverging_scale if quantity.kind in ("ratio", "change") else theme.sequential_scale,
        "cmin": scale.low,
        "cmax": scale.high,
        "colorbar": {"tickvals": list(labels), "ticktext": list(labels.values()), "len": share},
    }


def _bar_labels(quantity: Quantity, scale: _Scale, bound: float | None) -> dict[float, str]:
    """What stands beside the colour bar, by its place; where colours end before the values do, it is said."""
    times = "×" if quantity.kind == "change" else ""
    labels = {float(np.log10(tick)): times + ratio_text(tick) for tick in ratio_ticks(scale.low, scale.high)}
    own: dict[float, str] = {}
    if scale.below:
        own[scale.low] = f"≤ {times}{_rounded(scale.low)}"
    if scale.above:
        own[scale.high] = f"≥ {times}{_rounded(scale.high)}"
    if quantity.kind == "change":
        own[0.0] = "<b>as usual</b>"
    near = 0.05 * (scale.high - scale.low)
    if quantity.kind == "ratio" and bound and scale.low <= np.log10(bound) <= scale.high:
        at = float(np.log10(bound))
        own = {place: text for place, text in own.items() if abs(place - at) > near}
        own[at] = f"<b>{ratio_text(bound)} bound</b>"
    return {place: text for place, text in labels.items() if all(abs(place - other) > near for other in own)} | own


def _rounded(decades: float) -> str:
    return ratio_text(float(f"{10**decades:.2g}"))
