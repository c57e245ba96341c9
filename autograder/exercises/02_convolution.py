"""Exercises of notebook 02: convolution, cross-correlation, and what the flip changes."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from autograder.exercise import Exercise, Mistake, call
from cnnlab.probes import strided

RNG = np.random.default_rng(1962)


def whole(*shape, rng=RNG):
    """Whole numbers from -9 to 9 as float64: exact sums, both signs, no pattern."""
    return rng.integers(-9, 10, shape).astype(float)


def eighths(*shape, rng=RNG):
    """Fractions that are exact in binary, so that every order of summation gives the same."""
    return rng.integers(-24, 25, shape) / 8


def fitting(rng, axes=2, most=4):
    """The shapes of a kernel and of an image into which it fits."""
    kernel = rng.integers(1, most + 1, axes)
    return kernel, kernel + rng.integers(0, 5, axes)


def image_and_kernel(rng, axes=2):
    """A probe of an image, or a signal, and a kernel that fits into it."""
    kernel, image = fitting(rng, axes)
    return call(whole(*image, rng=rng), eighths(*kernel, rng=rng))


def in_place(flip, function):
    """A mistake that turns its second argument round in place before it goes on."""
    def run(x, kernel):
        kernel[...] = flip(kernel).copy()
        return function(x, kernel)
    return run


# --- convolve1d -------------------------------------------------------------------------------------------


def convolve1d(x, h):
    """Oracle: SciPy's direct convolution."""
    from scipy.signal import convolve
    return convolve(x, h, mode="full", method="direct").astype(float)


def conv1d_scatter_rows(x, h):
    y = np.zeros(len(x) + len(h) - 1)
    for i in range(len(h)):
        y[i:i + len(x)] += h[i] * x
    return y


def conv1d_gather(x, h):
    y = []
    for n in range(len(x) + len(h) - 1):
        y.append(sum(h[i] * x[n - i] for i in range(len(h)) if 0 <= n - i < len(x)))
    return [float(v) for v in y]


def conv1d_padded_windows(x, h):
    padded = np.pad(x, len(h) - 1)
    return sliding_window_view(padded, len(h)) @ h[::-1]


def conv1d_negative_index(x, h):
    y = np.zeros(len(x) + len(h) - 1)
    for n in range(len(y)):
        for i in range(len(h)):
            if n - i < len(x):
                y[n] += h[i] * x[n - i]
    return y


def conv1d_overwrites(x, h):
    y = np.zeros(len(x) + len(h) - 1)
    for i in range(len(x)):
        for j in range(len(h)):
            y[i + j] = x[i] * h[j]
    return y


def conv1d_circular(x, h):
    y = np.zeros(len(x))
    for i in range(len(x)):
        for j in range(len(h)):
            y[(i + j) % len(x)] += x[i] * h[j]
    return y


def conv1d_int_buffer(x, h):
    y = np.zeros(len(x) + len(h) - 1, dtype=int)
    for i in range(len(x)):
        for j in range(len(h)):
            y[i + j] += int(x[i] * h[j])
    return y


CONVOLVE1D = Exercise(
    id="convolve1d", points=2, oracle=convolve1d,
    probes=[call(np.array([3.0, -1.0, 2.0, 5.0]), np.array([2.0, -4.0, 1.0])),
            call(whole(7), whole(4)), call(whole(2), whole(5)), call(eighths(6), eighths(3)),
            call(np.array([4.0, 0.0, -7.0]), np.array([-2.5])), call(np.array([-3.0]), whole(4)),
            call(strided(whole(5)), strided(eighths(2)))],
    random=lambda rng: call(whole(rng.integers(1, 9), rng=rng), eighths(rng.integers(1, 6), rng=rng)),
    mistakes=[
        Mistake("cross_correlates",  # 1
                "`h` meets `x` without being reflected: that is cross-correlation. In the table, which "
                "entry of `h` multiplies x0 in y2?", lambda x, h: np.convolve(x, h[::-1])),
        Mistake("reversed_result",
                "The values are right but run from last to first. y0 is the product of the two first "
                "elements.", lambda x, h: np.convolve(x, h)[::-1]),
        Mistake("reflects_x_only",
                "`x` is reversed and `h` is not, so the result is a cross-correlation, and a reversed "
                "one. Write down y0 with the indices in your loop.", lambda x, h: np.convolve(x[::-1], h)),
        Mistake("inner_part_only",
                "Only the outputs where the shorter signal lies fully inside the longer are returned. The "
                "full convolution also has the ends, where they overlap in part.",
                lambda x, h: np.convolve(x, h, mode="valid")),
        Mistake("middle_part_only",
                "The result is as long as the longer input: its ends are cut off. The full convolution has "
                "every output to which a product belongs.", lambda x, h: np.convolve(x, h, mode="same")),
        Mistake("cut_to_input_length",
                "The result stops with the last element of `x`. The last products, such as the last of "
                "`h` times the last of `x`, still need a place.", lambda x, h: np.convolve(x, h)[:len(x)]),
        Mistake("one_too_long",
                "There is one element too many: with lengths 4 and 3, the last product falls on index 3 + "
                "2, and counting starts at 0.", lambda x, h: np.append(np.convolve(x, h), 0.0)),
        Mistake("overwrites",  # 44
                "Several products fall on the same output, and each replaces the one before. They have to "
                "add up.", conv1d_overwrites),
        Mistake("negative_index",
                "Python reads index -1 as the last element, so products from the end of `x` leak into the "
                "beginning. Skip what lies before index 0.", conv1d_negative_index),
        Mistake("wraps_around",
                "What should follow after the end of `x` is added at its beginning: a circular "
                "convolution. The full one is longer than `x`.", conv1d_circular),
        Mistake("int_buffer",  # 33
                "The results are collected in an integer array, which cuts off fractions.",
                conv1d_int_buffer),
        Mistake("misses_last_tap",
                "The last element of `h` is never used. Check where the loop over `h` stops.",
                lambda x, h: np.convolve(x, np.append(h[:-1], 0.0))),
        Mistake("changes_input",  # 32
                "`h` is reversed in place, so the caller's array is reversed too.",
                in_place(np.flip, lambda x, h: np.convolve(x, h[::-1]))),
    ],
    alternatives=[conv1d_scatter_rows, conv1d_gather, conv1d_padded_windows],
    hints=[
        "Which output does the product of `x[2]` and `h[1]` belong to? Look for the sum of the two "
        "indices in the table.",
        "With $x = (3, -1)$ and $h = (2, -4, 1)$, one row for each element of $x$:\n\n"
        "| | $y_0$ | $y_1$ | $y_2$ | $y_3$ |\n|---|---|---|---|---|\n"
        "| $x_0 = 3$ | 6 | −12 | 3 | |\n| $x_1 = -1$ | | −2 | 4 | −1 |\n"
        "| sum | **6** | **−14** | **7** | **−1** |",
        "```\ny <- zeros                       # (len(x) + len(h) - 1,)\n"
        "for every index i of x\n    for every index j of h\n"
        "        add the product of element i of x and element j of h to element i + j of y\n"
        "```",
        "Each element of `x` sends out a copy of `h`, scaled by that element and starting at its "
        "position; the copies add up. The last copy starts at `len(x) - 1` and is `len(h)` long, which "
        "gives the length. In the formula $y_n = \\sum_i h_i\\,x_{n-i}$ the two indices always sum to $n$.",
    ])


# --- cross_correlate1d ------------------------------------------------------------------------------------


def cross_correlate1d(x, kernel):
    """Oracle: torch's conv1d in float64."""
    import torch
    x, kernel = (torch.tensor(np.array(v))[None, None] for v in (x, kernel))
    return torch.nn.functional.conv1d(x, kernel)[0, 0].numpy()


def corr1d_loops(x, kernel):
    y = np.zeros(len(x) - len(kernel) + 1)
    for i in range(len(y)):
        for a in range(len(kernel)):
            y[i] += x[i + a] * kernel[a]
    return y


def corr1d_shifted(x, kernel):
    length = len(x) - len(kernel) + 1
    return sum(kernel[a] * x[a:a + length] for a in range(len(kernel)))


