"""The page Layers, opened from another page: at what was clicked there."""

from collections.abc import Callable, Mapping

import streamlit as st

from app.charts.bands import Stack
from app.charts.layers import family_pattern
from app.layers.choice import PATTERN, RUN, SHOW
from app.layers.heatmap import CHART
from app.layers.one_layer import AT, LAYER
from app.queries import RunState
from app.shell import zoom
from app.shell.pages import PAGES


def open_at(
    cell: dict,
    state: RunState,
    quantity: str,
    stack: Stack,
    shown: tuple[int, int] | None,
    furthest: Callable[[tuple[str, ...], tuple[int, int]], tuple[str, int]],
) -> None:
    """Go there: to the layer and the step of a cell that was clicked, or to the layers of a kind whose label was.

    shown: the steps that both pages show. furthest: the layer and the step that gave a cell its colour, by the layers
    of its row and its first and last step.
    """
    query = {SHOW: quantity}
    if "label" in cell:
        query[PATTERN] = family_pattern(cell["label"].split("\n"))
    elif cell.get("row") is None or not 0 <= cell["row"] < len(stack.rows):
        return  # a mark
    else:
        steps = max(1, round(cell["first"])), min(state.steps, round(cell["last"]))
        layer, step = furthest(stack.rows[cell["row"]].layers, steps)
        query |= {LAYER: layer, AT: str(step)}
    open_page(state, query, shown)


def open_page(state: RunState, query: Mapping[str, str], shown: tuple[int, int] | None) -> None:
    """Go there, with these further words in the address; shown: the steps to show, None for all."""
    st.session_state.pop(CHART, None)  # the zoom of an earlier visit
    st.switch_page(PAGES["layers"], query_params={RUN: state.run} | zoom.in_address(shown) | dict(query))
