"""At which step the optimizers of a run are, where they say so imprecisely, or not at all."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lambc.counts import counts, largest_and_total_count

MOST_MOMENTS = 1000
"""The most moments whose counts are kept."""

_MOST_STEPS = 2**62

Key: TypeAlias = tuple[int, int] | None


class StepCount:
    """The steps of one optimizer that is observed.

    step: the last that it took, as far as is known; without a count in its state, the log's last. is_unsure: whether
    the state is empty, so that it may not have been loaded yet, or be that of an optimizer that never counts.
    has_stepped: whether a step was seen. in_step: whether one is being taken, so that the state may be ahead of `step`.
    at_its_end: is called when that step has been taken.
    """

    def __init__(self, optimizer: Any, last_step: int = 0) -> None:
        self._optimizer = optimizer
        counted = _counted(optimizer)
        self.step = counted[0] if counted else last_step
        self.is_unsure = not counted and last_step > 0
        self.has_stepped = self.in_step = False
        self.at_its_end: Callable[[], None] | None = None

    def settle(self) -> None:
        """After a step: if the optimizer counts now, and had nothing to count from, it was its first."""
        if self.is_unsure and counts(self._optimizer):
            self.step = 0
        self.is_unsure, self.has_stepped = False, True

    def end_step(self) -> None:
        """Take note that the optimizer is between two steps."""
        self.in_step = False
        if then := self.at_its_end:
            self.at_its_end = None
            then()


class Moment(NamedTuple):
    """What the optimizers of a run counted when a state_dict was taken, or the run ended, and their steps.

    counts: the largest count in the state, and the sum of all; None without any. steps: None where it is not known.
    """

    counts: tuple[Key, ...]
    steps: tuple[int | None, ...]


class StepCounts:
    """Where the optimizers of a run stand when it is resumed, and when a state is loaded.

    `step` in an optimizer's state is another number than that of the steps it took where no layer took part in all of
    them, where the state was cleared, and where GradScaler had fused steps taken in vain; SGD and Muon count nothing.
    So counts and steps are noted whenever a state_dict is taken. Counts equal to those of a moment (the latest, of
    several) have its steps; other counts are as many steps from the nearest moment as they have grown.

    layers: a layer of each optimizer, by which it is known again in another order. last_step: the log's. noted: what
    `said` was of the run before.

    of: the count of each optimizer that is observed; None for one that says itself which step it took. standing: at
    which step each is, None where nothing tells it. had_begun: whether each may have taken steps before.
    """

    def __init__(self, optimizers: Sequence[Any], layers: Sequence[str], last_step: int = 0, noted: Any = None) -> None:
        self._optimizers, self._layers = optimizers, layers
        self._resumed = last_step > 0
        self._counted_before = [False] * len(optimizers)
        says = [hasattr(each, "register_trust_ratio_hook") for each in optimizers]
        self.of = [None if own else StepCount(each, last_step) for each, own in zip(optimizers, says, strict=True)]
        self._moments = _moments(noted, layers)
        last = self._moments[-1].steps if self._moments else None
        self.had_begun = [last is None or bool(last[number]) for number in range(len(optimizers))]
        self.standing = self._standing()
        self._set(self.standing)

    def watch(
        self, on_load: Callable[[list[float | None]], None], on_save: Callable[[], None]
    ) -> list[RemovableHandle]:
        """Follow the states that are loaded and taken, until the handles are removed.

        on_load: is given where the optimizers stand once a state was loaded; None for those that it leaves where they
        are, and infinity for one of which nobody can know. on_save: called when a state_dict was taken, between steps.
        """

        def save() -> None:
            stepping = [each for each in self.of if each and each.in_step]
            for each in stepping[-1:]:
                each.at_its_end = on_save
            if not stepping:
                on_save()

        def follow(number: int, optimizer: Optimizer) -> list[RemovableHandle]:
            def before(optimizer: Optimizer, state: Any) -> None:
                self._counted_before[number] = bool(self._key(number))

            return [
                optimizer.register_load_state_dict_pre_hook(before),
                optimizer.register_load_state_dict_post_hook(lambda optimizer: on_load(self.loaded(number))),
                optimizer.register_state_dict_pre_hook(lambda optimizer: save()),
            ]

        of_torch = [(number, each) for number, each in enumerate(self._optimizers) if isinstance(each, Optimizer)]
        return [handle for number, each in of_torch for handle in follow(number, each)]

    def loaded(self, number: int) -> list[float | None]:
        """Where the optimizer stands that has loaded a state, and those that keep no count and go along with it."""
        is_counted = bool(self._key(number))
        if not is_counted and not self._counted_before[number]:  # it keeps no count, or has not begun
            return [None] * len(self.of)
        standing = self._standing()
        if not is_counted:  # it is at its beginning
            standing = standing if any(standing) else [0] * len(standing)
            standing[number] = 0
        for other in range(len(standing)):
            if other != number and self._key(other):
                standing[other] = None
        self._set(standing)
        unknown = [count is None and _said(each) is None for count, each in zip(self.of, self._optimizers, strict=True)]
        return [math.inf if never else step for never, step in zip(unknown, standing, strict=True)]

    def _set(self, standing: Sequence[int | None]) -> None:
        for count, optimizer, step in zip(self.of, self._optimizers, standing, strict=True):
            if count and step is not None:
                count.step = step
                count.is_unsure &= not counts(optimizer)

    def _key(self, number: int) -> Key:
        if self.of[number] is not None:
            return _counted(self._optimizers[number])
        said = _said(self._optimizers[number])
        return (said, said) if said else None

    def _keys(self) -> tuple[Key, ...]:
        """What is counted now. Waits for the device."""
        return tuple(map(self._key, range(len(self.of))))

    def _standing(self) -> list[int | None]:
        return self._steps_at(self._keys(), self._moments)

    def _steps_at(self, counted: tuple[Key, ...], moments: Sequence[Moment]) -> list[int | None]:
        """Where the optimizers stand that count so, as far as these moments tell."""
        if not any(counted):
            return [None] * len(counted)
        for moment in reversed(moments):
            if moment.counts == counted:
                return list(moment.steps)
        alone = [_alone(number, each, moments) if each else None for number, each in enumerate(counted)]
        along = self._along(alone, moments)
        return [own if own is not None else other for own, other in zip(alone, along, strict=True)]

    def _along(self, alone: Sequence[int | None], moments: Sequence[Moment]) -> list[int | None]:
        """The steps of optimizers without a count: as far from the nearest moment as the furthest one that counts.

        Without a moment, a run that begins with states of another one begins where these are.
        """
        step, lead = max((step, number) for number, step in enumerate(alone) if step is not None)
        known = [(noted, each.steps) for each in moments if (noted := each.steps[lead]) is not None]
        if known:
            before = max((each for each in known if each[0] <= step), key=lambda each: each[0], default=None)
            after = min((each for each in known if each[0] >= step), key=lambda each: each[0], default=None)
            return [_between(number, step, before, after) for number in range(len(alone))]
        begins = [not self._resumed and count is not None and not count.has_stepped for count in self.of]
        return [step if each else None for each in begins]

    def note(self, steps: Sequence[int | None]) -> None:
        """Note what is counted now, unless all say themselves which step they took. Waits for the device.

        steps: of those that do, as the log has them.
        """
        before = self._observed_steps()
        counted = self._keys()
        if not any(self.of) or self._observed_steps() != before:  # another thread takes a step
            return
        own = zip(self.of, steps, strict=True)
        now = Moment(counted, tuple(count.step if count else step for count, step in own))
        moments = [each for each in self._moments if each != now]
        if len(moments) > 1 and _go_alike(moments[-2], moments[-1]) and _go_alike(moments[-1], now):
            middle = moments.pop()
            if self._steps_at(middle.counts, [*moments, now]) != list(middle.steps):
                moments.append(middle)
        self._moments = [*moments[1 - MOST_MOMENTS :], now]

    def _observed_steps(self) -> list[tuple[int, bool]]:
        return [(each.step, each.in_step) for each in self.of if each]

    def said(self) -> dict[str, Any]:
        """The moments that were noted, for run.json."""
        return {"layers": list(self._layers), "noted": [each._asdict() for each in self._moments]}


def _counted(optimizer: Any) -> Key:
    """The largest count of an optimizer and the sum of all; None if it has none, or took no step."""
    found = largest_and_total_count(optimizer)
    return found if found and any(found) else None


def _said(optimizer: Any) -> int | None:
    """The last step of an optimizer that says itself which it took; None if its groups do not have it."""
    counted = [group.get("trust_step", group.get("step")) for group in optimizer.param_groups]
    return max((int(each) for each in counted if each is not None), default=None)


def _alone(number: int, counted: tuple[int, int], moments: Sequence[Moment]) -> int:
    """The step at which the optimizer at this place counts so."""
    largest, total = counted
    noted = [(each.counts[number], each.steps[number] or 0) for each in reversed(moments)]
    for before, step in noted:
        if before == counted:
            return step
    for before, step in noted:
        if before and before[0] <= largest and before[1] < total:
            return max(largest, step + max(1, largest - before[0]))
    return largest


_Known: TypeAlias = tuple[int, Sequence[int | None]] | None
"""The step of one optimizer at a moment, and those of all."""


def _between(number: int, step: int, before: _Known, after: _Known) -> int | None:
    """Returns an optimizer's step when another is at `step`: as far from the nearer moment, clamped to both."""
    near = min((each for each in (before, after) if each), key=lambda each: abs(each[0] - step))
    least, most = (each and each[1][number] for each in (before, after))
    own = near[1][number]
    if own is None:
        return None
    own = max(own + step - near[0], least or 0)
    return own if most is None else min(own, most)


