"""What Parquet files say of themselves, as both readers have it: a file that either refuses is left out, alone.

pyarrow reads the schema, DuckDB the statistics: in pyarrow a flipped bit there can end the process (a C++ exception
that Cython does not catch). Then DuckDB opens the files as a query about some other run does, since one file that it
cannot open fails every query over the whole list. DuckDB is asked about all new files at once, and if that fails about
half of them, until it is known which it was. It takes 0.4 ms a file, once for each version in a process.
"""

import os
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from stat import S_ISREG
from threading import Lock
from typing import Any, NamedTuple, TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from collector.log.listing import stamp
from collector.log.rollups import rows_in
from collector.log.schema import ROLLUPS, LogTable

_VERSIONS_KEPT = 2**17
_USUAL_FOOTER, _LARGEST_FOOTER = 2**13, 2**26  # bytes; that of a file of 100 million rows takes 3 MB
_MOST_ROWS = 2**24  # that are read for want of statistics, which our own files have
_THREADS = 4
_MOST_STEPS = 2**53  # what a double still counts, and far above any count of tokens

_Answers: TypeAlias = tuple[list[tuple[Any, ...]], dict[str, str]]
"""The rows of an answer, and what DuckDB has against each file that it refuses."""


class Footer(NamedTuple):
    """What a Parquet file says of itself. problem: why it can't be used, or ''. runs: the runs its rows name.

    rows: how many it has; of a rollup, how many its part had.
    """

    problem: str
    runs: frozenset[str] = frozenset()
    last_step: int = 0
    rows: int = 0
    first_step: int = 0


_known: dict[tuple[str, str], tuple[str, Footer]] = {}
_changing = Lock()


def footer(path: Path, table: LogTable) -> Footer:
    """What the file at `path` says of itself."""
    return footers([path], table)[0]


def footers(paths: Sequence[Path], table: LogTable) -> list[Footer]:
    """What each file of one table says of itself. They need not lie in one run: together they are read faster."""
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
    for path, read in zip(new, _read(list(new), table), strict=True):
        found[path] = read
        if not read.problem or os.path.lexists(path):  # else it was merged just now
            _keep(path, table, new[path], read)
    return [found[path] for path in paths]


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
    """What files that were never read say of themselves."""
    if not paths:
        return []
    rows: dict[str, int] = {}
    found: dict[str, Footer] = {}
    for path in paths:
        try:
            rows[str(path)] = _rows(path, table)
        except _UnusableError as error:
            found[str(path)] = Footer(str(error))
    with cursor() as connection:
        statistics = {} if table is ROLLUPS else _statistics(connection, rows, found)
        asked = [file for file in rows if file not in found]
        none = str(resources.files("collector").joinpath("sql", f"no_{table.folder}.parquet"))
        _, refused = _by_halves(asked, lambda files: ask_files(connection, "opened", [none, *files]))
    found |= {file: Footer(damaged(reason)) for file, reason in refused.items()}
    for file in asked:
        found.setdefault(file, statistics.get(file, Footer(""))._replace(rows=rows[file]))
    return [found[str(path)] for path in paths]


def _rows(path: Path, table: LogTable) -> int:
    """How many rows a file has, or its part if it is a rollup, by pyarrow. Raises _UnusableError."""
    try:
        metadata = pq.read_metadata(pa.BufferReader(_end(path)))
        schema = metadata.schema.to_arrow_schema()
        if [(column.name, _plain_type(column.type)) for column in schema] != _columns(table):
            raise _UnusableError(f"it has other columns than the log's {table.folder}: move it out of the folder")
        return rows_in(metadata) if table is ROLLUPS else metadata.num_rows
    except (FileNotFoundError, PermissionError) as error:
        raise _UnusableError(left_out(error)) from error
    except (OSError, pa.ArrowException, LookupError, TypeError, ValueError, MemoryError) as error:
        raise _UnusableError(damaged(error)) from error  # ValueError: a name in it is not UTF-8


def _end(path: Path) -> bytes:
    """The end of a file, with the whole footer. Raises _UnusableError for one that no log needs."""
    with path.open("rb", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _USUAL_FOOTER, 0))
        end = file.read()
        footer_size = int.from_bytes(end[-8:-4], "little") + 8
        if len(end) < footer_size <= size:
            if footer_size > _LARGEST_FOOTER:
                raise _UnusableError(damaged(f"it has a footer of {footer_size:,} bytes"))
            file.seek(size - footer_size)
            end = file.read(footer_size)
    return end


def _columns(table: LogTable) -> list[tuple[str, pa.DataType]]:
    return [(column.name, column.type) for column in table.schema]


def _plain_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _statistics(
    connection: duckdb.DuckDBPyConnection, rows: dict[str, int], found: dict[str, Footer]
) -> dict[str, Footer]:
    """The runs and steps of files that have rows; what cannot be used comes into `found`."""
    asked = [file for file, count in rows.items() if count and file not in found]
    answers, refused = _by_halves(asked, lambda files: ask_files(connection, "footers", files))
    by_file = {file: values for file, *values in answers}
    without = [file for file in asked if file not in by_file or not by_file[file][0]]
    for file in [file for file in without if rows[file] > _MOST_ROWS]:
        reason = refused.get(file) or f"{rows[file]:,} rows without statistics of their runs and steps"
        found[file] = Footer(damaged(reason))
    small = [file for file in without if file not in found]
    answers, refused = _by_halves(small, lambda files: ask_files(connection, "footers_of_rows", files))
    by_file |= {file: values for file, *values in answers}
    found |= {file: Footer(damaged(reason)) for file, reason in refused.items()}
    statistics = {}
    for file in [file for file in asked if file not in found]:
        whole, runs, first, last = by_file.get(file) or (False, [], 0, 0)
        if not whole:
            found[file] = Footer(
                "it has rows without a run or a step, so all of them are left out: move it out of the folder"
            )
        elif not -_MOST_STEPS < first <= last < _MOST_STEPS:
            found[file] = Footer(damaged(f"steps from {first:,} to {last:,}"))
        else:
            statistics[file] = Footer("", frozenset(runs), last, 0, first)
    return statistics


def cursor() -> duckdb.DuckDBPyConnection:
    """A connection to look at files with, of this thread; the database behind it is made once in a process."""
    return _database(os.getpid()).cursor()


@lru_cache(1)
def _database(process: int) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": min(_THREADS, os.cpu_count() or 1)})


def ask_files(connection: duckdb.DuckDBPyConnection, statement: str, files: Sequence[str]) -> list[tuple[Any, ...]]:
    """What collector/sql/`statement`.sql answers about files. Raises duckdb.Error if it is refused one of them."""
    text = resources.files("collector").joinpath("sql", f"{statement}.sql").read_text(encoding="utf-8")
    return connection.execute(text, {"files": [pattern(file) for file in files]}).fetchall()


def _by_halves(files: Sequence[str], ask: Callable[[Sequence[str]], list[tuple[Any, ...]]]) -> _Answers:
    """What `ask` answers about files, and what DuckDB has against each that it refuses."""
    if not files:
        return [], {}
    try:
        return ask(files), {}
    except duckdb.InterruptException:
        raise
    except (duckdb.Error, UnicodeDecodeError) as error:
        if len(files) == 1:
            return [], {files[0]: str(error).partition("\n")[0]}
    middle = len(files) // 2
    (some, bad), (others, also_bad) = _by_halves(files[:middle], ask), _by_halves(files[middle:], ask)
    return some + others, bad | also_bad
