"""Two 3x3 layers against one 5x5, and three against one 7x7, which see the same: size, cost and accuracy.

Simonyan & Zisserman, Very deep convolutional networks for large-scale image recognition, 2015, section 2.3.
"""

import torch
from torch import nn

from cnnlab.train import Recipe, train
from solutions.gpu.experiments.images import cifar
from solutions.gpu.models import initialise
from solutions.gpu.models.network import count_multiply_adds, count_parameters

DATA = "cifar10"
WHAT = "Size, cost and errors of networks of two stages, each of one large kernel or of several 3x3; equal training"

STAGES = {"one 5x5": [5], "two 3x3": [3, 3], "one 7x7": [7], "three 3x3": [3, 3, 3]}


def run(quick: bool) -> list[dict]:
    if quick:
        return measure(*cifar(train=4000, test=1000, size=16), width=16, epochs=3, seeds=1)
    return measure(*cifar(train=10000, test=2000, size=16), width=16, epochs=8, seeds=3)


def measure(train_set, test_set, width: int, epochs: int, seeds: int) -> list[dict]:
    """One row a network and seed; train_error is of the last epoch, as met during it."""
    rows = []
    for seed in range(seeds):
        for name, kernels in STAGES.items():
            torch.manual_seed(seed)
            net = network(kernels, width).to(memory_format=torch.channels_last)  # faster on a CPU
            print(f"{name}, seed {seed}")
            history = train(net, train_set, test_set, Recipe(epochs=epochs, batch_size=128, seed=seed))
            rows.append({"stage": name, "seed": seed, "parameters": count_parameters(net),
                         "multiply_adds": count_multiply_adds(net, tuple(train_set[0].shape[1:])),
                         "train_error": round(1 - history.train_score[-1], 4),
                         "test_error": round(1 - history.score[-1], 4)})
    return rows


def network(kernels: list[int], width: int) -> nn.Sequential:
    """A 1x1 layer to `width` channels, twice a stage and pooling, and a linear layer: (N, 3, H, W) to (N, 10)."""
    def stage():
        return [layer for k in kernels for layer in _conv(width, width, k)] + [nn.MaxPool2d(2)]

    net = nn.Sequential(*_conv(3, width, 1), *stage(), *stage(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                        nn.Linear(width, 10))
    initialise.he(net)
    return net


def _conv(in_channels, out_channels, kernel_size):
    return [nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
            nn.BatchNorm2d(out_channels), nn.ReLU()]
