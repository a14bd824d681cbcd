"""Runs whose optimizer was never seen to take a step."""

import re

import pytest
import torch

from collector import Collector, connect
from collector.recording.unseen import MANY
from lambc import LAMBC, LARS

UNSEEN = "run 'r' has no layers, since no step of SGD was seen: give Collector the very optimizer whose step()"


class Trainer:
    """Trains with an optimizer of its own, and hands out another."""

    def __init__(self) -> None:
        self.param = torch.nn.Parameter(torch.ones(3))
        self.shown = torch.optim.SGD([("a", self.param)], lr=0.1)
        self.used = torch.optim.SGD([("a", self.param)], lr=0.1)

    def step(self) -> None:
        self.param.grad = torch.ones(3)
        self.used.step()


def test_metrics_of_a_model_that_is_trained_unseen_warn_once(tmp_path):
    trainer = Trainer()
    collector = Collector(trainer.shown, tmp_path, name="r")
    collector.log({"loss": 1.0})
    trainer.step()
    with pytest.warns(UserWarning, match=re.escape(UNSEEN)):
        collector.log({"loss": 1.0})
    trainer.step()
    collector.log({"loss": 1.0})
    collector.close()
    assert connect(tmp_path).sql("SELECT count(*) FROM metrics").fetchall() == [(3,)]


def test_so_do_metrics_at_many_steps_that_move_on(tmp_path):
    collector = Collector(Trainer().shown, tmp_path, name="r")

    def log() -> None:
        for step in range(2 * MANY):
            collector.log({"loss": 1.0}, step=step)

    with pytest.warns(UserWarning, match=re.escape(UNSEEN)):
        log()
    collector.close()


def test_gradients_of_many_batches_that_are_accumulated_may_have_their_step_to_come(tmp_path):
    trainer = Trainer()
    with Collector(trainer.shown, tmp_path, name="r") as collector:
        trainer.param.grad = torch.ones(3)
        for batch in range(4 * MANY):
            collector.log({"loss": 1.0}, step=64 * batch)
        trainer.shown.step()


def test_so_does_a_run_that_is_closed(tmp_path):
    trainer = Trainer()
    with pytest.warns(UserWarning, match=re.escape(UNSEEN)), Collector(trainer.shown, tmp_path, name="r"):
        trainer.step()


def test_an_error_that_ended_the_training_needs_no_such_word(tmp_path):
    with pytest.raises(ZeroDivisionError), Collector(Trainer().shown, tmp_path, name="r"):
        raise ZeroDivisionError


def test_what_is_measured_before_the_first_step_does_not_warn(tmp_path):
    trainer = Trainer()
    with Collector(trainer.shown, tmp_path, name="r") as collector:
        collector.log({"validation/loss": 1.0})
        collector.log({"validation/accuracy": 0.5})
        trainer.param.grad = torch.ones(3)
        trainer.shown.step()


def two_optimizers() -> tuple[torch.optim.Adam, torch.optim.SGD]:
    params = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    for param in params:
        param.grad = torch.ones(3)
    return torch.optim.Adam([("a", params[0])], lr=0.1), torch.optim.SGD([("b", params[1])], lr=0.1)


def test_of_several_optimizers_the_one_whose_steps_were_not_seen_is_named(tmp_path):
    stepping, shown = two_optimizers()
    used = torch.optim.SGD(shown.param_groups[0]["params"], lr=0.1)
    collector = Collector([stepping, shown], tmp_path, name="r")
    for _ in range(5):
        stepping.step()
        used.step()
    with pytest.warns(UserWarning, match="no step of SGD was seen"):
        collector.close()


def test_one_that_rests_is_not(tmp_path):
    stepping, resting = two_optimizers()
    with Collector([stepping, resting], tmp_path, name="r"):
        stepping.step()
    with Collector([stepping, resting], tmp_path, name="r", resume=True) as collector:
        stepping.step()
        collector.log({"loss": 1.0})


def test_a_run_that_is_resumed_to_be_evaluated_needs_no_step(tmp_path):
    trainer = Trainer()
    trainer.param.grad = torch.ones(3)
    with Collector(trainer.shown, tmp_path, name="r"):
        trainer.shown.step()
    with Collector(trainer.shown, tmp_path, name="r", resume=True) as collector:
        with torch.no_grad():
            trainer.param.copy_(torch.zeros(3))  # a checkpoint is loaded
        collector.log({"test/accuracy": 1.0})


@pytest.mark.parametrize("kind", [LAMBC, LARS, torch.optim.AdamW, torch.optim.SGD])
def test_a_call_of_step_without_gradients_is_no_step(tmp_path, steps_of, kind):
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = kind([("a", param)], lr=0.1)
    with Collector(optimizer, tmp_path, name="r") as collector:
        for gradient in (None, torch.ones(3), None, torch.ones(3)):
            param.grad = gradient
            optimizer.step()
        assert collector.step == 2
    assert steps_of(tmp_path / "r") == [1, 2]


def test_an_optimizer_that_another_took_the_place_of_is_named_by_its_last_step(tmp_path):
    trainer = Trainer()
    collector = Collector(trainer.shown, tmp_path, name="r")
    trainer.param.grad = torch.ones(3)
    for _ in range(3):
        trainer.shown.step()
        collector.log({"loss": 1.0})

    def train_unseen() -> None:
        for _ in range(2 * MANY):
            trainer.step()
            collector.log({"loss": 1.0})

    with pytest.warns(UserWarning, match="run 'r' has no rows after step 3, since its optimizer was not seen to step"):
        train_unseen()
    collector.close()


def test_two_optimizers_that_train_in_turn_are_both_seen(tmp_path):
    first, second = two_optimizers()
    with Collector([first, second], tmp_path, name="r") as collector:
        for optimizer in (first, second):
            for _ in range(3 * MANY):
                optimizer.step()
                collector.log({"loss": 1.0})


def test_weights_that_are_swapped_for_a_measurement_are_no_training(tmp_path):
    trainer = Trainer()
    trainer.param.grad = torch.ones(3)
    with Collector(trainer.shown, tmp_path, name="r") as collector:
        for _ in range(2 * MANY):
            trainer.shown.step()
            for swapped in (0.5, 2.0):
                with torch.no_grad():
                    trainer.param.mul_(swapped)
                collector.log({"test/loss": 1.0})
