"""The chart component: a Plotly figure whose cells can be clicked, whose zoom is known and kept, and which can be saved
as a picture or as a table.

`st.plotly_chart` reports neither a heatmap's cells nor a zoom, and loses the zoom at every refresh.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import plotly
import plotly.graph_objects as go
import streamlit as st

from app.plotly_view.packed import packed, with_head

PLOTLY_FILE = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
"""Where pip put Plotly's own file: it is served from there, and no page asks the network for it."""

PLOTLY_ADDRESS = "/plotly.min.js"


WIDTHS = (600, 50, 100, 150, 200, 250, 300, 400, 500, 800, 1000, 1200, 1600)
"""Columns that a plot may have room for; 600, that of a page of 1280 pixels, until the browser has said its own."""


def plot_width(key: str) -> int:
    """For how many columns a chart that asks for its `WIDTHS` has room."""
    return (st.session_state.get(key) or {}).get("width") or WIDTHS[0]


def _read(name: str) -> str:
    return resources.files("app.plotly_view").joinpath(name).read_text(encoding="utf-8")


SCRIPT = _read("files.js") + _read("view.js")
"""One module, as Streamlit takes a component's script as one text."""

_component = st.components.v2.component(
    "lambc_plotly", html=_read("view.html"), css=_read("view.css"), js=SCRIPT, isolate_styles=False
)


def plotly_view(
    figure: go.Figure,
    *,
    key: str,
    label: str,
    of: str = "",
    keep_zoom: str = "",
    turn: int = 0,
    report_zoom: bool = False,
    widths: Sequence[int] = (),
    on_cell: Callable[[], None] | None = None,
    reveal: str = "",
    reveal_with: str = "",
) -> dict | None:
    """Draw a figure that has a height, and give what of it was clicked just now.

    That has `row`, the number of the cell's row, and `x`; of a label it has `label`, the annotation's name.

    key: the chart's identity: under one key the zoom is kept from refresh to refresh.
    label: what it shows, for those who hear the page.
    of: whose it is, as runs, bounds and steps: a saved picture has it below, and the name of a saved file too.
    keep_zoom: when this changes, as with another run, the zoom is let go.
    turn: how often the reader has gone back in the browser's history. When this changes, the zoom is let go; it comes
        back with the range (as `turn` beside `edges`), since what is reported on the way may be from before the step.
    report_zoom: whether the page runs again with the new `range` when the reader zooms.
    widths: numbers of columns among which the page wants to know the most that there is room for, none thinner than a
        pixel, which `session_state[key].width` then is. Until the browser has said it, the first of them counts.
    on_cell: called before the next run of the page when something is clicked; `session_state[key].cell` says what.
    reveal: when this changes, and is not empty, the page is scrolled until the chart is in sight, with all that is in
        the container of the key `reveal_with`.
    """
    drawn = packed(figure)
    head = {
        "token": hashlib.sha256(drawn + f"{keep_zoom} {turn}".encode()).hexdigest()[:16],
        "label": label,
        "of": of,
        "keep_zoom": keep_zoom or key,
        "turn": turn,
        "report_zoom": report_zoom,
        "height": figure.layout.height,
        "widths": sorted(widths),
        "width": widths[0] if widths else 0,
        "reveal": reveal,
        "reveal_with": reveal_with,
        "plotly": script_address(),
    }
    result = _component(
        key=key,
        data=with_head(json.dumps(head), drawn),
        on_range_change=_nothing,
        on_width_change=_nothing,
        on_cell_change=on_cell or _nothing,
    )
    return result.get("cell")


def preload() -> None:
    """Let the browser fetch and compile Plotly while the page is still being computed."""
    _component(key="preload", data=with_head(json.dumps({"plotly": script_address()})))


def script_address() -> str:
    """The address of Plotly's file; it changes with its version, so that a browser may keep it."""
    base = st.get_option("server.baseUrlPath").strip("/")
    return f"{'/' + base if base else ''}{PLOTLY_ADDRESS}?v={plotly.__version__}"


def _nothing() -> None:
    """A callback, since the component knows its events by them."""
