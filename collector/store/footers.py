"""The footers of Parquet files, as both readers have them: a file that either refuses is left out, alone.

pyarrow reads the schema, DuckDB the statistics: in pyarrow a flipped bit there can end the process (a C++ exception
that Cython does not catch). Then DuckDB opens the files as a query about some other run does, since one file that it
cannot open fails every query over the whole list. DuckDB is asked about all new files at once, and if that fails about
half of them, until it is known which it was. It takes 0.4 ms a file, once for each version in a process. Of a file that
the index of its run knows (collector.log.index) only the footer's checksum is looked at.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from itertools import chain
from pathlib import Path
from stat import S_ISREG
from threading import Lock
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from collector.log import index
from collector.log.footer import Footer, read_end, rows_in
from collector.log.index import Index
from collector.log.listing import stamp
from collector.log.schema import ROLLUPS, LogTable

_VERSIONS_KEPT = 2**17
_MOST_ROWS = 2**24  # that are read for want of statistics, which our own files have
_THREADS = 4

TYPES = {
    pa.string(): "VARCHAR",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
    pa.list_(pa.int16()): "SMALLINT[]",
    pa.list_(pa.int32()): "INTEGER[]",
}
"""What DuckDB calls Arrow's types; it would tell by itself, but imports pandas to do so."""

_Answers: TypeAlias = tuple[list[tuple[Any, ...]], dict[str, str]]
"""The rows of an answer, and what DuckDB has against each file that it refuses."""


_known: dict[tuple[str, str], tuple[str, Footer]] = {}
_changing = Lock()


def footer(path: Path, table: LogTable) -> Footer:
    """Returns the footer of the file at `path`."""
    return footers([path], table)[0]


def footers(paths: Sequence[Path], table: LogTable, indexes: Mapping[Path, Index] | None = None) -> list[Footer]:
    """Returns the footers of files of one table. They need not lie in one run: together they are read faster.

    indexes: of runs, by their folders: what one says of a file that is as it was then is not read. A run that is not
        among them has its files read.
    """
    found: dict[Path, Footer] = {}
    new: dict[Path, str] = {}
    for path in paths:
        try:
            version = _version(path)
        except _UnusableError as error:
            found[path] = Footer(str(error))
            continue
        known = _known.get((str(path), table.folder))
        if known and known[0] == version:
            found[path] = known[1]
        else:
            new[path] = version
    said = _said(new, indexes or {})
    unsaid = [path for path in new if path not in said]
    for path, read in chain(said.items(), zip(unsaid, _read(unsaid, table), strict=True)):
        found[path] = read
        if not read.problem or os.path.lexists(path):  # else it was merged just now
            _keep(path, table, new[path], read)
    return [found[path] for path in paths]


def _said(paths: Iterable[Path], indexes: Mapping[Path, Index]) -> dict[Path, Footer]:
    """What the indexes say of files that are as they were then."""
    said = {}
    for path in paths:
        entry = indexes.get(path.parent.parent, {}).get(index.name_of(path))
        if entry and index.mark(path) == entry.mark:
            said[path] = entry.footer
    return said


def _keep(path: Path, table: LogTable, version: str, read: Footer) -> None:
    with _changing:
        while len(_known) >= _VERSIONS_KEPT:
            del _known[next(iter(_known))]
        _known[str(path), table.folder] = version, read


def left_out(error: OSError) -> str:
    """The problem of a file or folder that the system does not open."""
    reason = os.strerror(error.errno) if error.errno else error  # Arrow's own text has the path in it, twice
    return f"it cannot be opened ({reason}), so its rows are left out: mend or remove it"


def printable(path: Path) -> str:
    """The path as text; bytes in it that are not UTF-8 become question marks."""
    return str(path).encode(errors="replace").decode()


def pattern(file: str) -> str:
    """The pattern for this file alone: DuckDB takes every path for one, and `a*` must not bring the rows of `ab`."""
    return re.sub(r"[*?\[]", r"[\g<0>]", file)


def damaged(reason: object) -> str:
    """The problem of a file that a reader refuses."""
    said = str(reason).partition("\n")[0]
    return f"it is damaged ({said}), so its rows are left out: move it out of the folder"


class _UnusableError(Exception):
    """A file that is left out, and why."""


def _version(path: Path) -> str:
    if printable(path) != str(path):
        raise _UnusableError("its name is not UTF-8, which DuckDB needs: rename it")
    try:
        status = path.stat()
    except OSError as error:  # no permission, a link that leads nowhere, or a part that was merged just now
        raise _UnusableError(left_out(error)) from error
    if not S_ISREG(status.st_mode):  # to open a pipe would take until somebody writes into it
        raise _UnusableError("it is no file, so it is left out: move it out of the folder")
    return stamp(status)


def _read(paths: Sequence[Path], table: LogTable) -> list[Footer]:
    """Returns the footers of files that were never read."""
    if not paths:
        return []
    schemas: dict[str, Footer] = {}
    found: dict[str, Footer] = {}
    for path in paths:
        try:
            schemas[str(path)] = _schema(path, table)
        except _UnusableError as error:
            found[str(path)] = Footer(str(error))
    rows = {file: read.rows for file, read in schemas.items()}
    statistics = {} if table is ROLLUPS else _statistics(rows, found)
    asked = [file for file in rows if file not in found]
    _, refused = _by_halves(asked, "opened")
    found |= {file: Footer(damaged(reason)) for file, reason in refused.items()}
    misplaced, _ = _by_halves([file for file in asked if file not in found], "chunks")
    found |= {file: Footer(damaged("a column has a negative place or size")) for (file,) in misplaced}
    found |= _of_other_types([file for file in asked if file not in found], table)
    for file in asked:
        found.setdefault(file, statistics.get(file, Footer(""))._replace(rows=rows[file], older=schemas[file].older))
    return [found[str(path)] for path in paths]


