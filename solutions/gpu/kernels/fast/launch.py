"""The launches of the fast kernels: views, patches, grids and tiles.

Images are (N, H, W, C) here, weights (K, R, S, C) and dense, whatever their order in memory.
"""

from __future__ import annotations

import math

import torch
import triton
from torch import Tensor

from solutions.gpu.kernels.conv2d import arithmetic
from solutions.gpu.kernels.fast import tiles, tuning
from solutions.gpu.kernels.fast.forward import forward_kernel
from solutions.gpu.kernels.fast.grad_input import grad_input_kernel
from solutions.gpu.kernels.fast.grad_weight import add_kernel, grad_weight_kernel, row_kernel
from solutions.gpu.kernels.fast.tiles import Unsuitable
from solutions.gpu.kernels.window import Window

BATCH = 16  # images, at least, where a tile is one pixel of many images


def forward(x: Tensor, weight: Tensor, y: Tensor, window: Window, bias: Tensor | None = None,
            affine: tuple[Tensor, Tensor] | None = None, residual: Tensor | None = None, relu: bool = False) -> None:
    """Into y (N, P, Q, K), of any strides: the convolution of x with weight, and what comes behind it."""
    tiles.require_alignment(x)
    other = y if residual is None else residual
    if is_product(window) and dense(x, y, other):
        x, y, other = (t.view(1, 1, -1, t.shape[3]) for t in (x, y, other))
    K, (P, Q) = weight.shape[0], y.shape[1:3]
    scale, shift = (y, y) if affine is None else affine
    integers = tiles.index_type(y, other)

    def run(tile):
        images, filters = fold(x, weight) if tile.folded else (x, weight)
        (N, H, W, C), (_, R, S, _) = images.shape, filters.shape
        apart = [stride == 1 or size % stride == 0 for stride, size in zip(window.stride, (H, W), strict=True)]
        apart[1] &= window.stride[1] == 1 or (C % tile.depth == 0 and tiles.strides(images)[2] == C)
        if N < BATCH and not all(apart):
            raise Unsuitable("few images, whose rows the stride does not divide")
        lines = [(count, *numbers, size) for count, *numbers, size in zip(
            (P, Q), window.stride, window.padding, window.dilation, (R, S), (H, W), strict=True)]
        patch = tiles.cover(tile.pixels, N, *lines, *(triton.next_power_of_2(n) if a else 1
                                                      for n, a in zip((P, Q), apart, strict=True)))
        view = [1 if side == 1 else stride for side, stride in zip(patch[1:], window.stride, strict=True)]
        grid = [triton.cdiv(n, t) for n, t in zip((K, N, P, Q), (tile.filters, *patch), strict=True)]
        programs = min(math.prod(grid), tiles.multiprocessors(x)) if tile.persistent else math.prod(grid)
        forward_kernel[(programs,)](
            tiles.patches(images, view, patch, tile.depth), tiles.matrix(filters, tile.filters, tile.depth), y,
            y if bias is None else bias, scale, shift, other, math.prod(grid), N, H, W, K, P, Q, grid[0], *grid[2:],
            *window.stride, *window.padding, *window.dilation, *y.stride(), *other.stride(), R=R, S=S, C=C,
            VIEW_H=view[0], VIEW_W=view[1], HAS_BIAS=bias is not None, AFFINE=affine is not None,
            ADD=residual is not None, RELU=relu, **arithmetic(x), INT=integers, PERSISTENT=tile.persistent,
            TN=patch[0], TH=patch[1], TW=patch[2], BLOCK_N=tile.filters, BLOCK_K=tile.depth, **tile.options)

    few_steps = weight[0].numel() <= 1024
    choices = tiles.candidates(K, x.shape[3], x, few_steps)
    if folds(x, window):
        choices = [t._replace(folded=True) for t in tiles.candidates(K, weight[0, 0].numel(), x, few_steps)] + choices
    epilogue = "".join("·" if part is None else "+" for part in (bias, affine, residual))
    run(tuning.choose("forward", describe(x, weight, window, epilogue), choices, run))


