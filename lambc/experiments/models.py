"""The networks of the experiments: ResNet-18 for images, a small transformer for text."""

import torch
from torch import Tensor, nn
from torchvision.models import ResNet
from torchvision.models import resnet18 as torchvision_resnet18

from lambc.experiments.data.images import Images
from lambc.experiments.data.sources import Data
from lambc.experiments.settings import Run, Stem

SMALL = 64
"""Up to how many pixels a side `stem="auto"` takes the 3×3 stem."""


def initialised(run: Run, data: Data) -> nn.Module:
    """The network with its initial weights, on the CPU: they depend on the seed alone, and the global one is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        if isinstance(data, Images):
            return resnet18(data.classes, data.channels, data.size, run.stem)
        return Transformer(data.classes, data.length)


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
