"""The settings of a training run. Needs no torch, so that the command's help can say the defaults at once."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

SOURCES = ("digits", "fashion-mnist", "cifar10", "parquet:FOLDER")
"""What `lambc.experiments.data.load` knows, smallest first."""

Stem: TypeAlias = Literal["auto", "3x3", "torchvision"]
Clip: TypeAlias = float | tuple[float, float] | None


@dataclass(frozen=True)
class Run:
    """The settings of one training run; two runs with equal settings do the same on a CPU, bit for bit.

    data: one of `SOURCES`.
    batch_size: images a step. The last, smaller batch of an epoch is used too: §4.1 has 17 steps an epoch at 3000.
    clip: an upper bound on the trust ratios, a pair (lower, upper), or None for LAMB, which clips nothing.
    lr, weight_decay: constant; §4.1 uses 1e-2 and names no weight decay.
    stem: the first layer, for `lambc.experiments.models.resnet18`.
    augment: flip and move the training images at random, if they are in colour; the paper names no augmentation.
    seed: of the initial weights, the order of the images and the augmentation.
    device: `cpu`, `cuda`, `cuda:1`, …, or `auto` for the first accelerator there is.

    Raises ValueError, in one sentence, for a number that makes no sense; what concerns the optimizer or the device,
    `lambc.experiments.train.check` looks at.
    """

    data: str = "digits"
    model: str = "resnet18"
    batch_size: int = 128
    epochs: int = 10
    clip: Clip = 1.0
    lr: float = 1e-2
    weight_decay: float = 0.0
    stem: Stem = "auto"
    augment: bool = False
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.batch_size < 2:
            raise ValueError(f"batch_size={self.batch_size}: batch norm needs at least 2 images in a batch")
        if self.epochs < 1:
            raise ValueError(f"epochs={self.epochs}: train for at least 1 epoch")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed={self.seed}: a seed lies in [0, 2^63)")

    @property
    def optimizer(self) -> str:
        """What the optimizer is called in run.json: `lamb` or `lambc`."""
        return "lamb" if self.clip is None else "lambc"

    @property
    def name(self) -> str:
        """A name for the run: data, batch size, clipping, then what differs from the defaults, and the seed."""
        match self.clip:
            case None:
                clip = "noclip"
            case (lower, upper):
                clip = f"clip{lower:g}-{upper:g}"
            case upper:
                clip = f"clip{upper:g}"
        parts = [short_name(self.data), f"b{self.batch_size}", clip]
        defaults = {field.name: field.default for field in fields(self)}
        for prefix, setting in (("lr", "lr"), ("wd", "weight_decay"), ("e", "epochs"), ("stem-", "stem")):
            value = getattr(self, setting)
            if value != defaults[setting]:
                parts.append(f"{prefix}{value:g}" if isinstance(value, float) else f"{prefix}{value}")
        if self.augment:
            parts.append("augment")
        return "-".join([*parts, f"s{self.seed}"])

    def config(self, device: str) -> dict[str, Any]:
        """What run.json says under `config`; `device` is the one that `auto` became."""
        return asdict(self) | {"optimizer": self.optimizer, "device": device}


def short_name(source: str) -> str:
    """What a run's name calls a data set: `parquet:/a/folder` is `folder`, every other source is itself."""
    kind, _, folder = source.partition(":")
    return Path(folder).resolve().name if kind == "parquet" else kind
