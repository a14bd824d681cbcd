"""LARS, whose trust ratios can be clipped like LAMB's (Eq. 2)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from lambc.bounds import Clip
from lambc.optimizer import LayerwiseOptimizer
from lambc.steps import Path, lars


class LARS(LayerwiseOptimizer):
    """LARS (You et al., arXiv 1708.03888; Eq. 2 with the first moment), with LAMBC's bounds and hook.

    A layer is one parameter tensor, g its gradient. Its step is

        m ← β m + (1 - β)(g + λw),   w ← w - lr · clip(η φ(‖w‖) / ‖u‖, lower, upper) · u

    where u is m, or with Nesterov's momentum β m + (1 - β)(g + λw). The trust coefficient η is part of the ratio, in
    the step and in the record. A zero or non-finite norm gives the ratio 1, before clipping.

    params, phi, adapt, max_grad_norm, master_weights, maximize, capturable: as in `LAMBC`.
    lr: a float or a tensor of one element.
    momentum: β, in [0, 1).
    weight_decay: λ.
    clip: as in `LAMBC`, but None, plain LARS, is the default; `lambc.bounds.LARC()` for NVCaffe's clip, under which a
        layer's own rate η‖w‖/‖u‖ never exceeds lr (the paper's reference 13).
    trust_coefficient: η, above 0.
    nesterov: look one step of the momentum ahead.
    """

    moments = ("momentum",)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-1,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        clip: Clip = None,
        *,
        trust_coefficient: float = 1e-3,
        nesterov: bool = False,
        phi: Sequence[float] | None = None,
        adapt: bool = True,
        max_grad_norm: float | None = None,
        master_weights: bool = False,
        maximize: bool = False,
        capturable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "clip": clip,
            "trust_coefficient": trust_coefficient,
            "nesterov": nesterov,
            "phi": phi,
            "adapt": adapt,
            "max_grad_norm": max_grad_norm,
            "master_weights": master_weights,
            "maximize": maximize,
            "capturable": capturable,
            "differentiable": False,
        }
        super().__init__(params, defaults)

    @staticmethod
    def _check(options: dict[str, Any]) -> None:
        LayerwiseOptimizer._check(options)
        if not 0 <= options["momentum"] < 1:
            raise ValueError(f"momentum={options['momentum']}: β must lie in [0, 1)")
        if not 0 < options["trust_coefficient"] < float("inf"):
            raise ValueError(f"trust_coefficient={options['trust_coefficient']}: η must be above 0, and finite")

    def _path(self, group: dict[str, Any], device: torch.device) -> Path:
        return lars.PATH
