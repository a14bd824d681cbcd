"""The run that an integration records, and the rule that an error of ours never ends the training."""

import inspect
import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from itertools import count
from numbers import Real
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from torch import Tensor

from lambc import Collector

_Method = TypeVar("_Method", bound=Callable[..., Any])


class Recording:
    """The run that a framework's callback records, from `begin` to `end`.

    Before `begin` and after `end` the other methods do nothing: a framework may still evaluate and log.

    root, name, options: as in Collector. Where a run of this name exists and is not to be resumed, a number is appended
    to the name (`name-2`), with a warning, since to refuse the name would leave a training of hours unrecorded. The
    options `resume` and `overwrite` hold for the first run alone.

    Raises TypeError for an option that Collector does not have.
    """

    def __init__(self, root: str | os.PathLike[str], name: str | None, options: Mapping[str, Any]) -> None:
        inspect.signature(Collector).bind(None, root, name, **options)
        self.root, self.name = root, name
        self.collector: Collector | None = None
        self.run: str | None = None  # the run that was begun last; on ranks that do not write, if it was named
        self.said: set[str] = set()  # what a warning said of this run (`training_goes_on`)
        self._options = dict(options)

    def begin(self, optimizer: Any, *, name: str | None = None, resume: str | None = None, **defaults: Any) -> None:
        """Begin a run, and end the last one if it still goes on.

        name: instead of the one that was given. resume: the run to go on with. defaults: options of Collector that the
        user did not give.

        Raises what Collector raises.
        """
        self.said.clear()
        self.end("interrupted", "training began again in the same process")
        options = {**defaults, **self._options}
        if resume is not None:
            options |= {"resume": True, "overwrite": False}
        self.collector = self._collector(optimizer, resume or name or self.name, options)
        for option in ("resume", "overwrite"):
            self._options.pop(option, None)
        self.run = None
        with suppress(RuntimeError):  # of a rank that does not know the name
            self.run = self.collector.run

    def _collector(self, optimizer: Any, name: str | None, options: dict[str, Any]) -> Collector:
        if name is None or options.get("resume"):
            return Collector(optimizer, self.root, name, **options)
        for number in count(1):
            numbered = name if number == 1 else f"{name}-{number}"
            with suppress(FileExistsError):
                collector = Collector(optimizer, self.root, numbered, **options)
                if number > 1:
                    warnings.warn(f"run {name!r} exists already, so this one is called {numbered!r}", stacklevel=5)
                return collector
        raise AssertionError("count() has no end")

    def set_epoch(self, epoch: float) -> None:
        """Note the epoch of all rows that follow."""
        if self.collector:
            self.collector.epoch = epoch

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Record the numbers among `metrics` at the optimizer's last step; raises TypeError for others, after that."""
        if not self.collector:
            return
        numbers = {name: value for name, value in metrics.items() if _is_number(value)}
        if numbers:
            self.collector.log(numbers)
        if others := metrics.keys() - numbers.keys():
            raise TypeError(f"{', '.join(sorted(map(repr, others)))}: not a number or a tensor of one element")

    def end(self, status: str, failure: str | None = None) -> None:
        """End the run as 'finished', 'interrupted' or 'failed', and say why."""
        collector, self.collector = self.collector, None
        if collector:
            collector.end(status, failure)

    def end_by(self, error: BaseException | None) -> None:
        """End the run as a `with` block does that ends by `error`, or without one."""
        collector, self.collector = self.collector, None
        if collector:
            collector.__exit__(type(error) if error else None, error, None)


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1 and not value.is_complex()
    return isinstance(value, Real)


def training_goes_on(what: str) -> Callable[[_Method], _Method]:
    """Returns a decorator that turns a method's error into a warning, "{what} not recorded", once for each run.

    The method's object has its Recording as `recording`; `what` is, say, "metrics are".
    """

    def decorate(method: _Method) -> _Method:
        @wraps(method)
        def guarded(self: Any, *args: Any, **options: Any) -> Any:
            try:
                return method(self, *args, **options)
            except Exception as error:
                if what not in self.recording.said:
                    self.recording.said.add(what)
                    message = f"{what} not recorded ({type(error).__name__}: {error}); training goes on"
                    warnings.warn(message, stacklevel=2)
            return None

        return cast(_Method, guarded)

    return decorate


class EndsRun:
    """A mixin for classes with a Recording as `recording`: as a context manager it notes how training ended."""

    recording: Recording

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end(error)

    @training_goes_on("the end of the run is")
    def _end(self, error: BaseException | None) -> None:
        self.recording.end_by(error)