def _go_alike(first: Moment, last: Moment) -> bool:
    """Whether all steps and counts have grown by the same, so that what lies between is told by either moment."""
    pairs = [*zip(first.steps, last.steps, strict=True)]
    pairs += [(then[0], now[0]) for then, now in zip(first.counts, last.counts, strict=True) if then and now]
    begun = [bool(then) == bool(now) for then, now in zip(first.counts, last.counts, strict=True)]
    grown = {None if then is None or now is None else now - then for then, now in pairs}
    return all(begun) and len(grown) == 1 and None not in grown


def _moments(noted: Any, layers: Sequence[str]) -> list[Moment]:
    """Moments as run.json has them, for the optimizers of these layers; what makes no sense counts for nothing."""
    try:
        places = [noted["layers"].index(layer) if layer in noted["layers"] else None for layer in layers]
        return [_moment(each, places) for each in noted["noted"]]
    except (TypeError, ValueError, LookupError, AttributeError):
        return []


def _moment(said: Mapping[str, Any], places: Sequence[int | None]) -> Moment:
    every = [None if place is None else said["counts"][place] for place in places]
    steps = [None if place is None else said["steps"][place] for place in places]
    counted = [each and (int(each[0]), int(each[1])) for each in every]
    numbers = [
        *(int(each) for each in steps if each is not None),
        *(number for each in counted if each for number in each),
    ]
    if not all(0 <= number < _MOST_STEPS for number in numbers):
        raise ValueError(f"{said!r} is no moment of a run")
    return Moment(tuple(counted), tuple(steps))
