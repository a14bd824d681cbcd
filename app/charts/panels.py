"""Panels beside and under each other in one figure: where each stands, its title, and the legend above them all."""

from dataclasses import dataclass
from itertools import pairwise

import plotly.graph_objects as go

from app.charts.text import escape

GAP = 52
"""Pixels between two rows: for the ticks of the upper one and the titles of the lower one."""

BELOW = 44
"""Pixels under the last row, for ticks and the axis's name."""

HEADING, OWN_AXIS = 30, 22
"""Pixels above a row with a heading, and under one with an axis of its own."""

LEGEND_ROW = 22
MOST_LEGEND_ROWS = 5
"""A legend of more rows than this scrolls."""

MOST_PLACES = 3
"""Columns at most."""


@dataclass(frozen=True)
class Panel:
    """A place in a figure. number: what its axes are called after `x` and `y`, '' for the first."""

    number: str

    @property
    def x(self) -> str:
        """The name of its x axis, as a trace says it."""
        return f"x{self.number}"

    @property
    def y(self) -> str:
        """The name of its y axis."""
        return f"y{self.number}"


def lay_out(
    figure: go.Figure,
    titles: list[str],
    *,
    columns: int,
    row: int,
    axis: str,
    entries: list[str],
    headings: dict[int, str] | None = None,
    own: dict[int, str] | None = None,
) -> list[Panel]:
    """Set a figure's height, and give it a panel a title, in reading order; the last one takes what is left of its row.

    row: the height of a row in pixels. axis: what is along all of them, said under the last row. entries: what the
    legend will have. headings: by the place of a panel, what stands above the row that begins with it. own: by the
    place of a panel, what is along it alone.
    """
    headings, own = headings or {}, own or {}
    columns = max(1, min(columns, MOST_PLACES, len(titles)))
    rows = _rows(len(titles), columns, headings)
    legend = LEGEND_ROW * _legend_rows(entries)
    top = legend + 34 + (HEADING if 0 in headings else 0)
    tops = _tops(rows, row, headings, own)
    inner = tops[-1] + row
    figure.update_layout(
        height=top + inner + BELOW,
        margin={"l": 52, "r": 14, "t": top, "b": BELOW},
        showlegend=True,
        legend={
            "orientation": "h",
            "x": 0,
            "xref": "paper",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "maxheight": max(legend + 6, 30),
            "font": {"size": 12},
            "traceorder": "normal",
        },
    )
    panels: list[Panel] = []
    width = (1 - 0.065 * (columns - 1)) / columns
    shared = next((place for place in range(len(titles)) if place not in own), None)
    for line, places in enumerate(rows):
        above = 1 - tops[line] / inner
        if places[0] in headings:
            figure.add_annotation(_text(f"<b>{escape(headings[places[0]])}</b>", 0, above, yshift=24, size=15))
        for column, place in enumerate(places):
            panel = Panel("" if place == 0 else str(place + 1))
            left = column * (width + 0.065)
            right = 1.0 if place == places[-1] else left + width
            matches = "x" if shared == 0 else f"x{(shared or 0) + 1}"
            figure.update_layout(
                {
                    f"xaxis{panel.number}": {
                        "domain": [left, right],
                        "anchor": panel.y,
                        "matches": None if place in own or place == shared else matches,
                        "showgrid": False,
                        "title": {"text": own.get(place, axis if line == len(rows) - 1 else None), "standoff": 8},
                        "nticks": 8,
                        "hoverformat": ",.0f" if own.get(place, axis).startswith("step") else ",.4~r",
                    },
                    f"yaxis{panel.number}": {"domain": [max(0.0, above - row / inner), above], "anchor": panel.x},
                }
            )
            figure.add_annotation(_text(f"<b>{escape(titles[place])}</b>", left, above, yshift=3, size=13))
            panels.append(panel)
    return panels


def _rows(count: int, columns: int, headings: dict[int, str]) -> list[list[int]]:
    """The places of the panels, row by row; under a heading a row begins."""
    rows: list[list[int]] = []
    for place in range(count):
        if not rows or len(rows[-1]) == columns or place in headings:
            rows.append([])
        rows[-1].append(place)
    return rows


def _tops(rows: list[list[int]], row: int, headings: dict[int, str], own: dict[int, str]) -> list[int]:
    """How far below the first row's top each one begins, in pixels."""
    tops = [0]
    for above, below in pairwise(rows):
        named = HEADING if below[0] in headings else 0
        labelled = OWN_AXIS if any(place in own for place in above) else 0
        tops.append(tops[-1] + row + GAP + named + labelled)
    return tops


def _text(text: str, x: float, y: float, *, yshift: int, size: int) -> dict[str, object]:
    return {
        "text": text,
        "x": x,
        "xref": "paper",
        "xanchor": "left",
        "y": y,
        "yref": "paper",
        "yanchor": "bottom",
        "yshift": yshift,
        "showarrow": False,
        "font": {"size": size},
    }


def _legend_rows(entries: list[str]) -> int:
    """How many rows the entries take on a page of 900 pixels."""
    row, used = 1, 0.0
    for entry in entries:
        width = 52 + 6.6 * len(entry)
        if used and used + width > 860:
            row, used = row + 1, 0.0
        used += width
    return min(row, MOST_LEGEND_ROWS)
