"""A picture of bands (app.charts.bands): heatmaps under each other along one axis of steps, with a label each."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts.bands import GAP, Band, Stack, depth_labels
from app.charts.short_names import short_names
from app.charts.text import escape, label_margin, shorten
from app.charts.theme import Theme

NUMBERED = 30
"""From so many pixels on a band has the numbers of its first and its last block at its edge."""

ROW_NAMED = 11
"""From so many pixels on each row has its own. Names that are nearer to each other cannot be read."""

LEAST_DIVIDED = 8
"""Where blocks are of so many pixels, gaps between them leave most of the picture."""


def left_margin(stack: Stack) -> int:
    """Room for the labels, in pixels."""
    if stack.order == "depth":
        return label_margin([row.mark for row in stack.rows])
    labels = [band.label for band in stack.bands] + [
        row.mark for band in stack.bands if not band.label for row in band.rows
    ]
    return max(76, 44 + round(5.4 * max((len(label) for label in labels), default=0)))


def axis(place: int) -> str:
    """The name of a band's axis, as traces say it."""
    return "y" if place == 0 else f"y{place + 1}"


def draw_axes(figure: go.Figure, stack: Stack, bottom: int, inner: int, theme: Theme) -> None:
    """Give each band its axis and its label, a click on which is reported by the names of the band's families.

    bottom: pixels under the bands; inner: those of the whole plot.
    """
    top = bottom + stack.height
    for place, (band, begins) in enumerate(zip(stack.bands, stack.tops(), strict=True)):
        high, low = top - begins, top - begins - band.pixels
        names = [escape(row.said) for row in band.rows]
        settings = {
            "domain": [low / inner, min(1.0, high / inner)],
            "type": "category",
            "categoryorder": "array",
            "categoryarray": names,
            "range": [len(names) - 0.5, -0.5],
            "fixedrange": True,
            "showgrid": False,
            "tickmode": "array",
            **(_ticks(stack, place) if stack.order == "kind" else _depth_ticks(stack)),
        }
        figure.update_layout({f"yaxis{'' if place == 0 else place + 1}": settings})
        if band.label:
            figure.add_annotation(
                text=escape(band.label),
                hovertext=escape(shorten(" | ".join(band.families), 80)) + "<br>click to show these layers alone",
                name="\n".join(band.families),
                captureevents=True,
                **_at_left(shift=-24, y=(high + low) / 2 / inner, anchor="middle"),
                font={"size": 11, "color": theme.faint},
            )
    if stack.head:
        figure.add_annotation(
            text=escape(shorten(stack.head)),
            **_at_left(shift=-24, y=top / inner, anchor="bottom"),
            font={"size": 10, "color": theme.faint},
            opacity=0.8,
        )
    if stack.order == "depth":
        _divide(figure, stack, theme)


def _at_left(*, shift: int, y: float, anchor: str) -> dict[str, object]:
    return {
        "x": 0,
        "xref": "paper",
        "xanchor": "right",
        "xshift": shift,
        "y": min(1.0, y),
        "yref": "paper",
        "yanchor": anchor,
        "showarrow": False,
        "borderpad": 0,
    }


def _ticks(stack: Stack, place: int) -> dict[str, object]:
    """The names of single layers, or the numbers of blocks: all of them if there is room, or those at the edges."""
    band = stack.bands[place]
    if not band.label or band.row_pixels >= ROW_NAMED:
        shown = list(range(len(band.rows)))
    elif band.pixels >= NUMBERED:
        inset = round(5 / band.row_pixels)  # so that a number stands beside its band, and not beside the gap
        shown = [inset, len(band.rows) - 1 - inset]
    else:
        return {"tickvals": [], "ticktext": []}
    texts = [band.rows[number].mark for number in shown]
    if len(shown) == 2:
        texts = [band.rows[0].mark.partition("–")[0], band.rows[-1].mark.rpartition("–")[2]]
    return {
        "tickvals": [escape(band.rows[number].said) for number in shown],
        "ticktext": [escape(text) for text in texts],
        "tickfont": {"size": 9 if band.label else 11},
        "ticklabelstandoff": 3 if band.label else 22,
    }


