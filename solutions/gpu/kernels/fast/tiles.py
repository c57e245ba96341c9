"""What the fast kernels are launched with: which tiles to try, which patches cover the pixels, and TMA descriptors."""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import torch
import triton
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor


class Unsuitable(ValueError):
    """The fast kernels do not do this convolution; the plain ones do."""


class Tile(NamedTuple):
    """A tile of `pixels` by `filters` (of dx: by channels), fetched `depth` values of the sum at a time."""

    pixels: int
    filters: int
    depth: int
    warps: int
    stages: int
    persistent: bool = False
    folded: bool = False

    @property
    def options(self) -> dict[str, int]:
        """What Triton's launcher takes."""
        return {"num_warps": self.warps, "num_stages": self.stages}


class Part(NamedTuple):
    """A tile of dw, `filters` by `columns`, fetched `images` of one pixel at a time, its sum split among programs.

    rows: three tiles side by side, for the three window positions of a row.
    """

    filters: int
    columns: int
    images: int
    warps: int
    stages: int
    split: int
    rows: bool = False

    options = Tile.options


INTERPRETED = Tile(64, 16, 16, 4, 1)


def candidates(filters: int, channels: int, x: Tensor, persistent: bool = False) -> list[Tile]:
    """The tiles worth measuring for a product of pixels by `filters`, summed over `channels` at each position.

    A stage of a tile holds (pixels + filters) · depth values, 128 bytes of each row: one swizzled line.  The larger the
    tile, the fewer bytes come from L2: 128 × 128 does 64 operations a byte, 128 × 256 85 (at 5.5 TB/s, 350 and 470
    TFLOP/s).  The smaller, the evener the 132 multiprocessors are filled: 128 × 512 × 7 × 7 has 196 tiles of 128 × 128,
    one and a half rounds, and 392 of 128 × 64, three.
    """
    if not x.is_cuda:
        return [INTERPRETED, INTERPRETED._replace(persistent=True)] if persistent else [INTERPRETED]
    depth = depth_of(channels, x)
    if filters <= 32:
        width = max(16, triton.next_power_of_2(filters))
        tiles = [Tile(128, width, depth, 4, 4), Tile(256, width, depth, 8, 3)]
    elif filters <= 64:
        tiles = [Tile(128, 64, depth, 4, 4), Tile(256, 64, depth, 4, 3), Tile(256, 64, depth, 8, 4)]
    else:
        tiles = [Tile(128, 128, depth, 4, 3), Tile(128, 128, depth, 8, 4), Tile(256, 128, depth, 8, 3),
                 Tile(128, 64, depth, 4, 4)]
        if filters % 128:  # 96 filters: three blocks of 32 waste nothing, one of 128 a quarter
            tiles.append(Tile(256, 32, depth, 8, 3))
        if filters % 256 == 0:
            tiles.append(Tile(128, 256, depth, 8, 3))
    tiles += [t._replace(persistent=True) for t in tiles[1:3] if persistent]
    more = 128 // x.element_size() // depth
    return [t._replace(stages=min(8, t.stages * more)) for t in tiles]  # about as many bytes ahead


