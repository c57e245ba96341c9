"""Train a network of the zoo by a recipe: python -m solutions.gpu.train RECIPE [--epochs N] [--data DIR] ...

On several GPUs, each of which takes its share of every batch:

    torchrun --standalone --nproc-per-node=GPUS -m solutions.gpu.train RECIPE
"""

from __future__ import annotations

import argparse
import difflib
import importlib.util
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
    # Larger batches, so fewer steps, and fewer epochs: for --graph.  On a CPU, in float32, it gave 99.35, 99.30 and
    # 99.31 % of the test images with the seeds 0, 1 and 2.
    "mnist-lenet-fast": Training("lenet", mnist, replace(LENET, epochs=8, batch_size=256, lr=0.06, warmup=1,
                                                         augment="distort", weight_decay=1e-4)),
    **{f"cifar-{kind}{depth}": Training(f"cifar_{kind}{depth}", data.cifar10, RESNET)
       for kind in ("plain", "resnet") for depth in (20, 32, 44, 56)},
    # A smaller rate until it begins to learn; in the paper 400 steps, which is about an epoch.
    "cifar-resnet110": Training("cifar_resnet110", data.cifar10, replace(RESNET, warmup=1)),
    **{f"cifar-vgg{depth}-bn": Training(f"vgg{depth}_bn", data.cifar10, VGG) for depth in (11, 16)},
}


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="python -m solutions.gpu.train", description=__doc__.split("\n")[0],
                                     epilog=f"The recipes: {', '.join(RECIPES)}.")
    parser.add_argument("recipe", metavar="RECIPE")
    parser.add_argument("--epochs", type=_count, help="in place of the recipe's")
    parser.add_argument("--seed", type=int, default=0, help="of the first weights, the order and the augmentation")
    parser.add_argument("--data", metavar="DIR", help="where the data set lies (in place of CNNLAB_DATA)")
    parser.add_argument("--device", help="such as cpu or cuda; by default a GPU if there is one")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), help="by default bfloat16 on a GPU only")
    parser.add_argument("--compile", action="store_true", help="let torch.compile make the kernels")
    parser.add_argument("--graph", action="store_true", help="launch a step as one CUDA graph: for small networks")
    parser.add_argument("--kernels", action="store_true", help="compute with the kernels of solutions.gpu.kernels")
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
    except (FileNotFoundError, ValueError) as e:  # no data, no such device, or the checkpoint of another training
        print(e, file=sys.stderr)
        return 1
    return 1 if history.stopped else 0


def run(training: Training, options):
    """Train as the recipe says, with what the command line changes; a line after every epoch."""
    import torch

    from cnnlab import processes
    from solutions.gpu.models import create

    chosen = device(options.device)
    if options.kernels:
        check_kernels(chosen, options.compile)
    train_set, test_set = training.sets()
    recipe = replace(training.recipe, epochs=options.epochs or training.recipe.epochs, seed=options.seed)
    torch.manual_seed(recipe.seed)
    net = create(training.network, num_classes=10)
    if options.kernels:
        from solutions.gpu.layers import use_kernels

        use_kernels(net)
    torch.backends.cudnn.benchmark = True  # batches have one size, so trying cuDNN's algorithms pays
    mine = processes.join(chosen)
    try:
        if processes.number() == 0:
            many = f", {processes.count()} processes" if processes.count() > 1 else ""
            print(f"{training.network} on {chosen}{many}: {recipe}")
        return train(net, train_set, test_set, recipe, device=mine, checkpoint=options.checkpoint,
                     precision=options.precision, compile=options.compile, graph=options.graph)
    finally:
        processes.leave()


def device(name: str | None) -> str:
    """The name of the device to train on.  Raises ValueError if torch has no such device."""
    import torch

    gpus = torch.cuda.device_count()
    name = name or ("cuda" if gpus else "cpu")
    try:
        wanted = torch.device(name)
    except RuntimeError:
        raise ValueError(f"There is no device {name!r}; give cpu, cuda, or cuda:1 for the second GPU.") from None
    if wanted.type == "cuda" and (wanted.index or 0) >= gpus:
        there = f"this machine has {gpus} GPU{'s' * (gpus > 1)}" if gpus else "torch finds no GPU on this machine"
        raise ValueError(f"There is no {name}: {there}.  Leave --device out to train on what there is.")
    return name


def check_kernels(device: str, compile: bool) -> None:
    """Raises ValueError where our kernels do not run."""
    if importlib.util.find_spec("triton") is None:
        raise ValueError("The kernels need Triton, which is not installed; run `pip install triton`, on Linux.")
    if device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError("The kernels are for a GPU.  To see them compute on a CPU, slowly, set TRITON_INTERPRET=1.")
    if compile:
        raise ValueError("torch.compile makes kernels of its own; give --kernels or --compile, not both.")


def _count(text):
    n = int(text)
    if n < 1:
        raise argparse.ArgumentTypeError(f"{n} epochs; at least 1")
    return n


if __name__ == "__main__":
    sys.exit(main())
