"""What a trained network makes of images that were not prepared as those it learned from."""

import torch

from cnnlab import results
from cnnlab.train import MEAN, STD
from solutions.gpu.experiments.cifar_net import network
from solutions.gpu.experiments.images import cifar

DATA = "cifar10"
WHAT = "Test accuracy of the network of cifar_net by how its images are prepared"

MEAN, STD = (torch.tensor(v[3]).view(3, 1, 1) for v in (MEAN, STD))


def run(quick: bool) -> list[dict]:
    _, (images, labels) = cifar(train=1, test=500 if quick else 10000)
    net = network()
    for parameter, kept in zip(net.parameters(), results.arrays("cifar_net").values(), strict=True):
        parameter.data = torch.tensor(kept)
    return measure(net, images, labels)


# From numbers 0 to 255, (N, 3, H, W), in the order red, green, blue.
WAYS = {
    "as in training": lambda x: (x / 255 - MEAN) / STD,
    "red and blue exchanged": lambda x: ((x / 255 - MEAN) / STD).flip(1),
    "from 0 to 1, not normalised": lambda x: x / 255,
    "normalised, but from 0 to 255": lambda x: (x - MEAN) / STD,
    "each image by its own mean and std": lambda x: (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True),
    "all by mean and std of the test images": lambda x: (x - x.mean((0, 2, 3))[:, None, None]) / (
        x.std((0, 2, 3))[:, None, None]),
    "rows read as (32, 32, 3)": lambda x: (x.reshape(len(x), *x.shape[2:], 3).permute(0, 3, 1, 2) / 255 - MEAN) / STD,
}


def measure(net, images, labels) -> list[dict]:
    """One row a way of preparing."""
    net.eval()
    with torch.no_grad():
        return [{"prepared": name, "accuracy": round((torch.cat([net(part) for part in way(images.float()).split(500)])
                                                      .argmax(1) == labels).double().mean().item(), 4)}
                for name, way in WAYS.items()]
