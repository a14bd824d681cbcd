"""No step waits for the device, and a step has as many launches for many layers as for few: shown without a GPU."""

import pytest
import torch

import lambc
from lambc import LAMBC, LARS
from lambc.bounds import LARC, Deviation, DynamicBound, Quantile, Scheduled
from tests.fake_cuda import WaitsForTheDevice
from tests.lambc.conftest import make_params

PATHS = {
    "fused": {},
    "foreach": {"foreach": True},
    "loop": {"foreach": False},
    "capturable": {"foreach": True, "capturable": True},
    "differentiable": {"differentiable": True},
}
OPTIONS = [
    {},
    {"weight_decay": 0.1, "clip": (0.5, 2.0)},
    {"weight_decay": 0.1, "decay_in_ratio": False, "clip": None},
    {"eps_inside_sqrt": True, "bias_correction": False, "phi": (0.1, 2.0)},
    {"max_grad_norm": 0.1, "maximize": True},
    {"adapt": False},
    {"clip": Scheduled(10, 1, steps=5, curve="cosine")},
    {"clip": DynamicBound(1.0)},
    {"clip": Deviation(per_layer=False), "weight_decay": 0.1},
    {"clip": Quantile()},
    {"master_weights": True, "max_grad_norm": 1.0},
]
OF_LARS = [
    {},
    {"nesterov": True, "weight_decay": 0.1, "phi": (0.1, 2.0)},
    {"clip": LARC(), "max_grad_norm": 1.0, "maximize": True},
    {"clip": Quantile(), "capturable": True},
]


def take_steps(optimizer):
    """Some steps, of which a hook keeps what it is shown."""
    seen = []
    optimizer.register_trust_ratio_hook(lambda record: seen.append(record.table.clone()))
    for _ in range(3):
        optimizer.step()
    assert [table.device.type for table in seen] == ["cuda"] * 3


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_step_never_waits(cuda, without_triton, options, path):
    take_steps(LAMBC(make_params(5), **PATHS[path], **options))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("options", [OPTIONS[1], OPTIONS[-1]], ids=str)
def test_neither_does_one_of_half_precision(cuda, without_triton, options, path):
    take_steps(LAMBC(make_params(5, torch.bfloat16), **PATHS[path], **options))


@pytest.mark.parametrize("path", PATHS)
def test_neither_does_one_at_a_learning_rate_that_lies_there(cuda, without_triton, path):
    lr = torch.full((1,), 1e-2, device="cuda")
    take_steps(LAMBC(make_params(5), lr=lr, **PATHS[path]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("options", OF_LARS, ids=str)
def test_a_step_of_lars_never_waits(cuda, options, dtype):
    take_steps(LARS(make_params(5, dtype), **options))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_neither_does_one_of_a_scaler(cuda, without_triton, options):
    optimizer = LAMBC(make_params(5), fused=True, **options)
    optimizer.grad_scale, optimizer.found_inf = (torch.ones((), device="cuda") for _ in range(2))
    take_steps(optimizer)


def test_neither_does_one_of_groups_and_of_layers_without_a_gradient(cuda, without_triton):
    params = make_params(9)
    params[4].grad = None
    optimizer = LAMBC([{"params": params[:3], "clip": 0.5}, {"params": params[3:], "adapt": False}])
    take_steps(optimizer)


def test_neither_does_what_composer_asks(cuda, without_triton):
    params = make_params(3)
    optimizer = LAMBC(params)
    optimizer.report_per_parameter_metrics(params[0], "first", {})
    optimizer.step()
    assert len(optimizer.report_per_parameter_metrics(params[0], "first", {})) == 4


def test_neither_does_a_ratio_over_another_optimizer(cuda):
    take_steps(lambc.over(torch.optim.SGD(make_params(5), lr=0.1, weight_decay=0.1), clip=Quantile(), decay="in"))


@pytest.mark.parametrize(
    "wait",
    [
        lambda tensor: tensor.item(),
        lambda tensor: float(tensor.sum()),
        lambda tensor: bool(tensor == 1),
        lambda tensor: tensor.cpu(),
        lambda tensor: tensor.tolist(),
        lambda tensor: tensor.to("cpu", non_blocking=True),
        lambda tensor: torch.ones(()).to(tensor.device),
        lambda tensor: torch.tensor(1.0, device=tensor.device),
        lambda tensor: tensor.new_tensor([1.0]),
        lambda tensor: torch.equal(tensor, tensor),
        lambda tensor: torch.empty(()).copy_(tensor),
    ],
    ids=["item", "float", "bool", "cpu", "tolist", "pageable", "to", "tensor", "new_tensor", "equal", "copy_"],
)
def test_a_wait_that_is_put_in_on_purpose_is_found(cuda, without_triton, wait):
    optimizer = LAMBC(make_params(2))
    optimizer.register_trust_ratio_hook(lambda record: wait(record.table[0, 0]))
    with pytest.raises(WaitsForTheDevice):
        optimizer.step()


@pytest.mark.parametrize("wait", [torch.nonzero, lambda table: table[table > 0], torch.unique])
def test_a_size_that_depends_on_values_is_found_too(cuda, without_triton, wait):
    optimizer = LAMBC(make_params(2))
    optimizer.register_trust_ratio_hook(lambda record: wait(record.table))
    with pytest.raises(RuntimeError, match=r"nonzero|unique"):
        optimizer.step()


def test_values_may_be_looked_at_on_the_host(cuda):
    """Or every path that counts steps there would be found to wait."""
    assert torch.tensor([1.0, 2.0]).sum().item() == 3
    assert bool(torch.ones(3).isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_step_of_the_triton_kernels_never_waits(cuda, launches_of_triton, options, dtype):
    optimizer = LAMBC(make_params(5, dtype), fused=True, **options)
    if dtype == torch.float32:
        optimizer.grad_scale, optimizer.found_inf = (torch.ones((), device="cuda") for _ in range(2))
    take_steps(optimizer)
    assert set(launches_of_triton) >= {"_moments", "_norms", "_apply"}
