"""What another bound would have done: the bound for a wanted hit rate, what any bound would clip, and whom."""

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from app import queries, words
from app.bounds import code as bound_code
from app.bounds.question import Question
from app.charts.bounds import layer_ranges, survival_curves
from app.charts.layers import KINDS, Side
from app.charts.text import shorten
from app.plotly_view import plotly_view
from app.shell import address
from app.shell.selection import Selection

GUIDE = """
- A **layer-step** is one layer in one step. An **upper** bound clips it where the trust ratio is above
  the bound: the step gets shorter. A **lower** one clips it where the ratio is below: the step gets longer.
- The bound is counted, not fitted: it is the closest to 1, to 2%, beyond which at most the wanted share of the chosen
  steps lies. It is rounded away from there, so that it clips no more than that.
- It is a **first-order answer**. A run that is clipped goes another way, and its ratios with it. The ratios of a run
  without a bound are the ones to ask; those of a clipped run tell where that run went.
- **One bound** for all layers mostly clips one kind of them: often the weights of normalisation layers, whose ratios
  are the largest. Orange (blue for a lower bound) is what it cuts there. **A bound for each layer** cuts every layer
  equally often. The bound on the other side stays as the run had it, unless it contradicts.
- Layers whose ratio was 1 for another reason, as without a gradient or with `adapt=False`, are not counted.
- **Drag** over a part of a chart to zoom; a **double click** shows everything again. A click on a kind in the legend
  hides it.
"""


HUES: dict[Side, str] = {"upper": "orange", "lower": "blue"}
"""What a bound cuts, in Streamlit's names for the charts' colours."""

OTHER: dict[Side, Side] = {"upper": "lower", "lower": "upper"}


@dataclass(frozen=True)
class Suggestion:
    """bound: for all layers; at_most, at_least: between these is the share of layer-steps that it clips.

    layers, kinds: a row each: name, bound, clipped (the share that its own bound clips at most), clipped_by_all (the
    share that the bound of all does), steps.
    """

    bound: float
    at_most: float
    at_least: float
    steps: int
    layers: pd.DataFrame
    kinds: pd.DataFrame


def suggest(question: Question) -> Suggestion | None:
    """The bound for all layers, and those for each kind and each layer; None where no layer could be clipped."""
    kinds = queries.kinds(question.state)
    found = queries.suggested_bounds(
        question.state, question.first, question.last, question.wanted, kinds, question.side
    )
    if found.empty:
        return None
    found = found.assign(bound=list(map(bound_code.shortest, found["bound"], found["next_bound"])))
    (everything,) = found[found["of"] == "all"].to_dict("records")
    by_name = {of: some.set_index("name") for of, some in found.groupby("of")}
    return Suggestion(
        bound=everything["bound"],
        at_most=everything["clipped"],
        at_least=everything["next_clipped"],
        steps=everything["steps"],
        layers=by_name["layer"].reindex([layer for layer in kinds if layer in by_name["layer"].index]),
        kinds=by_name["group"].reindex([kind for kind in KINDS if kind in by_name["group"].index]),
    )


def draw_answer(question: Question, suggested: Suggestion | None, states: dict[str, queries.RunState]) -> None:
    """The bound in a sentence and as code, and how far one may trust it."""
    part = f"steps {question.first:,} to {question.last:,}"
    if suggested is None:
        st.info(
            f"No layer of this run could be clipped in {part}: its layers were not adapted (`adapt=False`, or an "
            "optimizer that was recorded from outside), or their norms were zero or not finite. "
            "Choose another run or another part of training.",
            icon=":material/block:",
        )
        return
    hue = HUES[question.side]
    with st.container(border=True):
        st.markdown(
            f"## {question.bound.capitalize()} of :{hue}[{suggested.bound:g}] would clip "
            f":{hue}[{_between(suggested.at_least, suggested.at_most)}] of all layer-steps"
        )
        other = queries.bound(question.state, OTHER[question.side])
        st.code(
            bound_code.for_all_layers(
                _optimizer(question.state), bound_code.clip(question.side, suggested.bound, other)
            )
        )
        st.caption(
            f"Counted over {suggested.steps:,} layer-steps, {part}. This is a first-order answer: "
            "a run that is clipped goes another way, and its ratios with it."
        )
    _say_if_clipped(question.state, states)


def _say_if_clipped(state: queries.RunState, states: dict[str, queries.RunState]) -> None:
    """A clipped run's ratios are not those that it would have had."""
    rate = queries.hit_rate(state)
    if not rate:
        return
    free = [run for run, other in states.items() if queries.hit_rate(other) == 0]
    better = f" (**{words.plain(shorten(free[-1], 40))}**)" if free else ""
    st.info(
        f"This run was clipped itself, in {words.percent(rate)} of its layer-steps: its ratios are those of a clipped "
        f"run. One that was never clipped{better} answers best.",
        icon=":material/content_cut:",
    )


