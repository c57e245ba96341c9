"""Exercises of notebook 11: stacks of 3x3, what they see, VGG from its configuration list, and its costs.

The modules' oracles are written with a ModuleList and loops in forward, where the solutions use nn.Sequential;
the counts are those of torch's layers on the meta device, receptive fields those of a gradient.
"""

from textwrap import dedent

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from autograder.exercise import FORBIDDEN_TORCH, Exercise, Mistake, call
from autograder.exercises.draws import quarters

A = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")
B = (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")
D = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
E = (64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M")


def count(layer):
    return sum(p.numel() for p in layer.parameters())


def switched(oracle, name, **switches):
    """The oracle's class with some of its switches set: a mistake."""
    return type(name, (oracle,), switches)


# ---------------------------------------------------------------------------- stack_parameters

def stack_parameters(c_in, c_out, depth):
    """Oracle: the parameters of torch's layers."""
    with torch.device("meta"):
        stack = nn.Sequential(*[nn.Conv2d(c_out if i else c_in, c_out, 3) for i in range(depth)])
        return count(stack), count(nn.Conv2d(c_in, c_out, 2 * depth + 1))


def stack_by_formula(c_in, c_out, depth):
    first, other = 9 * c_in * c_out + c_out, 9 * c_out * c_out + c_out
    return first + (depth - 1) * other, c_out * (c_in * (2 * depth + 1) ** 2 + 1)


def stack_by_loop(c_in, c_out, depth):
    total, channels, seen = 0, c_in, 1
    for _ in range(depth):
        total += c_out * (3 * 3 * channels + 1)
        channels, seen = c_out, seen + 2
    return [total, c_out * (seen * seen * c_in + 1)]


def _stack(c_in, c_out, depth, first=None, other=None, kernel=None, one=None):
    kernel = 2 * depth + 1 if kernel is None else kernel
    first = 9 * c_in * c_out + c_out if first is None else first
    other = 9 * c_out * c_out + c_out if other is None else other
    one = kernel**2 * c_in * c_out + c_out if one is None else one
    return first + (depth - 1) * other, one


STACK_PARAMETERS = Exercise(
    id="stack_parameters", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=stack_parameters,
    probes=[call(1, 1, 2), call(1, 1, 1), call(1, 2, 2), call(2, 3, 1), call(2, 3, 3), call(5, 2, 2), call(3, 64, 2),
            call(64, 64, 2), call(64, 64, 3), call(64, 128, 2), call(256, 512, 4)],
    random=lambda rng: call(*map(int, rng.integers(1, 200, 2)), int(rng.integers(1, 6))),
    mistakes=[
        Mistake("every_layer_reads_c_in", "Every layer of the stack is counted as reading `c_in` channels. From the "
                "second layer on, what does a layer read?",  # 20, and the slip of SYLLABUS.md
                lambda c_in, c_out, depth: _stack(c_in, c_out, depth, other=9 * c_in * c_out + c_out)),
        Mistake("every_layer_reads_c_out", "The first layer of the stack is counted as reading `c_out` channels; it "
                "reads what comes in.",
                lambda c_in, c_out, depth: _stack(c_in, c_out, depth, first=9 * c_out * c_out + c_out)),
        Mistake("biases_missing", "The weights are right; the biases are missing. Each filter of each layer has one.",
                lambda c_in, c_out, depth: _stack(c_in, c_out, depth, 9 * c_in * c_out, 9 * c_out**2,
                                                  one=(2 * depth + 1)**2 * c_in * c_out)),  # 23
        Mistake("one_bias_for_the_stack", "The stack has biases in one layer only. Every layer has one bias for each "
                "of its filters.",
                lambda c_in, c_out, depth: _stack(c_in, c_out, depth, other=9 * c_out**2)),
        Mistake("a_bias_for_every_kernel", "A bias is counted for each pair of an input and an output channel. A "
                "filter adds up all its products and then one bias.",  # 24
                lambda c_in, c_out, depth: _stack(c_in, c_out, depth, 10 * c_in * c_out, 10 * c_out**2,
                                                  one=((2 * depth + 1)**2 + 1) * c_in * c_out)),
        Mistake("kernel_three_times_depth", "The single kernel is 3 · depth wide. Two 3×3 layers do not see 6 pixels: "
                "their windows overlap. Draw it.",
                lambda c_in, c_out, depth: _stack(c_in, c_out, depth, kernel=3 * depth)),
        Mistake("kernel_one_short", "The single kernel is 2 · depth wide, one less than the stack sees: a stack of one "
                "layer sees 3.",
                lambda c_in, c_out, depth: _stack(c_in, c_out, depth, kernel=2 * depth)),
        Mistake("kernel_one_more", "The single kernel is depth + 3 wide. Each layer after the first adds 2 pixels to "
                "what is seen: one on each side.",
                lambda c_in, c_out, depth: _stack(c_in, c_out, depth, kernel=depth + 3 if depth > 1 else 3)),
        Mistake("kernel_not_squared", "A kernel of 5×5 has 25 weights for each channel it reads. In your count of the "
                "single layer it has 5.",
                lambda c_in, c_out, depth: _stack(c_in, c_out, depth, one=(2 * depth + 1) * c_in * c_out + c_out)),
        Mistake("single_layer_reads_c_out", "The stack is right. The single layer stands in its place, so it reads "
                "`c_in` channels.",
                lambda c_in, c_out, depth: _stack(c_in, c_out, depth, one=(2 * depth + 1)**2 * c_out**2 + c_out)),
        Mistake("one_3x3_layer", "The first number is that of a single 3×3 layer; the stack has `depth` of them.",
                lambda c_in, c_out, depth: _stack(c_in, c_out, depth, other=0)),
        Mistake("other_way_round", "Both numbers are right, but in the other order: the stack comes first.",
                lambda c_in, c_out, depth: stack_parameters(c_in, c_out, depth)[::-1]),
    ],
    alternatives=[stack_by_formula, stack_by_loop],
    hints=[
        "How many pixels does a unit see after one 3×3 layer, and after two? And how many channels does the second "
        "layer of the stack read?",
        dedent("""\
        `stack_parameters(1, 2, 2)`: one channel in, two out, two layers.

        ```
        3×3, 1 -> 2:   9·1·2 weights + 2 biases = 20
        3×3, 2 -> 2:   9·2·2 weights + 2 biases = 38      together 58
        5×5, 1 -> 2:  25·1·2 weights + 2 biases = 52
        ```"""),
        dedent("""\
        ```
        parameters of a k×k layer from c to f channels: f filters of k·k·c weights and one bias

        stack <- 3×3 from c_in to c_out, and depth - 1 times 3×3 from c_out to c_out
        side  <- what the stack sees: 3, 5, 7, … for depth 1, 2, 3, …
        one   <- side×side from c_in to c_out
        ```"""),
        "Each further 3×3 layer adds one pixel on either side to what is seen, so the side grows by 2 with the depth "
        "and the single kernel's weights with its square. The stack's weights grow in proportion to the depth. But "
        "every layer of the stack except the first reads `c_out` channels, also where `c_in` is much smaller.",
    ])


# ---------------------------------------------------------------------------- vgg_receptive_fields

def vgg_receptive_fields(config):
    """Oracle: how far the gradient of one unit reaches, along one axis."""
    def field(length):
        x = torch.ones(1, 1, 400, dtype=torch.float64, requires_grad=True)
        y, three = x, torch.ones(1, 1, 3, dtype=torch.float64)
        for entry in config[:length]:
            y = F.avg_pool1d(y, 2) if entry == "M" else F.conv1d(y, three)
        (grad,) = torch.autograd.grad(y[0, 0, 0], x)
        return int(grad.count_nonzero())

    return tuple(field(i + 1) for i in range(len(config)))


def fields_backwards(config):
    def field(upto):
        seen = 1
        for entry in reversed(config[:upto]):
            seen = 2 * seen if entry == "M" else seen + 2
        return seen

    return [field(i) for i in range(1, len(config) + 1)]


def fields_by_powers(config):
    pools, seen, out = 0, 1, ()
    for entry in config:
        seen += (1 if entry == "M" else 2) * 2**pools
        pools += entry == "M"
        out += (seen,)
    return out


def _fields(config, conv=2, pool=1, start=1, step_after=lambda step: 2 * step, add_after=False):
    seen, step, out = start, 1, []
    for entry in config:
        if entry == "M":
            wider = step_after(step)
            seen, step = seen + pool * (wider if add_after else step), wider
        else:
            seen += conv * step
        out.append(seen)
    return tuple(out)


def _doubled_at_the_end(config):
    """2x2 at stride 2 taken to double what a unit sees."""
    seen, out = 1, []
    for entry in config:
        seen = 2 * seen if entry == "M" else seen + 2
        out.append(seen)
    return tuple(out)


def random_config(rng, longest=9, most=9):
    """A list of widths and at most three "M"; the first entry is a width."""
    entries, pools = [int(rng.integers(2, most))], 0
    while len(entries) < longest - rng.integers(0, 4):
        pool = pools < 3 and rng.random() < 0.4
        pools += pool
        entries.append("M" if pool else int(rng.integers(2, most)))
    return tuple(entries)


FIELDS = Exercise(
    id="vgg_receptive_fields", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=vgg_receptive_fields,
    probes=[call((8,)), call(("M",)), call((4, 6)), call((4, "M")), call(("M", "M")), call(("M", 4, 4)),
            call((4, 4, "M", 6, "M", 8)), call((4, "M", 6, "M", 8, 8, "M", 8)), call(A), call(D)],
    random=lambda rng: call(random_config(rng)),
    mistakes=[
        Mistake("without_the_product_of_strides", "After the first pooling layer it grows too slowly. Two "
                "neighbouring units there lie 2 pixels apart in the image, later 4, then 8: each layer has to count "
                "in these steps.",
                lambda config: _fields(config, step_after=lambda step: step)),  # 107
        Mistake("strides_added", "The steps in the image have to be multiplied: after two pooling layers neighbouring "
                "units lie 2 · 2 pixels apart. In your numbers the strides add up.",
                lambda config: _fields(config, step_after=lambda step: step + 2)),
        Mistake("step_grows_by_one", "The distance of neighbouring units in the image is 1, 2, 3, … after 0, 1, 2, … "
                "pooling layers in your numbers. Each pooling layer doubles it.",
                lambda config: _fields(config, step_after=lambda step: step + 1)),
        Mistake("own_stride_counts", "The pooling layer adds too much: it reads two neighbours of the layer below, as "
                "far apart as these are. Its stride matters only for the layers after it.",
                lambda config: _fields(config, add_after=True)),
        Mistake("pooling_sees_nothing_new", "Your pooling layers do not see more than the layer below. A unit after "
                "one reads two neighbours along each axis, and these see different pixels.",
                lambda config: _fields(config, pool=0)),
        Mistake("pooling_doubles_the_field", "Pooling doubles the distance between units, not what a unit sees: the "
                "two units that it reads see nearly the same pixels.", _doubled_at_the_end),
        Mistake("kernel_not_less_one", "Each convolution adds 3 steps in your numbers. Its window is 3 wide, and from "
                "its first unit to its last there are 2 steps.",
                lambda config: _fields(config, conv=3)),
        Mistake("one_side_only", "Each convolution adds one step in your numbers. It reaches one further on both "
                "sides.",
                lambda config: _fields(config, conv=1)),
        Mistake("starts_at_zero", "Everything is short by one: before the first layer a unit is a pixel, and sees 1.",
                lambda config: _fields(config, start=0)),
        Mistake("starts_with_the_image", "There is one number too many in front: the answer has one for each entry of "
                "the list, and none for the image.",
                lambda config: (1, *vgg_receptive_fields(config))),
        Mistake("last_layer_only", "Only the last number is returned. The answer has one for each entry of the list.",
                lambda config: vgg_receptive_fields(config)[-1]),
        Mistake("area", "The numbers are squared: what is asked for is the side of the square, along one axis.",
                lambda config: tuple(n * n for n in vgg_receptive_fields(config))),
        Mistake("pooling_left_out", "There is no number for the entries \"M\". A unit after a pooling layer has a "
                "receptive field too.",
                lambda config: tuple(n for n, e in zip(vgg_receptive_fields(config), config) if e != "M")),
    ],
    alternatives=[fields_backwards, fields_by_powers],
    hints=[
        "Take two units side by side, after one pooling layer. How many pixels apart are the windows that they see in "
        "the image?",
        dedent("""\
        `(4, "M", 6)` along one axis; `step` is the distance in the image of two neighbours in the layer's input:

        ```
        entry   step before   adds          sees   step after
        image                                 1        1
        4            1        2 steps of 1    3        1
        "M"          1        1 step of 1     4        2
        6            2        2 steps of 2    8        2
        ```"""),
        dedent("""\
        ```
        seen <- 1                       # a pixel sees itself
        step <- 1                       # neighbours are 1 pixel apart
        for each entry:
            seen grows by (window - 1) steps      # window 3 for a number, 2 for "M"
            step is multiplied by the entry's stride
            note seen
        ```"""),
        "A window of $k$ units reaches over $k - 1$ distances between neighbours, and each of these is as long in the "
        "image as the product of all strides below. A layer's own stride moves its outputs apart, so it counts from "
        "the next layer on.",
    ])


# ---------------------------------------------------------------------------- vgg_block

class VGGBlock(nn.Module):
    """Oracle: convolutions, each with batch norm if wanted and ReLU, then 2x2 max pooling."""

    bias, pool, relus, norm = True, "max", "all", "before ReLU"

    def __init__(self, c_in, c_out, kernel_sizes, batch_norm=False):
        super().__init__()
        kernel_sizes, self.norm = self.change(kernel_sizes), self.norm if batch_norm else ""
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for i, k in enumerate(kernel_sizes):
            bias = self.bias is True or (self.bias == "unless batch norm" and not batch_norm)
            self.convs.append(nn.Conv2d(c_out if i else c_in, c_out, k, padding=self.padding(k), bias=bias))
            last = i + 1 == len(kernel_sizes)
            normed = self.norm and (self.norm != "last" or last)
            self.norms.append(nn.BatchNorm2d(c_out) if normed else nn.Identity())

    def change(self, kernel_sizes):
        return kernel_sizes

    def padding(self, k):
        return k // 2

    def forward(self, x):
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms)):
            x, last = conv(x), i + 1 == len(self.convs)
            wanted = {"all": True, "last": last, "not last": not last, "none": False}[self.relus]
            for step in ([torch.relu, norm] if self.norm == "after ReLU" else [norm, torch.relu]):
                x = x if step is torch.relu and not wanted else step(x)
            x = self.pooled(x) if self.pool == "each" else x
        return x if self.pool == "each" else self.pooled(x)

    def pooled(self, x):
        settings = {"max": (2,), "each": (2,), "stride 1": (2, 1), "3x3": (3, 2), "ceil": (2, 2, 0, 1, True)}
        if self.pool in settings:
            return F.max_pool2d(x, *settings[self.pool])
        return F.avg_pool2d(x, 2) if self.pool == "average" else x


