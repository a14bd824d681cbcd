"""The `lambc` command: train, look, ask. Every command imports what it uses when it uses it.

Its output is on stdout; progress and errors are on stderr. What a user can mend is one line there, and exit code 2.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from lambc import log_commands
from lambc.answers import Format, ask, show
from lambc.experiments.settings import RATES, SOURCES, TEXTS, Model, Rule, Run, Stem
from lambc.experiments.tables import EXPERIMENTS, ReproducedRun, ScaleName, plan
from lambc.log_commands import RUNS, RunsFolder, RunsToRead, home
from lambc.needs import need, refuse_hidden
from lambc.serving import HOST, PORT, check_server, serve_dashboard
from lambc.terminal import err, fail, out, percent, print_table, say, write_any_sign

if TYPE_CHECKING:
    import pyarrow as pa

    from lambc.experiments.data import Data

ANSWER_BYTES = 4 * 10**9
"""An answer of `lambc sql` is held in memory, and written whole or not at all."""

RUN_LIST = """
SELECT run, status, steps, best_accuracy, last_accuracy, last_loss, hit_rate, started, silent
FROM run_summaries ORDER BY started NULLS LAST, run
"""


class Commands(TyperGroup):
    """Says in one line what is wrong with a command line, and how to get help."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Take a command line, on a terminal of any encoding."""
        write_any_sign()
        return super().main(*arguments, **options)

    def invoke(self, context: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(context)
        except typer.TyperException as error:
            command = f"lambc {context.invoked_subcommand or ''}".rstrip()
            reason = " ".join(error.format_message().split()).replace("Value error, ", "").rstrip(".")
            fail(f"{reason}: see {command} --help")
        except KeyboardInterrupt:
            fail("interrupted", code=130)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


FormatOption = Annotated[Format, typer.Option("--format", help="How the answer is written.")]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file instead of stdout.")
]
Host = Annotated[str, typer.Option(help="The address to serve at; by default only this machine can reach it.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="The port to serve at.")]


def print_version(wanted: bool) -> None:
    """Print the version and end, if it is wanted."""
    if wanted:
        out.print(f"lambc {version('lambc')}")
        raise typer.Exit


@app.callback()
def main(
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the version and end.")
    ] = False,
) -> None:
    """Train with clipped trust ratios, and see which layers are clipped, when and how often."""
    refuse_hidden("collector")


@app.command()
def train(
    data: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help=f"One of {', '.join(f'`{source}`' for source in SOURCES)}.",
        ),
    ] = Run.data,
    data_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the files of `fashion-mnist` or `cifar10` lie.", show_default="data"),
    ] = None,
    model: Annotated[
        Model | None, typer.Option(help="The network.", show_default="resnet18, or transformer for text")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = Run.batch_size,
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = Run.epochs,
    rule: Annotated[Rule, typer.Option(help="What takes the step.")] = Run.rule,
    clip: Annotated[
        str | None,
        typer.Option(
            metavar="BOUND",
            help="What the trust ratios are clipped to: an upper bound (`1`), a lower and an upper one (`0.5,3`), "
            "`none`, or a bound that moves; see above.",
            show_default=f"{Run.clip}, or none for adamw",
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            help="Learning rate.", show_default=", ".join(f"{rate:g} for {rule}" for rule, rate in RATES.items())
        ),
    ] = None,
    warmup_epochs: Annotated[
        float, typer.Option(help="Over so many epochs the learning rate grows to its value, where it stays.")
    ] = Run.warmup_epochs,
    weight_decay: Annotated[float, typer.Option(help="λ: decay as part of the step.")] = Run.weight_decay,
    exempt_1d: Annotated[
        bool, typer.Option("--exempt-1d", help="Take the steps of biases and normalisation at a ratio of 1.")
    ] = Run.exempt_1d,
    bias_correction: Annotated[bool, typer.Option(help="Of LAMB's moments.")] = Run.bias_correction,
    reset_optimizer_each_epoch: Annotated[
        bool, typer.Option("--reset-optimizer-each-epoch", help="Begin each epoch with fresh moments and bounds.")
    ] = Run.reset_optimizer_each_epoch,
    seed: Annotated[int, typer.Option(help="Of initial weights, order of images, augmentation.")] = Run.seed,
    device: Annotated[
        str, typer.Option(help="`cpu`, `cuda`, `cuda:1`, …; `auto` takes the first accelerator there is.")
    ] = Run.device,
    stem: Annotated[
        Stem,
        typer.Option(
            help="The first layer: `3x3` for small images, `torchvision`'s 7×7; `auto` takes 3×3 up to 64 pixels."
        ),
    ] = Run.stem,
    augment: Annotated[bool, typer.Option(help="Flip and move the training images, if in colour.")] = Run.augment,
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the network, which takes a minute, for faster steps.")
    ] = Run.compile,
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

    Accuracy on the test set is measured after each epoch. The log is a folder of Parquet files, `DIR/NAME`; Ctrl-C
    leaves it as far as it came. `lambc dashboard` shows it while the training goes on. Every minute a checkpoint is
    written beside the log, until the run has finished: the same command with `--resume` goes on from there, also after
    the process was killed, and leaves a finished run as it is.

    The data `digits` comes with scikit-learn, and the text `topics`, whose next bytes a transformer learns to say, with
    Python. `fashion-mnist` and `cifar10` are downloaded to `--data-dir` unless they lie there. `parquet:FOLDER` has the
    layout of Hugging Face's image data sets: `train*.parquet` and `test*.parquet` (or `val*.parquet`), in which `img`
    (or `image`) holds encoded images and `label` their numbers. `folder:FOLDER` holds images as `train/CLASS/…` and
    `test/CLASS/…` (or `val/CLASS/…`), all of one size, and `imagenet64:FOLDER` the files of downsampled ImageNet.

    A bound can move: `scheduled:10:1` goes from 10 to 1 over the run (`scheduled:10:1:500` over 500 steps), `dynamic:1`
    is AdaBound's around 1, `deviation:3` three standard deviations around a layer's mean ratio, `quantile:0.95` a
    layer's running quantile, and `larc`, with `--rule lars`, NVCaffe's. `1-d:10,other:1` bounds biases and
    normalisation by 10, and all else by 1.
    """
    try:
        run = Run(
            data=data, model=model or ("transformer" if data in TEXTS else "resnet18"), batch_size=batch_size,
            epochs=epochs, rule=rule, clip=clip or (None if rule == "adamw" else Run.clip),
            lr=RATES[rule] if lr is None else lr,
            weight_decay=weight_decay, warmup_epochs=warmup_epochs, exempt_1d=exempt_1d,
            bias_correction=bias_correction, reset_optimizer_each_epoch=reset_optimizer_each_epoch, stem=stem,
            augment=augment, seed=seed, device=device, compile=compile,
        )  # fmt: skip
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


@app.command()
def demo(
    runs: RunsFolder = RUNS,
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="Serve the dashboard afterwards.")] = False,
    host: Host = HOST,
    port: Port = PORT,
) -> None:
    """Train three small runs, say what they show, and serve the dashboard.

    They are LAMB and LAMBC with the bounds 10 and 1, ResNet-18 on scikit-learn's digits, and take two minutes at most
    on two CPU cores. A run that is there already, finished, is kept; nothing is overwritten.
    """
    prepare_training()
    if serve:
        check_server(host, port)
    from lambc.experiments.demo import RUNS as demo_runs
    from lambc.experiments.demo import finished_or_free

    images, names = None, []
    for wanted, run in demo_runs.items():
        name, finished = finished_or_free(runs, wanted)
        names.append(name)
        if finished:
            out.print(f"{name} is in {escape(str(runs))} already, finished, and is kept.")
            continue
        if name != wanted:
            out.print(f"{wanted} in {escape(str(runs))} did not finish; it stays as it is, and {name} takes its place.")
        check_run(run, runs, name)
        images = images or load(run.data, None)
        train_run(run, images, runs, name)
    say_what_demo_found(runs, names)
    if serve:
        serve_dashboard([str(runs)], host, port)


@app.command()
def reproduce(
    experiment: Annotated[
        str, typer.Argument(help=f"One of {', '.join(f'`{name}`' for name in EXPERIMENTS)}.", show_default=False)
    ],
    scale: Annotated[
        ScaleName, typer.Option(help="`small` takes minutes on two CPU cores; `full` is the paper's.")
    ] = "small",
    data: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Other data, as `lambc train` takes.", show_default="the paper's"),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the files of `fashion-mnist` or `cifar10` lie.", show_default="data"),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="How many, from 0 on.", show_default="the scale's")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the images.", show_default="the scale's")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, which share the device; on a CPU, one a core.")] = 1,
    device: Annotated[str, typer.Option(help="As `lambc train` takes.")] = Run.device,
    runs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the log is.", show_default="runs/EXPERIMENT-SCALE")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the report is put.", show_default="reports/EXPERIMENT-SCALE"),
    ] = None,
) -> None:
    """Run an experiment of the paper, and report what the log says.

    `table1` (Figure 1 too), `figure2` and `figure3` are the paper's; `bounds`, `large-batch` and `language-model` are
    what it leaves open. The same command goes on where it stopped, and keeps what has finished. A run that fails is
    reported, and the others go on; the exit code is then 1.

    The report is `report.md`, and `report.html` with figures. It states what was scaled down, and has the SQL with
    which anyone can get its numbers from the log.
    """
    if experiment not in EXPERIMENTS:
        fail(f"there is no experiment {experiment!r}: give one of {', '.join(EXPERIMENTS)}")
    try:
        planned = plan(experiment, scale, data=data, seeds=seeds, epochs=epochs, device=device)
    except ValueError as error:
        fail(str(error))
    folder = Path(home(str(runs or Path("runs") / f"{experiment}-{scale}")))
    reported = Path(home(str(report or Path("reports") / f"{experiment}-{scale}")))
    prepare_training()
    refuse_hidden("app")
    need("app", "plotly", "pandas")
    check_reproduction(planned, folder)
    failures = train_all(planned, folder, jobs, data_dir)

    from lambc.experiments.report import write

    try:
        written = write(folder, reported, experiment=experiment, command=["lambc", *sys.argv[1:]], failures=failures)
    except OSError as error:
        fail(f"the report cannot be written ({error}): give another --report")
    out.print(f"The report is {escape(str(written))}, the log in {escape(str(folder))}.")
    if failures:
        fail(f"{len(failures)} of {len(planned)} runs failed; the same command tries them again", code=1)


@app.command("runs")
def list_runs(
    folder: Annotated[
        str | None, typer.Argument(metavar="[DIR]", help="The folder of all runs, or its URL.", show_default=str(RUNS))
    ] = None,
    given: Annotated[
        str | None, typer.Option("--runs", metavar="DIR", help="The same, as other commands take it.")
    ] = None,
    format: FormatOption = Format.table,
    output: OutputOption = None,
) -> None:
    """List the runs: status, steps, accuracy, hit rate.

    The hit rate is the share of all layers' steps that were clipped. `silent` is how long ago the last word came from a
    run that has not ended. What is wrong with the log stands below, on stderr.
    """
    if folder and given:
        fail(f"the folder is given twice, as {folder} and as --runs {given}: give it once")
    runs = folder or given or str(RUNS)
    with closing(connect(runs)) as connection:
        check_output(output, runs)
        ask(connection, lambda: show(connection.sql(RUN_LIST), connection, format, output))
        for file, problem in connection.sql("SELECT file, problem FROM problems ORDER BY file").fetchall():
            say(f"{file}: {problem}")


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="What to ask, in DuckDB's SQL.")],
    runs: RunsToRead = str(RUNS),
    format: FormatOption = Format.table,
    output: OutputOption = None,
) -> None:
    """Ask the log a question.

    The views are `runs`, `layers`, `trust_ratios`, `metrics`, `clip_hits`, `run_results`, `run_summaries` and
    `problems`; `lambc sql "DESCRIBE trust_ratios"` says what is in one. For example

    `lambc sql "SELECT layer, hit_rate FROM clip_hits WHERE run = 'demo-clip1' ORDER BY hit_rate DESC LIMIT 10"`

    The SQL can read the log and nothing else, so it may come from anybody. It has half a gigabyte of memory and all the
    time there is; Ctrl-C ends it.
    """
    import duckdb

    answer = ask_log(query, runs, output)
    with closing(duckdb.connect()) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        ask(connection, lambda: show(connection.from_arrow(answer), connection, format, output))


@app.command()
def dashboard(
    runs: Annotated[
        list[str] | None, typer.Argument(help="The folder of all runs or its URL, or several.", show_default=str(RUNS))
    ] = None,
    given: Annotated[
        list[str] | None, typer.Option("--runs", metavar="DIR", help="The same, as other commands take it.")
    ] = None,
    host: Host = HOST,
    port: Port = PORT,
) -> None:
    """Serve the dashboard. It goes on showing what comes in, until Ctrl-C."""
    from collector.remote import is_url

    folders = [home(folder) for folder in [*(runs or []), *(given or [])] or [str(RUNS)]]
    for folder in folders:
        if is_url(folder):
            continue
        if not os.path.isdir(folder):
            fail(f"there is no folder {str(folder)!r}: give the one that holds the runs, or make runs with lambc demo")
        refuse_run(Path(folder))
    check_server(host, port)
    serve_dashboard(folders, host, port)


for command in (log_commands.check, log_commands.compact, log_commands.export, log_commands.rm):
    app.command()(command)


def prepare_training() -> None:
    """Fail if what training needs is not installed; to be called before torch is imported."""
    need("train", "torch", "torchvision", "sklearn")
    # GNU OpenMP's threads wait for each other by spinning, on cores that another process may need. Spinning this long,
    # then sleeping, costs 6 % of a step on two idle cores, and takes 30 % off where two such processes share them.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def check_run(run: Run, runs: Path, name: str, *, resume: bool = False) -> bool:
    """Fail now for what would fail once the data are read; whether the run has finished, so that none are needed."""
    from collector.run import check_name
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


def check_reproduction(planned: Sequence[ReproducedRun], folder: Path) -> None:
    """Fail now for a setting that makes no sense, and for a log that has other runs: the report is on all of it."""
    from collector.log_files import run_folders
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


def train_all(planned: Sequence[ReproducedRun], folder: Path, jobs: int, data_dir: Path | None) -> dict[str, str]:
    """Train with a progress bar, and a line after each run; what failed, by the run's name."""
    from rich.progress import MofNCompleteColumn, Progress

    from lambc.experiments.reproduce import Ended, Stopped
    from lambc.experiments.reproduce import reproduce as train_runs

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    bar = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
    task = bar.add_task("Runs", total=len(planned))
    accuracies: dict[str, float] = {}

    def report(run: ReproducedRun, now: Any) -> None:
        if not isinstance(now, Ended):
            accuracies[run.name] = now.test_accuracy
            bar.update(task, description=f"{escape(run.name)}  epoch {now.epoch}/{run.epochs}")
            return
        bar.advance(task)
        if now.failure:
            say(f"{run.name} failed: {now.failure}")
        else:
            done = f"test {percent(accuracies[run.name])}" if run.name in accuracies else "was there already, finished"
            out.print(f"{escape(run.name)}  {done}", soft_wrap=True)

    try:
        with bar:
            return train_runs(planned, folder, jobs=jobs, data_dir=data_dir, report=report)
    except Stopped as error:
        fail(f"{error}; runs that have finished are kept in {folder}")
    except KeyboardInterrupt:
        fail(f"interrupted; the same command goes on with what is in {folder}", code=130)


