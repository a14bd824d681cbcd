"""A file of tensors that is there whole or not at all, also after a power cut."""

from pathlib import Path
from typing import Any

import torch

from collector.log import atomic


def write(path: Path, contents: dict[str, Any]) -> None:
    """Write what `torch.load` reads; what was at `path` before is there until then.

    Raises OSError, in one sentence, if the disk does not take it.
    """
    try:
        _write(path, contents)
    except OSError as error:
        atomic.temporary(path).unlink(missing_ok=True)
        raise OSError(f"{path} cannot be written ({error.strerror}): make room, then go on with the run") from error


def read(path: Path) -> dict[str, Any]:
    """What `write` wrote, with all tensors on the CPU. Raises ValueError, in one sentence, if it cannot be read."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever damaged bytes lead to
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is damaged ({reason}): remove it, and the run begins anew") from error


def _write(path: Path, contents: dict[str, Any]) -> None:
    try:
        with atomic.temporary(path).open("wb") as file:
            torch.save(contents, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):  # torch closes its archive after the disk's error, and fails again
            raise error.__context__ from None
        raise
    atomic.publish(path)
