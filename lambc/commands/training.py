"""`lambc train`, and what the other commands that train share with it."""

import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from lambc.commands.keeping import RUNS, RunsFolder
from lambc.commands.needs import need
from lambc.commands.terminal import err, fail, out, percent
from lambc.experiments.settings import RATES, SOURCES, TEXTS, Init, Model, Replay, Rule, Schedule, Settings, Stem

if TYPE_CHECKING:
    from lambc.experiments.data.sources import Data


def train(
    data: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help=f"One of {', '.join(f'`{source}`' for source in SOURCES)}.",
        ),
    ] = Settings.data,
    data_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder of `fashion-mnist` or `cifar10`.", show_default="data"),
    ] = None,
    model: Annotated[
        Model | None, typer.Option(help="The network.", show_default="resnet18, or transformer for text")
    ] = None,
    batch_size: Annotated[
        int, typer.Option(help="Number of images, or of pieces of text, in each step.")
    ] = Settings.batch_size,
    epochs: Annotated[int, typer.Option(help="Number of passes over the training data.")] = Settings.epochs,
    rule: Annotated[Rule, typer.Option(help="The rule of the optimizer.")] = Settings.rule,
    clip: Annotated[
        str | None,
        typer.Option(
            metavar="BOUND",
            help="What the trust ratios are clipped to: an upper bound (`1`), a lower and an upper one (`0.5,3`), "
            "`none`, or a bound that moves; see above.",
            show_default=f"{Settings.clip}, or none for adamw",
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            help="Learning rate.", show_default=", ".join(f"{rate:g} for {rule}" for rule, rate in RATES.items())
        ),
    ] = None,
    warmup_epochs: Annotated[
        float, typer.Option(help="Number of epochs over which the learning rate grows to its value, where it stays.")
    ] = Settings.warmup_epochs,
    schedule: Annotated[
        Schedule, typer.Option(help="`linear`: after the warm-up, the learning rate falls to 0 by equal parts.")
    ] = Settings.schedule,
    replay: Annotated[
        Replay | None,
        typer.Option(
            help="Train without a bound, but at the learning rates that the bound of 1 had in effect: in each epoch, "
            "the mean relative step of each `layer`, each `kind` of layers, or `all` layers of the run that has these "
            "settings and clip 1. That run must have finished in the same folder. Needs `--clip none`.",
            show_default="none",
        ),
    ] = None,
    weight_decay: Annotated[
        float, typer.Option(help="Weight decay λ, which is added to the update.")
    ] = Settings.weight_decay,
    exempt_1d: Annotated[
        bool, typer.Option("--exempt-1d", help="Give biases and normalisation layers the ratio 1.")
    ] = Settings.exempt_1d,
    bias_correction: Annotated[
        bool, typer.Option(help="Correct the bias of LAMB's moments.")
    ] = Settings.bias_correction,
    reset_optimizer_each_epoch: Annotated[
        bool, typer.Option("--reset-optimizer-each-epoch", help="Begin each epoch with fresh moments and bounds.")
    ] = Settings.reset_optimizer_each_epoch,
    seed: Annotated[int, typer.Option(help="Seed of initial weights, order and augmentation.")] = Settings.seed,
    device: Annotated[
        str, typer.Option(help="`cpu`, `cuda`, `cuda:1`, …; `auto` takes the first accelerator there is.")
    ] = Settings.device,
    stem: Annotated[
        Stem,
        typer.Option(
            help="The first layer: `3x3` for small images, `torchvision`'s 7×7; `auto` takes 3×3 up to 64 pixels."
        ),
    ] = Settings.stem,
    width: Annotated[int, typer.Option(help="Channels of ResNet-18's first blocks.")] = Settings.width,
    init: Annotated[
        Init, typer.Option(help="First weights of the convolutions: torchvision's ResNet's, or torch's default.")
    ] = Settings.init,
    pixels: Annotated[
        int | None, typer.Option(help="Shrink the images to this many pixels a side.", show_default="as they are")
    ] = None,
    images: Annotated[
        int | None, typer.Option(help="Train on at most this many images, and test on as many.", show_default="all")
    ] = None,
    test_images: Annotated[
        int | None,
        typer.Option(help="Test on this many images, and in the last 5 epochs on all.", show_default="as --images"),
    ] = None,
    augment: Annotated[bool, typer.Option(help="Flip and move the training images, if in colour.")] = Settings.augment,
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the network, which takes a minute, for faster steps.")
    ] = Settings.compile,
    record_every: Annotated[
        int, typer.Option(metavar="N", help="Record the trust ratios of every N-th step.")
    ] = Settings.record_every,
    averaged_epochs: Annotated[
        int,
        typer.Option(help="At the end, also test the mean of the weights over this many last epochs."),
    ] = Settings.averaged_epochs,
    runs: RunsFolder = RUNS,
    name: Annotated[str | None, typer.Option(help="The run's name.", show_default="made of its settings")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run if it is there, from its last checkpoint.")
    ] = False,
    keep_weights: Annotated[
        bool, typer.Option("--keep-weights", help="Leave the final weights beside the log, as `weights.pt`.")
    ] = False,
) -> None:
    """Train a network and record every layer's trust ratio at every step.

    Accuracy on the test set is measured after each epoch. The log is the folder `DIR/NAME` of Parquet files; Ctrl-C
    ends the run and keeps what was recorded. `lambc dashboard` shows the run while it trains. Every minute a checkpoint
    is written beside the log, until the run has finished: the same command with `--resume` continues from there, also
    after the process was killed, and leaves a finished run as it is.

    `digits` comes with scikit-learn. `topics` is a text that comes with Python; a transformer learns to predict its
    next bytes. `fashion-mnist` and `cifar10` are downloaded to `--data-dir` unless they are there. `parquet:FOLDER` has
    the layout of Hugging Face's image data sets: `train*.parquet` and `test*.parquet` (or `val*.parquet`), in which
    `img` (or `image`) holds encoded images and `label` their numbers. `folder:FOLDER` holds images as `train/CLASS/…`
    and `test/CLASS/…` (or `val/CLASS/…`), all of one size. `imagenet64:FOLDER` holds the files of downsampled ImageNet.

    A bound can move: `scheduled:10:1` goes from 10 to 1 over the run, and `scheduled:10:1:500` over 500 steps;
    `dynamic:1` is AdaBound's around 1; `deviation:3` allows three standard deviations around a layer's mean ratio;
    `quantile:0.95` is a layer's running quantile; `larc` is NVCaffe's, and needs `--rule lars`. A bound can also depend
    on the kind of layer: `1-d:10,other:1` bounds biases and normalisation by 10, and all else by 1; `norm:1,other:none`
    bounds normalisation's weights alone, and `conv:1,other:none` the convolutions.
    """
    given = dict(locals())
    given["model"] = model or ("transformer" if data in TEXTS else "resnet18")
    given["clip"] = clip or (None if rule == "adamw" else Settings.clip)
    given["lr"] = RATES[rule] if lr is None else lr
    try:
        run = Settings(**{field.name: given[field.name] for field in fields(Settings)})
    except ValueError as error:
        fail(str(error))
    prepare_training()
    from lambc.experiments.ranks import join
    from lambc.experiments.train import WEIGHTS

    try:
        ranks = join(run.device)
    except ValueError as error:
        fail(str(error))
    name = run.name if name is None else name
    if ranks.agreed(lambda: check_run(run, runs, name, resume=resume)):
        if not ranks.rank:
            lost = keep_weights and not (runs / name / WEIGHTS).exists()
            kept = "is kept; its weights were not" if lost else "is kept"
            out.print(f"{escape(name)} in {escape(str(runs))} has finished already, and {kept}.")
        return
    train_run(run, load(run.data, data_dir), runs, name, resume=resume, keep_weights=keep_weights)
    if not ranks.rank:
        out.print(f"The log is in {escape(str(runs / name))}. Look at it with: lambc dashboard {escape(str(runs))}")


