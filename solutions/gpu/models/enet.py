"""ENet: a small and quick network for segmentation, and the classifier of ImageNet that was made after it.

Paszke, Chaurasia, Kim and Culurciello, ENet: a deep neural network architecture for real-time semantic segmentation,
2016, table 1, for an image of 512×512:

    block           type                                                  output
    initial         conv 3×3, stride 2, 13, beside max pool of the image  256×256×16
    1.0, 1.1 - 1.4  downsampling, 4 bottlenecks                           128×128×64
    2.0             downsampling                                          64×64×128
    2.1 - 2.8       regular, dilated 2, asymmetric 5, dilated 4,
                    regular, dilated 8, asymmetric 5, dilated 16          64×64×128
    3.1 - 3.8       as 2.1 - 2.8                                          64×64×128
    4.0, 4.1, 4.2   upsampling, 2 bottlenecks                             128×128×64
    5.0, 5.1        upsampling, bottleneck                                256×256×16
    fullconv        transposed conv 2×2, stride 2                         512×512×C

The classifier is "ENet V12", the best, of Culurciello, Training ENet on ImageNet, 2016
(https://culurciello.github.io/tech/2016/06/20/training-enet.html), to which Canziani, Paszke and Culurciello, An
analysis of deep neural network models for practical applications, refer for the ENet of their charts.  For an image of
224×224:

    initial                                                               112×112×16
    downsampling, with 64 maps inside too; 2 bottlenecks                  56×56×128
    downsampling, bottleneck, dilated 2                                   28×28×256
    downsampling, bottleneck, dilated 4                                   14×14×512
    downsampling, bottleneck, dilated 8                                   7×7×1024
    average pool, linear 1000
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solutions.gpu.models import initialise
from solutions.gpu.models.network import Network, Published

# Blocks 2.1 to 2.8: (kind, dilation or kernel size).
SECTION = (("dilated", 1), ("dilated", 2), ("asymmetric", 5), ("dilated", 4), ("dilated", 1), ("dilated", 8),
           ("asymmetric", 5), ("dilated", 16))


def norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm with the authors' ε."""
    return nn.BatchNorm2d(channels, eps=0.001)


def activated(channels: int) -> list[nn.Module]:
    """Batch norm, and a ReLU that learns its slope below 0 for each channel."""
    return [norm(channels), nn.PReLU(channels)]


def make_middle(kind: str, size: int, channels: int) -> list[nn.Module]:
    """The convolution inside a bottleneck: 3×3, dilated or transposed, or size×1 and 1×size behind each other."""
    if kind == "asymmetric":
        half = size // 2
        return [nn.Conv2d(channels, channels, (size, 1), padding=(half, 0), bias=False),
                nn.Conv2d(channels, channels, (1, size), padding=(0, half), bias=False)]
    if kind == "transposed":
        return [nn.ConvTranspose2d(channels, channels, 3, stride=2, padding=1, output_padding=1, bias=False)]
    return [nn.Conv2d(channels, channels, 3, padding=size, dilation=size, bias=False)]


class Bottleneck(nn.Module):
    """1×1 to a quarter of out_channels, a convolution, and 1×1 to out_channels; the input is added.  Figure 2(b).

    kind, size: see `make_middle`.  dropout: of whole maps, in training.  first: size and stride of the first
    convolution.  inside: maps inside, where it is not a quarter.  An input of fewer maps gets maps of zeros.
    """

    def __init__(self, in_channels: int, out_channels: int, dropout: float, kind: str = "dilated", size: int = 1,
                 first: int = 1, inside: int | None = None):
        super().__init__()
        inside = inside or out_channels // 4
        self.branch = nn.Sequential(
            nn.Conv2d(in_channels, inside, first, stride=first, bias=False), *activated(inside),
            *make_middle(kind, size, inside), *activated(inside),
            nn.Conv2d(inside, out_channels, 1, bias=False), norm(out_channels), nn.Dropout2d(dropout))
        self.act = nn.PReLU(out_channels)
        self.more_channels = out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.branch(x) + F.pad(x, (0, 0, 0, 0, 0, self.more_channels)))


class Downsampling(Bottleneck):
    """A bottleneck that halves the size: 2×2, stride 2, in place of its first 1×1, and a max pool of the input."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float, inside: int | None = None):
        super().__init__(in_channels, out_channels, dropout, first=2, inside=inside)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The maps (N, C_out, H / 2, W / 2), and where the maxima were, (N, C_in, H / 2, W / 2)."""
        pooled, indices = F.max_pool2d(x, 2, return_indices=True)
        return self.act(self.branch(x) + F.pad(pooled, (0, 0, 0, 0, 0, self.more_channels))), indices


