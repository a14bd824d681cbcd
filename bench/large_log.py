"""Writes the log of a long run, 300 layers by 333,333 steps by default, as training would have left it: parts of the
second tier, which are then merged and rolled up by the collector's own code.

    python bench/large_log.py FOLDER
"""

import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import typer
from speaker import Speaker

from collector import Collector
from collector.log.compact import merge_all
from collector.log.parts import write_part
from collector.log.rollups import roll_up
from collector.log.schema import METRICS, TRUST_RATIOS

LAYERS = 300
STEPS_A_PART = 437  # as many as make a part of the second tier: 16 of them are merged


def names() -> list[str]:
    return [f"layer.{number}.{'weight' if number % 2 == 0 else 'bias'}" for number in range(LAYERS)]


def rows(first: int, end: int, seed: int) -> pa.Table:
    """Ratios that wander, as those of a run do; float32 mantissas are as full of noise as real ones."""
    random = np.random.default_rng(seed)
    steps = np.arange(first, end)
    size = (LAYERS, len(steps))
    weight = np.exp(random.normal(size=(LAYERS, 1)) + 1e-4 * random.normal(size=size).cumsum(axis=1))
    update = np.exp(random.normal(size=(LAYERS, 1)) + 0.1 * random.normal(size=size))
    ratio = weight / update
    measured = [weight, update, ratio, ratio.clip(0, 1), np.zeros(size), np.ones(size), np.full(size, 0.01)]
    columns = {
        "run": pa.repeat("r", ratio.size),
        "step": np.tile(steps, LAYERS),
        "epoch": np.tile(steps // 1000, LAYERS).astype(np.int32),
        "layer": pa.array(names()).take(pa.array(np.repeat(np.arange(LAYERS), len(steps)))),
        **{name: each.ravel().astype(np.float32) for name, each in zip(TRUST_RATIOS.measured, measured, strict=True)},
    }
    return pa.table(columns, schema=TRUST_RATIOS.schema)


def metrics(steps: int) -> pa.Table:
    """A training loss at every step, and 300 test accuracies."""
    random = np.random.default_rng(0)
    step, tested = np.arange(1, steps + 1), np.linspace(steps // 300, steps, 300).astype(int)
    loss = 2 / step**0.2 + 0.1 * random.normal(size=steps)
    accuracy = 0.9 - 0.5 / np.arange(1, 301) ** 0.5 + 0.005 * random.normal(size=300)
    steps_of = np.concatenate([tested, step])
    columns = {
        "run": pa.repeat("r", len(steps_of)),
        "step": steps_of,
        "epoch": (steps_of // 1000).astype(np.int32),
        "time": pa.array(1_700_000_000_000_000 + steps_of * 300_000, METRICS.schema.field("time").type),
        "name": ["test/accuracy"] * 300 + ["train/loss"] * steps,
        "value": np.concatenate([accuracy, loss]),
    }
    return pa.table(columns, schema=METRICS.schema)


def write(folder: Path, part: int, last: int) -> None:
    first = part * STEPS_A_PART + 1
    write_part(rows(first, min(first + STEPS_A_PART, last + 1), part), TRUST_RATIOS, folder, part + 1)


def make_log(root: Path, steps: int) -> Path:
    with Collector(Speaker(dict.fromkeys(names(), (1,))), root, name="r") as collector:
        folder = collector.folder / TRUST_RATIOS.folder
    parts = -(-steps // STEPS_A_PART)
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(write, [folder] * parts, range(parts), [steps] * parts))
    write_part(metrics(steps), METRICS, folder.with_name(METRICS.folder), 1)
    return folder


def main(
    root: Annotated[Path, typer.Argument(help="The folder of runs that the run `r` is written to.")],
    steps: Annotated[int, typer.Option(help="Steps of 300 layers.")] = 333_333,
) -> None:
    """Write the log."""
    parts = make_log(root, steps)
    merge_all(TRUST_RATIOS, parts, names())
    shutil.rmtree(parts.with_name("replaced_trust_ratios"), ignore_errors=True)
    roll_up(parts)


if __name__ == "__main__":
    typer.run(main)
