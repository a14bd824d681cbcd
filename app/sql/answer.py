"""The answer to the query that was asked: how far it is, its rows as a table and a chart, and as files."""

from functools import partial
from typing import Literal

import pandas as pd
import pyarrow as pa
import streamlit as st

from app import log as opened
from app import words
from app.charts.answer import first_drawing
from app.shell import notices
from app.shell.selection import Selection
from app.sql import chart as sql_chart
from app.sql import tables as answers
from app.sql.running_query import Inquiry
from app.sql.sandboxes import Sandboxes
from collector.store.sandbox import cut_off

POLL = 0.5
"""Seconds between two looks at a query that goes on; one that is answered sooner is drawn at once."""

TABLE_HEIGHT = 440

MOST_BESIDE, HEIGHT_ABOVE = 54, 318
"""So many signs of a row are seen beside a chart on a window 1280 pixels wide. A table of longer rows stands above its
chart, and is so high: what was asked for, as a number behind the names of layers, would be cut off."""


def draw(chosen: Selection, asked: tuple[str, int]) -> None:
    """What has become of the query `asked`: asked now, if it was not before."""
    inquiry = _inquiry(opened.roots(), *asked)
    if inquiry.wait(POLL):
        st.fragment(_draw_end)(chosen, inquiry)
    else:
        st.fragment(_draw_progress, run_every=POLL)(inquiry)


def _draw_progress(inquiry: Inquiry) -> None:
    if inquiry.over:
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        st.button("Stop", key="sql-stop", icon=":material/stop:", on_click=inquiry.stop)
        st.markdown(f"Running for {inquiry.running():.0f} s …" if not inquiry.stopped else "Stopping …")


def _draw_end(chosen: Selection, inquiry: Inquiry) -> None:
    with notices.panel():
        if inquiry.answer is not None:
            _draw_answer(chosen, inquiry)
        elif inquiry.stopped:
            st.info(f"Stopped after {_time(inquiry.running())}. Run starts it again.", icon=":material/stop_circle:")
        else:
            st.warning(words.plain(inquiry.error), icon=":material/error:")


def _draw_answer(chosen: Selection, inquiry: Inquiry) -> None:
    answer = inquiry.answer
    assert answer is not None
    _draw_facts(inquiry)
    drawn = answers.drawable(answer)
    first = first_drawing(drawn)
    if first is None:
        _draw_table(answer, drawn, "content" if answer.num_rows < 10 else TABLE_HEIGHT)
        return
    if answers.signs_across(drawn) > MOST_BESIDE:
        _draw_table(answer, drawn, "content" if answer.num_rows < 8 else HEIGHT_ABOVE)
        with notices.panel():
            sql_chart.draw(chosen, drawn, first, keep_zoom=inquiry.sql)
        return
    left, right = st.columns([4, 5], gap="medium")
    height = TABLE_HEIGHT
    with right, notices.panel():
        height = sql_chart.draw(chosen, drawn, first, keep_zoom=inquiry.sql)
    with left:
        _draw_table(answer, drawn, height)


def _draw_table(answer: pa.Table, drawn: pd.DataFrame, height: int | Literal["content"]) -> None:
    """The rows; shares as percentages, as on the other pages."""
    formats = answers.formats(answer) | dict.fromkeys(answers.shares(drawn), "percent")
    columns = {name: st.column_config.NumberColumn(format=written) for name, written in formats.items()}
    st.dataframe(answers.shown(answer), hide_index=True, height=height, column_config=columns)


def _draw_facts(inquiry: Inquiry) -> None:
    answer = inquiry.answer
    assert answer is not None
    rows = "1 row" if answer.num_rows == 1 else f"{answer.num_rows:,} rows"
    said = [f"**{rows}** in {_time(inquiry.seconds)}", f"asked at {inquiry.asked:%H:%M:%S} UTC"]
    if inquiry.version != opened.log_version():
        said.append("the log has grown since: **Run** brings it up to date")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(" · ".join(said))
        st.space("stretch")
        for kind, write, mime in (
            ("CSV", answers.csv, "text/csv"),
            ("Parquet", answers.parquet, "application/vnd.apache.parquet"),
        ):
            st.download_button(
                kind,
                partial(write, answer),
                file_name=f"lambc-{inquiry.asked:%Y%m%d-%H%M%S}.{kind.lower()}",
                mime=mime,
                key=f"sql-{kind.lower()}",
                on_click="ignore",
                icon=":material/download:",
                disabled=not answer.num_columns,
            )
    if cut := cut_off(answer):
        st.caption(
            f":material/content_cut: Cut off {cut}. "
            "Ask for less (`GROUP BY`, `LIMIT`), or take all of it with `lambc sql`."
        )
    elif not answer.num_rows:
        st.caption("The answer has no rows.")


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


@st.cache_resource(show_spinner=False)
def _sandboxes() -> Sandboxes:
    return Sandboxes()


# A session has one: asking another query, or closing the page, stops the one before it.
@st.cache_resource(scope="session", max_entries=1, show_spinner=False, on_release=Inquiry.stop)
def _inquiry(roots: tuple[str, ...], sql: str, number: int) -> Inquiry:
    return Inquiry(sql, _sandboxes(), roots, opened.log_version())
