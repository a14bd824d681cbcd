"""All runs of the log, a row each: searched, filtered, and chosen."""

import time

import pandas as pd
import streamlit as st
from streamlit.elements.arrow import DataframeStateInput
from streamlit.elements.lib.column_types import ColumnConfig

from app import log as opened
from app import queries
from app.runs import rows as run_list
from app.runs import ticks
from app.shell import address
from app.shell.pages import PAGES
from app.shell.selection import MOST_CHOSEN, RUNS, Selection
from app.shell.sidebar import forget_gone

TABLE, SEARCH, FILTER, SORT = "run_table", "find", "only", "sort"
DRAWN = "runs_drawn"
"""The session's key of what was drawn last, and before: the browser reports by place what is ticked."""

HEIGHT = 420

FALLING, RISING = "down", "up"
ARROWS = {FALLING: "▼", RISING: "▲"}
TEXTS = ("run", "status", "bound", "optimizer", "model", "data", "note")
"""Columns that are sorted from A to Z at the first click; numbers begin with the greatest."""

SORTED_BY = {"accuracies": "last", "hit_rates": "hits"}
"""Small curves are sorted by the number that they lead to."""

GUIDE = """
- **Tick** rows to choose runs: the cards above, the sidebar and all pages show these, and the address keeps them.
- **Search** looks at names and at every option of the config, as `resnet lr=0.01`; all words must be there. **Filter**
  by several values of a column to see runs that have any of them. A click on a column's head sorts by it, a second
  one the other way round, and a third one puts the newest first again.
- **Clip hits** is the share of all layers' steps in which a bound cut the trust ratio. Near 0 % the bound does nothing;
  near 100 % the layers no longer adapt, and the step is the plain update times the bound. The small curve is the same
  over the steps, from 0 to 100 %; it has a gap where no layer could be clipped.
- A run has **diverged** if its last training loss is NaN or infinite, or if a norm of any layer ever was.
- A **live** run has written to its log within the last minute. One that stopped writing, as its process was killed, is
  **stalled**.
- **best** and **last** are accuracies on the test set, or on the validation set of a run that has none on the test set.
  **loss** is the last one on the test set, else on the validation set, else in training.
"""


def draw(chosen: Selection) -> None:
    """What to look for, the table, and where to go with the chosen runs."""
    theme, head = chosen.theme, st.container()
    every = _listed(opened.log_version(), tuple(queries.runs()["status"].fillna("")), theme.runs[0], theme.upper)
    rows = _in_order(_found(every))
    with head:
        _lead_on(chosen, len(rows), len(every))
    if rows.empty:
        st.info("No run is like that. Search for fewer words, or take a filter away.", icon=":material/search_off:")
    else:
        _table(chosen, rows)
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(GUIDE)


@st.cache_data(max_entries=4, show_spinner=False)
def _listed(version: str, statuses: tuple[str, ...], line: str, filled: str) -> pd.DataFrame:
    return run_list.listed(queries.runs(), queries.results(), line=line, filled=filled).iloc[::-1]


def _found(every: pd.DataFrame) -> pd.DataFrame:
    left, right = st.columns([2, 3])
    with left:
        sought = address.text(
            "Search",
            key=SEARCH,
            label_visibility="collapsed",
            type="search",
            icon=":material/search:",
            placeholder="Search: name or option, as lr=0.01",
            live=True,
        )
    values = run_list.values(every)
    # What no run has any more stays, as 'live' when the last one has ended.
    named = address.recall(FILTER, [], list)
    values += [value for value in named if value not in values and value.partition(": ")[0] in run_list.FACETS]
    with right:
        wanted = address.several(
            st.multiselect,
            "Filter",
            values,
            key=FILTER,
            label_visibility="collapsed",
            placeholder="Filter: status, data, model, optimizer, bound or batch size"
            if values
            else "all runs are alike",
            select_all=False,
            disabled=not values,
        )
    return run_list.found(every, sought, wanted)


