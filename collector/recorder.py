"""What was recorded and is not on the disk yet: rings on the device, blocks on the host."""

import math
import operator
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from torch import Tensor

from collector.arrays import numbers, of_buffer, strings
from collector.ring import HostCopy, Ring
from collector.run import Layer
from collector.schema import METRICS, TRUST_RATIOS

_MOST_BYTES = 256 * 2**20
"""How much is kept on the host while the disk takes nothing; beyond that the oldest rows are lost."""


class Rewind(NamedTuple):
    """The count of steps went back: rows from `first_step` on are about to come anew.

    layers: whose rows those are; None for all. metrics: whether the metrics from that step on come anew too.
    """

    first_step: int
    layers: tuple[str, ...] | None
    metrics: bool


@dataclass(eq=False)
class TrustRatioBlock:
    """Consecutive steps of one optimizer. `values` is float32 of shape [steps, 7, layers]."""

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
        values = self.values.wait().permute(1, 2, 0)  # [7, layers, steps]
        stepped = ~values[TRUST_RATIOS.measured.index("lr")].isnan()
        layer, step = (index.contiguous() for index in stepped.nonzero(as_tuple=True))
        columns = [
            pa.repeat(strings([run])[0], len(layer)),
            numbers(self.steps, pa.int64()).take(of_buffer(step.numpy(), pa.int64())),
            numbers(self.epochs, pa.int32()).take(of_buffer(step.numpy(), pa.int64())),
            strings(self.names).take(of_buffer(layer.numpy(), pa.int64())),
            *(of_buffer(column.numpy(), pa.float32()) for column in values[:, stepped]),
        ]
        return pa.table(columns, schema=TRUST_RATIOS.schema)


class MetricRow(NamedTuple):
    """A value that was logged.

    step: None before a resumed run took its first step. time: microseconds since 1970. value: None if in the ring.
    """

    step: int | None
    epoch: int
    time: int
    name: str
    value: float | None


@dataclass(eq=False)
class MetricBlock:
    """Values that were logged, and those of them that came as tensors: float of shape [values], in their order."""

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

    def rows(self, run: str) -> pa.Table:
        """As rows of the log. Waits for the device."""
        late = iter(self.values.wait().tolist() if self.values else ())
        steps, epochs, times, names, values = zip(*self.entries, strict=True)
        columns = [
            pa.repeat(strings([run])[0], self.count),
            numbers(steps, pa.int64()),
            numbers(epochs, pa.int32()),
            numbers(times, METRICS.schema.field("time").type),
            strings(names),
            numbers((next(late) if value is None else value for value in values), pa.float64()),
        ]
        return pa.table(columns, schema=METRICS.schema)


Block = Rewind | TrustRatioBlock | MetricBlock


class _Source:
    """One optimizer, and the steps of it that are in its ring."""

    def __init__(self, optimizer: Any, *, resumed: bool) -> None:
        self.optimizer = optimizer
        self.said: tuple[str, ...] = ()  # record.layers; the same object until a group is added
        self.names = tuple(_strip(name) for name in _names(optimizer.param_groups))
        self.ring: Ring  # there from the first record on
        self.steps: list[int] = []
        self.epochs: list[int] = []
        # A step that is not above this one is a step that comes anew; the first step of a resumed run always is.
        self.last_step: float = math.inf if resumed else -math.inf


