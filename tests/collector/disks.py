"""Disks on which something is wrong."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collector import Collector


@contextmanager
def unwritable(collector: Collector) -> Iterator[None]:
    """As if the disk took no rows: a file stands where the folder of the parts was."""
    folder = collector.folder / "trust_ratios"
    kept = folder.rename(collector.folder / "kept")
    folder.touch()
    yield
    folder.unlink()
    kept.rename(folder)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own with 1 MiB of room; where none can be mounted, the test is skipped."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # a failed test may have files open there


def remount(folder: Path, option: str) -> None:
    """Make a mounted disk read-only ("ro") or writable again ("rw")."""
    subprocess.run(["mount", "-o", f"remount,{option}", folder], check=True)
