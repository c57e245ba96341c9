"""NASNet-A: two cells that a search found on CIFAR-10, stacked, for CIFAR-10 and for ImageNet.

Zoph, Vasudevan, Shlens and Le, Learning transferable architectures for scalable image recognition, 2018, figures 2 and
4.  A cell gets the outputs of the two cells before it, h0 of the last and h1 of the one before that, each brought to F
channels by a 1×1 convolution.  Its five blocks add two results each; what they compute was searched for:

    block   normal cell                          reduction cell, where operations on h0 and h1 have stride 2
    b2      separable 5×5 h0 + separable 3×3 h1  separable 5×5 h0 + separable 7×7 h1
    b3      separable 5×5 h1 + separable 3×3 h1  max pool h0 + separable 7×7 h1
    b4      average pool h0 + h1                 average pool h0 + separable 5×5 h1
    b5      average pool h1 + average pool h1    b3 + average pool b2
    b6      separable 3×3 h0 + h0                separable 3×3 b2 + max pool h0
    output  h1, b2, b3, b4, b5, b6: 6F channels  b3, b4, b5, b6: 4F channels

"N @ P" has N normal cells, a reduction cell, N normal cells, a reduction cell, N normal cells, whose output has P
channels; F doubles with each reduction, so F = P / 24 at first.  In front of that stands a 3×3 convolution, and for
ImageNet two more reduction cells of F / 4 and F / 2 channels.  Pools are 3×3; separable convolutions are applied twice,
and ReLU stands in front of convolutions.  Any image size works.

ScheduledDropPath (section 3), which leaves out blocks' operations in training, is not here.  The authors' code differs
in two places: the first cell for CIFAR-10 takes the first convolution's maps as h1 as they are, and in 6 @ 4032 the h1
behind a reduction is one cell further back.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solutions.gpu.models import initialise
from solutions.gpu.models.network import Network, Published

# The blocks b2 to b6, of two operations and their inputs each: 0 and 1 are h0 and h1, and so on.
NORMAL = ((("separable5", 0), ("separable3", 1)), (("separable5", 1), ("separable3", 1)), (("average", 0), ("same", 1)),
          (("average", 1), ("average", 1)), (("separable3", 0), ("same", 0)))
REDUCTION = ((("separable5", 0), ("separable7", 1)), (("max", 0), ("separable7", 1)),
             (("average", 0), ("separable5", 1)), (("same", 3), ("average", 2)), (("separable3", 2), ("max", 0)))


def norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm with the authors' ε."""
    return nn.BatchNorm2d(channels, eps=0.001)


def separable(in_channels: int, out_channels: int, kernel_size: int, stride: int) -> nn.Sequential:
    """ReLU, depthwise and 1×1 convolution and batch norm, twice; the first depthwise one has the stride."""
    layers = []
    for channels, step in ((in_channels, stride), (out_channels, 1)):
        layers += [nn.ReLU(), nn.Conv2d(channels, channels, kernel_size, step, kernel_size // 2, groups=channels,
                                        bias=False),
                   nn.Conv2d(channels, out_channels, 1, bias=False), norm(out_channels)]
    return nn.Sequential(*layers)


def make_operation(name: str, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The operation `name` of the tables above, for maps of in_channels."""
    if name == "average":
        return nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
    if name == "max":
        return nn.MaxPool2d(3, stride, padding=1)
    if name == "same":
        return nn.Identity()
    return separable(in_channels, out_channels, int(name[-1]), stride)


class Halve(nn.Module):
    """Halves the size by two 1×1 convolutions of stride 2, one of them on pixels that the other skips."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.relu = nn.ReLU()
        self.even = nn.Conv2d(in_channels, out_channels // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(in_channels, out_channels - out_channels // 2, 1, stride=2, bias=False)
        self.bn = norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)                                           # (N, C_in, H, W)
        shifted = F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]             # a row and a column on; zeros behind the last ones
        return self.bn(torch.cat([self.even(x), self.odd(shifted)], dim=1))  # (N, C_out, H / 2, W / 2), rounded up


