"""Inception-v3: GoogLeNet's idea with batch norm, and large kernels split up into small and one-dimensional ones.

Szegedy et al., Rethinking the inception architecture for computer vision, 2016, section 6, for an image of 299×299, as
the authors' code and torchvision have it, which are not quite table 1; zeros keep the size except where "valid" stands:

    layer                                output
    conv 3×3, 32, stride 2, valid        149×149×32
    conv 3×3, 32, valid                  147×147×32
    conv 3×3, 64                         147×147×64
    max pool 3×3, stride 2                73×73×64
    conv 1×1, 80; conv 3×3, 192, valid    71×71×192
    max pool 3×3, stride 2                35×35×192
    5b to 5d  3 modules after figure 5    35×35×288    5×5, or 3×3 and 3×3 behind each other
    6a        after figure 10             17×17×768    convolutions and a pool of stride 2, side by side
    6b to 6e  4 modules, figure 6         17×17×768    1×7 and 7×1 in place of 7×7; then the auxiliary classifier
    7a        after figure 10              8×8×1280
    7b, 7c    2 modules, figure 7          8×8×2048    1×3 and 3×1 side by side
    average pool, dropout 50 %, linear 1000
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solutions.gpu.models import initialise
from solutions.gpu.models.network import Network, Published


def conv(in_channels: int, out_channels: int, kernel_size: int | tuple[int, int], stride: int = 1,
         valid: bool = False) -> nn.Sequential:
    """A convolution without bias, batch norm and ReLU; unless it is `valid`, zeros keep the size at stride 1."""
    kernel_size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    padding = 0 if valid else (kernel_size[0] // 2, kernel_size[1] // 2)
    return nn.Sequential(OrderedDict(
        conv=nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False),
        bn=nn.BatchNorm2d(out_channels, eps=0.001), relu=nn.ReLU()))


class Branches(nn.ModuleDict):
    """Modules side by side, which all get the input; their channels are concatenated."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.values()], dim=1)


def pool_and_project(in_channels: int, width: int) -> nn.Sequential:
    """The branch with a pool in all modules that keep the size; its average counts the zeros around the maps too."""
    return nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1), conv(in_channels, width, 1))


def module_5(in_channels: int, pool: int) -> Branches:
    """Figure 5 with one 5×5 left in it, on 35×35: 224 + pool channels."""
    return Branches({
        "branch1x1": conv(in_channels, 64, 1),
        "branch5x5": nn.Sequential(conv(in_channels, 48, 1), conv(48, 64, 5)),
        "branch3x3dbl": nn.Sequential(conv(in_channels, 64, 1), conv(64, 96, 3), conv(96, 96, 3)),
        "branch_pool": pool_and_project(in_channels, pool)})


def module_6(in_channels: int, width: int) -> Branches:
    """Figure 6, on 17×17: 4·192 channels; inside its branches of 7×7, `width`."""
    row, column = (1, 7), (7, 1)
    return Branches({
        "branch1x1": conv(in_channels, 192, 1),
        "branch7x7": nn.Sequential(conv(in_channels, width, 1), conv(width, width, row), conv(width, 192, column)),
        "branch7x7dbl": nn.Sequential(conv(in_channels, width, 1), conv(width, width, column), conv(width, width, row),
                                      conv(width, width, column), conv(width, 192, row)),
        "branch_pool": pool_and_project(in_channels, 192)})


def module_7(in_channels: int) -> Branches:
    """Figure 7, on 8×8: 320 + 2·384 + 2·384 + 192 = 2048 channels."""
    def both() -> Branches:
        return Branches({"a": conv(384, 384, (1, 3)), "b": conv(384, 384, (3, 1))})

    return Branches({
        "branch1x1": conv(in_channels, 320, 1),
        "branch3x3": nn.Sequential(conv(in_channels, 384, 1), both()),
        "branch3x3dbl": nn.Sequential(conv(in_channels, 448, 1), conv(448, 384, 3), both()),
        "branch_pool": pool_and_project(in_channels, 192)})


def reduction_6(in_channels: int) -> Branches:
    """Figure 10, 35×35 to 17×17: 384 + 96 channels, and the input's."""
    return Branches({
        "branch3x3": conv(in_channels, 384, 3, 2, valid=True),
        "branch3x3dbl": nn.Sequential(conv(in_channels, 64, 1), conv(64, 96, 3), conv(96, 96, 3, 2, valid=True)),
        "branch_pool": nn.MaxPool2d(3, stride=2)})


