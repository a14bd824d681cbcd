"""Runs that make room for a new one of their name or are removed, and what a killed process leaves of that."""

import os
import shutil
from itertools import count
from pathlib import Path

from collector.log.lock import lock
from collector.log.schema import LOG_TABLES


def is_unfinished(folder: Path) -> bool:
    """Whether there is nothing in a folder but what comes before run.json: its process was killed there."""
    tables = {table.folder for table in LOG_TABLES}
    for path in folder.iterdir():
        inside = path.iterdir() if path.name in tables and path.is_dir() else [path]
        if not all(each.name == ".lock" or (each.name[0] == "." and each.suffix == ".tmp") for each in inside):
            return False
    return True


def remove_unfinished(folder: Path) -> None:
    """Remove a folder in which a run was about to begin when its process was killed: nothing was recorded there.

    Raises RuntimeError if a process is just beginning it, and FileExistsError for a folder that was never a run's.
    """
    if not folder.is_dir() or (folder / "run.json").exists():
        return
    if is_unfinished(folder):
        held = lock(folder)
        shutil.rmtree(folder)
        held.release()
    elif not any((folder / table.folder).is_dir() for table in LOG_TABLES):
        raise FileExistsError(f"{folder} is there already, and is no run: take another name")


def move_aside(folder: Path) -> Path:
    """Give the run in `folder` a name that no reader lists, so that another may begin there; returns its new path.

    Raises RuntimeError if the run is being written.
    """
    held = lock(folder)
    os.rename(folder, aside(folder))
    held.release()
    return aside(folder)


def keep_aside(folder: Path) -> None:
    """Lay the run that was moved aside into `superseded/` of the one that took its place."""
    if aside(folder).exists():
        superseded = folder / "superseded"
        superseded.mkdir(exist_ok=True)
        names = (superseded / f"overwritten-{number}" for number in count(1))
        os.rename(aside(folder), next(each for each in names if not each.exists()))


def finish_moving_aside(folder: Path) -> None:
    """Finish what a process that was killed has begun: either the new run is there, or the old one comes back."""
    if aside(folder).exists():
        remove_unfinished(folder)
        if folder.exists():
            keep_aside(folder)
        else:
            os.rename(aside(folder), folder)


def remove(folder: Path) -> None:
    """Remove a run, atomically for its readers."""
    folder.rename(_removed(folder))
    finish_removing(folder)


def finish_removing(folder: Path) -> bool:
    """Remove what a process that was killed has left of a run that it removed; whether there was anything."""
    left = _removed(folder).is_dir()
    if left:
        shutil.rmtree(_removed(folder))
    return left


def is_left(folder: Path) -> bool:
    """Whether a process that was killed has left something of a run in, or beside, a folder that need not be a run."""
    beside = _removed(folder).is_dir() or aside(folder).is_dir()
    return beside or (folder.is_dir() and is_unfinished(folder))


def _removed(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.removed")  # no reader lists what begins with a dot


def aside(folder: Path) -> Path:
    """Where the run of a folder waits for the one that takes its place."""
    return folder.with_name(f".{folder.name}.overwritten")
