"""Exercises of notebook 10: errors and answers of classifiers, AlexNet and ZFNet, and how AlexNet was trained.

The oracles are torch's own layers, put together from a few numbers for each convolution; sizes and receptive fields are
read off what torch does to an input, and the plateau rule is torch's scheduler.  A mistake is the oracle with one of
its settings changed, wherever that is possible.
"""

import math
from textwrap import dedent

import numpy as np

from autograder.exercise import FORBIDDEN_TORCH, Exercise, Mistake, call
from autograder.exercises.draws import ints, quarters
from cnnlab.probes import strided


def module(run):
    """A torch module whose forward is `run(x, training)`."""
    import torch

    class Module(torch.nn.Module):
        def forward(self, x):
            return run(x, self.training)

    return Module()


# ---------------------------------------------------------------------------- top_k_error

def top_k_error(logits, labels, k):
    """Oracle: count the rivals of each label, one after another."""
    rows, wrong = logits.tolist(), 0
    for row, label in zip(rows, labels.tolist()):
        rivals = [score for c, score in enumerate(row) if c != label and score >= row[label]]
        wrong += len(rivals) >= k
    return wrong / len(rows)


def error_by_comparison(logits, labels, k):
    own = logits[range(len(labels)), labels]
    return ((logits >= own[:, None]).sum(dim=1) > k).double().mean()


def error_by_topk(logits, labels, k):
    import torch

    lowered = logits.clone().double()
    lowered[torch.arange(len(labels)), labels] -= 1e-9  # after all that are equal
    best = lowered.topk(k, dim=1).indices
    return 1 - (best == labels[:, None]).any(dim=1).double().mean().item()


def _error(logits, labels, k, rivals=None):
    """The share of images with k or more rivals, by a rule for what a rival is."""
    own = logits.gather(1, labels[:, None])
    return ((rivals or (lambda all_, mine: (all_ >= mine).sum(1) - 1))(logits, own) >= k).double().mean().item()


def error_over_the_batch(logits, labels, k):
    own = logits.gather(1, labels[:, None])
    return ((logits >= own).sum(0) - 1 >= k).double().mean().item()


def error_by_sorting(logits, labels, k):
    best = logits.topk(k, dim=1).indices
    return 1 - (best == labels[:, None]).any(dim=1).double().mean().item()


def error_mean_of_matches(logits, labels, k):
    best = (logits.double() - 1e-9 * (logits == logits.gather(1, labels[:, None]))).topk(k, dim=1).indices
    return 1 - (best == labels[:, None]).double().mean().item()


def error_of_the_smallest(logits, labels, k):
    return _error(-logits, labels, k)


def scores(seed, n, classes):
    """Rows of whole numbers without two that are equal, and labels of every kind."""
    rng = np.random.default_rng(seed)
    return np.array([rng.permutation(19)[:classes] - 9 for _ in range(n)], np.float32), rng.integers(0, classes, n)


def ties(row, labels):
    """The same row for each of the labels, whose scores are equal.

    Whichever of equal scores a sort or `topk` puts first, it is the same for all rows, so the error is the same.
    """
    return np.float32([row] * len(labels)), np.array(labels)


def random_error(rng):
    classes = int(rng.choice([4, 8]))
    if rng.integers(2):
        return call(*ties([int(rng.integers(-9, 9))] * classes, range(classes)), int(rng.integers(1, classes)),
                    device="cpu")
    return call(*scores(int(rng.integers(10**6)), 8, classes), int(rng.integers(1, classes + 1)), device="cpu")


TOP_K_ERROR = Exercise(
    id="top_k_error", points=1, forbidden=FORBIDDEN_TORCH,
    oracle=top_k_error,
    probes=[call(np.float32([[3, 1, 2]]), np.array([2]), 1, device="cpu"),
            call(np.float32([[3, 1, 2]]), np.array([2]), 2, device="cpu"),
            call(*ties([2, 2, 1], [0, 1]), 1, device="cpu"), call(*ties([0, 3, 0, 0, 0], [0, 2, 3, 4]), 3, device=""
                                                                        "cpu"),
            call(*scores(1, 4, 3), 3, device="cpu"), call(*scores(2, 4, 6), 2, device="cpu"),
            call(strided(scores(3, 8, 5)[0]), scores(3, 8, 5)[1], 3, device="cpu"),
            call(*scores(4, 16, 7), 1, device="cpu"), call(*scores(5, 16, 9), 5, device="cpu")],
    random=random_error,
    mistakes=[
        Mistake("accuracy", "It is the share of images that are right. The error is the share of the others.",
                lambda logits, labels, k: 1 - _error(logits, labels, k)),
        Mistake("number_of_images", "It counts the wrong images. The error is their share of all.",
                lambda logits, labels, k: _error(logits, labels, k) * len(labels)),
        Mistake("per_cent", "It is 100 times too large: a share from 0 to 1 is asked for, not per cent.",
                lambda logits, labels, k: 100 * _error(logits, labels, k)),
        Mistake("top_1", "Every case with k = 1 is right: `k` is not used.",
                lambda logits, labels, k: _error(logits, labels, 1)),
        Mistake("ties_for_the_network", "Classes that have the same score as the label are not counted against it. A "
                "network that gives all classes the same score would be always right.",
                lambda logits, labels, k: _error(logits, labels, k, lambda all_, own: (all_ > own).sum(1))),
        Mistake("ties_by_position", "Without ties it is right. Where scores are equal, sorting or `topk` puts one of "
                "them first; the label should lose against all of them.",
                error_by_sorting),
        Mistake("one_place_too_many", "It takes k + 1 places. With k = 1, one class with a larger score makes the "
                "image wrong.",
                lambda logits, labels, k: _error(logits, labels, k + 1)),
        Mistake("label_is_its_own_rival", "The label's own score counts as one of those that are as large. Only "
                "**other** classes are its rivals.",
                lambda logits, labels, k: _error(logits, labels, k, lambda all_, own: (all_ >= own).sum(1))),
        Mistake("smallest_scores", "It takes the classes with the smallest scores. A large score is a likely class.",
                error_of_the_smallest),
        Mistake("over_the_batch", "Scores of different images are compared. Each row is an image: compare within it, "
                "along axis 1.",
                error_over_the_batch),
        Mistake("mean_over_the_places", "The matches are averaged over all k places. An image is right if any of its k "
                "places holds the label.",
                error_mean_of_matches),
    ],
    alternatives=[error_by_comparison, error_by_topk],
    hints=[
        "For one image: which classes stand in the way of the label, and how many of them may there be at most?",
        dedent("""\
        Scores 3, 1, 2, 2 and label 2, whose score is 2:

        | class | score | as large as the label's or larger? |
        |---|---|---|
        | 0 | 3 | yes |
        | 1 | 1 | no |
        | 3 | 2 | yes, a tie |

        Two rivals: wrong for k = 1 and k = 2, right for k = 3."""),
        dedent("""\
        ```
        own    <- the score of each image's label             # (N, 1)
        rivals <- how many scores of the row are >= own,      # (N,)
                  without the label itself
        error  <- the share of images with k or more rivals   # a float
        ```"""),
        "Counting rivals needs no sorting, and it makes the rule for ties visible: `>=` is against the network, `>` "
        "for it. `topk` has a rule too, but which of several equal scores it takes is nowhere promised.",
    ])


# ---------------------------------------------------------------------------- layer_table

def layer_table(input_shape, layers):
    """Oracle: torch's modules on the meta device; receptive fields by what a gradient reaches."""
    import torch
    from torch import nn

    x = torch.empty(1, *input_shape, device="meta")
    line = torch.ones(1, 1, 800, dtype=torch.float64, requires_grad=True)
    y, rows, field = line, [], 1
    for kind, outputs, k, stride, padding, groups in layers:
        with torch.device("meta"):
            if kind == "conv":
                layer = nn.Conv2d(x.shape[1], outputs, k, stride, padding, groups=groups)
            elif kind == "pool":
                layer = nn.MaxPool2d(k, stride, padding)
            elif kind == "linear":
                layer = nn.Linear(x.shape[1], outputs)
            else:
                layer = {"norm": nn.Identity, "flatten": nn.Flatten}[kind]()
        x = layer(x)
        if kind in ("conv", "pool"):
            y = nn.functional.conv1d(y, torch.full((1, 1, k), 1 / k, dtype=torch.float64), stride=stride)
            reached, = torch.autograd.grad(y[0, 0, 0], line, retain_graph=True)
            field = int(reached[0, 0].nonzero().max()) + 1
        elif kind != "norm":
            field = None
        rows.append((tuple(x.shape[1:]), sum(p.numel() for p in layer.parameters()), field))
    return tuple(rows)


