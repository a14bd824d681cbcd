"""What is done to runs that nobody writes to: merge them, remove them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from collector.log import atomic
from collector.log.compact import clear_replaced, finish_merge, merge_all
from collector.log.lock import lock
from collector.log.parts import list_parts
from collector.log.rollups import roll_up
from collector.log.run import SILENT, Run, read_heartbeat, read_run
from collector.log.schema import LOG_TABLES, TRUST_RATIOS


@contextmanager
def nobody_else(folder: Path) -> Iterator[None]:
    """Keep others from writing to a run meanwhile. Raises ValueError if somebody is, here or on another machine."""
    heartbeat = read_heartbeat(folder) if read_run(folder)["status"] == "running" else None
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


def compact_run(folder: Path) -> tuple[int, int]:
    """Merge the parts of a run into as few as may be and make their rollups; returns how many parts there were and are.

    A query of a store that was opened before goes on reading what was merged if it is quick; a new one reads the merged
    parts. Raises ValueError for a run that is being written to, OSError if the disk fails or a part is damaged; nothing
    is lost then.
    """
    layers = Run(folder, read_run(folder)).layers
    before = after = 0
    with nobody_else(folder):
        for parts, table in ((folder / table.folder, table) for table in LOG_TABLES):
            if parts.is_dir():
                atomic.clear_leftovers(parts)
                finish_merge(parts)
                before += len(list_parts(parts))
                merge_all(table, parts, layers)
                after += len(list_parts(parts))
                clear_replaced(parts)
        if (folder / TRUST_RATIOS.folder).is_dir():
            roll_up(folder / TRUST_RATIOS.folder)
    return before, after


def remove_run(folder: Path) -> None:
    """Remove a run, in one motion for its readers. Raises ValueError for one that is being written to."""
    hidden = folder.with_name(f".{folder.name}.removed")  # no reader lists what begins with a dot
    with nobody_else(folder):
        folder.rename(hidden)
    shutil.rmtree(hidden)
