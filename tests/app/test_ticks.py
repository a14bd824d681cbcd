"""What a tick in the table of runs means while the rows move under it."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from streamlit.testing.v1 import AppTest

from app.runs import table
from app.runs.ticks import LATE, Drawn, meant, remember, ticked
from app.shell.selection import RUNS


def rows(*names: str, ticked: tuple[int, ...] = (), at: float = 0.0) -> Drawn:
    return Drawn(names, frozenset(ticked), (), at)


def runs_ticked(orders: Sequence[Drawn], places: set[int], now: float) -> list[str]:
    return meant(orders, places, now)[0].at_places(sorted(places))


def report(orders: Sequence[Drawn], places: set[int], now: float) -> tuple[set[str], list[Drawn]]:
    """The runs that are ticked after a report, and what is remembered, as the table does it; all runs are in rows."""
    drawn, orders = meant(orders, places, now)
    runs = set(drawn.at_places(places))
    return runs, ticked(orders, drawn, runs)


def test_a_tick_right_after_a_run_began_may_be_of_the_rows_before():
    orders = remember(
        [rows("second", "first", ticked=(0, 1))], rows("third", "second", "first", ticked=(1, 2), at=10.0)
    )
    assert runs_ticked(orders, {0}, now=10.0 + LATE / 2) == ["second"]


def test_later_it_is_of_the_rows_that_are_there_however_often_they_were_drawn_since():
    orders = remember([rows("second", "first", ticked=(0,))], rows("third", "second", "first", ticked=(0, 1), at=10.0))
    assert runs_ticked(orders, {0}, now=10.5) == ["second"]  # what the browser reports again of the rows before
    for at in range(11, 20):
        orders = remember(orders, rows("third", "second", "first", ticked=(0, 1), at=float(at)))
    assert runs_ticked(orders, {0}, now=19.5) == ["third"]


def test_a_tick_counts_at_once_also_where_the_page_is_cut_off_before_it_draws_the_table(monkeypatch):
    def page() -> None:
        import streamlit as st

        from app.runs import table
        from app.runs.ticks import Drawn

        st.session_state[table.DRAWN] = [Drawn(("second", "first"), frozenset({0, 1}), (), 0.0)]
        st.session_state[table.TABLE] = {"selection": {"rows": [0], "columns": [], "cells": []}}
        table._choose()

    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # where Streamlit puts its script
    done = AppTest.from_function(page).run(timeout=600)
    assert not done.exception
    assert done.session_state[RUNS] == ["second"]
    orders = remember(done.session_state[table.DRAWN], rows("third", "second", "first", ticked=(1,), at=1.0))
    assert runs_ticked(orders, {0, 1}, now=1.5) == ["third", "second"]


def test_a_tick_that_only_the_newest_rows_explain_is_the_end_of_those_before():
    orders = remember([rows("b", "a", ticked=(0,))], rows("c", "b", "a", ticked=(1,), at=10.0))
    runs, orders = report(orders, {1, 2}, now=10.5)
    assert runs == {"a", "b"}
    runs, orders = report(remember(orders, rows("c", "b", "a", ticked=(1, 2), at=10.6)), {0, 1, 2}, now=11.0)
    assert runs == {"a", "b", "c"}
    runs, _ = report(remember(orders, rows("c", "b", "a", ticked=(0, 1, 2), at=11.1)), {0, 1}, now=11.5)
    assert runs == {"b", "c"}


def test_a_run_that_a_search_left_is_unticked_and_ticked_again_at_once():
    orders = remember([rows("b", "a", ticked=(0, 1))], rows("a", ticked=(0,), at=10.0))
    drawn, orders = meant(orders, set(), now=10.5)
    assert drawn.names == ("a",)
    orders = ticked(orders, drawn, {"b"})  # what is searched away stays ticked
    assert runs_ticked(remember(orders, rows("a", at=10.6)), {0}, now=11.0) == ["a"]


def test_where_two_orders_explain_a_tick_as_well_it_is_of_the_one_of_the_last_tick():
    orders = remember([rows("b", "a", ticked=(0, 1))], rows("c", "b", "a", ticked=(1, 2), at=10.0))
    runs, orders = report(orders, {0}, now=10.5)  # a is unticked where the browser does not know of c
    assert runs == {"b"}
    runs, orders = report(remember(orders, rows("c", "b", "a", ticked=(1,), at=10.6)), {0, 1}, now=11.0)
    assert runs == {"a", "b"}


def test_what_is_said_again_of_the_rows_before_is_no_tick_of_theirs():
    orders = remember([rows("b", "a", ticked=(0,))], rows("c", "b", "a", ticked=(1,), at=10.0))
    runs, orders = report(orders, {0}, now=10.2)
    assert runs == {"b"}
    runs, _ = report(remember(orders, rows("c", "b", "a", ticked=(1,), at=10.3)), {0, 1}, now=11.0)
    assert runs == {"b", "c"}


def test_a_tick_of_a_place_that_only_the_rows_before_had_is_of_them():
    orders = remember([rows("c", "b", "a", ticked=())], rows("a", at=10.0))
    assert runs_ticked(orders, {1}, now=10.5) == ["b"]


def test_a_table_that_is_drawn_anew_has_no_rows_from_before(open_page: Callable[..., AppTest], log: Path):
    page = open_page("runs", log)
    page.session_state[table.DRAWN] = [rows("second", "first")]
    del page.session_state[table.TABLE]  # as Streamlit does where another page was open meanwhile
    (drawn,) = page.run().session_state[table.DRAWN]
    assert "second" not in drawn.names


def test_rows_that_come_back_are_new_again():
    first, other = rows("a", "b", ticked=(0,)), rows("b", "a", ticked=(1,), at=10.0)
    orders = remember(remember([first], other), rows("a", "b", ticked=(0,), at=20.0))
    assert [order.names for order in orders] == [("a", "b"), ("b", "a")]
    assert orders[0].at == 20.0


def test_a_place_below_the_rows_is_none():
    assert rows("a", "b").at_places([1, 2]) == ["b"]
