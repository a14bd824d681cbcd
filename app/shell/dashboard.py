"""What all pages share: navigation, the choice of runs, and the watch on the log."""

from pathlib import Path

import streamlit as st

from app.plotly_view import preload
from app.shell import notices, sidebar

HERE = Path(__file__).parent

# The pages do not lie beside this file: Streamlit would take the folder for pages of its own until navigation has run.
PAGES = HERE.parent / "pages"

st.set_page_config(page_title="LAMBC", page_icon=str(HERE / "icon.svg"), layout="wide")
st.logo(str(HERE / "logo.svg"), icon_image=str(HERE / "icon.svg"), size="large")
st.html(HERE / "style.css")

page = st.navigation(
    [
        st.Page(PAGES / "runs.py", title="Runs", icon=":material/list_alt:", default=True),
        st.Page(PAGES / "layers.py", title="Layers", icon=":material/grid_on:"),
        st.Page(PAGES / "clipping.py", title="Clipping", icon=":material/content_cut:"),
        st.Page(PAGES / "bounds.py", title="Bounds", icon=":material/vertical_align_top:"),
        st.Page(PAGES / "compare.py", title="Compare", icon=":material/compare_arrows:"),
        st.Page(PAGES / "sql.py", title="SQL", icon=":material/database_search:"),
    ]
)
with st.sidebar:
    choice = st.container()
    preload()  # first of all: the browser is busy with it while the log is asked
there = notices.log_is_there()
with choice:
    if there:
        sidebar.choose_runs()
    sidebar.watch(sidebar.pulse())
if there:
    page.run()
    notices.problems()
