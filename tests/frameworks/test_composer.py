"""Composer's OptimizerMonitor, which cannot be installed beside this torch: its `batch_end`, step by step."""

import copy
import pickle

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from lambc import LAMBC, LARS
from tests.frameworks.training import LAYERS, Model, batches, loss_of


def batch_end(model, optimizer, fsdp=False):
    """What OptimizerMonitor of Composer 0.32 logs at the end of a batch."""
    metrics = {}
    for name, param in model.named_parameters():
        if param.grad is not None and param.requires_grad:
            metrics.update(optimizer.report_per_parameter_metrics(param, name, metrics))
            if f"l2_norm/grad/{name}" not in metrics:
                metrics[f"l2_norm/grad/{name}"] = torch.linalg.vector_norm(param.grad)
    if fsdp:
        metrics = optimizer.pre_reduce_metrics(metrics)
        metrics = optimizer.dist_reduce_metrics(metrics)
    total = sum(value**2 for name, value in metrics.items() if name.startswith("l2_norm/grad"))
    metrics["l2_norm/grad/global"] = total**0.5
    return {name: value.item() for name, value in metrics.items()}


def train(model, optimizer, count, **options):
    """The metrics of each batch, and what the hook was shown of each step."""
    shown = []
    handle = optimizer.register_trust_ratio_hook(lambda record: shown.append(record.table.clone()))
    logged = []
    for features in batches(count):
        optimizer.zero_grad()
        loss_of(model(features)).backward()
        optimizer.step()
        logged.append(batch_end(model, optimizer, **options))
    handle.remove()
    return logged, shown


def reported(metrics, layer):
    names = "l2_norm/param", "l2_norm/update", "trust_ratio", "clipped_ratio"
    return [metrics[f"{name}/{layer}"] for name in names]


@pytest.mark.parametrize("kind", [LAMBC, LARS])
def test_the_monitor_logs_what_each_step_did_to_each_layer(kind):
    model = Model()
    (first, *logged), (_, *shown) = train(model, kind(model.parameters(), lr=1e-2), 4)
    assert not any(name.startswith("trust_ratio") for name in first)
    for metrics, table in zip(logged, shown, strict=True):
        for row, layer in enumerate(LAYERS):
            assert reported(metrics, layer) == table[:4, row].tolist()
    assert {name.split("/")[0] for name in logged[0]} == {"l2_norm", "trust_ratio", "clipped_ratio"}


def test_a_parameter_of_another_optimizer_is_left_out():
    model = Model()
    optimizer = LAMBC(model.body.parameters(), lr=1e-2)
    logged, _ = train(model, optimizer, 2)
    assert {name for name in logged[1] if name.startswith("trust_ratio")} == {
        "trust_ratio/body.weight",
        "trust_ratio/body.bias",
    }


def test_a_group_that_comes_later_is_reported_from_its_first_step_on():
    model = Model()
    optimizer = LAMBC(model.body.parameters(), lr=1e-2)
    train(model, optimizer, 2)
    optimizer.add_param_group({"params": model.head.parameters()})
    assert "trust_ratio/head.bias" not in batch_end(model, optimizer)
    [metrics], [table] = train(model, optimizer, 1)
    assert reported(metrics, "head.bias") == table[:4, 3].tolist()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_reports_its_own_steps(duplicate):
    model = Model()
    optimizer = LAMBC(model.parameters(), lr=1e-2)
    train(model, optimizer, 2)
    model, optimizer = duplicate((model, optimizer))
    (_, metrics), (_, table) = train(model, optimizer, 2)
    assert reported(metrics, "body.weight") == table[:4, 0].tolist()


def train_sharded():
    model = fully_shard(Model(), mesh=init_device_mesh("cpu", (2,)))
    return train(model, LAMBC(model.parameters(), lr=1e-2), 2, fsdp=True)[0]


def test_every_rank_of_fsdp2_logs_what_one_process_does(two):
    model = Model()
    alone, _ = train(model, LAMBC(model.parameters(), lr=1e-2), 2)
    for logged in two.run(train_sharded):
        for metrics, expected in zip(logged, alone, strict=True):
            assert metrics == pytest.approx(expected, rel=1e-5)
