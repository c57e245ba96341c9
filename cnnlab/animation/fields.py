"""How what one unit sees grows from layer to layer."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from cnnlab.animation.player import player
from cnnlab.notebook import quick
from cnnlab.plots import frame


def growing_field(image: np.ndarray, fields: tuple[int, ...], config: tuple, interval: int = 700):
    """A player that steps through a network and frames what the unit in the middle of `image` sees.

    image (H, W) or (H, W, 3); fields: the receptive field after each entry of the configuration list `config`, in
    pixels along one axis.  Returns HTML, or nothing while nbgrader grades.
    """
    if quick():
        return None
    height, width = image.shape[:2]
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.3), layout="constrained", dpi=72, width_ratios=[1, 1.7])
    left.imshow(image, cmap="gray")
    left.axis("off")
    outer = frame(left, 0, 0, 1, 1, edgecolor="black", linewidth=4)  # black and white: seen on any background
    inner = frame(left, 0, 0, 1, 1, edgecolor="white", linewidth=2)
    names = ["M" if entry == "M" else "3×3" for entry in config]
    bars = right.bar(range(len(fields)), fields, color="0.9", edgecolor="0.6")
    right.set_xticks(range(len(fields)), names, fontsize=7)
    right.set(xlabel="entry of the list", ylabel="receptive field in pixels")

    def draw(step):
        side = fields[step]
        for square in (outer, inner):
            square.set_bounds((width - side) / 2 - 0.5, (height - side) / 2 - 0.5, side, side)
        for number, bar in enumerate(bars):
            bar.set_facecolor("tab:orange" if number == step else "0.7" if number < step else "0.95")
        left.set_title(f"entry {step + 1}, {names[step]}: {side}×{side} pixels", fontsize=10)

    draw(len(fields) - 1)
    fig.canvas.draw()
    fig.set_layout_engine("none")
    return player(fig, draw, len(fields), interval, "A photograph with a frame around what one unit sees; "
                  "with each layer the frame grows, faster after each pooling layer.")
