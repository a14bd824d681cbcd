"""From the device to the host: a ring of tensors that is copied out whole, and never waited for."""

from collections.abc import Sequence

import torch
from torch import Tensor

# One copy of 4 MiB takes a GPU well under a millisecond; for 62 layers it is 2,400 steps, more than most take in the
# ten seconds between two flushes.
_BYTES = 4 * 2**20
_FEWEST_SLOTS, _MOST_SLOTS = 16, 4096


class Ring:
    """Tensors of one shape, kept on their device until they are taken to the host together.

    shape, dtype, device: of the tensors that are written; a tensor of another dtype is cast.
    """

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> None:
        size = max(1, torch.Size(shape).numel() * dtype.itemsize)
        slots = min(max(_BYTES // size, _FEWEST_SLOTS), _MOST_SLOTS)
        # What is allocated under inference_mode can't be written to outside of it.
        with torch.inference_mode(False):
            self._slots = torch.empty((slots, *shape), dtype=dtype, device=device)
        self._each = self._slots.unbind()  # an index at every push would cost more than the copy
        self._has_streams = device.type != "cpu"  # asking the tensor costs as much as a fifth of the copy
        self._stream: torch.Stream | None = None

    def __len__(self) -> int:
        """How many tensors it has room for."""
        return len(self._each)

    @property
    def device(self) -> torch.device:
        """Where the tensors are kept."""
        return self._slots.device

    @property
    def shape(self) -> torch.Size:
        """Of each tensor."""
        return self._slots.shape[1:]

    def write(self, slot: int, value: Tensor) -> None:
        """Copy `value` into a slot, in the order of the current stream; nothing waits for the device.

        Who writes keeps the count of slots, so that a call that was interrupted by a signal leaves no slot without its
        step.
        """
        if self._has_streams:
            self._follow(torch.accelerator.current_stream(self.device))
        self._each[slot].copy_(value, non_blocking=True)

    def _follow(self, stream: torch.Stream) -> None:
        """Have what comes on `stream` wait, on the device, for what the ring did on another."""
        if self._stream is not None and stream != self._stream:
            stream.wait_stream(self._stream)
        self._stream = stream

    def take(self, count: int) -> "HostCopy":
        """Start the copy of the first `count` slots, which may then be written again.

        Any thread may call it, one at a time.
        """
        taken = self._slots[:count]
        if self._stream is None:
            return HostCopy(taken.clone(), None)
        # On the stream that filled the slots, so that the copy comes after it and before what fills them next.
        with self._stream:
            pinned = torch.empty_like(taken, device="cpu", pin_memory=self.device.type in ("cuda", "xpu"))
            pinned.copy_(taken, non_blocking=True)
            return HostCopy(pinned, self._stream.record_event())


class HostCopy:
    """A tensor on its way to the host."""

    def __init__(self, tensor: Tensor, arrived: torch.Event | None) -> None:
        self._tensor = tensor
        self._arrived = arrived

    @property
    def nbytes(self) -> int:
        """The host memory it takes, in bytes."""
        return self._tensor.nbytes

    def wait(self) -> Tensor:
        """The tensor on the host, once it is there."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._tensor
