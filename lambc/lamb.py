"""LAMB, and LAMBC, which clips its trust ratios (Algorithm 1)."""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT
from torch.utils.hooks import RemovableHandle

from lambc.bounds import EXEMPT, Clip, Fixed, as_bound
from lambc.steps import Layers, foreach, loop
from lambc.trust_ratios import TrustRatioHook, TrustRatioHooks


class LAMBC(Optimizer):
    """LAMB whose trust ratios are clipped: Algorithm 1 with c = True.

    A layer is one parameter tensor. Its step is

        w ← w - lr · clip(φ(‖w‖) / ‖u‖, lower, upper) · u,   u = m̂ / (√v̂ + ε) + λw

    Every option can be set per parameter group. Parameters may be of any floating dtype and lie on several devices;
    for those of half precision the moments and the arithmetic are float32. No step waits for a device.

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
    maximize: go up the gradient.
    foreach: all layers together (the default, None), or one after the other (False).

    Raises ValueError, with the value, for an option that makes no sense; RuntimeError for sparse or complex gradients.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        clip: Clip = 1.0,
        *,
        phi: tuple[float, float] | None = None,
        bias_correction: bool = True,
        eps_inside_sqrt: bool = False,
        decay_in_ratio: bool = True,
        adapt: bool = True,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
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
            "maximize": maximize,
            "foreach": foreach,
        }
        _check(defaults)
        self._hooks = TrustRatioHooks()
        super().__init__(params, defaults)

    def register_trust_ratio_hook(self, hook: TrustRatioHook) -> RemovableHandle:
        """Have `hook(record)` called after each step with its `TrustRatios`, until the returned handle removes it."""
        return self._hooks.add(hook)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, whose own options stand above the defaults (torch.optim.Optimizer.add_param_group)."""
        _check({**self.defaults, **param_group})
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if isinstance(group["clip"], Fixed):  # an object of ours in a state_dict would make torch.load refuse the file
            group["clip"] = (group["clip"].lower, group["clip"].upper)
        # The count of steps lies in the groups, which a state_dict holds; every group has the same.
        group["step"] = self.param_groups[0].get("step", 0)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore from a pickle, a deep copy or a state_dict; hooks stay with the optimizer they were registered at."""
        super().__setstate__(state)
        if not hasattr(self, "_hooks"):
            self._hooks = TrustRatioHooks()
        for group in self.param_groups:
            for option, default in {**self.defaults, "step": 0}.items():
                group.setdefault(option, default)

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict()` gave (torch.optim.Optimizer.load_state_dict); steps go on counting from there."""
        super().load_state_dict(state_dict)
        # torch casts moments to the parameter's dtype, which would round those of half-precision parameters.
        saved_ids = (saved for group in state_dict["param_groups"] for saved in group["params"])
        params = (param for group in self.param_groups for param in group["params"])
        for saved_id, param in zip(saved_ids, params, strict=True):
            for name in self.state[param].keys() & {"exp_avg", "exp_avg_sq"}:
                saved = state_dict["state"][saved_id][name]
                self.state[param][name] = saved.to(param.device, _working_dtype(param), copy=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; returns what `closure`, which may compute loss and gradients anew, returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()

        if self._hooks:
            self._hooks.begin(self.param_groups)
        first_row = 0
        for group in self.param_groups:
            group["step"] += 1
            for rows in self._rows_by_kind(group):
                self._step_layers(group, rows, first_row)
            first_row += len(group["params"])
        if self._hooks:
            self._hooks.call(self.param_groups[0]["step"])
        return loss

    def _rows_by_kind(self, group: dict[str, Any]) -> list[list[int]]:
        """Positions of the parameters that have a gradient, those of one device and dtype together."""
        kinds: dict[tuple[torch.device, torch.dtype], list[int]] = defaultdict(list)
        for row, param in enumerate(group["params"]):
            if param.grad is not None:
                self._check_gradient(group, row)
                kinds[param.device, param.dtype].append(row)
        return list(kinds.values())

    def _check_gradient(self, group: dict[str, Any], row: int) -> None:
        param = group["params"][row]
        if param.grad.is_sparse or param.is_complex():
            kind = "complex" if param.is_complex() else "sparse"
            name = group["param_names"][row] if "param_names" in group else f"number {row} of its group"
            raise RuntimeError(f"{type(self).__name__} takes no {kind} gradients, but parameter {name} has one")

    def _step_layers(self, group: dict[str, Any], rows: list[int], first_row: int) -> None:
        params = [group["params"][row] for row in rows]
        dtype = _working_dtype(params[0])
        working = [param.to(dtype) for param in params]  # themselves, unless they are of half precision
        grads = [param.grad.to(dtype) for param in params]
        if group["maximize"]:
            grads = [grad.neg() for grad in grads]
        states = [self._state(param) for param in params]
        torch._foreach_add_([state["step"] for state in states], 1)
        layers = Layers(
            working,
            grads,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [state["step"].item() for state in states],
        )
        bound = as_bound(group["clip"]) if group["adapt"] else EXEMPT
        lower = grads[0].new_full((len(rows),), bound.lower)
        upper = grads[0].new_full((len(rows),), bound.upper)
        path = loop if group["foreach"] is False else foreach
        ratios = path.step(layers, group, lower, upper)
        if dtype != params[0].dtype:
            torch._foreach_copy_(params, working)
        if self._hooks:
            self._hooks.write([first_row + row for row in rows], ratios, lower, upper, group["lr"])

    def _state(self, param: Tensor) -> dict[str, Tensor]:
        state = self.state[param]
        if not state:
            # The count is kept on the host, where the bias corrections are worked out without a wait for the device.
            state["step"] = torch.tensor(0.0)
            for moment in ("exp_avg", "exp_avg_sq"):
                state[moment] = torch.zeros_like(
                    param, dtype=_working_dtype(param), memory_format=torch.preserve_format
                )
        return state


class LAMB(LAMBC):
    """LAMB (You et al., arXiv 1904.00962): `LAMBC` without clipping, Algorithm 1 with c = False.

    Takes the options of `LAMBC` but `clip`, and has its hook.
    """

    def __init__(self, params: ParamsT, lr: float | Tensor = 1e-2, **options: Any) -> None:
        super().__init__(params, lr, clip=None, **options)


def _working_dtype(param: Tensor) -> torch.dtype:
    """The dtype of a parameter's moments and arithmetic: its own, or float32 where that is of half precision."""
    return torch.promote_types(param.dtype, torch.float32)


def _check(options: dict[str, Any]) -> None:
    """Raise ValueError, with the value and what to give instead, where an option makes no sense."""
    lr, eps, decay, phi = (options[name] for name in ("lr", "eps", "weight_decay", "phi"))
    if isinstance(lr, Tensor):
        if lr.numel() != 1:
            raise ValueError(f"lr has {lr.numel()} elements: give a number or a tensor of one element")
    elif not 0 <= lr < math.inf:
        raise ValueError(f"lr={lr}: the learning rate must be 0 or more, and finite")
    for index, beta in enumerate(options["betas"], start=1):
        if not 0 <= beta < 1:
            raise ValueError(f"betas={options['betas']}: β{index} must lie in [0, 1)")
    if not 0 < eps < math.inf:
        raise ValueError(f"eps={eps}: ε must be above 0, and finite, or a zero gradient divides by zero")
    if not 0 <= decay < math.inf:
        raise ValueError(f"weight_decay={decay}: λ must be 0 or more, and finite")
    if phi is not None and not 0 < phi[0] <= phi[1]:
        raise ValueError(f"phi={phi}: φ clamps ‖w‖ to (low, high), which needs 0 < low <= high")
    as_bound(options["clip"])
