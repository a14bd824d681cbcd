"""Accelerate: a tracker of its `Accelerator`, which records the trust ratios of the optimizers that it prepared."""

import os
from typing import Any, Self

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, register_tracker_class

from lambc import Collector
from lambc.integrations.recording import EndsRun, Recording, training_goes_on


class TrustRatioTracker(EndsRun, GeneralTracker):
    """Records the layers at each step of the optimizers that are watched, and what `accelerator.log` is given.

        tracker = TrustRatioTracker("my-run", "runs")
        accelerator = Accelerator(log_with=tracker)
        accelerator.init_trackers("my-project", config={"lr": 1e-2})
        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
        with tracker.watch(accelerator):
            for epoch in range(epochs):
                tracker.epoch = epoch  # before the first step of the epoch
                ...

    Once this module is imported, `Accelerator(log_with="lambc")` also makes a tracker, whose run is named after the
    project; its options are `init_kwargs={"lambc": {"root": "runs"}}`. Accelerate makes it on the main process only:
    get it there with `accelerator.get_tracker("lambc")`, and call `watch` only there.

    run: the run's name, `name` in Collector; that of a run that exists gets a number (`run-2`).
    root, options: as in Collector. `config` is what `init_trackers` is given.

    A step is one of the optimizer: neither an accumulated gradient, nor one that GradScaler skips. A fused optimizer
    cancels a skipped step itself: that one is counted, and has no rows. Metrics are recorded at the optimizer's last
    step, also where `accelerator.log` is given a step of its own: that is logged as `step`.

    After `accelerator.register_for_checkpointing(tracker)` the run's name is in `save_state`'s checkpoints, and `watch`
    goes on with the same run after `load_state`. `accelerator.end_training()` ends the run; as a context manager it
    notes why training failed. An error here is a warning, and training goes on. Raises TypeError for an option that
    Collector does not have.
    """

    name = "lambc"
    requires_logging_directory = False
    main_process_only = False  # every rank makes its collector, and rank 0's writes

    def __init__(self, run: str, root: str | os.PathLike[str] = "runs", **options: Any) -> None:
        super().__init__()
        self.recording = Recording(root, run, options)
        self._config: dict[str, Any] | None = None
        self._resume: str | None = None
        self._epoch = 0.0
        self._watched = False

    @property
    def tracker(self) -> Collector | None:
        """The Collector; None before `watch` and after the end."""
        return self.recording.collector

    @training_goes_on("this training is")
    def _begin(self, watched: Any, model: Any) -> None:
        self._watched = True
        prepared = isinstance(watched, Accelerator)
        self.recording.begin(
            watched._optimizers if prepared else watched,
            resume=self._resume,
            model=model if model is not None or not prepared else watched._models,
            config=self._config,
        )
        self._resume = None
        self.recording.set_epoch(self._epoch)

    def watch(self, watched: Any, model: Any = None) -> Self:
        """Begin the run, after `prepare` and `load_state`; returns this tracker.

        watched: the Accelerator, for all optimizers and models that it prepared; or an optimizer, or several.
        model: as in Collector.
        """
        self._begin(watched, model)
        return self

    @property
    def epoch(self) -> float:
        """The epoch of all rows that follow: set it before the first step of each."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: float) -> None:
        self._set_epoch(epoch)

    @training_goes_on("the epoch is")
    def _set_epoch(self, epoch: float) -> None:
        self._epoch = epoch
        self.recording.set_epoch(epoch)

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Keep what run.json says the run is about."""
        self._config = values

    @training_goes_on("metrics are")
    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Log the numbers among `values`, and `step` as one of them."""
        self._check_watched()
        self.recording.log(values if step is None else {"step": step, **values})

    @training_goes_on("this training is")
    def _check_watched(self) -> None:
        if not self._watched:
            raise RuntimeError("no optimizer is watched yet: call tracker.watch(accelerator) after prepare")

    def finish(self) -> None:
        """End the run as finished."""
        self._end(None)

    def state_dict(self) -> dict[str, Any]:
        """Returns the name of the run."""
        return {"run": self.recording.run}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Have `watch` go on with the run of a checkpoint."""
        self._resume = state_dict.get("run")


if TrustRatioTracker.name not in LOGGER_TYPE_TO_CLASS:  # a module that is loaded anew warns otherwise
    register_tracker_class(TrustRatioTracker)
