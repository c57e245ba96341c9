"""Exercises of notebook 09: LeNet as a torch module, its training and testing, distorted digits, and what goes wrong.

Where torch is the language of the answer, the oracle takes another way: SciPy for the distortions, index arithmetic in
NumPy for orders and counts, scikit-learn for the confusion matrix, other modules of torch for the networks.
"""

import math
from functools import partial
from textwrap import dedent

import numpy as np

from autograder.exercise import FORBIDDEN_TORCH, Exercise, Mistake, call
from autograder.exercises import draws

ints, quarters = partial(draws.ints, dtype=np.float32), partial(draws.quarters, dtype=np.float32)  # PyTorch's own dtype

# The notebook compares torch with cnnlab.layers, so at least one exercise has to leave it in the grader's room.
LAYERS_ALLOWED = tuple(module for module in FORBIDDEN_TORCH if module != "cnnlab.layers")
BY_HAND = (*FORBIDDEN_TORCH, "cnnlab.augment")


def numpy(tensor):
    """A tensor, or an array, as an array of its own; np.array(tensor) itself warns."""
    return np.array(tensor.detach().numpy() if hasattr(tensor, "detach") else tensor)


def array(tensor):
    """The same in float64."""
    return numpy(tensor).astype(float)


# ---------------------------------------------------------------------------- lenet_module

def lenet_parts(channels, classes):
    """LeNet, layer by layer, by name."""
    from torch import nn

    return {"c1": nn.Conv2d(channels, 6, 5), "a1": nn.ReLU(), "s2": nn.MaxPool2d(2),
            "c3": nn.Conv2d(6, 16, 5), "a3": nn.ReLU(), "s4": nn.MaxPool2d(2), "flatten": nn.Flatten(),
            "c5": nn.Linear(400, 120), "a5": nn.ReLU(), "f6": nn.Linear(120, 84), "a6": nn.ReLU(),
            "output": nn.Linear(84, classes), "end": nn.Identity()}


def lenet(channels=1, classes=10):
    """Oracle: one nn.Sequential."""
    from torch import nn

    return nn.Sequential(*lenet_parts(channels, classes).values())


def lenet_with(change):
    """A mistake: `change(nn, channels, classes)` gives other layers by name, None for one that is left out."""
    def build(channels=1, classes=10):
        from torch import nn

        parts = lenet_parts(channels, classes) | change(nn, channels, classes)
        return nn.Sequential(*(part for part in parts.values() if part is not None))

    return build


def reordered(*axes):
    """A flatten that brings the axes (N, C, H, W) into another order first."""
    from torch import nn

    class Reordered(nn.Module):
        def forward(self, x):
            return x.permute(*axes).flatten(1)

    return Reordered()


def lenet_by_attributes(channels=1, classes=10):
    import torch.nn.functional as F
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(channels, 6, kernel_size=(5, 5))
            self.second = nn.Conv2d(6, 16, 5)
            self.third = nn.Linear(16 * 5 * 5, 120)
            self.fourth = nn.Linear(120, 84)
            self.fifth = nn.Linear(84, classes)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.first(x)), 2)
            x = F.max_pool2d(F.relu(self.second(x)), 2)
            x = x.view(len(x), -1)
            return self.fifth(F.relu(self.fourth(F.relu(self.third(x)))))

    return Net()


def lenet_in_two_halves(channels=1, classes=10):
    """Pooling before ReLU gives the same: the largest of the positive parts is the positive part of the largest."""
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.classifier = nn.ModuleList([nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, classes)])
            self.features = nn.Sequential(nn.Conv2d(channels, 6, 5), nn.MaxPool2d(2, 2), nn.ReLU(inplace=True),
                                          nn.Conv2d(6, 16, 5), nn.MaxPool2d(2, 2), nn.ReLU(inplace=True))

        def forward(self, x):
            x = self.features(x).reshape(x.shape[0], 400)
            for layer in self.classifier[:-1]:
                x = layer(x).clamp(min=0)
            return self.classifier[-1](x)

    return Net()


def lenet_in_a_list(channels=1, classes=10):
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = list(lenet_parts(channels, classes).values())

        def forward(self, x):
            for part in self.parts:
                x = part(x)
            return x

    return Net()


def lenet_probe(n, channels, classes, x):
    return call(channels, classes, device="cpu", steps=[
        ("layers", {"input_size": (n, channels, 32, 32)}), ("count_parameters", {}), ("set_weights", {"seed": 1}),
        ("forward", {"x": x})])


def random_lenet(rng):
    channels = int(rng.integers(1, 4))
    return lenet_probe(2, channels, int(rng.integers(2, 13)), rng.integers(-8, 9, (1, channels, 32, 32)) / 4)


LENET_MODULE = Exercise(
    id="lenet_module", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=lenet,
    probes=[call(1, 10, device="cpu", steps=[("layers", {"input_size": (2, 1, 32, 32)}), ("count_parameters", {})]),
            lenet_probe(1, 1, 10, quarters(1, 2, 1, 32, 32, dtype=float)),
            lenet_probe(3, 3, 7, quarters(2, 1, 3, 32, 32, dtype=float))],
    random=random_lenet,
    mistakes=[
        Mistake("softmax_at_the_end", "A softmax follows the last layer. The loss does that step itself; the network "
                "ends with logits, of any size and sign.",  # 104
                lenet_with(lambda nn, c, k: {"end": nn.Softmax(1)})),
        Mistake("log_softmax_at_the_end", "A log-softmax follows the last layer. `F.cross_entropy` contains one, so "
                "the network ends with plain logits.",  # 104
                lenet_with(lambda nn, c, k: {"end": nn.LogSoftmax(1)})),
        Mistake("relu_at_the_end", "A ReLU follows the last layer. Its outputs are logits, which must be free to be "
                "negative.",
                lenet_with(lambda nn, c, k: {"end": nn.ReLU()})),
        Mistake("no_relu_after_convolutions", "The ReLUs after the two convolutions are missing.",
                lenet_with(lambda nn, c, k: {"a1": None, "a3": None})),
        Mistake("no_relu_between_linear_layers", "The ReLUs between the linear layers are missing.",
                lenet_with(lambda nn, c, k: {"a5": None, "a6": None})),
        Mistake("no_relu_anywhere", "There is no ReLU. A layer such as nn.Linear is only the linear part; the "
                "activation is a step of its own.",
                lenet_with(lambda nn, c, k: dict.fromkeys(("a1", "a3", "a5", "a6")))),
        Mistake("no_relu_after_f6", "The ReLU between F6 and the output is missing.",
                lenet_with(lambda nn, c, k: {"a6": None})),
        Mistake("no_relu_after_c5", "The ReLU between C5 and F6 is missing.",
                lenet_with(lambda nn, c, k: {"a5": None})),
        Mistake("tanh", "The activation is tanh, as in 1998. Use ReLU here.",
                lenet_with(lambda nn, c, k: {name: nn.Tanh() for name in ("a1", "a3", "a5", "a6")})),
        Mistake("average_pooling", "The pooling layers average. Use max pooling here.",
                lenet_with(lambda nn, c, k: {"s2": nn.AvgPool2d(2), "s4": nn.AvgPool2d(2)})),
        Mistake("flattened_channels_last", "Every layer is right, but the values reach the first linear layer in "
                "another order: flattening goes channel by channel, and row by row within a channel.",  # 106
                lenet_with(lambda nn, c, k: {"flatten": reordered(0, 2, 3, 1)})),
        Mistake("flattened_by_columns", "Every layer is right, but the values reach the first linear layer in another "
                "order: within a channel, flattening goes row by row.",  # 106
                lenet_with(lambda nn, c, k: {"flatten": reordered(0, 1, 3, 2)})),
        Mistake("c1_padded", "C1 has padding 2. That is how LeNet is made to fit images of 28×28; here they have "
                "32×32, and nothing is padded.",  # 88
                lenet_with(lambda nn, c, k: {"c1": nn.Conv2d(c, 6, 5, padding=2), "c5": nn.Linear(576, 120)})),
        Mistake("kernels_of_3", "The kernels are 3×3. Those of LeNet are 5×5.",  # 88
                lenet_with(lambda nn, c, k: {"c1": nn.Conv2d(c, 6, 3), "c3": nn.Conv2d(6, 16, 3),
                                             "c5": nn.Linear(576, 120)})),
        Mistake("no_biases_in_convolutions", "The convolutions have no biases; the layers of LeNet all have.",  # 88
                lenet_with(lambda nn, c, k: {"c1": nn.Conv2d(c, 6, 5, bias=False),
                                             "c3": nn.Conv2d(6, 16, 5, bias=False)})),
        Mistake("f6_missing", "F6, the layer with 84 outputs, is missing.",  # 88
                lenet_with(lambda nn, c, k: {"f6": None, "a6": None, "output": nn.Linear(120, k)})),
        Mistake("c5_as_convolution", "C5 is a convolution, as in the paper. It computes the same, but use nn.Linear "
                "here: so the weights of notebook 08 fit.",
                lenet_with(lambda nn, c, k: {"flatten": nn.Conv2d(16, 120, 5), "c5": nn.Flatten()})),
        Mistake("ten_classes_always", "With ten classes all is right; with another number there are still ten "
                "outputs. Use the argument `classes`.",  # 36
                lenet_with(lambda nn, c, k: {"output": nn.Linear(84, 10)})),
        Mistake("layers_in_a_list", "The network seems to have no parameters. A module finds layers that are "
                "attributes, `self.name = nn.…`, or lie in an `nn.Sequential` or `nn.ModuleList`; it does not look "
                "into a Python list.",
                lenet_in_a_list),
    ],
    alternatives=[lenet_by_attributes, lenet_in_two_halves],
    hints=[
        "Which layers of LeNet learn something? Those have to be made once, in `__init__`. What happens to the image "
        "between them can be written in `forward`.",
        dedent("""\
        ```
        x         (N, channels, 32, 32)
        C1        (N, 6, 28, 28)    then ReLU and pooling: (N, 6, 14, 14)
        C3        (N, 16, 10, 10)   then ReLU and pooling: (N, 16, 5, 5)
        flatten   (N, 400)
        C5        (N, 120)          then ReLU
        F6        (N, 84)           then ReLU
        output    (N, classes)      logits: nothing follows
        ```"""),
        dedent("""\
        ```
        __init__:  super().__init__()
                   two nn.Conv2d and three nn.Linear, each as an attribute of self
        forward:   pool(relu(first convolution of x)), the same with the second
                   flatten all axes but the first
                   three linear layers, relu after the first two
                   return the logits
        ```

        `F.relu(x)`, `F.max_pool2d(x, 2)` and `x.flatten(1)` do the rest."""),
        "Setting an attribute that is a layer registers it: that is how `parameters()`, `state_dict()` and "
        "`to(device)` find its weights. ReLU, pooling and flatten have none, so it makes no difference whether they "
        "are layers or functions in `forward`.",
    ])


