"""timm: `create_optimizer_v2` makes the optimizers of this package, too, and so does its `train.py --opt`.

timm has a `lambc` of its own (its Lamb with `trust_clip`), so ours are called as here: `lambc.lambc`, `lambc.lamb` and
`lambc.lars`.
"""

from timm.optim import OptimInfo
from timm.optim._optim_factory import default_registry

from lambc import LAMB, LAMBC, LARS

_OPTIMIZERS = (
    OptimInfo("lambc.lambc", LAMBC, "LAMB with clipped trust ratios, as in its paper", has_betas=True),
    OptimInfo("lambc.lamb", LAMB, "LAMB, which shows its trust ratios to a hook", has_betas=True),
    OptimInfo("lambc.lars", LARS, "LARS, which shows its trust ratios to a hook", has_eps=False, has_momentum=True),
)


def register() -> None:
    """Add `lambc.lambc`, `lambc.lamb` and `lambc.lars` to timm's optimizers; options are those of the classes."""
    for info in _OPTIMIZERS:
        if info.name not in default_registry.list_optimizers():
            default_registry.register(info)
