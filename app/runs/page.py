"""Runs: is my run healthy?"""

import streamlit as st

from app.runs import cards as run_cards
from app.runs import table as run_table
from app.shell import notices
from app.shell.selection import selection

chosen = selection()
st.header("Runs", anchor=False)
with notices.panel():
    run_cards.draw(chosen)
with notices.panel():
    run_table.draw(chosen)
