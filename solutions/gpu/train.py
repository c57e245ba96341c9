"""Train a network of the zoo by a recipe: python -m solutions.gpu.train RECIPE [--epochs N] [--data DIR] ..."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from cnnlab import data
from cnnlab.train import Recipe, train


def mnist():
    """MNIST as LeNet-5 takes it: 32×32, the digits in the middle (LeCun et al., 1998, section III.A)."""
    return tuple((np.pad(images, ((0, 0), (2, 2), (2, 2))), labels) for images, labels in data.mnist())


@dataclass(frozen=True)
class Training:
    """A network of the zoo by name, what gives its training and test set, and how it is trained."""

    network: str
    sets: Callable
    recipe: Recipe


# At a rate of 0.05 from the first step on, and with distortions, half of the maps of C3 end up at 0 or next to it.
LENET = Recipe(epochs=12, batch_size=64, lr=0.02, weight_decay=1e-3, warmup=0.5)
# He et al., Deep residual learning, 2016, section 4.2: 64,000 steps of 128 images, a tenth of the rate after 32,000
# and after 48,000.
RESNET = Recipe(epochs=164, batch_size=128, lr=0.1, weight_decay=1e-4, schedule=(0.5, 0.75), augment="crop-flip")
VGG = Recipe(epochs=100, batch_size=128, lr=0.05, weight_decay=5e-4, warmup=2, augment="crop-flip")

RECIPES = {
    "mnist-lenet": Training("lenet", mnist, LENET),
    "mnist-lenet-distorted": Training("lenet", mnist, replace(LENET, augment="distort", weight_decay=1e-4)),
    **{f"cifar-{kind}{depth}": Training(f"cifar_{kind}{depth}", data.cifar10, RESNET)
       for kind in ("plain", "resnet") for depth in (20, 32, 44, 56)},
    # A smaller rate until it begins to learn; in the paper 400 steps, which is about an epoch.
    "cifar-resnet110": Training("cifar_resnet110", data.cifar10, replace(RESNET, warmup=1)),
    **{f"cifar-vgg{depth}-bn": Training(f"vgg{depth}_bn", data.cifar10, VGG) for depth in (11, 16)},
}


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="python -m solutions.gpu.train", description=__doc__,
                                     epilog=f"The recipes: {', '.join(RECIPES)}.")
    parser.add_argument("recipe", metavar="RECIPE")
    parser.add_argument("--epochs", type=_count, help="in place of the recipe's")
    parser.add_argument("--seed", type=int, default=0, help="of the first weights, the order and the augmentation")
    parser.add_argument("--data", metavar="DIR", help="where the data set lies (in place of CNNLAB_DATA)")
    parser.add_argument("--device", help="such as cpu or cuda; by default a GPU if there is one")
    parser.add_argument("--checkpoint", metavar="FILE", help="written after every epoch; if it is there, gone on from")
    options = parser.parse_args(argv)
    if options.recipe not in RECIPES:
        near = difflib.get_close_matches(options.recipe, RECIPES, n=3)
        parser.error(f"there is no recipe {options.recipe!r}; " + (f"did you mean {' or '.join(near)}?" if near else
                                                                   f"there are {', '.join(RECIPES)}"))
    if options.data:
        os.environ["CNNLAB_DATA"] = options.data
    try:
        history = run(RECIPES[options.recipe], options)
    except (FileNotFoundError, ValueError) as e:  # no data, or the checkpoint of another training
        print(e, file=sys.stderr)
        return 1
    return 1 if history.stopped else 0


def run(training: Training, options):
    """Train as the recipe says, with what the command line changes; a line after every epoch."""
    import torch

    from solutions.gpu.models import create

    train_set, test_set = training.sets()
    recipe = replace(training.recipe, epochs=options.epochs or training.recipe.epochs, seed=options.seed)
    torch.manual_seed(recipe.seed)
    net = create(training.network, num_classes=10)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    print(f"{training.network} on {device}: {recipe}")
    return train(net, train_set, test_set, recipe, device=device, checkpoint=options.checkpoint)


def _count(text):
    n = int(text)
    if n < 1:
        raise argparse.ArgumentTypeError(f"{n} epochs; at least 1")
    return n


if __name__ == "__main__":
    sys.exit(main())
