"""Finds what is damaged in a run: reads every footer and page of every file, with both readers.

In a process of its own, which tells at which file it is: should one end the process, that file is named, and another
process goes on with the rest.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from collector.log import index
from collector.log.arrays import to_numpy
from collector.log.compact import open_part, rows_by_series
from collector.log.parts import Part, list_parts
from collector.log.rollups import ANY, rollup_path
from collector.log.run import Run, is_as_written, read_heartbeat
from collector.log.schema import LOG_TABLES, ROLLUPS, TRUST_RATIOS, LogTable
from collector.store.footers import ask_files, cursor, footer
from collector.store.runs import read_run_files
from collector.store.sandbox import package_folders

Problem = tuple[str, str]
"""A file, and what is wrong with it, with what to do."""

_BATCH = 2**16
_CHANGED = (
    "it is not what was written, by its checksum: restore it from a copy, or take the checksum out of it if it was "
    "changed on purpose"
)
_MAIN = "import sys; sys.path += sys.argv[1:]; from collector.store.check import main; main()"


def check_run(folder: Path) -> list[Problem]:
    """What is wrong with a run; an empty list if nothing is.

    Beside what the store itself notices (run.json, footers, foreign files): pages that do not agree with their
    checksums, files that one reader refuses or reads as other rows, statistics that are not their rows', rows that are
    there twice, ratios that are not within their bounds, rollups of other rows, an index of other files.
    """
    return list(check_runs([folder]))


def check_runs(folders: Sequence[Path]) -> Iterator[Problem]:
    """What is wrong with several runs, one after the other, in one process."""
    inspector = _Inspector()
    try:
        for folder in folders:
            deadly: dict[str, str] = {}
            while True:
                try:
                    yield from inspector.inspect(folder, list(deadly))
                    break
                except _DeadError as error:
                    inspector = _Inspector()
                    if error.file in deadly:  # it is not the file, or not it alone
                        break
                    deadly[error.file] = f"it is damaged (reading it {error}): move it out of the run"
            yield from deadly.items()
    finally:
        inspector.end()


class _DeadError(Exception):
    """The process has ended. file: where it was then."""

    def __init__(self, file: str, code: int) -> None:
        super().__init__(f"ends the process, with {f'signal {-code}' if code < 0 else f'exit code {code}'}")
        self.file = file


class _Inspector:
    """The process that reads files, and the pipes to it."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", _MAIN, *package_folders()]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def inspect(self, folder: Path, passed_over: Sequence[str]) -> list[Problem]:
        """What is wrong with a run, but for some files. Raises _DeadError."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        file = str(folder)
        try:
            self._process.stdin.write(json.dumps([os.fspath(folder.absolute()), passed_over]) + "\n")
            self._process.stdin.flush()
            for line in self._process.stdout:
                said = json.loads(line)
                if "problems" in said:
                    return [(file, problem) for file, problem in said["problems"]]
                file = said["at"]
        except (BrokenPipeError, ValueError):  # it ended as it was asked, or in the middle of a line
            pass
        self.end()
        raise _DeadError(file, self._process.wait())

    def end(self) -> None:
        """End the process, which ends with its input."""
        self._process.communicate()


def main() -> None:
    """What the process does: look at the runs that its input names, and say at which file it is."""
    # What a reader writes to stdout is not for whoever waits for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(what: dict[str, Any]) -> None:
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    for line in sys.stdin:
        folder, passed_over = json.loads(line)
        say({"problems": _inspect(Path(folder), passed_over, lambda path: say({"at": path}))})


def _inspect(folder: Path, passed_over: Sequence[str], at: Callable[[str], None]) -> list[Problem]:
    run = read_run_files(folder.name, folder)
    problems = list(run.problems)
    for name, contents in (("run.json", run.contents), ("heartbeat", read_heartbeat(folder))):
        if contents and not is_as_written(contents):
            problems.append((str(folder / name), _CHANGED))
    named = {file for file, _ in problems} | set(passed_over)
    for table in LOG_TABLES:
        good = []
        parts = folder / table.folder
        for part in list_parts(parts) if os.path.isdir(parts) and str(parts) not in named else ():
            if str(part.path) in named:
                continue
            at(str(part.path))
            if problem := _unreadable(part.path, table):
                problems.append((str(part.path), problem))
            else:
                good.append(part)
        if table is TRUST_RATIOS:
            layers = Run(folder, run.contents).layers if run.contents else []
            problems += _rows(good, layers, parts)
            for part in good:
                if str(rollup_path(part.path)) not in named:
                    at(str(rollup_path(part.path)))
                    problems += _rollup(part.path)
    return problems + list(_index(folder))


def _index(folder: Path) -> Iterator[Problem]:
    """An index that cannot be used, or that says of a file what that does not say of itself."""
    anew = "remove it, lambc compact makes it anew"
    if problem := index.problem(folder):
        yield str(folder / index.INDEX), f"{problem}: {anew}"
    tables = {table.folder: table for table in (*LOG_TABLES, ROLLUPS)}
    for name, entry in index.read(folder).items():
        path = folder / name
        if index.mark(path) == entry.mark and footer(path, tables[path.parent.name]) != entry.footer:
            yield str(folder / index.INDEX), f"what it says of {name} is not what that says of itself: {anew}"


def _unreadable(path: Path, table: LogTable) -> str:
    """Why a file cannot be relied on, or ''."""
    try:
        reason = _differences(path, table)
    except (OSError, pa.ArrowException, duckdb.Error, ValueError, MemoryError) as error:
        # What pyarrow raises while DuckDB takes rows from it comes with Python's traceback behind it.
        reason = str(error).partition("\n")[0].partition(" Detail: Python exception:")[0]
    take_along = "restore it from a copy, or move it out of the run, whose rows it takes along"
    return reason and f"it is damaged ({reason}): {take_along}"


def _differences(path: Path, table: LogTable) -> str:
    """Where DuckDB reads other rows than pyarrow, or the statistics are not those of the rows."""
    hashed = ask_files("rows_hashed", [str(path)])
    with cursor() as connection, open_part(path) as file:
        batches = pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches(_BATCH, use_threads=False))
        if connection.from_arrow(batches).aggregate("count(*), sum(hash(COLUMNS(*)))").fetchall() != hashed:
            return "DuckDB reads it otherwise than pyarrow"
        if file.metadata.num_rows != hashed[0][0]:
            return f"it says that it has {file.metadata.num_rows:,} rows, and has {hashed[0][0]:,}"
        named = ["run", "step", table.series, *table.pruned_by]
        said = {(group, name): rest for group, name, *rest in ask_files("statistics", [str(path)])}
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, columns=named, use_threads=False)
            for name in named:
                if (group, name) not in said:
                    return f"its footer does not name the column {name!r}"
                ends = pc.min_max(rows[name]).as_py()
                true = [str(ends["min"]), str(ends["max"]), rows[name].null_count]
                if any(each not in (None, known) for each, known in zip(said[group, name], true, strict=True)):
                    return f"its statistics of {name!r} are not those of its rows"
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
    if problem := footer(path, ROLLUPS).problem or _unreadable(path, ROLLUPS):
        yield str(path), f"{problem.partition(':')[0]}: remove it, lambc compact makes it anew"
        return
    with pq.ParquetFile(path) as file:  # read_table would first import pyarrow's datasets, and they pandas
        cells = file.read(columns=["last_level", "rows"], use_threads=False)
    counted = int(to_numpy(cells["rows"])[to_numpy(cells["last_level"]) == ANY].sum())
    if not counted == footer(path, ROLLUPS).rows == pq.read_metadata(part).num_rows:
        yield str(path), "it was made of other rows than its part has: remove it, lambc compact makes it anew"
