"""Processes that form one gloo group and run checks together; to start them costs seconds, so they do many."""

import multiprocessing
import os
import pickle
import sys
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests import forks


class Ranks:
    """`count` processes. A check is a function of a test module; it runs on all of them at once.

    environment: what stands in theirs before they import anything of ours.
    """

    def __init__(self, count: int, environment: dict[str, str] | None = None) -> None:
        # The fork server has imported Triton, which reads its environment at its import.
        context = multiprocessing.get_context("spawn") if environment else forks.context()
        self._folder = tempfile.TemporaryDirectory()
        meeting = Path(self._folder.name) / "meeting"
        self._pipes: list[Connection] = []
        self._processes = []
        for rank in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, meeting, rank, count, environment or {}), daemon=True
            )
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def run(self, check: Callable[..., Any], *args: Any, seconds: float = 300) -> list[Any]:
        """What `check(*args)` returned on each rank. Raises AssertionError with what a rank raised, or if one hangs."""
        for pipe in self._pipes:
            pipe.send_bytes(pickle.dumps((check, args)))
        answers = []
        for pipe in self._pipes:
            try:
                answers.append(pickle.loads(pipe.recv_bytes()) if pipe.poll(seconds) else (False, "it hangs"))
            except EOFError:
                answers.append((False, "it died"))
        errors = [f"rank {rank}: {answer}" for rank, (good, answer) in enumerate(answers) if not good]
        if errors:
            self.close()  # who failed has left the others in the middle of something
            raise AssertionError("\n".join(errors))
        return [answer for _, answer in answers]

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            process.join()
        self._folder.cleanup()


def _serve(pipe: Connection, meeting: Path, rank: int, count: int, environment: dict[str, str]) -> None:
    os.environ |= environment
    if sys.platform == "linux":
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    import torch

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
    while True:
        try:
            check, args = pickle.loads(pipe.recv_bytes())
        except EOFError:
            return
        try:
            torch.manual_seed(0)
            answer = (True, check(*args))
        except BaseException:
            answer = (False, traceback.format_exc())
        pipe.send_bytes(pickle.dumps(answer))