class Cell(nn.Module):
    """A normal or a reduction cell of so many `channels`, F.

    last, before: channels of its two inputs; before is None where nothing stands there, and the last one is taken as it
    is.  halve: whether the second input is twice as large as the first.
    """

    def __init__(self, last: int, before: int | None, channels: int, reduction: bool, halve: bool):
        super().__init__()
        blocks = REDUCTION if reduction else NORMAL
        self.outputs = (3, 4, 5, 6) if reduction else (1, 2, 3, 4, 5, 6)
        self.out_channels = channels * len(self.outputs)
        self.inputs = [(left, right) for (_, left), (_, right) in blocks]
        self.fit_last = project(last, channels)
        self.fit_before = (nn.Identity() if before is None else Halve(before, channels) if halve else
                           project(before, channels))
        widths = (channels, last if before is None else channels)
        self.blocks = nn.ModuleList(
            nn.ModuleList(make_operation(name, widths[i] if i < 2 else channels, channels,
                                         2 if reduction and i < 2 else 1) for name, i in block) for block in blocks)

    def forward(self, last: Tensor, before: Tensor) -> Tensor:
        states = [self.fit_last(last), self.fit_before(before)]    # (N, F, H, W) each
        for (left, right), (i, j) in zip(self.blocks, self.inputs, strict=True):
            states.append(left(states[i]) + right(states[j]))      # (N, F, H / stride, W / stride)
        return torch.cat([states[i] for i in self.outputs], dim=1)  # (N, 6F or 4F, H / stride, W / stride)


def project(in_channels: int, out_channels: int) -> nn.Sequential:
    """ReLU, 1×1 convolution, batch norm."""
    return nn.Sequential(nn.ReLU(), nn.Conv2d(in_channels, out_channels, 1, bias=False), norm(out_channels))


class NASNet(nn.Module):
    """A NASNet-A for images (N, in_channels, H, W); returns logits (N, num_classes).

    cells: normal cells of each size, N.  penultimate: channels of the last, P, a multiple of 24.  stem: filters of the
    first convolution.  imagenet: whether it has stride 2 and two more reduction cells behind it.  dropout: of the
    values in front of the classifier.  First weights: He's (the paper names none).
    """

    def __init__(self, cells: int, penultimate: int, stem: int, imagenet: bool, dropout: float,
                 num_classes: int = 1000, in_channels: int = 3):
        if penultimate % 24:
            raise ValueError(f"penultimate is {penultimate}; it is a multiple of 24: 4 · 6 times the first F")
        super().__init__()
        width = penultimate // 24
        first = dict(stride=2, padding=0) if imagenet else dict(stride=1, padding=1)
        self.stem = nn.Sequential(nn.Conv2d(in_channels, stem, 3, bias=False, **first), norm(stem))
        plan = [("reduction", width // 4), ("reduction", width // 2)] if imagenet else []
        plan += cells * [("normal", width)]
        for channels in (2 * width, 4 * width):
            plan += [("reduction", channels)] + cells * [("normal", channels)]
        self.cells = nn.ModuleList()
        last, before, halve = stem, None if imagenet else stem, False
        for kind, channels in plan:
            cell = Cell(last, before, channels, kind == "reduction", halve)
            self.cells.append(cell)
            last, before, halve = cell.out_channels, last, kind == "reduction"
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(penultimate, num_classes)
        initialise.he(self, self.fc)

    def forward(self, x: Tensor) -> Tensor:
        last = before = self.stem(x)                               # (N, stem, H / 2, W / 2) for ImageNet
        for cell in self.cells:
            last, before = cell(last, before), last
        x = self.avgpool(self.relu(last))                          # (N, P, 1, 1), of maps of H / 32 or H / 4
        return self.fc(self.dropout(x.flatten(1)))                 # (N, num_classes)


nasnet_mobile = partial(NASNet, 4, 1056, 32, True, 0.5)
nasnet_large = partial(NASNet, 6, 4032, 96, True, 0.5)
nasnet_cifar = partial(NASNet, 6, 768, 96, False, 0.0, num_classes=10)

NETWORKS = {
    "nasnet_mobile": Network(nasnet_mobile, (3, 224, 224), Published("5,289,978", "Keras"),
                             Published("564M", "paper, table 3")),
    "nasnet_large": Network(nasnet_large, (3, 331, 331), Published("88,753,150", "timm"),
                            Published("23.8G", "paper, table 2")),
    "nasnet_cifar": Network(nasnet_cifar, (3, 32, 32), Published("3.3M", "paper, table 1")),
}
