"""The pass over g, m, v through torch's fused Adam kernel, which no compiler is needed for.

Adam's step on a scratch buffer that holds -λw, at learning rate 1, leaves -(r + λw) in it: lines 7 to 12 of Algorithm 1
in one pass. Two norms and one `addcmul_` do the rest, while the layer is still in the cache. 56 bytes of memory traffic
a float32 parameter, where fused Adam has 28 and the multi-tensor operations have 92.

`torch._fused_adam_` and `_fused_adamw_` are private to torch: `AVAILABLE` says whether this torch has them, and
`lambc.steps.foreach` is the public way to the same step.
"""

import math
from typing import Any

import torch
from torch import Tensor

from lambc import rule
from lambc.norms import layer_norms
from lambc.steps import (
    Layers,
    Move,
    begin_in_chunks,
    cache_sized,
    chunk_size,
    chunk_slices,
    in_working_dtype,
    step_in_chunks,
    together,
)

AVAILABLE = hasattr(torch, "_fused_adam_") and hasattr(torch, "_fused_adamw_")


class Scratch:
    """Memory that a step may write to: on a CPU, where fresh memory is slow to come by, kept from step to step.

    There it is finite all over when it is taken, and must be when it is left.
    """

    def __init__(self) -> None:
        self._kept: dict[torch.dtype, Tensor] = {}

    def take(self, size: int, like: Tensor) -> Tensor:
        """A buffer of `size` elements with the dtype and device of `like`."""
        if not like.is_cpu:
            return like.new_empty(size)
        kept = self._kept.get(like.dtype)
        if kept is None or len(kept) < size:
            kept = self._kept[like.dtype] = like.new_zeros(size)
        return kept


@torch.compiler.disable
def step(
    layers: Layers,
    group: dict,
    lower: Tensor,
    upper: Tensor,
    found_inf: Tensor | None = None,
    *,
    scratch: Scratch,
) -> Tensor:
    """Algorithm 1, lines 7 to 17, for as many layers at a time as share the scratch buffer."""
    sizes = [param.numel() for param in layers.params]
    # As much as a full chunk holds, or the one layer that is larger.
    size = max(max(sizes), min(sum(sizes), chunk_size(layers.params)))
    buffer = scratch.take(size, layers.state("exp_avg")[0])
    if not buffer.is_cpu:
        return step_in_chunks(_begin_chunk, cache_sized(layers), layers, group, lower, upper, found_inf, buffer)

    # In plain numbers: a large layer has driven the machine's code out of the cache, too, so that each operation on a
    # tensor of one element takes as long as a thousand elements.
    limits = list(zip(lower.tolist(), upper.tolist(), strict=True))
    columns: list[Any] = [None] * len(sizes)
    lr = float(group["lr"])
    for chunk in _few_chunks(sizes, chunk_size(layers.params)):
        norms, move = in_working_dtype(_begin_chunk, layers.at(chunk), group, found_inf, buffer)
        ratios = _ratios_in_numbers(norms, group, [limits[index] for index in chunk])
        move([clipped * lr for *_, clipped in ratios])
        if not math.isfinite(sum(weight_norm + update_norm for weight_norm, update_norm, *_ in ratios)):
            buffer.zero_()
        for index, column in zip(chunk, ratios, strict=True):
            columns[index] = column
    return upper.new_tensor(columns).T


def begin(layers: Layers, group: dict, found_inf: Tensor | None = None) -> tuple[Tensor, Move]:
    """Lines 7 to 12 of layers that are here in part, and line 17."""
    return begin_in_chunks(_begin_chunk, cache_sized(layers), layers, group, found_inf)


