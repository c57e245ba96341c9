"""The notebooks of the course in order: what each is about, what one has afterwards, and what it builds on."""

from __future__ import annotations

import io
from dataclasses import dataclass

import matplotlib.pyplot as plt
from matplotlib.patches import Arc, Ellipse

from cnnlab.plots import WIDTH


@dataclass(frozen=True)
class Notebook:
    """A notebook: its title without the number, what it gives, and the numbers of those it builds on.

    What one of these builds on in turn is not named again.
    """

    number: int
    title: str
    gives: str
    needs: tuple[int, ...]


NOTEBOOKS = (
    Notebook(0, "Start here", "how exercises, checks, hints and grading work", ()),
    Notebook(1, "Why convolution", "local, shared weights, and why images want them", (0,)),
    Notebook(2, "Convolution versus cross-correlation", "the operation, its flip, filters, FFT", (1,)),
    Notebook(3, "Padding, stride and channels", "the whole layer, its sizes and parameters", (2,)),
    Notebook(4, "Vectorised convolution", "im2col, matrix products, what a layer costs", (3,)),
    Notebook(5, "Backpropagation through convolution", "the layer's gradients, derived and checked", (4,)),
    Notebook(6, "Pooling", "pooling both ways, equivariance and invariance", (5,)),
    Notebook(7, "Normalisation and regularisation", "batch norm, dropout, augmentation", (5,)),
    Notebook(8, "LeNet from scratch", "a network and its training, all your own", (6,)),
    Notebook(9, "LeNet in PyTorch", "modules, autograd, training, distortions", (8,)),
    Notebook(10, "ImageNet, AlexNet and ZFNet", "large networks: errors, sizes, costs", (7, 9)),
    Notebook(11, "VGG", "depth from small windows, receptive fields, first weights", (10,)),
    Notebook(12, "GoogLeNet", "branches, 1×1 bottlenecks, global pooling", (11,)),
    Notebook(13, "ResNet", "residual blocks, and what depth alone spoils", (11,)),
    Notebook(14, "After ResNet", "cheaper and wider blocks, search, pruning, all costs", (12, 13)),
    Notebook(15, "Fully convolutional networks", "maps instead of labels, up-sampling, segmentation", (11,)),
    Notebook(16, "What convnets see", "maps, saliency, comparison of representations", (9,)),
    Notebook(17, "Convolution on the GPU", "kernels: tiles, addresses, masks, what limits them", (9,)),
    Notebook(18, "Backward and training on the GPU", "gradients as kernels, precision, several GPUs", (17,)),
)
PARTS = ((0, 8, "in NumPy"), (9, 16, "in PyTorch"), (17, 18, "in Triton"))  # from notebook, to notebook, how they compute


def draw_map() -> None:
    """Show the course: a row for each notebook, and lines to it from the earlier ones that it builds on."""
    _figure()
    plt.show()


def map_as_svg() -> str:
    """The map as text, the same each time, for pages outside a notebook."""
    out = io.StringIO()
    with plt.rc_context({"svg.hashsalt": "cnnlab"}):
        fig = _figure()
        fig.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(fig)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _figure():
    rows = len(NOTEBOOKS)
    fig = plt.figure(figsize=(WIDTH, 0.33 * rows + 0.5), facecolor="white")
    ax = fig.add_axes((0, 0, 1, 1), xlim=(-2.4, 17.9), ylim=(-rows + 0.4, 1.2), facecolor="white")
    ax.axis("off")
    for first, last, where in PARTS:
        shade = {"color": "0.945" if first % 2 else "white", "zorder": 0}
        ax.fill_between([-2.4, 17.9], -last - 0.5, -first + 0.5, linewidth=0, **shade)
        ax.text(17.75, -(first + last) / 2, where, rotation=-90, ha="right", va="center", color="0.35", fontsize=10)
    for notebook in NOTEBOOKS:
        y = -notebook.number
        for needed in notebook.needs:
            span = notebook.number - needed
            if span == 1:
                ax.plot([0, 0], [y, y + 1], color="0.3", linewidth=1.6, zorder=1)
            else:  # around the notebooks between
                ax.add_patch(Arc((0, y + span / 2), 0.9 + 0.5 * span, span, theta1=90, theta2=270, color="tab:orange",
                                 linewidth=1.6))
        ax.add_patch(Ellipse((0, y), 0.66, 0.66 * 18 / 21, facecolor="white", edgecolor="0.2", linewidth=1.3, zorder=2))
        ax.text(0, y - 0.02, f"{notebook.number:02}", ha="center", va="center", fontsize=8, zorder=3)
        ax.text(0.7, y, notebook.title, va="center", fontsize=10.5, fontweight="bold", color="0.1")
        ax.text(8.3, y, notebook.gives, va="center", fontsize=10, color="0.1")
    for x, head in ((0.7, "notebook"), (8.3, "what it gives")):
        ax.text(x, 0.85, head, va="center", fontsize=9.5, color="0.35", style="italic")
    ax.text(-0.35, 0.85, "builds on", va="center", ha="right", fontsize=9.5, color="0.35", style="italic")
    return fig
