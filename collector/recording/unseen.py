"""Training whose steps are not seen."""

from collections.abc import Sequence
from typing import Any

MANY = 20
"""Values between which parameters changed and no step was seen: weights are also swapped, as for a measurement."""


class UnseenTraining:
    """Notices that parameters are trained though no step of their optimizer was seen, or none any more.

    optimizers: whose parameters are looked at; the version that autograd counts of each changes where it is written to.
    """

    def __init__(self, optimizers: Sequence[Any]) -> None:
        self._optimizers = optimizers
        self._before: tuple[int | None, list[int]] | None = None
        self._seen = self._calls = self._changes = 0
        self._versions_since: list[int] | None = None

    def goes_on(self, step: int | None) -> bool:
        """Whether the parameters, or the `step` that a metric was logged at, changed since the last call."""
        before, self._before = self._before, (step, self._versions())
        return before is not None and before != self._before

    def goes_on_without(self, seen: int) -> bool:
        """Whether the parameters changed between many calls, and no step since `seen` was seen."""
        if seen != self._seen:
            self._seen, self._calls, self._changes, self._versions_since = seen, 0, 0, None
        self._calls += 1
        if self._calls < MANY:  # most are followed by a step, and to ask 2,000 parameters takes 0.2 ms
            return False
        before, self._versions_since = self._versions_since, self._versions()
        self._changes += before is not None and before != self._versions_since
        return self._changes >= MANY

    def _versions(self) -> list[int]:
        params = (param for each in self._optimizers for group in each.param_groups for param in group["params"])
        return [param._version for param in params if not param.is_inference()]


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
