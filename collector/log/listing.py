"""What lies under a root, read without DuckDB: which files are good, what run.json says, and what is wrong.

A file that is damaged or foreign would fail every query over the whole list, so each footer is read first; it takes
200 µs, once for each version of a file in a process. A run that has ended is read once for each version of its folder:
with thousands of runs, a look at one that is training costs no more than one at the folders of the others.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from collector.log.parts import list_files
from collector.log.rollups import rollup_path, rows_of
from collector.log.run import read_heartbeat, read_run
from collector.log.schema import LOG_TABLES, METRICS, ROLLUPS, TRUST_RATIOS, LogTable
from collector.log.strides import Part, Stretch, stretches

_VERSIONS_KEPT = 2**16
_TRIES = 10
_MARKS = ("run.json", *(table.folder for table in LOG_TABLES))
"""What a folder is a run by: any of these is in it."""
_LOST_AND_FOUND = "lost+found"  # of every ext4 disk, and nobody but root may look into it

_ended: dict[tuple[str, Path], "RunFiles"] = {}


class Footer(NamedTuple):
    """What a Parquet file says of itself. problem: why it can't be used, or ''. runs: the runs its rows name."""

    problem: str
    runs: frozenset[str] = frozenset()
    last_step: int = 0
    rows: int = 0
    first_step: int = 0


@dataclass
class RunFiles:
    """A run as it lies on the disk.

    name: what it is called here. contents: its run.json, or None if that cannot be read. files: the good ones of each
    table. fresh: those of the trust ratios that have no rollup. rollups: what the others have. steps: the last step of
    the trust ratios, or of the metrics where there are none. strides: how far apart recorded steps are. problems: pairs
    of a file and a sentence. version: what `run_version` said before it was read. heartbeat: the file, if it may yet
    change; last_word: its time, if it will not.
    """

    name: str
    folder: Path
    contents: dict[str, Any] | None = None
    heartbeat: Path | None = None
    last_word: str | None = None
    files: dict[str, list[str]] = field(default_factory=lambda: {table.folder: [] for table in LOG_TABLES})
    fresh: list[str] = field(default_factory=list)
    rollups: list[str] = field(default_factory=list)
    steps: int = 0
    strides: list[Stretch] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    version: str = ""

    @property
    def goes_on(self) -> bool:
        """Whether it may still be written: it has not ended, as far as one knows."""
        return self.contents is None or self.contents["status"] == "running"


def read_runs(roots: Sequence[Path]) -> list[RunFiles]:
    """The runs under `roots`, by name. Raises FileNotFoundError for a root that is not there."""
    return [_read_if_changed(name, folder) for name, folder in sorted(_named(roots))]


def run_folders(root: Path) -> list[Path]:
    """The folders in `root` that are runs, and those of which nobody can tell, since they cannot be looked into.

    Raises FileNotFoundError if there is no folder `root`, and OSError if it cannot be read.
    """
    try:
        with os.scandir(root) as entries:
            folders = sorted(entry.path for entry in entries if entry.name[0] != "." and entry.name != _LOST_AND_FOUND)
    except OSError as error:
        if os.path.isdir(root):
            raise OSError(f"the folder {str(root)!r} cannot be read ({error.strerror}): give one that can") from error
        found = "the link {!r} leads to no folder" if root.is_symlink() else "there is no folder {!r}"
        raise FileNotFoundError(f"{found.format(str(root))}; give the one that holds the runs") from error
    return [Path(folder) for folder in folders if _is_run(folder)]


def _is_run(folder: str) -> bool:
    for name in _MARKS:
        try:
            os.lstat(f"{folder}/{name}")
            return True
        except FileNotFoundError:
            continue
        except NotADirectoryError:  # a file beside the runs
            return False
        except OSError:  # no permission, links in a circle, a disk that is away: a run, for all one knows
            return True
    return False


