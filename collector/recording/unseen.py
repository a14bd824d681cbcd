"""Training whose steps are not seen."""

from collections.abc import Sequence
from typing import Any


class UnseenTraining:
    """Notices that parameters are trained though no step of their optimizer was seen.

    optimizers: whose parameters are looked at; the version that autograd counts of each changes where it is written to.
    """

    def __init__(self, optimizers: Sequence[Any]) -> None:
        self._optimizers = optimizers
        self._before: tuple[int | None, list[int]] | None = None

    def goes_on(self, step: int | None) -> bool:
        """Whether the parameters, or the `step` that a metric was logged at, changed since the last call."""
        before, self._before = self._before, (step, self._versions())
        return before is not None and before != self._before

    def _versions(self) -> list[int]:
        params = (param for each in self._optimizers for group in each.param_groups for param in group["params"])
        return [param._version for param in params if not param.is_inference()]
