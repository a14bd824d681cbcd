"""What is done to runs that nobody writes to: merge them, remove them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from collector.log import atomic, index
from collector.log.aside import finish_moving_aside, finish_removing, remove
from collector.log.compact import clear_replaced, finish_merge, merge_all
from collector.log.footer import Footer
from collector.log.lock import lock
from collector.log.parts import list_files, list_parts
from collector.log.rollups import roll_up
from collector.log.run import SILENT, Run, read_heartbeat, read_run
from collector.log.schema import LOG_TABLES, ROLLUPS, TRUST_RATIOS, LogTable

ReadFooters: TypeAlias = Callable[[Sequence[Path], LogTable], Sequence[Footer]]
"""Reads the footers of a table's files, as `collector.store.footers.footers`."""


@contextmanager
def nobody_else(folder: Path) -> Iterator[None]:
    """Keep others from writing to a run meanwhile. Raises ValueError if somebody is, here or on another machine."""
    heartbeat = read_heartbeat(folder) if _may_go_on(folder) else None
    if heartbeat and datetime.now(UTC) - datetime.fromisoformat(heartbeat["time"]) < SILENT:
        raise ValueError(f"run {folder.name!r} is being written to: wait until it has ended")
    try:
        held = lock(folder)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    try:
        yield
    finally:
        held.release()


def _may_go_on(folder: Path) -> bool:
    try:
        return bool(read_run(folder)["status"] == "running")
    except ValueError:  # nobody knows
        return True


def compact_run(folder: Path, read_footers: ReadFooters | None = None) -> tuple[int, int]:
    """Merge the parts of a run into as few as may be and make their rollups; returns how many parts there were and are.

    A query of a store that was opened before goes on reading what was merged if it is quick; a new one reads the merged
    parts. The index of the run is made anew.

    read_footers: the store's reader, for files that are neither in the index nor written here, as those of old logs:
        where it is not given, they get no entry.

    Raises ValueError for a run that is being written to, OSError if the disk fails or a part is damaged; nothing
    is lost then.
    """
    _finish(folder)
    layers = Run(folder, read_run(folder)).layers
    before = after = 0
    with nobody_else(folder):
        atomic.clear_leftovers(folder)
        for parts, table in ((folder / table.folder, table) for table in LOG_TABLES):
            if parts.is_dir():
                finish_merge(parts)
                before += len(list_parts(parts))
                merge_all(table, parts, layers)
                after += len(list_parts(parts))
                clear_replaced(parts)
        if (folder / TRUST_RATIOS.folder).is_dir():
            roll_up(folder / TRUST_RATIOS.folder)
        index.save(folder, _entries(folder, read_footers) if read_footers else None)
    return before, after


def _entries(folder: Path, read_footers: ReadFooters) -> index.Index:
    """Returns the index entries of a run's files."""
    found: dict[str, index.Entry] = {}
    for table in (*LOG_TABLES, ROLLUPS):
        marks = {path: mark for path in list_files(folder / table.folder) if (mark := index.mark(path))}
        for (path, mark), footer in zip(marks.items(), read_footers(list(marks), table), strict=True):
            if not footer.problem and footer.complete:
                found[index.name_of(path)] = index.Entry(mark, footer)
    return found


def remove_run(folder: Path) -> None:
    """Remove a run, atomically for its readers, and a run that it overwrote.

    Raises ValueError for one that is being written to.
    """
    removed = finish_removing(folder)
    _finish(folder)
    if folder.exists() or not removed:
        with nobody_else(folder):
            remove(folder)


def _finish(folder: Path) -> None:
    try:
        finish_moving_aside(folder)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
