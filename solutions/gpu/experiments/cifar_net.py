"""A small network trained on CIFAR-10, whose filters are worth a look: its weights and its confusion matrix.

Beside the table it keeps, for `cnnlab.results.arrays`, "cifar_net": the weights and biases in the order of the layers
(float16), with batch norm folded into the convolutions.
"""

import numpy as np
import torch
from torch import nn

from cnnlab.data import class_names
from cnnlab.results import FOLDER
from cnnlab.train import Recipe, predict, train
from solutions.gpu.experiments.images import cifar
from solutions.gpu.experiments.mnist_lenet import halve

DATA = "cifar10"
WHAT = "Confusion matrix on CIFAR-10's test images: a row for each label, a column for each answer"

WIDTHS = (32, 48, 64, 64)


def run(quick: bool) -> list[dict]:
    sizes, epochs = (dict(train=2000, test=500), 1) if quick else (dict(train=50000, test=10000), 20)
    train_set, test_set = cifar(**sizes)
    net = trained(train_set, test_set, epochs, seed=0)
    weights = halve(net)
    if not quick:
        np.savez_compressed(FOLDER / "cifar_net.npz", **weights)
    return confusion(predict(net, test_set[0]).argmax(1), test_set[1])


def trained(train_set, test_set, epochs: int, seed: int, widths=WIDTHS) -> nn.Sequential:
    """The network after training, with batch norm folded in."""
    torch.manual_seed(seed)
    net = network(widths, batch_norm=True).to(memory_format=torch.channels_last)  # faster on a CPU
    train(net, train_set, test_set, Recipe(epochs=epochs, batch_size=128, lr=0.1, weight_decay=1e-3, warmup=0.5,
                                           augment="crop-flip", seed=seed))
    return folded(net, widths)


def network(widths=WIDTHS, batch_norm: bool = False) -> nn.Sequential:
    """7×7 filters, then three layers of 3×3, and the mean over all places: (N, 3, 32, 32) to (N, 10)."""
    layers, channels = [], 3
    for i, width in enumerate(widths):
        k = 3 if i else 7
        layers += [nn.Conv2d(channels, width, k, padding=k // 2, bias=not batch_norm)]
        layers += [nn.BatchNorm2d(width)] * batch_norm + [nn.ReLU()] + [nn.MaxPool2d(2)] * (i < 2)
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def folded(net: nn.Sequential, widths) -> nn.Sequential:
    """The same function without batch norm, which in evaluation mode scales and shifts each map."""
    out = network(widths)
    convs, norms, (last,) = ([m for m in net if isinstance(m, kind)] for kind in (nn.Conv2d, nn.BatchNorm2d, nn.Linear))
    with torch.no_grad():
        for new, old, norm in zip([m for m in out if isinstance(m, nn.Conv2d)], convs, norms, strict=True):
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            new.weight.copy_(old.weight * scale[:, None, None, None])
            new.bias.copy_(norm.bias - norm.running_mean * scale)
    out[-1].load_state_dict(last.state_dict())
    return out.eval()


def confusion(answers, labels) -> list[dict]:
    """One row a class: how many of its images got which answer."""
    names = class_names("cifar10")
    counts = torch.bincount(10 * labels + answers, minlength=100).view(10, 10)
    return [{"label": name} | dict(zip(names, row)) for name, row in zip(names, counts.tolist())]
