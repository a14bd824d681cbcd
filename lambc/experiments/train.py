"""The training loop of the paper's experiments, recorded by the collector."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from collector import Collector
from lambc import LAMB, LAMBC, TrustRatios
from lambc.experiments.data import Images, augment, short_name
from lambc.experiments.models import Stem, resnet18

Clip: TypeAlias = float | tuple[float, float] | None

SECONDS_BETWEEN_REPORTS = 0.5
"""A report waits for the device, which training else never does within an epoch."""


@dataclass(frozen=True)
class Run:
    """The settings of one training run; two runs with equal settings do the same on a CPU, bit for bit.

    data: a source that `lambc.experiments.data.load` knows.
    batch_size: images a step. The last, smaller batch of an epoch is used too: §4.1 has 17 steps an epoch at 3000.
    clip: an upper bound on the trust ratios, a pair (lower, upper), or None for LAMB, which clips nothing.
    lr, weight_decay: constant; §4.1 uses 1e-2 and names no weight decay.
    stem: the first layer, for `lambc.experiments.models.resnet18`.
    augment: flip and move the training images at random, if they are in colour; the paper names no augmentation.
    seed: of the initial weights, the order of the images and the augmentation.
    device: `cpu`, `cuda`, `cuda:1`, …, or `auto` for the first accelerator there is.

    Raises ValueError, in one sentence, for a setting that makes no sense.
    """

    data: str = "digits"
    model: str = "resnet18"
    batch_size: int = 128
    epochs: int = 10
    clip: Clip = 1.0
    lr: float = 1e-2
    weight_decay: float = 0.0
    stem: Stem = "auto"
    augment: bool = False
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.batch_size < 2:
            raise ValueError(f"batch_size={self.batch_size}: batch norm needs at least 2 images in a batch")
        if self.epochs < 1:
            raise ValueError(f"epochs={self.epochs}: train for at least 1 epoch")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed={self.seed}: a seed must lie in [0, 2^63)")
        # The optimizer knows best what it takes, and needs a parameter to say so.
        self.optimizer_for([("weight", nn.Parameter(torch.zeros(1)))])

    @property
    def optimizer(self) -> str:
        """What the optimizer is called in run.json: `lamb` or `lambc`."""
        return "lamb" if self.clip is None else "lambc"

    @property
    def name(self) -> str:
        """A name for the run: data, batch size, clipping, then what differs from the defaults, and the seed."""
        match self.clip:
            case None:
                clip = "noclip"
            case (lower, upper):
                clip = f"clip{lower:g}-{upper:g}"
            case upper:
                clip = f"clip{upper:g}"
        parts = [short_name(self.data), f"b{self.batch_size}", clip]
        defaults = {field.name: field.default for field in fields(self)}
        for prefix, setting in (("lr", "lr"), ("wd", "weight_decay"), ("e", "epochs")):
            if getattr(self, setting) != defaults[setting]:
                parts.append(f"{prefix}{getattr(self, setting):g}")
        if self.stem != defaults["stem"]:
            parts.append(f"stem-{self.stem}")
        if self.augment:
            parts.append("augment")
        return "-".join([*parts, f"s{self.seed}"])

    def config(self, device: torch.device) -> dict[str, Any]:
        """What run.json says under `config`; `device` is the one that `auto` became."""
        return asdict(self) | {"optimizer": self.optimizer, "device": str(device)}

    def optimizer_for(self, named_parameters: Any) -> LAMBC:
        """The optimizer of this run. Raises ValueError for hyperparameters that make no sense."""
        if self.clip is None:
            return LAMB(named_parameters, lr=self.lr, weight_decay=self.weight_decay)
        return LAMBC(named_parameters, lr=self.lr, weight_decay=self.weight_decay, clip=self.clip)


@dataclass(frozen=True)
class Progress:
    """Where a run stands. Accuracies and rates are fractions; what is not known yet is NaN.

    epoch: the first is 1. step, steps: steps taken, and in all. loss, accuracy, images_per_second: over the training
    images that this epoch has seen. test_accuracy: the last one measured. hit_rate: clipped layer-steps over all that
    could be, since the start.
    """

    epoch: int
    step: int
    steps: int
    loss: float
    accuracy: float
    images_per_second: float
    test_accuracy: float
    hit_rate: float


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

    Raises FileExistsError if there is a run of this name, OSError if it cannot be written, ValueError if the name is
    none, the batch is larger than the data set, or the device is not there. Whatever else is raised while it trains,
    KeyboardInterrupt too, leaves a log of all that was done until then.
    """
    device = find_device(run.device)
    count = len(images.train_images)
    if run.batch_size > count:
        raise ValueError(f"batch_size={run.batch_size}: {images.name} has only {count} images to train on")
    images = images.to(device)
    model = initialised(run, images).to(device).to(memory_format=torch.channels_last)
    optimizer = run.optimizer_for(model.named_parameters())
    hits = HitCounter(device)
    optimizer.register_trust_ratio_hook(hits)
    order = torch.Generator().manual_seed(run.seed)  # on the CPU, so that every device sees the images in one order
    chance = torch.Generator(device).manual_seed(run.seed) if run.augment and images.channels == 3 else None
    step, test_accuracy = 0, math.nan

    with Collector(optimizer, runs, name=name or run.name, config=run.config(device), model=model) as collector:
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
            end = Progress(epoch, step, steps, loss_of_epoch, accuracy, images_per_second, test_accuracy, hits.rate())
            if report:
                report(end)
    return Trained(model, collector.folder, end)


def take_steps(
    model: nn.Module, optimizer: LAMBC, images: Images, batches: Sequence[Tensor], chance: torch.Generator | None
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
        torch.empty(1, device=device)
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
