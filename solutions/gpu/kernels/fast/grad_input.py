"""The gradient to the input on Hopper: a convolution of dy for each residue class of pixels, without a wasted product.

With stride 2, of the pixels of dx those in even rows are read by other window positions than those in odd rows: a
position r touches row h only if h + padding − r · dilation is a multiple of the stride.  The plain kernel tries all R·S
positions for each pixel and multiplies zeros where that fails, (stride_h · stride_w − 1) / (stride_h · stride_w) of all
products: 3 of 4 at stride 2.  Here the pixels of one class (h mod stride, w mod stride) make a tile.  They all have the
same positions, and at each of them what they read of dy is a patch, as in `forward`, whose other savings hold here too:
patches by the copy engine, channels × pixels, no products with padding.  Class by class within a patch, so that the
classes, which read the same dy, run together.
"""

from __future__ import annotations

import triton
import triton.language as tl

from solutions.gpu.kernels.fast.forward import patch_indices


@triton.jit
def first_position(at, stride, dilation, COUNT: tl.constexpr):
    """The first window position that touches row `at` (padding counted), COUNT if none does."""
    first = COUNT
    for back in tl.static_range(COUNT):
        r = COUNT - 1 - back
        first = tl.where((at - r * dilation) % stride == 0, r, first)
    return first


@triton.jit
def steps(first, length, size, STEP: tl.constexpr, count):
    """From which u on, and how many below count, `length` pixels from first − u · STEP on meet 0 … size − 1."""
    low = (tl.maximum(first - size + 1, 0) + STEP - 1) // STEP
    high = tl.minimum(tl.maximum(first + length - 1 + STEP, 0) // STEP, count)
    return low, tl.where(length > 0, tl.maximum(high - low, 0), 0)


@triton.jit
def grad_input_kernel(dy, weight, dx, N, H, W, P, Q, blocks_c, blocks_h, blocks_w,
                      stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, dx_n, dx_h, dx_w, dx_c,
                      R: tl.constexpr, S: tl.constexpr, C: tl.constexpr, K: tl.constexpr,
                      STEP_R: tl.constexpr, STEP_S: tl.constexpr, BACK_P: tl.constexpr, BACK_Q: tl.constexpr,
                      PRECISION: tl.constexpr, WIDEN: tl.constexpr, INT: tl.constexpr,
                      TN: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr, BLOCK_N: tl.constexpr,
                      BLOCK_K: tl.constexpr):
    BLOCK_M: tl.constexpr = TN * TH * TW
    K_BLOCKS: tl.constexpr = (K + BLOCK_K - 1) // BLOCK_K
    PIXELS_FIRST: tl.constexpr = BLOCK_N < 64
    c0 = tl.program_id(0) % blocks_c * BLOCK_N
    rest = tl.program_id(0) // blocks_c
    class_w, class_h = rest % stride_w, rest // stride_w % stride_h
    patch = rest // (stride_w * stride_h)
    b0, a0, n0 = patch % blocks_w * TW, patch // blocks_w % blocks_h * TH, patch // (blocks_w * blocks_h) * TN
    # Pixel a of the class is row h = a · stride + class; position r = r0 + u · STEP_R reads row top + a − u · BACK_P.
    r0 = first_position(class_h + pad_h, stride_h, dil_h, R)
    s0 = first_position(class_w + pad_w, stride_w, dil_w, S)
    top = a0 + (class_h + pad_h - r0 * dil_h) // stride_h
    left = b0 + (class_w + pad_w - s0 * dil_w) // stride_w
    u0, rows = steps(top, tl.minimum(TH, (H - class_h + stride_h - 1) // stride_h - a0), P, BACK_P,
                     (R - r0 + STEP_R - 1) // STEP_R)
    v0, columns = steps(left, tl.minimum(TW, (W - class_w + stride_w - 1) // stride_w - b0), Q, BACK_Q,
                        (S - s0 + STEP_S - 1) // STEP_S)
    total = tl.zeros((BLOCK_M, BLOCK_N) if PIXELS_FIRST else (BLOCK_N, BLOCK_M), tl.float32)
    for i in range(rows * columns * K_BLOCKS):
        k = i % K_BLOCKS * BLOCK_K
        v = v0 + i // K_BLOCKS % columns
        u = u0 + i // K_BLOCKS // columns
        a = dy.load([n0, top - u * BACK_P, 0, left - v * BACK_Q, k]).reshape(BLOCK_M, BLOCK_K)
        b = weight.load([k, ((r0 + u * STEP_R) * S + s0 + v * STEP_S) * C + c0])      # (BLOCK_K, BLOCK_N)
        if WIDEN:
            a, b = a.to(tl.float32), b.to(tl.float32)
        if PIXELS_FIRST:
            total = tl.dot(a, b, total, input_precision=PRECISION)
        else:
            total = tl.dot(b.T, a.T, total, input_precision=PRECISION)
    if not PIXELS_FIRST:
        total = total.T                                                               # (BLOCK_M, BLOCK_N)
    c = c0 + tl.arange(0, BLOCK_N)
    in_n, in_a, in_b = patch_indices(TN, TH, TW)
    n = (n0 + in_n).to(INT)
    h, w = ((a0 + in_a) * stride_h + class_h).to(INT), ((b0 + in_b) * stride_w + class_w).to(INT)
    there = (n * dx_n + h * dx_h + w * dx_w)[:, None] + c.to(INT)[None, :] * dx_c
    inside = ((n < N) & (h < H) & (w < W))[:, None] & (c < C)[None, :]
    tl.store(dx + there, total.to(dx.dtype.element_ty), inside)
