"""The networks for CIFAR-10 of 20, 32, 44, 56 and 110 layers, residual and plain.

He, Zhang, Ren and Sun, Deep residual learning for image recognition, 2016, section 4.2, for an image of 32×32:

    output      32×32      16×16     8×8
    layers      1 + 2n     2n        2n        all 3×3, of which the first is no part of a block
    filters     16         32        64        then average pool, 10-d fc: 6n + 2 layers

The shortcuts are padded with zeros (option A) in all cases, so a residual network has as many parameters as the plain
one.  Convolutions are followed by batch norm and have no bias.  Any image size works.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from solutions.gpu.models import initialise
from solutions.gpu.models.network import Network, Published
from solutions.gpu.models.residual import BasicBlock, conv, make_stage


class CifarResNet(nn.Module):
    """A network of 6·blocks + 2 layers for images (N, in_channels, H, W); returns logits (N, num_classes).

    blocks: how many blocks of two layers are in each of the three stages.
    shortcut: "A" as in the paper, "B" (1×1 convolutions), or None for a plain network.
    width: filters of the first stage; the second has twice, the third four times as many.  First weights: He's, as in
    the paper.
    """

    def __init__(self, blocks: int, num_classes: int = 10, in_channels: int = 3, shortcut: str | None = "A",
                 width: int = 16):
        super().__init__()
        self.conv1 = conv(in_channels, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.stage1 = make_stage(BasicBlock, width, width, blocks, 1, shortcut)
        self.stage2 = make_stage(BasicBlock, width, 2 * width, blocks, 2, shortcut)
        self.stage3 = make_stage(BasicBlock, 2 * width, 4 * width, blocks, 2, shortcut)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, num_classes)
        initialise.he(self, self.fc)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))                     # (N, width, H, W)
        x = self.stage1(x)                                         # (N, width, H, W)
        x = self.stage2(x)                                         # (N, 2·width, H / 2, W / 2)
        x = self.stage3(x)                                         # (N, 4·width, H / 4, W / 4)
        return self.fc(self.avgpool(x).flatten(1))                 # (N, num_classes)


def cifar_resnet(depth: int, num_classes: int = 10, in_channels: int = 3, shortcut: str | None = "A",
                 width: int = 16) -> CifarResNet:
    """The CIFAR network of `depth` = 6n + 2 layers; see `CifarResNet`."""
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"depth is {depth}; it is 6n + 2, such as 8, 14, 20, 32, 44, 56 or 110")
    return CifarResNet((depth - 2) // 6, num_classes, in_channels, shortcut, width)


IMAGE = (3, 32, 32)
PARAMETERS = {20: "0.27M", 32: "0.46M", 44: "0.66M", 56: "0.85M", 110: "1.7M"}
NETWORKS = {f"cifar_plain{depth}": Network(partial(cifar_resnet, depth, shortcut=None), IMAGE) for depth in PARAMETERS}
NETWORKS |= {f"cifar_resnet{depth}": Network(partial(cifar_resnet, depth), IMAGE, Published(count, "paper, table 6"))
             for depth, count in PARAMETERS.items()}
