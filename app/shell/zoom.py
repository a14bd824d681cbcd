"""The steps that a chart is zoomed to: in the session once it is drawn, and in the address for who gets the link."""

import math

import streamlit as st

from app.shell import address

STEPS = "steps"


def shown_steps(chart: str, last: int) -> tuple[int, int] | None:
    """The first and last step that the reader has zoomed to; None for all, which are 1 to `last`.

    chart: the key of a chart that reports its zoom (app.plotly_view).

    To be asked before that chart is drawn. Until the browser has reported what it shows, the address says it.
    """
    address.belongs(STEPS)
    reported = (st.session_state.get(chart) or {}).get("range")
    if reported and reported["turn"] == address.turns():
        edges = reported["edges"]
    else:
        edges = address.read_span(address.recall(STEPS, ""))
    if not edges:
        return None
    # Steps whose middle is seen: an edge lies half a step outside, and must not wander when it comes back.
    start, end = max(1, math.ceil(float(edges[0]))), min(last, math.floor(float(edges[1])))
    return (start, end) if start < end and (start, end) != (1, last) else None


def note_steps(shown: tuple[int, int] | None) -> None:
    """Put them into the address."""
    address.note(STEPS, *in_address(shown).values())


def in_address(shown: tuple[int, int] | None) -> dict[str, str]:
    """What the address says of them."""
    return {STEPS: f"{shown[0]}-{shown[1]}"} if shown else {}
