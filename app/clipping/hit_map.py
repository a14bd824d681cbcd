"""Which layers of one run are clipped when."""

import streamlit as st

from app import queries
from app.charts.hit_map import MOST_MARKED, hit_map
from app.plotly_view import plotly_view
from app.shell import address
from app.shell.selection import Selection

RUN = "run"
"""The key of the run that is looked at, here and on the page Layers."""


def choose_run(states: dict[str, queries.RunState]) -> str:
    """Which of the chosen runs is looked at layer by layer."""
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    left.subheader("One run, layer by layer", anchor=False)
    with right:
        address.recall(RUN, states, list(states)[-1])
        run = st.selectbox("of run", list(states), key=RUN, persist_state="session")
        address.note(RUN, run, list(states)[-1])
    return str(run)


def draw(chosen: Selection, state: queries.RunState) -> None:
    """Layers from input to output, steps from left to right."""
    rates = queries.hit_rates(state)
    if not (rates["upper_hits"] + rates["lower_hits"]).any():
        st.caption(f"No layer of this run was clipped in any of its {state.steps:,} steps.")
        return
    layers = list(rates["layer"])
    marked = " Triangles mark a layer's first and last hit." if len(layers) <= MOST_MARKED else ""
    st.caption(f"Share of the steps in which the bound cut the layer's ratio.{marked}")
    cells = queries.cells(state, 1, state.steps, quantities=("hit_rate", "upper_hits", "lower_hits"))
    plotly_view(
        hit_map(cells, rates, layers=layers, theme=chosen.theme),
        key="hit_map",
        label="Which layers are clipped when",
        keep_zoom=state.run,
    )
