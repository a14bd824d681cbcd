"""One collector's writing of a run: how it begins, takes steps and metrics, and ends."""

import os
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from collector.log.aside import finish_moving_aside, finish_removing, keep_aside, move_aside, remove_unfinished
from collector.log.lock import lock
from collector.log.remote import is_url, local_folder
from collector.log.run import Run
from collector.log.run_folder import name_of_now
from collector.log.spool import Spool
from collector.recording import beginning, open_runs
from collector.recording.apart import Apart
from collector.recording.clips import Clips
from collector.recording.counting import StepCounts
from collector.recording.direction import not_proven
from collector.recording.environment import environment
from collector.recording.hooks import register
from collector.recording.inside import places_among
from collector.recording.late_epochs import LateEpochs
from collector.recording.names import LayerNames
from collector.recording.observer import OUR_ERRORS, Observer, observers
from collector.recording.options import Options
from collector.recording.ranks import Agreement, asked_alone
from collector.recording.recorder import Recorder
from collector.recording.reentry import Calls
from collector.recording.unseen import UnseenTraining, no_step_any_more, no_step_was_seen
from collector.recording.writer import Writer


class Attempt:
    """A run that this process records, from the constructor of a collector to its end.

    given: what the collector was given as its optimizer. optimizers: those inside of it. calls: of the collector, by
    which a step's hook is called, too. owner: the collector. agreement: with ranks that hold parts of its layers.
    """

    def __init__(
        self,
        given: Any,
        optimizers: Sequence[Any],
        options: Options,
        calls: Calls,
        owner: Any,
        agreement: Agreement | None = None,
    ) -> None:
        self._given, self._optimizers, self._options, self._calls = given, optimizers, options, calls
        self._owner, self._agreement = owner, agreement
        self.closed = True  # until all of it is there
        self.said: set[str] = set()
        self._unseen = UnseenTraining(optimizers)
        self._noted_after = -1  # the steps seen when a moment was last noted
        self._late_epochs = LateEpochs(len(optimizers))
        self._gave_up: str | None = None  # why no step is recorded any more
        self._process = os.getpid()
        self._apart = Apart()

    def begin(self, root: str | os.PathLike[str]) -> None:
        """Begin or resume the run, and have each step recorded; what fails leaves nothing behind."""
        options = self._options
        self._spool = Spool(str(root)) if is_url(root) else None
        if self._spool and options.overwrite:
            raise ValueError(f"overwrite=True: a run at a URL ({root}) stays as it is; give another name")
        runs = self._spool.folder if self._spool else local_folder(root)
        self._numbered = options.name is None and not self._spool  # several jobs may begin in one second
        name = options.name or name_of_now(unique=not self._numbered)
        if not self._numbered:
            open_runs.take_over(runs / name, allowed=options.resume or options.overwrite)
        open_runs.warn_of_others(self._optimizers)
        if self._spool:
            self._spool.begin(name, resume=options.resume)
        undo = open_runs.cleanup_at_exit(self._apart)
        try:
            self._make(runs / name, undo)
        except BaseException:  # no folder, no lock, no thread and no hook is left
            self._apart.finish(undo.close)
            open_runs.made(undo)
            raise
        open_runs.made(undo)
        if options.overwrite:
            self._apart.finish(partial(keep_aside, runs / name))

    def _make(self, folder: Path, undo: ExitStack) -> None:
        """Make all that it takes; `undo` takes it back."""
        options, selection = self._options, self._options.selection
        self.held = undo.enter_context(ExitStack())
        with beginning.writable(folder):
            finish_removing(folder)
            finish_moving_aside(folder)
            if options.resume or options.overwrite:
                remove_unfinished(folder)
            if options.overwrite and folder.exists():
                self._apart.finish(lambda: undo.callback(os.rename, move_aside(folder), folder))
            if resumed := options.resume and folder.is_dir():
                self.held.callback(lock(folder).release)
        last = self._resumed_after = beginning.last_step_of(folder) if resumed else None
        self._seen_before = beginning.last_seen_of(folder, last or 0) if resumed else 0
        names = LayerNames(options.models, self._optimizers)
        together = self._agreement is not None
        moments = beginning.moments_before(folder) if resumed else None
        self._counts = StepCounts(self._optimizers, names.first(self._optimizers), last or 0, moments)
        self._sources = observers(self._optimizers, options, self._counts, names, self._give_up, together=together)
        self.recorder = Recorder(
            self._sources,
            options.models,
            names,
            selection,
            resumed_after=last,
            memory_limit=options.memory_limit,
            waits=options.when_full == "wait",
        )
        self.recorder.stand(self._counts.standing)
        self._clips = Clips(partial(self.recorder.log, step=None, epoch=None), self._optimizers)
        where = environment(self._optimizers)  # what goes wrong here is not the folder's fault
        with beginning.writable(folder):
            if resumed:
                undo.callback((folder / "run.json").write_bytes, (folder / "run.json").read_bytes())
                self._run = Run.resume(folder, options.config, where)
            else:
                self._apart.finish(partial(self._create, folder, where, undo))
                self.held.callback(lock(self._run.folder).release)
            self._run.contents |= {"every": selection.every, "moments": self._counts.said()}
            self._note_how_it_was_recorded()
            self._apart.finish(partial(self._start_writer, undo))
        if self._agreement:
            self._agreement.reach(last_step=last or 0, moments=moments)
        self._handles: list[Any] = []
        undo.callback(self._remove_hooks)
        self._handles += self._counts.watch(self._on_load, self._on_save)
        for number, (optimizer, record, asked) in enumerate(self.recorder.hooks()):
            hook = partial(self._calls.make, self._on_step, number, record)
            if not self._agreement:
                asked = partial(asked_alone, optimizer, asked, self._say_once)
            self._handles.append(register(optimizer, hook, asked if options.gradients else None))
        undo.callback(open_runs.remove, self._owner)
        open_runs.add(self._owner, self._optimizers)
        self.closed = False

    def _create(self, folder: Path, where: dict[str, Any], undo: ExitStack) -> None:
        self._run = Run.create(folder, self._options.config, where, numbered=self._numbered)
        undo.callback(self._spool.remove if self._spool else partial(shutil.rmtree, self._run.folder))

    def _start_writer(self, undo: ExitStack) -> None:
        send = self._spool.send if self._spool else lambda: None
        self.writer = Writer(self._run, self.recorder, self._options.flush_seconds, send, self._apart)
        undo.callback(self.writer.abandon)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self._run.folder

    @property
    def step(self) -> int:
        """The last step that was taken."""
        return self.recorder.step

    @property
    def epoch(self) -> int:
        """The epoch of all rows that follow."""
        return self.recorder.epoch

    def set_epoch(self, epoch: float) -> None:
        """Have an epoch hold for all rows that follow."""
        self.recorder.set_epoch(epoch)
        self._late_epochs.set()

    def log(self, metrics: Mapping[str, float | Tensor], step: int | None, epoch: float | None) -> None:
        """Take values (Collector.log)."""
        self._say_what_is_wrong()
        before = self.epoch
        self.recorder.log(metrics, step, epoch)
        self._say_what_was_lost()
        if epoch is not None:
            self._say_once(self._late_epochs.logged(before, epoch, self.recorder.steps_seen))
        if self.recorder.never_stepped == [*range(len(self._sources))]:
            if self._unseen.goes_on(step):
                self._say_once(no_step_was_seen(self._optimizers, self._optimizers, self._given))
        elif step is None and not self._gave_up and self._unseen.goes_on_without(self.recorder.steps_seen):
            self._say_once(no_step_any_more(self.step))

    def note_clip(self, values: dict[str, float | Tensor], params: Sequence[Tensor]) -> None:
        """Take what a clip of these gradients was (Collector.clip_grad_norm_), for the step that comes."""
        if not self.closed and not self._forked:
            self._clips.note(values, params, at_once=self._gave_up is not None)

    def record(self, optimizer: Any) -> None:
        """Record a step of a replayed graph (Collector.record)."""
        for number in places_among(self._optimizers, optimizer):
            self.recorder.record_replay(number)
            if isinstance(observer := self._sources[number], Observer):
                observer.count.step += 1
        self._clips.log()
        self._say_what_is_wrong()

    def save(self) -> None:
        """Bring all to the disk (Collector.flush)."""
        if not self.closed and not self._forked:
            self.writer.save()

    @property
    def _forked(self) -> bool:
        """Whether this is a forked child, which has a copy of the collector but no writer: the run is its parent's."""
        return os.getpid() != self._process

    def check_open(self) -> None:
        """Raise RuntimeError after the end, and in a forked process."""
        if self.closed:
            raise RuntimeError(f"run {self.folder.name!r} is closed; make a new Collector, with resume=True to go on")
        if self._forked:
            raise RuntimeError(
                f"run {self.folder.name!r} is recorded by process {self._process}, of which this one was forked; "
                "log from there"
            )

    def close(self, status: str, failure: str | None) -> None:
        """End the run (Collector.end); to be repeated until it has succeeded."""
        if self._forked or self._owner not in open_runs.all_open():
            return
        self.closed = True
        self._remove_hooks()
        self._clips.log()  # as of a step that failed
        self._note_moment()
        if self._gave_up and status == "finished":
            status, failure = "failed", self._gave_up
        trouble = None
        try:
            self._note_how_it_was_recorded()
            self.writer.close(status, failure)
            if self._spool:
                self._spool.remove()
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
        finally:
            if self.writer.closed:
                self.held.close()
                open_runs.remove(self._owner)
        self._say_how_it_ended(trouble)
        self._say_what_was_not_proven()
        unseen = self._unseen.of(self.recorder.never_stepped, resumed=self._resumed_after is not None)
        if failure is None and unseen:
            self._say_once(no_step_was_seen(unseen, self._optimizers, self._given))

    def _remove_hooks(self) -> None:
        while self._handles:  # some may be gone: an interrupted call is made again
            self._handles.pop().remove()

    def _note_how_it_was_recorded(self) -> None:
        """For run.json: by the optimizer's own record, by its state, or by how far its steps went."""
        self._run.contents["recorded"] = [
            each.said() if isinstance(each, Observer) else {"optimizer": type(each).__name__, "by": "hook"}
            for each in self._sources
        ]

    def _on_load(self, standing: list[float | None]) -> None:
        if not self.closed and not self._forked:
            self._calls.make(self.recorder.stand, standing)

    def _on_save(self) -> None:
        if not self.closed and not self._forked and self._noted_after != self.recorder.steps_seen:
            self._note_moment()
            self.writer.save_run_soon()

    def _note_moment(self) -> None:
        self._noted_after = self.recorder.steps_seen
        with suppress(*OUR_ERRORS):  # without it, steps are counted from the nearest other moment
            self._counts.note(self.recorder.standing)
        self._run.contents["moments"] = self._counts.said()

    def _say_what_was_not_proven(self) -> None:
        for said in self._run.contents["recorded"]:
            if layers := said.get("unproven"):
                self._say_once(not_proven(said["optimizer"], layers))

    def _say_how_it_ended(self, trouble: str | None) -> None:
        again = "call close() again to try again"
        if waiting := self.recorder.waiting_rows:
            lost = self.recorder.lost_rows + waiting
            self._warn(f": {lost} rows were lost; {trouble}; {again}")
        elif lost := self.recorder.lost_rows:
            why = self._fullness if self.recorder.full else self.recorder.failure
            self._warn(f": {lost} rows were lost; {trouble or self.writer.trouble or why}")
        elif self._spool and self._spool.behind:
            self._warn(f" was not sent to its end: {trouble}; {self._spool.left}")
        elif trouble:
            self._warn(f": all rows are saved, but closing it failed; {trouble}; {again}")

    def _on_step(self, number: int, record: Callable[[Any], None], said: Any) -> None:
        if self._gave_up:
            return
        try:
            self._record_step(number, record, said)
        except OUR_ERRORS as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Record no further step, since one could not be; training goes on."""
        self._gave_up = self._gave_up or f"{type(error).__name__}: {error}"
        self._say_once("is recorded no further, and training goes on", f": {self._gave_up}")

    def _record_step(self, number: int, record: Callable[[Any], None], said: Any) -> None:
        anew = said.step <= 1 and self._counts.had_begun[number] and not self.recorder.expects(number, said.step)
        if anew and self._resumed_after and number in self.recorder.never_stepped:
            self._say_once(beginning.begins_again(self._resumed_after, said.step))
        if self._resumed_after and not self.recorder.steps_seen:
            self._say_once(beginning.leaves_a_hole(self._seen_before, said.step, self._options.selection.every))
        record(said)
        self._clips.see_step(number)
        self._say_what_is_wrong()

    def _say_what_is_wrong(self) -> None:
        """Warn once of each trouble: on the training thread, where the user's filters hold."""
        writer = self.writer
        if writer.ended:
            self._say_once(f"has lost its writer thread, so its rows wait for flush() or close(): {writer.ended}")
        elif trouble := writer.trouble:
            where = self.folder if self._spool and self._spool.behind else "memory"
            self._say_once("cannot be written", f", so its rows wait in {where} for the next try: {trouble}")
        if self.recorder.full:
            self._say_once(f"falls behind: {self._fullness}")
        if damage := self.writer.damage:
            self._say_once(f"has a damaged file: {damage}")
        self._say_what_was_lost()

    def _say_what_was_lost(self) -> None:
        if failure := self.recorder.failure:
            self._say_once("lost rows, and goes on", f"; the first was of {failure}")

    @property
    def _fullness(self) -> str:
        then = "training waits, too" if self._options.when_full == "wait" else "the oldest are lost"
        return f"the rows that wait for the disk reached memory_limit={self._options.memory_limit} bytes, so {then}"

    def _say_once(self, what: str, why: str = "") -> None:
        if what and what not in self.said:
            self.said.add(what)
            warnings.warn(f"run {self.folder.name!r} {what}{why}", stacklevel=6)

    def _warn(self, what: str) -> None:
        warnings.warn(f"run {self.folder.name!r}{what}", stacklevel=8)