def corr1d_list(x, kernel):
    return [float(np.dot(x[i:i + len(kernel)], kernel)) for i in range(len(x) - len(kernel) + 1)]


def corr1d_last_left_at_zero(x, kernel):
    y = np.correlate(x, kernel, mode="valid")
    y[-1] = 0
    return y


def corr1d_disjoint(x, kernel):
    k = len(kernel)
    return np.array([x[i:i + k] @ kernel for i in range(0, len(x) - k + 1, k)])


def corr1d_overwrites(x, kernel):
    y = np.zeros(len(x) - len(kernel) + 1)
    for i in range(len(y)):
        for a in range(len(kernel)):
            y[i] = x[i + a] * kernel[a]
    return y


CROSS_CORRELATE1D = Exercise(
    id="cross_correlate1d", points=2, oracle=cross_correlate1d,
    probes=[call(np.array([3.0, -1.0, 2.0, 5.0]), np.array([2.0, -4.0])), call(whole(8), whole(3)),
            call(whole(4), whole(4)), call(eighths(7), eighths(2)),
            call(np.array([4.0, 0.0, -7.0]), np.array([-2.5])), call(strided(whole(6)), strided(eighths(3)))],
    random=lambda rng: image_and_kernel(rng, axes=1),
    mistakes=[
        Mistake("convolves",  # 1
                "The kernel is reversed: that is convolution. Here the first element of the kernel meets "
                "the first element of each window.", lambda x, k: np.convolve(x, k, mode="valid")),
        Mistake("reversed_result",
                "The windows are taken from last to first. Output 0 belongs to the window that starts at "
                "index 0.", lambda x, k: np.correlate(x, k, mode="valid")[::-1]),
        Mistake("one_too_short",  # 10
                "The last window is missing. Count the places where 2 elements fit into 4: starts 0, 1 "
                "and 2.", lambda x, k: np.correlate(x, k, mode="valid")[:-1]),
        Mistake("last_left_at_zero",  # 10
                "The length is right, but the last output is never written. How many places are there for "
                "the kernel, and where does your loop stop?", corr1d_last_left_at_zero),
        Mistake("full_overlap",
                "Outputs are computed where the kernel sticks out at the ends too. Here only windows that "
                "lie fully inside `x` count.", lambda x, k: np.correlate(x, k, mode="full")),
        Mistake("same_length",
                "The result is as long as `x`, so some windows were filled up with zeros. Only windows "
                "fully inside `x` count.",
                lambda x, k: np.correlate(x, k, mode="full")[len(k) // 2:][:len(x)]),
        Mistake("buffer_too_large",
                "The array for the results is as long as `x`; the places that no window writes to keep "
                "their zeros. How many windows are there?",
                lambda x, k: np.append(np.correlate(x, k, mode="valid"), np.zeros(len(k) - 1))),
        Mistake("disjoint_windows",  # 19
                "The window jumps by its own length. It should move on by one element.", corr1d_disjoint),
        Mistake("overwrites",
                "Each product replaces the one before, so only the last is left. The products of one "
                "window add up.", corr1d_overwrites),
        Mistake("mean",
                "The sum of products is divided by the kernel's length; a response is the plain sum.",
                lambda x, k: np.correlate(x, k, mode="valid") / len(k)),
        Mistake("adds_window",
                "The window is summed without being weighted by the kernel.",
                lambda x, k: np.correlate(x, np.ones(len(k)), mode="valid")),
        Mistake("int_buffer",  # 33
                "The results are collected in an integer array, which cuts off fractions.",
                lambda x, k: np.correlate(x, k, mode="valid").astype(int)),
    ],
    alternatives=[corr1d_loops, corr1d_shifted, corr1d_list],
    hints=[
        "How many places are there for a window of 2 elements in a signal of 4?",
        "With $x = (3, -1, 2, 5)$ and the kernel $(2, -4)$:\n\n"
        "| start | window | products | sum |\n|---|---|---|---|\n"
        "| 0 | 3, −1 | 6 + 4 | **10** |\n| 1 | −1, 2 | −2 − 8 | **−10** |\n"
        "| 2 | 2, 5 | 4 − 20 | **−16** |",
        "```\ny <- zeros                       # (len(x) - len(kernel) + 1,)\n"
        "for every start i\n    for every index a of the kernel\n"
        "        add to element i of y: element a of the kernel times the element of x that lies a after "
        "the start\n```",
        "The formula is $y_i = \\sum_a x_{i+a}\\,k_a$. Both indices grow together, so nothing is "
        "reflected. In the convolution $\\sum_i h_i\\,x_{n-i}$ one grows while the other falls.",
    ])


# --- window_response --------------------------------------------------------------------------------------


def window_response(window, kernel, bias):
    """Oracle: a torch convolution whose kernel is as large as its input."""
    import torch
    window, kernel = (torch.tensor(np.array(v))[None, None] for v in (window, kernel))
    return torch.nn.functional.conv2d(window, kernel, torch.tensor([bias], dtype=torch.float64)).item()


def response_loops(window, kernel, bias):
    total = bias
    for i in range(window.shape[0]):
        for j in range(window.shape[1]):
            total += window[i, j] * kernel[i, j]
    return total


def response_dot(window, kernel, bias):
    return window.ravel() @ kernel.ravel() + bias


def response_vdot(window, kernel, bias):
    return np.vdot(window, kernel) + bias


def random_window(rng):
    shape = rng.integers(1, 6, 2)
    return call(whole(*shape, rng=rng), eighths(*shape, rng=rng), float(rng.normal()))


WINDOW_RESPONSE = Exercise(
    id="window_response", points=1, oracle=window_response,
    probes=[call(np.array([[200.0, 150, 150], [100, 50, 100], [25, 25, 10]]),
                 np.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]), 0.0),
            call(np.array([[2.0, -3], [4, 1]]), np.array([[-1.0, 5], [2, 3]]), 0.6),
            call(whole(2, 3), whole(2, 3), -1.75), call(np.array([[-5.0]]), np.array([[0.5]]), 3.0),
            call(np.array([[3.0, -2], [1, 7]]), np.array([[4.0, -6], [2, -5]]), -1.4),
            call(strided(eighths(4, 3)), eighths(4, 3), 0.125)],
    random=random_window,
    mistakes=[
        Mistake("bias_missing",  # 23
                "The sum of products is right, but the bias is not added.",
                lambda w, k, b: float((w * k).sum())),
        Mistake("bias_per_product",  # 24
                "The bias is added once for every product. One output has one bias.",
                lambda w, k, b: float((w * k + b).sum())),
        Mistake("bias_is_int",  # 26
                "The bias has lost its fraction: 0.6 became 0.",
                lambda w, k, b: float((w * k).sum() + int(b))),
        Mistake("bias_scales",
                "The bias multiplies the sum of products. It is added.",
                lambda w, k, b: float((w * k).sum() * b)),
        Mistake("matrix_product",
                "`@` is the matrix product: it multiplies rows with columns. Here each pixel meets the "
                "weight at its own place.", lambda w, k, b: float((w @ k).sum() + b)),
        Mistake("flipped",  # 1
                "The kernel is rotated by 180° first. The response multiplies what lies at the same place.",
                lambda w, k, b: float((w * k[::-1, ::-1]).sum() + b)),
        Mistake("transposed",  # 3
                "The kernel is transposed: rows of the window meet columns of the kernel.",
                lambda w, k, b: float((w * k.T).sum() + b)),
        Mistake("mean",  # 38
                "The products are averaged instead of added.", lambda w, k, b: float((w * k).mean() + b)),
        Mistake("relu",  # 37
                "A negative response has become 0. A response may be negative; cutting it off is the job "
                "of a later layer.", lambda w, k, b: max(0.0, float((w * k).sum() + b))),
        Mistake("column_sums",
                "There is one sum for each column; they still have to be added up.",
                lambda w, k, b: (w * k).sum(axis=0) + b),
    ],
    alternatives=[response_loops, response_dot, response_vdot],
    hints=[
        "The window and the kernel have the same shape. Which number of the window meets which of the "
        "kernel?",
        "```\nwindow     kernel    products\n 2  -3     -1   5     -2  -15\n"
        " 4   1      2   3      8    3\n```\n\nThe products sum to −6; with bias 0.6 the response is −5.4.",
        "```\nproducts <- elementwise          # (kH, kW)\n"
        "response <- their sum, plus the bias once   # a number\n"
        "```",
        "Written as one long vector each, window and kernel have a dot product, and that is the response. "
        "A neuron does the same with all its inputs; here the inputs are one window.",
    ])