def _depth_ticks(stack: Stack) -> dict[str, object]:
    """The names of as many rows as there is room for, or where rows are thinner than that of their blocks."""
    names = [row.mark for row in stack.rows]
    every = max(1, -(-len(names) * ROW_NAMED // stack.height))
    named = [(place, names[place]) for place in range(0, len(names), every)]
    if every > 1 and (found := depth_labels(names, stack.height)):
        named = _apart(found, stack.height / len(names))
    return {
        "tickvals": [escape(stack.rows[place].said) for place, _ in named],
        "ticktext": [escape(label) for label in short_names([name for _, name in named])],
        "ticklabelstandoff": 5,
    }


def _apart(blocks: Sequence[tuple[str, int, int]], row_pixels: float) -> list[tuple[int, str]]:
    """The middle row and the name of every nth block, without those whose names would lie on the one before."""
    usual = float(np.median([end - begin for _, begin, end in blocks])) * row_pixels
    found: list[tuple[int, str]] = []
    for name, begin, end in blocks[:: max(1, math.ceil(ROW_NAMED / usual))]:
        middle = (begin + end - 1) // 2
        if not found or (middle - found[-1][0]) * row_pixels >= ROW_NAMED:
            found.append((middle, name))
    return found


def _divide(figure: go.Figure, stack: Stack, theme: Theme) -> None:
    """A gap between blocks of layers in depth order, where they are high enough."""
    found = depth_labels([row.mark for row in stack.rows], stack.height)
    if len(found) * LEAST_DIVIDED > stack.height:
        return
    for _, begin, _ in found[1:]:
        figure.add_shape(
            type="line",
            xref="paper",
            x0=0,
            x1=1,
            yref="y",
            y0=begin - 0.5,
            y1=begin - 0.5,
            line={"color": theme.background, "width": 2},
        )


def grid(cells: pd.DataFrame, values: pd.Series, stack: Stack, dtype: type[np.floating] = np.float32) -> np.ndarray:
    """[rows, columns] of one value a cell, NaN where there is none.

    cells: row, step and width, which is the same in all.
    """
    first, columns = extent(cells)
    found = np.full((len(stack.rows), columns), np.nan, dtype=dtype)
    found[cells["row"].to_numpy(), ((cells["step"] - first) // cells["width"]).to_numpy()] = values.to_numpy(
        dtype=dtype
    )
    return found


def extent(cells: pd.DataFrame) -> tuple[int, int]:
    """The step that the first column begins with, and how many columns there are."""
    first, width = int(cells["step"].min()), int(cells["width"].iloc[0])
    return first, (int(cells["step"].max()) - first) // width + 1


def heatmaps(
    stack: Stack,
    cells: pd.DataFrame,
    drawn: np.ndarray,
    data: np.ndarray,
    *,
    hover: str,
    hover_alone: str | None = None,
    meta: dict,
    **settings: object,
) -> list[go.Heatmap]:
    """A heatmap a band. drawn: [rows, columns], in what the colour axis counts; data: the same, as a hover says it.
    hover_alone: what a hover says in a band each of whose rows is a layer, where that is not the same.

    Its meta has `first_row`, the number of the band's first row, by which a click is told, beside `meta`.
    """
    first, _ = extent(cells)
    width = int(cells["width"].iloc[0])
    return [
        go.Heatmap(
            z=drawn[band.first : band.first + len(band.rows)],
            x0=first + (width - 1) / 2,  # a cell's middle
            dx=width,
            y=[escape(row.said) for row in band.rows],
            yaxis=axis(place),
            customdata=data[band.first : band.first + len(band.rows)],
            meta={"first_row": band.first, **meta},
            coloraxis="coloraxis",
            hovertemplate=f"<b>%{{y}}</b><br>{_hover(band, hover, hover_alone)}<extra></extra>",
            hoverongaps=False,
            zsmooth=False,
            **settings,
        )
        for place, band in enumerate(stack.bands)
    ]


def _hover(band: Band, hover: str, alone: str | None) -> str:
    return hover if alone is None or any(len(row.layers) > 1 for row in band.rows) else alone


def bars(stack: Stack, cells: pd.DataFrame, name: str, most: int, theme: Theme) -> list[go.Scatter]:
    """A bar over each stretch of cells of a row that follow each other; `most` of them."""
    if cells.empty:
        return []
    cells = cells.sort_values(["row", "step"])
    goes_on = (cells["row"] == cells["row"].shift()) & (cells["step"] == (cells["step"] + cells["width"]).shift())
    stretches = cells.assign(end=cells["step"] + cells["width"]).groupby((~goes_on).cumsum(), sort=False)
    found = stretches.agg(row=("row", "first"), first=("step", "first"), end=("end", "last")).head(most)
    traces = []
    for place, band in enumerate(stack.bands):
        its = found[(found["row"] >= band.first) & (found["row"] < band.first + len(band.rows))]
        if its.empty:
            continue
        names = [escape(band.rows[row - band.first].said) for row in its["row"]]
        gap = np.full(len(its), np.nan)
        traces.append(
            go.Scatter(
                x=np.stack([its["first"] - 0.5, its["end"] - 0.5, gap], axis=1).ravel(),
                meta={"x": np.stack([its["first"], its["end"] - 1, gap], axis=1).ravel().tolist()},
                y=np.stack([names, names, np.full(len(its), None)], axis=1).ravel(),
                yaxis=axis(place),
                name=name,
                mode="lines",
                line={"color": theme.text, "width": max(2.0, 0.6 * band.row_pixels)},
                hoverinfo="skip",
            )
        )
    return traces


def gaps(stack: Stack) -> Sequence[tuple[int, int]]:
    """From where to where there is nothing between two bands, in pixels from the top."""
    return [(top - GAP, top) for top in stack.tops()[1:]]
