"""Exercises of notebook 01: what layers read, share and cost, and the matrix of a convolution.

The oracles take the answer from torch: parameters are counted in torch's own layers, matrices are
differentiated out of torch's convolution, windows come from its unfold.
"""

from textwrap import dedent

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from autograder.exercise import FORBIDDEN, Exercise, Mistake, call
from autograder.exercises.draws import ints, quarters
from cnnlab.probes import strided


def _tensor(a):
    import torch

    # order="C": torch takes no view with negative strides, such as a reversed kernel
    return torch.tensor(np.array(a, dtype=float, order="C"))


def _rotated(kernel):
    return kernel[..., ::-1, ::-1]


# ---------------------------------------------------------------------------- dense_parameters

def dense_parameters(height, width, units):
    """Oracle: the size of torch's own layer; on the meta device it takes no memory."""
    import torch

    layer = torch.nn.Linear(height * width, units, device="meta")
    return sum(p.numel() for p in layer.parameters())


def dense_by_unit(height, width, units):
    return (height * width + 1) * units


def dense_by_adding(height, width, units):
    total = 0
    for _ in range(units):
        total += width * height
        total += 1
    return total


DENSE_PARAMETERS = Exercise(
    id="dense_parameters", points=1,
    oracle=dense_parameters,
    probes=[call(2, 3, 4), call(1, 5, 2), call(4, 3, 1), call(8, 8, 10), call(6, 2, 6), call(28, 20, 100),
            call(1, 1, 3)],
    random=lambda rng: call(int(rng.integers(1, 60)), int(rng.integers(1, 60)), int(rng.integers(1, 200))),
    mistakes=[
        Mistake("no_biases", "The weights are all there. Each unit also adds a bias, which is learned too.",  # 23
                lambda height, width, units: height * width * units),
        Mistake("one_bias_in_all", "One bias is counted for the whole layer. Each unit has its own.",  # 23
                lambda height, width, units: height * width * units + 1),
        Mistake("bias_per_pixel", "A bias is counted for each pixel. Biases belong to the units: each adds one "
                "number to its sum.",
                lambda height, width, units: height * width * (units + 1)),
        Mistake("biases_at_both_ends", "Pixels and units have both got a bias, and there is one more. Only units "
                "have biases: one each.",
                lambda height, width, units: (height * width + 1) * (units + 1)),
        Mistake("one_unit_only", "This is the count of a single unit. Every unit has weights and a bias of its "
                "own.",
                lambda height, width, units: height * width + 1),
        Mistake("pixels_added", "The image is counted as height + width numbers. How many pixels do 2 rows of 3 "
                "have?",
                lambda height, width, units: (height + width) * units + units),
        Mistake("weights_added", "Pixels and units are added. Every unit has one weight for every pixel: how many "
                "pairs are there?",
                lambda height, width, units: height * width + units),
        Mistake("square_image", "The image is taken as square, of height times height pixels.",  # 6
                lambda height, width, units: height * height * units + units),
        Mistake("one_row_only", "Each unit reads `width` pixels here, a single row. A dense unit reads the whole "
                "image.",
                lambda height, width, units: width * units + units),
        Mistake("bias_on_every_weight", "Each weight has got a bias of its own. A bias is added once to the sum "
                "of a unit's products.",  # 24
                lambda height, width, units: 2 * height * width * units),
        Mistake("a_float", "The number is right, but it is a float. A count is a whole number, an int.",
                lambda height, width, units: float((height * width + 1) * units)),
    ],
    alternatives=[dense_by_unit, dense_by_adding],
    hints=[
        "Take one unit of the layer. How many pixels does it read, and what does it need for each? What does it "
        "need besides?",
        dedent("""\
        An image of 1×3 pixels $x_0, x_1, x_2$, and two units:

        ```
        y0 = w00·x0 + w01·x1 + w02·x2 + b0
        y1 = w10·x0 + w11·x1 + w12·x2 + b1
        ```

        Count the letters `w` and `b`: 6 + 2 = 8."""),
        dedent("""\
        ```
        inputs  <- number of pixels
        weights <- one for each pair of a pixel and a unit
        biases  <- one for each unit
        result  <- weights + biases
        ```"""),
        "With $M$ inputs and $N$ units the weights form a table of $N$ rows and $M$ columns, and the biases one "
        "more column: $M\\cdot N + N$ numbers, all of which training has to find.",
    ])


# ---------------------------------------------------------------------------- locally_connected

def locally_connected(x, weight, bias):
    """Oracle: torch's unfold makes the windows; each meets the weights of its own unit."""
    import torch

    kernel = weight.shape[2:]
    windows = torch.nn.functional.unfold(_tensor(x)[None, None], kernel)[0].T     # (units, kH * kW)
    sums = (windows * _tensor(weight).reshape(windows.shape)).sum(dim=1)
    return sums.reshape(weight.shape[:2]).numpy() + bias


def local_by_loops(x, weight, bias):
    rows, columns, kh, kw = weight.shape
    out = [[0.0] * columns for _ in range(rows)]
    for r in range(rows):
        for c in range(columns):
            out[r][c] = bias[r, c]
            for a in range(kh):
                for b in range(kw):
                    out[r][c] += weight[r, c, a, b] * x[r + a, c + b]
    return out


def local_by_windows(x, weight, bias):
    return np.einsum("rcab,rcab->rc", sliding_window_view(x, weight.shape[2:]), weight) + bias


def local_by_shifts(x, weight, bias):
    rows, columns, kh, kw = weight.shape
    out = bias.copy()
    for a in range(kh):
        for b in range(kw):
            out = out + weight[:, :, a, b] * x[a:a + rows, b:b + columns]
    return out


def _local_with(x, weight, bias, unit):
    out = np.zeros(weight.shape[:2])
    for r, c in np.ndindex(out.shape):
        out[r, c] = unit(r, c) + bias[r, c]
    return out


