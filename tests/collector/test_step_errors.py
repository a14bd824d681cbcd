"""A step that cannot be recorded ends the recording, and not the training."""

import warnings

import pytest
import torch

from collector import Collector, connect


def statuses(root):
    return connect(root).sql("SELECT run, status, failure FROM runs").fetchall()


def test_of_an_optimizer_that_is_observed(tmp_path):
    param, half = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    optimizer = torch.optim.SGD([("w", param)], lr=0.5)
    with Collector(optimizer, tmp_path, name="r") as collector:
        for step in range(1, 5):
            if step == 3:
                optimizer.add_param_group({"params": [("v", half)]})
            param.grad, half.grad = torch.ones(3), torch.ones(3, dtype=torch.bfloat16)
            said = pytest.warns(
                UserWarning, match="run 'r' is recorded no further, and training goes on: ValueError: p"
            )
            with said if step == 3 else warnings.catch_warnings():
                optimizer.step()
            collector.log({"loss": float(step)})
    assert param[0].item() == 1 - 4 * 0.5
    assert connect(tmp_path).sql("SELECT step FROM trust_ratios ORDER BY step").fetchall() == [(1,), (2,)]
    assert connect(tmp_path).sql("SELECT value FROM metrics ORDER BY value").fetchall() == [(1,), (2,), (3,), (4,)]
    [(run, status, failure)] = statuses(tmp_path)
    assert (run, status) == ("r", "failed")
    assert failure.startswith("ValueError: parameter v is torch.bfloat16")


def test_of_an_optimizer_that_has_the_hook(emitter, tmp_path):
    with Collector(emitter, tmp_path, name="r"):
        emitter.say(1)
        with pytest.warns(UserWarning, match="run 'r' is recorded no further, and training goes on: "):
            emitter.say(2, "no table")
        emitter.say(3)
    assert connect(tmp_path).sql("SELECT DISTINCT step FROM trust_ratios").fetchall() == [(1,)]
    assert statuses(tmp_path)[0][:2] == ("r", "failed")


def test_an_error_of_the_training_itself_is_the_runs_failure(emitter, tmp_path):
    def training():
        with Collector(emitter, tmp_path, name="r"):
            with pytest.warns(UserWarning, match="recorded no further"):
                emitter.say(1, "no table")
            raise ZeroDivisionError("by 0")

    with pytest.raises(ZeroDivisionError):
        training()
    assert statuses(tmp_path) == [("r", "failed", "ZeroDivisionError: by 0")]
