"""Families: the names of layers with their block numbers taken out, so that the layers of one role stand together.

`blocks.0.attn.qkv.weight` and `blocks.1.attn.qkv.weight` are of the family `blocks.*.attn.qkv.weight`, in the blocks 0
and 1. Whether a number counts blocks or tells roles apart (`mlp.0` and `mlp.2`, `conv1` and `conv2`) is decided from
the names and the shapes of all layers of a model together.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple, TypeAlias

MOST_PARTS = 32
"""From a name of more parts no number is taken out: no network is as deep, and any name must end the walk soon."""

_NUMBERED = re.compile(r"(.*?)([0-9]+)", re.DOTALL)  # a stem, which may be empty, and its number
_NUMBER = re.compile(r"[0-9]+|\*")
_MOST_DIGITS = 9  # of a number that fits into an INTEGER

Held: TypeAlias = frozenset[tuple[str, int]]
"""What lies below a part: the parameters, numbers left out of their names, and how many dimensions they have."""


class Place(NamedTuple):
    """Where a layer stands in its model. block: the first number that was taken out of its name, or None."""

    family: str
    block: int | None


def families(layers: Iterable[tuple[str, Sequence[int]]]) -> Mapping[str, Place]:
    """The place of each layer, by its name; `layers` are names and shapes.

    A part of the name that is a number, or ends with one, has it replaced by `*`

    - above modules, if two of its siblings hold the same parameters, or two neighbours share half of theirs; of parts
      like `layer3` there must be three, so that `attn1` and `attn2` stay;
    - directly above a parameter (`mlp.0.weight`), if it is a number alone, and all siblings have the same parameters in
      the same shapes;
    - in the parameter itself (`weight17`), if there are four of one shape.

    Layers that were asked about before are answered from memory: 10,000 of them take 0.1 s.
    """
    return _families(tuple((name, tuple(shape)) for name, shape in layers))


@lru_cache(maxsize=64)
def _families(layers: tuple[tuple[str, tuple[int, ...]], ...]) -> Mapping[str, Place]:
    walk = _Walk(dict(layers))
    return {name: walk.places.get(name, Place(name, None)) for name, _ in layers}


class _Walk:
    """Names part by part, from the first: those that agree so far, numbers taken out, are looked at together."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        names = [name for name in shapes if name.count(".") < MOST_PARTS]
        self._shapes = shapes
        self._parts = {name: name.split(".") for name in names}
        self._plain = {name: re.sub(r"[0-9]+", "#", name).split(".") for name in names}
        numbers: dict[str, list[int]] = {name: [] for name in names}
        levels = [(0, names)] if names else []
        while levels:
            depth, alike = levels.pop()
            stems = self._stems(depth, alike)
            deeper: dict[str, list[str]] = defaultdict(list)
            for name in alike:
                parts = self._parts[name]
                if (stem := stems.get(parts[depth])) is not None:
                    numbers[name].append(int(parts[depth][len(stem) :]))
                    parts[depth] = stem + "*"
                if depth + 1 < len(parts):
                    deeper[parts[depth]].append(name)
            levels += [(depth + 1, members) for members in deeper.values()]
        self.places = {name: Place(".".join(self._parts[name]), next(iter(numbers[name]), None)) for name in names}

    def _stems(self, depth: int, names: list[str]) -> dict[str, str]:
        """The parts at `depth` whose number is taken out, and what stands before it."""
        heads: dict[str, list[str]] = defaultdict(list)
        for name in names:
            heads[self._parts[name][depth]].append(name)
        siblings: dict[str, dict[str, list[str]]] = defaultdict(dict)
        for head, members in heads.items():
            if numbered := _NUMBERED.fullmatch(head):
                siblings[numbered[1]][numbered[2]] = members
        return {
            stem + number: stem
            for stem, members in siblings.items()
            if max(map(len, members)) <= _MOST_DIGITS and self._count(stem, depth, members)
            for number in members
        }

    def _count(self, stem: str, depth: int, siblings: Mapping[str, list[str]]) -> bool:
        """Whether the numbers of `siblings`, names by their number at `depth`, count blocks."""
        ordered = [siblings[number] for number in sorted(siblings, key=int)]
        names = [name for each in ordered for name in each]
        below = max(len(self._parts[name]) for name in names) - depth - 1
        if below >= 2:
            return len(siblings) >= (3 if stem else 2) and _share([self._held(each, depth) for each in ordered])
        if below == 1:
            held = {frozenset((self._parts[name][-1], self._shapes[name]) for name in each) for each in ordered}
            return not stem and len(siblings) >= 2 and len(held) == 1
        above = self._parts[names[0]][depth - 1] if depth else "0"
        named = bool(stem) or not _NUMBER.fullmatch(above)  # layers that have no names are called 0.0, 0.1, …
        return named and len(siblings) >= 4 and len({self._shapes[name] for name in names}) == 1

    def _held(self, names: list[str], depth: int) -> Held:
        return frozenset((".".join(self._plain[name][depth + 1 :]), len(self._shapes[name])) for name in names)


def _share(held: Sequence[Held]) -> bool:
    """Whether two are the same, or two neighbours have half in common of what they have."""
    return len(set(held)) < len(held) or any(2 * len(one & other) >= len(one | other) for one, other in pairwise(held))
