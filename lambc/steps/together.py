"""What is done to many layers in few launches, where torch has one for each: a launch takes a GPU's host some 5 µs.

One of torch's `_foreach_` operations takes all tensors in one launch, cut only at some hundred tensors or some million
elements, where its lists have the same shapes, strides and device. Where they do not, as where each layer's factor is a
single number, it goes through them one by one.
"""

from functools import lru_cache
from typing import TypeAlias

import torch
from torch import Tensor

ALONE = 1 << 20
"""Elements from which on a layer moves by a launch of its own, which keeps a GPU busy for longer than it takes."""

_ROW = 256

Tensors: TypeAlias = list[Tensor] | tuple[Tensor, ...]


def captured() -> bool:
    """Whether what is done now is captured for a CUDA graph, which would keep what is made for this step alone."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


def cast(tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The tensors in another dtype; those that have it already, as they are."""
    if torch.is_grad_enabled() or tensors[0].is_cpu:  # torch has no derivative for the multi-tensor copy
        return [tensor.to(dtype) for tensor in tensors]
    made = [tensor if tensor.dtype == dtype else torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
    changed = [index for index, new in enumerate(made) if new is not tensors[index]]
    if changed:
        torch._foreach_copy_([made[index] for index in changed], [tensors[index] for index in changed])
    return made


def move(params: list[Tensor], updates: Tensors, distances: Tensor, sign: float) -> None:
    """w ← w + sign · distance · update of each layer; `distances` has shape [layers].

    On CUDA the distances of small layers are first laid out in the layers' shapes, 8 bytes an element more than a
    launch for each layer moves.
    """
    if params[0].device.type != "cuda" or torch.compiler.is_compiling() or captured():
        torch._foreach_addcmul_(params, updates, distances.unbind(), value=sign)
    else:
        move_in_few_launches(params, updates, distances, sign)


def move_in_few_launches(params: list[Tensor], updates: Tensors, distances: Tensor, sign: float) -> None:
    """`move`, with small layers of one layout together."""
    some = []
    for index, (param, update) in enumerate(zip(params, updates, strict=True)):
        if param.numel() < ALONE and param.stride() == update.stride():
            some.append(index)
        else:
            param.addcmul_(update, distances[index], value=sign)
    if not some:
        return
    params, updates = [params[index] for index in some], [updates[index] for index in some]
    rows, starts = _rows(tuple(some), tuple(update.numel() for update in updates), distances.device)
    spread = distances.index_select(0, rows).unsqueeze(1).expand(-1, _ROW).reshape(-1)
    factors = [
        spread.as_strided(update.shape, update.stride(), start) for update, start in zip(updates, starts, strict=True)
    ]
    torch._foreach_addcmul_(params, updates, factors, value=sign)


@lru_cache(maxsize=64)
def _rows(layers: tuple[int, ...], sizes: tuple[int, ...], device: torch.device) -> tuple[Tensor, list[int]]:
    """The layer of each row of `_ROW` elements, where every layer begins a row; and where in memory each begins."""
    counts = torch.tensor([-(-size // _ROW) for size in sizes], device="cpu")
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)[:-1]]) * _ROW
    rows = torch.tensor(layers, device="cpu").repeat_interleave(counts)
    return to_device(rows, device), starts.tolist()


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Without a wait, which a copy from ordinary memory would be."""
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
