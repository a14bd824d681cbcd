"""Any torch optimizer, recorded from outside: how far a step moved each layer."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from collector.log.schema import TRUST_RATIOS
from collector.recording.counting import StepCount, StepCounts
from collector.recording.cuda_graphs import is_captured
from collector.recording.direction import adapts
from collector.recording.movement import HALVES, Movement, Row, Weights, flat
from collector.recording.names import LayerNames, layer_names
from collector.recording.options import Options
from collector.recording.ranks import SHARDED_LATER
from collector.recording.selection import Selection
from lambc.closures import Arguments, having_gradient, watched
from lambc.nested_steps import is_outermost
from lambc.norms import local_gradient_norms
from lambc.sharded import Meshes, in_parts, local

OUR_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError)
"""What may go wrong in recording a step. Others are the user's: a signal handler's, a warning that a filter raised."""


class Record(NamedTuple):
    """What a trust-ratio hook gets. table: float32 of shape [7 or 8, layers], written anew on recorded steps."""

    step: int
    layers: tuple[str, ...]
    table: Tensor


class Observer:
    """Gives an optimizer that knows nothing of trust ratios the hook that a collector records by.

    A row gives the step in LAMB's terms. weight_norm: ‖w‖ before it. update_norm: ‖u‖; the layer moved by
    lr · clipped_ratio · ‖u‖. trust_ratio: their quotient, 1 where one is zero or not finite. lr: the group's; 1 if it
    has none. grad_norm: with `gradients`, ‖g‖ as the step was given it, or as its closure computed it.

    Of an optimizer whose rule may be Adam's (torch's Adam and AdamW, timm's and apex's LAMB) u is the direction that
    its state holds, and clipped_ratio what was used: a sample of each layer's weights must prove both at every recorded
    step (collector.recording.direction). Of any other, and where the proof fails, update_norm is ‖w after - w
    before‖/lr, so decay, momentum and the rounding of w are in it; 0 where w stayed as it was, also at lr 0.
    clipped_ratio is then 1, as it is where no ratio was used; lower and upper are 1 with it, so that the outcome is
    'exempt'.

    A parameter without a gradient has NaN in every field, and so has one whose shape the step changed. A call of `step`
    in which no parameter has a gradient is not a step. Where `step` is given a closure, the gradients count that are
    there when it returns (lambc.closures). A step that GradScaler skips is none. A fused optimizer is called for it all
    the same and cancels it by `found_inf`: that one is counted, and has NaN as its lr, so that it has no row. Steps are
    counted by `count`.

    Cost of a recorded step: a float32 copy of the weights that have a gradient (of all, if `step` is given a closure),
    which is kept on a CPU and let go after the step on a device, four passes over them, and some 60 µs a layer for the
    sample. ResNet-18 on one core of an EPYC, beside 12,300 µs for AdamW's fused step: 23,400 µs, and under 100 µs for a
    step that is only counted, so some 300 µs a step at every=100 (bench/observer.py). Nothing waits for the device.

    optimizer: any torch.optim.Optimizer. selection: which steps and layers are looked at. count: knows which step the
    optimizer took last; by default, what its state says. names: gives the layers' names in the log, from `param_groups`
    and what they are called there. on_error: is given an error in a step, which is then not raised;
    nothing is observed from then on. gradients: whether to take the norms of the gradients, in one pass over them, a
    third of AdamW's fused step.

    Of a sharded layer (DTensor) each process looks at its part, and one all-reduce a recorded step makes the sums
    whole: every process must have an observer, and record the same steps and layers (collector.recording.ranks).
    together: whether they do; else layers that become sharded end the recording.

    Raises ValueError for a parameter of half precision whose direction is not known.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        selection: Selection,
        count: StepCount | None = None,
        names: Callable[..., tuple[str, ...]] = lambda param_groups, layers: layers,
        on_error: Callable[[Exception], None] | None = None,
        *,
        gradients: bool = False,
        together: bool = True,
    ) -> None:
        self._optimizer = optimizer
        self.count = count or StepCount(optimizer)
        self._selection = selection
        self._names = names
        self._on_error = on_error
        self._gradients = gradients
        self._together = together
        self._failed = False
        self._layers: tuple[str, ...] = ()
        self._table = torch.empty(0, device="cpu")
        self._proofs = torch.zeros(2, 0, dtype=torch.int64, device="cpu")  # that failed, and in all, by layer
        self._had_gradient = self._in_parts = False
        self._after_closure: set[Tensor] | None = None
        self._looked_at: list[Weights] | None = None
        self._kept: dict[int, Tensor] = {}
        self._adapts = adapts(optimizer)
        self._meshes = Meshes()
        self._rows()

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The optimizer's."""
        return self._optimizer.param_groups

    def register_trust_ratio_hook(self, hook: Callable[[Record], None], *, gradients: Any = None) -> "Handle":
        """Have `hook`, one at a time, called after each step with a `Record`, until the handle removes it.

        gradients: ignored; the observer itself knows for which steps to take the norms.
        """

        # What torch.compile makes of a step can't look at it from outside.
        @torch.compiler.disable
        def before(optimizer: Optimizer, args: Any, kwargs: Any) -> Arguments | None:
            if not is_outermost(optimizer):
                return None
            self.count.in_step = True
            given = any(each is not None for each in (*args[1:], *kwargs.values()))
            self._try(self._before_step, may_compute_gradients=given)
            return watched(args, kwargs, end_closure)

        @torch.compiler.disable
        def end_closure() -> None:
            self._try(self._end_closure)

        @torch.compiler.disable
        def after(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            if is_outermost(optimizer):
                self._try(self._after_step, hook)
                self._try(self.count.end_step)

        return Handle(
            self._optimizer.register_step_pre_hook(before),
            self._optimizer.register_step_post_hook(after),
        )

    def _try(self, part: Callable[..., None], *args: Any, **options: Any) -> None:
        if self._failed:
            return
        try:
            part(*args, **options)
        except OUR_ERRORS as error:
            if self._on_error is None or self._in_parts:  # other ranks would wait for this one
                raise
            self._failed = True
            self._looked_at, self._kept = None, {}
            self._on_error(error)

    @property
    def step(self) -> int:
        """The last step that was taken."""
        return self.count.step

    @torch.no_grad()
    def _before_step(self, *, may_compute_gradients: bool) -> None:
        self._looked_at = self._after_closure = None
        self._had_gradient = self._has_gradient()
        if self.count.is_unsure or self._selection.has_step(self.step + 1) or is_captured(self._table):
            rows = self._rows()
            # Processes that share layers must look at the same, whatever gradients lie here.
            may_have_one = may_compute_gradients or self._in_parts
            self._looked_at = self._copies([row for row in rows if row.had_gradient or may_have_one])
            if self._gradients and not may_compute_gradients:
                self._looked_at = [self._with_grad_norms(weights) for weights in self._looked_at]

    @torch.no_grad()
    def _end_closure(self) -> None:
        self._after_closure = having_gradient(self._optimizer)
        if self._gradients and self._looked_at is not None:  # by now: the step may change or drop them
            self._looked_at = [self._with_grad_norms(weights) for weights in self._looked_at]

    @torch.no_grad()
    def _after_step(self, hook: Callable[[Record], None]) -> None:
        looked_at, self._looked_at = self._looked_at, None
        around = self._had_gradient or self._has_gradient()
        if not (around if self._after_closure is None else self._after_closure):
            return
        self.count.settle()
        if looked_at is not None:
            self._fill_table(looked_at)
        hook(Record(self.step + 1, self._layers, self._table))
        if not is_captured(self._table):
            self.count.step += 1

    def _has_gradient(self) -> bool:
        return any(param.grad is not None for group in self.param_groups for param in group["params"])

    def _counts(self, row: Row) -> bool:
        """Whether the step was of a gradient of this layer."""
        if self._after_closure is not None:
            return row.param in self._after_closure
        return row.had_gradient or row.param.grad is not None

    def _rows(self) -> list[Row]:
        """The layers that are looked at; the table is made anew where it does not fit them."""
        layers = layer_names(self.param_groups)
        params = [(group, param) for group in self.param_groups for param in group["params"]]
        device = next((param.device for _, param in params if not param.is_cpu), torch.device("cpu"))
        if layers != self._layers or device != self._table.device:
            self._layers = layers
            shape = len(TRUST_RATIOS.measured) + self._gradients, len(layers)
            self._table = torch.full(shape, math.nan, dtype=torch.float32, device=device)
            self._proofs = torch.zeros(2, len(layers), dtype=torch.int64, device=device)
        sharded = any(in_parts(param) for _, param in params)
        if sharded and not self._together:  # a sum over the processes would wait for those that take no part in it
            raise ValueError(f"the layers of {type(self._optimizer).__name__} {SHARDED_LATER}")
        self._in_parts = sharded
        rows = []
        rates = {id(group): _kept(group.get("lr")) for group in self.param_groups}
        names = self._names(self.param_groups, layers)
        for column, (name, (group, param)) in enumerate(zip(names, params, strict=True)):
            if self._selection.has_layer(name) and not is_lazy(param):
                if param.dtype in HALVES and self._adapts is None:
                    raise ValueError(
                        f"parameter {name} is {param.dtype}, so that its step is rounded before it can be measured, "
                        f"and {type(self._optimizer).__name__} keeps no direction that is known: leave it out by "
                        "`exclude`, or take lambc.LAMBC with master_weights=True"
                    )
                rows.append(Row(column, group, param, param.grad is not None, rates[id(group)]))
        return rows

    def _copies(self, rows: list[Row]) -> list[Weights]:
        kinds: dict[tuple[torch.device, torch.dtype], list[Row]] = defaultdict(list)
        for row in rows:
            kinds[row.param.device, row.param.dtype].append(row)
        found = []
        for (_, kind), of_kind in kinds.items():
            dtype = torch.float64 if kind in (torch.float64, torch.complex128) else torch.float32
            now = [flat(local(row.param)) for row in of_kind]
            before = [self._room(row.column, each, dtype) for row, each in zip(of_kind, now, strict=True)]
            torch._foreach_copy_(before, now)
            found.append(Weights(of_kind, before))
        return found

    def _with_grad_norms(self, weights: Weights) -> Weights:
        return weights._replace(grad_norms=local_gradient_norms(weights.params, self._optimizer))

    def _room(self, column: int, weights: Tensor, dtype: torch.dtype) -> Tensor:
        """Where a layer's weights are copied to: on a CPU always the same, since fresh memory costs twice the copy."""
        room = self._kept.get(column)
        if room is None or room.shape != weights.shape or room.dtype != dtype:
            room = torch.empty_like(weights, dtype=dtype)
            if room.is_cpu:
                self._kept[column] = room
        return room

    def _fill_table(self, looked_at: list[Weights]) -> None:
        adapts = None if is_captured(self._table) else self._adapts  # what lies on the host can be no part of a graph
        if self._gradients:
            looked_at = [each if each.grad_norms is not None else self._with_grad_norms(each) for each in looked_at]
        movements = [
            Movement(weights, self._optimizer, adapts)
            for weights in (each.unchanged_in_size() for each in looked_at)
            if weights.rows
        ]
        had_gradient = self._complete(movements)
        columns = [self._table.new_full((len(self._table) + 1,), math.nan)] * len(self._layers)
        for movement, had in zip(movements, had_gradient, strict=True):
            values = torch.where(had, movement.columns(), math.nan) if isinstance(had, Tensor) else movement.columns()
            values = values.to(self._table, non_blocking=True)
            for at, (row, column) in enumerate(zip(movement.weights.rows, values.unbind(1), strict=True)):
                if isinstance(had, Tensor) or had[at]:
                    columns[row.column] = column
        if columns:
            filled = torch.stack(columns, dim=1)
            self._table.copy_(filled[:-1])
            self._proofs += torch.stack([filled[-1] == 1, ~filled[-1].isnan()])

    def _complete(self, movements: list[Movement]) -> list[list[bool] | Tensor]:
        """Make the sums those of whole layers; returns which had a gradient, of sharded layers on any process."""
        had = [[self._counts(row) for row in each.weights.rows] for each in movements]
        if not self._in_parts:
            return list(had)
        sums = [
            torch.cat([each.sums, each.sums.new_tensor([flags])]) for each, flags in zip(movements, had, strict=True)
        ]
        self._meshes.add(sums, [each.weights.params for each in movements])
        for each, whole in zip(movements, sums, strict=True):
            each.sums = whole[:-1]
        return [whole[-1] > 0 for whole in sums]

    def said(self) -> dict[str, Any]:
        """How the layers were recorded, for run.json. Waits for the device.

        by: `state`, where the direction of a step was read from the optimizer's state and proven; else `step`: how far
        the weights moved stands for it. unproven: the layers of which it was not so in most of their steps.
        """
        said: dict[str, Any] = {"optimizer": type(self._optimizer).__name__}
        if self._adapts is None:
            return said | {"by": "step"}
        names = self._names(self.param_groups, self._layers)
        failed, tried = self._proofs.tolist()
        counts = zip(names, failed, tried, strict=False)
        unproven = [name for name, failures, steps in counts if failures > max(1, steps / 2)]
        return said | {"by": "state", "unproven": unproven}


def _kept(lr: Any) -> Any:
    """A learning rate that stays as it is when a scheduler writes into it."""
    return lr.detach().clone() if isinstance(lr, Tensor) else lr


def observers(
    optimizers: Sequence[Any],
    options: Options,
    counts: StepCounts,
    names: LayerNames,
    on_error: Callable[[Exception], None] | None = None,
    *,
    together: bool,
) -> list[Any]:
    """The optimizers, with an observer in the place of each that has no hook of its own."""
    return [
        Observer(
            each,
            options.selection,
            count,
            partial(names.of, number),
            on_error,
            gradients=options.gradients,
            together=together,
        )
        if count
        else each
        for number, (each, count) in enumerate(zip(optimizers, counts.of, strict=True))
    ]


class Handle(NamedTuple):
    """What an observer registered at its optimizer."""

    before: RemovableHandle
    after: RemovableHandle

    def remove(self) -> None:
        """Have the hook called no more."""
        for each in self:
            each.remove()
