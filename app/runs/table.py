"""All runs of the log, a row each: searched, filtered, and chosen."""

import pandas as pd
import streamlit as st
from streamlit.elements.arrow import DataframeStateInput
from streamlit.elements.lib.column_types import ColumnConfig

from app import log as opened
from app import queries
from app.charts.theme import Theme
from app.runs import rows as run_list
from app.shell import address
from app.shell.pages import PAGES
from app.shell.selection import MOST_CHOSEN, RUNS, Selection

TABLE, SEARCH, FILTER = "run_table", "find", "only"
DRAWN = "runs_drawn"
"""The session's names of the rows, from top to bottom, as the browser has them: it reports what is chosen by place."""

HEIGHT = 420

GUIDE = """
- **Tick** rows to choose runs: the cards above, the sidebar and all pages show these, and the address keeps them.
- **Search** looks at names and at every option of the config, as `resnet lr=0.01`; all words must be there. **Filter**
  by several values of a column to see runs that have any of them. A click on a column's head sorts by it.
- **Clip hits** is the share of all layers' steps in which a bound cut the trust ratio. Near 0 % the bound does nothing;
  near 100 % the layers no longer adapt, and the step is the plain update times the bound. The small curve is the same
  over the steps, from 0 to 100 %.
- A **live** run has said something within a minute. One whose process was killed says nothing more: it is **stalled**.
- **best** and **last** are accuracies on the test set, or on the validation set of a run that has none on the test set.
  **loss** is the last one on the test set, else on the validation set, else in training.
"""


def draw(chosen: Selection) -> None:
    """What to look for, the table, and where to go with the chosen runs."""
    st.subheader("All runs", anchor=False)
    every = _listed(opened.log_version(), tuple(queries.runs()["status"].fillna("")))
    rows = _found(every)
    _lead_on(chosen, len(rows), len(every))
    if rows.empty:
        st.info("No run is like that. Search for fewer words, or take a filter away.", icon=":material/search_off:")
    else:
        _table(chosen, rows)
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(GUIDE)


@st.cache_data(max_entries=4, show_spinner=False)
def _listed(version: str, statuses: tuple[str, ...]) -> pd.DataFrame:
    return run_list.listed(queries.runs(), queries.results()).iloc[::-1]


def _found(every: pd.DataFrame) -> pd.DataFrame:
    left, right = st.columns([2, 3])
    address.recall_text(SEARCH)
    sought = left.text_input(
        "Search",
        key=SEARCH,
        type="search",
        icon=":material/search:",
        placeholder="name or option, as lr=0.01",
        live=True,
        persist_state="session",
    )
    address.note(SEARCH, sought or None)
    values = run_list.values(every)
    named = st.session_state.get(FILTER, st.query_params.get_all(FILTER))
    # What no run has any more stays, as 'live' when the last one has ended.
    values += [value for value in named if value not in values and value.partition(": ")[0] in run_list.FACETS]
    st.session_state[FILTER] = [value for value in named if value in values]
    wanted = right.multiselect(
        "Filter",
        values,
        key=FILTER,
        placeholder="by status, data, model, optimizer, bound or batch size" if values else "all runs are alike",
        select_all=False,
        disabled=not values,
        persist_state="session",
    )
    if wanted:
        st.query_params[FILTER] = wanted
    else:
        st.query_params.pop(FILTER, None)
    return run_list.found(every, sought or "", wanted)


def _lead_on(chosen: Selection, found: int, every: int) -> None:
    count = len(chosen.runs)
    shown = f"{found:,} of {every:,} runs" if found != every else "1 run" if every == 1 else f"{every:,} runs"
    # From the left: at the right, the table's own buttons come up when the mouse is over it.
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"{shown}, **{count} chosen**", width="content")
        for page, label, icon, least in (
            ("layers", "Open in Layers", ":material/grid_on:", 1),
            ("clipping", "Clipping", ":material/content_cut:", 1),
            ("compare", "Compare", ":material/compare_arrows:", 2),
        ):
            if st.button(label, icon=icon, disabled=count < least, key=f"open_{page}"):
                st.switch_page(PAGES[page], query_params={})  # the chosen runs stay in the address


