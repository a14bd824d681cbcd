"""Training by Accelerate: what is recorded is the optimizer inside of its `AcceleratedOptimizer`."""

import pytest
import torch

from collector import Collector
from tests.frameworks.training import (
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


@pytest.fixture
def new_accelerator():
    """Makes an `Accelerator`; its state, which the process has once, is undone after the test."""
    from accelerate import Accelerator  # here, since every worker of pytest imports this file
    from accelerate.state import AcceleratorState, GradientState

    yield lambda **options: Accelerator(cpu=True, **options)
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def train(accelerator, model, optimizer, scheduler=None, count=4):
    for features in batches(count):
        with accelerator.accumulate(model):
            accelerator.backward(loss_of(model(features)))
            optimizer.step()
            if scheduler:
                scheduler.step()
            optimizer.zero_grad()


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("scheduled", ["before prepare", "after prepare", "never"])
@pytest.mark.parametrize("handed", ["prepared", "inner"])
def test_a_step_in_the_log_is_a_step_of_the_inner_optimizer(
    new_accelerator, tmp_path, kind, accumulation, scheduled, handed
):
    accelerator = new_accelerator(gradient_accumulation_steps=accumulation)
    model = Model()
    inner = OPTIMIZERS[kind](model.parameters())
    scheduler = None
    if scheduled == "before prepare":
        scheduler = torch.optim.lr_scheduler.LinearLR(inner)
        model, prepared, scheduler = accelerator.prepare(model, inner, scheduler)
    else:
        model, prepared = accelerator.prepare(model, inner)
        if scheduled == "after prepare":
            scheduler = torch.optim.lr_scheduler.LinearLR(prepared)  # which patches `step` of the wrapper
    with Collector(inner if handed == "inner" else prepared, tmp_path, name="r", model=model) as collector:
        train(accelerator, model, prepared, scheduler)
        assert collector.step == steps_taken(inner) == 4 // accumulation
    assert steps_in(tmp_path) == whole_log(4 // accumulation)
    assert outcomes_in(tmp_path) == OUTCOMES[kind]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_collector_may_be_made_before_prepare(new_accelerator, tmp_path, kind):
    accelerator = new_accelerator(gradient_accumulation_steps=2)
    model = Model()
    inner = OPTIMIZERS[kind](model.parameters())
    with Collector(inner, tmp_path, name="r", model=model):
        model, prepared = accelerator.prepare(model, inner)  # which loads the optimizer's own state anew
        train(accelerator, model, prepared)
    assert steps_in(tmp_path) == whole_log(2)
    assert outcomes_in(tmp_path) == OUTCOMES[kind]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_run_that_resumes_from_a_saved_state_has_every_row_once(new_accelerator, tmp_path, kind):
    def begin(**options):
        accelerator = new_accelerator()
        model = Model()
        optimizer = OPTIMIZERS[kind](model.parameters())
        model, optimizer = accelerator.prepare(model, optimizer)
        if options:
            accelerator.load_state(tmp_path / "state")
        return accelerator, model, optimizer, Collector(optimizer, tmp_path / "runs", name="r", model=model, **options)

    accelerator, model, optimizer, collector = begin()
    with collector:
        train(accelerator, model, optimizer, count=3)
        accelerator.save_state(tmp_path / "state")
        train(accelerator, model, optimizer, count=2)  # which the checkpoint has not
    accelerator, model, optimizer, collector = begin(resume=True)
    with collector:
        train(accelerator, model, optimizer, count=4)
        assert collector.step == steps_taken(optimizer) == 7
    assert steps_in(tmp_path / "runs") == whole_log(7)
    assert outcomes_in(tmp_path / "runs") == OUTCOMES[kind]


def test_a_prepared_optimizer_that_was_never_shown_steps_on(new_accelerator, tmp_path):
    accelerator = new_accelerator()
    shown_model, other_model = Model(), Model()
    shown = accelerator.prepare(OPTIMIZERS["AdamW"](shown_model.parameters()))
    other = accelerator.prepare(OPTIMIZERS["AdamW"](other_model.parameters()))
    step = type(shown).step
    with Collector(shown, tmp_path, name="r", model=shown_model):
        train(accelerator, other_model, other, count=2)
        train(accelerator, shown_model, shown, count=3)
    train(accelerator, other_model, other, count=2)
    assert type(shown).step is step
    assert steps_taken(other) == 4
    assert steps_in(tmp_path) == whole_log(3)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_step_that_the_scaler_leaves_out_is_none(new_accelerator, tmp_path, kind):
    from accelerate.optimizer import AcceleratedOptimizer

    new_accelerator()
    model = Model()
    inner = OPTIMIZERS[kind](model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    optimizer = AcceleratedOptimizer(inner, scaler=scaler)  # which the accelerator makes for fp16, on a GPU alone
    with Collector(optimizer, tmp_path, name="r", model=model) as collector:
        for number, features in enumerate(batches(4)):
            scaler.scale(loss_of(model(features))).backward()
            if number == 1:
                model.head.bias.grad.fill_(torch.inf)
            optimizer.step()
            assert optimizer.step_was_skipped == (number == 1)
            optimizer.zero_grad()
        assert collector.step == steps_taken(inner) == 3
    assert steps_in(tmp_path) == whole_log(3)
    assert outcomes_in(tmp_path) == OUTCOMES[kind]
