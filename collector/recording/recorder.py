"""What was recorded and is not on the disk yet: rings on the device, blocks on the host."""

import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import torch
from torch import Tensor

from collector.recording.backlog import Backlog
from collector.recording.bell import Bell
from collector.recording.blocks import Block, Rewind, TrustRatioBlock
from collector.recording.cuda_graphs import is_captured
from collector.recording.metric_log import MetricLog
from collector.recording.names import LayerNames
from collector.recording.ring import Ring
from collector.recording.selection import Selection
from collector.recording.source import Source, layer_table
from collector.recording.values import metric_name, metric_value, whole


class Recorder:
    """Takes records and metrics from the training thread, and gives them as blocks to whoever writes them.

    optimizers: what offers `register_trust_ratio_hook`. models: for the layers' depth order. names: the layers' names.
    selection: which steps and layers are recorded. resumed_after: the last step that the log of a resumed run holds;
    None for a new run. memory_limit: the most bytes that wait on the host. waits: whether training waits for the writer
    when there are more; else the oldest rows go.

    Every method may be called from any thread. Raises ValueError if the selection does not fit the layers.
    """

    def __init__(
        self,
        optimizers: Sequence[Any],
        models: Sequence[torch.nn.Module],
        names: LayerNames,
        selection: Selection,
        *,
        resumed_after: int | None,
        memory_limit: int,
        waits: bool,
    ) -> None:
        self.epoch = 0
        self._resumed_after = resumed_after or 0
        self.filled = Bell()  # rings when there is so much that it should be written before its time
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._backlog = Backlog(self._lock, memory_limit, waits=waits)
        self._selection = selection
        resumed = resumed_after is not None
        self._sources = [Source(number, each, names, resumed=resumed) for number, each in enumerate(optimizers)]
        ways = self._backlog.append, lambda: self.step, self._lose, self._make_room
        self._metrics = MetricLog(*ways, resumed=resumed, several=len(optimizers) > 1)
        self._loaded_at = datetime.now(UTC)
        self._leader: Source | None = None  # the first that goes back, and says where attempts begin
        self._steps_seen = 0
        self._models = models
        self._failed_rows = 0
        self.failure = ""  # why the first row was lost that did not reach the host, or could not be written
        selection.check([name for source in self._sources for name in source.names])
        self._shapes = [source.shapes() for source in self._sources]
        self.layers = layer_table(self._sources, self._models, self._selection)

    @property
    def step(self) -> int:
        """The last step of the optimizer that is furthest; where none is known, the last that the log holds.

        One that was trained elsewhere, further than the log goes, and rests, counts only until another takes a step: it
        has no row there.
        """
        known = [source for source in self._sources if source.step_is_known]
        here = [each for each in known if each.record is not None or each.last_step <= self._resumed_after]
        return max((int(source.last_step) for source in here or known), default=self._resumed_after)

    def stand(self, steps: Sequence[float | None]) -> None:
        """Take note of where the optimizers stand since a state was loaded.

        None for one that stays where it is; infinity for one of which nobody can know, where others have gone back.
        """
        with self._lock:
            self._loaded_at = datetime.now(UTC)
            for source, step in zip(self._sources, steps, strict=True):
                if step is not None and step != math.inf:
                    source.set_step(int(step))
            for source, step in zip(self._sources, steps, strict=True):
                if step == math.inf and any(each.goes_back for each in self._sources):
                    source.expect_any_step()

    @property
    def standing(self) -> list[int | None]:
        """The last step of each optimizer; None where it is not known."""
        return [None if each.last_step == math.inf else int(max(0, each.last_step)) for each in self._sources]

    def expects(self, number: int, step: int) -> bool:
        """Whether it is known that `step` comes next of the optimizer at place `number`."""
        return self._sources[number].last_step == step - 1

    @property
    def steps_seen(self) -> int:
        """How many steps were seen of all optimizers together."""
        return self._steps_seen

    @property
    def never_stepped(self) -> list[int]:
        """The places of the optimizers of which no step was seen."""
        return [number for number, source in enumerate(self._sources) if source.record is None]

    @property
    def lost_rows(self) -> int:
        """How many rows went because too many waited, or did not reach the host, or could not be written."""
        return self._backlog.lost_rows + self._failed_rows

    @property
    def waiting_rows(self) -> int:
        """How many rows wait for the writer, as far as they are blocks."""
        return self._backlog.waiting_rows

    @property
    def full(self) -> bool:
        """Whether the backlog ever reached its limit."""
        return self._backlog.full

    def hooks(self) -> Iterator[tuple[Any, Callable[[Any], None], Callable[[int], bool]]]:
        """Each optimizer, the trust-ratio hook that records it, and of which of its steps that is."""
        for source in self._sources:
            yield source.optimizer, partial(self._record, source), partial(self._may_record, source)

    def _may_record(self, source: Source, said: int) -> bool:
        return source.was_replayed or self._selection.has_step(said)

    def log(self, metrics: Mapping[str, float | Tensor], step: int | None, epoch: float | None) -> None:
        """Take values (Collector.log). Either all of `metrics` is taken, or an error is raised and none is.

        But a value that its device does not give, as for want of memory, is lost alone.
        """
        checked: dict[str, float | Tensor] = {}
        failed: dict[str, Exception] = {}
        for name, value in metrics.items():
            try:
                checked[metric_name(name)] = metric_value(name, value)
            except RuntimeError as error:
                failed[name] = error
        if step is not None:
            step = whole("step", step, most=2**63 - 1)
        if epoch is not None:
            self.set_epoch(epoch)
        with self._lock:
            self._metrics.add(checked, step, self.epoch)
            for name, why in failed.items():
                self._lose(1, f"metric {name!r}", why)

    def set_epoch(self, epoch: float) -> None:
        """Have `epoch`, rounded down, hold for all rows that follow.

        Raises ValueError for what is no number of 0 or more that an int32 holds.
        """
        self.epoch = whole("epoch", epoch, most=2**31 - 1, floored=True)

    def take(self, *, everything: bool = False) -> list[Block]:
        """All that was recorded and not yet taken, in its order; the copies from the device may still be under way.

        everything: also metrics of which nobody knows yet after which step they came.
        """
        with self._lock:
            self._look_for_new_shapes()
            for source in self._sources:
                self._take_steps(source)
            if everything or not self._metrics.holding:
                self._metrics.take()
            return self._backlog.take()

    def give_back(self, blocks: list[Block]) -> None:
        """Keep what could not be written of what was taken; each `take` but the last is followed by it."""
        with self._lock:
            self._backlog.give_back(blocks)

    def lose(self, rows: int, what: str, error: Exception) -> None:
        """Count rows that cannot be written, whatever comes."""
        with self._lock:
            self._lose(rows, what, error)

    def _lose(self, rows: int, what: str, error: Exception) -> None:
        self._failed_rows += rows
        self.failure = self.failure or f"{what}: {type(error).__name__}: {error}"

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

    def _record(self, source: Source, record: Any) -> None:
        if os.getpid() != self._process:  # nobody writes what a forked child does, and the lock may be held for ever
            return
        with self._lock:
            source.record = record
            if is_captured(record.table):
                source.capture(record.step)
            else:
                self._enter(source, source.count(record.step))

    def _enter(self, source: Source, step: int) -> None:
        recorded = self._selection.has_step(step)
        if (
            source.record.layers is not source.layers
            or (recorded and source.may_have_other_params())
            or not source.has_room_for(source.record.table)
        ):
            try:
                self._adopt(source)
            except torch.OutOfMemoryError as error:  # it is tried again in the next step
                self._lose(len(source.record.layers), f"step {step}", error)
                source.kept, source.layers = (), None
        self._steps_seen += 1
        if step <= source.last_step or any(each.goes_back for each in self._sources):
            self._rewind(source, step)
        elif self._metrics.holding:
            self._metrics.begin(step)
        source.last_step = step
        if not (source.kept and recorded):
            return
        table = source.record.table
        try:
            table = table if source.columns is None else table.index_select(1, source.columns)
            source.ring.write(len(source.rows), table)
        except RuntimeError as error:
            self._lose(len(source.kept), f"step {step}", error)
            return
        source.rows.append((step, self.epoch))  # only now is the slot in use: Ctrl-C may end this call anywhere
        if len(source.rows) == len(source.ring):
            self._take_steps(source)
            self._make_room()

    def _adopt(self, source: Source) -> None:
        """Take over the layers of the first record, or of the first after the groups' lists changed."""
        self._take_steps(source)
        table = source.record.table
        source.names = source.names_of(source.record.layers)
        columns = [column for column, name in enumerate(source.names) if self._selection.has_layer(name)]
        source.kept = tuple(source.names[column] for column in columns)
        everything = len(columns) == len(source.names)
        source.columns = None if everything else torch.tensor(columns, device="cpu").to(table.device, non_blocking=True)
        source.ring = Ring((len(table), len(columns)), table.dtype, table.device)
        self.layers = layer_table(self._sources, self._models, self._selection)
        source.layers = source.record.layers
        source.see_params()

    def _look_for_new_shapes(self) -> None:
        """Take over what a lazy layer has become; other parameters than before come with the next recorded step."""
        others = [source for source in self._sources if source.has_other_params()]
        for source in others:
            source.layers = None
        shapes = [source.shapes() for source in self._sources]
        if shapes != self._shapes and not others:
            self._shapes = shapes
            self.layers = layer_table(self._sources, self._models, self._selection)

    def _rewind(self, source: Source, step: int) -> None:
        """Have the rows that come anew take the place of earlier ones: from `step` on, and of all that went back."""
        loaded = [each for each in self._sources if each.goes_back]
        leading = bool(loaded) or self._leader in (None, source)
        if leading:
            self._leader = source
            for other in self._sources if not loaded else ():
                other.expect_any_step()
        back = [source, *(each for each in loaded if each is not source)]
        source.last_step = step - 1
        unknown = any(each.last_step == math.inf for each in self._sources)
        first = step if unknown else self.step + 1
        to_the_end = self._metrics.holding and first > self._resumed_after
        if self._metrics.holding:
            self._metrics.release(first - 1)
        else:
            for each in back:
                self._take_steps(each)
            if leading:
                self._metrics.take()
        several = len(self._sources) > 1
        at = self._loaded_at if loaded else datetime.now(UTC)
        for each in back:
            each.goes_back = False
            attempt = first if leading and each is source else None
            self._backlog.append(Rewind(int(each.last_step) + 1, each.names if several else None, attempt, at))
        if leading:
            self._metrics.go_back(to_the_end=to_the_end)
            if not unknown:
                self._metrics.rewind(first)

    def _take_steps(self, source: Source) -> None:
        if rows := source.rows:
            steps, epochs = (list(column) for column in zip(*rows, strict=True))
            try:
                block = TrustRatioBlock(source.kept, self.layers, steps, epochs, source.ring.take(len(rows)))
            except RuntimeError as error:
                self._lose(len(rows) * len(source.kept), f"steps {steps[0]} to {steps[-1]}", error)
            else:
                self._backlog.append(block)
            source.rows = []

    def _make_room(self) -> None:
        self.filled.ring()
        self._backlog.make_room(self.filled.ring)
