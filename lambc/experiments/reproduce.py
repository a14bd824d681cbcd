"""The runs of an experiment, in processes of their own: one that fails or dies does not take the others with it."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NoReturn

import torch

from lambc.experiments.catalogue import ReproducedRun
from lambc.experiments.data import sources as data
from lambc.experiments.data.images import DataError, Images
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


def reproduce(
    runs: Sequence[ReproducedRun], folder: Path, *, jobs: int = 1, data_dir: Path | None = None, report: Report
) -> dict[str, str]:
    """Train all runs that have not finished, `jobs` at a time, and record each as `folder/<run.name>`.

    A run that was cut off goes on where its checkpoint is. What failed is told in a sentence by the run's name, and the
    others go on.

    report: called with the progress of a run, and with how it ended.

    Raises Stopped where the data cannot be had or the log cannot be written; then, as at KeyboardInterrupt, the runs
    that are being trained end as interrupted, and the same call goes on with them.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Stopped(f"{folder} cannot be made ({error.strerror}): give another folder for the log") from error
    waiting, failures = deque(runs), dict[str, str]()
    jobs = min(jobs, len(runs))
    workers = [_Worker(folder, jobs, data_dir) for _ in range(jobs)]
    try:
        while True:
            for worker in workers:
                if worker.run is None and waiting:
                    worker.begin(waiting.popleft())
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


class _Worker:
    """A process that reads the data once and trains one run after the other; one that died is begun anew."""

    def __init__(self, folder: Path, jobs: int, data_dir: Path | None) -> None:
        self.run: ReproducedRun | None = None
        self._arguments = (folder, jobs, data_dir)
        self._process: BaseProcess | None = None
        self.connection: Connection

    def begin(self, run: ReproducedRun) -> None:
        """Have a run trained."""
        if self._process is None or not self._process.is_alive():
            # Not a fork: it would inherit threads' locks and could not use CUDA.
            context = multiprocessing.get_context("spawn")
            self.connection, theirs = context.Pipe()
            self._process = context.Process(target=_work, args=(theirs, *self._arguments))
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


def _work(connection: Connection, folder: Path, jobs: int, data_dir: Path | None) -> None:
    """What a worker's process does, until nobody listens or it is told to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C comes to all; who started us tells us in time
    signal.signal(signal.SIGTERM, _interrupt)
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    examples: data.Data | None = None
    try:
        while True:
            run = connection.recv()
            try:
                examples = examples or take(data.load(run.data, data_dir), run.images)
            except DataError as error:
                connection.send(Ended(str(error), fatal=True))
                continue
            ended = _train(run, examples, folder, connection)
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


def take(examples: data.Data, images: int | None) -> data.Data:
    """At most so many images to train on, and as many to test with, evenly spread; a text stays whole."""
    if images is None or not isinstance(examples, Images):
        return examples
    train_at, test_at = (
        torch.arange(min(images, count)) * count // min(images, count)
        for count in (len(examples.train_images), len(examples.test_images))
    )
    return replace(
        examples,
        train_images=examples.train_images[train_at],
        train_labels=examples.train_labels[train_at],
        test_images=examples.test_images[test_at],
        test_labels=examples.test_labels[test_at],
    )


def _how_it_ended(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"code {code}"


def _interrupt(signal_number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
