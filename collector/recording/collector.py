"""The collector: what a user holds while a model trains."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import torch
from torch import Tensor

from collector.log.config import plain_config
from collector.recording import open_runs
from collector.recording.attempt import Attempt
from collector.recording.clips import clip_grad_norm_
from collector.recording.elsewhere import Elsewhere
from collector.recording.hooks import check_gradients
from collector.recording.inside import optimizers_inside
from collector.recording.options import Options, as_models
from collector.recording.ranks import Agreement, share_layers
from collector.recording.reentry import Calls
from collector.recording.selection import Selection
from lambc.sharded import Meshes


class Collector:
    """Records, for every layer at every step, norms, trust ratios, bounds and learning rate, as Parquet in a folder.

        with Collector(optimizer, "runs", name="clip1", config={"lr": 1e-2}) as collector:
            collector.epoch = epoch  # before the first step of an epoch
            ...
            optimizer.step()
            collector.log({"train/loss": loss})

    optimizer: any torch.optim.Optimizer, a wrapper that holds one (Accelerate's, Lightning's, timm's Lookahead), or
        several, as a list or any container. The one inside that takes the steps is recorded. One that offers
        `register_trust_ratio_hook` (lambc.LAMBC) gives its own ratios; of others (AdamW, SGD, timm's) it is recorded
        how far each step moved each layer, and what LAMB's ratio would have been (`Observer` has the cost).
    root: the folder of all runs, which is made if it is not there; or its URL, as s3://bucket/runs: then the run lies
        on this machine until it ends, and what is flushed is sent.
    name: the run's name and its folder's in `root`; by default the time in UTC.
    config: what the run is about, for run.json: a mapping, an argparse.Namespace, a dataclass, a pydantic model, an
        OmegaConf DictConfig or an object with `to_dict` (collector.log.config says what becomes of the values).
    resume: go on with the run `name`, from the optimizer's own count of steps on: rows of the log with that step or a
        later one move to `superseded/`; a warning comes first if the optimizer begins again at step 1. If there is no
        such run, it begins.
    overwrite: begin the run `name` anew; one that is there moves to `superseded/` of the new one.
    model: the module whose parameters are optimized, or a list of them. It names the layers (by identity) where the
        optimizer's groups have no names, and gives their depth order.
    every: record only steps whose number is a multiple of it, and step 1.
    include, exclude: glob patterns over layer names (`"*.bias"`, `["layer3.*", "layer4.*"]`): record only layers that
        match `include` and not `exclude`. The others never leave the device.
    gradients: record the norm of each layer's gradient, as the step is given it (`grad_norm`): after the user's own
        clip, without GradScaler's scale. It takes one pass over the gradients on recorded steps, 10 to 20 % of a step
        of LAMBC, a third of one of fused AdamW. LAMBC with `max_grad_norm` takes these norms anyway: they are recorded
        whatever is given here.
    flush_seconds: about how long a row may stay in memory, where `kill -9` loses it.
    memory_limit: how many bytes of rows may wait on the host for the disk; the newest few MiB may always.
    when_full: what happens at that limit. "drop": drop the oldest rows; run.json counts them as `lost_rows`. "wait":
        training waits for the writer thread, as long as that brings something to the disk; once nothing has come there
        for a minute, or the thread has ended, it is as with "drop" until the disk takes rows again.

    Metrics have an axis of their own where `log` is given a `step`: the layers' steps are the optimizer's alone.

    Nothing here waits for the device in a step. If the disk fails or falls behind, training goes on: a warning says so
    once, rows are kept in memory, and each flush tries again. Where a step cannot be recorded, training goes on, too: a
    warning says why, no further step is recorded, and the run ends as 'failed'. One process writes a run at a time: a
    lock in its folder, which ends with the process, keeps others away. In a process that is forked off it (a
    DataLoader's worker), the collector records nothing and leaves the run alone.

    In a job of torch.distributed every process makes its collector alike, once the process group is there, and that of
    rank 0 records: LAMBC's records are of whole layers on every rank. Those of the other ranks take every call and do
    nothing: no file, no thread, no hook. Sharded layers (DTensor) of an optimizer that has to be observed are measured
    by all ranks together, so there every rank must make its collector, with the same options, and close it after the
    same step; RuntimeError or ValueError says on each of them, within a minute, where one did not. A disk that fails
    stops no rank. A job that is started anew (torchrun's
    `--max-restarts`) goes on with `resume=True`; load the checkpoint before the collector is made, since to load a
    sharded one (torch.distributed.checkpoint) takes a step at lr 0, which would be recorded as the first.

    process_group: of several runs in one job, the processes that train this one (the stage of a pipeline); the first of
        them records. By default all processes.

    As a context manager it notes how the run ended: 'finished' (also by `sys.exit(0)`), 'interrupted'
    (KeyboardInterrupt) or 'failed' (any other exception). Exceptions propagate. Without `close()`, a process that
    ends notes 'interrupted', and so does one that gets SIGTERM, unless it has a handler of its own for that. What could
    not be sent to a URL stays on this machine, and a warning says where. Every method may be called from a signal
    handler: in the middle of another call it is made when that one has ended.

    If no step of the optimizer is ever seen, a warning says so once the metrics show that training goes on.

    Raises TypeError for what is no optimizer or no config, ValueError for a name that cannot be a folder's, for a
    pattern that matches no layer or for a run that cannot be resumed, FileExistsError for a run that is there already,
    RuntimeError for one that is being written, and OSError if `root` cannot be written to. Nothing is left behind then.
    """

    def __init__(
        self,
        optimizer: Any,
        root: str | os.PathLike[str],
        name: str | None = None,
        *,
        config: Any = None,
        resume: bool = False,
        overwrite: bool = False,
        model: torch.nn.Module | Sequence[torch.nn.Module] | None = None,
        every: int = 1,
        include: str | Iterable[str] = "*",
        exclude: str | Iterable[str] = (),
        gradients: bool = False,
        flush_seconds: float = 10.0,
        memory_limit: int = 256 * 2**20,
        when_full: Literal["drop", "wait"] = "drop",
        process_group: Any = None,
    ) -> None:
        plain = plain_config(config)
        optimizers = optimizers_inside(optimizer)
        options = Options(
            name, plain, resume, overwrite, as_models(model), Selection(every, include, exclude),
            flush_seconds, memory_limit, when_full, gradients,
        )  # fmt: skip
        if gradients:
            check_gradients(optimizers)
        self._calls = Calls()
        self._meshes = Meshes()
        rank = _rank(process_group)
        agreement = Agreement(process_group, options) if share_layers(optimizers, gradients=gradients) else None
        self._attempt: Attempt | Elsewhere
        if rank:
            self._attempt = Elsewhere(rank, optimizers, root, options, agreement)
            return
        self._attempt = attempt = Attempt(optimizer, optimizers, options, self._calls, self, agreement)
        try:
            attempt.begin(root)
        except BaseException as error:
            if agreement and not agreement.reached:
                with suppress(RuntimeError, ValueError):
                    agreement.reach(error=error)
            raise

    @staticmethod
    def open_runs() -> tuple["Collector", ...]:
        """Returns the collectors that this process made and has not closed yet, the oldest first.

        A notebook that lost the variable of one closes it so: `Collector.open_runs()[-1].close()`.
        """
        return open_runs.all_open()

    @property
    def run(self) -> str:
        """The run's name."""
        return self.folder.name

    @property
    def folder(self) -> Path:
        """The run's folder; that of a run that is written to a URL is gone once all of it was sent.

        Raises RuntimeError on a rank that does not write, where the run has no name that was given, or lies at a URL.
        """
        return self._attempt.folder

    @property
    def step(self) -> int:
        """The last step that was taken, recorded or not; before the first, that of the optimizer's state."""
        return self._attempt.step

    @property
    def epoch(self) -> int:
        """The epoch of all rows that follow; 0 until it is set here or by `log`."""
        return self._attempt.epoch

    @epoch.setter
    def epoch(self, epoch: float) -> None:
        self._attempt.set_epoch(epoch)

    def log(
        self, metrics: Mapping[str, float | Tensor], *, step: int | None = None, epoch: float | None = None
    ) -> None:
        """Record values under their names, at the optimizer's last step or at `step`.

        metrics: numbers, or tensors of one element, which stay on their device and are not waited for.
            One that its device does not give, as for want of memory, is lost alone, counted and warned of.
        step: where on an axis of the metrics' own, as tokens or samples seen; it moves nothing else.
        epoch: holds, rounded down, for these and for all rows that follow.

        Raises TypeError for a value that is no number, ValueError for a tensor of several elements, RuntimeError after
        `close` and in a forked process.
        """
        self._attempt.check_open()
        self._calls.make(self._attempt.log, metrics, step, epoch)

    def clip_grad_norm_(
        self,
        parameters: Tensor | Iterable[Tensor],
        max_norm: float,
        norm_type: float = 2.0,
        error_if_nonfinite: bool = False,
        foreach: bool | None = None,
    ) -> Tensor:
        """Clip the gradients by their common norm, as `torch.nn.utils.clip_grad_norm_` does, and log what came of it.

            loss.backward()
            collector.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

        Logs the metrics `grad_norm`, the norm before the clip, and `grad_clip`, what the gradients were multiplied by
        (1 where nothing was cut), at the number of the step that comes; nothing waits for the device. Gradients that a
        GradScaler scaled are to be unscaled first (`scaler.unscale_(optimizer)`).

        Returns the norm before the clip. Gradients of half precision are summed in float32, where torch's function
        rounds the norm to their dtype, or overflows. Of DTensors it is the norm of the whole gradients, as an ordinary
        tensor: every rank must make the call. It clips also after `close`, and on ranks that do not record.

        norm_type: the order of the norm; 'inf' for the largest element. error_if_nonfinite: raise RuntimeError if the
            norm is NaN or infinite, which waits for the device. foreach: False scales one gradient after the other.
        """
        return clip_grad_norm_(
            parameters, max_norm, float(norm_type), error_if_nonfinite, foreach,
            meshes=self._meshes, log=partial(self._calls.make, self._attempt.note_clip),
        )  # fmt: skip

    def record(self, optimizer: Any = None) -> None:
        """Record one further step: call it after each replay of a CUDA graph that has the optimizer's step in it.

        A replay runs no Python, so no hook; but it writes into the table that the hook was shown last, and that is
        recorded. The collector must be there before the graph is captured; the captured step itself is not recorded.

        optimizer: of several, the one whose graph was replayed; by default all.

        Raises RuntimeError if no step has shown its table yet, after `close` and in a forked process, and ValueError
        for an optimizer that this collector does not record.
        """
        self._attempt.check_open()
        self._calls.make(self._attempt.record, optimizer)

    def flush(self) -> None:
        """Return when all that was recorded is on the disk, or at the URL.

        In a signal handler that interrupted another call of this collector, it returns at once, and all is brought to
        the disk when that call has ended. Raises OSError if it cannot be; the rows are kept.
        """
        self._calls.make(self._attempt.save)

    def close(self) -> None:
        """Bring everything to the disk and note that the run finished. What follows is not recorded.

        If it fails, a warning says why; the rows are kept, and it may be called again. Ctrl-C does not cut it off.
        """
        self.end("finished", None)

    def end(self, status: str, failure: str | None = None, *, then: Callable[[], None] | None = None) -> None:
        """As `close`, with another status: 'finished', 'interrupted' or 'failed'.

        failure: why, in a sentence. then: called when all is done; in a signal handler `end` may return earlier.
        """
        self._calls.make(self._end, status, failure, then)

    def _end(self, status: str, failure: str | None, then: Callable[[], None] | None) -> None:
        try:
            self._attempt.close(status, failure)
        finally:
            if then:
                then()

    def __enter__(self) -> Self:
        self._attempt.check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
            self.close()
            return
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        try:
            self.end(status, f"{type(error).__name__}: {error}")
        except Exception as second:
            error.add_note(f"closing the collector failed too: {second}")


def _rank(process_group: Any) -> int:
    """This process's place among those that train the run; 0 where there is but one."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_rank(process_group) if distributed else 0
