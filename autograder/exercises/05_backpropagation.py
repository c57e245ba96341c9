"""Exercises of notebook 05: gates, both gradients of a convolution, checking them, and a layer with backward.

The oracle is torch's autograd in float64, and SymPy for the gates: none of them knows the formulas that the
notebook derives.
"""

from textwrap import dedent

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from autograder.exercise import Exercise, Mistake, call
from autograder.exercises.draws import ints, pair, quarters, tensor
from cnnlab.probes import strided


def torch_conv(x, weight, bias=None, stride=1, padding=0):
    """torch.nn.functional.conv2d on NumPy arrays, in float64."""
    import torch

    bias = None if bias is None else tensor(bias)
    return torch.nn.functional.conv2d(tensor(x), tensor(weight), bias, stride, padding).numpy()


def torch_gradients(x, weight, dy, stride=1, padding=0):
    """dx, the gradient of the weights, and that of the biases, by torch's autograd."""
    import torch

    x, weight = tensor(x, grad=True), tensor(weight, grad=True)
    bias = torch.zeros(len(weight), dtype=torch.float64, requires_grad=True)
    torch.nn.functional.conv2d(x, weight, bias, stride, padding).backward(tensor(dy))
    return x.grad.numpy(), weight.grad.numpy(), bias.grad.numpy()


def padded(x, rows, cols):
    return np.pad(x, ((0, 0), (0, 0), rows, cols))


def turned(weight):
    return weight[:, :, ::-1, ::-1]


# ---------------------------------------------------------------------------- gate_gradients

def gate_gradients(x, y, z, w, upstream):
    """Oracle: SymPy's derivatives, with a maximum that takes z in a tie."""
    import sympy

    a, b, c, d = names = sympy.symbols("x y z w")
    f = 2 * (a * b + sympy.Piecewise((c, c >= d), (d, True)))
    at = dict(zip(names, map(sympy.Rational, map(str, (x, y, z, w)))))
    return tuple(float(sympy.diff(f, name).subs(at)) * upstream for name in names)


def gates_step_by_step(x, y, z, w, upstream):
    d_sum = 2 * upstream
    d_product, d_max = d_sum, d_sum
    dx, dy = y * d_product, x * d_product
    dz, dw = (d_max, 0.0) if z >= w else (0.0, d_max)
    return dx, dy, dz, dw


def gates_as_array(x, y, z, w, upstream):
    return 2 * upstream * np.array([y, x, z >= w, z < w])


def gates_as_list(x, y, z, w, upstream):
    winner = [1, 0] if z >= w else [0, 1]
    return [2 * g * upstream for g in [y, x, *winner]]


def _gates(z_share, w_share):
    """Mistake: the maximum's gradient goes to z and w by these functions of z and w."""
    def wrong(x, y, z, w, upstream):
        return (2.0 * y * upstream, 2.0 * x * upstream,
                2.0 * upstream * z_share(z, w), 2.0 * upstream * w_share(z, w))
    return wrong


def random_gates(rng):
    x, y, z, w, up = (float(v) for v in rng.integers(-12, 13, 5) / 4)
    return call(x, y, z, z if rng.integers(4) == 0 else w, up or 1.0)


GATE_GRADIENTS = Exercise(
    id="gate_gradients", points=1,
    oracle=gate_gradients,
    probes=[call(2, -3, 1, 4, 1), call(2, -3, 1, 4, 10), call(5, 3, 4, -1, -2), call(-1, 4, 2, 2, 3),
            call(0.5, -1.5, -3, -2, 0.25), call(0, 7, 3, -5, -1), call(-2.5, 0.75, -1.25, -1.25, -0.5)],
    random=random_gates,
    mistakes=[
        Mistake("upstream_ignored", "Every case with upstream 1 is right: `upstream` is not used. The chain rule "
                "multiplies by what arrives from behind.",  # 54
                lambda x, y, z, w, upstream: gate_gradients(x, y, z, w, 1)),
        Mistake("upstream_added", "`upstream` is added. The chain rule multiplies.",
                lambda x, y, z, w, upstream: tuple(g + upstream for g in gate_gradients(x, y, z, w, 1))),
        Mistake("factor_two_missing", "Everything is half as large as it should be: on its way back the gradient "
                "passes the gate × 2, which doubles it.",
                lambda x, y, z, w, upstream: gate_gradients(x, y, z, w, upstream / 2)),
        Mistake("multiply_not_switched", "At the product each input got its own value. If y grows by 1, then x y "
                "grows by x: the two are switched.",
                lambda x, y, z, w, upstream: (2.0 * x * upstream, 2.0 * y * upstream,
                                              *gate_gradients(x, y, z, w, upstream)[2:])),
        Mistake("max_gives_to_both", "Both z and w get the maximum's gradient. If the smaller one grows a little, "
                "does the maximum change?",
                _gates(lambda z, w: 1, lambda z, w: 1)),
        Mistake("max_gives_to_the_smaller", "The smaller of z and w gets the maximum's gradient. It is the larger "
                "one that came through.",
                _gates(lambda z, w: z <= w, lambda z, w: z > w)),
        Mistake("max_passes_its_value", "The winner's gradient is multiplied by its value. A maximum hands on what "
                "arrives, unchanged; only a product multiplies.",
                _gates(lambda z, w: (z >= w) * z, lambda z, w: (z < w) * w)),
        Mistake("tie_to_w", "Where z and w are equal, w gets the gradient. In this exercise z does.",  # 66
                _gates(lambda z, w: z > w, lambda z, w: z <= w)),
        Mistake("tie_shared", "Where z and w are equal, each gets half. In this exercise z gets all of it.",  # 66
                _gates(lambda z, w: (z > w) + (z == w) / 2, lambda z, w: (z < w) + (z == w) / 2)),
        Mistake("tie_to_nobody", "Where z and w are equal, neither gets the gradient. In this exercise z does.",
                _gates(lambda z, w: z > w, lambda z, w: z < w)),
        Mistake("tie_to_both", "Where z and w are equal, both get the whole gradient. In this exercise only z "
                "does.",  # 66
                _gates(lambda z, w: z >= w, lambda z, w: w >= z)),
        Mistake("first_input_always_wins", "z always gets the maximum's gradient. It belongs to the larger of the "
                "two, which may be w.",
                _gates(lambda z, w: 1, lambda z, w: 0)),
        Mistake("compares_magnitudes", "z and w are compared without their signs. The maximum of −3 and −2 is −2.",
                _gates(lambda z, w: abs(z) >= abs(w), lambda z, w: abs(z) < abs(w))),
        Mistake("value_of_f", "This is the value of f. The gradients of its four inputs are asked for.",
                lambda x, y, z, w, upstream: 2.0 * (x * y + max(z, w))),
    ],
    alternatives=[gates_step_by_step, gates_as_array, gates_as_list],
    hints=[
        "What gradient arrives at the output of the gate +, if `upstream` arrives at f? What do its two inputs get?",
        dedent("""\
        x = 2, y = −3, z = 1, w = 4, upstream = 10:

        | wire | gradient |
        |---|---|
        | f | 10 |
        | the sum | 2 · 10 = 20 |
        | xy | 20 (add distributes) |
        | max | 20 (add distributes) |
        | x | −3 · 20 (multiply switches) |
        | w | 20 (max routes: 4 > 1) |"""),
        dedent("""\
        ```
        of_sum     <- 2 times upstream
        of_product <- of_sum
        of_max     <- of_sum
        for x: the other factor, times of_product; for y likewise
        for z: of_max if z is at least w, else 0; for w: the rest
        ```"""),
        "Each gate only needs its own derivative: 1 and 1 for a sum, the other factor for a product, 1 for the "
        "winner of a maximum and 0 for the loser, 2 for × 2. The chain rule multiplies them along the way from L "
        "back to the input.",
    ])


# ---------------------------------------------------------------------------- skip_backward

def skip_backward(x, a, b, dy):
    """Oracle: torch's autograd, whose ReLU has slope 0 at 0."""
    import torch

    x, a, b = tensor(x, grad=True), tensor(a, grad=True), tensor(b, grad=True)
    (x + torch.relu(a * x + b)).backward(tensor(dy))
    return x.grad.numpy(), a.grad.item(), b.grad.item()


def skip_by_loop(x, a, b, dy):
    dx, da, db = np.array(dy), 0.0, 0.0
    for i in np.ndindex(x.shape):
        if a * x[i] + b > 0:
            dx[i] += a * dy[i]
            da += x[i] * dy[i]
            db += dy[i]
    return dx, da, db


def skip_by_where(x, a, b, dy):
    through = np.where(x * a + b > 0, dy, 0)
    return dy * 1 + through * a, np.vdot(x, through), np.sum(through)


def skip_by_slope(x, a, b, dy):
    open_ = np.maximum(a * x + b, 0) != 0
    return dy * (1 + a * open_), float((dy * x)[open_].sum()), float(dy[open_].sum())


def _skip(mask, join=lambda dy, other: dy + other):
    """Mistake: the maximum lets through where `mask` says; dx is made of both ways by `join`."""
    def wrong(x, a, b, dy):
        dh = dy * mask(x, a * x + b, dy)
        return join(dy, a * dh), float((x * dh).sum()), float(dh.sum())
    return wrong


def _skip_sums(of_a, of_b):
    """Mistake: da and db are made of x dh and dh, dh being what comes through the maximum, in these ways."""
    def wrong(x, a, b, dy):
        dh = dy * (a * x + b > 0)
        return dy + a * dh, of_a(x, dh, dy), of_b(x, dh, dy)
    return wrong


def _total(v):
    return float(v.sum())


def skip_changing_dy(x, a, b, dy):
    out = skip_backward(x, a, b, dy)
    dy[...] = out[0]
    return out


OPEN = lambda x, h, dy: h > 0  # noqa: E731


def random_skip(rng):
    shape = tuple(int(n) for n in rng.integers(2, 5, rng.integers(1, 3)))
    a, b = float(rng.integers(1, 9) / 2 * rng.choice([-1, 1])), float(rng.integers(-4, 5) / 2)
    return call(rng.integers(-8, 9, shape) / 4, a, b, rng.integers(-8, 9, shape) / 4)


