"""The summary of a Parquet file of the log in its footer."""

import io
import os
import zlib
from typing import NamedTuple

import pyarrow.parquet as pq

from collector.log.schema import ROLLUPS, LogTable

ROWS = b"rows"
"""The key under which the footer of a rollup has the number of its part's rows."""

_USUAL, _LARGEST = 2**13, 2**26  # bytes; that of a file of 100 million rows takes 3 MB
_MOST_STEPS = 2**53  # what a double still counts, and far above any count of tokens


class Footer(NamedTuple):
    """A summary of a Parquet file. problem: why it can't be used, or ''. runs: the runs its rows name.

    rows: how many it has; of a rollup, how many its part had. complete: whether all of this stands in its footer.
    older: whether it lacks columns that were added to the log since it was written.
    """

    problem: str
    runs: frozenset[str] = frozenset()
    last_step: int = 0
    rows: int = 0
    first_step: int = 0
    complete: bool = True
    older: bool = False

    @property
    def is_possible(self) -> bool:
        """Whether these are steps that a run may take, and a number of rows."""
        return self.rows >= 0 and -_MOST_STEPS < self.first_step <= self.last_step < _MOST_STEPS


def read_end(file: io.FileIO) -> bytes:
    """The end of a file, with the whole footer. Raises ValueError for a footer that no log needs, and OSError."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _USUAL, 0))
    end = file.read()
    footer_size = _size(end)
    if len(end) < footer_size <= size:
        if footer_size > _LARGEST:
            raise ValueError(f"it has a footer of {footer_size:,} bytes")
        file.seek(size - footer_size)
        end = file.read(footer_size)
    return end


def checksum(end: bytes) -> int:
    """The checksum of the footer, by the end of the file."""
    return zlib.crc32(end[-_size(end) :])


def _size(end: bytes) -> int:
    return int.from_bytes(end[-8:-4], "little") + 8


def rows_in(metadata: pq.FileMetaData) -> int:
    """How many rows the part of a rollup had, by its footer. Raises TypeError, KeyError or ValueError if it is none."""
    return int(metadata.metadata[ROWS])


def footer_of_written(metadata: pq.FileMetaData, table: LogTable) -> tuple[Footer, int]:
    """Returns the footer of a file that was just written, from memory, and its checksum.

    Not for metadata read from a disk: a flipped bit in its statistics can crash pyarrow.
    """
    written = io.BytesIO()
    metadata.write_metadata_file(written)
    check = checksum(written.getvalue())
    older = metadata.num_columns < len(table.full)
    if table is ROLLUPS:
        return Footer("", rows=rows_in(metadata), older=older), check
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    runs, steps = (
        [group.column(table.full.get_field_index(name)).statistics for group in groups] for name in ("run", "step")
    )
    named = frozenset(run for each in runs for run in (each.min, each.max))
    last = max(each.max for each in steps)
    return Footer("", named, last, metadata.num_rows, min(each.min for each in steps), older=older), check
