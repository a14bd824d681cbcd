"""The collector: what a user holds while a model trains."""

import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import torch
from torch import Tensor

from collector import open_runs
from collector.apart import Apart
from collector.beginning import (
    finish_moving_aside,
    keep_aside,
    last_step_of,
    move_aside,
    remove_unfinished,
    writable,
)
from collector.config import plain_config
from collector.environment import environment
from collector.inside import optimizers_inside
from collector.lock import lock
from collector.names import LayerNames
from collector.observer import Observer, steps_taken
from collector.recorder import Recorder
from collector.reentry import Calls
from collector.remote import Spool, is_url, local_folder
from collector.run import Run, check_name, name_of_now
from collector.selection import Selection
from collector.unseen import UnseenTraining
from collector.writer import Writer


class Collector:
    """Records, for every layer at every step, norms, trust ratios, bounds and learning rate, as Parquet in a folder.

        with Collector(optimizer, "runs", name="clip1", config={"lr": 1e-2}) as collector:
            ...
            optimizer.step()
            collector.log({"train/loss": loss}, epoch=epoch)

    optimizer: any torch.optim.Optimizer, a wrapper that holds one (Accelerate's, Lightning's, timm's Lookahead), or
        several, as a list or any container. The one inside that takes the steps is recorded. One that offers
        `register_trust_ratio_hook` (lambc.LAMBC) gives its own ratios; of others (AdamW, SGD, timm's) it is recorded
        how far each step moved each layer, and what LAMB's ratio would have been (collector.observer has the cost).
    root: the folder of all runs, which is made if it is not there; or its URL, as s3://bucket/runs: then the run lies
        on this machine until it ends, and what is flushed is sent.
    name: the run's name and its folder's in `root`; by default the time in UTC.
    config: what the run is about, for run.json: a mapping, an argparse.Namespace, a dataclass, a pydantic model, an
        OmegaConf DictConfig or an object with `to_dict` (collector.config says what becomes of the values).
    resume: go on with the run `name`, from the optimizer's own count of steps on: rows of the log with that step or a
        later one move to `superseded/`; a warning comes first if the optimizer begins again at step 1. If there is no
        such run, it begins.
    overwrite: begin the run `name` anew; one that is there moves to `superseded/` of the new one.
    model: the module whose parameters are optimized, or a list of them. It names the layers (by identity) where the
        optimizer's groups have no names, and gives their depth order.
    every: record only steps whose number is a multiple of it, and step 1.
    include, exclude: glob patterns over layer names (`"*.bias"`, `["layer3.*", "layer4.*"]`): record only layers that
        match `include` and not `exclude`. The others never leave the device.
    flush_seconds: about how long a row may wait in memory; what `kill -9` costs.
    memory_limit: how many bytes of rows may wait on the host for the disk; the newest few MiB may always.
    when_full: what happens at that limit. "drop": the oldest rows go, and run.json counts them as `lost_rows`. "wait":
        training waits for the writer thread, as long as that brings something to the disk; once nothing has come there
        for a minute, or the thread has ended, it is as with "drop" until the disk takes rows again.

    Metrics have an axis of their own where `log` is given a `step`: the layers' steps are the optimizer's alone.

    Nothing here waits for the device in a step. If the disk fails or falls behind, training goes on: a warning says so
    once, rows are kept in memory, and each flush tries again. One process writes a run at a time: a lock in its folder,
    which ends with the process, keeps others away. In a process that is forked off it (a DataLoader's worker), the
    collector records nothing and leaves the run alone.

    In a job of torch.distributed every process makes its collector alike, once the process group is there, and that of
    rank 0 records: LAMBC's records are of whole layers on every rank. Those of the other ranks take every call and do
    nothing: no file, no thread, no hook. A disk that fails stops no rank. A job that is started anew (torchrun's
    `--max-restarts`) goes on with `resume=True`; load the checkpoint before the collector is made, since to load a
    sharded one (torch.distributed.checkpoint) takes a step at lr 0, which would be recorded as the first.

    process_group: of several runs in one job, the processes that train this one (the stage of a pipeline); the first of
        them records. By default all processes.

    As a context manager it notes how the run ended: 'finished' (also by `sys.exit(0)`), 'interrupted'
    (KeyboardInterrupt) or 'failed' (any other exception). Exceptions go on their way. Without `close()`, a process that
    ends notes 'interrupted', and so does one that gets SIGTERM, unless it has a handler of its own for that. What could
    not be sent to a URL stays on this machine, and a warning says where. Every method may be called from a signal
    handler: in the middle of another call it is made when that one has ended.

    A run of whose optimizer no step was ever seen says so by a warning, as soon as its metrics show that it is trained.

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
        flush_seconds: float = 10.0,
        memory_limit: int = 256 * 2**20,
        when_full: Literal["drop", "wait"] = "drop",
        process_group: Any = None,
    ) -> None:
        config = plain_config(config)
        self._given = optimizer
        self._optimizers = optimizers_inside(optimizer)
        _check_options(name, resume, overwrite, flush_seconds, memory_limit, when_full)
        selection = Selection(every, include, exclude)
        models = _models(model)
        self._closed = True  # until all of it is there
        self._calls, self._apart = Calls(), Apart()
        self._rank = _rank(process_group)
        if self._rank:
            self._elsewhere = None if name is None or is_url(root) else local_folder(root) / name
            self._epoch = 0
            return
        self._said: set[str] = set()
        self._unseen = UnseenTraining(self._optimizers)
        self._process = os.getpid()
        self._full = f"as many rows wait for the disk as may (memory_limit={memory_limit} bytes), so " + (
            "training waits with them" if when_full == "wait" else "the oldest are lost"
        )
        self._spool = Spool(str(root)) if is_url(root) else None
        if self._spool and overwrite:
            raise ValueError(f"overwrite=True: a run at a URL ({root}) stays as it is; give another name")
        runs = self._spool.folder if self._spool else local_folder(root)
        self._numbered = name is None and not self._spool  # several jobs may begin in one second
        name = name or name_of_now(unique=not self._numbered)
        folder = runs / name
        if not self._numbered:
            self._take_over_from_this_process(folder, resume=resume, overwrite=overwrite)
        if self._spool:
            self._spool.begin(name, resume=resume)
        undo = open_runs.taken_back_at_exit(self._apart)
        try:
            self._make(
                folder, config, undo, flush_seconds, memory_limit, when_full, selection, models, resume, overwrite
            )
        except BaseException:  # no folder, no lock, no thread and no hook is left
            self._apart.finish(undo.close)
            open_runs.made(undo)
            raise
        open_runs.made(undo)
        if overwrite:
            self._apart.finish(partial(keep_aside, folder))

    def _make(
        self,
        folder: Path,
        config: Any,
        undo: ExitStack,
        flush_seconds: float,
        memory_limit: int,
        when_full: str,
        selection: Selection,
        models: list[torch.nn.Module],
        resume: bool,
        overwrite: bool,
    ) -> None:
        """Begin or resume the run, and have each step recorded. `undo` takes all of it back."""
        self._held = undo.enter_context(ExitStack())
        with writable(folder):
            finish_moving_aside(folder)
            if resume or overwrite:
                remove_unfinished(folder)
            if overwrite and folder.exists():
                self._apart.finish(lambda: undo.callback(os.rename, move_aside(folder), folder))
            if resumed := resume and folder.is_dir():
                self._held.callback(lock(folder).release)
        last = self._resumed_after = last_step_of(folder) if resumed else None
        names = LayerNames(models, self._optimizers)
        self._sources = [
            each
            if hasattr(each, "register_trust_ratio_hook")
            else Observer(each, selection, last or 0, partial(names.of, number))
            for number, each in enumerate(self._optimizers)
        ]
        self._recorder = Recorder(
            self._sources,
            models,
            names,
            selection,
            resumed_after=last,
            memory_limit=memory_limit,
            waits=when_full == "wait",
        )
        where = environment(self._optimizers)  # what goes wrong here is not the folder's fault
        with writable(folder):
            if resumed:
                undo.callback((folder / "run.json").write_bytes, (folder / "run.json").read_bytes())
                self._run = Run.resume(folder, config, where)
            else:
                self._apart.finish(partial(self._create, folder, config, where, undo))
                self._held.callback(lock(self._run.folder).release)
            self._run.contents["every"] = selection.every
            self._apart.finish(partial(self._start_writer, flush_seconds, undo))
        self._handles: list[Any] = []
        for each, hook in self._hooks():
            self._handles.append(each.register_trust_ratio_hook(hook))
            undo.callback(self._handles[-1].remove)
        undo.callback(open_runs.remove, self)
        open_runs.add(self)
        self._closed = False

    def _take_over_from_this_process(self, folder: Path, *, resume: bool, overwrite: bool) -> None:
        """Close a collector of this process that still writes the run, as when the cell of a notebook is run again."""
        for other in open_runs.all_open():
            if other.folder == folder:
                if not (resume or overwrite):
                    raise FileExistsError(
                        f"run {folder.name!r} is open in this process: close it (Collector.open_runs() has it), give "
                        "resume=True to go on with it, or overwrite=True to begin it anew"
                    )
                other.end("interrupted", "the run was opened again by the same process")

    def _create(self, folder: Path, config: Any, where: dict[str, Any], undo: ExitStack) -> None:
        self._run = Run.create(folder, config, where, numbered=self._numbered)
        undo.callback(self._spool.remove if self._spool else partial(shutil.rmtree, self._run.folder))

    def _start_writer(self, flush_seconds: float, undo: ExitStack) -> None:
        send = self._spool.send if self._spool else lambda: None
        self._writer = Writer(self._run, self._recorder, flush_seconds, send, self._apart)
        undo.callback(self._writer.abandon)

    def _hooks(self) -> Iterator[tuple[Any, Callable[[Any], None]]]:
        for number, (optimizer, record) in enumerate(self._recorder.hooks()):
            hook = partial(self._calls.make, self._on_step, number, record)
            yield optimizer, _not_compiled(optimizer, hook)

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
        if not self._rank:
            return self._run.folder
        if self._elsewhere is None:
            raise RuntimeError(f"rank {self._rank} does not know where rank 0 writes: ask there, or give a name=")
        return self._elsewhere

    @property
    def step(self) -> int:
        """The last step that was taken, recorded or not; 0 before the first."""
        if self._rank:
            return steps_taken(self._optimizers[0]) or 0
        return self._recorder.step

    @property
    def epoch(self) -> int:
        """The epoch of all rows that follow; 0 until it is set here or by `log`."""
        return self._epoch if self._rank else self._recorder.epoch

    @epoch.setter
    def epoch(self, epoch: float) -> None:
        if self._rank:
            self._epoch = int(epoch)
        else:
            self._recorder.set_epoch(epoch)

    def log(
        self, metrics: Mapping[str, float | Tensor], *, step: int | None = None, epoch: float | None = None
    ) -> None:
        """Record values under their names, at the optimizer's last step or at `step`.

        metrics: numbers, or tensors of one element, which stay on their device and are not waited for.
        step: where on an axis of the metrics' own, as tokens or samples seen; it moves nothing else.
        epoch: holds, rounded down, for these and for all rows that follow.

        Raises TypeError for a value that is no number, ValueError for a tensor of several elements, RuntimeError after
        `close` and in a forked process.
        """
        if self._rank:
            self._epoch = self._epoch if epoch is None else int(epoch)
            return
        self._check_open()
        self._calls.make(self._log, metrics, step, epoch)

    def _log(self, metrics: Mapping[str, float | Tensor], step: int | None, epoch: float | None) -> None:
        self._say_what_is_wrong()
        self._recorder.log(metrics, step, epoch)
        if self._recorder.never_stepped == [*range(len(self._sources))] and self._unseen.goes_on(step):
            self._say_once(self._no_step_was_seen(self._optimizers))

    def record(self, optimizer: Any = None) -> None:
        """Record one further step: call it after each replay of a CUDA graph that has the optimizer's step in it.

        A replay runs no Python, so no hook; but it writes into the table that the hook was shown last, and that is
        recorded. The collector must be there before the graph is captured; the captured step itself is not recorded.

        optimizer: of several, the one whose graph was replayed; by default all.

        Raises RuntimeError if no step has shown its table yet, after `close` and in a forked process, and ValueError
        for an optimizer that this collector does not record.
        """
        if self._rank:
            return
        self._check_open()
        numbers = [*range(len(self._optimizers))] if optimizer is None else self._numbers_of(optimizer)
        self._calls.make(self._record, numbers)

    def _numbers_of(self, optimizer: Any) -> list[int]:
        try:
            wanted = set(map(id, optimizers_inside(optimizer)))
        except TypeError:
            wanted = set()
        if numbers := [number for number, each in enumerate(self._optimizers) if id(each) in wanted]:
            return numbers
        raise ValueError(f"this collector does not record {optimizer!r}: give one of the optimizers it was made with")

    def _record(self, numbers: list[int]) -> None:
        for number in numbers:
            self._recorder.record_replay(number)
            if isinstance(observer := self._sources[number], Observer):
                observer.step += 1
        self._say_what_is_wrong()

    def flush(self) -> None:
        """Return when all that was recorded is on the disk, or at the URL.

        In a signal handler that interrupted another call of this collector, it returns at once, and all is brought to
        the disk when that call has ended. Raises OSError if it cannot be; the rows are kept.
        """
        if not self._closed and not self._forked:
            self._calls.make(self._writer.save)

    def close(self) -> None:
        """Bring everything to the disk and note that the run finished. What follows is not recorded.

        If it fails, a warning says why; the rows are kept, and it may be called again. Ctrl-C does not cut it off.
        """
        self.end("finished", None)

    def end(self, status: str, failure: str | None = None, *, then: Callable[[], None] | None = None) -> None:
        """As `close`, with another status: 'finished', 'interrupted' or 'failed'.

        failure: why, in a sentence. then: called when all is done, which a signal handler cannot wait for.
        """
        self._calls.make(self._end, status, failure, then)

    def _end(self, status: str, failure: str | None, then: Callable[[], None] | None) -> None:
        try:
            self._close(status, failure)
        finally:
            if then:
                then()

    def __enter__(self) -> Self:
        if not self._rank:
            self._check_open()
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

    @property
    def _forked(self) -> bool:
        """Whether this is a forked child, which has a copy of the collector but no writer: the run is its parent's."""
        return os.getpid() != self._process

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(f"run {self.run!r} is closed; make a new Collector, with resume=True to go on")
        if self._forked:
            raise RuntimeError(
                f"run {self.run!r} is recorded by process {self._process}, of which this one was forked; log from there"
            )

    def _close(self, status: str, failure: str | None) -> None:
        if self._rank or self._forked or self not in open_runs.all_open():
            return
        self._closed = True
        while self._handles:  # some may be gone: an interrupted call is made again
            self._handles.pop().remove()
        trouble = None
        try:
            self._writer.close(status, failure)
            if self._spool:
                self._spool.remove()
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
        finally:
            if self._writer.closed:
                self._held.close()
                open_runs.remove(self)
        self._say_how_it_ended(trouble)
        if failure is None and (unseen := self._recorder.never_stepped):
            self._say_once(self._no_step_was_seen([self._optimizers[number] for number in unseen]))

    def _say_how_it_ended(self, trouble: str | None) -> None:
        again = "call close() again to try again"
        if waiting := self._recorder.waiting_rows:
            lost = self._recorder.lost_rows + waiting
            self._warn(f"{lost} rows were lost; {trouble}; {again}")
        elif lost := self._recorder.lost_rows:
            self._warn(f"{lost} rows were lost; {trouble or self._writer.trouble or self._full}")
        elif self._spool and self._spool.behind:
            self._warn(f"was not sent to its end: {trouble}; {self._spool.left}")
        elif trouble:
            self._warn(f"all rows are saved, but closing it failed; {trouble}; {again}")

    def _on_step(self, number: int, record: Callable[[Any], None], said: Any) -> None:
        if self._resumed_after and said.step <= 1 and number in self._recorder.never_stepped:
            self._say_once(
                f"was resumed, and its log reaches step {self._resumed_after}, but the optimizer begins again at step "
                f"{said.step}, so the rows from there on move to superseded/: load the optimizer's state first, or "
                "give overwrite=True to begin anew"
            )
        record(said)
        self._say_what_is_wrong()

    def _no_step_was_seen(self, optimizers: Sequence[Any]) -> str:
        kinds = ", ".join(dict.fromkeys(type(each).__name__ for each in optimizers))
        wrapped = hasattr(self._given, "param_groups") and all(each is not self._given for each in optimizers)
        inside = f" (inside of {type(self._given).__name__})" if wrapped else ""
        return (
            f"has no layers, since no step of {kinds}{inside} was seen: give Collector the very optimizer whose step() "
            "your loop or trainer calls, before training begins"
        )

    def _say_what_is_wrong(self) -> None:
        """Warn once of each trouble: on the training thread, where the user's filters hold."""
        writer = self._writer
        if writer.ended:
            self._say_once(f"is written by no thread any more, so its rows wait for flush() or close(): {writer.ended}")
        elif trouble := writer.trouble:
            where = self.folder if self._spool and self._spool.behind else "memory"
            self._say_once("cannot be written", f", so its rows wait in {where} for the next try: {trouble}")
        if self._recorder.full:
            self._say_once(f"falls behind: {self._full}")

    def _say_once(self, what: str, why: str = "") -> None:
        if what not in self._said:
            self._said.add(what)
            warnings.warn(f"run {self.run!r} {what}{why}", stacklevel=6)

    def _warn(self, what: str) -> None:
        warnings.warn(f"run {self.run!r}: {what}", stacklevel=8)


