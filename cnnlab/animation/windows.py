"""The sliding window, its patches as rows, and the matrix that does the same."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cnnlab.animation.player import grids_in_a_row, pair, player, sum_of_products
from cnnlab.notebook import quick
from cnnlab.plots import WIDTH, frame, grid


def sliding_window(x: np.ndarray, kernel: np.ndarray, stride=1, padding=0, dilation=1, interval: int = 600):
    """A player that slides `kernel` over `x` and fills in the output, one window a frame.

    x (H, W) and kernel (kH, kW), both small; stride, padding (with zeros) and dilation are numbers or
    pairs; the output is the cross-correlation.  Returns HTML with play, pause and step buttons.  While
    nbgrader grades, returns nothing: nobody is looking.
    """
    if quick():
        return None
    (sh, sw), (ph, pw), (dh, dw) = map(pair, (stride, padding, dilation))
    padded = np.pad(x, ((ph, ph), (pw, pw)))
    reach = dh * (kernel.shape[0] - 1) + 1, dw * (kernel.shape[1] - 1) + 1
    windows = sliding_window_view(padded, reach)[::sh, ::sw, ::dh, ::dw]  # (H_out, W_out, kH, kW)
    out = (windows * kernel).sum(axis=(2, 3))

    # Padding is shown as white cells with a pale 0, so that it stands out from the zeros of the image.
    ring = np.pad(np.asarray(x, dtype=float), ((ph, ph), (pw, pw)), constant_values=np.nan)
    fig, axes = grids_in_a_row((ring, kernel, out), ("input", "kernel", "output"))
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
        fig.suptitle(sum_of_products(windows[r, c], kernel, out[r, c]), fontsize=10)

    draw(0)
    fig.canvas.draw()
    fig.set_layout_engine("none")  # laid out once: doing it for every frame takes longer than drawing
    return player(fig, draw, out.size, interval, f"A {kernel.shape[0]} by {kernel.shape[1]} kernel slides over "
                   f"an image of {x.shape[0]} by {x.shape[1]}; each position gives one output.")


def patches_as_rows(x: np.ndarray, weight: np.ndarray, interval: int = 1200):
    """A player that lays each window of `x` as a row of a matrix, and multiplies it with the kernels as columns.

    x (C, H, W), weight (C_out, C, kH, kW), both small; stride 1, no padding.  Returns HTML, or nothing while
    nbgrader grades.
    """
    if quick():
        return None
    windows = sliding_window_view(x, weight.shape[2:], axis=(1, 2))               # (C, H_out, W_out, kH, kW)
    positions = windows.shape[1:3]
    patches = windows.transpose(1, 2, 0, 3, 4).reshape(-1, weight[0].size)        # (H_out*W_out, C*kH*kW)
    kernels = weight.reshape(len(weight), -1).T                                   # (C*kH*kW, C_out)
    out = patches @ kernels                                                       # (H_out*W_out, C_out)

    names = [f"channel {c}" for c in range(len(x))]
    columns = [x.shape[2], *(m.shape[1] for m in (patches, kernels, out))]
    fig, axes = plt.subplot_mosaic([[name, "patches", "kernels", "product"] for name in names], dpi=80,
                                   figsize=(WIDTH, 0.42 * max(len(patches), len(kernels)) + 1),
                                   layout="constrained", width_ratios=columns)
    for name, values in zip([*names, "patches", "kernels", "product"], [*x, patches, kernels, out]):
        grid(axes[name], values, name)
    read = [frame(axes[name], 0, 0, *weight.shape[2:]) for name in names]
    row, made = frame(axes["patches"], 0, 0, 1, patches.shape[1]), frame(axes["product"], 0, 0, 1, out.shape[1])
    for edge in range(1, len(x)):  # between the channels of a patch
        place = edge * weight[0, 0].size - 0.5
        axes["patches"].axvline(place, color="0.2", linewidth=2)
        axes["kernels"].axhline(place, color="0.2", linewidth=2)

    def draw(step):
        r, c = divmod(step, positions[1])
        for rectangle in read:
            rectangle.set_xy((c - 0.5, r - 0.5))
        for rectangle, name in ((row, "patches"), (made, "product")):
            rectangle.set_y(step - 0.5)
            values = {"patches": patches, "product": out}[name]
            done = np.arange(len(values))[:, None] <= step + 0 * values
            axes[name].images[0].set_data(np.ma.masked_array(values, ~done))
            for i, text in enumerate(axes[name].texts):
                text.set_visible(i < (step + 1) * values.shape[1])
        fig.suptitle(f"row {step}: the window at row {r}, column {c}", fontsize=10)

    draw(0)
    fig.canvas.draw()
    fig.set_layout_engine("none")
    return player(fig, draw, len(patches), interval, "A window slides over an image of several channels; each "
                   "position gives one row of a matrix, which is multiplied with the kernels as columns.")


def matrix_rows(x: np.ndarray, kernel: np.ndarray, interval: int = 800):
    """A player that slides `kernel` over `x` and lights the row of the matrix that does the same.

    x (n,) and kernel (k,), or x (H, W) and kernel (kH, kW), both small.  The input stands above the matrix,
    one pixel over each column, an image row by row; the output stands to its right.  Two dimensions get the
    image and its output as well.  Returns HTML, or nothing while nbgrader grades.
    """
    if quick():
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
        fig.suptitle(f"row {step}: {sum_of_products(windows[r, c], window, out[r, c])}", fontsize=10)

    size = " by ".join(map(str, np.shape(kernel)))
    return player(fig, draw, out.size, interval, f"A kernel of {size} slides over the input; at each position "
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
