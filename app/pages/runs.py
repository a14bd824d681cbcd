"""Runs: is my run healthy?"""

import streamlit as st

from app.shell import notices
from app.shell.selection import selection
from app.views import run_cards, run_table

chosen = selection()
st.header("Runs", anchor=False)
with notices.panel():
    run_cards.draw(chosen)
with notices.panel():
    run_table.draw(chosen)
