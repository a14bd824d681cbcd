"""What a page says when there is nothing to draw, or when something could not be read."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import streamlit as st

from app import log as opened
from app import queries, words
from app.charts.text import shorten
from app.shell.selection import GONE, Selection
from collector.log.remote import is_url

FIRST_STEPS = """
lambc demo --serve    # trains three small runs in about two minutes, then serves this page
lambc train --help    # trains one with your own settings
"""


def log_is_there() -> bool:
    """Whether there are runs; if not, the page says how to get some."""
    if opened.roots() and len(queries.runs()):
        return True
    with st.container(border=True):
        st.subheader("No runs yet")
        st.write("This page shows a run as soon as its first rows are on the disk. It looks in")
        for root in opened.named_roots():
            st.code(root if is_url(root) else str(Path(root).absolute()), language=None)
        st.write("To see something now:")
        st.code(FIRST_STEPS.strip(), language="shell")
        st.write("In your own training loop, three lines record it:")
        st.code(
            'with Collector(optimizer, "runs", name="my-run") as collector:\n'
            "    ...                                  # loss.backward(); optimizer.step()\n"
            '    collector.log({"train/loss": loss})',
            language="python",
        )
    return False


def gone() -> None:
    """That the address names runs which are not in the log: they stay in it, for they may come back."""
    runs = st.session_state.get(GONE, [])
    if not runs:
        return
    named = ", ".join(f"**{words.plain(shorten(run, 60))}**" for run in runs[:5])
    more = f" and {len(runs) - 5} more" if len(runs) > 5 else ""
    are = "is" if len(runs) == 1 else "are"
    st.warning(
        f"{named}{more} {are} named in the address, and {are} not in this log: renamed, removed, or in another folder. "
        "What else the address names is shown.",
        icon=":material/link_off:",
    )


def something_to_draw(chosen: Selection, states: dict[str, queries.RunState]) -> bool:
    """Whether a chosen run has steps; if not, the page says what is missing."""
    if chosen.runs.empty:
        st.info("Choose one or several runs in the sidebar.", icon=":material/arrow_back:")
    elif not states and chosen.runs["status"].eq("running").any():
        st.info(
            "The chosen runs have no steps on the disk yet. The first appear about ten seconds after training begins.",
            icon=":material/hourglass_empty:",
        )
    elif not states:
        st.info(
            "The chosen runs have no steps: they ended before the first was taken, or their files cannot be read.",
            icon=":material/layers_clear:",
        )
    return bool(states)


def has_ratios(state: queries.RunState) -> bool:
    """Whether a run has trust ratios that can be read; if not, the page says so."""
    if queries.layers(state):
        return True
    st.info(
        f"{words.plain(shorten(state.run, 60))} has metrics, but no trust ratios that can be read: choose another run.",
        icon=":material/layers_clear:",
    )
    return False


@contextmanager
def panel() -> Iterator[None]:
    """A part of a page: that it cannot be drawn to its end is said in its place, and the rest of the page goes on."""
    try:
        yield
    except Exception as error:
        _say(error, "This part could not be drawn.")


def trouble(error: Exception) -> bool:
    """What a page says instead of a traceback, which goes to the terminal. True: it has been said."""
    _say(error, "This page could not be drawn to its end.")
    return True


def _say(error: Exception, sentence: str) -> None:
    traceback.print_exception(error)
    first = (str(error).splitlines() or [""])[0]
    damaged = "`lambc check` names the files that are damaged. " if isinstance(error, duckdb.Error) else ""
    st.warning(
        f"{sentence} {type(error).__name__}: {words.plain(first[:300])}  \n"
        f"{damaged}The terminal of the dashboard has the details; other pages and runs are not affected.",
        icon=":material/healing:",
    )


def problems() -> None:
    """One quiet notice for all files that were left out."""
    found = queries.problems()
    if found.empty:
        return
    one = "1 file was left out because it could not be read"
    many = f"{len(found)} files were left out because they could not be read"
    with st.expander(one if len(found) == 1 else many, icon=":material/draft:"):
        for _, row in found.head(20).iterrows():
            st.markdown(f"**{words.plain(Path(row['file']).name)}** {words.plain(row['problem'])}")
        if len(found) > 20:
            st.caption(f"and {len(found) - 20} more; `lambc sql 'FROM problems'` lists them all")
