"""A state_dict that is loaded: whether it fits, and how it is kept."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lambc.bounds import Clip, as_bound, from_plain
from lambc.options import make_plain
from lambc.trust_ratios import layer_names

if TYPE_CHECKING:
    from lambc.optimizer import LayerwiseOptimizer


_NEUTRAL = {
    "amsgrad": False,
    "trust_clip": False,
    "caution": False,
    "decoupled_decay": False,
    "corrected_weight_decay": False,
    "grad_averaging": True,
    "always_adapt": True,
    "decoupled_weight_decay": True,
    "trust_coefficient": 1.0,
    "trust_decay": "in",
}
"""Options of torch's Adam, timm's Lamb, apex's FusedLAMB and `over`, and the value that changes nothing."""

_IMPLEMENTATIONS = ("foreach", "fused", "capturable", "differentiable")
"""Options that say how a step is computed, and not what it is: another optimizer's would choose a path for this one."""

_DECAY_OPTIONS = {"decoupled_decay", "corrected_weight_decay", "decoupled_weight_decay", "trust_decay"}


def check(optimizer: "LayerwiseOptimizer", state_dict: dict[str, Any]) -> None:
    """Raise ValueError where the saved groups, names, shapes or moments are not those of `optimizer`."""
    saved_groups = state_dict["param_groups"]
    if [len(group["params"]) for group in saved_groups] != [len(group["params"]) for group in optimizer.param_groups]:
        return  # torch says so
    # torch.distributed.checkpoint saves by name: it has put the parameters in our order, but not `param_names`.
    if all(isinstance(saved_id, int) for group in saved_groups for saved_id in group["params"]):
        _check_order(layer_names(optimizer.param_groups), layer_names(saved_groups))
    names = iter(layer_names(optimizer.param_groups))
    for group, saved_group in zip(optimizer.param_groups, saved_groups, strict=True):
        make_plain({**saved_group, "clip": from_plain(saved_group.get("clip"), group["clip"])})
        for param, saved_id in zip(group["params"], saved_group["params"], strict=True):
            saved = state_dict["state"].get(saved_id, {})
            _check_layer(optimizer, next(names), param, saved, counted="step" in saved_group)


def _check_order(names: tuple[str, ...], saved_names: tuple[str, ...]) -> None:
    """Other names are no other order: a wrapper's prefix, or names on one side alone."""
    if sorted(names) == sorted(saved_names):
        for name, saved_name in zip(names, saved_names, strict=True):
            if name != saved_name:
                raise ValueError(
                    f"the state_dict has layer {saved_name} where the optimizer has layer {name}: give the optimizer "
                    "its parameters in the order in which they were saved"
                )


def _check_layer(
    optimizer: "LayerwiseOptimizer", layer: str, param: Tensor, saved: dict[str, Any], *, counted: bool
) -> None:
    """counted: whether the group of the saved state says at which step it is."""
    needed = optimizer.moments if counted else ("step", *optimizer.moments)
    if saved and not saved.keys() >= set(needed):
        raise ValueError(
            f"the state_dict has {', '.join(saved)} for layer {layer}, but {type(optimizer).__name__} needs "
            f"{', '.join(needed)}: load one of the same optimizer"
        )
    for moment in optimizer.moments if saved else ():
        if saved[moment].shape != param.shape:
            raise ValueError(
                f"the state_dict has {moment} of shape {list(saved[moment].shape)} for layer {layer}, whose shape "
                f"is {list(param.shape)}: load one of the same model, with its groups in the same order"
            )


