"""All runs of the log, a row each."""

import pandas as pd
import streamlit as st

from app import queries, words

GUIDE = """
- **Clip hits** is the share of all layers' steps in which a bound cut the trust ratio. Near 0 % the bound does nothing;
  near 100 % the layers no longer adapt, and the step is Adam's times the bound.
- A run whose process was killed says nothing more: it is **"no word for …"** after a minute without a sign of life.
- **best test** and **last test** are accuracies on the test set. Choose runs in the sidebar; the address keeps them.
"""


def draw() -> None:
    """The table; newest first."""
    st.subheader("All runs", anchor=False)
    st.dataframe(
        _table(queries.runs().iloc[::-1]),
        hide_index=True,
        column_config={
            "run": st.column_config.TextColumn(pinned=True, width=160),
            "status": st.column_config.TextColumn(width=190),
            "batch": st.column_config.NumberColumn(format="localized", width=64, help="Batch size"),
            "steps": st.column_config.NumberColumn(format="localized", width=70),
            "bound": st.column_config.TextColumn(width=80),
            "best": st.column_config.NumberColumn("best test", format="percent", width=78),
            "last": st.column_config.NumberColumn("last test", format="percent", width=78),
            "hits": st.column_config.ProgressColumn("clip hits", format="percent", min_value=0, max_value=1, width=110),
            "accuracies": st.column_config.LineChartColumn("test accuracy", width=110),
        },
    )
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(GUIDE)


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
        "status": f"{words.SIGNS.get(run['status'], '✕')} {words.standing(run)}",
        "accuracies": None if result is None else result["test_accuracies"],
        "best": None if result is None else result["best_test_accuracy"],
        "last": None if result is None else result["last_test_accuracy"],
        "hits": queries.hit_rate(queries.run_state(run)),
        "bound": words.bound(run).removeprefix("bound "),
        "batch": pd.to_numeric(str(options.get("batch_size")), errors="coerce"),
        **{option: _text(options.get(option)) for option in ("optimizer", "model", "data")},
        "steps": run["steps"],
        "time": words.duration(time) if time is not None else None,
    }


def _text(option: object) -> str | None:
    """A config holds whatever its user put there; a column holds one kind."""
    return None if option is None else str(option)
