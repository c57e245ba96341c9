"""Convolution as matrix products: the pixels under each window are one row of a matrix (Chellapilla et al., 2006).

The whole matrix has kH·kW times the numbers of the images.  It is built a block at a time, small enough for the cache.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cnnlab.layers.parallel import blocks

BLOCK = 2**19  # numbers in a block of the matrix
FEW = 4  # with so few channels (in a group) images lie in memory channel by channel, else pixel by pixel


class Columns:
    """One convolution.  weight: (C_out, C_in / groups, kH, kW).  Images are (N, H, W, C), with their padding."""

    def __init__(self, weight, stride, dilation, groups):
        O, C, kH, kW = weight.shape
        self.shape, self.stride, self.dilation = (groups, O // groups, C, kH, kW), stride, dilation
        self.weight = weight.reshape(self.shape).transpose(0, 3, 4, 2, 1).reshape(groups, kH * kW * C, O // groups)
        self.few = C <= FEW

    def zeros(self, N, H, W, dtype):
        """N images of H by W pixels, padding included, in the order of memory that makes copies from windows long."""
        C = self.shape[0] * self.shape[2]
        return np.zeros((N, C, H, W), dtype).transpose(0, 2, 3, 1) if self.few else np.zeros((N, H, W, C), dtype)

    def forward(self, x, bias, y):
        """Fill y (N, Ho, Wo, C_out)."""
        for g, windows, out in self._parts(x, y):
            product = self._columns(windows) @ self.weight[g]  # (pixels, O)
            np.add(product.reshape(out.shape), bias[g], out=out)

    def backward(self, x, dy, dx):
        """Add to dx, which is like x; return the gradients of weight and bias."""
        G, O, C, kH, kW = self.shape
        dweight, dbias = np.zeros_like(self.weight), np.zeros((G, O), dy.dtype)
        for (g, windows, dout), (_, dwindows, _) in zip(self._parts(x, dy), self._parts(dx, dy)):
            dblock = dout.reshape(-1, O)  # (pixels, O)
            dbias[g] += dblock.sum(0)
            dweight[g] += self._columns(windows).T @ dblock
            if self.few:  # one large product, then rows of one channel are added
                dcolumns = (self.weight[g] @ dblock.T).reshape(kH, kW, C, *dout.shape[:3])
                for at in np.ndindex(kH, kW, C):
                    dwindows[(..., *at)] += dcolumns[at]
            else:  # a product for each position of the kernel, then rows of all channels are added
                weight = self.weight[g].reshape(kH, kW, C, O)
                for at in np.ndindex(kH, kW):
                    dwindows[(..., *at, slice(None))] += (dblock @ weight[at].T).reshape(*dout.shape[:3], C)
        dweight = dweight.reshape(G, kH, kW, C, O).transpose(0, 4, 3, 1, 2)  # (G, O, C, kH, kW)
        return dweight.reshape(G * O, C, kH, kW), dbias.reshape(G * O)

    def _parts(self, x, y):
        """For each group and block: g, the windows of x (n, r, Wo, kH, kW, C), their pixels of y (n, r, Wo, O)."""
        (G, O, C, kH, kW), (sH, sW), (dH, dW) = self.shape, self.stride, self.dilation
        reach = dH * (kH - 1) + 1, dW * (kW - 1) + 1
        windows = sliding_window_view(x, reach, (1, 2), writeable=True)  # (N, , , G·C, , )
        windows = windows[:, ::sH, ::sW, :, ::dH, ::dW].transpose(0, 1, 2, 4, 5, 3)  # (N, Ho, Wo, kH, kW, G·C)
        N, Ho, Wo = y.shape[:3]
        for at in blocks(slice(0, N), Ho, Wo * kH * kW * C, BLOCK):
            for g in range(G):
                yield g, windows[at][..., g * C:g * C + C], y[at][..., g * O:g * O + O]

    def _columns(self, windows):
        """The matrix (pixels, kH·kW·C) of the windows (n, r, Wo, kH, kW, C)."""
        pixels, numbers = np.prod(windows.shape[:3]), np.prod(windows.shape[3:])
        if self.few:
            return windows.transpose(3, 4, 5, 0, 1, 2).reshape(numbers, pixels).T
        return windows.reshape(pixels, numbers)
