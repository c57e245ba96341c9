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


def patches_as_rows(x: np.ndarray, weight: np.ndarray, interval: int = 1200):
    """A player that lays each window of `x` as a row of a matrix, and multiplies it with the kernels as columns.

    x (C, H, W), weight (C_out, C, kH, kW), both small; stride 1, no padding.  Returns HTML, or nothing while
    nbgrader grades.
    """
    if os.environ.get("NBGRADER_EXECUTION"):
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
    return _player(fig, draw, len(patches), interval, "A window slides over an image of several channels; each "
                   "position gives one row of a matrix, which is multiplied with the kernels as columns.")
