"""Metrics that were logged and are not a block yet, and the steps at which they stand."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

from collector.recording.blocks import MetricBlock, MetricRewind, MetricRow
from collector.recording.scalars import Scalars

_MOST = 4096
"""How many values wait, at most, until they are a block, which counts towards the limit."""


class MetricLog:
    """Takes values and makes blocks of them; they are held until it is known from where on a run goes.

    append: takes a block. step: returns the step at which a value stands that came without one. lose: counts rows that
    are lost, and why. make_room: is called when there is another block. resumed: whether the run is. several: whether
    it has several optimizers, of which the first that takes a step tells where a new run begins.

    Every method is called under one lock, the recorder's.
    """

    def __init__(
        self,
        append: Callable[[Any], None],
        step: Callable[[], int],
        lose: Callable[[int, str, Exception], None],
        make_room: Callable[[], None],
        *,
        resumed: bool,
        several: bool,
    ) -> None:
        self._append, self._step, self._lose, self._make_room = append, step, lose, make_room
        self.holding = resumed or several
        # Metrics with an axis of their own, whose earlier values, if any, lie before those that come.
        self._own_axis: set[str] | None = set() if resumed else None
        self._goes_back = False
        self._entries: list[MetricRow] = []
        self._scalars = Scalars()
        self._early: list[tuple[int, MetricBlock]] = []  # (assumed step, values) written before the step was known

    def add(self, values: Mapping[str, float | Tensor], step: int | None, epoch: int) -> None:
        """Take values at a step of their own axis, or at the optimizer's.

        One that its device does not give, as for want of memory, is lost alone.
        """
        own_axis = step is not None
        if step is not None:
            self._rewind_own_axis(values, step)
        elif not self.holding:
            step = self._step()
            self.rewind(step)
        row = MetricRow(step, epoch, time.time_ns() // 1000, "", None, own_axis=own_axis)
        for name, value in values.items():
            if not isinstance(value, Tensor):
                self._entries.append(row._replace(name=name, value=value))
                continue
            try:
                self._entries.append(row._replace(name=name, slot=self._push(value)))
            except (RuntimeError, ValueError) as error:  # ValueError: of a device that torch has no stream of
                if all(row.value is not None for row in self._entries):  # another device may give its values
                    self._scalars.forget()
                self._lose(1, f"metric {name!r}", error)
        if len(self._entries) >= _MOST and not self.holding:
            self.take()
            self._make_room()

    def _push(self, value: Tensor) -> int:
        if self._scalars.full:
            self.take()
            self._make_room()
        return self._scalars.push(value)

    def take(self) -> None:
        """Make a block of what there is."""
        entries, values = self._entries, None
        try:
            values = self._scalars.take()
        except RuntimeError as error:
            entries = [row for row in entries if row.value is not None]
            self._lose(len(self._entries) - len(entries), "metrics", error)
        if entries:
            step = self._step()
            if self.holding and (early := [row for row in entries if row.step is None]):
                self._early.append((step, MetricBlock(early, values)))
            known = [row if row.step is not None else row._replace(step=step) for row in entries]
            self._append(MetricBlock(known, values))
        self._entries = []

    def release(self, step: int) -> None:
        """Hold no value any more: those that were held stand at `step`."""
        self._entries = [row if row.step is not None else row._replace(step=step) for row in self._entries]
        self.holding = False

    def begin(self, first: int) -> None:
        """Take note that the first step is `first`: what came before stands before it, also where it was written."""
        self.release(first - 1)
        if self._early:
            self._goes_back = True
            self.rewind(first)

    def go_back(self, *, to_the_end: bool) -> None:
        """Take note that values come anew; to_the_end: from where the log ends, so that none is taken back."""
        self._own_axis = None if to_the_end else set()
        self._goes_back = True

    def rewind(self, first: int) -> None:
        """Have those that come anew begin at the step `first`.

        Where it is not known how far each optimizer is, the next value tells.
        """
        if self._goes_back:
            self._goes_back = False
            self._append(MetricRewind(first, None))
            for step, block in self._early:
                if step >= first:  # it was taken back with the others
                    rows = [row._replace(step=first - 1) for row in block.entries]
                    self._append(MetricBlock(rows, block.values))
            self._early = []

    def _rewind_own_axis(self, names: Iterable[str], step: int) -> None:
        """Of metrics with an axis of their own, the first value after a resume says from where on they come anew."""
        if self._own_axis is not None and (back := tuple(name for name in names if name not in self._own_axis)):
            self._own_axis.update(back)
            self._append(MetricRewind(step, back))
