"""The difference of two heatmaps: where, and by how much, one run's ratios or hits are above another's."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts import band_map
from app.charts.bands import Stack
from app.charts.cells import one_step_each, steps_said
from app.charts.heatmap import RIGHT
from app.charts.rounding import coarse, rounded
from app.charts.run_names import told_apart
from app.charts.text import escape, ratio_text, ratio_ticks
from app.charts.theme import LIGHT, Theme

LEAST, MOST, MOST_ZOOMED = 0.301_1, 2.0, 4.0
"""Decades at which the colours of a ratio's factor end: twice at least, a hundredfold at most, or ten thousand where
one has zoomed in."""

DIGITS = (4, 4, 3)
"""A hover has so many digits of both ratios and of their factor, and a saved table where they are of several rows."""

MOST_BARS = 5000
"""So many stretches of steps are marked as not finite."""


@dataclass(frozen=True)
class Quantity:
    """What can be compared: a ratio by its factor, a share by the difference. name: of what the log has."""

    name: str
    label: str
    ratio: bool


QUANTITIES = (
    Quantity("trust_ratio", "Ratio before clipping", True),
    Quantity("clipped_ratio", "Ratio after clipping", True),
    Quantity("hit_rate", "Clip hits", False),
)


def difference_map(
    cells: pd.DataFrame,
    *,
    stack: Stack,
    quantity: Quantity,
    names: tuple[str, str],
    detail: pd.DataFrame | None = None,
    shown: tuple[int, int] | None = None,
    theme: Theme = LIGHT,
) -> go.Figure:
    """Orange where the first run is above the second, blue where it is below, the page's colour where they agree.

    cells: a row a cell: row (in `stack`), step, width, stride, rows, last_step, not_finite, one and other (the values
    of the two runs) and apart, which is log10 of the factor for a ratio; all three NaN where one of the runs has none.
    detail: finer cells of the same rows for a part of the steps, drawn over `cells`.
    shown: the first and last step to show; None for all. The colours are those of what is shown.
    """
    top = 24 if stack.head else 10
    figure = go.Figure(layout={"template": theme.template, "height": stack.height + 46 + top})
    parts = [part for part in (cells, detail) if part is not None and len(part)]
    for part in parts:
        figure.add_traces(_cells(part, stack, quantity, names))
    finest = parts[-1]
    broken = finest[finest["not_finite"] > 0]
    figure.add_traces(band_map.bars(stack, broken, "NaN or infinite in A or B", MOST_BARS, theme))
    seen = finest
    if shown:
        seen = finest[(finest["step"] + finest["width"] > shown[0]) & (finest["step"] <= shown[1])]
    begin, end = int(cells["step"].min()), int((cells["step"] + cells["width"]).max())
    figure.update_layout(
        margin={"l": band_map.left_margin(stack), "r": RIGHT, "t": top, "b": 46},
        hovermode="closest",
        coloraxis=_colours(quantity, seen["apart"].to_numpy(dtype=float), theme, zoomed=shown is not None),
        xaxis={
            "title": "step",
            "anchor": band_map.axis(len(stack.bands) - 1),
            "showgrid": False,
            "autorangeoptions": {"clipmin": begin - 0.5, "clipmax": end - 0.5},
            "range": [shown[0] - 0.5, shown[1] + 0.5] if shown else None,
        },
    )
    band_map.draw_axes(figure, stack, 0, stack.height, theme)
    return figure


def _cells(cells: pd.DataFrame, stack: Stack, quantity: Quantity, names: tuple[str, str]) -> list[go.Heatmap]:
    short = told_apart(names, 36)
    one, other = (escape(short[name]) for name in names)
    number = f".{DIGITS[0]}~g" if quantity.ratio else ".1%"
    apart = cells["apart"].astype(float)
    told = 10**apart if quantity.ratio else 100 * apart
    says = (
        f"factor <b>%{{customdata[2]:.{DIGITS[2]}~g}}</b>"
        if quantity.ratio
        else "difference <b>%{customdata[2]:+.1f} points</b>"
    )
    width = int(cells["width"].iloc[0])
    drawn = band_map.grid(cells, apart, stack)
    data = [band_map.grid(cells, values, stack) for values in (cells["one"], cells["other"], told)]
    said, named, digits = steps_said(width), ["a", "b", "factor" if quantity.ratio else "difference_in_points"], None
    if not stack.merged and one_step_each(cells[cells["apart"].notna()], runs=2):
        data.append(band_map.grid(cells, cells["last_step"], stack, np.float64))
        said, named = steps_said(width, "customdata[3]"), [*named, "recorded_step"]
    elif quantity.ratio and (stack.merged or width > 1):
        drawn, digits = coarse(drawn), DIGITS
        data = [rounded(each, most) for each, most in zip(data, digits, strict=True)]
    most = "<br>of its tensors the one furthest apart" if stack.merged else ""
    return band_map.heatmaps(
        stack,
        cells,
        drawn,
        np.stack(data, axis=-1),
        hover=f"{said}<br>A {one} <b>%{{customdata[0]:{number}}}</b><br>B {other} <b>%{{customdata[1]:{number}}}</b>"
        f"<br>{says}{most}",
        meta={"columns": named, "digits": digits},
        name=f"A {one}, B {other}",
    )


def _colours(quantity: Quantity, apart: np.ndarray, theme: Theme, *, zoomed: bool) -> dict[str, object]:
    """The same on both sides; where they end before the values do, it is said."""
    sizes = np.abs(apart[np.isfinite(apart)])
    reach = 1.0
    if quantity.ratio:
        reach = float(np.quantile(sizes, 0.999 if zoomed else 0.995)) if len(sizes) else LEAST
        reach = float(np.clip(reach, LEAST, MOST_ZOOMED if zoomed else MOST))
        labels = {float(np.log10(factor)): f"×{ratio_text(factor)}" for factor in ratio_ticks(-reach, reach)}
        ends = {}
        for end, sign, beyond in ((-reach, "≤", apart < -reach), (reach, "≥", apart > reach)):
            if beyond.any():
                ends[end] = f"{sign} ×{ratio_text(float(f'{10**end:.2g}'))}"
        near = 0.1 * reach
        labels = {at: text for at, text in labels.items() if all(abs(at - end) > near for end in (*ends, 0.0))} | ends
        labels[0.0] = "<b>equal</b>"
    else:
        labels = {-1.0: "−100 points", -0.5: "−50", 0.0: "<b>equal</b>", 0.5: "+50", 1.0: "+100 points"}
    return {
        "colorscale": theme.diverging_scale,
        "cmin": -reach,
        "cmax": reach,
        "colorbar": {"tickvals": list(labels), "ticktext": list(labels.values())},
    }
