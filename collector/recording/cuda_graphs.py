"""CUDA graphs: what is captured has not happened yet."""

import torch
from torch import Tensor


def is_captured(tensor: Tensor) -> bool:
    """Whether what is done to `tensor` now is not done, but captured for a graph that will be replayed."""
    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()
