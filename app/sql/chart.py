"""The chart of an answer, and the choice of what it shows."""

import pandas as pd
import streamlit as st

from app import words
from app.charts import answer as charts
from app.charts.answer import Drawing
from app.plotly_view import plotly_view
from app.shell import address
from app.shell.selection import Selection

_CHOICES_HEIGHT = 84
"""Of the row of choices, in pixels: the table beside is as high as these and the chart."""


def draw(chosen: Selection, answer: pd.DataFrame, first: Drawing, *, keep_zoom: str) -> int:
    """The chart; `first` is how it is drawn unless told. Gives its height with what is above it, in pixels."""
    drawing = _choose(answer, first)
    rows, sentence = charts.what_is_drawn(answer, drawing)
    if rows.empty:
        st.info("These columns hold no number that can be drawn.", icon=":material/show_chart:")
        return _CHOICES_HEIGHT
    figure = charts.answer_chart(rows, drawing, runs=chosen.lines, theme=chosen.theme)
    plotly_view(
        figure,
        key="sql-chart",
        label=f"{drawing.y} along {drawing.x}",
        keep_zoom=f"{keep_zoom} {drawing}",
    )
    if sentence:
        st.caption(words.plain(sentence))
    return _CHOICES_HEIGHT + int(figure.layout.height)


def _choose(answer: pd.DataFrame, first: Drawing) -> Drawing:
    kind, x, y, colour = st.columns(4, gap="xsmall")
    with kind:
        drawn = _choice("Draw", "sql-draw", list(charts.KINDS), first.kind)
    with x:
        across = _choice("Along", "sql-x", charts.along(answer), first.x)
    with y:
        up = _choice("Up", "sql-y", charts.numbers(answer), first.y)
    with colour:
        coloured = _choice("Colour", "sql-colour", ["", *charts.words(answer)], first.colour)
    return Drawing(drawn, across, up, coloured)


def _choice(label: str, key: str, options: list[str], first: str) -> str:
    return address.choice(st.selectbox, label, {option: option or "none" for option in options}, key=key, default=first)
