"""The chosen runs against each other: accuracy, loss, and what differs in their configs."""

import pandas as pd
import streamlit as st

from app import queries, words
from app.charts.metrics import PANELS, metric_curves
from app.charts.text import shorten
from app.plotly_view import plotly_view
from app.shell import address
from app.shell.selection import Selection

GUIDE = """
- **By step** shows every value that was logged, thinned to what a screen shows without hiding a spike. **By epoch**
  shows the mean of each epoch: fairer between runs of different batch sizes, as their epochs differ in steps.
- One run a setting says little when the difference is small: accuracies of the same settings differ from seed to seed.
- **Drag** in one panel zooms all four to the same steps; a **double click** shows everything again.
"""


def draw_numbers(chosen: Selection) -> None:
    """A card a run: best and last accuracy on the test set, against the best of the others."""
    results = queries.results().set_index("run")
    runs = [run for run in chosen.runs["run"] if run in results.index]
    best = results.loc[runs, "best_test_accuracy"].dropna()
    for column, run in zip(st.columns(max(3, len(runs))), runs, strict=False):
        row = results.loc[run]
        others = best.drop(index=run, errors="ignore")
        behind = (row["best_test_accuracy"] - others.max()) * 100 if len(others) else None
        column.metric(
            words.plain(shorten(run, 32)),
            words.percent(row["best_test_accuracy"], 2),
            None if behind is None or pd.isna(behind) else f"{behind:+.2f} points",
            delta_description="to the best of the others" if behind is not None and pd.notna(behind) else None,
            help="Best test accuracy of the run.",
            border=True,
        )


def choose_axis() -> str:
    """Whether curves are drawn by step or by epoch."""
    address.recall("along", ("step", "epoch"), "step")
    axis = st.segmented_control(
        "Along",
        ["step", "epoch"],
        required=True,
        key="along",
        persist_state="session",
        format_func=lambda axis: f"by {axis}",
        label_visibility="collapsed",
    )
    address.note("along", axis, "step")
    return str(axis)


def draw_curves(chosen: Selection, states: dict[str, queries.RunState], *, by: str) -> None:
    """Accuracy and loss, on the test set and in training."""
    ask = queries.metric_curve if by == "step" else queries.metric_epochs
    curves = {(run, metric): ask(state, metric) for run, state in states.items() for metric, _ in PANELS}
    if all(curve.empty for curve in curves.values()):
        st.info(
            "These runs logged no accuracy and no loss. `collector.log({'train/loss': loss})` records them.",
            icon=":material/show_chart:",
        )
        return
    plotly_view(
        metric_curves(curves, by=by, lines=chosen.lines, theme=chosen.theme),
        key="compare",
        label="Accuracy and loss of the runs",
        keep_zoom=by,
    )
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(GUIDE)


def draw_differences(chosen: Selection) -> None:
    """The options of the runs' configs that are not the same in all of them."""
    st.subheader("What differs", anchor=False)
    configs = pd.DataFrame(
        {run["run"]: pd.Series(words.config(run), dtype=object) for _, run in chosen.runs.iterrows()}
    )
    said = configs.map(lambda value: "none" if value is None else "" if value != value else str(value))
    differing = said[said.nunique(axis=1) > 1]
    if len(chosen.runs) < 2:
        st.caption("Choose a second run in the sidebar to see what differs.")
    elif differing.empty:
        st.caption("Nothing: these runs have the same config.")
    else:
        st.dataframe(differing.rename_axis("option"))
        st.caption(f"{len(said) - len(differing)} more options are the same in all of them.")
