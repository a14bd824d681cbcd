"""Layers: which layers are clipped, and since when."""

import streamlit as st

from app.charts.text import label_margin
from app.layers import heatmap
from app.layers import one_layer as layer
from app.shell import notices, zoom
from app.shell.selection import selection

chosen = selection()
states = chosen.states()
st.header("Layers", anchor=False)
if notices.something_to_draw(chosen, states):
    run, quantity = heatmap.choose(states)
    if notices.has_ratios(states[run]):
        layers = heatmap.choose_layers(states[run])
        shown = zoom.shown_steps(heatmap.CHART, states[run].steps)
        if layers:
            with notices.panel():
                heatmap.draw(chosen, states[run], quantity, layers, shown)
        with notices.panel():
            layer.draw(chosen, states[run], shown, left=label_margin(layers))
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(heatmap.GUIDE)
