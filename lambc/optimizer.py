"""What the layer-wise optimizers share: groups, state, the hook, and the way from gradients to a path of a step."""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT
from torch.utils.hooks import RemovableHandle

from lambc import rule, saved_state
from lambc.batches import Batch, BatchStep, batch_of
from lambc.bounds import EXEMPT, Bound, as_bound, to_plain
from lambc.counts import steps_taken
from lambc.norms import gradient_norms
from lambc.options import make_plain, make_saveable
from lambc.reports import Reports
from lambc.sharded import Meshes, in_parts, is_flattened, local
from lambc.steps import Layers, Path, trust_ratios, working_dtype
from lambc.trust_ratios import Gradients, TrustRatioHook, TrustRatioHooks


class LayerwiseOptimizer(Reports, Optimizer):
    """An optimizer that takes each layer's step at a trust ratio of its own.

    A child names the tensors that it keeps for each parameter in `moments`, chooses the path of a step in `_path`, and
    checks its own options in `_check`.
    """

    moments: tuple[str, ...]

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        make_plain(defaults)
        self._check(defaults)
        self._hooks = TrustRatioHooks()
        self._meshes = Meshes()
        super().__init__(params, defaults)

    def _path(self, group: dict[str, Any], device: torch.device) -> Path:
        raise NotImplementedError

    def _counts_on_device(self, group: dict[str, Any], device: torch.device) -> bool:
        """Whether a parameter's step is counted on its device; on the host it is at hand without a wait."""
        return group["capturable"]

    @staticmethod
    def _check(options: dict[str, Any]) -> None:
        """Raise ValueError, with the value and what to give instead, where an option makes no sense."""
        lr, decay, phi = options["lr"], options["weight_decay"], options["phi"]
        if isinstance(lr, Tensor):
            if lr.numel() != 1:
                raise ValueError(f"lr has {lr.numel()} elements: give a number or a tensor of one element")
            if lr.dtype == torch.bool or lr.is_complex():
                raise ValueError(f"lr is a tensor of {lr.dtype}: give a real number or a tensor of one")
        elif not 0 <= lr < math.inf:
            raise ValueError(f"lr={lr}: the learning rate must be 0 or more, and finite")
        if not 0 <= decay < math.inf:
            raise ValueError(f"weight_decay={decay}: λ must be 0 or more, and finite")
        if phi is not None and not 0 < phi[0] <= phi[1]:
            raise ValueError(f"phi={phi}: φ clamps ‖w‖ to (low, high), which needs 0 < low <= high")
        if options["max_grad_norm"] is not None and not 0 < options["max_grad_norm"] < math.inf:
            raise ValueError(
                f"max_grad_norm={options['max_grad_norm']}: give a finite norm above 0, or None for no limit"
            )
        as_bound(options["clip"])

    def register_trust_ratio_hook(self, hook: TrustRatioHook, *, gradients: Gradients = False) -> RemovableHandle:
        """Have `hook(record)` called after each step with its `TrustRatios`, until the returned handle removes it.

        gradients: whether the record includes the gradient norms, or a function that returns this for a step's
            number. They cost one pass over the gradients, 10 to 20 % of a step; with `max_grad_norm` they are always
            included, at no cost. For sharded layers (DTensor) every rank must give the same.
        """
        return self._hooks.add(hook, gradients=gradients)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, whose own options stand above the defaults (torch.optim.Optimizer.add_param_group)."""
        make_plain(param_group)
        self._check({**self.defaults, **param_group})
        super().add_param_group(param_group)
        if any(map(is_flattened, self.param_groups[-1]["params"])):
            del self.param_groups[-1]
            raise ValueError(
                "FullyShardedDataParallel (FSDP1) lays layers end to end and cuts where it likes, so their norms are "
                "lost: shard the model with torch.distributed.fsdp.fully_shard (FSDP2)"
            )
        # The step count is kept in the groups, the same in each, so that a state_dict includes it. If all groups were
        # replaced, the state still has it.
        first = self.param_groups[0]
        self.param_groups[-1]["step"] = first["step"] if "step" in first else steps_taken(self) or 0

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore from a pickle, a deep copy or a state_dict; hooks stay with the optimizer they were registered at."""
        super().__setstate__(state)
        if not hasattr(self, "_hooks"):
            self._hooks = TrustRatioHooks()
            self._meshes = Meshes()
        for group in self.param_groups:
            for option, default in {**self.defaults, "step": 0}.items():
                group.setdefault(option, default)

    def state_dict(self) -> dict[str, Any]:
        """As torch.optim.Optimizer.state_dict, in plain numbers and tensors that `torch.load` takes back."""
        state_dict = super().state_dict()
        for group in state_dict["param_groups"]:
            make_saveable(group)
            group["clip"] = to_plain(group["clip"])
        return state_dict

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict()` gave (torch.optim.Optimizer.load_state_dict); steps go on counting from there.

        The state of torch's Adam and AdamW, timm's Lamb and apex's FusedLAMB fits LAMBC, too: a warning says which of
        their options come along, and which have no counterpart here. Options are those of the state, as in torch; a
        warning says where that replaces a group's `clip`. Raises ValueError, before anything is changed, where the
        saved groups, shapes or moments are not this optimizer's, or its layers are in another order.
        """
        before = [dict(group) for group in self.param_groups]
        checked: dict[str, Any] = {}

        def check(optimizer: Optimizer, state_dict: dict[str, Any]) -> None:
            saved_state.check(self, state_dict)
            checked.update(state_dict)

        # After the hooks that users registered to make a state fit, and before those that look at what was loaded.
        handles = [
            self.register_load_state_dict_pre_hook(check),
            self.register_load_state_dict_post_hook(
                lambda optimizer: saved_state.restore(self, checked, before), prepend=True
            ),
        ]
        try:
            super().load_state_dict(state_dict)
        finally:
            for handle in handles:
                handle.remove()
        saved_state.say_what_changed(self, checked["param_groups"], before)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; returns what `closure`, which may compute loss and gradients anew, returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            self._step()
        return loss

    def _step(self) -> None:
        for group in self.param_groups:  # schedulers write to them
            make_plain(group)
        batches = self._batches()  # raises before any weight changes
        if not batches:  # without gradients it is not a step
            return
        limits = any(group["max_grad_norm"] is not None for group in self.param_groups)
        asked = self._hooks.ask_gradients(self.param_groups[0]["step"] + 1)
        if self._hooks:
            self._hooks.begin(self.param_groups, gradients=limits or asked)
        grad_norms = [gradient_norms(batch.grads) if limits or asked else None for batch in batches]
        total_norm = self._total_norm(batches, grad_norms) if limits else None
        for group in self.param_groups:
            group["step"] += 1
        in_part = []
        for batch, grad_norm in zip(batches, grad_norms, strict=True):
            step, path = self._prepare(batch, total_norm), self._path(batch.group, batch.device)
            if batch.in_parts:
                norms, move = path.begin(step.layers, step.group, step.found_inf)
                if grad_norm is not None and not limits:  # else it is that of the whole layer already
                    norms = torch.cat([norms, grad_norm.to(norms).view(1, -1)])
                in_part.append((step, norms, move, path.coefficient(step.group), grad_norm))
            else:
                ratios = path.step(step.layers, step.group, step.lower, step.upper, step.found_inf)
                self._finish(step, ratios, grad_norm)
        # All norms are known before a weight moves, so that they need to travel only once.
        self._meshes.complete([norms for _, norms, *_ in in_part], [step.batch.params for step, *_ in in_part])
        for step, norms, move, coefficient, grad_norm in in_part:
            ratios = trust_ratios(norms[:2], step.group, step.lower, step.upper, coefficient)
            move(ratios[3] * step.group["lr"])
            self._finish(step, ratios, norms[2] if len(norms) > 2 else grad_norm)
        if self._hooks:
            self._hooks.call(self.param_groups[0]["step"])

    def _batches(self) -> list[Batch]:
        """The parameters that have a gradient, those of one group, device and dtype together."""
        found = []
        first_row = 0
        for group in self.param_groups:
            batches: dict[tuple[torch.device, torch.dtype], list[int]] = defaultdict(list)
            for row, param in enumerate(group["params"]):
                if param.grad is not None:
                    self._check_gradient(group, row)
                    batches[param.device, param.dtype].append(row)
            found += [(group, rows, first_row) for rows in batches.values()]
            first_row += len(group["params"])
        return [batch_of(*each) for each in found]

    def _check_gradient(self, group: dict[str, Any], row: int) -> None:
        param = group["params"][row]
        if param.is_complex():
            trouble = "takes no complex gradients, but parameter {} has one"
        elif param.grad.is_sparse:
            trouble = "takes no sparse gradients, but parameter {} has one"
        elif group["differentiable"] and in_parts(param):
            trouble = (
                "takes no differentiable step of a DTensor, but parameter {} is one: leave out differentiable=True"
            )
        else:
            return
        names = group.get("param_names", [])
        name = names[row] if row < len(names) else f"number {row} of its group"
        raise RuntimeError(f"{type(self).__name__} {trouble.format(name)}")

    def _prepare(self, batch: Batch, total_norm: Tensor | None) -> BatchStep:
        """All that the step of some layers needs; their count is raised."""
        group, params, device = batch.group, batch.params, batch.device
        if isinstance(group["lr"], Tensor):  # whose shape may be [1], which a path would multiply or enter as a list
            group = group | {"lr": group["lr"].view(())}
        dtype = working_dtype(params[0])
        bound = as_bound(group["clip"]) if group["adapt"] else EXEMPT
        keeps_masters = _keeps_masters(group, params[0])
        names = {
            "step",
            *self.moments,
            *(f"clip_{name}" for name in bound.state),
            *(["master"] if keeps_masters else []),
        }
        states = [
            state if names == (state := self.state[param]).keys() else self._fit_state(group, param, bound, names)
            for param in params
        ]
        if batch.in_parts:
            params = list(map(local, params))
            states = [{name: local(value) for name, value in state.items()} for state in states]
        masters = [state["master"] for state in states] if keeps_masters else None
        layers = Layers(masters or params, batch.grads, states, self._grad_factor(group, total_norm, device))
        found_inf = self._amp("found_inf", device)
        steps = layers.state("step")
        if found_inf is not None:
            torch._foreach_add_(steps, 1 - found_inf, alpha=1)  # without alpha torch calls item(), which waits
        elif steps[0].is_cpu:  # a number would become a tensor for each count; alpha picks the overload for tensors
            torch._foreach_add_(steps, torch.ones((), dtype=torch.float32, device="cpu"), alpha=1)
        else:
            torch._foreach_add_(steps, 1)

        bound_state = {name: torch.stack(layers.state(f"clip_{name}")) for name in bound.state}
        lower, upper = (
            limit.to(dtype)
            if isinstance(limit, Tensor)
            else torch.full((len(params),), limit, dtype=dtype, device=device)
            for limit in bound.limits(bound_state)
        )
        return BatchStep(batch, group, layers, bound, bound_state, lower, upper, found_inf, params if masters else [])

    def _finish(self, step: BatchStep, ratios: Tensor, grad_norm: Tensor | None) -> None:
        """Round a half-precision parameter to its master, have the bound learn, and enter the step in the record."""
        if step.rounded:
            torch._foreach_copy_(step.rounded, step.layers.params)
        if step.bound_state:
            self._learn(step, ratios)
        if self._hooks:
            lr = step.group["lr"]
            if step.found_inf is not None:
                rate = lr if isinstance(lr, Tensor) else torch.full_like(step.found_inf, lr)
                lr = torch.where(step.found_inf == 1, math.nan, rate)
            scale = self._amp("grad_scale", step.batch.device)
            if grad_norm is not None and scale is not None:
                grad_norm = grad_norm / scale
            rows = [step.batch.first_row + row for row in step.batch.rows]
            self._hooks.write(rows, ratios, step.lower, step.upper, lr, grad_norm)

    def _learn(self, step: BatchStep, ratios: Tensor) -> None:
        weight_norm, update_norm, ratio, _ = ratios.float()
        before = step.bound_state
        for name, value in step.bound.learn(before, ratio, rule.usable(weight_norm, update_norm)).items():
            if step.found_inf is not None:
                value = torch.where(step.found_inf == 1, before[name], value)
            torch._foreach_copy_(step.layers.state(f"clip_{name}"), list(value.unbind()))

    def _fit_state(self, group: dict[str, Any], param: Tensor, bound: Bound, names: set[str]) -> dict[str, Tensor]:
        """A layer's state with the entries `names`; a master or a bound's that are not among them would get stale."""
        state = self.state[param]
        for name in state.keys() - names:
            if name == "master" or name.startswith("clip_"):
                del state[name]
        if not state:
            device = param.device if self._counts_on_device(group, param.device) else torch.device("cpu")
            state["step"] = torch.zeros((), dtype=torch.float32, device=device)
            for moment in self.moments:
                state[moment] = self._zeros(param)
        if _keeps_masters(group, param) and "master" not in state:
            state["master"] = self._zeros(param).copy_(param)
        for name, value in bound.state.items():
            if f"clip_{name}" not in state:
                state[f"clip_{name}"] = torch.full((), value, dtype=torch.float32, device=param.device)
        return state

    @staticmethod
    def _zeros(param: Tensor) -> Tensor:
        """A moment of `param` before its first step: in its working dtype, and in its layout if that is dense."""
        return torch.zeros_like(param, dtype=working_dtype(param), memory_format=torch.preserve_format)

    def _total_norm(self, batches: list[Batch], norms: list[Any]) -> Tensor:
        """The norm over all gradients, on the first one's device; `norms` become those of whole layers."""
        self._meshes.complete([each.view(1, -1) for each in norms], [batch.params for batch in batches])
        totals = [torch.linalg.vector_norm(each).to(batches[0].device, non_blocking=True) for each in norms]
        return torch.linalg.vector_norm(torch.stack(totals))

    def _grad_factor(self, group: dict[str, Any], total_norm: Tensor | None, device: torch.device) -> Tensor | None:
        """What a group's gradients are multiplied by: GradScaler's scale taken back, and `max_grad_norm` kept."""
        scale = self._amp("grad_scale", device)
        factor = None if scale is None else 1 / scale
        if total_norm is not None and group["max_grad_norm"] is not None:
            norm = total_norm.to(device, non_blocking=True) * (1 if factor is None else factor)
            limit = (group["max_grad_norm"] / norm).clamp(max=1.0)
            # A norm that is not finite says nothing about the size of the finite elements.
            limit = torch.where(norm.isfinite(), limit, 1.0)
            factor = limit if factor is None else factor * limit
        return factor

    def _amp(self, name: str, device: torch.device) -> Tensor | None:
        """`grad_scale` or `found_inf`, which GradScaler sets for a step of an optimizer that can use it."""
        value = getattr(self, name, None)
        if value is not None and name == "found_inf":
            value = value.clamp(max=1)  # GradScaler adds up what it found on several devices
        return None if value is None else value.to(device, non_blocking=True)


def _keeps_masters(group: dict[str, Any], param: Tensor) -> bool:
    return group["master_weights"] and param.dtype != working_dtype(param)
