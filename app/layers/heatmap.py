"""The heatmap of a run: a switch for the run and the quantity, the chart, and the cell that was clicked."""

from functools import partial

import pandas as pd
import streamlit as st

from app import queries, words
from app.charts.cells import one_step_each
from app.charts.curves_below import panels
from app.charts.heatmap import QUANTITIES, Quantity, heatmap
from app.charts.layers import KINDS, matching
from app.charts.metric import Metric
from app.plotly_view import plotly_view
from app.shell import address, metric_choice, zoom
from app.shell.selection import Selection

CHART = "heatmap"
LAYER = "layer"
"""The key of the layer that is looked at."""

MOST_PANELS = 6
"""Quantities that are drawn below where nobody has chosen any."""

GUIDE = """
- A **row** is a layer, from the network's input at the top to its output; a **column** is a step, or several of them.
- A ratio of **1** has the page's colour. **Orange** is a layer whose weights are large against its update: LAMB takes a
  long step there, and an upper bound cuts it. **Blue** is a layer that LAMB holds back.
- What is **struck out** has a norm that is NaN or infinite; a ratio is set to 1 there, which would look calm.
- A cell that stands for many steps shows the ratio **furthest from 1** among them, so that no spike is averaged away.
- **Drag** over some steps to zoom, and finer cells are fetched for them; a **double click** shows everything again.
  With the keyboard: **arrows** move, **+** and **-** zoom, **0** shows everything.
- **Click** a cell to open its layer below.
- **Layers** takes a part of the name, a pattern (`layer4.*`, `*.bias`), or a regular expression (`/bn[12]/`).
"""


def choose(states: dict[str, queries.RunState]) -> tuple[str, Quantity]:
    """Which run is shown, and which of its quantities."""
    labels = {quantity.column: quantity.label for quantity in QUANTITIES}
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        address.recall("show", labels, "trust_ratio")
        column = st.segmented_control(
            "Show",
            list(labels),
            required=True,
            key="show",
            format_func=lambda name: labels[name],
            persist_state="session",
        )
        address.note("show", column, "trust_ratio")
    with right:
        address.recall("run", states, list(states)[-1])
        run = st.selectbox("of run", list(states), key="run", persist_state="session")
        address.note("run", run, list(states)[-1])
    return str(run), next(quantity for quantity in QUANTITIES if quantity.column == column)


def choose_layers(state: queries.RunState) -> list[str]:
    """Which layers are shown: by name and by kind; if none is left, why."""
    kinds = queries.kinds(state)
    left, middle = st.columns([2, 3], vertical_alignment="bottom")
    with left:
        address.recall_text("layers")
        pattern = st.text_input(
            "Layers",
            key="layers",
            placeholder="all: type layer4.* or *.bias or /bn[12]/",
            persist_state="session",
            icon=":material/filter_alt:",
        )
        address.note("layers", pattern, "")
    with middle:
        offered = [kind for kind in KINDS if kind in kinds.values()]
        address.recall_several("kinds", offered)
        chosen = st.pills("Kinds", offered, key="kinds", selection_mode="multi", persist_state="session")
        address.note("kinds", ",".join(chosen), "")
    try:
        named = matching(kinds, pattern)
    except ValueError as error:
        st.warning(words.plain(str(error)), icon=":material/filter_alt_off:")
        return []
    found = [layer for layer in named if not chosen or kinds[layer] in chosen]
    if not found:
        st.info("No layer of this run is meant by that.", icon=":material/filter_alt_off:")
    return found


def draw(
    chosen: Selection,
    state: queries.RunState,
    quantity: Quantity,
    layers: list[str],
    shown: tuple[int, int] | None,
) -> None:
    """The heatmap with the metrics under it; finer where the reader has zoomed in, which is to `shown`."""
    every = len(layers) == len(queries.kinds(state))
    ask = partial(queries.cells, state, quantities=(*quantity.needs, "not_finite"), layers=None if every else layers)
    overview = ask(1, state.steps)
    detail = ask(*shown) if shown and overview["rows"].max() > 1 else None
    said, axis = st.columns([5, 1], vertical_alignment="bottom")
    said.caption(f"{quantity.says} {_cells_sentence(overview if detail is None or detail.empty else detail)}")
    with axis:
        epochs = _choose_axis(state, shown or (1, state.steps))
    if message := _not_finite(state):
        st.markdown(message)
    place = st.container()
    metrics = _choose_metrics(state)
    with place:
        _draw_chart(chosen, state, quantity, layers, shown, (overview, detail), epochs, metrics)
    zoom.note_steps(shown)


def _choose_metrics(state: queries.RunState) -> list[Metric]:
    """What is drawn under the layers."""
    metrics = list(queries.metrics(state).values())
    usual = {metric for panel in panels(metrics)[:MOST_PANELS] for metric in panel}
    return metric_choice.choose("below", metrics, [metric for metric in metrics if metric in usual])


def _draw_chart(
    chosen: Selection,
    state: queries.RunState,
    quantity: Quantity,
    layers: list[str],
    shown: tuple[int, int] | None,
    cells: tuple[pd.DataFrame, pd.DataFrame | None],
    epochs: pd.DataFrame | None,
    metrics: list[Metric],
) -> None:
    plotly_view(
        heatmap(
            cells[0],
            value=quantity.column,
            layers=layers,
            detail=cells[1],
            shown=shown,
            epochs=epochs,
            curves={metric: queries.metric_curve(state, metric.name) for metric in metrics},
            line=chosen.lines[state.run],
            bound=queries.bound(state, "upper"),
            theme=chosen.theme,
        ),
        key=CHART,
        label=f"{quantity.label} of every layer at every step",
        # Another run shows the same steps; one that has none of them shows all of its own.
        keep_zoom="" if shown else state.run,
        report_zoom=True,
        on_cell=lambda: _open_layer(layers),
    )


def _not_finite(state: queries.RunState) -> str:
    broken = queries.not_finite(state).iloc[0]
    if not broken["layers"]:
        return ""
    layers = "1 layer" if broken["layers"] == 1 else f"{broken['layers']:,} layers"
    return (
        f":red-badge[:material/error: NaN or infinite] In {layers} a norm is no finite number, first at step "
        f"{int(broken['since']):,}; where they are shown, such cells are struck out."
    )


def _choose_axis(state: queries.RunState, shown: tuple[int, int]) -> pd.DataFrame | None:
    """Whether the axis counts epochs: those that are shown, or None. Of a run that has none it is not asked."""
    epochs = queries.epoch_steps(state)
    if epochs.empty:
        return None
    address.recall("axis", ("step", "epoch"), "step")
    axis = st.segmented_control(
        "Axis",
        ["step", "epoch"],
        required=True,
        key="axis",
        persist_state="session",
        label_visibility="collapsed",
    )
    address.note("axis", axis, "step")
    first, last = shown
    return epochs[(epochs["last_step"] >= first) & (epochs["first_step"] <= last)] if axis == "epoch" else None


def _open_layer(layers: list[str]) -> None:
    cell = st.session_state[CHART].get("cell")
    if cell and cell.get("row") is not None and 0 <= cell["row"] < len(layers):
        st.session_state[LAYER] = layers[cell["row"]]


def _cells_sentence(cells: pd.DataFrame) -> str:
    rows = int(cells["rows"].sum())
    width = int(cells["width"].iloc[0])
    each = "a cell a step" if width == 1 else f"a cell for {width:,} steps"
    if one_step_each(cells):
        each = f"a cell a recorded step, of which {width:,} steps have one"
    return f"{rows:,} rows → {len(cells):,} cells, {each}."