# ---------------------------------------------------------------------------- from_channels_last

def from_channels_last(dense, shape):
    """Oracle: where each number comes from, one by one."""
    dense, (channels, height, width) = numpy(dense), shape
    out = np.zeros(dense.T.shape, dtype=np.float32)
    for c, h, w in np.ndindex(*shape):
        out[:, (c * height + h) * width + w] = dense[(h * width + w) * channels + c]
    return out


def channels_last_by_permute(dense, shape):
    c, h, w = shape
    return dense.reshape(h, w, c, -1).permute(3, 2, 0, 1).reshape(-1, c * h * w)


def channels_last_by_transpose(dense, shape):
    return dense.t().unflatten(1, (-1, shape[0])).transpose(1, 2).flatten(1)


def channels_last_by_index(dense, shape):
    import torch

    places = torch.arange(dense.shape[0]).reshape(*shape[1:], shape[0])      # of (h, w, c) in the old order
    return dense[torch.cat([places[..., c].flatten() for c in range(shape[0])])].T.contiguous()


def random_channels_last(rng):
    shape = tuple(int(v) for v in rng.integers(1, 5, 3))
    return call(rng.integers(-8, 9, (math.prod(shape), int(rng.integers(1, 4)))).astype(np.float32) / 4, shape,
                device="cpu")


def counted(*shape):
    """1, 2, 3, ... in this shape, so that each number says where it came from."""
    return np.arange(1, math.prod(shape) + 1, dtype=np.float32).reshape(shape)


FROM_CHANNELS_LAST = Exercise(
    id="from_channels_last", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=from_channels_last,
    probes=[call(counted(4, 1), (2, 1, 2), device="cpu"), call(counted(6, 2), (1, 2, 3), device="cpu"),
            call(counted(24, 5), (3, 2, 4), device="cpu"), call(quarters(11, 18, 3), (2, 3, 3), device="cpu"),
            call(ints(12, 5, 4), (5, 1, 1), device="cpu")],
    random=random_channels_last,
    mistakes=[
        Mistake("transposed_only", "The matrix is turned, but its columns are still in the old order: pixel by "
                "pixel, with the channels of a pixel side by side. PyTorch wants channel by channel.",  # 106
                lambda dense, shape: numpy(dense).T),
        Mistake("reshaped_only", "`reshape` gives the right shape and leaves the numbers in the order in which they "
                "lie. An axis moves only by `permute` or `transpose`.",  # 27
                lambda dense, shape: numpy(dense).reshape(dense.shape[::-1])),
        Mistake("the_other_way", "The columns are rearranged from channel by channel to pixel by pixel. It is asked "
                "for the opposite.",  # 106
                lambda dense, shape: numpy(dense).T.reshape(-1, *shape).transpose(0, 2, 3, 1).reshape(
                    dense.shape[::-1])),
        Mistake("by_columns", "The channels are right, but within a channel the pixels go column by column. PyTorch "
                "flattens row by row.",  # 106
                lambda dense, shape: numpy(dense).reshape(*shape[1:], shape[0], -1).transpose(3, 2, 1, 0).reshape(
                    dense.shape[::-1])),
        Mistake("width_first", "The rows of `dense` are read as (width, height, channels). They are (height, width, "
                "channels).",  # 5
                lambda dense, shape: numpy(dense).reshape(shape[2], shape[1], shape[0], -1).transpose(
                    3, 2, 1, 0).reshape(dense.shape[::-1])),
        Mistake("not_turned", "The inputs are in the right order, but they run along axis 0. The weight of "
                "`nn.Linear` is (out, in).",
                lambda dense, shape: from_channels_last(dense, shape).T),
        Mistake("rows_of_channels", "The columns go row by row, and within a row channel by channel. Each channel "
                "should come as a whole.",  # 106
                lambda dense, shape: numpy(dense).reshape(*shape[1:], shape[0], -1).transpose(3, 0, 2, 1).reshape(
                    dense.shape[::-1])),
        Mistake("not_flattened", "The order is right; the result is still (out, C, H, W). `nn.Linear` wants (out, in).",
                lambda dense, shape: from_channels_last(dense, shape).reshape(-1, *shape)),
        Mistake("outputs_taken_for_channels", "The last two axes are taken for each other: after height and width "
                "come the channels, and the outputs are last.",
                lambda dense, shape: numpy(dense).reshape(*shape[1:], -1, shape[0]).transpose(2, 3, 0, 1).reshape(
                    dense.shape[::-1])),
    ],
    alternatives=[channels_last_by_permute, channels_last_by_transpose, channels_last_by_index],
    hints=[
        "Row 0 of `dense` belongs to channel 0 of pixel (0, 0). To which channel of which pixel belongs row 1?",
        dedent("""\
        Two channels, one row of two pixels, one output. What stands where:

        ```
        dense      pixel 0 channel 0 | pixel 0 channel 1 | pixel 1 channel 0 | pixel 1 channel 1
                        1                  2                   3                   4
        PyTorch    channel 0 pixel 0 | channel 0 pixel 1 | channel 1 pixel 0 | channel 1 pixel 1
                        1                  3                   2                   4
        ```"""),
        dedent("""\
        ```
        take the rows apart into their axes:   (H, W, C, out)
        bring the axes into PyTorch's order:   (out, C, H, W)
        join the last three again:             (out, C·H·W)
        ```"""),
        "`reshape` never moves a number; it only says where one axis ends and the next begins. `permute` changes "
        "which axis is which. So: take apart in the order in which the numbers lie, permute, and join.",
    ])


# ---------------------------------------------------------------------------- baselines

def baselines(labels, classes):
    """Oracle: SciPy's entropy of the shares."""
    from scipy.stats import entropy

    shares = np.array([(array(labels) == k).mean() for k in range(classes)])
    return np.array([math.log(classes), entropy(shares), shares.max()], dtype=np.float32)


def baselines_in_torch(labels, classes):
    import torch

    p = torch.bincount(labels, minlength=classes) / len(labels)
    seen = p[p > 0]
    return torch.stack([torch.tensor(float(classes)).log(), -(seen * seen.log()).sum(), p.max()])


