"""The heatmap of a run: the chart, what it says of itself, and what a click on it opens."""

from functools import partial

import pandas as pd
import streamlit as st

from app import band_cells, queries, unusual, words
from app.charts import marks
from app.charts.bands import Stack
from app.charts.curves_below import panels
from app.charts.heatmap import Quantity, heatmap
from app.charts.layers import family_pattern
from app.charts.metric import Metric
from app.charts.short_names import short_names
from app.charts.text import counted
from app.layers import questions
from app.layers.choice import PATTERN
from app.layers.one_layer import AT, LAYER, OPENED
from app.plotly_view import WIDTHS, plot_width, plotly_view
from app.shell import address, metric_choice, rows, zoom
from app.shell.selection import Selection

CHART = "heatmap"

MOST_PANELS = 6
"""Quantities that are drawn below where nobody has chosen any."""

GUIDE = """
- A **row** is a layer, a **column** is a step, or several of them; above the picture it says what both stand for.
- By **kind**, the layers of one role stand under each other, from the first block to the last, whose numbers stand at
  the edges; with many layers a row stands for several of a block. Layers of two kinds never share a row.
- A ratio of **1** has the page's colour. **Orange** is a layer whose weights are large against its update: LAMB takes a
  long step there, and an upper bound cuts it. **Blue** is a layer that LAMB holds back.
- A cell that stands for many steps or layers has the colour of the ratio **furthest from 1** among them. That hides a
  fall from 8 to 1; the hover says the lowest and the highest, and **Against usual** shows it: there the colour is how
  far a layer is from the ratio that it has most of the time.
- The colours end where the bar says **≥** or **≤**. Where one has zoomed in, they are those of what is shown.
- **▾** marks where something unusual begins: a norm that is NaN, a ratio that jumps. A click on it zooms in.
- What is **struck out** has a norm that is NaN or infinite; a ratio is set to 1 there, which would look calm.
- **Drag** over some steps to zoom, and finer cells are fetched for them; a **double click** shows everything again.
  With the keyboard: **arrows** move, **+** and **-** zoom, **0** shows everything.
- **Click** a cell to open its layer at that step, and the name of a kind to see its layers alone.
- **Layers** takes a part of the name, a pattern (`layer4.*`, `*.bias`), or a regular expression (`/bn[12]/`).
"""


def draw(
    chosen: Selection,
    state: queries.RunState,
    quantity: Quantity,
    stack: Stack,
    shown: tuple[int, int] | None,
    *,
    along_epochs: bool,
) -> None:
    """The heatmap with the metrics under it; finer where the reader has zoomed in, which is to `shown`."""
    width = plot_width(CHART)
    ask = partial(
        band_cells.row_cells, state, quantities=quantity.needs, row_of=stack.row_of, usual=quantity.kind == "change"
    )
    overview, detail = band_cells.whole_and_part(ask, state, shown, width)
    events, _ = unusual.events_so_far(state)
    found = marks.marks(_with_attempts(state, events), shown or (1, state.steps), width)
    st.caption(_says(quantity, stack, overview if detail is None else detail, bool(shown and found)))
    warned = st.container()
    place = st.container()
    metrics = _choose_metrics(state)
    figure = heatmap(
        overview,
        value=quantity.name,
        stack=stack,
        detail=detail,
        shown=shown,
        epochs=_epochs(state, shown or (1, state.steps)) if along_epochs else None,
        curves={metric: queries.metric_curve(state, metric.name, shown=_along(metric, shown)) for metric in metrics},
        line=chosen.lines[state.run],
        bound=queries.bound(state, "upper", shown or (1, state.steps)),
        marks=found,
        theme=chosen.theme,
    )
    with place:
        plotly_view(
            figure,
            key=CHART,
            label=f"{quantity.label} of every layer at every step",
            of=queries.about([state], *(shown or (1, state.steps))),
            # Another run shows the same steps; one that has none of them shows all of its own.
            keep_zoom="" if shown else state.run,
            turn=address.turns(),
            report_zoom=True,
            widths=WIDTHS,
            on_cell=lambda: _on_click(state, quantity, stack),
        )
    zoom.note_steps(shown)
    with warned:  # after the picture, which need not wait for what is asked here
        for message in filter(None, (_not_finite(state), _constant(state))):
            st.markdown(message)


