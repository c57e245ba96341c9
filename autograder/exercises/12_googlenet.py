"""Exercises of notebook 12: the Inception module and its price, GoogLeNet and its auxiliary classifiers.

The oracles are torch's functional operations on weights of their own, or sums over layers written out one by one.
Mistakes are the oracle with one thing changed.
"""

import math
from functools import partial
from textwrap import dedent

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from autograder.exercise import FORBIDDEN_TORCH, Exercise, Mistake, call
from autograder.exercises.draws import ints, quarters
from cnnlab.probes import strided

whole = partial(ints, dtype=np.float32)  # PyTorch's own dtype; a check makes modules float64


# ---------------------------------------------------------------------------- naive_inception

def naive_inception(x, w1, w3, w5):
    """Oracle: convolutions as sums over shifted copies of the padded input, pooling as their maximum."""
    def conv(w):
        n, _, k, _ = w.shape
        padded = F.pad(x, [k // 2] * 4)
        height, width = x.shape[2:]
        return sum(torch.einsum("nchw,fc->nfhw", padded[:, :, i:i + height, j:j + width], w[:, :, i, j])
                   for i in range(k) for j in range(k))

    height, width = x.shape[2:]
    padded = F.pad(x, [1] * 4, value=-torch.inf)
    pooled = torch.stack([padded[:, :, i:i + height, j:j + width] for i in range(3) for j in range(3)]).amax(0)
    return torch.cat([conv(w1), conv(w3), conv(w5), pooled], 1)


def naive_with(x, w1, w3, w5, order=(0, 1, 2, 3), dim=1, pool=None, change=lambda branches: branches):
    pool = pool or (lambda x: F.max_pool2d(x, 3, 1, 1))
    branches = [F.conv2d(x, w1), F.conv2d(x, w3, padding=1), F.conv2d(x, w5, padding=2), pool(x)]
    branches = change(branches)
    return torch.cat([branches[i] for i in order], dim)


def naive_same(x, w1, w3, w5):
    out = [F.conv2d(x, w, padding="same") for w in (w1, w3, w5)]
    return torch.cat((*out, nn.MaxPool2d(3, stride=1, padding=1)(x)), dim=-3)


def naive_filled(x, w1, w3, w5):
    n1, n3, n5 = len(w1), len(w3), len(w5)
    out = x.new_zeros((len(x), n1 + n3 + n5 + x.shape[1], *x.shape[2:]))
    out[:, :n1] = F.conv2d(x, w1)
    out[:, n1:n1 + n3] = F.conv2d(x, w3, None, 1, 1)
    out[:, n1 + n3:n1 + n3 + n5] = F.conv2d(x, w5, None, 1, 2)
    out[:, n1 + n3 + n5:] = F.max_pool2d(x, 3, 1, 1)
    return out


def flipped(w):
    return w.flip(2, 3)


def random_naive(rng):
    n, c, n1, n3, n5 = (int(v) for v in rng.integers(1, 5, 5))
    return call(*(rng.integers(-4, 5, shape).astype(np.float32) for shape in [
        (n, c, int(rng.integers(5, 9)), int(rng.integers(5, 9))), (n1, c, 1, 1), (n3, c, 3, 3), (n5, c, 5, 5)]), device="cpu")


NAIVE_INCEPTION = Exercise(
    id="naive_inception", points=2,
    oracle=naive_inception,
    probes=[call(whole(0, 1, 1, 3, 4), whole(1, 1, 1, 1, 1), whole(2, 1, 1, 3, 3), whole(3, 1, 1, 5, 5), device="cpu"),
            call(whole(4, 2, 3, 6, 5), whole(5, 2, 3, 1, 1), whole(6, 4, 3, 3, 3), whole(7, 1, 3, 5, 5), device="cpu"),
            call(-1 - abs(whole(8, 3, 2, 5, 7)), whole(9, 2, 2, 1, 1), whole(10, 2, 2, 3, 3), whole(11, 2, 2, 5, 5), device="cpu"),
            call(strided(whole(12, 2, 2, 5, 6)), whole(13, 1, 2, 1, 1), whole(14, 3, 2, 3, 3), whole(15, 2, 2, 5, 5), device="cpu")],
    random=random_naive,
    mistakes=[
        Mistake("pooling_pads_with_zeros", "The pooling sees zeros around the input, and a zero wins wherever all values "
                "are negative. Padding for a maximum must never win.",  # 53
                lambda *a: naive_with(*a, pool=lambda x: F.max_pool2d(F.pad(x, [1] * 4), 3, 1))),
        Mistake("average_pooling", "The fourth branch averages. It takes the maximum of each window.",
                lambda *a: naive_with(*a, pool=lambda x: F.avg_pool2d(x, 3, 1, 1))),
        Mistake("average_pooling_of_what_is_there", "The fourth branch averages. It takes the maximum of each window.",
                lambda *a: naive_with(*a, pool=lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))),
        Mistake("not_pooled", "The last channels are the input itself: the pooling is missing.",
                lambda *a: naive_with(*a, pool=lambda x: x)),
        Mistake("pooling_left_out", "The channels of the pooling are missing. It is the fourth branch.",
                lambda *a: naive_with(*a, order=(0, 1, 2))),
        Mistake("pooling_first", "The branches are in another order: the pooling stands first. It comes last.",
                lambda *a: naive_with(*a, order=(3, 0, 1, 2))),
        Mistake("largest_first", "The branches are in another order: 5×5, 3×3, 1×1. It should be 1×1, 3×3, 5×5, pooling.",
                lambda *a: naive_with(*a, order=(2, 1, 0, 3))),
        Mistake("relu", "Negative values have become 0. This module has no ReLU.",
                lambda *a: torch.relu(naive_with(*a))),
        Mistake("flipped", "The filters are turned by 180°. `F.conv2d` does not turn them, and nor should you.",  # 1
                lambda x, w1, w3, w5: naive_with(x, w1, flipped(w3), flipped(w5))),
        Mistake("convolutions_of_the_pooled", "The convolutions get the pooled input. All four branches get `x`.",
                lambda x, *w: torch.cat([naive_with(F.max_pool2d(x, 3, 1, 1), *w, order=(0, 1, 2)), F.max_pool2d(x, 3, 1, 1)], 1)),
    ],
    alternatives=[naive_same, naive_filled],
    hints=[
        "All four outputs have N images of H × W places. Along which of the four axes may they differ, and be put one "
        "after the other?",
        dedent("""\
        Rows and columns that each filter loses without padding, and what brings them back:

        ```
        kernel       1×1   3×3   5×5   3×3 pooling at stride 1
        lost          0     2     4     2
        padding       0     1     2     1        on every side
        ```"""),
        dedent("""\
        ```
        one    <- convolution of x with w1                       # (N, n1, H, W)
        three  <- convolution of x with w3, padded by 1          # (N, n3, H, W)
        five   <- convolution of x with w5, padded by 2          # (N, n5, H, W)
        pooled <- maximum of 3×3 windows at stride 1, padded     # (N, C, H, W)
        result <- the four, joined along axis 1
        ```"""),
        "Each branch answers another question about the same place of the image, so what belongs together stays at the "
        "same height and width, and the answers become channels. `F.max_pool2d` pads with −∞, which can never be a "
        "maximum.",
    ],
    forbidden=FORBIDDEN_TORCH)


# ---------------------------------------------------------------------------- naive_cost, bottleneck_cost

def convolutions(layers, height, width):
    """Weights and multiply-adds of (k, c_in, c_out) convolutions that keep the size, one by one."""
    weights = adds = 0
    for k, c_in, c_out in layers:
        one = torch.empty(c_out, c_in, k, k, device="meta").numel()
        weights += one
        adds += one * torch.empty(height, width, device="meta").numel()
    return weights, adds


def naive_cost(c_in, n1, n3, n5, height, width):
    """Oracle: the convolutions, one by one."""
    return n1 + n3 + n5 + c_in, *convolutions([(1, c_in, n1), (3, c_in, n3), (5, c_in, n5)], height, width)


def naive_by_sums(c_in, n1, n3, n5, height, width):
    weights = sum(k * k * c_in * n for k, n in ((1, n1), (3, n3), (5, n5)))
    adds = sum(weights for _ in range(height)) * width
    return [sum((c_in, n1, n3, n5)), weights, adds]


def naive_by_dot(c_in, n1, n3, n5, height, width):
    weights = int(np.dot([1, 9, 25], [n1, n3, n5])) * c_in
    return c_in + n1 + n3 + n5, weights, height * weights * width


def cost_mistakes(right, wrong_kernels, wrong_branch, bias):
    """What is done wrong in both prices alike."""
    return [
        Mistake("kernels_not_squared", "A k×k filter has k·k weights for each channel; here it is counted with k.", wrong_kernels),
        wrong_branch,
        Mistake("biases_counted", "The biases are counted among the weights. They are left out here.",  # 88
                lambda *a: (right(*a)[0], right(*a)[1] + bias(*a), right(*a)[2])),
        Mistake("biases_multiplied", "The biases are counted, as weights and as multiply-adds. They are left out here.",
                lambda *a: (right(*a)[0], right(*a)[1] + bias(*a), right(*a)[2] + bias(*a) * a[-1] * a[-2])),
        Mistake("times_height_only", "The multiply-adds are those of one column: each weight is used at height × width "
                "places.", lambda *a: (*right(*a)[:2], right(*a)[1] * a[-2])),
        Mistake("flops", "These are twice the multiply-adds: a multiplication and its addition are counted as one here.",
                lambda *a: (*right(*a)[:2], 2 * right(*a)[2])),
        Mistake("one_place", "The multiply-adds equal the weights: that is the price of one place of the output. There are "
                "height × width.", lambda *a: (*right(*a)[:2], right(*a)[1])),
    ]


def random_naive_cost(rng):
    return call(*(int(v) for v in rng.integers(2, 40, 6)))


NAIVE_COST = Exercise(
    id="naive_cost", points=1,
    oracle=naive_cost,
    probes=[call(2, 3, 1, 1, 1, 1), call(5, 2, 3, 4, 7, 6), call(192, 64, 128, 32, 28, 28), call(1, 0, 0, 2, 3, 5)],
    random=random_naive_cost,
    mistakes=[
        *cost_mistakes(
            naive_cost,
            lambda c, n1, n3, n5, h, w: (n1 + n3 + n5 + c, c * (n1 + 3 * n3 + 5 * n5), c * (n1 + 3 * n3 + 5 * n5) * h * w),
            Mistake("pooling_forgotten", "The channels that pooling passes on are missing from the output: all of the input's.",
                    lambda *a: (naive_cost(*a)[0] - a[0], *naive_cost(*a)[1:])),
            lambda c, n1, n3, n5, h, w: n1 + n3 + n5),
        Mistake("pooling_learns", "The pooling is counted as a layer with weights. It learns nothing and multiplies nothing.",
                lambda c, n1, n3, n5, h, w: (n1 + n3 + n5 + c, naive_cost(c, n1, n3, n5, h, w)[1] + 9 * c * c,
                                             (naive_cost(c, n1, n3, n5, h, w)[1] + 9 * c * c) * h * w)),
        Mistake("one_input_channel", "Each filter is counted for one channel. It has k×k weights for every input channel.",
                lambda c, n1, n3, n5, h, w: (n1 + n3 + n5 + c, n1 + 9 * n3 + 25 * n5, (n1 + 9 * n3 + 25 * n5) * h * w)),
        Mistake("shrinking", "The multiply-adds are those of outputs that shrink by k − 1. All branches are padded to keep "
                "height and width.",
                lambda c, n1, n3, n5, h, w: (*naive_cost(c, n1, n3, n5, h, w)[:2], c * (
                    n1 * h * w + 9 * n3 * max(h - 2, 0) * max(w - 2, 0) + 25 * n5 * max(h - 4, 0) * max(w - 4, 0)))),
    ],
    alternatives=[naive_by_sums, naive_by_dot],
    hints=[
        "How many numbers are there in one filter that looks at a 5×5 window of an input with `c_in` channels?",
        dedent("""\
        Two channels in; three filters 1×1, one 3×3 and one 5×5; one place:

        ```
        1×1: 3 filters of 1·1·2 numbers =  6
        3×3: 1 filter  of 3·3·2         = 18
        5×5: 1 filter  of 5·5·2         = 50        weights: 74
        output: 3 + 1 + 1, and 2 from the pooling = 7 channels
        ```"""),
        dedent("""\
        ```
        weights <- over the three branches, the sum of k · k · c_in · n
        adds    <- weights times the number of places
        channels <- those of the three branches and of the pooling
        ```"""),
        "A convolution uses each of its weights once at every place of its output, so parameters and work differ by the "
        "factor height × width alone. That is why early layers, with their large maps, dominate the work, and late ones "
        "the parameters.",
    ],
    forbidden=FORBIDDEN_TORCH)


def bottleneck_cost(c_in, n1, r3, n3, r5, n5, proj, height, width):
    """Oracle: the six convolutions, one by one."""
    return n1 + n3 + n5 + proj, *convolutions(
        [(1, c_in, n1), (1, c_in, r3), (3, r3, n3), (1, c_in, r5), (5, r5, n5), (1, c_in, proj)], height, width)


def bottleneck_by_branches(c_in, n1, r3, n3, r5, n5, proj, height, width):
    branches = {"1": c_in * n1, "3": c_in * r3 + r3 * n3 * 9, "5": c_in * r5 + r5 * n5 * 25, "pool": c_in * proj}
    weights = sum(branches.values())
    return n1 + n3 + n5 + proj, weights, weights * (height * width)


def bottleneck_by_list(c_in, n1, r3, n3, r5, n5, proj, height, width):
    pairs = np.array([[c_in, n1, 1], [c_in, r3, 1], [r3, n3, 9], [c_in, r5, 1], [r5, n5, 25], [c_in, proj, 1]])
    weights = pairs.prod(axis=1).sum()
    return sum([n1, n3, n5, proj]), int(weights), int(weights) * height * width


def bottleneck_weights(change):
    """The price with other weights; `change` gets the arguments."""
    def run(*a):
        c, n1, r3, n3, r5, n5, proj, h, w = a
        weights = change(c, n1, r3, n3, r5, n5, proj)
        return n1 + n3 + n5 + proj, weights, weights * h * w

    return run


def random_bottleneck_cost(rng):
    return call(*(int(v) for v in rng.integers(2, 40, 9)))


BOTTLENECK_COST = Exercise(
    id="bottleneck_cost", points=2,
    oracle=bottleneck_cost,
    probes=[call(4, 3, 2, 5, 1, 2, 6, 1, 1), call(7, 2, 3, 4, 5, 6, 1, 3, 8), call(192, 64, 96, 128, 16, 32, 32, 28, 28)],
    random=random_bottleneck_cost,
    mistakes=[
        *cost_mistakes(
            bottleneck_cost,
            bottleneck_weights(lambda c, n1, r3, n3, r5, n5, p: c * (n1 + r3 + r5 + p) + 3 * r3 * n3 + 5 * r5 * n5),
            Mistake("input_passed_on", "The output is counted with all channels of the input. The 1×1 convolution after the "
                    "pooling leaves `proj` of them.",
                    lambda *a: (bottleneck_cost(*a)[0] - a[6] + a[0], *bottleneck_cost(*a)[1:])),
            lambda c, n1, r3, n3, r5, n5, p, h, w: n1 + r3 + n3 + r5 + n5 + p),
        Mistake("reductions_are_free", "The 1×1 convolutions before the 3×3 and the 5×5 are not counted.",
                bottleneck_weights(lambda c, n1, r3, n3, r5, n5, p: c * (n1 + p) + 9 * r3 * n3 + 25 * r5 * n5)),
        Mistake("projection_is_free", "The 1×1 convolution after the pooling is not counted.",
                bottleneck_weights(lambda c, n1, r3, n3, r5, n5, p: c * (n1 + r3 + r5) + 9 * r3 * n3 + 25 * r5 * n5)),
        Mistake("large_filters_on_the_input", "The 3×3 and 5×5 filters are counted on all channels of the input. They get "
                "what the 1×1 convolutions leave.",
                bottleneck_weights(lambda c, n1, r3, n3, r5, n5, p: c * (n1 + r3 + r5 + p) + 9 * c * n3 + 25 * c * n5)),
        Mistake("reductions_go_on", "The channels between the convolutions are counted in the output. They only lead to the "
                "3×3 and the 5×5.", lambda *a: (bottleneck_cost(*a)[0] + a[2] + a[4], *bottleneck_cost(*a)[1:])),
        Mistake("projection_before_output_is_forgotten", "The channels of the projection are missing from the output.",
                lambda *a: (bottleneck_cost(*a)[0] - a[6], *bottleneck_cost(*a)[1:])),
        Mistake("reductions_exchanged", "The channels before the 3×3 and before the 5×5 have changed places.",
                bottleneck_weights(lambda c, n1, r3, n3, r5, n5, p: c * (n1 + r3 + r5 + p) + 9 * r5 * n3 + 25 * r3 * n5)),
    ],
    alternatives=[bottleneck_by_branches, bottleneck_by_list],
    hints=[
        "Six convolutions have weights. For each: how many channels go in, how many come out, how large is its window?",
        dedent("""\
        ```
        branch      convolutions (in → out)
        1×1         c_in → n1
        3×3         c_in → r3,  then r3 → n3 with 3×3
        5×5         c_in → r5,  then r5 → n5 with 5×5
        pooling     c_in → proj
        ```"""),
        dedent("""\
        ```
        weights  <- the sum over the six of k · k · in · out
        adds     <- weights times height times width
        channels <- what the four branches end with
        ```"""),
        "The large windows multiply only `r3` or `r5` channels. What that saves depends on both numbers: the 1×1 "
        "convolution in front must itself be paid, and a bottleneck as wide as its input saves nothing.",
    ],
    forbidden=FORBIDDEN_TORCH)


# ---------------------------------------------------------------------------- Inception

class InceptionOracle(nn.Module):
    """Oracle: the four branches as sequences.  Class attributes are what mistakes change."""

    order = (0, 1, 2, 3)
    bias = True
    pool = staticmethod(lambda: nn.MaxPool2d(3, 1, 1))
    reduced_relu = projected_relu = output_relu = True

    def __init__(self, c_in, n1, r3, n3, r5, n5, proj):
        super().__init__()
        self.branches = nn.ModuleList(
            [self.conv(c_in, n1, 1), self.large(c_in, r3, n3, 3), self.large(c_in, r5, n5, 5), self.pooling(c_in, proj)])

    def conv(self, c_in, c_out, k, relu=None):
        relu = self.output_relu if relu is None else relu
        return nn.Sequential(nn.Conv2d(c_in, c_out, k, padding=k // 2, bias=self.bias), nn.ReLU() if relu else nn.Identity())

    def large(self, c_in, r, n, k):
        return nn.Sequential(self.conv(c_in, r, 1, self.reduced_relu), self.conv(r, n, k))

    def pooling(self, c_in, proj):
        return nn.Sequential(self.pool(), self.conv(c_in, proj, 1, self.projected_relu and self.output_relu))

    def forward(self, x):
        return torch.cat([self.branches[i](x) for i in self.order], 1)


class InceptionFunctional(nn.Module):
    def __init__(self, c_in, n1, r3, n3, r5, n5, proj):
        super().__init__()
        self.project = nn.Conv2d(c_in, proj, 1)
        self.large5, self.small5 = nn.Conv2d(r5, n5, 5, 1, "same"), nn.Conv2d(c_in, r5, 1)
        self.large3, self.small3 = nn.Conv2d(r3, n3, 3, 1, "same"), nn.Conv2d(c_in, r3, 1)
        self.plain = nn.Conv2d(c_in, n1, (1, 1))

    def forward(self, x):
        pooled = F.max_pool2d(F.pad(x, [1] * 4, value=float("-inf")), 3, 1)
        parts = [self.plain(x), self.large3(self.small3(x).relu()), self.large5(self.small5(x).clamp(min=0)), self.project(pooled)]
        return torch.cat(parts, dim=1).relu()


class InceptionParameters(InceptionFunctional):
    def forward(self, x):
        out = [F.relu(F.conv2d(x, self.plain.weight, self.plain.bias)),
               F.relu(self.large3(F.relu(self.small3(x)))), F.relu(self.large5(F.relu(self.small5(x)))),
               F.relu(self.project(nn.MaxPool2d(3, 1, 1)(x)))]
        return torch.concatenate(out, -3)


class InceptionLazy(nn.Module):
    """Layers in place of channel counts: the first input decides.  The branches are computed in another order."""

    def __init__(self, c_in, n1, r3, n3, r5, n5, proj, **more):
        super().__init__()
        self.branches = nn.ModuleDict({
            "pool": nn.Sequential(nn.MaxPool2d((3, 3), (1, 1), (1, 1)), nn.LazyConv2d(proj, 1)),
            "5": nn.Sequential(nn.LazyConv2d(r5, 1), nn.ReLU(inplace=True), nn.LazyConv2d(n5, 5, padding="same")),
            "3": nn.Sequential(nn.LazyConv2d(r3, 1), nn.ReLU(inplace=True), nn.LazyConv2d(n3, 3, padding=(1, 1))),
            "1": nn.LazyConv2d(n1, 1)})

    def forward(self, x):
        given = {name: branch(x) for name, branch in self.branches.items()}
        return torch.cat([given[name] for name in ("1", "3", "5", "pool")], 1).clamp_min(0.0)


class ProjectThenPool(InceptionOracle):
    def pooling(self, c_in, proj):
        return nn.Sequential(self.conv(c_in, proj, 1), self.pool())


class NoBottleneck(InceptionOracle):
    def large(self, c_in, r, n, k):
        return self.conv(c_in, n, k)


class PoolingPassedOn(InceptionOracle):
    def pooling(self, c_in, proj):
        return self.pool()


class SharedReduction(InceptionOracle):
    def __init__(self, c_in, n1, r3, n3, r5, n5, proj):
        super().__init__(c_in, n1, r3, n3, r3, n5, proj)
        self.branches[2][0] = self.branches[1][0]


class OneByOneAfter(InceptionOracle):
    def large(self, c_in, r, n, k):
        return nn.Sequential(self.conv(c_in, r, k), self.conv(r, n, 1))


class ReductionsExchanged(InceptionOracle):
    def __init__(self, c_in, n1, r3, n3, r5, n5, proj):
        super().__init__(c_in, n1, r5, n3, r3, n5, proj)


def variant(base, **changes):
    return type(base.__name__ + "Variant", (base,), changes)


def inception_probe(widths, size, seed, gradient=False):
    """The shape comes first: a lazy layer gets its weights from it.

    Where channels are missing, `gradient` only raises.  No two values of x are equal: of equal ones, the pooling may
    send the gradient to either.  Three in four are negative, so that a padding of zeros would show.
    """
    n = math.prod(size)
    x = (np.random.default_rng(seed).permutation(n) - 3 * n // 4).reshape(size) / 4
    out = widths[1] + widths[3] + widths[5] + widths[6]
    steps = [("output_shape", {"input_size": size}), ("count_parameters", {}), ("weight_shapes", {}), ("set_weights", {"seed": seed}),
             ("forward", {"x": x})]
    steps += [("gradient", {"x2": x, "dy": quarters(seed + 1, size[0], out, *size[2:])})] if gradient else []
    return call(*widths, steps=steps, device="cpu")


def random_inception(rng):
    widths = [int(v) for v in rng.permutation(np.arange(1, 8))]
    return inception_probe(widths, (int(rng.integers(1, 3)), widths[0], int(rng.integers(3, 6)), int(rng.integers(3, 6))),
                           int(rng.integers(1000)), gradient=True)


INCEPTION = Exercise(
    id="inception_module", points=4,
    oracle=InceptionOracle,
    probes=[inception_probe([1, 1, 2, 3, 5, 2, 4], (1, 1, 3, 4), 1), inception_probe([3, 2, 4, 5, 6, 7, 1], (1, 3, 5, 4), 2),
            inception_probe([2, 4, 1, 3, 2, 1, 5], (2, 2, 3, 4), 4, gradient=True)],
    random=random_inception,
    mistakes=[
        Mistake("no_relu_in_between", "There is no ReLU between the 1×1 convolutions and the 3×3 and 5×5. Every convolution "
                "has one after it.", variant(InceptionOracle, reduced_relu=False)),
        Mistake("no_relu_after_the_projection", "There is no ReLU after the last 1×1 convolution, the one after the pooling.",
                variant(InceptionOracle, projected_relu=False)),
        Mistake("no_relu_at_the_end", "The four branches end without a ReLU; only the ones in between are there.",
                variant(InceptionOracle, output_relu=False)),
        Mistake("no_bias", "The convolutions have no biases. There is no batch norm after them that would make up for it.",  # 88
                variant(InceptionOracle, bias=False)),
        Mistake("projected_before_the_pooling", "The 1×1 convolution of the fourth branch comes before the pooling. It comes "
                "after: the largest value of each input channel is found first.", ProjectThenPool),
        Mistake("average_pooling", "The fourth branch averages. It takes the maximum of each window.",
                variant(InceptionOracle, pool=staticmethod(lambda: nn.AvgPool2d(3, 1, 1)))),
        Mistake("pooling_pads_with_zeros", "The pooling sees zeros around the input, and a zero wins wherever all values "
                "are negative. Padding for a maximum must never win.",  # 53
                variant(InceptionOracle, pool=staticmethod(lambda: nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, 1))))),
        Mistake("no_pooling", "The fourth branch does not pool: its 1×1 convolution gets the input itself.",
                variant(InceptionOracle, pool=staticmethod(nn.Identity))),
        Mistake("no_bottlenecks", "The 3×3 and 5×5 convolutions work on all channels of the input: the 1×1 convolutions in "
                "front of them are missing.", NoBottleneck),
        Mistake("no_projection", "The pooling passes on all its channels: the 1×1 convolution after it is missing.",
                PoolingPassedOn),
        Mistake("shared_reduction", "The 3×3 and the 5×5 branch share one 1×1 convolution. Each has its own, `r3` and `r5` "
                "channels wide.", SharedReduction),
        Mistake("one_by_one_after", "The 1×1 convolutions come after the large ones, which then work on all channels. They "
                "come before.", OneByOneAfter),
        Mistake("reductions_exchanged", "`r3` and `r5` have changed places.", ReductionsExchanged),
        Mistake("pooling_first", "The branches are concatenated in another order: the pooling stands first. It comes last.",
                variant(InceptionOracle, order=(3, 0, 1, 2))),
        Mistake("largest_first", "The branches are concatenated in another order: 5×5 before 3×3 before 1×1.",
                variant(InceptionOracle, order=(2, 1, 0, 3))),
    ],
    alternatives=[InceptionFunctional, InceptionParameters, InceptionLazy],
    hints=[
        "Six convolutions have parameters. Which get the input of the module, which the output of another, and which that "
        "of the pooling?",
        dedent("""\
        The shapes of the weights of `Inception(3, 2, 4, 5, 6, 7, 1)`:

        ```
        (2, 3, 1, 1)                      1×1
        (4, 3, 1, 1), then (5, 4, 3, 3)   3×3 after its bottleneck
        (6, 3, 1, 1), then (7, 6, 5, 5)   5×5 after its bottleneck
        (1, 3, 1, 1)                      after the pooling
        ```"""),
        dedent("""\
        ```
        __init__: six convolutions, padded by 0, 1 or 2 so that the size stays
        forward:  b1 <- relu of the 1×1 of x                                       # (N, n1, H, W)
                  b2 <- relu of the 3×3 of (relu of its 1×1 of x)                  # (N, n3, H, W)
                  b3 <- the same with 5×5                                          # (N, n5, H, W)
                  b4 <- relu of the 1×1 of (the largest of each 3×3 window of x)   # (N, proj, H, W)
                  join them along the channels
        ```"""),
        "The bottleneck is a layer like any other, with its own ReLU: without it, the 1×1 and the 3×3 would together be "
        "one linear map, a 3×3 convolution of low rank.",
    ],
    forbidden=FORBIDDEN_TORCH)


# ---------------------------------------------------------------------------- global_average_pool

def global_average_pool(x):
    """Oracle: torch's adaptive average pooling to one place."""
    return F.adaptive_avg_pool2d(x, 1)[:, :, 0, 0]


def average_by_loops(x):
    return torch.stack([torch.stack([m.sum() / m.numel() for m in image]) for image in x])


def average_by_einsum(x):
    return torch.einsum("nchw->nc", x) / (x.shape[2] * x.shape[3])


GLOBAL_AVERAGE_POOL = Exercise(
    id="global_average_pool", points=1,
    oracle=global_average_pool,
    probes=[call(np.float32([[[[1, 2], [3, 6]]]]), device="cpu"), call(whole(0, 3, 2, 4, 5), device="cpu"),
            call(whole(1, 1, 4, 2, 3), device="cpu"), call(strided(whole(2, 2, 3, 5, 1)), device="cpu"),
            call(whole(3, 2, 5, 1, 1), device="cpu")],
    random=lambda rng: call(rng.integers(-8, 9, [int(v) for v in rng.integers(1, 6, 4)]).astype(np.float32), device="cpu"),
    mistakes=[
        Mistake("maximum", "It takes the largest value of each map, not the mean.", lambda x: x.amax((2, 3))),
        Mistake("sum", "It adds up each map. Divide by the number of places.", lambda x: x.sum((2, 3))),
        Mistake("axes_kept", "Two axes of length 1 are left over. The result is (N, C), which a fully connected layer takes.",
                lambda x: x.mean((2, 3), keepdim=True)),
        Mistake("over_the_channels", "The mean is over the channels: it should be over the places, height and width.",
                lambda x: x.mean(1)),
        Mistake("over_everything_but_the_image", "There is one number for each image: the channels are averaged as well.",
                lambda x: x.mean((1, 2, 3))),
        Mistake("over_the_batch", "The images of the batch are averaged as well. Each image has its own means.",
                lambda x: x.mean((0, 2, 3))),
        Mistake("over_the_rows_only", "The mean is over the rows only; the columns are left.", lambda x: x.mean(2)),
        Mistake("over_the_columns_only", "The mean is over the columns only; the rows are left.", lambda x: x.mean(3)),
        Mistake("flattened", "The maps are flattened, nothing is averaged.", lambda x: x.flatten(1)),
        Mistake("median", "It takes the median of each map, not the mean.", lambda x: x.flatten(2).median(2).values),
        Mistake("divided_by_the_height", "The sums are divided by one side of the map only. A map has height × width places.",
                lambda x: x.sum((2, 3)) / x.shape[2]),
        Mistake("divided_by_the_width", "The sums are divided by the width alone. A map has height × width places.",
                lambda x: x.sum((2, 3)) / x.shape[3]),
    ],
    alternatives=[average_by_loops, average_by_einsum],
    hints=[
        "Which of the four axes should still be there afterwards?",
        dedent("""\
        ```
        one map     1 2        mean (1 + 2 + 3 + 6) / 4 = 3
                    3 6
        ```"""),
        "```\nresult <- the mean over the axes of height and width       # (N, C)\n```",
        "A map says where in the image its feature is; the mean keeps how much of it there is and forgets where. So the "
        "classifier needs one weight for each channel and class, whatever the size of the maps.",
    ],
    forbidden=FORBIDDEN_TORCH)


# ---------------------------------------------------------------------------- AuxiliaryHead

class HeadOracle(nn.Module):
    """Oracle: one sequence.  Class attributes are what mistakes change."""

    pool = staticmethod(lambda: nn.AvgPool2d(5, 3))
    side = 4
    conv_relu = hidden_relu = bias = True
    dropout = nn.Dropout
    drop_behind = "hidden"
    end = nn.Identity

    def __init__(self, c_in, num_classes, channels=128, hidden=1024, dropout=0.7):
        super().__init__()

        def drop(place):
            return self.dropout(dropout) if place == self.drop_behind else nn.Identity()

        self.steps = nn.Sequential(
            self.pool(), nn.Conv2d(c_in, channels, 1, bias=self.bias), nn.ReLU() if self.conv_relu else nn.Identity(),
            nn.Flatten(), drop("convolution"), nn.Linear(self.side ** 2 * channels, hidden),
            nn.ReLU() if self.hidden_relu else nn.Identity(), drop("hidden"), nn.Linear(hidden, num_classes), drop("logits"),
            self.end())

    def forward(self, x):
        return self.steps(x)


class HeadFunctional(nn.Module):
    def __init__(self, c_in, num_classes, channels=128, hidden=1024, dropout=0.7):
        super().__init__()
        self.out, self.fc, self.conv = nn.Linear(hidden, num_classes), nn.Linear(16 * channels, hidden), nn.Conv2d(c_in, channels, 1)
        self.p = dropout

    def forward(self, x):
        x = F.relu(self.conv(F.avg_pool2d(x, kernel_size=5, stride=3))).reshape(len(x), -1)
        return self.out(F.dropout(F.relu(self.fc(x)), self.p, self.training))


class HeadConvFirst(HeadFunctional):
    """A 1×1 convolution and an average commute, the ReLU after both; so do dropout and ReLU."""

    def forward(self, x):
        x = F.avg_pool2d(self.conv(x), 5, 3).clamp_min(0)
        x = self.fc(torch.flatten(x, start_dim=1))
        return self.out(nn.Dropout(self.p).train(self.training)(x).clamp_min(0))


class HeadLazy(nn.Sequential):
    def __init__(self, c_in, num_classes, channels=128, hidden=1024, dropout=0.7):
        super().__init__(nn.AvgPool2d(5, 3), nn.LazyConv2d(channels, 1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(hidden),
                         nn.ReLU(inplace=True), nn.Dropout(p=dropout), nn.LazyLinear(num_classes))


class AlwaysDrops(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        return F.dropout(x, self.p)  # training=True


class ScalesInEvaluation(AlwaysDrops):
    """Dropout that is not inverted, and scales in evaluation."""

    def forward(self, x):
        return x * (torch.rand_like(x) >= self.p) if self.training else x * (1 - self.p)


class NeverDrops(nn.Identity):
    def __init__(self, p):
        super().__init__()


class Keeps(nn.Dropout):
    """p taken for the share that is kept."""

    def __init__(self, p):
        super().__init__(1 - p)


class ReluThenPool(HeadFunctional):
    def forward(self, x):
        x = F.avg_pool2d(F.relu(self.conv(x)), 5, 3).flatten(1)
        return self.out(F.dropout(F.relu(self.fc(x)), self.p, self.training))


class ChannelsLast(HeadFunctional):
    def forward(self, x):
        x = F.relu(self.conv(F.avg_pool2d(x, 5, 3))).permute(0, 2, 3, 1).flatten(1)
        return self.out(F.dropout(F.relu(self.fc(x)), self.p, self.training))


class NoHidden(nn.Module):
    def __init__(self, c_in, num_classes, channels=128, hidden=1024, dropout=0.7):
        super().__init__()
        self.conv, self.out, self.drop = nn.Conv2d(c_in, channels, 1), nn.Linear(16 * channels, num_classes), nn.Dropout(dropout)

    def forward(self, x):
        return self.out(self.drop(F.relu(self.conv(F.avg_pool2d(x, 5, 3))).flatten(1)))


def head_probe(arguments, n, seed, mode="eval", **dropout):
    """In training dropout is 0 or 1 only: then it has no choice, and what it gives can be compared."""
    x = quarters(seed, n, arguments[0], 14, 14)
    return call(*arguments, **dropout, steps=[
        ("output_shape", {"input_size": x.shape}), ("count_parameters", {}), ("weight_shapes", {}), ("set_weights", {"seed": seed}),
        (mode, {}), ("forward", {"x": x})], device="cpu")


def random_head(rng):
    mode = [("eval", {}), ("train", {"dropout": 0.0}), ("train", {"dropout": 1.0})][rng.integers(3)]
    return head_probe([int(v) for v in rng.integers(1, 6, 4) + [0, 1, 1, 2]], int(rng.integers(1, 3)), int(rng.integers(1000)),
                      mode[0], **mode[1])


AUXILIARY_HEAD = Exercise(
    id="auxiliary_head", points=3,
    oracle=HeadOracle,
    probes=[head_probe((1, 2, 3, 5), 1, 1), head_probe((3, 4, 2, 7), 2, 2),
            head_probe((2, 3, 4, 6), 1, 3, "train", dropout=0.0), head_probe((2, 4, 3, 5), 2, 4, "train", dropout=1.0),
            call(2, 3, steps=[("output_shape", {"input_size": (1, 2, 14, 14)}), ("count_parameters", {}), ("weight_shapes", {})],
                 device="cpu")],
    random=random_head,
    mistakes=[
        Mistake("max_pooling", "It takes the maximum of each window. This pooling averages.",
                variant(HeadOracle, pool=staticmethod(lambda: nn.MaxPool2d(5, 3)))),
        Mistake("padded_pooling", "The pooling is padded, and the maps are 5×5 instead of 4×4.",
                variant(HeadOracle, pool=staticmethod(lambda: nn.AvgPool2d(5, 3, padding=1)), side=4)),
        Mistake("window_of_four", "The pooling windows are 4×4. They are 5×5, at stride 3: they overlap.",
                variant(HeadOracle, pool=staticmethod(lambda: nn.AvgPool2d(4, 3)))),
        Mistake("global_average", "The maps are averaged to one place each. Here 4×4 places are kept.",
                variant(HeadOracle, pool=staticmethod(lambda: nn.AdaptiveAvgPool2d(1)), side=1)),
        Mistake("no_relu_after_the_convolution", "There is no ReLU after the 1×1 convolution.", variant(HeadOracle, conv_relu=False)),
        Mistake("no_relu_after_the_hidden_layer", "There is no ReLU after the first fully connected layer.",
                variant(HeadOracle, hidden_relu=False)),
        Mistake("dropout_in_evaluation", "Two calls in evaluation mode would differ: dropout drops there too. "  # 102
                "`F.dropout` has to be told `training=self.training`; `nn.Dropout` knows by itself.",
                variant(HeadOracle, dropout=AlwaysDrops)),
        Mistake("dropout_scales_in_evaluation", "In evaluation the hidden values are multiplied by 0.3. PyTorch's dropout "  # 103
                "scales in training instead, and does nothing in evaluation.", variant(HeadOracle, dropout=ScalesInEvaluation)),
        Mistake("dropout_missing", "In evaluation it is right, but in training nothing is dropped, not even with `dropout=1`.",
                variant(HeadOracle, dropout=NeverDrops)),
        Mistake("dropout_rate_fixed", "In training it always drops 7 of 10 values, whatever `dropout` says.",
                variant(HeadOracle, dropout=lambda self, p: nn.Dropout(0.7))),
        Mistake("dropout_is_what_is_kept", "With `dropout=0` everything is dropped, with 1 nothing. PyTorch's p is the share that is "
                "dropped.", variant(HeadOracle, dropout=Keeps)),
        Mistake("dropout_one_layer_early", "Dropout stands before the first fully connected layer. It belongs after that and its "
                "ReLU.", variant(HeadOracle, drop_behind="convolution")),
        Mistake("dropout_on_the_logits", "The logits are dropped: with `dropout=1` all of them are 0 in training.",
                variant(HeadOracle, drop_behind="logits")),
        Mistake("softmax", "It returns probabilities. Return the logits: the loss has the softmax in it.",  # 104
                variant(HeadOracle, end=staticmethod(lambda: nn.Softmax(1)))),
        Mistake("relu_at_the_end", "There is a ReLU on the logits, which may be negative.", variant(HeadOracle, end=nn.ReLU)),
        Mistake("no_bias", "The 1×1 convolution has no bias.", variant(HeadOracle, bias=False)),
        Mistake("relu_before_the_pooling", "The convolution and its ReLU come before the pooling. An average of ReLUs is not "
                "the ReLU of an average.", ReluThenPool),
        Mistake("channels_last_when_flattened", "The values are flattened place by place. PyTorch's order is channel by "
                "channel: (N, C, H, W) as it lies.", ChannelsLast),  # 106
        Mistake("no_hidden_layer", "There is one fully connected layer. Two are wanted, the first to `hidden`.", NoHidden),
    ],
    alternatives=[HeadFunctional, HeadConvFirst, HeadLazy],
    hints=[
        "After the pooling there are 4×4 places. How many numbers does the first fully connected layer get for each image?",
        dedent("""\
        `AuxiliaryHead(1, 2, channels=3, hidden=5)` on one image:

        ```
        (1, 1, 14, 14)  -pooling->  (1, 1, 4, 4)  -1×1->  (1, 3, 4, 4)  -flatten->  (1, 48)  ->  (1, 5)  ->  (1, 2)
        ```"""),
        dedent("""\
        ```
        pool    <- average of 5×5 windows at stride 3          # (N, c_in, 4, 4)
        conv    <- relu of the 1×1 convolution                 # (N, channels, 4, 4)
        hidden  <- relu of a linear layer of the flattened     # (N, hidden)
        dropped <- dropout, active in training only
        logits  <- a linear layer                              # (N, num_classes)
        ```"""),
        "`nn.Dropout` is a module so that `net.eval()` reaches it: that call walks through all modules that are attributes "
        "of the network and tells them the mode.",
    ],
    forbidden=FORBIDDEN_TORCH)


# ---------------------------------------------------------------------------- googlenet_loss

def googlenet_loss(logits, aux1, aux2, labels, weight=0.3):
    """Oracle: -log of the softmax, written out."""
    def part(z):
        chosen = z[torch.arange(len(z)), labels]
        return (torch.logsumexp(z, 1) - chosen).mean()

    return part(logits) + weight * part(aux1) + weight * part(aux2)


def parts_of(logits, aux1, aux2, labels):
    return [F.cross_entropy(z, labels) for z in (logits, aux1, aux2)]


def loss_of(combine):
    def run(logits, aux1, aux2, labels, weight=0.3):
        return combine(*parts_of(logits, aux1, aux2, labels), weight)

    return run


def loss_by_nll(logits, aux1, aux2, labels, weight=0.3):
    total = F.nll_loss(F.log_softmax(logits, 1), labels)
    for z in (aux1, aux2):
        total = total + weight * F.nll_loss(F.log_softmax(z, dim=1), labels)
    return total


def loss_by_hand(logits, aux1, aux2, labels, weight=0.3):
    total = 0.0
    for factor, z in [(1.0, logits), (weight, aux1), (weight, aux2)]:
        p = torch.exp(z - z.max(dim=1, keepdim=True).values)
        p = p / p.sum(dim=1, keepdim=True)
        total += factor * -sum(torch.log(row[int(k)]) for row, k in zip(p, labels)) / len(labels)
    return total


def loss_call(rng, n, k, **kwargs):
    return call(*((rng.integers(-8, 9, (n, k)) / 4).astype(np.float32) for _ in range(3)), rng.integers(0, k, n), **kwargs,
                device="cpu")


GOOGLENET_LOSS = Exercise(
    id="googlenet_loss", points=2,
    oracle=googlenet_loss,
    probes=[call(np.float32([[0, 0]]), np.float32([[1, 0]]), np.float32([[0, 2]]), np.array([0]), device="cpu"),
            loss_call(np.random.default_rng(1), 3, 4), loss_call(np.random.default_rng(2), 2, 5, weight=0.5),
            loss_call(np.random.default_rng(3), 4, 3, weight=0.125)],
    random=lambda rng: loss_call(rng, int(rng.integers(1, 6)), int(rng.integers(2, 6)), weight=float(rng.integers(1, 8) / 8)),
    mistakes=[
        Mistake("all_weigh_the_same", "The three parts are simply added. The auxiliary ones count `weight` times.",
                loss_of(lambda main, a, b, weight: main + a + b)),
        Mistake("weight_fixed", "The weight is always 0.3, whatever is passed.", loss_of(lambda main, a, b, weight: main + 0.3 * (a + b))),
        Mistake("mean_of_the_heads", "The two auxiliary losses are averaged before they are weighted. Each is added with the "
                "full weight.", loss_of(lambda main, a, b, weight: main + weight * (a + b) / 2)),
        Mistake("main_weighted_too", "The whole sum is multiplied by the weight, the network's own loss too.",
                loss_of(lambda main, a, b, weight: weight * (main + a + b))),
        Mistake("weights_that_add_up_to_one", "The network's own loss is reduced to make the weights add up to 1. It counts "
                "in full.", loss_of(lambda main, a, b, weight: (1 - 2 * weight) * main + weight * (a + b))),
        Mistake("first_head_only", "The second auxiliary loss is missing.", loss_of(lambda main, a, b, weight: main + weight * a)),
        Mistake("heads_only", "The network's own loss is missing.", loss_of(lambda main, a, b, weight: weight * (a + b))),
        Mistake("no_heads", "The auxiliary losses are missing: this is the loss in evaluation.", loss_of(lambda main, a, b, weight: main)),
        Mistake("weight_on_one_head", "Only the first auxiliary loss is weighted: `weight * a + b` is not `weight * (a + b)`.",
                loss_of(lambda main, a, b, weight: main + weight * a + b)),
        Mistake("subtracted", "The auxiliary losses are subtracted: training would make the heads worse.",
                loss_of(lambda main, a, b, weight: main - weight * (a + b))),
        Mistake("summed_over_the_batch", "The losses of the examples are added up. Take their mean.",
                lambda logits, aux1, aux2, labels, weight=0.3: len(labels) * googlenet_loss(logits, aux1, aux2, labels, weight)),
        Mistake("softmax_before_the_loss", "The scores go through a softmax before a loss that contains one.",  # 104
                lambda logits, aux1, aux2, labels, weight=0.3: googlenet_loss(
                    *(z.softmax(1) for z in (logits, aux1, aux2)), labels, weight)),
        Mistake("logits_added", "The scores are added before one cross-entropy is taken. Each classifier has its own.",
                lambda logits, aux1, aux2, labels, weight=0.3: F.cross_entropy(logits + weight * (aux1 + aux2), labels)),
    ],
    alternatives=[loss_by_nll, loss_by_hand],
    hints=[
        "If both heads gave exactly the scores of the network, how many times its loss would the sum be?",
        dedent("""\
        One image of class 0, two classes:

        ```
        logits (0, 0)   cross-entropy  ln 2                 = 0.693
        aux1   (1, 0)                  ln(1 + e^−1)         = 0.313
        aux2   (0, 2)                  ln(1 + e^2)          = 2.127
        loss = 0.693 + 0.3 · (0.313 + 2.127)                = 1.425
        ```"""),
        "```\nmain, first, second <- cross-entropy of each with the labels\nloss <- main + weight times (first + second)\n```",
        "The heads are there to help the layers below them; what counts in the end is the network's own answer, so they "
        "weigh less. After training they are gone, and so is their part of the loss.",
    ],
    forbidden=FORBIDDEN_TORCH)


# ---------------------------------------------------------------------------- GoogLeNet

def oracle_stem(c_in, c1, c2, c3):
    return nn.Sequential(nn.Conv2d(c_in, c1, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(c1, c2, 1),
                         nn.ReLU(), nn.Conv2d(c2, c3, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True))


class GoogLeNetOracle(nn.Module):
    """Oracle: the maps as one chain, cut at the heads.  Class attributes are what mistakes change."""

    pool = staticmethod(lambda: nn.MaxPool2d(3, 2, ceil_mode=True))
    dropout, heads_in_evaluation = nn.Dropout, False
    made = staticmethod(HeadOracle)
    order = staticmethod(lambda logits, heads: (logits, *heads))
    average = staticmethod(lambda x: x.mean((2, 3)))
    end = nn.Identity
    bias = True

    def __init__(self, table, num_classes, widths, dropout=0.4, head=(128, 1024, 0.7)):
        super().__init__()
        c, chain = widths[-1], [oracle_stem(3, *widths)]
        self.pieces, self.heads = nn.ModuleList(), nn.ModuleList()
        for entry in table:
            if entry == "head":
                self.pieces.append(nn.Sequential(*chain))
                self.heads.append(self.made(c, num_classes, *head))
                chain = []
            elif entry == "pool":
                chain.append(self.pool())
            else:
                chain.append(InceptionOracle(c, *entry))
                c = entry[0] + entry[2] + entry[4] + entry[5]
        self.pieces.append(nn.Sequential(*chain))
        self.classify = nn.Sequential(self.dropout(dropout), nn.Linear(c, num_classes, bias=self.bias), self.end())

    def forward(self, x):
        heads = []
        for i, piece in enumerate(self.pieces):
            x = piece(x)
            if (self.training or self.heads_in_evaluation) and i < len(self.heads):
                heads.append(self.heads[i](x))
        logits = self.classify(self.average(x))
        return self.order(logits, heads) if self.training or self.heads_in_evaluation else logits


class GoogLeNetAlternative(nn.Module):
    def __init__(self, table, num_classes, widths, dropout=0.4, head=(128, 1024, 0.7)):
        super().__init__()
        self.stem, self.table, self.p, c = oracle_stem(3, *widths), table, dropout, widths[-1]
        self.parts = nn.ModuleDict()
        for i, entry in enumerate(table):
            if entry == "head":
                self.parts[f"part{i}"] = HeadFunctional(c, num_classes, *head)
            elif entry != "pool":
                self.parts[f"part{i}"] = InceptionFunctional(c, *entry)
                c = sum(entry[j] for j in (0, 2, 4, 5))
        self.fc = nn.Linear(c, num_classes)

    def forward(self, x):
        x, outputs = self.stem(x), []
        for i, entry in enumerate(self.table):
            if entry == "pool":
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            elif entry != "head":
                x = self.parts[f"part{i}"](x)
            elif self.training:
                outputs.append(self.parts[f"part{i}"](x))
        x = self.fc(F.dropout(F.adaptive_avg_pool2d(x, 1).flatten(1), self.p, self.training))
        return tuple([x, *outputs]) if self.training else x


class GoogLeNetByLists(GoogLeNetAlternative):
    def forward(self, x):
        kept, at_heads = [self.stem(x)], {}
        for i, entry in enumerate(self.table):
            if entry == "head":
                at_heads[f"part{i}"] = kept[-1]
                continue
            kept.append(nn.MaxPool2d(3, 2, ceil_mode=True)(kept[-1]) if entry == "pool" else self.parts[f"part{i}"](kept[-1]))
        logits = self.fc(nn.Dropout(self.p).train(self.training)(torch.einsum("nchw->nc", kept[-1]) / kept[-1][0, 0].numel()))
        return [logits, *(self.parts[name](maps) for name, maps in at_heads.items())] if self.training else logits


class ShortStem(GoogLeNetOracle):
    def __init__(self, table, num_classes, widths, dropout=0.4, head=(128, 1024, 0.7)):
        super().__init__(table, num_classes, widths, dropout, head)
        self.pieces[0][0] = self.pieces[0][0][:-1]
        for made in self.heads:
            made.steps[5] = nn.Linear(head[0] * 8 * 8, head[1])  # as it would have to be on maps of 28×28


class NoHeads(GoogLeNetOracle):
    def __init__(self, table, *args, **kwargs):
        super().__init__(tuple(e for e in table if e != "head"), *args, **kwargs)

    def forward(self, x):
        return self.classify(self.average(self.pieces[0](x)))


SMALL = ((2, 3, 4, 1, 2, 6), "pool", (3, 2, 5, 4, 1, 6))
WITH_HEADS = ((2, 3, 4, 1, 2, 6), "head", (3, 2, 5, 4, 1, 6), "head", "pool", (4, 2, 3, 1, 3, 5))


def net_probe(table, classes, widths, size, seed, mode="eval", **more):
    """In training dropout is 0 or 1 only, as above."""
    x = whole(seed, *size).astype(float)
    return call(table, classes, widths, **more, steps=[
        (mode, {}), ("output_shape", {"input_size": size}), ("count_parameters", {}), ("set_weights", {"seed": seed}),
        ("forward", {"x": x})], device="cpu")


def heads_probe(seed):
    """The smallest image of which the stem makes 14×14, in numbers of one digit each, for there are many of them."""
    size = (1, 3, 111, 111)
    x = np.random.default_rng(seed).integers(0, 3, size).astype(float)
    return call(WITH_HEADS, 5, (6, 4, 7), dropout=0.0, head=(9, 8, 0.0), steps=[
        ("output_shape", {"input_size": size}), ("count_parameters", {}), ("set_weights", {"seed": seed}), ("forward", {"x": x}), ("eval", {}), ("output_shape", {"input_size2": size})], device="cpu")


def random_net(rng):
    """No two weights of one shape, so that their order does not matter."""
    v = [int(n) for n in rng.permutation(np.arange(1, 7))]
    w = [int(n) for n in rng.permutation(np.arange(7, 13))]
    mode = [("eval", {}), ("train", {"dropout": 0.0})][rng.integers(2)]
    return net_probe((tuple(v), "pool", tuple(w)), int(rng.integers(2, 6)), (3, 4, 13), (2, 3, int(rng.integers(30, 50)), 33),
                     int(rng.integers(1000)), mode[0], **mode[1])


GOOGLENET = Exercise(
    id="googlenet", points=4,
    oracle=GoogLeNetOracle,
    probes=[net_probe(SMALL, 3, (4, 3, 5), (1, 3, 36, 25), 1),
            net_probe(((1, 2, 3, 4, 5, 6), (3, 1, 2, 2, 4, 5), "pool"), 4, (2, 5, 6), (1, 3, 33, 24), 2),
            net_probe(((3, 2, 1, 4, 5, 6),), 3, (2, 5, 7), (2, 3, 9, 7), 3, "train", dropout=1.0), heads_probe(4)],
    random=random_net,
    mistakes=[
        Mistake("heads_in_evaluation", "In evaluation the heads are computed too. `self.training` tells which mode it is.",
                variant(GoogLeNetOracle, heads_in_evaluation=True)),
        Mistake("no_heads", "There are no auxiliary classifiers. The entry \"head\" makes one, on the maps at that place.", NoHeads),
        Mistake("first_head_only", "In training the outputs are incomplete: each head of the table gives one.",
                variant(GoogLeNetOracle, order=staticmethod(lambda logits, heads: (logits, *heads[:1])))),
        Mistake("heads_before_the_logits", "In training the network's own logits come last. They come first, then those of the heads.",
                variant(GoogLeNetOracle, order=staticmethod(lambda logits, heads: (*heads, logits)))),
        Mistake("last_head_first", "The heads' outputs stand in reverse. The first head of the table comes first.",
                variant(GoogLeNetOracle, order=staticmethod(lambda logits, heads: (logits, *heads[::-1])))),
        Mistake("logits_only", "In training the logits come alone. There a tuple is wanted: the logits, then those of each head.",
                variant(GoogLeNetOracle, order=staticmethod(lambda logits, heads: logits))),
        Mistake("no_tuple_without_heads", "For a table without heads the logits come alone in training. There too a tuple is wanted, "
                "of one.", variant(GoogLeNetOracle, order=staticmethod(lambda logits, heads: (logits, *heads) if heads else logits))),
        Mistake("usual_heads", "All heads have 128 channels and 1024 hidden values: the argument `head` is not used.",
                variant(GoogLeNetOracle, made=staticmethod(lambda c, classes, *head: HeadOracle(c, classes, dropout=head[2])))),
        Mistake("pooling_rounds_down", "A pooling between the modules rounds its size down. With `ceil_mode=True` the last, "
                "incomplete window counts.", variant(GoogLeNetOracle, pool=staticmethod(lambda: nn.MaxPool2d(3, 2)))),
        Mistake("pooling_by_two", "A pooling between the modules has 2×2 windows. They are 3×3, at stride 2.",
                variant(GoogLeNetOracle, pool=staticmethod(lambda: nn.MaxPool2d(2, 2, ceil_mode=True)))),
        Mistake("average_pooling_in_between", "A pooling between the modules averages. It takes the maximum.",
                variant(GoogLeNetOracle, pool=staticmethod(lambda: nn.AvgPool2d(3, 2, ceil_mode=True)))),
        Mistake("maximum_at_the_end", "The maximum of each last map is taken. It should be the mean.",
                variant(GoogLeNetOracle, average=staticmethod(lambda x: x.amax((2, 3))))),
        Mistake("sum_at_the_end", "Each last map is added up. It should be the mean.",
                variant(GoogLeNetOracle, average=staticmethod(lambda x: x.sum((2, 3))))),
        Mistake("dropout_in_evaluation", "Dropout is active in evaluation too.", variant(GoogLeNetOracle, dropout=AlwaysDrops)),  # 102
        Mistake("dropout_scales_in_evaluation", "In evaluation the means are multiplied by 0.6. PyTorch's dropout scales in "
                "training instead.", variant(GoogLeNetOracle, dropout=ScalesInEvaluation)),  # 103
        Mistake("dropout_missing", "In evaluation it is right, but in training nothing is dropped, not even with `dropout=1`.",
                variant(GoogLeNetOracle, dropout=NeverDrops)),
        Mistake("dropout_rate_fixed", "In training it always drops 4 of 10 means, whatever `dropout` says.",
                variant(GoogLeNetOracle, dropout=lambda self, p: nn.Dropout(0.4))),
        Mistake("softmax", "It returns probabilities. Return the logits.",  # 104
                variant(GoogLeNetOracle, end=staticmethod(lambda: nn.Softmax(1)))),
        Mistake("no_bias", "The last layer has no bias.", variant(GoogLeNetOracle, bias=False)),  # 88
        Mistake("stem_without_its_last_pooling", "The maps are twice as large as they should be: the stem's last pooling is missing.",
                ShortStem),
    ],
    alternatives=[GoogLeNetAlternative, GoogLeNetByLists],
    hints=[
        "While you walk through the table: which number do you need for every entry, and which entries change it?",
        dedent("""\
        `table = ((2, 3, 4, 1, 2, 3), "pool", (3, 2, 5, 2, 1, 2))`, `widths = (4, 3, 5)`:

        ```
        entry                   channels before    after
        stem(3, 4, 3, 5)               3             5
        (2, 3, 4, 1, 2, 3)             5             2 + 4 + 2 + 3 = 11
        "pool"                        11            11
        (3, 2, 5, 2, 1, 2)            11             3 + 5 + 1 + 2 = 11
        mean, linear                  11             num_classes
        ```"""),
        dedent("""\
        ```
        __init__: c <- last of widths; for each entry of the table make a module (nn.ModuleList), and bring c up to date
        forward:  for each module in order:
                      a head: in training, keep what it gives; the maps stay
                      else:   maps <- module(maps)
                  logits <- linear(dropout(mean of each map))
                  in training (logits, head 1, head 2, …), else logits
        ```"""),
        "Only modules in an `nn.ModuleList` (or that are attributes) are found by `parameters()`, `to()` and `eval()`; in a "
        "plain list they would be invisible, and never be trained.",
    ],
    forbidden=FORBIDDEN_TORCH)


EXERCISES = [NAIVE_INCEPTION, NAIVE_COST, BOTTLENECK_COST, INCEPTION, GLOBAL_AVERAGE_POOL, AUXILIARY_HEAD, GOOGLENET_LOSS, GOOGLENET]