def baselines_by_loss(labels, classes):
    """The loss of a network that gives the same logits for every image: the logarithms of the shares."""
    import torch
    import torch.nn.functional as F

    n = len(labels)
    shares = F.one_hot(labels, classes).float().mean(0)
    return [F.cross_entropy(torch.zeros(n, classes), labels).item(),
            F.nll_loss(shares.log().expand(n, classes), labels).item(), float(shares.max())]


def baselines_by_counting(labels, classes):
    counts = {}
    for label in labels.tolist():
        counts[label] = counts.get(label, 0) + 1
    shares = [count / len(labels) for count in counts.values()]
    return math.log(classes), -sum(p * math.log(p) for p in shares), max(shares)


def baselines_with(number, change):
    """A mistake in one of the three numbers: change(shares, classes, right)."""
    def wrong(labels, classes):
        right = baselines(labels, classes)
        shares = np.array([(array(labels) == k).mean() for k in range(classes)])
        with np.errstate(all="ignore"):
            right[number] = change(shares, classes, right[number])
        return right
    return wrong


def random_baselines(rng):
    classes = int(rng.integers(2, 9))
    return call(rng.integers(0, classes, int(rng.integers(1, 12))), classes, device="cpu")


BASELINES = Exercise(
    id="baselines", points=1, forbidden=LAYERS_ALLOWED,
    oracle=baselines,
    probes=[call(np.array([0, 1]), 2, device="cpu"), call(np.array([1, 0, 1, 1]), 2, device="cpu"),
            call(np.array([2, 0, 3, 2, 2, 0]), 5, device="cpu"),
            call(np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 4, 9]), 10, device="cpu"),
            call(np.array([3, 3, 3]), 4, device="cpu")],
    random=random_baselines,
    mistakes=[
        Mistake("log_of_base_2", "The logarithms are to base 2. Losses are computed with the natural one.",
                lambda labels, classes: baselines(labels, classes) / np.float32([np.log(2), np.log(2), 1])),
        Mistake("log_of_base_10", "The logarithms are to base 10. Losses are computed with the natural one.",
                lambda labels, classes: baselines(labels, classes) / np.float32([np.log(10), np.log(10), 1])),
        Mistake("classes_that_occur", "The first number counts the classes that occur among the labels. The network "
                "has `classes` outputs, and all of them share the probability.",  # 105
                baselines_with(0, lambda p, k, right: np.log((p > 0).sum()))),
        Mistake("probability_for_loss", "The first number is the probability of a class, 1/K. The loss is minus its "
                "logarithm.",  # 105
                baselines_with(0, lambda p, k, right: 1 / k)),
        Mistake("summed_over_the_samples", "The first number is the sum of the losses of all samples. A loss is "
                "their mean, so it does not depend on how many there are.",  # 105
                lambda labels, classes: baselines(labels, classes) * np.float32([len(labels), 1, 1])),
        Mistake("nan_for_a_class_that_is_missing", "Where a class does not occur, 0 times the logarithm of 0 has "
                "made the sum not a number. Such a class adds nothing: leave it out.",
                baselines_with(1, lambda p, k, right: -(p * np.log(p)).sum())),
        Mistake("mean_over_the_classes", "The second number is divided by the number of classes. It is the mean over "
                "the samples: each class counts with its share.",
                baselines_with(1, lambda p, k, right: right / k)),
        Mistake("loss_of_the_most_frequent", "The second number is minus the logarithm of the largest share, the "
                "loss on samples of the most frequent class only. The others count too.",
                baselines_with(1, lambda p, k, right: -np.log(p.max()))),
        Mistake("negative_entropy", "The second number is negative. A loss is minus a logarithm.",
                baselines_with(1, lambda p, k, right: -right)),
        Mistake("chance", "The third number is 1/K, the accuracy of guessing. Always giving the most frequent answer "
                "is better, unless all are equally frequent.",
                baselines_with(2, lambda p, k, right: 1 / k)),
        Mistake("count", "The third number is a count. An accuracy is a share, from 0 to 1.",
                lambda labels, classes: baselines(labels, classes) * np.float32([1, 1, len(labels)])),
        Mistake("the_class_itself", "The third number is the most frequent class. It is asked how often that answer is "
                "right.",
                baselines_with(2, lambda p, k, right: p.argmax())),
    ],
    alternatives=[baselines_in_torch, baselines_by_loss, baselines_by_counting],
    hints=[
        "The loss of one sample is minus the logarithm of the probability that its label was given. Which "
        "probability does a label get in each of the first two cases?",
        dedent("""\
        Labels 1, 0, 1, 1, two classes. Shares: 1/4 and 3/4.

        ```
        knows nothing      every label gets 1/2:    loss 0.693, whatever the label
        knows the shares   a 0 gets 1/4: 1.386      a 1 gets 3/4: 0.288
                           one 0 and three 1s:      mean 0.562
        always says 1      right in 3 of 4 cases:   0.75
        ```"""),
        dedent("""\
        ```
        shares <- how often each of the K classes occurs, over N     # (K,)
        first  <- ln K
        second <- sum over the classes that occur of share times -ln(share)
        third  <- the largest share
        ```"""),
        "The second number is the *entropy* of the labels. It is at most ln K, with equality if all classes are "
        "equally frequent. A training that comes to rest there has learned what can be learned without looking.",
    ])


# ---------------------------------------------------------------------------- training_step

def classifier(inputs, classes, lr):
    """The notebook's base class: batch norm and a linear layer, and an optimiser with momentum."""
    import torch
    from torch import nn

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.BatchNorm1d(inputs), nn.Linear(inputs, classes))
            self.optimiser = torch.optim.SGD(self.net.parameters(), lr=lr, momentum=0.9)

        def forward(self, x):
            return self.net(x)

        def loss(self, x, labels):
            return nn.functional.cross_entropy(self(x), labels)

    return Classifier()


def with_method(name, method):
    """A class like the notebook's with one more method: method(net, ...)."""
    def build(inputs, classes, lr=0.1):
        net = classifier(inputs, classes, lr)
        setattr(net, name, lambda *given: method(net, *given))
        return net
    return build


def learner(inputs, classes, lr=0.1):
    """Oracle: gradients from torch.autograd.grad, the rule of SGD with momentum by hand."""
    import torch

    net, velocity = classifier(inputs, classes, lr), {}

    def learn(x, labels):
        net.train()
        logits = net(x)
        loss = -logits.log_softmax(1)[torch.arange(len(labels)), labels].mean()
        weights = list(net.parameters())
        for i, gradient in enumerate(torch.autograd.grad(loss, weights)):
            velocity[i] = 0.9 * velocity.get(i, 0) + gradient
            weights[i].data -= lr * velocity[i]
        return loss.item()

    net.learn = learn
    return net


def learn_plainly(net, x, labels):
    net.train()
    loss = net.loss(x, labels)
    net.optimiser.zero_grad()
    loss.backward()
    net.optimiser.step()
    return loss.item()


def learn_and_clean_up(net, x, labels):
    """Gradients are cleared at the end, when they are no longer needed; the labels come as one-hot vectors."""
    import torch.nn.functional as F

    net.train(True)
    logits = net(x)
    loss = F.cross_entropy(logits, F.one_hot(labels, logits.shape[1]).to(logits.dtype))
    loss.backward()
    net.optimiser.step()
    net.zero_grad(set_to_none=False)
    return loss.detach()


def learn_by_nll(net, x, labels):
    import torch.nn.functional as F

    net.net.train()
    net.optimiser.zero_grad()
    loss = F.nll_loss(F.log_softmax(net.net(x), dim=1), labels)
    loss.backward()
    net.optimiser.step()
    return float(loss.detach())


def learn_with(loss=None, order="zero backward step", train=True, after=False, optimiser=None):
    """A mistake: another loss(F, logits, labels), other steps in another order, another mode, another optimiser."""
    def learn(net, x, labels):
        import torch.nn.functional as F

        if train:
            net.train()
        value = loss(F, net(x), labels) if loss else net.loss(x, labels)
        steps = {"zero": net.optimiser.zero_grad, "backward": value.backward,
                 "step": (optimiser(net) if optimiser else net.optimiser).step}
        for name in order.split():
            steps[name]()
        return (net.loss(x, labels) if after else value).item()
    return with_method("learn", learn)


def _new_optimiser(net):
    import torch

    return torch.optim.SGD(net.parameters(), lr=net.optimiser.param_groups[0]["lr"])


def learn_probe(inputs, classes, lr, sizes, x, labels):
    """Three steps on batches of `sizes`, from evaluation mode, and the logits afterwards."""
    steps, first = [("set_weights", {"seed": 3}), ("eval", {})], 0
    for i, n in enumerate(sizes, 1):
        name, batch = "" if i == 1 else str(i), slice(first, first + n)
        steps.append(("learn", {f"x{name}": x[batch].copy(), f"labels{name}": labels[batch].copy()}))
        first += n
    return call(inputs, classes, lr, device="cpu", steps=[*steps, ("eval", {}), ("forward", {"x0": x[:2].copy()})])


