"""More than one bound: for each kind, each family or each layer, as a table and as the code that sets them."""

import pandas as pd
import streamlit as st

from app import band_cells, queries
from app.bounds import code as bound_code
from app.bounds.question import OTHER, Question, optimizer
from app.bounds.suggestion import Suggestion
from app.charts.layers import KINDS, Side
from app.charts.text import counted
from app.shell import address


def draw_code(question: Question, suggested: Suggestion) -> None:
    """A bound for each kind, family or layer: as a table, and as the code that sets them."""
    st.subheader("More than one bound", anchor=False)
    offered = {"kind": "each kind", "family": "each family", "layer": "each layer"}
    few = suggested.families.empty
    if few:
        del offered["family"]
    apart = address.choice(
        st.segmented_control,
        "A bound for",
        offered,
        key="apart",
        default="kind" if few else "family",
        required=True,
        help=None if few else "A family: the layers of one role in all blocks.",
    )
    kinds = queries.kinds(question.state)
    rows = {
        "kind": suggested.kinds,
        "family": suggested.families,
        "layer": suggested.layers.assign(kind=suggested.layers.index.map(kinds)),
    }
    sections = _sections(question, suggested, apart)
    gone = _left_out(question, sections)
    if not few and apart != "layer":
        sections = bound_code.by_patterns(sections, _families(question.state))
    # Names of layers and patterns of families leave no room for numbers beside the code.
    beside = few and apart == "kind"
    table, code = st.columns([6, 5], gap="medium") if beside else (st.container(), st.container())
    with table:
        _draw_table(rows[apart], apart, question, suggested)
    with code:
        st.code(bound_code.for_each_layer(optimizer(question.state), sections, gone), height=420)
    if gone:
        st.caption(f"{gone[0].upper()}{gone[1:]}.")


def _left_out(question: Question, sections: bound_code.Sections) -> str:
    """Of how many layers the run's own bound on the other side is left out; '' where it is of none."""
    own, kept = question.side, OTHER[question.side]
    had = queries.hit_rates(question.state).set_index("layer")[kept]
    layers = [each for some in sections.values() for each in some]
    gone = sum(bound_code.contradicts(own, _on(own, clip), had[layer]) for layer, clip in layers)
    where = f"in {gone:,} of {counted(len(layers), 'layer')}"
    beyond = "above" if own == "upper" else "below"
    return f"{where} the run's {kept} bound lies {beyond} the {own} one, so it is left out" if gone else ""


def _on(side: Side, clip: bound_code.Clip) -> float:
    return clip[side == "upper"] if isinstance(clip, tuple) else clip


def _families(state: queries.RunState) -> dict[str, str]:
    return {member.layer: member.family for member in band_cells.members(state)}


def _draw_table(rows: pd.DataFrame, apart: str, question: Question, suggested: Suggestion) -> None:
    st.dataframe(
        rows.rename_axis(apart).reset_index(),
        hide_index=True,
        height=420 if len(rows) > len(KINDS) else "auto",
        column_order=[apart, *(["kind"] if apart == "layer" else []), "bound", "clipped", "clipped_by_all", "steps"],
        column_config={
            "bound": st.column_config.NumberColumn(
                format="%.3g", width=60, help="Its own bound for the wanted hit rate"
            ),
            "clipped": st.column_config.NumberColumn(
                "clips", format="percent", width=60, help="At most, of its own steps"
            ),
            "clipped_by_all": st.column_config.ProgressColumn(
                f"at {suggested.bound:g}",
                format="percent",
                min_value=0,
                max_value=1,
                width=100,
                help=f"The share of its steps that one bound of {suggested.bound:g} for all layers would clip",
            ),
            "steps": st.column_config.NumberColumn(format="localized", help="Steps that could be clipped"),
        },
    )


def _sections(question: Question, suggested: Suggestion, apart: str) -> dict[str, list[tuple[str, bound_code.Clip]]]:
    """The layers of the run with their bounds, under what is to be said of them."""
    kinds = queries.kinds(question.state)
    rates = queries.hit_rates(question.state).set_index("layer")
    exempt = rates[queries.not_adapted(rates)].index
    share = f"at most {100 * question.wanted:g}%"

    def clip(layer: str, bound: float) -> bound_code.Clip:
        return bound_code.clip(question.side, bound, rates[OTHER[question.side]][layer])

    layers = suggested.layers
    if apart == "kind":
        sections = {
            f"{kind}: {share} of all their steps": [
                (layer, clip(layer, bound)) for layer in layers.index if kinds[layer] == kind
            ]
            for kind, bound in suggested.kinds["bound"].items()
        }
    elif apart == "family":
        bounds, family = suggested.families["bound"], _families(question.state)
        said = f"{share} of each family's steps"
        sections = {said: [(layer, clip(layer, bounds[family[layer]])) for layer in layers.index]}
    else:
        said = f"{share} of each layer's steps"
        sections = {said: [(layer, clip(layer, layers["bound"][layer])) for layer in layers.index]}
    others = [layer for layer in kinds if layer not in suggested.layers.index]
    sections["were not adapted: the ratio stays 1"] = [
        (layer, bound_code.NOT_ADAPTED) for layer in others if layer in exempt
    ]
    sections["had no ratio here: the bound of all"] = [
        (layer, clip(layer, suggested.bound)) for layer in others if layer not in exempt
    ]
    return {comment: layers for comment, layers in sections.items() if layers}
