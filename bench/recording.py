"""Aim: the same values cost TensorBoard, wandb offline and a loop over .item() at least 20 times the collector's time
in the training thread; the table says how far that is so.

Every step, each of them is handed the same record of ResNet-18's 62 layers: weight norm, update norm, ratio before and
after clipping, bounds and learning rate, 434 values in a tensor on the device. They take turns step by step in one
process. Time is that of the call in the training thread; what they do on threads or in processes of their own comes on
top, and shows in 'until closed', the time from the last step to the end of the writing. wandb logs 434 names in one
call, as its documentation advises.

    python bench/recording.py --steps 1000

Peers that are not installed are left out.
"""

import contextlib
import csv
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torchvision
import typer
from speaker import Speaker

from collector import Collector
from collector.log.schema import TRUST_RATIOS
from collector.recording.environment import device_name

RESULTS = Path(__file__).parent / "results"
Record = Callable[[int, torch.Tensor], None]


def resnet18() -> Speaker:
    with torch.device("meta"):
        model = torchvision.models.resnet18(num_classes=10)
    return Speaker({name: tuple(param.shape) for name, param in model.named_parameters()})


def names(speaker: Speaker) -> list[str]:
    return [f"{quantity}/{layer}" for quantity in TRUST_RATIOS.measured for layer in speaker.layers]


@contextlib.contextmanager
def collector(folder: Path, speaker: Speaker) -> Iterator[Record]:
    with Collector(speaker, folder, name="r"):
        yield speaker.say


@contextlib.contextmanager
def item_loop(folder: Path, speaker: Speaker) -> Iterator[Record]:
    folder.mkdir()
    with (folder / "log.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "step", "epoch", "layer", *TRUST_RATIOS.measured])

        def record(step: int, table: torch.Tensor) -> None:
            for position, layer in enumerate(speaker.layers):
                writer.writerow(["r", step, 0, layer, *(table[row, position].item() for row in range(len(table)))])

        yield record


@contextlib.contextmanager
def tensorboard(folder: Path, speaker: Speaker) -> Iterator[Record]:
    from torch.utils.tensorboard import SummaryWriter

    tags = names(speaker)
    with SummaryWriter(str(folder)) as writer:

        def record(step: int, table: torch.Tensor) -> None:
            for tag, value in zip(tags, table.flatten().tolist(), strict=True):
                writer.add_scalar(tag, value, step)

        yield record


@contextlib.contextmanager
def wandb_offline(folder: Path, speaker: Speaker) -> Iterator[Record]:
    import wandb

    folder.mkdir()
    run = wandb.init(mode="offline", dir=str(folder), project="bench", settings=wandb.Settings(silent=True))
    tags = names(speaker)
    yield lambda step, table: run.log(dict(zip(tags, table.flatten().tolist(), strict=True)), step=step)
    run.finish()


def contestants() -> Iterator[tuple[str, Callable]]:
    yield "collector", collector
    yield "a loop over .item() into CSV", item_loop
    if importlib.util.find_spec("tensorboard"):
        yield "TensorBoard SummaryWriter", tensorboard
    if importlib.util.find_spec("wandb"):
        yield "wandb, offline", wandb_offline


def tables(steps: int, layers: int, device: str) -> Iterator[torch.Tensor]:
    """Ratios that wander as those of a run do."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(layers, generator=generator).exp()
    update = torch.randn(layers, generator=generator).exp()
    for _ in range(steps):
        weight = weight * (1e-3 * torch.randn(layers, generator=generator)).exp()
        noisy = update * (0.1 * torch.randn(layers, generator=generator)).exp()
        ratio, one = weight / noisy, torch.ones(layers)
        yield torch.stack([weight, noisy, ratio, ratio.clamp(max=1), 0 * one, one, 0.01 * one]).to(device)


def main(steps: Annotated[int, typer.Option(help="Steps that each records.")] = 1000) -> None:
    """Time the recorders, and write the table to bench/results/."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    os.environ.setdefault("WANDB_MODE", "offline")
    entries = list(contestants())
    taken: list[list[float]] = [[] for _ in entries]
    closed: list[float] = []
    sizes: list[int] = []
    with tempfile.TemporaryDirectory() as home:
        speaker = resnet18()
        open_ones = [make(Path(home) / str(number), speaker) for number, (_, make) in enumerate(entries)]
        recorders = [each.__enter__() for each in open_ones]
        for step, table in enumerate(tables(steps, len(speaker.layers), device), start=1):
            for record, times in zip(recorders, taken, strict=True):
                start = time.perf_counter()
                record(step, table)
                times.append(time.perf_counter() - start)
        for number, each in enumerate(open_ones):
            start = time.perf_counter()
            each.__exit__(None, None, None)
            closed.append(time.perf_counter() - start)
            files = (path for path in (Path(home) / str(number)).rglob("*") if path.is_file())
            sizes.append(sum(path.stat().st_size for path in files))
        rows = pa.concat_tables(pq.read_table(path) for path in Path(home).glob("0/r/trust_ratios/*.parquet"))
        pq.write_table(rows, Path(home) / "default.parquet")
        default = (Path(home) / "default.parquet").stat().st_size
    count = steps * len(speaker.layers)
    lines = [
        "# Recording\n",
        (__doc__ or "").split("\n\n")[0] + "\n",
        f"{device_name(device)}; torch {torch.__version__}, {datetime.now(UTC):%Y-%m-%d}; {steps} steps of "
        f"{len(speaker.layers)} layers, 7 values each.\n",
        "| recorder | median µs a step | mean µs a step | × collector, of the means | until closed, s | bytes a row |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    base = statistics.mean(taken[0])
    for (name, _), times, end, size in zip(entries, taken, closed, sizes, strict=True):
        lines.append(
            f"| {name} | {statistics.median(times) * 1e6:,.0f} | {statistics.mean(times) * 1e6:,.0f} | "
            f"{statistics.mean(times) / base:,.0f} | {end:.2f} | {size / count:.1f} |"
        )
    lines.append(f"\nThe same rows as Parquet by pyarrow's defaults: {default / count:.1f} bytes a row.")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"recording_{device}.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    typer.run(main)
