"""A small curve as a picture that a table's cell or a card can hold: broken where there is no value."""

from base64 import b64encode
from collections.abc import Sequence
from itertools import groupby
from math import isfinite

WIDTH, HEIGHT, EDGE = 104, 26, 2


def sparkline(values: Sequence[float], *, colour: str, scale: tuple[float, float] | None = None) -> str | None:
    """An image's address (`data:`), or None if no value is finite.

    scale: what lies at the bottom and at the top, so that curves can be compared, which are filled down to the bottom;
    None for the curve's own range.
    """
    finite = [value for value in values if isfinite(value)]
    if not finite:
        return None
    low, high = scale or (min(finite), max(finite))
    drawn = "".join(_stretch(points, colour, filled=scale is not None) for points in _stretches(values, low, high))
    picture = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'preserveAspectRatio="none">'
        f'<path d="M0 {HEIGHT - 0.5}H{WIDTH}" stroke="{colour}" stroke-opacity=".25"/>{drawn}</svg>'
    )
    return f"data:image/svg+xml;base64,{b64encode(picture.encode()).decode()}"


def _stretches(values: Sequence[float], low: float, high: float) -> list[list[tuple[float, float]]]:
    """The points of each stretch in which all values are finite."""
    across = (WIDTH - 2 * EDGE) / max(1, len(values) - 1)
    up = (HEIGHT - 2 * EDGE) / ((high - low) or 1)
    return [
        [
            (round(EDGE + across * place, 1), round(HEIGHT - EDGE - up * (min(max(value, low), high) - low), 1))
            for place, value in points
        ]
        for there, points in groupby(enumerate(values), key=lambda point: isfinite(point[1]))
        if there
    ]


def _stretch(points: list[tuple[float, float]], colour: str, *, filled: bool) -> str:
    line = "L".join(f"{x} {y}" for x, y in points)
    first, last = points[0][0], points[-1][0]
    area = f'<path d="M{first} {HEIGHT}L{line}L{last} {HEIGHT}Z" fill="{colour}" fill-opacity=".18"/>' if filled else ""
    end = f"h.1M{line}" if len(points) == 1 else ""  # of a point alone, a dot
    return (
        f'{area}<path d="M{line}{end}" fill="none" stroke="{colour}" stroke-width="1.6" '
        'vector-effect="non-scaling-stroke" '
        'stroke-linecap="round" stroke-linejoin="round"/>'
    )
