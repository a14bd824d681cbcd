"""The training loop of the paper's experiments, recorded by the collector; a run that was killed goes on."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from collector import Collector
from collector.log.atomic import clear_leftovers
from lambc.experiments import tensor_file
from lambc.experiments.averaging import with_fresh_statistics
from lambc.experiments.data.images import DataError, Images
from lambc.experiments.data.sources import Data
from lambc.experiments.optimizers import make_optimizer
from lambc.experiments.ranks import Ranks, join, share_batch_norms
from lambc.experiments.replay import replayed_rates
from lambc.experiments.resumable import status
from lambc.experiments.scoring import evaluate, learning_rate, score
from lambc.experiments.settings import WHOLE_TEST_EPOCHS, Settings
from lambc.experiments.state import State
from lambc.experiments.tallies import Tally

SECONDS_BETWEEN_REPORTS = 0.5
"""A report waits for the device, which training else never does within an epoch."""

SECONDS_BETWEEN_CHECKPOINTS = 60.0
"""ResNet-18's checkpoint is 134 MB: half a second on a disk that takes 300 MB/s, so 1 % of the time at most."""

CHECKPOINT, WEIGHTS = "checkpoint.pt", "weights.pt"


@dataclass(frozen=True)
class Progress:
    """Where a run stands. Accuracies and rates are fractions; what is not known yet is NaN.

    epoch: the first is 1. step, steps: steps taken, and in all. loss, accuracy, examples_per_second: over the training
    examples that this epoch has seen. test_accuracy: the last one measured. hit_rate: clipped layer-steps over all that
    could be, since the start. unit: what an example is called. ends_epoch: nothing more comes in this epoch.
    """

    epoch: int
    step: int
    steps: int
    loss: float
    accuracy: float
    examples_per_second: float
    test_accuracy: float
    hit_rate: float
    unit: str
    ends_epoch: bool = False


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Trained:
    """What a run left behind: the model on its device, the folder of its log, and where it stood at its end.

    Of a run that had finished before, `model` and `end` are None.
    """

    model: nn.Module | None
    folder: Path
    end: Progress | None


def train(
    run: Settings,
    images: Data,
    runs: Path,
    name: str | None = None,
    report: Report | None = None,
    resume: bool = False,
    *,
    keep_weights: bool = False,
    checkpoint_seconds: float = SECONDS_BETWEEN_CHECKPOINTS,
) -> Trained:
    """Train a network on `images` (or a text) and record it as `runs/<name>`; the default name is `run.name`.

    report: called about twice a second, and at the end of each epoch.
    resume: go on with the run of this name where its last checkpoint is, or from the start if it has none; a run that
        is not there begins, and one that has finished is left as it is. However often a run was killed, at its end the
        log has every row once, and on a CPU the rows (but for times) and the weights are those of a run that was not.
    keep_weights: leave the final weights beside the log, as `weights.pt`, a state_dict.
    checkpoint_seconds: about how much work is lost when the run is killed. The checkpoint lies beside the log, as
        `checkpoint.pt`, until the run has finished.

    On a GPU the forward pass runs in bfloat16. Within an epoch nothing waits for the device but reports and
    checkpoints. Of several processes that torchrun started, each takes its part of every batch, so that `batch_size` is
    that of all together, and what comes out is what one process makes of it, but for rounding; the first one reports,
    and writes log and checkpoint.

    Raises FileExistsError if there is a run of this name, and with `resume` if it has other settings or is being
    trained; OSError if it cannot be written; ValueError for a name or a setting that makes no sense, or for a run that
    is damaged; and DataError if a batch is larger than the data set. Whatever else is raised while it trains,
    KeyboardInterrupt too, leaves a log of all that was done until then.
    """
    ranks = join(run.device)
    if ranks.count > 1 and run.compile:
        raise ValueError(f"compile=True on {ranks.count} processes: what they send to each other cannot be compiled")
    device = find_device(run.device)
    images = as_asked(run, images)
    if run.batch_size > len(images):
        few = f"{images.name} has only {len(images)} {images.unit} to train on"
        raise DataError(f"batch_size={run.batch_size}: {few}, so give less")
    name = name or run.name
    folder = runs / name
    if resume and ranks.agreed(lambda: has_finished(run, runs, name)):
        if not ranks.rank:
            _remove_checkpoint(folder)
        return Trained(None, folder, None)

    state = State(run, images, device)
    if run.replay:
        state.rates = _rates_of_groups(run, runs, state)
    if ranks.count > 1:
        share_batch_norms(state.model)
    if run.compile:
        # A step's work is then launched as one; each of the four shapes that there are is compiled on its own.
        state.model.compile(mode="reduce-overhead" if device.type == "cuda" else None, dynamic=False)
    images = images.to(device)
    if resume and ranks.agreed((folder / CHECKPOINT).exists):
        _load(state, folder / CHECKPOINT, ranks)
    with _collector(run, state, folder, resume=resume) as collector, _fast_convolutions(device):
        loop = _Loop(run, images, state, collector, ranks, report, checkpoint_seconds)
        while state.epoch <= run.epochs:
            end = loop.epoch()
        if state.averaged:
            loop.measure_average(state.averaged.module)
        if keep_weights and not ranks.rank:
            tensor_file.write(folder / WEIGHTS, state.model.state_dict())
    if not ranks.rank:
        _remove_checkpoint(folder)
    return Trained(state.model, folder, end)


