"""How a step is computed: every path has two signatures, and gives what `lambc.rule` says.

    step(layers, group, lower, upper, found_inf=None) -> ratios

updates moments and parameters in place, and returns ‖w‖, ‖update‖ and the trust ratio before and after clipping as a
tensor of shape [4, layers]. `group` is the parameter group, which holds the options under the names that the optimizer
gives them; `lower` and `upper` have shape [layers], and the parameters' working dtype and device. `found_inf` is
GradScaler's flag, a tensor on the device: where it is 1 nothing is updated. Only the fused paths are handed one.

    begin(layers, group, found_inf=None) -> norms, move

is the step of layers that other processes hold parts of, up to where all parts must be known: it updates the moments,
and returns ‖w‖ and ‖update‖ of the parts as a tensor of shape [2, layers]. `move(distances)` then updates the
parameters: w ← w - distance · update, with `distances` of shape [layers], lr · clipped ratio. Until then the updates
stay in memory, 4 bytes a float32 parameter that is on this device (the Triton kernels form them anew instead).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from lambc import rule
from lambc.steps import together

# Elements that layers take their step on together; a larger layer takes its own alone. On a CPU what is in the cache is
# free to read again; a GPU wants few launches, yet no temporary of the model's size.
CHUNK_ON_CPU, CHUNK_ON_GPU = 1 << 20, 1 << 26

Corrections: TypeAlias = list[Any]
"""One number or tensor of no dimension a layer."""

Move: TypeAlias = Callable[[Tensor], None]


class Path(NamedTuple):
    """One way to compute a step: of whole layers, and of parts of layers; and the ratio's coefficient for a group."""

    step: Callable[..., Tensor]
    begin: Callable[..., tuple[Tensor, Move]]
    coefficient: Callable[[dict], float | Tensor] = lambda group: 1.0


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


def trust_ratios(norms: Tensor, group: dict, lower: Tensor, upper: Tensor, coefficient: float | Tensor = 1.0) -> Tensor:
    """‖w‖, ‖update‖ ([2, layers]) and the trust ratio before and after clipping, of shape [4, layers]."""
    ratios = rule.trust_ratio(norms[0], norms[1], group["phi"], coefficient)
    return torch.stack([*norms.unbind(), ratios, rule.clip(ratios, lower, upper)])


def in_working_dtype(begin: Callable[..., Any], layers: Layers, *rest: Any) -> tuple[Any, Callable[..., Any]]:
    """`begin(layers, *rest)` in float32 for layers of half precision, which `move` rounds to what it makes of them."""
    dtype = working_dtype(layers.params[0])
    halves = layers.params[0].dtype != dtype
    if not halves and all(grad.dtype == dtype for grad in layers.grads):
        return begin(layers, *rest)
    params = together.cast(layers.params, dtype)  # themselves, if only the gradients differ
    norms, move = begin(replace(layers, params=params, grads=together.cast(layers.grads, dtype)), *rest)
    if not halves:
        return norms, move

    def move_and_round(*distances: Any) -> Any:
        moved = move(*distances)
        if torch.is_grad_enabled():  # torch has no derivative for the multi-tensor copy
            for param, worked_on in zip(layers.params, params, strict=True):
                param.copy_(worked_on)
        else:
            torch._foreach_copy_(layers.params, params)
        return moved

    return norms, move_and_round


def chunk_size(params: list[Tensor]) -> int:
    """How many elements of `params` take their step together at most."""
    return CHUNK_ON_CPU if params[0].is_cpu else CHUNK_ON_GPU


def step_in_chunks(
    begin: Callable[..., tuple[Tensor, Move]],
    chunks: list[slice],
    layers: Layers,
    group: dict,
    lower: Tensor,
    upper: Tensor,
    *rest: Any,
    coefficient: float | Tensor = 1.0,
) -> Tensor:
    """`begin(chunk, group, *rest)` of each chunk of the layers, which moves while it is still in the cache."""
    ratios = []
    for chunk in chunks:
        norms, move = in_working_dtype(begin, layers[chunk], group, *rest)
        ratios.append(trust_ratios(norms, group, lower[chunk], upper[chunk], coefficient))
        move(ratios[-1][3] * group["lr"])
    return ratios[0] if len(ratios) == 1 else torch.cat(ratios, dim=1)


def begin_in_chunks(
    begin: Callable[..., tuple[Tensor, Move]], chunks: list[slice], layers: Layers, group: dict, *rest: Any
) -> tuple[Tensor, Move]:
    """`begin(chunk, group, *rest)` of each chunk of the layers, all of which move together."""
    begun = [in_working_dtype(begin, layers[chunk], group, *rest) for chunk in chunks]

    def move_all(distances: Tensor) -> None:
        for chunk, (_, move) in zip(chunks, begun, strict=True):
            move(distances[chunk])

    return torch.cat([norms for norms, _ in begun], dim=1), move_all


def cache_sized(layers: Layers) -> list[slice]:
    """The layers in order, cut into as many at a time as a CPU's cache holds, or as a GPU has memory to spare for."""
    return chunk_slices([param.numel() for param in layers.params], chunk_size(layers.params))


def chunk_slices(sizes: list[int], capacity: int) -> list[slice]:
    """The layers in order, cut where the next would take a chunk above `capacity`."""
    slices, first, held = [], 0, 0
    for index, size in enumerate(sizes):
        if held and held + size > capacity:
            slices.append(slice(first, index))
            first, held = index, 0
        held += size
    return [*slices, slice(first, len(sizes))]
