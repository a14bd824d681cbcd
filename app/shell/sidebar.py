"""The sidebar: which runs, how they stand, and the watch that follows a run which is still training."""

import streamlit as st

from app import queries, unusual, words
from app.charts.text import shorten
from app.shell import address
from app.shell.selection import GONE, MOST_CHOSEN, PRESELECTED, RUNS, Selection, selection
from app.standings import Standing

TRAINING_SECONDS, SECONDS = 2, 5
"""How often the log is looked at while a run trains, and else. A look reads no file, only the folders."""

CHOSEN = "runs_chosen"
"""The session's key of the choice that the page was drawn with."""


def choose_runs() -> None:
    """The choice of runs, which lives in the address; the newest are chosen at first, and from then on they are named.

    Names stand in full, as in every choice: by what they show, Streamlit tells options apart.
    """
    names = list(queries.runs()["run"])
    known = set(names)
    address.belongs(GONE)
    named = [*address.recall(RUNS, names[-PRESELECTED:], list), *st.session_state.get(GONE, [])]
    st.session_state[GONE] = [run for run in dict.fromkeys(named) if run not in known]
    address.hold(RUNS, [run for run in dict.fromkeys(named) if run in known][:MOST_CHOSEN])
    st.multiselect(
        "Runs",
        names[::-1],
        key=RUNS,
        on_change=forget_gone,
        persist_state="session",
        placeholder="Choose runs",
        max_selections=MOST_CHOSEN,
        select_all=False,
    )
    st.session_state[CHOSEN] = st.session_state[RUNS]
    address.note(RUNS, *st.session_state[RUNS], *st.session_state[GONE])


def forget_gone() -> None:
    """The reader has chosen: of runs that a link named, and that are not there, nothing is said any more."""
    st.session_state[GONE] = []


def chosen_in_short() -> str:
    """The chosen runs, as the browser's tab names them."""
    runs = st.session_state[RUNS]
    return shorten(runs[0], 40) if len(runs) == 1 else f"{len(runs)} runs" if runs else "no run"


def watch(drawn: tuple[str, ...]) -> None:
    """How the chosen runs stand, and a look every few seconds whether that has changed.

    Of runs that do not train all is said until the page runs again, so that a look costs next to nothing.
    """
    chosen = selection()
    ticks = bool((chosen.runs["status"] == "running").any())
    if not ticks:
        _draw(chosen)
    training = "running" in drawn
    st.fragment(_look, run_every=TRAINING_SECONDS if training else SECONDS)(drawn, ticks)


def _look(drawn: tuple[str, ...], ticks: bool) -> None:
    """The page runs again when the log is no longer as `drawn`; what ticks is drawn anew each time.

    Nobody has chosen anything when only this runs. But the browser says what is chosen each time, and over a slow line
    it has yet to hear of a choice that was made in the table, or has just heard of one that another has replaced. Then
    the page runs again, which tells it. Where there is no log there is no choice.
    """
    if RUNS in st.session_state and st.session_state[RUNS] != st.session_state[CHOSEN]:
        st.session_state[RUNS] = st.session_state[CHOSEN]
        st.rerun()
    if pulse() != drawn:
        st.rerun()
    if ticks:
        _draw(selection())


def _draw(chosen: Selection) -> None:
    for _, run in chosen.runs.iterrows():
        since = unusual.diverged_since(queries.run_state(run))
        colour = words.COLOURS.get(run["status"], "red")
        sentence = words.plain(shorten(words.status_sentence(run), 90))
        if since is not None:
            colour, sentence = "red", f":material/error: {words.diverged(since)}, {sentence}"
        st.markdown(f"{chosen.name(run['run'], 34)}  \n:small[:{colour}[{sentence}]]")


def pulse() -> tuple[str, ...]:
    """The log's version and how the runs stand: a run stalls by silence, which changes no file.

    Of the chosen ones alone the words count, as "no word for 4 minutes".
    """
    known = queries.standing()
    return _pulse(known.asked, tuple(st.session_state.get(RUNS, [])), known)


@st.cache_data(max_entries=256, show_spinner=False)
def _pulse(asked: int, chosen: tuple[str, ...], _known: Standing) -> tuple[str, ...]:
    runs = _known.runs
    said = (words.standing(run) for _, run in runs[runs["run"].isin(chosen)].iterrows())
    return (_known.version, *runs["status"].fillna(""), *said)
