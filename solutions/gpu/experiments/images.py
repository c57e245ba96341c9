"""The images that the experiments are made on: a part of CIFAR-10, smaller if wanted."""

import torch

from cnnlab.data import cifar10


def cifar(train: int, test: int, size: int = 32):
    """The first `train` training and `test` test images: two pairs of uint8 (N, 3, size, size) and labels (N,)."""
    return tuple((shrink(torch.tensor(images[:n]), size), torch.tensor(labels[:n]))
                 for (images, labels), n in zip(cifar10(), (train, test), strict=True))


def shrink(images, size: int):
    """The mean of squares of pixels: uint8 (N, C, H, W) to (N, C, size, size)."""
    return torch.nn.functional.adaptive_avg_pool2d(images.float(), size).round().to(torch.uint8)
