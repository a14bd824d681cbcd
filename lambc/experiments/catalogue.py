"""The paper's experiments, and those that it leaves open, as settings. Needs no torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Literal, TypeAlias

from lambc.experiments.settings import RATES, Settings

ScaleName: TypeAlias = Literal["small", "medium", "full"]
Arm: TypeAlias = dict[str, Any]
"""The `Settings` by which an arm differs from the others of its experiment."""

LAMB: Arm = {"clip": None}
CLIP_1: Arm = {"clip": 1.0}
AUTHORS: Arm = {"bias_correction": False, "reset_optimizer_each_epoch": True}
"""The authors' published code, where the printed Algorithm 1 says otherwise."""


@dataclass(frozen=True)
class ReproducedRun(Settings):
    """A run of an experiment; its config says what was made smaller.

    experiment: a key of `EXPERIMENTS`.
    divided: the paper's batch size is so many times this one's.
    """

    experiment: str = ""
    divided: int = 1


@dataclass(frozen=True)
class Scale:
    """How large an experiment is.

    seeds: how many, from 0 on. divided: as in `ReproducedRun`. everywhere: run the side arms at every batch
    size, rather than at the smallest alone. settings: further ones of a run. authors: of arms that follow the authors'
    code.
    """

    epochs: int
    seeds: int
    divided: int = 1
    everywhere: bool = True
    settings: Arm = field(default_factory=dict)
    authors: Arm = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """Arms that are trained with so many seeds at these batch sizes, before those of the next part."""

    arms: Sequence[Arm]
    batch_sizes: Sequence[int]
    seeds: int


@dataclass(frozen=True)
class Experiment:
    """What is compared, and on what.

    question: what it answers, with the paper's section. arms: what the paper compares. side_arms: what we compare
    beside it. settings: of all arms. choices: what the paper leaves open and this experiment had to choose. medium: for
    the experiments that have it. parts: instead of arms and batch sizes, where some need more seeds than others.
    """

    title: str
    question: str
    data: str
    full: Scale
    small: Scale
    medium: Scale | None = None
    batch_sizes: Sequence[int] = ()
    arms: Sequence[Arm] = ()
    side_arms: Sequence[Arm] = ()
    parts: Sequence[Part] = ()
    settings: Arm = field(default_factory=dict)
    choices: Sequence[str] = ()


# A 50th of CIFAR-10 and of the batch sizes keeps the steps an epoch; one CPU core trains some 100 such images a second.
SMALL = Scale(epochs=2, seeds=3, divided=50, everywhere=False, settings={"stem": "torchvision", "images": 1000})

# A tenth of CIFAR-10 and of the batch sizes, and a network of an eighth of the width on images of half the side: the
# paper's steps and epochs, in some 3 minutes a run on one core.
MEDIUM = Scale(
    epochs=80,
    seeds=5,
    divided=10,
    everywhere=False,
    settings={
        "images": 5000,
        "test_images": 2500,
        "pixels": 16,
        "width": 8,
        "augment": True,
        "record_every": 25,
        "averaged_epochs": 10,
    },
)

FULL = Scale(epochs=80, seeds=5, settings={"averaged_epochs": 10}, authors={"augment": True, "init": "torch"})

LINEAR: Arm = {"schedule": "linear"}
ADAM: Arm = {"clip": (1.0, 1.0)}
"""Every ratio is 1, so that the step is Adam's."""

CONTROLS: Sequence[Arm] = (
    *(arm | LINEAR for arm in (CLIP_1, LAMB)),
    {"clip": "norm:1,other:none"},
    {"clip": "conv:1,other:none"},
    ADAM,
    *(LAMB | {"replay": by} for by in ("layer", "kind", "all")),
)
"""Arms that each take one explanation of what clipping does away."""

OTHERS: Sequence[Arm] = (
    *(arm | LINEAR | {"lr": lr} for lr in (3e-3, 3e-2) for arm in (CLIP_1, LAMB)),
    *(arm | {"exempt_1d": True} for arm in (CLIP_1, LAMB)),
    *(arm | AUTHORS for arm in (CLIP_1, LAMB)),
)

NO_BATCH_SIZE = "The paper names no batch size for this experiment: 1000, the smallest of its first."

