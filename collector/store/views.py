"""The views of a log in DuckDB, over the files that a listing found."""

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb

from collector.log import rollups
from collector.log.parts import replaced_folder
from collector.log.run import SILENT
from collector.log.schema import METRICS, ROLLUPS, TRUST_RATIOS, LogTable
from collector.store.families import families
from collector.store.footers import TYPES, pattern
from collector.store.runs import RunFiles

KINDS = {"trust_ratios": TRUST_RATIOS, "metrics": METRICS, "fresh": TRUST_RATIOS, "rollups": ROLLUPS}
"""What log.rows reads: the tables, and the trust ratios by whether there is a rollup of them."""

STATEMENTS = (
    "log_rows",
    "log_trust_ratios",
    "log_metrics",
    "log_run_rows",
    "log_runs",
    "runs",
    "layers",
    "attempts",
    "log_attempt_rows",
    "log_clock",
    "outcome",
    "relative_step",
    "trust_ratios",
    "metrics",
    "hit_rate",
    "hit_share",
    "clip_hits",
    "problems",
    # Cells: rollups, and rows where there are none.
    "run_stride",
    "cell_width",
    "cell_start",
    "log_shown_width",
    "ratio_bin",
    "log_row_cells",
    "log_cells",
    "log_cells_shown",
    "log_inner_width",
    "log_inner_start",
    "log_inner_end",
    "log_cells_between",
    "log_layer_means",
    "log_means_shown",
    "log_place_width",
    "log_places",
    # What a page, a terminal or a notebook asks: macros with a row for each cell, point or layer.
    "furthest_from_1",
    "heatmap",
    "heatmap_rows",
    "hit_rate_rows",
    "compare_rows",
    "usual_ratios",
    "layers_at",
    "ratio_curve",
    "ratio_envelope",
    "ratio_histogram",
    "ratio_quantiles",
    "ratio_survival",
    "suggested_bounds",
    "metric_roles",
    "log_metric_names",
    "metric_names",
    "metric_curve",
    "metric_cells",
    "metric_epochs",
    "epoch_steps",
    "hit_rate_by_layer",
    "hit_rate_over_time",
    "clipped_throughout",
    "constant_ratios",
    "not_finite",
    "events",
    "compare_layers",
    "gradient_clips",
    "accuracy_epochs",
    "hit_rate_curves",
    "log_results",
    "run_results",
    "run_summaries",
)
"""What `connect` runs, in this order, once the rows are there: each is a file in collector/sql/."""


_parsed: dict[str, list[duckdb.Statement]] = {}
"""What each file says, for every connection of a process: to parse it is a third of what one takes."""

_COLUMN = "STRUCT(name VARCHAR, type VARCHAR, default_value VARCHAR)"


def create_views(connection: duckdb.DuckDBPyConnection, runs: Sequence[RunFiles]) -> None:
    """Make the views over the files of `runs` in a new connection."""
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET parquet_metadata_cache = true")  # a part never changes under its name but for a resume
    _set_no_progress_bar(connection)
    run_statement(connection, "log")
    connection.execute("SET VARIABLE silent = ?", [SILENT])
    _set_rows(connection, "runs", [_run_row(run) for run in runs])
    _set_rows(connection, "layers", [row for run in runs for row in _layer_rows(run)])
    _set_rows(connection, "attempts", [row for run in runs for row in _attempt_rows(run)])
    _set_rows(connection, "problems", [row for run in runs for row in _problem_rows(run)])
    for kind, table in KINDS.items():
        _set_files(connection, kind, table, runs)
    names = [run.name for run in runs]
    steps = {"names": names, "steps": [run.steps for run in runs]}
    own_axis = {"names": names, "metrics": [_own_axis(run) for run in runs]}
    strides = {"names": names, "strides": [[stretch._asdict() for stretch in run.strides] for run in runs]}
    connection.execute("SET VARIABLE finest_width = ?", [2**rollups.FINEST])
    connection.execute("SET VARIABLE coarsest_width = ?", [2**rollups.COARSEST])
    connection.execute("SET VARIABLE any_level = ?", [rollups.ANY])
    connection.execute("SET VARIABLE binned_width = ?", [2**rollups.BINNED])
    connection.execute("SET VARIABLE bins_an_octave = ?", [rollups.BINS_AN_OCTAVE])
    connection.execute("SET VARIABLE steps_by_run = map($names::VARCHAR[], $steps::BIGINT[])", steps)
    connection.execute("SET VARIABLE own_axis_by_run = map($names::VARCHAR[], $metrics::VARCHAR[][])", own_axis)
    stretch = "STRUCT(first_step BIGINT, last_step BIGINT, stride BIGINT)"
    connection.execute(f"SET VARIABLE strides_by_run = map($names::VARCHAR[], $strides::{stretch}[][])", strides)
    run_statement(connection, "log_files_of")
    run_statement(connection, "log_read_older" if any(run.older for run in runs) else "log_read")
    if any(run.name != run.folder.name for run in runs):
        for kind in KINDS:
            _set_names(connection, kind, runs)
        run_statement(connection, "log_renamed_rows_of")
    else:
        run_statement(connection, "log_rows_of")
    _create_heartbeats(connection, runs)
    for name in STATEMENTS:
        run_statement(connection, name)


