"""The thread that brings what was recorded to the disk: Parquet parts, run.json, heartbeat."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from collector.log import index
from collector.log.compact import TIERS, clear_replaced, finish_merge, is_damage, merge_small, merge_tail
from collector.log.parts import in_order, list_parts, write_part
from collector.log.rollups import roll_up
from collector.log.run import Layer, Run
from collector.log.schema import LOG_TABLES, METRICS, TRUST_RATIOS, LogTable
from collector.log.supersede import supersede
from collector.recording.apart import Apart, Work
from collector.recording.blocks import Block, MetricBlock, MetricRewind, Rewind, TrustRatioBlock
from collector.recording.recorder import Recorder

_HEARTBEAT_SECONDS = 5.0

_LEAST_SECONDS = 1.0
"""run.json is not asked for more often than that: state_dicts may be taken at each step."""

_PART_BYTES = 32 * 2**20
"""The most to convert to rows at a time, whatever waits: rows take several times the memory."""


class Writer:
    """Saves what a `Recorder` holds, every `flush_seconds` on a thread of its own, or when `save` is called.

    trouble: what went wrong when the thread last tried, in a sentence; None while all is well. Rows that could not be
    written stay with the recorder, and every save tries them again. send: called when the run's folder has changed, to
    bring it to where it is mirrored; it may raise OSError, and is called again.
    damage: which file of the run could not be read, and what became of it; "" if there is none.
    ended: why there is no thread any more, though nobody closed it; None while it is there. closed: whether all is on
    the disk, and sent, and it is noted how the run ended.
    """

    def __init__(
        self,
        run: Run,
        recorder: Recorder,
        flush_seconds: float,
        send: Callable[[], None] = lambda: None,
        apart: Apart | None = None,
    ) -> None:
        self._apart = apart or Apart()
        self.trouble: str | None = None
        self.damage = ""
        self.ended: str | None = None
        self.closed = False
        self._run = run
        self._recorder = recorder
        self._flush_seconds = flush_seconds
        self._send_folder = send
        self._layers: Sequence[Layer] = ()
        self._disk = threading.Lock()  # the thread, flush() and close() may all save
        self._run_is_news = False
        self._asked_at = -math.inf  # when run.json was last asked for
        self._stopping = False
        self._closing: Work | None = None
        self._ending: tuple[str, str | None] | None = None
        for table in LOG_TABLES:
            finish_merge(run.folder / table.folder)
        self._write_layers(recorder.layers)
        run.beat(recorder.step)
        self._send()
        self._thread = threading.Thread(target=self._work, name=f"collector {run.folder.name}", daemon=True)
        self._thread.start()

    def save(self) -> None:
        """Bring all that was recorded to the disk, and send it. Raises OSError if either fails; the rows are kept.

        Ctrl-C ends the waiting, and not the saving.
        """
        self._apart.start(self._save_and_send).wait()

    def _save_and_send(self) -> None:
        self._save(everything=True)
        self._send()
        self.trouble = None

    def _save(self, *, everything: bool = False) -> None:
        with self._disk:
            blocks = self._recorder.take(everything=everything)
            try:
                self._write(blocks)
            finally:
                self._recorder.give_back(blocks)
            if self._run.lose(self._recorder.lost_rows) or self._run_is_news:
                self._save_run()

    def save_run_soon(self) -> None:
        """Have run.json written, for what it says has changed: now, or with the next heartbeat if it was just saved."""
        self._run_is_news = True
        if time.monotonic() - self._asked_at > _LEAST_SECONDS:
            self._asked_at = time.monotonic()
            self._recorder.filled.ring()

    def _save_run(self) -> None:
        self._run_is_news = False
        try:
            self._run.save()
        except BaseException:
            self._run_is_news = True
            raise

    def _beat(self) -> None:
        if self._run_is_news:
            with self._disk:
                self._save_run()
        self._run.beat(self._recorder.step)

    def _send(self) -> None:
        with self._disk:  # nothing is merged while the folder is looked through
            self._send_folder()

    def close(self, status: str, failure: str | None) -> None:
        """Stop the thread, save what is left, merge the parts and note how the run ended. Raises OSError as `save`.

        After an error the rows are kept, and `close` may be called again; until it succeeds they are counted as lost.
        Ctrl-C does not end it, but is raised again once all is done; a third one ends the waiting.
        """
        self._stopping = True
        self._recorder.filled.ring()
        self._ending = self._ending or (status, failure)  # of several tries the first knows how the run ended
        if self._closing is None or self._closing.done:
            self._closing = self._apart.start(partial(self._close, *self._ending))
        self._closing.wait_whatever_comes()

    def abandon(self) -> None:
        """Stop the thread and write nothing any more."""
        self._stopping = True
        self._recorder.filled.ring()
        self._thread.join()

    def _close(self, status: str, failure: str | None) -> None:
        self._thread.join()
        try:
            self._save(everything=True)
            with self._disk, self._passing_over_damage():  # a flush that Ctrl-C left behind may still be saving
                for table in LOG_TABLES:
                    merge_tail(table, self._run.folder / table.folder, self._run.layers)
                    clear_replaced(self._run.folder / table.folder, seconds=0)
                roll_up(self._run.folder / TRUST_RATIOS.folder)
            index.save(self._run.folder)
        finally:
            self._run.lose(self._recorder.lost_rows + self._recorder.waiting_rows)
            self._run.end(status, failure)
            self._run.save()
            self._run.beat(self._recorder.step)
            self._send()
        self.closed = True

    def _work(self) -> None:
        try:
            self._serve()
        except BaseException as error:  # what ends a thread, or went wrong while an error was dealt with
            self.ended = f"{type(error).__name__}: {error}"
            raise
        finally:
            self._recorder.stop_waiting()

    def _serve(self) -> None:
        next_beat = next_save = time.monotonic() + min(_HEARTBEAT_SECONDS, self._flush_seconds)
        while not self._stopping:
            filled = self._recorder.filled.wait(max(0.0, min(next_beat, next_save) - time.monotonic()))
            if self._stopping:
                return
            try:
                beats, saves = time.monotonic() >= next_beat, filled or time.monotonic() >= next_save
                if beats:
                    next_beat = time.monotonic() + _HEARTBEAT_SECONDS
                    self._beat()
                if saves:
                    next_save = time.monotonic() + self._flush_seconds
                    self._save()
                    self._merge()
                self._send()
                if saves:
                    self.trouble = None
            except Exception as error:  # whatever it is, training goes on, and is told
                self.trouble = f"{type(error).__name__}: {error}"

    def _write(self, blocks: list[Block]) -> None:
        """Write `blocks` in their order, and take each out of the list once it is on the disk."""
        while blocks:
            first = blocks[0]
            if isinstance(first, Rewind | MetricRewind):
                self._rewind(first)
                blocks.remove(first)
                continue
            together = _one_part(blocks)
            steps = [block for block in together if isinstance(block, TrustRatioBlock)]
            values = [block for block in together if isinstance(block, MetricBlock)]
            if steps:
                self._write_layers(steps[-1].layers)
                self._note_first_step(steps[0].steps[0])
            self._note_own_axis({row.name for block in values for row in block.entries if row.own_axis})
            for table, group in ((TRUST_RATIOS, steps), (METRICS, values)):
                self._write_group(table, group, blocks)

    def _write_group(self, table: LogTable, group: Sequence[Any], blocks: list[Block]) -> None:
        """Write blocks as one part, and take them out of the list; one that no rows can be made of is lost alone."""
        try:
            self._write_rows(table, [block.rows(self._run.folder.name) for block in group])
        except (OSError, MemoryError):  # which may pass
            raise
        except Exception as error:
            for block in group if len(group) > 1 else ():
                self._write_group(table, [block], blocks)
            if len(group) > 1:
                return
            (block,) = group
            if isinstance(block, MetricBlock) and block.values and (late := block.drop_late()):
                self._recorder.lose(late, "metrics", error)
                self._write_group(table, group, blocks)
                return
            self._recorder.lose(block.count, f"a block of {table.folder}", error)
        for block in group:
            blocks.remove(block)

    def _write_rows(self, table: LogTable, rows: list[pa.Table]) -> None:
        rows = [each for each in rows if each.num_rows]
        if not rows:  # no layer had a step: a part holds at least one row
            return
        together = pa.concat_tables(map(table.complete, rows))
        folder = self._run.folder / table.folder
        parts = list_parts(folder)
        number = parts[-1].last + 1 if parts else 1
        write_part(in_order(together, table, self._run.layers), table, folder, number)

    def _write_layers(self, layers: Sequence[Layer]) -> None:
        if layers is not self._layers:
            self._run.set_layers(layers)
            self._run.save()
            self._layers = layers

    def _note_first_step(self, step: int) -> None:
        if self._run.contents["attempts"][-1]["first_step"] is None:
            self._run.begin_attempt_at(step)
            self._run.save()

    def _note_own_axis(self, names: set[str]) -> None:
        """Note, before their rows are there, which metrics have an axis of their own."""
        known = self._run.contents.get("own_axis", [])
        if new := sorted(names.difference(known)):
            self._run.contents["own_axis"] = known + new
            self._run.save()

    def _rewind(self, rewind: Rewind | MetricRewind) -> None:
        old = self._run.folder / "superseded" / f"attempt-{self._run.attempt}"
        metrics, old_metrics = self._run.folder / METRICS.folder, old / METRICS.folder
        if isinstance(rewind, MetricRewind):
            own_axis = () if rewind.names else self._run.contents.get("own_axis", ())
            aside = supersede(METRICS, metrics, old_metrics, rewind.first_step, rewind.names, but=own_axis)
            self._note_damage(aside)
            return
        rows = self._run.folder / TRUST_RATIOS.folder
        self._note_damage(supersede(TRUST_RATIOS, rows, old / TRUST_RATIOS.folder, rewind.first_step, rewind.layers))
        if rewind.attempt is not None:
            self._run.begin_attempt_at(rewind.attempt, rewind.at)
            self._run.save()

    def _note_damage(self, moved: Sequence[Path]) -> None:
        for path in moved:
            self.damage = self.damage or f"it is now {path}, with its earlier rows; restore it from a copy"

    @contextmanager
    def _passing_over_damage(self) -> Iterator[None]:
        """Leave parts unmerged where one cannot be read: that keeps no row from the disk, and no run from its end."""
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            if not is_damage(error):
                raise
            self.damage = self.damage or f"its parts are not merged ({error}); lambc check names it"

    def _merge(self) -> None:
        with self._disk, self._passing_over_damage():
            for table in LOG_TABLES:
                merge_small(table, self._run.folder / table.folder, self._run.layers)
                clear_replaced(self._run.folder / table.folder)
            roll_up(self._run.folder / TRUST_RATIOS.folder, at_least=TIERS[1])


def _one_part(blocks: list[Block]) -> list[Block]:
    """The first of `blocks`, as many as are written together: those before a rewind, and not too much."""
    size = 0
    for at, block in enumerate(blocks):
        size += block.nbytes
        if isinstance(block, Rewind | MetricRewind) or (at and size > _PART_BYTES):
            return blocks[:at]
    return blocks[:]
