"""What a run's folder may be called, and who gets it."""

import secrets
from datetime import UTC, datetime
from pathlib import Path

from collector.log.visible import all_visible


def name_of_now(*, unique: bool = False) -> str:
    """What a run is called that was given no name: the time in UTC.

    unique: with six random digits behind it, for where no folder can be claimed (an object store).
    """
    now = datetime.now(UTC).strftime("%Y-%m-%d-%H%M%S")
    return f"{now}-{secrets.token_hex(3)}" if unique else now


def check_name(name: str) -> None:
    """Raise ValueError, saying why, for a run name that cannot be a folder of its own."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"name={name!r}: a run needs a name of at least one character")
    if name.startswith(".") or ".." in name or any(sign in name for sign in "/\\\0"):
        raise ValueError(
            f"name={name!r}: a run's name is a folder's: no '/', '\\', '..' or NUL, and no '.' at its start"
        )
    if not all_visible(name):
        raise ValueError(f"name={name!a} has control characters, which a terminal obeys; take another name")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"name={name!r} is not valid Unicode; take another name") from error
    if size > 200:
        raise ValueError(f"name={name[:20]!r}… takes {size} bytes, and 200 are the most; take a shorter one")


def claim(folder: Path) -> Path:
    """Make `folder`, which of several processes one alone can. Raises FileExistsError in the others."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        if not folder.parent.is_dir():
            raise NotADirectoryError("a link in this path leads nowhere") from error
        raise FileExistsError(
            f"run {folder.name!r} is there already in {folder.parent}; take another name, or resume=True to go on"
        ) from error
    return folder


def claim_next(folder: Path) -> Path:
    """Make the first of `name`, `name-2`, `name-3` … that is not there: jobs that begin together get one each."""
    number = 1
    while True:
        try:
            return claim(folder if number == 1 else folder.with_name(f"{folder.name}-{number}"))
        except FileExistsError:
            number += 1
