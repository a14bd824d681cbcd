"""What `log` is given, checked: steps, epochs, names and values of metrics."""

import math
import operator
from numbers import Real
from typing import Any

from torch import Tensor


def whole(name: str, value: Any, most: int, *, floored: bool = False) -> int:
    """`value` as an int: any kind of whole number but a bool, or a float that is whole or may be `floored`."""
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = _whole_float(value, floored=floored)
    if not 0 <= number <= most:
        raise ValueError(f"{name}={value!r}: give a whole number from 0 to {most}")
    return number


def _whole_float(value: Any, *, floored: bool) -> int:
    """A float as an int; -1 for what is none."""
    try:
        number = math.floor(value) if isinstance(value, Real) or (isinstance(value, Tensor) and value.is_cpu) else -1
    except (ValueError, OverflowError, TypeError, RuntimeError):
        return -1
    return number if floored or number == value else -1


def metric_name(name: str) -> str:
    """Returns the name of a metric. Raises TypeError or ValueError, saying why, for one that cannot be written."""
    if not isinstance(name, str) or not name:
        raise TypeError(f"metric {name!r}: a metric's name is a string of at least one character")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"metric {name!r}: the name is not valid Unicode") from error
    return name


def metric_value(name: str, value: Any) -> float | Tensor:
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
