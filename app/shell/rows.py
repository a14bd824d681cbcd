"""What the pages that draw layers in rows share: the order of the rows, and what a row and a cell stand for."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from app import words
from app.charts.bands import Member, Order, Stack, orders
from app.charts.cells import one_step_each
from app.charts.text import counted
from app.shell import address


def choose_order(members: Sequence[Member]) -> Order:
    """In depth order, or by kind: by the families of layers, where there are some."""
    offered = orders(members)
    if len(offered) == 1:
        return offered[0]
    order = address.choice(
        st.segmented_control,
        "Order",
        sorted(offered),
        key="order",
        default=offered[0],
        required=True,
        help="`depth`: from the network's input to its output. `kind`: the layers of one role under each other.",
    )
    return next(each for each in offered if each == order)


def rows_sentence(stack: Stack, what: str) -> str:
    """What a row stands for, where some have several layers. what: which of its layers one sees in it."""
    if not stack.merged:
        return ""
    most = max(stack.rows, key=lambda row: len(row.layers))
    band = next(band for band in stack.bands if most in band.rows)
    of = f" of {words.plain(band.label)}" if band.label else ""
    counts = f"{counted(len(stack.row_of), 'layer')} → {counted(len(stack.rows), 'row')}"
    return f"{counts}: a row{of} is {what} of its {len(most.layers)} tensors."


def cells_sentence(cells: pd.DataFrame) -> str:
    """How many steps a cell stands for."""
    width = int(cells["width"].iloc[0])
    if one_step_each(cells):
        return f"one of every {width:,} steps was recorded; each is a cell"
    return "a cell a step" if width == 1 else f"a cell for {width:,} steps"
