"""One layer's ratio before and after clipping, with the bounds, and the two norms that it comes from."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts.heatmap import RIGHT
from app.charts.text import ratio_text, ratio_ticks
from app.charts.theme import LIGHT, Theme

_SMALLEST = 1e-12
"""A logarithmic axis has no zero."""

_NORMS = ("weight_norm", "update_norm")


def layer_curve(cells: pd.DataFrame, *, left: int = 76, at: int | None = None, theme: Theme = LIGHT) -> go.Figure:
    """Above, the ratio before and after clipping; below, ‖w‖ and ‖update‖.

    Where no ratio can be taken, since a norm is 0 or not finite, that before clipping has a gap. Where a cell has
    several recorded steps, the line of a ratio is the geometric mean and that of a norm the largest, and the band about
    it reaches from the smallest to the largest; where each has one, what clipping took away is filled, unless the layer
    is not adapted.

    cells: a row a cell, as of ratio_envelope: step, width, rows, last_step (the last that was recorded), and of each
    quantity the smallest and the largest.
    left: pixels at the left, so that the steps lie under those of a heatmap above. at: a step to mark.
    """
    figure = go.Figure(layout={"template": theme.template, "height": 430})
    cells = _with_gaps(cells)
    single = bool((cells["rows"] == 1).all())
    middle = cells["last_step"] if single else cells["step"] + (cells["width"] - 1) / 2
    if not single:
        _draw_band(figure, middle, cells, "trust_ratio", theme.upper)
        _draw_band(figure, middle, cells, "clipped_ratio", theme.text)
    before, after = _mean(cells, "trust_ratio"), _mean(cells, "clipped_ratio")
    if single and not exempt(cells):
        _draw_area(figure, middle, after, before, "clipped away", theme.upper)
    figure.add_trace(_line(middle, after, "after clipping", theme.text, 2))
    figure.add_trace(_line(middle, before, "before clipping", theme.upper, 1.5))
    _draw_bounds(figure, middle, cells, theme)
    for name, column, colour in (("‖w‖", "weight_norm", theme.runs[2]), ("‖update‖", "update_norm", theme.runs[3])):
        if not single:
            _draw_band(figure, middle, cells, column, colour, axis="y2")
        figure.add_trace(_line(middle, cells[f"{column}_max"], name, colour, 1.5, axis="y2"))
    ratios = [cells[f"{column}_{end}"] for column in ("trust_ratio", "clipped_ratio") for end in ("min", "max")]
    norms = [cells[f"{column}_{end}"] for column in _NORMS for end in ("min", "max")]
    figure.update_layout(
        margin={"l": left, "r": RIGHT, "t": 8, "b": 44},
        hovermode="x unified",
        xaxis={"title": "step", "anchor": "y2", "showgrid": False, "hoverformat": ",.0f"},
        yaxis={"domain": [0.42, 1], "type": "log", "title": "trust ratio", **_log_ticks(*ratios)},
        yaxis2={"domain": [0, 0.34], "type": "log", "title": "norm", "anchor": "x", **_log_ticks(*norms)},
    )
    _label_ends(figure, theme)
    if at is not None and len(cells) and cells["step"].min() <= at <= cells["last_step"].max():
        figure.add_vline(x=at, line={"color": theme.faint, "width": 1, "dash": "dot"})
    return figure


def exempt(cells: pd.DataFrame) -> bool:
    """Whether the layer is adapted in none of the cells: its bounds are both 1 there, and its steps used that."""
    return bool(_exempt(cells).all())


def _exempt(cells: pd.DataFrame) -> pd.Series:
    return (cells["lower"] == 1) & (cells["upper"] == 1)


def has_ratio(cells: pd.DataFrame) -> pd.Series:
    """Whether a ratio could be taken in some step of each cell: in none where a norm is 0 or not finite throughout."""
    norms = [(cells[f"{norm}_min"].astype(float), cells[f"{norm}_max"].astype(float)) for norm in _NORMS]
    return pd.Series(np.logical_and.reduce([(low < np.inf) & (high > 0) for low, high in norms]), cells.index)


def _with_gaps(cells: pd.DataFrame) -> pd.DataFrame:
    """Without the ratio before clipping where none could be taken: the log has a 1 there, as the step used it."""
    ratios = [f"trust_ratio_{what}" for what in ("min", "max", "geometric_mean")]
    return cells.assign(**{name: cells[name].astype(float).where(has_ratio(cells)) for name in ratios})


def _mean(cells: pd.DataFrame, column: str) -> pd.Series:
    return cells[f"{column}_geometric_mean"].clip(lower=_SMALLEST)


def _draw_band(
    figure: go.Figure, steps: pd.Series, cells: pd.DataFrame, column: str, colour: str, axis: str = "y"
) -> None:
    """From the smallest to the largest of each cell."""
    what = {"trust_ratio": "before", "clipped_ratio": "after", "weight_norm": "‖w‖", "update_norm": "‖update‖"}[column]
    low, high = (cells[f"{column}_{end}"].clip(lower=_SMALLEST) for end in ("min", "max"))
    _draw_area(figure, steps, low, high, f"{what}, range", colour, axis)
    figure.add_trace(_line(steps, low, f"{what}, smallest", colour, 0, axis))
    figure.add_trace(_line(steps, high, f"{what}, largest", colour, 0, axis))


def _draw_area(
    figure: go.Figure, steps: pd.Series, low: pd.Series, high: pd.Series, name: str, colour: str, axis: str = "y"
) -> None:
    """Fill between two lines, each stretch for itself: a fill from line to line would go on over the gaps of one."""
    edges = pd.DataFrame({"x": steps.astype(float), "low": low.astype(float), "high": high.astype(float)})
    there = edges.notna().all(axis=1) & (edges["high"] < np.inf)
    stretches = [its for _, its in edges[there].groupby((there != there.shift()).cumsum()[there]) if len(its) > 1]
    if not stretches:
        return
    x = [part for its in stretches for part in (its["x"], its["x"][::-1], [np.nan])]
    y = [part for its in stretches for part in (its["low"], its["high"][::-1], [np.nan])]
    area = _line(steps, np.concatenate(y), name, colour, 0, axis)
    figure.add_trace(area.update(x=np.concatenate(x), fill="toself", fillcolor=_faded(colour), hoverinfo="skip"))


def _line(
    steps: pd.Series, values: pd.Series | np.ndarray, name: str, colour: str, width: float, axis: str = "y"
) -> go.Scatter:
    return go.Scatter(
        x=steps,
        y=values,
        name=name,
        yaxis=axis,
        mode="lines" if len(steps) > 1 else "markers",
        line={"color": colour, "width": width},
        hovertemplate="%{y:.4~g}",
    )


def _draw_bounds(figure: go.Figure, steps: pd.Series, cells: pd.DataFrame, theme: Theme) -> None:
    for name, column, colour in (("upper bound", "upper", theme.upper), ("lower bound", "lower", theme.lower)):
        bounds = cells[column].where(np.isfinite(cells[column]) & (cells[column] > 0) & ~_exempt(cells))
        if bounds.notna().any():
            line = _line(steps, bounds, name, colour, 1)
            line.line.dash = "dash"
            figure.add_trace(line)
            figure.add_annotation(
                x=1,
                xref="paper",
                xanchor="right",
                y=float(np.log10(bounds.dropna().iloc[-1])),
                yref="y",
                yanchor="bottom" if column == "lower" else "top",
                text=f"{name} {ratio_text(bounds.dropna().iloc[-1])}",
                showarrow=False,
                font={"size": 11, "color": colour},
            )


def _label_ends(figure: go.Figure, theme: Theme) -> None:
    """Name each line at its right end; of two that would overlap, the later one gives way."""
    taken: dict[str, list[float]] = {}
    for trace in (trace for trace in figure.data if trace.line.dash != "dash" and trace.line.width):
        ends = pd.Series(np.asarray(trace.y, dtype=float)).dropna()
        if ends.empty or not 0 < ends.iloc[-1] < np.inf:
            continue
        place = float(np.log10(ends.iloc[-1]))
        axis = trace.yaxis or "y"
        reach = _reach(figure, axis)
        near = 0.085 * reach if axis == "y" else 0.16 * reach
        while any(abs(place - other) < near for other in taken.get(axis, [])):
            place += near
        taken.setdefault(axis, []).append(place)
        figure.add_annotation(
            x=1,
            xref="paper",
            xanchor="left",
            xshift=6,
            y=place,
            yref=axis,
            text=trace.name,
            showarrow=False,
            font={"size": 11, "color": trace.line.color},
        )


def _reach(figure: go.Figure, axis: str) -> float:
    values = np.concatenate([np.asarray(trace.y, dtype=float) for trace in figure.data if (trace.yaxis or "y") == axis])
    logs = np.log10(values[np.isfinite(values) & (values > 0)])
    return max(0.05, float(logs.max() - logs.min())) if len(logs) else 1.0


def _log_ticks(*values: pd.Series) -> dict[str, list]:
    every = pd.concat(values)
    logs = np.log10(every[np.isfinite(every) & (every > 0)])
    ticks = ratio_ticks(float(logs.min()) - 0.1, float(logs.max()) + 0.1) if len(logs) else [1.0]
    return {"tickvals": ticks, "ticktext": [ratio_text(tick) for tick in ticks]}


def _faded(colour: str) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"
