"""Clip bounds: between which limits a trust ratio may act (Eq. 3)."""

import math
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Fixed:
    """The paper's bound: one upper and one lower limit, the same at every step (Eq. 3's μ and τ).

    `Fixed(upper=math.inf)` clips nothing.
    """

    upper: float
    lower: float = 0.0

    def __post_init__(self) -> None:
        clip = f"clip=({self.lower}, {self.upper})"
        if math.isnan(self.lower) or math.isnan(self.upper):
            raise ValueError(f"{clip}: a bound is NaN; give numbers, or clip=None for no clipping")
        if self.lower < 0:
            raise ValueError(f"{clip}: the lower bound is negative, but a trust ratio never is; give 0 or more")
        if self.upper <= 0:
            raise ValueError(f"{clip}: the upper bound is not above 0, so that no layer could move; give more than 0")
        if self.lower == math.inf:
            raise ValueError(f"{clip}: the lower bound is infinite; give a finite one")
        if self.lower > self.upper:
            raise ValueError(f"{clip}: the lower bound is above the upper one; give them as (lower, upper)")


# What `clip=` takes: an upper bound, a pair (lower, upper), a bound, or None for no clipping.
Clip: TypeAlias = float | tuple[float, float] | Fixed | None

EXEMPT = Fixed(upper=1.0, lower=1.0)
"""What a layer that is not adapted uses: its ratio is 1, whatever it would have been."""


def as_bound(clip: Clip) -> Fixed:
    """The bound that a value of `clip=` stands for.

    Raises ValueError where the limits make no sense, TypeError where it is none of the kinds that `clip=` takes.
    """
    match clip:
        case None:
            return Fixed(upper=math.inf)
        case Fixed():
            return clip
        case bool():
            pass
        case int() | float():
            return Fixed(upper=float(clip))
        case (int() | float() as lower, int() | float() as upper):
            return Fixed(upper=float(upper), lower=float(lower))
    raise TypeError(
        f"clip={clip!r}: give an upper bound, a pair (lower, upper), a bound of lambc.bounds, or None for no clipping"
    )
