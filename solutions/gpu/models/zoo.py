"""All networks by name.  A new family is one more import and one more line of NETWORKS."""

from __future__ import annotations

import difflib

from torch import nn

from solutions.gpu.models import (
    alexnet, cifar_resnet, efficientnet, fcn, googlenet, inception_v3, lenet, nasnet, resnet, vgg, zfnet,
)

NETWORKS = (
    lenet.NETWORKS
    | alexnet.NETWORKS
    | zfnet.NETWORKS
    | vgg.NETWORKS
    | googlenet.NETWORKS
    | resnet.NETWORKS
    | cifar_resnet.NETWORKS
    | efficientnet.NETWORKS
    | inception_v3.NETWORKS
    | nasnet.NETWORKS
    | fcn.NETWORKS
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
