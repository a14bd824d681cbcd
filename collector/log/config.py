"""What a run is about, as its run.json says it: options of any kind become plain JSON that every reader takes.

No library of options is imported: an OmegaConf DictConfig is a mapping, a pydantic model has `model_dump`, a
configuration of transformers has `to_dict`, and arrays of all libraries have a shape and `tolist`.
"""

import math
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from functools import partial
from numbers import Integral, Real
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

_METHODS = ("model_dump", "to_dict", "as_dict", "_asdict")
_DEEPEST = 50  # far below Python's own limit, which reading the JSON again would meet
_ELEMENTS = 1000  # of an array: more are data, and no options
_MOST = 10**6  # entries of a config: objects that refer to each other have more paths than there is memory
_NAMED = 5  # entries in a warning


class _Options(NamedTuple):
    """The names of some options, and how to read one of them, which may raise."""

    names: list[Any]
    read: Callable[[Any], Any]


def plain_config(config: Any) -> dict[str, Any] | None:
    """The options of `config` as JSON has them; None for None.

    config: a mapping, an argparse.Namespace, a dataclass, a pydantic model, an OmegaConf DictConfig, an object with
        `to_dict`, or any object or class with options as its attributes.

    Numbers of any library become numbers, small arrays lists, and what JSON cannot say (NaN, a path, an object) its
    `str`. An entry that cannot be read becomes a string that says why, with a warning that names the entry.

    Raises TypeError for what holds no options by name, or does not give their names.
    """
    if config is None:
        return None
    try:
        options = _options(config) or _attributes(config)
    except Exception as error:
        raise TypeError(
            f"config, of type {type(config).__name__}, does not give its names ({_said(error)}): give a dict of them"
        ) from error
    if options is None:
        what = f"the class {config.__name__}" if isinstance(config, type) else f"of type {type(config).__name__}"
        raise TypeError(
            f"config is {what}, which holds no options by name: give a mapping, an argparse.Namespace, an instance of "
            "a dataclass, or an object with to_dict()"
        )
    conversion = _Conversion()
    plain = conversion.within(config, "", lambda: conversion.mapping(options, ""))
    if conversion.replaced:
        _warn(conversion.replaced)
    return plain


def plain_text(text: str) -> str:
    """`text` as UTF-8 can say it: a lone surrogate would make the file unreadable."""
    return str.__str__(text).encode(errors="replace").decode()


class _Conversion:
    """Makes one config plain. replaced: what stands for entries that could not be taken over, by their names."""

    def __init__(self) -> None:
        self.replaced: dict[str, str] = {}
        self._outer: set[int] = set()  # the ids of the containers that the value at hand lies in
        self._left = _MOST

    def mapping(self, options: _Options, name: str) -> dict[str, Any]:
        """`options` under names that are strings."""
        plain: dict[str, Any] = {}
        for each in options.names:
            key = self._key(each, name)
            inner = f"{name}.{key}" if name else key
            if key in plain:  # 1 and "1" are one name in JSON
                number = next(n for n in range(2, len(options.names) + 2) if f"{key} ({n})" not in plain)
                key = f"{key} ({number})"
                self.replaced[inner] = f"there twice as a string, the second time as {key!r}"
            plain[key] = self._entry(partial(options.read, each), inner)
        return plain

    def within(self, container: Any, name: str, convert: Callable[[], Any]) -> Any:
        """What `convert` makes of a container, unless it contains itself or lies too deep."""
        if id(container) in self._outer:
            return self._replace(name, "<contains itself>")
        if len(self._outer) == _DEEPEST:
            return self._replace(name, f"<nested more than {_DEEPEST} levels deep>")
        self._outer.add(id(container))
        try:
            return convert()
        finally:
            self._outer.remove(id(container))

    def _entry(self, read: Callable[[], Any], name: str) -> Any:
        self._left -= 1
        if self._left < 0:
            return self._replace(name, f"<left out: there are more than {_MOST:,} entries>")
        try:
            return self._value(read(), name)
        except Exception as error:  # whatever an object of the user's raises when it is read or printed
            return self._replace(name, f"<cannot be read: {_said(error)}>")

    def _key(self, key: Any, name: str) -> str:
        plain = self._entry(lambda: key, f"{name}.<a key>" if name else "<a key>")
        return plain if isinstance(plain, str) else str(plain)

    def _value(self, value: Any, name: str) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Enum):
            return self._value(_of_enum(value), name)
        if isinstance(value, str):
            return plain_text(value)
        if isinstance(value, Integral):
            return _integer(int(value))
        if isinstance(value, Real | Decimal):
            number = float(value)
            return number if math.isfinite(number) else str(number)
        if isinstance(value, bytes | bytearray | memoryview):
            return str(bytes(value)) if len(value) <= _ELEMENTS else f"{len(value)} bytes"
        if hasattr(type(value), "shape"):
            return self._array(value, name)
        if options := _options(value):
            return self.within(value, name, lambda: self.mapping(options, name))
        if isinstance(value, Set):
            return self.within(value, name, lambda: self._list(_in_order(value), name))
        if isinstance(value, Sequence) and not (isinstance(value, range) and len(value) > _ELEMENTS):
            return self.within(value, name, lambda: self._list(value, name))
        return plain_text(str(value))

    def _list(self, items: Sequence[Any], name: str) -> list[Any]:
        return [self._entry(partial(items.__getitem__, n), f"{name}[{n}]") for n in range(len(items))]

    def _array(self, array: Any, name: str) -> Any:
        shape = tuple(array.shape)
        if not hasattr(type(array), "tolist") or math.prod(shape) > _ELEMENTS:
            return f"{type(array).__name__} of shape {shape}"
        if getattr(array.dtype, "kind", "") in ("m", "M"):  # nanoseconds would become whole numbers
            return str(array)
        return self.within(array, name, lambda: self._value(array.tolist(), name))

    def _replace(self, name: str, text: str) -> str:
        self.replaced[name] = text
        return text