def draws_bars() -> bool:
    """Whether this process shows how far it is: on a terminal, the first of those that torchrun started."""
    return err.is_terminal and os.environ.get("RANK", "0") == "0"


def load(source: str, data_dir: Path | None) -> "Data":
    """The data set, with a progress bar if it has to be decoded."""
    from rich.progress import MofNCompleteColumn, Progress

    from lambc.experiments import data

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    try:
        with Progress(*columns, console=err, transient=True, disable=not draws_bars()) as bar:
            task = bar.add_task(f"Reading {escape(source)}", total=None)
            return data.load(source, data_dir, lambda done, total: bar.update(task, completed=done, total=total))
    except data.DataError as error:
        fail(str(error))


def train_run(
    run: Run, images: "Data", runs: Path, name: str, *, resume: bool = False, keep_weights: bool = False
) -> None:
    """Train with a progress bar, and a line after each epoch."""
    import torch
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from lambc.experiments import data
    from lambc.experiments import train as training

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


def say_what_demo_found(runs: Path, names: list[str]) -> None:
    """The results of the demo's runs, where the log is, and a question to put to it."""
    with closing(connect(runs)) as connection:
        results = connection.sql(
            "SELECT run, best_accuracy, last_accuracy, hit_rate, steps FROM run_summaries "
            "WHERE run IN (SELECT unnest($names)) ORDER BY list_position($names, run)",
            params={"names": names},
        ).to_arrow_table()
        rows = connection.execute(
            "SELECT count(*) FROM trust_ratios WHERE run IN (SELECT unnest($names))", {"names": names}
        ).fetchall()[0][0]
    print_table(results)
    size = sum(file.stat().st_size for name in names for file in (runs / name / "trust_ratios").glob("*.parquet"))
    sentence = f"The log is in {escape(str(runs))}: {rows:,} trust ratios, {size / max(rows, 1):.1f} bytes each."
    out.print(sentence, soft_wrap=True)
    out.print("hit_rate is the share of all layers' steps that were clipped. In which layers? Ask:\n", soft_wrap=True)
    folder = "" if runs == RUNS else f" --runs {shlex.quote(str(runs))}"
    question = f"SELECT layer, hit_rate FROM clip_hits WHERE run = '{names[-1]}' ORDER BY hit_rate DESC LIMIT 10"
    # Who typed `make demo` has activated no environment.
    program = "lambc" if shutil.which("lambc") else os.path.relpath(Path(sys.executable).with_name("lambc"))
    out.print(f'  {shlex.quote(program)} sql "{question}"{folder}\n', markup=False, soft_wrap=True)


