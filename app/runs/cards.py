"""A card for each chosen run: is it healthy? In words first, then in numbers."""

import pandas as pd
import streamlit as st

from app import queries, unusual, words
from app.charts.sparkline import sparkline
from app.charts.text import shorten
from app.results import CELLS, thinned
from app.runs import health
from app.shell import notices
from app.shell.selection import Selection

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
    st.markdown(chosen.name(run["run"]))
    state = queries.run_state(run)
    rates = queries.hit_rates(state)
    badges, details = _verdict(state, run, result, rates)
    st.markdown(" ".join([_standing(run), *badges]))
    if details:
        st.caption("; ".join(details))
    left, right = st.columns(2)
    with left:
        _outcome(chosen, state, result)
    with right:
        _hits(chosen, run, result)
    st.caption(" · ".join(fact for fact in _facts(state, run, rates) if fact not in details))


def _standing(run: pd.Series) -> str:
    status = run["status"]
    sentence = words.plain(shorten(words.standing(run), 120))
    return f":{words.COLOURS.get(status, 'red')}-badge[{words.ICONS.get(status, ':material/error:')} {sentence}]"


def _verdict(
    state: queries.RunState, run: pd.Series, result: pd.Series, rates: pd.DataFrame
) -> tuple[list[str], list[str]]:
    """The verdict as badges, and what it is made of in words."""
    if rates.empty:
        return [], []
    found = health.findings(
        result,
        rates,
        unusual.not_finite(state),
        unusual.events(state),
        unusual.diverged_since(state),
        _standing_still(state, rates),
    )
    if not found and run["status"] in ("running", "finished"):
        if queries.not_adapted(rates).all():
            return [":green-badge[:material/favorite: norms finite]"], [
                "no layer is adapted: ratios were not looked at"
            ]
        return [":green-badge[:material/favorite: healthy]"], []
    serious = [f":red-badge[:material/error: {each.sentence}]" for each in found if each.serious]
    others = [each.sentence for each in found if not each.serious]
    return serious or [":orange-badge[:material/visibility: look closer]"] * bool(others), others


def _standing_still(state: queries.RunState, rates: pd.DataFrame) -> tuple[int, list[str]]:
    """Since when, and which layers do, of those that are adapted: other ratios are not looked at."""
    since, layers = unusual.constant_since(state)
    adapted = set(rates["layer"][~queries.not_adapted(rates)])
    return since, [layer for layer in layers if layer in adapted]


def _outcome(chosen: Selection, state: queries.RunState, result: pd.Series) -> None:
    """The accuracy; of a run without one its loss."""
    hue = chosen.lines[state.run].colour(chosen.theme)
    if pd.notna(result["best_accuracy"]):
        best, last = words.percent(result["best_accuracy"]), words.percent(result["last_accuracy"])
        _number(f"{result['accuracy_of']} accuracy".capitalize(), last, f"best {best}" if best != last else "its best")
        _curve(sparkline(thinned(result["accuracies"]), colour=hue, scale=(0, 1)), "Accuracy, from 0 to 100 %")
    elif pd.notna(result["loss_of"]):
        curve = queries.metric_curve(state, result["loss_name"], CELLS)["value"]
        name = words.plain(shorten(result["loss_name"], 24))
        _number(f"{result['loss_of']} loss".capitalize(), words.loss(result["last_loss"]), name)
        _curve(sparkline(thinned(curve.to_list()), colour=hue), "Loss, between its least and its greatest value")
    else:
        _number("Test accuracy", "—", "none yet")


def _hits(chosen: Selection, run: pd.Series, result: pd.Series) -> None:
    _number("Clip hits", words.percent(result["hit_rate"]), words.bound(queries.config(run)))
    drawn = sparkline(thinned(result["hit_rates"]), colour=chosen.theme.upper, scale=(0, 1))
    _curve(drawn, "Clip hits over the steps, from 0 to 100 %")


def _number(label: str, value: str, beside: str) -> None:
    value = value.replace(">", r"\>")  # which begins a quotation
    st.metric(label, value, beside, delta_color="off", delta_arrow="off")


def _curve(drawn: str | None, says: str) -> None:
    if drawn:
        st.html(f'<img class="lambc-sparkline" src="{drawn}" alt="{says}" title="{says}">')


def _facts(state: queries.RunState, run: pd.Series, rates: pd.DataFrame) -> list[str]:
    last = words.steps(run)
    said = [f"{last} step" if last == "1" else f"{last} steps"]
    time = words.time_taken(run)
    if time is not None:
        said.append(f"{words.duration(time)}")
    if (rates["upper_hits"] + rates["lower_hits"]).any():
        said.append(health.nearly_always(rates))
        if most := queries.most_recorded(state):
            said.append(f"clip hits are of {words.layer_steps(most)}")
    elif (rates["adapted"] > 0).any():
        said.append("no layer was ever clipped")
    return said
