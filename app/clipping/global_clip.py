"""How often the gradients of a run were cut at their global norm, in a sentence a run that logs it."""

import streamlit as st

from app import queries, words
from app.shell.selection import Selection


def draw(chosen: Selection, states: dict[str, queries.RunState]) -> None:
    """A line a run, and none for one that does not clip so."""
    for run, state in states.items():
        if said := sentence(state):
            st.markdown(f"{chosen.name(run)}: {said}")


def sentence(state: queries.RunState) -> str:
    """In which share of its steps the gradients were scaled down; nothing where it was not logged."""
    clips = queries.of_run(state, "FROM gradient_clips($run)").iloc[0]
    if not clips["steps"]:
        return ""
    broken = f"; in {int(clips['not_finite']):,} it was NaN or infinite" if clips["not_finite"] else ""
    return (
        f"the gradients were cut at their global norm in **{words.percent(clips['share'])}** of "
        f"{int(clips['steps']):,} steps{broken}."
    )
