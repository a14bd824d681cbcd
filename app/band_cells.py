"""What the pages that draw layers in bands (app.charts.bands) ask of the store."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app import queries
from app.charts.bands import MOST_NAMED, Member, orders
from app.charts.heatmap import Quantity
from app.log import ask
from app.queries import RunState

ROLLED_UP, MOST_ROWS = 64, 5_000_000
"""The steps of a cell of the finest rollup; and up to how many rows are read where cells are finer."""

SHARE_BEHIND = 4
"""Behind a finer picture of some steps, one of all of them has so many times fewer columns."""

MOST_CLICKED = 4096
"""A cell of more steps is looked through more coarsely for the one that gave it its colour."""


def row_cells(
    state: RunState,
    first: int,
    last: int,
    *,
    quantities: Sequence[str],
    row_of: Mapping[str, int],
    columns: int,
    usual: bool = False,
) -> pd.DataFrame:
    """The cells of a heatmap whose rows stand for one or several layers.

    quantities: columns of heatmap_rows or of hit_rate_rows, beside row, step, width, stride (run_stride), rows,
    last_step and not_finite. row_of: the number of each layer's row. columns: how many cells may stand side by side.
    usual: whether ratios are divided by the usual ones of their layers.
    """
    macro = "hit_rate_rows" if "hit_rate" in quantities else "heatmap_rows"
    divided = ""
    parameters: dict[str, Any] = {"layers": list(row_of), "numbers": list(row_of.values())}
    if usual:
        divided = ", usual_of := map($named::VARCHAR[], $usual::DOUBLE[])"
        known = usual_ratios(state)
        known = known[known["usual"] > 0]
        parameters |= {"named": known["layer"].to_list(), "usual": known["usual"].to_list()}
    room = max(1, min(columns, queries.CELLS // max(1, len(set(row_of.values())))))
    return _row_cells(
        state,
        _told(row_of),
        f"""SELECT
            row, step, width, run_stride($run, $first, $last) AS stride, rows, last_step, not_finite,
            {", ".join(quantities)}
        FROM {macro}(
            $run, $first, $last, $columns, map($layers::VARCHAR[], $numbers::INTEGER[]), least_width := $least{divided}
        )""",
        parameters,
        first=first,
        last=last,
        columns=room,
        least=least_width(first, last, room, len(row_of)),
    )


def whole_and_part(
    ask: Callable[..., pd.DataFrame], state: RunState, shown: tuple[int, int] | None, width: int
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The cells of all steps, and where that makes them finer those of the steps that are `shown`, else None.

    ask: row_cells of the run but for steps and columns; width: for how many columns there is room.
    """
    columns = width + 1  # cells begin at multiples of their width, and step 1 at none
    whole = ask(1, state.steps, columns=columns)
    if not shown or whole["width"].max() <= queries.stride(state, *shown):
        return whole, None
    part = ask(*shown, columns=columns)
    return (whole, None) if part.empty else (ask(1, state.steps, columns=width // SHARE_BEHIND), part)


def compared_cells(
    one: RunState, other: RunState, first: int, last: int, *, quantity: str, row_of: Mapping[str, int], columns: int
) -> pd.DataFrame:
    """The cells of two runs beside each other: of compare_rows, of whose quantities it is one."""
    room = max(1, min(columns, queries.CELLS // max(1, len(set(row_of.values())))))
    cells = _compared_cells(
        (one, other),
        _told(row_of),
        {"layers": list(row_of), "numbers": list(row_of.values()), "quantity": quantity},
        quantity,
        first=first,
        last=last,
        columns=room,
        least=least_width(first, last, room, len(row_of)),
    )
    # Where the longer run's last cell goes on after the shorter has ended, they do not stand for the same steps.
    whole = cells["step"].map(cells.groupby("step")["last_step"].max()) <= min(one.steps, other.steps)
    return cells[whole] if whole.any() else cells


def least_width(first: int, last: int, columns: int, layers: int) -> int:
    """How many steps a cell stands for at least: where there are very many rows, those of the finest rollup.

    Cells of fewer steps are made of the rows, of which 100 million take seconds.
    """
    fits = next(width for width in (2**level for level in range(63)) if last // width - first // width < columns)
    return ROLLED_UP if ROLLED_UP // 4 <= fits < ROLLED_UP and layers * (last - first) > MOST_ROWS else 1


def usual_ratios(state: RunState) -> pd.DataFrame:
    """The ratio that each layer of a run has most of the time."""
    return queries.of_run(state, "FROM usual_ratios($run, 1, $last)", last=state.steps)


def members(state: RunState) -> list[Member]:
    """The layers of a run that have rows, in depth order, with their families and blocks."""
    told = queries.of_run(state, "SELECT layer, family, block FROM layers WHERE run = $run").set_index("layer")
    found = told.reindex(queries.layers(state))
    blocks = [None if pd.isna(block) else int(block) for block in found["block"]]
    families = found["family"].where(found["family"].notna(), found.index.to_series())
    return [Member(*each) for each in zip(found.index, families, blocks, strict=True)]


def furthest(state: RunState, quantity: Quantity, layers: tuple[str, ...], steps: tuple[int, int]) -> tuple[str, int]:
    """The layer and the step that gave a cell its colour."""
    row_of = {layer: number for number, layer in enumerate(layers)}
    cells = row_cells(
        state, *steps, quantities=quantity.needs, row_of=row_of, columns=MOST_CLICKED, usual=quantity.kind == "change"
    )
    sizes = quantity.size(quantity.drawn(cells[quantity.low], cells[quantity.high])).fillna(-1)
    return _largest(cells.assign(size=sizes), layers, steps)


def furthest_apart(
    pair: tuple[RunState, RunState], quantity: str, layers: tuple[str, ...], steps: tuple[int, int]
) -> tuple[str, int]:
    """The layer and the step in which two runs lie furthest apart, which gave a cell of both its colour."""
    row_of = {layer: number for number, layer in enumerate(layers)}
    cells = compared_cells(*pair, *steps, quantity=quantity, row_of=row_of, columns=MOST_CLICKED)
    compared = cells[cells["apart"].notna()]
    return _largest(compared.assign(size=compared["apart"].abs(), not_finite=0), layers, steps)


def _largest(cells: pd.DataFrame, layers: tuple[str, ...], steps: tuple[int, int]) -> tuple[str, int]:
    """The layer and the step of the cell of largest size within some steps, of those with most that is not finite."""
    within = cells[(cells["last_step"] >= steps[0]) & (cells["step"] <= steps[1])]
    within = within[within["not_finite"] == within["not_finite"].max()]
    if within.empty:
        return layers[0], steps[0]
    worst = within.iloc[int(within["size"].to_numpy().argmax())]
    return layers[int(worst["row"])], min(int(worst["last_step"]), steps[1])


def drawn_by_family(state: RunState) -> bool:
    """Whether a run has more layers than have room for their names, and families that tell something of them."""
    found = members(state)
    return len(found) > MOST_NAMED and "kind" in orders(found)


def _told(row_of: Mapping[str, int]) -> str:
    """What stands for the layers and their rows in a cache."""
    return hashlib.sha256(repr(row_of).encode(errors="surrogatepass")).hexdigest()


@st.cache_data(max_entries=64, max_size="64MB", show_spinner=False)
def _row_cells(state: RunState, key: str, statement: str, _parameters: dict[str, Any], **steps: int) -> pd.DataFrame:
    """`key` stands for the parameters, which have every layer's name."""
    return ask(statement, run=state.run, **_parameters, **steps)


@st.cache_data(max_entries=16, max_size="64MB", show_spinner=False)
def _compared_cells(
    pair: tuple[RunState, RunState], key: str, _parameters: dict[str, Any], quantity: str, **steps: int
) -> pd.DataFrame:
    return ask(
        """SELECT *, greatest(run_stride($run, $first, $last), run_stride($other, $first, $last)) AS stride
        FROM compare_rows(
            $run, $other, $quantity, $first, $last, $columns, map($layers::VARCHAR[], $numbers::INTEGER[]),
            least_width := $least
        )""",
        run=pair[0].run,
        other=pair[1].run,
        **_parameters,
        **steps,
    )
