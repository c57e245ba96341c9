"""Moving pictures: the sliding window, its matrix, and the reflected function of a convolution."""

from __future__ import annotations

import os
import re

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML
from matplotlib.animation import FuncAnimation
from numpy.lib.stride_tricks import sliding_window_view

from cnnlab.plots import WIDTH, area, block, frame, grid, overlap, result_curve


BUTTONS = {"minus": "−", "fast-backward": "|&lt;", "step-backward": "&lt;", "play fa-flip-horizontal": "◄",
           "pause": "II", "play": "►", "step-forward": "&gt;", "fast-forward": "&gt;|", "plus": "+"}


def sliding_window(x: np.ndarray, kernel: np.ndarray, stride=1, padding=0, dilation=1, interval: int = 600):
    """A player that slides `kernel` over `x` and fills in the output, one window a frame.

    x (H, W) and kernel (kH, kW), both small; stride, padding (with zeros) and dilation are numbers or
    pairs; the output is the cross-correlation.  Returns HTML with play, pause and step buttons.  While
    nbgrader grades, returns nothing: nobody is looking.
    """
    if os.environ.get("NBGRADER_EXECUTION"):
        return None
    (sh, sw), (ph, pw), (dh, dw) = map(_pair, (stride, padding, dilation))
    padded = np.pad(x, ((ph, ph), (pw, pw)))
    reach = dh * (kernel.shape[0] - 1) + 1, dw * (kernel.shape[1] - 1) + 1
    windows = sliding_window_view(padded, reach)[::sh, ::sw, ::dh, ::dw]  # (H_out, W_out, kH, kW)
    out = (windows * kernel).sum(axis=(2, 3))

    # Padding is shown as white cells with a pale 0, so that it stands out from the zeros of the image.
    ring = np.pad(np.asarray(x, dtype=float), ((ph, ph), (pw, pw)), constant_values=np.nan)
    fig, axes = _three_grids(ring, kernel, out)
    for i, j in np.argwhere(np.isnan(ring)):
        axes[0].text(j, i, "0", ha="center", va="center", fontsize=9, color="0.6")
    texts = axes[2].texts  # one for each output, row by row
    # At dilation 1 one frame encloses the window; otherwise each pixel that is read has its own.
    spread = [(a * dh, b * dw) for a, b in np.ndindex(kernel.shape)] if max(dh, dw) > 1 else [(0, 0)]
    size = (1, 1) if max(dh, dw) > 1 else kernel.shape
    read = [frame(axes[0], a, b, *size) for a, b in spread]
    made = frame(axes[2], 0, 0, 1, 1)

    def draw(step):
        r, c = divmod(step, out.shape[1])
        for rectangle, (a, b) in zip(read, spread):
            rectangle.set_xy((c * sw + b - 0.5, r * sh + a - 0.5))
        made.set_xy((c - 0.5, r - 0.5))
        for i, text in enumerate(texts):
            text.set_visible(i <= step)
        done = np.arange(out.size).reshape(out.shape) <= step
        axes[2].images[0].set_data(np.ma.masked_array(out, ~done))
        fig.suptitle(_sum_of_products(windows[r, c], kernel, out[r, c]), fontsize=10)

    draw(0)
    fig.canvas.draw()
    fig.set_layout_engine("none")  # laid out once: doing it for every frame takes longer than drawing
    return _player(fig, draw, out.size, interval, f"A {kernel.shape[0]} by {kernel.shape[1]} kernel slides over "
                   f"an image of {x.shape[0]} by {x.shape[1]}; each position gives one output.")


def _three_grids(x, kernel, out):
    """A figure with the input, the kernel and the output side by side, their cells of one size."""
    columns = [x.shape[1], kernel.shape[1], out.shape[1]]
    cell = min(0.5, WIDTH / (sum(columns) + 2))
    rows = max(x.shape[0], out.shape[0])
    fig, axes = plt.subplots(1, 3, figsize=(max(cell * (sum(columns) + 2), 6), cell * rows + 1.1),
                             layout="constrained", width_ratios=columns, dpi=80)
    fig.get_layout_engine().set(h_pad=0.12)
    for ax, values, title in zip(axes, (x, kernel, out), ("input", "kernel", "output")):
        grid(ax, values, title)
    return fig, axes


