"""The columns of a log, written down once: writer, views, documentation and tests read them here."""

from dataclasses import dataclass

import pyarrow as pa

FORMAT = 1
"""`format` in run.json; it changes when existing readers could not read new logs."""


@dataclass(frozen=True)
class LogTable:
    """A table of the log: the files `<run>/<folder>/*.parquet`, all of one schema.

    schema: the columns that every file has. added: columns that older files lack; their values may be null.
    series: the column that names a series; the rows of a file are sorted by series, then by step.
    measured: the columns with measured values that are never null.
    pruned_by: columns, besides the run, the series and the step, by which a reader skips row groups.
    """

    folder: str
    series: str
    schema: pa.Schema
    measured: tuple[str, ...]
    pruned_by: tuple[str, ...] = ()
    added: tuple[pa.Field, ...] = ()

    @property
    def full(self) -> pa.Schema:
        """The columns of a file that is written today."""
        return pa.schema([*self.schema, *self.added])

    def complete(self, rows: pa.Table) -> pa.Table:
        """`rows` with all columns; in those that it lacks every value is null."""
        for column in self.added:
            if column.name not in rows.column_names:
                rows = rows.append_column(column, pa.nulls(rows.num_rows, column.type))
        return rows.cast(self.full)


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
    # The row after these, if the table has one.
    added=(pa.field("grad_norm", pa.float32()),),
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
"""The recorded tables, which cannot be rebuilt."""

_MEASURED_IN_CELLS = (
    "weight_norm_min",
    "weight_norm_max",
    "update_norm_min",
    "update_norm_max",
    "trust_ratio_min",
    "trust_ratio_max",
    "trust_ratio_mean",
    "trust_ratio_log_mean",
    "clipped_ratio_min",
    "clipped_ratio_max",
    "clipped_ratio_log_mean",
    "relative_step_max",
    "lower",
    "upper",
)

ROLLUPS = LogTable(
    folder="rollups",
    series="layer",
    schema=pa.schema(
        [
            ("run", pa.string()),
            ("level", pa.int32()),
            ("last_level", pa.int32()),
            ("layer", pa.string()),
            ("step", pa.int64()),
            ("last_step", pa.int64()),
            ("epoch", pa.int32()),
            ("rows", pa.int64()),
            ("adapted", pa.int64()),
            ("upper_hits", pa.int64()),
            ("lower_hits", pa.int64()),
            ("fallbacks", pa.int64()),
            ("not_finite", pa.int64()),
            ("first_hit", pa.int64()),
            ("last_hit", pa.int64()),
            *((name, pa.float32()) for name in _MEASURED_IN_CELLS),
            ("ratio_bins", pa.list_(pa.int16())),
            ("ratio_rows", pa.list_(pa.int32())),
        ]
    ),
    measured=_MEASURED_IN_CELLS,
    pruned_by=("level", "last_level"),
    added=(pa.field("grad_norm_min", pa.float32()), pa.field("grad_norm_max", pa.float32())),
)
"""A row is a cell: a layer in the 2^level steps from `step` on, which is the cell of all levels up to
`last_level`, with a histogram of its ratios where the cell is large
(collector.log.rollups)."""