class SharedBlock(VGGBlock):
    """The layers after the first are one and the same object, as `[layer] * n` makes them."""

    def __init__(self, c_in, c_out, kernel_sizes, batch_norm=False):
        super().__init__(c_in, c_out, kernel_sizes, batch_norm)
        for i in range(2, len(self.convs)):
            if kernel_sizes[i] == kernel_sizes[1]:
                self.convs[i], self.norms[i] = self.convs[1], self.norms[1]


class ListBlock(VGGBlock):
    """The layers in a plain list, which PyTorch does not look into."""

    def __init__(self, c_in, c_out, kernel_sizes, batch_norm=False):
        super().__init__(c_in, c_out, kernel_sizes, batch_norm)
        convs, norms = list(self.convs), list(self.norms)
        del self.convs, self.norms
        self.convs, self.norms = convs, norms


class BlockAsSequential(nn.Sequential):
    def __init__(self, c_in, c_out, kernel_sizes, batch_norm=False):
        made = []
        for k in kernel_sizes:
            made += [nn.Conv2d(c_in, c_out, k, 1, (k - 1) // 2)] + [nn.BatchNorm2d(c_out)] * batch_norm + [nn.ReLU()]
            c_in = c_out
        super().__init__(*made, nn.MaxPool2d(2, 2))


class BlockByHand(nn.Module):
    """Another naming, "same" padding, ReLU in place and pooling written as a maximum."""

    def __init__(self, c_in, c_out, kernel_sizes, batch_norm=False):
        super().__init__()
        for i, k in enumerate(kernel_sizes):
            self.add_module(f"conv{i}", nn.Conv2d(c_out if i else c_in, c_out, (k, k), padding="same"))
            if batch_norm:
                self.add_module(f"bn{i}", nn.BatchNorm2d(c_out))

    def forward(self, x):
        for name, layer in self.named_children():
            x = layer(x)
            if name.startswith("bn") or not hasattr(self, "bn0"):
                x = F.relu_(x)
        h, w = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
        x = torch.maximum(x[:, :, 0:h:2], x[:, :, 1:h:2])
        return torch.maximum(x[..., 0:w:2], x[..., 1:w:2])


def value_steps(x, like, seed, mode="eval", gradient=None, structure=True):
    """Structure first, then values; the gradient for an output of shape `gradient`, where it is given."""
    steps = [("layers", {"input_size": x.shape}), ("count_parameters", {})] if structure else []
    steps += [("set_weights", {"seed": like}), (mode, {}), ("forward", {"x": x})]
    return steps + ([("gradient", {"x2": x, "dy": quarters(seed + 1, *gradient)})] if gradient else [])


def counted(*args, input_size, part, **settings):
    """A probe of the structure alone, so that it still says something where the check cannot set the weights."""
    return call(*args, **settings, part=part, device="cpu", steps=[("layers", {"input_size": input_size}),
                                                                   ("count_parameters", {})])


def block_call(c_in, c_out, kernel_sizes, batch_norm=False, size=(1, 6, 7), mode="eval", seed=0, part="",
               gradient=False):
    n, h, w = size
    settings = {"batch_norm": True} if batch_norm else {}
    return call(c_in, c_out, kernel_sizes, **settings, part=part, device="cpu", steps=value_steps(
        quarters(seed, n, c_in, h, w), 1, seed, mode, (n, c_out, h // 2, w // 2) if gradient else None))


PLAIN, NORMED = "without batch norm", "with batch norm"


def random_block(rng):
    kernel_sizes = [(3,), (3, 3), (3, 3, 3), (3, 3, 1), (1, 3), (5, 3), (3, 3, 3, 3)][rng.integers(7)]
    c_in, c_out = map(int, rng.permutation(range(1, 6))[:2])
    normed = bool(rng.integers(2))
    return block_call(c_in, c_out, kernel_sizes, normed, (int(rng.integers(2, 4)), *map(int, rng.integers(4, 9, 2))),
                      ("train", "eval")[rng.integers(2)], int(rng.integers(1000)), NORMED if normed else PLAIN, True)


VGG_BLOCK = Exercise(
    id="vgg_block", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=VGGBlock,
    probes=[counted(2, 4, (3, 3), input_size=(2, 2, 8, 9), part=PLAIN),
            counted(2, 4, (3, 3), batch_norm=True, input_size=(2, 2, 8, 9), part=NORMED),
            block_call(1, 2, (3,), size=(1, 4, 5), part=PLAIN), block_call(2, 3, (3, 3), seed=2, part=PLAIN),
            block_call(3, 2, (3, 3, 3), size=(1, 7, 8), seed=4, part=PLAIN),
            block_call(2, 3, (3, 3, 1), size=(1, 8, 7), seed=6, part=PLAIN),
            block_call(3, 2, (5, 3), size=(2, 5, 6), seed=8, part=PLAIN, gradient=True),
            block_call(2, 3, (3, 3), True, seed=10, part=NORMED),
            block_call(1, 2, (3, 1, 3), True, size=(2, 6, 7), seed=12, mode="train", part=NORMED, gradient=True)],
    random=random_block,
    mistakes=[
        Mistake("one_convolution", "There is only one convolution. There must be one for each entry of `kernel_sizes`.",
                switched(VGGBlock, "Once", change=lambda self, k: k[:1])),
        Mistake("all_3x3", "Every convolution is 3×3. `kernel_sizes` may hold other sizes, such as the 1 of "
                "configuration C.",
                switched(VGGBlock, "Threes", change=lambda self, k: (3,) * len(k))),
        Mistake("shared_weights", "Two convolutions are one and the same layer, with the same weights, and so learn "
                "together. Make a new layer for each: `[layer] * 2` is a list with one layer in it twice.",
                SharedBlock),
        Mistake("plain_list", "The network has no parameters: its layers are in a plain Python list, which PyTorch "
                "does "
                "not look into. Keep them in `nn.Sequential` or `nn.ModuleList`.", ListBlock),
        Mistake("padding_missing", "The maps shrink at each convolution: the padding is missing.",
                switched(VGGBlock, "Unpadded", padding=lambda self, k: 0)),
        Mistake("padding_always_1", "Padding 1 keeps the size for a 3×3 window. For another window, what is the "
                "padding that does?",
                switched(VGGBlock, "One", padding=lambda self, k: 1)),
        Mistake("pool_missing", "There is no pooling at the end: height and width must be halved.",
                switched(VGGBlock, "NoPool", pool="none")),
        Mistake("pool_after_every_convolution", "There is a pooling layer after every convolution. It comes once, at "
                "the end of the block.", switched(VGGBlock, "Each", pool="each")),
        Mistake("pool_stride_1", "The pooling windows move by one pixel, so the maps keep their size. They lie side by "
                "side.", switched(VGGBlock, "Dense", pool="stride 1")),  # 62
        Mistake("pool_3x3", "The pooling windows are 3×3, as AlexNet's are. VGG's are 2×2, at stride 2.",
                switched(VGGBlock, "Overlap", pool="3x3")),
        Mistake("average_pooling", "The block ends with average pooling; VGG takes the maximum.",
                switched(VGGBlock, "Average", pool="average")),
        Mistake("ceil_mode", "Where height or width is odd, the pooled map has one row or column too many: a window "
                "that does not fit is left out.", switched(VGGBlock, "Ceil", pool="ceil")),  # 71
        Mistake("relu_at_the_end_only", "There is a ReLU only at the end of the block. Without one between them, two "
                "convolutions are together just another linear map.", switched(VGGBlock, "Late", relus="last")),
        Mistake("relu_missing_at_the_end", "The last convolution of the block has no ReLU: each one is followed by "
                "one.",
                switched(VGGBlock, "Early", relus="not last")),
        Mistake("relu_missing", "There is no ReLU in the block: each convolution is followed by one.",
                switched(VGGBlock, "Linear", relus="none")),
        Mistake("bias_missing", "The convolutions have no bias. They all have one here.",
                switched(VGGBlock, "Unbiased", bias=False)),
        Mistake("no_bias_with_batch_norm", "The convolutions lose their bias where there is batch norm. That is well "
                "thought: batch norm takes any constant away. But VGG as it is distributed keeps it, and so does this "
                "exercise.", switched(VGGBlock, "Thrifty", bias="unless batch norm")),  # 87
        Mistake("batch_norm_missing", "`batch_norm=True` changes nothing: there must be a batch norm after each "
                "convolution.", switched(VGGBlock, "Plain", norm="")),
        Mistake("batch_norm_once", "There is one batch norm in the block, at its end. Each convolution is followed by "
                "one of its own.", switched(VGGBlock, "Once", norm="last")),
        Mistake("batch_norm_after_relu", "Batch norm stands after the ReLU. Here it stands between the convolution "
                "and the ReLU.", switched(VGGBlock, "After", norm="after ReLU")),
    ],
    alternatives=[BlockAsSequential, BlockByHand],
    hints=[
        "Which channels does the first convolution read, and which does every other one read? Which padding keeps the "
        "size for a window of $k$?",
        dedent("""\
        `VGGBlock(2, 3, (3, 3), batch_norm=True)` on maps of 8×11:

        ```
        Conv2d 2 -> 3, 3×3, padding 1     3 × 8 × 11
        BatchNorm2d 3                     3 × 8 × 11
        ReLU
        Conv2d 3 -> 3, 3×3, padding 1     3 × 8 × 11
        BatchNorm2d 3                     3 × 8 × 11
        ReLU
        MaxPool2d 2×2, stride 2           3 × 4 × 5
        ```"""),
        dedent("""\
        ```
        layers <- empty list
        for each k of kernel_sizes:
            append a k×k convolution from c_in to c_out, padding (k - 1) / 2 (an int)
            append a batch norm over c_out channels, if wanted
            append a ReLU
            from now on c_in is c_out
        append the pooling
        run them one after the other: nn.Sequential
        ```"""),
        "A layer that is made in `__init__` and kept as an attribute, in `nn.Sequential` or in `nn.ModuleList`, is "
        "registered: its parameters are found and trained. One in a plain Python list is not. Each layer with weights "
        "must be an object of its own; a ReLU or a pooling has none and may be used again.",
    ])


# ---------------------------------------------------------------------------- vgg_features

class Features(nn.Module):
    """Oracle: the layers of a configuration list, carried out one entry after the other."""

    bias, relus, norm, pool, padding, entries = True, "all", "before ReLU", (2, 2), 1, staticmethod(tuple)

    def __init__(self, config, c_in=3, batch_norm=False):
        super().__init__()
        self.config, self.layers = self.entries(config), nn.ModuleList()
        self.norm = self.norm if batch_norm else ""
        for f in self.config:
            if f == "M":
                self.layers.append(nn.Identity())
                continue
            bias = self.bias is True or (self.bias == "unless batch norm" and not batch_norm)
            conv = nn.Conv2d(c_in, f, 3, padding=self.padding, bias=bias)
            norm = nn.BatchNorm2d(c_in if self.norm == "before convolution" else f) if self.norm else nn.Identity()
            self.layers.append(nn.ModuleList([conv, norm]))
            c_in = f

    def forward(self, x):
        widths = [i for i, f in enumerate(self.config) if f != "M"]
        for i, (f, layer) in enumerate(zip(self.config, self.layers)):
            if f == "M":
                x = self.reduce(x)
                continue
            conv, norm = layer
            before_pool = self.config[i + 1:i + 2] == ("M",)
            wanted = {"all": True, "none": False, "before M": before_pool, "not last": i != widths[-1]}[self.relus]
            relu = torch.relu if wanted else nn.Identity()
            order = {"after ReLU": (conv, relu, norm), "before convolution": (norm, conv, relu)}
            for step in order.get(self.norm, (conv, norm, relu)):
                x = step(x)
        return x

    def reduce(self, x):
        return F.max_pool2d(x, *self.pool)


def vgg_features(config, c_in=3, batch_norm=False):
    """Oracle."""
    return Features(config, c_in, batch_norm)


def features_of(**switches):
    """A mistake: the oracle with some switches set."""
    def wrong(config, c_in=3, batch_norm=False):
        return switched(Features, "Features", **switches)(config, c_in, batch_norm)

    return wrong


def features_by_indices(config, c_in=3, batch_norm=False):
    layers = nn.Sequential()
    widths = [c_in] + [f for f in config if f != "M"]
    done = 0
    for entry in config:
        if entry == "M":
            layers.append(nn.MaxPool2d(kernel_size=2))
        else:
            layers.append(nn.Conv2d(widths[done], widths[done + 1], kernel_size=3, padding="same"))
            layers.extend([nn.BatchNorm2d(entry), nn.ReLU()] if batch_norm else [nn.ReLU()])
            done += 1
    return layers


def features_nested(config, c_in=3, batch_norm=False):
    """From the end: the rest of the list is a network of its own."""
    if not config:
        return nn.Identity()
    if config[0] == "M":
        return nn.Sequential(nn.MaxPool2d(2, 2), features_nested(config[1:], c_in, batch_norm))
    conv = nn.Conv2d(c_in, config[0], 3, 1, 1)
    norm = nn.BatchNorm2d(config[0]) if batch_norm else nn.Identity()
    return nn.Sequential(conv, norm, nn.ReLU(inplace=True), features_nested(config[1:], config[0], batch_norm))


def features_call(config, c_in=3, batch_norm=False, size=(1, 6, 7), mode="eval", seed=0, part="", gradient=False):
    x, pools = quarters(seed, size[0], c_in, *size[1:]), config.count("M")
    out = size[0], [f for f in config if f != "M"][-1], size[1] >> pools, size[2] >> pools
    settings = ({"c_in": c_in} if c_in != 3 else {}) | ({"batch_norm": True} if batch_norm else {})
    return call(config, **settings, part=part, device="cpu",
                steps=value_steps(x, 2, seed, mode, out if gradient else None))


def random_features(rng):
    normed, config = bool(rng.integers(2)), random_config(rng, longest=7, most=7)
    return features_call(config, int(rng.integers(1, 5)), normed, (2, *map(int, rng.integers(8, 14, 2))),
                         ("train", "eval")[rng.integers(2)], int(rng.integers(1000)), NORMED if normed else PLAIN,
                         True)


VGG_FEATURES = Exercise(
    id="vgg_features", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=vgg_features,
    probes=[counted((4, 6, "M"), input_size=(2, 3, 8, 9), part=PLAIN),
            counted((4, 6, "M"), batch_norm=True, input_size=(2, 3, 8, 9), part=NORMED),
            features_call((2,), 1, size=(1, 3, 4), part=PLAIN),
            features_call((4, "M"), size=(1, 5, 6), seed=2, part=PLAIN),
            features_call((2, 4, "M", 5, "M"), size=(1, 6, 7), seed=4, part=PLAIN),
            features_call((4, "M", 2, 3), 2, size=(2, 5, 6), seed=6, part=PLAIN, gradient=True),
            features_call((3, "M", "M", 4, 2, "M"), 1, size=(1, 9, 11), seed=8, part=PLAIN),
            features_call((4, 2, "M"), 2, True, size=(1, 6, 7), seed=10, part=NORMED),
            features_call((2, "M", 4, 5, "M"), 3, True, size=(2, 5, 6), seed=12, mode="train", part=NORMED,
                          gradient=True)],
    random=random_features,
    mistakes=[
        Mistake("padding_missing", "The maps shrink at each convolution: 3×3 needs padding 1 to keep the size.",
                features_of(padding=0)),
        Mistake("m_ignored", "Nothing is pooled: an \"M\" stands for max pooling.",
                features_of(reduce=lambda self, x: x)),
        Mistake("last_m_dropped", "The \"M\" at the end of the list is left out. The list is worked through to its "
                "end.",
                features_of(entries=staticmethod(lambda c: c[:-1] if c[-1] == "M" else c))),
        Mistake("pool_3x3", "The pooling windows are 3×3, as AlexNet's are. VGG's are 2×2, at stride 2.",
                features_of(pool=(3, 2))),
        Mistake("pool_stride_1", "The pooling windows move by one pixel. They lie side by side, at stride 2.",
                features_of(pool=(2, 1))),  # 62
        Mistake("average_pooling", "\"M\" is average pooling in your network. M stands for maximum.",
                features_of(reduce=lambda self, x: F.avg_pool2d(x, 2))),
        Mistake("ceil_mode", "Where height or width is odd, the pooled map has one row or column too many: a window "
                "that does not fit is left out.", features_of(pool=(2, 2, 0, 1, True))),  # 71
        Mistake("relu_missing", "There is no ReLU. Each convolution is followed by one.", features_of(relus="none")),
        Mistake("relu_before_pooling_only", "There is a ReLU only before pooling. Each convolution is followed by "
                "one: without it, two convolutions in a row are together just another linear map.",
                features_of(relus="before M")),
        Mistake("last_relu_missing", "The last convolution of the list has no ReLU. Each one is followed by one.",
                features_of(relus="not last")),
        Mistake("bias_missing", "The convolutions have no bias. They all have one here.", features_of(bias=False)),
        Mistake("no_bias_with_batch_norm", "The convolutions lose their bias where there is batch norm. That is well "
                "thought: batch norm takes any constant away. But VGG as it is distributed keeps it, and so does this "
                "exercise.", features_of(bias="unless batch norm")),  # 87
        Mistake("batch_norm_missing", "`batch_norm=True` changes nothing: there must be a batch norm after each "
                "convolution.", features_of(norm="")),
        Mistake("batch_norm_after_relu", "Batch norm stands after the ReLU. Here it stands between the convolution "
                "and the ReLU.", features_of(norm="after ReLU")),
        Mistake("batch_norm_before_convolution", "Batch norm stands before the convolution. Here it stands "
                "between the convolution and the ReLU.", features_of(norm="before convolution")),
    ],
    alternatives=[features_by_indices, features_nested],
    hints=[
        "Which two kinds of entries are there, and which layers does each stand for? What does the next convolution "
        "have to know about the one before?",
        dedent("""\
        `vgg_features((2, 4, "M"), c_in=1)`:

        ```
        entry   layers
        2       Conv2d 1 -> 2, ReLU
        4       Conv2d 2 -> 4, ReLU
        "M"     MaxPool2d
        ```"""),
        dedent("""\
        ```
        layers <- empty list
        for each entry:
            if it is "M":
                append the pooling
            otherwise:
                append a 3×3 convolution from c_in to entry, padding 1
                append a batch norm over entry channels, if wanted
                append a ReLU
                from now on c_in is entry
        return them in nn.Sequential
        ```"""),
        "Depth is written into the list, not into the code: five networks need one function and five lines. Only the "
        "number of channels has to be carried from one convolution to the next, because pooling does not change it.",
    ])


# ---------------------------------------------------------------------------- vgg_classifier

class Classifier(nn.Module):
    """Oracle: flatten, then three linear layers, with ReLU and dropout after the first two."""

    bias, order, relus, final, layers = True, (0, 1, 2, 3), (True, True), staticmethod(lambda z: z), 3
    drops = staticmethod(lambda p: (0, *p, 0))  # before the first layer, after each of the three
    off_in_evaluation = True

    def __init__(self, shape, hidden, classes, dropout=(0.5, 0.5)):
        super().__init__()
        self.rates = self.drops(dropout)
        widths = [self.inputs(shape), *[hidden] * (self.layers - 1), classes]
        self.linears = nn.ModuleList(nn.Linear(a, b, bias=self.bias) for a, b in zip(widths, widths[1:]))

    def inputs(self, shape):
        return int(np.prod(shape))

    def flat(self, x):
        return x.permute(self.order).reshape(len(x), -1)

    def drop(self, x, p):
        return F.dropout(x, p, self.training or not self.off_in_evaluation)

    def forward(self, x):
        x = self.drop(self.flat(x), self.rates[0])
        for i, linear in enumerate(self.linears):
            x = linear(x)
            if i + 1 < len(self.linears):
                x = torch.relu(x) if self.relus[i] else x
            x = self.drop(x, self.rates[i + 1])
        return self.final(x)


class ClassifierAsSequential(nn.Sequential):
    def __init__(self, shape, hidden, classes, dropout=(0.5, 0.5)):
        c, h, w = shape
        super().__init__(nn.Flatten(), nn.Linear(c * h * w, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout[0]),
                         nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout[1]), nn.Linear(hidden, classes))


class ClassifierByHand(nn.Module):
    def __init__(self, shape, hidden, classes, dropout=(0.5, 0.5)):
        super().__init__()
        self.fc6 = nn.Linear(torch.Size(shape).numel(), hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, classes)
        self.p6, self.p7 = dropout

    def forward(self, x):
        x = F.dropout(self.fc6(torch.flatten(x, 1)), self.p6, self.training).clamp(min=0)
        x = F.dropout(F.relu(self.fc7(x)), self.p7, self.training)
        return self.fc8(x)


class NotDivided(Classifier):
    """Dropout that leaves what it keeps as it is."""

    def drop(self, x, p):
        return super().drop(x, p) * (1 - p if self.training else 1)


class Averaged(Classifier):
    """Global average pooling in place of flattening."""

    def inputs(self, shape):
        return shape[0]

    def flat(self, x):
        return x.mean(dim=(2, 3))


# Rates so small that, with the random numbers of a check, nothing is dropped, however the dropout is written.  What is
# kept is still divided by 1 - p: that shows whether it is.
SELDOM = (0.0005, 0.00025)
EVALUATION, TRAINING = "in evaluation", "in training"


def classifier_call(shape, hidden, classes, dropout=None, mode="eval", n=2, seed=0):
    """Rates of 0, 1 and SELDOM: with these, dropout has no choice, and its result can be compared."""
    x = quarters(seed, n, *shape)
    steps = [("layers", {"input_size": x.shape}), ("count_parameters", {})]
    if dropout is not None:
        steps += [("set_weights", {"seed": 3}), (mode, {}), ("forward", {"x": x}),
                  ("gradient", {"x2": x, "dy": quarters(seed + 1, n, classes)})]
    return call(shape, hidden, classes, **({} if dropout is None else {"dropout": dropout}), steps=steps, device="cpu",
                part=TRAINING if mode == "train" else EVALUATION)


def random_classifier(rng):
    shape, widths = tuple(map(int, rng.permutation(range(1, 6))[:3])), map(int, rng.permutation(range(3, 9))[:2])
    rates = SELDOM if rng.random() < 0.25 else tuple(float(p) for p in rng.integers(0, 2, 2))
    return classifier_call(shape, *widths, rates, ("train", "eval")[rng.integers(2)], int(rng.integers(1, 4)),
                           int(rng.integers(1000)))


VGG_CLASSIFIER = Exercise(
    id="vgg_classifier", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=Classifier,
    probes=[classifier_call((2, 1, 3), 4, 3, (0.0, 0.0), seed=20),
            classifier_call((3, 2, 4), 5, 6, (0.0, 0.0), n=3, seed=2),
            classifier_call((2, 3, 2), 6, 4, (1.0, 0.0), seed=4), classifier_call((2, 3, 2), 4, 5, (0.0, 1.0), seed=6),
            classifier_call((5, 2, 3), 7, 4),
            classifier_call((2, 3, 2), 5, 3, (0.0, 0.0), "train", seed=8),
            classifier_call((2, 3, 4), 4, 3, (1.0, 0.0), "train", seed=10),
            classifier_call((3, 4, 2), 5, 4, (0.0, 1.0), "train", seed=12),
            classifier_call((2, 3, 2), 7, 3, SELDOM, "train", seed=14)],
    random=random_classifier,
    mistakes=[
        Mistake("dropout_in_evaluation", "Dropout drops in evaluation too. `nn.Dropout` follows `net.train()` and "
                "`net.eval()`; the function `F.dropout` drops always unless it is given `training=self.training`.",
                switched(Classifier, "Always", off_in_evaluation=False)),  # 102
        Mistake("dropout_missing", "In evaluation everything is right, but in training nothing is dropped: the rates "
                "are not used.", switched(Classifier, "Never", drops=staticmethod(lambda p: (0, 0, 0, 0)))),
        Mistake("not_divided", "Rates of 0 and 1 are right. With a rate between them, what is kept in training has to "
                "be divided by the part that is kept, so that the mean stays.", NotDivided),  # 103
        Mistake("rates_swapped", "The two rates are exchanged: the first belongs after the first ReLU.",
                switched(Classifier, "Swapped", drops=staticmethod(lambda p: (0, p[1], p[0], 0)))),
        Mistake("first_rate_twice", "The first rate is used in both places.",
                switched(Classifier, "First", drops=staticmethod(lambda p: (0, p[0], p[0], 0)))),
        Mistake("second_rate_twice", "The second rate is used in both places.",
                switched(Classifier, "Second", drops=staticmethod(lambda p: (0, p[1], p[1], 0)))),
        Mistake("dropout_one_layer_early", "Dropout stands before the first two linear layers, as in some "
                "versions of AlexNet. Here it stands after the first and the second ReLU.",
                switched(Classifier, "Early", drops=staticmethod(lambda p: (*p, 0, 0)))),
        Mistake("dropout_on_the_scores", "Dropout stands after the second and the third linear layer. A score that is "
                "dropped becomes 0; dropout belongs after the two hidden layers.",
                switched(Classifier, "Late", drops=staticmethod(lambda p: (0, 0, *p)))),
        Mistake("flatten_channels_last", "The features are flattened in another order: row, column, channel. PyTorch's "
                "order is channel, row, column, as they lie in (N, C, H, W).",
                switched(Classifier, "Last", order=(0, 2, 3, 1))),  # 106
        Mistake("flatten_columns_first", "The features are flattened column by column. PyTorch's order is channel, "
                "row, column, as they lie in (N, C, H, W).",
                switched(Classifier, "Columns", order=(0, 1, 3, 2))),  # 106
        Mistake("global_average", "Each map is averaged to one number before the first linear layer, as later networks "
                "do. VGG keeps all C·H·W values.", Averaged),
        Mistake("softmax_at_the_end", "The network returns probabilities. It must return the scores: PyTorch's "
                "cross-entropy applies softmax itself.",
                switched(Classifier, "Softmax", final=staticmethod(lambda z: z.softmax(1)))),  # 104
        Mistake("relu_at_the_end", "There is a ReLU after the last linear layer, so that no score can be negative.",
                switched(Classifier, "Relu", final=staticmethod(torch.relu))),
        Mistake("relu_missing", "There is no ReLU between the linear layers: three in a row are then together one "
                "linear map.", switched(Classifier, "Linear", relus=(False, False))),
        Mistake("second_relu_missing", "There is no ReLU after the second linear layer.",
                switched(Classifier, "Half", relus=(True, False))),
        Mistake("one_hidden_layer", "There are two linear layers. VGG has three: two hidden ones and the scores.",
                switched(Classifier, "Short", layers=2)),
        Mistake("bias_missing", "The linear layers have no bias.", switched(Classifier, "Unbiased", bias=False)),
    ],
    alternatives=[ClassifierAsSequential, ClassifierByHand],
    hints=[
        "How long is the vector that the first linear layer reads? And how does a module know whether it is being "
        "trained?",
        dedent("""\
        `VGGClassifier((2, 1, 3), 4, 3)`: features 2×1×3, 4 hidden units, 3 classes.

        ```
        flatten           (N, 6)
        Linear 6 -> 4     (N, 4)
        ReLU, dropout[0]
        Linear 4 -> 4     (N, 4)
        ReLU, dropout[1]
        Linear 4 -> 3     (N, 3)
        ```"""),
        dedent("""\
        ```
        __init__: three nn.Linear and two nn.Dropout, in the order of use
        forward:
            x <- x with all but the batch axis flattened      # (N, C·H·W)
            x <- dropout[0] of ReLU of the first layer
            x <- dropout[1] of ReLU of the second layer
            return the third layer of x                       # (N, classes)
        ```"""),
        "`net.train()` and `net.eval()` set the attribute `training` of the net and of every module in it; "
        "`nn.Dropout` looks at its own. A rate of 1 drops everything, so the check can tell without chance which "
        "values are dropped, and a rate of 0 nothing.",
    ])


# ---------------------------------------------------------------------------- vgg

class VGG(nn.Module):
    """Oracle: features and classifier of this file, and the size between them measured on the meta device."""

    classifier_of, features_of, settings = Classifier, Features, {}

    def __init__(self, config, size=224, hidden=4096, classes=1000, batch_norm=False):
        super().__init__()
        self.features = switched(self.features_of, "Features", **self.settings)(config, 3, batch_norm)
        pools, widths = config.count("M"), [f for f in config if f != "M"]
        self.classifier = self.classifier_of((widths[-1], size >> pools, size >> pools), hidden, classes)

    def forward(self, x):
        return self.classifier(self.features(x))


class SevenBySeven(VGG):
    """As torchvision: the maps are averaged or repeated to 7 x 7, whatever their size."""

    def __init__(self, config, size=224, hidden=4096, classes=1000, batch_norm=False):
        super().__init__(config, 7 << config.count("M"), hidden, classes, batch_norm)

    def forward(self, x):
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 7))


class LastPoolMissing(VGG):
    def __init__(self, config, size=224, hidden=4096, classes=1000, batch_norm=False):
        super().__init__(config[:-1] if config[-1] == "M" else config, size, hidden, classes, batch_norm)


class NeverNormed(VGG):
    def __init__(self, config, size=224, hidden=4096, classes=1000, batch_norm=False):
        super().__init__(config, size, hidden, classes)


class NarrowerSecond(Classifier):
    """Half as many units in the second hidden layer."""

    def __init__(self, shape, hidden, classes, dropout=(0.5, 0.5)):
        super().__init__(shape, hidden, classes, dropout)
        self.linears[1], self.linears[2] = nn.Linear(hidden, hidden // 2), nn.Linear(hidden // 2, classes)


class FourLinear(Classifier):
    layers, relus, drops = 4, (True,) * 3, staticmethod(lambda p: (0, *p, 0, 0))


class VGGAsBlocks(nn.Module):
    """Split at every "M" into blocks."""

    def __init__(self, config, size=224, hidden=4096, classes=1000, batch_norm=False):
        super().__init__()
        self.body, c = nn.ModuleList(), 3
        for f in config:
            if f == "M":
                self.body.append(nn.MaxPool2d(2))
                size //= 2
            else:
                self.body.append(nn.Sequential(*list(BlockAsSequential(c, f, (3,), batch_norm))[:-1]))
                c = f
        self.head = ClassifierAsSequential((c, size, size), hidden, classes)

    def forward(self, x):
        for part in self.body:
            x = part(x)
        return self.head(x)


class VGGMeasured(nn.Sequential):
    """The length of the first linear layer measured with an empty image."""

    def __init__(self, config, size=224, hidden=4096, classes=1000, batch_norm=False):
        features = features_by_indices(config, 3, batch_norm).eval()
        with torch.no_grad():
            shape = features(torch.zeros(1, 3, size, size)).shape[1:]
        super().__init__(features.train(), ClassifierByHand(shape, hidden, classes))


def vgg_call(config, size, hidden, classes, batch_norm=False, seed=0, gradient=False):
    x = quarters(seed, 2, 3, size, size)
    return call(config, size=size, hidden=hidden, classes=classes, **({"batch_norm": True} if batch_norm else {}),
                part="values", device="cpu", steps=value_steps(x, 4, seed, "eval", (2, classes) if gradient else None))


def large_call(config, batch_norm=False, layers=True):
    steps = [("layers", {"input_size": (1, 3, 224, 224)})] * layers + [("count_parameters", {})]
    return call(config, **({"batch_norm": True} if batch_norm else {}), part="A to E", device="meta", steps=steps)


def random_vgg(rng):
    return vgg_call(random_config(rng, longest=6, most=7), int(rng.integers(8, 14)), int(rng.integers(8, 12)),
                    int(rng.integers(4, 8)), bool(rng.integers(2)), int(rng.integers(1000)), True)


VGG_NET = Exercise(
    id="vgg", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=VGG,
    probes=[counted((2, "M"), size=6, hidden=7, classes=5, input_size=(2, 3, 6, 6), part="values"), vgg_call((2, "M"), 4, 6, 5),
            vgg_call((2, 4, "M", 5, "M"), 8, 7, 6, seed=2),
            vgg_call((4, "M", 2, 5, "M", 6), 13, 8, 4, seed=4), vgg_call((2, "M", 4, "M"), 9, 6, 5, True, seed=6),
            # What is shown is the smallest that fails: one that names the layers.
            large_call(A), large_call(B), large_call(D), large_call(E, layers=False), large_call(D, True)],
    random=random_vgg,
    mistakes=[
        Mistake("always_7x7", "The classifier reads 7×7 maps whatever the size of the image, as in torchvision's VGG, "
                "which averages them to that. Here its first layer reads the maps as they come: 7×7 only for 224.",
                SevenBySeven),
        Mistake("last_pool_missing", "The last \"M\" of the list is missing, so the first linear layer reads maps of "
                "twice the height and width.", LastPoolMissing),  # 88
        Mistake("global_average", "Each map is averaged to one number before the classifier, as later networks do. VGG "
                "keeps all values, and most of its parameters come from that.",
                switched(VGG, "Averaged", classifier_of=Averaged)),
        Mistake("one_hidden_layer", "The classifier has two linear layers. VGG has three.",
                switched(VGG, "Short", classifier_of=switched(Classifier, "Short", layers=2))),
        Mistake("four_linear_layers", "The classifier has four linear layers. VGG has three, the scores included.",
                switched(VGG, "Long", classifier_of=FourLinear)),
        Mistake("second_hidden_layer_narrower", "The second hidden layer has half as many units as the first. Both "
                "have `hidden`.", switched(VGG, "Narrow", classifier_of=NarrowerSecond)),
        Mistake("conv_bias_missing", "The convolutions have no bias. They all have one.",
                switched(VGG, "Unbiased", settings={"bias": False})),
        Mistake("no_bias_with_batch_norm", "The convolutions lose their bias where there is batch norm. That is well "
                "thought: batch norm takes any constant away. But VGG as it is distributed keeps it, and so does this "
                "exercise.", switched(VGG, "Thrifty", settings={"bias": "unless batch norm"})),  # 87
        Mistake("linear_bias_missing", "The linear layers have no bias.",
                switched(VGG, "Unbiased", classifier_of=switched(Classifier, "Unbiased", bias=False))),
        Mistake("batch_norm_missing", "`batch_norm=True` changes nothing: it has to reach the features.", NeverNormed),
        Mistake("flatten_channels_last", "The features are flattened in another order: row, column, channel. PyTorch's "
                "order is channel, row, column.",
                switched(VGG, "Last", classifier_of=switched(Classifier, "Last", order=(0, 2, 3, 1)))),  # 106
        Mistake("softmax_at_the_end", "The network returns probabilities. It must return the scores: PyTorch's "
                "cross-entropy applies softmax itself.", switched(VGG, "Softmax", classifier_of=switched(
                    Classifier, "Softmax", final=staticmethod(lambda z: z.softmax(1))))),  # 104
    ],
    alternatives=[VGGAsBlocks, VGGMeasured],
    hints=[
        "How many times is the image halved, and how many channels do the features end with? How long is the vector "
        "between the two parts?",
        dedent("""\
        `VGG((2, 4, "M", 5, "M"), size=8, hidden=7, classes=6)`:

        ```
        image        3 × 8 × 8
        features     5 × 2 × 2       halved twice, 5 filters last
        classifier   20 -> 7 -> 7 -> 6
        ```"""),
        dedent("""\
        ```
        __init__:
            features   <- the layers of the list, from 3 channels
            side       <- size, halved (rounded down) for every "M"
            last       <- the last number of the list
            classifier <- for (last, side, side), hidden, classes
        forward: the classifier of the features
        ```"""),
        "A linear layer has a fixed number of inputs, so the network must know the size of its images when it is made. "
        "For 224 and five \"M\" it is 7, and $512 \\cdot 7 \\cdot 7 = 25\\,088$ values go into the first linear layer.",
    ])


# ---------------------------------------------------------------------------- vgg_table

def vgg_table(image, config, linear=()):
    """Oracle: torch's own layers, made and run on the meta device."""
    with torch.device("meta"):
        x, rows = torch.zeros(1, *image), []
        for entry in config:
            layer = nn.MaxPool2d(2) if entry == "M" else nn.Conv2d(x.shape[1], entry, 3, padding=1)
            x = layer(x)
            products = layer.weight[0].numel() if entry != "M" else 0
            rows.append((x.numel(), count(layer), x.numel() * products))
        x = x.flatten(1)
        for outputs in linear:
            layer = nn.Linear(x.shape[1], outputs)
            x = layer(x)
            rows.append((x.numel(), count(layer), layer.weight.numel()))
    return tuple(rows)


def table_by_formula(image, config, linear=()):
    (c, h, w), rows = image, []
    for entry in config:
        if entry == "M":
            h, w = h // 2, w // 2
            rows.append([c * h * w, 0, 0])
        else:
            weights = 9 * c * entry
            rows.append([entry * h * w, weights + entry, weights * h * w])
            c = entry
    n = c * h * w
    for m in linear:
        rows.append([m, m * n + m, m * n])
        n = m
    return rows


def table_by_flat_loop(image, config, linear=()):
    shape, out = np.array(image), ()
    for kind in config:
        if kind == "M":
            shape = shape // (1, 2, 2)
            out += ((int(shape.prod()), 0, 0),)
        else:
            filter_size, shape = int(shape[0]) * 3 * 3, np.array([kind, *shape[1:]])
            values = int(shape.prod())
            out += ((values, kind * (filter_size + 1), values * filter_size),)
    widths = [int(shape.prod()), *linear]
    return out + tuple((b, (a + 1) * b, a * b) for a, b in zip(widths, widths[1:]))


def _table(image, config, linear=(), half=lambda n: n // 2, carry="every", conv=None, fc=None, pool=None, flat=None):
    """The table with one rule changed.

    carry: when the number of channels that a convolution reads is renewed: at "every" one, at "M", or "never".
    conv(c, f, h, w), fc(a, b), pool(c, h, w, before): a row of the table.
    """
    conv = conv or (lambda c, f, h, w: (f * h * w, f * (9 * c + 1), f * h * w * 9 * c))
    fc = fc or (lambda a, b: (b, b * (a + 1), a * b))
    pool = pool or (lambda c, h, w, before: (c * h * w, 0, 0))
    (read, h, w), rows, c = image, [], image[0]
    for entry in config:
        if entry == "M":
            before = c * h * w
            h, w = half(h), half(w)
            rows.append(pool(c, h, w, before))
            read = c if carry != "never" else read
        else:
            rows.append(conv(read, entry, h, w))
            c = entry
            read = c if carry == "every" else read
    n = (flat or (lambda c, h, w: c * h * w))(c, h, w)
    for m in linear:
        rows.append(fc(n, m))
        n = m
    return tuple(rows)


def wrong_table(**rules):
    return lambda image, config, linear=(): _table(image, config, linear, **rules)


FEATURE_ROWS, ALL_ROWS = "convolution and pooling", "the linear layers too"


def random_table(rng):
    image = tuple(map(int, rng.integers((1, 8, 8), (5, 30, 30))))
    linear = tuple(map(int, rng.integers(2, 50, rng.integers(0, 4))))
    return call(image, random_config(rng, most=70), **({"linear": linear} if linear else {}),
                part=ALL_ROWS if linear else FEATURE_ROWS)


VGG_TABLE = Exercise(
    id="vgg_table", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=vgg_table,
    probes=[call((1, 2, 3), (2,), part=FEATURE_ROWS), call((2, 4, 6), ("M",), part=FEATURE_ROWS),
            call((1, 4, 6), (2, "M"), part=FEATURE_ROWS), call((2, 4, 6), (3, 5), part=FEATURE_ROWS),
            call((3, 9, 14), (4, 6, "M", 5, 5, "M", 2), part=FEATURE_ROWS),
            call((3, 224, 224), D, part=FEATURE_ROWS),
            call((1, 2, 3), (2,), linear=(4,), part=ALL_ROWS), call((3, 5, 8), (4, "M"), linear=(6, 5), part=ALL_ROWS),
            call((3, 224, 224), D, linear=(4096, 4096, 1000), part=ALL_ROWS)],
    random=random_table,
    mistakes=[
        Mistake("channels_of_the_block_before", "A convolution that follows another one reads what that one gave, also "
                "within a block. In your table the number of channels it reads changes only at an \"M\".",  # SYLLABUS
                wrong_table(carry="M")),
        Mistake("always_the_image_channels", "Every convolution is counted as reading the channels of the image. From "
                "the second on, it reads those of the one before.", wrong_table(carry="never")),
        Mistake("bias_missing", "The biases are missing in the parameters: each filter, and each output of a linear "
                "layer, has one.", wrong_table(conv=lambda c, f, h, w: (f * h * w, f * 9 * c, f * h * w * 9 * c),
                                        fc=lambda a, b: (b, a * b, a * b))),  # 23
        Mistake("bias_in_multiply_adds", "The biases are counted among the multiply-adds. A bias is added and nothing "
                "is multiplied; it is left out here.",
                wrong_table(conv=lambda c, f, h, w: (f * h * w, f * (9 * c + 1), f * h * w * (9 * c + 1)),
                            fc=lambda a, b: (b, b * (a + 1), b * (a + 1)))),
        Mistake("two_operations_each", "All multiply-adds are twice as many: a multiplication and the addition that "
                "follows count as one here. Counted as two, they are called operations or FLOPs.",
                wrong_table(conv=lambda c, f, h, w: (f * h * w, f * (9 * c + 1), 2 * f * h * w * 9 * c),
                            fc=lambda a, b: (b, b * (a + 1), 2 * a * b))),
        Mistake("multiply_adds_of_one_position", "The multiply-adds of a convolution are those of a single position. "
                "Its filters are applied at every pixel.",
                wrong_table(conv=lambda c, f, h, w: (f * h * w, f * (9 * c + 1), f * 9 * c))),
        Mistake("multiply_adds_of_one_filter", "The multiply-adds of a convolution are those of a single filter.",
                wrong_table(conv=lambda c, f, h, w: (f * h * w, f * (9 * c + 1), h * w * 9 * c))),
        Mistake("multiply_adds_without_depth", "A filter reaches through all channels that it reads: 9·C products at a "
                "position, not 9.",
                wrong_table(conv=lambda c, f, h, w: (f * h * w, f * (9 * c + 1), f * h * w * 9))),
        Mistake("parameters_without_depth", "A filter reaches through all channels that it reads: it has 9·C weights, "
                "not 9.", wrong_table(conv=lambda c, f, h, w: (f * h * w, f * (9 + 1), f * h * w * 9 * c))),
        Mistake("bytes", "The first number of each row is four times too large: it counts values, not bytes.",
                wrong_table(conv=lambda c, f, h, w: (4 * f * h * w, f * (9 * c + 1), f * h * w * 9 * c),
                            fc=lambda a, b: (4 * b, b * (a + 1), a * b),
                            pool=lambda c, h, w, before: (4 * c * h * w, 0, 0))),
        Mistake("one_map_only", "The first number of a row is the size of one map. A layer gives as many maps as it "
                "has channels.", wrong_table(conv=lambda c, f, h, w: (h * w, f * (9 * c + 1), f * h * w * 9 * c),
                                         pool=lambda c, h, w, before: (h * w, 0, 0))),
        Mistake("values_that_go_in", "In the rows of pooling layers stands what goes in. What a layer gives is asked "
                "for.",
                wrong_table(pool=lambda c, h, w, before: (before, 0, 0))),
        Mistake("pooling_rounds_up", "An odd height or width is rounded up by your pooling. A window that does not fit "
                "is left out.", wrong_table(half=lambda n: -(-n // 2))),  # 9, 71
        Mistake("pooling_ignored", "The maps keep their size at an \"M\".", wrong_table(half=lambda n: n)),
        Mistake("pooling_costs", "The rows of the pooling layers have multiply-adds. Taking a maximum multiplies "
                "nothing.",
                wrong_table(pool=lambda c, h, w, before: (c * h * w, 0, 4 * c * h * w))),
        Mistake("not_flattened", "The first linear layer is counted as reading one value for each channel. It reads "
                "all values of all maps.", wrong_table(flat=lambda c, h, w: c)),
        Mistake("image_first", "There is one row too many: the table begins with the first layer, not with the image.",
                lambda image, config, linear=(): ((int(np.prod(image)), 0, 0), *vgg_table(image, config, linear))),
        Mistake("no_rows_for_pooling", "The rows of the pooling layers are missing: there is one for each entry of the "
                "list.", lambda image, config, linear=(): tuple(
                    row for row, e in zip(vgg_table(image, config, linear), (*config, *linear)) if e != "M")),
    ],
    alternatives=[table_by_formula, table_by_flat_loop],
    hints=[
        "Which numbers change from layer to layer: channels, height, width? Which of them does an \"M\" change, and "
        "which a number?",
        dedent("""\
        `vgg_table((1, 4, 6), (2, "M"))`: one channel, 4×6 pixels.

        ```
        2     gives 2×4×6 = 48 values;  2 filters of 9·1 weights and a bias: 20
              each value is a sum of 9·1 products: 48 · 9 = 432
        "M"   gives 2×2×3 = 12 values, nothing else
        ```"""),
        dedent("""\
        ```
        c, h, w <- image
        for each entry of config:
            "M":      halve h and w, rounded down;   row: (c·h·w, 0, 0)
            number f: products <- 9·c
                      row: (f·h·w, f·(products + 1), f·h·w · products)
                      from now on c is f
        n <- c·h·w
        for each m of linear:
            row: (m, m·(n + 1), m·n);  from now on n is m
        ```"""),
        "A convolution uses each weight once at every position, so its multiply-adds are its weights times the pixels "
        "of a map; a linear layer uses each weight once. That is why the first are many and light, the last few and "
        "heavy.",
    ])


# ---------------------------------------------------------------------------- activation_sizes

def activation_sizes(x, weights):
    """Oracle: in float64, with norms."""
    y, out = x.double(), []
    for w in weights.double():
        y = F.relu(F.conv2d(y, w, padding=1))
        out.append(torch.linalg.vector_norm(y) / y.numel() ** 0.5)
    return torch.stack(out).to(x.dtype)


def sizes_by_items(x, weights):
    out = []
    for layer in range(len(weights)):
        x = torch.clamp(torch.nn.functional.conv2d(x, weights[layer], stride=1, padding=1), min=0)
        out.append((x * x).mean().sqrt().item())
    return torch.tensor(out)


def sizes_in_place(x, weights):
    out = torch.empty(len(weights))
    for i, w in enumerate(weights):
        x = F.conv2d(F.pad(x, (1, 1, 1, 1)), w).relu_()
        out[i] = x.pow(2).mean() ** 0.5
    return out


def _sizes(x, weights, measure=lambda y, pre: y.square().mean().sqrt(), chain=True, act=torch.relu, padding=1,
           weight=lambda w: w):
    y, out = x, []
    for w in weights:
        pre = F.conv2d(y if chain else x, weight(w), padding=padding)
        y = act(pre)
        out.append(measure(y, pre))
    return torch.stack(out)


def wrong_sizes(**rules):
    return lambda x, weights: _sizes(x, weights, **rules)


def sizes_call(n, c, layers, size, seed):
    rng = np.random.default_rng(seed)
    weights = rng.integers(-2, 3, (layers, c, c, 3, 3))
    weights[:, :, :, 1, 1] += rng.integers(0, 2, (layers, c, c))  # so that no layer goes dark
    return call(rng.integers(-3, 5, (n, c, *size)).astype(np.float32), (weights / 4).astype(np.float32), device="cpu")


def random_sizes(rng):
    while True:
        n, c, layers, *size = map(int, rng.integers((1, 2, 1, 3, 3), (4, 4, 5, 7, 7)))
        probe = sizes_call(n, c, layers, size, int(rng.integers(1000)))
        if activation_sizes(*map(torch.from_numpy, probe.args)).min() > 0:
            return probe


ONE = call(np.float32([[[[1, -2, 3, 2]]]]), np.float32([[[[[0, 0, 0], [0, 1, 0], [0, 0, 0]]]]]), device="cpu")

ACTIVATION_SIZES = Exercise(
    id="activation_sizes", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=activation_sizes,
    probes=[ONE, sizes_call(1, 1, 2, (3, 4), 1), sizes_call(2, 3, 1, (4, 3), 2), sizes_call(3, 2, 3, (4, 5), 3),
            sizes_call(2, 3, 4, (5, 6), 8)],
    random=random_sizes,
    mistakes=[
        Mistake("before_relu", "The numbers are those of what the convolutions give. They are asked for after the "
                "ReLU.",
                wrong_sizes(measure=lambda y, pre: pre.square().mean().sqrt())),
        Mistake("standard_deviation", "This is the standard deviation: the mean is subtracted first. After a ReLU the "
                "mean is not 0, and the root mean square keeps it in.",
                wrong_sizes(measure=lambda y, pre: y.std(unbiased=False))),
        Mistake("unbiased_standard_deviation", "This is `x.std()`: the mean is subtracted first, and it divides by one "
                "less than the number of values. Square, mean, root.",
                wrong_sizes(measure=lambda y, pre: y.std())),
        Mistake("root_missing", "The root is missing: this is the mean of the squares.",
                wrong_sizes(measure=lambda y, pre: y.square().mean())),
        Mistake("mean", "This is the mean of the values. Square them first, and take the root of the mean.",
                wrong_sizes(measure=lambda y, pre: y.mean())),
        Mistake("norm", "The squares are added up, not averaged: this is the length of all values as one vector, which "
                "grows with their number.", wrong_sizes(measure=lambda y, pre: y.square().sum().sqrt())),
        Mistake("every_layer_reads_x", "Each layer is applied to `x`. It has to read what the layer before gave.",
                wrong_sizes(chain=False)),
        Mistake("relu_missing", "There is no ReLU in the chain.", wrong_sizes(act=lambda v: v)),
        Mistake("padding_missing", "The maps shrink: the convolutions need padding 1.", wrong_sizes(padding=0)),
        Mistake("channels_swapped", "The two channel axes of the weights are exchanged: a weight is (C_out, C_in, 3, "
                "3).",
                wrong_sizes(weight=lambda w: w.transpose(0, 1))),  # 20
        Mistake("kernel_flipped", "The kernels are rotated by 180°. PyTorch's layers do not do that.",
                wrong_sizes(weight=lambda w: w.flip(2, 3))),  # 1
        Mistake("image_first", "There is one number too many: the size of `x` itself is not asked for.",
                lambda x, weights: torch.cat([x.square().mean().sqrt()[None], _sizes(x, weights)])),
        Mistake("last_only", "Only the last number is returned; there is one for each layer.",
                lambda x, weights: _sizes(x, weights)[-1]),
    ],
    alternatives=[sizes_by_items, sizes_in_place],
    hints=[
        "What does the second layer read: `x`, or what the first one gave? And where does the size have to be "
        "measured?",
        dedent("""\
        One layer whose kernel only copies its pixel, on a row of four:

        ```
        x                1  -2   3   2
        convolution      1  -2   3   2
        ReLU             1   0   3   2
        squares          1   0   9   4      mean 14 / 4 = 3.5, root 1.871
        ```"""),
        dedent("""\
        ```
        for each weight of weights:                     # (C, C, 3, 3)
            x <- ReLU of the convolution of x           # F.conv2d, padding 1
            note the root of the mean of the squares of x
        return the noted numbers as a tensor            # (L,)
        ```"""),
        "The root mean square says how large the signal is that the next layer gets. With weights of zero mean the "
        "variance of the next layer's sums is the fan-in times the variance of a weight times the mean *square* of its "
        "inputs, which is why the mean is not subtracted (He et al., 2015).",
    ])


EXERCISES = [STACK_PARAMETERS, FIELDS, VGG_BLOCK, VGG_FEATURES, VGG_CLASSIFIER, VGG_NET, VGG_TABLE, ACTIVATION_SIZES]
