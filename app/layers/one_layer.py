"""One layer of a run, opened from the heatmap or by name: where it stands at a step, why, and how it got there."""

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from app import band_cells, queries, words
from app.charts.bands import Member, numbers
from app.charts.block_matrix import block_matrix
from app.charts.distribution import ratio_distribution
from app.charts.layer_curve import exempt, has_ratio, layer_curve
from app.charts.text import counted
from app.charts.theme import Theme
from app.layers import questions
from app.layers.explanation import explain
from app.plotly_view import plotly_view
from app.shell import address, notices
from app.shell.selection import Selection

LAYER, AT = "layer", "at"
"""The keys of the layer that is looked at, and of the step."""

OPENED = "layers_opened"
"""How often a layer was opened by a click: the page then scrolls to it."""

PART = "layer_at_step"


def draw(chosen: Selection, state: queries.RunState, shown: tuple[int, int] | None, *, left: int) -> None:
    """The layer at a step among all others, then its ratio before and after clipping, over the heatmap's steps.

    left: pixels at the left of the charts.
    """
    st.subheader("One layer", anchor=False)
    first, last = shown or (1, state.steps)
    opened = str(st.session_state.get(OPENED, ""))
    with st.container(key=PART):
        layer, step = _choose(state, (first, last))
        at_step = matrix = None
        with notices.panel():
            at_step = questions.layers_at(state, step)
            if at_step.empty:  # within the first stride, or in a gap of the log
                step = questions.recorded_at(state, step) or step
                at_step = questions.layers_at(state, step)
            matrix = _matrix(state, at_step, layer, left, chosen.theme)
        cells = questions.ratio_envelope(state, layer, first, last)
        if cells.empty:
            st.info("This layer has no rows in these steps.", icon=":material/hourglass_empty:")
            return
        st.markdown(_facts(state, layer))
        if at_step is not None and at_step.empty:
            st.caption(f"Neither step {step:,} nor any before it was recorded.")
        elif at_step is not None and (why := explain(at_step, layer, step, _usual(state, layer))):
            st.markdown(why)
        if matrix is not None:
            plotly_view(
                matrix,
                key="matrix",
                label="Each family and block at this step, against usual",
                of=queries.about([state], step, step),
                keep_zoom=f"{state.run} {step}",
                reveal=opened,
                reveal_with=PART,
            )
    plotly_view(
        layer_curve(cells, left=left, at=step, theme=chosen.theme),
        key="layer_curve",
        label="Trust ratio of the layer",
        of=f"{layer} of {queries.about([state], first, last)}",
        keep_zoom=f"{state.run} {layer}",
        reveal=opened if matrix is None else "",
    )
    st.caption(_says(cells, queries.stride(state, first, last)))
    _draw_distribution(chosen, state, layer, (first, last), left=left)


def _choose(state: queries.RunState, steps: tuple[int, int]) -> tuple[str, int]:
    """Which layer, and at which step; beside them, the way to the same layer of the blocks before and after it."""
    layers = queries.layers(state)
    named, at, before, after = st.columns([5, 1.3, 1.2, 1.2], vertical_alignment="bottom")
    layer = address.choice(
        named.selectbox,
        "Layer",
        layers,
        key=LAYER,
        default=most_clipped(state),
        help="A click on a cell of the heatmap opens its layer here.",
    )
    step = address.number(at.number_input, "at step", 1, state.steps, key=AT, default=steps[1])
    family = _family(state, layer)
    place = [member.layer for member in family].index(layer)
    for column, other, text in ((before, place - 1, "◀ {}"), (after, place + 1, "{} ▶")):
        there = 0 <= other < len(family)
        column.button(
            text.format(f"block {_number(family[other])}" if there else "–"),
            key=f"block_{text[0]}",
            disabled=not there,
            on_click=_go_to,
            args=(family[other].layer if there else layer,),
            width="stretch",
        )
    stride = queries.stride(state, step, step)
    return layer, step // stride * stride or step


def _go_to(layer: str) -> None:
    st.session_state[LAYER] = layer


