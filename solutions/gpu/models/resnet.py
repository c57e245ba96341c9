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

The blocks are in residual.py.  Any image size works.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from solutions.gpu.models import initialise
from solutions.gpu.models.network import Network, Published
from solutions.gpu.models.residual import BasicBlock, Bottleneck, conv, make_stage


class ResNet(nn.Module):
    """A residual network for images (N, in_channels, H, W); returns logits (N, num_classes).

    block: makes what the stages consist of; blocks: how many of it are in conv2_x to conv5_x.
    width: channels that conv2_x puts out: 64 of basic blocks, 256 of bottlenecks; each later stage has twice as many.
    shortcut: see `make_shortcut`.  First weights: He's, as in the paper.
    """

    torchvision_names = (("conv2_x.", "layer1."), ("conv3_x.", "layer2."), ("conv4_x.", "layer3."),
                         ("conv5_x.", "layer4."), ("shortcut.", "downsample."))

    def __init__(self, block: Callable[..., nn.Module], blocks: tuple[int, int, int, int], width: int,
                 num_classes: int = 1000, in_channels: int = 3, shortcut: str | None = "B"):
        super().__init__()
        self.conv1 = conv(in_channels, 64, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2_x = make_stage(block, 64, width, blocks[0], 1, shortcut)
        self.conv3_x = make_stage(block, width, 2 * width, blocks[1], 2, shortcut)
        self.conv4_x = make_stage(block, 2 * width, 4 * width, blocks[2], 2, shortcut)
        self.conv5_x = make_stage(block, 4 * width, 8 * width, blocks[3], 2, shortcut)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * width, num_classes)
        initialise.he(self, self.fc)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))                     # (N, 64, H / 2, W / 2)
        x = self.conv2_x(self.maxpool(x))                          # (N, width, H / 4, W / 4)
        x = self.conv3_x(x)                                        # (N, 2·width, H / 8, W / 8)
        x = self.conv4_x(x)                                        # (N, 4·width, H / 16, W / 16)
        x = self.conv5_x(x)                                        # (N, 8·width, H / 32, W / 32)
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
    block, width = (BasicBlock, 64) if depth < 50 else (partial(Bottleneck, stride_on=stride_on), 256)
    return ResNet(block, CONFIGURATIONS[depth], width, num_classes, in_channels, shortcut)


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
