"""Exercises of notebook 14: the blocks that came after ResNet, what they cost, a search step and pruning.

The oracles are written with torch's functions in other words than the solutions: grouped convolutions path by path,
multiply-adds by torch's own counter, pruning by sorting all weights.  Zagoruyko & Komodakis 2016; Xie, Girshick,
Dollár, Tu & He 2017; Huang, Liu, van der Maaten & Weinberger 2017; Hu, Shen & Sun 2018; Howard et al. 2017;
Sandler et al. 2018; Tan & Le 2019; Real, Aggarwal, Huang & Le 2019; Han, Pool, Tran & Dally 2015.
"""

from math import ceil, floor
from textwrap import dedent

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from autograder.exercise import FORBIDDEN_TORCH, Exercise, Mistake, call
from autograder.exercises.draws import quarters_by_shape as quarters
from cnnlab.probes import strided


def ints(rng, low, high, count):
    return tuple(int(v) for v in rng.integers(low, high, count))


def identity(x):
    return x


def variant(base, **changes):
    """A mistake: a module with attributes or methods in their place."""
    return type(base.__name__, (base,), changes)


# ---------------------------------------------------------------------------- wide_blocks

def wide_blocks(depth, k):
    """Oracle: widths of all blocks, then pairs of neighbours."""
    n = (depth - 4) // 6
    widths = [16] + [16 * k * times for times in (1, 2, 4) for _ in range(n)]
    return tuple((widths[i], widths[i + 1], 2 if i in (n, 2 * n) else 1) for i in range(3 * n))


