"""Pooling."""

from __future__ import annotations

import numpy as np

from cnnlab.layers import given
from cnnlab.layers.parallel import blocks, share

BLOCK = 2**17  # numbers under the windows of a block


class _Pool2d:
    """What both kinds share: windows that move over each channel."""

    fill = 0.0  # what stands in the padding

    def __init__(self, kernel_size, stride=None, padding=0):
        self.kernel_size = given.pair(kernel_size, "kernel_size", 1)
        self.stride = self.kernel_size if stride is None else given.pair(stride, "stride", 1)
        self.padding = given.pair(padding, "padding", 0)
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size)):
            raise ValueError(f"padding is {padding!r}; it must be at most half of kernel_size, {kernel_size!r}.")
        self.kept = None

    def forward(self, x):
        x = given.image(self, x)
        Ho, Wo = given.window(self, x, self.kernel_size, self.stride, self.padding)
        padded = self._padded(x.transpose(0, 2, 3, 1))
        y = np.empty_like(padded[:, :Ho, :Wo])  # (N, Ho, Wo, C), in memory ordered as x
        windows = self._windows(padded)
        self._each_block(lambda at: self._reduce([w[at] for w in windows], y[at]), y)
        self.kept = padded, y
        return y.transpose(0, 3, 1, 2)

    def backward(self, dy):
        padded, y = given.kept(self)
        N, Ho, Wo, C = y.shape
        dy = given.gradient(self, dy, (N, C, Ho, Wo), y.dtype).transpose(0, 2, 3, 1)
        dpadded = np.zeros_like(padded)
        windows, dwindows = self._windows(padded), self._windows(dpadded)
        self._each_block(lambda at: self._spread(dy[at], [d[at] for d in dwindows], [w[at] for w in windows], y[at]), y)
        (pH, pW), (H, W) = self.padding, padded.shape[1:3]
        return dpadded[:, pH:H - pH, pW:W - pW].transpose(0, 3, 1, 2)

    def _padded(self, x):
        (N, H, W, C), (pH, pW) = x.shape, self.padding
        if not (pH or pW):
            return x
        padded = np.full((N, H + 2 * pH, W + 2 * pW, C), self.fill, x.dtype)
        padded[:, pH:pH + H, pW:pW + W] = x
        return padded

    def _windows(self, padded):
        """For each position of the window, row-major, a view of its pixel for every output: (N, Ho, Wo, C)."""
        (kH, kW), (sH, sW), (H, W) = self.kernel_size, self.stride, padded.shape[1:3]
        return [padded[:, i:H - kH + i + 1:sH, j:W - kW + j + 1:sW] for i, j in np.ndindex(kH, kW)]

    def _each_block(self, work, y):
        """Call work(at) for blocks `at`, (images, rows), that together cover y."""
        N, Ho, Wo, C = y.shape
        row = Wo * C * self.kernel_size[0] * self.kernel_size[1]

        def some(images):
            for at in blocks(images, Ho, row, BLOCK):
                work(at)

        share(some, N, 10 * N * Ho * row)


class MaxPool2d(_Pool2d):
    """The largest value of each window; among equal ones the first in row-major order gets the gradient.

    kernel_size, stride (default kernel_size), padding: an int or a pair; what is padded never wins.
    forward: x (N, C, H, W) -> (N, C, Ho, Wo) with Ho = (H + 2 pH - kH) // sH + 1.  backward: dy -> dx.
    Raises ValueError for shapes that do not fit and backward before forward.
    """

    fill = -np.inf

    def _reduce(self, windows, y):
        y[...] = windows[0]
        for value in windows[1:]:
            np.maximum(y, value, out=y)

    def _spread(self, dy, dwindows, windows, y):
        free = np.ones_like(y, bool)  # no position of the window was the largest so far
        for value, dvalue in zip(windows, dwindows):
            first = free & (value == y)
            dvalue += dy * first
            free ^= first


class AvgPool2d(_Pool2d):
    """The mean of each window, padded zeros counted, as PyTorch does by default.

    kernel_size, stride (default kernel_size), padding: an int or a pair.
    forward: x (N, C, H, W) -> (N, C, Ho, Wo) with Ho = (H + 2 pH - kH) // sH + 1.  backward: dy -> dx.
    Raises ValueError for shapes that do not fit and backward before forward.
    """

    def _reduce(self, windows, y):
        y[...] = windows[0]
        for value in windows[1:]:
            y += value
        y /= len(windows)

    def _spread(self, dy, dwindows, windows, y):
        dy = dy / len(windows)
        for dvalue in dwindows:
            dvalue += dy
