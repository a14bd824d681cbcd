"""The relative steps of a run that was recorded, as learning rates of one without a bound."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
from torch import Tensor

from collector.log.run import read_run
from lambc.experiments.optimizers import replayed_as
from lambc.experiments.settings import Settings


def replayed_rates(run: Settings, runs: Path, layers: Mapping[str, Tensor]) -> dict[str, list[float]]:
    """The rates of each epoch by layer, from the log of `run.source` in the folder `runs`.

    A rate is the mean relative step, lr · clipped_ratio · update_norm / weight_norm, over the recorded steps of the
    epoch and over the layers that share it. Rows whose weight norm is 0, as a bias has it at first, say nothing.

    Raises ValueError if there is no such run that has finished, or an epoch of it was not recorded.
    """
    assert run.source
    folder = runs / run.source
    if not folder.is_dir() or read_run(folder)["status"] != "finished":
        raise ValueError(f"replay={run.replay!r}: {run.source} in {runs} has not finished, so train it first")
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    names = ["step", "epoch", "layer", "weight_norm", "update_norm", "clipped_ratio", "lr"]
    for row in pq.read_table(folder / "trust_ratios", columns=names).to_pylist():
        # Step 1 is recorded whatever the stride is, and would weigh too much in the first epoch.
        if row["weight_norm"] > 0 and row["step"] % run.record_every == 0:
            relative = row["lr"] * row["clipped_ratio"] * row["update_norm"] / row["weight_norm"]
            found[replayed_as(run, row["layer"], layers[row["layer"]]), row["epoch"]].append(relative)
    try:
        return {
            layer: [_mean(found[replayed_as(run, layer, param), epoch]) for epoch in range(1, run.epochs + 1)]
            for layer, param in layers.items()
        }
    except ZeroDivisionError:
        raise ValueError(f"replay={run.replay!r}: {folder} has no rows of some epochs, so train it anew") from None


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
