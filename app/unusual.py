"""What is unusual in a run: that it diverged, that a ratio jumped or stands still, that a norm is no finite number."""

import pandas as pd
import streamlit as st

from app import queries


def diverged_since(state: queries.RunState) -> int | None:
    """The step since which the training loss is NaN or infinite, or the first with such a norm, whichever is earlier.

    None for a run that did not diverge.
    """
    known = queries.results().set_index("run")
    if state.run not in known.index or not known.loc[state.run, "diverged"]:
        return None
    steps = [known.loc[state.run, "broken_since"], not_finite(state)["since"].iloc[0]]
    return min(int(step) for step in steps if pd.notna(step))


def events(state: queries.RunState) -> pd.DataFrame:
    """What was unusual in the layers of a run."""
    found = queries.of_run(
        state,
        """FROM events($run, 1, $last) ORDER BY step, "position" NULLS LAST, layer""",
        last=state.steps,
    )
    _events_of()[state.run] = (state, found)
    return found


def events_so_far(state: queries.RunState) -> tuple[pd.DataFrame, bool]:
    """What is known of that already, and whether it is all but for the last hundredth of the steps.

    To look anew takes seconds in a run of 100 million rows.
    """
    known, found = _events_of().get(state.run, (None, None))
    if known is None or found is None:
        return pd.DataFrame(columns=["layer", "kind", "step"]), False
    return found, known.steps <= state.steps <= 1.01 * known.steps


def not_finite(state: queries.RunState) -> pd.DataFrame:
    """One row: in how many layers a norm was NaN or infinite, since which step, and which were the first three."""
    return queries.of_run(
        state,
        """SELECT count(*) AS layers, min(since) AS since, list(layer ORDER BY since, layer)[:3] AS first
        FROM (SELECT layer, min(step) AS since FROM not_finite($run, 1, $last) GROUP BY layer)""",
        last=state.steps,
    )


def constant_since(state: queries.RunState) -> tuple[int, list[str]]:
    """The layers of a run whose ratio stood still in its second half, and the step at which that begins."""
    middle = max(1, state.steps // 2)
    asked = queries.of_run(
        state,
        """SELECT layer FROM constant_ratios($run, $first, $last) ORDER BY "position" NULLS LAST, layer""",
        first=middle,
        last=state.steps,
    )
    return middle, list(asked["layer"])


@st.cache_resource(show_spinner=False)
def _events_of() -> dict[str, tuple[queries.RunState, pd.DataFrame]]:
    """The events of each run that was looked at, as it stood then."""
    return {}