def _few_chunks(sizes: list[int], capacity: int) -> list[list[int]]:
    """The layers that are large alone, the others together, wherever they stand in the model."""
    alone = [[index] for index, size in enumerate(sizes) if size > capacity // 2]
    small = [index for index, size in enumerate(sizes) if size <= capacity // 2]
    slices = chunk_slices([sizes[index] for index in small], capacity) if small else []
    return [small[chunk] for chunk in slices] + alone


def _ratios_in_numbers(
    norms: Tensor, group: dict, limits: list[tuple[float, float]]
) -> list[tuple[float, float, float, float]]:
    """What `step` returns, for each layer."""
    largest, phi = torch.finfo(norms.dtype).max, group["phi"]
    columns = []
    for weight_norm, update_norm, (low, high) in zip(*norms.tolist(), limits, strict=True):
        ratio = rule.trust_ratio_of_numbers(weight_norm, update_norm, phi, largest)
        columns.append((weight_norm, update_norm, ratio, min(max(ratio, low), high)))
    return columns


def _begin_chunk(
    layers: Layers, group: dict, found_inf: Tensor | None, buffer: Tensor | None = None
) -> tuple[Tensor, Move]:
    """Leaves the updates in `buffer`, or in memory of their own, for `move`."""
    params, size = layers.params, sum(param.numel() for param in layers.params)
    buffer = Scratch().take(size, layers.state("exp_avg")[0]) if buffer is None else buffer[:size]
    negated = _negated_updates(layers, group, found_inf, buffer)
    # What was written last is nearest in the cache, and the weights are next.
    norms = layer_norms([*negated, *params]).view(2, -1).flip(0)

    def move_on_host(distances: Tensor | list[float]) -> None:
        _decay_outside_ratio(negated, layers, group)
        if found_inf is not None and found_inf.item():
            return
        numbers = distances.tolist() if isinstance(distances, Tensor) else distances
        for param, update, distance in zip(params, negated, numbers, strict=True):
            param.add_(update, alpha=distance)

    def move_on_device(distances: Tensor) -> None:
        _decay_outside_ratio(negated, layers, group)
        if found_inf is not None:  # the kernel has left m and v alone
            buffer.masked_fill_(found_inf == 1, 0.0)
        together.move(params, negated, distances, 1)

    return norms, move_on_host if buffer.is_cpu else move_on_device


def _negated_updates(layers: Layers, group: dict, found_inf: Tensor | None, buffer: Tensor) -> list[Tensor]:
    """Lines 7 to 12: -(r + λw) of each layer in `buffer`, or -r where the decay is not part of the ratio."""
    exp_avgs, grads = layers.state("exp_avg"), layers.scaled_grads()
    # The kernel walks memory, not indices: all of its tensors need the one layout.
    negated, start = [], 0
    for index, (grad, m) in enumerate(zip(grads, exp_avgs, strict=True)):
        stride = m.stride()
        negated.append(buffer.as_strided(m.shape, stride, start))
        start += m.numel()
        if grad.stride() != stride:
            grads[index] = torch.empty_like(m).copy_(grad)
    if group["decay_in_ratio"] and group["weight_decay"]:
        kernel, forget = torch._fused_adam_, 0.0
        if buffer.is_cpu:
            for update, param in zip(negated, layers.params, strict=True):
                torch.mul(param, -group["weight_decay"], out=update)
        else:
            torch._foreach_copy_(negated, layers.params)
            buffer.mul_(-group["weight_decay"])
    elif buffer.is_cpu:
        # AdamW's decay multiplies what an earlier layer left in the buffer by 1 - lr · 1 = 0, which saves clearing it.
        kernel, forget = torch._fused_adamw_, 1.0
    else:
        kernel, forget = torch._fused_adam_, 0.0
        torch._foreach_zero_(negated)
    beta1, beta2 = group["betas"]
    steps = layers.state("step")
    if not group["bias_correction"]:
        steps = [torch.full_like(steps[0], 1e9)] * len(steps)  # so late that β^t is 0
    kernel(
        negated, grads, exp_avgs, layers.state("exp_avg_sq"), [], steps,
        lr=1.0, beta1=beta1, beta2=beta2, weight_decay=forget, eps=group["eps"], amsgrad=False,
        maximize=group["maximize"], grad_scale=None, found_inf=found_inf,
    )  # fmt: skip
    return negated


def _decay_outside_ratio(negated: list[Tensor], layers: Layers, group: dict) -> None:
    if group["weight_decay"] and not group["decay_in_ratio"]:
        torch._foreach_add_(negated, layers.params, alpha=-group["weight_decay"])
