"""A disk that takes no more: one sentence, and what was there before stays."""

import resource
from dataclasses import replace

import pytest
import torch

from collector import connect
from lambc.experiments import tensor_file
from lambc.experiments.train import train
from tests import forks
from tests.experiments.test_resume import READING, TEXT, assert_same_end


def in_a_process(target, *arguments):
    """What `target(connection, …)` sends from a process of its own, whose limits are then its own, too."""
    context = forks.context()
    here, there = context.Pipe()
    process = context.Process(target=target, args=(there, *arguments))
    process.start()
    there.close()
    said = here.recv()
    process.join()
    return said


def limit_files(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def write_too_much(said, path):
    limit_files(300_000)
    with pytest.raises(OSError, match="cannot be written") as error:
        tensor_file.write(path, {str(number): torch.zeros(20_000) for number in range(20)})
    said.send(str(error.value))


def test_a_file_that_does_not_fit_leaves_the_old_one_and_nothing_else(tmp_path):
    path = tmp_path / "a.pt"
    tensor_file.write(path, {"old": torch.ones(3)})
    said = in_a_process(write_too_much, path)
    assert said == f"{path} cannot be written (File too large): make room, then go on with the run"
    assert torch.equal(tensor_file.read(path)["old"], torch.ones(3))
    assert list(tmp_path.iterdir()) == [path]


def train_without_room(said, run, runs):
    limit_files(1_000_000)  # enough for rows, too little for a checkpoint
    with pytest.raises(OSError, match="cannot be written") as error:
        train(run, TEXT, runs, "run", resume=True, checkpoint_seconds=0.0)
    said.send(str(error.value))


@pytest.mark.slow
def test_a_run_whose_checkpoint_finds_no_room_ends_in_a_sentence_and_goes_on_once_there_is_some(tmp_path):
    run = replace(READING, epochs=2)
    train(run, TEXT, tmp_path / "undisturbed", "run", keep_weights=True)
    said = in_a_process(train_without_room, run, tmp_path / "full")
    assert said.endswith("checkpoint.pt cannot be written (File too large): make room, then go on with the run")
    log = connect(tmp_path / "full")
    assert log.sql("SELECT status FROM runs").fetchall() == [("failed",)]
    assert log.sql("SELECT * FROM problems").fetchall() == []
    log.close()
    train(run, TEXT, tmp_path / "full", "run", resume=True, keep_weights=True)
    assert_same_end(tmp_path / "full", tmp_path / "undisturbed")
