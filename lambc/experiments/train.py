"""The training loop of the paper's experiments, recorded by the collector."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from collector import Collector
from lambc import TrustRatios
from lambc.experiments.data import DataError, Images, augment
from lambc.experiments.models import resnet18
from lambc.experiments.optimizers import make_optimizer
from lambc.experiments.settings import Run

SECONDS_BETWEEN_REPORTS = 0.5
"""A report waits for the device, which training else never does within an epoch."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands. Accuracies and rates are fractions; what is not known yet is NaN.

    epoch: the first is 1. step, steps: steps taken, and in all. loss, accuracy, images_per_second: over the training
    images that this epoch has seen. test_accuracy: the last one measured. hit_rate: clipped layer-steps over all that
    could be, since the start. ends_epoch: nothing more comes in this epoch.
    """

    epoch: int
    step: int
    steps: int
    loss: float
    accuracy: float
    images_per_second: float
    test_accuracy: float
    hit_rate: float
    ends_epoch: bool = False


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Trained:
    """What a run left behind: the model on its device, the folder of its log, and where it stood at its end."""

    model: nn.Module
    folder: Path
    end: Progress


class Tally:
    """Loss and right answers over some images, summed on the device without a wait."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(2, device=device)
        self._images = 0
        self._began = time.perf_counter()

    def add(self, loss: Tensor, right: Tensor, images: int) -> None:
        """Count a batch of so many images: its mean loss, and how many it got right."""
        self._sums += torch.stack([loss * images, right])
        self._images += images

    def read(self) -> tuple[float, float, float]:
        """Mean loss, accuracy, and images per second since the start. Waits for the device, so that they are true."""
        loss, accuracy = (self._sums / self._images).tolist()
        return loss, accuracy, self._images / (time.perf_counter() - self._began)


class HitCounter:
    """A trust-ratio hook that counts on the device how many layer-steps were clipped, without a wait.

    A layer that is not adapted, that had no step, or whose ratio fell back to 1 counts as no layer-step.
    """

    def __init__(self, device: torch.device) -> None:
        self.counts = torch.zeros(2, dtype=torch.int64, device=device)
        """Layer-steps that were clipped, and all of them."""

    def __call__(self, record: TrustRatios) -> None:
        """Count one step."""
        norms = record.table[:2]
        usable = ((norms > 0) & norms.isfinite()).all(0)
        adapted = (record.lower != 1) | (record.upper != 1)
        counted = usable & adapted & ~record.lr.isnan()
        hits = counted & (record.clipped_ratio != record.trust_ratio)
        self.counts += torch.stack([hits.sum(), counted.sum()])

    def rate(self) -> float:
        """Hits over layer-steps; NaN before there are any. Waits for the device."""
        hits, counted = self.counts.tolist()
        return hits / counted if counted else math.nan


