"""Which systems a log is written and read on, and where they keep what may be removed at any time."""

import os
import sys
from pathlib import Path


def check_system() -> None:
    """Raise ImportError on Windows."""
    if sys.platform == "win32":
        raise ImportError(
            "Collector, connect and the lambc commands do not work on Windows, where an open file can be neither "
            "renamed nor removed: use Python in WSL (wsl --install); the optimizers work on Windows too"
        )


def cache_home() -> Path:
    """Returns the folder of this user's caches."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "lambc").expanduser().absolute()
