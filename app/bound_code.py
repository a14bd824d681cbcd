"""The code that sets a bound, or one for each of many layers."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from typing import TypeAlias

Clip: TypeAlias = float | tuple[float, float]

NOT_ADAPTED = (1.0, 1.0)
"""The bounds of a layer that keeps the ratio 1: the log tells it from others by these."""


def shortest(lowest: float, end: float) -> float:
    """The number of fewest digits from `lowest` on and before `end`: rounded up, a bound clips no more than it did."""
    exact = Decimal(lowest)
    for digits in range(1, 18):
        rounded = float(exact.quantize(Decimal(1).scaleb(exact.adjusted() - digits + 1), rounding=ROUND_CEILING))
        if rounded < end:
            return rounded
    return lowest


def for_all_layers(optimizer: str, clip: float) -> str:
    """One bound for all layers."""
    return f"optimizer = {optimizer}(model.named_parameters(), clip={clip:g})"


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
    return f"({clip[0]:g}, {clip[1]:g})" if isinstance(clip, tuple) else f"{clip:g}"
