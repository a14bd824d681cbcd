"""Finds what is damaged in a run: reads every page of every file, where a query trusts them."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from collector.log.arrays import to_numpy
from collector.log.compact import open_part, rows_by_series
from collector.log.listing import read_run_files
from collector.log.parts import Part, list_parts
from collector.log.rollups import ANY, rollup_path
from collector.log.run import Run
from collector.log.schema import LOG_TABLES, TRUST_RATIOS

Problem = tuple[str, str]
"""A file, and what is wrong with it, with what to do."""


def check_run(folder: Path) -> list[Problem]:
    """What is wrong with a run; an empty list if nothing is.

    Beside what the store itself notices (run.json, footers, foreign files): pages that do not agree with their
    checksums, rows that are there twice, ratios that are not within their bounds, rollups of other rows.
    """
    run = read_run_files(folder.name, folder)
    problems = list(run.problems)
    named = {file for file, _ in problems}
    for table in LOG_TABLES:
        good = []
        parts = folder / table.folder
        for part in list_parts(parts) if os.path.isdir(parts) and str(parts) not in named else ():
            if str(part.path) in named:
                continue
            if problem := _unreadable(part.path):
                problems.append((str(part.path), problem))
            else:
                good.append(part)
        if table is TRUST_RATIOS:
            layers = Run(folder, run.contents).layers if run.contents else []
            problems += _rows(good, layers, parts)
            problems += [problem for part in good for problem in _rollup(part.path)]
    return problems


def _unreadable(path: Path) -> str:
    try:
        with open_part(path) as file:
            for number in range(file.num_row_groups):
                file.read_row_group(number, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        return f"it is damaged ({reason}): restore it from a copy, or move it out of the run, whose rows it takes along"
    return ""


def _rows(parts: list[Part], layers: list[str], folder: Path) -> Iterator[Problem]:
    """Rows that are there twice, and ratios that are not within their bounds."""
    doubled = unclipped = 0
    for rows in rows_by_series(parts, TRUST_RATIOS, layers):
        steps = to_numpy(rows["step"])
        doubled += int((steps[1:] == steps[:-1]).sum())
        ratio, clipped, lower, upper = (
            to_numpy(rows[name]) for name in ("trust_ratio", "clipped_ratio", "lower", "upper")
        )
        unclipped += int((np.minimum(np.maximum(ratio, lower), upper) != clipped).sum())
    if doubled:
        yield str(folder), f"{doubled:,} rows are there twice: ask with SELECT DISTINCT, and report how it came about"
    if unclipped:
        yield (
            str(folder),
            f"in {unclipped:,} rows the clipped ratio is not the ratio within its bounds: do not rely on it",
        )


def _rollup(part: Path) -> Iterator[Problem]:
    path = rollup_path(part)
    if not path.exists():
        return
    if problem := _unreadable(path):
        yield str(path), f"{problem.partition(':')[0]}: remove it, lambc compact makes it anew"
        return
    cells = pq.read_table(path, columns=["last_level", "rows"], partitioning=None)
    counted = int(to_numpy(cells["rows"])[to_numpy(cells["last_level"]) == ANY].sum())
    if counted != pq.read_metadata(part).num_rows:
        yield str(path), "it was made of other rows than its part has: remove it, lambc compact makes it anew"
