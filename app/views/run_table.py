"""All runs of the log, a row each."""

import pandas as pd
import streamlit as st

from app import queries, words

OPTIONS = {"data": "data", "model": "model", "batch_size": "batch size", "optimizer": "optimizer"}
"""Options of a config that have a column of their own."""


def draw() -> None:
    """The table; newest first."""
    st.subheader("All runs", anchor=False)
    st.dataframe(
        _table(queries.runs().iloc[::-1]),
        hide_index=True,
        column_config={
            "run": st.column_config.TextColumn(pinned=True, width="medium"),
            "status": st.column_config.TextColumn(width="medium"),
            "batch size": st.column_config.NumberColumn(format="localized"),
            "steps": st.column_config.NumberColumn(format="localized"),
            "best": st.column_config.NumberColumn("best test", format="percent"),
            "last": st.column_config.NumberColumn("last test", format="percent"),
            "hits": st.column_config.ProgressColumn(
                "clip hits", format="percent", min_value=0, max_value=1, help="Share of layer steps that were clipped"
            ),
            "accuracies": st.column_config.LineChartColumn("test accuracy"),
        },
    )


def _table(runs: pd.DataFrame) -> pd.DataFrame:
    results = queries.results().set_index("run")
    return pd.DataFrame(
        [_row(run, results.loc[run["run"]] if run["run"] in results.index else None) for _, run in runs.iterrows()]
    )


def _row(run: pd.Series, result: pd.Series | None) -> dict:
    options = words.config(run)
    time = words.time_taken(run)
    return {
        "run": run["run"],
        "status": f"{words.SIGNS.get(run['status'], '✕')} {words.status_sentence(run)}",
        "accuracies": None if result is None else result["test_accuracies"],
        "best": None if result is None else result["best_test_accuracy"],
        "last": None if result is None else result["last_test_accuracy"],
        "hits": queries.hit_rate(queries.run_state(run)),
        "bound": words.bound(run).removeprefix("bound "),
        **{label: options.get(option) for option, label in OPTIONS.items()},
        "steps": run["steps"],
        "time": words.duration(time) if time is not None else None,
    }
