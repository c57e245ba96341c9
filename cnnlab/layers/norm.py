"""Batch normalisation (Ioffe and Szegedy, 2015, algorithms 1 and 2)."""

from __future__ import annotations

import numpy as np

from cnnlab.layers import given


class BatchNorm2d:
    """Each channel to mean 0 and variance 1 over the batch, then times weight plus bias.

    weight, bias: (C,).  While `training`, the batch's own mean and (biased) variance are used, and running_mean and
    running_var move towards them by `momentum`, the variance unbiased, as in PyTorch; after `eval()` they are used.
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
        each = (C, 1, 1) if x.ndim == 4 else (C,)  # one number a channel, to be broadcast over x
        over = (0, 2, 3) if x.ndim == 4 else 0
        if self.training:
            n = x.size // C
            if n < 2:
                raise ValueError(f"BatchNorm2d was given one value per channel (shape {x.shape}); training needs two.")
            mean, var = x.mean(over), x.var(over)
            self.running_mean = self.running_mean + self.momentum * (mean - self.running_mean)
            self.running_var = self.running_var + self.momentum * (var * n / (n - 1) - self.running_var)
        else:
            mean, var = self.running_mean, self.running_var
        scale = (1 / np.sqrt(var + self.eps)).astype(x.dtype, copy=False)
        normal = (x - mean.astype(x.dtype, copy=False).reshape(each)) * scale.reshape(each)
        weight, bias = (p.astype(x.dtype, copy=False).reshape(each) for p in (self.weight, self.bias))
        self.kept = normal, scale, self.training
        return weight * normal + bias

    def backward(self, dy):
        normal, scale, training = given.kept(self)
        dy = given.gradient(self, dy, normal.shape, normal.dtype)
        each = (-1, 1, 1) if dy.ndim == 4 else (-1,)
        over = (0, 2, 3) if dy.ndim == 4 else 0
        self.grad_weight, self.grad_bias = (dy * normal).sum(over), dy.sum(over)
        factor = (self.weight.astype(dy.dtype, copy=False) * scale).reshape(each)
        if not training:
            return factor * dy
        n = dy.size // len(scale)  # the mean and the variance depend on x too: two more terms
        return factor * (dy - (self.grad_bias / n).reshape(each) - normal * (self.grad_weight / n).reshape(each))
