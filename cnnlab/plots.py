"""Figures the notebooks share."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle


def images(*pictures, titles=(), height: float = 2.6, vmin=None, vmax=None):
    """Show pictures in a row, grey (H, W) or colour (H, W, 3), each with its title.

    Grey pictures get their own black and white unless vmin and vmax are given.
    """
    ratios = [p.shape[1] / p.shape[0] for p in pictures]
    fig, axes = plt.subplots(1, len(pictures), figsize=(height * sum(ratios) + 0.1, height + 0.35),
                             width_ratios=ratios, squeeze=False, layout="constrained")
    for ax, picture, title in zip(axes[0], pictures, [*titles, *[""] * len(pictures)]):
        ax.imshow(picture, cmap="gray", vmin=vmin, vmax=vmax)
        ax.set_title(title, fontsize=10)
        ax.axis("off")
    plt.show()


def grid(ax, values: np.ndarray, title: str = "", cmap: str = "gray_r", vmin=None, vmax=None):
    """Draw a small 2-D array on `ax` as a grid of cells with the number in each."""
    values = np.asarray(values)
    finite = values[np.isfinite(values)]
    low = vmin if vmin is not None else finite.min(initial=0)
    high = vmax if vmax is not None else finite.max(initial=1)
    # Half strength, so that the numbers stay readable on the darkest cell.
    ax.imshow(np.ma.masked_invalid(values), cmap=cmap, vmin=low, vmax=high + (high - low), alpha=0.9)
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            ax.text(j, i, f"{value:.3g}", ha="center", va="center", fontsize=9)
    ax.set_xticks(np.arange(values.shape[1] + 1) - 0.5, [])
    ax.set_yticks(np.arange(values.shape[0] + 1) - 0.5, [])
    ax.grid(color="0.6", linewidth=0.8)
    ax.tick_params(length=0)
    ax.set_title(title, fontsize=10)


def frame(ax, row: float, col: float, height: float, width: float, **style):
    """Draw a thick frame around `height` x `width` cells of a `grid`, from (row, col)."""
    style = {"edgecolor": "tab:orange", "linewidth": 3, "fill": False} | style
    return ax.add_patch(Rectangle((col - 0.5, row - 0.5), width, height, **style))
