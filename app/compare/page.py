"""Compare: did clipping help? The chosen runs over each other, mean and deviation over seeds, and layer by layer."""

import streamlit as st

from app.compare import comparison, difference, paper
from app.compare import tables as comparison_tables
from app.shell import notices
from app.shell.selection import selection

chosen = selection()
states = chosen.states()
st.header("Compare", anchor=False)
if notices.something_to_draw(chosen, states):
    verdict = st.container(key="verdict")
    with st.container(key="switches"):
        compared = comparison.choose(chosen, states)
    with verdict, notices.panel():
        comparison.draw_numbers(compared)
    with notices.panel():
        comparison.draw_curves(compared)
    with notices.panel():
        comparison_tables.draw_results(compared)
    with notices.panel():
        comparison_tables.draw_differences(chosen)
    with notices.panel():
        difference.draw(chosen, compared.states)
    with notices.panel():
        paper.draw(chosen, compared.states)
