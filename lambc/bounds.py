"""Clip bounds: between which limits a trust ratio may act (Eq. 3).

`clip=` takes any of them, in the optimizer or in a parameter group. The paper's own is `Fixed`; the others are what it
tried (`DynamicBound`, §3) and what it calls for (`Scheduled`, §4.2; `Deviation`, per layer, §5). A bound of your own
has what `Bound` names; a ceiling that follows the largest ratio seen so far, for example:

    @dataclass(frozen=True)
    class Ceiling:
        share: float = 0.5
        state: ClassVar = {"largest": 0.0}

        def limits(self, state):
            largest = state["largest"]
            return 0.0, torch.where(largest > 0, self.share * largest, math.inf)

        def learn(self, state, ratio, usable):
            return {"largest": torch.where(usable, torch.maximum(state["largest"], ratio), state["largest"])}

    LAMBC(model.named_parameters(), clip=Ceiling(0.5))
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from lambc.options import as_number, as_pair, number

Limit: TypeAlias = float | Tensor


@runtime_checkable
class Bound(Protocol):
    """What `clip=` takes beside numbers.

    state: what the bound keeps for each layer: a name and its value before the first step. The optimizer stores one
        float32 number per layer and name, beside the layer's moments, so that it lies in `state_dict()`.
    """

    state: ClassVar[Mapping[str, float]]

    def limits(self, state: Mapping[str, Tensor]) -> tuple[Limit, Limit]:
        """Lower and upper limit of the step to come: numbers, or tensors of shape [layers].

        `state` holds a float32 tensor of shape [layers] a name. Nothing here may wait for the device.
        """
        ...

    def learn(self, state: Mapping[str, Tensor], ratio: Tensor, usable: Tensor) -> Mapping[str, Tensor]:
        """The state after a step whose unclipped ratios were `ratio`, float32 of shape [layers].

        `usable` is False where the ratio was set to 1 since a norm was zero or not finite.
        """
        ...


def _make_plain(bound: Any) -> None:
    """Replace the numbers and flags of a bound by Python's own, as they stand in a `state_dict()`."""
    for field in fields(bound):
        given = getattr(bound, field.name)
        if field.type in (int, float):
            given = number(f"{type(bound).__name__}.{field.name}", given)
        elif field.type is bool:
            given = bool(given)
        object.__setattr__(bound, field.name, given)  # a bound is frozen


def _check_limits(lower: float, upper: float, clip: str) -> None:
    if math.isnan(lower) or math.isnan(upper):
        raise ValueError(f"{clip}: a bound is NaN; give numbers, or clip=None for no clipping")
    if lower < 0:
        raise ValueError(f"{clip}: the lower bound is negative, but a trust ratio never is; give 0 or more")
    if upper <= 0:
        raise ValueError(f"{clip}: the upper bound is not above 0, so that no layer could move; give more than 0")
    if lower == math.inf:
        raise ValueError(f"{clip}: the lower bound is infinite; give a finite one")
    if lower > upper:
        raise ValueError(f"{clip}: the lower bound is above the upper one; give them as (lower, upper)")


@dataclass(frozen=True)
class Fixed:
    """The paper's bound: one upper and one lower limit, the same at every step (Eq. 3's μ and τ).

    `Fixed(upper=math.inf)` clips nothing.
    """

    upper: float
    lower: float = 0.0
    state: ClassVar[Mapping[str, float]] = {}

    def __post_init__(self) -> None:
        _make_plain(self)
        _check_limits(self.lower, self.upper, f"clip=({self.lower}, {self.upper})")

    def limits(self, state: Mapping[str, Tensor]) -> tuple[float, float]:
        """Returns the two limits."""
        return self.lower, self.upper

    def learn(self, state: Mapping[str, Tensor], ratio: Tensor, usable: Tensor) -> Mapping[str, Tensor]:
        """Returns no state."""
        return {}


class LARC(Fixed):
    """NVCaffe's clip of LARS (the paper's reference 13): a layer's own rate never exceeds the global one.

    Only for `LARS`, whose ratio it divides by lr: trust_ratio = η‖w‖ / (‖u‖·lr), at most 1.
    """

    def __init__(self) -> None:
        super().__init__(upper=1.0)


