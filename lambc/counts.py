"""How many steps an optimizer, whoever wrote it, says that it took."""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from torch import Tensor


def steps_taken(optimizer: Any) -> int | None:
    """Returns how many steps an optimizer says it took; None if it keeps no count, or took none.

    Waits for the device if the count is on one. If the state was cleared, the count of a group still holds.
    """
    numbers = _numbers(optimizer)
    return int(max(numbers)) if numbers else None


def largest_and_total_count(optimizer: Any) -> tuple[int, int] | None:
    """Returns an optimizer's largest count and the sum of all, one of which grows at each step; None if it has none.

    While only newly unfrozen layers are trained, the largest does not grow. Waits for the device.
    """
    numbers = _numbers(optimizer)
    return (int(max(numbers)), int(sum(numbers))) if numbers else None


def _numbers(optimizer: Any) -> list[float]:
    return [number for number in (float(count) for count in counts(optimizer)) if math.isfinite(number)]


def counts(optimizer: Any) -> list[Real | Tensor]:
    """The counts of steps in an optimizer's state, which may hold anything beside them, and in its groups."""
    kept = [*getattr(optimizer, "state", {}).values(), *optimizer.param_groups]
    found = [each["step"] for each in kept if isinstance(each, Mapping) and "step" in each]
    return [each for each in found if _is_number(each)]


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1 and not value.is_meta
    return isinstance(value, Real)