EXPERIMENTS = {
    "table1": Experiment(
        title="Table 1 and Figure 1",
        question="Does clipping the trust ratios at 1 help ResNet-18 on CIFAR-10, at three batch sizes (§4.1)?",
        data="cifar10",
        batch_sizes=(1000, 2000, 3000),
        arms=(CLIP_1, LAMB),
        side_arms=(CLIP_1 | AUTHORS, LAMB | AUTHORS, CLIP_1 | {"exempt_1d": True}, LAMB | {"exempt_1d": True}),
        full=FULL,
        small=SMALL,
        medium=MEDIUM,
    ),
    "figure2": Experiment(
        title="Figure 2",
        question="Which upper bound is best: 1, 3, 5, 10 or none (§4.2)?",
        data="cifar10",
        batch_sizes=(1000,),
        arms=tuple({"clip": bound} for bound in (1.0, 3.0, 5.0, 10.0, None)),
        side_arms=tuple(AUTHORS | {"clip": bound} for bound in (1.0, 3.0, 5.0, 10.0, None)),
        full=FULL,
        small=SMALL,
        medium=replace(MEDIUM, seeds=3),
        choices=(NO_BATCH_SIZE,),
    ),
    "figure3": Experiment(
        title="Figure 3",
        question="Does clipping help on ImageNet, scaled down to 64×64 pixels (§4.3)?",
        data="imagenet64:data/imagenet64",
        batch_sizes=(400,),
        arms=(CLIP_1, LAMB),
        full=Scale(epochs=40, seeds=1),
        small=replace(SMALL, divided=20),
        choices=(
            "The paper names no number of epochs for ImageNet: 40.",
            "The paper names no bound for ImageNet: 1, the best of §4.2.",
        ),
    ),
    "bounds": Experiment(
        title="Bounds that move, and bounds by kind of layer",
        question="Is a bound that changes in time, or from layer to layer, better than a fixed one (§3.2, §4.2, §5)?",
        data="cifar10",
        batch_sizes=(1000,),
        arms=tuple(
            {"clip": bound} for bound in (1.0, None, "scheduled:10:1", "dynamic:1", "deviation:3", "1-d:10,other:1")
        ),
        full=FULL,
        small=SMALL,
        medium=replace(MEDIUM, seeds=3),
        choices=(NO_BATCH_SIZE, "The paper names no numbers for its adaptive bounds: these are ours."),
    ),
    "mechanism": Experiment(
        title="What clipping at 1 does",
        question="Does clipping at 1 help; is it the bound or a smaller rate; which layers carry it (§4.2)?",
        data="cifar10",
        parts=(
            Part((CLIP_1, LAMB), (1000,), seeds=8),
            Part(CONTROLS, (1000,), seeds=5),
            Part(OTHERS, (1000,), seeds=3),
            Part((CLIP_1, LAMB), (2000, 3000), seeds=5),
        ),
        full=FULL,
        small=SMALL,
        medium=MEDIUM,
        choices=("The paper has none of the controls: they are ours.",),
    ),
    "large-batch": Experiment(
        title="Batches above 8K",
        question="What does clipping do to large batches, beside LARS and AdamW (§5)?",
        data="cifar10",
        batch_sizes=(8192, 16384),
        arms=(
            CLIP_1,
            LAMB,
            {"rule": "lars", "clip": None, "lr": RATES["lars"]},
            {"rule": "adamw", "clip": None, "lr": RATES["adamw"]},
        ),
        settings={"warmup_epochs": 2.0},
        full=Scale(epochs=80, seeds=3),
        small=replace(SMALL, divided=64),
        choices=(
            "The paper did not train with such batches: a warm-up over 2 epochs and the other rules' lr are ours.",
            "No rule's lr was tuned, so this says how they do at these settings, not at their best.",
        ),
    ),
    "language-model": Experiment(
        title="A language model",
        question="What does clipping do beyond images (§5)?",
        data="topics",
        batch_sizes=(64,),
        arms=(CLIP_1, LAMB),
        settings={"model": "transformer"},
        full=Scale(epochs=10, seeds=5),
        small=Scale(epochs=2, seeds=3),
        choices=("The paper trained no language model: data, network and settings are ours.",),
    ),
}
"""By the name that the command takes."""


def plan(
    experiment: str,
    scale: ScaleName,
    *,
    data: str | None = None,
    seeds: int | None = None,
    epochs: int | None = None,
    device: str = "auto",
) -> list[ReproducedRun]:
    """The runs of an experiment, seed by seed, so that what is cut short has whole comparisons.

    data, seeds, epochs: other than the experiment's own.

    Raises ValueError, in one sentence, for a setting that makes no sense.
    """
    described = EXPERIMENTS[experiment]
    size: Scale | None = getattr(described, scale)
    if size is None:
        others = ", ".join(name for name, each in EXPERIMENTS.items() if getattr(each, scale))
        raise ValueError(f"{experiment} has no scale {scale!r}: give small or full, or one of {others}")
    if seeds is not None and seeds < 1:
        raise ValueError(f"seeds={seeds}: run at least 1 seed")
    taken = size.epochs if epochs is None else epochs
    runs = []
    for seed, batch_size, arm in _cells(described, size, seeds):
        settings: dict[str, Any] = {**described.settings, **size.settings, **arm}
        if arm.items() >= AUTHORS.items():
            settings |= size.authors
        settings["warmup_epochs"] = min(settings.get("warmup_epochs", 0.0), taken)
        settings["averaged_epochs"] = min(settings.get("averaged_epochs", 0), taken)
        runs.append(
            ReproducedRun(
                **settings,
                data=data or described.data,
                batch_size=max(2, batch_size // size.divided),
                epochs=taken,
                seed=seed,
                device=device,
                experiment=experiment,
                divided=size.divided,
            )
        )
    return runs


def beside(experiment: str, scale: ScaleName, **settings: Any) -> list[ReproducedRun]:
    """The runs of all other experiments at this scale, of one seed."""
    others = [name for name, each in EXPERIMENTS.items() if name != experiment and getattr(each, scale)]
    return [run for name in others for run in plan(name, scale, seeds=1, **settings)]


def _cells(described: Experiment, size: Scale, seeds: int | None) -> Iterator[tuple[int, int, Arm]]:
    """Seed, the paper's batch size and arm of each run."""
    for part in described.parts:
        for seed, batch_size in product(range(seeds or part.seeds), part.batch_sizes):
            yield from ((seed, batch_size, arm) for arm in part.arms)
    for seed, batch_size in product(range(seeds or size.seeds), described.batch_sizes):
        side_arms = described.side_arms if size.everywhere or batch_size == min(described.batch_sizes) else ()
        yield from ((seed, batch_size, arm) for arm in (*described.arms, *side_arms))
