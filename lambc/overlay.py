"""A trust ratio over the steps of any torch optimizer, laid over them by its own step hooks."""

import math
from collections import defaultdict
from functools import partial
from itertools import compress, zip_longest
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from lambc import rule
from lambc.bounds import EXEMPT, Bound, Clip, as_bound, from_plain, to_plain
from lambc.closures import Arguments, having_gradient, watched
from lambc.counts import steps_taken
from lambc.nested_steps import is_outermost
from lambc.norms import layer_norms, local_gradient_norms
from lambc.overlay_options import DEFAULTS, check_base, check_earlier, check_options, check_params
from lambc.saved_state import say_what_was_replaced
from lambc.sharded import Meshes, local
from lambc.trust_ratios import TrustRatioHooks

Decay = Literal["in", "apart"]
Base = TypeVar("Base", bound=Optimizer)


def over(optimizer: Base, clip: Clip = None, *, coefficient: float | None = None, decay: Decay | None = None) -> Base:
    """Lay a trust ratio over every step that `optimizer` takes (Eq. 2, with Eq. 3's bounds); returns the same object.

    A layer is one parameter tensor. Its step Δ, which the optimizer took from w, becomes ρΔ, where

        ρ = clip(η ‖w‖ / ‖u‖, lower, upper),   u = -Δ / lr

    A zero or non-finite norm gives the ratio 1, before clipping. With ρ = 1 the step stays what it is, bit for bit.
    Schedulers, GradScaler, closures, wrappers and checkpoints see the same optimizer. It gains the method
    `register_trust_ratio_hook`, which a Collector uses if it is made after this call.

        optimizer = lambc.over(torch.optim.Muon(weights, lr=2e-2), clip=(1, math.inf), coefficient=0.35)

    never lets Muon move a layer, relative to its size, by less than 0.35 lr.

    clip: as in `LAMBC`: an upper bound, a pair (lower, upper), a bound of `lambc.bounds`, or None for no clipping, or
        for that of a group which has one already.
    coefficient: η, above 0, 1 by default; LARS's trust coefficient.
    decay: `in`, the default: weight decay that the optimizer adds to its step is part of Δ, as in LAMB. `apart`:
        decoupled decay is taken as it is, and the ratio is that of the rest; for optimizers known to decouple it.

    The options lie in the parameter groups as `trust_clip`, `trust_coefficient` and `trust_decay`, so that a group can
    have its own, and a state_dict holds them. A group with `adapt=False` (`parameter_groups`) keeps its steps.

    For Adam's and SGD's steps `LAMB`, `LAMBC` and `LARS` do the same faster: this takes a copy of the weights and five
    passes over them, for a fused AdamW about two more of its own steps. A copy or a pickle of the optimizer loses it,
    as it does all hooks: call `over` again, without options, so that those of the groups apply.

    Raises TypeError for what is no torch optimizer, and ValueError where the ratio would be wrong: weights of half
    precision, LBFGS, an optimizer that has a ratio of its own, and options that make no sense, or that differ from
    those that an earlier `over` left in the groups. An optimizer whose state turns out to hold a copy of the weights is
    refused with RuntimeError, after its first step.
    """
    check_base(optimizer)
    given = {"trust_clip": clip, "trust_coefficient": coefficient, "trust_decay": decay}
    given = {option: value for option, value in given.items() if value is not None}
    check_options(DEFAULTS | given)
    check_earlier(optimizer, given)
    overlay = _Overlay(optimizer, DEFAULTS | given)
    optimizer.register_trust_ratio_hook = overlay.hooks.add  # type: ignore[attr-defined]
    return optimizer


class _Step(NamedTuple):
    """Parameters of one group, device and dtype, and what they were before the step, on this process.

    grad_norm: of their gradients, where it is asked for and no closure computes them anew.
    """

    group: dict[str, Any]
    rows: list[int]
    first_row: int
    params: list[Tensor]
    before: list[Tensor]
    lr: float | Tensor
    had_gradient: list[bool]
    grad_norm: Tensor | None

    def with_gradient(self, after_closure: set[Tensor] | None) -> "_Step":
        """Returns the step of only those parameters that had a gradient at the closure's end, or have one by now."""
        if after_closure is None:
            kept = [had or param.grad is not None for had, param in zip(self.had_gradient, self.params, strict=True)]
        else:
            kept = [param in after_closure for param in self.params]
        if all(kept):
            return self
        rows, params, before = list(compress(self.rows, kept)), compress(self.params, kept), compress(self.before, kept)
        norms = None if self.grad_norm is None else self.grad_norm[[row for row, had in enumerate(kept) if had]]
        return self._replace(rows=rows, params=list(params), before=list(before), grad_norm=norms)

    def with_grad_norm(self, optimizer: Optimizer) -> "_Step":
        """Returns the step with the norms of the gradients that are there now."""
        return self._replace(grad_norm=local_gradient_norms(self.params, optimizer))


