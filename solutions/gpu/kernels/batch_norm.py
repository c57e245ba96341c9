"""Batch norm over (N, H, W) of each channel: statistics, forward with what is usually behind it, and backward.

Training reads x twice, for the statistics and to normalise, and backward reads x and dy twice: bytes, not arithmetic,
are what it costs.  So what follows it in a network, an addition and a ReLU, is done in the same pass.
Ioffe and Szegedy, Batch normalization, 2015, algorithm 1 and the equations below it.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from solutions.gpu.kernels.tensors import memory_format, tiles


@triton.jit
def statistics_kernel(x, mean, var, M, C, HW, W, x_n, x_c, x_h, x_w, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr):
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)                # (C,) channels, all of their pixels
    centre = tl.zeros((BLOCK_C,), tl.float32)
    spread = tl.zeros((BLOCK_C,), tl.float32)                             # sum of squares about the centre so far
    count = 0
    for first in range(0, M, BLOCK_M):
        m = (first + tl.arange(0, BLOCK_M)).to(tl.int64)
        n, h, w = m // HW, m % HW // W, m % W
        inside = (m < M)[:, None] & (c < C)[None, :]
        value = tl.load(x + (n * x_n + h * x_h + w * x_w)[:, None] + c[None, :] * x_c, inside, other=0.0)
        value = value.to(tl.float32)
        rows = tl.minimum(BLOCK_M, M - first)
        mean_here = tl.sum(value, axis=0) / rows
        off = tl.where(inside, value - mean_here[None, :], 0.0)
        # Two groups become one (Chan, Golub and LeVeque, 1979): no difference of large, nearly equal sums.
        apart = mean_here - centre
        total = count + rows
        spread += tl.sum(off * off, axis=0) + apart * apart * (count * (rows / total))
        centre += apart * (rows / total)
        count = total
    tl.store(mean + c, centre, c < C)
    tl.store(var + c, spread / M, c < C)


@triton.jit
def forward_kernel(x, mean, var, weight, bias, residual, y, M, C, HW, W, eps,
                   x_n, x_c, x_h, x_w, res_n, res_c, res_h, res_w, y_n, y_c, y_h, y_w,
                   ADD: tl.constexpr, RELU: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr):
    m = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    n, h, w = m // HW, m % HW // W, m % W
    inside = (m < M)[:, None] & (c < C)[None, :]
    scale = tl.load(weight + c, c < C, other=0.0) / tl.sqrt(tl.load(var + c, c < C, other=1.0) + eps)
    shift = tl.load(bias + c, c < C, other=0.0) - tl.load(mean + c, c < C, other=0.0) * scale
    value = tl.load(x + (n * x_n + h * x_h + w * x_w)[:, None] + c[None, :] * x_c, inside, other=0.0).to(tl.float32)
    value = value * scale[None, :] + shift[None, :]
    if ADD:
        value += tl.load(residual + (n * res_n + h * res_h + w * res_w)[:, None] + c[None, :] * res_c, inside,
                         other=0.0).to(tl.float32)
    if RELU:
        value = tl.maximum(value, 0.0)
    there = y + (n * y_n + h * y_h + w * y_w)[:, None] + c[None, :] * y_c
    tl.store(there, value.to(y.dtype.element_ty), inside)


@triton.jit
def sums_kernel(dy, x, mean, var, grad_weight, grad_bias, M, C, HW, W, eps,
                dy_n, dy_c, dy_h, dy_w, x_n, x_c, x_h, x_w, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr):
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    centre = tl.load(mean + c, c < C, other=0.0)
    inverse = 1 / tl.sqrt(tl.load(var + c, c < C, other=1.0) + eps)
    of_dy = tl.zeros((BLOCK_C,), tl.float32)
    of_both = tl.zeros((BLOCK_C,), tl.float32)
    for first in range(0, M, BLOCK_M):
        m = (first + tl.arange(0, BLOCK_M)).to(tl.int64)
        n, h, w = m // HW, m % HW // W, m % W
        inside = (m < M)[:, None] & (c < C)[None, :]
        given = tl.load(dy + (n * dy_n + h * dy_h + w * dy_w)[:, None] + c[None, :] * dy_c, inside, other=0.0)
        value = tl.load(x + (n * x_n + h * x_h + w * x_w)[:, None] + c[None, :] * x_c, inside, other=0.0)
        normal = (value.to(tl.float32) - centre[None, :]) * inverse[None, :]
        of_dy += tl.sum(given.to(tl.float32), axis=0)
        of_both += tl.sum(given.to(tl.float32) * normal, axis=0)          # 0 where nothing is given
    tl.store(grad_bias + c, of_dy, c < C)
    tl.store(grad_weight + c, of_both, c < C)


@triton.jit
def grad_input_kernel(dy, x, mean, var, weight, grad_weight, grad_bias, dx, M, C, HW, W, eps,
                      dy_n, dy_c, dy_h, dy_w, x_n, x_c, x_h, x_w, dx_n, dx_c, dx_h, dx_w,
                      BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr):
    m = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    n, h, w = m // HW, m % HW // W, m % W
    inside = (m < M)[:, None] & (c < C)[None, :]
    inverse = 1 / tl.sqrt(tl.load(var + c, c < C, other=1.0) + eps)
    scale = tl.load(weight + c, c < C, other=0.0) * inverse
    given = tl.load(dy + (n * dy_n + h * dy_h + w * dy_w)[:, None] + c[None, :] * dy_c, inside, other=0.0)
    value = tl.load(x + (n * x_n + h * x_h + w * x_w)[:, None] + c[None, :] * x_c, inside, other=0.0)
    normal = (value.to(tl.float32) - tl.load(mean + c, c < C, other=0.0)[None, :]) * inverse[None, :]
    along = tl.load(grad_weight + c, c < C, other=0.0) / M                # the mean of dy · normal
    level = tl.load(grad_bias + c, c < C, other=0.0) / M                  # the mean of dy
    result = (given.to(tl.float32) - level[None, :] - normal * along[None, :]) * scale[None, :]
    there = dx + (n * dx_n + h * dx_h + w * dx_w)[:, None] + c[None, :] * dx_c
    tl.store(there, result.to(dx.dtype.element_ty), inside)


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (divided by N·H·W) of each channel of x (N, C, H, W), both float32 (C,)."""
    N, C, H, W = x.shape
    mean, var = torch.empty(2, C, dtype=torch.float32, device=x.device)
    (_, columns), blocks = tiles(N * H * W, C)
    statistics_kernel[(columns,)](x, mean, var, N * H * W, C, H * W, W, *x.stride(), **blocks)
    return mean, var


