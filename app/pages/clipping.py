"""Clipping: how often each layer is clipped, when, and in which run."""

import streamlit as st

from app.shell import notices
from app.shell.selection import selection
from app.views import hit_rates

chosen = selection()
states = chosen.states()
st.header("Clipping", anchor=False)
if notices.something_to_draw(chosen, states):
    hit_rates.draw_numbers(states)
    hit_rates.draw_over_time(chosen, states)
    hit_rates.draw_by_layer(chosen, states)
    hit_rates.draw_table(chosen, states)