def random_learn(rng):
    inputs, classes, n = (int(v) for v in rng.integers(2, 5, 3))
    return learn_probe(inputs, classes, float(rng.choice([0.25, 0.5, 0.125])), [n, n + 1, n],
                       rng.integers(-8, 9, (3 * n + 1, inputs)) / 4, rng.integers(0, classes, 3 * n + 1))


TRAINING_STEP = Exercise(
    id="training_step", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=learner,
    # A single step first: PyTorch refuses a backward whose weights have changed since, but the first step changes none.
    probes=[learn_probe(1, 2, 0.5, [2], np.array([[1.0], [3]]), np.array([0, 1])),
            learn_probe(2, 3, 0.5, [2, 3, 2], quarters(33, 7, 2, dtype=float), np.array([0, 1, 2, 0, 0, 1, 2])),
            learn_probe(3, 4, 0.25, [5, 3, 4], quarters(31, 12, 3, dtype=float),
                        np.array([0, 3, 1, 2, 1, 3, 3, 0, 2, 1, 0, 2])),
            learn_probe(4, 3, 0.125, [2, 6, 3], quarters(32, 11, 4, dtype=float),
                        np.array([2, 0, 1, 1, 2, 0, 0, 2, 1, 2, 0]))],
    random=random_learn,
    mistakes=[
        Mistake("gradients_pile_up", "The first step is right, the later ones are not: `backward` adds to the "
                "gradients that are still there. Clear them in every step.",  # 57
                learn_with(order="backward step")),
        Mistake("nothing_learned", "The weights never change. At the moment of `step` there must be gradients: is it "
                "called, after `backward`, and not after a `zero_grad`?",
                learn_with(order="backward zero step")),
        Mistake("step_before_backward", "`step` comes before `backward`. The first step then finds no gradients, and "
                "later ones change the weights that `backward` still needs, at which PyTorch complains of an "
                "\"inplace operation\".",
                learn_with(order="step zero backward")),
        Mistake("softmax_before_the_loss", "A softmax is applied before `F.cross_entropy`, which has one of its own. "
                "It wants logits.",  # 104
                learn_with(lambda F, logits, labels: F.cross_entropy(logits.softmax(1), labels))),
        Mistake("no_softmax", "`F.nll_loss` gets plain logits. It expects logarithms of probabilities; "
                "`F.cross_entropy` is the one that takes logits.",
                learn_with(lambda F, logits, labels: F.nll_loss(logits, labels))),
        Mistake("summed", "The losses of the batch are summed. Then the first loss is N·ln K, and the steps are N "
                "times too long; take the mean.",  # 105
                learn_with(lambda F, logits, labels: F.cross_entropy(logits, labels, reduction="sum"))),
        Mistake("divided_by_n_again", "The loss is divided by the size of the batch, but it is a mean already.",  # 55
                learn_with(lambda F, logits, labels: F.cross_entropy(logits, labels) / len(labels))),
        Mistake("divided_by_the_classes", "The loss is averaged over the classes as well. Only the label's probability "
                "counts, so the mean is over the samples.",  # 105
                learn_with(lambda F, logits, labels: F.cross_entropy(logits, labels) / logits.shape[1])),
        Mistake("mode_not_set", "The network learns in the mode in which it was left; here that was evaluation mode, "
                "where batch norm uses its running statistics. A training step begins with `self.train()`.",  # 102
                learn_with(train=False)),
        Mistake("loss_after_the_step", "The loss is computed again after the step. Return the one whose gradient was "
                "taken.",
                learn_with(after=True)),
        Mistake("momentum_lost", "The first step is right, then the momentum is missing. Is it `self.optimiser` that "
                "makes the steps, the same one each time?",
                learn_with(optimiser=_new_optimiser)),
        Mistake("squared_error", "The loss is a squared error. Use the cross-entropy.",
                learn_with(lambda F, logits, labels: F.mse_loss(
                    logits.softmax(1), F.one_hot(labels, logits.shape[1]).to(logits.dtype)))),
        Mistake("uphill", "The weights move uphill, along the gradient: the loss grows.",
                learn_with(lambda F, logits, labels: -F.cross_entropy(logits, labels))),
    ],
    alternatives=[with_method("learn", learn_plainly), with_method("learn", learn_and_clean_up),
                  with_method("learn", learn_by_nll)],
    hints=[
        "In notebook 08 a step was four lines: forward, loss, backward, update. Which of them must come before "
        "which? And what is left over from the step before?",
        dedent("""\
        | notebook 08 | PyTorch |
        |---|---|
        | `loss = criterion.forward(net.forward(x), y)` | `loss = F.cross_entropy(logits, labels)` |
        | `net.backward(criterion.backward())` | `loss.backward()` |
        | gradients are overwritten | gradients are **added** to what is there |
        | `optimiser.step()` | `optimiser.step()` |"""),
        dedent("""\
        ```
        training mode
        logits <- the network, of x                 # (N, classes)
        loss   <- cross-entropy of logits and labels
        clear the old gradients
        backward from the loss
        step of the optimiser
        return the loss as a number
        ```"""),
        "`backward` adds, because a weight may be used several times in one graph and the gradients of all uses have "
        "to add up (notebook 05). So somebody must say when a new sum begins. `step` reads what is in `.grad` at "
        "that moment, whatever it is.",
    ])


# ---------------------------------------------------------------------------- dropout_module

def module_of(forward):
    """A function that makes a module with p and `forward(module, x)`."""
    def build(p):
        from torch import nn

        class Dropout(nn.Module):
            def __init__(self):
                super().__init__()
                self.p = p

            def forward(self, x):
                return forward(self, x)

        return Dropout()
    return build


def kept(x, p):
    import torch

    return torch.rand_like(x) >= p


def _dropout(module, x):
    import torch

    return torch.where(kept(x, module.p), x / (1 - module.p), torch.zeros_like(x)) if module.training else x.clone()


def dropout_by_product(module, x):
    if not module.training:
        return x
    return x * kept(x, module.p) / (1 - module.p)


def dropout_by_fill(module, x):
    return x.masked_fill(~kept(x, module.p), 0) * (1 / (1 - module.p)) if module.training else x


def dropout_with(train=None, evaluation=None):
    """A mistake: other functions (x, kept, p) of training or of evaluation mode."""
    def forward(module, x):
        if module.training:
            keep = kept(x, module.p).to(x.dtype)
            return (train or (lambda x, keep, p: x * keep / (1 - p)))(x, keep, module.p)
        return (evaluation or (lambda x, keep, p: x))(x, None, module.p)
    return module_of(forward)


def dropout_always(module, x):
    return x * kept(x, module.p) / (1 - module.p)


def dropout_in_place(module, x):
    if module.training:
        x[~kept(x, module.p)] = 0
        x /= 1 - module.p
    return x


def dropout_one_mask(module, x):
    return x * kept(x[:1], module.p) / (1 - module.p) if module.training else x


def mask_drawn_once(p):
    """The first mask is used again and again."""
    from torch import nn

    class Dropout(nn.Module):
        mask = None

        def forward(self, x):
            if not self.training:
                return x
            self.mask = kept(x, p) if self.mask is None else self.mask
            return x * self.mask / (1 - p)

    return Dropout()


def dropout_probe(p, x, dy):
    return call(p, device="cpu", steps=[
        ("count_parameters", {}), ("train", {}), ("forward", {"x": x}), ("forward", {"x2": np.stack([x + 1, x])}),
        ("eval", {}),
        ("forward", {"x3": x}), ("train", {}), ("gradient", {"x4": x, "dy": dy})])


def random_dropout(rng):
    shape = tuple(int(v) for v in rng.integers(1, 5, rng.integers(1, 4)))
    return dropout_probe(float(rng.choice([0.0, 0.25, 0.5, 0.75])), (rng.integers(1, 9, shape) / 4).astype(np.float32),
                         (rng.integers(-8, 9, shape) / 4).astype(np.float32))


