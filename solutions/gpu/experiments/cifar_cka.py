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
    return [{"layer": a, "other": b, "cka_itself": round(cosine(one[a][0], one[b][0]), 3),
             "cka_seed": round(cosine(one[a][0], two[b][0]), 3),
             "cka_untrained": round(cosine(one[a][0], three[b][0]), 3),
             "ranks_seed": round(cosine(one[a][1], two[b][1]), 3)} for a in LAYERS for b in LAYERS]


def representations(net: nn.Sequential, x) -> dict:
    """What every layer, behind its ReLU, says of which images are alike: `similarities` and `ranks` by layer."""
    kept = [(similarities(x), ranks(x))]
    with torch.no_grad():
        for layer in net.eval():
            x = layer(x)
            if isinstance(layer, nn.ReLU | nn.Flatten | nn.Linear):
                kept.append((similarities(x), ranks(x)))
    return dict(zip(LAYERS, kept, strict=True))


def similarities(features):
    """The inner products of all pairs of images, (N, N), after centring each feature; CKA is their cosine."""
    x = features.flatten(1).double()
    x = x - x.mean(0)
    return x @ x.T


def ranks(features):
    """The ranks of the dissimilarities 1 - r of all pairs of images, centred: Spearman's correlation is their cosine."""
    i, j = torch.triu_indices(len(features), len(features), 1)
    order = (1 - torch.corrcoef(features.flatten(1).double()))[i, j].argsort().argsort().double()
    return order - order.mean()


def cosine(a, b) -> float:
    return ((a * b).sum() / (a.norm() * b.norm())).item()
