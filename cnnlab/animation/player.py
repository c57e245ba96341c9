"""What the moving pictures share: the player, a row of grids, a sum of products in words."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
from IPython.display import HTML
from matplotlib.animation import FuncAnimation

from cnnlab.plots import WIDTH, grid

BUTTONS = {"minus": "−", "fast-backward": "|&lt;", "step-backward": "&lt;", "play fa-flip-horizontal": "◄",
           "pause": "II", "play": "►", "step-forward": "&gt;", "fast-forward": "&gt;|", "plus": "+"}


def player(fig, draw, frames, interval, alt):
    """HTML that plays draw(0) … draw(frames − 1) on `fig`, `interval` milliseconds each.  alt: what is to be seen."""
    page = FuncAnimation(fig, draw, frames=frames, interval=interval).to_jshtml(default_mode="once")
    plt.close(fig)
    # Matplotlib's buttons fetch an icon font from the net; plain characters need none.
    page = re.sub(r'<link rel="stylesheet"\s+href="http[^>]*>', "", page)
    page = re.sub(r'<i class="fa fa-([a-z -]+)"></i>', lambda icon: BUTTONS[icon[1]], page)
    page = page.replace('type="range"', 'type="range" aria-label="Frame"')
    # Where scripts do not run, as in a notebook that is not trusted, the last picture stands still.
    last = re.findall(r'frames\[\d+\] = "([^"]+)"', page)[-1].replace("\\\n", "")
    return HTML(page.replace('<img id="', f'<img alt="{alt}" src="{last}" id="', 1))


def grids_in_a_row(arrays, titles):
    """A figure with small arrays side by side, their cells of one size."""
    columns = [a.shape[1] for a in arrays]
    cell = min(0.5, WIDTH / (sum(columns) + 2))
    size = max(cell * (sum(columns) + 2), 6), cell * max(map(len, arrays)) + 1.3
    fig, axes = plt.subplots(1, len(arrays), figsize=size, layout="constrained", width_ratios=columns, dpi=80)
    fig.get_layout_engine().set(h_pad=0.12)
    for ax, values, title in zip(axes, arrays, titles):
        grid(ax, values, title)
    return fig, axes


def sum_of_products(window, kernel, total):
    """The products of a window and a kernel written out, "2·3 + 1·(−1) = 5"; zeros of the kernel left out."""
    terms = [f"{signed(k)}·{signed(w)}" for w, k in zip(window.ravel(), kernel.ravel()) if k]
    shown = " + ".join(terms[:6]) + (" + …" if len(terms) > 6 else "")
    return f"{shown or '0'} = {total:g}".replace("-", "−")


def signed(value):
    """A number in brackets if it is negative."""
    return f"({value:g})" if value < 0 else f"{value:g}"


def pair(value):
    """A pair from a pair, or from one number for both."""
    return value if isinstance(value, tuple) else (value, value)