@dataclass(frozen=True)
class Scheduled:
    """Large ratios at first, and a tighter bound as the weights settle (§4.2's insight).

    The upper limit goes from `start` to `end` over a layer's first `steps` steps since the bound was set, and stays
    there. One that takes the place of another `Scheduled` or of a `DynamicBound` goes on at its age.
    """

    start: float
    end: float
    steps: int
    curve: Literal["linear", "cosine", "exponential"] = "linear"
    lower: float = 0.0
    state: ClassVar[Mapping[str, float]] = {"age": 0.0}

    def __post_init__(self) -> None:
        _make_plain(self)
        for name in ("start", "end"):
            upper = getattr(self, name)
            _check_limits(self.lower, upper, f"Scheduled with lower={self.lower}, {name}={upper}")
            if upper == math.inf:
                raise ValueError(f"Scheduled({name}=inf): a curve needs finite ends; give a number")
        if self.steps < 1:
            raise ValueError(f"Scheduled(steps={self.steps}): give the number of steps from start to end, 1 or more")
        if self.curve not in ("linear", "cosine", "exponential"):
            raise ValueError(f"Scheduled(curve={self.curve!r}): give 'linear', 'cosine' or 'exponential'")

    def limits(self, state: Mapping[str, Tensor]) -> tuple[float, Tensor]:
        """The curve at each layer's age."""
        progress = (state["age"] / self.steps).clamp(max=1.0)
        if self.curve == "exponential":
            return self.lower, self.start * (self.end / self.start) ** progress
        if self.curve == "cosine":
            progress = (1 - torch.cos(math.pi * progress)) / 2
        return self.lower, self.start + (self.end - self.start) * progress

    def learn(self, state: Mapping[str, Tensor], ratio: Tensor, usable: Tensor) -> Mapping[str, Tensor]:
        """Returns `age`, raised by 1."""
        return {"age": state["age"] + 1}


