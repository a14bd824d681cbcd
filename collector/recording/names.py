"""What layers are called."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from typing import Any, NamedTuple

from torch import Tensor
from torch.nn import Module
from torch.utils.weak import WeakIdKeyDictionary

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

    A parameter keeps its name wherever it moves in the groups' lists. One that comes for another, at the place of one
    that left, is the same layer unless a model says otherwise.

    models: whose `named_parameters()` name what the groups do not. optimizers: whose layers are named.
    """

    def __init__(self, models: Sequence[Module], optimizers: Sequence[Any]) -> None:
        self._models = models
        self._of_models = WeakIdKeyDictionary()
        self._several = len(optimizers) > 1
        self._seen = [WeakIdKeyDictionary() for _ in optimizers]
        self._plain: dict[_Place, str] = {}
        self._last: dict[int, tuple[Any, tuple[str, ...]]] = {}  # what was asked of each optimizer, and answered
        # All at once, so that it is seen what they have in common.
        self._add(
            place
            for number, each in enumerate(optimizers)
            for place in self._places(number, each.param_groups, layer_names(each.param_groups))
        )

    def of(self, number: int, param_groups: Sequence[Mapping[str, Any]], layers: Sequence[str]) -> tuple[str, ...]:
        """Returns the names of the layers of the optimizer at place `number`, which calls them `layers` itself."""
        asked = tuple(layers), [id(param) for group in param_groups for param in group["params"]]
        before = self._last.get(number)
        if before and before[0] == asked:  # as in all steps but a few
            return before[1]
        places = self._places(number, param_groups, layers)
        self._add(places)
        names = tuple(self._plain[each] for each in places)
        self._last[number] = asked, names
        return names

    def first(self, optimizers: Sequence[Any]) -> tuple[str, ...]:
        """Returns the name of the first layer of each optimizer, "" where it has none."""
        groups = [each.param_groups for each in optimizers]
        return tuple("".join(self.of(number, each, layer_names(each))[:1]) for number, each in enumerate(groups))

    def _places(self, number: int, param_groups: Sequence[Mapping[str, Any]], layers: Sequence[str]) -> list["_Place"]:
        """The place of each layer, all different: where its parameter was seen first."""
        named = []
        for group in param_groups:
            known = len(_known_names(group))
            named += [(index < known, param) for index, param in enumerate(group["params"])]
        if len(named) != len(layers):
            return [_Place(number, layer) for layer in layers]
        seen = self._seen[number]
        taken = {seen[param] for _, param in named if param in seen}
        places: dict[_Place, None] = {}
        for layer, (has_name, param) in zip(layers, named, strict=True):
            place = seen.get(param)
            if place is None or place in places:
                names = self._names(number, layer, param, has_name=has_name)
                place = next(each for name in names if (each := _Place(number, name)) not in taken)
                seen.setdefault(param, place)
                taken.add(place)
            places[place] = None
        return list(places)

    def _names(self, number: int, layer: str, param: Tensor, *, has_name: bool) -> Iterator[str]:
        """What a parameter that was not seen yet may be called, the best first."""
        names = [layer] if has_name else []
        if of_model := self._of_model(param):
            names.append(of_model)
        elif not has_name:
            names.append(f"{number}.{layer}" if self._several else layer)
        yield from names
        yield from (f"{names[0]} ({index})" for index in count(2))

    def _of_model(self, param: Tensor) -> str | None:
        if self._models and param not in self._of_models:
            for model in self._models:
                for name, each in model.named_parameters():
                    self._of_models.setdefault(each, name)
            self._of_models.setdefault(param, None)
        return self._of_models.get(param)

    def _add(self, places: Iterable["_Place"]) -> None:
        """Give a name to each that has none, which no other layer has."""
        new = [each for each in dict.fromkeys(places) if each not in self._plain]
        if not self._plain:
            self._in_module = all(_without_wrappers(place.name).startswith("module.") for place in new)
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
    """A layer: the number of its optimizer, and what tells it from the others there."""

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