def grad_input(dy: Tensor, weight: Tensor, dx: Tensor, window: Window) -> None:
    """Into dx (N, H, W, C), of any strides: the gradient, from dy (N, P, Q, K)."""
    tiles.require_alignment(dy)
    tiles.require_alignment(weight)
    if is_product(window) and dense(dy, dx):
        dy, dx = (t.view(1, 1, -1, t.shape[3]) for t in (dy, dx))
    (N, P, Q, K), (_, R, S, C), (H, W) = dy.shape, weight.shape, dx.shape[1:3]
    common = [math.gcd(stride, dilation) for stride, dilation in zip(window.stride, window.dilation, strict=True)]
    step = [stride // c for stride, c in zip(window.stride, common, strict=True)]
    back = [dilation // c for dilation, c in zip(window.dilation, common, strict=True)]
    in_class = [triton.cdiv(n, stride) for n, stride in zip((H, W), window.stride, strict=True)]
    # What a class reads of dy, for `cover`: as a convolution of stride 1, with the positions turned round.
    reach = [triton.cdiv(k, s) for k, s in zip((R, S), step, strict=True)]
    lines = [(count, 1, max(0, b * (r - 1) - pad // stride), b, r, size) for count, b, r, pad, stride, size in zip(
        in_class, back, reach, window.padding, window.stride, (P, Q), strict=True)]

    def run(tile):
        patch = tiles.cover(tile.pixels, N, *lines, *map(triton.next_power_of_2, in_class))
        grid = [triton.cdiv(n, t) for n, t in zip((C, N, *in_class), (tile.filters, *patch), strict=True)]
        grad_input_kernel[(math.prod(grid) * math.prod(window.stride),)](
            tiles.patches(dy, (1, 1), patch, tile.depth), tiles.matrix(weight, tile.depth, tile.filters), dx,
            N, H, W, P, Q, grid[0], *grid[2:], *window.stride, *window.padding, *window.dilation, *dx.stride(),
            R=R, S=S, C=C, K=K, STEP_R=step[0], STEP_S=step[1], BACK_P=back[0], BACK_Q=back[1], **arithmetic(dy),
            INT=tiles.index_type(dx), TN=patch[0], TH=patch[1], TW=patch[2], BLOCK_N=tile.filters, BLOCK_K=tile.depth,
            **tile.options)

    run(tuning.choose("grad_input", describe(dy, weight, window), tiles.candidates(C, K, dy), run))


def grad_weight(dy: Tensor, x: Tensor, window: Window) -> Tensor:
    """The gradient for the weight (K, R, S, C), dense, from dy (N, P, Q, K) and x."""
    tiles.require_alignment(dy)
    tiles.require_alignment(x)
    if is_product(window) and dense(dy, x):
        dy, x = (t.view(-1, 1, 1, t.shape[3]) for t in (dy, x))
    (N, P, Q, K), (_, H, W, C), (R, S) = dy.shape, x.shape, window.size
    if not dense(dy[0], x[0]) or N < BATCH:
        raise Unsuitable("few images, or images with gaps")
    columns = C
    if S > 1 and window.padding[1] == 0 and window.dilation[1] == 1:
        S, columns = 1, S * C
    dw = torch.empty((K, *window.size, C), dtype=x.dtype, device=x.device)

    def run(part):
        parts = dw if part.split == 1 else torch.empty((part.split, *dw.shape), dtype=torch.float32, device=x.device)
        kernel, positions, image, constants = grad_weight_kernel, R * S, tiles.matrix(x, part.images, part.columns), {
            "S": S, "COLUMNS": columns}
        if part.rows:
            kernel, positions, image, constants = row_kernel, R, tiles.patches(
                x, (1, 1), (part.images, 1, 1), part.columns), {}
        grid = [triton.cdiv(n, t) for n, t in zip((K, columns), (part.filters, part.columns), strict=True)]
        kernel[(math.prod(grid) * positions, part.split)](
            tiles.matrix(dy, part.images, part.filters), image, parts, *grid, triton.cdiv(N, part.images), H, W, P, Q,
            K, *window.stride, *window.padding, *window.dilation, part.split, R=R, C=C, **constants, **arithmetic(x),
            INT=tiles.index_type(parts), TN=part.images, BLOCK_M=part.filters, BLOCK_N=part.columns, **part.options)
        if part.split > 1:
            add_kernel[(triton.cdiv(dw.numel(), 1024),)](parts, dw, dw.numel(), part.split, BLOCK=1024)

    choices = tiles.parts(K, columns, (R, S), P * Q, N, x)
    run(tuning.choose("grad_weight", describe(x, dw, window), choices, run))
    return dw


def is_product(window: Window) -> bool:
    """Whether every pixel is multiplied by itself: 1×1, without gaps."""
    return window.size == window.stride == (1, 1) and window.padding == (0, 0)


def dense(*images: Tensor) -> bool:
    """Whether each tensor lies in memory in the order of its dimensions, without gaps."""
    return all(t.is_contiguous() for t in images)


def folds(x: Tensor, window: Window) -> bool:
    """Whether the S · C values that a window reads of a row lie side by side, and C alone is less than 128 bytes."""
    few = x.shape[3] * x.element_size() < 128 and window.size[1] > 1 and tiles.strides(x)[2] == x.shape[3]
    return few and window.padding[1] == 0 and window.stride[1] == window.dilation[1] == 1


def fold(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """x as (N, H, W − S + 1, S · C), overlapping in memory, and weight as (K, R, 1, S · C): the same convolution.

    Of 4 × 4 blocks of 16 channels, 4 fetches of 128 bytes a pixel take the place of 16 of 32.  NVIDIA does not say
    whether a descriptor may overlap itself, so this is one of the candidates, and falls out if the driver refuses it.
    """
    (N, H, W, C), (K, R, S, _), (n, h, w) = x.shape, weight.shape, tiles.strides(x)
    return x.as_strided((N, H, W - S + 1, S * C), (n, h, w, 1)), weight.view(K, R, 1, S * C)


def describe(x: Tensor, weight: Tensor, window: Window, more: str = "") -> str:
    """What the speed depends on, as part of a key."""
    return f"{x.dtype}, {tuple(x.shape)} * {tuple(weight.shape)}, {window} {more}"
