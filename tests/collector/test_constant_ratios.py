"""Layers whose ratio stands still, against the rows."""

import torch

from collector import Collector, connect
from tests.collector.emitter import Emitter

LAYERS = ["moves", "stands", "stood", "stops", "zero"]


def test_a_layer_whose_ratio_is_the_same_in_all_steps_between_two_is_listed(tmp_path):
    emitter = Emitter(LAYERS)
    with Collector(emitter, tmp_path, name="r") as collector:
        for step in range(1, 301):
            ratio = torch.tensor(
                [1 + 0.001 * step, 10.0, 10.0 if step <= 150 else 11.0, 2 + max(0, 150 - step) / 10, 1.0]
            )
            weight = torch.tensor([1.0, 1, 1, 1, 0])  # of the last the ratio is set to 1
            one = torch.ones(5)
            emitter.say(step, torch.stack([ratio * weight, one, ratio, ratio, 0 * one, torch.inf * one, 0.01 * one]))
        collector.log({"train/loss": 1.0})
    con = connect(tmp_path)

    def listed(first, last):
        return con.sql(
            f"SELECT layer, ratio, steps FROM constant_ratios('r', {first}, {last}) ORDER BY layer"
        ).fetchall()

    assert listed(150, 300) == [("stands", 10.0, 151), ("stops", 2.0, 151)]
    assert listed(1, 150) == [("stands", 10.0, 150), ("stood", 10.0, 150)]
    assert listed(1, 9) == []
