"""Clip bounds: their limits over time, their state, and their place in a state_dict."""

import io
import math
from dataclasses import FrozenInstanceError, dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lambc import LAMBC, over
from lambc.bounds import EXEMPT, LARC, Deviation, DynamicBound, Fixed, Quantile, Scheduled

BOUNDS = [
    Fixed(0.5, lower=0.1),
    Scheduled(4.0, 0.25, steps=6, curve="cosine", lower=0.1),
    DynamicBound(0.5, gamma=0.1),
    Deviation(1.0, beta=0.5),
    Deviation(1.0, beta=0.5, per_layer=False),
    Quantile(0.5, rate=0.2),
]


@dataclass(frozen=True)
class Ceiling:
    """The example of the module's docstring."""

    share: float = 0.5
    state: ClassVar = {"largest": 0.0}

    def limits(self, state):
        largest = state["largest"]
        return 0.0, torch.where(largest > 0, self.share * largest, math.inf)

    def learn(self, state, ratio, usable):
        return {"largest": torch.where(usable, torch.maximum(state["largest"], ratio), state["largest"])}


def limits_after(bound, ratios):
    """The bound's limits before each step, for a layer whose unclipped ratios are `ratios`; [steps + 1, 2]."""
    state = {name: torch.tensor([value]) for name, value in bound.state.items()}
    limits = []
    for ratio in ratios:
        limits.append(bound.limits(state))
        usable = torch.tensor([ratio is not None])
        state = {**state, **bound.learn(state, torch.tensor([1.0 if ratio is None else ratio]), usable)}
    limits.append(bound.limits(state))
    return np.array([[float(lower), float(upper)] for lower, upper in limits])


def make_optimizer(clip, layers=3, **options):
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(4, 3) * 10**index) for index in range(layers)]
    return params, LAMBC(params, clip=clip, **options)


def train(params, optimizer, steps):
    """Steps on gradients that depend on the step alone; returns what the hook was shown."""
    records = []
    handle = optimizer.register_trust_ratio_hook(lambda record: records.append(record.table.clone()))
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for param in params:
            param.grad = torch.randn(param.shape, generator=generator).to(param.dtype)
        optimizer.step()
    handle.remove()
    return records


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ("linear", lambda x: 8 + (2 - 8) * x),
        ("cosine", lambda x: 2 + (8 - 2) * (1 + math.cos(math.pi * x)) / 2),
        ("exponential", lambda x: 8 * (2 / 8) ** x),
    ],
)
def test_a_schedule_goes_from_start_to_end_and_stays(curve, expected):
    limits = limits_after(Scheduled(8.0, 2.0, steps=4, curve=curve, lower=0.5), [1.0] * 7)
    assert limits[:, 0].tolist() == [0.5] * 8
    assert limits[:, 1] == pytest.approx([expected(min(step / 4, 1)) for step in range(8)])


def test_adabounds_limits_close_around_the_final_value():
    limits = limits_after(DynamicBound(final=0.5, gamma=0.1), [1.0] * 3)
    t = np.arange(1, 5)
    assert limits[:, 0] == pytest.approx(0.5 * (1 - 1 / (0.1 * t + 1)))
    assert limits[:, 1] == pytest.approx(0.5 * (1 + 1 / (0.1 * t)))


def test_deviations_are_those_of_the_ratios_seen_and_none_are_known_at_first():
    ratios = [1.0, 3.0, 2.0, 4.0]
    limits = limits_after(Deviation(n=1.5, beta=0.75), ratios)
    assert limits[:4].tolist() == [[0.0, math.inf]] * 4  # up to 1 / (1 - beta) ratios
    mean, std = np.mean(ratios), np.std(ratios)
    assert limits[4] == pytest.approx([mean - 1.5 * std, mean + 1.5 * std])


def test_a_fallback_teaches_a_deviation_and_a_quantile_nothing():
    for bound in (Deviation(beta=0.5), Quantile()):
        with_gaps = limits_after(bound, [2.0, None, 3.0, None, 2.5, None])
        without = limits_after(bound, [2.0, 3.0, 2.5])
        assert with_gaps[-1] == pytest.approx(without[-1])


@settings(deadline=None, max_examples=20)
@given(st.floats(0.5, 0.95), st.floats(0.01, 100.0), st.integers(0, 2**31))
def test_a_quantile_clips_about_the_share_it_was_asked_for(q, scale, seed):
    ratios = scale * np.exp(np.random.default_rng(seed).normal(size=1500))
    upper = limits_after(Quantile(q, rate=0.05), ratios.tolist())[:-1, 1]
    assert np.mean(ratios[200:] > upper[200:]) == pytest.approx(1 - q, abs=0.06)


@pytest.mark.parametrize("bound", BOUNDS, ids=str)
@pytest.mark.parametrize("path", [{"fused": True}, {"foreach": True}, {"foreach": False}], ids=str)
def test_the_ratio_that_is_used_lies_within_the_bound_that_is_recorded(bound, path):
    params, optimizer = make_optimizer(bound, **path)
    for record in train(params, optimizer, range(30)):
        ratio, clipped, lower, upper = record[2:6]
        assert torch.equal(clipped, ratio.clamp(lower, upper))


@pytest.mark.filterwarnings("ignore:the state_dict replaces clip")  # tests/lambc/test_moving.py
@pytest.mark.parametrize("bound", BOUNDS, ids=str)
def test_a_bound_goes_on_from_a_state_dict_where_it_stood(bound):
    straight, optimizer = make_optimizer(bound)
    expected = train(straight, optimizer, range(12))[6:]

    stopped, optimizer = make_optimizer(bound)
    train(stopped, optimizer, range(6))
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    loaded = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    resumed, optimizer = make_optimizer(None)
    for param, saved in zip(resumed, stopped, strict=True):
        param.data.copy_(saved)
    optimizer.load_state_dict(loaded)
    assert optimizer.param_groups[0]["clip"] == bound
    assert torch.equal(torch.stack(train(resumed, optimizer, range(6, 12))), torch.stack(expected))


