"""The still figures: what stands in place of a widget where no scripts run."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cnnlab import plots
from cnnlab.plots import WIDTH, grid

POOLS = {"max": lambda w: w.max(axis=(2, 3)), "average": lambda w: w.mean(axis=(2, 3)),
         "L2": lambda w: np.sqrt((w**2).sum(axis=(2, 3)))}


def convolution(state: dict):
    """The input with one window, the kernel and the output."""
    image, kernel = np.array(state["image"]), np.array(state["kernel"])
    seen = _seen(image, kernel.shape, state, 0)
    fig, axes = _row([_ringed(image, state["padding"]), kernel, (seen * kernel).sum(axis=(2, 3))],
                     ["input", "kernel", "output"])
    (p, q), s, d = state["at"], state["stride"], state["dilation"]
    for a, b in np.ndindex(kernel.shape) if d > 1 else [(0, 0)]:
        _frame(axes[0], p * s + a * d, q * s + b * d, *((1, 1) if d > 1 else kernel.shape))
    _frame(axes[2], p, q)
    return fig


def pooling(state: dict):
    """The input with one window, and the output."""
    image, side = np.array(state["image"], float), state["window"]
    fill = -np.inf if state["kind"] == "max" else 0
    pooled = POOLS[state["kind"]](_seen(image, (side, side), state, fill))
    fig, axes = _row([_ringed(image, state["padding"]), pooled], ["input", f"{state['kind']} pooling"])
    p, q = state["at"]
    _frame(axes[0], p * state["stride"], q * state["stride"], side, side)
    _frame(axes[1], p, q)
    return fig


def backward(state: dict):
    """A pixel of the input, the outputs that read it, and how many read each pixel."""
    size, stride, padding = np.array(state["size"]), state["stride"], state["padding"]
    numbers = np.pad(np.arange(size.prod()).reshape(size), padding, constant_values=-1)
    reads = _spread(numbers, state["kernel_size"], stride, state["dilation"])    # the pixels of each window
    if state["side"] == "input":
        pixel = np.ravel_multi_index(state["at"], size)
        touched = (reads == pixel).any(axis=(2, 3))
        chosen = numbers == pixel
    else:
        touched = np.zeros(reads.shape[:2], bool)
        touched[tuple(state["at"])] = True
        chosen = np.isin(numbers, reads[touched])
    cover = np.bincount(reads[reads >= 0], minlength=size.prod()).reshape(size)
    fig, axes = _row([_ringed(cover, padding), touched.astype(int)],
                     ["input: how many outputs read each pixel", "output: 1 where it reads the framed pixel"])
    for ax, cells in zip(axes, (chosen, touched)):
        for row, column in np.argwhere(cells):
            _frame(ax, row, column, linewidth=2)
    return fig


def sizes(state: dict):
    """The table of a stack."""
    rows, size, field, jump, centre = [], state["size"], 1, 1, 0.0
    for layer in state["layers"]:
        stride, reach = layer["stride"], layer["dilation"] * (layer["kernel"] - 1)
        room = size + 2 * layer["padding"] - reach - 1 if size else -1
        size, left = (room // stride + 1, room % stride) if room >= 0 else (0, 0)
        centre += (reach / 2 - layer["padding"]) * jump
        field, jump = field + reach * jump, jump * stride
        rows.append([layer["name"], *(layer[k] for k in ("kernel", "stride", "padding", "dilation")),
                     size or "no window", left, field, jump, f"{centre:g}".replace("-", "−")])
    head = ["layer", "kernel", "stride", "padding", "dilation", "size", "not read", "field", "jump", "centre"]
    fig, ax = plt.subplots(figsize=(WIDTH - 1, 0.27 * (len(rows) + 2) + 0.3), layout="constrained")
    if rows:
        table = ax.table(rows, colLabels=head, loc="center", cellLoc="center", edges="horizontal")
        table.auto_set_font_size(False)
        table.set_fontsize(9)
        table.scale(1, 1.2)
    ax.set_title(f"an image of {state['size']} pixels", fontsize=10)
    ax.axis("off")
    return fig


def architecture(state: dict):
    """The stages as blocks, their outputs below them."""
    blocks = state["networks"][state["name"]]
    fig, ax = plt.subplots(figsize=(WIDTH, 3), layout="constrained")
    left = 0.0
    for block in blocks:
        channels, *space = block["output"]
        width, height = 0.5 + 0.4 * np.log2(channels), 0.6 + np.log2(space[0] if space else 1)
        ax.add_patch(plt.Rectangle((left, 0), width, height, facecolor="0.85", edgecolor="0.3"))
        ax.text(left + width / 2, -0.3, "×".join(map(str, block["output"])), rotation=90, ha="center", va="top",
                fontsize=8)
        left += width + 0.5
    ax.set(xlim=(-0.5, left), ylim=(-4.5, 8.8),
           title=f"{state['name']}: rows of the maps upwards, channels to the right")
    ax.axis("off")
    return fig


def _spread(padded, kernel_size, stride, dilation):
    """All windows: (H_out, W_out, kH, kW)."""
    reach = [dilation * (n - 1) + 1 for n in kernel_size]
    return sliding_window_view(padded, reach)[::stride, ::stride, ::dilation, ::dilation]


def _seen(image, kernel_size, state, fill):
    padded = np.pad(image, state["padding"], constant_values=fill) if state["padding"] else image
    return _spread(padded, kernel_size, state["stride"], state.get("dilation", 1))


def _ringed(image, padding):
    """The image with its padding left empty."""
    return np.pad(np.asarray(image, float), padding, constant_values=np.nan)


def _row(arrays, titles):
    columns = [a.shape[1] for a in arrays]
    cell = min(0.45, WIDTH / (sum(columns) + 2))
    fig, axes = plt.subplots(1, len(arrays), layout="constrained", width_ratios=columns, figsize=(
        max(cell * (sum(columns) + 2), 7), cell * max(map(len, arrays)) + 0.8))
    for ax, values, title in zip(axes, arrays, titles):
        grid(ax, values, title)
    return fig, axes


def _frame(ax, row, column, height=1, width=1, linewidth=3):
    plots.frame(ax, row, column, height, width, linewidth=linewidth, clip_on=False)
