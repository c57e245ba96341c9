"""SE-ResNet-50, 101 and 152: residual networks that weigh their channels by what is in the whole image.

Hu, Shen and Sun, Squeeze-and-excitation networks, 2018, figure 3 and table 1: in each block of ResNet, the last
batch norm's maps, C channels of H×W, are multiplied by one number for each channel, and then added to the shortcut:

    squeeze      average over the map       C
    excitation   linear, ReLU               C / 16
                 linear, sigmoid            C      numbers between 0 and 1
    scale        times the maps             C×H×W

The rest is that of ResNet, with its table of layers.  Any image size works.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from solutions.gpu.models.network import Network, Published
from solutions.gpu.models.residual import Bottleneck
from solutions.gpu.models.resnet import CONFIGURATIONS, ResNet


class SqueezeExcitation(nn.Module):
    """Multiplies each channel by a number between 0 and 1 that is computed from the means of all channels.

    squeezed: channels between the two linear layers, which are 1×1 convolutions here; act: what stands between them.
    """

    def __init__(self, channels: int, squeezed: int, act: Callable[[], nn.Module] = nn.ReLU):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        gates = self.fc2(self.act(self.fc1(self.pool(x))))         # (N, C, 1, 1)
        return x * gates.sigmoid()                                 # (N, C, H, W)


class SEBottleneck(Bottleneck):
    """ResNet's bottleneck with squeeze and excitation in front of the sum.  Figure 3."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: str | None):
        super().__init__(in_channels, out_channels, stride, shortcut)
        self.se = SqueezeExcitation(out_channels, out_channels // 16)

    def residual(self, x: Tensor) -> Tensor:
        return self.se(super().residual(x))                        # (N, C_out, H / stride, W / stride)


def se_resnet(depth: int, num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """SE-ResNet-`depth`, of 50, 101 or 152 layers."""
    if depth not in (50, 101, 152):
        raise ValueError(f"depth is {depth}; the paper has 50, 101 and 152")
    return ResNet(SEBottleneck, CONFIGURATIONS[depth], 256, num_classes, in_channels)


BUT = "the paper counts more than we do: 7.58G and 11.30G where ResNet-101 and 152 have 7.57G and 11.28G here"
COUNTS = {50: ("28,088,024", "3.87G"), 101: ("49,326,872", "7.60G"), 152: ("66,821,848", "11.32G")}
NETWORKS = {f"se_resnet{depth}": Network(partial(se_resnet, depth), (3, 224, 224), Published(parameters, "timm"),
                                         Published(multiply_adds, "paper, table 2", but=BUT))
            for depth, (parameters, multiply_adds) in COUNTS.items()}
