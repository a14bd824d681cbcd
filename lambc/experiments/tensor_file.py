"""A file of tensors that is there whole or not at all, also after a power cut."""

from pathlib import Path
from typing import Any

import torch

from collector import atomic


def write(path: Path, contents: dict[str, Any]) -> None:
    """Write what `torch.load` reads; what was at `path` before is there until then.

    Raises OSError, in one sentence, if the disk does not take it.
    """
    written = atomic.temporary(path)
    try:
        with written.open("wb") as file:
            torch.save(contents, file)
        atomic.publish(path)
    except (OSError, RuntimeError) as error:  # torch makes a RuntimeError of what the disk says
        written.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise OSError(f"{path} cannot be written ({reason}): make room, then go on with the run") from error


def read(path: Path) -> dict[str, Any]:
    """What `write` wrote, with all tensors on the CPU. Raises ValueError, in one sentence, if it cannot be read."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever damaged bytes lead to
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is damaged ({reason}): remove it, and the run begins anew") from error