def local_start_swapped(x, weight, bias):
    kh, kw = weight.shape[2:]
    return _local_with(x, weight, bias, lambda r, c: (x[c:c + kh, r:r + kw] * weight[r, c]).sum())


def local_unit_swapped(x, weight, bias):
    kh, kw = weight.shape[2:]
    return _local_with(x, weight, bias, lambda r, c: (x[r:r + kh, c:c + kw] * weight[c, r]).sum())


def local_window_stays(x, weight, bias):
    kh, kw = weight.shape[2:]
    return _local_with(x, weight, bias, lambda r, c: (x[:kh, :kw] * weight[r, c]).sum())


def local_last_at_zero(x, weight, bias):
    out = locally_connected(x, weight, bias)
    out[-1], out[:, -1] = 0, 0
    return out


def local_not_reset(x, weight, bias):
    return np.cumsum(locally_connected(x, weight, 0 * bias)).reshape(bias.shape) + bias


def local_returns_early(x, weight, bias):
    out = locally_connected(x, weight, bias)
    out[1:] = 0
    return out


def local_by_matrix_product(x, weight, bias):
    kh, kw = weight.shape[2:]
    return _local_with(x, weight, bias, lambda r, c: (x[r:r + kh, c:c + kw] @ weight[r, c]).sum())


def local_changes_input(x, weight, bias):
    out = locally_connected(x, weight, bias)
    bias[...] = out
    return bias


def random_local(rng):
    rows, columns, kh, kw = (int(v) for v in rng.integers(1, 5, 4))
    return call(rng.integers(-8, 9, (rows + kh - 1, columns + kw - 1)) / 4,
                rng.integers(-4, 5, (rows, columns, kh, kw)).astype(float),
                rng.integers(-8, 9, (rows, columns)) / 4)


def _local_probe(seed, size, kernel, wrap=lambda a: a):
    rows, columns = size[0] - kernel[0] + 1, size[1] - kernel[1] + 1
    return call(wrap(quarters(seed, *size)), ints(seed + 100, rows, columns, *kernel),
                quarters(seed + 200, rows, columns))


LOCALLY_CONNECTED = Exercise(
    id="locally_connected", points=2,
    oracle=locally_connected,
    probes=[call(np.array([[2.0, -1, 3], [0, 4, 1]]),
                 np.array([[[[1.0, 2], [3, -1]], [[0.0, 1], [-2, 2]]]]), np.array([[0.5, -1]])),
            _local_probe(1, (3, 5), (2, 3)), _local_probe(2, (5, 3), (3, 1)), _local_probe(3, (4, 5), (2, 3), strided),
            _local_probe(4, (2, 3), (1, 1)), _local_probe(5, (3, 4), (3, 4)), _local_probe(6, (4, 4), (1, 2))],
    random=random_local,
    mistakes=[
        Mistake("first_unit_everywhere", "Every unit uses the weights of the unit at row 0, column 0. In this "
                "layer each unit has its own.",
                lambda x, weight, bias: locally_connected(x, np.broadcast_to(weight[:1, :1], weight.shape), bias)),
        Mistake("window_stays", "Every unit reads the window in the top left corner. The unit at row r, column c "
                "reads from pixel (r, c) on.",
                local_window_stays),
        Mistake("weights_rotated", "Each unit's weights are turned by half a turn. The weight at (a, b) belongs to "
                "the pixel a rows below and b columns to the right of the window's corner.",  # 1
                lambda x, weight, bias: locally_connected(x, _rotated(weight), bias)),
        Mistake("columns_mirrored", "Within each window the weights are read from right to left.",  # 2
                lambda x, weight, bias: locally_connected(x, weight[..., ::-1], bias)),
        Mistake("bias_missing", "The biases are not added.",  # 23
                lambda x, weight, bias: locally_connected(x, weight, 0 * bias)),
        Mistake("first_bias_everywhere", "Every unit has got the bias of the first. Each has its own.",
                lambda x, weight, bias: locally_connected(x, weight, np.full(bias.shape, bias[0, 0]))),
        Mistake("bias_per_product", "The bias is added to every product. It is added once to the sum.",  # 24
                lambda x, weight, bias: locally_connected(x, weight, bias * weight[0, 0].size)),
        Mistake("mean_of_products", "The products are averaged. A unit adds them up.",  # 22
                lambda x, weight, bias: locally_connected(x, weight / weight[0, 0].size, bias)),
        Mistake("products_not_summed", "The products are returned one by one. A unit gives one number, their "
                "sum.",
                lambda x, weight, bias: sliding_window_view(x, weight.shape[2:]) * weight + bias[..., None, None]),
        Mistake("start_swapped", "Row and column of the window's corner are swapped: the unit at (r, c) reads "
                "from pixel (c, r) on.",  # 5
                local_start_swapped),
        Mistake("unit_swapped", "The weights are taken from the unit at (c, r) in place of (r, c).",  # 5
                local_unit_swapped),
        Mistake("output_transposed", "The output is transposed: its rows are your columns.",  # 4
                lambda x, weight, bias: locally_connected(x, weight, bias).T),
        Mistake("last_left_at_zero", "The last row and the last column are never written. Check where your loops "
                "end.",  # 10
                local_last_at_zero),
        Mistake("sum_not_reset", "The sum goes on from one unit to the next. Each unit begins at 0.",  # 57
                local_not_reset),
        Mistake("returns_after_the_first_row", "Only the first row of units is computed. Does `return` stand inside "
                "a loop?",  # 39
                local_returns_early),
        Mistake("matrix_product", "`@` is a matrix product: rows times columns. Here each pixel meets the weight at "
                "its own place, which is `*`.",
                local_by_matrix_product),
        Mistake("integer_buffer", "The result is stored in an array of integers, which cuts off fractions.",  # 33
                lambda x, weight, bias: locally_connected(x, weight, bias).astype(int)),
        Mistake("changes_input", "The results are written into `bias`, which belongs to the caller.",  # 32
                local_changes_input),
    ],
    alternatives=[local_by_loops, local_by_windows, local_by_shifts],
    hints=[
        "Take the unit at row 1, column 2, with a window of 2×3. Which pixels does it read? Which weights does it "
        "multiply them with?",
        dedent("""\
        One row of pixels, windows of 1×2, so two units:

        ```
        x       5   1   2
        unit 0  w00 w01          y0 = w00·5 + w01·1 + b0
        unit 1      w10 w11      y1 = w10·1 + w11·2 + b1
        ```

        Four weights for two units: none is used twice."""),
        dedent("""\
        ```
        out <- zeros                                  # (H_out, W_out), like bias
        for each row r and column c of out:
            window    <- kH rows of x from r on, kW columns from c on     # (kH, kW)
            out[r, c] <- sum of window times weight[r, c], plus bias[r, c]
        ```

        All four sizes can be read off `weight.shape`."""),
        "It is a dense layer whose units read a window instead of everything: the same sum of products plus "
        "bias, over fewer pixels. Because window (r, c) starts at pixel (r, c), neighbouring units read "
        "neighbouring windows, and the output is an image again.",
    ])


