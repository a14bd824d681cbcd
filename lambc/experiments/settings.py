"""The settings of a training run. Needs no torch, so that the command's help can say the defaults at once."""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from lambc.experiments.clip_text import Clip, parse_clip, spell, spell_number

SOURCES = ("digits", "fashion-mnist", "cifar10", "topics", "parquet:FOLDER", "folder:FOLDER", "imagenet64:FOLDER")
"""What `lambc.experiments.data.sources.load` knows."""

Stem: TypeAlias = Literal["auto", "3x3", "torchvision"]
Rule: TypeAlias = Literal["lamb", "lars", "adamw"]
Model: TypeAlias = Literal["resnet18", "transformer"]
Init: TypeAlias = Literal["torchvision", "torch"]
Schedule: TypeAlias = Literal["constant", "linear"]
Replay: TypeAlias = Literal["layer", "kind", "all"]

TEXTS = ("topics",)
"""The sources that are text, which a transformer reads; all others are images."""


RATES: dict[Rule, float] = {"lamb": 1e-2, "lars": 10.0, "adamw": 1e-3}
"""Learning rates to begin with: §4.1's; what moves a layer as far with LARS's coefficient of 1e-3; and torch's own."""

WHOLE_TEST_EPOCHS = 5
"""In so many last epochs the whole test set is measured on, also where `test_images` limits it."""


@dataclass(frozen=True)
class Settings:
    """The settings of one training run; two runs with equal settings do the same on a CPU, bit for bit.

    data: one of `SOURCES`.
    model: `resnet18` for images, `transformer` for text.
    batch_size: images a step. The last, smaller batch of an epoch is used too: §4.1 has 17 steps an epoch at 3000.
    rule: what takes the step: LAMB, LARS or AdamW.
    clip: an upper bound on the trust ratios, a pair (lower, upper), None for no clipping, or the text of another bound,
        which `lambc.experiments.clip_text.parse_clip` has. AdamW has no trust ratio, so it takes None alone.
    lr, weight_decay: §4.1 uses 1e-2 and names no weight decay; other rules need another lr, as in `RATES`.
    warmup_epochs: over so many epochs lr grows by equal parts from one such part to its value, where it stays; §4.1
        names none.
    schedule: `constant`, or `linear`: lr falls by equal parts from its value at the first step (after a warm-up) to one
        such part at the last.
    replay: take the learning rates from the log of the run that differs in `clip=1` alone (`source`): its relative
        step, by epoch, as a mean of each `layer`, of each `kind` of layer, or of `all` layers. Needs `clip=None`, under
        which the relative step of LAMB is its lr.
    exempt_1d: take the steps of tensors of one dimension (biases, normalisation) at a ratio of 1.
    bias_correction: False leaves it out of LAMB's moments, as the authors' published code does.
    reset_optimizer_each_epoch: begin each epoch with moments and bounds as they were before the first step, as the
        authors' published code does, which makes a new optimizer.
    stem: the first layer, for `lambc.experiments.models.resnet18`.
    width: channels of ResNet-18's first blocks; those after them have 2, 4 and 8 times as many.
    init: first weights of the convolutions: torchvision's, or torch's default, which the authors' code has.
    pixels: shrink the images to so many pixels a side, each the mean of a square; None for images as they are.
    images: train on at most so many images, evenly spread over the data set, and test with as many; None for all.
    test_images: test on so many images, evenly spread, and in the last 5 epochs on all.
    augment: flip and move the training images at random, if they are in colour; the paper names no augmentation.
    seed: of the initial weights, the order of the images and the augmentation.
    device: `cpu`, `cuda`, `cuda:1`, …, or `auto` for the first accelerator there is.
    compile: have torch.compile make the network's forward and backward pass; on a GPU with CUDA graphs.
    record_every: log the trust ratios of step 1 and of every so many steps, and, above 1, loss and accuracy of training
        once an epoch.
    averaged_epochs: in so many last epochs measure the weights also with batch normalisation's statistics taken afresh,
        and at the end so the mean of these weights. 0 for neither.

    Raises ValueError, in one sentence, for a setting that makes no sense; what concerns the optimizer or the device,
    `lambc.experiments.train.check` looks at.
    """

    data: str = "digits"
    model: Model = "resnet18"
    batch_size: int = 128
    epochs: int = 10
    rule: Rule = "lamb"
    clip: Clip = 1.0
    lr: float = RATES["lamb"]
    weight_decay: float = 0.0
    warmup_epochs: float = 0.0
    schedule: Schedule = "constant"
    replay: Replay | None = None
    exempt_1d: bool = False
    bias_correction: bool = True
    reset_optimizer_each_epoch: bool = False
    stem: Stem = "auto"
    width: int = 64
    init: Init = "torchvision"
    pixels: int | None = None
    images: int | None = None
    test_images: int | None = None
    augment: bool = False
    seed: int = 0
    device: str = "auto"
    compile: bool = False
    record_every: int = 1
    averaged_epochs: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.clip, str):
            object.__setattr__(self, "clip", parse_clip(self.clip))  # a bound has one spelling
        for setting, choices in _CHOICES.items():
            if (value := getattr(self, setting)) not in choices:
                raise ValueError(f"{setting}={value!r}: give one of {', '.join(each or 'none' for each in choices)}")
        if self.batch_size < 2:
            raise ValueError(f"batch_size={self.batch_size}: batch norm needs at least 2 images in a batch")
        if self.epochs < 1:
            raise ValueError(f"epochs={self.epochs}: train for at least 1 epoch")
        for setting in ("width", "pixels", "images", "test_images", "record_every"):
            if (value := getattr(self, setting)) is not None and value < 1:
                raise ValueError(f"{setting}={value}: give a whole number, 1 or more")
        if not 0 <= self.averaged_epochs <= self.epochs:
            raise ValueError(f"averaged_epochs={self.averaged_epochs}: give from 0 to all {self.epochs} epochs")
        if not 0 <= self.warmup_epochs <= self.epochs:
            raise ValueError(f"warmup_epochs={self.warmup_epochs}: a warm-up takes from 0 to all {self.epochs} epochs")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed={self.seed}: a seed lies in [0, 2^63)")
        self._check_rule()
        if (self.model == "transformer") != (self.data in TEXTS):
            other = "resnet18" if self.model == "transformer" else "transformer"
            raise ValueError(f"model={self.model!r} cannot read data={self.data!r}: give model={other!r}")
        for setting in ("stem", "width", "init", "pixels", "images", "test_images", "augment", "averaged_epochs"):
            if self.model == "transformer" and (value := getattr(self, setting)) != _DEFAULTS[setting]:
                raise ValueError(f"{setting}={value!r}: a text has no images, so leave it out")

    def _check_rule(self) -> None:
        if self.rule == "adamw" and self.clip is not None:
            raise ValueError(f"clip={spell(self.clip)!r}: adamw has no trust ratio to clip, so give none")
        if self.rule == "adamw" and self.exempt_1d:
            raise ValueError("exempt_1d=True: adamw adapts no layer, so leave it out")
        if self.rule != "lars" and "larc" in spell(self.clip):
            raise ValueError(f"clip={spell(self.clip)!r}: only LARS can bound a ratio so: give --rule lars")
        if self.replay and (self.rule, self.clip, self.schedule) != ("lamb", None, "constant"):
            raise ValueError(f"replay={self.replay!r}: only lamb replays rates, with clip=none and a constant schedule")
        if self.rule != "lamb" and not self.bias_correction:
            raise ValueError(f"bias_correction=False: only lamb can do without, and the rule is {self.rule}")

    @property
    def optimizer(self) -> str:
        """What the optimizer is called in run.json: `lamb`, `lambc` (LAMB that clips), `lars` or `adamw`."""
        return "lambc" if self.rule == "lamb" and self.clip is not None else self.rule

    @property
    def source(self) -> str | None:
        """The name of the run whose rates a replay takes; None for any other run."""
        return replace(self, replay=None, clip=1.0).name if self.replay else None

    @property
    def name(self) -> str:
        """A name for the run: data, batch size, rule, clipping, then what differs from the defaults, and the seed.

        Runs with different settings have different names, but for the place of a data set's folder.
        """
        parts = [short_name(self.data), f"b{self.batch_size}"]
        if self.rule != "lamb":
            parts.append(self.rule)
        if self.rule != "adamw":
            parts.append(_clip_name(self.clip))
        for setting, prefix in _NAMED.items():
            if (value := getattr(self, setting)) != _DEFAULTS[setting]:
                parts.append(f"{prefix}{_value_name(value)}")
        return "-".join([*parts, f"s{self.seed}"])

    def config(self, device: str) -> dict[str, Any]:
        """What run.json says under `config`; `device` is the one that `auto` became."""
        return asdict(self) | {"optimizer": self.optimizer, "device": device}


