"""AlexNet: the two towers of 2012, the same network in one tower, and the slimmer one tower of torchvision.

Krizhevsky, Sutskever and Hinton, ImageNet classification with deep convolutional neural networks, 2012, figure 2 and
section 3.5, for an image of 227×227 (the paper says 224, which leaves a remainder at stride 4):

    layer                               output        sees, of two towers
    conv1  11×11, 96, stride 4          55×55×96      the image
    LRN, max pool 3×3, stride 2         27×27×96
    conv2  5×5, 256, padding 2          27×27×256     the maps of its own tower
    LRN, max pool 3×3, stride 2         13×13×256
    conv3  3×3, 384, padding 1          13×13×384     all maps
    conv4  3×3, 384, padding 1          13×13×384     the maps of its own tower
    conv5  3×3, 256, padding 1          13×13×256     the maps of its own tower
    max pool 3×3, stride 2              6×6×256
    fc6 4096, fc7 4096, fc8 1000                      all values

A tower is the half of the maps that was on one of two GPUs.  Two towers are a grouped convolution with two groups.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from solutions.gpu.models import initialise
from solutions.gpu.models.network import Network, Published


class LocalResponseNorm(nn.Module):
    """Divides each value by (2 + 0.0001 · the sum of the squares of 5 neighbouring channels) ** 0.75.  Section 3.3.

    Channels of different towers are no neighbours: they were on different GPUs.  The sum is not divided by 5, as
    nn.LocalResponseNorm does, which equals this one at alpha = 0.0005.  It is computed in float32: squares of more than
    256 do not fit into float16.
    """

    def __init__(self, towers: int = 1):
        super().__init__()
        self.towers = towers

    def forward(self, x: Tensor) -> Tensor:
        squares = x.float().square().unflatten(1, (self.towers, -1))         # (N, towers, C / towers, H, W)
        squares = F.pad(squares, (0, 0, 0, 0, 2, 2))
        C = x.shape[1] // self.towers
        total = sum(squares[:, :, i:i + C] for i in range(5)).flatten(1, 2)  # (N, C, H, W)
        return (x * (2 + 1e-4 * total).pow(-0.75)).to(x.dtype)

    def extra_repr(self) -> str:
        return f"towers={self.towers}"


def make_classifier(values: int, num_classes: int) -> nn.Sequential:
    """The three fully connected layers; half of the outputs of the first two are dropped in training."""
    return nn.Sequential(nn.Linear(values, 4096), nn.ReLU(), nn.Dropout(0.5),
                         nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4096, num_classes))


class AlexNet(nn.Module):
    """AlexNet for images (N, in_channels, 227, 227); returns logits (N, num_classes).

    filters: of conv1 to conv5; towers: 1 or 2; lrn: whether conv1 and conv2 are normalised; padding: of conv1.
    Images of other sizes work from 67×67 on: the last maps are averaged to 6×6.
    First weights: N(0, 0.01²), biases 1 in conv2, conv4, conv5, fc6 and fc7 and 0 elsewhere, as in section 5.
    """

    torchvision_names = (("classifier.0.", "classifier.1."), ("classifier.3.", "classifier.4."))

    def __init__(self, filters: tuple[int, int, int, int, int], towers: int, lrn: bool = True, padding: int = 0,
                 num_classes: int = 1000, in_channels: int = 3):
        super().__init__()
        c1, c2, c3, c4, c5 = filters
        norm = [LocalResponseNorm(towers)] if lrn else []
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, c1, 11, stride=4, padding=padding), nn.ReLU(), *norm, nn.MaxPool2d(3, stride=2),
            nn.Conv2d(c1, c2, 5, padding=2, groups=towers), nn.ReLU(), *norm, nn.MaxPool2d(3, stride=2),
            nn.Conv2d(c2, c3, 3, padding=1), nn.ReLU(),
            nn.Conv2d(c3, c4, 3, padding=1, groups=towers), nn.ReLU(),
            nn.Conv2d(c4, c5, 3, padding=1, groups=towers), nn.ReLU(), nn.MaxPool2d(3, stride=2))
        self.classifier = make_classifier(c5 * 6 * 6, num_classes)
        initialise.gaussian(self)
        _, conv2, _, conv4, conv5 = (layer for layer in self.features if isinstance(layer, nn.Conv2d))
        for layer in (conv2, conv4, conv5, self.classifier[0], self.classifier[3]):
            nn.init.ones_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)                                       # (N, 256, 6, 6)
        x = F.adaptive_avg_pool2d(x, 6)                            # the same, unless the image has another size
        return self.classifier(x.flatten(1))                       # (N, num_classes)


def alexnet(num_classes: int = 1000, in_channels: int = 3) -> AlexNet:
    """The network of 2012, in two towers."""
    return AlexNet((96, 256, 384, 384, 256), 2, num_classes=num_classes, in_channels=in_channels)


def alexnet_one_tower(num_classes: int = 1000, in_channels: int = 3) -> AlexNet:
    """The network of 2012 where every convolution sees all maps, as later implementations have it."""
    return AlexNet((96, 256, 384, 384, 256), 1, num_classes=num_classes, in_channels=in_channels)


def alexnet_torchvision(num_classes: int = 1000, in_channels: int = 3) -> AlexNet:
    """torchvision's AlexNet, for images of 224×224: one slimmer tower without LRN.

    Krizhevsky, One weird trick for parallelizing convolutional neural networks, 2014, has 64, 192, 384, 384 and 256
    filters; torchvision, as Krizhevsky's own code, 256 in conv4.  Torchvision drops the inputs of fc6 and fc7 in
    training, in place of their outputs.
    """
    return AlexNet((64, 192, 384, 256, 256), 1, lrn=False, padding=2, num_classes=num_classes, in_channels=in_channels)


NETWORKS = {
    "alexnet": Network(alexnet, (3, 227, 227),
                       Published("60M", "paper, abstract", but="the paper says 60 million; 60,965,224 rounds to 61")),
    "alexnet_one_tower": Network(alexnet_one_tower, (3, 227, 227)),
    "alexnet_torchvision": Network(alexnet_torchvision, (3, 224, 224), Published("61,100,840", "torchvision"),
                                   Published("0.714G", "torchvision"), torchvision="alexnet"),
}
