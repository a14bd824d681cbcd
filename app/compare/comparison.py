"""The chosen runs against each other: whether seeds are taken together, a card for each setting, and the curves."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import streamlit as st

from app import queries, unusual, words
from app.charts.metric import HIGHEST_SHARE
from app.charts.metrics import metric_curves
from app.charts.run_names import told_apart
from app.compare import curves as comparison_curves
from app.compare import epochs, seeds, verdict
from app.compare.measures import MEASURES, Measure, measured, of_what, spread
from app.compare.seeds import Setting
from app.compare.verdict import Difference, against
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
  one is still training, stopped early or is no longer a number. By wall time the line is broken there: a mean that
  loses a seed jumps. Where the bound moves, runs are taken together only if their configs have the same `clip`.
- A difference has a colour only where it can be told from chance: both settings have several seeds, it is more than the
  larger of their standard deviations, and they differ in nothing but the bound.
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

    @cached_property
    def diverged(self) -> dict[str, int]:
        """The runs that diverged, and where."""
        found = {run: unusual.diverged_since(state) for run, state in self.states.items()}
        return {run: since for run, since in found.items() if since is not None}

    def lost(self, setting: Setting) -> bool:
        """Whether a run of it diverged: it is not ahead of any other, however good it was before."""
        return any(run in self.diverged for run in setting.runs)

    @property
    def groups(self) -> tuple[Setting, ...]:
        """Settings of several seeds."""
        return tuple(setting for setting in self.settings if setting.grouped)


def choose(chosen: Selection, states: dict[str, queries.RunState]) -> Comparison:
    """What curves are drawn along, and whether runs that differ by their seed are taken together."""
    rows = chosen.runs[chosen.runs["run"].isin(states)]
    found = seeds.settings({run["run"]: queries.config(run) for _, run in rows.iterrows()})
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        by = _choose_axis(states)
        together = any(setting.grouped for setting in found)
        faint = False
        if together:
            together = address.switch(
                "Group seeds",
                key="group",
                default=True,
                help="Runs whose configs differ by the seed alone, as their mean.",
            )
        if together:
            says = "Each of the runs, faintly, behind the mean."
            faint = address.switch("Show each seed", key="seeds", default=True, help=says)
    compared = found if together else seeds.named([(run,) for run in states])
    return Comparison(chosen, states, tuple(compared), faint, by)


def _choose_axis(states: dict[str, queries.RunState]) -> str:
    """What curves are drawn along; epochs where any of the runs has some."""
    axes = {"step": "by step", "epoch": "by epoch", "time": "by wall time"}
    if all(queries.epoch_steps(state).empty for state in states.values()):
        del axes["epoch"]
    return address.choice(
        st.segmented_control,
        "Along",
        axes,
        key="along",
        default="step",
        required=True,
        label_visibility="collapsed",
    )


def draw_numbers(compared: Comparison) -> None:
    """Who is ahead in a sentence; and a card a setting: its best accuracy, or its last loss where none has one, against
    the best of the others.
    """
    results = queries.results().set_index("run")
    measure = next((each for each in MEASURES if measured(results, list(compared.states), each)), None)
    if measure is None:
        return
    every = {setting: spread(results, setting, measure.column) for setting in compared.settings}
    ranked = sorted(every.items(), key=lambda item: (compared.lost(item[0]), measure.rank(item[1])))
    standing = [(setting, each) for setting, each in ranked if each.n and not compared.lost(setting)]
    runs = compared.chosen.runs.set_index("run", drop=False)
    configs = {str(name): queries.config(run) for name, run in runs.iterrows()}
    differences = {
        entry[0]: against(entry, best, measure, configs, runs)
        for entry in standing
        if (best := _best_of_others(entry[0], standing, results, measure))
    }
    what = f"{of_what(results, ranked[0][0].runs, measure)} {measure.noun}"
    st.markdown(_verdict(compared, ranked, standing, differences, what, results, measure))
    if measure.share and (taken := _taken_as_shares(results.loc[list(compared.states)])):
        st.caption(taken)
    shown = every if len(every) <= MOST_CARDS else dict(ranked[:CARDS_A_ROW])
    cells = [column for _ in range(0, len(shown), CARDS_A_ROW) for column in st.columns(CARDS_A_ROW)]
    for column, (setting, each) in zip(cells, shown.items(), strict=False):
        difference = differences.get(setting)
        with column:
            _draw_card(compared, setting, each, measure, difference, _said(setting, each, f"{what}, {measure.which}"))


def _best_of_others(
    setting: Setting, standing: list[tuple[Setting, seeds.Spread]], results: pd.DataFrame, measure: Measure
) -> tuple[Setting, seeds.Spread] | None:
    """The best of the other settings that were measured on the same data."""
    of = of_what(results, setting.runs, measure)
    others = (entry for entry in standing if entry[0] is not setting)
    return next((entry for entry in others if of_what(results, entry[0].runs, measure) == of), None)


def _verdict(
    compared: Comparison,
    ranked: list[tuple[Setting, seeds.Spread]],
    standing: list[tuple[Setting, seeds.Spread]],
    differences: dict[Setting, Difference],
    what: str,
    results: pd.DataFrame,
    measure: Measure,
) -> str:
    if not standing:
        return verdict.without_best([each for _, each in ranked], what)
    first, leads = standing[0]
    of = of_what(results, first.runs, measure)
    level = [
        setting
        for setting, each in standing
        if measure.level(each.mean, leads.mean) and of_what(results, setting.runs, measure) == of
    ]
    said = verdict.sentence(standing[0], differences.get(first), level, what, measure)
    return said + verdict.diverged([setting for setting, _ in ranked if compared.lost(setting)])


def _taken_as_shares(results: pd.DataFrame) -> str:
    """Which runs are read as logging shares where others log percentages: 1 may be all of a run, or a hundredth."""
    percent = results["in_percent"].eq(True)
    shares = results.index[~percent & results["best_accuracy"].notna()]
    if not percent.any() or shares.empty:
        return ""
    named = seeds.listed(list(shares))
    said = f"No accuracy of {named} is above {HIGHEST_SHARE:g}, so it is read as a share of 1"
    return f"{said}; the others are in percent."


def _draw_card(
    compared: Comparison,
    setting: Setting,
    each: seeds.Spread,
    measure: Measure,
    difference: Difference | None,
    says: str,
) -> None:
    """Green and red only where a difference says something."""
    since = [compared.diverged[run] for run in setting.runs if run in compared.diverged]
    with st.container(border=True, height="stretch"):
        st.metric(
            words.plain(setting.short),
            measure.text(each).replace(">", r"\>"),  # which begins a quotation
            difference.text if difference else None,
            delta_color="off" if difference is None or difference.caveat else "normal" if measure.share else "inverse",
            delta_description=(difference.caveat or "against the best other") if difference else None,
            delta_arrow="off",
            help=says,
        )
        if since:
            of = f" ({len(since)} of {len(setting.runs)} runs)" if setting.grouped else ""
            st.markdown(f":red-badge[:material/error: {words.diverged(min(since))}{of}]")


def _said(setting: Setting, each: seeds.Spread, what: str) -> str:
    if not setting.grouped:
        return f"{what} of the run.".capitalize()
    names = ", ".join(map(words.plain, told_apart(setting.runs, 40).values()))
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
        of=queries.about(compared.states.values(), 1, max(state.steps for state in compared.states.values())),
        keep_zoom=compared.by,
    )
    if compared.by == "epoch" and (without := epochs.without(queries.results(), compared.states)):
        st.caption(epochs.left_out(without))
    with st.expander("How to read the curves", icon=":material/help:"):
        st.markdown(GUIDE)
