"""A card for each chosen run: how it stands, in words and numbers."""

import pandas as pd
import streamlit as st

from app import queries, words
from app.charts.text import shorten
from app.shell.selection import Selection
from app.shell.sidebar import HUES

MOST = 4
"""So many cards are shown; the table below has all runs."""


def draw(chosen: Selection) -> None:
    """The newest of the chosen runs, beside each other."""
    results = queries.results().set_index("run")
    runs = chosen.runs.tail(MOST)
    if runs.empty:
        return
    for column, (_, run) in zip(st.columns(max(3, len(runs))), runs.iterrows(), strict=False):
        with column.container(border=True, height="stretch"):
            _card(chosen, run, results.loc[run["run"]] if run["run"] in results.index else None)


def _card(chosen: Selection, run: pd.Series, result: pd.Series | None) -> None:
    hue = HUES[chosen.lines[run["run"]].hue]
    st.markdown(f":{hue}[■] **{words.plain(shorten(run['run'], 40))}**")
    st.markdown(_badge(run))
    left, right = st.columns(2)
    if result is not None and pd.notna(result["last_test_accuracy"]):
        left.metric(
            "Test accuracy",
            words.percent(result["last_test_accuracy"]),
            f"best {words.percent(result['best_test_accuracy'])}",
            delta_color="off",
            delta_arrow="off",
            chart_data=[float(value) for value in result["test_accuracies"]],
            chart_type="area",
        )
    else:
        left.metric("Test accuracy", "—", "none yet", delta_color="off", delta_arrow="off")
    state = queries.run_state(run)
    over_time = queries.hit_rates_over_time(state)
    right.metric(
        "Clip hits",
        words.percent(queries.hit_rate(state)),
        words.bound(run),
        delta_color="off",
        delta_arrow="off",
        chart_data=[float(value) for value in (over_time["upper_rate"] + over_time["lower_rate"]).fillna(0)],
        chart_type="area",
    )
    st.caption(_health(run, state, result))


def _badge(run: pd.Series) -> str:
    status = run["status"]
    sentence = words.plain(shorten(words.standing(run), 120))
    return f":{words.COLOURS.get(status, 'red')}-badge[{words.ICONS.get(status, ':material/error:')} {sentence}]"


def _health(run: pd.Series, state: queries.RunState, result: pd.Series | None) -> str:
    """What one would say about the run in a sentence or two."""
    said = [f"{words.steps(run)} steps"]
    if result is not None and pd.notna(result["broken_since"]):
        said.append(f"training loss is not a number since step {int(result['broken_since']):,}")
    rates = queries.hit_rates(state)
    hits = rates["upper_hits"] + rates["lower_hits"]
    if hits.any():
        always = (hits >= 0.99 * rates["adapted"]) & (hits > 0)
        said.append(f"{always.sum()} of {len(rates)} layers clipped in nearly all steps")
    elif len(rates):
        said.append("no layer was ever clipped")
    return " · ".join(said)