def prepare_training() -> None:
    """Fail if what training needs is not installed; to be called before torch is imported."""
    need("train", "torch", "torchvision", "sklearn")
    # GNU OpenMP's threads wait for each other by spinning, on cores that another process may need. Spinning this long,
    # then sleeping, costs 6 % of a step on two idle cores, and takes 30 % off where two such processes share them.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def check_run(run: Settings, runs: Path, name: str, *, resume: bool = False) -> bool:
    """Fail now for what would fail once the data are read; whether the run has finished, so that none are needed."""
    from collector.log.run_folder import check_name
    from lambc.experiments.train import check, has_finished

    try:
        check_name(name)
        check(run)
        if resume:
            return has_finished(run, runs, name)
    except (ValueError, OSError) as error:
        fail(str(error))
    if (runs / name).exists():
        fail(f"there is a run {name!r} in {runs} already: give --resume to go on with it, or another --name or --runs")
    return False


def draws_bars() -> bool:
    """Whether this process shows how far it is: on a terminal, the first of those that torchrun started."""
    return err.is_terminal and os.environ.get("RANK", "0") == "0"


def load(source: str, data_dir: Path | None) -> "Data":
    """The data set, with a progress bar if it has to be decoded."""
    from rich.progress import MofNCompleteColumn, Progress

    from lambc.experiments.data import sources as data

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    try:
        with Progress(*columns, console=err, transient=True, disable=not draws_bars()) as bar:
            task = bar.add_task(f"Reading {escape(source)}", total=None)
            return data.load(source, data_dir, lambda done, total: bar.update(task, completed=done, total=total))
    except data.DataError as error:
        fail(str(error))


def train_run(
    run: Settings, images: "Data", runs: Path, name: str, *, resume: bool = False, keep_weights: bool = False
) -> None:
    """Train with a progress bar, and a line after each epoch."""
    import torch
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from lambc.experiments import train as training
    from lambc.experiments.data import sources as data

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[state]}"))
    bar = Progress(*columns, TimeRemainingColumn(compact=True), console=err, transient=True, disable=not draws_bars())
    task = bar.add_task(escape(name), total=None, state="")

    def report(now: training.Progress) -> None:
        state = f"epoch {now.epoch}/{run.epochs}  {describe(now)}"
        bar.update(task, completed=now.step, total=now.steps, state=state)
        if now.ends_epoch:
            out.print(f"{escape(name)}  {state}  test {percent(now.test_accuracy)}", soft_wrap=True)

    try:
        with bar:
            training.train(run, images, runs, name, report, resume, keep_weights=keep_weights)
    except (data.DataError, OSError, ValueError) as error:
        fail(str(error))
    except torch.OutOfMemoryError:
        fail(f"the device has too little memory for batch_size={run.batch_size}: give a smaller --batch-size")
    except KeyboardInterrupt:
        fail(f"interrupted; what was recorded until then is in {runs / name}, and --resume goes on", code=130)


def describe(now: Any) -> str:
    """Loss, accuracy, speed and hit rate of a `Progress`."""
    return (
        f"loss {now.loss:.3f}  accuracy {percent(now.accuracy)}  {now.examples_per_second:,.0f} {now.unit}/s  "
        f"clipped {percent(now.hit_rate)}"
    )
