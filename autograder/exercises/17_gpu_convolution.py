"""Exercises of notebook 17: kernels in Triton, and the arithmetic of tiles, bytes and time.

A kernel is checked by what it has written: the oracles say that in torch and NumPy.  Mistakes are kernels as well;
those of one exercise share a body in which a slip is switched on.  Sizes leave a rest, and tiles are
tiny.  Kernels forbid no modules: their language has none.
"""

from textwrap import dedent

import numpy as np
import torch
import torch.nn.functional as F

from autograder.exercise import FORBIDDEN_TORCH, Exercise, Mistake, call
from autograder.exercises.draws import ints
from cnnlab.kernels import obstacle, tl, triton
from cnnlab.probes import strided


def whole(seed, *shape, most=4, dtype=np.float32):
    """Whole numbers from -most to most, for each shape others."""
    return ints([seed, *shape], *shape, most=most, dtype=dtype)


def poison(*shape, dtype=np.float32):
    """What a kernel is to overwrite: a value that no right answer holds."""
    return np.full(shape, -99, dtype)


def some(rng, low, high, count=None):
    """Whole numbers from low to high, both possible."""
    drawn = rng.integers(low, high + 1, count)
    return int(drawn) if count is None else tuple(int(v) for v in drawn)


def cdiv(n, block):
    return -(-n // block)


def steps_of(array):
    """The strides of an array in elements, as kernels take them."""
    return tuple(step // array.itemsize for step in array.strides)


def slipped(kernel, slip):
    """The kernel with the mistake called `slip` switched on, for Triton's interpreter."""
    if obstacle():
        return kernel
    from triton.runtime.interpreter import InterpretedFunction

    class Slipped(InterpretedFunction):
        def run(self, *args, **options):
            return super().run(*args, SLIP=slip, **options)

    return Slipped(kernel.fn)


def filled(y, rows):
    """What y (more rows, ...) holds after its first rows have been written."""
    after = y.clone()
    after[:len(rows)] = torch.as_tensor(rows).to(y.dtype)
    return after


# ---------------------------------------------------------------------------- relu_kernel

def relu(x, y, n, BLOCK):
    """Oracle: NumPy."""
    return filled(y, np.maximum(x.numpy()[:n], 0))


@triton.jit
def relu_by_where(x, y, n, BLOCK: tl.constexpr):
    where = tl.arange(0, BLOCK) + BLOCK * tl.program_id(axis=0)
    v = tl.load(x + where, mask=where < n, other=0)
    tl.store(y + where, tl.where(v > 0, v, 0), mask=where < n)


@triton.jit
def relu_interleaved(x, y, n, BLOCK: tl.constexpr):
    lane = tl.program_id(0) + tl.num_programs(0) * tl.arange(0, BLOCK)
    keep = lane < n
    v = tl.load(x + lane, keep)
    tl.store(y + lane, tl.maximum(v, 0.0), keep)


@triton.jit
def relu_body(x, y, n, BLOCK: tl.constexpr, SLIP: tl.constexpr = ""):
    first = tl.program_id(0) * BLOCK
    if SLIP == "one_tile":
        first = 0
    if SLIP == "not_times_block":
        first = tl.program_id(0)
    i = first + tl.arange(0, BLOCK)
    keep = i < n
    if SLIP == "one_too_many":
        keep = i <= n
    if SLIP == "one_too_few":
        keep = i < n - 1
    if SLIP == "whole_tiles_only":
        keep = (first + BLOCK <= n) & (i < n)
    if SLIP == "no_mask":
        value = tl.load(x + i)
    else:
        if SLIP == "load_not_masked":
            value = tl.load(x + i)
        else:
            value = tl.load(x + i, keep)
    result = tl.maximum(value, 0.0)
    if SLIP == "minimum":
        result = tl.minimum(value, 0.0)
    if SLIP == "absolute":
        result = tl.abs(value)
    if SLIP == "unchanged":
        result = value
    if SLIP == "no_mask" or SLIP == "store_not_masked":
        tl.store(y + i, result)
    else:
        if SLIP == "in_place":
            tl.store(x + i, result, keep)
        else:
            tl.store(y + i, result, keep)


def relu_probe(seed, n, block, more=0, wide=False):
    """With `more` elements after the n, which are none of the kernel's business; wide: with 15 bits and quarters."""
    x = whole(seed, n + more, most=30000) / np.float32(4) if wide else whole(seed, n + more)
    return call(x, poison(n + more), n=n, BLOCK=block, grid=(cdiv(n, block),), written=(1,), device="cpu")


def random_relu(rng):
    block = 2 ** some(rng, 2, 4)
    return relu_probe(some(rng, 0, 1 << 30), block * some(rng, 1, 3) + some(rng, 1, block - 1), block, some(rng, 0, 3))


RELU_KERNEL = Exercise(
    id="relu_kernel", points=1, forbidden=(),
    oracle=relu,
    probes=[relu_probe(1, 5, 4), relu_probe(2, 19, 8), relu_probe(3, 19, 8, more=5, wide=True), relu_probe(4, 8, 8)],
    random=random_relu,
    mistakes=[
        Mistake("no_mask", "Neither the load nor the store has a mask. The last program's block goes past element n "
                "− 1: those lanes may neither read nor write.",  # 115
                slipped(relu_body, "no_mask")),
        Mistake("load_not_masked", "The store has a mask, the load has none. Reading past the end is as forbidden as "
                "writing there: the memory may belong to nobody.",  # 115
                slipped(relu_body, "load_not_masked")),
        Mistake("store_not_masked", "The load has a mask, the store has none: the last program writes past "
                "the end.",  # 115
                slipped(relu_body, "store_not_masked")),
        Mistake("one_too_many", "The mask lets element n through. The last element is n − 1.",  # 115
                slipped(relu_body, "one_too_many")),
        Mistake("one_too_few", "The mask stops one element early: element n − 1 exists and is not written.",  # 115
                slipped(relu_body, "one_too_few")),
        Mistake("whole_tiles_only", "Whole blocks are written, the rest at the end is not. A mask keeps single lanes "
                "back; the others of that block still have work to do.",  # 117
                slipped(relu_body, "whole_tiles_only")),
        Mistake("one_tile", "Every program does the first block. What tells one program from another is its number.",
                slipped(relu_body, "one_tile")),
        Mistake("not_times_block", "Program 1 begins one element after program 0, so the blocks overlap. It is to "
                "begin a whole block later.", slipped(relu_body, "not_times_block")),
        Mistake("minimum", "What is kept is the negative part: the smaller of x and 0, not the larger.",
                slipped(relu_body, "minimum")),
        Mistake("absolute", "Negative numbers come out as positive ones. They are to become 0.",
                slipped(relu_body, "absolute")),
        Mistake("unchanged", "The numbers are copied as they are: negative ones are to become 0.",
                slipped(relu_body, "unchanged")),
        Mistake("in_place", "Nothing is written into y, where the result belongs. x stays as it is, and what a kernel "
                "returns goes nowhere.", slipped(relu_body, "in_place")),
    ],
    alternatives=[relu_by_where, relu_interleaved],
    hints=[
        "With BLOCK = 8 and n = 19: which elements belong to program 2, and which of its eight lanes have work?",
        dedent("""\
        n = 5, BLOCK = 4, two programs:

        ```
        program 0    elements 0 1 2 3    mask 1 1 1 1
        program 1    elements 4 5 6 7    mask 1 0 0 0
        ```"""),
        dedent("""\
        ```
        elements <- number of this program * BLOCK + (0 ... BLOCK - 1)        # (BLOCK,)
        mask     <- elements < n
        v        <- load x + elements, masked
        store y + elements, the larger of v and 0, masked
        ```"""),
        "A block has a power of 2 as its size, and n is any number, so the last block nearly always hangs over. A "
        "lane that hangs over computes like the others; the mask keeps it from touching memory.",
    ])


# ---------------------------------------------------------------------------- tile_grid

def tile_grid(M, K, block_m, block_k):
    """Oracle: the tiles counted one by one."""
    first = [(m, k) for m in range(0, M, block_m) for k in range(0, K, block_k)]
    rows, columns = len({m for m, _ in first}), len({k for _, k in first})
    useful = sum(min(block_m, M - m) * min(block_k, K - k) for m, k in first)
    return rows, columns, useful / (len(first) * block_m * block_k)


def grid_by_ceil(M, K, block_m, block_k):
    grid = tuple(int(np.ceil(n / b)) for n, b in ((M, block_m), (K, block_k)))
    return *grid, M / (grid[0] * block_m) * (K / (grid[1] * block_k))


def grid_by_add(M, K, block_m, block_k):
    rows, columns = (M + block_m - 1) // block_m, (K - 1) // block_k + 1
    return rows, columns, M * K / (rows * columns * block_m * block_k)


def _grid(count=cdiv, share=lambda M, K, rows, columns: M * K / (rows * columns)):
    """A mistake: another way to count tiles, or another share; rows and columns are those of all tiles together."""
    def run(M, K, block_m, block_k):
        p, q = count(M, block_m), count(K, block_k)
        return p, q, float(share(M, K, p * block_m, q * block_k)) if p * q else 0.0

    return run


def random_grid(rng):
    b, d = (2 ** v for v in some(rng, 2, 6, 2))
    return call(b * some(rng, 1, 9) + some(rng, 1, b - 1), d * some(rng, 1, 4) + some(rng, 1, d - 1), b, d)


TILE_GRID = Exercise(
    id="tile_grid", points=1,
    oracle=tile_grid,
    probes=[call(10, 6, 4, 4), call(19, 5, 8, 2), call(64, 48, 16, 16), call(6272, 96, 128, 64), call(3, 2, 16, 8)],
    random=random_grid,
    mistakes=[
        Mistake("floor", "The number of tiles is rounded down, so the rest at the end gets no program. It has to be "
                "rounded up.",  # 117
                _grid(lambda n, b: n // b)),
        Mistake("one_more", "There is always one tile more than whole ones, also where nothing is left over.",  # 117
                _grid(lambda n, b: n // b + 1)),
        Mistake("rounded", "The number of tiles is rounded to the nearest. Whatever is left over, however little, "
                "needs a tile.",  # 117
                _grid(lambda n, b: round(n / b))),
        Mistake("exchanged", "The sides of the tile are exchanged: block_m goes with M, block_k with K.",
                lambda M, K, block_m, block_k: _grid()(M, K, block_k, block_m)),
        Mistake("idle_share", "The share is that of the outputs that nobody needs. What is asked for is the rest, "
                "the useful ones.", _grid(share=lambda M, K, rows, columns: 1 - M * K / (rows * columns))),
        Mistake("one_axis", "The share looks at M alone. Tiles hang over along K as well.",
                _grid(share=lambda M, K, rows, columns: M / rows)),
        Mistake("mean_of_both", "The shares along the two axes are averaged. Both have to be useful: they multiply.",
                _grid(share=lambda M, K, rows, columns: (M / rows + K / columns) / 2)),
        Mistake("upside_down", "The share is upside down: it is above 1.",
                _grid(share=lambda M, K, rows, columns: rows * columns / (M * K))),
        Mistake("per_cent", "The share is in per cent. It is to be between 0 and 1.",
                _grid(share=lambda M, K, rows, columns: 100 * M * K / (rows * columns))),
        Mistake("whole_tiles", "The share counts whole tiles only. In a tile that hangs over, some outputs are "
                "useful too.",
                lambda M, K, block_m, block_k: (cdiv(M, block_m), cdiv(K, block_k), (M // block_m) * (K // block_k)
                                                / (cdiv(M, block_m) * cdiv(K, block_k)))),
    ],
    alternatives=[grid_by_ceil, grid_by_add],
    hints=[
        "How many tiles of 4 rows does it take to cover 10 rows? And 8 rows?",
        dedent("""\
        M = 10 rows, K = 6 columns, tiles of 4×4: 3 by 2 tiles, with 12·8 = 96 outputs, of which 10·6 = 60 are needed.

        ```
        4 | 4 | 2 and 2 over
        4 | 2 and 2 over
        ```"""),
        dedent("""\
        ```
        rows    <- M / block_m, rounded up
        columns <- K / block_k, rounded up
        share   <- M * K  /  all outputs of rows * columns tiles
        ```"""),
        "A program always computes its whole tile; what hangs over is thrown away by the mask. So the time goes with "
        "the number of tiles, and the share says how much of it was for something.",
    ])


# ---------------------------------------------------------------------------- centre_rows

def centre_rows(x, y, R, C, BLOCK_R, BLOCK_C):
    """Oracle: NumPy, in float64."""
    rows = x.numpy()[:R].astype(float)
    return filled(y, rows - rows.mean(1, keepdims=True))


@triton.jit
def centre_with_where(x, y, R, C, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr):
    r = BLOCK_R * tl.program_id(0) + tl.arange(0, BLOCK_R)[:, None]
    c = tl.arange(0, BLOCK_C)[None, :]
    inside = (r < R) & (c < C)
    v = tl.where(inside, tl.load(x + r * C + c, inside, other=7.0), 0.0)
    tl.store(y + r * C + c, v - tl.sum(v, 1, keep_dims=True) / C, inside)


@triton.jit
def centre_row_by_row(x, y, R, C, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr):
    c = tl.arange(0, BLOCK_C)
    for k in range(BLOCK_R):
        r = tl.program_id(0) * BLOCK_R + k
        v = tl.load(x + r * C + c, (c < C) & (r < R), other=0.0)
        tl.store(y + r * C + c, v - tl.sum(v, axis=0) / C, (c < C) & (r < R))


@triton.jit
def centre_body(x, y, R, C, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr, SLIP: tl.constexpr = ""):
    r = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    if SLIP == "one_tile":
        r = tl.arange(0, BLOCK_R)
    c = tl.arange(0, BLOCK_C)
    inside = (r < R)[:, None] & (c < C)[None, :]
    at = r[:, None] * C + c[None, :]
    if SLIP == "rows_of_block_length":
        at = r[:, None] * BLOCK_C + c[None, :]
        inside = inside & (at < R * C)
    if SLIP == "no_row_mask":
        inside = (r >= 0)[:, None] & (c < C)[None, :]
    if SLIP == "no_column_mask":
        inside = (r < R)[:, None] & (c >= 0)[None, :] & (at < R * C)
    if SLIP == "no_other":
        v = tl.load(x + at, inside)
    else:
        if SLIP == "other_one":
            v = tl.load(x + at, inside, other=1.0)
        else:
            v = tl.load(x + at, inside, other=0.0)
    total = tl.sum(v, axis=1)[:, None] / C
    if SLIP == "by_block":
        total = tl.sum(v, axis=1)[:, None] / BLOCK_C
    if SLIP == "columns":
        total = tl.sum(v, axis=0)[None, :] / R
    if SLIP == "across":
        total = tl.sum(v, axis=1)[None, :] / C
    if SLIP == "whole_tile":
        total = (tl.sum(tl.sum(v, axis=1), axis=0) / (R * C)) + tl.zeros((BLOCK_R, 1), tl.float32)
    if SLIP == "sum_not_mean":
        total = tl.sum(v, axis=1)[:, None]
    if SLIP == "maximum":
        total = tl.max(tl.where(inside, v, -1e9), axis=1)[:, None]
    result = v - total
    if SLIP == "mean_only":
        result = total + tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    if SLIP == "sign":
        result = total - v
    tl.store(y + at, result, inside)


def centre_probe(seed, R, C, block, more=0, most=8):
    return call(whole(seed, R + more, C, most=most), poison(R + more, C), R=R, C=C, BLOCK_R=block,
                BLOCK_C=block, grid=(cdiv(R, block),), written=(1,), device="cpu")


def random_centre(rng):
    block = 2 ** some(rng, 2, 3)
    return centre_probe(some(rng, 0, 1 << 30), block + some(rng, 1, block - 1), some(rng, 2, block - 1), block,
                        some(rng, 0, 1))


CENTRE_ROWS = Exercise(
    id="centre_rows", points=2, forbidden=(),
    oracle=centre_rows,
    probes=[centre_probe(6, 3, 2, 4), centre_probe(7, 6, 3, 4), centre_probe(8, 7, 2, 4, more=1),
            centre_probe(9, 5, 8, 8, most=3000)],
    random=random_centre,
    mistakes=[
        Mistake("no_other", "Lanes that the mask keeps back get `other`, and without it they hold anything. They "
                "must not change a sum.",  # 116
                slipped(centre_body, "no_other")),
        Mistake("other_one", "Lanes that the mask keeps back are counted as 1. Which number leaves a sum as "
                "it is?",  # 116
                slipped(centre_body, "other_one")),
        Mistake("by_block", "The sum is divided by the width of the block. The mean is over the C numbers of a row; "
                "the other lanes are not there.",  # 116
                slipped(centre_body, "by_block")),
        Mistake("columns", "The mean of each column is subtracted. A row is summed along axis 1.",  # 118
                slipped(centre_body, "columns")),
        Mistake("across", "The mean of row i is subtracted from column i. The means stand in a vector with one "
                "number a row: it has to be laid along the rows.",  # 118
                slipped(centre_body, "across")),
        Mistake("whole_tile", "One mean of all the rows together is subtracted. Each row has its own.",  # 118
                slipped(centre_body, "whole_tile")),
        Mistake("sum_not_mean", "The sum of the row is subtracted, not its mean.",
                slipped(centre_body, "sum_not_mean")),
        Mistake("maximum", "The maximum of the row is subtracted, not its mean.", slipped(centre_body, "maximum")),
        Mistake("mean_only", "What is written is the mean. It is to be the number minus the mean.",
                slipped(centre_body, "mean_only")),
        Mistake("sign", "The sign is the other way round: it is the number minus the mean.",
                slipped(centre_body, "sign")),
        Mistake("no_row_mask", "The rows have no mask: the last program goes on past row R − 1.",  # 115
                slipped(centre_body, "no_row_mask")),
        Mistake("no_column_mask", "The columns have no mask: the lanes past column C − 1 belong to the next "
                "row.",  # 115
                slipped(centre_body, "no_column_mask")),
        Mistake("rows_of_block_length", "The rows are taken to lie BLOCK_C numbers apart. They lie C numbers apart: "
                "only the lanes come in blocks, not the memory.",  # 119
                slipped(centre_body, "rows_of_block_length")),
        Mistake("one_tile", "Every program does the first BLOCK_R rows.", slipped(centre_body, "one_tile")),
    ],
    alternatives=[centre_with_where, centre_row_by_row],
    hints=[
        "How many numbers does each lane hold, how many the sum of a row? Which shape has what you subtract?",
        dedent("""\
        One row of C = 3 numbers in a block of 4 lanes:

        ```
        mask        1   1   1   0
        loaded      5  -1   2   other
        sum         6, if other adds nothing
        mean        6 / 3 = 2
        written     3  -3   0   -
        ```"""),
        dedent("""\
        ```
        r    <- number of this program * BLOCK_R + (0 ... BLOCK_R - 1)     # (BLOCK_R,)
        c    <- 0 ... BLOCK_C - 1                                          # (BLOCK_C,)
        at   <- r as a column * C + c as a row                             # (BLOCK_R, BLOCK_C)
        mask <- r < R as a column, and c < C as a row                      # (BLOCK_R, BLOCK_C)
        v    <- load x + at, masked, with an `other` for a sum
        mean <- sum of v along axis 1, over C                              # (BLOCK_R,)
        store y + at, v - (mean as a column), masked
        ```"""),
        "`v[:, None]` makes a column of a vector, `v[None, :]` a row. In a square block both fit a (BLOCK_R, "
        "BLOCK_C) array, so nothing complains; only one of them gives every row its own mean.",
    ])


# ---------------------------------------------------------------------------- pixel_offsets

def pixel_offsets(offsets, M, H, W, x_n, x_h, x_w, BLOCK):
    """Oracle: NumPy's own numbering, in Python's whole numbers."""
    n, h, w = np.unravel_index(np.arange(M), (cdiv(M, H * W), H, W))
    return filled(offsets, np.array([int(i) * x_n + int(j) * x_h + int(k) * x_w for i, j, k in zip(n, h, w)]))


@triton.jit
def offsets_by_rows(offsets, M, H, W, x_n, x_h, x_w, BLOCK: tl.constexpr):
    m = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    row = m // W
    total = (row // H) * x_n + (row % H) * x_h + (m - row * W) * x_w
    tl.store(offsets + m, total, m < M)


@triton.jit
def offsets_cast_one_by_one(offsets, M, H, W, x_n, x_h, x_w, BLOCK: tl.constexpr):
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    n, rest = m // (H * W), m % (H * W)
    there = n.to(tl.int64) * x_n + (rest // W).to(tl.int64) * x_h
    there += (rest % W).to(tl.int64) * x_w
    tl.store(offsets + m, there, m < M)


@triton.jit
def offsets_body(offsets, M, H, W, x_n, x_h, x_w, BLOCK: tl.constexpr, SLIP: tl.constexpr = ""):
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if SLIP == "one_tile":
        m = tl.arange(0, BLOCK)
    wide = m.to(tl.int64)
    if SLIP == "int32":
        wide = m
    n, h, w = wide // (H * W), wide // W % H, wide % W
    if SLIP == "image_and_row":
        n, h = wide // W % H, wide // (H * W)
    if SLIP == "row_and_column":
        h, w = wide % H, wide // H % W
    if SLIP == "row_not_wrapped":
        h = wide // W
    if SLIP == "column_not_wrapped":
        w = wide
    if SLIP == "divided_by_height":
        h = wide // H % H
    if SLIP == "image_by_width":
        n = wide // W
    there = n * x_n + h * x_h + w * x_w
    if SLIP == "packed":
        there = (n * H + h) * W + w
    if SLIP == "packed_pixels":
        there = wide * x_w
    if SLIP == "steps_exchanged":
        there = n * x_n + h * x_w + w * x_h
    if SLIP == "no_image":
        there = h * x_h + w * x_w
    if SLIP == "no_mask":
        tl.store(offsets + m, there)
    else:
        tl.store(offsets + m, there, m < M)


def offsets_probe(N, H, W, x_n, x_h, x_w, block=8, more=0):
    M = N * H * W
    return call(poison(M + more, dtype=np.int64), M=M, H=H, W=W, x_n=x_n, x_h=x_h, x_w=x_w, BLOCK=block,
                grid=(cdiv(M, block),), written=(0,), device="cpu")


def random_offsets(rng):
    N, H, W = some(rng, 2, 3), some(rng, 2, 3), some(rng, 4, 5)
    x_w = some(rng, 2, 90)
    x_h = W * x_w + some(rng, 1, 9)
    return offsets_probe(N, H, W, H * x_h + some(rng, 1, 10**6) * 1999, x_h, x_w, 2 ** some(rng, 2, 4), some(rng, 0, 2))


PIXEL_OFFSETS = Exercise(
    id="pixel_offsets", points=2, forbidden=(),
    oracle=pixel_offsets,
    probes=[offsets_probe(1, 2, 3, 100, 10, 2), offsets_probe(2, 2, 3, 600, 50, 7),
            offsets_probe(3, 2, 5, 77, 11, 2, 16),
            offsets_probe(3, 4, 3, 2_000_000_000, 900_000_000, 1_100_000_000, 16),
            offsets_probe(2, 3, 4, 1000, 90, 9, 16, more=3)],
    random=random_offsets,
    mistakes=[
        Mistake("int32", "The offsets have overflowed. Every number fits into 32 bits, but the products and their "
                "sum do not: they have to be int64 before the first multiplication, not after it.",  # 125
                slipped(offsets_body, "int32")),
        Mistake("image_and_row", "Image and row are exchanged. After W pixels the row goes up; after H·W of them the "
                "image.",  # 120
                slipped(offsets_body, "image_and_row")),
        Mistake("row_and_column", "Rows and columns are exchanged: pixel 1 is to the right of pixel 0, not "
                "below it.",  # 120
                slipped(offsets_body, "row_and_column")),
        Mistake("row_not_wrapped", "The row is counted on through all images. In every image it begins again "
                "at 0.",  # 120
                slipped(offsets_body, "row_not_wrapped")),
        Mistake("column_not_wrapped", "The column is counted on. In every row it begins again at 0.",  # 120
                slipped(offsets_body, "column_not_wrapped")),
        Mistake("divided_by_height", "The row changes every H pixels. A row has W pixels.",  # 5
                slipped(offsets_body, "divided_by_height")),
        Mistake("image_by_width", "The image changes after every row. An image has H·W pixels.",  # 120
                slipped(offsets_body, "image_by_width")),
        Mistake("packed", "The offset is the pixel's number itself. That holds only if the pixels lie side by side; "
                "here they lie as far apart as the strides say.",  # 119
                slipped(offsets_body, "packed")),
        Mistake("packed_pixels", "The offset is the pixel's number times x_w. Rows and images need not follow each "
                "other without a gap: they have strides of their own.",  # 119
                slipped(offsets_body, "packed_pixels")),
        Mistake("steps_exchanged", "The strides of rows and columns are exchanged.",
                slipped(offsets_body, "steps_exchanged")),
        Mistake("no_image", "The image is left out: every image has the offsets of the first one.",
                slipped(offsets_body, "no_image")),
        Mistake("no_mask", "The store has no mask: the last program writes past pixel M − 1.",  # 115
                slipped(offsets_body, "no_mask")),
        Mistake("one_tile", "Every program does the first BLOCK pixels.", slipped(offsets_body, "one_tile")),
    ],
    alternatives=[offsets_by_rows, offsets_cast_one_by_one],
    hints=[
        "Images of 2×3 pixels, numbered on and on. In which image, row and column is pixel 10?",
        dedent("""\
        Images of H = 2 rows and W = 3 columns:

        ```
        m        0 1 2   3 4 5 | 6 7 8   9 10 11
        row      0 0 0   1 1 1 | 0 0 0   1  1  1
        column   0 1 2   0 1 2 | 0 1 2   0  1  2
        image    0 0 0   0 0 0 | 1 1 1   1  1  1
        ```"""),
        dedent("""\
        ```
        m      <- number of this program * BLOCK + (0 ... BLOCK - 1), as int64     # (BLOCK,)
        column <- rest of m when divided by W
        row    <- rest of (m / W, rounded down) when divided by H
        image  <- m / (H * W), rounded down
        offset <- image * x_n + row * x_h + column * x_w
        store offsets + m, offset, where m < M
        ```"""),
        "Two int32 numbers are multiplied as int32, and what does not fit is cut off without a word: 2 · "
        "2,000,000,000 becomes −294,967,296. A load from there reads anything, or ends the program. So one of the "
        "factors has to be int64 before the multiplication.",
    ])


# ---------------------------------------------------------------------------- to_channels_last

def as_images(x, N, C, H, W, x_n, x_c, x_h, x_w):
    """x as (N, C, H, W), whatever its strides."""
    return torch.as_strided(x, (N, C, H, W), (x_n, x_c, x_h, x_w))


def to_channels_last(x, y, M, C, H, W, x_n, x_c, x_h, x_w, BLOCK_M, BLOCK_C):
    """Oracle: torch."""
    images = as_images(x, M // (H * W), C, H, W, x_n, x_c, x_h, x_w)
    return filled(y, images.permute(0, 2, 3, 1).reshape(M, C))


@triton.jit
def last_by_pointers(x, y, M, C, H, W, x_n, x_c, x_h, x_w, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr):
    m = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M))[:, None].to(tl.int64)
    c = (tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C))[None, :]
    row = m // W
    pixel = x + (row // H) * x_n + (row % H) * x_h + (m % W) * x_w
    inside = (m < M) & (c < C)
    tl.store(y + m * C + c, tl.load(pixel + c * x_c, mask=inside), mask=inside)


@triton.jit
def last_channel_by_channel(x, y, M, C, H, W, x_n, x_c, x_h, x_w, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr):
    m = tl.arange(0, BLOCK_M) + tl.program_id(0) * BLOCK_M
    n, h, w = m // (H * W), m % (H * W) // W, m % W
    for k in range(BLOCK_C):
        c = tl.program_id(1) * BLOCK_C + k
        v = tl.load(x + n * x_n + c * x_c + h * x_h + w * x_w, (m < M) & (c < C))
        tl.store(y + m * C + c, v, (m < M) & (c < C))


@triton.jit
def last_body(x, y, M, C, H, W, x_n, x_c, x_h, x_w,
              BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr, SLIP: tl.constexpr = ""):
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    if SLIP == "axes_exchanged":
        m = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
        c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    if SLIP == "first_channels":
        c = tl.arange(0, BLOCK_C)
    n, h, w = m // (H * W), m // W % H, m % W
    if SLIP == "image_and_row":
        n, h = m // W % H, m // (H * W)
    if SLIP == "row_and_column":
        h, w = m % H, m // H % W
    if SLIP == "row_not_wrapped":
        h = m // W
    inside = (m < M)[:, None] & (c < C)[None, :]
    if SLIP == "no_pixel_mask":
        inside = (m >= 0)[:, None] & (c < C)[None, :]
    if SLIP == "no_channel_mask":
        inside = (m < M)[:, None] & (c >= 0)[None, :]
    there = (n * x_n + h * x_h + w * x_w)[:, None] + (c * x_c)[None, :]
    if SLIP == "packed":
        there = (n * C * H * W + h * W + w)[:, None] + (c * H * W)[None, :]
    if SLIP == "channels_last_already":
        there = (m * C)[:, None] + c[None, :]
    if SLIP == "columns_of_one":
        there = (n * x_n + h * x_h + w)[:, None] + (c * x_c)[None, :]
    if SLIP == "steps_exchanged":
        there = (n * x_n + h * x_w + w * x_h)[:, None] + (c * x_c)[None, :]
    to = (m * C)[:, None] + c[None, :]
    if SLIP == "channels_first":
        to = (n * C * H * W + h * W + w)[:, None] + (c * H * W)[None, :]
    if SLIP == "transposed":
        to = m[:, None] + (c * M)[None, :]
    if SLIP == "padded_rows":
        to = (m * BLOCK_C)[:, None] + c[None, :]
        inside = inside & (to < M * C)
    tl.store(y + to, tl.load(x + there, inside), inside)


def last_probe(seed, N, C, H, W, layout="packed", blocks=(4, 4), more=0, most=9):
    """layout: "packed" is NCHW, "apart" the same with gaps, "last" is NHWC already."""
    if layout == "last":
        x = whole(seed, N, H, W, C, most=most)
        x_n, x_h, x_w, x_c = steps_of(x)
    else:
        x = whole(seed, N, C, H, W, most=most)
        x = strided(x) if layout == "apart" else x
        x_n, x_c, x_h, x_w = steps_of(x)
    M = N * H * W
    return call(x, poison(M + more, C), M=M, C=C, H=H, W=W, x_n=x_n, x_c=x_c, x_h=x_h, x_w=x_w,
                BLOCK_M=blocks[0], BLOCK_C=blocks[1], grid=(cdiv(M, blocks[0]), cdiv(C, blocks[1])), written=(1,),
                device="cpu")


def random_last(rng):
    N, C, H, W = some(rng, 1, 2), some(rng, 2, 5), some(rng, 2, 3), some(rng, 3, 4)
    return last_probe(some(rng, 0, 1 << 30), N, C, H, W, ("packed", "apart", "last")[some(rng, 0, 2)],
                      (2 ** some(rng, 2, 3), 2 ** some(rng, 1, 2)), some(rng, 0, 1))


TO_CHANNELS_LAST = Exercise(
    id="to_channels_last", points=2, forbidden=(),
    oracle=to_channels_last,
    probes=[last_probe(11, 1, 2, 2, 3), last_probe(12, 2, 3, 2, 3, "apart"), last_probe(13, 2, 5, 2, 3, blocks=(8, 4)),
            last_probe(14, 2, 3, 3, 2, "last", more=1, most=3000),
            last_probe(15, 3, 5, 2, 3, "apart", blocks=(16, 2), more=2)],
    random=random_last,
    mistakes=[
        Mistake("packed", "The offsets are worked out from C, H and W, as if x had no gaps. It may be a part of a "
                "larger tensor, or lie in another order: that is what the strides are for.",  # 119
                slipped(last_body, "packed")),
        Mistake("columns_of_one", "Neighbours in a row are taken to lie side by side. They lie x_w apart.",  # 119
                slipped(last_body, "columns_of_one")),
        Mistake("channels_last_already", "x is read as if it were channels-last and packed already.",  # 119
                slipped(last_body, "channels_last_already")),
        Mistake("image_and_row", "Image and row of a pixel are exchanged.",  # 120
                slipped(last_body, "image_and_row")),
        Mistake("row_and_column", "Row and column of a pixel are exchanged: the column changes fastest.",  # 120
                slipped(last_body, "row_and_column")),
        Mistake("row_not_wrapped", "The row is counted on through all images. In every image it begins again "
                "at 0.",  # 120
                slipped(last_body, "row_not_wrapped")),
        Mistake("steps_exchanged", "The strides of rows and columns are exchanged.",
                slipped(last_body, "steps_exchanged")),
        Mistake("channels_first", "y is written channel by channel, as (N, C, H, W). It is (M, C): all channels of a "
                "pixel side by side.", slipped(last_body, "channels_first")),
        Mistake("transposed", "y is written as (C, M). It is (M, C): all channels of a pixel side by side.",
                slipped(last_body, "transposed")),
        Mistake("no_pixel_mask", "The pixels have no mask: the last tile goes past pixel M − 1.",  # 115
                slipped(last_body, "no_pixel_mask")),
        Mistake("no_channel_mask", "The channels have no mask, or only one of load and store has it. Past channel "
                "C − 1 there is no channel of this pixel.",  # 115
                slipped(last_body, "no_channel_mask")),
        Mistake("first_channels", "Channels past those of the first tile are not written. A tile's number along the "
                "second axis of the grid, times BLOCK_C, says where its channels begin.",
                slipped(last_body, "first_channels")),
        Mistake("axes_exchanged", "The axes of the grid are exchanged: number 0 is for pixels, number 1 for channels.",
                slipped(last_body, "axes_exchanged")),
        Mistake("padded_rows", "In y the pixels are taken to lie BLOCK_C numbers apart. They lie C numbers "
                "apart.",  # 119
                slipped(last_body, "padded_rows")),
    ],
    alternatives=[last_by_pointers, last_channel_by_channel],
    hints=[
        "Where in x does channel c of pixel m lie, and where in y? Which of the two has strides, and which is packed?",
        dedent("""\
        One image of 1×3 pixels and two channels, packed:

        ```
        x, channel by channel     a0 a1 a2   b0 b1 b2
        y, pixel by pixel         a0 b0   a1 b1   a2 b2
        ```

        If x is a part of a larger tensor, other numbers lie between a0 and a1: x_w is 2 or more."""),
        dedent("""\
        ```
        m, c  <- pixels of this tile (BLOCK_M,), channels of this tile (BLOCK_C,)
        n, h, w <- image, row, column of each pixel, as in the exercise before
        from  <- (n * x_n + h * x_h + w * x_w) as a column + (c * x_c) as a row      # (BLOCK_M, BLOCK_C)
        to    <- (m * C) as a column + c as a row                                    # (BLOCK_M, BLOCK_C)
        mask  <- m < M as a column, and c < C as a row
        store y + to, (load x + from, masked), masked
        ```"""),
        "A kernel sees an address and numbers, no shape. That the same kernel serves packed tensors, parts of "
        "tensors and both layouts is because it never assumes where the next element lies: it multiplies an index by "
        "a stride.",
    ])


# ---------------------------------------------------------------------------- matmul_kernel

def product(a, b, c, M, K, D, a_m, a_d, b_d, b_k, BLOCK_M, BLOCK_K, BLOCK_D):
    """Oracle: NumPy, in float64."""
    left, right = torch.as_strided(a, (M, D), (a_m, a_d)), torch.as_strided(b, (D, K), (b_d, b_k))
    return filled(c, left.numpy().astype(float) @ right.numpy().astype(float))


@triton.jit
def product_by_moving(a, b, c, M, K, D, a_m, a_d, b_d, b_k,
                      BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr):
    m = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M))[:, None]
    k = (tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K))[None, :]
    d = tl.arange(0, BLOCK_D)
    from_a, from_b = a + m * a_m + d[None, :] * a_d, b + d[:, None] * b_d + k * b_k
    total = tl.zeros((BLOCK_M, BLOCK_K), dtype=tl.float32)
    for step in range(tl.cdiv(D, BLOCK_D)):
        left = D - step * BLOCK_D
        total += tl.dot(tl.load(from_a, (m < M) & (d < left)[None, :], 0.0),
                        tl.load(from_b, (d < left)[:, None] & (k < K), 0.0), input_precision="ieee")
        from_a += BLOCK_D * a_d
        from_b += BLOCK_D * b_d
    tl.store(c + m * K + k, total, (m < M) & (k < K))


@triton.jit
def product_by_sums(a, b, c, M, K, D, a_m, a_d, b_d, b_k,
                    BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr):
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    total = tl.zeros((BLOCK_M, BLOCK_K), tl.float32)
    for d in range(D):
        row = tl.load(a + m * a_m + d * a_d, m < M, other=0.0).to(tl.float32)
        column = tl.load(b + d * b_d + k * b_k, k < K, other=0.0).to(tl.float32)
        total += row[:, None] * column[None, :]
    tl.store(c + m[:, None] * K + k[None, :], total, (m < M)[:, None] & (k < K)[None, :])


@triton.jit
def product_body(a, b, c, M, K, D, a_m, a_d, b_d, b_k,
                 BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr, SLIP: tl.constexpr = ""):
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    if SLIP == "grid_exchanged":
        m = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
        k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    kind: tl.constexpr = tl.float16 if SLIP == "float16" else tl.float32
    total = tl.zeros((BLOCK_M, BLOCK_K), kind)
    stop = D
    if SLIP == "one_step":
        stop = BLOCK_D if D > BLOCK_D else D
    if SLIP == "floor":
        stop = D // BLOCK_D * BLOCK_D
    for first in range(0, stop, BLOCK_D):
        d = first + tl.arange(0, BLOCK_D)
        if SLIP == "not_advanced":
            d = tl.arange(0, BLOCK_D)
        at, bt = m[:, None] * a_m + d[None, :] * a_d, d[:, None] * b_d + k[None, :] * b_k
        if SLIP == "packed":
            at, bt = m[:, None] * D + d[None, :], d[:, None] * K + k[None, :]
        if SLIP == "a_transposed":
            at = m[:, None] * a_d + d[None, :] * a_m
        if SLIP == "b_transposed":
            bt = d[:, None] * b_k + k[None, :] * b_d
        keep_a, keep_b = (m < M)[:, None] & (d < D)[None, :], (d < D)[:, None] & (k < K)[None, :]
        if SLIP == "depth_not_masked":
            keep_a, keep_b = (m < M)[:, None] & (d >= 0)[None, :], (d >= 0)[:, None] & (k < K)[None, :]
        if SLIP == "no_other":
            p, q = tl.load(a + at, keep_a), tl.load(b + bt, keep_b)
        else:
            p, q = tl.load(a + at, keep_a, other=0.0), tl.load(b + bt, keep_b, other=0.0)
        if SLIP == "overwritten":
            total = tl.dot(p, q, input_precision="ieee")
        else:
            if SLIP == "float16":
                total += tl.dot(p, q, input_precision="ieee").to(tl.float16)
            else:
                total += tl.dot(p, q, input_precision="ieee")
    to, keep = m[:, None] * K + k[None, :], (m < M)[:, None] & (k < K)[None, :]
    if SLIP == "result_transposed":
        to = m[:, None] + k[None, :] * M
    if SLIP == "rows_not_masked":
        keep = (m >= 0)[:, None] & (k < K)[None, :]
    if SLIP == "columns_not_masked":
        keep = (m < M)[:, None] & (k >= 0)[None, :]
    tl.store(c + to, total, keep)


def product_probe(a, b, blocks=(4, 4, 4), more=0):
    (M, D), K, (a_m, a_d), (b_d, b_k) = a.shape, b.shape[1], steps_of(a), steps_of(b)
    return call(a, b, poison(M + more, K), M=M, K=K, D=D, a_m=a_m, a_d=a_d, b_d=b_d, b_k=b_k,
                BLOCK_M=blocks[0], BLOCK_K=blocks[1], BLOCK_D=blocks[2],
                grid=(cdiv(M, blocks[0]), cdiv(K, blocks[1])), written=(2,), device="cpu")


def long_product(seed, M, K, D):
    """A product whose sums leave float16's whole numbers: above 2048 only every second one is there."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(5, 17, (M, D)), rng.integers(5, 17, (D, K))
    return product_probe(a.astype(np.float16), b.astype(np.float16), (4, 4, 16))


def random_product(rng):
    seed, M, K, D = some(rng, 0, 1 << 30), some(rng, 2, 7), some(rng, 2, 7), some(rng, 5, 11)
    if rng.random() < 0.5:
        return long_product(seed, M, K, 30 + D)
    return product_probe(strided(whole(seed, M, D)), strided(whole(seed, D, K)), (4, 4, 2 ** some(rng, 2, 3)),
                         some(rng, 0, 1))


MATMUL_KERNEL = Exercise(
    id="matmul_kernel", points=3, forbidden=(),
    oracle=product,
    probes=[product_probe(np.float32([[1, 2], [3, -1], [0, 2]]), np.float32([[2, -1], [1, 4]])),
            product_probe(whole(21, 6, 5, most=3000), whole(22, 5, 3)), long_product(23, 3, 5, 40),
            product_probe(strided(whole(24, 5, 7)), strided(whole(25, 7, 6)), (4, 8, 4), more=1)],
    random=random_product,
    mistakes=[
        Mistake("float16", "The sums are kept in float16. Above 2048 it has only every second whole number, and a "
                "sum loses what is added to it: sums are float32, whatever is multiplied.",  # 123
                slipped(product_body, "float16")),
        Mistake("no_other", "Lanes past the depth D are multiplied like the others. What a masked load gives them "
                "has to be said: something that adds nothing.",  # 116
                slipped(product_body, "no_other")),
        Mistake("depth_not_masked", "The depth has no mask. Where D is not a multiple of BLOCK_D, the last step "
                "takes numbers from the next row, or from nowhere.",  # 115
                slipped(product_body, "depth_not_masked")),
        Mistake("one_step", "Only the first BLOCK_D products are summed. The depth is walked through in steps.",
                slipped(product_body, "one_step")),
        Mistake("floor", "The rest of the depth is left out: the number of steps is rounded down.",  # 117
                slipped(product_body, "floor")),
        Mistake("not_advanced", "Every step multiplies the first BLOCK_D columns and rows again.",
                slipped(product_body, "not_advanced")),
        Mistake("overwritten", "Only the last step is left: each step is to be added to what there is.",
                slipped(product_body, "overwritten")),
        Mistake("packed", "a and b are taken to be packed row by row. Take the strides.",  # 119
                slipped(product_body, "packed")),
        Mistake("a_transposed", "The strides of a are exchanged: it is read as its transpose.",
                slipped(product_body, "a_transposed")),
        Mistake("b_transposed", "The strides of b are exchanged: it is read as its transpose.",
                slipped(product_body, "b_transposed")),
        Mistake("grid_exchanged", "The axes of the grid are exchanged: number 0 is for rows of c, number 1 for "
                "columns.", slipped(product_body, "grid_exchanged")),
        Mistake("result_transposed", "c is written as (K, M). It is (M, K), row by row.",
                slipped(product_body, "result_transposed")),
        Mistake("rows_not_masked", "The store has no mask for the rows: the last tile goes past row M − 1.",  # 115
                slipped(product_body, "rows_not_masked")),
        Mistake("columns_not_masked", "The store has no mask for the columns: past column K − 1 lies the next "
                "row.",  # 115
                slipped(product_body, "columns_not_masked")),
    ],
    alternatives=[product_by_moving, product_by_sums],
    hints=[
        "A program has a tile of c to fill. Which rows of a does it need, which columns of b, and how much of each "
        "at a time?",
        dedent("""\
        D = 5 in steps of 4: the second step has one column left.

        ```
        step 0    d = 0 1 2 3    mask 1 1 1 1
        step 1    d = 4 5 6 7    mask 1 0 0 0      the others count as 0
        ```"""),
        dedent("""\
        ```
        m, k  <- rows (BLOCK_M,) and columns (BLOCK_K,) of this tile of c
        total <- zeros (BLOCK_M, BLOCK_K), float32
        for first = 0, BLOCK_D, 2 * BLOCK_D ... below D:
            d     <- first + (0 ... BLOCK_D - 1)
            p     <- a at (m as a column, d as a row), masked, other 0            # (BLOCK_M, BLOCK_D)
            q     <- b at (d as a column, k as a row), masked, other 0            # (BLOCK_D, BLOCK_K)
            total <- total + dot of p and q
        store total at c's (m as a column, k as a row), masked
        ```"""),
        "Every number of p meets every column of q while both lie in fast memory: BLOCK_K products for one load from "
        "slow memory, and BLOCK_M for one of q. That reuse is what tiles are for.",
    ])


# ---------------------------------------------------------------------------- round_to_tf32

def round_to_tf32(x):
    """Oracle: fraction and exponent in float64, where nothing else is rounded."""
    fraction, exponent = np.frexp(x.numpy().astype(float))                      # 0.5 <= |fraction| < 1
    kept = np.sign(fraction) * np.floor(np.abs(fraction) * 2**11 + 0.5)
    return np.ldexp(kept / 2**11, exponent).astype(np.float32)


def tf32_by_bits(x):
    return ((x.view(torch.int32) + (1 << 12)) & ~((1 << 13) - 1)).view(torch.float32)


def tf32_by_spacing(x):
    unit = 2.0 ** (torch.floor(torch.log2(x.abs().double())) - 10)              # between neighbours with 10 bits
    away = torch.floor(x.abs().double() / unit + 0.5) * unit
    return (torch.sign(x) * away).float()


def _tf32(bits=10, rounding=lambda v: np.sign(v) * np.floor(np.abs(v) + 0.5)):
    """A mistake: another number of bits, or another way to round."""
    def run(x):
        fraction, exponent = np.frexp(x.numpy().astype(float))
        return np.ldexp(rounding(fraction * 2 ** (bits + 1)) / 2 ** (bits + 1), exponent).astype(np.float32)

    return run


def near(seed, count, exponent):
    """Numbers of one magnitude with all their bits, of both signs, some exactly half-way."""
    rng = np.random.default_rng([seed, count])
    grid = rng.integers(1024, 2048, count) + rng.choice([0.5, 0.5, 0.3125, 0.6875], count)
    return np.ldexp(grid * rng.choice([-1, 1], count) / 1024, exponent).astype(np.float32)


ROUND_TO_TF32 = Exercise(
    id="round_to_tf32", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=round_to_tf32,
    probes=[call(np.float32([1 + 2**-11, 1 + 2**-10, -1 - 2**-11]), device="cpu"), call(near(31, 12, 0), device="cpu"),
            call(near(32, 8, 17).reshape(2, 4), device="cpu"), call(near(33, 6, -40).reshape(3, 1, 2), device="cpu")],
    random=lambda rng: call(near(some(rng, 0, 1 << 30), 9, some(rng, -60, 60)), device="cpu"),
    mistakes=[
        Mistake("cut_off", "The lower bits are cut off, so every number comes out too small in magnitude. It has to "
                "be rounded to the nearest.", _tf32(rounding=np.trunc)),
        Mistake("half_to_even", "Numbers exactly half-way go to the even neighbour. Here they go away from zero.",
                _tf32(rounding=np.round)),
        Mistake("half_up", "Numbers exactly half-way go up, negative ones too. They go away from zero, so negative "
                "ones go down.", _tf32(rounding=lambda v: np.floor(v + 0.5))),
        Mistake("rounded_up", "Every number is rounded away from zero, not to the nearest.",
                _tf32(rounding=lambda v: np.sign(v) * np.ceil(np.abs(v)))),
        Mistake("eleven_bits", "One bit too many is kept: 11 of the fraction, where TF32 has 10. The leading 1 is "
                "not one of them.", _tf32(11)),
        Mistake("nine_bits", "One bit too few is kept: 9 of the fraction, where TF32 has 10. The leading 1 is not "
                "one of them.", _tf32(9)),
        Mistake("thirteen_bits", "13 bits are kept. TF32 keeps 10 of float32's 23, so 13 go.", _tf32(13)),
        Mistake("bfloat16", "That is bfloat16, which keeps 7 bits of the fraction. TF32 keeps 10.",
                lambda x: x.bfloat16().float()),
        Mistake("float16", "That is float16. It has TF32's 10 bits for the fraction, but a smaller range.",
                lambda x: x.half().float()),
        Mistake("fixed", "All numbers are rounded to multiples of 1/1024. In floating point the spacing grows with "
                "the number.", lambda x: torch.floor(x.abs() * 1024 + 0.5) / 1024 * x.sign()),
        Mistake("unchanged", "Nothing is rounded.", lambda x: x.clone()),  # 124
        Mistake("magnitude", "The sign is lost.", lambda x: torch.from_numpy(_tf32()(x)).abs()),
    ],
    alternatives=[tf32_by_bits, tf32_by_spacing],
    hints=[
        "A float32 is a sign, 8 bits of exponent and 23 of the fraction, in this order. Which of them go, and how "
        "would you round a decimal number of 23 digits to 10 digits?",
        dedent("""\
        1 + 1/2048 lies half-way between 1 and 1 + 1/1024, which are neighbours in TF32:

        ```
        sign  exponent   fraction
        0     01111111   0000000000 1000000000000      1 + 1/2048
        0     01111111   0000000001 0000000000000      rounded: 1 + 1/1024
        ```"""),
        dedent("""\
        ```
        bits <- the same 32 bits, seen as whole numbers          # x.view(torch.int32)
        bits <- bits + half of the first bit that is kept
        bits <- bits with the lowest 13 set to 0
        return bits, seen as float32
        ```

        A carry out of the fraction goes into the exponent, which is right: the next number has a larger exponent."""),
        "The bits of a positive float32, read as a whole number, grow with it, so rounding the whole number rounds "
        "the float. The sign is a bit of its own at the top, so the same addition takes a negative number away from "
        "zero.",
    ])


# ---------------------------------------------------------------------------- bias_relu_kernel

def bias_relu(total, bias, y, M, K, BLOCK_M, BLOCK_K):
    """Oracle: NumPy, in float64."""
    return filled(y, np.maximum(total.numpy()[:M].astype(float) + bias.numpy()[:K].astype(float), 0))


@triton.jit
def bias_relu_by_where(total, bias, y, M, K, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr):
    m = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M))[:, None]
    k = (tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K))[None, :]
    v = tl.load(total + m * K + k, (m < M) & (k < K), other=0.0) + tl.load(bias + k, k < K, other=0.0)
    tl.store(y + m * K + k, tl.where(v > 0, v, 0.0).to(y.dtype.element_ty), (m < M) & (k < K))


@triton.jit
def bias_relu_row_by_row(total, bias, y, M, K, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr):
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    b = tl.load(bias + k, k < K)
    for i in range(BLOCK_M):
        m = tl.program_id(0) * BLOCK_M + i
        keep = (k < K) & (m < M)
        tl.store(y + m * K + k, tl.maximum(b + tl.load(total + m * K + k, keep), 0.0), keep)


@triton.jit
def bias_relu_body(total, bias, y, M, K, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, SLIP: tl.constexpr = ""):
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    if SLIP == "grid_exchanged":
        m = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
        k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    at, keep = m[:, None] * K + k[None, :], (m < M)[:, None] & (k < K)[None, :]
    v = tl.load(total + at, keep, other=0.0)
    j = k
    if SLIP == "first_biases":
        j = tl.arange(0, BLOCK_K)
    if SLIP == "by_pixel":
        j = m
    if SLIP == "bias_not_masked":
        b = tl.load(bias + j)
    else:
        b = tl.load(bias + j, j < K, other=0.0)
    b = b[:, None] if SLIP == "by_pixel" or SLIP == "across" else b[None, :]
    if SLIP == "first_bias":
        b = tl.load(bias)
    if SLIP == "rounded_before":
        v, b = v.to(y.dtype.element_ty), b.to(y.dtype.element_ty)
    result = tl.maximum(v + b, 0.0)
    if SLIP == "relu_first":
        result = tl.maximum(v, 0.0) + b
    if SLIP == "no_relu":
        result = v + b
    if SLIP == "no_bias":
        result = tl.maximum(v, 0.0)
    if SLIP == "product":
        result = tl.maximum(v * b, 0.0)
    if SLIP == "minus":
        result = tl.maximum(v - b, 0.0)
    if SLIP == "rows_not_masked":
        keep = (m >= 0)[:, None] & (k < K)[None, :]
    if SLIP == "columns_not_masked":
        keep = (m < M)[:, None] & (k >= 0)[None, :]
    tl.store(y + at, result, keep)


def epilogue_probe(total, bias, blocks=(4, 4), more=0):
    """total has more rows than the M of the kernel."""
    M, K = total.shape[0] - more, total.shape[1]
    return call(total, bias, poison(*total.shape, dtype=np.float16), M=M, K=K, BLOCK_M=blocks[0], BLOCK_K=blocks[1],
                grid=(cdiv(M, blocks[0]), cdiv(K, blocks[1])), written=(2,), device="cpu")


def random_epilogue(rng):
    seed, M, K = some(rng, 0, 1 << 30), some(rng, 5, 9), some(rng, 5, 7)
    return epilogue_probe(whole(seed, M, K, most=9), whole(seed, K, most=9), (4, 4), some(rng, 0, 1))


BIAS_RELU_KERNEL = Exercise(
    id="bias_relu_kernel", points=2, forbidden=(),
    oracle=bias_relu,
    probes=[epilogue_probe(np.float32([[1, -2, 3], [-4, 5, -6]]), np.float32([1, 3, -5])),
            epilogue_probe(whole(41, 5, 6, most=9), whole(42, 6, most=9)),
            epilogue_probe(np.float32([[4099, -4099, 2053], [4095, -4103, 2049]]), np.float32([-4097, 4101, -2051])),
            epilogue_probe(whole(43, 11, 7, most=300) / np.float32(4), whole(44, 7, most=300) / np.float32(4), more=2)],
    random=random_epilogue,
    mistakes=[
        Mistake("by_pixel", "Every row gets a bias of its own. A bias belongs to a filter, so to a column.",  # 118
                slipped(bias_relu_body, "by_pixel")),
        Mistake("across", "The biases of the columns are laid along the rows: the tile is square, so nothing "
                "complains.",  # 118
                slipped(bias_relu_body, "across")),
        Mistake("first_biases", "Every tile takes the first BLOCK_K biases. A tile further right has other filters.",
                slipped(bias_relu_body, "first_biases")),
        Mistake("first_bias", "All columns get the bias of filter 0.", slipped(bias_relu_body, "first_bias")),
        Mistake("relu_first", "The bias is added after the ReLU. It belongs to the sum, so before it.",
                slipped(bias_relu_body, "relu_first")),
        Mistake("no_relu", "The ReLU is missing: negative values are to become 0.", slipped(bias_relu_body, "no_relu")),
        Mistake("no_bias", "The bias is not added.", slipped(bias_relu_body, "no_bias")),
        Mistake("minus", "The bias is subtracted.", slipped(bias_relu_body, "minus")),
        Mistake("rounded_before", "Sum and bias are rounded to float16 before they are added. Add in float32 and "
                "round once, at the store.",  # 123
                slipped(bias_relu_body, "rounded_before")),
        Mistake("bias_not_masked", "The load of the bias has no mask: in the last tile it reads past bias K − "
                "1.",  # 115
                slipped(bias_relu_body, "bias_not_masked")),
        Mistake("rows_not_masked", "The store has no mask for the rows: the last tile goes past row M − 1.",  # 115
                slipped(bias_relu_body, "rows_not_masked")),
        Mistake("columns_not_masked", "The store has no mask for the columns: past column K − 1 lies the next "
                "row.",  # 115
                slipped(bias_relu_body, "columns_not_masked")),
        Mistake("grid_exchanged", "The axes of the grid are exchanged: number 0 is for rows, number 1 for columns.",
                slipped(bias_relu_body, "grid_exchanged")),
    ],
    alternatives=[bias_relu_by_where, bias_relu_row_by_row],
    hints=[
        "How many biases does a tile of BLOCK_M pixels and BLOCK_K filters need, and which?",
        dedent("""\
        Two pixels, three filters:

        ```
        total    1  -2   3         bias   1  3  -5         sum    2   1  -2         ReLU   2  1  0
                -4   5  -6                                       -3   8 -11                0  8  0
        ```"""),
        dedent("""\
        ```
        m, k <- rows (BLOCK_M,) and columns (BLOCK_K,) of this tile
        v    <- load total at (m as a column, k as a row), masked        # (BLOCK_M, BLOCK_K) float32
        b    <- load bias at k, masked                                   # (BLOCK_K,)
        v    <- the larger of v + (b as a row) and 0
        store v at the same places of y, masked
        ```"""),
        "In a kernel that has just computed the tile, v is there already, and these three lines cost no traffic but "
        "the biases. As kernels of their own they would read and write the whole output again.",
    ])


# ---------------------------------------------------------------------------- conv_kernel

def conv(x, weight, bias, y, M, H, W, C, K, P, Q, R, S, stride, padding, x_n, x_h, x_w, x_c, BLOCK_M, BLOCK_K, BLOCK_C):
    """Oracle: torch, in float64."""
    images = as_images(x, M // (P * Q), C, H, W, x_n, x_c, x_h, x_w).double()
    out = F.relu(F.conv2d(images, weight.double().permute(3, 2, 0, 1), bias.double(), stride, padding))
    return filled(y, out.permute(0, 2, 3, 1).reshape(M, K))


@triton.jit
def conv_by_one_loop(x, weight, bias, y, M, H, W, C, K, P, Q, R, S, stride, padding, x_n, x_h, x_w, x_c,
                     BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_C: tl.constexpr):
    m = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M))[:, None].to(tl.int64)
    k = (tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K))[None, :]
    top, left = m // Q % P * stride - padding, m % Q * stride - padding
    D = R * S * C
    total = tl.zeros((BLOCK_M, BLOCK_K), tl.float32)
    for first in range(0, D, BLOCK_C):
        d = first + tl.arange(0, BLOCK_C)
        h, w = top + (d // (S * C))[None, :], left + (d // C % S)[None, :]
        inside = (m < M) & (d < D)[None, :] & (0 <= h) & (h < H) & (0 <= w) & (w < W)
        a = tl.load(x + m // (P * Q) * x_n + h * x_h + w * x_w + (d % C)[None, :] * x_c, inside, other=0.0)
        b = tl.load(weight + d[:, None] * K + k, (d < D)[:, None] & (k < K), other=0.0)
        total = tl.dot(a, b, total, input_precision="ieee")
    total = tl.maximum(total + tl.load(bias + k, k < K, other=0.0), 0.0)
    tl.store(y + m * K + k, total, (m < M) & (k < K))


@triton.jit
def conv_by_sums(x, weight, bias, y, M, H, W, C, K, P, Q, R, S, stride, padding, x_n, x_h, x_w, x_c,
                 BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_C: tl.constexpr):
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    n, rest = m // (P * Q), m % (P * Q)
    total = tl.load(bias + k, k < K, other=0.0)[None, :] + tl.zeros((BLOCK_M, BLOCK_K), tl.float32)
    for r in range(R):
        for s in range(S):
            h, w = rest // Q * stride + r - padding, rest % Q * stride + s - padding
            inside = (m < M) & (h >= 0) & (w >= 0) & (h < H) & (w < W)
            for c in range(C):
                a = tl.load(x + n * x_n + h * x_h + w * x_w + c * x_c, inside, other=0.0).to(tl.float32)
                b = tl.load(weight + ((r * S + s) * C + c) * K + k, k < K, other=0.0).to(tl.float32)
                total += a[:, None] * b[None, :]
    tl.store(y + m[:, None] * K + k[None, :], tl.where(total > 0, total, 0.0), (m < M)[:, None] & (k < K)[None, :])


@triton.jit
def conv_body(x, weight, bias, y, M, H, W, C, K, P, Q, R, S, stride, padding, x_n, x_h, x_w, x_c,
              BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_C: tl.constexpr, SLIP: tl.constexpr = ""):
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    n, p, q = m // (P * Q), m // Q % P, m % Q
    if SLIP == "image_and_row":
        n, p = m // Q % P, m // (P * Q)
    if SLIP == "row_and_column":
        p, q = m % P, m // P % Q
    if SLIP == "input_sizes":
        n, p, q = m // (H * W), m // W % H, m % W
    kind: tl.constexpr = tl.float16 if SLIP == "float16" else tl.float32
    total = tl.zeros((BLOCK_M, BLOCK_K), kind)
    for r in range(R):
        for s in range(S):
            h, w = p * stride - padding + r, q * stride - padding + s
            if SLIP == "no_stride":
                h, w = p - padding + r, q - padding + s
            if SLIP == "padding_added":
                h, w = p * stride + padding + r, q * stride + padding + s
            if SLIP == "no_padding":
                h, w = p * stride + r, q * stride + s
            if SLIP == "tap_times_stride":
                h, w = (p + r) * stride - padding, (q + s) * stride - padding
            if SLIP == "taps_exchanged":
                h, w = p * stride - padding + s, q * stride - padding + r
            inside = (m < M) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
            if SLIP == "border_not_masked":
                inside = m < M
            if SLIP == "rows_of_border":
                inside = (m < M) & (h >= 0) & (h < H)
            if SLIP == "lower_border":
                inside = (m < M) & (h >= 0) & (w >= 0)
            if SLIP == "output_border":
                inside = (m < M) & (h >= 0) & (h < P) & (w >= 0) & (w < Q)
            for first in range(0, C, BLOCK_C):
                c = first + tl.arange(0, BLOCK_C)
                at = (n * x_n + h * x_h + w * x_w)[:, None] + (c * x_c)[None, :]
                if SLIP == "packed":
                    at = ((n * H + h) * W + w)[:, None] * C + c[None, :]
                keep_c = c < C
                if SLIP == "channels_not_masked":
                    keep_c = c >= 0
                if SLIP == "no_other":
                    a = tl.load(x + at, inside[:, None] & keep_c[None, :])
                else:
                    a = tl.load(x + at, inside[:, None] & keep_c[None, :], other=0.0)
                u, v = r, s
                if SLIP == "rotated":
                    u, v = R - 1 - r, S - 1 - s
                row = (u * S + v) * C + c
                if SLIP == "channel_first":
                    row = (c * R + u) * S + v
                b = tl.load(weight + row[:, None] * K + k[None, :], keep_c[:, None] & (k < K)[None, :], other=0.0)
                if SLIP == "float16":
                    total += tl.dot(a, b, input_precision="ieee").to(tl.float16)
                else:
                    if SLIP == "overwritten":
                        total = tl.dot(a, b, input_precision="ieee")
                    else:
                        total += tl.dot(a, b, input_precision="ieee")
    added = tl.load(bias + k, k < K, other=0.0)
    result = tl.maximum(total + added[None, :], 0.0)
    if SLIP == "no_bias":
        result = tl.maximum(total, 0.0)
    if SLIP == "no_relu":
        result = total + added[None, :]
    if SLIP == "relu_first":
        result = tl.maximum(total, 0.0) + added[None, :]
    to = m[:, None] * K + k[None, :]
    if SLIP == "channels_first":
        to = (n * K * P * Q + p * Q + q)[:, None] + (k * P * Q)[None, :]
    if SLIP == "pixels_not_masked":
        tl.store(y + to, result, (m >= 0)[:, None] & (k < K)[None, :])
    else:
        tl.store(y + to, result, (m < M)[:, None] & (k < K)[None, :])


def conv_probe(seed, N, H, W, C, K, R, S, stride=1, padding=0, layout="last", dtype=np.float32, least=-3, most=3,
               blocks=(8, 4, 4), more=0, wide=1):
    """layout: "last" is packed NHWC, "apart" the same with gaps, "first" is NCHW; wide: so much larger x."""
    rng = np.random.default_rng([seed, N, H, W])
    x = rng.integers(wide * least, wide * most + 1, (N, C, H, W) if layout == "first" else (N, H, W, C)).astype(dtype)
    x = strided(x) if layout == "apart" else x
    steps = steps_of(x)
    x_n, x_h, x_w, x_c = (steps[0], *steps[2:], steps[1]) if layout == "first" else steps
    weight = rng.integers(least, most + 1, (R, S, C, K)).astype(dtype)
    P, Q = (H + 2 * padding - R) // stride + 1, (W + 2 * padding - S) // stride + 1
    M = N * P * Q
    return call(x, weight, rng.integers(-3, 4, K).astype(dtype), poison(M + more, K), M=M, H=H, W=W, C=C, K=K, P=P,
                Q=Q, R=R, S=S, stride=stride, padding=padding, x_n=x_n, x_h=x_h, x_w=x_w, x_c=x_c,
                BLOCK_M=blocks[0], BLOCK_K=blocks[1], BLOCK_C=blocks[2],
                grid=(cdiv(M, blocks[0]), cdiv(K, blocks[1])), written=(3,), device="cpu")


def random_conv(rng):
    return conv_probe(some(rng, 0, 1 << 30), some(rng, 1, 2), some(rng, 3, 5), some(rng, 2, 4), some(rng, 2, 5),
                      some(rng, 2, 7), some(rng, 1, 3), some(rng, 1, 2), some(rng, 1, 2), some(rng, 0, 1),
                      ("last", "apart", "first")[some(rng, 0, 2)], blocks=(16, 4, 8))


CONV_KERNEL = Exercise(
    id="conv_kernel", points=4, forbidden=(),
    oracle=conv,
    probes=[conv_probe(51, 1, 2, 3, 1, 1, 2, 2, blocks=(4, 4, 4)),
            conv_probe(52, 2, 4, 3, 2, 3, 3, 2, 1, 1, blocks=(16, 4, 4)),
            conv_probe(53, 1, 5, 4, 5, 6, 2, 3, 2, 1, "apart", blocks=(8, 8, 4), wide=1000),
            conv_probe(54, 1, 2, 3, 8, 3, 2, 3, 1, 1, "last", np.float16, 5, 16, (16, 4, 8)),
            conv_probe(55, 3, 3, 5, 2, 5, 1, 2, 2, 0, "first", more=1)],
    random=random_conv,
    mistakes=[
        Mistake("border_not_masked", "Positions in the padding are read as if they were there, at least those above "
                "and to the left of the image, where h or w is negative. There lies the row before, another image, "
                "or nothing: they count as 0.",  # 115
                slipped(conv_body, "border_not_masked")),
        Mistake("rows_of_border", "Above and below the image is masked, left and right of it is not: there the "
                "kernel reads the end of the row before, or the start of the next.",  # 115
                slipped(conv_body, "rows_of_border")),
        Mistake("lower_border", "The mask sees what lies above and to the left of the image, not what lies below and "
                "to the right.",  # 115
                slipped(conv_body, "lower_border")),
        Mistake("output_border", "The mask compares with P and Q, the size of the output. h and w are places in the "
                "input, H by W.", slipped(conv_body, "output_border")),
        Mistake("no_other", "What the mask keeps back goes into the sums. Say what a masked load gives: something "
                "that adds nothing.",  # 116
                slipped(conv_body, "no_other")),
        Mistake("channels_not_masked", "Where C is not a multiple of BLOCK_C, the last step takes channels of the "
                "next pixel, and rows of the next position's weights.",  # 115
                slipped(conv_body, "channels_not_masked")),
        Mistake("no_stride", "The stride of the layer is left out: windows are `stride` pixels apart.",  # 1
                slipped(conv_body, "no_stride")),
        Mistake("padding_added", "The padding goes the wrong way: output 0 starts `padding` pixels before the image.",
                slipped(conv_body, "padding_added")),
        Mistake("no_padding", "The padding is left out: output 0 starts `padding` pixels before the image.",
                slipped(conv_body, "no_padding")),
        Mistake("tap_times_stride", "The place in the window is multiplied by the stride. That would be dilation: "
                "the stride is for the window as a whole.", slipped(conv_body, "tap_times_stride")),
        Mistake("taps_exchanged", "r and s are exchanged in the place that is read: r goes down, s goes right.",  # 5
                slipped(conv_body, "taps_exchanged")),
        Mistake("image_and_row", "Image and row of the output pixel are exchanged.",  # 120
                slipped(conv_body, "image_and_row")),
        Mistake("row_and_column", "Row and column of the output pixel are exchanged.",  # 120
                slipped(conv_body, "row_and_column")),
        Mistake("input_sizes", "The output pixel is decoded with H and W, the size of the input. There are P·Q "
                "outputs in an image.",  # 120
                slipped(conv_body, "input_sizes")),
        Mistake("packed", "x is read as if it were packed and channels-last. Take its four strides.",  # 119
                slipped(conv_body, "packed")),
        Mistake("rotated", "The kernel is rotated by 180°. A layer computes a cross-correlation (notebook 02): "
                "nothing is turned round.", slipped(conv_body, "rotated")),
        Mistake("channel_first", "The weights are read with the channel first. They are (R, S, C, K): the channel "
                "comes after the position.", slipped(conv_body, "channel_first")),
        Mistake("float16", "The sums are kept in float16, which above 2048 has only every second whole number. Sums "
                "are float32.",  # 123
                slipped(conv_body, "float16")),
        Mistake("overwritten", "Only the last step is left: each is to be added to what there is.",
                slipped(conv_body, "overwritten")),
        Mistake("no_bias", "The bias is missing.", slipped(conv_body, "no_bias")),
        Mistake("no_relu", "The ReLU is missing.", slipped(conv_body, "no_relu")),
        Mistake("relu_first", "The bias is added after the ReLU. It belongs to the sum, so before it.",
                slipped(conv_body, "relu_first")),
        Mistake("channels_first", "y is written as (N, K, P, Q). It is (M, K): all filters of a pixel side by side.",
                slipped(conv_body, "channels_first")),
        Mistake("pixels_not_masked", "The store has no mask for the pixels: the last tile goes past pixel M − "
                "1.",  # 115
                slipped(conv_body, "pixels_not_masked")),
    ],
    alternatives=[conv_by_one_loop, conv_by_sums],
    hints=[
        "For one position (r, s) of the window: which pixel of the input does output pixel m need, and when is there "
        "none?",
        dedent("""\
        One row of 3 pixels, a window of S = 2, padding 1, stride 2: Q = 2 outputs.

        ```
        input places    -1   0   1   2   3
        output 0         s=0 s=1                      w = -1 (padding: 0), 0
        output 1                 s=0 s=1              w =  1, 2
        ```

        For s = 0 the tile of both outputs reads the places −1 and 1; for s = 1 the places 0 and 2."""),
        dedent("""\
        ```
        m, k    <- output pixels (BLOCK_M,) and filters (BLOCK_K,) of this tile
        n, p, q <- image, row, column of each output pixel: Q columns, P rows
        total   <- zeros (BLOCK_M, BLOCK_K), float32
        for r in range(R), for s in range(S):
            h, w   <- the place that output (p, q) reads with position (r, s)       # (BLOCK_M,)
            inside <- m < M, and h, w in the image
            for first = 0, BLOCK_C, ... below C:
                c     <- first + (0 ... BLOCK_C - 1)
                a     <- x at image, place (as a column) and channel (as a row), masked, other 0    # (BLOCK_M, BLOCK_C)
                b     <- weight at row (r * S + s) * C + c (as a column), k (as a row), masked      # (BLOCK_C, BLOCK_K)
                total <- total + dot of a and b
        store the larger of (total + bias as a row) and 0, masked
        ```"""),
        "It is the product of the matrix of patches with the weights, step by step. The patches' columns go by r, s, "
        "c; for one (r, s) they are pixels of the input at one shift. So the patch is where it always was, in the "
        "image, and its address is enough.",
    ])


# ---------------------------------------------------------------------------- max_pool_kernel

def max_pool(x, y, M, C, H, W, P, Q, R, S, stride, padding, BLOCK_M, BLOCK_C):
    """Oracle: a loop over windows in NumPy, cut off at the border."""
    images, out = x.numpy().reshape(-1, H, W, C), np.zeros((M, C))
    for m in range(M):
        n, p, q = np.unravel_index(m, (M // (P * Q), P, Q))
        top, left = p * stride - padding, q * stride - padding
        out[m] = images[n, max(top, 0):top + R, max(left, 0):left + S].max((0, 1))
    return filled(y, out)


@triton.jit
def max_pool_by_where(x, y, M, C, H, W, P, Q, R, S, stride, padding, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr):
    m = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M))[:, None]
    c = (tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C))[None, :]
    n, top, left = m // (P * Q), m // Q % P * stride - padding, m % Q * stride - padding
    best = tl.zeros((BLOCK_M, BLOCK_C), tl.float32) - float("inf")
    for position in range(R * S):
        h, w = top + position // S, left + position % S
        inside = (m < M) & (c < C) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
        v = tl.load(x + ((n * H + h) * W + w) * C + c, inside, other=0.0)
        best = tl.where(inside & (v > best), v, best)
    tl.store(y + m * C + c, best, (m < M) & (c < C))


@triton.jit
def max_pool_by_clamping(x, y, M, C, H, W, P, Q, R, S, stride, padding, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr):
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    n, p, q = m // (P * Q), m // Q % P, m % Q
    keep = (m < M)[:, None] & (c < C)[None, :]
    best = tl.full((BLOCK_M, BLOCK_C), float("-inf"), tl.float32)
    for r in range(R):
        # Outside, a pixel of the border once more: it is in the window too, as padding is at most half of it.
        h = tl.minimum(tl.maximum(p * stride + r - padding, 0), H - 1)
        for s in range(S):
            w = tl.minimum(tl.maximum(q * stride + s - padding, 0), W - 1)
            at = (((n * H + h) * W + w) * C)[:, None] + c[None, :]
            best = tl.maximum(best, tl.load(x + at, keep, other=0.0))
    tl.store(y + (m * C)[:, None] + c[None, :], best, keep)


@triton.jit
def max_pool_body(x, y, M, C, H, W, P, Q, R, S, stride, padding,
                  BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr, SLIP: tl.constexpr = ""):
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    if SLIP == "first_channels":
        c = tl.arange(0, BLOCK_C)
    n, p, q = m // (P * Q), m // Q % P, m % Q
    if SLIP == "image_and_row":
        n, p = m // Q % P, m // (P * Q)
    if SLIP == "row_and_column":
        p, q = m % P, m // P % Q
    keep = (m < M)[:, None] & (c < C)[None, :]
    start: tl.constexpr = 0.0 if SLIP == "from_zero" or SLIP == "average" else float("-inf")
    best = tl.full((BLOCK_M, BLOCK_C), start, tl.float32)
    if SLIP == "minimum":
        best = tl.full((BLOCK_M, BLOCK_C), float("inf"), tl.float32)
    for r in range(R):
        for s in range(S):
            h, w = p * stride - padding + r, q * stride - padding + s
            if SLIP == "stride_one":
                h, w = p - padding + r, q - padding + s
            if SLIP == "stride_of_window":
                h, w = p * R - padding + r, q * S - padding + s
            if SLIP == "no_padding":
                h, w = p * stride + r, q * stride + s
            if SLIP == "padding_added":
                h, w = p * stride + padding + r, q * stride + padding + s
            if SLIP == "taps_exchanged":
                h, w = p * stride - padding + s, q * stride - padding + r
            inside = (m < M) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
            if SLIP == "border_not_masked":
                inside = m < M
            at = (((n * H + h) * W + w) * C)[:, None] + c[None, :]
            if SLIP == "channels_first":
                at = ((n * C * H + h) * W + w)[:, None] + (c * H * W)[None, :]
            masked = inside[:, None] & (c < C)[None, :]
            if SLIP == "no_other":
                v = tl.load(x + at, masked)
            else:
                if SLIP == "zeros" or SLIP == "average":
                    v = tl.load(x + at, masked, other=0.0)
                else:
                    if SLIP == "minimum":
                        v = tl.load(x + at, masked, other=float("inf"))
                    else:
                        v = tl.load(x + at, masked, other=float("-inf"))
            if SLIP == "average":
                best = best + v
            else:
                if SLIP == "minimum":
                    best = tl.minimum(best, v)
                else:
                    if SLIP == "last":
                        best = tl.where(masked, v, best)
                    else:
                        best = tl.maximum(best, v)
    if SLIP == "average":
        best = best / (R * S)
    if SLIP == "across_channels":
        best = tl.max(tl.where(keep, best, -1e9), axis=1)[:, None] + tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    if SLIP == "not_masked":
        keep = (m >= 0)[:, None] & (c < C)[None, :]
    tl.store(y + (m * C)[:, None] + c[None, :], best, keep)


def pool_probe(seed, N, H, W, C, R, S, stride, padding=0, blocks=(8, 4), more=0, wide=1):
    """Mostly negative numbers: beside those a 0 shows; wide: that much larger ones."""
    x = np.random.default_rng([seed, N, H, W]).integers(-9 * wide, 3 * wide, (N, H, W, C)).astype(np.float32)
    P, Q = (H + 2 * padding - R) // stride + 1, (W + 2 * padding - S) // stride + 1
    M = N * P * Q
    return call(x, poison(M + more, C), M=M, C=C, H=H, W=W, P=P, Q=Q, R=R, S=S, stride=stride, padding=padding,
                BLOCK_M=blocks[0], BLOCK_C=blocks[1], grid=(cdiv(M, blocks[0]), cdiv(C, blocks[1])), written=(1,),
                device="cpu")


def random_pool(rng):
    R, S = some(rng, 2, 3, 2)
    return pool_probe(some(rng, 0, 1 << 30), some(rng, 1, 2), some(rng, 4, 6), some(rng, 3, 5), some(rng, 2, 5), R, S,
                      some(rng, 1, 3), some(rng, 0, 1), (32, 8), some(rng, 0, 1))


MAX_POOL_KERNEL = Exercise(
    id="max_pool_kernel", points=3, forbidden=(),
    oracle=max_pool,
    probes=[pool_probe(61, 1, 2, 4, 1, 2, 2, 2, blocks=(4, 4)), pool_probe(62, 2, 4, 3, 2, 2, 3, 1, 1, (16, 4)),
            pool_probe(63, 1, 5, 6, 5, 3, 2, 2, 1, (16, 4), wide=999), pool_probe(65, 2, 5, 3, 3, 3, 2, 1, 0, more=2)],
    random=random_pool,
    mistakes=[
        Mistake("from_zero", "Nothing below 0 ever wins, as if the maximum started at 0. It starts below every "
                "number.",  # 60
                slipped(max_pool_body, "from_zero")),
        Mistake("zeros", "The padding counts as 0, and 0 beats every negative number. Padding must never win.",  # 61
                slipped(max_pool_body, "zeros")),
        Mistake("no_other", "What the mask keeps back takes part in the maximum. Say what a masked load gives: "
                "something that never wins.",  # 116
                slipped(max_pool_body, "no_other")),
        Mistake("border_not_masked", "Positions in the padding are read as if they were there.",  # 115
                slipped(max_pool_body, "border_not_masked")),
        Mistake("stride_one", "The stride is left out: windows are `stride` pixels apart.",  # 62
                slipped(max_pool_body, "stride_one")),
        Mistake("stride_of_window", "Windows are taken to lie side by side. They are `stride` pixels apart, which "
                "need not be their size.", slipped(max_pool_body, "stride_of_window")),
        Mistake("no_padding", "The padding is left out: the first window starts `padding` pixels before the image.",
                slipped(max_pool_body, "no_padding")),
        Mistake("padding_added", "The padding goes the wrong way: the first window starts before the image, not in "
                "it.", slipped(max_pool_body, "padding_added")),
        Mistake("taps_exchanged", "r and s are exchanged in the place that is read: r goes down, s goes right.",  # 63
                slipped(max_pool_body, "taps_exchanged")),
        Mistake("image_and_row", "Image and row of the output pixel are exchanged.",  # 120
                slipped(max_pool_body, "image_and_row")),
        Mistake("row_and_column", "Row and column of the output pixel are exchanged.",  # 120
                slipped(max_pool_body, "row_and_column")),
        Mistake("last", "The last value of the window is kept, not the largest.",  # 64
                slipped(max_pool_body, "last")),
        Mistake("average", "That is the mean of the window.", slipped(max_pool_body, "average")),
        Mistake("minimum", "That is the smallest value of the window.", slipped(max_pool_body, "minimum")),
        Mistake("across_channels", "The maximum is taken over the channels too. Each channel is pooled alone.",  # 68
                slipped(max_pool_body, "across_channels")),
        Mistake("channels_first", "x is read as (N, C, H, W). It is (N, H, W, C): the channels of a pixel lie side "
                "by side.",  # 119
                slipped(max_pool_body, "channels_first")),
        Mistake("first_channels", "Channels past those of the first tile are not written. A tile's number along the "
                "second axis of the grid, times BLOCK_C, says where its channels begin.",
                slipped(max_pool_body, "first_channels")),
        Mistake("not_masked", "The store has no mask for the pixels: the last tile goes past pixel M − 1.",  # 115
                slipped(max_pool_body, "not_masked")),
    ],
    alternatives=[max_pool_by_where, max_pool_by_clamping],
    hints=[
        "A window that hangs over the border has fewer pixels. What should a missing pixel count as, so that it "
        "never wins?",
        dedent("""\
        A row of 3 pixels, all negative, windows of 2, stride 2, padding 1:

        ```
        pixels          .  -5  -2  -7        . is padding
        window 0        .  -5                the largest is -5, not 0
        window 1               -2  -7        -2
        ```"""),
        dedent("""\
        ```
        m, c    <- output pixels (BLOCK_M,) and channels (BLOCK_C,) of this tile
        n, p, q <- image, row, column of each output pixel
        best    <- minus infinity (BLOCK_M, BLOCK_C)
        for r in range(R), for s in range(S):
            h, w <- the place that output (p, q) reads with position (r, s)
            v    <- x at (n, h, w as a column, c as a row), masked, with an `other` that never wins
            best <- the larger of best and v
        store best, masked
        ```"""),
        "It is the convolution kernel without weights: the same pixels, the same addresses, the same mask. Only the "
        "sum has become a maximum, and so what adds nothing, 0, becomes what never wins, −∞.",
    ])


# ---------------------------------------------------------------------------- layer_floors

def layer_floors(layer, itemsize, peak, bandwidth):
    """Oracle: the shapes written out."""
    N, C, H, W, K, R, S, stride, padding = layer
    P, Q = (len(range(-padding, n + padding - k + 1, stride)) for n, k in ((H, R), (W, S)))
    flops = 2 * int(np.prod([N, P, Q, K, C, R, S], dtype=object))
    moved = itemsize * sum(int(np.prod(shape, dtype=object)) for shape in ((N, C, H, W), (K, C, R, S), (N, K, P, Q)))
    return flops, moved, float(np.fmax(flops / peak, moved / bandwidth))


def floors_by_counting(layer, itemsize, peak, bandwidth):
    N, C, H, W, K, R, S, stride, padding = layer
    P = sum(1 for top in range(0, H + 2 * padding - R + 1) if top % stride == 0)
    Q = sum(1 for left in range(0, W + 2 * padding - S + 1) if left % stride == 0)
    sizes = [(N, C, H, W), (K, C, R, S), (N, K, P, Q)]
    moved = sum(a * b * c * d for a, b, c, d in sizes) * itemsize
    flops = N * P * Q * K * (2 * C * R * S)
    return flops, moved, flops / peak if flops * bandwidth > moved * peak else moved / bandwidth


def floors_by_intensity(layer, itemsize, peak, bandwidth):
    N, C, H, W, K, R, S, stride, padding = layer
    M, D = N * (1 + (H + 2 * padding - R) // stride) * (1 + (W + 2 * padding - S) // stride), R * S * C
    flops, moved = 2 * M * K * D, itemsize * (N * H * W * C + D * K + M * K)
    return flops, moved, flops / min(peak, flops / moved * bandwidth)


def _floors(flops=lambda f, **_: f, moved=lambda x, w, y, patches: x + w + y, time=max,
            size=lambda n, k, s, p: (n + 2 * p - k) // s + 1, bytes_each=lambda i: i):
    """A mistake: other operations, other bytes, or another time of the two."""
    def run(layer, itemsize, peak, bandwidth):
        N, C, H, W, K, R, S, stride, padding = layer
        P, Q = size(H, R, stride, padding), size(W, S, stride, padding)
        operations = flops(2 * N * P * Q * K * C * R * S, pixels=N * H * W, outputs=N * P * Q, K=K, C=C, R=R, S=S)
        total = bytes_each(itemsize) * moved(N * C * H * W, K * C * R * S, N * K * P * Q, N * P * Q * C * R * S)
        return operations, total, time(operations / peak, total / bandwidth)

    return run


def random_floors(rng):
    R, S = some(rng, 1, 3, 2)
    N, C, H, W, K = some(rng, 2, 9), some(rng, 1, 70), some(rng, 5, 30), some(rng, 5, 30), some(rng, 1, 70)
    layer = N, C, H, W, K, R, S, some(rng, 1, 3), some(rng, 0, 2)
    return call(layer, some(rng, 1, 2) * 2, 8e12, 5e11 * some(rng, 1, 3))


LAYER_FLOORS = Exercise(
    id="layer_floors", points=2,
    oracle=layer_floors,
    probes=[call((1, 1, 3, 4, 2, 2, 3, 1, 0), 2, 100.0, 10.0), call((2, 3, 9, 7, 5, 3, 2, 2, 1), 4, 1e6, 5e5),
            call((8, 64, 14, 12, 32, 3, 5, 1, 2), 2, 1e12, 1e10), call((4, 16, 7, 9, 24, 1, 2, 3, 0), 2, 1e12, 1e9)],
    random=random_floors,
    mistakes=[
        Mistake("patches", "The bytes are those of the matrix of patches. A pixel has to come from memory once, in "
                "however many windows it is.",  # 127
                _floors(moved=lambda x, w, y, patches: patches + w + y)),
        Mistake("patches_too", "The patches are written and read on top. What has to be moved at least is what goes "
                "in and what comes out.",  # 127
                _floors(moved=lambda x, w, y, patches: x + w + y + 2 * patches)),
        Mistake("no_output", "The output is not counted. It has to be written too.",  # 127
                _floors(moved=lambda x, w, y, patches: x + w)),
        Mistake("no_weights", "The weights are not counted. They have to be read too.",  # 127
                _floors(moved=lambda x, w, y, patches: x + y)),
        Mistake("no_input", "The input is not counted. It has to be read.",  # 127
                _floors(moved=lambda x, w, y, patches: w + y)),
        Mistake("float32_always", "A number is taken to have 4 bytes. It has `itemsize`.",  # 127
                _floors(bytes_each=lambda i: 4)),
        Mistake("bits", "The number is that of bits: `itemsize` is in bytes already.",  # 127
                _floors(bytes_each=lambda i: 8 * i)),
        Mistake("twice", "Every number is counted twice, for reading and for writing. Input and weights are read, "
                "the output is written: each once.",  # 127
                _floors(moved=lambda x, w, y, patches: 2 * (x + w + y))),
        Mistake("multiply_adds", "Those are multiply-adds. An operation count has two for each: a multiplication and "
                "an addition.", _floors(flops=lambda f, **_: f // 2)),
        Mistake("input_pixels", "There is one window for each output pixel, not for each input pixel.",
                _floors(flops=lambda f, pixels, outputs, **_: f // outputs * pixels)),
        Mistake("one_filter", "The operations are those of one filter. There are K.",
                _floors(flops=lambda f, K, **_: f // K)),
        Mistake("one_channel", "The operations are those of one channel. A window goes through all C.",
                _floors(flops=lambda f, C, **_: f // C)),
        Mistake("no_stride", "The stride is left out of the size of the output.",
                _floors(size=lambda n, k, s, p: n + 2 * p - k + 1)),
        Mistake("padding_once", "The padding is added once. It lies on both sides.",
                _floors(size=lambda n, k, s, p: (n + p - k) // s + 1)),
        Mistake("no_padding", "The padding is left out of the size of the output.",
                _floors(size=lambda n, k, s, p: (n - k) // s + 1)),
        Mistake("sum_of_both", "Both times are added. Arithmetic and memory work at the same time, so the longer one "
                "is the floor.", _floors(time=lambda a, b: a + b)),
        Mistake("shorter", "The shorter of the two times is taken. Neither can be undercut, so the longer one is the "
                "floor.", _floors(time=min)),
        Mistake("arithmetic_only", "The time is that of the arithmetic alone. Some layers wait for memory.",
                _floors(time=lambda a, b: a)),
        Mistake("memory_only", "The time is that of the bytes alone. Some layers wait for the arithmetic.",
                _floors(time=lambda a, b: b)),
    ],
    alternatives=[floors_by_counting, floors_by_intensity],
    hints=[
        "What would an ideal machine still have to read and to write? And what would it have to multiply?",
        dedent("""\
        One image of 1×3×4, two filters of 2×3, stride 1, no padding: the output is 2×2×2.

        ```
        operations    2 · 8 outputs · 6 products              =  96
        numbers       12 of x + 12 of the weights + 8 of y    =  32
        ```

        With 2 bytes each, 100 operations and 10 bytes a second: 0.96 s and 6.4 s, so 6.4 s."""),
        dedent("""\
        ```
        P, Q    <- size of the output
        flops   <- 2 * outputs * products in each
        moved   <- itemsize * (numbers of x + of the weights + of y)
        seconds <- the longer of flops / peak and moved / bandwidth
        ```"""),
        "A floor holds for every method, so it may count only what no method can avoid. Patches, tiles that are read "
        "again, and intermediate results are a method's own; what they cost shows as the distance from the floor.",
    ])


# ---------------------------------------------------------------------------- median_time

class Device:
    """The class that the notebook gives."""

    def __init__(self, durations):
        self.durations, self.launches = durations, 0
        self.now = self.free = 0.0

    def clock(self):
        return self.now

    def launch(self):
        self.now += 5.0
        self.free = max(self.now, self.free) + self.durations[min(self.launches, len(self.durations) - 1)]
        self.launches += 1

    def synchronise(self):
        self.now = max(self.now, self.free)


def timed_by(method):
    """A class like the student's, with this method."""
    return lambda durations: type("Answer", (Device,), {"median_time": method})(durations)


def _median_time(self, warmup, repeats):
    """Oracle: worked out from the durations; then the device is left as if it had been used."""
    import statistics

    last = len(self.durations) - 1
    taken = [5.0 + self.durations[min(i, last)] for i in range(warmup, warmup + repeats)]
    self.launches = warmup + repeats
    return float(statistics.median(taken))


def _timed_plainly(self, warmup, repeats):
    for _ in range(warmup):
        self.launch()
    taken = []
    for _ in range(repeats):
        self.synchronise()
        taken.append(-self.clock())
        self.launch()
        self.synchronise()
        taken[-1] += self.clock()
    taken.sort()
    middle = len(taken) // 2
    return (taken[middle] + taken[-1 - middle]) / 2


def _timed_all_alike(self, warmup, repeats):
    marks = [self.clock()]
    for _ in range(warmup + repeats):
        self.launch()
        self.synchronise()
        marks.append(self.clock())
    return np.median(np.diff(marks)[warmup:])


def _timed(warm=True, before=True, after=True, launch_first=False, middle=np.median):
    """A mistake: one of the steps is missing, or something else than the median is taken."""
    def run(self, warmup, repeats):
        for _ in range(warmup if warm else 0):
            self.launch()
        if before:
            self.synchronise()
        taken = []
        for _ in range(repeats):
            start = self.clock()
            self.launch()
            start = self.clock() if launch_first else start
            if after:
                self.synchronise()
            taken.append(self.clock() - start)
        return float(middle(taken))

    return run


def _in_one_go(self, warmup, repeats):
    for _ in range(warmup):
        self.launch()
    self.synchronise()
    start = self.clock()
    for _ in range(repeats):
        self.launch()
    self.synchronise()
    return (self.clock() - start) / repeats


def _warm_counted(self, warmup, repeats):
    taken = []
    for _ in range(warmup + repeats):
        start = self.clock()
        self.launch()
        self.synchronise()
        taken.append(self.clock() - start)
    return float(np.median(taken))


def _launched_once(self, warmup, repeats):
    return _timed()(self, warmup, 1)


def timing_probe(durations, warmup, repeats):
    return call(durations, steps=[("median_time", {"warmup": warmup, "repeats": repeats}), ("launches", None)])


def random_timing(rng):
    return timing_probe((float(some(rng, 400, 900)), *(float(v) for v in rng.integers(20, 90, 7))), some(rng, 1, 3),
                        some(rng, 1, 5))


MEDIAN_TIME = Exercise(
    id="median_time", points=2,
    oracle=timed_by(_median_time),
    probes=[timing_probe((500.0, 40.0, 30.0), 1, 1), timing_probe((900.0, 60.0, 30.0, 32.0, 31.0, 210.0, 33.0), 2, 5),
            timing_probe((700.0, 50.0, 41.0, 40.0, 47.0), 1, 4), timing_probe((20.0, 64.0, 48.0, 80.0), 0, 3)],
    random=random_timing,
    mistakes=[
        Mistake("not_waited", "The clock is read before the device is done. `launch` comes back when the work is in "
                "the queue, so that is the time it takes to queue it.",  # 126
                timed_by(_timed(before=False, after=False))),
        Mistake("not_waited_before", "When the clock starts, the device is still at work on the warm-up. Wait for it "
                "before the first measurement too.",  # 126
                timed_by(_timed(before=False))),
        Mistake("no_warm_up", "There is no warm-up. The first launches compile and fill caches, which is not what is "
                "to be measured.",  # 126
                timed_by(_timed(warm=False))),
        Mistake("warm_up_counted", "The launches of the warm-up are among those of which the median is taken.",  # 126
                timed_by(_warm_counted)),
        Mistake("mean", "That is the mean. One launch that was disturbed moves it; the median stays.",
                timed_by(_timed(middle=np.mean))),
        Mistake("in_one_go", "All launches are timed together and their time is divided by their number. That is a "
                "mean, and the launches overlap: each is to be timed on its own.", timed_by(_in_one_go)),
        Mistake("fastest", "That is the shortest time, not the median.", timed_by(_timed(middle=np.min))),
        Mistake("longest", "That is the longest time, not the median.", timed_by(_timed(middle=np.max))),
        Mistake("sum", "The times are added up. What is asked for is their median.", timed_by(_timed(middle=np.sum))),
        Mistake("clock_after_launch", "The clock starts after the launch. It starts before it.",
                timed_by(_timed(launch_first=True))),
        Mistake("launched_once", "Only one launch is timed, not `repeats` of them.", timed_by(_launched_once)),
        Mistake("upper_middle", "With an even number of times the median is the mean of the two in the middle.",
                timed_by(_timed(middle=lambda taken: sorted(taken)[len(taken) // 2]))),
    ],
    alternatives=[timed_by(_timed_plainly), timed_by(_timed_all_alike)],
    hints=[
        "When `launch` comes back, what has the device done? What may it still be busy with when you read the clock?",
        dedent("""\
        A warm-up of 500 µs, then one launch of 40 µs; each launch takes the host 5 µs.

        ```
        host      launch  wait ............   clock 505   launch   wait ...   clock 550
        device            500 µs of warm-up                        40 µs
        ```

        The answer is 45 µs."""),
        dedent("""\
        ```
        launch `warmup` times
        wait for the device
        `repeats` times:
            start <- clock
            launch
            wait for the device
            keep clock - start
        return the median of what was kept
        ```"""),
        "A launch only puts work into a queue. Without waiting one measures the queue: 5 µs for any kernel, however "
        "long it takes. And what is still in the queue from before is counted with the first measurement.",
    ])


EXERCISES = [RELU_KERNEL, CENTRE_ROWS, PIXEL_OFFSETS, TO_CHANNELS_LAST, TILE_GRID, MATMUL_KERNEL, ROUND_TO_TF32,
             BIAS_RELU_KERNEL, CONV_KERNEL, MAX_POOL_KERNEL, MEDIAN_TIME, LAYER_FLOORS]
