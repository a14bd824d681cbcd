"""An answer as a table to show, as a frame to draw, and as a file to keep."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import types


def shown(answer: pa.Table) -> pa.Table:
    """What a table on a page can hold: values of DuckDB's own kinds (intervals, maps, unions) as it writes them."""
    odd = [field.name for field in answer.schema if not _is_plain(field.type)]
    if not odd:
        return answer
    return (
        duckdb.connect()
        .from_arrow(answer)
        .project(
            ", ".join(
                f"{_quoted(name)}::VARCHAR AS {_quoted(name)}" if name in odd else _quoted(name)
                for name in answer.column_names
            )
        )
        .to_arrow_table()
    )


def drawable(answer: pa.Table) -> pd.DataFrame:
    """The columns that a chart can show: numbers, times, text and truth."""
    columns = {}
    for field, column in zip(answer.schema, answer.columns, strict=True):
        if types.is_decimal(field.type):
            columns[field.name] = column.cast(pa.float64())
        elif types.is_dictionary(field.type):
            columns[field.name] = column.cast(pa.string())
        elif _is_drawn(field.type):
            columns[field.name] = column
    return pa.table(columns).to_pandas()


def formats(answer: pa.Table) -> dict[str, str]:
    """How columns of floats are written: four digits, wherever they begin, and more where whole numbers have more.

    Without a format Streamlit writes four places after the point, and of what is smaller than all of these one digit.
    """
    found = {}
    for field, column in zip(answer.schema, answer.columns, strict=True):
        if types.is_floating(field.type):
            sizes = np.abs(column.to_numpy().astype("float64"))
            largest = sizes[np.isfinite(sizes)].max(initial=0.0)
            # A float of double precision has no more than 15 digits that mean anything.
            found[field.name] = f"%.{min(15, max(4, len(f'{largest:.0f}')))}g"
    return found


def shares(answer: pd.DataFrame) -> list[str]:
    """The columns that are called a rate, a share or an accuracy, and hold nothing outside 0 and 1.

    A learning rate is none: 0.003 of what?
    """
    return [
        name
        for name in answer.columns
        if re.search(r"(^|_)((?<!learning_)rate|share|accuracy|clipped)$", name)
        and pd.api.types.is_float_dtype(answer[name])
        and answer[name].dropna().between(0, 1).all()
    ]


def signs_across(answer: pd.DataFrame) -> int:
    """About how many signs wide a table of these columns is, the blank between them included."""
    return sum(3 + max(len(str(name)), _signs(answer[name])) for name in answer.columns)


def _signs(values: pd.Series) -> int:
    if pd.api.types.is_string_dtype(values):
        return int(values.str.len().max() if values.notna().any() else 0)
    return 19 if pd.api.types.is_datetime64_any_dtype(values) else 8


def csv(answer: pa.Table) -> bytes:
    """All rows, as DuckDB writes them."""
    return _written(answer, lambda relation, path: relation.write_csv(path, header=True))


def parquet(answer: pa.Table) -> bytes:
    """All rows, in their types."""
    return _written(answer, lambda relation, path: relation.write_parquet(path))


def _written(answer: pa.Table, write: Callable[[duckdb.DuckDBPyRelation, str], None]) -> bytes:
    with duckdb.connect() as connection, tempfile.TemporaryDirectory() as folder:
        connection.execute("SET TimeZone = 'UTC'")
        path = Path(folder) / "answer"
        write(connection.from_arrow(answer), str(path))
        return path.read_bytes()


def _is_drawn(kind: pa.DataType) -> bool:
    known = (types.is_integer, types.is_floating, types.is_string, types.is_boolean, types.is_timestamp, types.is_date)
    return any(is_kind(kind) for is_kind in known)


def _is_plain(kind: pa.DataType) -> bool:
    if types.is_list(kind):
        return _is_drawn(kind.value_type)
    return _is_drawn(kind) or types.is_decimal(kind) or types.is_dictionary(kind) or types.is_time(kind)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
