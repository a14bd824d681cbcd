"""Parts: the Parquet files of a log, each written once, under a name that says which rows it holds.

`step-000000000001-part-000007.parquet` is the seventh part that was flushed, and its first row is of step 1. A part
that was merged of others carries the numbers of the first and the last of them (`…-part-000001-000016.parquet`), so
what it stands for is known from its name alone: if a merge was cut short, the smaller parts that are still there are
skipped, and each row is read once.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from collector.log import atomic, index
from collector.log.arrays import strings
from collector.log.schema import LogTable

_NAME = re.compile(r"step-\d{12,}-part-(\d{6,})(?:-(\d{6,}))?\.parquet")


ROW_GROUP = 2**15
"""The most rows of a row group: a reader of one layer, or of a level of a rollup, decodes few that it does not want."""


@dataclass(frozen=True)
class Part:
    """A part on the disk, which stands for the flushes numbered `first` to `last`."""

    path: Path
    first: int
    last: int

    @property
    def rows(self) -> int:
        """How many rows it has, from its footer. Raises OSError if that cannot be read."""
        return _count_rows(self.path, self.path.stat().st_size)


@lru_cache(2**12)
def _count_rows(path: Path, size: int) -> int:
    return pq.read_metadata(path).num_rows


def list_parts(folder: Path) -> list[Part]:
    """The parts in `folder` in the order they were flushed; those that a merged part stands for are left out."""
    return _split(_parquet_files(folder))[0]


def list_replaced(folder: Path) -> list[Path]:
    """The parts in `folder` that a merged part stands for: what is left of a merge that was cut short."""
    return _split(_parquet_files(folder))[1]


def replaced_folder(folder: Path) -> Path:
    """Where parts of `folder` go that a merged part stands for; the store looks for them under this name."""
    return folder.with_name(f"replaced_{folder.name}")


def list_files(folder: Path) -> list[Path]:
    """Every Parquet file in `folder` that holds rows of the log, whoever wrote it; none if there is no such folder.

    Raises OSError if the folder cannot be read.
    """
    try:
        files = _parquet_files(folder)
    except FileNotFoundError:
        return []
    return sorted(files - set(_split(files)[1]))


def write_part(rows: pa.Table, table: LogTable, folder: Path, first: int, last: int | None = None) -> Path:
    """Write `rows`, which must be in order and at least one, as the part of the flushes `first` to `last`.

    Raises OSError if the disk does, and FileExistsError rather than overwrite a part.
    """
    path = part_path(folder, pc.min(rows["step"]).as_py(), first, last)
    if path.exists():
        raise FileExistsError(f"{path} is there already; is another process writing to this run?")
    replace_part(rows, table, path)
    return path


def part_path(folder: Path, step: int, first: int, last: int | None = None) -> Path:
    """What the part of the flushes `first` to `last` is called, whose first row is of `step`."""
    numbers = f"{first:06}" if last is None else f"{first:06}-{last:06}"
    return folder / f"step-{step:012}-part-{numbers}.parquet"


def first_step_of(part: Part) -> int:
    """The least step of its rows, from its name."""
    return int(part.path.name.split("-")[1])


def replace_part(rows: pa.Table, table: LogTable, path: Path) -> None:
    """Write `rows` to `path` atomically, whether or not there is such a file."""
    with writing(table, path) as writer:
        writer.write_table(table.complete(rows), row_group_size=ROW_GROUP)


@contextmanager
def writing(table: LogTable, path: Path) -> Iterator[pq.ParquetWriter]:
    """Yields a Parquet writer for `path`, which is written or replaced only if the block does not raise."""
    written = atomic.temporary(path)
    try:
        with pq.ParquetWriter(written, table.full, **_parquet_options(table)) as writer:
            yield writer
        index.note(path, table, writer.writer.metadata)
        atomic.publish(path)
    except BaseException:
        written.unlink(missing_ok=True)  # a full disk needs the room
        raise


def in_order(rows: pa.Table, table: LogTable, layers: Sequence[str]) -> pa.Table:
    """`rows` sorted by series, then by step: layers by their place in `layers`, metrics by their name."""
    series = rows[table.series]
    places = layers if table.series == "layer" else sorted(pc.unique(series).to_pylist())
    keys = pa.table({"place": pc.index_in(series, value_set=strings(places)), "step": rows["step"]})
    order = pc.sort_indices(keys, sort_keys=[("place", "ascending"), ("step", "ascending")])
    return rows.take(order).combine_chunks()


def _parquet_options(table: LogTable) -> dict:
    """How a part is encoded: what made a real log smallest (bench/collector_overhead.py measures bytes a row)."""
    return {
        "compression": "zstd",
        "compression_level": 11,  # half a byte a row less than 9 at 12,000 rows, in the same time; 15 takes thrice that
        "use_dictionary": [column.name for column in table.full if column.type == pa.string()],
        "column_encoding": {
            **{column.name: "DELTA_BINARY_PACKED" for column in table.full if pa.types.is_integer(column.type)},
            **{column.name: "BYTE_STREAM_SPLIT" for column in table.full if pa.types.is_floating(column.type)},
            **{
                f"{column.name}.list.element": "DELTA_BINARY_PACKED"
                for column in table.full
                if pa.types.is_list(column.type)
            },
        },
        # Only where they let a reader skip rows: each costs as much as a hundred rows.
        "write_statistics": ["run", "step", table.series, *table.pruned_by],
        "write_page_checksum": True,
        "store_schema": False,  # Arrow's own copy of the schema; Parquet's says all that ours needs
    }


def _parquet_files(folder: Path) -> set[Path]:
    with os.scandir(folder) as entries:
        return {Path(entry) for entry in entries if entry.name.endswith(".parquet") and entry.name[0] != "."}


def _split(files: Iterable[Path]) -> tuple[list[Part], list[Path]]:
    """The parts that count, and the paths of those that a merged part stands for."""
    found = []
    for path in files:
        if match := _NAME.fullmatch(path.name):
            first, last = match.groups()
            found.append(Part(path, int(first), int(last or first)))
    # Wider first, so that a merged part comes before the parts that it replaces.
    found.sort(key=lambda part: (part.first, -part.last))
    parts: list[Part] = []
    replaced: list[Path] = []
    for part in found:
        if parts and part.last <= parts[-1].last:
            replaced.append(part.path)
        else:
            parts.append(part)
    return parts, replaced
