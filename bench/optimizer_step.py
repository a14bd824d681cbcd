"""Aim: a LAMBC step costs at most 1.5 times AdamW(fused) on a CPU and at most 0.3 times timm's Lamb; the table says
how far that is reached.

Each path of LAMBC beside torch's AdamW and other people's LAMBs, on the parameter shapes of real networks. All take
turns step by step in one process, in another order each round, so that a machine that slows down slows all of them; the
ratio is the median of the rounds' ratios. Bytes a parameter are what the path must move at least, by counting reads and
writes; extra memory is what torch has allocated at a step's peak beyond what it had before. A transformer is given as
many of its blocks as leave memory for all contestants.

    python bench/optimizer_step.py --model resnet18 --rounds 100

A GPU is used if there is one. Peers that are not installed are left out, and so is the C++ step where it has not been
built (`python -m lambc.steps.compiled`).
"""

import importlib.util
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import track

from collector.recording.environment import device_name
from lambc import LAMBC
from lambc.steps import compiled

RESULTS = Path(__file__).parent / "results"
FLOOR = "40 B: read g, m, v, w and write m, v, w, and one more pass over u and w for the norms"


def resnet_shapes(name: str) -> list[torch.Size]:
    import torchvision

    with torch.device("meta"):
        return [param.shape for param in getattr(torchvision.models, name)(num_classes=10).parameters()]


def transformer_shapes(blocks: int, width: int, vocabulary: int, positions: int) -> list[torch.Size]:
    """A transformer's parameters as BERT has them: embeddings, then attention, two linear layers and their norms."""
    block = [*4 * [(width, width), (width,)], (4 * width, width), (4 * width,), (width, 4 * width), (width,)]
    block += 4 * [(width,)]
    shapes = [(vocabulary, width), (positions, width), *2 * [(width,)], *blocks * block]
    return [torch.Size(shape) for shape in shapes]


TRANSFORMERS: dict[str, tuple[int, Callable[[int], list[torch.Size]]]] = {
    "bert-large": (24, lambda blocks: transformer_shapes(blocks, 1024, 30522, 512)),
    "transformer-1b": (24, lambda blocks: transformer_shapes(blocks, 1792, 50304, 2048)),
}
MODELS = ["resnet18", "resnet50", *TRANSFORMERS]


def shapes_that_fit(model: str, parameters: float) -> tuple[str, list[torch.Size]]:
    """The model's name, with how many of its blocks if that is not all, and shapes of at most so many parameters."""
    if model not in TRANSFORMERS:
        return model, resnet_shapes(model)
    most, shapes = TRANSFORMERS[model]
    blocks = next((n for n in range(most, 0, -1) if sum(shape.numel() for shape in shapes(n)) <= parameters), 1)
    return model if blocks == most else f"{model} with {blocks} of its {most} blocks", shapes(blocks)