class Upsampling(Bottleneck):
    """A bottleneck that doubles the size; the input goes through a 1×1 convolution to where maxima were, else is 0."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float):
        super().__init__(in_channels, out_channels, dropout, "transposed")
        self.project = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), norm(out_channels))
        self.unpool = nn.MaxUnpool2d(2, stride=2)

    def forward(self, x: Tensor, indices: Tensor) -> Tensor:
        return self.act(self.branch(x) + self.unpool(self.project(x), indices))  # (N, C_out, 2H, 2W)


class Initial(nn.Module):
    """A 3×3 convolution of stride 2 with 13 filters, and beside it a max pool of the image.  Figure 2(a)."""

    def __init__(self, in_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 13, 3, stride=2, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.act = nn.Sequential(*activated(13 + in_channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.act(torch.cat([self.conv(x), self.pool(x)], dim=1))     # (N, 13 + C, H / 2, W / 2)


class ENet(nn.Module):
    """ENet for images (N, in_channels, H, W), both sides multiples of 8; returns logits (N, num_classes, H, W).

    First weights: He's (the paper names none).
    """

    def __init__(self, num_classes: int = 20, in_channels: int = 3):
        super().__init__()
        start = 13 + in_channels
        self.initial = Initial(in_channels)
        self.down1 = Downsampling(start, 64, 0.01)
        self.stage1 = nn.Sequential(*(Bottleneck(64, 64, 0.01) for _ in range(4)))
        self.down2 = Downsampling(64, 128, 0.1)
        self.stage2 = nn.Sequential(*(Bottleneck(128, 128, 0.1, *block) for block in SECTION))
        self.stage3 = nn.Sequential(*(Bottleneck(128, 128, 0.1, *block) for block in SECTION))
        self.up4 = Upsampling(128, 64, 0.1)
        self.stage4 = nn.Sequential(*(Bottleneck(64, 64, 0.1) for _ in range(2)))
        self.up5 = Upsampling(64, start, 0.1)
        self.stage5 = Bottleneck(start, start, 0.1)
        self.fullconv = nn.ConvTranspose2d(start, num_classes, 2, stride=2)
        initialise.he(self, self.fullconv)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] % 8 or x.shape[3] % 8:
            raise ValueError(f"images are {x.shape[2]}×{x.shape[3]}; ENet takes sides that are multiples of 8, since "
                             "it halves and doubles them three times")
        x, first = self.down1(self.initial(x))                     # (N, 64, H / 4, W / 4)
        x, second = self.down2(self.stage1(x))                     # (N, 128, H / 8, W / 8)
        x = self.stage3(self.stage2(x))
        x = self.stage4(self.up4(x, second))                       # (N, 64, H / 4, W / 4)
        x = self.stage5(self.up5(x, first))                        # (N, 13 + C, H / 2, W / 2)
        return self.fullconv(x)                                    # (N, num_classes, H, W)


class ENetClassifier(nn.Module):
    """ENet V12 for images (N, in_channels, H, W) from 31×31 on; returns logits (N, num_classes).

    First weights: He's.
    """

    def __init__(self, num_classes: int = 1000, in_channels: int = 3):
        super().__init__()
        self.initial = Initial(in_channels)
        self.down = nn.ModuleList([Downsampling(13 + in_channels, 64, 0.01, inside=64), Downsampling(128, 256, 0.01),
                                   Downsampling(256, 512, 0.1), Downsampling(512, 1024, 0.1)])
        self.stages = nn.ModuleList([nn.Sequential(Bottleneck(64, 128, 0.01), Bottleneck(128, 128, 0.01))])
        for channels, dropout, dilation in ((256, 0.01, 2), (512, 0.1, 4), (1024, 0.1, 8)):
            self.stages.append(nn.Sequential(Bottleneck(channels, channels, dropout),
                                             Bottleneck(channels, channels, 0.1, "dilated", dilation)))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(1024, num_classes)
        initialise.he(self, self.fc)

    def forward(self, x: Tensor) -> Tensor:
        x = self.initial(x)                                        # (N, 13 + C, H / 2, W / 2)
        for down, stage in zip(self.down, self.stages, strict=True):
            x, _ = down(x)
            x = stage(x)                                           # (N, 128, H / 4, W / 4) to (N, 1024, H / 32, W / 32)
        return self.fc(self.avgpool(x).flatten(1))                 # (N, num_classes)


MORE = "with the running means and variances of batch norm ENet would have 372,371"
NETWORKS = {
    "enet": Network(ENet, (3, 360, 640), Published("0.37M", "paper, table 3", but=MORE), segmentation=True),
    "enet_classifier": Network(ENetClassifier, (3, 224, 224), multiply_adds=Published("0.8G", "author, 1.6 G-ops")),
}