def reduction_7(in_channels: int) -> Branches:
    """Figure 10, 17×17 to 8×8: 320 + 192 channels, and the input's."""
    return Branches({
        "branch3x3": nn.Sequential(conv(in_channels, 192, 1), conv(192, 320, 3, 2, valid=True)),
        "branch7x7x3": nn.Sequential(conv(in_channels, 192, 1), conv(192, 192, (1, 7)), conv(192, 192, (7, 1)),
                                     conv(192, 192, 3, 2, valid=True)),
        "branch_pool": nn.MaxPool2d(3, stride=2)})


class AuxiliaryHead(nn.Module):
    """A small classifier on the last maps of 17×17; it regularises, rather than helps deep layers learn.  Section 4."""

    def __init__(self, in_channels: int, num_classes: int):
        super().__init__()
        self.pool = nn.AvgPool2d(5, stride=3)
        self.conv0 = conv(in_channels, 128, 1)
        self.conv1 = conv(128, 768, 5, valid=True)
        self.fc = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv0(self.pool(x))                               # (N, 128, 5, 5)
        x = self.conv1(F.adaptive_avg_pool2d(x, 5))                # (N, 768, 1, 1), pooled for images of other sizes
        return self.fc(x.flatten(1))                               # (N, num_classes)


class InceptionV3(nn.Module):
    """Inception-v3 for images (N, in_channels, H, W) of any size from 75×75 on; 107×107 in training with its head.

    Returns logits (N, num_classes).  With its auxiliary head and in training mode, it returns the logits of the network
    and of the head; the authors' loss is the first one's cross-entropy plus 0.4 times the head's.  First weights: He's
    (the paper names none).
    """

    torchvision_names = ((".0.conv", "_1.conv"), (".0.bn", "_1.bn"), (".1.a.", "_2a."), (".1.b.", "_2b."),
                         (".2.a.", "_3a."), (".2.b.", "_3b."), ("branch_pool.1.", "branch_pool."),
                         *((f".{i}.", f"_{i + 1}.") for i in range(1, 5)))

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, aux_heads: bool = True):
        super().__init__()
        self.Conv2d_1a_3x3 = conv(in_channels, 32, 3, 2, valid=True)
        self.Conv2d_2a_3x3 = conv(32, 32, 3, valid=True)
        self.Conv2d_2b_3x3 = conv(32, 64, 3)
        self.pool = nn.MaxPool2d(3, stride=2)
        self.Conv2d_3b_1x1 = conv(64, 80, 1)
        self.Conv2d_4a_3x3 = conv(80, 192, 3, valid=True)
        self.Mixed_5b = module_5(192, pool=32)
        self.Mixed_5c = module_5(256, pool=64)
        self.Mixed_5d = module_5(288, pool=64)
        self.Mixed_6a = reduction_6(288)
        self.Mixed_6b = module_6(768, width=128)
        self.Mixed_6c = module_6(768, width=160)
        self.Mixed_6d = module_6(768, width=160)
        self.Mixed_6e = module_6(768, width=192)
        self.AuxLogits = AuxiliaryHead(768, num_classes) if aux_heads else None
        self.Mixed_7a = reduction_7(768)
        self.Mixed_7b = module_7(1280)
        self.Mixed_7c = module_7(2048)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(2048, num_classes)
        initialise.he(self, self.fc, *([self.AuxLogits.fc] if aux_heads else []))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))                                # (N, 32, 147, 147)
        x = self.pool(self.Conv2d_2b_3x3(x))                                         # (N, 64, 73, 73)
        x = self.pool(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))                     # (N, 192, 35, 35)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))                           # (N, 288, 35, 35)
        x = self.Mixed_6a(x)                                                         # (N, 768, 17, 17)
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))            # (N, 768, 17, 17)
        auxiliary = self.AuxLogits(x) if self.training and self.AuxLogits is not None else None
        x = self.Mixed_7a(x)                                                         # (N, 1280, 8, 8)
        x = self.Mixed_7c(self.Mixed_7b(x))                                          # (N, 2048, 8, 8)
        logits = self.fc(self.dropout(self.avgpool(x).flatten(1)))                   # (N, num_classes)
        return logits if auxiliary is None else (logits, auxiliary)


IMAGE = (3, 299, 299)
NETWORKS = {
    "inception_v3": Network(InceptionV3, IMAGE, Published("27,161,264", "torchvision"),
                            Published("5.713G", "torchvision"), torchvision="inception_v3"),
    "inception_v3_no_heads": Network(partial(InceptionV3, aux_heads=False), IMAGE, Published("23,834,568", "timm"),
                                     Published("5.713G", "torchvision")),
}
