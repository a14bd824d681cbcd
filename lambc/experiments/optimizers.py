"""The optimizer of a run: its rule, its parameter groups, and the bound of each."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from lambc import LAMBC, LARS, bounds
from lambc.experiments.clip_text import Clip, spell, split_kinds
from lambc.experiments.settings import Settings


def make_optimizer(run: Settings, named_parameters: Iterable[tuple[str, Tensor]], steps: int = 1) -> Optimizer:
    """The optimizer that `run` asks for.

    steps: how many it will take from fresh moments on; over these goes a scheduled bound that names no steps.

    Raises ValueError, with the value, for an option that makes no sense.
    """
    if run.rule == "adamw":
        optimizer = AdamW(named_parameters, lr=run.lr, weight_decay=run.weight_decay)
        _count_steps(optimizer)
        return optimizer
    groups = _groups(run, list(named_parameters), steps)
    if run.rule == "lars":
        return LARS(groups, lr=run.lr, weight_decay=run.weight_decay)
    return LAMBC(groups, lr=run.lr, weight_decay=run.weight_decay, bias_correction=run.bias_correction)


def make_bound(clip: Clip, steps: int) -> bounds.Clip:
    """What `clip=` of an optimizer takes, for a `clip` that is not by kinds of tensors.

    Raises ValueError for numbers that make no sense.
    """
    if not isinstance(clip, str):
        bounds.as_bound(clip)
        return clip
    kind, *texts = clip.split(":")
    numbers = [float(text) for text in texts]
    match kind, numbers:
        case "none", []:
            return None
        case "larc", []:
            return bounds.LARC()
        case "scheduled", [start, end]:
            return bounds.Scheduled(start, end, steps)
        case "scheduled", [start, end, given]:
            if not given.is_integer():
                raise ValueError(f"clip={clip!r}: STEPS is {texts[2]}, but a number of steps is whole")
            return bounds.Scheduled(start, end, int(given))
        case "dynamic", _:
            return bounds.DynamicBound(*numbers)
        case "deviation", [deviations]:
            return bounds.Deviation(deviations)
        case "deviation", [deviations, beta]:
            return bounds.Deviation(deviations, beta)
        case "quantile", _:
            return bounds.Quantile(*numbers)
    pair = [float(text) for text in clip.split(",")]
    return make_bound((pair[0], pair[1]) if len(pair) == 2 else pair[0], steps)


def kind_of(name: str, param: Tensor) -> str:
    """What a layer is: `norm` (a weight of one dimension), `bias`, `conv` or `matrix`."""
    if param.dim() < 2:
        return "norm" if name.endswith("weight") else "bias"
    return "conv" if param.dim() == 4 else "matrix"


def replayed_as(run: Settings, name: str, param: Tensor) -> str:
    """What shares a learning rate with a layer when a run's rates are replayed: itself, its kind, or `all`."""
    return {"layer": name, "kind": kind_of(name, param)}.get(run.replay or "all", "all")


def _groups(run: Settings, named: list[tuple[str, Tensor]], steps: int) -> list[dict[str, Any]]:
    """One group; or several where some layers have options or rates of their own, those with a bound of theirs last."""
    kind, *texts = split_kinds(spell(run.clip))
    of_kind, of_others = (make_bound(text, steps) for text in texts)
    groups: dict[tuple[bool, bool, str], dict[str, Any]] = {}
    for name, param in named:
        its = (param.dim() < 2) if kind == "1-d" else (kind_of(name, param) == kind)
        own = its and of_kind != of_others
        exempt = run.exempt_1d and param.dim() < 2
        options = {"params": [], "clip": of_kind if own else of_others, "adapt": not exempt}
        groups.setdefault((own, exempt, replayed_as(run, name, param)), options)["params"].append((name, param))
    return [groups[key] for key in sorted(groups, key=lambda key: key[:2])]


def _count_steps(optimizer: Optimizer) -> None:
    """Count the steps in the groups, as LAMBC does: a state that is begun anew counts from 0, but the log goes on."""
    for group in optimizer.param_groups:
        group["step"] = 0

    @torch.compiler.disable
    def count(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            group["step"] += 1

    optimizer.register_step_post_hook(count)