def reflect_and_shift(f, g, span: tuple[float, float], frames: int = 25, interval: int = 250):
    """A player that moves the reflected g over f and draws the area of their product, which is f * g.

    f and g take and return arrays, and are zero outside `span`.  Returns HTML, or nothing while nbgrader
    grades.
    """
    if os.environ.get("NBGRADER_EXECUTION"):
        return None
    shifts = np.linspace(*span, frames)
    fig, (above, below) = plt.subplots(2, 1, figsize=(6.5, 4), layout="constrained", sharex=True, dpi=80)
    result_curve(below, f, g, span)
    below.lines[0].set_color("0.85")
    below.set_xlabel("a above, t below")
    dots, = below.plot([], [], "o-", color="tab:orange", markersize=4)
    areas = [area(f, g, t, span) for t in shifts]

    def draw(step):
        above.clear()
        overlap(above, f, g, shifts[step], span)
        above.set_title(f"t = {shifts[step]:.2f}: shaded area {areas[step]:.3f}", fontsize=10)
        above.legend(fontsize=9, loc="upper left", frameon=False)
        dots.set_data(shifts[:step + 1], areas[:step + 1])

    return _player(fig, draw, frames, interval, "One function moves over another; the area of their product is "
                   "drawn against the shift.")


def _player(fig, draw, frames, interval, alt):
    page = FuncAnimation(fig, draw, frames=frames, interval=interval).to_jshtml(default_mode="once")
    plt.close(fig)
    # Matplotlib's buttons fetch an icon font from the net; plain characters need none.
    page = re.sub(r'<link rel="stylesheet"\s+href="http[^>]*>', "", page)
    page = re.sub(r'<i class="fa fa-([a-z -]+)"></i>', lambda icon: BUTTONS[icon[1]], page)
    # Where scripts do not run, as in a notebook that is not trusted, the last picture stands still.
    last = re.findall(r'frames\[\d+\] = "([^"]+)"', page)[-1].replace("\\\n", "")
    return HTML(page.replace('<img id="', f'<img alt="{alt}" src="{last}" id="', 1))


def _sum_of_products(window, kernel, total):
    terms = [f"{_signed(k)}·{_signed(w)}" for w, k in zip(window.ravel(), kernel.ravel()) if k]
    shown = " + ".join(terms[:6]) + (" + …" if len(terms) > 6 else "")
    return f"{shown or '0'} = {total:g}".replace("-", "−")


def _signed(value):
    return f"({value:g})" if value < 0 else f"{value:g}"


def _pair(value):
    return value if isinstance(value, tuple) else (value, value)


def norm_groups(sizes: tuple[int, int, int] = (3, 4, 5), groups: int = 2, interval: int = 700):
    """A player that lights up, one after the other, the groups of entries that share a mean and a variance.

    Batch, layer, instance and group norm side by side, on a batch of `sizes` (N, C, P) with `groups` groups
    of channels.  Returns HTML, or nothing while nbgrader grades.
    """
    if os.environ.get("NBGRADER_EXECUTION"):
        return None
    n, c, _ = np.indices(sizes)
    part = c // (sizes[1] // groups)
    labels = {"batch norm": c, "layer norm": n, "instance norm": n * sizes[1] + c, "group norm": n * groups + part}
    fig, axes = plt.subplots(1, 4, figsize=(WIDTH, 2.7), layout="constrained", dpi=80)
    drawn = [(ax, name, label, block(ax, label == 0, name)) for ax, (name, label) in zip(axes, labels.items())]
    frames = int(max(label.max() for label in labels.values())) + 1

    def draw(step):
        for ax, name, label, cells in drawn:
            count = label.max() + 1
            done = step >= count  # a norm with fewer groups stops at its last one
            current = min(step, count - 1)
            ax.set_title(f"{name}: {current + 1} of {count}", fontsize=10)
            for patch, index in cells:
                inside = label[index] == current
                patch.set_facecolor(("0.75" if done else "tab:orange") if inside else "white")

    draw(0)
    fig.canvas.draw()
    fig.set_layout_engine("none")
    return _player(fig, draw, frames, interval, "Four ways to normalise a batch; each frame shades the next group of "
                   "entries that share a mean and a variance.")


def dropping(image: np.ndarray, p: float = 0.5, passes: int = 30, interval: int = 300):
    """A player that drops the pixels of `image` (H, W) again and again and shows the mean of the passes so far.

    Inverted dropout with rate `p`, from a seeded generator.  Returns HTML, or nothing while nbgrader grades.
    """
    if os.environ.get("NBGRADER_EXECUTION"):
        return None
    u = np.random.default_rng(0).random((passes, *image.shape))
    kept = image * (u >= p) / (1 - p)                                    # (passes, H, W)
    means = kept.cumsum(axis=0) / np.arange(1, passes + 1)[:, None, None]
    fig, axes = plt.subplots(1, 3, figsize=(8, 2.9), layout="constrained", dpi=80)
    pictures = [ax.imshow(image, cmap="gray", vmin=0, vmax=image.max() / (1 - p)) for ax in axes]
    for ax in axes:
        ax.axis("off")

    def draw(step):
        pictures[0].set_data(kept[step])
        pictures[1].set_data(means[step])
        error = np.sqrt(((means[step] - image) ** 2).mean())
        titles = f"pass {step + 1}", f"mean so far, off by {error:.2f}", "without dropout"
        for ax, title in zip(axes, titles):
            ax.set_title(title, fontsize=10)

    draw(0)
    return _player(fig, draw, passes, interval, "Pixels of an image are dropped at random, again and again; the mean of "
                   "the passes approaches the image.")


