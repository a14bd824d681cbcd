"""LAMB, and LAMBC, which clips its trust ratios (Algorithm 1)."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from lambc.bounds import LARC, Clip
from lambc.optimizer import LayerwiseOptimizer
from lambc.steps import Path, compiled, foreach, fused_adam, loop, triton
from lambc.steps.together import captured


class LAMBC(LayerwiseOptimizer):
    """LAMB whose trust ratios are clipped: Algorithm 1 with c = True.

    A layer is one parameter tensor. Its step is

        w ← w - lr · clip(φ(‖w‖) / ‖u‖, lower, upper) · u,   u = m̂ / (√v̂ + ε) + λw

    Every option can be set per parameter group. Numbers may be NumPy's, and pairs any sequence of two; they are kept as
    Python's own. Parameters may be of any floating dtype and lie on several devices; for those of half precision the
    moments and the arithmetic are float32. No step waits for a device.

    params: `model.named_parameters()`, so that the log knows the layers' names; or parameters, or groups of either.
    lr: η, a float or a tensor of one element (§4.1 uses 1e-2 without a schedule).
    betas: β1 and β2, in [0, 1).
    eps: ε, above 0; outside the root, as in LAMB and every other implementation.
    weight_decay: λ.
    clip: an upper bound, a pair (lower, upper), a bound of `lambc.bounds`, or None for LAMB (Eq. 3). §4.2 finds 1 best.
    phi: a pair (low, high) that φ clamps ‖w‖ to; None for the identity.
    bias_correction: m / (1 - β1^t) and v / (1 - β2^t) (lines 9 and 10). Without it, as in the authors' own code, a
        bound μ acts as μ·(1 - β1^t)/√(1 - β2^t) does with it: 3.2 μ at t = 1, 6.6 μ at t = 12, 1.3 μ at t = 1000.
    eps_inside_sqrt: √(v̂ + ε), as line 12 prints it.
    decay_in_ratio: the ratio's denominator is ‖r + λw‖, the step that line 17 takes; False for ‖r‖, as line 13 prints.
    adapt: False for a step with ratio 1, that is Adam's; the hook still shows what the ratio would have been.
    max_grad_norm: all gradients are scaled down together where their common norm is above it; None for no limit.
    master_weights: keep a float32 copy of each half-precision parameter in the state, in which the steps add up; False
        rounds every step to the parameter's dtype. Who writes to such a parameter has to write to its "master", too.
    maximize: go up the gradient.
    foreach, fused: which path of `lambc.steps` takes the step. None for the fastest that has the options asked for: the
        Triton kernels on a CUDA device, on a CPU what `python -m lambc.steps.compiled` has built, and torch's fused
        Adam kernel elsewhere and while a CUDA graph is captured.
        `fused=True` asks for these, and lets GradScaler skip a step without a wait for the device. `fused=False` or
        `foreach=True` takes torch's public multi-tensor operations, `foreach=False` one layer after the other.
    capturable: count the steps on the device, for CUDA graphs, also where the path does not need it.
    differentiable: let autograd follow the step; takes the one-by-one path.

    Raises ValueError, with the value, for an option that makes no sense; RuntimeError for sparse or complex gradients.
    """

    moments = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        clip: Clip = 1.0,
        *,
        phi: Sequence[float] | None = None,
        bias_correction: bool = True,
        eps_inside_sqrt: bool = False,
        decay_in_ratio: bool = True,
        adapt: bool = True,
        max_grad_norm: float | None = None,
        master_weights: bool = False,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        self._scratch = fused_adam.Scratch()
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "clip": clip,
            "phi": phi,
            "bias_correction": bias_correction,
            "eps_inside_sqrt": eps_inside_sqrt,
            "decay_in_ratio": decay_in_ratio,
            "adapt": adapt,
            "max_grad_norm": max_grad_norm,
            "master_weights": master_weights,
            "maximize": maximize,
            "foreach": foreach,
            "fused": fused,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._scratch = fused_adam.Scratch()

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether GradScaler may hand `grad_scale` and `found_inf` to the step, instead of waiting for them itself."""
        return all(group["fused"] and self._is_fused(group) for group in self.param_groups)

    @staticmethod
    def _check(options: dict[str, Any]) -> None:
        LayerwiseOptimizer._check(options)
        for index, beta in enumerate(options["betas"], start=1):
            if not 0 <= beta < 1:
                raise ValueError(f"betas={options['betas']}: β{index} must lie in [0, 1)")
        if not 0 < options["eps"] < math.inf:
            raise ValueError(f"eps={options['eps']}: ε must be above 0, and finite, or a zero gradient divides by zero")
        if isinstance(options["clip"], LARC):
            raise ValueError("clip=LARC() divides the ratio by lr, which only LARS can; give LAMBC an upper bound")
        if options["fused"] and (options["foreach"] or options["differentiable"]):
            raise ValueError("fused=True is a path of its own; leave out foreach=True and differentiable=True")

    def _path(self, group: dict[str, Any], device: torch.device) -> Path:
        if self._takes_triton(group, device):
            return triton.PATH
        if self._takes_compiled(group, device):
            return Path(partial(compiled.step, scratch=self._scratch), compiled.begin)
        if self._is_fused(group):
            return Path(partial(fused_adam.step, scratch=self._scratch), fused_adam.begin)
        return loop.PATH if group["differentiable"] or group["foreach"] is False else foreach.PATH

    def _counts_on_device(self, group: dict[str, Any], device: torch.device) -> bool:
        on_device = group["fused"] or self._is_fused(group) or self._takes_triton(group, device)
        return super()._counts_on_device(group, device) or on_device

    def _takes_triton(self, group: dict[str, Any], device: torch.device) -> bool:
        if group["fused"]:
            return triton.usable(device)
        # A graph would be captured with the copy of this step's addresses from the host.
        return device.type == "cuda" and not captured() and self._may_be_fused(group) and triton.usable(device)

    def _takes_compiled(self, group: dict[str, Any], device: torch.device) -> bool:
        if device.type != "cpu" or torch.compiler.is_compiling():  # which cannot look into the library
            return False
        return self._may_be_fused(group) and compiled.library() is not None

    def _is_fused(self, group: dict[str, Any]) -> bool:
        """Whether torch's fused kernel has the options of the group, unless another path was asked for."""
        return self._may_be_fused(group) and fused_adam.AVAILABLE and not group["eps_inside_sqrt"]

    @staticmethod
    def _may_be_fused(group: dict[str, Any]) -> bool:
        """Whether a fused kernel takes the step: unless `fused=False` or another path was asked for."""
        # A compiler fuses the public operations by itself, and cannot look into the private kernel.
        other = group["foreach"] is not None or group["differentiable"] or torch.compiler.is_compiling()
        return group["fused"] or (group["fused"] is None and not other)


class LAMB(LAMBC):
    """LAMB (You et al., arXiv 1904.00962): `LAMBC` without clipping, Algorithm 1 with c = False.

    Takes the options of `LAMBC` but `clip`, and has its hook.
    """

    def __init__(self, params: ParamsT, lr: float | Tensor = 1e-2, *betas_eps_decay: Any, **options: Any) -> None:
        super().__init__(params, lr, *betas_eps_decay, **options, clip=None)  # type: ignore[misc]
