"""Text as bytes, cut into windows: each byte's label is the byte after it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

WINDOW = 128
"""Bytes that a network sees at once."""


@dataclass(frozen=True)
class Text:
    """A text in windows that do not overlap.

    name: short, fit for a file name.
    train_windows, test_windows: int64 of shape [N, length + 1]; the last byte of a window is the first of the next.
    """

    name: str
    train_windows: Tensor
    test_windows: Tensor

    unit: ClassVar[str] = "windows"
    classes: ClassVar[int] = 256

    @property
    def length(self) -> int:
        """Bytes in a window, and labels."""
        return self.train_windows.shape[1] - 1

    def __len__(self) -> int:
        """How many windows there are to train on."""
        return len(self.train_windows)

    def to(self, device: torch.device) -> "Text":
        """The same text on another device."""
        return replace(self, train_windows=self.train_windows.to(device), test_windows=self.test_windows.to(device))

    def batch(self, indices: Tensor, chance: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """The training windows at `indices`, int64 [N, length], and the byte after each byte; `chance` is not used."""
        windows = self.train_windows[indices]
        return windows[:, :-1], windows[:, 1:]

    def test_batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All test windows and their labels, `size` at a time."""
        for windows in self.test_windows.split(size):
            yield windows[:, :-1], windows[:, 1:]


def topics() -> Text:
    """The English of Python's own help (`pydoc_data.topics`, some 470,000 bytes), its last tenth for testing.

    It comes with Python and needs no network; another version of Python has another text.
    """
    from pydoc_data.topics import topics as by_name

    text = "\n".join(by_name[name] for name in sorted(by_name)).encode()
    held_out = len(text) // 10
    return Text("topics", _windows(text[:-held_out], WINDOW), _windows(text[-held_out:], WINDOW))


def _windows(text: bytes, length: int) -> Tensor:
    """int64 [N, length + 1]; what does not fill a window at the end is left out."""
    found = torch.from_numpy(np.frombuffer(text, np.uint8).astype(np.int64))
    return found.unfold(0, length + 1, length).clone()
