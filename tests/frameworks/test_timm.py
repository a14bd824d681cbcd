"""timm's optimizers: its Lookahead is a wrapper, its factory makes groups without names, and makes ours, too."""

from copy import deepcopy

import pytest
import torch
from timm.optim import Lookahead, create_optimizer_v2

from collector import Collector, connect
from lambc import LAMB, LAMBC, LARS
from tests.frameworks.training import (
    LAYERS,
    OPTIMIZERS,
    OUTCOMES,
    Model,
    batches,
    loss_of,
    outcomes_in,
    steps_in,
    steps_taken,
    whole_log,
)


def train(model, optimizer, scheduler=None, count=4):
    for features in batches(count):
        optimizer.zero_grad()
        loss_of(model(features)).backward()
        optimizer.step()
        if scheduler:
            scheduler.step()


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("scheduled", ["before", "after", "never"])
def test_lookahead_is_recorded_by_the_steps_of_what_it_holds(tmp_path, kind, scheduled):
    model = Model()
    inner = OPTIMIZERS[kind](model.parameters())
    lookahead = Lookahead(inner, k=2)
    scheduler = torch.optim.lr_scheduler.LinearLR(lookahead) if scheduled == "before" else None
    with Collector(lookahead, tmp_path, name="r", model=model) as collector:
        scheduler = torch.optim.lr_scheduler.LinearLR(lookahead) if scheduled == "after" else scheduler
        train(model, lookahead, scheduler)
        assert collector.step == steps_taken(inner) == 4
    assert steps_in(tmp_path) == whole_log(4)
    assert outcomes_in(tmp_path) == OUTCOMES[kind]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_lookahead_that_resumes_has_every_row_once(tmp_path, kind):
    model = Model()
    lookahead = Lookahead(OPTIMIZERS[kind](model.parameters()), k=2)
    with Collector(lookahead, tmp_path, name="r", model=model):
        train(model, lookahead, count=3)
        saved = deepcopy(lookahead.state_dict())
        train(model, lookahead, count=2)
    model = Model()
    lookahead = Lookahead(OPTIMIZERS[kind](model.parameters()), k=2)
    lookahead.load_state_dict(saved)
    with Collector(lookahead, tmp_path, name="r", model=model, resume=True):
        train(model, lookahead, count=1)
    assert steps_in(tmp_path) == whole_log(4)


@pytest.mark.parametrize("name", ["adamw", "lamb", "lambc", "lookahead_adamw", "muon", "sgd"])
def test_the_factorys_groups_get_the_models_names(tmp_path, name):
    model = Model()
    optimizer = create_optimizer_v2(model, name, lr=1e-2, weight_decay=0.1)
    with Collector(optimizer, tmp_path, name="r", model=model):
        train(model, optimizer)
    assert steps_in(tmp_path) == whole_log(4)
    assert [layer for (layer,) in connect(tmp_path).sql("SELECT layer FROM layers ORDER BY position").fetchall()] == [
        *LAYERS
    ]


OURS = {"lambc.lambc": LAMBC, "lambc.lamb": LAMB, "lambc.lars": LARS}


@pytest.fixture
def registered(recwarn):
    """timm's registry with our optimizers, in which it is as before after the test."""
    from timm.optim._optim_factory import default_registry

    from lambc.integrations.timm import register

    before = dict(default_registry._optimizers)
    register()
    register()  # a second time does nothing
    yield before
    default_registry._optimizers = before


@pytest.mark.parametrize("name", OURS)
def test_the_factory_makes_our_optimizers_under_names_of_their_own(registered, tmp_path, name):
    assert name not in registered
    model = Model()
    optimizer = create_optimizer_v2(model, name, lr=1e-2, weight_decay=0.1)
    assert type(optimizer) is OURS[name]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.1]
    assert {group["lr"] for group in optimizer.param_groups} == {1e-2}
    with Collector(optimizer, tmp_path, name="r", model=model):
        train(model, optimizer)
    assert steps_in(tmp_path) == whole_log(4)
    assert outcomes_in(tmp_path) == (OUTCOMES["LAMBC"] if name == "lambc.lambc" else {"free"})


def test_timms_own_lambc_stays_its_own(registered):
    assert type(create_optimizer_v2(Model(), "lambc")).__module__.startswith("timm.")


def test_options_of_ours_and_timms_lookahead_go_with_them(registered):
    optimizer = create_optimizer_v2(Model(), "lookahead_lambc.LAMBC", clip=(0.5, 2), betas=(0.8, 0.9), foreach=True)
    assert type(optimizer) is Lookahead
    [*_, group] = optimizer._base_optimizer.param_groups
    assert (group["clip"], group["betas"], group["foreach"]) == ((0.5, 2), (0.8, 0.9), True)
    lars = create_optimizer_v2(Model(), "lambc.lars", momentum=0.5, eps=1e-8)  # eps, which LARS has not, is left out
    assert lars.param_groups[0]["momentum"] == 0.5


def test_an_optimizer_that_goes_on_from_a_checkpoint_has_every_row_once(registered, tmp_path):
    model = Model()
    optimizer = create_optimizer_v2(model, "lambc.lambc", lr=1e-2)
    with Collector(optimizer, tmp_path, name="r", model=model):
        train(model, optimizer, count=3)
        saved = deepcopy(optimizer.state_dict())
        train(model, optimizer, count=2)
    model = Model()
    optimizer = create_optimizer_v2(model, "lambc.lambc", lr=1e-2)
    optimizer.load_state_dict(saved)
    with Collector(optimizer, tmp_path, name="r", model=model, resume=True):
        train(model, optimizer, count=1)
    assert steps_in(tmp_path) == whole_log(4)
