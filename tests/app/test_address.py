"""The address of a page, beside what a browser says of it."""

from pathlib import Path

import pytest

from tests.app.conftest import Page

SCRIPT = """
import streamlit as st
from app.shell import address

address.arrive("SQL")
with address.one_entry_a_change():
    if not st.session_state.setdefault("asked", False):
        address.note("sql", "the new query")
        st.session_state["asked"] = True
    else:  # as a part of the page does that runs alone
        address.note("sql-draw", "lines")
"""


def test_a_browser_that_has_yet_to_hear_of_a_change_does_not_take_it_back(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    page = Page(str(script), default_timeout=600)
    page.query_params["sql"] = "the query before"
    page.run()
    assert page.query_params == {"sql": "the new query"}
    page.query_params["sql"] = "the query before"
    page.run()
    assert page.query_params == {"sql": "the new query", "sql-draw": "lines"}


UNANSWERED = """
import streamlit as st
from app.shell import address

address.arrive("Layers")
with address.one_entry_a_change():
    st.write(address.choice(lambda *_, **__: None, "Order", ["depth", "kind"], key="order", default="kind"))
"""


@pytest.mark.parametrize("order", ["kind", "depth"])
def test_a_widget_without_an_answer_has_the_choice_that_holds(tmp_path: Path, order: str):
    script = tmp_path / "script.py"
    script.write_text(UNANSWERED)
    page = Page(str(script), default_timeout=600)
    page.query_params["order"] = order
    page.run()
    assert page.markdown[0].value == order
    assert page.query_params == {"order": order}
