"""Two of the chosen runs, layer by layer and step by step: the difference of their heatmaps."""

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from app import band_cells, queries, words
from app.charts import bands
from app.charts.difference import QUANTITIES, Quantity, difference_map
from app.charts.run_names import told_apart
from app.charts.text import counted, ratio_text, shorten
from app.layers.opened import open_at
from app.plotly_view import WIDTHS, plot_width, plotly_view
from app.queries import RunState
from app.shell import address, rows, zoom
from app.shell.selection import Selection

CHART = "difference_map"

FEWEST, COLUMNS = 16, 64
"""Cells from which a layer's median is taken where the map has none of its own: as many as rollups have, if not fewer
than the one, and no more than the other. What is finer is made of the rows, which takes three times as long."""

SAME = float(np.log10(1.02))
"""A median factor that is no further from 1 is not said to be larger or smaller."""

GUIDE = """
- A **row** is a layer, a **column** a step, or several of them; both runs are asked for the same cells. With many
  layers a row stands for several of one kind, and has the colour of the one in which the runs are **furthest apart**.
- **Orange**: the ratio of A is larger than that of B, or A is clipped more often. **Blue**: smaller, or less often.
  What has the page's colour is the same in both. Hover to read both values.
- Where a cell stands for many steps, a run's ratio is their **geometric mean**; the page Layers shows the one furthest
  from 1. Where a norm of either run is not finite nothing is compared; a bar marks it.
- **Drag** over some steps, and finer cells are fetched for them; a **double click** shows all again.
- **Click** a cell to open its layer on the page Layers, of run A and at that step; the name of a kind to see its layers
  alone. There the other run can be chosen.
- **Before clipping** compares LAMB's ratio: once weights have gone different ways it differs even between runs
  of one bound. **After clipping** compares what the steps used, so the bound itself shows.
"""


def draw(chosen: Selection, states: dict[str, RunState]) -> None:
    """The switches, one sentence that says where the two differ most, and the map."""
    st.subheader("Layer by layer", anchor=False)
    if len(states) < 2:
        st.caption("Choose a second run in the sidebar to see where two runs differ.")
        return
    one, other, quantity = _choose(states)
    members = _shared(states[one], states[other])
    if not members:
        both = " and ".join(_short(one, other))
        st.info(
            f"{both} have no layer of the same name, so nothing can be laid over each other. "
            "Choose two runs of one model.",
            icon=":material/layers_clear:",
        )
        return
    sentence, beside = st.columns([5, 1], vertical_alignment="bottom")
    with beside:
        stack = bands.stack(members, rows.choose_order(members))
    pair, last = (states[one], states[other]), min(states[one].steps, states[other].steps)
    ask = partial(
        band_cells.compared_cells,
        *pair,
        quantity=quantity.name,
        row_of=stack.row_of,
        columns=plot_width(CHART) + 1,  # cells begin at multiples of their width, and step 1 at none
    )
    cells = ask(1, last)
    if not cells["apart"].notna().any():
        st.info("Neither run has a value here that the other has too.", icon=":material/layers_clear:")
        return
    shown = zoom.shown_steps(CHART, last)
    detail = ask(*shown) if shown and cells["width"].max() > 1 else None
    sentence.markdown(_most(_by_layer(pair, cells, stack, quantity, last), quantity))
    st.caption(_says(states, one, other, stack, cells if detail is None or detail.empty else detail))
    clicked = plotly_view(
        difference_map(
            cells,
            stack=stack,
            quantity=quantity,
            names=(one, other),
            detail=detail,
            shown=shown,
            theme=chosen.theme,
        ),
        key=CHART,
        label=f"{quantity.label}: run A against run B, for every layer at every step",
        of=queries.about(pair, *(shown or (1, last))),
        # Another pair shows the same steps; one that has none of them shows all of its own.
        keep_zoom="" if shown else f"{one} {other}",
        turn=address.turns(),
        report_zoom=True,
        widths=WIDTHS,
    )
    zoom.note_steps(shown)
    if clicked:
        open_at(
            clicked, states[one], quantity.name, stack, shown, partial(band_cells.furthest_apart, pair, quantity.name)
        )
    with st.expander("How to read the map", icon=":material/help:"):
        st.markdown(GUIDE)


def _choose(states: dict[str, RunState]) -> tuple[str, str, Quantity]:
    """The runs A and B, the newest and the oldest at first, and what is compared."""
    runs = list(states)
    labels = {quantity.name: quantity.label for quantity in QUANTITIES}
    left, middle, right = st.columns([2, 2, 3], vertical_alignment="bottom")
    with left:
        one = address.choice(st.selectbox, "Run A", runs, key="a", default=runs[-1])
    with middle:
        others = [run for run in runs if run != one]
        other = address.choice(st.selectbox, "against run B", others, key="b", default=others[0])
    with right:
        shown = address.choice(
            st.segmented_control, "Show", labels, key="difference", default="trust_ratio", required=True
        )
    return one, other, next(quantity for quantity in QUANTITIES if quantity.name == shown)


