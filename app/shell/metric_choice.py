"""Which of a log's metrics are drawn, where there are too many for one page."""

from collections.abc import Sequence

import streamlit as st

from app.charts.metric import Metric
from app.shell import address

MOST_CHOSEN = 24
"""Panels that a browser draws without delay."""


def choose(key: str, metrics: Sequence[Metric], usual: Sequence[Metric]) -> list[Metric]:
    """The metrics to draw, in their order: those that the reader chose, or else the `usual` ones.

    metrics: all of them; the page says how many these are. Where `usual` has all, nothing is asked.
    """
    if len(usual) == len(metrics):
        return list(metrics)
    chosen = address.several(
        st.multiselect,
        "Metrics",
        [metric.name for metric in metrics],
        key=key,
        max_selections=MOST_CHOSEN,
        placeholder=f"{len(usual)} of {len(metrics):,} metrics are drawn: choose others",
        select_all=False,
    )
    if not chosen:
        return list(usual)
    st.caption(f"{len(chosen)} of {len(metrics):,} metrics are drawn.")
    return [metric for metric in metrics if metric.name in chosen]
