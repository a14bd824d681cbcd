"""What is measured once, at the end of a run: what the last weights are worth without their noise."""

import copy

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from lambc.experiments.data.images import Images
from lambc.experiments.ranks import Ranks


def with_fresh_statistics(model: nn.Module, images: Images, batch_size: int, ranks: Ranks) -> nn.Module:
    """A copy of `model` whose batch norms have mean and variance of the training images as they are, under its weights.

    The running averages that training leaves are of weights that have moved on.
    """
    fresh = copy.deepcopy(model)
    device = images.train_images.device
    batches = (ranks.part(images.normalised(some)) for some in images.train_images.split(batch_size))
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        update_bn(batches, fresh)
    return fresh
