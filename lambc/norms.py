"""L2 norms of layers, right to the rounding of their dtype at any size."""

from collections.abc import Sequence

import torch
from torch import Tensor

# On a CPU one accumulator runs over the whole tensor, so that `vector_norm` in float32 is 4e-5 off at 2.4 million
# elements and 4e-3 at 50 million. A norm of the norms of rows this long is faster, and right to 1e-7; to 5e-7 where all
# elements are of one size, as those of a first step are, since they all round the same way.
ROW = 512


def layer_norms(tensors: Sequence[Tensor]) -> Tensor:
    """The L2 norm of each tensor.

    The tensors lie on one device and are float32 or float64, of any shapes. The answer has their dtype and the shape
    [len(tensors)], on their device; nothing waits for the device.
    """
    if tensors[0].device.type == "cpu":
        tensors = [_few_norms(tensor) for tensor in tensors]
    return torch.stack(torch._foreach_norm(list(tensors)))


def _few_norms(tensor: Tensor) -> Tensor:
    """The tensor, or at most `ROW` norms whose own norm is the tensor's."""
    while tensor.numel() > ROW:
        tensor = _row_norms(tensor)
    return tensor


def _row_norms(tensor: Tensor) -> Tensor:
    """Norms of the tensor's rows of `ROW` elements and of what is left, whose own norm is the tensor's."""
    flat = _flat(tensor)
    whole = flat.numel() // ROW * ROW
    rows = torch.linalg.vector_norm(flat[:whole].view(-1, ROW), dim=1)
    if whole == flat.numel():
        return rows
    return torch.cat([rows, torch.linalg.vector_norm(flat[whole:]).view(1)])


def _flat(tensor: Tensor) -> Tensor:
    """All elements in one dimension: a view wherever they lie densely, in whatever order."""
    if tensor.is_contiguous():
        return tensor.view(-1)
    order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
    return tensor.permute(order).reshape(-1)
