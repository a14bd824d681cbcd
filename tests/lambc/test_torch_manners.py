"""What torch.optim's own optimizers can do beside stepping: GradScaler, autograd through the step, compile."""

import copy

import pytest
import torch

from lambc import LAMBC, LARS

PATHS = [{"fused": True}, {"foreach": True}, {"foreach": False}]


def make_params(dtype=torch.float32):
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in [(4, 3), (5,), (2, 3, 2)]]


def give_gradients(params, seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator, dtype=param.dtype) * scale


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("options", [{}, {"max_grad_norm": 0.5}], ids=str)
def test_grad_scaler_takes_back_its_scale_and_skips_a_step_that_overflowed(path, options):
    params, plain = make_params(), make_params()
    optimizer, expected = (LAMBC(each, weight_decay=0.1, **path, **options) for each in (params, plain))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    rows = []
    optimizer.register_trust_ratio_hook(lambda record: rows.append(record.lr.isnan().any().item()))
    for step in range(4):
        overflowed = step == 2
        give_gradients(params, step)
        scaled = scaler.scale(torch.ones(()))
        for param in params:
            param.grad *= scaled
        if overflowed:
            params[0].grad[0, 0] = torch.inf
        else:
            give_gradients(plain, step)
            expected.step()
        scaler.step(optimizer)
        scaler.update()
    for a, b in zip(params, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
        assert optimizer.state[a]["step"] == expected.state[b]["step"] == 3
    # A path that GradScaler hands its flag to shows the skipped step without a rate; the others are not called.
    assert rows == ([False, False, True, False] if "fused" in path else [False, False, False])


@pytest.mark.parametrize("duplicate", [lambda optimizer: optimizer, copy.deepcopy], ids=["itself", "copy"])
@pytest.mark.parametrize("options", [{"fused": True, "eps_inside_sqrt": True}, {"fused": True}, {}], ids=str)
def test_grad_scaler_skips_an_overflow_whatever_path_takes_the_step(options, duplicate):
    optimizer = duplicate(LAMBC([torch.nn.Parameter(torch.ones(3))], **options))
    (param,) = optimizer.param_groups[0]["params"]
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(torch.ones(()))
    param.grad = torch.tensor([1.0, torch.inf, 1.0])
    scaler.step(optimizer)
    assert param.tolist() == [1.0, 1.0, 1.0]


def test_grad_scaler_leaves_a_skipped_layer_as_it_was_even_where_it_is_not_finite_by_itself():
    param = torch.nn.Parameter(torch.tensor([1.0, torch.inf]))
    optimizer = LAMBC([param], fused=True, weight_decay=0.1)
    optimizer.found_inf, optimizer.grad_scale = torch.ones(()), torch.ones(())
    param.grad = torch.tensor([torch.nan, 1.0])
    optimizer.step()
    assert param.tolist() == [1.0, torch.inf]


def test_grad_scaler_waits_for_its_flag_itself_where_torchs_kernel_is_missing(monkeypatch):
    monkeypatch.setattr("lambc.steps.fused_adam.AVAILABLE", False)
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = LAMBC([param], fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(torch.ones(()))
    param.grad = torch.tensor([1.0, torch.inf, 1.0])
    scaler.step(optimizer)
    assert param.tolist() == [1.0, 1.0, 1.0]


def test_an_overflow_that_was_found_on_two_devices_is_one_skipped_step():
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = LAMBC([param], fused=True)
    optimizer.found_inf, optimizer.grad_scale = torch.tensor(2.0), torch.tensor(4.0)
    param.grad = torch.tensor([1.0, torch.inf, 1.0])
    optimizer.step()
    assert param.tolist() == [1.0, 1.0, 1.0]
    assert optimizer.state[param]["step"] == 0
    assert optimizer.state[param]["exp_avg"].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autograd_follows_the_step_of_half_precision(dtype):
    weight = torch.ones(3, dtype=dtype, requires_grad=True)
    param = weight.clone()
    param.grad = torch.tensor([0.5, 1.0, 2.0], dtype=dtype)
    LAMBC([param], differentiable=True).step()
    param.sum().backward()
    assert weight.grad.isfinite().all()
    assert (weight.grad != 0).all()


def test_autograd_follows_the_step():
    def loss_after_step(weight, grad):
        param = weight.clone()
        param.grad = grad
        optimizer = LAMBC([param], differentiable=True, weight_decay=0.1, clip=None)
        optimizer.step()
        return param.square().sum()

    weight = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    grad = torch.tensor([0.3, 0.1, -0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss_after_step, (weight, grad))


@pytest.mark.parametrize("grad", [torch.zeros(3), torch.ones(3)], ids=["no update", "no weight"])
def test_the_gradient_of_a_step_with_a_zero_norm_is_finite(grad):
    weight = torch.zeros(3, requires_grad=True)
    param = weight.clone()
    param.grad = grad.clone()
    LAMBC([param], differentiable=True).step()
    param.sum().backward()
    assert weight.grad.isfinite().all()


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_max_grad_norm_limits_the_norm_over_all_groups(path):
    params, reference = make_params(), make_params()
    give_gradients(params, 0)
    for param, other in zip(params, reference, strict=True):
        other.grad = param.grad.clone()
    torch.nn.utils.clip_grad_norm_(reference, 0.5)
    LAMBC([{"params": params[:1]}, {"params": params[1:]}], max_grad_norm=0.5, eps=1e-3, **path).step()
    LAMBC(reference, eps=1e-3, **path).step()
    for a, b in zip(params, reference, strict=True):
        torch.testing.assert_close(a, b)


def test_a_total_norm_that_is_not_finite_limits_nothing():
    params = make_params()
    give_gradients(params, 0)
    params[0].grad[0, 0] = torch.inf
    LAMBC(params, max_grad_norm=0.5).step()
    assert all(param.isfinite().all() for param in params[1:])
    assert params[0].isfinite().sum() == params[0].numel() - 1


@pytest.mark.parametrize("first", [torch.channels_last, torch.contiguous_format], ids=str)
@pytest.mark.parametrize("second", [torch.channels_last, torch.contiguous_format], ids=str)
def test_layouts_of_weight_gradient_and_loaded_moments_may_differ(first, second):
    torch.manual_seed(0)
    weight, grads = torch.randn(4, 3, 5, 5), torch.randn(4, 4, 3, 5, 5)
    expected = torch.nn.Parameter(weight.clone())
    reference = LAMBC([expected], foreach=False)
    for grad in grads:
        expected.grad = grad
        reference.step()

    before = torch.nn.Parameter(weight.contiguous(memory_format=first))
    optimizer = LAMBC([before], fused=True)
    for grad in grads[:2]:
        before.grad = grad.contiguous(memory_format=second)
        optimizer.step()
    after = torch.nn.Parameter(before.detach().contiguous(memory_format=second))
    resumed = LAMBC([after], fused=True)
    resumed.load_state_dict(optimizer.state_dict())
    for grad in grads[2:]:
        after.grad = grad.contiguous(memory_format=first)
        resumed.step()
    torch.testing.assert_close(after, expected, rtol=1e-5, atol=1e-6)


def test_a_view_and_a_strided_slice_can_be_parameters():
    whole = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    strided = [whole[:, ::2].clone(), whole[:, ::2]]
    for param in strided:
        param.grad = torch.ones_like(param)
        LAMBC([param], fused=True).step()
    torch.testing.assert_close(strided[0], strided[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"foreach": True, "capturable": True}, {"fused": True}, {"foreach": True}], ids=str
)
def test_a_compiled_step_equals_an_eager_one(options):
    params = make_params()
    compiled = copy.deepcopy(params)
    optimizer, other = LAMBC(params, clip=0.5, **options), LAMBC(compiled, clip=0.5, **options)
    step = torch.compile(other.step)
    for seed in range(4):
        give_gradients(params, seed)
        give_gradients(compiled, seed)
        optimizer.step()
        step()
    for a, b in zip(params, compiled, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_lars_counts_and_limits_like_lambc():
    params, reference = make_params(), make_params()
    give_gradients(params, 0)
    for param, other in zip(params, reference, strict=True):
        other.grad = param.grad.clone()
    torch.nn.utils.clip_grad_norm_(reference, 0.5)
    LARS(params, max_grad_norm=0.5, clip=1.0).step()
    LARS(reference, clip=1.0).step()
    for a, b in zip(params, reference, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("path", [{}, *PATHS, {"capturable": True}], ids=str)
def test_a_step_with_a_hook_never_waits_for_the_gpu(path):
    params = [torch.nn.Parameter(param.detach().cuda()) for param in make_params()]
    optimizer = LAMBC(params, weight_decay=0.1, **path)
    seen = torch.zeros(7, len(params), device="cuda")
    optimizer.register_trust_ratio_hook(lambda record: seen.add_(record.table))
    for param in params:
        param.grad = torch.randn_like(param)
    optimizer.step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(100):
            optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert seen.isfinite().all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("path", [{"fused": True}, {"foreach": True, "capturable": True}], ids=str)
def test_a_replayed_cuda_graph_takes_the_same_steps(path):
    params, reference = ([torch.nn.Parameter(p.detach().cuda()) for p in make_params()] for _ in range(2))
    optimizer, other = LAMBC(params, **path), LAMBC(reference, **path)
    for each in (params, reference):
        for param in each:
            param.grad = torch.ones_like(param)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            optimizer.step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    for _ in range(5):
        graph.replay()
    for _ in range(8):
        other.step()
    for a, b in zip(params, reference, strict=True):
        torch.testing.assert_close(a, b)


def test_groups_that_are_put_in_the_place_of_all_others_go_on_with_the_count_of_steps():
    param = torch.nn.Parameter(torch.ones(3))
    param.grad = torch.ones(3)
    optimizer = LAMBC([param])
    for _ in range(5):
        optimizer.step()
    optimizer.param_groups.clear()
    optimizer.add_param_group({"params": [param], "lr": 1e-3})
    optimizer.step()
    assert optimizer.param_groups[0]["step"] == 6
