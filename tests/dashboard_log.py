"""A small log for the tests of the dashboard: real runs of a real network, told apart by what became of them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import torch
from torch import nn

from collector import Collector
from lambc import LAMB, LAMBC
from tests.preloaded import run_preloaded

HOSTILE = 'a <script>alert(1)</script> "run" $x$ :red[no] *b* 🙂 שלום'.replace("/", "∕")
"""A run's name is a folder's, so its slash is not one."""

HOSTILE_LAYER = "<b onclick=alert(1)>layer</b> <img src=x> %{y} " + "long" * 110

KILLED = """
import os, sys
from tests.dashboard_log import Training
training = Training(sys.argv[1], "killed", clip=0.2)
training.steps(12)
training.collector.flush()
os._exit(9)
"""


class Network(nn.Module):
    """Three layers of weights, three of biases."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 16)
        self.middle = nn.Linear(16, 16)
        self.last = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.middle(self.first(x).relu()).relu())


class Training:
    """A run that goes on for as long as a test wants it to."""

    def __init__(
        self, root: str | Path, name: str, clip: float | tuple[float, float] | None, hostile_layer: bool = False
    ):
        torch.manual_seed(0)
        self.network = Network()
        named = list(self.network.named_parameters())
        if hostile_layer:
            named[0] = (HOSTILE_LAYER, named[0][1])
        self.optimizer = LAMB(named, lr=0.02) if clip is None else LAMBC(named, lr=0.02, clip=clip)
        config = {
            "model": "three-layers",
            "data": "noise",
            "batch_size": 32,
            "optimizer": "LAMBC",
            "clip": clip,
            "lr": 0.02,
        }
        self.collector = Collector(self.optimizer, root, name=name, config=config, flush_seconds=600)
        self.x = torch.randn(256, 6)
        self.y = (self.x[:, 0] > 0).long() + (self.x[:, 1] > 0.5).long()

    def steps(self, count: int) -> None:
        for _ in range(count):
            batch = torch.randint(len(self.x), (32,))
            output = self.network(self.x[batch])
            loss = nn.functional.cross_entropy(output, self.y[batch])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            epoch = 1 + (self.collector.step - 1) // 8
            self.collector.log({"train/loss": loss.detach(), "train/accuracy": self._accuracy(batch)}, epoch=epoch)
            if self.collector.step % 8 == 0:
                everything = torch.arange(len(self.x))
                self.collector.log(
                    {"test/accuracy": self._accuracy(everything), "test/loss": loss.detach()}, epoch=epoch
                )

    def _accuracy(self, rows: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return (self.network(self.x[rows]).argmax(1) == self.y[rows]).float().mean()


def build(root: Path) -> Path:
    """Runs that finished, failed, were killed, and one whose names are hostile."""
    for name, clip in (("lamb", None), ("clipped", 0.2), ("between", (0.1, 0.2))):
        training = Training(root, name, clip)
        training.steps(40)
        training.collector.close()
    training = Training(root, "failed", 1.0)
    try:
        with training.collector:
            training.steps(10)
            raise RuntimeError("out of memory in <layer>")
    except RuntimeError:
        pass
    training = Training(root, HOSTILE, 1.0, hostile_layer=True)
    training.steps(20)
    training.collector.close()
    run_preloaded(KILLED, root)
    silence(root / "killed", timedelta(minutes=4))
    return root


def silence(run: Path, ago: timedelta) -> None:
    """Set a run's last sign of life back in time."""
    beat = json.loads((run / "heartbeat").read_text())
    beat["time"] = (datetime.now(UTC) - ago).isoformat(timespec="microseconds")
    (run / "heartbeat").write_text(json.dumps(beat))