def run_version(folder: Path) -> str:
    """Changes when a part, a rollup or the run.json of a run is added, changed or removed."""
    try:
        ended = _contents(folder)["status"] != "running"
    except ValueError:
        ended = False
    seen = [_version(f"{folder}/run.json")]
    for table in (*LOG_TABLES, ROLLUPS):
        name = f"{folder}/{table.folder}"
        seen.append(_version(name))
        # Of a run that has ended, a folder is listed once for each of its times; a file's own time is looked at always.
        try:
            files = () if not seen[-1] else _known_files(name, seen[-1]) if ended else list_files(Path(name))
            seen += [f"{path} {_version(path)}" for path in files]
        except OSError as error:  # changes once it can be listed
            seen.append(f"{error.errno}")
    return hashlib.sha256("\0".join(seen).encode(errors="surrogateescape")).hexdigest()[:16]


@lru_cache(_VERSIONS_KEPT)
def _known_files(folder: str, version: str) -> tuple[str, ...]:
    return tuple(str(path) for path in list_files(Path(folder)))


def _version(path: str | Path) -> str:
    try:
        status = os.stat(path)
    except OSError:  # merged just now, never there, or a link that leads nowhere
        return ""
    return _stamp(status)


def _stamp(status: os.stat_result) -> str:
    """What tells a version of a file from the next; the last, when its permissions were changed."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _named(roots: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Each run's name and folder: the folder's name, after its root's where two roots have a run of that name."""
    found = [(root, folder) for root in roots for folder in run_folders(root)]
    names = Counter(folder.name for _, folder in found)
    of_one_name = len({root.name for root in roots}) < len(roots)
    for root, folder in found:
        twice = names[folder.name] > 1
        yield f"{root if of_one_name else root.name}/{folder.name}" if twice else folder.name, folder


def _read_if_changed(name: str, folder: Path) -> RunFiles:
    run = _ended.get((name, folder))
    if run is None or run.version != run_version(folder):
        run = read_run_files(name, folder)
        if not run.goes_on:
            _ended[name, folder] = run
    return run


def read_run_files(name: str, folder: Path) -> RunFiles:
    """The run in `folder`, which is called `name` here."""
    run = RunFiles(name, folder, version=run_version(folder))
    if _printable(folder) != str(folder):
        run.name = _printable(Path(name))
        run.problems.append((_printable(folder), "its name is not UTF-8, which DuckDB needs: rename it"))
        return run
    try:
        os.stat(f"{folder}/.")
    except OSError as error:
        run.problems.append((str(folder), f"it cannot be opened ({error.strerror}), so the run is left out: mend it"))
        return run
    try:
        run.contents = _contents(folder)
    except ValueError as error:
        problem = f"{error}, so status, config and layers of the run are not known: mend it"
        run.problems.append((str(folder / "run.json"), problem))
    if beat := read_heartbeat(folder):
        if run.goes_on:
            run.heartbeat = folder / "heartbeat"
        else:
            run.last_word = beat["time"]
    others: set[str] = set()
    last_steps = {table.folder: 0 for table in LOG_TABLES}
    parts: list[Part] = []
    for table in LOG_TABLES:
        for path, footer in _footers(folder / table.folder, table):
            if footer.problem:
                run.problems.append((_printable(path), footer.problem))
            elif footer.runs <= {folder.name}:
                run.files[table.folder].append(str(path))
                last_steps[table.folder] = max(last_steps[table.folder], footer.last_step)
                if table is TRUST_RATIOS:
                    parts.append(Part(str(path), footer.first_step, footer.last_step, footer.rows))
                    rollup = rollup_path(path)
                    if _rows_of(rollup) == footer.rows:
                        run.rollups.append(str(rollup))
                    else:
                        run.fresh.append(str(path))
            else:
                others |= footer.runs - {folder.name}
    # Metrics may count something else, as tokens: their axis is their own.
    run.steps = last_steps[TRUST_RATIOS.folder] or last_steps[METRICS.folder]
    run.strides = stretches(parts, run.contents)
    if others:
        is_called = ", ".join(repr(other) for other in sorted(others))
        mend = f"its rows are left out until the folder is called {is_called} again"
        run.problems.append((str(folder), f"the rows say that this run is called {is_called}: {mend}"))
    return run


