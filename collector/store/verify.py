"""Leaves out files whose pages do not agree with their checksums, which DuckDB does not look at."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from collector.log.listing import stamp
from collector.log.rollups import rollup_path
from collector.log.schema import TRUST_RATIOS
from collector.store.footers import damaged
from collector.store.runs import RunFiles

_BATCH = 2**16
_VERSIONS_KEPT = 2**16


def verified(runs: Sequence[RunFiles]) -> list[RunFiles]:
    """The runs without the files that have damaged pages, which are named; each version of a file is read once."""
    return [_verified(run) for run in runs]


def _verified(run: RunFiles) -> RunFiles:
    reasons = {file: _reason(file) for files in (*run.files.values(), run.rollups) for file in files}
    rows = {table: [file for file in files if not reasons[file]] for table, files in run.files.items()}
    named = [(file, damaged(reasons[file])) for files in run.files.values() for file in files if reasons[file]]
    # A rollup that cannot be read costs nothing: its part's rows are read in its place.
    rollups = [file for file in run.rollups if not reasons[file]]
    covered = set(rollups)
    fresh = [part for part in rows[TRUST_RATIOS.folder] if str(rollup_path(Path(part))) not in covered]
    kept = {str(rollup_path(Path(part))) for part in rows[TRUST_RATIOS.folder]}
    return replace(
        run,
        files=rows,
        rollups=[rollup for rollup in rollups if rollup in kept],
        fresh=fresh,
        problems=run.problems + named,
    )


def _reason(file: str) -> str:
    """Why the pages of a file cannot be relied on, or ''."""
    try:
        return _read(file, stamp(os.stat(file)))
    except OSError:  # it was merged just now: a query says so
        return ""


@lru_cache(_VERSIONS_KEPT)
def _read(file: str, version: str) -> str:
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as pages:
            for _ in pages.iter_batches(_BATCH, use_threads=False):
                pass
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, ValueError, MemoryError) as error:
        return str(error).partition("\n")[0]
    return ""