DROPOUT_MODULE = Exercise(
    id="dropout_module", points=1, forbidden=FORBIDDEN_TORCH,
    oracle=module_of(_dropout),
    probes=[dropout_probe(0.5, np.float32([1, 2, 3, 4]), np.float32([1, 1, 2, 2])),
            dropout_probe(0.25, ints(41, 3, 5) + 0.5, quarters(42, 3, 5)),
            dropout_probe(0.75, quarters(43, 2, 3, 2, 3) + 0.125, ints(44, 2, 3, 2, 3)),
            dropout_probe(0.0, ints(45, 2, 2), ints(46, 2, 2))],
    random=random_dropout,
    mistakes=[
        Mistake("not_scaled", "What is kept keeps its size, so on average the output is smaller than in evaluation "
                "mode. Divide what is kept by 1 − p.",  # 103
                dropout_with(lambda x, keep, p: x * keep)),
        Mistake("scaled_in_evaluation", "In training what is kept keeps its size, and in evaluation everything is "
                "multiplied by 1 − p: the first form of dropout. In the inverted form training divides, and "
                "evaluation does nothing.",  # 103
                dropout_with(lambda x, keep, p: x * keep, lambda x, keep, p: x * (1 - p))),
        Mistake("scaled_in_both", "Training is right, but evaluation multiplies by 1 − p as well. In evaluation mode "
                "nothing is to be done.",  # 103
                dropout_with(evaluation=lambda x, keep, p: x * (1 - p))),
        Mistake("multiplied", "What is kept is multiplied by 1 − p. It is divided: fewer values carry the same "
                "sum.",  # 103
                dropout_with(lambda x, keep, p: x * keep * (1 - p))),
        Mistake("divided_by_p", "What is kept is divided by p, the share that is dropped. Divide by the share that is "
                "kept.",  # 103
                dropout_with(lambda x, keep, p: x * keep / p if p else x * keep)),
        Mistake("active_in_evaluation", "It drops values in evaluation mode too. Ask `self.training`.",  # 102
                module_of(dropout_always)),
        Mistake("never_active", "It drops nothing in training mode.",  # 102
                dropout_with(lambda x, keep, p: x)),
        Mistake("modes_exchanged", "It drops values in evaluation mode and none in training mode.",  # 102
                module_of(lambda module, x: x if module.training else dropout_always(module, x))),
        Mistake("kept_and_dropped_exchanged", "What should be dropped is kept. p is the probability of being "
                "dropped: keep where the random number is at least p.",
                dropout_with(lambda x, keep, p: x * (1 - keep) / (1 - p))),
        Mistake("one_mask_for_all", "All samples of the batch lose the same values. Every value of x has a random "
                "number of its own.",
                module_of(dropout_one_mask)),
        Mistake("mask_drawn_once", "The same values are dropped in every pass: the random numbers were drawn once and "
                "kept. Draw them anew in each `forward`.",
                mask_drawn_once),
        Mistake("scaled_by_the_fraction_kept", "The factor depends on how many happened to be kept. It is always 1 / "
                "(1 − p).",
                dropout_with(lambda x, keep, p: x * keep / keep.mean().clamp(min=1e-6))),
        Mistake("gradient_cut_off", "The values are right, but no gradient passes: `.detach()`, `.data`, "
                "`torch.tensor(…)` or a trip through NumPy cut the graph.",
                dropout_with(lambda x, keep, p: (x * keep / (1 - p)).detach() + 0 * x)),
        Mistake("in_place", "The input is changed.", module_of(dropout_in_place)),  # 32
    ],
    alternatives=[module_of(dropout_by_product), module_of(dropout_by_fill)],
    hints=[
        "What is different in training and in evaluation mode, and how does a module know in which of the two it is?",
        dedent("""\
        p = 0.5, four values, and what `torch.rand_like` drew:

        ```
        x            1     2     3     4
        random      0.496 0.768 0.088 0.132
        kept         no   yes    no    no
        training     0     4     0     0
        evaluation   1     2     3     4
        ```"""),
        dedent("""\
        ```
        in evaluation mode: return x
        keep <- where torch.rand_like(x) is at least p
        return x where it is kept, divided by 1 - p, and 0 elsewhere
        ```"""),
        "`net.train()` and `net.eval()` set `training` on every module inside, which is all they do. Dividing during "
        "training keeps the expectation of every value, so at test time there is nothing to correct, and nothing to "
        "forget.",
    ])


# ---------------------------------------------------------------------------- test_accuracy

def tested(inputs, classes, lr=0.1):
    """Oracle: batch norm by its running statistics, the linear layer by a product, all samples at once."""
    net = classifier(inputs, classes, lr)

    def accuracy(x, labels, batch_size):
        norm, linear = net.net
        x = (array(x) - array(norm.running_mean)) / np.sqrt(array(norm.running_var) + norm.eps)
        x = x * array(norm.weight.detach()) + array(norm.bias.detach())
        logits = x @ array(linear.weight.detach()).T + array(linear.bias.detach())
        return float((logits.argmax(axis=1) == numpy(labels)).mean())

    net.accuracy = accuracy
    return net


def accuracy_by_split(net, x, labels, batch_size):
    import torch

    net.eval()
    with torch.no_grad():
        right = sum(int((net(a).argmax(1) == b).sum()) for a, b in zip(x.split(batch_size), labels.split(batch_size)))
    return right / len(x)


def accuracy_by_cat(net, x, labels, batch_size):
    import torch

    net.eval()
    with torch.inference_mode():
        logits = torch.cat([net(x[i:i + batch_size]) for i in range(0, len(x), batch_size)])
    return (logits.argmax(dim=-1) == labels).float().mean().item()


def accuracy_one_by_one(net, x, labels, batch_size):
    net.train(False)
    return sum(net(one[None]).softmax(1).topk(1).indices.item() == label for one, label in zip(x, labels)) / len(labels)


def tested_with(total, mode="eval", batches=lambda x, labels, b: (x.split(b), labels.split(b)),
                said=lambda logits: logits.argmax(1)):
    """A mistake: total(right in each batch, sizes of the batches, N, batch_size), another mode, other batches."""
    def accuracy(net, x, labels, batch_size):
        import torch

        getattr(net, mode)()
        with torch.no_grad():
            pairs = list(zip(*batches(x, labels, batch_size)))
            right = [int((said(net(a)) == b).sum()) for a, b in pairs]
        return total(right, [len(b) for _, b in pairs], len(x), batch_size)
    return with_method("accuracy", accuracy)


def share(right, sizes, n, batch_size):
    return sum(right) / n


def whole_batches(x, labels, b):
    """The last batch is left out if it is smaller."""
    n = len(x) // b * b
    return x[:n].split(b), labels[:n].split(b)


def first_batch(x, labels, b):
    return (x[:b],), (labels[:b],)


def mode_left(net, x, labels, batch_size):
    """Evaluates in the mode in which the network was left."""
    pairs = zip(x.split(batch_size), labels.split(batch_size))
    return sum(int((net(a).argmax(1) == b).sum()) for a, b in pairs) / len(x)


def accuracy_probe(inputs, classes, x, labels, batch_size, seed=5):
    return call(inputs, classes, device="cpu", steps=[
        ("set_weights", {"seed": seed}),
        ("train", {}), ("accuracy", {"x": x, "labels": labels, "batch_size": batch_size}),
        ("train", {}), ("accuracy", {"x2": x[:4].copy(), "labels2": labels[:4].copy(), "batch_size2": 2}),
        ("eval", {}), ("forward", {"x3": x[:2].copy()})])


