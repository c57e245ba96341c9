"""Depthwise convolution: one filter for each channel, so there is no matrix product, only R·S multiply-adds an output.

A program has BLOCK_M pixels of BLOCK_C channels.  Nothing that is read serves two channels; the work is to read x once.
Howard et al., MobileNets, 2017, section 3.1.  Strides, sums and offsets as in `conv2d`.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from solutions.gpu.kernels.tensors import memory_format, tiles
from solutions.gpu.kernels.window import Window


@triton.jit
def forward_kernel(x, weight, bias, y, M, C, H, W, P, Q,
                   R, S, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w,
                   x_n, x_c, x_h, x_w, w_c, w_r, w_s, y_n, y_c, y_p, y_q,
                   HAS_BIAS: tl.constexpr, RELU: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr):
    m = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)   # (M,) output pixels
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)                # (C,) channels
    n, p, q = m // (P * Q), m // Q % P, m % Q
    total = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    for r in range(R):
        for s in range(S):
            h, w = p * stride_h - pad_h + r * dil_h, q * stride_w - pad_w + s * dil_w
            inside = (m < M) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
            pixel = tl.load(x + (n * x_n + h * x_h + w * x_w)[:, None] + c[None, :] * x_c,
                            inside[:, None] & (c < C)[None, :], other=0.0)
            total += pixel.to(tl.float32) * tl.load(weight + c * w_c + r * w_r + s * w_s, c < C, other=0.0)[None, :]
    if HAS_BIAS:
        total += tl.load(bias + c, c < C, other=0.0).to(tl.float32)[None, :]
    if RELU:
        total = tl.maximum(total, 0.0)
    there = y + (n * y_n + p * y_p + q * y_q)[:, None] + c[None, :] * y_c
    tl.store(there, total.to(y.dtype.element_ty), (m < M)[:, None] & (c < C)[None, :])


@triton.jit
def grad_input_kernel(dy, weight, dx, M, C, H, W, P, Q,
                      R, S, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w,
                      dy_n, dy_c, dy_p, dy_q, w_c, w_r, w_s, dx_n, dx_c, dx_h, dx_w,
                      BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr):
    m = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)   # (M,) input pixels
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    n, h, w = m // (H * W), m // W % H, m % W
    total = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    for r in range(R):
        for s in range(S):
            up, left = h + pad_h - r * dil_h, w + pad_w - s * dil_w
            p, q = up // stride_h, left // stride_w
            read = (m < M) & (up >= 0) & (left >= 0) & (p < P) & (q < Q) & (p * stride_h == up) & (q * stride_w == left)
            given = tl.load(dy + (n * dy_n + p * dy_p + q * dy_q)[:, None] + c[None, :] * dy_c,
                            read[:, None] & (c < C)[None, :], other=0.0)
            total += given.to(tl.float32) * tl.load(weight + c * w_c + r * w_r + s * w_s, c < C, other=0.0)[None, :]
    there = dx + (n * dx_n + h * dx_h + w * dx_w)[:, None] + c[None, :] * dx_c
    tl.store(there, total.to(dx.dtype.element_ty), (m < M)[:, None] & (c < C)[None, :])


@triton.jit
def grad_weight_kernel(dy, x, dw, M, C, H, W, P, Q,
                       R, S, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w,
                       dy_n, dy_c, dy_p, dy_q, x_n, x_c, x_h, x_w, dw_c, dw_r, dw_s,
                       BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr):
    r, s = tl.program_id(0) // S, tl.program_id(0) % S                    # one weight of each channel
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    total = tl.zeros((BLOCK_C,), tl.float32)
    for first in range(0, M, BLOCK_M):
        m = (first + tl.arange(0, BLOCK_M)).to(tl.int64)                  # output pixels
        n, p, q = m // (P * Q), m // Q % P, m % Q
        h, w = p * stride_h - pad_h + r * dil_h, q * stride_w - pad_w + s * dil_w
        inside = ((m < M) & (h >= 0) & (h < H) & (w >= 0) & (w < W))[:, None] & (c < C)[None, :]
        given = tl.load(dy + (n * dy_n + p * dy_p + q * dy_q)[:, None] + c[None, :] * dy_c, inside, other=0.0)
        pixel = tl.load(x + (n * x_n + h * x_h + w * x_w)[:, None] + c[None, :] * x_c, inside, other=0.0)
        total += tl.sum(given.to(tl.float32) * pixel.to(tl.float32), axis=0)
    tl.store(dw + c * dw_c + r * dw_r + s * dw_s, total.to(dw.dtype.element_ty), c < C)


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride=1, padding=0, dilation=1, *,
                     relu: bool = False) -> Tensor:
    """`conv2d` with as many groups as channels: x (N, C, H, W), weight (C, 1, R, S), bias (C,), y (N, C, P, Q)."""
    window, (N, C, H, W) = Window.of(weight.shape[2:], stride, padding, dilation), x.shape
    if weight.shape[:2] != (C, 1):
        raise ValueError(f"weight has shape {tuple(weight.shape)}; with {C} channels it is ({C}, 1, R, S)")
    P, Q = window.output(H, W)
    y = torch.empty((N, C, P, Q), dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    grid, blocks = tiles(N * P * Q, C)
    forward_kernel[grid](x, weight, y if bias is None else bias, y, N * P * Q, C, H, W, P, Q, *window.numbers,
                         *x.stride(), *_strides(weight), *y.stride(), HAS_BIAS=bias is not None, RELU=relu, **blocks)
    return y


def depthwise_grad_input(dy: Tensor, weight: Tensor, size: tuple[int, int], stride=1, padding=0, dilation=1) -> Tensor:
    """The gradient for the input (N, C, H, W), H, W = size, from dy (N, C, P, Q)."""
    window, (N, C, P, Q), (H, W) = Window.of(weight.shape[2:], stride, padding, dilation), dy.shape, size
    dx = torch.empty((N, C, H, W), dtype=dy.dtype, device=dy.device, memory_format=memory_format(dy))
    grid, blocks = tiles(N * H * W, C)
    grad_input_kernel[grid](dy, weight, dx, N * H * W, C, H, W, P, Q, *window.numbers, *dy.stride(), *_strides(weight),
                            *dx.stride(), **blocks)
    return dx


def depthwise_grad_weight(dy: Tensor, x: Tensor, kernel_size: tuple[int, int], stride=1, padding=0,
                          dilation=1) -> Tensor:
    """The gradient for the weight (C, 1, R, S), from dy (N, C, P, Q) and x (N, C, H, W)."""
    window, (N, C, P, Q), (H, W) = Window.of(kernel_size, stride, padding, dilation), dy.shape, x.shape[2:]
    dw = torch.empty((C, 1, *window.size), dtype=x.dtype, device=x.device)
    (_, columns), blocks = tiles(N * P * Q, C)
    grid = window.size[0] * window.size[1], columns
    grad_weight_kernel[grid](dy, x, dw, N * P * Q, C, H, W, P, Q, *window.numbers, *dy.stride(), *x.stride(),
                             *_strides(dw), **blocks)
    return dw


def _strides(weight):
    c, _, r, s = weight.stride()
    return c, r, s
