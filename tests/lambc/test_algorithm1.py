"""LAMBC does what Algorithm 1 prints, with every combination of what the paper leaves open."""

from itertools import product

import numpy as np
import pytest
import torch

from lambc import LAMBC
from tests.lambc.algorithm1 import Algorithm1

STEPS = 20
PATHS = [{}, {"foreach": True}, {"foreach": False}]  # Triton's has a test of its own
OPTIONS = {
    "clip": [None, 1.0, (0.5, 2.0)],
    "weight_decay": [0.0, 0.1],
    "phi": [None, (0.1, 3.0)],
    "bias_correction": [True, False],
    "eps_inside_sqrt": [False, True],
    "decay_in_ratio": [True, False],
    "adapt": [True, False],
    "maximize": [False, True],
}
COMBINATIONS = [dict(zip(OPTIONS, values, strict=True)) for values in product(*OPTIONS.values())]
SHAPES = [(), (5000,), (3, 5), (4, 3, 3, 3), (3,), (3,), (6,), (0,)]
MANY_ELEMENTS = [layer for layer, shape in enumerate(SHAPES) if np.prod(shape) > 1]
CHANNELS_LAST, ZERO_WEIGHTS, ZERO_GRADIENTS, ZERO_BOTH = 3, 4, 5, 6


def draw_layers():
    """Weights, and gradients for each step, whose values float32 holds exactly; sizes differ by layer and by step."""
    random = np.random.default_rng(0)
    scales = [10.0 ** random.uniform(-2, 1) for _ in SHAPES]
    weights = [
        (scale * random.normal(size=shape)).astype(np.float32) for scale, shape in zip(scales, SHAPES, strict=True)
    ]
    gradients = [
        [(10.0 ** random.uniform(-4, 2) * random.normal(size=shape)).astype(np.float32) for shape in SHAPES]
        for _ in range(STEPS)
    ]
    for layer in (ZERO_WEIGHTS, ZERO_BOTH):
        weights[layer][:] = 0
    for step in range(STEPS):
        gradients[step][ZERO_BOTH][:] = 0
        if step < STEPS // 2:
            gradients[step][ZERO_GRADIENTS][:] = 0
    return weights, gradients


WEIGHTS, GRADIENTS = draw_layers()
GRADIENT_TENSORS = {
    dtype: [[torch.tensor(gradient, dtype=dtype) for gradient in gradients] for gradients in GRADIENTS]
    for dtype in (torch.float64, torch.float32)
}


def train(dtype, **options):
    """Weights after all steps, and what the hook was shown: [steps, 4, layers]."""
    params = [torch.tensor(weight, dtype=dtype) for weight in WEIGHTS]
    params[CHANNELS_LAST] = params[CHANNELS_LAST].contiguous(memory_format=torch.channels_last)
    optimizer = LAMBC(params, **options)
    records = []
    optimizer.register_trust_ratio_hook(lambda record: records.append(record.table[:4].clone()))
    for gradients in GRADIENT_TENSORS[dtype]:
        for param, gradient in zip(params, gradients, strict=True):
            param.grad = gradient
        optimizer.step()
    return [param.double().numpy() for param in params], torch.stack(records).double().numpy()


def assert_close(got, expected, tolerance, axis=None):
    """Relative to the largest value: float32 promises no more of the small ones."""
    scale = np.abs(expected).max(axis, initial=0.0)
    assert (np.abs(got - expected).max(axis, initial=0.0) <= tolerance * scale).all()


@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda options: "-".join(str(v) for v in options.values()))
def test_every_combination_of_options_follows_algorithm_1(options):
    options = {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-6, **options}
    reference = [Algorithm1(weight, **options) for weight in WEIGHTS]
    expected = np.array(
        [
            np.transpose([layer.step(gradient) for layer, gradient in zip(reference, gradients, strict=True)])
            for gradients in GRADIENTS
        ]
    )
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        for path in PATHS:
            weights, records = train(dtype, **path, **options)
            for got, layer in zip(weights, reference, strict=True):
                assert_close(got, layer.w, tolerance)
            # What the hook is shown is float32, whatever the step was computed in. Where r and λw of a layer of one
            # element cancel, its norm has no correct digits in float32.
            shown = slice(None) if dtype == torch.float64 else MANY_ELEMENTS
            assert_close(records[..., shown], expected[..., shown], max(tolerance, 1e-6), axis=0)
