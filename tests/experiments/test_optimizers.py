"""Which optimizer a run gets, with which groups, bounds and rates."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from lambc import LAMBC, LARS, bounds
from lambc.experiments.optimizers import make_optimizer
from lambc.experiments.scoring import learning_rate
from lambc.experiments.settings import Settings


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))


def made(steps=100, **settings):
    return make_optimizer(Settings(**settings), model().named_parameters(), steps)


@pytest.mark.parametrize(
    ("clip", "bound"),
    [
        (None, None),
        (2, 2),
        ((0.5, 3.0), (0.5, 3.0)),
        ("scheduled:10:1", bounds.Scheduled(10, 1, 100)),
        ("scheduled:10:1:7", bounds.Scheduled(10, 1, 7)),
        ("dynamic:1", bounds.DynamicBound(1)),
        ("dynamic:1:0.5", bounds.DynamicBound(1, 0.5)),
        ("deviation:3", bounds.Deviation(3)),
        ("deviation:3:0.9", bounds.Deviation(3, 0.9)),
        ("quantile:0.9:0.1", bounds.Quantile(0.9, 0.1)),
    ],
    ids=str,
)
def test_a_text_is_the_bound_that_it_spells(clip, bound):
    (group,) = made(clip=clip).param_groups
    assert bounds.as_bound(group["clip"]) == bounds.as_bound(bound)


def test_each_rule_has_its_optimizer_and_settings():
    lamb = made(weight_decay=0.1, lr=2e-3, bias_correction=False)
    assert isinstance(lamb, LAMBC)
    options = lamb.param_groups[0]
    assert (options["lr"], options["weight_decay"], options["bias_correction"]) == (2e-3, 0.1, False)
    lars = made(rule="lars", clip="larc", lr=2e-3, weight_decay=0.1)
    assert isinstance(lars, LARS)
    assert isinstance(lars.param_groups[0]["clip"], bounds.LARC)
    adamw = made(rule="adamw", clip=None, lr=2e-3, weight_decay=0.1)
    assert isinstance(adamw, AdamW)
    assert (adamw.defaults["lr"], adamw.defaults["weight_decay"]) == (2e-3, 0.1)


def test_tensors_of_one_dimension_have_a_bound_of_their_own():
    others, of_1d = made(clip="1-d:10,other:deviation:2").param_groups
    assert others["param_names"] == ["0.weight", "2.weight"]
    assert others["clip"] == bounds.Deviation(2)
    assert of_1d["param_names"] == ["0.bias", "1.weight", "1.bias", "2.bias"]
    assert of_1d["clip"] == 10
    assert of_1d["adapt"]


@pytest.mark.parametrize("rule", ["lamb", "lars"])
def test_tensors_of_one_dimension_can_be_exempt(rule):
    network = model()
    optimizer = make_optimizer(Settings(rule=rule, exempt_1d=True, clip=0.5), network.named_parameters())
    seen = []
    optimizer.register_trust_ratio_hook(lambda record: seen.append((record.layers, record.clipped_ratio.tolist())))
    network(torch.randn(4, 6)).square().sum().backward()
    optimizer.step()
    ((layers, ratios),) = seen
    used = dict(zip(layers, ratios, strict=True))
    assert [used[name] for name in ("0.bias", "1.weight", "1.bias", "2.bias")] == [1, 1, 1, 1]
    assert used["0.weight"] <= 0.5


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"clip": "scheduled:1:0"}, "end=0.0: the upper bound is not above 0"),
        ({"clip": "scheduled:10:1:2.5"}, r"clip='scheduled:10:1:2.5': STEPS is 2.5, but .* whole"),
        ({"clip": "dynamic:-1"}, r"DynamicBound\(final=-1.0\)"),
        ({"clip": "deviation:3:1"}, r"Deviation\(beta=1.0\)"),
        ({"clip": "1-d:1,other:3,2"}, "the lower bound is above the upper one"),
        ({"clip": "larc"}, "only LARS can"),
        ({"rule": "lars", "lr": math.inf}, "lr=inf"),
        ({"rule": "adamw", "clip": None, "lr": -1.0}, "-1.0"),
    ],
    ids=str,
)
def test_numbers_that_make_no_sense_are_said(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        made(**settings)


def test_the_rate_grows_by_equal_parts_over_the_warm_up_and_stays():
    run = Settings(lr=0.1, warmup_epochs=2, epochs=3)
    rates = [learning_rate(run, step, steps_per_epoch=5) for step in range(1, 16)]
    assert rates == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, *[0.1] * 6])
    assert learning_rate(replace(run, warmup_epochs=0), 1, 5) == 0.1
    assert [learning_rate(replace(run, warmup_epochs=0.5), step, 5) for step in (1, 2, 3)] == [0.04, 0.08, 0.1]
