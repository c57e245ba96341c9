"""What a network says of an image that changes."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from cnnlab.animation.player import player
from cnnlab.notebook import quick


def recognition(pictures: np.ndarray, probabilities: np.ndarray, titles: list[str], label: int, interval: int = 300):
    """A player of pictures (F, H, W), each with its title, beside the probability (F, K) of every class.

    The bar of the class `label` is hatched, the largest one dark.  Returns HTML, or nothing while nbgrader grades.
    """
    if quick():
        return None
    fig, (left, right) = plt.subplots(1, 2, figsize=(7, 2.6), width_ratios=[1, 1.6], layout="constrained", dpi=80)
    shown = left.imshow(pictures[0], cmap="gray", vmin=pictures.min(), vmax=pictures.max())
    left.axis("off")
    classes = range(probabilities.shape[1])
    bars = right.bar(classes, probabilities[0], edgecolor="0.2", hatch=["//" if k == label else "" for k in classes])
    right.set(xticks=classes, ylim=(0, 1), xlabel="class", ylabel="probability")

    def draw(step):
        shown.set_data(pictures[step])
        left.set_title(titles[step], fontsize=10)
        answer = probabilities[step].argmax()
        right.set_title(f"It says {answer}" + ("" if answer == label else ": wrong"), fontsize=10)
        for k, (bar, p) in enumerate(zip(bars, probabilities[step])):
            bar.set_height(p)
            bar.set_facecolor("tab:orange" if k == answer else "0.85")

    draw(0)
    return player(fig, draw, len(pictures), interval,
                  "An image that changes, and beside it the probability that a network gives to each class.")
