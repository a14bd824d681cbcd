"""What a command needs to be installed, and to be found."""

from importlib.util import find_spec

from lambc.beside import check_beside
from lambc.commands.terminal import fail


def need(extra: str, *modules: str) -> None:
    """Fail if a library of an extra is not installed; imports none of them."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        fail(f"this needs {' and '.join(missing)}: in the checkout of lambc, pip install '.[{extra}]'")


def refuse_hidden(package: str) -> None:
    """Fail where a module of the user's hides a package that comes with lambc."""
    try:
        check_beside(package)
    except ImportError as error:
        fail(str(error))
