"""The address of a page, beside what a browser says of it."""

from pathlib import Path

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
