"""The collector: what a user holds while a model trains."""

import atexit
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import torch
from torch import Tensor

from collector.compact import finish_merge
from collector.config import plain_config
from collector.environment import environment
from collector.lock import lock
from collector.observer import Observer, steps_taken
from collector.parts import list_parts
from collector.recorder import Recorder
from collector.remote import RemoteError, Spool, is_url, local_folder
from collector.run import Run, check_name, name_of_now
from collector.schema import LOG_TABLES
from collector.selection import Selection
from collector.supersede import last_step
from collector.writer import Writer


class Collector:
    """Records, for every layer at every step, norms, trust ratios, bounds and learning rate, as Parquet in a folder.

        with Collector(optimizer, "runs", name="clip1", config={"lr": 1e-2}) as collector:
            ...
            optimizer.step()
            collector.log({"train/loss": loss}, epoch=epoch)

    optimizer: any torch.optim.Optimizer, or several whose layers' names differ. One that offers
        `register_trust_ratio_hook` (lambc.LAMBC) tells its own ratios; of others (AdamW, SGD, timm's) it is recorded
        how far each step moved each layer, and what LAMB's ratio would have been (collector.observer has the cost).
    root: the folder of all runs, which is made if it is not there; or its URL, as s3://bucket/runs: then the run lies
        on this machine until it ends, and what is flushed is sent.
    name: the run's name and its folder's in `root`; by default the time in UTC.
    config: what the run is about, for run.json: a mapping, an argparse.Namespace, a dataclass, a pydantic model, an
        OmegaConf DictConfig or an object with `to_dict` (collector.config says what becomes of the values).
    resume: go on with the run `name`, from the optimizer's own count of steps on: rows of the log with that step or a
        later one move to `superseded/`. If there is no such run, it begins.
    model: gives the layers their depth order, where the optimizer's groups have another.
    every: record only steps whose number is a multiple of it, and step 1.
    include, exclude: glob patterns over layer names (`"*.bias"`, `["layer3.*", "layer4.*"]`): record only layers that
        match `include` and not `exclude`. The others never leave the device.
    flush_seconds: about how long a row may wait in memory; what `kill -9` costs.
    memory_limit: how many bytes of rows may wait on the host for the disk; the newest few MiB may always.
    when_full: what happens at that limit. "drop": the oldest rows go, and run.json counts them as `lost_rows`. "wait":
        training waits for the writer thread, as long as that brings something to the disk; once nothing has come there
        for a minute, or the thread has ended, it is as with "drop" until the disk takes rows again.

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
    ends notes 'interrupted'. What could not be sent to a URL stays on this machine, and a warning says where.

    Raises TypeError for what is no optimizer or no config, ValueError for a name that cannot be a folder's, for two
    layers of one name, for a pattern that matches no layer or for a run that cannot be resumed, FileExistsError for a
    run that is there already, RuntimeError for one that is being written, and OSError if `root` cannot be written to.
    """

    def __init__(
        self,
        optimizer: Any,
        root: str | os.PathLike[str],
        name: str | None = None,
        *,
        config: Any = None,
        resume: bool = False,
        model: torch.nn.Module | None = None,
        every: int = 1,
        include: str | Iterable[str] = "*",
        exclude: str | Iterable[str] = (),
        flush_seconds: float = 10.0,
        memory_limit: int = 256 * 2**20,
        when_full: Literal["drop", "wait"] = "drop",
        process_group: Any = None,
    ) -> None:
        config = plain_config(config)
        self._optimizers = list(optimizer) if isinstance(optimizer, Sequence) else [optimizer]
        if not self._optimizers:
            raise ValueError(f"optimizer={optimizer!r}: give an optimizer to record, or several")
        _check_options(name, resume, flush_seconds, memory_limit, when_full)
        selection = Selection(every, include, exclude)
        self._closed = True  # until all of it is there
        self._rank = _rank(process_group)
        if self._rank:
            self._elsewhere = None if name is None or is_url(root) else local_folder(root) / name
            self._epoch = 0
            return
        self._spool = Spool(str(root)) if is_url(root) else None
        runs = self._spool.folder if self._spool else local_folder(root)
        numbered = name is None and not self._spool
        name = name or name_of_now(unique=not numbered)
        folder = runs / name
        if self._spool:
            self._spool.begin(name, resume=resume)
        resumed = resume and folder.is_dir()
        with ExitStack() as held:
            if resumed:
                with _writable(folder):
                    held.callback(lock(folder).release)
            last = _last_step(folder) if resumed else None
            self._sources = [
                each if hasattr(each, "register_trust_ratio_hook") else Observer(each, selection, last or 0)
                for each in self._optimizers
            ]
            self._recorder = Recorder(
                self._sources,
                model,
                selection,
                resumed_after=last,
                memory_limit=memory_limit,
                waits=when_full == "wait",
            )
            self._begin(folder, config, held, flush_seconds, resumed=resumed, numbered=numbered)
            self._held = held.pop_all()
        self._process = os.getpid()
        self._said: set[str] = set()
        self._full = f"as many rows wait for the disk as may (memory_limit={memory_limit} bytes), so " + (
            "training waits with them" if when_full == "wait" else "the oldest are lost"
        )
        self._handles = [
            each.register_trust_ratio_hook(_not_compiled(each, partial(self._on_step, record)))
            for each, record in self._recorder.hooks()
        ]
        self._closed = False
        atexit.register(self._at_exit)

    def _begin(
        self,
        folder: Path,
        config: Mapping[str, Any] | None,
        held: ExitStack,
        flush_seconds: float,
        *,
        resumed: bool,
        numbered: bool,
    ) -> None:
        """Have the run on the disk, and the thread that writes it."""
        where = environment(self._optimizers)  # what goes wrong here is not the folder's fault
        try:
            with _writable(folder):
                if resumed:
                    self._run = Run.resume(folder, config, where)
                else:
                    self._run = Run.create(folder, config, where, numbered=numbered)
                    held.callback(lock(self._run.folder).release)
                send = self._spool.send if self._spool else lambda: None
                self._writer = Writer(self._run, self._recorder, flush_seconds, send)
        except RemoteError:
            if self._spool and not resumed:
                self._spool.remove()
            raise

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
    def epoch(self, epoch: int) -> None:
        if self._rank:
            self._epoch = epoch
        else:
            self._recorder.set_epoch(epoch)

    def log(self, metrics: Mapping[str, float | Tensor], *, step: int | None = None, epoch: int | None = None) -> None:
        """Record values under their names, at the last step or at `step`.

        metrics: numbers, or tensors of one element, which stay on their device and are not waited for.
        epoch: holds for these and for all rows that follow.

        Raises TypeError for a value that is no number, ValueError for a tensor of several elements, RuntimeError after
        `close` and in a forked process.
        """
        if self._rank:
            self._epoch = self._epoch if epoch is None else epoch
            return
        self._check_open()
        self._say_what_is_wrong()
        self._recorder.log(metrics, step, epoch)

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
        numbers = [n for n, each in enumerate(self._optimizers) if optimizer is None or each is optimizer]
        if not numbers:
            raise ValueError(
                f"this collector does not record {optimizer!r}: give one of the optimizers it was made with"
            )
        for number in numbers:
            self._recorder.record_replay(number)
            if isinstance(observer := self._sources[number], Observer):
                observer.step += 1
        self._say_what_is_wrong()

    def flush(self) -> None:
        """Return when all that was recorded is on the disk, or at the URL.

        Raises OSError if it cannot be; the rows are kept.
        """
        if not self._closed and not self._forked:
            self._writer.save()

    def close(self) -> None:
        """Bring everything to the disk and note that the run finished. What follows is not recorded."""
        self._close("finished", None)

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
            self._close(status, f"{type(error).__name__}: {error}")
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
        if self._closed or self._forked:
            return
        self._closed = True
        atexit.unregister(self._at_exit)
        for handle in self._handles:
            handle.remove()
        trouble = None
        try:
            self._writer.close(status, failure)
            if self._spool:
                self._spool.remove()
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
        finally:
            self._held.close()
        if lost := self._recorder.lost_rows:
            why = trouble or self._writer.trouble or self._full
            warnings.warn(f"run {self.run!r}: {lost} rows were lost; {why}", stacklevel=3)
        elif self._spool and self._spool.behind:
            warnings.warn(f"run {self.run!r} was not sent to its end: {trouble}; {self._spool.left}", stacklevel=3)
        elif trouble:
            warnings.warn(f"run {self.run!r}: all rows are saved, but closing it failed; {trouble}", stacklevel=3)

    def _at_exit(self) -> None:
        self._close("interrupted", None)

    def _on_step(self, record: Callable[[Any], None], said: Any) -> None:
        record(said)
        self._say_what_is_wrong()

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
            warnings.warn(f"run {self.run!r} {what}{why}", stacklevel=4)


def _not_compiled(optimizer: Any, hook: Callable[[Any], None]) -> Callable[[Any], None]:
    """A hook that torch.compile does not look into, where it may compile the optimizer's step.

    That imports torch's compiler, which takes seconds, and which a torch optimizer has imported already.
    """
    return torch.compiler.disable(hook) if isinstance(optimizer, torch.optim.Optimizer) else hook


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Have an error of the disk say which run it was."""
    try:
        yield
    except (FileExistsError, RemoteError):
        raise
    except OSError as error:
        raise OSError(f"cannot write a run to {folder}: {error.strerror or error}; choose another root") from error


def _check_options(name: str | None, resume: bool, flush_seconds: float, memory_limit: int, when_full: str) -> None:
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


def _last_step(folder: Path) -> int:
    """The last step in the log of a run, 0 if it has none. Raises OSError for a part that cannot be read."""
    steps = [0]
    for table in LOG_TABLES:
        if (folder / table.folder).is_dir():
            finish_merge(folder / table.folder)
            for part in list_parts(folder / table.folder):
                try:
                    steps.append(last_step(part.path))
                except Exception as error:
                    raise OSError(f"{part.path} is damaged ({error}); move it out of the run to go on") from error
    return max(steps)
