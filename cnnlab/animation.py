"""Moving pictures: the sliding window, and the reflected function of a convolution."""

from __future__ import annotations

import os
import re

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML
from matplotlib.animation import FuncAnimation
from numpy.lib.stride_tricks import sliding_window_view

from cnnlab.plots import WIDTH, area, frame, grid, overlap, result_curve


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


def three_convolutions(x: np.ndarray, kernel: np.ndarray, dy: np.ndarray, interval: int = 900):
    """A player that runs through the products of y = x * kernel and lights each in all three convolutions.

    x (H, W), kernel (kH, kW) and dy (H - kH + 1, W - kW + 1), all small.  One row each for the output, the
    gradient of the kernel and the gradient of the input; every frame adds one product to each of the three.
    Returns HTML, or nothing while nbgrader grades.
    """
    if os.environ.get("NBGRADER_EXECUTION"):
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

    return _player(fig, draw, len(steps), interval, "Three rows of grids, for the output, the gradient of the kernel "
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
