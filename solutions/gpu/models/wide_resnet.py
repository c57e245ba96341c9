"""Wide residual networks: WRN-d-k for CIFAR, k times as wide as ResNet's, and WRN-50-2 and WRN-101-2 for ImageNet.

Zagoruyko and Komodakis, Wide residual networks, 2016, table 1, for an image of 32×32; all convolutions are 3×3:

    layer    output   WRN-d-k, d = 6n + 4
    conv1    32×32    16
    conv2    32×32    [16·k, 16·k]×n
    conv3    16×16    [32·k, 32·k]×n
    conv4     8×8     [64·k, 64·k]×n
              1×1     average pool, linear 10

A block has batch norm and ReLU in front of each convolution (He et al., Identity mappings in deep residual networks,
2016), so nothing stands between the sums.  d counts convolutions: 1 + 6n, and a 1×1 shortcut for each stage, although
the first stage needs none where k = 1.  For ImageNet, the bottlenecks of ResNet have a 3×3 that is twice as wide, in
torchvision with the stride on it.  Any image size works.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from solutions.gpu.models import initialise
from solutions.gpu.models.network import Network, Published
from solutions.gpu.models.residual import Bottleneck, conv
from solutions.gpu.models.resnet import CONFIGURATIONS, ResNet


class PreActivationBlock(nn.Module):
    """Batch norm, ReLU and a 3×3 convolution, twice, added to the input or to its 1×1 convolution.  Figure 1(c)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = conv(in_channels, out_channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv(out_channels, out_channels, 3)
        same = in_channels == out_channels and stride == 1
        self.shortcut = None if same else conv(in_channels, out_channels, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(x))                                 # (N, C_in, H, W)
        if self.shortcut is not None:
            x = self.shortcut(y)                                   # (N, C_out, H / stride, W / stride)
        y = self.relu(self.bn2(self.conv1(y)))                     # (N, C_out, H / stride, W / stride)
        return x + self.conv2(y)


class WideResNet(nn.Module):
    """WRN of 6·blocks + 4 layers for images (N, in_channels, H, W); returns logits (N, num_classes).

    blocks: how many are in each of the three stages; widening: k.  First weights: He's.
    """

    def __init__(self, blocks: int, widening: int, num_classes: int = 10, in_channels: int = 3):
        super().__init__()
        self.conv1 = conv(in_channels, 16, 3)
        stages, channels = [], 16
        for width, stride in ((16, 1), (32, 2), (64, 2)):
            for i in range(blocks):
                stages.append(PreActivationBlock(channels, width * widening, stride if i == 0 else 1))
                channels = width * widening
        self.blocks = nn.Sequential(*stages)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        initialise.he(self, self.fc)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.conv1(x))                             # (N, 64·k, H / 4, W / 4)
        x = self.relu(self.bn(x))
        return self.fc(self.avgpool(x).flatten(1))                 # (N, num_classes)


def cifar_wide_resnet(depth: int, widening: int, num_classes: int = 10, in_channels: int = 3) -> WideResNet:
    """WRN-`depth`-`widening`; depth is 6n + 4."""
    if depth < 10 or depth % 6 != 4:
        raise ValueError(f"depth is {depth}; it is 6n + 4, such as 10, 16, 22, 28 or 40")
    return WideResNet((depth - 4) // 6, widening, num_classes, in_channels)


def wide_resnet(depth: int, num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """WRN-`depth`-2 of bottlenecks, 50 or 101 layers, as torchvision has it."""
    if depth not in (50, 101):
        raise ValueError(f"depth is {depth}; there are 50 and 101")
    block = partial(Bottleneck, stride_on="3x3", widening=2)
    return ResNet(block, CONFIGURATIONS[depth], 256, num_classes, in_channels)


PARAMETERS = {(40, 1): "0.6M", (40, 4): "8.9M", (16, 8): "11.0M", (28, 10): "36.5M"}
NETWORKS = {f"cifar_wide_resnet{d}_{k}": Network(partial(cifar_wide_resnet, d, k), (3, 32, 32),
                                                 Published(count, "paper, table 4"))
            for (d, k), count in PARAMETERS.items()}
NETWORKS |= {
    "wide_resnet50_2": Network(partial(wide_resnet, 50), (3, 224, 224), Published("68,883,240", "torchvision"),
                               Published("11.398G", "torchvision"), torchvision="wide_resnet50_2"),
    "wide_resnet101_2": Network(partial(wide_resnet, 101), (3, 224, 224), Published("126,886,696", "torchvision"),
                                Published("22.753G", "torchvision"), torchvision="wide_resnet101_2"),
}
