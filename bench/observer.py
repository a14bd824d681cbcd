"""Claim: to record AdamW from outside at every 100th step costs less than 3 % of the optimizer's own step.

ResNet-18 (11.2 million weights), AdamW's fused step on gradients that stay as they are: steps that are recorded, steps
that are only counted and steps without an observer take turns in one process. The difference is the median of the
triples' differences.

    python bench/observer.py --steps 300

On a GPU each step is timed to its end, on the device.
"""

import statistics
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import torch
import typer
from torchvision.models import resnet18

from collector.recording.environment import device_name
from collector.recording.observer import Observer
from collector.recording.selection import Selection

RESULTS = Path(__file__).parent / "results"


def main(steps: Annotated[int, typer.Option(min=10)] = 300) -> None:
    """Measure, print and save."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    model = resnet18(num_classes=10).to(device)
    for param in model.parameters():
        param.grad = torch.randn_like(param) * 1e-3
    optimizer = torch.optim.AdamW(model.named_parameters(), lr=1e-3, fused=True)
    observers = [None, Observer(optimizer, Selection(every=10**9), last_step=1), Observer(optimizer, Selection())]
    taken: list[list[float]] = [[] for _ in observers]
    for _ in range(steps + 5):
        for observer, times in zip(observers, taken, strict=True):
            handle = observer and observer.register_trust_ratio_hook(lambda record: None)
            times.append(seconds(optimizer))
            if handle:
                handle.remove()
    alone, counted, recorded = (times[5:] for times in taken)
    own = statistics.median(alone)
    extra = [median_difference(times, alone) for times in (counted, recorded)]
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
                ("more for a step that is only counted", extra[0]),
                ("more at every=100", at_100),
            )
        ),
    ]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"observer_{device}.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


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
