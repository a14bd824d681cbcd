"""A log of runs to compare, whose ratios and accuracies are known: two batch sizes, two bounds, two seeds."""

from pathlib import Path

import torch

from collector import Collector
from tests.collector.emitter import Emitter

LAYERS = ("conv", "bias", "fc")
STEPS = 40


def write(root: Path, name: str, *, layers: tuple[str, ...] = LAYERS, steps: int = STEPS, **config: object) -> None:
    """A run of one network; its accuracy rises, from seed to seed by a different way, and at bound 1 higher."""
    options = {"data": "noise", "batch_size": 32, "clip": None, "seed": 0, "optimizer": "lambc"} | config
    emitter = Emitter(list(layers))
    with Collector(emitter, root, name=name, config=options) as collector:
        for step in range(1, steps + 1):
            collector.epoch = 1 + (step - 1) // 10
            emitter.say(step, ratios(step, len(layers), options))
            collector.log({"train/loss": 1 / step + 0.01 * options["seed"]})
            if step % 10 == 0:
                collector.log({"test/accuracy": accuracy(collector.epoch, options)})


def ratios(step: int, layers: int, options: dict) -> torch.Tensor:
    """Rows of a table as the hook gives it: the ratio grows with step and seed, the bound is the config's."""
    before = torch.tensor([0.5 * (1 + place) + 0.05 * step + options["seed"] for place in range(layers)])
    one = torch.ones(layers)
    upper = one * (options["clip"] or torch.inf)
    after = torch.minimum(before, upper)
    return torch.stack([before, one, before, after, 0 * one, upper, 0.01 * one])


def accuracy(epoch: int, options: dict) -> float:
    """What an epoch ends with."""
    return 0.5 + 0.08 * epoch + 0.02 * options["seed"] + (0.03 if options["clip"] == 1.0 else 0)


def build(root: Path) -> Path:
    """The runs, the oldest first: two settings of two seeds, one alone, a short one, and one of another network."""
    write(root, "lamb", optimizer="lamb")
    write(root, "clip", clip=1.0)
    write(root, "clip-seed1", clip=1.0, seed=1)
    write(root, "large", clip=1.0, batch_size=128)
    write(root, "lamb-seed1", optimizer="lamb", seed=1, steps=20)
    write(root, "foreign", layers=("one", "two"), data="other")
    return root