def accuracy_case(seed, inputs, classes, n, batch_size):
    """A probe in which the answers of training and of evaluation mode differ, also within batches."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-8, 9, (n, inputs)) / 4
    return accuracy_probe(inputs, classes, x, rng.integers(0, classes, n), batch_size, seed)


def random_accuracy(rng):
    inputs, classes = int(rng.integers(2, 5)), int(rng.integers(2, 5))
    n = int(rng.choice([4, 8, 16]))                                          # so that the share is exact
    return accuracy_probe(inputs, classes, rng.integers(-8, 9, (n, inputs)) / 4, rng.integers(0, classes, n),
                          int(rng.integers(2, n + 2)), int(rng.integers(9)))


TEST_ACCURACY = Exercise(
    id="test_accuracy", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=tested,
    probes=[accuracy_case(2, 1, 2, 4, 4), accuracy_case(8, 2, 3, 8, 3), accuracy_case(5, 3, 4, 16, 6),
            accuracy_case(9, 4, 3, 8, 5), accuracy_case(11, 2, 4, 16, 7)],
    random=random_accuracy,
    mistakes=[
        Mistake("mode_not_set", "The network is tested in the mode in which it was left, here training mode: batch "
                "norm used the statistics of the test batch, and changed its running ones. Begin with "
                "`self.eval()`.",  # 102
                with_method("accuracy", mode_left)),
        Mistake("mean_of_the_batches", "It averages the accuracies of the batches. If the last one is smaller, its "
                "images count for more than the others; count right answers, and divide once.",
                tested_with(lambda right, sizes, n, b: sum(r / s for r, s in zip(right, sizes)) / len(right))),
        Mistake("last_batch_left_out", "The images of the last, smaller batch are not tested.",
                tested_with(share, batches=whole_batches)),
        Mistake("last_batch_forgotten", "The images of the last, smaller batch are left out, from the count of right "
                "answers and from that of all.",
                tested_with(lambda right, sizes, n, b: sum(right) / max(sum(sizes), 1), batches=whole_batches)),
        Mistake("first_batch_only", "Only the first batch is tested: look at where `return` stands.",  # 39
                tested_with(lambda right, sizes, n, b: sum(right) / sum(sizes), batches=first_batch)),
        Mistake("divided_by_whole_batches", "It divides by the number of batches times their size; the last batch "
                "may be smaller.",
                tested_with(lambda right, sizes, n, b: sum(right) / (len(right) * b))),
        Mistake("percent", "That is a percentage. Return a number from 0 to 1.",
                tested_with(lambda right, sizes, n, b: 100 * sum(right) / n)),
        Mistake("count", "That is how many are right. Return the share, from 0 to 1.",
                tested_with(lambda right, sizes, n, b: float(sum(right)))),
        Mistake("error", "That is the share of wrong answers. Return that of right ones.",
                tested_with(lambda right, sizes, n, b: 1 - sum(right) / n)),
        Mistake("smallest_logit", "The class with the smallest logit is taken. The answer of the network is the "
                "largest.",
                tested_with(share, said=lambda logits: logits.argmin(1))),
        Mistake("per_batch", "It divides by the number of batches. Divide by the number of images.",
                tested_with(lambda right, sizes, n, b: sum(right) / len(right))),
    ],
    alternatives=[with_method("accuracy", accuracy_by_split), with_method("accuracy", accuracy_by_cat),
                  with_method("accuracy", accuracy_one_by_one)],
    hints=[
        "Ten images, batches of four: how large is the last batch? And in which mode should batch norm be?",
        dedent("""\
        Eight images, `batch_size` 3:

        ```
        batch     images   right
        0:3       3        2
        3:6       3        3
        6:8       2        0
                           5 of 8 = 0.625

        not (2/3 + 3/3 + 0/2) / 3 = 0.556
        ```"""),
        dedent("""\
        ```
        evaluation mode
        without recording gradients:
            right <- 0
            for start = 0, batch_size, 2·batch_size, … below N:
                logits <- the network, of the images from start to start + batch_size   # (B, classes)
                right grows by how often the largest logit is at the label
        return right over N
        ```"""),
        "The batch size is there to save memory only, so it must not change the result. In training mode it would, "
        "by way of batch norm, and dropout would make the result random. A slice that reaches over the end is cut "
        "off by itself.",
    ])


# ---------------------------------------------------------------------------- affine

def affine(x, angle, scale, shift):
    """Oracle: SciPy's affine transform, which takes the map from output to input."""
    from scipy.ndimage import affine_transform

    x, a = array(x), math.radians(angle)
    back = np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]]) / scale     # on (rows, columns)
    centre = (np.array(x.shape[2:]) - 1) / 2
    out = np.empty_like(x)
    for n, c in np.ndindex(x.shape[:2]):
        out[n, c] = affine_transform(x[n, c], back, centre - back @ (centre + shift), order=1, mode="grid-constant")
    return (out.round(9) + 0).astype(np.float32)                             # what should be 0 is 0


def affine_by_grid(x, angle, scale, shift):
    import torch
    import torch.nn.functional as F

    h, w = x.shape[2:]
    a, (down, right) = math.radians(angle), shift
    cos, sin = math.cos(a) / scale, math.sin(a) / scale
    theta = torch.tensor([[cos, -sin * h / w, (-cos * right + sin * down) * 2 / w],
                          [sin * w / h, cos, (-sin * right - cos * down) * 2 / h]], dtype=x.dtype)
    grid = F.affine_grid(theta.expand(len(x), 2, 3), x.shape, align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def affine_by_pixels(x, angle, scale, shift):
    """Where every pixel is read, in pixels from the centre, then in the units of corners that are aligned."""
    import torch
    import torch.nn.functional as F

    h, w = x.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(h) - (h - 1) / 2 - shift[0], torch.arange(w) - (w - 1) / 2 - shift[1],
                                   indexing="ij")
    turn = torch.polar(torch.tensor(1 / scale), torch.tensor(angle * torch.pi / 180))
    read = torch.complex(columns, rows) * turn
    grid = torch.stack([2 * read.real / w, 2 * read.imag / h], -1)
    return F.grid_sample(x, grid.expand(len(x), -1, -1, -1), align_corners=False)


def _bilinear(x, rows, columns):
    """x (N, C, H, W) read at rows and columns (H, W), 0 outside: four pixels each."""
    (h, w), out = x.shape[2:], np.zeros_like(x)
    for dr in (0, 1):
        for dc in (0, 1):
            r, c = np.floor(rows).astype(int) + dr, np.floor(columns).astype(int) + dc
            weight = np.maximum(0, 1 - abs(rows - r)) * np.maximum(0, 1 - abs(columns - c))
            inside = (r >= 0) & (r < h) & (c >= 0) & (c < w)
            out += np.where(inside, weight, 0) * x[:, :, r.clip(0, h - 1), c.clip(0, w - 1)]
    return out


def affine_by_hand(x, angle, scale, shift, read=_bilinear, **changed):
    return affine_with(**changed, read=read)(x, angle, scale, shift)


def affine_with(angle=math.radians, scale=lambda s: s, shift=lambda s, h, w: s, centre=lambda n: (n - 1) / 2,
                units=lambda h, w: (1, 1), read=_bilinear, shift_first=False, grow=lambda h, w: (1, 1)):
    """The distortion by hand, with other conventions.

    units: of rows and columns in which the turn is made; grow: a factor of the coordinates that are read.
    """
    def run(x, given_angle, given_scale, given_shift):
        x = array(x)
        h, w = x.shape[2:]
        a, s, (down, right) = angle(given_angle), scale(given_scale), shift(given_shift, h, w)
        (uh, uw), (gh, gw) = units(h, w), grow(h, w)
        r, c = np.meshgrid(np.arange(h) - centre(h), np.arange(w) - centre(w), indexing="ij")
        if not shift_first:
            r, c = r - down, c - right
        r, c = r / uh, c / uw
        r, c = (c * math.sin(a) + r * math.cos(a)) / s * uh, (c * math.cos(a) - r * math.sin(a)) / s * uw
        if shift_first:
            r, c = r - down, c - right
        return (read(x, r * gh + centre(h), c * gw + centre(w)).round(9) + 0).astype(np.float32)
    return run


def _nearest(x, rows, columns):
    h, w = x.shape[2:]
    r, c = np.rint(rows).astype(int), np.rint(columns).astype(int)
    inside = (r >= 0) & (r < h) & (c >= 0) & (c < w)
    return np.where(inside, x[:, :, r.clip(0, h - 1), c.clip(0, w - 1)], 0)


def _border(x, rows, columns):
    h, w = x.shape[2:]
    return _bilinear(x, rows.clip(0, h - 1), columns.clip(0, w - 1))


def random_affine(rng):
    """Most of the image stays inside: where little but zeros is left, the rounding of float32 would count as an error."""
    n, c, h, w = (int(v) for v in (*rng.integers(1, 3, 2), *rng.integers(3, 8, 2)))
    return call(rng.integers(-8, 9, (n, c, h, w)).astype(np.float32) / 4, float(rng.integers(-180, 181)),
                float(rng.choice([0.75, 1, 1.25, 2])), tuple(float(v) / 2 for v in rng.integers(-2, 3, 2)), device="cpu")


