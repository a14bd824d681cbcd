"""What commands say: answers on stdout, progress and errors on stderr."""

import io
import math
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from lambc.beside import check_beside

if TYPE_CHECKING:
    import pyarrow as pa

out, err = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False)


def write_any_sign() -> None:
    """Write what the terminal's encoding does not have (an arrow in Latin-1) as `\\u2192`, where it would raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def visible(text: str) -> str:
    """Returns `text` with what a terminal would obey escaped (collector.log.visible)."""
    try:
        check_beside("collector")
    except ImportError:  # a module of the user's, which is not run; this very message names it
        return text
    from collector.log import visible as log_visible

    return log_visible.visible(text)


def print_table(rows: "pa.Table") -> None:
    """Rows as a table: as wide as the terminal, or as they need where there is none."""
    import pyarrow as pa
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for field in rows.schema:
        number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        table.add_column(escape(visible(field.name)), justify="right" if number else "left", overflow="fold")
    for row in rows.to_pylist():
        table.add_row(*(escape(visible(cell(value))) for value in row.values()))
    Console(highlight=False, width=None if sys.stdout.isatty() else 1000).print(table)


def cell(value: Any) -> str:
    """A value as a table shows it: four digits that count, times to the second, durations in words."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}"
        case list():
            return f"[{', '.join(map(cell, value))}]"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}{' UTC' if value.tzinfo else ''}"
        case (int() as months, int() as days, int() as nanoseconds):  # an interval, as Arrow has it
            seconds = (months * 30 + days) * 86400 + nanoseconds // 10**9
            sizes = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
            size, unit = next((each for each in sizes if abs(seconds) >= 2 * each[0]), sizes[-1])
            return f"{seconds // size} {unit}"
    return str(value)


def percent(share: float) -> str:
    """A fraction as a percentage; a dash for NaN."""
    return "-" if math.isnan(share) else f"{share:.1%}"


def first_line(error: Exception) -> str:
    """What an error says, and the names that DuckDB suggests, without the lines that point into a statement."""
    said, *rest = str(error).strip().split("\n")
    return " ".join([said, *(line for line in rest if line.startswith(("Did you mean", "Candidate")))])


def tell(message: str) -> None:
    """A line on stdout, as it is, but for what a terminal would obey."""
    out.print(visible(message), markup=False)


def say(message: str) -> None:
    """A line on stderr, as it is, but for what a terminal would obey."""
    err.print(visible(message), markup=False, soft_wrap=True)


def fail(message: str, code: int = 2) -> NoReturn:
    """End the command with one line on stderr."""
    err.print(visible(message), style="red", markup=False, soft_wrap=True)
    raise typer.Exit(code)
