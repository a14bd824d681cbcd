"""One writer a run: a lock in its folder that the operating system releases when the process ends, however it does."""

import errno
import warnings
from pathlib import Path

from filelock import FileLock, Timeout

_LOCKS_UNSUPPORTED = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


def lock(folder: Path) -> FileLock:
    """Take the lock of a run, which its `release()` gives back; a forked child neither holds nor releases it.

    Raises RuntimeError if it is held, by whichever process, and OSError if the disk takes no file. Where the file
    system knows no locks, a warning says that nothing keeps a second process away.
    """
    held = FileLock(folder / ".lock", timeout=0, fallback_to_soft=False, thread_local=False)
    try:
        held.acquire()
    except Timeout:
        raise RuntimeError(
            f"run {folder.name!r} in {folder.parent} is being written by another Collector: wait until that one is "
            "closed, or begin a run of another name"
        ) from None
    except OSError as error:
        if error.errno not in _LOCKS_UNSUPPORTED:
            raise
        warnings.warn(
            f"the file system of {folder} has no locks ({error.strerror}), so nothing keeps a second process from "
            f"writing to run {folder.name!r}: make sure that only one writes",
            stacklevel=5,
        )
    return held
