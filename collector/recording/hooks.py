"""How a collector's hook is registered at an optimizer."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch


def register(optimizer: Any, hook: Callable[[Any], None], gradients: Callable[[int], bool] | None) -> Any:
    """Have `hook` called after each step, until the handle that is returned removes it.

    gradients: of which steps its record is to have the norms of the gradients; None for none of them.

    torch.compile does not look into the hook, where it may compile the optimizer's step. To keep it out imports torch's
    compiler, which takes seconds, and which a torch optimizer has imported already.
    """
    if isinstance(optimizer, torch.optim.Optimizer):
        hook = torch.compiler.disable(hook)
    return optimizer.register_trust_ratio_hook(hook, **({"gradients": gradients} if gradients else {}))


def check_gradients(optimizers: Sequence[Any]) -> None:
    """Raise ValueError for an optimizer whose hook has no norms of gradients to give."""
    for each in optimizers:
        offered = getattr(each, "register_trust_ratio_hook", None)
        if offered is not None and "gradients" not in inspect.signature(offered).parameters:
            raise ValueError(
                f"gradients=True: {type(each).__name__}.register_trust_ratio_hook has no parameter `gradients`, so the "
                "norms of its gradients cannot be asked for: leave out gradients=True"
            )
