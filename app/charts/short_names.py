"""The names of layers that are shown together, short enough for their place: no number is lost, no two are alike."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import takewhile

LENGTH = 30
"""Signs that an axis has room for."""

LEAST = 5
"""Signs that are left of a word at least."""


def short_names(names: Sequence[str], length: int = LENGTH) -> list[str]:
    """Each name in about `length` signs: first words from the left are left out, then the middle of the longest words.

    Names that have the same words before their first number lose as many of these, so that they stay in line.
    """
    kept: dict[tuple[str, ...], set[int]] = defaultdict(set)
    known = dict.fromkeys(names)
    every = {name: _words(name, length, known) for name in known}
    while True:
        short = _together(every, kept, length)
        if not _keep_what_differs(short, every, kept):
            return list(map(numbered(short).__getitem__, names))


def common_head(names: Sequence[str], length: int = LENGTH) -> str:
    """What all names begin with, up to a dot; nothing where they are short enough with it."""
    if len(names) < 2 or max(map(len, names)) <= length:
        return ""
    shared = _shared(name.split(".")[:-1] for name in names)
    return "".join(f"{word}." for word in names[0].split(".")[:shared])


def _words(name: str, length: int, names: Collection[str]) -> list[str]:
    """The words of a name; of a long one without the last of most names, which says nothing."""
    stem = name.removesuffix(".weight")
    return (name if len(name) <= length or stem in names else stem).split(".")


def _shared(every: Iterable[list[str]]) -> int:
    """How many words at the beginning all have."""
    return sum(1 for _ in takewhile(lambda words: len(set(words)) == 1, zip(*every, strict=False)))


def _together(every: dict[str, list[str]], kept: dict[tuple[str, ...], set[int]], length: int) -> dict[str, str]:
    """Each name shortened, where the words of `kept` stay."""
    left_out: dict[tuple[str, ...], int] = defaultdict(int)
    for name, words in every.items():
        head = _head(words)
        if len(name) > length:
            left_out[head] = max(left_out[head], _to_leave_out(words, kept[head], length, len(head)))
    return {name: _short(words, kept, left_out, length) for name, words in every.items()}


def _head(words: list[str]) -> tuple[str, ...]:
    """The words before the first number; none where there is no number."""
    return next((tuple(words[:place]) for place, word in enumerate(words) if _counts(word)), ())


def _counts(word: str) -> bool:
    """Whether a word has a number, or the star that stands for one in the name of a family."""
    return re.search(r"[0-9*]", word) is not None


def _short(
    words: list[str], kept: dict[tuple[str, ...], set[int]], left_out: dict[tuple[str, ...], int], length: int
) -> str:
    head = _head(words)
    gone = set(range(left_out[head])) - kept[head]
    for place in range(len(head), len(words) - 1):
        if len(_text(words, gone)) <= length:
            break
        if not _counts(words[place]) and place not in kept[head]:
            gone.add(place)
    return _narrowed(_text(words, gone), length)


def _to_leave_out(words: list[str], kept: set[int], length: int, most: int) -> int:
    """How many of the first `most` words are to be left out for the name to fit."""
    gone: set[int] = set()
    for place in range(most):
        if len(_text(words, gone)) <= length:
            return place
        gone |= {place} - kept
    return most


def _text(words: list[str], gone: set[int]) -> str:
    told = ".".join("…" if place in gone else word for place, word in enumerate(words))
    return re.sub(r"\.?…[.…]*", "…", told) if gone else told


def _narrowed(text: str, length: int) -> str:
    """With the middle of its longest words left out, and all numbers."""
    runs = re.findall(r"[0-9*]+|[^0-9*]+", text)
    while (over := sum(map(len, runs)) - length) > 0:
        words = sorted(
            (place for place, run in enumerate(runs) if not _counts(run)), key=lambda place: -len(runs[place])
        )
        if not words or len(runs[words[0]]) <= LEAST:
            break
        longest, next_one = len(runs[words[0]]), len(runs[words[1]]) if len(words) > 1 else 0
        runs[words[0]] = without_middle(runs[words[0]], max(LEAST, longest - over, min(next_one, longest - 1)))
    return re.sub("…+", "…", "".join(runs))


def without_middle(word: str, length: int) -> str:
    """So many signs of a word that has more."""
    head = (length - 1) // 2
    return f"{word[:head]}…{word[len(word) - (length - 1 - head) :]}"


def alike(short: dict[str, str]) -> list[list[str]]:
    """The names of each label that several have."""
    names: dict[str, list[str]] = defaultdict(list)
    for name, label in short.items():
        names[label].append(name)
    return [its for its in names.values() if len(its) > 1]


def _keep_what_differs(
    short: dict[str, str], every: dict[str, list[str]], kept: dict[tuple[str, ...], set[int]]
) -> bool:
    """Keep, of names that became alike, the first word in which they differ; whether there was one to keep.

    A reader takes …output.dense and output.dense for the same.
    """
    before = sum(map(len, kept.values()))
    for its in alike({name: label.replace("…", ".").lstrip(".") for name, label in short.items()}):
        place = _shared(every[name] for name in its)
        for name in its:
            kept[_head(every[name])].add(place)
    return sum(map(len, kept.values())) > before


def numbered(short: dict[str, str]) -> dict[str, str]:
    """Names that are alike even so are told apart by their number."""
    for its in alike(short):
        for number, name in enumerate(its[1:], start=2):
            short[name] += f" ({number})"
    return short