def _shared(one: RunState, other: RunState) -> list[bands.Member]:
    """The layers of both runs, in the depth order of the first."""
    there = set(queries.layers(other))
    return [member for member in band_cells.members(one) if member.layer in there]


def _by_layer(
    pair: tuple[RunState, RunState], cells: pd.DataFrame, stack: bands.Stack, quantity: Quantity, last: int
) -> pd.DataFrame:
    """The cells with their layers: those of the map, or where its rows have several layers, others that are wider."""
    layers = list(stack.row_of)
    if stack.merged:
        row_of = {layer: number for number, layer in enumerate(layers)}
        columns = min(COLUMNS, max(FEWEST, last // band_cells.ROLLED_UP + 1))
        cells = band_cells.compared_cells(*pair, 1, last, quantity=quantity.name, row_of=row_of, columns=columns)
    else:
        layers = [row.layers[0] for row in stack.rows]
    found = cells[cells["apart"].notna()]
    return found.assign(layer=[layers[row] for row in found["row"]])


def _most(cells: pd.DataFrame, quantity: Quantity) -> str:
    """Where the two runs differ most, in a sentence."""
    return _most_apart(cells) if quantity.ratio else _clipped_most(cells)


def _most_apart(cells: pd.DataFrame) -> str:
    """By each layer's median factor between the two runs at the same steps, which is no factor between two medians."""
    typical = cells.groupby("layer", sort=False)["apart"].median()
    above, below = int((typical > SAME).sum()), int((typical < -SAME).sum())
    # A step of either run; of wider cells, a mean of each.
    single = cells["rows"].max() <= 2 and bool((cells["width"] == cells["stride"]).all())
    where, about = ("Step by step", "") if single else (f"In means over {cells['width'].max():,} steps", "about ")
    if not above + below:
        return f"{where}, A's ratio is typically that of B in every layer, within a median factor of 1.02."
    name, most = _furthest(typical)
    factor = f"**{10**most:.3g}**" if most > 0 else f"**1/{10**-most:.3g}**"
    furthest = ratio_text(10 ** float(cells["apart"].abs().max()))
    return (
        f"{where}, A's ratio is typically larger in {about}{above:,} and smaller in {about}{below:,} of "
        f"{counted(len(typical), 'layer')}, by over 2 %; most in {name}, by a median factor of {about}{factor}. "
        f"In single {'steps' if single else 'cells'} they are up to {furthest} times apart."
    )


def _clipped_most(cells: pd.DataFrame) -> str:
    """By the share of steps in which each layer is clipped."""
    means = cells.groupby("layer", sort=False)["apart"].mean()
    above, below = int((means > 0.01).sum()), int((means < -0.01).sum())
    if not above + below:
        return "No layer of A is clipped more or less often than that of B by over a point over these steps."
    name, most = _furthest(means)
    said = f"A is clipped more often in {above:,} and less often in {below:,} of {counted(len(means), 'layer')}"
    return f"{said}; they differ most in {name}, by **{100 * most:+.0f} points** over these steps."


def _furthest(by_layer: pd.Series) -> tuple[str, float]:
    """The layer of the value furthest from 0, as text, and that value."""
    place = int(np.abs(by_layer.to_numpy(dtype=float)).argmax())
    return f"**{words.plain(shorten(by_layer.index[place], 60))}**", float(by_layer.iloc[place])


def _says(states: dict[str, RunState], one: str, other: str, stack: bands.Stack, cells: pd.DataFrame) -> str:
    """Which steps and layers are shown, and what a row and a cell stand for."""
    spans = {(queries.first_step(state), state.steps) for state in (states[one], states[other])}
    first, last = max(span[0] for span in spans), min(span[1] for span in spans)
    said = [f"A over B, steps {first:,} to {last:,}"]
    if len(spans) > 1:
        said[0] += ", which both have"
    short = dict(zip((one, other), _short(one, other), strict=True))
    for mine, theirs in ((one, other), (other, one)):
        missing = len(queries.layers(states[mine])) - len(stack.row_of)
        if missing:
            layers_of = f"1 layer of {short[mine]} is" if missing == 1 else f"{missing} layers of {short[mine]} are"
            said.append(f"{layers_of} not in {short[theirs]} and left out")
    if stack.merged:
        said.append(rows.rows_sentence(stack, "the one furthest apart").removesuffix("."))
    width = int(cells["width"].iloc[0])
    said.append("A cell a step" if width == 1 else f"A cell for {width:,} steps")
    return ". ".join(said) + "."


def _short(*runs: str) -> list[str]:
    short = told_apart(runs, 40)
    return [words.plain(short[run]) for run in runs]