SKIP_BACKWARD = Exercise(
    id="skip_backward", points=2,
    oracle=skip_backward,
    probes=[call(np.array([1.0, -2, 3]), 2.0, -3.0, np.array([5.0, 4, -1])),
            call(np.array([-0.5, 1.0, -2, 0.25]), 2.0, 1.0, np.array([3.0, -1, 2, 4])),
            call(np.array([-3.0, -1, 0.5, 2, -0.5]), -2.0, 1.5, np.array([1.0, -2, 3, 1, 2])),
            call(np.array([0.0, 2, -1, 4]), 1.5, 0.0, np.array([2.0, -3, 1, 0.5])),
            call(quarters(1, 2, 3), -0.5, 0.25, quarters(2, 2, 3)),
            call(strided(quarters(3, 3, 4)), 3.0, -1.0, strided(ints(4, 3, 4))),
            call(np.array([-1.0, -2]), 1.0, 0.5, np.array([4.0, -3]))],
    random=random_skip,
    mistakes=[
        Mistake("as_given", "This is the broken function as given. Both ways from x to y must count, and the "
                "maximum is one of h and 0: which tensor knows where it let something through?",  # 58, 56
                _skip(lambda x, h, dy: x > 0, lambda dy, other: other)),
        Mistake("skip_overwritten", "`dx` holds only the way through the maximum: the gradient of the skip is "
                "overwritten. x has two uses, so two gradients are added.",  # 58
                _skip(OPEN, lambda dy, other: other)),
        Mistake("only_the_skip", "`dx` holds only the gradient along the skip. x also acts through h.",  # 58
                _skip(OPEN, lambda dy, other: dy + 0)),
        Mistake("mask_from_x", "The maximum lets the gradient through where x is positive. It compared h with 0, "
                "not x.",  # 56
                _skip(lambda x, h, dy: x > 0)),
        Mistake("mask_from_y", "The maximum lets the gradient through where y is positive. y contains the skip as "
                "well; the maximum saw h alone.",  # 56
                _skip(lambda x, h, dy: x + np.maximum(h, 0) > 0)),
        Mistake("mask_from_dy", "The gradient comes through where dy is positive. A negative gradient passes too; "
                "what counts is which input won in the forward pass.",  # 56
                _skip(lambda x, h, dy: dy > 0)),
        Mistake("zero_lets_through", "Where h is exactly 0 the gradient comes through. In this exercise it does "
                "not.",  # 56
                _skip(lambda x, h, dy: h >= 0)),
        Mistake("maximum_ignored", "The gradient comes through everywhere. Where h is negative the maximum is 0, "
                "whatever h is exactly.",
                _skip(lambda x, h, dy: np.ones(h.shape))),
        Mistake("mask_on_the_skip", "The skip is masked too. It does not pass the maximum, so dy goes through it "
                "everywhere.",
                lambda x, a, b, dy: (dy * (1 + a) * (a * x + b > 0), *_skip(OPEN)(x, a, b, dy)[1:])),
        Mistake("factor_a_missing", "In `dx` the way through the maximum lacks a factor: h grows a times as fast as "
                "x.",
                _skip(lambda x, h, dy: h > 0, lambda dy, other: dy + (other != 0) * dy)),
        Mistake("gradients_averaged", "`da` and `db` are means over the elements. Every element uses a and b, and "
                "the gradients of all uses add up.",  # 41
                _skip_sums(lambda x, dh, dy: float((x * dh).mean()), lambda x, dh, dy: float(dh.mean()))),
        Mistake("not_summed", "`da` and `db` are arrays. a and b are single numbers, shared by all elements: their "
                "gradients are sums over the elements.",  # 42
                _skip_sums(lambda x, dh, dy: x * dh, lambda x, dh, dy: dh)),
        Mistake("last_element_only", "`da` and `db` come from the last element alone: each element replaces the one "
                "before. They have to add up.",  # 43
                _skip_sums(lambda x, dh, dy: float((x * dh).flat[-1]), lambda x, dh, dy: float(dh.flat[-1]))),
        Mistake("x_missing_in_da", "`da` lacks a factor. In a x the two are multiplied, and multiply switches.",
                _skip_sums(lambda x, dh, dy: _total(dh), lambda x, dh, dy: _total(dh))),
        Mistake("skip_counts_for_b", "`db` sums all of dy. b acts through the maximum only, where h is positive.",
                _skip_sums(lambda x, dh, dy: _total(x * dh), lambda x, dh, dy: _total(dy))),
        Mistake("sums_not_masked", "`da` and `db` also count elements where h is negative. There a and b have no "
                "influence on y.",
                _skip_sums(lambda x, dh, dy: _total(x * dy), lambda x, dh, dy: _total(dy))),
        Mistake("upstream_as_ones", "`dy` is taken as ones. The chain rule multiplies by the gradient that "
                "arrives.",  # 54
                lambda x, a, b, dy: skip_backward(x, a, b, np.ones(dy.shape))),
        Mistake("only_dx", "Only `dx` is returned. The gradients of a and b are asked for too: `(dx, da, db)`.",
                lambda x, a, b, dy: skip_backward(x, a, b, dy)[0]),
        Mistake("changes_dy", "`dy` is changed: `dx = dy` makes no copy, so `dx += ...` writes into it. Another "
                "layer may still need it.",  # 32
                skip_changing_dy),
    ],
    alternatives=[skip_by_loop, skip_by_where, skip_by_slope],
    hints=[
        "Draw x with its two ways to y. What gradient comes back along each? What happens where they meet at x?",
        dedent("""\
        One element: x = 1, a = 2, b = 1, dy = 5. So h = 3, y = 1 + 3 = 4.

        | along | gradient |
        |---|---|
        | the skip, to x | 5 |
        | the maximum, to h | 5, for 3 > 0 |
        | from h to x | a · 5 = 10 |
        | from h to a | x · 5 = 5 |
        | from h to b | 5 |

        dx = 5 + 10 = 15."""),
        dedent("""\
        ```
        h  <- a x + b                                 # as in the forward pass, like x
        dh <- dy where h is positive, else 0          # like x
        dx <- what comes along the skip plus what comes from h
        da <- sum over all elements of what each sends to a
        db <- the same for b
        ```"""),
        "A sum distributes: both ways get dy. The maximum of h and 0 hands it on only where h was the winner. At x "
        "two ways meet, and since a change of x acts along both, their effects on L add. At a and b the ways of all "
        "elements meet.",
    ])


# ---------------------------------------------------------------------------- kernel_indices

FAR = 24  # images in the oracles are large enough for the indices of any probe


def one_hot(shape, row, col):
    out = np.zeros((1, 1, *shape))
    out[0, 0, row, col] = 1
    return out


def _found(array):
    row, col = np.argwhere(array[0, 0])[0]
    return int(row), int(col)


