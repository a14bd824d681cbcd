"""The LAMBC family of PyTorch optimizers: layer-wise trust ratios, clipped and recorded.

Names are loaded when they are first used, so that a laptop which only reads logs needs no torch.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lambc import bounds
    from lambc.groups import parameter_groups
    from lambc.lamb import LAMB, LAMBC
    from lambc.lars import LARS
    from lambc.trust_ratios import TrustRatios

__version__ = version("lambc")
__all__ = ["LAMB", "LAMBC", "LARS", "TrustRatios", "bounds", "parameter_groups"]

_MODULES = {
    "LAMB": "lambc.lamb",
    "LAMBC": "lambc.lamb",
    "LARS": "lambc.lars",
    "TrustRatios": "lambc.trust_ratios",
    "bounds": "lambc.bounds",
    "parameter_groups": "lambc.groups",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'lambc' has no attribute {name!r}")
    try:
        module = import_module(_MODULES[name])
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(f"lambc.{name} needs torch: pip install 'lambc[train]'") from error
    return module if name == "bounds" else getattr(module, name)
