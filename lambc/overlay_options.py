"""The options of `over`, as groups hold them, and what it refuses."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim import LBFGS, AdamW, Muon, Optimizer

from lambc.bounds import LARC, as_bound, from_plain
from lambc.options import number
from lambc.sharded import is_flattened
from lambc.trust_ratios import layer_names

DEFAULTS: dict[str, Any] = {"trust_clip": None, "trust_coefficient": 1.0, "trust_decay": "in"}


def check_base(optimizer: Any) -> None:
    """Raise TypeError for what is no torch optimizer, ValueError for one over whose steps no ratio can be laid."""
    name = type(optimizer).__name__
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"over() takes a torch.optim.Optimizer, not {name}: give the optimizer that a wrapper holds")
    if hasattr(optimizer, "register_trust_ratio_hook"):
        raise ValueError(f"{name} has a trust ratio already: give its options there, and call over() once at most")
    if any(word in kind.__name__.lower() for kind in type(optimizer).__mro__ for word in ("lamb", "lars")):
        raise ValueError(f"{name} has a trust ratio of its own: take lambc.LAMBC or lambc.LARS, whose ratio is clipped")
    if isinstance(optimizer, LBFGS):
        raise ValueError("LBFGS takes several steps in one, each from where the last one ended: a ratio would break it")
    hooks = optimizer._optimizer_step_post_hooks.values()
    if any(str(getattr(hook, "__module__", "")).startswith("collector.") for hook in hooks):
        raise ValueError(
            f"a Collector records {name} as it was before the ratio: call over() before the Collector is made"
        )


def check_options(options: Mapping[str, Any]) -> None:
    """Raise ValueError for a bound, a coefficient or a kind of decay that `over` does not take."""
    if isinstance(as_bound(options["trust_clip"]), LARC):
        raise ValueError("clip=LARC() divides the ratio by lr, which only LARS can; give over() an upper bound")
    coefficient = number("coefficient", options["trust_coefficient"])
    if not 0 < coefficient < math.inf:
        raise ValueError(f"coefficient={coefficient}: η must be above 0, and finite")
    if options["trust_decay"] not in ("in", "apart"):
        raise ValueError(f"decay={options['trust_decay']!r}: give 'in' or 'apart'")


def check_earlier(optimizer: Optimizer, given: dict[str, Any]) -> None:
    """Raise ValueError for an option that no group has from an earlier `over`, since those of groups apply."""
    earlier = [group for group in optimizer.param_groups if "trust_step" in group]
    for option, value in given.items():
        kept = [group[option] for group in earlier]
        if option == "trust_clip":
            same = any(as_bound(from_plain(each, value)) == as_bound(value) for each in kept)
        else:
            same = value in kept
        if kept and not same:
            raise ValueError(
                f"{option.removeprefix('trust_')}={value}, but the groups have {option}={kept[0]} from an earlier "
                f"over(): leave it out to go on with that, or set group[{option!r}]"
            )


def check_params(optimizer: Optimizer, group: dict[str, Any]) -> None:
    """Raise ValueError for a group whose layers' steps could not be measured, or have no decay apart."""
    decouples = isinstance(optimizer, AdamW | Muon) or group.get("decoupled_weight_decay", False)
    if group["trust_decay"] == "apart" and not decouples:
        raise ValueError(
            "decay='apart' needs an optimizer that is known to decouple weight decay (torch's AdamW, Muon, or one with "
            f"decoupled_weight_decay=True), and {type(optimizer).__name__} is not: give decay='in'"
        )
    if "lr" not in group:
        raise ValueError(f"{type(optimizer).__name__} has no lr in its groups, by which a step could be measured")
    for name, param in zip(layer_names([group]), group["params"], strict=True):
        if param.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"parameter {name} is {param.dtype}, so its step is rounded before it can be measured: keep float32 "
                "weights under autocast, or take lambc.LAMBC with master_weights=True"
            )
        if is_flattened(param):
            raise ValueError(
                f"parameter {name} is flattened by FullyShardedDataParallel (FSDP1), which loses the layers' norms: "
                "shard the model with torch.distributed.fsdp.fully_shard (FSDP2)"
            )
