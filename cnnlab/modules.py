"""What a check does with PyTorch modules and tensors.  All that comes out is data: arrays, numbers, strings.

A step of a probe (`cnnlab.probes.Probe.steps`) whose name stands in STEPS is one of these functions, called with the
module; they are of use in a notebook too: `set_weights(net, seed=1)`, `layers(net, (1, 3, 227, 227))`.
"""

from __future__ import annotations

import contextlib
import math

import numpy as np


def set_weights(net, seed: int) -> None:
    """Give every weight, bias and running statistic of `net` a value that depends on `seed` and its shape only.

    Two networks with the same layers then compute the same, whatever their layers are called.  Among weights of one
    shape the order in which they were made decides; vectors (biases, batch norm) of one kind and length are all equal.
    The network becomes float64, so that the order of additions does not show.
    """
    import torch

    net.double()
    seen = {}
    with torch.no_grad():
        for owner in net.modules():
            for name, value in [*owner.named_parameters(recurse=False), *owner.named_buffers(recurse=False)]:
                if value.is_floating_point() and not value.is_meta:
                    shape = tuple(value.shape)
                    seen[name, shape] = number = seen.get((name, shape), -1) + 1
                    rng = np.random.default_rng([seed, *shape, *name.encode(), number * (len(shape) > 1)])
                    value.copy_(torch.from_numpy(np.asarray(_drawn(rng, name, shape))))


def _drawn(rng, name, shape):
    if len(shape) > 1:
        return rng.standard_normal(shape) * math.sqrt(2 / math.prod(shape[1:]))  # the activations keep their size
    if name == "running_var":
        return rng.uniform(0.5, 2, shape)
    return rng.standard_normal(shape) / 4 + (name == "weight")


def forward(net, *x):
    """What the network gives for `x`, with the same random numbers each time; no gradient is kept."""
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        return net(*x)


def gradient(net, x, dy):
    """The gradient of sum(dy * net(x)) for x, of the shape of x, with the same random numbers as `forward`."""
    import torch

    torch.manual_seed(0)
    leaf = x.detach().clone().requires_grad_()
    return torch.autograd.grad((net(leaf.clone()) * dy).sum(), leaf)[0]


def count_parameters(net) -> int:
    """How many numbers the network learns."""
    return sum(p.numel() for p in net.parameters())


def weight_shapes(net) -> tuple[str, ...]:
    """The shape of everything the network learns, sorted: for networks whose branches may be written in any order."""
    return tuple(map(str, sorted((tuple(p.shape) for p in net.parameters()), key=lambda shape: (-len(shape), shape))))


def output_shape(net, input_size: tuple[int, ...]):
    """The shape of what the network gives for an input of this size; of several outputs, the shape of each."""
    return _shapes(_try(net, input_size))


def _try(net, input_size):
    import torch

    like = next(net.parameters(), torch.zeros(()))
    return forward(net, torch.zeros(input_size, dtype=like.dtype, device=like.device))


def _shapes(value):
    return tuple(map(_shapes, value)) if isinstance(value, tuple | list) else tuple(value.shape)


def layers(net, input_size: tuple[int, ...]) -> tuple[str, ...]:
    """The layers that learn, in the order in which an input of this size meets them: kind, weight's and output's shape.

    For example "Conv2d (6, 1, 5, 5) + bias -> (1, 6, 24, 24)".
    """
    import torch

    used = []

    def note(layer, given, out):
        shapes = {name: tuple(p.shape) for name, p in layer.named_parameters(recurse=False)}
        words = [type(layer).__name__, *(str(s) for name, s in shapes.items() if name != "bias")]
        words += ["+ bias"] if "bias" in shapes else []
        used.append(" ".join([*words, "->", str(tuple(out.shape) if isinstance(out, torch.Tensor) else "")]))

    hooks = [m.register_forward_hook(note) for m in net.modules() if any(True for _ in m.parameters(recurse=False))]
    try:
        _try(net, input_size)
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(used)


def train(net) -> None:
    """Training mode: dropout drops, batch norm takes the statistics of the batch."""
    net.train()


def eval(net) -> None:  # noqa: A001  PyTorch's word
    """Evaluation mode: dropout does nothing, batch norm takes its running statistics."""
    net.eval()


STEPS = {f.__name__: f for f in (set_weights, forward, gradient, count_parameters, weight_shapes, output_shape, layers,
                                    train, eval)}


@contextlib.contextmanager
def on(device: str):
    """In the block tensors and modules are made on `device`, with the same random numbers each time, by one thread.

    A check computes little, and threads that wait for each other on a busy machine take a hundred times as long.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]), torch.device(device):
            torch.manual_seed(0)
            yield
    finally:
        torch.set_num_threads(threads)


def tensor(value, device: str):
    """An array as a tensor on `device`, which shares its memory on the CPU; anything else as it is."""
    import torch

    return torch.from_numpy(value).to(device) if isinstance(value, np.ndarray) else value


def data(value):
    """A tensor as an array (one on the meta device, which holds no numbers, as its shape), also in tuples and lists."""
    import torch

    if isinstance(value, torch.Tensor):
        if value.is_meta:
            return tuple(value.shape)
        value = value.detach().cpu().resolve_conj().resolve_neg()
        return (value.float() if value.dtype is torch.bfloat16 else value).numpy().copy()
    return type(value)(map(data, value)) if type(value) in (tuple, list) else value
