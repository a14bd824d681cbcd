"""What a step did to some layers of an optimizer that says nothing of trust ratios: how far it moved each of them."""

import math
from itertools import compress
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from collector.recording.direction import Layer, Used, direction_norms, sample_sums, used_ratios
from lambc import norms
from lambc.sharded import local

HALVES = (torch.float16, torch.bfloat16)
"""The dtypes whose rounding hides a step."""


class Row(NamedTuple):
    """A layer that is looked at: its column in the table, its group, and before the step the gradient and the lr.

    lr: of the step, for a scheduler may have another once it is over; None if the group has none.
    """

    column: int
    group: dict[str, Any]
    param: Tensor
    had_gradient: bool
    lr: Any


class Weights(NamedTuple):
    """Layers of one device and dtype, and their weights before the step, in one dimension each.

    grad_norms: of what of their gradients lies here, of shape [layers]; None where they are not known, or not wanted.
    """

    rows: list[Row]
    before: list[Tensor]
    grad_norms: Tensor | None = None

    @property
    def params(self) -> list[Tensor]:
        """The parameters, of which a part may lie here."""
        return [row.param for row in self.rows]

    def unchanged_in_size(self) -> "Weights":
        """Those whose size the step left as it was; of the others it cannot be said how far they moved."""
        kept = [_size(local(row.param)) == before.numel() for row, before in zip(self.rows, self.before, strict=True)]
        if all(kept):
            return self
        grad_norms = self.grad_norms
        if grad_norms is not None and any(kept):
            grad_norms = torch.stack(list(compress(grad_norms.unbind(), kept)))
        return Weights(list(compress(self.rows, kept)), list(compress(self.before, kept)), grad_norms)


class Movement:
    """What a step did to some layers: first in sums over their elements here, then, once these are whole, in norms.

    weights: what `before` holds is overwritten. adapts: as `collector.recording.direction.adapts` says.
    """

    def __init__(self, weights: Weights, optimizer: Optimizer, adapts: bool | None) -> None:
        self.weights = weights
        self._optimizer, self._adapts = optimizer, adapts
        self._halves = adapts is not None and weights.rows[0].param.dtype in HALVES
        self.sums = self._sum_up()
        """Float64 of shape [any, layers]."""

    def _sum_up(self) -> Tensor:
        weights = self.weights
        after = [flat(local(row.param)) for row in weights.rows]
        squares = [norms.layer_norms(weights.before)]
        sample = []
        if self._adapts is not None:
            layers = [
                Layer(row.group, self._optimizer.state.get(row.param, {}), local(row.param), old, new)
                for row, old, new in zip(weights.rows, weights.before, after, strict=True)
            ]
            sample = [sample_sums(layers)]
            if self._halves:
                squares.append(direction_norms(layers))
        torch._foreach_sub_(weights.before, after)
        squares.insert(1, norms.layer_norms(weights.before))
        if weights.grad_norms is not None:
            squares.append(weights.grad_norms.to(squares[0]))
        return torch.cat([torch.stack(squares).double().square(), *sample])

    def columns(self) -> Tensor:
        """The table's columns, and whether a layer moved otherwise than its state says: [8 or 9, layers]."""
        rows, dtype = self.weights.rows, self.weights.before[0].dtype
        has_gradients = self.weights.grad_norms is not None
        count = 2 + self._halves + has_gradients
        weight_norm, moved, *direct = self.sums[:count].sqrt().to(dtype)
        gradients = [direct.pop()] if has_gradients else []
        rates = {id(row.group): _rate(row.lr, moved) for row in rows}
        lr = torch.stack([rates[id(row.group)] for row in rows])
        update_norm = torch.where(moved == 0, 0.0, moved / lr)
        unproven, used = torch.zeros_like(moved), None
        if self._adapts is not None:
            used = used_ratios(self.sums[count:], [row.lr for row in rows], [row.param.dtype for row in rows])
            used = Used(*(each.to(dtype) for each in used))
            if not self._adapts:  # then what is not 1 is what the sample does not know
                used = used._replace(ratio=torch.where(_is(used, 1.0), 1.0, used.ratio))
            unproven = (used.ratio.isnan() & (moved > 0)).to(moved)
            update_norm = torch.where(used.ratio.isnan(), update_norm, update_norm / used.ratio)
        if direct:
            (update_norm,) = direct
        usable = (weight_norm > 0) & (update_norm > 0) & weight_norm.isfinite() & update_norm.isfinite()
        ratio = torch.where(usable, weight_norm / update_norm, 1.0)
        acted = (torch.ones_like(ratio),) * 3
        if used is not None:
            acted = _acted(used, ratio, _most(self.weights), adapts=bool(self._adapts))
        found_inf = getattr(self._optimizer, "found_inf", None)
        if found_inf is not None:
            lr = torch.where(found_inf.to(lr.device, non_blocking=True) == 1, math.nan, lr)
        return torch.stack([weight_norm, update_norm, ratio, *acted, lr, *gradients, unproven])


def _acted(used: Used, ratio: Tensor, most: Tensor, *, adapts: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The ratio that a step used, and the bounds by which it came from `ratio`; 1 where nothing adapts a layer.

    most: the upper bound that the optimizer says it has.
    """
    expected = torch.minimum(ratio, most)
    as_told, not_adapted = _is(used, expected), _is(used, 1.0) | used.ratio.isnan()
    if adapts:
        not_adapted &= ~as_told
    clipped = torch.where(as_told, expected, used.ratio)
    cut = clipped < ratio
    lower = torch.where(as_told | cut, 0.0, clipped)
    upper = torch.where(as_told, most, torch.where(cut, clipped, math.inf))
    return tuple(torch.where(not_adapted, 1.0, each) for each in (clipped, lower, upper))  # type: ignore[return-value]


def _is(used: Used, value: Tensor | float) -> Tensor:
    """Where the ratio that was used is this one, as far as a sample can tell."""
    return (used.ratio - value).abs() <= (1e-5 + 2 * used.tolerance) * value


def _most(weights: Weights) -> Tensor:
    """The upper bound of each layer: timm's `trust_clip` is one of 1."""
    bounds = [1.0 if row.group.get("trust_clip") is True else math.inf for row in weights.rows]
    return torch.tensor(bounds, dtype=weights.before[0].dtype).to(weights.before[0].device, non_blocking=True)


def _rate(lr: Any, like: Tensor) -> Tensor:
    if isinstance(lr, Tensor):
        return lr.detach().reshape(()).to(like, non_blocking=True)
    return like.new_full((), float(lr) if isinstance(lr, Real) else 1.0)


def flat(param: Tensor) -> Tensor:
    """All elements in one dimension, in the order of memory: a view wherever they lie densely."""
    return norms.flat(torch.view_as_real(param.detach()) if param.is_complex() else param.detach())


def _size(param: Tensor) -> int:
    return param.numel() * (2 if param.is_complex() else 1)
