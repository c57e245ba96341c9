"""Exercises of notebook 13: residual networks, by structure and by value.

The oracles are written with torch's functions in other words than the solutions: a block is a body and a shortcut,
gradients come from autograd, and parameters are counted on networks made on the meta device (He, Zhang, Ren & Sun,
CVPR 2016 and ECCV 2016; Huang, Liu, van der Maaten & Weinberger, 2017).
"""

from itertools import accumulate
from textwrap import dedent

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from autograder.exercise import FORBIDDEN_TORCH, Exercise, Mistake, call
from autograder.exercises.draws import quarters_by_shape as quarters
from cnnlab.probes import strided


def single(seed, *shape):
    """The same as float32, as a student's own tensors are."""
    return quarters(seed, *shape).astype(np.float32)


# ---------------------------------------------------------------------------- identity_conv

def identity_conv(channels, kernel_size):
    """Oracle: torch's own initialisation by Dirac's delta."""
    layer = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2)
    nn.init.dirac_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def identity_by_loop(channels, kernel_size):
    layer = nn.Conv2d(channels, channels, (kernel_size, kernel_size), padding="same")
    with torch.no_grad():
        for p in layer.parameters():
            p.fill_(0)
        for c in range(channels):
            layer.weight[c, c, kernel_size // 2, kernel_size // 2] = 1
    return layer


def identity_by_outer(channels, kernel_size):
    delta = torch.zeros(kernel_size, kernel_size)
    delta[kernel_size // 2, kernel_size // 2] = 1
    layer = nn.Conv2d(channels, channels, kernel_size, 1, (kernel_size - 1) // 2)
    layer.weight.data = torch.einsum("oi,ab->oiab", torch.eye(channels), delta)
    layer.bias.data *= 0
    return layer


def _conv(weight, bias=True, **settings):
    """A mistake: weight(channels, k) gives the weight, None leaves torch's random start."""
    def run(channels, kernel_size):
        options = {"padding": kernel_size // 2, "bias": bias is not None, **settings}
        if options.pop("depthwise", False):
            options["groups"] = channels
        layer = nn.Conv2d(channels, channels, kernel_size, **options)
        with torch.no_grad():
            layer.weight.copy_(weight(layer.weight, channels, kernel_size))
            if bias is True:
                layer.bias.zero_()
        return layer

    return run


def _delta(weight, channels, k, row=None, column=None):
    out = torch.zeros(weight.shape)
    middle = k // 2
    out[range(channels), range(channels), middle if row is None else row, middle if column is None else column] = 1
    return out


def _set_in(weight, channels, k):
    out = weight.clone()
    out[range(channels), range(channels), k // 2, k // 2] = 1
    return out


def _channel_eye(channels, plane):
    return torch.eye(channels)[:, :, None, None] * plane


def identity_probe(channels, kernel_size, x):
    return call(channels, kernel_size, steps=[("layers", {"input_size": x.shape}), ("forward", {"x": x})], device="cpu")


def random_identity(rng):
    c, k = int(rng.integers(1, 5)), int(rng.choice([1, 3, 5]))
    h, w = (int(v) for v in rng.integers(3, 6, 2))
    return identity_probe(c, k, single(int(rng.integers(1 << 30)), 2, c, h, w))


IDENTITY_CONV = Exercise(
    id="identity_conv", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=identity_conv,
    probes=[identity_probe(2, 3, single(1, 1, 2, 3, 4)), identity_probe(3, 5, single(2, 2, 3, 5, 4)),
            identity_probe(2, 1, single(3, 1, 2, 1, 3)), identity_probe(1, 3, strided(single(4, 1, 1, 3, 2)))],
    random=random_identity,
    mistakes=[
        Mistake("zeros", "All weights are 0, so the output is 0. In a plain layer zero weights are not the identity; "
                "in a residual block they will be.",
                _conv(lambda w, c, k: torch.zeros(w.shape))),
        Mistake("all_channels", "Every output channel is the sum of all input channels: the middle of the kernel is 1 "
                "for every pair of channels. Channel i may read channel i only.",
                _conv(lambda w, c, k: _delta(torch.zeros(1, 1, k, k), 1, k).expand(c, c, k, k))),
        Mistake("mean_of_channels", "Every output channel is the mean of all input channels. Channel i may read "
                "channel i only.",
                _conv(lambda w, c, k: _delta(torch.zeros(1, 1, k, k), 1, k).expand(c, c, k, k) / c)),
        Mistake("corner", "The image is shifted: the 1 stands in the first corner of the kernel. It belongs in the "
                "middle.",
                _conv(lambda w, c, k: _delta(w, c, k, 0, 0))),
        Mistake("last_corner", "The image is shifted: the 1 stands in the last corner of the kernel. It belongs in "
                "the middle.",
                _conv(lambda w, c, k: _delta(w, c, k, -1, -1))),
        Mistake("diagonal_in_space", "Each kernel holds the identity matrix, so the pixels along a diagonal are added "
                "up. It is the channels that need an identity matrix; the kernel needs a single 1.",
                _conv(lambda w, c, k: _channel_eye(c, torch.eye(k)))),
        Mistake("box", "Each kernel is full of ones, so neighbouring pixels are added up.",
                _conv(lambda w, c, k: _channel_eye(c, torch.ones(k, k)))),
        Mistake("mean_of_pixels", "Each kernel takes a mean over its window, which blurs. Only the pixel in the middle "
                "may count.",
                _conv(lambda w, c, k: _channel_eye(c, torch.ones(k, k) / k**2))),
        Mistake("random_bias", "The weights are right, but the bias still has its random start.",
                _conv(_delta, bias=False)),
        Mistake("random_rest", "The ones are in the right places, but all other weights, and the bias, still have "
                "their random start.",
                _conv(_set_in, bias=False)),
        Mistake("random_weights", "The ones are in the right places, but the other weights still have their random "
                "start.",
                _conv(_set_in)),
        Mistake("untouched", "The layer is as PyTorch made it, with random weights.",
                _conv(lambda w, c, k: w, bias=False)),
        Mistake("without_padding", "Without padding the output is smaller than the input.", _conv(_delta, padding=0)),
        Mistake("without_bias", "The layer has no bias. It shall have one, set to 0, so that training can change it.",
                _conv(_delta, bias=None)),
        Mistake("depthwise", "It is a depthwise convolution: with `groups` each filter reads one channel only. The "
                "layer shall have all weights of an ordinary one, most of them 0.",
                _conv(lambda w, c, k: _channel_eye(c, torch.zeros(1, 1))[:, :1] + _delta(torch.zeros(1, 1, k, k), 1, k),
                      depthwise=True)),
    ],
    alternatives=[identity_by_loop, identity_by_outer],
    hints=[
        "What does a filter compute at one place? Which of the products should be left, and times what?",
        dedent("""\
        Two channels, 3×3. `weight[o, i]` is what filter o does with channel i:

        ```
        weight[0, 0]    weight[0, 1]
          0 0 0           0 0 0
          0 1 0           0 0 0
          0 0 0           0 0 0
        ```"""),
        dedent("""\
        ```
        layer  <- Conv2d with channels in and out, padding so that the size is kept
        weight <- 0 everywhere                       # (channels, channels, k, k)
        for each channel c: weight[c, c, middle, middle] <- 1
        bias   <- 0
        ```
        Set values in a block `with torch.no_grad():`, in place: `layer.weight.zero_()`."""),
        "A filter is a weighted sum over all channels and a window. The identity is the sum in which one weight is 1 "
        "and all others are 0: that of the same channel, at the same place.",
    ])


# ---------------------------------------------------------------------------- zero_shortcut

def zero_shortcut(x, c_out, stride=1):
    """Oracle: a 1×1 convolution whose weights are those of an identity matrix with rows of zeros below."""
    return F.conv2d(x, torch.eye(c_out, x.shape[1], dtype=x.dtype)[:, :, None, None], stride=stride)


def shortcut_by_new_tensor(x, c_out, stride=1):
    n, c, h, w = x.shape
    out = torch.zeros(n, c_out, -(-h // stride), -(-w // stride), dtype=x.dtype)
    out[:, :c] = x[:, :, ::stride, ::stride]
    return out


def shortcut_by_pool(x, c_out, stride=1):
    x = F.avg_pool2d(x, 1, stride)
    return torch.cat([x, torch.zeros_like(x[:, :1]).repeat(1, c_out - x.shape[1], 1, 1)], dim=1)


def _shortcut(grow=None, shrink=None):
    """A mistake: shrink(x, stride), then grow(x, how many channels are missing)."""
    def run(x, c_out, stride=1):
        small = x[:, :, ::stride, ::stride] if shrink is None else shrink(x, stride)
        extra = c_out - x.shape[1]
        return F.pad(small, (0, 0, 0, 0, 0, extra)) if grow is None else grow(small, extra)

    return run


def random_shortcut(rng):
    c, h, w = (int(v) for v in rng.integers(1, 6, 3))
    draw = single if rng.integers(2) else quarters
    return call(draw(int(rng.integers(1 << 30)), int(rng.integers(1, 4)), c, h, w), c + int(rng.integers(0, 5)),
                int(rng.integers(1, 4)), device="cpu")


ZERO_SHORTCUT = Exercise(
    id="zero_shortcut", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=zero_shortcut,
    probes=[call(np.float32([[[[1, 2, 3], [-4, 5, 6]]]]), 3, 2, device="cpu"),
            call(single(10, 2, 3, 5, 4), 5, 2, device="cpu"), call(single(11, 1, 2, 4, 7), 4, 3, device="cpu"),
            call(strided(single(12, 2, 2, 3, 4)), 3, 1, device="cpu"),
            call(quarters(13, 3, 2, 2, 3) + 0.1, 3, device="cpu")],
    random=random_shortcut,
    mistakes=[
        Mistake("zeros_first", "The channels of zeros come before those of the input. They come after.",
                _shortcut(lambda x, e: F.pad(x, (0, 0, 0, 0, e, 0)))),
        Mistake("zeros_on_both_sides", "Channels of zeros are put before and after those of the input, as some "
                "implementations do. Here all of them come after.",
                _shortcut(lambda x, e: F.pad(x, (0, 0, 0, 0, e // 2, e - e // 2)))),
        Mistake("repeated_channels", "The new channels repeat those of the input. They are all zeros.",
                _shortcut(lambda x, e: torch.cat([x] * (e + 1), 1)[:, :x.shape[1] + e])),
        Mistake("ones", "The new channels are ones. They are zeros.",
                _shortcut(lambda x, e: F.pad(x, (0, 0, 0, 0, 0, e), value=1.0))),
        Mistake("float32", "The result is float32 also for an x of float64, whose digits are lost. Give the zeros the "
                "dtype of x.",  # 34
                _shortcut(lambda x, e: F.pad(x, (0, 0, 0, 0, 0, e)).float())),
        Mistake("width_padded", "The zeros are appended along the width. `F.pad` lists the last axis first; the "
                "channels are third from the end.",  # 8
                _shortcut(lambda x, e: F.pad(x, (0, e)))),
        Mistake("batch_padded", "The zeros are appended along the batch. Channels are axis 1.",  # 93
                _shortcut(lambda x, e: torch.cat([x, x.new_zeros((e, *x.shape[1:]))], 0))),
        Mistake("channels_not_grown", "No channels are appended.", _shortcut(lambda x, e: x.clone())),
        Mistake("not_subsampled", "The stride is not used: height and width are still those of the input.",
                _shortcut(shrink=lambda x, s: x)),
        Mistake("rows_only", "Only the rows are subsampled. The stride is for rows and columns.",  # 17
                _shortcut(shrink=lambda x, s: x[:, :, ::s])),
        Mistake("columns_only", "Only the columns are subsampled. The stride is for rows and columns.",  # 17
                _shortcut(shrink=lambda x, s: x[..., ::s])),
        Mistake("phase", "The last pixel of each block of `stride` is kept. Keep the first: rows 0, stride, …",  # 18
                _shortcut(shrink=lambda x, s: x[:, :, s - 1::s, s - 1::s])),
        Mistake("averaged", "It averages blocks of pixels. One pixel is kept as it is, the others are dropped.",
                _shortcut(shrink=lambda x, s: F.avg_pool2d(x, s, ceil_mode=True))),
        Mistake("maximum", "It takes the maximum of blocks of pixels. One pixel is kept as it is, the others are "
                "dropped.",
                _shortcut(shrink=lambda x, s: F.max_pool2d(x, s, ceil_mode=True))),
        Mistake("cropped", "It keeps a corner of the image. Keep every stride-th pixel of all of it.",
                _shortcut(shrink=lambda x, s: x[:, :, :-(-x.shape[2] // s), :-(-x.shape[3] // s)])),
    ],
    alternatives=[shortcut_by_new_tensor, shortcut_by_pool],
    hints=[
        "Which pixels are left if you go through rows and columns in steps of `stride`? And how many channels are "
        "missing then?",
        dedent("""\
        One channel to three, stride 2:

        ```
         1  2  3        channel 0    1  3
        -4  5  6        channel 1    0  0
                        channel 2    0  0
        ```"""),
        dedent("""\
        ```
        x     <- every stride-th row and column              # (N, C, H', W')
        zeros <- of shape (N, c_out - C, H', W')
        return both, one after the other along axis 1
        ```
        `F.pad(x, (left, right, top, bottom, front, back))` does the second and third line at once."""),
        "The shortcut of a strided block has to end with the shape of its body, and the body's 3×3 windows, at stride "
        "2 and with padding 1, lie around the pixels 0, 2, 4, …. Those are the pixels that the shortcut keeps.",
    ])


# ---------------------------------------------------------------------------- basic_block

class BasicBlock(nn.Module):
    """Oracle: the body as a list of functions, the shortcut as a convolution with a fixed weight."""

    bias, padding = False, 1  # what the mistakes switch
    strides = (True, False)

    def __init__(self, c_in, c_out, stride=1, residual=True):
        super().__init__()
        first, second = (stride if used else 1 for used in self.strides)
        self.body = nn.ModuleList([
            nn.Conv2d(c_in, c_out, 3, first, self.padding, bias=self.bias), nn.BatchNorm2d(c_out),
            nn.Conv2d(c_out, c_out, 3, second, self.padding, bias=self.bias), nn.BatchNorm2d(c_out)])
        self.c_out, self.stride, self.residual = c_out, stride, residual

    def skip(self, x):
        return zero_shortcut(x, self.c_out, self.stride)

    def between(self, h):
        return F.relu(h)

    def join(self, y, x):
        """What the block gives, from the output of its body and its input."""
        return F.relu(y + self.skip(x) if self.residual else y)

    def forward(self, x):
        conv1, norm1, conv2, norm2 = self.body
        return self.join(norm2(conv2(self.between(norm1(conv1(x))))), x)


class BlockInTwoHalves(nn.Module):
    """The same as two halves in Sequential."""

    def __init__(self, c_in, c_out, stride=1, residual=True):
        super().__init__()
        self.halves = nn.Sequential(
            nn.Sequential(nn.Conv2d(c_in, c_out, kernel_size=3, stride=stride, padding=1, bias=False),
                          nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)),
            nn.Sequential(nn.Conv2d(c_out, c_out, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(c_out)))
        self.extra, self.stride, self.residual = c_out - c_in, stride, residual

    def forward(self, x):
        y = self.halves(x)
        if self.residual:
            y += F.pad(x[:, :, ::self.stride, ::self.stride], [0, 0, 0, 0, 0, self.extra])
        return torch.clamp(y, min=0)


class BlockByParts(nn.Module):
    """The same, adding to the first channels only."""

    def __init__(self, c_in, c_out, stride=1, residual=True):
        super().__init__()
        self.residual, self.stride, self.c_in = residual, stride, c_in
        self.conv_a, self.conv_b = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.Conv2d(
            c_out, c_out, 3, 1, 1, bias=False)
        self.norm_a, self.norm_b = nn.BatchNorm2d(c_out), nn.BatchNorm2d(c_out)

    def forward(self, x):
        skip = x[..., ::self.stride, ::self.stride]
        x = self.norm_a(self.conv_a(x)).relu()
        x = self.norm_b(self.conv_b(x))
        if self.residual:
            x = torch.cat([x[:, :self.c_in] + skip, x[:, self.c_in:]], dim=1)
        return x.relu()


def _block(**changes):
    """A mistake: the oracle with attributes or methods in their place."""
    return type("Block", (BasicBlock,), changes)


class NormAfterAddition(BasicBlock):
    def forward(self, x):
        conv1, norm1, conv2, norm2 = self.body
        y = conv2(F.relu(norm1(conv1(x))))
        return F.relu(norm2(y + self.skip(x) if self.residual else y))


class SkipFromTheMiddle(BasicBlock):
    def forward(self, x):
        conv1, norm1, conv2, norm2 = self.body
        h = F.relu(norm1(conv1(x)))
        y = norm2(conv2(h))
        return F.relu(y + h if self.residual else y)


class MadeInAnotherOrder(BasicBlock):
    def __init__(self, c_in, c_out, stride=1, residual=True):
        super().__init__(c_in, c_out, stride, residual)
        self.body = nn.ModuleList(reversed(self.body))

    def forward(self, x):
        norm2, conv2, norm1, conv1 = self.body
        return self.join(norm2(conv2(F.relu(norm1(conv1(x))))), x)


class OneNorm(BasicBlock):
    def __init__(self, c_in, c_out, stride=1, residual=True):
        super().__init__(c_in, c_out, stride, residual)
        self.body[3] = self.body[1]


class NoSecondNorm(BasicBlock):
    def __init__(self, c_in, c_out, stride=1, residual=True):
        super().__init__(c_in, c_out, stride, residual)
        self.body[3] = nn.Identity()


class Projected(BasicBlock):
    def __init__(self, c_in, c_out, stride=1, residual=True):
        super().__init__(c_in, c_out, stride, residual)
        self.projection = nn.Identity()
        if residual and (c_in != c_out or stride != 1):
            self.projection = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def skip(self, x):
        return self.projection(x)


class AddedInPlace(BasicBlock):
    def join(self, y, x):
        if self.residual and x.shape == y.shape:
            x += y
            return F.relu(x)
        return super().join(y, x)


def block_probe(c_in, c_out, stride, residual, x, dy=None, mode="eval", part=""):
    steps = [("layers", {"input_size": x.shape}), ("count_parameters", {}), ("set_weights", {"seed": c_out}),
             (mode, {}), ("forward", {"x": x})]
    if dy is not None:
        steps.append(("gradient", {"x2": x, "dy": dy}))
    return call(c_in, c_out, stride, residual, part=part, steps=steps, device="cpu")


PLAIN, RESIDUAL = "plain", "residual"


def random_block(rng):
    c_in, stride, residual = int(rng.integers(1, 4)), int(rng.integers(1, 3)), bool(rng.random() < 0.75)
    c_out, seed = c_in + int(rng.integers(0, 3)), int(rng.integers(1 << 30))
    h, w = int(rng.integers(2, 6)), int(rng.integers(3, 6))
    return block_probe(c_in, c_out, stride, residual, quarters(seed, 2, c_in, h, w),
                       quarters(seed + 1, 2, c_out, -(-h // stride), -(-w // stride)),
                       str(rng.choice(["train", "eval"])), RESIDUAL if residual else PLAIN)


BASIC_BLOCK = Exercise(
    id="basic_block", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=BasicBlock,
    # The first is large enough for a body without padding; those with stride 2 for a second stride by mistake.
    probes=[block_probe(2, 3, 1, False, quarters(20, 1, 2, 5, 6), part=PLAIN),
            block_probe(1, 2, 2, False, quarters(27, 1, 1, 6, 5), part=PLAIN),
            block_probe(2, 2, 1, True, quarters(22, 1, 2, 2, 3), part=RESIDUAL),
            block_probe(2, 4, 2, True, quarters(23, 1, 2, 5, 4), quarters(24, 1, 4, 3, 2), part=RESIDUAL),
            block_probe(3, 3, 1, True, quarters(25, 2, 3, 2, 3), quarters(26, 2, 3, 2, 3), "train", RESIDUAL)],
    random=random_block,
    mistakes=[
        Mistake("relu_before_addition", "The last ReLU comes before the addition, so the body can only add, never "
                "take away. Add first, then apply ReLU.",  # 90
                _block(join=lambda self, y, x: F.relu(y) + self.skip(x) if self.residual else F.relu(y))),
        Mistake("relu_on_both_sides", "The body goes through a ReLU before the addition as well as after it. One ReLU, "
                "after the addition, is enough.",  # 90
                _block(join=lambda self, y, x: F.relu(F.relu(y) + self.skip(x)) if self.residual else F.relu(y))),
        Mistake("no_last_relu", "The ReLU at the end of the block is missing.",
                _block(join=lambda self, y, x: y + self.skip(x) if self.residual else y)),
        Mistake("no_last_relu_after_addition", "The plain block is right. After the addition the ReLU is missing.",
                _block(join=lambda self, y, x: y + self.skip(x) if self.residual else F.relu(y))),
        Mistake("no_relu_between", "There is no ReLU between the two convolutions.", _block(between=lambda self, h: h)),
        Mistake("skip_through_relu", "The skip goes through a ReLU before it is added: negative inputs are lost. "
                "Add the input as it is.",  # 92
                _block(skip=lambda self, x: zero_shortcut(F.relu(x), self.c_out, self.stride))),
        Mistake("relu_in_place", "A ReLU that works in place is applied to the input itself: the skip is no longer "
                "what came in, and the caller's tensor is changed too.",  # 92
                _block(skip=lambda self, x: zero_shortcut(F.relu_(x), self.c_out, self.stride))),
        Mistake("added_in_place", "The sum is stored in the input (`x += …`), which belongs to the caller. Write "
                "`x + …`.",  # 32, 92
                AddedInPlace),
        Mistake("never_added", "The input is never added: this is the plain block also for `residual=True`.",
                _block(join=lambda self, y, x: F.relu(y))),
        Mistake("always_added", "The input is added also for `residual=False`.",
                _block(join=lambda self, y, x: F.relu(y + self.skip(x)))),
        Mistake("skip_from_the_middle", "What is added is the output of the first half. The skip starts at the input "
                "of the block.",
                SkipFromTheMiddle),
        Mistake("subtracted", "The input is subtracted from the body's output. It is added.",
                _block(join=lambda self, y, x: F.relu(y - self.skip(x) if self.residual else y))),
        Mistake("norm_after_addition", "The second batch norm comes after the addition. It belongs to the body, before "
                "the addition.",
                NormAfterAddition),
        Mistake("stride_on_the_second", "The stride is in the second convolution. It belongs in the first, so that the "
                "second already works on the smaller maps.",
                _block(strides=(False, True))),
        Mistake("stride_on_both", "Both convolutions have the stride. It belongs in the first only; the second keeps "
                "the size.",
                _block(strides=(True, True))),
        Mistake("no_padding", "The convolutions have no padding, so that the maps shrink and the skip no longer fits.",
                _block(padding=0)),
        Mistake("biases", "The convolutions have biases. Batch norm subtracts the mean, and any bias with it: set "
                "`bias=False`.",  # 87
                _block(bias=True)),
        Mistake("made_in_another_order", "The second convolution is made before the first. The check sets weights in "
                "the order in which layers are made: make them in the order in which they are used.",
                MadeInAnotherOrder),
        Mistake("one_norm", "Both halves share one batch norm. Each has its own.", OneNorm),
        Mistake("no_second_norm", "The batch norm after the second convolution is missing.", NoSecondNorm),
        Mistake("projection", "The skip goes through a convolution with weights where the shape changes (option B). "
                "Here it is option A: subsample, and append channels of zeros.",  # 91
                Projected),
    ],
    alternatives=[BlockInTwoHalves, BlockByParts],
    hints=[
        "Which of the two halves of the body is followed by a ReLU at once, and what happens before the other ReLU?",
        dedent("""\
        ```
        x ──┬── conv 3×3, stride ── BN ── ReLU ── conv 3×3 ── BN ──(+)── ReLU ──
            │                                                       │
            └────────────────── zero_shortcut ──────────────────────┘
        ```
        For `residual=False` the lower path is not there; everything else is the same."""),
        dedent("""\
        ```
        __init__:  conv1 (c_in to c_out, stride), bn1, conv2 (c_out to c_out), bn2; remember c_out, stride, residual

        forward:   y <- relu(bn1(conv1(x)))           # (N, c_out, H', W')
                   y <- bn2(conv2(y))                 # the same shape
                   if residual: y <- y + zero_shortcut(x, c_out, stride)
                   return relu(y)
        ```"""),
        "The body shall be able to correct its input in both directions. So its last step must be able to give "
        "negative numbers: batch norm can, ReLU cannot. Hence the ReLU waits until after the addition.",
    ])


# ---------------------------------------------------------------------------- cifar_net

class CifarNet(nn.Module):
    """Oracle: blocks from a list of (c_in, c_out, stride)."""

    block = BasicBlock  # what the mistakes switch
    bias = True
    stem_kernel = 3

    def __init__(self, n, width=16, classes=10, residual=True):
        super().__init__()
        rows = self.rows(n, width)
        self.stem = nn.Conv2d(3, width, self.stem_kernel, padding=self.stem_kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.blocks = nn.ModuleList([self.block(*row, residual) for row in rows])
        self.out = nn.Linear(rows[-1][1], classes, bias=self.bias)

    def rows(self, n, width):
        widths = [width] * n + [2 * width] * n + [4 * width] * n
        return [(before, now, 1 + (before != now)) for before, now in zip([width, *widths], widths)]

    def begin(self, x):
        return F.relu(self.norm(self.stem(x)))

    def pool(self, x):
        return x.mean(dim=(2, 3))

    def end(self, x):
        return self.out(self.pool(x))

    def forward(self, x):
        x = self.begin(x)
        for block in self.blocks:
            x = block(x)
        return self.end(x)


class NetInStages(nn.Module):
    """The same by stages in Sequential."""

    def __init__(self, n, width=16, classes=10, residual=True):
        super().__init__()
        parts, channels = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()], width
        for stage in range(3):
            for i in range(n):
                stride = 2 if stage > 0 and i == 0 else 1
                parts.append(BlockInTwoHalves(channels, width * 2**stage, stride, residual))
                channels = width * 2**stage
        self.net = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))

    def forward(self, x):
        return self.net(x)


def net_by_function(n, width=16, classes=10, residual=True):
    def stage(c_in, c_out, stride):
        return nn.Sequential(BlockByParts(c_in, c_out, stride, residual),
                             *(BlockByParts(c_out, c_out, 1, residual) for _ in range(n - 1)))

    return nn.Sequential(nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
                         stage(width, width, 1), stage(width, 2 * width, 2), stage(2 * width, 4 * width, 2),
                         nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(1), nn.Linear(4 * width, classes))


def _net(**changes):
    """A mistake: the oracle with attributes or methods in their place."""
    return type("Net", (CifarNet,), changes)


class PlainList(CifarNet):
    def __init__(self, n, width=16, classes=10, residual=True):
        super().__init__(n, width, classes, residual)
        blocks = list(self.blocks)
        del self.blocks
        self.blocks = blocks


def _rows(widths=(1, 2, 4), strides=(1, 2, 2), later=(1, 1, 1), blocks=lambda n: n, last=False):
    """Rows of blocks: the widths, strides of the first block, and of the others, for each stage."""
    def rows(self, n, width):
        out, before = [], width
        for times, first, other in zip(widths, strides, later):
            many = blocks(n)
            at = many - 1 if last else 0
            for i in range(many):
                out.append((before, times * width, first if i == at else other))
                before = times * width
        return out

    return rows


def net_probe(n, width, classes, residual, x, dy=None, mode="eval"):
    steps = [("layers", {"input_size": x.shape}), ("count_parameters", {}), ("set_weights", {"seed": classes}),
             (mode, {}), ("forward", {"x": x})]
    if dy is not None:
        steps.append(("gradient", {"x2": x, "dy": dy}))
    return call(n, width, classes, residual, steps=steps, device="cpu")


def random_net(rng):
    n, width, classes = (int(rng.integers(1, 3)), int(rng.integers(1, 4)), int(rng.integers(2, 6)))
    seed, h, w = int(rng.integers(1 << 30)), int(rng.integers(4, 9)), int(rng.integers(5, 9))
    return net_probe(n, width, classes, bool(rng.integers(2)), quarters(seed, 2, 3, h, w), quarters(seed, 2, classes),
                     str(rng.choice(["train", "eval"])))


CIFAR_NET = Exercise(
    id="cifar_net", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=CifarNet,
    probes=[net_probe(1, 2, 3, True, quarters(30, 1, 3, 5, 6)),
            net_probe(2, 2, 5, True, quarters(31, 1, 3, 6, 5), quarters(32, 1, 5)),
            net_probe(1, 3, 4, False, quarters(33, 2, 3, 6, 7), mode="train"),
            call(3, steps=[("layers", {"input_size": (2, 3, 8, 6)}), ("count_parameters", {})], device="cpu")],
    random=random_net,
    mistakes=[
        Mistake("every_block_strides", "In stages 2 and 3 every block has stride 2. Only the first of a stage has it; "
                "the others keep the size.",
                _net(rows=_rows(later=(1, 2, 2)))),
        Mistake("first_stage_strides", "The first stage has stride 2 as well. It works at the size of the image.",
                _net(rows=_rows(strides=(2, 2, 2)))),
        Mistake("no_strides", "No block has stride 2. The first block of stages 2 and 3 does.",
                _net(rows=_rows(strides=(1, 1, 1)))),
        Mistake("last_block_strides", "The stride is in the last block of a stage. It is in the first.",
                _net(rows=_rows(last=True))),
        Mistake("widths_not_doubled", "All stages have the same number of channels. It doubles from stage to stage.",
                _net(rows=_rows(widths=(1, 1, 1)))),
        Mistake("doubled_too_early", "The first stage is already twice as wide as the first convolution. It has "
                "`width` channels.",
                _net(rows=_rows(widths=(2, 4, 8)))),
        Mistake("tripled", "The stages have width, 2·width and 3·width channels. Doubling gives 1, 2 and 4 times.",
                _net(rows=_rows(widths=(1, 2, 3)))),
        Mistake("two_n_blocks", "Each stage has 2n blocks. It has n blocks, each of two convolutions.",  # 88
                _net(rows=_rows(blocks=lambda n: 2 * n))),
        Mistake("one_block_more", "Each stage has one block too many.",  # 88
                _net(rows=_rows(blocks=lambda n: n + 1))),
        Mistake("four_stages", "There are four stages, as in the ResNets for ImageNet. Those for CIFAR-10 have three.",
                _net(rows=_rows((1, 2, 4, 8), (1, 2, 2, 2), (1, 1, 1, 1)))),
        Mistake("large_stem", "The first convolution is 7×7, as for ImageNet. For small images it is 3×3.",
                _net(stem_kernel=7)),
        Mistake("pool_after_the_stem", "A max pooling follows the first convolution, as for ImageNet. Small images "
                "have no pixels to give away: there is none here.",
                _net(begin=lambda self, x: F.max_pool2d(F.relu(self.norm(self.stem(x))), 3, 2, 1))),
        Mistake("stem_without_relu", "The ReLU after the first convolution is missing.",
                _net(begin=lambda self, x: self.norm(self.stem(x)))),
        Mistake("maximum_at_the_end", "The maximum over height and width is taken at the end. Take the mean.",
                _net(pool=lambda self, x: x.amax(dim=(2, 3)))),
        Mistake("softmax", "A softmax is applied at the end. The network gives logits: the loss has its own "
                "softmax.",  # 104
                _net(end=lambda self, x: self.out(self.pool(x)).softmax(1))),
        Mistake("relu_at_the_end", "A ReLU is applied to the logits.",
                _net(end=lambda self, x: F.relu(self.out(self.pool(x))))),
        Mistake("last_layer_without_bias", "The fully connected layer has no bias. It has one.", _net(bias=False)),
        Mistake("plain_list", "The blocks are kept in an ordinary list, where PyTorch does not find them: their "
                "weights are neither counted nor trained. Use `nn.Sequential` or `nn.ModuleList`.",  # 88
                PlainList),
        Mistake("residual_ignored", "`residual` is not passed on: with False it is still a residual network.",
                _net(block=staticmethod(lambda *row: BasicBlock(*row[:3], residual=True)))),
        Mistake("always_plain", "`residual` is not passed on: with True it is still a plain network.",
                _net(block=staticmethod(lambda *row: BasicBlock(*row[:3], residual=False)))),
        Mistake("projections", "Where the shape changes, the skip has weights of its own (option B). Here it is option "
                "A, which has none.",  # 91
                _net(block=Projected)),
    ],
    alternatives=[NetInStages, net_by_function],
    hints=[
        "For n = 1: how many blocks are there, and what are c_in, c_out and stride of each?",
        dedent("""\
        n = 2, width 16, an image of 32×32:

        ```
        stem      3 → 16          32×32
        stage 1  16 → 16, 16 → 16   32×32
        stage 2  16 → 32, 32 → 32   16×16    the first with stride 2
        stage 3  32 → 64, 64 → 64    8×8     the first with stride 2
        mean over 8×8, then 64 → classes
        ```"""),
        dedent("""\
        ```
        __init__:  stem (3 to width), bn
                   channels <- width, blocks <- empty list
                   for stage 0, 1, 2:
                       c_out <- width, 2 width, 4 width
                       n times: append a block from channels to c_out; channels <- c_out
                                stride 2 for the first one of stages 1 and 2, else 1
                   fc (channels to classes)
        forward:   relu(bn(stem(x))), the blocks, the mean over axes 2 and 3, fc
        ```
        Put the blocks into `nn.Sequential(*blocks)`: PyTorch does not find the weights of modules in a plain list."""),
        "Halving height and width while doubling the channels keeps the multiply-adds of a layer the same. Only the "
        "first block of a stage does so; the others leave the shape alone, and there the skip is the plain identity.",
    ])


# ---------------------------------------------------------------------------- chain_gradients

def chain_gradients(slopes):
    """Oracle: autograd through both chains."""
    results = []
    for step in (lambda x, a: a * x, lambda x, a: x + a * x):
        inputs = [torch.ones((), requires_grad=True)]
        for a in slopes:
            inputs.append(step(inputs[-1], a))
        results.append(torch.stack(torch.autograd.grad(inputs[-1], inputs[:-1])))
    return tuple(results)


def gradients_by_loop(slopes):
    plain, residual, p, r = [], [], 1.0, 1.0
    for a in reversed(slopes.tolist()):
        p, r = p * a, r * (1 + a)
        plain.insert(0, p)
        residual.insert(0, r)
    return torch.tensor(plain), torch.tensor(residual)


def gradients_by_prod(slopes):
    ends = range(len(slopes))
    return [torch.stack([factors[i:].prod() for i in ends]) for factors in (slopes, 1 + slopes)]


def _products(factors):
    """Products of the factors from each one on."""
    return factors.flip(0).cumprod(0).flip(0)


def _chain(plain=_products, residual=None):
    """A mistake: plain(slopes) and residual(slopes), by default plain(1 + slopes)."""
    return lambda slopes: (plain(slopes), (residual or (lambda a: plain(1 + a)))(slopes))


def random_chain(rng):
    return call(np.float32(rng.choice([-1.5, -0.75, -0.5, 0.25, 0.5, 1.25, 2], int(rng.integers(1, 6)))), device="cpu")


CHAIN_GRADIENTS = Exercise(
    id="chain_gradients", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=chain_gradients,
    probes=[call(np.float32([0.5, 2, -3]), device="cpu"), call(np.float32([0.25]), device="cpu"),
            call(np.float32([0.5, -0.25, 0.75, 1.5]), device="cpu"),
            call(strided(np.float32([-0.5, 0.25, 0.5, -1.5, 2])), device="cpu")],
    random=random_chain,
    mistakes=[
        Mistake("from_the_front", "These are the products from the first layer up to each one. The gradient comes from "
                "the other end: multiply from each layer to the last.",
                _chain(lambda a: a.cumprod(0))),
        Mistake("last_layer_first", "The right numbers, in the wrong order: the entry of layer 0 comes first.",
                _chain(lambda a: a.flip(0).cumprod(0))),
        Mistake("own_layer_missing", "The layer's own slope is missing: that is the gradient of its output. Wanted is "
                "that of its input.",
                _chain(lambda a: torch.cat([_products(a)[1:], torch.ones(1)]))),
        Mistake("own_slopes_only", "Each entry is the slope of one layer alone. The gradient goes through all layers "
                "after it too.",
                _chain(lambda a: a.clone())),
        Mistake("sums", "The slopes are added up. By the chain rule they are multiplied.",
                _chain(lambda a: a.flip(0).cumsum(0).flip(0))),
        Mistake("one_added_once", "For the residual chain 1 is added to the product of all slopes. Each layer has its "
                "own skip: every factor is 1 + a.",
                _chain(residual=lambda a: 1 + _products(a))),
        Mistake("first_order", "For the residual chain the result is 1 plus the sum of the slopes. The products of "
                "several slopes belong to it as well.",
                _chain(residual=lambda a: 1 + a.flip(0).cumsum(0).flip(0))),
        Mistake("residual_like_plain", "The residual chain gets the same gradients as the plain one. Its layers are "
                "x + a·x.",
                _chain(residual=_products)),
        Mistake("minus", "The residual chain has the factors 1 − a. The derivative of x + a·x is 1 + a.",
                _chain(residual=lambda a: _products(1 - a))),
        Mistake("sizes", "The gradients have lost their signs.",
                _chain(lambda a: _products(a).abs())),
        Mistake("exchanged", "Plain and residual are returned in the wrong order: plain comes first.",
                lambda slopes: (_products(1 + slopes), _products(slopes))),
        Mistake("whole_chain_only", "That is the gradient for the input of the whole chain alone. One entry for each "
                "layer is wanted.",
                _chain(lambda a: a.prod())),
    ],
    alternatives=[gradients_by_loop, gradients_by_prod],
    hints=[
        "The input of the last layer changes by a small amount. By how much does the output change, in a plain layer "
        "and in a residual one? And if the input of the layer before changes?",
        dedent("""\
        Slopes 0.5, 2, −3:

        ```
        layer           0                1          2
        plain      0.5·2·(-3) = -3    2·(-3) = -6   -3
        residual   1.5·3·(-2) = -9    3·(-2) = -6   -2
        ```"""),
        dedent("""\
        ```
        product <- 1
        for each layer, from the last to the first:
            product <- product times its factor           # a, or 1 + a
            keep product as the entry of this layer
        do so for both chains and return both             # (L,) and (L,)
        ```"""),
        "By the chain rule the derivatives of the layers multiply. That of x ↦ a·x is a, that of x ↦ x + a·x is 1 + a. "
        "Backpropagation computes these products from the end, each from the one before.",
    ])


# ---------------------------------------------------------------------------- pre_activation

def pre_activation(x, weight1, weight2):
    """Oracle: the convolutions as products of patches and matrices."""
    n, _, h, w = x.shape

    def conv(v, weight):
        return (weight.flatten(1) @ F.unfold(v, 3, padding=1)).reshape(n, len(weight), h, w)

    return x + conv(conv(x.clamp(min=0), weight1).clamp(min=0), weight2)


def pre_activation_by_names(x, weight1, weight2):
    out = F.conv2d(torch.relu(x), weight1, padding=1)
    out = F.conv2d(torch.relu_(out), weight2, padding=1)
    out += x
    return out


def pre_activation_by_modules(x, weight1, weight2):
    first = nn.Conv2d(x.shape[1], len(weight1), 3, padding=1, bias=False)
    second = nn.Conv2d(len(weight1), len(weight2), 3, padding=1, bias=False)
    first.weight.data, second.weight.data = weight1, weight2
    skip = x.clone()
    return skip + nn.Sequential(nn.ReLU(inplace=True), first, nn.ReLU(inplace=True), second)(x.clone())


def _unit(order, skip=lambda x: x, last=lambda y: y):
    """A mistake: the body in another order ("r" for ReLU, "1" and "2" for the convolutions), another skip or end."""
    def run(x, weight1, weight2):
        y = x
        for step in order:
            y = F.relu(y) if step == "r" else F.conv2d(y, weight1 if step == "1" else weight2, padding=1)
        return last(y + skip(x))

    return run


def unit_added_in_place(x, weight1, weight2):
    x += F.conv2d(F.relu(F.conv2d(F.relu(x), weight1, padding=1)), weight2, padding=1)
    return x


def unit_call(seed, n, c, m, h, w, x=None):
    x = single(seed, n, c, h, w) if x is None else x
    return call(x, single(seed + 1, m, c, 3, 3), single(seed + 2, c, m, 3, 3), device="cpu")


def random_unit(rng):
    n, c, m = (int(v) for v in rng.integers(1, 4, 3))
    return unit_call(int(rng.integers(1 << 30)), n, c, m, int(rng.integers(2, 5)), int(rng.integers(2, 5)))


def _middle(value):
    kernel = np.zeros((1, 1, 3, 3), np.float32)
    kernel[..., 1, 1] = value
    return kernel


PRE_ACTIVATION = Exercise(
    id="pre_activation", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=pre_activation,
    probes=[call(np.float32([[[[1, -2, 3]]]]), _middle(2), _middle(-1), device="cpu"),
            unit_call(41, 2, 2, 3, 4, 3), unit_call(44, 1, 3, 1, 2, 5),
            unit_call(47, 1, 2, 4, 3, 2, strided(single(47, 1, 2, 3, 2)))],
    random=random_unit,
    mistakes=[
        Mistake("added_in_place", "The sum is stored in x (`x += …`), which belongs to the caller. Write "
                "`x + …`.",  # 32
                unit_added_in_place),
        # A first ReLU that works in place gives the same, and the check says that x was changed.
        Mistake("skip_after_relu", "What is added is the input after the first ReLU. Keep the input itself for the "
                "skip.",  # 92
                _unit("r1r2", skip=F.relu)),
        Mistake("relu_after_addition", "A ReLU follows the addition, as in the basic block. Here the sum is handed on "
                "as it is.",  # 90
                _unit("r1r2", last=F.relu)),
        Mistake("relu_before_addition", "A third ReLU stands at the end of the body. The body ends with the second "
                "convolution.",  # 90
                _unit("r1r2r")),
        Mistake("post_activation", "Each ReLU comes after its convolution. Here it comes before.",  # 90
                _unit("1r2r")),
        Mistake("original_block", "This is the original order: convolution, ReLU, convolution, addition, ReLU. Here "
                "each convolution has its ReLU before it, and nothing follows the addition.",  # 90
                _unit("1r2", last=F.relu)),
        Mistake("first_relu_missing", "The ReLU before the first convolution is missing.", _unit("1r2")),
        Mistake("second_relu_missing", "The ReLU before the second convolution is missing.", _unit("r12")),
        Mistake("no_relu", "There is no ReLU at all.", _unit("12")),
        Mistake("no_skip", "The input is not added.", _unit("r1r2", skip=torch.zeros_like)),
        Mistake("subtracted", "The input is subtracted. It is added.", _unit("r1r2", skip=torch.neg)),
    ],
    alternatives=[pre_activation_by_names, pre_activation_by_modules],
    hints=[
        "Which tensor is added at the end? Is it still the same when you get there?",
        dedent("""\
        One channel, kernels that are 0 but for the middle, 2 in the first and −1 in the second:

        ```
        x                        1  -2   3
        ReLU                     1   0   3
        times 2                  2   0   6
        ReLU                     2   0   6
        times -1                -2   0  -6
        plus x                  -1  -2  -3
        ```"""),
        dedent("""\
        ```
        y <- relu of x, as a new tensor                # (N, C, H, W)
        y <- convolution with weight1, padding 1       # (N, M, H, W)
        y <- relu of y
        y <- convolution with weight2, padding 1       # (N, C, H, W)
        return x + y
        ```"""),
        "With every ReLU inside the body, nothing stands between one addition and the next: the input of any unit "
        "arrives at every later one unchanged, plus the bodies between. A ReLU that works in place destroys just that.",
    ])


# ---------------------------------------------------------------------------- bottleneck

class Bottleneck(nn.Module):
    """Oracle: the body as a list of (convolution, batch norm), the shortcut None for the identity."""

    bias, expansion, padding = False, 4, 1  # what the mistakes switch
    strides = (False, True, False)
    projection_kernel = 1
    projection_bias, projection_norm = False, True

    def __init__(self, c_in, width, stride=1):
        super().__init__()
        c_out = self.expansion * width
        a, b, c = (stride if used else 1 for used in self.strides)
        sizes = [(c_in, width, 1, a, 0), (width, width, 3, b, self.padding), (width, c_out, 1, c, 0)]
        self.convs = nn.ModuleList([nn.Conv2d(*size, bias=self.bias) for size in sizes])
        self.norms = nn.ModuleList([nn.BatchNorm2d(size[1]) for size in sizes])
        self.shortcut = self.make_shortcut(c_in, c_out, stride)
        self.stride = stride

    def project(self, c_in, c_out, stride):
        k = self.projection_kernel
        conv = nn.Conv2d(c_in, c_out, k, stride, k // 2, bias=self.projection_bias)
        return nn.Sequential(conv, nn.BatchNorm2d(c_out)) if self.projection_norm else conv

    def make_shortcut(self, c_in, c_out, stride):
        return None if (c_in, stride) == (c_out, 1) else self.project(c_in, c_out, stride)

    def skip(self, x):
        return x if self.shortcut is None else self.shortcut(x)

    relus = (F.relu, F.relu)

    def body(self, x):
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms)):
            x = norm(conv(x))
            x = self.relus[i](x) if i < 2 else x
        return x

    def join(self, y, x):
        return F.relu(y + self.skip(x))

    def forward(self, x):
        return self.join(self.body(x), x)


class BottleneckInLine(nn.Module):
    """The same with a layer a line."""

    def __init__(self, c_in, width, stride=1):
        super().__init__()
        self.reduce, self.bn1 = nn.Conv2d(c_in, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv, self.bn2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(width)
        self.expand, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.project = stride > 1 or c_in != 4 * width
        if self.project:
            self.conv4, self.bn4 = nn.Conv2d(c_in, 4 * width, 1, stride=stride, bias=False), nn.BatchNorm2d(4 * width)

    def forward(self, x):
        skip = self.bn4(self.conv4(x)) if self.project else x
        out = self.bn1(self.reduce(x)).relu_()
        out = self.bn2(self.conv(out)).relu_()
        out = self.bn3(self.expand(out))
        out += skip
        return out.relu_()


class BottleneckFromLists(nn.Module):
    """The same as two Sequentials, the shortcut made first."""

    def __init__(self, c_in, width, stride=1):
        super().__init__()
        self.shortcut = nn.Sequential()
        if stride != 1 or c_in != 4 * width:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))
        self.body = nn.Sequential(
            nn.Conv2d(c_in, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True),
            nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True),
            nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width))

    def forward(self, x):
        return torch.relu(self.shortcut(x) + self.body(x))


def _bottleneck(**changes):
    """A mistake: the oracle with attributes or methods in their place."""
    return type("Block", (Bottleneck,), changes)


class NoThirdNorm(Bottleneck):
    def __init__(self, c_in, width, stride=1):
        super().__init__(c_in, width, stride)
        self.norms[2] = nn.Identity()


def _added_to_the_skip(self, y, x):
    skip = self.skip(x)
    skip += y
    return F.relu(skip)


def bottleneck_probe(c_in, width, stride, x, dy=None, mode="eval", structure=False):
    # Where there is a projection, the order in which body and shortcut run is the student's choice.
    steps = [("layers", {"input_size": x.shape})] if structure else [("weight_shapes", {})]
    steps += [("count_parameters", {}), ("set_weights", {"seed": width}), (mode, {}), ("forward", {"x": x})]
    if dy is not None:
        steps.append(("gradient", {"x2": x, "dy": dy}))
    return call(c_in, width, stride, steps=steps, device="cpu")


def random_bottleneck(rng):
    width, stride, seed = int(rng.integers(2, 4)), int(rng.integers(1, 3)), int(rng.integers(1 << 30))
    c_in = int(rng.choice([1, 5, 4 * width, 4 * width]))
    h, w = int(rng.integers(2, 5)), int(rng.integers(2, 5))
    return bottleneck_probe(c_in, width, stride, quarters(seed, 2, c_in, h, w),
                            quarters(seed, 2, 4 * width, -(-h // stride), -(-w // stride)),
                            str(rng.choice(["train", "eval"])))


BOTTLENECK = Exercise(
    id="bottleneck", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=Bottleneck,
    # A projection that is missing shows without an exception where the skip broadcasts: from one channel, or where the
    # body gives 1×1; padding that is missing, where 3×3 becomes 1×1.
    probes=[bottleneck_probe(8, 2, 1, quarters(50, 1, 8, 3, 3), structure=True),
            bottleneck_probe(1, 2, 1, quarters(51, 1, 1, 3, 2)),
            bottleneck_probe(8, 2, 2, quarters(52, 1, 8, 2, 1)),
            bottleneck_probe(5, 2, 2, quarters(53, 1, 5, 3, 4), quarters(54, 1, 8, 2, 2)),
            bottleneck_probe(4, 1, 1, quarters(55, 2, 4, 2, 3), quarters(56, 2, 4, 2, 3), "train")],
    random=random_bottleneck,
    mistakes=[
        Mistake("stride_on_the_first", "The stride is in the first 1×1 convolution, as in the authors' networks. Here it "
                "is in the 3×3, as in most implementations today.",  # 89
                _bottleneck(strides=(True, False, False))),
        Mistake("stride_on_the_last", "The stride is in the last 1×1 convolution. Here it is in the 3×3.",  # 89
                _bottleneck(strides=(False, False, True))),
        Mistake("relu_before_addition", "The last ReLU comes before the addition, so the body can only add, never take "
                "away. Add first, then apply ReLU.",  # 90
                _bottleneck(join=lambda self, y, x: F.relu(y) + self.skip(x))),
        Mistake("relu_on_both_sides", "The body goes through a ReLU before the addition as well as after it. After the "
                "third convolution there is batch norm only.",  # 90
                _bottleneck(join=lambda self, y, x: F.relu(F.relu(y) + self.skip(x)))),
        Mistake("no_last_relu", "The ReLU after the addition is missing.",
                _bottleneck(join=lambda self, y, x: y + self.skip(x))),
        Mistake("no_first_relu", "The ReLU after the first convolution is missing.",
                _bottleneck(relus=(lambda h: h, F.relu))),
        Mistake("no_second_relu", "The ReLU after the 3×3 convolution is missing.",
                _bottleneck(relus=(F.relu, lambda h: h))),
        Mistake("no_projection", "The skip is never projected. Where the channels or the size change, a 1×1 "
                "convolution has to bring the input to the shape of the output.",  # 91
                _bottleneck(make_shortcut=lambda self, *shape: None)),
        Mistake("projection_for_channels_only", "With stride 2 the skip is projected only if the number of channels "
                "changes too. It must also be where only the size changes.",  # 91
                _bottleneck(make_shortcut=lambda self, c_in, c_out, stride:
                            None if c_in == c_out else self.project(c_in, c_out, stride))),
        Mistake("projection_for_strides_only", "The skip is projected only if the stride is not 1. It must also be "
                "where only the number of channels changes, as in the first block of ResNet-50.",  # 91
                _bottleneck(make_shortcut=lambda self, c_in, c_out, stride:
                            None if stride == 1 else self.project(c_in, c_out, stride))),
        Mistake("projection_everywhere", "The skip is projected also where input and output have the same shape. There "
                "it is the identity.",  # 88
                _bottleneck(make_shortcut=Bottleneck.project)),
        Mistake("projection_without_norm", "The projection has no batch norm.",  # 88
                _bottleneck(projection_norm=False)),
        Mistake("projection_with_bias", "The projection has a bias. Batch norm follows: set `bias=False`.",  # 87
                _bottleneck(projection_bias=True)),
        Mistake("projection_3x3", "The projection is 3×3. It is 1×1: it only has to change channels and size.",  # 88
                _bottleneck(projection_kernel=3)),
        Mistake("projection_through_relu", "The skip goes through a ReLU before it is added.",
                _bottleneck(skip=lambda self, x: F.relu(Bottleneck.skip(self, x)))),
        Mistake("added_in_place", "The sum is stored in the skip, which for an identity shortcut is the caller's own "
                "x. Write `y + skip`, or add to y.",  # 92
                _bottleneck(join=_added_to_the_skip)),
        Mistake("not_added", "The input is not added.", _bottleneck(join=lambda self, y, x: F.relu(y))),
        Mistake("biases", "The convolutions have biases. Batch norm subtracts the mean, and any bias with it: set "
                "`bias=False`.",  # 87
                _bottleneck(bias=True, projection_bias=True)),
        Mistake("no_padding", "The 3×3 convolution has no padding, so that the maps shrink and the skip no longer "
                "fits.",
                _bottleneck(padding=0)),
        Mistake("no_third_norm", "The batch norm after the third convolution is missing.", NoThirdNorm),
        Mistake("half_the_expansion", "The block gives 2·width channels. It gives 4·width.", _bottleneck(expansion=2)),
    ],
    alternatives=[BottleneckInLine, BottleneckFromLists],
    hints=[
        "Write down the shapes for c_in = 256, width = 64, stride 1, and for c_in = 256, width = 128, stride 2. In "
        "which of them can the input be added as it is?",
        dedent("""\
        ```
                             stride
        x ──┬── 1×1 ─ BN ─ ReLU ── 3×3 ─ BN ─ ReLU ── 1×1 ─ BN ──(+)── ReLU ──
            │  c_in → width      width → width     width → 4·width │
            └── identity, or 1×1 with the stride, c_in → 4·width, BN ──┘
        ```"""),
        dedent("""\
        ```
        __init__:  conv1 (1×1), bn1, conv2 (3×3, stride, padding 1), bn2, conv3 (1×1), bn3; all without bias
                   shortcut <- identity if stride is 1 and c_in is 4 width
                               else 1×1 convolution (stride, no bias), then batch norm
        forward:   y <- relu(bn1(conv1(x)))                  # (N, width, H, W)
                   y <- relu(bn2(conv2(y)))                  # (N, width, H', W')
                   y <- bn3(conv3(y))                        # (N, 4 width, H', W')
                   return relu(y + shortcut(x))
        ```"""),
        "The 3×3 convolution is the dear one: nine products for each pair of channels. Between two cheap 1×1 it works "
        "on a quarter of the channels. The shortcut must give the shape of the output, whatever changes.",
    ])


# ---------------------------------------------------------------------------- stage_parameters

class BasicB(nn.Module):
    """A basic block with projections (option B), for counting."""

    def __init__(self, c_in, width, stride):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(c_in, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width),
                                  nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))
        if stride != 1 or c_in != width:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))


def stage_parameters(counts, bottleneck, classes=1000):
    """Oracle: the parts of the network made on the meta device, and counted."""
    block, expansion = (Bottleneck, 4) if bottleneck else (BasicB, 1)
    with torch.device("meta"):
        parts, c_in = [nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64))], 64
        for stage, count in enumerate(counts):
            blocks = []
            for i in range(count):
                blocks.append(block(c_in, 64 << stage, 2 if stage and not i else 1))
                c_in = expansion * (64 << stage)
            parts.append(nn.Sequential(*blocks))
        parts.append(nn.Linear(c_in, classes))
    return tuple(sum(p.numel() for p in part.parameters()) for part in parts)


def _count(counts, bottleneck, classes=1000, *, conv=None, norm=2, last_bias=True, stem=7, colours=3,
           project=None, projection=None, inside=None, features=None, later=None, widths=None, first=None):
    """The table by formula, with one of its rules replaced."""
    conv = conv or (lambda c_in, c_out, k: c_in * c_out * k * k)

    def layer(c_in, c_out, k):
        return conv(c_in, c_out, k) + norm * c_out

    table, c_in = [layer(colours, 64, stem)], first or 64
    for stage, count in enumerate(counts):
        width = (widths or (lambda s: 64 * 2**s))(stage)
        c_out, total = (4 if bottleneck else 1) * width, 0
        for i in range(count):
            middle = inside(width) if inside else width
            total += (layer(c_in, middle, 1) + layer(middle, middle, 3) + layer(middle, c_out, 1) if bottleneck
                      else layer(c_in, width, 3) + layer(width, width, 3))
            if (project or (lambda a, b, s, i: a != b))(c_in, c_out, stage, i):
                total += (projection or (lambda a, b: layer(a, b, 1)))(c_in, c_out)
            c_in = later(width, c_out) if later else c_out
        table.append(total)
    c_in = features or c_out
    return (*table, c_in * classes + (classes if last_bias else 0))


def _counted(**rules):
    return lambda counts, bottleneck, classes=1000: _count(counts, bottleneck, classes, **rules)


def table_by_formula(counts, bottleneck, classes=1000):
    return _count(counts, bottleneck, classes)


def table_of_sums(counts, bottleneck, classes=1000):
    out = [3 * 64 * 49 + 128]
    for stage, n in enumerate(counts):
        w = 64 * 2**stage
        if bottleneck:
            first = (64 if stage == 0 else 2 * w)
            out.append(n * (13 * w * w + 12 * w) + first * w + (n - 1) * 4 * w * w + first * 4 * w + 8 * w)
        else:
            out.append(18 * n * w * w + 4 * n * w + (0 if stage == 0 else -9 * w * w // 2 + w * w // 2 + 2 * w))
    return [*out, (2048 if bottleneck else 512) * classes + classes]


def random_counts(rng):
    return call(tuple(int(v) for v in rng.integers(1, 7, 4)), bool(rng.integers(2)), int(rng.choice([5, 10, 100])))


STAGE_PARAMETERS = Exercise(
    id="stage_parameters", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=stage_parameters,
    probes=[call((1, 1, 1, 1), False), call((1, 2, 1, 3), True, 7), call((2, 2, 2, 2), False, 10),
            call((3, 4, 6, 3), False), call((3, 4, 6, 3), True)],
    random=random_counts,
    mistakes=[
        Mistake("no_norm", "The batch norms are not counted. Each learns a scale and a shift for every channel.",  # 88
                _counted(norm=0)),
        Mistake("half_norm", "Each batch norm is counted with one number a channel. It learns two: a scale and a "
                "shift.",  # 88
                _counted(norm=1)),
        Mistake("running_statistics", "Each batch norm is counted with four numbers a channel. Running mean and "
                "variance are not learned: two are.",  # 88
                _counted(norm=4)),
        Mistake("biases", "The convolutions are counted with biases. Batch norm follows each of them, so they have "
                "none.",  # 87, 88
                _counted(conv=lambda a, b, k: b * (a * k * k + 1))),
        Mistake("last_bias", "The fully connected layer is counted without its biases.",  # 88
                _counted(last_bias=False)),
        Mistake("no_projections", "The projections on the shortcuts are not counted.",  # 88, 91
                _counted(project=lambda *_: False)),
        Mistake("projections_without_norm", "The projections are counted without their batch norm.",  # 88
                _counted(projection=lambda a, b: a * b)),
        Mistake("projection_in_every_block", "A projection is counted in every block. Only the first of a stage has "
                "one; in the others the shape does not change.",  # 88
                _counted(project=lambda *_: True)),
        Mistake("projection_for_strides_only", "The first stage has no projection in your count, since its stride is "
                "1. With bottlenecks its first block goes from 64 to 256 channels, so it has one.",  # 91
                _counted(project=lambda a, b, s, i: s > 0 and i == 0)),
        Mistake("projection_in_every_stage", "A projection is counted in every stage. With basic blocks the first "
                "stage goes from 64 to 64 channels at stride 1: the identity.",  # 88
                _counted(project=lambda a, b, s, i: i == 0)),
        Mistake("projection_3x3", "The projections are counted as 3×3. They are 1×1.",  # 88
                _counted(projection=lambda a, b: 9 * a * b + 2 * b)),
        Mistake("width_into_the_next", "With bottlenecks each block is counted as if the one before gave `width` "
                "channels. It gives 4·width.",  # 88
                _counted(later=lambda width, c_out: width)),
        Mistake("stem_3x3", "The first convolution is counted as 3×3. It is 7×7.", _counted(stem=3)),
        Mistake("grey", "The first convolution is counted for one input channel. A colour image has 3.",  # 88
                _counted(colours=1)),
        Mistake("features_512", "The fully connected layer is counted with 512 inputs. With bottlenecks it has 2048.",
                _counted(features=512)),
        Mistake("blocks_as_one", "Each stage is counted with one block.",
                lambda counts, bottleneck, classes=1000: _count((1,) * 4, bottleneck, classes)),
        Mistake("total", "That is the total. Wanted are six numbers: stem, four stages, fully connected layer.",
                lambda counts, bottleneck, classes=1000: sum(_count(counts, bottleneck, classes))),
    ],
    alternatives=[table_by_formula, table_of_sums],
    hints=[
        "How many parameters has a k×k convolution from a to b channels, without bias, together with its batch norm? "
        "Everything but the last layer is made of these.",
        dedent("""\
        ```
        stem, 3 → 64, 7×7           3·64·49 + 2·64         = 9,536
        basic block 64 → 64         2·(64·64·9 + 2·64)     = 73,984
        basic block 64 → 128        64·128·9 + 2·128  +  128·128·9 + 2·128
                                    + projection 64·128 + 2·128           = 230,144
        ```"""),
        dedent("""\
        ```
        layer(a, b, k) = a·b·k·k + 2·b
        c_in <- 64
        for stage 0 … 3, width 64·2^stage, c_out width or 4·width:
            for each block:
                its two or three layers, the first of them from c_in
                one more 1×1 layer from c_in to c_out if they differ
                c_in <- c_out
        at the end c_in · classes + classes
        ```"""),
        "What a layer costs depends on what comes in. The blocks of a stage are alike except for the first, which "
        "takes what the stage before gives: it has another c_in, and there the skip needs a projection.",
    ])


# ---------------------------------------------------------------------------- dense_channels

def dense_channels(c_in, growth, layers):
    """Oracle: channels of tensors that are really concatenated."""
    x = torch.empty(1, c_in, 1, 1)
    widths = [x.shape[1]]
    for _ in range(layers):
        x = torch.cat([x, x.new_empty(1, growth, 1, 1)], dim=1)
        widths.append(x.shape[1])
    return tuple(widths)


def dense_by_formula(c_in, growth, layers):
    return tuple(c_in + growth * i for i in range(layers + 1))


def dense_by_sum(c_in, growth, layers):
    return list(accumulate([growth] * layers, initial=c_in))


def _dense(rule):
    return lambda c_in, growth, layers: tuple(rule(c_in, growth, i) for i in range(layers + 1))


DENSE_CHANNELS = Exercise(
    id="dense_channels", points=1, forbidden=FORBIDDEN_TORCH,
    oracle=dense_channels,
    probes=[call(4, 3, 2), call(64, 32, 6), call(5, 7, 4), call(16, 12, 1)],
    random=lambda rng: call(*(int(v) for v in rng.integers(2, 40, 2)), int(rng.integers(1, 9))),
    mistakes=[
        Mistake("doubling", "The number of channels doubles from layer to layer. Each layer adds `growth` channels, "
                "whatever it reads.",  # 94
                _dense(lambda c, g, i: c * 2**i)),
        Mistake("added", "The number of channels stays the same, as if outputs were added. They are "
                "concatenated.",  # 94
                _dense(lambda c, g, i: c)),
        Mistake("input_dropped", "Only the outputs of the layers are concatenated. The input of the block stays among "
                "them.",  # 94
                _dense(lambda c, g, i: g * i if i else c)),
        Mistake("last_output_only", "Each layer reads the block's input and the output of the one before it only. It "
                "reads the outputs of all layers before it.",  # 94
                _dense(lambda c, g, i: c + g if i else c)),
        Mistake("previous_only", "Each layer reads the output of the one before it only.",  # 94
                _dense(lambda c, g, i: g if i else c)),
        Mistake("growth_grows", "Layer i adds i times `growth` channels. Each adds `growth`.",  # 94
                _dense(lambda c, g, i: c + g * i * (i + 1) // 2)),
        Mistake("c_in_added", "Each layer adds as many channels as the block's input has. It adds `growth`.",  # 94
                _dense(lambda c, g, i: c * (i + 1))),
        Mistake("multiplied", "Each layer multiplies the number of channels by `growth`. It adds `growth`.",  # 94
                _dense(lambda c, g, i: c * g**i)),
        Mistake("one_late", "The first entry is what the first layer reads: the block's input alone.",
                _dense(lambda c, g, i: c + g * (i + 1))),
        Mistake("output_missing", "The last entry is missing: the channels after the last layer.",
                lambda c_in, growth, layers: dense_channels(c_in, growth, layers)[:-1]),
        Mistake("input_missing", "The first entry is missing: the channels that the first layer reads.",
                lambda c_in, growth, layers: dense_channels(c_in, growth, layers)[1:]),
        Mistake("output_only", "That is the number of channels after the last layer alone.",
                lambda c_in, growth, layers: dense_channels(c_in, growth, layers)[-1]),
    ],
    alternatives=[dense_by_formula, dense_by_sum],
    hints=[
        "After the first layer: which tensors lie side by side, and how many channels have they together?",
        dedent("""\
        4 channels, growth 3, two layers:

        ```
        4                layer 0 reads these
        4 + 3            layer 1 reads these
        4 + 3 + 3        what the block gives
        ```"""),
        dedent("""\
        ```
        channels <- c_in; keep it
        layers times: channels <- channels + growth; keep it
        return all that was kept                       # layers + 1 ints
        ```"""),
        "Nothing is ever added up or thrown away: whatever a layer gives stays, and every later layer reads it. So the "
        "number of channels grows by the same amount each time.",
    ])


EXERCISES = [IDENTITY_CONV, ZERO_SHORTCUT, BASIC_BLOCK, CIFAR_NET, CHAIN_GRADIENTS, PRE_ACTIVATION, BOTTLENECK,
             STAGE_PARAMETERS, DENSE_CHANNELS]
