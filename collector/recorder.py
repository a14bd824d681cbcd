"""What was recorded and is not on the disk yet: rings on the device, blocks on the host."""

import math
import operator
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from collector.backlog import Backlog
from collector.blocks import Block, MetricBlock, MetricRow, Rewind, TrustRatioBlock
from collector.cuda_graphs import is_captured
from collector.names import layer_names, plain_name
from collector.ring import Ring
from collector.run import Layer
from collector.selection import Selection

_MOST_ENTRIES = 4096
"""How many values wait, at most, until they are a block, which counts towards the limit."""


class _Source:
    """One optimizer, and the steps of it that are in its ring."""

    def __init__(self, optimizer: Any, *, resumed: bool) -> None:
        self.optimizer = optimizer
        self.names = tuple(map(plain_name, layer_names(optimizer.param_groups)))
        self.record: Any = None  # the last; a replayed graph writes into its table
        self.layers: tuple[str, ...] | None = None  # record.layers; the same object until a group is added
        self.kept: tuple[str, ...] = ()  # the names of those that are recorded
        self.columns: Tensor | None = None  # where in the table they are; None if all of it is kept
        self.ring: Ring  # there from the first step that is recorded on
        self.steps: list[int] = []
        self.epochs: list[int] = []
        # A step that is not above this one is a step that comes anew; the first step of a resumed run always is.
        self.last_step: float = math.inf if resumed else -math.inf
        self._said = self._counted = -1

    def count(self, said: int) -> int:
        """The number of the step that the optimizer says is `said`, which does not know of replayed graphs."""
        self._counted = self._counted + 1 if 0 <= self._said == said - 1 else said
        self._said = said
        return self._counted

    def count_replay(self) -> int:
        """The number of a step that a replayed graph took."""
        self._counted += 1
        return self._counted

    def capture(self, said: int) -> None:
        """Take note of a step that was only captured: the first replay is that step."""
        self._counted = self.count(said) - 1


class Recorder:
    """Takes records and metrics from the training thread, and gives them as blocks to whoever writes them.

    optimizers: what offers `register_trust_ratio_hook`. model: for the layers' depth order, or None. selection: which
    steps and layers are recorded. resumed_after: the last step that the log of a resumed run holds; None for a new run.
    memory_limit: the most bytes that wait on the host. waits: whether training waits for the writer when there are
    more; else the oldest rows go.

    Every method may be called from any thread. Raises ValueError if two layers have one name, or if the selection does
    not fit the layers.
    """

    def __init__(
        self,
        optimizers: Sequence[Any],
        model: torch.nn.Module | None,
        selection: Selection,
        *,
        resumed_after: int | None,
        memory_limit: int,
        waits: bool,
    ) -> None:
        self.epoch = 0
        self.step = resumed_after or 0
        self.filled = threading.Event()  # there is so much that it should be written before its time
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._backlog = Backlog(self._lock, memory_limit, waits=waits)
        self._selection = selection
        resumed = resumed_after is not None
        self._sources = [_Source(optimizer, resumed=resumed) for optimizer in optimizers]
        # Until a resumed run has taken a step, nobody knows from where on it goes: metrics are held until then.
        self._holding = resumed
        self._depth = {id(param): depth for depth, param in enumerate(model.parameters() if model else ())}
        self._entries: list[MetricRow] = []
        self._scalars: Ring | None = None
        selection.check([name for source in self._sources for name in source.names])
        self.layers = self._layer_table()

    @property
    def lost_rows(self) -> int:
        """How many rows went because too many waited, or because the run ended before they could be written."""
        return self._backlog.lost_rows

    @property
    def full(self) -> bool:
        """Whether as much as may wait for the writer ever did."""
        return self._backlog.full

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
            if len(self._entries) >= _MOST_ENTRIES and not self._holding:
                self._take_entries()
                self._make_room()

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
            return self._backlog.take()

    def give_back(self, blocks: list[Block]) -> None:
        """Keep what could not be written of what was taken; each `take` but the last is followed by it."""
        with self._lock:
            self._backlog.give_back(blocks)

    def drop_all(self) -> None:
        """Count everything that is still here as lost."""
        self._backlog.lost_rows += sum(block.count for block in self.take(closing=True))

    def stop_waiting(self) -> None:
        """Have training never again wait for the writer: there is none any more."""
        with self._lock:
            self._backlog.stop_waiting()

    def record_replay(self, number: int) -> None:
        """Record one further step of the optimizer at place `number`, of which its last record's table tells.

        Raises RuntimeError if there is no such record.
        """
        with self._lock:
            source = self._sources[number]
            if source.record is None:
                raise RuntimeError(
                    "record() needs the table of an earlier step: make the Collector before the graph is captured"
                )
            self._enter(source, source.count_replay())

    def _record(self, source: _Source, record: Any) -> None:
        if os.getpid() != self._process:  # nobody writes what a forked child does, and the lock may be held for ever
            return
        with self._lock:
            source.record = record
            if is_captured(record.table):
                source.capture(record.step)
            else:
                self._enter(source, source.count(record.step))

    def _enter(self, source: _Source, step: int) -> None:
        if source.record.layers is not source.layers:
            self._adopt(source)
        if step <= source.last_step:
            self._rewind(source, step)
        source.last_step = self.step = step
        if not (source.kept and self._selection.has_step(step)):
            return
        table = source.record.table
        source.ring.push(table if source.columns is None else table.index_select(1, source.columns))
        source.steps.append(step)
        source.epochs.append(self.epoch)
        if source.ring.full:
            self._take_steps(source)
            self._make_room()

    def _adopt(self, source: _Source) -> None:
        """Take over the layers of the first record, or of the first after a group was added."""
        self._take_steps(source)
        source.layers, table = source.record.layers, source.record.table
        source.names = tuple(map(plain_name, source.record.layers))
        columns = [column for column, name in enumerate(source.names) if self._selection.has_layer(name)]
        source.kept = tuple(source.names[column] for column in columns)
        everything = len(columns) == len(source.names)
        source.columns = None if everything else torch.tensor(columns).to(table.device, non_blocking=True)
        source.ring = Ring((len(table), len(columns)), table.dtype, table.device)
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
        self._backlog.append(Rewind(step, source.names if len(self._sources) > 1 else None, metrics=leading))

    def _take_steps(self, source: _Source) -> None:
        if source.steps:
            block = TrustRatioBlock(source.kept, self.layers, source.steps, source.epochs, source.ring.take())
            self._backlog.append(block)
            source.steps, source.epochs = [], []

    def _take_entries(self) -> None:
        if self._entries:
            entries = [row if row.step is not None else row._replace(step=self.step) for row in self._entries]
            self._backlog.append(MetricBlock(entries, self._scalars.take() if self._scalars else None))
            self._entries = []

    def _push_scalar(self, value: Tensor) -> None:
        if self._scalars is None:
            dtype = torch.float32 if value.device.type == "mps" else torch.float64  # mps has no float64
            self._scalars = Ring((), dtype, value.device)
        self._scalars.push(value.reshape(()))
        if self._scalars.full:
            self._take_entries()
            self._make_room()

    def _make_room(self) -> None:
        self.filled.set()
        self._backlog.make_room(self.filled.set)

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
        found = [layer for layer in found if self._selection.has_layer(layer[1])]
        found.sort(key=lambda layer: layer[0])
        return tuple(
            Layer(name, position, tuple(param.shape), param.numel(), group)
            for position, (_, name, param, group) in enumerate(found)
        )


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
