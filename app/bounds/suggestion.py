"""What another bound would have done: the bound for a wanted hit rate, what any bound would clip, and whom."""

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from app import band_cells, queries, unusual, words
from app.bounds import code as bound_code
from app.bounds.question import OTHER, Question, optimizer
from app.charts.bounds import layer_ranges, survival_curves
from app.charts.family_bounds import family_bounds
from app.charts.layers import KINDS, Side
from app.charts.text import shorten
from app.plotly_view import plotly_view
from app.shell.selection import Selection

GUIDE = """
- A **layer-step** is one layer in one step. An **upper** bound clips it where the trust ratio is above
  the bound: the step gets shorter. A **lower** one clips it where the ratio is below: the step gets longer.
- The bound is counted, not fitted: it is the closest to 1, to 2%, beyond which at most the wanted share of the chosen
  steps lies. It is rounded away from there, so that it clips no more than that.
- It is a **first-order answer**: under another bound training takes another course, and the ratios change with it. The
  ratios of a run without a bound are the best basis; those of a clipped run depend on the bound that it had.
- **One bound** for all layers mostly clips one kind of them: often the weights of normalisation layers, whose ratios
  are the largest. Orange (blue for a lower bound) is what it cuts there. **A bound for each layer** cuts every layer
  equally often. The bound on the other side stays as the run had it, unless it contradicts.
- Of models of many layers a line stands for a **family**, the layers of one role in all blocks: each mark on it is a
  layer's own bound, in the shade of its block, and **▲** one bound for all of them. The
  code then has a pattern for each family, whose `*` stands for a number.
- Layers whose ratio was 1 for another reason, as without a gradient or with `adapt=False`, are not counted.
- **Drag** over a part of a chart to zoom; a **double click** shows everything again. A click on a kind in the legend
  hides it.
"""


HUES: dict[Side, str] = {"upper": "orange", "lower": "blue"}
"""What a bound cuts, in Streamlit's names for the charts' colours."""


@dataclass(frozen=True)
class Suggestion:
    """bound: for all layers; at_most, at_least: between these is the share of layer-steps that it clips.

    layers, kinds: a row each: name, bound, clipped (the share that its own bound clips at most), clipped_by_all (the
    share that the bound of all does), steps.
    families: the same of the families of layers, where these are drawn; else none.
    """

    bound: float
    at_most: float
    at_least: float
    steps: int
    layers: pd.DataFrame
    kinds: pd.DataFrame
    families: pd.DataFrame


def suggest(question: Question) -> Suggestion | None:
    """The bound for all layers, and those for each kind and each layer; None where no layer could be clipped."""
    if question.last < question.first:
        return None
    kinds = queries.kinds(question.state)
    found = _bounds(question, kinds)
    if found.empty:
        return None
    (everything,) = found[found["of"] == "all"].to_dict("records")
    by_name = {of: some.set_index("name") for of, some in found.groupby("of")}
    return Suggestion(
        bound=everything["bound"],
        at_most=everything["clipped"],
        at_least=everything["next_clipped"],
        steps=everything["steps"],
        layers=by_name["layer"].reindex([layer for layer in kinds if layer in by_name["layer"].index]),
        kinds=by_name["group"].reindex([kind for kind in KINDS if kind in by_name["group"].index]),
        families=_of_families(question) if band_cells.drawn_by_family(question.state) else found.head(0),
    )


def _bounds(question: Question, groups: dict[str, str]) -> pd.DataFrame:
    """Of all layers, of each layer and of each group; rounded."""
    found = queries.suggested_bounds(
        question.state, question.first, question.last, question.wanted, groups, question.side
    )
    return found.assign(bound=list(map(bound_code.shortest, found["bound"], found["next_bound"])))


def _of_families(question: Question) -> pd.DataFrame:
    """Families in the order of their first layers."""
    families = {member.layer: member.family for member in band_cells.members(question.state)}
    found = _bounds(question, families)
    found = found[found["of"] == "group"].set_index("name")
    return found.reindex([family for family in dict.fromkeys(families.values()) if family in found.index])


def draw_answer(question: Question, suggested: Suggestion | None, states: dict[str, queries.RunState]) -> None:
    """The bound in a sentence and as code, and how far one may trust it."""
    if suggested is None:
        _say_why_none(question, states)
        return
    hue = HUES[question.side]
    with st.container(border=True):
        st.markdown(
            f"## {question.bound.capitalize()} of :{hue}[{suggested.bound:g}] would clip "
            f":{hue}[{_between(suggested.at_least, suggested.at_most)}] of all layer-steps"
        )
        bounds = question.side, suggested.bound, queries.bound(question.state, OTHER[question.side])
        gone = bound_code.left_out(*bounds)
        st.code(bound_code.for_all_layers(optimizer(question.state), bound_code.clip(*bounds), gone))
        st.caption(
            f"Counted over {suggested.steps:,} layer-steps, {question.part}.{_left_out(question, suggested)} This is a "
            "first-order answer: under another bound training takes another course, and the ratios change with it."
            + (f" Of the run's own bounds {gone}." if gone else "")
        )
    if question.diverged is not None:
        st.warning(
            f"{_diverged(question)}; counted are steps {question.first:,} to {question.last:,}. The ratios before that "
            f"are those of a run on its way there.{_better(states)}",
            icon=":material/error:",
        )
    _say_if_clipped(question.state, states)


