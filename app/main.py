"""Serves the dashboard: the pages, and Plotly's own file beside them. Start it with `streamlit run app/main.py`."""

import streamlit as st
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from app.plotly_view import PLOTLY_ADDRESS, PLOTLY_FOLDER
from app.shell import notices

app = st.App(
    "shell/dashboard.py",
    routes=[Mount(PLOTLY_ADDRESS, StaticFiles(directory=PLOTLY_FOLDER))],
    on_script_error=notices.trouble,
)
