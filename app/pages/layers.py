"""Layers: which layers are clipped, and since when."""

import streamlit as st

from app.shell import notices
from app.shell.selection import selection
from app.views import heatmap, layer

chosen = selection()
states = chosen.states()
st.header("Layers", anchor=False)
if notices.something_to_draw(chosen, states):
    run, quantity = heatmap.choose(states)
    heatmap.draw(chosen, states[run], quantity)
    layer.draw(chosen, states[run])