def _not_compiled(optimizer: Any, hook: Callable[[Any], None]) -> Callable[[Any], None]:
    """A hook that torch.compile does not look into, where it may compile the optimizer's step.

    That imports torch's compiler, which takes seconds, and which a torch optimizer has imported already.
    """
    return torch.compiler.disable(hook) if isinstance(optimizer, torch.optim.Optimizer) else hook


def _models(model: Any) -> list[torch.nn.Module]:
    one = isinstance(model, torch.nn.Module) or not isinstance(model, Iterable)
    models = [] if model is None else [model] if one else list(model)
    for each in models:
        if not isinstance(each, torch.nn.Module):
            raise TypeError(f"model={type(each).__name__}: give the torch.nn.Module that is trained, or a list of them")
    return models


def _check_options(
    name: str | None, resume: bool, overwrite: bool, flush_seconds: float, memory_limit: int, when_full: str
) -> None:
    if resume and overwrite:
        raise ValueError("resume=True goes on with a run, and overwrite=True begins it anew: give one of them")
    if overwrite and name is None:
        raise ValueError("overwrite=True needs the name of the run to begin anew")
    if resume and name is None:
        raise ValueError("resume=True needs the name of the run to go on with")
    if name is not None:
        check_name(name)
    if not flush_seconds > 0:
        raise ValueError(f"flush_seconds={flush_seconds!r}: the seconds between two flushes are above 0")
    if not memory_limit > 0:
        raise ValueError(f"memory_limit={memory_limit!r}: the bytes that may wait for the disk are above 0")
    if when_full not in ("drop", "wait"):
        raise ValueError(f"when_full={when_full!r}: give 'drop' or 'wait'")


def _rank(process_group: Any) -> int:
    """This process's place among those that train the run; 0 where there is but one."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_rank(process_group) if distributed else 0
