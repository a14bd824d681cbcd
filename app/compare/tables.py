"""What came of the compared settings, and what differs in the runs' configs, as tables."""

import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from app import queries
from app.charts.text import counted
from app.compare import seeds
from app.compare.comparison import Comparison
from app.compare.measures import MEASURES, of_what, spread
from app.shell.selection import Selection


def draw_results(compared: Comparison) -> None:
    """A row a setting; mean and sample standard deviation where it has several seeds."""
    st.subheader("Results", anchor=False)
    results = queries.results().set_index("run")
    rows = [_row(compared, results, setting.name, setting.runs) for setting in compared.settings]
    table = pd.DataFrame(rows).sort_values("best", ascending=False, na_position="last", kind="stable")
    of, of_loss = (of_what(results, list(compared.states), measure) for measure in MEASURES)
    if " or " in of:  # then each row says it
        of = ""
    else:
        table = table.drop(columns="of")
    if table["best"].isna().all():
        table = table.drop(columns=["best", "best_std", "last", "last_std", "runs"])
    shown = {
        "runs": st.column_config.NumberColumn("n", width=48, help="Runs with an accuracy, each with its own seed"),
        "best": _share(f"best {of}".strip(), "Best accuracy, mean of n"),
        "best_std": _share("± std", "Sample standard deviation of the best"),
        "last": _share(f"last {of}".strip(), "Last accuracy, mean of n"),
        "of": st.column_config.TextColumn(help="What the accuracy is of"),
        "last_std": _share("± std ", "Sample standard deviation of the last"),
        "loss": st.column_config.NumberColumn(f"last {of_loss} loss", format="%.4g"),
        "hits": st.column_config.ProgressColumn("clip hits", format="percent", min_value=0, max_value=1, width=110),
        "steps": st.column_config.NumberColumn(format="localized", width=80),
    }
    if not compared.groups:
        table = table.drop(columns=["runs", "best_std", "last_std"], errors="ignore")
    st.dataframe(
        table,
        hide_index=True,
        placeholder="—",
        column_config={"setting": st.column_config.TextColumn(pinned=True), **shown},
    )


def _share(label: str, says: str) -> ColumnConfig:
    return st.column_config.NumberColumn(label, help=says, format="percent", width=92)


def _row(compared: Comparison, results: pd.DataFrame, name: str, runs: tuple[str, ...]) -> dict[str, object]:
    setting = seeds.Setting(name, runs, name)
    best, last = (spread(results, setting, f"{which}_accuracy") for which in ("best", "last"))
    states = [compared.states[run] for run in runs]
    return {
        "setting": name,
        "runs": best.n,
        "best": best.mean,
        "best_std": best.std,
        "last": last.mean,
        "last_std": last.std,
        "of": of_what(results, runs, MEASURES[0]),
        "loss": spread(results, setting, "last_loss").mean,
        "hits": seeds.spread([queries.hit_rate(state) for state in states]).mean,
        "steps": compared.chosen.runs.set_index("run").loc[list(runs), "last_step"].max(),
        "status": _standing(compared, runs),
    }


def _standing(compared: Comparison, runs: tuple[str, ...]) -> str:
    """How the runs stand, those of one standing counted; of those that diverged no more than that."""
    standings = compared.chosen.runs.set_index("run").loc[list(runs), "status"].fillna("unreadable")
    counts = standings.mask(standings.index.isin(list(compared.diverged)), "diverged").value_counts()
    if len(counts) == 1:
        return str(counts.index[0])
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def draw_differences(chosen: Selection) -> None:
    """The options of the runs' configs that are not the same in all of them."""
    st.subheader("What differs", anchor=False)
    configs = pd.DataFrame(
        {run["run"]: pd.Series(queries.config(run), dtype=object) for _, run in chosen.runs.iterrows()}
    )
    said = configs.map(lambda value: "none" if value is None else "" if value != value else str(value))
    differing = said[configs.map(seeds.comparable).nunique(axis=1) > 1]
    if len(chosen.runs) < 2:
        st.caption("Choose a second run in the sidebar to see what differs.")
    elif differing.empty:
        st.caption("Nothing: these runs have the same config.")
    else:
        st.dataframe(differing.rename_axis("option"))
        same = len(said) - len(differing)
        if same:
            st.caption(f"{counted(same, 'more option')} {'is' if same == 1 else 'are'} the same in all of them.")
