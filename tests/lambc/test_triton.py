"""The Triton kernels: on a GPU where there is one, else on the CPU through Triton's interpreter.

The interpreter has to be asked for before the kernels are defined, so these tests run in a process of their own.
"""

import os
import subprocess
import sys

import pytest
import torch

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
        for step in range(20):
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
print("all the same")
"""


@pytest.mark.slow
def test_the_kernels_take_the_steps_of_the_loop_with_every_option():
    interpreted = {} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, env={**os.environ, **interpreted}
    )
    assert done.stdout.strip() == "all the same", done.stderr