def batch_norm(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5, *,
               residual: Tensor | None = None, relu: bool = False) -> Tensor:
    """(x − mean) / sqrt(var + eps) · weight + bias of each channel, plus `residual`, behind a ReLU if `relu`.

    x and residual (N, C, H, W); the others float32 (C,).  In training mean and var are `statistics(x)`, in evaluation
    the running ones.  Returns a tensor like x.
    """
    N, C, H, W = x.shape
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    grid, blocks = tiles(N * H * W, C)
    other = x if residual is None else residual
    forward_kernel[grid](x, mean, var, weight, bias, other, y, N * H * W, C, H * W, W, eps,
                         *x.stride(), *other.stride(), *y.stride(), ADD=residual is not None, RELU=relu, **blocks)
    return y


def affine(mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    """Batch norm with fixed statistics as y · scale + shift, for `conv2d`: scale and shift, float32 (C,)."""
    scale = (weight / torch.sqrt(var + eps)).float()
    return scale, (bias - mean * scale).float()


def batch_norm_backward(dy: Tensor, x: Tensor, mean: Tensor, var: Tensor, weight: Tensor,
                        eps: float = 1e-5) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients for x, weight and bias of batch norm in training, from dy; mean and var are `statistics(x)`."""
    N, C, H, W = x.shape
    grad_weight, grad_bias = torch.empty(2, C, dtype=torch.float32, device=x.device)
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    grid, blocks = tiles(N * H * W, C)
    sizes = N * H * W, C, H * W, W, eps
    sums_kernel[(grid[1],)](dy, x, mean, var, grad_weight, grad_bias, *sizes, *dy.stride(), *x.stride(), **blocks)
    grad_input_kernel[grid](dy, x, mean, var, weight, grad_weight, grad_bias, dx, *sizes, *dy.stride(), *x.stride(),
                            *dx.stride(), **blocks)
    return dx, grad_weight, grad_bias
