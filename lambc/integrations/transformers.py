"""Transformers' Trainer: a callback that records the trust ratios of its optimizer."""

import math
import os
import re
from typing import Any, cast

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import rewrite_logs

from lambc.integrations.recording import EndsRun, Recording, training_goes_on


class TrustRatioCallback(EndsRun, TrainerCallback):
    """Records each training of a Trainer: the layers at each step of the optimizer, and what the Trainer logs.

        with TrustRatioCallback("runs", name="my-run") as callback:
            Trainer(model, arguments, train_dataset=dataset, callbacks=[callback]).train()

    root, name: as in Collector; the name of a run that exists gets a number (`name-2`), and so does that of a training
        that `auto_find_batch_size` begins again. In a hyperparameter search the trial's name is appended.
    options: those of Collector. `model` and `config` are the Trainer's unless they are given.

    A step is one of the optimizer: neither an accumulated gradient, nor one that GradScaler skips, for which Trainer's
    `global_step` rises; it is logged as `train/global_step`. A fused optimizer, as the Trainer's AdamW, cancels a
    skipped step itself: that one is counted, and has no rows. Metrics are called `train/loss`, `eval/loss` and so on.

    The run's name is in the checkpoints (`trainer_state.json`), so that `resume_from_checkpoint` goes on with the same
    run. The Trainer calls no callback where training raises: the `with` above notes why the run failed, and without it
    it is noted as interrupted at the end of the process. An error here is a warning, and training goes on. Raises
    TypeError for an option that Collector does not have.
    """

    def __init__(self, root: str | os.PathLike[str], name: str | None = None, **options: Any) -> None:
        self.recording = Recording(root, name, options)
        self._epoch = -1

    @training_goes_on("this training is")
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **trainer: Any
    ) -> None:
        """Begin the run: only now is the optimizer there, and restored."""
        self._epoch = -1
        model = trainer["model"]
        self.recording.begin(
            trainer["optimizer"],
            name=self._name_of_trial(state),
            resume=self._run_in(state),
            model=model,
            config=_config(args, state, model),
        )
        # A checkpoint holds it. An ExportableState would be replaced by another object when the state is loaded.
        _states(state)[self._key] = {"run": self.recording.run}

    @training_goes_on("the epoch is")
    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **trainer: Any
    ) -> None:
        """Note the epoch, also after one that ended early, in which the Trainer's own is a fraction below it."""
        self._epoch = max(self._epoch + 1, math.floor(state.epoch))
        self.recording.set_epoch(self._epoch)

    @training_goes_on("metrics are")
    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **trainer: Any,
    ) -> None:
        """Log the metrics, if training still goes on."""
        metrics = rewrite_logs({name: value for name, value in (logs or {}).items() if name != "epoch"})
        self.recording.log({**metrics, "train/global_step": state.global_step})

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **trainer: Any
    ) -> None:
        """End the run as finished."""
        self._end(None)

    @property
    def _key(self) -> str:
        return f"lambc: root={str(self.recording.root)!r}, name={self.recording.name!r}"

    def _run_in(self, state: TrainerState) -> str | None:
        """The run of the checkpoint that was loaded; None where there is none, or this callback was not there."""
        if not state.global_step:
            return None
        return _states(state).get(self._key, {}).get("run")

    def _name_of_trial(self, state: TrainerState) -> str | None:
        if not state.is_hyper_param_search or not state.trial_name:
            return None
        trial = re.sub(r"[/\\\0]|\.\.+", "-", state.trial_name)
        return f"{self.recording.name}-{trial}" if self.recording.name else trial


def _states(state: TrainerState) -> dict[str, Any]:
    """The states of callbacks, which are a dict from TrainerState's `__post_init__` on."""
    return cast(dict[str, Any], state.stateful_callbacks)


def _config(args: TrainingArguments, state: TrainerState, model: Any) -> dict[str, Any]:
    """The arguments, the model's configuration and the trial's parameters, as far as there are any."""
    config = dict(args.to_sanitized_dict())
    if hasattr(getattr(model, "config", None), "to_dict"):
        config["model"] = model.config.to_dict()
    if state.trial_params:
        config["trial"] = state.trial_params
    return config