def as_asked(run: Settings, images: Data) -> Data:
    """As many images, and as small ones, as `run` asks for; a text stays whole. Raises DataError."""
    if not isinstance(images, Images):
        return images
    images = images.taken(run.images, None if run.test_images else run.images)
    return images.shrunk(run.pixels) if run.pixels else images


def _rates_of_groups(run: Settings, runs: Path, state: State) -> list[list[float]]:
    rates = replayed_rates(run, runs, dict(state.model.named_parameters()))
    return [rates[group["param_names"][0]] for group in state.optimizer.param_groups]


def has_finished(run: Settings, runs: Path, name: str) -> bool:
    """Whether there is such a run, and training would do nothing more with `resume`.

    Raises FileExistsError if a run of this name has other settings, and ValueError if it is damaged.
    """
    return status(runs / name, run, run.config(str(find_device(run.device)))) == "finished"


def _load(state: State, checkpoint: Path, ranks: Ranks) -> None:
    found = checkpoint.exists()
    if found:
        state.load(checkpoint)
    if not ranks.same((found, state.epoch, state.batch, state.step)):
        raise ValueError(f"{checkpoint} is not the same to all processes: give them one folder of runs, which all see")


def _collector(run: Settings, state: State, folder: Path, *, resume: bool) -> Collector:
    """The run's collector; without a checkpoint to go on from, a run that is there begins anew."""
    try:
        return Collector(
            state.optimizer,
            folder.parent,
            folder.name,
            config=run.config(str(state.device)),
            resume=resume and state.step > 0,
            overwrite=resume and state.step == 0,
            model=state.model,
            every=run.record_every,
            when_full="wait",  # a run that goes on promises every row
        )
    except RuntimeError as error:  # another process has its lock
        raise FileExistsError(str(error)) from error


