"""GoogLeNet: nine inception modules, and two auxiliary classifiers for training.

Szegedy et al., Going deeper with convolutions, 2015, table 1, for an image of 224×224; max pools are 3×3, stride 2:

    layer               output       1×1   3×3 reduce   3×3   5×5 reduce   5×5   pool projection
    conv 7×7, stride 2  112×112×64
    max pool, LRN       56×56×64
    conv 1×1, 3×3       56×56×192                 64    192
    LRN, max pool       28×28×192
    inception 3a        28×28×256     64          96    128           16    32    32
    inception 3b        28×28×480    128         128    192           32    96    64
    max pool            14×14×480
    inception 4a        14×14×512    192          96    208           16    48    64     then auxiliary classifier 1
    inception 4b        14×14×512    160         112    224           24    64    64
    inception 4c        14×14×512    128         128    256           24    64    64
    inception 4d        14×14×528    112         144    288           32    64    64     then auxiliary classifier 2
    inception 4e        14×14×832    256         160    320           32   128   128
    max pool            7×7×832
    inception 5a        7×7×832      256         160    320           32   128   128
    inception 5b        7×7×1024     384         192    384           48   128   128
    average pool        1×1×1024
    dropout 40 %, linear 1000
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solutions.gpu.models import initialise
from solutions.gpu.models.alexnet import LocalResponseNorm
from solutions.gpu.models.network import Network, Published

INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64), "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64), "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
}


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, *, batch_norm: bool) -> nn.Sequential:
    """A convolution that keeps the size of its input at stride 1, and a ReLU; batch norm replaces the bias."""
    layers = OrderedDict(conv=nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2,
                                        bias=not batch_norm))
    if batch_norm:
        layers["bn"] = nn.BatchNorm2d(out_channels, eps=0.001)
    layers["relu"] = nn.ReLU()
    return nn.Sequential(layers)


class Inception(nn.Module):
    """Four branches side by side, of one row of table 1; their channels are concatenated.  Figure 2(b)."""

    def __init__(self, in_channels: int, widths: tuple[int, int, int, int, int, int], *, as_torchvision: bool = False):
        super().__init__()
        one, reduce3, three, reduce5, five, project = widths
        block = partial(conv, batch_norm=as_torchvision)
        self.one = block(in_channels, one, 1)
        self.three = nn.Sequential(block(in_channels, reduce3, 1), block(reduce3, three, 3))
        self.five = nn.Sequential(block(in_channels, reduce5, 1), block(reduce5, five, 3 if as_torchvision else 5))
        self.pool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), block(in_channels, project, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], dim=1)


class AuxiliaryHead(nn.Module):
    """A small classifier on the maps in the middle of the network.  Section 5."""

    def __init__(self, in_channels: int, num_classes: int, *, as_torchvision: bool = False):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4) if as_torchvision else nn.AvgPool2d(5, stride=3)
        self.conv = conv(in_channels, 128, 1, batch_norm=as_torchvision)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.pool(x))                                # (N, 128, 4, 4)
        x = F.adaptive_avg_pool2d(x, 4)                            # the same, unless the image has another size
        x = F.relu(self.fc1(x.flatten(1)))                         # (N, 1024)
        return self.fc2(self.dropout(x))                           # (N, num_classes)


class GoogLeNet(nn.Module):
    """GoogLeNet for images (N, in_channels, H, W) of any size.

    Returns logits (N, num_classes).  With auxiliary heads and in training mode, it returns the logits of the network,
    of head 1 and of head 2; the paper's loss is the first one's cross-entropy plus 0.3 times that of each head.
    First weights: He's (the paper names none).
    """

    torchvision_names = (("inceptions.", "inception"), (".one.", ".branch1."), (".three.", ".branch2."),
                         (".five.", ".branch3."), (".pool.1.", ".branch4.1."))

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, aux_heads: bool = True,
                 as_torchvision: bool = False):
        super().__init__()
        block = partial(conv, batch_norm=as_torchvision)
        norm = nn.Identity if as_torchvision else LocalResponseNorm
        self.conv1 = block(in_channels, 64, 7, 2)
        self.norm1 = norm()
        self.conv2 = block(64, 64, 1)
        self.conv3 = block(64, 192, 3)
        self.norm2 = norm()
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.last_pool = nn.MaxPool2d(2 if as_torchvision else 3, stride=2, ceil_mode=True)
        self.inceptions = nn.ModuleDict()
        channels = 192
        for name, widths in INCEPTIONS.items():
            self.inceptions[name] = Inception(channels, widths, as_torchvision=as_torchvision)
            channels = widths[0] + widths[2] + widths[4] + widths[5]
        self.aux1 = AuxiliaryHead(512, num_classes, as_torchvision=as_torchvision) if aux_heads else None
        self.aux2 = AuxiliaryHead(528, num_classes, as_torchvision=as_torchvision) if aux_heads else None
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2 if as_torchvision else 0.4)
        self.fc = nn.Linear(1024, num_classes)
        initialise.he(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        x = self.norm1(self.pool(self.conv1(x)))                   # (N, 64, H / 4, W / 4)
        x = self.pool(self.norm2(self.conv3(self.conv2(x))))       # (N, 192, H / 8, W / 8)
        auxiliary = []
        for name, inception in self.inceptions.items():
            x = inception(x)
            if name == "3b":
                x = self.pool(x)                                   # (N, 480, H / 16, W / 16)
            elif name == "4e":
                x = self.last_pool(x)                              # (N, 832, H / 32, W / 32)
            elif self.training and self.aux1 is not None and name in ("4a", "4d"):
                auxiliary.append((self.aux1 if name == "4a" else self.aux2)(x))
        x = self.dropout(self.avgpool(x).flatten(1))               # (N, 1024)
        logits = self.fc(x)                                        # (N, num_classes)
        return (logits, *auxiliary) if auxiliary else logits


def googlenet(num_classes: int = 1000, in_channels: int = 3, aux_heads: bool = True,
              as_torchvision: bool = False) -> GoogLeNet:
    """GoogLeNet of the paper, or as torchvision has it.

    as_torchvision: batch norm instead of biases and LRN, 3×3 convolutions in place of 5×5, a 2×2 last max pool, an
        adaptive pool in the heads, dropout 20 %.
    """
    return GoogLeNet(num_classes, in_channels, aux_heads, as_torchvision)


IMAGE = (3, 224, 224)
FIRST = "table 1 has 34M multiply-adds for conv 7×7, where 112·112·64·7·7·3 is 118M; the rest agrees"
NETWORKS = {
    "googlenet": Network(googlenet, IMAGE, multiply_adds=Published("1.5G", "paper, section 1", but=FIRST)),
    "googlenet_no_heads": Network(partial(googlenet, aux_heads=False), IMAGE, Published(
        "6.8M", "paper, sum of table 1", but="several rows of table 1, in K of 1024, are below what its sizes give"),
        Published("1.5G", "paper, section 1", but=FIRST)),
    "googlenet_torchvision": Network(partial(googlenet, aux_heads=False, as_torchvision=True), IMAGE,
                                     Published("6,624,904", "torchvision"), Published("1.498G", "torchvision"),
                                     torchvision="googlenet"),
}
