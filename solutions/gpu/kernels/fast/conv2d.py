"""The fast convolution and its gradients, with the arguments and results of the plain ones.

They take what Hopper's copy engine and tensor cores take: one group, 16-bit tensors or float32 as tf32, channels last
in memory and a multiple of 16 bytes; or up to 4 channels in any order (`blocks`).  For all else they raise Unsuitable.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from solutions.gpu.kernels.conv2d import arithmetic, check_channels, check_epilogue
from solutions.gpu.kernels.fast import blocks, launch
from solutions.gpu.kernels.fast.tiles import Unsuitable, rows
from solutions.gpu.kernels.tensors import memory_format
from solutions.gpu.kernels.window import Window

FEW = 4  # channels of a first layer, at most


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride=1, padding=0, dilation=1, groups: int = 1, *,
           affine: tuple[Tensor, Tensor] | None = None, residual: Tensor | None = None, relu: bool = False) -> Tensor:
    """As the plain `conv2d`; y is channels-last if x or weight is."""
    window = Window.of(weight.shape[2:], stride, padding, dilation)
    (N, C, H, W), K = x.shape, weight.shape[0]
    P, Q = window.output(H, W)
    check_channels(C, weight, groups)
    _require(x, weight, groups, C, window)
    check_epilogue((N, K, P, Q), affine, residual)
    last = torch.channels_last in (memory_format(x), memory_format(weight))
    y = torch.empty((N, K, P, Q), dtype=x.dtype, device=x.device,
                    memory_format=torch.channels_last if last else torch.contiguous_format)
    if C > FEW:
        launch.forward(rows(x), rows(weight).contiguous(), rows(y), window, bias, affine,
                       None if residual is None else rows(residual), relu)
        return y
    side = window.stride
    count, reach = _block_counts(window, (H, W), (P, Q))
    launch.forward(blocks.to_blocks(x, side, window.padding, count), blocks.to_blocks(weight, side, (0, 0), reach),
                   rows(y), Window.of(reach, 1, 0), bias, affine, None if residual is None else rows(residual), relu)
    return y


def conv2d_grad_input(dy: Tensor, weight: Tensor, size: tuple[int, int], stride=1, padding=0, dilation=1,
                      groups: int = 1) -> Tensor:
    """As the plain `conv2d_grad_input`; dx is channels-last."""
    window = Window.of(weight.shape[2:], stride, padding, dilation)
    (N, _, P, Q), C = dy.shape, weight.shape[1]
    _require(dy, weight, groups, C, window)
    dy = rows(dy)
    dx = torch.empty((N, C, *size), dtype=dy.dtype, device=dy.device, memory_format=torch.channels_last)
    if C > FEW:
        launch.grad_input(dy, rows(weight).contiguous(), rows(dx), window)
        return dx
    side = window.stride
    count, reach = _block_counts(window, size, (P, Q))
    dx_blocks = torch.empty((N, *count, blocks.channels(C, side)), dtype=dy.dtype, device=dy.device)
    launch.grad_input(dy, blocks.to_blocks(weight, side, (0, 0), reach), dx_blocks,
                      Window.of(reach, 1, 0))
    return blocks.from_blocks(dx_blocks, dx, side, window.padding)


def conv2d_grad_weight(dy: Tensor, x: Tensor, kernel_size: tuple[int, int], stride=1, padding=0, dilation=1,
                       groups: int = 1) -> Tensor:
    """As the plain `conv2d_grad_weight`; dw is channels-last."""
    window = Window.of(kernel_size, stride, padding, dilation)
    (K, P, Q), (C, H, W) = dy.shape[1:], x.shape[1:]
    _require(dy, x, groups, C, window)
    dy = rows(dy)
    if C > FEW:
        return launch.grad_weight(dy, rows(x), window).permute(0, 3, 1, 2)
    side = window.stride
    count, reach = _block_counts(window, (H, W), (P, Q))
    dw_blocks = launch.grad_weight(dy, blocks.to_blocks(x, side, window.padding, count), Window.of(reach, 1, 0))
    dw = torch.empty((K, C, *window.size), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    return blocks.from_blocks(dw_blocks, dw, side, (0, 0))


def _require(x, other, groups, C, window):
    """Raise Unsuitable unless dtypes, device and sizes are for the fast kernels."""
    reason = ""
    if groups != 1:
        reason = "it has groups"
    elif x.dtype != other.dtype:
        reason = f"its tensors are {x.dtype} and {other.dtype}"
    elif x.dtype not in (torch.float16, torch.bfloat16) and arithmetic(x)["PRECISION"] != "tf32":
        reason = "float32 in full is not for tensor cores"
    elif x.is_cuda and torch.cuda.get_device_capability(x.device) < (9, 0):
        reason = "this device has no copy engine"
    elif C <= FEW and window.dilation != (1, 1):
        reason = "few channels and a dilation"
    if reason:
        raise Unsuitable(f"the fast kernels do not do this convolution: {reason}")


def _block_counts(window, size, output):
    """How many blocks an image has, every pixel in one, and how many blocks a window reaches over."""
    reach = tuple(triton.cdiv(k, s) for k, s in zip(window.size, window.stride, strict=True))
    count = tuple(max(p - 1 + r, triton.cdiv(n + pad, s)) for p, r, n, pad, s in zip(
        output, reach, size, window.padding, window.stride, strict=True))
    return count, reach