# --- cross_correlate2d ------------------------------------------------------------------------------------


def cross_correlate2d(x, kernel):
    """Oracle: torch's conv2d in float64."""
    import torch
    x, kernel = (torch.tensor(np.array(v, dtype=float))[None, None] for v in (x, kernel))
    return torch.nn.functional.conv2d(x, kernel)[0, 0].numpy()


def corr2d(x, kernel):
    """The building block of the mistakes below: windows times kernel."""
    return np.einsum("ijab,ab->ij", sliding_window_view(x, kernel.shape), kernel)


def corr2d_four_loops(x, kernel):
    out = np.zeros((x.shape[0] - kernel.shape[0] + 1, x.shape[1] - kernel.shape[1] + 1))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for a in range(kernel.shape[0]):
                for b in range(kernel.shape[1]):
                    out[i, j] += x[i + a, j + b] * kernel[a, b]
    return out


def corr2d_loop_over_kernel(x, kernel):
    rows, cols = x.shape[0] - kernel.shape[0] + 1, x.shape[1] - kernel.shape[1] + 1
    out = np.zeros((rows, cols))
    for (a, b), weight in np.ndenumerate(kernel):
        out += weight * x[a:a + rows, b:b + cols]
    return out


def corr2d_tensordot(x, kernel):
    return np.tensordot(sliding_window_view(x, kernel.shape), kernel, axes=2)


def corr2d_lists(x, kernel):
    kh, kw = kernel.shape
    return [[float(np.sum(x[i:i + kh, j:j + kw] * kernel)) for j in range(x.shape[1] - kw + 1)]
            for i in range(x.shape[0] - kh + 1)]


def corr2d_last_left_at_zero(x, kernel):
    out = corr2d(x, kernel)
    out[-1], out[:, -1] = 0, 0
    return out


def corr2d_swapped_start(x, kernel):
    out = np.zeros((x.shape[0] - kernel.shape[0] + 1, x.shape[1] - kernel.shape[1] + 1))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = (x[j:j + kernel.shape[0], i:i + kernel.shape[1]] * kernel).sum()
    return out


def corr2d_square_input(x, kernel):
    n = x.shape[0] - kernel.shape[0] + 1
    out = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            out[i, j] = (x[i:i + kernel.shape[0], j:j + kernel.shape[1]] * kernel).sum()
    return out


def corr2d_square_kernel(x, kernel):
    k = kernel.shape[0]
    out = np.zeros((x.shape[0] - k + 1, x.shape[1] - k + 1))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = (x[i:i + k, j:j + k] * kernel).sum()
    return out


