"""Colours of the charts on a light and on a dark page."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from zlib import crc32

import plotly.graph_objects as go

FONT = '"Source Sans", "Source Sans Pro", "Helvetica Neue", Arial, sans-serif'
"""The family that Streamlit's pages use."""


@dataclass(frozen=True)
class Theme:
    """What a chart takes its colours from.

    runs: seven hues, told apart with any colour vision, for runs.
    diverging: below 1, at 1, above 1; the middle fades into the page, so that what stands out is what departs from 1.
    sequential: from nothing to much.
    upper, lower: a ratio held down by the upper bound, or held up by the lower one; the two ends of `diverging`.
    """

    background: str
    text: str
    faint: str
    grid: str
    runs: tuple[str, ...]
    diverging: tuple[str, ...]
    sequential: tuple[str, ...]
    upper: str
    lower: str
    hover: str

    @cached_property
    def template(self) -> go.layout.Template:
        """What all charts have in common."""
        axis = {
            "gridcolor": self.grid,
            "linecolor": self.grid,
            "zeroline": False,
            "ticks": "",
            "tickfont": {"color": self.faint, "size": 11},
            "title": {"font": {"color": self.faint, "size": 12}},
            "automargin": False,
        }
        return go.layout.Template(
            layout={
                "paper_bgcolor": "rgba(0,0,0,0)",
                "plot_bgcolor": "rgba(0,0,0,0)",
                "font": {"family": FONT, "color": self.text, "size": 12},
                "xaxis": axis,
                "yaxis": axis,
                "hoverlabel": {
                    "bgcolor": self.hover,
                    "bordercolor": self.grid,
                    "font": {"family": FONT, "color": self.text, "size": 12},
                    "align": "left",
                },
                "margin": {"l": 60, "r": 20, "t": 24, "b": 36},
                "showlegend": False,
                "dragmode": "zoom",
                "coloraxis": {
                    "colorbar": {
                        "tickfont": {"size": 11, "color": self.faint},
                        "thickness": 10,
                        "outlinewidth": 0,
                        "len": 1,
                        "x": 1.012,
                        "y": 1,
                        "yanchor": "top",
                        "ypad": 0,
                    }
                },
            }
        )

    @property
    def diverging_scale(self) -> list[list]:
        """`diverging` as Plotly's colour scale."""
        return _scale(self.diverging)

    @property
    def sequential_scale(self) -> list[list]:
        """`sequential` as Plotly's colour scale."""
        return _scale(self.sequential)


def _scale(colours: tuple[str, ...]) -> list[list]:
    return [[place / (len(colours) - 1), colour] for place, colour in enumerate(colours)]


LIGHT = Theme(
    background="#ffffff",
    text="#26282b",
    faint="#70757c",
    grid="#e7e8ea",
    runs=("#0b6fb8", "#d9530f", "#078a63", "#a2499b", "#a67c00", "#d3246f", "#5d636b"),
    diverging=("#08386b", "#1f6fb2", "#6fb0db", "#c6dff0", "#f7f6f4", "#fad9b4", "#f0a050", "#cf6410", "#7a3204"),
    sequential=("#f4f6f6", "#cfe5e2", "#8fc9c2", "#4aa59e", "#157a76", "#07504f", "#03302f"),
    upper="#d9701a",
    lower="#2a78b8",
    hover="#ffffff",
)
DARK = Theme(
    background="#111418",
    text="#e8eaed",
    faint="#949ba4",
    grid="#2a2f36",
    runs=("#5aaef0", "#ff8a4f", "#3ecf9d", "#dc8fd6", "#e3bf45", "#ff7bb0", "#b9bfc7"),
    diverging=("#b5dcff", "#6fb7f2", "#2f7fc4", "#1f4a72", "#1b1f25", "#6b3a12", "#c26a1c", "#f5a04c", "#ffd9a8"),
    sequential=("#1b1f25", "#17403f", "#16625f", "#1f8b85", "#46b5ac", "#8bd9d0", "#d5f5f0"),
    upper="#f2903c",
    lower="#5aaef0",
    hover="#1d2229",
)

DASHES = ("solid", "dash", "dot", "dashdot")


@dataclass(frozen=True)
class Line:
    """How a run is drawn: the same in every chart."""

    hue: int
    dash: str

    def colour(self, theme: Theme) -> str:
        """Its colour on a page."""
        return theme.runs[self.hue]


def lines(names: Sequence[str]) -> dict[str, Line]:
    """A line for each name, by its place: seven hues, then the same hues dashed."""
    hues = len(LIGHT.runs)
    return {name: Line(place % hues, DASHES[place // hues % len(DASHES)]) for place, name in enumerate(names)}


def run_lines(runs: Sequence[str]) -> dict[str, Line]:
    """A line for each run, the same whichever runs come after it: of the hue of its name, else of the next that no run
    before it has; dashes come only where all hues are taken.

    So a run keeps its hue in all choices of runs but those in which an earlier one has it.
    """
    hues = len(LIGHT.runs)
    found: dict[str, Line] = {}
    taken: set[Line] = set()
    for run in dict.fromkeys(runs):
        own = crc32(run.encode("utf-8", "surrogatepass")) % hues
        every = [Line((own + turn) % hues, dash) for dash in DASHES for turn in range(hues)]
        found[run] = next((line for line in every if line not in taken), every[0])
        taken.add(found[run])
    return found
