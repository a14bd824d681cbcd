"""The bounds that layers of a model of many would need: a line a family, a mark a layer."""

import pandas as pd
import plotly.graph_objects as go

from app.charts.bands import labels
from app.charts.bounds import RIGHT, mark_bound, ratio_axis
from app.charts.layers import Side
from app.charts.text import escape
from app.charts.theme import LIGHT, Theme

LINE = 22
"""Pixels of a family."""

TOP, BOTTOM, BAR = 26, 44, 70
"""Pixels above and below the lines, and for the colours of the blocks."""


def family_bounds(
    ranges: pd.DataFrame,
    families: pd.Series,
    *,
    side: Side = "upper",
    bound: float,
    own_bound: float | None = None,
    wanted: float,
    theme: Theme = LIGHT,
) -> go.Figure:
    """A mark for each layer at its own bound, in its block's shade; a triangle for one bound of the family.

    ranges: a row a layer: layer, family, block, own (its bound), q50 and clipped_by_all (a share).
    families: the bound of each family, from top to bottom.
    bound: the one that is suggested for all layers. own_bound: the one that the run had.
    """
    names = [escape(family) for family in families.index]
    inner = LINE * len(names)
    figure = go.Figure(layout={"template": theme.template, "height": inner + TOP + BOTTOM, "meta": {"rows": "family"}})
    told = labels(list(families.index))[1]
    counts = ranges["family"].value_counts()
    texts = [
        escape(label) + (f" <b>×{counts[family]:,}</b>" if counts[family] > 1 else "")
        for label, family in zip(told, families.index, strict=True)
    ]
    in_blocks = ranges["block"].notna()
    for some, blocks in ((ranges[in_blocks], True), (ranges[~in_blocks], False)):
        if len(some):
            figure.add_trace(_layers(some, blocks, bound, wanted, theme))
    figure.add_trace(
        go.Scatter(
            x=families,
            y=names,
            name=f"one bound for {100 * wanted:g}% of the family",
            mode="markers",
            marker={
                "symbol": "triangle-up",
                "size": 11,
                "color": getattr(theme, side),
                "line": {"width": 1, "color": theme.background},
            },
            hovertemplate=f"<b>%{{y}}</b><br>one bound for {100 * wanted:g}%: <b>%{{x:.3~g}}</b><extra></extra>",
        )
    )
    every = [*ranges["own"], *families, bound, *([own_bound] if own_bound else [])]
    longest = max(len(label) for label in told) + 6
    figure.update_layout(
        hovermode="closest",
        margin={"l": max(76, 22 + round(5.6 * longest)), "r": BAR if in_blocks.any() else RIGHT, "t": TOP, "b": BOTTOM},
        xaxis=ratio_axis(every, bound) | {"title": f"{side} bound"},
        yaxis={
            "type": "category",
            "categoryorder": "array",
            "categoryarray": names,
            "range": [len(names) - 0.5, -0.5],
            "tickvals": names,
            "ticktext": texts,
            "fixedrange": True,
        },
        coloraxis={
            "colorscale": [[0, theme.sequential[2]], [1, theme.sequential[-1]]],
            "colorbar": {"title": {"text": "block", "font": {"size": 11}}, "nticks": 6},
        },
    )
    low, high = (10**end for end in figure.layout.xaxis.range)
    far = own_bound is None and bound**3 > low * high**2  # at its right there is no room
    left = far or (own_bound is not None and own_bound > bound)
    mark_bound(figure, bound, f"<b>{bound:g}</b> suggested", getattr(theme, side), "solid", left=left)
    if own_bound is not None:
        mark_bound(figure, own_bound, f"{own_bound:g} this run had", theme.faint, "dot", left=not left)
    return figure


def _layers(ranges: pd.DataFrame, blocks: bool, bound: float, wanted: float, theme: Theme) -> go.Scatter:
    colour = {"color": ranges["block"].astype(int), "coloraxis": "coloraxis"} if blocks else {"color": theme.text}
    return go.Scatter(
        x=ranges["own"],
        y=[escape(family) for family in ranges["family"]],
        name=f"its own bound for {100 * wanted:g}%: a mark a layer",
        mode="markers",
        marker={"symbol": "line-ns", "size": 13, "line": {"width": 1.6, **colour}, **colour},
        meta={"columns": ["layer", "median", "clipped_by_all"]},
        customdata=[
            (escape(layer), median, share)
            for layer, median, share in zip(ranges["layer"], ranges["q50"], ranges["clipped_by_all"], strict=True)
        ],
        hovertemplate=(
            "<b>%{customdata[0]}</b><br>its own bound for "
            f"{100 * wanted:g}%: <b>%{{x:.3~g}}</b><br>median <b>%{{customdata[1]:.3~g}}</b><br>"
            f"a bound of {bound:g} would clip <b>%{{customdata[2]:.1%}}</b> of its steps<extra></extra>"
        ),
    )
