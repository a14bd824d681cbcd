"""From the optimizer through the collector to DuckDB: what the log says is what happened, over a whole run."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from collector import Collector, connect
from lambc import LAMBC

STEPS = 60
CLIPS = {"unclipped": None, "clipped": 1.0, "both-sides": (0.05, 0.5)}


def make_network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * 36, 40),
        torch.nn.LayerNorm(40),
        torch.nn.Linear(40, 10),
    )


def train(root, name, clip):
    """A run of digits-sized images; returns every layer's weights before each step and Adam's direction in float64."""
    network = make_network()
    optimizer = LAMBC(network.named_parameters(), lr=1e-2, clip=clip)
    generator = torch.Generator().manual_seed(1)
    weights, updates = [], []
    m = [torch.zeros_like(p, dtype=torch.float64) for p in network.parameters()]
    v = [torch.zeros_like(p, dtype=torch.float64) for p in network.parameters()]
    with Collector(optimizer, root, name=name) as collector:
        for step in range(1, STEPS + 1):
            collector.epoch = (step - 1) // 20
            optimizer.zero_grad()
            images, labels = torch.randn(32, 1, 8, 8, generator=generator), torch.arange(32) % 10
            torch.nn.functional.cross_entropy(network(images), labels).backward()
            weights.append([p.detach().double() for p in network.parameters()])
            directions = []
            for index, param in enumerate(network.parameters()):
                grad = param.grad.double()
                m[index] = 0.9 * m[index] + 0.1 * grad
                v[index] = 0.999 * v[index] + 0.001 * grad**2
                directions.append(m[index] / (1 - 0.9**step) / ((v[index] / (1 - 0.999**step)).sqrt() + 1e-6))
            updates.append(directions)
            optimizer.step()
    return weights, updates


@pytest.fixture(scope="module", params=CLIPS)
def run(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    weights, updates = train(root, request.param, CLIPS[request.param])
    rows = connect(root).sql("from trust_ratios order by step, layer").to_arrow_table().to_pandas()
    return root, rows, weights, updates


def test_every_layer_has_one_row_for_every_step(run):
    _, rows, _, _ = run
    names = [name for name, _ in make_network().named_parameters()]
    assert sorted(zip(rows.step, rows.layer, strict=True)) == sorted(
        (step, name) for step in range(1, STEPS + 1) for name in names
    )
    assert (rows.epoch == (rows.step - 1) // 20).all()


def test_the_clipped_ratio_is_the_ratio_within_its_bounds_bit_for_bit(run):
    root, rows, _, _ = run
    files = sorted(root.glob("*/trust_ratios/*.parquet"))
    stored = [pq.read_table(file, columns=["trust_ratio", "clipped_ratio", "lower", "upper"]) for file in files]
    assert sum(map(len, stored)) == len(rows)
    for table in stored:
        ratio, clipped, lower, upper = (table[name].to_numpy() for name in table.column_names)
        assert clipped.dtype == np.float32
        assert clipped.tobytes() == np.minimum(np.maximum(ratio, lower), upper).tobytes()


def test_the_ratio_is_that_of_the_norms_of_the_saved_weights(run):
    _, rows, weights, updates = run
    layers = {name: index for index, (name, _) in enumerate(make_network().named_parameters())}
    for row in rows.itertuples():
        weight_norm = weights[row.step - 1][layers[row.layer]].norm().item()
        update_norm = updates[row.step - 1][layers[row.layer]].norm().item()
        expected = weight_norm / update_norm if weight_norm > 0 and update_norm > 0 else 1.0
        assert row.weight_norm == pytest.approx(weight_norm, rel=1e-5)
        assert row.trust_ratio == pytest.approx(expected, rel=1e-5)


def test_something_was_clipped_wherever_there_was_a_bound(run):
    root, rows, _, _ = run
    unclipped = (root / "unclipped").exists()
    assert set(rows.outcome) <= {"free", "upper", "lower", "fallback"}
    assert (rows.outcome == "upper").any() != unclipped
    assert (rows.clipped_ratio == rows.trust_ratio).all() == unclipped
