"""The names of runs that are shown together, short enough for their place: no two are alike."""

import re
from collections.abc import Iterable, Sequence

from app.charts.short_names import alike, numbered
from app.charts.text import shorten


def told_apart(names: Iterable[str], length: int) -> dict[str, str]:
    """Each name in at most `length` signs; of several that are longer, the words in which they differ stay.

    Where these do not tell names apart, as in another order, they lose their middle; what is alike then is of one kind.
    """
    short = {name: shorten(name, length) for name in names}
    if len(long := [name for name in short if len(name) > length]) > 1:
        told = _by_what_differs(long, length)
        lost = {name for its in alike(told) for name in its}
        short |= {name: label for name, label in told.items() if name not in lost}
    for its in alike(short):
        short |= _by_what_differs(its, length)
    return numbered(short)


def _by_what_differs(names: Sequence[str], length: int) -> dict[str, str]:
    words = {name: re.findall(r"[^\W_]+(?:\.\d+)*|[\W_]", name) for name in names}
    shared = set.intersection(*map(set, words.values()))
    return {name: _without(shared, each, length) for name, each in words.items()}


def _without(shared: set[str], words: list[str], length: int) -> str:
    """The words that not all names have, and of the others the first ones, as many as there is room for."""
    gone = {place for place, word in enumerate(words) if word in shared and word[0].isalnum()}
    for place in sorted(gone):
        if len(_joined(words, gone - {place})) > length:
            break
        gone.remove(place)
    said = _joined(words, gone)
    return shorten("".join(words) if said == "…" else said, length)


def _joined(words: list[str], gone: set[int]) -> str:
    said = "".join("…" if place in gone else word for place, word in enumerate(words))
    return re.sub(r"[\W_]*…[\W_]*", "…", said)
