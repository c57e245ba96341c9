"""Exercises of notebook 03: sizes, padding, the convolution layer, its cost and what it sees.

The oracle is torch's own convolution and padding throughout.  Sizes, coverage, "same" padding and
receptive fields are read off what torch does to an input rather than computed by a formula.
"""

import warnings
from textwrap import dedent

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from autograder.exercise import Exercise, Mistake, call
from autograder.exercises.draws import ints, pair, quarters
from cnnlab.probes import strided


def torch_conv(x, weight, bias, stride=1, padding=0, dilation=1, groups=1):
    """torch.nn.functional.conv2d on NumPy arrays, in float64."""
    import torch

    # order="C": torch takes no view with negative strides, such as a reversed kernel
    tensors = [torch.tensor(np.array(a, dtype=float, order="C")) for a in (x, weight, bias)]
    return torch.nn.functional.conv2d(*tensors, stride, padding, dilation, groups).numpy()


# ---------------------------------------------------------------------------- output_size

def output_size(size, kernel_size, stride=1, padding=0, dilation=1):
    """Oracle: the length torch returns."""
    import torch

    x, w = torch.zeros(1, 1, size), torch.zeros(1, 1, kernel_size)
    return torch.nn.functional.conv1d(x, w, None, stride, padding, dilation).shape[-1]


def size_by_range(size, kernel_size, stride=1, padding=0, dilation=1):
    reach = dilation * (kernel_size - 1) + 1
    return len(range(0, size + 2 * padding - reach + 1, stride))


def size_by_walking(size, kernel_size, stride=1, padding=0, dilation=1):
    count, last = 0, dilation * (kernel_size - 1)
    while last < size + 2 * padding:
        count, last = count + 1, last + stride
    return count


def size_by_floor(size, kernel_size, stride=1, padding=0, dilation=1):
    return int(np.floor((size + 2 * padding - dilation * (kernel_size - 1) - 1) / stride + 1))


def _room(size, kernel_size, padding, dilation):
    return size + 2 * padding - dilation * (kernel_size - 1) - 1


def random_size(rng):
    k, d, p = (int(v) for v in (rng.integers(1, 6), rng.integers(1, 4), rng.integers(0, 4)))
    return call(int(d * (k - 1) + 1 + rng.integers(0, 30)), k, stride=int(rng.integers(1, 5)), padding=p,
                dilation=d)


