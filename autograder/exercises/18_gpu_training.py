"""Exercises of notebook 18: the backward pass as kernels, and what makes training on GPUs fast.

Kernels are launched in Triton's interpreter, under a watch (`cnnlab.watch`); images lie channels-last.  The oracles are
torch's own gradients and NumPy.  A wrong kernel is a right one with a slip: `SLIP` says which.
"""

import math
from functools import partial
from textwrap import dedent

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import Function

from autograder.exercise import FORBIDDEN_TORCH, Exercise, Mistake, call
from cnnlab.kernels import obstacle, tl, triton
from cnnlab.launch import interpreted
from cnnlab.probes import strided

# A kernel can call no library; and to watch for one slows the interpreter down several times.
NOTHING = ()

POISON = -99.0  # what the written tensors hold before


def slipped(kernel, name):
    """The kernel with `SLIP=name`, as a kernel of its own."""
    kernel = kernel if obstacle() else interpreted(kernel)

    class Slipped(type(kernel)):
        def __getitem__(self, grid):
            return partial(super().__getitem__(grid), SLIP=name)

    return Slipped(kernel.fn)


def mistakes_of(kernel, **says):
    """A mistake for each slip, with what is said of it."""
    return [Mistake(name, sentence, slipped(kernel, name)) for name, sentence in says.items()]


def ints(seed, *shape, most=4, dtype=np.float32):
    """Whole numbers from -most to most: exact sums, both signs."""
    return np.random.default_rng([seed, *shape]).integers(-most, most + 1, shape).astype(dtype)


def poison(*shape, dtype=np.float32):
    return np.full(shape, POISON, dtype)


def some(rng, low, high, count=None):
    """Whole numbers from low to high, both possible."""
    drawn = rng.integers(low, high + 1, count)
    return int(drawn) if count is None else tuple(int(v) for v in drawn)


def blocks(n, block):
    return -(-n // block)


def nchw(t):
    """A channels-last tensor as torch's functions take it, in float64."""
    return t.double().permute(0, 3, 1, 2)


# ---------------------------------------------------------------------------- relu_bias_backward

def relu_bias_backward(dy, y, dz, db, M, K, stride_m, stride_k, BLOCK_M, BLOCK_K):
    """Oracle: autograd through bias and ReLU, for a z that gives this y."""
    bias = torch.zeros(K, dtype=torch.float64, requires_grad=True)
    z = torch.where(y > 0, y, -1.0).double().requires_grad_()
    dz, db = torch.autograd.grad(F.relu(z + bias), (z, bias), dy.double())
    return dz.to(dy.dtype), db.float()


@triton.jit
def relu_bias_slips(dy, y, dz, db, M, K, stride_m, stride_k, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr,
                    SLIP: tl.constexpr = ""):
    k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    narrow = tl.float16 if SLIP == "float16_sum" else tl.float32
    total = tl.zeros((BLOCK_K,), narrow)
    rows = M // BLOCK_M * BLOCK_M if SLIP == "floor" else M
    for first in range(0, rows, BLOCK_M):
        m = first + tl.arange(0, BLOCK_M)
        inside = (m < M)[:, None] & (k < K)[None, :]
        if SLIP == "no_mask":
            inside = inside | True
        if SLIP == "rows_not_masked":
            inside = (k < K)[None, :] & (m >= 0)[:, None]
        if SLIP == "columns_not_masked":
            inside = (m < M)[:, None] & (k >= 0)[None, :]
        there = m[:, None] * stride_m + k[None, :] * stride_k
        if SLIP == "contiguous":
            there = m[:, None] * K + k[None, :]
        if SLIP == "strides_exchanged":
            there = m[:, None] * stride_k + k[None, :] * stride_m
        if SLIP == "no_other":
            given, kept = tl.load(dy + there, inside), tl.load(y + there, inside)
            passed = given * (kept > 0)
        else:
            given, kept = tl.load(dy + there, inside, other=0.0), tl.load(y + there, inside, other=0.0)
            passed = tl.where(kept > 0, given, 0.0)
        if SLIP == "zero_passes":
            passed = tl.where(inside & (kept >= 0), given, 0.0)
        if SLIP == "mask_of_dy":
            passed = tl.where(given > 0, given, 0.0)
        if SLIP == "times_y":
            passed = given * kept
        tl.store(dz + there, given if SLIP == "dz_not_masked" else passed, inside)
        summed = given if SLIP == "db_of_dy" else passed
        if SLIP == "wrong_axis":
            total += tl.sum(summed.to(tl.float32), axis=1)
        elif SLIP == "last_rows":
            total = tl.sum(summed.to(tl.float32), axis=0)
        else:
            total = (total + tl.sum(summed.to(tl.float32), axis=0)).to(narrow)
    if SLIP == "mean":
        total = total / M
    if SLIP == "no_mask":
        tl.store(db + k, total)
    else:
        tl.store(db + k, total, k < K)


@triton.jit
def relu_bias_by_products(dy, y, dz, db, M, K, stride_m, stride_k, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr):
    k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)[None, :]
    total = tl.zeros((BLOCK_M, BLOCK_K), tl.float32)
    for i in range(tl.cdiv(M, BLOCK_M)):
        m = i * BLOCK_M + tl.arange(0, BLOCK_M)[:, None]
        inside = (m < M) & (k < K)
        there = m * stride_m + k * stride_k
        alive = tl.load(y + there, mask=inside, other=0.0) > 0
        passed = tl.load(dy + there, mask=inside & alive, other=0.0)
        tl.store(dz + there, passed, mask=inside)
        total += passed
    column = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    tl.store(db + column, tl.sum(total, axis=0), mask=column < K)


@triton.jit
def relu_bias_twice(dy, y, dz, db, M, K, stride_m, stride_k, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr):
    k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    total = tl.full((BLOCK_K,), 0.0, tl.float32)
    m = tl.arange(0, BLOCK_M)
    for _ in range(0, M, BLOCK_M):
        inside = (m[:, None] < M) & (k[None, :] < K)
        at = m[:, None] * stride_m + k[None, :] * stride_k
        gate = (tl.load(y + at, inside, other=-1.0) > 0).to(tl.float32)
        product = gate * tl.load(dy + at, inside, other=0.0).to(tl.float32)
        total += product.sum(axis=0)
        tl.store(dz + at, product.to(dz.dtype.element_ty), inside)
        m += BLOCK_M
    tl.store(db + k, total, k < K)


def relu_bias_probe(dy, y, block, view=False):
    """y is given as any numbers, and rectified."""
    (M, K), y = dy.shape, np.maximum(y, 0)
    dz = poison(M, K, dtype=dy.dtype)
    dy, y, dz = map(strided, (dy, y, dz)) if view else (dy, y, dz)
    strides = (4 * K, 2) if view else (K, 1)
    return call(dy, y, dz, poison(K), M, K, *strides, BLOCK_M=block, BLOCK_K=block, grid=(blocks(K, block),),
                written=(2, 3), device="cpu")


def random_relu_bias(rng):
    (M, K), seed = some(rng, 3, 9, 2), some(rng, 0, 1 << 30)
    K += M == K
    return relu_bias_probe(ints(seed, M, K), ints(seed + 1, M, K, most=2), 4, view=bool(some(rng, 0, 1)))


RELU_BIAS_BACKWARD = Exercise(
    id="relu_bias_backward", points=2, forbidden=NOTHING,
    oracle=relu_bias_backward,
    probes=[relu_bias_probe(np.float32([[1, 2], [-3, 4], [5, -6]]), np.float32([[3, 0], [1, -1], [2, 4]]), 2),
            relu_bias_probe(ints(1, 7, 3), ints(2, 7, 3, most=2), 4),
            relu_bias_probe(ints(3, 5, 6), ints(4, 5, 6, most=2), 4, view=True),
            relu_bias_probe(300 + ints(5, 11, 5, most=9, dtype=np.float16),
                            2 + ints(6, 11, 5, most=2, dtype=np.float16), 4)],
    random=random_relu_bias,
    mistakes=mistakes_of(
        relu_bias_slips,
        no_mask="Nothing is masked. Where the tile hangs over the edge, it reads and writes what lies after the "  # 115
                "tensor.",
        rows_not_masked="The last piece hangs over the last row, and only the columns are masked. Mask both.",  # 115
        columns_not_masked="The last tile hangs over the last column, and only the rows are masked. Without that it "
                           "reads the next row's values.",  # 115
        no_other="Masked-out lanes hold anything if the load names no `other`, and anything times 0 need not be 0. "
                 "They must be 0 before they are added.",  # 116
        floor="The last rows are missing: the number of pieces was rounded down. A piece that is not full counts "
              "too.",  # 117
        wrong_axis="The sum runs along the wrong axis: over the channels, not over the rows. Both have BLOCK entries, "
                   "so nothing complained.",  # 118
        contiguous="It steps K from row to row and 1 from column to column. Use the strides: the tensors may be views "
                   "of larger ones.",  # 119
        strides_exchanged="The two strides are exchanged: `stride_m` leads to the next row.",
        float16_sum="`db` is off in its last digits where dy is float16: the sum itself must be float32.",  # 123
        zero_passes="Where y is exactly 0 something comes through. The ReLU is not counted as open there.",  # 56
        mask_of_dy="The gradient was put through a ReLU itself. Whether it passes depends on y, not on its own "
                   "sign.",  # 56
        times_y="dy is multiplied by y. The slope of a ReLU is 1 where y is positive, whatever its size.",
        dz_not_masked="`db` is right, but `dz` is just dy. The ReLU's gate belongs to both.",  # 54
        db_of_dy="`dz` is right, but `db` adds up dy. The bias stands before the ReLU: add up dz.",  # 56
        last_rows="`db` holds the last piece of rows only: it is replaced in each round, not added to.",  # 43
        mean="`db` is divided by the number of rows. Nothing is averaged here: if the loss is a mean, that is in dy "
             "already."),  # 41
    alternatives=[relu_bias_by_products, relu_bias_twice],
    hints=[
        "Which numbers does one program need for its BLOCK_K sums, and how many of them can it hold at a time?",
        dedent("""\
        M = 3, K = 2, pieces of 2 rows:

        ```
        dy      y       dz
        1   2   3  0    1  0   | first piece:  sums  1  0
        -3  4   1  0   -3  0   |              -> total -2  0
        5  -6   2  4    5 -6   | second piece: total  3 -6
        (masked row)    0  0   |
        ```"""),
        dedent("""\
        ```
        k     <- the BLOCK_K columns of this program
        total <- zeros (BLOCK_K,), float32
        for first in 0, BLOCK_M, 2·BLOCK_M … below M:
            m      <- the rows of this piece                     # (BLOCK_M,)
            inside <- row and column exist                       # (BLOCK_M, BLOCK_K)
            load dy and y at m·stride_m + k·stride_k, 0 outside
            passed <- dy where y > 0, else 0;  store it in dz
            total  <- total + sum of passed over the rows, in float32
        store total in db, where k < K
        ```"""),
        "dy and y are large, the sums are few. Whoever computes dz has the numbers at hand that the bias wants; a "
        "second kernel would have to fetch them from memory again.",
    ])