def train(run: Run, images: Images, runs: Path, name: str | None = None, report: Report | None = None) -> Trained:
    """Train a network on `images` and record it as `runs/<name>`; the default name is `run.name`.

    report: called about twice a second, and at the end of each epoch.

    On a GPU the forward pass runs in bfloat16. Within an epoch nothing waits for the device but `report`.

    Raises FileExistsError if there is a run of this name, OSError if it cannot be written, ValueError for a name or a
    setting that makes no sense, and DataError if a batch is larger than the data set. Whatever else is raised while it
    trains, KeyboardInterrupt too, leaves a log of all that was done until then.
    """
    device = find_device(run.device)
    count = len(images.train_images)
    if run.batch_size > count:
        raise DataError(f"batch_size={run.batch_size}: {images.name} has only {count} images to train on, so give less")
    images = images.to(device)
    model = initialised(run, images).to(device).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(run, model.named_parameters())
    hits = HitCounter(device)
    if hasattr(optimizer, "register_trust_ratio_hook"):
        optimizer.register_trust_ratio_hook(hits)
    order = torch.Generator().manual_seed(run.seed)  # on the CPU, so that every device sees the images in one order
    chance = torch.Generator(device).manual_seed(run.seed) if run.augment and images.channels == 3 else None
    step, test_accuracy = 0, math.nan

    with Collector(optimizer, runs, name=name or run.name, config=run.config(str(device)), model=model) as collector:
        for epoch in range(1, run.epochs + 1):
            collector.epoch = epoch
            batches = split_batches(torch.randperm(count, generator=order).to(device), run.batch_size)
            steps = run.epochs * len(batches)
            tally = Tally(device)
            reported = time.perf_counter()
            for loss, right, size in take_steps(model, optimizer, images, batches, chance):
                collector.log({"train/loss": loss, "train/accuracy": right / size})
                tally.add(loss, right, size)
                step += 1
                if report and time.perf_counter() - reported > SECONDS_BETWEEN_REPORTS:
                    report(Progress(epoch, step, steps, *tally.read(), test_accuracy, hits.rate()))
                    reported = time.perf_counter()

            loss_of_epoch, accuracy, images_per_second = tally.read()
            test_loss, test_accuracy = evaluate(model, images, run.batch_size)
            collector.log(
                {
                    "test/loss": test_loss,
                    "test/accuracy": test_accuracy,
                    "train/images_per_second": images_per_second,
                    "lr": run.lr,
                }
            )
            end = Progress(
                epoch,
                step,
                steps,
                loss_of_epoch,
                accuracy,
                images_per_second,
                test_accuracy,
                hits.rate(),
                ends_epoch=True,
            )
            if report:
                report(end)
    return Trained(model, collector.folder, end)


def take_steps(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Images,
    batches: Sequence[Tensor],
    chance: torch.Generator | None,
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Take one step for each batch of indices; yields its mean loss, its right answers and its number of images.

    chance: what the images are augmented with, or None. Nothing here waits for the device.
    """
    model.train()
    for batch in batches:
        pixels = images.normalised(images.train_images[batch])
        if chance is not None:
            pixels = augment(pixels, chance)
        labels = images.train_labels[batch]
        scores = _scores(model, pixels)
        loss = nn.functional.cross_entropy(scores, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.detach(), (scores.argmax(1) == labels).sum(), len(batch)


@torch.inference_mode()
def evaluate(model: nn.Module, images: Images, batch_size: int) -> tuple[float, float]:
    """Mean loss and accuracy over the whole test set, `batch_size` images at a time."""
    model.eval()
    tally = Tally(images.test_images.device)
    for some, labels in zip(images.test_images.split(batch_size), images.test_labels.split(batch_size), strict=True):
        scores = _scores(model, images.normalised(some))
        tally.add(nn.functional.cross_entropy(scores, labels), (scores.argmax(1) == labels).sum(), len(labels))
    loss, accuracy, _ = tally.read()
    return loss, accuracy


def split_batches(order: Tensor, batch_size: int) -> list[Tensor]:
    """Indices in batches; the last may be smaller, but a single one joins the batch before it: batch norm needs two."""
    batches = list(order.split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        last = batches.pop()
        batches[-1] = torch.cat([batches[-1], last])
    return batches


def check(run: Run) -> None:
    """Raise ValueError for an optimizer's setting that makes no sense or a device that is not there; reads no data."""
    make_optimizer(run, [("weight", nn.Parameter(torch.zeros(1)))])  # the optimizer knows best what it takes
    find_device(run.device)


def initialised(run: Run, images: Images) -> nn.Module:
    """The network with its initial weights, on the CPU: they depend on the seed alone, and the global one is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        return resnet18(images.classes, images.channels, images.size, run.stem)


def find_device(name: str) -> torch.device:
    """The device called `name`, or for `auto` the first accelerator, else the CPU. ValueError if it is not there."""
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # "meta" has tensors, but nothing in them
    except (RuntimeError, AssertionError) as error:  # AssertionError: a torch that was built without it
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"device={name!r} is not there ({reason}): give auto, cpu, or one that this machine has"
        ) from error
    return device


def _scores(model: nn.Module, pixels: Tensor) -> Tensor:
    """The network's output as float32 [images, classes]."""
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=pixels.device.type == "cuda"):
        scores = model(pixels)
    return scores.float()
