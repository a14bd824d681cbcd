"""The chosen runs against each other: whether seeds are taken together, a card for each setting, and the curves."""

from dataclasses import dataclass

import streamlit as st

from app import queries, words
from app.charts.metrics import metric_curves
from app.charts.text import shorten
from app.compare import curves as comparison_curves
from app.compare import seeds
from app.compare.measures import MEASURES, measured, of_what, spread
from app.compare.seeds import Setting
from app.plotly_view import plotly_view
from app.shell import address, metric_choice
from app.shell.selection import Selection

CARDS_A_ROW = 3
MOST_CARDS = 6
"""With more settings than this the table below says it better."""

GUIDE = """
- **By step** shows every value that was logged, thinned to what a screen shows without hiding a spike. **By epoch**
  shows the mean of each epoch: fairer between runs of different batch sizes, as their epochs differ in steps. **By wall
  time** counts from the run's start; the pause before a resume is left out, and so are steps that it took back.
- **Group seeds** takes runs together whose configs differ by the seed alone: a line is their mean, the band one sample
  standard deviation to either side. From an **open point** on the line is **dotted**: fewer seeds have values there, as
  one is still training, stopped early or is no longer a number.
- One run a setting says little when the difference is small: accuracies of the same setting differ from seed to seed.
- **Clip hits** is the share of all layers' ratios that a bound cut.
- **Drag** in one panel zooms all of them to the same places; a **double click** shows everything again.
"""


@dataclass(frozen=True)
class Comparison:
    """What is compared, and how.

    settings: the runs as they are taken together. faint: whether each seed is drawn behind its setting's mean. by: what
    curves are drawn along.
    """

    chosen: Selection
    states: dict[str, queries.RunState]
    settings: tuple[Setting, ...]
    faint: bool
    by: str

    @property
    def groups(self) -> tuple[Setting, ...]:
        """Settings of several seeds."""
        return tuple(setting for setting in self.settings if setting.grouped)


def choose(chosen: Selection, states: dict[str, queries.RunState]) -> Comparison:
    """What curves are drawn along, and whether runs that differ by their seed are taken together."""
    rows = chosen.runs[chosen.runs["run"].isin(states)]
    found = seeds.settings({run["run"]: words.config(run) for _, run in rows.iterrows()})
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        by = _choose_axis()
        together = any(setting.grouped for setting in found)
        faint = False
        if together:
            together = _switch("group", "Group seeds", "Runs whose configs differ by the seed alone, as their mean.")
        if together:
            faint = _switch("seeds", "Show each seed", "Each of the runs, faintly, behind the mean.")
    alone = tuple(Setting(run, (run,)) for run in states)
    return Comparison(chosen, states, tuple(found) if together else alone, faint, by)


def _choose_axis() -> str:
    address.recall("along", ("step", "epoch", "time"), "step")
    axis = st.segmented_control(
        "Along",
        ["step", "epoch", "time"],
        required=True,
        key="along",
        persist_state="session",
        format_func=lambda axis: "by wall time" if axis == "time" else f"by {axis}",
        label_visibility="collapsed",
    )
    address.note("along", axis, "step")
    return str(axis)


def _switch(key: str, label: str, says: str) -> bool:
    address.recall_switch(key, True)
    on = st.toggle(label, key=key, help=says, persist_state="session")
    address.note_switch(key, on, True)
    return on


def draw_numbers(compared: Comparison) -> None:
    """A card a setting: its best accuracy, or its last loss where none has one, against the best of the others."""
    results = queries.results().set_index("run")
    measure = next((each for each in MEASURES if measured(results, list(compared.states), each)), None)
    if measure is None:
        return
    best = {setting: spread(results, setting, measure.column) for setting in compared.settings}
    if len(best) > MOST_CARDS:
        best = dict(sorted(best.items(), key=lambda item: measure.rank(item[1]))[:CARDS_A_ROW])
    entries = list(best.items())
    for start in range(0, len(entries), CARDS_A_ROW):
        row = entries[start : start + CARDS_A_ROW]
        for column, (setting, each) in zip(st.columns(CARDS_A_ROW), row, strict=False):
            of = of_what(results, setting.runs, measure)
            others = [
                other
                for one, other in best.items()
                if one is not setting and other.n and of_what(results, one.runs, measure) == of
            ]
            ahead = min(others, key=measure.rank).mean if others and each.n else None
            column.metric(
                words.plain(shorten(setting.name, 32)),
                measure.text(each),
                None if ahead is None else measure.apart(each.mean, ahead),
                delta_color="normal" if measure.share else "inverse",
                delta_description="to the best of the others" if ahead is not None else None,
                help=_said(setting, each, f"{of} {measure.says}"),
                border=True,
            )


def _said(setting: Setting, each: seeds.Spread, what: str) -> str:
    if not setting.grouped:
        return f"{what} of the run.".capitalize()
    names = ", ".join(words.plain(shorten(run, 40)) for run in setting.runs)
    return (
        f"{what.capitalize()}: mean and sample standard deviation over {each.n} of {len(setting.runs)} seeds ({names})."
    )


def draw_curves(compared: Comparison) -> None:
    """Every metric, and clip hits."""
    metrics = comparison_curves.logged(compared.states.values())
    metrics = metric_choice.choose("metrics", metrics, metrics[: comparison_curves.MOST_DRAWN])
    curves = comparison_curves.of_runs(compared.states, metrics, by=compared.by)
    grouped = {run for setting in compared.groups for run in setting.runs}
    if not compared.faint:
        curves = {(run, metric): curve for (run, metric), curve in curves.items() if run not in grouped}
    means = comparison_curves.of_settings(compared.groups, compared.states, metrics, by=compared.by)
    if not means and all(curve.empty for curve in curves.values()):
        st.info(
            "These runs logged no metrics. `collector.log({'train/loss': loss})` records them.",
            icon=":material/show_chart:",
        )
        return
    # A setting is drawn as its first run is, and so are its other runs behind it.
    lines = dict(compared.chosen.lines)
    for setting in compared.groups:
        lines |= dict.fromkeys((setting.name, *setting.runs), lines[setting.runs[0]])
    plotly_view(
        metric_curves(
            curves,
            means=means,
            faint=frozenset(grouped),
            by=compared.by,
            lines=lines,
            theme=compared.chosen.theme,
        ),
        key="compare",
        label="Accuracy, loss and clip hits of the runs",
        keep_zoom=compared.by,
    )
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(GUIDE)
