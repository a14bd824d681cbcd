"""Which rows a picture of many layers has: one a layer in depth order, or families of layers in bands under each other.

A row stands for one layer where there is room for all of them. Where there is none, the layers of one block of a family
share a row first (8 experts), then neighbouring blocks; layers of two families never do. Rows are whole pixels high,
since a row that is thinner than a pixel may not be drawn at all.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby
from typing import Literal, NamedTuple, TypeAlias

from app.charts.layers import blocks
from app.charts.short_names import common_head, short_names

Order: TypeAlias = Literal["depth", "kind"]

MOST_PIXELS = 760
MOST_NAMED = 70
"""Up to so many layers each row has its name, in depth order."""

MOST_BANDS = 40
GAP = 6
"""Pixels between two bands."""

LEAST_BAND, SINGLE = 14, 12
"""Pixels of a band of few rows, and of a layer that is alone in its family."""

LABEL = 24
"""The most characters of a band's label."""


class Member(NamedTuple):
    """A layer with its family and its block, which is None where its name has no number that counts blocks."""

    layer: str
    family: str
    block: int | None


@dataclass(frozen=True)
class Row:
    """One or several layers of a family. said: what a hover calls them. mark: what stands at the band's edge."""

    layers: tuple[str, ...]
    said: str
    mark: str


@dataclass(frozen=True)
class Band:
    """Rows that stand together. families: whose members they are, if they are all that these have."""

    label: str
    families: tuple[str, ...]
    rows: tuple[Row, ...]
    first: int
    pixels: int

    @property
    def row_pixels(self) -> float:
        """The height of a row."""
        return self.pixels / len(self.rows)


@dataclass(frozen=True)
class Stack:
    """Bands from top to bottom. head: what all names begin with, which the labels leave out."""

    order: Order
    bands: tuple[Band, ...]
    head: str = ""

    @cached_property
    def rows(self) -> list[Row]:
        """All rows, by their number."""
        return [row for band in self.bands for row in band.rows]

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The number of each layer's row."""
        return {layer: number for number, row in enumerate(self.rows) for layer in row.layers}

    @cached_property
    def key(self) -> str:
        """The same for stacks that show the same layers in the same rows."""
        told = "\n".join("\t".join(row.layers) for row in self.rows)
        return hashlib.sha256(told.encode(errors="surrogatepass")).hexdigest()[:16]

    @property
    def merged(self) -> bool:
        """Whether some row stands for several layers."""
        return len(self.rows) < len(self.row_of)

    @property
    def height(self) -> int:
        """Pixels from the top of the first band to the bottom of the last."""
        return sum(band.pixels for band in self.bands) + GAP * (len(self.bands) - 1)

    def tops(self) -> list[int]:
        """How many pixels below the top each band begins."""
        found, top = [], 0
        for band in self.bands:
            found.append(top)
            top += band.pixels + GAP
        return found


def orders(members: Sequence[Member]) -> list[Order]:
    """The orders in which layers can be shown; the first is the usual one."""
    if _grouped(members) is None:
        return ["depth"]
    alone = len({member.family for member in members}) == 1
    return ["depth", "kind"] if len(members) <= MOST_NAMED and not alone else ["kind", "depth"]


def stack(members: Sequence[Member], order: Order | None = None) -> Stack:
    """The rows of some layers, which come in depth order; `order` None is the usual one."""
    order = order or orders(members)[0]
    groups = _grouped(members) if order == "kind" else None
    return _by_depth([member.layer for member in members]) if groups is None else _by_kind(groups)


