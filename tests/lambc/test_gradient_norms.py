"""The record of a step has the norm of each layer's gradient, where a hook asks for it, on every path of a step."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode

from lambc import LAMB, LAMBC, LARS, over
from lambc.norms import ROW, gradient_norms
from lambc.steps import triton

SHAPES = [(8, 4), (3,), (), (2, 3, 4, 4), (2 * ROW + 7,), (0,)]
OPTIMIZERS = {
    "loop": lambda params: LAMBC(params, foreach=False),
    "foreach": lambda params: LAMB(params, foreach=True),
    "fused": lambda params: LAMBC(params, fused=True),
    "by default": lambda params: LAMBC(params),
    "several groups": lambda params: LAMBC([{"params": params[::2]}, {"params": params[1::2], "weight_decay": 0.1}]),
    "max_grad_norm": lambda params: LAMBC(params, max_grad_norm=1e-3),
    "LARS": lambda params: LARS(params),
    "over SGD": lambda params: over(torch.optim.SGD(params, lr=0.1), clip=1.0),
    "over AdamW": lambda params: over(torch.optim.AdamW(params, fused=True), clip=1.0),
}


def expected(grad):
    return grad.double().square().sum().sqrt().item()


def records_of(optimizer, **options):
    kept = []
    keep = lambda record: kept.append(record.table.clone())  # noqa: E731
    return kept, optimizer.register_trust_ratio_hook(keep, **options)


def params_with(grads):
    params = [nn.Parameter(torch.ones_like(grad)) for grad in grads]
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad
    return params


def draw(shape, seed, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@settings(max_examples=10, deadline=None)
@given(
    scale=st.floats(-8, 8).map(lambda power: 10**power),
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_it_is_the_norm_of_the_gradient_that_the_step_was_given(kind, scale, seed, dtype):
    grads = [draw(shape, seed + place, dtype) * scale for place, shape in enumerate(SHAPES)]
    optimizer = OPTIMIZERS[kind](params_with(grads))
    order = [param for group in optimizer.param_groups for param in group["params"]]
    given_norms = [expected(param.grad) for param in order]
    records, _ = records_of(optimizer, gradients=True)
    optimizer.step()
    assert records[0].shape == (8, len(SHAPES))
    assert records[0][7].tolist() == pytest.approx(given_norms, rel=1e-6, abs=0)


@pytest.mark.parametrize("kind", ["loop", "foreach", "fused", "LARS"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_norms_of_half_precision_gradients_neither_round_nor_overflow(kind, dtype):
    grads = [torch.full((300, 7), 200.0, dtype=dtype), draw((5000,), 1, dtype)]
    optimizer = OPTIMIZERS[kind](params_with(grads))
    records, _ = records_of(optimizer, gradients=True)
    optimizer.step()
    assert records[0][7].tolist() == pytest.approx([expected(grad) for grad in grads], rel=1e-6)


def test_with_max_grad_norm_they_are_there_whoever_asks_and_else_only_while_a_hook_does():
    grads = [draw((3, 4), 1), draw((5,), 2)]
    free, paid = LAMBC(params_with(grads), max_grad_norm=1.0), LAMBC(params_with(grads))
    for optimizer, rows in ((free, 8), (paid, 7)):
        records, _ = records_of(optimizer)
        optimizer.step()
        assert len(records[0]) == rows
    records, handle = records_of(paid, gradients=True)
    paid.step()
    handle.remove()
    others, _ = records_of(paid)
    paid.step()
    assert (len(records[0]), len(others[0])) == (8, 7)


def test_a_hook_that_asks_for_some_steps_costs_the_others_no_pass():
    optimizer = LAMBC(params_with([draw((3, 4), 1)]))
    records, _ = records_of(optimizer, gradients=lambda step: step % 2 == 0)
    layers = []
    optimizer.register_trust_ratio_hook(lambda record: layers.append((record.layers, record.grad_norm is None)))
    for _ in range(4):
        optimizer.step()
    assert [unknown for _, unknown in layers] == [True, False, True, False]
    assert all(each is layers[0][0] for each, _ in layers)
    assert not any(table[:7].isnan().any() for table in records)


def test_asking_changes_no_weight():
    grads = [draw(shape, place) for place, shape in enumerate(SHAPES)]
    weights = []
    for options in ({}, {"gradients": True}):
        params = params_with([grad.clone() for grad in grads])
        optimizer = LAMBC(params)
        records_of(optimizer, **options)
        for _ in range(3):
            optimizer.step()
        weights.append(params)
    assert all(map(torch.equal, *weights))


def test_a_layer_without_gradient_has_no_norm_of_one():
    params = params_with([draw((3,), 1), draw((4,), 2)])
    params[0].grad = None
    optimizer = LAMBC(params)
    records, _ = records_of(optimizer, gradients=True)
    optimizer.step()
    assert records[0].isnan().all(dim=0).tolist() == [True, False]


@pytest.mark.parametrize("kind", ["fused", "max_grad_norm", "over AdamW"])
def test_the_scale_of_gradscaler_is_taken_out(kind):
    grads = [draw((30, 4), 1), draw((7,), 2)]
    given_norms = [expected(grad) for grad in grads]
    optimizer = OPTIMIZERS[kind](params_with([grad * 1024 for grad in grads]))
    records, _ = records_of(optimizer, gradients=True)
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(1024.0), torch.tensor(0.0)
    optimizer.step()
    assert records[0][7].tolist() == pytest.approx(given_norms, rel=1e-6)


def test_over_an_optimizer_it_is_that_of_the_gradient_which_the_closure_computed():
    (param,) = params_with([torch.full((3,), 9.0)])
    optimizer = over(torch.optim.SGD([param], lr=0.1))
    records, _ = records_of(optimizer, gradients=True)

    def closure():
        param.grad = torch.tensor([3.0, 0.0, 4.0])

    optimizer.step(closure)
    assert records[0][7].tolist() == [5.0]


@pytest.mark.parametrize("options", [{}, {"max_grad_norm": 0.5}])
def test_a_compiled_step_has_them(options):
    params = params_with([draw((3, 4), 1), draw((700,), 2)])
    optimizer = LAMBC(params, foreach=True, **options)
    records = []
    hook = torch.compiler.disable(lambda record: records.append(record.table.clone()))
    optimizer.register_trust_ratio_hook(hook, gradients=lambda step: step == 1)
    torch.compile(optimizer.step, backend="eager")()
    assert records[0][7].tolist() == pytest.approx([expected(param.grad) for param in params], rel=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available() or not triton.usable(torch.device("cuda")), reason="needs a GPU")
def test_the_kernels_on_a_gpu_have_them_and_so_has_a_replayed_graph():
    grads = [draw(shape, place).cuda() for place, shape in enumerate(SHAPES)]
    optimizer = LAMBC(params_with(grads), capturable=True)
    records, _ = records_of(optimizer, gradients=True)
    optimizer.step()
    assert records[0][7].tolist() == pytest.approx([expected(grad) for grad in grads], rel=1e-6)


def test_rows_of_a_sparse_gradient_that_have_one_place_are_added_up():
    grad = torch.sparse_coo_tensor([[0, 0, 2]], [[3.0], [0.0], [4.0]], (5, 1), check_invariants=True)
    assert gradient_norms([grad, torch.tensor([3 + 4j])]).tolist() == [5.0, 5.0]


def shared_step(kind, layout, options):
    """A step of layers in parts and of whole ones: the norms that the record has, those expected, and collectives."""
    mesh = init_device_mesh("cpu", (2,))
    grads = [draw((8, 4), 1), draw((5, 6), 2), draw((3,), 3)]
    placed = [Shard(0)] if layout == "split" else [Replicate()]
    params = [nn.Parameter(distribute_tensor(torch.ones_like(grad), mesh, placed)) for grad in grads[:2]]
    params.append(nn.Parameter(torch.ones(3)))
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad.clone() if param is params[-1] else distribute_tensor(grad, mesh, placed)
    optimizer = OPTIMIZERS[kind](params) if not options else LAMBC(params, **options)
    counts = []
    for asked in (False, True):
        records, handle = records_of(optimizer, gradients=asked)
        with CommDebugMode() as counting:
            optimizer.step()
        counts.append(counting.get_total_counts())
        handle.remove()
    return records[0][7].tolist(), [expected(grad) for grad in grads], counts


@pytest.mark.parametrize("layout", ["split", "replicated"])
@pytest.mark.parametrize("kind", ["loop", "foreach", "fused", "LARS", "over SGD"])
def test_of_layers_in_parts_it_is_that_of_the_whole_and_travels_with_the_other_norms(two, kind, layout):
    for norms, given_norms, counts in two.run(shared_step, kind, layout, {}):
        assert norms == pytest.approx(given_norms, rel=1e-6)
        assert counts[0] == counts[1] == (1 if layout == "split" else 0)


def test_of_layers_in_parts_max_grad_norm_gives_them_without_a_further_collective(two):
    for norms, given_norms, counts in two.run(shared_step, "", "split", {"max_grad_norm": 0.1}):
        assert norms == pytest.approx(given_norms, rel=1e-6)
        assert counts == [2, 2]
        assert not any(map(math.isnan, norms))