@dataclass(frozen=True)
class DynamicBound:
    """AdaBound's limits around a final value: the adaptive method that the paper tried first (§3, its reference 15).

    At a layer's step t since the bound was set: final · (1 - 1/(γt + 1)) and final · (1 + 1/(γt)); so nothing is
    clipped at first, and in the end every ratio is `final`. The age is taken over as by `Scheduled`.
    """

    final: float
    gamma: float = 1e-3
    state: ClassVar[Mapping[str, float]] = {"age": 0.0}

    def __post_init__(self) -> None:
        _make_plain(self)
        for name in ("final", "gamma"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"DynamicBound({name}={getattr(self, name)}): give a finite number above 0")

    def limits(self, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The two curves at each layer's age."""
        reach = self.gamma * (state["age"] + 1)
        return self.final * (1 - 1 / (reach + 1)), self.final * (1 + 1 / reach)

    def learn(self, state: Mapping[str, Tensor], ratio: Tensor, usable: Tensor) -> Mapping[str, Tensor]:
        """Returns `age`, raised by 1."""
        return {"age": state["age"] + 1}


_FARTHEST = 1e19
"""From a mean, whose square float32 can hold: a variance of Inf would stay for good, however small the ratios are."""


@dataclass(frozen=True)
class Deviation:
    """`n` standard deviations around the running mean of a layer's ratio (§5, its reference 18).

    Mean and deviation are exponential moving averages with decay `beta`, and arithmetic ones over the first
    1/(1 - beta) ratios, which are not clipped. `per_layer=False`: a group's layers share them if they have one device
    and dtype and step together; one without a gradient learns nothing in that step.
    """

    n: float = 2.0
    beta: float = 0.99
    per_layer: bool = True
    state: ClassVar[Mapping[str, float]] = {"seen": 0.0, "mean": 0.0, "variance": 0.0}

    def __post_init__(self) -> None:
        _make_plain(self)
        if not 0 < self.n < math.inf:
            raise ValueError(f"Deviation(n={self.n}): give a finite number of standard deviations above 0")
        if not 0 <= self.beta < 1:
            raise ValueError(f"Deviation(beta={self.beta}): give a decay in [0, 1)")

    def limits(self, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """mean ± n deviations, where enough was seen."""
        width = self.n * state["variance"].sqrt()
        known = state["seen"] >= 1 / (1 - self.beta)
        return (
            torch.where(known, (state["mean"] - width).clamp(min=0), 0.0),
            torch.where(known, state["mean"] + width, math.inf),
        )

    def learn(self, state: Mapping[str, Tensor], ratio: Tensor, usable: Tensor) -> Mapping[str, Tensor]:
        """Returns the updated statistics."""
        if not self.per_layer:
            ratio = torch.where(usable, ratio, 0.0).sum() / usable.sum().clamp(min=1)
            usable = usable.any().expand_as(usable)
        seen, mean, variance = state["seen"], state["mean"], state["variance"]
        weight = (1 / (seen + 1)).clamp(min=1 - self.beta)
        distance = (ratio - mean).clamp(-_FARTHEST, _FARTHEST)
        learned = {
            "seen": seen + 1,
            "mean": mean + weight * distance,
            "variance": (1 - weight) * (variance + weight * distance**2),
        }
        return {name: torch.where(usable, value, state[name]) for name, value in learned.items()}


@dataclass(frozen=True)
class Quantile:
    """A bound that clips about a share of 1 - `q` of a layer's steps, wherever its ratios lie (§5).

    The upper limit follows the running `q` quantile of the layer's ratio: a ratio above it raises it by a factor of
    exp(rate · q), one below lowers it by exp(rate · (1 - q)). It starts at the first ratio that is seen.
    """

    q: float = 0.95
    rate: float = 0.05
    state: ClassVar[Mapping[str, float]] = {"level": math.inf}

    def __post_init__(self) -> None:
        _make_plain(self)
        if not 0 < self.q < 1:
            raise ValueError(f"Quantile(q={self.q}): give a share in (0, 1)")
        if not 0 < self.rate < math.inf:
            raise ValueError(f"Quantile(rate={self.rate}): give a finite rate above 0")

    def limits(self, state: Mapping[str, Tensor]) -> tuple[float, Tensor]:
        """The running quantile; none before the first ratio."""
        return 0.0, state["level"]

    def learn(self, state: Mapping[str, Tensor], ratio: Tensor, usable: Tensor) -> Mapping[str, Tensor]:
        """Returns the updated level."""
        level = state["level"]
        moved = level * torch.exp(self.rate * (self.q - (ratio <= level).float()))
        return {"level": torch.where(usable, torch.where(level == math.inf, ratio, moved), level)}


# What `clip=` takes: an upper bound, a pair (lower, upper), a bound, or None for no clipping.
Clip: TypeAlias = float | Sequence[float] | Bound | None

EXEMPT = Fixed(upper=1.0, lower=1.0)
"""What a layer that is not adapted uses: its ratio is 1, whatever it would have been."""

_KINDS = {kind.__name__: kind for kind in (Fixed, LARC, Scheduled, DynamicBound, Deviation, Quantile)}


def as_bound(clip: Clip) -> Bound:
    """The bound that a value of `clip=` stands for.

    Raises ValueError where the limits make no sense, TypeError where it is none of the kinds that `clip=` takes.
    """
    if clip is None:
        return Fixed(upper=math.inf)
    if (upper := as_number(clip)) is not None:
        return Fixed(upper=float(upper))
    if isinstance(clip, Bound) and not isinstance(clip, type):
        return clip
    if (limits := as_pair(clip)) is not None:
        return Fixed(lower=float(limits[0]), upper=float(limits[1]))
    raise TypeError(
        f"clip={clip!r}: give an upper bound, a pair (lower, upper), a bound of lambc.bounds, or None for no clipping"
    )


def to_plain(clip: Clip) -> Any:
    """What stands for `clip` in a state_dict: plain numbers, since `torch.load` refuses objects."""
    if not isinstance(clip, Bound):
        return clip
    kind = type(clip).__name__
    return {"kind": kind, **asdict(clip)} if kind in _KINDS and kind != "LARC" else {"kind": kind}  # type: ignore[call-overload]


def from_plain(plain: Any, current: Clip) -> Clip:
    """The inverse of `to_plain`; a bound of the user's own is not saved, so `current`, the group's bound, is kept.

    Raises ValueError where the saved bound is of a kind that is neither ours nor that of `current`.
    """
    if not isinstance(plain, dict):
        return plain
    kind, options = plain["kind"], {name: value for name, value in plain.items() if name != "kind"}
    if kind in _KINDS:
        return _KINDS[kind](**options)
    if type(current).__name__ == kind:
        return current
    raise ValueError(f"the state_dict was saved with the clip bound {kind}: make the optimizer with clip={kind}(...)")