def look_for_events(state: queries.RunState) -> None:
    """Ask what is unusual unless it is known, and run the page again to mark it.

    The last of all, since nothing else should wait for it: in 100 million rows it takes most of a second.
    """
    _, complete = unusual.events_so_far(state)
    if not complete and len(unusual.events(state)):
        st.rerun()


def _epochs(state: queries.RunState, shown: tuple[int, int]) -> pd.DataFrame:
    """Those of the steps that are shown."""
    epochs = queries.epoch_steps(state)
    return epochs[(epochs["last_step"] >= shown[0]) & (epochs["first_step"] <= shown[1])]


def _along(metric: Metric, shown: tuple[int, int] | None) -> tuple[int, int] | None:
    return None if metric.own_steps else shown


def _with_attempts(state: queries.RunState, events: pd.DataFrame) -> pd.DataFrame:
    resumed = [{"layer": None, "kind": "resumed", "step": step} for step in questions.resumed_at(state)]
    named = events[[name for name in ("layer", "kind", "step", "before", "after") if name in events]]
    return pd.concat([named, pd.DataFrame(resumed)], ignore_index=True) if resumed else named


def _choose_metrics(state: queries.RunState) -> list[Metric]:
    """What is drawn under the layers."""
    metrics = list(queries.metrics(state).values())
    usual = {metric for panel in panels(metrics)[:MOST_PANELS] for metric in panel}
    return metric_choice.choose("below", metrics, [metric for metric in metrics if metric in usual])


def _not_finite(state: queries.RunState) -> str:
    broken = unusual.not_finite(state).iloc[0]
    if not broken["layers"]:
        return ""
    layers = _named(list(broken["first"]), int(broken["layers"]))
    return (
        f":red-badge[:material/error: NaN or infinite] In {layers} a norm is no finite number, first at step "
        f"{int(broken['since']):,}; where they are shown, such cells are struck out."
    )


def _constant(state: queries.RunState) -> str:
    since, layers = unusual.constant_since(state)
    if not layers:
        return ""
    return (
        f":orange-badge[:material/pause_circle: constant] In {_named(layers[:3], len(layers))} the ratio has not "
        f"changed since step {since:,} or earlier, as where no gradient reaches it; *Against usual* does not show that."
    )


def _named(first: list[str], count: int) -> str:
    """So many layers, of which the first are named."""
    named = ", ".join(words.plain(layer) for layer in short_names(first, 60))
    more = f" and {count - len(first):,} more" if count > len(first) else ""
    return named if count == 1 else f"{count:,} layers ({named}{more})"


def _on_click(state: queries.RunState, quantity: Quantity, stack: Stack) -> None:
    """Open the layer of the cell that was clicked, or show the family alone whose label was."""
    cell = st.session_state[CHART].get("cell") or {}
    if "label" in cell:
        st.session_state[PATTERN] = family_pattern(cell["label"].split("\n"))
    elif cell.get("row") is not None and 0 <= cell["row"] < len(stack.rows):
        steps = max(1, round(cell["first"])), min(state.steps, round(cell["last"]))
        layer, step = band_cells.furthest(state, quantity, stack.rows[cell["row"]].layers, steps)
        st.session_state[LAYER] = layer
        st.session_state[AT] = step
        st.session_state[OPENED] = st.session_state.get(OPENED, 0) + 1


def _says(quantity: Quantity, stack: Stack, cells: pd.DataFrame, unusual: bool) -> str:
    """What is shown, and what a row and a cell stand for."""
    said = [quantity.says, _rows_sentence(quantity, stack), _cells_sentence(cells)]
    if unusual and quantity.kind == "ratio":
        said.append("Something unusual begins here: see it in *Against usual*.")
    return " ".join(filter(None, said))


def _rows_sentence(quantity: Quantity, stack: Stack) -> str:
    what = {
        "ratio": "the furthest from 1",
        "change": "the furthest from its usual",
        "share": "the most clipped",
        "norm": "the largest",
    }
    return rows.rows_sentence(stack, what[quantity.kind])


def _cells_sentence(cells: pd.DataFrame) -> str:
    recorded = counted(int(cells["rows"].sum()), "row")
    return f"{recorded} → {counted(len(cells), 'cell')}, {rows.cells_sentence(cells)}."
