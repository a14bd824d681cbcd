"""The optimizers that take the steps, inside of whatever holds them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from lambc.sharded import is_flattened

_ATTRIBUTES = ("optimizer", "_optimizer", "base_optimizer", "_base_optimizer", "original_optimizer", "optim")
"""Where a wrapper keeps its optimizer: Accelerate, Lightning and Fabric, SAM, timm's Lookahead, Opacus, apex's LARC and
ZeroRedundancyOptimizer."""

_CONTAINERS = ("optimizers", "_optimizers", "chained_optimizers")

_WITHOUT_LAYERS = {"deepspeed": "DeepSpeed", "megatron": "Megatron's distributed optimizer"}
"""Packages whose optimizers step flat buffers, in which layers have no borders."""


def optimizers_inside(given: Any) -> list[Any]:
    """Returns the optimizers whose steps are to be recorded, in their order, each once.

    A wrapper (Accelerate's `AcceleratedOptimizer`, Lightning's `LightningOptimizer`, timm's `Lookahead`) counts, skips
    and repeats steps by rules of its own, and hides the hooks of what it holds, so what it holds is taken. A container
    (a list, torchtitan's `OptimizersContainer`) stands for all that it holds. A wrapper whose optimizer has only
    some of its parameters, as `ZeroRedundancyOptimizer`, is taken itself.

    Raises TypeError for what is not an optimizer and holds none, and for optimizers that have no layers.
    """
    found = {id(each): each for each in _inside(given, seen={})}
    if not found:
        raise ValueError(f"optimizer={given!r}: give an optimizer to record, or several")
    return list(found.values())


def _inside(given: Any, seen: dict[int, Any]) -> Iterator[Any]:
    """seen: what was looked at, by identity; kept, so that no other object gets its id meanwhile."""
    if id(given) in seen:
        return
    seen[id(given)] = given
    _refuse_without_layers(given)
    if not _is_optimizer(given):
        if not _is_container(given):
            raise _no_optimizer(given)
        for each in given.values() if isinstance(given, Mapping) else given:
            yield from _inside(each, seen)
        return
    held = _held(given)
    if held and _params(held) >= _params([given]):
        for each in held:
            yield from _inside(each, seen)
    elif hasattr(given, "register_trust_ratio_hook") or _has_step_hooks(given):
        yield given
    elif isinstance(given, Optimizer):
        raise TypeError(
            f"{type(given).__name__} never called Optimizer.__init__, so that its steps cannot be seen: call it in its "
            "__init__, or give the optimizer that is inside it"
        )
    else:
        raise _no_optimizer(given)


def _no_optimizer(given: Any) -> TypeError:
    what = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
    return TypeError(
        f"{what} is no torch.optim.Optimizer and has no register_trust_ratio_hook: give the optimizer whose step() "
        "takes the steps"
    )


def _held(optimizer: Any) -> list[Any]:
    """What a wrapper or a container holds, as far as it is an optimizer."""
    for name in _ATTRIBUTES:
        inner = getattr(optimizer, name, None)
        if inner is not optimizer and _is_optimizer(inner):
            return [inner]
    for name in _CONTAINERS:
        inner = getattr(optimizer, name, None)
        inner = list(inner.values()) if isinstance(inner, Mapping) else inner
        if isinstance(inner, list | tuple) and inner and all(map(_is_optimizer, inner)):
            return list(inner)
    return []


def _is_optimizer(value: Any) -> bool:
    if isinstance(value, type):
        return False
    return isinstance(value, Optimizer) or (
        hasattr(value, "param_groups") and (hasattr(value, "step") or hasattr(value, "register_trust_ratio_hook"))
    )


def _is_container(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Tensor)


def _has_step_hooks(optimizer: Any) -> bool:
    """Whether torch calls step hooks that are registered at it: `Optimizer.__init__` made their table, and its class's
    `step` is the one that calls them."""
    return isinstance(optimizer, Optimizer) and "_optimizer_step_pre_hooks" in vars(optimizer)


def _params(optimizers: list[Any]) -> set[int]:
    return {id(param) for each in optimizers for group in each.param_groups for param in group["params"]}


def _refuse_without_layers(given: Any) -> None:
    for kind in type(given).__mro__:
        package = kind.__module__.partition(".")[0]
        if package in _WITHOUT_LAYERS:
            raise TypeError(
                f"{type(given).__name__} is {_WITHOUT_LAYERS[package]}, which steps flat buffers without layers, so "
                "there is nothing to record: shard with torch.distributed.fsdp.fully_shard (FSDP2)"
            )
    if any(is_flattened(param) for group in getattr(given, "param_groups", ()) for param in group["params"]):
        raise TypeError(
            f"{type(given).__name__} steps parameters of FullyShardedDataParallel (FSDP1), which lays layers end to "
            "end and cuts where it likes, so their norms are lost: shard with fully_shard (FSDP2)"
        )


def places_among(recorded: Sequence[Any], optimizer: Any) -> list[int]:
    """The places of an optimizer, or of those inside of it, among the recorded ones; of all where it is None.

    Raises ValueError if it is none of them.
    """
    if optimizer is None:
        return [*range(len(recorded))]
    try:
        wanted = set(map(id, optimizers_inside(optimizer)))
    except TypeError:
        wanted = set()
    if places := [place for place, each in enumerate(recorded) if id(each) in wanted]:
        return places
    raise ValueError(f"this collector does not record {optimizer!r}: give one of the optimizers it was made with")
