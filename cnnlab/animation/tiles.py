"""A tile of a convolution on its way through the window: which pixels it reads, and where that is in both matrices."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from cnnlab.animation.player import player
from cnnlab.notebook import quick
from cnnlab.plots import WIDTH, frame, grid


def implicit_gemm(size: tuple[int, int], channels: int, filters: int, kernel_size: tuple[int, int], stride: int = 1,
                  padding: int = 0, blocks: tuple[int, int, int] = (8, 4, 2), interval: int = 900):
    """A player that walks the first tile of a convolution of one image through r, s and c.

    size (H, W), kernel_size (R, S), blocks: pixels, filters and channels of a step.  Left the image, with the number of
    the output pixel that reads each place; then the matrix of windows, which is never made, and the weights, with what
    the step multiplies.  Returns HTML, or nothing while nbgrader grades.
    """
    if quick():
        return None
    (H, W), (R, S), (block_m, block_k, block_c) = size, kernel_size, blocks
    P, Q = (H + 2 * padding - R) // stride + 1, (W + 2 * padding - S) // stride + 1
    windows, weights = (P * Q, R * S * channels), (R * S * channels, filters)
    steps = [(r, s, c) for r in range(R) for s in range(S) for c in range(0, channels, block_c)]

    fig, axes = plt.subplots(1, 3, figsize=(WIDTH, 4.2), dpi=80, layout="constrained",
                             width_ratios=[W + 2 * padding, 0.45 * windows[1], 0.45 * filters + 1])
    image = np.full((H + 2 * padding, W + 2 * padding), np.nan)
    image[padding:padding + H, padding:padding + W] = 0
    grid(axes[0], image, "the image with its padding", vmin=0, vmax=1)
    for text in axes[0].texts:
        text.set_visible(False)
    for ax, shape, title in ((axes[1], windows, "the matrix of windows, never made"), (axes[2], weights, "the weights")):
        grid(ax, np.full(shape, np.nan), title, vmin=0, vmax=1)
    for edge in range(channels, weights[0], channels):  # between the positions of the window
        axes[1].axvline(edge - 0.5, color="0.2", linewidth=1.5)
        axes[2].axhline(edge - 0.5, color="0.2", linewidth=1.5)
    axes[1].set(xlabel=f"r, s, c: {channels} columns for each (r, s)", ylabel="output pixel m")
    axes[2].set(xlabel="filter k")
    axes[1].set_aspect("auto")
    axes[2].set_aspect("auto")

    pixels = np.arange(min(block_m, P * Q))
    marks = [axes[0].text(0, 0, str(m), ha="center", va="center", fontsize=10) for m in pixels]
    read = [frame(axes[0], 0, 0, 1, 1, linewidth=2) for _ in pixels]
    left = frame(axes[1], 0, 0, len(pixels), block_c, facecolor="0.6", fill=True)
    right = frame(axes[2], 0, 0, block_c, min(block_k, filters), facecolor="0.6", fill=True)

    def draw(step):
        r, s, c = steps[step]
        for m, mark, box in zip(pixels, marks, read):
            row, column = m // Q * stride + r, m % Q * stride + s
            mark.set_position((column, row))
            box.set_xy((column - 0.5, row - 0.5))
            inside = padding <= row < padding + H and padding <= column < padding + W
            mark.set_color("black" if inside else "0.5")
            box.set_linestyle("-" if inside else ":")
        first = (r * S + s) * channels + c
        left.set_xy((first - 0.5, -0.5))
        right.set_xy((-0.5, first - 0.5))
        last = min(c + block_c, channels) - 1
        fig.suptitle(f"step {step + 1} of {len(steps)}: r = {r}, s = {s}, c = {c}" + (f" to {last}" if last > c else "") +
                     "; dotted: in the padding, counts as 0", fontsize=10)

    draw(0)
    fig.canvas.draw()
    fig.set_layout_engine("none")
    return player(fig, draw, len(steps), interval, "A tile of output pixels walks through the positions of the window; "
                  "at each it reads pixels of the image and multiplies them with rows of the weights.")