def corr2d_same_size(x, kernel):
    kh, kw = kernel.shape
    padded = np.pad(x, (((kh - 1) // 2, kh // 2), ((kw - 1) // 2, kw // 2)))
    return corr2d(padded, kernel)


def corr2d_buffer_too_large(x, kernel):
    out = np.zeros(x.shape)
    y = corr2d(x, kernel)
    out[:y.shape[0], :y.shape[1]] = y
    return out


def corr2d_like_x(x, kernel):
    out = np.zeros_like(x, shape=(x.shape[0] - kernel.shape[0] + 1, x.shape[1] - kernel.shape[1] + 1))
    with np.errstate(invalid="ignore"):
        out[...] = np.trunc(corr2d(x, kernel)).astype(np.int64) if x.dtype.kind in "ui" else corr2d(x, kernel)
    return out


PIXELS = RNG.integers(0, 256, (4, 5)).astype(np.uint8)

CROSS_CORRELATE2D = Exercise(
    id="cross_correlate2d", points=3, oracle=cross_correlate2d,
    probes=[call(np.array([[3.0, -1, 4, 0], [2, 5, -6, 1], [-2, 7, 1, -3]]), np.array([[1.0, -2], [0, 3]])),
            call(whole(5, 4), whole(2, 3)), call(whole(4, 7), whole(3, 2)),
            call(eighths(5, 6), eighths(3, 3)),
            call(whole(3, 2), np.array([[-1.5]])), call(whole(2, 4), whole(2, 4)),
            call(strided(whole(5, 3)), eighths(3, 1)), call(PIXELS, eighths(2, 3))],
    random=image_and_kernel,
    mistakes=[
        Mistake("convolves",  # 1
                "The kernel is rotated by 180°: that is convolution. Cross-correlation uses it as it is.",
                lambda x, k: corr2d(x, k[::-1, ::-1])),
        Mistake("flips_rows",  # 2
                "The rows of the kernel are used from bottom to top.", lambda x, k: corr2d(x, k[::-1])),
        Mistake("flips_columns",  # 2
                "The columns of the kernel are used from right to left.", lambda x, k: corr2d(x, k[:, ::-1])),
        Mistake("transposed_kernel",  # 3
                "The kernel is transposed. Row `a` of the kernel belongs to row `a` of the window.",
                lambda x, k: corr2d(x, k.T)),
        Mistake("transposed_output",  # 4
                "The output is transposed: its first index should count rows of `x`.",
                lambda x, k: corr2d(x, k).T),
        Mistake("swapped_start",  # 5
                "The window for output [i, j] starts at row j and column i: the two are exchanged.",
                corr2d_swapped_start),
        Mistake("square_input",  # 6
                "The number of columns of the output is taken from the number of rows. `x` need not be "
                "square.", corr2d_square_input),
        Mistake("square_kernel",  # 7
                "The kernel's height is used for its width too. A kernel need not be square.",
                corr2d_square_kernel),
        Mistake("one_too_short",  # 10
                "The last row and the last column of windows are missing. Two rows fit into three rows at "
                "two places.", lambda x, k: corr2d(x, k)[:-1, :-1]),
        Mistake("buffer_too_large",
                "The array for the results has the size of `x`; the places that no window writes to keep "
                "their zeros. How many windows are there?", corr2d_buffer_too_large),
        Mistake("same_size",
                "The output is as large as `x`, so some windows stick out and were filled with zeros. "
                "Only windows fully inside `x` count here.", corr2d_same_size),
        Mistake("disjoint_windows",  # 19
                "The window jumps by its own size. It should move on by one pixel.",
                lambda x, k: corr2d(x, k)[::k.shape[0], ::k.shape[1]]),
        Mistake("last_product_only",
                "Only the last product of each window is left: each replaces the one before. The products "
                "of one window add up.", lambda x, k: x[k.shape[0] - 1:, k.shape[1] - 1:] * k[-1, -1]),
        Mistake("mean",  # 38
                "The products of a window are averaged instead of added.",
                lambda x, k: corr2d(x, k) / k.size),
        Mistake("matrix_product",
                "`@` is the matrix product. Here each pixel of the window meets the weight at its own "
                "place.", lambda x, k: np.einsum("ijab,bc->ij", sliding_window_view(x, k.shape), k)),
        Mistake("buffer_like_x",  # 33
                "The output has the dtype of `x`. For a photograph of whole numbers (uint8), that cuts "
                "off fractions and wraps negative values round.", corr2d_like_x),
        Mistake("last_left_at_zero",  # 10
                "The shape is right, but the last row and the last column are never written. Check where "
                "your loops stop.", corr2d_last_left_at_zero),
        Mistake("kernel_one_short",  # 10
                "The last row and column of the kernel are never used. A slice `start:stop` leaves out "
                "`stop`: how many elements does yours hold?",
                lambda x, k: np.einsum("ijab,ab->ij", sliding_window_view(x, k.shape)[..., :-1, :-1],
                                       k[:-1, :-1])),
        Mistake("float32",  # 34
                "The result is computed in float32: half the digits are lost.",
                lambda x, k: corr2d(x.astype(np.float32), k.astype(np.float32))),
    ],
    alternatives=[corr2d_four_loops, corr2d_loop_over_kernel, corr2d_tensordot, corr2d_lists],
    hints=[
        "Put a 2×2 kernel on a 3×4 image. At how many rows can its top left corner lie? At how many "
        "columns?",
        "The window of output [1, 2] starts at row 1, column 2 of the image:\n\n"
        "```\n 3  -1   4   0\n          +-------+\n 2   5  | -6   1  |     · [1 -2] = -6·1 + 1·(-2) + 1·0 "
        "+ (-3)·3 = -17\n-2   7  |  1  -3  |       [0  3]\n"
        "          +-------+\n```",
        "```\nout <- zeros                     # (H - kH + 1, W - kW + 1)\n"
        "for every row i of out\n    for every column j of out\n"
        "        window <- the kH x kW pixels of x with corner (i, j)\n"
        "        element (i, j) of out <- sum of window times kernel, elementwise\n"
        "```",
        "The output has one number for each place where the kernel fits, and the index of the output *is* "
        "that place. So the size follows from the last place: the corner can go down to row $H - kH$, "
        "which are $H - kH + 1$ rows.",
    ])


# --- rotate180 --------------------------------------------------------------------------------------------


def rotate180(kernel):
    """Oracle: torch's rotation by 90°, twice."""
    import torch
    return torch.rot90(torch.tensor(np.array(kernel)), 2).numpy()


def rotate_loops(kernel):
    h, w = kernel.shape
    out = np.zeros((h, w))
    for i in range(h):
        for j in range(w):
            out[h - 1 - i, w - 1 - j] = kernel[i, j]
    return out


def rotate_two_flips(kernel):
    return np.flipud(np.fliplr(kernel))


def rotate_ravel(kernel):
    return kernel.ravel()[::-1].reshape(kernel.shape)


def rotated_in_place(kernel):
    kernel[...] = kernel[::-1, ::-1].copy()
    return kernel


ROTATE180 = Exercise(
    id="rotate180", points=1, oracle=rotate180,
    probes=[call(np.array([[1.0, -2, 3], [0, 5, 4]])), call(np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])),
            call(whole(4, 3)), call(np.array([[2.5, -1.0, 7.0]])), call(whole(5, 1)),
            call(strided(eighths(2, 4))), call(np.array([[-4.0]]))],
    random=lambda rng: call(eighths(*rng.integers(1, 6, 2), rng=rng)),
    mistakes=[
        Mistake("rows_only",  # 2
                "Only the rows are reversed. After half a turn, left and right are exchanged too.",
                lambda k: k[::-1]),
        Mistake("columns_only",
                "Only the columns are reversed. After half a turn, top and bottom are exchanged too.",
                lambda k: k[:, ::-1]),
        Mistake("transposes",  # 3
                "The kernel is transposed, which reflects it at its diagonal. The 1 of the 3×3 kernel 1 … "
                "9 should move to the bottom right; here it stays where it was.", lambda k: k.T),
        Mistake("quarter_turn",
                "That is a rotation by 90°: rows became columns.", lambda k: np.rot90(k)),
        Mistake("anti_transposes",
                "The kernel is reversed and transposed. Half a turn leaves the shape alone.",
                lambda k: k[::-1, ::-1].T),
        Mistake("sorts",
                "The values are sorted from large to small. That agrees for the kernel 1 … 9 by accident; "
                "a rotation moves places, whatever the values are.",
                lambda k: np.sort(k, axis=None)[::-1].reshape(k.shape)),
        Mistake("negates",
                "The signs have changed. For a Sobel kernel that looks like a rotation; in general it is "
                "not.", lambda k: -k),
        Mistake("unchanged",
                "The kernel comes back as it was.", lambda k: k.copy()),
        Mistake("flattens",
                "The values are in the right order, but in one dimension. Keep the kernel's shape.",
                lambda k: k.ravel()[::-1]),
        Mistake("changes_input",  # 32
                "The caller's kernel is turned round in place.", rotated_in_place),
    ],
    alternatives=[rotate_loops, rotate_two_flips, rotate_ravel],
    hints=[
        "Turn the page upside down. Where is the number that was at the top left?",
        "```\n1 -2  3         4  5  0\n0  5  4   -->   3 -2  1\n"
        "```",
        "```\nfor every element (i, j) of the kernel     # (kH, kW)\n"
        "    it moves to row kH - 1 - i, column kW - 1 - j\n"
        "```\n\nA slice can count backwards, along more than one axis at once.",
        "Half a turn is two reflections: top with bottom, and left with right. Convolution needs both, "
        "because the formula $x(r-a, c-b)\\,k(a,b)$ has a minus in both indices.",
    ])


# --- convolve2d -------------------------------------------------------------------------------------------


def convolve2d(x, kernel):
    """Oracle: SciPy's convolve2d."""
    from scipy.signal import convolve2d as scipy_convolve2d
    return scipy_convolve2d(x, kernel, mode="valid")


def conv2d_windows(x, kernel):
    return np.einsum("ijab,ab->ij", sliding_window_view(x, kernel.shape), np.rot90(kernel, 2))


def conv2d_minus_indices(x, kernel):
    kh, kw = kernel.shape
    out = np.zeros((x.shape[0] - kh + 1, x.shape[1] - kw + 1))
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            for a in range(kh):
                for b in range(kw):
                    out[r, c] += x[r + kh - 1 - a, c + kw - 1 - b] * kernel[a, b]
    return out


def conv2d_crop_of_full(x, kernel):
    (h, w), (kh, kw) = x.shape, kernel.shape
    full = np.zeros((h + kh - 1, w + kw - 1))
    for (i, j), value in np.ndenumerate(x):
        full[i:i + kh, j:j + kw] += value * kernel
    return full[kh - 1:h, kw - 1:w]


def conv2d_full(x, kernel):
    kh, kw = kernel.shape
    return corr2d(np.pad(x, ((kh - 1, kh - 1), (kw - 1, kw - 1))), kernel[::-1, ::-1])


CONVOLVE2D = Exercise(
    id="convolve2d", points=2, oracle=convolve2d,
    probes=[call(np.array([[3.0, -1, 4, 0], [2, 5, -6, 1], [-2, 7, 1, -3]]), np.array([[1.0, -2], [0, 3]])),
            call(whole(6, 5), whole(3, 2)), call(whole(4, 6), whole(2, 4)),
            call(eighths(5, 6), eighths(3, 3)),
            call(whole(3, 2), np.array([[-1.5]])), call(whole(3, 4), whole(3, 4)),
            call(strided(eighths(5, 4)), strided(eighths(3, 2)))],
    random=image_and_kernel,
    mistakes=[
        Mistake("cross_correlates",  # 1
                "The kernel is used as it is: that is cross-correlation. Which step turns one into the "
                "other?", corr2d),
        Mistake("flips_rows_only",  # 2
                "The kernel is reflected top to bottom only. Both of its axes have to turn.",
                lambda x, k: corr2d(x, k[::-1])),
        Mistake("flips_columns_only",
                "The kernel is reflected left to right only. Both of its axes have to turn.",
                lambda x, k: corr2d(x, k[:, ::-1])),
        Mistake("transposes",  # 3
                "The kernel is transposed instead of rotated.", lambda x, k: corr2d(x, k.T)),
        Mistake("quarter_turn",
                "The kernel is rotated by 90°, which exchanges its height and width.",
                lambda x, k: corr2d(x, np.rot90(k))),
        Mistake("rotates_image",
                "The image is rotated in place of the kernel. The products are then the right ones, but "
                "the result stands upside down.", lambda x, k: corr2d(x[::-1, ::-1], k)),
        Mistake("rotates_result",
                "The result of the cross-correlation is rotated. That is not the same as rotating the "
                "kernel.", lambda x, k: corr2d(x, k)[::-1, ::-1]),
        Mistake("full",
                "Outputs are computed where the kernel sticks out of the image too. Only windows fully "
                "inside count here.", conv2d_full),
        Mistake("same_size",
                "The output is as large as `x`, so some windows were filled up with zeros. Only windows "
                "fully inside count here.", lambda x, k: corr2d_same_size(x, k[::-1, ::-1])),
        Mistake("normalises",  # 38
                "The result is divided by the sum of the kernel's weights.",
                lambda x, k: corr2d(x, k[::-1, ::-1]) / k.sum()),
        Mistake("changes_input",  # 32
                "The caller's kernel is rotated in place.", in_place(lambda k: k[::-1, ::-1], corr2d)),
    ],
    alternatives=[conv2d_windows, conv2d_minus_indices, conv2d_crop_of_full],
    hints=[
        "You have a function that slides a kernel without turning it, and one that turns it. In which "
        "order do you need them?",
        "```\nkernel   rotated   window at (0, 0)\n1 -2      3  0         3 -1\n"
        "0  3     -2  1         2  5\n```\n\n$3·3 + 0·(-1) + (-2)·2 + 1·5 = 10$. Without the rotation it "
        "would be $3 + 2 + 0 + 15 = 20$.",
        "```\nrotated <- the kernel, turned by half a turn    # (kH, kW)\n"
        "result  <- cross-correlation of x and rotated    # (H - kH + 1, W - kW + 1)\n"
        "```",
        "In $\\sum x(r-a, c-b)\\,k(a,b)$ the image is read backwards while the kernel is read forwards. "
        "Reading the image forwards and the kernel backwards pairs the same numbers, and that is a "
        "cross-correlation.",
    ])


# --- gaussian_kernel --------------------------------------------------------------------------------------


def gaussian_kernel(size, sigma):
    """Oracle: SciPy's Gaussian window, once along each axis."""
    from scipy.signal.windows import gaussian
    line = gaussian(size, sigma)
    return np.outer(line, line) / line.sum() ** 2


def gauss_grid(size, sigma, centre=None, power=2.0, scale=2.0):
    """exp(-d^power / (scale sigma^2)), unnormalised."""
    offsets = np.arange(size) - ((size - 1) / 2 if centre is None else centre)
    distance = np.hypot(offsets[:, None], offsets[None, :])
    return np.exp(-distance ** power / (scale * sigma ** 2))


def unit_sum(kernel):
    return kernel / kernel.sum()


def gauss_loops(size, sigma):
    kernel = np.zeros((size, size))
    middle = (size - 1) / 2
    for i in range(size):
        for j in range(size):
            kernel[i, j] = np.exp(-((i - middle) ** 2 + (j - middle) ** 2) / (2 * sigma ** 2))
    return kernel / kernel.sum()


def gauss_outer(size, sigma):
    offsets = np.linspace(-(size - 1) / 2, (size - 1) / 2, size)
    line = np.exp(-0.5 * (offsets / sigma) ** 2)
    line /= line.sum()
    return line[:, None] * line


def gauss_density(size, sigma):
    return unit_sum(gauss_grid(size, sigma) / (2 * np.pi * sigma ** 2))


GAUSSIAN_KERNEL = Exercise(
    id="gaussian_kernel", points=2, oracle=gaussian_kernel,
    probes=[call(3, 0.8), call(5, 1.5), call(4, 1.2), call(7, 2.0), call(1, 0.7), call(2, 0.5)],
    random=lambda rng: call(int(rng.integers(1, 8)), float(rng.uniform(0.5, 2.5))),
    mistakes=[
        Mistake("not_normalised",
                "The shape is right, but the weights do not sum to 1. A blur with them would make the "
                "image brighter.", lambda n, s: gauss_grid(n, s)),
        Mistake("analytic_constant",
                "The weights are divided by 2πσ², which makes the integral 1. The sum of these few "
                "samples is then not 1.", lambda n, s: gauss_grid(n, s) / (2 * np.pi * s ** 2)),
        Mistake("no_factor_two",
                "The exponent lacks the 2: it divides by σ², not by 2σ².",
                lambda n, s: unit_sum(gauss_grid(n, s, scale=1.0))),
        Mistake("sigma_not_squared",
                "The exponent divides by 2σ. Distance and sigma are both squared.",
                lambda n, s: unit_sum(gauss_grid(n, s ** 0.5))),
        Mistake("sigma_multiplied",
                "The exponent is multiplied by σ²: `/ 2 * sigma**2` divides by 2 only. What is divided by "
                "needs brackets.", lambda n, s: unit_sum(gauss_grid(n, 1 / s))),
        Mistake("unit_range",
                "The offsets run from −1 to 1 whatever the size. Sigma is in pixels, so neighbours are 1 "
                "apart.", lambda n, s: unit_sum(gauss_grid(n, s * (n - 1) / 2 if n > 1 else s))),
        Mistake("distance_not_squared",
                "The exponent holds the distance, not its square: the peak is too sharp.",
                lambda n, s: unit_sum(gauss_grid(n, s, power=1.0))),
        Mistake("plus_sign",
                "The exponent is positive: weights grow away from the centre.",
                lambda n, s: unit_sum(1 / gauss_grid(n, s))),
        Mistake("centre_rounded_down",
                "The centre lies between two elements when the size is even. It was rounded down to an "
                "element.", lambda n, s: unit_sum(gauss_grid(n, s, centre=(n - 1) // 2))),
        Mistake("centre_rounded_up",
                "The centre lies between two elements when the size is even. It was rounded up to an "
                "element.", lambda n, s: unit_sum(gauss_grid(n, s, centre=n // 2))),
        Mistake("centre_at_size_half",
                "The centre is taken at size / 2, half an element too far: indices start at 0, so the "
                "middle of 0, 1, 2 is 1.", lambda n, s: unit_sum(gauss_grid(n, s, centre=n / 2))),
        Mistake("centre_in_corner",
                "Distances are measured from element [0, 0], so the peak sits in a corner.",
                lambda n, s: unit_sum(gauss_grid(n, s, centre=0))),
        Mistake("peak_one",
                "The largest weight is scaled to 1. The sum of all weights should be 1.",
                lambda n, s: gauss_grid(n, s) / gauss_grid(n, s).max()),
        Mistake("rows_normalised",
                "Each row sums to 1. All weights together should.",
                lambda n, s: gauss_grid(n, s) / gauss_grid(n, s).sum(axis=1, keepdims=True)),
        Mistake("one_dimension",
                "That is the one-dimensional kernel. The result has `size` rows too.",
                lambda n, s: unit_sum(np.exp(-((np.arange(n) - (n - 1) / 2) ** 2) / (2 * s ** 2)))),
        Mistake("box",
                "Every weight is the same: sigma is not used.", lambda n, s: np.full((n, n), 1 / n ** 2)),
    ],
    alternatives=[gauss_loops, gauss_outer, gauss_density],
    hints=[
        "How far is element [0, 1] of a 3×3 kernel from the centre? And element [0, 0]?",
        "For size 3 and any sigma, the squared distances $d^2$ from the centre:\n\n"
        "```\n2 1 2\n1 0 1\n2 1 2\n```\n\nFor size 4 the centre lies between elements, and the first row "
        "of $d^2$ is 4.5, 2.5, 2.5, 4.5.",
        "```\noffsets <- index minus (size - 1)/2              # (size,)\n"
        "d2      <- squares of row and column offset, added   # (size, size)\n"
        "weights <- exp(-d2 / (2 sigma^2))                # (size, size)\n"
        "result  <- weights divided by their sum\n```",
        "Dividing by the sum makes the blur keep the mean brightness: on a constant image every output "
        "equals the input. The constant of the continuous density cancels in that division, so you can "
        "leave it out.",
    ])


# --- sobel_magnitude --------------------------------------------------------------------------------------

SOBEL_X = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
SOBEL_Y = SOBEL_X.T
PREWITT_X = np.array([[-1.0, 0, 1], [-1, 0, 1], [-1, 0, 1]])


def sobel_magnitude(x):
    """Oracle: SciPy's Sobel filters, without the border it makes up."""
    from scipy.ndimage import sobel
    return np.hypot(sobel(x, axis=0), sobel(x, axis=1))[1:-1, 1:-1]


def gradients(x, kernel=SOBEL_X):
    return corr2d(x, kernel), corr2d(x, kernel.T)


def sobel_slices(x):
    left, right, top, bottom = x[:, :-2], x[:, 2:], x[:-2], x[2:]
    dx, dy = right - left, bottom - top
    gx = dx[:-2] + 2 * dx[1:-1] + dx[2:]
    gy = dy[:, :-2] + 2 * dy[:, 1:-1] + dy[:, 2:]
    return np.sqrt(gx ** 2 + gy ** 2)


def sobel_by_loops(x):
    out = np.zeros((x.shape[0] - 2, x.shape[1] - 2))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            window = x[i:i + 3, j:j + 3]
            out[i, j] = ((window * SOBEL_X).sum() ** 2 + (window * SOBEL_Y).sum() ** 2) ** 0.5
    return out


def sobel_complex(x):
    return np.abs(corr2d(x, SOBEL_X) + 1j * corr2d(x, SOBEL_Y))


def sobel_convolved(x):
    return np.hypot(convolve2d(x, SOBEL_X), convolve2d(x, SOBEL_Y))


SOBEL_MAGNITUDE = Exercise(
    id="sobel_magnitude", points=2, oracle=sobel_magnitude,
    probes=[call(np.array([[2.0, -1, 4, 0], [3, 5, -6, 1], [-2, 7, 1, -3]])), call(whole(5, 4)),
            call(whole(4, 7)), call(eighths(6, 5)), call(whole(3, 3)), call(strided(whole(5, 3)))],
    random=lambda rng: call(eighths(*rng.integers(3, 8, 2), rng=rng)),
    mistakes=[
        Mistake("horizontal_only",
                "Only the change from left to right is used. An edge that runs horizontally would stay "
                "unseen.", lambda x: np.abs(gradients(x)[0])),
        Mistake("vertical_only",
                "Only the change from top to bottom is used. An edge that runs vertically would stay "
                "unseen.", lambda x: np.abs(gradients(x)[1])),
        Mistake("sum_of_absolutes",
                "The absolute values of the two responses are added. The length of a vector is the root "
                "of the sum of squares.", lambda x: np.abs(gradients(x)).sum(axis=0)),
        Mistake("no_root",
                "The squares are added, but the root is missing.",
                lambda x: gradients(x)[0] ** 2 + gradients(x)[1] ** 2),
        Mistake("adds_before_squaring",
                "The two responses are added and then made positive, so opposite ones cancel. Each is "
                "squared first.", lambda x: np.abs(gradients(x)[0] + gradients(x)[1])),
        Mistake("signed_sum",
                "The two responses are added with their signs; a magnitude is never negative.",
                lambda x: gradients(x)[0] + gradients(x)[1]),
        Mistake("larger_of_two",
                "The larger of the two responses is returned. Both count.",
                lambda x: np.abs(gradients(x)).max(axis=0)),
        Mistake("prewitt",
                "The middle row of the kernel has weight 1 (the Prewitt kernel). In Sobel's it counts "
                "double.", lambda x: np.hypot(*gradients(x, PREWITT_X))),
        Mistake("same_kernel_twice",
                "The second kernel measures the same direction as the first: rotating by 180° only "
                "changes the sign. It should measure the other direction.",
                lambda x: np.sqrt(2) * np.abs(gradients(x)[0])),
        Mistake("padded",
                "The output is as large as `x`: zeros were added around it, and they look like an edge. "
                "Only windows fully inside count.", lambda x: np.hypot(*gradients(np.pad(x, 1)))),
        Mistake("divided_by_eight",  # 38
                "The result is divided by 8. That makes it a slope per pixel; here the plain responses "
                "are used.", lambda x: np.hypot(*gradients(x)) / 8),
        Mistake("scaled_to_one",
                "The result is scaled so that its largest value is 1, which hides how strong the edges "
                "are.", lambda x: np.hypot(*gradients(x)) / np.hypot(*gradients(x)).max()),
        Mistake("rounded",  # 33
                "The magnitudes are cut to whole numbers.", lambda x: np.hypot(*gradients(x)).astype(int)),
    ],
    alternatives=[sobel_slices, sobel_by_loops, sobel_complex, sobel_convolved],
    hints=[
        "The two responses at a pixel are the components of a vector. What is the length of the vector "
        "(3, 4)?",
        "For the window\n\n```\n 2 -1  4\n 3  5 -6\n-2  7  1\n"
        "```\n\nthe horizontal response is $(4-2) + 2(-6-3) + (1+2) = -13$, the vertical one $(-2-2) + "
        "2(7+1) + (1-4) = 9$, and the magnitude $\\sqrt{169 + 81} \\approx 15.8$.",
        "```\ngx     <- cross-correlation of x with the first kernel      # (H - 2, W - 2)\n"
        "gy     <- cross-correlation of x with its transpose          # (H - 2, W - 2)\n"
        "result <- root of gx squared plus gy squared, elementwise\n"
        "```",
        "$(g_x, g_y)$ points in the direction in which the image gets brighter, and its length says how "
        "fast. The length does not depend on signs, so here the flip of convolution makes no difference.",
    ])


# --- separable_filter -------------------------------------------------------------------------------------


def separable_filter(x, column, row):
    """Oracle: one torch conv2d with the outer product."""
    return cross_correlate2d(x, np.outer(column, row))


def down(x, column):
    return corr2d(x, column[:, None])


def across(x, row):
    return corr2d(x, row[None, :])


def separable_rows_first(x, column, row):
    return down(across(x, row), column)


def separable_shifted_sums(x, column, row):
    h, w = x.shape[0] - len(column) + 1, x.shape[1] - len(row) + 1
    tall = sum(column[a] * x[a:a + h] for a in range(len(column)))
    return sum(row[b] * tall[:, b:b + w] for b in range(len(row)))


def separable_lines(x, column, row):
    tall = np.array([np.correlate(line, column, mode="valid") for line in x.T]).T
    return np.array([np.correlate(line, row, mode="valid") for line in tall])


def separable_outer(x, column, row):
    return corr2d(x, np.outer(column, row))


def separable_added(x, column, row):
    tall, wide = down(x, column), across(x, row)
    return tall[:, :x.shape[1] - len(row) + 1] + wide[:x.shape[0] - len(column) + 1]


def random_separable(rng):
    (kh, kw), image = fitting(rng)
    return call(whole(*image, rng=rng), eighths(kh, rng=rng), eighths(kw, rng=rng))


SEPARABLE_FILTER = Exercise(
    id="separable_filter", points=2, oracle=separable_filter,
    probes=[call(np.array([[3.0, -1, 4, 0], [2, 5, -6, 1], [-2, 7, 1, -3]]),
                 np.array([1.0, -2]), np.array([3.0, 0, 2])),
            call(whole(6, 5), whole(3), whole(2)), call(whole(4, 7), whole(2), whole(4)),
            call(eighths(5, 6), eighths(3), eighths(3)), call(whole(4, 3), np.array([-1.5]), whole(3)),
            call(whole(3, 5), whole(3), np.array([2.5])),
            call(strided(whole(5, 4)), strided(whole(2)), strided(whole(3)))],
    random=random_separable,
    mistakes=[
        Mistake("swapped",  # 8
                "`column` runs along the rows and `row` along the columns: the two are exchanged. "
                "`column` combines pixels that lie one below the other.",
                lambda x, c, r: across(down(x, r), c)),
        Mistake("convolves",  # 1
                "Both vectors are reversed, as in a convolution. Here nothing is reversed.",
                lambda x, c, r: across(down(x, c[::-1]), r[::-1])),
        Mistake("reverses_column",  # 2
                "`column` is reversed. Here nothing is reversed.",
                lambda x, c, r: across(down(x, c[::-1]), r)),
        Mistake("reverses_row",
                "`row` is reversed. Here nothing is reversed.", lambda x, c, r: across(down(x, c), r[::-1])),
        Mistake("column_only",
                "Only the pass with `column` is done.", lambda x, c, r: down(x, c)),
        Mistake("row_only",
                "Only the pass with `row` is done.", lambda x, c, r: across(x, r)),
        Mistake("adds_passes",
                "Each pass is applied to the image and the results are added. The second pass works on "
                "the result of the first.", separable_added),
        Mistake("adds_vectors",
                "The kernel is built from the sums column[a] + row[b]. Two passes multiply the weights.",
                lambda x, c, r: corr2d(x, np.add.outer(c, r))),
        Mistake("same_size",
                "The output is as large as `x`, so windows were filled up with zeros. Only windows fully "
                "inside count.", lambda x, c, r: corr2d_same_size(x, np.outer(c, r))),
        Mistake("transposed_output",  # 4
                "The output is transposed: an axis was turned for one pass and not turned back.",
                lambda x, c, r: across(down(x, c), r).T),
        Mistake("int_buffer",  # 33
                "The results are kept in an integer array, which cuts off fractions.",
                lambda x, c, r: across(down(x, c), r).astype(int)),
    ],
    alternatives=[separable_rows_first, separable_shifted_sums, separable_lines, separable_outer],
    hints=[
        "A `column` of 3 elements is also a kernel. What is its shape as a two-dimensional array?",
        "First pass, with `column` = (1, −2): each pixel minus twice the one below.\n\n"
        "```\n 3 -1  4  0\n 2  5 -6  1    -->    -1 -11  16  -2\n"
        "-2  7  1 -3            6  -9  -8   7\n```\n\nSecond pass, with `row` = (3, 0, 2), on that: first "
        "element $3·(-1) + 2·16 = 29$.",
        "```\ntall <- x filtered with column as a (kH, 1) kernel      # (H - kH + 1, W)\n"
        "out  <- tall filtered with row as a (1, kW) kernel      # (H - kH + 1, W - kW + 1)\n"
        "```",
        "$\\sum_a \\sum_b x(r+a, c+b)\\,u(a)\\,v(b) = \\sum_b v(b) \\left[\\sum_a x(r+a, "
        "c+b)\\,u(a)\\right]$: the inner sum is the first pass, the outer one the second. It works "
        "because the weight $u(a)\\,v(b)$ is a product.",
    ])


# --- separable_cost ---------------------------------------------------------------------------------------


def separable_cost(height, width, kernel_height, kernel_width):
    """Oracle: torch's own count of operations (two per multiplication) on convolutions without data."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    def multiplications(*kernels):
        x = torch.empty(1, 1, height, width, device="meta")
        with FlopCounterMode(display=False) as counter:
            for shape in kernels:
                x = torch.nn.functional.conv2d(x, torch.empty(1, 1, *shape, device="meta"))
        return counter.get_total_flops() // 2

    return (multiplications((kernel_height, kernel_width)),
            multiplications((kernel_height, 1), (1, kernel_width)))


def cost_named_steps(height, width, kernel_height, kernel_width):
    out_height, out_width = height - kernel_height + 1, width - kernel_width + 1
    first = out_height * width * kernel_height
    second = out_height * out_width * kernel_width
    return out_height * out_width * kernel_height * kernel_width, first + second


def cost_counted(height, width, kernel_height, kernel_width):
    rows, cols = range(height - kernel_height + 1), range(width - kernel_width + 1)
    direct = sum(kernel_height * kernel_width for _ in rows for _ in cols)
    down = sum(kernel_height for _ in rows for _ in range(width))
    return [direct, down + sum(kernel_width for _ in rows for _ in cols)]


def cost_numpy(height, width, kernel_height, kernel_width):
    out = np.array([height - kernel_height + 1, width - kernel_width + 1])
    return np.array([out.prod() * kernel_height * kernel_width,
                     out[0] * (width * kernel_height + out[1] * kernel_width)])


def out_sizes(h, w, kh, kw):
    return h - kh + 1, w - kw + 1


def cost_rows_first(h, w, kh, kw):
    oh, ow = out_sizes(h, w, kh, kw)
    return oh * ow * kh * kw, h * ow * kw + oh * ow * kh


def cost_small_first_pass(h, w, kh, kw):
    oh, ow = out_sizes(h, w, kh, kw)
    return oh * ow * kh * kw, oh * ow * (kh + kw)


def cost_full_first_pass(h, w, kh, kw):
    oh, ow = out_sizes(h, w, kh, kw)
    return oh * ow * kh * kw, h * w * kh + oh * ow * kw


def cost_multiplied(h, w, kh, kw):
    oh, ow = out_sizes(h, w, kh, kw)
    return oh * ow * kh * kw, oh * w * kh * (oh * ow * kw)


def random_cost(rng):
    kernel, image = fitting(rng, most=9)
    return call(*image.tolist(), *kernel.tolist())


SEPARABLE_COST = Exercise(
    id="separable_cost", points=2, oracle=separable_cost,
    probes=[call(3, 4, 2, 3), call(10, 7, 3, 5), call(32, 48, 5, 2), call(6, 9, 1, 4), call(9, 6, 4, 1),
            call(5, 8, 5, 8), call(427, 640, 15, 15)],
    random=random_cost,
    mistakes=[
        Mistake("per_pixel",
                "These are the multiplications for one output pixel. The question asks for the whole "
                "output.", lambda h, w, kh, kw: (kh * kw, kh + kw)),
        Mistake("padded_output",
                "The output is taken to be as large as the image. Without padding it is smaller.",
                lambda h, w, kh, kw: (h * w * kh * kw, h * w * (kh + kw))),
        Mistake("no_plus_one",  # 10
                "The output is one row and one column larger: a 3-row kernel fits into 3 rows once, not "
                "never.",
                lambda h, w, kh, kw: ((h - kh) * (w - kw) * kh * kw,
                                      (h - kh) * w * kh + (h - kh) * (w - kw) * kw)),
        Mistake("first_pass_too_small",
                "The first pass is counted on the final width. It only shortens the columns; its result "
                "still has all the columns of the image.", cost_small_first_pass),
        Mistake("first_pass_too_large",
                "The first pass is counted for every row of the image. It also loses rows.",
                cost_full_first_pass),
        Mistake("rows_first",
                "The passes are counted in the other order. Here the column comes first.", cost_rows_first),
        Mistake("multiplied",
                "The costs of the two passes are multiplied. They are done one after the other.",
                cost_multiplied),
        Mistake("swapped_results",
                "The two numbers are right, in the other order: direct first.",
                lambda *a: cost_named_steps(*a)[::-1]),
        Mistake("counts_additions",
                "Multiplications and additions are both counted, twice the answer.",
                lambda *a: tuple(2 * v for v in cost_named_steps(*a))),
        Mistake("kernel_swapped",  # 8
                "The kernel's height and width are exchanged.",
                lambda h, w, kh, kw: cost_named_steps(h, w, kw, kh)),
        Mistake("floats",
                "The counts are floats. Counts are whole numbers: avoid `/`.",
                lambda *a: tuple(float(v) for v in cost_named_steps(*a))),
        Mistake("ratio",
                "That is how many times cheaper it is. Return the two counts.",
                lambda *a: cost_named_steps(*a)[0] / cost_named_steps(*a)[1]),
    ],
    alternatives=[cost_named_steps, cost_counted, cost_numpy],
    hints=[
        "How many multiplications does one output pixel need with a 2×3 kernel? How many output pixels "
        "are there?",
        "A 3×4 image, a column of 2 and a row of 3:\n\n| step | outputs | multiplications each | total |\n"
        "|---|---|---|---|\n| direct, 2×3 | 2 × 2 | 6 | 24 |\n"
        "| column, 2×1 | 2 × 4 | 2 | 16 |\n| row, 1×3 | 2 × 2 | 3 | 12 |\n\n"
        "So the answer is (24, 28): for so small an image two passes cost more.",
        "```\ndirect    <- outputs of the 2-D kernel times its number of weights\n"
        "separable <- outputs of the column pass times kH, plus outputs of the row pass times kW\n"
        "```\n\nThe column pass gives an array of shape (H − kH + 1, W).",
        "On a large image the borders hardly matter and the ratio is $kH \\cdot kW : (kH + kW)$, which grows "
        "like $k/2$ for square kernels. Only the border makes the count depend on which pass comes first.",
    ])


# --- fft_convolve2d ---------------------------------------------------------------------------------------


def fft_convolve2d(x, kernel):
    """Oracle: SciPy's direct convolution, without any transform."""
    from scipy.signal import convolve2d as scipy_convolve2d
    return scipy_convolve2d(x, kernel, mode="full")


def full_shape(x, kernel):
    return x.shape[0] + kernel.shape[0] - 1, x.shape[1] + kernel.shape[1] - 1


def fft_complex(x, kernel):
    shape = full_shape(x, kernel)
    return np.real(np.fft.ifft2(np.fft.fft2(x, s=shape) * np.fft.fft2(kernel, s=shape)))


def fft_padded_by_hand(x, kernel):
    (h, w), (kh, kw) = x.shape, kernel.shape
    a, b = np.pad(x, ((0, kh - 1), (0, kw - 1))), np.pad(kernel, ((0, h - 1), (0, w - 1)))
    return np.fft.irfft2(np.fft.rfft2(a) * np.fft.rfft2(b), s=a.shape)


def fft_axis_by_axis(x, kernel):
    rows, cols = full_shape(x, kernel)
    fx = np.fft.fft(np.fft.fft(x, rows, axis=0), cols, axis=1)
    fk = np.fft.fft(np.fft.fft(kernel, rows, axis=0), cols, axis=1)
    return np.fft.ifft(np.fft.ifft(fx * fk, axis=0), axis=1).real


def fft_larger_then_cut(x, kernel):
    rows, cols = full_shape(x, kernel)
    size = (16, 16)
    y = np.fft.ifft2(np.fft.fft2(x, size) * np.fft.fft2(kernel, size)).real
    return y[:rows, :cols]


def fft_circular(x, kernel):
    return np.fft.ifft2(np.fft.fft2(x) * np.fft.fft2(kernel, s=x.shape)).real


def fft_without_size(x, kernel):
    shape = full_shape(x, kernel)
    return np.fft.irfft2(np.fft.rfft2(x, s=shape) * np.fft.rfft2(kernel, s=shape))


def fft_last_axis_only(x, kernel):
    rows, cols = full_shape(x, kernel)
    fx, fk = np.zeros((rows, x.shape[1])), np.zeros((rows, kernel.shape[1]))
    fx[:x.shape[0]], fk[:kernel.shape[0]] = x, kernel
    return np.fft.ifft(np.fft.fft(fx, cols) * np.fft.fft(fk, cols)).real


def fft_with(x, kernel, combine):
    shape = full_shape(x, kernel)
    return np.fft.ifft2(combine(np.fft.fft2(x, s=shape), np.fft.fft2(kernel, s=shape)))


def spectra_product(x, kernel):
    return np.fft.fft2(fft_with(x, kernel, np.multiply))


def fft_too_long(x, kernel):
    shape = x.shape[0] + kernel.shape[0], x.shape[1] + kernel.shape[1]
    return np.fft.ifft2(np.fft.fft2(x, s=shape) * np.fft.fft2(kernel, s=shape)).real


FFT_CONVOLVE2D = Exercise(
    id="fft_convolve2d", points=3, oracle=fft_convolve2d,
    probes=[call(np.array([[3.0, -1, 4], [2, 5, -6]]), np.array([[1.0, -2], [0, 3]])),
            call(whole(5, 4), whole(2, 3)), call(whole(4, 6), whole(3, 2)),
            call(eighths(3, 7), eighths(3, 3)), call(whole(2, 5), whole(4, 3)),
            call(whole(3, 4), np.array([[-1.5]])), call(strided(eighths(4, 3)), strided(eighths(2, 2)))],
    random=lambda rng: call(whole(*rng.integers(1, 8, 2), rng=rng), eighths(*rng.integers(1, 5, 2), rng=rng)),
    mistakes=[
        Mistake("circular",
                "The transforms have the size of the image, so what leaves on one side comes in on the "
                "other: a circular convolution. Make room for the full result before transforming.",
                fft_circular),
        Mistake("cross_correlates",  # 1
                "That is a cross-correlation with the kernel: it was rotated first, and the product of "
                "transforms already is a convolution.", lambda x, k: fft_complex(x, k[::-1, ::-1])),
        Mistake("conjugated",
                "The complex conjugate of one transform is used. That gives a cross-correlation, and a "
                "cyclically shifted one.", lambda x, k: fft_with(x, k, lambda a, b: a * b.conj()).real),
        Mistake("absolute_value",
                "The absolute value makes negative results positive. Of the complex result, the real part "
                "is wanted.", lambda x, k: np.abs(fft_with(x, k, np.multiply))),
        Mistake("not_transformed_back",
                "This is the real part of the product of the transforms. The way back is missing.",
                lambda x, k: spectra_product(x, k).real),
        Mistake("forward_twice",
                "The product is transformed forward again instead of back.",
                lambda x, k: np.fft.fft2(spectra_product(x, k)).real),
        Mistake("adds_spectra",
                "The transforms are added. The theorem multiplies them, element by element.",
                lambda x, k: fft_with(x, k, np.add).real),
        Mistake("matrix_product",
                "The transforms are combined with `@`, the matrix product. They are multiplied element by "
                "element.", lambda x, k: fft_with(x, k, np.matmul).real),
        Mistake("one_axis_only",
                "Only one axis is transformed: along the other, rows meet rows without sliding.",
                fft_last_axis_only),
        Mistake("one_too_large",  # 11
                "The result has one row and one column too many, which are zero: the padded size is H + "
                "kH and W + kW.", fft_too_long),
        Mistake("valid_part",
                "Only the windows fully inside the image are returned. Here the full convolution is asked "
                "for.", lambda x, k: fft_complex(x, k)[k.shape[0] - 1:x.shape[0], k.shape[1] - 1:x.shape[1]]),
        Mistake("cut_to_image",
                "The result is cut to the size of the image. The full convolution is larger.",
                lambda x, k: fft_complex(x, k)[:x.shape[0], :x.shape[1]]),
        Mistake("odd_width_lost",
                "`irfft2` is not told the size: from half a spectrum it cannot know whether the width was "
                "odd or even, and assumes even.", fft_without_size),
        Mistake("float32",  # 34
                "The result is computed in float32: half the digits are lost.",
                lambda x, k: fft_complex(x, k).astype(np.float32)),
    ],
    alternatives=[fft_complex, fft_padded_by_hand, fft_axis_by_axis, fft_larger_then_cut],
    hints=[
        "The product of two transforms needs both to have the same shape. Which shape must the result "
        "have?",
        "In one dimension, $x = (3, -1, 2)$ and $h = (2, -4)$; the full result has 4 elements:\n\n"
        "| | padded to | circular convolution |\n|---|---|---|\n"
        "| too small | 3 | −2, −14, 8 |\n| large enough | 4 | 6, −14, 8, −8 |\n\n"
        "In the first row, the −8 that should be last was added to the first 6.",
        "```\nshape  <- (H + kH - 1, W + kW - 1)\nfx, fk <- 2-D transforms of x and of kernel, both "
        "zero-padded to shape\ny      <- inverse 2-D transform of fx times fk, elementwise     # shape\n"
        "result <- the real part\n```\n\n`np.fft.fft2` has an argument `s` that pads with zeros at the "
        "end of each axis.",
        "The discrete transform treats its input as periodic, so a product of transforms is a *circular* "
        "convolution. With enough zeros the parts that would wrap around meet only zeros, and circular "
        "and full convolution agree.",
    ])


EXERCISES = [CONVOLVE1D, CROSS_CORRELATE1D, WINDOW_RESPONSE, CROSS_CORRELATE2D, ROTATE180, CONVOLVE2D,
             GAUSSIAN_KERNEL, SOBEL_MAGNITUDE, SEPARABLE_FILTER, SEPARABLE_COST, FFT_CONVOLVE2D]