class Recorder:
    """Takes records and metrics from the training thread, and gives them as blocks to whoever writes them.

    optimizers: what offers `register_trust_ratio_hook`. model: for the layers' depth order, or None.
    resumed_after: the last step that the log of a resumed run holds; None for a new run.

    Every method may be called from any thread. Raises ValueError if two layers have one name.
    """

    def __init__(self, optimizers: Sequence[Any], model: torch.nn.Module | None, *, resumed_after: int | None) -> None:
        self.epoch = 0
        self.step = resumed_after or 0
        self.lost_rows = 0
        self.filled = threading.Event()  # there is so much that it should be written before its time
        self._process = os.getpid()
        self._lock = threading.Lock()
        resumed = resumed_after is not None
        self._sources = [_Source(optimizer, resumed=resumed) for optimizer in optimizers]
        # Until a resumed run has taken a step, nobody knows from where on it goes: metrics are held until then.
        self._holding = resumed
        self._depth = {id(param): depth for depth, param in enumerate(model.parameters() if model else ())}
        self._entries: list[MetricRow] = []
        self._scalars: Ring | None = None
        self._blocks: list[Block] = []
        self.layers = self._layer_table()

    def hooks(self) -> Iterator[tuple[Any, Callable[[Any], None]]]:
        """Each optimizer, and the trust-ratio hook that records it."""
        for source in self._sources:
            yield source.optimizer, partial(self._record, source)

    def log(self, metrics: Mapping[str, float | Tensor], step: int | None, epoch: int | None) -> None:
        """Take values (Collector.log). Either all of `metrics` is taken, or an error is raised and none is."""
        checked = {_metric_name(name): _metric_value(name, value) for name, value in metrics.items()}
        if step is not None:
            step = _whole("step", step, most=2**63 - 1)
        if epoch is not None:
            self.set_epoch(epoch)
        now = time.time_ns() // 1000
        with self._lock:
            if step is None and not self._holding:
                step = self.step
            for name, value in checked.items():
                on_host = None if isinstance(value, Tensor) else value
                self._entries.append(MetricRow(step, self.epoch, now, name, on_host))
                if isinstance(value, Tensor):
                    self._push_scalar(value)

    def set_epoch(self, epoch: int) -> None:
        """Have `epoch` hold for all rows that follow. Raises ValueError for what is no int32 of 0 or more."""
        self.epoch = _whole("epoch", epoch, most=2**31 - 1)

    def take(self, *, closing: bool = False) -> list[Block]:
        """All that was recorded and not yet taken, in its order; the copies from the device may still be under way."""
        with self._lock:
            self.filled.clear()
            for source in self._sources:
                self._take_steps(source)
            if closing or not self._holding:
                self._take_entries()
            blocks, self._blocks = self._blocks, []
        return blocks

    def give_back(self, blocks: list[Block]) -> None:
        """Keep what could not be written; the oldest rows go where that is too much."""
        with self._lock:
            self._blocks = blocks + self._blocks
            self._drop_oldest()

    def drop_all(self) -> None:
        """Count everything that is still here as lost."""
        for block in self.take(closing=True):
            if not isinstance(block, Rewind):
                self.lost_rows += block.count

    def _record(self, source: _Source, record: Any) -> None:
        if os.getpid() != self._process:  # nobody writes what a forked child does, and the lock may be held for ever
            return
        with self._lock:
            if record.layers is not source.said:
                self._adopt(source, record)
            if record.step <= source.last_step:
                self._rewind(source, record.step)
            source.ring.push(record.table)
            source.steps.append(record.step)
            source.epochs.append(self.epoch)
            source.last_step = self.step = record.step
            if source.ring.full:
                self._take_steps(source)
                self._drop_oldest()
                self.filled.set()

    def _adopt(self, source: _Source, record: Any) -> None:
        """Take over the layers of the first record, or of the first after a group was added."""
        self._take_steps(source)
        source.said = record.layers
        source.names = tuple(_strip(name) for name in record.layers)
        source.ring = Ring(record.table.shape, record.table.dtype, record.table.device)
        self.layers = self._layer_table()

    def _rewind(self, source: _Source, step: int) -> None:
        leading = source is self._sources[0]
        if leading and self._holding:
            # What was logged before the first step of a resumed run belongs to the step before it.
            self._entries = [row if row.step is not None else row._replace(step=step - 1) for row in self._entries]
            self._holding = False
        else:
            self._take_steps(source)
            if leading:
                self._take_entries()
        self._blocks.append(Rewind(step, source.names if len(self._sources) > 1 else None, metrics=leading))

    def _take_steps(self, source: _Source) -> None:
        if source.steps:
            block = TrustRatioBlock(source.names, self.layers, source.steps, source.epochs, source.ring.take())
            self._blocks.append(block)
            source.steps, source.epochs = [], []

    def _take_entries(self) -> None:
        if self._entries:
            entries = [row if row.step is not None else row._replace(step=self.step) for row in self._entries]
            self._blocks.append(MetricBlock(entries, self._scalars.take() if self._scalars else None))
            self._entries = []

    def _push_scalar(self, value: Tensor) -> None:
        if self._scalars is None:
            dtype = torch.float32 if value.device.type == "mps" else torch.float64  # mps has no float64
            self._scalars = Ring((), dtype, value.device)
        self._scalars.push(value.reshape(()))
        if self._scalars.full:
            self._take_entries()
            self.filled.set()

    def _drop_oldest(self) -> None:
        size = sum(block.nbytes for block in self._blocks if not isinstance(block, Rewind))
        for block in [block for block in self._blocks if not isinstance(block, Rewind)]:
            if size <= _MOST_BYTES:
                return
            self._blocks.remove(block)
            self.lost_rows += block.count
            size -= block.nbytes

    def _layer_table(self) -> tuple[Layer, ...]:
        found = []
        groups = 0
        for source in self._sources:
            of_group = [(group, param) for group in source.optimizer.param_groups for param in group["params"]]
            numbers = {id(group): number for number, group in enumerate(source.optimizer.param_groups, start=groups)}
            groups += len(numbers)
            for name, (group, param) in zip(source.names, of_group, strict=True):
                found.append((self._depth.get(id(param), math.inf), name, param, numbers[id(group)]))
        twice = [name for name, count in Counter(name for _, name, _, _ in found).items() if count > 1]
        if twice:
            raise ValueError(f"two layers are called {twice[0]!r}: give the optimizers names that differ")
        found.sort(key=lambda layer: layer[0])
        return tuple(
            Layer(name, position, tuple(param.shape), param.numel(), group)
            for position, (_, name, param, group) in enumerate(found)
        )


