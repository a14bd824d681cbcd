"""A training moves here in its middle: from checkpoints of Adam, AdamW, timm's Lamb, apex's FusedLAMB and `over`."""

import copy
import warnings
from functools import partial

import pytest
import timm.optim
import torch
from torch.optim import Adam, AdamW

from lambc import LAMB, LAMBC, LARS, over
from lambc.bounds import Fixed, Quantile, Scheduled
from tests.lambc.test_peers import SHAPES, Apex, Written


def parameters():
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in SHAPES]


def set_gradients(seed, *models):
    generator = torch.Generator().manual_seed(seed)
    grads = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]
    for params in models:
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad.clone()


def steps(params, optimizer, seeds):
    for seed in seeds:
        set_gradients(seed, params)
        optimizer.step()


class ApexLayout:
    """The rule of apex's FusedLAMB, and a state_dict as it saves one: the count of steps lies in the group."""

    def __init__(self, params, weight_decay, max_grad_norm):
        self.rule = Written(params, 1e-3, Apex(max_grad_norm, weight_decay))
        self.step = self.rule.step
        self.options = {"weight_decay": weight_decay, "max_grad_norm": max_grad_norm}

    def state_dict(self):
        state = {
            i: {"exp_avg": m, "exp_avg_sq": v} for i, (m, v) in enumerate(zip(self.rule.m, self.rule.v, strict=True))
        }
        options = {"lr": 1e-3, "bias_correction": True, "betas": (0.9, 0.999), "eps": 1e-6, "grad_averaging": True}
        group = options | self.options | {"step": self.rule.t, "params": list(range(len(state)))}
        return copy.deepcopy({"state": state, "param_groups": [group]})


# What a training moves from, the options of LAMBC that do not lie in its checkpoint, and what the warning says.
MOVES = {
    "adamw": (
        lambda params: AdamW(params, lr=1e-3, weight_decay=0.05),
        {"adapt": False},
        "lr, betas, eps, weight_decay",
    ),
    "adam": (lambda params: Adam(params, lr=1e-3), {"adapt": False}, "are taken from it, clip=None is kept$"),
    "timm": (
        lambda params: timm.optim.Lamb(params, lr=1e-3, weight_decay=0.05, max_grad_norm=0.5),
        {},
        "bias_correction, max_grad_norm are taken from it",
    ),
    "timm-trust-clip": (
        lambda params: timm.optim.Lamb(params, lr=1e-3, trust_clip=True),
        {"clip": 1.0},
        "clip=1.0 is kept, and trust_clip=True is ignored",
    ),
    "apex": (lambda params: ApexLayout(params, 0.05, 0.5), {}, "bias_correction, max_grad_norm are taken from it"),
}