def matrix_rows(x: np.ndarray, kernel: np.ndarray, interval: int = 800):
    """A player that slides `kernel` over `x` and lights the row of the matrix that does the same.

    x (n,) and kernel (k,), or x (H, W) and kernel (kH, kW), both small.  The input stands above the matrix,
    one pixel over each column, an image row by row; the output stands to its right.  Two dimensions get the
    image and its output as well.  Returns HTML, or nothing while nbgrader grades.
    """
    if os.environ.get("NBGRADER_EXECUTION"):
        return None
    image, window = np.atleast_2d(x), np.atleast_2d(kernel)
    windows = sliding_window_view(image, window.shape)
    out = (windows * window).sum(axis=(2, 3))
    matrix = np.full((out.size, *image.shape), np.nan)  # what is always 0 stays empty
    for unit, (r, c) in zip(matrix, np.ndindex(out.shape)):
        unit[r:r + window.shape[0], c:c + window.shape[1]] = window
    matrix = matrix.reshape(out.size, -1)

    flat = np.ndim(x) == 1
    fig, axes = _matrix_axes(image, out, flat)
    grid(axes["input"], image.reshape(1, -1), "input" if flat else "input, row by row")
    grid(axes["matrix"], matrix)
    grid(axes["output"], out.reshape(-1, 1))
    lit = [frame(axes["matrix"], 0, 0, 1, image.size), frame(axes["output"], 0, 0, 1, 1)]
    pixels = [frame(axes["input"], 0, 0, 1, window.shape[1]) for _ in range(window.shape[0])]
    if not flat:
        grid(axes["image"], image, "input")
        grid(axes["map"], out, "output")
        for j in range(image.shape[1], image.size, image.shape[1]):  # the blocks: one for each row of pixels ...
            axes["matrix"].axvline(j - 0.5, color="0.3", linewidth=1.5)
        for i in range(out.shape[1], out.size, out.shape[1]):        # ... and each row of windows
            axes["matrix"].axhline(i - 0.5, color="0.3", linewidth=1.5)
        over, cell = frame(axes["image"], 0, 0, *window.shape), frame(axes["map"], 0, 0, 1, 1)

    def draw(step):
        r, c = divmod(step, out.shape[1])
        for a, rectangle in enumerate(pixels):
            rectangle.set_xy(((r + a) * image.shape[1] + c - 0.5, -0.5))
        for rectangle in lit:
            rectangle.set_xy((-0.5, step - 0.5))
        if not flat:
            over.set_xy((c - 0.5, r - 0.5))
            cell.set_xy((c - 0.5, r - 0.5))
        done = np.arange(out.size) <= step
        for name, shape in [("output", (-1, 1)), ("map", out.shape)][:1 if flat else 2]:
            axes[name].images[0].set_data(np.ma.masked_array(out.reshape(shape), ~done.reshape(shape)))
            for text, visible in zip(axes[name].texts, done):
                text.set_visible(visible)
        fig.suptitle(f"row {step}: {_sum_of_products(windows[r, c], window, out[r, c])}", fontsize=10)

    size = " by ".join(map(str, np.shape(kernel)))
    return _player(fig, draw, out.size, interval, f"A kernel of {size} slides over the input; at each position "
                   "one row of a matrix is lit.")


def _matrix_axes(image, out, flat):
    """A figure whose cells all have one size: the input above the matrix, the output to its right."""
    cell = min(0.42, WIDTH / (image.size + 3))
    above = 0 if flat else image.shape[0] + 1.6  # cells that image and map take up
    columns, rows = image.size + 2.5, out.size + 2.8 + above
    fig = plt.figure(figsize=(max(cell * columns, 6), cell * rows + 0.5), dpi=80)
    width, height = fig.get_size_inches() / cell

    def place(left, bottom, shape):
        return fig.add_axes((left / width, bottom / height, shape[1] / width, shape[0] / height))

    left = (width - image.size - 1.6) / 2
    axes = {"matrix": place(left, 0.3, (out.size, image.size)),
            "output": place(left + image.size + 0.6, 0.3, (out.size, 1)),
            "input": place(left, out.size + 0.8, (1, image.size))}
    if not flat:
        bottom = out.size + 3.2
        axes["image"] = place(left, bottom, image.shape)
        axes["map"] = place(left + image.shape[1] + 2, bottom + image.shape[0] - out.shape[0], out.shape)
    return fig, axes


