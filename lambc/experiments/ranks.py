"""Several processes that train one model, each on a part of every batch, and do what one would do but for rounding.

torchrun --nproc-per-node 4 -m lambc train --batch-size 1000
"""

import atexit
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The processes of a job: how many there are, and which this is. One alone sends nothing."""

    count: int = 1
    rank: int = 0

    def part(self, examples: Tensor) -> Tensor:
        """What of a batch is this process's; nothing, if there are more processes than examples."""
        return examples.tensor_split(self.count)[self.rank]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Sum each of these float32 tensors over all processes, in place, in one message."""
        if self.count > 1:
            packed = torch.cat([tensor.reshape(-1) for tensor in tensors])
            torch.distributed.all_reduce(packed)
            for tensor, total in zip(tensors, packed.split([tensor.numel() for tensor in tensors]), strict=True):
                tensor.copy_(total.view_as(tensor))

    def agreed(self, ask: Callable[[], T]) -> T:
        """What `ask` returns or raises on the first process, on all: of files, two may see different states."""
        if self.count == 1:
            return ask()
        found: list[Any] = [None]
        if not self.rank:
            try:
                found = [(ask(), None)]
            except Exception as error:
                found = [(None, error)]
        torch.distributed.broadcast_object_list(found)
        answer, raised = found[0]
        if raised is not None:
            raise raised
        return answer

    def same(self, value: Any) -> bool:
        """Whether it is the same on all processes."""
        everywhere = [value] * self.count
        if self.count > 1:
            torch.distributed.all_gather_object(everywhere, value)
        return all(each == value for each in everywhere)


ALONE = Ranks()


def join(device: str) -> Ranks:
    """The processes that torchrun started, each with an accelerator of its own if `device` is one; else this one alone.

    To be called before anything is put on a device. Raises ValueError for a device that they would have to share.
    """
    distributed = torch.distributed
    if not distributed.is_available():
        return ALONE
    if distributed.is_torchelastic_launched() and not distributed.is_initialized():
        _take_device(device)
        distributed.init_process_group()
        atexit.register(_leave)
    return Ranks(distributed.get_world_size(), distributed.get_rank()) if distributed.is_initialized() else ALONE


def _leave() -> None:
    """End the processes' group before Python ends: threads of gloo that still run then abort the process at times."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _take_device(device: str) -> None:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    kind, _, index = device.partition(":")
    if accelerator is None or kind not in ("auto", accelerator.type):
        return
    here, there = int(os.environ["LOCAL_WORLD_SIZE"]), torch.accelerator.device_count()
    if index and here > 1:
        raise ValueError(f"device={device!r} is one, for {here} processes: give {kind}, of which each takes its own")
    if here > there:
        raise ValueError(
            f"{here} processes would share {there} of {accelerator.type}: start {there} with --nproc-per-node, or give "
            "the device cpu"
        )
    torch.accelerator.set_device_index(int(index or os.environ["LOCAL_RANK"]))


def share_batch_norms(model: nn.Module) -> None:
    """Have the batch norms of a model take mean and variance over the batch of all processes, not over a part."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = SharedBatchNorm2d


class SharedBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d over the examples of all processes, of which some may have none; with any backend.

    torch's own SyncBatchNorm needs a GPU. One message of 8 · (2 C + 1) bytes a layer forward, and one backward.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalised inputs [N, C, H, W] in their dtype; sums are float64, and so are the squares.

        So the cuts hardly matter, nor does it that the difference of two large numbers is the variance.
        """
        if not self.training:
            return super().forward(inputs)
        dims, single = (0, 2, 3), inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        values = single.double()  # of `single`, so that the gradients of both uses are added before they are rounded
        sums = [values.sum(dims), values.square().sum(dims), values.new_full((1,), values.numel() // self.num_features)]
        total, squares, (count,) = _Sum.apply(torch.cat(sums)).split([self.num_features, self.num_features, 1])
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0)
        self._track(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt().to(single.dtype)
        normalised = (single - _each_channel(mean.to(single.dtype))) * _each_channel(scale) + _each_channel(self.bias)
        return normalised.to(inputs.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        weight = self.momentum if self.momentum is not None else 1 / self.num_batches_tracked.item()
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), weight)
        self.running_var.lerp_(variance.to(self.running_var.dtype), weight)


class _Sum(torch.autograd.Function):
    """The sum over all processes, as a function that autograd can follow."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        torch.distributed.all_reduce(total)
        return total


def _each_channel(values: Tensor) -> Tensor:
    return values[:, None, None]