def _footers(folder: Path, table: LogTable) -> list[tuple[Path, Footer]]:
    """The files of a table and their footers. A merge in between is no harm: the folder is listed anew.

    A folder that cannot be listed stands for its files, with what is wrong with it.
    """
    found: list[tuple[Path, Footer]] = []
    for _ in range(_TRIES):
        try:
            before = folder.stat().st_mtime_ns
            found = [(path, _footer(path, table)) for path in list_files(folder)]
            still_there = all(os.path.lexists(path) for path, footer in found if footer.problem)
            if still_there and folder.stat().st_mtime_ns == before:
                return found
        except FileNotFoundError as error:
            if folder.is_symlink():
                return [(folder, _left_out(error))]
            if not folder.is_dir():
                return []
        except OSError as error:
            return [(folder, _left_out(error))]
    return found


def _left_out(error: OSError) -> Footer:
    reason = os.strerror(error.errno) if error.errno else error  # Arrow's own text has the path in it, twice
    return Footer(f"it cannot be opened ({reason}), so its rows are left out: mend or remove it")


def _printable(path: Path) -> str:
    """The path as text; bytes in it that are not UTF-8 become question marks."""
    return str(path).encode(errors="replace").decode()


def _footer(path: Path, table: LogTable) -> Footer:
    if _printable(path) != str(path):
        return Footer("its name is not UTF-8, which DuckDB needs: rename it")
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):  # to open a pipe would take until somebody writes into it
            return Footer("it is no file, so it is left out: move it out of the folder")
        return _read_footer(str(path), table.folder, _stamp(status))
    except OSError as error:  # no permission, a link that leads nowhere, or a part that was merged just now
        return _left_out(error)


@lru_cache(_VERSIONS_KEPT)
def _read_footer(path: str, folder: str, version: str) -> Footer:
    table = next(table for table in LOG_TABLES if table.folder == folder)
    try:
        metadata = pq.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
        if [(column.name, _plain_type(column.type)) for column in schema] != _columns(table):
            return Footer(f"it has other columns than the log's {table.folder}: move it out of the folder")
        return _footer_of_rows(path, metadata)
    except (FileNotFoundError, PermissionError):
        raise
    except (OSError, pa.ArrowException, ValueError) as error:  # ValueError: a name in it is not UTF-8
        reason = str(error).partition("\n")[0]
        return Footer(f"it is damaged ({reason}), so its rows are left out: move it out of the folder")


def _rows_of(rollup: Path) -> int | None:
    try:
        status = rollup.stat()
    except OSError:
        return None
    return _read_rows_of(rollup, _stamp(status))


@lru_cache(_VERSIONS_KEPT)
def _read_rows_of(rollup: Path, version: str) -> int | None:
    return rows_of(rollup)


def _columns(table: LogTable) -> list[tuple[str, pa.DataType]]:
    return [(column.name, column.type) for column in table.schema]


def _plain_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _footer_of_rows(path: str, metadata: pq.FileMetaData) -> Footer:
    """From the statistics, which our own files have; from the rows of a file that was written by others."""
    columns = metadata.schema.names
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    run = [group.column(columns.index("run")).statistics for group in groups]
    step = [group.column(columns.index("step")).statistics for group in groups]
    if all(each is not None and each.has_min_max and each.null_count == 0 for each in run + step):
        names = frozenset(name for each in run for name in (each.min, each.max))
        first, last = min((each.min for each in step), default=0), max((each.max for each in step), default=0)
        return Footer("", names, last, metadata.num_rows, first)
    rows = pq.read_table(path, columns=["run", "step"], partitioning=None)
    if rows["run"].null_count or rows["step"].null_count:
        return Footer("it has rows without a run or a step, so all of them are left out: move it out of the folder")
    names = frozenset(rows["run"].unique().to_pylist())
    steps = rows["step"].to_pylist()
    return Footer("", names, max(steps, default=0), metadata.num_rows, min(steps, default=0))


def _contents(folder: Path) -> dict[str, Any]:
    try:
        status = os.stat(f"{folder}/run.json")
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror})") from error
    if not S_ISREG(status.st_mode):
        raise ValueError("it is no file")
    return _read_contents(folder, _stamp(status))


@lru_cache(_VERSIONS_KEPT)
def _read_contents(folder: Path, version: str) -> dict[str, Any]:
    return read_run(folder)
