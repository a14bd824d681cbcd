"""Training by Lightning Fabric: what is recorded is the optimizer inside of its `_FabricOptimizer`."""

import pytest

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
def fabric():
    """A Fabric, which is imported here, since every worker of pytest imports this file."""
    from lightning.fabric import Fabric

    return Fabric(accelerator="cpu", devices=1)


def set_up(fabric, kind):
    model = Model()
    inner = OPTIMIZERS[kind](model.parameters())
    return *fabric.setup(model, inner), inner


def train(fabric, model, optimizer, count=4):
    for features in batches(count):
        fabric.backward(loss_of(model(features)))
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("handed", ["wrapped", "inner"])
def test_a_step_in_the_log_is_a_step_of_the_inner_optimizer(fabric, tmp_path, kind, handed):
    model, wrapped, inner = set_up(fabric, kind)
    with Collector(wrapped if handed == "wrapped" else inner, tmp_path, name="r", model=model) as collector:
        train(fabric, model, wrapped)
        assert collector.step == steps_taken(inner) == 4
    assert steps_in(tmp_path) == whole_log(4)
    assert outcomes_in(tmp_path) == OUTCOMES[kind]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_run_that_resumes_from_a_checkpoint_has_every_row_once(fabric, tmp_path, kind):
    model, optimizer, _ = set_up(fabric, kind)
    with Collector(optimizer, tmp_path / "runs", name="r", model=model):
        train(fabric, model, optimizer, count=3)
        fabric.save(tmp_path / "checkpoint", {"model": model, "optimizer": optimizer})
        train(fabric, model, optimizer, count=2)  # which the checkpoint has not
    model, optimizer, inner = set_up(fabric, kind)
    fabric.load(tmp_path / "checkpoint", {"model": model, "optimizer": optimizer})
    with Collector(optimizer, tmp_path / "runs", name="r", model=model, resume=True):
        train(fabric, model, optimizer, count=1)
        assert steps_taken(inner) == 4
    assert steps_in(tmp_path / "runs") == whole_log(4)
    assert outcomes_in(tmp_path / "runs") == OUTCOMES[kind]
