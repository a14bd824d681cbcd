"""The pages of the dashboard: a folder each."""

from pathlib import Path

_APP = Path(__file__).parent.parent

PAGES = {name: _APP / name / "page.py" for name in ("runs", "layers", "clipping", "bounds", "compare", "sql")}
"""The script of each page, by its address."""