# ---------------------------------------------------------------------------- tied_weights

def tied_weights(kernel, bias, height, width):
    """Oracle: differentiate torch's convolution by the image; row (r, c) holds the weights of that unit."""
    import torch

    def layer(image):
        return torch.nn.functional.conv2d(image[None, None], _tensor(kernel)[None, None])[0, 0] + bias

    image = torch.zeros(height, width, dtype=torch.float64)
    slopes = torch.autograd.functional.jacobian(layer, image).numpy()       # (H_out, W_out, H, W)
    biases = layer(image).numpy()                                           # what a black image gives
    kh, kw = kernel.shape
    weight = np.array([[slopes[r, c, r:r + kh, c:c + kw] for c in range(biases.shape[1])]
                       for r in range(biases.shape[0])])
    return weight, biases


def _grid(kernel, height, width):
    return height - kernel.shape[0] + 1, width - kernel.shape[1] + 1


def _copies(kernel, bias, rows, columns):
    return np.broadcast_to(kernel, (rows, columns, *kernel.shape)).copy(), np.full((rows, columns), bias)


def tied_by_tile(kernel, bias, height, width):
    rows, columns = _grid(kernel, height, width)
    return np.tile(kernel, (rows, columns, 1, 1)), np.tile(bias, (rows, columns))


def tied_by_lists(kernel, bias, height, width):
    rows, columns = _grid(kernel, height, width)
    return [[[kernel for _ in range(columns)] for _ in range(rows)], [[bias] * columns for _ in range(rows)]]


def tied_by_ones(kernel, bias, height, width):
    ones = np.ones(_grid(kernel, height, width))
    return ones[:, :, None, None] * kernel, ones * bias


def tied_first_only(kernel, bias, height, width):
    weight, biases = tied_weights(kernel, bias, height, width)
    weight.reshape(-1, *kernel.shape)[1:] = 0
    return weight, biases


def tied_transposed_kernel(kernel, bias, height, width):
    weight, biases = tied_weights(kernel, bias, height, width)
    return weight.swapaxes(2, 3), biases


def _wrong_biases(change):
    def run(kernel, bias, height, width):
        weight, biases = tied_weights(kernel, bias, height, width)
        return weight, change(bias, biases)
    return run


def _first_bias(bias, biases):
    out = 0 * biases
    out[0, 0] = bias
    return out


def random_tied(rng):
    kh, kw = (int(v) for v in rng.integers(1, 4, 2))
    return call(rng.integers(-8, 9, (kh, kw)) / 4, float(rng.integers(-8, 9) / 4 + 0.125),
                int(kh + rng.integers(0, 4)), int(kw + rng.integers(0, 4)))