@torch.no_grad()
def restore(optimizer: "LayerwiseOptimizer", state_dict: dict[str, Any], before: list[dict[str, Any]]) -> None:
    """Put right what torch has loaded: options that were not saved, and state as this optimizer keeps it."""
    steps = [0]
    for group, saved_group, old in zip(optimizer.param_groups, state_dict["param_groups"], before, strict=True):
        foreign = "clip" not in saved_group
        kept = ("param_names", *(_IMPLEMENTATIONS if foreign else ()))
        group |= {option: value for option, value in old.items() if option in kept or option not in saved_group}
        group["clip"] = from_plain(group["clip"], old["clip"])
        make_plain(group)
        group["step"] = int(group["step"])
        for option in {*_NEUTRAL, "trust_step"} - optimizer.defaults.keys():
            group.pop(option, None)
        for param, saved_id in zip(group["params"], saved_group["params"], strict=True):
            saved = state_dict["state"].get(saved_id)
            if saved:
                saved = {"step": group["step"], **saved}
                optimizer.state[param].update(_restored(optimizer, group, param, saved))
                optimizer.state[param].pop("max_exp_avg_sq", None)  # amsgrad's, as large as a moment and not read here
                steps.append(int(saved["step"]))
        steps.append(group["step"])
    for group in optimizer.param_groups:
        group["step"] = max(steps)


def say_what_changed(
    optimizer: "LayerwiseOptimizer", saved_groups: list[dict[str, Any]], before: list[dict[str, Any]]
) -> None:
    """Warn of what the one who loads a state may not expect of its options."""
    if any("clip" not in group for group in saved_groups):
        _say_what_came_along(optimizer, saved_groups)
    say_what_was_replaced("clip", [group["clip"] for group in before], optimizer.param_groups, stacklevel=4)


def say_what_was_replaced(option: str, old: Sequence[Clip], groups: list[dict[str, Any]], *, stacklevel: int) -> None:
    """Warn where a loaded state has another bound than the groups had."""
    pairs = [(before, group[option]) for before, group in zip(old, groups, strict=True)]
    replaced = dict.fromkeys(
        f"clip={before} by clip={after}"
        for before, after in pairs
        if before is not after and as_bound(before) != as_bound(after)
    )
    if replaced:
        warnings.warn(
            f"the state_dict replaces {', '.join(replaced)}: to keep yours, set group[{option!r}] after loading",
            stacklevel=stacklevel,
        )


def _say_what_came_along(optimizer: "LayerwiseOptimizer", saved_groups: list[dict[str, Any]]) -> None:
    """Warn that the state is another optimizer's: which of its options hold now, and which have no counterpart."""
    found = {name for group in saved_groups for name in group}
    options = [name for name in optimizer.defaults if name in found and name not in _IMPLEMENTATIONS]
    others = _NEUTRAL.keys() - optimizer.defaults.keys()
    left = sorted({f"{name}={group[name]}" for group in saved_groups for name in others if _acts(name, group)})
    warnings.warn(
        f"the state_dict is another optimizer's; {type(optimizer).__name__} continues from its moments: "
        f"{', '.join(options)} are taken from it, clip={optimizer.param_groups[0]['clip']} is kept"
        + (f", and {', '.join(left)} is ignored" if left else ""),
        stacklevel=4,
    )


def _acts(name: str, group: dict[str, Any]) -> bool:
    """Whether an option of another optimizer did something there that is not done here."""
    if name not in group or (group[name] or False) == _NEUTRAL[name]:
        return False
    if name == "always_adapt":  # without decay timm's Lamb has no ratio
        return not group["weight_decay"]
    return bool(group["weight_decay"]) if name in _DECAY_OPTIONS else True


def _restored(
    optimizer: "LayerwiseOptimizer", group: dict[str, Any], param: Tensor, saved: dict[str, Any]
) -> dict[str, Tensor]:
    """A parameter's state as this optimizer keeps it.

    torch casts state to the parameter's dtype, which would round what half-precision parameters keep in float32,
    and lets it keep a layout that may not be the parameter's, which the fused kernels need.
    """
    restored = {}
    for name, value in saved.items():
        if name in optimizer.moments or name == "master":
            restored[name] = optimizer._zeros(param).copy_(value)
        elif name == "step":
            device = param.device if optimizer._counts_on_device(group, param.device) else "cpu"
            restored[name] = torch.as_tensor(value, dtype=torch.float32, device=device).clone()
        elif isinstance(value, Tensor):
            restored[name] = value.to(param.device, copy=True)
    return restored
