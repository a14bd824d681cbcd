"""SQL: the log's own answers to what no other page asks."""

import streamlit as st

from app.shell import notices
from app.shell.selection import selection
from app.sql import answer as sql_answer
from app.sql import editor as sql_editor
from app.sql import schema as sql_schema

chosen = selection()
st.header("SQL", anchor=False)
parts = sql_editor.cast(chosen)
with notices.panel():
    sql_editor.draw_questions(chosen, parts)
left, right = st.columns([5, 3], gap="medium")
with left, notices.panel():
    asked = sql_editor.draw(parts)
with right, notices.panel():
    sql_schema.draw(parts, height=300)
with notices.panel():
    sql_answer.draw(chosen, asked)
with st.expander("How to read this", icon=":material/help:"):
    st.markdown(sql_editor.GUIDE)
