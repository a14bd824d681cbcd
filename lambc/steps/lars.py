"""The step of LARS: Eq. 2 with the first moment, through torch's multi-tensor operations."""

import math

import torch
from torch import Tensor

from lambc.bounds import LARC
from lambc.norms import layer_norms
from lambc.steps import Layers, Move, Path, begin_in_chunks, cache_sized, step_in_chunks, together


def step(layers: Layers, group: dict, lower: Tensor, upper: Tensor, found_inf: Tensor | None = None) -> Tensor:
    """Eq. 2 for as many layers at a time as `cache_sized` puts together."""
    eta = coefficient(group)
    return step_in_chunks(_begin_chunk, cache_sized(layers), layers, group, lower, upper, coefficient=eta)


def begin(layers: Layers, group: dict, found_inf: Tensor | None = None) -> tuple[Tensor, Move]:
    """Eq. 2 of layers that are here in part, up to their ratio, and the weights' step."""
    return begin_in_chunks(_begin_chunk, cache_sized(layers), layers, group)


def coefficient(group: dict) -> float | Tensor:
    """η, or η / lr under LARC."""
    eta, lr = group["trust_coefficient"], group["lr"]
    if not isinstance(group["clip"], LARC):
        return eta
    return eta / lr if isinstance(lr, Tensor) or lr > 0 else math.inf


PATH = Path(step, begin, coefficient)


def _begin_chunk(layers: Layers, group: dict) -> tuple[Tensor, Move]:
    beta, momenta = group["momentum"], layers.state("momentum")
    grads = layers.ascending_grads(group)
    if group["weight_decay"]:
        grads = list(torch._foreach_add(grads, layers.params, alpha=group["weight_decay"]))
    torch._foreach_lerp_(momenta, grads, 1 - beta)
    updates = torch._foreach_lerp(grads, momenta, beta) if group["nesterov"] else momenta

    def move(distances: Tensor) -> None:
        together.move(layers.params, updates, distances, -1)

    return torch.stack([layer_norms(layers.params), layer_norms(updates)]), move
