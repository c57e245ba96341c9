"""What a network says of an image that changes."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from cnnlab.animation.player import player
from cnnlab.notebook import quick
from cnnlab.plots import frame


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


def scan(page: np.ndarray, probabilities: np.ndarray, window: int, stride: int, row: int, interval: int = 250):
    """A player in which a window goes over `page` (H, W), one row of a map (K, H', W') after another place.

    Place (i, j) of the map looks at `window` pixels from (i * stride, j * stride) on.  Below the page, the probability
    of every class at the place; the largest bar is orange.  Returns HTML, or nothing while nbgrader grades.
    """
    if quick():
        return None
    places = probabilities[:, row].T                                          # (W', K)
    fig, (top, below) = plt.subplots(2, 1, figsize=(8, 4.6), height_ratios=[1.6, 1], layout="constrained", dpi=80)
    top.imshow(page, cmap="gray_r")
    top.axis("off")
    marker = frame(top, row * stride, 0, window, window)
    classes = range(places.shape[1])
    bars = below.bar(classes, places[0], edgecolor="0.2")
    below.set(xticks=classes, ylim=(0, 1), xlabel="class", ylabel="probability")

    def draw(step):
        marker.set_x(step * stride - 0.5)
        for k, (bar, p) in enumerate(zip(bars, places[step])):
            bar.set_height(p)
            bar.set_facecolor("tab:orange" if k == places[step].argmax() else "0.85")
        below.set_title(f"place ({row}, {step}) of the map: {places[step].argmax()}", fontsize=10)

    draw(0)
    fig.canvas.draw()
    fig.set_layout_engine("none")  # laid out once: doing it for every frame takes longer than drawing
    return player(fig, draw, len(places), interval,
                  "A window goes over a page, and below it stands the probability that a network gives to each class.")