def _table(input_shape, layers, *, conv=lambda f, k, c, g, first: f * (c // g * k * k + 1),
           size=lambda n, k, s, p: (n + 2 * p - k) // s + 1, pool_stride=lambda k, s: s,
           step=lambda before, own: math.prod(before), reach=lambda k: k - 1, pool_sees=True, norm_learns=0, start=1,
           flat_field=lambda field: None, flat=math.prod, linear=lambda n, f: f * (n + 1)):
    """The table with one of its rules replaced."""
    shape, rows, field, strides = tuple(input_shape), [], start, []
    for kind, f, k, s, p, g in layers:
        count = 0
        if kind in ("conv", "pool"):
            if kind == "conv":
                count = conv(f, k, shape[0], g, input_shape[0])
            else:
                f, s = shape[0], pool_stride(k, s)
            shape = (f, size(shape[1], k, s, p), size(shape[2], k, s, p))
            if kind == "conv" or pool_sees:
                field += reach(k) * step(strides, s)
                strides = [*strides, s]
        elif kind == "norm":
            count = norm_learns * 2 * shape[0]
        elif kind == "flatten":
            shape, field = (flat(shape),), flat_field(field)
        else:
            count = linear(shape[0], f)
            shape = (f,)
        rows.append((shape, count, field))
    return tuple(rows)


def table_by_match(input_shape, layers):
    rows, shape, seen, jump = [], list(input_shape), 1, 1
    for layer in layers:
        learned = 0
        match layer:
            case ("conv", filters, k, s, p, g):
                learned = filters + filters * (shape[0] // g) * k**2
                shape = [filters, *((n + 2 * p - k + s) // s for n in shape[1:])]
                seen, jump = seen + jump * (k - 1), jump * s
            case ("pool", _, k, s, *_):
                shape[1:] = [len(range(0, n - k + 1, s)) for n in shape[1:]]
                seen, jump = seen + jump * (k - 1), jump * s
            case ("flatten", *_):
                shape, seen = [int(np.prod(shape))], None
            case ("linear", out, *_):
                learned, shape = out + out * shape[0], [out]
        rows.append([tuple(shape), learned, seen])
    return rows


def table_backwards(input_shape, layers):
    """Sizes and counts in one pass; fields by walking back from each layer."""
    rows, windows = [], []
    shapes = [tuple(input_shape)]
    for layer in layers:
        kind, c = layer[0], shapes[-1]
        learned, flat = 0, kind in ("flatten", "linear")
        if kind in ("conv", "pool"):
            k, s, p = layer[2:5]
            windows.append((k, s))
            out = layer[1] if kind == "conv" else c[0]
            shapes.append((out, *(math.floor((n + 2 * p - k) / s) + 1 for n in c[1:])))
            if kind == "conv":
                learned = int(np.zeros((out, c[0] // layer[5], k, k), np.int8).size) + out
        elif kind == "flatten":
            shapes.append((c[0] * c[1] * c[2],))
        elif kind == "linear":
            learned = (c[0] + 1) * layer[1]
            shapes.append((layer[1],))
        else:
            shapes.append(c)
        field = 1
        for k, s in reversed(windows):
            field = (field - 1) * s + k
        rows.append((shapes[-1], learned, None if flat else field))
    return tuple(rows)


def conv_row(filters, k, stride=1, padding=0, groups=1):
    return ("conv", filters, k, stride, padding, groups)


NORM, FLATTEN = ("norm", *[None] * 5), ("flatten", *[None] * 5)


def pool_row(k, stride):
    return ("pool", None, k, stride, 0, None)


def linear_row(outputs):
    return ("linear", outputs, *[None] * 4)


def alexnet_rows(g):
    return (conv_row(96, 11, 4), NORM, pool_row(3, 2), conv_row(256, 5, 1, 2, g), NORM, pool_row(3, 2),
            conv_row(384, 3, 1, 1), conv_row(384, 3, 1, 1, g), conv_row(256, 3, 1, 1, g), pool_row(3, 2), FLATTEN,
            linear_row(4096), linear_row(4096), linear_row(1000))


def random_table(rng):
    g, s, s2 = (int(v) for v in rng.integers(1, 4, 3))
    a, b, d, e = (int(v) for v in rng.integers(2, 7, 4))
    (h, w), c = (int(v) for v in rng.integers(26, 40, 2)), int(rng.integers(1, 5))
    return call((c, h, w), (conv_row(a * g, 5, s, 2), NORM, pool_row(3, 2), conv_row(b * g, 3, s2, 1, g), FLATTEN,
                            linear_row(d), linear_row(e)))


LAYER_TABLE = Exercise(
    id="layer_table", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=layer_table,
    probes=[call((2, 5, 7), (conv_row(3, 3),)), call((3, 9, 12), (pool_row(3, 2), NORM)),
            call((2, 3, 4), (FLATTEN, linear_row(5), linear_row(3))),
            call((4, 11, 14), (conv_row(6, 3, 2, 1, 2), pool_row(2, 3), conv_row(8, 3, 1, 1))),
            call((1, 27, 24), (conv_row(4, 5, 3, 2), NORM, pool_row(3, 2), conv_row(6, 3, 1, 1, 2), FLATTEN,
                               linear_row(7), linear_row(3))),
            call((3, 227, 227), alexnet_rows(1)), call((3, 227, 227), alexnet_rows(2))],
    random=random_table,
    mistakes=[
        Mistake("conv_bias_missing", "The filters lack their biases, one for each.",  # 88
                lambda input_shape, layers: _table(input_shape, layers,
                                                   conv=lambda f, k, c, g, _: f * (c // g * k * k))),
        Mistake("linear_bias_missing", "The convolutions are right; the linear layers lack their biases.",  # 88
                lambda input_shape, layers: _table(input_shape, layers, linear=lambda n, f: n * f)),
        Mistake("all_biases_missing", "Weights are counted, biases are not. Every filter and every output of a linear "
                "layer has one.",  # 88
                lambda input_shape, layers: _table(input_shape, layers, linear=lambda n, f: n * f,
                                                   conv=lambda f, k, c, g, _: f * (c // g * k * k))),
        Mistake("groups_ignored", "Every layer with one group is right: `groups` is not used. A filter is only C / "
                "groups deep.",  # 88
                lambda input_shape, layers: _table(input_shape, layers,
                                                   conv=lambda f, k, c, g, _: f * (c * k * k + 1))),
        Mistake("groups_divide_the_biases", "The biases are divided by the groups as well. There is still one for each "
                "filter.",  # 88
                lambda input_shape, layers: _table(input_shape, layers,
                                                   conv=lambda f, k, c, g, _: f * (c * k * k + 1) // g)),
        Mistake("groups_divide_twice", "Both the depth of the filters and their number are divided by the groups. All "
                "filters are there; each is only C / groups deep.",  # 88
                lambda input_shape, layers: _table(input_shape, layers,
                                                   conv=lambda f, k, c, g, _: f // g * (c // g * k * k + 1))),
        Mistake("depth_of_the_image", "Every filter is counted as deep as the image. It is as deep as what the layer "
                "before it gives.",  # 88
                lambda input_shape, layers: _table(input_shape, layers,
                                                   conv=lambda f, k, c, g, first: f * (first // g * k * k + 1))),
        Mistake("norm_learns", "The normalisation is given parameters. Local response normalisation learns nothing "
                "(batch norm would).",
                lambda input_shape, layers: _table(input_shape, layers, norm_learns=1)),
        Mistake("rounds_up", "Where a size does not fit, it is rounded up. A window that hangs over the edge is left "
                "out.",  # 71
                lambda input_shape, layers: _table(input_shape, layers,
                                                   size=lambda n, k, s, p: -(-(n + 2 * p - k) // s) + 1)),
        Mistake("padding_once", "The padding is counted once. It is added on both sides.",  # 11
                lambda input_shape, layers: _table(input_shape, layers, size=lambda n, k, s, p: (n + p - k) // s + 1)),
        Mistake("plus_one_missing", "Sizes are short by one: the steps are counted, not the windows.",  # 10
                lambda input_shape, layers: _table(input_shape, layers, size=lambda n, k, s, p: (n + 2 * p - k) // s)),
        Mistake("pool_side_by_side",  # 62
                "The pooling windows lie side by side. Here pooling has a stride of its own.",
                lambda input_shape, layers: _table(input_shape, layers, pool_stride=lambda k, s: k)),
        Mistake("flatten_drops_channels", "Flatten counts the pixels of one channel. It lays out all channels in one "
                "row.",
                lambda input_shape, layers: _table(input_shape, layers, flat=lambda s: s[-1] * s[-2])),
        Mistake("field_ignores_strides", "The receptive field is right as long as all strides before a layer are 1. "
                "After a stride of 2, neighbouring units lie 2 pixels apart in the image.",  # 107
                lambda input_shape, layers: _table(input_shape, layers, step=lambda before, own: 1)),
        Mistake("field_with_the_last_stride", "For the receptive field only the stride of the layer just before "
                "counts. Strides multiply through all layers before.",  # 107
                lambda input_shape, layers: _table(input_shape, layers,
                                                   step=lambda before, own: math.prod(before[-1:]))),
        Mistake("field_with_added_strides", "For the receptive field the strides are added up. Two layers of stride 3 "
                "make steps of 9 pixels.",  # 107
                lambda input_shape, layers: _table(input_shape, layers,
                                                   step=lambda before, own: 1 + sum(s - 1 for s in before))),
        Mistake("field_with_own_stride", "A layer's own stride is applied to its own kernel. It matters for the layers "
                "after it.",  # 107
                lambda input_shape, layers: _table(input_shape, layers,
                                                   step=lambda before, own: math.prod(before) * own)),
        Mistake("pooling_sees_nothing", "The receptive field does not grow at a pooling layer. Its windows read "
                "neighbouring units too, and its stride counts as any other.",  # 107
                lambda input_shape, layers: _table(input_shape, layers, pool_sees=False)),
        Mistake("field_kernel_added", "Every layer adds its whole kernel to the receptive field. The first pixel of "
                "the window was seen already: a kernel of k adds k - 1 steps.",
                lambda input_shape, layers: _table(input_shape, layers, reach=lambda k: k, start=0)),
        Mistake("field_after_flatten", "From flatten on the receptive field should be `None`. A unit of a linear layer "
                "sees all that came before.",
                lambda input_shape, layers: _table(input_shape, layers, flat_field=lambda field: field)),
        Mistake("one_pixel_missing", "The receptive fields are short by one: start with the pixel itself.",
                lambda input_shape, layers: _table(input_shape, layers, start=0)),
    ],
    alternatives=[table_by_match, table_backwards],
    hints=[
        "What must be remembered from one layer to the next, so that size, parameters and receptive field of the next "
        "can be computed? It is more than the shape.",
        dedent("""\
        `(4, 11, 14)` through a convolution with 6 filters, kernel 3, stride 2, padding 1, 2 groups, then 2×2 pooling at
        stride 3:

        | layer | shape | parameters | field | step between neighbours |
        |---|---|---|---|---|
        | input | (4, 11, 14) | | 1 | 1 |
        | conv | (6, 6, 7) | 6·(2·9 + 1) = 114 | 1 + 2·1 = 3 | 2 |
        | pool | (6, 2, 2) | 0 | 3 + 1·2 = 5 | 6 |"""),
        dedent("""\
        ```
        shape <- input_shape;  field <- 1;  step <- 1
        for each layer:
            if it has windows (conv, pool): its kernel, stride, padding
                new H and W  <- floor((size + 2 padding - kernel) / stride) + 1
                field        <- grows by (kernel - 1) steps
                step         <- times stride, for the layers after it
            parameters <- conv: filters · (C / groups · k · k + 1);  linear: outputs · (inputs + 1);  else 0
            from flatten on: shape of one number, field None
            append (shape, parameters, field)
        ```"""),
        "A filter of a grouped convolution reads only its own group, so it is C / groups deep, but there are as many "
        "filters, each with a bias. The receptive field of a unit is that of one unit before it, plus `kernel - 1` "
        "times the distance in the image of two such units, and that distance is the product of all strides before.",
    ])


# ---------------------------------------------------------------------------- local_response_norm_module

def local_response_norm_module(n=5, alpha=1e-4, beta=0.75, k=2.0):
    """Oracle: torch's, whose alpha is divided by the size of the window."""
    from torch.nn import functional as F

    return module(lambda x, _: F.local_response_norm(x, n, alpha * n, beta, k))


def lrn(n, alpha, beta, k, total=None, result=None):
    """Local response norm with another sum (of a, n) or another way to put it together (of a, sum)."""
    total = total or windows
    result = result or (lambda a, s: a / (k + alpha * s) ** beta)
    return module(lambda x, _: result(x, total(x, n)))


def windows(x, n, values=None, before=None, after=None):
    """The sum of the squares (or of `values`) over the n channels around each."""
    values = x**2 if values is None else values
    before, after = n // 2 if before is None else before, n // 2 if after is None else after
    C = x.shape[1]
    return sum_of([values[:, max(0, i - before):i + after + 1].sum(1) for i in range(C)])


def windows_from_the_end(x, n):
    """A window whose start is negative: the slice then begins near the last channel, and is mostly empty."""
    return sum_of([(x**2)[:, i - n // 2:i + n // 2 + 1].sum(1) for i in range(x.shape[1])])


def sum_of(maps):
    import torch

    return torch.stack(maps, dim=1)


def lrn_by_unfold(n=5, alpha=1e-4, beta=0.75, k=2.0):
    import torch

    def run(x, _):
        squares = torch.nn.functional.pad(x.pow(2), (0, 0, 0, 0, n // 2, n // 2))
        return x * (k + alpha * squares.unfold(1, n, 1).sum(-1)).pow(-beta)
    return module(run)


def lrn_by_matrix(n=5, alpha=1e-4, beta=0.75, k=2.0):
    import torch

    def run(x, _):
        i = torch.arange(x.shape[1])
        near = ((i[:, None] - i).abs() <= n // 2).to(x.dtype)
        return x / (k + alpha * torch.einsum("ij,njhw->nihw", near, x * x)) ** beta
    return module(run)


def lrn_by_torch(n=5, alpha=1e-4, beta=0.75, k=2.0):
    import torch

    return torch.nn.Sequential(torch.nn.LocalResponseNorm(n, alpha=n * alpha, beta=beta, k=k))


def space_window(x, n):
    import torch

    return n * n * torch.nn.functional.avg_pool2d(x**2, n, stride=1, padding=n // 2)


def lrn_steps(seed, *shape):
    return [("count_parameters", {}), ("forward", {"x": quarters(seed, *shape)}),
            ("gradient", {"x2": quarters(seed + 1, *shape), "dy": ints(seed + 2, *shape)})]


def random_lrn(rng):
    shape = [int(rng.integers(1, high)) for high in (3, 8, 4, 4)]
    return call(int(rng.choice([1, 3, 5])), float(rng.choice([0.125, 0.0625])), float(rng.choice([0.5, 0.75, 1.25])),
                float(rng.choice([1.5, 2.0, 3.0])), steps=lrn_steps(int(rng.integers(10**6)), *shape), device="cpu")


LRN = Exercise(
    id="local_response_norm_module", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=local_response_norm_module,
    probes=[call(3, 0.25, 1.0, 2.0, steps=[("count_parameters", {}), ("forward", {"x": np.array([2.0, -1, 4]).reshape(
                1, 3, 1, 1)})], device="cpu"),
            call(3, 0.25, 0.75, 2.0, steps=lrn_steps(1, 2, 5, 1, 3), device="cpu"),
            call(5, 0.125, 0.5, 3.0, steps=lrn_steps(2, 1, 7, 2, 3), device="cpu"),
            call(5, 0.0625, 1.25, 1.5, steps=lrn_steps(3, 3, 2, 4, 1), device="cpu"),
            call(1, 0.5, 0.75, 2.0, steps=lrn_steps(4, 1, 1, 2, 2), device="cpu"),
            call(steps=lrn_steps(5, 1, 6, 3, 2), device="cpu")],
    random=random_lrn,
    mistakes=[
        Mistake("alpha_divided_by_n", "Alpha is divided by n. That is PyTorch's convention; in the paper's formula "
                "alpha multiplies the sum itself.",
                lambda n=5, alpha=1e-4, beta=0.75, k=2.0: lrn(n, alpha / n, beta, k)),
        Mistake("alpha_times_n", "Alpha is multiplied by n, and PyTorch's layer, which divides by n, is not in use. "
                "Only one of the two is needed.",
                lambda n=5, alpha=1e-4, beta=0.75, k=2.0: lrn(n, alpha * n, beta, k)),
        Mistake("one_sided", "The window begins at the channel itself. It should be in the middle: as many channels "
                "before as after.",
                lambda n=5, alpha=1e-4, beta=0.75, k=2.0: lrn(n, alpha, beta, k, lambda x, n: windows(
                    x, n, before=0, after=n - 1))),
        Mistake("window_twice_as_wide", "The window reaches n channels to either side. It has n channels in all.",
                lambda n=5, alpha=1e-4, beta=0.75, k=2.0: lrn(n, alpha, beta, k, lambda x, n: windows(
                    x, n, before=n, after=n))),
        Mistake("last_channel_missing", "The window ends one channel too early. The end of a slice is not part of it.",
                lambda n=5, alpha=1e-4, beta=0.75, k=2.0: lrn(n, alpha, beta, k, lambda x, n: windows(
                    x, n, after=n // 2 - 1))),
        Mistake("negative_start", "The first channels are wrong: there the window starts at a negative number, and a slice "
                "counts that from the end. Start at 0 at the earliest.",
                lambda n=5, alpha=1e-4, beta=0.75, k=2.0: lrn(n, alpha, beta, k, windows_from_the_end)),
        Mistake("without_itself", "The channel itself is left out of its sum. The window includes it.",
                lambda n=5, alpha=1e-4, beta=0.75, k=2.0: lrn(n, alpha, beta, k, lambda x, n: windows(x, n) - x**2)),
        Mistake("all_channels", "All channels are summed, whatever `n` is.",
                lambda n=5, alpha=1e-4, beta=0.75, k=2.0: lrn(n, alpha, beta, k, lambda x, n: windows(
                    x, n, before=x.shape[1], after=x.shape[1]))),
        Mistake("over_space", "The window lies in space, in each channel alone. It runs over neighbouring channels, at "
                "one pixel.",
                lambda n=5, alpha=1e-4, beta=0.75, k=2.0: lrn(n, alpha, beta, k, space_window)),
        Mistake("not_squared", "The responses are summed, not their squares.",
                lambda n=5, alpha=1e-4, beta=0.75, k=2.0: lrn(n, alpha, beta, k, lambda x, n: windows(x, n, x))),
        Mistake("square_root", "A square root is taken of the sum of squares. The power beta is the only one.",
                lambda n=5, alpha=1e-4, beta=0.75, k=2.0: lrn(n, alpha, beta, k, lambda x, n: windows(
                    x, n).clamp(min=1e-300).sqrt())),
        Mistake("beta_ignored", "With beta = 1 it is right: the denominator is not raised to the power beta.",
                lambda n=5, alpha=1e-4, beta=0.75, k=2.0: lrn(n, alpha, 1.0, k)),
        Mistake("multiplied", "It multiplies by the bracket to the power beta. Strong neighbours should make a "
                "response smaller.",
                lambda n=5, alpha=1e-4, beta=0.75, k=2.0: lrn(n, alpha, -beta, k)),
        Mistake("k_is_one", "The constant in the bracket is always 1, which is PyTorch's default. It should be `k`.",
                lambda n=5, alpha=1e-4, beta=0.75, k=2.0: lrn(n, alpha, beta, 1.0)),
        Mistake("alpha_times_the_bracket", "Alpha multiplies k as well. It belongs to the sum alone.",
                lambda n=5, alpha=1e-4, beta=0.75, k=2.0: lrn(n, alpha, beta, alpha * k)),
        Mistake("detached", "What it returns is right, but the gradient is not: none passes through the denominator "
                "(`detach`, `no_grad` or `.data`?).",
                lambda n=5, alpha=1e-4, beta=0.75, k=2.0: lrn(n, alpha, beta, k, lambda x, n: windows(x, n).detach())),
    ],
    alternatives=[lrn_by_unfold, lrn_by_matrix, lrn_by_torch],
    hints=[
        "For channel 0 of five channels and n = 3: which channels are in the sum? And for channel 2?",
        dedent("""\
        One pixel, three channels with 2, −1 and 4; n = 3, alpha = 0.25, beta = 1, k = 2:

        | channel | sum of squares | divided by | result |
        |---|---|---|---|
        | 0 | 4 + 1 = 5 | 2 + 1.25 | 0.615 |
        | 1 | 4 + 1 + 16 = 21 | 2 + 5.25 | −0.138 |
        | 2 | 1 + 16 = 17 | 2 + 4.25 | 0.64 |"""),
        dedent("""\
        ```
        squares <- x squared                                   # (N, C, H, W)
        padded  <- (n - 1) / 2 channels of zeros at both ends  # (N, C + n - 1, H, W)
        total   <- the sum of n shifted slices of padded       # (N, C, H, W)
        result  <- x / (k + alpha · total) to the power beta
        ```

        `F.pad(squares, (0, 0, 0, 0, before, after))` pads the channels: it lists the last axis first."""),
        "PyTorch's layer takes the mean over n channels, zeros at the ends included, so `alpha / n` stands before the "
        "sum: 10⁻⁴ in the paper is 5·10⁻⁴ there. If all operations are torch's own and none works in place on x, "
        "autograd does the rest; there is nothing to write for the way back.",
    ])


# ---------------------------------------------------------------------------- alexnet_features and zfnet_features

ALEXNET = {"kernels": (11, 5, 3, 3, 3), "strides": (4, 1, 1, 1, 1), "paddings": (0, 2, 1, 1, 1)}
ZFNET = {"kernels": (7, 5, 3, 3, 3), "strides": (2, 2, 1, 1, 1), "paddings": (1, 0, 1, 1, 1), "ceil": (True,) * 3,
         "order": "conv relu pool norm"}
PAPERS_NORM = {"alpha": 5e-4, "k": 2.0}


def features(channels, kernels, strides, paddings, groups=(1,) * 5, relu=(True,) * 5, bias=True, norm=PAPERS_NORM,
             pool=(3, 3, 3), ceil=(False,) * 3, order="conv relu norm pool"):
    """The convolutional part of AlexNet or ZFNet as a Sequential; `order` is that of the first two stages."""
    import torch
    from torch import nn

    stages = []
    for i, (c_in, c_out) in enumerate(zip(channels[:-1], channels[1:])):
        steps = order if i < 2 else "conv relu pool" if i == 4 else "conv relu"
        for step in steps.split():
            if step == "conv":
                stages.append(nn.Conv2d(c_in, c_out, kernels[i], strides[i], paddings[i], groups=groups[i], bias=bias))
            elif step == "relu" and relu[i]:
                stages.append(module(lambda x, _: torch.clamp(x, min=0)))
            elif step == "norm" and norm is not None:
                stages.append(nn.LocalResponseNorm(5, **norm))
            elif step == "pool" and pool[min(i, 2)]:
                stages.append(nn.MaxPool2d(pool[min(i, 2)], 2, ceil_mode=ceil[min(i, 2)]))
    return nn.Sequential(*stages)


def norm_in_each_tower(channels=(3, 96, 256, 384, 384, 256), groups=1):
    import torch
    from torch import nn

    norm = nn.LocalResponseNorm(5, **PAPERS_NORM)
    halves = module(lambda x, _: torch.cat([norm(half) for half in x.chunk(groups, dim=1)], dim=1))
    return nn.Sequential(*(halves if isinstance(m, nn.LocalResponseNorm) else m
                           for m in alexnet_features(channels, groups)))


def alexnet(changes=None, groups_of=lambda g: (1, g, 1, g, g)):
    """AlexNet's features with some settings changed, as a function like the student's."""
    def build(channels=(3, 96, 256, 384, 384, 256), groups=1):
        return features(channels, **(ALEXNET | {"groups": groups_of(groups)} | (changes or {})))
    return build


def alexnet_features(channels=(3, 96, 256, 384, 384, 256), groups=1):
    """Oracle: torch's layers from a list of numbers."""
    return alexnet()(channels, groups)


def alexnet_by_functions(channels=(3, 96, 256, 384, 384, 256), groups=1):
    import torch
    from torch.nn import functional as F

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            a, b, c, d, e, f = channels
            self.last = torch.nn.Conv2d(e, f, (3, 3), padding="same", groups=groups)
            self.conv4 = torch.nn.Conv2d(d, e, (3, 3), padding="same", groups=groups)
            self.conv3 = torch.nn.Conv2d(c, d, (3, 3), padding="same")
            self.conv2 = torch.nn.Conv2d(b, c, (5, 5), padding="same", groups=groups)
            self.conv1 = torch.nn.Conv2d(a, b, (11, 11), stride=(4, 4))

        def forward(self, x):
            for conv in (self.conv1, self.conv2):
                x = F.local_response_norm(F.relu(conv(x)), 5, alpha=5e-4, beta=0.75, k=2)
                x = F.max_pool2d(x, 3, 2)
            for conv in (self.conv3, self.conv4, self.last):
                x = conv(x).relu()
            return F.max_pool2d(x, 3, 2)

    return Net()


def alexnet_by_parts(channels=(3, 96, 256, 384, 384, 256), groups=1):
    """Groups written as separate towers would have other weights; here the sum of squares is written out."""
    from torch import nn

    norm = lrn(5, 1e-4, 0.75, 2.0)
    parts = []
    for i, (k, s, p) in enumerate([(11, 4, 0), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1)]):
        conv = nn.Conv2d(channels[i], channels[i + 1], k, s, p, groups=groups if i in (1, 3, 4) else 1)
        parts.append(nn.Sequential(conv, nn.ReLU(inplace=True), norm if i < 2 else nn.Identity(),
                                   nn.MaxPool2d(3, 2) if i in (0, 1, 4) else nn.Identity()))
    return nn.Sequential(*parts)


def features_steps(seed, channels, height, width):
    return [("layers", {"input_size": (2, channels[0], height, width)}), ("count_parameters", {}),
            ("set_weights", {"seed": seed}), ("eval", None),
            ("forward", {"x": ints(seed, 1, channels[0], height, width)})]


SMALL = (1, 4, 6, 8, 10, 12)
OTHER = (1, 6, 4, 10, 8, 2)
PARTS = {1: "one tower", 2: "two towers"}


def features_probe(groups, channels, seed, height, width):
    return call(channels, groups, part=PARTS[groups], device="cpu", steps=features_steps(seed, channels, height, width))


def large_steps(size):
    return [("layers", {"input_size": (1, 3, size, size)}), ("count_parameters", {})]


def random_features(rng):
    groups = int(rng.integers(1, 3))
    channels = (int(rng.integers(1, 4)), *(2 * rng.permutation(np.arange(1, 8))[:5]).tolist())
    return features_probe(groups, channels, int(rng.integers(10**6)), *map(int, rng.integers(67, 100, 2)))


ALEXNET_FEATURES = Exercise(
    id="alexnet_features", points=4, forbidden=FORBIDDEN_TORCH,
    oracle=alexnet_features,
    probes=[call(part="one tower", device="meta", steps=large_steps(227)),
            features_probe(1, SMALL, 1, 71, 87), features_probe(1, OTHER, 2, 79, 67),
            call(groups=2, part="two towers", device="meta", steps=large_steps(227)),
            features_probe(2, SMALL, 3, 71, 87)],
    random=random_features,
    mistakes=[
        Mistake("conv1_padded", "CONV1 is padded, as in torchvision's AlexNet for 224×224. Here it is not: 227 fits "
                "without.",
                alexnet({"paddings": (2, 2, 1, 1, 1)})),
        Mistake("conv2_not_padded", "CONV2 is not padded. With padding 2 a 5×5 kernel keeps the size.",
                alexnet({"paddings": (0, 0, 1, 1, 1)})),
        Mistake("conv2_padded_by_1", "CONV2 has padding 1, which is right for a 3×3 kernel. A 5×5 kernel needs 2 to "
                "keep the size.",
                alexnet({"paddings": (0, 1, 1, 1, 1)})),
        Mistake("pool_2x2", "Pooling takes 2×2 windows. AlexNet's are 3×3 at stride 2, and overlap.",
                alexnet({"pool": (2, 2, 2)})),
        Mistake("pool_rounds_up", "Where pooling does not fit, the size is rounded up. Here it is rounded down.",  # 71
                alexnet({"ceil": (True, True, True)})),
        Mistake("last_pool_missing", "The convolutions are right. The pooling at the end, after CONV5, is missing.",
                alexnet({"pool": (3, 3, 0)})),
        Mistake("no_norm", "All layers that learn are right, and the values are not: NORM is missing.",
                alexnet({"norm": None})),
        Mistake("alpha_of_the_paper", "NORM has alpha = 1e-4. PyTorch divides alpha by the window of 5, so the paper's "
                "is 5e-4 here.",
                alexnet({"norm": {"alpha": 1e-4, "k": 2.0}})),
        Mistake("default_norm", "NORM has PyTorch's defaults, where k is 1 and alpha 1e-4.",
                alexnet({"norm": {}})),
        Mistake("norm_before_relu", "NORM stands before ReLU. First the negative responses become 0, then the others "
                "compete.",
                alexnet({"order": "conv norm relu pool"})),
        Mistake("pool_before_norm", "POOL stands before NORM, as in many lectures. Here it is the paper's order: NORM "
                "first.",
                alexnet({"order": "conv relu pool norm"})),
        Mistake("no_relu_at_the_end", "The ReLU after CONV5 is missing.",
                alexnet({"relu": (True, True, True, True, False)})),
        Mistake("no_relu", "There is no ReLU.",
                alexnet({"relu": (False,) * 5})),
        Mistake("no_relu_between", "The ReLU after CONV3 and CONV4 is missing. ReLU follows each convolution, also "
                "where no pooling does.",
                alexnet({"relu": (True, True, False, False, True)})),
        Mistake("no_bias", "The convolutions have no biases.",  # 88
                alexnet({"bias": False})),
        Mistake("one_tower_only", "One tower is right. With `groups=2` CONV2, CONV4 and CONV5 should read only their "
                "own half.",
                alexnet(groups_of=lambda g: (1, 1, 1, 1, 1))),
        Mistake("conv3_grouped", "One tower is right. In two towers CONV3 is the layer that reads the maps of both, so "
                "it has no groups.",
                alexnet(groups_of=lambda g: (1, g, g, g, g))),
        Mistake("only_conv2_grouped", "One tower is right. In two towers CONV4 and CONV5 read only their own half too.",
                alexnet(groups_of=lambda g: (1, g, 1, 1, 1))),
        Mistake("conv3_in_place_of_conv2", "One tower is right. In two towers the groups begin at CONV2; CONV3 reads "
                "everything.",
                alexnet(groups_of=lambda g: (1, 1, g, g, g))),
        Mistake("norm_in_each_tower", "One tower is right, and with two the layers that learn. NORM is applied to each "
                "half on its own; here it runs over all maps, also across the seam.",
                norm_in_each_tower),
    ],
    alternatives=[alexnet_by_functions, alexnet_by_parts],
    hints=[
        "Write down the layers in order, from CONV1 to the last POOL. After which convolutions comes pooling, "
        "and after which normalisation?",
        dedent("""\
        ```
        image   227
        CONV1   55   11×11, stride 4        ReLU  NORM  POOL -> 27
        CONV2   27   5×5, padding 2, groups ReLU  NORM  POOL -> 13
        CONV3   13   3×3, padding 1         ReLU
        CONV4   13   3×3, padding 1, groups ReLU
        CONV5   13   3×3, padding 1, groups ReLU        POOL -> 6
        ```"""),
        dedent("""\
        ```
        __init__:
            c0, c1, c2, c3, c4, c5 <- channels
            one nn.Conv2d for each arrow c0 -> c1 -> ... -> c5, groups where the picture says so
            one nn.Sequential of all steps in their order
        forward:
            send x through it                     # (N, c0, H, W) -> (N, c5, H', W')
        ```

        `nn.Conv2d(c_in, c_out, kernel_size, stride=…, padding=…, groups=…)`, `nn.MaxPool2d(3, stride=2)`.

        `layers(net, input_size)` from `cnnlab.modules` lists what the check sees."""),
        "Two groups are two layers side by side that share nothing. CONV3 without groups is where the towers exchange "
        "what they found; without it there would be two networks. A layer without parameters (ReLU, POOL) may be used "
        "twice, a convolution may not: it would have the same weights in both places.",
    ])


def zfnet(**changes):
    """ZFNet's features with some settings changed, as a function like the student's."""
    def build(channels=(3, 96, 256, 512, 1024, 512)):
        return features(channels, **(ZFNET | changes))
    return build


def zfnet_features(channels=(3, 96, 256, 512, 1024, 512)):
    """Oracle: torch's layers from a list of numbers."""
    return zfnet()(channels)


def zfnet_by_functions(channels=(3, 96, 256, 512, 1024, 512)):
    import torch
    from torch.nn import functional as F

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            settings = [(7, 2, 1), (5, 2, 0), (3, 1, 1), (3, 1, 1), (3, 1, 1)]
            self.convs = torch.nn.ModuleList([torch.nn.Conv2d(a, b, *numbers) for a, b, numbers in zip(
                channels, channels[1:], settings)])

        def forward(self, x):
            for i, conv in enumerate(self.convs):
                x = F.relu(conv(x))
                if i in (0, 1, 4):
                    x = F.max_pool2d(x, 3, 2, ceil_mode=True)
                if i < 2:
                    x = F.local_response_norm(x, 5, 5e-4, 0.75, 2.0)
            return x

    return Net()


def zfnet_from_alexnet(channels=(3, 96, 256, 512, 1024, 512)):
    from torch import nn

    net = nn.Sequential(*alexnet_features(channels))
    net[0] = nn.Conv2d(channels[0], channels[1], 7, stride=2, padding=1)
    net[4] = nn.Conv2d(channels[1], channels[2], 5, stride=2)
    for i in (2, 6):
        net[i], net[i + 1] = net[i + 1], net[i]
    for layer in net:
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = True
    return net


def zfnet_probe(channels, seed, height, width):
    return call(channels, device="cpu", steps=features_steps(seed, channels, height, width))


def random_zfnet(rng):
    channels = (int(rng.integers(1, 4)), *rng.permutation(np.arange(2, 12))[:5].tolist())
    return zfnet_probe(channels, int(rng.integers(10**6)), *map(int, rng.integers(67, 100, 2)))


ZFNET_FEATURES = Exercise(
    id="zfnet_features", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=zfnet_features,
    probes=[call(device="meta", steps=large_steps(224)), zfnet_probe(SMALL, 1, 75, 83), zfnet_probe(OTHER, 2, 83, 70)],
    random=random_zfnet,
    mistakes=[
        Mistake("conv1_of_alexnet", "CONV1 is still AlexNet's, 11×11 at stride 4.",
                zfnet(kernels=(11, 5, 3, 3, 3), strides=(4, 2, 1, 1, 1), paddings=(0, 0, 1, 1, 1))),
        Mistake("conv1_stride_4", "The kernel of CONV1 is smaller now, its stride should be too: 2.",
                zfnet(strides=(4, 2, 1, 1, 1))),
        Mistake("conv1_not_padded", "CONV1 lacks its padding of 1: 224 pixels should become 110, not 109.",
                zfnet(paddings=(0, 0, 1, 1, 1))),
        Mistake("conv2_of_alexnet", "CONV2 is still AlexNet's, at stride 1 with padding 2.",
                zfnet(strides=(2, 1, 1, 1, 1), paddings=(1, 2, 1, 1, 1))),
        Mistake("conv2_stride_1", "CONV2 moves by 1. Its stride is 2, without padding.",
                zfnet(strides=(2, 1, 1, 1, 1))),
        Mistake("conv2_padded", "CONV2 has a padding of 2, as AlexNet's. In ZFNet it has none.",
                zfnet(paddings=(1, 2, 1, 1, 1))),
        Mistake("conv3_not_padded", "CONV3, CONV4 and CONV5 shrink the maps. With padding 1 they keep the size.",
                zfnet(paddings=(1, 0, 0, 0, 0))),
        Mistake("pool_rounds_down", "Pooling rounds down. Here it rounds up: `ceil_mode=True`.",
                zfnet(ceil=(False,) * 3)),
        Mistake("last_pool_rounds_down", "The last pooling rounds down. All three round up.",
                zfnet(ceil=(True, True, False))),
        Mistake("norm_before_pool", "The layers that learn are right. After CONV1 and CONV2 first comes POOL, then "
                "NORM.",
                zfnet(order="conv relu norm pool")),
        Mistake("no_norm", "The layers that learn are right, and the values are not: NORM is missing.",
                zfnet(norm=None)),
        Mistake("alpha_of_the_paper", "NORM has alpha = 1e-4. PyTorch divides alpha by the window of 5, so it is 5e-4 "
                "here, as in `AlexNetFeatures`.",
                zfnet(norm={"alpha": 1e-4, "k": 2.0})),
        Mistake("no_relu_at_the_end", "The ReLU after CONV5 is missing.",
                zfnet(relu=(True, True, True, True, False))),
        Mistake("no_bias", "The convolutions have no biases.",  # 88
                zfnet(bias=False)),
        Mistake("filters_of_alexnet", "The numbers of filters are always AlexNet's. `channels` says them.",  # 88
                lambda channels=(3, 96, 256, 512, 1024, 512): features((3, 96, 256, 384, 384, 256), **ZFNET)
                if channels[1] == 96 else zfnet()(channels)),
    ],
    alternatives=[zfnet_by_functions, zfnet_from_alexnet],
    hints=[
        "Go through the table line by line. Which line changes which argument of which layer of your "
        "`AlexNetFeatures`?",
        dedent("""\
        The sizes from an image of 224×224:

        ```
        CONV1  110   7×7, stride 2, padding 1   ReLU  POOL -> 55  NORM
        CONV2   26   5×5, stride 2              ReLU  POOL -> 13  NORM
        CONV3   13   3×3, padding 1             ReLU
        CONV4   13                              ReLU
        CONV5   13                              ReLU  POOL ->  6
        ```

        (110 − 3)/2 + 1 = 54.5, rounded up 55."""),
        dedent("""\
        ```
        start from your AlexNetFeatures
        CONV1: kernel, stride and padding
        CONV2: stride and padding; no groups anywhere
        POOL:  nn.MaxPool2d(3, stride=2, ceil_mode=True), three times
        after CONV1 and CONV2: exchange NORM and POOL
        the numbers of filters come from channels             # (N, c0, H, W) -> (N, c5, H', W')
        ```"""),
        "A stride of 4 looks at every fourth place only, and patterns finer than that come out as something else "
        "(aliasing, notebook 06). Stride 2 keeps more of them, at four times the arithmetic; stride 2 in CONV2 brings "
        "the maps back to AlexNet's 13×13, so that the rest can stay.",
    ])


# ---------------------------------------------------------------------------- alexnet_classifier

def classifier(c_in, side, hidden, classes, p, *, flatten=lambda x: x.flatten(1), inputs=None, drops=(0, 1, 1, 0),
               relu=(True, True, False), bias=True, always=False, doubled=True, end=None):
    """Three linear layers.  drops: is there dropout before FC6, after FC6, after FC7, after FC8."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    def drop(x, training):
        y = F.dropout(x, p, training or always)
        return y if doubled or not training else y * (1 - p)

    widths = [inputs or c_in * side * side, hidden, hidden, classes]
    parts = [module(lambda x, _: flatten(x))] + [module(drop)] * drops[0]
    for i in range(3):
        parts.append(nn.Linear(widths[i], widths[i + 1], bias=bias))
        parts += [module(lambda x, _: torch.clamp(x, min=0))] * relu[i] + [module(drop)] * drops[i + 1]
    return nn.Sequential(*parts, *([module(end)] if end else []))


def alexnet_classifier(c_in=256, side=6, hidden=4096, classes=1000, p=0.5):
    """Oracle: torch's linear layers; dropout and ReLU as functions."""
    return classifier(c_in, side, hidden, classes, p)


def classified(**changes):
    """The classifier with some settings changed, as a function like the student's."""
    def build(c_in=256, side=6, hidden=4096, classes=1000, p=0.5):
        return classifier(c_in, side, hidden, classes, p, **changes)
    return build


def classifier_by_methods(c_in=256, side=6, hidden=4096, classes=1000, p=0.5):
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc8 = torch.nn.Linear(hidden, classes)
            self.fc7 = torch.nn.Linear(hidden, hidden)
            self.fc6 = torch.nn.Linear(c_in * side**2, hidden)
            self.drop = torch.nn.Dropout(p)

        def forward(self, x):
            x = x.reshape(len(x), -1)
            for layer in (self.fc6, self.fc7):
                x = self.drop(torch.relu(layer(x)))
            return self.fc8(x)

    return Net()


def classifier_by_blocks(c_in=256, side=6, hidden=4096, classes=1000, p=0.5):
    from torch import nn

    def block(n):
        return nn.Sequential(nn.Linear(n, hidden), nn.Dropout(p), nn.ReLU(inplace=True))  # the two may change places
    return nn.Sequential(nn.Flatten(start_dim=1), block(c_in * side * side), block(hidden), nn.Linear(hidden, classes))


def one_hidden_layer(c_in=256, side=6, hidden=4096, classes=1000, p=0.5):
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(c_in * side * side, hidden), nn.ReLU(), nn.Dropout(p),
                         nn.Linear(hidden, classes))


def averaged_maps(c_in=256, side=6, hidden=4096, classes=1000, p=0.5):
    return classifier(c_in, side, hidden, classes, p, flatten=lambda x: x.mean((2, 3)), inputs=c_in)


# A probability so small that, with the random numbers of a check, nothing is dropped, however the dropout is written.
# What is kept is still divided by 1 - p: that shows where there is a dropout, and whether it divides.
SELDOM = 0.0005


def classifier_probe(c_in, side, hidden, classes, p, seed, n):
    x, x2 = ints(seed, n, c_in, side, side), ints(seed + 1, n, c_in, side, side)
    return call(c_in, side, hidden, classes, p, device="cpu", steps=[
        ("layers", {"input_size": (n, c_in, side, side)}), ("count_parameters", {}), ("set_weights", {"seed": seed}),
        ("eval", None), ("forward", {"x": x}), ("train", None), ("forward", {"x2": x2})])


def random_classifier(rng):
    c_in, side, n = (int(rng.integers(low, high)) for low, high in [(2, 5), (1, 4), (1, 4)])
    # Not c_in·side² = 8 hidden units: FC6 and FC7 would have one shape, and the order in which they are made would count.
    hidden, classes = (int(v) for v in rng.permutation([5, 6, 7, 9, 10, 11])[:2])
    return classifier_probe(c_in, side, hidden, classes, float(rng.choice([0, 1, SELDOM])), int(rng.integers(10**6)), n)


ALEXNET_CLASSIFIER = Exercise(
    id="alexnet_classifier", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=alexnet_classifier,
    probes=[call(device="meta", steps=[("layers", {"input_size": (2, 256, 6, 6)}), ("count_parameters", {})]),
            classifier_probe(1, 1, 3, 2, 0.0, 1, 1), classifier_probe(2, 2, 5, 3, 0.0, 2, 2),
            classifier_probe(2, 2, 5, 3, 1.0, 3, 2), classifier_probe(3, 3, 6, 4, 1.0, 4, 1),
            classifier_probe(3, 1, 6, 4, SELDOM, 6, 2),
            classifier_probe(3, 3, 6, 4, 0.0, 5, 3)],
    random=random_classifier,
    mistakes=[
        Mistake("channels_last", "The layers are right, the values are not: the maps are flattened pixel by pixel, "
                "channels last. PyTorch lays out one channel after the other.",  # 106
                classified(flatten=lambda x: x.permute(0, 2, 3, 1).flatten(1))),
        Mistake("columns_first", "The layers are right, the values are not: each map is flattened column by column. "
                "PyTorch goes row by row.",  # 106
                classified(flatten=lambda x: x.transpose(2, 3).flatten(1))),
        Mistake("no_dropout", "Without dropout (p = 0, or evaluation) it is right. In training mode with p = 1 nothing "
                "is dropped: the dropout is missing, or its probability is not `p`.",
                classified(drops=(0, 0, 0, 0))),
        Mistake("nothing_dropped_behind_fc7", "With p = 1 in training, FC8 still gets something: nothing is dropped "
                "after FC7. Dropout belongs after the ReLU of FC6 and of FC7 (torchvision has it before the two "
                "layers).",
                classified(drops=(1, 1, 0, 0))),
        Mistake("nothing_dropped_behind_fc6", "The dropout after FC6 is missing. With p = 1 this does not show, since "
                "the one after FC7 drops everything; with a small p it does.",
                classified(drops=(0, 0, 1, 0))),
        Mistake("not_divided", "With p = 0 and with p = 1 it is right. For a p between them, what dropout keeps in "
                "training is divided by 1 - p, so that the mean stays.",  # 103
                classified(doubled=False)),
        Mistake("dropout_on_the_logits", "Logits are dropped: there is a dropout after FC8.",
                classified(drops=(0, 1, 1, 1))),
        Mistake("dropout_in_evaluation", "Dropout acts in evaluation mode too. `nn.Dropout` knows the mode; "
                "`F.dropout` must be told: `training=self.training`.",  # 102
                classified(always=True)),
        Mistake("no_relu", "There is no ReLU after FC6 and FC7. Three linear layers in a row are one linear layer.",
                classified(relu=(False, False, False))),
        Mistake("no_relu_behind_fc7", "The ReLU after FC7 is missing.",
                classified(relu=(True, False, False))),
        Mistake("relu_on_the_logits", "There is a ReLU after FC8. Logits may be negative.",
                classified(relu=(True, True, True))),
        Mistake("softmax_at_the_end", "The rows are probabilities. The loss has its own softmax; return logits.",  # 104
                classified(end=lambda x, _: x.softmax(dim=1))),
        Mistake("no_bias", "The layers have no biases.",  # 88
                classified(bias=False)),
        Mistake("one_hidden_layer", "FC7 is missing: from FC6 it goes straight to the classes.",  # 88
                one_hidden_layer),
        Mistake("averaged_maps", "Each map is averaged to one number, as in later networks. Here all c_in·side·side "
                "numbers go into FC6.",  # 88
                averaged_maps),
    ],
    alternatives=[classifier_by_methods, classifier_by_blocks],
    hints=[
        "How many numbers does `Flatten` give for maps of (c_in, side, side)? And with p = 1, what does FC8 get in "
        "training?",
        dedent("""\
        ```
        (N, 256, 6, 6)
          flatten          (N, 9216)
          FC6 ReLU dropout (N, 4096)
          FC7 ReLU dropout (N, 4096)
          FC8              (N, 1000)
        ```

        With p = 1 in training, FC8 gets zeros and gives its bias."""),
        dedent("""\
        ```
        __init__:
            one nn.Sequential:
                nn.Flatten()                                      # (N, c_in · side · side)
                nn.Linear to hidden, nn.ReLU, nn.Dropout(p)       # FC6
                nn.Linear to hidden, nn.ReLU, nn.Dropout(p)       # FC7
                nn.Linear to classes                              # FC8
        forward:
            send x through it
        ```"""),
        "Dropout makes the next layer work with a random half of its inputs, so that no unit can rely on another one "
        "being there. It is a module because it must know whether the network is training: `net.train()` and "
        "`net.eval()` reach it only if it is registered, as an attribute or in a Sequential.",
    ])


# ---------------------------------------------------------------------------- plateau_rates

def plateau_rates(errors, lr=0.01, patience=3):
    """Oracle: torch's scheduler, whose patience is the number of bad epochs it still accepts."""
    import torch

    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    rule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.1, patience=patience - 1, threshold=0,
                                                      threshold_mode="abs", eps=0)
    rates = [lr]
    for error in errors:
        rule.step(error)
        rates.append(optimiser.param_groups[0]["lr"])
    return tuple(rates)


def _rates(errors, lr, patience, *, better=lambda e, past, best: e < best, factor=0.1, reset=True, forgive=True,
           once=False, best_anew=False):
    """The rule with one of its parts replaced.  reset: count anew after a cut; forgive: after an improvement."""
    rates, best, bad, cuts = [lr], math.inf, 0, 0
    for i, e in enumerate(errors):
        if better(e, errors[:i], best):
            bad = 0 if forgive else bad
        else:
            bad += 1
        best = min(best, e)
        if bad >= patience and not (once and cuts):
            lr, cuts, bad = lr * factor, cuts + 1, 0 if reset else bad
            best = math.inf if best_anew else best
        rates.append(lr)
    return tuple(rates)


def rates_by_cuts(errors, lr=0.01, patience=3):
    """Find the epochs of the cuts first."""
    cuts, start = [], 0
    for i in range(len(errors)):
        bad = [j for j in range(max(start, i + 1 - patience), i + 1) if j > 0 and errors[j] >= min(errors[:j])]
        if len(bad) == patience:
            cuts.append(i + 1)
            start = i + 1
    return [lr / 10 ** sum(c <= i for c in cuts) for i in range(len(errors) + 1)]


def rates_by_arrays(errors, lr=0.01, patience=3):
    rates = np.full(len(errors) + 1, float(lr))
    best, since = np.inf, 0
    for epoch, error in enumerate(errors, start=1):
        since += 1
        if error < best:
            best, since = error, 0
        if since == patience:
            rates[epoch:] /= 10
            since = 0
    return rates.tolist()


def random_rates(rng):
    errors = tuple((rng.integers(0, 40, int(rng.integers(5, 14))) / 4).tolist())
    return call(errors, lr=float(rng.choice([0.01, 0.1, 1.0])), patience=int(rng.integers(1, 4)))


PLATEAU_RATES = Exercise(
    id="plateau_rates", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=plateau_rates,
    probes=[call((), lr=0.5), call((4.0, 5.0), lr=1.0, patience=1), call((4.0, 4.0, 3.0), lr=1.0, patience=1),
            call((9.0, 8.0, 8.0, 8.0, 8.0, 7.0)), call((5.0, 6.0, 4.0, 6.0, 5.0, 3.0, 4.0), lr=0.1, patience=2),
            call((5.0, 6.0, 7.0, 6.5, 6.25, 6.0, 5.5, 5.25, 4.0), lr=1.0, patience=2),
            call((3.0, 2.0, 2.5, 2.25, 2.5, 2.75, 2.5, 2.5, 2.0, 1.5, 1.75), lr=0.1, patience=3),
            call((8.0, 9.0, 7.0, 9.0, 6.0, 9.0, 5.0, 9.0, 9.5, 4.0), lr=0.01, patience=2)],
    random=random_rates,
    mistakes=[
        Mistake("one_epoch_too_early", "The rate falls in the very epoch whose error was looked at. That epoch has "
                "already been trained; the cut is for those after it.",
                lambda errors, lr=0.01, patience=3: (*_rates(errors, lr, patience)[1:],
                                                     _rates(errors, lr, patience)[-1])),
        Mistake("next_rate_missing", "There is one rate too few: that of the epoch that comes next is missing.",
                lambda errors, lr=0.01, patience=3: _rates(errors, lr, patience)[:-1]),
        Mistake("first_rate_missing", "There is one rate too few: that of the first epoch, before any error is known.",
                lambda errors, lr=0.01, patience=3: _rates(errors, lr, patience)[1:]),
        Mistake("compares_with_the_last_epoch", "Each error is compared with the one before it. An improvement is "
                "smaller than all errors before.",
                lambda errors, lr=0.01, patience=3: _rates(errors, lr, patience, better=lambda e, past, best:
                                                           not past or e < past[-1])),
        Mistake("equal_is_an_improvement", "An error that equals the best so far counts as an improvement. It must be "
                "smaller.",
                lambda errors, lr=0.01, patience=3: _rates(errors, lr, patience,
                                                           better=lambda e, past, best: e <= best)),
        Mistake("larger_is_better", "Epochs with a larger value count as improvements, as for an accuracy. These are "
                "errors.",
                lambda errors, lr=0.01, patience=3: _rates(errors, lr, patience, better=lambda e, past, best:
                                                           not past or e > max(past))),
        Mistake("no_new_count_after_a_cut", "After a cut the counting goes on, so every further epoch without "
                "improvement cuts again. It should start anew.",
                lambda errors, lr=0.01, patience=3: _rates(errors, lr, patience, reset=False)),
        Mistake("improvement_does_not_reset", "Epochs without improvement are added up over the whole training. An "
                "improvement between them should set the count back to 0.",
                lambda errors, lr=0.01, patience=3: _rates(errors, lr, patience, forgive=False)),
        Mistake("patience_of_torch", "It waits one epoch more, as PyTorch's scheduler does. Here the cut comes after "
                "`patience` epochs without improvement.",
                lambda errors, lr=0.01, patience=3: _rates(errors, lr, patience + 1)),
        Mistake("only_one_cut", "The rate is cut once and then never again.",
                lambda errors, lr=0.01, patience=3: _rates(errors, lr, patience, once=True)),
        Mistake("best_forgotten", "After a cut the best error so far is forgotten, so the next epoch is always an "
                "improvement. An improvement is smaller than **all** errors before.",
                lambda errors, lr=0.01, patience=3: _rates(errors, lr, patience, best_anew=True)),
        Mistake("halved", "The rate is halved. It should be divided by ten.",
                lambda errors, lr=0.01, patience=3: _rates(errors, lr, patience, factor=0.5)),
        Mistake("times_ten", "The rate grows: it is multiplied by ten, not divided.",
                lambda errors, lr=0.01, patience=3: _rates(errors, lr, patience, factor=10)),
        Mistake("every_few_epochs", "The rate is cut every `patience` epochs, whatever the errors are.",
                lambda errors, lr=0.01, patience=3: tuple(lr / 10 ** (i // patience) for i in range(len(errors) + 1))),
    ],
    alternatives=[rates_by_cuts, rates_by_arrays],
    hints=[
        "After an epoch, which two things must be known of the epochs before, to decide whether the rate is cut?",
        dedent("""\
        `patience = 2`, `lr = 1`:

        | epoch | rate | error | improvement? | waited | then |
        |---|---|---|---|---|---|
        | 1 | 1 | 5 | yes | 0 | |
        | 2 | 1 | 6 | no | 1 | |
        | 3 | 1 | 5 | no | 2 | cut, count from 0 |
        | 4 | 0.1 | 4 | yes | 0 | |
        | 5 | 0.1 | | | | |

        Result: 1, 1, 1, 0.1, 0.1."""),
        dedent("""\
        ```
        rates  <- [lr];  best <- infinity;  waited <- 0
        for each error:
            smaller than best?  best <- error, waited <- 0;  else waited grows by 1
            waited as large as patience?  lr <- lr / 10, waited <- 0
            append lr                               # the rate of the NEXT epoch
        ```"""),
        "The rate of an epoch can depend on earlier epochs only, hence one rate more than errors. Compared with the "
        "best and not with the last, a single lucky or unlucky epoch does not count twice. Waiting a little keeps "
        "noise from being taken for a plateau.",
    ])


# ---------------------------------------------------------------------------- average_probabilities

def average_probabilities(logits):
    """Oracle: NumPy, image by image and network by network."""
    import torch

    values = logits.double().numpy()
    out = np.zeros(values.shape[1:])
    for network in values:
        for image, row in enumerate(network):
            e = np.exp(row - row.max())
            out[image] += e / e.sum() / len(values)
    return torch.from_numpy(out).float()


def average_by_exp(logits):
    e = (logits - logits.amax(dim=-1, keepdim=True)).exp()
    return (e / e.sum(-1, keepdim=True)).sum(0) / logits.shape[0]


def average_by_loop(logits):
    import torch

    total = torch.zeros(logits.shape[1:])
    for one in logits:
        total = total + torch.nn.functional.softmax(one, dim=1)
    return total / len(logits)


def average_by_log_softmax(logits):
    import torch

    return torch.log_softmax(logits, 2).exp().mean(0)


def votes(logits):
    import torch

    return torch.nn.functional.one_hot(logits.argmax(2), logits.shape[2]).float().mean(0)


def answers(seed, *shape):
    return quarters(seed, *shape).astype(np.float32)


def random_answers(rng):
    shape = [int(rng.integers(1, high)) for high in (5, 4)] + [int(rng.integers(2, 6))]
    return call((rng.integers(-12, 13, shape) / 4).astype(np.float32) * float(rng.choice([1, 100])), device="cpu")


AVERAGE = Exercise(
    id="average_probabilities", points=1, forbidden=FORBIDDEN_TORCH,
    oracle=average_probabilities,
    probes=[call(np.float32([[[0, 0]], [[0, 100]]]), device="cpu"), call(answers(1, 2, 3, 4), device="cpu"),
            call(strided(answers(2, 4, 2, 3)), device="cpu"), call(answers(3, 1, 2, 5), device="cpu"),
            call(answers(4, 5, 1, 3), device="cpu"), call(answers(5, 3, 4, 2) * 500, device="cpu")],
    random=random_answers,
    mistakes=[
        Mistake("mean_of_logits", "The logits are averaged, then softmax is taken. Take softmax first: a single "
                "network with huge logits should not outvote the others.",
                lambda logits: logits.mean(0).softmax(1)),
        Mistake("softmax_over_the_networks", "Softmax runs over the networks. It should run over the classes, the last "
                "axis.",
                lambda logits: logits.softmax(0).mean(0)),
        Mistake("softmax_over_the_images", "Softmax runs over the images. It should run over the classes, the last "
                "axis.",
                lambda logits: logits.softmax(1).mean(0)),
        Mistake("mean_over_the_images", "The images are averaged. What is averaged are the networks, axis 0.",
                lambda logits: logits.softmax(2).mean(1)),
        Mistake("sum", "The probabilities are added up and not divided by the number of networks: rows should sum to "
                "1.",
                lambda logits: logits.softmax(2).sum(0)),
        Mistake("votes", "Each network votes for its best class, and votes are counted. How sure it is should count "
                "too.",
                votes),
        Mistake("largest", "The largest probability of all networks is taken, not the mean.",
                lambda logits: logits.softmax(2).amax(0)),
        Mistake("softmax_again", "Softmax is applied to the averages once more. They are probabilities already.",
                lambda logits: logits.softmax(2).mean(0).softmax(1)),
        Mistake("no_softmax", "The logits are averaged, and never become probabilities.",
                lambda logits: logits.mean(0)),
        Mistake("mean_of_logarithms", "Logarithms of probabilities are averaged. That is a product in disguise, in "
                "which one small probability spoils all; and the rows do not sum to 1.",
                lambda logits: logits.log_softmax(2).mean(0).exp()),
        Mistake("overflow", "Small logits are right; for large ones `exp` overflows and `nan` comes out. Subtract the "
                "largest logit of each row first, or use `softmax`.",
                lambda logits: (logits.exp() / logits.exp().sum(2, keepdim=True)).mean(0)),
        Mistake("first_network", "Only the first network is asked.",
                lambda logits: logits[0].softmax(1)),
    ],
    alternatives=[average_by_exp, average_by_loop, average_by_log_softmax],
    hints=[
        "Of the three axes (networks, images, classes): along which must the probabilities sum to 1, and along which "
        "is averaged?",
        dedent("""\
        Two networks, one image, two classes:

        | | logits | probabilities |
        |---|---|---|
        | network 1 | 0, 0 | 0.5, 0.5 |
        | network 2 | 0, 100 | 0, 1 |
        | average | | 0.25, 0.75 |"""),
        dedent("""\
        ```
        probabilities <- softmax of logits over the last axis     # (M, N, K)
        result        <- mean over the first axis                 # (N, K)
        ```"""),
        "A probability is at most 1, so each network has one vote to give. Logits have no limit; their mean is the "
        "geometric mean of the probabilities, normalised, where one network that is sure that a class is wrong rules "
        "it out.",
    ])


EXERCISES = [TOP_K_ERROR, LAYER_TABLE, LRN, ALEXNET_FEATURES, ALEXNET_CLASSIFIER, PLATEAU_RATES, AVERAGE,
             ZFNET_FEATURES]