TIED_WEIGHTS = Exercise(
    id="tied_weights", points=2,
    oracle=tied_weights,
    probes=[call(np.array([[1.0, -2]]), 0.5, 2, 3), call(np.array([[2.0, 0, -1], [3, 1, 4]]), -1.5, 4, 5),
            call(quarters(21, 3, 2), 2.0, 5, 3), call(np.array([[-3.0]]), 0.25, 3, 2),
            call(ints(22, 2, 3), 1.0, 2, 3), call(strided(quarters(23, 2, 2)), -0.75, 5, 4),
            call(ints(24, 1, 3), 0.0, 1, 5)],
    random=random_tied,
    mistakes=[
        Mistake("a_unit_for_every_pixel", "There is a unit for every pixel. Windows must lie inside the image, so "
                "there are fewer places than pixels.",
                lambda kernel, bias, height, width: _copies(kernel, bias, height, width)),
        Mistake("one_place_short", "There is one row and one column of units too few. A window as large as the "
                "image still has one place.",  # 10
                lambda kernel, bias, height, width: _copies(kernel, bias, height - kernel.shape[0],
                                                            width - kernel.shape[1])),
        Mistake("window_sizes_swapped", "The numbers of rows and columns of units are computed with the kernel's "
                "height and width swapped.",  # 3
                lambda kernel, bias, height, width: _copies(kernel, bias, height - kernel.shape[1] + 1,
                                                            width - kernel.shape[0] + 1)),
        Mistake("grid_transposed", "The grid of units is transposed: rows of units come first, then columns.",  # 4
                lambda kernel, bias, height, width: _copies(kernel, bias, *_grid(kernel, height, width)[::-1])),
        Mistake("kernel_axes_first", "The axes of the kernel come first. The first two axes of `weight` say which "
                "unit, the last two which pixel of its window.",
                lambda kernel, bias, height, width: (
                    tied_weights(kernel, bias, height, width)[0].transpose(2, 3, 0, 1),
                    tied_weights(kernel, bias, height, width)[1])),
        Mistake("units_in_one_axis", "The units stand in a single axis. They form a grid, so there are two axes for "
                "the unit: its row and its column.",
                lambda kernel, bias, height, width: tuple(
                    a.reshape(-1, *a.shape[2:]) for a in tied_weights(kernel, bias, height, width))),
        Mistake("one_large_picture", "The copies of the kernel lie side by side in one large array of two axes. Each "
                "copy should be found under its unit: `weight[r, c]`.",
                lambda kernel, bias, height, width: (np.tile(kernel, _grid(kernel, height, width)),
                                                     tied_weights(kernel, bias, height, width)[1])),
        Mistake("kernel_rotated", "Each unit got the kernel turned by half a turn. It is used as it is.",  # 1
                lambda kernel, bias, height, width: tied_weights(_rotated(kernel), bias, height, width)),
        Mistake("kernel_transposed", "Each unit got the kernel transposed.",  # 3
                tied_transposed_kernel),
        Mistake("one_unit_only", "Only the first unit got the kernel, the others have weights of 0. All units "
                "share it.",
                tied_first_only),
        Mistake("kernel_shared_out", "The kernel is divided among the units. Sharing means that each uses all of "
                "it.",  # 38
                lambda kernel, bias, height, width: tied_weights(
                    kernel / np.prod(_grid(kernel, height, width)), bias, height, width)),
        Mistake("bias_shared_out", "The bias is divided among the units. Each adds all of it.",
                _wrong_biases(lambda bias, biases: biases / biases.size)),
        Mistake("bias_not_expanded", "The bias is returned as one number. The locally connected layer wants one "
                "for each unit: shape (H_out, W_out).",
                _wrong_biases(lambda bias, biases: bias)),
        Mistake("first_bias_only", "Only the first unit has got the bias.",
                _wrong_biases(_first_bias)),
        Mistake("biases_zero", "All biases are 0: `bias` is not used.",  # 23
                _wrong_biases(lambda bias, biases: 0 * biases)),
        Mistake("biases_first", "The two arrays come in the wrong order: weights first, then biases.",
                lambda kernel, bias, height, width: tied_weights(kernel, bias, height, width)[::-1]),
        Mistake("biases_missing", "Only the weights are returned. The answer is two arrays: weights and biases.",
                lambda kernel, bias, height, width: tied_weights(kernel, bias, height, width)[0]),
    ],
    alternatives=[tied_by_tile, tied_by_lists, tied_by_ones],
    hints=[
        "How many places does the window have from top to bottom, and how many from left to right? Which weights "
        "should the unit at each of these places get?",
        dedent("""\
        `kernel = [[1, -2]]`, `bias = 0.5`, an image of 2×3. The window of 1×2 has 2 places down and 2 across:

        ```
        weight[0, 0] = [[1, -2]]   weight[0, 1] = [[1, -2]]      biases = [[0.5, 0.5],
        weight[1, 0] = [[1, -2]]   weight[1, 1] = [[1, -2]]                [0.5, 0.5]]
        ```

        `weight` has the shape (2, 2, 1, 2)."""),
        dedent("""\
        ```
        H_out, W_out <- places of the window, down and across
        weight <- zeros                                       # (H_out, W_out, kH, kW)
        biases <- zeros                                       # (H_out, W_out)
        for every unit (r, c):
            its weights are the kernel, its bias is the bias
        result <- weight, biases
        ```

        `np.tile`, `np.full` or `np.broadcast_to` do it without a loop."""),
        "To share weights is to forbid the units to differ. The large array still has $(kH\\cdot kW + 1)\\cdot N$ "
        "numbers, but only $kH\\cdot kW + 1$ of them can be chosen: whoever changes one copy has to change all.",
    ])


# ---------------------------------------------------------------------------- window_parameters

def window_parameters(height, width, kH, kW, features):
    """Oracle: count what torch's own convolution has, and how many windows its unfold makes."""
    import torch

    kernel = (kH, kW)
    units = torch.nn.functional.unfold(torch.zeros(1, 1, height, width), kernel).shape[-1]
    one, several = (sum(p.numel() for p in torch.nn.Conv2d(1, n, kernel, device="meta").parameters())
                    for n in (1, features))
    return one * units, one, several


def window_by_counting(height, width, kH, kW, features):
    unit = kH * kW + 1
    units = sum(1 for r in range(height) for c in range(width) if r + kH <= height and c + kW <= width)
    return [unit * units, unit, unit * features]


def window_by_arrays(height, width, kH, kW, features):
    rows, columns = len(range(kH, height + 1)), len(range(kW, width + 1))
    shapes = [(rows, columns, kH, kW), (kH, kW), (features, kH, kW)]
    biases = [rows * columns, 1, features]
    return np.array([np.prod(s) + b for s, b in zip(shapes, biases)])


def _places(height, width, kH, kW):
    return (height - kH + 1) * (width - kW + 1)


def random_window(rng):
    kh, kw = (int(v) for v in rng.integers(1, 8, 2))
    return call(int(kh + rng.integers(0, 40)), int(kw + rng.integers(0, 40)), kh, kw, int(rng.integers(1, 65)))


