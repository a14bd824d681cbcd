"""What is asked about another bound: of which run, over which part of its training, and for which hit rate."""

import re
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from app import queries
from app.charts.layers import Side
from app.shell import address

RATES = ("0.1", "0.5", "1", "2", "5", "10", "20", "50")
"""The hit rates that one can want, in per cent."""

PARTS = {
    "all": "all",
    "first": "first tenth",
    "last": "last tenth",
    "steps": "steps",
    "epochs": "epochs",
}


@dataclass(frozen=True)
class Question:
    """Which bound on a side would have clipped at most a share of a run's steps from the first to the last?"""

    state: queries.RunState
    side: Side
    first: int
    last: int
    wanted: float

    @property
    def bound(self) -> str:
        """What is asked for, with its article."""
        return "an upper bound" if self.side == "upper" else "a lower bound"


def ask(states: dict[str, queries.RunState]) -> Question:
    """Which run, which part of its training, which side, and which hit rate."""
    left, middle, beside, right = st.columns([9, 18, 8, 8], gap="small")
    with left:
        address.recall("run", states, list(states)[-1])
        state = states[st.selectbox("Run", list(states), key="run", persist_state="session")]
        address.note("run", state.run, list(states)[-1])
    epochs = queries.epoch_steps(state)
    with middle:
        first, last = _choose_part(state, epochs)
    with beside:
        side = _choose_side()
    with right:
        address.recall("rate", RATES, "5")
        rate = st.select_slider(
            "Wanted hit rate",
            RATES,
            key="rate",
            format_func=lambda rate: f"{rate}%",
            persist_state="session",
            help="The share of all layer-steps that the bound should clip at most.",
        )
        address.note("rate", rate, "5")
    return Question(state, side, first, last, float(rate) / 100)


def _choose_side() -> Side:
    address.recall("side", ("upper", "lower"), "upper")
    side = st.segmented_control(
        "Bound",
        ["upper", "lower"],
        key="side",
        required=True,
        persist_state="session",
        help="An upper bound cuts the ratios above it, a lower one those below it.",
    )
    address.note("side", side, "upper")
    return "lower" if side == "lower" else "upper"


def _choose_part(state: queries.RunState, epochs: pd.DataFrame) -> tuple[int, int]:
    """The first and last step of the part of training that is asked about."""
    parts = [part for part in PARTS if part != "epochs" or len(epochs) > 1]
    address.recall("part", parts, "all")
    part = st.segmented_control(
        "Part of training",
        parts,
        key="part",
        required=True,
        format_func=lambda part: PARTS[part],
        persist_state="session",
    )
    address.note("part", part, "all")
    tenth = max(1, state.steps // 10)
    match part:
        case "first":
            return 1, tenth
        case "last":
            return state.steps - tenth + 1, state.steps
        case "steps" if state.steps > 1:
            return _choose_between("between", "Steps", 1, state.steps)
        case "epochs":
            first, last = _choose_between("epochs", "Epochs", int(epochs["epoch"].min()), int(epochs["epoch"].max()))
            # Of epochs without metrics it is only known between which others they lie.
            start, end = epochs["epoch"].searchsorted([first, last])
            return int(epochs["first_step"].iloc[start]), int(epochs["last_step"].iloc[end])
    return 1, state.steps


def _choose_between(key: str, label: str, lowest: int, highest: int) -> tuple[int, int]:
    """A slider with two ends, which stand in the address as 3-17."""
    named = re.fullmatch(r"(\d{1,15})-(\d{1,15})", st.query_params.get(key, ""))
    ends = st.session_state.get(key) or (named.groups() if named else (lowest, highest))
    if ends == st.session_state.get(f"all_{key}"):  # all that there was then: the run has gone on, or is another
        ends = (lowest, highest)
    st.session_state[f"all_{key}"] = (lowest, highest)
    first, last = sorted(min(max(int(end), lowest), highest) for end in ends)
    st.session_state[key] = (first, last)
    first, last = st.slider(  # type: ignore[misc]
        label, lowest, highest, key=key, format="localized", label_visibility="collapsed", persist_state="session"
    )
    address.note(key, f"{first}-{last}", f"{lowest}-{highest}")
    return first, last