def connect(runs: str | Path, **options: Any) -> Any:
    """The log in a folder, or at a URL, that has at least one run (collector.connect)."""
    import collector

    check_runs(runs)
    try:
        return collector.connect(runs, **options)
    except (OSError, ValueError) as error:
        fail(str(error))


def ask_log(query: str, runs: str | Path, output: Path | None) -> "pa.Table":
    """The answer to a stranger's SQL, which may be written to `output`; what is wrong with either becomes a line."""
    from collector.untrusted import QueryError, cut_off

    check_runs(runs)
    check_output(output, runs)
    with connect(runs, untrusted=True, timeout=None, max_rows=sys.maxsize, max_bytes=ANSWER_BYTES) as log:
        try:
            answer = log.execute(query)
        except QueryError as error:
            fail(str(error))
    if cut_off(answer):
        fail(f"the answer is larger than {ANSWER_BYTES / 1e9:.0f} GB: ask for it in parts")
    return answer


def check_runs(runs: str | Path) -> None:
    """Fail for a folder that has no run in it."""
    from collector.log_files import run_folders
    from collector.remote import is_url

    if is_url(runs):
        return
    try:
        folders = run_folders(Path(runs))
    except FileNotFoundError as error:
        fail(f"{error}, or make runs with lambc demo --runs {runs}")
    except OSError as error:
        fail(str(error))
    refuse_run(Path(runs))
    if not folders:
        fail(f"there are no runs in {runs} yet: make one with lambc train --runs {runs}, or lambc demo --runs {runs}")


def refuse_run(folder: Path) -> None:
    """Fail for the folder of a run where the folder of all runs is asked for."""
    if os.path.exists(folder / "run.json"):
        fail(f"{folder} is one run: give the folder that holds it, {folder.resolve().parent}")


def check_output(output: Path | None, runs: str | Path) -> None:
    """Fail for a file that cannot be written, or that lies in a run, where it could replace a part of the log."""
    from collector.log_files import run_folders
    from collector.remote import is_url

    if output is None:
        return
    if output.is_dir():
        fail(f"--output {output} is a folder: give the name of a file")
    if not output.parent.is_dir():
        fail(f"--output {output}: there is no folder {str(output.parent)!r}; make it, or give another")
    of_runs = set() if is_url(runs) else {folder.resolve() for folder in run_folders(Path(runs))}
    for folder in output.resolve().parents:
        if folder in of_runs or (folder / "run.json").exists():
            fail(f"--output {output} lies in the run {folder}, which is kept as it is: give a file outside of it")
