"""Which systems a log is written and read on."""

import sys


def check_system() -> None:
    """Raise ImportError on Windows."""
    if sys.platform == "win32":
        raise ImportError(
            "Collector, connect and the lambc commands do not work on Windows, where an open file can be neither "
            "renamed nor removed: use Python in WSL (wsl --install); the optimizers work on Windows too"
        )