def _lead_on(chosen: Selection, found: int, every: int) -> None:
    count = len(chosen.runs)
    shown = f"{found:,} of {every:,} runs" if found != every else "1 run" if every == 1 else f"{every:,} runs"
    # From the left: at the right, the table's own buttons come up when the mouse is over it.
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("All runs", anchor=False, width="content")
        st.markdown(f"{shown}, **{count} chosen**", width="content")
        for page, label, icon, least in (
            ("layers", "Open in Layers", ":material/grid_on:", 1),
            ("clipping", "Clipping", ":material/content_cut:", 1),
            ("compare", "Compare", ":material/compare_arrows:", 2),
        ):
            if st.button(label, icon=icon, disabled=count < least, key=f"open_{page}"):
                st.switch_page(PAGES[page], query_params={})  # the chosen runs stay in the address


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, sorted by the column that the address names: here and not in the browser, where ticks would stay at
    their places while the rows move on under them.
    """
    column, way = _sorting()
    address.note(SORT, *([f"{column}-{way}"] if column else []))
    if not column:
        return rows
    return rows.sort_values(SORTED_BY.get(column, column), ascending=way == RISING, na_position="last", kind="stable")


def _sorting() -> tuple[str, str]:
    """The column that sorts the rows, '' for none, and which way."""
    column, _, way = str(address.recall(SORT, "")).rpartition("-")
    return (column, way) if column in ORDER and way in (FALLING, RISING) else ("", "")


def _table(chosen: Selection, rows: pd.DataFrame) -> None:
    names = tuple(rows["run"])
    ticked = [place for place, is_chosen in enumerate(rows["run"].isin(chosen.runs["run"])) if is_chosen]
    by, way = _sorting()
    shown = _shown(rows)
    marked = [by] if by in shown else []
    selection: DataframeStateInput = {"selection": {"rows": ticked, "columns": marked, "cells": []}}
    if TABLE not in st.session_state:  # a new table has no rows from before on the screen
        st.session_state.pop(DRAWN, None)
    if TABLE not in st.session_state or _reported() != (ticked, marked):
        st.session_state[TABLE] = selection
    drawn = ticks.Drawn(names, frozenset(ticked), tuple(marked), time.monotonic())
    st.session_state[DRAWN] = ticks.remember(st.session_state.get(DRAWN, []), drawn)
    st.dataframe(
        rows.drop(columns="said"),
        key=TABLE,
        hide_index=True,
        height="auto" if len(rows) < 10 else HEIGHT,
        placeholder="",
        alt="All runs",
        on_select=_choose,
        selection_mode=["multi-row", "single-column"],
        # The session's value is sent once: lost where the page runs again before the browser has the table's script.
        selection_default=selection,
        column_order=shown,
        column_config=columns(by, way),
    )


def _reported() -> tuple[list[int], list[str]]:
    """The places that are ticked, and the column that is chosen."""
    selection = st.session_state[TABLE]["selection"]
    return list(selection["rows"]), list(selection["columns"])


def _choose() -> None:
    """Rows were ticked, and the choice of runs follows; or a column was clicked, and sorts.

    What is filtered away stays as it was.
    """
    places, chosen = _reported()
    orders = st.session_state[DRAWN]
    if tuple(chosen) != orders[0].columns:
        st.session_state[SORT] = _sorted_next((*chosen, *orders[0].columns)[0])
        return
    drawn, orders = ticks.meant(orders, places, time.monotonic())
    ticked, there = drawn.at_places(places), set(drawn.names)
    kept = [run for run in st.session_state.get(RUNS, []) if run not in there or run in ticked]
    now = kept + [run for run in ticked if run not in kept]
    if len(now) > MOST_CHOSEN:
        st.toast(f"A page shows at most {MOST_CHOSEN} runs.", icon=":material/filter_list:")
    st.session_state[RUNS] = now[:MOST_CHOSEN]
    # This run of the page may be cut off before it draws the table.
    st.session_state[DRAWN] = ticks.ticked(orders, drawn, frozenset(now))
    forget_gone()


def _sorted_next(clicked: str) -> str:
    """What a click on a column's head leads to."""
    ways = [RISING, FALLING] if clicked in TEXTS else [FALLING, RISING]
    column, way = _sorting()
    if column != clicked:
        return f"{clicked}-{ways[0]}"
    return f"{clicked}-{ways[1]}" if way == ways[0] else ""


ORDER = (
    "run",
    "status",
    "note",
    "best",
    "last",
    "accuracies",
    "loss",
    "hits",
    "hit_rates",
    "bound",
    "batch",
    "optimizer",
    "model",
    "data",
    "steps",
    "duration",
    "started",
)


def _shown(rows: pd.DataFrame) -> list[str]:
    """The columns: losses where a run has no accuracy, and no accuracies where no run has one."""
    measured = rows["best"].notna()
    left_out = {"loss"} if measured.all() or rows["loss"].isna().all() else set()
    if not measured.any() and not left_out:
        left_out = {"best", "last", "accuracies"}
    if rows["note"].isna().all():
        left_out |= {"note"}
    return [column for column in ORDER if column not in left_out]


def columns(by: str, way: str) -> dict[str, ColumnConfig]:
    """How each column is shown; the head of the one that sorts says which way."""
    column = st.column_config
    found: dict[str, ColumnConfig] = {
        "run": column.TextColumn(pinned=True, width=170),
        "status": column.TextColumn(width=100),
        "best": column.NumberColumn(
            "best", format="percent", width=66, help="Best accuracy on the test or validation set"
        ),
        "last": column.NumberColumn(
            "last", format="percent", width=66, help="Last accuracy on the test or validation set"
        ),
        "accuracies": column.ImageColumn("accuracy", width=112, help="From 0 to 100 %"),
        "loss": column.NumberColumn("loss", format="%.4g", width=70, help="Last loss: of test, validation or training"),
        "hits": column.ProgressColumn("clip hits", format="percent", min_value=0, max_value=1, width=112),
        "hit_rates": column.ImageColumn("hits over steps", width=112, help="From 0 to 100 %"),
        "bound": column.TextColumn(width=80),
        "batch": column.NumberColumn(format="localized", width=60, help="Batch size"),
        "optimizer": column.TextColumn(width=86),
        "model": column.TextColumn(width=96),
        "data": column.TextColumn(width=84),
        "steps": column.NumberColumn(format="localized", width=70, help="The last step that the run took"),
        "duration": column.NumberColumn(format="compact", width=84, help="Hours, minutes, seconds"),
        "started": column.DatetimeColumn("started, UTC", format="YYYY-MM-DD HH:mm", width=132),
        "note": column.TextColumn(width=220),
    }
    if by:
        found[by]["label"] = f"{found[by]['label'] or by} {ARROWS[way]}"
    return found
