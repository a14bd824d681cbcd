"""ResNet-18 with a first layer that fits the images."""

import pytest
import torch
from torchvision.models import resnet18 as torchvision_resnet18

from lambc.experiments.models import resnet18


@pytest.mark.parametrize("stem", ["3x3", "torchvision"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_names_of_the_layers_are_torchvisions(stem, channels):
    names = [name for name, _ in resnet18(10, channels, 32, stem).named_parameters()]
    assert names == [name for name, _ in torchvision_resnet18().named_parameters()]


@pytest.mark.parametrize(("size", "kernel"), [(8, 3), (64, 3), (65, 7), (224, 7)])
def test_auto_takes_the_3x3_stem_for_up_to_64_pixels(size, kernel):
    assert resnet18(10, 3, size).conv1.kernel_size == (kernel, kernel)


def test_the_3x3_stem_keeps_the_size_of_the_image():
    model = resnet18(10, 1, 8)
    pixels = torch.zeros(2, 1, 8, 8)
    assert model.maxpool(model.conv1(pixels)).shape == (2, 64, 8, 8)
    assert model(pixels).shape == (2, 10)


def test_for_three_channels_the_torchvision_stem_has_torchvisions_shapes():
    ours, theirs = resnet18(1000, 3, 224), torchvision_resnet18()
    assert [each.shape for each in ours.parameters()] == [each.shape for each in theirs.parameters()]
