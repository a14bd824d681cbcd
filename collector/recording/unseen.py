"""Training whose steps are not seen."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch.nn.parameter import is_lazy

MANY = 20
"""Values between which parameters changed and no step was seen: weights are also swapped, as for a measurement."""

MOST_WRITES = 3
"""The most writes to a parameter that loading a checkpoint or an initialisation makes."""


class UnseenTraining:
    """Notices that parameters are trained though no step of their optimizer was seen, or none any more.

    optimizers: whose parameters are looked at; the version that autograd counts of each grows where it is written to.
    """

    def __init__(self, optimizers: Sequence[Any]) -> None:
        self._optimizers = optimizers
        self._at_start = [max(_versions(each), default=0) for each in optimizers]
        self._before: list[int] | None = None
        self._step: int | None = None
        self._moves = 0
        self._seen = self._calls = self._changes = 0
        self._versions_since: list[int] | None = None

    def goes_on(self, step: int | None) -> bool:
        """Whether the parameters changed since the last call, or many calls had other steps and there is no gradient.

        With a gradient its step may be to come: the gradients of several batches are accumulated.
        """
        before, self._before = self._before, self._versions()
        self._moves += step is not None and step != self._step
        self._step = step
        return before not in (None, self._before) or (self._moves > MANY and not self._has_gradient())

    def goes_on_without(self, seen: int) -> bool:
        """Whether the parameters changed between many calls, and none but the first `seen` steps were seen."""
        if seen != self._seen:
            self._seen, self._calls, self._changes, self._versions_since = seen, 0, 0, None
        self._calls += 1
        if self._calls < MANY:  # most are followed by a step, and to ask 2,000 parameters takes 0.2 ms
            return False
        before, self._versions_since = self._versions_since, self._versions()
        self._changes += before is not None and before != self._versions_since
        return self._changes >= MANY

    def of(self, never_stepped: Sequence[int], *, resumed: bool) -> list[Any]:
        """Which of the optimizers at these places were used, or might have been; others rest, or have not begun yet."""
        if resumed or len(never_stepped) < len(self._optimizers):
            never_stepped = [number for number in never_stepped if self._is_trained(number)]
        return [self._optimizers[number] for number in never_stepped]

    def _is_trained(self, number: int) -> bool:
        return max(_versions(self._optimizers[number]), default=0) > self._at_start[number] + MOST_WRITES

    def _versions(self) -> list[int]:
        return [version for each in self._optimizers for version in _versions(each)]

    def _has_gradient(self) -> bool:
        return any(param.grad is not None for each in self._optimizers for param in _params(each))


def _versions(optimizer: Any) -> list[int]:
    return [param._version for param in _params(optimizer) if not (is_lazy(param) or param.is_inference())]


def _params(optimizer: Any) -> Iterator[Any]:
    return (param for group in optimizer.param_groups for param in group["params"])


def no_step_was_seen(never: Sequence[Any], optimizers: Sequence[Any], given: Any) -> str:
    """What is wrong with a run where some of its optimizers never stepped; given: what the collector was given."""
    kinds = ", ".join(dict.fromkeys(type(each).__name__ for each in never))
    wrapped = hasattr(given, "param_groups") and all(each is not given for each in never)
    inside = f" (inside of {type(given).__name__})" if wrapped else ""
    what = "layers" if len(never) == len(optimizers) else f"rows of {len(never)} of its optimizers"
    return (
        f"has no {what}, since no step of {kinds}{inside} was seen: give Collector the very optimizer whose step() "
        "your loop or trainer calls, before training begins"
    )


def no_step_any_more(last: int) -> str:
    """What is wrong with a run whose parameters something else trains since its last step."""
    return (
        f"has no rows after step {last}, since its optimizer was not seen to step any more, while its parameters are "
        "trained: make a new Collector, with resume=True, for the optimizer that trains them now"
    )
