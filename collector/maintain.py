"""What is done to runs that nobody writes to: merge them, remove them."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from collector import atomic
from collector.compact import clear_replaced, finish_merge, merge_all
from collector.rollups import roll_up
from collector.run import Run, read_heartbeat, read_run
from collector.schema import LOG_TABLES, TRUST_RATIOS

SILENT = timedelta(seconds=60)
"""Without a heartbeat for so long a run that did not end is taken for dead; runs.sql calls it 'stalled'."""


def refuse_live(folder: Path) -> None:
    """Raise ValueError if somebody may be writing to a run, or if it cannot be told."""
    if read_run(folder)["status"] != "running":
        return
    heartbeat = read_heartbeat(folder)
    if heartbeat and datetime.now(UTC) - datetime.fromisoformat(heartbeat["time"]) < SILENT:
        raise ValueError(f"run {folder.name!r} is being written to: wait until it has ended")


def compact_run(folder: Path) -> tuple[int, int]:
    """Merge the parts of a run into as few as may be and make their rollups; returns how many parts there were and are.

    A query of a store that was opened before goes on reading what was merged if it is quick; a new one reads the merged
    parts. Raises ValueError for a run that is being written to, OSError if the disk fails or a part is damaged; nothing
    is lost then.
    """
    refuse_live(folder)
    layers = Run(folder, read_run(folder)).layers
    counts = [0, 0]
    for table in LOG_TABLES:
        parts = folder / table.folder
        if parts.is_dir():
            atomic.clear_leftovers(parts)
            finish_merge(parts)
            counts[0] += len(list(parts.glob("*.parquet")))
            merge_all(table, parts, layers)
            counts[1] += len(list(parts.glob("*.parquet")))
            clear_replaced(parts)
    if (folder / TRUST_RATIOS.folder).is_dir():
        roll_up(folder / TRUST_RATIOS.folder)
    return counts[0], counts[1]


def remove_run(folder: Path) -> None:
    """Remove a run, in one motion for its readers. Raises ValueError for one that is being written to."""
    refuse_live(folder)
    hidden = folder.with_name(f".{folder.name}.removed")  # no reader lists what begins with a dot
    folder.rename(hidden)
    shutil.rmtree(hidden)
