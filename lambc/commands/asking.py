"""`lambc runs` and `lambc sql`: questions to the log."""

import os
from collections.abc import Callable
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer

from lambc.commands.answers import Format, FormatOption, OutputOption, ask, put, show
from lambc.commands.keeping import RUNS, RunsToRead, home, refuse_inside_a_run
from lambc.commands.terminal import fail, say


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

    The hit rate is the share of layer-steps that were clipped, of those that could be: exempt layers, and steps with a
    norm that is zero or not finite, do not count. `silent` is the time since a run that has not ended last wrote to its
    log. Problems of the log are printed to stderr; `lambc check` reads every page.
    """
    import duckdb

    if folder and given:
        fail(f"the folder is given twice, as {folder} and as --runs {given}: give it once")
    runs = home(folder or given or str(RUNS))

    def answer(connection: duckdb.DuckDBPyConnection, ask: Callable[..., None]) -> None:
        check_output(output, runs)
        ask(connection, lambda: show(connection.sql(statement("run_list")), connection, format, output))
        for file, problem in connection.sql("SELECT file, problem FROM problems ORDER BY file").fetchall():
            say(f"{file}: {problem}")

    try:
        with closing(connect(runs)) as connection:
            answer(connection, put)
    except (duckdb.Error, UnicodeDecodeError):  # a page is damaged: leave out what its checksum refuses
        with closing(connect(runs, verify=True)) as connection:
            answer(connection, ask)


def sql(
    query: Annotated[str, typer.Argument(help="The query, in DuckDB's SQL.")],
    runs: RunsToRead = str(RUNS),
    format: FormatOption = Format.table,
    output: OutputOption = None,
) -> None:
    """Ask the log a question.

    The views are `runs`, `layers`, `attempts`, `trust_ratios`, `metrics`, `metric_names`, `clip_hits`, `run_results`,
    `run_summaries`, `accuracy_epochs` and `problems`. `lambc sql "DESCRIBE trust_ratios"` lists the columns of one. For
    example

    `lambc sql "SELECT layer, hit_rate FROM clip_hits WHERE run = 'demo-clip1' ORDER BY hit_rate DESC LIMIT 10"`

    The terminal shows 40 rows; `--format csv` or `--output FILE` gives all of them. The query may also write files
    (`COPY … TO`); for SQL that somebody else wrote, use `collector.connect(root, untrusted=True)`. Ctrl-C ends it.
    """
    with closing(connect(runs)) as connection:
        check_output(output, runs)

        def answer() -> None:
            found = connection.sql(query)
            if found is not None:  # as by a COPY
                show(found, connection, format, output)

        ask(connection, answer)


def statement(name: str) -> str:
    """Returns what is in lambc/commands/sql/`name`.sql."""
    return resources.files("lambc.commands").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def connect(runs: str | Path, **options: Any) -> Any:
    """The log in a folder, or at a URL, that has at least one run (collector.connect)."""
    import collector

    check_runs(runs)
    try:
        return collector.connect(runs, **options)
    except (OSError, ValueError) as error:
        fail(str(error))


def check_runs(runs: str | Path) -> None:
    """Fail for a folder that has no run in it."""
    from collector.log.listing import run_folders
    from collector.log.remote import is_url

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
    if output is None:
        return
    if output.is_dir():
        fail(f"--output {output} is a folder: give the name of a file")
    if not output.parent.is_dir():
        fail(f"--output {output}: there is no folder {str(output.parent)!r}; make it, or give another")
    refuse_inside_a_run(output, runs)
