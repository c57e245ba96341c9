"""Exercises of notebook 04: patches as rows, one matrix product, views, groups, the way back, and what it costs.

The oracles are torch's own unfold, fold, convolution, strides and operation counter.
"""

from textwrap import dedent

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from autograder.exercise import Exercise, Mistake, call
from autograder.exercises.draws import ints, pair, quarters
from cnnlab.probes import strided


def swapped(value):
    return pair(value)[::-1]


def sizes(x_shape, kernel_size, stride, padding):
    """H_out and W_out."""
    return tuple((n + 2 * p - k) // s + 1
                 for n, k, s, p in zip(x_shape[2:], kernel_size, pair(stride), pair(padding)))


def padded(x, padding, mode="constant"):
    (ph, pw) = pair(padding)
    return np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), mode)


def windows(x, kernel_size, stride=1, padding=0):
    """Every window: (N, C, H_out, W_out, kH, kW)."""
    sh, sw = pair(stride)
    return sliding_window_view(padded(x, padding), kernel_size, axis=(2, 3))[:, :, ::sh, ::sw]


def as_rows(w, *order):
    """Windows (N, C, H_out, W_out, kH, kW) as a matrix; order: other than that of the axes in rows and columns."""
    n, c, h, wide, kh, kw = w.shape
    return w.transpose(order or (0, 2, 3, 1, 4, 5)).reshape(n * h * wide, c * kh * kw)


# ---------------------------------------------------------------------------- im2col

def im2col(x, kernel_size, stride=1, padding=0):
    """Oracle: torch.nn.functional.unfold, whose patches are columns."""
    import torch

    x = torch.tensor(np.array(x, dtype=float, order="C"))
    patches = torch.nn.functional.unfold(x, kernel_size, 1, padding, stride)  # (N, C*kH*kW, H_out*W_out)
    return np.ascontiguousarray(patches.transpose(1, 2).flatten(0, 1).numpy())


def im2col_by_loops(x, kernel_size, stride=1, padding=0):
    x, (sh, sw), (kh, kw) = padded(x, padding), pair(stride), kernel_size
    rows = []
    for image in x:
        for r in range(0, x.shape[2] - kh + 1, sh):
            for c in range(0, x.shape[3] - kw + 1, sw):
                rows.append(image[:, r:r + kh, c:c + kw].ravel())
    return np.array(rows)


def im2col_by_view(x, kernel_size, stride=1, padding=0):
    return as_rows(windows(x, kernel_size, stride, padding))


def im2col_by_taps(x, kernel_size, stride=1, padding=0):
    (kh, kw), (sh, sw) = kernel_size, pair(stride)
    h_out, w_out = sizes(x.shape, kernel_size, stride, padding)
    n, c = x.shape[:2]
    x = padded(x, padding)
    columns = np.zeros((n, h_out, w_out, c, kh, kw))
    for a in range(kh):
        for b in range(kw):
            columns[..., a, b] = np.moveaxis(x[:, :, a:a + sh * h_out:sh, b:b + sw * w_out:sw], 1, -1)
    return columns.reshape(n * h_out * w_out, -1)


def im2col_by_index(x, kernel_size, stride=1, padding=0):
    (kh, kw), (sh, sw) = kernel_size, pair(stride)
    h_out, w_out = sizes(x.shape, kernel_size, stride, padding)
    n, r, c, channel, a, b = np.indices((len(x), h_out, w_out, x.shape[1], kh, kw))
    return padded(x, padding)[n, channel, r * sh + a, c * sw + b].reshape(len(x) * h_out * w_out, -1)


def im2col_dilated(x, kernel_size, stride=1, padding=0):
    import torch

    x = torch.tensor(np.array(x, dtype=float, order="C"))
    patches = torch.nn.functional.unfold(x, kernel_size, pair(stride), padding, 1)
    return patches.transpose(1, 2).flatten(0, 1).numpy()


def im2col_rounded_up(x, kernel_size, stride=1, padding=0):
    more = [(0, -(n + 2 * p - k) % s) for n, k, s, p in zip(x.shape[2:], kernel_size, pair(stride), pair(padding))]
    return im2col(np.pad(padded(x, padding), ((0, 0), (0, 0), *more)), kernel_size, stride)


def im2col_last_missing(x, kernel_size, stride=1, padding=0):
    x, (kh, kw), (sh, sw) = padded(x, padding), kernel_size, pair(stride)
    starts = np.arange(0, x.shape[2] - kh, sh), np.arange(0, x.shape[3] - kw, sw)
    kept = windows(x, kernel_size, stride)[:, :, :len(starts[0]), :len(starts[1])]
    return as_rows(kept)


def im2col_one_by_one(x, kernel_size, stride=1, padding=0):
    h_out, w_out = sizes(x.shape, kernel_size, stride, padding)
    return as_rows(windows(x, kernel_size, 1, padding)[:, :, :h_out, :w_out])