def _fast_convolutions(device: torch.device) -> AbstractContextManager:
    """On an NVIDIA GPU, the fastest of cuDNN's kernels for each shape, and TF32 for what is not in bfloat16."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True)


def _remove_checkpoint(folder: Path) -> None:
    (folder / CHECKPOINT).unlink(missing_ok=True)
    clear_leftovers(folder)


class _Loop:
    """What a run does in each epoch."""

    def __init__(
        self,
        run: Settings,
        data: Data,
        state: State,
        collector: Collector,
        ranks: Ranks,
        report: Report | None,
        checkpoint_seconds: float,
    ) -> None:
        self._run, self._data, self._state, self._collector, self._ranks = run, data, state, collector, ranks
        self._report, self._checkpoint_seconds = None if ranks.rank else report, checkpoint_seconds
        self._some = data.taken(test=run.test_images) if isinstance(data, Images) and run.test_images else data
        self._saved = self._reported = time.perf_counter()

    def epoch(self) -> Progress:
        """Take the steps of this epoch that are left, then measure on the test set."""
        run, data, state, collector = self._run, self._data, self._state, self._collector
        collector.epoch = state.epoch
        device = state.device
        if state.batch == 0:
            state.tally = Tally(device)
            if run.reset_optimizer_each_epoch:
                state.optimizer.state.clear()
        batches = state.draw_batches(len(data), run.batch_size)
        state.model.train()
        for batch in batches[state.batch :]:
            self._save_now_and_then()
            self._step(batch)
            self._report_now_and_then()

        tested = data if state.epoch > run.epochs - WHOLE_TEST_EPOCHS else self._some
        if state.epoch > run.epochs - run.averaged_epochs:
            state.average()
            self._measure_afresh("fresh", state.model, tested)
        test_loss, state.test_accuracy = evaluate(state.model, tested, run.batch_size, self._ranks)
        end = self._progress(ends_epoch=True)
        measured = {
            "test/loss": test_loss,
            "test/accuracy": end.test_accuracy,
            f"train/{data.unit}_per_second": end.examples_per_second,
        }
        if run.record_every > 1:
            measured |= {"train/loss": end.loss, "train/accuracy": end.accuracy, **self._rate_to_log()}
        collector.log(measured)
        if self._report:
            self._report(end)
        state.epoch, state.batch = state.epoch + 1, 0
        return end

    def _step(self, batch: Tensor) -> None:
        """Take one step on the examples at the indices `batch`. Nothing here waits for the device."""
        state = self._state
        inputs, labels = self._data.batch(batch, state.chance)
        if state.rates:
            for group, by_epoch in zip(state.optimizer.param_groups, state.rates, strict=True):
                group["lr"] = by_epoch[state.epoch - 1]
        else:
            lr = learning_rate(self._run, state.step + 1, state.steps_per_epoch)
            for group in state.optimizer.param_groups:
                group["lr"] = lr
        loss, right = score(state.model, inputs, labels, self._ranks)
        state.optimizer.zero_grad()
        loss.backward()
        loss = loss.detach()
        if self._ranks.count > 1:
            right = right.float()
            grads = [param.grad for param in state.model.parameters() if param.grad is not None]
            self._ranks.add_up([loss, right, *grads])
        state.optimizer.step()
        if self._run.record_every == 1:
            self._collector.log({"train/loss": loss, "train/accuracy": right / labels.numel(), **self._rate_to_log()})
        state.tally.add(loss, right, labels.numel(), len(batch))
        state.step += 1
        state.batch += 1

    def _rate_to_log(self) -> dict[str, float]:
        """The learning rate, where there is one."""
        return {} if self._state.rates else {"lr": self._state.optimizer.param_groups[0]["lr"]}

    def measure_average(self, averaged: nn.Module) -> None:
        """Measure the mean of the weights after the last epochs."""
        self._measure_afresh("averaged", averaged, self._data)

    def _measure_afresh(self, name: str, model: nn.Module, tested: Data) -> None:
        """Log what the weights of `model` are worth with batch normalisation's statistics taken afresh."""
        assert isinstance(self._data, Images)  # a text has no such setting
        fresh = with_fresh_statistics(model, self._data, self._run.batch_size, self._ranks)
        loss, accuracy = evaluate(fresh, tested, self._run.batch_size, self._ranks)
        self._collector.log({f"{name}/test_loss": loss, f"{name}/test_accuracy": accuracy})

    def _save_now_and_then(self) -> None:
        """Save the state after a step, and before it all rows up to there: with both on the disk, nothing is missing.

        Between the last step of an epoch and what is measured at its end nothing is saved, since rows of one step would
        then be on either side.
        """
        if not self._ranks.rank and time.perf_counter() - self._saved >= self._checkpoint_seconds:
            try:
                self._collector.flush()
            except OSError as error:
                reason = error.strerror or error
                raise OSError(
                    f"{self._collector.folder} cannot be written ({reason}): make room, then go on with the run"
                ) from error
            self._state.save(self._collector.folder / CHECKPOINT)
            self._saved = time.perf_counter()

    def _report_now_and_then(self) -> None:
        if self._report and time.perf_counter() - self._reported > SECONDS_BETWEEN_REPORTS:
            self._report(self._progress())
            self._reported = time.perf_counter()

    def _progress(self, *, ends_epoch: bool = False) -> Progress:
        state = self._state
        return Progress(
            state.epoch,
            state.step,
            self._run.epochs * state.steps_per_epoch,
            *state.tally.read(),
            state.test_accuracy,
            state.hits.rate(),
            self._data.unit,
            ends_epoch,
        )


def check(run: Settings) -> None:
    """Raise ValueError for an optimizer's setting that makes no sense or a device that is not there; reads no data."""
    named = [("weight", nn.Parameter(torch.zeros(1, 1))), ("bias", nn.Parameter(torch.zeros(1)))]
    make_optimizer(run, named)  # the optimizer knows best what it takes
    find_device(run.device)


def find_device(name: str) -> torch.device:
    """The device called `name`, or for `auto` the first accelerator, else the CPU. ValueError if it is not there."""
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # "meta" has tensors, but nothing in them
    except (RuntimeError, AssertionError) as error:  # AssertionError: a torch that was built without it
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"device={name!r} is not there ({reason}): give auto, cpu, or one that this machine has"
        ) from error
    return device