WINDOW_PARAMETERS = Exercise(
    id="window_parameters", points=2,
    oracle=window_parameters,
    probes=[call(3, 4, 2, 2, 5), call(5, 7, 2, 3, 4), call(7, 5, 3, 1, 2), call(4, 6, 1, 1, 3), call(3, 5, 3, 5, 6),
            call(32, 28, 5, 3, 16), call(9, 6, 1, 4, 1)],
    random=random_window,
    mistakes=[
        Mistake("no_biases", "All weights are counted, but no bias.",  # 23
                lambda height, width, kH, kW, features: (
                    kH * kW * _places(height, width, kH, kW), kH * kW, kH * kW * features)),
        Mistake("one_bias_in_the_local_layer", "The locally connected layer has got one bias in all. Its units "
                "share nothing, so each has its own.",
                lambda height, width, kH, kW, features: (
                    kH * kW * _places(height, width, kH, kW) + 1, kH * kW + 1, (kH * kW + 1) * features)),
        Mistake("one_bias_for_all_features", "The features have got one bias together. Each feature has a kernel "
                "and a bias of its own.",
                lambda height, width, kH, kW, features: (
                    (kH * kW + 1) * _places(height, width, kH, kW), kH * kW + 1, kH * kW * features + 1)),
        Mistake("bias_for_every_place", "The shared layers have got a bias for every place. The bias is shared "
                "like the weights: one for each feature.",
                lambda height, width, kH, kW, features: (
                    (kH * kW + 1) * _places(height, width, kH, kW), kH * kW + _places(height, width, kH, kW),
                    (kH * kW + _places(height, width, kH, kW)) * features)),
        Mistake("a_unit_for_every_pixel", "The locally connected layer has got a unit for every pixel. A window "
                "must lie inside the image: how many places does it have?",
                lambda height, width, kH, kW, features: (
                    (kH * kW + 1) * height * width, kH * kW + 1, (kH * kW + 1) * features)),
        Mistake("one_place_short", "The number of places is one too small in both directions: the first place "
                "counts too.",  # 10
                lambda height, width, kH, kW, features: (
                    (kH * kW + 1) * (height - kH) * (width - kW), kH * kW + 1, (kH * kW + 1) * features)),
        Mistake("window_sizes_swapped", "The number of places is computed with the window's height and width "
                "swapped.",  # 3
                lambda height, width, kH, kW, features: (
                    (kH * kW + 1) * _places(height, width, kW, kH), kH * kW + 1, (kH * kW + 1) * features)),
        Mistake("units_read_everything", "The units of the locally connected layer read the whole image here, as "
                "dense ones do. Each reads a window.",
                lambda height, width, kH, kW, features: (
                    (height * width + 1) * _places(height, width, kH, kW), kH * kW + 1, (kH * kW + 1) * features)),
        Mistake("square_window", "The window is taken as square, kH times kH.",  # 7
                lambda height, width, kH, kW, features: (
                    (kH * kH + 1) * _places(height, width, kH, kW), kH * kH + 1, (kH * kH + 1) * features)),
        Mistake("features_at_every_place", "The features are counted at every place of the window. Their weights "
                "are shared, so the size of the image does not matter.",
                lambda height, width, kH, kW, features: (
                    (kH * kW + 1) * _places(height, width, kH, kW), kH * kW + 1,
                    (kH * kW + 1) * features * _places(height, width, kH, kW))),
        Mistake("local_with_features", "The locally connected layer is multiplied by the number of features. It "
                "has one unit at each place.",
                lambda height, width, kH, kW, features: (
                    (kH * kW + 1) * _places(height, width, kH, kW) * features, kH * kW + 1,
                    (kH * kW + 1) * features)),
        Mistake("shared_and_local_exchanged", "The first two counts are in the wrong order: first the layer that "
                "shares nothing.",
                lambda height, width, kH, kW, features: (
                    kH * kW + 1, (kH * kW + 1) * _places(height, width, kH, kW), (kH * kW + 1) * features)),
    ],
    alternatives=[window_by_counting, window_by_arrays],
    hints=[
        "All three layers are made of units that read one window. How many parameters does one such unit need? "
        "How often is that number paid in each layer?",
        dedent("""\
        An image of 1×4, windows of 1×2: three places.

        | layer | weights and biases | count |
        |---|---|---|
        | locally connected | one pair and a bias at each of 3 places | 3·(2 + 1) = 9 |
        | shared weights | one pair and a bias | 2 + 1 = 3 |
        | 5 features | 5 pairs and 5 biases | 5·(2 + 1) = 15 |"""),
        dedent("""\
        ```
        unit    <- weights of one window, and a bias
        units   <- places of the window, down times across
        local   <- one set for each unit
        shared  <- one set
        several <- one set for each feature
        result  <- local, shared, several
        ```"""),
        "Parameters are counted once, however often they are used. The locally connected layer pays for every "
        "place; sharing makes the price independent of the image; each further feature is one more kernel with "
        "its bias.",
    ])


# ---------------------------------------------------------------------------- toeplitz_matrix

LINEAR_ALGEBRA = (*FORBIDDEN, "scipy.linalg", "scipy.sparse")  # both can write such matrices down


def toeplitz_matrix(kernel, size):
    """Oracle: scipy.linalg.toeplitz, from its first column and first row."""
    from scipy.linalg import toeplitz

    rows = size - len(kernel) + 1
    return toeplitz(np.r_[kernel[0], np.zeros(rows - 1)], np.r_[kernel, np.zeros(size - len(kernel))])


def toeplitz_by_rows(kernel, size):
    k = len(kernel)
    return [[0.0] * i + [float(v) for v in kernel] + [0.0] * (size - k - i) for i in range(size - k + 1)]


def toeplitz_by_diagonals(kernel, size):
    rows = size - len(kernel) + 1
    return sum(v * np.eye(rows, size, k=a) for a, v in enumerate(kernel))


def toeplitz_by_difference(kernel, size):
    gap = np.arange(size) - np.arange(size - len(kernel) + 1)[:, None]
    inside = (gap >= 0) & (gap < len(kernel))
    return np.where(inside, np.asarray(kernel)[np.clip(gap, 0, len(kernel) - 1)], 0.0)


def toeplitz_square(kernel, size, wraps):
    out = np.zeros((size, size))
    for i in range(size):
        for a, v in enumerate(kernel):
            if i + a < size or wraps:
                out[i, (i + a) % size] += v
    return out


def toeplitz_full(kernel, size):
    k = len(kernel)
    return toeplitz_matrix(kernel, size + 2 * (k - 1))[:, k - 1:k - 1 + size]


def toeplitz_ending_at_diagonal(kernel, size):
    k = len(kernel)
    return toeplitz_full(kernel, size)[:size - k + 1]


def toeplitz_never_moves(kernel, size):
    out = np.zeros((size - len(kernel) + 1, size))
    out[:, :len(kernel)] = kernel
    return out


