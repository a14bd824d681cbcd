"""At which step an optimizer is that says so imprecisely, or not at all."""

from collections.abc import Iterable, Sequence
from typing import Any

from lambc.counts import counts, state_counted, steps_taken

MOST_CHECKPOINTS = 1000
"""Of so many states it is known at which step they were taken."""


class StepCount:
    """The steps of an optimizer that is observed.

    `step` in the optimizer's state is another number than that of the steps it took where no layer took part in all of
    them, where the state was cleared, and where GradScaler had fused steps taken in vain. So it is noted what the
    counts were whenever a state_dict is taken: a state that has these counts is at that step, and where there were
    several steps, at the last of them.

    last_step: the log's, for an optimizer that keeps no count. checkpoints: what `said` has said of the run before.
    """

    def __init__(self, optimizer: Any, last_step: int, checkpoints: Iterable[Sequence[int]] = ()) -> None:
        self._optimizer = optimizer
        self._checkpoints = {(largest, total): step for largest, total, step in checkpoints}
        self._peers: Sequence[StepCount] = ()
        taken = self._taken()
        self.step = last_step if taken is None else taken
        self.is_unsure = taken is None and last_step > 0
        """Whether the state is empty: it may not have been loaded, or be that of an optimizer that never counts."""

    def _taken(self) -> int | None:
        """The step that the state's counts stand for; None if it has none. Waits for the device."""
        state = state_counted(self._optimizer)
        return None if state is None else self._checkpoints.get(state, state[0])

    def loaded(self) -> None:
        """Count on from a state_dict that was loaded."""
        taken = self._taken()
        if taken is not None:
            self.step, self.is_unsure = taken, False
            for peer in self._peers:
                peer.go_along_with(taken)

    def go_along_with(self, step: int) -> None:
        """Be at the step of another optimizer, unless there are counts to go by."""
        if not counts(self._optimizer):
            self.step = step

    def settle(self) -> None:
        """After a step: if the optimizer counts now, and had nothing to count from, it was its first."""
        if self.is_unsure and counts(self._optimizer):
            self.step = 0
        self.is_unsure = False

    def note_state(self) -> None:
        """Note at which step the counts are as they are, unless all are 0, as of any optimizer at its start."""
        state = state_counted(self._optimizer)
        if state is not None and any(state) and self.step:
            self._checkpoints.pop(state, None)
            self._checkpoints[state] = self.step
            for oldest in [*self._checkpoints][:-MOST_CHECKPOINTS]:
                del self._checkpoints[oldest]

    def said(self) -> list[list[int]]:
        """The largest count, the sum of all, and the step: of each state that was noted, and of that of now."""
        self.note_state()
        return [[*state, step] for state, step in self._checkpoints.items()]


def go_together(watched: Sequence[StepCount], others: Sequence[Any]) -> None:
    """Have those of a run's optimizers that keep no count go along with those that do, now and when these are loaded.

    watched: of those that are observed; others: the optimizers that are not.
    """
    counted = [each.step for each in watched if counts(each._optimizer)]
    furthest = max([*counted, *(steps_taken(each) or 0 for each in others)], default=0)
    for each in watched:
        each._peers = [other for other in watched if other is not each]
        if furthest:
            each.go_along_with(furthest)
