"""What the pages ask of the store, answered once for each state of the log."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from app import words
from app.charts.layers import Side, layer_kind
from app.charts.metric import Metric, in_order
from app.log import ask, log_version
from app.results import Results
from app.standings import Standing, Standings

CELLS = 200_000
"""The most cells of a picture. The browser draws 300,000 in its stride."""

COLUMNS = 1000
"""More columns than this, and a cell is narrower than a pixel."""

POINTS = 500
"""Parts of a curve of which each keeps four points: more than a chart has pixels."""


@dataclass(frozen=True)
class RunState:
    """A run as far as the log has it: answers about it hold until this changes."""

    run: str
    steps: int
    version: str


def runs() -> pd.DataFrame:
    """All runs in the order in which they started, with their status of this moment."""
    return standing().runs


def standing() -> Standing:
    """The same rows, with the version of the log that has them."""
    return _standings().of(log_version(), lambda: ask("FROM runs ORDER BY started NULLS LAST, run"))


def problems() -> pd.DataFrame:
    """Files that were left out, and why."""
    return _of_log(log_version(), "FROM problems ORDER BY file")


def run_state(row: pd.Series) -> RunState:
    """What answers about a run depend on: its own files, and no other run's news."""
    return RunState(row["run"], int(row["steps"]) if pd.notna(row["steps"]) else 0, str(row["version"]))


def about(states: Iterable[RunState], first: int, last: int) -> str:
    """Whose a picture is: runs with their bounds, and steps."""
    rows = {row["run"]: row for _, row in runs().iterrows()}
    named = ", ".join(f"{state.run} ({words.bound(config(rows[state.run]))})" for state in states)
    return f"{named}, steps {first:,} to {last:,}"


def results() -> pd.DataFrame:
    """A row a run: accuracies on the test set, the last loss, how often it was clipped."""
    return _results(log_version()).copy(deep=False)


def accuracy_epochs() -> pd.DataFrame:
    """A row an epoch of each run of the log: accuracy on the test set and in training."""
    return _of_log(log_version(), "FROM accuracy_epochs ORDER BY run, epoch")


def layers(state: RunState) -> list[str]:
    """The layers of a run that have rows, in depth order."""
    return list(hit_rates(state)["layer"])


def bound(state: RunState, side: Side, steps: tuple[int, int] | None = None) -> float | None:
    """The upper or the lower bound that more than half of a run's adapted layers have; None if they have none.

    steps: between which it is their bound; that of the run's last step, if not said.
    """
    found = own_bounds(state, side, steps)[hit_rates(state, steps).set_index("layer")["adapted"] > 0]
    counts = found[(found > 0) & (found < float("inf"))].value_counts()
    return float(counts.index[0]) if len(counts) and counts.iloc[0] > len(found) / 2 else None


def config(run: pd.Series) -> dict[str, Any]:
    """A run's config; one that does not note `clip` has it from the run's rows, so far as they have one that stays."""
    options, state = words.config(run), run_state(run)
    return options if "clip" in options or not state.steps else options | _recorded_clip(state)


@st.cache_data(max_entries=512, show_spinner=False)  # asked for by every chart of a run
def _recorded_clip(state: RunState) -> dict[str, Any]:
    """As `clip` of a config, what bound a run's adapted layers had; nothing where none is adapted."""
    adapted = hit_rates(state).set_index("layer")["adapted"] > 0
    upper, lower = (own_bounds(state, side, (1, state.steps))[adapted] for side in ("upper", "lower"))
    pairs = {
        tuple(float(str(bound)) for bound in pair) for pair in zip(lower.to_numpy(), upper.to_numpy(), strict=True)
    }
    if not pairs:
        return {}
    if upper.isna().any() or lower.isna().any():
        return {"clip": words.UnlikeBound("moving", state.run)}
    if len(pairs) > 1:
        return {"clip": words.UnlikeBound("by layer", f"{list(zip(upper.index, lower, upper, strict=True))}")}
    low, high = pairs.pop()
    return {"clip": [low, high] if low else high if high < float("inf") else None}