def toeplitz_last_row_empty(kernel, size):
    out = toeplitz_matrix(kernel, size)
    out[-1] = 0
    return out


def toeplitz_to_the_left(kernel, size):
    return toeplitz_matrix(kernel, size)[::-1]


def random_toeplitz(rng):
    kernel = rng.integers(-8, 9, rng.integers(1, 5)) / 4
    return call(kernel, int(len(kernel) + rng.integers(0, 6)))


TOEPLITZ_MATRIX = Exercise(
    id="toeplitz_matrix", points=2,
    oracle=toeplitz_matrix,
    probes=[call(np.array([2.0, -1]), 4), call(np.array([1.0, 0, -3]), 5), call(quarters(31, 4), 7),
            call(np.array([-2.5]), 3), call(np.array([3.0, 1, -1]), 3), call(strided(ints(32, 3)), 8),
            call(np.array([0.5, -4]), 6)],
    random=random_toeplitz,
    mistakes=[
        Mistake("kernel_reversed", "Each row holds the kernel from right to left. The window multiplies its first "
                "pixel with `kernel[0]`, so that weight stands leftmost.",  # 1
                lambda kernel, size: toeplitz_matrix(kernel[::-1], size)),
        Mistake("transposed", "The matrix is transposed. A row belongs to an output, a column to a pixel.",  # 4
                lambda kernel, size: toeplitz_matrix(kernel, size).T),
        Mistake("wraps_round", "There is a row for every pixel, and at the end the kernel comes in again on the "
                "left. Only places where the whole kernel fits have a row.",
                lambda kernel, size: toeplitz_square(kernel, size, wraps=True)),
        Mistake("rows_cut_off", "There is a row for every pixel, and the last ones hold only a part of the kernel. "
                "Only places where the whole kernel fits have a row.",
                lambda kernel, size: toeplitz_square(kernel, size, wraps=False)),
        Mistake("every_overlap", "There is a row for every place where the kernel overlaps the input at all. It "
                "has to fit inside.",
                toeplitz_full),
        Mistake("one_row_short", "The last row is missing. If the kernel is as long as the input, there is still "
                "one place.",  # 10
                lambda kernel, size: toeplitz_matrix(kernel, size)[:-1]),
        Mistake("last_row_empty", "The last row is left at 0. Check where your loop ends.",  # 10
                toeplitz_last_row_empty),
        Mistake("never_moves", "All rows are alike. From one row to the next the window moves by one pixel.",
                toeplitz_never_moves),
        Mistake("moves_left", "The kernel moves to the left from row to row. Row 0 belongs to the window at the "
                "start of the input.",
                toeplitz_to_the_left),
        Mistake("ends_at_the_diagonal", "The kernel ends at the diagonal in place of starting there, so the first "
                "rows have lost a part of it.",
                toeplitz_ending_at_diagonal),
        Mistake("first_weight_only", "Only `kernel[0]` is there, along the diagonal. A row holds the whole "
                "kernel.",
                lambda kernel, size: toeplitz_matrix(np.r_[kernel[:1], 0 * kernel[1:]], size)),
        Mistake("integer_buffer", "The matrix is made of integers, which cuts off fractions.",  # 33
                lambda kernel, size: toeplitz_matrix(kernel, size).astype(int)),
    ],
    alternatives=[toeplitz_by_rows, toeplitz_by_diagonals, toeplitz_by_difference],
    hints=[
        "A row of the matrix, times the input, must give one output. Which pixels does the output number $i$ "
        "read, and with which weights? What must stand at all the other pixels?",
        dedent("""\
        `kernel = [2, -1]`, `size = 4`: three places.

        ```
        window 0   2 -1  .  .
        window 1   .  2 -1  .
        window 2   .  .  2 -1
        ```

        With 0 for every dot, this is the matrix."""),
        dedent("""\
        ```
        k      <- length of the kernel
        matrix <- zeros                              # (size - k + 1, size), float64
        for each row i:
            put the kernel into the columns i, i + 1, ..., i + k - 1
        ```"""),
        "A matrix times a vector is one dot product for each row. The dot product of a window with the kernel is "
        "that of the whole input with the kernel surrounded by zeros, and the next window is the same row, moved "
        "by one: so each diagonal holds a single value.",
    ], forbidden=LINEAR_ALGEBRA)


# ---------------------------------------------------------------------------- convolution_matrix

def convolution_matrix(kernel, height, width):
    """Oracle: differentiate torch's convolution by the pixels of the image."""
    import torch

    def layer(pixels):
        return torch.nn.functional.conv2d(pixels.reshape(1, 1, height, width), _tensor(kernel)[None, None]).ravel()

    pixels = torch.zeros(height * width, dtype=torch.float64)
    return torch.autograd.functional.jacobian(layer, pixels).numpy()


def _filled(kernel, height, width, column):
    """The matrix whose row (r, c) has kernel[a, b] in the column that `column(r, c, a, b)` gives."""
    rows, columns = _grid(kernel, height, width)
    out = np.zeros((rows * columns, height * width))
    for i, (r, c) in enumerate(np.ndindex(rows, columns)):
        for (a, b), v in np.ndenumerate(kernel):
            out[i, column(r, c, a, b)] += v
    return out


def matrix_by_images(kernel, height, width):
    rows, (kh, kw) = [], kernel.shape
    for r in range(height - kh + 1):
        for c in range(width - kw + 1):
            image = np.zeros((height, width))
            image[r:r + kh, c:c + kw] = kernel
            rows.append(image.ravel())
    return np.array(rows)


def matrix_by_blocks(kernel, height, width):
    rows = height - kernel.shape[0] + 1
    return sum(np.kron(np.eye(rows, height, k=a), toeplitz_by_diagonals(line, width))
               for a, line in enumerate(kernel))


def matrix_by_impulses(kernel, height, width):
    columns = []
    for pixel in np.eye(height * width):
        windows = sliding_window_view(pixel.reshape(height, width), kernel.shape)
        columns.append((windows * kernel).sum(axis=(2, 3)).ravel())
    return np.stack(columns, axis=1)