def max_pooling(x: np.ndarray, kernel_size, stride=None, padding=0, dy: np.ndarray | None = None,
                interval: int = 900):
    """A player that moves a pooling window over `x` and marks the pixel that wins, one window a frame.

    x (H, W), small; kernel_size, stride and padding are numbers or pairs; stride None is the kernel size.
    Without `dy` it fills in the output.  With `dy`, one value for each window, it sends each value back to
    the winner and adds up what arrives.  The first of equal maxima in row-major order wins.
    Returns HTML, or nothing while nbgrader grades.
    """
    if os.environ.get("NBGRADER_EXECUTION"):
        return None
    (kh, kw), (ph, pw) = _pair(kernel_size), _pair(padding)
    sh, sw = (kh, kw) if stride is None else _pair(stride)
    ring = np.pad(np.asarray(x, dtype=float), ((ph, ph), (pw, pw)), constant_values=np.nan)
    windows = sliding_window_view(np.nan_to_num(ring, nan=-np.inf), (kh, kw))[::sh, ::sw]  # (H_out, W_out, kH, kW)
    out, won = windows.max(axis=(2, 3)), windows.reshape(*windows.shape[:2], -1).argmax(axis=-1)
    places = [(r * sh + won[r, c] // kw, c * sw + won[r, c] % kw) for r, c in np.ndindex(out.shape)]
    arrived = np.zeros((out.size, *ring.shape))  # after each window
    for step, place in enumerate(places):
        arrived[step:, *place] += 0 if dy is None else np.ravel(dy)[step]
    arrived = arrived[:, ph:ph + len(x), pw:pw + x.shape[1]]

    shown = [ring, out] if dy is None else [ring, np.asarray(dy, dtype=float), arrived[-1]]
    titles = ("input", "output") if dy is None else ("input", "gradient\nfrom above", "gradient of\nthe input")
    fig, axes = _grids_in_a_row(shown, titles)
    for i, j in np.argwhere(np.isnan(ring)):
        axes[0].text(j, i, "−∞", ha="center", va="center", fontsize=8, color="0.6")
    window = frame(axes[0], 0, 0, kh, kw)
    winner = frame(axes[0], 0, 0, 1, 1, edgecolor="black", linewidth=2)
    unit = frame(axes[1], 0, 0, 1, 1)
    landing = None if dy is None else frame(axes[2], 0, 0, 1, 1, edgecolor="black", linewidth=2)

    def draw(step):
        r, c = divmod(step, out.shape[1])
        (i, j), value = places[step], out[r, c]
        window.set_xy((c * sw - 0.5, r * sh - 0.5))
        winner.set_xy((j - 0.5, i - 0.5))
        unit.set_xy((c - 0.5, r - 0.5))
        if dy is None:
            for number, text in enumerate(axes[1].texts):
                text.set_visible(number <= step)
            axes[1].images[0].set_data(np.ma.masked_array(out, np.arange(out.size).reshape(out.shape) > step))
            title = f"The largest value of the window is {value:g}."
        else:
            landing.set_xy((j - pw - 0.5, i - ph - 0.5))
            axes[2].images[0].set_data(arrived[step])
            for text, total in zip(axes[2].texts, arrived[step].ravel()):
                text.set_text(f"{total:g}".replace("-", "−"))
            here = arrived[step][i - ph, j - pw]
            title = f"The winner {value:g} gets {dy[r, c]:g} and now has {here:g}."
        fig.suptitle(title.replace("-", "−"), fontsize=10)

    draw(0)
    fig.canvas.draw()
    fig.set_layout_engine("none")  # as in sliding_window
    return _player(fig, draw, out.size, interval, f"A pooling window of {kh} by {kw} moves over {x.shape[0]} by "
                   f"{x.shape[1]} values; in each place the winner is marked.")


def _grids_in_a_row(arrays, titles):
    """A figure with small arrays side by side, their cells of one size."""
    columns = [a.shape[1] for a in arrays]
    cell = min(0.5, WIDTH / (sum(columns) + 2))
    size = max(cell * (sum(columns) + 2), 6), cell * max(map(len, arrays)) + 1.3
    fig, axes = plt.subplots(1, len(arrays), figsize=size, layout="constrained", width_ratios=columns, dpi=80)
    fig.get_layout_engine().set(h_pad=0.12)
    for ax, values, title in zip(axes, arrays, titles):
        grid(ax, values, title)
    return fig, axes
