"""What the page Layers asks of the store, beside what other pages ask, too."""

import pandas as pd

from app import queries
from app.queries import RunState


def has_gradients(state: RunState) -> bool:
    """Whether the norms of the gradients of any layer were recorded."""
    asked = "SELECT count(grad_norm_max) AS layers FROM log.cells_shown($run, 1, $last, 1, 1)"
    return bool(queries.of_run(state, asked, last=state.steps)["layers"].iloc[0])


def layers_at(state: RunState, step: int) -> pd.DataFrame:
    """A row a layer of a run at one step, and what it was at the step that was recorded before."""
    return queries.of_run(state, "FROM layers_at($run, $step) ORDER BY position NULLS LAST, layer", step=step)


def recorded_at(state: RunState, step: int) -> int | None:
    """The last step up to `step` that has rows; None if there is none."""
    asked = "SELECT max(step) AS step FROM log.run_rows('trust_ratios', $run) WHERE step BETWEEN $first AND $last"
    near = step - 64 * queries.stride(state, step, step)
    for first in (near, 1):  # all rows up to the step are looked through only where the log has a gap
        found = queries.of_run(state, asked, first=first, last=step)["step"].iloc[0]
        if pd.notna(found):
            return int(found)
    return None


def resumed_at(state: RunState) -> list[int]:
    """The first steps of a run's attempts but the first."""
    asked = queries.of_run(
        state, "SELECT first_step FROM attempts WHERE run = $run AND attempt > 1 AND first_step IS NOT NULL ORDER BY 1"
    )
    return [int(step) for step in asked["first_step"]]


def ratio_envelope(state: RunState, layer: str, first: int, last: int) -> pd.DataFrame:
    """One layer's ratio before and after clipping, its bounds and its norms."""
    return queries.of_run(
        state,
        "FROM ratio_envelope($run, $layer, $first, $last, $columns) ORDER BY step",
        layer=layer,
        first=first,
        last=last,
        columns=queries.COLUMNS,
    )


def ratio_histogram(state: RunState, layer: str, first: int, last: int) -> pd.DataFrame:
    """How the ratios of a layer are distributed over some steps."""
    return queries.of_run(
        state,
        "FROM ratio_histogram($run, $first, $last) WHERE layer = $layer ORDER BY above",
        layer=layer,
        first=first,
        last=last,
    )