def matrix_by_index(kernel, height, width):
    return _filled(kernel, height, width, lambda r, c, a, b: (r + a) * width + c + b)


def matrix_across_the_edge(kernel, height, width):
    kh, kw = kernel.shape
    first = np.zeros((kh, width))
    first[:, :kw] = kernel
    return toeplitz_matrix(first.ravel()[:(kh - 1) * width + kw], height * width)


def matrix_starts_at_row_number(kernel, height, width):
    columns = width - kernel.shape[1] + 1
    return _filled(kernel, height, width, lambda r, c, a, b: r * columns + c + a * width + b)


def matrix_left_behind(kernel, height, width):
    image, rows, (kh, kw) = np.zeros((height, width)), [], kernel.shape
    for r, c in np.ndindex(*_grid(kernel, height, width)):
        image[r:r + kh, c:c + kw] = kernel
        rows.append(image.ravel().copy())
    return np.array(rows)


def matrix_last_row_empty(kernel, height, width):
    out = convolution_matrix(kernel, height, width)
    out[-1] = 0
    return out


def matrix_columns_first(kernel, height, width):
    rows, columns = _grid(kernel, height, width)
    out = convolution_matrix(kernel, height, width)
    return out.reshape(rows, columns, -1).transpose(1, 0, 2).reshape(out.shape)


def random_matrix(rng):
    kh, kw = (int(v) for v in rng.integers(1, 4, 2))
    return call(rng.integers(-8, 9, (kh, kw)) / 4, int(kh + rng.integers(0, 4)), int(kw + rng.integers(0, 4)))


CONVOLUTION_MATRIX = Exercise(
    id="convolution_matrix", points=3,
    oracle=convolution_matrix,
    probes=[call(np.array([[1.0, 2], [3, 4]]), 2, 3), call(np.array([[1.0, -2], [3, 0.5]]), 3, 4),
            call(np.array([[2.0, -1, 1], [-3, 0, 4]]), 4, 5), call(quarters(41, 3, 2), 5, 3),
            call(np.array([[-1.5]]), 2, 3), call(quarters(42, 1, 3), 2, 5), call(np.array([[2.0], [-1], [3]]), 4, 2),
            call(strided(ints(44, 2, 3)), 3, 3), call(ints(45, 2, 3), 2, 3)],
    random=random_matrix,
    mistakes=[
        Mistake("kernel_rotated", "Each row holds the kernel turned by half a turn. The window's top left pixel "
                "belongs to `kernel[0, 0]`.",  # 1
                lambda kernel, height, width: convolution_matrix(_rotated(kernel), height, width)),
        Mistake("no_gap", "The rows of the kernel follow each other without a gap. In `x.ravel()` the pixel below "
                "another one comes a whole image row later.",  # 28
                lambda kernel, height, width: _filled(
                    kernel, height, width, lambda r, c, a, b: r * width + c + a * kernel.shape[1] + b)),
        Mistake("output_width_as_step", "From one row of pixels to the next it goes on by the width of the "
                "*output*. `x.ravel()` is cut from the input: one row of it has `width` pixels.",
                lambda kernel, height, width: _filled(
                    kernel, height, width, lambda r, c, a, b: (r + a) * (width - kernel.shape[1] + 1) + c + b)),
        Mistake("height_as_step", "From one row of pixels to the next it goes on by `height`. A row has `width` "
                "pixels.",  # 6
                lambda kernel, height, width: _filled(
                    kernel, height, width, lambda r, c, a, b: (r + a) * height + c + b)),
        Mistake("pixels_by_column", "The columns of the matrix follow the pixels down the image columns. "
                "`x.ravel()` goes row by row.",  # 28
                lambda kernel, height, width: _filled(
                    kernel, height, width, lambda r, c, a, b: (c + b) * height + r + a)),
        Mistake("outputs_by_column", "The rows of the matrix follow the windows down the image first. They should "
                "go from left to right, then to the next row of windows.",  # 29
                matrix_columns_first),
        Mistake("across_the_edge", "There are too many rows: windows that leave the image on the right and come in "
                "again on the left, one row lower, have got one too.",
                matrix_across_the_edge),
        Mistake("starts_at_row_number", "Row number i of the matrix starts at pixel number i. That is right for "
                "the first row of windows only: the next one begins at a new image row.",
                matrix_starts_at_row_number),
        Mistake("never_moves_down", "The window moves to the right, but all rows of windows read the top of the image.",
                lambda kernel, height, width: _filled(kernel, height, width, lambda r, c, a, b: a * width + c + b)),
        Mistake("left_behind", "Each row still holds the kernel's weights from the windows before. Begin each row with "
                "zeros.",  # 57
                matrix_left_behind),
        Mistake("first_kernel_row_only", "Only the first row of the kernel is there.",
                lambda kernel, height, width: convolution_matrix(
                    np.concatenate([kernel[:1], 0 * kernel[1:]]), height, width)),
        Mistake("transposed", "The matrix is transposed. A row belongs to an output, a column to a pixel.",  # 4
                lambda kernel, height, width: convolution_matrix(kernel, height, width).T),
        Mistake("not_flattened", "The values are right, but in four axes. Flatten the outputs to one axis and the "
                "pixels to another.",
                lambda kernel, height, width: convolution_matrix(kernel, height, width).reshape(
                    *_grid(kernel, height, width), height, width)),
        Mistake("last_row_empty", "The last row is left at 0. Check where your loops end.",  # 10
                matrix_last_row_empty),
        Mistake("integer_buffer", "The matrix is made of integers, which cuts off fractions.",  # 33
                lambda kernel, height, width: convolution_matrix(kernel, height, width).astype(int)),
    ],
    alternatives=[matrix_by_images, matrix_by_blocks, matrix_by_impulses, matrix_by_index],
    hints=[
        "Take one window of a 4×5 image. If you write a kernel's weights onto the pixels that it covers, and 0 "
        "onto all others, what do you have? How does it become a row of the matrix?",
        dedent("""\
        A 2×2 kernel `1 2 / 3 4` on a 3×4 image, the window at row 1, column 2:

        ```
        0 0 0 0
        0 0 1 2      row by row:   0 0 0 0  0 0 1 2  0 0 3 4
        0 0 3 4
        ```

        The window has 2·3 places, so this is row number 1·3 + 2 = 5 of a matrix of 6×12."""),
        dedent("""\
        ```
        H_out, W_out <- places of the window, down and across
        matrix <- zeros                               # (H_out * W_out, H * W), float64
        for r in 0 ... H_out - 1:
            for c in 0 ... W_out - 1:
                image <- zeros                        # (H, W)
                put the kernel into image, its corner at (r, c)
                row number r * W_out + c of the matrix <- image, row by row    # (H * W,)
        ```"""),
        "A window and the whole image, masked with zeros outside the window, have the same sum of products. In "
        "`x.ravel()` pixel (i, j) is number $i\\cdot W + j$, which is why neighbours in a column lie $W$ apart and "
        "the band has gaps.",
    ], forbidden=LINEAR_ALGEBRA)