def im2col_first_image(x, kernel_size, stride=1, padding=0):
    out = im2col(x, kernel_size, stride, padding)
    out[len(out) // len(x):] = 0
    return out


def im2col_numbered_by_height(x, kernel_size, stride=1, padding=0):
    right = im2col(x, kernel_size, stride, padding)
    h_out, w_out = sizes(x.shape, kernel_size, stride, padding)
    out = np.zeros_like(right)
    for row, (n, r, c) in zip(right, np.ndindex(len(x), h_out, w_out)):
        out[n * h_out * w_out + r * h_out + c] = row
    return out


def im2col_channels_summed(x, kernel_size, stride=1, padding=0):
    return im2col(x.sum(axis=1, keepdims=True), kernel_size, stride, padding)


ONE, MANY, SETTINGS = "one image, one channel", "images and channels", "stride and padding"


def small_image(rng, n=1, c=1, k=(1, 1)):
    return rng.integers(-8, 9, (n, c, k[0] + rng.integers(0, 4), k[1] + rng.integers(0, 4))) / 4


def settings(rng):
    """A stride and a padding, each an int or a pair."""
    def draw(low, high):
        one = int(rng.integers(low, high))
        return one if rng.random() < 0.5 else (one, int(rng.integers(low, high)))
    return {"stride": draw(1, 4), "padding": draw(0, 3)}


def random_im2col(rng):
    part = (ONE, MANY, SETTINGS)[rng.integers(3)]
    k = tuple(int(v) for v in rng.integers(1, 4, 2))
    n, c = (1, 1) if part == ONE else (int(v) for v in rng.integers(1, 4, 2))
    return call(small_image(rng, n, c, k), k, **(settings(rng) if part == SETTINGS else {}), part=part)


IM2COL = Exercise(
    id="im2col", points=3,
    oracle=im2col,
    probes=[call(np.array([[[[1.0, 5, -2], [3, 0, 4]]]]), (2, 2), part=ONE),
            call(ints(1, 1, 1, 4, 3), (2, 2), part=ONE),
            call(strided(quarters(2, 1, 1, 4, 5)), (3, 2), part=ONE),
            call(ints(3, 1, 2, 2, 3), (1, 2), part=MANY),
            call(ints(4, 2, 1, 3, 3), (2, 1), part=MANY),
            call(quarters(5, 3, 2, 3, 4), (2, 3), part=MANY),
            call(strided(ints(6, 2, 3, 2, 3)), (1, 1), part=MANY),
            call(ints(7, 1, 1, 3, 4), (2, 2), stride=2, part=SETTINGS),
            call(quarters(8, 2, 2, 5, 4), (2, 1), stride=(3, 2), part=SETTINGS),
            call(ints(9, 1, 1, 2, 3), (2, 2), padding=1, part=SETTINGS),
            call(quarters(10, 1, 2, 4, 6), (3, 2), stride=(1, 2), padding=(2, 0), part=SETTINGS),
            call(ints(11, 2, 1, 3, 5), (2, 3), stride=2, padding=(0, 1), part=SETTINGS)],
    random=random_im2col,
    mistakes=[
        Mistake("patches_as_columns", "The patches lie in the columns. Here each patch is a row: the result has "
                "as many rows as there are output positions.",
                lambda x, kernel_size, stride=1, padding=0: im2col(x, kernel_size, stride, padding).T),
        Mistake("channels_last_in_a_row", "Within a row the channel changes fastest. The order is channel, then row "
                "of the window, then column: all of channel 0 first, as in `weight.reshape(C_out, -1)`.",  # 28
                lambda x, kernel_size, stride=1, padding=0:
                as_rows(windows(x, kernel_size, stride, padding), 0, 2, 3, 4, 5, 1)),
        Mistake("window_transposed", "Each window is read down its columns. It is read row by row, like "
                "`window.ravel()`.",  # 3
                lambda x, kernel_size, stride=1, padding=0:
                as_rows(windows(x, kernel_size, stride, padding), 0, 2, 3, 1, 5, 4)),
        Mistake("window_rotated", "Each window is read from its end to its start: rotated by 180°. It is read from "
                "its upper left corner, without a flip.",  # 1
                lambda x, kernel_size, stride=1, padding=0:
                as_rows(windows(x, kernel_size, stride, padding)[..., ::-1, ::-1])),
        Mistake("positions_by_column", "The positions run down the columns of the output. They run along its rows: "
                "the column changes fastest.",  # 5
                lambda x, kernel_size, stride=1, padding=0:
                as_rows(windows(x, kernel_size, stride, padding), 0, 3, 2, 1, 4, 5)),
        Mistake("row_number_uses_height", "Where the output is not square, some rows are overwritten and others stay "
                "empty: in the number of a row, each output row counts for W_out positions, not H_out.",  # 5, 29
                im2col_numbered_by_height),
        Mistake("image_fastest", "Two neighbouring rows belong to different images. All positions of image 0 come "
                "first, then all of image 1.",  # 29
                lambda x, kernel_size, stride=1, padding=0:
                as_rows(windows(x, kernel_size, stride, padding), 2, 3, 0, 1, 4, 5)),
        Mistake("windows_reshaped", "An array whose axes are (N, C, H_out, W_out, kH, kW) is reshaped as it is, so "
                "with several channels a row mixes positions. A reshape moves no axis: first bring the axes into "
                "the order in which they should be read.",  # 27
                lambda x, kernel_size, stride=1, padding=0:
                as_rows(windows(x, kernel_size, stride, padding), 0, 1, 2, 3, 4, 5)),
        Mistake("taps_reshaped", "An array whose axes are (N, C, kH, kW, H_out, W_out) is reshaped as it is, so a "
                "row holds one pixel of many windows. A reshape moves no axis: first bring the axes into the order "
                "in which they should be read.",  # 27
                lambda x, kernel_size, stride=1, padding=0:
                as_rows(windows(x, kernel_size, stride, padding), 0, 1, 4, 5, 2, 3)),
        Mistake("a_row_for_each_channel", "Each channel has rows of its own. One patch is one row, through all "
                "channels.",  # 21
                lambda x, kernel_size, stride=1, padding=0:
                windows(x, kernel_size, stride, padding).reshape(-1, kernel_size[0] * kernel_size[1])),
        Mistake("channels_summed", "The channels are added up. im2col only copies: a row holds the window of every "
                "channel, one after the other.",  # 21
                im2col_channels_summed),
        Mistake("images_kept_apart", "Each image has a matrix of its own. The rows of all images form one matrix.",
                lambda x, kernel_size, stride=1, padding=0:
                im2col(x, kernel_size, stride, padding).reshape(
                    len(x), -1, x.shape[1] * kernel_size[0] * kernel_size[1])),
        Mistake("first_image_only", "Only image 0 is there; the rows of the others are 0. Is the `return`, or the "
                "loop over images, in the right place?",  # 39
                im2col_first_image),
        Mistake("kernel_pair_swapped", "The first number of `kernel_size` is the height of the window, the second "
                "its width.",  # 7, 8
                lambda x, kernel_size, stride=1, padding=0: im2col(x, kernel_size[::-1], stride, padding)),
        Mistake("square_window", "The window is as wide as it is high. Its width is the second number of "
                "`kernel_size`.",  # 7
                lambda x, kernel_size, stride=1, padding=0:
                im2col_by_view(x, (kernel_size[0], kernel_size[0]), stride, padding)),
        Mistake("stride_ignored", "Every case with stride 1 is right: `stride` is not used.",
                lambda x, kernel_size, stride=1, padding=0: im2col(x, kernel_size, 1, padding)),
        Mistake("stride_on_rows_only", "The stride is applied from row to row, but from column to column the "
                "windows still move by 1.",  # 17
                lambda x, kernel_size, stride=1, padding=0:
                im2col(x, kernel_size, (pair(stride)[0], 1), padding)),
        Mistake("stride_inside_the_window", "The stride is used inside the window, which then reads every stride-th "
                "pixel: that is dilation. The stride is the step from one window to the next.",  # 19
                im2col_dilated),
        Mistake("stride_pair_swapped", "The first number of a stride pair is for the rows, the second for the "
                "columns.",  # 8
                lambda x, kernel_size, stride=1, padding=0: im2col(x, kernel_size, swapped(stride), padding)),
        Mistake("windows_one_apart", "There are as many windows as there should be, but they lie one pixel apart. "
                "Window r starts r strides from the top.",  # 18
                im2col_one_by_one),
        Mistake("windows_side_by_side", "The windows lie side by side without overlapping. The step from one to the "
                "next is the stride, not the size of the kernel.",
                lambda x, kernel_size, stride=1, padding=0: im2col(x, kernel_size, kernel_size, padding)),
        Mistake("padding_ignored", "Every case without padding is right: `padding` is not used.",
                lambda x, kernel_size, stride=1, padding=0: im2col(x, kernel_size, stride)),
        Mistake("padding_pair_swapped", "The first number of a padding pair is for the rows, the second for the "
                "columns.",  # 8
                lambda x, kernel_size, stride=1, padding=0: im2col(x, kernel_size, stride, swapped(padding))),
        Mistake("padding_bottom_right", "All the padding lies below and to the right of the image. It belongs on "
                "both sides.",  # 12
                lambda x, kernel_size, stride=1, padding=0: im2col(np.pad(
                    x, ((0, 0), (0, 0), *[(0, 2 * p) for p in pair(padding)])), kernel_size, stride)),
        Mistake("padding_repeats_edge", "The padding repeats the edge of the image. It is zeros.",  # 13
                lambda x, kernel_size, stride=1, padding=0: im2col(padded(x, padding, "edge"), kernel_size, stride)),
        Mistake("last_window_missing", "The last row or column of windows is missing where it just fits: a range "
                "leaves out its end.",  # 10
                im2col_last_missing),
        Mistake("rounds_up", "When the stride does not fit, a last window hangs over the end. It is left out.",  # 9
                im2col_rounded_up),
        Mistake("integer_buffer", "The patches are stored in an array of integers, which cuts off fractions.",  # 33
                lambda x, kernel_size, stride=1, padding=0: im2col(x, kernel_size, stride, padding).astype(int)),
    ],
    alternatives=[im2col_by_loops, im2col_by_view, im2col_by_taps, im2col_by_index],
    hints=[
        "Take one image with one channel and one position. Which numbers belong into its row, and in which order? "
        "And which row comes after it?",
        dedent("""\
        One image of 2×3, windows of 2×2, two positions:

        ```
        a b c      row 0   a b d e
        d e f      row 1   b c e f
        ```

        With a second channel `A … F` each row goes on with the window of that channel: `a b d e A B D E`."""),
        dedent("""\
        Position by position:

        ```
        x <- x with its padding
        for each image n, output row r, output column c, in this order:
            window <- all channels, kH rows from r*sH, kW columns from c*sW    # (C, kH, kW)
            next row of the result <- the window as one long row               # (C*kH*kW,)
        ```

        Or with short loops, over the pixels of a window:

        ```
        cols <- empty                                               # (C, kH, kW, N, H_out, W_out)
        for each a in 0 … kH-1 and b in 0 … kW-1:
            cols[:, a, b] <- x from row a and column b on, every sH-th row and sW-th column, H_out x W_out of them
        result <- cols with the first three axes as one, the last three as one, transposed
        ```"""),
        "A matrix product adds up along a row of one factor and a column of the other. So one row must hold exactly "
        "what one output position reads, in the order in which `weight.reshape(C_out, -1)` lays out a filter: "
        "channel, row, column. The order of the rows decides how the result is turned back into maps.",
    ])


# ---------------------------------------------------------------------------- conv2d_gemm

def conv2d_gemm(x, weight, bias, stride=1, padding=0):
    """Oracle: torch.nn.functional.conv2d."""
    import torch

    # order="C": torch takes no view with negative strides, such as a reversed kernel
    tensors = [torch.tensor(np.array(a, dtype=float, order="C")) for a in (x, weight, bias)]
    return torch.nn.functional.conv2d(*tensors, stride, padding).numpy()


def gemm_by_matmul(x, weight, bias, stride=1, padding=0):
    h_out, w_out = sizes(x.shape, weight.shape[2:], stride, padding)
    out = im2col_by_view(x, weight.shape[2:], stride, padding) @ weight.reshape(len(weight), -1).T + bias
    return out.reshape(len(x), h_out, w_out, -1).transpose(0, 3, 1, 2)


def gemm_for_each_image(x, weight, bias, stride=1, padding=0):
    h_out, w_out = sizes(x.shape, weight.shape[2:], stride, padding)
    flat = weight.reshape(len(weight), -1)
    return np.stack([(flat @ im2col_by_taps(image[None], weight.shape[2:], stride, padding).T + bias[:, None])
                     .reshape(-1, h_out, w_out) for image in x])


def gemm_by_tensordot(x, weight, bias, stride=1, padding=0):
    out = np.tensordot(windows(x, weight.shape[2:], stride, padding), weight, axes=([1, 4, 5], [1, 2, 3]))
    return np.moveaxis(out + bias, -1, 1)


def gemm_by_loops(x, weight, bias, stride=1, padding=0):
    return np.einsum("nchwab,ocab->nohw", windows(x, weight.shape[2:], stride, padding), weight) \
        + bias.reshape(1, -1, 1, 1)


def product(x, weight, bias, stride=1, padding=0, columns=None):
    """The matrix product (N*H_out*W_out, C_out), and N, H_out, W_out."""
    columns = weight.reshape(len(weight), -1).T if columns is None else columns
    out = im2col(x, weight.shape[2:], stride, padding) @ columns + bias
    return out, (len(x), *sizes(x.shape, weight.shape[2:], stride, padding))


def finish(out, space):
    return out.reshape(*space, -1).transpose(0, 3, 1, 2)


def gemm_reshaped(x, weight, bias, stride=1, padding=0):
    out, (n, h, w) = product(x, weight, bias, stride, padding)
    return out.reshape(n, -1, h, w)


def gemm_filters_first_reshaped(x, weight, bias, stride=1, padding=0):
    out, (n, h, w) = product(x, weight, bias, stride, padding)
    return out.T.reshape(n, -1, h, w)


def gemm_positions_by_column(x, weight, bias, stride=1, padding=0):
    out, (n, h, w) = product(x, weight, bias, stride, padding)
    return out.reshape(n, w, h, -1).transpose(0, 3, 2, 1)


def gemm_filters_first(x, weight, bias, stride=1, padding=0):
    return conv2d_gemm(x, weight, bias, stride, padding).swapaxes(0, 1)


def gemm_weight_as_columns(x, weight, bias, stride=1, padding=0):
    return finish(*product(x, weight, bias, stride, padding, weight.reshape(-1, len(weight))))


def gemm_weight_channels_last(x, weight, bias, stride=1, padding=0):
    columns = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1).T
    return finish(*product(x, weight, bias, stride, padding, columns))


def gemm_patches_reshaped(x, weight, bias, stride=1, padding=0):
    patches = as_rows(windows(x, weight.shape[2:], stride, padding), 0, 1, 2, 3, 4, 5)
    out = patches @ weight.reshape(len(weight), -1).T + bias
    return finish(out, (len(x), *sizes(x.shape, weight.shape[2:], stride, padding)))


def gemm_first_image(x, weight, bias, stride=1, padding=0):
    out = conv2d_gemm(x, weight, bias, stride, padding)
    out[1:] = 0
    return out


def gemm_dilated(x, weight, bias, stride=1, padding=0):
    import torch

    tensors = [torch.tensor(np.array(a, dtype=float, order="C")) for a in (x, weight, bias)]
    return torch.nn.functional.conv2d(*tensors, 1, padding, pair(stride)).numpy()


def gemm_rounded_up(x, weight, bias, stride=1, padding=0):
    more = [(0, -(n + 2 * p - k) % s)
            for n, k, s, p in zip(x.shape[2:], weight.shape[2:], pair(stride), pair(padding))]
    return conv2d_gemm(np.pad(padded(x, padding), ((0, 0), (0, 0), *more)), weight, bias, stride)


ONE_IMAGE, BATCH = "one image", "several images"


def random_gemm(rng):
    part = (ONE_IMAGE, BATCH, SETTINGS)[rng.integers(3)]
    k = tuple(int(v) for v in rng.integers(1, 4, 2))
    c, o = (int(v) for v in rng.integers(1, 4, 2))
    x = small_image(rng, 1 if part == ONE_IMAGE else int(rng.integers(2, 4)), c, k)
    return call(x, rng.integers(-4, 5, (o, c, *k)) / 2, rng.integers(-8, 9, o) / 8,
                **(settings(rng) if part == SETTINGS else {}), part=part)


