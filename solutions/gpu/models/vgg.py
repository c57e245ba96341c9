"""VGG: configurations A, A-LRN, B, C, D and E, with 11 to 19 layers, each with or without batch norm.

Simonyan and Zisserman, Very deep convolutional networks for large-scale image recognition, 2015, table 1, for an
image of 224×224:

    output      A    A-LRN   B     C            D     E
    224×224     1    1       2     2            2     2      layers of conv3-64;  then max pool 2×2, stride 2
    112×112     1    1       2     2            2     2      layers of conv3-128; max pool
     56×56      2    2       2     2 + conv1    3     4      layers of conv3-256; max pool
     28×28      2    2       2     2 + conv1    3     4      layers of conv3-512; max pool
     14×14      2    2       2     2 + conv1    3     4      layers of conv3-512; max pool
      7×7       FC-4096, FC-4096, FC-1000

A-LRN has a local response normalisation behind its first layer, with AlexNet's parameters.  Batch norm came after the
paper.  As in torchvision, a convolution keeps its bias in front of it, though the shift of batch norm makes it useless.
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from solutions.gpu.models import initialise
from solutions.gpu.models.alexnet import LocalResponseNorm, make_classifier
from solutions.gpu.models.network import Network, Published

# A number is a 3×3 convolution with so many filters; a pair ("1x1", filters) is a 1×1 convolution.
CONFIGURATIONS = {
    "A": (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool"),
    "A-LRN": (64, "LRN", "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool"),
    "B": (64, 64, "pool", 128, 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool"),
    "C": (64, 64, "pool", 128, 128, "pool", 256, 256, ("1x1", 256), "pool", 512, 512, ("1x1", 512), "pool",
          512, 512, ("1x1", 512), "pool"),
    "D": (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512, "pool"),
    "E": (64, 64, "pool", 128, 128, "pool", 256, 256, 256, 256, "pool", 512, 512, 512, 512, "pool",
          512, 512, 512, 512, "pool"),
}


def make_features(configuration: tuple, in_channels: int, batch_norm: bool) -> nn.Sequential:
    """The layers in front of the classifier: (N, in_channels, H, W) to (N, 512, H / 32, W / 32)."""
    layers = []
    for entry in configuration:
        if entry == "pool":
            layers.append(nn.MaxPool2d(2, stride=2))
        elif entry == "LRN":
            layers.append(LocalResponseNorm())
        else:
            kernel_size, filters = (1, entry[1]) if isinstance(entry, tuple) else (3, entry)
            layers.append(nn.Conv2d(in_channels, filters, kernel_size, padding=kernel_size // 2))
            if batch_norm:
                layers.append(nn.BatchNorm2d(filters))
            layers.append(nn.ReLU())
            in_channels = filters
    return nn.Sequential(*layers)


class VGG(nn.Module):
    """A VGG network for images (N, in_channels, 224, 224); returns logits (N, num_classes).

    Images of other sizes work from 32×32 on: the last maps are averaged to 7×7.  (The paper, at test time, makes the
    fully connected layers into convolutions instead, and averages their logits: section 3.2.)
    First weights: He's, where the paper starts deep networks from the weights of a shallow one.
    """

    torchvision_names = ()

    def __init__(self, configuration: tuple, num_classes: int = 1000, in_channels: int = 3, batch_norm: bool = False):
        super().__init__()
        self.features = make_features(configuration, in_channels, batch_norm)
        self.classifier = make_classifier(512 * 7 * 7, num_classes)
        initialise.he(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)                                       # (N, 512, 7, 7)
        x = F.adaptive_avg_pool2d(x, 7)                            # the same, unless the image has another size
        return self.classifier(x.flatten(1))                       # (N, num_classes)


def vgg(configuration: str, num_classes: int = 1000, in_channels: int = 3, batch_norm: bool = False) -> VGG:
    """The network of a column of table 1: "A", "A-LRN", "B", "C", "D" or "E"."""
    if configuration not in CONFIGURATIONS:
        raise ValueError(f"configuration is {configuration!r}; the paper has {', '.join(CONFIGURATIONS)}")
    return VGG(CONFIGURATIONS[configuration], num_classes, in_channels, batch_norm)


def _torchvision(name: str, configuration: str, parameters: str, parameters_bn: str, multiply_adds: str) -> dict:
    """The entries of a configuration that torchvision has too, without and with batch norm."""
    return {name + end: Network(partial(vgg, configuration, batch_norm=bool(end)), IMAGE,
                                Published(count, "torchvision"), Published(multiply_adds, "torchvision"),
                                torchvision=name + end)
            for end, count in (("", parameters), ("_bn", parameters_bn))}


IMAGE = (3, 224, 224)
NETWORKS = {
    **_torchvision("vgg11", "A", "132,863,336", "132,868,840", "7.609G"),
    "vgg11_lrn": Network(partial(vgg, "A-LRN"), IMAGE, Published("133M", "paper, table 2")),
    "vgg11_lrn_bn": Network(partial(vgg, "A-LRN", batch_norm=True), IMAGE),
    **_torchvision("vgg13", "B", "133,047,848", "133,053,736", "11.308G"),
    "vgg16_c": Network(partial(vgg, "C"), IMAGE, Published("134M", "paper, table 2")),
    "vgg16_c_bn": Network(partial(vgg, "C", batch_norm=True), IMAGE),
    **_torchvision("vgg16", "D", "138,357,544", "138,365,992", "15.47G"),
    **_torchvision("vgg19", "E", "143,667,240", "143,678,248", "19.632G"),
}
