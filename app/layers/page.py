"""Layers: which layers are clipped, and since when."""

import streamlit as st

from app.charts.band_map import left_margin
from app.charts.bands import stack
from app.layers import choice, heatmap
from app.layers import one_layer as layer
from app.shell import notices, zoom
from app.shell.selection import selection

chosen = selection()
states = chosen.states()
title, beside = st.columns([4, 1], vertical_alignment="bottom")
title.header("Layers", anchor=False)
if notices.something_to_draw(chosen, states):
    with beside:
        run = choice.choose_run(states)
    quantity = choice.choose_quantity(states[run])  # as wide as the page: a column cuts off the last
    if notices.has_ratios(states[run]):
        members, order, along_epochs = choice.choose_layers(states[run])
        shown = zoom.shown_steps(heatmap.CHART, states[run].steps)
        margin = 76
        if members:
            with notices.panel():
                rows = stack(members, order)
                margin = left_margin(rows)
                heatmap.draw(chosen, states[run], quantity, rows, shown, along_epochs=along_epochs)
        with notices.panel():
            layer.draw(chosen, states[run], shown, left=margin)
        with notices.panel():
            heatmap.look_for_events(states[run])
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(heatmap.GUIDE)
