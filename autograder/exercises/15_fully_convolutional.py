"""Exercises of notebook 15: classifiers as convolutions, the places of a map, up-sampling, skips, mIoU.

The oracles are torch's own functions (linear, interpolate, conv_transpose2d), pixels followed through layers, and
confusion matrices (Long, Shelhamer & Darrell, CVPR 2015; Dumoulin & Visin, 2016).
"""

import math
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


def whole(seed, *shape):
    """Whole numbers from -4 to 4, float32."""
    return np.random.default_rng([seed, *shape]).integers(-4, 5, shape).astype(np.float32)


# ---------------------------------------------------------------------------- as_convolution

class Filled(nn.Conv2d):
    """A convolution with given weights."""

    def __new__(cls, weight, bias=None, **settings):
        layer = nn.Conv2d(weight.shape[1] * settings.get("groups", 1), weight.shape[0], tuple(weight.shape[2:]),
                          bias=bias is not None, **settings)
        with torch.no_grad():
            layer.weight.copy_(weight)
            if bias is not None:
                layer.bias.copy_(bias)
        return layer


def as_convolution(weight, bias, shape):
    """Oracle: each weight put into its place by the index of the flattening."""
    c, h, w = shape
    kernel = torch.zeros(len(weight), c, h, w)
    for o, i, a, b in np.ndindex(*kernel.shape):
        kernel[o, i, a, b] = weight[o, (i * h + a) * w + b]
    return Filled(kernel, bias)


def convolution_by_view(weight, bias, shape):
    layer = nn.Conv2d(shape[0], weight.shape[0], kernel_size=shape[1:], stride=1, padding=0)
    layer.weight = nn.Parameter(weight.reshape(weight.shape[0], *shape).clone())
    layer.bias = nn.Parameter(bias.clone())
    return layer


def convolution_by_state(weight, bias, shape):
    layer = nn.Conv2d(shape[0], len(bias), (shape[1], shape[2]))
    layer.load_state_dict({"weight": weight.unflatten(1, shape), "bias": bias})
    return layer


def _kernel(arrange, **settings):
    """A mistake: arrange(weight, c, h, w) gives the kernels (out, c, h, w)."""
    def run(weight, bias, shape):
        return Filled(arrange(weight, *shape).contiguous(), bias, **settings)

    return run


def _right_kernel(weight, c, h, w):
    return weight.reshape(-1, c, h, w)


def _random_bias(weight, bias, shape):
    layer = nn.Conv2d(shape[0], len(weight), shape[1:])
    with torch.no_grad():
        layer.weight.copy_(weight.reshape(layer.weight.shape))
    return layer


def conv_probe(out, shape, seed, weight=None, bias=None, more=(1, 2)):
    weight = single(seed, out, math.prod(shape)) if weight is None else weight
    bias = single(seed + 1, out) if bias is None else bias
    x = single(seed + 2, 2 if out > 1 else 1, shape[0], shape[1] + more[0], shape[2] + more[1])
    return call(weight, bias, shape, steps=[("layers", {"input_size": x.shape}), ("forward", {"x": x})], device="cpu")


def random_convolution(rng):
    shape = tuple(int(v) for v in rng.integers(1, 5, 3))
    return conv_probe(int(rng.integers(1, 5)), shape, int(rng.integers(1 << 30)),
                      more=tuple(map(int, rng.integers(0, 3, 2))))


AS_CONVOLUTION = Exercise(
    id="as_convolution", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=as_convolution,
    probes=[conv_probe(1, (2, 1, 2), 1, np.float32([[1, 2, 3, -4]]), np.float32([0.5])), conv_probe(2, (3, 2, 4), 2),
            conv_probe(5, (2, 3, 3), 3, more=(2, 0)), conv_probe(3, (4, 1, 1), 4),
            conv_probe(2, (1, 3, 2), 5, strided(single(5, 2, 6)), more=(0, 1))],
    random=random_convolution,
    mistakes=[
        Mistake("channels_last", "The weights are taken pixel by pixel, with the channels of a pixel side by side. "
                "PyTorch flattens channel by channel: the first H·W weights of a row all belong to channel 0.",  # 106
                _kernel(lambda v, c, h, w: v.reshape(-1, h, w, c).permute(0, 3, 1, 2))),
        Mistake("by_columns", "The channels are right, but within a channel the weights are taken column by column. "
                "They go row by row.",  # 106, 3
                _kernel(lambda v, c, h, w: v.reshape(-1, c, w, h).transpose(2, 3))),
        Mistake("rows_first", "The weights are taken row by row, and in each row channel by channel. Each channel "
                "comes as a whole.",  # 106
                _kernel(lambda v, c, h, w: v.reshape(-1, h, c, w).transpose(1, 2))),
        Mistake("width_first", "The kernels have height and width exchanged: `shape` is (C, H, W).",  # 5
                _kernel(lambda v, c, h, w: v.reshape(-1, c, w, h))),
        Mistake("rotated", "The kernels are rotated by 180°. PyTorch's convolution does not flip, so the weights keep "
                "their places.",  # 1
                _kernel(lambda v, c, h, w: v.reshape(-1, c, h, w).flip(2, 3))),
        Mistake("outputs_taken_for_inputs", "The matrix is read along its columns: weights of different outputs are "
                "mixed in one filter. Each row of `weight` is one filter.",
                _kernel(lambda v, c, h, w: v.T.reshape(-1, c, h, w))),
        Mistake("no_bias", "The convolution has no bias. The linear layer has one for each output.",  # 23
                lambda weight, bias, shape: Filled(weight.reshape(-1, *shape))),
        Mistake("zero_bias", "The bias is 0. It is that of the linear layer.",  # 23
                lambda weight, bias, shape: Filled(weight.reshape(-1, *shape), torch.zeros(len(weight)))),
        Mistake("random_bias", "The weights are right, but the bias still has its random start.", _random_bias),
        Mistake("untouched", "The layer is as PyTorch made it: weights and bias are random.",
                lambda weight, bias, shape: nn.Conv2d(shape[0], len(weight), shape[1:])),
        Mistake("padded", "The maps are padded. Then there are windows that are not wholly inside, and more outputs "
                "than the linear layer has.", _kernel(_right_kernel, padding=1)),
        Mistake("stride_of_the_window", "The windows stand side by side: the stride is the size of the kernel. It "
                "is 1, so that every window of the map gets its scores.",  # 62
                lambda weight, bias, shape: Filled(weight.reshape(-1, *shape), bias, stride=tuple(shape[1:]))),
    ],
    alternatives=[convolution_by_view, convolution_by_state],
    hints=[
        "A row of `weight` has C·H·W numbers. In which order did `flatten` lay out the pixels that they belong to?",
        dedent("""\
        One output, maps of 2×1×2 (two channels, one row, two columns). The row of weights is `1 2 3 -4`:

        ```
        channel 0    1  2
        channel 1    3 -4
        ```"""),
        dedent("""\
        ```
        layer  <- Conv2d from C to out channels, with kernels of (H, W)
        weight <- the rows of `weight`, each as a volume       # (out, C·H·W) -> (out, C, H, W)
        bias   <- bias                                         # (out,)
        ```
        Write both into the layer in place, in a block `with torch.no_grad():`."""),
        "Both layers form the same sum of products. `flatten` and `reshape` never move a number, they only say where "
        "an axis ends; so undoing the one by the other brings each weight to its pixel.",
    ])


# ---------------------------------------------------------------------------- fully_conv_lenet

class FullyConvLeNet(nn.Module):
    """Oracle: kernels of the five layers from a list."""

    kernels, padding, bias = (5, 5, 5, 1, 1), 0, True  # what the mistakes switch
    relus, pooled = (True, True, True, True, False), (True, True, False, False, False)

    def __init__(self, c1=6, c3=16, c5=120, f6=84, classes=10):
        super().__init__()
        widths = [1, c1, c3, c5, f6, classes]
        self.convs = nn.ModuleList([nn.Conv2d(a, b, k, padding=self.padding, bias=self.bias)
                                    for a, b, k in zip(widths, widths[1:], self.kernels)])

    def pool(self, x):
        return F.max_pool2d(x, 2)

    def end(self, x):
        return x

    def forward(self, x):
        for conv, relu, pooled in zip(self.convs, self.relus, self.pooled):
            x = conv(x)
            x = F.relu(x) if relu else x
            x = self.pool(x) if pooled else x
        return self.end(x)


