"""Claim: to record AdamW from outside at every 100th step costs less than 3 % of the optimizer's own step; and with the
norms of the gradients a step of LAMBC takes at most 1.2 times as long as without.

ResNet-18 (11.2 million weights), AdamW's fused step on gradients that stay as they are: steps that are recorded
with and without a look at the optimizer's state, steps that are only counted and steps without an observer take turns
in one process, and so do LAMBC's steps, recorded with and without the norms of the gradients. A difference is the
median of the rounds' differences, a ratio that of their ratios.

    python bench/observer.py --steps 300

On a GPU each step is timed to its end, on the device.
"""

import copy
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import torch
import typer
from torchvision.models import resnet18

from collector.recording.counting import StepCount
from collector.recording.environment import device_name
from collector.recording.observer import Observer
from collector.recording.selection import Selection
from lambc import LAMBC

RESULTS = Path(__file__).parent / "results"


def main(steps: Annotated[int, typer.Option(min=10)] = 300) -> None:
    """Measure, print and save."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    model = resnet18(num_classes=10).to(device)
    for param in model.parameters():
        param.grad = torch.randn_like(param) * 1e-3
    lambc = LAMBC(copy_of(model).named_parameters(), lr=1e-3)
    optimizer = torch.optim.AdamW(model.named_parameters(), lr=1e-3, fused=True)
    seldom, always, unproven = Selection(every=10**9), Selection(), Observer(optimizer, Selection())
    unproven._adapts = None
    with_gradients = Observer(optimizer, always, gradients=True)
    observers = [
        None,
        Observer(optimizer, seldom, StepCount(optimizer, 1)),
        Observer(optimizer, always),
        unproven,
        with_gradients,
    ]
    taken: list[list[float]] = [[] for _ in observers]
    asked: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(steps + 5):
        for observer, times in zip(observers, taken, strict=True):
            handle = observer and observer.register_trust_ratio_hook(lambda record: None)
            times.append(seconds(optimizer))
            if handle:
                handle.remove()
        for gradients, times in asked.items():
            handle = lambc.register_trust_ratio_hook(lambda record: None, gradients=gradients)
            times.append(seconds(lambc))
            handle.remove()
    alone, *observed = (times[5:] for times in taken)
    own = statistics.median(alone)
    extra = [median_difference(times, alone) for times in observed]
    without, with_norms = (times[5:] for times in asked.values())
    ratio = statistics.median(b / a for a, b in zip(without, with_norms, strict=True))
    at_100 = extra[1] / 100 + extra[0]
    lines = [
        "# Recording an optimizer from outside\n",
        (__doc__ or "").split("\n\n")[0] + "\n",
        f"{device_name(device)}; torch {torch.__version__}, {datetime.now(UTC):%Y-%m-%d}; "
        f"{steps} steps of each kind.\n",
        "| | µs a step | share of AdamW's step |",
        "|---|---:|---:|",
        *(
            f"| {name} | {value * 1e6:,.0f} | {value / own:.1%} |"
            for name, value in (
                ("AdamW's fused step alone", own),
                ("more for a step that is recorded (every=1)", extra[1]),
                ("the same without a look at the state", extra[2]),
                ("the same with a look at it, and with the norms of the gradients", extra[3]),
                ("more for a step that is only counted", extra[0]),
                ("more at every=100", at_100),
            )
        ),
        "",
        "| LAMBC, recorded by its hook | µs a step | ratio |",
        "|---|---:|---:|",
        f"| without the norms of the gradients | {statistics.median(without) * 1e6:,.0f} | 1.00 |",
        f"| with them (`gradients=True`) | {statistics.median(with_norms) * 1e6:,.0f} | {ratio:.2f} |",
    ]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"observer_{device}.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def copy_of(model: torch.nn.Module) -> torch.nn.Module:
    """Another model with the same gradients."""
    other = copy.deepcopy(model)
    for param, given in zip(other.parameters(), model.parameters(), strict=True):
        param.grad = None if given.grad is None else given.grad.clone()
    return other


def seconds(optimizer: torch.optim.Optimizer) -> float:
    """The time of one step."""
    start = time.perf_counter()
    optimizer.step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def median_difference(times: list[float], alone: list[float]) -> float:
    return statistics.median(a - b for a, b in zip(times, alone, strict=True))


if __name__ == "__main__":
    typer.run(main)