def _schema(path: Path, table: LogTable) -> Footer:
    """How many rows a file has, or its part if it is a rollup, and whether it is older. Raises _UnusableError."""
    try:
        metadata = pq.read_metadata(pa.BufferReader(_end(path)))
        schema = metadata.schema.to_arrow_schema()
        found = [(column.name, _plain_type(column.type)) for column in schema]
        if found not in (_columns(table.schema), _columns(table.full)):
            raise _UnusableError(f"it has other columns than the log's {table.folder}: move it out of the folder")
        rows = rows_in(metadata) if table is ROLLUPS else metadata.num_rows
        return Footer("", rows=rows, older=found != _columns(table.full))
    except (FileNotFoundError, PermissionError) as error:
        raise _UnusableError(left_out(error)) from error
    except (OSError, pa.ArrowException, LookupError, TypeError, ValueError, MemoryError) as error:
        raise _UnusableError(damaged(error)) from error  # ValueError: a name in it is not UTF-8


def _end(path: Path) -> bytes:
    with path.open("rb", buffering=0) as file:
        return read_end(file)


def _columns(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    return [(column.name, column.type) for column in schema]


def _plain_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _of_other_types(files: Sequence[str], table: LogTable) -> dict[str, Footer]:
    """The files in which DuckDB sees other types than pyarrow does: a view has the types of its first file."""
    expected = [{column.name: TYPES[column.type] for column in columns} for columns in (table.schema, table.full)]
    answers, refused = _by_halves(files, "types")
    other = dict(refused)
    for file, names, types in answers:
        seen = {name: kind for name, kind in zip(names, types, strict=True) if name in expected[1]}
        if seen not in expected:
            other[file] = f"to DuckDB its columns are {seen}"
    return {file: Footer(damaged(reason)) for file, reason in other.items()}


def _statistics(rows: dict[str, int], found: dict[str, Footer]) -> dict[str, Footer]:
    """The runs and steps of files that have rows; what cannot be used comes into `found`."""
    asked = [file for file, count in rows.items() if count and file not in found]
    answers, refused = _by_halves(asked, "footers")
    by_file = {file: values for file, *values in answers}
    without = [file for file in asked if file not in by_file or not by_file[file][0]]
    for file in [file for file in without if rows[file] > _MOST_ROWS]:
        reason = refused.get(file) or f"{rows[file]:,} rows without statistics of their runs and steps"
        found[file] = Footer(damaged(reason))
    small = [file for file in without if file not in found]
    answers, refused = _by_halves(small, "footers_of_rows")
    of_rows = set(small)
    by_file |= {file: values for file, *values in answers}
    found |= {file: Footer(damaged(reason)) for file, reason in refused.items()}
    statistics = {}
    for file in [file for file in asked if file not in found]:
        whole, runs, first, last = by_file.get(file) or (False, [], 0, 0)
        if not whole:
            found[file] = Footer(
                "it has rows without a run or a step, so all of them are left out: move it out of the folder"
            )
            continue
        read = Footer("", frozenset(runs), last, 0, first, complete=file not in of_rows)
        if read.is_possible:
            statistics[file] = read
        else:
            found[file] = Footer(damaged(f"steps from {first:,} to {last:,}"))
    return statistics


def cursor() -> duckdb.DuckDBPyConnection:
    """A connection to look at files with, of this thread; the database behind it is made once in a process."""
    return _database(os.getpid()).cursor()


@lru_cache(1)
def _database(process: int) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": min(_THREADS, os.cpu_count() or 1)})


def ask_files(statement: str, files: Sequence[str]) -> list[tuple[Any, ...]]:
    """What collector/sql/`statement`.sql answers about files. Raises duckdb.Error if it is refused one of them."""
    text = resources.files("collector").joinpath("sql", f"{statement}.sql").read_text(encoding="utf-8")
    patterns = {"files": [pattern(file) for file in files]}
    try:
        with cursor() as connection:
            return connection.execute(text, patterns).fetchall()
    except duckdb.FatalException:  # an internal error, of another file's, has ended the database for all questions
        _database.cache_clear()
        with cursor() as connection:
            return connection.execute(text, patterns).fetchall()


def _by_halves(files: Sequence[str], statement: str) -> _Answers:
    """What a statement answers about files, and what DuckDB has against each that it refuses."""
    if not files:
        return [], {}
    try:
        return ask_files(statement, files), {}
    except duckdb.InterruptException:
        raise
    except (duckdb.Error, UnicodeDecodeError) as error:
        if len(files) == 1:
            return [], {files[0]: str(error).partition("\n")[0]}
    middle = len(files) // 2
    some, bad = _by_halves(files[:middle], statement)
    others, also_bad = _by_halves(files[middle:], statement)
    return some + others, bad | also_bad
