"""Max and average pooling, forward and backward.

Backward asks the other way round: every input pixel looks at the windows that hold it and adds up what they send.  So
each result is written once, by one program, and windows that overlap need no atomic additions, whose order, and with it
the last bits, would change from run to run.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from solutions.gpu.kernels.tensors import memory_format, tiles
from solutions.gpu.kernels.window import Window


@triton.jit
def forward_kernel(x, y, winner, M, C, H, W, P, Q,
                   R, S, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w,
                   x_n, x_c, x_h, x_w, y_n, y_c, y_p, y_q,
                   MAX: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr):
    m = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)   # (M,) output pixels
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)                # (C,) channels
    n, p, q = m // (P * Q), m // Q % P, m % Q
    best = tl.full((BLOCK_M, BLOCK_C), float("-inf") if MAX else 0.0, tl.float32)
    where = tl.full((BLOCK_M, BLOCK_C), -1, tl.int32)
    for r in range(R):
        for s in range(S):
            h, w = p * stride_h - pad_h + r * dil_h, q * stride_w - pad_w + s * dil_w
            inside = ((m < M) & (h >= 0) & (h < H) & (w >= 0) & (w < W))[:, None] & (c < C)[None, :]
            value = tl.load(x + (n * x_n + h * x_h + w * x_w)[:, None] + c[None, :] * x_c, inside, other=0.0)
            value = value.to(tl.float32)
            if MAX:  # the first of equal ones wins; a NaN wins over everything, as in PyTorch
                better = inside & ((where < 0) | (value > best) | ((value != value) & (best == best)))
                best, where = tl.where(better, value, best), tl.where(better, r * S + s, where)
            else:
                best += value
    there = (n * y_n + p * y_p + q * y_q)[:, None] + c[None, :] * y_c
    kept = (m < M)[:, None] & (c < C)[None, :]
    if MAX:
        tl.store(winner + there, where.to(winner.dtype.element_ty), kept)
    else:
        best = best / (R * S)                                             # of padding too, as in PyTorch
    tl.store(y + there, best.to(y.dtype.element_ty), kept)


@triton.jit
def backward_kernel(dy, winner, dx, M, C, H, W, P, Q,
                    R, S, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w,
                    dy_n, dy_c, dy_p, dy_q, i_n, i_c, i_p, i_q, dx_n, dx_c, dx_h, dx_w,
                    MAX: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr):
    m = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)   # (M,) input pixels
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    n, h, w = m // (H * W), m // W % H, m % W
    total = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    for r in range(R):
        for s in range(S):
            up, left = h + pad_h - r * dil_h, w + pad_w - s * dil_w       # of the window whose (r, s) this pixel is
            p, q = up // stride_h, left // stride_w
            read = (m < M) & (up >= 0) & (left >= 0) & (p < P) & (q < Q) & (p * stride_h == up) & (q * stride_w == left)
            read = read[:, None] & (c < C)[None, :]
            sent = tl.load(dy + (n * dy_n + p * dy_p + q * dy_q)[:, None] + c[None, :] * dy_c, read, other=0.0)
            if MAX:
                won = tl.load(winner + (n * i_n + p * i_p + q * i_q)[:, None] + c[None, :] * i_c, read, other=-1)
                total += tl.where(won == r * S + s, sent.to(tl.float32), 0.0)
            else:
                total += sent.to(tl.float32)
    if not MAX:
        total = total / (R * S)
    there = dx + (n * dx_n + h * dx_h + w * dx_w)[:, None] + c[None, :] * dx_c
    tl.store(there, total.to(dx.dtype.element_ty), (m < M)[:, None] & (c < C)[None, :])


def max_pool2d(x: Tensor, kernel_size, stride=None, padding=0, dilation=1) -> tuple[Tensor, Tensor]:
    """The maxima of the windows of x (N, C, H, W), and which position of its window each was: both (N, C, P, Q).

    The position, r·S + s, is what `max_pool2d_backward` needs; of equal maxima it is the first.  It fits into one byte
    if a window has up to 255 positions, and int32 is taken for larger ones.
    """
    window = _window(kernel_size, stride, padding, dilation)
    y = _output(x, window)
    small = window.size[0] * window.size[1] <= 255
    winner = torch.empty_like(y, dtype=torch.uint8 if small else torch.int32)
    _forward(x, y, winner, window, True)
    return y, winner


def max_pool2d_backward(dy: Tensor, winner: Tensor, size: tuple[int, int], kernel_size, stride=None, padding=0,
                        dilation=1) -> Tensor:
    """The gradient for x (N, C, H, W), H, W = size: each dy goes to the pixel that won."""
    return _backward(dy, winner, size, _window(kernel_size, stride, padding, dilation), True)


def avg_pool2d(x: Tensor, kernel_size, stride=None, padding=0) -> Tensor:
    """The means of the windows of x (N, C, H, W), where padding counts as zeros: (N, C, P, Q)."""
    window = _window(kernel_size, stride, padding, 1)
    y = _output(x, window)
    _forward(x, y, y, window, False)
    return y


def avg_pool2d_backward(dy: Tensor, size: tuple[int, int], kernel_size, stride=None, padding=0) -> Tensor:
    """The gradient for x (N, C, H, W), H, W = size: each dy is shared equally."""
    return _backward(dy, dy, size, _window(kernel_size, stride, padding, 1), False)


def _window(kernel_size, stride, padding, dilation):
    window = Window.of(kernel_size, kernel_size if stride is None else stride, padding, dilation)
    if any(2 * p > k for p, k in zip(window.padding, window.size, strict=True)):
        raise ValueError(f"padding is {padding}; it is at most half of the kernel_size {kernel_size}, so that no "
                         "window lies in it")
    return window


def _output(x, window):
    return torch.empty((*x.shape[:2], *window.output(*x.shape[2:])), dtype=x.dtype, device=x.device,
                       memory_format=memory_format(x))


def _forward(x, y, winner, window, is_max):
    (N, C, H, W), (P, Q) = x.shape, y.shape[2:]
    grid, blocks = tiles(N * P * Q, C)
    forward_kernel[grid](x, y, winner, N * P * Q, C, H, W, P, Q, *window.numbers, *x.stride(), *y.stride(), MAX=is_max,
                         **blocks)


def _backward(dy, winner, size, window, is_max):
    (N, C, P, Q), (H, W) = dy.shape, size
    dx = torch.empty((N, C, H, W), dtype=dy.dtype, device=dy.device, memory_format=memory_format(dy))
    grid, blocks = tiles(N * H * W, C)
    backward_kernel[grid](dy, winner, dx, N * H * W, C, H, W, P, Q, *window.numbers, *dy.stride(), *winner.stride(),
                          *dx.stride(), MAX=is_max, **blocks)
    return dx
