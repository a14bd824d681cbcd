"""At which step the optimizers of a run are, where they say so imprecisely, or not at all."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lambc.counts import counts, state_counted

MOST_MOMENTS = 1000
"""Of so many moments it is kept what was counted at them."""


class StepCount:
    """The steps of one optimizer that is observed.

    step: the last that it took, as far as is known; without a count in its state, the log's last. is_unsure: whether
    the state is empty, so that it may not have been loaded yet, or be that of an optimizer that never counts.
    """

    def __init__(self, optimizer: Any, last_step: int = 0) -> None:
        self._optimizer = optimizer
        counted = _counted(optimizer)
        self.step = counted[0] if counted else last_step
        self.is_unsure = not counted and last_step > 0

    def settle(self) -> None:
        """After a step: if the optimizer counts now, and had nothing to count from, it was its first."""
        if self.is_unsure and counts(self._optimizer):
            self.step = 0
        self.is_unsure = False


class Moment(NamedTuple):
    """What the optimizers of a run counted when a state_dict was taken, or the run ended, and their steps.

    counts: the largest count in the state, and the sum of all; None without any. steps: None where it is not known.
    """

    counts: tuple[tuple[int, int] | None, ...]
    steps: tuple[int | None, ...]


class StepCounts:
    """Where the optimizers of a run stand when it is resumed, and when a state is loaded.

    `step` in an optimizer's state is another number than that of the steps it took where no layer took part in all of
    them, where the state was cleared, and where GradScaler had fused steps taken in vain; SGD and Muon count nothing.
    So the counts and steps are noted whenever a state_dict is taken: counts that were noted are those of that moment,
    of several moments those of the last; others are as many steps from the nearest moment as the counts have grown.

    of: the count of each optimizer that is observed; None for one that says itself which step it took. last_step: the
    log's. noted: what `said` was of the run before. standing: at which step each is, None where nothing tells it.
    """

    def __init__(self, optimizers: Sequence[Any], last_step: int = 0, noted: Iterable[Any] = ()) -> None:
        self._optimizers = optimizers
        self._counted_before = [False] * len(optimizers)
        says = [hasattr(each, "register_trust_ratio_hook") for each in optimizers]
        self.of = [None if own else StepCount(each, last_step) for each, own in zip(optimizers, says, strict=True)]
        beginning = Moment((None,) * len(optimizers), (0,) * len(optimizers))
        self._moments = [beginning, *(each for each in map(_moment, noted) if each and len(each.steps) == len(says))]
        self.standing = self._standing()
        self._set(self.standing)

    def watch(self, on_load: Callable[[list[int | None]], None], on_save: Callable[[], None]) -> list[RemovableHandle]:
        """Follow the states that are loaded and taken, until the handles are removed.

        on_load: is given where the optimizers stand once a state was loaded; None for those that it leaves where they
        are. on_save: called when a state_dict is taken.
        """

        def follow(number: int, optimizer: Optimizer) -> list[RemovableHandle]:
            def before(optimizer: Optimizer, state: Any) -> None:
                self._counted_before[number] = bool(counts(optimizer))

            return [
                optimizer.register_load_state_dict_pre_hook(before),
                optimizer.register_load_state_dict_post_hook(lambda optimizer: on_load(self.loaded(number))),
                optimizer.register_state_dict_pre_hook(lambda optimizer: on_save()),
            ]

        of_torch = [(number, each) for number, each in enumerate(self._optimizers) if isinstance(each, Optimizer)]
        return [handle for number, each in of_torch for handle in follow(number, each)]

    def loaded(self, number: int) -> list[int | None]:
        """Where the optimizer stands that has loaded a state, and those that keep no count and go along with it."""
        is_counted = bool(_counted(self._optimizers[number]))
        if not is_counted and not self._counted_before[number]:  # it keeps no count itself
            return [None] * len(self.of)
        standing = self._standing()
        if not is_counted:  # it is at its beginning
            standing = standing if any(standing) else [0] * len(standing)
            standing[number] = 0
        for other, optimizer in enumerate(self._optimizers):
            if other != number and (self.of[other] is None or counts(optimizer)):
                standing[other] = None
        self._set(standing)
        return standing

    def _set(self, standing: Sequence[int | None]) -> None:
        for count, optimizer, step in zip(self.of, self._optimizers, standing, strict=True):
            if count and step is not None:
                count.step = step
                count.is_unsure &= not counts(optimizer)

    def _standing(self) -> list[int | None]:
        """By what is counted now. Waits for the device."""
        counted = tuple(map(_counted, self._optimizers))
        if not any(counted):
            return [None] * len(counted)
        for moment in reversed(self._moments):
            if moment.counts == counted:
                return list(moment.steps)
        alone = [self._alone(number, each) for number, each in enumerate(counted)]
        furthest = max((step for step in alone if step is not None), default=None)
        if furthest is None:
            return alone
        lead = alone.index(furthest)
        nearest = min(reversed(self._moments), key=lambda moment: abs((moment.steps[lead] or 0) - furthest))
        gone = furthest - (nearest.steps[lead] or 0)
        along = [None if step is None else max(0, step + gone) for step in nearest.steps]
        return [own if own is not None else other for own, other in zip(alone, along, strict=True)]

    def _alone(self, number: int, counted: tuple[int, int] | None) -> int | None:
        """The step at which one optimizer counts so."""
        if self.of[number] is None:
            return _said(self._optimizers[number]) or None  # at 0 it may not have been loaded yet
        if counted is None:
            return None
        largest, total = counted
        noted = [(each.counts[number], each.steps[number] or 0) for each in reversed(self._moments)]
        for before, step in noted:
            if before == counted:
                return step
        for before, step in noted:
            if before and before[0] <= largest and before[1] < total:
                return max(largest, step + max(1, largest - before[0]))
        return largest

    def note(self) -> None:
        """Note what is counted now, unless all say themselves which step they took. Waits for the device."""
        counted = tuple(map(_counted, self._optimizers))
        if any(self.of) and any(counted):
            each_of = zip(self.of, self._optimizers, strict=True)
            now = Moment(counted, tuple(count.step if count else _said(each) for count, each in each_of))
            beginning, *others = self._moments
            self._moments = [beginning, *[each for each in others if each != now][1 - MOST_MOMENTS :], now]

    def said(self) -> list[dict[str, Any]]:
        """The moments that were noted, for run.json."""
        return [each._asdict() for each in self._moments[1:]]


def _counted(optimizer: Any) -> tuple[int, int] | None:
    """The largest count of an optimizer and the sum of all; None if it has none, or took no step."""
    found = state_counted(optimizer)
    return found if found and any(found) else None


def _said(optimizer: Any) -> int | None:
    """The last step of an optimizer that says itself which it took; None if its groups do not have it."""
    counted = [group.get("trust_step", group.get("step")) for group in optimizer.param_groups]
    return max((int(each) for each in counted if each is not None), default=None)


def _moment(said: Any) -> Moment | None:
    """A moment as run.json has it; None for anything else."""
    try:
        counted = tuple(each and (int(each[0]), int(each[1])) for each in said["counts"])
        steps = tuple(None if each is None else int(each) for each in said["steps"])
    except (TypeError, ValueError, LookupError):
        return None
    return Moment(counted, steps) if len(counted) == len(steps) else None