# ---------------------------------------------------------------------------- weights_for_shuffled

def weights_for_shuffled(weight, order):
    """Oracle: shuffling is a matrix P of zeros and ones; W' P = W has the solution W' = W Pᵀ."""
    import torch

    shuffle = torch.nn.functional.one_hot(torch.tensor(np.array(order)), len(order)).double()
    return (_tensor(weight) @ shuffle.T).numpy()


def shuffled_by_take(weight, order):
    return np.take(weight, order, axis=1)


def shuffled_by_loops(weight, order):
    return [[row[j] for j in order] for row in weight.tolist()]


def shuffled_by_inverse(weight, order):
    out = np.empty_like(weight)
    for old, new in enumerate(np.argsort(order)):
        out[:, new] = weight[:, old]
    return out


def shuffled_in_place(weight, order):
    weight[...] = weight[:, order]
    return weight


def random_shuffled(rng):
    units, pixels = int(rng.integers(1, 6)), int(rng.integers(3, 9))
    return call(rng.integers(-8, 9, (units, pixels)) / 4, rng.permutation(pixels))


def _shuffled_probe(seed, units, order, wrap=lambda a: a):
    return call(wrap(quarters(seed, units, len(order))), np.array(order))


WEIGHTS_FOR_SHUFFLED = Exercise(
    id="weights_for_shuffled", points=1,
    oracle=weights_for_shuffled,
    probes=[call(np.array([[1.0, 5, -2]]), np.array([2, 0, 1])), _shuffled_probe(51, 2, [1, 2, 0]),
            _shuffled_probe(52, 4, [1, 3, 0, 2]), _shuffled_probe(53, 3, [3, 0, 4, 1, 2], strided),
            _shuffled_probe(54, 2, [0, 1, 2, 3]), _shuffled_probe(55, 5, [1, 2, 0, 4, 3]),
            _shuffled_probe(56, 3, [5, 2, 3, 0, 1, 4])],
    random=random_shuffled,
    mistakes=[
        Mistake("wrong_direction", "The columns are reordered the other way round, by the inverse of `order`. Place j "
                "of the shuffled image holds pixel `order[j]`: whose weight belongs into column j?",
                lambda weight, order: weight[:, np.argsort(order)]),
        Mistake("units_reordered", "The rows are reordered. A row is a unit, and the units stay as they are; a "
                "column belongs to a pixel.",
                lambda weight, order: weight[order]),
        Mistake("not_reordered", "The weights have stayed where they were, so they now meet other pixels.",
                lambda weight, order: weight.copy()),
        Mistake("reversed", "The columns are reversed, whatever `order` says.",
                lambda weight, order: weight[:, ::-1]),
        Mistake("shuffled_twice", "The columns are reordered twice.",
                lambda weight, order: weight[:, order][:, order]),
        Mistake("sorted_by_size", "The weights of each unit are sorted by size. They are to follow their "
                "pixels.",
                lambda weight, order: np.sort(weight, axis=1)),
        Mistake("transposed", "The result is transposed: it should have a row for each unit.",  # 4
                lambda weight, order: weight[:, order].T),
        Mistake("first_unit_only", "Only the weights of the first unit are returned.",  # 39
                lambda weight, order: weight[:1, order]),
        Mistake("integer_weights", "The weights have lost their fractions.",  # 33
                lambda weight, order: weight[:, order].astype(int)),
        Mistake("changes_input", "The matrix that was passed in is changed.",  # 32
                shuffled_in_place),
    ],
    alternatives=[shuffled_by_take, shuffled_by_loops, shuffled_by_inverse],
    hints=[
        "Which pixel now stands at place 0 of the shuffled image? Which weight multiplied that pixel before?",
        dedent("""\
        One unit with the weights `1 5 -2`, and `order = [2, 0, 1]`:

        ```
        image           x0  x1  x2        sum: 1·x0 + 5·x1 - 2·x2
        shuffled image  x2  x0  x1
        new weights     ?   ?   ?         the same sum
        ```

        $x_2$ had the weight −2, so −2 must stand first."""),
        dedent("""\
        ```
        for each place j of the shuffled image:
            column j of the new matrix <- the column of the old one that belonged to pixel order[j]
        ```

        NumPy can pick all columns at once if it is given `order` as the index of an axis."""),
        "A sum does not care about the order of its terms. If every weight travels with its pixel, each unit adds "
        "up the same products as before.",
    ])


EXERCISES = [DENSE_PARAMETERS, LOCALLY_CONNECTED, TIED_WEIGHTS, WINDOW_PARAMETERS, TOEPLITZ_MATRIX,
             CONVOLUTION_MATRIX, WEIGHTS_FOR_SHUFFLED]
