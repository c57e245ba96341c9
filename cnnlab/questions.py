"""Questions for drills: each with its calculation, and with the answers that misconceptions give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import prod
from random import Random

LEVELS = 5
DRAWS = 6  # of so many questions drawn, the first is asked in which the fewest mistakes would go without a name
SETTINGS = ("kernel_size", "stride", "padding", "dilation")  # of a layer, each a pair (height, width)
FORMULA = "⌊(size + 2·padding − dilation·(kernel_size − 1) − 1) / stride⌋ + 1"
GAPS = "The reach of a kernel is taken as dilation · kernel_size. Between k entries lie k − 1 gaps."


@dataclass(frozen=True)
class Layer:
    """A convolution layer, or a pooling layer, which has c_out 0."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    name: str = "Conv2d"
    c_in: int = 0
    c_out: int = 0
    groups: int = 1
    bias: bool = True

    def __str__(self):
        return f"{self.name}({self.listed()})"

    def listed(self) -> str:
        """The arguments as PyTorch takes them; those that have their default are left out."""
        usual = Layer((), stride=(1, 1) if self.name == "Conv2d" else self.kernel_size)
        given = {k: getattr(self, k) for k in (*SETTINGS, "groups", "bias")}
        settings = [f"{k}={v[0] if isinstance(v, tuple) and v[0] == v[1] else v}"
                    for k, v in given.items() if v != getattr(usual, k)]
        return ", ".join([*(str(c) for c in (self.c_in, self.c_out) if c), *settings])

    def axes(self) -> list[tuple[int, int, int, int]]:
        """The SETTINGS of the height, and of the width."""
        return list(zip(*(getattr(self, k) for k in SETTINGS)))


@dataclass(frozen=True)
class Question:
    """A question and its answer.

    wanted: what the numbers of the answer are, such as ("C", "H", "W").
    working: the calculation, line by line.
    mistakes: by what a teacher would say of it, the answer that each misconception gives.  Kept are those that show:
        whose answer is not the right one.
    """

    text: str
    wanted: tuple[str, ...]
    right: tuple[int, ...]
    working: list[str]
    mistakes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "mistakes", {why: v for why, v in self.mistakes.items() if v != self.right})

    def causes(self, values: tuple[int, ...]) -> list[str]:
        """Why someone may have answered `values`: one sentence, or two if two misconceptions give just that answer.

        None if there are more: that would be a guess.
        """
        fits = [why for why, v in self.mistakes.items() if v == values]
        return fits if len(fits) <= 2 else []


def ask(rng: Random, kind: str, level: int) -> Question:
    """A question of `kind`, one of KINDS, at a level from 0 to LEVELS − 1."""
    return min((KINDS[kind](rng, level) for _ in range(DRAWS)),
               key=lambda q: sum(not q.causes(v) for v in q.mistakes.values()))


# ---------------------------------------------------------------------------- shapes

