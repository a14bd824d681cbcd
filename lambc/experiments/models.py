"""The networks of the experiments: ResNet-18 for images, a small transformer for text."""

import math

import torch
from torch import Tensor, nn
from torchvision.models import ResNet
from torchvision.models import resnet18 as torchvision_resnet18
from torchvision.models.resnet import BasicBlock

from lambc.experiments.data.images import Images
from lambc.experiments.data.sources import Data
from lambc.experiments.settings import Init, Settings, Stem

FULL_WIDTH = 64
"""Channels of ResNet-18's first blocks, as published."""

SMALL = 64
"""Up to how many pixels a side `stem="auto"` takes the 3×3 stem."""


def initialised(run: Settings, data: Data) -> nn.Module:
    """The network with its initial weights, on the CPU: they depend on the seed alone, and the global one is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        if isinstance(data, Images):
            return resnet18(data.classes, data.channels, data.size, run.stem, run.width, run.init)
        return Transformer(data.classes, data.length)


def resnet18(
    classes: int,
    channels: int,
    size: int,
    stem: Stem = "auto",
    width: int = FULL_WIDTH,
    init: Init = "torchvision",
) -> ResNet:
    """torchvision's ResNet-18 without its trained weights, for images of `channels` and up to `size` pixels a side.

    stem: what comes before the residual blocks. `torchvision`: 7×7 with stride 2, then max-pooling, made for 224
        pixels: of 32 it leaves 8. `3x3`: 3×3 with stride 1 and no pooling, as is usual for CIFAR. `auto`: `3x3` for
        images of up to 64 pixels. The paper does not say which it uses.
    width: channels of the first blocks, 64 as published. The convolutions' first weights have the size that a width of
        64 gives them: before batch normalisation it makes no difference to what the network computes, and LAMB's trust
        ratios begin where the full width's do.
    init: of the convolutions. `torchvision`: normal, with a variance of 2 / (outputs · k²). `torch`: nn.Conv2d's own,
        uniform with a variance of 1 / (3 · inputs · k²), which the authors' code has.

    The names of the parameters are torchvision's with either stem.
    """
    model = torchvision_resnet18(num_classes=classes)
    if width != FULL_WIDTH:
        _set_width(model, width)
    if stem == "3x3" or (stem == "auto" and size <= SMALL):
        model.conv1 = nn.Conv2d(channels, width, kernel_size=3, stride=1, padding=1, bias=False)
        model.maxpool = nn.Identity()
    elif channels != 3 or width != FULL_WIDTH:
        model.conv1 = nn.Conv2d(channels, width, kernel_size=7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's own
    if init == "torch":
        for conv in _convolutions(model):
            conv.reset_parameters()
    if width != FULL_WIDTH:
        _give_full_widths_size(model, width, init)
    return model


def _convolutions(model: ResNet) -> list[nn.Conv2d]:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]


def _set_width(model: ResNet, width: int) -> None:
    """Put blocks of other widths into a ResNet-18, all but its first convolution, initialised as torchvision does."""
    model.bn1 = nn.BatchNorm2d(width)
    model.inplanes = width
    for number in range(4):
        blocks = model._make_layer(BasicBlock, width * 2**number, 2, stride=1 if number == 0 else 2)
        setattr(model, f"layer{number + 1}", blocks)
    model.fc = nn.Linear(8 * width, model.fc.out_features)
    for conv in _convolutions(model):
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")


@torch.no_grad()
def _give_full_widths_size(model: ResNet, width: int, init: Init) -> None:
    """Scale what grew as 1/√width; torch's init goes by the inputs, of which the first convolution has as many."""
    for conv in _convolutions(model):
        if init == "torchvision" or conv is not model.conv1:
            conv.weight *= math.sqrt(width / FULL_WIDTH)


class Transformer(nn.Module):
    """Says of each place in a text, from what stands up to there, what comes next.

    Two of torch's encoder layers, normalised first, 128 wide with 4 heads, without dropout: half a million weights for
    bytes. Takes int64 [N, places] and gives scores [N, places, classes]; places are at most `length`.
    """

    def __init__(self, classes: int, length: int, width: int = 128, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.tokens = nn.Embedding(classes, width)
        self.places = nn.Embedding(length, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        self.mask: Tensor
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length), persistent=False)
        for embedding in (self.tokens, self.places):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, text: Tensor) -> Tensor:
        """The scores."""
        length = text.shape[1]
        hidden = self.tokens(text) + self.places.weight[:length]
        for layer in self.layers:
            hidden = layer(hidden, src_mask=self.mask[:length, :length], is_causal=True)
        return self.head(self.norm(hidden))
