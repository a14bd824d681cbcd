"""Images with a label each, as tensors: a whole data set lives on the device, and a batch is an index away."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor


class DataError(Exception):
    """A data set cannot be had; the message says in one sentence why, and what to do."""


@dataclass(frozen=True)
class Images:
    """A data set of images with one label each.

    name: short, fit for a file name.
    train_images, test_images: uint8 of shape [N, C, H, W].
    train_labels, test_labels: int64 of shape [N], in [0, classes).
    mean, std: float32 of shape [C], of the training pixels (0 to 255); a channel that never varies has a std of 1.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: int
    mean: Tensor
    std: Tensor

    unit: ClassVar[str] = "images"
    """What an example is called."""

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return self.train_images.shape[1]

    @property
    def size(self) -> int:
        """The longer side of an image in pixels."""
        return max(self.train_images.shape[2:])

    def to(self, device: torch.device) -> "Images":
        """The same data on another device."""
        return replace(
            self,
            train_images=self.train_images.to(device),
            train_labels=self.train_labels.to(device),
            test_images=self.test_images.to(device),
            test_labels=self.test_labels.to(device),
            mean=self.mean.to(device),
            std=self.std.to(device),
        )

    def taken(self, train: int | None = None, test: int | None = None) -> "Images":
        """At most so many images to train on and to test with, evenly spread; None for all."""
        if train is None and test is None:
            return self
        train_at, test_at = (
            torch.arange(taken := min(wanted or count, count)) * count // taken
            for wanted, count in ((train, len(self.train_images)), (test, len(self.test_images)))
        )
        return replace(
            self,
            train_images=self.train_images[train_at],
            train_labels=self.train_labels[train_at],
            test_images=self.test_images[test_at],
            test_labels=self.test_labels[test_at],
        )

    def shrunk(self, pixels: int) -> "Images":
        """The images at `pixels` a side, each pixel the mean of a square, rounded.

        Raises DataError for images that such squares do not fill.
        """
        height, width = self.train_images.shape[2:]
        if height != width or height % pixels:
            raise DataError(f"pixels={pixels}: {self.name} is {height}×{width}, so give a divisor of a square's side")
        train, test = (
            torch.cat([_means(some, height // pixels) for some in images.split(10_000)])
            for images in (self.train_images, self.test_images)
        )
        mean, std = _mean_and_std(train)
        return replace(self, train_images=train, test_images=test, mean=mean, std=std)

    def __len__(self) -> int:
        """How many images there are to train on."""
        return len(self.train_images)

    def batch(self, indices: Tensor, chance: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """The normalised training images at `indices`, int64 of shape [N], and their labels, without a wait.

        chance: what images in colour are augmented with; None for images as they are.
        """
        pixels = self.normalised(self.train_images[indices])
        if chance is not None and self.channels == 3:
            pixels = augment(pixels, chance)
        return pixels, self.train_labels[indices]

    def test_batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All normalised test images and their labels, `size` at a time."""
        for images, labels in zip(self.test_images.split(size), self.test_labels.split(size), strict=True):
            yield self.normalised(images), labels

    def normalised(self, images: Tensor) -> Tensor:
        """Pixels [N, C, H, W] as float32, each channel with mean 0 and standard deviation 1 over the training images.

        The result is channels_last, the layout that convolutions are fastest in.
        """
        pixels = images.to(torch.float32, memory_format=torch.channels_last)
        return pixels.sub_(self.mean[:, None, None]).div_(self.std[:, None, None])


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Each image flipped with probability 1/2 and moved by up to an eighth of its side, zeros coming in at the edge.

    `pixels` is a normalised batch [N, C, H, W], whose zero is the mean colour; `generator` lies on the same device.
    """
    count, channels, height, width = pixels.shape
    reach = max(height, width) // 8

    def draw(choices: int) -> Tensor:
        return torch.randint(choices, (count, 1), generator=generator, device=pixels.device)

    rows = torch.arange(height, device=pixels.device) + draw(2 * reach + 1)
    columns = torch.arange(width, device=pixels.device)
    columns = torch.where(draw(2) == 1, columns.flip(0), columns) + draw(2 * reach + 1)
    padded = torch.nn.functional.pad(pixels, (reach,) * 4)
    index = torch.arange(count, device=pixels.device)[:, None, None, None]
    channel = torch.arange(channels, device=pixels.device)[:, None, None]
    moved = padded[index, channel, rows[:, None, :, None], columns[:, None, None, :]]
    return moved.contiguous(memory_format=torch.channels_last)


def make_images(
    name: str,
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    classes: int,
) -> Images:
    """A data set of uint8 images [N, C, H, W] and whole labels [N] in [0, classes)."""
    pixels = torch.from_numpy(np.ascontiguousarray(train_images))
    mean, std = _mean_and_std(pixels)
    return Images(
        name,
        pixels,
        torch.from_numpy(train_labels.astype(np.int64)),
        torch.from_numpy(np.ascontiguousarray(test_images)),
        torch.from_numpy(test_labels.astype(np.int64)),
        classes,
        mean,
        std,
    )


def _means(images: Tensor, side: int) -> Tensor:
    """Of uint8 [N, C, H, W] the means of squares, rounded to uint8."""
    return torch.nn.functional.avg_pool2d(images.float(), side).round_().to(torch.uint8)


def _mean_and_std(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Of each channel of uint8 [N, C, H, W]: by counting the 256 values, which is exact and makes no float copy."""
    values = torch.arange(256, dtype=torch.float64)
    counts = torch.zeros(pixels.shape[1], 256, dtype=torch.int64)
    for some in pixels.split(10_000):  # bincount makes int64 of them, which is eight times their size
        counts += torch.stack([channel.bincount(minlength=256) for channel in some.transpose(0, 1).flatten(1)])
    shares = counts.double() / pixels[:, 0].numel()
    mean = shares @ values
    std = (shares @ values.square() - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(std > 0, std, 1.0).float()
