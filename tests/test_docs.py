"""What the documentation shows is what the code answers."""

import runpy
from pathlib import Path


def test_the_page_on_sql_has_every_view_and_macro_and_its_real_answer():
    made = runpy.run_path("docs/sql.py")["page"]()
    assert made == Path("docs/sql.md").read_text(encoding="utf-8"), "python docs/sql.py writes it anew"