def test_a_bound_of_the_users_own_clips_and_is_kept_over_a_state_dict():
    params, optimizer = make_optimizer(Ceiling(0.5))
    records = train(params, optimizer, range(5))
    largest = torch.stack([record[2] for record in records]).cummax(dim=0).values
    assert records[0][5].tolist() == [math.inf] * 3
    for record, seen in zip(records[1:], largest, strict=False):
        assert torch.equal(record[5], 0.5 * seen)

    _, other = make_optimizer(Ceiling(0.25))
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["clip"] == Ceiling(0.25)
    assert other.state[other.param_groups[0]["params"][0]]["clip_largest"] == largest[-1, 0]
    _, without = make_optimizer(1.0)
    with pytest.raises(ValueError, match="saved with the clip bound Ceiling: make the optimizer with clip=Ceiling"):
        without.load_state_dict(optimizer.state_dict())


def test_layers_may_each_have_a_bound_of_their_own():
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(4)) for _ in range(3)]
    clips = [Scheduled(2.0, 1.0, steps=2), None, 0.25]
    optimizer = LAMBC([{"params": [param], "clip": clip} for param, clip in zip(params, clips, strict=True)])
    records = train(params, optimizer, range(3))
    assert [record[5].tolist() for record in records] == [
        [2.0, math.inf, 0.25],
        [1.5, math.inf, 0.25],
        [1.0, math.inf, 0.25],
    ]


@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("per_layer", [True, False])
@pytest.mark.parametrize("huge", [2e20, 3e38, math.inf])  # Inf: a float64 ratio that float32 does not hold
@pytest.mark.parametrize("before", [[], [1.0]], ids=["first", "later"])
def test_a_huge_ratio_is_forgotten_in_time(beta, per_layer, huge, before):
    limits = limits_after(Deviation(n=2.0, beta=beta, per_layer=per_layer), [*before, huge, *[1.0] * 200])
    assert not np.isnan(limits).any()
    assert limits[-1] == pytest.approx([1.0, 1.0])


def by_over(params, clip):
    return over(torch.optim.SGD(params, lr=0.1), clip=clip), "trust_clip"


@pytest.mark.parametrize(
    "make", [lambda params, clip: (LAMBC(params, clip=clip), "clip"), by_over], ids=["own", "over"]
)
def test_a_bound_that_is_set_again_counts_from_its_first_step(make):
    params, _ = make_optimizer(None)
    optimizer, option = make(params, None)
    uppers = []
    for first, clip in ((0, None), (3, Scheduled(8.0, 2.0, steps=6)), (5, None), (7, Scheduled(8.0, 2.0, steps=6))):
        optimizer.param_groups[0][option] = clip
        uppers += [record[5, 0].item() for record in train(params, optimizer, range(first, first + 2))]
    assert uppers == [*[math.inf] * 2, 8.0, 7.0, *[math.inf] * 2, 8.0, 7.0]


def test_the_bound_of_a_group_may_be_changed_in_mid_training():
    params, optimizer = make_optimizer(10.0)
    train(params, optimizer, range(2))
    optimizer.param_groups[0]["clip"] = Deviation(beta=0.5)
    optimizer.param_groups[0]["clip"], _ = 0.5, train(params, optimizer, range(2, 4))
    assert (train(params, optimizer, range(4, 5))[0][5] == 0.5).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Scheduled(1.0, math.inf, steps=3), "a curve needs finite ends"),
        (lambda: Scheduled(1.0, 2.0, steps=0), "steps=0"),
        (lambda: Scheduled(1.0, 2.0, steps=3, curve="step"), "curve='step'"),
        (lambda: Scheduled(1.0, 2.0, steps=3, lower=1.5), "the lower bound is above the upper one"),
        (lambda: DynamicBound(final=0.0), r"final=0.0"),
        (lambda: DynamicBound(final=1.0, gamma=math.nan), r"gamma=nan"),
        (lambda: Deviation(n=0.0), r"n=0.0"),
        (lambda: Deviation(beta=1.0), r"beta=1.0"),
        (lambda: Quantile(q=1.0), r"q=1.0"),
        (lambda: Quantile(rate=0.0), r"rate=0.0"),
        (lambda: make_optimizer(LARC()), r"only LARS can"),
    ],
)
def test_a_bound_that_makes_no_sense_is_refused_with_its_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_defaults_are_those_that_are_documented():
    assert Deviation() == Deviation(n=2.0, beta=0.99, per_layer=True)
    assert Quantile() == Quantile(q=0.95, rate=0.05)
    assert DynamicBound(1.0) == DynamicBound(final=1.0, gamma=1e-3)
    assert Scheduled(2.0, 1.0, 5) == Scheduled(start=2.0, end=1.0, steps=5, curve="linear", lower=0.0)
    assert Fixed(1.0) == Fixed(upper=1.0, lower=0.0)


def test_an_exempt_layer_has_the_ratio_1_between_bounds_of_1():
    assert EXEMPT.limits({}) == (1.0, 1.0)


@pytest.mark.parametrize("bound", [Fixed(1.0), Scheduled(2.0, 1.0, 5), DynamicBound(1.0), Deviation(), Quantile()])
def test_a_bound_cannot_be_changed_in_place(bound):
    with pytest.raises(FrozenInstanceError):
        bound.lower = 0.5


def test_an_upper_bound_of_0_is_refused():
    with pytest.raises(ValueError, match="the upper bound is not above 0"):
        Fixed(0.0)
