"""The sidebar: which runs, how they stand, and the watch that follows a run which is still training."""

import streamlit as st

from app import log as opened
from app import queries, words
from app.charts.text import shorten
from app.shell.selection import MOST_CHOSEN, PRESELECTED, RUNS, selection

SECONDS = 2
"""How often the log is looked at. A look reads no file, only the folders."""

CHOSEN = "runs_chosen"
"""The session's key of the choice that the page was drawn with."""

HUES = ("blue", "orange", "green", "violet", "yellow", "red", "gray")
"""The runs' hues by the names that Streamlit's text has for them (.streamlit/config.toml)."""


def choose_runs() -> None:
    """The choice of runs, which lives in the URL; the newest are chosen at first.

    Names stand in full, as in every choice: by what they show, Streamlit tells options apart.
    """
    names = list(queries.runs()["run"])
    st.multiselect(
        "Runs",
        names[::-1],
        default=names[-PRESELECTED:],
        key=RUNS,
        bind="query-params",
        placeholder="Choose runs",
        max_selections=MOST_CHOSEN,
        select_all=False,
    )
    st.session_state[CHOSEN] = st.session_state[RUNS]


@st.fragment(run_every=SECONDS)
def watch(drawn: tuple[str, ...]) -> None:
    """How the chosen runs stand; the page runs again when the log is no longer as `drawn`.

    Nobody has chosen anything when only this runs. But the browser says what is chosen each time, and over a slow line
    it has yet to hear of a choice that was made in the table, or has just heard of one that another has replaced. Then
    the page runs again, which tells it. Where there is no log there is no choice.
    """
    if RUNS in st.session_state and st.session_state[RUNS] != st.session_state[CHOSEN]:
        st.session_state[RUNS] = st.session_state[CHOSEN]
        st.rerun()
    if pulse() != drawn:
        st.rerun()
    chosen = selection()
    for _, run in chosen.runs.iterrows():
        hue = HUES[chosen.lines[run["run"]].hue]
        colour = words.COLOURS.get(run["status"], "red")
        sentence = words.plain(shorten(words.status_sentence(run), 90))
        st.markdown(f":{hue}[■] **{words.plain(shorten(run['run'], 34))}**  \n:small[:{colour}[{sentence}]]")


def pulse() -> tuple[str, ...]:
    """The log's version and how the runs stand: a run stalls by silence, which changes no file.

    Of the chosen ones alone the words count, as "no word for 4 minutes".
    """
    runs = queries.runs()
    chosen = runs[runs["run"].isin(st.session_state.get(RUNS, []))]
    return (opened.log_version(), *runs["status"].fillna(""), *(words.standing(run) for _, run in chosen.iterrows()))
