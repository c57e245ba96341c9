"""The gradient to the weights on Hopper: images are the inner dimension of the product, and the sum is split.

dw[k, r, s, c] is a sum over all images and output pixels of dy[n, p, q, k] · x[n, p·stride − padding + r·dilation, …].
Taken TN images at one pixel at a time, both factors are rows of plain matrices, (N, P·Q·K) and (N, H·W·C): the copy
engine fetches them, both go from shared memory to the tensor cores, and the pixels whose window position (r, s) lies in
the padding are left out of the loop.  What else it should save:

- Split-K: (128, 256, 14, 256, 3) has 36 tiles of 128 × 128 for 132 multiprocessors; the pixels are shared out among
  SPLIT programs a tile, which write float32 partial sums, and a second kernel adds them in a fixed order.  The result
  is the same in each run, as with atomic additions it would not be.  It costs 8 · SPLIT bytes for each weight.
- Few channels: a tile of 64 × 64 does 32 operations for each byte it fetches, which L2 (about 5.5 TB/s) cannot feed at
  more than 180 TFLOP/s.  `row_kernel` does the three positions of a row of a 3×3 window at once: dy is fetched once for
  three products, 49 operations a byte, and with 128 filters 79, as a tile of 128 × 256 has.  For it the copy engine
  fills in zeros left and right; that is 2 of 3 · Q products.
- Where nothing is padded on the left and right, the S · C values that a window reads of a row lie side by side: tiles
  then run over (s, c), as one dimension, and few channels do not leave a tile empty.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def reads(offset, stride, size, P):
    """From which output pixel on, and how many, p · stride + offset is in 0 … size − 1."""
    low = (tl.maximum(-offset, 0) + stride - 1) // stride
    high = tl.minimum(tl.maximum(size - 1 - offset + stride, 0) // stride, P)
    return low, tl.maximum(high - low, 0)


@triton.jit
def grad_weight_kernel(dy, x, dw, blocks_k, blocks_c, blocks_n, H, W, P, Q, K,
                       stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, SPLIT,
                       R: tl.constexpr, S: tl.constexpr, C: tl.constexpr, COLUMNS: tl.constexpr,
                       PRECISION: tl.constexpr, WIDEN: tl.constexpr, INT: tl.constexpr,
                       TN: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    k0 = tl.program_id(0) % blocks_k * BLOCK_M
    rest = tl.program_id(0) // blocks_k
    c0 = rest % blocks_c * BLOCK_N
    r, s = rest // blocks_c // S, rest // blocks_c % S
    top, left = r * dil_h - pad_h, s * dil_w - pad_w
    p0, rows = reads(top, stride_h, H, P)
    q0, columns = reads(left, stride_w, W, Q)
    count = rows * columns * blocks_n
    share = (count + SPLIT - 1) // SPLIT
    first = tl.program_id(1) * share
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for i in range(first, tl.minimum(first + share, count)):
        q = q0 + i % columns
        p = p0 + i // columns % rows
        n = i // columns // rows * TN
        a = dy.load([n, (p * Q + q) * K + k0])                                        # (TN, BLOCK_M)
        b = x.load([n, ((p * stride_h + top) * W + q * stride_w + left) * C + c0])    # (TN, BLOCK_N)
        if WIDEN:
            a, b = a.to(tl.float32), b.to(tl.float32)
        total = tl.dot(a.T, b, total, input_precision=PRECISION)
    k = (k0 + tl.arange(0, BLOCK_M)).to(INT)
    c = (c0 + tl.arange(0, BLOCK_N)).to(INT)
    there = ((tl.program_id(1).to(INT) * K + k) * R + r)[:, None] * (S * COLUMNS) + (s * COLUMNS + c)[None, :]
    tl.store(dw + there, total.to(dw.dtype.element_ty), (k < K)[:, None] & (c < COLUMNS)[None, :])


@triton.jit
def row_kernel(dy, x, dw, blocks_k, blocks_c, blocks_n, H, W, P, Q, K,
               stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, SPLIT,
               R: tl.constexpr, C: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr, INT: tl.constexpr,
               TN: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """The three positions of row r of an R × 3 window; x is fetched as a patch here, of TN images by one pixel."""
    k0 = tl.program_id(0) % blocks_k * BLOCK_M
    rest = tl.program_id(0) // blocks_k
    c0, r = rest % blocks_c * BLOCK_N, rest // blocks_c
    top = r * dil_h - pad_h
    p0, rows = reads(top, stride_h, H, P)
    count = rows * Q * blocks_n
    share = (count + SPLIT - 1) // SPLIT
    first = tl.program_id(1) * share
    left = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    middle = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    right = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for i in range(first, tl.minimum(first + share, count)):
        q = i % Q
        p = p0 + i // Q % rows
        n = i // Q // rows * TN
        h, w = p * stride_h + top, q * stride_w - pad_w
        a = dy.load([n, (p * Q + q) * K + k0])                                        # (TN, BLOCK_M)
        b0 = x.load([n, h, 0, w, c0]).reshape(TN, BLOCK_N)
        b1 = x.load([n, h, 0, w + dil_w, c0]).reshape(TN, BLOCK_N)
        b2 = x.load([n, h, 0, w + 2 * dil_w, c0]).reshape(TN, BLOCK_N)
        if WIDEN:
            a, b0, b1, b2 = a.to(tl.float32), b0.to(tl.float32), b1.to(tl.float32), b2.to(tl.float32)
        left = tl.dot(a.T, b0, left, input_precision=PRECISION)
        middle = tl.dot(a.T, b1, middle, input_precision=PRECISION)
        right = tl.dot(a.T, b2, right, input_precision=PRECISION)
    k = (k0 + tl.arange(0, BLOCK_M)).to(INT)
    c = (c0 + tl.arange(0, BLOCK_N)).to(INT)
    there = dw + ((tl.program_id(1).to(INT) * K + k) * R + r)[:, None] * (3 * C) + c[None, :]
    inside = (k < K)[:, None] & (c < C)[None, :]
    tl.store(there, left.to(dw.dtype.element_ty), inside)
    tl.store(there + C, middle.to(dw.dtype.element_ty), inside)
    tl.store(there + 2 * C, right.to(dw.dtype.element_ty), inside)


@triton.jit
def add_kernel(parts, dw, count, SPLIT, BLOCK: tl.constexpr):
    """dw (count,) = the sum of parts (SPLIT, count), always in the same order."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float32)
    for _ in range(SPLIT):
        total += tl.load(parts + i, i < count, other=0.0)
        parts += count
    tl.store(dw + i, total.to(dw.dtype.element_ty), i < count)
