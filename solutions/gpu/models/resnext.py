"""ResNeXt-50 and 101: residual networks whose 3×3 convolutions are in groups.

Xie, Girshick, Dollár, Tu and He, Aggregated residual transformations for deep neural networks, 2017, table 1, for an
image of 224×224; the rest is that of ResNet:

    layer     output   ResNet-50                   ResNeXt-50 (32×4d)
    conv2_x   56×56    [1×1,   64          ]       [1×1,  128             ]
                       [3×3,   64          ]×3     [3×3,  128, 32 groups  ]×3
                       [1×1,  256          ]       [1×1,  256             ]
    conv3_x   28×28    [128, 128,  512     ]×4     [256,  256,  512       ]×4
    conv4_x   14×14    [256, 256, 1024     ]×6     [512,  512, 1024       ]×6    ×23 in ResNeXt-101
    conv5_x    7×7     [512, 512, 2048     ]×3     [1024, 1024, 2048      ]×3
    parameters         25.5 million                25.0 million

The cardinality, here 32, is how many small transformations are added up in a block; the three forms in figure 3 compute
the same, and a convolution in groups is the shortest of them.  "4d": each has 4 channels in conv2_x, twice as many in
each later stage.  The stride is on the 3×3.  Any image size works.
"""

from __future__ import annotations

from functools import partial

from solutions.gpu.models.network import Network, Published
from solutions.gpu.models.residual import Bottleneck
from solutions.gpu.models.resnet import CONFIGURATIONS, ResNet


def resnext(depth: int, cardinality: int, channels: int, num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """ResNeXt-`depth` (cardinality×channels d): 50 or 101 layers, a number of groups, and the channels of each.

    Raises ValueError where the groups have not 64 channels together in conv2_x, or a multiple of it.
    """
    if depth not in (50, 101):
        raise ValueError(f"depth is {depth}; the paper has 50 and 101")
    widening, rest = divmod(cardinality * channels, 64)
    if rest or not widening:
        raise ValueError(f"{cardinality} groups of {channels} have {cardinality * channels} channels; their number is "
                         f"a multiple of 64, as in 32 groups of 4")
    block = partial(Bottleneck, stride_on="3x3", widening=widening, groups=cardinality)
    return ResNet(block, CONFIGURATIONS[depth], 256, num_classes, in_channels)


IMAGE = (3, 224, 224)
NETWORKS = {
    "resnext50_32x4d": Network(partial(resnext, 50, 32, 4), IMAGE, Published("25,028,904", "torchvision"),
                               Published("4.2G", "paper, table 1"), torchvision="resnext50_32x4d"),
    "resnext101_32x8d": Network(partial(resnext, 101, 32, 8), IMAGE, Published("88,791,336", "torchvision"),
                                Published("16.414G", "torchvision"), torchvision="resnext101_32x8d"),
    "resnext101_64x4d": Network(partial(resnext, 101, 64, 4), IMAGE, Published("83,455,272", "torchvision"),
                                Published("15.46G", "torchvision"), torchvision="resnext101_64x4d"),
}
