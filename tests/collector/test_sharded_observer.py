"""Sharded layers of optimizers that are observed: the log is that of one process, and no rank waits for ever."""

import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.debug import CommDebugMode
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from collector import Collector, connect
from collector.recording import ranks as agreements
from tests.ranks import Ranks

STEPS = 6
COLUMNS = "step, layer, weight_norm, update_norm, trust_ratio, clipped_ratio, lower, upper, lr"


@pytest.fixture
def two() -> Iterator[Ranks]:  # anew for each test: one leaves a process without its group
    ranks = Ranks(2)
    yield ranks
    ranks.close()


@cache
def mesh(*shape: int):
    return init_device_mesh("cpu", shape, mesh_dim_names=("replicate", "shard")[-len(shape) :])


def network(sizes: tuple[int, ...] = (13, 8, 65, 2)) -> nn.Sequential:
    """Layers that four processes share evenly, unevenly, and of which the last has nothing."""
    torch.manual_seed(0)
    first, second, third, last = sizes
    layers = nn.Linear(first, second), nn.Tanh(), nn.Linear(second, third), nn.Tanh(), nn.Linear(third, last)
    return nn.Sequential(*layers).double()


def split(model):
    fully_shard(model, mesh=mesh(4))


def hybrid(model):
    fully_shard(model, mesh=mesh(2, 2))


def tensor_parallel(model):
    parallelize_module(model, mesh(4), {"0": ColwiseParallel(), "2": RowwiseParallel()})


LAYOUTS = {"split": split, "hybrid": hybrid, "tensor parallel": tensor_parallel}


def muon_and_adamw(named):
    named = list(named)
    return [
        torch.optim.Muon([pair for pair in named if pair[1].dim() == 2], lr=1e-2),
        torch.optim.AdamW([pair for pair in named if pair[1].dim() == 1], lr=1e-3),
    ]


OPTIMIZERS = {
    "AdamW": lambda named: [torch.optim.AdamW(named, lr=1e-2, weight_decay=0.1)],
    "SGD": lambda named: [torch.optim.SGD(named, lr=1e-2, momentum=0.9)],
}


def train(model, optimizers, steps=range(1, STEPS + 1)):
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for optimizer in optimizers:
            optimizer.zero_grad()
        model(torch.randn(4, 13, generator=generator, dtype=torch.float64)).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()


def record_beside_whole(root: Path, layout: str, kind: str):
    """The model in parts on all ranks, and, on rank 0 alone, the whole one."""
    model = network()
    LAYOUTS[layout](model)
    optimizers = OPTIMIZERS[kind](model.named_parameters())
    with Collector(optimizers, root, name="parts"):
        train(model, optimizers)
    if torch.distributed.get_rank() == 0:
        whole = network()
        optimizers = OPTIMIZERS[kind](whole.named_parameters())
        with Collector(optimizers, root / "whole", name="whole", process_group=torch.distributed.group.WORLD):
            train(whole, optimizers)
    torch.distributed.barrier()


def rows(root: Path) -> list[tuple]:
    return connect(root).sql(f"SELECT {COLUMNS} FROM trust_ratios ORDER BY step, layer").fetchall()


def assert_same(root: Path, within: float = 1e-6) -> None:
    found, expected = rows(root), rows(root / "whole")
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    assert len(found) >= 6
    for row, other in zip(found, expected, strict=True):
        assert row[2:] == pytest.approx(other[2:], rel=within), row[:2]


