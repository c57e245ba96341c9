"""Every network of a small search space, trained once on the built-in digits, so that searches can be compared.

A search that trains networks can be run a few times only; one that looks its scores up in a table can be run a
thousand times (Ying et al., NAS-Bench-101, 2019).  Real et al., Regularized evolution for image classifier architecture
search, 2019; Tan et al., MnasNet, 2019.
"""

from itertools import product

import numpy as np
import torch
from torch import nn

from cnnlab.data import digits
from cnnlab.train import Recipe, evaluate, train
from solutions.gpu.models.network import count_multiply_adds, count_parameters

WHAT = ("Each genome (places in the lists of widths, of kinds of blocks and of repeats), trained once on 1,097 digits: "
        "the part of 350 validation and of 350 test images put into the right class")

WIDTHS = (4, 8, 16, 32), (8, 16, 32, 64)  # of the two stages
REPEATS = (1, 2, 3, 4)  # blocks of the second stage
GENES = ("width1", "width2", "kind1", "kind2", "repeats")
RECIPE = Recipe(epochs=4, batch_size=64, lr=0.1)


def conv(c_in, c_out, kernel_size, stride=1, groups=1, activation=nn.ReLU):
    """A convolution without bias, batch norm, and an activation."""
    return nn.Sequential(nn.Conv2d(c_in, c_out, kernel_size, stride, kernel_size // 2, groups=groups, bias=False),
                         nn.BatchNorm2d(c_out), activation())


def conv3(c_in, c_out, stride):
    return conv(c_in, c_out, 3, stride)


def conv5(c_in, c_out, stride):
    return conv(c_in, c_out, 5, stride)


def separable(c_in, c_out, stride):
    """Howard et al., MobileNets, 2017."""
    return nn.Sequential(conv(c_in, c_in, 3, stride, groups=c_in), conv(c_in, c_out, 1))


class Inverted(nn.Module):
    """Sandler et al., MobileNetV2, 2018, with an expansion of 4."""

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        hidden = 4 * c_in
        self.body = nn.Sequential(conv(c_in, hidden, 1, activation=nn.ReLU6),
                                  conv(hidden, hidden, 3, stride, groups=hidden, activation=nn.ReLU6),
                                  conv(hidden, c_out, 1, activation=nn.Identity))
        self.skip = stride == 1 and c_in == c_out

    def forward(self, x):
        return x + self.body(x) if self.skip else self.body(x)


KINDS = (conv3, conv5, separable, Inverted)


def network(genome) -> nn.Module:
    """The network that five genes describe, for 8x8 images of one channel."""
    first, second = (widths[gene] for widths, gene in zip(WIDTHS, genome))
    kind1, kind2, repeats = KINDS[genome[2]], KINDS[genome[3]], REPEATS[genome[4]]
    blocks = [kind1(first, first, 1), kind2(first, second, 2), *(kind2(second, second, 1) for _ in range(repeats - 1))]
    return nn.Sequential(conv(1, first, 3), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(second, 10))


def split():
    """The digits as (images uint8 (N, 8, 8), labels): 1,097 to train, 350 to choose by, 350 to test."""
    images, labels = digits()
    images = (images * 255 / 16).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images))
    return [(images[part], labels[part]) for part in (order[:1097], order[1097:1447], order[1447:])]


def run(quick: bool) -> list[dict]:
    genomes = list(product(range(4), repeat=len(GENES)))
    torch.set_num_threads(1)
    return measure(genomes[::100] if quick else genomes, *split(), RECIPE)


def measure(genomes, train_set, validation_set, test_set, recipe) -> list[dict]:
    rows = []
    for genome in genomes:
        torch.manual_seed(0)
        net = network(genome)
        history = train(net, train_set, validation_set, recipe, quiet=True)
        rows.append({**dict(zip(GENES, genome)), "parameters": count_parameters(net),
                     "multiply_adds": count_multiply_adds(net, (1, 8, 8)),
                     "validation": round(history.score[-1], 4), "test": round(evaluate(net, test_set), 4)})
    return rows
