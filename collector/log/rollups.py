"""Rollups: what a part of the trust ratios says in cells of 64 steps and more, so that no overview reads every row.

`rollups/<name>.parquet` belongs to `trust_ratios/<name>.parquet`, and counts only while there is such a part with as
many rows; so it can be made, or be left out, at any time. A cell of level n stands for the 2^n steps from a multiple of
2^n on. The smallest, the largest and the hits are exact at every level: zooming out hides no spike and no hit. Large
cells have a histogram of the ratios that could be clipped, in bins of a 32nd of an octave, which gives quantiles and
says what another bound would have clipped.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from collector.log.arrays import of_buffer, strings, to_numpy
from collector.log.compact import open_part
from collector.log.footer import ROWS, rows_in
from collector.log.parts import ROW_GROUP, Part, list_parts, replaced_folder, writing
from collector.log.schema import ROLLUPS, TRUST_RATIOS

FINEST, COARSEST = 6, 22
"""Levels: from the finest up to the first, the top, at which the part is at most two cells a layer."""

ANY = 62
"""`last_level` of a top-level cell: the part has no wider one."""

BINNED = 12
"""The finest level whose cells have a histogram; a top has one, too."""

BINS_AN_OCTAVE = 32
"""Bin b holds the ratios above 2^((b - 1) / 32) and up to 2^(b / 32)."""

Columns: TypeAlias = dict[str, np.ndarray]
"""A table by its columns; `layer` is a number here, and what ends in _mean is still a sum."""

Counts: TypeAlias = tuple[np.ndarray, np.ndarray]
"""Histograms of cells: the sorted keys (cell number and bin) of the non-empty bins, and their row counts."""

_DTYPES = {pa.int32(): np.int32, pa.int64(): np.int64, pa.float32(): np.float32}
_BIN_BITS, _BIN_ZERO = 14, 2**13
_SMALLEST, _LARGEST = 2.0**-32, 2.0**128  # what lies outside counts as that; as in collector/sql/ratio_bin.sql
_NEVER = 2**63 - 1


def rollup_path(part: Path) -> Path:
    """Where the rollup of a part lies, if there is one."""
    return part.parent.with_name(ROLLUPS.folder) / part.name


def forget(part: Path) -> None:
    """Remove the rollup of a part that is about to change or to go."""
    rollup_path(part).unlink(missing_ok=True)


def roll_up(folder: Path, *, at_least: int = 1) -> None:
    """See that each part in a run's folder of trust ratios that has `at_least` so many rows has its rollup.

    Rollups of parts that are gone for good are removed. Raises OSError if the disk does, or for a part that is damaged.
    """
    parts = list_parts(folder)
    aside = folder.with_name(ROLLUPS.folder)
    names = {part.path.name for part in parts} | {path.name for path in replaced_folder(folder).glob("*.parquet")}
    for path in aside.glob("*.parquet") if aside.is_dir() else ():
        if path.name not in names:
            path.unlink(missing_ok=True)
    for part in parts:
        if part.rows >= at_least and rows_of(rollup_path(part.path)) != part.rows:
            aside.mkdir(exist_ok=True)
            _write(part)


def rows_of(rollup: Path) -> int | None:
    """How many rows the part had that a rollup was made of; None if there is none that can be used."""
    try:
        metadata = pq.read_metadata(rollup)
        names = metadata.schema.to_arrow_schema().names
        return rows_in(metadata) if names in (ROLLUPS.schema.names, ROLLUPS.full.names) else None
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None


def _write(part: Part) -> None:
    names: dict[str, int] = {}
    cells, counts = _finest(part.path, names)
    run = strings([part.path.parent.parent.name])[0]
    level = FINEST
    with writing(ROLLUPS, rollup_path(part.path)) as writer:
        writer.add_key_value_metadata({ROWS: str(part.rows)})
        while True:
            top = level == COARSEST or bool(np.ptp(cells["step"]) <= 2**level)
            shown = counts if top or level >= BINNED else None
            writer.write_table(_as_table(cells, shown, run, list(names), level, top), row_group_size=ROW_GROUP)
            if top:
                return
            level += 1
            cells, counts = _grouped(cells, counts, level)


def _finest(path: Path, names: dict[str, int]) -> tuple[Columns, Counts]:
    """The cells of the finest level; `names` is given the layers with their numbers."""
    found: list[Columns] = []
    keys, rows, before = [], [], 0
    with open_part(path) as file:
        for number in range(file.num_row_groups):
            cells, counts = _cells(file.read_row_group(number, use_threads=False), names)
            found.append(cells)
            keys.append(counts[0] + (before << _BIN_BITS))
            rows.append(counts[1])
            before += len(cells["step"])
    # A cell that spans two row groups comes twice, one after the other.
    columns = {name: np.concatenate([each[name] for each in found]) for name in found[0]}
    return _grouped(columns, (np.concatenate(keys), np.concatenate(rows)), FINEST)


def _cells(rows: pa.Table, names: dict[str, int]) -> tuple[Columns, Counts]:
    """Rows as cells. What makes a row a hit or a fallback is said in collector/sql/outcome.sql, too."""
    layers = rows["layer"].combine_chunks().dictionary_encode()
    numbers = np.array([names.setdefault(name, len(names)) for name in layers.dictionary.to_pylist()])
    step, epoch, w, u, ratio, clipped, lower, upper, lr = (
        to_numpy(rows[name]) for name in ("step", "epoch", *TRUST_RATIOS.measured)
    )
    grad = _or_nan(rows["grad_norm"]) if "grad_norm" in rows.column_names else np.full(len(step), np.nan)
    with np.errstate(all="ignore"):
        finite = np.isfinite(w) & np.isfinite(u)
        exempt = (lower == 1) & (upper == 1)
        usable = finite & (w > 0) & (u > 0) & ~np.isnan(ratio) & ~((ratio == 1) & ~np.isfinite(w / u))
        adapted = usable & ~exempt
        above = adapted & (ratio > upper)
        below = adapted & (ratio < lower) & ~above
        hit = above | below
        columns = {
            "layer": numbers[to_numpy(layers.indices)],
            "step": step,
            "last_step": step,
            "epoch": epoch,
            "rows": np.ones(len(step)),
            "adapted": adapted,
            "upper_hits": above,
            "lower_hits": below,
            "fallbacks": ~usable & ~exempt,
            "not_finite": ~finite,
            "first_hit": np.where(hit, step, _NEVER),
            "last_hit": np.where(hit, step, -1),
            "weight_norm_min": w,
            "weight_norm_max": w,
            "update_norm_min": u,
            "update_norm_max": u,
            "trust_ratio_min": ratio,
            "trust_ratio_max": ratio,
            "trust_ratio_mean": ratio.astype(float),
            "trust_ratio_log_mean": np.log(ratio.astype(float)),
            "clipped_ratio_min": clipped,
            "clipped_ratio_max": clipped,
            "clipped_ratio_log_mean": np.log(clipped.astype(float)),
            "relative_step_max": np.where(w == 0, np.nan, lr.astype(float) * clipped * u / w),
            "lower": lower,
            "upper": upper,
            "grad_norm_min": grad,
            "grad_norm_max": grad,
        }
        within = np.fmin(np.maximum(ratio[adapted].astype(float), _SMALLEST), _LARGEST)
        bins = np.ceil(BINS_AN_OCTAVE * np.log2(within)).astype(np.int64)
    keys = (np.flatnonzero(adapted) << _BIN_BITS) + bins + _BIN_ZERO
    return _grouped(columns, (keys, np.ones(len(keys), np.int64)), FINEST)


def _or_nan(column: pa.ChunkedArray) -> np.ndarray:
    nan = of_buffer(np.array([np.nan], np.float32), pa.float32())[0]
    return to_numpy(pc.fill_null(column, nan))


def _sum(column: np.ndarray, starts: np.ndarray) -> np.ndarray:
    kind = column.dtype if column.dtype.kind == "f" else np.int64
    return np.add.reduceat(column, starts, dtype=kind)


def _last(column: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return column[np.append(starts[1:], len(column)) - 1]


def _reduction(name: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """How a column of several cells becomes that of one. fmin and fmax pass over NaN."""
    if name in ("layer", "step"):
        return lambda column, starts: column[starts]
    if name in ("lower", "upper"):
        return _last
    if name == "first_hit" or name.endswith("_min"):
        return np.fmin.reduceat
    if name in ("epoch", "last_step", "last_hit") or name.endswith("_max"):
        return np.fmax.reduceat
    return _sum


def _grouped(columns: Columns, counts: Counts, level: int) -> tuple[Columns, Counts]:
    """Cells of `level` of finer ones, or of rows, which are in order by layer and step."""
    columns = columns | {"step": columns["step"] >> level << level}
    changes = (np.diff(columns["layer"]) != 0) | (np.diff(columns["step"]) != 0)
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    with np.errstate(invalid="ignore"):
        cells = {name: _reduction(name)(column, starts) for name, column in columns.items()}
    number = np.concatenate([[0], np.cumsum(changes)])  # of the cell that each row, or finer cell, is in
    keys, rows = counts
    keys = (number[keys >> _BIN_BITS] << _BIN_BITS) | (keys & (2**_BIN_BITS - 1))
    order = np.argsort(keys, kind="stable")  # nearly sorted already, which a stable sort is fast on
    keys, rows = keys[order], rows[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    return cells, (keys[starts], _sum(rows, starts))


def _as_table(
    cells: Columns, counts: Counts | None, run: pa.Scalar, names: list[str], level: int, top: bool
) -> pa.Table:
    count = len(cells["step"])

    def column(name: str, kind: pa.DataType) -> pa.Array:
        match name:
            case "run":
                return pa.repeat(run, count)
            case "layer":
                return strings(names).take(of_buffer(cells["layer"].astype(np.int64), pa.int64()))
            case "level":
                return of_buffer(np.full(count, level, np.int32), kind)
            case "last_level":
                return of_buffer(np.full(count, ANY if top else level, np.int32), kind)
            case "ratio_bins" | "ratio_rows":
                return pa.nulls(count, kind) if counts is None else _lists(counts, count)[name == "ratio_rows"]
        return _numbers(name, cells, kind)

    return pa.table([column(field.name, field.type) for field in ROLLUPS.full], schema=ROLLUPS.full)


def _numbers(name: str, cells: Columns, kind: pa.DataType) -> pa.Array:
    """A column of numbers: sums divided by their rows, and null where no row had a number."""
    values: Any = cells[name] / cells["rows"] if name.endswith("_mean") else cells[name]
    missing = np.isnan(values) if values.dtype.kind == "f" else (values == _NEVER) | (values == -1)
    with np.errstate(over="ignore"):  # a relative step may be too large for a float32, and is Inf then
        numbers = values.astype(_DTYPES[kind])
    return of_buffer(numbers, kind, ~missing if missing.any() else None)


def _lists(counts: Counts, cells: int) -> tuple[pa.Array, pa.Array]:
    """The bins of each cell that are not empty, and their rows."""
    keys, rows = counts
    ends = np.cumsum(np.bincount(keys >> _BIN_BITS, minlength=cells))
    offsets = of_buffer(np.concatenate([[0], ends]).astype(np.int32), pa.int32())
    bins = of_buffer(((keys & (2**_BIN_BITS - 1)) - _BIN_ZERO).astype(np.int16), pa.int16())
    return (
        pa.ListArray.from_arrays(offsets, bins),
        pa.ListArray.from_arrays(offsets, of_buffer(rows.astype(np.int32), pa.int32())),
    )