@pytest.mark.parametrize("kind", ["AdamW", "SGD"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_log_of_layers_in_parts_is_that_of_one_process(four, tmp_path, layout, kind):
    four.run(record_beside_whole, tmp_path, layout, kind)
    assert_same(tmp_path)


def record_muon(root: Path) -> list[float]:
    """Norms of the whole weights before each step, and of how far they went; Muon's own step rounds to bfloat16."""
    model = network((13, 8, 16, 4))  # it takes no uneven parts
    split(model)
    optimizers = muon_and_adamw(model.named_parameters())
    found = []
    with Collector(optimizers, root, name="r", model=model):
        for step in range(1, STEPS + 1):
            before = [param.full_tensor().detach() for param in model.parameters()]
            train(model, optimizers, [step])
            for param, old in zip(model.parameters(), before, strict=True):
                lr = 1e-2 if param.dim() == 2 else 1e-3
                found += [old.norm().item(), (param.full_tensor() - old).norm().item() / lr]
    return found


def test_muon_in_parts_is_recorded_as_its_weights_went(four, tmp_path):
    expected = four.run(record_muon, tmp_path)[0]
    query = """
        SELECT weight_norm, update_norm FROM trust_ratios JOIN layers USING (run, layer) ORDER BY step, position"""
    found = [number for row in connect(tmp_path).sql(query).fetchall() for number in row]
    assert found == pytest.approx(expected, rel=1e-6)


def test_every_third_step_costs_one_all_reduce_and_the_others_none(four, tmp_path):
    assert four.run(count_all_reduces, tmp_path) == [[1, 0, 1, 0, 0, 1]] * 4


def count_all_reduces(root: Path):
    model = network()
    split(model)
    (optimizer,) = OPTIMIZERS["SGD"](model.named_parameters())
    found = []
    with Collector(optimizer, root, name="r", every=3):
        for _ in range(STEPS):
            model(torch.ones(4, 13, dtype=torch.float64)).square().mean().backward()
            with CommDebugMode() as seen:
                optimizer.step()
            counts = {str(operation): times for operation, times in seen.get_comm_counts().items()}
            found.append(
                sum(
                    times
                    for operation, times in counts.items()
                    if "all_reduce" in operation or "allreduce" in operation
                )
            )
            optimizer.zero_grad()
    return found


def resume_without_a_count(root: Path):
    """SGD keeps no count of its steps: the ranks that do not write learn from rank 0 where the log ends."""
    for first in (1, 5):
        model = network()
        split(model)
        optimizers = OPTIMIZERS["SGD"](model.named_parameters())
        with Collector(optimizers, root, name="r", every=3, resume=True):
            train(model, optimizers, range(first, first + 4))


def test_a_resumed_run_of_an_optimizer_without_a_count_records_the_same_steps_on_all_ranks(four, tmp_path):
    four.run(resume_without_a_count, tmp_path)
    assert [
        step for (step,) in connect(tmp_path).sql("SELECT DISTINCT step FROM trust_ratios ORDER BY 1").fetchall()
    ] in (
        [1, 3, 6],
        [1, 3, 6, 9],
    )


def collect(root: Path, seconds: float, absent: tuple[int, ...] = (), every: tuple[int, ...] = (1, 1)) -> str:
    """What making a collector raises on this rank, but for ranks that make none."""
    agreements.SECONDS = seconds
    rank = torch.distributed.get_rank()
    if rank in absent:
        return "absent"
    model = network()
    fully_shard(model, mesh=mesh(torch.distributed.get_world_size()))
    optimizer = torch.optim.AdamW(model.named_parameters())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Collector(optimizer, root, name="r", every=every[rank]).close()
    except (RuntimeError, ValueError, FileExistsError) as error:
        return f"{type(error).__name__}: {error}"
    return "made"


def test_a_rank_without_a_collector_is_said_on_every_rank_that_has_one(two, tmp_path):
    here, there = two.run(collect, tmp_path, 5.0, (1,))
    assert there == "absent"
    assert here.startswith("RuntimeError: not every one of the 2 ranks made a Collector within 5 s")
    assert not list(tmp_path.iterdir())


def test_options_that_differ_are_refused_on_all_ranks(two, tmp_path):
    said = two.run(collect, tmp_path, 60.0, (), (1, 2))
    assert said[0] == said[1]
    assert said[0].startswith(
        "ValueError: every=2 on rank 1, and every=1 on rank 0: sharded layers are recorded by all"
    )
    assert not list(tmp_path.iterdir())


def test_a_run_that_rank_0_cannot_begin_is_begun_by_none(two, tmp_path):
    assert two.run(collect, tmp_path, 60.0) == ["made", "made"]
    here, there = two.run(collect, tmp_path, 60.0)
    assert here.startswith("FileExistsError")
    assert there.startswith("RuntimeError: rank 0 could not begin the run (FileExistsError: ")