AFFINE = Exercise(
    id="affine", points=3, forbidden=BY_HAND,
    oracle=affine,
    probes=[call(np.float32([[[[1, 2, 3], [4, 5, 6]]]]), 0.0, 1.0, (0.0, 1.0), device="cpu"),
            call(np.float32([[[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]]), 90.0, 1.0, (0.0, 0.0), device="cpu"),
            call(ints(51, 1, 1, 3, 5), 0.0, 2.0, (0.0, 0.0), device="cpu"),
            call(ints(52, 1, 1, 4, 3), 0.0, 1.0, (1.0, -0.5), device="cpu"),
            call(ints(53, 1, 2, 3, 5), 90.0, 1.0, (0.0, 0.0), device="cpu"),
            call(quarters(54, 2, 1, 4, 6), 30.0, 1.25, (0.5, -1.0), device="cpu"),
            call(quarters(55, 1, 2, 5, 3), -60.0, 0.75, (-1.5, 0.0), device="cpu")],
    random=random_affine,
    mistakes=[
        Mistake("degrees_taken_for_radians", "The angle goes into sine and cosine as it came. It is in degrees; they "
                "want radians.",
                affine_with(angle=lambda a: a)),
        Mistake("clockwise", "It turns the other way round. Rows count downwards, so the usual formula for "
                "counter-clockwise turns clockwise on the screen.",
                affine_with(angle=lambda a: -math.radians(a))),
        Mistake("scale_inverted", "What should grow shrinks. The grid says, for each pixel of the output, where it is "
                "**read**: to enlarge, read closer to the centre.",
                affine_with(scale=lambda s: 1 / s)),
        Mistake("shift_inverted", "The image moves the other way. An output pixel reads where its content came from: "
                "to move down, read further up.",
                affine_with(shift=lambda s, h, w: (-s[0], -s[1]))),
        Mistake("all_inverted", "Turn, scale and shift are all inverted: this is the map from input to output. A "
                "grid is the map from output to input.",
                affine_with(angle=lambda a: -math.radians(a), scale=lambda s: 1 / s, shift=lambda s, h, w: (
                    -s[0], -s[1]), shift_first=True)),
        Mistake("shift_exchanged", "Rows and columns of the shift are exchanged. `shift` is (down, right), while a "
                "grid holds x, to the right, first.",  # 8
                affine_with(shift=lambda s, h, w: s[::-1])),
        Mistake("shift_in_units_of_the_grid", "The shift is far too large. A grid is in units of half the image, "
                "from −1 to 1; one pixel is 2/W across and 2/H down.",
                affine_with(shift=lambda s, h, w: (s[0] * h / 2, s[1] * w / 2))),
        Mistake("shift_halved", "The image moves half as far as it should. The grid goes from −1 to 1, so one pixel "
                "is 2/W across and 2/H down.",
                affine_with(shift=lambda s, h, w: (s[0] / 2, s[1] / 2))),
        Mistake("turned_in_units_of_the_grid", "Square images are right; others are slanted by the turn. In the "
                "units of a grid an image that is wider than high is squeezed into a square: turn in pixels.",
                affine_with(units=lambda h, w: (h, w))),
        Mistake("about_the_corner", "It turns and scales about the corner of the image. The centre should stay where "
                "it is.",
                affine_with(centre=lambda n: 0)),
        Mistake("half_a_pixel_off", "It turns and scales about row H/2 and column W/2, half a pixel from the centre. "
                "The centre of pixels 0 to H − 1 is (H − 1)/2.",
                affine_with(centre=lambda n: n / 2)),
        Mistake("corners_aligned", "The image is slightly stretched. With `align_corners=True` −1 and 1 are the "
                "centres of the outer pixels; then a pixel is 2/(W − 1), not 2/W.",  # 109
                affine_with(grow=lambda h, w: ((h - 1) / h, (w - 1) / w))),
        Mistake("shifted_before_the_turn", "The shift is made first, and is turned and scaled with the image. It comes "
                "last.",
                affine_with(shift_first=True)),
        Mistake("nearest_pixel", "Each value is that of the nearest pixel. Between pixels, interpolate: "
                "`mode=\"bilinear\"`.",
                affine_with(read=_nearest)),
        Mistake("border_repeated", "Outside the image the border is continued. There it is 0.",  # 13
                affine_with(read=_border)),
    ],
    alternatives=[affine_by_grid, affine_by_pixels, affine_by_hand],
    hints=[
        "Take one pixel of the **output**. Where in the input did its content stand before the shift? Before the turn?",
        dedent("""\
        Where each pixel is read, in pixels from the centre, for a turn by 90° counter-clockwise:

        ```
        1 2 3         3 6 9        the output at the top left, (row −1, column −1),
        4 5 6   ->    2 5 8        is read at the top right, (row −1, column +1)
        7 8 9         1 4 7
        ```

        A shift by one column to the right: the output at column 2 is read at column 1."""),
        dedent("""\
        ```
        rows, columns <- of every output pixel, from the centre: 0 … H-1 minus (H-1)/2         # (H, W)
        undo the shift:   rows - down, columns - right
        undo the turn:    row    <-  columns·sin + rows·cos
                          column <-  columns·cos - rows·sin
        undo the scale:   divide both by it
        grid <- (column·2/W, row·2/H)                                                            # (N, H, W, 2)
        F.grid_sample(x, grid, align_corners=False)
        ```"""),
        "Every output pixel must get exactly one value, so one walks over the output and asks where to read: the "
        "inverse map. Undoing goes backwards: what was done last is undone first. `grid_sample` counts from −1, the "
        "left edge of the first pixel, to 1, the right edge of the last, and has x before y.",
    ])


# ---------------------------------------------------------------------------- elastic_field

def elastic_field(noise, sigma, alpha):
    """Oracle: SciPy's Gaussian filter."""
    from scipy.ndimage import gaussian_filter

    radius = math.ceil(3 * sigma)
    return (alpha * np.stack([gaussian_filter(part, sigma, mode="constant", radius=radius)
                              for part in array(noise)])).astype(np.float32)


def elastic_by_conv(noise, sigma, alpha):
    import torch
    import torch.nn.functional as F

    r = math.ceil(3 * sigma)
    i = torch.arange(-r, r + 1, dtype=torch.float32)
    kernel = torch.exp(-(i[:, None] ** 2 + i ** 2) / (2 * sigma ** 2))
    kernel = (kernel / kernel.sum()).expand(2, 1, -1, -1)
    return alpha * F.conv2d(noise[None], kernel, padding=r, groups=2)[0]


def elastic_by_rows_and_columns(noise, sigma, alpha):
    import torch
    import torch.nn.functional as F

    r = math.ceil(3 * sigma)
    line = torch.tensor([math.exp(-i * i / (2 * sigma * sigma)) for i in range(-r, r + 1)])
    line = line / line.sum()
    smooth = F.conv2d(noise[:, None], line.view(1, 1, -1, 1), padding=(r, 0))
    return F.conv2d(smooth, line.view(1, 1, 1, -1), padding=(0, r)).squeeze(1) * alpha


def elastic_with(weights=None, radius=None, normalise=True, mode="constant", combine=None, scale=None):
    """A field with another kernel weights(distance², sigma), radius, border, mixture or scale, by a loop over it."""
    def run(noise, sigma, alpha):
        noise, r = array(noise), (radius or (lambda s: math.ceil(3 * s)))(sigma)
        i = np.arange(-r, r + 1)
        squared = i[:, None] ** 2 + i**2
        kernel = (weights or (lambda d, s: np.exp(-d / (2 * s * s))))(squared, sigma)
        kernel = kernel / kernel.sum() if normalise else kernel
        padded = np.pad(noise, ((0, 0), (r, r), (r, r)), mode=mode) if mode else noise
        h, w = (n - 2 * r for n in padded.shape[1:])
        field = sum(kernel[a, b] * padded[:, a:a + h, b:b + w] for a, b in np.ndindex(*kernel.shape))
        field = combine(field) if combine else field
        return (scale(field, alpha) if scale else alpha * field).astype(np.float32)
    return run


def _one_way(d, s):
    """Only the middle column of the kernel is left."""
    kernel, r = np.exp(-d / (2 * s * s)), len(d) // 2
    return kernel * (np.arange(len(d)) == r)


def random_elastic(rng):
    h, w = (int(v) for v in rng.integers(7, 12, 2))
    return call(rng.integers(-8, 9, (2, h, w)).astype(np.float32) / 8, float(rng.choice([0.5, 0.75, 0.9, 1])),
                float(rng.choice([1, 2.5, 8])), device="cpu")


def eighths(seed, *shape):
    return (np.random.default_rng(seed).integers(-8, 9, shape) / 8).astype(np.float32)


def one_push(h, w):
    """Noise that is 0 but for 1 in the middle of the first field and at the edge of the second."""
    noise = np.zeros((2, h, w), np.float32)
    noise[0, h // 2, w // 2] = noise[1, 0, 1] = 1
    return noise


ELASTIC_FIELD = Exercise(
    id="elastic_field", points=2, forbidden=BY_HAND,
    oracle=elastic_field,
    probes=[call(one_push(5, 6), 0.5, 4.0, device="cpu"), call(eighths(61, 2, 8, 7), 0.75, 2.5, device="cpu"),
            call(eighths(62, 2, 7, 9), 0.9, 8.0, device="cpu"), call(np.ones((2, 6, 5), np.float32), 0.6, 1.0,
                                                                     device="cpu"),
            call(one_push(9, 8), 1.0, 2.0, device="cpu")],
    random=random_elastic,
    mistakes=[
        Mistake("not_normalised", "The weights of the kernel do not add up to 1. Divide them by their sum, or the "
                "displacements grow with sigma.",
                elastic_with(normalise=False)),
        Mistake("not_padded", "The field is smaller than the noise: pad by the radius of the kernel.",
                elastic_with(mode=None)),
        Mistake("reflected_border", "The middle is right; at the border the noise is reflected. Outside, it counts "
                "as 0.",  # 13
                elastic_with(mode="reflect")),
        Mistake("repeated_border", "The middle is right; at the border the noise is continued. Outside, it counts as "
                "0.",  # 13
                elastic_with(mode="edge")),
        Mistake("sigma_not_squared", "The exponent divides by 2 σ in place of 2 σ².",
                elastic_with(lambda d, s: np.exp(-d / (2 * s)))),
        Mistake("two_missing", "The exponent divides by σ² in place of 2 σ².",
                elastic_with(lambda d, s: np.exp(-d / (s * s)))),
        Mistake("distance_not_squared", "The exponent has the distance itself. It is the squared distance, i² + j².",
                elastic_with(lambda d, s: np.exp(-np.sqrt(d) / (2 * s * s)))),
        Mistake("box", "All weights are equal. Those of a Gaussian fall with the distance from the middle.",
                elastic_with(lambda d, s: np.ones(d.shape))),
        Mistake("radius_rounded_down", "The radius is 3 σ rounded down. It is rounded up.",
                elastic_with(radius=lambda s: int(3 * s))),
        Mistake("radius_one_more", "Where 3 σ is a whole number, the radius is one too large: 3 rounded up is 3.",
                elastic_with(radius=lambda s: int(3 * s) + 1)),
        Mistake("radius_of_sigma", "The kernel reaches only σ from its middle, rounded up. It reaches 3 σ.",
                elastic_with(radius=math.ceil)),
        Mistake("fields_mixed", "Both fields are the sum of the two. Down and to the right are smoothed each on its "
                "own: `groups=2`.",  # 21
                elastic_with(combine=lambda f: np.stack([f.sum(axis=0)] * 2))),
        Mistake("one_direction", "It smooths along the columns only. A Gaussian in two dimensions smooths both ways.",
                elastic_with(_one_way)),
        Mistake("alpha_ignored", "The field is smooth, but not multiplied by alpha.",
                elastic_with(scale=lambda f, alpha: f)),
        Mistake("scaled_to_alpha", "The field is scaled so that its largest displacement is alpha. It is multiplied by "
                "alpha.",
                elastic_with(scale=lambda f, alpha: alpha * f / abs(f).max())),
    ],
    alternatives=[elastic_by_conv, elastic_by_rows_and_columns, elastic_with()],
    hints=[
        "Which operation replaces each number by a weighted mean of its neighbourhood? You wrote its kernel in "
        "notebook 02.",
        dedent("""\
        Noise that is 1 at one place and 0 elsewhere shows the kernel itself. One row through the middle, σ = 0.5 (so
        the radius is 2), before alpha:

        ```
        noise    0      0      1      0      0
        smooth   0.0002 0.084  0.619  0.084  0.0002
        ```"""),
        dedent("""\
        ```
        r      <- 3 sigma, rounded up
        i      <- -r … r
        kernel <- exp(-(i² + j²) / (2 sigma²)) for all pairs, over its sum          # (2r+1, 2r+1)
        smooth <- each of the two fields correlated with it, padding r              # (2, H, W)
        return alpha times smooth
        ```

        In `F.conv2d` the two fields can be two channels with `groups=2`, or a batch of two images of one channel."""),
        "Neighbouring pixels must move in nearly the same way, or the image would dissolve into dots. Smoothing "
        "makes the field vary slowly, over distances of about sigma; since positive and negative numbers then "
        "cancel, the mean is small, and alpha makes up for it.",
    ])


# ---------------------------------------------------------------------------- confusion_matrix

def confusion_matrix(labels, predictions, classes):
    """Oracle: scikit-learn's."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(numpy(labels), numpy(predictions), labels=range(classes)).astype(np.int64)


def confusion_by_loop(labels, predictions, classes):
    import torch

    counts = torch.zeros(classes, classes, dtype=torch.int64)
    for label, said in zip(labels, predictions):
        counts[label, said] += 1
    return counts


def confusion_by_bincount(labels, predictions, classes):
    return (labels * classes + predictions).bincount(minlength=classes**2).reshape(classes, classes)


def confusion_by_product(labels, predictions, classes):
    import torch.nn.functional as F

    return F.one_hot(labels, classes).T @ F.one_hot(predictions, classes)


def confusion_once(labels, predictions, classes):
    counts = np.zeros((classes, classes), np.int64)
    counts[numpy(labels), numpy(predictions)] += 1
    return counts


def confusion_with(change):
    return lambda labels, predictions, classes: change(confusion_matrix(labels, predictions, classes))


def confusion_of_seen(labels, predictions, classes):
    seen = int(max(np.max(numpy(labels)), np.max(numpy(predictions)))) + 1
    return confusion_matrix(labels, predictions, seen)


def random_confusion(rng):
    classes, n = int(rng.integers(2, 6)), int(rng.integers(1, 20))
    return call(rng.integers(0, classes, n), rng.integers(0, classes, n), classes, device="cpu")


CONFUSION_MATRIX = Exercise(
    id="confusion_matrix", points=1, forbidden=(*LAYERS_ALLOWED, "sklearn"),
    oracle=confusion_matrix,
    probes=[call(np.array([0, 0, 1]), np.array([0, 1, 1]), 2, device="cpu"),
            call(np.array([2, 0, 2, 2, 1, 2]), np.array([2, 1, 0, 2, 1, 0]), 3, device="cpu"),
            call(np.array([0, 2, 2, 0, 1]), np.array([2, 2, 1, 2, 1]), 5, device="cpu"),
            call(np.array([3]), np.array([1]), 4, device="cpu")],
    random=random_confusion,
    mistakes=[
        Mistake("exchanged", "Rows and columns are exchanged. The row is the true class, the column the answer.",
                confusion_with(lambda m: m.T.copy())),
        Mistake("pairs_counted_once", "A pair that comes several times is counted once. `matrix[labels, predictions] "
                "+= 1` reads all places first, adds 1 and writes them back, so repeated places do not add up.",  # 45
                confusion_once),
        Mistake("shares", "Each row is divided by its sum. Counts are asked for.",
                confusion_with(lambda m: (m / m.sum(axis=1, keepdims=True).clip(1)).astype(np.float32))),
        Mistake("share_of_all", "The counts are divided by the number of samples.",
                confusion_with(lambda m: (m / m.sum()).astype(np.float32))),
        Mistake("errors_only", "The diagonal is empty: right answers count too.",
                confusion_with(lambda m: m - np.diag(np.diag(m)))),
        Mistake("right_ones_only", "Only the diagonal is filled. What is of interest are the pairs in which label "
                "and answer differ.",
                confusion_with(lambda m: np.diag(np.diag(m)))),
        Mistake("classes_that_occur", "The matrix ends at the largest class that occurs. It has a row and a column "
                "for each of the `classes`.",  # 36
                confusion_of_seen),
        Mistake("floats", "The numbers are right, but floats. Counts are whole: `dtype=torch.int64`.",
                confusion_with(lambda m: m.astype(np.float32))),
        Mistake("both_ways", "Each pair is counted in both directions. A 4 taken for a 9 is another error than a 9 "
                "taken for a 4.",
                confusion_with(lambda m: m + m.T)),
    ],
    alternatives=[confusion_by_loop, confusion_by_bincount, confusion_by_product],
    hints=[
        "A sample with label 4 was taken for a 9. In which cell of the table does it count?",
        dedent("""\
        ```
        labels        0  0  1
        predictions   0  1  1

                    said 0   said 1
        is a 0        1        1
        is a 1        0        1
        ```"""),
        dedent("""\
        ```
        matrix <- zeros, (classes, classes), whole numbers
        for each pair of label and prediction:
            matrix at [label, prediction] grows by 1
        ```

        Without a loop: give each pair the number label · classes + prediction, and count the numbers with
        `torch.bincount(…, minlength=…)`."""),
        "Accuracy is the sum of the diagonal over the sum of all. The rest of the table says which classes are taken "
        "for which, and that is where one begins to look for the cause.",
    ])


EXERCISES = [LENET_MODULE, FROM_CHANNELS_LAST, BASELINES, TRAINING_STEP, DROPOUT_MODULE, TEST_ACCURACY, AFFINE,
             ELASTIC_FIELD, CONFUSION_MATRIX]