def wide_by_append(depth, k):
    blocks, c_in = [], 16
    for stage in range(3):
        for i in range((depth - 4) // 6):
            c_out = 16 * k * 2**stage
            blocks.append([c_in, c_out, 2 if stage and not i else 1])
            c_in = c_out
    return blocks


def wide_by_stages(depth, k):
    n, out, before = int((depth - 4) / 6), (), 16
    for width, stride in ((16 * k, 1), (32 * k, 2), (64 * k, 2)):
        out += ((before, width, stride),) + ((width, width, 1),) * (n - 1)
        before = width
    return out


def _wide(stem=lambda k: 16, widths=lambda k: (16 * k, 32 * k, 64 * k), strides=(1, 2, 2), later=1,
          blocks=lambda n, k: n, c_in=lambda before, now, first: before):
    """A mistake: another stem, other widths, strides of first and later blocks, number of blocks, or input."""
    def run(depth, k):
        out, before = [], stem(k)
        for now, stride in zip(widths(k), strides):
            start = before
            for i in range(blocks((depth - 4) // 6, k)):
                out.append((c_in(before, now, start), now, stride if i == 0 else min(later, stride)))
                before = now
        return tuple(out)

    return run


WIDE_BLOCKS = Exercise(
    id="wide_blocks", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=wide_blocks,
    probes=[call(10, 2), call(16, 4), call(22, 3), call(28, 1)],
    random=lambda rng: call(6 * int(rng.integers(1, 6)) + 4, int(rng.integers(2, 12))),
    mistakes=[
        Mistake("wide_stem", "The first block reads 16·k channels, as if the stem were widened too. The stem keeps its "
                "16 channels; the stages are widened.",  # 100
                _wide(stem=lambda k: 16 * k)),
        Mistake("narrow_first_stage", "The first stage still has 16 channels. Only the stem stays narrow: all three "
                "stages are k times as wide.",  # 100
                _wide(widths=lambda k: (16, 32 * k, 64 * k))),
        Mistake("not_widened", "These are the widths of the ordinary ResNet, 16, 32 and 64. They are multiplied by k.",
                _wide(widths=lambda k: (16, 32, 64))),
        Mistake("k_added", "k is added to the widths. They are multiplied by it.",
                _wide(widths=lambda k: (16 + k, 32 + k, 64 + k))),
        Mistake("widened_again", "The widths grow by k from stage to stage: 16k, 16k², 16k³. They double, and all are "
                "multiplied by k once.",
                _wide(widths=lambda k: (16 * k, 16 * k**2, 16 * k**3))),
        Mistake("not_doubled", "All stages have the same width. It doubles from stage to stage.",
                _wide(widths=lambda k: (16 * k,) * 3)),
        Mistake("more_blocks", "There are k times as many blocks. k makes them wider, not more.",
                _wide(blocks=lambda n, k: n * k)),
        Mistake("two_n_blocks", "There are 2n blocks in a stage. n blocks have two convolutions each.",  # 88
                _wide(blocks=lambda n, k: 2 * n)),
        Mistake("layers_over_three", "The number of blocks in a stage is off: of the depth 4 layers belong to no body, "
                "and the rest is 3 stages of n blocks with two convolutions each.",  # 88
                _wide(blocks=lambda n, k: n + 1)),
        Mistake("first_stage_strides", "The first stage has stride 2 as well. It works at the size of the image.",
                _wide(strides=(2, 2, 2))),
        Mistake("every_block_strides", "Every block of stages 2 and 3 has stride 2. Only the first of a stage has it.",
                _wide(later=2)),
        Mistake("no_strides", "No block has stride 2. The first block of stages 2 and 3 has.",
                _wide(strides=(1, 1, 1))),
        Mistake("stage_input_kept", "All blocks of a stage read the channels that reach the stage. Only its first "
                "block does; the others read what the one before gives.",
                _wide(c_in=lambda before, now, first: first)),
        Mistake("same_in_and_out", "Each block reads as many channels as it gives. The first of a stage reads those of "
                "the stage before, or of the stem.",
                _wide(c_in=lambda before, now, first: now)),
    ],
    alternatives=[wide_by_append, wide_by_stages],
    hints=[
        "For depth 10 and k = 2: how many blocks has each stage, and how many channels do the stem and the three "
        "stages have?",
        dedent("""\
        Depth 10 is n = 1, one block a stage. k = 2:

        ```
        stem        16
        stage 1     16 → 32     stride 1
        stage 2     32 → 64     stride 2
        stage 3     64 → 128    stride 2
        ```"""),
        dedent("""\
        ```
        n <- (depth - 4) / 6, whole;  c_in <- 16
        for stage 0, 1, 2:
            c_out <- 16 · k · 2^stage
            n times: append (c_in, c_out, stride); c_in <- c_out
                     stride 2 for the first block of stages 1 and 2, else 1
        ```"""),
        "The stem only prepares the image, and costs little; widening is for the blocks, which do the work. That is "
        "why the first block is the only one that goes from 16 channels to 16·k.",
    ])


# ---------------------------------------------------------------------------- grouped_bottleneck

class GroupedBottleneck(nn.Module):
    """Oracle: layers from a list of sizes, which the mistakes switch."""

    bias, padding = False, 1
    relus = (F.relu, F.relu)

    def sizes(self, channels, cardinality, d):
        """(c_in, c_out, kernel, groups) of the three convolutions."""
        width = cardinality * d
        return (channels, width, 1, 1), (width, width, 3, cardinality), (width, channels, 1, 1)

    def __init__(self, channels, cardinality, d):
        super().__init__()
        sizes = self.sizes(channels, cardinality, d)
        self.convs = nn.ModuleList([nn.Conv2d(i, o, k, padding=self.padding * (k // 2), groups=g, bias=self.bias)
                                    for i, o, k, g in sizes])
        self.norms = nn.ModuleList([nn.BatchNorm2d(size[1]) for size in sizes])

    def body(self, x):
        for conv, norm, relu in zip(self.convs, self.norms, (*self.relus, identity)):
            x = relu(norm(conv(x)))
        return x

    def join(self, x, y):
        return F.relu(x + y)

    def forward(self, x):
        return self.join(x, self.body(x))


class GroupedInLine(nn.Module):
    """The same in Sequential."""

    def __init__(self, channels, cardinality, d):
        super().__init__()
        inner = d * cardinality
        self.body = nn.Sequential(
            nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(True),
            nn.Conv2d(inner, inner, 3, 1, 1, groups=cardinality, bias=False), nn.BatchNorm2d(inner), nn.ReLU(True),
            nn.Conv2d(inner, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x):
        y = self.body(x)
        y += x
        return y.relu_()


class GroupedByPaths(GroupedBottleneck):
    """The same, the middle convolution path by path; the layer itself runs too, so that its weights are used."""

    def body(self, x):
        conv, norm = self.convs[1], self.norms[1]
        x = F.relu(self.norms[0](self.convs[0](x)))
        paths = zip(x.chunk(conv.groups, 1), conv.weight.chunk(conv.groups, 0))
        y = torch.cat([F.conv2d(part, weight, padding=1) for part, weight in paths], 1)
        x = F.relu(norm(y + 0 * conv(x)))
        return self.norms[2](self.convs[2](x))


def _grouped(sizes=None, **changes):
    if sizes is not None:
        changes["sizes"] = lambda self, channels, cardinality, d: sizes(channels, cardinality, d)
    return variant(GroupedBottleneck, **changes)


def _middle(groups, width=lambda c, d: c * d):
    """Another number of groups, or another width of the middle convolution."""
    def sizes(channels, c, d):
        w = width(c, d)
        return (channels, w, 1, 1), (w, w, 3, groups(c, d)), (w, channels, 1, 1)

    return sizes


class GroupedNoThirdNorm(GroupedBottleneck):
    def __init__(self, channels, cardinality, d):
        super().__init__(channels, cardinality, d)
        self.norms[2] = nn.Identity()


def _add_to_x(self, x, y):
    x += y
    return F.relu(x)


def module_probe(*args, x, dy=None, mode="eval", shapes=False):
    """Structure first, then values: layers in order, or the shapes of the weights."""
    steps = [("weight_shapes", {}), ("output_shape", {"input_size": x.shape})] if shapes else [
        ("count_parameters", {}), ("layers", {"input_size": x.shape})]
    steps += [("set_weights", {"seed": sum(map(int, args))}), (mode, {}), ("forward", {"x": x})]
    if dy is not None:
        steps.append(("gradient", {"x2": x, "dy": dy}))
    return call(*args, steps=steps, device="cpu")


def random_grouped(rng):
    (cardinality, d), seed = ints(rng, 2, 4, 2), int(rng.integers(1 << 30))
    size = (2, cardinality * d + int(rng.integers(1, 4)), *ints(rng, 2, 5, 2))
    return module_probe(size[1], cardinality, d, x=quarters(seed, *size), dy=quarters(seed + 1, *size),
                        mode=str(rng.choice(["train", "eval"])))


GROUPED_BOTTLENECK = Exercise(
    id="grouped_bottleneck", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=GroupedBottleneck,
    # Without padding 3×3 becomes 1×1, which broadcasts: no error, but wrong numbers.
    probes=[module_probe(4, 3, 2, x=quarters(1, 2, 4, 3, 3)),
            module_probe(8, 2, 3, x=quarters(2, 1, 8, 2, 3), dy=quarters(3, 1, 8, 2, 3)),
            module_probe(5, 2, 4, x=strided(quarters(4, 2, 5, 2, 3)), mode="train"),
            module_probe(6, 1, 4, x=quarters(5, 1, 6, 3, 2))],
    random=random_grouped,
    mistakes=[
        Mistake("groups_of_d", "The 3×3 convolution has d groups. It has as many groups as the cardinality, and d is "
                "the number of channels in each.",  # 99
                _grouped(_middle(lambda c, d: d))),
        Mistake("cardinality_as_width", "The cardinality is taken for the width of the bottleneck. It is the number of "
                "groups; between the 1×1 convolutions there are cardinality times d channels.",  # 99
                _grouped(_middle(lambda c, d: 1, lambda c, d: c))),
        Mistake("one_path", "Only d channels lie between the two 1×1 convolutions: that is one path. All paths "
                "together have cardinality times d.",  # 99
                _grouped(_middle(lambda c, d: 1, lambda c, d: d))),
        Mistake("not_grouped", "The 3×3 convolution has no groups: each of its filters reads all channels between.",
                _grouped(_middle(lambda c, d: 1))),
        Mistake("depthwise", "The 3×3 convolution is depthwise, with one channel in each group. Each group has d.",
                _grouped(_middle(lambda c, d: c * d))),
        Mistake("first_grouped", "The first 1×1 convolution is grouped as well. Every path reads all channels of the "
                "input; only the 3×3 has groups.",
                _grouped(lambda n, c, d: ((n, c * d, 1, c if n % c == 0 else 1), (c * d, c * d, 3, c),
                                          (c * d, n, 1, 1)))),
        Mistake("groups_at_the_end", "The last 1×1 convolution is grouped as well. It adds up what all paths give, for "
                "every output channel; only the 3×3 has groups.",
                _grouped(lambda n, c, d: ((n, c * d, 1, 1), (c * d, c * d, 3, c),
                                          (c * d, n, 1, c if n % c == 0 else 1)))),
        Mistake("all_3x3", "The first and last convolutions are 3×3. They are 1×1.",  # 88
                _grouped(lambda n, c, d: ((n, c * d, 3, 1), (c * d, c * d, 3, c), (c * d, n, 3, 1)))),
        Mistake("biases", "The convolutions have biases. Batch norm follows each: set `bias=False`.",  # 87
                _grouped(bias=True)),
        Mistake("no_padding", "The 3×3 convolution has no padding, so its output is smaller than x.",
                _grouped(padding=0)),
        Mistake("no_third_norm", "Batch norm after the last convolution is missing.", GroupedNoThirdNorm),  # 88
        Mistake("relu_before_addition", "The last ReLU comes before the addition, so the body can only add. Add first.",
                _grouped(join=lambda self, x, y: x + F.relu(y))),  # 90
        Mistake("no_last_relu", "The ReLU after the addition is missing.", _grouped(join=lambda self, x, y: x + y)),
        Mistake("no_skip", "The input is not added.", _grouped(join=lambda self, x, y: F.relu(y))),
        Mistake("no_first_relu", "The ReLU after the first convolution is missing.",
                _grouped(relus=(identity, F.relu))),
        Mistake("no_second_relu", "The ReLU after the 3×3 convolution is missing.",
                _grouped(relus=(F.relu, identity))),
        Mistake("added_in_place", "The sum is stored in x, which belongs to the caller. Write `x + …`.",  # 92
                _grouped(join=_add_to_x)),
    ],
    alternatives=[GroupedInLine, GroupedByPaths],
    hints=[
        "With cardinality 3 and d = 2: how many channels come out of the first 1×1 convolution, and how many of them "
        "does one filter of the 3×3 read?",
        dedent("""\
        4 channels, cardinality 3, d = 2:

        ```
        1×1     4 → 6
        3×3     6 → 6, in 3 groups:   channels 0 1 | 2 3 | 4 5
        1×1     6 → 4
        + x, ReLU
        ```"""),
        dedent("""\
        ```
        inner <- cardinality · d
        y <- relu(bn1(conv 1×1, channels to inner))                          # (N, inner, H, W)
        y <- relu(bn2(conv 3×3, inner to inner, padding 1, groups))          # (N, inner, H, W)
        y <- bn3(conv 1×1, inner to channels)                                # (N, channels, H, W)
        return relu(x + y)
        ```"""),
        "A filter of a grouped convolution reads d channels in place of cardinality · d, so it has `cardinality` times "
        "fewer weights. What is saved pays for more channels in the middle. The 1×1 convolutions are not grouped: "
        "there the paths meet.",
    ])


# ---------------------------------------------------------------------------- squeeze_excitation

class SqueezeExcitation(nn.Module):
    """Oracle: the steps as methods, which the mistakes switch."""

    bias = True
    between = staticmethod(F.relu)
    gate = staticmethod(torch.sigmoid)

    def hidden(self, channels, reduction):
        return channels // reduction

    def __init__(self, channels, reduction):
        super().__init__()
        hidden = self.hidden(channels, reduction)
        self.down, self.up = nn.Linear(channels, hidden, bias=self.bias), nn.Linear(hidden, channels, bias=self.bias)

    def squeeze(self, x):
        return F.adaptive_avg_pool2d(x, 1).flatten(1)

    def excite(self, z):
        return self.gate(self.up(self.between(self.down(z))))

    def scale(self, x, s):
        return torch.einsum("nchw,nc->nchw", x, s)

    def forward(self, x):
        return self.scale(x, self.excite(self.squeeze(x)))


class SqueezeInSequential(nn.Module):
    """The same as a Sequential."""

    def __init__(self, channels, reduction):
        super().__init__()
        self.net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, channels // reduction),
                                 nn.ReLU(True), nn.Linear(channels // reduction, channels), nn.Sigmoid())

    def forward(self, x):
        return self.net(x)[..., None, None] * x


class SqueezeByHand(nn.Module):
    """The same by sums."""

    def __init__(self, channels, reduction):
        super().__init__()
        self.b, self.a = nn.Linear(channels // reduction, channels), nn.Linear(channels, channels // reduction)

    def forward(self, x):
        n, c, h, w = x.shape
        z = x.reshape(n, c, -1).sum(2) / (h * w)
        s = 1 / (1 + torch.exp(-self.b(self.a(z).clamp(min=0))))
        return x * s.view(n, c, 1, 1)


def _squeeze(**changes):
    return variant(SqueezeExcitation, **changes)


def random_squeeze(rng):
    reduction, seed = int(rng.integers(2, 4)), int(rng.integers(1 << 30))
    size = (2, reduction * int(rng.integers(1, 4)), *ints(rng, 1, 5, 2))
    return module_probe(size[1], reduction, x=quarters(seed, *size), dy=quarters(seed + 1, *size), shapes=True)


SQUEEZE_EXCITATION = Exercise(
    id="squeeze_excitation", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=SqueezeExcitation,
    # The width equals the channels in one probe: there a mean over the wrong axes is no error, but a wrong number.
    probes=[module_probe(4, 2, x=quarters(10, 1, 4, 1, 2), shapes=True),
            module_probe(6, 3, x=quarters(11, 2, 6, 1, 6), dy=quarters(12, 2, 6, 1, 6), shapes=True),
            module_probe(8, 2, x=strided(quarters(13, 2, 8, 2, 3)), shapes=True),
            module_probe(6, 2, x=quarters(14, 1, 6, 3, 2), shapes=True)],
    random=random_squeeze,
    mistakes=[
        Mistake("squeezes_channels", "It takes the mean over the channels, at each place. Squeeze the other way: over "
                "all places, for each channel.",  # 95
                _squeeze(squeeze=lambda self, x: x.mean(1, keepdim=True), scale=lambda self, x, s: x * s)),
        Mistake("squeezes_channels_and_rows", "The mean is over channels and rows, as if the channels were the last "
                "axis. Here they are axis 1, height and width are 2 and 3.",  # 95
                _squeeze(squeeze=lambda self, x: x.mean((1, 2)))),
        Mistake("mean_over_the_batch", "The mean runs over the batch too, so the images of a batch change each other. "
                "Each image has its own.",  # 72
                _squeeze(squeeze=lambda self, x: x.mean((0, 2, 3)).expand(len(x), -1))),
        Mistake("maximum", "It squeezes by the maximum. Take the mean of each channel.",
                _squeeze(squeeze=lambda self, x: x.amax((2, 3)))),
        Mistake("sum", "It squeezes by the sum, which grows with the image. Take the mean of each channel.",
                _squeeze(squeeze=lambda self, x: x.sum((2, 3)))),
        Mistake("no_sigmoid", "The gate has no sigmoid: channels are multiplied by any number, also a negative one. A "
                "gate lies between 0 and 1.",  # 96
                _squeeze(gate=staticmethod(identity))),
        Mistake("relu_gate", "The gate ends with a ReLU. It ends with a sigmoid, which lies between 0 and 1.",  # 96
                _squeeze(gate=staticmethod(F.relu))),
        Mistake("softmax_gate", "The gate is a softmax, so one channel can open only if others close. With a sigmoid "
                "each has a gate of its own.",  # 96
                _squeeze(gate=staticmethod(lambda z: z.softmax(-1)))),
        Mistake("two_sigmoids", "There is a sigmoid between the two layers as well. There it is a ReLU.",
                _squeeze(between=staticmethod(torch.sigmoid))),
        Mistake("no_relu", "The ReLU between the two layers is missing.", _squeeze(between=staticmethod(identity))),
        Mistake("not_reduced", "The hidden layer is as wide as the input. It has `channels // reduction` units.",  # 88
                _squeeze(hidden=lambda self, c, r: c)),
        Mistake("reduction_as_width", "The hidden layer has `reduction` units. It has `channels // reduction`.",  # 88
                _squeeze(hidden=lambda self, c, r: r)),
        Mistake("no_biases", "The linear layers have no biases. Here they have.", _squeeze(bias=False)),  # 88
        Mistake("gates_only", "It returns the gates. Multiply the channels of x by them.",
                _squeeze(scale=lambda self, x, s: s)),
        Mistake("added", "The gates are added to the channels. They multiply them.",
                _squeeze(scale=lambda self, x, s: x + s[..., None, None])),
        Mistake("skip", "The input is added to what the gates give. Here the scaled channels alone are returned; the "
                "skip is around the whole block.",
                _squeeze(scale=lambda self, x, s: x + x * s[..., None, None])),
        Mistake("gates_along_width", "The gates are spread along the width. Gate c belongs to channel c: give it two "
                "axes of length 1 at the end.",  # 84
                _squeeze(scale=lambda self, x, s: x * s[:, None, None, :])),
    ],
    alternatives=[SqueezeInSequential, SqueezeByHand],
    hints=[
        "How many gates has one image? Which axes of x have to disappear, then, before the first linear layer?",
        dedent("""\
        Two channels of 1×2 pixels, gates 0.5 and 0.9:

        ```
        x        [ 2  4]   [-1  3]
        squeeze     3         1          the mean of each channel
        gates      0.5       0.9         from two small layers and a sigmoid
        result   [ 1  2]   [-0.9  2.7]
        ```"""),
        dedent("""\
        ```
        z <- mean of x over height and width       # (N, C)
        z <- relu(first linear layer)              # (N, C // reduction)
        s <- sigmoid(second linear layer)          # (N, C)
        return x times s, s with two more axes     # (N, C, H, W)
        ```"""),
        "A convolution sees a window. The mean over all places tells each channel what the whole image holds, and the "
        "gates let the network turn channels up or down for this image. Between 0 and 1 a gate can only fade.",
    ])


# ---------------------------------------------------------------------------- dense_block

class DenseBlock(nn.Module):
    """Oracle: keeps a list of everything so far; the mistakes switch its methods."""

    bias, padding = False, 1

    def sizes(self, c_in, growth, layers):
        """(channels read, channels given) of each layer."""
        return [(c_in + i * growth, growth) for i in range(layers)]

    def __init__(self, c_in, growth, layers):
        super().__init__()
        sizes = self.sizes(c_in, growth, layers)
        self.norms = nn.ModuleList([nn.BatchNorm2d(self.normed(*size)) for size in sizes])
        self.convs = nn.ModuleList([nn.Conv2d(*size, 3, padding=1, bias=self.bias) for size in sizes])

    def normed(self, c_in, c_out):
        return c_in

    def layer(self, x, norm, conv):
        return conv(F.relu(norm(x)))

    def join(self, kept):
        return torch.cat(kept, 1)

    def reads(self, kept):
        return self.join(kept)

    def gives(self, kept):
        return self.join(kept)

    def forward(self, x):
        kept = [x]
        for norm, conv in zip(self.norms, self.convs):
            kept.append(self.layer(self.reads(kept), norm, conv))
        return self.gives(kept)


class DenseByCat(nn.Module):
    """The same, x growing."""

    def __init__(self, c_in, growth, layers):
        super().__init__()
        self.parts = nn.ModuleList()
        for _ in range(layers):
            self.parts.append(nn.Sequential(nn.BatchNorm2d(c_in), nn.ReLU(inplace=True),
                                            nn.Conv2d(c_in, growth, (3, 3), padding="same", bias=False)))
            c_in += growth

    def forward(self, x):
        for part in self.parts:
            x = torch.cat((x, part(x)), dim=1)
        return x


class DenseLayer(nn.Module):
    def __init__(self, c_in, growth):
        super().__init__()
        self.bn, self.conv = nn.BatchNorm2d(c_in), nn.Conv2d(c_in, growth, 3, 1, 1, bias=False)

    def forward(self, x):
        return torch.cat([x, self.conv(torch.relu(self.bn(x)))], 1)


def dense_by_sequential(c_in, growth, layers):
    return nn.Sequential(*(DenseLayer(c_in + growth * i, growth) for i in range(layers)))


def _dense(sizes=None, **changes):
    if sizes is not None:
        changes["sizes"] = lambda self, c_in, growth, layers: [sizes(c_in, growth, i) for i in range(layers)]
    return variant(DenseBlock, **changes)


class DenseWithBottleneck(DenseBlock):
    def __init__(self, c_in, growth, layers):
        super().__init__(c_in, growth, layers)
        self.convs = nn.ModuleList([nn.Sequential(nn.Conv2d(a, 4 * b, 1, bias=False), nn.BatchNorm2d(4 * b), nn.ReLU(),
                                                  nn.Conv2d(4 * b, b, 3, padding=1, bias=False))
                                    for a, b in self.sizes(c_in, growth, layers)])


class DensePlainList(DenseBlock):
    def __init__(self, c_in, growth, layers):
        super().__init__(c_in, growth, layers)
        norms, convs = list(self.norms), list(self.convs)
        del self.norms, self.convs
        self.norms, self.convs = norms, convs


class DenseNoNorm(DenseBlock):
    def __init__(self, c_in, growth, layers):
        super().__init__(c_in, growth, layers)
        self.norms = nn.ModuleList([nn.Identity() for _ in self.norms])


def random_dense(rng):
    c_in, growth, layers = ints(rng, 1, 5, 3)
    layers, seed = min(layers, 3), int(rng.integers(1 << 30))
    h, w = ints(rng, 2, 5, 2)
    return module_probe(c_in, growth, layers, x=quarters(seed, 2, c_in, h, w),
                        dy=quarters(seed, 2, c_in + growth * layers, h, w), mode=str(rng.choice(["train", "eval"])))


DENSE_BLOCK = Exercise(
    id="dense_block", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=DenseBlock,
    # With growth equal to c_in and one layer, joining along another axis is no error, but a wrong shape.
    probes=[call(3, 2, 2, steps=[("count_parameters", {})], device="cpu"),
            module_probe(2, 2, 1, x=quarters(20, 1, 2, 3, 4)),
            module_probe(3, 2, 3, x=quarters(21, 1, 3, 3, 4), dy=quarters(22, 1, 9, 3, 4)),
            module_probe(4, 1, 2, x=strided(quarters(23, 2, 4, 4, 3)), mode="train"),
            module_probe(1, 3, 2, x=quarters(24, 2, 1, 3, 3))],
    random=random_dense,
    mistakes=[
        Mistake("added", "The outputs of the layers are added to the input, as in ResNet, so the number of channels "
                "does not grow. Here they are concatenated.",  # 94
                _dense(lambda c, g, i: (c, c), join=lambda self, kept: sum(kept))),
        Mistake("growth_grows", "Layer i gives i + 1 times `growth` channels. Each layer gives `growth`.",  # 94
                _dense(lambda c, g, i: (c + g * i * (i + 1) // 2, g * (i + 1)))),
        Mistake("doubling", "Each layer gives as many channels as it reads. It gives `growth`.",  # 94
                _dense(lambda c, g, i: (c * 2**i, c * 2**i))),
        Mistake("reads_previous_only", "Each layer reads the output of the one before it alone. It reads everything so "
                "far: the input of the block and all outputs.",  # 94
                _dense(lambda c, g, i: (g if i else c, g), reads=lambda self, kept: kept[-1])),
        Mistake("reads_input_and_previous", "Each layer reads the block's input and the output before it. It reads the "
                "outputs of all layers before it.",  # 94
                _dense(lambda c, g, i: (c + g if i else c, g),
                       reads=lambda self, kept: torch.cat([kept[0], *kept[1:][-1:]], 1))),
        Mistake("input_dropped", "The block gives the new channels only. Its input stays before them.",  # 94
                _dense(gives=lambda self, kept: torch.cat(kept[1:], 1))),
        Mistake("last_output_only", "The block gives the output of its last layer alone. It gives everything.",  # 94
                _dense(gives=lambda self, kept: kept[-1])),
        Mistake("newest_first", "The new channels are put in front. They come after those that were there.",
                _dense(join=lambda self, kept: torch.cat(kept[::-1], 1))),
        Mistake("joined_along_height", "Outputs are joined along the height. Channels are axis 1.",  # 93
                _dense(join=lambda self, kept: torch.cat(kept, 2))),
        Mistake("joined_along_width", "Outputs are joined along the width. Channels are axis 1.",  # 93
                _dense(join=lambda self, kept: torch.cat(kept, 3))),
        Mistake("joined_along_batch", "Outputs are joined along the batch. Channels are axis 1.",  # 93
                _dense(join=lambda self, kept: torch.cat(kept, 0))),
        Mistake("post_activation", "The order is convolution, batch norm, ReLU. Here batch norm and ReLU come before "
                "the convolution.",  # 90
                _dense(normed=lambda self, a, b: b, layer=lambda self, x, norm, conv: F.relu(norm(conv(x))))),
        Mistake("relu_first", "ReLU comes before batch norm. First batch norm, then ReLU, then the convolution.",
                _dense(layer=lambda self, x, norm, conv: conv(norm(F.relu(x))))),
        Mistake("no_relu", "The ReLU is missing.", _dense(layer=lambda self, x, norm, conv: conv(norm(x)))),
        Mistake("no_norm", "Batch norm is missing.", DenseNoNorm),  # 88
        Mistake("bias", "The convolutions have biases. Here they have none.", _dense(bias=True)),  # 88
        Mistake("plain_list", "The layers are kept in an ordinary list, where PyTorch does not find them: their "
                "weights are neither counted nor trained. Use `nn.ModuleList`.",  # 88
                DensePlainList),
        Mistake("with_bottleneck", "Each layer has a 1×1 convolution in front, as in DenseNet-B. Here a layer is one "
                "3×3 convolution.",  # 88
                DenseWithBottleneck),
    ],
    alternatives=[DenseByCat, dense_by_sequential],
    hints=[
        "How many channels does the third layer read, if the input has 3 and growth is 2? Where do they come from?",
        dedent("""\
        3 channels, growth 2, 2 layers:

        ```
        x                     a a a
        layer 0 reads 3       a a a | b b
        layer 1 reads 5       a a a | b b | c c      the output: 7 channels
        ```"""),
        dedent("""\
        ```
        __init__:  for layer i: batch norm over c_in + i · growth channels,
                                3×3 convolution from as many to growth, padding 1, no bias
        forward:   for each layer:
                       new <- conv(relu(bn(x)))             # (N, growth, H, W)
                       x   <- x and new, side by side along axis 1
                   return x
        ```
        Put the layers into `nn.ModuleList`: PyTorch does not find those in a plain list."""),
        "Addition mixes what came before with what is new; side by side both stay as they were, and every later layer "
        "chooses for itself what to read. So a layer need only give a few channels.",
    ])


# ---------------------------------------------------------------------------- separable_costs

def separable_costs(c_in, c_out, kernel_size, height, width):
    """Oracle: torch counts the multiply-adds of the layers themselves, on the meta device."""
    with torch.device("meta"):
        full = nn.Conv2d(c_in, c_out, kernel_size, padding="same", bias=False)
        apart = nn.Sequential(nn.Conv2d(c_in, c_in, kernel_size, padding="same", groups=c_in, bias=False),
                              nn.Conv2d(c_in, c_out, 1, bias=False))
        counts = []
        for net in (full, apart):
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                net(torch.empty(1, c_in, height, width))
            counts.append(counter.get_total_flops() // 2)
    return tuple(counts)


def costs_by_formula(c_in, c_out, kernel_size, height, width):
    places, window = height * width, kernel_size**2
    return places * window * c_in * c_out, places * c_in * (window + c_out)


def costs_by_sums(c_in, c_out, kernel_size, height, width):
    full = sum(c_in * kernel_size * kernel_size for _ in range(c_out)) * height * width
    depthwise = kernel_size * kernel_size * height * width * c_in
    return [full, depthwise + c_in * height * width * c_out]


def _costs(count):
    """A mistake: count(c_in, c_out, k, places) gives the answer."""
    return lambda c_in, c_out, kernel_size, height, width: count(c_in, c_out, kernel_size, height * width)


SEPARABLE_COSTS = Exercise(
    id="separable_costs", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=separable_costs,
    probes=[call(2, 3, 3, 1, 1), call(3, 5, 3, 4, 2), call(4, 2, 5, 3, 7), call(6, 7, 1, 2, 3)],
    random=lambda rng: call(*ints(rng, 1, 40, 2), int(rng.choice([1, 3, 5, 7])), *ints(rng, 1, 30, 2)),
    mistakes=[
        Mistake("depthwise_only", "The second number counts the depthwise convolution alone. The 1×1 that mixes the "
                "channels belongs to it.",
                _costs(lambda i, o, k, n: (n * k * k * i * o, n * k * k * i))),
        Mistake("pointwise_only", "The second number counts the 1×1 convolution alone. The depthwise one counts too.",
                _costs(lambda i, o, k, n: (n * k * k * i * o, n * i * o))),
        Mistake("depthwise_to_c_out", "The depthwise convolution is counted for c_out channels. It has one filter for "
                "each of the c_in channels.",
                _costs(lambda i, o, k, n: (n * k * k * i * o, n * (k * k * o + i * o)))),
        Mistake("full_depthwise", "In the depthwise convolution each filter reads one channel, not all.",
                _costs(lambda i, o, k, n: (n * k * k * i * o, n * (k * k * i * i + i * o)))),
        Mistake("pointwise_window", "The second convolution is 1×1: its filters have no window of k·k.",
                _costs(lambda i, o, k, n: (n * k * k * i * o, n * (k * k * i + k * k * i * o)))),
        Mistake("multiplied", "The costs of the two convolutions are multiplied. They run one after the other: add.",
                _costs(lambda i, o, k, n: (n * k * k * i * o, n * k * k * i * n * i * o))),
        Mistake("weights", "These are the weights. Each is used at every place of the output: multiply by height and "
                "width.",
                _costs(lambda i, o, k, n: (k * k * i * o, k * k * i + i * o))),
        Mistake("k_not_squared", "A window has k rows and k columns: k·k weights for a channel, not k.",
                _costs(lambda i, o, k, n: (n * k * i * o, n * (k * i + i * o)))),
        Mistake("operations", "Multiplications and additions are counted separately, which gives twice the number. "
                "Here one multiplication and its addition count as one.",
                _costs(lambda i, o, k, n: (2 * n * k * k * i * o, 2 * n * (k * k * i + i * o)))),
        Mistake("biases", "Biases are counted. Here they are left out.",
                _costs(lambda i, o, k, n: (n * (k * k * i + 1) * o, n * ((k * k + 1) * i + (i + 1) * o)))),
        Mistake("exchanged", "The two numbers are in the wrong order: the full convolution comes first.",
                _costs(lambda i, o, k, n: (n * (k * k * i + i * o), n * k * k * i * o))),
        Mistake("ratio", "That is the ratio of the two. The two numbers themselves are wanted.",
                _costs(lambda i, o, k, n: k * k * o / (k * k + o))),
    ],
    alternatives=[costs_by_formula, costs_by_sums],
    hints=[
        "How many weights does one filter have, in each of the three convolutions? How many filters are there?",
        dedent("""\
        2 channels to 3, kernel 3×3, one place:

        ```
        full         3 filters of 2 · 9 weights      54
        depthwise    2 filters of 1 · 9 weights      18
        1×1          3 filters of 2 · 1 weights       6    18 + 6 = 24
        ```"""),
        dedent("""\
        ```
        places    <- height · width
        full      <- places · filters · channels each reads · k · k
        depthwise <- places · filters · 1 · k · k
        pointwise <- places · filters · channels each reads
        return full, depthwise + pointwise
        ```"""),
        "A full convolution looks at the neighbourhood and mixes channels at once, so the two numbers k·k and c_out "
        "multiply. One after the other, they add: k·k + c_out for each channel and place.",
    ])


# ---------------------------------------------------------------------------- depthwise_separable

class DepthwiseSeparable(nn.Module):
    """Oracle: two layers from a list of settings, which the mistakes switch."""

    bias = False
    relus = (F.relu, F.relu)

    def settings(self, c_in, c_out, stride):
        """(c_in, c_out, kernel, stride, groups) of the two convolutions."""
        return (c_in, c_in, 3, stride, c_in), (c_in, c_out, 1, 1, 1)

    def __init__(self, c_in, c_out, stride=1):
        super().__init__()
        rows = self.settings(c_in, c_out, stride)
        self.convs = nn.ModuleList([nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=self.bias) for i, o, k, s, g in rows])
        self.norms = nn.ModuleList([nn.BatchNorm2d(row[1]) for row in rows])

    def forward(self, x):
        for conv, norm, relu in zip(self.convs, self.norms, self.relus):
            x = relu(norm(conv(x)))
        return x


class SeparableInLine(nn.Module):
    def __init__(self, c_in, c_out, stride=1):
        super().__init__()
        self.dw = nn.Conv2d(c_in, c_in, 3, stride, 1, groups=c_in, bias=False)
        self.pw = nn.Conv2d(c_in, c_out, 1, bias=False)
        self.bn_dw, self.bn_pw = nn.BatchNorm2d(c_in), nn.BatchNorm2d(c_out)

    def forward(self, x):
        return torch.relu(self.bn_pw(self.pw(torch.relu(self.bn_dw(self.dw(x))))))


def separable_in_sequential(c_in, c_out, stride=1):
    return nn.Sequential(nn.Conv2d(c_in, c_in, 3, stride=stride, padding=1, groups=c_in, bias=False),
                         nn.BatchNorm2d(c_in), nn.ReLU(inplace=True),
                         nn.Conv2d(c_in, c_out, kernel_size=(1, 1), bias=False), nn.BatchNorm2d(c_out),
                         nn.ReLU(inplace=True))


def _separable(settings=None, **changes):
    if settings is not None:
        changes["settings"] = lambda self, c_in, c_out, stride: settings(c_in, c_out, stride)
    return variant(DepthwiseSeparable, **changes)


class SeparableOneNorm(DepthwiseSeparable):
    def __init__(self, c_in, c_out, stride=1):
        super().__init__(c_in, c_out, stride)
        self.norms[0] = nn.Identity()


class SeparableNoLastNorm(DepthwiseSeparable):
    def __init__(self, c_in, c_out, stride=1):
        super().__init__(c_in, c_out, stride)
        self.norms[1] = nn.Identity()


class SeparableWithSkip(DepthwiseSeparable):
    def forward(self, x):
        y = super().forward(x)
        return y + x if y.shape == x.shape else y


class SeparableNoPadding(DepthwiseSeparable):
    def __init__(self, c_in, c_out, stride=1):
        super().__init__(c_in, c_out, stride)
        self.convs[0] = nn.Conv2d(c_in, c_in, 3, stride, groups=c_in, bias=False)


def random_separable(rng):
    c_in, c_out = ints(rng, 1, 6, 2)
    (h, w), stride, seed = ints(rng, 3, 6, 2), int(rng.integers(1, 3)), int(rng.integers(1 << 30))
    return module_probe(c_in, c_out, stride, x=8 * quarters(seed, 2, c_in, h, w),
                        dy=quarters(seed, 2, c_out, -(-h // stride), -(-w // stride)),
                        mode=str(rng.choice(["train", "eval"])))


DEPTHWISE_SEPARABLE = Exercise(
    id="depthwise_separable", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=DepthwiseSeparable,
    probes=[module_probe(2, 4, 1, x=quarters(30, 1, 2, 3, 3)),
            module_probe(3, 5, 2, x=8 * quarters(31, 2, 3, 5, 4), dy=quarters(32, 2, 5, 3, 2)),  # beyond 6
            module_probe(4, 3, 1, x=strided(quarters(33, 1, 4, 3, 4)), mode="train"),
            module_probe(3, 3, x=quarters(34, 1, 3, 4, 3)), module_probe(1, 2, 2, x=quarters(35, 1, 1, 4, 3))],
    random=random_separable,
    mistakes=[
        Mistake("not_depthwise", "The 3×3 convolution is a full one. With groups equal to its channels each filter "
                "reads one channel.",
                _separable(lambda i, o, s: ((i, i, 3, s, 1), (i, o, 1, 1, 1)))),
        Mistake("full_to_c_out", "The 3×3 convolution is a full one and already gives c_out channels. It is depthwise, "
                "from c_in to c_in; the 1×1 changes the number.",
                _separable(lambda i, o, s: ((i, o, 3, s, 1), (o, o, 1, 1, 1)))),
        Mistake("pointwise_first", "The 1×1 convolution comes first. First depthwise, then 1×1.",
                _separable(lambda i, o, s: ((i, o, 1, 1, 1), (o, o, 3, s, o)))),
        Mistake("stride_on_the_1x1", "The stride is in the 1×1 convolution. It is in the 3×3, which then has fewer "
                "places to work at.",  # 89
                _separable(lambda i, o, s: ((i, i, 3, 1, i), (i, o, 1, s, 1)))),
        Mistake("stride_twice", "Both convolutions have the stride. Only the 3×3 has it.",  # 89
                _separable(lambda i, o, s: ((i, i, 3, s, i), (i, o, 1, s, 1)))),
        Mistake("no_stride", "The stride is not used.",
                _separable(lambda i, o, s: ((i, i, 3, 1, i), (i, o, 1, 1, 1)))),
        Mistake("second_3x3", "The second convolution is 3×3. It is 1×1: it only mixes channels.",  # 88
                _separable(lambda i, o, s: ((i, i, 3, s, i), (i, o, 3, 1, 1)))),
        Mistake("no_padding", "The 3×3 convolution has no padding, so the maps shrink.", SeparableNoPadding),
        Mistake("no_relu_between", "Batch norm and ReLU follow both convolutions. The first ReLU is missing.",
                _separable(relus=(identity, F.relu))),
        Mistake("no_last_relu", "Batch norm and ReLU follow both convolutions. The last ReLU is missing.",
                _separable(relus=(F.relu, identity))),
        Mistake("relu6", "The activations are ReLU6, which cut off at 6. This block has ReLU.",
                _separable(relus=(F.relu6, F.relu6))),
        Mistake("no_norm_between", "Batch norm after the depthwise convolution is missing.", SeparableOneNorm),  # 88
        Mistake("no_last_norm", "Batch norm after the 1×1 convolution is missing.", SeparableNoLastNorm),  # 88
        Mistake("biases", "The convolutions have biases. Batch norm follows each: set `bias=False`.",  # 87
                _separable(bias=True)),
        Mistake("skip", "The input is added where the shapes agree. This block has no skip.", SeparableWithSkip),
    ],
    alternatives=[SeparableInLine, separable_in_sequential],
    hints=[
        "Which of the two convolutions looks at the neighbours of a pixel, and which mixes channels? What does each "
        "leave alone?",
        dedent("""\
        2 channels to 4, stride 2, 6×6 pixels:

        ```
        3×3, stride 2, 2 groups     2 → 2 channels    3×3 places
        batch norm, ReLU
        1×1                         2 → 4 channels    3×3 places
        batch norm, ReLU
        ```"""),
        dedent("""\
        ```
        x <- relu(bn1(conv 3×3, c_in to c_in, stride, padding 1, groups c_in))    # (N, c_in, H', W')
        x <- relu(bn2(conv 1×1, c_in to c_out))                                   # (N, c_out, H', W')
        ```"""),
        "A full convolution does two things in one: it compares a pixel with its neighbours, and mixes channels. Done "
        "one after the other, each is cheap. The price is that every channel has one spatial filter only.",
    ])


# ---------------------------------------------------------------------------- inverted_residual

class InvertedResidual(nn.Module):
    """Oracle: a list of (convolution, norm, activation); the mistakes switch its attributes."""

    bias, always_expand = False, False
    relus = (F.relu6, F.relu6, identity)
    strides = (False, True, False)

    def hidden(self, c_in, c_out, expansion):
        return c_in * expansion

    def groups(self, hidden):
        return hidden

    def has_skip(self, c_in, c_out, stride):
        return (c_in, stride) == (c_out, 1)

    def __init__(self, c_in, c_out, stride=1, expansion=6):
        super().__init__()
        hidden = self.hidden(c_in, c_out, expansion)
        first, second, third = (stride if used else 1 for used in self.strides)
        rows = [(c_in, hidden, 1, first, 0, 1), (hidden, hidden, 3, second, 1, self.groups(hidden)),
                (hidden, c_out, 1, third, 0, 1)]
        self.kept = list(range(3))
        if expansion == 1 and not self.always_expand:
            del rows[0], self.kept[0]
        self.convs = nn.ModuleList([nn.Conv2d(*row[:5], groups=row[5], bias=self.bias) for row in rows])
        self.norms = nn.ModuleList([nn.BatchNorm2d(row[1]) for row in rows])
        self.skip = self.has_skip(c_in, c_out, stride)

    def body(self, x):
        for conv, norm, i in zip(self.convs, self.norms, self.kept):
            x = self.relus[i](norm(conv(x)))
        return x

    def join(self, x, y):
        return x + y

    def forward(self, x):
        y = self.body(x)
        return self.join(x, y) if self.skip else y


class InvertedInSequential(nn.Module):
    def __init__(self, c_in, c_out, stride=1, expansion=6):
        super().__init__()
        parts, inner = [], expansion * c_in
        if expansion != 1:
            parts += [nn.Conv2d(c_in, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU6(inplace=True)]
        parts += [nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False), nn.BatchNorm2d(inner),
                  nn.ReLU6(inplace=True), nn.Conv2d(inner, c_out, 1, bias=False), nn.BatchNorm2d(c_out)]
        self.layers_, self.add = nn.Sequential(*parts), c_in == c_out and stride == 1

    def forward(self, x):
        return x + self.layers_(x) if self.add else self.layers_(x)


class InvertedInLine(nn.Module):
    def __init__(self, c_in, c_out, stride=1, expansion=6):
        super().__init__()
        self.t, m = expansion, expansion * c_in
        if self.t > 1:
            self.a, self.na = nn.Conv2d(c_in, m, 1, bias=False), nn.BatchNorm2d(m)
        self.b, self.nb = nn.Conv2d(m, m, 3, stride=stride, padding=1, groups=m, bias=False), nn.BatchNorm2d(m)
        self.c, self.nc = nn.Conv2d(m, c_out, 1, bias=False), nn.BatchNorm2d(c_out)

    def forward(self, x):
        y = self.na(self.a(x)).clamp(0, 6) if self.t > 1 else x
        y = self.nc(self.c(self.nb(self.b(y)).clamp(0, 6)))
        if y.shape == x.shape and self.b.stride == (1, 1):
            y += x
        return y


def _inverted(**changes):
    return variant(InvertedResidual, **changes)


class InvertedProjected(InvertedResidual):
    def __init__(self, c_in, c_out, stride=1, expansion=6):
        super().__init__(c_in, c_out, stride, expansion)
        if not self.skip:
            self.project = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x):
        return self.body(x) + (x if self.skip else self.project(x))


def _in_place(self, x, y):
    x += y
    return x


def large(seed, *shape):
    """Numbers up to 16, so that ReLU6 cuts some off."""
    return 8 * quarters(seed, *shape)


def random_inverted(rng):
    c_in, stride, expansion = (*ints(rng, 1, 3, 2), int(rng.integers(1, 4)))
    c_out, seed = int(rng.choice([c_in, c_in + 3])), int(rng.integers(1 << 30))
    h, w = ints(rng, 2, 5, 2)
    return module_probe(c_in, c_out, stride, expansion, x=large(seed, 2, c_in, h, w),
                        dy=quarters(seed, 2, c_out, -(-h // stride), -(-w // stride)),
                        mode=str(rng.choice(["train", "eval"])))


INVERTED_RESIDUAL = Exercise(
    id="inverted_residual", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=InvertedResidual,
    # On one pixel a skip at stride 2 is no error, but a wrong number; from one channel, a skip with more channels too.
    probes=[module_probe(2, 2, 2, 3, x=large(40, 2, 2, 1, 1)),
            module_probe(2, 2, 1, 3, x=large(41, 1, 2, 2, 3)),
            module_probe(1, 3, 1, 2, x=large(42, 2, 1, 3, 2)),
            module_probe(3, 5, 2, 2, x=large(43, 2, 3, 5, 4), dy=quarters(44, 2, 5, 3, 2)),
            module_probe(3, 3, 1, 1, x=strided(large(45, 1, 3, 3, 4)), dy=quarters(46, 1, 3, 3, 4)),
            module_probe(2, 2, 1, 2, x=large(47, 2, 2, 3, 3), mode="train")],
    random=random_inverted,
    mistakes=[
        Mistake("activation_at_the_end", "An activation follows the last convolution. It is the linear bottleneck: "
                "batch norm, and nothing more.",  # 97
                _inverted(relus=(F.relu6, F.relu6, F.relu6))),
        Mistake("activation_after_addition", "An activation follows the addition, as in ResNet. Here the sum is handed "
                "on as it is.",  # 97
                _inverted(join=lambda self, x, y: F.relu6(x + y))),
        Mistake("skip_at_stride_2", "The input is also added at stride 2, where its places are not those of the "
                "output. The skip is there only if the stride is 1 and the channels agree.",  # 98
                _inverted(has_skip=lambda self, i, o, s: i == o)),
        Mistake("skip_from_other_channels", "The input is also added where the block changes the number of channels. "
                "The skip is there only if the stride is 1 and the channels agree.",  # 98
                _inverted(has_skip=lambda self, i, o, s: s == 1)),
        Mistake("projection", "Where the shape changes there is a projection, as in ResNet. Here there is none.",  # 91
                InvertedProjected),
        Mistake("no_skip", "The input is not added where the shapes agree.",
                _inverted(has_skip=lambda self, *shape: False)),
        Mistake("relu_without_6", "The activations are ReLU. They are ReLU6, which cuts off at 6 as well.",
                _inverted(relus=(F.relu, F.relu, identity))),
        Mistake("expands_c_out", "The middle has expansion times c_out channels. It is the input that is expanded.",
                _inverted(hidden=lambda self, i, o, t: t * o)),
        Mistake("expands_by_1", "For an expansion of 1 there is still a 1×1 convolution in front. It is left out "
                "there.",  # 88
                _inverted(always_expand=True)),
        Mistake("not_depthwise", "The 3×3 convolution is a full one. It is depthwise: one channel in each group.",
                _inverted(groups=lambda self, hidden: 1)),
        Mistake("stride_on_the_first", "The stride is in the first 1×1 convolution. It is in the 3×3.",  # 89
                _inverted(strides=(True, False, False))),
        Mistake("stride_on_the_last", "The stride is in the last 1×1 convolution. It is in the 3×3.",  # 89
                _inverted(strides=(False, False, True))),
        Mistake("no_first_activation", "The activation after the first convolution is missing.",
                _inverted(relus=(identity, F.relu6, identity))),
        Mistake("no_second_activation", "The activation after the depthwise convolution is missing.",
                _inverted(relus=(F.relu6, identity, identity))),
        Mistake("biases", "The convolutions have biases. Batch norm follows each: set `bias=False`.",  # 87
                _inverted(bias=True)),
        Mistake("added_in_place", "The sum is stored in x, which belongs to the caller. Write `x + …`.",  # 92
                _inverted(join=_in_place)),
    ],
    alternatives=[InvertedInSequential, InvertedInLine],
    hints=[
        "Where is this block wide, and where narrow? Between which places does the skip run? When have they the same "
        "shape?",
        dedent("""\
        24 channels to 24, stride 1, expansion 6, next to ResNet's bottleneck:

        ```
        inverted residual                     bottleneck
        1×1     24 → 144, ReLU6               1×1   256 → 64, ReLU
        3×3    144 → 144, depthwise, ReLU6    3×3    64 → 64, ReLU
        1×1    144 → 24                       1×1    64 → 256
        + x                                   + x, ReLU
        ```"""),
        dedent("""\
        ```
        m <- expansion · c_in
        y <- relu6(bn(conv 1×1, c_in to m))                             unless expansion is 1
        y <- relu6(bn(conv 3×3, m to m, stride, padding 1, groups m))   # (N, m, H', W')
        y <- bn(conv 1×1, m to c_out)                                   # (N, c_out, H', W')
        return x + y if stride is 1 and c_in is c_out, else y
        ```"""),
        "What is kept and handed on is narrow, to save memory; the work is done on many channels, which depthwise "
        "makes cheap. A ReLU on few channels would throw away what no other channel holds, so the narrow end has none.",
    ])


# ---------------------------------------------------------------------------- compound_scale

def compound_scale(channels, repeats, width, depth):
    """Oracle: the nearest multiple of 8, looked for; then the next that is not below 90 %."""
    wanted = channels * width
    multiples = range(8, int(wanted) + 17, 8)
    nearest = min(multiples, key=lambda m: (abs(m - wanted), -m))
    chosen = next(m for m in multiples if m >= nearest and m >= 0.9 * wanted)
    return chosen, ceil(repeats * depth)


def scale_as_published(channels, repeats, width, depth):
    channels *= width
    new = max(8, int(channels + 4) // 8 * 8)
    if new < 0.9 * channels:
        new += 8
    return int(new), int(ceil(depth * repeats))


def scale_by_floor(channels, repeats, width, depth):
    c = channels * width
    eighths = max(floor(c / 8 + 0.5), 1)
    eighths += 8 * eighths < 0.9 * c
    return [8 * eighths, -int(-repeats * depth // 1)]


def _near(c):
    return max(8, int(c + 4) // 8 * 8)


def _guarded(c):
    return _near(c) + 8 * (_near(c) < 0.9 * c)


def _scale(channels=_guarded, repeats=ceil):
    """A mistake: another rounding of channels, or of repeats."""
    return lambda c, r, width, depth: (channels(c * width), repeats(r * depth))


def random_scale(rng):
    return call(int(rng.integers(1, 60)), int(rng.integers(1, 8)), int(rng.integers(2, 10)) / 4,
                int(rng.integers(4, 14)) / 4)


COMPOUND_SCALE = Exercise(
    id="compound_scale", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=compound_scale,
    probes=[call(8, 1, 1.25, 1.5), call(32, 2, 1.0, 1.0), call(40, 3, 1.75, 2.25), call(36, 5, 0.75, 1.25),
            call(13, 3, 4.0, 1.5), call(16, 1, 0.25, 3.0), call(28, 4, 1.25, 1.75), call(44, 2, 1.0, 2.25)],
    random=random_scale,
    mistakes=[
        Mistake("not_rounded", "The channels are not rounded to a multiple of 8.", _scale(int)),  # 101
        Mistake("rounded_down", "The channels are always rounded down. Take the nearest multiple of 8.",  # 101
                _scale(lambda c: max(8, int(c) // 8 * 8))),
        Mistake("rounded_up", "The channels are always rounded up. Take the nearest multiple of 8; only if that loses "
                "more than a tenth, the next.",  # 101
                _scale(lambda c: ceil(c / 8) * 8)),
        Mistake("more_than_a_tenth_lost", "Rounding to the nearest multiple of 8 may lose more than a tenth of the "
                "channels, here. Then the next multiple is taken.",  # 101
                _scale(_near)),
        Mistake("ninety_percent_of_the_original", "The result is compared with 90 % of the channels before scaling. "
                "Compare it with 90 % of the scaled number.",  # 101
                lambda c, r, width, depth: (_near(c * width) + 8 * (_near(c * width) < 0.9 * c), ceil(r * depth))),
        Mistake("half_to_even", "A number half way between two multiples goes to the even one, as Python's `round` "
                "does. Here it goes up.",
                _scale(lambda c: (lambda n: n + 8 * (n < 0.9 * c))(max(8, 8 * round(c / 8))))),
        Mistake("half_down", "A number half way between two multiples goes down. Here it goes up.",
                _scale(lambda c: (lambda n: n + 8 * (n < 0.9 * c))(max(8, 8 * ceil(c / 8 - 0.5))))),
        Mistake("no_least", "There can be no 0 channels: 8 is the least.",  # 101
                _scale(lambda c: int(c + 4) // 8 * 8 if c < 5 else _guarded(c))),
        Mistake("multiples_of_4", "The channels are multiples of 4. Multiples of 8 are wanted.",  # 101
                _scale(lambda c: (lambda n: n + 4 * (n < 0.9 * c))(max(4, int(c + 2) // 4 * 4)))),
        Mistake("repeats_down", "The repeats are rounded down. They are rounded up, so that no stage loses depth.",
                _scale(repeats=int)),
        Mistake("repeats_nearest", "The repeats are rounded to the nearest. They are rounded up.",
                _scale(repeats=lambda r: floor(r + 0.5))),
        Mistake("repeats_not_scaled", "The repeats are not scaled.",
                lambda c, r, width, depth: (_guarded(c * width), r)),
        Mistake("factors_exchanged", "Width and depth are exchanged: width is for the channels, depth for the repeats.",
                lambda c, r, width, depth: (_guarded(c * depth), ceil(r * width))),
        Mistake("both_by_width", "The repeats are multiplied by the width. They are multiplied by the depth.",
                lambda c, r, width, depth: (_guarded(c * width), ceil(r * width))),
        Mistake("exchanged", "The two numbers are in the wrong order: channels first.",
                lambda c, r, width, depth: (ceil(r * depth), _guarded(c * width))),
    ],
    alternatives=[scale_as_published, scale_by_floor],
    hints=[
        "10 channels are wanted. Which multiple of 8 is nearest, and what part of the 10 would it keep?",
        dedent("""\
        ```
        wanted    nearest multiple of 8    at least 90 %?    result
          50             48                 48 ≥ 45            48
          10              8                  8 < 9             16
          12             16  (half way: up)                    16
           4              8  (half way: up)                     8
           2              0  (8 is the least)                   8
        ```
        3 repeats at depth 1.5: 4.5, so 5."""),
        dedent("""\
        ```
        wanted  <- channels · width
        n       <- nearest multiple of 8, half way up, at least 8      # (wanted + 4) // 8 · 8
        if n < 0.9 · wanted: n <- n + 8
        return n, repeats · depth rounded up
        ```
        Return whole numbers (int)."""),
        "Hardware works in blocks of 8 channels or more, so other numbers waste part of it. The rule about 90 % keeps "
        "small layers from being cut down by a third in the name of that.",
    ])


# ---------------------------------------------------------------------------- evolution_step

def evolution_step(population, scores, sample, gene, value):
    """Oracle: with arrays."""
    networks, scores, sample = np.array(population), np.array(scores), np.array(sample)
    child = networks[sample[np.argmax(scores[sample])]].copy()
    child[gene] = value
    return tuple(tuple(int(g) for g in network) for network in np.vstack([networks[1:], child]))


def step_by_max(population, scores, sample, gene, value):
    parent = population[max(sample, key=lambda i: scores[i])]
    return (*population[1:], (*parent[:gene], value, *parent[gene + 1:]))


def step_by_loop(population, scores, sample, gene, value):
    best = sample[0]
    for i in sample:
        if scores[i] > scores[best]:
            best = i
    child = list(population[best])
    child[gene] = value
    return [list(network) for network in population[1:]] + [child]


def _best(scores, sample):
    return max(sample, key=lambda i: scores[i])


def _mutated(parent, gene, value):
    return (*parent[:gene], value, *parent[gene + 1:])


def _evolve(choose=_best, mutate=_mutated, out=lambda networks, scores, sample, parent: 0,
            join=lambda rest, child: (*rest, child)):
    """A mistake: another choice of the parent, another mutation, another one that goes, or another place."""
    def run(population, scores, sample, gene, value):
        parent = choose(scores, sample)
        child = mutate(population[parent], gene, value)
        gone = out(population, scores, sample, parent)
        return join(tuple(n for i, n in enumerate(population) if i != gone), child)

    return run


def _parent_changed(population, scores, sample, gene, value):
    parent = _best(scores, sample)
    child = _mutated(population[parent], gene, value)
    return (*(child if i == parent else n for i, n in enumerate(population)), child)[1:]


EVOLUTION = (((0, 1, 2), (3, 0, 1), (2, 2, 0), (1, 3, 3), (0, 2, 1)), (0.75, 0.5, 0.875, 0.25, 0.625))


def random_step(rng):
    count, genes = int(rng.integers(3, 7)), int(rng.integers(2, 6))
    population = tuple(ints(rng, 0, 4, genes) for _ in range(count))
    scores = tuple(float(s) / 64 for s in rng.choice(64, count, replace=False))
    sample = tuple(int(i) for i in rng.permutation(count)[:int(rng.integers(2, count))])
    return call(population, scores, sample, int(rng.integers(genes)), int(rng.integers(4)))


EVOLUTION_STEP = Exercise(
    id="evolution_step", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=evolution_step,
    probes=[call(((0, 1), (2, 3), (1, 1)), (0.5, 0.25, 0.75), (1, 0), 1, 2),
            call(*EVOLUTION, (4, 1, 3), 0, 3), call(*EVOLUTION, (3, 2, 1), 2, 2),
            call(((1, 2, 0, 3), (3, 3, 1, 0), (0, 1, 2, 2), (2, 0, 3, 1)), (0.5, 0.75, 0.75, 0.25), (2, 1, 3), 3, 3),
            call(*EVOLUTION, (4, 1), 1, 3), call(((0, 1, 1), (3, 2, 0), (1, 1, 3)), (0.5, 0.75, 0.75), (1, 2), 0, 2)],
    random=random_step,
    mistakes=[
        Mistake("best_of_all", "The parent is the best of the whole population. Only those in the sample compete.",
                _evolve(lambda scores, sample: _best(scores, range(len(scores))))),
        Mistake("lowest_score", "The parent is the one with the lowest score in the sample. Take the highest.",
                _evolve(lambda scores, sample: min(sample, key=lambda i: scores[i]))),
        Mistake("place_in_the_sample", "The place of the winner within the sample is used as its place in the "
                "population. Look up in the sample which network that is.",  # 67
                _evolve(lambda scores, sample: int(np.argmax([scores[i] for i in sample])))),
        Mistake("first_of_the_sample", "The parent is the first of the sample. It is the one with the highest score.",
                _evolve(lambda scores, sample: sample[0])),
        Mistake("last_of_ties", "Of equal scores the last wins. Take the one that comes first in the sample.",
                _evolve(lambda scores, sample: max(reversed(sample), key=lambda i: scores[i]))),
        Mistake("ties_by_place", "Of equal scores the one that is first in the population wins. Take the one that "
                "comes first in the sample.",
                _evolve(lambda scores, sample: max(sorted(sample), key=lambda i: scores[i]))),
        Mistake("worst_dies", "The network with the lowest score leaves. It is the oldest that leaves, the first in "
                "the population.",
                _evolve(out=lambda networks, scores, sample, parent: int(np.argmin(scores)))),
        Mistake("worst_of_sample_dies", "The worst of the sample leaves. It is the oldest that leaves, the first in "
                "the population.",
                _evolve(out=lambda networks, scores, sample, parent: min(sample, key=lambda i: scores[i]))),
        Mistake("parent_dies", "The parent leaves. It is the oldest that leaves, the first in the population.",
                _evolve(out=lambda networks, scores, sample, parent: parent)),
        Mistake("newest_dies", "The newest leaves. It is the oldest, the first in the population.",
                _evolve(out=lambda networks, scores, sample, parent: len(networks) - 1)),
        Mistake("nobody_dies", "Nobody leaves, so the population grows. The oldest leaves.",
                _evolve(out=lambda networks, scores, sample, parent: -1)),
        Mistake("child_in_front", "The child is put in front. The population stands with the oldest first, so a child "
                "belongs at the end.",
                _evolve(join=lambda rest, child: (child, *rest))),
        Mistake("not_mutated", "The child is a copy of its parent. One gene is set to the new value.",
                _evolve(mutate=lambda parent, gene, value: parent)),
        Mistake("value_added", "The value is added to the gene. The gene is set to it.",
                _evolve(mutate=lambda parent, gene, value: _mutated(parent, gene, parent[gene] + value))),
        Mistake("all_genes", "All genes of the child are set to the value. Only one is.",
                _evolve(mutate=lambda parent, gene, value: (value,) * len(parent))),
        Mistake("parent_changed", "The parent is changed together with the child. Make a copy, and change that.",  # 32
                _parent_changed),
        Mistake("child_only", "That is the child alone. The whole new population is wanted.",
                _evolve(join=lambda rest, child: child)),
    ],
    alternatives=[step_by_max, step_by_loop],
    hints=[
        "The sample holds places in the population. Whose score is the highest among these places?",
        dedent("""\
        Networks A, B, C (A the oldest), with scores 0.5, 0.25, 0.75. The sample is (1, 0): B and A compete.

        ```
        A wins:  (0, 1)    gene 1 set to 2 → child (0, 2)
        A leaves, as the oldest:  B, C, child
        ```
        C, the best of all, was not in the sample."""),
        dedent("""\
        ```
        parent <- of the places in the sample, the first with the highest score
        child  <- a copy of population[parent], its gene set to the value
        return all networks but the first, and the child at the end
        ```"""),
        "Competition within a small sample gives less good networks a chance, and so the search looks at more than one "
        "place. That the oldest leaves, however good, does the same: only what proves good again in its children "
        "stays.",
    ])


# ---------------------------------------------------------------------------- magnitude_masks

def magnitude_masks(keep, *weights):
    """Oracle: the threshold by sorting all weights in one row."""
    threshold = np.sort(np.concatenate([np.abs(w.numpy()).ravel() for w in weights]))[-keep]
    return tuple(torch.from_numpy(np.abs(w.numpy()) >= threshold) for w in weights)


def masks_by_topk(keep, *weights):
    least = torch.cat([w.flatten() for w in weights]).abs().topk(keep).values.min()
    return [w.abs() >= least for w in weights]


def masks_by_counting(keep, *weights):
    """A weight is kept if fewer than `keep` are larger."""
    sizes = torch.cat([w.reshape(-1).abs() for w in weights])
    return tuple((sizes > w.abs()[..., None]).sum(-1) < keep for w in weights)


def _masks(choose):
    """A mistake: choose(keep, weights, all magnitudes) gives a mask for a tensor w, as a function of it."""
    def run(keep, *weights):
        return tuple(choose(keep, weights, torch.cat([w.flatten().abs() for w in weights]))(w) for w in weights)

    return run


def _kth(values, keep):
    return values.flatten().sort(descending=True).values[max(0, min(keep, values.numel()) - 1)]


def _share(w, keep, sizes):
    return max(1, round(w.numel() * keep / sizes.numel()))


def masks_call(keep, *weights):
    return call(keep, *weights, device="cpu")


def distinct(seed, *shapes):
    """Tensors in which no two magnitudes are equal, quarters of either sign."""
    rng = np.random.default_rng([seed, len(shapes)])
    total = sum(int(np.prod(s)) for s in shapes)
    values = rng.permutation(np.arange(1, total + 1)) / 4 * rng.choice([-1, 1], total)
    parts = np.split(values, np.cumsum([np.prod(s) for s in shapes])[:-1])
    return [np.float32(part.reshape(s)) for part, s in zip(parts, shapes)]


def random_masks(rng):
    shapes = [ints(rng, 1, 5, int(rng.integers(1, 5))) for _ in range(int(rng.integers(1, 4)))]
    weights = distinct(int(rng.integers(1 << 30)), *shapes)
    return masks_call(int(rng.integers(1, sum(w.size for w in weights) + 1)), *weights)


MAGNITUDE_MASKS = Exercise(
    id="magnitude_masks", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=magnitude_masks,
    probes=[masks_call(2, np.float32([[1, -3]]), np.float32([2, 0.5])),
            masks_call(4, np.float32([[-6, 5], [4, -3.5]]), np.float32([[[0.25, -3], [1, 2]]])),
            masks_call(7, *distinct(60, (3, 2, 2), (5,), (2, 3))),
            masks_call(4, np.float32([2, -2, 1]), np.float32([[-4, 2], [0.5, 3]])),
            masks_call(1, strided(distinct(61, (2, 3))[0])), masks_call(5, *distinct(62, (2,), (3,)))],
    random=random_masks,
    mistakes=[
        Mistake("layer_by_layer", "The same share is kept in every tensor. All weights compete together, so one tensor "
                "may keep most of its weights and another hardly any.",
                _masks(lambda keep, ws, sizes: lambda w: w.abs() >= _kth(w.abs(), _share(w, keep, sizes)))),
        Mistake("keep_in_each", "`keep` weights are kept in every tensor. It is the number for all of them together.",
                _masks(lambda keep, ws, sizes: lambda w: w.abs() >= _kth(w.abs(), keep))),
        Mistake("with_signs", "The largest weights are kept, with their signs. A weight far below 0 matters as much: "
                "compare magnitudes.",
                _masks(lambda keep, ws, sizes: lambda w: w >= _kth(torch.cat([v.flatten() for v in ws]), keep))),
        Mistake("threshold_with_signs", "The threshold comes from magnitudes, but weights are compared with it with "
                "their signs. Negative ones are lost.",
                _masks(lambda keep, ws, sizes: lambda w: w >= _kth(sizes, keep))),
        Mistake("smallest_kept", "The smallest weights are kept. The largest matter most.",
                _masks(lambda keep, ws, sizes: lambda w: w.abs() <= sizes.sort().values[keep - 1])),
        Mistake("keep_as_removed", "`keep` weights are removed. It is the number of weights that stay.",
                _masks(lambda keep, ws, sizes: lambda w: w.abs() > sizes.sort().values[keep - 1])),
        Mistake("one_too_few", "The keep-th largest weight itself is lost: a weight is kept if it is at least as large "
                "as the threshold.",
                _masks(lambda keep, ws, sizes: lambda w: w.abs() > _kth(sizes, keep))),
        Mistake("one_too_many", "One weight too many is kept. Counting from 0, the keep-th largest has the number "
                "keep − 1.",
                _masks(lambda keep, ws, sizes: lambda w: w.abs() >= _kth(sizes, keep + 1))),
        Mistake("ties_broken", "Of weights of equal magnitude some are kept and others not. Those as large as the "
                "keep-th largest are all kept.",
                lambda keep, *ws: _split(ws, _exactly(keep, torch.cat([w.flatten().abs() for w in ws])))),
        Mistake("counted_once", "Weights of equal magnitude are counted as one when the keep-th largest is looked for. "
                "Every weight counts.",
                _masks(lambda keep, ws, sizes: lambda w: w.abs() >= _kth(sizes.unique(), keep))),
        Mistake("relative_to_each_tensor", "Each tensor is divided by its largest magnitude before the weights are "
                "compared. Compare them as they are.",
                lambda keep, *ws: tuple(masks_by_topk(keep, *(w / w.abs().max() for w in ws)))),
        Mistake("numbers", "The masks are numbers. They must be of dtype bool.",
                lambda keep, *ws: tuple(m.float() for m in masks_by_topk(keep, *ws))),
        Mistake("pruned_weights", "These are the weights with the small ones set to 0. The masks are wanted.",
                lambda keep, *ws: tuple(w * m for w, m in zip(ws, masks_by_topk(keep, *ws)))),
        Mistake("inverted", "True and False are exchanged: True is for a weight that stays.",
                lambda keep, *ws: tuple(~m for m in masks_by_topk(keep, *ws))),
        Mistake("flat", "The masks have lost the shapes of the tensors.",
                lambda keep, *ws: tuple(m.flatten() for m in masks_by_topk(keep, *ws))),
        Mistake("all_in_one", "All masks are in one row. One mask for each tensor is wanted, in its shape.",
                lambda keep, *ws: (torch.cat([m.flatten() for m in masks_by_topk(keep, *ws)]),)),
        Mistake("mask_for_one", "A single mask is returned without a tuple around it, or only the first. One for each "
                "tensor is wanted.",
                lambda keep, *ws: masks_by_topk(keep, *ws)[0]),
    ],
    alternatives=[masks_by_topk, masks_by_counting],
    hints=[
        "Put the magnitudes of all weights of all tensors into one row. How large is the smallest one that stays?",
        dedent("""\
        Two tensors, keep = 2:

        ```
        weights         [1 -3]            [2   0.5]
        magnitudes in one row, sorted:    3  2  1  0.5     the second largest is 2
        masks           [False True]      [True False]
        ```"""),
        dedent("""\
        ```
        row       <- magnitudes of all tensors, flattened, one after the other
        threshold <- the keep-th largest of row
        return, for each tensor: magnitude >= threshold        # bool, of its shape
        ```"""),
        "How much the output changes if a weight is set to 0 depends on its size, whatever its sign; that is a rough "
        "measure, and a cheap one. One threshold for all layers lets large layers, which can spare more, give more.",
    ])


def _exactly(keep, sizes):
    """True for `keep` of the largest, the first of equal ones."""
    largest = sizes.sort(descending=True, stable=True).indices[:keep]
    return torch.zeros(len(sizes), dtype=torch.bool).index_fill(0, largest, True)


def _split(weights, flat):
    """A row as tensors of the shapes of `weights`."""
    parts = flat.split([w.numel() for w in weights])
    return tuple(part.reshape(w.shape) for part, w in zip(parts, weights))


EXERCISES = [WIDE_BLOCKS, GROUPED_BOTTLENECK, SQUEEZE_EXCITATION, DENSE_BLOCK, SEPARABLE_COSTS, DEPTHWISE_SEPARABLE,
             INVERTED_RESIDUAL, COMPOUND_SCALE, EVOLUTION_STEP, MAGNITUDE_MASKS]
