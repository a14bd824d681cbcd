"""Metrics under a heatmap: a panel a quantity, along the heatmap's steps, or along steps of its own."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts.metric import Metric, axis, is_log, is_share
from app.charts.metrics import OWN_AXIS
from app.charts.text import escape, shorten
from app.charts.theme import Line, Theme

PANEL = 118
"""Pixels of a panel, of which a sixth lies between it and the next."""

AXIS = 46
"""Pixels for ticks and name of an axis that has panels below it."""

DASHES = ("solid", "dash", "dot", "dashdot")

Panel = tuple[Metric, ...]
Curves = Mapping[Metric, pd.DataFrame]


def panels(metrics: Iterable[Metric]) -> list[Panel]:
    """The metrics of a quantity together, in the order in which they come; those with steps of their own apart."""
    found: dict[tuple[str, str, bool], list[Metric]] = {}
    for metric in metrics:
        found.setdefault((metric.quantity, metric.scale, metric.own_steps), []).append(metric)
    return [tuple(panel) for panel in found.values()]


def stacked(curves: Curves) -> list[Panel]:
    """The panels of what has values, those along the heatmap's steps first."""
    return sorted(
        panels(metric for metric, curve in curves.items() if len(curve)), key=lambda panel: panel[0].own_steps
    )


def shared(stack: Sequence[Panel]) -> int:
    """How many panels lie along the heatmap's steps."""
    return sum(not panel[0].own_steps for panel in stack)


def height(stack: Sequence[Panel]) -> int:
    """Pixels that the panels take."""
    return PANEL * len(stack) + AXIS * (len(stack) - shared(stack))


def draw(
    figure: go.Figure,
    stack: Sequence[Panel],
    curves: Curves,
    top: int,
    inner: int,
    line: Line,
    theme: Theme,
    *,
    number: int = 2,
    shown: tuple[int, int] | None = None,
) -> None:
    """Draw the panels from `top` pixels above the bottom of the plot on, which is `inner` pixels high.

    number: that of the first panel's axis. shown: the steps of the heatmap, if these are not all; a panel along them
    reaches from the lowest to the highest of its values there.
    """
    for number, panel in enumerate(stack, start=number):  # noqa: B020
        top -= AXIS if panel[0].own_steps else 0
        values = [_shown(curves[metric], None if metric.own_steps else shown)["value"] for metric in panel]
        share = is_share(panel[0], values)
        figure.update_layout(
            {
                f"yaxis{number}": {
                    "domain": [max(0.0, (top - PANEL * 5 / 6) / inner), top / inner],
                    "anchor": f"x{number}" if panel[0].own_steps else "x",
                    "title": {"text": escape(shorten(panel[0].quantity.replace("_", " "), 17)), "standoff": 6},
                    "nticks": 4,
                    "fixedrange": True,
                    **axis(panel[0], values),
                    **(_range(panel[0], values) if shown and not panel[0].own_steps else {}),
                }
            }
        )
        if panel[0].own_steps:
            figure.update_layout({f"xaxis{number}": _own_axis(number)})
        _draw_panel(figure, panel, curves, number, top / inner, share, line, theme)
        top -= PANEL


def _shown(curve: pd.DataFrame, steps: tuple[int, int] | None) -> pd.DataFrame:
    within = curve if steps is None else curve[(curve["step"] >= steps[0]) & (curve["step"] <= steps[1])]
    return within if len(within) else curve


def _range(metric: Metric, values: Sequence[pd.Series]) -> dict[str, object]:
    """From the lowest to the highest of some values, with a little room."""
    found = np.concatenate([series.to_numpy(dtype=float) for series in values])
    found = found[np.isfinite(found)]
    if is_log(metric, values):
        found = np.log10(found[found > 0])
    if not len(found):
        return {}
    room = 0.05 * max(float(np.ptp(found)), 1e-6)
    return {"range": [float(found.min()) - room, float(found.max()) + room]}


def _own_axis(number: int) -> dict[str, object]:
    return {
        "anchor": f"y{number}",
        "title": {"text": OWN_AXIS, "standoff": 4},
        "showgrid": False,
        "fixedrange": True,
        "hoverformat": ",.0f",
    }


def _draw_panel(
    figure: go.Figure,
    panel: Panel,
    curves: Curves,
    number: int,
    top: float,
    share: bool,
    line: Line,
    theme: Theme,
) -> None:
    labels = _labels(panel)
    measured = any(metric.split in ("test", "validation") for metric in panel)
    for place, metric in enumerate(panel):
        # Of test set and training the first is what counts.
        behind = measured and metric.split == "train"
        alike = [each for each in panel[:place] if (each.split == "train") == (metric.split == "train")]
        colour = theme.faint if behind else line.colour(theme)
        curve = curves[metric]
        points = len(curve) == 1 or (not behind and len(curve) <= 60)
        figure.add_trace(
            go.Scatter(
                x=curve["step"],
                y=curve["value"],
                xaxis=f"x{number}" if metric.own_steps else "x",
                yaxis=f"y{number}",
                name=escape(metric.name),
                mode="lines+markers" if points else "lines",
                line={"color": colour, "width": 1 if behind else 2 if points else 1.5, "dash": DASHES[len(alike) % 4]},
                marker={"size": 4},
                opacity=0.7 if behind else 1,
                hovertemplate=f"%{{fullData.name}} <b>%{{y:{'.2%' if share else '.4~g'}}}</b><br>step %{{x:,.0f}}"
                "<extra></extra>",
            )
        )
        if labels[place]:
            figure.add_annotation(
                text=escape(labels[place]),
                x=1,
                xref="paper",
                xanchor="left",
                xshift=6,
                y=top,
                yref="paper",
                yanchor="top",
                yshift=-14 * place,
                showarrow=False,
                font={"size": 11, "color": colour},
            )


def _labels(panel: Panel) -> list[str]:
    """What tells the lines of a panel apart: the split, or the whole name where two are of one; 5 have room."""
    splits = [metric.split for metric in panel]
    if len(panel) == 1:
        return [splits[0] or ""]
    clear = all(splits) and len(set(splits)) == len(splits)
    return [metric.split or "" if clear else shorten(metric.name, 15) for metric in panel][:6] + [""] * (len(panel) - 6)