@pytest.mark.parametrize("move", MOVES)
def test_a_training_goes_on_as_if_it_had_stayed(move):
    make, options, said = MOVES[move]
    stayed, moved = parameters(), parameters()
    other = make(stayed)
    steps(stayed, other, range(5))
    with torch.no_grad():
        for param, value in zip(moved, stayed, strict=True):
            param.copy_(value)
    ours = LAMBC(moved, lr=1.0, **{"clip": None, **options})
    with pytest.warns(UserWarning, match=said) as warned:
        ours.load_state_dict(other.state_dict())
    assert len(warned) == 1
    steps(stayed, other, range(5, 10))
    steps(moved, ours, range(5, 10))
    for a, b in zip(moved, stayed, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert ours.param_groups[0]["step"] == 10
    assert not ours.param_groups[0].keys() & {"amsgrad", "trust_clip", "always_adapt", "grad_averaging", "caution"}


@pytest.mark.parametrize(
    ("make", "left"),
    [
        (lambda params: Adam(params, amsgrad=True), "amsgrad=True is ignored"),
        (lambda params: Adam(params, weight_decay=0.1), "decoupled_weight_decay=False is ignored"),
        (lambda params: timm.optim.Lamb(params, caution=True), "caution=True is ignored"),
        (lambda params: timm.optim.Lamb(params, weight_decay=0), "always_adapt=False is ignored"),
        (lambda params: timm.optim.Lamb(params, grad_averaging=False), "grad_averaging=False is ignored"),
        (lambda params: timm.optim.Lamb(params, decoupled_decay=True), "decoupled_decay=True is ignored"),
        (
            lambda params: over(AdamW(params), 2.0, coefficient=0.35, decay="apart"),
            "trust_clip=2.0, trust_coefficient=0.35, trust_decay=apart is ignored",
        ),
    ],
)
def test_what_has_no_counterpart_is_said(make, left):
    params = parameters()
    other = make(params)
    steps(params, other, range(2))
    with pytest.warns(UserWarning, match=left):
        LAMB(params).load_state_dict(other.state_dict())


def test_what_amsgrad_keeps_takes_no_memory_here():
    params = parameters()
    other = Adam(params, amsgrad=True)
    steps(params, other, range(2))
    ours = LAMB(params)
    with pytest.warns(UserWarning, match="amsgrad=True is ignored"):
        ours.load_state_dict(other.state_dict())
    assert {frozenset(state) for state in ours.state.values()} == {frozenset({"step", "exp_avg", "exp_avg_sq"})}


@pytest.mark.parametrize("path", [{}, {"foreach": True}, {"foreach": False}], ids=str)
def test_a_coefficient_of_another_optimizer_changes_no_step(path):
    params = parameters()
    group = {"params": params}
    LARS([group], trust_coefficient=0.1)  # which writes its options into the group
    optimizers = [LAMB([group], **path), LAMB(params, **path)]
    overlaid = over(AdamW(params), coefficient=0.35)
    steps(params, overlaid, range(1))
    with pytest.warns(UserWarning, match="trust_coefficient=0.35 is ignored"):
        optimizers[1].load_state_dict(overlaid.state_dict())
    assert not any(name.startswith("trust_") for name in optimizers[1].param_groups[0])
    for optimizer in optimizers:
        before = params[0].detach().clone()
        steps(params, optimizer, range(1))
        moved = (params[0] - before).norm() / before.norm()
        assert moved.item() == pytest.approx(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("clip", [1.0, None, Scheduled(3.0, 1.0, 4), Quantile(0.5)], ids=str)
def test_a_state_of_ones_own_is_loaded_without_a_word(clip):
    params = parameters()
    optimizer = LAMBC(params, clip=clip)
    steps(params, optimizer, range(2))
    same = Fixed(clip) if clip == 1.0 else clip  # the bound that the number stands for
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LAMBC(params, clip=same).load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize(
    ("saved", "made", "said"),
    [
        (LAMB, LAMBC, "clip=1.0 by clip=None"),
        (LAMBC, LAMB, "clip=None by clip=1.0"),
        (partial(LAMBC, clip=Quantile(0.5)), partial(LAMBC, clip=Quantile(0.75)), ".*q=0.75, .* by .*q=0.5, .*"),
    ],
)
def test_a_bound_that_the_state_replaces_is_said(saved, made, said):
    params = parameters()
    groups = [{"params": params[:1], "clip": 3.0}, {"params": params[1:2]}, {"params": params[2:]}]
    optimizer, other = made(copy.deepcopy(groups)), saved(copy.deepcopy(groups))
    with pytest.warns(UserWarning, match=f"replaces {said}: to keep yours, set") as warned:
        optimizer.load_state_dict(other.state_dict())
    assert len(warned) == 1
    assert warned[0].filename == __file__
    assert [group["clip"] for group in optimizer.param_groups] == [group["clip"] for group in other.param_groups]


@pytest.mark.parametrize("how", ["foreach", "fused", "capturable", "differentiable"])
def test_how_the_other_optimizer_computed_its_steps_is_left_behind(how):
    params = parameters()
    other = AdamW(params)
    steps(params, other, range(1))
    state = other.state_dict()
    state["param_groups"][0][how] = True
    optimizer = LAMBC(params)
    before = optimizer.param_groups[0].get(how)
    with pytest.warns(UserWarning, match="the state_dict is another optimizer's"):
        optimizer.load_state_dict(state)
    assert optimizer.param_groups[0].get(how) == before
