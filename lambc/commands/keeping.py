"""The commands that keep a log in order: check, compact, export, rm."""

import os
import re
import sys
from collections.abc import Callable
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lambc.commands.terminal import err, fail, first_line, out, say, tell, visible


def home(folder: str) -> str:
    """A folder with the user's home in the place of `~`, which a shell leaves in `--runs=~/runs`."""
    return os.path.expanduser(folder)


def no_url(folder: Path) -> Path:
    """The folder with the user's home in the place of `~`. Refuses a URL, of which a path leaves one slash."""
    if re.match(r"\w{2,}:/", str(folder)):
        raise typer.BadParameter(
            "this needs a folder; a URL is read by runs, sql and dashboard, and written by Collector"
        )
    return Path(home(str(folder)))


RunsFolder = Annotated[Path, typer.Option("--runs", metavar="DIR", help="The folder of all runs.", callback=no_url)]
RunsToRead = Annotated[
    str, typer.Option("--runs", metavar="DIR", help="The folder of all runs, or its URL.", callback=home)
]
Names = Annotated[list[str] | None, typer.Argument(metavar="RUN...", help="The runs; all of them if none is named.")]
RUNS = Path("runs")


class Kind(StrEnum):
    """What an export is for."""

    csv = "csv"
    parquet = "parquet"
    duckdb = "duckdb"
    tensorboard = "tensorboard"


def check(names: Names = None, runs: RunsFolder = RUNS) -> None:
    """Read every page of every file of some runs, and name what is damaged. Ends with code 1 if anything is."""
    from collector.store.check import check_runs

    folders, found = choose(names, runs), 0
    for file, problem in check_runs(folders):
        found += 1
        tell(f"{file}: {problem}")
    if found:
        raise typer.Exit(1)
    out.print(f"nothing is damaged in {len(folders)} run{'s' * (len(folders) != 1)}")


def compact(names: Names = None, runs: RunsFolder = RUNS) -> None:
    """Merge the files of runs that have ended into as few as may be, so that they take less room and open faster.

    Ends with code 1 if a run was left as it is.
    """
    from collector.log.maintain import compact_run
    from collector.store.footers import footers

    def merge(folder: Path) -> None:
        before = size(folder)
        files, left = compact_run(folder, footers)
        sentence = f"{folder.name}: {files:,} files, now {left:,}; {before:,} bytes, now {size(folder):,}"
        tell(sentence)

    on_each(choose(names, runs), merge)


def rm(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="The runs to remove.")],
    runs: RunsFolder = RUNS,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking, as a script has to.")] = False,
) -> None:
    """Remove runs, with all that was recorded of them. Ends with code 1 if one could not be removed.

    Asks before each run, unless `--yes` is given. Where nobody can answer, nothing is removed, and the code is 2.
    """
    from collector.log.aside import is_left
    from collector.log.maintain import remove_run

    def remove(folder: Path) -> None:
        if yes or confirmed(f"Remove {folder} ({size(folder):,} bytes)?"):
            remove_run(folder)
            tell(f"{folder.name} is removed")

    on_each(choose(names, runs, also=is_left), remove)


def confirmed(question: str) -> bool:
    """Ask, on stderr. Ends the command where no answer comes: without a terminal, or by Ctrl-C."""
    try:
        return typer.confirm(visible(question), err=True)
    except typer.Abort:  # at the end of the input, too
        if sys.stdin.isatty():
            err.print()  # the line of the question ends here
            fail("interrupted", code=130)
        fail("not removed: give --yes")


def export(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PATH", help="A new folder, or a new file for `duckdb`.")
    ],
    names: Names = None,
    runs: RunsFolder = RUNS,
    kind: Annotated[Kind, typer.Option("--format", help="The format of the export.")] = Kind.parquet,
) -> None:
    """Write runs for other tools: CSV or Parquet files, one DuckDB file, or TensorBoard's event files."""
    import duckdb

    from collector import connect
    from collector.store.export import export_duckdb, export_files, export_tensorboard

    chosen = [folder.name for folder in choose(names, runs)]
    if output.exists():
        fail(f"--output {output} is there already: give a new one")
    refuse_inside_a_run(output, runs)
    try:
        with closing(connect(runs)) as connection:
            match kind:
                case Kind.duckdb:
                    export_duckdb(connection, chosen, output)
                case Kind.tensorboard:
                    export_tensorboard(connection, chosen, output)
                case _:
                    export_files(connection, chosen, output, kind.value)
    except ImportError:
        fail("this needs torch and tensorboard: in the checkout of lambc, pip install '.[train]' tensorboard")
    except (OSError, duckdb.Error) as error:
        fail(f"cannot write {output}: {first_line(error)}")
    tell(f"{', '.join(chosen)}: in {output}")


def refuse_inside_a_run(output: Path, runs: str | Path) -> None:
    """Fail for a file or folder that would lie in a run, where it could replace a part of the log."""
    from collector.log.listing import run_folders
    from collector.log.remote import is_url

    of_runs = set() if is_url(runs) else {folder.resolve() for folder in run_folders(Path(runs))}
    for folder in output.resolve().parents:
        if folder in of_runs or (folder / "run.json").exists():
            fail(f"--output {output} lies in the run {folder}, which is kept as it is: give a file outside of it")


def choose(names: list[str] | None, runs: Path, also: Callable[[Path], bool] = lambda folder: False) -> list[Path]:
    """The folders of the runs that were named, or of all. also: whether a folder may be named that is no run."""
    from collector.log.listing import run_folders

    try:
        folders = {folder.name: folder for folder in run_folders(runs)}
    except OSError as error:
        fail(str(error))
    folders |= {name: runs / name for name in names or () if name == Path(name).name and also(runs / name)}
    if not folders:
        fail(f"there are no runs in {runs}: give the folder that holds them with --runs")
    for name in names or ():
        if name not in folders:
            fail(f"there is no run {name!r} in {runs}: lambc runs --runs {runs} lists them")
    return [folders[name] for name in dict.fromkeys(names or folders)]


def on_each(folders: list[Path], work: Callable[[Path], None]) -> None:
    """Do `work` on every run. One that cannot be worked on is said and left, and the command ends with code 1."""
    left = 0
    for folder in folders:
        try:
            work(folder)
        except (ValueError, OSError) as error:
            left += 1
            say(f"{folder.name} is left as it is: {first_line(error)}")
    if left:
        raise typer.Exit(1)


def size(folder: Path) -> int:
    """Bytes of all files of a run."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
