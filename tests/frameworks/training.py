"""What the frameworks train in these tests, and what is read in the log afterwards."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from collector import connect
from lambc import LAMBC

LAYERS = ("body.weight", "body.bias", "head.weight", "head.bias")

OPTIMIZERS = {
    "LAMBC": lambda params: LAMBC(params, lr=1e-2, clip=1.0),
    "AdamW": lambda params: torch.optim.AdamW(params, lr=1e-2),
}
"""One that tells its own ratios, and one that is observed."""

OUTCOMES = {"LAMBC": {"free", "upper"}, "AdamW": {"exempt"}}
"""What the log says of their steps: a LAMBC that was taken for another optimizer would be exempt."""


class Model(nn.Module):
    """Two layers, one of which LAMBC clips from the first step on: its bias is all but zero."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 2)
        with torch.no_grad():
            self.body.weight.mul_(10)

    def forward(self, features: Tensor) -> Tensor:
        return self.head(self.body(features).tanh())


def batches(count: int) -> list[Tensor]:
    """Batches of two rows."""
    return list(torch.randn(count, 2, 3, generator=torch.Generator().manual_seed(0)))


def loss_of(output: Tensor) -> Tensor:
    """Something to make smaller."""
    return (output - 1).square().mean()


def steps_taken(optimizer: Any) -> int:
    """How many steps an optimizer took, as it says itself."""
    return max(int(state["step"]) for state in optimizer.state.values())


def steps_in(root: Path) -> dict[str, list[int]]:
    """The steps that the log has of each layer, each as often as it is there."""
    found = connect(root).sql("SELECT layer, list(step ORDER BY step) FROM trust_ratios GROUP BY layer").fetchall()
    return dict(found)


def outcomes_in(root: Path) -> set[str]:
    """What became of all ratios in the log."""
    return {outcome for (outcome,) in connect(root).sql("SELECT DISTINCT outcome FROM trust_ratios").fetchall()}


def whole_log(steps: int, layers: tuple[str, ...] = LAYERS) -> dict[str, list[int]]:
    """`steps_in` a log that has every layer at each of the steps, once."""
    return {layer: [*range(1, steps + 1)] for layer in layers}


def epochs_in(root: Path) -> dict[int, list[int]]:
    """The steps of each epoch in the log."""
    query = "SELECT epoch, list(DISTINCT step ORDER BY step) FROM trust_ratios GROUP BY epoch ORDER BY epoch"
    return dict(connect(root).sql(query).fetchall())


def metrics_in(root: Path) -> dict[str, list[int]]:
    """The steps at which each metric was logged, each as often as it is there."""
    query = "SELECT name, list(step ORDER BY step, time) FROM metrics GROUP BY name ORDER BY name"
    return dict(connect(root).sql(query).fetchall())


def runs_in(root: Path) -> dict[str, tuple[str, str | None]]:
    """Status of each run, and why it failed."""
    query = "SELECT run, status, failure FROM runs ORDER BY run"
    return {run: (status, failure) for run, status, failure in connect(root).sql(query).fetchall()}
