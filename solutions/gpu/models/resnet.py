"""ResNet-18, 34, 50, 101 and 152, and the plain networks of 18 and 34 layers.

He, Zhang, Ren and Sun, Deep residual learning for image recognition, 2016, table 1, for an image of 224×224:

    layer      output    18-layer      34-layer      50-layer            101-layer  152-layer
    conv1      112×112   7×7, 64, stride 2
    conv2_x     56×56    3×3 max pool, stride 2
                         [3×3,  64]×2  [3×3,  64]×3  [1×1,  64        ]
                         [3×3,  64]    [3×3,  64]    [3×3,  64        ]×3   ×3         ×3
                                                     [1×1, 256        ]
    conv3_x     28×28    [3×3, 128]×2  ...      ×4   [128, 128,  512  ]×4   ×4         ×8
    conv4_x     14×14    [3×3, 256]×2  ...      ×6   [256, 256, 1024  ]×6   ×23        ×36
    conv5_x      7×7     [3×3, 512]×2  ...      ×3   [512, 512, 2048  ]×3   ×3         ×3
                 1×1     average pool, 1000-d fc

Convolutions are followed by batch norm, whose shift does what a bias would, so they have none.  Any image size works.
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from solutions.gpu.models import initialise
from solutions.gpu.models.network import Network, Published


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size of its input at stride 1."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)


class PaddedShortcut(nn.Module):
    """Option A: every `stride`-th pixel, and zeros for the channels that the input does not have; no parameters."""

    def __init__(self, more_channels: int, stride: int):
        super().__init__()
        self.more_channels, self.stride = more_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]                # (N, C_in, H / stride, W / stride)
        return F.pad(x, (0, 0, 0, 0, 0, self.more_channels))       # (N, C_out, H / stride, W / stride)


def make_shortcut(option: str | None, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """What is added to a block's result: the input itself wherever it has the same shape.  Section 3.3.

    option: "A", zeros for the missing channels; "B", a 1×1 convolution; None for a plain network, which adds nothing.
    """
    if option not in ("A", "B", None):
        raise ValueError(f'shortcut is {option!r}; it is "A" (zero padding), "B" (1×1 convolution) or None (plain)')
    if option is None:
        return None
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    if option == "A":
        return PaddedShortcut(out_channels - in_channels, stride)
    return nn.Sequential(conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions of `width` filters, and the shortcut around them.  Figure 5, left."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, shortcut: str | None):
        super().__init__()
        self.conv1 = conv(in_channels, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = make_shortcut(shortcut, in_channels, width, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))                     # (N, width, H / stride, W / stride)
        y = self.bn2(self.conv2(y))
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        return self.relu(y)


class Bottleneck(nn.Module):
    """1×1 to `width` channels, 3×3, 1×1 to 4·width channels, and the shortcut around them.  Figure 5, right."""

    expansion = 4
    stride_on = "1x1"

    def __init__(self, in_channels: int, width: int, stride: int, shortcut: str | None):
        super().__init__()
        first, second = (stride, 1) if self.stride_on == "1x1" else (1, stride)
        self.conv1 = conv(in_channels, width, 1, first)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3, second)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv(width, 4 * width, 1)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.shortcut = make_shortcut(shortcut, in_channels, 4 * width, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))                     # (N, width, ...)
        y = self.relu(self.bn2(self.conv2(y)))                     # (N, width, H / stride, W / stride)
        y = self.bn3(self.conv3(y))                                # (N, 4·width, H / stride, W / stride)
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        return self.relu(y)


class BottleneckV15(Bottleneck):
    """The bottleneck of "ResNet v1.5", as torchvision has it: the stride is on the 3×3, which then skips no pixel."""

    stride_on = "3x3"


def make_stage(block: type[nn.Module], in_channels: int, width: int, blocks: int, stride: int,
               shortcut: str | None) -> nn.Sequential:
    """`blocks` blocks of the same width; the first has the stride, and takes in_channels."""
    inputs = [in_channels] + [block.expansion * width] * (blocks - 1)
    strides = [stride] + [1] * (blocks - 1)
    return nn.Sequential(*(block(c, width, s, shortcut) for c, s in zip(inputs, strides, strict=True)))


class ResNet(nn.Module):
    """A residual network for images (N, in_channels, H, W); returns logits (N, num_classes).

    block: what the stages are made of; blocks: how many of it are in conv2_x to conv5_x.
    shortcut: see `make_shortcut`.  First weights: He's, as in the paper.
    """

    torchvision_names = (("conv2_x.", "layer1."), ("conv3_x.", "layer2."), ("conv4_x.", "layer3."),
                         ("conv5_x.", "layer4."), ("shortcut.", "downsample."))

    def __init__(self, block: type[nn.Module], blocks: tuple[int, int, int, int], num_classes: int = 1000,
                 in_channels: int = 3, shortcut: str | None = "B"):
        super().__init__()
        out = block.expansion
        self.conv1 = conv(in_channels, 64, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2_x = make_stage(block, 64, 64, blocks[0], 1, shortcut)
        self.conv3_x = make_stage(block, 64 * out, 128, blocks[1], 2, shortcut)
        self.conv4_x = make_stage(block, 128 * out, 256, blocks[2], 2, shortcut)
        self.conv5_x = make_stage(block, 256 * out, 512, blocks[3], 2, shortcut)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * out, num_classes)
        initialise.he(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))                     # (N, 64, H / 2, W / 2)
        x = self.conv2_x(self.maxpool(x))                          # (N, 64·expansion, H / 4, W / 4)
        x = self.conv3_x(x)                                        # (N, 128·expansion, H / 8, W / 8)
        x = self.conv4_x(x)                                        # (N, 256·expansion, H / 16, W / 16)
        x = self.conv5_x(x)                                        # (N, 512·expansion, H / 32, W / 32)
        return self.fc(self.avgpool(x).flatten(1))                 # (N, num_classes)


CONFIGURATIONS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def resnet(depth: int, num_classes: int = 1000, in_channels: int = 3, shortcut: str | None = "B",
           stride_on: str = "1x1") -> ResNet:
    """ResNet-`depth`: 18 and 34 of basic blocks; 50, 101 and 152 of bottlenecks.

    shortcut: "B", or "A", which the paper also has for 18 and 34 layers; None makes the plain network.
    stride_on: which convolution of a bottleneck has the stride: "1x1" as in the paper's models, or "3x3" as in
        torchvision's ("v1.5"), with equal parameters and more multiply-adds.
    """
    if depth not in CONFIGURATIONS:
        raise ValueError(f"depth is {depth}; the paper has {', '.join(map(str, CONFIGURATIONS))}")
    if stride_on not in ("1x1", "3x3"):
        raise ValueError(f'stride_on is {stride_on!r}; it is "1x1" (the paper) or "3x3" (v1.5)')
    bottleneck = Bottleneck if stride_on == "1x1" else BottleneckV15
    block = BasicBlock if depth < 50 else bottleneck
    return ResNet(block, CONFIGURATIONS[depth], num_classes, in_channels, shortcut)


IMAGE = (3, 224, 224)
NETWORKS = {
    "plain18": Network(partial(resnet, 18, shortcut=None), IMAGE, multiply_adds=Published("1.8G", "paper, table 1")),
    "plain34": Network(partial(resnet, 34, shortcut=None), IMAGE, multiply_adds=Published("3.6G", "paper, table 1")),
    "resnet18": Network(partial(resnet, 18), IMAGE, Published("11,689,512", "torchvision"),
                        Published("1.814G", "torchvision"), torchvision="resnet18"),
    "resnet34": Network(partial(resnet, 34), IMAGE, Published("21,797,672", "torchvision"),
                        Published("3.664G", "torchvision"), torchvision="resnet34"),
    "resnet50": Network(partial(resnet, 50), IMAGE, Published("25,557,032", "torchvision"),
                        Published("3.8G", "paper, table 1", but="the paper prints 3.8 billion; 3.858 rounds to 3.9")),
    "resnet101": Network(partial(resnet, 101), IMAGE, Published("44,549,160", "torchvision"),
                         Published("7.6G", "paper, table 1")),
    "resnet152": Network(partial(resnet, 152), IMAGE, Published("60,192,808", "torchvision"),
                         Published("11.3G", "paper, table 1")),
    "resnet50_v1_5": Network(partial(resnet, 50, stride_on="3x3"), IMAGE, Published("25,557,032", "torchvision"),
                             Published("4.089G", "torchvision"), torchvision="resnet50"),
    "resnet101_v1_5": Network(partial(resnet, 101, stride_on="3x3"), IMAGE, Published("44,549,160", "torchvision"),
                              Published("7.801G", "torchvision"), torchvision="resnet101"),
    "resnet152_v1_5": Network(partial(resnet, 152, stride_on="3x3"), IMAGE, Published("60,192,808", "torchvision"),
                              Published("11.514G", "torchvision"), torchvision="resnet152"),
}
