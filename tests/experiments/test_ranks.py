"""Several processes train one model as one would, on parts of the same batches."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from collector import connect
from lambc.experiments import train as training
from lambc.experiments.ranks import SharedBatchNorm2d, join, share_batch_norms
from lambc.experiments.settings import Settings
from tests.experiments import killed_job

RUN = Settings(batch_size=26, epochs=2, lr=1e-3, device="cpu")
"""70 digits: batches of 26, 26 and 18, none of which divides evenly among four."""


def normalise_in_parts(sizes):
    random = torch.Generator().manual_seed(0)
    inputs = 3 + torch.randn(sum(sizes), 5, 2, 3, generator=random, dtype=torch.float64)
    slopes = torch.randn(inputs.shape, generator=random, dtype=torch.float64)
    whole, shared = (nn.Sequential(nn.BatchNorm2d(5)).double() for _ in range(2))
    share_batch_norms(shared)
    assert isinstance(shared[0], SharedBatchNorm2d)
    rank = torch.distributed.get_rank()
    mine = inputs.split(sizes)[rank].clone().requires_grad_()
    expected = inputs.clone().requires_grad_()
    outputs, of_all = shared(mine), whole(expected)
    (outputs * slopes.split(sizes)[rank]).sum().backward()
    (of_all * slopes).sum().backward()
    for param in shared.parameters():
        torch.distributed.all_reduce(param.grad)
    pairs = [
        (outputs, of_all.split(sizes)[rank]),
        (mine.grad, expected.grad.split(sizes)[rank]),
        *zip((p.grad for p in shared.parameters()), (p.grad for p in whole.parameters()), strict=True),
        *zip(shared.buffers(), whole.buffers(), strict=True),
        (shared.eval()(inputs), whole.eval()(inputs)),
    ]
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("sizes", [(4, 4, 4, 4), (1, 5, 2, 3), (2, 0, 1, 0)])
def test_a_batch_norm_over_parts_is_that_over_the_whole_batch(four, sizes):
    four.run(normalise_in_parts, sizes)


def normalise_bfloat16():
    random = torch.Generator().manual_seed(0)
    inputs = (3 + 0.2 * torch.randn(64, 5, 4, 4, generator=random)).bfloat16()
    slopes = torch.randn(inputs.shape, generator=random).bfloat16()
    shared = nn.Sequential(nn.BatchNorm2d(5))
    share_batch_norms(shared)
    rank = torch.distributed.get_rank()
    mine, whole = inputs.chunk(4)[rank].clone().requires_grad_(), inputs.float().requires_grad_()
    outputs, of_all = shared(mine), nn.BatchNorm2d(5)(whole)
    outputs.backward(slopes.chunk(4)[rank])
    of_all.backward(slopes.float())
    assert outputs.dtype == torch.bfloat16
    for ours, theirs in ((outputs, of_all), (mine.grad, whole.grad)):  # rounded once, at the end
        torch.testing.assert_close(ours.float(), theirs.chunk(4)[rank], rtol=2**-8, atol=1e-5)


def test_a_batch_norm_of_bfloat16_is_rounded_once(four):
    """A mean in bfloat16 would move whole channels in training, and not in evaluation."""
    four.run(normalise_bfloat16)


def normalise_far_from_zero(spread):
    random = torch.Generator().manual_seed(0)
    means = torch.tensor([20.3, 33.37, 100.74, 200.3, -200.3])[:, None, None]
    inputs = means + spread * torch.randn(64, 5, 4, 4, generator=random)
    shared = nn.Sequential(nn.BatchNorm2d(5))
    share_batch_norms(shared)
    outputs = shared(inputs.chunk(4)[torch.distributed.get_rank()])
    expected = nn.BatchNorm2d(5).double()(inputs.double()).chunk(4)[torch.distributed.get_rank()]
    torch.testing.assert_close(outputs.double(), expected, rtol=0, atol=5e-3)  # float32 has 200.3 to 8e-6


@pytest.mark.parametrize("spread", [1.0, 0.01, 0.0])
def test_a_batch_norm_is_right_also_where_the_mean_is_large_against_the_spread(four, spread):
    four.run(normalise_far_from_zero, spread)


def train_digits(digits, runs):
    torch.set_num_threads(1)
    trained = training.train(RUN, digits, runs, "r", keep_weights=True)
    return trained.end.test_accuracy, [param.double().sum().item() for param in trained.model.parameters()]


@pytest.mark.slow
def test_four_processes_train_as_one(four, few_digits, tmp_path):
    training.train(RUN, few_digits, tmp_path / "one", "r")
    answers = four.run(train_digits, few_digits, tmp_path / "four")
    assert all(answer == answers[0] for answer in answers)
    query = "SELECT step, name, value FROM metrics WHERE name NOT LIKE '%second' ORDER BY step, name"
    ours, expected = (connect(tmp_path / job).sql(query).fetchall() for job in ("four", "one"))
    assert [row[:2] for row in ours] == [row[:2] for row in expected]
    values = [torch.tensor([row[2] for row in rows]) for rows in (ours, expected)]
    torch.testing.assert_close(*values, rtol=2e-3, atol=0)
    query = "SELECT weight_norm, trust_ratio FROM trust_ratios ORDER BY step, layer"
    ours, expected = (torch.tensor(connect(tmp_path / job).sql(query).fetchall()) for job in ("four", "one"))
    torch.testing.assert_close(ours[:62], expected[:62], rtol=1e-4, atol=1e-4)  # of the first step
    assert (tmp_path / "four" / "r" / "weights.pt").exists()


class Cut(Exception):
    """A run that is broken off."""


def cut_off(digits, runs):
    """A run that has a checkpoint and did not end."""

    def cut(progress):
        if progress.ends_epoch:
            raise Cut

    with pytest.raises(Cut):
        training.train(RUN, digits, runs, "r", cut, checkpoint_seconds=0.0)
    assert (runs / "r" / "checkpoint.pt").exists()


def refuse_another_folder(digits, runs, elsewhere):
    mine = elsewhere if torch.distributed.get_rank() == 3 else runs
    with pytest.raises(ValueError, match=r"checkpoint\.pt is not the same to all processes: give them one folder"):
        training.train(RUN, digits, mine, "r", resume=True)


def test_processes_that_see_different_checkpoints_do_not_train_together(four, few_digits, tmp_path):
    cut_off(few_digits, tmp_path)
    four.run(refuse_another_folder, few_digits, tmp_path, tmp_path / "elsewhere")


def refuse_other_settings(digits, runs):
    with pytest.raises(FileExistsError, match=r"has lr=0\.001 and not 0\.5"):
        training.train(replace(RUN, lr=0.5), digits, runs, "r", resume=True)


def test_what_the_first_process_refuses_all_refuse(four, few_digits, tmp_path):
    cut_off(few_digits, tmp_path)
    four.run(refuse_other_settings, few_digits, tmp_path)


def torchrun(*arguments):
    """Two processes on this machine, started anew once if one dies."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1"]
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1", "-m"]
    # torch 2.14 would hand the new processes the addresses of the dead ones.
    environment = os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    return subprocess.run(
        [*command, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.mark.slow
def test_a_job_that_was_killed_and_goes_on_ends_as_an_undisturbed_one(two, tmp_path):
    done = torchrun("tests.experiments.killed_job", tmp_path / "cut", 5)  # in the second epoch
    assert done.returncode == 0, done.stderr
    two.run(killed_job.main, tmp_path / "whole", 0)
    whole, cut = (connect(tmp_path / runs) for runs in ("whole", "cut"))
    assert cut.sql("SELECT count(*) FROM attempts").fetchall() == [(2,)]
    for question in (
        "SELECT * FROM trust_ratios ORDER BY ALL",
        "SELECT step, epoch, name, value FROM metrics WHERE name NOT LIKE '%second' ORDER BY ALL",
    ):
        assert cut.sql(question).to_arrow_table().equals(whole.sql(question).to_arrow_table())
    weights = [torch.load(tmp_path / runs / "r" / "weights.pt") for runs in ("whole", "cut")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.slow
def test_the_command_trains_in_two_processes_and_speaks_once(tmp_path):
    settings = ("--images", 60, "--epochs", 1, "--batch-size", 30, "--device", "cpu")
    command = ("lambc", "train", *settings, "--runs", tmp_path, "--name", "r")
    done = torchrun(*command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("The log is in") == 1
    again = torchrun(*command, "--resume", "--keep-weights")
    assert again.returncode == 0, again.stderr
    assert " ".join(again.stdout.split()).count("has finished already, and is kept; its weights were not.") == 1


def test_processes_leave_their_group_before_they_end():
    """Else a thread of gloo that still runs aborts one in five, and torchrun starts a finished job anew."""
    code = (
        "import atexit, torch; atexit.register(lambda: print('in a group:', torch.distributed.is_initialized())); "
        "from lambc.experiments.ranks import join; print(join('cpu'))"
    )
    alone = {"TORCHELASTIC_RUN_ID": "r", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    alone |= {"RANK": "0", "WORLD_SIZE": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | alone, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["Ranks(count=1, rank=0)", "in a group: False"], done.stderr


@pytest.fixture
def two_cards(monkeypatch):
    """What torch would say of a machine with two, of which the second process takes its own."""
    taken = []
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch.accelerator, "set_device_index", taken.append)
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: True)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda: None)
    monkeypatch.setenv("LOCAL_RANK", "1")
    return taken


@pytest.mark.parametrize(("device", "taken"), [("auto", [1]), ("cuda", [1]), ("cpu", [])])
def test_each_process_takes_a_card_of_its_own(two_cards, monkeypatch, device, taken):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    join(device)
    assert two_cards == taken


@pytest.mark.parametrize(
    ("device", "processes", "said"),
    [
        ("cuda:0", 2, "device='cuda:0' is one, for 2 processes: give cuda, of which each takes its own"),
        ("auto", 3, "3 processes would share 2 of cuda: start 2 with --nproc-per-node, or give the device cpu"),
    ],
)
def test_a_card_that_processes_would_share_is_refused(two_cards, monkeypatch, device, processes, said):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    with pytest.raises(ValueError, match=said):
        join(device)
    assert not two_cards