def kernel_indices(a, b, r, c):
    """Oracle: with a kernel that is 1 at (a, b), the gradient of y(r, c) is 1 at the pixel they share."""
    weight, size = one_hot((FAR // 2, FAR // 2), a, b), FAR - FAR // 2 + 1
    dx = torch_gradients(np.zeros((1, 1, FAR, FAR)), weight, one_hot((size, size), r, c))[0]
    return (r, c), _found(dx)


def kernel_indices_by_list(a, b, r, c):
    return [[r, c], [a + r, b + c]]


def kernel_indices_by_array(a, b, r, c):
    return tuple(np.array([[r, c], [r + a, c + b]]))


def random_four(rng):
    return call(*(int(v) for v in rng.permutation(11)[:4]))


def _indices(in_dy, in_other):
    """A mistake: both pairs as functions of the four numbers."""
    return lambda *four: (in_dy(*four), in_other(*four))


KERNEL_INDICES = Exercise(
    id="kernel_indices", points=1,
    oracle=kernel_indices,
    probes=[call(1, 0, 2, 5), call(0, 0, 3, 1), call(2, 1, 0, 0), call(0, 3, 1, 4), call(4, 2, 7, 1), call(1, 6, 5, 9)],
    random=random_four,
    mistakes=[
        Mistake("minus", "The signs say r − a. Look at the forward sum: y(r, c) reads the pixel x(r + a, c + b), and "
                "backward the same two meet.",
                _indices(lambda a, b, r, c: (r, c), lambda a, b, r, c: (r - a, c - b))),
        Mistake("minus_the_other_way", "The pixel is at a − r. Look at the forward sum: which pixel does y(r, c) "
                "read with the weight k(a, b)?",
                _indices(lambda a, b, r, c: (r, c), lambda a, b, r, c: (a - r, b - c))),
        Mistake("roles_exchanged", "The two pairs are exchanged: the first is for `dy`, the second for `x`.",
                lambda a, b, r, c: kernel_indices(a, b, r, c)[::-1]),
        Mistake("rows_and_columns_mixed", "A row and a column are added up. Rows go with rows: r with a, and c with "
                "b.",
                _indices(lambda a, b, r, c: (r, c), lambda a, b, r, c: (r + b, c + a))),
        Mistake("column_first", "Row and column are exchanged within the pairs. The row comes first.",  # 4
                _indices(lambda a, b, r, c: (c, r), lambda a, b, r, c: (c + b, r + a))),
        Mistake("pixel_transposed", "Row and column of the pixel are exchanged.",  # 4
                _indices(lambda a, b, r, c: (r, c), lambda a, b, r, c: (c + b, r + a))),
        Mistake("no_shift", "The pixel is taken at (r, c), the place of the output. Which pixel of its window "
                "does the weight (a, b) meet?",
                _indices(lambda a, b, r, c: (r, c), lambda a, b, r, c: (r, c))),
        Mistake("weight_in_place_of_output", "`dy` is read at (a, b), the place of the weight. The sum runs over all "
                "outputs (r, c), each with its own gradient.",
                _indices(lambda a, b, r, c: (a, b), lambda a, b, r, c: (r + a, c + b))),
        Mistake("weight_as_pixel", "The second pair is the weight itself. It is multiplied by a pixel; multiply "
                "switches.",
                _indices(lambda a, b, r, c: (r, c), lambda a, b, r, c: (a, b))),
        Mistake("dy_shifted_too", "`dy` is shifted by (a, b) as well. Output (r, c) is at (r, c); only the pixel it "
                "reads lies a and b further.",
                _indices(lambda a, b, r, c: (r + a, c + b), lambda a, b, r, c: (r + a, c + b))),
        Mistake("dy_shifted_back", "The pixel is at (r, c) and the output at (r − a, c − b). That pair does meet at "
                "this weight, but here (r, c) is the place of the output, which the sum runs over.",
                _indices(lambda a, b, r, c: (r - a, c - b), lambda a, b, r, c: (r, c))),
        Mistake("rows_only", "The rows are right, but the column of the pixel is not shifted.",  # 17
                _indices(lambda a, b, r, c: (r, c), lambda a, b, r, c: (r + a, c))),
    ],
    alternatives=[kernel_indices_by_list, kernel_indices_by_array],
    hints=[
        "Which pixel is multiplied by k(a, b) when the window stands at (r, c)?",
        dedent("""\
        The window of output (2, 5) has its first pixel at (2, 5). The weight k(1, 0) lies one row below its corner:

        ```
                  column 5   column 6
        row 2     k(0,0)     k(0,1)
        row 3     k(1,0)     k(1,1)
        ```

        So in y(2, 5) the weight k(1, 0) meets the pixel (3, 5)."""),
        dedent("""\
        ```
        forward term:   x(pixel) times k(a, b), a part of y(r, c)
        to k(a, b):     dy at the output, times the pixel       # multiply switches
        result <- the place of the output, the place of the pixel
        ```"""),
        "Differentiate y(r, c), the sum of x(r + a, c + b) k(a, b), by one weight: all terms vanish but the one that "
        "contains it, and what is left is its pixel. Then multiply by the upstream gradient of this output. The sum "
        "over outputs is there because each of them uses the weight.",
    ])


# ---------------------------------------------------------------------------- input_indices

def input_indices(r, c, a, b):
    """Oracle: where an image that is 1 at (r, c) answers to a kernel that is 1 at (a, b)."""
    reach = FAR // 2
    image = one_hot((3 * FAR, 3 * FAR), r + FAR, c + FAR)  # far from the border, so that no index is negative
    row, col = _found(torch_conv(image, one_hot((reach, reach), a, b)))
    return (row - FAR, col - FAR), (a, b)


def input_indices_by_list(r, c, a, b):
    return [[r - a, c - b], [a, b]]


def input_indices_by_array(r, c, a, b):
    place, weight = np.array([r, c]), np.array([a, b])
    return place - weight, weight


def _pixel_pairs(in_dy, in_k):
    return lambda r, c, a, b: (in_dy(r, c, a, b), in_k(r, c, a, b))


RIGHT_DY = lambda r, c, a, b: (r - a, c - b)  # noqa: E731
RIGHT_K = lambda r, c, a, b: (a, b)  # noqa: E731

INPUT_INDICES = Exercise(
    id="input_indices", points=1,
    oracle=input_indices,
    probes=[call(5, 2, 1, 0), call(3, 4, 0, 0), call(2, 7, 1, 3), call(0, 1, 2, 4), call(6, 3, 5, 1), call(8, 9, 2, 6)],
    random=random_four,
    mistakes=[
        Mistake("plus", "The output is taken at (r + a, c + b). Solve the other way: output i reads pixel i + a "
                "with the weight a, so which output reads the pixel r with it?",
                _pixel_pairs(lambda r, c, a, b: (r + a, c + b), RIGHT_K)),
        Mistake("minus_the_other_way", "The output is at a − r. Output i reads pixel i + a with the weight a. Solve "
                "i + a = r for i.",
                _pixel_pairs(lambda r, c, a, b: (a - r, b - c), RIGHT_K)),
        Mistake("flipped_twice", "The minus appears in both. It is there already in the place of the output; "
                "with a minus in the kernel too, the rotation is made twice and so undone.",  # 46
                _pixel_pairs(RIGHT_DY, lambda r, c, a, b: (-a, -b))),
        Mistake("flip_in_the_kernel_only", "The minus stands at the weight. The weight is the one that met the "
                "pixel, k(a, b); what lies a rows before the pixel is the output.",
                _pixel_pairs(lambda r, c, a, b: (r, c), lambda r, c, a, b: (-a, -b))),
        Mistake("kernel_minus_dy_plus", "The minus is at the wrong factor: the output is at (r − a, c − b), the "
                "weight is k(a, b) itself.",
                _pixel_pairs(lambda r, c, a, b: (r + a, c + b), lambda r, c, a, b: (-a, -b))),
        Mistake("roles_exchanged", "The two pairs are exchanged: the first is for `dy`, the second for `k`.",
                lambda r, c, a, b: input_indices(r, c, a, b)[::-1]),
        Mistake("rows_and_columns_mixed", "A row and a column are subtracted. Rows go with rows: r with a, and c "
                "with b.",
                _pixel_pairs(lambda r, c, a, b: (r - b, c - a), RIGHT_K)),
        Mistake("column_first", "Row and column are exchanged within the pairs. The row comes first.",  # 4
                _pixel_pairs(lambda r, c, a, b: (c - b, r - a), lambda r, c, a, b: (b, a))),
        Mistake("kernel_transposed", "Row and column of the weight are exchanged.",  # 3
                _pixel_pairs(RIGHT_DY, lambda r, c, a, b: (b, a))),
        Mistake("no_shift", "`dy` is read at (r, c), the place of the pixel. The output that reads this pixel "
                "with the weight (a, b) has its window elsewhere, unless a = b = 0.",
                _pixel_pairs(lambda r, c, a, b: (r, c), RIGHT_K)),
        Mistake("weight_in_place_of_output", "`dy` is read at (a, b), the place of the weight. Which output is "
                "it that reads the pixel (r, c) with this weight?",
                _pixel_pairs(lambda r, c, a, b: (a, b), RIGHT_K)),
        Mistake("pixel_as_weight", "The second pair is the pixel itself. It is multiplied by a weight; multiply "
                "switches.",
                _pixel_pairs(RIGHT_DY, lambda r, c, a, b: (r, c))),
        Mistake("clipped_at_zero", "Where the index would be negative, 0 is returned. There is no such output; "
                "keep the negative index, the sum leaves it out.",
                _pixel_pairs(lambda r, c, a, b: (max(r - a, 0), max(c - b, 0)), RIGHT_K)),
        Mistake("rows_only", "The rows are right, but the column of the output is not shifted.",  # 17
                _pixel_pairs(lambda r, c, a, b: (r - a, c), RIGHT_K)),
    ],
    alternatives=[input_indices_by_list, input_indices_by_array],
    hints=[
        "Output (i, j) reads the pixels (i + a, j + b). For which (i, j) is that the pixel (r, c)?",
        dedent("""\
        One row, a kernel of 3. Which outputs read pixel 5, and with which weight?

        ```
        pixels      3 4 5 6 7
        output 5        0 1 2      pixel 5 meets weight 0
        output 4      0 1 2        pixel 5 meets weight 1
        output 3    0 1 2          pixel 5 meets weight 2
        ```"""),
        dedent("""\
        ```
        forward term:   x(r, c) times k(a, b), a part of which output?
        that output:    the place whose window has (r, c) at (a, b)
        to x(r, c):     dy at that output, times the weight       # multiply switches
        ```"""),
        "∂y(i, j)/∂x(r, c) is the weight at which they meet: k(r − i, c − j). Name that weight (a, b), and i is "
        "r − a, j is c − b. The larger a is, the further up the window lies: this is the minus that makes a "
        "convolution.",
    ])


# ---------------------------------------------------------------------------- weight_gradient

def _kernel_size(x, dy):
    return x.shape[2] - dy.shape[2] + 1, x.shape[3] - dy.shape[3] + 1


def weight_gradient(x, dy):
    """Oracle: torch's autograd; the gradient does not depend on the weights."""
    weight = np.zeros((dy.shape[1], x.shape[1], *_kernel_size(x, dy)))
    return torch_gradients(x, weight, dy)[1:]


def weight_by_loops(x, dy):
    grad = np.zeros((dy.shape[1], x.shape[1], *_kernel_size(x, dy)))
    bias = np.zeros(dy.shape[1])
    for n, o, r, c in np.ndindex(dy.shape):
        bias[o] += dy[n, o, r, c]
        for i, a, b in np.ndindex(grad.shape[1:]):
            grad[o, i, a, b] += dy[n, o, r, c] * x[n, i, r + a, c + b]
    return grad, bias


def weight_by_windows(x, dy):
    windows = sliding_window_view(x, dy.shape[2:], axis=(2, 3))
    return np.einsum("niabrc,norc->oiab", windows, dy), np.einsum("norc->o", dy)


def weight_by_positions(x, dy):
    kh, kw = _kernel_size(x, dy)
    grad = 0
    for r, c in np.ndindex(dy.shape[2:]):
        grad = grad + np.tensordot(dy[:, :, r, c], x[:, :, r:r + kh, c:c + kw], axes=(0, 0))
    return grad, dy.sum((2, 3)).sum(0)


def weight_last_window(x, dy):
    one = np.zeros(dy.shape)
    one[:, :, -1, -1] = dy[:, :, -1, -1]
    return weight_gradient(x, one)[0], weight_gradient(x, dy)[1]


def _weight(of_weight=lambda g, x, dy: g, of_bias=lambda g, x, dy: g):
    """Mistake: one of the two gradients is changed."""
    def wrong(x, dy):
        weight, bias = weight_gradient(x, dy)
        return of_weight(weight, x, dy), of_bias(bias, x, dy)
    return wrong


def random_weight_gradient(rng):
    n, c, o, kh, kw, h, w = (int(v) for v in rng.integers(1, 4, 7))
    return call(rng.integers(-8, 9, (n, c, h + kh - 1, w + kw - 1)) / 4, rng.integers(-8, 9, (n, o, h, w)) / 4)


WEIGHT_GRADIENT = Exercise(
    id="weight_gradient", points=3,
    oracle=weight_gradient,
    probes=[call(np.array([[[[1.0, 2, 0, -1], [3, 0, 1, 2], [0, -2, 1, 4]]]]), np.array([[[[1.0, 0, 2], [-1, 3, 0]]]])),
            call(ints(20, 2, 3, 3, 4), ints(21, 2, 2, 2, 2)),
            call(quarters(22, 3, 2, 4, 4), ints(23, 3, 4, 3, 1)),
            call(ints(24, 2, 1, 3, 5), quarters(25, 2, 3, 1, 4)),
            call(strided(ints(26, 1, 2, 5, 3)), strided(quarters(27, 1, 3, 3, 3))),
            call(quarters(28, 4, 3, 2, 3), ints(29, 4, 1, 2, 3)),
            call(ints(30, 2, 2, 5, 4), ints(31, 2, 2, 2, 3))],
    random=random_weight_gradient,
    mistakes=[
        Mistake("averaged_over_batch", "Both gradients are averaged over the images. They are sums: if the loss "
                "is a mean, its 1/N is in `dy` already.",  # 40, 55
                _weight(lambda g, x, dy: g / len(x), lambda g, x, dy: g / len(x))),
        Mistake("all_averaged", "Both gradients are averaged: `grad_weight` over the images, `grad_bias` over "
                "images, rows and columns. They are sums: if the "
                "loss is a mean, its factor is in `dy` already.",  # 40, 41, 55
                _weight(lambda g, x, dy: g / len(x), lambda g, x, dy: dy.mean(axis=(0, 2, 3)))),
        Mistake("weight_averaged_over_batch", "`grad_weight` is averaged over the images. It is a sum: if the "
                "loss is a mean, its 1/N is in `dy` already.",  # 40
                _weight(lambda g, x, dy: g / len(x))),
        Mistake("averaged_over_positions", "`grad_weight` is averaged over the positions. Every position uses "
                "the weight, and the gradients of all uses add up.",
                _weight(lambda g, x, dy: g / (dy.shape[2] * dy.shape[3]))),
        Mistake("bias_averaged", "`grad_bias` is a mean over images, rows and columns. Every output uses the "
                "bias, and the gradients of all uses add up.",  # 41
                _weight(of_bias=lambda g, x, dy: dy.mean(axis=(0, 2, 3)))),
        Mistake("bias_averaged_over_batch", "`grad_bias` is averaged over the images. It is a sum: if the loss "
                "is a mean, its 1/N is in `dy` already.",  # 41
                _weight(of_bias=lambda g, x, dy: g / len(x))),
        Mistake("bias_not_summed_over_space", "`grad_bias` is summed over the images only. Each filter has one "
                "bias, used at every position.",  # 42
                _weight(of_bias=lambda g, x, dy: dy.sum(axis=0))),
        Mistake("bias_per_image", "`grad_bias` is summed over space only. Each filter has one bias, used for every "
                "image.",  # 42
                _weight(of_bias=lambda g, x, dy: dy.sum(axis=(2, 3)))),
        Mistake("last_window", "`grad_weight` holds what the last window gives: each position replaces the one "
                "before. They have to add up.",  # 43
                weight_last_window),
        Mistake("last_image", "`grad_weight` holds the gradient of the last image alone. The images add up.",  # 39
                _weight(lambda g, x, dy: weight_gradient(x[-1:], dy[-1:])[0])),
        Mistake("first_image", "`grad_weight` holds the gradient of the first image alone. The images add up.",  # 39
                _weight(lambda g, x, dy: weight_gradient(x[:1], dy[:1])[0])),
        Mistake("rotated", "`grad_weight` is rotated by 180°. A layer cross-correlates, and so does the gradient "
                "of its kernel: only the gradient of the input needs a rotation.",  # 46
                _weight(lambda g, x, dy: turned(g))),
        Mistake("dy_rotated", "`dy` is rotated before it is used as a kernel. The weight's indices grow together "
                "with those of `dy`: that is a cross-correlation, without rotation.",  # 46
                _weight(lambda g, x, dy: weight_gradient(x, turned(dy))[0])),
        Mistake("channels_exchanged", "The channel axes of `grad_weight` are exchanged. It has the shape of the "
                "weights: filters first, then the channels they read.",  # 47, 20
                _weight(lambda g, x, dy: g.swapaxes(0, 1))),
        Mistake("transposed", "Rows and columns of `grad_weight` are exchanged.",  # 4
                _weight(lambda g, x, dy: g.swapaxes(2, 3))),
        Mistake("upstream_as_ones", "`dy` is taken as ones in `grad_weight`, which then sums the pixels. Each "
                "pixel is multiplied by the upstream gradient of the output that read it.",  # 54
                _weight(lambda g, x, dy: weight_gradient(x, np.ones(dy.shape))[0])),
        Mistake("input_channels_summed", "The input channels are summed up in `grad_weight`. Every slice of a "
                "filter reads its own channel.",
                _weight(lambda g, x, dy: np.repeat(g.sum(axis=1, keepdims=True), g.shape[1], axis=1))),
        Mistake("filters_summed", "The filters are summed up in `grad_weight`. Filter o acts through output "
                "channel o alone.",
                _weight(lambda g, x, dy: np.repeat(g.sum(axis=0, keepdims=True), g.shape[0], axis=0))),
        Mistake("sign", "Every sign is the other way round. This is the direction in which to go; the gradient "
                "itself has no minus.",
                _weight(lambda g, x, dy: -g, lambda g, x, dy: -g)),
        Mistake("integer_buffer", "The result is stored in an array of integers, which cuts off fractions.",  # 33
                _weight(lambda g, x, dy: g.astype(int))),
        Mistake("only_weight", "Only the gradient of the weights is returned. That of the biases is asked for too.",
                lambda x, dy: weight_gradient(x, dy)[0]),
        Mistake("pair_exchanged", "The two results are exchanged: the gradient of the weights comes first.",
                lambda x, dy: weight_gradient(x, dy)[::-1]),
    ],
    alternatives=[weight_by_loops, weight_by_windows, weight_by_positions],
    hints=[
        "Which pixels does the weight (a, b) meet while its window runs over the whole image? What shape has "
        "that block of pixels?",
        dedent("""\
        One channel, x is 3×4, dy is 2×3, so the kernel is 2×2. The weight (1, 0) meets the framed block:

        ```
        .  .  .  .
        x  x  x  .      times    dy  dy  dy
        x  x  x  .               dy  dy  dy
        ```

        Its gradient is the sum of these six products. The bias gets the sum of the six dy."""),
        dedent("""\
        ```
        kH, kW <- H - H_out + 1, W - W_out + 1
        grad_weight <- zeros                                   # (C_out, C_in, kH, kW)
        for each a, b:
            met <- x from row a and column b, as large as dy    # (N, C_in, H_out, W_out)
            for each filter o and channel i:
                grad_weight[o, i, a, b] <- sum over images, rows, columns of dy[:, o] times met[:, i]
        grad_bias[o] <- sum over images, rows, columns of dy[:, o]
        ```"""),
        "A weight is used once for each image and each position. Each use contributes upstream gradient times "
        "pixel, and uses add up. Within one channel pair that is a cross-correlation with dy as the kernel. "
        "Channels are never mixed: W(o, i) connects exactly input channel i with output channel o.",
    ])


# ---------------------------------------------------------------------------- input_gradient

def _size_of_input(weight, dy):
    return dy.shape[2] + weight.shape[2] - 1, dy.shape[3] + weight.shape[3] - 1


def input_gradient(weight, dy):
    """Oracle: torch's autograd; the gradient does not depend on the input."""
    return torch_gradients(np.zeros((len(dy), weight.shape[1], *_size_of_input(weight, dy))), weight, dy)[0]


def input_by_stamps(weight, dy):
    dx = np.zeros((len(dy), weight.shape[1], *_size_of_input(weight, dy)))
    for n, o, r, c in np.ndindex(dy.shape):
        for i, a, b in np.ndindex(weight.shape[1:]):
            dx[n, i, r + a, c + b] += dy[n, o, r, c] * weight[o, i, a, b]
    return dx


def input_by_weights(weight, dy):
    dx = np.zeros((len(dy), weight.shape[1], *_size_of_input(weight, dy)))
    for a, b in np.ndindex(weight.shape[2:]):
        dx[:, :, a:a + dy.shape[2], b:b + dy.shape[3]] += np.einsum("norc,oi->nirc", dy, weight[:, :, a, b])
    return dx


def input_by_collecting(weight, dy):
    kh, kw = weight.shape[2:]
    windows = sliding_window_view(padded(dy, (kh - 1,) * 2, (kw - 1,) * 2), (kh, kw), axis=(2, 3))
    return np.einsum("norcab,oiab->nirc", windows, turned(weight))


def _stamp(weight, dy, add, skip=0):
    """Stamp dy times the kernel onto zeros, added or overwritten, without the last `skip` rows and columns."""
    dx = np.zeros((len(dy), weight.shape[1], *_size_of_input(weight, dy)))
    for r, c in np.ndindex(dy.shape[2] - skip, dy.shape[3] - skip):
        part = dx[:, :, r:r + weight.shape[2], c:c + weight.shape[3]]
        part[...] = (part if add else 0) + np.tensordot(dy[:, :, r, c], weight, axes=1)
    return dx


def _each_part(weight, dy):
    """The gradient through each output channel by itself: (C_out, N, C_in, H, W)."""
    return np.stack([input_gradient(weight[o:o + 1], dy[:, o:o + 1]) for o in range(len(weight))])


def input_columns_exchanged(weight, dy):
    return np.ascontiguousarray(input_gradient(weight, dy)).swapaxes(2, 3)


def input_same_size(weight, dy):
    kh, kw = weight.shape[2:]
    return input_gradient(weight, dy)[:, :, kh // 2:kh // 2 + dy.shape[2], kw // 2:kw // 2 + dy.shape[3]]


def random_input_gradient(rng):
    n, c, o, kh, kw, h, w = (int(v) for v in rng.integers(1, 4, 7))
    return call(rng.integers(-8, 9, (o, c, kh, kw)) / 4, rng.integers(-8, 9, (n, o, h, w)) / 4)


INPUT_GRADIENT = Exercise(
    id="input_gradient", points=2,
    oracle=input_gradient,
    probes=[call(np.array([[[[1.0, 2], [0, -1]]]]), np.array([[[[1.0, 3, 0], [-2, 1, 4]]]])),
            call(ints(40, 2, 3, 2, 3), ints(41, 2, 2, 2, 2)),
            call(quarters(42, 4, 2, 1, 2), ints(43, 1, 4, 3, 2)),
            call(ints(44, 3, 1, 3, 2), quarters(45, 3, 3, 1, 3)),
            call(strided(ints(46, 2, 3, 1, 1)), strided(quarters(47, 2, 2, 3, 2))),
            call(ints(48, 3, 3, 2, 2), ints(49, 2, 3, 3, 4)),
            call(quarters(50, 1, 2, 3, 3), quarters(51, 2, 1, 2, 2))],
    random=random_input_gradient,
    mistakes=[
        Mistake("as_given", "This is the broken function as given. Test it on a single 1 in `dy`: what should "
                "the stamp look like? Then on two neighbours: what happens where their stamps overlap?",  # 44, 46
                lambda weight, dy: _stamp(turned(weight), dy, add=False)),
        Mistake("overwritten", "Where stamps overlap, the later one overwrites the earlier. A pixel that several "
                "windows read gets the sum of their gradients.",  # 44
                lambda weight, dy: _stamp(weight, dy, add=False)),
        Mistake("rotated", "The stamps are rotated by 180°. Output (r, c) read the pixel (r + a, c + b) with "
                "k(a, b), so it gives back there by the same weight: upright.",  # 46
                lambda weight, dy: input_gradient(turned(weight), dy)),
        Mistake("rows_reversed", "The rows of the kernel are used from bottom to top.",  # 2
                lambda weight, dy: input_gradient(weight[:, :, ::-1], dy)),
        Mistake("columns_reversed", "The columns of the kernel are used from right to left.",  # 2
                lambda weight, dy: input_gradient(weight[:, :, :, ::-1], dy)),
        Mistake("last_outputs_missing", "The last row and the last column of outputs give nothing back: check "
                "where your loops end.",  # 10
                lambda weight, dy: _stamp(weight, dy, add=True, skip=1)),
        Mistake("first_filter_only", "Only output channel 0 gives something back. An input channel is read by all "
                "filters, and their gradients add up.",
                lambda weight, dy: _each_part(weight, dy)[0]),
        Mistake("last_filter_only", "Only the last output channel counts: each filter's share replaces the one "
                "before. They have to add up.",  # 44
                lambda weight, dy: _each_part(weight, dy)[-1]),
        Mistake("filters_averaged", "The shares of the filters are averaged. An input channel is read by all "
                "filters, and their gradients add up.",  # 22
                lambda weight, dy: input_gradient(weight, dy) / len(weight)),
        Mistake("input_channels_summed", "Every input channel gets the sum over all input channels. Each is read "
                "by its own slice of the filters.",
                lambda weight, dy: input_gradient(np.repeat(weight.sum(1, keepdims=True), weight.shape[1], 1), dy)),
        Mistake("first_image_only", "Only image 0 gets a gradient.",  # 39
                lambda weight, dy: input_gradient(weight, dy * (np.arange(len(dy)) == 0)[:, None, None, None])),
        Mistake("divided_by_coverage", "Each pixel's gradient is averaged over the windows that read it. It is "
                "their sum.",
                lambda weight, dy: input_gradient(weight, dy)
                / input_gradient(np.ones((1, 1, *weight.shape[2:])), np.ones((1, 1, *dy.shape[2:])))),
        Mistake("upstream_as_ones", "`dy` is taken as ones. Each stamp is multiplied by the upstream gradient of its "
                "output.",  # 54
                lambda weight, dy: input_gradient(weight, np.ones(dy.shape))),
        Mistake("cut_to_the_size_of_dy", "`dx` has the size of `dy`. It must have the size of the input, which "
                "is larger: kH − 1 rows and kW − 1 columns more.",  # 48
                input_same_size),
        Mistake("transposed", "Rows and columns of `dx` are exchanged.",  # 4
                input_columns_exchanged),
        Mistake("integer_buffer", "`dx` is stored in an array of integers, which cuts off fractions.",  # 33
                lambda weight, dy: input_gradient(weight, dy).astype(int)),
    ],
    alternatives=[input_by_stamps, input_by_weights, input_by_collecting],
    hints=[
        "Output (r, c) read the pixel (r + a, c + b) with the weight k(a, b). What does it send back to that "
        "pixel? And if another output also sends something there?",
        dedent("""\
        One row, kernel 1 2 3, dy = 1 10:

        ```
        stamp of output 0    1   2   3
        stamp of output 1       10  20  30
        dx                   1  12  23  30
        ```"""),
        dedent("""\
        ```
        dx <- zeros                                        # (N, C_in, H, W)
        for each output position r, c:
            stamp <- for each image: sum over filters o of dy[o, r, c] times filter o     # (N, C_in, kH, kW)
            add stamp to the window of dx at r, c
        ```"""),
        "The forward pass reads each window with the upright kernel, so the backward pass gives back with the "
        "upright kernel. It is only from the side of the pixel that the order turns round. And since a pixel "
        "acts on the loss through every window that contains it, the shares add up.",
    ])


# ---------------------------------------------------------------------------- full_convolution

def full_convolution(weight, dy):
    """Oracle: torch's pad, flip and transpose."""
    import torch

    kh, kw = weight.shape[2:]
    around = torch.nn.functional.pad(tensor(dy), (kw - 1, kw - 1, kh - 1, kh - 1))
    return around.numpy(), tensor(weight).flip(2, 3).transpose(0, 1).contiguous().numpy()


def full_by_numpy(weight, dy):
    kh, kw = weight.shape[2:]
    return padded(dy, (kh - 1, kh - 1), (kw - 1, kw - 1)), np.rot90(weight, 2, axes=(2, 3)).transpose(1, 0, 2, 3)


def full_by_hand(weight, dy):
    (o, i, kh, kw), (n, _, h, w) = weight.shape, dy.shape
    around = np.zeros((n, o, h + 2 * kh - 2, w + 2 * kw - 2))
    around[:, :, kh - 1:kh - 1 + h, kw - 1:kw - 1 + w] = dy
    kernel = np.zeros((i, o, kh, kw))
    for q, p, a, b in np.ndindex(weight.shape):
        kernel[p, q, kh - 1 - a, kw - 1 - b] = weight[q, p, a, b]
    return [around, kernel]


def _full(rows=lambda k: (k - 1, k - 1), kernel=lambda w: turned(w).swapaxes(0, 1), cols=None):
    """Mistake: dy padded by functions of kH and kW, and the kernel made of the weights by `kernel`."""
    def wrong(weight, dy):
        kh, kw = weight.shape[2:]
        return padded(dy, rows(kh), (cols or rows)(kw)), np.ascontiguousarray(kernel(weight))
    return wrong


FULL_CONVOLUTION = Exercise(
    id="full_convolution", points=2,
    oracle=full_convolution,
    probes=[call(np.array([[[[1.0, 2, 3], [4, 5, -6]]]]), np.array([[[[1.0, -1], [2, 3]]]])),
            call(ints(60, 2, 3, 2, 3), ints(61, 2, 2, 1, 2)),
            call(quarters(62, 3, 2, 3, 2), ints(63, 1, 3, 2, 3)),
            call(ints(64, 2, 3, 1, 4), quarters(65, 1, 2, 2, 1)),
            call(strided(ints(66, 2, 1, 4, 2)), strided(ints(67, 2, 2, 2, 3))),
            call(quarters(68, 3, 3, 1, 1), ints(69, 1, 3, 2, 2)),
            call(ints(70, 1, 4, 2, 2), quarters(71, 2, 1, 3, 1))],
    random=lambda rng: random_input_gradient(rng),
    mistakes=[
        Mistake("not_rotated", "The kernel is not rotated. As a and b grow, the outputs at (r − a, c − b) are walked "
                "backwards; `correlate` walks forwards, so the kernel must be turned round.",  # 46
                _full(kernel=lambda w: w.swapaxes(0, 1))),
        Mistake("rows_only_reversed", "Only the rows of the kernel are "
                "reversed. Half a turn reverses both axes.",  # 2
                _full(kernel=lambda w: w[:, :, ::-1].swapaxes(0, 1))),
        Mistake("columns_only_reversed", "Only the columns of the kernel are reversed. Half a turn reverses both "
                "axes.",  # 2
                _full(kernel=lambda w: w[..., ::-1].swapaxes(0, 1))),
        Mistake("kernel_transposed", "Rows and columns of the kernel are exchanged. A rotation by 180° reverses "
                "both axes, and exchanges none.",  # 3
                _full(kernel=lambda w: w.transpose(1, 0, 3, 2))),
        Mistake("rotated_by_90", "The kernel is rotated by 90°. Half a turn is needed: both axes reversed.",
                _full(kernel=lambda w: np.rot90(w, axes=(2, 3)).swapaxes(0, 1))),
        Mistake("channels_not_exchanged", "The channel axes of the kernel are not exchanged. Backwards, the "
                "layer reads C_out channels and makes C_in.",  # 47
                _full(kernel=turned)),
        Mistake("channels_reshaped", "The channel axes are exchanged by a reshape, which puts the numbers in "
                "other places. Move the axis.",  # 47, 27
                _full(kernel=lambda w: np.ascontiguousarray(turned(w)).reshape(w.shape[1], w.shape[0], *w.shape[2:]))),
        Mistake("all_axes_reversed", "The channels are reversed as well. Only the two axes of space are turned "
                "round.",
                _full(kernel=lambda w: w[::-1, ::-1, ::-1, ::-1].swapaxes(0, 1))),
        Mistake("only_channels", "The channel axes are exchanged, but all four axes of `weight` are reversed in "
                "order: `.T` exchanges rows and columns too.",  # 3
                _full(kernel=lambda w: turned(w).transpose(1, 0, 3, 2))),
        Mistake("padding_k", "`dy` is padded by the size of the kernel: one row and one column too many on each "
                "side.",  # 48
                _full(lambda k: (k, k))),
        Mistake("padding_same", "`dy` is padded by half the kernel, as for a layer that keeps the size. Here the "
                "result must be larger than `dy`.",  # 48
                _full(lambda k: (k // 2, k // 2))),
        Mistake("padding_half", "`dy` is padded by (k − 1)/2, as for a layer that keeps the size. Here the "
                "result must be larger than `dy`.",  # 48
                _full(lambda k: ((k - 1) // 2, (k - 1) // 2))),
        Mistake("no_padding", "`dy` is not padded. Pixels at the border are read by few outputs; zeros take the "
                "place of those that do not exist.",  # 48
                _full(lambda k: (0, 0))),
        Mistake("padded_before_only", "The zeros are added above and to the left only. Outputs are missing on "
                "all four sides.",  # 12
                _full(lambda k: (k - 1, 0))),
        Mistake("padded_after_only", "The zeros are added below and to the right only. Outputs are missing on "
                "all four sides.",  # 12
                _full(lambda k: (0, k - 1))),
        Mistake("pair_swapped", "The rows are padded by the width of the kernel, and the columns by its height.",  # 8
                lambda weight, dy: (padded(dy, (weight.shape[3] - 1,) * 2, (weight.shape[2] - 1,) * 2),
                                    full_convolution(weight, dy)[1])),
        Mistake("rotated_both", "`dy` is rotated as well as the kernel. One of the two is turned round, the "
                "kernel.",  # 46
                lambda weight, dy: full_convolution(weight, turned(dy))),
        Mistake("dy_rotated", "`dy` is rotated in place of the kernel. Then the result comes out rotated.",  # 46
                lambda weight, dy: (full_convolution(weight, turned(dy))[0], np.array(weight.swapaxes(0, 1)))),
        Mistake("result_returned", "`dx` itself is returned. Return the two arrays that `correlate` turns into it.",
                lambda weight, dy: torch_conv(*full_convolution(weight, dy))),
        Mistake("pair_exchanged", "The two arrays are exchanged: the padded `dy` comes first.",
                lambda weight, dy: full_convolution(weight, dy)[::-1]),
    ],
    alternatives=[full_by_numpy, full_by_hand],
    hints=[
        "Take one row, a kernel of 3, and pixel 0. Which outputs read it? Which weights find no output there, "
        "and how many zeros do they need?",
        dedent("""\
        One row, kernel 1 2 3, dy = 1 10, so the input has 4 pixels:

        ```
        padded dy    0  0  1 10  0  0
        3 2 1        3  2  1              dx[0] =          1·1
                        3  2  1           dx[1] =  2·1  + 1·10
                           3  2  1        dx[2] =  3·1  + 2·10
                              3  2  1     dx[3] =  3·10
        ```"""),
        dedent("""\
        ```
        padded <- dy with kH - 1 rows and kW - 1 columns of zeros on each side
                                                       # (N, C_out, H_out + 2 kH - 2, W_out + 2 kW - 2)
        kernel <- weight with both axes of space reversed
        kernel <- its first two axes exchanged         # (C_in, C_out, kH, kW)
        ```"""),
        "The pixel (r, c) collects dy(r − a, c − b) k(a, b). Put a' = kH − 1 − a: then dy is read at (r − (kH − "
        "1) + a', …), which grows with a', and that start lies kH − 1 rows before r, hence the zeros. The sum "
        "over filters makes C_out the channels that are read.",
    ])


# ---------------------------------------------------------------------------- two_slopes

def _loss(x, weight, target):
    return 0.5 * ((torch_conv(x, weight) - target) ** 2).sum()


def two_slopes(x, weight, target, gradient, direction, step):
    """Oracle: for a quadratic loss the central difference is the slope, which autograd gives, for any step."""
    dx = torch_gradients(x, weight, torch_conv(x, weight) - target)[0]
    return float((dx * direction).sum()), float((gradient * direction).sum())


def slopes_by_losses(x, weight, target, gradient, direction, step):
    plus = _loss(x + step * direction, weight, target)
    minus = _loss(x - step * direction, weight, target)
    return (plus - minus) / 2 / step, np.vdot(gradient, direction)


def slopes_by_calculus(x, weight, target, gradient, direction, step):
    moved = torch_conv(direction, weight)
    return ((torch_conv(x, weight) - target) * moved).sum(), np.dot(gradient.ravel(), direction.ravel())


def slopes_by_copies(x, weight, target, gradient, direction, step):
    values = []
    for sign in (1, -1):
        moved = x.copy()
        for place in np.ndindex(x.shape):
            moved[place] += sign * step * direction[place]
        values.append(_loss(moved, weight, target))
    claimed = 0.0
    for place in np.ndindex(x.shape):
        claimed += gradient[place] * direction[place]
    return [(values[0] - values[1]) / (2 * step), claimed]


def _measured(formula):
    """Mistake: the measured slope by `formula` of the losses ahead, here and behind, and the step."""
    def wrong(x, weight, target, gradient, direction, step):
        ahead, here, behind = (_loss(x + s * step * direction, weight, target) for s in (1, 0, -1))
        return float(formula(ahead, here, behind, step)), float((gradient * direction).sum())
    return wrong


def _claimed(formula):
    """Mistake: the claimed slope by `formula` of gradient, direction and step."""
    def wrong(x, weight, target, gradient, direction, step):
        return two_slopes(x, weight, target, gradient, direction, step)[0], formula(gradient, direction, step)
    return wrong


def slopes_normalised(x, weight, target, gradient, direction, step):
    return two_slopes(x, weight, target, gradient, direction / np.sqrt((direction ** 2).sum()), step)


def slopes_changing_x(x, weight, target, gradient, direction, step):
    out = two_slopes(x, weight, target, gradient, direction, step)
    x += step * direction
    return out


def slopes_moved_twice(x, weight, target, gradient, direction, step):
    ahead = _loss(x + step * direction, weight, target)
    return float((ahead - _loss(x, weight, target)) / (2 * step)), float((gradient * direction).sum())


def _slopes_probe(seed, n, c, o, kh, kw, h, w, step, make=quarters, view=lambda v: v):
    x, weight = make(seed, n, c, h, w), make(seed + 1, o, c, kh, kw)
    target = make(seed + 2, n, o, h - kh + 1, w - kw + 1)
    return call(view(x), weight, target, make(seed + 3, n, c, h, w), make(seed + 4, n, c, h, w), step)


def random_slopes(rng):
    n, c, o, kh, kw, h, w = (int(v) for v in rng.integers(1, 3, 7))
    return _slopes_probe(int(rng.integers(1_000_000)), n, c, o, kh, kw, h + kh, w + kw,
                         float(rng.choice([0.25, 0.5, 1.0, 2.0])))


TWO_SLOPES = Exercise(
    id="two_slopes", points=2,
    oracle=two_slopes,
    probes=[call(np.array([[[[1.0, 2], [0, -1]]]]), np.array([[[[2.0, 1]]]]), np.array([[[[1.0], [3]]]]),
                 np.array([[[[5.0, 1], [-2, 0]]]]), np.array([[[[1.0, -1], [2, 0]]]]), 0.5),
            _slopes_probe(80, 1, 1, 1, 2, 2, 3, 3, 1.0, ints), _slopes_probe(86, 2, 1, 2, 1, 2, 2, 3, 0.5),
            _slopes_probe(92, 1, 2, 3, 2, 1, 3, 2, 2.0), _slopes_probe(98, 2, 3, 1, 1, 1, 2, 3, 0.25, view=strided),
            _slopes_probe(104, 1, 2, 2, 2, 3, 3, 4, 1.0, ints)],
    random=random_slopes,
    mistakes=[
        Mistake("forward_difference", "The measured slope compares one step ahead with no step. The formula "
                "steps both ways; here it matters, because the loss is curved.",
                _measured(lambda ahead, here, behind, h: (ahead - here) / h)),
        Mistake("backward_difference", "The measured slope compares no step with one step back. The formula "
                "steps both ways; here it matters, because the loss is curved.",
                _measured(lambda ahead, here, behind, h: (here - behind) / h)),
        Mistake("divided_by_step", "The measured slope is twice too large. How far apart are the two places at "
                "which the loss is taken?",
                _measured(lambda ahead, here, behind, h: (ahead - behind) / h)),
        Mistake("not_divided", "The difference of the losses is not divided by the distance 2h.",
                _measured(lambda ahead, here, behind, h: ahead - behind)),
        Mistake("divided_by_two_only", "The difference of the losses is divided by 2 alone: the step is missing "
                "in the denominator.",
                _measured(lambda ahead, here, behind, h: (ahead - behind) / 2)),
        Mistake("bracket_missing", "The difference is divided by 2 and then multiplied by the step: `/ 2 * step` is "
                "worked out from left to right.",
                _measured(lambda ahead, here, behind, h: (ahead - behind) / 2 * h)),
        Mistake("half_a_difference", "One step ahead is compared with no step, but divided by 2h.",
                slopes_moved_twice),
        Mistake("sign", "The measured slope has the wrong sign: the loss ahead minus the loss behind.",
                _measured(lambda ahead, here, behind, h: (behind - ahead) / (2 * h))),
        Mistake("normalised", "`direction` is divided by its length. Use it as it is.",
                slopes_normalised),
        Mistake("all_elements_moved", "The step is added to every element, without `direction`.",
                lambda x, weight, target, gradient, direction, step: (
                    two_slopes(x, weight, target, gradient, np.ones(x.shape), step)[0],
                    float((gradient * direction).sum()))),
        Mistake("direction_missing", "`direction` is not used, neither in the step nor in the claim.",
                lambda x, weight, target, gradient, direction, step:
                two_slopes(x, weight, target, gradient, np.ones(x.shape), step)),
        Mistake("along_the_gradient", "The step is made along `gradient`. It is to be made along `direction`: "
                "the gradient is what is being tested.",
                lambda x, weight, target, gradient, direction, step: (
                    two_slopes(x, weight, target, gradient, gradient, step)[0], float((gradient * direction).sum()))),
        Mistake("claim_without_direction", "The claimed slope sums the gradient. Each element counts as much as "
                "`direction` moves it.",
                _claimed(lambda g, u, h: float(g.sum()))),
        Mistake("claim_averaged", "The claimed slope is a mean over the elements. Their effects on the loss add up.",
                _claimed(lambda g, u, h: float((g * u).mean()))),
        Mistake("claim_not_summed", "The claimed slope is an array. The changes of all elements act on one loss: "
                "sum them.",
                _claimed(lambda g, u, h: g * u)),
        Mistake("claim_times_step", "The claimed slope is multiplied by the step. That is a change of the loss; "
                "a slope is the change per step.",
                _claimed(lambda g, u, h: float((g * u).sum() * h))),
        Mistake("claim_measured", "`gradient` is not used: the measured slope is returned twice. The claim may "
                "be wrong, and that is to be found out.",
                lambda x, weight, target, gradient, direction, step:
                (two_slopes(x, weight, target, gradient, direction, step)[0],) * 2),
        Mistake("exchanged", "The two slopes are exchanged: the measured one comes first.",
                lambda *args: two_slopes(*args)[::-1]),
        Mistake("difference_returned", "The difference of the two slopes is returned. Return both.",
                lambda *args: two_slopes(*args)[0] - two_slopes(*args)[1]),
        Mistake("changes_x", "`x` is moved and not put back: `x += ...` writes into the array that was passed "
                "in. Make a new one.",  # 32
                slopes_changing_x),
    ],
    alternatives=[slopes_by_losses, slopes_by_calculus, slopes_by_copies],
    hints=[
        "Where do you stand after a step of h along u, and where after the step back? How far apart are the two "
        "places, counted in steps?",
        dedent("""\
        One number: L(x) = ½ x², at x = 3, u = 2, h = 0.5.

        | place | x | L |
        |---|---|---|
        | ahead | 3 + 0.5·2 = 4 | 8 |
        | behind | 3 − 0.5·2 = 2 | 2 |

        Measured: (8 − 2)/(2·0.5) = 6. A gradient of 3 claims 3·2 = 6."""),
        dedent("""\
        ```
        ahead    <- the loss at x plus step times direction        # one number
        behind   <- the loss at x minus step times direction
        measured <- their difference, over 2 step
        claimed  <- sum over all elements of gradient times direction
        ```"""),
        "Along a direction the loss is a function of one number h, and its slope at 0 is a weighted sum of all "
        "elements of the gradient. Half-squares are curved, so a step to one side has an error in proportion to "
        "h; with a step to both sides the curvature cancels.",
    ])


# ---------------------------------------------------------------------------- strided_input_gradient

def strided_input_gradient(weight, dy, size, stride, padding):
    """Oracle: torch's autograd."""
    return torch_gradients(np.zeros((len(dy), weight.shape[1], *size)), weight, dy, stride, padding)[0]


def strided_by_stamps(weight, dy, size, stride, padding):
    (sh, sw), (ph, pw), (h, w), (kh, kw) = pair(stride), pair(padding), size, weight.shape[2:]
    dx = np.zeros((len(dy), weight.shape[1], h + 2 * ph, w + 2 * pw))
    for r, c in np.ndindex(dy.shape[2:]):
        dx[:, :, r * sh:r * sh + kh, c * sw:c * sw + kw] += np.tensordot(dy[:, :, r, c], weight, axes=1)
    return dx[:, :, ph:ph + h, pw:pw + w]


def strided_by_pixels(weight, dy, size, stride, padding):
    (sh, sw), (ph, pw) = pair(stride), pair(padding)
    dx = np.zeros((len(dy), weight.shape[1], *size))
    for r, c in np.ndindex(*size):
        for a, b in np.ndindex(weight.shape[2:]):
            (i, rest), (j, rest_too) = divmod(r + ph - a, sh), divmod(c + pw - b, sw)
            if rest == rest_too == 0 and 0 <= i < dy.shape[2] and 0 <= j < dy.shape[3]:
                dx[:, :, r, c] += dy[:, :, i, j] @ weight[:, :, a, b]
    return dx


def strided_by_collecting(weight, dy, size, stride, padding):
    (sh, sw), (ph, pw), (h, w), (kh, kw) = pair(stride), pair(padding), size, weight.shape[2:]
    n, o, h_out, w_out = dy.shape
    spread = np.zeros((n, o, h + 2 * ph - kh + 1, w + 2 * pw - kw + 1))
    spread[:, :, :h_out * sh:sh, :w_out * sw:sw] = dy
    full = torch_conv(*full_convolution(weight, spread))
    return full[:, :, ph:h + ph, pw:w + pw]


def _spread(dy, stride):
    (sh, sw), (n, o, h, w) = pair(stride), dy.shape
    out = np.zeros((n, o, (h - 1) * sh + 1, (w - 1) * sw + 1))
    out[:, :, ::sh, ::sw] = dy
    return out


def _read(weight, dy, stride):
    """The gradient of everything that windows read, padding included."""
    return input_gradient(weight, _spread(dy, stride))


def _fit(dx, size, padding, offset=None):
    """Crop or fill up with zeros to `size`, from `offset`, which is the padding if it is right."""
    (ph, pw), (h, w) = offset or pair(padding), size
    out = np.zeros((*dx.shape[:2], ph + h, pw + w))
    part = dx[:, :, :ph + h, :pw + w]
    out[:, :, :part.shape[2], :part.shape[3]] = part
    return out[:, :, ph:, pw:]


def strided_last_zeros_first(weight, dy, size, stride, padding):
    (ph, pw), (h, w) = pair(padding), size
    read = _read(weight, dy, stride)
    full = padded(read, (h + 2 * ph - read.shape[2], 0), (w + 2 * pw - read.shape[3], 0))
    return full[:, :, ph:ph + h, pw:pw + w]


def strided_minus_zero(weight, dy, size, stride, padding):
    (ph, pw), (h, w) = pair(padding), size
    full = _fit(_read(weight, dy, stride), (h + 2 * ph, w + 2 * pw), 0)
    return full[:, :, ph:-ph, pw:-pw]


def strided_without_rest(weight, dy, size, stride, padding):
    """Crops the padding from the end of what was read, whether or not the windows got there."""
    (ph, pw) = pair(padding)
    read = _read(weight, dy, stride)
    return read[:, :, ph:max(read.shape[2] - ph, ph), pw:max(read.shape[3] - pw, pw)]


def strided_repeating(weight, dy, size, stride, padding):
    (sh, sw) = pair(stride)
    copies, (h, w) = np.repeat(np.repeat(dy, sh, axis=2), sw, axis=3), _spread(dy, stride).shape[2:]
    return _fit(input_gradient(weight, copies[:, :, :h, :w]), size, padding)


def strided_overwriting(weight, dy, size, stride, padding):
    (sh, sw), (ph, pw), (h, w), (kh, kw) = pair(stride), pair(padding), size, weight.shape[2:]
    dx = np.zeros((len(dy), weight.shape[1], h + 2 * ph, w + 2 * pw))
    for r, c in np.ndindex(dy.shape[2:]):
        dx[:, :, r * sh:r * sh + kh, c * sw:c * sw + kw] = np.tensordot(dy[:, :, r, c], weight, axes=1)
    return dx[:, :, ph:ph + h, pw:pw + w]


ONE, PADDED, REST, PAIRS = "stride", "padding", "rows that no window reads", "pairs"


def _strided_probe(rng, n, c, o, kernel, size, stride, padding, part, make=None, view=lambda v: v):
    make = make or (lambda *shape: rng.integers(-8, 9, shape) / 4)
    out = [(h + 2 * p - k) // s + 1 for h, p, k, s in zip(size, pair(padding), kernel, pair(stride))]
    return call(view(make(o, c, *kernel)), view(make(n, o, *out)), size, stride, padding, part=part)


def random_strided(rng):
    n, c, o, kh, kw = (int(v) for v in rng.integers(1, 4, 5))
    part = [ONE, PADDED, REST, PAIRS][rng.integers(4)]
    number = lambda low, high: int(rng.integers(low, high))  # noqa: E731
    stride = {ONE: number(2, 4), PADDED: 1, REST: number(2, 4), PAIRS: (number(1, 4), number(1, 4))}[part]
    padding = {ONE: 0, PADDED: number(0, min(kh, kw)), REST: 0, PAIRS: (number(0, kh), number(0, kw))}[part]
    (sh, sw), (ph, pw) = pair(stride), pair(padding)
    steps = rng.integers(1, 4, 2)
    size = [int(m * s + k - 2 * p) for m, s, k, p in zip(steps, (sh, sw), (kh, kw), (ph, pw))]
    rest = {REST: 1, PAIRS: number(0, 2)}.get(part, 0)
    size = tuple(max(v, 1) + rest for v in size)
    return _strided_probe(rng, n, c, o, (kh, kw), size, stride, padding, part)


def _whole(seed):
    rng = np.random.default_rng(seed)
    return rng, lambda *shape: rng.integers(-4, 5, shape).astype(float)


def _sp(seed, *args, whole=True, **kwargs):
    rng, make = _whole(seed)
    return _strided_probe(rng, *args, make=make if whole else None, **kwargs)


STRIDED_INPUT_GRADIENT = Exercise(
    id="strided_input_gradient", points=3,
    oracle=strided_input_gradient,
    probes=[call(np.array([[[[1.0, 2], [3, -1]]]]), np.array([[[[1.0, 0, -2], [4, 5, 1]]]]), (4, 6), 2, 0, part=ONE),
            _sp(120, 2, 3, 2, (3, 2), (5, 6), 2, 0, ONE), _sp(121, 1, 2, 3, (1, 2), (4, 5), 3, 0, ONE, whole=False),
            _sp(122, 1, 1, 1, (3, 3), (3, 4), 1, 1, PADDED), _sp(123, 2, 2, 3, (3, 4), (4, 3), 1, 2, PADDED),
            _sp(124, 3, 1, 2, (2, 3), (3, 4), 1, 0, PADDED, whole=False, view=strided),
            _sp(125, 1, 1, 1, (2, 2), (5, 7), 2, 0, REST), _sp(126, 2, 3, 1, (2, 1), (7, 6), 3, 0, REST),
            _sp(127, 1, 2, 2, (3, 3), (8, 6), 2, 1, REST, whole=False),
            _sp(128, 1, 1, 1, (2, 3), (4, 5), (1, 2), (1, 0), PAIRS),
            _sp(129, 2, 2, 3, (3, 2), (5, 4), (3, 1), (2, 1), PAIRS),
            _sp(130, 1, 3, 2, (3, 4), (4, 7), (2, 3), (0, 3), PAIRS, whole=False)],
    random=random_strided,
    mistakes=[
        Mistake("as_given", "This is the broken function as given. Where in the padded image does the real image "
                "begin? And what of the rows that no window reads?",  # 50, 51
                lambda weight, dy, size, stride, padding: _read(weight, dy, stride)[:, :, :size[0], :size[1]]),
        Mistake("cropped_from_the_top_left", "The padded gradient is cut from its top left corner. The image's "
                "own first pixel lies behind the padding.",  # 51
                lambda weight, dy, size, stride, padding: _fit(_read(weight, dy, stride), size, padding, (0, 0))),
        Mistake("uncovered_rows_missing", "Rows and columns that no window reads are missing. They have gradient "
                "0, and `dx` has the size of the input.",  # 50
                lambda weight, dy, size, stride, padding: _read(weight, dy, stride)[
                    :, :, pair(padding)[0]:pair(padding)[0] + size[0], pair(padding)[1]:pair(padding)[1] + size[1]]),
        Mistake("cropped_too_much", "The padding is cut from the end of what the windows read. With a remainder "
                "they do not reach the end of the padded image, and real pixels are cut off.",  # 50
                strided_without_rest),
        Mistake("zeros_at_the_beginning", "The zeros for the rows that no window reads stand at the top and "
                "left. Windows start there; what they do not reach lies at the bottom and right.",  # 50
                strided_last_zeros_first),
        Mistake("empty_without_padding", "With padding 0 nothing is left: a slice `[p:-p]` then ends at −0, "
                "which is the beginning.",  # 52
                strided_minus_zero),
        Mistake("not_cropped", "The gradient of the padding is returned as well. `dx` has the size of the input.",
                lambda weight, dy, size, stride, padding: _fit(
                    _read(weight, dy, stride), [s + 2 * p for s, p in zip(size, pair(padding))], 0)),
        Mistake("padding_ignored", "Every case without padding is right: `padding` is not used, and the image "
                "begins at the first row of the padding.",
                lambda weight, dy, size, stride, padding: _fit(_read(weight, dy, stride), size, padding, (0, 0))
                if pair(padding) == (0, 0) else _read(weight, dy, stride)),
        Mistake("cropped_twice", "Twice the padding is cut off at the top and left. Padding p adds p rows on "
                "each side.",
                lambda weight, dy, size, stride, padding: _fit(
                    _read(weight, dy, stride), size, padding, tuple(2 * p for p in pair(padding)))),
        Mistake("stride_ignored", "Every case with stride 1 is right: neighbouring outputs are taken as one pixel "
                "apart.",  # 49
                lambda weight, dy, size, stride, padding: _fit(_read(weight, dy, 1), size, padding)),
        Mistake("stride_on_rows_only", "The stride is applied to the rows, but the columns are taken as one pixel "
                "apart.",  # 17
                lambda weight, dy, size, stride, padding: _fit(_read(weight, dy, (pair(stride)[0], 1)), size, padding)),
        Mistake("copies_instead_of_zeros", "Each element of `dy` is repeated. The outputs that the stride left "
                "out have no influence, so zeros belong between.",  # 49
                strided_repeating),
        Mistake("stride_pair_swapped", "The first number of a stride pair is for the rows, the second for the "
                "columns.",  # 8
                lambda weight, dy, size, stride, padding: _fit(_read(weight, dy, pair(stride)[::-1]), size, padding)),
        Mistake("padding_pair_swapped", "The first number of a padding pair is for the rows, the second for the "
                "columns.",  # 8
                lambda weight, dy, size, stride, padding: _fit(
                    _read(weight, dy, stride), size, padding, pair(padding)[::-1])),
        Mistake("first_of_pair_only", "The first number of a pair is used for both axes. Each axis has its own.",  # 8
                lambda weight, dy, size, stride, padding: _fit(
                    _read(weight, dy, pair(stride)[0]), size, padding, (pair(padding)[0],) * 2)),
        Mistake("overwritten", "Where stamps overlap, the later one overwrites "
                "the earlier. They have to add up.",  # 44
                strided_overwriting),
        Mistake("rotated", "The kernel is the wrong way round: rotated where it should be upright, or upright "
                "where it should be rotated.",  # 46
                lambda weight, dy, size, stride, padding: strided_input_gradient(
                    turned(weight), dy, size, stride, padding)),
        Mistake("integer_buffer", "`dx` is stored in an array of integers, which cuts off fractions.",  # 33
                lambda weight, dy, size, stride, padding: strided_input_gradient(
                    weight, dy, size, stride, padding).astype(int)),
    ],
    alternatives=[strided_by_stamps, strided_by_pixels, strided_by_collecting],
    hints=[
        "What do you get before anything is cropped: the gradient of which image? Which of its rows belong to "
        "the real image? Is it always large enough?",
        dedent("""\
        One row of 6 pixels, padding 1, kernel 3, stride 3 (`.` is a zero, `x` is read):

        ```
        padded     . a b c d e f .
        window 0   x x x
        window 1         x x x
        gradient   * * * * * * 0 0     six are read, the last two are not
        dx           * * * * * 0       the padding is cropped on both sides
        ```"""),
        dedent("""\
        ```
        read <- dx of a layer with stride 1, from the dilated dy   # all that the windows read
        dx   <- zeros of the size of the padded image              # (N, C_in, H + 2 pH, W + 2 pW)
        put read into dx, at the top left
        result <- dx without the padding                           # (N, C_in, H, W)
        ```"""),
        "Windows start at the first row of the padded image, so what they read begins there, and what they leave "
        "over lies at the end. Fill up first, to the size of the padded image, and then crop: then the remainder "
        "and the padding cannot get in each other's way.",
    ])


# ---------------------------------------------------------------------------- conv2d_layer

class Conv2d:
    """Oracle: torch's convolution and its autograd."""

    def __init__(self, weight, bias, stride=1, padding=0):
        self.weight, self.bias, self.stride, self.padding = weight, bias, pair(stride), pair(padding)

    def forward(self, x):
        self.x = np.array(x)
        return torch_conv(x, self.weight, self.bias, self.stride, self.padding)

    def backward(self, dy):
        dx, self.grad_weight, self.grad_bias = torch_gradients(self.x, self.weight, dy, self.stride, self.padding)
        return dx


class ConvByLoops:
    """Loops over the outputs; it keeps the padded input."""

    def __init__(self, weight, bias, stride=1, padding=0):
        self.weight, self.bias, self.stride, self.padding = weight, bias, stride, padding

    def windows(self):
        (sh, sw), (kh, kw) = pair(self.stride), self.weight.shape[2:]
        for r in range((self.x.shape[2] - kh) // sh + 1):
            for c in range((self.x.shape[3] - kw) // sw + 1):
                yield r, c, (slice(None), slice(None), slice(r * sh, r * sh + kh), slice(c * sw, c * sw + kw))

    def forward(self, x):
        (ph, pw) = pair(self.padding)
        self.x = padded(x, (ph, ph), (pw, pw))
        r, c, _ = list(self.windows())[-1]
        y = np.zeros((len(x), len(self.weight), r + 1, c + 1))
        for r, c, at in self.windows():
            y[:, :, r, c] = np.einsum("niab,oiab->no", self.x[at], self.weight) + self.bias
        return y

    def backward(self, dy):
        (ph, pw), dx = pair(self.padding), np.zeros(self.x.shape)
        self.grad_weight, self.grad_bias = np.zeros(self.weight.shape), np.zeros(self.bias.shape)
        for r, c, at in self.windows():
            self.grad_weight += np.einsum("no,niab->oiab", dy[:, :, r, c], self.x[at])
            self.grad_bias += dy[:, :, r, c].sum(axis=0)
            dx[at] += np.einsum("no,oiab->niab", dy[:, :, r, c], self.weight)
        return dx[:, :, ph:dx.shape[2] - ph, pw:dx.shape[3] - pw]


class ConvByFunctions:
    """Keeps the input itself, and calls functions like those of the earlier exercises."""

    def __init__(self, weight, bias, stride=1, padding=0):
        self.layer = weight, bias, stride, padding

    def forward(self, x):
        self.seen = x
        return torch_conv(x, *self.layer)

    def backward(self, dy):
        weight, _, stride, padding = self.layer
        (ph, pw), (sh, sw), (kh, kw) = pair(padding), pair(stride), weight.shape[2:]
        spread = _spread(dy, stride)
        around = padded(self.seen, (ph, ph), (pw, pw))[:, :, :spread.shape[2] + kh - 1, :spread.shape[3] + kw - 1]
        self.grad_weight, self.grad_bias = weight_by_windows(around, spread)
        return strided_by_stamps(weight, dy, self.seen.shape[2:], stride, padding)


class ConvByColumns:
    """im2col, a product of matrices, and back, as in notebook 04."""

    def __init__(self, weight, bias, stride=1, padding=0):
        self.weight, self.bias, self.stride, self.padding = weight, bias, pair(stride), pair(padding)

    def forward(self, x):
        (ph, pw), (sh, sw) = self.padding, self.stride
        self.shape = x.shape
        around = padded(x, (ph, ph), (pw, pw))
        windows = sliding_window_view(around, self.weight.shape[2:], axis=(2, 3))[:, :, ::sh, ::sw]
        n, _, h, w = windows.shape[:4]
        self.columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * w, -1)
        y = self.columns @ self.weight.reshape(len(self.weight), -1).T + self.bias
        return y.reshape(n, h, w, -1).transpose(0, 3, 1, 2)

    def backward(self, dy):
        rows = dy.transpose(0, 2, 3, 1).reshape(-1, len(self.weight))
        self.grad_weight = (rows.T @ self.columns).reshape(self.weight.shape)
        self.grad_bias = rows.sum(axis=0)
        return strided_by_stamps(self.weight, dy, self.shape[2:], self.stride, self.padding)


class KernelRotated(Conv2d):
    """A true convolution, with the backward pass that belongs to it."""

    def forward(self, x):
        self.x = np.array(x)
        return torch_conv(x, turned(self.weight), self.bias, self.stride, self.padding)

    def backward(self, dy):
        dx, grad_weight, self.grad_bias = torch_gradients(self.x, turned(self.weight), dy, self.stride, self.padding)
        self.grad_weight = np.array(turned(grad_weight))
        return dx


class PaddedAtTheEnd(Conv2d):
    """All padding below and to the right, forwards and backwards alike."""

    def around(self, x):
        return padded(x, *[(0, 2 * p) for p in self.padding])

    def forward(self, x):
        self.x = np.array(x)
        return torch_conv(self.around(x), self.weight, self.bias, self.stride)

    def backward(self, dy):
        dx, self.grad_weight, self.grad_bias = torch_gradients(self.around(self.x), self.weight, dy, self.stride)
        return dx[:, :, :self.x.shape[2], :self.x.shape[3]]


class PilesUp(Conv2d):
    def __init__(self, weight, bias, stride=1, padding=0):
        super().__init__(weight, bias, stride, padding)
        self.piles = 0.0, 0.0

    def backward(self, dy):
        dx = super().backward(dy)
        self.piles = self.grad_weight, self.grad_bias = self.piles[0] + self.grad_weight, self.piles[1] + self.grad_bias
        return dx


class FirstInputKept(Conv2d):
    """Keeps what the first forward saw, if the shapes allow it."""

    def forward(self, x):
        first = self.x if hasattr(self, "x") else x
        y = super().forward(x)
        self.x = np.resize(first, x.shape) if first.shape == x.shape else np.array(x)
        return y


class LearnsByItself(Conv2d):
    def backward(self, dy):
        dx = super().backward(dy)
        self.weight, self.bias = self.weight - self.grad_weight, self.bias - self.grad_bias
        return dx


class UnpaddedInput(Conv2d):
    """The gradient of the weights reads windows of the input as if it had no padding before it."""

    def backward(self, dy):
        dx = super().backward(dy)
        around = padded(self.x, *[(0, 2 * p) for p in self.padding])
        self.grad_weight = torch_gradients(around, self.weight, dy, self.stride)[1]
        return dx


class StrideIgnoredInWeights(Conv2d):
    def backward(self, dy):
        dx = super().backward(dy)
        (ph, pw), (kh, kw), (h, w) = self.padding, self.weight.shape[2:], dy.shape[2:]
        around = padded(self.x, (ph, ph), (pw, pw))[:, :, :h + kh - 1, :w + kw - 1]
        self.grad_weight = weight_gradient(around, dy)[0]
        return dx


class LastWindow(Conv2d):
    def backward(self, dy):
        dx = super().backward(dy)
        last = np.zeros(dy.shape)
        last[:, :, -1, -1] = dy[:, :, -1, -1]
        self.grad_weight = torch_gradients(self.x, self.weight, last, self.stride, self.padding)[1]
        return dx


def _layer(name, forward=None, dx=None, grad_weight=None, grad_bias=None):
    """A Conv2d that is wrong in one result: functions of the right one, the layer, and x or dy."""
    class Wrong(Conv2d):
        def forward(self, x):
            y = super().forward(x)
            return forward(y, self, x) if forward else y

        def backward(self, dy):
            right = super().backward(dy)
            if grad_weight:
                self.grad_weight = grad_weight(self.grad_weight, self, dy)
            if grad_bias:
                self.grad_bias = grad_bias(self.grad_bias, self, dy)
            return dx(right, self, dy) if dx else right

    Wrong.__name__ = name
    return Wrong


def _settings(name, stride=lambda s, p: s, padding=lambda s, p: p):
    """A Conv2d that works, forwards and backwards, with another stride and padding."""
    class Wrong(Conv2d):
        def __init__(self, weight, bias, stride_=1, padding_=0):
            super().__init__(weight, bias, stride_, padding_)
            self.stride, self.padding = stride(self.stride, self.padding), padding(self.stride, self.padding)

    def make(weight, bias, stride=1, padding=0):
        return Wrong(weight, bias, stride, padding)

    make.__name__ = name
    return make


def _from_top_left(dx, layer, dy):
    return _fit(_read(layer.weight, dy, layer.stride), layer.x.shape[2:], 0, (0, 0))


def _layer_call(part, seed, n, c, o, kernel, size, second=0, view=lambda v: v, make=quarters, last="", **settings):
    """A probe: forward, backward, both gradients; with `second` a batch of so many images after the first."""
    sh_sw, ph_pw = pair(settings.get("stride", 1)), pair(settings.get("padding", 0))

    def batch(seed, count, suffix=""):
        out = [(h + 2 * p - k) // s + 1 for h, p, k, s in zip(size, ph_pw, kernel, sh_sw)]
        x, dy = make(seed, count, c, *size), make(seed + 1, count, o, *out)
        return [("forward", {"x" + suffix: view(x)})], [("backward", {"dy" + suffix: view(dy)})]

    (forward, backward), gradients = batch(seed, n), [("grad_weight", None), ("grad_bias", None)]
    steps = {FORWARD: forward, DX: forward + backward}.get(last or part, forward + backward + gradients)
    if second:
        steps = forward + backward + sum(batch(seed + 20, second, "2"), []) + gradients
    return call(make(seed + 5, o, c, *kernel), make(seed + 6, o), **settings, steps=steps, part=part)


FORWARD, DX, WEIGHTS, SETTINGS, AGAIN = ("forward", "gradient of the input", "gradients of weights and bias",
                                         "stride and padding", "called again")


def random_layer(rng):
    n, c, o, kh, kw = (int(v) for v in rng.integers(1, 4, 5))
    part = [FORWARD, DX, WEIGHTS, SETTINGS, AGAIN][rng.integers(5)]
    settings = {}
    if part == SETTINGS:
        settings = {"stride": tuple(int(v) for v in rng.integers(1, 4, 2)),
                    "padding": tuple(int(rng.integers(0, k)) for k in (kh, kw))}
    size = tuple(int(k + v) for k, v in zip((kh, kw), rng.integers(0, 4, 2)))
    return _layer_call(part, int(rng.integers(1_000_000)), n, c, o, (kh, kw), size,
                       second=n + 1 if part == AGAIN else 0, **settings)


SMALL_STEPS = {"x": np.array([[[[1.0, 2, 0], [-1, 3, 1]]]]), "dy": np.array([[[[1.0, -2]]]])}
SMALL_LAYER = np.array([[[[1.0, 2], [3, -1]]]]), np.array([0.5])


def _small(part, *steps):
    return call(*SMALL_LAYER, part=part, steps=[
        (name, {given: SMALL_STEPS[given]} if given else None) for name, given in steps])


CONV2D_LAYER = Exercise(
    id="conv2d_layer", points=5,
    oracle=Conv2d,
    probes=[_small(FORWARD, ("forward", "x")),
            _layer_call(FORWARD, 200, 2, 3, 2, (2, 3), (3, 4), make=ints),
            _layer_call(FORWARD, 210, 3, 1, 4, (1, 2), (2, 3), view=strided),
            _small(DX, ("forward", "x"), ("backward", "dy")),
            _layer_call(DX, 220, 2, 3, 2, (2, 3), (4, 5), make=ints),
            _layer_call(DX, 230, 1, 2, 3, (3, 1), (4, 3), view=strided),
            _small(WEIGHTS, ("forward", "x"), ("backward", "dy"), ("grad_weight", None), ("grad_bias", None)),
            _layer_call(WEIGHTS, 240, 3, 2, 4, (2, 2), (3, 4), make=ints),
            _layer_call(WEIGHTS, 250, 2, 3, 1, (1, 3), (2, 5)),
            _layer_call(SETTINGS, 270, 1, 1, 1, (2, 2), (3, 5), make=ints, stride=2),
            _layer_call(SETTINGS, 280, 1, 2, 3, (3, 2), (3, 2), make=ints, padding=1),
            _layer_call(SETTINGS, 290, 2, 1, 2, (2, 2), (4, 6), make=ints, last=FORWARD, stride=(1, 2), padding=(1, 0)),
            _layer_call(SETTINGS, 300, 1, 2, 1, (3, 4), (4, 5), stride=(2, 3), padding=(1, 2)),
            _layer_call(SETTINGS, 310, 2, 1, 2, (2, 3), (4, 5), make=ints, stride=(3, 2), padding=(0, 2)),
            _layer_call(AGAIN, 320, 1, 1, 2, (2, 2), (3, 3), second=1, make=ints),
            _layer_call(AGAIN, 360, 2, 1, 1, (1, 2), (2, 4), second=3, make=ints, stride=(1, 2), padding=(0, 1))],
    random=random_layer,
    mistakes=[
        Mistake("kernel_rotated", "The kernels are rotated by 180°, forwards and backwards alike. A gradient "
                "check passes, for the two agree with each other. But a layer cross-correlates.",  # 59, 1
                KernelRotated),
        Mistake("padding_at_the_end", "All the padding lies below and to the right, forwards and backwards "
                "alike. A gradient check passes, for the two agree with each other. But padding belongs on both "
                "sides.",  # 59, 12
                PaddedAtTheEnd),
        Mistake("bias_missing", "`forward` does not add the bias.",  # 23
                _layer("BiasMissing", forward=lambda y, layer, x: y - layer.bias.reshape(-1, 1, 1))),
        Mistake("relu", "Negative outputs have become 0. A convolution layer does not clip; ReLU is a layer of "
                "its own.",  # 37
                _layer("Relu", forward=lambda y, layer, x: np.maximum(y, 0))),
        Mistake("piles_up", "The gradients of an earlier call are still in `grad_weight` and `grad_bias`. Each "
                "backward replaces them.",  # 57
                PilesUp),
        Mistake("first_input_kept", "The second backward uses the input of the first forward. Each forward must "
                "keep its own input.",
                FirstInputKept),
        Mistake("learns_by_itself", "`backward` changes the weights. It only computes the gradients; the step is "
                "made elsewhere.",
                LearnsByItself),
        Mistake("averaged_over_batch", "`grad_weight` and `grad_bias` are averaged over the images. They are "
                "sums: if the loss is a mean, its 1/N is in `dy` already.",  # 40, 55
                _layer("Averaged"
                "", grad_weight=lambda g, layer, dy: g / len(dy), grad_bias=lambda g, layer, dy: g / len(dy))),
        Mistake("all_averaged", "Both gradients are averaged: `grad_weight` over the images, `grad_bias` over "
                "images, rows and columns. They are sums: if the "
                "loss is a mean, its factor is in `dy` already.",  # 40, 41, 55
                _layer("AllAveraged", grad_weight=lambda g, layer, dy: g / len(dy),
                       grad_bias=lambda g, layer, dy: dy.mean(axis=(0, 2, 3)))),
        Mistake("weight_averaged", "`grad_weight` is averaged over the images. It is a sum: if the loss is a "
                "mean, its 1/N is in `dy` already.",  # 40
                _layer("WeightAveraged", grad_weight=lambda g, layer, dy: g / len(dy))),
        Mistake("bias_averaged", "`grad_bias` is a mean over images, rows and columns. Every output uses the "
                "bias, and the gradients of all uses add up.",  # 41
                _layer("BiasAveraged", grad_bias=lambda g, layer, dy: dy.mean(axis=(0, 2, 3)))),
        Mistake("bias_not_summed", "`grad_bias` is summed over the images only. Each filter has one bias, used "
                "at every position.",  # 42
                _layer("BiasNotSummed", grad_bias=lambda g, layer, dy: dy.sum(axis=0))),
        Mistake("last_window", "`grad_weight` holds what the last window gives: each position replaces the one "
                "before. They have to add up.",  # 43
                LastWindow),
        Mistake("first_image", "`grad_weight` holds the gradient of the first image alone. The images add up.",  # 39
                _layer("FirstImage", grad_weight=lambda g, layer, dy: torch_gradients(
                    layer.x[:1], layer.weight, dy[:1], layer.stride, layer.padding)[1])),
        Mistake("weight_gradient_rotated", "`grad_weight` is rotated by 180°. Only the gradient of the input needs a "
                "rotation, if you compute it by collecting.",  # 46
                _layer("WeightRotated", grad_weight=lambda g, layer, dy: np.array(turned(g)))),
        Mistake("channels_exchanged", "The channel axes of `grad_weight` are exchanged. It has the shape of "
                "`weight`.",  # 47
                _layer("Exchanged", grad_weight=lambda g, layer, dy: g.swapaxes(0, 1))),
        Mistake("unpadded_input", "Every case without padding is right. `grad_weight` reads the input as it was "
                "before it was padded, so the pixels do not lie where the windows did.",  # 53
                UnpaddedInput),
        Mistake("stride_ignored_in_weights", "Every case with stride 1 is right. `grad_weight` takes "
                "neighbouring outputs for one pixel apart.",  # 49
                StrideIgnoredInWeights),
        Mistake("stride_ignored_in_dx", "Every case with stride 1 is right. `dx` takes neighbouring outputs for "
                "one pixel apart.",  # 49
                _layer("StrideIgnored", dx=lambda g, layer, dy: _fit(
                    _read(layer.weight, dy, 1), layer.x.shape[2:], layer.padding))),
        Mistake("dx_not_cropped", "`dx` has the size of the padded input. What belongs to the padding is to be "
                "dropped.",
                _layer("NotCropped", dx=lambda g, layer, dy: _fit(
                    _read(layer.weight, dy, layer.stride),
                    [h + 2 * p for h, p in zip(layer.x.shape[2:], layer.padding)], 0))),
        Mistake("dx_cropped_from_the_top_left", "`dx` is cut from the top left of the padded gradient. The "
                "image's own first pixel lies behind the padding.",  # 51
                _layer("TopLeft", dx=_from_top_left)),
        Mistake("dx_without_unread_rows", "Rows and columns that no window reads are missing in `dx`. They have "
                "gradient 0, and `dx` has the shape of `x`.",  # 50
                _layer("Unread", dx=lambda g, layer, dy: _read(layer.weight, dy, layer.stride)[
                    :, :, layer.padding[0]:layer.padding[0] + layer.x.shape[2],
                    layer.padding[1]:layer.padding[1] + layer.x.shape[3]])),
        Mistake("dx_empty_without_padding", "With padding 0 `dx` is empty: a slice `[p:-p]` then ends at −0, "
                "which is the beginning.",  # 52
                _layer("MinusZero", dx=lambda g, layer, dy: strided_minus_zero(
                    layer.weight, dy, layer.x.shape[2:], layer.stride, layer.padding))),
        Mistake("dx_overwritten", "Where windows overlap, a pixel of `dx` keeps the share of the last window "
                "only. The shares add up.",  # 44
                _layer("Overwritten", dx=lambda g, layer, dy: strided_overwriting(
                    layer.weight, dy, layer.x.shape[2:], layer.stride, layer.padding))),
        Mistake("dx_rotated", "In `dx` the kernel is the wrong way round: rotated where it should be upright, or "
                "upright where it should be rotated.",  # 46
                _layer("Rotated", dx=lambda g, layer, dy: strided_input_gradient(
                    turned(layer.weight), dy, layer.x.shape[2:], layer.stride, layer.padding))),
        Mistake("upstream_as_ones", "`backward` takes `dy` as ones. The chain rule multiplies by the gradient that "
                "arrives.",  # 54
                type("Ones", (Conv2d,), {"backward": lambda self, dy: Conv2d.backward(self, np.ones(dy.shape))})),
        Mistake("stride_pair_swapped", "The first number of a stride pair is for the rows, the second for the "
                "columns.",  # 8
                _settings("StrideSwapped", stride=lambda s, p: s[::-1])),
        Mistake("padding_pair_swapped", "The first number of a padding pair is for the rows, the second for the "
                "columns.",  # 8
                _settings("PaddingSwapped", padding=lambda s, p: p[::-1])),
        Mistake("first_of_pair_only", "The first number of a pair is used for both axes. Each axis has its own.",  # 8
                _settings("FirstOfPair", lambda s, p: (s[0],) * 2, lambda s, p: (p[0],) * 2)),
        Mistake("float32", "The results are float32, which has half the digits of the input.",  # 34
                _layer("Single", forward=lambda y, layer, x: y.astype(np.float32),
                       dx=lambda g, layer, dy: g.astype(np.float32))),
    ],
    alternatives=[ConvByLoops, ConvByFunctions, ConvByColumns],
    hints=[
        "What does backward need to know that `dy` does not tell? Which arrays, and which shape, must forward keep?",
        dedent("""\
        One weight (a, b), stride 2, three outputs in a row of 7 (padding included), a kernel of 3:

        ```
        padded      0 1 2 3 4 5 6
        output 0    0 1 2
        output 1        0 1 2
        output 2            0 1 2
        b = 1         *   *   *      these pixels met weight 1: start 1, step 2, three of them
        ```

        Forward multiplies them by the weight. For its gradient they are multiplied by dy. And in dx they are the ones
        that get dy times the weight."""),
        dedent("""\
        ```
        forward:   pad x; windows at every stride                  # (N, C_in, H_out, W_out, kH, kW)
                   y <- windows times weight, summed over C_in, kH, kW; plus bias    # (N, C_out, H_out, W_out)
                   keep the windows and the padded shape
        backward:  grad_weight <- dy times windows, summed over N, H_out, W_out      # (C_out, C_in, kH, kW)
                   grad_bias   <- dy summed over N, H_out, W_out                     # (C_out,)
                   dx <- zeros of the padded shape
                   for each weight (a, b):
                       share <- dy times weight[:, :, a, b], summed over C_out       # (N, C_in, H_out, W_out)
                       add share to every stride-th pixel of dx from (a, b), H_out by W_out of them
                   result <- dx without the padding
        ```"""),
        "All three passes use the same triples of output, weight and pixel, so the windows that forward read are "
        "all that is needed. Going weight by weight takes kH·kW steps, each of which handles all images, "
        "channels and positions at once. Unread pixels are never written and stay 0.",
    ])


EXERCISES = [GATE_GRADIENTS, SKIP_BACKWARD, KERNEL_INDICES, INPUT_INDICES, WEIGHT_GRADIENT, INPUT_GRADIENT,
             FULL_CONVOLUTION, TWO_SLOPES, STRIDED_INPUT_GRADIENT, CONV2D_LAYER]