def _family(state: queries.RunState, layer: str) -> list[Member]:
    """The layers of its family, from the first block to the last."""
    members = band_cells.members(state)
    family = next(member.family for member in members if member.layer == layer)
    return sorted((member for member in members if member.family == family), key=lambda member: member.block or 0)


def _number(member: Member) -> str:
    return numbers(member) or "–"


def _matrix(state: queries.RunState, at_step: pd.DataFrame, layer: str, left: int, theme: Theme) -> go.Figure | None:
    if at_step.empty:
        return None
    usual = band_cells.usual_ratios(state).set_index("layer")["usual"]
    ratio = at_step["trust_ratio"].where(at_step["outcome"] != "fallback")
    change = ratio.astype(float) / at_step["layer"].map(usual).where(lambda each: each > 0)
    return block_matrix(at_step.assign(change=change), chosen=layer, left=left, theme=theme)


def _usual(state: queries.RunState, layer: str) -> float | None:
    known = band_cells.usual_ratios(state)
    found = known["usual"][known["layer"] == layer]
    return float(found.iloc[0]) if len(found) and found.iloc[0] > 0 else None


def _says(cells: pd.DataFrame, stride: int) -> str:
    rows, width, single = int(cells["rows"].sum()), int(cells["width"].iloc[0]), bool((cells["rows"] == 1).all())
    said = []
    if exempt(cells):
        said.append("This layer is not adapted: its steps used 1, and 'before' is what the ratio would have been.")
    elif single:
        said.append("The filled part is what clipping took away.")
    if single and 1 < width == stride:
        said.append(f"One of every {width:,} steps was recorded; each is a point.")
    elif single and width > 1:
        said.append(f"A point for {width:,} steps, of which the layer took one at most.")
    elif width > 1:
        said.append(
            f"{rows:,} rows → {len(cells):,} points of {width:,} steps: of ratios the geometric mean, of norms the "
            "largest, and the whole range about it."
        )
    if not has_ratio(cells).all():
        said.append("A gap is where no ratio could be taken, since a norm was 0 or not finite; such a step used 1.")
    said.append(
        "The ratio is ‖w‖ / ‖update‖, with LARS times the trust coefficient: it rises when the weights grow or the "
        "update shrinks."
    )
    return " ".join(said)


def _draw_distribution(
    chosen: Selection, state: queries.RunState, layer: str, steps: tuple[int, int], *, left: int
) -> None:
    """The layer's ratios over the steps that the heatmap shows, against those of the whole run."""
    shown = questions.ratio_histogram(state, layer, *steps)
    if shown.empty:
        st.caption("In no recorded step of these could the layer be clipped, so its ratios have no distribution.")
        return
    whole = questions.ratio_histogram(state, layer, 1, state.steps) if steps != (1, state.steps) else None
    upper = float(queries.own_bounds(state, "upper", steps)[layer])
    plotly_view(
        ratio_distribution(
            shown, whole, bound=upper if 0 < upper < float("inf") else None, left=left, theme=chosen.theme
        ),
        key="distribution",
        label="Distribution of the layer's trust ratio",
        of=f"{layer} of {queries.about([state], *steps)}",
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
    step = "step" if queries.stride(state, 1, state.steps) == 1 else "recorded step"
    if not adapted:
        return f"{size}never clipped, since in none of its {counted(int(row['rows']), step)} it could be"
    if not hits:
        return f"{size}never clipped in {counted(adapted, step)}"
    if adapted == 1:
        only = f"its only {step}" if row["rows"] == 1 else f"the only {step} in which it could be"
        return f"{size}clipped in {only}, step {int(row['first_hit']):,}"
    steps = f"{adapted:,} {step}s" if adapted == row["rows"] else f"the {adapted:,} {step}s in which it could be"
    return (
        f"{size}clipped in **{words.percent(hits / adapted)}** of {steps}, first at step {int(row['first_hit']):,}, "
        f"last at step {int(row['last_hit']):,}"
    )
