"""The LeNets of the experiments, and the digits they are trained on where MNIST would take too long."""

from dataclasses import replace

import torch
import torch.nn.functional as F

from cnnlab.data import digits
from cnnlab.train import train
from solutions.gpu.models import create
from solutions.gpu.train import RECIPES


def small_digits():
    """The built-in digits, enlarged to 24×24 in 32×32, in two pairs: 1,000 to learn from and 797 to test."""
    images, labels = digits()
    x = F.interpolate(torch.tensor(images * 255 / 16)[:, None], (24, 24), mode="bilinear")  # (1797, 1, 24, 24)
    x, y = F.pad(x, [4] * 4).round().to(torch.uint8), torch.tensor(labels)
    return (x[:1000], y[:1000]), (x[1000:], y[1000:])


def trained(recipe: str, train_set, test_set, seed: int = 0, epochs: int | None = None):
    """A LeNet trained by one of the recipes of `solutions.gpu.train`, with its first weights drawn from the seed."""
    recipe = replace(RECIPES[recipe].recipe, seed=seed, epochs=epochs or RECIPES[recipe].recipe.epochs)
    torch.manual_seed(seed)
    net = create("lenet")
    # A thousand test images will do to see how it goes: small training sets have many epochs.
    train(net, train_set, tuple(part[:1000] for part in test_set), recipe)
    return net
