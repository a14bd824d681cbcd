"""What layers are called."""

import weakref
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, count
from typing import Any, NamedTuple

from torch import Tensor
from torch.nn import Module

_WRAPPERS = {"_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module", "_forward_module", "_module"}
"""What torch.compile, checkpoint_wrapper, FSDP, Fabric and Opacus put into names, wherever they wrap a module."""


def layer_names(param_groups: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Returns a name for each parameter, groups in order: its entry in `param_names`, else group and index (`0.3`)."""
    names: list[str] = []
    for number, group in enumerate(param_groups):
        known = _known_names(group)
        names += [*known, *(f"{number}.{index}" for index in range(len(known), len(group["params"])))]
    return tuple(names)


def _known_names(group: Mapping[str, Any]) -> list[str]:
    """Returns the names of a group's first parameters: all, unless some were appended to its list.

    Where the list became shorter, no name can be trusted.
    """
    given = group.get("param_names") or ()
    return [str(name) for name in given] if len(given) <= len(group["params"]) else []


class LayerNames:
    """Gives each layer of a run one name, which stays for as long as the run is recorded.

    It is the name that the optimizer's groups have for it, else the one that a model has for the same parameter, else
    group and index, after the optimizer's number where there are several. Wrappers' parts are taken off (`plain_name`)
    unless two layers would then have one name.

    models: whose `named_parameters()` name what the groups do not. optimizers: whose layers are named.
    """

    def __init__(self, models: Sequence[Module], optimizers: Sequence[Any]) -> None:
        self._models = models
        self._several = len(optimizers) > 1
        self._known: dict[int, tuple[weakref.ref, str | None]] = {}
        self._plain: dict[_Place, str] = {}
        # All at once, so that it is seen what they have in common.
        raw = [
            place
            for number, each in enumerate(optimizers)
            for place in self._raw(number, each.param_groups, layer_names(each.param_groups))
        ]
        self._in_module = all(_without_wrappers(place.name).startswith("module.") for place in raw)
        self._add(raw)

    def of(self, number: int, param_groups: Sequence[Mapping[str, Any]], layers: Sequence[str]) -> tuple[str, ...]:
        """Returns the names of the layers of the optimizer at place `number`, which calls them `layers` itself."""
        raw = self._raw(number, param_groups, layers)
        if any(each not in self._plain for each in raw):
            self._add(raw)
        return tuple(self._plain[each] for each in raw)

    def _raw(self, number: int, param_groups: Sequence[Mapping[str, Any]], layers: Sequence[str]) -> list["_Place"]:
        named = []
        for group in param_groups:
            known = len(_known_names(group))
            named += [(index < known, param) for index, param in enumerate(group["params"])]
        if len(named) != len(layers):
            return [_Place(number, layer) for layer in layers]
        several = f"{number}." if self._several else ""
        names = [
            layer if has_name else self._of_model(param) or several + layer
            for layer, (has_name, param) in zip(layers, named, strict=True)
        ]
        if len(set(names)) < len(names):
            often = Counter(names)
            names = [name if often[name] == 1 else f"{name} ({index})" for index, name in enumerate(names)]
        return [_Place(number, name) for name in names]

    def _of_model(self, param: Tensor) -> str | None:
        if not self._models:
            return None
        known = self._known.get(id(param))
        if known is None or known[0]() is not param:
            for model in self._models:
                self._known |= {id(each): (weakref.ref(each), name) for name, each in model.named_parameters()}
            known = self._known.get(id(param))
            if known is None or known[0]() is not param:
                known = self._known[id(param)] = (weakref.ref(param), None)
        return known[1]

    def _add(self, raw: Iterable["_Place"]) -> None:
        """Give a name to each that has none, which no other layer has."""
        new = [each for each in dict.fromkeys(raw) if each not in self._plain]
        plain = [plain_name(each.name, in_module=self._in_module) for each in new]
        often, raw_often = Counter(plain), Counter(each.name for each in new)
        taken = set(self._plain.values())
        for place, name in zip(new, plain, strict=True):
            choices = [name] if often[name] == 1 else []
            choices += [_unicode(place.name)] if raw_often[place.name] == 1 else []
            numbered = (_unicode(f"{place.number}{'.' * dots}{place.name}") for dots in count(1))
            self._plain[place] = next(each for each in chain(choices, numbered) if each not in taken)
            taken.add(self._plain[place])


class _Place(NamedTuple):
    """A layer: the number of its optimizer, and what it is called there."""

    number: int
    name: str


def plain_name(name: str, *, in_module: bool) -> str:
    """Returns a layer's name without what wrappers put into it, as UTF-8 can say it.

    in_module: whether all names begin with the `module.` of DataParallel and DistributedDataParallel, so that it is
    none of the model's own.
    """
    name = _without_wrappers(name)
    while in_module and name.startswith("module."):
        name = name.removeprefix("module.")
    return _unicode(name)


def _without_wrappers(name: str) -> str:
    *modules, own = name.split(".")
    return ".".join([*(module for module in modules if module not in _WRAPPERS), own])


def _unicode(name: str) -> str:
    return name.encode(errors="replace").decode()
