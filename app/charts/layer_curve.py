"""One layer's ratio before and after clipping, with the bounds, and the two norms that it comes from."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts.heatmap import RIGHT
from app.charts.text import ratio_text, ratio_ticks
from app.charts.theme import LIGHT, Theme


def layer_curve(rows: pd.DataFrame, *, left: int = 76, theme: Theme = LIGHT) -> go.Figure:
    """Above, the ratio before clipping, and filled what clipping took away; below, ‖w‖ and ‖update‖.

    rows: a row a step: trust_ratio, clipped_ratio, lower, upper, weight_norm, update_norm.
    left: pixels at the left, so that the steps lie under those of a heatmap above.
    """
    figure = go.Figure(layout={"template": theme.template, "height": 430})
    steps = rows["step"]
    before, after = rows["trust_ratio"].clip(lower=1e-12), rows["clipped_ratio"].clip(lower=1e-12)
    figure.add_trace(_line(steps, after, "after clipping", theme.text, 2))
    figure.add_trace(_line(steps, before, "before clipping", theme.upper, 1.5, fill="tonexty"))
    _draw_bounds(figure, rows, theme)
    figure.add_trace(_line(steps, rows["weight_norm"], "‖w‖", theme.runs[2], 1.5, axis="y2"))
    figure.add_trace(_line(steps, rows["update_norm"], "‖update‖", theme.runs[3], 1.5, axis="y2"))
    figure.update_layout(
        margin={"l": left, "r": RIGHT, "t": 8, "b": 44},
        hovermode="x unified",
        xaxis={"title": "step", "anchor": "y2", "showgrid": False},
        yaxis={"domain": [0.42, 1], "type": "log", "title": "trust ratio", **_log_ticks(before, after)},
        yaxis2={
            "domain": [0, 0.34],
            "type": "log",
            "title": "norm",
            "anchor": "x",
            **_log_ticks(rows["weight_norm"], rows["update_norm"]),
        },
    )
    _label_ends(figure, theme)
    return figure


def _line(
    steps: pd.Series, values: pd.Series, name: str, colour: str, width: float, axis: str = "y", fill: str | None = None
) -> go.Scatter:
    return go.Scatter(
        x=steps,
        y=values,
        name=name,
        yaxis=axis,
        mode="lines" if len(steps) > 1 else "markers",
        line={"color": colour, "width": width},
        fill=fill,
        fillcolor=_faded(colour) if fill else None,
        hovertemplate="%{y:.4~g}",
    )


def _draw_bounds(figure: go.Figure, rows: pd.DataFrame, theme: Theme) -> None:
    for name, column, colour in (("upper bound", "upper", theme.upper), ("lower bound", "lower", theme.lower)):
        bounds = rows[column].where(np.isfinite(rows[column]) & (rows[column] > 0))
        if bounds.notna().any():
            line = _line(rows["step"], bounds, name, colour, 1)
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
    for trace in (trace for trace in figure.data if trace.line.dash != "dash"):
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
