"""Clipping the gradients by their global norm, as torch.nn.utils.clip_grad_norm_ does, and what of it is logged."""

import types
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from collector.recording.values import metric_value
from lambc.norms import gradient_norms
from lambc.sharded import Meshes, in_parts, local, local_grad

NORM, FACTOR = "grad_norm", "grad_clip"
"""The metrics: the norm of all gradients before the clip, and what they were multiplied by, 1 where nothing was cut."""

_MOST_WAITING = 64


@dataclass
class _Clip:
    """What was logged of one, the places of the optimizers whose step it waits for, and whether any step came since."""

    values: dict[str, float | Tensor]
    optimizers: set[int]
    begun: bool = False


class Clips:
    """Clips that wait for the steps which they were made for, so that they are logged at their number.

    log: takes metrics. optimizers: those of the run.
    """

    def __init__(self, log: Callable[[dict[str, float | Tensor]], None], optimizers: Sequence[Any]) -> None:
        self._log = log
        self._optimizers = optimizers
        self._waiting: list[_Clip] = []

    def note(self, values: dict[str, float | Tensor], params: Sequence[Tensor], *, at_once: bool) -> None:
        """Log values once each optimizer of `params` has stepped, or at once where no step will be seen.

        A step that GradScaler skips is not seen: the clip that waits for it is logged with the next one at the latest.
        """
        if any(clip.begun for clip in self._waiting):
            self.log()
        self._waiting.append(_Clip(values, self._owners(params)))
        if at_once or len(self._waiting) >= _MOST_WAITING:
            self.log()

    def _owners(self, params: Sequence[Tensor]) -> set[int]:
        if len(self._optimizers) == 1:
            return {0}
        wanted = set(map(id, params))
        groups = ((number, group) for number, each in enumerate(self._optimizers) for group in each.param_groups)
        return {number for number, group in groups if any(id(param) in wanted for param in group["params"])}

    def see_step(self, optimizer: int) -> None:
        """Log what waits for the step of the optimizer at this place, and for no other's any more."""
        for clip in self._waiting:
            clip.begun = True
            clip.optimizers.discard(optimizer)
        ready = [clip for clip in self._waiting if not clip.optimizers]
        self._waiting = [clip for clip in self._waiting if clip.optimizers]
        for clip in ready:
            self._log(clip.values)

    def log(self) -> None:
        """Log what waits."""
        while self._waiting:
            self._log(self._waiting.pop(0).values)


@torch.no_grad()
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float,
    error_if_nonfinite: bool,
    foreach: bool | None,
    *,
    meshes: Meshes,
    log: Callable[[dict[str, float | Tensor], list[Any]], None],
) -> Tensor:
    """Scale gradients down to a common norm of `max_norm`, and log it; returns what it was (Collector).

    log: takes metrics, and the parameters whose gradients they are of.
    """
    params = _with_gradient(parameters)
    if not params:
        return torch.tensor(0.0)
    total = _total_norm(params, meshes) if norm_type == 2 else _norm_of_another_order(params, norm_type, foreach)
    factor = (float(max_norm) / (total + 1e-6)).clamp(max=1.0)
    # A copy, since the caller may write to what is returned.
    log({NORM: metric_value(NORM, total.clone()), FACTOR: metric_value(FACTOR, factor)}, params)
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
