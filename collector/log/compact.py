"""Merging the small parts of a run into few large ones, so that a log costs few bytes a row and opens fast.

Flushing every few seconds makes a new row visible soon, but a part of a hundred rows is mostly footer. No journal is
needed, since a part's name says which parts it stands for (collector.log.parts). A merge

1. writes the rows of the smaller parts beside them, layer by layer, under a name that no reader lists,
2. renames that file atomically: from now on readers skip the smaller parts,
3. moves the smaller parts to a folder beside theirs, where a query that has them on its list still finds them,
4. removes them from there ten minutes later, or when the run ends.

Killed before 2, all is as it was; after 2, whoever opens the run next goes on with 3.
"""

import heapq
import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from collector.log import index
from collector.log.arrays import to_numpy
from collector.log.parts import (
    ROW_GROUP,
    Part,
    first_step_of,
    in_order,
    list_parts,
    list_replaced,
    part_path,
    replaced_folder,
    writing,
)
from collector.log.schema import LogTable

TIERS = (0, 2**17, 2**21)
"""Rows at which a part is of the next tier: those of one tier are merged with each other alone, so that a row is
written three times at most, however long the run. Parts above the last are left as they are: they are sorted by layer,
and a query of a few steps would have to look for them in ever larger ones."""

MIN_PARTS = 16
"""The fewest parts of a tier to merge while a run goes on."""

KEPT_SECONDS = 600.0
"""How long a replaced part can still be read; a query that takes longer lists the files again."""

_BATCH = 2**16
_Place: TypeAlias = Callable[[str], tuple[int, str]]
"""Where a series comes in a part: its layer's place in the model, or a metric's name."""


def merge_small(table: LogTable, folder: Path, layers: Sequence[str]) -> None:
    """Merge the newest parts of each tier where there are `MIN_PARTS` of them."""
    for lower, upper in pairwise(TIERS):
        parts = list_parts(folder)
        while parts and parts[-1].rows < lower:
            parts.pop()
        newest = _newest(parts, upper)
        if len(newest) >= MIN_PARTS:
            _merge(newest, table, folder, layers)


def merge_tail(table: LogTable, folder: Path, layers: Sequence[str]) -> Path | None:
    """Merge what a run that ends has of small parts at its end; returns the new part, if any."""
    newest = _newest(list_parts(folder), TIERS[1])
    return _merge(newest, table, folder, layers) if len(newest) > 1 else None


def merge_all(table: LogTable, folder: Path, layers: Sequence[str]) -> list[Path]:
    """Merge all parts of a run into as few as may be, none far above the last tier; returns the new parts."""
    batches: list[list[Part]] = [[]]
    for part in list_parts(folder):
        if sum(each.rows for each in batches[-1]) >= TIERS[-1]:
            batches.append([])
        batches[-1].append(part)
    return [_merge(parts, table, folder, layers) for parts in batches if len(parts) > 1]


def _newest(parts: Sequence[Part], below: int) -> list[Part]:
    """The parts at the end of `parts` that have fewer rows."""
    newest: list[Part] = []
    for part in reversed(parts):
        if part.rows >= below:
            break
        newest.insert(0, part)
    return newest


def _merge(parts: Sequence[Part], table: LogTable, folder: Path, layers: Sequence[str]) -> Path:
    step = min(map(first_step_of, parts))
    path = part_path(folder, step, parts[0].first, parts[-1].last)
    waiting: list[pa.Table] = []
    count = 0
    with writing(table, path) as writer:
        for rows in rows_by_series(parts, table, layers):
            waiting.append(rows)
            count += rows.num_rows
            if count >= ROW_GROUP:
                writer.write_table(pa.concat_tables(waiting).combine_chunks(), row_group_size=ROW_GROUP)
                waiting, count = [], 0
        if waiting:
            writer.write_table(pa.concat_tables(waiting).combine_chunks(), row_group_size=ROW_GROUP)
    finish_merge(folder)
    return path


def rows_by_series(parts: Sequence[Part], table: LogTable, layers: Sequence[str]) -> Iterator[pa.Table]:
    """All rows of the parts, a series at a time, by step; only that and a batch of each part are in memory.

    Layers come in the order of `layers`, metrics by name. Raises OSError for a part that is damaged.
    """
    places = {name: place for place, name in enumerate(layers)} if table.series == "layer" else {}

    def place(name: str) -> tuple[int, str]:
        return places.get(name, len(places)), name

    slices = heapq.merge(*(_slices(part, table, place) for part in parts), key=itemgetter(0))
    for _, pieces in groupby(slices, key=itemgetter(0)):
        yield _by_step(pa.concat_tables([rows for _, rows in pieces]))


def _slices(part: Part, table: LogTable, place: _Place) -> Iterator[tuple[tuple[int, str], pa.Table]]:
    """The rows of a part, a series or some of one at a time, with its place among the series."""
    with open_part(part.path) as file:
        if not _is_in_order(file, table, place):  # the model has got layers since, between those that it had
            whole = read_part(part.path, table)
            order = sorted(whole[table.series].unique().to_pylist(), key=place)
            batches = iter(in_order(whole, table, order).to_batches())
        else:
            batches = file.iter_batches(_BATCH, use_threads=False)
        for batch in batches:
            rows, start = table.complete(pa.Table.from_batches([batch])), 0
            for name, end in _ends(rows[table.series].combine_chunks()):
                yield place(name), rows.slice(start, end - start)
                start = end


def _is_in_order(file: pq.ParquetFile, table: LogTable, place: _Place) -> bool:
    series = file.read([table.series], use_threads=False)[table.series].combine_chunks()
    places = [place(name) for name, _ in _ends(series)]
    return places == sorted(places)


def _ends(series: pa.Array) -> Iterator[tuple[str, int]]:
    """The name of each run of equal names, and where it ends."""
    runs = pc.run_end_encode(series)
    yield from zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True)


def _by_step(rows: pa.Table) -> pa.Table:
    """The rows of one series by step, those of one step as they came."""
    steps = to_numpy(rows["step"])
    return rows if (steps[1:] >= steps[:-1]).all() else rows.take(pc.sort_indices(rows["step"]))


def finish_merge(folder: Path) -> None:
    """Move the parts that a merged part stands for out of `folder`."""
    aside = replaced_folder(folder)
    for path in list_replaced(folder):
        aside.mkdir(exist_ok=True)
        os.utime(path.rename(aside / path.name))
        index.forget(path)


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


def is_damage(error: Exception) -> bool:
    """Whether what a reader says is of the file's bytes, and not of the disk or of memory."""
    return not isinstance(error, MemoryError) and not getattr(error, "errno", None)


def open_part(path: Path) -> pq.ParquetFile:
    """A part to read, whose pages are checked against their checksums: OSError if they do not agree."""
    return pq.ParquetFile(path, page_checksum_verification=True)


def read_part(path: Path, table: LogTable) -> pa.Table:
    """All rows of a part. Raises OSError if a page does not agree with its checksum."""
    with open_part(path) as file:
        return table.complete(file.read(use_threads=False))  # the other cores are training
