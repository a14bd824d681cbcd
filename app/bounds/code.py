"""The code that sets a bound, or one for each of many layers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from math import inf, isclose, isfinite
from typing import TypeAlias

from app.charts.layers import Side

Clip: TypeAlias = float | tuple[float, float]
"""What `clip=` takes: an upper bound, or a lower and an upper one."""

NOT_ADAPTED = (1.0, 1.0)
"""The bounds of a layer that keeps the ratio 1: the log tells it from others by these."""


def shortest(bound: float, end: float) -> float:
    """The number of fewest digits from `bound` on and before `end`, which is where it clips less: above an upper bound,
    below a lower one.
    """
    exact = Decimal(bound)
    away = ROUND_CEILING if end > bound else ROUND_FLOOR
    for digits in range(1, 18):
        rounded = float(exact.quantize(Decimal(1).scaleb(exact.adjusted() - digits + 1), rounding=away))
        if abs(rounded - bound) < abs(end - bound):
            return rounded
    return bound


def clip(side: Side, bound: float, other: float | None) -> Clip:
    """A bound on one side; on the other side the run's own, unless it has none or one that contradicts."""
    kept = other if not contradicts(side, bound, other) else None
    if side == "upper":
        return (kept, bound) if kept else bound
    return bound, kept or inf


def contradicts(side: Side, bound: float, other: float | None) -> bool:
    """Whether no ratio lies within a bound on one side and the run's own, if it has one, on the other."""
    if not other or isclose(other, bound, rel_tol=1e-6):  # the log has float32
        return False
    return not (other <= bound if side == "upper" else other >= bound)


def left_out(side: Side, bound: float, other: float | None) -> str:
    """That the bound on the other side is left out, and why; '' where it is not."""
    if not contradicts(side, bound, other):
        return ""
    its = f"lower bound {other:g} lies above" if side == "upper" else f"upper bound {other:g} lies below"
    return f"the {its} {bound:g}, so it is left out"


def for_all_layers(optimizer: str, clip: Clip, comment: str = "") -> str:
    """One bound for all layers."""
    said = f"# {comment}\n" if comment else ""
    return f"{said}optimizer = {optimizer}(model.named_parameters(), clip={_plain(clip)})"


Sections: TypeAlias = Mapping[str, Sequence[tuple[str, Clip]]]
"""Names, or patterns of names, and bounds, under what is said of them in a comment."""


def for_each_layer(optimizer: str, sections: Sections, comment: str = "") -> str:
    """A bound for each layer by its name; the comment stands above them all.

    A layer that has none is an error (lambc.clip_groups), so that a name that is written in another way goes through to
    no other bound.
    """
    lines = [
        f"    {line}"
        for comment, layers in sections.items()
        for line in (f"# {comment}", *(f"{_quoted(name)}: {_plain(clip)}," for name, clip in layers))
    ]
    return "\n".join(
        [
            f"from lambc import {optimizer}, clip_groups",
            "",
            *([f"# {comment}"] if comment else []),
            "bounds = {",
            *lines,
            "}",
            f"optimizer = {optimizer}(clip_groups(model, bounds))",
        ]
    )


def by_patterns(sections: Sections, families: Mapping[str, str]) -> dict[str, list[tuple[str, Clip]]]:
    """The same bounds, but with a family in place of its layers, in which a `*` stands for a number.

    Layers that have another bound than most of their family are named in full, which comes before a pattern.

    sections: every layer of a run, by its name. families: of each layer.
    """
    counts = Counter((families[name], clip) for layers in sections.values() for name, clip in layers)
    most: dict[str, Clip] = {}
    for (family, clip), _ in counts.most_common():
        most.setdefault(family, clip)
    found: dict[str, list[tuple[str, Clip]]] = {}
    written: set[str] = set()
    for comment, layers in sections.items():
        for name, clip in layers:
            name = families[name] if most[families[name]] == clip else name
            if name not in written:
                written.add(name)
                found.setdefault(comment, []).append((name, clip))
    return found


def _quoted(name: str) -> str:
    """A name as Python writes it, in the quotes that the rest of the code has."""
    written = repr(name)
    return written if '"' in name else f'"{written[1:-1]}"'


def _plain(clip: Clip) -> str:
    return f"({_number(clip[0])}, {_number(clip[1])})" if isinstance(clip, tuple) else _number(clip)


def _number(bound: float) -> str:
    return f"{bound:g}" if isfinite(bound) else f'float("{bound:g}")'
