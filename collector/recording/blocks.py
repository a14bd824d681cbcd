"""What passes from the recorder to the writer: consecutive steps, values that were logged, and going back."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, NamedTuple

import pyarrow as pa

from collector.log.arrays import numbers, of_buffer, strings
from collector.log.run import Layer
from collector.log.schema import METRICS, TRUST_RATIOS
from collector.recording.ring import HostCopy


@dataclass(eq=False)
class Rewind:
    """The step count went back: rows from `first_step` on will be recorded again.

    layers: whose rows those are; None for all. attempt: the step at which an attempt of the run begins with it; None if
    it belongs to one that has begun. at: when that was, as when a state was loaded; the writer learns of it with the
    next flush.
    """

    first_step: int
    layers: tuple[str, ...] | None
    attempt: int | None
    at: datetime
    nbytes: ClassVar[int] = 0
    count: ClassVar[int] = 0


@dataclass(eq=False)
class MetricRewind:
    """Metrics went back: their values from `first_step` on are about to come anew.

    names: of metrics with an axis of their own; None for all that are logged at the optimizer's step.
    """

    first_step: int
    names: tuple[str, ...] | None
    nbytes: ClassVar[int] = 0
    count: ClassVar[int] = 0


@dataclass(eq=False)
class TrustRatioBlock:
    """Consecutive steps of one optimizer. `values` is float32 of shape [steps, 7 or 8, layers]."""

    names: tuple[str, ...]
    layers: tuple[Layer, ...]
    steps: list[int]
    epochs: list[int]
    values: HostCopy

    @property
    def nbytes(self) -> int:
        """Memory on the host, roughly."""
        return self.values.nbytes

    @property
    def count(self) -> int:
        """How many rows it has at most: a layer that had no step gets none."""
        return len(self.steps) * len(self.names)

    def rows(self, run: str) -> pa.Table:
        """As rows of the log, by layer and step. Waits for the device."""
        values = self.values.wait().permute(1, 2, 0)  # [7 or 8, layers, steps]
        stepped = ~values[TRUST_RATIOS.measured.index("lr")].isnan()
        layer, step = (index.contiguous() for index in stepped.nonzero(as_tuple=True))
        columns = [
            pa.repeat(strings([run])[0], len(layer)),
            numbers(self.steps, pa.int64()).take(of_buffer(step.numpy(), pa.int64())),
            numbers(self.epochs, pa.int32()).take(of_buffer(step.numpy(), pa.int64())),
            strings(self.names).take(of_buffer(layer.numpy(), pa.int64())),
            *(of_buffer(column.numpy(), pa.float32()) for column in values[:, stepped]),
        ]
        return pa.table(columns, schema=pa.schema([*TRUST_RATIOS.full][: len(columns)]))


class MetricRow(NamedTuple):
    """A value that was logged.

    step: None before a resumed run took its first step. time: microseconds since 1970. value: None if it came as a
    tensor, which is in `slot` of the ring. own_axis: whether `step` was given, and is no count of the optimizer's.
    """

    step: int | None
    epoch: int
    time: int
    name: str
    value: float | None
    slot: int = 0
    own_axis: bool = False


@dataclass(eq=False)
class MetricBlock:
    """Values that were logged, and the ring's slots of those that came as tensors: float of shape [slots]."""

    entries: list[MetricRow]
    values: HostCopy | None

    @property
    def nbytes(self) -> int:
        """Memory on the host, roughly."""
        return 200 * self.count

    @property
    def count(self) -> int:
        """How many rows it has."""
        return len(self.entries)

    def drop_late(self) -> int:
        """Give up the values that came as tensors; returns how many."""
        known = [row for row in self.entries if row.value is not None]
        dropped = len(self.entries) - len(known)
        self.entries, self.values = known, None
        return dropped

    def rows(self, run: str) -> pa.Table:
        """As rows of the log. Waits for the device."""
        if not self.entries:
            return METRICS.schema.empty_table()
        late = self.values.wait().tolist() if self.values else []
        steps, epochs, times, names, values, slots, _ = zip(*self.entries, strict=True)
        values = tuple(late[slot] if value is None else value for value, slot in zip(values, slots, strict=True))
        columns = [
            pa.repeat(strings([run])[0], self.count),
            numbers(steps, pa.int64()),
            numbers(epochs, pa.int32()),
            numbers(times, METRICS.schema.field("time").type),
            strings(names),
            numbers(values, pa.float64()),
        ]
        return pa.table(columns, schema=METRICS.schema)


Block = Rewind | MetricRewind | TrustRatioBlock | MetricBlock