def _table(chosen: Selection, rows: pd.DataFrame) -> None:
    names = list(rows["run"])
    ticked = [place for place, ticks in enumerate(rows["run"].isin(chosen.runs["run"])) if ticks]
    selection: DataframeStateInput = {"selection": {"rows": ticked, "columns": [], "cells": []}}
    if TABLE not in st.session_state or list(st.session_state[TABLE]["selection"]["rows"]) != ticked:
        st.session_state[TABLE] = selection
    st.session_state[DRAWN] = names
    st.dataframe(
        rows.drop(columns="said"),
        key=TABLE,
        hide_index=True,
        height="auto" if len(rows) < 10 else HEIGHT,
        placeholder="",
        alt="All runs",
        on_select=_choose,
        selection_mode="multi-row",
        # The session's value is sent once: lost where the page runs again before the browser has the table's script.
        selection_default=selection,
        column_order=_shown(rows),
        column_config=columns(chosen.theme),
    )


def _choose() -> None:
    """Rows were ticked: the choice of runs follows; what is filtered away stays as it was."""
    drawn = st.session_state[DRAWN]
    ticked = [drawn[place] for place in st.session_state[TABLE]["selection"]["rows"] if place < len(drawn)]
    there = set(drawn)
    before = [run for run in st.session_state.get(RUNS, []) if run not in there or run in ticked]
    now = before + [run for run in ticked if run not in before]
    if len(now) > MOST_CHOSEN:
        st.toast(f"A page shows at most {MOST_CHOSEN} runs.", icon=":material/filter_list:")
    st.session_state[RUNS] = now[:MOST_CHOSEN]


ORDER = (
    "run",
    "status",
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
    "note",
)


def _shown(rows: pd.DataFrame) -> list[str]:
    """The columns: losses where a run has no accuracy, and no accuracies where no run has one."""
    measured = rows["best"].notna()
    left_out = {"loss"} if measured.all() or rows["loss"].isna().all() else set()
    if not measured.any() and not left_out:
        left_out = {"best", "last", "accuracies"}
    return [column for column in ORDER if column not in left_out]


def columns(theme: Theme) -> dict[str, ColumnConfig]:
    """How each column is shown."""
    column = st.column_config
    return {
        "run": column.TextColumn(pinned=True, width=170),
        "status": column.TextColumn(width=100),
        "best": column.NumberColumn(
            "best", format="percent", width=66, help="Best accuracy on the test or validation set"
        ),
        "last": column.NumberColumn(
            "last", format="percent", width=66, help="Last accuracy on the test or validation set"
        ),
        "accuracies": column.LineChartColumn("accuracy", width=104, color="blue"),
        "loss": column.NumberColumn("loss", format="%.4g", width=70, help="Last loss: of test, validation or training"),
        "hits": column.ProgressColumn("clip hits", format="percent", min_value=0, max_value=1, width=112),
        "hit_rates": column.AreaChartColumn(
            "hits over steps", width=104, y_min=0, y_max=1, color=theme.upper, help="From 0 to 100 %"
        ),
        "bound": column.TextColumn(width=80),
        "batch": column.NumberColumn(format="localized", width=60, help="Batch size"),
        "optimizer": column.TextColumn(width=86),
        "model": column.TextColumn(width=96),
        "data": column.TextColumn(width=84),
        "steps": column.NumberColumn(format="localized", width=70, help="The last step on the disk"),
        "duration": column.NumberColumn(format="compact", width=84, help="Hours, minutes, seconds"),
        "started": column.DatetimeColumn(format="YYYY-MM-DD HH:mm", width=132),
        "note": column.TextColumn(width=220),
    }
