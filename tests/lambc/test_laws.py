"""Laws that hold for every shape, dtype, option and bound."""

import copy
import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lambc import LAMBC, rule
from lambc.bounds import Deviation, DynamicBound, Fixed, Quantile, Scheduled

PATHS = [{"fused": True}, {"foreach": True}, {"foreach": False}]

shapes = st.lists(st.lists(st.integers(0, 6), max_size=4).map(tuple), min_size=1, max_size=4)
dtypes = st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16])
seeds = st.integers(0, 2**31)
limits = st.tuples(st.floats(0, 10), st.floats(1e-3, 10)).filter(lambda pair: pair[0] <= pair[1])
bounds = st.one_of(
    st.none(),
    limits,
    st.builds(lambda pair: Fixed(pair[1], pair[0]), limits),
    st.builds(Scheduled, st.floats(0.1, 9), st.floats(0.1, 9), st.integers(1, 5),
              st.sampled_from(["linear", "cosine", "exponential"])),
    st.builds(DynamicBound, st.floats(0.1, 9), st.floats(1e-3, 1)),
    st.builds(Deviation, st.floats(0.1, 3), st.floats(0, 0.9), st.booleans()),
    st.builds(Quantile, st.floats(0.05, 0.95), st.floats(0.01, 1)),
)  # fmt: skip
options = st.fixed_dictionaries(
    {
        "lr": st.floats(1e-4, 0.1),
        "betas": st.tuples(st.floats(0, 0.99), st.floats(0, 0.999)),
        "weight_decay": st.sampled_from([0.0, 0.1]),
        "bias_correction": st.booleans(),
        "decay_in_ratio": st.booleans(),
        "phi": st.sampled_from([None, (0.1, 2.0)]),
        "maximize": st.booleans(),
        "max_grad_norm": st.sampled_from([None, 0.5]),
    }
)
paths = st.sampled_from(PATHS)


def make_params(shapes, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in shapes]


def give_gradients(params, seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    for param in params:
        param.grad = (torch.randn(param.shape, generator=generator) * scale).to(param.dtype)


def train(params, optimizer, seeds):
    for seed in seeds:
        give_gradients(params, seed)
        optimizer.step()


norms = st.floats(width=32)


@given(norms.map(abs), norms.map(abs), st.sampled_from([None, (0.125, 2.0)]))
def test_the_rule_in_plain_numbers_is_the_rule_in_tensors(weight_norm, update_norm, phi):
    largest = torch.finfo(torch.float32).max
    number = rule.trust_ratio_of_numbers(weight_norm, update_norm, phi, largest)
    tensor = rule.trust_ratio(torch.tensor(weight_norm), torch.tensor(update_norm), phi)
    torch.testing.assert_close(torch.tensor(number), tensor, rtol=1e-6, atol=1e-44)


@settings(deadline=None, max_examples=60)
@given(shapes, dtypes, options, bounds, paths, seeds)
def test_the_applied_ratio_never_leaves_its_bounds(shapes, dtype, options, clip, path, seed):
    params = make_params(shapes, dtype, seed)
    optimizer = LAMBC(params, clip=clip, **path, **options)

    def check(record):
        assert torch.equal(record.clipped_ratio, record.trust_ratio.clamp(record.lower, record.upper))
        assert (record.lower >= 0).all()
        assert (record.lower <= record.upper).all()
        if isinstance(clip, tuple):
            assert (record.lower == torch.tensor(clip[0])).all()
            assert (record.upper == torch.tensor(clip[1])).all()

    optimizer.register_trust_ratio_hook(check)
    train(params, optimizer, range(4))


@settings(deadline=None, max_examples=40)
@given(shapes, options, paths, seeds, st.sampled_from([1e-3, 0.125, 8.0, 1e3]))
def test_the_first_step_does_not_depend_on_the_size_of_the_gradients(shapes, options, path, seed, factor):
    options = {**options, "max_grad_norm": None, "bias_correction": True, "eps": 1e-30}
    params = make_params(shapes, torch.float64, seed)
    scaled = copy.deepcopy(params)
    for each, scale in ((params, 1.0), (scaled, factor)):
        give_gradients(each, seed, scale)
        LAMBC(each, **path, **options).step()
    for a, b in zip(params, scaled, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(shapes, dtypes, options, paths, seeds)
def test_no_clipping_equals_an_infinite_bound(shapes, dtype, options, path, seed):
    params = make_params(shapes, dtype, seed)
    bounded = copy.deepcopy(params)
    train(params, LAMBC(params, clip=None, **path, **options), range(3))
    train(bounded, LAMBC(bounded, clip=math.inf, **path, **options), range(3))
    assert all(torch.equal(a, b) for a, b in zip(params, bounded, strict=True))


@settings(deadline=None, max_examples=30)
@given(shapes, dtypes, options, bounds, paths, seeds)
def test_a_first_step_at_zero_gradients_without_decay_moves_nothing(shapes, dtype, options, clip, path, seed):
    params = make_params(shapes, dtype, seed)
    before = copy.deepcopy(params)
    for param in params:
        param.grad = torch.zeros_like(param)
    LAMBC(params, clip=clip, **path, **{**options, "weight_decay": 0.0}).step()
    assert all(torch.equal(a, b) for a, b in zip(params, before, strict=True))


@settings(deadline=None, max_examples=40)
@given(shapes, dtypes, options, bounds, paths, seeds)
def test_resuming_from_a_state_dict_equals_not_having_stopped(shapes, dtype, options, clip, path, seed):
    straight = make_params(shapes, dtype, seed)
    stopped = copy.deepcopy(straight)
    train(straight, LAMBC(straight, clip=clip, **path, **options), range(5))
    optimizer = LAMBC(stopped, clip=clip, **path, **options)
    train(stopped, optimizer, range(2))
    resumed = LAMBC(stopped, clip=clip)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(stopped, resumed, range(2, 5))
    assert all(torch.equal(a, b) for a, b in zip(straight, stopped, strict=True))
