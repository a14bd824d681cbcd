"""Clipping by the global norm: the gradients become what torch makes of them, and the log has what was cut."""

import copy
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from collector import Collector, connect
from lambc import LAMBC
from tests.collector.emitter import Emitter


@pytest.fixture(scope="module")
def collector(tmp_path_factory):
    """One that has ended: it clips, and logs nothing."""
    with Collector(Emitter(["a"]), tmp_path_factory.mktemp("runs")) as collector:
        pass
    return collector


def params_with(grads):
    params = [nn.Parameter(torch.zeros_like(grad)) for grad in grads]
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad.clone()
    return params


def draw(seed, dtype, scale=1.0, shapes=((3, 4), (700,), (), (0,), (2, 3, 4))):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(shape, generator=generator) * scale).to(dtype) for shape in shapes]


def logged(root: Path) -> list[tuple]:
    asked = "SELECT step, name, value FROM metrics WHERE name LIKE 'grad%' ORDER BY step, time, name DESC"
    return connect(root).sql(asked).fetchall()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    power=st.floats(-3, 3),
    max_norm=st.floats(1e-3, 1e3),
    order=st.sampled_from([2.0, 2, 1.0, 3.0, math.inf, "inf"]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    foreach=st.sampled_from([None, True, False]),
)
def test_the_gradients_and_the_norm_are_those_of_torch(collector, seed, power, max_norm, order, dtype, foreach):
    grads = draw(seed, dtype, 10**power)
    ours, theirs = params_with(grads), params_with(grads)
    norm = collector.clip_grad_norm_(ours, max_norm, order, foreach=foreach)
    with_elements = [param for param in theirs if param.numel()]  # torch's has no largest element of the others
    expected = torch.nn.utils.clip_grad_norm_(with_elements, max_norm, order, foreach=foreach)
    torch.testing.assert_close(norm, expected, rtol=1e-6, atol=0)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=2e-6, atol=0)


def test_small_float32_gradients_are_those_of_torch_bit_for_bit(collector):
    grads = draw(1, torch.float32, shapes=((3, 4), (5,), ()))
    ours, theirs = params_with(grads), params_with(grads)
    assert torch.equal(collector.clip_grad_norm_(ours, 0.1), torch.nn.utils.clip_grad_norm_(theirs, 0.1))
    assert all(torch.equal(one.grad, other.grad) for one, other in zip(ours, theirs, strict=True))


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**31), max_norm=st.floats(1e-2, 1e3), dtype=st.sampled_from([torch.float16, torch.bfloat16])
)
def test_of_half_precision_it_is_what_float32_would_give_rounded_once(collector, seed, max_norm, dtype):
    grads = draw(seed, dtype, 10)
    ours, exact = params_with(grads), params_with([grad.float() for grad in grads])
    norm = collector.clip_grad_norm_(ours, max_norm)
    expected = torch.nn.utils.clip_grad_norm_(exact, max_norm)
    torch.testing.assert_close(norm, expected, rtol=1e-6, atol=0)
    for one, other in zip(ours, exact, strict=True):
        rounding = torch.finfo(dtype).eps
        torch.testing.assert_close(one.grad.float(), other.grad, rtol=rounding, atol=torch.finfo(dtype).tiny)


def test_a_norm_that_float16_does_not_hold_is_no_infinity(collector):
    params = params_with([torch.full((300, 300), 300.0, dtype=torch.float16)])
    norm = collector.clip_grad_norm_(params, 90.0)
    assert norm.item() == pytest.approx(90_000)
    assert params[0].grad.unique().tolist() == [pytest.approx(0.3, rel=1e-3)]


def test_a_clip_is_logged_at_the_step_that_it_was_made_for(tmp_path):
    model = nn.Linear(2, 1, bias=False)
    optimizer = LAMBC(model.named_parameters())
    with Collector(optimizer, tmp_path, name="r", every=3) as collector:
        for norm in (5.0, 0.5):
            model.weight.grad = torch.tensor([[0.6, 0.8]]) * norm
            total = collector.clip_grad_norm_(model.parameters(), 1.0)
            total.fill_(math.nan)  # what a caller does to it changes nothing
            optimizer.step()
    assert [(step, name, pytest.approx(value, rel=1e-5)) for step, name, value in logged(tmp_path)] == [
        (1, "grad_norm", 5.0), (1, "grad_clip", 0.2), (2, "grad_norm", 0.5), (2, "grad_clip", 1.0),
    ]  # fmt: skip


