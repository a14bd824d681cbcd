"""The index of a run: the footers of its Parquet files, for a quick first look at thousands of runs.

A cache that writers and compaction maintain. The files take precedence: a reader uses an entry only while its file
has the size, the modification time and the footer checksum noted in it.
A file that is not in it, or has changed, is read. So it may be missing or old at any time: a writer that changes a
file, or is killed, owes it nothing.

An entry is made as a file is written, of what was meant to be written, and kept in memory until the run ends: a file
that was damaged before anybody looked has none. Files of others, and of runs that were killed, get theirs from the
store, which reads them with both readers (`compact_run`).
"""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pyarrow.parquet as pq

from collector.log import atomic
from collector.log.footer import Footer, checksum, footer_of_written, read_end
from collector.log.schema import LOG_TABLES, ROLLUPS, LogTable
from collector.log.small_files import UnusableFileError, read_small, sealed, what_is_wrong

INDEX = "index.json"
_MOST_BYTES = 2**22  # a run of 100 million rows has some 20 kB
_COLUMNS = zlib.crc32(
    repr([(each.name, str(each.type)) for table in (*LOG_TABLES, ROLLUPS) for each in table.full]).encode()
)
"""An index of a version with other columns is not used: which files are good depends on them."""


class Mark(NamedTuple):
    """Identifies a version of a file by its size, modification time and footer checksum."""

    size: int
    time: int
    checksum: int


class Entry(NamedTuple):
    """The footer of a version of a file."""

    mark: Mark
    footer: Footer


Index: TypeAlias = Mapping[str, Entry]
"""The entries of a run's files, by their folder and name."""

_FOLDERS = {table.folder for table in (*LOG_TABLES, ROLLUPS)}
_written: dict[Path, dict[str, tuple[int, Footer]]] = {}
"""What this process wrote of each run, until it is in an index: the checksum of a file's footer, and what it says."""


def note(path: Path, table: LogTable, metadata: pq.FileMetaData) -> None:
    """Keep what is known of a file that was written just now; some file systems give it its time only later."""
    footer, check = footer_of_written(metadata, table)
    _written.setdefault(path.parent.parent, {})[name_of(path)] = check, footer


def forget(path: Path) -> None:
    """Keep nothing of a file that was merged: a run of weeks writes hundreds of thousands."""
    _written.get(path.parent.parent, {}).pop(name_of(path), None)


def save(folder: Path, more: Index | None = None) -> None:
    """Write the index of a run: what still holds of the last one and of what this process wrote, and some more."""
    known, written = {**read(folder), **(more or {})}, _written.get(folder, {})
    now = {name: mark(folder / name) for name in sorted(known.keys() | written.keys())}
    entries = {name: entry for name, entry in known.items() if now[name] == entry.mark}
    for name, (check, footer) in written.items():
        if (found := now[name]) and found.checksum == check:
            entries[name] = Entry(found, footer)
    files = {name: _as_json(entries[name]) for name in now if name in entries}
    atomic.write_text(folder / INDEX, sealed({"columns": _COLUMNS, "files": files}))
    _written.pop(folder, None)


def read(folder: Path) -> Index:
    """The index of a run; an empty one where there is none that can be used."""
    try:
        return _read(folder)
    except (OSError, ValueError):
        return {}


def problem(folder: Path) -> str:
    """What is wrong with the index of a run that cannot be used, or ''."""
    return what_is_wrong(_read, folder)


def _read(folder: Path) -> Index:
    """The index of a run. Raises ValueError, which says what is wrong with it, if it cannot be used, and OSError."""
    try:
        text = read_small(folder / INDEX, _MOST_BYTES, links=False)
        contents = json.loads(text)
        if text != sealed(contents):
            raise ValueError("its checksum is wrong")
        if contents["columns"] != _COLUMNS:
            return {}
        return {name: _of_json(*values) for name, values in contents["files"].items() if _is_name(name)}
    except UnusableFileError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(f"it is not what was written ({error})") from error


def mark(path: Path) -> Mark | None:
    """By what the file that is at `path` now is known; None where none can be read."""
    try:
        with open(path, "rb", buffering=0, opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            return Mark(status.st_size, status.st_mtime_ns, checksum(read_end(file)))
    except (OSError, ValueError):
        return None


def name_of(path: Path) -> str:
    """What a file is called in the index of its run."""
    return f"{path.parent.name}/{path.name}"


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would take until somebody writes into it


def _is_name(name: str) -> bool:
    folder, _, file = name.partition("/")
    return folder in _FOLDERS and file.endswith(".parquet") and "/" not in file


def _as_json(entry: Entry) -> list[Any]:
    footer = entry.footer
    return [*entry.mark, footer.rows, footer.first_step, footer.last_step, footer.older, *sorted(footer.runs)]


def _of_json(size: int, time: int, check: int, rows: int, first: int, last: int, older: bool, *runs: str) -> Entry:
    """Raises TypeError or ValueError for what no writer writes."""
    counts, names = (
        all(isinstance(each, int) for each in (rows, first, last)),
        all(isinstance(run, str) for run in runs),
    )
    if not counts or not names or not isinstance(older, bool):
        raise TypeError("an entry of other values")
    footer = Footer("", frozenset(runs), last, rows, first, older=older)
    if not footer.is_possible:
        raise ValueError("an entry of steps that no run takes")
    return Entry(Mark(size, time, check), footer)