def draw_survival(chosen: Selection, question: Question, suggested: Suggestion) -> None:
    """What any bound would clip: of all layers, of each kind, of each layer."""
    st.subheader("What any bound would clip", anchor=False)
    survival = queries.ratio_survival(question.state, question.first, question.last)
    beyond = "above" if question.side == "upper" else "below"
    st.caption(
        f"Share of layer-steps whose trust ratio is {beyond} the bound: "
        "of all layers, each kind, and faintly each layer."
    )
    plotly_view(
        survival_curves(
            survival.assign(kind=survival["layer"].map(queries.kinds(question.state))),
            side=question.side,
            bound=suggested.bound,
            clipped=suggested.at_most,
            own_bound=queries.bound(question.state, question.side),
            theme=chosen.theme,
        ),
        key="survival",
        label=f"Share of layer-steps that {question.bound} would clip",
        keep_zoom=f"{question.state.run} {question.side}",
    )


def draw_layers(chosen: Selection, question: Question, suggested: Suggestion) -> None:
    """Whom the bound would clip."""
    st.subheader("Who would be clipped", anchor=False)
    layers = suggested.layers
    most = layers["clipped_by_all"] > 0
    st.caption(
        f"A bound of {suggested.bound:g} would clip {most.sum()} of {len(layers)} layers. "
        f"A line holds 90% of a layer's ratios; {HUES[question.side]} is what the bound would cut."
    )
    quantiles = queries.ratio_quantiles(question.state, question.first, question.last).set_index("layer")
    plotly_view(
        layer_ranges(
            layers.rename(columns={"bound": "own"})
            .join(quantiles[["q01", "q05", "q50", "q95", "q99"]])
            .assign(kind=layers.index.map(queries.kinds(question.state)))
            .rename_axis("layer")
            .reset_index(),
            layers=list(layers.index),
            side=question.side,
            bound=suggested.bound,
            wanted=question.wanted,
            theme=chosen.theme,
        ),
        key="ranges",
        label="Trust ratios of each layer beside the suggested bound",
        keep_zoom=question.state.run,
    )


def draw_code(question: Question, suggested: Suggestion) -> None:
    """A bound for each kind or each layer: as a table, and as the code that sets them."""
    st.subheader("More than one bound", anchor=False)
    address.recall("apart", ("kind", "layer"), "kind")
    apart = st.segmented_control(
        "A bound for",
        ["kind", "layer"],
        key="apart",
        required=True,
        format_func=lambda each: f"each {each}",
        persist_state="session",
    )
    address.note("apart", apart, "kind")
    kinds = queries.kinds(question.state)
    table, code = st.columns([6, 5], gap="medium")
    rows = suggested.kinds if apart == "kind" else suggested.layers.assign(kind=suggested.layers.index.map(kinds))
    with table:
        _draw_table(rows, str(apart), question, suggested)
    with code:
        st.code(
            bound_code.for_each_layer(_optimizer(question.state), _sections(question, suggested, str(apart))),
            height=420,
        )


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
    exempt = rates[(rates["adapted"] == 0) & (rates["lower"] == 1) & (rates["upper"] == 1)].index
    share = f"at most {100 * question.wanted:g}%"

    def clip(layer: str, bound: float) -> bound_code.Clip:
        return bound_code.clip(question.side, bound, rates[OTHER[question.side]][layer])

    sections: dict[str, list[tuple[str, bound_code.Clip]]] = {}
    if apart == "kind":
        for kind, bound in suggested.kinds["bound"].items():
            members = [layer for layer in suggested.layers.index if kinds[layer] == kind]
            sections[f"{kind}: {share} of all their steps"] = [(layer, clip(layer, bound)) for layer in members]
    else:
        sections[f"{share} of each layer's steps"] = [
            (layer, clip(layer, suggested.layers["bound"][layer])) for layer in suggested.layers.index
        ]
    others = [layer for layer in kinds if layer not in suggested.layers.index]
    sections["were not adapted: the ratio stays 1"] = [
        (layer, bound_code.NOT_ADAPTED) for layer in others if layer in exempt
    ]
    sections["had no ratio here: the bound of all"] = [
        (layer, clip(layer, suggested.bound)) for layer in others if layer not in exempt
    ]
    return {comment: layers for comment, layers in sections.items() if layers}


def _optimizer(state: queries.RunState) -> str:
    """The optimizer whose bound is set: its name in the run's config, if it is one that has a bound."""
    runs = queries.runs()
    named = str(words.config(runs[runs["run"] == state.run].iloc[0]).get("optimizer"))
    return "LARS" if named.lower() == "lars" else "LAMBC"


def _between(least: float, most: float) -> str:
    """A share that is known to lie between two."""
    low, high = words.percent(least), words.percent(most)
    return high if low == high else f"{low.removesuffix('%')} to {high}"


def explain() -> None:
    """The guide."""
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(GUIDE)
