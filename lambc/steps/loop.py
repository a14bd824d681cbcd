"""One layer after the other, in the words of `lambc.rule`: the path to read, and the one that autograd can follow."""

from torch import Tensor

from lambc import rule
from lambc.norms import layer_norms
from lambc.steps import Layers, Move, Path, begin_in_chunks, step_in_chunks


def step(layers: Layers, group: dict, lower: Tensor, upper: Tensor, found_inf: Tensor | None = None) -> Tensor:
    """Algorithm 1, lines 7 to 17, for each layer in turn."""
    return step_in_chunks(_begin_layer, _one_by_one(layers), layers, group, lower, upper)


def begin(layers: Layers, group: dict, found_inf: Tensor | None = None) -> tuple[Tensor, Move]:
    """Lines 7 to 12 of layers that are here in part, and line 17."""
    return begin_in_chunks(_begin_layer, _one_by_one(layers), layers, group)


PATH = Path(step, begin)


def _one_by_one(layers: Layers) -> list[slice]:
    return [slice(index, index + 1) for index in range(len(layers.params))]


def _begin_layer(layers: Layers, group: dict) -> tuple[Tensor, Move]:
    (param,), (grad,), (state,) = layers.params, layers.ascending_grads(group), layers.states
    (correction1,), (correction2,) = layers.bias_corrections(group)
    beta1, beta2 = group["betas"]
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

    def move(distance: Tensor) -> None:
        param.sub_(decayed * distance[0])

    return layer_norms([before, decayed if group["decay_in_ratio"] else update]).view(2, 1), move
