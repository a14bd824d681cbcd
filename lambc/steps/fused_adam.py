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
from lambc.steps import Layers, chunk_size, chunk_slices, in_chunks, in_working_dtype

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
        return in_chunks(_chunk_on_device, layers, group, lower, upper, found_inf, buffer)

    # In plain numbers: a large layer has driven the machine's code out of the cache, too, so that each operation on a
    # tensor of one element takes as long as a thousand elements.
    limits = list(zip(lower.tolist(), upper.tolist(), strict=True))
    columns: list[Any] = [None] * len(sizes)
    for chunk in _few_chunks(sizes, chunk_size(layers.params)):
        ratios = in_working_dtype(
            _chunk_on_host, layers.at(chunk), group, [limits[i] for i in chunk], found_inf, buffer
        )
        for index, column in zip(chunk, ratios, strict=True):
            columns[index] = column
    return upper.new_tensor(columns).T


def _few_chunks(sizes: list[int], capacity: int) -> list[list[int]]:
    """The layers that are large alone, the others together, wherever they stand in the model."""
    alone = [[index] for index, size in enumerate(sizes) if size > capacity // 2]
    small = [index for index, size in enumerate(sizes) if size <= capacity // 2]
    slices = chunk_slices([sizes[index] for index in small], capacity) if small else []
    return [small[chunk] for chunk in slices] + alone


def _chunk_on_device(
    layers: Layers, group: dict, lower: Tensor, upper: Tensor, found_inf: Tensor | None, buffer: Tensor
) -> Tensor:
    buffer = buffer[: sum(param.numel() for param in layers.params)]
    negated = _negated_updates(layers, group, found_inf, buffer)
    weight_norms, update_norms = layer_norms(layers.params), layer_norms(negated)
    ratios = rule.trust_ratio(weight_norms, update_norms, group["phi"])
    clipped = rule.clip(ratios, lower, upper)
    _decay_outside_ratio(negated, layers, group)
    if found_inf is not None:  # the kernel has left m and v alone
        buffer.masked_fill_(found_inf == 1, 0.0)
    for param, update, distance in zip(layers.params, negated, (clipped * group["lr"]).unbind(), strict=True):
        param.addcmul_(update, distance)
    return torch.stack([weight_norms, update_norms, ratios, clipped])


def _chunk_on_host(
    layers: Layers, group: dict, limits: list[tuple[float, float]], found_inf: Tensor | None, buffer: Tensor
) -> list[tuple[float, float, float, float]]:
    """What `_chunk_on_device` does, and for each layer what `step` returns."""
    params = layers.params
    negated = _negated_updates(layers, group, found_inf, buffer)
    norms = layer_norms([*negated, *params])  # what was written last is nearest, and the weights are next
    largest, phi, lr = torch.finfo(norms.dtype).max, group["phi"], float(group["lr"])
    update_norms, weight_norms = norms.view(2, -1).tolist()
    _decay_outside_ratio(negated, layers, group)
    skipped = found_inf is not None and found_inf.item()
    columns = []
    for param, update, weight_norm, update_norm, (low, high) in zip(
        params, negated, weight_norms, update_norms, limits, strict=True
    ):
        ratio = rule.trust_ratio_of_numbers(weight_norm, update_norm, phi, largest)
        clipped = min(max(ratio, low), high)
        columns.append((weight_norm, update_norm, ratio, clipped))
        if not skipped:
            param.add_(update, alpha=clipped * lr)
    if not math.isfinite(sum(weight_norms) + sum(update_norms)):
        buffer.zero_()
    return columns


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
        for update, param in zip(negated, layers.params, strict=True):
            torch.mul(param, -group["weight_decay"], out=update)
    elif buffer.is_cpu:
        # AdamW's decay multiplies what an earlier layer left in the buffer by 1 - lr · 1 = 0, which saves clearing it.
        kernel, forget = torch._fused_adamw_, 1.0
    else:
        kernel, forget = torch._fused_adam_, 0.0
        torch._foreach_zero_(negated)
    beta1, beta2 = group["betas"]
    steps = layers.state("step")
    if not group["bias_correction"]:
        steps = [torch.full_like(step, 1e9) for step in steps]  # so late that β^t is 0
    kernel(
        negated, grads, exp_avgs, layers.state("exp_avg_sq"), [], steps,
        lr=1.0, beta1=beta1, beta2=beta2, weight_decay=forget, eps=group["eps"], amsgrad=False,
        maximize=group["maximize"], grad_scale=None, found_inf=found_inf,
    )  # fmt: skip
    return negated


def _decay_outside_ratio(negated: list[Tensor], layers: Layers, group: dict) -> None:
    if group["weight_decay"] and not group["decay_in_ratio"]:
        torch._foreach_add_(negated, layers.params, alpha=-group["weight_decay"])
