"""All of a run that changes while it trains, and how it comes to the disk and back."""

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from lambc.experiments import tensor_file
from lambc.experiments.data.sources import Data
from lambc.experiments.models import initialised
from lambc.experiments.optimizers import make_optimizer
from lambc.experiments.settings import Settings
from lambc.experiments.tallies import HitCounter, Tally


class State:
    """Where a run stands: in front of batch `batch`, from 0, of epoch `epoch`, from 1, after `step` steps in all.

    model: on the device, in the layout that its convolutions are fastest in. optimizer: the rule's. order: draws the
    order of the examples; on the CPU, so that every device sees them in one order. chance: on the device, augments the
    images; None for images as they are. tally: of this epoch. hits: of all steps. test_accuracy: the last measured.
    averaged: the mean of the weights after each of the last epochs; None before there are any. rates: for each of the
    optimizer's groups the learning rate of each epoch, where they are replayed.
    """

    def __init__(self, run: Settings, data: Data, device: torch.device) -> None:
        self.device = device
        self.epoch, self.batch, self.step = 1, 0, 0
        self.test_accuracy = math.nan
        self.averaged: AveragedModel | None = None
        self.rates: list[list[float]] | None = None
        self.steps_per_epoch = len(split_batches(torch.arange(len(data)), run.batch_size))
        self.model = initialised(run, data).to(device).to(memory_format=torch.channels_last)
        steps = self.steps_per_epoch * (1 if run.reset_optimizer_each_epoch else run.epochs)
        self.optimizer = make_optimizer(run, self.model.named_parameters(), steps)
        self.hits = HitCounter(device)
        if hasattr(self.optimizer, "register_trust_ratio_hook"):
            self.optimizer.register_trust_ratio_hook(self.hits)
        self.tally = Tally(device)
        self.chance = torch.Generator(device).manual_seed(run.seed) if run.augment else None
        self._order = torch.Generator().manual_seed(run.seed)
        self._before_epoch = self._order.get_state()

    def draw_batches(self, count: int, batch_size: int) -> list[Tensor]:
        """This epoch's batches of indices below `count`, in an order that its number and the seed decide."""
        self._before_epoch = self._order.get_state()
        return split_batches(torch.randperm(count, generator=self._order).to(self.device), batch_size)

    def average(self) -> None:
        """Take the weights into their mean."""
        self.averaged = self.averaged or AveragedModel(self.model)
        self.averaged.update_parameters(self.model)

    def save(self, path: Path) -> None:
        """Write all of it to `path` atomically. Waits for the device. Raises OSError as `tensor_file.write`."""
        counts = {"epoch": self.epoch, "batch": self.batch, "step": self.step, "test_accuracy": self.test_accuracy}
        tensor_file.write(
            path,
            counts
            | {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "order": self._before_epoch,
                "chance": None if self.chance is None else self.chance.get_state(),
                "tally": self.tally.state_dict(),
                "hits": self.hits.counts,
                "averaged": None if self.averaged is None else self.averaged.state_dict(),
            },
        )

    def load(self, path: Path) -> None:
        """Go on from what `save` wrote. Raises ValueError for a file that cannot be read."""
        saved = tensor_file.read(path)
        self.epoch, self.batch, self.step = saved["epoch"], saved["batch"], saved["step"]
        self.test_accuracy = saved["test_accuracy"]
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self._order.set_state(saved["order"])
        if self.chance is not None:
            self.chance.set_state(saved["chance"])
        self.tally.load_state_dict(saved["tally"])
        self.hits.counts.copy_(saved["hits"])
        if saved.get("averaged"):
            self.averaged = AveragedModel(self.model)
            self.averaged.load_state_dict(saved["averaged"])


def split_batches(order: Tensor, batch_size: int) -> list[Tensor]:
    """Indices in batches; the last may be smaller, but a single one joins the batch before it: batch norm needs two."""
    batches = list(order.split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        last = batches.pop()
        batches[-1] = torch.cat([batches[-1], last])
    return batches