def lenet_in_sequence(c1=6, c3=16, c5=120, f6=84, classes=10):
    return nn.Sequential(nn.Conv2d(1, c1, 5), nn.ReLU(), nn.MaxPool2d(2, 2), nn.Conv2d(c1, c3, (5, 5)), nn.ReLU(),
                         nn.MaxPool2d(2), nn.Conv2d(c3, c5, 5), nn.ReLU(), nn.Conv2d(c5, f6, 1), nn.ReLU(),
                         nn.Conv2d(f6, classes, 1))


class LeNetPoolFirst(nn.Module):
    """The same with ReLU after pooling, which is the same for a maximum."""

    def __init__(self, c1=6, c3=16, c5=120, f6=84, classes=10):
        super().__init__()
        self.front = nn.Sequential(nn.Conv2d(1, c1, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(c1, c3, 5),
                                   nn.MaxPool2d(2), nn.ReLU())
        self.head = nn.ModuleList([nn.Conv2d(c3, c5, 5), nn.Conv2d(c5, f6, 1), nn.Conv2d(f6, classes, 1)])

    def forward(self, x):
        x = self.front(x)
        for layer in self.head[:2]:
            x = torch.clamp(layer(x), min=0)
        return self.head[2](x)


def _lenet(**changes):
    """A mistake: the oracle with attributes or methods in their place."""
    return type("Net", (FullyConvLeNet,), changes)


class F6OfFive(FullyConvLeNet):
    def __init__(self, c1=6, c3=16, c5=120, f6=84, classes=10):
        super().__init__(c1, c3, c5, f6, classes)
        self.convs[3] = nn.Conv2d(c5, f6, 5, padding=2)


class LinearHead(FullyConvLeNet):
    """The fully connected layers kept, applied to the mean over all windows."""

    def __init__(self, c1=6, c3=16, c5=120, f6=84, classes=10):
        super().__init__(c1, c3, c5, f6, classes)
        self.convs[3], self.convs[4] = nn.Linear(c5, f6), nn.Linear(f6, classes)

    def forward(self, x):
        c1, c3, c5, f6, out = self.convs
        for conv in (c1, c3):
            x = F.max_pool2d(conv(x).relu(), 2)
        return out(f6(c5(x).relu().mean((2, 3))).relu())


def lenet_probe(widths, size, images=1):
    x = quarters(sum(size), images, 1, *size)
    return call(*widths, steps=[("count_parameters", {}), ("layers", {"input_size": (1, 1, 33, 40)}),
                                ("set_weights", {"seed": widths[0]}), ("forward", {"x": x})], device="cpu")


def random_lenet(rng):
    widths = [int(v) for v in rng.permutation(np.arange(1, 8))[:5]]
    return lenet_probe(widths, tuple(int(v) for v in rng.integers(32, 44, 2)), int(rng.integers(1, 3)))


FULLY_CONV_LENET = Exercise(
    id="fully_conv_lenet", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=FullyConvLeNet,
    probes=[lenet_probe((3, 5, 4, 6, 2), (32, 32)), lenet_probe((4, 3, 6, 5, 2), (36, 33), 2),
            call(steps=[("count_parameters", {}), ("layers", {"input_size": (1, 1, 37, 48)})], device="cpu")],
    random=random_lenet,
    mistakes=[
        Mistake("padded", "The convolutions are padded. Here none is, so that each window is computed as the "
                "classifier would compute it.", _lenet(kernels=(5, 5, 5, 1, 1), padding=2)),
        Mistake("c5_of_one", "C5 is a 1×1 convolution. It reads maps of 5×5, as the fully connected layer did.",
                _lenet(kernels=(5, 5, 1, 1, 1))),
        Mistake("f6_of_five", "F6 is a 5×5 convolution. At each place it reads the 120 numbers of C5 there, and "
                "nothing else: 1×1.", F6OfFive),
        Mistake("three_by_three", "The kernels of C1, C3 and C5 are 3×3. They are 5×5.",
                _lenet(kernels=(3, 3, 3, 1, 1))),
        Mistake("no_relu_after_c5", "There is no ReLU after C5. It was there when C5 was a linear layer, and stays.",
                _lenet(relus=(True, True, False, True, False))),
        Mistake("no_relu_after_f6", "There is no ReLU after F6.", _lenet(relus=(True, True, True, False, False))),
        Mistake("no_relu_in_the_head", "There is no ReLU after C5 and F6. Without it the last three layers are one "
                "linear map.", _lenet(relus=(True, True, False, False, False))),
        Mistake("relu_at_the_end", "The logits go through a ReLU: negative scores are lost.",
                _lenet(relus=(True, True, True, True, True))),
        Mistake("softmax", "The output is probabilities. Return the logits.",  # 104
                _lenet(end=lambda self, x: x.softmax(1))),
        Mistake("average_pooling", "The poolings average. They take the maximum.",
                _lenet(pool=lambda self, x: F.avg_pool2d(x, 2))),
        Mistake("pooling_at_stride_one", "The poolings move by 1 pixel. They are 2×2 at stride 2.",  # 62
                _lenet(pool=lambda self, x: F.max_pool2d(x, 2, 1))),
        Mistake("pooling_rounds_up", "The poolings keep a last window that does not fit. They leave it out, as is the "
                "default.", _lenet(pool=lambda self, x: F.max_pool2d(x, 2, ceil_mode=True))),  # 71
        Mistake("averaged_over_places", "The scores are averaged over all places. Return the whole map, (N, classes, "
                "H', W').", _lenet(end=lambda self, x: x.mean((2, 3), keepdim=True))),
        Mistake("flattened", "The map of scores is flattened. Return it as (N, classes, H', W').",
                _lenet(end=lambda self, x: x.flatten(1))),
        Mistake("first_place_only", "Only the scores of the first window are returned. Return the whole map.",
                _lenet(end=lambda self, x: x[:, :, :1, :1])),
        Mistake("no_biases", "The convolutions have no biases.", _lenet(bias=False)),  # 88
        Mistake("linear_head", "F6 and the output are still linear layers, and see the mean of all places. As 1×1 "
                "convolutions they work at each place by itself.", LinearHead),
    ],
    alternatives=[lenet_in_sequence, LeNetPoolFirst],
    hints=[
        "How large are the maps that C5 reads in the classifier of one size, and how large are those that F6 reads "
        "after it?",
        dedent("""\
        An image of 36×32, higher by one step of the map, 4 pixels:

        ```
        C1  32×28   pool  16×14   C3  12×10   pool  6×5   C5  2×1   F6  2×1   output  2×1
        ```
        Two windows below one another, so two places."""),
        dedent("""\
        ```
        __init__:  c1, c3, c5 are 5×5 convolutions; f6 and the output are 1×1

        forward:   x <- pool(relu(c1(x)))
                   x <- pool(relu(c3(x)))             # (N, c3, h, w)
                   x <- relu(c5(x))                   # (N, c5, h - 4, w - 4)
                   x <- relu(f6(x))                   # the same size
                   return the output layer of x       # (N, classes, h - 4, w - 4)
        ```"""),
        "Nothing in the network needs to know the size of the image: a convolution is a rule for one window, and "
        "applies it to as many as there are. Only the flattening had to know.",
    ])


# ---------------------------------------------------------------------------- map_geometry

def map_geometry(size, layers):
    """Oracle: the first and last pixel that each place of an endless map sees, followed through the layers."""
    seen, zero, count = [(i, i) for i in range(-4000, size + 4000)], 4000, size     # place 0 is seen[zero]
    for k, s, p in layers:
        count = len(range(0, count + 2 * p - k + 1, s))
        first = (zero - p) % s
        zero = (zero - p - first) // s
        seen = [(seen[i][0], seen[i + k - 1][1]) for i in range(first, len(seen) - k + 1, s)]
    start, last = seen[zero]
    return count, seen[zero + 1][0] - start, last - start + 1, start


def geometry_by_formula(size, layers):
    """The count of places from the window, too: nothing is lost by flooring once instead of in every layer."""
    steps = [math.prod(s for _, s, _ in layers[:i]) for i in range(len(layers) + 1)]
    window = 1 + sum((k - 1) * step for (k, _, _), step in zip(layers, steps))
    start = -sum(p * step for (_, _, p), step in zip(layers, steps))
    return (size - 2 * start - window) // steps[-1] + 1, steps[-1], window, start


def geometry_backwards(size, layers):
    first, last, stride, count = 0, 0, 1, size
    for k, s, p in layers:
        count = math.floor((count + 2 * p - k) / s) + 1
    for k, s, p in reversed(layers):
        first, last, stride = first * s - p, last * s - p + k - 1, stride * s
    return [count, stride, last - first + 1, first]


def _geometry(count=lambda n, k, s, p: (n + 2 * p - k) // s + 1, window=lambda k, s, step: (k - 1) * step,
              start=lambda k, s, p, step: -p * step, stride=lambda step, s: step * s, begin=1, late=False):
    def run(size, layers):
        n, step, w, first = size, 1, begin, 0
        for k, s, p in layers:
            n = count(n, k, s, p)
            after = stride(step, s)
            w += window(k, s, after if late else step)
            first += start(k, s, p, after if late else step)
            step = after
        return n, step, w, first

    return run


def random_geometry(rng):
    layers = []
    for _ in range(int(rng.integers(1, 6))):
        k = int(rng.integers(1, 6))
        layers.append((k, int(rng.integers(1, 4)), int(rng.integers(0, k // 2 + 1))))
    return call(int(rng.integers(200, 400)), tuple(layers))


MAP_GEOMETRY = Exercise(
    id="map_geometry", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=map_geometry,
    probes=[call(7, ((3, 1, 1),)), call(12, ((2, 2, 0), (3, 1, 1))),
            call(40, ((5, 1, 0), (2, 2, 0), (5, 1, 0), (2, 2, 0))),
            call(64, ((7, 2, 3), (3, 2, 1), (3, 1, 1), (2, 3, 0))),
            call(50, ((3, 1, 1), (3, 2, 0), (4, 3, 2), (1, 2, 0), (3, 1, 0))), call(9, ())],
    random=random_geometry,
    mistakes=[
        Mistake("window_without_strides", "The windows are added up as if every layer were at stride 1. A layer's "
                "steps are those of its input: the product of all strides before it, in pixels.",  # 107
                _geometry(window=lambda k, s, step: k - 1)),
        Mistake("start_without_strides", "The paddings are added up as they are. A layer's padding counts in steps of "
                "its input, each of which is several pixels once there was a stride.",  # 107
                _geometry(start=lambda k, s, p, step: -p)),
        Mistake("own_stride_too", "Each layer's own stride is multiplied in before its kernel and padding are counted. "
                "It only concerns the layers after it.", _geometry(late=True)),  # 107
        Mistake("own_stride_only", "Kernel and padding are multiplied by the layer's own stride. It is the product of "
                "the strides before it.",
                _geometry(window=lambda k, s, step: (k - 1) * s, start=lambda k, s, p, step: -p * s)),
        Mistake("first_padding_only", "Only the padding of layers at stride 1 moves the start. Every padding does.",
                _geometry(start=lambda k, s, p, step: -p if step == 1 else 0)),
        Mistake("start_positive", "The start has the wrong sign: the first window begins *before* the image, at a "
                "negative pixel.", _geometry(start=lambda k, s, p, step: p * step)),
        Mistake("start_zero", "The start is 0 as if there were no padding.", _geometry(start=lambda k, s, p, step: 0)),
        Mistake("middle", "The start is the middle of the first window. It is the first pixel that the window sees.",
                lambda size, layers: (*map_geometry(size, layers)[:3],
                                      map_geometry(size, layers)[3] + map_geometry(size, layers)[2] // 2)),
        Mistake("window_from_the_kernels", "Each kernel adds k times the step. Its first pixel is there already: it "
                "adds k − 1.", _geometry(window=lambda k, s, step: k * step)),
        Mistake("window_from_zero", "The window is 1 too small: before the first layer a place sees one pixel, itself.",
                _geometry(begin=0)),
        Mistake("padding_in_the_window", "The window is made larger or smaller by the padding. What a place sees has "
                "nothing to do with padding; only where it begins does.",
                lambda size, layers: (lambda n, st, w, f: (n, st, w + 2 * f, f))(*map_geometry(size, layers))),
        Mistake("padded_once", "The padding is counted once in the number of places. It is on both sides.",  # 11
                _geometry(count=lambda n, k, s, p: (n + p - k) // s + 1)),
        Mistake("rounded_up", "Where windows do not fit, a place too many is counted. Round down.",  # 9
                _geometry(count=lambda n, k, s, p: -((k - n - 2 * p) // s) + 1)),
        Mistake("without_plus_one", "The number of places lacks the first window: + 1 in each layer.",  # 10
                _geometry(count=lambda n, k, s, p: (n + 2 * p - k) // s)),
        Mistake("strides_added", "The strides are added. Two layers of stride 2 take steps of 2·2 pixels.",  # 107
                _geometry(stride=lambda step, s: step + s - 1)),
        Mistake("last_stride", "The stride is that of the last layer. In pixels of the image it is the product of "
                "all.",  # 107
                lambda size, layers: (lambda n, st, w, f: (n, layers[-1][1] if layers else 1, w, f))(
                    *map_geometry(size, layers))),
    ],
    alternatives=[geometry_by_formula, geometry_backwards],
    hints=[
        "Two neighbours in the input of a layer: how many pixels of the image lie between them, and which layers "
        "decide that?",
        dedent("""\
        12 pixels, first 2×2 pooling at stride 2, then 3×3 with padding 1:

        ```
        pooling:   place 0 sees pixels 0, 1; place 1 sees 2, 3; ...          6 places, stride 2, window 2, start 0
        3×3:       place 0 sees places -1, 0, 1 of those: pixels -2 to 3     6 places, stride 2, window 6, start -2
        ```"""),
        dedent("""\
        ```
        count <- size; stride <- 1; window <- 1; start <- 0
        for (k, s, p) in layers:
            count  <- (count + 2 p - k) // s + 1
            window <- window + (k - 1) times the stride so far
            start  <- start - p times the stride so far
            stride <- stride times s
        ```"""),
        "Place 0 of a layer begins p places before place 0 of its input, and its window reaches k − 1 places further. "
        "A place of the input is `stride` pixels wide, where `stride` is the product over the layers *before*.",
    ])


# ---------------------------------------------------------------------------- mean_iou

def _confusion(predicted, labels, classes, ignore):
    counts = labels != ignore
    pairs = labels[counts].long() * classes + predicted[counts].long()
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes).double()


def mean_iou(predicted, labels, classes, ignore=255):
    """Oracle: by the confusion matrix, row the label, column what was predicted.

    Of float32, as a division of torch's counts is: the tolerance is that of float32 then, also for a float.
    """
    c = _confusion(predicted, labels, classes, ignore)
    union = c.sum(0) + c.sum(1) - c.diag()
    return (c.diag() / union)[union > 0].mean().float()


def iou_by_sets(predicted, labels, classes, ignore=255):
    pixels = {i for i, v in enumerate(labels.flatten().tolist()) if v != ignore}
    said, truth = predicted.flatten().tolist(), labels.flatten().tolist()
    ious = []
    for k in range(classes):
        a, b = {i for i in pixels if said[i] == k}, {i for i in pixels if truth[i] == k}
        if a | b:
            ious.append(len(a & b) / len(a | b))
    return np.mean(ious)


def iou_one_hot(predicted, labels, classes, ignore=255):
    mask = (labels != ignore)[..., None]
    a = F.one_hot(predicted, classes) * mask
    b = F.one_hot(torch.where(labels == ignore, torch.zeros_like(labels), labels), classes) * mask
    both, either = (a * b).sum((0, 1, 2)).double(), torch.maximum(a, b).sum((0, 1, 2))
    return float((both[either > 0] / either[either > 0]).mean())


def iou_in_float32(predicted, labels, classes, ignore=255):
    predicted, labels = predicted[labels != ignore], labels[labels != ignore]
    ious = [((predicted == k) & (labels == k)).sum() / ((predicted == k) | (labels == k)).sum() for k in range(classes)]
    return torch.stack(ious).nanmean().item()


def _iou(score=None, keep=None, absent=None, ignored=True):
    """A mistake: score(both, said, true, pixels) of a class; keep(k, said, true): which classes; absent: of others."""
    def run(predicted, labels, classes, ignore=255):
        counts = labels != ignore if ignored else torch.ones_like(labels, dtype=torch.bool)
        said, true = predicted[counts], labels[counts]
        values = []
        for k in range(classes):
            both, a, b = (float(v.sum()) for v in ((said == k) & (true == k), said == k, true == k))
            if (a + b > 0) if keep is None else keep(k, a, b):
                ratio = (lambda both, a, b, n: both / (a + b - both)) if score is None else score
                values.append(ratio(both, a, b, len(said)) if a + b else 0.0)
            elif absent is not None and a + b == 0:
                values.append(absent)
        return float(np.mean(values)) if values else 0.0

    return run


def _per_image(predicted, labels, classes, ignore=255):
    return float(np.mean([mean_iou(p, t, classes, ignore) for p, t in zip(predicted, labels) if (t != ignore).any()]))


def segmentation(seed, shape, classes, among=None, ignore=255, ignored=0.15, strided_labels=False):
    rng = np.random.default_rng([seed, *shape])
    among = list(range(classes)) if among is None else among
    labels = rng.choice(among, shape)
    predicted = np.where(rng.random(shape) < 0.6, labels, rng.integers(0, classes, shape))
    labels = np.where(rng.random(shape) < ignored, ignore, labels)
    return call(predicted, strided(labels) if strided_labels else labels, classes, ignore, device="cpu")


def random_segmentation(rng):
    classes = int(rng.integers(2, 7))
    among = [int(v) for v in rng.permutation(classes)[:int(rng.integers(1, classes + 1))]]
    shape = tuple(int(v) for v in rng.integers(2, 6, 3))
    return segmentation(int(rng.integers(1 << 30)), shape, classes, among, int(rng.choice([255, -1, 100])), 0.2)


def int64(values):
    return np.array(values, dtype=np.int64)


MEAN_IOU = Exercise(
    id="mean_iou", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=mean_iou,
    probes=[call(int64([[[0, 1, 1, 1]]]), int64([[[0, 0, 1, 1]]]), 2, device="cpu"),
            call(int64([[[0, 1, 1], [2, 2, 0]]]), int64([[[0, 0, 1], [0, 255, 0]]]), 4, device="cpu"),
            call(int64([[[1, 1], [2, 0]], [[3, 3], [1, 1]]]), int64([[[1, 1], [2, 2]], [[3, 0], [1, 255]]]), 5,
                 device="cpu"),
            segmentation(3, (3, 4, 5), 4, strided_labels=True), segmentation(4, (2, 5, 3), 6, [0, 2, 3], ignore=-1)],
    random=random_segmentation,
    mistakes=[
        Mistake("pixel_accuracy", "That is the share of right pixels over all classes together.",
                lambda p, t, classes, ignore=255: float((p == t)[t != ignore].double().mean())),
        Mistake("recall", "Each class is divided by the pixels of its label. Pixels that were wrongly claimed must "
                "count as well: divide by the union.",
                _iou(lambda both, a, b, n: both / b, keep=lambda k, a, b: b > 0)),
        Mistake("precision", "Each class is divided by the pixels that were predicted. Pixels that were missed must "
                "count as well: divide by the union.",
                _iou(lambda both, a, b, n: both / a, keep=lambda k, a, b: a > 0)),
        Mistake("union_counted_twice", "The union is taken as predicted plus labelled, so that pixels in both count "
                "twice.",
                _iou(lambda both, a, b, n: both / (a + b))),
        Mistake("dice", "That is the Dice coefficient, twice the intersection over the sum of both. The IoU divides "
                "the intersection by the union.", _iou(lambda both, a, b, n: 2 * both / (a + b))),
        Mistake("absent_zero", "Classes that are neither in the labels nor predicted count as 0. They are left out of "
                "the mean.", _iou(absent=0.0)),
        Mistake("absent_one", "Classes that are neither in the labels nor predicted count as 1. They are left out of "
                "the mean.", _iou(absent=1.0)),
        Mistake("labelled_classes_only", "A class that was predicted but is not in the labels is left out. It was "
                "claimed wrongly, and counts as 0.", _iou(keep=lambda k, a, b: b > 0)),
        Mistake("ignored_pixels_count", "Pixels with the label `ignore` count as wrong for whatever was predicted "
                "there. Leave them out first.", _iou(ignored=False)),
        Mistake("without_background", "Class 0 is left out of the mean. Background is a class like the others here.",
                _iou(keep=lambda k, a, b: k > 0 and a + b > 0)),
        Mistake("per_image", "The IoU is computed for each image, and the mean is taken over images. Count the pixels "
                "of all images together.", _per_image),
        Mistake("over_all_pixels", "The intersections are divided by the number of all pixels. Divide each by its own "
                "union.",
                _iou(lambda both, a, b, n: both / n)),
        Mistake("all_classes_together", "Intersections and unions are added up over the classes before they are "
                "divided. Divide for each class, then take the mean.",
                lambda p, t, classes, ignore=255: (lambda c: float(c.diag().sum() / (2 * c.sum() - c.diag().sum())))(
                    _confusion(p, t, classes, ignore))),
    ],
    alternatives=[iou_by_sets, iou_one_hot, iou_in_float32],
    hints=[
        "For one class: which pixels did the network claim, and which have the label? Which are in both, which in at "
        "least one?",
        dedent("""\
        Four pixels, two classes:

        ```
        predicted   0 1 1 1
        label       0 0 1 1

        class 0     in both: 1, in at least one: 2     IoU 1/2
        class 1     in both: 2, in at least one: 3     IoU 2/3        mean 7/12
        ```"""),
        dedent("""\
        ```
        take the pixels whose label is not `ignore`          # two rows of equal length
        for each class k:
            both   <- how many have prediction k and label k
            either <- how many have prediction k or label k
            if either is not 0: keep both / either
        return the mean of what was kept
        ```"""),
        "A class that occurs nowhere has 0/0, which says nothing about the network: hence it is left out. One that was "
        "claimed and is not there has 0/n: that is an error, and counts.",
    ])


# ---------------------------------------------------------------------------- upsample_bilinear

def upsample_bilinear(x, factor):
    """Oracle: torch's interpolation."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def upsample_by_matrices(x, factor):
    def matrix(size):
        m = torch.zeros(size * factor, size, dtype=x.dtype)
        for i in range(size * factor):
            r = min(max((i + 0.5) / factor - 0.5, 0), size - 1)
            a = min(int(r), max(size - 2, 0))
            m[i, a] += 1 - (r - a)
            if size > 1:
                m[i, a + 1] += r - a
        return m

    return matrix(x.shape[2]) @ x @ matrix(x.shape[3]).T


def upsample_by_loops(x, factor):
    n, c, h, w = x.shape
    out = torch.zeros(n, c, h * factor, w * factor)
    for i in range(h * factor):
        for j in range(w * factor):
            r = min(max((2 * i + 1 - factor) / (2 * factor), 0), h - 1)
            q = min(max((2 * j + 1 - factor) / (2 * factor), 0), w - 1)
            a, b = int(r), int(q)
            a2, b2 = min(a + 1, h - 1), min(b + 1, w - 1)
            u, v = r - a, q - b
            out[:, :, i, j] = ((1 - u) * (1 - v) * x[:, :, a, b] + u * (1 - v) * x[:, :, a2, b]
                               + (1 - u) * v * x[:, :, a, b2] + u * v * x[:, :, a2, b2])
    return out


def _interpolate(position=lambda i, f, n: (i + 0.5) / f - 0.5, axes=(2, 3), border="keep", share=lambda t: t):
    """A mistake: where each new place reads, and what happens outside."""
    def run(x, factor):
        for axis in axes:
            n = x.shape[axis]
            r = np.array([position(i, factor, n) for i in range(factor * n)], dtype=float)
            r = np.clip(r, 0, n - 1) if border == "keep" else r
            a = np.floor(r).astype(int)
            a = np.clip(a, 0, max(n - 2, 0)) if border == "extrapolate" else a
            a = np.trunc(r).astype(int) if border == "start" else a
            t = share(r - a)
            m = np.zeros((factor * n, n))
            for i in range(factor * n):
                for place, weight in ((a[i], 1 - t[i]), (a[i] + 1, t[i])):
                    if border in ("keep", "extrapolate", "start"):
                        m[i, min(max(place, 0), n - 1)] += weight
                    elif border == "wrap":
                        m[i, place % n] += weight
                    elif 0 <= place < n:
                        m[i, place] += weight
            x = torch.movedim(torch.movedim(x, axis, -1) @ torch.from_numpy(m.T).to(x.dtype), -1, axis)
        return x

    return run


def random_upsampling(rng):
    n, c, h, w = (int(v) for v in rng.integers(1, 5, 4))
    return call(single(int(rng.integers(1 << 30)), n, c, h, w), int(rng.integers(1, 6)), device="cpu")


UPSAMPLE_BILINEAR = Exercise(
    id="upsample_bilinear", points=3,
    forbidden=(*FORBIDDEN_TORCH, "torch.nn.functional", "torch.nn.modules.upsampling"),
    oracle=upsample_bilinear,
    probes=[call(np.float32([[[[0, 4, -8]]]]), 2, device="cpu"), call(single(40, 1, 2, 3, 2), 3, device="cpu"),
            call(single(41, 2, 1, 2, 4), 4, device="cpu"), call(strided(single(42, 2, 2, 3, 2)), 2, device="cpu"),
            call(single(43, 1, 1, 2, 3), 5, device="cpu"), call(single(44, 2, 2, 1, 2), 1, device="cpu")],
    random=random_upsampling,
    mistakes=[
        Mistake("align_corners", "The corners are aligned: first and last values of old and new map coincide, as with "
                "`align_corners=True`. Here old and new pixels cover the same area.",  # 109
                _interpolate(lambda i, f, n: i * (n - 1) / (f * n - 1) if f * n > 1 else 0)),
        Mistake("no_halves", "New row i reads at i / f. The middles of pixels have to correspond: mind both halves in "
                "the formula.", _interpolate(lambda i, f, n: i / f)),  # 109
        Mistake("half_not_taken_off", "The half of the old pixel is not taken off: everything is shifted by half an "
                "old pixel.", _interpolate(lambda i, f, n: (i + 0.5) / f)),
        Mistake("half_not_added", "The half of the new pixel is missing: new row i has its middle at i + ½.",
                _interpolate(lambda i, f, n: i / f - 0.5)),
        Mistake("nearest", "Each value is repeated: that is the nearest neighbour. Interpolate between two.",
                lambda x, factor: x.repeat_interleave(factor, 2).repeat_interleave(factor, 3)),
        Mistake("shares_exchanged", "The two weights have changed places: the nearer row must weigh more.",
                _interpolate(share=lambda t: np.where(t > 0, 1 - t, t))),
        Mistake("dark_border", "Outside the map there are zeros, so the border fades. Keep the border's own value "
                "there.",  # 13
                _interpolate(border="zeros")),
        Mistake("extrapolated", "Beyond the middle of the border's pixels the line is drawn on. Keep the border's own "
                "value there.", _interpolate(border="extrapolate")),
        Mistake("extrapolated_at_the_start", "Before the middle of the first row the line is drawn on, with a negative "
                "weight: there r is negative, and rounding it towards 0 does not help. Keep the border's own value "
                "there.",
                _interpolate(border="start")),
        Mistake("wrapped", "Before the first row the last one is read: a negative index counts from the end.",
                _interpolate(border="wrap")),
        Mistake("rows_only", "Only the rows are enlarged. Columns likewise.", _interpolate(axes=(2,))),  # 17
        Mistake("columns_only", "Only the columns are enlarged. Rows likewise.", _interpolate(axes=(3,))),  # 17
        Mistake("no_weights", "Between two rows it takes their plain mean. The nearer one weighs more.",
                _interpolate(share=lambda t: np.where(t > 0, 0.5, 0.0))),
        Mistake("tiled", "The map is laid side by side with itself. Each pixel is to become larger.",
                lambda x, factor: x.repeat(1, 1, factor, factor)),
    ],
    alternatives=[upsample_by_matrices, upsample_by_loops],
    hints=[
        "Enlarge a single row by 2. Where do the first, second and third new value lie, in old pixels?",
        dedent("""\
        One row, factor 2:

        ```
        old              0           4          -8
        new rows read  -¼   ¼      ¾   1¼     1¾   2¼
        values           0   1      3   1     -5   -8
        ```
        At −¼ and 2¼ the border is kept. At ¼ it is ¾·0 + ¼·4."""),
        dedent("""\
        ```
        for rows, then for columns:
            r     <- (i + 1/2) / factor - 1/2  for i = 0 … factor·size - 1
            r     <- cut to 0 … size - 1
            a     <- r rounded down;  b <- a + 1, but not more than size - 1
            share <- r - a
            new   <- (1 - share) · old at a  +  share · old at b
        ```
        `x[:, :, a]` and `x[:, :, :, a]` take several rows or columns at once; let `share` have the right axes."""),
        "A pixel is an area: old pixel 0 reaches from 0 to 1, its middle is ½. New pixel i reaches from i/f to (i + "
        "1)/f, its middle is (i + ½)/f. Taking ½ off turns a position into the number of the pixel whose middle is "
        "there.",
    ])


# ---------------------------------------------------------------------------- conv_transpose

def conv_transpose(x, weight, stride=1, padding=0, output_padding=0):
    """Oracle: torch's stamps, cut out of the whole area (its own output padding must be less than the stride)."""
    area = F.conv_transpose2d(x, weight, stride=stride)
    high, wide = area.shape[2:]
    area = F.pad(area, (0, output_padding, 0, output_padding))
    return area[:, :, padding:high - padding + output_padding, padding:wide - padding + output_padding]


def transpose_by_stamps(x, weight, stride=1, padding=0, output_padding=0):
    (n, c_in, h, w), (_, c_out, kh, kw) = x.shape, weight.shape
    area = torch.zeros(n, c_out, (h - 1) * stride + kh + output_padding, (w - 1) * stride + kw + output_padding)
    for i in range(h):
        for j in range(w):
            for c in range(c_in):
                rows, columns = slice(i * stride, i * stride + kh), slice(j * stride, j * stride + kw)
                area[:, :, rows, columns] += x[:, c, i, j, None, None, None] * weight[c]
    rows, columns = area.shape[2] - 2 * padding, area.shape[3] - 2 * padding
    return area[:, :, padding:padding + rows, padding:padding + columns]


def transpose_by_dilution(x, weight, stride=1, padding=0, output_padding=0):
    n, c, h, w = x.shape
    kh, kw = weight.shape[2:]
    thin = torch.zeros(n, c, (h - 1) * stride + 1, (w - 1) * stride + 1)
    thin[:, :, ::stride, ::stride] = x
    thin = F.pad(thin, (kw - 1, kw - 1 + output_padding, kh - 1, kh - 1 + output_padding))
    full = F.conv2d(thin, weight.flip(2, 3).transpose(0, 1))
    return full[:, :, padding:full.shape[2] - padding, padding:full.shape[3] - padding]


def transpose_by_fold(x, weight, stride=1, padding=0, output_padding=0):
    h, w = ((v - 1) * stride + k - 2 * padding + output_padding for v, k in zip(x.shape[2:], weight.shape[2:]))
    columns = torch.einsum("nip,iq->nqp", x.flatten(2), weight.flatten(1))
    if output_padding < stride:
        return F.fold(columns, (h, w), tuple(weight.shape[2:]), padding=padding, stride=stride)
    return conv_transpose(x, weight, stride, padding, output_padding)


def _stamped(change=lambda weight: weight, cut=None, gather="add", step=lambda s: s, channels=lambda x, w: (x, w)):
    """A mistake: stamps of change(weight), gathered by adding or overwriting, then cut(area, p, extra)."""
    def run(x, weight, stride=1, padding=0, output_padding=0):
        x, weight = channels(x, change(weight))
        (n, _, h, w), (_, c_out, kh, kw), s = x.shape, weight.shape, step(stride)
        area = torch.zeros(n, c_out, (h - 1) * s + kh, (w - 1) * s + kw, dtype=x.dtype)
        covered = torch.zeros_like(area)
        for i, j in np.ndindex(h, w):
            stamp = torch.einsum("nc,coab->noab", x[:, :, i, j], weight)
            place = (slice(None), slice(None), slice(i * s, i * s + kh), slice(j * s, j * s + kw))
            covered[place] += 1
            area[place] = stamp if gather == "overwrite" else area[place] + stamp
        area = area / covered.clamp(min=1) if gather == "mean" else area
        return (cut or _cut)(area, padding, output_padding)

    return run


def _cut(area, p, extra):
    high, wide = area.shape[2:]
    return F.pad(area, (0, extra, 0, extra))[:, :, p:high - p + extra, p:wide - p + extra]


def _inside(area, p):
    return area[:, :, p:area.shape[2] - p, p:area.shape[3] - p]


def transpose_probe(x, weight, *settings):
    return call(x, weight, *settings, device="cpu")


def random_transpose(rng):
    n, c_in, c_out, h, w, kh, kw = (int(v) for v in rng.integers(1, 4, 7))
    stride = int(rng.integers(1, 4))
    kh, kw = kh + 1, kw + 1
    padding = int(rng.integers(0, min(kh, kw) // 2 + 1))
    h, w = h + padding, w + padding                     # so that something is left
    seed = int(rng.integers(1 << 30))
    return transpose_probe(whole(seed, n, c_in, h, w), whole(seed + 1, c_in, c_out, kh, kw), stride, padding,
                           int(rng.integers(0, stride)))


CONV_TRANSPOSE = Exercise(
    id="conv_transpose", points=4, forbidden=FORBIDDEN_TORCH,
    oracle=conv_transpose,
    probes=[transpose_probe(np.float32([[[[1, 2, 3]]]]), np.float32([[[[1, 2, 1, -1]]]]), 2),
            transpose_probe(whole(50, 1, 1, 3, 2), whole(51, 1, 1, 3, 2), 2, 1, 1),
            transpose_probe(whole(52, 2, 3, 2, 3), whole(53, 3, 2, 2, 3), 2),
            transpose_probe(whole(54, 1, 2, 3, 4), whole(55, 2, 3, 4, 3), 3, 1, 2),
            transpose_probe(strided(whole(56, 2, 2, 3, 3)), whole(57, 2, 1, 2, 3)),
            transpose_probe(whole(58, 1, 1, 2, 3), whole(59, 1, 2, 2, 2), 3, 0, 1)],
    random=random_transpose,
    mistakes=[
        Mistake("rotated", "What is stamped is the kernel rotated by 180°. It is stamped as it is. (If you put zeros "
                "between the values and run an ordinary convolution, rotate the kernel for that.)",  # 46
                _stamped(lambda w: w.flip(2, 3))),
        Mistake("overwritten", "Where stamps overlap the last one is kept. They add up.",  # 45
                _stamped(gather="overwrite")),
        Mistake("averaged", "Where stamps overlap their mean is taken. They add up.", _stamped(gather="mean")),
        Mistake("output_padding_ignored", "`output_padding` is not used: the output is as small as without it.",  # 108
                _stamped(cut=lambda a, p, e: _inside(a, p))),
        Mistake("output_padding_in_front", "The extra row and column are taken at the beginning. They are at the "
                "end.",  # 108
                _stamped(cut=lambda a, p, e: F.pad(a, (e, 0, e, 0))[:, :, p:a.shape[2] - p + e, p:a.shape[3] - p + e])),
        Mistake("output_padding_of_zeros", "The extra rows and columns are zeros. They are part of what was stamped: "
                "there is less taken off at the end.",  # 108
                _stamped(cut=lambda a, p, e: F.pad(_inside(a, p), (0, e, 0, e)))),
        Mistake("output_padding_on_both_sides", "The output grows by `output_padding` on both sides. It is once, at "
                "the end.",  # 108
                _stamped(cut=lambda a, p, e: F.pad(_inside(a, p), (e, e, e, e)))),
        Mistake("padding_added", "The padding makes the output larger. It takes off: what a convolution with this "
                "padding added, its transposed removes.",  # 108
                _stamped(cut=lambda a, p, e: F.pad(a, (p, p + e, p, p + e)))),
        Mistake("padding_ignored", "The padding is not taken off.",  # 108
                _stamped(cut=lambda a, p, e: F.pad(a, (0, e, 0, e)))),
        Mistake("padding_at_the_end", "The padding is taken off at the end only, twice as much. It is taken off on "
                "both sides.",  # 51
                _stamped(cut=lambda a, p, e: _cut(F.pad(a, (p, 0, p, 0)), p, e)[
                    :, :, :a.shape[2] - 2 * p + e, :a.shape[3] - 2 * p + e])),
        Mistake("stride_of_one", "The stamps are put down one pixel apart, whatever the stride.",  # 49
                _stamped(step=lambda s: 1)),
        Mistake("size_of_the_stride", "The output is cut to stride·H by stride·W. A stamp reaches further if the "
                "kernel is larger than the stride.",  # 108
                lambda x, weight, stride=1, padding=0, output_padding=0: _cut(
                    F.conv_transpose2d(x, weight, stride=stride), padding, output_padding)[
                        :, :, :stride * x.shape[2], :stride * x.shape[3]]),
        Mistake("mean_over_channels", "The stamps of the input channels are averaged. They add up.",  # 22
                _stamped(channels=lambda x, w: (x, w / w.shape[0]))),
        Mistake("last_channel", "Only the last input channel is stamped: each overwrites the one before. They add "
                "up.",  # 21
                _stamped(channels=lambda x, w: (x[:, -1:], w[-1:]))),
    ],
    alternatives=[transpose_by_stamps, transpose_by_dilution, transpose_by_fold],
    hints=[
        "What does a single input value leave in the output? And where does that of its right-hand neighbour begin?",
        dedent("""\
        Three values, stride 2, a kernel of 4:

        ```
        1 ·  1  2  1 -1
        2 ·        1  2  1 -1
        3 ·              1  2  1 -1
        sum  1  2  3  3  5  4  3 -3
        ```
        With `padding=1` the first and the last fall away; with `output_padding=1` the last is there again."""),
        dedent("""\
        ```
        area <- zeros (N, C_out, (H - 1)·stride + kH + output_padding, the same for W)
        for each row a and column b of the kernel:
            every stride-th row from a on, every stride-th column from b on, H × W of them,
                += sum over c_in of x[:, c_in] · weight[c_in, :, a, b]
        cut `padding` off on each side
        ```
        The area was made larger by `output_padding` at the end beforehand: so this comes out right by itself."""),
        "It is the transposed of a matrix: where a convolution reads a window for each output, this one writes a "
        "window for each input. Padding of a convolution are pixels that it reads outside the image; the transposed "
        "writes there, and those pixels are thrown away.",
    ])


# ---------------------------------------------------------------------------- bilinear_kernel

def bilinear_kernel(factor):
    """Oracle: a box of the stride, passed over a box: their convolution is the roof."""
    box = np.ones(factor) / factor
    roof = np.convolve(box, np.ones(factor))
    if factor % 2 == 0:
        roof = (np.append(roof, 0) + np.append(0, roof)) / 2     # between the pixels
    return np.outer(roof, roof).astype(np.float32)


def kernel_by_interpolation(factor):
    """A single 1 among zeros, enlarged."""
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = 1
    y = F.interpolate(x, scale_factor=factor, mode="bilinear")[0, 0]
    used = y.sum(0).nonzero()[:, 0]
    return y[used[0]:used[-1] + 1, used[0]:used[-1] + 1]


def kernel_by_loops(factor):
    k = 2 * factor - factor % 2
    m = (k - 1) / 2
    return torch.tensor([[(1 - abs(i - m) / factor) * (1 - abs(j - m) / factor) for j in range(k)] for i in range(k)])


def _roof(size=lambda f: 2 * f - f % 2, middle=lambda k: (k - 1) / 2, slope=lambda f: f, join=torch.outer, scale=None):
    """A mistake: another size, middle or slope of the roof, or another way to join rows and columns."""
    def run(factor):
        k = size(factor)
        roof = (1 - (torch.arange(k) - middle(k)).abs() / slope(factor)).clamp(min=0)
        kernel = join(roof, roof)
        return kernel if scale is None else kernel * scale(kernel, factor)

    return run


BILINEAR_KERNEL = Exercise(
    id="bilinear_kernel", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=bilinear_kernel,
    probes=[call(f, device="cpu") for f in (2, 3, 1, 4, 5)],
    random=lambda rng: call(int(rng.integers(1, 11)), device="cpu"),
    mistakes=[
        Mistake("even_for_all", "The kernel has 2·factor rows for an odd factor too. Then the middle lies on a pixel, "
                "and there is one row less.", _roof(size=lambda f: 2 * f)),
        Mistake("odd_for_all", "The kernel has 2·factor − 1 rows for an even factor too. Then the middle lies between "
                "two pixels, and there is one row more.", _roof(size=lambda f: 2 * f - 1)),
        Mistake("middle_of_one", "The roof is not symmetric: the middle of k places, counted from 0, is (k − 1)/2.",
                _roof(middle=lambda k: k / 2)),
        Mistake("middle_rounded", "The middle is rounded down. With an even number of places it lies between two of "
                "them.",
                _roof(middle=lambda k: (k - 1) // 2)),
        Mistake("too_steep", "The roof is too narrow: it falls by 1/(factor − ½) with each step.",
                _roof(slope=lambda f: f - 0.5)),
        Mistake("slope_of_the_kernel", "The roof is too flat: it falls by 1/k with each step. It is 1/factor.",
                _roof(slope=lambda f: 2 * f - f % 2)),
        Mistake("sum", "The values of row and column are added, halved. Take the product: a row's share of a column's "
                "share.",
                _roof(join=lambda a, b: (a[:, None] + b[None]) / 2)),
        Mistake("pyramid", "The smaller of the two is taken, which makes a pyramid. Take the product.",
                _roof(join=lambda a, b: torch.minimum(a[:, None], b[None]))),
        Mistake("one_axis", "That is the roof along one axis, (k,). The kernel has rows and columns.",
                _roof(join=lambda a, b: a)),
        Mistake("rows_only", "Each row is constant: the roof is there in one direction only.",
                _roof(join=lambda a, b: a[:, None].expand(len(a), len(a)))),
        Mistake("normalised", "The kernel is divided by its sum. Its sum is factor², since each input value becomes "
                "factor² pixels.", _roof(scale=lambda kernel, f: 1 / kernel.sum())),  # 38
        Mistake("ones", "All values are the same: that repeats pixels. They fall from the middle to the border.",
                lambda factor: torch.ones(2 * factor - factor % 2, 2 * factor - factor % 2)),
    ],
    alternatives=[kernel_by_interpolation, kernel_by_loops],
    hints=[
        "How far is each place from the middle of the kernel, and by how much has the roof fallen there?",
        dedent("""\
        Factor 2, k = 4, the middle at 1½:

        ```
        place            0     1     2     3
        distance        1½     ½     ½    1½
        1 - distance/2   ¼     ¾     ¾     ¼
        ```
        The kernel's first row is ¼ times that: 1/16, 3/16, 3/16, 1/16."""),
        dedent("""\
        ```
        k    <- 2·factor, less 1 if factor is odd
        m    <- (k - 1) / 2
        roof <- 1 - |i - m| / factor   for i = 0 … k - 1      # (k,)
        return roof (as a column) times roof (as a row)       # (k, k)
        ```"""),
        "Linear interpolation gives a value the weight 1 in its own middle and 0 in the middle of its neighbour, "
        "`factor` new pixels away. In two dimensions one interpolates along rows and then along columns: the weights "
        "multiply.",
    ])


# ---------------------------------------------------------------------------- crop_offset

def crop_offset(layers, kernel_size, padding):
    """Oracle: middles of windows and stamps, as fractions."""
    _, _, window, start = map_geometry(100, layers)
    return round(start + (window - 1) / 2 - ((kernel_size - 1) / 2 - padding))


def offset_backwards(layers, kernel_size, padding):
    middle = 0.0
    for k, s, p in reversed(layers):
        middle = middle * s - p + (k - 1) / 2
    return int(middle - (kernel_size - 1) / 2 + padding)


def offset_by_halves(layers, kernel_size, padding):
    twice, step = 0, 1
    for k, s, p in layers:
        twice += (k - 1 - 2 * p) * step
        step *= s
    return (twice - (kernel_size - 1 - 2 * padding)) // 2


def _offset(half):
    """A mistake: half(window, start, stride, kernel_size, padding) gives the offset."""
    def run(layers, kernel_size, padding):
        _, stride, window, start = map_geometry(100, layers)
        return math.floor(half(window, start, stride, kernel_size, padding))

    return run


def _plain_geometry(layers, kernel_size, padding, **wrong):
    _, _, window, start = _geometry(**wrong)(100, layers)
    return math.floor((2 * start + window - kernel_size + 2 * padding) / 2)


def offset_probe(layers, kernel_size, padding):
    return call(tuple(layers), kernel_size, padding)


def random_offset(rng):
    while True:
        columns = rng.integers(1, 8, 4), rng.integers(1, 3, 4), rng.integers(0, 4, 4)
        layers = [tuple(int(v) for v in layer) for layer in zip(*columns)]
        kernel_size, padding = int(rng.integers(2, 9)), int(rng.integers(0, 3))
        _, _, window, start = geometry_by_formula(100, layers)
        if (window - kernel_size) % 2 == 0:
            return offset_probe(layers, kernel_size, padding)


CROP_OFFSET = Exercise(
    id="crop_offset", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=crop_offset,
    probes=[offset_probe([(2, 2, 0), (3, 1, 0)], 4, 1), offset_probe([(3, 1, 1), (2, 2, 0), (7, 1, 0)], 4, 0),
            offset_probe([(3, 2, 1), (3, 2, 1), (3, 1, 0)], 7, 2),
            offset_probe([(3, 1, 100), (2, 2, 0), (5, 1, 0)], 4, 0),
            offset_probe([(5, 1, 0), (4, 2, 1), (3, 1, 0), (4, 2, 0)], 8, 1), offset_probe([(3, 1, 0)], 1, 0)],
    random=random_offset,
    mistakes=[
        Mistake("no_offset", "The offset is 0: rows are cropped from the top on. But the deep map's first window has "
                "its middle further inside.", _offset(lambda w, f, s, k, p: 0)),  # 110
        Mistake("start_only", "It is the first row of the window. Middles belong on one another: of the window and of "
                "the stamp.", _offset(lambda w, f, s, k, p: f)),  # 110
        Mistake("middle_without_stamp", "It is the middle of the first window. The middle of the *stamp* lies there, "
                "and row 0 of the enlarged map is half a kernel before it.",
                _offset(lambda w, f, s, k, p: f + (w - 1) / 2)),  # 110
        Mistake("stamp_added", "The half of the stamp is added. Row 0 lies *before* the middle of the stamp.",
                _offset(lambda w, f, s, k, p: f + (w - 1) / 2 + (k - 1) / 2 - p)),
        Mistake("transposed_padding_ignored", "The padding of the transposed convolution is missing: it takes rows off "
                "the stamp, so row 0 moves towards the middle.",
                _offset(lambda w, f, s, k, p: (2 * f + w - k) / 2)),  # 110
        Mistake("transposed_padding_subtracted", "The padding of the transposed convolution has the wrong sign: it "
                "takes rows off, so row 0 moves towards the middle of the stamp.",
                _offset(lambda w, f, s, k, p: (2 * f + w - k) / 2 - p)),
        Mistake("start_ignored", "The paddings of the layers are missing: they move the windows towards the top.",
                _offset(lambda w, f, s, k, p: (w - k) / 2 + p)),
        Mistake("start_with_the_wrong_sign", "The start of the first window has the wrong sign: padding moves it "
                "towards the top.", _offset(lambda w, f, s, k, p: (w - k) / 2 + p - f)),
        Mistake("negative", "The sign is the other way round. Row 0 of the enlarged map is further *inside* if the "
                "layers have no padding.", _offset(lambda w, f, s, k, p: -(2 * f + w - k + 2 * p) / 2)),
        Mistake("in_rows_of_the_deep_map", "The window is counted without the strides, in rows of the deep map. Count "
                "in rows of the skip's map.",  # 107
                lambda layers, kernel_size, padding: _plain_geometry(
                    layers, kernel_size, padding, window=lambda k, s, step: k - 1, start=lambda k, s, p, step: -p)),
        Mistake("paddings_without_strides", "The layers' paddings are added up as they are. Each counts in steps of "
                "its layer's input.",  # 107
                lambda layers, kernel_size, padding: _plain_geometry(
                    layers, kernel_size, padding, start=lambda k, s, p, step: -p)),
        Mistake("whole_window", "Window and kernel are not halved. From a border to the middle it is half of them.",
                _offset(lambda w, f, s, k, p: f + w - k + p)),
    ],
    alternatives=[offset_backwards, offset_by_halves],
    hints=[
        "Where, in rows of the skip's map, is the middle of what place 0 of the deep map sees? And where is the middle "
        "of its stamp, in rows of the enlarged map?",
        dedent("""\
        Pooling 2×2 at stride 2, then 3×3 without padding; enlarged by 4×4, stride 2, padding 1:

        ```
        place 0 sees rows 0 to 5 of the skip's map           its middle: 2½
        its stamp covers rows -1 to 2 of the enlarged map    its middle:  ½
        so row ½ of the enlarged map lies on row 2½, and row 0 on row 2
        ```"""),
        dedent("""\
        ```
        window, start  of place 0, in rows of the skip's map     # as in map_geometry
        middle_seen    <- start + (window - 1) / 2
        middle_stamped <- (kernel_size - 1) / 2 - padding
        return middle_seen - middle_stamped, as an int
        ```"""),
        "Rows of the enlarged map and of the skip's map are equally far apart, so one number says how they lie: if two "
        "of their rows coincide, all do. The middles of window and stamp are the two that should.",
    ])


# ---------------------------------------------------------------------------- fuse_skip

class FuseSkip(nn.Module):
    """Oracle: stamped by a full transposed convolution, cropped by narrow."""

    bias, score_bias, kernel, groups, score_kernel = False, True, 4, False, 1  # what the mistakes switch

    def __init__(self, c_skip, classes, padding=0, offset=0):
        super().__init__()
        self.padding, self.offset = padding, offset
        self.score = nn.Conv2d(c_skip, classes, self.score_kernel, padding=self.score_kernel // 2, bias=self.score_bias)
        self.up = nn.ConvTranspose2d(classes, classes, self.kernel, 2, self.up_padding(padding), bias=self.bias,
                                     groups=classes if self.groups else 1)

    def up_padding(self, padding):
        return padding

    def crop(self, maps, h, w):
        return maps.narrow(2, self.offset, h).narrow(3, self.offset, w)

    def join(self, up, skip):
        return up + skip

    def forward(self, scores, skip):
        up = self.up(scores)
        return self.join(up, self.crop(self.score(skip), *up.shape[2:]))


class FuseCropFirst(nn.Module):
    """The skip is cropped before it is scored."""

    def __init__(self, c_skip, classes, padding=0, offset=0):
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(classes, classes, (4, 4), (2, 2), padding, bias=False)
        self.one = nn.Conv2d(c_skip, classes, (1, 1))
        self.o = offset

    def forward(self, scores, skip):
        y = self.enlarge(scores)
        y += self.one(skip[..., self.o:self.o + y.shape[-2], self.o:self.o + y.shape[-1]])
        return y


class FuseByPadding(nn.Module):
    """The layers in a list, in another order; the skip is cropped by a negative padding."""

    def __init__(self, c_skip, classes, padding=0, offset=0):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(c_skip, classes, 1),
                                     nn.ConvTranspose2d(classes, classes, 4, 2, padding, bias=False)])
        self.offset = offset

    def forward(self, scores, skip):
        one, enlarge = self.layers
        up, s, o = enlarge(scores), one(skip), self.offset
        return F.pad(s, (-o, up.shape[3] + o - s.shape[3], -o, up.shape[2] + o - s.shape[2])) + up


def _fuse(**changes):
    """A mistake: the oracle with attributes or methods in their place."""
    return type("Fuse", (FuseSkip,), changes)


def _middle(self, maps, h, w):
    a, b = (maps.shape[2] - h) // 2, (maps.shape[3] - w) // 2
    return maps[:, :, a:a + h, b:b + w]


class EnlargedByInterpolation(FuseSkip):
    def forward(self, scores, skip):
        h, w = self.up(scores).shape[2:]
        return F.interpolate(scores, (h, w), mode="bilinear") + self.crop(self.score(skip), h, w)


class ScoresOnly(FuseSkip):
    def forward(self, scores, skip):
        return self.up(scores)


class SkipEnlargedToo(FuseSkip):
    def forward(self, scores, skip):
        up = self.up(scores)
        return up + F.interpolate(self.score(skip), tuple(up.shape[2:]), mode="bilinear")


def fuse_probe(c_skip, classes, padding, offset, scores, skip):
    h, w = ((n - 1) * 2 + 4 - 2 * padding for n in scores.shape[2:])
    steps = [("weight_shapes", {}), ("set_weights", {"seed": classes}), ("forward", {"scores": scores, "skip": skip})]
    assert skip.shape[2] >= offset + h and skip.shape[3] >= offset + w
    return call(c_skip, classes, padding, offset, steps=steps, device="cpu")


def random_fuse(rng):
    c_skip, classes, extra = int(rng.integers(1, 6)), int(rng.integers(1, 5)), rng.integers(0, 4, 2)
    h, w, n = int(rng.integers(1, 4)), int(rng.integers(1, 4)), int(rng.integers(1, 3))
    padding, offset, seed = int(rng.integers(0, 2)), int(rng.integers(0, 4)), int(rng.integers(1 << 30))
    high, wide = (2 * v + 2 - 2 * padding + offset + int(e) for v, e in zip((h, w), extra))
    return fuse_probe(c_skip, classes, padding, offset, quarters(seed, n, classes, h, w),
                      quarters(seed, n, c_skip, high, wide))


FUSE_SKIP = Exercise(
    id="fuse_skip", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=FuseSkip,
    probes=[fuse_probe(3, 2, 1, 0, quarters(60, 1, 2, 2, 1), quarters(61, 1, 3, 4, 2)),
            fuse_probe(2, 3, 0, 1, quarters(62, 2, 3, 1, 2), quarters(63, 2, 2, 8, 9)),
            fuse_probe(5, 4, 1, 3, quarters(64, 1, 4, 2, 3), quarters(65, 1, 5, 9, 12))],
    random=random_fuse,
    mistakes=[
        Mistake("cropped_at_the_start", "The skip is cropped from row and column 0 on, whatever `offset` is. The maps "
                "then lie beside one another.",  # 110
                _fuse(crop=lambda self, m, h, w: m[:, :, :h, :w])),
        Mistake("cropped_at_the_end", "The last rows and columns of the skip are taken. Begin at `offset`.",  # 110
                _fuse(crop=lambda self, m, h, w: m[:, :, m.shape[2] - h:, m.shape[3] - w:])),
        Mistake("cropped_in_the_middle", "The middle of the skip is taken. That is right only where both sides lose "
                "the same; begin at `offset`.", _fuse(crop=_middle)),  # 110
        Mistake("offset_on_rows_only", "The columns are taken from 0 on. `offset` holds for rows and columns.",  # 17
                _fuse(crop=lambda self, m, h, w: m[:, :, self.offset:self.offset + h, :w])),
        Mistake("offset_doubled", "The skip is cropped at twice the offset. `offset` is in rows of the skip "
                "already.",  # 110
                _fuse(crop=lambda self, m, h, w: torch.roll(m, [-2 * self.offset] * 2, (2, 3))[:, :, :h, :w])),
        Mistake("squeezed", "The whole skip is shrunk to the size of the enlarged map. It is cropped: its places keep "
                "their size.", SkipEnlargedToo),
        Mistake("relu", "The sum goes through a ReLU. These are scores, and they may be negative.",
                _fuse(join=lambda self, up, skip: F.relu(up + skip))),
        Mistake("concatenated", "The two maps are concatenated, as in a U-Net. Here they are added.",  # 93
                _fuse(join=lambda self, up, skip: torch.cat([up, skip], 1))),
        Mistake("multiplied", "The two maps are multiplied. They are added.",
                _fuse(join=lambda self, up, skip: up * skip)),
        Mistake("averaged", "The mean of the two maps is returned. It is their sum.",
                _fuse(join=lambda self, up, skip: (up + skip) / 2)),
        Mistake("skip_not_used", "The skip is not used: these are the enlarged scores alone.", ScoresOnly),
        Mistake("bias_in_the_enlargement", "The transposed convolution has a bias. The 1×1 has one, which is enough.",
                _fuse(bias=True)),
        Mistake("no_bias_in_the_scores", "The 1×1 convolution has no bias.", _fuse(score_bias=False)),  # 23
        Mistake("in_groups", "The transposed convolution works on each class by itself (`groups`). It has a kernel for "
                "each pair of classes.", _fuse(groups=True)),
        Mistake("three_by_three", "The scores of the skip come from a 3×3 convolution. It is 1×1: at each place by "
                "itself.",
                _fuse(score_kernel=3)),
        Mistake("kernel_of_two", "The transposed convolution has a kernel of 2×2, which repeats one kernel side by "
                "side. It is 4×4, so that stamps overlap.",
                _fuse(kernel=2, up_padding=lambda self, p: 0, crop=lambda self, m, h, w: m[:, :, :h, :w])),
        Mistake("interpolated", "The scores are enlarged by interpolation; the transposed convolution is there, but "
                "not used.",
                EnlargedByInterpolation),
    ],
    alternatives=[FuseCropFirst, FuseByPadding],
    hints=[
        "Which of the two maps decides how large the result is? And which rows of the other one belong under it?",
        dedent("""\
        Scores of 2×2, padding 0, offset 1, a skip of 8×9:

        ```
        enlarged    6×6
        skip        rows 1 to 6 of 8, columns 1 to 6 of 9
        ```"""),
        dedent("""\
        ```
        __init__:  up <- transposed convolution, classes to classes, 4×4, stride 2, this padding, no bias
                   score <- 1×1 convolution, c_skip to classes; remember offset

        forward:   y <- up(scores)                                   # (N, classes, h', w')
                   s <- score(skip)                                  # (N, classes, H, W)
                   s <- rows offset … offset + h' - 1, columns offset … offset + w' - 1 of s
                   return y + s
        ```"""),
        "The 1×1 convolution turns whatever channels the skip has into scores, so both maps speak of the same classes. "
        "Then a sum lets each correct the other, if their places coincide: hence the crop.",
    ])


EXERCISES = [AS_CONVOLUTION, FULLY_CONV_LENET, MAP_GEOMETRY, MEAN_IOU, UPSAMPLE_BILINEAR, CONV_TRANSPOSE,
             BILINEAR_KERNEL, CROP_OFFSET, FUSE_SKIP]
