"""How long an experiment will take on this machine: some steps are taken, and the rest is arithmetic."""

import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from lambc.experiments.catalogue import ReproducedRun
from lambc.experiments.data import sources as data
from lambc.experiments.scoring import score
from lambc.experiments.state import State
from lambc.experiments.train import as_asked, find_device, has_finished

EVALUATION = 1 / 3
"""What an image costs that is tested on, beside one that is trained on: a forward pass without the backward one."""


def seconds_to_train(
    runs: Sequence[ReproducedRun], folder: Path, *, data_dir: Path | None = None, measure_for: float = 5.0
) -> float:
    """About how long the runs that have not finished take, one after the other, in seconds.

    Steps of each batch size are timed for `measure_for` seconds each, in a process of its own, which leaves nothing on
    a GPU. Raises DataError where the data cannot be had, and what `has_finished` raises.
    """
    left = [run for run in runs if not has_finished(run, folder, run.name)]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (left, data_dir, measure_for)) if left else 0.0


def _measure(runs: Sequence[ReproducedRun], data_dir: Path | None, measure_for: float) -> float:
    examples = data.load(runs[0].data, data_dir)
    rates: dict[int, float] = {}
    seconds = 0.0
    for run in runs:
        of_run = as_asked(run, examples)
        if run.batch_size not in rates:
            rates[run.batch_size] = examples_per_second(run, of_run, measure_for)
        tested = sum(len(labels) for _, labels in of_run.test_batches(run.batch_size))
        seconds += run.epochs * (len(of_run) + EVALUATION * tested) / rates[run.batch_size]
    return seconds


def examples_per_second(run: ReproducedRun, examples: data.Data, measure_for: float) -> float:
    """How many examples are trained on in a second, after a first step that is not timed; at least one step is."""
    device = find_device(run.device)
    state, examples = State(run, examples, device), examples.to(device)
    batch = torch.arange(min(run.batch_size, len(examples)), device=device)
    taken, began = -1, 0.0
    while taken < 1 or time.perf_counter() - began < measure_for:
        inputs, labels = examples.batch(batch, state.chance)
        state.optimizer.zero_grad()
        loss, _ = score(state.model, inputs, labels)
        loss.backward()
        state.optimizer.step()
        loss.item()  # waits for the device
        taken += 1
        began = began or time.perf_counter()
    return taken * len(batch) / (time.perf_counter() - began)
