"""One of a run's optimizers, and what of it is not yet a block."""

import math
import operator
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import Module
from torch.nn.parameter import is_lazy

from collector.log.run import Layer
from collector.recording.names import LayerNames, layer_names
from collector.recording.ring import Ring
from collector.recording.selection import Selection


class Source:
    """One optimizer, and the steps of it that are in its ring."""

    def __init__(self, number: int, optimizer: Any, names: LayerNames, *, resumed: bool) -> None:
        self.optimizer = optimizer
        self._number, self._names = number, names
        self.names = self.names_of(layer_names(optimizer.param_groups))
        self.record: Any = None  # the last; a replayed graph writes into its table
        self.layers: tuple[str, ...] | None = None  # record.layers; the same object until a group is added
        self._params = self._lists()  # of these layers
        self.kept: tuple[str, ...] = ()  # the names of those that are recorded
        self.columns: Tensor | None = None  # where in the table they are; None if all of it is kept
        self.ring: Ring  # there from the first step that is recorded on
        self.rows: list[tuple[int, int]] = []  # step and epoch of each slot of the ring that is in use
        # A step that is not above this one is a step that comes anew; the first step of a resumed run always is.
        self.last_step: float = math.inf if resumed else -math.inf
        self.goes_back = False  # whether the next step comes anew, since a state was loaded
        self._reached = self.last_step  # before that
        self._said = self._counted = -1

    def expect_any_step(self) -> None:
        """Take the next step, whichever it is, for one that comes anew: another optimizer of the run has gone back."""
        self.last_step = math.inf

    def set_step(self, step: int) -> None:
        """Take note of the step at which the optimizer stands since a state was loaded."""
        if self.was_replayed:
            self._counted = step
        self._reached = self._reached if self.goes_back else self.last_step
        self.last_step = step
        self.goes_back = step < self._reached

    @property
    def step_is_known(self) -> bool:
        """Whether it is known which step comes next."""
        return math.isfinite(self.last_step)

    def names_of(self, layers: tuple[str, ...]) -> tuple[str, ...]:
        """The names in the log of what the optimizer calls `layers`."""
        return self._names.of(self._number, self.optimizer.param_groups, layers)

    def has_other_params(self) -> bool:
        """Whether the groups' lists hold others, or in another order, than when `see_params` was last called."""
        lists = [group["params"] for group in self.optimizer.param_groups]
        return len(lists) != len(self._params) or any(map(differ, lists, self._params))

    def may_have_other_params(self) -> bool:
        """The same at a tenth of the cost, for each step; only a scalar in the place of an equal one is not seen.

        A list compares its elements by identity first, and asks a tensor what it is equal to where that fails: of
        several elements it cannot tell, and raises.
        """
        try:
            return [group["params"] for group in self.optimizer.param_groups] != self._params
        except RuntimeError:
            return True

    def has_room_for(self, table: Tensor) -> bool:
        """Whether the ring takes a table: with the norms of the gradients it has one row more."""
        return not self.kept or (self.ring.shape[0], self.ring.device) == (len(table), table.device)

    def see_params(self) -> None:
        """Take note of the parameters in the groups' lists."""
        self._params = self._lists()

    def _lists(self) -> list[list[Tensor]]:
        return [list(group["params"]) for group in self.optimizer.param_groups]

    def shapes(self) -> list[tuple[int, ...]]:
        """The parameters' shapes."""
        return [shape_of(param) for group in self.optimizer.param_groups for param in group["params"]]

    def count(self, said: int) -> int:
        """The number of the step that the optimizer says is `said`, which does not know of replayed graphs."""
        self._counted = self._counted + 1 if 0 <= self._said == said - 1 else said
        self._said = said
        return self._counted

    def count_replay(self) -> int:
        """The number of a step that a replayed graph took."""
        self._counted += 1
        return self._counted

    @property
    def was_replayed(self) -> bool:
        """Whether graphs took steps that the optimizer does not know of, so that it counts others than the log."""
        return self._counted != self._said

    def capture(self, said: int) -> None:
        """Take note of a step that was only captured: the first replay is that step."""
        self._counted = self.count(said) - 1


def differ(params: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether two lists hold different tensors; cheap, as each step asks: 1 µs for 62; ids take 3 µs."""
    return len(params) != len(others) or any(map(operator.is_not, params, others))


def shape_of(param: Tensor) -> tuple[int, ...]:
    """A parameter's shape; that of a lazy one, which has none yet, is (0,)."""
    return (0,) if is_lazy(param) else tuple(param.shape)


def layer_table(sources: Sequence[Source], models: Sequence[Module], selection: Selection) -> tuple[Layer, ...]:
    """The layers of a run that are recorded, those of the models in depth order."""
    depth = {id(param): depth for depth, param in enumerate(each for m in models for each in m.parameters())}
    found = []
    groups = 0
    for source in sources:
        of_group = [
            (param, number)
            for number, group in enumerate(source.optimizer.param_groups, start=groups)
            for param in group["params"]
        ]
        groups += len(source.optimizer.param_groups)
        for name, (param, number) in zip(source.names, of_group, strict=False):
            found.append((depth.get(id(param), math.inf), name, param, number))
    found = [layer for layer in found if selection.has_layer(layer[1])]
    found.sort(key=lambda layer: layer[0])
    return tuple(
        Layer(name, position, shape_of(param), math.prod(shape_of(param)), group)
        for position, (_, name, param, group) in enumerate(found)
    )
