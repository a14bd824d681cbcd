"""Wrappers of other packages, each in the shape that it has there."""

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


class SAM(torch.optim.Optimizer):
    """davda54/sam and its many copies: an Optimizer that shares the groups of its `base_optimizer`."""

    def __init__(self, params, base_optimizer):
        super().__init__(params, {"rho": 0.05})
        self.base_optimizer = base_optimizer(self.param_groups)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def step(self, closure):
        with torch.enable_grad():
            closure()
        moved = [(param, param.grad * 0.05) for group in self.param_groups for param in group["params"]]
        for param, by in moved:
            param.add_(by)
        with torch.enable_grad():
            closure()
        for param, by in moved:
            param.sub_(by)
        self.base_optimizer.step()


class LARC:
    """apex's LARC: no Optimizer itself, with `optim` inside."""

    def __init__(self, optimizer):
        self.optim = optimizer

    @property
    def state(self):
        return self.optim.state

    @property
    def param_groups(self):
        return self.optim.param_groups

    def zero_grad(self):
        self.optim.zero_grad()

    def step(self):
        for group in self.optim.param_groups:
            for param in group["params"]:
                param.grad.mul_(0.5)
        self.optim.step()


class DPOptimizer(torch.optim.Optimizer):
    """Opacus's: never calls `Optimizer.__init__`, and skips `step` while it accumulates."""

    def __init__(self, optimizer):
        self.original_optimizer = optimizer
        self.skip_next = False

    @property
    def param_groups(self):
        return self.original_optimizer.param_groups

    @property
    def state(self):
        return self.original_optimizer.state

    def zero_grad(self):
        self.original_optimizer.zero_grad()

    def step(self, closure=None):
        if not self.skip_next:
            self.original_optimizer.step(closure)


class GradSampleModule(torch.nn.Module):
    """Opacus's module, which puts `_module.` before every name."""

    def __init__(self, module):
        super().__init__()
        self._module = module

    def forward(self, features):
        return self._module(features)


class ZeroRedundancyOptimizer(torch.optim.Optimizer):
    """torch's, on the first of two ranks: `optim` has every second parameter, and the others come from elsewhere."""

    def __init__(self, params, optimizer_class, **defaults):
        super().__init__(params, defaults)
        params = self.param_groups[0]["params"]
        self.optim = optimizer_class(params[::2], **defaults)
        self._elsewhere = optimizer_class(params[1::2], **defaults)

    def step(self, closure=None):
        self.optim.step()
        self._elsewhere.step()  # whose parameters are broadcast from there


class DeepSpeedZeroOptimizer:
    """DeepSpeed's, whose groups are one flat buffer each."""

    __module__ = "deepspeed.runtime.zero.stage_1_and_2"

    def __init__(self, optimizer):
        self.optimizer = optimizer
        params = [param for group in optimizer.param_groups for param in group["params"]]
        self.param_groups = [{"params": [torch.nn.Parameter(torch.nn.utils.parameters_to_vector(params).detach())]}]

    def step(self, closure=None):
        raise AssertionError("never called")


class Unready(torch.optim.Optimizer):
    """One that never called `Optimizer.__init__`, and holds none."""

    def __init__(self, params):
        self.param_groups = [{"params": list(params)}]

    def step(self, closure=None):
        raise AssertionError("never called")


def train(model, optimizer, count=4):
    for features in batches(count):
        optimizer.zero_grad()
        loss_of(model(features)).backward()
        optimizer.step()


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_sam_has_a_step_where_its_base_optimizer_takes_one(tmp_path, kind):
    model = Model()
    optimizer = SAM(model.parameters(), OPTIMIZERS[kind])
    with Collector(optimizer, tmp_path, name="r", model=model):
        for features in batches(4):

            def closure(features=features):
                optimizer.zero_grad()
                loss_of(model(features)).backward()

            optimizer.step(closure)
    assert steps_taken(optimizer.base_optimizer) == 4
    assert steps_in(tmp_path) == whole_log(4)
    assert outcomes_in(tmp_path) == OUTCOMES[kind]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_larc_is_recorded_by_what_it_holds(tmp_path, kind):
    model = Model()
    optimizer = LARC(OPTIMIZERS[kind](model.parameters()))
    with Collector(optimizer, tmp_path, name="r", model=model):
        train(model, optimizer)
    assert steps_in(tmp_path) == whole_log(4)
    assert outcomes_in(tmp_path) == OUTCOMES[kind]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_opacus_counts_the_steps_that_it_does_not_skip(tmp_path, kind):
    model = GradSampleModule(Model())
    optimizer = DPOptimizer(OPTIMIZERS[kind](model.parameters()))
    with Collector(optimizer, tmp_path, name="r", model=model):
        for optimizer.skip_next in (True, False, True, False):
            train(model, optimizer, count=2)
    assert steps_in(tmp_path) == whole_log(4)
    assert outcomes_in(tmp_path) == OUTCOMES[kind]


def test_an_optimizer_that_holds_only_a_part_is_recorded_itself(tmp_path):
    model = Model()
    optimizer = ZeroRedundancyOptimizer(model.named_parameters(), torch.optim.AdamW, lr=1e-2)
    with Collector(optimizer, tmp_path, name="r"):
        train(model, optimizer)
    assert steps_in(tmp_path) == whole_log(4)


def test_wrappers_in_wrappers_are_followed_to_the_end(tmp_path):
    model = Model()
    optimizer = LARC(DPOptimizer(OPTIMIZERS["LAMBC"](model.parameters())))
    with Collector({"main": [optimizer]}, tmp_path, name="r", model=model):
        train(model, optimizer)
    assert steps_in(tmp_path) == whole_log(4)
    assert outcomes_in(tmp_path) == OUTCOMES["LAMBC"]


@pytest.mark.parametrize("wrapped", [True, False])
def test_deepspeed_is_refused_by_name(tmp_path, wrapped):
    optimizer = DeepSpeedZeroOptimizer(OPTIMIZERS["AdamW"](Model().parameters()))
    with pytest.raises(TypeError, match="DeepSpeedZeroOptimizer is DeepSpeed, which steps flat buffers"):
        Collector(DPOptimizer(optimizer) if wrapped else optimizer, tmp_path, name="r")
    assert list(tmp_path.iterdir()) == []


def test_an_optimizer_that_never_called_its_parents_init_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"Unready never called Optimizer\.__init__"):
        Collector(Unready(Model().parameters()), tmp_path, name="r")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_run_says_where_the_trainer_steps_by_itself(tmp_path, kind):
    """As an engine does that took the groups over and has kernels of its own."""
    model = Model()
    optimizer = OPTIMIZERS[kind](model.parameters())
    engine = torch.optim.SGD(model.parameters(), lr=0.1)
    said = f"run 'r' has no layers, since no step of {kind} was seen: give Collector the very optimizer"
    with Collector(optimizer, tmp_path, name="r", model=model) as collector:
        train(model, engine, count=1)
        collector.log({"train/loss": 1.0})
        train(model, engine, count=1)
        with pytest.warns(UserWarning, match=said):
            collector.log({"train/loss": 0.5})
        collector.log({"train/loss": 0.4})  # once is enough


def test_a_run_that_logged_nothing_says_at_its_end_that_no_step_was_seen(tmp_path):
    model = Model()
    collector = Collector(LARC(OPTIMIZERS["LAMBC"](model.parameters())), tmp_path, name="r", model=model)
    with pytest.warns(UserWarning, match=r"no step of LAMBC \(inside of LARC\) was seen"):
        collector.close()
