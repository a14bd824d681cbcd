"""The small files of a run: JSON with a checksum at its end, of which nobody reads more than a run writes."""

import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from stat import S_ISREG
from typing import Any

CHECKSUM = "checksum"
"""The key of the checksum, as Parquet's pages have them; old files have none."""


class UnusableFileError(ValueError):
    """It is no file, or larger than any that a run writes."""


def read_small(path: Path, most: int, *, links: bool = True) -> str:
    """The text of a file of at most so many bytes.

    links: whether to follow a link.

    Raises UnusableFileError, also for a pipe, which is not waited for, and OSError.
    """
    # The one that is opened is the one that is looked at, whatever takes its place meanwhile.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW))
    with open(descriptor, encoding="utf-8") as file:
        status = os.fstat(descriptor)
        if not S_ISREG(status.st_mode):
            raise UnusableFileError("it is no file")
        if status.st_size > most:
            raise UnusableFileError(f"it has {status.st_size:,} bytes, which no run writes")
        return file.read()


def what_is_wrong(read: Callable[[Path], object], folder: Path) -> str:
    """What is wrong with a run's small file that cannot be used; '' where it can be, or there is none.

    read: reads it, and raises ValueError, which says it, or OSError.
    """
    try:
        read(folder)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    except ValueError as error:
        return str(error)
    return ""


def sealed(contents: Mapping[str, Any]) -> str:
    """A JSON object, at whose end is the checksum of all that stands before."""
    # A line for each key; json's own indent would take 20 ms, and the training loop's turn, for 62 layers.
    lines = ",\n".join(
        f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in contents.items() if key != CHECKSUM
    )
    return f'{{\n{lines},\n"{CHECKSUM}": {zlib.crc32(lines.encode())}\n}}\n'
