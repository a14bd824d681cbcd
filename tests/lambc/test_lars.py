"""LARS follows Eq. 2 with the first moment, and takes LAMBC's bounds."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from lambc import LARS
from lambc.bounds import LARC, Fixed

STEPS = 20
SHAPES = [(7,), (6,), (5000,), (3, 5), (4, 3, 2)]
ZERO_WEIGHTS, ZERO_GRADIENTS = 3, 4


class Equation2:
    """One layer in float64, from the paper's Eq. 2 and the definition of m that LAMB's authors give for LARS."""

    def __init__(self, w, *, lr, momentum, weight_decay, clip, trust_coefficient, nesterov):
        self.w, self.m = np.array(w, dtype=np.float64), np.zeros(np.shape(w))
        self.eta, self.beta, self.decay, self.nesterov = lr, momentum, weight_decay, nesterov
        self.coefficient = trust_coefficient
        self.lower, self.upper = 0.0, math.inf
        if clip == LARC():
            self.coefficient, self.upper = trust_coefficient / lr, 1.0
        elif clip is not None:
            self.lower, self.upper = clip

    def step(self, gradient):
        decayed = np.array(gradient, dtype=np.float64) + self.decay * self.w
        self.m = self.beta * self.m + (1 - self.beta) * decayed
        update = self.beta * self.m + (1 - self.beta) * decayed if self.nesterov else self.m
        weight_norm, update_norm = np.sqrt((self.w**2).sum()), np.sqrt((update**2).sum())
        ratio = self.coefficient * weight_norm / update_norm if weight_norm > 0 and update_norm > 0 else 1.0
        clipped = min(max(ratio, self.lower), self.upper)
        self.w = self.w - self.eta * clipped * update
        return weight_norm, update_norm, ratio, clipped


def draw():
    random = np.random.default_rng(0)
    weights = [random.normal(size=shape).astype(np.float32) for shape in SHAPES]
    weights[ZERO_WEIGHTS][:] = 0
    gradients = [
        [(10.0 ** random.uniform(-3, 1) * random.normal(size=shape)).astype(np.float32) for shape in SHAPES]
        for _ in range(STEPS)
    ]
    for step in range(STEPS // 2):
        gradients[step][ZERO_GRADIENTS][:] = 0
    return weights, gradients


@pytest.mark.parametrize(
    ("clip", "weight_decay", "nesterov", "momentum"),
    list(product([None, (0.01, 0.5), LARC()], [0.0, 0.1], [False, True], [0.0, 0.9])),
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=str)
def test_every_combination_of_options_follows_equation_2(clip, weight_decay, nesterov, momentum, dtype, tolerance):
    options = {
        "lr": 0.1,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "clip": clip,
        "trust_coefficient": 0.02,
        "nesterov": nesterov,
    }
    weights, gradients = draw()
    params = [torch.tensor(weight, dtype=dtype) for weight in weights]
    optimizer = LARS(params, **options)
    records = []
    optimizer.register_trust_ratio_hook(lambda record: records.append(record.table[:4].double().numpy()))
    layers = [Equation2(weight, **options) for weight in weights]
    for step in range(STEPS):
        for param, gradient in zip(params, gradients[step], strict=True):
            param.grad = torch.tensor(gradient, dtype=dtype)
        optimizer.step()
        expected = np.transpose([layer.step(g) for layer, g in zip(layers, gradients[step], strict=True)])
        np.testing.assert_allclose(records[step], expected, rtol=max(tolerance, 1e-6) * 10, atol=1e-30)
    for param, layer in zip(params, layers, strict=True):
        assert np.abs(param.double().numpy() - layer.w).max() <= tolerance * np.abs(layer.w).max()


def test_under_larc_no_layer_moves_faster_than_at_the_global_rate():
    params = [torch.nn.Parameter(torch.full((4,), size)) for size in (1e-3, 1.0, 1e3)]
    before = [param.detach().clone() for param in params]
    optimizer = LARS(params, lr=0.1, momentum=0.0, trust_coefficient=0.02, clip=LARC())
    for param in params:
        param.grad = torch.full((4,), 0.5)
    optimizer.step()
    moved = [(was - param.detach()).norm().item() for was, param in zip(before, params, strict=True)]
    expected = [min(0.02 * was.norm().item() / 1.0, 0.1) * 1.0 for was in before]  # ‖u‖ = 1
    assert moved == pytest.approx(expected, rel=1e-3)


def test_larc_is_kept_over_a_state_dict_and_a_rate_of_zero_moves_nothing():
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = LARS([param], lr=0.0, clip=LARC())
    param.grad = torch.ones(3)
    optimizer.step()
    assert (param == 1).all()
    optimizer.load_state_dict(optimizer.state_dict())
    assert isinstance(optimizer.param_groups[0]["clip"], LARC)
    assert optimizer.param_groups[0]["clip"] == LARC() != Fixed(1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"momentum": 1.0}, r"momentum=1.0"), ({"trust_coefficient": 0.0}, r"trust_coefficient=0.0")],
)
def test_an_option_that_makes_no_sense_is_refused_with_its_value(options, message):
    with pytest.raises(ValueError, match=message):
        LARS([torch.nn.Parameter(torch.ones(3))], **options)
