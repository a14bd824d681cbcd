"""How often a run was clipped, which of its layers in all their steps and which never, in a sentence a run."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from app import queries, unusual, words
from app.charts.text import shorten
from app.shell.selection import Selection

PLURALS = {
    "convolution": "convolutions",
    "linear": "linear layers",
    "embedding": "embeddings",
    "norm": "norms",
    "bias": "biases",
    "other": "others",
}

MOST_NAMED = 2
"""So many layers are named; more are counted by their kind."""


def draw(chosen: Selection, states: dict[str, queries.RunState]) -> None:
    """A line a run."""
    for _, run in chosen.runs[chosen.runs["run"].isin(states)].iterrows():
        st.markdown(f"{chosen.name(run['run'])}: {sentence(states[run['run']])}")


def sentence(state: queries.RunState) -> str:
    """What the bound did to the layers of a run: always, never, or in some steps; and whether the run diverged."""
    since = unusual.diverged_since(state)
    if since is None:
        return _clipped(state)
    return f":red[:material/error: {words.diverged(since)}]; {_clipped(state)} Later steps mean nothing."


def _clipped(state: queries.RunState) -> str:
    rates, kinds = queries.hit_rates(state), queries.kinds(state)
    adapted = rates[rates["adapted"] > 0]
    found = queries.clipped_throughout(state)
    always, never = (list(found.loc[found["clipped"] == clipped, "layer"]) for clipped in ("always", "never"))
    if queries.not_adapted(rates).all():
        return "no layer is adapted, so that none could be clipped."
    if adapted.empty:
        return "no layer could be clipped, since in all steps a norm was zero or not finite."
    if len(never) == len(adapted):
        return f"no layer was ever clipped: {_why(adapted)}."
    said = [
        f"**{len(always):,} of {len(adapted):,} layers are clipped in all steps**: {_named(always, kinds)}"
        if always
        else "no layer is clipped in all steps"
    ]
    if never:
        said.append(f"{len(never):,} never: {_named(never, kinds)}")
    if rest := len(adapted) - len(always) - len(never):
        said.append(f"{rest:,} in some steps")
    every = words.layer_steps(queries.most_recorded(state))
    return f"clipped in **{words.percent(queries.hit_rate(state))}** of its {every}; {'; '.join(said)}."


def _why(adapted: pd.DataFrame) -> str:
    bounded = (adapted["upper"] < float("inf")).any() or (adapted["lower"] > 0).any()
    return "no ratio went beyond its bound" if bounded else "the run has no bound"


def _named(layers: Sequence[str], kinds: dict[str, str]) -> str:
    """Layers by name if they are few, else by kind: all 20 norms, 3 of 21 biases."""
    if len(layers) <= MOST_NAMED:
        return " and ".join(words.plain(shorten(layer, 40)) for layer in layers)
    every = pd.Series(kinds).value_counts()
    counts = pd.Series([kinds[layer] for layer in layers]).value_counts()
    said = [
        f"all {counts[kind]:,} {PLURALS[kind]}" if counts[kind] == every[kind] > 1 else _some(counts, every, kind)
        for kind in PLURALS
        if kind in counts
    ]
    return ", ".join(said)


def _some(counts: pd.Series, every: pd.Series, kind: str) -> str:
    one = {"linear": "the linear layer", "other": "the other one"}.get(kind, f"the {kind}")
    return one if every[kind] == 1 else f"{counts[kind]:,} of {every[kind]:,} {PLURALS[kind]}"
