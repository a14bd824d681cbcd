"""Escapes text from a log for a terminal, so that a layer's name cannot move the cursor."""

import re

_HIDDEN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""Control characters but tab and newline, and what turns the direction of the text that follows."""


def visible(text: str) -> str:
    """The text with control characters and bidirectional overrides as `\\x1b`."""
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def all_visible(text: str) -> bool:
    """Whether a line holds nothing that a terminal would obey and not show."""
    return not _HIDDEN.search(text) and not re.search(r"[\t\n]", text)
