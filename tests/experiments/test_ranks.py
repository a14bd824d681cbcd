"""Several processes train one model as one would, on parts of the same batches."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from collector import connect
from lambc.experiments import train as training
from lambc.experiments.ranks import SharedBatchNorm2d, share_batch_norms
from lambc.experiments.settings import Run
from tests.ranks import Ranks

RUN = Run(batch_size=26, epochs=2, lr=1e-3, device="cpu")
"""70 digits: batches of 26, 26 and 18, none of which divides evenly among four."""


@pytest.fixture(scope="module")
def four() -> Iterator[Ranks]:
    ranks = Ranks(4)
    yield ranks
    ranks.close()


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
