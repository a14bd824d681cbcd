"""What all pages share: navigation, the choice of runs, and the watch on the log."""

from pathlib import Path

import streamlit as st

from app.plotly_view import preload
from app.shell import address, notices, sidebar
from app.shell.pages import PAGES

HERE = Path(__file__).parent

st.set_page_config(page_title="LAMBC", page_icon=str(HERE / "icon.svg"), layout="wide")
st.logo(str(HERE / "logo.svg"), icon_image=str(HERE / "icon.svg"), size="large")
st.html(HERE / "style.css")

page = st.navigation(
    [
        st.Page(PAGES["runs"], title="Runs", url_path="runs", icon=":material/list_alt:", default=True),
        st.Page(PAGES["layers"], title="Layers", url_path="layers", icon=":material/grid_on:"),
        st.Page(PAGES["clipping"], title="Clipping", url_path="clipping", icon=":material/content_cut:"),
        st.Page(PAGES["bounds"], title="Bounds", url_path="bounds", icon=":material/vertical_align_top:"),
        st.Page(PAGES["compare"], title="Compare", url_path="compare", icon=":material/compare_arrows:"),
        st.Page(PAGES["sql"], title="SQL", url_path="sql", icon=":material/database_search:"),
    ]
)
address.arrive(page.url_path)
with st.sidebar:
    choice = st.container()
    preload()  # first of all: the browser is busy with it while the log is asked
with address.one_entry_a_change():
    there = notices.log_is_there()
    with choice:
        if there:
            sidebar.choose_runs()
        sidebar.watch(sidebar.pulse())
    if there:
        st.set_page_config(page_title=f"{page.title} · {sidebar.chosen_in_short()} · LAMBC")
        notices.gone()
        page.run()
        notices.problems()
