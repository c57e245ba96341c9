"""All networks by name.  A new family is one more import and one more line of NETWORKS."""

from __future__ import annotations

import difflib

from torch import nn

from solutions.gpu.models import (
    alexnet,
    cifar_resnet,
    densenet,
    efficientnet,
    enet,
    fcn,
    googlenet,
    inception_v3,
    lenet,
    mobilenet_v1,
    mobilenet_v2,
    nasnet,
    resnet,
    resnext,
    senet,
    vgg,
    wide_resnet,
    zfnet,
)

NETWORKS = (
    lenet.NETWORKS
    | alexnet.NETWORKS
    | zfnet.NETWORKS
    | vgg.NETWORKS
    | googlenet.NETWORKS
    | resnet.NETWORKS
    | cifar_resnet.NETWORKS
    | wide_resnet.NETWORKS
    | resnext.NETWORKS
    | senet.NETWORKS
    | densenet.NETWORKS
    | mobilenet_v1.NETWORKS
    | mobilenet_v2.NETWORKS
    | efficientnet.NETWORKS
    | inception_v3.NETWORKS
    | nasnet.NETWORKS
    | fcn.NETWORKS
    | enet.NETWORKS
)


def create(name: str, **arguments) -> nn.Module:
    """The network `name`, one of NETWORKS, with fresh weights.

    arguments: num_classes, in_channels, and what else its factory takes.  Raises ValueError on an unknown name.
    """
    if name not in NETWORKS:
        near = difflib.get_close_matches(name, NETWORKS, n=3)
        raise ValueError(f"there is no network {name!r}; " + (f"did you mean {' or '.join(near)}?" if near else
                                                              f"there are {', '.join(NETWORKS)}"))
    return NETWORKS[name].create(**arguments)