def _set_no_progress_bar(connection: duckdb.DuckDBPyConnection) -> None:
    """Have no bar written into an answer after two seconds; in a notebook without ipywidgets DuckDB lets nobody ask."""
    if connection.sql("SELECT current_setting('enable_progress_bar')").fetchall() != [(False,)]:
        connection.execute("SET enable_progress_bar = false")


def files_read(runs: Sequence[RunFiles]) -> list[str]:
    """Every path that the views over `runs` ask DuckDB for: patterns, what they find, and where a merge moves it."""
    heartbeats = {str(run.heartbeat) for run in runs if run.heartbeat}
    paths = heartbeats | {pattern(file) for file in heartbeats} | {_no_rows(table) for table in KINDS.values()}
    for run in runs:
        for file in {file for kind in KINDS for file in _files(run, kind)}:
            path = Path(file)
            paths |= {file, _part_pattern(run, file), str(replaced_folder(path.parent) / path.name)}
    return sorted(paths)


def run_statement(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Run what is in collector/sql/`name`.sql."""
    if name not in _parsed:
        text = resources.files("collector").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
        _parsed[name] = connection.extract_statements(text)
    for statement in _parsed[name]:
        connection.execute(statement)


def _set_rows(connection: duckdb.DuckDBPyConnection, name: str, rows: list[dict[str, Any]]) -> None:
    """Hand small tables over as JSON in a variable: their types stand in the SQL that reads them."""
    connection.execute(f"SET VARIABLE {name} = ?", [json.dumps(rows)])


def _part_pattern(run: RunFiles, file: str) -> str:
    """Finds a part of a run that goes on also where a merge moves it (collector.log.parts.replaced_folder)."""
    if not run.goes_on:
        return pattern(file)  # DuckDB has fewer folders to look into
    path = Path(file)
    return f"{pattern(str(path.parent.parent))}/*{path.parent.name}/{pattern(path.name)}"


def _set_files(connection: duckdb.DuckDBPyConnection, kind: str, table: LogTable, runs: Sequence[RunFiles]) -> None:
    """Say which files log.rows(kind) reads; where there are none, one without rows: read_parquet wants at least one."""
    found = {run.name: [_part_pattern(run, file) for file in files] for run in runs if (files := _files(run, kind))}
    none = _no_rows(table)
    every = [pattern for patterns in found.values() for pattern in patterns]
    connection.execute(f"SET VARIABLE {kind}_none = ?", [none])
    connection.execute(f"SET VARIABLE {kind}_files = ?", [every or [none]])
    _set_columns(connection, kind, table)
    connection.execute(
        f"SET VARIABLE {kind}_by_run = map($names::VARCHAR[], $files::VARCHAR[][])",
        {"names": list(found), "files": list(found.values())},
    )


def _set_columns(connection: duckdb.DuckDBPyConnection, kind: str, table: LogTable) -> None:
    """Say which columns log.rows(kind) has, also where a file lacks one."""
    columns = [{"name": each.name, "type": TYPES[each.type], "default_value": None} for each in table.full]
    connection.execute(
        f"SET VARIABLE {kind}_columns = map($names::VARCHAR[], $columns::{_COLUMN}[])",
        {"names": table.full.names, "columns": columns},
    )


def _set_names(connection: duckdb.DuckDBPyConnection, kind: str, runs: Sequence[RunFiles]) -> None:
    """Say what the run of each file is called here, where that is not what its rows say."""
    rows = [{"filename": file, "run": run.name} for run in runs for file in _files(run, kind)]
    _set_rows(connection, f"{kind}_runs", rows)


def _no_rows(table: LogTable) -> str:
    return str(resources.files("collector").joinpath("sql", f"no_{table.folder}.parquet"))


def _files(run: RunFiles, kind: str) -> list[str]:
    return {"fresh": run.fresh, "rollups": run.rollups, **run.files}[kind]


def _create_heartbeats(connection: duckdb.DuckDBPyConnection, runs: Sequence[RunFiles]) -> None:
    files = [{"filename": str(run.heartbeat), "run": run.name} for run in runs if run.heartbeat]
    connection.execute("SET VARIABLE heartbeat_files = ?", [[pattern(file["filename"]) for file in files]])
    _set_rows(connection, "heartbeat_runs", files)
    run_statement(connection, "log_heartbeats" if files else "log_no_heartbeats")


def _run_row(run: RunFiles) -> dict[str, Any]:
    keys = ("status", "started", "finished", "config", "failure")
    beat = {"last_word": run.last_word, "last_step": run.last_step}
    read = {"run": run.name, "steps": run.steps, "version": run.version} | beat
    return read | {key: run.contents[key] for key in keys if run.contents}


def _layer_rows(run: RunFiles) -> list[dict[str, Any]]:
    layers = (run.contents or {"layers": []})["layers"]
    places = families((layer["layer"], layer["shape"]) for layer in layers)
    return [layer | {"run": run.name, **places[layer["layer"]]._asdict()} for layer in layers]


def _attempt_rows(run: RunFiles) -> list[dict[str, Any]]:
    attempts = (run.contents or {"attempts": []})["attempts"]
    return [{"run": run.name, "attempt": number, "noted": each} for number, each in enumerate(attempts, start=1)]


def _own_axis(run: RunFiles) -> list[str]:
    noted = (run.contents or {}).get("own_axis")
    return [name for name in noted if isinstance(name, str)] if isinstance(noted, list) else []


def _problem_rows(run: RunFiles) -> list[dict[str, Any]]:
    return [{"run": run.name, "file": file, "problem": problem} for file, problem in run.problems]
