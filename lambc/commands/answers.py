"""An answer as the command line gives it: a table on the terminal, or CSV, JSON or Parquet."""

import shutil
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lambc.commands.json_numbers import finite
from lambc.commands.terminal import fail, first_line, out, print_table

if TYPE_CHECKING:
    import duckdb

ROWS_SHOWN = 40
"""Rows of a table on the terminal; the other formats give all of them."""

COPY = {
    "csv": "COPY (FROM lambc_answer) TO $path (FORMAT csv, HEADER)",
    "json": "COPY (FROM lambc_answer) TO $path (FORMAT json, ARRAY)",
    "parquet": "COPY (FROM lambc_answer) TO $path (FORMAT parquet)",
}
"""`lambc_answer` is the variable of `show`, which DuckDB finds by its name: a view would stand in SHOW TABLES."""


class Format(StrEnum):
    """How an answer is written."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


FormatOption = Annotated[
    Format,
    typer.Option(
        "--format", help=f"The format of the answer. A table shows {ROWS_SHOWN} rows; the others have all of them."
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write to this file instead of stdout. Without `--format`, its ending chooses the format: `.csv`, "
        "`.json` or `.parquet`.",
    ),
]


def ask(connection: "duckdb.DuckDBPyConnection", question: Callable[[], None]) -> None:
    """Put a question and show its answer. What DuckDB has against it becomes a line, and Ctrl-C ends it."""
    import duckdb

    try:
        put(connection, question)
    except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
        fail(first_line(error))
    except (duckdb.Error, UnicodeDecodeError) as error:
        fail(f"{first_line(error)} (where a file is damaged, lambc check names it)")


def put(connection: "duckdb.DuckDBPyConnection", question: Callable[[], None]) -> None:
    """Put a question and show its answer. Ctrl-C ends it. Raises duckdb.Error, or UnicodeDecodeError for a page."""
    with ThreadPoolExecutor(1) as thread:  # this one looks for Ctrl-C, as DuckDB does not while it copies to a file
        asked = thread.submit(question)
        try:
            asked.result()
        except KeyboardInterrupt:
            while not asked.done():  # again, since it may have been between two queries
                connection.interrupt()
                wait([asked], timeout=0.1)
            raise


def show(
    answer: "duckdb.DuckDBPyRelation", connection: "duckdb.DuckDBPyConnection", format: Format, output: Path | None
) -> None:
    """Write an answer as it was asked for; a file's ending says the format if --format does not."""
    chosen = format.value
    if output and chosen == "table":
        chosen = output.suffix.removeprefix(".")
        if chosen not in COPY:
            fail(f"--output {output}: give --format csv, json or parquet, or a name that ends so")
    if chosen == "parquet" and output is None and sys.stdout.isatty():
        fail("Parquet is not for a terminal: give --output FILE, or pipe it")
    if chosen == "table":
        rows = answer.limit(ROWS_SHOWN + 1).to_arrow_table()
        print_table(rows.slice(0, ROWS_SHOWN))
        if len(rows) > ROWS_SHOWN:
            rest = answer.count("*").fetchall()[0][0] - ROWS_SHOWN
            out.print(f"… {rest:,} more rows; --format csv gives all of them")
        return
    lambc_answer = finite(answer) if chosen == "json" else answer  # noqa: F841 (COPY reads it)
    with tempfile.TemporaryDirectory() as folder:
        path = output or Path(folder) / "answer"
        connection.execute(COPY[chosen], {"path": str(path)})
        if output is None:
            sys.stdout.flush()
            with path.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
