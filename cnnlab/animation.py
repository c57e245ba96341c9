"""The sliding window, moving."""

from __future__ import annotations

import os

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML
from matplotlib.animation import FuncAnimation

from cnnlab.plots import frame, grid


def sliding_window(x: np.ndarray, kernel: np.ndarray, stride: int = 1, padding: int = 0,
                   dilation: int = 1, interval: int = 600):
    """A player that slides `kernel` over `x` and fills in the output, one window a frame.

    x (H, W) and kernel (kH, kW), both small; the output is the cross-correlation.
    Returns HTML with play, pause and step buttons.  While nbgrader grades, returns nothing:
    nobody is looking.
    """
    if os.environ.get("NBGRADER_EXECUTION"):
        return None
    padded = np.pad(x, padding)
    reach_h = dilation * (kernel.shape[0] - 1) + 1
    reach_w = dilation * (kernel.shape[1] - 1) + 1
    rows = (padded.shape[0] - reach_h) // stride + 1
    cols = (padded.shape[1] - reach_w) // stride + 1
    windows = [[padded[r * stride:r * stride + reach_h:dilation, c * stride:c * stride + reach_w:dilation]
                for c in range(cols)] for r in range(rows)]
    out = np.array([[(w * kernel).sum() for w in line] for line in windows])

    fig, axes = plt.subplots(1, 3, figsize=(8.5, 3.2), layout="constrained", width_ratios=[
        padded.shape[1], kernel.shape[1], cols])

    def draw(step):
        r, c = divmod(step, cols)
        filled = np.where(np.arange(rows * cols).reshape(rows, cols) <= step, out, np.nan)
        for ax in axes:
            ax.clear()
        grid(axes[0], padded, "input" + (f", padding {padding}" if padding else ""))
        for a in range(kernel.shape[0]):
            for b in range(kernel.shape[1]):
                frame(axes[0], r * stride + a * dilation, c * stride + b * dilation, 1, 1, linewidth=2)
        grid(axes[1], kernel, "kernel")
        grid(axes[2], filled, "output", vmin=out.min(), vmax=out.max())
        frame(axes[2], r, c, 1, 1)
        fig.suptitle(_sum_of_products(windows[r][c], kernel, out[r, c]), fontsize=10)

    player = FuncAnimation(fig, draw, frames=rows * cols, interval=interval)
    page = player.to_jshtml(default_mode="once")
    plt.close(fig)
    return HTML(page)


def _sum_of_products(window, kernel, total):
    terms = [f"{k:g}·{w:g}" for w, k in zip(window.ravel(), kernel.ravel()) if k]
    shown = " + ".join(terms[:6]) + (" + …" if len(terms) > 6 else "")
    return f"{shown or '0'} = {total:g}"
