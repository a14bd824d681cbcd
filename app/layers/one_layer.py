"""One layer of a run, opened from the heatmap or by name."""

import pandas as pd
import streamlit as st

from app import queries, words
from app.charts.distribution import ratio_distribution
from app.charts.layer_curve import exempt, layer_curve
from app.layers.heatmap import LAYER
from app.plotly_view import plotly_view
from app.shell import address
from app.shell.selection import Selection


def draw(chosen: Selection, state: queries.RunState, shown: tuple[int, int] | None, *, left: int) -> None:
    """The layer's ratio before and after clipping, over the steps of the heatmap, `left` pixels from the left."""
    layers = queries.layers(state)
    address.recall(LAYER, layers, most_clipped(state))
    st.subheader("One layer", anchor=False)
    layer = st.selectbox(
        "Layer",
        layers,
        key=LAYER,
        persist_state="session",
        help="A click on a cell of the heatmap opens its layer here.",
    )
    address.note(LAYER, layer, most_clipped(state))
    first, last = shown or (1, state.steps)
    cells = queries.ratio_envelope(state, layer, first, last)
    if cells.empty:
        st.info("This layer has no rows in these steps.", icon=":material/hourglass_empty:")
        return
    st.markdown(_facts(state, layer))
    plotly_view(
        layer_curve(cells, left=left, theme=chosen.theme),
        key="layer_curve",
        label="Trust ratio of the layer",
        keep_zoom=f"{state.run} {layer}",
    )
    st.caption(_says(cells))
    _draw_distribution(chosen, state, layer, (first, last), left=left)


def _says(cells: pd.DataFrame) -> str:
    rows, width, single = int(cells["rows"].sum()), int(cells["width"].iloc[0]), bool((cells["rows"] == 1).all())
    said = []
    if exempt(cells):
        said.append("This layer is not adapted: its steps used 1, and 'before' is what the ratio would have been.")
    elif single:
        said.append("The filled part is what clipping took away.")
    if single and width > 1:
        said.append(f"A point a recorded step, of which {width:,} steps have one.")
    elif width > 1:
        said.append(
            f"{rows:,} rows → {len(cells):,} points of {width:,} steps: of ratios the geometric mean, of norms the "
            "largest, and the whole range about it."
        )
    said.append(
        "The ratio is ‖w‖ / ‖update‖, with LARS times the trust coefficient: it rises when the weights grow or the "
        "update shrinks."
    )
    return " ".join(said)


def _draw_distribution(
    chosen: Selection, state: queries.RunState, layer: str, steps: tuple[int, int], *, left: int
) -> None:
    """The layer's ratios over the steps that the heatmap shows, against those of the whole run."""
    shown = queries.ratio_histogram(state, layer, *steps)
    if shown.empty:
        st.caption("In none of these steps could the layer have been clipped, so its ratios have no distribution.")
        return
    whole = queries.ratio_histogram(state, layer, 1, state.steps) if steps != (1, state.steps) else None
    rates = queries.hit_rates(state)
    upper = float(rates["upper"][rates["layer"] == layer].iloc[0])
    plotly_view(
        ratio_distribution(
            shown, whole, bound=upper if 0 < upper < float("inf") else None, left=left, theme=chosen.theme
        ),
        key="distribution",
        label="Distribution of the layer's trust ratio",
        keep_zoom=f"{state.run} {layer}",
    )


def most_clipped(state: queries.RunState) -> str:
    """The layer to look at first."""
    rates = queries.hit_rates(state)
    hits = rates["upper_hits"] + rates["lower_hits"]
    return str(rates["layer"].iloc[int(hits.to_numpy().argmax())])


def _facts(state: queries.RunState, layer: str) -> str:
    rates = queries.hit_rates(state)
    row = rates[rates["layer"] == layer].iloc[0]
    shape = " × ".join(str(side) for side in row["shape"]) if row["shape"] is not None else ""
    size = f"shape {shape} · {int(row['parameters']):,} parameters · " if shape else ""
    hits, adapted = int(row["upper_hits"] + row["lower_hits"]), int(row["adapted"])
    if not adapted:
        return f"{size}never clipped, since in none of its {int(row['rows']):,} steps it could be"
    if not hits:
        return f"{size}never clipped in {adapted:,} steps"
    steps = f"{adapted:,} steps" if adapted == row["rows"] else f"the {adapted:,} steps in which it could be"
    return (
        f"{size}clipped in **{words.percent(hits / adapted)}** of {steps}, first at step {int(row['first_hit']):,}, "
        f"last at step {int(row['last_hit']):,}"
    )
