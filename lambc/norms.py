"""L2 norms of layers, right to the rounding of their dtype at any size."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from lambc.sharded import local, local_grad

# On a CPU one accumulator runs over the whole tensor, so that `vector_norm` in float32 is 4e-5 off at 2.4 million
# elements and 4e-3 at 50 million. A norm of the norms of rows this long is faster, and right to 1e-7; to 5e-7 where all
# elements are of one size, as those of a first step are, since they all round the same way.
ROW = 512


def layer_norms(tensors: Sequence[Tensor], dtype: torch.dtype | None = None) -> Tensor:
    """The L2 norm of each tensor.

    The tensors lie on one device and are float32 or float64, of any shapes. The answer has their dtype and the shape
    [len(tensors)], on their device; nothing waits for the device.

    dtype: of the result and the sums, if not the tensors' own (half precision, say); makes no copy.
    """
    if tensors[0].device.type == "cpu":
        tensors = [_reduced(tensor, dtype) for tensor in tensors]
    return torch.stack(torch._foreach_norm(list(tensors), 2, dtype))


def gradient_norms(grads: Sequence[Tensor]) -> Tensor:
    """The L2 norm of each gradient, of any dtypes, dense or sparse: float64 where one of them is, else float32."""
    real = [_real(grad) for grad in grads]
    dtype = torch.float32
    for each in {grad.dtype for grad in real}:
        dtype = torch.promote_types(dtype, each)
    return layer_norms(real, None if all(grad.dtype == dtype for grad in real) else dtype)


def local_gradient_norms(params: Sequence[Tensor], optimizer: Optimizer) -> Tensor:
    """‖g‖ of the part of each parameter that lies here, without GradScaler's scale; 0 where it has none."""
    grads = [local(param).new_empty(0) if param.grad is None else local_grad(param) for param in params]
    scale = getattr(optimizer, "grad_scale", None)
    found = gradient_norms(grads)
    return found if scale is None else found / scale.to(found.device, non_blocking=True)


def _real(grad: Tensor) -> Tensor:
    """Numbers whose norm is the gradient's; rows of a sparse one that have the same place are added up."""
    grad = grad.coalesce().values() if grad.is_sparse else grad
    return torch.view_as_real(grad.resolve_conj()) if grad.is_complex() else grad


def _reduced(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The tensor, or at most `ROW` norms whose own norm is the tensor's."""
    while tensor.numel() > ROW:
        tensor = _row_norms(tensor, dtype)
    return tensor


def _row_norms(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Norms of the tensor's rows of `ROW` elements and of what is left, whose own norm is the tensor's."""
    elements = flat(tensor)
    whole = elements.numel() // ROW * ROW
    rows = torch.linalg.vector_norm(elements[:whole].view(-1, ROW), dim=1, dtype=dtype)
    if whole == elements.numel():
        return rows
    return torch.cat([rows, torch.linalg.vector_norm(elements[whole:], dtype=dtype).view(1)])


def flat(tensor: Tensor) -> Tensor:
    """All elements in one dimension: a view wherever they lie densely, in whatever order."""
    if tensor.is_contiguous():
        return tensor.view(-1)
    order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
    return tensor.permute(order).reshape(-1)
