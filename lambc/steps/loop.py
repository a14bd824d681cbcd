"""One layer after the other, in the words of `lambc.rule`: the path to read, and the one that autograd can follow."""

import torch
from torch import Tensor

from lambc import rule
from lambc.norms import layer_norms
from lambc.steps import Layers, in_working_dtype


def step(layers: Layers, group: dict, lower: Tensor, upper: Tensor, found_inf: Tensor | None = None) -> Tensor:
    """Algorithm 1, lines 7 to 17, for each layer in turn."""
    return in_working_dtype(_step, layers, group, lower, upper)


def _step(layers: Layers, group: dict, lower: Tensor, upper: Tensor) -> Tensor:
    beta1, beta2 = group["betas"]
    ratios = []
    for index, (param, grad, state, correction1, correction2) in enumerate(
        zip(layers.params, layers.ascending_grads(group), layers.states, *layers.bias_corrections(group), strict=True)
    ):
        state["exp_avg"].lerp_(grad, 1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        update = rule.update_direction(
            state["exp_avg"],
            state["exp_avg_sq"],
            correction1,
            correction2,
            eps=group["eps"],
            eps_inside_sqrt=group["eps_inside_sqrt"],
        )
        decayed = update.add(param, alpha=group["weight_decay"]) if group["weight_decay"] else update
        before = param.clone() if group["differentiable"] else param  # autograd keeps what a norm was taken of
        norms = layer_norms([before, decayed if group["decay_in_ratio"] else update])
        ratio = rule.trust_ratio(norms[0], norms[1], group["phi"])
        clipped = rule.clip(ratio, lower[index], upper[index])
        param.sub_(decayed * (clipped * group["lr"]))
        ratios.append(torch.stack([*norms, ratio, clipped]))
    return torch.stack(ratios, dim=1)