def _by_depth(layers: list[str]) -> Stack:
    head = common_head(layers)
    each = 1 if len(layers) <= MOST_NAMED else -(-len(layers) // MOST_PIXELS)
    rows = [_unlike(tuple(layers[place : place + each]), head) for place in range(0, len(layers), each)]
    if len(layers) <= MOST_NAMED:
        pixels = max((18 if len(layers) <= 24 else 12) * len(layers), 260)
    else:
        pixels = len(rows) * (MOST_PIXELS // len(rows))
    return Stack("depth", (Band("", (), tuple(rows), 0, pixels),), head)


def _unlike(layers: tuple[str, ...], head: str) -> Row:
    said = layers[0] if len(layers) == 1 else f"{layers[0]} … {layers[-1]} ({len(layers)} tensors)"
    return Row(layers, said, layers[0].removeprefix(head))


def _grouped(members: Sequence[Member]) -> list[list[Member]] | None:
    """Members by family, in order of their first; where that gives too many bands, by family without any number.

    None where families tell too little: of less than half of the layers, or in too many bands.
    """
    for name in (lambda member: member.family, lambda member: re.sub(r"[0-9]+", "#", member.family)):
        groups: dict[str, list[Member]] = defaultdict(list)
        for member in members:
            groups[name(member)].append(member)
        sizes = [len(group) for group in groups.values() if len(group) > 1]
        if 2 * sum(sizes) < len(members) or not sizes:
            return None
        if len(sizes) <= max(1, min(MOST_BANDS, len(members) // 3)):
            return list(groups.values())
    return None


def _by_kind(groups: list[list[Member]]) -> Stack:
    families = [sorted(group, key=lambda member: member.block or 0) for group in groups if len(group) > 1]
    begins = groups.index(next(group for group in groups if len(group) > 1))
    above = [group[0] for group in groups[:begins]]
    below = [group[0] for group in groups[begins:] if len(group) == 1]
    rows = _rows(families)
    head, named = labels([group[0].family for group in families])
    room = MOST_PIXELS - SINGLE * (len(above) + len(below)) - GAP * (len(families) + bool(above) + bool(below) - 1)
    most = 16 if len(families) == 1 else 12
    pixels = min(max(room // sum(map(len, rows)), 1), most)
    bands: list[Band] = []

    def add(label: str, named: Iterable[str], its: Sequence[Row], each: int) -> None:
        first = bands[-1].first + len(bands[-1].rows) if bands else 0
        bands.append(Band(label, tuple(named), tuple(its), first, each * len(its)))

    alone = _singles([*above, *below])
    if above:
        add("", (), alone[: len(above)], SINGLE)
    for label, group, its in zip(named, families, rows, strict=True):
        add(label, dict.fromkeys(member.family for member in group), its, max(pixels, -(-LEAST_BAND // len(its))))
    if below:
        add("", (), alone[len(above) :], SINGLE)
    return Stack("kind", tuple(bands), head)


def _singles(members: Sequence[Member]) -> list[Row]:
    names = [member.layer.removesuffix(".weight") for member in members]
    marks = short_names(names, LABEL)
    return [Row((member.layer,), member.layer, mark) for member, mark in zip(members, marks, strict=True)]


def _rows(families: list[list[Member]]) -> list[list[Row]]:
    """The rows of each family: a row a layer; if that is too many a row a block; then a row for several blocks."""
    if sum(map(len, families)) <= MOST_PIXELS:
        return [[_row([member]) for member in group] for group in families]
    by_block = [[list(each) for _, each in groupby(group, lambda member: member.block)] for group in families]
    several = -(-sum(map(len, by_block)) // MOST_PIXELS)
    return [
        [_row(list(chain(*found[place : place + several]))) for place in range(0, len(found), several)]
        for found in by_block
    ]


def _row(members: list[Member]) -> Row:
    first, last = members[0], members[-1]
    mark = numbers(first) if len(members) == 1 else _span(first.block, last.block)
    if len(members) == 1:
        return Row((first.layer,), first.layer, mark)
    said = f"{first.family.replace('*', mark, 1)} ({len(members)} tensors)"
    return Row(tuple(member.layer for member in members), said, mark)


def _span(first: int | None, last: int | None) -> str:
    return f"{first}" if first == last else f"{first}–{last}"


def numbers(member: Member) -> str:
    """What was taken out of a layer's name: 17, or 3.1 where there were two numbers."""
    pattern = re.escape(member.family).replace(r"\*", "([0-9]+)")
    found = re.fullmatch(pattern, member.layer)
    return ".".join(found.groups()) if found else ""


def labels(families: list[str]) -> tuple[str, list[str]]:
    """What all families begin with up to the block's number, if that is the same, and what tells each from the rest."""
    heads = {family.partition("*")[0] + "*" for family in families}
    tails = [re.sub(r"^[.*]+", "", family.partition("*")[2]).removesuffix(".weight") for family in families]
    counts = Counter(tails)
    told = [
        tail if tail and counts[tail] == 1 else family.removesuffix(".weight")
        for tail, family in zip(tails, families, strict=True)
    ]
    return heads.pop() if len(heads) == 1 else "", short_names(told, LABEL)


def depth_labels(layers: Sequence[str], pixels: int) -> list[tuple[str, int, int]]:
    """Where rows are too thin for names, the blocks that are named instead: name, first place, end."""
    return blocks(layers, most=max(2, pixels // 26))
