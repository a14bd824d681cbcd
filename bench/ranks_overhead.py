"""Claim: in a job of four ranks, too, a training step with the collector on takes at most 1.005 times one without.

ResNet-18 sharded by `fully_shard`, LAMBC, a quarter of a batch on each rank; all ranks have a collector, and rank 0's
records. As in collector_overhead.py every second step is recorded, the others have no hook, and which of a pair comes
first changes. A step is timed on rank 0, and waits for all ranks: it sums gradients and norms with them.

    OMP_NUM_THREADS=1 torchrun --nproc-per-node 4 bench/ranks_overhead.py --pairs 60
"""

import os
import statistics
import tempfile
import time
from datetime import UTC, datetime
from typing import Annotated

import torch
import typer
from collector_overhead import BATCH, RESULTS, Switch, backward, batches, interval
from torch import distributed
from torch.distributed.fsdp import fully_shard

from collector import Collector
from collector.recording.environment import device_name
from lambc import LAMBC
from lambc.experiments.models import resnet18


def overhead(pairs: int, root: str) -> tuple[list[float], list[float]]:
    """Seconds of steps that were recorded, and of those that were not."""
    torch.manual_seed(0)
    model = resnet18(10, 3, 32)
    fully_shard(model)
    optimizer = LAMBC(model.named_parameters(), lr=1e-3)
    switch = Switch(optimizer)
    steps: dict[bool, list[float]] = {True: [], False: []}
    data = batches(BATCH // distributed.get_world_size(), 32)
    first = distributed.get_rank() == 0
    with Collector(switch, root, name="r") as collector:
        for number in range(-2, pairs):
            for on in (True, False) if number % 2 else (False, True):
                distributed.barrier()
                start = time.perf_counter()
                loss = backward(model, *next(data))
                switch.step(on=on and first)
                if on:
                    collector.log({"train/loss": loss})
                distributed.barrier()
                if number >= 0:  # the pairs before warm up
                    steps[on].append(time.perf_counter() - start)
    return steps[True], steps[False]


def main(pairs: Annotated[int, typer.Option(help="How many steps are taken with the collector on.")] = 60) -> None:
    """Measure, and write the table to bench/results/."""
    distributed.init_process_group("gloo")
    count = distributed.get_world_size()
    with tempfile.TemporaryDirectory() as root:
        on, off = overhead(pairs, root)
    if distributed.get_rank() == 0:
        ratios = [recorded / bare for recorded, bare in zip(on, off, strict=True)]
        low, high = interval(ratios)
        lines = [
            "# What the collector costs a job of several ranks\n",
            (__doc__ or "").rpartition("\n\n")[0].strip() + "\n",
            f"{count} ranks on {device_name('cpu')}, {os.cpu_count()} cores; torch {torch.__version__}, {pairs} pairs, "
            f"{datetime.now(UTC):%Y-%m-%d}.\n",
            "| | |",
            "|---|---:|",
            "| step with the collector ÷ step without, median of the pairs (95 % interval) | "
            f"**{statistics.median(ratios):.4f}** ({low:.4f} to {high:.4f}) |",
            f"| step without | {statistics.median(off) * 1e3:.0f} ms |",
        ]
        (RESULTS / "ranks_overhead.md").write_text("\n".join(lines) + "\n")
        print("\n".join(lines))
    distributed.destroy_process_group()


if __name__ == "__main__":
    typer.run(main)
