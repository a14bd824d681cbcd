"""torchtitan's `OptimizersContainer`, as it is written there: an Optimizer that is no more than a list of others."""

import pytest
import torch

from collector import Collector, connect
from lambc import LAMBC
from tests.frameworks.training import LAYERS, OUTCOMES, Model, batches, loss_of, outcomes_in, steps_in, whole_log


class OptimizersContainer(torch.optim.Optimizer):
    """One optimizer for each part of a model, as the stages of a pipeline are."""

    def __init__(self, parts, optimizer_class, **options):
        everything = []
        self.optimizers = []
        for part in parts:
            names, params = zip(*part.named_parameters(), strict=True)
            group = {"params": list(params), "param_names": list(names)}
            self.optimizers.append(optimizer_class([group], **options))
            everything.extend(params)
        super().__init__(everything, options)

    def __iter__(self):
        return iter(self.optimizers)

    def __len__(self):
        return len(self.optimizers)

    def step(self, *args, **kwargs):
        for optimizer in self.optimizers:
            optimizer.step(*args, **kwargs)

    def zero_grad(self, *args, **kwargs):
        super().zero_grad(*args, **kwargs)
        for optimizer in self.optimizers:
            optimizer.zero_grad(*args, **kwargs)


class Part(torch.nn.Module):
    """A part of a model, in which layers are called as in the whole."""

    def __init__(self, name, module):
        super().__init__()
        self.add_module(name, module)


@pytest.mark.parametrize(("kind", "made"), [("LAMBC", LAMBC), ("AdamW", torch.optim.AdamW)])
@pytest.mark.parametrize("scheduled", [True, False])
def test_the_optimizers_of_a_container_are_one_run(tmp_path, kind, made, scheduled):
    model = Model()
    container = OptimizersContainer([Part("body", model.body), Part("head", model.head)], made, lr=1e-2)
    # torchtitan has a scheduler for each; one of the container patches its step.
    schedulers = [torch.optim.lr_scheduler.LinearLR(each) for each in (container, *container)] if scheduled else []
    with Collector(container, tmp_path, name="r") as collector:
        for features in batches(4):
            container.zero_grad()
            loss_of(model(features)).backward()
            container.step()
            for scheduler in schedulers:
                scheduler.step()
        assert collector.step == 4
    assert steps_in(tmp_path) == whole_log(4)
    assert outcomes_in(tmp_path) == OUTCOMES[kind]
    assert connect(tmp_path).sql("SELECT layer FROM layers ORDER BY position").fetchall() == [
        (each,) for each in LAYERS
    ]
    assert connect(tmp_path).sql("SELECT min(lr) < max(lr) FROM trust_ratios").fetchall() == [(scheduled,)]
