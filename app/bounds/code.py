"""The code that sets a bound, or one for each of many layers."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from math import inf, isfinite
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
    if side == "upper":
        return (other, bound) if other and other <= bound else bound
    return bound, other if other and other >= bound else inf


def for_all_layers(optimizer: str, clip: Clip) -> str:
    """One bound for all layers."""
    return f"optimizer = {optimizer}(model.named_parameters(), clip={_plain(clip)})"


def for_each_layer(optimizer: str, sections: Mapping[str, Sequence[tuple[str, Clip]]]) -> str:
    """A bound for each layer by its name; layers of one bound share a group, as a step takes a group at a time.

    sections: names and bounds, under what is said of them in a comment.
    A layer that has none is an error, so that a name that is written in another way goes through to no other bound.
    """
    lines = [
        f"    {line}"
        for comment, layers in sections.items()
        for line in (f"# {comment}", *(f"{_quoted(name)}: {_plain(clip)}," for name, clip in layers))
    ]
    return "\n".join(
        [
            "bounds = {",
            *lines,
            "}",
            "groups = {}",
            "for name, layer in model.named_parameters():",
            "    group = groups.setdefault(bounds[name], [])",
            "    group.append((name, layer))",
            f"optimizer = {optimizer}(",
            "    [",
            '        {"params": layers, "clip": clip}',
            "        for clip, layers in groups.items()",
            "    ]",
            ")",
        ]
    )


def _quoted(name: str) -> str:
    """A name as Python writes it, in the quotes that the rest of the code has."""
    written = repr(name)
    return written if '"' in name else f'"{written[1:-1]}"'


def _plain(clip: Clip) -> str:
    return f"({_number(clip[0])}, {_number(clip[1])})" if isinstance(clip, tuple) else _number(clip)


def _number(bound: float) -> str:
    return f"{bound:g}" if isfinite(bound) else f'float("{bound:g}")'
