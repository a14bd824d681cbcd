"""torch.set_default_device and torch.set_default_dtype change nothing of a step.

On a machine without an accelerator the device 'meta' shows each tensor that lands where it should not: it has no data.
"""

import copy
from contextlib import contextmanager

import pytest
import torch

from lambc import LAMBC, LARS
from lambc.bounds import LARC, Deviation, DynamicBound, Quantile, Scheduled
from lambc.steps import triton

LAMBC_OPTIONS = [
    {"fused": True},
    {"foreach": True},
    {"foreach": False},
    {"capturable": True},
    {"lr": torch.tensor([1e-2])},
    {"max_grad_norm": 0.1, "clip": (0.1, 1)},
    {"eps_inside_sqrt": True, "phi": (0.1, 0.2)},
    {"bias_correction": False, "weight_decay": 0.1, "decay_in_ratio": False},
    *({"clip": bound} for bound in (Scheduled(9, 1, 5, "cosine"), DynamicBound(1), Deviation(), Quantile())),
]
OPTIMIZERS = [(LAMBC, options) for options in LAMBC_OPTIONS]
OPTIMIZERS += [(LARS, {"weight_decay": 0.1}), (LARS, {"clip": LARC(), "nesterov": True, "max_grad_norm": 0.1})]
DEFAULTS = [("meta", torch.float32), ("cpu", torch.float64), ("cpu", torch.bfloat16)]


@contextmanager
def defaults(device, dtype):
    torch.set_default_device(device)
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)


def train(optimizer_class, options, device, dtype, model_dtype=torch.float32, amp=False):
    """Weights, the hook's tables and all of the state after steps with a checkpoint between them."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 3)).to(model_dtype)
    images = torch.randn(16, 6, dtype=model_dtype)
    found = [torch.zeros((), dtype=torch.float32), torch.ones((), dtype=torch.float32)]
    options = copy.deepcopy(options)
    tables = []
    with defaults(device, dtype):
        optimizer = optimizer_class(model.named_parameters(), **options)
        optimizer.register_trust_ratio_hook(lambda record: tables.append(record.table.clone()))
        for turn in range(4):
            optimizer.zero_grad()
            model(images).square().mean().backward()
            if amp:
                optimizer.found_inf = found[turn % 2]
            optimizer.step()
            optimizer.load_state_dict(optimizer.state_dict())
    state = [value for each in optimizer.state.values() for value in each.values()]
    assert {each["step"].dtype for each in optimizer.state.values()} == {torch.float32}
    return [*(param.detach() for param in model.parameters()), *tables, *state]


def assert_same(expected, found):
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(b, a, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(("device", "dtype"), DEFAULTS, ids=str)
@pytest.mark.parametrize(("optimizer_class", "options"), OPTIMIZERS, ids=str)
def test_a_step_is_what_it_is_without(optimizer_class, options, device, dtype):
    expected = train(optimizer_class, options, "cpu", torch.float32)
    assert_same(expected, train(optimizer_class, options, device, dtype))


@pytest.mark.parametrize(("device", "dtype"), DEFAULTS, ids=str)
def test_masters_of_half_precision_stay_float32(device, dtype):
    arguments = (LAMBC, {"master_weights": True}), torch.bfloat16
    expected = train(*arguments[0], "cpu", torch.float32, arguments[1])
    assert_same(expected, train(*arguments[0], device, dtype, arguments[1]))


@pytest.mark.parametrize(("device", "dtype"), DEFAULTS, ids=str)
def test_the_learning_rate_of_a_step_that_amp_may_skip_is_told_in_full(device, dtype):
    expected = train(LAMBC, {"fused": True}, "cpu", torch.float32, amp=True)
    assert_same(expected, train(LAMBC, {"fused": True}, device, dtype, amp=True))


@pytest.mark.parametrize(("device", "dtype"), DEFAULTS, ids=str)
def test_a_count_that_was_saved_as_a_number_is_restored(device, dtype):
    optimizer = LAMBC(torch.nn.Linear(2, 2).named_parameters())
    for group in optimizer.param_groups:
        for param in group["params"]:
            param.grad = torch.ones_like(param)
    optimizer.step()
    state_dict = optimizer.state_dict()
    for state in state_dict["state"].values():
        state["step"] = 257  # bfloat16 has 256 and 258
    with defaults(device, dtype):
        optimizer.load_state_dict(state_dict)
        optimizer.step()
    assert {float(state["step"]) for state in optimizer.state.values()} == {258.0}


def test_the_triton_kernels_find_their_tables_on_the_device_of_the_layers():
    # These make the tables; TRITON_INTERPRET=1 runs this file through the kernels, too.
    with defaults("meta", torch.float32):
        made = [
            triton._integers((1, 3), torch.device("cpu")),
            triton._numbers((0.5, 3.5), torch.device("cpu"), torch.float64),
            *triton._blocks((5000, 3), torch.device("cpu")),
        ]
    assert [table.tolist() for table in made] == [[1, 3], [0.5, 3.5], [0, 0, 0, 1], [0, 3, 4]]