CONV2D_GEMM = Exercise(
    id="conv2d_gemm", points=3,
    oracle=conv2d_gemm,
    probes=[call(np.array([[[[1.0, 5, -2], [3, 0, 4]]]]), np.array([[[[1.0, 2], [0, -1]]]]), np.array([0.5]),
                 part=ONE_IMAGE),
            call(ints(20, 1, 1, 3, 4), ints(21, 2, 1, 2, 2), np.array([1.0, -2]), part=ONE_IMAGE),
            call(quarters(22, 1, 3, 3, 4), ints(23, 2, 3, 2, 1), np.array([-1.5, 0.25]), part=ONE_IMAGE),
            call(strided(ints(24, 1, 2, 3, 3)), quarters(25, 3, 2, 1, 1), np.array([3.0, 0.5, -1]),
                 part=ONE_IMAGE),
            call(ints(26, 2, 1, 2, 4), ints(27, 3, 1, 1, 2), np.array([1.0, 0, -2]), part=BATCH),
            call(quarters(28, 3, 2, 3, 4), ints(29, 2, 2, 2, 3), np.array([0.25, -1.5]), part=BATCH),
            call(ints(30, 2, 3, 4, 3), quarters(31, 4, 3, 2, 2), np.array([0.5, 2, -1, 3]), part=BATCH),
            call(ints(32, 1, 1, 4, 5), ints(33, 1, 1, 2, 2), np.array([-1.0]), stride=2, part=SETTINGS),
            call(ints(34, 1, 1, 2, 3), ints(35, 2, 1, 2, 2), np.array([2.0, -3]), padding=1, part=SETTINGS),
            call(quarters(36, 2, 3, 5, 4), ints(37, 2, 3, 3, 2), np.array([-1.0, 0.5]),
                 stride=(3, 1), padding=(1, 2), part=SETTINGS),
            call(strided(quarters(38, 3, 1, 4, 6)), ints(39, 2, 1, 2, 3), np.array([0.5, 3]),
                 stride=(2, 3), padding=(0, 1), part=SETTINGS),
            call(ints(40, 2, 2, 3, 5), ints(41, 3, 2, 2, 2), np.array([1.0, 0.5, -2]),
                 stride=(1, 2), padding=(2, 0), part=SETTINGS)],
    random=random_gemm,
    mistakes=[
        Mistake("result_reshaped", "The product has a row for each position and a column for each filter, and it is "
                "reshaped straight to (N, C_out, H_out, W_out), so the filters end up in the wrong places. A "
                "reshape moves no axis: split the rows first, then move the axis of the filters.",  # 27, 29
                gemm_reshaped),
        Mistake("filters_first_reshaped", "The product with a row for each filter is reshaped straight to (N, C_out, "
                "H_out, W_out). That is right for one image; in a batch the images lie inside each row, so their "
                "axis has to be moved.",  # 29
                gemm_filters_first_reshaped),
        Mistake("positions_by_column", "The rows of the product are split as (W_out, H_out). The positions run along "
                "the rows of the output, so the height comes first.",  # 5
                gemm_positions_by_column),
        Mistake("channels_last", "The result is (N, H_out, W_out, C_out). Move the last axis to the second "
                "place.",  # 27
                lambda x, weight, bias, stride=1, padding=0:
                conv2d_gemm(x, weight, bias, stride, padding).transpose(0, 2, 3, 1)),
        Mistake("filters_before_images", "The first axis counts the filters and the second the images; it should be "
                "the other way round.",  # 27
                gemm_filters_first),
        Mistake("weight_as_columns", "`weight` is reshaped so that C_out counts its columns. A reshape reads the "
                "numbers in the order they lie in: make each filter a row first, then transpose.",  # 28
                gemm_weight_as_columns),
        Mistake("weight_channels_last", "The filters are laid out with the channel changing fastest, but a row of "
                "patches holds all of channel 0 first. The two orders must be the same.",  # 28
                gemm_weight_channels_last),
        Mistake("patches_mixed", "With several channels the patches are mixed up: windows of shape (N, C, H_out, "
                "W_out, kH, kW) are reshaped without moving the axis of the channels behind the positions.",  # 28
                gemm_patches_reshaped),
        Mistake("kernel_rotated", "The kernels are rotated by 180°. A layer uses them as they are.",  # 1
                lambda x, weight, bias, stride=1, padding=0:
                conv2d_gemm(x, weight[:, :, ::-1, ::-1], bias, stride, padding)),
        Mistake("channels_averaged", "The channels are averaged. A dot product sums them.",  # 22
                lambda x, weight, bias, stride=1, padding=0:
                conv2d_gemm(x, weight / x.shape[1], bias, stride, padding)),
        Mistake("first_channel_only", "Only input channel 0 is read.",
                lambda x, weight, bias, stride=1, padding=0:
                conv2d_gemm(x[:, :1], weight[:, :1], bias, stride, padding)),
        Mistake("first_image_only", "Only image 0 of the batch is computed; the others are left at 0.",  # 39
                gemm_first_image),
        Mistake("bias_missing", "The bias is not added.",  # 23
                lambda x, weight, bias, stride=1, padding=0: conv2d_gemm(x, weight, 0 * bias, stride, padding)),
        Mistake("bias_along_width", "The bias is added along the width: broadcasting lines up the last axis. Add it "
                "while the filters are the last axis, or give it the shape (C_out, 1, 1).",  # 25
                lambda x, weight, bias, stride=1, padding=0:
                conv2d_gemm(x, weight, 0 * bias, stride, padding) + bias),
        Mistake("bias_per_product", "The bias is added to every product. It is added once per output.",  # 24
                lambda x, weight, bias, stride=1, padding=0:
                conv2d_gemm(x, weight, bias * weight[0].size, stride, padding)),
        Mistake("stride_ignored", "Every case with stride 1 is right: `stride` is not used.",
                lambda x, weight, bias, stride=1, padding=0: conv2d_gemm(x, weight, bias, 1, padding)),
        Mistake("stride_inside_the_window", "The stride is used inside the window, which is dilation. It is the step "
                "from one window to the next.",  # 19
                gemm_dilated),
        Mistake("stride_pair_swapped", "The first number of a stride pair is for the rows, the second for the "
                "columns.",  # 8
                lambda x, weight, bias, stride=1, padding=0:
                conv2d_gemm(x, weight, bias, swapped(stride), padding)),
        Mistake("padding_ignored", "Every case without padding is right: `padding` is not used.",
                lambda x, weight, bias, stride=1, padding=0: conv2d_gemm(x, weight, bias, stride)),
        Mistake("padding_pair_swapped", "The first number of a padding pair is for the rows, the second for the "
                "columns.",  # 8
                lambda x, weight, bias, stride=1, padding=0:
                conv2d_gemm(x, weight, bias, stride, swapped(padding))),
        Mistake("padding_bottom_right", "All the padding lies below and to the right of the image. It belongs on "
                "both sides.",  # 12
                lambda x, weight, bias, stride=1, padding=0: conv2d_gemm(np.pad(
                    x, ((0, 0), (0, 0), *[(0, 2 * p) for p in pair(padding)])), weight, bias, stride)),
        Mistake("rounds_up", "When the stride does not fit, a last window hangs over the end. It is left out.",  # 9
                gemm_rounded_up),
        Mistake("relu", "Negative outputs have become 0. ReLU is a layer of its own.",  # 37
                lambda x, weight, bias, stride=1, padding=0:
                np.maximum(conv2d_gemm(x, weight, bias, stride, padding), 0)),
        Mistake("integer_buffer", "The output is stored in an array of integers, which cuts off fractions.",  # 33
                lambda x, weight, bias, stride=1, padding=0:
                conv2d_gemm(x, weight, bias, stride, padding).astype(int)),
        Mistake("float32_buffer", "The output is stored in float32, which has half the digits of the input.",  # 34
                lambda x, weight, bias, stride=1, padding=0:
                conv2d_gemm(x, weight, bias, stride, padding).astype(np.float32)),
    ],
    alternatives=[gemm_by_matmul, gemm_for_each_image, gemm_by_tensordot, gemm_by_loops],
    hints=[
        "What are the shapes of the patches, of the kernels as columns, and of their product? What does one row of the "
        "product hold, and what one column?",
        dedent("""\
        Two images, outputs of 1×2, three filters. A row is a position, a column a filter:

        ```
                    filter 0  1  2
        image 0, (0, 0)    a  b  c         image 0, filter 0:  a d
        image 0, (0, 1)    d  e  f   ->    image 0, filter 1:  b e
        image 1, (0, 0)    g  h  i         image 1, filter 0:  g j
        image 1, (0, 1)    j  k  l         …
        ```

        `reshape(2, 3, 1, 2)` would give `a b` as image 0, filter 0."""),
        dedent("""\
        ```
        patches <- im2col of x                             # (N*H_out*W_out, C_in*kH*kW)
        kernels <- each filter as a row, then transposed   # (C_in*kH*kW, C_out)
        out     <- patches times kernels, plus bias        # (N*H_out*W_out, C_out)
        out     <- rows split into their three indices     # (N, H_out, W_out, C_out)
        result  <- the last axis moved to the second place # (N, C_out, H_out, W_out)
        ```"""),
        "A reshape may split an axis into the indices it was made of, in the same order, and no more: the rows of the "
        "product count n, r, c, so they split into (N, H_out, W_out). To bring the filters before the positions the "
        "numbers must change their order, which is a transpose.",
    ])


# ---------------------------------------------------------------------------- window_view

def window_view(shape, strides, kernel_size, stride=1):
    """Oracle: torch's Tensor.unfold, on bytes so that its strides count bytes."""
    import torch

    (kh, kw), (sh, sw) = kernel_size, pair(stride)
    x = torch.empty_strided(shape, strides, dtype=torch.uint8)
    view = x.unfold(2, kh, sh).unfold(3, kw, sw).permute(0, 2, 3, 1, 4, 5)
    return tuple(view.shape), view.stride()


def view_by_numpy(shape, strides, kernel_size, stride=1):
    sh, sw = pair(stride)
    span = sum((n - 1) * s for n, s in zip(shape, strides)) + 1
    x = np.lib.stride_tricks.as_strided(np.zeros(span, np.uint8), shape, strides)
    view = sliding_window_view(x, kernel_size, axis=(2, 3))[:, :, ::sh, ::sw].transpose(0, 2, 3, 1, 4, 5)
    return view.shape, view.strides


