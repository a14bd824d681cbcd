"""The runs under a root, read once for each version: which of their files are good, and what is wrong with the rest.

A run that has ended is read once for each version of its folder: with thousands of runs, a look at one that is training
costs no more than one at the folders of the others.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collector.log import index
from collector.log.footer import Footer
from collector.log.listing import file_version, files_in, has_ended, read_contents, run_folders, run_version, stamp
from collector.log.rollups import rollup_path
from collector.log.run import heartbeat_problem, read_heartbeat
from collector.log.schema import LOG_TABLES, METRICS, ROLLUPS, TRUST_RATIOS, LogTable
from collector.log.strides import Part, Stretch, stretches
from collector.store.footers import footer, footers, left_out, printable

_TRIES = 10

_ended: dict[tuple[str, Path], "RunFiles"] = {}


@dataclass
class RunFiles:
    """A run as it lies on the disk.

    name: what it is called here. contents: its run.json, or None if that cannot be read. files: the good ones of each
    table. fresh: those of the trust ratios that have no rollup. rollups: what the others have. older: whether any of
    these lacks columns that were added to the log later. steps: the last step of the trust ratios, or of the metrics
    where there are none. strides: how far apart recorded steps are. problems: pairs of a file and a sentence. version:
    what `run_version` said before it was read. heartbeat: the file, if it may yet change; last_word and last_step: what
    it says, if it will not; beat: which version of the file that was.
    """

    name: str
    folder: Path
    contents: dict[str, Any] | None = None
    heartbeat: Path | None = None
    last_word: str | None = None
    last_step: int | None = None
    beat: str = ""
    files: dict[str, list[str]] = field(default_factory=lambda: {table.folder: [] for table in LOG_TABLES})
    fresh: list[str] = field(default_factory=list)
    rollups: list[str] = field(default_factory=list)
    older: bool = False
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
    named = sorted(_named(roots))
    known = {(name, folder): run for name, folder in named if (run := _unchanged(name, folder))}
    _read_footers([folder for name, folder in named if (name, folder) not in known])
    return [known.get(place) or _read(*place) for place in named]


def _unchanged(name: str, folder: Path) -> RunFiles | None:
    run = _ended.get((name, folder))
    unchanged = run and run.version == run_version(folder) and run.beat == file_version(folder / "heartbeat")
    return run if unchanged else None


def _read(name: str, folder: Path) -> RunFiles:
    run = read_run_files(name, folder)
    if not run.goes_on:
        _ended[name, folder] = run
    return run


def _read_footers(folders: Sequence[Path]) -> None:
    """Read the footers of all files at once, so that each run finds its own read."""
    indexes = {folder: index.read(folder) for folder in folders}
    ended = {folder for folder in folders if has_ended(folder)}
    for table in (*LOG_TABLES, ROLLUPS):
        paths: list[Path] = []
        for folder in folders:
            within = f"{folder}/{table.folder}"
            with suppress(OSError):  # which is said where the run is read
                paths += files_in(within, file_version(within) if folder in ended else "")
        footers(paths, table, indexes)


def _named(roots: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Each run's name and folder: the folder's name, after its root's where two roots have a run of that name."""
    found = [(root, folder) for root in roots for folder in run_folders(root)]
    names = Counter(folder.name for _, folder in found)
    of_one_name = len({root.name for root in roots}) < len(roots)
    for root, folder in found:
        twice = names[folder.name] > 1
        yield f"{root if of_one_name else root.name}/{folder.name}" if twice else folder.name, folder


def read_run_files(name: str, folder: Path) -> RunFiles:
    """The run in `folder`, which is called `name` here."""
    run = RunFiles(name, folder, version=run_version(folder), beat=file_version(folder / "heartbeat"))
    if printable(folder) != str(folder):
        run.name = printable(Path(name))
        run.problems.append((printable(folder), "its name is not UTF-8, which DuckDB needs: rename it"))
        return run
    try:
        os.stat(f"{folder}/.")
    except OSError as error:
        run.problems.append((str(folder), f"it cannot be opened ({error.strerror}), so the run is left out: mend it"))
        return run
    try:
        run.contents = read_contents(folder)
    except ValueError as error:
        problem = f"{error}, so status, config and layers of the run are not known: mend it"
        run.problems.append((str(folder / "run.json"), problem))
    if beat := read_heartbeat(folder):
        if run.goes_on:
            run.heartbeat = folder / "heartbeat"
        else:
            run.last_word, run.last_step = beat["time"], int(beat["step"])
    elif problem := heartbeat_problem(folder):
        run.problems.append(
            (str(folder / "heartbeat"), f"{problem}, so nobody knows when it was last alive: remove it")
        )
    others: set[str] = set()
    last_steps = {table.folder: 0 for table in LOG_TABLES}
    parts: list[Part] = []
    for table in LOG_TABLES:
        for path, read in _footers(folder / table.folder, table, ended=not run.goes_on):
            if read.problem:
                run.problems.append((printable(path), read.problem))
            elif read.runs <= {folder.name}:
                run.files[table.folder].append(str(path))
                run.older |= read.older
                last_steps[table.folder] = max(last_steps[table.folder], read.last_step)
                if table is TRUST_RATIOS:
                    parts.append(Part(str(path), read.first_step, read.last_step, read.rows))
                    rollup = footer(rollup_path(path), ROLLUPS)
                    if rollup.rows == read.rows and not rollup.problem:
                        run.rollups.append(str(rollup_path(path)))
                        run.older |= rollup.older
                    else:
                        run.fresh.append(str(path))
            else:
                others |= read.runs - {folder.name}
    # Metrics may count something else, as tokens: their axis is their own.
    run.steps = last_steps[TRUST_RATIOS.folder] or last_steps[METRICS.folder]
    run.strides = stretches(parts, run.contents)
    if others:
        is_called = ", ".join(repr(other) for other in sorted(others))
        mend = f"its rows are left out until the folder is called {is_called} again"
        run.problems.append((str(folder), f"the rows say that this run is called {is_called}: {mend}"))
    return run


def _footers(folder: Path, table: LogTable, *, ended: bool) -> list[tuple[Path, Footer]]:
    """The files of a table and their footers. A merge in between is no harm: the folder is listed anew.

    A folder that cannot be listed stands for its files, with what is wrong with it.
    """
    found: list[tuple[Path, Footer]] = []
    for number in range(_TRIES):
        try:
            before = folder.stat()
            paths = files_in(folder, stamp(before) if ended and not number else "")
            found = list(zip(paths, footers(paths, table), strict=True))
            still_there = all(os.path.lexists(path) for path, read in found if read.problem)
            if still_there and folder.stat().st_mtime_ns == before.st_mtime_ns:
                return found
        except FileNotFoundError as error:
            if folder.is_symlink():
                return [(folder, Footer(left_out(error)))]
            if not folder.is_dir():
                return []
        except OSError as error:
            return [(folder, Footer(left_out(error)))]
    return found