OUTPUT_SIZE = Exercise(
    id="output_size", points=1,
    oracle=output_size,
    probes=[call(7, 3), call(7, 3, stride=2), call(7, 3, stride=3), call(7, 3, stride=3, padding=1),
            call(8, 3, stride=3), call(32, 5), call(32, 5, stride=2, padding=2), call(9, 4, padding=3),
            call(5, 1, stride=3), call(11, 3, dilation=2), call(20, 4, 3, 2, 3)],
    random=random_size,
    mistakes=[
        Mistake("plus_one_missing", "It counts the steps from one window to the next; the window before the "
                "first step counts too.",  # 10
                lambda size, kernel_size, stride=1, padding=0, dilation=1:
                _room(size, kernel_size, padding, dilation) // stride),
        Mistake("padding_once", "The padding is counted once. It is added at both ends.",  # 11
                lambda size, kernel_size, stride=1, padding=0, dilation=1:
                (_room(size, kernel_size, padding, dilation) - padding) // stride + 1),
        Mistake("rounds_up", "When the stride does not fit, the size is rounded up. Could the extra window "
                "be placed without leaving the input?",  # 9
                lambda size, kernel_size, stride=1, padding=0, dilation=1:
                -(-_room(size, kernel_size, padding, dilation) // stride) + 1),
        Mistake("rounds_to_nearest", "When the stride does not fit, the size is rounded to the nearest whole "
                "number, which is sometimes one window too many.",
                lambda size, kernel_size, stride=1, padding=0, dilation=1:
                round(_room(size, kernel_size, padding, dilation) / stride) + 1),
        Mistake("true_division", "The division `/` gives a float, with a fraction when the stride does not "
                "fit. A size is a whole number, an int.",
                lambda size, kernel_size, stride=1, padding=0, dilation=1:
                _room(size, kernel_size, padding, dilation) / stride + 1),
        Mistake("divides_the_valid_size", "The whole stride-1 size is divided by the stride. Only the steps "
                "after the first window are stretched by the stride.",
                lambda size, kernel_size, stride=1, padding=0, dilation=1:
                (_room(size, kernel_size, padding, dilation) + 1) // stride),
        Mistake("kernel_reach_one_short", "A kernel of 3 at dilation 1 reaches over 3 pixels; in your "
                "formula it reaches over 2.",
                lambda size, kernel_size, stride=1, padding=0, dilation=1:
                (_room(size, kernel_size, padding, dilation) + 1) // stride + 1),
        Mistake("reach_is_kernel_times_dilation", "The kernel's reach is taken as kernel_size times "
                "dilation. Draw a kernel of 3 at dilation 2: how many pixels lie between its first and its "
                "last entry?",
                lambda size, kernel_size, stride=1, padding=0, dilation=1:
                (size + 2 * padding - dilation * kernel_size) // stride + 1),
        Mistake("bracket_missing", "It subtracts dilation · kernel_size and then 1. The 1 belongs to the "
                "kernel size: dilation counts the gaps between its entries.",
                lambda size, kernel_size, stride=1, padding=0, dilation=1:
                (size + 2 * padding - dilation * kernel_size - 1) // stride + 1),
        Mistake("dilation_ignored", "Every case with dilation 1 is right: `dilation` is not used.",
                lambda size, kernel_size, stride=1, padding=0, dilation=1:
                _room(size, kernel_size, padding, 1) // stride + 1),
        Mistake("stride_ignored", "Every case with stride 1 is right: `stride` is not used.",
                lambda size, kernel_size, stride=1, padding=0, dilation=1:
                _room(size, kernel_size, padding, dilation) + 1),
        Mistake("padding_ignored", "Every case with padding 0 is right: `padding` is not used.",
                lambda size, kernel_size, stride=1, padding=0, dilation=1:
                _room(size, kernel_size, 0, dilation) // stride + 1),
    ],
    alternatives=[size_by_range, size_by_walking, size_by_floor],
    hints=[
        "Put the first window at the very start. How far can it still move before its last entry falls off "
        "the end, and how many steps is that?",
        dedent("""\
        `size = 7`, `kernel_size = 3`, `stride = 2`, no padding:

        ```
        pixels    0 1 2 3 4 5 6
        window 0  x x x
        window 1      x x x
        window 2          x x x
        ```

        The first window can move by $7 - 3 = 4$ pixels: 2 steps of 2. Windows: 3."""),
        dedent("""\
        ```
        length <- size with the padding at both ends
        reach  <- pixels from the kernel's first entry to its last, both included
        free   <- how far the first window can move
        steps  <- whole strides that fit into free
        result <- the first window, and one more for each step
        ```"""),
        "A window is used only if all of it lies on the (padded) input, so a last step that does not fit is "
        "not taken: the division rounds down. Of $k$ kernel entries, $k - 1$ gaps separate them, and "
        "dilation $d$ makes each gap $d$ pixels, so the reach is $d(k-1)+1$.",
    ])


# ---------------------------------------------------------------------------- coverage

def coverage(size, kernel_size, stride=1, padding=0):
    """Oracle: the gradient of the sum of all outputs of a kernel of ones counts the reads of each pixel."""
    import torch

    x = torch.ones(1, 1, size, dtype=torch.float64, requires_grad=True)
    w = torch.ones(1, 1, kernel_size, dtype=torch.float64)
    torch.nn.functional.conv1d(x, w, None, stride, padding).sum().backward()
    return x.grad[0, 0].numpy().astype(np.int64)


def _padded_counts(size, kernel_size, stride, padding, windows=None, entries=None, add=True):
    counts = np.zeros(size + 2 * padding, dtype=int)
    windows = (size + 2 * padding - kernel_size) // stride + 1 if windows is None else windows
    for start in range(0, windows * stride, stride):
        span = slice(start, start + (kernel_size if entries is None else entries))
        counts[span] = counts[span] + 1 if add else 1
    return counts


def _crop(counts, size, padding):
    return counts[padding:padding + size]


def coverage_by_windows(size, kernel_size, stride=1, padding=0):
    counts = [0] * size
    for start in range(-padding, size + padding - kernel_size + 1, stride):
        for i in range(start, start + kernel_size):
            if 0 <= i < size:
                counts[i] += 1
    return counts


def coverage_by_padding(size, kernel_size, stride=1, padding=0):
    return _crop(_padded_counts(size, kernel_size, stride, padding), size, padding)


def coverage_by_comparison(size, kernel_size, stride=1, padding=0):
    starts = np.arange(-padding, size + padding - kernel_size + 1, stride)[:, None]
    pixels = np.arange(size)
    return ((starts <= pixels) & (pixels < starts + kernel_size)).sum(axis=0)


def coverage_wrapping(size, kernel_size, stride=1, padding=0):
    counts = np.zeros(size, dtype=int)
    for start in range(-padding, size + padding - kernel_size + 1, stride):
        for i in range(start, start + kernel_size):
            if i < size:
                counts[i] += 1
    return counts


def coverage_past_the_end(size, kernel_size, stride=1, padding=0):
    windows = -(-(size + 2 * padding - kernel_size) // stride) + 1
    return _crop(_padded_counts(size, kernel_size, stride, padding, windows), size, padding)


def coverage_by_starts(size, kernel_size, stride, padding, stop):
    counts = np.zeros(size, dtype=int)
    for start in range(-padding, stop, stride):
        counts[max(start, 0):start + kernel_size] += 1
    return counts


def random_coverage(rng):
    k = int(rng.integers(1, 6))
    return call(int(k + rng.integers(0, 9)), k, stride=int(rng.integers(1, 5)),
                padding=int(rng.integers(0, k)))


COVERAGE = Exercise(
    id="coverage", points=2,
    oracle=coverage,
    probes=[call(5, 3), call(7, 3, stride=3), call(5, 2, stride=3), call(6, 3, padding=1),
            call(8, 3, stride=2), call(7, 3, stride=3, padding=1), call(9, 5, stride=2, padding=2),
            call(4, 1, stride=2), call(11, 4, stride=3, padding=2), call(6, 5, stride=3, padding=3)],
    random=random_coverage,
    mistakes=[
        Mistake("includes_the_padding", "The counts of the padding are returned as well. There is one count "
                "for each pixel of the input itself: `size` of them.",
                lambda size, kernel_size, stride=1, padding=0:
                _padded_counts(size, kernel_size, stride, padding)),
        Mistake("cropped_at_the_wrong_place", "The counts are right for the padded row, but cut from its "
                "beginning. The input's own pixel 0 lies behind the padding.",  # 51
                lambda size, kernel_size, stride=1, padding=0:
                _padded_counts(size, kernel_size, stride, padding)[:size]),
        Mistake("empty_without_padding", "With padding 0 nothing is returned: a slice that ends at "
                "`-padding` then ends at -0, which is the beginning.",  # 52
                lambda size, kernel_size, stride=1, padding=0:
                _padded_counts(size, kernel_size, stride, padding)[padding:-padding]),
        Mistake("padding_ignored", "Every case with padding 0 is right: the windows do not start in the "
                "padding.",
                lambda size, kernel_size, stride=1, padding=0: _padded_counts(size, kernel_size, stride, 0)),
        Mistake("padding_on_the_left_only", "The windows start in the padding on the left, but none reaches "
                "into the padding on the right. It is added at both ends.",  # 12
                lambda size, kernel_size, stride=1, padding=0: coverage_by_starts(
                    size, kernel_size, stride, padding, size - kernel_size + 1)),
        Mistake("a_window_at_every_pixel", "Windows start up to the last pixel, also where they hang over the "
                "end of the padded row. Only windows that fit count.",
                lambda size, kernel_size, stride=1, padding=0: coverage_by_starts(
                    size, kernel_size, stride, padding, size)),
        Mistake("last_window_missing", "The last window is left out. Look at where your loop over the "
                "windows ends.",  # 10
                lambda size, kernel_size, stride=1, padding=0: _crop(_padded_counts(
                    size, kernel_size, stride, padding, (size + 2 * padding - kernel_size) // stride),
                    size, padding)),
        Mistake("yes_or_no", "Each pixel holds 1 if any window reads it. The question is how many windows "
                "do, so overlapping windows have to add up.",  # 44
                lambda size, kernel_size, stride=1, padding=0: _crop(_padded_counts(
                    size, kernel_size, stride, padding, add=False), size, padding)),
        Mistake("stride_ignored", "Every case with stride 1 is right: the windows always move by one pixel.",
                lambda size, kernel_size, stride=1, padding=0: _crop(
                    _padded_counts(size, kernel_size, 1, padding), size, padding)),
        Mistake("window_past_the_end", "When the stride does not fit, a last window that hangs over the end "
                "is counted. Libraries leave it out.",  # 9
                coverage_past_the_end),
        Mistake("kernel_one_short", "Each window reads one pixel too few: check the end of the range over "
                "the kernel.",
                lambda size, kernel_size, stride=1, padding=0: _crop(_padded_counts(
                    size, kernel_size, stride, padding, entries=kernel_size - 1), size, padding)),
        Mistake("negative_index", "Windows that start in the padding have negative positions, and a negative "
                "index counts from the end of an array: the counts of the left padding land on the last "
                "pixels.",
                coverage_wrapping),
        Mistake("float_counts", "The numbers are right, but `np.zeros(size)` makes floats. Counts are whole "
                "numbers: give the array `dtype=int`.",
                lambda size, kernel_size, stride=1, padding=0:
                coverage(size, kernel_size, stride, padding) * 1.0),
    ],
    alternatives=[coverage_by_windows, coverage_by_padding, coverage_by_comparison],
    hints=[
        "Which pixels does the window number $i$ read? Where does it start when there is padding?",
        dedent("""\
        `size = 5`, `kernel_size = 3`, `stride = 2`, `padding = 1` (`.` is padding):

        ```
        position  -1 0 1 2 3 4 5
                   . a b c d e .
        window 0   x x x
        window 1       x x x
        window 2           x x x
        count        1 2 1 2 1
        ```"""),
        dedent("""\
        ```
        counts <- zeros, one per pixel of the padded row    # (size + 2*padding,), int
        for each window:
            add 1 to the counts of the kernel_size pixels it reads
        result <- counts without the padding at both ends  # (size,)
        ```"""),
        "Counting on the padded row needs no special case at the border, and only the last line has to know "
        "about padding. The number of windows is the output size, so a step that does not fit leaves the "
        "last pixels at 0.",
    ])


# ---------------------------------------------------------------------------- same_padding

def same_padding(kernel_size, dilation=1):
    """Oracle: what torch's padding="same" puts before and after, seen through kernels with a single 1."""
    import torch

    def conv(tap):
        x = torch.arange(1.0, 61.0)[None, None]
        w = torch.zeros(1, 1, kernel_size)
        w[0, 0, tap] = 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch notes that an even kernel needs a copy of the input
            return torch.nn.functional.conv1d(x, w, padding="same", dilation=dilation)[0, 0]

    # The first tap shows the padding before the input as leading zeros, the last tap that after it.
    return int((conv(0) == 0).sum()), int((conv(kernel_size - 1) == 0).sum())


def same_by_search(kernel_size, dilation=1):
    before = after = 0
    while before + after < dilation * (kernel_size - 1):
        if after > before:
            before += 1
        else:
            after += 1
    return before, after


def same_by_divmod(kernel_size, dilation=1):
    half, extra = divmod(dilation * (kernel_size - 1), 2)
    return [half, half + extra]


def _total(kernel_size, dilation):
    return dilation * (kernel_size - 1)


SAME_PADDING = Exercise(
    id="same_padding", points=1,
    oracle=same_padding,
    probes=[call(3), call(5), call(7), call(1), call(4), call(2), call(3, dilation=2), call(4, dilation=3),
            call(2, dilation=2), call(6, 1), call(5, 3)],
    random=lambda rng: call(int(rng.integers(1, 10)), dilation=int(rng.integers(1, 6))),
    mistakes=[
        Mistake("all_on_each_side", "The whole loss is made up on each side, which is twice too much: the "
                "output would be larger than the input.",
                lambda kernel_size, dilation=1: (_total(kernel_size, dilation),) * 2),
        Mistake("half_the_kernel", "Half the kernel, rounded down, on both sides is right for odd kernels "
                "only. For an even kernel the output is one too long.",  # 15
                lambda kernel_size, dilation=1: (dilation * (kernel_size // 2),) * 2),
        Mistake("both_rounded_down", "For an odd total both sides are rounded down, and the output is one "
                "too short.",  # 15
                lambda kernel_size, dilation=1: (_total(kernel_size, dilation) // 2,) * 2),
        Mistake("both_rounded_up", "For an odd total both sides are rounded up, and the output is one too "
                "long.",  # 15
                lambda kernel_size, dilation=1: ((_total(kernel_size, dilation) + 1) // 2,) * 2),
        Mistake("extra_before", "The amounts are right, but where the total is odd the larger one belongs "
                "after the input.",  # 12
                lambda kernel_size, dilation=1: same_padding(kernel_size, dilation)[::-1]),
        Mistake("all_after", "All of it is put after the input. Share it between the two sides.",  # 12
                lambda kernel_size, dilation=1: (0, _total(kernel_size, dilation))),
        Mistake("dilation_ignored", "Every case with dilation 1 is right: `dilation` is not used.",
                lambda kernel_size, dilation=1: same_padding(kernel_size)),
        Mistake("halved_before_dilating", "The division by 2 comes before the dilation, so what it rounds "
                "away is multiplied.",
                lambda kernel_size, dilation=1: (dilation * ((kernel_size - 1) // 2),
                                                 dilation * (kernel_size - 1 - (kernel_size - 1) // 2))),
        Mistake("odd_kernels_only", "This is right for odd kernels. An even kernel loses an odd number of "
                "pixels at dilation 1; what is left over after halving is missing here.",  # 15
                lambda kernel_size, dilation=1: (dilation * ((kernel_size - 1) // 2),) * 2),
        Mistake("float_sizes", "The division `/` gives floats. Padding is a whole number of pixels, an int.",
                lambda kernel_size, dilation=1: (_total(kernel_size, dilation) / 2,) * 2),
        Mistake("one_number", "One number is returned. The answer is two: before and after, which differ "
                "where the total is odd.",
                lambda kernel_size, dilation=1: _total(kernel_size, dilation) // 2),
    ],
    alternatives=[same_by_search, same_by_divmod],
    hints=[
        "How many pixels does the output lose, at stride 1 and without padding?",
        dedent("""\
        | kernel_size | dilation | pixels lost | before | after |
        |---|---|---|---|---|
        | 3 | 1 | 2 | 1 | 1 |
        | 4 | 1 | 3 | 1 | 2 |
        | 3 | 2 | 4 | 2 | 2 |"""),
        dedent("""\
        ```
        lost   <- how much shorter the output is than the input, at stride 1
        before <- half of lost, rounded down
        after  <- the rest of lost
        result <- (before, after)
        ```"""),
        "At stride 1 the output has as many windows as the input has pixels only if the padding makes up "
        "exactly for the reach of the kernel beyond its first entry. An odd number cannot be shared equally; "
        "PyTorch gives the larger part to the end.",
    ])


# ---------------------------------------------------------------------------- pad2d

MODES = ("zeros", "reflect", "replicate", "circular")
NUMPY_MODE = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad2d(x, padding, mode):
    """Oracle: torch.nn.functional.pad, which lists the last axis first."""
    import torch

    (ph, pw), name = padding, "constant" if mode == "zeros" else mode
    return torch.nn.functional.pad(torch.tensor(np.asarray(x, dtype=float)), (pw, pw, ph, ph), name).numpy()


def pad_by_numpy(x, padding, mode):
    return np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2), NUMPY_MODE[mode])


def _source(size, p, mode):
    i = np.arange(-p, size + p)
    if mode == "replicate":
        return np.clip(i, 0, size - 1)
    if mode == "circular":
        return i % size
    i = np.abs(i)
    return np.where(i >= size, 2 * (size - 1) - i, i)


def pad_by_index(x, padding, mode):
    (ph, pw), (n, c, h, w) = padding, x.shape
    if mode == "zeros":
        out = np.zeros((n, c, h + 2 * ph, w + 2 * pw))
        out[:, :, ph:ph + h, pw:pw + w] = x
        return out
    return x[:, :, _source(h, ph, mode)[:, None], _source(w, pw, mode)]


def pad_by_concatenation(x, padding, mode):
    for axis, p in zip((2, 3), padding):
        if p == 0:
            continue
        x = np.moveaxis(x, axis, 0)
        ends = {"zeros": (0 * x[:p], 0 * x[:p]), "reflect": (x[1:p + 1][::-1], x[-p - 1:-1][::-1]),
                "replicate": ([x[0]] * p, [x[-1]] * p), "circular": (x[-p:], x[:p])}[mode]
        x = np.moveaxis(np.concatenate([ends[0], x, ends[1]]), 0, axis)
    return np.array(x)


def _numpy_pad(x, rows, cols, mode):
    return np.pad(x, ((0, 0), (0, 0), rows, cols), mode)


def pad_empty_corners(x, padding, mode):
    (ph, pw), (h, w) = padding, x.shape[2:]
    out = pad2d(x, padding, mode)
    for rows in (slice(0, ph), slice(ph + h, None)):
        for cols in (slice(0, pw), slice(pw + w, None)):
            out[:, :, rows, cols] = 0
    return out


def pad_circular_from_same_side(x, padding, mode):
    if mode != "circular":
        return pad2d(x, padding, mode)
    (ph, pw), (h, w) = padding, x.shape[2:]
    rows = [*range(ph), *range(h), *range(h - ph, h)]
    cols = [*range(pw), *range(w), *range(w - pw, w)]
    return x[:, :, rows][..., cols]


def pad_changing_input(x, padding, mode):
    out = pad2d(x, padding, mode)
    x[...] = 0
    return out


def random_pad(rng):
    shape = rng.integers(1, 4, 2), rng.integers(3, 6, 2)
    x = rng.integers(-8, 9, (*shape[0], *shape[1])) / 4
    mode = MODES[rng.integers(4)]
    return call(x, tuple(int(p) for p in rng.integers(0, 3, 2)), mode, part=mode)


PAD2D = Exercise(
    id="pad2d", points=2,
    oracle=pad2d,
    probes=[call(np.array([[[[1.0, -2, 3], [4, 0, -5]]]]), (1, 1), mode, part=mode) for mode in MODES]
    + [call(quarters(1, 2, 1, 3, 4), (2, 1), "zeros", part="zeros"),
       call(quarters(2, 1, 1, 4, 3), (3, 2), "reflect", part="reflect"),
       call(quarters(3, 1, 2, 3, 4), (0, 2), "replicate", part="replicate"),
       call(quarters(4, 2, 1, 2, 3), (2, 0), "circular", part="circular"),
       call(ints(5, 1, 2, 3, 2), (1, 2), "circular", part="circular"),
       call(strided(ints(6, 3, 1, 2, 3)), (0, 2), "reflect", part="reflect"),
       call(ints(7, 1, 1, 2, 3), (2, 3), "replicate", part="replicate"),
       call(strided(ints(8, 1, 2, 2, 3)), (0, 1), "zeros", part="zeros")],
    random=random_pad,
    mistakes=[
        Mistake("pair_swapped", "The first number of `padding` is for the rows (above and below), the second "
                "for the columns; here they are swapped.",  # 8
                lambda x, padding, mode: pad2d(x, padding[::-1], mode)),
        Mistake("channels_padded", "The channel axis is padded as well. Only the last two axes, height and "
                "width, get wider.",  # 14
                lambda x, padding, mode: np.pad(
                    x, ((0, 0), *[(padding[0],) * 2] * 2, (padding[1],) * 2), NUMPY_MODE[mode])),
        Mistake("axes_of_channels_last", "The second and third axes are padded, as if the layout were (N, H, "
                "W, C). Here it is (N, C, H, W).",  # 27
                lambda x, padding, mode: np.pad(
                    x, ((0, 0), (padding[0],) * 2, (padding[1],) * 2, (0, 0)), NUMPY_MODE[mode])),
        Mistake("only_bottom_and_right", "The padding is added below and to the right only. It belongs on "
                "both sides.",  # 12
                lambda x, padding, mode: _numpy_pad(x, (0, padding[0]), (0, padding[1]), NUMPY_MODE[mode])),
        Mistake("only_top_and_left", "The padding is added above and to the left only. It belongs on both "
                "sides.",  # 12
                lambda x, padding, mode: _numpy_pad(x, (padding[0], 0), (padding[1], 0), NUMPY_MODE[mode])),
        Mistake("shared_between_sides", "The padding is shared between the two sides. `padding=(2, 1)` means "
                "2 rows above and 2 rows below.",
                lambda x, padding, mode: _numpy_pad(x, *[(p // 2, p - p // 2) for p in padding],
                                                    NUMPY_MODE[mode])),
        Mistake("mirror_repeats_the_edge", "The mirror stands behind the edge pixel, so the edge appears "
                "twice. In `reflect` the edge pixel itself is the mirror and is not repeated.",  # 13
                lambda x, padding, mode: pad2d(x, padding, mode) if mode != "reflect" else
                _numpy_pad(x, *[(p, p) for p in padding], "symmetric")),
        Mistake("reflect_replicates", "`reflect` repeats the edge pixel. It should walk back into the "
                "image.",  # 13
                lambda x, padding, mode: pad2d(x, padding, "replicate" if mode == "reflect" else mode)),
        Mistake("replicate_reflects", "`replicate` mirrors the image. It should repeat the edge pixel.",  # 13
                lambda x, padding, mode: pad_by_numpy(
                    x, padding, "reflect" if mode == "replicate" else mode)),
        Mistake("replicate_and_circular_exchanged", "`replicate` goes round and `circular` repeats the edge: "
                "the two are exchanged.",  # 13
                lambda x, padding, mode: pad2d(
                    x, padding, {"replicate": "circular", "circular": "replicate"}.get(mode, mode))),
        Mistake("pair_as_before_and_after", "The pair is used as before and after, on both axes. Its first "
                "number is for the rows, on both sides; its second for the columns, on both sides.",  # 8
                lambda x, padding, mode: _numpy_pad(x, padding, padding, NUMPY_MODE[mode])),
        Mistake("circular_from_the_same_side", "In `circular` the rows above the image are copied from its "
                "own top. Going round, what lies before the first row is the last one.",
                pad_circular_from_same_side),
        Mistake("always_zeros", "Every mode is padded with zeros: `mode` is not used.",  # 13
                lambda x, padding, mode: pad2d(x, padding, "zeros")),
        Mistake("ones", "`zeros` is padded with ones.",  # 13
                lambda x, padding, mode: pad2d(x, padding, mode) if mode != "zeros" else
                np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2), constant_values=1.0)),
        Mistake("empty_corners", "The four corners are left at 0. They are filled when the second axis is "
                "padded after the first, from the array that already has the first padding.",
                pad_empty_corners),
        Mistake("integer_buffer", "The result is built in an array of integers, which cuts off fractions. "
                "Create it with the dtype of `x`.",  # 33
                lambda x, padding, mode: pad2d(x, padding, mode).astype(int)),
        Mistake("changes_input", "The array that was passed in is changed.",  # 32
                pad_changing_input),
    ],
    alternatives=[pad_by_numpy, pad_by_index, pad_by_concatenation],
    hints=[
        "Take one row of pixels `a b c d` and one new place to its left. Which pixel do you find there in "
        "each of the four modes? And at the second new place?",
        dedent("""\
        One row, padded by 2:

        ```
        zeros      0 0 | a b c d | 0 0
        reflect    c b | a b c d | c b
        replicate  a a | a b c d | d d
        circular   c d | a b c d | a b
        ```"""),
        dedent("""\
        ```
        for each of the two axes, with its size n and its padding p:
            for each new position i from -p to n + p - 1:
                source[i] <- the old position whose pixel belongs there
        result <- x at the source rows and source columns   # (N, C, H + 2*pH, W + 2*pW)
        ```

        For zeros no source exists: place `x` into an array of zeros. `np.pad` is the other way; its word
        for `replicate` is *edge*, for `circular` *wrap*, and its *symmetric* is not our `reflect`."""),
        "Each mode is a rule that sends a position outside the image to one inside: stay at the nearest "
        "edge, go round, or turn back at the edge pixel. Rows and columns follow the rule independently, so "
        "the corners come out right when both are applied.",
    ])


# ---------------------------------------------------------------------------- correlate_volume

def correlate_volume(x, kernel, bias):
    """Oracle: torch's convolution with one filter and one image."""
    return torch_conv(x[None], kernel[None], np.array([bias]))[0, 0]


def volume_by_loops(x, kernel, bias):
    (channels, h, w), (_, kh, kw) = x.shape, kernel.shape
    out = np.zeros((h - kh + 1, w - kw + 1))
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            total = bias
            for channel in range(channels):
                for a in range(kh):
                    for b in range(kw):
                        total += x[channel, r + a, c + b] * kernel[channel, a, b]
            out[r, c] = total
    return out


def volume_by_windows(x, kernel, bias):
    return np.einsum("hwcab,cab->hw", sliding_window_view(x, kernel.shape)[0].astype(float), kernel) + bias


def volume_by_shifts(x, kernel, bias):
    (_, h, w), (channels, kh, kw) = x.shape, kernel.shape
    out = np.full((h - kh + 1, w - kw + 1), float(bias))
    for channel in range(channels):
        for a in range(kh):
            for b in range(kw):
                out += kernel[channel, a, b] * x[channel, a:a + out.shape[0], b:b + out.shape[1]]
    return out


def volume_channels_last(x, kernel, bias):
    x = np.ascontiguousarray(x).reshape(*x.shape[1:], x.shape[0])
    return correlate_volume(x.transpose(2, 0, 1), kernel, bias)


def volume_last_left_at_zero(x, kernel, bias):
    out = correlate_volume(x, kernel, bias)
    out[-1], out[:, -1] = 0, 0
    return out


def random_volume(rng):
    c, kh, kw = (int(v) for v in rng.integers(1, 4, 3))
    x = rng.integers(-8, 9, (c, kh + rng.integers(0, 4), kw + rng.integers(0, 4))) / 4
    return call(x, rng.integers(-4, 5, (c, kh, kw)) / 2, float(rng.integers(-6, 7) / 4 + 0.1))


CORRELATE_VOLUME = Exercise(
    id="correlate_volume", points=2,
    oracle=correlate_volume,
    probes=[call(np.array([[[1.0, 0, 2, -1], [3, -2, 0, 1], [0, 1, 4, 2]],
                           [[2.0, 1, -1, 0], [0, 3, 1, -2], [1, -1, 0, 5]]]),
                 np.array([[[1.0, 2], [0, -1]], [[3.0, -1], [1, 0]]]), 0.5),
            call(ints(10, 1, 5, 6), ints(11, 1, 2, 3), 0.0), call(ints(12, 3, 4, 6), ints(13, 3, 3, 2), -1.5),
            call(quarters(14, 2, 4, 5), quarters(15, 2, 1, 1), 2.0),
            call(strided(quarters(16, 3, 3, 5)), ints(17, 3, 2, 2), 0.25),
            call(ints(18, 4, 2, 3), quarters(19, 4, 2, 3), -3.0),
            call(quarters(20, 3, 5, 4), ints(21, 3, 2, 4), 1.25)],
    random=random_volume,
    mistakes=[
        Mistake("channels_not_summed", "There is one map per channel. A filter reaches through all channels "
                "and gives one number per position: the channels are summed.",  # 21
                lambda x, kernel, bias: np.stack([correlate_volume(a[None], k[None], bias)
                                                  for a, k in zip(x, kernel)])),
        Mistake("mean_over_channels", "The channels are averaged. A dot product sums them.",  # 22
                lambda x, kernel, bias: correlate_volume(x, kernel, 0.0) / len(x) + bias),
        Mistake("first_channel_only", "Only channel 0 is read.",
                lambda x, kernel, bias: correlate_volume(x[:1], kernel[:1], bias)),
        Mistake("same_slice_for_all_channels", "Every channel is multiplied by the kernel's slice for "
                "channel 0. Each channel has its own slice.",
                lambda x, kernel, bias: correlate_volume(x, np.repeat(kernel[:1], len(x), axis=0), bias)),
        Mistake("bias_missing", "The bias is not added.",  # 23
                lambda x, kernel, bias: correlate_volume(x, kernel, 0.0)),
        Mistake("bias_per_channel", "The bias is added once for every channel. It is added once per "
                "output.",  # 24
                lambda x, kernel, bias: correlate_volume(x, kernel, bias * len(x))),
        Mistake("bias_per_product", "The bias is added to every product. It is added once per output.",  # 24
                lambda x, kernel, bias: correlate_volume(x, kernel, bias * kernel.size)),
        Mistake("kernel_rotated", "The kernel is rotated by 180°: that is a convolution in the sense of "
                "mathematics. A layer correlates, without the rotation.",  # 1
                lambda x, kernel, bias: correlate_volume(x, kernel[:, ::-1, ::-1], bias)),
        Mistake("kernel_rotated_through_depth", "The kernel is reversed along all three axes, channels "
                "included. A layer uses it as it is.",  # 1
                lambda x, kernel, bias: correlate_volume(x, kernel[::-1, ::-1, ::-1], bias)),
        Mistake("channels_last", "`x` is reshaped as if its channels came last. A reshape reads the numbers "
                "in another order; it does not move an axis.",  # 27
                volume_channels_last),
        Mistake("last_position_missing", "The last row and the last column of the output are missing: check "
                "where your loops end.",  # 10
                lambda x, kernel, bias: correlate_volume(x, kernel, bias)[:-1, :-1]),
        Mistake("integer_buffer", "The result is stored in an array of integers, which cuts off "
                "fractions.",  # 33
                lambda x, kernel, bias: correlate_volume(x, kernel, bias).astype(int)),
        Mistake("last_channel_only", "Only the last channel counts: each channel replaces the one before. "
                "They have to add up.",  # 44
                lambda x, kernel, bias: correlate_volume(x[-1:], kernel[-1:], bias)),
        Mistake("last_position_left_at_zero", "The shape is right, but the last row and the last column are "
                "never written: check where your loops end.",  # 10
                volume_last_left_at_zero),
        Mistake("integer_bias", "The bias loses its fraction.",  # 26
                lambda x, kernel, bias: correlate_volume(x, kernel, int(bias))),
        Mistake("transposed", "Rows and columns of the output are exchanged.",  # 4
                lambda x, kernel, bias: correlate_volume(x, kernel, bias).T),
    ],
    alternatives=[volume_by_loops, volume_by_windows, volume_by_shifts],
    hints=[
        "At one position the filter covers a small block of `x`. What are the block's three sizes, and how "
        "many numbers come out?",
        dedent("""\
        Two channels, a filter of shape (2, 1, 2), bias 10, one position:

        ```
                   window   filter   products
        channel 0   1  2     3  4      3 +  8
        channel 1   5  6     0 -1      0 -  6

        output = 3 + 8 + 0 - 6 + 10 = 15
        ```"""),
        dedent("""\
        ```
        out <- zeros                                # (H - kH + 1, W - kW + 1)
        for each row r and column c of out:
            window   <- all channels of x, kH rows from r, kW columns from c   # (C, kH, kW)
            out[r, c] <- sum of window times kernel, plus bias
        ```"""),
        "The filter is as deep as the input, so it can move in two directions only: the result has rows and "
        "columns but no channels. Depth is summed like height and width, in one dot product of $C \\cdot kH "
        "\\cdot kW$ terms.",
    ])


# ---------------------------------------------------------------------------- conv2d

def conv2d(x, weight, bias, stride=1, padding=0):
    """Oracle: torch.nn.functional.conv2d."""
    return torch_conv(x, weight, bias, stride, padding)


def conv_by_loops(x, weight, bias, stride=1, padding=0):
    (sh, sw), (ph, pw) = pair(stride), pair(padding)
    (n_images, channels, h, w), (filters, _, kh, kw) = x.shape, weight.shape
    out = np.zeros((n_images, filters, (h + 2 * ph - kh) // sh + 1, (w + 2 * pw - kw) // sw + 1))
    for n, o, r, c in np.ndindex(out.shape):
        total = 0.0
        for a in range(kh):
            for b in range(kw):
                i, j = r * sh + a - ph, c * sw + b - pw
                if 0 <= i < h and 0 <= j < w:
                    for channel in range(channels):
                        total += x[n, channel, i, j] * weight[o, channel, a, b]
        out[n, o, r, c] = total + bias[o]
    return out


def conv_by_windows(x, weight, bias, stride=1, padding=0):
    (sh, sw), (ph, pw) = pair(stride), pair(padding)
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    windows = sliding_window_view(x, weight.shape[2:], axis=(2, 3))[:, :, ::sh, ::sw]
    return np.einsum("nchwab,ocab->nohw", windows, weight) + bias[:, None, None]


def conv_by_shifts(x, weight, bias, stride=1, padding=0):
    (sh, sw), (ph, pw) = pair(stride), pair(padding)
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    kh, kw = weight.shape[2:]
    h_out, w_out = (x.shape[2] - kh) // sh + 1, (x.shape[3] - kw) // sw + 1
    out = np.zeros((len(x), len(weight), h_out, w_out))
    for a in range(kh):
        for b in range(kw):
            shifted = x[:, :, a:a + sh * h_out:sh, b:b + sw * w_out:sw]
            out += np.tensordot(shifted, weight[:, :, a, b], axes=([1], [1])).transpose(0, 3, 1, 2)
    return out + bias.reshape(1, -1, 1, 1)


def _conv_padded(x, weight, bias, stride, rows, cols):
    return conv2d(np.pad(x, ((0, 0), (0, 0), rows, cols)), weight, bias, stride)


def conv_first_image(x, weight, bias, stride=1, padding=0):
    out = conv2d(x, weight, bias, stride, padding)
    out[1:] = 0
    return out


def conv_running_total(x, weight, bias, stride=1, padding=0):
    out = conv2d(x, weight, bias, stride, padding)
    return np.cumsum(out).reshape(out.shape)


def conv_square(x, weight, bias, stride=1, padding=0):
    out = conv2d(x, weight, bias, stride, padding)
    if out.shape[3] < out.shape[2]:
        raise ValueError("a window beyond the last column")
    return out[:, :, :, :out.shape[2]]


def conv_next_to_each_other(x, weight, bias, stride=1, padding=0):
    h_out, w_out = conv2d(x, weight, bias, stride, padding).shape[2:]
    return conv2d(x, weight, bias, 1, padding)[:, :, :h_out, :w_out]


def conv_last_phase(x, weight, bias, stride=1, padding=0):
    sh, sw = pair(stride)
    return conv2d(x, weight, bias, 1, padding)[:, :, sh - 1::sh, sw - 1::sw]


def conv_padding_once_in_size(x, weight, bias, stride=1, padding=0):
    (sh, sw), (ph, pw) = pair(stride), pair(padding)
    h_out = (x.shape[2] + ph - weight.shape[2]) // sh + 1
    w_out = (x.shape[3] + pw - weight.shape[3]) // sw + 1
    return conv2d(x, weight, bias, stride, padding)[:, :, :h_out, :w_out]


def conv_rounded_up(x, weight, bias, stride=1, padding=0):
    (sh, sw), (ph, pw) = pair(stride), pair(padding)
    more_h = -(x.shape[2] + 2 * ph - weight.shape[2]) % sh
    more_w = -(x.shape[3] + 2 * pw - weight.shape[3]) % sw
    return _conv_padded(x, weight, bias, stride, (ph, ph + more_h), (pw, pw + more_w))


def conv_first_of_pair(x, weight, bias, stride=1, padding=0):
    return conv2d(x, weight, bias, pair(stride)[0], pair(padding)[0])


def conv_bias_by_width(x, weight, bias, stride=1, padding=0):
    return conv2d(x, weight, 0 * bias, stride, padding) + bias


def conv_size_without_padding(x, weight, bias, stride=1, padding=0):
    h_out, w_out = (max((n - k) // s + 1, 0) for n, k, s in zip(x.shape[2:], weight.shape[2:], pair(stride)))
    return conv2d(x, weight, bias, stride, padding)[:, :, :h_out, :w_out]


def conv_last_window_missing(x, weight, bias, stride=1, padding=0):
    (sh, sw), (ph, pw) = pair(stride), pair(padding)
    h_out = len(range(0, x.shape[2] + 2 * ph - weight.shape[2], sh))
    w_out = len(range(0, x.shape[3] + 2 * pw - weight.shape[3], sw))
    return conv2d(x, weight, bias, stride, padding)[:, :, :h_out, :w_out]


def conv_every_axis_padded(x, weight, bias, stride=1, padding=0):
    x = np.pad(x, padding)  # a pair means before and after, on every axis
    if weight.shape[1] == 1:
        weight = np.repeat(weight, x.shape[1], axis=1)  # as broadcasting does
    elif weight.shape[1] != x.shape[1]:
        raise ValueError("more channels in x than in weight")
    return conv2d(x, weight, bias, stride)


def conv_padding_edge(x, weight, bias, stride=1, padding=0):
    ph, pw = pair(padding)
    return conv2d(np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), "edge"), weight, bias, stride)


PLAIN, STRIDED, PADDED, PAIRS = "stride 1, no padding", "stride", "padding", "pairs"


def random_conv(rng):
    kh, kw, n, c, o = (int(v) for v in rng.integers(1, 4, 5))
    x = rng.integers(-8, 9, (n, c, kh + rng.integers(0, 4), kw + rng.integers(0, 4))) / 4
    weight, bias = rng.integers(-4, 5, (o, c, kh, kw)) / 2, rng.integers(-8, 9, o) / 8
    settings = {PLAIN: {}, STRIDED: {"stride": int(rng.integers(2, 4))},
                PADDED: {"padding": int(rng.integers(1, 3))},
                PAIRS: {"stride": tuple(int(v) for v in rng.integers(1, 4, 2)),
                        "padding": tuple(int(v) for v in rng.integers(0, 3, 2))}}
    part = list(settings)[rng.integers(4)]
    return call(x, weight, bias, **settings[part], part=part)


SMALL_X = np.array([[[[1.0, 0, 2, -1], [3, -2, 0, 1], [0, 1, 4, 2]]]])
SMALL_W = np.array([[[[1.0, 2], [0, -1]]]])

CONV2D = Exercise(
    id="conv2d", points=4,
    oracle=conv2d,
    probes=[call(SMALL_X, SMALL_W, np.array([0.5]), part=PLAIN),
            call(ints(30, 2, 3, 3, 4), ints(31, 2, 3, 1, 2), np.array([1.0, -2]), part=PLAIN),
            call(quarters(32, 3, 1, 3, 3), ints(33, 2, 1, 2, 2), np.array([0.25, -1.5]), part=PLAIN),
            call(strided(ints(34, 1, 2, 2, 4)), quarters(35, 3, 2, 1, 1), np.array([3.0, 0.5, -1]),
                 part=PLAIN),
            call(ints(36, 1, 1, 4, 5), ints(37, 1, 1, 2, 2), np.array([-1.0]), stride=2, part=STRIDED),
            call(quarters(38, 2, 2, 4, 5), ints(39, 3, 2, 1, 2), np.array([0.5, 2, -1]),
                 stride=3, part=STRIDED),
            call(ints(40, 1, 1, 3, 4), ints(41, 1, 1, 2, 2), np.array([2.0]), padding=1, part=PADDED),
            call(quarters(42, 2, 2, 2, 3), ints(43, 3, 2, 3, 2), np.array([1.0, -0.5, 4]),
                 padding=1, part=PADDED),
            call(ints(44, 1, 2, 3, 4), quarters(45, 2, 2, 3, 3), np.array([0.75, -2]),
                 padding=2, part=PADDED),
            call(ints(46, 1, 1, 4, 6), ints(47, 1, 1, 2, 2), np.array([1.0]),
                 stride=(1, 2), padding=(2, 0), part=PAIRS),
            call(quarters(48, 2, 3, 5, 4), ints(49, 2, 3, 3, 2), np.array([-1.0, 0.5]),
                 stride=(3, 1), padding=(1, 2), part=PAIRS),
            call(strided(ints(50, 3, 1, 4, 6)), ints(51, 2, 1, 2, 3), np.array([0.5, 3]),
                 stride=(2, 3), padding=(0, 1), part=PAIRS)],
    random=random_conv,
    mistakes=[
        Mistake("kernel_rotated", "The kernels are rotated by 180°: that is a convolution in the sense of "
                "mathematics. Libraries correlate, without the rotation.",  # 1
                lambda x, weight, bias, stride=1, padding=0:
                conv2d(x, weight[:, :, ::-1, ::-1], bias, stride, padding)),
        Mistake("kernel_rows_reversed", "The rows of the kernels are used from bottom to top.",  # 2
                lambda x, weight, bias, stride=1, padding=0:
                conv2d(x, weight[:, :, ::-1], bias, stride, padding)),
        Mistake("kernel_columns_reversed", "The columns of the kernels are used from right to left.",  # 2
                lambda x, weight, bias, stride=1, padding=0:
                conv2d(x, weight[:, :, :, ::-1], bias, stride, padding)),
        Mistake("channels_averaged", "The channels are averaged. A dot product sums them.",  # 22
                lambda x, weight, bias, stride=1, padding=0:
                conv2d(x, weight / x.shape[1], bias, stride, padding)),
        Mistake("first_channel_only", "Only input channel 0 is read.",
                lambda x, weight, bias, stride=1, padding=0:
                conv2d(x[:, :1], weight[:, :1], bias, stride, padding)),
        Mistake("same_filter_for_all", "Every output channel is computed with filter 0.",
                lambda x, weight, bias, stride=1, padding=0:
                conv2d(x, np.repeat(weight[:1], len(weight), axis=0), bias, stride, padding)),
        Mistake("first_image_only", "Only image 0 of the batch is computed; the others are left at 0. Is the "
                "`return`, or the loop over images, in the right place?",  # 39
                conv_first_image),
        Mistake("total_not_reset", "Each output still holds the sum of the ones before it. Start the sum at "
                "0 for every window.",
                conv_running_total),
        Mistake("bias_missing", "The bias is not added.",  # 23
                lambda x, weight, bias, stride=1, padding=0: conv2d(x, weight, 0 * bias, stride, padding)),
        Mistake("bias_along_width", "The bias is added along the width: broadcasting lines up the last axis. "
                "It belongs to the output channels, axis 1.",  # 25
                conv_bias_by_width),
        Mistake("bias_per_channel", "The bias is added once for every input channel. It is added once per "
                "output.",  # 24
                lambda x, weight, bias, stride=1, padding=0:
                conv2d(x, weight, bias * x.shape[1], stride, padding)),
        Mistake("square_assumed", "The output is given as many columns as rows. Height and width can "
                "differ.",  # 6
                conv_square),
        Mistake("stride_on_rows_only", "The stride is applied to the rows, but the columns still move "
                "by 1.",  # 17
                lambda x, weight, bias, stride=1, padding=0:
                conv2d(x, weight, bias, (pair(stride)[0], 1), padding)),
        Mistake("windows_next_to_each_other", "The output has the right size, but its windows lie one pixel "
                "apart. Window r starts r strides from the top.",  # 18
                conv_next_to_each_other),
        Mistake("first_window_late", "The first window does not start at the first row and column: every "
                "stride-th output is taken, but counted from the wrong end of the step.",  # 18
                conv_last_phase),
        Mistake("stride_inside_the_window", "The stride is used inside the window, so the kernel reads every "
                "stride-th pixel. That is dilation; stride is the step from one window to the next.",  # 19
                lambda x, weight, bias, stride=1, padding=0: torch_conv(x, weight, bias, 1, padding, stride)),
        Mistake("stride_pair_swapped", "The first number of a stride pair is for the rows, the second for "
                "the columns.",  # 8
                lambda x, weight, bias, stride=1, padding=0:
                conv2d(x, weight, bias, pair(stride)[::-1], padding)),
        Mistake("padding_pair_swapped", "The first number of a padding pair is for the rows, the second for "
                "the columns.",  # 8
                lambda x, weight, bias, stride=1, padding=0:
                conv2d(x, weight, bias, stride, pair(padding)[::-1])),
        Mistake("first_of_pair_only", "The first number of a pair is used for both axes. Each axis has its "
                "own.",  # 8
                conv_first_of_pair),
        Mistake("padding_once_in_size", "The size formula counts the padding once, so the last rows and "
                "columns are missing. It is added on both sides.",  # 11
                conv_padding_once_in_size),
        Mistake("size_without_padding", "The output size is computed from the image before it is padded, so "
                "rows and columns are missing.",  # 11
                conv_size_without_padding),
        Mistake("every_axis_padded", "All four axes are padded, images and channels too. Padding belongs to "
                "height and width.",  # 14
                conv_every_axis_padded),
        Mistake("last_window_missing", "The last row or column of windows is missing where it just fits: a "
                "range leaves out its end.",  # 10
                conv_last_window_missing),
        Mistake("padding_bottom_right", "All the padding lies below and to the right of the image. It "
                "belongs on both sides.",  # 12
                lambda x, weight, bias, stride=1, padding=0: _conv_padded(
                    x, weight, bias, stride, *[(0, 2 * p) for p in pair(padding)])),
        Mistake("padding_ignored", "Every case without padding is right: `padding` is not used.",
                lambda x, weight, bias, stride=1, padding=0: conv2d(x, weight, bias, stride)),
        Mistake("padding_repeats_edge", "The padding repeats the edge of the image. This layer pads with "
                "zeros.",  # 13
                conv_padding_edge),
        Mistake("rounds_up", "When the stride does not fit, a last window hangs over the end. Libraries "
                "leave it out.",  # 9
                conv_rounded_up),
        Mistake("relu", "Negative outputs have become 0. A convolution layer does not clip; ReLU is a layer "
                "of its own.",  # 37
                lambda x, weight, bias, stride=1, padding=0:
                np.maximum(conv2d(x, weight, bias, stride, padding), 0)),
        Mistake("integer_buffer", "The output is stored in an array of integers, which cuts off "
                "fractions.",  # 33
                lambda x, weight, bias, stride=1, padding=0:
                conv2d(x, weight, bias, stride, padding).astype(int)),
        Mistake("float32_buffer", "The output is stored in float32, which has half the digits of the "
                "input.",  # 34
                lambda x, weight, bias, stride=1, padding=0:
                conv2d(x, weight, bias, stride, padding).astype(np.float32)),
    ],
    alternatives=[conv_by_loops, conv_by_windows, conv_by_shifts],
    hints=[
        "You know one filter on one image at stride 1. Where does output row r read its window when the "
        "stride is 2? What changes if you pad first and then forget about padding?",
        dedent("""\
        Padding 1 and stride 2 on a row of 5 (`.` is a zero), kernel of 3:

        ```
        padded    . a b c d e .
        index     0 1 2 3 4 5 6
        output 0  x x x          starts at 0
        output 1      x x x      starts at 2
        output 2          x x x  starts at 4
        ```"""),
        dedent("""\
        ```
        (sH, sW), (pH, pW) <- stride and padding as pairs
        x   <- x with pH rows of zeros above and below, pW columns left and right
        out <- zeros                       # (N, C_out, H_out, W_out)
        for each output row r and column c:
            window <- kH rows from r*sH, kW columns from c*sW      # (N, C_in, kH, kW)
            for each filter o:
                out[:, o, r, c] <- sum of window times filter o over C_in, kH, kW, plus bias[o]
        ```"""),
        "Padding changes what is read, stride changes where windows start, and neither changes the dot "
        "product. Every filter reads the same windows, so filters only add output channels, and the images "
        "of a batch never meet. That is why four loops and one dot product suffice.",
    ])


# ---------------------------------------------------------------------------- pointwise

def pointwise(x, weight, bias):
    """Oracle: torch's convolution, which needs no special case for 1x1."""
    return torch_conv(x, weight, bias)


def pointwise_by_einsum(x, weight, bias):
    return np.einsum("nchw,oc->nohw", x, weight[:, :, 0, 0]) + bias[:, None, None]


def pointwise_by_matmul(x, weight, bias):
    n, channels, h, w = x.shape
    flat = weight.reshape(len(weight), channels) @ x.reshape(n, channels, h * w)
    return flat.reshape(n, len(weight), h, w) + bias.reshape(-1, 1, 1)


def pointwise_by_loops(x, weight, bias):
    out = np.zeros((len(x), len(weight), *x.shape[2:]))
    for n, o, r, c in np.ndindex(out.shape):
        out[n, o, r, c] = x[n, :, r, c] @ weight[o, :, 0, 0] + bias[o]
    return out


def pointwise_by_reshape(x, weight, bias):
    n, channels, h, w = x.shape
    flat = x.reshape(n * h * w, channels) @ weight[:, :, 0, 0].T + bias
    return flat.reshape(n, h, w, -1).transpose(0, 3, 1, 2)


def pointwise_reshaped_back(x, weight, bias):
    n, channels, h, w = x.shape
    flat = x.transpose(0, 2, 3, 1).reshape(-1, channels) @ weight[:, :, 0, 0].T + bias
    return flat.reshape(n, -1, h, w)


def pointwise_flat_batch(x, weight, bias):
    n, channels, h, w = x.shape
    flat = weight[:, :, 0, 0] @ x.reshape(channels, n * h * w)
    return flat.reshape(n, len(weight), h, w) + bias[:, None, None]


def pointwise_transposed_weight(x, weight, bias):
    return np.einsum("nchw,co->nohw", x, weight[:, :, 0, 0]) + bias[:, None, None]


def pointwise_running(x, weight, bias):
    out = np.zeros((len(x), len(weight), *x.shape[2:]))
    for n in range(len(x)):
        out[n] = np.einsum("chw,oc->ohw", x[:n + 1].sum(axis=0), weight[:, :, 0, 0]) + bias[:, None, None]
    return out


def random_pointwise(rng):
    n, c, o, h, w = (int(v) for v in rng.integers(1, 5, 5))
    return call(rng.integers(-8, 9, (n, c, h, w)) / 4, rng.integers(-4, 5, (o, c, 1, 1)) / 2,
                rng.integers(-8, 9, o) / 8)


POINTWISE = Exercise(
    id="pointwise", points=2,
    oracle=pointwise,
    probes=[call(np.array([[[[1.0, -2, 3]], [[0, 4, -1]]]]),
                 np.array([[[[2.0]], [[1.0]]], [[[-1.0]], [[3.0]]]]), np.array([0.5, -1])),
            call(ints(60, 2, 3, 2, 4), ints(61, 2, 3, 1, 1), np.array([1.0, -2])),
            call(quarters(62, 3, 2, 3, 2), ints(63, 3, 2, 1, 1), np.array([0.25, 2, -1])),
            call(ints(64, 1, 3, 2, 3), quarters(65, 3, 3, 1, 1), np.array([1.5, 0, -2])),
            call(strided(quarters(66, 2, 4, 3, 2)), ints(67, 2, 4, 1, 1), np.array([-0.5, 3])),
            call(ints(68, 2, 1, 3, 4), ints(69, 4, 1, 1, 1), np.array([1.0, -1, 2, 0.75]))],
    random=random_pointwise,
    mistakes=[
        Mistake("reshaped_not_moved", "The input is reshaped to (pixels, channels), but in (N, C, H, W) the "
                "channels of one pixel do not lie next to each other. Move the axis before you "
                "reshape.",  # 27
                pointwise_by_reshape),
        Mistake("reshaped_back", "The values are right but in the wrong places: a result laid out with "
                "channels last is reshaped to channels first. Move the axis instead.",  # 27
                pointwise_reshaped_back),
        Mistake("channels_last_result", "The channels of the result come last. The layout is (N, C_out, H, "
                "W).",
                lambda x, weight, bias: pointwise(x, weight, bias).transpose(0, 2, 3, 1)),
        Mistake("filters_first", "The channels of the result come before the images. The layout is (N, C_out, "
                "H, W).",
                lambda x, weight, bias: pointwise(x, weight, bias).transpose(1, 0, 2, 3)),
        Mistake("images_mixed_with_channels", "The input is reshaped to (C_in, pixels). That is right for one "
                "image; with more, the numbers of other images get in between.",  # 27
                pointwise_flat_batch),
        Mistake("weight_transposed", "The weights are used with their axes exchanged: row o of `weight` "
                "belongs to output channel o.",  # 20
                pointwise_transposed_weight),
        Mistake("bias_missing", "The bias is not added.",  # 23
                lambda x, weight, bias: pointwise(x, weight, 0 * bias)),
        Mistake("bias_along_width", "The bias is added along the width: broadcasting lines up the last axis. "
                "It belongs to the output channels, axis 1.",  # 25
                lambda x, weight, bias: pointwise(x, weight, 0 * bias) + bias),
        Mistake("channels_averaged", "The channels are averaged. A dot product sums them.",  # 22
                lambda x, weight, bias: pointwise(x, weight / x.shape[1], bias)),
        Mistake("batch_summed", "Each image also contains the ones before it. The images of a batch never "
                "meet.",
                pointwise_running),
        Mistake("integer_buffer", "The output is stored in an array of integers, which cuts off "
                "fractions.",  # 33
                lambda x, weight, bias: pointwise(x, weight, bias).astype(int)),
    ],
    alternatives=[pointwise_by_einsum, pointwise_by_matmul, pointwise_by_loops],
    hints=[
        "A 1×1 window holds one pixel. What is left to sum over?",
        dedent("""\
        One pixel with two channels, two filters:

        ```
        pixel    channels (3, -1)
        filter 0 weights (2, 1)   bias 0   2·3 + 1·(-1) + 0 =  5
        filter 1 weights (1, 4)   bias 7   1·3 + 4·(-1) + 7 =  6

        the new pixel has channels (5, 6)
        ```"""),
        dedent("""\
        ```
        matrix <- weight without its two axes of size 1      # (C_out, C_in)
        for every image and every pixel at once:
            new channels <- matrix times old channels, plus bias   # (C_in,) -> (C_out,)
        result in the layout (N, C_out, H, W)
        ```

        `np.einsum` or `@` on pixels laid out as columns do this without a loop."""),
        "Without neighbours in the window, a 1×1 convolution is a fully connected layer from C_in to C_out "
        "numbers, applied to each pixel with the same weights. It mixes channels and leaves space alone, "
        "which makes it the cheap way to change the number of channels.",
    ])


# ---------------------------------------------------------------------------- conv2d_dilated

def conv2d_dilated(x, weight, bias, dilation=1):
    """Oracle: torch.nn.functional.conv2d with dilation."""
    return torch_conv(x, weight, bias, dilation=dilation)


def spread(weight, dilation, gap=0, dtype=float):
    """The kernel with zeros between its entries; `gap` more of them than there should be."""
    dh, dw = (d + gap for d in pair(dilation))
    o, c, kh, kw = weight.shape
    big = np.zeros((o, c, dh * (kh - 1) + 1, dw * (kw - 1) + 1), dtype=dtype)
    big[:, :, ::dh, ::dw] = weight
    return big


def dilated_by_spreading(x, weight, bias, dilation=1):
    return conv_by_windows(x, spread(weight, dilation), bias)


def dilated_by_slices(x, weight, bias, dilation=1):
    (dh, dw), (filters, _, kh, kw) = pair(dilation), weight.shape
    reach_h, reach_w = dh * (kh - 1) + 1, dw * (kw - 1) + 1
    out = np.zeros((len(x), filters, x.shape[2] - reach_h + 1, x.shape[3] - reach_w + 1))
    for r in range(out.shape[2]):
        for c in range(out.shape[3]):
            window = x[:, :, r:r + reach_h:dh, c:c + reach_w:dw]
            out[:, :, r, c] = np.tensordot(window, weight, axes=([1, 2, 3], [1, 2, 3])) + bias
    return out


def dilated_by_loops(x, weight, bias, dilation=1):
    (dh, dw), (n_images, channels, h, w), (filters, _, kh, kw) = pair(dilation), x.shape, weight.shape
    out = [[[[bias[o] + sum(x[n, i, r + dh * a, c + dw * b] * weight[o, i, a, b] for i in range(channels)
                            for a in range(kh) for b in range(kw))
              for c in range(w - dw * (kw - 1))] for r in range(h - dh * (kh - 1))]
            for o in range(filters)] for n in range(n_images)]
    return out


def dilated_repeating(x, weight, bias, dilation=1):
    dh, dw = pair(dilation)
    return conv2d(x, weight.repeat(dh, axis=2).repeat(dw, axis=3), bias)


def dilated_reach_times(x, weight, bias, dilation=1):
    (dh, dw), (kh, kw) = pair(dilation), weight.shape[2:]
    h_out, w_out = x.shape[2] - dh * kh + 1, x.shape[3] - dw * kw + 1
    return conv2d_dilated(x, weight, bias, dilation)[:, :, :h_out, :w_out]


def dilated_input(x, weight, bias, dilation=1):
    return conv2d(spread(x, dilation), weight, bias)


def dilated_running_off(x, weight, bias, dilation=1):
    (dh, dw), (kh, kw) = pair(dilation), weight.shape[2:]
    more_h, more_w = (dh - 1) * (kh - 1), (dw - 1) * (kw - 1)
    return _conv_padded(x, spread(weight, dilation), bias, 1, (0, more_h), (0, more_w))


def random_dilated(rng):
    kh, kw, n, c, o = (int(v) for v in rng.integers(1, 4, 5))
    dh, dw = (int(v) for v in rng.integers(1, 4, 2))
    h, w = dh * (kh - 1) + rng.integers(1, 4), dw * (kw - 1) + rng.integers(1, 4)
    x = rng.integers(-8, 9, (n, c, h, w)) / 4
    return call(x, rng.integers(-4, 5, (o, c, kh, kw)) / 2, rng.integers(-8, 9, o) / 8,
                dilation=(dh, dw) if rng.integers(2) else dh if dh <= dw else 1)


CONV2D_DILATED = Exercise(
    id="conv2d_dilated", points=2,
    oracle=conv2d_dilated,
    probes=[call(np.array([[[[1.0, 0, 2, -1, 3], [4, -2, 5, 1, 0], [-3, 1, 4, 2, -1], [2, 6, -5, 0, 1]]]]),
                 SMALL_W, np.array([0.5]), dilation=2),
            call(ints(70, 2, 3, 3, 4), ints(71, 2, 3, 2, 2), np.array([1.0, -2])),
            call(quarters(72, 1, 2, 5, 7), ints(73, 2, 2, 2, 3), np.array([0.25, -1.5]), dilation=(1, 2)),
            call(ints(74, 2, 1, 8, 5), quarters(75, 3, 1, 3, 2), np.array([3.0, 0.5, -1]), dilation=(3, 2)),
            call(strided(ints(76, 1, 2, 7, 8)), ints(77, 1, 2, 2, 3), np.array([-1.0]), dilation=3),
            call(quarters(78, 3, 2, 2, 3), ints(79, 2, 2, 1, 1), np.array([2.0, 0.5]), dilation=2),
            call(ints(80, 1, 1, 6, 7), quarters(81, 2, 1, 3, 3), np.array([0.5, -0.25]), dilation=2)],
    random=random_dilated,
    mistakes=[
        Mistake("dilation_ignored", "Every case with dilation 1 is right: `dilation` is not used.",
                lambda x, weight, bias, dilation=1: conv2d(x, weight, bias)),
        Mistake("dilation_as_stride", "The windows lie `dilation` pixels apart and their entries one: that "
                "is stride. Dilation spreads the entries within a window.",  # 19
                lambda x, weight, bias, dilation=1: conv2d(x, weight, bias, dilation)),
        Mistake("one_zero_too_many", "The kernel's entries are dilation + 1 pixels apart. At dilation 2 one "
                "pixel is left out between two entries.",
                lambda x, weight, bias, dilation=1: conv2d(x, spread(weight, dilation, gap=1), bias)),
        Mistake("entries_repeated", "Each entry of the kernel is repeated over a block. Dilation leaves "
                "gaps: the pixels between two entries are not read.",
                dilated_repeating),
        Mistake("reach_too_long", "Values are right, but the last rows and columns are missing: the reach of "
                "the kernel is taken as dilation times kernel_size. After the last entry comes no gap.",  # 10
                dilated_reach_times),
        Mistake("undilated_output_size", "The output is as large as without dilation, so its last windows "
                "hang over the end of the input.",  # 49
                dilated_running_off),
        Mistake("input_spread", "Zeros are put between the pixels of the input. Dilation spreads the kernel.",
                dilated_input),
        Mistake("rows_only", "Rows are dilated, columns are not.",  # 17
                lambda x, weight, bias, dilation=1: conv2d_dilated(x, weight, bias, (pair(dilation)[0], 1))),
        Mistake("first_of_pair_only", "The first number of a pair is used for both axes. Each axis has its "
                "own.",  # 8
                lambda x, weight, bias, dilation=1: conv2d_dilated(x, weight, bias, pair(dilation)[0])),
        Mistake("input_thinned", "Every `dilation`-th pixel of the input is kept and the others are dropped. "
                "Windows still start at every pixel.",  # 18
                lambda x, weight, bias, dilation=1:
                conv2d(x[:, :, ::pair(dilation)[0], ::pair(dilation)[1]], weight, bias)),
        Mistake("pair_swapped", "The first number of a dilation pair is for the rows, the second for the "
                "columns.",  # 8
                lambda x, weight, bias, dilation=1: conv2d_dilated(x, weight, bias, pair(dilation)[::-1])),
        Mistake("integer_kernel", "The spread kernel is built in an array of integers, which cuts the "
                "weights' fractions off.",  # 33
                lambda x, weight, bias, dilation=1: conv2d(x, spread(weight, dilation, dtype=int), bias)),
        Mistake("kernel_rotated", "The kernels are rotated by 180°. A layer correlates, without the "
                "rotation.",  # 1
                lambda x, weight, bias, dilation=1:
                conv2d_dilated(x, weight[:, :, ::-1, ::-1], bias, dilation)),
        Mistake("bias_missing", "The bias is not added.",  # 23
                lambda x, weight, bias, dilation=1: conv2d_dilated(x, weight, 0 * bias, dilation)),
        Mistake("integer_buffer", "The output is stored in an array of integers, which cuts off "
                "fractions.",  # 33
                lambda x, weight, bias, dilation=1: conv2d_dilated(x, weight, bias, dilation).astype(int)),
    ],
    alternatives=[dilated_by_spreading, dilated_by_slices, dilated_by_loops],
    hints=[
        "A window of a kernel of 3 at dilation 2 starts at pixel 0. Which three pixels does it read? How "
        "long must the input be for it to fit?",
        dedent("""\
        Kernel `(p, q, r)` at dilation 2 on 6 pixels:

        ```
        pixels    a b c d e f
        output 0  p   q   r      a·p + c·q + e·r
        output 1    p   q   r    b·p + d·q + f·r
        ```

        Reach 5, two outputs."""),
        dedent("""\
        ```
        (dH, dW)       <- dilation as a pair
        reachH, reachW <- pixels from the first to the last entry, both included
        out            <- zeros      # (N, C_out, H - reachH + 1, W - reachW + 1)
        for each output row r and column c:
            window    <- every dH-th row of reachH rows from r, every dW-th column likewise
                         # (N, C_in, kH, kW)
            out at r, c <- dot product with each filter, plus bias       # (N, C_out)
        ```

        Or put zeros between the kernel's entries and use `conv2d`."""),
        "A dilated kernel is a larger kernel most of whose entries are zero. Leaving the zeros out of the "
        "sum gives the same numbers for fewer multiplications: the reach grows, the cost and the number of "
        "weights do not.",
    ])


# ---------------------------------------------------------------------------- conv2d_grouped

def conv2d_grouped(x, weight, bias, groups):
    """Oracle: torch.nn.functional.conv2d with groups."""
    return torch_conv(x, weight, bias, groups=groups)


def grouped_by_parts(x, weight, bias, groups):
    return np.concatenate([conv_by_windows(*part) for part in zip(
        np.split(x, groups, axis=1), np.split(weight, groups), np.split(bias, groups))], axis=1)


def grouped_by_filters(x, weight, bias, groups):
    per_filter, outputs = weight.shape[1], []
    for o in range(len(weight)):
        first = o * groups // len(weight) * per_filter
        outputs.append(conv_by_shifts(x[:, first:first + per_filter], weight[o:o + 1], bias[o:o + 1]))
    return np.concatenate(outputs, axis=1)


def grouped_by_full_weight(x, weight, bias, groups):
    full = np.zeros((len(weight), x.shape[1], *weight.shape[2:]))
    filters, channels = len(weight) // groups, weight.shape[1]
    for g in range(groups):
        rows, cols = (slice(g * n, (g + 1) * n) for n in (filters, channels))
        full[rows, cols] = weight[rows]
    return conv_by_windows(x, full, bias)


def _by_group(x, weight, bias, groups, channels_of):
    """Grouped convolution in which group g reads the input channels `channels_of(g)`."""
    return np.concatenate([conv2d(x[:, channels_of(g)], w, b) for g, (w, b) in enumerate(
        zip(np.split(weight, groups), np.split(bias, groups)))], axis=1)


def _filter_order(groups, filters):
    """Where filter o's group starts if filters are dealt out in turn."""
    return np.argsort(np.arange(filters) % groups, kind="stable")


def grouped_filters_in_turn(x, weight, bias, groups):
    order = _filter_order(groups, len(weight))
    return conv2d_grouped(x, weight[order], bias[order], groups)[:, np.argsort(order)]


def grouped_outputs_interleaved(x, weight, bias, groups):
    out = conv2d_grouped(x, weight, bias, groups)
    n, filters, h, w = out.shape
    return out.reshape(n, groups, filters // groups, h, w).swapaxes(1, 2).reshape(n, filters, h, w)


def grouped_summed(x, weight, bias, groups):
    out = conv2d_grouped(x, weight, bias, groups)
    n, filters, h, w = out.shape
    return out.reshape(n, groups, filters // groups, h, w).sum(axis=1)


def grouped_all_channels(x, weight, bias, groups):
    return conv2d(x, np.tile(weight, (1, groups, 1, 1)), bias)


def grouped_first_filters(x, weight, bias, groups):
    per_group = len(weight) // groups
    return conv2d_grouped(x, np.tile(weight[:per_group], (groups, 1, 1, 1)), bias, groups)


def grouped_first_bias(x, weight, bias, groups):
    return conv2d_grouped(x, weight, np.tile(bias[:len(bias) // groups], groups), groups)


def grouped_one_filter_each(x, weight, bias, groups):
    per_group = len(weight) // groups
    return conv2d_grouped(x, weight[::per_group], bias[::per_group], groups)


def random_grouped(rng):
    groups, c, o = (int(v) for v in rng.integers(1, 4, 3))
    n, kh, kw = (int(v) for v in rng.integers(1, 3, 3))
    x = rng.integers(-8, 9, (n, groups * c, kh + rng.integers(0, 3), kw + rng.integers(0, 3))) / 4
    weight, bias = rng.integers(-4, 5, (groups * o, c, kh, kw)) / 2, rng.integers(-8, 9, groups * o) / 8
    return call(x, weight, bias, groups)


CONV2D_GROUPED = Exercise(
    id="conv2d_grouped", points=3,
    oracle=conv2d_grouped,
    probes=[call(np.array([[[[1.0, -2, 3]], [[4, 0, -1]]]]), np.array([[[[1.0, 2]]], [[[-3.0, 1]]]]),
                 np.array([0.5, -1]), 2),
            call(ints(90, 2, 4, 3, 4), ints(91, 6, 2, 2, 2), np.array([1.0, -2, 0.5, 3, -1, 2]), 2),
            call(quarters(92, 1, 6, 2, 3), ints(93, 3, 2, 1, 2), np.array([0.25, -1.5, 2]), 3),
            call(ints(94, 2, 3, 3, 3), quarters(95, 6, 1, 2, 3), np.array([1.0, -1, 0, 2, -2, 0.75]), 3),
            call(strided(ints(96, 3, 2, 3, 4)), ints(97, 3, 2, 2, 2), np.array([-1.0, 2, 0.5]), 1),
            call(quarters(98, 1, 6, 2, 2), ints(99, 4, 3, 1, 1), np.array([0.5, 1, -3, 2]), 2)],
    random=random_grouped,
    mistakes=[
        Mistake("channels_interleaved", "The input channels are dealt out to the groups in turn. A group is "
                "a block of neighbouring channels.",  # 30
                lambda x, weight, bias, groups: _by_group(
                    x, weight, bias, groups, lambda g: slice(g, None, groups))),
        Mistake("filters_in_turn", "The filters are dealt out to the groups in turn. The first C_out / "
                "groups filters belong to the first group.",  # 30
                grouped_filters_in_turn),
        Mistake("outputs_interleaved", "The right maps are there, but their order takes one from each group "
                "in turn. All maps of the first group come first.",  # 30
                grouped_outputs_interleaved),
        Mistake("first_block_for_all", "Every group reads the first block of input channels.",
                lambda x, weight, bias, groups: _by_group(
                    x, weight, bias, groups, lambda g: slice(weight.shape[1]))),
        Mistake("groups_reversed", "The first filters read the last block of channels: the groups are in "
                "reverse order.",
                lambda x, weight, bias, groups: _by_group(
                    x, weight, bias, groups,
                    lambda g: slice((groups - 1 - g) * weight.shape[1], (groups - g) * weight.shape[1]))),
        Mistake("all_channels_read", "Every filter reads all input channels, its weights repeated for each "
                "block. A filter sees the channels of its own group only.",  # 31
                grouped_all_channels),
        Mistake("groups_summed", "The maps of the groups are added up. They stand side by side, as different "
                "output channels.",
                grouped_summed),
        Mistake("first_filters_for_all", "Every group is computed with the filters of the first group.",
                grouped_first_filters),
        Mistake("one_filter_per_group", "Each group gives one map. With C_out filters there are C_out / "
                "groups maps in each group.",
                grouped_one_filter_each),
        Mistake("first_bias_for_all", "Every group gets the bias of the first group.",
                grouped_first_bias),
        Mistake("bias_missing", "The bias is not added.",  # 23
                lambda x, weight, bias, groups: conv2d_grouped(x, weight, 0 * bias, groups)),
        Mistake("channels_averaged", "The channels of a group are averaged. A dot product sums them.",  # 22
                lambda x, weight, bias, groups: conv2d_grouped(x, weight / weight.shape[1], bias, groups)),
        Mistake("integer_buffer", "The output is stored in an array of integers, which cuts off "
                "fractions.",  # 33
                lambda x, weight, bias, groups: conv2d_grouped(x, weight, bias, groups).astype(int)),
    ],
    alternatives=[grouped_by_parts, grouped_by_filters, grouped_by_full_weight],
    hints=[
        "With 6 input channels, 4 filters and 2 groups: which channels does filter 2 read, and why has "
        "`weight` the shape (4, 3, kH, kW)?",
        dedent("""\
        6 input channels, 4 filters, 2 groups:

        | filter | group | reads channels |
        |---|---|---|
        | 0 | 0 | 0, 1, 2 |
        | 1 | 0 | 0, 1, 2 |
        | 2 | 1 | 3, 4, 5 |
        | 3 | 1 | 3, 4, 5 |"""),
        dedent("""\
        ```
        for each group g:
            part    <- the g-th block of C_in/groups channels of x
            filters <- the g-th block of C_out/groups filters, with their biases
            maps    <- ordinary convolution of part with filters   # (N, C_out/groups, ...)
        result <- the maps of all groups, one group after another           # (N, C_out, ...)
        ```"""),
        "A grouped convolution is several smaller layers side by side, which share nothing. Written as one "
        "full layer, its weights would be zero outside square blocks along the diagonal, so it has 1/groups "
        "of the weights and of the multiplications.",
    ])


# ---------------------------------------------------------------------------- parameter_count

def parameter_count(c_in, c_out, kernel_size, groups=1, bias=True):
    """Oracle: the parameters of torch.nn.Conv2d, counted without allocating them."""
    import torch

    layer = torch.nn.Conv2d(c_in, c_out, kernel_size, groups=groups, bias=bias, device="meta")
    return sum(p.numel() for p in layer.parameters())


def count_by_shapes(c_in, c_out, kernel_size, groups=1, bias=True):
    weight = (c_out, c_in // groups, *pair(kernel_size))
    return int(np.prod(weight)) + bias * c_out


def count_by_filter(c_in, c_out, kernel_size, groups=1, bias=True):
    kh, kw = pair(kernel_size)
    per_filter = c_in // groups * kh * kw
    if bias:
        per_filter += 1
    return c_out * per_filter


def _area(kernel_size):
    kh, kw = pair(kernel_size)
    return kh * kw


def random_count(rng):
    groups, c, o, kh, kw = (int(v) for v in rng.integers(1, 6, 5))
    kernel_size = (kh, kw) if rng.integers(2) else kh
    return call(groups * c, groups * o, kernel_size, groups=groups, bias=bool(rng.integers(2)))


PARAMETER_COUNT = Exercise(
    id="parameter_count", points=1,
    oracle=parameter_count,
    probes=[call(3, 4, 3), call(3, 10, 5), call(5, 10, 3), call(64, 32, 1), call(2, 6, (3, 5)),
            call(3, 4, 3, bias=False),
            call(8, 12, 3, groups=4), call(6, 6, 5, groups=6), call(4, 6, (1, 7), groups=2, bias=False)],
    random=random_count,
    mistakes=[
        Mistake("bias_missing", "The biases are not counted. Each filter has one, unless `bias` is "
                "False.",  # 23
                lambda c_in, c_out, kernel_size, groups=1, bias=True:
                parameter_count(c_in, c_out, kernel_size, groups, False)),
        Mistake("bias_always", "`bias=False` is not respected.",
                lambda c_in, c_out, kernel_size, groups=1, bias=True:
                parameter_count(c_in, c_out, kernel_size, groups, True)),
        Mistake("one_bias", "The layer gets a single bias. Each filter has its own.",  # 88
                lambda c_in, c_out, kernel_size, groups=1, bias=True:
                parameter_count(c_in, c_out, kernel_size, groups, False) + bias),
        Mistake("bias_per_input_channel", "One bias is counted per input channel. There is one per filter.",
                lambda c_in, c_out, kernel_size, groups=1, bias=True:
                parameter_count(c_in, c_out, kernel_size, groups, False) + bias * c_in),
        Mistake("bias_per_slice", "One bias is counted for every channel of every filter. There is one per "
                "filter.",
                lambda c_in, c_out, kernel_size, groups=1, bias=True:
                (_area(kernel_size) + bias) * c_in // groups * c_out),
        Mistake("depth_forgotten", "Each filter is counted as one channel deep. It reaches through all the "
                "channels it reads.",  # 88
                lambda c_in, c_out, kernel_size, groups=1, bias=True: (_area(kernel_size) + bias) * c_out),
        Mistake("one_filter", "The parameters of one filter are counted.",
                lambda c_in, c_out, kernel_size, groups=1, bias=True:
                _area(kernel_size) * c_in // groups + bias),
        Mistake("side_not_squared", "A kernel size of 3 means 3×3, nine weights per channel.",
                lambda c_in, c_out, kernel_size, groups=1, bias=True:
                (kernel_size * c_in // groups + bias) * c_out if isinstance(kernel_size, int)
                else parameter_count(c_in, c_out, kernel_size, groups, bias)),
        Mistake("square_assumed", "For a pair the first number is squared. A kernel of (3, 5) has 15 weights "
                "per channel.",  # 7
                lambda c_in, c_out, kernel_size, groups=1, bias=True:
                parameter_count(c_in, c_out, pair(kernel_size)[0], groups, bias)),
        Mistake("groups_ignored", "Every case with one group is right: `groups` is not used. How many "
                "channels does a filter read?",  # 31
                lambda c_in, c_out, kernel_size, groups=1, bias=True:
                parameter_count(c_in, c_out, kernel_size, 1, bias)),
        Mistake("groups_divide_both", "Both channel numbers are divided by the groups. The number of filters "
                "stays; only their depth shrinks.",
                lambda c_in, c_out, kernel_size, groups=1, bias=True:
                _area(kernel_size) * (c_in // groups) * (c_out // groups) + bias * c_out),
        Mistake("groups_divide_the_bias", "The biases are divided by the groups as well. There is still one "
                "per filter.",
                lambda c_in, c_out, kernel_size, groups=1, bias=True:
                parameter_count(c_in, c_out, kernel_size, 1, bias) // groups),
        Mistake("float_count", "The number is right, but the division `/` makes it a float. A count is an "
                "int.",
                lambda c_in, c_out, kernel_size, groups=1, bias=True:
                parameter_count(c_in, c_out, kernel_size, groups, bias) / 1),
    ],
    alternatives=[count_by_shapes, count_by_filter],
    hints=[
        "What is the shape of `weight`, and what is the shape of `bias`?",
        dedent("""\
        | layer | weight | bias | total |
        |---|---|---|---|
        | 3 → 4 channels, 3×3 | 4 filters of 3·3·3 = 27 | 4 | 112 |
        | 4 → 4 channels, 3×3, 2 groups | 4 filters of 2·3·3 = 18 | 4 | 76 |"""),
        dedent("""\
        ```
        kH, kW     <- kernel_size, which may be one number
        per filter <- channels one filter reads, times kH, times kW
        total      <- c_out filters, and c_out biases if there are any      # an int
        ```"""),
        "The height and width of the image appear nowhere: the same weights are used at every position. That "
        "is what weight sharing buys, and why the same layer runs on an image of any size.",
    ])


# ---------------------------------------------------------------------------- receptive_field

def receptive_field(layers):
    """Oracle: through kernels of ones, the gradient of one output reaches exactly the pixels it sees."""
    import torch

    x = torch.ones(1, 1, 2000, dtype=torch.float64, requires_grad=True)
    y = x
    for k, s, d in layers:
        y = torch.nn.functional.conv1d(y, torch.ones(1, 1, k, dtype=torch.float64), None, s, 0, d)
    y[0, 0, 0].backward()
    return int(x.grad[0, 0].nonzero().max()) + 1


def field_forward(layers):
    seen, step = 1, 1
    for k, s, d in layers:
        seen += d * (k - 1) * step
        step *= s
    return seen


def field_backward(layers):
    seen = 1
    for k, s, d in reversed(layers):
        seen = (seen - 1) * s + d * (k - 1) + 1
    return seen


def field_by_sets(layers):
    pixels = {0}
    for k, s, d in layers[::-1]:
        pixels = {s * p + d * a for p in pixels for a in range(k)}
    return max(pixels) - min(pixels) + 1


def _field(layers, step_of, start=1):
    """1 + the sum of reaches, each times `step_of(strides before, its own stride, strides after)`."""
    strides = [s for _, s, _ in layers]
    return start + sum(d * (k - 1) * step_of(strides[:i], strides[i], strides[i + 1:])
                       for i, (k, _, d) in enumerate(layers))


def _product(strides):
    return int(np.prod(strides, dtype=int))


def random_stack(rng):
    return call(tuple((int(rng.integers(1, 5)), int(rng.integers(1, 4)), int(rng.integers(1, 4)))
                      for _ in range(rng.integers(2, 5))))


RECEPTIVE_FIELD = Exercise(
    id="receptive_field", points=2,
    oracle=receptive_field,
    probes=[call(((3, 1, 1),)), call(((3, 1, 1), (3, 1, 1))), call(((3, 2, 1), (3, 1, 1))),
            call(((5, 1, 1), (2, 2, 1), (3, 1, 1))), call(((3, 1, 2), (3, 1, 4))),
            call(((2, 3, 1), (3, 2, 2), (4, 1, 1))), call(((1, 2, 1), (3, 2, 1), (1, 1, 1), (2, 3, 2))),
            call(((7, 2, 1), (3, 2, 1), (3, 1, 1), (3, 2, 1), (3, 1, 3)))],
    random=random_stack,
    mistakes=[
        Mistake("kernels_added", "The kernel sizes are added up. Where two layers meet, the windows overlap: "
                "two 3×3 layers see 5 pixels, not 6.",
                lambda layers: sum(k for k, _, _ in layers)),
        Mistake("kernels_multiplied", "The kernel sizes are multiplied. Neighbouring windows overlap: two "
                "3×3 layers see 5 pixels, not 9.",
                lambda layers: _product([k for k, _, _ in layers])),
        Mistake("strides_ignored", "Every stack of stride-1 layers is right. After a stride of 2, "
                "neighbouring units lie 2 pixels apart in the image.",  # 107
                lambda layers: _field(layers, lambda before, own, after: 1)),
        Mistake("previous_stride_only", "Only the stride of the layer just before counts. Strides multiply "
                "through the whole stack.",  # 107
                lambda layers: _field(layers, lambda before, own, after: _product(before[-1:]))),
        Mistake("strides_added", "The strides are added up. Two layers of stride 3 make steps of 9 "
                "pixels.",  # 107
                lambda layers: _field(layers, lambda before, own, after: sum(s - 1 for s in before) + 1)),
        Mistake("own_stride_included", "A layer's own stride is applied to its own kernel. The stride "
                "decides how far apart its outputs lie, so it matters for the layers after it.",
                lambda layers: _field(layers, lambda before, own, after: _product(before) * own)),
        Mistake("own_stride_only", "Each kernel is stretched by its own stride. What stretches it are the "
                "strides of the layers before it.",
                lambda layers: _field(layers, lambda before, own, after: own)),
        Mistake("strides_of_later_layers", "The strides of the later layers are used: the stack is walked "
                "from the wrong end. The first entry is the layer next to the image.",
                lambda layers: _field(layers, lambda before, own, after: _product(after))),
        Mistake("dilation_ignored", "Every stack with dilation 1 is right: the third number is not used.",
                lambda layers: _field(tuple((k, s, 1) for k, s, _ in layers),
                                      lambda before, own, after: _product(before))),
        Mistake("reach_times_dilation", "A layer's reach is taken as dilation times kernel_size. Between k "
                "entries lie k - 1 gaps.",
                lambda layers: _field(tuple((d * k, s, 1) for k, s, d in layers),
                                      lambda before, own, after: _product(before))),
        Mistake("one_pixel_missing", "The pixel you start from is not counted: a stack of 1×1 layers sees "
                "one pixel, not none.",
                lambda layers: _field(layers, lambda before, own, after: _product(before), start=0)),
        Mistake("last_layer_only", "The result is the reach of the last layer alone.",
                lambda layers: layers[-1][2] * (layers[-1][0] - 1) + 1),
    ],
    alternatives=[field_forward, field_backward, field_by_sets],
    hints=[
        "An output of the second 3×3 layer reads three outputs of the first. Which pixels do those three "
        "read, all together?",
        dedent("""\
        Two layers with kernel 3, the first with stride 2, on the pixels 0 to 6:

        ```
        pixels          0 1 2 3 4 5 6
        first, unit 0   x x x
        first, unit 1       x x x
        first, unit 2           x x x
        second, unit 0  reads units 0, 1, 2 = pixels 0 to 6: 7
        ```"""),
        dedent("""\
        ```
        seen <- 1       # pixels one unit sees before any layer
        step <- 1       # pixels between neighbouring units of the current layer's input
        for each layer (kernel_size, stride, dilation), from the image on:
            seen grows by the kernel's reach beyond its first entry, counted in steps
            step grows by the factor stride
        ```"""),
        "The last entry of a kernel lies `dilation * (kernel_size - 1)` units beyond the first, and two "
        "neighbouring units lie `step` pixels apart in the image. Only the strides before a layer set that "
        "distance; its own stride widens it for the layers that follow.",
    ])


EXERCISES = [OUTPUT_SIZE, COVERAGE, SAME_PADDING, PAD2D, CORRELATE_VOLUME, CONV2D, POINTWISE, CONV2D_DILATED,
             CONV2D_GROUPED, PARAMETER_COUNT, RECEPTIVE_FIELD]
