"""Convolution with fewer multiplications, for small kernels with stride 1 (Winograd 1980; Lavin and Gray, 2016).

In one dimension m outputs of a kernel of length k need m + k - 1 multiplications in place of m·k: both are polynomials
in disguise, and the product of two polynomials can be had from its values at m + k - 1 points.  Here there are six
points on each axis, so for 3x3 kernels 36 multiplications give 4x4 outputs, which take 144 otherwise.

    y = Aᵀ [(G g) ⊙ (B d)] on each axis, for a tile d of 6 pixels, a kernel g of k, and m = 7 - k outputs y

Over many channels, the products ⊙ become a matrix product at each of the 36 points.  The gradients are the same steps,
transposed, in reverse.  The points are the most exact for six (Barabasz et al., 2020): in float32 the error is about
1e-5 of the rms, ten times that of the plain sum; in float64 about 1e-13.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cnnlab.layers.parallel import blocks, share

POINTS = (0, -1, 1, 1 / 2, -2)  # and infinity, the last row of each matrix
BLOCK = 128  # tiles in a block


@functools.cache
def matrices(k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A (6, m), G (6, k), B (6, 6) for a kernel of length k from 2 to 5, m = 7 - k."""
    m, powers = 7 - k, np.vander(POINTS, 6, increasing=True)
    others = [np.delete(POINTS, i) for i in range(5)]
    scale = [np.prod(p - rest) for p, rest in zip(POINTS, others)]
    A = np.vstack([powers[:, :m], np.eye(m)[-1]])
    G = np.vstack([powers[:, :k] / np.array(scale)[:, None], np.eye(k)[-1]])
    B = np.vstack([np.append(np.poly(rest)[::-1], 0) for rest in others] + [np.poly(POINTS)[::-1]])
    return A, G, B


class Winograd:
    """One convolution.  weight: (C_out, C_in / groups, kH, kW).  Images are (N, H, W, C), with their padding."""

    @staticmethod
    def can(weight, stride, dilation) -> bool:
        """Whether this is for such a kernel."""
        return stride == dilation == (1, 1) and all(2 <= k <= 5 for k in weight.shape[2:])

    @staticmethod
    def pays(weight, stride, dilation, Ho, Wo) -> bool:
        """Whether it saves a fifth of the multiplications, those with A and B included: it copies more (measured)."""
        if not Winograd.can(weight, stride, dilation):
            return False
        O, C, kH, kW = weight.shape
        mH, mW = 7 - kH, 7 - kW
        tiles = -(-Ho // mH) * -(-Wo // mW)
        return tiles * 36 * (C * O + 36 * C + mH * mW * O) < 0.8 * Ho * Wo * kH * kW * C * O

    def __init__(self, weight, groups):
        O, C, kH, kW = weight.shape
        self.shape, self.m = (groups, O // groups, C, kH, kW), (7 - kH, 7 - kW)
        # Both axes in one product: Aᵀ M A, row after row, is (A ⊗ A)ᵀ times M, row after row.
        self.A, self.G, self.B = (np.kron(h, w).astype(weight.dtype) for h, w in zip(matrices(kH), matrices(kW)))
        flat, weight = weight.reshape(O * C, kH * kW).T, np.empty((36, O * C), weight.dtype)
        share(lambda some: np.matmul(self.G, flat[:, some], out=weight[:, some]), O * C, weight.size * len(flat))
        self.weight = weight.reshape(36, groups, O // groups, C).swapaxes(0, 1)  # (G, 36, O, C)

    def zeros(self, N, H, W, dtype):
        """N images of at least H by W pixels, padding included: of whole tiles."""
        (G, _, C, kH, kW), (mH, mW) = self.shape, self.m
        tH, tW = -(-(H - kH + 1) // mH), -(-(W - kW + 1) // mW)
        return np.zeros((N, mH * tH + kH - 1, mW * tW + kW - 1, G * C), dtype)

    def forward(self, x, bias, y):
        """Fill y (N, Ho, Wo, C_out)."""
        (_, O, C, *_) = self.shape
        for g, tiles, outs in self._parts(x, y):
            V = self.B @ tiles.reshape(36, -1)  # (36, T·C) for T tiles
            M = V.reshape(36, -1, C) @ self.weight[g].swapaxes(1, 2)  # (36, T, O)
            Y = self.A.T @ M.reshape(36, -1)  # (mH·mW, T·O)
            for values, out in zip(Y.reshape(-1, *tiles.shape[2:5], O), outs):
                np.add(values[:, :out.shape[1], :out.shape[2]], bias[g], out=out)

    def backward(self, x, dy, dx):
        """Add to dx, which is like x; return the gradients of weight and bias."""
        G, O, C, kH, kW = self.shape
        dweight, dbias = np.zeros_like(self.weight), np.zeros((G, O), dy.dtype)
        for (g, tiles, douts), (_, dtiles, _) in zip(self._parts(x, dy), self._parts(dx, dy)):
            dY = np.zeros((len(douts), *tiles.shape[2:5], O), dy.dtype)
            for values, dout in zip(dY, douts):
                values[:, :dout.shape[1], :dout.shape[2]] = dout
            dbias[g] += dY.sum((0, 1, 2, 3))
            dM = (self.A @ dY.reshape(len(dY), -1)).reshape(36, -1, O)  # (36, T, O)
            V = (self.B @ tiles.reshape(36, -1)).reshape(36, -1, C)  # (36, T, C)
            dweight[g] += dM.swapaxes(1, 2) @ V
            dV = dM @ self.weight[g]  # (36, T, C)
            values = (self.B.T @ dV.reshape(36, -1)).reshape(tiles.shape)
            for at in np.ndindex(6, 6):
                dtiles[at] += values[at]
        dweight = self.G.T @ dweight.swapaxes(0, 1).reshape(36, -1)  # (kH·kW, C_out·C)
        return dweight.T.reshape(G * O, C, kH, kW), dbias.reshape(G * O)

    def _parts(self, x, y):
        """For each group and block: g, the tiles of x (6, 6, n, r, tW, C), and for each of the mH·mW pixels that a tile
        gives, these pixels of y (n, r, tW, O), fewer at the lower and right edge.
        """
        (G, O, C, *_), (mH, mW) = self.shape, self.m
        tiles = sliding_window_view(x, (6, 6), (1, 2), writeable=True)[:, ::mH, ::mW]
        tiles = tiles.transpose(4, 5, 0, 1, 2, 3)  # (6, 6, N, tH, tW, G·C)
        outs = [y[:, a::mH, b::mW] for a, b in np.ndindex(mH, mW)]
        N, tH, tW = tiles.shape[2:5]
        for at in blocks(slice(0, N), tH, tW, BLOCK):
            for g in range(G):
                ours = slice(g * O, g * O + O)
                yield g, tiles[:, :, *at][..., g * C:g * C + C], [out[at][..., ours] for out in outs]
