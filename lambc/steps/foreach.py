"""Many layers at once through torch's multi-tensor operations: few kernels on a GPU, and nothing private to torch."""

import torch
from torch import Tensor

from lambc.norms import layer_norms
from lambc.steps import Corrections, Layers, Move, Path, begin_in_chunks, cache_sized, step_in_chunks, together


def step(layers: Layers, group: dict, lower: Tensor, upper: Tensor, found_inf: Tensor | None = None) -> Tensor:
    """Algorithm 1, lines 7 to 17, for as many layers at a time as `cache_sized` puts together."""
    return step_in_chunks(_begin_chunk, cache_sized(layers), layers, group, lower, upper)


def begin(layers: Layers, group: dict, found_inf: Tensor | None = None) -> tuple[Tensor, Move]:
    """Lines 7 to 12 of layers that are here in part, and line 17."""
    return begin_in_chunks(_begin_chunk, cache_sized(layers), layers, group)


PATH = Path(step, begin)


def _begin_chunk(layers: Layers, group: dict) -> tuple[Tensor, Move]:
    beta1, beta2 = group["betas"]
    exp_avgs, exp_avg_sqs = layers.state("exp_avg"), layers.state("exp_avg_sq")
    grads = layers.ascending_grads(group)
    torch._foreach_lerp_(exp_avgs, grads, 1 - beta1)
    torch._foreach_mul_(exp_avg_sqs, beta2)
    torch._foreach_addcmul_(exp_avg_sqs, grads, grads, value=1 - beta2)
    del grads  # one temporary at a time

    updates = _update_directions(exp_avgs, exp_avg_sqs, *layers.bias_corrections(group), group)
    weight_norms = layer_norms(layers.params)
    if not group["decay_in_ratio"]:
        update_norms = layer_norms(updates)
    if group["weight_decay"]:
        torch._foreach_add_(updates, layers.params, alpha=group["weight_decay"])
    if group["decay_in_ratio"]:
        update_norms = layer_norms(updates)

    def move(distances: Tensor) -> None:
        together.move(layers.params, updates, distances, -1)

    return torch.stack([weight_norms, update_norms]), move


def _update_directions(
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    corrections1: Corrections,
    corrections2: Corrections,
    group: dict,
) -> tuple[Tensor, ...]:
    """`rule.update_direction` of all layers, the bias corrections folded into scalars to save passes over memory."""
    if group["eps_inside_sqrt"]:
        roots = torch._foreach_div(exp_avg_sqs, corrections2)
        torch._foreach_add_(roots, group["eps"])
        torch._foreach_sqrt_(roots)
        torch._foreach_mul_(roots, corrections1)
    else:
        roots = torch._foreach_sqrt(exp_avg_sqs)
        torch._foreach_mul_(roots, [c1 / c2**0.5 for c1, c2 in zip(corrections1, corrections2, strict=True)])
        torch._foreach_add_(roots, [group["eps"] * c1 for c1 in corrections1])
    torch._foreach_reciprocal_(roots)
    torch._foreach_mul_(roots, exp_avgs)
    return roots