def own_bounds(state: RunState, side: Side, steps: tuple[int, int] | None = None) -> pd.Series:
    """The bound of each layer; NaN where it is not the same at the first, the middle and the last step: it moves."""
    found = hit_rates(state, steps).set_index("layer")[side]
    if steps is None:
        return found
    for end in (steps[0], sum(steps) // 2):
        before = hit_rates(state, (steps[0], end)).set_index("layer")[side].reindex(found.index)
        found = found.where(before.isna() | (before == found))
    return found


def kinds(state: RunState) -> dict[str, str]:
    """What each layer of a run is: its kind, by its name, in depth order."""
    rates = hit_rates(state)
    return {layer: layer_kind(layer, shape) for layer, shape in zip(rates["layer"], rates["shape"], strict=True)}


def first_step(state: RunState) -> int:
    """The step at which a run begins, by its attempts; 1 where they do not say."""
    asked = of_run(state, "SELECT coalesce(min(first_step), 1) AS step FROM attempts WHERE run = $run")
    return int(asked["step"].iloc[0])


def stride(state: RunState, first: int, last: int) -> int:
    """How many steps lie from one recorded step to the next, at most, in a part of a run's steps."""
    asked = of_run(state, "SELECT run_stride($run, $first, $last) AS stride", first=first, last=last)
    return int(asked["stride"].iloc[0])


def most_recorded(state: RunState) -> tuple[int, int, float] | None:
    """The steps of one stride that have most of a run's rows, from the first to the last, and their share of all rows.

    None where no resume changed the stride: then each step counts as much as any other.
    """
    found = of_run(state, "SELECT unnest(getvariable('strides_by_run')[$run], recursive := true)")
    if len(found) < 2:
        return None
    spans = list(zip(found["first_step"].clip(lower=1), found["last_step"].clip(upper=state.steps), strict=True))
    rows = [rows_between(state, int(first), int(last)) for first, last in spans]
    first, last = spans[rows.index(max(rows))]
    return int(first), int(last), max(rows) / max(1, sum(rows))


def rows_between(state: RunState, first: int, last: int) -> int:
    """How many layer-steps of a run are in the log from one step to another."""
    asked = of_run(
        state,
        "SELECT coalesce(sum(rows), 0)::BIGINT AS rows FROM hit_rate_by_layer($run, $first, $last)",
        first=first,
        last=last,
    )
    return int(asked["rows"].iloc[0])


def suggested_bounds(
    state: RunState, first: int, last: int, share: float, groups: dict[str, str], side: Side
) -> pd.DataFrame:
    """The upper or lower bounds that clip at most a share of some steps: of all layers, of a group, of a layer.

    groups: what group a layer is in, by its name.
    """
    return of_run(
        state,
        """FROM suggested_bounds(
            $run, $first, $last, $share, map($layers::VARCHAR[], $groups::VARCHAR[]), side := $side
        )""",
        first=first,
        last=last,
        share=share,
        layers=list(groups),
        groups=list(groups.values()),
        side=side,
    )


def ratio_survival(state: RunState, first: int, last: int) -> pd.DataFrame:
    """In how many of some steps each layer's ratio was above any bound."""
    return of_run(state, "FROM ratio_survival($run, $first, $last) ORDER BY layer, bound", first=first, last=last)


def ratio_quantiles(state: RunState, first: int, last: int) -> pd.DataFrame:
    """Quantiles of each layer's ratio over some steps."""
    return of_run(state, "FROM ratio_quantiles($run, $first, $last)", first=first, last=last)


def epoch_steps(state: RunState) -> pd.DataFrame:
    """The first and last step of each epoch, by its metrics; none of a run without epochs, which has 0 in all rows."""
    found = of_run(state, "FROM epoch_steps($run) ORDER BY epoch")
    return found if (found["epoch"] > 0).any() else found.head(0)


def metrics(state: RunState) -> dict[str, Metric]:
    """What a run logged, by name, those first that everybody looks at."""
    rows = _metric_names(state)[list(Metric.__dataclass_fields__)].astype(object)
    rows = rows.where(rows.notna(), None)
    return {metric.name: metric for metric in in_order(Metric(*row) for row in rows.itertuples(index=False))}


def last_step_of(state: RunState, name: str) -> int:
    """The last step at which a metric has a value; 0 if it has none."""
    rows = _metric_names(state)
    return int(rows["last_step"][rows["name"] == name].max()) if (rows["name"] == name).any() else 0


def metric_curve(
    state: RunState, name: str, columns: int = POINTS, shown: tuple[int, int] | None = None
) -> pd.DataFrame:
    """One metric by step; between the steps that are `shown`, if these are not all, as fine as all of them."""
    curve = partial(
        of_run,
        state,
        "FROM metric_curve($run, $name, $first, $last, $columns) ORDER BY step",
        name=name,
        columns=columns,
    )
    whole = curve(first=0, last=last_step_of(state, name))
    if shown is None:
        return whole
    first, last = shown
    part = curve(first=first, last=last)
    return pd.concat([whole[whole["step"] < first], part, whole[whole["step"] > last]])


def metric_cells(state: RunState, name: str, last: int, columns: int = POINTS) -> pd.DataFrame:
    """One metric in cells of steps, which are those of every run that is asked for the same `last` step."""
    return of_run(
        state,
        "FROM metric_cells($run, $name, 0, $last, $columns) ORDER BY step",
        name=name,
        last=last,
        columns=columns,
    )


def metric_epochs(state: RunState, name: str) -> pd.DataFrame:
    """One metric by epoch."""
    return of_run(state, "FROM metric_epochs($run, $name) ORDER BY epoch", name=name)


def hit_rates(state: RunState, steps: tuple[int, int] | None = None) -> pd.DataFrame:
    """How often each layer was clipped, in depth order; between two steps, or in all."""
    first, last = steps or (1, state.steps)
    return of_run(
        state,
        """FROM hit_rate_by_layer($run, $first, $last) ORDER BY "position" NULLS LAST, layer""",
        first=first,
        last=last,
    )


def not_adapted(rates: pd.DataFrame) -> pd.Series:
    """Which layers, of those of `hit_rates`, are not adapted. One whose norms are never finite is no such layer."""
    return (rates["adapted"] == 0) & (rates["lower"] == 1) & (rates["upper"] == 1)


def hit_rate(state: RunState) -> float | None:
    """The share of all layers' steps in which a run was clipped; None if none could be."""
    rates = hit_rates(state)
    adapted = int(rates["adapted"].sum())
    return float(rates[["upper_hits", "lower_hits"]].to_numpy().sum()) / adapted if adapted else None


def clipped_throughout(state: RunState) -> pd.DataFrame:
    """The layers of a run that were clipped in all of their steps, or in none."""
    return of_run(
        state,
        """FROM clipped_throughout($run, 1, $last) ORDER BY "position" NULLS LAST, layer""",
        last=state.steps,
    )


def hit_rates_over_time(state: RunState, last: int | None = None, least_width: int = 1) -> pd.DataFrame:
    """How often the layers of a run were clipped, as it went on.

    last: the step up to which there are cells; least_width: their least width. Runs that are asked for the same, which
    is no less than their strides, have the same cells.
    """
    return of_run(
        state,
        "FROM hit_rate_over_time($run, 1, $last, 200, least_width := $least_width) ORDER BY step",
        last=last or state.steps,
        least_width=least_width,
    )


def columns() -> pd.DataFrame:
    """A row a column of the log's views: table_name, column_name, data_type."""
    return _of_store("FROM duckdb_columns() WHERE NOT internal AND schema_name = 'main' ORDER BY column_index")


def macros() -> pd.DataFrame:
    """A row a macro of the log: function_name, parameters, and as function_type 'table_macro' or 'macro'."""
    return _of_store("FROM duckdb_functions() WHERE NOT internal AND schema_name = 'main' ORDER BY function_name")


@st.cache_resource(show_spinner=False)
def _standings() -> Standings:
    return Standings()


@st.cache_resource(max_entries=2, show_spinner=False)  # cache_data would copy it for each who asks
def _results(version: str) -> pd.DataFrame:
    return _known_results().of(runs(), ask)


@st.cache_resource(show_spinner=False)
def _known_results() -> Results:
    return Results()


@st.cache_data(max_entries=2, show_spinner=False)
def _of_store(statement: str) -> pd.DataFrame:
    """What is the same whatever the log holds."""
    return ask(statement)


@st.cache_data(max_entries=8, show_spinner=False)
def _of_log(version: str, statement: str) -> pd.DataFrame:
    return ask(statement)


@st.cache_data(max_entries=512, max_size="64MB", show_spinner=False)
def of_run(state: RunState, statement: str, **parameters: Any) -> pd.DataFrame:
    """The rows of a statement about a run, whose name it has as $run."""
    return ask(statement, run=state.run, **parameters)


def _metric_names(state: RunState) -> pd.DataFrame:
    return of_run(state, "FROM log.metric_names([$run])")
