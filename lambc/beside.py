"""`collector` and `app`, the packages beside this one: names that a module of the user's may have as well."""

import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds the three packages."""


def check_beside(package: str) -> None:
    """Raise ImportError, in a sentence, where `import package` brings another module than the one beside lambc."""
    if package in sys.modules:
        file = getattr(sys.modules[package], "__file__", None)
    else:
        spec = find_spec(package)
        file = spec.origin if spec else None
    if file is None or Path(file).resolve().parent == ROOT / package:
        return  # whatever is missing says so when it is imported
    found = Path(file).parent if Path(file).name == "__init__.py" else Path(file)
    raise ImportError(f"{found} hides the package {package!r} that comes with lambc: rename it", name=package)
