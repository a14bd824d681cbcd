"""A card for each chosen run: is it healthy? In words first, then in numbers."""

import numpy as np
import pandas as pd
import streamlit as st

from app import queries, words
from app.charts.text import shorten
from app.results import CELLS, thinned
from app.runs import health
from app.shell import notices
from app.shell.selection import Selection
from app.shell.sidebar import HUES

MOST = 4
"""So many cards are shown; the table below has all runs."""


def draw(chosen: Selection) -> None:
    """The newest of the chosen runs, beside each other."""
    runs = chosen.runs.tail(MOST)
    if runs.empty:
        st.info("Choose runs in the table, or in the sidebar, to see how they stand.", icon=":material/arrow_downward:")
        return
    results = queries.results().set_index("run")
    for column, (_, run) in zip(st.columns(max(3, len(runs))), runs.iterrows(), strict=False):
        with column.container(border=True, height="stretch"), notices.panel():
            _card(chosen, run, results.loc[run["run"]])
    if len(chosen.runs) > MOST:
        st.caption(f"The newest {MOST} of {len(chosen.runs)} chosen runs.")


def _card(chosen: Selection, run: pd.Series, result: pd.Series) -> None:
    hue = HUES[chosen.lines[run["run"]].hue]
    st.markdown(f":{hue}[■] **{words.plain(shorten(run['run'], 40))}**")
    state = queries.run_state(run)
    rates = queries.hit_rates(state)
    st.markdown(" ".join([_standing(run), *_verdict(run, result, rates, queries.not_finite(state))]))
    left, right = st.columns(2)
    with left:
        _outcome(state, result)
    with right:
        _hits(run, result, queries.hit_rates_over_time(state))
    st.caption(" · ".join(_facts(run, rates)))


def _standing(run: pd.Series) -> str:
    status = run["status"]
    sentence = words.plain(shorten(words.standing(run), 120))
    return f":{words.COLOURS.get(status, 'red')}-badge[{words.ICONS.get(status, ':material/error:')} {sentence}]"


def _verdict(run: pd.Series, result: pd.Series, rates: pd.DataFrame, not_finite: pd.DataFrame) -> list[str]:
    if rates.empty:
        return []
    found = health.findings(result, rates, not_finite)
    if not found and run["status"] in ("running", "finished"):
        return [":green-badge[:material/favorite: healthy]"]
    return [
        f":red-badge[:material/error: {each.sentence}]" if each.serious else f":orange-badge[{each.sentence}]"
        for each in found
    ]


def _outcome(state: queries.RunState, result: pd.Series) -> None:
    """The accuracy; of a run without one its loss."""
    if pd.notna(result["best_accuracy"]):
        st.metric(
            f"{result['accuracy_of']} accuracy".capitalize(),
            words.percent(result["last_accuracy"]),
            f"best {words.percent(result['best_accuracy'])}",
            delta_color="off",
            delta_arrow="off",
            chart_data=thinned(result["accuracies"]),
            chart_type="area",
        )
    elif pd.notna(result["loss_of"]):
        curve = queries.metric_curve(state, result["loss_name"], CELLS)["value"]
        st.metric(
            f"{result['loss_of']} loss".capitalize(),
            words.loss(result["last_loss"]),
            words.plain(shorten(result["loss_name"], 24)),
            delta_color="off",
            delta_arrow="off",
            chart_data=thinned(curve[np.isfinite(curve)].to_list()),
            chart_type="line",
        )
    else:
        st.metric("Test accuracy", "—", "none yet", delta_color="off", delta_arrow="off")


def _hits(run: pd.Series, result: pd.Series, over_time: pd.DataFrame) -> None:
    st.metric(
        "Clip hits",
        words.percent(result["hit_rate"]),
        words.bound(run),
        delta_color="off",
        delta_arrow="off",
        chart_data=[float(value) for value in (over_time["upper_rate"] + over_time["lower_rate"]).fillna(0)],
        chart_type="area",
    )


def _facts(run: pd.Series, rates: pd.DataFrame) -> list[str]:
    said = [f"{words.steps(run)} steps"]
    time = words.time_taken(run)
    if time is not None:
        said.append(f"{words.duration(time)}")
    always, adapted = health.clipped_nearly_always(rates)
    if (rates["upper_hits"] + rates["lower_hits"]).any():
        said.append(f"{always} of {adapted} layers clipped in nearly all steps")
    elif adapted:
        said.append("no layer was ever clipped")
    return said
