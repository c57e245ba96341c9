"""Convolution forward on Hopper: every tile is fetched by the copy engine (TMA), no thread computes an address.

A tile is a patch of TN images by TH × TW output pixels (all powers of 2) by BLOCK_N filters.  What its pixels read at
window position (r, s) is again a patch, so one descriptor of the channels-last image (N, H, W, C) fetches it, and fills
zeros in where it hangs over the edge: the padding costs no mask.  What each step should save:

- Addresses: the plain kernel computes BLOCK_M of them, in 64 bits, and as many masks, at each of R·S positions.
- The product is taken as filters × pixels.  Triton gives the tensor cores its second factor straight from shared memory
  even if it was reshaped, the first one only if not: so the patch, which is reshaped to a matrix, comes second, and
  nothing passes through registers.  With fewer than 64 filters, Hopper's smallest first factor, pixels come first.
- A position that lies in the padding for all pixels of a tile is left out.  With 128 images by one pixel a tile does
  this exactly: of the 9 · 49 products of a 3×3 window over 7×7 pixels, 80 (18 %) are with zeros; over 14×14, 9 %.
- Order: blocks of filters first, so that programs that run together read the same pixels, then along the row: x comes
  from memory once, from L2 otherwise.  All weights fit in L2 (50 MB) anyway: no other grouping can save bytes.
- A persistent program (one for each multiprocessor) fetches the next tile while it writes the last; worth trying where
  there are few steps a tile, as in 1×1 convolutions.
- Not here: `warp_specialize`.  Triton 3.7.1 does not compile this loop with it for Hopper, and 3.6 leaves it away with
  8 warps.  Clusters that share fetches (multicast), which would halve what comes from L2, Triton does not offer.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def positions(first, last, size, dilation, COUNT: tl.constexpr):
    """Which of COUNT window positions, `dilation` apart, meet 0 … size − 1 for a patch that starts at first … last."""
    low = (tl.maximum(-last, 0) + dilation - 1) // dilation
    high = tl.minimum(tl.maximum(size - 1 - first + dilation, 0) // dilation, COUNT)
    return low, tl.maximum(high - low, 0)


@triton.jit
def split(at, pad, VIEW: tl.constexpr):
    """Where row `at` ≥ −pad · VIEW lies in a view of VIEW rows each: which one of the view, which in it."""
    return (at + pad * VIEW) // VIEW - pad, (at + pad * VIEW) % VIEW


@triton.jit
def patch_indices(TN: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr):
    """Image, row and column, in a patch, of the rows of the matrix that it is reshaped to."""
    m = tl.arange(0, TN * TH * TW)
    return m // (TH * TW), m // TW % TH, m % TW


@triton.jit
def forward_tile(tile, x, weight, y, bias, scale, shift, residual, N, H, W, K, P, Q, blocks_k, blocks_p, blocks_q,
                 stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, y_n, y_p, y_q, y_k, res_n, res_p, res_q, res_k,
                 R: tl.constexpr, S: tl.constexpr, C: tl.constexpr, VIEW_H: tl.constexpr, VIEW_W: tl.constexpr,
                 HAS_BIAS: tl.constexpr, AFFINE: tl.constexpr, ADD: tl.constexpr, RELU: tl.constexpr,
                 PRECISION: tl.constexpr, WIDEN: tl.constexpr, INT: tl.constexpr,
                 TN: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    BLOCK_M: tl.constexpr = TN * TH * TW
    C_BLOCKS: tl.constexpr = (C + BLOCK_K - 1) // BLOCK_K
    PIXELS_FIRST: tl.constexpr = BLOCK_N < 64
    k0 = tile % blocks_k * BLOCK_N
    patch = tile // blocks_k
    q0, p0, n0 = patch % blocks_q * TW, patch // blocks_q % blocks_p * TH, patch // (blocks_q * blocks_p) * TN
    top, left = p0 * stride_h - pad_h, q0 * stride_w - pad_w
    r0, rows = positions(top, (tl.minimum(p0 + TH, P) - 1) * stride_h - pad_h, H, dil_h, R)
    s0, columns = positions(left, (tl.minimum(q0 + TW, Q) - 1) * stride_w - pad_w, W, dil_w, S)
    total = tl.zeros((BLOCK_M, BLOCK_N) if PIXELS_FIRST else (BLOCK_N, BLOCK_M), tl.float32)
    for i in range(rows * columns * C_BLOCKS):  # one loop, so that fetching runs ahead across positions
        c = i % C_BLOCKS * BLOCK_K
        s = s0 + i // C_BLOCKS % columns
        r = r0 + i // C_BLOCKS // columns
        h, h_in = split(top + r * dil_h, pad_h, VIEW_H)
        w, w_in = split(left + s * dil_w, pad_w, VIEW_W)
        a = x.load([n0, h, h_in, w, w_in * C + c]).reshape(BLOCK_M, BLOCK_K)          # zeros outside of the image
        b = weight.load([k0, (r * S + s) * C + c])                                    # (BLOCK_N, BLOCK_K)
        if WIDEN:
            a, b = a.to(tl.float32), b.to(tl.float32)
        if PIXELS_FIRST:
            total = tl.dot(a, b.T, total, input_precision=PRECISION)
        else:
            total = tl.dot(b, a.T, total, input_precision=PRECISION)
    if not PIXELS_FIRST:
        total = total.T                                                               # (BLOCK_M, BLOCK_N)
    k = k0 + tl.arange(0, BLOCK_N)
    if HAS_BIAS:
        total += tl.load(bias + k, k < K, other=0.0).to(tl.float32)[None, :]
    if AFFINE:
        total = total * tl.load(scale + k, k < K, other=0.0)[None, :] + tl.load(shift + k, k < K, other=0.0)[None, :]
    in_n, in_p, in_q = patch_indices(TN, TH, TW)
    n, p, q = (n0 + in_n).to(INT), (p0 + in_p).to(INT), (q0 + in_q).to(INT)
    inside = ((n < N) & (p < P) & (q < Q))[:, None] & (k < K)[None, :]
    if ADD:
        there = (n * res_n + p * res_p + q * res_q)[:, None] + k.to(INT)[None, :] * res_k
        total += tl.load(residual + there, inside, other=0.0).to(tl.float32)
    if RELU:
        total = tl.maximum(total, 0.0)
    there = (n * y_n + p * y_p + q * y_q)[:, None] + k.to(INT)[None, :] * y_k
    tl.store(y + there, total.to(y.dtype.element_ty), inside)


@triton.jit
def forward_kernel(x, weight, y, bias, scale, shift, residual, tiles, N, H, W, K, P, Q, blocks_k, blocks_p, blocks_q,
                   stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, y_n, y_p, y_q, y_k, res_n, res_p, res_q, res_k,
                   R: tl.constexpr, S: tl.constexpr, C: tl.constexpr, VIEW_H: tl.constexpr, VIEW_W: tl.constexpr,
                   HAS_BIAS: tl.constexpr, AFFINE: tl.constexpr, ADD: tl.constexpr, RELU: tl.constexpr,
                   PRECISION: tl.constexpr, WIDEN: tl.constexpr, INT: tl.constexpr, PERSISTENT: tl.constexpr,
                   TN: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    if PERSISTENT:
        for tile in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=True):
            forward_tile(tile, x, weight, y, bias, scale, shift, residual, N, H, W, K, P, Q, blocks_k, blocks_p,
                         blocks_q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, y_n, y_p, y_q, y_k,
                         res_n, res_p, res_q, res_k, R, S, C, VIEW_H, VIEW_W, HAS_BIAS, AFFINE, ADD, RELU, PRECISION,
                         WIDEN, INT, TN, TH, TW, BLOCK_N, BLOCK_K)
    else:
        forward_tile(tl.program_id(0), x, weight, y, bias, scale, shift, residual, N, H, W, K, P, Q, blocks_k, blocks_p,
                     blocks_q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, y_n, y_p, y_q, y_k,
                     res_n, res_p, res_q, res_k, R, S, C, VIEW_H, VIEW_W, HAS_BIAS, AFFINE, ADD, RELU, PRECISION,
                     WIDEN, INT, TN, TH, TW, BLOCK_N, BLOCK_K)
