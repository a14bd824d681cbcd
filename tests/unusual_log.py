"""A run in which something happens, for the tests of the page Clipping."""

from pathlib import Path

import torch

from collector import Collector
from tests.collector.emitter import Emitter

LAYERS = ["conv.weight", "conv.bias", "bn.weight", "fc.weight"]
STEPS = 200


def build(root: Path, name: str = "unusual", *, calm: bool = False) -> Path:
    """conv is clipped at times from below, bn always from above, fc never; unless calm, these three things happen:

    at step 1 conv.bias has no norm; at step 81 all ratios are thirtyfold; from step 150 on fc.weight is NaN.
    """
    emitter = Emitter(LAYERS)
    config = {"clip": [0.5, 2.0]}
    one = torch.ones(len(LAYERS))
    with Collector(emitter, root, name=name, config=config):
        for step in range(1, STEPS + 1):
            ratio = torch.tensor([0.4 if step % 4 == 0 else 0.8, 0.8, 3.0, 1.0])
            weight = ratio.clone()
            if not calm:
                weight[1] = 0 if step == 1 else weight[1]
                weight *= 30 if step == 81 else 1
                weight[3] = torch.nan if step >= 150 else weight[3]
            before = torch.where(weight.isfinite() & (weight > 0), weight, 1)
            lower, upper = 0.5 * one, 2 * one
            emitter.say(step, torch.stack([weight, one, before, before.clamp(lower, upper), lower, upper, 0.01 * one]))
    return root
