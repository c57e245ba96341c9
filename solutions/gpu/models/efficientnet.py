"""EfficientNet-B0 to B7: a small network, and seven larger ones that scale depth, width and resolution together.

Tan and Le, EfficientNet: rethinking model scaling for convolutional neural networks, 2019, table 1, B0 for an image of
224×224; MBConv6 is MobileNet v2's inverted residual with six times as many channels inside, and squeeze and excitation:

    stage  operator                output       layers
    1      conv 3×3, stride 2      112×112×32   1
    2      MBConv1, 3×3            112×112×16   1
    3      MBConv6, 3×3, stride 2  56×56×24     2
    4      MBConv6, 5×5, stride 2  28×28×40     2
    5      MBConv6, 3×3, stride 2  14×14×80     3
    6      MBConv6, 5×5            14×14×112    3
    7      MBConv6, 5×5, stride 2  7×7×192      4
    8      MBConv6, 3×3            7×7×320      1
    9      conv 1×1, average pool, linear 1000; the conv has 1280 filters, four times as many as stage 8

Compound scaling (equation 3) with φ: α^φ = 1.2^φ times as many layers, β^φ = 1.1^φ times as many channels, and images
γ^φ = 1.15^φ times as wide: about 2^φ times the multiply-adds.  The coefficients of B1 to B7 are those of the authors'
code, rounded by hand: B7's stand for φ = 6.2, 7.3 and 7.  Convolutions are followed by batch norm and have no bias.
Any image size works.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from solutions.gpu.models import initialise
from solutions.gpu.models.mobilenet_v2 import scale_channels
from solutions.gpu.models.network import Network, Published
from solutions.gpu.models.senet import SqueezeExcitation

# Of stages 2 to 8: how many times wider the blocks are inside, kernel size, stride, channels, layers.
STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
          (6, 3, 1, 320, 1))

# Of B0 to B7: width, depth, resolution, and the part of the last values that is dropped in training.
SCALES = ((1.0, 1.0, 224, 0.2), (1.0, 1.1, 240, 0.2), (1.1, 1.2, 260, 0.3), (1.2, 1.4, 300, 0.3),
          (1.4, 1.8, 380, 0.4), (1.6, 2.2, 456, 0.4), (1.8, 2.6, 528, 0.5), (2.0, 3.1, 600, 0.5))


class StochasticDepth(nn.Module):
    """In training, leaves a block out for `rate` of the images, and makes up for it in the others.

    Huang et al., Deep networks with stochastic depth, 2016; the block then passes its input on.
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(x.shape[0], 1, 1, 1, device=x.device) >= self.rate
        return x * kept / (1 - self.rate)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.4g}"


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1, *,
         norm: Callable[[int], nn.Module], act: bool = True) -> nn.Sequential:
    """A convolution that keeps the size of its input at stride 1, batch norm, and SiLU (x · sigmoid(x))."""
    layers = [nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False),
              norm(out_channels)]
    return nn.Sequential(*layers, *([nn.SiLU()] if act else []))


class MBConv(nn.Module):
    """1×1 to `expand` times the channels, depthwise convolution, squeeze and excitation, and 1×1 without activation.

    The input is added to it where it has the same shape; drop: how often the rest is left out then.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, expand: int, drop: float,
                 norm: Callable[[int], nn.Module]):
        super().__init__()
        inside = expand * in_channels
        widen = [conv(in_channels, inside, 1, norm=norm)] if expand > 1 else []
        self.block = nn.Sequential(
            *widen,                                                        # (N, inside, H, W)
            conv(inside, inside, kernel_size, stride, groups=inside, norm=norm),
            SqueezeExcitation(inside, in_channels // 4, nn.SiLU),          # (N, inside, H / stride, W / stride)
            conv(inside, out_channels, 1, norm=norm, act=False))           # (N, C_out, H / stride, W / stride)
        self.drop = StochasticDepth(drop) if stride == 1 and in_channels == out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x) if self.drop is None else x + self.drop(self.block(x))


class EfficientNet(nn.Module):
    """An EfficientNet for images (N, in_channels, H, W); returns logits (N, num_classes).

    width, depth: how many times the channels and the layers of B0.  dropout: of the values in front of the classifier.
    norm: makes a batch norm for so many channels.  In training, the last blocks are left out for almost a fifth of the
    images, and earlier ones less often, the first never.  First weights: He's, where the authors' code counts fan-out.
    """

    torchvision_names = ()

    def __init__(self, width: float, depth: float, dropout: float, num_classes: int = 1000, in_channels: int = 3,
                 norm: Callable[[int], nn.Module] = nn.BatchNorm2d):
        super().__init__()
        channels = scale_channels(32, width)
        stages, count = [conv(in_channels, channels, 3, 2, norm=norm)], 0
        layers = [math.ceil(depth * n) for *_, n in STAGES]
        for (expand, kernel_size, stride, out_channels, _), n in zip(STAGES, layers, strict=True):
            out_channels, blocks = scale_channels(out_channels, width), []
            for i in range(n):
                drop = 0.2 * (count + i) / sum(layers)
                blocks.append(MBConv(channels, out_channels, kernel_size, stride if i == 0 else 1, expand, drop, norm))
                channels = out_channels
            stages.append(nn.Sequential(*blocks))
            count += n
        self.features = nn.Sequential(*stages, conv(channels, 4 * channels, 1, norm=norm))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(4 * channels, num_classes))
        initialise.he(self, self.classifier[-1])

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)                                       # (N, 1280·width, H / 32, W / 32)
        return self.classifier(self.avgpool(x).flatten(1))         # (N, num_classes)


def efficientnet(number: int, num_classes: int = 1000, in_channels: int = 3) -> EfficientNet:
    """EfficientNet-B`number`, 0 to 7, with the batch norm of torchvision's: the paper's in B5 to B7, else PyTorch's."""
    if number not in range(len(SCALES)):
        raise ValueError(f"number is {number}; the paper has B0 to B7")
    width, depth, _, dropout = SCALES[number]
    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01) if number >= 5 else nn.BatchNorm2d
    return EfficientNet(width, depth, dropout, num_classes, in_channels, norm)


COUNTS = (("5,288,548", "0.386G"), ("7,794,184", "0.687G"), ("9,109,994", None), ("12,233,232", "1.827G"),
          ("19,341,616", "4.394G"), ("30,389,784", "10.266G"), ("43,040,704", "19.068G"), ("66,347,960", "37.746G"))
NETWORKS = {
    f"efficientnet_b{i}": Network(
        partial(efficientnet, i), (3, SCALES[i][2], SCALES[i][2]), Published(parameters, "torchvision"),
        # Torchvision counts B2 for images of 288×288.
        Published(multiply_adds, "torchvision") if multiply_adds else Published("1.0G", "paper, table 2"),
        torchvision=f"efficientnet_b{i}")
    for i, (parameters, multiply_adds) in enumerate(COUNTS)}
