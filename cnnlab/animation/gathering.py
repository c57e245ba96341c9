"""Collecting: which outputs one pixel hears from on the way back, and how processes in a ring add up their gradients."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from cnnlab.animation.player import pair, player
from cnnlab.notebook import quick
from cnnlab.plots import WIDTH, frame, grid


def readers(h: int, w: int, outputs, kernel_size, stride=1, padding=0) -> dict[tuple[int, int], tuple[int, int]]:
    """The outputs (p, q) that read pixel (h, w) of an image, each with the place (r, s) in its window.

    outputs (P, Q), kernel_size, stride and padding are numbers or pairs.
    """
    (P, Q), (R, S), (step_h, step_w), (pad_h, pad_w) = map(pair, (outputs, kernel_size, stride, padding))
    found = {}
    for r, s in np.ndindex(R, S):
        p, up = divmod(h + pad_h - r, step_h)
        q, left = divmod(w + pad_w - s, step_w)
        if up == left == 0 and 0 <= p < P and 0 <= q < Q:
            found[p, q] = (r, s)
    return found


def gathering(size, kernel_size, stride=1, padding=0, interval: int = 900):
    """A player that goes from pixel to pixel of an image and marks the outputs that read it, each with its weight.

    size (H, W), small; kernel_size, stride and padding are numbers or pairs.  Left the pixels, and in each how many
    outputs it hears from; right the outputs, and in each that reads the pixel the place in its window.  Returns HTML,
    or nothing while nbgrader grades.
    """
    if quick():
        return None
    (H, W), (R, S), step, pad = map(pair, (size, kernel_size, stride, padding))
    P, Q = (H + 2 * pad[0] - R) // step[0] + 1, (W + 2 * pad[1] - S) // step[1] + 1
    heard = {(h, w): readers(h, w, (P, Q), (R, S), step, pad) for h, w in np.ndindex(H, W)}
    count = np.array([[len(heard[h, w]) for w in range(W)] for h in range(H)], float)
    cell = min(0.5, WIDTH / (W + Q + 4))
    fig, axes = plt.subplots(1, 2, figsize=(cell * (W + Q + 3), cell * max(H, P) + 1.1), width_ratios=[W, Q],
                             layout="constrained", dpi=80)
    grid(axes[0], count, "pixels: by how many outputs read", vmin=0, vmax=2 * R * S)
    grid(axes[1], np.zeros((P, Q)), "outputs: the place (r, s)", vmin=0, vmax=1)
    here = frame(axes[0], 0, 0, 1, 1)
    marks = {place: frame(axes[1], *place, 1, 1) for place in np.ndindex(P, Q)}

    def draw(number):
        pixel = divmod(number, W)
        here.set_xy((pixel[1] - 0.5, pixel[0] - 0.5))
        for i, text in enumerate(axes[0].texts):
            text.set_visible(i <= number)
        axes[0].images[0].set_data(np.ma.masked_array(count, np.arange(H * W).reshape(H, W) > number))
        shade = np.zeros((P, Q))
        for place, text in zip(marks, axes[1].texts):
            met = heard[pixel].get(place)
            marks[place].set_visible(met is not None)
            text.set_text(f"{met[0]}, {met[1]}" if met else "")
            shade[place] = 0.6 if met else 0
        axes[1].images[0].set_data(shade)
        pairs = [f"dy{place}·k{met}" for place, met in heard[pixel].items()]
        fig.suptitle(f"dx{pixel} = " + (" + ".join(pairs) if len(pairs) < 5 else f"{len(pairs)} products"), fontsize=10)

    draw(0)
    fig.canvas.draw()
    fig.set_layout_engine("none")
    return player(fig, draw, H * W, interval, f"For every pixel of an image of {H} by {W}, the outputs whose windows "
                  "hold it, and at which place.")


def ring_rounds(parts: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """What p processes hold after each round of a ring all-reduce: (what is done, values (p, p), received (p, p) bool).

    parts (p, p): row i is what process i begins with, a column is one chunk.  In the first p − 1 rounds chunks are
    added up on their way round the ring, in the others the sums are handed on.  The last values are equal in all rows.
    """
    p, values = len(parts), np.array(parts, dtype=float)
    rounds = [("at the start", values.copy(), np.zeros((p, p), bool))]
    for number in range(2 * (p - 1)):
        adding = number < p - 1
        sent, received = values.copy(), np.zeros((p, p), bool)
        for sender in range(p):
            chunk = (sender - number) % p  # and after p − 1 rounds each sender has the whole sum of the one it sends
            to = (sender + 1) % p
            values[to, chunk] = sent[sender, chunk] + (values[to, chunk] if adding else 0)
            received[to, chunk] = True
        rounds.append((f"round {number + 1}: {'add' if adding else 'hand on'}", values.copy(), received))
    return rounds


def ring_all_reduce(parts: np.ndarray, interval: int = 1500):
    """A player of `ring_rounds`: rows are processes, columns chunks; what a process has just received is framed.

    parts (p, p), numbers.  Returns HTML, or nothing while nbgrader grades.
    """
    if quick():
        return None
    rounds, p = ring_rounds(parts), len(parts)
    totals = rounds[-1][1][0]
    fig, ax = plt.subplots(figsize=(0.8 * p + 2.6, 0.6 * p + 1), layout="constrained", dpi=80)
    grid(ax, rounds[0][1], " ", vmin=0, vmax=2 * totals.max())
    ax.set_aspect("auto")
    ax.set_yticks(range(p), [f"process {i}" for i in range(p)])
    ax.set_xticks(range(p), [f"chunk {j}" for j in range(p)])
    ax.grid(visible=False)
    frames = {place: frame(ax, *place, 1, 1) for place in np.ndindex(p, p)}

    def draw(number):
        title, values, received = rounds[number]
        ax.set_title(title, fontsize=10)
        ax.images[0].set_data(values)
        for place, text in zip(frames, ax.texts):
            text.set_text(f"{values[place]:g}")
            text.set_fontweight("bold" if values[place] == totals[place[1]] else "normal")
            frames[place].set_visible(bool(received[place]))

    draw(0)
    fig.canvas.draw()
    fig.set_layout_engine("none")
    return player(fig, draw, len(rounds), interval, f"{p} processes in a ring add up {p} chunks in {p - 1} rounds and "
                  f"hand the sums on in {p - 1} more.")
