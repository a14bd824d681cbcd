"""A CUDA device without values, for the tests of what a step does there."""

import warnings

import pytest
import torch

from lambc.steps import together, triton
from tests.fake_cuda import FakeCuda

TABLES = (triton._integers, triton._numbers, triton._blocks, together._rows)
"""What is kept from step to step, and so from one mode to the next."""


@pytest.fixture
def cuda():
    for table in TABLES:
        table.cache_clear()
    with FakeCuda() as mode:
        yield mode
    for table in TABLES:
        table.cache_clear()


@pytest.fixture
def without_triton(monkeypatch):
    monkeypatch.setattr(triton, "usable", lambda device: False)


def make_params(layers, dtype=torch.float32):
    """On the device, of three shapes, with gradients; no leaves of autograd's, which a differentiable step refuses."""
    shapes = [(4, 3, 3, 3), (7,), ()]
    params = [torch.ones(shapes[layer % 3], dtype=dtype, device="cuda") for layer in range(layers)]
    for param in params:
        param.grad = torch.ones_like(param)
    return params


@pytest.fixture
def launches_of_triton(monkeypatch, recwarn):
    """The names of the kernels that would be launched; their tables of addresses hold zeros."""
    compiler = pytest.importorskip("triton.runtime.jit")
    launched = []
    monkeypatch.setattr(compiler.JITFunction, "run", lambda kernel, *_, **__: launched.append(kernel.__name__))
    warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
    return launched
