"""The heatmap of a run: a switch for the run and the quantity, the chart, and the cell that was clicked."""

import streamlit as st

from app import queries
from app.charts.heatmap import QUANTITIES, Quantity, heatmap
from app.charts.text import shorten
from app.plotly_view import plotly_view
from app.shell.selection import Selection

CHART = "layers_heatmap"
LAYER = "layer"
"""The key of the layer that is looked at."""

CURVES = ("test/accuracy", "train/accuracy", "test/loss", "train/loss")

GUIDE = """
- A **row** is a layer, from the network's input at the top to its output; a **column** is a step, or several of them.
- A ratio of **1** has the page's colour. Orange is a layer whose weights are large against its update: LAMB takes a
  long step there, and an upper bound cuts it. Blue is a layer that LAMB holds back.
- A cell that stands for many steps shows the ratio **furthest from 1** among them, so that no spike is averaged away.
- **Drag** to zoom, and finer cells are fetched for what you see; a **double click** shows everything again.
- **Click** a cell to open its layer below.
"""


def choose(states: dict[str, queries.RunState]) -> tuple[str, Quantity]:
    """Which run is shown, and which of its quantities."""
    names = list(states)
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        label = st.segmented_control(
            "Show",
            [quantity.label for quantity in QUANTITIES],
            default=QUANTITIES[0].label,
            required=True,
            key="quantity",
            persist_state="session",
        )
    with right:
        run = st.selectbox(
            "of run",
            names,
            index=len(names) - 1,
            format_func=lambda name: shorten(name, 60),
            key="run",
            persist_state="session",
        )
    return str(run), next(quantity for quantity in QUANTITIES if quantity.label == label)


def draw(chosen: Selection, state: queries.RunState, quantity: Quantity) -> None:
    """The heatmap with accuracy and loss under it; finer where the reader has zoomed in."""
    layers = queries.layers(state)
    overview = queries.cells(state, 1, state.steps)
    first, last = shown_steps(state)
    detail = queries.cells(state, first, last) if (first, last) != (1, state.steps) else None
    figure = heatmap(
        overview,
        value=quantity.column,
        layers=layers,
        detail=detail,
        curves={name: queries.metric_curve(state, name) for name in CURVES},
        line=chosen.lines[state.run],
        bound=queries.upper_bound(state),
        theme=chosen.theme,
    )
    st.caption(f"{quantity.says} {_cells_sentence(overview if detail is None else detail)}")
    plotly_view(figure, key=CHART, keep_zoom=state.run, on_cell=lambda: _open_layer(layers))
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(GUIDE)


def shown_steps(state: queries.RunState) -> tuple[int, int]:
    """The first and last step that the reader sees."""
    seen = st.session_state.get(CHART)
    if not seen or not seen.get("range") or st.session_state.get("zoomed_run") not in (None, state.run):
        return 1, state.steps
    first, last = (round(edge) for edge in seen["range"])
    first, last = max(1, min(first, state.steps)), min(state.steps, max(last, 1))
    return (first, last) if first < last else (1, state.steps)


def _open_layer(layers: list[str]) -> None:
    cell = st.session_state[CHART].get("cell")
    if cell and cell.get("row") is not None and 0 <= cell["row"] < len(layers):
        st.session_state[LAYER] = layers[cell["row"]]


def _cells_sentence(cells) -> str:  # type: ignore[no-untyped-def]
    rows = int(cells["rows"].sum())
    width = int(cells["width"].iloc[0])
    each = "a cell a step" if width == 1 else f"a cell for {width} steps"
    return f"{rows:,} rows → {len(cells):,} cells, {each}."
