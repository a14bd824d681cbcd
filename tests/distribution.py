"""What is built to be installed, and bare environments to try it in."""

import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def build_sdist(folder: Path) -> Path:
    """Builds the source distribution of this tree. Returns its file."""
    return _build("sdist", ROOT, folder)


def build_wheel(sdist: Path, folder: Path) -> Path:
    """Builds the wheel from the source distribution alone, as pip does. Returns its file."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return _build("wheel", folder / sdist.name.removesuffix(".tar.gz"), folder)


def _build(target: str, source: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)]
    subprocess.run(command, cwd=source, capture_output=True, text=True, check=True)
    [built] = folder.glob("*.tar.gz" if target == "sdist" else "*.whl")
    return built


def install(wheel: Path, folder: Path, extra: str = "") -> Path:
    """Installs a wheel into a new environment in `folder`, beside what it requires and nothing else.

    What it requires is linked from the environment of the tests, so that this takes a second and no network.

    Returns the environment's bin.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    [site] = folder.glob("lib/python*/site-packages")
    [installed] = metadata.distributions(name="lambc", path=[str(site)])
    for distribution in _required(installed.requires or (), {extra}, set()):
        for name in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            if not (site / name).exists():  # several distributions share a namespace
                (site / name).symlink_to(str(distribution.locate_file(name)))
    return python.parent


def _required(
    requirements: Iterable[str], extras: set[str], seen: set[tuple[str, str]]
) -> Iterator[metadata.Distribution]:
    """The distributions that the requirements name, and all that these require themselves."""
    for requirement in map(Requirement, requirements):
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            continue
        name = canonicalize_name(requirement.name)
        if name == "lambc":  # `all` names the other extras so
            continue
        new = {(name, extra) for extra in {"", *requirement.extras}} - seen
        if new:
            seen |= new
            distribution = metadata.distribution(name)
            yield distribution
            yield from _required(distribution.requires or (), requirement.extras, seen)