def free_memory(device: str) -> int:
    """Bytes that can still be allocated."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class NotCompiled(LAMBC):
    """As where the C++ step has not been built."""

    def _takes_compiled(self, group: dict[str, Any], device: torch.device) -> bool:
        return False


def contestants(device: str) -> Iterator[tuple[str, str, Callable[[list[torch.Tensor]], torch.optim.Optimizer]]]:
    """Name, bytes a float32 parameter ('-' where not counted), and how to make it. The first is the yardstick."""
    yield "torch AdamW(fused)", "28", lambda params: torch.optim.AdamW(params, fused=True)
    yield "torch AdamW(foreach)", "72", lambda params: torch.optim.AdamW(params, foreach=True)
    yield "LAMBC (default)", "56", lambda params: NotCompiled(params)
    if device == "cpu" and compiled.library() is not None:
        yield "LAMBC (default), compiled", "40", lambda params: LAMBC(params)
    if device == "cuda":
        yield "LAMBC(fused=True), Triton", "40", lambda params: LAMBC(params, fused=True)
    yield "LAMBC(foreach=True)", "92", lambda params: LAMBC(params, foreach=True)
    yield "LAMBC(foreach=False)", "-", lambda params: LAMBC(params, foreach=False)
    if importlib.util.find_spec("timm"):
        from timm.optim import Lamb

        yield "timm Lamb (defaults)", "-", lambda params: Lamb(params)
        yield (
            "timm Lamb(trust_clip, no grad clip)",
            "-",
            lambda params: Lamb(params, max_grad_norm=None, trust_clip=True, always_adapt=True, weight_decay=0.0),
        )
    if importlib.util.find_spec("pytorch_optimizer"):
        import pytorch_optimizer

        yield "pytorch_optimizer Lamb", "-", lambda params: pytorch_optimizer.Lamb(params)
    if importlib.util.find_spec("torch_optimizer"):
        import torch_optimizer

        yield "torch_optimizer Lamb", "-", lambda params: torch_optimizer.Lamb(params)
    if device == "cuda" and importlib.util.find_spec("apex"):
        from apex.optimizers import FusedLAMB

        yield "apex FusedLAMB", "52", lambda params: FusedLAMB(params, max_grad_norm=0.0, use_nvlamb=True)


def make_params(shapes: list[torch.Size], device: str) -> list[torch.Tensor]:
    params = [torch.nn.Parameter(torch.randn(shape, device=device) * 0.05) for shape in shapes]
    for param in params:
        param.grad = torch.randn_like(param) * 0.01
    return params


def seconds(optimizer: torch.optim.Optimizer, device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    optimizer.step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def extra_memory(optimizer: torch.optim.Optimizer, device: str) -> float:
    """What a step has allocated at its peak, beyond the moments, as a share of the parameters' own size."""
    optimizer.__setstate__(optimizer.__getstate__())  # without buffers that it kept from earlier steps
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        optimizer.step()
        peak = torch.cuda.max_memory_allocated() - before
    else:
        with torch.profiler.profile(profile_memory=True) as profile:
            optimizer.step()
        changes = [event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
        peak = max(accumulate(changes), default=0)
    params = [param for group in optimizer.param_groups for param in group["params"]]
    return peak / sum(param.numel() * param.element_size() for param in params)


def table(model: str, rounds: int, device: str) -> str:
    entries = list(contestants(device))
    # Parameter, gradient and two moments of each, and room for the temporaries of one.
    name, shapes = shapes_that_fit(model, free_memory(device) / (16 * len(entries) + 12) * 0.8)
    optimizers = [make(make_params(shapes, device)) for _, _, make in entries]
    for optimizer in optimizers:
        seconds(optimizer, device)  # the first step makes the state
    times: list[list[float]] = [[] for _ in entries]
    order = random.Random(0)  # each finds the caches as another has left them: not always the same other
    for _ in track(range(rounds), description=model, console=Console(stderr=True), transient=True):
        for index in order.sample(range(len(entries)), len(entries)):
            times[index].append(seconds(optimizers[index], device))
    elements = sum(shape.numel() for shape in shapes)
    lines = [
        f"## {name}: {len(shapes)} tensors, {elements:,} parameters",
        f"{device_name(device)}; torch {torch.__version__}, Python {platform.python_version()}, "
        f"{datetime.now(UTC):%Y-%m-%d}; {rounds} interleaved rounds. Floor: {FLOOR}.",
        "",
        "| optimizer | median ms | × AdamW(fused) | B a parameter | extra memory (× parameters) |",
        "|---|---:|---:|---:|---:|",
    ]
    for (name, traffic, _), optimizer, taken in zip(entries, optimizers, times, strict=True):
        ratio = statistics.median(mine / base for mine, base in zip(taken, times[0], strict=True))
        median, extra = statistics.median(taken) * 1000, extra_memory(optimizer, device)
        lines.append(f"| {name} | {median:.2f} | {ratio:.2f} | {traffic} | {extra:.2f} |")
    return "\n".join(lines) + "\n"


def main(
    model: Annotated[list[str], typer.Option(help=f"One or more of {', '.join(MODELS)}.")] = ["resnet18"],  # noqa: B006
    rounds: Annotated[int, typer.Option(help="Rounds in which each takes one step.")] = 100,
    threads: Annotated[int | None, typer.Option(help="Threads on a CPU.")] = None,
) -> None:
    """Time a step of each optimizer, and write the table to bench/results/."""
    if threads:
        torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tables = [table(each, rounds, device) for each in model]
    RESULTS.mkdir(exist_ok=True)
    claim = (__doc__ or "").split("\n\n")[0]
    (RESULTS / f"optimizer_step_{device}.md").write_text("\n".join([f"# A step\n\n{claim}\n", *tables]))
    print("\n".join(tables))


if __name__ == "__main__":
    typer.run(main)
