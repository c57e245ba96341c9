"""Batch normalisation."""

from __future__ import annotations

import numpy as np

from cnnlab.layers import given


class BatchNorm2d:
    """Each channel brought to mean 0 and variance 1, then times weight plus bias (Ioffe and Szegedy, 2015).

    weight, bias: (C,).  While `training`, mean and (biased) variance are the batch's own, and running_mean and
    running_var move towards them by `momentum`, the variance unbiased, as in PyTorch; after `eval()` these are used.
    forward: x (N, C, H, W) or (N, C) -> the same shape.  backward: dy -> dx; sets grad_weight and grad_bias.
    Raises ValueError for shapes that do not fit, one value per channel in training, and backward before forward.
    """

    def __init__(self, weight, bias, eps=1e-5, momentum=0.1):
        self.weight = given.parameter(self, weight, "weight", (None,))
        self.bias = given.parameter(self, bias, "bias", self.weight.shape)
        self.eps, self.momentum = eps, momentum
        self.running_mean = np.zeros_like(self.weight)
        self.running_var = np.ones_like(self.weight)
        self.training = True
        self.grad_weight = self.grad_bias = self.kept = None

    def train(self):
        self.training = True
        return self

    def eval(self):
        self.training = False
        return self

    def forward(self, x):
        x, C = given.floats(self, x), len(self.weight)
        if x.ndim not in (2, 4) or x.shape[1] != C:
            raise ValueError(f"BatchNorm2d was given an input of shape {x.shape}; it takes (N, {C}, H, W) or (N, {C}).")
        n = x.size // C  # values per channel
        if self.training and n < 2:
            raise ValueError(f"BatchNorm2d was given one value per channel (shape {x.shape}); training needs two.")
        if self.training:
            mean = _sum(x) / n
            normal = x - _beside(mean, x)
            var = _sum(normal * normal) / n
            self.running_mean = self._moved(self.running_mean, mean)
            self.running_var = self._moved(self.running_var, var * n / (n - 1))
        else:
            normal, var = x - _beside(self.running_mean, x), self.running_var
        scale = (1 / np.sqrt(var + self.eps)).astype(x.dtype, copy=False)
        normal *= _beside(scale, x)
        self.kept = normal, scale, self.training
        y = normal * _beside(self.weight, x)
        y += _beside(self.bias, x)
        return y

    def backward(self, dy):
        normal, scale, training = given.kept(self)
        dy = given.gradient(self, dy, normal.shape, normal.dtype)
        self.grad_weight, self.grad_bias = _sum(dy * normal), _sum(dy)
        factor = _beside(self.weight, dy) * _beside(scale, dy)
        if not training:
            return dy * factor
        n = dy.size // len(scale)
        dx = normal * _beside(self.grad_weight / -n, dy)  # by way of the variance
        dx -= _beside(self.grad_bias / n, dy)  # by way of the mean
        dx += dy
        dx *= factor
        return dx

    def _moved(self, running, value):
        return (running + self.momentum * (value - running)).astype(running.dtype, copy=False)


def _sum(x):
    """The sum over each channel: (C,).  One axis after the other, because in float32 short sums lose less."""
    while x.ndim > 2:
        x = x.sum(2)
    return x.sum(0)


def _beside(channel, x):
    """A number for each channel, (C,), as (C, 1, 1) if x is an image, with the dtype of x."""
    return channel.astype(x.dtype, copy=False).reshape(-1, *[1] * (x.ndim - 2))