def parts(filters: int, columns: int, positions: tuple[int, int], steps: int, N: int, x: Tensor) -> list[Part]:
    """The tiles worth measuring for dw: `columns` for each filter and each of positions (R, S), sums of steps · N.

    Split such that two or four programs come to each multiprocessor: fewer leave some idle, more only add partial sums.
    """
    if not x.is_cuda:
        return [Part(16, 16, 16, 4, 1, 3)]
    images = min(128 // x.element_size(), max(16, triton.next_power_of_2(N)))
    R, S = positions
    sides = [(128, 128, 8, 4, False), (128, 256, 8, 3, False), (64, 128, 4, 4, False), (64, 64, 4, 4, False),
             (128, 64, 4, 4, False)]
    if S == 3:
        sides += [(64, 64, 4, 3, True), (128, 64, 8, 3, True)]
    found = []
    for f, c, warps, stages, rows in sides:
        if f < 2 * max(filters, 33) and c < 2 * max(columns, 33):
            count = triton.cdiv(filters, f) * triton.cdiv(columns, c) * R * (1 if rows else S)
            for rounds in (2, 4):
                split = max(1, min(rounds * multiprocessors(x) // count, steps * triton.cdiv(N, images) // 4))
                found.append(Part(f, c, images, warps, stages, split, rows))
    return list(dict.fromkeys(found))


def depth_of(channels: int, x: Tensor) -> int:
    """How many channels to fetch at a time: 128 bytes of them, unless less leaves fewer zeros behind the last ones.

    Those zeros are multiplied with the weights of the next position, so an infinite weight there makes NaN of them.
    """
    most, least = 128 // x.element_size(), 32 // x.element_size()
    if channels % most and channels % (most // 2) == 0:
        return most // 2
    return most if triton.cdiv(channels, most) * most <= 4 / 3 * channels else least


@functools.cache
def cover(pixels: int, N: int, column: tuple[int, ...], row: tuple[int, ...], TH_most: int, TW_most: int):
    """The patch (TN, TH, TW), TN · TH · TW = pixels, that covers N images with the fewest products.

    `column` and `row` describe the convolution along each dimension, as the arguments of `products` do.  A position is
    done for a patch if any of its pixels meets the image there.  Ties go to the most images.
    """
    best = None
    for TH, TW in itertools.product(*([2**i for i in range(most.bit_length())] for most in (TH_most, TW_most))):
        if TH * TW > pixels:
            continue
        TN = pixels // (TH * TW)
        work = triton.cdiv(N, TN) * products(TH, *column) * products(TW, *row)
        if best is None or work < best[0]:
            best = work, (TN, TH, TW)
    return best[1]


def products(side: int, count: int, stride: int, pad: int, dilation: int, R: int, size: int) -> int:
    """How many window positions are done for all pieces, `side` long, of a line of `count` outputs."""
    if pad == 0 and (count - 1) * stride + (R - 1) * dilation < size:
        return triton.cdiv(count, side) * R  # there is no padding; pixels in a row may be millions in a 1×1 convolution
    done = 0
    for p in range(0, count, side):
        first, last = p * stride - pad, (min(p + side, count) - 1) * stride - pad
        done += sum(first + r * dilation < size and last + r * dilation >= 0 for r in range(R))
    return done


def patches(x: Tensor, view: tuple[int, int], patch: tuple[int, int, int], depth: int) -> TensorDescriptor:
    """Descriptor of x (N, H, W, C), by which a patch of pixels `view` apart, `depth` channels of them, is fetched.

    Its dimensions are (N, H / view_h, view_h, W / view_w, view_w · C): the sizes are multiples of the view's.
    """
    (N, H, W, C), (n, h, w), (view_h, view_w), (TN, TH, TW) = x.shape, strides(x), view, patch
    return TensorDescriptor(x, [N, H // view_h, view_h, W // view_w, view_w * C], [n, view_h * h, h, view_w * w, 1],
                            [TN, TH, 1, TW, depth])


def matrix(x: Tensor, rows: int, columns: int) -> TensorDescriptor:
    """Descriptor of x as a matrix: its first dimension by all others, dense; for tiles of rows × columns."""
    width = x[0].numel()
    return TensorDescriptor(x, [x.shape[0], width], [x.stride(0) if x.shape[0] > 1 else width, 1], [rows, columns])


def strides(x: Tensor) -> tuple[int, int, int]:
    """The first three strides of x (N, H, W, C); of a dimension of size 1, where PyTorch's may be anything, dense."""
    found, dense = [], x.shape[3]
    for size, stride in zip(x.shape[2::-1], x.stride()[2::-1], strict=True):
        found.insert(0, stride if size > 1 else dense)
        dense = found[0] * size
    return tuple(found)


def rows(x: Tensor) -> Tensor:
    """(N, C, H, W) seen as (N, H, W, C)."""
    return x.permute(0, 2, 3, 1)


def require_alignment(x: Tensor) -> None:
    """Raise Unsuitable if the copy engine cannot read x (N, H, W, C)."""
    wide = 16 // x.element_size()
    if x.numel() == 0:
        raise Unsuitable("there are no images")
    if x.shape[3] > 1 and x.stride(3) != 1:
        raise Unsuitable("channels are not last in memory")
    if x.shape[3] % wide or x.data_ptr() % 16 or any(s % wide or s <= 0 for s in strides(x)):
        raise Unsuitable("the channels of a pixel do not start and end at multiples of 16 bytes")
    if x[0].numel() >= 2**31:
        raise Unsuitable("an image has 2³¹ values or more")


def index_type(*tensors: Tensor):
    """int32 if every offset into the tensors fits: with int64 addresses take twice the registers and instructions."""
    far = max(sum((size - 1) * stride for size, stride in zip(t.shape, t.stride(), strict=True)) for t in tensors)
    return triton.language.int64 if far >= 2**31 else triton.language.int32


def multiprocessors(x: Tensor) -> int:
    """How many programs run at once at least; in the interpreter as if there were 4."""
    return torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else 4
