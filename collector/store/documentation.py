"""What a view or macro of the store is, as the comment at the top of its file says: a text, and an example."""

import re
from importlib import resources
from itertools import takewhile
from typing import NamedTuple


class Description(NamedTuple):
    """text: what a row is, on one line. example: a query, put to the log that docs/sql.py makes."""

    text: str
    example: str


def describe(name: str) -> Description:
    """What collector/sql/`name`.sql says of itself."""
    return description(resources.files("collector").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8"))


def description(sql: str) -> Description:
    """The comment at the top of a statement: lines of text, and indented by three the lines of its example."""
    comment = list(takewhile(lambda line: line.startswith("--"), sql.splitlines()))
    example = "\n".join(line[5:] for line in comment if line.startswith("--   "))
    return Description(
        text=" ".join(line[3:] for line in comment if not line.startswith("--   ")),
        example=re.sub(r";?(\s*--.*)?$", "", example),
    )
