"""Claim: a training step with the collector on takes at most 1.005 times one without, and a row about 10 bytes.

ResNet-18 with a 3×3 stem on images of 32 pixels, LAMBC, one process: every second step is recorded, the others have no
hook at all, and which of a pair comes first changes from pair to pair, so that a machine that slows down slows both.
The ratio is the median of the pairs' ratios, with the 95 % interval of a bootstrap over pairs. Beside it stand what the
hook takes on the training thread, which is below that noise, and what the writer thread computes for a recorded step,
which falls on steps of both kinds.

Bytes a row are those of a real run of its own, on scikit-learn's digits: all parts of its log by all rows in them.

    python bench/collector_overhead.py --pairs 100

On a GPU: batches of 1000 in bfloat16.
"""

import platform
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import duckdb
import torch
import typer
from rich.console import Console
from rich.progress import track
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

from collector import Collector
from collector.recording.environment import device_name
from lambc import LAMBC
from lambc.experiments.models import resnet18

RESULTS = Path(__file__).parent / "results"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BATCH, DTYPE = (1000, torch.bfloat16) if DEVICE.type == "cuda" else (64, torch.float32)
RUNS: dict[str, dict[str, Any]] = {"unclipped (LAMB)": {"clip": None}, "clipped at 1": {"clip": 1.0}}


class Switch:
    """The optimizer as the collector sees it, whose hooks can be taken off, and are timed."""

    def __init__(self, optimizer: LAMBC) -> None:
        self.param_groups = optimizer.param_groups
        self.seconds: list[float] = []
        self._optimizer = optimizer
        self._hooks: list[Callable[[Any], None]] = []

    def register_trust_ratio_hook(self, hook: Callable[[Any], None]) -> Any:
        self._hooks.append(hook)
        return self

    def remove(self) -> None:
        """What the collector calls at its end."""

    def step(self, *, on: bool) -> None:
        handle = self._optimizer.register_trust_ratio_hook(self._timed) if on else None
        self._optimizer.step()
        if handle:
            handle.remove()

    def _timed(self, record: Any) -> None:
        start = time.perf_counter()
        for hook in self._hooks:
            hook(record)
        self.seconds.append(time.perf_counter() - start)


def batches(count: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of `count` digits without end, on the device, as 3 × `size` × `size`."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16 - 0.5
    images = interpolate(images, size=size).repeat(1, 3, 1, 1).to(DEVICE)
    labels = torch.tensor(digits.target, device=DEVICE)
    generator = torch.Generator().manual_seed(0)
    while True:
        rows = torch.randint(len(images), (count,), generator=generator).to(DEVICE)
        yield images[rows], labels[rows]


def backward(model: torch.nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    model.zero_grad()
    with torch.autocast(DEVICE.type, DTYPE, enabled=DTYPE is not torch.float32):
        loss = cross_entropy(model(images), labels)
    loss.backward()
    return loss


def now() -> float:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def overhead(pairs: int) -> list[tuple[str, str]]:
    """What a step takes with the collector on and off, as rows of a table."""
    torch.manual_seed(0)
    model = resnet18(10, 3, 32).to(DEVICE)
    optimizer = LAMBC(model.named_parameters(), lr=1e-3)
    switch = Switch(optimizer)
    steps: dict[bool, list[float]] = {True: [], False: []}
    own: list[float] = []
    data = batches(BATCH, 32)
    with tempfile.TemporaryDirectory() as root, Collector(switch, root) as collector:
        (writer,) = (thread for thread in threading.enumerate() if thread.name.startswith("collector "))
        for number in track(range(-3, pairs), "pairs", console=Console(stderr=True), transient=True):
            for on in (True, False) if number % 2 else (False, True):
                start = now()
                loss = backward(model, *next(data))
                before = now()
                switch.step(on=on)
                if on:
                    collector.log({"train/loss": loss})
                end = now()
                if number >= 0:  # the pairs before warm up
                    steps[on].append(end - start)
                    if not on:
                        own.append(end - before)
        collector.flush()
        computed = time.clock_gettime(time.pthread_getcpuclockid(writer.ident or 0))
    ratios = [on / off for on, off in zip(steps[True], steps[False], strict=True)]
    low, high = interval(ratios)
    return [
        ("step with the collector ÷ step without", f"**{statistics.median(ratios):.4f}** ({low:.4f} to {high:.4f})"),
        ("step without", f"{statistics.median(steps[False]) * 1e3:.1f} ms"),
        ("of which the optimizer", f"{statistics.median(own) * 1e3:.2f} ms"),
        ("the hook, on the training thread", f"{statistics.median(switch.seconds[3:]) * 1e6:.1f} µs"),
        ("the writer thread, for each recorded step", f"{computed / len(switch.seconds) * 1e6:.0f} µs"),
    ]


def interval(values: list[float], draws: int = 10_000) -> tuple[float, float]:
    """The 95 % interval of the median, by drawing as many values again with replacement."""
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(draws))
    return medians[int(0.025 * draws)], medians[int(0.975 * draws)]


def bytes_a_row(options: dict[str, Any], steps: int) -> tuple[int, int, int, float]:
    """Rows, parts, bytes, and bytes a row of a real run: `steps` steps of 16 digits at their own 8 pixels."""
    torch.manual_seed(0)
    model = resnet18(10, 3, 8).to(DEVICE)
    optimizer = LAMBC(model.named_parameters(), **options)
    data = batches(16, 8)
    with tempfile.TemporaryDirectory() as root:
        with Collector(optimizer, root) as collector:
            for _ in track(range(steps), str(options), console=Console(stderr=True), transient=True):
                backward(model, *next(data))
                optimizer.step()
        parts = list((collector.folder / "trust_ratios").glob("*.parquet"))
        size = sum(part.stat().st_size for part in parts)
        ((rows,),) = duckdb.sql(f"SELECT count(*) FROM '{collector.folder}/trust_ratios/*.parquet'").fetchall()
    return rows, len(parts), size, size / rows


def main(
    pairs: Annotated[int, typer.Option(help="Pairs of a recorded step and one that is not.")] = 100,
    steps: Annotated[int, typer.Option(help="Steps of the runs whose bytes a row are counted.")] = 300,
) -> None:
    """Time the collector, measure its log, and write both to bench/results/collector_overhead.md."""
    lines = [f"# The collector's overhead\n\n{(__doc__ or '').partition(chr(10) + chr(10))[0]}\n"]
    lines += [
        f"{device_name(DEVICE)}; torch {torch.__version__}, Python {platform.python_version()}, "
        f"{datetime.now(UTC):%Y-%m-%d}. "
        f"ResNet-18 (62 layers), batches of {BATCH}, {DTYPE}.\n",
        f"`python bench/collector_overhead.py --pairs {pairs} --steps {steps}`\n",
        "| what | median |\n|---|---:|",
    ]
    lines += [f"| {what} | {value} |" for what, value in overhead(pairs)]
    lines += ["\n| log | steps | rows | parts | bytes | bytes a row |\n|---|---:|---:|---:|---:|---:|"]
    for name, options in RUNS.items():
        rows, parts, size, each = bytes_a_row(options, steps)
        lines += [f"| {name} | {steps} | {rows:,} | {parts} | {size:,} | **{each:.2f}** |"]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "collector_overhead.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    typer.run(main)
