"""The chart component: a Plotly figure whose cells can be clicked, whose zoom is known and kept, and which can be saved
as a picture or as a table.

`st.plotly_chart` reports neither a heatmap's cells nor a zoom, and loses the zoom at every refresh.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import plotly
import plotly.graph_objects as go
import plotly.io as pio
import streamlit as st

PLOTLY_FILE = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
"""Where pip put Plotly's own file: it is served from there, and no page asks the network for it."""

PLOTLY_ADDRESS = "/plotly.min.js"


def _read(name: str) -> str:
    return resources.files("app.plotly_view").joinpath(name).read_text(encoding="utf-8")


_component = st.components.v2.component(
    "lambc_plotly", html=_read("view.html"), css=_read("view.css"), js=_read("view.js"), isolate_styles=False
)


@dataclass(frozen=True)
class Seen:
    """What the reader did. range: the first and last x shown, None for all; cell: what was clicked just now."""

    range: tuple[float, float] | None
    cell: dict | None


def plotly_view(
    figure: go.Figure,
    *,
    key: str,
    label: str,
    keep_zoom: str = "",
    report_zoom: bool = False,
    on_cell: Callable[[], None] | None = None,
) -> Seen:
    """Draw a figure that has a height.

    key: the chart's identity: under one key the zoom is kept from refresh to refresh.
    label: what it shows, for those who hear the page.
    keep_zoom: when this changes, as with another run, the zoom is let go.
    report_zoom: whether the page runs again with the new `range` when the reader zooms.
    on_cell: called before the next run of the page when something is clicked; `session_state[key].cell` says what.
    """
    drawn = pio.to_json(figure, validate=False)
    token = hashlib.sha256((drawn + keep_zoom).encode()).hexdigest()[:16]
    result = _component(
        key=key,
        data={
            "figure": drawn,
            "token": token,
            "label": label,
            "keep_zoom": keep_zoom or key,
            "report_zoom": report_zoom,
            "height": figure.layout.height,
            "plotly": script_address(),
        },
        on_range_change=_nothing,
        on_cell_change=on_cell or _nothing,
    )
    shown = result.get("range")
    return Seen(range=tuple(shown) if shown else None, cell=result.get("cell"))


def preload() -> None:
    """Let the browser fetch and compile Plotly while the page is still being computed."""
    _component(key="preload", data={"plotly": script_address()})


def script_address() -> str:
    """The address of Plotly's file; it changes with its version, so that a browser may keep it."""
    base = st.get_option("server.baseUrlPath").strip("/")
    return f"{'/' + base if base else ''}{PLOTLY_ADDRESS}?v={plotly.__version__}"


def _nothing() -> None:
    """A callback, since the component knows its events by them."""
