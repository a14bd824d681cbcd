"""Any torch optimizer, recorded from outside: how far a step moved each layer."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import compress
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from collector.log.schema import TRUST_RATIOS
from collector.recording.cuda_graphs import is_captured
from collector.recording.names import layer_names
from collector.recording.norms import l2_norms
from collector.recording.selection import Selection


class Record(NamedTuple):
    """What a trust-ratio hook gets. table: float32 of shape [7, layers], which is written anew on recorded steps."""

    step: int
    layers: tuple[str, ...]
    table: Tensor


class Observer:
    """Gives an optimizer that knows nothing of trust ratios the hook that a collector records by.

    A row says what LAMB would have made of the step. weight_norm: ‖w‖ before it. update_norm: ‖w after - w before‖/lr,
    so decay, momentum and the rounding of w are in it; 0 where w stayed as it was, also at lr 0. trust_ratio: their
    quotient, 1 where one is zero or not finite. clipped_ratio, lower, upper: 1, which is what was used, so the outcome
    is 'exempt'. lr: the group's; 1 if it has none.

    A parameter without a gradient has NaN in every field, and so has one whose shape the step changed. A call of `step`
    in which no parameter has a gradient is no step. One that GradScaler lets a fused optimizer take in vain has NaN as
    its lr, so it gets no row, but a number; one that GradScaler leaves out gets neither. Steps are counted from the
    `step` in the optimizer's state or groups, anew when a state_dict is loaded; an optimizer that keeps none (SGD,
    Muon) goes on from `last_step`.

    Cost of a recorded step: a float32 copy of the weights that have a gradient (of all, if `step` is given a closure),
    which is kept on a CPU and let go after the step on a device, and four passes over them. ResNet-18 on one core of an
    EPYC, beside 12,300 µs for AdamW's fused step: 23,400 µs, and under 100 µs for a step that is only counted, so some
    300 µs a step at every=100 (bench/observer.py). Nothing waits for the device.

    optimizer: any torch.optim.Optimizer. selection: which steps and layers are looked at. last_step: the log's. names:
    gives the layers' names in the log, from `param_groups` and what they are called there.

    Raises ValueError for a sharded parameter (DTensor).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        selection: Selection,
        last_step: int = 0,
        names: Callable[..., tuple[str, ...]] = lambda param_groups, layers: layers,
    ) -> None:
        taken = steps_taken(optimizer)
        self.step = last_step if taken is None else taken
        # A state that is empty may be one that was not loaded, or that of an optimizer that never counts.
        self._may_count = taken is None and last_step > 0
        self._optimizer = optimizer
        self._selection = selection
        self._names = names
        self._layers: tuple[str, ...] = ()
        self._table = torch.empty(0, device="cpu")
        self._stepping = self._had_gradient = False
        self._looked_at: list[_Weights] | None = None
        self._kept: dict[int, Tensor] = {}
        self._rows()

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The optimizer's."""
        return self._optimizer.param_groups

    def register_trust_ratio_hook(self, hook: Callable[[Record], None]) -> "Handle":
        """Have `hook`, one at a time, called after each step with a `Record`, until the handle removes it."""

        # What torch.compile makes of a step can't look at it from outside.
        @torch.compiler.disable
        def before(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            self._before_step(may_compute_gradients=any(each is not None for each in (*args[1:], *kwargs.values())))

        @torch.compiler.disable
        def after(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            self._after_step(hook)

        return Handle(
            self._optimizer.register_step_pre_hook(before),
            self._optimizer.register_step_post_hook(after),
            self._optimizer.register_load_state_dict_post_hook(self._count_anew),
        )

    def _count_anew(self, optimizer: Optimizer) -> None:
        taken = steps_taken(optimizer)
        self.step = self.step if taken is None else taken
        self._may_count &= taken is None

    @torch.no_grad()
    def _before_step(self, *, may_compute_gradients: bool) -> None:
        self._stepping = True
        self._looked_at = None
        self._had_gradient = self._has_gradient()
        if self._may_count or self._selection.has_step(self.step + 1) or is_captured(self._table):
            rows = self._rows()
            self._looked_at = self._copies([row for row in rows if row.had_gradient or may_compute_gradients])

    @torch.no_grad()
    def _after_step(self, hook: Callable[[Record], None]) -> None:
        if not self._stepping:  # the step of a parent class, which the child's contains, was recorded
            return
        self._stepping = False
        looked_at, self._looked_at = self._looked_at, None
        if not (self._had_gradient or self._has_gradient()):
            return
        if self._may_count:
            self._may_count = False
            if _counts(self._optimizer):  # from a state that was empty, so this was its first step
                self.step = 0
        if looked_at is not None:
            self._fill_table(looked_at)
        hook(Record(self.step + 1, self._layers, self._table))
        if not is_captured(self._table):
            self.step += 1

    def _has_gradient(self) -> bool:
        return any(param.grad is not None for group in self.param_groups for param in group["params"])

    def _rows(self) -> list["_Row"]:
        """The layers that are looked at; the table is made anew where it does not fit them."""
        layers = layer_names(self.param_groups)
        params = [(group, param) for group in self.param_groups for param in group["params"]]
        device = next((param.device for _, param in params if not param.is_cpu), torch.device("cpu"))
        if layers != self._layers or device != self._table.device:
            self._layers = layers
            shape = len(TRUST_RATIOS.measured), len(layers)
            self._table = torch.full(shape, math.nan, dtype=torch.float32, device=device)
        rows = []
        names = self._names(self.param_groups, layers)
        for column, (name, (group, param)) in enumerate(zip(names, params, strict=True)):
            if self._selection.has_layer(name) and not is_lazy(param):
                if hasattr(param, "placements"):
                    raise ValueError(
                        f"parameter {name} is sharded (DTensor), and its norm here would be that of a part: "
                        "leave it out by `exclude`, or take lambc.LAMBC, which knows the norms of whole layers"
                    )
                rows.append(_Row(column, group, param, param.grad is not None))
        return rows

    def _copies(self, rows: list["_Row"]) -> list["_Weights"]:
        kinds: dict[tuple[torch.device, torch.dtype], list[_Row]] = defaultdict(list)
        for row in rows:
            double = row.param.dtype in (torch.float64, torch.complex128)
            kinds[row.param.device, torch.float64 if double else torch.float32].append(row)
        found = []
        for (_, dtype), of_kind in kinds.items():
            now = [_flat(row.param) for row in of_kind]
            before = [self._room(row.column, each, dtype) for row, each in zip(of_kind, now, strict=True)]
            torch._foreach_copy_(before, now)
            found.append(_Weights(of_kind, before))
        return found

    def _room(self, column: int, weights: Tensor, dtype: torch.dtype) -> Tensor:
        """Where a layer's weights are copied to: on a CPU always the same, since fresh memory costs twice the copy."""
        room = self._kept.get(column)
        if room is None or room.shape != weights.shape or room.dtype != dtype:
            room = torch.empty_like(weights, dtype=dtype)
            if room.is_cpu:
                self._kept[column] = room
        return room

    def _fill_table(self, looked_at: list["_Weights"]) -> None:
        columns = [self._table.new_full((len(self._table),), math.nan)] * len(self._layers)
        for weights in looked_at:
            weights = weights.unchanged_in_size()
            if weights.rows:
                values = _measure(weights, getattr(self._optimizer, "found_inf", None))
                values = values.to(self._table, non_blocking=True)
                for row, column in zip(weights.rows, values.unbind(1), strict=True):
                    if row.had_gradient or row.param.grad is not None:
                        columns[row.column] = column
        if columns:
            torch.stack(columns, dim=1, out=self._table)


class Handle(NamedTuple):
    """What an observer registered at its optimizer."""

    before: RemovableHandle
    after: RemovableHandle
    load: RemovableHandle

    def remove(self) -> None:
        """Have the hook called no more."""
        for each in self:
            each.remove()


class _Row(NamedTuple):
    column: int
    group: dict[str, Any]
    param: Tensor
    had_gradient: bool


class _Weights(NamedTuple):
    """Layers of one device and dtype, and their weights before the step, in one dimension each."""

    rows: list[_Row]
    before: list[Tensor]

    def unchanged_in_size(self) -> "_Weights":
        """Those whose size the step left as it was; of the others it cannot be said how far they moved."""
        kept = [_size(row.param) == before.numel() for row, before in zip(*self, strict=True)]
        return self if all(kept) else _Weights(list(compress(self.rows, kept)), list(compress(self.before, kept)))


def _measure(weights: _Weights, found_inf: Tensor | None) -> Tensor:
    """The table's columns of these layers, [7, layers]. What `before` holds is overwritten."""
    weight_norm = l2_norms(weights.before)
    torch._foreach_sub_(weights.before, [_flat(row.param) for row in weights.rows])
    moved = l2_norms(weights.before)
    rates = {id(row.group): _rate(row.group, moved) for row in weights.rows}
    lr = torch.stack([rates[id(row.group)] for row in weights.rows])
    update_norm = torch.where(moved == 0, 0.0, moved / lr)
    usable = (weight_norm > 0) & (update_norm > 0) & weight_norm.isfinite() & update_norm.isfinite()
    ratio = torch.where(usable, weight_norm / update_norm, 1.0)
    used = torch.ones_like(ratio)
    if found_inf is not None:
        lr = torch.where(found_inf.to(lr.device, non_blocking=True) == 1, math.nan, lr)
    return torch.stack([weight_norm, update_norm, ratio, used, used, used, lr])


def _rate(group: dict[str, Any], like: Tensor) -> Tensor:
    lr = group.get("lr")
    if isinstance(lr, Tensor):
        return lr.detach().reshape(()).to(like, non_blocking=True)
    return like.new_full((), float(lr) if isinstance(lr, Real) else 1.0)


def _flat(param: Tensor) -> Tensor:
    """All elements in one dimension, in the order of memory: a view wherever they lie densely."""
    tensor = torch.view_as_real(param.detach()) if param.is_complex() else param.detach()
    order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
    return tensor.permute(order).reshape(-1)


def _size(param: Tensor) -> int:
    return param.numel() * (2 if param.is_complex() else 1)


def steps_taken(optimizer: Any) -> int | None:
    """Returns how many steps an optimizer says it took; None if it keeps no count, or took none.

    Waits for the device if the count is there. Where a group counts and the state is begun anew, the group's is right.
    """
    counts = [float(count) for count in _counts(optimizer)]
    counts = [count for count in counts if math.isfinite(count)]
    return int(max(counts)) if counts else None


def _counts(optimizer: Any) -> list[Real | Tensor]:
    """The counts of steps in an optimizer's state, which may hold anything beside them, and in its groups."""
    kept = [*getattr(optimizer, "state", {}).values(), *optimizer.param_groups]
    found = [each["step"] for each in kept if isinstance(each, Mapping) and "step" in each]
    return [each for each in found if isinstance(each, Real) or (isinstance(each, Tensor) and each.numel() == 1)]
