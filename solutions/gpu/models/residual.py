"""What residual networks are made of: a convolution, shortcuts, the two blocks, and a stage of blocks.

He, Zhang, Ren and Sun, Deep residual learning for image recognition, 2016, section 3.3 and figure 5.  The bottleneck's
3×3 may be wider, as in Wide ResNet, and in groups, as in ResNeXt.  Convolutions are followed by batch norm, whose
shift does what a bias would, so they have none.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size of its input at stride 1."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False)


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


class ResidualBlock(nn.Module):
    """What both blocks compute: relu(residual(x) + shortcut(x)), or relu(residual(x)) in a plain network."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.residual(x)                                       # (N, C_out, H / stride, W / stride)
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        return self.relu(y)


class BasicBlock(ResidualBlock):
    """Two 3×3 convolutions, and the shortcut around them.  Figure 5, left."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: str | None):
        super().__init__()
        self.conv1 = conv(in_channels, out_channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv(out_channels, out_channels, 3)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = make_shortcut(shortcut, in_channels, out_channels, stride)
        self.relu = nn.ReLU()

    def residual(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))                     # (N, C_out, H / stride, W / stride)
        return self.bn2(self.conv2(y))


class Bottleneck(ResidualBlock):
    """1×1 to a quarter of the output channels, 3×3, 1×1, and the shortcut around them.  Figure 5, right.

    stride_on: which convolution has the stride: "1x1" as in the paper, or "3x3" ("v1.5"), which then skips no pixel.
    widening: how many times the quarter are inside; groups: of the 3×3, which sees its own part of the channels only.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: str | None, stride_on: str = "1x1",
                 widening: int = 1, groups: int = 1):
        super().__init__()
        if stride_on not in ("1x1", "3x3"):
            raise ValueError(f'stride_on is {stride_on!r}; it is "1x1" (the paper) or "3x3" (v1.5)')
        first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
        width = widening * out_channels // 4
        self.conv1 = conv(in_channels, width, 1, first)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3, second, groups)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv(width, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = make_shortcut(shortcut, in_channels, out_channels, stride)
        self.relu = nn.ReLU()

    def residual(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))                     # (N, width, ...)
        y = self.relu(self.bn2(self.conv2(y)))                     # (N, width, H / stride, W / stride)
        return self.bn3(self.conv3(y))


def make_stage(block: Callable[..., nn.Module], in_channels: int, out_channels: int, blocks: int, stride: int,
               shortcut: str | None) -> nn.Sequential:
    """`blocks` blocks that put out out_channels; the first has the stride, and takes in_channels."""
    first = block(in_channels, out_channels, stride, shortcut)
    return nn.Sequential(first, *(block(out_channels, out_channels, 1, shortcut) for _ in range(blocks - 1)))
