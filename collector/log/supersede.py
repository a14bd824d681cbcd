"""Taking rows out of a log that a resumed run writes anew."""

import math
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from collector.log.arrays import numbers, strings
from collector.log.compact import clear_replaced, finish_merge, is_damage, read_part
from collector.log.parts import first_step_of, list_parts, replace_part
from collector.log.rollups import forget
from collector.log.schema import LogTable


def supersede(
    table: LogTable,
    folder: Path,
    destination: Path,
    first_step: int,
    series: Sequence[str] | None = None,
    *,
    but: Sequence[str] = (),
) -> list[Path]:
    """Move the rows of `folder` with a step of `first_step` or later to `destination`.

    series: the layers, or the metrics, whose rows move; None for all. but: those whose rows stay.

    The rows that stay are rewritten atomically, after those that go were written. Killed in between, a row is still
    in the log, once, and the next resume moves it. The newest go first, so that what is left then has no gap.

    A part that cannot be read moves whole, since its rows would else be there beside those that come anew. Returns
    where such parts are now.
    """
    damaged: list[Path] = []
    finish_merge(folder)
    clear_replaced(folder, seconds=-math.inf)  # their names are given anew: a reader would find both
    for part in reversed(list_parts(folder)):
        if series is None and not but and first_step_of(part) >= first_step:
            _move(part.path, destination)
            continue
        try:
            if last_step(part.path) < first_step:
                continue
            rows = read_part(part.path, table)
        except (OSError, pa.ArrowException) as error:
            if not is_damage(error):
                raise
            damaged.append(_move(part.path, destination))
            continue
        goes = pc.greater_equal(rows["step"], numbers([first_step], pa.int64())[0])
        if series is not None:
            goes = pc.and_(goes, pc.is_in(rows[table.series], value_set=strings(series)))
        if but:
            goes = pc.and_(goes, pc.invert(pc.is_in(rows[table.series], value_set=strings(but))))
        if not pc.any(goes).as_py():
            continue
        if pc.all(goes).as_py():
            _move(part.path, destination)
        else:
            destination.mkdir(parents=True, exist_ok=True)
            forget(part.path)
            kept = _free(destination / part.path.name)
            replace_part(rows.filter(goes), table, kept)
            replace_part(rows.filter(pc.invert(goes)), table, part.path)
    return damaged


def _move(part: Path, destination: Path) -> Path:
    destination.mkdir(parents=True, exist_ok=True)
    forget(part)
    return part.rename(_free(destination / part.name))


def _free(path: Path) -> Path:
    """A path that is not taken: each of several optimizers takes its own layers' rows out of the same parts."""
    others = (path.with_name(f"{path.stem}-{number}.parquet") for number in count(2))
    return next(each for each in chain([path], others) if not each.exists())


def last_step(path: Path) -> int:
    """Returns the last step in a part, from its rows: statistics of a damaged footer would end the process.

    Opening it so takes 0.2 ms; `read_table` would first import pyarrow's datasets, which takes a third of a second.
    """
    with pq.ParquetFile(path, memory_map=True) as part:
        return pc.max(part.read(columns=["step"], use_threads=False)["step"]).as_py() or 0
