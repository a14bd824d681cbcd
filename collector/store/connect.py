"""The store: a log as views in DuckDB."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import duckdb

from collector.log import remote
from collector.log.listing import run_folders, run_version
from collector.store.runs import RunFiles, read_runs
from collector.store.sandbox import MAX_BYTES, MAX_ROWS, MEMORY, TIMEOUT, Sandbox
from collector.store.verify import verified
from collector.store.views import create_views

Roots = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

if TYPE_CHECKING:  # typing would keep them to the end, and duckdb with them, which complains of it in forty lines

    @overload
    def connect(root: Roots, *, verify: bool = False) -> duckdb.DuckDBPyConnection: ...
    @overload
    def connect(
        root: Roots,
        *,
        untrusted: Literal[True],
        verify: bool = False,
        timeout: float | None = TIMEOUT,
        max_rows: int = MAX_ROWS,
        max_bytes: int = MAX_BYTES,
        memory: str = MEMORY,
    ) -> Sandbox: ...


def connect(
    root: Roots, *, untrusted: bool = False, verify: bool = False, **limits: Any
) -> duckdb.DuckDBPyConnection | Sandbox:
    """Returns a DuckDB connection with the views and macros of a log.

    The views are `runs`, `layers`, `attempts`, `trust_ratios`, `metrics`, `metric_names`, `clip_hits`, `run_results`,
    `run_summaries`, `accuracy_epochs` and `problems`; docs/sql.md has them all, and the macros.

    root: the folder of all runs or its URL (s3://bucket/runs, which is copied to this machine), or several of them; a
        run's name has its root's before it where two have one of that name. What a row of a view is, its file in
        collector/sql/ says.

    It shows the files of now: for rows that were flushed later, connect again when `fingerprint` has changed. Files
    that are merged meanwhile stay readable for ten minutes, or until their run ends; a query raises duckdb.IOException
    then, and a new connection helps. So it does after duckdb.FatalException: an internal error of DuckDB, as a damaged
    page may cause, ends a connection. A file that is damaged or foreign is left out and named in `problems`.
    `connection.sql(…).to_arrow_table()` gives Arrow.

    untrusted: for SQL that somebody else wrote. A process of its own answers `execute(sql)` with a pyarrow.Table, reads
        the log, and can do nothing else (collector.store.sandbox.Sandbox). timeout: seconds a query may take, or None.
        max_rows, max_bytes: where an answer is cut off. memory: what DuckDB may take, as '512MB'.
    verify: every page is read and compared with its checksum, which DuckDB does not do, once for each version of a file
        in a process: one that does not agree is left out and named in `problems`.

    Raises FileNotFoundError for a root that is not there, OSError for a URL that cannot be read, ValueError for one
    that is not understood.
    """
    roots = _folders(root)
    if untrusted:
        usual: dict[str, Any] = {"timeout": TIMEOUT, "max_rows": MAX_ROWS, "max_bytes": MAX_BYTES, "memory": MEMORY}
        return Sandbox(roots, verify=verify, **(usual | limits))
    if limits:
        raise TypeError(f"{', '.join(limits)}: only connect(root, untrusted=True) has limits")
    try:
        return _connect(_runs(roots, verify))
    except duckdb.IOException:  # a run ended in between, and merged its parts
        return _connect(_runs(roots, verify))


def fingerprint(root: Roots) -> str:
    """A token that changes when a part or a run.json is added, changed or removed; a heartbeat does not change it.

    Reads no part, only the folders; at a URL, heartbeats do change it (collector.log.remote). Raises as `connect`.
    """
    roots = _listed(root)
    seen = hashlib.sha256("".join(remote.fingerprint(str(each)) for each in roots if remote.is_url(each)).encode())
    folders = _folders([each for each in roots if not remote.is_url(each)])
    for folder in (folder for each in folders for folder in run_folders(each)):
        seen.update(os.fsencode(folder) + run_version(folder).encode())
    return seen.hexdigest()


def _listed(root: Roots) -> Sequence[str | os.PathLike[str]]:
    return [root] if isinstance(root, str | os.PathLike) else root


def _folders(root: Roots) -> list[Path]:
    folders = (remote.fetch(str(each)) if remote.is_url(each) else remote.local_folder(each) for each in _listed(root))
    return list(dict.fromkeys(folders))


def _runs(roots: Sequence[Path], verify: bool) -> list[RunFiles]:
    return verified(read_runs(roots)) if verify else read_runs(roots)


def _connect(runs: Sequence[RunFiles]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    create_views(connection, runs)
    return connection
