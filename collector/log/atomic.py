"""Files that are there whole or not at all, also after a power cut."""

import errno
import os
from pathlib import Path

_FOLDER_SYNC_UNSUPPORTED = {
    *(errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS),
    *(errno.EBADF, errno.EPERM, errno.EACCES, errno.EISDIR),
}
"""What file systems answer that sync no folders, or let none be opened (CIFS, sshfs, other FUSE)."""


def temporary(path: Path) -> Path:
    """Where to write what shall become `path`: beside it, so that a rename suffices, under a name no reader lists."""
    return path.with_name(f".{path.name}.tmp")


def publish(path: Path) -> None:
    """Give the finished file at `temporary(path)` its name; a file of that name is replaced."""
    written = temporary(path)
    _sync(written)
    os.replace(written, path)
    _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write or replace a small file."""
    temporary(path).write_text(text, encoding="utf-8")
    publish(path)


def clear_leftovers(folder: Path) -> None:
    """Remove what a killed process had not yet published in `folder`, and in all that are in it."""
    for leftover in folder.rglob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Bring the names in `folder` to the disk, where that is possible: elsewhere the file system does it by itself."""
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in _FOLDER_SYNC_UNSUPPORTED:
            raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
