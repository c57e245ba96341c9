"""Fully connected layers, and the step from images to rows before them."""

from __future__ import annotations

import math

import numpy as np

from cnnlab.layers import given
from cnnlab.layers.parallel import share


class Linear:
    """y = x weightᵀ + bias.

    weight: (out, in).  bias: (out,) or None.
    forward: x (N, in) -> y (N, out).  backward: dy (N, out) -> dx (N, in); sets grad_weight and grad_bias.
    Raises ValueError for shapes that do not fit and backward before forward.
    """

    def __init__(self, weight, bias=None):
        self.weight = given.parameter(self, weight, "weight", (None, None))
        self.bias = None if bias is None else given.parameter(self, bias, "bias", (len(self.weight),))
        self.grad_weight = self.grad_bias = self.kept = None

    def forward(self, x):
        x = given.floats(self, x)
        if x.ndim != 2 or x.shape[1] != self.weight.shape[1]:
            raise ValueError(f"Linear was given an input of shape {x.shape}; it takes (N, {self.weight.shape[1]}).")
        weight, y = self.weight.astype(x.dtype, copy=False), np.empty((len(x), len(self.weight)), x.dtype)
        bias = np.zeros(len(weight), x.dtype) if self.bias is None else self.bias.astype(x.dtype, copy=False)
        share(lambda some: np.add(x @ weight[some].T, bias[some], out=y[:, some]), len(weight), y.size * x.shape[1])
        self.kept = x, weight, y.shape
        return y

    def backward(self, dy):
        x, weight, shape = given.kept(self)
        dy = given.gradient(self, dy, shape, x.dtype)
        self.grad_weight, self.grad_bias = np.empty_like(weight), None if self.bias is None else dy.sum(0)

        def work(some):  # of the outputs
            np.matmul(dy[:, some].T, x, out=self.grad_weight[some])
            return dy[:, some] @ weight[some]

        return sum(share(work, len(weight), dy.size * x.shape[1]))  # (N, in)


class Flatten:
    """(N, ...) -> (N, the product of the rest); backward undoes it."""

    def __init__(self):
        self.kept = None

    def forward(self, x):
        x = given.floats(self, x)
        if x.ndim < 2:
            raise ValueError(f"Flatten was given an input of shape {x.shape}; it takes at least 2 axes, (N, ...).")
        y = x.reshape(len(x), math.prod(x.shape[1:]))
        self.kept = x.shape, y.shape, y.dtype
        return y

    def backward(self, dy):
        shape, flat, dtype = given.kept(self)
        return given.gradient(self, dy, flat, dtype).reshape(shape)
