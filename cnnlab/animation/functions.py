"""The reflected and shifted function of a convolution."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from cnnlab.animation.player import player
from cnnlab.notebook import quick
from cnnlab.plots import area, overlap, result_curve


def reflect_and_shift(f, g, span: tuple[float, float], frames: int = 25, interval: int = 250):
    """A player that moves the reflected g over f and draws the area of their product, which is f * g.

    f and g take and return arrays, and are zero outside `span`.  Returns HTML, or nothing while nbgrader
    grades.
    """
    if quick():
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

    return player(fig, draw, frames, interval, "One function moves over another; the area of their product is "
                   "drawn against the shift.")
