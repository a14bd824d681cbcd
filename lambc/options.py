"""Options as configurations, schedulers and checkpoints give them, made plain numbers; here and nowhere else.

A `state_dict()` then holds Python's own numbers, which `torch.load` takes back.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor


def make_plain(options: dict[str, Any]) -> None:
    """Replace the numbers and pairs of an optimizer or a parameter group by Python's own, in place.

    A number may be one of NumPy, a Fraction, a Decimal, an array or a tensor of one element; a pair may be any sequence
    or array of two numbers. A learning rate that is a tensor stays that tensor, since a scheduler may write to it.

    Raises ValueError, with the value, where an option is neither.
    """
    for name, plain in _KINDS.items():
        if name in options:
            options[name] = plain(name, options[name])


def make_saveable(group: dict[str, Any]) -> None:
    """`make_plain`, also of flags and of what others keep in a group, such as a scheduler's `initial_lr`."""
    make_plain(group)
    for name, given in group.items():
        if not isinstance(given, Tensor):
            item = _item(given)
            plain = as_number(item)
            group[name] = item if plain is None else plain


def number(name: str, given: Any) -> int | float:
    """The number that an option's value stands for. Raises ValueError, with the value, if it stands for none."""
    plain = as_number(given)
    if plain is not None:
        return plain
    if isinstance(given, str):
        raise ValueError(
            f"{name}={given!r} is a string: give a number (YAML reads 1e-3 as a string, and 1.0e-3 as a number)"
        )
    if isinstance(given, Tensor) and given.requires_grad:
        raise ValueError(f"{name}={given!r}: give a number, since autograd follows no option but lr")
    raise ValueError(f"{name}={given!r}: give a number")


def _learning_rate(name: str, given: Any) -> Any:
    return given if isinstance(given, Tensor) else number(name, given)


def _number_or_none(name: str, given: Any) -> int | float | None:
    return None if given is None else number(name, given)


def _betas(name: str, given: Any) -> tuple[float, float]:
    plain = as_pair(given)
    if plain is None:
        raise ValueError(f"{name}={given!r}: give two numbers, β1 and β2")
    return plain


def _phi(name: str, given: Any) -> tuple[float, float] | None:
    plain = None if given is None else as_pair(given)
    if plain is None and given is not None:
        raise ValueError(f"{name}={given!r}: φ clamps ‖w‖ to (low, high), which needs two numbers, or None")
    return plain


def _clip(name: str, given: Any) -> Any:
    """With plain numbers if it is a number or a pair; a bound, and what is none, as it is."""
    if (upper := as_number(given)) is not None:
        return upper
    if hasattr(given, "limits"):  # a bound, which may be a sequence, too
        return given
    limits = as_pair(given)
    return given if limits is None else limits


_KINDS: dict[str, Callable[[str, Any], Any]] = {
    "lr": _learning_rate,
    "betas": _betas,
    "eps": number,
    "momentum": number,
    "weight_decay": number,
    "clip": _clip,
    "trust_coefficient": number,
    "phi": _phi,
    "max_grad_norm": _number_or_none,
}


def as_number(given: Any) -> int | float | None:
    """The number that `given` stands for, as an int or a float; None if it stands for none. A bool is no number."""
    if type(given) is float or type(given) is int:
        return given
    if isinstance(given, Tensor):
        return given.item() if given.numel() == 1 and _is_plain(given) else None
    given = _item(given)
    if isinstance(given, bool) or not isinstance(given, Real | Decimal):
        return None
    return int(given) if isinstance(given, Integral) else float(given)


def _item(given: Any) -> Any:
    """What one of NumPy's numbers, or its array of one element, holds; anything else as it is."""
    return given.item() if getattr(given, "size", None) == 1 and hasattr(given, "item") else given


def as_pair(given: Any) -> tuple[float, float] | None:
    """The two numbers of a sequence or an array; None if it has other than two."""
    if type(given) is tuple and [type(each) for each in given] == [float, float]:
        return given
    if isinstance(given, Tensor) and not _is_plain(given):
        return None
    if hasattr(given, "tolist"):  # an array or a tensor
        given = given.tolist()
    if not isinstance(given, Sequence) or isinstance(given, str | bytes | bytearray) or len(given) != 2:
        return None
    first, second = map(as_number, given)
    return None if first is None or second is None else (first, second)


def _is_plain(tensor: Tensor) -> bool:
    return not (tensor.requires_grad or tensor.is_complex() or tensor.dtype == torch.bool)
