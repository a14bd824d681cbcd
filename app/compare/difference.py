"""Two of the chosen runs, layer by layer and step by step: the difference of their heatmaps."""

import numpy as np
import streamlit as st

from app import queries, words
from app.charts.difference import QUANTITIES, Difference, Quantity, difference, difference_map
from app.charts.text import shorten
from app.plotly_view import plotly_view
from app.queries import RunState
from app.shell import address, zoom
from app.shell.selection import Selection

CHART = "difference_map"

GUIDE = """
- A **row** is a layer, a **column** a step, or several of them; both runs are asked for the same cells.
- **Orange**: the ratio of A is larger than that of B, or A is clipped more often. **Blue**: smaller, or less often.
  What has the page's colour is the same in both. Hover to read both values.
- Where a cell stands for many steps, a run's ratio is their **geometric mean**; the page Layers shows the one furthest
  from 1. **Drag** over some steps, and finer cells are fetched for them; a **double click** shows all again.
- **Before clipping** compares what LAMB asked for: once weights have gone different ways it differs even between runs
  of one bound. **After clipping** compares what the steps used, so the bound itself shows.
"""


def draw(chosen: Selection, states: dict[str, RunState]) -> None:
    """The switches, one sentence that says where the two differ most, and the map."""
    st.subheader("Layer by layer", anchor=False)
    if len(states) < 2:
        st.caption("Choose a second run in the sidebar to see where two runs differ.")
        return
    one, other, quantity = _choose(states)
    layers = _shared(states[one], states[other])
    if not layers:
        st.info(
            f"{_name(one)} and {_name(other)} have no layer of the same name, so nothing can be laid over each other. "
            "Choose two runs of one model.",
            icon=":material/layers_clear:",
        )
        return
    pair, last = (states[one], states[other]), min(states[one].steps, states[other].steps)
    compared = _compared(pair, layers, (1, last), quantity)
    if not np.isfinite(compared.difference).any():
        st.info("Neither run has a value here that the other has too.", icon=":material/layers_clear:")
        return
    shown = zoom.shown_steps(CHART, last)
    detail = _compared(pair, layers, shown, quantity) if shown and compared.width > 1 else None
    st.markdown(_most(compared, quantity))
    st.caption(f"{_what(states, one, other, layers, last)} {_cells_said((detail or compared).width)}")
    plotly_view(
        difference_map(compared, quantity=quantity, names=(one, other), detail=detail, shown=shown, theme=chosen.theme),
        key=CHART,
        label=f"{quantity.label}: run A against run B, for every layer at every step",
        # Another pair shows the same steps; one that has none of them shows all of its own.
        keep_zoom="" if shown else f"{one} {other}",
        report_zoom=True,
    )
    zoom.note_steps(shown)
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(GUIDE)


def _choose(states: dict[str, RunState]) -> tuple[str, str, Quantity]:
    """The runs A and B, the newest and the oldest at first, and what is compared."""
    runs = list(states)
    labels = {quantity.name: quantity.label for quantity in QUANTITIES}
    left, middle, right = st.columns([2, 2, 3], vertical_alignment="bottom")
    with left:
        one = _choose_run("a", "Run A", runs, runs[-1])
    with middle:
        others = [run for run in runs if run != one]
        other = _choose_run("b", "against run B", others, others[0])
    with right:
        address.recall("difference", labels, "trust_ratio")
        shown = st.segmented_control(
            "Show",
            list(labels),
            required=True,
            key="difference",
            format_func=labels.__getitem__,
            persist_state="session",
        )
        address.note("difference", shown, "trust_ratio")
    return one, other, next(quantity for quantity in QUANTITIES if quantity.name == shown)


def _choose_run(key: str, label: str, runs: list[str], default: str) -> str:
    address.recall(key, runs, default)
    run = st.selectbox(label, runs, key=key, persist_state="session")
    address.note(key, run, default)
    return str(run)


def _shared(one: RunState, other: RunState) -> list[str]:
    """The layers of both runs, in the depth order of the first."""
    there = set(queries.layers(other))
    return [layer for layer in queries.layers(one) if layer in there]


def _compared(
    pair: tuple[RunState, RunState], layers: list[str], steps: tuple[int, int], quantity: Quantity
) -> Difference:
    """The cells of both runs from the first to the last of some steps, as wide as the larger of their strides."""
    widest = max(queries.stride(state, *steps) for state in pair)
    cells = [
        queries.cells(state, *steps, quantities=(quantity.column,), layers=layers, least_width=widest) for state in pair
    ]
    last = min(state.steps for state in pair)
    beyond = set().union(*(each["step"][each["last_step"] > last] for each in cells))
    if beyond and any(each["step"].min() not in beyond for each in cells):
        # The longer run's last cell goes on where the shorter has ended: they do not stand for the same steps.
        cells = [each[~each["step"].isin(beyond)] for each in cells]
    return difference(*cells, quantity=quantity, layers=layers)


def _most(compared: Difference, quantity: Quantity) -> str:
    """Where the two runs differ most, in a sentence: by the middle of a layer's factors, or its mean share."""
    seen = np.isfinite(compared.difference).any(axis=1)
    layers = [layer for layer, there in zip(compared.layers, seen, strict=True) if there]
    typical = (np.nanmedian if quantity.ratio else np.nanmean)(compared.difference[seen], axis=1)
    least = float(np.log10(1.02)) if quantity.ratio else 0.01
    above, below = int((typical > least).sum()), int((typical < -least).sum())
    most = int(np.abs(typical).argmax())
    name = f"**{words.plain(shorten(layers[most], 60))}**"
    if not above + below:
        little = "2 % in the middle of its cells" if quantity.ratio else "a point over these steps"
        return f"No layer of A differs from that of B by more than {little}."
    if quantity.ratio:
        factor = 10 ** abs(typical[most])
        by = f"a factor of **{factor:.3g}**" if typical[most] > 0 else f"a factor of **1/{factor:.3g}**"
        said = f"In A the ratio is larger in {above} and smaller in {below} of {len(layers)} layers"
        return f"{said}; they differ most in {name}, by {by} in the middle of its cells."
    said = f"A is clipped more often in {above} and less often in {below} of {len(layers)} layers"
    return f"{said}; they differ most in {name}, by **{100 * typical[most]:+.0f} points** over these steps."


def _what(states: dict[str, RunState], one: str, other: str, layers: list[str], last: int) -> str:
    said = [f"A over B, steps 1 to {last:,}"]
    if states[one].steps != states[other].steps:
        said[0] += ", which both have"
    for mine, theirs in ((one, other), (other, one)):
        missing = len(queries.layers(states[mine])) - len(layers)
        if missing:
            layers_of = f"1 layer of {_name(mine)} is" if missing == 1 else f"{missing} layers of {_name(mine)} are"
            said.append(f"{layers_of} not in {_name(theirs)} and left out")
    return ". ".join(said) + "."


def _cells_said(width: int) -> str:
    return "A cell a step." if width == 1 else f"A cell for {width:,} steps."


def _name(run: str) -> str:
    return words.plain(shorten(run, 40))
