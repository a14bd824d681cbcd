"""How a step is computed: every path has one signature, and gives what `lambc.rule` says.

    step(layers, group, lower, upper, found_inf=None) -> ratios

updates moments and parameters in place, and returns ‖w‖, ‖update‖ and the trust ratio before and after clipping as a
tensor of shape [4, layers]. `group` is the parameter group, which holds the options under the names that the optimizer
gives them; `lower` and `upper` have shape [layers], and the parameters' working dtype and device. `found_inf` is
GradScaler's flag, a tensor on the device: where it is 1 nothing is updated. Only the fused paths are handed one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

# Elements that layers take their step on together; a larger layer takes its own alone. On a CPU what is in the cache is
# free to read again; a GPU wants few launches, yet no temporary of the model's size.
CHUNK_ON_CPU, CHUNK_ON_GPU = 1 << 20, 1 << 26

Corrections: TypeAlias = list[Any]
"""One number or tensor of no dimension a layer."""


@dataclass(frozen=True, slots=True)
class Layers:
    """Layers of one group that take a step together: one device and one dtype.

    params, grads: the parameters and their gradients, which may be of half precision; `in_working_dtype` mends that.
    states: what the optimizer keeps for each: `step` (t, this step included) and the moments.
    grad_factor: what the gradients are to be multiplied by, a tensor of no dimension on their device; None for 1.
    """

    params: list[Tensor]
    grads: list[Tensor]
    states: list[dict[str, Tensor]]
    grad_factor: Tensor | None = None

    def __getitem__(self, chunk: slice) -> "Layers":
        return Layers(self.params[chunk], self.grads[chunk], self.states[chunk], self.grad_factor)

    def at(self, indices: list[int]) -> "Layers":
        """The layers at these places."""
        params, grads, states = self.params, self.grads, self.states
        return Layers(
            [params[i] for i in indices], [grads[i] for i in indices], [states[i] for i in indices], self.grad_factor
        )

    def state(self, name: str) -> list[Tensor]:
        """One entry of every layer's state."""
        return [state[name] for state in self.states]

    def scaled_grads(self) -> list[Tensor]:
        """The gradients times `grad_factor`, in a list of the caller's own; they are never written to."""
        return list(self.grads if self.grad_factor is None else torch._foreach_mul(self.grads, self.grad_factor))

    def ascending_grads(self, group: dict) -> list[Tensor]:
        """`scaled_grads`, turned round where the group is to go up its gradient."""
        grads = self.scaled_grads()
        return list(torch._foreach_neg(grads)) if group["maximize"] else grads

    def bias_corrections(self, group: dict) -> tuple[Corrections, Corrections]:
        """1 - β1^t and 1 - β2^t of each layer (Algorithm 1, lines 9 and 10, with the exponent that it leaves out).

        Numbers where the steps are counted on the host, else tensors of no dimension on the layers' device.
        """
        steps = self.state("step")
        beta1, beta2 = group["betas"]
        if not group["bias_correction"]:
            return [1.0] * len(steps), [1.0] * len(steps)
        if steps[0].is_cpu and not torch.compiler.is_compiling():
            numbers = [step.item() for step in steps]
            return [1 - beta1**number for number in numbers], [1 - beta2**number for number in numbers]
        # 1 - 0.999 has lost five digits in float32.
        counts = torch.stack(steps).double()
        dtype = self.params[0].dtype
        return list((1 - beta1**counts).to(dtype).unbind()), list((1 - beta2**counts).to(dtype).unbind())


def working_dtype(param: Tensor) -> torch.dtype:
    """The dtype of a parameter's moments and arithmetic: its own, or float32 where that is of half precision."""
    return torch.promote_types(param.dtype, torch.float32)


def in_working_dtype(step: Callable[..., Any], layers: Layers, *rest: Any) -> Any:
    """`step(layers, *rest)` in float32 for layers of half precision, which are rounded to what it makes of them."""
    dtype = working_dtype(layers.params[0])
    halves = layers.params[0].dtype != dtype
    if not halves and all(grad.dtype == dtype for grad in layers.grads):
        return step(layers, *rest)
    params = [param.to(dtype) for param in layers.params]  # themselves, if only the gradients differ
    ratios = step(replace(layers, params=params, grads=[grad.to(dtype) for grad in layers.grads]), *rest)
    if halves and torch.is_grad_enabled():  # torch has no derivative for the multi-tensor copy
        for param, worked_on in zip(layers.params, params, strict=True):
            param.copy_(worked_on)
    elif halves:
        torch._foreach_copy_(layers.params, params)
    return ratios


def chunk_size(params: list[Tensor]) -> int:
    """How many elements of `params` take their step together at most."""
    return CHUNK_ON_CPU if params[0].is_cpu else CHUNK_ON_GPU


def in_chunks(
    step: Callable[..., Tensor], layers: Layers, group: dict, lower: Tensor, upper: Tensor, *rest: Any
) -> Tensor:
    """`step(layers, group, lower, upper, *rest)` of each chunk of the layers in turn, in their working dtype."""
    slices = chunk_slices([param.numel() for param in layers.params], chunk_size(layers.params))
    ratios = [in_working_dtype(step, layers[chunk], group, lower[chunk], upper[chunk], *rest) for chunk in slices]
    return ratios[0] if len(ratios) == 1 else torch.cat(ratios, dim=1)


def chunk_slices(sizes: list[int], capacity: int) -> list[slice]:
    """The layers in order, cut where the next would take a chunk above `capacity`."""
    slices, first, held = [], 0, 0
    for index, size in enumerate(sizes):
        if held and held + size > capacity:
            slices.append(slice(first, index))
            first, held = index, 0
        held += size
    return [*slices, slice(first, len(sizes))]
