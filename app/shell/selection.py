"""What the pages share: which runs are chosen, and how each is drawn."""

from dataclasses import dataclass
from functools import lru_cache

import pandas as pd
import streamlit as st

from app import queries, words
from app.charts.run_names import told_apart
from app.charts.theme import DARK, LIGHT, Line, Theme, run_lines

RUNS = "runs"
"""The key of the choice of runs, in the session state and in the URL."""

GONE = "runs_gone"
"""The session's key of runs that the address names, and that the log does not have."""

PRESELECTED = 3
"""So many runs are chosen at first: the newest."""

MOST_CHOSEN = 28
"""So many runs have lines that can be told apart: seven hues by four dashes (app/charts/theme.py)."""


HUES = ("blue", "orange", "green", "violet", "yellow", "red", "gray")
"""The runs' hues by the names that Streamlit's text has for them (.streamlit/config.toml)."""

MARKS = {"solid": "■", "dash": "◧", "dot": "▤", "dashdot": "▦"}
"""What stands before a run's name, by the dash of its lines."""


@dataclass(frozen=True)
class Selection:
    """runs: rows of the view `runs`, the chosen ones; lines: how each of them is drawn."""

    runs: pd.DataFrame
    lines: dict[str, Line]
    theme: Theme

    def states(self) -> dict[str, queries.RunState]:
        """The chosen runs that have steps, by name."""
        states = [queries.run_state(row) for _, row in self.runs.iterrows()]
        return {state.run: state for state in states if state.steps}

    def name(self, run: str, length: int = 40) -> str:
        """A run's name in Markdown, behind a mark that has its colour and says its dash."""
        line, short = self.lines[run], _short(tuple(self.runs["run"]), length)[run]
        return f":{HUES[line.hue]}[{MARKS[line.dash]}] **{words.plain(short)}**"


@lru_cache(64)
def _short(runs: tuple[str, ...], length: int) -> dict[str, str]:
    """The sidebar asks for each run anew with every tick."""
    return told_apart(runs, length)


def selection() -> Selection:
    """The chosen runs."""
    known = queries.runs()
    chosen = st.session_state.get(RUNS, [])
    runs = known[known["run"].isin(chosen)]
    return Selection(runs, run_lines(list(runs["run"])), theme())


def theme() -> Theme:
    """The charts' colours for the theme that the page has."""
    return DARK if st.context.theme.type == "dark" else LIGHT
