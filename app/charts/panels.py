"""Panels beside and under each other in one figure: where each stands, its title, and the legend above them all."""

from dataclasses import dataclass

import plotly.graph_objects as go

from app.charts.text import escape

GAP = 52
"""Pixels between two rows: for the ticks of the upper one and the titles of the lower one."""

BELOW = 44
"""Pixels under the last row, for ticks and the axis's name."""

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
    figure: go.Figure, titles: list[str], *, columns: int, row: int, axis: str, entries: list[str]
) -> list[Panel]:
    """Set a figure's height, and give it a panel a title, in reading order; the last one takes what is left of its row.

    row: the height of a row in pixels. axis: what is along all of them, said under the last row. entries: what the
    legend will have.
    """
    columns = max(1, min(columns, MOST_PLACES, len(titles)))
    rows = -(-len(titles) // columns)
    legend = LEGEND_ROW * _legend_rows(entries)
    top = legend + 34
    inner = rows * row + (rows - 1) * GAP
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
    for place, title in enumerate(titles):
        panel = Panel("" if place == 0 else str(place + 1))
        line, column = divmod(place, columns)
        left = column * (width + 0.065)
        right = 1.0 if place == len(titles) - 1 or column == columns - 1 else left + width
        above = 1 - line * (row + GAP) / inner
        figure.update_layout(
            {
                f"xaxis{panel.number}": {
                    "domain": [left, right],
                    "anchor": panel.y,
                    "matches": "x" if place else None,
                    "showgrid": False,
                    "title": {"text": axis if line == rows - 1 else None, "standoff": 8},
                    "nticks": 8,
                    "hoverformat": ",.4~r",
                },
                f"yaxis{panel.number}": {"domain": [max(0.0, above - row / inner), above], "anchor": panel.x},
            }
        )
        figure.add_annotation(
            text=f"<b>{escape(title)}</b>",
            x=left,
            xref="paper",
            xanchor="left",
            y=above,
            yref="paper",
            yanchor="bottom",
            yshift=3,
            showarrow=False,
            font={"size": 13},
        )
        panels.append(panel)
    return panels


def _legend_rows(entries: list[str]) -> int:
    """How many rows the entries take on a page of 900 pixels."""
    row, used = 1, 0.0
    for entry in entries:
        width = 52 + 6.6 * len(entry)
        if used and used + width > 860:
            row, used = row + 1, 0.0
        used += width
    return min(row, MOST_LEGEND_ROWS)
