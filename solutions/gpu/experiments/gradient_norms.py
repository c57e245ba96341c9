"""How large the gradient is in each layer of plain and residual networks, with and without batch norm.

He et al., Deep residual learning, 2016, section 4.1, find that with batch norm the gradients of plain networks do not
vanish, so that something else must be why deep ones train badly.  At the start they even grow from layer to layer on
their way back to the image (Yang et al., A mean field theory of batch normalization, 2019).
"""

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.train import Recipe, normalise, train
from solutions.gpu.experiments.images import cifar
from solutions.gpu.models.cifar_resnet import cifar_resnet

DATA = "cifar10"
WHAT = "Norm of the gradient of the loss in each layer's weights, before training and after an epoch (_trained)"

WIDTH = 8
# Shortcut, batch norm, epochs of training.
NETWORKS = {"plain": (None, False, 0), "residual": ("A", False, 0),
            "plain_batch_norm": (None, True, 0), "residual_batch_norm": ("A", True, 0),
            "plain_batch_norm_trained": (None, True, 1), "residual_batch_norm_trained": ("A", True, 1)}


def run(quick: bool) -> list[dict]:
    if quick:
        return measure(*cifar(train=1000, test=100, size=16), depths=(8, 20, 56), batch=100, seeds=1)
    return measure(*cifar(train=5000, test=100, size=16), depths=(8, 20, 56), batch=500, seeds=3)


def measure(train_set, test_set, depths, batch: int, seeds: int) -> list[dict]:
    """One row a layer, first to last, with a column for each kind of network: the geometric mean over the seeds."""
    rows = []
    images, labels = (part[:batch] for part in train_set)
    for depth in depths:
        norms = {}
        for name, kind in NETWORKS.items():
            nets = (_network(train_set, test_set, depth, *kind, seed) for seed in range(seeds))
            norms[name] = torch.stack([gradient_norms(net, images, labels) for net in nets]).log().mean(0).exp()
        rows += [{"depth": depth, "layer": layer + 1} | {name: f"{norm[layer]:.3g}" for name, norm in norms.items()}
                 for layer in range(depth)]
    return rows


def _network(train_set, test_set, depth, shortcut, batch_norm, epochs, seed):
    torch.manual_seed(seed)
    net = cifar_resnet(depth, shortcut=shortcut, width=WIDTH)
    if not batch_norm:
        without_batch_norm(net)
    if epochs:
        train(net, train_set, test_set, Recipe(epochs=epochs, batch_size=128, lr=0.1, weight_decay=1e-4,
                                               schedule="constant", seed=seed), quiet=True)
    return net


def gradient_norms(net, images, labels):
    """The norm of the gradient of the mean loss in the weights of every convolution and linear layer: (layers,)."""
    net.train()
    loss = F.cross_entropy(net(normalise(images)), labels)
    weights = [m.weight for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    return torch.stack([g.norm() for g in torch.autograd.grad(loss, weights)])


def without_batch_norm(net):
    """The same network with nothing in the place of every batch norm."""
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return net
