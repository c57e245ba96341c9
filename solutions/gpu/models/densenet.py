"""DenseNet-121, 161, 169 and 201, and the networks for CIFAR: layers that see the maps of all layers before them.

Huang, Liu, van der Maaten and Weinberger, Densely connected convolutional networks, 2017, table 1, for an image of
224×224; each layer adds k maps to those it was given.  k is 32, and 48 in DenseNet-161, which is in the paper's first
versions only:

    layer             output     DenseNet-121   161   169   201
    conv              112×112    7×7, 2k filters, stride 2
    max pool           56×56     3×3, stride 2
    dense block 1      56×56     [1×1, 4k; 3×3, k] × 6 in all
    transition 1       28×28     1×1, half of the maps; average pool 2×2, stride 2
    dense block 2      28×28     ×12 in all
    transition 2       14×14
    dense block 3      14×14     ×24            ×36   ×32   ×48
    transition 3        7×7
    dense block 4       7×7      ×16            ×24   ×32   ×32
                        1×1      average pool, linear 1000

For CIFAR (section 3): a 3×3 convolution, and three blocks of equal depth.  "DenseNet (L, k)" has L layers, 3×3 alone in
its blocks, 16 filters in front, and transitions that keep all maps; "DenseNet-BC (L, k)" has the bottlenecks, the 2k
filters and the compression of the table.  Batch norm and ReLU stand in front of each convolution.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn

from solutions.gpu.models import initialise
from solutions.gpu.models.network import Network, Published
from solutions.gpu.models.residual import conv


def norm_relu_conv(number: int, in_channels: int, out_channels: int, kernel_size: int) -> dict[str, nn.Module]:
    """Batch norm, ReLU, and a convolution that keeps the size, with their number in a layer."""
    return {f"norm{number}": nn.BatchNorm2d(in_channels), f"relu{number}": nn.ReLU(),
            f"conv{number}": conv(in_channels, out_channels, kernel_size)}


class DenseLayer(nn.Sequential):
    """A 3×3 convolution to `growth` maps, behind a 1×1 to four times as many with `bottleneck`; added to its input."""

    def __init__(self, in_channels: int, growth: int, bottleneck: bool):
        if bottleneck:
            layers = norm_relu_conv(1, in_channels, 4 * growth, 1) | norm_relu_conv(2, 4 * growth, growth, 3)
        else:
            layers = norm_relu_conv(1, in_channels, growth, 3)
        super().__init__(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, super().forward(x)], dim=1)           # (N, C_in + growth, H, W)


def transition(in_channels: int, out_channels: int) -> nn.Sequential:
    """A 1×1 convolution, and an average pool to half the height and width."""
    return nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(in_channels), relu=nn.ReLU(),
                                     conv=conv(in_channels, out_channels, 1), pool=nn.AvgPool2d(2)))


class DenseNet(nn.Module):
    """A DenseNet for images (N, in_channels, H, W); returns logits (N, num_classes).

    layers: how many are in each dense block; growth: k, the maps that each of them adds.
    bottleneck: whether layers have a 1×1 convolution, and transitions halve the number of maps ("BC").
    large: whether the first convolution is that for ImageNet, which with its max pool leaves a quarter of the height
        and width; it needs images from 29×29 on, the one for CIFAR, with three blocks, from 4×4 on.
    First weights: He's, as in the paper.
    """

    torchvision_names = ()

    def __init__(self, layers: tuple[int, ...], growth: int, num_classes: int = 1000, in_channels: int = 3,
                 bottleneck: bool = True, large: bool = True):
        super().__init__()
        channels = 2 * growth if bottleneck else 16
        if large:
            features = OrderedDict(conv0=conv(in_channels, channels, 7, 2), norm0=nn.BatchNorm2d(channels),
                                   relu0=nn.ReLU(), pool0=nn.MaxPool2d(3, stride=2, padding=1))
        else:
            features = OrderedDict(conv0=conv(in_channels, channels, 3))
        for i, n in enumerate(layers, 1):
            block = OrderedDict()
            for j in range(n):
                block[f"denselayer{j + 1}"] = DenseLayer(channels + j * growth, growth, bottleneck)
            features[f"denseblock{i}"] = nn.Sequential(block)
            channels += n * growth
            if i < len(layers):
                kept = channels // 2 if bottleneck else channels
                features[f"transition{i}"] = transition(channels, kept)
                channels = kept
        features[f"norm{len(layers) + 1}"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(features)
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)
        initialise.he(self, self.classifier)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.features(x))                            # (N, C, H / 32, W / 32); for CIFAR, / 4
        return self.classifier(self.avgpool(x).flatten(1))         # (N, num_classes)


CONFIGURATIONS = {121: (6, 12, 24, 16), 161: (6, 12, 36, 24), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}


def densenet(depth: int, num_classes: int = 1000, in_channels: int = 3) -> DenseNet:
    """DenseNet-`depth`: 121, 169 and 201 with 32 maps a layer, 161 with 48."""
    if depth not in CONFIGURATIONS:
        raise ValueError(f"depth is {depth}; there are {', '.join(map(str, CONFIGURATIONS))}")
    return DenseNet(CONFIGURATIONS[depth], 48 if depth == 161 else 32, num_classes, in_channels)


def cifar_densenet(depth: int, growth: int, bottleneck: bool, num_classes: int = 10, in_channels: int = 3) -> DenseNet:
    """DenseNet-BC (L = depth, k = growth) with `bottleneck`, DenseNet (L, k) without."""
    layers, rest = divmod(depth - 4, 6 if bottleneck else 3)
    if layers < 1 or rest:
        raise ValueError(f"depth is {depth}; it is " + ("6n + 4 with bottlenecks, such as 40, 100 or 190" if bottleneck
                                                        else "3n + 4 without bottlenecks, such as 22, 40 or 100"))
    return DenseNet((layers,) * 3, growth, num_classes, in_channels, bottleneck, large=False)


NETWORKS = {
    f"densenet{depth}": Network(partial(densenet, depth), (3, 224, 224), Published(parameters, "torchvision"),
                                Published(multiply_adds, "torchvision"), torchvision=f"densenet{depth}")
    for depth, parameters, multiply_adds in ((121, "7,978,856", "2.834G"), (161, "28,681,000", "7.728G"),
                                             (169, "14,149,480", "3.36G"), (201, "20,013,928", "4.291G"))}
NETWORKS |= {
    f"cifar_densenet{'_bc' if bottleneck else ''}{depth}_{growth}": Network(
        partial(cifar_densenet, depth, growth, bottleneck), (3, 32, 32), Published(parameters, "paper, table 2"))
    for depth, growth, bottleneck, parameters in ((40, 12, False, "1.0M"), (100, 12, False, "7.0M"),
                                                  (100, 12, True, "0.8M"), (190, 40, True, "25.6M"))}
