"""The runs of an experiment, in processes of their own: one that fails or dies does not take the others with it."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NoReturn

import torch

from lambc.experiments.catalogue import ReproducedRun
from lambc.experiments.data import sources as data
from lambc.experiments.data.images import DataError
from lambc.experiments.train import Progress, train


class Stopped(Exception):
    """No run can go on: the data cannot be had, or the log cannot be written. The message is one sentence."""


@dataclass(frozen=True)
class Ended:
    """How a run ended: at its last epoch, if failure is None.

    fatal: no other run would fare better. broken: none would in this process, as after an error of a CUDA kernel.
    """

    failure: str | None = None
    fatal: bool = False
    broken: bool = False


Report = Callable[[ReproducedRun, Progress | Ended], None]


@dataclass(frozen=True)
class Work:
    """What every process is told: the folder of the log, where data lie, its threads, and by how much it is nicer."""

    folder: Path
    data_dir: Path | None
    threads: int
    nice: int


def reproduce(
    runs: Sequence[ReproducedRun],
    folder: Path,
    *,
    jobs: int = 1,
    data_dir: Path | None = None,
    threads: int | None = None,
    nice: int = 0,
    report: Report,
) -> dict[str, str]:
    """Train all runs that have not finished, `jobs` at a time, and record each as `folder/<run.name>`.

    A run that was cut off goes on where its checkpoint is. What failed is told in a sentence by the run's name, and the
    others go on. A run that replays another's rates waits until that one has ended.

    threads: torch's in each process; None for all cores, divided by `jobs`. nice: how much other work goes before.
    report: called with the progress of a run, and with how it ended.

    Raises Stopped where the data cannot be had or the log cannot be written; then, as at KeyboardInterrupt, which
    SIGTERM raises too, the runs that are being trained end as interrupted, and the same call goes on with them.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Stopped(f"{folder} cannot be made ({error.strerror}): give another folder for the log") from error
    waiting, failures = deque(runs), dict[str, str]()
    jobs = min(jobs, len(runs))
    work = Work(folder, data_dir, threads or max(1, torch.get_num_threads() // jobs), nice)
    workers = [_Worker(work) for _ in range(jobs)]
    before = signal.signal(signal.SIGTERM, _interrupt)  # as Ctrl-C does: the runs then end as interrupted
    try:
        while True:
            for worker in workers:
                ahead = {run.name for run in waiting} | {each.run.name for each in workers if each.run}
                ready = [run for run in waiting if run.source not in ahead]
                if worker.run is None and ready:
                    waiting.remove(ready[0])
                    worker.begin(ready[0])
            busy = {worker.connection: worker for worker in workers if worker.run}
            if not busy:
                return failures
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                run, said = worker.run, worker.read()
                assert run is not None
                report(run, said)
                if isinstance(said, Ended) and said.failure:
                    if said.fatal:
                        raise Stopped(said.failure)
                    failures[run.name] = said.failure
    finally:
        for worker in workers:
            worker.end()
        signal.signal(signal.SIGTERM, before)


class _Worker:
    """A process that reads the data once and trains one run after the other; one that died is begun anew."""

    def __init__(self, work: Work) -> None:
        self.run: ReproducedRun | None = None
        self._work = work
        self._process: BaseProcess | None = None
        self.connection: Connection

    def begin(self, run: ReproducedRun) -> None:
        """Have a run trained."""
        if self._process is None or not self._process.is_alive():
            # Not a fork: it would inherit threads' locks and could not use CUDA.
            context = multiprocessing.get_context("spawn")
            self.connection, theirs = context.Pipe()
            self._process = context.Process(target=_work, args=(theirs, self._work))
            self._process.start()
            theirs.close()  # so that its end is seen here
        self.run = run
        self.connection.send(run)

    def read(self) -> Progress | Ended:
        """The next word of the process."""
        assert self._process is not None
        try:
            said = self.connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            code = _how_it_ended(self._process.exitcode)
            said = Ended(f"its process ended with {code}: run the command again", broken=True)
        if isinstance(said, Ended) and said.broken:
            self._process.join()
            self.connection.close()
            self._process = None
        if isinstance(said, Ended):
            self.run = None
        return said

    def end(self) -> None:
        """End the process; a run that it is training ends as interrupted."""
        if self._process:
            if self.run:
                self._process.terminate()
            self.connection.close()
            self._process.join()


def _work(connection: Connection, work: Work) -> None:
    """What a worker's process does, until nobody listens or it is told to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C comes to all; who started us tells us in time
    signal.signal(signal.SIGTERM, _interrupt)
    os.nice(work.nice)
    torch.set_num_threads(work.threads)
    examples: data.Data | None = None
    try:
        while True:
            run = connection.recv()
            try:
                examples = examples or data.load(run.data, work.data_dir)
            except DataError as error:
                connection.send(Ended(str(error), fatal=True))
                continue
            ended = _train(run, examples, work.folder, connection)
            connection.send(ended)
            if ended.broken:
                return
    except (EOFError, ConnectionError, KeyboardInterrupt):
        return


def _train(run: ReproducedRun, examples: data.Data, folder: Path, connection: Connection) -> Ended:
    try:
        train(run, examples, folder, run.name, connection.send, resume=True)
    except ConnectionError:  # nobody listens
        raise
    except (DataError, FileExistsError, ValueError) as error:
        return Ended(str(error))
    except OSError as error:
        return Ended(str(error), fatal=True)
    except torch.OutOfMemoryError:
        return Ended(f"the device has too little memory for batch_size={run.batch_size}: give fewer --jobs")
    except Exception as error:  # whatever it is, the other runs go on
        return Ended(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}", broken=True)
    return Ended()


def _how_it_ended(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"code {code}"


def _interrupt(signal_number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
