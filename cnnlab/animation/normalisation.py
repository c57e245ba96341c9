"""Who shares a mean, and what dropout does on average."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from cnnlab.animation.player import player
from cnnlab.notebook import quick
from cnnlab.plots import WIDTH, block


def norm_groups(sizes: tuple[int, int, int] = (3, 4, 5), groups: int = 2, interval: int = 700):
    """A player that lights up, one after the other, the groups of entries that share a mean and a variance.

    Batch, layer, instance and group norm side by side, on a batch of `sizes` (N, C, P) with `groups` groups
    of channels.  Returns HTML, or nothing while nbgrader grades.
    """
    if quick():
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
    return player(fig, draw, frames, interval, "Four ways to normalise a batch; each frame shades the next group of "
                   "entries that share a mean and a variance.")


def dropping(image: np.ndarray, p: float = 0.5, passes: int = 30, interval: int = 300):
    """A player that drops the pixels of `image` (H, W) again and again and shows the mean of the passes so far.

    Inverted dropout with rate `p`, from a seeded generator.  Returns HTML, or nothing while nbgrader grades.
    """
    if quick():
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
    return player(fig, draw, passes, interval, "Pixels of an image are dropped at random, again and again; the mean of "
                   "the passes approaches the image.")
