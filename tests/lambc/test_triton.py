"""The Triton kernels: on a GPU where there is one, else on the CPU through Triton's interpreter.

The interpreter has to be asked for before the kernels are defined, so these tests run in a process of their own.
"""

import os
import subprocess
import sys

import pytest
import torch

from lambc import LAMBC
from lambc.steps import triton

pytest.importorskip("triton")

CODE = """
import copy, math, sys
import torch
from lambc import LAMBC
from lambc.lamb import triton

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
assert triton.usable(device)
SHAPES = [(3, 4), (5000,), (), (0,), (7,), (2, 3, 4, 4), (3,)]
OPTIONS = [
    {},
    {"weight_decay": 0.1, "clip": (0.5, 2.0)},
    {"weight_decay": 0.1, "decay_in_ratio": False, "clip": None},
    {"eps_inside_sqrt": True, "bias_correction": False, "phi": (0.1, 2.0)},
    {"max_grad_norm": 0.1, "maximize": True},
    {"adapt": False},
]

def gradients(params, step, inf=False):
    generator = torch.Generator().manual_seed(step)
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator, dtype=param.dtype).to(device)
    params[-1].grad.zero_()

CASES = [
    (torch.float32, 1e-5, OPTIONS),
    (torch.float64, 1e-12, OPTIONS),
    (torch.float16, 1e-3, [{}, {"master_weights": True}]),
    # Triton's interpreter cuts off what a GPU rounds to bfloat16.
    (torch.bfloat16, 1e-2, [{"master_weights": True}, *([{}] if device.type == "cuda" else [])]),
]
for dtype, tolerance, all_options in CASES:
    for options in all_options:
        torch.manual_seed(0)
        params = [torch.nn.Parameter(torch.randn(shape, dtype=dtype, device=device)) for shape in SHAPES]
        params[5].data = params[5].data.contiguous(memory_format=torch.channels_last)
        reference = copy.deepcopy(params)
        optimizer, loop = LAMBC(params, fused=True, **options), LAMBC(reference, foreach=False, **options)
        assert optimizer._path(optimizer.param_groups[0], device) is triton.PATH
        tables = []
        for each in (optimizer, loop):
            each.register_trust_ratio_hook(lambda record: tables.append(record.table.clone()))
        for step in range(8):
            gradients(params, step)
            gradients(reference, step)
            optimizer.step()
            loop.step()
            ours, theirs = tables[-2:]
            torch.testing.assert_close(ours, theirs, rtol=max(tolerance, 1e-4), atol=1e-7)
        for a, b in zip(params, reference):
            scale = b.abs().max().item() if b.numel() else 0.0
            assert not b.numel() or (a - b).abs().max().item() <= tolerance * scale, (dtype, options)

# Memory with gaps, which the kernels cannot walk.
gaps = []
for path in ({"fused": True}, {"foreach": False}):
    whole = torch.linspace(0.5, 2, 24, device=device).view(3, 8)
    gaps.append(whole[:, ::2])
    optimizer = LAMBC([gaps[-1]], lr=0.1, clip=None, eps=1e-2, eps_inside_sqrt=True, **path)
    gaps[-1].grad = torch.linspace(-0.1, 0.2, 12, device=device).view(3, 4)
    optimizer.step()
torch.testing.assert_close(*gaps)

params = [torch.nn.Parameter(torch.ones(3, device=device))]
optimizer = LAMBC(params, fused=True)
optimizer.found_inf, optimizer.grad_scale = torch.ones((), device=device), torch.ones((), device=device)
params[0].grad = torch.tensor([math.inf, 1.0, math.nan], device=device)
optimizer.step()
assert params[0].tolist() == [1, 1, 1] and optimizer.state[params[0]]["step"] == 0
assert optimizer.state[params[0]]["exp_avg"].tolist() == [0, 0, 0]

# Unaligned: parts of one flat buffer, as local shards may be. Odd sizes: a whole block, one element more, one less.
flat = torch.linspace(-1, 1, 8192, device=device)
pieces = [flat[1:2050].clone(), flat[3:2051], flat[2051:4098], flat[4100:4101], flat[4101:8192]]
ours = [torch.nn.Parameter(piece) for piece in pieces]
theirs = [torch.nn.Parameter(piece.detach().clone()) for piece in pieces]
for params, options in ((ours, {"fused": True}), (theirs, {"foreach": False})):
    optimizer = LAMBC(params, lr=1e-2, weight_decay=0.1, **options)
    for step in range(3):
        gradients(params, step)
        optimizer.step()
torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)

# The launches of a step are as many for many layers as for few.
class Counted:
    launches = 0
    def __init__(self, kernel):
        self.kernel = kernel
    def __getitem__(self, grid):
        Counted.launches += 1
        return self.kernel[grid]
for name in ("_corrections", "_moments", "_norms", "_apply"):
    setattr(triton, name, Counted(getattr(triton, name)))
launches = []
for layers in (2, 30):
    params = [torch.nn.Parameter(torch.ones(4, device=device)) for _ in range(layers)]
    optimizer = LAMBC(params, fused=True)
    gradients(params, 0)
    Counted.launches = 0
    optimizer.step()
    launches.append(Counted.launches)
assert launches == [4, 4], launches
print("all the same")
"""


def test_on_cuda_they_are_the_default_and_leave_what_was_asked_for_to_others():
    cuda = torch.device("cuda")
    taken = {}
    for options in ({}, {"fused": True}, {"fused": False}, {"foreach": True}, {"differentiable": True}):
        optimizer = LAMBC([torch.zeros(3, requires_grad=True)], **options)
        taken[str(options)] = optimizer._path(optimizer.param_groups[0], cuda) is triton.PATH
        counts = optimizer._counts_on_device(optimizer.param_groups[0], cuda)
        assert counts or not taken[str(options)]
    assert list(taken.values()) == [True, True, False, False, False]


@pytest.mark.slow
def test_the_kernels_take_the_steps_of_the_loop_with_every_option():
    interpreted = {} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, env={**os.environ, **interpreted}
    )
    assert done.stdout.strip() == "all the same", done.stderr
