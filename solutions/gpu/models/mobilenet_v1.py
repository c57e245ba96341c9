"""MobileNet: depthwise separable convolutions, and two numbers that make the network smaller.

Howard et al., MobileNets: efficient convolutional neural networks for mobile vision applications, 2017, table 1, for an
image of 224×224; "separable" is a 3×3 in which each channel is a group, and a 1×1, both with batch norm and ReLU:

    layer                   output            layer                    output
    conv 3×3, stride 2      112×112×32        separable, stride 2      14×14×512
    separable               112×112×64        separable ×5             14×14×512
    separable, stride 2      56×56×128        separable, stride 2       7×7×1024
    separable                56×56×128        separable                 7×7×1024
    separable, stride 2      28×28×256        average pool              1×1×1024
    separable                28×28×256        linear 1000

For C channels in and out, the pair costs 9 + C multiplications for each value of the output where a 3×3 convolution
costs 9·C.  The width multiplier α makes each layer α times as wide; the resolution multiplier ρ is an image ρ times as
high and wide: both cut the multiply-adds to about the square.  In the paper's table the last 3×3 has stride 2, which
the sizes beside it do not allow.  Any image size works.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from solutions.gpu.models import initialise, residual
from solutions.gpu.models.network import Network, Published

# Of the separable convolutions: filters, stride.
LAYERS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1,
         act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """A convolution that keeps the size of its input at stride 1, batch norm, and an activation function."""
    return nn.Sequential(residual.conv(in_channels, out_channels, kernel_size, stride, groups),
                         nn.BatchNorm2d(out_channels), act())


def separable(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """A 3×3 convolution of each channel by itself, and a 1×1 convolution of all.  Figure 3, right."""
    return nn.Sequential(conv(in_channels, in_channels, 3, stride, groups=in_channels),
                         conv(in_channels, out_channels, 1))       # (N, C_out, H / stride, W / stride)


class MobileNetV1(nn.Module):
    """MobileNet for images (N, in_channels, H, W); returns logits (N, num_classes).

    width: α, how many times as wide as in the table; the paper has 1, 0.75, 0.5 and 0.25.
    First weights: He's (the paper names none).
    """

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, width: float = 1.0):
        super().__init__()
        channels = int(32 * width)
        layers = [conv(in_channels, channels, 3, 2)]
        for filters, stride in LAYERS:
            layers.append(separable(channels, int(filters * width), stride))
            channels = int(filters * width)
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        initialise.he(self, self.fc)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)                                       # (N, 1024·width, H / 32, W / 32)
        return self.fc(self.avgpool(x).flatten(1))                 # (N, num_classes)


CUT = "the paper prints 290 million; 290.7 rounds to 291, which the authors' code names"
NETWORKS = {
    "mobilenet_v1": Network(MobileNetV1, (3, 224, 224), Published("4,231,976", "timm"),
                            Published("569M", "paper, table 6")),
    "mobilenet_v1_0_75": Network(partial(MobileNetV1, width=0.75), (3, 224, 224), Published("2.6M", "paper, table 6"),
                                 Published("325M", "paper, table 6")),
    "mobilenet_v1_0_5": Network(partial(MobileNetV1, width=0.5), (3, 224, 224), Published("1.3M", "paper, table 6"),
                                Published("149M", "paper, table 6")),
    "mobilenet_v1_0_25": Network(partial(MobileNetV1, width=0.25), (3, 224, 224), Published("0.5M", "paper, table 6"),
                                 Published("41M", "paper, table 6")),
    "mobilenet_v1_at_192": Network(MobileNetV1, (3, 192, 192), Published("4.2M", "paper, table 7"),
                                   Published("418M", "paper, table 7")),
    "mobilenet_v1_at_160": Network(MobileNetV1, (3, 160, 160), Published("4.2M", "paper, table 7"),
                                   Published("290M", "paper, table 7", but=CUT)),
    "mobilenet_v1_at_128": Network(MobileNetV1, (3, 128, 128), Published("4.2M", "paper, table 7"),
                                   Published("186M", "paper, table 7")),
}