# ---------------------------------------------------------------------------- grad_weight

def grad_weight(dy, x, dw, M, H, W, C, K, P, Q, R, S, stride, padding, BLOCK_J, BLOCK_K, BLOCK_M):
    """Oracle: torch's own, in float64."""
    grad = torch.nn.grad.conv2d_weight(nchw(x), (K, C, R, S), nchw(dy), stride, padding)
    return grad.permute(2, 3, 1, 0).float()                               # (R, S, C, K)


@triton.jit
def grad_weight_slips(dy, x, dw, M, H, W, C, K, P, Q, R, S, stride, padding,
                      BLOCK_J: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_M: tl.constexpr, SLIP: tl.constexpr = ""):
    j = tl.program_id(0) * BLOCK_J + tl.arange(0, BLOCK_J)
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    r, s, c = j // (S * C), j // C % S, j % C
    if SLIP == "channels_first":
        c, r, s = j // (R * S), j // S % R, j % S
    if SLIP == "kernel_axes_exchanged":
        s, r, c = j // (R * C), j // C % R, j % C
    if SLIP == "rotated":
        r, s = R - 1 - r, S - 1 - s
    narrow = tl.float16 if SLIP == "float16_sum" else tl.float32
    total = tl.zeros((BLOCK_J, BLOCK_K), narrow)
    pixels, end = M, M
    if SLIP == "floor":
        end = M // BLOCK_M * BLOCK_M
    if SLIP == "first_image":
        end, pixels = P * Q, P * Q
    for first in range(0, end, BLOCK_M):
        m = first + tl.arange(0, BLOCK_M)
        n, p, q = m // (P * Q), m // Q % P, m % Q
        if SLIP == "batch_and_rows_exchanged":
            n, p = m // Q % (M // (P * Q)), m // (M // P)
        if SLIP == "p_and_q_exchanged":
            q, p = m // P % Q, m % P
        up, left = p * stride - padding, q * stride - padding
        if SLIP == "stride_ignored":
            up, left = p - padding, q - padding
        if SLIP == "padding_added":
            up, left = p * stride + padding, q * stride + padding
        if SLIP == "padding_ignored":
            up, left = p * stride, q * stride
        h, w = up[None, :] + r[:, None], left[None, :] + s[:, None]       # (BLOCK_J, BLOCK_M)
        here = (m < pixels)[None, :] & (j < R * S * C)[:, None]
        given = (k < K)[None, :] & (m < pixels)[:, None]
        if SLIP == "no_mask":
            here = (m >= 0)[None, :] & (j >= 0)[:, None]
            given = (k >= 0)[None, :] & (m >= 0)[:, None]
        inside = here & (h >= 0) & (h < H) & (w >= 0) & (w < W)
        if SLIP == "padding_not_masked":
            inside = here
        if SLIP == "right_border_not_masked":
            inside = here & (h >= 0) & (w >= 0) & (h < H)
        if SLIP == "no_other":
            a = tl.load(x + ((n[None, :] * H + h) * W + w) * C + c[:, None], inside)
            b = tl.load(dy + m[:, None] * K + k[None, :], given)
        else:
            a = tl.load(x + ((n[None, :] * H + h) * W + w) * C + c[:, None], inside, other=0.0)
            b = tl.load(dy + m[:, None] * K + k[None, :], given, other=0.0)
        product = tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
        total = product if SLIP == "last_pixels" else (total + product).to(narrow)
    if SLIP == "mean":
        total = total / (M // (P * Q))
    tl.store(dw + j[:, None] * K + k[None, :], total, (j < R * S * C)[:, None] & (k < K)[None, :])


@triton.jit
def grad_weight_transposed(dy, x, dw, M, H, W, C, K, P, Q, R, S, stride, padding,
                           BLOCK_J: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_M: tl.constexpr):
    columns = tl.program_id(0) * BLOCK_J + tl.arange(0, BLOCK_J)
    filters = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    c = columns % C
    s = (columns // C) % S
    r = columns // C // S
    exists = columns < R * S * C
    acc = tl.zeros((BLOCK_K, BLOCK_J), tl.float32)
    for i in range(tl.cdiv(M, BLOCK_M)):
        m = i * BLOCK_M + tl.arange(0, BLOCK_M)
        q = m % Q
        p = (m // Q) % P
        n = m // Q // P
        upstream = tl.load(dy + m[None, :] * K + filters[:, None], mask=(m < M)[None, :] & (filters < K)[:, None],
                           other=0)
        h = (p * stride)[:, None] + r[None, :] - padding
        w = (q * stride)[:, None] + s[None, :] - padding
        ok = exists[None, :] & (m < M)[:, None] & (h >= 0) & (h < H) & (w >= 0) & (w < W)
        pixels = tl.load(x + n[:, None] * H * W * C + h * W * C + w * C + c[None, :], mask=ok, other=0)
        acc = tl.dot(upstream, pixels, acc, input_precision="ieee")
    tl.store(dw + columns[None, :] * K + filters[:, None], acc, mask=exists[None, :] & (filters < K)[:, None])


@triton.jit
def grad_weight_by_sums(dy, x, dw, M, H, W, C, K, P, Q, R, S, stride, padding,
                        BLOCK_J: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_M: tl.constexpr):
    j = tl.program_id(0) * BLOCK_J + tl.arange(0, BLOCK_J)
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    r, s, c = j // (S * C), j % (S * C) // C, j % C
    total = tl.zeros((BLOCK_J, BLOCK_K), tl.float32)
    for first in range(0, M, BLOCK_M):
        m = first + tl.arange(0, BLOCK_M)
        h, w = (m // Q % P * stride - padding)[None, :] + r[:, None], (m % Q * stride - padding)[None, :] + s[:, None]
        met = (h >= 0) & (h < H) & (w >= 0) & (w < W) & (j < R * S * C)[:, None] & (m < M)[None, :]
        a = tl.load(x + (m // (P * Q))[None, :] * H * W * C + h * W * C + w * C + c[:, None], met, other=0.0)
        b = tl.load(dy + m[:, None] * K + k[None, :], (m < M)[:, None] & (k < K)[None, :], other=0.0)
        total += tl.sum(a.to(tl.float32)[:, :, None] * b.to(tl.float32)[None, :, :], axis=1)
    tl.store(dw + j[:, None] * K + k[None, :], total, (j < R * S * C)[:, None] & (k < K)[None, :])


def conv_sizes(N, H, W, C, K, R, S, stride, padding):
    """N and then H, W, C, K, P, Q, R, S, stride, padding: as the kernels take them."""
    P, Q = (H + 2 * padding - R) // stride + 1, (W + 2 * padding - S) // stride + 1
    return N, (H, W, C, K, P, Q, R, S, stride, padding)


def grad_weight_probe(seed, sizes, block=(8, 4, 8), dtype=np.float32, most=4, dy=None, x=None):
    """block: of columns, filters and pixels."""
    N, (H, W, C, K, P, Q, R, S, _, _) = N, sizes = conv_sizes(*sizes)
    dy = ints(seed, N, P, Q, K, most=most, dtype=dtype) if dy is None else dy
    x = ints(seed + 1, N, H, W, C, most=most, dtype=dtype) if x is None else x
    bj, bk, bm = block
    return call(dy, x, poison(R, S, C, K), N * P * Q, *sizes, BLOCK_J=bj, BLOCK_K=bk, BLOCK_M=bm,
                grid=(blocks(R * S * C, bj), blocks(K, bk)), written=(2,), device="cpu")


def random_sizes(rng):
    """Sizes for a convolution: different where they could be mixed up, a stride that need not fit."""
    R, S = [(2, 3), (3, 2), (1, 2), (3, 1), (2, 2)][some(rng, 0, 4)]
    stride, pad = some(rng, 1, 3), some(rng, 0, min(R, S) - 1)
    H, W = R + stride + some(rng, 0, 2), S + stride + some(rng, 1, 3)
    C, K = [(2, 3), (3, 2), (1, 5), (5, 1), (3, 5)][some(rng, 0, 4)]
    return some(rng, 1, 2), H, W, C, K, R, S, stride, pad


GRAD_WEIGHT = Exercise(
    id="grad_weight_kernel", points=4, forbidden=NOTHING,
    oracle=grad_weight,
    probes=[grad_weight_probe(20, (1, 2, 3, 1, 1, 1, 2, 1, 0), (2, 1, 4),
                              dy=np.float32([1, 0, 2, -1]).reshape(1, 2, 2, 1),
                              x=np.float32([1, 2, 3, 4, 0, 5]).reshape(1, 2, 3, 1)),
            grad_weight_probe(22, (2, 3, 6, 2, 3, 2, 3, 1, 0), (16, 4, 16)),
            grad_weight_probe(24, (2, 5, 6, 3, 5, 3, 2, 2, 1), (16, 8, 16)),
            grad_weight_probe(26, (1, 4, 5, 2, 2, 2, 2, 1, 1), (8, 2, 16), np.float16, 60)],
    random=lambda rng: grad_weight_probe(some(rng, 0, 1 << 30), random_sizes(rng), (32, 8, 16)),
    mistakes=mistakes_of(
        grad_weight_slips,
        no_mask="Lanes beyond the last pixel or the last column are not masked, and read after the end of the "  # 115
                "tensors.",
        padding_not_masked="Where the window lies in the padding there is no pixel, but one is read: that of another "
                           "row, or none at all. Mask h and w on both sides.",
        right_border_not_masked="At the right border the window reads on in the next row. Mask w from above, too.",
        no_other="Masked-out lanes hold anything if a load names no `other`, and the product adds them up.",  # 116
        floor="The last pixels are missing: the number of pieces was rounded down.",  # 117
        batch_and_rows_exchanged="Batch and row of a pixel are decoded in the wrong order. In memory come image, row, "
                                 "column: the column changes fastest, the image slowest.",  # 120
        p_and_q_exchanged="Row and column of a pixel are exchanged in its number m: the column changes fastest, there "
                          "are Q of them.",  # 120
        channels_first="The number j of a weight is decoded as (C, R, S). The weights lie as (R, S, C), "  # 28
                       "channels fastest.",
        kernel_axes_exchanged="r and s are exchanged in the number j of a weight: rows, then columns, then "
                              "channels.",  # 5
        rotated="The kernel comes out rotated by 180°. The gradient of weight (r, s) is that of the pixels it met, "
                "at p·stride − padding + r.",  # 46
        stride_ignored="The windows lie next to each other as if the stride were 1.",  # 49
        padding_added="The padding has the wrong sign: the first window begins `padding` rows *above* the image.",
        padding_ignored="The windows begin at the image's first pixel, as if there were no padding.",  # 53
        float16_sum="The sum is kept in float16, and small products are lost beside a large sum. Keep it in "
                    "float32.",  # 123
        last_pixels="Only the last piece of pixels is there: the product is stored, not added.",  # 43
        first_image="Only the first image counts. The sum runs over the pixels of the whole batch.",  # 39
        mean="It is divided by the number of images. If the loss is a mean, that is in dy already."),  # 40
    alternatives=[grad_weight_transposed, grad_weight_by_sums],
    hints=[
        "For one weight (k, r, s, c) and one output pixel (n, p, q): which value of dy and which pixel of x are "
        "multiplied?",
        dedent("""\
        K = C = 1, a kernel of 1×2, no padding, x of 2×3:

        ```
        x   1 2 3     dy   1  0      dw(0)= 1·1 + 0·2 + 2·4 − 1·0 = 9
            4 0 5          2 −1      dw(1)= 1·2 + 0·3 + 2·0 − 1·5 = −3

        m = 0 1 2 3          ->  p, q = 0,0  0,1  1,0  1,1
        pixels met by j = 0:  1 2 4 0     by j = 1:  2 3 0 5
        ```"""),
        dedent("""\
        ```
        j <- the weights' numbers of this tile, k <- its filters;   r, s, c <- j taken apart
        total <- zeros (BLOCK_J, BLOCK_K), float32
        for each piece of BLOCK_M pixels m, of M:
            n, p, q <- m taken apart
            h, w    <- p·stride − padding + r, q·stride − padding + s    # (BLOCK_J, BLOCK_M)
            a <- x at ((n·H + h)·W + w)·C + c, 0 outside                 # (BLOCK_J, BLOCK_M)
            b <- dy at m·K + k, 0 outside                                # (BLOCK_M, BLOCK_K)
            total <- total + tl.dot(a, b, input_precision="ieee")
        store total in dw at j·K + k
        ```"""),
        "A weight is used at every pixel of every image, and its gradient is the sum over all of them. So the long "
        "axis of the forward pass, the pixels, is now the one that is summed over, a piece of BLOCK_M at a time.",
    ])


# ---------------------------------------------------------------------------- partial_sums

def partial_sums(dy, x, part, M, C, K, share, BLOCK_C, BLOCK_K, BLOCK_M):
    """Oracle: the product of each share of the rows, in float64."""
    out = torch.zeros(part.shape, dtype=torch.float64)
    for z in range(len(part)):
        rows = slice(z * share, (z + 1) * share)
        out[z] = torch.einsum("mc,mk->ck", x[rows].double(), dy[rows].double())
    return out.float()


@triton.jit
def partial_slips(dy, x, part, M, C, K, share, BLOCK_C: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_M: tl.constexpr,
                  SLIP: tl.constexpr = ""):
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    z = tl.program_id(2)
    begin, end = z * share, tl.minimum(M, (z + 1) * share)
    if SLIP == "everything":
        begin, end = 0, M
    stop = end
    if SLIP == "no_last_share":
        stop, end = (z + 1) * share, (z + 1) * share
    if SLIP == "share_not_masked":
        end = M
    if SLIP == "floor":
        stop = begin + (end - begin) // BLOCK_M * BLOCK_M
    narrow = tl.float16 if SLIP == "float16_sum" else tl.float32
    total = tl.zeros((BLOCK_C, BLOCK_K), narrow)
    for first in range(begin, stop, BLOCK_M):
        m = first + tl.arange(0, BLOCK_M)
        rows = (m < end) & (m >= 0)
        if SLIP == "no_mask":
            rows = m >= 0
        if SLIP == "every_other":
            m = z + (m - begin) * tl.num_programs(2)
            rows = m < M
        if SLIP == "no_other":
            a = tl.load(x + m[None, :] * C + c[:, None], rows[None, :] & (c < C)[:, None])
            b = tl.load(dy + m[:, None] * K + k[None, :], rows[:, None] & (k < K)[None, :])
        else:
            a = tl.load(x + m[None, :] * C + c[:, None], rows[None, :] & (c < C)[:, None], other=0.0)
            b = tl.load(dy + m[:, None] * K + k[None, :], rows[:, None] & (k < K)[None, :], other=0.0)
        product = tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
        total = product if SLIP == "last_rows" else (total + product).to(narrow)
    there = part + (z * C + c[:, None]) * K + k[None, :]
    inside = (c < C)[:, None] & (k < K)[None, :]
    if SLIP == "one_place" or SLIP == "added_without_atomics" or SLIP == "atomics":
        there = part + c[:, None] * K + k[None, :]
    if SLIP == "transposed":
        there = part + z * K * C + k[None, :] * C + c[:, None]
    if SLIP == "split_last":
        there = part + (c[:, None] * K + k[None, :]) * tl.num_programs(2) + z
    if SLIP == "added_without_atomics":
        total += tl.load(there, inside, other=0.0)
    if SLIP == "atomics":
        tl.atomic_add(there, total, inside)
    elif SLIP == "empty_left_out":
        tl.store(there, total, inside & (begin < M))
    else:
        tl.store(there, total, inside)


@triton.jit
def partial_by_pieces(dy, x, part, M, C, K, share, BLOCK_C: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_M: tl.constexpr):
    c = (tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C))[None, :]
    k = (tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K))[None, :]
    z = tl.program_id(2)
    total = tl.zeros((BLOCK_C, BLOCK_K), tl.float32)
    for i in range(tl.cdiv(share, BLOCK_M)):
        within = i * BLOCK_M + tl.arange(0, BLOCK_M)
        m = z * share + within
        ok = (within < share) & (m < M)
        a = tl.load(x + m[:, None] * C + c, mask=ok[:, None] & (c < C), other=0.0)
        b = tl.load(dy + m[:, None] * K + k, mask=ok[:, None] & (k < K), other=0.0)
        total += tl.dot(tl.trans(a), b, input_precision="ieee")
    tl.store(part + z * K * C + tl.trans(c) * K + k, total, mask=(tl.trans(c) < C) & (k < K))


@triton.jit
def partial_by_rows(dy, x, part, M, C, K, share, BLOCK_C: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_M: tl.constexpr):
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    first = tl.program_id(2) * share
    total = tl.zeros((BLOCK_C, BLOCK_K), tl.float32)
    for m in range(first, tl.minimum(first + share, M)):
        a = tl.load(x + m * C + c, c < C, other=0.0).to(tl.float32)
        total += a[:, None] * tl.load(dy + m * K + k, k < K, other=0.0).to(tl.float32)[None, :]
    tl.store(part + tl.program_id(2) * K * C + c[:, None] * K + k[None, :], total, (c < C)[:, None] & (k < K)[None, :])


def partial_probe(dy, x, share, splits, block=(4, 4, 4)):
    """block: of channels, filters and rows."""
    (M, K), C, (bc, bk, bm) = dy.shape, x.shape[1], block
    return call(dy, x, poison(splits, C, K), M, C, K, share, BLOCK_C=bc, BLOCK_K=bk, BLOCK_M=bm,
                grid=(blocks(C, bc), blocks(K, bk), splits), written=(2,), device="cpu")


def random_partial(rng):
    M, (K, C), share, seed = some(rng, 6, 13), some(rng, 2, 6, 2), some(rng, 3, 6), some(rng, 0, 1 << 30)
    C += K == C
    return partial_probe(ints(seed, M, K), ints(seed + 1, M, C), share, blocks(M, share) + some(rng, 0, 1))


PARTIAL_SUMS = Exercise(
    id="partial_sums_kernel", points=3, forbidden=NOTHING,
    oracle=partial_sums,
    probes=[partial_probe(np.float32([[1], [2], [-1], [3], [1]]), np.float32([[2, 0], [1, 1], [3, 1], [0, 1], [5, -1]]),
                          3, 2, (2, 1, 2)),
            partial_probe(ints(30, 11, 3), ints(31, 11, 5), 6, 2),
            partial_probe(ints(32, 9, 5), ints(33, 9, 2), 5, 3),
            partial_probe(ints(34, 10, 2, most=60, dtype=np.float16), ints(35, 10, 3, most=60, dtype=np.float16), 5,
                          2)],
    random=random_partial,
    mistakes=mistakes_of(
        partial_slips,
        no_mask="The rows are not masked: the last piece reads after the end of the tensors, or rows of the next "
                "share.",  # 115
        share_not_masked="Rows beyond the end of a share are read, up to the last row of all. Where the share is no "
                         "multiple of BLOCK_M they count twice: here, and in the next share.",  # 115
        no_last_share="The last share ends with row M, even if it is shorter than the others.",  # 115
        no_other="Masked-out lanes hold anything if a load names no `other`, and the product adds them up.",  # 116
        floor="The last rows of each share are missing: the number of pieces was rounded down.",  # 117
        everything="Every program adds up all the rows, so each part is the whole sum. A program has rows z·share to "
                   "(z + 1)·share.",
        every_other="The rows are dealt out one by one, like cards. Their total is the same; but here a share is a run "
                    "of rows that follow each other.",
        one_place="All shares write their sums into the same place, and the last one wins. Part z begins at "
                  "z·C·K.",  # 121
        added_without_atomics="Each program reads what is there and adds its own. Programs run at the same time, so "
                              "two may read before either has written. Here each has a place of its own.",  # 121
        atomics="All programs add to part 0, on top of what was there before. Store each sum in its own part.",  # 121
        empty_left_out="A share without rows must still write: its sum is 0, and the second kernel will read it.",
        transposed="Each part is written as (K, C). It is (C, K), as the weights lie.",  # 47
        split_last="The parts lie interleaved, as (C, K, shares). Here the share is the first axis.",
        float16_sum="The sum is kept in float16. Keep it in float32, as the part is.",  # 123
        last_rows="Only the last piece of each share is there: the product is stored, not added."),  # 43
    alternatives=[partial_by_pieces, partial_by_rows],
    hints=[
        "Which rows belong to share z, the last one included, and how do you keep a piece of BLOCK_M rows from "
        "reaching into the next share?",
        dedent("""\
        M = 5 rows, shares of 3, pieces of 2:

        ```
        row      0  1 | 2  –     3  4 |
                 share 0         share 1
        pieces   [0,1] [2,×]     [3,4] [×,×]
        ```

        × is masked: row 3 belongs to share 1, and row 5 does not exist."""),
        dedent("""\
        ```
        c, k, z <- channels, filters and share of this program
        end     <- the smaller of M and (z + 1)·share
        total   <- zeros (BLOCK_C, BLOCK_K), float32
        for first in z·share, z·share + BLOCK_M, … below end:
            m <- rows of this piece; those below end count
            a <- x at m·C + c, transposed                       # (BLOCK_C, BLOCK_M)
            b <- dy at m·K + k                                  # (BLOCK_M, BLOCK_K)
            total <- total + a · b
        store total in part at (z·C + c)·K + k
        ```"""),
        "Programs cannot wait for each other, so nobody in this kernel may read what another one summed up. Each "
        "leaves its sum in a place of its own; when the kernel is over all of them are there, and the next kernel adds "
        "them, always in the same order.",
    ])


# ---------------------------------------------------------------------------- grad_input

def grad_input(dy, weight, dx, M, H, W, C, K, P, Q, R, S, stride, padding, BLOCK_M, BLOCK_C, BLOCK_K):
    """Oracle: torch's own, in float64."""
    weight = weight.double().permute(3, 2, 0, 1)                          # (K, C, R, S)
    grad = torch.nn.grad.conv2d_input((len(dy), C, H, W), weight, nchw(dy), stride, padding)
    return grad.permute(0, 2, 3, 1).to(dx.dtype)


@triton.jit
def grad_input_slips(dy, weight, dx, M, H, W, C, K, P, Q, R, S, stride, padding,
                     BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_K: tl.constexpr, SLIP: tl.constexpr = ""):
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    n, h, w = m // (H * W), m // W % H, m % W
    if SLIP == "batch_and_rows_exchanged":
        n, h = m // W % (M // (H * W)), m // (M // H)
    if SLIP == "h_and_w_exchanged":
        w, h = m // H % W, m % H
    narrow = tl.float16 if SLIP == "float16_sum" else tl.float32
    total = tl.zeros((BLOCK_M, BLOCK_C), narrow)
    exists = m < M
    if SLIP == "no_mask":
        exists = m >= 0
    for r in range(R):
        for s in range(S):
            up, left = h + padding - r, w + padding - s
            if SLIP == "rotated":
                up, left = h + padding - (R - 1 - r), w + padding - (S - 1 - s)
            if SLIP == "padding_subtracted":
                up, left = h - padding - r, w - padding - s
            if SLIP == "padding_ignored":
                up, left = h - r, w - s
            if SLIP == "as_forward":
                up, left = h - padding + r, w - padding + s
            if SLIP == "full_padding":
                up, left = h + (R - 1 - padding) - r, w + (S - 1 - padding) - s
            p, q = up // stride, left // stride
            fits = (p * stride == up) & (q * stride == left)
            if SLIP == "between_windows":
                fits = exists
            if SLIP == "rows_only":
                fits = p * stride == up
            if SLIP == "stride_ignored":
                p, q, fits = up, left, exists
            if SLIP == "stride_multiplied":
                p, q, fits = up * stride, left * stride, exists
            read = exists & (up >= 0) & (left >= 0) & (p < P) & (q < Q) & fits
            if SLIP == "negative_not_masked":
                read = exists & (p < P) & (q < Q) & fits
            if SLIP == "end_not_masked":
                read = exists & (up >= 0) & (left >= 0) & fits
            if SLIP == "bounds_of_x":
                read = exists & (up >= 0) & (left >= 0) & (p < H) & (q < W) & fits
            for first in range(0, BLOCK_K if SLIP == "first_filters" else K, BLOCK_K):
                k = first + tl.arange(0, BLOCK_K)
                from_dy = dy + ((n * P + p) * Q + q)[:, None] * K + k[None, :]
                from_weight = weight + ((r * S + s) * C + c[None, :]) * K + k[:, None]
                if SLIP == "weight_transposed":
                    from_weight = weight + ((r * S + s) * K + k[:, None]) * C + c[None, :]
                if SLIP == "no_other":
                    a = tl.load(from_dy, read[:, None] & (k < K)[None, :])
                    b = tl.load(from_weight, (k < K)[:, None] & (c < C)[None, :])
                else:
                    a = tl.load(from_dy, read[:, None] & (k < K)[None, :], other=0.0)
                    b = tl.load(from_weight, (k < K)[:, None] & (c < C)[None, :], other=0.0)
                product = tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
                total = product if SLIP == "overwritten" else (total + product).to(narrow)
    tl.store(dx + m[:, None] * C + c[None, :], total, exists[:, None] & (c < C)[None, :])


@triton.jit
def grad_input_stamped(dy, weight, dx, M, H, W, C, K, P, Q, R, S, stride, padding,
                       BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_K: tl.constexpr,
                       SLIP: tl.constexpr = ""):
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)                # a mistake: output pixels
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    n, p, q = m // (P * Q), m // Q % P, m % Q
    pixels = M // (H * W) * P * Q
    for r in range(R):
        for s in range(S):
            total = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
            for first in range(0, K, BLOCK_K):
                k = first + tl.arange(0, BLOCK_K)
                a = tl.load(dy + m[:, None] * K + k[None, :], (m < pixels)[:, None] & (k < K)[None, :], other=0.0)
                b = tl.load(weight + ((r * S + s) * C + c[None, :]) * K + k[:, None],
                            (k < K)[:, None] & (c < C)[None, :], other=0.0)
                total += tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
            h, w = p * stride - padding + r, q * stride - padding + s
            inside = (m < pixels) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
            there = dx + ((n * H + h) * W + w)[:, None] * C + c[None, :]
            if SLIP == "stamped":
                tl.atomic_add(there, total, inside[:, None] & (c < C)[None, :])
            else:
                tl.store(there, tl.load(there, inside[:, None] & (c < C)[None, :], other=0.0) + total,
                         inside[:, None] & (c < C)[None, :])


@triton.jit
def grad_input_by_windows(dy, weight, dx, M, H, W, C, K, P, Q, R, S, stride, padding,
                          BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_K: tl.constexpr):
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    w = m % W
    h = m // W % H
    image = m // W // H
    total = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    for i in range(R * S):
        r, s = i // S, i % S
        down, right = h - r + padding, w - s + padding
        ok = (down % stride == 0) & (right % stride == 0) & (down >= 0) & (right >= 0) & (m < M)
        ok = ok & (down // stride <= P - 1) & (right // stride <= Q - 1)
        at = image * P * Q * K + down // stride * Q * K + right // stride * K
        for part in range(tl.cdiv(K, BLOCK_K)):
            k = part * BLOCK_K + tl.arange(0, BLOCK_K)
            a = tl.load(dy + at[:, None] + k[None, :], mask=ok[:, None] & (k[None, :] < K), other=0)
            b = tl.load(weight + i * C * K + c[None, :] * K + k[:, None], mask=(k[:, None] < K) & (c[None, :] < C),
                        other=0)
            total = tl.dot(a, b, acc=total, input_precision="ieee")
    tl.store(dx + m[:, None] * C + c[None, :], total, mask=(m[:, None] < M) & (c[None, :] < C))


@triton.jit
def grad_input_by_sums(dy, weight, dx, M, H, W, C, K, P, Q, R, S, stride, padding,
                       BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_K: tl.constexpr):
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    n, h, w = m // (H * W), m % (H * W) // W, m % W
    total = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    for r in range(R):
        p = tl.where((h + padding - r >= 0) & ((h + padding - r) % stride == 0), (h + padding - r) // stride, P)
        for s in range(S):
            q = tl.where((w + padding - s >= 0) & ((w + padding - s) % stride == 0), (w + padding - s) // stride, Q)
            for k in range(K):
                sent = tl.load(dy + ((n * P + p) * Q + q) * K + k, (m < M) & (p < P) & (q < Q), other=0.0)
                share = tl.load(weight + ((r * S + s) * C + c) * K + k, c < C, other=0.0)
                total += sent.to(tl.float32)[:, None] * share.to(tl.float32)[None, :]
    tl.store(dx + m[:, None] * C + c[None, :], total, (m < M)[:, None] & (c < C)[None, :])


def grad_input_probe(seed, sizes, block=(8, 4, 4), dtype=np.float32, most=4, dy=None, weight=None):
    """block: of pixels, channels and filters."""
    N, (H, W, C, K, P, Q, R, S, _, _) = N, sizes = conv_sizes(*sizes)
    dy = ints(seed, N, P, Q, K, most=most, dtype=dtype) if dy is None else dy
    weight = ints(seed + 1, R, S, C, K, most=most, dtype=dtype) if weight is None else weight
    bm, bc, bk = block
    return call(dy, weight, poison(N, H, W, C), N * H * W, *sizes, BLOCK_M=bm, BLOCK_C=bc, BLOCK_K=bk,
                grid=(blocks(N * H * W, bm), blocks(C, bc)), written=(2,), device="cpu")


GRAD_INPUT = Exercise(
    id="grad_input_kernel", points=4, forbidden=NOTHING,
    oracle=grad_input,
    probes=[grad_input_probe(40, (1, 1, 6, 1, 1, 1, 3, 2, 0), (8, 1, 1), dy=np.float32([1, -2]).reshape(1, 1, 2, 1),
                             weight=np.float32([1, 2, 3]).reshape(1, 3, 1, 1)),
            grad_input_probe(42, (2, 4, 5, 3, 2, 2, 3, 1, 0), (32, 4, 2)),
            grad_input_probe(44, (2, 5, 4, 2, 5, 3, 2, 2, 1), (32, 2, 4)),
            grad_input_probe(46, (1, 3, 4, 2, 3, 2, 2, 1, 1), (16, 2, 4), np.float16, 60)],
    random=lambda rng: grad_input_probe(some(rng, 0, 1 << 30), random_sizes(rng), (32, 4, 8)),
    mistakes=[
        *mistakes_of(
            grad_input_slips,
            between_windows="With a stride, dividing is not enough: a pixel that lies between two windows for this (r, "
                            "s) gets the value of the window before it. Only where the division leaves no remainder "
                            "does anything come back.",  # 49
            rows_only="Rows between two windows are left out, columns are not. Both divisions must leave no "
                      "remainder.",  # 49
            stride_ignored="It looks for the output at h + padding − r, as if the stride were 1.",  # 49
            stride_multiplied="It multiplies by the stride. Forward goes from p to p·stride; backward has to divide.",
            negative_not_masked="Above and left of the first window there is no output. Triton's // rounds towards 0, "
                                "so ask before dividing: h + padding − r ≥ 0.",
            end_not_masked="Below and right of the last window there is no output: p < P and q < Q.",  # 115
            bounds_of_x="The outputs are compared with H and W. There are P rows of Q of them.",
            no_mask="Pixels beyond the last one are not masked: the tile hangs over the end.",  # 115
            no_other="Masked-out lanes hold anything if a load names no `other`, and the product adds them up.",  # 116
            rotated="The weights come from the wrong end: pixel h was met by weight r of the output at h + padding − "
                    "r. The kernel is not rotated once more.",  # 46
            padding_subtracted="The padding has the wrong sign: forward subtracts it, so backward adds it.",
            padding_ignored="The padding is missing: output p begins at p·stride − padding.",
            as_forward="That is the forward address, p·stride − padding + r with h in the place of p. Solve it for p.",
            full_padding="kernel − 1 − padding is the padding of the full convolution with a *rotated* kernel. Here r "
                         "counts upright, and the output is at h + padding − r.",  # 48
            batch_and_rows_exchanged="Batch and row of a pixel are decoded in the wrong order: the image changes "
                                     "slowest.",  # 120
            h_and_w_exchanged="Row and column of a pixel are exchanged in its number m: the column changes "
                              "fastest.",  # 120
            weight_transposed="The weights are read as (R, S, K, C). They lie as (R, S, C, K).",  # 47
            first_filters="Only the first BLOCK_K filters count. The sum runs over all K.",
            overwritten="The product replaces what was there. All (r, s) and all filters are added up.",  # 44
            float16_sum="The sum is kept in float16. Keep it in float32."),  # 123
        *mistakes_of(
            grad_input_stamped,
            stamped="Each output adds to the pixels of its window, on top of what `dx` held before. Let each "  # 121
                    "pixel gather: then it is written once, whatever was there, and nobody else writes to it.",
            stamped_without_atomics="Each output adds to the pixels of its window: it reads what is there and writes "
                                    "it back. Windows overlap, so lanes and programs do so at the same time. A barrier "
                                    "would not help between programs. Let each pixel gather."),  # 121, 122
    ],
    alternatives=[grad_input_by_windows, grad_input_by_sums],
    hints=[
        "Forward, output p meets with its weight r the pixel h = p·stride − padding + r. Pixel and r are given now: "
        "which p is it, and when is there none?",
        dedent("""\
        A row of 6 pixels, stride 2, weights 1 2 3, dy = 1 −2:

        ```
        pixel     0  1  2  3  4  5
        window 0  1  2  3
        window 1        1  2  3
        dx        1  2  3−2 −4 −6  0
        ```

        Pixel 2 with r = 0: p = 2/2 = 1; with r = 1: 1/2, none; with r = 2: p = 0."""),
        dedent("""\
        ```
        m <- the pixels of this tile; n, h, w <- m taken apart;   c <- its channels
        total <- zeros (BLOCK_M, BLOCK_C), float32
        for r in 0 … R−1, s in 0 … S−1:
            up, left <- h + padding − r, w + padding − s
            p, q     <- up // stride, left // stride
            read     <- m exists, up and left not negative, p < P, q < Q, nothing left over in either division
            for each piece of BLOCK_K filters k:
                a <- dy at ((n·P + p)·Q + q)·K + k, 0 where not read     # (BLOCK_M, BLOCK_K)
                b <- weight at ((r·S + s)·C + c)·K + k, transposed       # (BLOCK_K, BLOCK_C)
                total <- total + tl.dot(a, b, input_precision="ieee")
        store total in dx at m·C + c
        ```"""),
        "To hand out, an output writes to pixels that other outputs write to as well: a race. To gather, a pixel reads "
        "what others read too, which does no harm, and writes only itself.",
    ])


# ---------------------------------------------------------------------------- max_pool_backward

def max_pool_backward(dy, winner, dx, n, H, W, P, Q, size, stride, BLOCK):
    """Oracle: handed out in NumPy, one window after the other."""
    out = np.zeros(tuple(dx.shape), np.float64)
    for i, p, q in np.ndindex(*dy.shape):
        r, s = divmod(int(winner[i, p, q]), size)
        out[i, p * stride + r, q * stride + s] += float(dy[i, p, q])
    return out.astype(np.float32)


@triton.jit
def max_pool_slips(dy, winner, dx, n, H, W, P, Q, size, stride, BLOCK: tl.constexpr, SLIP: tl.constexpr = ""):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    plane, h, w = i // (H * W), i // W % H, i % W
    if SLIP == "h_and_w_exchanged":
        w, h = i // H % W, i % H
    if SLIP == "first_plane":
        plane = plane * 0
    exists = i < n
    if SLIP == "no_mask":
        exists = i >= 0
    step = size if SLIP == "stride_is_size" else stride
    total = tl.zeros((BLOCK,), tl.float32)
    for r in range(size):
        for s in range(size):
            up, left = h - r, w - s
            p, q = up // step, left // step
            fits = (p * step == up) & (q * step == left)
            if SLIP == "between_windows":
                fits = exists
            read = exists & (up >= 0) & (left >= 0) & (p < P) & (q < Q) & fits
            if SLIP == "negative_not_masked":
                read = exists & (p < P) & (q < Q) & fits
            if SLIP == "end_not_masked":
                read = exists & (up >= 0) & (left >= 0) & fits
            there = (plane * P + p) * Q + q
            if SLIP == "no_other":
                won, sent = tl.load(winner + there, read), tl.load(dy + there, read)
            else:
                won, sent = tl.load(winner + there, read, other=-1), tl.load(dy + there, read, other=0.0)
            place = r * size + s
            if SLIP == "columns_first":
                place = s * size + r
            if SLIP == "absolute":
                place = h * W + w
            if SLIP == "rotated":
                place = size * size - 1 - place
            if SLIP == "everybody":
                total += sent
            elif SLIP == "average":
                total += sent / (size * size)
            elif SLIP == "last_window":
                total = tl.where(won == place, sent, total)
            elif SLIP == "counted":
                total += tl.where(won == place, 1.0, 0.0)
            elif SLIP == "no_other":
                total += sent * (won == place)
            else:
                total += tl.where(won == place, sent, 0.0)
    tl.store(dx + i, total, exists)


@triton.jit
def max_pool_one_window(dy, winner, dx, n, H, W, P, Q, size, stride, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)                    # a mistake: the last window only
    plane, h, w = i // (H * W), i // W % H, i % W
    p, q = tl.minimum(h // stride, P - 1), tl.minimum(w // stride, Q - 1)
    r, s = h - p * stride, w - q * stride
    read = (i < n) & (r < size) & (s < size)
    won = tl.load(winner + (plane * P + p) * Q + q, read, other=-1)
    sent = tl.load(dy + (plane * P + p) * Q + q, read, other=0.0)
    tl.store(dx + i, tl.where(won == r * size + s, sent, 0.0), i < n)


@triton.jit
def max_pool_handed_out(dy, winner, dx, n, H, W, P, Q, size, stride, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)                    # a mistake: windows, without atomics
    plane, p, q = i // (P * Q), i // Q % P, i % Q
    read = plane < n // (H * W)
    won = tl.load(winner + i, read, other=0)
    there = dx + (plane * H + p * stride + won // size) * W + q * stride + won % size
    tl.atomic_add(there, tl.load(dy + i, read, other=0.0), read)


@triton.jit
def max_pool_by_windows(dy, winner, dx, n, H, W, P, Q, size, stride, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    w = i % W
    h = i // W % H
    plane = i // (H * W)
    total = tl.zeros((BLOCK,), tl.float32)
    for place in range(size * size):
        up, left = h - place // size, w - place % size
        ok = (i < n) & (up % stride == 0) & (left % stride == 0) & (up >= 0) & (left >= 0)
        ok = ok & (up // stride < P) & (left // stride < Q)
        there = plane * P * Q + up // stride * Q + left // stride
        ok = ok & (tl.load(winner + there, mask=ok, other=-1) == place)
        total += tl.load(dy + there, mask=ok, other=0.0)
    tl.store(dx + i, total, mask=i < n)


@triton.jit
def max_pool_by_outputs(dy, winner, dx, n, H, W, P, Q, size, stride, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    plane, h, w = i // W // H, i // W % H, i % W
    total = tl.zeros((BLOCK,), tl.float32)
    for p in range(P):
        for q in range(Q):
            there = (plane * P + p) * Q + q
            won = tl.load(winner + there, i < n, other=0)
            mine = (p * stride + won // size == h) & (q * stride + won % size == w)
            total += tl.where(mine & (i < n), tl.load(dy + there, i < n, other=0.0), 0.0)
    tl.store(dx + i, total, i < n)


def max_pool_probe(x, size, stride, dy=None, block=16, seed=0):
    """x (planes, H, W) says who wins; of equal ones the first."""
    y, at = F.max_pool2d(torch.from_numpy(x)[:, None], size, stride, return_indices=True)
    planes, _, P, Q = y.shape
    (_, H, W), at = x.shape, at.numpy()[:, 0]
    winner = (at // W - stride * np.arange(P)[:, None]) * size + at % W - stride * np.arange(Q)
    dy = ints(seed, planes, P, Q) if dy is None else dy
    return call(dy, winner.astype(np.int32), poison(planes, H, W), x.size, H, W, P, Q, size, stride, BLOCK=block,
                grid=(blocks(x.size, block),), written=(2,), device="cpu")


def random_max_pool(rng):
    size, stride = [(2, 1), (3, 2), (2, 2), (3, 1), (2, 3)][some(rng, 0, 4)]
    H, W, seed = size + some(rng, 1, 3), size + stride + some(rng, 1, 3), some(rng, 0, 1 << 30)
    return max_pool_probe(ints(seed, some(rng, 1, 3), H, W, most=9), size, stride, block=64, seed=seed + 1)


MAX_POOL_BACKWARD = Exercise(
    id="max_pool_backward_kernel", points=3, forbidden=NOTHING,
    oracle=max_pool_backward,
    probes=[max_pool_probe(np.float32([[[1, 5, 2], [0, 3, 4]]]), 2, 1, np.float32([[[2, 3]]]), 8),
            max_pool_probe(ints(50, 2, 5, 7, most=9), 3, 2, block=32, seed=51),
            max_pool_probe(ints(52, 3, 4, 6, most=9), 2, 3, block=64, seed=53),
            max_pool_probe(ints(54, 1, 5, 6, most=9), 3, 1, seed=55)],
    random=random_max_pool,
    mistakes=[
        *mistakes_of(
            max_pool_slips,
            absolute="The winner is compared with the pixel's place in the image. It is a place in the window: r·size "
                     "+ s.",  # 67
            columns_first="The place in the window is counted by columns: it is r·size + s.",  # 5
            rotated="The window is walked from its other end: the pixel in row r of the window at h − r is row r of "
                    "it, not row size − 1 − r.",  # 46
            everybody="Every pixel of a window gets its gradient. Only the one that won does.",  # 66
            average="That is average pooling. The whole gradient goes to the one that won.",
            last_window="A pixel that wins in several windows gets only one of their gradients. They add up.",  # 65
            counted="It counts how often a pixel has won. Add the windows' gradients.",  # 54
            between_windows="With a stride, dividing is not enough: for this (r, s) a pixel may lie between two "
                            "windows. Only where nothing is left over is there a window.",  # 49
            stride_is_size="The windows are taken to lie side by side. Their distance is `stride`.",  # 62
            negative_not_masked="Above and left of the first window there is none. Triton's // rounds towards 0, so "
                                "ask before dividing.",
            end_not_masked="Below and right of the last window there is none: p < P and q < Q.",  # 115
            no_mask="Pixels beyond the last one are not masked.",  # 115
            no_other="Masked-out lanes hold anything if a load names no `other`.",  # 116
            h_and_w_exchanged="Row and column of a pixel are exchanged in its number.",  # 120
            first_plane="All planes get the gradients of the first one."),  # 39
        Mistake("one_window", "Each pixel looks at one window only. Where windows overlap, several hold it.",  # 65
                max_pool_one_window),
        Mistake("handed_out", "Each window adds to its winner, on top of what `dx` held before. Let each pixel gather: "
                "then it is written once, and those that never won are 0.",  # 121
                max_pool_handed_out),
    ],
    alternatives=[max_pool_by_windows, max_pool_by_outputs],
    hints=[
        "In which windows can a pixel have won? It is the same question as for the gradient of a convolution's input.",
        dedent("""\
        Windows of 2×2 at stride 1 on 2×3 pixels: two windows, and the 5 wins in both.

        ```
        x  1 5 2     winner  1 0     dy  2 3     dx  0 5 0
           0 3 4                                     0 0 0
        ```

        Pixel (0, 1): in window 0 it is place 1, and 1 won: + 2. In window 1 it is place 0, and 0 won: + 3."""),
        dedent("""\
        ```
        i <- the pixels of this program;  plane, h, w <- i taken apart
        total <- zeros (BLOCK,), float32
        for r in 0 … size−1, s in 0 … size−1:
            up, left <- h − r, w − s;   p, q <- over the stride
            read  <- i exists, and window (p, q) does too, with nothing left over
            won   <- winner at (plane·P + p)·Q + q, −1 where not read
            sent  <- dy there, 0 where not read
            total <- total + sent where won = r·size + s
        store total
        ```"""),
        "Two windows may have the same winner, and then two programs that hand out would add to the same pixel at the "
        "same time. A pixel that gathers looks at all its windows itself, in a fixed order.",
    ])


# ---------------------------------------------------------------------------- conv_function

class Operations:
    """What the notebook gives: a convolution and its gradients by torch, which keep a list of what was run."""

    def __init__(self):
        self.ran = []

    def forward(self, x, weight, bias, stride, padding):
        self.ran.append("forward")
        return F.conv2d(x, weight, bias, stride, padding)

    def grad_input(self, dy, weight, size, stride, padding):
        self.ran.append("grad_input")
        return torch.nn.grad.conv2d_input((len(dy), weight.shape[1], *size), weight, dy, stride, padding)

    def grad_weight(self, dy, x, kernel_size, stride, padding):
        self.ran.append("grad_weight")
        return torch.nn.grad.conv2d_weight(x, (dy.shape[1], x.shape[1], *kernel_size), dy, stride, padding)


class HandLayer(nn.Module):
    """What the notebook gives: a layer's weights, and how a check tries it."""

    def __init__(self, c_in, c_out, kernel_size, stride=1, padding=0, ops=None):
        super().__init__()
        layer = nn.Conv2d(c_in, c_out, kernel_size)
        self.weight, self.bias = layer.weight, layer.bias
        self.settings, self.ops = (stride, padding), ops or Operations()

    def forward(self, x):
        return self.convolve(x, self.weight, self.bias, *self.settings, self.ops)

    def gradients(self, x, dy):
        inputs = x.clone().requires_grad_(), self.weight, self.bias
        grads = torch.autograd.grad((self(inputs[0]) * dy).sum(), inputs, allow_unused=True)
        return tuple("nothing" if g is None else g for g in grads)

    def runs(self, x, dy, wanted):
        x = x.clone().requires_grad_("x" in wanted.split())
        self.weight.requires_grad_("weight" in wanted.split())
        self.bias.requires_grad_("bias" in wanted.split())
        total = (self(x) * dy).sum()
        self.ops.ran.clear()
        total.backward()
        return " and ".join(sorted(self.ops.ran)) or "nothing"

    def changed_in_between(self, x, dy):
        self.weight.requires_grad_()
        x = x.clone()
        total = (self(x) * dy).sum()
        x.add_(1)
        try:
            total.backward()
        except RuntimeError:
            return "refused"
        return "gradients of another x"


class ConvOracle(HandLayer):
    """Oracle: autograd's own convolution; what a backward pass has to run is known."""

    def convolve(self, x, weight, bias, stride, padding, ops):
        return F.conv2d(x, weight, bias, stride, padding)

    def runs(self, x, dy, wanted):
        return " and ".join(name for name, of in (("grad_input", "x"), ("grad_weight", "weight"))
                            if of in wanted.split()) or "nothing"


def layer_of(forward, backward):
    """A layer like the student's, made of these two static methods."""
    function = type("Convolve", (Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})
    return type("HandConv2d", (HandLayer,), {"convolve": staticmethod(function.apply)})


def _convolve(keep=None, settings=lambda given: given, bias=lambda b: b):
    """Forward, with another way to keep, or another bias."""
    def forward(ctx, x, weight, b, stride, padding, ops):
        if keep is None:
            ctx.save_for_backward(x, weight)
        else:
            keep(ctx, x, weight)
        ctx.settings, ctx.ops = (stride, padding), ops
        return ops.forward(x, weight, bias(b), stride, padding)

    return forward


def _back(dx=True, dw=True, db=lambda dy: dy.sum((0, 2, 3)), upstream=lambda dy: dy, need=lambda need: need,
          scale=lambda grad, dy: grad, x_of=lambda x: x):
    """Backward, with one thing otherwise."""
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors or (ctx.x, ctx.weight)
        dy, wanted = upstream(dy), need(ctx.needs_input_grad)
        given = ctx.ops.grad_input(dy, weight, x.shape[2:], *ctx.settings) if wanted[0] else None
        learned = scale(ctx.ops.grad_weight(dy, x_of(x), weight.shape[2:], *ctx.settings), dy) if wanted[1] else None
        return (given if dx else None, learned if dw else None, db(dy) if db and wanted[2] else None, None, None, None)

    return backward


def _as_attributes(ctx, x, weight):
    ctx.x, ctx.weight = x, weight


def _everything(need):
    return True, True, True


def forward_by_tuple(ctx, *given):
    x, weight, bias, *ctx.rest = given
    ctx.save_for_backward(weight, x, bias)
    return ctx.rest[-1].forward(x, weight, bias, *ctx.rest[:2])


def backward_by_list(ctx, dy):
    weight, x, bias = ctx.saved_tensors
    stride, padding, ops = ctx.rest
    grads = [None] * 6
    if ctx.needs_input_grad[0]:
        grads[0] = ops.grad_input(dy, weight, tuple(x.shape[-2:]), stride, padding)
    if ctx.needs_input_grad[1]:
        grads[1] = ops.grad_weight(dy, x, tuple(weight.shape[-2:]), stride, padding)
    if ctx.needs_input_grad[2]:
        grads[2] = torch.einsum("nkpq->k", dy)
    return tuple(grads)


def conv_function_probe(seed, sizes, N, H, W):
    c_in, c_out, (R, S), stride, padding = sizes
    P, Q = (H + 2 * padding - R) // stride + 1, (W + 2 * padding - S) // stride + 1

    def x(i):
        return ints(seed + i, N, c_in, H, W, dtype=float)

    def dy(i):
        return ints(seed + i, N, c_out, P, Q, dtype=float)

    return call(*sizes, steps=[
        ("set_weights", {"seed": seed}), ("forward", {"x": x(0)}), ("gradients", {"x1": x(1), "dy1": dy(2)}),
        ("runs", {"x2": x(3), "dy2": dy(4), "wanted": "weight bias"}),
        ("runs", {"x3": x(3), "dy3": dy(4), "wanted3": "x"}),
        ("changed_in_between", {"x4": x(5), "dy4": dy(6)})], device="cpu")


def random_conv_function(rng):
    N, H, W, C, K, R, S, stride, pad = random_sizes(rng)
    return conv_function_probe(some(rng, 0, 1 << 30), (C, K, (R, S), stride, pad), N + 1, H, W)


CONV_FUNCTION = Exercise(
    id="conv_function", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=ConvOracle,
    probes=[conv_function_probe(60, (1, 2, (1, 2), 1, 0), 2, 2, 3),
            conv_function_probe(70, (2, 3, (3, 2), 2, 1), 2, 5, 6)],
    random=random_conv_function,
    mistakes=[
        Mistake("kept_as_attributes", "All gradients are right, but when x is changed between forward and backward "
                "nobody notices. `ctx.save_for_backward(x, …)` watches over x; nothing watches an attribute of ctx, or "
                "a copy.",
                layer_of(_convolve(_as_attributes), _back())),
        Mistake("needs_ignored", "It computes gradients that nobody wants. The first layer of a network need not know "
                "the gradient of the images: `ctx.needs_input_grad` says for each argument of forward whether one is "
                "wanted.",
                layer_of(_convolve(), _back(need=_everything))),
        Mistake("needs_exchanged", "It asks for the wrong entries of `ctx.needs_input_grad`: they come in the order of "
                "forward's arguments after ctx, so x, weight, bias.",
                layer_of(_convolve(), _back(need=lambda need: (need[1], need[0], need[2])))),
        Mistake("needs_one_for_all", "Whether x wants a gradient decides for the weights too. Each argument has an "
                "entry of its own in `ctx.needs_input_grad`.",
                layer_of(_convolve(), _back(need=lambda need: (need[0],) * 3))),
        Mistake("no_bias_gradient", "The bias gets no gradient: it would never learn.",
                layer_of(_convolve(), _back(db=None))),
        Mistake("no_weight_gradient", "The weights get no gradient.", layer_of(_convolve(), _back(dw=False))),
        Mistake("no_input_gradient", "x gets no gradient: the layers before would never learn.",
                layer_of(_convolve(), _back(dx=False))),
        Mistake("bias_averaged", "The gradient of the bias is divided by how many values were added up. Nothing is "
                "averaged here.",  # 41
                layer_of(_convolve(), _back(db=lambda dy: dy.mean((0, 2, 3))))),
        Mistake("bias_of_first_image", "The gradient of the bias sums over the pixels of the first image only.",  # 39
                layer_of(_convolve(), _back(db=lambda dy: dy[0].sum((1, 2))))),
        Mistake("weight_averaged", "The gradient of the weights is divided by the number of images.",  # 40
                layer_of(_convolve(), _back(scale=lambda grad, dy: grad / len(dy)))),
        Mistake("upstream_is_one", "The gradients are those for a dy of ones: what comes from above is not used.",  # 54
                layer_of(_convolve(), _back(upstream=torch.ones_like))),
        Mistake("forward_without_bias", "The bias is not added in forward.",
                layer_of(_convolve(bias=lambda b: None), _back())),
        Mistake("upstream_rectified", "Negative values of dy are lost: there is no ReLU in this layer.",  # 56
                layer_of(_convolve(), _back(upstream=torch.relu))),
    ],
    alternatives=[layer_of(_convolve(), _back()), layer_of(forward_by_tuple, backward_by_list)],
    hints=[
        "Which tensors does backward need, and which plain numbers? How many values must it return, and which of them "
        "can have a gradient at all?",
        dedent("""\
        ```
        forward(ctx,  x,   weight, bias, stride, padding, ops)
        backward  ->  dx,  dw,     db,   None,   None,    None
        needs         [0]  [1]     [2]   (never True for what is no tensor)
        ```"""),
        dedent("""\
        ```
        forward:   save x and weight with ctx.save_for_backward; keep stride, padding and ops as attributes of ctx
                   return ops.forward(…)

        backward:  x, weight <- ctx.saved_tensors
                   dx <- ops.grad_input(dy, weight, x's last two sizes, …)        if needed, else None
                   dw <- ops.grad_weight(dy, x, weight's last two sizes, …)       if needed, else None
                   db <- dy summed over images, rows and columns: (K,)            if needed, else None
                   return one for each argument of forward after ctx
        ```"""),
        "Autograd knows nothing of your kernels. It hands `backward` what came from above and takes what it returns, "
        "argument by argument, so order and number are the whole contract.",
    ])


# ---------------------------------------------------------------------------- loss_scale_step

def loss_scale_step(weights, grads, scale, good, lr, patience):
    """Oracle: in NumPy, float64."""
    w, g = weights.numpy().astype(float), grads.numpy().astype(float)
    if not np.isfinite(g).all():
        return weights.numpy(), scale / 2, 0
    new = (w - lr * g / scale).astype(np.float32)
    return (new, scale * 2, 0) if good + 1 == patience else (new, scale, good + 1)


def scale_by_where(weights, grads, scale, good, lr, patience):
    finite = bool(torch.isfinite(grads).all())
    step = grads.float() / scale if finite else torch.zeros_like(weights)
    good = good + 1 if finite else 0
    if not finite:
        scale = scale * 0.5
    if good >= patience:
        scale, good = scale * 2.0, 0
    return weights - lr * step, scale, good


def scale_by_sum(weights, grads, scale, good, lr, patience):
    if any(not math.isfinite(g) for g in grads.tolist()):
        return weights.clone(), scale / 2, 0
    weights = torch.add(weights, grads.to(weights.dtype), alpha=-lr / scale)
    good = (good + 1) % patience
    return [weights, scale * (1 if good else 2), good]


def _scaled(bad=lambda g: not g.isfinite().all(), unscaled=lambda g, s: g.float() / s, skipped=None, after_bad=None,
            grown=lambda good, patience: good == patience, reset=True, factor=2, early=False):
    """A mistake: another test, another step, another rule for the scale."""
    def step(weights, grads, scale, good, lr, patience):
        if bad(grads):
            new, counted = (scale / 2, 0) if after_bad is None else after_bad(scale, good)
            return weights.clone() if skipped is None else skipped(weights, grads, scale, lr), float(new), counted
        good += 1
        larger = scale * factor if grown(good, patience) else scale
        new = weights - lr * unscaled(grads, larger if early else scale)
        return new.float(), float(larger), 0 if reset and grown(good, patience) else good

    return step


def _only_finite(weights, grads, scale, lr):
    return weights - lr * grads.float().nan_to_num(0, 0, 0) / scale


def _in_place(weights, grads, scale, good, lr, patience):
    if not grads.isfinite().all():
        return weights, scale / 2, 0
    weights -= lr * grads.float() / scale
    return (weights, scale * 2, 0) if good + 1 == patience else (weights, scale, good + 1)


def scale_probe(weights, grads, scale, good, lr, patience):
    return call(np.float32(weights), np.float16(grads), scale, good, lr, patience, device="cpu")


def random_scale(rng):
    n, patience = some(rng, 3, 6), some(rng, 2, 5)
    grads, scale = ints(some(rng, 0, 1 << 30), n, most=40), 2.0 ** some(rng, 4, 10)
    if some(rng, 0, 2) == 0:
        grads[some(rng, 0, n - 1)] = [np.inf, -np.inf, np.nan][some(rng, 0, 2)]
    return scale_probe(ints(some(rng, 0, 1 << 30), n), grads, scale, some(rng, 0, patience - 1),
                       2.0 ** some(rng, -2, 2), patience)


LOSS_SCALE_STEP = Exercise(
    id="loss_scale_step", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=loss_scale_step,
    probes=[scale_probe([1, 2], [512, -256], 256.0, 2, 0.5, 5),
            scale_probe([2049, -1, 2], [8, 16, -24], 8.0, 3, 0.25, 4),
            scale_probe([1, 2, -3], [64, -np.inf, 32], 64.0, 2, 0.5, 3),
            scale_probe([4, -2, 1, 5], [16, 0, np.nan, 48], 16.0, 1, 0.5, 3),
            scale_probe([10, -5, 30], [40000, 50000, -9984], 16384.0, 0, 2.0, 3),
            scale_probe([3, 1, -2], [3 * 2.0**-24, -(2.0**-24), 2.0**-22], 65536.0, 0, 2.0**40, 3)],
    random=random_scale,
    mistakes=[
        Mistake("not_unscaled", "The step is taken with the gradients as they come. They are those of scale times the "
                "loss: divide.",
                _scaled(unscaled=lambda g, s: g.float())),
        Mistake("scaled_again", "The gradients are multiplied by the scale once more. They are too large by this "
                "factor already.",
                _scaled(unscaled=lambda g, s: g.float() * s)),
        Mistake("unscaled_in_float16", "The division is done in float16, and small gradients become 0: the very thing "
                "that the scale was for. Make them float32 first.",  # 123
                _scaled(unscaled=lambda g, s: (g / s).float())),
        Mistake("weights_in_float16", "The new weights have been through float16. The master weights are float32 "
                "throughout.",
                lambda *given: (_scaled()(*given)[0].half().add(0).float() if given[1].isfinite().all() else given[0],
                                *_scaled()(*given)[1:])),
        Mistake("nan_not_seen", "A NaN among the gradients is not noticed, and goes into the weights. Only finite "
                "numbers will do.",
                _scaled(bad=lambda g: bool(g.isinf().any()))),
        Mistake("inf_not_seen", "An infinite gradient is not noticed, and goes into the weights. Only finite numbers "
                "will do.",
                _scaled(bad=lambda g: bool(g.isnan().any()))),
        Mistake("never_skipped", "The step is taken although a gradient is infinite or NaN. These weights are lost.",
                _scaled(skipped=lambda w, g, s, lr: w - lr * g.float() / s)),
        Mistake("mended", "The bad gradients are replaced by 0 and the step is taken. If one has overflown the others "
                "are not to be trusted either: leave all weights as they are.",
                _scaled(skipped=_only_finite)),
        Mistake("not_halved", "After an overflow the scale stays. The next step would overflow again: halve it.",
                _scaled(after_bad=lambda scale, good: (scale, 0))),
        Mistake("halved_to_one", "After an overflow the scale begins anew at 1. Halve it: often that is enough.",
                _scaled(after_bad=lambda scale, good: (1, 0))),
        Mistake("good_kept", "After an overflow the count of good steps goes on. It begins at 0 again.",
                _scaled(after_bad=lambda scale, good: (scale / 2, good))),
        Mistake("bad_counted", "The skipped step is counted as a good one.",
                _scaled(after_bad=lambda scale, good: (scale / 2, good + 1))),
        Mistake("never_grown", "The scale does not grow. When `patience` good steps have been made in a row, this one "
                "counted, it doubles.",
                _scaled(grown=lambda good, patience: False)),
        Mistake("count_not_reset", "After the scale has grown the count goes on. It begins at 0 again.",
                _scaled(reset=False)),
        Mistake("grown_first", "The gradients are divided by the new scale. They were computed with the old one.",
                _scaled(early=True)),
        Mistake("changed_in_place", "The weights that it was given have changed. Return new ones.", _in_place),  # 32
    ],
    alternatives=[scale_by_where, scale_by_sum],
    hints=[
        "The gradients come from scale · loss. What are the gradients of the loss, and in which dtype must the "
        "division be done?",
        dedent("""\
        scale 256, lr 0.5, patience 5, two good steps so far:

        ```
        weights 1 2   grads 512 −256   ->  gradients of the loss 2 −1
                                           weights 0 2.5, scale 256, 3 good steps
        weights 1 2   grads inf −256   ->  weights 1 2,   scale 128, 0
        ```"""),
        dedent("""\
        ```
        if any gradient is not finite:
            return weights, scale / 2, 0
        new  <- weights − lr · (grads in float32) / scale
        good <- good + 1
        if good = patience:  return new, 2 · scale, 0
        return new, scale, good
        ```"""),
        "The largest scale that does not overflow is the best one, and it changes during training. So one tries: "
        "upwards now and then, and downwards when it was too much. A skipped step costs nothing but time.",
    ])


# ---------------------------------------------------------------------------- learning_rate

def learning_rate(step, steps, warmup, batch_size):
    """Oracle: half a cosine as the real part of a turning number.

    Of float32, as a cosine of torch's is: the tolerance is that of float32 then, also for a float.
    """
    peak = 0.1 * (batch_size / 256)
    if step < warmup:
        return np.array(peak * (step + 1) / warmup, np.float32)
    turned = np.exp(1j * np.pi * (step - warmup) / (steps - warmup))
    return np.array(peak * (turned.real + 1) / 2, np.float32)


def rate_by_sine(step, steps, warmup, batch_size):
    peak = batch_size / 2560
    if step < warmup:
        return (step + 1) * peak / warmup
    return peak * math.sin(math.pi / 2 * (steps - step) / (steps - warmup)) ** 2


def rate_by_array(step, steps, warmup, batch_size):
    up = np.arange(1, warmup + 1) / max(warmup, 1)
    down = 0.5 + 0.5 * np.cos(np.linspace(0, np.pi, steps - warmup + 1))
    return 0.1 * batch_size / 256 * np.concatenate([up, down])[step]


def _rate(peak=lambda b: 0.1 * b / 256, up=lambda t, w: (t + 1) / w, down=None):
    """A mistake: another peak, another way up or down."""
    def rate(step, steps, warmup, batch_size):
        if step < warmup:
            return peak(batch_size) * up(step, warmup)
        part = (step - warmup) / (steps - warmup) if down is None else down(step, steps, warmup)
        return peak(batch_size) * (1 + math.cos(math.pi * part)) / 2

    return rate


def _rate_linear(step, steps, warmup, batch_size):
    peak = 0.1 * batch_size / 256
    return peak * (step + 1) / warmup if step < warmup else peak * (steps - step) / (steps - warmup)


def _rate_constant(step, steps, warmup, batch_size):
    return 0.1 * batch_size / 256 * min(1, (step + 1) / max(warmup, 1))


def _rate_both(step, steps, warmup, batch_size):
    up = (step + 1) / warmup if step < warmup else 1
    return 0.1 * batch_size / 256 * up * (1 + math.cos(math.pi * step / steps)) / 2


def _rate_from_base(step, steps, warmup, batch_size):
    peak = 0.1 * batch_size / 256
    return 0.1 + (peak - 0.1) * (step + 1) / warmup if step < warmup else _rate()(step, steps, warmup, batch_size)


def random_rate(rng):
    warmup = some(rng, 0, 12)
    steps = warmup + some(rng, 5, 60)
    return call(some(rng, 0, steps - 1), steps, warmup, 2 ** some(rng, 6, 12))


LEARNING_RATE = Exercise(
    id="learning_rate", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=learning_rate,
    probes=[call(0, 14, 4, 512), call(3, 14, 4, 512), call(9, 14, 4, 512), call(13, 90, 10, 1024), call(5, 12, 0, 64)],
    random=random_rate,
    mistakes=[
        Mistake("not_scaled", "The batch size makes no difference. The peak is 0.1 for 256 images, and in proportion "
                "for others.",
                _rate(peak=lambda b: 0.1)),
        Mistake("by_the_root", "The peak grows with the root of the batch size. Here it grows in proportion.",
                _rate(peak=lambda b: 0.1 * (b / 256) ** 0.5)),
        Mistake("rounded", "The batch size is divided by 256 without its fraction: below 256 the rate is 0.",
                _rate(peak=lambda b: 0.1 * (b // 256))),
        Mistake("inverse", "The peak falls as the batch grows. A larger batch allows for a larger step.",
                _rate(peak=lambda b: 0.1 * 256 / b)),
        Mistake("begins_at_0", "The first step has the rate 0, and is wasted. Step 0 is the first of the warm-up "
                "already: it has one part of `warmup`.",
                _rate(up=lambda t, w: t / w)),
        Mistake("no_warmup", "There is no warm-up: the first step has the whole rate.",
                _rate(up=lambda t, w: 1)),
        Mistake("warmup_by_a_wave", "The warm-up is a straight line, not a part of a wave.",
                _rate(up=lambda t, w: (1 - math.cos(math.pi * (t + 1) / w)) / 2)),
        Mistake("wave_from_step_0", "The cosine starts at step 0, so at the end of the warm-up the rate jumps down. "
                "Its half wave begins where the warm-up ends.",
                _rate(down=lambda t, n, w: t / n)),
        Mistake("wave_too_long", "The cosine is stretched over all steps from the end of the warm-up on, and never "
                "gets down. It has steps − warmup of them.",
                _rate(down=lambda t, n, w: (t - w) / n)),
        Mistake("whole_wave", "That is a whole wave: in the middle the rate is 0, and at the end it is up again. It is "
                "half a wave.",
                _rate(down=lambda t, n, w: 2 * (t - w) / (n - w))),
        Mistake("last_is_0", "The last step has the rate 0, and is wasted. The wave ends after the last step.",
                _rate(down=lambda t, n, w: (t - w) / (n - w - 1))),
        Mistake("linear", "After the warm-up the rate falls along a line. It is half a wave of a cosine.",
                _rate_linear),
        Mistake("constant", "After the warm-up the rate stays where it is.", _rate_constant),
        Mistake("both_at_once", "The cosine falls during the warm-up already. First up, then down.", _rate_both),
        Mistake("from_base", "The warm-up begins at 0.1. It begins at one part of `warmup` of the peak.",
                _rate_from_base),
    ],
    alternatives=[rate_by_sine, rate_by_array],
    hints=[
        "What is the rate at the last step of the warm-up, at the first step after it, and half-way between there and "
        "the end?",
        dedent("""\
        14 steps, 4 of them warm-up, batches of 512, so a peak of 0.2:

        ```
        step    0     1     2     3     4     …   9     …   13
        rate    0.05  0.10  0.15  0.20  0.20      0.10      0.0049
        ```"""),
        dedent("""\
        ```
        peak <- 0.1 · batch_size / 256
        if step < warmup:  peak · (step + 1) / warmup
        part <- (step − warmup) / (steps − warmup)              # from 0 to almost 1
        peak · (1 + cos(π · part)) / 2
        ```"""),
        "A batch twice as large averages the gradient over twice as many images, and there are half as many steps: "
        "each may go twice as far. At the very beginning the weights change too fast for that, hence the warm-up.",
    ])


# ---------------------------------------------------------------------------- shard

def shard(order, rank, world):
    """Oracle: a table with a row for each round of dealing out."""
    order = order.numpy()
    rounds = -(-len(order) // world)
    return np.resize(order, (rounds, world))[:, rank].copy()


def shard_by_slice(order, rank, world):
    missing = -len(order) % world
    return torch.cat([order, order[:missing]])[rank::world]


def shard_by_index(order, rank, world):
    rounds = math.ceil(len(order) / world)
    return torch.stack([order[(rank + i * world) % len(order)] for i in range(rounds)])


def _sharded(fill=lambda order, missing: order[:missing], take=lambda full, rank, world: full[rank::world]):
    """A mistake: filled up or dealt out otherwise."""
    return lambda order, rank, world: take(torch.cat([order, fill(order, -len(order) % world)]), rank, world).clone()


def _in_runs(full, rank, world):
    each = len(full) // world
    return full[rank * each:(rank + 1) * each]


def _dropped(order, rank, world):
    return order[:len(order) // world * world][rank::world].clone()


def _own_first(order, rank, world):
    mine = order[rank::world]
    return torch.cat([mine, mine[:1]])[:-(-len(order) // world)]


def shard_probe(order, rank, world):
    return call(np.int64(order), rank, world, device="cpu")


def random_shard(rng):
    world, n = some(rng, 2, 5), some(rng, 6, 15)
    return shard_probe(rng.permutation(n + 4)[:n], some(rng, 0, world - 1), world)


SHARD = Exercise(
    id="shard", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=shard,
    probes=[shard_probe([8, 5, 7, 3, 6], 1, 2), shard_probe([6, 12, 9, 10, 4, 7, 3, 8, 11, 5], 3, 4),
            shard_probe([6, 12, 9, 10, 4, 7, 3, 8, 11, 5], 2, 4), shard_probe([5, 3, 8, 10, 7, 2, 1, 6, 4], 2, 3)],
    random=random_shard,
    mistakes=[
        Mistake("everything", "It returns all images: every process would compute the same, and several cost as much "
                "time as one.",
                _sharded(take=lambda full, rank, world: full)),
        Mistake("in_runs", "It takes a run of images that follow each other. Deal them out like cards: rank, rank + "
                "world, rank + 2·world …",
                _sharded(take=_in_runs)),
        Mistake("same_for_all", "The rank makes no difference: all processes get the images of the first one.",
                _sharded(take=lambda full, rank, world: full[::world])),
        Mistake("exchanged", "Rank and world are exchanged: it begins at `world` and goes on in steps of `rank`.",
                _sharded(take=lambda full, rank, world: full[world::max(rank, 1)])),
        Mistake("next_rank", "It takes the share of the next process. The first one has rank 0.",
                _sharded(take=lambda full, rank, world: full[(rank + 1) % world::world])),
        Mistake("not_filled_up", "The processes get different numbers of images. The one with more would wait for ever "
                "for the others, in a step that they do not make.",
                _sharded(fill=lambda order, missing: order[:0])),
        Mistake("dropped", "The images that are left over are dropped. Here all take part: those of the beginning come "
                "once more.",  # 117
                _dropped),
        Mistake("filled_with_0", "It is filled up with zeros, so image 0 is taken, not the first of the order.",
                _sharded(fill=lambda order, missing: torch.zeros(missing, dtype=order.dtype))),
        Mistake("filled_with_the_last", "It is filled up with the last image. The order is continued from its "
                "beginning.",
                _sharded(fill=lambda order, missing: order[-1:].repeat(missing))),
        Mistake("filled_from_the_end", "It is filled up with the images at the end of the order. It is continued from "
                "its beginning.",
                _sharded(fill=lambda order, missing: order[len(order) - missing:])),
        Mistake("filled_with_its_own", "What is missing is taken from the process's own images. The whole order is "
                "continued from its beginning.",
                _own_first),
        Mistake("places", "It returns places in the order, not the images that stand there.",
                lambda order, rank, world: _sharded()(torch.arange(len(order)), rank, world)),
        Mistake("sorted", "The images are sorted. They keep the order in which they are given: it was shuffled for "
                "this epoch.",
                lambda order, rank, world: _sharded()(order.sort().values, rank, world)),
    ],
    alternatives=[shard_by_slice, shard_by_index],
    hints=[
        "How many images must each process get, if all get the same number and none is left out?",
        dedent("""\
        Five images for two processes:

        ```
        order      8 5 7 3 6 | 8        one more, from the beginning
        rank       0 1 0 1 0   1
        rank 1 gets  5   3     8
        ```"""),
        dedent("""\
        ```
        missing <- as many as the length lacks to a multiple of world
        full    <- order, followed by its first `missing` entries
        return every world-th entry of full, from rank on
        ```"""),
        "After each step the processes add up their gradients, and each waits until all have come. If one has a step "
        "more than the others, it waits for ever.",
    ])


EXERCISES = [RELU_BIAS_BACKWARD, GRAD_WEIGHT, PARTIAL_SUMS, GRAD_INPUT, MAX_POOL_BACKWARD, CONV_FUNCTION,
             LOSS_SCALE_STEP, SHARD, LEARNING_RATE]
