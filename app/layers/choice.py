"""What the page shows: of which run, which quantity of which layers, in which order, along which axis."""

from collections.abc import Sequence

import streamlit as st

from app import band_cells, queries, words
from app.charts.bands import Member, Order
from app.charts.heatmap import QUANTITIES, Quantity
from app.charts.layers import KINDS, matching
from app.layers import questions
from app.shell import address, rows

RUN, SHOW, PATTERN = "run", "show", "layers"
"""The keys of the run, of the quantity, and of the filter by name."""


def choose_run(states: dict[str, queries.RunState]) -> str:
    """Which run is shown."""
    return address.choice(st.selectbox, "of run", list(states), key=RUN, default=list(states)[-1])


def choose_quantity(state: queries.RunState) -> Quantity:
    """Which of its quantities; the norm of the gradients where it was recorded."""
    labels = {quantity.name: quantity.label for quantity in QUANTITIES}
    if not questions.has_gradients(state):
        del labels["grad_norm"]
    name = address.choice(st.segmented_control, "Show", labels, key=SHOW, default="trust_ratio", required=True)
    return next(quantity for quantity in QUANTITIES if quantity.name == name)


def choose_layers(state: queries.RunState) -> tuple[list[Member], Order, bool]:
    """Which layers are shown, by name and by kind, in which order, and whether along epochs; if none is left, why."""
    kinds = queries.kinds(state)
    left, middle, right, last = st.columns([4, 5, 2, 2], vertical_alignment="bottom")
    with left:
        pattern = address.text(
            "Layers",
            key=PATTERN,
            placeholder="all: type layer4.* or *.bias or /bn[12]/",
            icon=":material/filter_alt:",
        )
    with middle:
        offered = [kind for kind in KINDS if kind in kinds.values()]
        chosen = address.several(st.pills, "Kinds", offered, key="kinds", selection_mode="multi")
    members = _meant(state, kinds, pattern, chosen)
    with right:
        order = rows.choose_order(members) if members else "depth"
    with last:
        return members, order, _choose_axis(state) == "epoch"


def _meant(state: queries.RunState, kinds: dict[str, str], pattern: str, chosen: Sequence[str]) -> list[Member]:
    try:
        named = matching(kinds, pattern)
    except ValueError as error:
        st.warning(words.plain(str(error)), icon=":material/filter_alt_off:")
        return []
    meant = {layer for layer in named if not chosen or kinds[layer] in chosen}
    found = [member for member in band_cells.members(state) if member.layer in meant]
    if not found:
        st.info("No layer of this run is meant by that.", icon=":material/filter_alt_off:")
    return found


def _choose_axis(state: queries.RunState) -> str:
    """Whether the axis counts steps or epochs. Of a run that has none it is not asked."""
    if queries.epoch_steps(state).empty:
        return "step"
    steps_or_epochs = ["step", "epoch"]
    return address.choice(st.segmented_control, "Axis", steps_or_epochs, key="axis", default="step", required=True)
