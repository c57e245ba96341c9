"""Convolution."""

from __future__ import annotations

import numpy as np

from cnnlab.layers import given


class Conv2d:
    """2-D convolution (a cross-correlation, as in all of deep learning).

    weight: (C_out, C_in / groups, kH, kW).  bias: (C_out,) or None.
    stride, padding, dilation: an int or a pair (vertical, horizontal).
    forward: x (N, C_in, H, W) -> y (N, C_out, Ho, Wo) with Ho = (H + 2 pH - dH (kH - 1) - 1) // sH + 1.
    backward: dy (N, C_out, Ho, Wo) -> dx (N, C_in, H, W); sets grad_weight and grad_bias.
    Raises ValueError for shapes that do not fit, dtypes other than float64 and float32, and backward before forward.
    """

    def __init__(self, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        self.weight = given.parameter(self, weight, "weight", (None, None, None, None))
        self.bias = None if bias is None else given.parameter(self, bias, "bias", (len(self.weight),))
        self.stride = given.pair(stride, "stride", 1)
        self.padding = given.pair(padding, "padding", 0)
        self.dilation = given.pair(dilation, "dilation", 1)
        self.groups = groups
        if not isinstance(groups, int | np.integer) or groups < 1 or len(self.weight) % groups:
            raise ValueError(f"groups is {groups!r}; it must divide the {len(self.weight)} output channels.")
        self.grad_weight = self.grad_bias = self.kept = None

    def forward(self, x):
        x = given.image(self, x, self.weight.shape[1] * self.groups)
        given.window(self, x, self.weight.shape[2:], self.padding, self.dilation)
        (N, _, H, W), (O, C, kH, kW), G = x.shape, self.weight.shape, self.groups
        Ho, Wo = (1 + (n + 2 * p - d * (k - 1) - 1) // s for n, p, d, k, s in
                  zip((H, W), self.padding, self.dilation, (kH, kW), self.stride))
        weight = self.weight.astype(x.dtype, copy=False).reshape(G, O // G, C, kH, kW)
        (pH, pW) = self.padding
        padded = np.pad(x, ((0, 0), (0, 0), (pH, pH), (pW, pW)))
        y = np.zeros((N, G, O // G, Ho * Wo), x.dtype)
        for i, j in np.ndindex(kH, kW):
            y += weight[..., i, j] @ padded[self._seen(i, j, Ho, Wo)].reshape(N, G, C, Ho * Wo)
        y = y.reshape(N, O, Ho, Wo)
        if self.bias is not None:
            y += self.bias.astype(x.dtype, copy=False)[:, None, None]
        self.kept = x, padded, y
        return y

    def backward(self, dy):
        x, padded, y = self.kept or (None, None, None)
        dy = given.gradient(self, dy, y)
        (N, _, H, W), (O, C, kH, kW), G = x.shape, self.weight.shape, self.groups
        Ho, Wo = dy.shape[2:]
        weight = self.weight.astype(x.dtype, copy=False).reshape(G, O // G, C, kH, kW)
        flat = dy.reshape(N, G, O // G, Ho * Wo)
        dpadded, dweight = np.zeros_like(padded), np.empty_like(weight)
        for i, j in np.ndindex(kH, kW):
            seen = self._seen(i, j, Ho, Wo)
            dweight[..., i, j] = (flat @ padded[seen].reshape(N, G, C, Ho * Wo).swapaxes(-1, -2)).sum(0)
            dpadded[seen] += (weight[..., i, j].swapaxes(-1, -2) @ flat).reshape(N, G * C, Ho, Wo)
        self.grad_weight = dweight.reshape(self.weight.shape)
        self.grad_bias = None if self.bias is None else dy.sum((0, 2, 3))
        (pH, pW) = self.padding
        return dpadded[:, :, pH:pH + H, pW:pW + W]

    def _seen(self, i, j, Ho, Wo):
        """Where position (i, j) of the kernel lies in the padded image, for every output pixel."""
        (sH, sW), (dH, dW) = self.stride, self.dilation
        return np.s_[:, :, i * dH:i * dH + sH * Ho - sH + 1:sH, j * dW:j * dW + sW * Wo - sW + 1:sW]
