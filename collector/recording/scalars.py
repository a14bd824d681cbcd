"""Values of metrics that came as tensors, kept on their device until they are taken to the host."""

import torch
from torch import Tensor

from collector.recording.ring import HostCopy, Ring


class Scalars:
    """Numbers in the slots of a ring, on the device of the first."""

    def __init__(self) -> None:
        self._ring: Ring | None = None
        self._used = 0

    @property
    def full(self) -> bool:
        """Whether no slot is left."""
        return self._ring is not None and self._used == len(self._ring)

    def push(self, value: Tensor) -> int:
        """Copy a number of any shape into the next slot; returns the slot, which is in use whatever comes."""
        if self._ring is None:
            dtype = torch.float32 if value.device.type == "mps" else torch.float64  # mps has no float64
            self._ring = Ring((), dtype, value.device)
        slot = self._used
        self._used += 1
        self._ring.write(slot, value.reshape(()))
        return slot

    def take(self) -> HostCopy | None:
        """Start the copy of all slots in use, which may then be written again; None if there is none."""
        used, self._used = self._used, 0
        return self._ring.take(used) if self._ring and used else None

    def forget(self) -> None:
        """Give up the device and what lies there: another one may give its values."""
        self._ring, self._used = None, 0
