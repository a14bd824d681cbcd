"""Lightning's Trainer: a callback that records the trust ratios of its optimizers."""

import os
from typing import Any

from torch import Tensor

from lambc.integrations.recording import Recording, training_goes_on

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ModuleNotFoundError:  # the same under its other name
    from pytorch_lightning import Callback, LightningModule, Trainer  # type: ignore[assignment]

_WITHOUT_LAYERS = {"FSDPStrategy": "FSDP1", "XLAFSDPStrategy": "FSDP1", "DeepSpeedStrategy": "DeepSpeed"}
"""Strategies under which optimizers step flat parameters, in which layers have no borders."""


class TrustRatioCallback(Callback):
    """Records each fit of a Trainer: the layers of every optimizer at each of its steps, and what the module logs.

        trainer = lightning.Trainer(callbacks=[TrustRatioCallback("runs", name="my-run")])

    root, name: as in Collector; the name of a run that exists gets a number (`name-2`).
    options: those of Collector. `model` is the LightningModule and `config` its `hparams` unless they are given.

    A step is one of the optimizer: neither a batch whose gradient is accumulated, nor one that GradScaler skips, for
    which Lightning's `global_step` rises; it is logged as `trainer/global_step`. A fused optimizer cancels a skipped
    step itself: that one is counted, and has no rows. Metrics are those of `self.log`, under their own names, at the
    optimizer's last step.

    The run's name is in the checkpoints, so that `trainer.fit(ckpt_path=…)` goes on with the same run. An error here is
    a warning, and training goes on. Raises TypeError for an option that Collector does not have.
    """

    def __init__(self, root: str | os.PathLike[str], name: str | None = None, **options: Any) -> None:
        self.recording = Recording(root, name, options)
        self._resume: str | None = None
        self._global_step = 0
        self._epoch_ended = False
        self._logged: dict[str, Any] = {}  # the metrics' last values, which Lightning keeps and gives again

    @property
    def state_key(self) -> str:
        """What tells this callback's state in a checkpoint from that of another root or name."""
        return self._generate_state_key(root=str(self.recording.root), name=self.recording.name)

    def state_dict(self) -> dict[str, Any]:
        """Returns the name of the run."""
        return {"run": self.recording.run}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Have the next fit go on with the run of a checkpoint."""
        self._resume = state_dict.get("run")

    @training_goes_on("this training is")
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the run: only now are the optimizers there, and restored."""
        resume, self._resume = self._resume, None
        _refuse_without_layers(trainer.strategy)
        self._global_step = trainer.global_step
        self.recording.begin(trainer.optimizers, resume=resume, model=pl_module, config=dict(pl_module.hparams) or None)

    # Lightning calls a hook of callbacks before the module's own, so what the module logs in one is there in the next.

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what is left of the epoch before."""
        self._log_the_rest(trainer)

    @training_goes_on("the epoch is")
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Log the metrics of the last step, and note the epoch: a fit may go on within one, without its start."""
        self._log_the_rest(trainer)
        self.recording.set_epoch(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch's metrics."""
        self._log(trainer)
        self._epoch_ended = True

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metrics of the last step."""
        self._log_the_rest(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the validation's metrics."""
        self._log(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the run as finished."""
        self._log_the_rest(trainer)
        self._end(None)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the run as failed, or as interrupted by Ctrl-C or SIGTERM, for which Lightning raises a SystemExit."""
        by_signal = type(exception).__name__ == "SIGTERMException"  # of `lightning` or of `pytorch_lightning`
        if by_signal or trainer.world_size == 1:  # else to reduce metrics may wait for ranks that train on
            self._log_the_rest(trainer)
        self._end(KeyboardInterrupt("SIGTERM") if by_signal else exception)

    def _log_the_rest(self, trainer: Trainer) -> None:
        if self._epoch_ended or trainer.global_step != self._global_step:
            self._log(trainer)
        self._epoch_ended = False

    @training_goes_on("metrics are")
    def _log(self, trainer: Trainer) -> None:
        if self.recording.collector is None:
            return
        metrics: dict[str, Any] = dict(trainer.callback_metrics)
        new = {name: value for name, value in metrics.items() if not _is_same(value, self._logged.get(name))}
        for name, value in metrics.items():  # what is logged of steps and of epochs has a third name, for either
            if any(_is_same(value, metrics.get(f"{name}_{of}")) for of in ("step", "epoch")):
                new.pop(name, None)
        self._logged = metrics
        if trainer.global_step != self._global_step:
            self._global_step = new["trainer/global_step"] = trainer.global_step
        self.recording.log(new)

    @training_goes_on("the end of the run is")
    def _end(self, error: BaseException | None) -> None:
        self._logged, self._epoch_ended = {}, False
        self.recording.end_by(error)


def _is_same(value: Any, before: Any) -> bool:
    """Whether it is the value that was there before, which Lightning gives as another view of the same memory."""
    if isinstance(value, Tensor) and isinstance(before, Tensor):
        return value.data_ptr() == before.data_ptr()
    return value is before


def _refuse_without_layers(strategy: Any) -> None:
    for kind in type(strategy).__mro__:
        if kind.__name__ in _WITHOUT_LAYERS:
            raise TypeError(
                f"{type(strategy).__name__} is {_WITHOUT_LAYERS[kind.__name__]}, whose optimizers step flat parameters "
                "without layers: take ModelParallelStrategy and fully_shard (FSDP2)"
            )
