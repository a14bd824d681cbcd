"""Names and numbers as text in a chart."""

import html
import math
import unicodedata
from collections.abc import Sequence

ISOLATE = "\u2068{}\u2069"
"""Keeps a name that is written from right to left from turning round the text beside it."""


def shorten(name: str, length: int = 30) -> str:
    """A name of at most `length` characters; what is left out is the middle, as names differ at their ends."""
    if len(name) <= length:
        return name
    head = (length - 1) // 2
    return f"{name[:head]}…{name[len(name) - (length - 1 - head) :]}"


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
    """Ratios to write on a logarithmic axis from 10**lowest to 10**highest: 1, 2 and 5 of each decade, or decades."""
    steps = (1.0, 2.0, 5.0) if highest - lowest <= 3 else (1.0,)
    decades = range(math.floor(lowest), math.ceil(highest) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    within = [tick for tick in ticks if lowest - 1e-9 <= math.log10(tick) <= highest + 1e-9]
    return within or [10.0 ** ((lowest + highest) / 2)]


def counted(count: int, noun: str) -> str:
    """So many of something whose plural has an s: 1 row, 2,000 rows."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def layer_ticks(layers: Sequence[str], height: int) -> dict[str, object]:
    """An axis with as many layers' names as there is room for in `height` pixels."""
    every = max(1, -(-len(layers) * 11 // height))
    named = layers[::every]
    return {
        "tickvals": [escape(layer) for layer in named],
        "ticktext": [escape(shorten(layer)) for layer in named],
        "ticklabelstandoff": 5,
    }


def label_margin(layers: Sequence[str]) -> int:
    """Room for the layers' names beside the axis, in pixels."""
    longest = max((len(shorten(layer)) for layer in layers), default=0)
    return max(76, 22 + round(5.2 * longest))
