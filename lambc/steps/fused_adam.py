"""The pass over g, m, v through torch's fused Adam kernel, which no compiler is needed for.

Adam's step on a scratch buffer that holds -λw, at learning rate 1, leaves -(r + λw) in it: lines 7 to 12 of Algorithm 1
in one pass. Two norms and one `addcmul_` do the rest, while the layer is still in the cache. 56 bytes of memory traffic
a float32 parameter, where fused Adam has 28 and the multi-tensor operations have 92.

`torch._fused_adam_` is private to torch: `AVAILABLE` says whether this torch has it, and `lambc.steps.foreach` is the
public way to the same step.
"""

import torch
from torch import Tensor

from lambc import rule
from lambc.norms import layer_norms
from lambc.steps import Layers, chunk_size, in_chunks

AVAILABLE = hasattr(torch, "_fused_adam_")


@torch.compiler.disable
def step(layers: Layers, group: dict, lower: Tensor, upper: Tensor, found_inf: Tensor | None = None) -> Tensor:
    """Algorithm 1, lines 7 to 17, for as many layers at a time as share the scratch buffer."""
    sizes = [param.numel() for param in layers.params]
    # As much as a full chunk holds, or the one layer that is larger.
    scratch = layers.params[0].new_empty(max(max(sizes), min(sum(sizes), chunk_size(layers.params))))
    return in_chunks(_step_chunk, layers, group, lower, upper, found_inf, scratch)


def _step_chunk(
    layers: Layers, group: dict, lower: Tensor, upper: Tensor, found_inf: Tensor | None, scratch: Tensor
) -> Tensor:
    params, exp_avgs = layers.params, layers.state("exp_avg")
    sizes = [param.numel() for param in params]
    flat = scratch[: sum(sizes)].split_with_sizes(sizes)
    # The kernel walks memory, not indices: all of its tensors need the one layout.
    negated = [part.as_strided(m.shape, m.stride()) for part, m in zip(flat, exp_avgs, strict=True)]
    grads = [
        grad if grad.stride() == m.stride() else torch.empty_like(m).copy_(grad)
        for grad, m in zip(layers.scaled_grads(), exp_avgs, strict=True)
    ]

    decay = -group["weight_decay"]
    if group["decay_in_ratio"] and decay:
        for update, param in zip(negated, params, strict=True):
            torch.mul(param, decay, out=update)
    else:
        scratch[: sum(sizes)].zero_()
    beta1, beta2 = group["betas"]
    steps = layers.state("step")
    if not group["bias_correction"]:
        steps = [torch.full_like(step, 1e9) for step in steps]  # so late that β^t is 0
    torch._fused_adam_(
        negated, grads, exp_avgs, layers.state("exp_avg_sq"), [], steps,
        lr=1.0, beta1=beta1, beta2=beta2, weight_decay=0.0, eps=group["eps"], amsgrad=False,
        maximize=group["maximize"], grad_scale=None, found_inf=found_inf,
    )  # fmt: skip

    weight_norms, update_norms = layer_norms(params), layer_norms(negated)
    if not group["decay_in_ratio"] and decay:
        torch._foreach_add_(negated, params, alpha=decay)
    ratios = rule.trust_ratio(weight_norms, update_norms, group["phi"])
    clipped = rule.clip(ratios, lower, upper)
    if found_inf is not None:  # the kernel has left m and v alone
        scratch[: sum(sizes)].masked_fill_(found_inf == 1, 0.0)
    for param, update, distance in zip(params, negated, (clipped * group["lr"]).unbind(), strict=True):
        param.addcmul_(update, distance)
    return torch.stack([weight_norms, update_norms, ratios, clipped])
