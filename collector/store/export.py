"""A log for other tools: CSV or Parquet files, one DuckDB file, TensorBoard's event files."""

from collections.abc import Callable
from pathlib import Path

import duckdb

TABLES = ("runs", "layers", "trust_ratios", "metrics")
"""What is exported, each the view of that name."""

QUANTITIES = ("weight_norm", "update_norm", "trust_ratio", "clipped_ratio", "upper", "lower")
"""What TensorBoard gets of each layer, as `trust_ratio/<layer>` and so on."""


def export_files(connection: duckdb.DuckDBPyConnection, runs: list[str], folder: Path, kind: str) -> None:
    """Write `<folder>/<table>.<kind>` for each table, where `kind` is csv or parquet, of some runs of a store."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in TABLES:
        path = str(folder / f"{table}.{kind}")
        connection.execute(f"COPY ({_of(table)}) TO $path (FORMAT {kind})", {"path": path, "runs": runs})


def export_duckdb(connection: duckdb.DuckDBPyConnection, runs: list[str], path: Path) -> None:
    """Write the tables of some runs into a new DuckDB file."""
    quoted = str(path).replace("'", "''")
    connection.execute(f"ATTACH '{quoted}' AS exported")
    try:
        for table in TABLES:
            connection.execute(f"CREATE TABLE exported.{table} AS {_of(table)}", {"runs": runs})
    finally:
        connection.execute("DETACH exported")


def export_tensorboard(connection: duckdb.DuckDBPyConnection, runs: list[str], folder: Path) -> None:
    """Write the metrics and every layer's quantities as scalars to `<folder>/<run>`. Needs torch and tensorboard."""
    from torch.utils.tensorboard import SummaryWriter

    metrics = "SELECT name, step, value FROM metrics WHERE run = $run ORDER BY ALL"
    layers = "SELECT '{0}/' || layer, step, {0} FROM trust_ratios WHERE run = $run ORDER BY ALL"
    for run in runs:
        with SummaryWriter(str(folder / run)) as writer:
            for query in (metrics, *(layers.format(quantity) for quantity in QUANTITIES)):
                _add(connection, query, run, writer.add_scalar)


def _add(connection: duckdb.DuckDBPyConnection, query: str, run: str, add: Callable[[str, float, int], None]) -> None:
    for batch in connection.sql(query, params={"run": run}).to_arrow_reader(100_000):
        for name, step, value in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            add(name, value, step)


def _of(table: str) -> str:
    return f"SELECT * FROM {table} WHERE run IN (SELECT unnest($runs::VARCHAR[]))"
