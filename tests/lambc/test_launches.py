"""A step on CUDA has as many launches for many layers as for few: counted without a GPU."""

import pytest
import torch

from lambc import LAMBC, LARS
from lambc.bounds import Deviation
from lambc.steps import together
from tests.lambc.conftest import make_params

STEPS = {
    "default": lambda params: LAMBC(params),
    "decay": lambda params: LAMBC(params, weight_decay=0.1),
    "decay apart": lambda params: LAMBC(params, weight_decay=0.1, decay_in_ratio=False),
    "no correction": lambda params: LAMBC(params, bias_correction=False),
    "gradient norm": lambda params: LAMBC(params, max_grad_norm=1.0, maximize=True),
    "deviation": lambda params: LAMBC(params, clip=Deviation()),
    "masters": lambda params: LAMBC(params, master_weights=True),
    "foreach": lambda params: LAMBC(params, foreach=True, weight_decay=0.1),
    "eps inside": lambda params: LAMBC(params, eps_inside_sqrt=True),
    "LARS": lambda params: LARS(params),
    "Nesterov": lambda params: LARS(params, nesterov=True, weight_decay=0.1, max_grad_norm=1.0),
}


def launches(cuda, make, layers, dtype=torch.float32):
    """How often each operation of a step that a hook looks at is launched."""
    optimizer = make(make_params(layers, dtype))
    optimizer.register_trust_ratio_hook(lambda record: None)
    optimizer.step()  # which makes the state
    cuda.launches.clear()
    optimizer.step()
    return dict(cuda.launches)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [*((kind, torch.float32) for kind in STEPS), *((kind, torch.bfloat16) for kind in ("gradient norm", "masters"))],
    ids=str,
)
def test_without_triton_a_step_of_400_layers_has_the_launches_of_one_of_62(cuda, without_triton, kind, dtype):
    few, many = (launches(cuda, STEPS[kind], layers, dtype) for layers in (62, 400))
    assert few == many
    assert sum(few.values()) < 100


@pytest.mark.parametrize("kind", ["decay", "gradient norm"])
def test_so_has_one_of_the_triton_kernels(cuda, launches_of_triton, kind):
    few, many = (launches(cuda, STEPS[kind], layers) for layers in (62, 400))
    assert few == many
    assert len(launches_of_triton) % 4 == 0
    half = len(launches_of_triton) // 2
    assert launches_of_triton[:half] == launches_of_triton[half:]


def test_one_by_one_is_seen(cuda):
    few, many = (launches(cuda, lambda params: LAMBC(params, foreach=False), layers) for layers in (2, 20))
    assert sum(many.values()) > 5 * sum(few.values())


def test_a_multi_tensor_operation_that_torch_takes_apart_counts_for_each_layer(cuda):
    params = make_params(30)
    torch._foreach_mul_(params, [torch.ones((), device="cuda")] * 30)
    torch._foreach_mul_(params, params)
    assert cuda.launches["_foreach_mul_"] == 30 + 1


@pytest.mark.parametrize("sign", [1, -1])
def test_layers_that_move_together_move_as_each_would_alone(monkeypatch, sign):
    monkeypatch.setattr(together, "ALONE", 2000)
    torch.manual_seed(0)
    shapes = [(), (7,), (0,), (256,), (257,), (4, 3, 3, 3), (50, 50), (3, 2)]
    params = [torch.randn(shape) for shape in shapes]
    params[5] = params[5].contiguous(memory_format=torch.channels_last)
    updates = [torch.randn_like(param) for param in params]
    updates[7] = updates[7].T.contiguous().T  # of another layout than the layer's
    distances = torch.rand(len(shapes))
    alone = [
        param + sign * distance * update for param, update, distance in zip(params, updates, distances, strict=True)
    ]
    together.move_in_few_launches(params, updates, distances, sign)
    torch.testing.assert_close(params, alone)
