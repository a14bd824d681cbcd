"""The norm of each layer's gradient in the log: where it is asked for, or to be had for nothing."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from collector import Collector, connect
from lambc import LAMBC, LARS, over
from tests.collector.emitter import Emitter
from tests.ranks import Ranks

OPTIMIZERS = {
    "LAMBC": lambda named: LAMBC(named),
    "LARS": lambda named: LARS(named),
    "over SGD": lambda named: over(torch.optim.SGD(named, lr=0.1)),
    "AdamW": lambda named: torch.optim.AdamW(named, lr=0.1),
    "fused AdamW": lambda named: torch.optim.AdamW(named, lr=0.1, fused=True),
    "SGD": lambda named: torch.optim.SGD(named, lr=0.1, maximize=True),
}


def network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 700), nn.Tanh(), nn.Linear(700, 2)).to(dtype)


def give_gradients(model: nn.Module, seed: int) -> list[float]:
    """New gradients, and their norms."""
    generator = torch.Generator().manual_seed(seed)
    for param in model.parameters():
        param.grad = torch.randn(param.shape, generator=generator).to(param.dtype)
    return [param.grad.double().norm().item() for param in model.parameters()]


def logged(root: Path) -> dict[int, list[float | None]]:
    """The norms of each step, in depth order."""
    rows = connect(root).sql(
        "SELECT step, grad_norm FROM trust_ratios JOIN layers USING (run, layer) ORDER BY position"
    )
    found: dict[int, list[float | None]] = {}
    for step, norm in rows.fetchall():
        found.setdefault(step, []).append(norm)
    return found


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_recorded_step_has_the_norms_of_the_gradients_that_it_was_given(tmp_path, kind):
    model = network()
    optimizer = OPTIMIZERS[kind](model.named_parameters())
    expected = {}
    with Collector(optimizer, tmp_path, name="r", model=model, gradients=True, every=2):
        for step in range(1, 5):
            norms = give_gradients(model, step)
            if step != 3:
                expected[step] = pytest.approx(norms, rel=1e-6)
            optimizer.step()
    assert logged(tmp_path) == expected


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_where_nobody_asks_there_are_none(tmp_path, kind):
    model = network()
    optimizer = OPTIMIZERS[kind](model.named_parameters())
    with Collector(optimizer, tmp_path, name="r", model=model):
        give_gradients(model, 1)
        optimizer.step()
    assert logged(tmp_path) == {1: [None] * 4}


def test_with_max_grad_norm_they_are_there_unasked_beside_layers_that_have_none(tmp_path):
    model = network()
    limited = LAMBC(model[0].named_parameters("0"), max_grad_norm=1e-3)
    other = torch.optim.SGD(model[2].named_parameters("2"), lr=0.1)
    with Collector([limited, other], tmp_path, name="r", model=model):
        norms = give_gradients(model, 1)
        limited.step()
        other.step()
    assert logged(tmp_path) == {1: [*(pytest.approx(norm, rel=1e-6) for norm in norms[:2]), None, None]}


def test_a_limit_that_comes_and_goes_costs_no_row(tmp_path):
    model = network()
    optimizer = LAMBC(model.named_parameters())
    norms = {}
    with Collector(optimizer, tmp_path, name="r", model=model):
        for step, limit in enumerate((None, 1e-3, 1e-3, None), start=1):
            optimizer.param_groups[0]["max_grad_norm"] = limit
            given = give_gradients(model, step)
            norms[step] = [pytest.approx(norm, rel=1e-6) if limit else None for norm in given]
            optimizer.step()
    assert logged(tmp_path) == norms


@pytest.mark.filterwarnings("ignore:run 'r' is still open in this process and records the same optimizer")
def test_another_collector_that_asks_for_them_at_some_steps_costs_the_first_no_row(tmp_path):
    model = network()
    optimizer = LAMBC(model.named_parameters())
    with (
        Collector(optimizer, tmp_path, name="r", model=model),
        Collector(optimizer, tmp_path / "other", name="o", model=model, gradients=True, every=2),
    ):
        for step in (1, 2, 3, 4):
            give_gradients(model, step)
            optimizer.step()
    assert list(logged(tmp_path)) == [1, 2, 3, 4]


def test_of_an_observed_step_it_is_that_of_the_gradient_which_the_closure_computed(tmp_path):
    model = network()
    optimizer = torch.optim.AdamW(model.named_parameters())
    give_gradients(model, 1)
    norms = []
    with Collector(optimizer, tmp_path, name="r", model=model, gradients=True):
        optimizer.step(lambda: norms.extend(give_gradients(model, 2)))
    assert logged(tmp_path) == {1: pytest.approx(norms, rel=1e-6)}


def test_half_precision_gradients_are_summed_in_float32(tmp_path):
    model = network(torch.float16)
    optimizer = torch.optim.AdamW(model.named_parameters())
    with Collector(optimizer, tmp_path, name="r", model=model, gradients=True):
        give_gradients(model, 1)
        model[0].weight.grad.fill_(5e4)
        norms = [param.grad.double().norm().item() for param in model.parameters()]
        optimizer.step()
    assert logged(tmp_path) == {1: pytest.approx(norms, rel=1e-6)}


def test_a_sparse_gradient_has_the_norm_of_what_it_adds_up_to(tmp_path):
    embedding = nn.Embedding(5, 3, sparse=True)
    optimizer = torch.optim.SGD(embedding.named_parameters(), lr=0.1)
    with Collector(optimizer, tmp_path, name="r", model=embedding, gradients=True):
        embedding(torch.tensor([1, 1, 4])).sum().backward()
        optimizer.step()
    assert logged(tmp_path) == {1: [pytest.approx(15**0.5)]}


def test_a_layer_without_gradient_has_no_row(tmp_path):
    model = network()
    optimizer = torch.optim.SGD(model.named_parameters(), lr=0.1)
    with Collector(optimizer, tmp_path, name="r", model=model, gradients=True):
        norms = give_gradients(model, 1)
        model[0].bias.grad = None
        optimizer.step()
    assert logged(tmp_path) == {1: pytest.approx([norms[0], *norms[2:]], rel=1e-6)}


@pytest.mark.parametrize("kind", ["LAMBC", "fused AdamW"])
def test_the_scale_of_gradscaler_is_taken_out(tmp_path, kind):
    model = network()
    named = model.named_parameters()
    optimizer = LAMBC(named, fused=True) if kind == "LAMBC" else OPTIMIZERS[kind](named)
    with Collector(optimizer, tmp_path, name="r", model=model, gradients=True):
        norms = give_gradients(model, 1)
        for param in model.parameters():
            param.grad.mul_(1024)
        optimizer.grad_scale, optimizer.found_inf = torch.tensor(1024.0), torch.tensor(0.0)
        optimizer.step()
    assert logged(tmp_path) == {1: pytest.approx(norms, rel=1e-6)}


def test_an_optimizer_whose_hook_has_none_to_give_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(ValueError, match=r"gradients=True: Emitter.register_trust_ratio_hook has no parameter"):
        Collector(Emitter(["a"]), tmp_path, name="r", gradients=True)
    assert not any(tmp_path.iterdir())


@pytest.fixture
def two() -> Iterator[Ranks]:  # anew for each test: one leaves a process without its group
    ranks = Ranks(2)
    yield ranks
    ranks.close()


def train_in_parts(root: Path, kind: str, gradients: list[bool]) -> tuple[str, list[list[float]]]:
    """Train a sharded model; what making the collector said, and the norms of the gradients of each step."""
    model = network().double()
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    optimizer = OPTIMIZERS[kind](model.named_parameters())
    rank = torch.distributed.get_rank()
    norms = []
    try:
        with Collector(optimizer, root, name="r", model=model, every=2, gradients=gradients[rank]):
            for step in range(1, 5):
                torch.manual_seed(step)
                model.zero_grad()
                model(torch.randn(5, 3, dtype=torch.float64)).square().mean().backward()
                norms.append([param.grad.full_tensor().norm().item() for param in model.parameters()])
                optimizer.step()
    except ValueError as error:
        return str(error), []
    return "", norms


@pytest.mark.parametrize("kind", ["LAMBC", "AdamW", "over SGD"])
def test_of_sharded_layers_they_are_those_of_the_whole(two, tmp_path, kind):
    (_, norms), (_, same) = two.run(train_in_parts, tmp_path, kind, [True, True])
    assert norms == same
    assert logged(tmp_path) == {step: pytest.approx(norms[step - 1], rel=1e-6) for step in (1, 2, 4)}


def test_ranks_that_do_not_agree_whether_they_take_them_say_so_at_once(two, tmp_path):
    for said, _ in two.run(train_in_parts, tmp_path, "AdamW", [True, False]):
        assert said.startswith("gradients=False on rank 1, and gradients=True on rank 0: sharded layers are recorded")


def test_a_step_that_a_collector_records_warns_of_nothing(tmp_path):
    model = network()
    optimizer = LAMBC(model.named_parameters())
    with warnings.catch_warnings(), Collector(optimizer, tmp_path, name="r", gradients=True):
        warnings.simplefilter("error")
        give_gradients(model, 1)
        optimizer.step()
