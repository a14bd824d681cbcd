"""Compare: did clipping help? Accuracy and loss of the chosen runs, and what differs between them."""

import streamlit as st

from app.shell import notices
from app.shell.selection import selection
from app.views import comparison

chosen = selection()
states = chosen.states()
st.header("Compare", anchor=False)
if notices.something_to_draw(chosen, states):
    comparison.draw_numbers(chosen)
    comparison.draw_curves(chosen, states, by=comparison.choose_axis())
    comparison.draw_differences(chosen)