def test_of_several_clips_in_a_step_the_step_counts_once(tmp_path):
    model = nn.Linear(2, 1, bias=False)
    optimizer = LAMBC(model.named_parameters())
    with Collector(optimizer, tmp_path, name="r") as collector:
        for norm in (5.0, 0.5):
            model.weight.grad = torch.tensor([[0.6, 0.8]]) * norm
            for most in (4.0, 2.0):
                collector.clip_grad_norm_(model.parameters(), most)
            optimizer.step()
    found = connect(tmp_path).sql("SELECT steps, clipped, share FROM gradient_clips('r')").fetchall()
    assert found == [(2, 1, 0.5)]


def test_of_a_resumed_run_too_and_the_clips_that_it_takes_back_move_aside(tmp_path):
    model = nn.Linear(2, 1, bias=False)
    optimizer = LAMBC(model.named_parameters())

    def step(collector, norm):
        model.weight.grad = torch.tensor([[0.6, 0.8]]) * norm
        collector.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()

    with Collector(optimizer, tmp_path, name="r") as collector:
        step(collector, 1.0)
        saved = copy.deepcopy(optimizer.state_dict())
        step(collector, 2.0)
        step(collector, 3.0)
    optimizer.load_state_dict(saved)
    with Collector(optimizer, tmp_path, name="r", resume=True) as collector:
        step(collector, 4.0)
    norms = [(step, pytest.approx(value)) for step, name, value in logged(tmp_path) if name == "grad_norm"]
    assert norms == [(1, 1.0), (2, 4.0)]


def test_a_norm_that_is_not_finite_is_logged_also_where_it_raises(tmp_path):
    params = params_with([torch.tensor([1.0, math.inf])])
    with (
        pytest.raises(RuntimeError, match=r"the total norm of order 2\.0 of the gradients is inf, so they cannot"),
        Collector(LAMBC([("a", params[0])]), tmp_path, name="r") as collector,
    ):
        collector.clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    assert params[0].grad.tolist() == [1.0, math.inf]
    assert logged(tmp_path) == [(0, "grad_norm", math.inf), (0, "grad_clip", 0.0)]


def test_where_there_is_no_gradient_nothing_is_clipped_or_logged(tmp_path, training):
    with Collector(training.optimizer, tmp_path, name="r") as collector:
        assert collector.clip_grad_norm_(training.model.parameters(), 1.0).item() == 0
        with pytest.warns(UserWarning, match="`parameters` is an empty generator"):
            collector.clip_grad_norm_((param for param in ()), 1.0)
        training.steps()
    assert logged(tmp_path) == []


def test_one_tensor_a_complex_and_a_sparse_gradient_are_clipped(collector):
    sparse = torch.sparse_coo_tensor([[0, 0]], [[3.0], [0.0]], (2, 1), check_invariants=True)
    for grad in (torch.tensor(3.0), torch.tensor([3j]), sparse):
        (param,) = params_with([grad.to_dense()])
        param.grad = grad.clone()
        assert collector.clip_grad_norm_(param, 1.5).item() == 3
        assert param.grad.to_dense().abs().sum().item() == pytest.approx(1.5)


def clip_in_parts(root):
    """Clip a sharded model beside a whole layer, and the same by torch: norms and gradients of both."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 5))
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    optimizer = LAMBC(model.named_parameters())
    model(torch.ones(4, 3)).square().sum().backward()
    params = list(model.parameters())
    grads = [param.grad.clone() for param in params]
    whole = [grad.full_tensor() for grad in grads]
    with Collector(optimizer, root, name="r") as collector:
        norm = collector.clip_grad_norm_(params, 0.1)
        largest = collector.clip_grad_norm_(params, 0.05, "inf")
        optimizer.step()
    expected = params_with(whole)
    norms = [torch.nn.utils.clip_grad_norm_(expected, 0.1), torch.nn.utils.clip_grad_norm_(expected, 0.05, "inf")]
    for param, other in zip(params, expected, strict=True):
        torch.testing.assert_close(param.grad.full_tensor(), other.grad, rtol=1e-5, atol=1e-9)
    return type(norm), [norm.item(), largest.item()], [each.item() for each in norms]


def test_of_dtensors_it_is_the_norm_of_the_whole_gradients_on_every_rank(two, tmp_path):
    for kind, norms, expected in two.run(clip_in_parts, tmp_path):
        assert kind is torch.Tensor
        assert norms == pytest.approx(expected, rel=1e-6)
    assert [value for _, name, value in logged(tmp_path) if name == "grad_norm"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_nothing_waits_for_the_device(tmp_path):
    model = nn.Linear(300, 300).cuda()
    optimizer = LAMBC(model.named_parameters())
    with Collector(optimizer, tmp_path, name="r", gradients=True) as collector:
        for _ in range(3):
            for param in model.parameters():
                param.grad = torch.ones_like(param)
            torch.cuda.set_sync_debug_mode("error")
            collector.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            torch.cuda.set_sync_debug_mode("default")
    assert [value for _, name, value in logged(tmp_path) if name == "grad_norm"] == pytest.approx([90300**0.5] * 3)