def through(layers: list[Layer], shape: tuple, sides=2, plus=1, up=False) -> tuple:
    """The shape (C, H, W) that `layers` make of `shape`.  The other arguments make the usual mistakes."""
    for layer in layers:
        rooms = [(n + sides * p - d * (k - 1) - 1, s) for n, (k, s, p, d) in zip(shape[1:], layer.axes())]
        shape = (layer.c_out or shape[0], *((-(-room // s) if up else room // s) + plus for room, s in rooms))
    return shape


def _shape_question(layers, given):
    right, many, pools = through(layers, given), len(layers) > 1, any(not e.c_out for e in layers)

    def changed(change: Callable[[Layer], dict]):
        return through([replace(e, **change(e)) for e in layers], given)

    mistakes = {
        "It is rounded up. A window that does not fit whole is left out: round down.": through(layers, given, up=True),
        "The + 1 is missing. The division counts the steps; the first window is there before any step.":
            through(layers, given, plus=0),
        "Padding is counted once. It is added at both ends of an axis.": through(layers, given, sides=1),
        "Padding is left out.": through(layers, given, sides=0),
        "Dilation is left out. It makes the kernel reach further.": changed(lambda e: {"dilation": (1, 1)}),
        GAPS: changed(lambda e: {"dilation": (1, 1), "kernel_size": tuple(d * k for k, _, _, d in e.axes())}),
        "The stride is left out.": changed(lambda e: {"stride": (1, 1) if e.c_out else e.stride}),
        "The stride of pooling is taken as 1. Where none is given, it is the kernel size.": changed(
            lambda e: {"stride": e.stride if e.c_out or e.stride != e.kernel_size else (1, 1)}),
        "The size is taken as unchanged. It is, if padding makes up for what the kernel takes.":
            (right[0], *given[1:]),
        "The channels are those that go in. A convolution gives one map for each filter.": (given[0], *right[1:]),
        "The channels are merged. Pooling works on each channel on its own.":
            (1 if pools else right[0], *right[1:]),
        "The last layer is missing.": through(layers[:-1], given) if many else right,
        "Height and width are swapped.": (right[0], right[2], right[1]),
        "The pairs are read the wrong way round. Height comes first.": changed(
            lambda e: {k: getattr(e, k)[::-1] for k in SETTINGS})}
    working, shape = [FORMULA], given
    for layer in layers:
        out = through([layer], shape)
        lines = [f"⌊({n} + 2·{p} − {d}·({k} − 1) − 1) / {s}⌋ + 1 = ⌊{n + 2 * p - d * (k - 1) - 1} / {s}⌋ + 1 "
                 f"= {m - 1} + 1 = {m}" for n, m, (k, s, p, d) in zip(shape[1:], out[1:], layer.axes())]
        sizes = [f"H, W: {lines[0]}"] if lines[0] == lines[1] else [f"H: {lines[0]}", f"W: {lines[1]}"]
        working += ["", f"{layer}   {shape} → {out}",
                    f"C: {'one map for each filter' if layer.c_out else 'each channel on its own'}: {out[0]}", *sizes]
        shape = out
    listed = "\n".join(map(str, layers))
    return Question(f"An input of shape (C, H, W) = {given} goes through\n\n```\n{listed}\n```\n\n"
                    f"What is the shape of the output{' of the last layer' if many else ''}?",
                    ("C", "H", "W"), right, working, mistakes)


def _settings(rng, level):
    """Settings of a convolution: a kernel alone at level 0, then padding, stride, dilation, then unequal pairs."""
    axes = []
    for _ in range(2):
        k = rng.choice((3, 5) if level < 2 else (1, 2, 3, 4, 5, 7)[level == 3:])
        p = rng.randint(min(level == 1, k // 2), k // 2) if level >= 1 else 0
        s = rng.randint(1 + (level == 2), 3) if level >= 2 else 1
        d = rng.randint(1 + (level == 3), 3) if level >= 3 else 1
        axes.append((k, s, p, d))
    return dict(zip(SETTINGS, zip(axes[0], axes[level >= 4])))


def _pool(rng, level):
    k = rng.choice((2, 3) if level < 2 else (2, 3, 4, 5))
    kernel = (k, k + 1) if level >= 4 and rng.random() < 0.5 else (k, k)
    stride = (rng.randint(1, 4),) * 2 if level >= 1 and rng.random() < 0.6 else kernel
    padding = (rng.randint(1, k // 2),) * 2 if level >= 3 and rng.random() < 0.6 else (0, 0)
    return Layer(kernel, stride, padding, name=rng.choice(("MaxPool2d", "AvgPool2d")))


def _input(rng, level, sizes, channels):
    height, width = rng.sample(sizes, 2)
    return channels, height, width if level >= 4 else height


def _shape(rng, level):
    c_in, c_out = rng.sample((1, 3, 4, 6, 8, 16, 32), 2)
    sizes = (7, 8, 10, 12, 14, 16) if level < 2 else (20, 24, 28, 32, 48, 56, 64)
    return _shape_question([Layer(c_in=c_in, c_out=c_out, **_settings(rng, level))], _input(rng, level, sizes, c_in))


def _pooling(rng, level):
    given = _input(rng, level, (8, 11, 14, 20, 27, 32, 55), rng.choice((3, 6, 16, 32)))
    return _shape_question([_pool(rng, level)], given)


def _stack(rng, level):
    given, easier = _input(rng, level + 1, (28, 32, 40, 48, 56, 64, 96), rng.choice((1, 3))), min(level, 2)
    while True:
        layers, shapes = [], [given]
        for i in range(2 + level // 2):
            layers.append(_pool(rng, easier) if i % 2 else Layer(
                c_in=shapes[-1][0], c_out=rng.choice((6, 8, 16, 32)), **_settings(rng, easier)))
            shapes.append(through(layers[-1:], shapes[-1]))
        if min(min(shape[1:]) for shape in shapes) > 1:
            return _shape_question(layers, given)


# ---------------------------------------------------------------------------- padding, parameters, receptive field

def _padding(rng, level):
    choices = [(k, d) for k in range(2, (8, 12, 6, 8, 8)[level]) for d in range(1, 5 if level >= 2 else 2)
               if d * (k - 1) % 2 == 0 and (level != 2 or d > 1)]
    axes = rng.sample(choices, 2) if level >= 4 else [rng.choice(choices)]
    names = ("pH", "pW") if level >= 4 else ("padding",)
    layer = Layer(*zip(*((k, 1, 0, d) for k, d in (axes[0], axes[-1]))), c_in=8, c_out=8)
    right = tuple(d * (k - 1) // 2 for k, d in axes)
    mistakes = {
        "That is the padding of both ends together. `padding` is what is added at each.": tuple(2 * p for p in right),
        "Dilation is left out. It makes the kernel reach further.": tuple((k - 1) // 2 for k, _ in axes),
        GAPS: tuple(d * k // 2 for k, d in axes),
        "Height and width are swapped.": right[::-1]}
    working = ["dilation·(kernel_size − 1) is what the kernel takes from an axis; half of it at each end gives it back",
               *(f"{name}: {d}·({k} − 1) / 2 = {2 * p} / 2 = {p}" for name, (k, d), p in zip(names, axes, right))]
    return Question(f"Which padding keeps the height and the width?\n\n```\n{layer}\n```",
                    names, right, working, mistakes)


def _parameters(rng, level):
    groups = rng.choice((2, 4, 8)) if level >= 3 else 1
    c_in, c_out = (groups * n for n in rng.sample((1, 2, 3, 4, 5, 8, 16), 2))
    c_in = groups if level >= 4 and rng.random() < 0.4 else c_in  # depthwise
    k, l = rng.sample((1, 3, 5, 7), 2) if level >= 2 else [rng.choice((1, 3, 5) if level else (3, 5))] * 2
    layer = Layer((k, l), c_in=c_in, c_out=c_out, groups=groups, bias=level == 0 or rng.random() < 0.7)
    one = c_in // groups * k * l  # weights of one filter
    weights, biases = c_out * one, c_out if layer.bias else 0
    mistakes = {
        "The biases are missing. There is one for each filter." if biases else "There are no biases here: bias=False.":
            weights + c_out - biases,
        "One bias is counted in all. Each filter has its own.": weights + bool(biases),
        "A bias is counted for each channel that goes in. There is one for each filter.": weights + c_in * layer.bias,
        "The channels that go in are left out. A filter has weights for every channel it reads.":
            c_out * k * l + biases,
        "One filter is counted. There are as many as channels that come out.": one + bool(biases),
        "Groups are left out. A filter reads the channels of its own group only.": weights * groups + biases,
        "Groups divide twice. There are as many filters as without groups.": weights // groups + biases,
        "Only one side of the kernel is counted.": weights // l + biases}
    divided = f"{c_in}/{groups}" if groups > 1 else c_in
    working = [f"weights: C_out · C_in/groups · kH · kW = {c_out} · {divided} · {k} · {l} = {weights:,}",
               f"biases: {f'one for each filter, {c_out}' if biases else 'none'}",
               f"together: {weights:,} + {biases} = {weights + biases:,}"]
    return Question(f"How many parameters, weights and biases, has this layer?\n\n```\n{layer}\n```",
                    ("number",), (weights + biases,), working, {why: (n,) for why, n in mistakes.items()})


def seen(layers: list[Layer], step=lambda before, own: prod(before), reach=lambda k, d: d * (k - 1), start=1) -> int:
    """The receptive field of `layers`, along the height.  The other arguments make the usual mistakes."""
    strides = [layer.stride[0] for layer in layers]
    return start + sum(reach(e.kernel_size[0], e.dilation[0]) * step(strides[:i], e.stride[0])
                       for i, e in enumerate(layers))


def _field(rng, level):
    layers = []
    for i in range((2, 3, 2, 3, 3)[level]):
        k = rng.choice((2, 3, 5) if level >= 2 else (3, 5))
        s = rng.randint(2 if i == 0 else 1, 3) if level >= 2 else 1
        d = rng.randint(1, 3) if level >= 4 else 1
        layers.append(Layer((k, k), (s, s), dilation=(d, d)))
    mistakes = {
        "The strides are left out. After a stride of 2, neighbouring units lie 2 pixels apart.":
            seen(layers, lambda before, own: 1),
        "Only the stride of the layer just before counts. Strides multiply through the whole stack.":
            seen(layers, lambda before, own: prod(before[-1:])),
        "The strides are added. Two strides of 3 make steps of 9 pixels.":
            seen(layers, lambda before, own: sum(before) or 1),
        "A layer's own stride is applied to its own kernel. It matters for the layers after it.":
            seen(layers, lambda before, own: prod(before) * own),
        "Dilation is left out.": seen(layers, reach=lambda k, d: k - 1),
        GAPS: seen(layers, reach=lambda k, d: d * k - 1),
        "The kernel sizes are added. Where two layers meet, windows overlap.": sum(e.kernel_size[0] for e in layers),
        "The kernel sizes are multiplied. Neighbouring windows overlap.": prod(e.kernel_size[0] for e in layers),
        "The 1 is missing: the pixel to start from counts too.": seen(layers, start=0),
        "That is what the last layer sees of its own input.": seen(layers[-1:])}
    working = ["to 1 pixel, each layer adds dilation·(kernel_size − 1) · (product of the strides before it)"]
    for i, layer in enumerate(layers):
        (k, _, _, d), before, after = layer.axes()[0], seen(layers[:i]), seen(layers[:i + 1])
        strides = "·".join(str(e.stride[0]) for e in layers[:i]) or 1
        working.append(f"layer {i + 1}: {before} + {d}·({k} − 1) · {strides} = {before} + {after - before} = {after}")
    listed = "\n".join(f"layer {i}: {e.listed()}" for i, e in enumerate(layers, 1))
    return Question("How many pixels of the image, along one axis, does a unit of the last layer see?\n\n"
                    f"```\n{listed}\n```",
                    ("pixels",), (seen(layers),), working, {why: (n,) for why, n in mistakes.items()})


KINDS: dict[str, Callable[[Random, int], Question]] = {
    "shape": _shape, "padding": _padding, "parameters": _parameters, "field": _field,
    "pooling": _pooling, "stack": _stack}
