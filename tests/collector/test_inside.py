"""The optimizer that takes the steps is found in whatever holds it, and is recorded whatever is done to its `step`."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LinearLR, OneCycleLR, ReduceLROnPlateau

from collector import Collector
from collector.recording.inside import optimizers_inside
from lambc import LAMBC

OPTIMIZERS = {"LAMBC": LAMBC, "AdamW": torch.optim.AdamW, "SGD": torch.optim.SGD}


def params(count: int = 1) -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(2)) for _ in range(count)]


def wrapper(attribute: str, held, **more):
    """Something with an optimizer's two public parts, which keeps `held` under a name."""
    groups = held.param_groups if hasattr(held, "param_groups") else []
    return SimpleNamespace(**{attribute: held, "param_groups": groups, "step": None} | more)


A, B = torch.optim.AdamW(params()), LAMBC(params())
BOTH = [{"params": [*A.param_groups[0]["params"], *B.param_groups[0]["params"]]}]


@pytest.mark.parametrize(
    ("given", "inside"),
    [
        (A, [A]),
        (B, [B]),
        ([A, B], [A, B]),
        ((B, A), [B, A]),
        ({"a": A, "b": B}, [A, B]),
        ([A, [B, A]], [A, B]),
        (wrapper("optimizer", A), [A]),
        (wrapper("_optimizer", A), [A]),
        (wrapper("base_optimizer", B), [B]),
        (wrapper("original_optimizer", wrapper("optim", B)), [B]),
        ([wrapper("optimizer", A), wrapper("optimizer", B)], [A, B]),
        ([wrapper("optimizer", A), A], [A]),
        (wrapper("optimizers", [A, B], param_groups=BOTH), [A, B]),
        (wrapper("chained_optimizers", (B, A), param_groups=BOTH), [B, A]),
        (wrapper("_optimizers", {"w": A}), [A]),
    ],
)
def test_what_takes_the_steps_is_found(given, inside):
    assert [*map(id, optimizers_inside(given))] == [*map(id, inside)]


def test_a_generator_of_wrappers_gives_them_all():
    optimizers = [torch.optim.AdamW(params()) for _ in range(20)]
    found = optimizers_inside(wrapper("optimizer", each) for each in optimizers)
    assert [*map(id, found)] == [*map(id, optimizers)]


@pytest.mark.parametrize("held", [A, None, torch.optim.AdamW, "adamw"])
def test_an_optimizer_is_taken_itself_where_it_holds_but_a_part_or_none(held):
    optimizer = torch.optim.SGD(params(2), lr=0.1)
    optimizer.optimizer = held
    assert optimizers_inside(optimizer) == [optimizer]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([], ValueError, r"optimizer=\[\]: give an optimizer"),
        (None, TypeError, "NoneType is no torch.optim.Optimizer"),
        ("adamw", TypeError, "str is no torch.optim.Optimizer"),
        (torch.optim.AdamW, TypeError, "the class AdamW is no"),
        (nn.Linear(2, 2), TypeError, "Linear is no torch.optim.Optimizer"),
        (nn.Linear(2, 2).parameters(), TypeError, "Parameter is no torch.optim.Optimizer"),
        (torch.ones(3), TypeError, "Tensor is no torch.optim.Optimizer"),
        ([A, nn.Linear(2, 2)], TypeError, "Linear is no torch.optim.Optimizer"),
        (LinearLR(A), TypeError, "LinearLR is no torch.optim.Optimizer"),
        (wrapper("inner", A), TypeError, "SimpleNamespace is no torch.optim.Optimizer"),
    ],
)
def test_what_is_no_optimizer_is_an_error_that_names_it(given, error, message):
    with pytest.raises(error, match=message):
        optimizers_inside(given)


def test_wrappers_that_hold_each_other_are_an_error():
    first = wrapper("optimizer", A)
    first.optimizer = wrapper("optimizer", first)
    with pytest.raises(ValueError, match="give an optimizer"):
        optimizers_inside(first)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("scheduled", ["before", "after"])
@pytest.mark.parametrize(
    "new_scheduler",
    [LinearLR, ReduceLROnPlateau, lambda optimizer: OneCycleLR(optimizer, 0.1, total_steps=9)],
    ids=["LinearLR", "ReduceLROnPlateau", "OneCycleLR"],
)
def test_schedulers_may_patch_step_before_and_after(tmp_path, steps_of, kind, scheduled, new_scheduler):
    weight = nn.Parameter(torch.ones(2))
    options = {"momentum": 0.9} if kind == "SGD" else {}
    optimizer = OPTIMIZERS[kind]([("w", weight)], lr=0.1, **options)
    scheduler = new_scheduler(optimizer) if scheduled == "before" else None
    with Collector(optimizer, tmp_path, name="r") as collector:
        scheduler = scheduler or new_scheduler(optimizer)
        for _ in range(4):
            weight.grad = torch.ones(2)
            optimizer.step()
            scheduler.step(1.0) if isinstance(scheduler, ReduceLROnPlateau) else scheduler.step()
    assert steps_of(collector.folder, "w") == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_step_that_grad_scaler_skips_is_none(tmp_path, steps_of, kind):
    weight = nn.Parameter(torch.ones(2))
    optimizer = OPTIMIZERS[kind]([("w", weight)], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    LinearLR(optimizer)
    with Collector(optimizer, tmp_path, name="r") as collector:
        for overflows in (False, True, False):
            optimizer.zero_grad()
            scaler.scale((weight * (torch.inf if overflows else 1)).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        assert collector.step == 2
    assert steps_of(collector.folder, "w") == [1, 2]
