"""Forward and backward side by side: through a maximum, and the three convolutions of one layer."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cnnlab.animation.player import grids_in_a_row, pair, player
from cnnlab.notebook import quick
from cnnlab.plots import frame, grid


def max_pooling(x: np.ndarray, kernel_size, stride=None, padding=0, dy: np.ndarray | None = None,
                interval: int = 900):
    """A player that moves a pooling window over `x` and marks the pixel that wins, one window a frame.

    x (H, W), small; kernel_size, stride and padding are numbers or pairs; stride None is the kernel size.
    Without `dy` it fills in the output.  With `dy`, one value for each window, it sends each value back to
    the winner and adds up what arrives.  The first of equal maxima in row-major order wins.
    Returns HTML, or nothing while nbgrader grades.
    """
    if quick():
        return None
    (kh, kw), (ph, pw) = pair(kernel_size), pair(padding)
    sh, sw = (kh, kw) if stride is None else pair(stride)
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
    fig, axes = grids_in_a_row(shown, titles)
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
    return player(fig, draw, out.size, interval, f"A pooling window of {kh} by {kw} moves over {x.shape[0]} by "
                   f"{x.shape[1]} values; in each place the winner is marked.")


def three_convolutions(x: np.ndarray, kernel: np.ndarray, dy: np.ndarray, interval: int = 900):
    """A player that runs through the products of y = x * kernel and lights each in all three convolutions.

    x (H, W), kernel (kH, kW) and dy (H - kH + 1, W - kW + 1), all small.  One row each for the output, the
    gradient of the kernel and the gradient of the input; every frame adds one product to each of the three.
    Returns HTML, or nothing while nbgrader grades.
    """
    if quick():
        return None
    (kh, kw), (rows, cols) = kernel.shape, dy.shape
    ring = np.pad(np.asarray(dy, dtype=float), ((kh - 1, kh - 1), (kw - 1, kw - 1)), constant_values=np.nan)
    sums = np.zeros(dy.shape), np.zeros(kernel.shape), np.zeros(x.shape)
    turned = kernel[::-1, ::-1]
    fig, axes, places = _rows_of_grids([[(x, "x"), (kernel, "k"), (sums[0], "y")], [(x, "x"), (dy, "dy"
    ""), (sums[1], "dk"
    "")],
                                        [(ring, "dy, padded"), (turned, "k, rotated"), (sums[2], "dx")]])
    texts = [fig.text(*place, "", va="center", fontsize=10) for place in places]
    for i, j in np.argwhere(np.isnan(ring)):
        axes[2, 0].text(j, i, "0", ha="center", va="center", fontsize=8, color="0.6")
    windows = [frame(axes[i, 0], 0, 0, *size, linewidth=2, linestyle="--", edgecolor="0.2", clip_on=False)
               for i, size in enumerate([kernel.shape, dy.shape, kernel.shape])]
    lit = [[frame(ax, 0, 0, 1, 1, clip_on=False) for ax in row] for row in axes]
    steps = [(r, c, a, b) for r, c in np.ndindex(rows, cols) for a, b in np.ndindex(kh, kw)]
    products = [(x[r + a, c + b] * kernel[a, b], x[r + a, c + b] * dy[r, c], dy[r, c] * kernel[a, b])
                for r, c, a, b in steps]

    def draw(step):
        r, c, a, b = steps[step]
        pixel = r + a, c + b
        places = [[pixel, (a, b), (r, c)], [pixel, (r, c), (a, b)],
                  [(r + kh - 1, c + kw - 1), (kh - 1 - a, kw - 1 - b), pixel]]
        for frames, row in zip(lit, places):
            for rectangle, (i, j) in zip(frames, row):
                rectangle.set_xy((j - 0.5, i - 0.5))
        for rectangle, (i, j) in zip(windows, [(r, c), (a, b), pixel]):
            rectangle.set_xy((j - 0.5, i - 0.5))
        for total in sums:
            total[:] = 0
        for (i, j, p, q), made in zip(steps[:step + 1], products):
            for total, place, value in zip(sums, [(i, j), (p, q), (i + p, j + q)], made):
                total[place] += value
        for ax, total in zip(axes[:, 2], sums):
            ax.images[0].set_data(total)
            for text, value in zip(ax.texts, total.ravel()):
                text.set_text(f"{value:.3g}".replace("-", "−"))
        for text, line in zip(texts, _three_products((r, c), (a, b), pixel, products[step])):
            text.set_text(line)

    return player(fig, draw, len(steps), interval, "Three rows of grids, for the output, the gradient of the kernel "
                   "and the gradient of the input of a convolution; the same product is marked in all three.")


def _rows_of_grids(rows, cell=0.36, gap=0.45):
    """A figure with a row of grids for each list of (array, title), all cells of one size, and room for text beside it.

    cell and gap are in inches.  Returns the figure, its axes, and for each row the place where its text begins.
    """
    columns = [max(row[i][0].shape[1] for row in rows) for i in range(len(rows[0]))]
    heights = [cell * max(values.shape[0] for values, _ in row) + gap for row in rows]
    width, height = cell * sum(columns) + gap * (len(columns) + 1) + 3.4, sum(heights) + 0.1
    fig = plt.figure(figsize=(width, height), dpi=80)
    axes, places, top = [], [], height - 0.05
    for row, room in zip(rows, heights):
        left = 0.1
        for (values, title), widest in zip(row, columns):
            h, w = values.shape
            bottom = top - gap + 0.1 - cell * h
            ax = fig.add_axes((left / width, bottom / height, cell * w / width, cell * h / height))
            grid(ax, values, title, vmin=0, vmax=6)
            axes.append(ax)
            left += cell * widest + gap
        places.append((left / width, (top - room / 2) / height))
        top -= room
    return fig, np.array(axes, dtype=object).reshape(len(rows), -1), places


def _three_products(output, weight, pixel, values):
    """For each of the three results, the product that one output, one weight and one pixel add to it."""
    y, k, x = (f"({i}, {j})" for i, j in (output, weight, pixel))
    lines = [f"y{y}:  + x{x} · k{k}", f"dk{k}:  + x{x} · dy{y}", f"dx{x}:  + dy{y} · k{k}"]
    return [f"{line} = {value:g}".replace("-", "−") for line, value in zip(lines, values)]
