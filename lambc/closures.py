"""The closure of a step, watched: a step is of the gradients that are there when it returns.

What was there before, it may have thrown away; what is there after the step, the optimizer may have.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]


def watched(args: tuple[Any, ...], kwargs: Mapping[str, Any], returned: Callable[[], None]) -> Arguments | None:
    """Returns the arguments of `step`, as a pre-hook has them, with a closure that calls `returned` at its end.

    Returns None where there is no closure.
    """
    if len(args) > 1 and _is_closure(args[1]):
        return (args[0], _then(args[1], returned), *args[2:]), kwargs
    if _is_closure(kwargs.get("closure")):
        return args, {**kwargs, "closure": _then(kwargs["closure"], returned)}
    return None


def having_gradient(optimizer: Optimizer) -> set[Tensor]:
    """Returns the parameters that have a gradient now."""
    return {param for group in optimizer.param_groups for param in group["params"] if param.grad is not None}


def _is_closure(argument: Any) -> bool:
    return callable(argument) and not isinstance(argument, nn.Module)


def _then(closure: Callable[..., Any], returned: Callable[[], None]) -> Callable[..., Any]:
    @wraps(closure)
    def watched_closure(*args: Any, **kwargs: Any) -> Any:
        value = closure(*args, **kwargs)
        returned()
        return value

    return watched_closure
