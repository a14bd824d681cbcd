"""The columns of a log, written down once: writer, views, documentation and tests read them here."""

from dataclasses import dataclass

import pyarrow as pa

FORMAT = 1
"""What run.json says under "format"; it changes when a reader of today could not read the log of tomorrow."""


@dataclass(frozen=True)
class LogTable:
    """A table of the log: the files `<run>/<folder>/*.parquet`, all of one schema.

    series: the column that names a series; the rows of a file are sorted by series, then by step.
    measured: the columns with measured values.
    """

    folder: str
    series: str
    schema: pa.Schema
    measured: tuple[str, ...]


TRUST_RATIOS = LogTable(
    folder="trust_ratios",
    series="layer",
    schema=pa.schema(
        [
            ("run", pa.string()),
            ("step", pa.int64()),
            ("epoch", pa.int32()),
            ("layer", pa.string()),
            ("weight_norm", pa.float32()),
            ("update_norm", pa.float32()),
            ("trust_ratio", pa.float32()),
            ("clipped_ratio", pa.float32()),
            ("lower", pa.float32()),
            ("upper", pa.float32()),
            ("lr", pa.float32()),
        ]
    ),
    # In the order of the rows of an optimizer's `record.table`.
    measured=("weight_norm", "update_norm", "trust_ratio", "clipped_ratio", "lower", "upper", "lr"),
)
"""A row is a layer in a step."""

METRICS = LogTable(
    folder="metrics",
    series="name",
    schema=pa.schema(
        [
            ("run", pa.string()),
            ("step", pa.int64()),
            ("epoch", pa.int32()),
            ("time", pa.timestamp("us", tz="UTC")),
            ("name", pa.string()),
            ("value", pa.float64()),
        ]
    ),
    measured=("value",),
)
"""A row is a value that was logged."""

LOG_TABLES = (TRUST_RATIOS, METRICS)
