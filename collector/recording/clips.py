"""Clipping the gradients by their global norm, as torch.nn.utils.clip_grad_norm_ does, and what of it is logged."""

import types
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from collector.recording.values import metric_value
from lambc.norms import gradient_norms
from lambc.sharded import Meshes, in_parts, local, local_grad

NORM, FACTOR = "grad_norm", "grad_clip"
"""The metrics: the norm of all gradients before the clip, and what they were multiplied by, 1 where nothing was cut."""

_MOST_WAITING = 64


class Clips:
    """Clips that wait for the step which they were made for, so that they are logged at its number.

    log: takes metrics.
    """

    def __init__(self, log: Callable[[dict[str, float | Tensor]], None]) -> None:
        self._log = log
        self._waiting: list[dict[str, float | Tensor]] = []

    def note(self, values: dict[str, float | Tensor], *, at_once: bool) -> None:
        """Log values with the next step, or at once where no step will be seen."""
        self._waiting.append(values)
        if at_once or len(self._waiting) >= _MOST_WAITING:
            self.log()

    def log(self) -> None:
        """Log what waits."""
        while self._waiting:
            self._log(self._waiting.pop(0))


@torch.no_grad()
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float,
    error_if_nonfinite: bool,
    foreach: bool | None,
    *,
    meshes: Meshes,
    log: Callable[[dict[str, float | Tensor]], None],
) -> Tensor:
    """Scale gradients down to a common norm of `max_norm`, and log it; returns what it was (Collector)."""
    params = _with_gradient(parameters)
    if not params:
        return torch.tensor(0.0)
    total = _total_norm(params, meshes) if norm_type == 2 else _norm_of_another_order(params, norm_type, foreach)
    factor = (float(max_norm) / (total + 1e-6)).clamp(max=1.0)
    # A copy, since the caller may write to what is returned.
    log({NORM: metric_value(NORM, total.clone()), FACTOR: metric_value(FACTOR, factor)})
    if error_if_nonfinite and not total.isfinite():
        raise RuntimeError(
            f"the total norm of order {norm_type} of the gradients is {total.item()}, so they cannot be clipped: leave "
            "out error_if_nonfinite=True to scale them by it anyway"
        )
    _scale([local(param.grad) for param in params], factor, foreach)
    return total


def _with_gradient(parameters: Tensor | Iterable[Tensor]) -> list[Any]:
    params = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    if isinstance(parameters, types.GeneratorType) and not params:
        warnings.warn("`parameters` is an empty generator, so no gradient is clipped", stacklevel=4)
    return [param for param in params if param.grad is not None]


def _total_norm(params: list[Any], meshes: Meshes) -> Tensor:
    """The norm of all gradients, summed in float32, on the first one's device."""
    by_device: dict[torch.device, list[Any]] = defaultdict(list)
    for param in params:
        by_device[param.grad.device].append(param)
    norms = [gradient_norms([local_grad(param) for param in each]) for each in by_device.values()]
    meshes.complete([each.view(1, -1) for each in norms], list(by_device.values()))
    first = params[0].grad.device
    return torch.linalg.vector_norm(torch.cat([each.to(first, non_blocking=True) for each in norms]))


def _norm_of_another_order(params: list[Any], norm_type: float, foreach: bool | None) -> Tensor:
    grads = [each.to(torch.promote_types(each.dtype, torch.float32)) for each in (param.grad for param in params)]
    grads = [grad for grad in grads if grad.numel()]  # an empty one has no largest element
    total: Any = torch.nn.utils.get_total_norm(grads, norm_type, foreach=foreach)
    return total.full_tensor() if in_parts(total) else total


def _scale(grads: list[Tensor], factor: Tensor, foreach: bool | None) -> None:
    """Multiply in place; without a look at whether the factor is 1, which would wait for the device."""
    by_device: dict[torch.device, list[Tensor]] = defaultdict(list)
    for grad in grads:
        by_device[grad.device].append(grad)
    for device, each in by_device.items():
        there = factor.to(device, non_blocking=True)
        if foreach is False:
            for grad in each:
                grad.mul_(there)
        else:
            torch._foreach_mul_(each, there)
