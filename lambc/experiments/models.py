"""The network of the paper's experiments: ResNet-18, with a first layer that fits the size of the images."""

from torch import nn
from torchvision.models import ResNet
from torchvision.models import resnet18 as torchvision_resnet18

from lambc.experiments.settings import Stem

SMALL = 64
"""Up to how many pixels a side `stem="auto"` takes the 3×3 stem."""


def resnet18(classes: int, channels: int, size: int, stem: Stem = "auto") -> ResNet:
    """torchvision's ResNet-18 without its trained weights, for images of `channels` and up to `size` pixels a side.

    stem: what comes before the residual blocks. `torchvision`: 7×7 with stride 2, then max-pooling, made for 224
        pixels: of 32 it leaves 8. `3x3`: 3×3 with stride 1 and no pooling, as is usual for CIFAR. `auto`: `3x3` for
        images of up to 64 pixels. The paper does not say which it uses.

    The names of the parameters are torchvision's with either stem.
    """
    model = torchvision_resnet18(num_classes=classes)
    if stem == "3x3" or (stem == "auto" and size <= SMALL):
        model.conv1 = nn.Conv2d(channels, 64, kernel_size=3, stride=1, padding=1, bias=False)
        model.maxpool = nn.Identity()
    elif channels != 3:
        model.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's own
    return model