def _names(param_groups: list[dict]) -> Iterator[str]:
    """The names as the optimizer's records will say them: from `named_parameters()`, else group and index (`0.3`)."""
    for number, group in enumerate(param_groups):
        yield from group.get("param_names") or (f"{number}.{index}" for index in range(len(group["params"])))


def _strip(name: str) -> str:
    """A layer's name without what torch.compile and DistributedDataParallel put into it, as UTF-8 can say it."""
    name = name.replace("_orig_mod.", "").encode(errors="replace").decode()
    while name.startswith("module."):
        name = name.removeprefix("module.")
    return name


def _whole(name: str, value: Any, most: int) -> int:
    """`value` as an int: Python's own, numpy's, or what else can be an index, but no bool."""
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = -1
    if not 0 <= number <= most:
        raise ValueError(f"{name}={value!r}: give a whole number from 0 to {most}")
    return number


def _metric_name(name: str) -> str:
    if not isinstance(name, str) or not name:
        raise TypeError(f"metric {name!r}: a metric's name is a string of at least one character")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"metric {name!r}: the name is not valid Unicode") from error
    return name


def _metric_value(name: str, value: Any) -> float | Tensor:
    """A float, or a tensor that stays on its device."""
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ValueError(f"metric {name!r} is a tensor of shape {tuple(value.shape)}: log one element, as its mean")
        if value.is_complex():
            raise TypeError(f"metric {name!r} is complex: log its absolute value")
        value = value.detach()
        return float(value) if value.device.type == "cpu" else value
    if not isinstance(value, Real):
        raise TypeError(
            f"metric {name!r} is {value!r}, a {type(value).__name__}: log a number or a tensor of one element"
        )
    return float(value)
