"""First layers: images of few channels are rearranged into blocks, so that their convolution becomes an ordinary one.

With 3 channels a pixel is 6 bytes long: no wide load is aligned, the copy engine (multiples of 16 bytes) cannot be
used, and a tile of 16 channels would hold 13 zeros.  So s_h × s_w pixels, s the stride, become one of s_h · s_w · C
channels, rounded up to 16, with the padding written out:

    x'[n, a, b, (i, j, c)] = x[n, c, a·s_h + i − pad_h, b·s_w + j − pad_w]

An R × S window that moves by s then is a ⌈R/s_h⌉ × ⌈S/s_w⌉ window over blocks that moves by 1, without padding.  The
weights are rearranged by the same kernel, dx and dw back by its inverse, and in between run the ordinary kernels, whose
row of S' · C' values is one long load.  Of AlexNet's first layer (11×11, stride 4): 48 channels, 3×3: 432 products for
363.  Of 7×7 with stride 2: 12 + 4 channels, 4×4: 256 for 147.  It costs x' written and read once more: for 128 images
80 MB beside the 114 of x and y, and 108 beside 244, part of it from L2; so by bytes at most 1.7 and 1.4 times the floor.
(In TPU submissions to MLPerf: "space to depth".)
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_B = 32  # blocks of a row that a program moves


@triton.jit
def to_blocks_kernel(x, blocks, C, H, W, A, B, pad_h, pad_w, x_n, x_c, x_h, x_w,
                     SIDE_H: tl.constexpr, SIDE_W: tl.constexpr, CHANNELS: tl.constexpr, WIDTH: tl.constexpr,
                     BACK: tl.constexpr, BLOCK_B: tl.constexpr):
    """Move a piece of row a of image n; BACK: from blocks to x."""
    a, n = tl.program_id(0) % A, tl.program_id(0) // A
    b = tl.program_id(1) * BLOCK_B + tl.arange(0, BLOCK_B)                # (BLOCK_B,) blocks
    e = tl.arange(0, WIDTH)                                               # (WIDTH,) their channels (i, j, c)
    i, j, c = e // (SIDE_W * C), e // C % SIDE_W, e % C
    h = a * SIDE_H + i - pad_h
    w = (b * SIDE_W)[:, None] + (j - pad_w)[None, :]                      # (BLOCK_B, WIDTH)
    inside = ((e < SIDE_H * SIDE_W * C) & (h >= 0) & (h < H))[None, :] & (w >= 0) & (w < W) & (b < B)[:, None]
    there = n.to(tl.int64) * x_n + (h.to(tl.int64) * x_h + c * x_c)[None, :] + w.to(tl.int64) * x_w
    block = (tl.program_id(0).to(tl.int64) * B + b)[:, None] * CHANNELS + e[None, :]
    within = (b < B)[:, None] & (e < CHANNELS)[None, :]
    if BACK:
        tl.store(x + there, tl.load(blocks + block, within, other=0.0), inside)
    else:
        tl.store(blocks + block, tl.load(x + there, inside, other=0.0), within)


def channels(C: int, side: tuple[int, int]) -> int:
    """The channels of a block of side[0] × side[1] pixels, rounded up to what the copy engine and a product take."""
    return triton.cdiv(side[0] * side[1] * C, 16) * 16


def to_blocks(x: Tensor, side: tuple[int, int], padding: tuple[int, int], count: tuple[int, int]) -> Tensor:
    """x (N, C, H, W) of any strides as count[0] × count[1] blocks of side[0] × side[1] pixels: (N, A, B, channels)."""
    blocks = torch.empty((x.shape[0], *count, channels(x.shape[1], side)), dtype=x.dtype, device=x.device)
    _move(x, blocks, side, padding, False)
    return blocks


def from_blocks(blocks: Tensor, x: Tensor, side: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """`to_blocks` backwards, into x (N, C, H, W), each pixel of which must lie in a block."""
    _move(x, blocks, side, padding, True)
    return x


def _move(x, blocks, side, padding, back):
    (_, C, H, W), (N, A, B, width) = x.shape, blocks.shape
    to_blocks_kernel[N * A, triton.cdiv(B, BLOCK_B)](
        x, blocks, C, H, W, A, B, *padding, *x.stride(), SIDE_H=side[0], SIDE_W=side[1], CHANNELS=width,
        WIDTH=triton.next_power_of_2(width), BACK=back, BLOCK_B=BLOCK_B)
