"""Merging the small parts of a run into few large ones, so that a log costs few bytes a row and opens fast.

Flushing every few seconds makes a new row visible soon, but a part of a hundred rows is mostly footer. No journal is
needed, since a part's name says which parts it stands for (collector.parts). A merge

1. writes the rows of the small parts beside them, under a name that no reader lists,
2. gives that file its name, in one motion: from now on readers pass the small parts over,
3. moves the small parts to a folder beside theirs, where a query that has them on its list still finds them,
4. removes them from there ten minutes later, or when the run ends.

Killed before 2, all is as it was; after 2, whoever opens the run next goes on with 3.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from collector.parts import Part, in_order, list_parts, list_replaced, replaced_folder, write_part
from collector.schema import LogTable

SMALL = 2**17
"""Rows below which a part counts as small: above it, a real log gets no smaller by merging."""

ENOUGH = 16
"""As many small parts are merged while a run goes on; each merge reads and writes at most `SMALL` rows or so."""

KEPT_SECONDS = 600.0
"""How long a replaced part can still be read; a query that takes longer lists the files again."""


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
    """Move the parts that a merged part stands for out of `folder`."""
    aside = replaced_folder(folder)
    for path in list_replaced(folder):
        aside.mkdir(exist_ok=True)
        os.utime(path.rename(aside / path.name))


def clear_replaced(folder: Path, *, seconds: float = KEPT_SECONDS) -> None:
    """Remove the replaced parts of `folder` that were moved aside `seconds` ago or earlier, and their empty folder."""
    aside = replaced_folder(folder)
    if not aside.is_dir():
        return
    for path in aside.iterdir():
        if time.time() - path.stat().st_mtime >= seconds:
            path.unlink()
    if not any(aside.iterdir()):
        aside.rmdir()


def read_part(path: Path, table: LogTable) -> pa.Table:
    """All rows of a part, whose pages are checked against their checksums. Raises OSError if they do not agree."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read(use_threads=False).cast(table.schema)  # the other cores are training
