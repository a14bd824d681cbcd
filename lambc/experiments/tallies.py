"""What a run counts on its device as it trains, without a wait."""

import math
import time
from typing import Any

import torch
from torch import Tensor

from lambc import TrustRatios
from lambc.rule import usable


class Tally:
    """Loss and right answers over some labels, and how fast the examples went by."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(2, device=device)
        self._labels = self._examples = 0
        self._began = time.perf_counter()

    def add(self, loss: Tensor, right: Tensor, labels: int, examples: int) -> None:
        """Count a batch: its mean loss over so many labels, and how many of them it got right."""
        self.sums += torch.stack([loss * labels, right])
        self._labels += labels
        self._examples += examples

    def read(self) -> tuple[float, float, float]:
        """Mean loss, accuracy, and examples per second. Waits for the device, so that they are true."""
        loss, accuracy = (self.sums / self._labels).tolist()
        return loss, accuracy, self._examples / (time.perf_counter() - self._began)

    def state_dict(self) -> dict[str, Any]:
        """All that was counted, for `load_state_dict`."""
        seconds = time.perf_counter() - self._began
        return {"sums": self.sums, "labels": self._labels, "examples": self._examples, "seconds": seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting from there; the time between does not count."""
        self.sums.copy_(state["sums"])
        self._labels, self._examples = state["labels"], state["examples"]
        self._began = time.perf_counter() - state["seconds"]


class HitCounter:
    """A trust-ratio hook that counts how many layer-steps were clipped.

    A layer that is not adapted, that had no step, or whose ratio fell back to 1 counts as no layer-step.
    """

    def __init__(self, device: torch.device) -> None:
        self.counts = torch.zeros(2, dtype=torch.int64, device=device)
        """Layer-steps that were clipped, and all of them."""

    def __call__(self, record: TrustRatios) -> None:
        """Count one step."""
        weight_norm, update_norm, ratio = record.table[:3]
        overflowed = (ratio == 1) & ~(weight_norm / update_norm).isfinite()
        adapted = (record.lower != 1) | (record.upper != 1)
        counted = usable(weight_norm, update_norm) & ~overflowed & adapted & ~record.lr.isnan()
        hits = counted & (record.clipped_ratio != ratio)
        self.counts += torch.stack([hits.sum(), counted.sum()])

    def rate(self) -> float:
        """Hits over layer-steps; NaN before there are any. Waits for the device."""
        hits, counted = self.counts.tolist()
        return hits / counted if counted else math.nan
