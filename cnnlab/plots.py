"""Figures the notebooks share."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Polygon, Rectangle
from matplotlib.ticker import MaxNLocator

WIDTH = 10  # inches: what a notebook shows without shrinking


def images(*pictures, titles=(), height: float = 2.6, vmin=None, vmax=None):
    """Show pictures in a row, grey (H, W) or colour (H, W, 3), each with its title.

    Grey pictures get their own black and white unless vmin and vmax are given.  The row is `height` inches
    high, less if it would be too wide for a notebook.
    """
    ratios = [p.shape[1] / p.shape[0] for p in pictures]
    height = min(height, WIDTH / sum(ratios))
    fig, axes = plt.subplots(1, len(pictures), figsize=(height * sum(ratios) + 0.1, height + 0.35),
                             width_ratios=ratios, squeeze=False, layout="constrained")
    for ax, picture, title in zip(axes[0], pictures, [*titles, *[""] * len(pictures)]):
        ax.imshow(picture, cmap="gray", vmin=vmin, vmax=vmax)
        ax.set_title(title, fontsize=10)
        ax.axis("off")
    plt.show()


def grid(ax, values: np.ndarray, title: str = "", cmap: str = "gray_r", vmin=None, vmax=None):
    """Draw a small 2-D array on `ax` as a grid of cells with the number in each.

    `cmap` is "gray_r", larger is darker, or "gray", larger is lighter.
    """
    values = np.asarray(values)
    finite = values[np.isfinite(values)]
    low = vmin if vmin is not None else finite.min(initial=0)
    high = vmax if vmax is not None else finite.max(initial=1)
    # Half strength, so that the numbers stay readable on the darkest cell.
    limits = (low, 2 * high - low) if cmap.endswith("_r") else (2 * low - high, high)
    ax.imshow(np.ma.masked_invalid(values), cmap=cmap, vmin=limits[0], vmax=limits[1], alpha=0.9)
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            ax.text(j, i, f"{value:.3g}".replace("-", "−"), ha="center", va="center", fontsize=9)
    ax.set_xticks(np.arange(values.shape[1] + 1) - 0.5, [])
    ax.set_yticks(np.arange(values.shape[0] + 1) - 0.5, [])
    ax.grid(color="0.6", linewidth=0.8)
    ax.tick_params(length=0)
    ax.set_title(title, fontsize=10)


def grids(*arrays, titles=(), cell: float = 0.45, vmin=None, vmax=None):
    """Show small 2-D arrays in a row as grids of numbers, all with cells of `cell` inches."""
    titles, gap, letter = [*titles, *[""] * len(arrays)], 0.35, 0.075  # inches; a letter's width in a title
    cell = min(cell, (WIDTH - gap * (len(arrays) - 1)) / sum(a.shape[1] for a in arrays))
    widths = [max(cell * a.shape[1], letter * len(title)) for a, title in zip(arrays, titles)]
    width, height = sum(widths) + gap * (len(arrays) - 1), cell * max(a.shape[0] for a in arrays) + 0.35
    fig, left = plt.figure(figsize=(width, height)), 0.0
    for array, title, room in zip(arrays, titles, widths):
        rows, columns = array.shape
        ax = fig.add_axes(((left + (room - cell * columns) / 2) / width, (height - 0.35 - cell * rows) / height,
                           cell * columns / width, cell * rows / height))
        grid(ax, array, title, vmin=vmin, vmax=vmax)
        left += room + gap
    plt.show()


def frame(ax, row: float, col: float, height: float, width: float, **style):
    """Draw a thick frame around `height` x `width` cells of a `grid`, from (row, col)."""
    style = {"edgecolor": "tab:orange", "linewidth": 3, "fill": False} | style
    return ax.add_patch(Rectangle((col - 0.5, row - 0.5), width, height, **style))


def area(f, g, t: float, span: tuple[float, float]) -> float:
    """The area under f(a) g(t - a), which is (f * g)(t), by the midpoint rule.

    f and g take and return arrays; f is zero outside `span`.
    """
    a, width = _midpoints(span)
    return float((f(a) * g(t - a)).sum() * width)


def overlap(ax, f, g, t: float, span: tuple[float, float]) -> None:
    """Draw f(a), the reflected and shifted g(t - a) and, shaded, their product, whose area is (f * g)(t)."""
    a, _ = _midpoints(span)
    ax.fill_between(a, f(a) * g(t - a), color="0.8", linewidth=0)
    ax.plot(a, f(a), color="0.3", linewidth=1.5, label="f(a)")
    ax.plot(a, g(t - a), color="tab:orange", linewidth=2, linestyle="--", label="g(t − a)")
    ax.set_xlim(span)
    ax.set_ylim(-0.05, 1.25)


def overlaps(f, g, shifts, span: tuple[float, float]):
    """Stills of `overlap` at some shifts t, and below them the areas, which make up f * g."""
    fig, axes = plt.subplot_mosaic([[f"t = {t:g}" for t in shifts], ["result"] * len(shifts)],
                                   figsize=(WIDTH - 0.5, 4), layout="constrained")
    for t in shifts:
        ax = axes[f"t = {t:g}"]
        overlap(ax, f, g, t, span)
        ax.set_title(f"t = {t:g}: area {area(f, g, t, span):.2g}", fontsize=10)
        ax.tick_params(labelleft=t == shifts[0])
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, prune="both"))
    result_curve(axes["result"], f, g, span)
    axes["result"].plot(shifts, [area(f, g, t, span) for t in shifts], "o", color="tab:orange")
    axes["result"].legend(*ax.get_legend_handles_labels(), title="above", fontsize=9, loc="upper left")
    plt.show()


def result_curve(ax, f, g, span: tuple[float, float]):
    """Draw (f * g)(t) over `span`."""
    t = np.linspace(*span, 201)
    ax.plot(t, [area(f, g, shift, span) for shift in t], color="0.3", linewidth=1.5)
    ax.set_xlim(span)
    ax.set_ylim(-0.05, 1.25)
    ax.set_xlabel("t")
    ax.set_ylabel("(f * g)(t)")


def _midpoints(span, count=2000):
    """The middles of `count` equal pieces of `span`, and their width."""
    width = (span[1] - span[0]) / count
    return span[0] + width * (np.arange(count) + 0.5), width


def row_windows(ax, size: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1,
                title: str = ""):
    """Draw a row of `size` pixels and below it every window that fits, a dot for each pixel it reads.

    Padding is drawn as empty dotted cells; a pixel that no window reads is crossed out.
    """
    reach = 1 + (kernel_size - 1) * dilation
    starts = range(-padding, size + padding - reach + 1, stride)
    reads = [range(start, start + reach, dilation) for start in starts]
    for i in range(-padding, size + padding):
        inside, read = 0 <= i < size, any(i in window for window in reads)
        ax.add_patch(Rectangle((i - 0.5, -0.5), 1, 1, facecolor="0.85" if inside and read else "white",
                               edgecolor="0.4", linestyle="-" if inside else ":"))
        if inside and not read:
            for rise in (-0.5, 0.5):
                ax.plot([i - 0.5, i + 0.5], [-rise, rise], color="0.4", linewidth=1)
        if inside:
            ax.text(i, 0, str(i), ha="center", va="center", fontsize=9)
    for row, window in enumerate(reads):
        y = -1.1 - 0.6 * row
        ax.plot([window[0], window[-1]], [y, y], color="tab:orange", linewidth=1.5)
        ax.plot(window, [y] * len(window), "o", color="tab:orange", markersize=6)
    ax.set_xlim(-padding - 0.7, size + padding - 0.3)
    ax.set_ylim(-1.1 - 0.6 * len(reads), 0.7)
    ax.set_aspect("equal")
    ax.set_anchor("N")
    ax.axis("off")
    ax.set_title(title, fontsize=10)


def volume(ax, x: float, y: float, shape: tuple[int, int, int], label: str = "", depth: float = 0.5, **style):
    """Draw a volume (C, H, W) to scale as a box whose front face has its lower left corner at (x, y).

    One channel is as thick as `depth` pixels are wide.  The label stands below.  The caller sets the aspect
    to "equal" and turns the axis off.
    """
    channels, height, width = shape
    d = channels * depth * 0.7  # the depth axis runs up and to the right, foreshortened
    style = {"edgecolor": "0.3", "linewidth": 1, "facecolor": "0.85"} | style
    front = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    top = [(x, y + height), (x + width, y + height), (x + width + d, y + height + d), (x + d, y + height + d)]
    side = [(x + width, y), (x + width + d, y + d), (x + width + d, y + height + d), (x + width, y + height)]
    for corners in (front, top, side):
        ax.add_patch(Polygon(corners, **style))
    ax.text(x + width / 2, y - 1.5, label, ha="center", va="top", fontsize=9)
    ax.autoscale_view()


def stack(ax, layers, title: str = ""):
    """Draw what one unit at the top of a stack sees: a row of squares for each layer, the image lowest.

    layers: (kernel_size, stride, dilation) of each, from the image on, along one axis.
    """
    # Unit u of level l lies above position left[l] + u * step[l] of the image; level 0 is the image itself.
    left, step = [0.0], [1]
    for taps, stride, spread in layers:
        left.append(left[-1] + spread * (taps - 1) / 2 * step[-1])
        step.append(step[-1] * stride)

    def place(level, unit):  # with the unit at the top at 0
        return left[level] + unit * step[level] - left[-1]

    units = {0}
    for level in range(len(layers), 0, -1):
        taps, stride, spread = layers[level - 1]
        reads = [(u, u * stride + a * spread) for u in units for a in range(taps)]
        for u, v in reads:
            ax.plot([place(level, u), place(level - 1, v)], [level, level - 1], color="0.6", linewidth=1)
        units = {v for _, v in reads}
        ax.plot([place(level - 1, v) for v in units], [level - 1] * len(units), "s", color="0.3")
    ax.plot(0, len(layers), "s", color="tab:orange", markersize=9)
    ax.set_yticks(range(len(layers) + 1), ["image", *(f"layer {i + 1}" for i in range(len(layers)))])
    ax.set_xticks([])
    ax.spines[:].set_visible(False)
    ax.set_title(title, fontsize=10)


def block(ax, shared: np.ndarray, title: str = "") -> list[tuple[Polygon, tuple[int, int, int]]]:
    """Draw a batch (N, C, P) as a block of cells, those where `shared` is true filled.

    Channels run to the right, positions down, images into the depth.  Only three faces can be seen; the top
    one shows every image and channel.  Returns the cells that are drawn, each with its index in `shared`.
    """
    images, channels, positions = shared.shape
    d = 0.5  # a step into the depth goes this far up and to the right

    def cell(index, corners):
        style = {"facecolor": "tab:orange" if shared[index] else "white", "edgecolor": "0.35", "linewidth": 0.6}
        return ax.add_patch(Polygon(corners, **style)), index

    front = [cell((0, c, p), [(c, -p), (c + 1, -p), (c + 1, -p - 1), (c, -p - 1)])
             for c in range(channels) for p in range(positions)]
    top = [cell((n, c, 0), [(c + d * n, d * n), (c + d * n + 1, d * n), (c + d * n + 1 + d, d * n + d),
                            (c + d * n + d, d * n + d)])
           for n in range(images) for c in range(channels)]
    right = [cell((n, channels - 1, p), [(channels + d * n, d * n - p), (channels + d * n + d, d * n + d - p),
                                         (channels + d * n + d, d * n + d - p - 1), (channels + d * n, d * n - p - 1)])
             for n in range(images) for p in range(positions)]
    ax.text(channels / 2, -positions - 0.25, "C", ha="center", va="top", fontsize=9)
    ax.text(-0.25, -positions / 2, "H·W", ha="right", va="center", fontsize=9, rotation=90)
    ax.text(channels + d * images / 2 + 0.35, -positions + d * images / 2 - 0.25, "N", ha="left", va="top", fontsize=9)
    ax.set(xlim=(-1.1, channels + d * images + 0.3), ylim=(-positions - 1.1, d * images + 0.2), aspect="equal")
    ax.axis("off")
    ax.set_title(title, fontsize=10)
    return front + top + right


def connections(ax, kind: str, inputs: int = 7, window: int = 3, title: str = ""):
    """Draw a layer on a row of pixels: squares below, units above, and a line for each product.

    kind: "dense", every unit reads all pixels; "local", each reads `window` of them side by side; or "shared",
    the same, and lines drawn alike have the same weight.
    """
    units = inputs - window + 1
    middle = (inputs - units) / 2  # a unit stands above the middle of its window
    for u in range(units):
        for a in range(inputs if kind == "dense" else window):
            style = {"linestyle": ("-", "--", ":")[a % 3], "color": "0.2"} if kind == "shared" else {"color": "0.55"}
            ax.plot([a if kind == "dense" else u + a, u + middle], [0, 1.6], linewidth=1.4, zorder=1, **style)
    ax.plot(range(inputs), [0] * inputs, "s", color="0.3", markersize=9)
    ax.plot([u + middle for u in range(units)], [1.6] * units, "o", color="tab:orange", markersize=9,
            markeredgecolor="0.2")
    ax.set_xlim(-0.6, inputs - 0.4)
    ax.set_ylim(-0.3, 1.9)
    ax.axis("off")
    ax.set_title(title, fontsize=10)


def addresses(ax, shape: tuple[int, int], kernel_size: tuple[int, int], stride: int = 1, title: str = ""):
    """Draw an image (H, W) as it lies in memory, a row of H·W cells, and below it what each window reads.

    Every line is one window; its dots lie below the cells of its pixels.
    """
    height, width = shape
    for address in range(height * width):
        row, column = divmod(address, width)
        ax.add_patch(Rectangle((address - 0.5, -0.5), 1, 1, facecolor="0.85" if row % 2 else "0.95", edgecolor="0.4"))
        ax.text(address, 0, f"{row},{column}", ha="center", va="center", fontsize=9)
    starts = [(r, c) for r in range(0, height - kernel_size[0] + 1, stride)
              for c in range(0, width - kernel_size[1] + 1, stride)]
    for line, (r, c) in enumerate(starts):
        reads = [(r + a) * width + c + b for a, b in np.ndindex(*kernel_size)]
        y = -1.2 - 0.65 * line
        ax.plot([reads[0], reads[-1]], [y, y], color="0.7", linewidth=1)
        ax.plot(reads, [y] * len(reads), "o", color="tab:orange", markersize=7, markeredgecolor="0.3")
        ax.text(-0.8, y, f"window {r},{c}", ha="right", va="center", fontsize=9)
    ax.set_xlim(-3.2, height * width - 0.4)
    ax.set_ylim(-1.2 - 0.65 * len(starts), 0.6)
    ax.set_aspect("equal")
    ax.axis("off")
    ax.set_title(title, fontsize=10)


def roofline(ax, bandwidth: float, peak: float, points: dict[str, tuple[float, float]], **style):
    """Draw the roof of a machine, and points below it as letters: how fast a layer ran at which intensity.

    bandwidth in bytes and peak in operations per second; points: (operations per byte, operations per second)
    by the letter to draw.  Rates are drawn in GFLOP/s, both axes in powers of 10.
    """
    intensities = [intensity for intensity, _ in points.values()]
    ridge = peak / bandwidth
    x = np.array([min(*intensities, ridge) / 3, ridge, max(*intensities, ridge) * 3])
    ax.loglog(x, np.minimum(peak, bandwidth * x) / 1e9, color="0.2", linewidth=2)
    ax.axvline(ridge, color="0.6", linewidth=1, linestyle=":")
    style = {"color": "tab:orange", "markeredgecolor": "0.2"} | style
    for letter, (intensity, rate) in points.items():
        ax.plot(intensity, rate / 1e9, "o", markersize=15, **style)
        ax.text(intensity, rate / 1e9, letter, ha="center", va="center", fontsize=9)
    ax.set_xlabel("operations per byte that has to be moved")
    ax.set_ylabel("GFLOP/s")
    ax.grid(which="major", color="0.9")


def times(ax, sizes, curves: dict[str, list[float]], xlabel: str = ""):
    """Draw seconds over sizes, both axes in powers, a line for each method; NaN where it was not run.

    The methods are told apart by marker and dashes; the one called first is the orange one.
    """
    looks = ["o-", "s:", "x-", "^--", "D-."]
    for number, ((name, seconds), look) in enumerate(zip(curves.items(), looks)):
        ax.loglog(sizes, np.multiply(1000, seconds), look, label=name, color="0.3" if number else "tab:orange",
                  linewidth=1.5 if number else 2.5, markerfacecolor="white" if number > 2 else None)
    ax.set_xticks(sizes, sizes, minor=False)
    ax.xaxis.minorticks_off()
    ax.set_xlabel(xlabel)
    ax.set_ylabel("milliseconds")


def flow(ax, nodes: dict, wires):
    """Draw a computation as gates joined by wires, with the value above each wire and the gradient below it.

    nodes: (x, y, label) by name; an empty label draws no circle.
    wires: (from, to, value, gradient); a gradient of None is left out.
    """
    for start, end, value, gradient in wires:
        (x0, y0), (x1, y1) = nodes[start][:2], nodes[end][:2]
        ax.annotate("", (x1, y1), (x0, y0), arrowprops={"arrowstyle": "-|>", "color": "0.4", "shrinkA": 13,
                                                         "shrinkB": 13})
        middle = {"xy": (0.6 * x0 + 0.4 * x1, 0.6 * y0 + 0.4 * y1), "textcoords": "offset points", "ha": "center"}
        ax.annotate(_signed(value), **middle, xytext=(0, 7), va="bottom", fontsize=10)
        if gradient is not None:
            ax.annotate(_signed(gradient), **middle, xytext=(0, -7), va="top", fontsize=10,
                        color="tab:orange", fontweight="bold", fontstyle="italic")
    for x, y, label in nodes.values():
        circle = {"boxstyle": "circle,pad=0.35", "facecolor": "0.9", "edgecolor": "0.3"} if len(label) > 1 else None
        ax.text(x, y, label, ha="center", va="center", fontsize=11, bbox=circle)
    xs, ys = [n[0] for n in nodes.values()], [n[1] for n in nodes.values()]
    ax.set_xlim(min(xs) - 0.4, max(xs) + 0.4)
    ax.set_ylim(min(ys) - 0.5, max(ys) + 0.5)
    ax.axis("off")


def _signed(value):
    return f"{value:g}".replace("-", "−")


def feature_maps(stages: dict[str, np.ndarray]):
    """Show what one image became at each stage of a network, a row for each, darker where it is larger.

    stages: by name, maps (C, H, W), drawn side by side, or a vector (length,), drawn as a strip of cells.
    """
    heights = [0.45 if values.ndim == 1 else 0.85 for values in stages.values()]
    fig, axes = plt.subplots(len(stages), 1, figsize=(WIDTH, sum(heights) + 0.2), height_ratios=heights,
                             layout="constrained", squeeze=False)
    for ax, (name, values) in zip(axes[:, 0], stages.items()):
        if values.ndim == 1:
            picture = values[None]                                           # (1, length)
        else:
            gap = np.full((values.shape[1], max(1, values.shape[2] // 12)), np.nan)
            picture = np.hstack([part for one in values for part in (one, gap)][:-1])
        ax.imshow(np.ma.masked_invalid(picture), cmap="gray_r", aspect="auto" if values.ndim == 1 else "equal",
                  interpolation="nearest")
        shape = "×".join(map(str, values.shape))
        ax.set_ylabel(f"{name}\n{shape}", rotation=0, ha="right", va="center", fontsize=9)
        ax.set(xticks=[], yticks=[])
        ax.set_anchor("W")
        ax.spines[:].set_visible(values.ndim == 1)
    plt.show()


def diagram(ax, boxes: dict, arrows):
    """Draw labelled boxes joined by arrows, the way papers draw the blocks of a network.

    boxes: (x, y, label) by name, in units of one box; arrows: pairs of names, from and to.
    """
    frames = {}
    for name, (x, y, label) in boxes.items():
        drawn = ax.text(x, y, label, ha="center", va="center", fontsize=10,
                        bbox={"boxstyle": "round,pad=0.4", "facecolor": "0.92", "edgecolor": "0.3"})
        frames[name] = drawn.get_bbox_patch()
    for start, end in arrows:  # later than the boxes, at whose edges they begin and end
        ax.annotate("", boxes[end][:2], boxes[start][:2], zorder=4, arrowprops={
            "arrowstyle": "-|>", "color": "0.4", "patchA": frames[start], "patchB": frames[end], "shrinkA": 1, "shrinkB": 1})
    xs, ys = [b[0] for b in boxes.values()], [b[1] for b in boxes.values()]
    ax.set_xlim(min(xs) - 0.7, max(xs) + 0.7)
    ax.set_ylim(min(ys) - 0.4, max(ys) + 0.4)
    ax.axis("off")
