"""A log of runs that record every 100th or 64th step, with metrics as several trainers name them."""

import math
from pathlib import Path

import torch

from collector import Collector
from tests.collector.emitter import Emitter

LAYERS = ("conv.weight", "conv.bias", "fc.weight")
STEPS = 1000


def write(
    root: Path,
    name: str,
    every: int,
    metrics: dict[int, dict[str, float]] | None = None,
    *,
    first: int = 1,
    last: int = STEPS,
    resume: bool = False,
    **config: object,
) -> None:
    """A run whose ratios are steps over a hundred, clipped at 5; metrics: by the step at which they are logged."""
    emitter = Emitter(list(LAYERS))
    with Collector(emitter, root, name=name, every=every, resume=resume, config=config) as collector:
        for step in range(first, last + 1):
            ratio = torch.tensor([step / 100, 1.0, 2.0])
            one = torch.ones(3)
            emitter.say(step, torch.stack([ratio, one, ratio, ratio.clamp(max=5), 0 * one, 5 * one, 0.01 * one]))
        for step, logged in (metrics or {}).items():
            collector.log(logged, step=step)


def as_transformers_logs() -> dict[int, dict[str, float]]:
    """What transformers.Trainer logs in 1000 steps."""
    logged: dict[int, dict[str, float]] = {}
    for step in range(50, STEPS + 1, 50):
        logged[step] = {"loss": 5 / math.log(step), "grad_norm": 1.0 + step % 3, "learning_rate": 1e-3 / step}
        if step % 250 == 0:
            logged[step] |= {"eval_loss": 6 / math.log(step), "eval_runtime": 12.5}
    logged[STEPS] |= {"train_runtime": 100.0, "train_loss": 1.1, "epoch": 3.0}
    return logged


def build(root: Path) -> Path:
    """Runs with a stride of 100, 64 and 1, one with metrics over tokens, and one with 500 metrics."""
    write(root, "hundred", 100, as_transformers_logs())
    write(
        root, "sixtyfour", 64, {step: {"val_acc": 90 + step / 200, "val_loss": 100 / step} for step in (200, 600, 1000)}
    )
    write(root, "one", 1, {500: {"acc": 0.5}})
    tokens = {step * 4096: {"loss": 50 / step} for step in range(10, STEPS + 1, 10)}
    write(root, "tokens", 100, tokens | {STEPS: {"test/accuracy": 0.75}})
    write(
        root,
        "many",
        100,
        {STEPS: {f"probe{number % 7}/m{number}": float(number) for number in range(499)} | {"loss": 2.0}},
    )
    return root
