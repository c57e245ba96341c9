"""Exercises of notebook 08: LeNet, old and new, and everything needed to train it.

The oracles are torch's own layers, loss, optimiser and initialisation, in float64; for the connection table it is
the list printed in the paper (LeCun, Bottou, Bengio & Haffner, 1998, table I), for standardisation scikit-learn.
"""

from textwrap import dedent

import numpy as np

from autograder.exercise import FORBIDDEN, Exercise, Mistake, call
from autograder.exercises.draws import ints, quarters, tensor
from cnnlab.probes import strided

# The exercises on what stands around the layers may import the course's layers: there is nothing in them to copy.
# It must be so for at least one exercise, or the grader's room would be without cnnlab.layers, which this notebook
# imports.
LAYERS_ALLOWED = tuple(module for module in FORBIDDEN if module != "cnnlab.layers")


# ---------------------------------------------------------------------------- network_table

def network_table(input_shape, layers):
    """Oracle: torch's modules, their parameters counted and an image sent through them."""
    import torch

    x, rows = torch.zeros(1, *input_shape), []
    for kind, outputs, kernel_size in layers:
        if kind == "conv":
            module = torch.nn.Conv2d(x.shape[1], outputs, kernel_size)
        elif kind == "pool":
            module = torch.nn.MaxPool2d(kernel_size)
        else:
            module = torch.nn.Flatten() if kind == "flatten" else torch.nn.Linear(x.shape[1], outputs)
        x = module(x)
        rows.append((tuple(x.shape[1:]), sum(p.numel() for p in module.parameters())))
    return tuple(rows)


