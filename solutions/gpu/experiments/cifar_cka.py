"""Do two networks that differ in their first weights and in the order of their images compute alike?

Kornblith, Norouzi, Lee & Hinton, Similarity of neural network representations revisited, 2019, made small: networks of
`cifar_net`, one as it is kept, one trained from another seed (for 8 epochs in place of 20), one that was never trained.
"""

import torch
from torch import nn

from cnnlab import results
from cnnlab.train import normalise
from solutions.gpu.experiments.cifar_net import network, trained
from solutions.gpu.experiments.images import cifar

DATA = "cifar10"
WHAT = ("Similarity of layers on test images: linear CKA of a layer of the kept network and a layer of itself, of one "
        "trained from another seed for 8 epochs of 20, and of one never trained; rank correlation of the "
        "dissimilarities (1 - r) with the second")

LAYERS = ["image", "layer 1", "layer 2", "layer 3", "layer 4", "mean", "logits"]


def run(quick: bool) -> list[dict]:
    sizes, epochs, images = (dict(train=2000, test=200), 1, 200) if quick else (dict(train=50000, test=10000), 8, 1000)
    train_set, test_set = cifar(**sizes)
    first = network()
    for parameter, kept in zip(first.parameters(), results.arrays("cifar_net").values(), strict=True):
        parameter.data = torch.tensor(kept)
    other = trained(train_set, test_set, epochs, seed=1)
    torch.manual_seed(2)
    return measure(first, other, network(), normalise(test_set[0][:images]))


def measure(first, other, untrained, x) -> list[dict]:
    """One row a pair of layers."""
    one, two, three = (representations(net, x) for net in (first, other, untrained))
    return [{"layer": a, "other": b, "cka_itself": round(cka(one[a], one[b]), 3),
             "cka_seed": round(cka(one[a], two[b]), 3), "cka_untrained": round(cka(one[a], three[b]), 3),
             "ranks_seed": round(ranks(one[a], two[b]), 3)} for a in LAYERS for b in LAYERS]


def representations(net: nn.Sequential, x) -> dict:
    """What every layer says of the images, (N, features): behind each ReLU, the mean over all places, the logits."""
    kept = [x.flatten(1)]
    with torch.no_grad():
        for layer in net.eval():
            x = layer(x)
            if isinstance(layer, nn.ReLU | nn.Flatten | nn.Linear):
                kept.append(x.flatten(1))
    return dict(zip(LAYERS, kept, strict=True))


def cka(x, y) -> float:
    """Linear CKA, by the matrices of inner products."""
    k, l = (centred @ centred.T for centred in ((v - v.mean(0)).double() for v in (x, y)))
    return ((k * l).sum() / (k.norm() * l.norm())).item()


def ranks(x, y) -> float:
    """Spearman's rank correlation of the dissimilarities of all pairs of images."""
    i, j = torch.triu_indices(len(x), len(x), 1)
    pairs = [torch.corrcoef(v.double())[i, j].argsort().argsort().double() for v in (x, y)]
    return torch.corrcoef(torch.stack(pairs))[0, 1].item()
