"""Train a network of PyTorch: one plain loop, for a laptop's processor and for a GPU.

    history = train(net, (images, labels), (test_images, test_labels), Recipe(epochs=5, lr=0.1))

A data set is a pair of NumPy arrays or tensors: images uint8 (N, H, W) or (N, C, H, W), from 0 to 255, and labels
(N,), whole numbers.  It is moved to the device once, as uint8; each batch is augmented and normalised there.
"""

from __future__ import annotations

import math
import os
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cnnlab.training import History, fit

# Mean and standard deviation of the pixels of MNIST and of CIFAR-10, from 0 to 1.  The same for all grey and for all
# colour images, so that a trained network needs no note of what it was trained with.
MEAN = {1: (0.1307,), 3: (0.4914, 0.4822, 0.4465)}
STD = {1: (0.3081,), 3: (0.2470, 0.2435, 0.2616)}


@dataclass(frozen=True)
class Recipe:
    """How to train: stochastic gradient descent with momentum on shuffled mini-batches, and cross-entropy.

    schedule: of the learning rate. "constant"; "cosine", half a wave down to 0 (Loshchilov & Hutter, 2017); or the
    parts of the training after which it falls to a tenth, as in (0.5, 0.75) (He et al., 2016).
    warmup: epochs over which the learning rate first rises from 0.
    augment: one of the names in `cnnlab.augment`.
    seed: of the order, the augmentation and dropout.  The first weights are those of the network that is given.
    """

    epochs: int = 10
    batch_size: int = 64
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str | tuple[float, ...] = "cosine"
    warmup: float = 0.0
    augment: str = "none"
    seed: int = 0

    def __post_init__(self):
        if isinstance(self.schedule, str) and self.schedule not in ("constant", "cosine"):
            raise ValueError(f'A schedule is "constant", "cosine" or parts of the training such as (0.5, 0.75), '
                             f"not {self.schedule!r}.")

    def rate(self, done: float) -> float:
        """The learning rate when the part `done` of the training, from 0 to 1, is over."""
        if done * self.epochs < self.warmup:
            return self.lr * done * self.epochs / self.warmup
        if self.schedule == "constant":
            return self.lr
        if self.schedule == "cosine":
            return self.lr * (1 + math.cos(math.pi * done)) / 2
        return self.lr * 0.1 ** sum(done >= part for part in self.schedule)


