"""The address: a page's switches stand in it, so that a link shows what its sender saw."""

from collections.abc import Collection

import streamlit as st


def recall(key: str, options: Collection[str], default: str) -> None:
    """Give the widget `key`, which comes next, its value in this session, or else the address's.

    Streamlit's own `bind` forgets the widget of a page when another page is opened.
    """
    value = st.session_state.get(key, st.query_params.get(key))
    st.session_state[key] = value if value in options else default


def recall_text(key: str) -> None:
    """The same for a widget that takes any text."""
    st.session_state[key] = st.session_state.get(key, st.query_params.get(key, ""))


def recall_several(key: str, options: Collection[str]) -> None:
    """The same for a widget that takes several of its options; the address has them with commas between."""
    named = st.session_state.get(key, st.query_params.get(key, "").split(","))
    st.session_state[key] = [value for value in named if value in options]


def recall_switch(key: str, default: bool) -> None:
    """The same for a switch that is on or off."""
    named = {"on": True, "off": False}.get(st.query_params.get(key, ""), default)
    st.session_state[key] = bool(st.session_state.get(key, named))


def note_switch(key: str, value: bool, default: bool) -> None:
    """Put it into the address."""
    note(key, "on" if value else "off", "on" if default else "off")


def note(key: str, value: str | None, default: str | None = None) -> None:
    """Put a value into the address; a default is left out."""
    if value is None or value == default:
        st.query_params.pop(key, None)
    elif st.query_params.get(key) != value:
        st.query_params[key] = value
