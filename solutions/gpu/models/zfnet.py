"""ZFNet: AlexNet with a finer first layer, in one tower.

Zeiler and Fergus, Visualizing and understanding convolutional networks, 2014, figure 3, for an image of 224×224:

    layer                               output
    conv1  7×7, 96, stride 2            110×110×96
    max pool 3×3, stride 2, LRN         55×55×96
    conv2  5×5, 256, stride 2           26×26×256
    max pool 3×3, stride 2, LRN         13×13×256
    conv3  3×3, 384, padding 1          13×13×384       512 in the wider network
    conv4  3×3, 384, padding 1          13×13×384       1024
    conv5  3×3, 256, padding 1          13×13×256       512
    max pool 3×3, stride 2              6×6×256
    fc6 4096, fc7 4096, fc8 1000

The figure gives sizes and no padding: conv1 needs 1, and pooling has to round up.  The wider network, model (b) of
table 2, is what other texts call ZFNet.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from solutions.gpu.models import initialise
from solutions.gpu.models.alexnet import LocalResponseNorm, make_classifier
from solutions.gpu.models.network import Network


class ZFNet(nn.Module):
    """ZFNet for images (N, in_channels, 224, 224); returns logits (N, num_classes).

    filters: of conv3, conv4 and conv5.  Images of other sizes work from 29×29 on: the last maps are averaged to 6×6.
    First weights: N(0, 0.01²), biases 0, as in section 3.
    """

    def __init__(self, filters: tuple[int, int, int], num_classes: int = 1000, in_channels: int = 3):
        super().__init__()
        c3, c4, c5 = filters
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 96, 7, stride=2, padding=1), nn.ReLU(),
            nn.MaxPool2d(3, stride=2, ceil_mode=True), LocalResponseNorm(),
            nn.Conv2d(96, 256, 5, stride=2), nn.ReLU(),
            nn.MaxPool2d(3, stride=2, ceil_mode=True), LocalResponseNorm(),
            nn.Conv2d(256, c3, 3, padding=1), nn.ReLU(),
            nn.Conv2d(c3, c4, 3, padding=1), nn.ReLU(),
            nn.Conv2d(c4, c5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, stride=2, ceil_mode=True))
        self.classifier = make_classifier(c5 * 6 * 6, num_classes)
        initialise.gaussian(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)                                       # (N, c5, 6, 6)
        x = F.adaptive_avg_pool2d(x, 6)                            # the same, unless the image has another size
        return self.classifier(x.flatten(1))                       # (N, num_classes)


def zfnet(num_classes: int = 1000, in_channels: int = 3) -> ZFNet:
    """The network of figure 3."""
    return ZFNet((384, 384, 256), num_classes, in_channels)


def zfnet_wide(num_classes: int = 1000, in_channels: int = 3) -> ZFNet:
    """The network with more filters in conv3 to conv5, model (b) of table 2."""
    return ZFNet((512, 1024, 512), num_classes, in_channels)


NETWORKS = {"zfnet": Network(zfnet, (3, 224, 224)), "zfnet_wide": Network(zfnet_wide, (3, 224, 224))}