class _Overlay:
    """The ratio over one optimizer's steps, and the hooks that are shown it."""

    def __init__(self, optimizer: Optimizer, options: dict[str, Any]) -> None:
        self.hooks = TrustRatioHooks()
        self._options = options
        self._clips: list[Clip] = []
        self._meshes = Meshes()
        self._steps: list[_Step] | None = None
        self._after_closure: set[Tensor] | None = None
        self._asked = False
        self._kept: dict[Tensor, Tensor] = {}
        self._looked_for_copies = False
        self._complete_groups(optimizer)

        @torch.compiler.disable
        def before(optimizer: Optimizer, args: Any, kwargs: Any) -> Arguments | None:
            if not is_outermost(optimizer):
                return None
            given = (*args[1:], *kwargs.values())
            self._before_step(optimizer, has_closure=any(each is not None for each in given))
            return watched(args, kwargs, partial(self._end_closure, optimizer))

        @torch.compiler.disable
        def after(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            if is_outermost(optimizer):
                self._after_step(optimizer)

        optimizer.register_step_pre_hook(before)
        optimizer.register_step_post_hook(after)
        optimizer.register_state_dict_pre_hook(self._complete_new_groups)
        optimizer.register_state_dict_post_hook(_make_saveable)
        optimizer.register_load_state_dict_post_hook(self._after_load)

    def _complete_groups(self, optimizer: Optimizer) -> None:
        """Give the groups the options that they lack: new ones, and those of a state_dict saved without them."""
        groups = optimizer.param_groups
        steps = max((group.get("trust_step", 0) for group in groups), default=0) or steps_taken(optimizer) or 0
        for group, current in zip_longest(groups, self._clips[: len(groups)], fillvalue=self._options["trust_clip"]):
            group.update({**self._options, **group, "trust_step": steps})
            group["trust_clip"] = from_plain(group["trust_clip"], current)
            check_options(group)
            check_params(optimizer, group)
        self._clips = [group["trust_clip"] for group in groups]

    def _complete_new_groups(self, optimizer: Optimizer) -> None:
        if any("trust_step" not in group for group in optimizer.param_groups):
            self._complete_groups(optimizer)

    def _after_load(self, optimizer: Optimizer) -> None:
        before = self._clips
        self._complete_groups(optimizer)
        given = [after if clip is None else clip for clip, after in zip(before, self._clips, strict=True)]
        say_what_was_replaced("trust_clip", given, optimizer.param_groups, stacklevel=6)

    @torch.no_grad()
    def _before_step(self, optimizer: Optimizer, *, has_closure: bool) -> None:
        self._complete_new_groups(optimizer)
        self._steps, self._after_closure = [], None
        self._asked = bool(self.hooks) and self.hooks.ask_gradients(optimizer.param_groups[0]["trust_step"] + 1)
        first_row = 0
        for group in optimizer.param_groups:
            kinds: dict[tuple[torch.device, torch.dtype], list[int]] = defaultdict(list)
            for row, param in enumerate(group["params"]):
                if has_closure or param.grad is not None:
                    kinds[param.device, param.dtype].append(row)
            lr = group["lr"].detach().clone().view(()) if isinstance(group["lr"], Tensor) else group["lr"]
            for rows in kinds.values():
                params = [group["params"][row] for row in rows]
                had_gradient = [param.grad is not None for param in params]
                norms = local_gradient_norms(params, optimizer) if self._asked and not has_closure else None
                self._steps.append(_Step(group, rows, first_row, params, self._copies(params), lr, had_gradient, norms))
            first_row += len(group["params"])

    def _copies(self, params: list[Tensor]) -> list[Tensor]:
        """On a CPU into the same memory at each step, since fresh memory costs twice the copy."""
        parts = [local(param) for param in params]
        copies = []
        for param, part in zip(params, parts, strict=True):
            room = self._kept.get(param)
            if room is None or room.shape != part.shape:
                room = torch.empty_like(part)
                if room.is_cpu:
                    self._kept[param] = room
            copies.append(room)
        torch._foreach_copy_(copies, parts)
        return copies

    @torch.compiler.disable
    @torch.no_grad()
    def _end_closure(self, optimizer: Optimizer) -> None:
        self._after_closure = having_gradient(optimizer)
        if self._asked:  # by now: the step may change or drop them
            self._steps = [step.with_grad_norm(optimizer) for step in self._steps or []]

    @torch.no_grad()
    def _after_step(self, optimizer: Optimizer) -> None:
        steps, self._steps = self._steps or [], None
        steps = [step for step in (each.with_gradient(self._after_closure) for each in steps) if step.rows]
        if not steps:  # without gradients it is not a step
            return
        self._look_for_copies(optimizer, steps)
        if self.hooks:
            self.hooks.begin(optimizer.param_groups, gradients=self._asked)
        if self._asked:
            steps = [step if step.grad_norm is not None else step.with_grad_norm(optimizer) for step in steps]
        begun = [_measure(step) for step in steps]
        # All norms are known before a weight moves, so that those of sharded layers travel only once.
        self._meshes.complete([norms for norms, _ in begun], [step.params for step in steps])
        for group in optimizer.param_groups:
            group["trust_step"] += 1
        for step, (norms, moved) in zip(steps, begun, strict=True):
            self._scale(optimizer, step, norms, moved)
        if self.hooks:
            self.hooks.call(optimizer.param_groups[0]["trust_step"])

    def _scale(self, optimizer: Optimizer, step: _Step, norms: Tensor, moved: list[Tensor]) -> None:
        group = step.group
        bound: Bound = as_bound(group["trust_clip"]) if group.get("adapt", True) else EXEMPT
        states = _bound_states(optimizer, step.params, bound)
        state = {name: torch.stack([each[f"clip_{name}"] for each in states]) for name in bound.state}
        lower, upper = (
            limit.to(norms) if isinstance(limit, Tensor) else norms.new_full((len(step.rows),), limit)
            for limit in bound.limits(state)
        )
        weight_norm, distance, *rest = norms.unbind()
        lr = step.lr if isinstance(step.lr, Tensor) else norms.new_full((), step.lr)
        update_norm = torch.where(distance == 0, 0.0, distance / lr.to(norms))
        ratio = rule.trust_ratio(weight_norm, update_norm, None, group["trust_coefficient"])
        used = rule.clip(ratio, lower, upper)
        found_inf = getattr(optimizer, "found_inf", None)
        taken = None if found_inf is None else found_inf.to(norms.device, non_blocking=True) < 1
        torch._foreach_mul_(moved, list((used - 1).unbind()))
        torch._foreach_add_([local(param) for param in step.params], moved)
        for name, value in bound.learn(state, ratio.float(), rule.usable(weight_norm, update_norm)).items():
            value = value if taken is None else torch.where(taken, value, state[name])
            torch._foreach_copy_([each[f"clip_{name}"] for each in states], list(value.unbind()))
        if self.hooks:
            rows = [step.first_row + row for row in step.rows]
            rate = lr if taken is None else torch.where(taken, lr.to(norms), math.nan)
            self.hooks.write(rows, torch.stack([weight_norm, update_norm, ratio, used]), lower, upper, rate, *rest)

    def _look_for_copies(self, optimizer: Optimizer, steps: list[_Step]) -> None:
        """Raises RuntimeError, at the first step, if the state holds a copy of the weights, which lacks the ratio."""
        if self._looked_for_copies:
            return
        self._looked_for_copies = True
        pairs = ((param, before) for step in steps for param, before in zip(step.params, step.before, strict=True))
        for param, before in pairs:
            weights = [before, local(param)]
            for name, kept in optimizer.state[param].items():
                comparable = isinstance(kept, Tensor) and kept.shape == param.shape and kept.numel() > 1
                if comparable and before.any() and any(torch.equal(local(kept), each) for each in weights):
                    raise RuntimeError(
                        f"{type(optimizer).__name__} keeps a copy of the weights in its state ({name!r}), which would "
                        "not follow the trust ratio: take lambc.LAMBC, or an optimizer that keeps none"
                    )


def _measure(step: _Step) -> tuple[Tensor, list[Tensor]]:
    """Returns ‖w‖ before the step, ‖Δ‖ and, if known, ‖g‖ of the local parts; and the step Δ itself.

    The norms are [2 or 3, layers]; Δ overwrites `step.before`.
    """
    weight_norms = layer_norms(step.before)
    if step.group["trust_decay"] == "apart" and step.group["weight_decay"]:
        kept = 1 - step.lr * step.group["weight_decay"]
        torch._foreach_mul_(step.before, kept)  # what decay alone would have left
    torch._foreach_neg_(step.before)
    torch._foreach_add_(step.before, [local(param) for param in step.params])
    norms = [weight_norms, layer_norms(step.before)]
    if step.grad_norm is not None:
        norms.append(step.grad_norm.to(weight_norms))
    return torch.stack(norms), step.before


def _bound_states(optimizer: Optimizer, params: list[Tensor], bound: Bound) -> list[dict[str, Tensor]]:
    """Returns each layer's bound state, made after a step: an optimizer takes any non-empty state to be its own.

    What another bound kept is dropped, since it would get stale.
    """
    for param in params:
        kept = optimizer.state.get(param, {})
        for name in [each for each in kept if each.startswith("clip_") and each[len("clip_") :] not in bound.state]:
            del kept[name]
    if not bound.state:
        return []
    states = [optimizer.state[param] for param in params]
    for param, state in zip(params, states, strict=True):
        for name, value in bound.state.items():
            if f"clip_{name}" not in state:
                state[f"clip_{name}"] = torch.full((), value, dtype=torch.float32, device=param.device)
    return states


def _make_saveable(optimizer: Optimizer, state_dict: dict[str, Any]) -> None:
    for group in state_dict["param_groups"]:
        group["trust_clip"] = to_plain(group["trust_clip"])
