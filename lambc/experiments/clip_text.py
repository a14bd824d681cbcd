"""How a bound on the trust ratios is spelled: on the command line, in run.json and in a run's name. Needs no torch."""

import re
from typing import TypeAlias

Clip: TypeAlias = float | tuple[float, float] | str | None
"""An upper bound, a pair (lower, upper), None for no clipping, or the text of a bound that is none of these."""

MOVING = {
    "scheduled": "scheduled:START:END[:STEPS]",
    "dynamic": "dynamic:FINAL[:GAMMA]",
    "deviation": "deviation:N[:BETA]",
    "quantile": "quantile:Q[:RATE]",
}
"""Bounds of `lambc.bounds` that change from step to step, by their name, and how they are spelled."""

KINDS = ("1-d", "norm", "conv")
"""Kinds of tensors that can have a bound of their own: of one dimension, of these the weights (of normalisation), and
the convolutions' weights."""

SPELLINGS = ("1", "0.5,3", "none", *MOVING.values(), "larc", *(f"{kind}:BOUND,other:BOUND" for kind in KINDS))


def parse_clip(text: str) -> Clip:
    """What a text says: `1`, `0.5,3` and `none` as a number, a pair and None, any other bound in its one spelling.

    `scheduled`, `dynamic`, `deviation` and `quantile` are the moving bounds of `lambc.bounds`, and `larc` is LARS's
    own; without STEPS, a scheduled bound takes all steps of the run. `1-d:10,other:1` bounds the tensors of one
    dimension by 10 and all others by 1, `norm:1,other:none` normalisation's weights alone, `conv:1,other:none` the
    convolutions'.

    Raises ValueError, with the text, for what is none of these. Whether the numbers make sense, the bound itself knows.
    """
    kind, *parts = split_kinds(text)
    of_kind, other = (_parse_one(part, text) for part in parts)
    return of_kind if of_kind == other else f"{kind}:{spell(of_kind)},other:{spell(other)}"


def split_kinds(text: str) -> tuple[str, str, str]:
    """A kind of tensors, the text of its bound, and that of all others' bound."""
    text = text.strip().lower()
    found = re.fullmatch(rf"({'|'.join(KINDS)}):(.+),other:(.+)", text)
    return (found[1], found[2], found[3]) if found else (KINDS[0], text, text)


def spell(clip: Clip) -> str:
    """The text that `parse_clip` reads as `clip`."""
    match clip:
        case None:
            return "none"
        case str():
            return clip
        case (lower, upper):
            return f"{spell_number(lower)},{spell_number(upper)}"
    return spell_number(clip)


def spell_number(number: float) -> str:
    """The shortest text that is read as the same number: 1, 0.005, 1e-05."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


def _parse_one(text: str, whole: str) -> Clip:
    if text in ("none", "larc"):
        return None if text == "none" else text
    kind, *numbers = text.split(":")
    try:
        if kind in MOVING and len(numbers) in _counts(MOVING[kind]):
            return ":".join([kind, *(spell_number(float(number)) for number in numbers)])
        match [float(number) for number in text.split(",")]:
            case [upper]:
                return upper
            case [lower, upper]:
                return lower, upper
    except ValueError:
        pass
    raise ValueError(f"clip={whole!r}: give one of {', '.join(SPELLINGS)}")


def _counts(spelling: str) -> range:
    """How many numbers a moving bound takes."""
    most = spelling.count(":")
    return range(most - spelling.count("["), most + 1)
