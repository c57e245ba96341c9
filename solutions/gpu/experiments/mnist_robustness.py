"""How well LeNet still reads digits that are shifted, turned, scaled, noisy or blurred.

One network has been trained on MNIST as it is, the other on distorted images: turns up to 7.5°, sizes from 0.93 to
1.075, shifts up to a pixel, a shear, and elastic distortions.
"""

import torch

from cnnlab.augment import affine_map, blur, warp
from cnnlab.results import arrays
from cnnlab.train import evaluate
from solutions.gpu.experiments.lenets import small_digits, trained
from solutions.gpu.models import create
from solutions.gpu.train import mnist

WHAT = ("Test accuracy of two LeNets on changed images; shift in pixels, turn in degrees, scale in times, noise in "
        "standard deviations where ink is 1, blur in pixels")

AMOUNTS = {"shift": (0, 1, 2, 3, 4, 5, 6, 8), "turn": (0, 10, 20, 30, 40, 50, 60, 75, 90, 120, 150, 180),
           "scale": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.6),
           "noise": (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0), "blur": (0, 0.5, 1, 1.5, 2, 2.5, 3, 4)}


def run(quick: bool) -> list[dict]:
    if quick:
        train_set, test_set = small_digits()
        nets = [trained(name, train_set, test_set) for name in ("mnist-lenet", "mnist-lenet-distorted")]
        return measure(*nets, test_set)
    train_set, test_set = mnist()
    distorted = create("lenet")  # mnist_lenet has trained it
    for parameter, weights in zip(distorted.parameters(), arrays("mnist_lenet").values(), strict=True):
        parameter.data = torch.tensor(weights)
    return measure(trained("mnist-lenet", train_set, test_set), distorted, test_set)


def measure(plain, distorted, test_set, amounts=AMOUNTS) -> list[dict]:
    """One row a change and amount."""
    images, labels = (torch.as_tensor(part) for part in test_set)
    images = images.view(len(images), 1, *images.shape[-2:])
    rows = []
    for name in amounts:
        for amount in amounts[name]:
            variants = [(x, labels) for x in changed(images, name, amount)]
            rows.append({"change": name, "amount": amount} | {
                column: round(sum(evaluate(net, v) for v in variants) / len(variants), 5)
                for column, net in (("accuracy", plain), ("accuracy_distorted", distorted))})
    return rows


def changed(images, name: str, amount: float) -> list:
    """The images, changed: shifted all four ways, turned both ways, and the rest in one way.  uint8, as before."""
    if name == "shift":
        maps = [{"right": amount}, {"right": -amount}, {"down": amount}, {"down": -amount}]
    elif name == "turn":
        maps = [{"degrees": amount}, {"degrees": -amount}]
    elif name == "scale":
        maps = [{"scale": amount}]
    elif name == "noise":
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
        return [_pixels(images + 255 * amount * noise)]
    else:
        return [_pixels(blur(images, amount)) if amount else images]
    return [_pixels(warp(images, affine_map(images, **m))) for m in (maps if amount else maps[:1])]


def _pixels(x):
    return x.round().clamp(0, 255).to(torch.uint8)
