"""Convolution."""

from __future__ import annotations

import numpy as np

from cnnlab.layers import given
from cnnlab.layers.columns import Columns
from cnnlab.layers.parallel import share
from cnnlab.layers.winograd import Winograd


class Conv2d:
    """2-D convolution (a cross-correlation, as in all of deep learning).

    weight: (C_out, C_in / groups, kH, kW).  bias: (C_out,) or None.
    stride, padding, dilation: an int or a pair (vertical, horizontal).
    forward: x (N, C_in, H, W) -> y (N, C_out, Ho, Wo) with Ho = (H + 2 pH - dH (kH - 1) - 1) // sH + 1.
    backward: dy (N, C_out, Ho, Wo) -> dx (N, C_in, H, W); sets grad_weight and grad_bias.
    Raises ValueError for shapes that do not fit, dtypes other than float64 and float32, and backward before forward.

    y and dx have these shapes, but in memory the channels of a pixel lie side by side: so most copies and sums run over
    many neighbours.  Arrays in the usual order are taken as well.  What is kept is the padded input, not the windows.
    With many channels small kernels are computed by Winograd's method, which does not keep whole numbers whole.
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
        (N, _, H, W), (O, _, *kernel), (pH, pW) = x.shape, self.weight.shape, self.padding
        Ho, Wo = given.window(self, x, kernel, self.stride, self.padding, self.dilation)
        weight = self.weight.astype(x.dtype, copy=False)
        bias = np.zeros(O, x.dtype) if self.bias is None else self.bias.astype(x.dtype, copy=False)
        if Winograd.pays(weight, self.stride, self.dilation, Ho, Wo):
            way = Winograd(weight, self.groups)
        else:
            way = Columns(weight, self.stride, self.dilation, self.groups)
        padded = way.zeros(N, H + 2 * pH, W + 2 * pW, x.dtype)
        y = np.empty((N, Ho, Wo, O), x.dtype)

        def work(images):
            padded[images, pH:pH + H, pW:pW + W] = x[images].transpose(0, 2, 3, 1)
            way.forward(padded[images], bias.reshape(self.groups, -1), y[images])

        share(work, N, y.size * weight[0].size)
        self.kept = way, padded, x.shape, (N, O, Ho, Wo)
        return y.transpose(0, 3, 1, 2)  # (N, C_out, Ho, Wo)

    def backward(self, dy):
        way, padded, (N, _, H, W), shape = given.kept(self)
        (pH, pW) = self.padding
        dy = given.gradient(self, dy, shape, padded.dtype)
        dpadded = way.zeros(N, H + 2 * pH, W + 2 * pW, padded.dtype)
        parts = share(lambda images: way.backward(padded[images], dy[images].transpose(0, 2, 3, 1), dpadded[images]),
                      N, dy.size * self.weight[0].size)
        self.grad_weight, grad_bias = (sum(grads) for grads in zip(*parts))
        self.grad_bias = None if self.bias is None else grad_bias
        return dpadded[:, pH:pH + H, pW:pW + W].transpose(0, 3, 1, 2)  # (N, C_in, H, W)
