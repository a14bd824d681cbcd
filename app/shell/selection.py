"""What the pages share: which runs are chosen, and how each is drawn."""

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from app import queries
from app.charts.theme import DARK, LIGHT, Line, Theme, lines

RUNS = "runs"
"""The key of the choice of runs, in the session state and in the URL."""

PRESELECTED = 3
"""So many runs are chosen at first: the newest."""

MOST_CHOSEN = 28
"""So many runs have lines that can be told apart: seven hues by four dashes (app/charts/theme.py)."""


@dataclass(frozen=True)
class Selection:
    """runs: rows of the view `runs`, the chosen ones; lines: how each run of the log is drawn."""

    runs: pd.DataFrame
    lines: dict[str, Line]
    theme: Theme

    def states(self) -> dict[str, queries.RunState]:
        """The chosen runs that have steps, by name."""
        states = [queries.run_state(row) for _, row in self.runs.iterrows()]
        return {state.run: state for state in states if state.steps}


def selection() -> Selection:
    """The chosen runs."""
    known = queries.runs()
    chosen = st.session_state.get(RUNS, [])
    return Selection(known[known["run"].isin(chosen)], lines(list(known["run"])), theme())


def theme() -> Theme:
    """The charts' colours for the theme that the page has."""
    return DARK if st.context.theme.type == "dark" else LIGHT
