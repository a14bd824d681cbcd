"""What torchrun starts, as `-m tests.experiments.killed_job RUNS STEP`: it dies at STEP, until it is started anew."""

import os
import signal
import sys
from pathlib import Path

import torch

from lambc.experiments import train as training
from lambc.experiments.data import sources as data
from lambc.experiments.settings import Settings


def main(runs: Path, step: int) -> None:
    torch.set_num_threads(1)
    training.SECONDS_BETWEEN_REPORTS = 0.0

    def report(now: training.Progress) -> None:
        if now.step == step and os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0":
            os.kill(os.getpid(), signal.SIGKILL)

    run = Settings(batch_size=26, epochs=2, images=70, device="cpu")
    training.train(run, data.load("digits"), runs, "r", report, resume=True, keep_weights=True, checkpoint_seconds=0.0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
