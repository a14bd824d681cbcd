"""What is known of a layer by its name and shape: its kind, its block, and whether a pattern means it."""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias

Side: TypeAlias = Literal["upper", "lower"]
"""An upper bound cuts the ratios above it, a lower one those below it."""

KINDS = ("convolution", "linear", "embedding", "norm", "bias", "other")

_EMBEDDING = re.compile(
    r"(^|\.)(\w*_)?(emb|embed|embedding|embeddings|wte|wpe)(_(tokens|positions|in|table))?(\.weight)?$", re.IGNORECASE
)
"""The name of an embedding. What is inside of a module of such a name (time_embedding.linear_1) may be anything."""

_LARGE, _FINER = 0.4, 6
"""A block of more than such a share of all layers tells too little; blocks may then be so many times as many."""


def layer_kind(name: str, shape: Sequence[int] | None) -> str:
    """One of `KINDS`: a weight of one dimension is a norm's, a matrix a linear layer's or an embedding."""
    if name.rsplit(".", 1)[-1].endswith("bias"):
        return "bias"
    if shape is None:
        return "other"
    match len(shape):
        case 1:
            return "norm"
        case 2:
            return "embedding" if _EMBEDDING.search(name) else "linear"
        case 3 | 4 | 5:
            return "convolution"
    return "other"


def matching(layers: Iterable[str], pattern: str) -> list[str]:
    """The layers that a pattern means: a part of the name, a glob (layer4.*), or a regular expression between slashes.

    Raises ValueError, with what is wrong, for an expression that is none.
    """
    pattern = pattern.strip()
    if len(pattern) > 1 and pattern[0] == pattern[-1] == "/":
        try:
            expression = re.compile(pattern[1:-1])
        except re.error as error:
            raise ValueError(f"{pattern} is no regular expression: {error}") from None
        return [layer for layer in layers if expression.search(layer)]
    if any(sign in pattern for sign in "*?["):
        return [layer for layer in layers if fnmatchcase(layer, pattern)]
    return [layer for layer in layers if pattern in layer]


def family_pattern(families: Iterable[str]) -> str:
    """The pattern, for `matching`, that means exactly the layers of some families: a regular expression.

    A glob would not do: its `*` also stands for dots, and so for parts of other families.
    """
    names = [re.escape(family).replace(r"\*", r"\d+") for family in families]
    return f"/^{names[0]}$/" if len(names) == 1 else f"/^({'|'.join(names)})$/"


def blocks(layers: Sequence[str], most: int) -> list[tuple[str, int, int]]:
    """Layers that stand together and share the first parts of their names, as layer1.0: name, first place, end.

    They are cut as finely as gives at most `most` of them, or where one of these would be most of a model, as
    model.layers, a part finer if that gives at most `_FINER` times as many; none where that tells nothing apart.
    """
    finer: list[tuple[str, int, int]] = []
    for depth in range(max((layer.count(".") for layer in layers), default=0), 0, -1):
        found = _cut(layers, depth)
        if len(found) <= most:
            largest = max(end - begin for _, begin, end in found)
            return finer if finer and largest > _LARGE * len(layers) else found if len(found) > 1 else []
        finer = found if len(found) <= _FINER * most else []
    return []


def _cut(layers: Sequence[str], depth: int) -> list[tuple[str, int, int]]:
    """Layers that stand together and share the first `depth` parts of their names."""
    found: list[tuple[str, int, int]] = []
    for place, layer in enumerate(layers):
        name = ".".join(layer.split(".")[:-1][:depth]) or layer
        if found and found[-1][0] == name:
            found[-1] = (name, found[-1][1], place + 1)
        else:
            found.append((name, place, place + 1))
    return found
