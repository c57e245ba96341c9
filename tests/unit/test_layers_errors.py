"""What cnnlab.layers cannot work with is refused in one sentence: what was given, and what is allowed."""

import numpy as np
import pytest

from cnnlab import layers

x4, w4 = np.ones((2, 3, 5, 6)), np.ones((4, 3, 3, 3))
WRONG = {
    "rank": (lambda: layers.Conv2d(w4).forward(x4[0]), r"\(3, 5, 6\).*\(N, C, H, W\)"),
    "channels": (lambda: layers.Conv2d(w4).forward(x4[:, :2]), r"2 channels.*for 3"),
    "groups' channels": (lambda: layers.Conv2d(w4, groups=2).forward(x4), r"3 channels.*for 6"),
    "groups": (lambda: layers.Conv2d(w4, groups=3), "groups is 3.*divide the 4"),
    "no groups": (lambda: layers.Conv2d(w4, groups=0), "groups is 0"),
    "kernel": (lambda: layers.Conv2d(w4, dilation=(1, 3)).forward(x4), "3x7.*padded input of 5x6"),
    "weight": (lambda: layers.Conv2d(w4[0]), r"weight of shape \(3, 3, 3\).*\(any, any, any, any\)"),
    "empty weight": (lambda: layers.Conv2d(w4[:, :0]), r"weight of shape \(4, 0, 3, 3\)"),
    "bias": (lambda: layers.Conv2d(w4, np.ones(3)), r"bias of shape \(3,\).*\(4\)"),
    "stride": (lambda: layers.Conv2d(w4, stride=0), "stride is 0.*at least 1"),
    "padding": (lambda: layers.Conv2d(w4, padding=(1, -1)), r"padding is \(1, -1\).*at least 0"),
    "dilation": (lambda: layers.Conv2d(w4, dilation=0), "dilation is 0"),
    "half a stride": (lambda: layers.Conv2d(w4, stride=1.5), "stride is 1.5.*int or a pair"),
    "three strides": (lambda: layers.MaxPool2d(2, (1, 2, 3)), r"stride is \(1, 2, 3\).*int or a pair"),
    "dtype": (lambda: layers.Conv2d(w4).forward(x4.astype(int)), "int64.*float64 or float32"),
    "number": (lambda: layers.ReLU().forward(np.array(1.0)), "single number; it takes a NumPy array"),
    "list": (lambda: layers.ReLU().forward([1.0]), "list.*NumPy array"),
    "pooling rank": (lambda: layers.MaxPool2d(2).forward(x4[0]), r"\(N, C, H, W\)"),
    "pooling window": (lambda: layers.AvgPool2d(7, padding=(0, 1)).forward(x4), "7x7.*5x8"),
    "pooling padding": (lambda: layers.MaxPool2d(2, padding=2), "at most half"),
    "features": (lambda: layers.Linear(np.ones((2, 3))).forward(np.ones((5, 4))), r"\(5, 4\).*\(N, 3\)"),
    "norm": (lambda: layers.BatchNorm2d(np.ones(2), np.ones(2)).forward(x4), r"\(N, 2, H, W\) or \(N, 2\)"),
    "one value": (lambda: layers.BatchNorm2d(np.ones(2), np.ones(2)).forward(np.ones((1, 2, 1, 1))), "one value"),
    "flat": (lambda: layers.Flatten().forward(np.ones(3)), "at least 2 axes"),
    "p": (lambda: layers.Dropout(1.0), "p is 1.0"),
    "labels": (lambda: layers.CrossEntropyLoss().forward(np.ones((2, 3)), [0, 3]), "from 0 to 3.*from 0 to 2"),
    "float labels": (lambda: layers.CrossEntropyLoss().forward(np.ones((2, 3)), [0.0, 1.0]), "labels of float64"),
    "one-hot labels": (lambda: layers.CrossEntropyLoss().forward(np.ones((2, 3)), np.eye(3, dtype=int)[:2]),
                       r"labels of shape \(2, 3\)"),
    "loss first": (lambda: layers.CrossEntropyLoss().backward(), "before forward"),
    "step first": (lambda: layers.SGD([layers.ReLU(), layers.Linear(np.ones((2, 3)))], 0.1).step(),
                   "layer 1, Linear, has no grad_weight"),
    "shape of a start": (lambda: layers.kaiming_normal((3,), np.random.default_rng(0)), r"\(3,\).*2 axes"),
}


@pytest.mark.parametrize("what", WRONG)
def test_bad_input_is_one_clear_sentence(what):
    call, sentence = WRONG[what]
    with pytest.raises(ValueError, match=sentence) as error:
        call()
    assert "\n" not in str(error.value)


MADE = [lambda: layers.Conv2d(w4), lambda: layers.MaxPool2d(2), lambda: layers.AvgPool2d(2),
        lambda: layers.BatchNorm2d(np.ones(3), np.ones(3)), lambda: layers.Linear(np.ones((2, 6))), layers.ReLU,
        layers.Tanh, layers.Flatten, layers.Dropout]


@pytest.mark.parametrize("make", MADE)
def test_backward_before_forward_and_a_gradient_of_another_shape_are_refused(make):
    layer = make()
    with pytest.raises(ValueError, match="before forward"):
        layer.backward(x4)
    y = layer.forward(np.ones((2, 6)) if isinstance(layer, layers.Linear) else x4)
    with pytest.raises(ValueError, match=r"gradient of shape \(9,\)"):
        layer.backward(np.ones(9))
    assert layer.backward(y).dtype == np.float64
