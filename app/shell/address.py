"""The address says all that a page shows: a link to it shows the same, and a step back takes back the last change.

Each function here makes a widget whose value lives in the address under the widget's key. In a session the widget's own
value counts; the address does where a link or the browser's history has led to the page. Streamlit's own `bind` forgets
the widget of a page when another page is opened.
"""

import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any
from urllib.parse import parse_qs

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.exceptions import ScriptControlException

_PAGE, _KEYS = "address_page", "address_keys"
"""The session's names of the page that it is on, and of the keys that each page has in the address."""

_SAID = "address_said"
"""The session's name of the address as it is. A run gets the browser's, which may be older: what the browser asks for
while an answer is on its way brings the address from before that answer."""

_HISTORY = "history"
"""The session's name of what history.js says: `went`, the last step back within a page, with how many there have been
(`turn`), the `page` and the `address` that it led to, and whether the browser has `seen` the whole answer."""

_history = st.components.v2.component(
    "lambc_history", js=resources.files("app.shell").joinpath("history.js").read_text(encoding="utf-8")
)


def arrive(page: str) -> None:
    """Let the address count where it has just been opened. For the beginning of each run, before any widget.

    page: its path in the address.
    """
    went = _went()
    back = not went["seen"] and went["page"] == page
    known: dict[str, set[str]] = st.session_state.setdefault(_KEYS, {})
    moved = st.session_state.get(_PAGE) != page
    stale = known.get(page, set()) if back else set()
    for key in stale | (set().union(*known.values()) & set(st.query_params) if moved else set()):
        st.session_state.pop(key, None)
    if back:
        st.session_state[_SAID] = _parsed(went["address"])
        st.query_params.from_dict(st.session_state[_SAID])  # an answer that came late has put its own there
    elif moved:
        st.session_state[_SAID] = _in_browser()
    st.session_state[_PAGE] = page


@contextmanager
def one_entry_a_change() -> Iterator[None]:
    """Let the browser's history have one entry for each change of the reader's. Around all that a run draws."""
    with st.sidebar:
        _history(key=_HISTORY, data={"answered": None}, on_went_change=lambda: None)
    try:
        yield
    finally:
        if not isinstance(sys.exception(), ScriptControlException):  # a run that is broken off answers nothing
            _say()
            with st.sidebar:
                _history(key="history_answered", data={"answered": {"turn": turns(), "page": st.session_state[_PAGE]}})


def _went() -> Mapping[str, Any]:
    return (st.session_state.get(_HISTORY) or {}).get("went") or {"turn": 0, "seen": True}


def turns() -> int:
    """How often the reader has gone back or forward in the browser's history."""
    return int(_went()["turn"])


def belongs(*keys: str) -> None:
    """Say that these entries of the session are the page's, and are made anew from the address after a step back."""
    st.session_state[_KEYS].setdefault(st.session_state[_PAGE], set()).update(keys)


def recall(key: str, default: Any, read: Callable[[list[str]], Any] = lambda said: said[-1]) -> Any:
    """The value of a key: the session's, else what `read` makes of the address's words, else the default."""
    belongs(key)
    if key in st.session_state:
        return st.session_state[key]
    said = st.session_state[_SAID].get(key)
    return read(said) if said else default


def hold(key: str, value: Any) -> None:
    """Give the widget `key`, which comes next, its value.

    Only where it has another: a value that is set in each run would take from the reader what was entered meanwhile.
    """
    if key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value


def note(key: str, *values: str) -> None:
    """Put what a key has into the address; without a value the key is left out. It is there when the run has ended."""
    address: dict[str, list[str]] = st.session_state[_SAID]
    if values:
        address[key] = list(values)
    else:
        address.pop(key, None)
    context = get_script_run_ctx()
    if context is not None and context.fragment_ids_this_run:
        _say()


def _say() -> None:
    """Let the browser have the address, all at once: each change of it may be an entry in its history."""
    if _in_browser() != st.session_state[_SAID]:
        st.query_params.from_dict(st.session_state[_SAID])


def _parsed(address: str) -> dict[str, list[str]]:
    """What an address says, but for what Streamlit keeps for itself."""
    said = parse_qs(address, keep_blank_values=True)
    return {key: values for key, values in said.items() if key.lower() not in ("embed", "embed_options")}


def _in_browser() -> dict[str, list[str]]:
    return {key: st.query_params.get_all(key) for key in st.query_params}


def choice(
    make: Callable[..., Any],
    label: str,
    options: Mapping[str, str] | Sequence[str],
    *,
    key: str,
    default: str,
    **how: Any,
) -> str:
    """One of some options, by `make` (as st.selectbox); what is shown of an option is what a mapping has for it."""
    value = recall(key, default)
    value = value if value in options else default
    hold(key, value)
    if isinstance(options, Mapping):
        how["format_func"] = options.__getitem__
    made = make(label, list(options), key=key, persist_state="session", **how)
    chosen = value if made is None else str(made)  # None now and then where another page had a widget of this key
    note(key, chosen)
    return chosen


def several(make: Callable[..., Any], label: str, options: Collection[str], *, key: str, **how: Any) -> list[str]:
    """Some of the options, or none, by `make` (as st.multiselect)."""
    hold(key, [value for value in recall(key, [], list) if value in options][: how.get("max_selections")])
    chosen = [str(value) for value in make(label, list(options), key=key, persist_state="session", **how)]
    note(key, *chosen)
    return chosen


def text(label: str, *, key: str, **how: Any) -> str:
    """A line of text."""
    hold(key, recall(key, ""))
    entered = st.text_input(label, key=key, persist_state="session", **how) or ""
    note(key, *filter(None, [entered]))
    return entered


def number(make: Callable[..., Any], label: str, least: int, most: int, *, key: str, default: int, **how: Any) -> int:
    """A whole number, by `make` (as st.number_input)."""
    value = recall(key, default, lambda said: int(said[-1]) if re.fullmatch(r"\d{1,15}", said[-1]) else default)
    hold(key, min(max(int(value), least), most))
    entered = int(make(label, least, most, key=key, persist_state="session", **how))
    note(key, str(entered))
    return entered


def switch(label: str, *, key: str, default: bool, **how: Any) -> bool:
    """A switch, which the address has as on or off."""
    hold(key, bool(recall(key, default, lambda said: {"on": True, "off": False}.get(said[-1], default))))
    on = st.toggle(label, key=key, persist_state="session", **how)
    note(key, "on" if on else "off")
    return on


def span(label: str, lowest: int, highest: int, *, key: str, **how: Any) -> tuple[int, int]:
    """A slider with two ends, which the address has as 3-17; where it has none it takes in everything."""
    everything, known = (lowest, highest), f"all_{key}"
    belongs(known)
    ends = recall(key, everything, lambda said: read_span(said[-1]) or everything)
    if ends == st.session_state.get(known):  # all that there was then: the run has gone on, or is another
        ends = everything
    st.session_state[known] = everything
    first, last = sorted(min(max(int(end), lowest), highest) for end in ends)
    hold(key, (first, last))
    first, last = st.slider(label, lowest, highest, key=key, format="localized", persist_state="session", **how)
    note(key, *([f"{first}-{last}"] if (first, last) != everything else []))
    return first, last


def read_span(said: str) -> tuple[int, int] | None:
    """The two numbers of 3-17; None where there are none."""
    found = re.fullmatch(r"(\d{1,15})-(\d{1,15})", said)
    return (int(found[1]), int(found[2])) if found else None
