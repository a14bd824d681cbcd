"""timm's optimizers: its Lookahead is a wrapper, and its factory makes groups without names."""

from copy import deepcopy

import pytest
import torch
from timm.optim import Lookahead, create_optimizer_v2

from collector import Collector, connect
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
