"""What comes before a run is written: where an earlier one stands, and how it makes room for a new one."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from collector.log.compact import finish_merge
from collector.log.lock import lock
from collector.log.parts import list_parts
from collector.log.remote import RemoteError
from collector.log.run import read_heartbeat, read_run
from collector.log.schema import LOG_TABLES, TRUST_RATIOS
from collector.log.supersede import last_step


def last_step_of(folder: Path) -> int:
    """Returns the last step that a run's optimizer took, as far as the log says; 0 if it has none.

    The metrics do not count: they may have an axis of their own. Where only each nth step is recorded, the heartbeat
    knows better than the rows. Raises OSError for a part that cannot be read.
    """
    last = 0
    for table in LOG_TABLES:
        if (folder / table.folder).is_dir():
            finish_merge(folder / table.folder)
            for part in list_parts(folder / table.folder):
                try:
                    step = last_step(part.path)
                except Exception as error:
                    raise OSError(f"{part.path} is damaged ({error}); move it out of the run to go on") from error
                last = max(last, step) if table is TRUST_RATIOS else last
    beat = read_heartbeat(folder)
    return max(last, int(beat["step"])) if beat and _stride(folder) > 1 else last


def _stride(folder: Path) -> int:
    try:
        return int(read_run(folder).get("every", 1))
    except (ValueError, TypeError):
        return 1


def remove_unfinished(folder: Path) -> None:
    """Remove a folder in which a run was about to begin when its process was killed: nothing was recorded there.

    Raises RuntimeError if a process is just beginning it.
    """
    if folder.is_dir() and not (folder / "run.json").exists():
        if any(list_parts(folder / table.folder) for table in LOG_TABLES if (folder / table.folder).is_dir()):
            return
        held = lock(folder)
        shutil.rmtree(folder)
        held.release()


def move_aside(folder: Path) -> Path:
    """Give the run in `folder` a name that no reader lists, so that another may begin there; returns its new path.

    Raises RuntimeError if the run is being written.
    """
    held = lock(folder)
    aside = _aside(folder)
    os.rename(folder, aside)
    held.release()
    return aside


def keep_aside(folder: Path) -> None:
    """Lay the run that was moved aside into `superseded/` of the one that took its place."""
    if (aside := _aside(folder)).exists():
        superseded = folder / "superseded"
        superseded.mkdir(exist_ok=True)
        names = (superseded / f"overwritten-{number}" for number in count(1))
        os.rename(aside, next(each for each in names if not each.exists()))


def finish_moving_aside(folder: Path) -> None:
    """Finish what a process that was killed has begun: either the new run is there, or the old one comes back."""
    if _aside(folder).exists():
        remove_unfinished(folder)
        if folder.exists():
            keep_aside(folder)
        else:
            os.rename(_aside(folder), folder)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.overwritten")


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Have an error of the disk say which run it was."""
    try:
        yield
    except (FileExistsError, RemoteError):
        raise
    except OSError as error:
        raise OSError(f"cannot write a run to {folder}: {error.strerror or error}; choose another root") from error
