"""A log for other tools: CSV or Parquet files, one DuckDB file, TensorBoard's event files."""

from pathlib import Path

import duckdb

TABLES = ("runs", "layers", "trust_ratios", "metrics")
"""What is exported, each the view of that name."""

QUANTITIES = ("weight_norm", "update_norm", "trust_ratio", "clipped_ratio", "upper", "lower", "grad_norm")
"""What TensorBoard gets of each layer, as `trust_ratio/<layer>` and so on; no gradient norm where there is none."""


def export_files(connection: duckdb.DuckDBPyConnection, runs: list[str], folder: Path, kind: str) -> None:
    """Write `<folder>/<table>.<kind>` for each table, where `kind` is csv or parquet, of some runs of a store."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in TABLES:
        rows, path = _of(connection.table(table), runs), str(folder / f"{table}.{kind}")
        rows.write_csv(path) if kind == "csv" else rows.write_parquet(path)


def export_duckdb(connection: duckdb.DuckDBPyConnection, runs: list[str], path: Path) -> None:
    """Write the tables of some runs into a new DuckDB file."""
    quoted = str(path).replace("'", "''")
    connection.execute(f"ATTACH '{quoted}' AS exported")
    try:
        for table in TABLES:
            _of(connection.table(table), runs).create(f"exported.{table}")
    finally:
        connection.execute("DETACH exported")


def export_tensorboard(connection: duckdb.DuckDBPyConnection, runs: list[str], folder: Path) -> None:
    """Write the metrics and every layer's quantities as scalars to `<folder>/<run>`. Needs torch and tensorboard."""
    from torch.utils.tensorboard import SummaryWriter

    for run in runs:
        metrics, layers = (_of(connection.table(table), [run]) for table in ("metrics", "trust_ratios"))
        scalars = [metrics.project("name, step, value")]
        scalars += [
            layers.filter(f"{each} IS NOT NULL").project(f"'{each}/' || layer, step, {each}") for each in QUANTITIES
        ]
        with SummaryWriter(str(folder / run)) as writer:
            for relation in scalars:
                for batch in relation.order("ALL").to_arrow_reader(100_000):
                    for name, step, value in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                        writer.add_scalar(name, value, step)


def _of(table: duckdb.DuckDBPyRelation, runs: list[str]) -> duckdb.DuckDBPyRelation:
    return table.filter(duckdb.ColumnExpression("run").isin(*map(duckdb.ConstantExpression, runs)))
