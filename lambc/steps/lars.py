"""The step of LARS: Eq. 2 with the first moment, through torch's multi-tensor operations."""

import math

import torch
from torch import Tensor

from lambc import rule
from lambc.bounds import LARC
from lambc.norms import layer_norms
from lambc.steps import Layers, in_chunks


def step(layers: Layers, group: dict, lower: Tensor, upper: Tensor, found_inf: Tensor | None = None) -> Tensor:
    """Eq. 2 for as many layers at a time as fit in the cache of a CPU, or as a GPU has memory to spare for."""
    return in_chunks(_step_chunk, layers, group, lower, upper)


def _step_chunk(layers: Layers, group: dict, lower: Tensor, upper: Tensor) -> Tensor:
    beta, momenta = group["momentum"], layers.state("momentum")
    grads = layers.ascending_grads(group)
    if group["weight_decay"]:
        grads = list(torch._foreach_add(grads, layers.params, alpha=group["weight_decay"]))
    torch._foreach_lerp_(momenta, grads, 1 - beta)
    updates = torch._foreach_lerp(grads, momenta, beta) if group["nesterov"] else momenta

    weight_norms, update_norms = layer_norms(layers.params), layer_norms(updates)
    coefficient = group["trust_coefficient"]
    if isinstance(group["clip"], LARC):
        lr = group["lr"]
        coefficient = coefficient / lr if isinstance(lr, Tensor) or lr > 0 else math.inf
    ratios = rule.trust_ratio(weight_norms, update_norms, group["phi"], coefficient)
    clipped = rule.clip(ratios, lower, upper)
    for param, update, distance in zip(layers.params, updates, (clipped * group["lr"]).unbind(), strict=True):
        param.addcmul_(update, distance, value=-1)
    return torch.stack([weight_norms, update_norms, ratios, clipped])
