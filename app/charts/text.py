"""Names and numbers as text in a chart."""

import html
import math
import unicodedata
from collections.abc import Sequence

from app.charts.short_names import LENGTH, short_names, without_middle

ISOLATE = "\u2068{}\u2069"
"""Keeps a name that is written from right to left from turning round the text beside it."""

_DECADES, _THIRDS, _SEVENTHS = (1.0,), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
"""What is written of each decade of a logarithmic axis: the fewest that tell where one is."""


def shorten(name: str, length: int = 30) -> str:
    """A name of at most `length` characters; what is left out is the middle, as names differ at their ends."""
    return name if len(name) <= length else without_middle(name, length)


def escape(name: str) -> str:
    """A name as Plotly shows it: Plotly reads a little HTML in every text."""
    visible = "".join(" " if unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") else sign for sign in name)
    if any(unicodedata.bidirectional(sign) in ("R", "AL", "RLO", "RLE", "RLI", "LRO", "LRE") for sign in visible):
        visible = ISOLATE.format(visible)
    return html.escape(visible)


def ratio_text(ratio: float) -> str:
    """A ratio in as many digits as one compares: 0.012, 0.5, 1, 20, 1,000."""
    return f"{ratio:,.0f}" if 999.5 <= ratio < 1e6 else f"{ratio:.3g}"


def ratio_ticks(lowest: float, highest: float) -> list[float]:
    """Ratios to write on a logarithmic axis from 10**lowest to 10**highest: of each decade as many as give three."""
    within: list[float] = []
    for steps in (_DECADES, _THIRDS, _SEVENTHS) if highest - lowest > 3 else (_THIRDS, _SEVENTHS):
        ticks = [step * 10.0**decade for decade in range(math.floor(lowest), math.ceil(highest) + 1) for step in steps]
        within = [tick for tick in ticks if lowest - 1e-9 <= math.log10(tick) <= highest + 1e-9]
        if len(within) >= 3:
            break
    return within if len(within) > 1 else _even(10.0**lowest, 10.0**highest)


def _even(low: float, high: float) -> list[float]:
    """Round numbers at equal distances, for so short an axis that its logarithm tells little."""
    if high < 1.01 * low:  # three digits tell no more apart
        return [math.sqrt(low * high)]
    rough = (high - low) / 5
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * each for each in (1, 2, 5, 10) if size * each >= rough)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def counted(count: int, noun: str) -> str:
    """So many of something whose plural has an s: 1 row, 2,000 rows."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def layer_ticks(layers: Sequence[str], height: int) -> dict[str, object]:
    """An axis with as many layers' names as there is room for in `height` pixels."""
    every = max(1, -(-len(layers) * 11 // height))
    named = layers[::every]
    return {
        "tickvals": [escape(layer) for layer in named],
        "ticktext": [escape(label) for label in short_names(named)],
        "ticklabelstandoff": 5,
    }


def label_margin(layers: Sequence[str]) -> int:
    """Room for the layers' names beside the axis, in pixels."""
    longest = min(max(map(len, layers), default=0), LENGTH)
    return max(76, 22 + round(5.5 * longest))
