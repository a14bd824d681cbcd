"""Clipping: how often the layers of each run are clipped, what was unusual in one, and when which layer is clipped."""

import streamlit as st

from app.clipping import always_clipped as throughout
from app.clipping import events, global_clip, hit_map, hit_rates
from app.shell import notices
from app.shell.selection import selection

chosen = selection()
states = chosen.states()
st.header("Clipping", anchor=False)
if notices.something_to_draw(chosen, states):
    with st.container(key="verdict"), notices.panel():
        throughout.draw(chosen, states)
        global_clip.draw(chosen, states)
        clipped = hit_rates.any_clipped(states)
    run = hit_map.choose_run(states)
    if notices.has_ratios(states[run]):
        with notices.panel():
            events.draw(states[run])
        if clipped:
            with notices.panel():
                hit_map.draw(chosen, states[run])
    if clipped:
        with notices.panel():
            hit_rates.draw_over_time(chosen, states)
        with notices.panel():
            hit_rates.draw_by_layer(chosen, states)
        with notices.panel():
            hit_rates.draw_table(chosen, states)
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(hit_rates.GUIDE)
