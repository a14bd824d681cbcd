"""Runs: is my run healthy?"""

import streamlit as st

from app.shell.selection import selection
from app.views import run_cards, run_table

chosen = selection()
st.header("Runs", anchor=False)
run_cards.draw(chosen)
run_table.draw()
