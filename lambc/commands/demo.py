"""`lambc demo`: three small runs, or the log of a wide model, and what they show."""

import os
import shlex
import shutil
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from lambc.commands.asking import connect, statement
from lambc.commands.keeping import RUNS, RunsFolder
from lambc.commands.serving import HOST, PORT, Host, Port, check_server, serve_dashboard
from lambc.commands.terminal import fail, out, print_table
from lambc.commands.training import check_run, load, prepare_training, train_run


def demo(
    runs: RunsFolder = RUNS,
    serve: Annotated[
        bool | None,
        typer.Option("--serve/--no-serve", help="Serve the dashboard afterwards.", show_default="only with --wide"),
    ] = None,
    wide: Annotated[
        bool,
        typer.Option("--wide", help="Train nothing: write the log of a model of 1,943 tensors."),
    ] = False,
    host: Host = HOST,
    port: Port = PORT,
) -> None:
    """Train three small runs, and print what they show. With `--serve`, serve the dashboard afterwards.

    They are LAMB and LAMBC with the bounds 10 and 1, ResNet-18 on scikit-learn's digits, and take two minutes at most
    on two CPU cores. A run that is there already, finished, is kept; nothing is overwritten.

    With `--wide` the run is made up in seconds, and needs no torch: a mixture of experts in which a breakdown spreads
    from the first blocks, eight experts get no gradient, and one layer jumps for two steps. The dashboard is served
    afterwards, unless `--no-serve` is given.
    """
    if wide:
        wide_demo(runs, serve is not False, host, port)
        return
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


def wide_demo(runs: Path, serve: bool, host: str, port: int) -> None:
    """Write the log of a wide model, unless it is there, and serve it."""
    if serve:
        check_server(host, port)
    from lambc.experiments.demo import finished_or_free
    from lambc.experiments.wide_logs import DEMO, DEMO_LOG

    name, finished = finished_or_free(runs, DEMO)
    if finished:
        out.print(f"{name} is in {escape(str(runs))} already, finished, and is kept.")
    else:
        try:
            DEMO_LOG.write(runs, name)
        except OSError as error:
            fail(f"{runs / name} cannot be written ({error.strerror}): give another folder with --runs")
        steps, layers = DEMO_LOG.steps, len(DEMO_LOG.shapes)
        out.print(f"{name}: {layers:,} tensors over {steps:,} steps, made up; the log is in {escape(str(runs))}.")
    if serve:
        serve_dashboard([str(runs)], host, port)


def say_what_demo_found(runs: Path, names: list[str]) -> None:
    """The results of the demo's runs, where the log is, and a question to put to it."""
    with closing(connect(runs)) as connection:
        results = connection.sql(statement("demo_results"), params={"names": names}).to_arrow_table()
        rows = connection.execute(
            "SELECT count(*) FROM trust_ratios WHERE run IN (SELECT unnest($names))", {"names": names}
        ).fetchall()[0][0]
    print_table(results)
    size = sum(file.stat().st_size for name in names for file in (runs / name / "trust_ratios").glob("*.parquet"))
    sentence = f"The log is in {escape(str(runs))}: {rows:,} trust ratios, {size / max(rows, 1):.1f} bytes each."
    out.print(sentence, soft_wrap=True)
    explained = (
        "hit_rate is the share of layer-steps that were clipped, of those that could be. In which layers? Ask:\n"
    )
    out.print(explained, soft_wrap=True)
    folder = "" if runs == RUNS else f" --runs {shlex.quote(str(runs))}"
    question = f"SELECT layer, hit_rate FROM clip_hits WHERE run = '{names[-1]}' ORDER BY hit_rate DESC LIMIT 10"
    # Who typed `make demo` has activated no environment.
    program = "lambc" if shutil.which("lambc") else os.path.relpath(Path(sys.executable).with_name("lambc"))
    out.print(f'  {shlex.quote(program)} sql "{question}"{folder}\n', markup=False, soft_wrap=True)
