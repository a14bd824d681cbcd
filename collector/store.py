"""The store: a log as views in DuckDB."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path

import duckdb
import pyarrow as pa

from collector.log_files import RunFiles, read_runs, run_folders
from collector.parts import list_files
from collector.schema import LOG_TABLES, LogTable

Roots = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

STATEMENTS = ("runs", "layers", "trust_ratios", "metrics", "clip_hits", "problems")
"""What `connect` runs, in this order, once the rows are there: each is a file in collector/sql/."""

_RUNS = pa.schema(
    [
        ("run", pa.string()),
        ("status", pa.string()),
        ("started", pa.timestamp("us", tz="UTC")),
        ("finished", pa.timestamp("us", tz="UTC")),
        ("steps", pa.int64()),
        ("config", pa.string()),
        ("failure", pa.string()),
    ]
)
_LAYERS = pa.schema(
    [
        ("run", pa.string()),
        ("layer", pa.string()),
        ("position", pa.int32()),
        ("shape", pa.list_(pa.int64())),
        ("parameters", pa.int64()),
        ("group", pa.int32()),
    ]
)
_PROBLEMS = pa.schema([("run", pa.string()), ("file", pa.string()), ("problem", pa.string())])
_FILES = pa.schema([("filename", pa.string()), ("run", pa.string())])
_HEARTBEATS = pa.schema([("run", pa.string()), ("heartbeat", pa.timestamp("us", tz="UTC")), ("step", pa.int64())])


def connect(root: Roots) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with the views `runs`, `layers`, `trust_ratios`, `metrics`, `clip_hits` and `problems`.

    root: the folder of all runs, or several of them; a run's name has its root's before it where two have one of that
        name. What a row of a view is, its file in collector/sql/ says.

    It shows the files of now: for rows that were flushed later, connect again when `fingerprint` has changed. A file
    that is damaged or foreign is left out and named in `problems`. `connection.sql(…).to_arrow_table()` gives Arrow.

    Raises FileNotFoundError for a root that is not there.
    """
    runs = read_runs(_folders(root))
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    _run_statement(connection, "log")
    _create(connection, "log.runs", _RUNS, (_run_row(run) for run in runs))
    _create(connection, "log.layers", _LAYERS, (row for run in runs for row in _layer_rows(run)))
    _create(connection, "log.problems", _PROBLEMS, ((run.name, *problem) for run in runs for problem in run.problems))
    for table in LOG_TABLES:
        _create_log_table(connection, table, runs)
    _create_heartbeats(connection, runs)
    for name in STATEMENTS:
        _run_statement(connection, name)
    return connection


def fingerprint(root: Roots) -> str:
    """A token that changes when a part or a run.json is added, changed or removed; a heartbeat does not change it.

    Reads no file, only the folders. Raises FileNotFoundError for a root that is not there.
    """
    seen = hashlib.sha256()
    for folder in (folder for each in _folders(root) for folder in run_folders(each)):
        parts = (path for table in LOG_TABLES for path in list_files(folder / table.folder))
        for path in (folder / "run.json", *parts):
            try:
                status = path.stat()
            except FileNotFoundError:  # merged just now, or never there
                continue
            seen.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return seen.hexdigest()


def _folders(root: Roots) -> list[Path]:
    roots = [root] if isinstance(root, str | os.PathLike) else root
    return list(dict.fromkeys(Path(each).absolute() for each in roots))


def _run_statement(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    connection.execute(resources.files("collector").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8"))


def _create(connection: duckdb.DuckDBPyConnection, name: str, schema: pa.Schema, rows: Iterable[tuple]) -> None:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(column, kind.type) for column, kind in zip(columns, schema, strict=True)]
    connection.from_arrow(pa.table(arrays, schema=schema)).create(name)


def _create_log_table(connection: duckdb.DuckDBPyConnection, table: LogTable, runs: Sequence[RunFiles]) -> None:
    """The rows of a table as `log.<table>`; read_parquet refuses an empty list, so no files are an empty table."""
    files = [(file, run.name) for run in runs for file in run.files[table.folder]]
    if not files:
        _create(connection, f"log.{table.folder}", table.schema, [])
        return
    connection.execute(f"SET VARIABLE {table.folder}_files = ?", [[file for file, _ in files]])
    renamed = any(run.name != run.folder.name for run in runs)
    if renamed:
        _create(connection, f"log.{table.folder}_files", _FILES, files)
    _run_statement(connection, f"log_renamed_{table.folder}" if renamed else f"log_{table.folder}")


def _create_heartbeats(connection: duckdb.DuckDBPyConnection, runs: Sequence[RunFiles]) -> None:
    files = [(str(run.heartbeat), run.name) for run in runs if run.heartbeat]
    if not files:
        _create(connection, "log.heartbeats", _HEARTBEATS, [])
        return
    connection.execute("SET VARIABLE heartbeat_files = ?", [[file for file, _ in files]])
    _create(connection, "log.heartbeat_files", _FILES, files)
    _run_statement(connection, "log_heartbeats")


def _run_row(run: RunFiles) -> tuple:
    if run.contents is None:
        return (run.name, None, None, None, run.steps, None, None)
    contents = run.contents
    return (
        run.name,
        contents["status"],
        datetime.fromisoformat(contents["started"]),
        datetime.fromisoformat(contents["finished"]) if contents["finished"] else None,
        run.steps,
        json.dumps(contents["config"]),
        contents["failure"],
    )


def _layer_rows(run: RunFiles) -> list[tuple]:
    keys = ("layer", "position", "shape", "parameters", "group")
    return [(run.name, *(layer[key] for key in keys)) for layer in (run.contents or {"layers": []})["layers"]]
