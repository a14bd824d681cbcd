"""Which layers of one run are clipped when."""

from functools import partial

import pandas as pd
import streamlit as st

from app import band_cells, queries, unusual
from app.charts import bands
from app.charts.heatmap import QUANTITIES
from app.charts.hit_map import hit_map, marked
from app.layers.choice import RUN
from app.layers.opened import open_at
from app.plotly_view import WIDTHS, plot_width, plotly_view
from app.shell import address, rows, zoom
from app.shell.selection import Selection

CHART = "hit_map"

HITS = next(quantity for quantity in QUANTITIES if quantity.name == "hit_rate")


def choose_run(states: dict[str, queries.RunState]) -> str:
    """Which of the chosen runs is looked at layer by layer."""
    runs = list(states)
    if len(runs) == 1:
        address.note(RUN, *runs)
        return runs[0]
    return address.choice(st.selectbox, "Run to look into", runs, key=RUN, default=_first(states), width=420)


def _first(states: dict[str, queries.RunState]) -> str:
    """The run that one would look into first: the newest that diverged, else the newest."""
    diverged = [run for run, state in states.items() if unusual.diverged_since(state) is not None]
    return (diverged or list(states))[-1]


def draw(chosen: Selection, state: queries.RunState) -> None:
    """Layers from top to bottom, steps from left to right; a click leads to the page Layers."""
    rates = queries.hit_rates(state)
    if not (rates["upper_hits"] + rates["lower_hits"]).any():
        st.subheader("Which layers are clipped when", anchor=False)
        st.caption(f"No layer of this run was clipped in any recorded step up to step {state.steps:,}.")
        return
    members = band_cells.members(state)
    named, beside = st.columns([4, 1], vertical_alignment="bottom")
    named.subheader("Which layers are clipped when", anchor=False)
    with beside:
        stack = bands.stack(members, rows.choose_order(members))
    shown = zoom.shown_steps(CHART, state.steps)
    ask = partial(band_cells.row_cells, state, quantities=("hit_rate", "upper_rate", "lower_rate"), row_of=stack.row_of)
    cells, detail = band_cells.whole_and_part(ask, state, shown, plot_width(CHART))
    st.caption(_says(stack, cells if detail is None else detail))
    clicked = plotly_view(
        hit_map(cells, rates, stack=stack, detail=detail, shown=shown, theme=chosen.theme),
        key=CHART,
        label="Which layers are clipped when",
        of=queries.about([state], *(shown or (1, state.steps))),
        # Another run shows the same steps; one that has none of them shows all of its own.
        keep_zoom="" if shown else state.run,
        turn=address.turns(),
        report_zoom=True,
        widths=WIDTHS,
    )
    zoom.note_steps(shown)
    if clicked:
        open_at(clicked, state, HITS.name, stack, shown, partial(band_cells.furthest, state, HITS))


def _says(stack: bands.Stack, cells: pd.DataFrame) -> str:
    each = rows.cells_sentence(cells)
    said = [
        f"Share of the steps in which the bound cut the layer's ratio, {each}.",
        rows.rows_sentence(stack, "the most clipped"),
        "Triangles mark a layer's first and last hit." if marked(stack) else "",
        "Drag over some steps for finer cells; a click on a cell shows its layer on the page Layers.",
    ]
    return " ".join(filter(None, said))
