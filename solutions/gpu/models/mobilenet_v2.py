"""MobileNet v2: inverted residuals, whose shortcuts join the narrow ends.

Sandler, Howard, Zhu, Zhmoginov and Chen, MobileNetV2: inverted residuals and linear bottlenecks, 2018, table 2, for an
image of 224×224:

    layer                     output       inside      blocks
    conv 3×3, stride 2        112×112×32
    inverted residual         112×112×16   ×1          1
    inverted residual, s. 2    56×56×24    ×6          2
    inverted residual, s. 2    28×28×32    ×6          3
    inverted residual, s. 2    14×14×64    ×6          4
    inverted residual          14×14×96    ×6          3
    inverted residual, s. 2     7×7×160    ×6          3
    inverted residual           7×7×320    ×6          1
    conv 1×1                    7×7×1280
    average pool                1×1×1280
    linear 1000

"×6": so many times the channels of the input inside a block.  The last convolution of a block has no activation
function: a ReLU would destroy what is in few channels (section 3.2).  ReLU6 is min(max(x, 0), 6).  Any image size
works.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from solutions.gpu.models import initialise, mobilenet_v1, residual
from solutions.gpu.models.network import Network, Published

# Of the inverted residuals: how many times wider inside, channels, blocks, stride of the first.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

conv = partial(mobilenet_v1.conv, act=nn.ReLU6)


def scale_channels(channels: int, width: float) -> int:
    """width · channels, as a multiple of 8: the nearest, or the next where that is more than a tenth too few."""
    exact = channels * width
    nearest = max(8, int(exact + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * exact else nearest + 8


class InvertedResidual(nn.Module):
    """1×1 to `expand` times the channels, 3×3 of each channel, and 1×1 without activation; see table 1.

    The input is added where it has the same shape.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expand: int):
        super().__init__()
        inside = expand * in_channels
        widen = [conv(in_channels, inside, 1)] if expand > 1 else []
        self.conv = nn.Sequential(
            *widen,                                                # (N, inside, H, W)
            conv(inside, inside, 3, stride, groups=inside),        # (N, inside, H / stride, W / stride)
            residual.conv(inside, out_channels, 1),                # (N, C_out, H / stride, W / stride)
            nn.BatchNorm2d(out_channels))
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.has_shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """MobileNet v2 for images (N, in_channels, H, W); returns logits (N, num_classes).

    width: how many times as wide as in the table, in multiples of 8 channels; the last convolution is never narrower.
    First weights: He's (the paper names none).
    """

    torchvision_names = ()

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, width: float = 1.0):
        super().__init__()
        channels, last = scale_channels(32, width), scale_channels(1280, max(width, 1.0))
        layers = [conv(in_channels, channels, 3, 2)]
        for expand, filters, blocks, stride in STAGES:
            for i in range(blocks):
                out_channels = scale_channels(filters, width)
                layers.append(InvertedResidual(channels, out_channels, stride if i == 0 else 1, expand))
                channels = out_channels
        self.features = nn.Sequential(*layers, conv(channels, last, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, num_classes))
        initialise.he(self, self.classifier[1])

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)                                       # (N, 1280, H / 32, W / 32)
        return self.classifier(self.avgpool(x).flatten(1))         # (N, num_classes)


NETWORKS = {
    "mobilenet_v2": Network(MobileNetV2, (3, 224, 224), Published("3,504,872", "torchvision"),
                            Published("0.301G", "torchvision"), torchvision="mobilenet_v2"),
    "mobilenet_v2_1_4": Network(partial(MobileNetV2, width=1.4), (3, 224, 224), Published("6,108,776", "timm"),
                                Published("582M", "the authors' code")),
}
