"""Which steps and which layers are recorded."""

import operator
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any


class Selection:
    """Every `every`-th step, of the layers that match `include` and not `exclude`.

    every: steps whose number is a multiple of it are recorded; and step 1, so that a log shows where training began.
    include, exclude: a glob pattern over layer names (`*.bias`, `layer4.*`), or several; * also stands for dots.

    Raises ValueError for an `every` that is no whole number of 1 or more.
    """

    def __init__(self, every: int = 1, include: str | Iterable[str] = "*", exclude: str | Iterable[str] = ()) -> None:
        try:
            self.every = 0 if isinstance(every, bool) else operator.index(every)
        except TypeError:
            self.every = 0
        if self.every < 1:
            raise ValueError(f"every={every!r}: give a whole number of steps, 1 or more")
        self.include = _patterns("include", include)
        self.exclude = _patterns("exclude", exclude)

    def has_step(self, step: int) -> bool:
        """Whether a step is recorded."""
        return step == 1 or step % self.every == 0

    def has_layer(self, name: str) -> bool:
        """Whether a layer is recorded."""
        return _matches(name, self.include) and not _matches(name, self.exclude)

    def check(self, names: Sequence[str]) -> None:
        """Raise ValueError for a pattern that matches no layer, or if none of the layers would be recorded."""
        for option, patterns in (("include", self.include), ("exclude", self.exclude)):
            for pattern in patterns:
                if pattern != "*" and not any(fnmatchcase(name, pattern) for name in names):
                    some = ", ".join(repr(name) for name in names[:3])
                    raise ValueError(f"{option}={pattern!r} matches no layer; they are called {some} and so on")
        if names and not any(map(self.has_layer, names)):
            raise ValueError(
                f"include={list(self.include)!r} and exclude={list(self.exclude)!r} leave no layer: exclude less"
            )


def _patterns(option: str, given: Any) -> tuple[str, ...]:
    patterns = (given,) if isinstance(given, str) else tuple(given)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(f"{option}={pattern!r}: a pattern over layer names is a string, as '*.bias'")
    return patterns


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
