"""Convolution as implicit GEMM: the matrix of windows (im2col, notebook 04) is never made, only its tiles are read.

Forward, with P × Q output pixels, windows of R × S, and C channels and K filters in each group:

    y[n, k, p, q] = bias[k] + sum over c, r, s of weight[k, c, r, s] · x[n, c, p·stride + r·dilation − padding, …]

is a product of the matrices (N·P·Q, R·S·C) and (R·S·C, K), and a program computes one tile of it: BLOCK_M pixels by
BLOCK_N filters.  Both gradients are products of the same kind with the roles exchanged:

    to the input    (N·H·W, R·S·K) and (R·S·K, C): each pixel gathers from the outputs that read it
    to the weights  (K, N·P·Q) and (N·P·Q, R·S·C)

Tensors may have any strides.  With channels-last, neighbours in memory are channels, and the tiles are read in long
pieces.  Sums are float32 whatever the tensors are; offsets are int64, so a tensor may have more than 2³¹ elements.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from solutions.gpu.kernels.tensors import memory_format
from solutions.gpu.kernels.window import Window


@triton.jit
def forward_kernel(x, weight, bias, scale, shift, residual, y, M, C, H, W, K, P, Q,
                   R, S, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w,
                   x_n, x_c, x_h, x_w, w_k, w_c, w_r, w_s, res_n, res_k, res_p, res_q, y_n, y_k, y_p, y_q,
                   HAS_BIAS: tl.constexpr, AFFINE: tl.constexpr, ADD: tl.constexpr, RELU: tl.constexpr,
                   PRECISION: tl.constexpr, WIDEN: tl.constexpr,
                   BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    group = tl.program_id(2)
    m = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)   # (M,) output pixels
    k = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)                # (N,) filters of the group
    n, p, q = m // (P * Q), m // Q % P, m % Q                             # of each pixel: image, row, column
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for r in range(R):
        for s in range(S):
            h = p * stride_h - pad_h + r * dil_h                          # what the window's (r, s) reads
            w = q * stride_w - pad_w + s * dil_w
            inside = (m < M) & (h >= 0) & (h < H) & (w >= 0) & (w < W)    # not in the padding
            pixel = x + n * x_n + h * x_h + w * x_w + group * C * x_c
            for first in range(0, C, BLOCK_K):
                c = first + tl.arange(0, BLOCK_K)
                a = tl.load(pixel[:, None] + c[None, :] * x_c, inside[:, None] & (c < C)[None, :], other=0.0)
                b = tl.load(weight + c[:, None] * w_c + (group * K + k)[None, :].to(tl.int64) * w_k + r * w_r + s * w_s,
                            (c < C)[:, None] & (k < K)[None, :], other=0.0)
                if WIDEN:
                    a, b = a.to(tl.float32), b.to(tl.float32)
                total = tl.dot(a, b, total, input_precision=PRECISION)    # (M, K) += (M, c) (c, K)
    if HAS_BIAS:
        total += tl.load(bias + group * K + k, k < K, other=0.0).to(tl.float32)[None, :]
    if AFFINE:
        total = (total * tl.load(scale + group * K + k, k < K, other=0.0)[None, :]
                 + tl.load(shift + group * K + k, k < K, other=0.0)[None, :])
    inside = (m < M)[:, None] & (k < K)[None, :]
    if ADD:
        there = n[:, None] * res_n + p[:, None] * res_p + q[:, None] * res_q + (group * K + k)[None, :] * res_k
        total += tl.load(residual + there, inside, other=0.0).to(tl.float32)
    if RELU:
        total = tl.maximum(total, 0.0)
    there = y + n[:, None] * y_n + p[:, None] * y_p + q[:, None] * y_q + (group * K + k)[None, :] * y_k
    tl.store(there, total.to(y.dtype.element_ty), inside)


@triton.jit
def grad_input_kernel(dy, weight, dx, M, C, H, W, K, P, Q,
                      R, S, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w,
                      dy_n, dy_k, dy_p, dy_q, w_k, w_c, w_r, w_s, dx_n, dx_c, dx_h, dx_w,
                      PRECISION: tl.constexpr, WIDEN: tl.constexpr,
                      BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    group = tl.program_id(2)
    m = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)   # (M,) input pixels
    c = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)                # (N,) channels of the group
    n, h, w = m // (H * W), m // W % H, m % W
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for r in range(R):
        for s in range(S):
            up = h + pad_h - r * dil_h                                    # p · stride, if an output reads h by row r
            left = w + pad_w - s * dil_w
            p, q = up // stride_h, left // stride_w
            read = (m < M) & (up >= 0) & (left >= 0) & (p < P) & (q < Q)
            read = read & (p * stride_h == up) & (q * stride_w == left)   # between two windows: nothing comes back
            pixel = dy + n * dy_n + p * dy_p + q * dy_q + group * K * dy_k
            for first in range(0, K, BLOCK_K):
                k = first + tl.arange(0, BLOCK_K)
                a = tl.load(pixel[:, None] + k[None, :] * dy_k, read[:, None] & (k < K)[None, :], other=0.0)
                b = tl.load(weight + (group * K + k)[:, None].to(tl.int64) * w_k + c[None, :] * w_c + r * w_r + s * w_s,
                            (k < K)[:, None] & (c < C)[None, :], other=0.0)
                if WIDEN:
                    a, b = a.to(tl.float32), b.to(tl.float32)
                total = tl.dot(a, b, total, input_precision=PRECISION)    # (M, C) += (M, k) (k, C)
    there = dx + n[:, None] * dx_n + h[:, None] * dx_h + w[:, None] * dx_w + (group * C + c)[None, :] * dx_c
    tl.store(there, total.to(dx.dtype.element_ty), (m < M)[:, None] & (c < C)[None, :])


@triton.jit
def grad_weight_kernel(dy, x, dw, M, C, H, W, K, P, Q,
                       R, S, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w,
                       dy_n, dy_k, dy_p, dy_q, x_n, x_c, x_h, x_w, dw_k, dw_c, dw_r, dw_s,
                       PRECISION: tl.constexpr, WIDEN: tl.constexpr,
                      BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    group = tl.program_id(2)
    k = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)                # (M,) filters of the group
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)           # (N,) of the matrix of windows
    r, s, c = column // (S * C), column // C % S, column % C
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for first in range(0, M, BLOCK_K):
        m = (first + tl.arange(0, BLOCK_K)).to(tl.int64)                  # output pixels
        n, p, q = m // (P * Q), m // Q % P, m % Q
        h = p[:, None] * stride_h - pad_h + (r * dil_h)[None, :]          # (BLOCK_K, N)
        w = q[:, None] * stride_w - pad_w + (s * dil_w)[None, :]
        inside = (m < M)[:, None] & (r < R)[None, :] & (h >= 0) & (h < H) & (w >= 0) & (w < W)
        a = tl.load(dy + (group * K + k)[:, None].to(tl.int64) * dy_k + (n * dy_n + p * dy_p + q * dy_q)[None, :],
                    (k < K)[:, None] & (m < M)[None, :], other=0.0)
        b = tl.load(x + n[:, None] * x_n + h * x_h + w * x_w + (group * C + c)[None, :] * x_c, inside, other=0.0)
        if WIDEN:
            a, b = a.to(tl.float32), b.to(tl.float32)
        total = tl.dot(a, b, total, input_precision=PRECISION)            # (K, column) += (K, m) (m, column)
    there = dw + (group * K + k)[:, None].to(tl.int64) * dw_k + (c * dw_c + r * dw_r + s * dw_s)[None, :]
    tl.store(there, total.to(dw.dtype.element_ty), (k < K)[:, None] & (r < R)[None, :])


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride=1, padding=0, dilation=1, groups: int = 1, *,
           affine: tuple[Tensor, Tensor] | None = None, residual: Tensor | None = None, relu: bool = False) -> Tensor:
    """`torch.nn.functional.conv2d` and what often follows, in one pass: relu((y + bias) · scale + shift + residual).

    x (N, C_in, H, W), weight (C_out, C_in / groups, R, S), bias (C_out,), all of one dtype: float32, float16 or
    bfloat16.  affine: scale and shift (C_out,), float32, as `batch_norm.affine` makes them of a batch norm in
    inference; residual (N, C_out, P, Q).  Returns (N, C_out, P, Q) in the memory format of x.  Raises ValueError for
    shapes that do not fit.
    """
    window = Window.of(weight.shape[2:], stride, padding, dilation)
    (N, C_in, H, W), (C_out, C) = x.shape, weight.shape[:2]
    check_channels(C_in, weight, groups)
    P, Q = window.output(H, W)
    check_epilogue((N, C_out, P, Q), affine, residual)
    y = torch.empty((N, C_out, P, Q), dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    M, K = N * P * Q, C_out // groups
    scale, shift = (y, y) if affine is None else affine
    other = y if residual is None else residual
    blocks = {"BLOCK_M": 64, "BLOCK_N": _block(K), "BLOCK_K": _block(C)}
    grid = triton.cdiv(M, blocks["BLOCK_M"]), triton.cdiv(K, blocks["BLOCK_N"]), groups
    forward_kernel[grid](x, weight, y if bias is None else bias, scale, shift, other, y, M, C, H, W, K, P, Q,
                         *window.numbers, *x.stride(), *weight.stride(), *other.stride(), *y.stride(),
                         HAS_BIAS=bias is not None, AFFINE=affine is not None, ADD=residual is not None, RELU=relu,
                         **arithmetic(x), **blocks)
    return y


def conv2d_grad_input(dy: Tensor, weight: Tensor, size: tuple[int, int], stride=1, padding=0, dilation=1,
                      groups: int = 1) -> Tensor:
    """The gradient of a loss for the input (N, C_in, H, W) of `conv2d`, H, W = size, from dy (N, C_out, P, Q)."""
    window = Window.of(weight.shape[2:], stride, padding, dilation)
    (N, C_out, P, Q), C, (H, W) = dy.shape, weight.shape[1], size
    dx = torch.empty((N, C * groups, H, W), dtype=dy.dtype, device=dy.device, memory_format=memory_format(dy))
    M, K = N * H * W, C_out // groups
    blocks = {"BLOCK_M": 64, "BLOCK_N": _block(C), "BLOCK_K": _block(K)}
    grid = triton.cdiv(M, blocks["BLOCK_M"]), triton.cdiv(C, blocks["BLOCK_N"]), groups
    grad_input_kernel[grid](dy, weight, dx, M, C, H, W, K, P, Q, *window.numbers,
                            *dy.stride(), *weight.stride(), *dx.stride(), **arithmetic(dy), **blocks)
    return dx


def conv2d_grad_weight(dy: Tensor, x: Tensor, kernel_size: tuple[int, int], stride=1, padding=0, dilation=1,
                       groups: int = 1) -> Tensor:
    """The gradient of a loss for the weight (C_out, C_in / groups, R, S) of `conv2d`, from dy and x."""
    window = Window.of(kernel_size, stride, padding, dilation)
    (N, C_out, P, Q), (_, C_in, H, W), (R, S) = dy.shape, x.shape, window.size
    C, K = C_in // groups, C_out // groups
    dw = torch.empty((C_out, C, R, S), dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    blocks = {"BLOCK_M": _block(K), "BLOCK_N": 64, "BLOCK_K": 32}
    grid = triton.cdiv(K, blocks["BLOCK_M"]), triton.cdiv(C * R * S, blocks["BLOCK_N"]), groups
    grad_weight_kernel[grid](dy, x, dw, N * P * Q, C, H, W, K, P, Q, *window.numbers,
                             *dy.stride(), *x.stride(), *dw.stride(), **arithmetic(x), **blocks)
    return dw


def check_channels(C_in: int, weight: Tensor, groups: int) -> None:
    """Raise ValueError unless C_in channels, weight and groups fit together."""
    C_out, C = weight.shape[:2]
    if groups < 1 or C_in != C * groups or C_out % groups:
        raise ValueError(f"{C_in} channels of x, {C} channels in each of {C_out} filters and {groups} groups do not "
                         "fit: x has filter channels times groups, and groups divide the filters")


def check_epilogue(shape: tuple[int, ...], affine: tuple[Tensor, Tensor] | None, residual: Tensor | None) -> None:
    """Raise ValueError unless what comes behind a convolution fits its result, of `shape` (N, K, P, Q)."""
    for name, given in zip(("scale", "shift"), affine or (), strict=False):
        if given.shape != shape[1:2] or given.dtype != torch.float32 or not given.is_contiguous():
            raise ValueError(f"{name} has shape {tuple(given.shape)} and {given.dtype}; it is a contiguous float32 "
                             f"tensor of {shape[1]} values")
    if residual is not None and residual.shape != shape:
        raise ValueError(f"residual has shape {tuple(residual.shape)}; the convolution gives {shape}")


def _block(n):
    """A tile's side for n entries: a power of 2, from 16, the least that `tl.dot` takes, to 64."""
    return min(64, max(16, triton.next_power_of_2(n)))


def arithmetic(x: Tensor) -> dict[str, str | bool]:
    """How tiles are multiplied: float32 in full, unless PyTorch was told that tf32 will do for convolutions.

    The interpreter takes the bits of bfloat16 for whole numbers, so there they are made float32 first.
    """
    return {"PRECISION": "tf32" if torch.backends.cudnn.conv.fp32_precision == "tf32" else "ieee",
            "WIDEN": x.dtype == torch.bfloat16 and not x.is_cuda}