def _say_why_none(question: Question, states: dict[str, queries.RunState]) -> None:
    recorded, steps = _rows(question) > 0, f"steps {question.first:,} to {question.last:,}"
    if question.cut and not recorded:
        none = "no step" if question.last < question.first else f"none of {steps}"
        st.error(
            f"{_diverged(question)}: {none} before that is recorded. No bound is suggested.{_better(states)}",
            icon=":material/error:",
        )
    elif not recorded:
        st.info(f"None of {steps} is recorded. Choose another part of training.", icon=":material/block:")
    else:
        st.info(
            f"No layer of this run could be clipped in {question.part}: its layers were not adapted (`adapt=False`, "
            "or an optimizer that was recorded from outside), or their norms were zero or not finite. "
            "Choose another run or another part of training.",
            icon=":material/block:",
        )


def _rows(question: Question) -> int:
    """How many layer-steps are in the log of the steps that are asked about."""
    if question.last < question.first:
        return 0
    return queries.rows_between(question.state, question.first, question.last)


def _left_out(question: Question, suggested: Suggestion) -> str:
    """Of how many layer-steps nothing is counted: their ratio was 1 for another reason than a bound."""
    rows = _rows(question)
    left = rows - suggested.steps
    return f" {left:,} of {rows:,} are left out: their layers were not adapted, or a norm was zero." if left else ""


def _diverged(question: Question) -> str:
    return f"**This run {words.diverged(question.diverged or 0)}**"


def _better(states: dict[str, queries.RunState]) -> str:
    """Which run may be asked in place of one that diverged."""
    others = [run for run, state in states.items() if unusual.diverged_since(state) is None]
    return f" Choose another run, as **{words.plain(shorten(others[-1], 40))}**." if others else ""


def _say_if_clipped(state: queries.RunState, states: dict[str, queries.RunState]) -> None:
    """A clipped run's ratios are not those that it would have had."""
    rate = queries.hit_rate(state)
    if not rate:
        return
    free = [
        run for run, other in states.items() if queries.hit_rate(other) == 0 and unusual.diverged_since(other) is None
    ]
    better = f" (**{words.plain(shorten(free[-1], 40))}**)" if free else ""
    st.info(
        f"This run was clipped itself, in {words.percent(rate)} of its "
        f"{words.layer_steps(queries.most_recorded(state))}: its ratios are those of a clipped run. One that was never "
        f"clipped{better} is a better basis.",
        icon=":material/content_cut:",
    )
    if free:
        st.button(
            f"Look at {words.plain(shorten(free[-1], 40))} instead",
            key="free_run",
            icon=":material/swap_horiz:",
            on_click=lambda: st.session_state.update(run=free[-1]),
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
            own_bound=queries.bound(question.state, question.side, (question.first, question.last)),
            theme=chosen.theme,
        ),
        key="survival",
        label=f"Share of layer-steps that {question.bound} would clip",
        of=queries.about([question.state], question.first, question.last),
        keep_zoom=f"{question.state.run} {question.side}",
    )


def draw_layers(chosen: Selection, question: Question, suggested: Suggestion) -> None:
    """Which layers the bound would clip."""
    st.subheader("Which layers would be clipped", anchor=False)
    layers = suggested.layers
    most = layers["clipped_by_all"] > 0
    clips = f"A bound of {suggested.bound:g} would clip {most.sum():,} of {len(layers):,} layers."
    quantiles = queries.ratio_quantiles(question.state, question.first, question.last).set_index("layer")
    ranges = (
        layers.rename(columns={"bound": "own"})
        .join(quantiles[["q01", "q05", "q50", "q95", "q99"]])
        .assign(kind=layers.index.map(queries.kinds(question.state)))
        .rename_axis("layer")
        .reset_index()
    )
    if suggested.families.empty:
        st.caption(f"{clips} A line holds 90% of a layer's ratios; {HUES[question.side]} is what the bound would cut.")
        figure = layer_ranges(
            ranges,
            layers=list(layers.index),
            side=question.side,
            bound=suggested.bound,
            wanted=question.wanted,
            theme=chosen.theme,
        )
    else:
        st.caption(
            f"{clips} A line is a family: a mark is the bound that would clip at most {100 * question.wanted:g}% of "
            "one layer's steps, ▲ that of all its layers together. Marks that stand apart are layers unlike the others."
        )
        figure = family_bounds(
            ranges.merge(pd.DataFrame(band_cells.members(question.state)), on="layer"),
            suggested.families["bound"],
            side=question.side,
            bound=suggested.bound,
            own_bound=queries.bound(question.state, question.side, (question.first, question.last)),
            wanted=question.wanted,
            theme=chosen.theme,
        )
    plotly_view(
        figure,
        key="ranges",
        label=f"Trust ratios of each layer beside the suggested bound {suggested.bound:g}",
        of=queries.about([question.state], question.first, question.last),
        keep_zoom=question.state.run,
    )


def _between(least: float, most: float) -> str:
    """A share that is known to lie between two."""
    low, high = words.percent(least), words.percent(most)
    return high if low == high else f"{low.removesuffix('%')} to {high}"


def explain() -> None:
    """The guide."""
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(GUIDE)
