"""Plain against residual networks by depth: does a deeper network train better?

He et al., Deep residual learning for image recognition, 2016, section 4.2 and figure 6, made small: half the filters,
two fifths of the images, these of 16x16, few epochs, and no augmentation, so the training error is of the images as
they are.  Otherwise the paper's optimiser.
"""

import torch

from cnnlab.train import Recipe, train
from solutions.gpu.experiments.images import cifar
from solutions.gpu.models.cifar_resnet import cifar_resnet

DATA = "cifar10"
WHAT = "Training error (of an epoch's mini-batches) and test error of plain and residual networks by depth and epoch"

WIDTH = 8


def run(quick: bool) -> list[dict]:
    if quick:
        return measure(*cifar(train=8000, test=1000, size=16), depths=(20, 56), epochs=3, seeds=1)
    return measure(*cifar(train=20000, test=5000, size=16), depths=(8, 20, 56), epochs=12, seeds=1)


def measure(train_set, test_set, depths, epochs: int, seeds: int) -> list[dict]:
    """One row an epoch, with the errors of the plain and of the residual network."""
    rows = []
    for seed in range(seeds):
        for depth in depths:
            plain, residual = (_errors(train_set, test_set, depth, shortcut, epochs, seed) for shortcut in (None, "A"))
            rows += [{"depth": depth, "seed": seed, "epoch": epoch,
                      "plain_train_error": p[0], "plain_test_error": p[1],
                      "residual_train_error": r[0], "residual_test_error": r[1]}
                     for epoch, (p, r) in enumerate(zip(plain, residual, strict=True), 1)]
    return rows


def _errors(train_set, test_set, depth, shortcut, epochs, seed):
    """Training and test error of every epoch: (epochs, 2)."""
    torch.manual_seed(seed)
    net = cifar_resnet(depth, shortcut=shortcut, width=WIDTH)
    net.to(memory_format=torch.channels_last)  # faster on a CPU
    print(f"{'residual' if shortcut else 'plain'}-{depth}, seed {seed}")
    history = train(net, train_set, test_set, Recipe(epochs=epochs, batch_size=128, lr=0.1, weight_decay=1e-4,
                                                     schedule=(0.5, 0.75), seed=seed))
    return [(round(1 - a, 4), round(1 - b, 4)) for a, b in zip(history.train_score, history.score, strict=True)]
