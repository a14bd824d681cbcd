"""Metrics that are logged at a step of their own, as tokens or samples seen."""

import numpy as np
import pytest
import torch

from collector import Collector, connect

TOKENS = 100_000


def metrics(root) -> list[tuple[str, int, float]]:
    return connect(root).sql("SELECT name, step, value FROM metrics ORDER BY name, step").fetchall()


def test_a_step_of_tokens_moves_nothing_else(emitter, tmp_path):
    with Collector(emitter, tmp_path, name="r") as collector:
        for step in (1, 2):
            emitter.say(step)
            collector.log({"tokens/loss": 1.0}, step=step * TOKENS)
            collector.log({"loss": 1.0})
        assert collector.step == 2
    assert metrics(tmp_path) == [
        ("loss", 1, 1),
        ("loss", 2, 1),
        ("tokens/loss", TOKENS, 1),
        ("tokens/loss", 2 * TOKENS, 1),
    ]


def test_a_resume_keeps_what_lies_before_it_on_the_metrics_own_axis(emitter, tmp_path):
    with Collector(emitter, tmp_path, name="r") as collector:
        for step in range(1, 6):
            emitter.say(step)
            collector.log({"a": step, "b": step}, step=step * TOKENS)
            collector.log({"c": step})
    with Collector(emitter, tmp_path, name="r", resume=True) as collector:
        emitter.say(4)  # from a checkpoint after step 3
        collector.log({"a": -4.0}, step=4 * TOKENS)
        collector.log({"c": -4.0})
    kept = {name: [value for each, _, value in metrics(tmp_path) if each == name] for name in "abc"}
    assert kept == {"a": [1, 2, 3, -4], "b": [1, 2, 3, 4, 5], "c": [1, 2, 3, -4]}
    assert connect(tmp_path).sql("SELECT max(step) FROM trust_ratios").fetchall() == [(4,)]


def test_so_does_a_checkpoint_that_is_loaded_on_the_way(emitter, tmp_path):
    with Collector(emitter, tmp_path, name="r") as collector:
        for step, sign in ((1, 1), (2, 1), (3, 1), (2, -1)):
            emitter.say(step)
            collector.log({"a": sign * step}, step=step * TOKENS)
    assert [value for _, _, value in metrics(tmp_path)] == [1, -2]


def test_an_optimizer_without_a_count_goes_on_from_its_own_steps(tmp_path, steps_of):
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([("a", param)], lr=0.1)
    param.grad = torch.ones(3)
    for resume in (False, True):
        with Collector(optimizer, tmp_path, name="r", resume=resume) as collector:
            optimizer.step()
            optimizer.step()
            collector.log({"loss": 1.0}, step=640)
    assert steps_of(tmp_path / "r") == [1, 2, 3, 4]


def test_where_only_some_steps_are_recorded_it_goes_on_from_the_last_that_was_taken(tmp_path, steps_of):
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([("a", param)], lr=0.1)
    param.grad = torch.ones(3)
    for resume in (False, True):
        with Collector(optimizer, tmp_path, name="r", resume=resume, every=10) as collector:
            for _ in range(15):
                optimizer.step()
            assert collector.step == (30 if resume else 15)
    assert steps_of(tmp_path / "r") == [1, 10, 20, 30]


def test_of_several_optimizers_a_metrics_step_never_goes_back(new_emitter, tmp_path):
    slow, fast = new_emitter(["slow"]), new_emitter(["fast"])
    with Collector([slow, fast], tmp_path, name="r") as collector:
        for step in (1, 3):
            slow.say(step)
            for part in range(5):
                fast.say(5 * (step // 2) + part + 1)
                collector.log({"loss": 1.0})
            slow.say(step + 1)
            collector.log({"loss": 1.0})
    assert [step for _, step, _ in metrics(tmp_path)] == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 10]


def test_of_several_optimizers_a_resume_keeps_the_metrics_before_it(new_emitter, tmp_path):
    slow, fast = new_emitter(["slow"]), new_emitter(["fast"])
    for resume, first, last in ((False, 1, 4), (True, 3, 4)):
        with Collector([slow, fast], tmp_path, name="r", resume=resume) as collector:
            for step in range(first, last + 1):
                slow.say(step)
                for part in range(5):
                    fast.say(5 * (step - 1) + part + 1)
                collector.log({"loss": -1.0 if resume else 1.0})
    assert [(step, value) for _, step, value in metrics(tmp_path)] == [(5, 1), (10, 1), (15, -1), (20, -1)]


@pytest.mark.parametrize("epoch", [1.9, np.float32(1.9), np.float64(1.0), torch.tensor(1.5), 1], ids=repr)
def test_an_epoch_that_is_a_fraction_is_rounded_down(emitter, tmp_path, epoch):
    with Collector(emitter, tmp_path, name="r") as collector:
        collector.log({"a": 1.0}, epoch=epoch)
        emitter.say(1)
        collector.epoch = epoch
        assert collector.epoch == 1
    assert connect(tmp_path).sql("SELECT DISTINCT epoch FROM trust_ratios").fetchall() == [(1,)]


@pytest.mark.parametrize("step", [1.5, float("nan"), float("inf"), -1.0, "3", True])
def test_a_step_that_is_no_whole_number_is_an_error(emitter, tmp_path, step):
    with Collector(emitter, tmp_path, name="r") as collector, pytest.raises(ValueError, match=r"step=.*: give a whole"):
        collector.log({"a": 1.0}, step=step)
    assert metrics(tmp_path) == []
