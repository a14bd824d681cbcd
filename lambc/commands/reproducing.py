"""`lambc reproduce`: the paper's experiments."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from lambc.commands.keeping import home
from lambc.commands.needs import need, refuse_hidden
from lambc.commands.terminal import err, fail, out, percent, say
from lambc.commands.training import prepare_training
from lambc.experiments.catalogue import EXPERIMENTS, ReproducedRun, ScaleName, beside, plan
from lambc.experiments.settings import Settings

if TYPE_CHECKING:
    pass


SECONDS_OF_SPEED = 600.0
"""Over so many the time that is left is estimated; runs take minutes, and end in a measurement without a step."""


def reproduce(
    experiment: Annotated[
        str, typer.Argument(help=f"One of {', '.join(f'`{name}`' for name in EXPERIMENTS)}.", show_default=False)
    ],
    scale: Annotated[
        ScaleName,
        typer.Option(
            help="`small` takes minutes on two CPU cores, `medium` some 3 minutes a run on one; `full` is the paper's."
        ),
    ] = "small",
    data: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Other data, as in `lambc train --data`.", show_default="the paper's"),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder of `fashion-mnist` or `cifar10`.", show_default="data"),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Number of seeds, from 0 on.", show_default="the scale's")] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Number of passes over the data.", show_default="the scale's")
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Number of runs at a time, which share the device; on a CPU, at most one a core.")
    ] = 1,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of CPU threads of each job.", show_default="1 at medium, else the cores over the jobs"
        ),
    ] = None,
    nice: Annotated[
        int, typer.Option(min=0, max=19, help="Niceness of the runs: a higher one gives way to other processes.")
    ] = 0,
    device: Annotated[str, typer.Option(help="The device, as in `lambc train --device`.")] = Settings.device,
    train: Annotated[
        bool,
        typer.Option(
            "--train/--no-train", help="`--no-train`: train nothing, and report on the runs that have finished."
        ),
    ] = True,
    runs: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="The folder of the log.", show_default="runs/EXPERIMENT-SCALE, or runs/medium"
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder of the report.", show_default="reports/EXPERIMENT-SCALE"),
    ] = None,
) -> None:
    """Run an experiment of the paper, and report what the log says.

    `table1` (Figure 1 too), `figure2` and `figure3` are the paper's; `mechanism`, `bounds`, `large-batch` and
    `language-model` ask what the paper leaves open. At the scale `medium` they share runs, in one folder. The same
    command continues where it stopped, and keeps runs that have finished. If a run fails, the report says so, the
    others continue, and the exit code is 1.

    The report is `report.md`, and `report.html` with figures. It says what was scaled down, and shows the SQL that
    computes each number from the log.
    """
    if experiment not in EXPERIMENTS:
        fail(f"there is no experiment {experiment!r}: give one of {', '.join(EXPERIMENTS)}")
    try:
        planned = plan(experiment, scale, data=data, seeds=seeds, epochs=epochs, device=device)
    except ValueError as error:
        fail(str(error))
    shares = scale == "medium"
    folder = Path(home(str(runs or Path("runs") / (scale if shares else f"{experiment}-{scale}"))))
    reported = Path(home(str(report or Path("reports") / f"{experiment}-{scale}")))
    prepare_training()
    refuse_hidden("app")
    need("app", "plotly", "pandas")
    others = beside(experiment, scale, data=data, epochs=epochs, device=device) if shares else []
    check_reproduction([*planned, *others], folder)
    threads = threads or (1 if shares else None)
    failures = {}
    if train:
        if scale == "full":
            say_how_long(planned, folder, data_dir)
        failures = train_all(planned, folder, jobs=jobs, data_dir=data_dir, threads=threads, nice=nice)
    else:
        check_log(folder)

    from lambc.experiments.report.report import write

    command = ["lambc", *sys.argv[1:]]
    only = {run.name.rpartition("-s")[0] for run in planned} if shares else set()
    try:
        written = write(folder, reported, experiment=experiment, command=command, failures=failures, only=only)
    except OSError as error:
        fail(f"the report cannot be written ({error}): give another --report")
    out.print(f"The report is {escape(str(written))}, the log in {escape(str(folder))}.")
    if failures:
        fail(f"{len(failures)} of {len(planned)} runs failed; the same command tries them again", code=1)


def check_log(folder: Path) -> None:
    """Fail for a folder without runs, of which there is nothing to report."""
    from collector.log.listing import run_folders

    if not folder.is_dir() or not run_folders(folder):
        fail(f"there are no runs in {folder}: run the same command without --no-train")


def check_reproduction(planned: Sequence[ReproducedRun], folder: Path) -> None:
    """Fail now for a setting that makes no sense, and for a log that has other runs: the report is on all of it."""
    from collector.log.listing import run_folders
    from lambc.experiments.train import check

    try:
        for run in planned:
            check(run)
        there = {path.name for path in run_folders(folder)} if folder.exists() else set()
    except (ValueError, OSError) as error:
        fail(str(error))
    # More seeds than are asked for are welcome.
    known = {run.name.rpartition("-s")[0] for run in planned}
    if strange := sorted(name for name in there if name.rpartition("-s")[0] not in known):
        fail(f"{folder} has {strange[0]!r}, which this command would not make: give another --runs")


def say_how_long(planned: Sequence[ReproducedRun], folder: Path, data_dir: Path | None) -> None:
    """Time some steps, and say for how long this will train: at the full scale it may be days."""
    from lambc.experiments.data.sources import DataError
    from lambc.experiments.estimate import seconds_to_train

    try:
        hours = seconds_to_train(planned, folder, data_dir=data_dir) / 3600
    except (DataError, ValueError, OSError, RuntimeError) as error:
        fail(str(error).partition("\n")[0])
    out.print(f"{len(planned)} runs of {planned[0].epochs} epochs take about {hours:,.1f} hours, one at a time.")


def train_all(planned: Sequence[ReproducedRun], folder: Path, **options: Any) -> dict[str, str]:
    """Train with a progress bar, and a line after each run; what failed, by the run's name."""
    from rich.progress import MofNCompleteColumn, Progress

    from lambc.experiments.reproduce import Ended, Stopped
    from lambc.experiments.reproduce import reproduce as train_runs

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    bar = Progress(
        *columns, console=err, transient=True, disable=not err.is_terminal, speed_estimate_period=SECONDS_OF_SPEED
    )
    task = bar.add_task("Runs", total=len(planned))
    accuracies: dict[str, float] = {}
    shares: dict[str, float] = {}  # of each run that is trained, how much is done

    def report(run: ReproducedRun, now: Any) -> None:
        if not isinstance(now, Ended):
            accuracies[run.name] = now.test_accuracy
            shares[run.name] = now.step / now.steps
            description = f"{escape(run.name)}  epoch {now.epoch}/{run.epochs}"
            bar.update(task, completed=sum(shares.values()), description=description)
            return
        if run.name in shares or now.failure:
            shares[run.name] = 1.0
        else:  # what was there already says nothing of the time that is left
            bar.update(task, total=(bar.tasks[0].total or 1) - 1)
        bar.update(task, completed=sum(shares.values()))
        if now.failure:
            say(f"{run.name} failed: {now.failure}")
        else:
            done = f"test {percent(accuracies[run.name])}" if run.name in accuracies else "was there already, finished"
            out.print(f"{escape(run.name)}  {done}", soft_wrap=True)

    try:
        with bar:
            return train_runs(planned, folder, report=report, **options)
    except Stopped as error:
        fail(f"{error}; runs that have finished are kept in {folder}")
    except KeyboardInterrupt:
        fail(f"interrupted; the same command goes on with what is in {folder}", code=130)
