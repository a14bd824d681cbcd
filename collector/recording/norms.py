"""L2 norms of tensors that are right to float32 rounding at any size."""

from collections.abc import Sequence

import torch
from torch import Tensor

_ROW = 512


def l2_norms(tensors: Sequence[Tensor]) -> Tensor:
    """The norm of each of some contiguous 1-D tensors of one dtype on one device; no wait for the device."""
    if tensors[0].is_cpu:  # where one accumulator runs over all elements: 4e-3 off at 50 million
        tensors = [_few_norms(tensor) for tensor in tensors]
    return torch.stack(torch._foreach_norm(list(tensors)))


def _few_norms(tensor: Tensor) -> Tensor:
    while tensor.numel() > _ROW:
        tensor = _row_norms(tensor)
    return tensor


def _row_norms(tensor: Tensor) -> Tensor:
    rows = tensor.numel() // _ROW
    norms = torch.linalg.vector_norm(tensor[: rows * _ROW].view(rows, _ROW), dim=1)
    return torch.cat([norms, torch.linalg.vector_norm(tensor[rows * _ROW :]).view(1)])
