"""Merging the small parts of a run into few large ones, so that a log costs few bytes a row and opens fast.

Flushing every few seconds makes a new row visible soon, but a part of a hundred rows is mostly footer. No journal is
needed, since a part's name says which parts it stands for (collector.parts). A merge

1. writes the rows of the small parts beside them, under a name that no reader lists,
2. gives that file its name, in one motion: from now on readers pass the small parts over,
3. removes the small parts.

Killed before 2, all is as it was; after 2, whoever opens the run next goes on with 3.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from collector.parts import Part, in_order, list_parts, list_replaced, write_part
from collector.schema import LogTable

SMALL = 2**17
"""Rows below which a part counts as small: above it, a real log gets no smaller by merging."""

ENOUGH = 16
"""As many small parts are merged while a run goes on; each merge reads and writes at most `SMALL` rows or so."""


def merge_small(table: LogTable, folder: Path, layers: Sequence[str], *, at_least: int = ENOUGH) -> Path | None:
    """Merge the small parts at the end of `folder` if there are `at_least` so many; returns the new part, if any."""
    small: list[Part] = []
    for part in reversed(list_parts(folder)):
        if pq.read_metadata(part.path).num_rows >= SMALL:
            break
        small.insert(0, part)
    if len(small) < at_least:
        return None
    rows = in_order(pa.concat_tables([read_part(part.path, table) for part in small]), table, layers)
    merged = write_part(rows, table, folder, small[0].first, small[-1].last)
    finish_merge(folder)
    return merged


def finish_merge(folder: Path) -> None:
    """Remove the parts that a merged part stands for."""
    for path in list_replaced(folder):
        path.unlink(missing_ok=True)


def read_part(path: Path, table: LogTable) -> pa.Table:
    """All rows of a part, whose pages are checked against their checksums. Raises OSError if they do not agree."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read(use_threads=False).cast(table.schema)  # the other cores are training
