"""What is asked about another bound: of which run, over which part of its training, and for which hit rate."""

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from app import queries, unusual, words
from app.charts.layers import Side
from app.shell import address

RATES = {rate: f"{rate}%" for rate in ("0.1", "0.5", "1", "2", "5", "10", "20", "50")}
"""The hit rates that one can want, in per cent."""

PARTS = {
    "all": "all",
    "first": "first tenth",
    "last": "last tenth",
    "steps": "steps",
    "epochs": "epochs",
}

RUNAWAY = 20
"""Of the steps until a run diverged the last twentieth is left out: ratios run away before they are not finite."""

OTHER: dict[Side, Side] = {"upper": "lower", "lower": "upper"}


@dataclass(frozen=True)
class Question:
    """Which bound on a side would have clipped at most a share of a run's steps from the first to the last?

    diverged: the step at which the run did. cut: whether the chosen part goes on until then, so that steps shortly
    before it are the last; there may be none.
    """

    state: queries.RunState
    side: Side
    first: int
    last: int
    wanted: float
    diverged: int | None
    cut: bool

    @property
    def part(self) -> str:
        """The steps in words."""
        until = f", before the run diverged at step {self.diverged:,}" if self.cut else ""
        return f"steps {self.first:,} to {self.last:,}{until}"

    @property
    def bound(self) -> str:
        """What is asked for, with its article."""
        return "an upper bound" if self.side == "upper" else "a lower bound"


def ask(states: dict[str, queries.RunState]) -> Question:
    """Which run, which part of its training, which side, and which hit rate."""
    left, middle, beside, right = st.columns([9, 18, 8, 8], gap="small")
    with left:
        state = states[address.choice(st.selectbox, "Run", list(states), key="run", default=_answers_best(states))]
    epochs = queries.epoch_steps(state)
    with middle:
        first, last = _choose_part(state, epochs)
    with beside:
        side = _choose_side()
    with right:
        rate = address.choice(
            st.select_slider,
            "Wanted hit rate",
            RATES,
            key="rate",
            default="5",
            help="The share of all layer-steps, from 0.1 to 50 %, that the bound should clip at most. "
            "At 5 % it cuts the furthest ratios, and leaves nearly all steps as they are.",
        )
    since = unusual.diverged_since(state)
    cut = since is not None and last >= since
    if since is not None and cut:
        first, last = _before(since, first)
    return Question(state, side, first, last, float(rate) / 100, since, cut)


def _before(since: int, first: int) -> tuple[int, int]:
    """The steps from the first one on, or from step 1 on, until shortly before a run diverged."""
    last = since - 1 - since // RUNAWAY
    return (first if first <= last else 1), last


def _answers_best(states: dict[str, queries.RunState]) -> str:
    """The newest run that was never clipped, whose ratios are its own; else the newest that did not diverge."""
    well = {run: state for run, state in states.items() if unusual.diverged_since(state) is None}
    free = [run for run, state in well.items() if queries.hit_rate(state) == 0]
    return ([*states][-1:] + [*well][-1:] + free[-1:])[-1]


def _choose_side() -> Side:
    side = address.choice(
        st.segmented_control,
        "Bound",
        ["upper", "lower"],
        key="side",
        default="upper",
        required=True,
        help="An upper bound cuts the ratios above it, a lower one those below it.",
    )
    return "lower" if side == "lower" else "upper"


def _choose_part(state: queries.RunState, epochs: pd.DataFrame) -> tuple[int, int]:
    """The first and last step of the part of training that is asked about."""
    parts = {part: label for part, label in PARTS.items() if part != "epochs" or len(epochs) > 1}
    part = address.choice(st.segmented_control, "Part of training", parts, key="part", default="all", required=True)
    tenth = max(1, state.steps // 10)
    match part:
        case "first":
            return 1, tenth
        case "last":
            return state.steps - tenth + 1, state.steps
        case "steps" if state.steps > 1:
            return address.span("Steps", 1, state.steps, key="between", label_visibility="collapsed")
        case "epochs":
            lowest, highest = int(epochs["epoch"].min()), int(epochs["epoch"].max())
            first, last = address.span("Epochs", lowest, highest, key="epochs", label_visibility="collapsed")
            # Of epochs without metrics it is only known between which others they lie.
            start, end = epochs["epoch"].searchsorted([first, last])
            return int(epochs["first_step"].iloc[start]), int(epochs["last_step"].iloc[end])
    return 1, state.steps


def optimizer(state: queries.RunState) -> str:
    """The optimizer whose bound is set: its name in the run's config, if it is one that has a bound."""
    runs = queries.runs()
    named = str(words.config(runs[runs["run"] == state.run].iloc[0]).get("optimizer"))
    return "LARS" if named.lower() == "lars" else "LAMBC"
