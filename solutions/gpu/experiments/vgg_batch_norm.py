"""What goes wrong in a deep VGG without batch norm, at several learning rates.

Simonyan & Zisserman, 2015, section 3.1, could train configuration A from random weights; the deeper ones start from
its trained layers.  Here A and D with an eighth of the filters, images of 32x32, and weights of standard deviation 0.01
as AlexNet's.  With so few filters these shrink what passes through so fast that A does not start either.
"""

import numpy as np
import torch
from torch import nn

from cnnlab.train import Recipe, train
from solutions.gpu.experiments.images import cifar
from solutions.gpu.models import initialise
from solutions.gpu.models.vgg import CONFIGURATIONS, make_features

DATA = "cifar10"
WHAT = ("Training loss of narrow VGGs, mean since the row before, with weights of std 0.01, with He's, "
        "and with weights of std 0.01 and batch norm")

# Weights, batch norm.
NETWORKS = {"std_0.01": (initialise.gaussian, False), "he": (initialise.he, False),
            "std_0.01_batch_norm": (initialise.gaussian, True)}


def run(quick: bool) -> list[dict]:
    if quick:
        return measure(*cifar(train=2000, test=100), configurations="AD", rates=(0.01, 0.1), epochs=4)
    return measure(*cifar(train=5000, test=100), configurations="AD", rates=(0.01, 0.05, 0.2), epochs=5)


def measure(train_set, test_set, configurations, rates, epochs: int, narrower: int = 8, points: int = 20) -> list[dict]:
    """One row a point of the curves; a loss is nan from where it is no longer finite."""
    rows = []
    for letter in configurations:
        for lr in rates:
            losses = {}
            for name, kind in NETWORKS.items():
                print(f"{letter}, {name}, learning rate {lr}")
                losses[name] = _losses(train_set, test_set, vgg(letter, *kind, narrower), lr, epochs)
            for steps in np.array_split(np.arange(len(losses[name])), points):
                rows.append({"configuration": letter, "lr": lr, "step": steps[-1] + 1}
                            | {name: round(float(loss[steps].mean()), 3) for name, loss in losses.items()})
    return rows


def vgg(letter: str, first_weights, batch_norm: bool, narrower: int) -> nn.Sequential:
    """VGG of a configuration with `narrower` times fewer filters, and one linear layer: (N, 3, 32, 32) to (N, 10)."""
    torch.manual_seed(0)
    filters = [v // narrower if isinstance(v, int) else v for v in CONFIGURATIONS[letter]]
    net = nn.Sequential(*make_features(filters, 3, batch_norm), nn.Flatten(), nn.Linear(512 // narrower, 10))
    first_weights(net)
    return net.to(memory_format=torch.channels_last)  # faster on a CPU


def _losses(train_set, test_set, net, lr, epochs):
    """The loss of every step: (steps,)."""
    recipe = Recipe(epochs=epochs, batch_size=128, lr=lr, schedule="constant")
    losses = train(net, train_set, test_set, recipe).loss
    steps = epochs * -(-len(train_set[1]) // recipe.batch_size)
    return np.array(losses + [np.nan] * (steps - len(losses)))