def train(model, train_set, test_set, recipe: Recipe, *, device=None, checkpoint=None, quiet=False, precision=None,
          compile=False, graph=False) -> History:
    """Train `model` in place and return the loss of every step and the accuracies of every epoch.

    device: "cpu", "cuda" ...; by default where the model is.  On a GPU channels-last.
    checkpoint: a file, written after every epoch.  If it is there the training goes on from it, and ends with the same
    weights as one that was never broken off (to the bit on a CPU).
    quiet: show nothing.
    precision: "float32", or "bfloat16" for what autocast computes in it; by default bfloat16 on a GPU only.
    compile: let torch.compile make the kernels of the training, which takes a while when it starts.
    graph: launch forward and backward pass as one, see `cnnlab.replay`; for small networks on a GPU.

    In several processes (`cnnlab.processes`) each computes its share of every batch, and process 0 alone shows and
    writes.  Losses and weights are those of one process up to rounding (which grows with every step, as it always
    does), but for two things: batch norm takes the statistics of each share by itself, as in He et al., 2016, section
    4.2, and keeps the running ones of process 0; and dropout draws for each share by itself.

    Stops with the reason in `stopped` if the loss is not finite, and on KeyboardInterrupt; the model keeps its last
    weights, and is left in evaluation mode.  Raises ValueError for images or labels it cannot use, for an unknown
    augmentation or precision, for the checkpoint of another training, where there are no CUDA graphs, and if there
    are more processes than images for them.
    """
    torch = _torch()
    from cnnlab import augment, processes, replay

    transform = augment.named(recipe.augment)
    device = torch.device(device or _home(model).device)
    on_gpu = device.type == "cuda"
    _precision(device, precision)  # which says what it does not know
    if graph:
        replay.check(device, processes.count())
    model.to(device, memory_format=torch.channels_last if on_gpu else torch.preserve_format)
    images, labels = _set(train_set, device)
    test_set = _set(test_set, device)
    _enough(len(labels), len(test_set[1]), recipe.batch_size, processes.count())
    optimiser = torch.optim.SGD(model.parameters(), lr=recipe.lr, momentum=recipe.momentum,
                                weight_decay=recipe.weight_decay)
    history = _resume(checkpoint, model, optimiser, recipe, len(labels), device)
    net = processes.parallel(model)
    if compile:
        net = torch.compile(net, dynamic=False)
    random, right = torch.Generator(device), 0

    def passes(x, y, share=1.0):
        """Forward and backward: the loss and how many are right, of the `share` that the images are of a batch."""
        optimiser.zero_grad(set_to_none=not graph)  # a graph writes to the same gradients every time
        with _precision(device, precision):
            logits = net(x.to(_home(model).dtype))
            loss = torch.nn.functional.cross_entropy(logits, y)
        # The mean over the processes, which backward takes, is to be the mean over the images of the batch.
        (loss * (share * processes.count())).backward()
        return torch.stack([loss.detach() * share, (logits.argmax(1) == y).sum().to(loss.dtype)])

    replayed = replay.Replayed(passes) if graph else None

    def step(batch, done):
        nonlocal right
        batch = torch.from_numpy(batch).to(device)
        # Every process augments the whole batch, so that what is drawn does not depend on how many there are.
        mine = processes.share(len(batch))
        x, y = normalise(transform(images[batch], random)[mine]), labels[batch][mine]
        if on_gpu:
            x = x.contiguous(memory_format=torch.channels_last)
        sums = replayed(x, y) if graph else passes(x, y, len(y) / len(batch))
        value, hits = processes.total(sums).tolist()
        if math.isfinite(value):  # otherwise `fit` stops, and the weights had better stay as they are
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate(done)
            optimiser.step()
            right += int(hits)
        return value

    def next_epoch(epoch):
        nonlocal right
        # Every epoch has seeds of its own, so a checkpoint need not hold the state of any generator.
        first, second = np.random.SeedSequence((recipe.seed, epoch)).generate_state(2)
        torch.manual_seed(int(first) + processes.number())  # of dropout
        random.manual_seed(int(second))
        right = 0
        model.train()

    def score():
        processes.same_buffers(model)
        mine = processes.share(len(test_set[1]))
        hits = _hits(model, [part[mine] for part in test_set], precision)
        return processes.total(hits).item() / len(test_set[1])

    def after(history):
        history.train_score.append(right / len(labels))
        if checkpoint and processes.number() == 0:
            _save(checkpoint, {"model": model.state_dict(), "optimiser": optimiser.state_dict(),
                               "history": asdict(history), "recipe": asdict(recipe), "examples": len(labels)})
        next_epoch(len(history.score))

    with torch.random.fork_rng([device] if on_gpu else []):
        next_epoch(len(history.score))
        fit(step, len(labels), epochs=recipe.epochs, batch_size=recipe.batch_size, seed=recipe.seed, evaluate=score,
            after=after, history=history, quiet=quiet or processes.number() > 0)
    model.eval()
    return history


def evaluate(model, data) -> float:
    """The part of the images of a data set that the model puts into the right class, from 0 to 1."""
    data = _set(data, _home(model).device)
    return _hits(model, data).item() / len(data[1])


def predict(model, images, batch_size: int = 500, precision=None):
    """The outputs (N, classes) of the model in evaluation mode, a tensor; images uint8 (N, H, W) or (N, C, H, W)."""
    torch = _torch()
    home, was_training = _home(model), model.training
    images = _images(images).to(home.device)
    model.eval()
    try:
        with torch.no_grad(), _precision(home.device, precision):
            return torch.cat([model(normalise(x).to(home.dtype)).to(home.dtype) for x in images.split(batch_size)])
    finally:
        model.train(was_training)


