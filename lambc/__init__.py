"""The LAMBC family of PyTorch optimizers: layer-wise trust ratios, clipped and recorded.

    from lambc import LAMBC, LAMB, LARS, Collector, connect

Names are loaded when they are first used, so that a laptop which only reads logs needs no torch.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from lambc.beside import check_beside

if TYPE_CHECKING:
    from collector import Collector, connect
    from lambc import bounds
    from lambc.groups import clip_groups, parameter_groups
    from lambc.lamb import LAMB, LAMBC
    from lambc.lars import LARS
    from lambc.overlay import over
    from lambc.trust_ratios import TrustRatios

__version__ = version("lambc")
__all__ = [
    "LAMB", "LAMBC", "LARS", "Collector", "TrustRatios", "bounds", "clip_groups", "connect", "over", "parameter_groups",
]  # fmt: skip

_MODULES = {
    "Collector": "collector",
    "LAMB": "lambc.lamb",
    "LAMBC": "lambc.lamb",
    "LARS": "lambc.lars",
    "TrustRatios": "lambc.trust_ratios",
    "bounds": "lambc.bounds",
    "clip_groups": "lambc.groups",
    "connect": "collector",
    "over": "lambc.overlay",
    "parameter_groups": "lambc.groups",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'lambc' has no attribute {name!r}")
    if _MODULES[name] == "collector":
        check_beside("collector")
    try:
        module = import_module(_MODULES[name])
        return module if name == "bounds" else getattr(module, name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(f"lambc.{name} needs torch: in the checkout of lambc, pip install '.[train]'") from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
