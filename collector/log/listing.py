"""Which folders under a root are runs, and whether one of them has changed since: no Parquet file is opened."""

import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from collector.log.parts import list_files
from collector.log.run import read_run
from collector.log.schema import LOG_TABLES, ROLLUPS

_VERSIONS_KEPT = 2**16
_MARKS = ("run.json", *(table.folder for table in LOG_TABLES))
"""What a folder is a run by: any of these is in it."""
_LOST_AND_FOUND = "lost+found"  # of every ext4 disk, and nobody but root may look into it


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
    ended = has_ended(folder)
    seen = [file_version(f"{folder}/run.json")]
    for table in (*LOG_TABLES, ROLLUPS):
        name = f"{folder}/{table.folder}"
        seen.append(file_version(name))
        try:
            files = files_in(name, seen[-1] if ended else "")
            seen += [f"{path} {file_version(path)}" for path in files]
        except OSError as error:  # changes once it can be listed
            seen.append(f"{error.errno}")
    return hashlib.sha256("\0".join(seen).encode(errors="surrogateescape")).hexdigest()[:16]


def has_ended(folder: Path) -> bool:
    """Whether a run has ended, as far as one knows."""
    try:
        return bool(read_contents(folder)["status"] != "running")
    except ValueError:
        return False


def files_in(folder: str | Path, version: str = "") -> Sequence[Path]:
    """The files of one table of a run (`list_files`). Raises OSError if the folder cannot be read.

    version: of the folder (`file_version`), which is listed once for each; '' to list it anew, as while a run goes on.
    """
    return _known_files(str(folder), version) if version else list_files(Path(folder))


@lru_cache(_VERSIONS_KEPT)
def _known_files(folder: str, version: str) -> tuple[Path, ...]:
    return tuple(list_files(Path(folder)))


def file_version(path: str | Path) -> str:
    """Changes when a file is written, replaced or removed; '' if there is none."""
    try:
        status = os.stat(path)
    except OSError:  # merged just now, never there, or a link that leads nowhere
        return ""
    return stamp(status)


def stamp(status: os.stat_result) -> str:
    """What tells a version of a file from the next; the last, when its permissions were changed."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def read_contents(folder: Path) -> dict[str, Any]:
    """The contents of a run.json, read once for each version. Raises ValueError, which says what is wrong with it."""
    try:
        status = os.stat(f"{folder}/run.json")
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror})") from error
    return _read_contents(folder, stamp(status))


@lru_cache(_VERSIONS_KEPT)
def _read_contents(folder: Path, version: str) -> dict[str, Any]:
    return read_run(folder)