def _options(value: Any) -> _Options | None:
    """Those that an object of options holds; None for what is no such object."""
    kind = type(value)
    if isinstance(value, Mapping) or (hasattr(kind, "keys") and hasattr(kind, "__getitem__")):
        return _Options(list(value.keys()), value.__getitem__)
    for method in _METHODS:  # looked up in the class: a Mock, or a `__getattr__`, has them all
        if hasattr(kind, method) and not (method == "to_dict" and hasattr(kind, "__len__")):  # a length: it holds data
            with suppress(Exception):  # what it holds may still be read field by field
                if isinstance(found := getattr(value, method)(), Mapping):
                    return _Options(list(found), found.__getitem__)
    if isinstance(value, Namespace | SimpleNamespace):
        return _Options(list(vars(value)), partial(getattr, value))
    if is_dataclass(value) and not isinstance(value, type):
        return _Options([field.name for field in fields(value)], partial(getattr, value))
    if hasattr(kind, "__attrs_attrs__"):
        return _Options([field.name for field in kind.__attrs_attrs__], partial(getattr, value))
    return None


def _attributes(config: Any) -> _Options | None:
    """The public attributes of an object, or of a class, that is no function, model, module, parser or number."""
    if isinstance(config, type):
        odd = is_dataclass(config) or issubclass(config, Enum) or any(hasattr(config, each) for each in _METHODS)
    else:
        no_options = (ModuleType, Enum, str, bytes, Real, Sequence, Set)
        odd = callable(config) or isinstance(config, no_options) or hasattr(type(config), "shape")
        odd = odd or hasattr(type(config), "parse_args")
    if odd:
        return None
    kind = config if isinstance(config, type) else type(config)
    found = {name: each for owner in reversed(kind.__mro__) for name, each in vars(owner).items()}
    names = [name for name, each in found.items() if not hasattr(type(each), "__get__")]  # no method, no property
    names += () if kind is config else getattr(config, "__dict__", ())
    names = [name for name in dict.fromkeys(names) if not name.startswith("_")]
    return _Options(names, partial(getattr, config)) if names else None


def _of_enum(member: Enum) -> Any:
    """Its value where that says something, its name where that is any number or object."""
    return member.value if isinstance(member, str | Real) or isinstance(member.value, str) else str(member.name)


def _integer(number: int) -> int | str:
    """As a number where 64 bits hold it: readers of JSON round larger ones, or refuse them."""
    if -(2**63) <= number < 2**64:
        return number
    return str(number) if number.bit_length() < 10_000 else hex(number)  # Python prints no more than 4300 digits


def _in_order(items: Iterable[Any]) -> list[Any]:
    found = list(items)
    try:
        return sorted(found)
    except TypeError:
        return sorted(found, key=lambda item: (type(item).__name__, str(item)))


def _said(error: Exception) -> str:
    """An error's kind and its first line; its kind alone if it cannot even say that."""
    try:
        return plain_text(f"{type(error).__name__}: {error}".strip().partition("\n")[0])
    except Exception:
        return type(error).__name__


def _warn(replaced: Mapping[str, str]) -> None:
    entries = [f"{name!r} is {text}" for name, text in list(replaced.items())[:_NAMED]]
    more = f", and {len(replaced) - _NAMED} more" if len(replaced) > _NAMED else ""
    warnings.warn(f"config is not in run.json as it was given: {', '.join(entries)}{more}", stacklevel=4)
