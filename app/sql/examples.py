"""Questions that practitioners ask, as queries; and how these and the store's own examples are put to one's own runs.

A question is a file: its first line says it in words. Like the examples of the store's views and macros, which are the
comments in collector/sql/, it is written for the log that docs/sql.py makes: runs demo, demo-clip1 and demo-clip10 of
1000 steps, with a layer fc.weight.
"""

import re
from dataclasses import dataclass
from importlib import resources
from typing import NamedTuple

QUESTIONS = (
    "clipped_most",
    "ratio_jumps",
    "reached_first",
    "accuracy_by_epoch",
    "bound_would_clip",
    "layers_move",
    "not_finite",
)
"""In the order in which they are offered; the first is what the page asks unless told."""

_EXAMPLE_NAMES = re.compile(r"'demo', 'demo-clip1', 'demo-clip10'|'demo(?:-clip10?)?'|'fc\.\w+'|\b1000\b")


class Question(NamedTuple):
    """A question in words, and the query that answers it."""

    words: str
    sql: str


@dataclass(frozen=True)
class Names:
    """What is filled in for the names of an example: runs, that which is clipped most first; a layer, the last step."""

    runs: tuple[str, ...]
    layer: str
    steps: int

    def fill_in(self, example: str) -> str:
        """Returns an example with these runs in it."""
        given = {
            "'demo', 'demo-clip1', 'demo-clip10'": ", ".join(map(_literal, self.runs)),
            "'demo-clip1'": _literal(self.runs[0]),
            "'demo-clip10'": _literal(self.runs[min(1, len(self.runs) - 1)]),
            "'demo'": _literal(self.runs[-1]),
            "1000": str(self.steps),
        }
        return _EXAMPLE_NAMES.sub(lambda found: given.get(found[0]) or _literal(self.layer), example)


def questions() -> list[Question]:
    """All questions, as written."""
    return [_read(name) for name in QUESTIONS]


def _read(name: str) -> Question:
    first, _, sql = (
        resources.files("app.sql").joinpath("statements", f"{name}.sql").read_text(encoding="utf-8").partition("\n")
    )
    return Question(first.removeprefix("-- "), sql.strip())


def _literal(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"
