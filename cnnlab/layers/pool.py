"""Pooling."""

from __future__ import annotations

import numpy as np

from cnnlab.layers import given


class _Pool2d:
    """What both kinds of pooling share: the window.  stride None means kernel_size."""

    def __init__(self, kernel_size, stride=None, padding=0):
        self.kernel_size = given.pair(kernel_size, "kernel_size", 1)
        self.stride = self.kernel_size if stride is None else given.pair(stride, "stride", 1)
        self.padding = given.pair(padding, "padding", 0)
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size)):
            raise ValueError(f"padding is {padding!r}; it must be at most half of kernel_size, {kernel_size!r}.")
        self.kept = None

    def _padded(self, x, fill):
        (pH, pW) = self.padding
        return np.pad(x, ((0, 0), (0, 0), (pH, pH), (pW, pW)), constant_values=fill)

    def _unpadded(self, padded):
        """padded (N, C, H + 2 pH, W + 2 pW) without its border."""
        (pH, pW), (H, W) = self.padding, padded.shape[2:]
        return padded[:, :, pH:H - pH, pW:W - pW]

    def _windows(self, padded):
        """For each position of the window, row-major, a view of its pixel for every output: (N, C, Ho, Wo)."""
        (kH, kW), (sH, sW), (H, W) = self.kernel_size, self.stride, padded.shape[2:]
        return [padded[:, :, i:H - kH + i + 1:sH, j:W - kW + j + 1:sW] for i, j in np.ndindex(kH, kW)]


class MaxPool2d(_Pool2d):
    """The largest value of each window; among equal ones the first in row-major order gets the gradient.

    kernel_size, stride (default kernel_size), padding: an int or a pair; what is padded never wins.
    forward: x (N, C, H, W) -> (N, C, Ho, Wo) with Ho = (H + 2 pH - kH) // sH + 1.  backward: dy -> dx.
    Raises ValueError for shapes that do not fit and backward before forward.
    """

    def forward(self, x):
        x = given.image(self, x)
        given.window(self, x, self.kernel_size, self.stride, self.padding)
        padded = self._padded(x, -np.inf)
        first, *others = self._windows(padded)
        y = first.copy()
        for value in others:
            np.maximum(y, value, out=y)
        self.kept = padded, y
        return y

    def backward(self, dy):
        padded, y = given.kept(self)
        dy = given.gradient(self, dy, y.shape, y.dtype)
        dpadded = np.zeros_like(padded)
        free = np.ones(y.shape, bool)  # no position of the window has been the largest yet
        for value, dvalue in zip(self._windows(padded), self._windows(dpadded)):
            here = free & (value == y)
            dvalue += dy * here
            free &= ~here
        return self._unpadded(dpadded)


class AvgPool2d(_Pool2d):
    """The mean of each window, padded zeros counted, as PyTorch does by default.

    kernel_size, stride (default kernel_size), padding: an int or a pair.
    forward: x (N, C, H, W) -> (N, C, Ho, Wo) with Ho = (H + 2 pH - kH) // sH + 1.  backward: dy -> dx.
    Raises ValueError for shapes that do not fit and backward before forward.
    """

    def forward(self, x):
        x = given.image(self, x)
        given.window(self, x, self.kernel_size, self.stride, self.padding)
        padded = self._padded(x, 0)
        (kH, kW) = self.kernel_size
        y = sum(self._windows(padded)) / x.dtype.type(kH * kW)
        self.kept = padded, y
        return y

    def backward(self, dy):
        padded, y = given.kept(self)
        dy = given.gradient(self, dy, y.shape, y.dtype)
        dpadded, (kH, kW) = np.zeros_like(padded), self.kernel_size
        share = dy / dy.dtype.type(kH * kW)
        for dvalue in self._windows(dpadded):
            dvalue += share
        return self._unpadded(dpadded)
