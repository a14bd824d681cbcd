"""The editor: what is asked, and examples that ask at a click."""

import streamlit as st

from app import queries
from app.layers.one_layer import most_clipped
from app.shell import address
from app.shell.selection import Selection
from app.sql.examples import Names, questions

EDITOR = "sql"
"""The key of the editor, and of the query in the address."""

CHART_CHOICES = ("sql-draw", "sql-x", "sql-y", "sql-colour")
"""The keys of how an answer is drawn: another query's is drawn in its own way."""

_ASKED = "sql-asked"
_LONGEST_LINK = 4000
"""Signs: a browser and what lies on the way take longer addresses, but nobody sends them on."""

GUIDE = """
- **Ctrl+Enter** (⌘+Enter) in the editor runs what is written there. A query reads and does nothing else: SELECT, FROM,
  WITH, VALUES, DESCRIBE, SHOW, SUMMARIZE, or PIVOT with an IN list. It is DuckDB's SQL, answered by a process that can
  read the log alone.
- A **view** has all runs, so say which: `WHERE run = …` opens that run's files and no others. A **macro** is a view
  with parameters; those that draw the other pages are answered from summaries of the log, at any length of a run.
- The **chart** is a first guess from the columns: what is drawn, along what and in which colours can be changed.
- The **address** holds the query and how it is drawn: a link shows the same to everyone who may read the log.
- In a terminal, `lambc sql "…"` answers the same queries without the limits of this page; `--help` has the options.
"""


def cast(chosen: Selection) -> Names:
    """Who the examples are about: the chosen runs; if none has steps, the newest that has."""
    states = list(chosen.states().values()) or _newest()
    states = sorted(states, key=lambda state: queries.hit_rate(state) or 0.0, reverse=True)
    layer = next((most_clipped(state) for state in states if queries.layers(state)), "")
    return Names(tuple(state.run for state in states), layer, max(1, *(state.steps for state in states)))


def draw_questions(chosen: Selection, names: Names) -> None:
    """Questions that are asked at a click."""
    if chosen.runs.empty:
        st.caption("Choose one or several runs in the sidebar, and these questions are about them.")
    with st.container(horizontal=True, gap="xsmall"):
        for place, question in enumerate(questions()):
            st.button(
                question.words,
                key=f"sql-question-{place}",
                on_click=ask_example,
                args=(names.fill_in(question.sql),),
                wrap=False,
            )


def draw(names: Names) -> tuple[str, int]:
    """The editor; gives the query that was asked last, and which one of this session it is."""
    address.belongs(EDITOR, _ASKED)
    if _ASKED not in st.session_state:
        st.session_state[_ASKED] = (address.recall(EDITOR, "") or names.fill_in(questions()[0].sql), 0)
    if EDITOR not in st.session_state:
        # Only now: a value that is set in every run would take from the reader what is typed meanwhile.
        st.session_state[EDITOR] = st.session_state[_ASKED][0]
    with st.form("sql-form", border=False):
        st.text_area("Query", key=EDITOR, height=240, persist_state="session", label_visibility="collapsed")
        st.form_submit_button("Run", type="primary", icon=":material/play_arrow:", on_click=_ask_editor)
    asked, number = st.session_state[_ASKED]
    address.note(EDITOR, *([asked] if len(asked) <= _LONGEST_LINK else []))
    return asked, number


def ask_example(sql: str) -> None:
    """Put a query into the editor and ask it; for a callback."""
    st.session_state[EDITOR] = sql
    _ask_editor()


def _ask_editor() -> None:
    _, number = st.session_state[_ASKED]
    st.session_state[_ASKED] = (st.session_state[EDITOR], number + 1)
    for key in CHART_CHOICES:
        st.session_state.pop(key, None)
        address.note(key)


def _newest() -> list[queries.RunState]:
    known = queries.runs()
    trained = known[known["steps"].fillna(0) > 0]
    return [queries.run_state(row) for _, row in (known if trained.empty else trained).tail(1).iterrows()]