_DEFAULTS = {field.name: field.default for field in fields(Settings)}

_CHOICES = {
    "rule": get_args(Rule),
    "model": get_args(Model),
    "schedule": get_args(Schedule),
    "replay": (*get_args(Replay), None),
    "stem": get_args(Stem),
    "init": get_args(Init),
}

_NAMED = {
    "model": "",
    "lr": "lr",
    "weight_decay": "wd",
    "warmup_epochs": "warmup",
    "schedule": "",
    "replay": "replay-",
    "epochs": "e",
    "exempt_1d": "exempt1d",
    "bias_correction": "uncorrected",
    "reset_optimizer_each_epoch": "reset",
    "stem": "stem-",
    "width": "w",
    "init": "init-",
    "pixels": "px",
    "augment": "augment",
    "compile": "compile",
    "device": "",
    "record_every": "every",
    "averaged_epochs": "avg",
    "test_images": "test",
    "images": "n",
}
"""What stands in a run's name before the value of a setting that is not the default; a switch has no value."""


def short_name(source: str) -> str:
    """What a run's name calls a data set: `parquet:/a/folder` is `folder`, a source without a folder is itself."""
    kind, _, folder = source.partition(":")
    return Path(folder).resolve().name if folder else kind


def _clip_name(clip: Clip) -> str:
    if clip is None:
        return "noclip"
    text = spell(clip).replace(":", "-").replace(",", "-")
    return f"clip-{text}" if isinstance(clip, str) else f"clip{text}"


def _value_name(value: Any) -> str:
    if isinstance(value, bool):
        return ""
    return spell_number(value) if isinstance(value, float) else str(value).replace(":", "")