def normalise(images):
    """What a network is given: images from 0 to 255, (N, H, W) or (N, C, H, W), as floats (N, C, H, W) of mean about 0
    and standard deviation about 1: of MNIST's for one channel, of CIFAR-10's for three."""
    torch = _torch()
    x = _tensor(images)
    x = (x if x.ndim == 4 else x[:, None]).float()  # (N, C, H, W)
    channels = x.shape[1]
    if channels not in MEAN:
        raise ValueError(f"Images have 1 channel or 3, as (N, C, H, W); the shape of these is {tuple(x.shape)}.")
    mean, std = (255 * torch.tensor(v[channels], device=x.device).view(-1, 1, 1) for v in (MEAN, STD))
    return (x - mean) / std


def _torch():
    try:
        import torch
    except ModuleNotFoundError:
        raise ModuleNotFoundError("Training networks needs PyTorch, which is not installed; "
                                  "run `pip install torch`.") from None
    return torch


def _home(model):
    """Any parameter: it knows the device and the dtype."""
    return next(model.parameters())


def _hits(model, data, precision=None):
    """How many images the model puts into the right class, a tensor."""
    images, labels = data
    return (predict(model, images, precision=precision).argmax(1) == labels).sum()


def _precision(device, name=None):
    """A context in which products are computed in the precision `name`."""
    torch = _torch()
    name = name or ("bfloat16" if device.type == "cuda" else "float32")
    if name not in ("float32", "bfloat16"):
        raise ValueError(f'A precision is "float32" or "bfloat16", not {name!r}.')
    return torch.autocast(device.type, torch.bfloat16) if name == "bfloat16" else nullcontext()


def _tensor(x):
    """Without a copy where that can be; torch takes no array that is read-only or runs backwards."""
    torch = _torch()
    return x if isinstance(x, torch.Tensor) else torch.from_numpy(np.require(x, requirements=["C", "W"]))


def _images(images):
    torch = _torch()
    images = _tensor(images)
    if images.dtype != torch.uint8 or images.ndim not in (3, 4):
        raise ValueError(f"Images must be uint8, from 0 to 255, of shape (N, H, W) or (N, C, H, W); these are "
                         f"{str(images.dtype).removeprefix('torch.')} of shape {tuple(images.shape)}. "
                         "For numbers from 0 to 1: (255 * images).astype(np.uint8).")
    return images if images.ndim == 4 else images[:, None]


def _set(data, device):
    images, labels = data
    images, labels = _images(images), _tensor(labels)
    if labels.dtype.is_floating_point or labels.shape != (len(images),) or not len(labels):
        raise ValueError(f"Labels must be whole numbers of shape ({len(images)},), one for each image; these are "
                         f"{str(labels.dtype).removeprefix('torch.')} of shape {tuple(labels.shape)}.")
    return images.to(device), labels.long().to(device)


def _enough(train, test, batch_size, processes):
    """Raises ValueError unless every process gets an image of every batch and of the test set."""
    fewest = min(test, batch_size, train % batch_size or batch_size)
    if fewest < processes:
        raise ValueError(f"{processes} processes cannot share batches of {batch_size} of {train} images, and {test} "
                         f"test images: one of these has only {fewest}.  Start fewer, or change the batch size.")


def _save(path, state):
    """All of it or nothing: a crash while writing leaves the file of the epoch before."""
    part = f"{path}.part"
    _torch().save(state, part)
    os.replace(part, path)


def _resume(path, model, optimiser, recipe, examples, device):
    """Load the checkpoint, if there is one; the history it holds, or an empty one."""
    if not path or not Path(path).exists():
        return History()
    torch = _torch()
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        made_by, made_on = state["recipe"], state["examples"]
    except Exception as e:  # noqa: BLE001  whatever a broken file makes of unpickling
        raise ValueError(f"{path} is no checkpoint of cnnlab.train ({type(e).__name__}); "
                         "delete it, or give another file.") from None
    now = asdict(recipe)
    other = [f"{k} {made_by.get(k)!r}, now {v!r}" for k, v in now.items() if made_by.get(k) != v]
    other += [f"{made_on} images, now {examples}"] if made_on != examples else []
    if other:
        raise ValueError(f"The checkpoint {path} is of another training ({'; '.join(other)}); "
                         "delete it, or give another file.")
    try:
        model.load_state_dict(state["model"])
    except RuntimeError:
        raise ValueError(f"The checkpoint {path} is of another network; delete it, or give another file.") from None
    optimiser.load_state_dict(state["optimiser"])
    return History(**state["history"])