def view_by_formula(shape, strides, kernel_size, stride=1):
    out = [(n - k) // s + 1 for n, k, s in zip(shape[2:], kernel_size, pair(stride))]
    moves = [byte * s for byte, s in zip(strides[2:], pair(stride))]
    return [shape[0], *out, shape[1], *kernel_size], [strides[0], *moves, strides[1], *strides[2:]]


def view_with(shape, strides, kernel_size, stride=1, *, moves=None, inside=None, grow=0):
    """The right answer, with other bytes from window to window, inside a window, or other sizes."""
    (n, c, h, w), (sn, sc, sh, sw), step = shape, strides, pair(stride)
    h_out, w_out = ((size - k) // s + 1 + grow for size, k, s in zip((h, w), kernel_size, step))
    moves = (sh * step[0], sw * step[1]) if moves is None else moves
    return (n, h_out, w_out, c, *kernel_size), (sn, *moves, sc, *((sh, sw) if inside is None else inside))


def packed(shape, itemsize=8):
    return tuple(itemsize * int(np.prod(shape[i + 1:])) for i in range(len(shape)))


def view_rounded_up(shape, strides, kernel_size, stride=1):
    right, steps = window_view(shape, strides, kernel_size, stride)
    out = (-(-(n - k) // s) + 1 for n, k, s in zip(shape[2:], kernel_size, pair(stride)))
    return (shape[0], *out, *right[3:]), steps


def view_numpy_order(shape, strides, kernel_size, stride=1):
    sizes, steps = window_view(shape, strides, kernel_size, stride)
    return tuple(tuple(v[i] for i in (0, 3, 1, 2, 4, 5)) for v in (sizes, steps))


def view_size_at_stride_1(shape, strides, kernel_size, stride=1):
    return window_view(shape, strides, kernel_size)[0], window_view(shape, strides, kernel_size, stride)[1]


def layouts(shape, itemsize=8):
    """The strides of arrays of this shape: packed, channels last, transposed images, every second element."""
    n, c, h, w = shape
    last = packed((n, h, w, c), itemsize)
    turned = packed((n, c, w, h), itemsize)
    second = packed((n, c, 2 * h, 2 * w), itemsize)
    return [packed(shape, itemsize), (last[0], last[3], last[1], last[2]),
            (turned[0], turned[1], turned[3], turned[2]), (second[0], second[1], 2 * second[2], 2 * second[3])]


def random_view(rng):
    k = tuple(int(v) for v in rng.integers(1, 4, 2))
    shape = tuple(int(v) for v in (*rng.integers(1, 5, 2), k[0] + rng.integers(0, 5), k[1] + rng.integers(0, 5)))
    strides = layouts(shape, int(rng.choice([4, 8])))[rng.integers(4)]
    stride = int(rng.integers(1, 4)) if rng.random() < 0.5 else tuple(int(v) for v in rng.integers(1, 4, 2))
    return call(shape, strides, k, stride=stride)


WINDOW_VIEW = Exercise(
    id="window_view", points=2,
    oracle=window_view,
    probes=[call((1, 1, 3, 4), (96, 96, 32, 8), (2, 2)),
            call((1, 1, 4, 5), (160, 160, 40, 8), (2, 3)),
            call((2, 3, 4, 5), packed((2, 3, 4, 5)), (3, 1)),
            call((1, 1, 5, 6), (240, 240, 48, 8), (2, 2), stride=2),
            call((3, 2, 6, 9), packed((3, 2, 6, 9)), (3, 2), stride=(1, 3)),
            call((1, 1, 4, 5), (160, 160, 8, 32), (3, 2)),
            call((2, 3, 7, 5), layouts((2, 3, 7, 5))[1], (2, 3), stride=(3, 1)),
            call((2, 2, 4, 6), layouts((2, 2, 4, 6))[3], (1, 2), stride=2),
            call((1, 2, 5, 4), packed((1, 2, 5, 4), 4), (2, 3), stride=1)],
    random=random_view,
    mistakes=[
        Mistake("packed_memory_assumed", "The strides are computed from the shape, as if the numbers lay in memory "
                "one after the other. That holds for a fresh float64 array; a transposed or sliced one has other "
                "strides. Use the ones you are given.",  # 35
                lambda shape, strides, kernel_size, stride=1: window_view(shape, packed(shape), kernel_size, stride)),
        Mistake("in_elements", "These strides count elements of 8 bytes. The given ones count bytes, and so should "
                "yours.",
                lambda shape, strides, kernel_size, stride=1:
                window_view(shape, tuple(s // 8 for s in strides), kernel_size, stride)),
        Mistake("stride_inside_the_window", "The stride multiplies the steps inside a window: that is dilation. It "
                "makes the steps from window to window longer.",  # 19
                lambda shape, strides, kernel_size, stride=1: view_with(
                    shape, strides, kernel_size, stride, moves=strides[2:],
                    inside=tuple(s * b for s, b in zip(pair(stride), strides[2:])))),
        Mistake("stride_missing_in_strides", "The sizes are right, but the windows move by one pixel whatever the "
                "stride is: the steps from window to window do not grow with it.",  # 18
                lambda shape, strides, kernel_size, stride=1: view_with(
                    shape, strides, kernel_size, stride, moves=strides[2:])),
        Mistake("stride_missing_in_shape", "The strides are right, but there are as many windows as at stride 1: the "
                "last ones would lie outside the array, where `as_strided` reads whatever is there.",
                view_size_at_stride_1),
        Mistake("stride_on_rows_only", "The stride is applied to the rows, but not to the columns.",  # 17
                lambda shape, strides, kernel_size, stride=1:
                window_view(shape, strides, kernel_size, (pair(stride)[0], 1))),
        Mistake("stride_pair_swapped", "The first number of a stride pair is for the rows, the second for the "
                "columns.",  # 8
                lambda shape, strides, kernel_size, stride=1:
                window_view(shape, strides, kernel_size, swapped(stride))),
        Mistake("stride_added", "The stride is added to the bytes of a step. A step of 2 pixels is 2 times as many "
                "bytes as a step of 1.",
                lambda shape, strides, kernel_size, stride=1: view_with(
                    shape, strides, kernel_size, stride,
                    moves=tuple(b + s - 1 for s, b in zip(pair(stride), strides[2:])))),
        Mistake("windows_side_by_side", "From one window to the next the view moves by a whole window, so they do "
                "not overlap. It moves by the stride.",
                lambda shape, strides, kernel_size, stride=1: view_with(
                    shape, strides, kernel_size, stride,
                    moves=tuple(k * b for k, b in zip(kernel_size, strides[2:])))),
        Mistake("window_packed", "Inside a window, the next row is taken to lie kW numbers further, as if the window "
                "had been cut out. It has not: the next row of the window is in the next row of the image.",
                lambda shape, strides, kernel_size, stride=1: view_with(
                    shape, strides, kernel_size, stride, inside=(kernel_size[1] * strides[3], strides[3]))),
        Mistake("view_packed", "These are the strides of a matrix of patches that has been copied out. In a view the "
                "same bytes of the image serve several windows.",
                lambda shape, strides, kernel_size, stride=1:
                (window_view(shape, strides, kernel_size, stride)[0],
                 packed(window_view(shape, strides, kernel_size, stride)[0]))),
        Mistake("window_transposed", "The last two strides are exchanged: a step down inside the window is a step to "
                "the next row of the image.",  # 3
                lambda shape, strides, kernel_size, stride=1: view_with(
                    shape, strides, kernel_size, stride, inside=(strides[3], strides[2]))),
        Mistake("kernel_pair_swapped", "The first number of `kernel_size` is the height of a window, the second its "
                "width.",  # 7, 8
                lambda shape, strides, kernel_size, stride=1:
                window_view(shape, strides, kernel_size[::-1], stride)),
        Mistake("channels_second", "Shape and strides fit each other, but the axes are (N, C, H_out, W_out, kH, kW). "
                "The channels belong behind the positions, so that a position's numbers stand together.",  # 29
                view_numpy_order),
        Mistake("plus_one_missing", "Along each axis one window is missing: the size counts the steps, and the "
                "window before the first step counts too.",  # 10
                lambda shape, strides, kernel_size, stride=1: view_with(
                    shape, strides, kernel_size, stride, grow=-1)),
        Mistake("rounds_up", "When the stride does not fit, the number of windows is rounded up, and the last one "
                "would reach outside the array.",  # 9
                view_rounded_up),
        Mistake("strides_of_the_image", "The strides are in the order of the image, (N, C, H, W). Each has to stand "
                "at the place of the axis it belongs to: N, H_out, W_out, C, kH, kW.",  # 29
                lambda shape, strides, kernel_size, stride=1:
                (window_view(shape, strides, kernel_size, stride)[0],
                 view_numpy_order(shape, strides, kernel_size, stride)[1])),
    ],
    alternatives=[view_by_numpy, view_by_formula],
    hints=[
        "How many bytes is it from a pixel to its right neighbour, and to the pixel below? And from the first pixel "
        "of a window to the first pixel of the next window?",
        dedent("""\
        An image of 3×4 float64 numbers, one after the other in memory, so its strides are (32, 8). The address of
        each pixel, in bytes:

        ```
         0   8  16  24
        32  40  48  56
        64  72  80  88
        ```

        The 2×2 window at (0, 0) reads 0, 8, 32, 40; the one at (0, 1) reads 8, 16, 40, 48; the one at (1, 0) reads
        32, 40, 64, 72. At stride 2 the second window would start at 16."""),
        dedent("""\
        ```
        N, C, H, W <- shape;  bN, bC, bH, bW <- strides
        sizes   <- N, H_out, W_out, C, kH, kW        # the usual formula, rounded down
        strides <- for each of these six axes: how many bytes further is the next element along it?
                   bN for the images, bC for the channels
                   inside a window one row or column of the image
                   from window to window as many of them as the stride says
        ```"""),
        "A view is a rule for addresses: index times stride, summed over the axes. Window r, pixel a of it is row "
        "$r \\cdot s + a$ of the image, at byte $(r \\cdot s + a) \\cdot b = r \\cdot (s b) + a \\cdot b$: one axis "
        "of the image has become two, with the strides $s b$ and $b$.",
    ])


# ---------------------------------------------------------------------------- grouped_product

def grouped_product(patches, weight, groups):
    """Oracle: torch's grouped convolution, with each patch as an image that one window covers."""
    import torch

    c, kh, kw = weight.shape[1] * groups, *weight.shape[2:]
    x = torch.tensor(np.array(patches, dtype=float, order="C")).reshape(-1, c, kh, kw)
    w = torch.tensor(np.array(weight, dtype=float, order="C"))
    return torch.nn.functional.conv2d(x, w, groups=groups)[:, :, 0, 0].numpy()


def grouped_by_blocks(patches, weight, groups):
    depth, filters = patches.shape[1] // groups, len(weight) // groups
    flat = weight.reshape(len(weight), -1)
    out = np.zeros((len(patches), len(weight)))
    for g in range(groups):
        own = slice(g * filters, (g + 1) * filters)
        out[:, own] = patches[:, g * depth:(g + 1) * depth] @ flat[own].T
    return out


def grouped_by_batched_product(patches, weight, groups):
    blocks = patches.reshape(len(patches), groups, -1).transpose(1, 0, 2)
    out = blocks @ weight.reshape(groups, len(weight) // groups, -1).transpose(0, 2, 1)
    return out.transpose(1, 0, 2).reshape(len(patches), -1)


def grouped_by_one_big_matrix(patches, weight, groups):
    flat = weight.reshape(groups, len(weight) // groups, -1)
    columns = np.zeros((patches.shape[1], len(weight)))
    for g, block in enumerate(flat):
        columns[g * block.shape[1]:(g + 1) * block.shape[1], g * block.shape[0]:(g + 1) * block.shape[0]] = block.T
    return patches @ columns


def grouped_by_einsum(patches, weight, groups):
    blocks = patches.reshape(len(patches), groups, -1)
    return np.einsum("pgk,gok->pgo", blocks, weight.reshape(groups, len(weight) // groups, -1)).reshape(
        len(patches), -1)


def channels_of(patches, weight, groups):
    """Patches as (P, C_in, kH*kW)."""
    return np.array(patches, dtype=float).reshape(len(patches), weight.shape[1] * groups, -1)


def grouped_interleaved_channels(patches, weight, groups):
    x = channels_of(patches, weight, groups)
    order = [c for g in range(groups) for c in range(g, x.shape[1], groups)]
    return grouped_product(x[:, order].reshape(patches.shape), weight, groups)


def grouped_interleaved_filters(patches, weight, groups):
    order = [o for g in range(groups) for o in range(g, len(weight), groups)]
    out = np.zeros((len(patches), len(weight)))
    out[:, order] = grouped_product(patches, weight[order], groups)
    return out


def grouped_interleaved_result(patches, weight, groups):
    out = grouped_product(patches, weight, groups).reshape(len(patches), groups, -1)
    return out.swapaxes(1, 2).reshape(len(patches), -1)


def grouped_first_block(patches, weight, groups):
    first = channels_of(patches, weight, groups)[:, :weight.shape[1]]
    return grouped_product(np.tile(first, (1, groups, 1)).reshape(patches.shape), weight, groups)


def grouped_taps_first(patches, weight, groups):
    c = weight.shape[1] * groups
    x = np.array(patches).reshape(len(patches), -1, c).swapaxes(1, 2)
    return grouped_product(x.reshape(patches.shape), weight, groups)


def grouped_first_filters(patches, weight, groups):
    own = weight[:len(weight) // groups]
    return grouped_product(patches, np.concatenate([own] * groups), groups)


def grouped_batch_reshaped(patches, weight, groups):
    out = grouped_product(patches, weight, groups).reshape(len(patches), groups, -1)
    return out.swapaxes(0, 1).reshape(len(patches), -1)


def grouped_weight_as_columns(patches, weight, groups):
    per = len(weight) // groups
    turned = [w.reshape(-1, per).T.reshape(w.shape) for w in np.split(np.array(weight), groups)]
    return grouped_product(patches, np.concatenate(turned), groups)


def grouped_all_read_all(patches, weight, groups):
    return grouped_product(patches, np.tile(weight, (1, groups, 1, 1)), 1)


def grouped_in_reverse(patches, weight, groups):
    x = channels_of(patches, weight, groups).reshape(len(patches), groups, -1)[:, ::-1]
    return grouped_product(x.reshape(patches.shape), weight, groups)


def grouped_last_group(patches, weight, groups):
    out = grouped_product(patches, weight, groups)
    out[:, :len(weight) - len(weight) // groups] = 0
    return out


def random_grouped(rng):
    groups, depth, filters, kh, kw = (int(v) for v in rng.integers(1, 4, 5))
    patches = rng.integers(-8, 9, (int(rng.integers(1, 6)), groups * depth * kh * kw)) / 4
    return call(patches, rng.integers(-4, 5, (groups * filters, depth, kh, kw)) / 2, groups)


GROUPED_PRODUCT = Exercise(
    id="grouped_product", points=2,
    oracle=grouped_product,
    probes=[call(np.array([[1.0, 2, 3, 4]]), np.array([[[[1.0]], [[10]]], [[[1]], [[-1]]]]), 2),
            call(ints(50, 3, 4), ints(51, 2, 4, 1, 1), 1),
            call(ints(52, 2, 6), ints(53, 6, 1, 1, 2), 3),
            call(quarters(54, 3, 24), ints(55, 4, 2, 2, 3), 2),
            call(strided(ints(56, 4, 12)), quarters(57, 6, 1, 2, 2), 3),
            call(quarters(58, 5, 24), ints(59, 6, 4, 1, 2), 3),
            call(ints(60, 1, 18), ints(61, 4, 3, 3, 1), 2),
            call(ints(62, 3, 8), quarters(63, 4, 1, 2, 1), 4)],
    random=random_grouped,
    mistakes=[
        Mistake("channels_interleaved", "Group g reads the channels g, g + groups, … A group is a block of "
                "neighbouring channels.",  # 30
                grouped_interleaved_channels),
        Mistake("filters_interleaved", "Filter o is put into group o % groups. The filters are cut into blocks of "
                "neighbours, too: the first C_out / groups filters belong to group 0.",  # 30
                grouped_interleaved_filters),
        Mistake("result_interleaved", "Each group is computed rightly, but the results are shuffled like cards. All "
                "outputs of group 0 come first, then all of group 1.",  # 30
                grouped_interleaved_result),
        Mistake("result_reshaped", "Each group is computed rightly, but the axis of the groups stands before that of "
                "the positions when the result is reshaped. A reshape moves no axis.",  # 27
                grouped_batch_reshaped),
        Mistake("every_group_reads_the_first_block", "Every group reads the columns of group 0.",
                grouped_first_block),
        Mistake("first_filters_for_all", "Every group uses the filters of group 0.",
                grouped_first_filters),
        Mistake("groups_read_from_the_end", "The first group of filters reads the last block of channels. First "
                "belongs to first.",
                grouped_in_reverse),
        Mistake("only_the_last_group", "Only the outputs of the last group are there; the others are 0.",
                grouped_last_group),
        Mistake("pixel_by_pixel", "The columns are taken to lie pixel by pixel, with the channel changing fastest. A "
                "row of patches holds all of channel 0 first.",  # 28
                grouped_taps_first),
        Mistake("weight_as_columns", "The filters of a group are reshaped so that they are columns. A reshape reads "
                "the numbers in the order they lie in: make each filter a row, then transpose.",  # 28
                grouped_weight_as_columns),
        Mistake("every_filter_reads_everything", "Every filter reads every block, with the same weights each time. A "
                "filter reads the block of its own group only.",  # 31
                grouped_all_read_all),
        Mistake("groups_summed", "The results of the groups are added up. They stand side by side: there are C_out "
                "columns.",
                lambda patches, weight, groups: grouped_product(patches, weight, groups).reshape(
                    len(patches), groups, -1).sum(axis=1)),
        Mistake("averaged", "The result is divided by the number of groups.",  # 22
                lambda patches, weight, groups: grouped_product(patches, weight, groups) / groups),
        Mistake("kernels_rotated", "The kernels are rotated by 180°. They are used as they are.",  # 1
                lambda patches, weight, groups: grouped_product(patches, weight[:, :, ::-1, ::-1], groups)),
        Mistake("transposed", "The result has a row for each filter. It has a row for each position.",  # 4
                lambda patches, weight, groups: grouped_product(patches, weight, groups).T),
        Mistake("integer_buffer", "The result is stored in an array of integers, which cuts off fractions.",  # 33
                lambda patches, weight, groups: grouped_product(patches, weight, groups).astype(int)),
    ],
    alternatives=[grouped_by_blocks, grouped_by_batched_product, grouped_by_one_big_matrix, grouped_by_einsum],
    hints=[
        "A row of patches holds channel 0, then channel 1, and so on, each with kH·kW numbers. Which of its columns "
        "does group 0 read? And group 1?",
        dedent("""\
        Four channels, 1×1 kernels, two groups, two filters:

        ```
        columns       0  1 | 2  3
        filter 0      w  w |
        filter 1           | w  w
        ```

        A row `1 2 3 4` with the filters `1 10` and `1 −1` gives 1·1 + 2·10 = 21 and 3·1 − 4·1 = −1."""),
        dedent("""\
        ```
        depth   <- columns of a group                           # C_in/groups * kH*kW
        filters <- filters of a group                           # C_out/groups
        for each group g:
            block <- its columns of patches                     # (P, depth)
            own   <- its filters, each as a row                 # (filters, depth)
            its columns of the result <- block times own transposed   # (P, filters)
        ```"""),
        "The columns are in the order channel, row, column, and a group is a block of neighbouring channels, so it is "
        "a block of neighbouring columns. That makes a grouped convolution several smaller products side by side. As "
        "one product it would be a block-diagonal matrix, mostly zeros.",
    ])


# ---------------------------------------------------------------------------- col2im

def col2im(columns, x_shape, kernel_size, stride=1, padding=0):
    """Oracle: torch.nn.functional.fold, whose patches are columns."""
    import torch

    n, _, h, w = x_shape
    columns = torch.tensor(np.array(columns, dtype=float, order="C"))
    patches = columns.reshape(n, -1, columns.shape[1]).transpose(1, 2)  # (N, C*kH*kW, H_out*W_out)
    return torch.nn.functional.fold(patches, (h, w), kernel_size, 1, padding, stride).numpy()


def col2im_by_positions(columns, x_shape, kernel_size, stride=1, padding=0):
    (n, c, h, w), (kh, kw), (sh, sw), (ph, pw) = x_shape, kernel_size, pair(stride), pair(padding)
    image, row = np.zeros((n, c, h + 2 * ph, w + 2 * pw)), 0
    for i in range(n):
        for r in range(0, h + 2 * ph - kh + 1, sh):
            for q in range(0, w + 2 * pw - kw + 1, sw):
                image[i, :, r:r + kh, q:q + kw] += columns[row].reshape(c, kh, kw)
                row += 1
    return image[:, :, ph:ph + h, pw:pw + w]


def split(columns, x_shape, kernel_size, stride, padding):
    """Columns as (N, H_out, W_out, C, kH, kW)."""
    out = sizes(x_shape, kernel_size, stride, padding)
    return np.array(columns, dtype=float).reshape(x_shape[0], *out, x_shape[1], *kernel_size)


def col2im_by_taps(columns, x_shape, kernel_size, stride=1, padding=0):
    (n, c, h, w), (kh, kw), (sh, sw), (ph, pw) = x_shape, kernel_size, pair(stride), pair(padding)
    h_out, w_out = sizes(x_shape, kernel_size, stride, padding)
    patches = split(columns, x_shape, kernel_size, stride, padding).transpose(4, 5, 0, 3, 1, 2)
    image = np.zeros((n, c, h + 2 * ph, w + 2 * pw))
    for a in range(kh):
        for b in range(kw):
            image[:, :, a:a + sh * h_out:sh, b:b + sw * w_out:sw] += patches[a, b]
    return image[:, :, ph:h + ph, pw:w + pw]


def col2im_by_add_at(columns, x_shape, kernel_size, stride=1, padding=0):
    (n, c, h, w), (sh, sw), (ph, pw) = x_shape, pair(stride), pair(padding)
    patches = split(columns, x_shape, kernel_size, stride, padding)
    i, r, q, channel, a, b = np.indices(patches.shape)
    image = np.zeros((n, c, h + 2 * ph, w + 2 * pw))
    np.add.at(image, (i, channel, r * sh + a, q * sw + b), patches)
    return image[:, :, ph:ph + h, pw:pw + w]


def col2im_as_transpose(columns, x_shape, kernel_size, stride=1, padding=0):
    """The transpose of im2col, pixel by pixel: an inner product with im2col of an image with a single 1."""
    image = np.zeros(x_shape)
    for place in np.ndindex(*x_shape):
        single = np.zeros(x_shape)
        single[place] = 1
        image[place] = (im2col_by_taps(single, kernel_size, stride, padding) * columns).sum()
    return image


def scatter(columns, x_shape, kernel_size, stride, padding, *, step=None, spread=(1, 1), add=True, order="positions"):
    """The padded image and more: windows `step` apart, their pixels `spread` apart, added or overwriting."""
    patches = split(columns, x_shape, kernel_size, stride, padding)
    n, h_out, w_out, c, kh, kw = patches.shape
    (ph, pw), (sh, sw) = pair(padding), pair(stride) if step is None else step
    room = max(sh, sw, *pair(stride)) * max(h_out, w_out) + max(spread) * max(kh, kw)
    image = np.zeros((n, c, x_shape[2] + 2 * ph + room, x_shape[3] + 2 * pw + room))
    keys = [(r, q, a, b) for r in range(h_out) for q in range(w_out) for a in range(kh) for b in range(kw)]
    for r, q, a, b in sorted(keys, key=lambda k: k[2:] + k[:2]) if order == "taps" else keys:
        i, j = r * sh + a * spread[0], q * sw + b * spread[1]
        image[:, :, i, j] = patches[:, r, q, :, a, b] + (image[:, :, i, j] if add else 0)
    return image


def crop(image, x_shape, padding):
    (ph, pw), (h, w) = pair(padding), x_shape[2:]
    return image[:, :, ph:ph + h, pw:pw + w]


def col2im_padding_kept(columns, x_shape, kernel_size, stride=1, padding=0):
    image = scatter(columns, x_shape, kernel_size, stride, padding)
    return image[:, :, :x_shape[2] + 2 * pair(padding)[0], :x_shape[3] + 2 * pair(padding)[1]]


def col2im_empty(columns, x_shape, kernel_size, stride=1, padding=0):
    (ph, pw) = pair(padding)
    return col2im_padding_kept(columns, x_shape, kernel_size, stride, padding)[:, :, ph:-ph, pw:-pw]


def col2im_padding_ignored(columns, x_shape, kernel_size, stride=1, padding=0):
    (n, c, h, w), (kh, kw), (sh, sw) = x_shape, kernel_size, pair(stride)
    image, row = np.zeros(x_shape), 0
    for i in range(n):
        for r in range(0, h - kh + 1, sh):
            for q in range(0, w - kw + 1, sw):
                image[i, :, r:r + kh, q:q + kw] += columns[row].reshape(c, kh, kw)
                row += 1
    return image


def col2im_averaged(columns, x_shape, kernel_size, stride=1, padding=0):
    counts = col2im(np.ones(columns.shape), x_shape, kernel_size, stride, padding)
    return col2im(columns, x_shape, kernel_size, stride, padding) / np.maximum(counts, 1)


def col2im_reordered(order):
    """A wrong col2im that takes the axes of its rows and columns in another order, then puts them right."""
    def run(columns, x_shape, kernel_size, stride=1, padding=0):
        shape = split(columns, x_shape, kernel_size, stride, padding).shape
        patches = np.array(columns).reshape([shape[i] for i in order]).transpose(np.argsort(order))
        return col2im(patches.reshape(columns.shape), x_shape, kernel_size, stride, padding)
    return run


def col2im_rotated(columns, x_shape, kernel_size, stride=1, padding=0):
    patches = split(columns, x_shape, kernel_size, stride, padding)[..., ::-1, ::-1]
    return col2im(patches.reshape(columns.shape), x_shape, kernel_size, stride, padding)


def col2im_first_image(columns, x_shape, kernel_size, stride=1, padding=0):
    out = col2im(columns, x_shape, kernel_size, stride, padding)
    out[1:] = 0
    return out


def col2im_stride_in_window(columns, x_shape, kernel_size, stride=1, padding=0):
    image = scatter(columns, x_shape, kernel_size, stride, padding, step=(1, 1), spread=pair(stride))
    return crop(image, x_shape, padding)


APART, OVERLAP, BORDER = "windows side by side", "overlapping windows", "padding"


def random_col2im(rng):
    part = (APART, OVERLAP, BORDER)[rng.integers(3)]
    n, c = (int(v) for v in rng.integers(1, 4, 2))
    k = tuple(int(v) for v in (rng.integers(1, 4, 2) if part == APART else rng.integers(2, 4, 2)))
    h, w = (int(a + rng.integers(0, 4)) for a in k)
    stride = k if part == APART else tuple(int(rng.integers(1, a + 1)) for a in k) if part == BORDER else 1
    padding = (int(rng.integers(0, 3)), int(rng.integers(0, 3))) if part == BORDER else 0
    rows = n * int(np.prod(sizes((n, c, h, w), k, stride, padding)))
    extra = {"padding": padding} if part == BORDER else {}
    return call(rng.integers(-8, 9, (rows, c * k[0] * k[1])) / 4, (n, c, h, w), k, stride=stride, **extra, part=part)


def col2im_probe(values, seed, x_shape, kernel_size, part, **setting):
    rows = x_shape[0] * int(np.prod(sizes(x_shape, kernel_size, setting.get("stride", 1), setting.get("padding", 0))))
    columns = values(seed, rows, x_shape[1] * kernel_size[0] * kernel_size[1])
    return call(strided(columns) if seed % 3 == 0 else columns, x_shape, kernel_size, **setting, part=part)


COL2IM = Exercise(
    id="col2im", points=3,
    oracle=col2im,
    probes=[call(np.array([[1.0, 2], [3, 4]]), (1, 1, 1, 4), (1, 2), stride=2, part=APART),
            col2im_probe(ints, 70, (1, 1, 4, 5), (2, 2), APART, stride=2),
            col2im_probe(ints, 71, (2, 3, 2, 7), (1, 3), APART, stride=(1, 3)),
            col2im_probe(quarters, 72, (3, 2, 6, 2), (3, 1), APART, stride=(3, 1)),
            call(np.array([[1.0, 2], [10, 20]]), (1, 1, 1, 3), (1, 2), part=OVERLAP),
            col2im_probe(ints, 73, (1, 1, 4, 3), (2, 2), OVERLAP),
            col2im_probe(quarters, 74, (1, 2, 3, 5), (2, 3), OVERLAP),
            col2im_probe(ints, 75, (2, 1, 6, 4), (3, 2), OVERLAP, stride=(2, 1)),
            col2im_probe(ints, 76, (1, 1, 2, 3), (2, 2), BORDER, padding=1),
            col2im_probe(quarters, 77, (2, 2, 3, 5), (3, 2), BORDER, stride=(1, 2), padding=(2, 0)),
            col2im_probe(ints, 78, (1, 2, 4, 5), (2, 3), BORDER, stride=2, padding=(0, 1))],
    random=random_col2im,
    mistakes=[
        Mistake("last_window_wins", "Where windows overlap, the last one replaces the ones before. They have to add "
                "up. (`image[index] += …` with an index that comes twice keeps only one of the two.)",  # 44, 45
                lambda columns, x_shape, kernel_size, stride=1, padding=0: crop(scatter(
                    columns, x_shape, kernel_size, stride, padding, add=False), x_shape, padding)),
        Mistake("last_pixel_wins", "Where windows overlap, one contribution replaces the others: the loop over the "
                "pixels of a window stores with `=`. They have to add up.",  # 44, 45
                lambda columns, x_shape, kernel_size, stride=1, padding=0: crop(scatter(
                    columns, x_shape, kernel_size, stride, padding, add=False, order="taps"), x_shape, padding)),
        Mistake("averaged", "Where windows overlap, the contributions are averaged, so that col2im undoes im2col. An "
                "adjoint is not an inverse: they add up.",
                col2im_averaged),
        Mistake("padding_ignored", "Every case without padding is right: `padding` is not used, so the windows that "
                "begin in the padding are missing, and the rows of `columns` go to the wrong places.",
                col2im_padding_ignored),
        Mistake("padding_kept", "The padding is still there. The result has the shape `x_shape`, without it.",
                col2im_padding_kept),
        Mistake("cropped_from_the_corner", "The image is cut out from the corner of the padded one. It begins behind "
                "the padding, at row pH and column pW.",  # 51
                lambda columns, x_shape, kernel_size, stride=1, padding=0: scatter(
                    columns, x_shape, kernel_size, stride, padding)[:, :, :x_shape[2], :x_shape[3]]),
        Mistake("empty_without_padding", "Where the padding is 0 nothing is left: a slice that ends at `-padding` then "
                "ends at -0, which is the beginning.",  # 52
                col2im_empty),
        Mistake("padding_pair_swapped", "The rows and the columns of the padding are exchanged when it is cut "
                "off.",  # 8
                lambda columns, x_shape, kernel_size, stride=1, padding=0: crop(scatter(
                    columns, x_shape, kernel_size, stride, padding), x_shape, swapped(padding))),
        Mistake("stride_ignored", "Every case with stride 1 is right: the windows are put back one pixel apart, "
                "whatever the stride is.",  # 49
                lambda columns, x_shape, kernel_size, stride=1, padding=0: crop(scatter(
                    columns, x_shape, kernel_size, stride, padding, step=(1, 1)), x_shape, padding)),
        Mistake("stride_pair_swapped", "The first number of a stride pair is for the rows, the second for the "
                "columns.",  # 8
                lambda columns, x_shape, kernel_size, stride=1, padding=0: crop(scatter(
                    columns, x_shape, kernel_size, stride, padding, step=swapped(stride)), x_shape, padding)),
        Mistake("stride_inside_the_window", "The pixels of a window are put back stride pixels apart. That is "
                "dilation; the stride is the distance between windows.",  # 19
                col2im_stride_in_window),
        Mistake("side_by_side", "The windows are put back side by side, without overlapping. Window r starts r strides "
                "from the top.",
                lambda columns, x_shape, kernel_size, stride=1, padding=0: crop(scatter(
                    columns, x_shape, kernel_size, stride, padding, step=kernel_size), x_shape, padding)),
        Mistake("channels_last_in_a_row", "A row of `columns` is read with the channel changing fastest. Its order is "
                "channel, then row, then column.",  # 28
                col2im_reordered([0, 1, 2, 4, 5, 3])),
        Mistake("window_transposed", "A row of `columns` is read down the columns of the window. Its order is channel, "
                "then row, then column.",  # 3
                col2im_reordered([0, 1, 2, 3, 5, 4])),
        Mistake("positions_by_column", "The rows of `columns` are read with the height changing fastest. They are in "
                "the order image, row, column: the column changes fastest.",  # 5
                col2im_reordered([0, 2, 1, 3, 4, 5])),
        Mistake("image_fastest", "The rows of `columns` are read with the image changing fastest. All positions of "
                "image 0 come first.",  # 29
                col2im_reordered([1, 2, 0, 3, 4, 5])),
        Mistake("columns_reshaped", "`columns` is reshaped to (N, C, kH, kW, H_out, W_out) as it is. A reshape moves "
                "no axis: split it in its own order first, (N, H_out, W_out, C, kH, kW).",  # 27
                col2im_reordered([0, 3, 4, 5, 1, 2])),
        Mistake("window_rotated", "Each window is put back rotated by 180°. im2col did not rotate it.",  # 46
                col2im_rotated),
        Mistake("first_image_only", "Only image 0 is filled; the others are left at 0.",  # 39
                col2im_first_image),
        Mistake("integer_buffer", "The image is an array of integers, which cuts off fractions.",  # 33
                lambda columns, x_shape, kernel_size, stride=1, padding=0:
                col2im(columns, x_shape, kernel_size, stride, padding).astype(int)),
    ],
    alternatives=[col2im_by_positions, col2im_by_taps, col2im_by_add_at, col2im_as_transpose],
    hints=[
        "im2col copied a pixel into several rows. When every copy comes back with a number of its own, what should the "
        "pixel hold?",
        dedent("""\
        One row of three pixels, windows of two, no padding:

        ```
        im2col    p q r  ->   p q      col2im   1  2   ->   1   2 + 10   20
                              q r              10 20
        ```"""),
        dedent("""\
        ```
        image <- zeros, with the padding                           # (N, C, H + 2*pH, W + 2*pW)
        for each image n, output row r, output column c, in this order:
            window <- the next row of columns                      # (C, kH, kW)
            add it to image n where im2col had read it: kH rows from r*sH, kW columns from c*sW
        result <- image without the padding                        # (N, C, H, W)
        ```

        Or over the pixels of a window: `columns` as (N, H_out, W_out, C, kH, kW), and for each (a, b) one addition to
        every sH-th row from a and sW-th column from b."""),
        "im2col is a matrix of zeros and ones that copies; col2im is its transpose. A transpose sends each number "
        "back along the way it came, and what arrives at the same pixel is added, because the pixel contributed to "
        "all those places. Numbers that came from the padding belong to no pixel and are dropped.",
    ])


# ---------------------------------------------------------------------------- im2col_matrix

def im2col_matrix(size, kernel_size, stride=1, padding=0):
    """Oracle: torch's unfold of every row of pixels with a single 1; each gives one column of the matrix."""
    import torch

    rows = torch.eye(size, dtype=torch.float64)[:, None, None]                              # (size, 1, 1, size)
    patches = torch.nn.functional.unfold(rows, (1, kernel_size), 1, (0, padding), (1, stride))  # (size, k, windows)
    return patches.permute(2, 1, 0).reshape(-1, size).numpy()


def starts(size, kernel_size, stride, padding):
    return range(-padding, size + padding - kernel_size + 1, stride)


def matrix_by_loops(size, kernel_size, stride=1, padding=0):
    rows = []
    for start in starts(size, kernel_size, stride, padding):
        for i in range(start, start + kernel_size):
            rows.append([1.0 if i == j else 0.0 for j in range(size)])
    return np.array(rows)


def matrix_by_eye(size, kernel_size, stride=1, padding=0):
    eye = np.pad(np.eye(size), ((padding, padding), (0, 0)))
    return np.concatenate([eye[start + padding:start + padding + kernel_size]
                           for start in starts(size, kernel_size, stride, padding)])


def matrix_by_comparison(size, kernel_size, stride=1, padding=0):
    reads = np.array(starts(size, kernel_size, stride, padding))[:, None] + np.arange(kernel_size)
    return (reads.reshape(-1, 1) == np.arange(size)).astype(float)


def matrix_of(reads, size):
    """A matrix with a row for each read pixel; one outside the row of pixels gives a row of zeros."""
    return (np.array(reads).reshape(-1, 1) == np.arange(size)).astype(float)


def reads_of(size, kernel_size, stride=1, padding=0):
    return np.array(starts(size, kernel_size, stride, padding))[:, None] + np.arange(kernel_size)


def matrix_row_for_each_window(size, kernel_size, stride=1, padding=0):
    return im2col_matrix(size, kernel_size, stride, padding).reshape(-1, kernel_size, size).sum(axis=1)


def random_matrix(rng):
    k = int(rng.integers(1, 5))
    return call(int(k + rng.integers(0, 5)), k, stride=int(rng.integers(1, 4)), padding=int(rng.integers(0, k)))


IM2COL_MATRIX = Exercise(
    id="im2col_matrix", points=1,
    oracle=im2col_matrix,
    probes=[call(3, 2), call(5, 3), call(4, 1), call(6, 2, stride=3), call(6, 3, stride=2), call(7, 2, stride=2),
            call(3, 2, padding=1), call(4, 3, padding=2), call(5, 3, stride=3, padding=1), call(6, 4, 2, 1)],
    random=random_matrix,
    mistakes=[
        Mistake("transposed", "Rows and columns are exchanged. `A @ x` needs a column for each pixel and a row for "
                "each number of the patches.",  # 4
                lambda size, kernel_size, stride=1, padding=0: im2col_matrix(size, kernel_size, stride, padding).T),
        Mistake("a_row_for_each_window", "There is one row for each window, which adds its pixels up. im2col only "
                "copies: each row of the matrix picks a single pixel.",
                matrix_row_for_each_window),
        Mistake("pixel_of_window_first", "The rows pick the first pixel of every window, then the second of every "
                "window. The patches lie one after the other: all of window 0 first.",  # 29
                lambda size, kernel_size, stride=1, padding=0:
                matrix_of(reads_of(size, kernel_size, stride, padding).T, size)),
        Mistake("window_reversed", "The pixels of each window are picked from its last to its first.",  # 1
                lambda size, kernel_size, stride=1, padding=0:
                matrix_of(reads_of(size, kernel_size, stride, padding)[:, ::-1], size)),
        Mistake("windows_side_by_side", "The windows lie side by side. The step from one to the next is the stride, so "
                "they may overlap.",
                lambda size, kernel_size, stride=1, padding=0: im2col_matrix(size, kernel_size, kernel_size, padding)),
        Mistake("stride_ignored", "Every case with stride 1 is right: `stride` is not used.",
                lambda size, kernel_size, stride=1, padding=0: im2col_matrix(size, kernel_size, 1, padding)),
        Mistake("windows_one_apart", "There are as many windows as there should be, but they lie one pixel "
                "apart.",  # 18
                lambda size, kernel_size, stride=1, padding=0: matrix_of(
                    reads_of(size, kernel_size, 1, padding)[:len(reads_of(size, kernel_size, stride, padding))], size)),
        Mistake("padding_ignored", "Every case without padding is right: `padding` is not used.",
                lambda size, kernel_size, stride=1, padding=0: im2col_matrix(size, kernel_size, stride)),
        Mistake("padding_wraps_around", "A position in the padding picks a pixel from the other end of the row. It "
                "belongs to no pixel: its row of the matrix is all zeros. The row does not go round.",
                lambda size, kernel_size, stride=1, padding=0:
                matrix_of(reads_of(size, kernel_size, stride, padding) % size, size)),
        Mistake("negative_index", "A position in the padding on the left picks a pixel from the other end of the row: "
                "a negative index counts from the end. It belongs to no pixel, and its row is all zeros.",
                lambda size, kernel_size, stride=1, padding=0: (lambda reads: matrix_of(
                    np.where(reads < 0, reads + size, reads), size))(reads_of(size, kernel_size, stride, padding))),
        Mistake("padding_repeats_edge", "A position in the padding picks the pixel at the edge. It belongs to no "
                "pixel: its row of the matrix is all zeros.",  # 13
                lambda size, kernel_size, stride=1, padding=0:
                matrix_of(np.clip(reads_of(size, kernel_size, stride, padding), 0, size - 1), size)),
        Mistake("rows_of_padding_left_out", "The rows that belong to the padding are left out. They are there, and all "
                "zeros: every patch has kernel_size numbers.",
                lambda size, kernel_size, stride=1, padding=0: (
                    lambda m: m[m.any(axis=1)])(im2col_matrix(size, kernel_size, stride, padding))),
        Mistake("padding_has_columns", "There are columns for the padding, too. `x` is the row without padding, so "
                "there are `size` columns.",
                lambda size, kernel_size, stride=1, padding=0:
                im2col_matrix(size + 2 * padding, kernel_size, stride)),
        Mistake("padding_on_the_right", "All the padding lies behind the row. It is on both sides.",  # 12
                lambda size, kernel_size, stride=1, padding=0:
                matrix_of(reads_of(size, kernel_size, stride, padding) + padding, size)),
        Mistake("whole_numbers", "The numbers are right, but they are ints. The matrix is float64.",
                lambda size, kernel_size, stride=1, padding=0:
                im2col_matrix(size, kernel_size, stride, padding).astype(int)),
    ],
    alternatives=[matrix_by_loops, matrix_by_eye, matrix_by_comparison],
    hints=[
        "Each entry of the patches is a copy of one pixel. Which row of zeros and ones picks that pixel out of `x`?",
        dedent("""\
        `size = 3`, `kernel_size = 2`: the patches of $x_0\\,x_1\\,x_2$ are $x_0\\,x_1$ and $x_1\\,x_2$.

        ```
        1 0 0     picks x0
        0 1 0     picks x1
        0 1 0     picks x1
        0 0 1     picks x2
        ```"""),
        dedent("""\
        ```
        A <- zeros                                   # (windows * kernel_size, size)
        for each window w:
            for each pixel b of it:
                position <- w * stride + b - padding
                if position is one of 0 … size-1:
                    A[w * kernel_size + b, position] <- 1
        ```"""),
        "A copy is a linear map: each output is one input times 1 and all others times 0. So im2col is a matrix with "
        "at most a single 1 in each row; padding, which is always 0, gives a row without one. A pixel that k windows "
        "read has k ones in its column.",
    ])


# ---------------------------------------------------------------------------- flops_and_bytes

def flops_and_bytes(x_shape, weight_shape, stride=1, padding=0, itemsize=8):
    """Oracle: torch's operation counter on tensors without data, and the sizes of these tensors."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    x, weight = torch.empty(x_shape, device="meta"), torch.empty(weight_shape, device="meta")
    with FlopCounterMode(display=False) as counter:
        y = torch.nn.functional.conv2d(x, weight, None, stride, padding, groups=x_shape[1] // weight_shape[1])
    return int(counter.get_total_flops()), itemsize * (x.numel() + weight.numel() + y.numel())


def cost_by_output(x_shape, weight_shape, stride=1, padding=0, itemsize=8):
    y_shape = (x_shape[0], weight_shape[0], *sizes(x_shape, weight_shape[2:], stride, padding))
    numbers = sum(int(np.prod(s)) for s in (x_shape, weight_shape, y_shape))
    return 2 * int(np.prod(y_shape)) * int(np.prod(weight_shape[1:])), numbers * itemsize


def cost_by_gemm(x_shape, weight_shape, stride=1, padding=0, itemsize=8):
    h_out, w_out = sizes(x_shape, weight_shape[2:], stride, padding)
    groups = x_shape[1] // weight_shape[1]
    rows, depth, filters = x_shape[0] * h_out * w_out, np.prod(weight_shape[1:]), weight_shape[0] // groups
    arrays = np.zeros(x_shape), np.zeros(weight_shape), np.zeros((rows, weight_shape[0]))
    return groups * 2 * rows * depth * filters, [sum(a.size for a in arrays) * itemsize][0]


def count(x_shape, weight_shape, stride=1, padding=0):
    """N, C_in, H, W, C_out, C_in / groups, kH, kW, H_out, W_out."""
    return *x_shape, *weight_shape, *sizes(x_shape, weight_shape[2:], stride, padding)


def cost_with(flops=None, numbers=None):
    """A wrong answer: other operations or other numbers to move, as functions of what `count` gives."""
    def run(x_shape, weight_shape, stride=1, padding=0, itemsize=8):
        right = flops_and_bytes(x_shape, weight_shape, stride, padding, itemsize)
        counts = count(x_shape, weight_shape, stride, padding)
        return (flops(*counts) if flops else right[0],
                itemsize * numbers(*counts) if numbers else right[1])
    return run


def cost_padded(x_shape, weight_shape, stride=1, padding=0, itemsize=8):
    ph, pw = pair(padding)
    n, c, h, w = x_shape
    return flops_and_bytes((n, c, h + 2 * ph, w + 2 * pw), weight_shape, stride, 0, itemsize)


def random_cost(rng):
    groups, depth, filters, n, kh, kw = (int(v) for v in rng.integers(1, 5, 6))
    stride = int(rng.integers(1, 4)) if rng.random() < 0.5 else tuple(int(v) for v in rng.integers(1, 4, 2))
    padding = int(rng.integers(0, 3)) if rng.random() < 0.5 else tuple(int(v) for v in rng.integers(0, 3, 2))
    x_shape = n, groups * depth, int(kh + rng.integers(0, 20)), int(kw + rng.integers(0, 20))
    return call(x_shape, (groups * filters, depth, kh, kw), stride=stride, padding=padding,
                itemsize=int(rng.choice([2, 4, 8])))


FLOPS_AND_BYTES = Exercise(
    id="flops_and_bytes", points=2,
    oracle=flops_and_bytes,
    probes=[call((1, 1, 3, 3), (1, 1, 2, 2)), call((1, 1, 1, 1), (5, 1, 1, 1)), call((1, 2, 4, 5), (3, 2, 2, 3)),
            call((4, 3, 5, 6), (2, 3, 1, 1), itemsize=4), call((2, 3, 9, 8), (4, 3, 2, 3), stride=(3, 2)),
            call((3, 2, 4, 7), (5, 2, 3, 2), padding=(1, 2)), call((1, 6, 5, 4), (6, 1, 3, 2), padding=1, itemsize=4),
            call((2, 6, 7, 9), (4, 3, 3, 3), stride=2, padding=1, itemsize=2),
            call((1, 64, 224, 224), (64, 64, 3, 3), padding=1, itemsize=4)],
    random=random_cost,
    mistakes=[
        Mistake("multiplications_only", "Only the multiplications are counted. A multiplication and the addition that "
                "goes with it are two operations.",
                cost_with(lambda n, c, h, w, o, d, kh, kw, ho, wo: n * o * ho * wo * d * kh * kw)),
        Mistake("one_addition_fewer", "You count one addition fewer than products in each output. That is exact, but "
                "by convention each product counts with one addition: two operations.",
                cost_with(lambda n, c, h, w, o, d, kh, kw, ho, wo: n * o * ho * wo * (2 * d * kh * kw - 1))),
        Mistake("groups_ignored_in_flops", "A filter is taken to be as deep as `x`. With groups it reads only part of "
                "the channels: its depth is `weight_shape[1]`.",  # 31
                cost_with(lambda n, c, h, w, o, d, kh, kw, ho, wo: 2 * n * o * ho * wo * c * kh * kw)),
        Mistake("groups_ignored_everywhere", "The filters are taken to be as deep as `x`, in the operations and in "
                "the bytes. With groups their depth is `weight_shape[1]`.",  # 31
                cost_with(lambda n, c, h, w, o, d, kh, kw, ho, wo: 2 * n * o * ho * wo * c * kh * kw,
                          lambda n, c, h, w, o, d, kh, kw, ho, wo:
                          n * c * h * w + o * c * kh * kw + n * o * ho * wo)),
        Mistake("positions_of_the_input", "The filters are applied at every pixel of the input. There are H_out·W_out "
                "positions, which stride and padding decide.",  # 9
                cost_with(lambda n, c, h, w, o, d, kh, kw, ho, wo: 2 * n * o * h * w * d * kh * kw,
                          lambda n, c, h, w, o, d, kh, kw, ho, wo:
                          n * c * h * w + o * d * kh * kw + n * o * h * w)),
        Mistake("operations_at_every_pixel", "The operations are counted for every pixel of the input. There are "
                "H_out·W_out positions.",
                cost_with(lambda n, c, h, w, o, d, kh, kw, ho, wo: 2 * n * o * h * w * d * kh * kw)),
        Mistake("channels_missing", "Each output sums over the window of every channel that its filter reads; the "
                "depth of the filter is missing in the operations.",  # 21
                cost_with(lambda n, c, h, w, o, d, kh, kw, ho, wo: 2 * n * o * ho * wo * kh * kw)),
        Mistake("filters_missing", "The operations are those of one filter. There are C_out of them.",
                cost_with(lambda n, c, h, w, o, d, kh, kw, ho, wo: 2 * n * ho * wo * d * kh * kw)),
        Mistake("batch_missing", "The operations are those of one image. There are N of them.",  # 39
                cost_with(lambda n, c, h, w, o, d, kh, kw, ho, wo: 2 * o * ho * wo * d * kh * kw)),
        Mistake("weights_for_each_image", "The weights are counted once for every image. They are read once for the "
                "whole batch.",  # 127
                cost_with(None, lambda n, c, h, w, o, d, kh, kw, ho, wo:
                          n * c * h * w + n * o * d * kh * kw + n * o * ho * wo)),
        Mistake("weights_not_moved", "The weights have to be read as well.",  # 127
                cost_with(None, lambda n, c, h, w, o, d, kh, kw, ho, wo: n * c * h * w + n * o * ho * wo)),
        Mistake("output_not_moved", "The output has to be written as well.",  # 127
                cost_with(None, lambda n, c, h, w, o, d, kh, kw, ho, wo: n * c * h * w + o * d * kh * kw)),
        Mistake("input_not_moved", "The input has to be read as well.",  # 127
                cost_with(None, lambda n, c, h, w, o, d, kh, kw, ho, wo: o * d * kh * kw + n * o * ho * wo)),
        Mistake("patches_moved", "The bytes are those of the patches. Count what the layer needs at least, whatever "
                "the method: each number of the input once.",  # 127
                cost_with(None, lambda n, c, h, w, o, d, kh, kw, ho, wo:
                          n * ho * wo * c * kh * kw + o * d * kh * kw + n * o * ho * wo)),
        Mistake("padding_moved", "The zeros of the padding are counted as bytes. They need not be read from "
                "memory.",  # 127
                cost_padded),
        Mistake("numbers_for_bytes", "These are numbers, not bytes: each takes `itemsize` bytes.",  # 127
                lambda x_shape, weight_shape, stride=1, padding=0, itemsize=8:
                flops_and_bytes(x_shape, weight_shape, stride, padding, 1)),
        Mistake("always_eight_bytes", "Every case with 8 bytes for a number is right: `itemsize` is not used.",  # 127
                lambda x_shape, weight_shape, stride=1, padding=0, itemsize=8:
                flops_and_bytes(x_shape, weight_shape, stride, padding, 8)),
        Mistake("padding_once", "The padding is counted once in the size of the output. It is added at both "
                "ends.",  # 11
                lambda x_shape, weight_shape, stride=1, padding=0, itemsize=8: (
                    lambda n, c, h, w, o, d, kh, kw, ho, wo: (
                        2 * n * o * ho * wo * d * kh * kw,
                        itemsize * (n * c * h * w + o * d * kh * kw + n * o * ho * wo)))(
                    *x_shape, *weight_shape,
                    *((size + p - k) // s + 1 for size, k, s, p in
                      zip(x_shape[2:], weight_shape[2:], pair(stride), pair(padding))))),
        Mistake("exchanged", "The two numbers are exchanged: the operations come first.",
                lambda x_shape, weight_shape, stride=1, padding=0, itemsize=8:
                flops_and_bytes(x_shape, weight_shape, stride, padding, itemsize)[::-1]),
    ],
    alternatives=[cost_by_output, cost_by_gemm],
    hints=[
        "How many numbers does the output have, and how many products go into each of them?",
        dedent("""\
        One image of 3×3, one kernel of 2×2, 8 bytes for a number:

        - outputs: 2×2 = 4, each a sum of 4 products: 16 multiplications and 16 additions, 32 operations;
        - numbers: 9 in, 4 weights, 4 out: 17 numbers, 136 bytes."""),
        dedent("""\
        ```
        H_out, W_out <- the usual formula
        outputs      <- N * C_out * H_out * W_out
        flops        <- 2 * outputs * products in one output     # a filter has C_in/groups * kH * kW weights
        numbers      <- input + weights + outputs
        result       <- flops, itemsize * numbers
        ```"""),
        "The count of the bytes is a lower bound that no method can beat: everything has to be read or written once. "
        "What a method moves on top of that, such as patches, is its own. The operations are counted with the "
        "additions, which is the usual way to state what a processor can do.",
    ])


EXERCISES = [IM2COL, CONV2D_GEMM, WINDOW_VIEW, GROUPED_PRODUCT, COL2IM, IM2COL_MATRIX, FLOPS_AND_BYTES]