def _table(input_shape, layers, conv=None, pool=None, flat=None, size=None, pooled=None, linear=None):
    """A table with one of its rules replaced: parameters of conv, pool and linear, what flatten gives, sizes."""
    conv = conv or (lambda c, k, f, first: f * (c * k * k + 1))
    linear = linear or (lambda n, f, first: f * (n + 1))
    size, pooled = size or (lambda n, k: n - k + 1), pooled or (lambda n, k: n // k)
    shape, rows = tuple(input_shape), []
    for kind, outputs, k in layers:
        count = 0
        if kind == "conv":
            count = conv(shape[0], k, outputs, input_shape[0])
            shape = (outputs, size(shape[1], k), size(shape[2], k))
        elif kind == "pool":
            count = pool(shape[0], k) if pool else 0
            shape = (shape[0], pooled(shape[1], k), pooled(shape[2], k))
        elif kind == "flatten":
            shape = (flat or (lambda s: s[0] * s[1] * s[2]))(shape),
        else:
            count = linear(shape[0], outputs, input_shape[0])
            shape = outputs,
        rows.append((shape, count))
    return tuple(rows)


def table_by_match(input_shape, layers):
    rows, shape = [], list(input_shape)
    for layer in layers:
        match layer:
            case ("conv", filters, k):
                parameters = filters * shape[0] * k**2 + filters
                shape = [filters, shape[1] - (k - 1), shape[2] - (k - 1)]
            case ("pool", _, k):
                parameters, shape = 0, [shape[0], (shape[1] - k) // k + 1, (shape[2] - k) // k + 1]
            case ("flatten", _, _):
                parameters, shape = 0, [int(np.prod(shape))]
            case ("linear", outputs, _):
                parameters, shape = shape[0] * outputs + outputs, [outputs]
        rows.append([shape, parameters])
    return rows


def table_by_arrays(input_shape, layers):
    x, rows = np.zeros(input_shape), []
    for kind, outputs, k in layers:
        shapes = []
        if kind == "conv":
            shapes = [(outputs, x.shape[0], k, k), (outputs,)]
            x = np.zeros((outputs, *(n - k + 1 for n in x.shape[1:])))
        elif kind == "pool":
            x = x[:, k - 1::k, k - 1::k]
        elif kind == "flatten":
            x = x.ravel()
        else:
            shapes = [(outputs, len(x)), (outputs,)]
            x = np.zeros(outputs)
        rows.append((x.shape, sum(np.zeros(s).size for s in shapes)))
    return tuple(rows)


def linear_row(outputs):
    return ("linear", outputs, None)


def pool_row(kernel_size):
    return ("pool", None, kernel_size)


FLATTEN = ("flatten", None, None)


def random_table(rng):
    (h, w), c = rng.integers(12, 20, 2), rng.integers(1, 4)
    k1, k2, p = (int(v) for v in (rng.integers(1, 4), rng.integers(1, 3), rng.integers(2, 4)))
    a, b, d, e = (int(v) for v in rng.integers(2, 9, 4))
    return call((int(c), int(h), int(w)), (("conv", a, k1), pool_row(p), ("conv", b, k2), FLATTEN, linear_row(d),
                                           linear_row(e)))


NETWORK_TABLE = Exercise(
    id="network_table", points=2, forbidden=LAYERS_ALLOWED,
    oracle=network_table,
    probes=[call((1, 6, 8), (("conv", 2, 3),)), call((3, 5, 9), (pool_row(2),)), call((2, 3, 4), (FLATTEN,)),
            call((2, 1, 3), (FLATTEN, linear_row(5), linear_row(4))),
            call((3, 9, 14), (("conv", 4, 2), pool_row(3), ("conv", 5, 1))),
            call((2, 11, 16), (("conv", 3, 4), pool_row(2), ("conv", 5, 3), pool_row(2), FLATTEN, linear_row(7),
                               linear_row(3))),
            call((1, 32, 32), (("conv", 6, 5), pool_row(2), ("conv", 16, 5), pool_row(2), FLATTEN, linear_row(120),
                               linear_row(84), linear_row(10)))],
    random=random_table,
    mistakes=[
        Mistake("bias_missing", "Weights are counted, biases are not. Every filter and every output of a linear layer "
                "has one.",  # 88
                lambda input_shape, layers: _table(input_shape, layers, conv=lambda c, k, f, _: f * c * k * k,
                                                   linear=lambda n, f, _: f * n)),
        Mistake("linear_bias_missing", "The convolutions are right; the linear layers lack their biases.",  # 88
                lambda input_shape, layers: _table(input_shape, layers, linear=lambda n, f, _: f * n)),
        Mistake("conv_bias_missing", "The linear layers are right; the filters lack their biases.",  # 88
                lambda input_shape, layers: _table(input_shape, layers, conv=lambda c, k, f, _: f * c * k * k)),
        Mistake("one_bias_a_layer", "Each layer has one bias. There is one for every filter, and one for every output "
                "of a linear layer.",  # 88
                lambda input_shape, layers: _table(input_shape, layers, conv=lambda c, k, f, _: f * c * k * k + 1,
                                                   linear=lambda n, f, _: f * n + 1)),
        Mistake("depth_forgotten", "A filter is counted with k·k weights. It reaches through all the channels of its "
                "input.",  # 88
                lambda input_shape, layers: _table(input_shape, layers, conv=lambda c, k, f, _: f * (k * k + 1))),
        Mistake("depth_of_the_image", "Every filter is counted as deep as the image. It is as deep as the volume that "
                "the layer before it gives.",  # 88
                lambda input_shape, layers: _table(input_shape, layers,
                                                   conv=lambda c, k, f, first: f * (first * k * k + 1))),
        Mistake("kernel_not_squared", "A k×k filter is counted with k weights a channel.",  # 88
                lambda input_shape, layers: _table(input_shape, layers, conv=lambda c, k, f, _: f * (c * k + 1))),
        Mistake("pool_learns", "The pooling layers are given parameters. Max pooling has nothing to learn.",
                lambda input_shape, layers: _table(input_shape, layers, pool=lambda c, k: 2 * c)),
        Mistake("flatten_drops_channels", "Flatten counts the pixels of one channel. It lays out all channels in one "
                "row.",
                lambda input_shape, layers: _table(input_shape, layers, flat=lambda s: s[1] * s[2])),
        Mistake("flatten_takes_channels", "Flatten gives the number of channels only. It lays out every pixel of every "
                "channel.",
                lambda input_shape, layers: _table(input_shape, layers, flat=lambda s: s[0])),
        Mistake("plus_one_missing", "The convolutions come out one row and one column too small: 6 pixels have 4 "
                "places for a kernel of 3.",  # 10
                lambda input_shape, layers: _table(input_shape, layers, size=lambda n, k: n - k)),
        Mistake("same_size", "The convolutions keep the height and the width. There is no padding here.",
                lambda input_shape, layers: _table(input_shape, layers, size=lambda n, k: n)),
        Mistake("pool_rounds_up", "Where pooling does not fit, the size is rounded up. A window that hangs over the "
                "end is left out.",  # 71
                lambda input_shape, layers: _table(input_shape, layers, pooled=lambda n, k: -(-n // k))),
        Mistake("pool_at_stride_1", "The pooling windows move by one pixel. Here they lie side by side: the stride is "
                "the kernel size.",  # 62
                lambda input_shape, layers: _table(input_shape, layers, pooled=lambda n, k: n - k + 1)),
        Mistake("height_and_width_exchanged", "Height and width are exchanged. A shape is (channels, height, "
                "width).",  # 63
                lambda input_shape, layers: tuple(
                    ((s[0], s[2], s[1]) if len(s) == 3 else s, n) for s, n in _table(input_shape, layers))),
        Mistake("channels_last", "The channels come last. A shape is (channels, height, width).",
                lambda input_shape, layers: tuple(
                    ((*s[1:], s[0]) if len(s) == 3 else s, n) for s, n in _table(input_shape, layers))),
        Mistake("running_total", "Each row holds the parameters of all layers so far. It should hold those of its own "
                "layer.",
                lambda input_shape, layers: tuple(
                    (s, int(n)) for (s, _), n in zip(_table(input_shape, layers),
                                                     np.cumsum([n for _, n in _table(input_shape, layers)])))),
    ],
    alternatives=[table_by_match, table_by_arrays],
    hints=[
        "Which layers change the number of channels, which the height and the width? What does the next layer need to "
        "know about the one before it?",
        dedent("""\
        ```
        layer           shape after it   parameters
        image           (1, 6, 8)
        conv, 2 of 3×3  (2, 4, 6)        2·(1·3·3 + 1)  = 20
        pool 2          (2, 2, 3)        0
        flatten         (12,)            0
        linear 5        (5,)             5·(12 + 1)     = 65
        ```"""),
        dedent("""\
        ```
        shape <- input_shape
        for each layer:
            conv:     filters are as deep as `shape`; then new channels, height and width
            pool:     no parameters; height and width divided, rounded down
            flatten:  no parameters; one number, the product of all three
            linear:   every output reads all the numbers in `shape`, and has a bias
            add (shape after this layer, its parameters) to the result
        ```"""),
        "A layer's parameters depend on its input only through the number of channels (convolution) or of values "
        "(linear). So the shape has to be carried along, and one wrong shape spoils every count after it: look for the "
        "first row that differs.",
    ])


# ---------------------------------------------------------------------------- subsample

def subsample(x, coefficient, bias):
    """Oracle: torch's mean over 2x2 windows, times 4."""
    import torch

    total = 4 * torch.nn.functional.avg_pool2d(tensor(x), 2)
    return (total * tensor(coefficient)[:, None, None] + tensor(bias)[:, None, None]).numpy()


def subsample_by_slices(x, coefficient, bias):
    total = x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]
    return total * coefficient[:, None, None] + bias[:, None, None]


def subsample_by_reshape(x, coefficient, bias):
    n, c, h, w = x.shape
    total = x.reshape(n, c, h // 2, 2, w // 2, 2).sum(axis=(3, 5))
    return np.einsum("nchw,c->nchw", total, coefficient) + bias.reshape(1, -1, 1, 1)


def subsample_by_loops(x, coefficient, bias):
    out = np.zeros((x.shape[0], x.shape[1], x.shape[2] // 2, x.shape[3] // 2))
    for n, c, i, j in np.ndindex(out.shape):
        out[n, c, i, j] = coefficient[c] * x[n, c, 2 * i:2 * i + 2, 2 * j:2 * j + 2].sum() + bias[c]
    return out


def _sums(x):
    return subsample(x, np.ones(x.shape[1]), np.zeros(x.shape[1]))


def subsample_max(x, coefficient, bias):
    n, c, h, w = x.shape
    largest = x.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))
    return largest * coefficient[:, None, None] + bias[:, None, None]


def subsample_overlapping(x, coefficient, bias):
    total = x[:, :, :-1, :-1] + x[:, :, 1:, :-1] + x[:, :, :-1, 1:] + x[:, :, 1:, 1:]
    return total * coefficient[:, None, None] + bias[:, None, None]


def random_subsample(rng):
    n, c, h, w = (int(v) for v in rng.integers(1, 4, 4))
    return call(rng.integers(-8, 9, (n, c, 2 * h, 2 * w)) / 4, rng.integers(-8, 9, c) / 8, rng.integers(-8, 9, c) / 8)


SUBSAMPLE = Exercise(
    id="subsample", points=2,
    oracle=subsample,
    probes=[call(np.array([[[[1.0, 2, -1, 0], [3, -4, 2, 5]]]]), np.array([0.5]), np.array([1.0])),
            call(ints(1, 2, 3, 4, 6), np.array([0.5, -1, 2]), np.array([1.0, 0.25, -3])),
            call(quarters(2, 3, 2, 6, 4), np.array([0.25, 1.5]), np.array([-0.5, 2])),
            call(strided(ints(3, 1, 4, 2, 6)), np.array([1.0, -0.5, 0.25, 3]), np.array([0.0, 1, -1, 0.5])),
            call(quarters(4, 2, 1, 4, 8), np.array([-1.0]), np.array([0.0])),
            call(ints(5, 2, 2, 6, 4), np.array([0.75, -0.25]), np.array([2.0, -1.5]))],
    random=random_subsample,
    mistakes=[
        Mistake("mean", "The four pixels are averaged. In LeNet-5 they are added up, so your values before the bias "
                "are a quarter of what they should be.",
                lambda x, coefficient, bias: subsample(x, coefficient / 4, bias)),
        Mistake("largest", "The largest of the four pixels is taken. That is max pooling; here they are added up.",
                subsample_max),
        Mistake("first_pixel", "Only the upper left pixel of each window is read. All four are added up.",
                lambda x, coefficient, bias: x[:, :, ::2, ::2] * coefficient[:, None, None] + bias[:, None, None]),
        Mistake("overlapping", "The windows move by one pixel and overlap. They lie side by side: the stride is 2.",
                subsample_overlapping),
        Mistake("bias_missing", "The bias is not added.",
                lambda x, coefficient, bias: subsample(x, coefficient, 0 * bias)),
        Mistake("bias_first", "The bias is added before the multiplication. The sum of the pixels is multiplied first.",
                lambda x, coefficient, bias: subsample(x, coefficient, coefficient * bias)),
        Mistake("bias_per_pixel", "The bias is added to each of the four pixels. It is added once.",
                lambda x, coefficient, bias: subsample(x, coefficient, 4 * bias)),
        Mistake("first_coefficient", "Every channel is multiplied by coefficient 0. Each has its own.",
                lambda x, coefficient, bias: subsample(x, coefficient[:1].repeat(len(coefficient)), bias)),
        Mistake("coefficient_missing", "The coefficient is not used.",
                lambda x, coefficient, bias: subsample(x, np.ones_like(coefficient), bias)),
        Mistake("along_width", "Coefficient and bias are laid along the width: broadcasting lines up the last axis. "
                "They belong to the channels, axis 1.",  # 25
                lambda x, coefficient, bias: _sums(x) * coefficient + bias),
        Mistake("squashed", "The result has gone through tanh as well. That is a layer of its own, and is not part of "
                "this function.",
                lambda x, coefficient, bias: np.tanh(subsample(x, coefficient, bias))),
        Mistake("scaled_tanh", "The result has gone through the squashing function as well. That is not part of this "
                "function.",
                lambda x, coefficient, bias: 1.7159 * np.tanh(2 / 3 * subsample(x, coefficient, bias))),
        Mistake("channels_summed", "The channels are added up too. Subsampling acts on each channel alone.",  # 68
                lambda x, coefficient, bias: subsample(x.sum(axis=1, keepdims=True).repeat(x.shape[1], axis=1),
                                                       coefficient, bias)),
        Mistake("integer_buffer", "The output is stored in an array of integers, which cuts off fractions.",  # 33
                lambda x, coefficient, bias: subsample(x, coefficient, bias).astype(int)),
    ],
    alternatives=[subsample_by_slices, subsample_by_reshape, subsample_by_loops],
    hints=[
        "Average pooling with a window of 2 adds four pixels and divides by 4. What takes the place of that 1/4 here?",
        dedent("""\
        One channel, coefficient ½, bias 1:

        ```
         1  2 | -1  0
         3 -4 |  2  5       sums       2      6
                            output     2·½ + 1 = 2,   6·½ + 1 = 4
        ```"""),
        dedent("""\
        ```
        total  <- the four pixels of each 2×2 window, added     # (N, C, H/2, W/2)
        result <- total times the channel's coefficient, plus the channel's bias
        ```

        `x[:, :, ::2, 1::2]` is the upper right pixel of every window at once. To lie along the channels, an array of
        shape (C,) needs two more axes behind it."""),
        "The network learns how strongly to subsample. With a coefficient of ¼ the layer averages; with a large one, "
        "and the squashing function after it, the output is nearly ±1 and the layer decides rather than blurs. It "
        "costs two parameters a channel.",
    ])


# ---------------------------------------------------------------------------- c3_table

PRINTED = """
X...XXX..XXXX.XX
XX...XXX..XXXX.X
XXX...XXX..X.XXX
.XXX..XXXX..X.XX
..XXX..XXXX.XX.X
...XXX..XXXX.XXX
"""  # table I of the paper: a column is a map of C3, a row a map of S2


def c3_table():
    """Oracle: the table as printed."""
    return np.array([[int(mark == "X") for mark in row] for row in PRINTED.split()]).T


THREES = [(i, i + 1, i + 2) for i in range(6)]
FOURS = [(i, i + 1, i + 2, i + 3) for i in range(6)]
SPLIT = [(0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)]


def _connect(maps, wrap=True):
    table = np.zeros((len(maps), 6), dtype=int)
    for row, inputs in zip(table, maps):
        row[[i % 6 for i in inputs if wrap or i < 6]] = 1
    return table


def c3_by_lists():
    return [[1 if i % 6 in [m % 6 for m in inputs] else 0 for i in range(6)]
            for inputs in THREES + FOURS + SPLIT + [tuple(range(6))]]


def c3_by_roll():
    three, four = np.array([1, 1, 1, 0, 0, 0]), np.array([1, 1, 1, 1, 0, 0])
    rows = [np.roll(start, shift) for start in (three, four) for shift in range(6)]
    return np.stack([*rows, [1, 1, 0, 1, 1, 0], [0, 1, 1, 0, 1, 1], [1, 0, 1, 1, 0, 1], np.ones(6, int)])


C3_TABLE = Exercise(
    id="c3_table", points=1, forbidden=LAYERS_ALLOWED,
    oracle=c3_table,
    probes=[call()],
    random=None,
    mistakes=[
        Mistake("all_connected", "Every map of C3 reads every map of S2. Only the last one does.",
                lambda: np.ones((16, 6), dtype=int)),
        Mistake("no_wrap", "The neighbours stop at map 5. They go on at map 0: after 5 comes 0.",
                lambda: _connect([*THREES, *FOURS, *SPLIT, range(6)], wrap=False)),
        Mistake("transposed", "Rows and columns are exchanged: a row belongs to a map of C3, a column to a map of S2.",
                lambda: c3_table().T),
        Mistake("fours_start_at_one", "The maps with four neighbours start at 1, 2, … Map 6 of C3 starts again at map "
                "0 of S2.",
                lambda: _connect([*THREES, *[[i + 1 for i in m] for m in FOURS], *SPLIT, range(6)])),
        Mistake("neighbours_before", "The neighbours lie before the starting map. Map 0 of C3 reads 0, 1 and 2.",
                lambda: _connect([*[[-i + 2 * m[0] for i in m] for m in THREES + FOURS], *SPLIT, range(6)])),
        Mistake("split_are_neighbours", "Maps 12 to 14 read four neighbours. Theirs are two pairs with a gap on each "
                "side.",
                lambda: _connect([*THREES, *FOURS, *FOURS[:3], range(6)])),
        Mistake("split_in_another_order", "Maps 12 to 14 have the right connections in another order. Look at which "
                "two maps of S2 each of them leaves out.",
                lambda: _connect([*THREES, *FOURS, SPLIT[0], SPLIT[2], SPLIT[1], range(6)])),
        Mistake("last_map_empty", "The last map reads nothing. It reads all six.",
                lambda: _connect([*THREES, *FOURS, *SPLIT, ()])),
        Mistake("fours_are_threes", "Maps 6 to 11 read three maps each. They read four.",
                lambda: _connect([*THREES, *THREES, *SPLIT, range(6)])),
        Mistake("numbers_not_marks", "The table holds the numbers of the maps. It should hold 1 where a map is read "
                "and 0 elsewhere.",
                lambda: c3_table() * np.arange(6)),
        Mistake("reversed", "0 and 1 are exchanged: 1 means that the map is read.", lambda: 1 - c3_table()),
    ],
    alternatives=[c3_by_lists, c3_by_roll],
    hints=[
        "Map 4 of C3 reads three neighbours, from map 4 of S2 on. Which are they, if the maps stand in a circle?",
        dedent("""\
        The first and the last of the maps with three neighbours:

        ```
        map of S2   0 1 2 3 4 5
        row 0       1 1 1 0 0 0
        row 5       1 1 0 0 0 1
        ```"""),
        dedent("""\
        ```
        table <- zeros                          # (16, 6), int
        for i from 0 to 5:
            row i     <- 1 at i, i+1, i+2       (counted in a circle of 6)
            row 6 + i <- 1 at i, i+1, i+2, i+3
        rows 12, 13, 14 <- as the text lists them
        row 15 <- 1 everywhere
        ```"""),
        "Neighbours have no meaning of their own here; the six maps of S2 could stand in any order. What counts is "
        "that the sets differ, so that two maps of C3 cannot learn the same thing, and that every map of S2 is read "
        "equally often: ten times.",
    ])


# ---------------------------------------------------------------------------- linear

class TorchLinear:
    """Oracle: torch.nn.functional.linear and autograd."""

    def __init__(self, weight, bias):
        self.weight, self.bias = weight, bias

    def forward(self, x):
        import torch

        self.x = tensor(x, grad=True)
        self.w, self.b = (tensor(p, grad=True) for p in (self.weight, self.bias))
        self.y = torch.nn.functional.linear(self.x, self.w, self.b)
        return self.y.detach().numpy()

    def backward(self, dy):
        self.y.backward(tensor(dy))
        self.grad_weight, self.grad_bias = self.w.grad.numpy(), self.b.grad.numpy()
        return self.x.grad.numpy()


class LinearPlain:
    """y = x wᵀ + b in NumPy; the base of alternatives and mistakes."""

    def __init__(self, weight, bias):
        self.weight, self.bias, self.grad_weight, self.grad_bias = weight, bias, None, None

    def forward(self, x):
        self.x = x
        return x @ self.weight.T + self.bias

    def backward(self, dy):
        self.grad_weight, self.grad_bias = dy.T @ self.x, dy.sum(axis=0)
        return dy @ self.weight


class LinearLoops(LinearPlain):
    def forward(self, x):
        self.x = [list(row) for row in x]
        return [[sum(w * v for w, v in zip(weights, row)) + b for weights, b in zip(self.weight, self.bias)]
                for row in x]

    def backward(self, dy):
        dx = np.zeros((len(self.x), self.weight.shape[1]))
        self.grad_weight, self.grad_bias = np.zeros(self.weight.shape), np.zeros(len(self.bias))
        for row, up, down in zip(self.x, dy, dx):
            for o, g in enumerate(up):
                self.grad_bias[o] += g
                for i, v in enumerate(row):
                    self.grad_weight[o, i] += g * v
                    down[i] += g * self.weight[o, i]
        return dx


class LinearEinsum(LinearPlain):
    def forward(self, x):
        self.x = x.copy()
        return np.einsum("ni,oi->no", x, self.weight) + self.bias

    def backward(self, dy):
        self.grad_weight = np.einsum("no,ni->oi", dy, self.x)
        self.grad_bias = np.ones(len(dy)) @ dy
        return np.einsum("no,oi->ni", dy, self.weight)


def linear_mistake(forward=None, dx=None, dw=None, db=None):
    """A Linear with one part replaced: forward(self, x), dx, dw, db(self, dy)."""
    class Wrong(LinearPlain):
        def forward(self, x):
            self.x = x
            return forward(self, x) if forward else x @ self.weight.T + self.bias

        def backward(self, dy):
            self.grad_weight = dw(self, dy) if dw else dy.T @ self.x
            self.grad_bias = db(self, dy) if db else dy.sum(axis=0)
            return dx(self, dy) if dx else dy @ self.weight

    return Wrong


class LinearPilesUp(LinearPlain):
    def backward(self, dy):
        old = (self.grad_weight, self.grad_bias) if self.grad_weight is not None else (0, 0)
        dx = super().backward(dy)
        self.grad_weight, self.grad_bias = self.grad_weight + old[0], self.grad_bias + old[1]
        return dx


class LinearFirstInput(LinearPlain):
    x = None

    def forward(self, x):
        self.x = x if self.x is None else self.x
        return x @ self.weight.T + self.bias


def linear_steps(x, dy, x2=None, dy2=None):
    read = [("grad_weight", None), ("grad_bias", None)]
    again = [("forward", {"x2": x2}), ("backward", {"dy2": dy2}), *read] if x2 is not None else []
    return [("forward", {"x": x}), ("backward", {"dy": dy}), *read, *again]


FORWARD, BACKWARD = "forward", "backward"


def random_linear(rng):
    n, n2, i, o = (int(v) for v in rng.integers(1, 5, 4))

    def draw(*shape):
        return rng.integers(-8, 9, shape) / 4

    weight, bias = draw(o, i), draw(o)
    if rng.integers(2):
        return call(weight, bias, part=FORWARD, steps=[("forward", {"x": draw(n, i)})])
    return call(weight, bias, part=BACKWARD, steps=linear_steps(draw(n, i), draw(n, o), draw(n2, i), draw(n2, o)))


LINEAR = Exercise(
    id="linear", points=2,
    oracle=TorchLinear,
    probes=[call(np.array([[1.0, 2, -1], [0, 3, 1]]), np.array([0.5, -1]), part=FORWARD,
                 steps=[("forward", {"x": np.array([[2.0, 1, 3]])})]),
            call(ints(10, 4, 3), quarters(11, 4), part=FORWARD,
                 steps=[("forward", {"x": quarters(12, 5, 3)}), ("weight", None), ("bias", None)]),
            call(quarters(13, 3, 3), ints(14, 3), part=FORWARD, steps=[("forward", {"x": strided(ints(15, 3, 3))})]),
            call(np.array([[1.0, 2], [0, 3], [-1, 1]]), np.array([1.0, 0, -2]), part=BACKWARD,
                 steps=linear_steps(np.array([[2.0, -1]]), np.array([[1.0, 3, -2]]))),
            call(ints(16, 2, 4), quarters(17, 2), part=BACKWARD,
                 steps=linear_steps(quarters(18, 3, 4), ints(19, 3, 2), ints(20, 5, 4), quarters(21, 5, 2))),
            call(quarters(22, 3, 3), ints(23, 3), part=BACKWARD,
                 steps=linear_steps(strided(ints(24, 3, 3)), ints(25, 3, 3), quarters(26, 3, 3), ints(27, 3, 3))),
            call(ints(28, 1, 3), quarters(29, 1), part=BACKWARD,
                 steps=linear_steps(ints(30, 4, 3), strided(quarters(31, 4, 1))))],
    random=random_linear,
    mistakes=[
        Mistake("bias_missing", "The bias is not added.",  # 23
                linear_mistake(forward=lambda self, x: x @ self.weight.T)),
        Mistake("weight_not_transposed", "A square weight shows it: output o is the dot product of the input with row "
                "o of `weight`, not with its column o.",  # 20
                linear_mistake(forward=lambda self, x: x @ self.weight + self.bias)),
        Mistake("relu_inside", "Negative outputs have become 0. ReLU is a layer of its own.",  # 37
                linear_mistake(forward=lambda self, x: np.maximum(x @ self.weight.T + self.bias, 0))),
        Mistake("weight_gradient_averaged", "grad_weight is averaged over the batch. `dy` already belongs to the loss "
                "of the whole batch: add up.",  # 40
                linear_mistake(dw=lambda self, dy: dy.T @ self.x / len(dy))),
        Mistake("both_gradients_averaged", "grad_weight and grad_bias are averaged over the batch. `dy` already "
                "belongs to the loss of the whole batch: add up.",  # 40
                linear_mistake(dw=lambda self, dy: dy.T @ self.x / len(dy), db=lambda self, dy: dy.mean(axis=0))),
        Mistake("bias_gradient_averaged", "grad_bias is averaged over the batch. `dy` already belongs to the loss of "
                "the whole batch: add up.",  # 41
                linear_mistake(db=lambda self, dy: dy.mean(axis=0))),
        Mistake("bias_gradient_not_summed", "grad_bias still has a row for each sample. Every sample used the same "
                "bias, so the rows are added up.",  # 42
                linear_mistake(db=lambda self, dy: dy)),
        Mistake("weight_gradient_transposed", "grad_weight is transposed. It has the shape of `weight`: (out, in).",
                linear_mistake(dw=lambda self, dy: self.x.T @ dy)),
        Mistake("last_sample_only", "Only the last sample of the batch counts in the gradients. They add up.",  # 43
                linear_mistake(dw=lambda self, dy: np.outer(dy[-1], self.x[-1]), db=lambda self, dy: dy[-1])),
        Mistake("dx_not_transposed", "A square weight shows it: dx multiplies by the transpose of what it should. "
                "Input i passed through column i of `weight`.",
                linear_mistake(dx=lambda self, dy: dy @ self.weight.T)),
        Mistake("upstream_ignored", "`dy` is taken as ones. It says how much each output matters to the loss.",  # 54
                linear_mistake(dx=lambda self, dy: np.ones_like(dy) @ self.weight,
                               dw=lambda self, dy: np.ones_like(dy).T @ self.x,
                               db=lambda self, dy: np.ones_like(dy).sum(axis=0))),
        Mistake("gradients_pile_up", "The first backward is right. In the second, the gradients of the first are still "
                "in the sum: each backward starts anew.",  # 57
                LinearPilesUp),
        Mistake("keeps_the_first_input", "The second backward uses the input of the first forward. Each forward keeps "
                "its own.",
                LinearFirstInput),
        Mistake("dx_averaged", "dx is divided by the number of samples. Each sample has its own row in dx.",  # 55
                linear_mistake(dx=lambda self, dy: dy @ self.weight / len(dy))),
    ],
    alternatives=[LinearPlain, LinearLoops, LinearEinsum],
    hints=[
        "One sample, one output: which numbers does it multiply, and which weights does it use? Then: through which "
        "outputs does weight (o, i) reach the loss, and with which factor?",
        dedent("""\
        weight (2, 3), one sample:

        ```
        x = (2, 1, 3)     weight  1  2 -1   bias  0.5     y = ( 2 + 2 - 3 + 0.5,
                                  0  3  1        -1             3 + 3 - 1        )

        with dy = (a, b):  grad_weight  2a 1a 3a     grad_bias (a, b)
                                        2b 1b 3b
                           dx = (a·1 + b·0,  a·2 + b·3,  -a + b)
        ```"""),
        dedent("""\
        ```
        forward(x):    keep x                                          # (N, in)
                       return x times weight, transposed, plus bias    # (N, out)
        backward(dy):  grad_weight <- sum over samples of dy[n, o]·x[n, i]   # (out, in)
                       grad_bias   <- sum over samples of dy[n, o]           # (out,)
                       return sum over outputs of dy[n, o]·weight[o, i]      # (N, in)
        ```

        Each of the three sums is one matrix product: which two arrays share the axis that is summed?"""),
        "Forward sums over the inputs, backward over the outputs, and the gradient of the weights over the samples: "
        "each index that does not appear in the result is summed. The shapes leave only one way to multiply, unless "
        "the weight is square.",
    ])


# ---------------------------------------------------------------------------- relu

class TorchReLU:
    """Oracle: torch.relu and autograd."""

    def forward(self, x):
        import torch

        self.x = tensor(x, grad=True)
        self.y = torch.relu(self.x)
        return self.y.detach().numpy()

    def backward(self, dy):
        self.y.backward(tensor(dy))
        return self.x.grad.numpy()


class ReLUPlain:
    def forward(self, x):
        self.x = x
        return np.maximum(x, 0)

    def backward(self, dy):
        return dy * (self.x > 0)


class ReLUByWhere(ReLUPlain):
    def forward(self, x):
        self.x = np.array(x)
        return np.where(x < 0, 0.0, x)

    def backward(self, dy):
        dx = np.array(dy)
        dx[self.x <= 0] = 0
        return dx


class ReLUFromOutput(ReLUPlain):
    def forward(self, x):
        self.y = x * (x > 0)
        return self.y

    def backward(self, dy):
        return np.where(self.y > 0, dy, 0)


def relu_mistake(forward=None, backward=None):
    class Wrong(ReLUPlain):
        def forward(self, x):
            self.x = x
            return forward(x) if forward else np.maximum(x, 0)

        def backward(self, dy):
            return backward(self.x, dy) if backward else dy * (self.x > 0)

    return Wrong


class ReLUFirstMask(ReLUPlain):
    x = None

    def forward(self, x):
        self.x = x if self.x is None else self.x
        return np.maximum(x, 0)


class ReLUInPlace(ReLUPlain):
    def forward(self, x):
        x[x < 0] = 0
        self.x = x
        return x


def relu_steps(x, dy, x2=None, dy2=None):
    again = [("forward", {"x2": x2}), ("backward", {"dy2": dy2})] if x2 is not None else []
    return [("forward", {"x": x}), ("backward", {"dy": dy}), *again]


def random_relu(rng):
    shape = tuple(int(v) for v in rng.integers(1, 4, rng.choice([2, 4])))
    return call(steps=relu_steps(*(rng.integers(-4, 5, shape) / 2 for _ in range(4))))


RELU = Exercise(
    id="relu", points=1,
    oracle=TorchReLU,
    probes=[call(steps=relu_steps(np.array([[3.0, -2, 0, 0.5]]), np.array([[1.0, 2, 4, -3]]))),
            call(steps=relu_steps(ints(40, 2, 3), quarters(41, 2, 3))),
            call(steps=relu_steps(ints(42, 3, 4), quarters(43, 3, 4), quarters(44, 3, 4), ints(45, 3, 4))),
            call(steps=relu_steps(quarters(46, 2, 3, 2, 4), ints(47, 2, 3, 2, 4))),
            call(steps=relu_steps(strided(ints(48, 1, 2, 3, 2)), strided(quarters(49, 1, 2, 3, 2))))],
    random=random_relu,
    mistakes=[
        Mistake("gradient_at_zero", "An input of exactly 0 lets its gradient through. By PyTorch's convention, and "
                "here, it does not.",  # 56
                relu_mistake(backward=lambda x, dy: dy * (x >= 0))),
        Mistake("mask_from_dy", "The gradient is cut where `dy` is negative. What counts is the sign of the input in "
                "the forward pass.",  # 56
                relu_mistake(backward=lambda x, dy: np.maximum(dy, 0))),
        Mistake("mask_from_both", "The gradient is cut where the input is negative, and where `dy` is negative too. "
                "Gradients have both signs.",  # 56
                relu_mistake(backward=lambda x, dy: np.maximum(dy, 0) * (x > 0))),
        Mistake("no_mask", "The gradient passes everywhere. Where the input was negative, the output did not depend on "
                "it.",
                relu_mistake(backward=lambda x, dy: dy.copy())),
        Mistake("upstream_ignored", "The gradient is 1 wherever the input was positive. It should be what `dy` holds "
                "there.",  # 54
                relu_mistake(backward=lambda x, dy: (x > 0).astype(float))),
        Mistake("times_output", "The gradient is multiplied by the output. The slope of ReLU is 1 where the input is "
                "positive, whatever its size.",
                relu_mistake(backward=lambda x, dy: dy * np.maximum(x, 0))),
        Mistake("mask_reversed", "The gradient passes where the input was negative and stops where it was positive.",
                relu_mistake(backward=lambda x, dy: dy * (x < 0))),
        Mistake("absolute", "The sign is dropped. A negative input gives 0.",
                relu_mistake(forward=np.abs)),
        Mistake("leaky", "Negative inputs are made a hundred times smaller. That is a leaky ReLU; ReLU gives 0.",
                relu_mistake(forward=lambda x: np.where(x > 0, x, 0.01 * x),
                             backward=lambda x, dy: dy * np.where(x > 0, 1, 0.01))),
        Mistake("minimum", "Positive inputs are cut and negative ones kept: it is the wrong way round.",
                relu_mistake(forward=lambda x: np.minimum(x, 0))),
        Mistake("step", "The output is 1 for every positive input. ReLU gives the input itself.",
                relu_mistake(forward=lambda x: (x > 0).astype(float))),
        Mistake("keeps_the_first_input", "The second backward uses the input of the first forward. Each forward keeps "
                "its own.",
                ReLUFirstMask),
        Mistake("in_place", "The forward pass changes the array it was given.", ReLUInPlace),  # 32, 92
    ],
    alternatives=[ReLUPlain, ReLUByWhere, ReLUFromOutput],
    hints=[
        "Draw max(x, 0). What is its slope on the left, what on the right?",
        dedent("""\
        ```
        x                3   -2    0   0.5
        forward          3    0    0   0.5
        slope            1    0    0   1
        dy               1    2    4  -3
        backward         1    0    0  -3
        ```"""),
        dedent("""\
        ```
        forward(x):   keep what backward needs: where x is positive
                      return x where it is positive, 0 elsewhere, as a new array
        backward(dy): return dy where x was positive, 0 elsewhere
        ```"""),
        "By the chain rule dx is dy times the slope at the input of the forward pass. The slope at 0 does not exist; "
        "any value between 0 and 1 would do, and libraries take 0.",
    ])


# ---------------------------------------------------------------------------- cross_entropy

class TorchCrossEntropy:
    """Oracle: torch.nn.functional.cross_entropy and autograd."""

    def forward(self, logits, labels):
        import torch

        self.logits = tensor(logits, grad=True)
        self.loss = torch.nn.functional.cross_entropy(self.logits, torch.tensor(np.array(labels)))
        return float(self.loss.detach())

    def backward(self):
        self.loss.backward()
        return self.logits.grad.numpy()


def softmax(logits, axis=1):
    e = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def log_softmax(logits, axis=1):
    shifted = logits - logits.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def one_hot(labels, classes):
    return np.eye(classes)[labels]


class CrossEntropyPlain:
    def forward(self, logits, labels):
        self.p, self.labels = softmax(logits), labels
        return -log_softmax(logits)[np.arange(len(labels)), labels].mean()

    def backward(self):
        return (self.p - one_hot(self.labels, self.p.shape[1])) / len(self.labels)


class CrossEntropyLogaddexp(CrossEntropyPlain):
    def forward(self, logits, labels):
        total = np.logaddexp.reduce(logits, axis=1)
        self.p, self.labels = np.exp(logits - total[:, None]), labels
        return float(np.mean(total - np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]))


class CrossEntropyLoops(CrossEntropyPlain):
    def forward(self, logits, labels):
        loss, self.grad = 0.0, np.zeros(logits.shape)
        for n, (row, label) in enumerate(zip(logits, labels)):
            top = max(row)
            weights = [np.exp(v - top) for v in row]
            loss += np.log(sum(weights)) + top - row[label]
            for k, weight in enumerate(weights):
                self.grad[n, k] = (weight / sum(weights) - (k == label)) / len(labels)
        return loss / len(labels)

    def backward(self):
        return self.grad


def ce_mistake(loss=None, grad=None):
    """A loss with a part replaced: loss(logits, labels), grad(logits, labels)."""
    class Wrong(CrossEntropyPlain):
        def forward(self, logits, labels):
            right = super().forward(logits, labels)
            self.logits, self.classes = logits, logits.shape[1]
            return loss(logits, labels) if loss else right

        def backward(self):
            return grad(self.logits, self.labels) if grad else super().backward()

    return Wrong


def _picked(values, labels):
    return values[np.arange(len(labels)), labels]


def _softmax_gradient(p, dp):
    return p * (dp - (dp * p).sum(axis=1, keepdims=True))


def twice_loss(logits, labels):
    return -_picked(log_softmax(softmax(logits)), labels).mean()


def twice_grad(logits, labels):
    p = softmax(logits)
    return _softmax_gradient(p, (softmax(p) - one_hot(labels, p.shape[1])) / len(labels))


def ce_grad(logits, labels, p=None, by=None):
    p = softmax(logits) if p is None else p
    return (p - one_hot(labels, p.shape[1])) / (by or len(labels))


LOSS, GRADIENT, LARGE = "the loss", "the gradient", "large logits"


def ce_steps(logits, labels, gradient=True):
    return [("forward", {"logits": logits, "labels": np.array(labels)}), *([("backward", {})] if gradient else [])]


def random_ce(rng):
    n, k = (int(v) for v in (rng.integers(1, 5), rng.integers(2, 6)))
    part = [LOSS, GRADIENT, LARGE][rng.integers(3)]
    logits = rng.integers(-8, 9, (n, k)) / 4 if part != LARGE else rng.integers(-9, 10, (n, k)) * 125.0
    return call(part=part, steps=ce_steps(logits, rng.integers(0, k, n), part != LOSS))


CROSS_ENTROPY = Exercise(
    id="cross_entropy", points=3,
    oracle=TorchCrossEntropy,
    probes=[call(part=LOSS, steps=ce_steps(np.array([[0.0, 0]]), [1], False)),
            call(part=LOSS, steps=ce_steps(np.array([[1.0, 2, -1], [0, 0.5, 3]]), [1, 0], False)),
            call(part=LOSS, steps=ce_steps(quarters(60, 4, 3), [2, 0, 1, 2], False)),
            call(part=GRADIENT, steps=ce_steps(np.array([[0.0, 0]]), [1])),
            call(part=GRADIENT, steps=ce_steps(np.array([[1.0, -1, 0.5]]), [2])),
            call(part=GRADIENT, steps=ce_steps(quarters(61, 3, 4), [3, 1, 0])),
            call(part=GRADIENT, steps=ce_steps(strided(ints(62, 5, 2)), [0, 1, 1, 0, 1])),
            call(part=LARGE, steps=ce_steps(np.array([[1000.0, 0, 999]]), [2])),
            call(part=LARGE, steps=ce_steps(np.array([[-800.0, -802, -801], [3, 1000, 998]]), [1, 0]))],
    random=random_ce,
    mistakes=[
        Mistake("softmax_twice", "Softmax is applied to what is already a softmax. This loss takes logits and does "
                "that step itself, once.",  # 104
                ce_mistake(twice_loss, twice_grad)),
        Mistake("epsilon_in_the_log", "A small number is added inside the logarithm. It hides log(0) and changes every "
                "loss; take the logarithm before the exponential can underflow.",
                ce_mistake(lambda z, y: -np.log(_picked(softmax(z), y) + 1e-12).mean())),
        Mistake("sum_loss", "The loss is the sum over the batch, not the mean, and the gradient with it.",  # 55
                ce_mistake(lambda z, y: -_picked(log_softmax(z), y).sum(), lambda z, y: ce_grad(z, y, by=1))),
        Mistake("gradient_of_the_sum", "The gradient is that of the sum over the batch. The loss is a mean, so divide "
                "by N.",  # 55
                ce_mistake(grad=lambda z, y: ce_grad(z, y, by=1))),
        Mistake("mean_over_classes_too", "Loss and gradient are divided by the number of classes as well. Only one "
                "class of each sample, the right one, is in the sum.",
                ce_mistake(lambda z, y: -_picked(log_softmax(z), y).mean() / z.shape[1],
                           lambda z, y: ce_grad(z, y) / z.shape[1])),
        Mistake("gradient_without_labels", "The gradient is the softmax itself. At the right class it is less by 1.",
                ce_mistake(grad=lambda z, y: softmax(z) / len(y))),
        Mistake("gradient_sign", "The gradient has the wrong sign: a larger logit for a wrong class makes the loss "
                "larger.",
                ce_mistake(grad=lambda z, y: -ce_grad(z, y))),
        Mistake("loss_sign", "The sign of the loss is missing: the logarithm of a probability is negative.",
                ce_mistake(lambda z, y: _picked(log_softmax(z), y).mean())),
        Mistake("over_the_batch", "Softmax is taken down the batch (axis 0). The classes of one sample, axis 1, sum to "
                "1.",
                ce_mistake(lambda z, y: -_picked(log_softmax(z, 0), y).mean(),
                           lambda z, y: ce_grad(z, y, softmax(z, 0)))),
        Mistake("likeliest_class", "The loss is that of the class with the largest logit. It should be that of the "
                "label.",
                ce_mistake(lambda z, y: -log_softmax(z).max(axis=1).mean(),
                           lambda z, y: ce_grad(z, z.argmax(axis=1)))),
        Mistake("labels_from_one", "The labels are counted from 1. They start at 0.",
                ce_mistake(lambda z, y: -_picked(log_softmax(z), y - 1).mean(), lambda z, y: ce_grad(z, y - 1))),
        Mistake("one_loss_a_sample", "There is one loss for each sample. Return their mean, one number.",
                ce_mistake(lambda z, y: -_picked(log_softmax(z), y))),
        Mistake("logarithm_missing", "It returns the mean probability of the right class. The loss is minus its "
                "logarithm.",
                ce_mistake(lambda z, y: _picked(softmax(z), y).mean())),
        Mistake("base_2", "The logarithm is to base 2. It should be the natural one.",
                ce_mistake(lambda z, y: -_picked(log_softmax(z), y).mean() / np.log(2))),
    ],
    alternatives=[CrossEntropyPlain, CrossEntropyLogaddexp, CrossEntropyLoops],
    hints=[
        "Two classes with equal logits: which probabilities, which loss? And what happens to the softmax if you add 7 "
        "to all logits of a sample?",
        dedent("""\
        One sample, label 1:

        ```
        logits               1      2      -1
        minus the largest   -1      0      -3
        exp                 0.368   1      0.050     sum 1.418
        softmax             0.259   0.705  0.035
        loss                -log 0.705  =  log 1.418 - 0  =  0.349
        gradient            0.259  -0.295  0.035     sums to 0
        ```"""),
        dedent("""\
        ```
        forward(logits, labels):
            shifted <- logits minus the largest logit of each sample      # (N, K)
            log_p   <- shifted minus log of the sum of exp(shifted) over the classes
            keep what backward needs
            return minus the mean of log_p at each sample's label
        backward():
            p <- exp(log_p);  at each sample's label subtract 1
            return p divided by N                                         # (N, K)
        ```"""),
        "log softmax is $z_k - \\log\\sum_j e^{z_j}$. Differentiate: the first term gives 1 at the label, the second "
        "the softmax. Subtracting the largest logit leaves the difference as it is, and no exp is then larger than 1. "
        "Taking the logarithm of a finished softmax would be too late: a probability of $e^{-1000}$ has already become "
        "0.",
    ])


# ---------------------------------------------------------------------------- kaiming_std

def kaiming_std(shape):
    """Oracle: torch's gain and fan."""
    import torch

    fan, _ = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
    return torch.nn.init.calculate_gain("relu") / fan**0.5


def fans(shape):
    area = int(np.prod(shape[2:]))
    return shape[1] * area, shape[0] * area


def kaiming_by_array(shape):
    return np.sqrt(2 / np.zeros(shape)[0].size)


def kaiming_by_loop(shape):
    fan = 1
    for n in shape[1:]:
        fan *= n
    return (2 / fan) ** 0.5


def random_shape(rng):
    sizes = [int(v) for v in rng.integers(1, 9, rng.choice([2, 4]))]
    return call(tuple(sizes))


KAIMING_STD = Exercise(
    id="kaiming_std", points=1,
    oracle=kaiming_std,
    probes=[call((3, 8)), call((8, 2)), call((6, 1, 5, 5)), call((16, 6, 5, 5)), call((120, 400)),
            call((2, 8, 1, 1)), call((4, 3, 2, 3))],
    random=random_shape,
    mistakes=[
        Mistake("fan_out", "It counts the outputs that an input reaches (fan_out). Count the inputs of one output.",
                lambda shape: (2 / fans(shape)[1]) ** 0.5),
        Mistake("channels_only", "Linear layers are right. In a convolution, an output sums over the whole window, "
                "kH·kW pixels in each channel.",
                lambda shape: (2 / shape[1]) ** 0.5),
        Mistake("all_weights", "It divides by the number of all weights. One output uses only its own row, or filter.",
                lambda shape: (2 / np.prod(shape)) ** 0.5),
        Mistake("variance", "That is the variance, 2/fan_in. The standard deviation is its square root.",
                lambda shape: 2 / fans(shape)[0]),
        Mistake("gain_missing", "The factor 2 is missing. ReLU sets about half of the values to 0, and the 2 makes up "
                "for it.",
                lambda shape: (1 / fans(shape)[0]) ** 0.5),
        Mistake("two_outside", "The 2 stands outside the root: it belongs to the variance, so under the root.",
                lambda shape: 2 / fans(shape)[0] ** 0.5),
        Mistake("uniform_bound", "That is the bound of a uniform distribution with this standard deviation, √3 times "
                "as large.",
                lambda shape: (6 / fans(shape)[0]) ** 0.5),
        Mistake("xavier", "That is Xavier's rule, which takes inputs and outputs together and suits tanh.",
                lambda shape: (2 / sum(fans(shape))) ** 0.5),
        Mistake("square_kernel", "The kernel is taken as square. Height and width can differ.",  # 7
                lambda shape: (2 / (shape[1] * (shape[2] ** 2 if len(shape) == 4 else 1))) ** 0.5),
        Mistake("bias_counted", "The bias is counted as one more input. fan_in counts weights only.",
                lambda shape: (2 / (fans(shape)[0] + 1)) ** 0.5),
    ],
    alternatives=[kaiming_by_array, kaiming_by_loop],
    hints=[
        "How many products does one output add up: in a linear layer, and in a convolution?",
        dedent("""\
        ```
        weight (3, 8)         one output adds 8 products         √(2/8)  = 0.5
        weight (6, 1, 5, 5)   one output adds 1·5·5 products     √(2/25) = 0.283
        ```"""),
        dedent("""\
        ```
        fan_in <- product of all axes of shape but the first
        result <- square root of 2 / fan_in
        ```"""),
        "A sum of n independent products has n times the variance of one. Weights of variance 1/n would keep the "
        "variance of the input; ReLU then throws half of it away (in the mean square), so 2/n.",
    ])


# ---------------------------------------------------------------------------- lenet

class TorchLeNet:
    """Oracle: torch's functions and autograd."""

    def __init__(self, *weights):
        self.weights = [tensor(w) for w in weights]

    def forward(self, x):
        self.x = tensor(x, grad=True)
        self.y = self.net(self.x)
        return self.y.detach().numpy()

    def backward(self, dy):
        self.y.backward(tensor(dy))
        return self.x.grad.numpy()

    def net(self, x):
        x = self.pool(self.act(self.conv(x, *self.weights[:2])))
        x = self.pool2(self.act2(self.conv(x, *self.weights[2:4])))
        x = self.linear(self.flatten(x), *self.weights[4:6])
        x = self.linear(self.act3(x), *self.weights[6:8])
        return self.end(self.linear(self.act4(x), *self.weights[8:]))

    def conv(self, x, weight, bias):
        import torch

        return torch.nn.functional.conv2d(x, weight, bias)

    def linear(self, x, weight, bias):
        import torch

        return torch.nn.functional.linear(x, weight, bias)

    def act(self, x):
        return x.relu()

    act2 = act3 = act4 = act

    def pool(self, x):
        import torch

        return torch.nn.functional.max_pool2d(x, 2)

    pool2 = pool

    def flatten(self, x):
        return x.flatten(1)

    def end(self, x):
        return x


def lenet(w1, b1, w2, b2, w3, b3, w4, b4, w5, b5):
    """Oracle."""
    return TorchLeNet(w1, b1, w2, b2, w3, b3, w4, b4, w5, b5)


def lenet_variant(**replaced):
    """LeNet with some methods replaced."""
    class Variant(TorchLeNet):
        pass

    for name, method in replaced.items():
        setattr(Variant, name, method)

    def build(w1, b1, w2, b2, w3, b3, w4, b4, w5, b5):
        return Variant(w1, b1, w2, b2, w3, b3, w4, b4, w5, b5)

    return build


def same(self, x):
    return x


def average(self, x):
    import torch

    return torch.nn.functional.avg_pool2d(x, 2)


def lenet_of_layers(w1, b1, w2, b2, w3, b3, w4, b4, w5, b5):
    from cnnlab import layers as nn

    return nn.Sequential([nn.Conv2d(w1, b1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(w2, b2), nn.ReLU(), nn.MaxPool2d(2),
                          nn.Flatten(), nn.Linear(w3, b3), nn.ReLU(), nn.Linear(w4, b4), nn.ReLU(),
                          nn.Linear(w5, b5)])


def lenet_pool_first(*weights):
    """max(relu(x)) is relu(max(x)), and the gradients agree too."""
    from cnnlab.layers import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential

    parts = []
    for i in (0, 2):
        parts += [Conv2d(*weights[i:i + 2]), MaxPool2d((2, 2), stride=2), ReLU()]
    parts.append(Flatten())
    for i in (4, 6, 8):
        parts += [Linear(*weights[i:i + 2]), ReLU()]
    return Sequential(parts[:-1])


def lenet_probe(draw, n, c, size, kernels, widths):
    """A LeNet of any size; draw(seed, *shape) gives its weights."""
    (h, w), shapes = size, []
    for k, f in zip(kernels, widths):
        shapes += [(f, c, *k), (f,)]
        h, w, c = (h - k[0] + 1) // 2, (w - k[1] + 1) // 2, f
    inputs = c * h * w
    for f in widths[2:]:
        shapes += [(f, inputs), (f,)]
        inputs = f
    first = shapes[0][1]
    return call(*(draw(i, *s) for i, s in enumerate(shapes)),
                steps=[("forward", {"x": draw(20, n, first, *size)}), ("backward", {"dy": draw(21, n, widths[-1])})])


def random_lenet(rng):
    kernels = [tuple(int(v) for v in rng.integers(1, 4, 2)) for _ in range(2)]
    widths = [int(v) for v in rng.integers(2, 4, 5)]
    size = tuple(int(v) for v in rng.integers(10, 13, 2))
    n, c = (int(v) for v in rng.integers(1, 3, 2))
    return lenet_probe(lambda i, *shape: rng.integers(-4, 5, shape) / 4, n, c, size, kernels, widths)


def seeded(start):
    return lambda i, *shape: np.random.default_rng(start + i).integers(-4, 5, shape) / 4


LENET = Exercise(
    id="lenet", points=2, forbidden=LAYERS_ALLOWED,
    oracle=lenet,
    probes=[lenet_probe(seeded(100), 1, 1, (8, 9), [(3, 2), (1, 1)], [2, 2, 3, 2, 2]),
            lenet_probe(seeded(200), 1, 1, (10, 12), [(3, 5), (1, 1)], [2, 3, 3, 4, 3]),
            lenet_probe(seeded(300), 2, 2, (8, 6), [(1, 3), (3, 1)], [3, 2, 4, 3, 2])],
    random=random_lenet,
    mistakes=[
        Mistake("relu_at_the_end", "A ReLU follows the last layer. Its outputs are logits, which must be free to be "
                "negative.",
                lenet_variant(end=lambda self, x: x.relu())),
        Mistake("softmax_at_the_end", "A softmax follows the last layer. The loss does that step itself; the network "
                "ends with logits.",  # 104
                lenet_variant(end=lambda self, x: x.softmax(1))),
        Mistake("no_relu_anywhere", "There is no ReLU. Without one, all linear layers together are one linear layer.",
                lenet_variant(act=same, act2=same, act3=same, act4=same)),
        Mistake("no_relu_after_convolutions", "The ReLUs after the two convolutions are missing.",
                lenet_variant(act=same, act2=same)),
        Mistake("no_relu_between_linear_layers", "The ReLUs between the linear layers are missing.",
                lenet_variant(act3=same, act4=same)),
        Mistake("no_relu_after_f6", "The ReLU between F6 and the output is missing.",
                lenet_variant(act4=same)),
        Mistake("no_relu_after_c5", "The ReLU between C5 and F6 is missing.",
                lenet_variant(act3=same)),
        Mistake("tanh", "The activation is tanh. Use ReLU here.",
                lenet_variant(**dict.fromkeys(("act", "act2", "act3", "act4"), lambda self, x: x.tanh()))),
        Mistake("average_pooling", "The pooling layers average. Use max pooling here.",
                lenet_variant(pool=average, pool2=average)),
        Mistake("flattened_channels_last", "The values reach the first linear layer in another order: flattening goes "
                "channel by channel, each channel row by row.",  # 106
                lenet_variant(flatten=lambda self, x: x.permute(0, 2, 3, 1).flatten(1))),
        Mistake("flattened_by_columns", "The values reach the first linear layer in another order: flattening goes row "
                "by row within a channel.",  # 106
                lenet_variant(flatten=lambda self, x: x.transpose(2, 3).flatten(1))),
        Mistake("kernels_rotated", "The kernels are rotated by 180°. A layer correlates, without the rotation.",  # 1
                lenet_variant(conv=lambda self, x, w, b: TorchLeNet.conv(self, x, w.flip(2, 3), b))),
        Mistake("first_bias_missing", "The convolutions are made without their biases.",  # 23
                lenet_variant(conv=lambda self, x, w, b: TorchLeNet.conv(self, x, w, 0 * b))),
    ],
    alternatives=[lenet_of_layers, lenet_pool_first],
    hints=[
        "Say the order of the layers aloud, from image to logits. After which of them does a ReLU follow, and after "
        "which does none?",
        dedent("""\
        ```
        (N, 1, 32, 32)
          C1      (N, 6, 28, 28)    then ReLU
          S2      (N, 6, 14, 14)
          C3      (N, 16, 10, 10)   then ReLU
          S4      (N, 16, 5, 5)
          flatten (N, 400)
          C5      (N, 120)          then ReLU
          F6      (N, 84)           then ReLU
          output  (N, 10)           logits
        ```"""),
        dedent("""\
        ```
        return nn.Sequential of a list:
            conv(w1, b1), ReLU, max pool 2,
            conv(w2, b2), ReLU, max pool 2,
            flatten,
            linear(w3, b3), ReLU, …
        ```

        Every layer is an object of its own: a ReLU keeps what its backward needs, so one ReLU cannot serve twice."""),
        "Each pair of a linear operation and a non-linear one is a step of the hierarchy; the pools in between make "
        "the maps coarser. At the end come ten unbounded scores, because softmax and loss are computed together, which "
        "is both stable and gives a simple gradient.",
    ])


# ---------------------------------------------------------------------------- standardise

def standardise(train, test):
    """Oracle: scikit-learn's scaler, fitted to the pixels of the training set."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(np.asarray(train, dtype=float).reshape(-1, 1))
    return tuple(scaler.transform(np.asarray(a, dtype=float).reshape(-1, 1)).reshape(a.shape) for a in (train, test))


def standardise_by_numbers(train, test):
    mean, std = train.mean(), train.std()
    return (train - mean) / std, (test - mean) / std


def standardise_by_sums(train, test):
    train, test = np.array(train, dtype=float), np.array(test, dtype=float)
    mean = train.sum() / train.size
    std = np.sqrt(((train - mean) ** 2).sum() / train.size)
    return [(train - mean) / std, (test - mean) / std]


def scaled(mean, std):
    """A mistake: (a - mean(train, test)) / std(train, test)."""
    def run(train, test):
        m, s = mean(train, test), std(train, test)
        return (train - m) / s, (test - m) / s

    return run


def random_standardise(rng):
    n, m, h, w = (int(v) for v in (rng.integers(2, 5), rng.integers(1, 4), *rng.integers(2, 4, 2)))
    train, test = rng.integers(0, 17, (n, h, w)), rng.integers(0, 17, (m, h, w))
    train[0, 0, :2] = 0, 16  # never constant
    dtype = float if rng.integers(2) else np.uint8
    return call(train.astype(dtype), test.astype(dtype))


def pixels(seed, *shape):
    """Grey values from 0 to 16, most of them low, as in the digits."""
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 17, shape) * rng.integers(0, 2, shape)).astype(float)


STANDARDISE = Exercise(
    id="standardise", points=1, forbidden=LAYERS_ALLOWED,
    oracle=standardise,
    probes=[call(np.array([[[1.0, 3], [5, 7]]]), np.array([[[4.0, 9], [0, 2]]])),
            call(pixels(70, 3, 2, 4), pixels(71, 2, 2, 4)), call(pixels(72, 4, 3, 2), pixels(73, 1, 3, 2)),
            call(strided(pixels(74, 2, 4, 3)), pixels(75, 5, 4, 3)),
            call(pixels(76, 3, 3, 2).astype(np.uint8), pixels(77, 2, 3, 2).astype(np.uint8))],
    random=random_standardise,
    mistakes=[
        Mistake("each_by_itself", "The test set is shifted and scaled by its own mean and standard deviation. Use "
                "those of the training set for both.",  # 114
                lambda train, test: tuple((a - a.mean()) / a.std() for a in (train, test))),
        Mistake("both_together", "Mean and standard deviation are taken over training and test set together. The test "
                "set must not be looked at.",  # 114
                scaled(lambda a, b: np.append(a, b).mean(), lambda a, b: np.append(a, b).std())),
        Mistake("by_the_test_set", "Mean and standard deviation are those of the test set. Take the training set's.",
                scaled(lambda a, b: b.mean(), lambda a, b: b.std())),  # 114
        Mistake("test_untouched", "The training set is right, but the test set is returned as it was.",
                lambda train, test: (standardise_by_numbers(train, test)[0], test.astype(float))),
        Mistake("each_image", "Every image is standardised by itself. One mean and one standard deviation serve all.",
                lambda train, test: tuple((a - a.mean(axis=(1, 2), keepdims=True)) / a.std(axis=(1, 2), keepdims=True)
                                          for a in (train, test))),
        Mistake("each_pixel", "Every pixel position has its own mean and standard deviation. One of each serves all.",
                scaled(lambda a, b: a.mean(axis=0), lambda a, b: a.std(axis=0))),
        Mistake("variance", "It divides by the variance. Divide by the standard deviation, its square root.",
                scaled(lambda a, b: a.mean(), lambda a, b: a.var())),
        Mistake("mean_missing", "The mean is not subtracted.", scaled(lambda a, b: 0, lambda a, b: a.std())),
        Mistake("scale_missing", "The mean is subtracted, but the result is not divided by the standard deviation.",
                scaled(lambda a, b: a.mean(), lambda a, b: 1)),
        Mistake("sample_std", "The standard deviation divides by n − 1 (`ddof=1`). Take NumPy's default.",
                scaled(lambda a, b: a.mean(), lambda a, b: a.std(ddof=1))),
        Mistake("zero_to_one", "The values are brought to the range from 0 to 1. Wanted are mean 0 and standard "
                "deviation 1.",  # 113
                scaled(lambda a, b: a.min(), lambda a, b: np.ptp(a).astype(float))),
        Mistake("divided_by_255", "The values are divided by 255. Wanted are mean 0 and standard deviation 1, "
                "whatever the range.",  # 113
                scaled(lambda a, b: 0, lambda a, b: 255)),
        Mistake("divided_by_the_maximum", "The values are divided by the largest. Wanted are mean 0 and standard "
                "deviation 1.",  # 113
                scaled(lambda a, b: 0, lambda a, b: a.max().astype(float))),
    ],
    alternatives=[standardise_by_numbers, standardise_by_sums],
    hints=[
        "In use, the network will get one new image at a time. Which numbers can it be standardised with?",
        dedent("""\
        ```
        train    1  3  5  7      mean 4, standard deviation √5 = 2.236
        result  (-3 -1  1  3) / 2.236

        test     4  9 ...        (4 - 4) / 2.236 = 0,  (9 - 4) / 2.236 = 2.236
        ```"""),
        dedent("""\
        ```
        mean, std <- of all pixels of train: two numbers
        return train minus mean, over std;  test minus mean, over std
        ```"""),
        "The network must see test images through the same glasses as the training images. And whatever is computed "
        "from the test set, be it two numbers, carries information from it into the model, so that the test is no "
        "longer one.",
    ])


# ---------------------------------------------------------------------------- sgd_momentum

def sgd_momentum(weight, grad, velocity, lr, momentum):
    """Oracle: one step of torch.optim.SGD, its buffer set to `velocity`."""
    import torch

    w = torch.nn.Parameter(tensor(weight))
    optimiser = torch.optim.SGD([w], lr=lr, momentum=momentum)
    optimiser.state[w]["momentum_buffer"] = tensor(velocity)
    w.grad = tensor(grad)
    optimiser.step()
    buffer = optimiser.state[w]["momentum_buffer"]
    # With momentum 0 torch keeps no velocity; by the same formula it would be the gradient.
    return w.detach().numpy(), buffer.numpy() if momentum else np.array(grad)


def sgd_plain(weight, grad, velocity, lr, momentum):
    velocity = momentum * velocity + grad
    return weight - lr * velocity, velocity


def sgd_by_loop(weight, grad, velocity, lr, momentum):
    new_weight, new_velocity = np.empty(weight.shape), np.empty(weight.shape)
    for i in np.ndindex(weight.shape):
        new_velocity[i] = momentum * velocity[i] + grad[i]
        new_weight[i] = weight[i] - lr * new_velocity[i]
    return new_weight, new_velocity


def sgd_two_parts(weight, grad, velocity, lr, momentum):
    new = np.add(grad, momentum * velocity)
    return [weight - lr * grad - lr * momentum * velocity, new]


def sgd_in_place(weight, grad, velocity, lr, momentum):
    velocity *= momentum
    velocity += grad
    weight -= lr * velocity
    return weight, velocity


def random_sgd(rng):
    shape = tuple(int(v) for v in rng.integers(1, 4, rng.integers(1, 4)))
    return call(*(rng.integers(-8, 9, shape) / 4 for _ in range(3)), float(rng.choice([0.5, 0.1, 0.02])),
                float(rng.choice([0.9, 0.5, 0.75])))


def _sgd(velocity_of, weight_of):
    """A mistake: velocity_of(w, g, v, lr, m), then weight_of(w, g, old v, new v, lr, m)."""
    def run(weight, grad, velocity, lr, momentum):
        new = velocity_of(weight, grad, velocity, lr, momentum)
        return weight_of(weight, grad, velocity, new, lr, momentum), new

    return run


def _v(w, g, v, lr, m):
    return m * v + g


def _w(w, g, old, new, lr, m):
    return w - lr * new


SGD_MOMENTUM = Exercise(
    id="sgd_momentum", points=2,
    oracle=sgd_momentum,
    probes=[call(np.array([1.0, -2]), np.array([0.5, 4]), np.array([2.0, -1]), 0.5, 0.5),
            call(np.array([3.0]), np.array([2.0]), np.array([0.0]), 0.25, 0.75),
            call(ints(80, 2, 3), quarters(81, 2, 3), ints(82, 2, 3), 0.1, 0.9),
            call(quarters(83, 2, 1, 3, 2), ints(84, 2, 1, 3, 2), quarters(85, 2, 1, 3, 2), 0.02, 0.9),
            call(strided(ints(86, 3, 2)), ints(87, 3, 2), strided(quarters(88, 3, 2)), 0.25, 0.5),
            call(quarters(89, 4), ints(90, 4), ints(91, 4), 0.5, 0.0)],
    random=random_sgd,
    mistakes=[
        Mistake("uphill", "The step is added, so the loss grows. The gradient points uphill; subtract.",
                _sgd(_v, lambda w, g, old, new, lr, m: w + lr * new)),
        Mistake("old_velocity", "The weight moves by the velocity from before this gradient. Renew the velocity first, "
                "then take the step with it.",
                _sgd(_v, lambda w, g, old, new, lr, m: w - lr * old)),
        Mistake("momentum_ignored", "The momentum is not used: weight and velocity follow the gradient alone.",
                _sgd(lambda w, g, v, lr, m: g + 0.0, _w)),
        Mistake("weight_without_momentum", "The velocity is right, but the weight follows the gradient alone.",
                _sgd(_v, lambda w, g, old, new, lr, m: w - lr * g)),
        Mistake("velocity_not_renewed", "The weight is right, but the velocity is returned as it came in, so the next "
                "step starts from the wrong one.",
                lambda weight, grad, velocity, lr, momentum:
                (sgd_plain(weight, grad, velocity, lr, momentum)[0], velocity.copy())),
        Mistake("weighted_mean", "The new gradient is multiplied by 1 − momentum. In PyTorch's convention it is added "
                "in full.",
                _sgd(lambda w, g, v, lr, m: m * v + (1 - m) * g, _w)),
        Mistake("momentum_on_the_gradient", "Momentum multiplies the new gradient. It multiplies what is kept of the "
                "old velocity.",
                _sgd(lambda w, g, v, lr, m: v + m * g, _w)),
        Mistake("momentum_on_both", "Momentum multiplies the sum of velocity and gradient. It multiplies the old "
                "velocity only.",
                _sgd(lambda w, g, v, lr, m: m * (v + g), _w)),
        Mistake("no_decay", "The old velocity is kept in full. It is multiplied by the momentum first.",
                _sgd(lambda w, g, v, lr, m: v + g, _w)),
        Mistake("rate_in_the_velocity", "The weight is right, but the velocity already contains the learning rate. In "
                "PyTorch's convention the rate comes in with the step.",
                _sgd(lambda w, g, v, lr, m: m * v + lr * g, lambda w, g, old, new, lr, m: w - lr * (m * old + g))),
        Mistake("rate_on_the_gradient_only", "The learning rate multiplies the gradient as it enters the velocity. In "
                "PyTorch's convention it multiplies the whole velocity in the step.",
                _sgd(lambda w, g, v, lr, m: m * v + lr * g, lambda w, g, old, new, lr, m: w - new)),
        Mistake("rate_and_sign_in_the_velocity", "The weight is right if the velocity starts at 0, but the velocity holds "
                "the step itself, with its sign and the learning rate. In PyTorch's convention it sums up plain gradients.",
                _sgd(lambda w, g, v, lr, m: m * v - lr * g, lambda w, g, old, new, lr, m: w + new)),
        Mistake("rate_missing", "The learning rate is not used.",
                _sgd(_v, lambda w, g, old, new, lr, m: w - new)),
        Mistake("nesterov", "That is Nesterov's variant, which looks one step ahead. Take the step with the velocity "
                "itself.",
                _sgd(_v, lambda w, g, old, new, lr, m: w - lr * (g + m * new))),
        Mistake("velocity_subtracted", "The old velocity is subtracted from the gradient. It is added.",
                _sgd(lambda w, g, v, lr, m: g - m * v, _w)),
        Mistake("exchanged", "Velocity and weight are returned in the wrong order: the weight comes first.",
                lambda weight, grad, velocity, lr, momentum:
                sgd_plain(weight, grad, velocity, lr, momentum)[::-1]),
        Mistake("in_place", "The arrays that were passed in are changed.", sgd_in_place),  # 32
    ],
    alternatives=[sgd_plain, sgd_by_loop, sgd_two_parts],
    hints=[
        "A ball rolls down a slope and loses a tenth of its speed in every moment. Which two numbers make up its new "
        "speed?",
        dedent("""\
        One weight, lr ½, momentum ½:

        ```
        velocity 2, gradient 0.5     new velocity  ½·2 + 0.5  = 1.5
        weight 1                     new weight    1 - ½·1.5  = 0.25
        ```"""),
        dedent("""\
        ```
        velocity <- momentum times the old velocity, plus the gradient
        weight   <- weight minus lr times the new velocity
        return both, as new arrays
        ```"""),
        "Written out, the velocity is $g_t + \\mu g_{t-1} + \\mu^2 g_{t-2} + \\dots$: gradients that agree add up to "
        "$1/(1-\\mu)$ times one of them, ten times at $\\mu = 0.9$, while gradients that change sign from step to step "
        "cancel.",
    ])


# ---------------------------------------------------------------------------- accuracy

def accuracy(logits, labels):
    """Oracle: scikit-learn's score of torch's argmax."""
    import torch
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(labels, torch.tensor(np.array(logits)).argmax(dim=1).numpy()))


def accuracy_by_mean(logits, labels):
    return (logits.argmax(axis=1) == labels).mean()


def accuracy_by_loop(logits, labels):
    right = 0
    for row, label in zip(logits, labels):
        right += int(np.argmax(row)) == label
    return right / len(labels)


def accuracy_by_picking(logits, labels):
    others = logits.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return float(np.mean(logits[np.arange(len(labels)), labels] > others.max(axis=1)))


def _without_ties(logits):
    """Move equal logits apart, so that argmax needs no rule."""
    return logits + np.arange(logits.shape[1]) / 1024


def random_accuracy(rng):
    n, k = int(rng.integers(1, 8)), int(rng.integers(2, 6))
    return call(_without_ties(rng.integers(-8, 9, (n, k)) / 4), rng.integers(0, k, n))


ACCURACY = Exercise(
    id="accuracy", points=1, forbidden=LAYERS_ALLOWED,
    oracle=accuracy,
    probes=[call(np.array([[1.0, 3, 2], [5, 0, 1], [0, 1, 4], [2, 1, 0]]), np.array([1, 0, 1, 2])),
            call(np.array([[-3.0, -1], [-1, -2], [-5, -4]]), np.array([1, 1, 1])),
            call(_without_ties(ints(92, 5, 4)), np.array([3, 0, 1, 2, 3])),
            call(strided(_without_ties(quarters(93, 8, 3))), np.array([0, 2, 1, 1, 0, 2, 2, 1])),
            call(np.array([[0.5, 4, 1, 3]]), np.array([1])), call(np.array([[2.0, 1]]), np.array([1]))],
    random=random_accuracy,
    mistakes=[
        Mistake("percent", "That is a percentage. Return a number from 0 to 1.",
                lambda logits, labels: 100 * accuracy(logits, labels)),
        Mistake("count", "That is how many are right. Return the share, from 0 to 1.",
                lambda logits, labels: int((logits.argmax(axis=1) == labels).sum())),
        Mistake("error", "That is the share of wrong answers. Return the share of right ones.",
                lambda logits, labels: 1 - accuracy(logits, labels)),
        Mistake("over_the_batch", "The largest logit is sought down the batch (axis 0). Each row is one image; look "
                "along it.",
                lambda logits, labels: float(np.mean([c in np.flatnonzero(labels == k) for k, c in
                                                      enumerate(logits.argmax(axis=0))]))),
        Mistake("smallest", "The class with the smallest logit is taken. The prediction is the largest.",
                lambda logits, labels: float((logits.argmin(axis=1) == labels).mean())),
        Mistake("per_class", "It divides by the number of classes. Divide by the number of images.",
                lambda logits, labels: float((logits.argmax(axis=1) == labels).sum() / logits.shape[1])),
        Mistake("mean_probability", "It averages the probability of the right class. Count how often the largest logit "
                "is that of the label.",
                lambda logits, labels: float(_picked(softmax(logits), labels).mean())),
        Mistake("labels_from_one", "The labels are counted from 1. They start at 0.",
                lambda logits, labels: float((logits.argmax(axis=1) + 1 == labels).mean())),
        Mistake("positive_logit", "An answer counts as right when the logit of its label is positive. What counts is "
                "whether it is the largest.",
                lambda logits, labels: float((_picked(logits, labels) > 0).mean())),
        Mistake("one_by_one", "There is one answer for each image. Return their mean, one number.",
                lambda logits, labels: (logits.argmax(axis=1) == labels).astype(float)),
    ],
    alternatives=[accuracy_by_mean, accuracy_by_loop, accuracy_by_picking],
    hints=[
        "Which class does a row of logits predict? Do you need the softmax to tell?",
        dedent("""\
        ```
        logits      predicted   label
        1  3  2     1           1       right
        5  0  1     0           0       right
        0  1  4     2           1
        2  1  0     0           2               accuracy 2/4 = 0.5
        ```"""),
        dedent("""\
        ```
        predicted <- index of the largest logit in each row      # (N,)
        result    <- share of places where predicted equals labels
        ```"""),
        "Softmax keeps the order of the logits, so the largest logit is the largest probability. Accuracy looks at "
        "nothing but that, which is why it cannot be trained on directly: almost nowhere does it have a slope.",
    ])


EXERCISES = [NETWORK_TABLE, SUBSAMPLE, C3_TABLE, LINEAR, RELU, CROSS_ENTROPY, KAIMING_STD, LENET, STANDARDISE,
             SGD_MOMENTUM, ACCURACY]
