"""How well a model does, and at which rate it learns."""

import math

import torch
from torch import Tensor, nn

from lambc.experiments.data.sources import Data
from lambc.experiments.ranks import ALONE, Ranks
from lambc.experiments.settings import Settings
from lambc.experiments.tallies import Tally


@torch.no_grad()
def evaluate(model: nn.Module, data: Data, batch_size: int, ranks: Ranks = ALONE) -> tuple[float, float]:
    """Mean loss and accuracy over the whole test set, `batch_size` examples at a time."""
    model.eval()
    tally = Tally(next(model.parameters()).device)
    for inputs, labels in data.test_batches(batch_size):
        tally.add(*score(model, inputs, labels, ranks), labels.numel(), len(labels))
    ranks.add_up([tally.sums])
    loss, accuracy, _ = tally.read()
    return loss, accuracy


def score(model: nn.Module, inputs: Tensor, labels: Tensor, ranks: Ranks = ALONE) -> tuple[Tensor, Tensor]:
    """Mean loss, and how many of the labels, of any shape, have the highest score. On a GPU in bfloat16.

    Of several processes each has its part of the sum; only all parts together are the mean.
    """
    count = labels.numel()
    inputs, labels = ranks.part(inputs), ranks.part(labels)
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=inputs.device.type == "cuda"):
        scores = model(inputs)
    scores, labels = scores.float().flatten(0, -2), labels.flatten()
    right = (scores.argmax(1) == labels).sum()
    if ranks.count == 1:
        return nn.functional.cross_entropy(scores, labels), right
    return nn.functional.cross_entropy(scores, labels, reduction="sum") / count, right


def learning_rate(run: Settings, step: int, steps_per_epoch: int) -> float:
    """The rate of a step, from 1 on: lr · step / (steps of the warm-up), and after it lr, or what is left of it."""
    warmup = run.warmup_epochs * steps_per_epoch
    if step < warmup:
        return run.lr * step / warmup
    if run.schedule == "constant":
        return run.lr
    first = max(1, math.ceil(warmup))  # the first step at the whole rate
    steps = run.epochs * steps_per_epoch
    return run.lr * (steps - step + 1) / (steps - first + 1)
