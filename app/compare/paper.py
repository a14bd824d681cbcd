"""Table 1 and Figures 1 to 3 of the paper, from one's own runs."""

import numpy as np
import pandas as pd
import streamlit as st

from app import queries, words
from app.charts.metric import Metric, as_shares
from app.charts.paper import Curve, accuracy_by_epoch
from app.charts.text import counted
from app.compare import epochs, seeds
from app.compare.experiments import Experiment, experiments
from app.plotly_view import plotly_view
from app.queries import RunState
from app.shell import address
from app.shell.selection import Selection

NEEDS = (
    "Table 1 and Figures 1 to 3 of the paper need runs that logged `test/accuracy` and whose config has `batch_size` "
    "and `clip`: `lambc train --batch-size 1000 --clip 1`, and again with `--clip none`, records two such runs."
)

GUIDE = """
- **Table 1** has the accuracy on the test set by batch size and bound: mean ± sample standard deviation over n seeds,
  the best of each batch size in bold. The best epoch is chosen on the test set itself, so it flatters every run.
- **Figure 1** is one panel for each batch size, **Figure 2** is one batch size with several bounds, and **Figure 3**
  has the accuracy in training too.
- An **experiment** is runs that are the same but for batch size, bound and seed. A seed counts once: the newer run.
"""


def draw(chosen: Selection, states: dict[str, RunState]) -> None:
    """The switches, the table and the figure."""
    st.subheader("As in the paper", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        everything = address.switch(
            "All runs of the log", key="whole_log", default=False, help="Instead of the chosen runs."
        )
        rows = queries.runs() if everything else chosen.runs[chosen.runs["run"].isin(states)]
        measured = queries.results().set_index("run")["best_test_accuracy"].dropna().index
        rows = rows[rows["run"].isin(measured)]
        found = experiments({run["run"]: words.config(run) for _, run in rows.iterrows()})
        if not found:
            st.caption(NEEDS)
            return
        training = address.switch("Accuracy in training", key="training", default=False, help="As Figure 3 has it.")
        which = _choose_result()
        experiment = _choose_experiment(found)
    _draw_table(experiment, which)
    st.caption(_what(experiment, rows, which))
    if without := epochs.without(queries.results(), [run for cell in experiment.cells for run in cell.runs]):
        st.caption(epochs.left_out(without))
    curves = _curves(experiment, everything=everything, states=states, training=training)
    if curves:
        plotly_view(
            accuracy_by_epoch(
                curves,
                bounds=[words.bound_text(clip) for clip in experiment.clips],
                unbounded=words.bound_text(None),
                hues=None if everything else _hues(chosen, experiment),
                theme=chosen.theme,
            ),
            key="paper",
            label="Accuracy by epoch, a panel for each batch size, a line for each bound",
            of=f"experiment {experiment.name}, " + ", ".join(words.bound_text(clip) for clip in experiment.clips),
            keep_zoom=experiment.name,
        )
    with st.expander("How to read the table", icon=":material/help:"):
        st.markdown(GUIDE)


def _hues(chosen: Selection, experiment: Experiment) -> dict[str, int]:
    """Each bound in the hue of the first of its runs, or in the next one that no other bound has."""
    found: dict[str, int] = {}
    for clip in experiment.clips:
        runs = [run for cell in experiment.cells if cell.clip == clip for run in cell.runs]
        own = min((list(chosen.lines).index(run), chosen.lines[run].hue) for run in runs)[1]
        hues = [(own + turn) % len(chosen.theme.runs) for turn in range(len(chosen.theme.runs))]
        found[words.bound_text(clip)] = next((hue for hue in hues if hue not in found.values()), own)
    return found


def _choose_result() -> str:
    return address.choice(
        st.segmented_control,
        "Test accuracy of the",
        {"best": "best epoch", "last": "last epoch"},
        key="result",
        default="best",
        required=True,
    )


def _choose_experiment(found: list[Experiment]) -> Experiment:
    names = [experiment.name for experiment in found]
    if len(names) == 1:
        address.note("experiment")
        return found[0]
    name = address.choice(st.selectbox, "Experiment", names, key="experiment", default=names[0])
    return next(experiment for experiment in found if experiment.name == name)


def _draw_table(experiment: Experiment, which: str) -> None:
    """A column a batch size, a row a bound."""
    results = queries.results().set_index("run")[f"{which}_test_accuracy"]
    spreads = {
        (cell.batch_size, cell.clip): seeds.spread([results.get(run) for run in cell.runs]) for cell in experiment.cells
    }
    best = {
        size: max((each.mean for (batch_size, _), each in spreads.items() if batch_size == size and each.n), default=0)
        for size in experiment.batch_sizes
    }
    rows = {
        words.plain(words.bound_text(clip)): {
            f"{size:,}": _cell(spreads.get((size, clip)), best[size], alone=len(experiment.clips) == 1)
            for size in experiment.batch_sizes
        }
        for clip in experiment.clips
    }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("Batch size")
    st.table(table, border="horizontal", width="content")


def _cell(each: seeds.Spread | None, best: float, *, alone: bool) -> str:
    if each is None or not each.n:
        return "—"
    mean = f"{100 * each.mean:.2f}"
    mean = f"**{mean}**" if each.mean == best and not alone else mean
    return mean if each.n == 1 else f"{mean} ± {100 * each.std:.2f} :small[:gray[n = {each.n}]]"


def _what(experiment: Experiment, rows: pd.DataFrame, which: str) -> str:
    """What the table shows, and what it does not."""
    said = [f"Test accuracy in percent, {which} epoch of each run; mean ± standard deviation where there are seeds."]
    if len(experiment.clips) == 1:
        said.append("All of these runs have one bound: a run with another one gives the comparison.")
    those = {run for cell in experiment.cells for run in cell.runs}
    status = rows["status"][rows["run"].isin(those)]
    if going := int((status == "running").sum()):
        said.append(f"{going} of {counted(len(those), 'run')} {'is' if going == 1 else 'are'} still training.")
    if early := int((~status.isin(["running", "finished"])).sum()):
        said.append(f"{early} of {counted(len(those), 'run')} did not finish.")
    if experiment.left_out:
        count = len(experiment.left_out)
        said.append(f"{count} {'run is' if count == 1 else 'runs are'} left out: a newer one has the same config.")
    return " ".join(said)


def _curves(experiment: Experiment, *, everything: bool, states: dict[str, RunState], training: bool) -> list[Curve]:
    log = queries.accuracy_epochs() if everything else None
    curves = []
    for cell in experiment.cells:
        without = epochs.without(queries.results(), cell.runs)
        runs = [run for run in cell.runs if run not in without]
        for split in ("test", "train") if training else ("test",):
            metric = Metric(f"{split}/accuracy", split, "accuracy", "share")
            if log is None:
                of_seeds = [queries.metric_epochs(states[run], metric.name) for run in runs]
            else:
                named = log[["run", "epoch", f"{split}_accuracy"]].set_axis(["run", "epoch", "value"], axis=1)
                of_seeds = [named[named["run"] == run] for run in runs]
            shares = [as_shares(metric, each.astype({"value": np.float64})) for each in of_seeds]
            rows = seeds.mean_curve(shares, by="epoch") if shares else pd.DataFrame()
            if len(rows):
                bound = words.bound_text(cell.clip)
                curves.append(Curve(cell.batch_size, bound, split == "train", len(runs), rows))
    return curves
