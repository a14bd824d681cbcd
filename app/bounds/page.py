"""Bounds: what would another bound have done?"""

import streamlit as st

from app.bounds import many_bounds
from app.bounds import question as bounds_question
from app.bounds import suggestion as bounds
from app.shell import notices
from app.shell.selection import selection

chosen = selection()
states = chosen.states()
st.header("Bounds", anchor=False)
if notices.something_to_draw(chosen, states):
    with notices.panel():
        verdict = st.container(key="verdict")
        with st.container(key="switches"):
            question = bounds_question.ask(states)
        suggested = bounds.suggest(question)
        with verdict:
            bounds.draw_answer(question, suggested, states)
        if suggested is not None:
            with notices.panel():
                bounds.draw_survival(chosen, question, suggested)
            with notices.panel():
                bounds.draw_layers(chosen, question, suggested)
            with notices.panel():
                many_bounds.draw_code(question, suggested)
    bounds.explain()
