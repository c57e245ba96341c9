"""Exercises of notebook 06: pooling forward and backward, what a unit sees, and what a moved image does.

The oracle is torch's own pooling and its autograd on the CPU throughout; what a unit sees and which shifts
are exact are read off what torch does to an input rather than computed by a formula.
"""

from functools import partial
from textwrap import dedent

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from autograder.exercise import Exercise, Mistake, call
from autograder.exercises import draws
from autograder.exercises.draws import pair, tensor
from cnnlab.probes import strided

# Wider than elsewhere: windows should have few ties.
ints, quarters = partial(draws.ints, most=6), partial(draws.quarters, most=3)


def distinct(seed, *shape):
    """Different halves with mixed signs, so that no window has a tie."""
    size = int(np.prod(shape))
    return (np.random.default_rng(seed).permutation(size).reshape(shape) - size // 2) / 2


def negative(seed, *shape):
    """Different halves below zero."""
    size = int(np.prod(shape))
    return -(np.random.default_rng(seed).permutation(size).reshape(shape) + 1) / 2


def few_values(seed, *shape):
    """Whole numbers from -2 to 1, so that most windows have ties."""
    return np.random.default_rng(seed).integers(-2, 2, shape).astype(float)


def out_size(size, kernel_size, stride, padding):
    return tuple((n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel_size, stride, padding))


def all_pairs(kernel_size, stride, padding):
    kernel_size = pair(kernel_size)
    return kernel_size, kernel_size if stride is None else pair(stride), pair(padding)


def padded(x, rows, columns, value):
    return np.pad(x, ((0, 0), (0, 0), rows, columns), constant_values=value)


def random_setting(rng, *, with_padding):
    """(kernel_size, stride or None, padding) as ints or pairs; padding at most half the kernel."""
    k = tuple(int(v) for v in rng.integers(1, 4, 2))
    s = (None, int(rng.integers(1, 4)), tuple(int(v) for v in rng.integers(1, 4, 2)))[rng.integers(3)]
    p = tuple(int(rng.integers(0, n // 2 + 1)) for n in k) if with_padding else 0
    return k, s, p


# ---------------------------------------------------------------------------- max_pool2d

def max_pool2d(x, kernel_size, stride=None, padding=0):
    """Oracle: torch.nn.functional.max_pool2d."""
    import torch

    return torch.nn.functional.max_pool2d(tensor(x), kernel_size, stride, padding).numpy()


def max_by_loops(x, kernel_size, stride=None, padding=0):
    (kh, kw), (sh, sw), (ph, pw) = all_pairs(kernel_size, stride, padding)
    h, w = x.shape[2:]
    out = np.zeros((*x.shape[:2], *out_size((h, w), (kh, kw), (sh, sw), (ph, pw))))
    for n, c, i, j in np.ndindex(out.shape):
        rows, columns = (range(max(0, t * s - p), min(size, t * s - p + k))
                         for t, s, p, size, k in ((i, sh, ph, h, kh), (j, sw, pw, w, kw)))
        out[n, c, i, j] = max(x[n, c, a, b] for a in rows for b in columns)
    return out


def max_by_windows(x, kernel_size, stride=None, padding=0):
    (kh, kw), (sh, sw), (ph, pw) = all_pairs(kernel_size, stride, padding)
    x = padded(x, (ph, ph), (pw, pw), -np.inf)
    return sliding_window_view(x, (kh, kw), axis=(2, 3))[:, :, ::sh, ::sw].max(axis=(4, 5))


def max_by_positions(x, kernel_size, stride=None, padding=0):
    (kh, kw), (sh, sw), (ph, pw) = all_pairs(kernel_size, stride, padding)
    x = padded(x, (ph, ph), (pw, pw), -1e300)
    height, width = out_size(x.shape[2:], (kh, kw), (sh, sw), (0, 0))
    out = np.empty((*x.shape[:2], height, width))
    for i in range(height):
        for j in range(width):
            out[:, :, i, j] = np.amax(x[:, :, i * sh:i * sh + kh, j * sw:j * sw + kw], axis=(2, 3))
    return out


def _pooled(reduce, fill, x, kernel_size, stride, padding, sides=None, size=None, steps=None):
    """Pool with another rule: `reduce` over the last two axes of (N, C, H_out, W_out, kH, kW)."""
    k, s, p = all_pairs(kernel_size, stride, padding)
    rows, columns = sides or ((p[0], p[0]), (p[1], p[1]))
    x = padded(x, rows, columns, fill)
    windows = sliding_window_view(x, k, axis=(2, 3))
    steps = steps or s
    windows = windows[:, :, ::steps[0], ::steps[1]]
    height, width = size or windows.shape[2:4]
    return reduce(windows[:, :, :height, :width])


def _largest(windows):
    return windows.max(axis=(4, 5))


def max_zero_padding(x, kernel_size, stride=None, padding=0):
    return _pooled(_largest, 0.0, x, kernel_size, stride, padding)


def max_next_to_each_other(x, kernel_size, stride=None, padding=0):
    k, s, p = all_pairs(kernel_size, stride, padding)
    return _pooled(_largest, -np.inf, x, kernel_size, stride, padding, size=out_size(x.shape[2:], k, s, p),
                   steps=(1, 1))


def max_side_by_side(x, kernel_size, stride=None, padding=0):
    return max_pool2d(x, kernel_size, None, padding)


def max_bottom_right(x, kernel_size, stride=None, padding=0):
    ph, pw = pair(padding)
    return _pooled(_largest, -np.inf, x, kernel_size, stride, padding, sides=((0, 2 * ph), (0, 2 * pw)))


def max_padding_once_in_size(x, kernel_size, stride=None, padding=0):
    k, s, p = all_pairs(kernel_size, stride, padding)
    size = tuple((n + q - m) // t + 1 for n, q, m, t in zip(x.shape[2:], p, k, s))
    return _pooled(_largest, -np.inf, x, kernel_size, stride, padding, size=size)


def max_rounded_up(x, kernel_size, stride=None, padding=0):
    import torch

    return torch.nn.functional.max_pool2d(tensor(x), kernel_size, stride, padding, ceil_mode=True).numpy()


def max_last_window_missing(x, kernel_size, stride=None, padding=0):
    k, s, p = all_pairs(kernel_size, stride, padding)
    size = tuple(len(range(0, n + 2 * q - m, t)) for n, q, m, t in zip(x.shape[2:], p, k, s))
    return max_pool2d(x, kernel_size, stride, padding)[:, :, :size[0], :size[1]]


def max_largest_size(x, kernel_size, stride=None, padding=0):
    def by_magnitude(windows):
        flat = windows.reshape(*windows.shape[:4], -1)
        best = np.abs(np.where(np.isfinite(flat), flat, 0)).argmax(axis=-1)[..., None]
        return np.take_along_axis(flat, best, axis=-1)[..., 0]

    return _pooled(by_magnitude, -np.inf, x, kernel_size, stride, padding)


def swapped(value):
    return value[::-1] if isinstance(value, tuple) else value


ALONE, GIVEN, PADDED = "stride None", "stride given", "padding and pairs"
FAR_BELOW_ZERO = np.array([[[[-3e15, -5e15, -2e15], [-4e15, -7e15, -6e15]]]])  # below any padding but -inf or its like


def random_max_pool(rng):
    part = (ALONE, GIVEN, PADDED)[rng.integers(3)]
    k, s, p = random_setting(rng, with_padding=True)
    if part == ALONE:
        k, s, p = k[0], None, 0
    elif part == GIVEN:
        k, s, p = k[0], int(rng.integers(1, 4)), 0
    n, c = (int(v) for v in rng.integers(1, 4, 2))
    x = rng.integers(-12, 7, (n, c, pair(k)[0] + rng.integers(0, 4), pair(k)[1] + rng.integers(0, 4))) / 4
    if part == ALONE:
        return call(x, k, part=part)
    return call(x, k, stride=s, part=part) if part == GIVEN else call(x, k, stride=s, padding=p, part=part)


MAX_POOL2D = Exercise(
    id="max_pool2d", points=3,
    oracle=max_pool2d,
    probes=[call(np.array([[[[1.0, -2, 3, 0], [4, 0, -5, -1]]]]), 2, part=ALONE),
            call(np.array([[[[-3.0, -1, -4, -2], [-5, -6, -7, -8]]]]), 2, part=ALONE),
            call(ints(1, 2, 3, 5, 7), 2, part=ALONE), call(quarters(2, 3, 1, 3, 4), 1, part=ALONE),
            call(strided(quarters(3, 1, 2, 6, 4)), 3, part=ALONE),
            call(ints(4, 1, 1, 3, 4), 2, stride=1, part=GIVEN), call(ints(5, 2, 2, 5, 7), 3, stride=2, part=GIVEN),
            call(quarters(6, 1, 3, 6, 5), 2, stride=3, part=GIVEN), call(negative(7, 3, 1, 4, 3), 1, 2, part=GIVEN),
            call(negative(8, 1, 1, 2, 3), 2, padding=1, part=PADDED),
            call(quarters(9, 2, 2, 4, 6), (3, 2), stride=(1, 3), padding=(1, 0), part=PADDED),
            call(ints(10, 1, 3, 5, 4), (1, 3), stride=(2, 1), padding=(0, 1), part=PADDED),
            call(strided(negative(11, 3, 2, 4, 3)), (2, 3), padding=(1, 1), part=PADDED),
            call(quarters(12, 2, 1, 5, 6), (3, 5), stride=(3, 2), padding=(1, 2), part=PADDED),
            call(FAR_BELOW_ZERO, 2, padding=1, part=PADDED)],
    random=random_max_pool,
    mistakes=[
        Mistake("starts_at_zero", "A window in which every value is negative gives 0. Is the running maximum "
                "started at 0, or the output never below it?",  # 60
                lambda x, kernel_size, stride=None, padding=0:
                np.maximum(max_pool2d(x, kernel_size, stride, padding), 0)),
        Mistake("zero_padding", "The padding holds zeros, and a zero beats negative values at the border. "
                "Which number can never win a maximum?",  # 61
                max_zero_padding),
        Mistake("large_number_as_padding", "The padding holds a number far below zero, which still beats an `x` that "
                "is lower. Only one value is below every finite number.",  # 61
                lambda x, kernel_size, stride=None, padding=0: _pooled(
                    _largest, -1e9, x, kernel_size, stride, padding)),
        Mistake("stride_defaults_to_1", "Without a `stride` the windows move by one pixel. None means that "
                "they lie side by side: the stride is the kernel size.",  # 62
                lambda x, kernel_size, stride=None, padding=0:
                max_pool2d(x, kernel_size, 1 if stride is None else stride, padding)),
        Mistake("stride_ignored", "The windows lie side by side also where a `stride` is given.",
                max_side_by_side),
        Mistake("windows_next_to_each_other", "The output has the right size, but its windows lie one pixel "
                "apart. Window r starts r strides from the top.",  # 18
                max_next_to_each_other),
        Mistake("kernel_pair_swapped", "The first number of a kernel pair is for the rows, the second for the "
                "columns.",  # 63
                lambda x, kernel_size, stride=None, padding=0: _pooled(
                    _largest, -np.inf, x, swapped(kernel_size), stride, padding)),
        Mistake("stride_pair_swapped", "The first number of a stride pair is for the rows, the second for the "
                "columns.",  # 63
                lambda x, kernel_size, stride=None, padding=0:
                max_pool2d(x, kernel_size, swapped(stride), padding)),
        Mistake("padding_pair_swapped", "The first number of a padding pair is for the rows, the second for "
                "the columns.",  # 63
                lambda x, kernel_size, stride=None, padding=0: _pooled(
                    _largest, -np.inf, x, kernel_size, stride, swapped(padding))),
        Mistake("first_of_pair_only", "The first number of a pair is used for both axes. Each axis has its "
                "own.",  # 63
                lambda x, kernel_size, stride=None, padding=0: _pooled(
                    _largest, -np.inf, x, pair(kernel_size)[0], None if stride is None else pair(stride)[0],
                    pair(padding)[0])),
        Mistake("top_left_corner", "Each output is the top left corner of its window. That is subsampling; "
                "look at all values of the window.",  # 64
                lambda x, kernel_size, stride=None, padding=0: _pooled(
                    lambda w: w[..., 0, 0].copy(), -np.inf, x, kernel_size, stride, padding)),
        Mistake("bottom_right_corner", "Each output is the bottom right corner of its window. That would be "
                "right only if the values grew towards it.",  # 64
                lambda x, kernel_size, stride=None, padding=0: _pooled(
                    lambda w: w[..., -1, -1].copy(), -np.inf, x, kernel_size, stride, padding)),
        Mistake("across_channels", "The maximum is taken over the channels too, so one map is left. Pooling "
                "acts on each channel alone.",  # 68
                lambda x, kernel_size, stride=None, padding=0:
                max_pool2d(x, kernel_size, stride, padding).max(axis=1, keepdims=True)),
        Mistake("across_images", "The maximum is taken over the images of the batch too. Each image is pooled "
                "alone.",
                lambda x, kernel_size, stride=None, padding=0:
                max_pool2d(x, kernel_size, stride, padding).max(axis=0, keepdims=True)),
        Mistake("rounds_up", "When the stride does not fit, a last window hangs over the end. Libraries leave "
                "it out unless asked.",  # 71
                max_rounded_up),
        Mistake("average", "Each output is the mean of its window, not the largest value.",
                lambda x, kernel_size, stride=None, padding=0: _pooled(
                    lambda w: np.ma.masked_invalid(w).mean(axis=(4, 5)).data, -np.inf, x, kernel_size, stride,
                    padding)),
        Mistake("minimum", "Each output is the smallest value of its window.",
                lambda x, kernel_size, stride=None, padding=0: -max_pool2d(-x, kernel_size, stride, padding)),
        Mistake("largest_magnitude", "Each output is the value farthest from zero, so a large negative value "
                "wins. The maximum looks at the sign: 1 is more than −5.",
                max_largest_size),
        Mistake("padding_ignored", "Every case without padding is right: `padding` is not used.",
                lambda x, kernel_size, stride=None, padding=0: max_pool2d(x, kernel_size, stride)),
        Mistake("padding_bottom_right", "All the padding lies below and to the right of the image. It belongs "
                "on both sides.",  # 12
                max_bottom_right),
        Mistake("padding_once_in_size", "The size formula counts the padding once, so the last rows or columns "
                "are missing. It is added on both sides.",  # 11
                max_padding_once_in_size),
        Mistake("last_window_missing", "The last row or column of windows is missing where it just fits: a "
                "range leaves out its end.",  # 10
                max_last_window_missing),
        Mistake("integer_buffer", "The output is stored in an array of integers, which cuts off "
                "fractions.",  # 33
                lambda x, kernel_size, stride=None, padding=0:
                max_pool2d(x, kernel_size, stride, padding).astype(int)),
        Mistake("float32_buffer", "The output is stored in float32, which has half the digits of the "
                "input.",  # 34
                lambda x, kernel_size, stride=None, padding=0:
                max_pool2d(x, kernel_size, stride, padding).astype(np.float32)),
    ],
    alternatives=[max_by_loops, max_by_windows, max_by_positions],
    hints=[
        "Where does the window of output row r start, and how many rows does it have? What must a padded place "
        "hold so that it never is the largest of its window?",
        dedent("""\
        Kernel 3, stride 2, padding 1 on a row of five (`.` is padding):

        ```
        row          .  -4 -1 -7  2 -3  .
        output 0     x   x  x             -1
        output 1            x  x  x        2
        output 2                  x  x  x  2
        ```

        With zeros in place of the dots, output 0 would be 0: a number that is nowhere in the row."""),
        dedent("""\
        ```
        (kH, kW), (sH, sW), (pH, pW) <- the three settings as pairs; no stride: the kernel size
        x   <- x with pH rows above and below and pW columns left and right that can never win
        out <- anything                        # (N, C, H_out, W_out), float64
        for each output row r and column c:
            window       <- kH rows from r*sH, kW columns from c*sW      # (N, C, kH, kW)
            out[:, :, r, c] <- the largest over the last two axes
        ```

        Faster, with two short loops: for each place (a, b) **in the window**, the values at that place for all
        outputs at once are a slice of x with steps sH and sW, and `np.maximum` keeps the larger."""),
        "The maximum of nothing is −∞, just as the sum of nothing is 0: it is the value that changes no maximum. "
        "As padding is at most half the kernel, every window has at least one real pixel, so −∞ never "
        "comes out.",
    ])


# ---------------------------------------------------------------------------- avg_pool2d

def avg_pool2d(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    """Oracle: torch.nn.functional.avg_pool2d."""
    import torch

    return torch.nn.functional.avg_pool2d(tensor(x), kernel_size, stride, padding, False, count_include_pad).numpy()


def avg_by_loops(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    (kh, kw), (sh, sw), (ph, pw) = all_pairs(kernel_size, stride, padding)
    h, w = x.shape[2:]
    out = np.zeros((*x.shape[:2], *out_size((h, w), (kh, kw), (sh, sw), (ph, pw))))
    for i, j in np.ndindex(out.shape[2:]):
        top, left = i * sh - ph, j * sw - pw
        own = x[:, :, max(top, 0):top + kh, max(left, 0):left + kw]
        out[:, :, i, j] = own.sum(axis=(2, 3)) / (kh * kw if count_include_pad else own[0, 0].size)
    return out


def avg_by_nan(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    k, (sh, sw), (ph, pw) = all_pairs(kernel_size, stride, padding)
    x = padded(x, (ph, ph), (pw, pw), 0.0 if count_include_pad else np.nan)
    return np.nanmean(sliding_window_view(x, k, axis=(2, 3))[:, :, ::sh, ::sw], axis=(4, 5))


def avg_by_two_sums(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    (kh, kw), (sh, sw), (ph, pw) = all_pairs(kernel_size, stride, padding)

    def summed(values):
        values = padded(values, (ph, ph), (pw, pw), 0.0)
        return sliding_window_view(values, (kh, kw), axis=(2, 3))[:, :, ::sh, ::sw].sum(axis=(4, 5))

    return summed(x) / (kh * kw if count_include_pad else summed(np.ones_like(x)))


def _sums(x, kernel_size, stride, padding):
    return avg_pool2d(x, kernel_size, stride, padding) * np.prod(pair(kernel_size))


def avg_next_to_each_other(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    k, s, p = all_pairs(kernel_size, stride, padding)
    height, width = out_size(x.shape[2:], k, s, p)
    return avg_pool2d(x, kernel_size, 1, padding, count_include_pad)[:, :, :height, :width]


def avg_rounded_up(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    import torch

    return torch.nn.functional.avg_pool2d(tensor(x), kernel_size, stride, padding, True, count_include_pad).numpy()


def avg_edge_padding(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    ph, pw = pair(padding)
    return avg_pool2d(np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), "edge"), kernel_size,
                      kernel_size if stride is None else stride)


PLAIN, WITH_PADDING = "no padding", "padding"


def random_avg_pool(rng):
    k, s, p = random_setting(rng, with_padding=True)
    n, c = (int(v) for v in rng.integers(1, 4, 2))
    x = rng.integers(-12, 13, (n, c, k[0] + rng.integers(0, 4), k[1] + rng.integers(0, 4))) / 4
    if rng.integers(2):
        return call(x, k, stride=s, part=PLAIN)
    return call(x, k, stride=s, padding=p, count_include_pad=bool(rng.integers(2)), part=WITH_PADDING)


AVG_POOL2D = Exercise(
    id="avg_pool2d", points=2,
    oracle=avg_pool2d,
    probes=[call(np.array([[[[1.0, 3, -2, 0], [4, 0, 5, -1]]]]), 2, part=PLAIN),
            call(ints(20, 2, 3, 5, 6), 2, part=PLAIN), call(quarters(21, 1, 2, 5, 7), 3, stride=2, part=PLAIN),
            call(quarters(22, 3, 1, 4, 5), (1, 2), stride=(3, 1), part=PLAIN),
            call(strided(quarters(23, 2, 2, 3, 4)), 1, part=PLAIN), call(ints(24, 1, 3, 6, 4), (3, 2), part=PLAIN),
            call(np.array([[[[8.0, 4], [-4, 12]]]]), 2, padding=1, part=WITH_PADDING),
            call(np.array([[[[8.0, 4], [-4, 12]]]]), 2, padding=1, count_include_pad=False, part=WITH_PADDING),
            call(quarters(25, 2, 2, 4, 5), (3, 2), stride=(2, 1), padding=(1, 0), part=WITH_PADDING),
            call(ints(26, 1, 3, 3, 5), (2, 3), stride=(1, 2), padding=(0, 1), count_include_pad=False,
                 part=WITH_PADDING),
            call(strided(quarters(27, 3, 1, 5, 3)), (4, 2), stride=3, padding=(2, 1), count_include_pad=False,
                 part=WITH_PADDING),
            call(quarters(28, 1, 2, 4, 6), (3, 5), stride=(1, 2), padding=(1, 2), part=WITH_PADDING)],
    random=random_avg_pool,
    mistakes=[
        Mistake("sum", "Each output is the sum of its window. Divide by the number of its pixels.",  # 69
                lambda x, kernel_size, stride=None, padding=0, count_include_pad=True:
                _sums(x, kernel_size, stride, padding)),
        Mistake("divided_by_one_side", "The sum is divided by the number of rows of the window. A window of "
                "3×2 has six pixels.",
                lambda x, kernel_size, stride=None, padding=0, count_include_pad=True:
                _sums(x, kernel_size, stride, padding) / pair(kernel_size)[0]),
        Mistake("square_assumed", "The sum is divided by the square of the first kernel size. A window of 3×2 "
                "has six pixels, not nine.",  # 7
                lambda x, kernel_size, stride=None, padding=0, count_include_pad=True:
                _sums(x, kernel_size, stride, padding) / pair(kernel_size)[0] ** 2),
        Mistake("padding_always_counted", "`count_include_pad=False` makes no difference. Then a window at the "
                "border is divided by the number of its real pixels only.",  # 70
                lambda x, kernel_size, stride=None, padding=0, count_include_pad=True:
                avg_pool2d(x, kernel_size, stride, padding)),
        Mistake("padding_never_counted", "By default padded places count as zeros, so every window is divided "
                "by the same number. Here border windows are divided by their real pixels only.",  # 70
                lambda x, kernel_size, stride=None, padding=0, count_include_pad=True:
                avg_pool2d(x, kernel_size, stride, padding, False)),
        Mistake("flag_reversed", "The two meanings of `count_include_pad` are exchanged. True counts the padded "
                "places.",  # 70
                lambda x, kernel_size, stride=None, padding=0, count_include_pad=True:
                avg_pool2d(x, kernel_size, stride, padding, not count_include_pad)),
        Mistake("zeros_not_counted", "The sum is divided by the number of values that are not 0. A zero in the "
                "image is a pixel like any other.",
                lambda x, kernel_size, stride=None, padding=0, count_include_pad=True:
                _sums(x, kernel_size, stride, padding) / np.maximum(_sums((x != 0) * 1.0, kernel_size, stride,
                                                                          padding), 1)),
        Mistake("maximum", "Each output is the largest value of its window. Some printed formulas of average "
                "pooling have this slip.",
                lambda x, kernel_size, stride=None, padding=0, count_include_pad=True:
                max_pool2d(x, kernel_size, stride, padding)),
        Mistake("stride_defaults_to_1", "Without a `stride` the windows move by one pixel. None means that "
                "they lie side by side: the stride is the kernel size.",  # 62
                lambda x, kernel_size, stride=None, padding=0, count_include_pad=True:
                avg_pool2d(x, kernel_size, 1 if stride is None else stride, padding, count_include_pad)),
        Mistake("stride_ignored", "The windows lie side by side also where a `stride` is given.",
                lambda x, kernel_size, stride=None, padding=0, count_include_pad=True:
                avg_pool2d(x, kernel_size, None, padding, count_include_pad)),
        Mistake("windows_next_to_each_other", "The output has the right size, but its windows lie one pixel "
                "apart. Window r starts r strides from the top.",  # 18
                avg_next_to_each_other),
        Mistake("stride_pair_swapped", "The first number of a stride pair is for the rows, the second for the "
                "columns.",  # 63
                lambda x, kernel_size, stride=None, padding=0, count_include_pad=True:
                avg_pool2d(x, kernel_size, swapped(stride), padding, count_include_pad)),
        Mistake("across_channels", "The mean is taken over the channels too, so one map is left. Pooling acts "
                "on each channel alone.",  # 68
                lambda x, kernel_size, stride=None, padding=0, count_include_pad=True:
                avg_pool2d(x, kernel_size, stride, padding, count_include_pad).mean(axis=1, keepdims=True)),
        Mistake("rounds_up", "When the stride does not fit, a last window hangs over the end. Libraries leave "
                "it out unless asked.",  # 71
                avg_rounded_up),
        Mistake("padding_ignored", "Every case without padding is right: `padding` is not used.",
                lambda x, kernel_size, stride=None, padding=0, count_include_pad=True:
                avg_pool2d(x, kernel_size, stride)),
        Mistake("padding_repeats_edge", "The padding repeats the edge of the image. Here it is zeros.",  # 13
                avg_edge_padding),
        Mistake("whole_division", "The sum is divided with `//`, which rounds down. A mean has a fraction.",
                lambda x, kernel_size, stride=None, padding=0, count_include_pad=True: np.floor(
                    avg_pool2d(x, kernel_size, stride, padding, count_include_pad))),
        Mistake("integer_buffer", "The output is stored in an array of integers, which cuts off "
                "fractions.",  # 33
                lambda x, kernel_size, stride=None, padding=0, count_include_pad=True:
                avg_pool2d(x, kernel_size, stride, padding, count_include_pad).astype(int)),
    ],
    alternatives=[avg_by_loops, avg_by_nan, avg_by_two_sums],
    hints=[
        "A mean is a sum divided by a number. Which of the two changes when a window reaches into the padding "
        "and padding does not count?",
        dedent("""\
        A window of 2×2 at the top left corner, padding 1 (`.`), with the pixel 8 in it:

        ```
        .  .
        .  8

        count_include_pad=True    (0 + 0 + 0 + 8) / 4 = 2
        count_include_pad=False   8 / 1               = 8
        ```"""),
        dedent("""\
        ```
        x   <- x with zeros around it
        sum over each window, as in max pooling                # (N, C, H_out, W_out)
        if padding counts:
            divide by kH * kW
        else:
            divide by the number of real pixels in each window   # (H_out, W_out)
        ```

        That number is a sum over windows too: of an image of ones, padded with zeros."""),
        "With zeros for padding and a fixed divisor, average pooling is a convolution with equal weights, the "
        "same at every place. Dividing by the real pixels keeps the border as bright as the inside, at the "
        "price of weights that depend on the place.",
    ])


# ---------------------------------------------------------------------------- l2_pool2d

def l2_pool2d(x, kernel_size, stride=None):
    """Oracle: torch.nn.functional.lp_pool2d with p = 2."""
    import torch

    return torch.nn.functional.lp_pool2d(tensor(x), 2.0, kernel_size, stride).numpy()


def _windows(x, kernel_size, stride):
    k, (sh, sw), _ = all_pairs(kernel_size, stride, 0)
    return sliding_window_view(np.asarray(x, dtype=float), k, axis=(2, 3))[:, :, ::sh, ::sw]


def l2_by_norm(x, kernel_size, stride=None):
    windows = _windows(x, kernel_size, stride)
    return np.linalg.norm(windows.reshape(*windows.shape[:4], -1), axis=-1)


def l2_by_loops(x, kernel_size, stride=None):
    (kh, kw), (sh, sw), _ = all_pairs(kernel_size, stride, 0)
    out = np.zeros((*x.shape[:2], *out_size(x.shape[2:], (kh, kw), (sh, sw), (0, 0))))
    for n, c, i, j in np.ndindex(out.shape):
        total = 0.0
        for a in range(kh):
            for b in range(kw):
                total += x[n, c, i * sh + a, j * sw + b] ** 2
        out[n, c, i, j] = total ** 0.5
    return out


def l2_by_average(x, kernel_size, stride=None):
    return np.sqrt(avg_by_loops(x * x, kernel_size, stride) * np.prod(pair(kernel_size)))


def random_l2(rng):
    k, s, _ = random_setting(rng, with_padding=False)
    n, c = (int(v) for v in rng.integers(1, 4, 2))
    return call(rng.integers(-8, 9, (n, c, k[0] + rng.integers(0, 4), k[1] + rng.integers(0, 4))) / 4,
                k if rng.integers(2) else min(k), stride=s)


L2_POOL2D = Exercise(
    id="l2_pool2d", points=1,
    oracle=l2_pool2d,
    probes=[call(np.array([[[[3.0, 0, 1, -1], [0, -4, 5, 3]]]]), 2), call(ints(30, 2, 3, 5, 4), 2),
            call(quarters(31, 1, 2, 5, 7), 3, stride=2), call(strided(ints(32, 3, 1, 4, 5)), (1, 2), stride=(2, 1)),
            call(quarters(33, 2, 2, 4, 6), (3, 2)), call(ints(34, 1, 3, 3, 4), 1)],
    random=random_l2,
    mistakes=[
        Mistake("root_missing", "The squares are summed, but the square root is missing.",
                lambda x, kernel_size, stride=None: l2_pool2d(x, kernel_size, stride) ** 2),
        Mistake("mean_of_squares", "The root of the **mean** of the squares is taken. Here, as in PyTorch's "
                "`LPPool2d`, the squares are summed.",
                lambda x, kernel_size, stride=None:
                l2_pool2d(x, kernel_size, stride) / np.sqrt(np.prod(pair(kernel_size)))),
        Mistake("sum_squared", "The window is summed first and squared after, so values of opposite sign "
                "cancel. Square every value, then sum.",
                lambda x, kernel_size, stride=None: np.abs(_windows(x, kernel_size, stride).sum(axis=(4, 5)))),
        Mistake("absolute_values", "The absolute values are summed: that is L1. L2 sums squares and takes the "
                "root.",
                lambda x, kernel_size, stride=None: np.abs(_windows(x, kernel_size, stride)).sum(axis=(4, 5))),
        Mistake("largest_magnitude", "Each output is the largest absolute value of its window.",
                lambda x, kernel_size, stride=None: np.abs(_windows(x, kernel_size, stride)).max(axis=(4, 5))),
        Mistake("negatives_left_out", "Negative values do not count. The square of −4 is 16.",
                lambda x, kernel_size, stride=None: l2_pool2d(np.maximum(x, 0), kernel_size, stride)),
        Mistake("stride_defaults_to_1", "Without a `stride` the windows move by one pixel. None means that "
                "they lie side by side: the stride is the kernel size.",  # 62
                lambda x, kernel_size, stride=None:
                l2_pool2d(x, kernel_size, 1 if stride is None else stride)),
        Mistake("stride_ignored", "The windows lie side by side also where a `stride` is given.",
                lambda x, kernel_size, stride=None: l2_pool2d(x, kernel_size)),
        Mistake("stride_pair_swapped", "The first number of a stride pair is for the rows, the second for the "
                "columns.",  # 63
                lambda x, kernel_size, stride=None: l2_pool2d(x, kernel_size, swapped(stride))),
        Mistake("across_channels", "The squares are summed over the channels too, so one map is left. This "
                "pooling acts on each channel alone.",  # 68
                lambda x, kernel_size, stride=None:
                np.sqrt((l2_pool2d(x, kernel_size, stride) ** 2).sum(axis=1, keepdims=True))),
        Mistake("integer_buffer", "The output is stored in an array of integers, which cuts off "
                "fractions.",  # 33
                lambda x, kernel_size, stride=None: l2_pool2d(x, kernel_size, stride).astype(int)),
    ],
    alternatives=[l2_by_norm, l2_by_loops, l2_by_average],
    hints=[
        "How long is the arrow from (0, 0) to (3, −4)? What are its two coordinates, if a window holds 3 and −4 "
        "and zeros?",
        dedent("""\
        ```
        window    squares
        3  0       9   0
        0 -4       0  16      sqrt(9 + 0 + 0 + 16) = 5
        ```"""),
        dedent("""\
        ```
        squares <- x times x                                     # (N, C, H, W)
        sums    <- sum of each window of squares                 # (N, C, H_out, W_out)
        result  <- square root of sums
        ```

        A sum over a window is the mean times the number of its pixels, so `avg_pool2d` can do the summing."""),
        "It is the length of the window as a vector. Squares lose the sign, so opposite responses add up instead "
        "of cancelling, and unlike with the maximum every pixel has a say.",
    ])


# ---------------------------------------------------------------------------- l2_pool_features

def l2_pool_features(x, size):
    """Oracle: torch's LPPool1d along the channels of every pixel."""
    import torch

    n, _, h, w = x.shape
    rows = tensor(x).permute(0, 2, 3, 1).reshape(n * h * w, 1, -1)
    return torch.nn.functional.lp_pool1d(rows, 2.0, size).reshape(n, h, w, -1).permute(0, 3, 1, 2).numpy()


def features_by_reshape(x, size):
    n, c, h, w = x.shape
    return np.sqrt((np.array(x).reshape(n, c // size, size, h, w) ** 2).sum(axis=2))


def features_by_slices(x, size):
    return np.sqrt(sum(x[:, i::size] ** 2 for i in range(size)))


def features_by_groups(x, size):
    return np.stack([np.linalg.norm(x[:, i:i + size], axis=1) for i in range(0, x.shape[1], size)], axis=1)


def features_interleaved(x, size):
    n, c, h, w = x.shape
    return np.sqrt((np.array(x).reshape(n, size, c // size, h, w) ** 2).sum(axis=1))


def features_by_memory(x, size):
    n, c, h, w = x.shape
    return np.sqrt((np.array(x).reshape(n, c // size, h, w, size) ** 2).sum(axis=-1))


def random_features(rng):
    n, groups, size, h, w = (int(v) for v in rng.integers(1, 4, 5))
    return call(rng.integers(-8, 9, (n, groups * size, h, w)) / 4, size)


L2_POOL_FEATURES = Exercise(
    id="l2_pool_features", points=1,
    oracle=l2_pool_features,
    probes=[call(np.array([[[[3.0, 0]], [[-4, 1]], [[6, -2]], [[8, 0]]]]), 2), call(ints(40, 2, 6, 2, 3), 3),
            call(quarters(41, 3, 4, 2, 1), 2), call(strided(ints(42, 1, 6, 3, 2)), 2),
            call(quarters(43, 2, 3, 1, 4), 3), call(ints(44, 2, 3, 2, 2), 1)],
    random=random_features,
    mistakes=[
        Mistake("channels_interleaved", "Each group takes channels that lie far apart. A group is `size` "
                "neighbours: with size 2, channels 0 and 1, then 2 and 3.",  # 30
                features_interleaved),
        Mistake("groups_and_size_exchanged", "`size` is taken as the number of groups. It is the number of "
                "channels in one group.",
                lambda x, size: l2_pool_features(x, x.shape[1] // size)),
        Mistake("all_channels", "All channels are pooled into one map. Only `size` neighbours belong "
                "together.",
                lambda x, size: l2_pool_features(x, x.shape[1])),
        Mistake("reshaped_across_space", "The reshape puts the group last without moving the axis, so it joins "
                "neighbouring pixels of one channel.",  # 27
                features_by_memory),
        Mistake("groups_overlap", "The groups overlap: there is one for every pair of neighbours. They lie side "
                "by side and give C / size maps.",  # 62
                lambda x, size: np.stack([np.linalg.norm(x[:, i:i + size], axis=1)
                                          for i in range(x.shape[1] - size + 1)], axis=1)),
        Mistake("maps_repeated", "Every group gives `size` equal maps. It gives one.",
                lambda x, size: np.repeat(l2_pool_features(x, size), size, axis=1)),
        Mistake("root_missing", "The squares are summed, but the square root is missing.",
                lambda x, size: l2_pool_features(x, size) ** 2),
        Mistake("mean_of_squares", "The root of the **mean** of the squares is taken. The squares are summed.",
                lambda x, size: l2_pool_features(x, size) / np.sqrt(size)),
        Mistake("maximum", "Each output is the largest value of its group. That is another layer, maxout "
                "(Goodfellow et al., 2013).",
                lambda x, size: np.stack([x[:, i:i + size].max(axis=1) for i in range(0, x.shape[1], size)], axis=1)),
        Mistake("sum_squared", "The channels are summed first and squared after, so responses of opposite sign "
                "cancel.",
                lambda x, size: np.stack([np.abs(x[:, i:i + size].sum(axis=1))
                                          for i in range(0, x.shape[1], size)], axis=1)),
        Mistake("over_space", "The pooling runs over the image, channel by channel. Over features it runs over "
                "the channels of one pixel, and height and width stay.",
                lambda x, size: l2_pool2d(x, tuple(min(size, n) for n in x.shape[2:]))),
    ],
    alternatives=[features_by_reshape, features_by_slices, features_by_groups],
    hints=[
        "Six channels and size 2: how many maps come out, and from which channels does each come? What happens to "
        "height and width?",
        dedent("""\
        One pixel with four channels, size 2:

        ```
        channels   3  -4 | 6   8
        output       5   |  10
        ```"""),
        dedent("""\
        ```
        groups <- x with its channel axis split in two       # (N, C/size, size, H, W)
        result <- root of the sum of squares over axis 2     # (N, C/size, H, W)
        ```

        Splitting an axis in place by `reshape` keeps the order: the second of the two new axes runs over
        neighbours."""),
        "It is the same sum of squares as over space, along another axis. If the channels of a group answer to "
        "the same thing in two versions, the pooled map answers to the thing and no longer says which "
        "version.",
    ])


# ---------------------------------------------------------------------------- max_pool2d_backward

def max_pool2d_backward(dy, x, kernel_size, stride=None, padding=0):
    """Oracle: torch's autograd through max_pool2d, on the CPU."""
    import torch

    t = tensor(x, grad=True)
    torch.nn.functional.max_pool2d(t, kernel_size, stride, padding).backward(tensor(dy))
    return t.grad.numpy()


def max_backward_by_loops(dy, x, kernel_size, stride=None, padding=0):
    (kh, kw), (sh, sw), (ph, pw) = all_pairs(kernel_size, stride, padding)
    dx = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(dy.shape):
        best, place = -np.inf, None
        for a in range(i * sh - ph, i * sh - ph + kh):
            for b in range(j * sw - pw, j * sw - pw + kw):
                if 0 <= a < x.shape[2] and 0 <= b < x.shape[3] and x[n, c, a, b] > best:
                    best, place = x[n, c, a, b], (a, b)
        dx[n, c, place[0], place[1]] += dy[n, c, i, j]
    return dx


def max_backward_by_indices(dy, x, kernel_size, stride=None, padding=0):
    (kh, kw), (sh, sw), (ph, pw) = all_pairs(kernel_size, stride, padding)
    x = padded(x, (ph, ph), (pw, pw), -np.inf)
    windows = sliding_window_view(x, (kh, kw), axis=(2, 3))[:, :, ::sh, ::sw]
    a, b = np.divmod(windows.reshape(*dy.shape, -1).argmax(axis=-1), kw)
    n, c, i, j = np.ogrid[tuple(slice(s) for s in dy.shape)]
    dx = np.zeros(x.shape)
    np.add.at(dx, (n, c, i * sh + a, j * sw + b), dy)
    return dx[:, :, ph:dx.shape[2] - ph, pw:dx.shape[3] - pw]


def max_backward_by_taps(dy, x, kernel_size, stride=None, padding=0):
    (kh, kw), (sh, sw), (ph, pw) = all_pairs(kernel_size, stride, padding)
    y = max_by_windows(x, kernel_size, stride, padding)
    x, left = padded(x, (ph, ph), (pw, pw), -np.inf), np.array(dy, dtype=float)
    dx = np.zeros(x.shape)
    for a in range(kh):
        for b in range(kw):
            place = np.s_[:, :, a:a + sh * dy.shape[2]:sh, b:b + sw * dy.shape[3]:sw]
            dx[place] += np.where(x[place] == y, left, 0)
            left[x[place] == y] = 0
    return dx[:, :, ph:dx.shape[2] - ph, pw:dx.shape[3] - pw]


def _first(window):
    mask = np.zeros(window.shape)
    mask.flat[window.argmax()] = 1
    return mask


def _last(window):
    return _first(window[::-1, ::-1])[::-1, ::-1]


def _all(window):
    return (window == window.max()) * 1.0


def _even_shares(window):
    return _all(window) / _all(window).sum()


def _first_column(window):
    return _first(window.T).T


def _farthest_from_zero(window):
    return _first(np.abs(np.where(np.isfinite(window), window, 0)))


def _everywhere(window):
    return np.full(window.shape, 1 / window.size)


def _routed(choose, dy, x, kernel_size, stride, padding, fill=-np.inf, write="add", crop=None):
    """Send each upstream value to its window as `choose` says, and cut off the padding as `crop` says."""
    (kh, kw), (sh, sw), (ph, pw) = all_pairs(kernel_size, stride, padding)
    big = padded(x, (ph, ph), (pw, pw), fill)
    dx = np.zeros(big.shape)
    for n, c, i, j in np.ndindex(dy.shape):
        place = np.s_[n, c, i * sh:i * sh + kh, j * sw:j * sw + kw]
        share = choose(big[place])
        if write == "add":
            dx[place] += dy[n, c, i, j] * share
        elif write == "replace window":
            dx[place] = dy[n, c, i, j] * share
        else:
            dx[place][share != 0] = dy[n, c, i, j]
    return (crop or _cropped)(dx, x.shape, ph, pw)


def _cropped(dx, shape, ph, pw):
    return dx[:, :, ph:ph + shape[2], pw:pw + shape[3]]


def _from_the_corner(dx, shape, ph, pw):
    return dx[:, :, :shape[2], :shape[3]]


def _minus_padding(dx, shape, ph, pw):
    return dx[:, :, ph:-ph, pw:-pw]


def _not_cropped(dx, shape, ph, pw):
    return dx


def max_backward_relative(dy, x, kernel_size, stride=None, padding=0):
    (kh, kw), (sh, sw), (ph, pw) = all_pairs(kernel_size, stride, padding)
    big = padded(x, (ph, ph), (pw, pw), -np.inf)
    dx = np.zeros(big.shape)
    for n, c, i, j in np.ndindex(dy.shape):
        a, b = divmod(int(big[n, c, i * sh:i * sh + kh, j * sw:j * sw + kw].argmax()), kw)
        dx[n, c, a, b] += dy[n, c, i, j]
    return _cropped(dx, x.shape, ph, pw)


def max_backward_of_stride(dy, x, kernel_size, stride=None, padding=0):
    """Winners found with windows side by side, whatever the stride."""
    k, s, (ph, pw) = all_pairs(kernel_size, stride, padding)
    big = padded(x, (ph, ph), (pw, pw), -np.inf)
    dx = np.zeros(big.shape)
    for n, c, i, j in np.ndindex(dy.shape):
        place = np.s_[n, c, i:i + k[0], j:j + k[1]]
        dx[place] += dy[n, c, i, j] * _first(big[place])
    return _cropped(dx, x.shape, ph, pw)


def max_backward_first_channel(dy, x, kernel_size, stride=None, padding=0):
    return max_pool2d_backward(dy, np.repeat(x[:, :1], x.shape[1], axis=1), kernel_size, stride, padding)


def max_backward_first_image(dy, x, kernel_size, stride=None, padding=0):
    return max_pool2d_backward(dy, np.repeat(x[:1], len(x), axis=0), kernel_size, stride, padding)


def max_backward_negative_lost(dy, x, kernel_size, stride=None, padding=0):
    return max_pool2d_backward(dy * (max_pool2d(x, kernel_size, stride, padding) > 0), x, kernel_size, stride, padding)


def max_backward_times_value(dy, x, kernel_size, stride=None, padding=0):
    return max_pool2d_backward(dy * max_pool2d(x, kernel_size, stride, padding), x, kernel_size, stride, padding)


ONE, TIES, OVERLAPS = "one winner, no overlap", "ties", "overlaps"


def upstream(rng, x, k, s, p):
    shape = (*x.shape[:2], *out_size(x.shape[2:], *all_pairs(k, s, p)))
    return rng.integers(1, 9, shape) * rng.choice([-0.5, 0.5, 1], shape)


def backward_call(seed, x, k, s=None, p=0, part=""):
    dy = upstream(np.random.default_rng(seed), x, k, s, p)
    return call(dy, x, k, stride=s, padding=p, part=part)


def random_max_backward(rng):
    part = (ONE, TIES, OVERLAPS, PADDED)[rng.integers(4)]
    k, s, p = random_setting(rng, with_padding=True)
    n, c = (int(v) for v in rng.integers(1, 3, 2))
    if part in (ONE, TIES):
        k, s, p = int(rng.integers(2, 4)), None, 0
    elif part == OVERLAPS:
        k, s, p = 3, int(rng.integers(1, 3)), 0
    shape = n, c, pair(k)[0] + int(rng.integers(0, 4)), pair(k)[1] + int(rng.integers(0, 4))
    x = rng.integers(-2, 2, shape) * 1.0 if part == TIES else rng.permutation(int(np.prod(shape))).reshape(
        shape) / 2 - np.prod(shape) // 3
    return call(upstream(rng, x, k, s, p), x, k, stride=s, padding=p, part=part)


SMALL_X = np.array([[[[1.0, -2, 3, 0], [4, 0, -5, -1]]]])

MAX_POOL2D_BACKWARD = Exercise(
    id="max_pool2d_backward", points=4,
    oracle=max_pool2d_backward,
    probes=[call(np.array([[[[5.0, 7]]]]), SMALL_X, 2, part=ONE),
            backward_call(50, distinct(50, 2, 3, 5, 4), 2, part=ONE),
            backward_call(51, negative(51, 3, 1, 3, 7), 3, part=ONE),
            backward_call(52, strided(distinct(52, 1, 2, 4, 6)), 2, part=ONE),
            call(np.array([[[[5.0, 7]]]]), np.array([[[[2.0, 3, -1, -1], [3, 3, -4, -1]]]]), 2, part=TIES),
            backward_call(53, few_values(53, 2, 2, 4, 7), 2, part=TIES),
            backward_call(54, few_values(54, 1, 3, 6, 3), 3, part=TIES),
            call(np.array([[[[5.0, 7, -1]]]]), np.array([[[[0.0, 3, -2, 1], [-1, -5, 0, 4]]]]), 2, stride=1,
                 part=OVERLAPS),
            backward_call(55, distinct(55, 2, 1, 5, 7), 3, 2, part=OVERLAPS),
            backward_call(56, distinct(56, 1, 2, 4, 5), 3, 1, part=OVERLAPS),
            backward_call(57, negative(57, 1, 1, 2, 3), 2, p=1, part=PADDED),
            backward_call(58, distinct(58, 2, 2, 4, 6), (3, 2), (1, 3), (1, 0), part=PADDED),
            backward_call(59, few_values(59, 1, 3, 5, 4), (1, 3), (2, 1), (0, 1), part=PADDED),
            backward_call(60, strided(negative(60, 2, 1, 5, 6)), (3, 5), (3, 2), (1, 2), part=PADDED),
            backward_call(61, FAR_BELOW_ZERO, 2, p=1, part=PADDED)],
    random=random_max_backward,
    mistakes=[
        Mistake("every_winner", "Where several pixels share the maximum, each gets the whole gradient. The rule "
                "here, as in PyTorch: only the first in row-major order does.",  # 66
                lambda dy, x, kernel_size, stride=None, padding=0: _routed(
                    _all, dy, x, kernel_size, stride, padding)),
        Mistake("equal_shares", "Where several pixels share the maximum, the gradient is divided among them. "
                "That is a possible rule, but not the one here: the first in row-major order gets all.",  # 66
                lambda dy, x, kernel_size, stride=None, padding=0: _routed(
                    _even_shares, dy, x, kernel_size, stride, padding)),
        Mistake("last_winner", "Where several pixels share the maximum, the last one gets the gradient. The rule "
                "here is the first. Is a `>=` where a `>` should be?",  # 66
                lambda dy, x, kernel_size, stride=None, padding=0: _routed(
                    _last, dy, x, kernel_size, stride, padding)),
        Mistake("first_in_column_order", "Where several pixels share the maximum, the window is searched column "
                "by column. Row-major order goes along the first row, then the second.",  # 66
                lambda dy, x, kernel_size, stride=None, padding=0: _routed(
                    _first_column, dy, x, kernel_size, stride, padding)),
        Mistake("overwrites", "A pixel that wins in several overlapping windows keeps the gradient of the last "
                "one only. Its gradients add up.",  # 65
                lambda dy, x, kernel_size, stride=None, padding=0: _routed(
                    _first, dy, x, kernel_size, stride, padding, write="replace winner")),
        Mistake("overwrites_the_window", "Each window replaces all that earlier windows have written where they "
                "overlap. Add to what is there.",  # 65
                lambda dy, x, kernel_size, stride=None, padding=0: _routed(
                    _first, dy, x, kernel_size, stride, padding, write="replace window")),
        Mistake("position_in_window", "The position of the maximum inside its window is used as a position in "
                "the image, so everything lands at the top left. Add where the window starts.",  # 67
                max_backward_relative),
        Mistake("spread_evenly", "Every pixel of a window gets the same share. That is the gradient of average "
                "pooling; a maximum depends on the winner alone.",
                lambda dy, x, kernel_size, stride=None, padding=0: _routed(
                    _everywhere, dy, x, kernel_size, stride, padding)),
        Mistake("whole_window", "Every pixel of a window gets the whole gradient. Only the winner does.",
                lambda dy, x, kernel_size, stride=None, padding=0: _routed(
                    lambda w: np.ones(w.shape), dy, x, kernel_size, stride, padding)),
        Mistake("upstream_as_ones", "The winners get 1, whatever `dy` holds. Multiply by the gradient from "
                "above.",  # 54
                lambda dy, x, kernel_size, stride=None, padding=0:
                max_pool2d_backward(np.ones(dy.shape), x, kernel_size, stride, padding)),
        Mistake("times_the_value", "The gradient is multiplied by the maximum. The output equals the winner, so "
                "its derivative is 1.",
                max_backward_times_value),
        Mistake("negative_maximum_lost", "Windows whose maximum is not positive pass no gradient on. Is the "
                "running maximum started at 0?",  # 60
                max_backward_negative_lost),
        Mistake("zero_padding", "At the border the padding wins over negative pixels, and their gradient is "
                "lost. In the forward pass the padding could never win.",  # 61
                lambda dy, x, kernel_size, stride=None, padding=0: _routed(
                    _first, dy, x, kernel_size, stride, padding, fill=0.0)),
        Mistake("farthest_from_zero", "The gradient goes to the pixel farthest from zero, also if it is "
                "negative. The winner is the largest value.",
                lambda dy, x, kernel_size, stride=None, padding=0: _routed(
                    _farthest_from_zero, dy, x, kernel_size, stride, padding)),
        Mistake("stride_ignored_in_positions", "The windows are taken one pixel apart, not one stride apart.",
                max_backward_of_stride),
        Mistake("winners_of_first_channel", "The winners of channel 0 are used for all channels. Each channel "
                "has its own.",  # 68
                max_backward_first_channel),
        Mistake("winners_of_first_image", "The winners of image 0 are used for the whole batch. Each image has "
                "its own.",
                max_backward_first_image),
        Mistake("batch_averaged", "The gradient is divided by the number of images. If the loss is a mean, that "
                "factor is already in `dy`.",  # 55
                lambda dy, x, kernel_size, stride=None, padding=0:
                max_pool2d_backward(dy, x, kernel_size, stride, padding) / len(x)),
        Mistake("padding_not_cropped", "The gradient of the padding is returned as well. The result has the shape "
                "of `x`.",  # 51
                lambda dy, x, kernel_size, stride=None, padding=0: _routed(
                    _first, dy, x, kernel_size, stride, padding, crop=_not_cropped)),
        Mistake("cropped_from_the_corner", "The padded gradient is cut from its top left corner. The image starts "
                "behind the padding.",  # 51
                lambda dy, x, kernel_size, stride=None, padding=0: _routed(
                    _first, dy, x, kernel_size, stride, padding, crop=_from_the_corner)),
        Mistake("empty_without_padding", "With padding 0 nothing is left: a slice that ends at `-padding` then "
                "ends at -0, which is the beginning.",  # 52
                lambda dy, x, kernel_size, stride=None, padding=0: _routed(
                    _first, dy, x, kernel_size, stride, padding, crop=_minus_padding)),
        Mistake("integer_buffer", "The gradient is stored in an array of integers, which cuts off "
                "fractions.",  # 33
                lambda dy, x, kernel_size, stride=None, padding=0:
                max_pool2d_backward(dy, x, kernel_size, stride, padding).astype(int)),
    ],
    alternatives=[max_backward_by_loops, max_backward_by_indices, max_backward_by_taps],
    hints=[
        "Move one pixel of a window up by a tiny amount. For which pixels does the output of the window change, and "
        "by how much? What if the same pixel is the winner of two windows?",
        dedent("""\
        One row, kernel 3, stride 2, upstream gradient 10 and 5:

        ```
        x          1  4  7  2  7
        window 0   x  x  x          maximum 7 at position 2, passes on 10
        window 1         x  x  x    maximum 7 at positions 2 and 4: the first, passes on 5
        dx         0  0 15  0  0
        ```"""),
        dedent("""\
        ```
        x  <- x padded as in the forward pass
        dx <- zeros of the same shape as the padded x
        for each image n, channel c, output row i and column j:
            window <- the kH x kW values from row i*sH, column j*sW
            a, b   <- where in the window the first maximum is      # np.argmax gives a position in the flat window
            dx at row i*sH + a, column j*sW + b  grows by  dy[n, c, i, j]
        result <- dx without the padding                             # (N, C, H, W)
        ```"""),
        "Near x, the maximum is a copy of one pixel, so its derivative is 1 for that pixel and 0 for the others. "
        "Where two pixels tie there is no derivative: raising either raises the output, lowering either does not. "
        "A rule must pick; the first in row-major order is what `np.argmax` finds, and what PyTorch does on a "
        "CPU. A pixel that feeds several outputs sums their gradients, as in notebook 05.",
    ])


# ---------------------------------------------------------------------------- avg_pool2d_backward

def avg_pool2d_backward(dy, x_shape, kernel_size, stride=None, padding=0):
    """Oracle: torch's autograd through avg_pool2d."""
    import torch

    t = tensor(np.zeros(x_shape), grad=True)
    torch.nn.functional.avg_pool2d(t, kernel_size, stride, padding).backward(tensor(dy))
    return t.grad.numpy()


def avg_backward_by_windows(dy, x_shape, kernel_size, stride=None, padding=0):
    (kh, kw), (sh, sw), (ph, pw) = all_pairs(kernel_size, stride, padding)
    dx = np.zeros((*x_shape[:2], x_shape[2] + 2 * ph, x_shape[3] + 2 * pw))
    for i, j in np.ndindex(dy.shape[2:]):
        dx[:, :, i * sh:i * sh + kh, j * sw:j * sw + kw] += dy[:, :, i:i + 1, j:j + 1] / (kh * kw)
    return dx[:, :, ph:ph + x_shape[2], pw:pw + x_shape[3]]


def avg_backward_by_taps(dy, x_shape, kernel_size, stride=None, padding=0):
    (kh, kw), (sh, sw), (ph, pw) = all_pairs(kernel_size, stride, padding)
    n, c, h, w = x_shape
    dx = np.zeros((n, c, h + 2 * ph, w + 2 * pw))
    for a in range(kh):
        for b in range(kw):
            dx[:, :, a:a + sh * dy.shape[2]:sh, b:b + sw * dy.shape[3]:sw] += dy
    return dx[:, :, ph:ph + h, pw:pw + w] / (kh * kw)


def avg_backward_by_matrices(dy, x_shape, kernel_size, stride=None, padding=0):
    """dx = R' dy C, where R and C say which rows and columns each output averages."""
    def matrix(size, outputs, k, s, p):
        starts, i = np.arange(outputs)[:, None] * s - p, np.arange(size)
        return ((starts <= i) & (i < starts + k)) / k

    k, s, p = all_pairs(kernel_size, stride, padding)
    rows, columns = (matrix(*v) for v in zip(x_shape[2:], dy.shape[2:], k, s, p))
    return rows.T @ dy @ columns


def _spread(dy, x_shape, kernel_size, stride, padding, share, write="add", crop=None):
    k, s, p = all_pairs(kernel_size, stride, padding)
    return _routed(share, dy, np.zeros(x_shape), k, s, p, write=write, crop=crop)


def avg_backward_by_coverage(dy, x_shape, kernel_size, stride=None, padding=0):
    ones = np.ones(dy.shape)
    whole, counts = (_spread(d, x_shape, kernel_size, stride, padding, lambda w: np.ones(w.shape)) for d in (dy, ones))
    return whole / np.maximum(counts, 1)


def avg_backward_without_pad(dy, x_shape, kernel_size, stride=None, padding=0):
    import torch

    t = tensor(np.zeros(x_shape), grad=True)
    torch.nn.functional.avg_pool2d(t, kernel_size, stride, padding, False, False).backward(tensor(dy))
    return t.grad.numpy()


def avg_backward_of_stride(dy, x_shape, kernel_size, stride=None, padding=0):
    (kh, kw), _, (ph, pw) = all_pairs(kernel_size, stride, padding)
    dx = np.zeros((*x_shape[:2], x_shape[2] + 2 * ph, x_shape[3] + 2 * pw))
    for i, j in np.ndindex(dy.shape[2:]):
        dx[:, :, i:i + kh, j:j + kw] += dy[:, :, i:i + 1, j:j + 1] / (kh * kw)
    return dx[:, :, ph:ph + x_shape[2], pw:pw + x_shape[3]]


def _to_corner(window):
    share = np.zeros(window.shape)
    share[0, 0] = 1
    return share


def shape_call(seed, x_shape, k, s=None, p=0):
    dy = np.random.default_rng(seed).integers(-12, 13, (*x_shape[:2], *out_size(x_shape[2:], *all_pairs(k, s, p)))) / 2
    return call(dy, x_shape, k, stride=s, padding=p)


def random_avg_backward(rng):
    k, s, p = random_setting(rng, with_padding=True)
    n, c = (int(v) for v in rng.integers(1, 3, 2))
    return shape_call(int(rng.integers(1 << 30)),
                      (n, c, k[0] + int(rng.integers(0, 4)), k[1] + int(rng.integers(0, 4))), k, s, p)


AVG_POOL2D_BACKWARD = Exercise(
    id="avg_pool2d_backward", points=1,
    oracle=avg_pool2d_backward,
    probes=[call(np.array([[[[8.0, -4]]]]), (1, 1, 2, 4), 2),
            call(np.array([[[[9.0, 18]]]]), (1, 1, 3, 5), 3, stride=2),
            shape_call(70, (2, 3, 5, 4), 2), shape_call(71, (1, 2, 5, 7), 3, 2),
            shape_call(72, (3, 1, 4, 5), (1, 2), (3, 1)),
            shape_call(73, (1, 1, 2, 3), 2, p=1), shape_call(74, (2, 1, 4, 6), (3, 2), (1, 3), (1, 0)),
            shape_call(75, (1, 2, 5, 4), (2, 3), (1, 2), (0, 1)), shape_call(76, (2, 2, 3, 2), 1),
            shape_call(77, (2, 1, 5, 6), (3, 5), (3, 2), (1, 2))],
    random=random_avg_backward,
    mistakes=[
        Mistake("not_divided", "Every pixel of a window gets the whole gradient. It makes up 1 / (kH·kW) of the "
                "mean, so it gets that share.",  # 69
                lambda dy, x_shape, kernel_size, stride=None, padding=0:
                avg_pool2d_backward(dy, x_shape, kernel_size, stride, padding) * np.prod(pair(kernel_size))),
        Mistake("divided_by_one_side", "The share is 1 / kH. A window has kH·kW pixels.",  # 69
                lambda dy, x_shape, kernel_size, stride=None, padding=0:
                avg_pool2d_backward(dy, x_shape, kernel_size, stride, padding) * pair(kernel_size)[1]),
        Mistake("square_assumed", "The share is taken from the square of the first kernel size. A window of 3×2 "
                "has six pixels, not nine.",  # 7
                lambda dy, x_shape, kernel_size, stride=None, padding=0:
                avg_pool2d_backward(dy, x_shape, kernel_size, stride, padding)
                * pair(kernel_size)[1] / pair(kernel_size)[0]),
        Mistake("divided_by_the_stride", "The share is 1 / (sH·sW). It is the kernel size that says how many "
                "pixels are averaged.",
                lambda dy, x_shape, kernel_size, stride=None, padding=0:
                avg_pool2d_backward(dy, x_shape, kernel_size, stride, padding) * np.prod(pair(kernel_size))
                / np.prod(all_pairs(kernel_size, stride, 0)[1])),
        Mistake("repeated_side_by_side", "Each value is repeated over a block of its own. That is right only where the "
                "windows fill the image exactly; these overlap, leave a remainder, or reach into the padding.",
                lambda dy, x_shape, kernel_size, stride=None, padding=0: np.repeat(np.repeat(
                    dy, pair(kernel_size)[0], axis=2), pair(kernel_size)[1], axis=3) / np.prod(pair(kernel_size))),
        Mistake("overwrites", "Where windows overlap, only the last one's share is kept. Shares add up.",  # 65
                lambda dy, x_shape, kernel_size, stride=None, padding=0: _spread(
                    dy, x_shape, kernel_size, stride, padding, _everywhere, write="replace window")),
        Mistake("divided_by_the_number_of_windows", "Each pixel's sum is divided by the number of windows that "
                "read it. Divide by the number of pixels in a window, and let the windows add up.",
                avg_backward_by_coverage),
        Mistake("real_pixels_only", "At the border the gradient is divided among the real pixels. In the forward "
                "pass padding was counted, so each pixel's share is 1 / (kH·kW) everywhere.",  # 70
                avg_backward_without_pad),
        Mistake("one_pixel", "The top left pixel of each window gets all. Every pixel of the window took part in "
                "the mean.",
                lambda dy, x_shape, kernel_size, stride=None, padding=0: _spread(
                    dy, x_shape, kernel_size, stride, padding, _to_corner)),
        Mistake("stride_ignored_in_positions", "The windows are taken one pixel apart, not one stride apart.",
                avg_backward_of_stride),
        Mistake("upstream_as_ones", "The result is the same whatever `dy` holds. Multiply by the gradient from "
                "above.",  # 54
                lambda dy, x_shape, kernel_size, stride=None, padding=0:
                avg_pool2d_backward(np.ones(dy.shape), x_shape, kernel_size, stride, padding)),
        Mistake("batch_averaged", "The gradient is divided by the number of images. If the loss is a mean, that "
                "factor is already in `dy`.",  # 55
                lambda dy, x_shape, kernel_size, stride=None, padding=0:
                avg_pool2d_backward(dy, x_shape, kernel_size, stride, padding) / len(dy)),
        Mistake("padding_not_cropped", "The gradient of the padding is returned as well. The result has the shape "
                "`x_shape`.",  # 51
                lambda dy, x_shape, kernel_size, stride=None, padding=0: _spread(
                    dy, x_shape, kernel_size, stride, padding, _everywhere, crop=_not_cropped)),
        Mistake("cropped_from_the_corner", "The padded gradient is cut from its top left corner. The image starts "
                "behind the padding.",  # 51
                lambda dy, x_shape, kernel_size, stride=None, padding=0: _spread(
                    dy, x_shape, kernel_size, stride, padding, _everywhere, crop=_from_the_corner)),
        Mistake("empty_without_padding", "With padding 0 nothing is left: a slice that ends at `-padding` then "
                "ends at -0, which is the beginning.",  # 52
                lambda dy, x_shape, kernel_size, stride=None, padding=0: _spread(
                    dy, x_shape, kernel_size, stride, padding, _everywhere, crop=_minus_padding)),
        Mistake("integer_buffer", "The gradient is stored in an array of integers, which cuts off "
                "fractions.",  # 33
                lambda dy, x_shape, kernel_size, stride=None, padding=0:
                avg_pool2d_backward(dy, x_shape, kernel_size, stride, padding).astype(int)),
    ],
    alternatives=[avg_backward_by_windows, avg_backward_by_taps, avg_backward_by_matrices],
    hints=[
        "If one pixel of a 2×2 window grows by 1, by how much does the mean grow? Which windows does a pixel belong "
        "to when windows overlap?",
        dedent("""\
        One row, kernel 3, stride 2, upstream gradient 9 and 18:

        ```
        position   0  1  2  3  4
        window 0   3  3  3            9 / 3 each
        window 1         6  6  6      18 / 3 each
        dx         3  3  9  6  6
        ```"""),
        dedent("""\
        ```
        dx <- zeros with room for the padding             # (N, C, H + 2*pH, W + 2*pW)
        for each output row i and column j:
            the kH x kW places of dx from row i*sH, column j*sW  grow by  dy[:, :, i, j] / (kH*kW)
        result <- dx without the padding                  # (N, C, H, W)
        ```

        `dy[:, :, i:i + 1, j:j + 1]` keeps its four axes, so it broadcasts over the window."""),
        "A mean is linear: its derivative is the same share for every pixel and does not depend on the values. So "
        "only the shape of x is needed, and the backward pass is the transpose of the forward pass, as for the "
        "convolution of notebook 05 with equal weights.",
    ])


# ---------------------------------------------------------------------------- MaxPool2d

class MaxPool2d:
    """Oracle: torch.nn.MaxPool2d with autograd."""

    def __init__(self, kernel_size, stride=None, padding=0):
        import torch

        self.layer = torch.nn.MaxPool2d(kernel_size, stride, padding)

    def forward(self, x):
        self.x = tensor(x, grad=True)
        self.y = self.layer(self.x)
        return self.y.detach().numpy()

    def backward(self, dy):
        import torch

        return torch.autograd.grad(self.y, self.x, tensor(dy), retain_graph=True)[0].numpy()


def layer_of(forward, backward):
    """A layer whose two passes are the functions given."""
    class Layer:
        def __init__(self, kernel_size, stride=None, padding=0):
            self.settings = kernel_size, stride, padding

        def forward(self, x):
            self.x = x
            return forward(x, *self.settings)

        def backward(self, dy):
            return backward(dy, self.x, *self.settings)

    return Layer


class KeepsIndices:
    def __init__(self, kernel_size, stride=None, padding=0):
        self.kernel, self.step, self.padding = all_pairs(kernel_size, stride, padding)

    def forward(self, x):
        (kh, kw), (sh, sw), (ph, pw) = self.kernel, self.step, self.padding
        big = padded(x, (ph, ph), (pw, pw), -np.inf)
        windows = sliding_window_view(big, self.kernel, axis=(2, 3))[:, :, ::sh, ::sw]
        flat = windows.reshape(*windows.shape[:4], -1)
        self.winner, self.big, self.shape = flat.argmax(axis=-1), big.shape, x.shape
        return flat.max(axis=-1)

    def backward(self, dy):
        (kh, kw), (sh, sw), (ph, pw) = self.kernel, self.step, self.padding
        dx = np.zeros(self.big)
        for n, c, i, j in np.ndindex(dy.shape):
            a, b = divmod(int(self.winner[n, c, i, j]), kw)
            dx[n, c, i * sh + a, j * sw + b] += dy[n, c, i, j]
        return _cropped(dx, self.shape, ph, pw)


class KeepsMask:
    def __init__(self, kernel_size, stride=None, padding=0):
        self.arguments = kernel_size, stride, padding

    def forward(self, x):
        self.route = lambda dy: max_backward_by_taps(dy, x, *self.arguments)
        return max_by_loops(x, *self.arguments)

    def backward(self, dy):
        return self.route(dy)


Right = layer_of(max_pool2d, max_pool2d_backward)


class KeepsTheFirst(Right):
    def forward(self, x):
        self.first = getattr(self, "first", x)
        y = super().forward(x)
        self.x = self.first
        return y


class PilesUp(Right):
    def backward(self, dy):
        dx = super().backward(dy)
        old = getattr(self, "dx", np.zeros(dx.shape))
        self.dx = old + dx if old.shape == dx.shape else dx
        return self.dx


class KeepsTheOutput(Right):
    """Remembers where the maxima were in the pooled map instead of the input."""

    def backward(self, dy):
        dx = super().backward(dy)
        return dx[:, :, :dy.shape[2], :dy.shape[3]]


class UsesUpTheInput(Right):
    def forward(self, x):
        self.used = False
        return super().forward(x)

    def backward(self, dy):
        dx = super().backward(dy) * (not self.used)
        self.used = True
        return dx


def layer_steps(seed, shape, k, s=None, p=0, make=distinct, again=True):
    """forward, backward, forward with another input of the same shape, backward twice."""
    rng = np.random.default_rng(seed)
    a, b = make(seed, *shape), few_values(seed + 1, *shape)
    dy, dz, dw = (upstream(rng, a, k, s, p) for _ in range(3))
    steps = [("forward", {"x": a}), ("backward", {"dy": dy})]
    if again:
        steps += [("forward", {"x2": b}), ("backward", {"dy2": dz}), ("backward", {"dy3": dw})]
    return steps


def random_layer(rng):
    k, s, p = random_setting(rng, with_padding=True)
    shape = (*(int(v) for v in rng.integers(1, 3, 2)), k[0] + int(rng.integers(0, 4)), k[1] + int(rng.integers(0, 4)))
    return call(k, stride=s, padding=p, steps=layer_steps(int(rng.integers(1 << 30)), shape, k, s, p))


MAX_POOL2D_LAYER = Exercise(
    id="max_pool2d_layer", points=1,
    oracle=MaxPool2d,
    probes=[call(2, steps=[("forward", {"x": SMALL_X}), ("backward", {"dy": np.array([[[[5.0, 7]]]])})]),
            call(2, steps=layer_steps(80, (2, 1, 4, 5), 2)),
            call(3, 2, steps=layer_steps(81, (1, 2, 5, 7), 3, 2)),
            call(2, padding=1, steps=layer_steps(82, (1, 1, 2, 3), 2, None, 1, negative)),
            call((2, 3), (1, 2), (1, 0), steps=layer_steps(83, (1, 2, 3, 5), (2, 3), (1, 2), (1, 0), again=False))],
    random=random_layer,
    mistakes=[
        Mistake("keeps_the_first_input", "The second `backward` uses the input of the first `forward`. Each "
                "`forward` must replace what the layer remembers.",
                KeepsTheFirst),
        Mistake("gradients_pile_up", "`backward` adds to what earlier calls have returned. Each call starts from "
                "zeros.",  # 57
                PilesUp),
        Mistake("input_used_up", "A second `backward` after the same `forward` returns zeros. Leave what was "
                "remembered as it is.",
                UsesUpTheInput),
        Mistake("gradient_of_the_output_size", "The gradient has the shape of the output. It must have the shape "
                "of the input.",
                KeepsTheOutput),
        Mistake("stride_defaults_to_1", "Without a `stride` the windows move by one pixel. None means that the "
                "stride is the kernel size.",  # 62
                layer_of(lambda x, k, s, p: max_pool2d(x, k, 1 if s is None else s, p),
                         lambda dy, x, k, s, p: max_backward_of_stride(dy, x, k, s, p) if s is None else
                         max_pool2d_backward(dy, x, k, s, p))),
        Mistake("stride_not_in_forward", "`forward` does not use the stride that was given.",
                layer_of(lambda x, k, s, p: max_pool2d(x, k, None, p), max_pool2d_backward)),
        Mistake("padding_not_in_forward", "`forward` does not use the padding that was given.",
                layer_of(lambda x, k, s, p: max_pool2d(x, k, s), max_pool2d_backward)),
        Mistake("every_winner", "Where several pixels share the maximum, each gets the whole gradient. Only the "
                "first in row-major order does.",  # 66
                layer_of(max_pool2d, lambda dy, x, k, s, p: _routed(_all, dy, x, k, s, p))),
        Mistake("overwrites", "A pixel that wins in several overlapping windows keeps the gradient of the last "
                "one only. Its gradients add up.",  # 65
                layer_of(max_pool2d, lambda dy, x, k, s, p: _routed(_first, dy, x, k, s, p, write="replace winner"))),
        Mistake("upstream_as_ones", "`backward` returns the same whatever `dy` holds.",  # 54
                layer_of(max_pool2d, lambda dy, x, k, s, p: max_pool2d_backward(np.ones(dy.shape), x, k, s, p))),
    ],
    alternatives=[KeepsIndices, KeepsMask],
    hints=[
        "`backward` is given nothing but `dy`. What else did `max_pool2d_backward` need, and when does the layer get "
        "to see it?",
        dedent("""\
        ```
        layer = MaxPool2d(2)
        layer.forward(x)      # remembers x
        layer.backward(dy)    # uses it, and the 2
        layer.forward(x2)     # remembers x2 in its place
        layer.backward(dy2)   # uses x2
        ```"""),
        dedent("""\
        ```
        __init__: keep kernel_size, stride and padding
        forward:  keep x; return its maxima                           # (N, C, H_out, W_out)
        backward: return dy sent to the winners in the x that was kept   # (N, C, H, W)
        ```"""),
        "A layer without parameters has no grad_weight. All it keeps is what its derivative depends on: here which "
        "pixels won. Keeping x is the simplest way; keeping only the winners' positions takes less memory, which "
        "is what libraries do.",
    ])


# ---------------------------------------------------------------------------- seen_by

def seen_by(unit, layers):
    """Oracle: the first and last pixel with a gradient, in a row that continues far beyond both borders.

    The padding of a layer is real pixels here, so position 0 lies `margins[0]` pixels into the row.
    """
    import torch

    margins = [4]  # units before unit 0, at the top; then the same for each layer down to the image
    for _, stride, padding in reversed(layers):
        margins.insert(0, margins[0] * stride + padding)
    width = unit + margins[-1] + 1
    for kernel_size, stride, _ in reversed(layers):
        width = (width - 1) * stride + kernel_size
    x = torch.ones(1, 1, width, dtype=torch.float64, requires_grad=True)
    y = x
    for kernel_size, stride, _ in layers:
        y = torch.nn.functional.conv1d(y, torch.ones(1, 1, kernel_size, dtype=torch.float64), None, stride)
    y[0, 0, unit + margins[-1]].backward()
    seen = x.grad[0, 0].nonzero()[:, 0]
    return int(seen.min()) - margins[0], int(seen.max()) - margins[0]


def seen_from_the_top(unit, layers):
    first = last = unit
    for k, s, p in layers[::-1]:
        first, last = first * s - p, last * s - p + k - 1
    return first, last


def seen_by_sets(unit, layers):
    units = {unit}
    for k, s, p in reversed(layers):
        units = {u * s - p + a for u in units for a in range(k)}
    return [min(units), max(units)]


def seen_by_jumps(unit, layers):
    start, jump, size = 0, 1, 1
    for k, s, p in layers:
        start -= p * jump
        size += (k - 1) * jump
        jump *= s
    return start + unit * jump, start + unit * jump + size - 1


def _seen(unit, layers, step):
    first = last = unit
    for layer in layers[::-1]:
        first, last = step(first, last, *layer)
    return first, last


def random_seen(rng):
    layers = []
    for _ in range(rng.integers(1, 4)):
        k = int(rng.integers(1, 6))
        layers.append((k, int(rng.integers(1, 4)), int(rng.integers(0, k // 2 + 1))))
    return call(int(rng.integers(0, 8)), tuple(layers))


SEEN_BY = Exercise(
    id="seen_by", points=1,
    oracle=seen_by,
    probes=[call(0, ((3, 1, 0),)), call(2, ((2, 2, 0),)), call(1, ((3, 1, 1),)), call(0, ((3, 1, 0), (2, 2, 0))),
            call(3, ((3, 1, 0), (2, 2, 0))), call(0, ((5, 1, 2), (2, 2, 0), (3, 1, 1))),
            call(4, ((5, 2, 1), (3, 3, 0), (2, 1, 1))), call(5, ((1, 3, 0), (4, 1, 2))),
            call(2, ((7, 2, 3), (3, 2, 1), (3, 1, 1), (3, 2, 1)))],
    random=random_seen,
    mistakes=[
        Mistake("end_not_included", "The second number is one too large: it is the position behind the last pixel. "
                "Return the last pixel itself.",
                lambda unit, layers: (seen_by(unit, layers)[0], seen_by(unit, layers)[1] + 1)),
        Mistake("kernel_one_too_long", "Each layer adds kernel_size to the last position. From the first to the "
                "last pixel of a window it is kernel_size − 1.",
                lambda unit, layers: _seen(unit, layers, lambda lo, hi, k, s, p: (lo * s - p, hi * s - p + k))),
        Mistake("padding_ignored", "Every case without padding is right: the third number is not used.",
                lambda unit, layers: _seen(unit, layers, lambda lo, hi, k, s, p: (lo * s, hi * s + k - 1))),
        Mistake("padding_added", "The padding is added. Padding lies before pixel 0, so the first window starts "
                "at −padding.",
                lambda unit, layers: _seen(unit, layers, lambda lo, hi, k, s, p: (lo * s + p, hi * s + p + k - 1))),
        Mistake("padding_on_one_side", "The padding moves the first position only. The whole window lies further "
                "left.",
                lambda unit, layers: _seen(unit, layers, lambda lo, hi, k, s, p: (lo * s - p, hi * s + k - 1))),
        Mistake("padding_counted_twice", "The padding is subtracted on the left and added on the right. Padding "
                "moves a window; it does not make it wider.",
                lambda unit, layers: _seen(unit, layers, lambda lo, hi, k, s, p: (lo * s - p, hi * s + p + k - 1))),
        Mistake("from_the_image_up", "The stack is walked from the image up. To go from a unit down to its "
                "pixels, start with the last layer.",
                lambda unit, layers: seen_by(unit, layers[::-1])),
        Mistake("strides_ignored", "Every layer is taken to have stride 1: the second number is not used.",  # 107
                lambda unit, layers: seen_by(unit, tuple((k, 1, p) for k, _, p in layers))),
        Mistake("clipped_at_zero", "Negative positions are cut off to 0. Return them: they say how far the unit "
                "reaches into the padding.",
                lambda unit, layers: tuple(max(v, 0) for v in seen_by(unit, layers))),
        Mistake("last_from_first", "Only the window of the first unit is followed. In the layer below, the last "
                "unit that is read has a window too.",
                lambda unit, layers: (seen_by(unit, layers)[0], seen_by(unit, layers)[0] + layers[0][0] - 1)),
        Mistake("size_instead", "This is the number of pixels. Asked are the first and the last.",
                lambda unit, layers: seen_by(unit, layers)[1] - seen_by(unit, layers)[0] + 1),
        Mistake("unit_counted_from_one", "Units are counted from 1 here. Unit 0 is the first.",
                lambda unit, layers: seen_by(unit - 1, layers)),
    ],
    alternatives=[seen_from_the_top, seen_by_sets, seen_by_jumps],
    hints=[
        "Which units of the layer below does unit 3 of a 2-wide, stride-2 pooling read? And which pixels do the "
        "first and the last of those read?",
        dedent("""\
        A 3-wide convolution with padding 1, then pooling 2, stride 2. Unit 1 of the pooling:

        ```
        pooling reads units        2 and 3       1·2     to 1·2 + 1
        unit 2 reads the pixels    1, 2, 3       2 − 1   to 2 − 1 + 2
        unit 3 reads the pixels    2, 3, 4       3 − 1   to 3 − 1 + 2
        together                   1 to 4
        ```"""),
        dedent("""\
        ```
        first, last <- unit, unit
        for each layer (kernel_size, stride, padding), from the last down to the image:
            first <- where the window of unit `first` starts, one layer down
            last  <- where the window of unit `last` ends, one layer down
        result <- (first, last)
        ```"""),
        "Window u starts at u·stride in the padded row, and position 0 of the padded row is −padding in the row "
        "itself. Its size alone is the receptive field of notebook 03; the positions also say how far the unit "
        "looks beyond the border.",
    ])


# ---------------------------------------------------------------------------- equivariance_error

def equivariance_error(y, y_moved, shift, margin=0):
    """Oracle: torch.roll and torch's vector norms."""
    import torch

    expected = torch.roll(tensor(y), shift, (2, 3))
    h, w = y.shape[2:]
    expected, got = (t[:, :, margin:h - margin, margin:w - margin] for t in (expected, tensor(y_moved)))
    return (torch.linalg.vector_norm(got - expected) / torch.linalg.vector_norm(expected)).item()


def error_by_roll(y, y_moved, shift, margin=0):
    expected = np.roll(y, shift, axis=(2, 3))
    keep = np.s_[:, :, margin:y.shape[2] - margin, margin:y.shape[3] - margin]
    expected, got = expected[keep], y_moved[keep]
    return np.sqrt(((got - expected) ** 2).mean() / (expected ** 2).mean())


def error_by_loops(y, y_moved, shift, margin=0):
    top = bottom = 0.0
    h, w = y.shape[2:]
    for r in range(margin, h - margin):
        for c in range(margin, w - margin):
            expected = y[:, :, (r - shift[0]) % h, (c - shift[1]) % w]
            top += ((y_moved[:, :, r, c] - expected) ** 2).sum()
            bottom += (expected ** 2).sum()
    return float((top / bottom) ** 0.5)


def error_by_norms(y, y_moved, shift, margin=0):
    rows, columns = np.arange(y.shape[2]) - shift[0], np.arange(y.shape[3]) - shift[1]
    expected = y.take(rows, axis=2, mode="wrap").take(columns, axis=3, mode="wrap")
    if margin:
        expected, y_moved = (a[..., margin:-margin, margin:-margin] for a in (expected, y_moved))
    return np.linalg.norm((y_moved - expected).ravel()) / np.linalg.norm(expected.ravel())


def _both(y, y_moved, shift, margin):
    expected, (h, w) = np.roll(y, shift, axis=(2, 3)), y.shape[2:]
    return tuple(a[:, :, margin:h - margin, margin:w - margin] for a in (expected, y_moved))


def _rms(a):
    return float(np.sqrt((a ** 2).mean()))


def error_by(measure):
    return lambda y, y_moved, shift, margin=0: float(measure(*_both(y, y_moved, shift, margin)))


def error_margin_first(y, y_moved, shift, margin=0):
    h, w = y.shape[2:]
    y, y_moved = (a[:, :, margin:h - margin, margin:w - margin] for a in (y, y_moved))
    return equivariance_error(y, y_moved, shift)


def error_zeros_come_in(y, y_moved, shift, margin=0):
    moved, (h, w) = np.roll(y, shift, axis=(2, 3)), y.shape[2:]
    rows, columns = ((np.arange(n) >= s if s > 0 else np.arange(n) < n + s) for n, s in zip((h, w), shift))
    return equivariance_error(moved * rows[:, None] * columns, y_moved, (0, 0), margin)


def error_flat_roll(y, y_moved, shift, margin=0):
    return equivariance_error(np.roll(np.array(y), sum(shift)), y_moved, (0, 0), margin)


def error_top_left_margin(y, y_moved, shift, margin=0):
    expected = np.roll(y, shift, axis=(2, 3))
    return _rms((y_moved - expected)[:, :, margin:, margin:]) / _rms(expected[:, :, margin:, margin:])


def error_empty_margin(y, y_moved, shift, margin=0):
    if margin == 0:
        return float("nan")
    return equivariance_error(y, y_moved, shift, margin)


def moved_pair(seed, shape, shift, noise, margin=0, of=ints):
    """y, and y moved by `shift` with a few of its values changed."""
    rng = np.random.default_rng(seed)
    y = of(seed, *shape)
    y[:, :, 0, 0] += 7
    change = rng.integers(-2, 3, shape) * (rng.random(shape) < noise)
    return call(y, np.roll(y, shift, axis=(2, 3)) + change, shift, margin=margin)


def random_error(rng):
    margin = int(rng.integers(0, 2))
    shape = (*(int(v) for v in rng.integers(1, 3, 2)), *(int(v) for v in rng.integers(4, 7, 2)))
    return moved_pair(int(rng.integers(1 << 30)), shape, tuple(int(v) for v in rng.integers(-3, 4, 2)), 0.4, margin)


EQUIVARIANCE_ERROR = Exercise(
    id="equivariance_error", points=1,
    oracle=equivariance_error,
    probes=[call(np.array([[[[3.0, 4, 0, 0]]]]), np.array([[[[0.0, 3, 4, 0]]]]), (0, 1)),
            call(np.array([[[[3.0, 4, 0, 0]]]]), np.array([[[[0.0, 3, 0, 0]]]]), (0, 1)),
            moved_pair(90, (1, 2, 3, 4), (1, -1), 0.5), moved_pair(91, (2, 1, 4, 5), (2, 1), 0.4),
            moved_pair(92, (1, 1, 5, 6), (0, 2), 0.6, margin=1), moved_pair(93, (2, 2, 5, 7), (-1, 3), 0.5, margin=2),
            moved_pair(94, (1, 3, 4, 3), (0, 0), 0.5),
            moved_pair(95, (1, 1, 6, 4), (1, 0), 0.3, margin=1, of=quarters)],
    random=random_error,
    mistakes=[
        Mistake("not_moved", "`y` and `y_moved` are compared as they are: that measures invariance. First move `y` "
                "by `shift`.",
                lambda y, y_moved, shift, margin=0: equivariance_error(y, y_moved, (0, 0), margin)),
        Mistake("wrong_direction", "`y` is moved the wrong way. A positive shift moves down and to the right.",
                lambda y, y_moved, shift, margin=0:
                equivariance_error(y, y_moved, (-shift[0], -shift[1]), margin)),
        Mistake("pair_swapped", "The first number of `shift` is for the rows (down), the second for the columns "
                "(right).",  # 63
                lambda y, y_moved, shift, margin=0: equivariance_error(y, y_moved, shift[::-1], margin)),
        Mistake("rolled_flat", "`np.roll` without `axis` moves the values through the flattened array. Name the two "
                "axes.",
                error_flat_roll),
        Mistake("zeros_come_in", "Zeros come in where the map has moved away. It is moved circularly: what leaves "
                "on one side comes in on the other.",
                error_zeros_come_in),
        Mistake("not_relative", "This is the RMS of the difference. Divide by the RMS of the moved `y`.",
                error_by(lambda e, g: _rms(g - e))),
        Mistake("relative_to_the_other", "The difference is divided by the RMS of `y_moved`. Divide by what was "
                "expected: `y`, moved.",
                error_by(lambda e, g: _rms(g - e) / _rms(g))),
        Mistake("mean_difference", "The differences are averaged with their signs, so they cancel. Square them "
                "first.",
                error_by(lambda e, g: abs((g - e).mean()) / _rms(e))),
        Mistake("absolute_values", "The mean of the absolute values is taken in place of the root mean square.",
                error_by(lambda e, g: np.abs(g - e).mean() / np.abs(e).mean())),
        Mistake("largest_difference", "The largest difference is taken. The RMS averages the squares over all "
                "places.",
                error_by(lambda e, g: np.abs(g - e).max() / _rms(e))),
        Mistake("root_missing", "This is the ratio of the mean squares: the root is missing.",
                error_by(lambda e, g: (_rms(g - e) / _rms(e)) ** 2)),
        Mistake("margin_ignored", "Every case with margin 0 is right: `margin` is not used.",
                lambda y, y_moved, shift, margin=0: equivariance_error(y, y_moved, shift)),
        Mistake("margin_on_two_sides", "The margin is left out at the top and on the left only. It belongs to all "
                "four sides.",
                error_top_left_margin),
        Mistake("margin_before_moving", "The margin is cut off before the map is moved, so other values come round. "
                "Move first, then cut.",
                error_margin_first),
        Mistake("empty_without_margin", "With margin 0 nothing is left to compare: a slice that ends at `-margin` "
                "then ends at -0, which is the beginning.",  # 52
                error_empty_margin),
    ],
    alternatives=[error_by_roll, error_by_loops, error_by_norms],
    hints=[
        "If the layer were perfectly equivariant, how would `y_moved` come from `y`? How far is it from that, compared "
        "with its size?",
        dedent("""\
        A map of one row, shift (0, 1):

        ```
        y                 3  4  0  0
        y moved by 1      0  3  4  0     root mean square sqrt(25 / 4) = 2.5
        y_moved           0  3  0  0
        difference        0  0 -4  0     root mean square sqrt(16 / 4) = 2
        error             2 / 2.5 = 0.8
        ```"""),
        dedent("""\
        ```
        expected <- y moved by shift along its last two axes, circularly         # (N, C, H, W)
        leave out `margin` rows and columns at each side of expected and y_moved
        result   <- rms(y_moved - expected) / rms(expected)                       # a float
        ```

        `np.roll` takes tuples for the shift and the axes."""),
        "Dividing by the size makes the number independent of the scale of the weights: 0 is exact, and two maps that "
        "have nothing to do with each other give about 1 or more. With shift (0, 0) the same function measures "
        "invariance.",
    ])


# ---------------------------------------------------------------------------- exact_shifts

def exact_shifts(strides, largest):
    """Oracle: move a random circular row and see whether the output of torch's layers moves as a whole."""
    import torch

    product = int(np.prod(strides, dtype=int))
    rng = np.random.default_rng(0)
    x = tensor(rng.normal(size=product * (largest // product + 3)))
    weights = [tensor(rng.normal(size=(1, 1, 3))) for _ in strides]

    def outputs(row):
        for stride, weight in zip(strides, weights):
            row = torch.nn.functional.conv1d(torch.cat([row[-1:], row, row[:1]])[None, None], weight, None,
                                             stride)[0, 0]
        return row

    still = outputs(x)
    return tuple(d for d in range(largest + 1) if any(
        torch.allclose(outputs(torch.roll(x, d)), torch.roll(still, e)) for e in range(len(still))))


def shifts_by_range(strides, largest):
    return list(range(0, largest + 1, int(np.prod(strides, dtype=int))))


def shifts_by_division(strides, largest):
    found = []
    for d in range(largest + 1):
        rest = d
        for s in strides:
            if rest % s:
                break
            rest //= s
        else:
            found.append(d)
    return tuple(found)


def shifts_by_array(strides, largest):
    d, step = np.arange(largest + 1), 1
    for s in strides:
        step *= s
    return d[d % step == 0]


def multiples(step, largest, start=0):
    return tuple(range(start, largest + 1, step))


EXACT_SHIFTS = Exercise(
    id="exact_shifts", points=1,
    oracle=exact_shifts,
    probes=[call((1,), 3), call((2,), 5), call((2, 2), 9), call((1, 3, 2), 13), call((3, 1), 6), call((2, 1, 2, 3), 30),
            call((4,), 3), call((2, 4), 16)],
    random=lambda rng: call(tuple(int(v) for v in rng.integers(1, 4, rng.integers(1, 4))), int(rng.integers(2, 30))),
    mistakes=[
        Mistake("strides_added", "The strides are added up. Two layers of stride 2 keep every fourth place.",
                lambda strides, largest: multiples(sum(strides), largest)),
        Mistake("largest_stride_only", "Only the largest stride counts here. The second layer strides over what the "
                "first has left.",
                lambda strides, largest: multiples(max(strides), largest)),
        Mistake("last_stride_only", "Only the last stride counts here. A shift must survive every layer.",
                lambda strides, largest: multiples(strides[-1], largest)),
        Mistake("first_stride_only", "Only the first stride counts here. A shift must survive every layer.",
                lambda strides, largest: multiples(strides[0], largest)),
        Mistake("least_common_multiple", "These are all shifts that every stride divides by itself. But after a first "
                "stride of 2, a shift of 2 is a shift of 1, and that is what the next layer must divide.",
                lambda strides, largest: multiples(int(np.lcm.reduce(strides)), largest)),
        Mistake("zero_left_out", "A shift of 0 is missing. An image that does not move is exact too.",
                lambda strides, largest: multiples(int(np.prod(strides)), largest, int(np.prod(strides)))),
        Mistake("largest_left_out", "The largest shift is left out: a range ends before its end.",
                lambda strides, largest: multiples(int(np.prod(strides)), largest - 1)),
        Mistake("shifts_of_the_output", "These are the distances by which the output moves. Asked are those of the "
                "image.",
                lambda strides, largest: tuple(d // int(np.prod(strides))
                                               for d in multiples(int(np.prod(strides)), largest))),
        Mistake("stride_1_for_all", "Every shift is given. That is right at stride 1; a stride skips places.",
                lambda strides, largest: multiples(1, largest)),
        Mistake("divisors", "These are the shifts that divide the product of the strides. It is the other way round.",
                lambda strides, largest: tuple(d for d in range(1, largest + 1) if int(np.prod(strides)) % d == 0)),
        Mistake("powers", "These are powers of the product. Twice an exact shift is exact as well: count in equal "
                "steps.",
                lambda strides, largest: (0, *(int(np.prod(strides)) ** i for i in range(1, 6) if 1 < int(
                    np.prod(strides)) ** i <= largest))),
    ],
    alternatives=[shifts_by_range, shifts_by_division, shifts_by_array],
    hints=[
        "A layer of stride 2 computes the outputs at places 0, 2, 4, … If the image moves by 1, are the old values "
        "still at places that are computed?",
        dedent("""\
        Stride 2, then stride 2 again:

        | the image moves by | first output moves by | second output moves by |
        |---|---|---|
        | 1 | not exact | not exact |
        | 2 | 1 | not exact |
        | 4 | 2 | 1 |"""),
        dedent("""\
        ```
        step   <- how far apart neighbouring outputs of the last layer lie in the image
        result <- 0, step, 2*step, ... as long as they are not beyond `largest`
        ```"""),
        "A stride s keeps every s-th place of what stride 1 would give, and stride 1 is exact. A moved copy consists "
        "of the same values only if the shift is a whole number of steps, at every layer in turn: so the strides "
        "multiply.",
    ])


EXERCISES = [MAX_POOL2D, AVG_POOL2D, L2_POOL2D, L2_POOL_FEATURES, MAX_POOL2D_BACKWARD, AVG_POOL2D_BACKWARD,
             MAX_POOL2D_LAYER, SEEN_BY, EQUIVARIANCE_ERROR, EXACT_SHIFTS]
