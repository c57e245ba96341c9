# %% [markdown]
# # 03 Padding, stride and channels
#
# Notebook 02 slid one kernel over one grey image, a pixel at a time. A convolution layer can do more: take
# longer steps, look beyond the border, spread its kernel out, read many channels and apply many filters.
# This notebook works out what each of these does to the size, the values and the cost, and builds, part by
# part, the layer that `torch.nn.Conv2d` defines.

# %% [markdown]
# ## What you will be able to do
#
# - give the output size of any convolution layer, also when the stride does not fit;
# - say which pixels a layer never reads;
# - choose the padding that keeps a size, and one of four padding modes;
# - write a convolution layer with batches, channels, filters, stride, padding, dilation and groups;
# - count its parameters;
# - say how much of the image one unit deep in a network sees.

# %%
import matplotlib.pyplot as plt
import numpy as np

from cnnlab import animation, answer, check, drill, hint, plots, widgets
from cnnlab.data import grey, photo

# %% [markdown]
# ## Where the windows lie
#
# Four numbers place the windows through which a layer reads its input:
#
# - `kernel_size`: how many pixels a window reads along an axis;
# - `stride`: the distance from one window to the next;
# - `padding`: how many pixels are added at **both** ends of the axis, so padding 1 makes it 2 longer;
# - `dilation`: the distance between two neighbouring pixels that one window reads.
#
# Rows and columns follow the same rule, each on its own, so one row of pixels is enough to see it. Below
# each row every line is one window, and its dots are the pixels it reads. The number of lines is the
# output size.

# %%
settings = [{}, {"stride": 2}, {"padding": 1}, {"dilation": 2}]
fig, axes = plt.subplots(2, 2, figsize=(7, 4.9), layout="constrained")
for ax, setting in zip(axes.flat, settings):
    title = ", ".join(["kernel_size=3", *(f"{k}={v}" for k, v in setting.items())])
    plots.row_windows(ax, 7, 3, **setting, title=title)
    ax.set_xlim(-1.7, 7.7)
plt.show()

# %% [markdown]
# A kernel of 3 turns 7 pixels into 5 outputs. Stride 2 leaves 3 of them, padding 1 (the dotted cells)
# brings back 7, and dilation 2 leaves 3.

# %% [markdown]
# Lectures often use letters for these numbers. They map to PyTorch's names, which we use in code:
#
# | letter | PyTorch | meaning |
# |---|---|---|
# | N | `H` or `W` | height or width of the input; in code, `N` is the number of images |
# | F | `kernel_size`, `kH` and `kW` | height and width of a filter |
# | S | `stride` | distance from window to window |
# | P | `padding` | pixels added at each end |
# | K | `out_channels`, `C_out` | number of filters |

# %% [markdown]
# Without padding and dilation the number of windows is $(N - F)/S + 1$: 5 at stride 1 and 3 at stride 2, as in
# the figure.
#
# **Predict.** What does the formula give at stride 3? How many windows of 3 pixels can really be placed?

# %%
by_formula = {stride: (7 - 3) / stride + 1 for stride in (1, 2, 3)}  # (N - F) / S + 1
fig, axes = plt.subplots(1, 3, figsize=(9, 2.5), layout="constrained")
for ax, (stride, windows) in zip(axes, by_formula.items()):
    plots.row_windows(ax, 7, 3, stride, title=f"stride {stride}: (7 − 3)/{stride} + 1 = {windows:.3g}")
plt.show()

# %% [markdown]
# Stride 3 does not fit: the formula gives 2.33. Two windows can be placed, and the last pixel, crossed
# out, is in neither.
#
# Some lecture notes call this an error. It is not: PyTorch, like other libraries, rounds down (**floor**),
# runs the layer, and silently loses the last rows or columns. With padding 1 the same stride does fit:

# %%
padded_fit = (7 + 2 * 1 - 3) / 3 + 1
fig, ax = plt.subplots(figsize=(4, 1.7), layout="constrained")
title = f"stride 3, padding 1: (7 + 2 − 3)/3 + 1 = {padded_fit:g}"
plots.row_windows(ax, 7, 3, stride=3, padding=1, title=title)
plt.show()

# %% [markdown]
# All four numbers together:
#
# $$H_\text{out} = \left\lfloor \frac{H + 2\cdot\text{padding} - \text{dilation}\cdot(kH - 1) - 1}
# {\text{stride}} \right\rfloor + 1$$
#
# Read it from the inside. A kernel reaches over $\text{dilation}\cdot(kH-1)+1$ pixels from its first entry
# to its last. What the padded input has beyond that is how far the first window can still move. Divided by
# the stride and rounded down, it is the number of steps; the first window itself adds one.

# %% [markdown]
# ### Exercise: output size
#
# Write `output_size(size, kernel_size, stride=1, padding=0, dilation=1)`, the number of windows along one
# axis.
#
# All arguments are ints, and at least one window fits. Return an int: `5`, not `5.0`.
#
# If you are stuck, run `hint("output_size")` in a cell of your own, and again for more.

# %% tags=["exercise:output_size"]
def output_size(size, kernel_size, stride=1, padding=0, dilation=1):
    """The number of windows along one axis; a stride that does not fit is rounded down.

    size, kernel_size, stride, padding, dilation ints.  Returns an int.
    """
    ### BEGIN SOLUTION
    reach = dilation * (kernel_size - 1) + 1
    return (size + 2 * padding - reach) // stride + 1
    ### END SOLUTION

# %% tags=["check:output_size"]
check("output_size", output_size)

# %% [markdown]
# Without padding every window lies on real pixels. That is called a **valid** convolution; at stride 1 its
# output is $(H - kH + 1)\times(W - kW + 1)$.
#
# **Predict.** A 5×5 kernel runs over a 32×32 image, and another over what comes out. How large is the
# image after one layer, and after two? After how many layers are only 4×4 pixels left?

# %%
valid = [32]
while valid[-1] > 4:
    valid.append(output_size(valid[-1], 5))
fig, ax = plt.subplots(figsize=(10, 2.6), layout="constrained")
left = 0
for layer, size in enumerate(valid):
    ax.add_patch(plt.Rectangle((left, -size / 2), size, size, facecolor="0.85", edgecolor="0.3"))
    ax.text(left + size / 2, 0, f"{size}", ha="center", va="center")
    left += size + 4
ax.set(xlim=(-2, left), ylim=(-17, 17), aspect="equal", title="5×5 kernels, stride 1, no padding")
ax.axis("off")
plt.show()

# %% [markdown]
# 32, 28, 24: each layer takes 4 pixels from the height and the width, and after seven layers a 4×4 image
# is left. A network of thirty layers cannot be built like this. Padding, further below, keeps the size.

# %% [markdown]
# ## Which pixels are read
#
# The output size says how many windows there are, not what they read. Count, for every pixel of the input,
# the windows that read it: its **coverage**. A pixel in the middle is read by several windows, one at the
# border by fewer, and some may be read by none.
#
# These counts return in notebook 05: the gradient of a pixel that three windows read is a sum of three terms,
# and that of a pixel read by none is exactly zero.

# %% [markdown]
# ### Exercise: coverage
#
# Write `coverage(size, kernel_size, stride=1, padding=0)`: for each pixel of a row, how many windows read
# it.
#
# - All arguments are ints; `padding` is smaller than `kernel_size`, and at least one window fits.
# - Only windows that fit into the padded row count.
# - Return an array of shape `(size,)` with dtype int: the input's own pixels, without the padding.
#
# You may call `output_size`.

# %% tags=["exercise:coverage"]
def coverage(size, kernel_size, stride=1, padding=0):
    """How many windows read each pixel of a row.

    size, kernel_size, stride, padding ints.  Returns (size,) int.
    """
    ### BEGIN SOLUTION
    counts = np.zeros(size + 2 * padding, dtype=int)
    for window in range(output_size(size, kernel_size, stride, padding)):
        start = window * stride
        counts[start:start + kernel_size] += 1
    return counts[padding:padding + size]
    ### END SOLUTION

# %% tags=["check:coverage"]
check("coverage", coverage)

# %% [markdown]
# In two dimensions a window reads a pixel if it covers both its row and its column, so the counts
# multiply: `np.outer(rows, columns)`.
#
# **Predict.** On a 5×5 image at stride 3, a 2×2 kernel fits: (5 − 2)/3 + 1 = 2. How many of the 25 pixels
# does it leave unread? And how many does a 3×3 kernel, for which the stride does not fit?

# %%
def coverage_map(size, kernel_size, stride=1, padding=0):
    """How many windows read each pixel of a square image: (size, size) int."""
    row = coverage(size, kernel_size, stride, padding)
    return np.outer(row, row)


maps = {"7×7, F=3, S=1": coverage_map(7, 3), "7×7, F=3, S=3": coverage_map(7, 3, 3),
        "5×5, F=2, S=3": coverage_map(5, 2, 3), "5×5, F=3, S=3": coverage_map(5, 3, 3)}
unread = {name: int((m == 0).sum()) for name, m in maps.items()}
titles = [f"{name}: {unread[name]} unread" for name in maps]
plots.grids(*maps.values(), titles=titles, cell=0.36, vmin=0, vmax=9)

# %% [markdown]
# Zeros are pixels the layer never reads. On 5×5 with a 2×2 kernel, stride 3 **skips** the middle row and
# column, 9 pixels, although it fits: the stride is larger than the kernel. The 3×3 kernel has no gaps, but
# the remainder costs it the last two rows and columns: 16 pixels.
#
# At stride 1 (left) a pixel in the middle is read 9 times, a corner once.

# %% [markdown]
# **Predict.** Stride 2 and a 5×5 kernel on a 32×32 image: which padding makes it fit?

# %%
for padding in range(5):
    print(f"padding {padding}: (32 + {2 * padding} − 5)/2 + 1 = {(32 + 2 * padding - 5) / 2 + 1:g}")

# %% [markdown]
# None does. Padding adds the same on both sides, so always an even number, and an even number does not
# change the remainder of a division by 2. With stride 2 an odd kernel fits odd sizes only.
#
# So flooring is no rare case. The first layer of ResNet (He et al., 2016) has a 7×7 kernel and stride 2,
# on 224 pixels; implementations pad by 3. That does not fit either. What is lost?

# %%
stem_remainder = (224 + 2 * 3 - 7) % 2
stem_size = output_size(224, 7, stride=2, padding=3)
stem_counts = coverage(224, 7, stride=2, padding=3)
print(f"remainder {stem_remainder}, output size {stem_size}, fewest reads of a row: {stem_counts.min()}")

# %% [markdown]
# One row and one column of the padded image are left over, and both are padding. The output is 112×112, and
# every row and column of the image is read by at least two windows. A remainder costs real pixels only where it
# is larger than the padding.

# %% [markdown]
# ## Padding that keeps the size
#
# At stride 1 the output is shorter than the input by the kernel's reach less one. Padding by exactly that
# much, half on each side, makes up for it. For an odd kernel without dilation it is $(F-1)/2$ on both
# sides.
#
# An even kernel without dilation loses an odd number of pixels, which cannot be shared equally. PyTorch's
# `padding="same"` then puts the extra pixel **after** the input: below, or to the right.

# %% [markdown]
# ### Exercise: same padding
#
# Write `same_padding(kernel_size, dilation=1)`: how many pixels to add before and after one axis, so that
# a stride-1 layer keeps its size.
#
# Both arguments are ints. Return a tuple of two ints, `(before, after)`. If the total is odd, `after` is
# larger by one.

# %% tags=["exercise:same_padding"]
def same_padding(kernel_size, dilation=1):
    """The padding before and after an axis with which a stride-1 layer keeps its size.

    kernel_size, dilation ints.  Returns (before, after), two ints.
    """
    ### BEGIN SOLUTION
    total = dilation * (kernel_size - 1)
    return total // 2, total - total // 2
    ### END SOLUTION

# %% tags=["check:same_padding"]
check("same_padding", same_padding)

# %%
same = {kernel_size: same_padding(kernel_size) for kernel_size in (1, 3, 5, 7, 4)}
for kernel_size, (before, after) in same.items():
    print(f"kernel {kernel_size}: {before} before, {after} after")
kept = output_size(7, 3, padding=1)
print(f"7 pixels, kernel 3, padding 1: still {kept}")

# %% [markdown]
# Filters of 3, 5 and 7 need 1, 2 and 3. Here is a 3×3 kernel with padding 1 at work on a 4×4 image.
# Padding is white with a pale 0. Step through it and watch the corners: there, five of the nine products
# are with zeros.

# %%
small = np.array([[3, 1, 0, 2], [1, 4, 1, -2], [0, 2, 5, 1], [-1, 0, 2, 3]])
sharpen = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]])
animation.sliding_window(small, sharpen, padding=1)

# %% [markdown]
# ## What to put there
#
# Zeros are a choice, and a visible one: they surround the image with black.
#
# **Predict.** Averaging 3×3 pixels changes nothing in an image that is 1 everywhere. What does it give at
# the corner, at an edge, and inside, if the image is padded with zeros?

# %%
reads = coverage(6, 3, padding=1)
averaged = np.outer(reads, reads) / 9  # the number of real pixels, each 1, in each 3x3 window
fig, ax = plt.subplots(figsize=(3, 3), layout="constrained")
plots.grid(ax, averaged, "3×3 mean of ones, zero padding", cmap="gray", vmin=0, vmax=1)
plt.show()

# %% [markdown]
# Here 1 is white, as in a picture. The inside stays 1, the corner falls to 4/9 = 0.444 and the edges to
# 6/9 = 0.667. Zero padding darkens the border, and later layers can use that to tell where the border is (Islam
# et al., 2020).

# %% [markdown]
# PyTorch offers four answers, under the name `padding_mode`. A row `a b c d` padded by 2 becomes:
#
# | mode | before | row | after |
# |---|---|---|---|
# | `"zeros"` | 0 0 | a b c d | 0 0 |
# | `"reflect"` | c b | a b c d | c b |
# | `"replicate"` | a a | a b c d | d d |
# | `"circular"` | c d | a b c d | a b |

# %% [markdown]
# ### Exercise: four padding modes
#
# Write `pad2d(x, padding, mode)`: pad height and width on both sides.
#
# - `x` has shape (N, C, H, W), float64: a **batch** of N images, each with C channels (3 for colour);
# - `padding` is a pair `(pH, pW)`: pH rows above and pH below, pW columns left and pW right. Either may be 0,
#   and the image always has the pixels that a mode needs;
# - `mode` is one of the four names above;
# - return a new array (N, C, H + 2 pH, W + 2 pW), float64. Corners follow from padding both axes.
#
# `np.pad` is allowed, but its names differ. Each mode earns a quarter of the points.

# %% tags=["exercise:pad2d"]
def pad2d(x, padding, mode):
    """Pad height and width of a batch of images on both sides.

    x (N, C, H, W) float64; padding (pH, pW) ints; mode "zeros", "reflect", "replicate" or "circular".
    Returns (N, C, H + 2 pH, W + 2 pW) float64.
    """
    ### BEGIN SOLUTION
    def sources(size, p):
        """For each new position, the old one whose pixel belongs there: (size + 2p,)."""
        i = np.arange(-p, size + p)
        if mode == "replicate":
            return np.clip(i, 0, size - 1)
        if mode == "circular":
            return i % size
        return (size - 1) - np.abs((size - 1) - np.abs(i))  # turn back at 0 and at size - 1

    (pH, pW), (N, C, H, W) = padding, x.shape
    if mode == "zeros":
        out = np.zeros((N, C, H + 2 * pH, W + 2 * pW))
        out[:, :, pH:pH + H, pW:pW + W] = x
        return out
    return x[:, :, sources(H, pH)[:, None], sources(W, pW)]
    ### END SOLUTION

# %% tags=["check:pad2d"]
check("pad2d", pad2d)

# %% [markdown]
# The four modes on numbers and on a photograph. The dashed frame is the original.

# %%
modes = ["zeros", "reflect", "replicate", "circular"]
numbers = np.arange(1.0, 13).reshape(1, 1, 3, 4)
flower = photo("flower")[130:370, 200:520]                           # (240, 320, 3)
flower = flower.transpose(2, 0, 1)[None]                             # (1, 3, 240, 320)
fig, axes = plt.subplots(2, 4, figsize=(10, 4.8), layout="constrained")
for mode, above, below in zip(modes, *axes):
    plots.grid(above, pad2d(numbers, (2, 2), mode)[0, 0], mode, vmin=0, vmax=16)
    plots.frame(above, 2, 2, 3, 4, edgecolor="0.2", linestyle="--", linewidth=2)
    below.imshow(pad2d(flower, (90, 120), mode)[0].transpose(1, 2, 0))
    plots.frame(below, 90, 120, 240, 320, edgecolor="white", linestyle="--", linewidth=1.5)
    below.axis("off")
plt.show()

# %% [markdown]
# In the grids a larger number is darker. `reflect` continues the image without a seam. `replicate` draws its
# edge out into streaks. `circular` joins the opposite side on, which leaves a hard edge unless the image is
# periodic by nature, as a map of the world is from east to west. `zeros` adds an edge all around. It is
# PyTorch's default, and most networks use it.

# %% [markdown]
# ## Through the full depth
#
# A colour image is not a plane but a **volume**: channels, height, width. A filter is as deep as the
# volume it reads, so it moves in two directions only.
#
# **Predict.** A 5×5 filter lies on a colour image of 32×32 pixels. How many numbers does it multiply at
# one position, and how many come out? How large is the map when it has slid everywhere?

# %%
hopper = photo("hopper")[:512]                                       # (512, 512, 3)
tiny = hopper.reshape(32, 16, 32, 16, 3).mean(axis=(1, 3))           # (32, 32, 3), means of 16x16 blocks
image = tiny.transpose(2, 0, 1)                                      # (3, 32, 32), channels first

kernel = np.random.default_rng(0).normal(size=(3, 5, 5))
bias = 0.5
window = image[:, 10:15, 20:25]                                      # (3, 5, 5)
products = (window * kernel).size
response = (window * kernel).sum() + bias
as_dot_product = window.ravel() @ kernel.ravel() + bias
print(f"{products} products, one number: {response:.4f}, the same as a dot product: {as_dot_product:.4f}")

# %%
fig, ax = plt.subplots(figsize=(10, 3), layout="constrained")
orange, style = "tab:orange", {"depth": 1.6}                         # drawn thicker than to scale
plots.volume(ax, 0, 0, (3, 32, 32), "image: 3 × 32 × 32", **style)
plots.volume(ax, 18, 20, (3, 5, 5), facecolor=orange, **style)
plots.volume(ax, 52, 14, (3, 5, 5), "filter: 3 × 5 × 5\n75 weights, 1 bias", facecolor=orange, **style)
plots.volume(ax, 76, 2, (1, 28, 28), "one filter: 1 × 28 × 28", **style)
plots.volume(ax, 94, 22, (1, 1, 1), facecolor=orange, **style)
plots.volume(ax, 124, 2, (6, 28, 28), "six filters: 6 × 28 × 28", **style)
for x, text in [(43.5, "with"), (68, "gives"), (115, "six of them")]:
    ax.annotate("", (x + 3, 16), (x - 3, 16), arrowprops={"arrowstyle": "->"})
    ax.text(x, 18, text, ha="center", fontsize=9)
ax.set_aspect("equal")
ax.axis("off")
plt.show()

# %% [markdown]
# One position costs a dot product of 5·5·3 = 75 terms and a bias, and gives **one** number: the orange
# cell. All 28×28 positions give one map. PyTorch puts channels first, so what lectures write as 32×32×3 is
# 3×32×32 here.

# %% [markdown]
# ### Exercise: one filter, full depth
#
# Write `correlate_volume(x, kernel, bias)`: slide one filter over one image, at stride 1, without padding.
#
# - `x` (C, H, W) and `kernel` (C, kH, kW), float64, with the same C; `bias` is one float.
# - Return a float64 array (H − kH + 1, W − kW + 1): it has no channel axis.
#
# Loops over the output positions are fine.

# %% tags=["exercise:correlate_volume"]
def correlate_volume(x, kernel, bias):
    """Cross-correlate one image with one filter that is as deep as the image.

    x (C, H, W) float64; kernel (C, kH, kW) float64; bias a float.
    Returns (H - kH + 1, W - kW + 1) float64.
    """
    ### BEGIN SOLUTION
    (_, H, W), (_, kH, kW) = x.shape, kernel.shape
    out = np.zeros((H - kH + 1, W - kW + 1))
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[r, c] = (x[:, r:r + kH, c:c + kW] * kernel).sum() + bias
    return out
    ### END SOLUTION

# %% tags=["check:correlate_volume"]
check("correlate_volume", correlate_volume)

# %% [markdown]
# On the 32×32 photograph, with a filter that looks for vertical edges in the mean of the three colours. A
# place where the image is dark on the left and bright on the right becomes bright in the map; the other
# way round it becomes dark.

# %%
step = np.array([-1, -2, 0, 2, 1]) / 6                               # dark to bright, left to right
edge = np.tile(step / 5, (5, 1))                                     # (5, 5), averaged over five rows
vertical = np.stack([edge] * 3) / 3                                  # (3, 5, 5), the same for each colour
feature_map = correlate_volume(image, vertical, 0.0)                 # (28, 28)

fig, axes = plt.subplots(1, 3, figsize=(8, 3), layout="constrained", width_ratios=[32, 24, 28])
axes[0].imshow(tiny)
plots.grid(axes[1], vertical[0] * 90)
axes[2].imshow(feature_map, cmap="gray")
for ax, title in zip(axes, ["image, 3×32×32", "each filter slice, times 90", "map, 28×28"]):
    ax.set_title(title, fontsize=10)
    ax.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## The layer
#
# A layer applies several filters to each image of a batch. Every filter gives one map, and the maps of an
# image are stacked: K filters give `C_out = K` channels. Besides padding, a layer has a stride. Here it is 2:
# the window moves by 2, and each step fills one cell of a smaller output.

# %%
large = np.random.default_rng(3).integers(-3, 5, (7, 7))
animation.sliding_window(large, np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]]), stride=2)

# %% [markdown]
# ### Exercise: the convolution layer
#
# Write `conv2d(x, weight, bias, stride=1, padding=0)`, with PyTorch's layouts:
#
# - `x` (N, C_in, H, W), `weight` (C_out, C_in, kH, kW), `bias` (C_out,), all float64;
# - `stride` and `padding` are each an int, or a pair `(rows, columns)`. Padding is with zeros, on both
#   sides;
# - return (N, C_out, H_out, W_out), float64. A stride that does not fit is rounded down.
#
# Like libraries, do not rotate the kernel. Loops over the output positions are fine; notebook 04 makes
# them fast. Four parts are worth a quarter each: stride 1 without padding, stride, padding, and pairs.

# %% tags=["exercise:conv2d"]
def conv2d(x, weight, bias, stride=1, padding=0):
    """A convolution layer, as torch.nn.functional.conv2d defines it.

    x (N, C_in, H, W), weight (C_out, C_in, kH, kW), bias (C_out,), all float64;
    stride and padding ints or pairs (rows, columns).
    Returns (N, C_out, H_out, W_out) float64.
    """
    ### BEGIN SOLUTION
    sH, sW = stride if isinstance(stride, tuple) else (stride, stride)
    pH, pW = padding if isinstance(padding, tuple) else (padding, padding)
    kH, kW = weight.shape[2:]
    x = np.pad(x, ((0, 0), (0, 0), (pH, pH), (pW, pW)))
    H_out = (x.shape[2] - kH) // sH + 1
    W_out = (x.shape[3] - kW) // sW + 1
    out = np.zeros((len(x), len(weight), H_out, W_out))
    for r in range(H_out):
        for c in range(W_out):
            window = x[:, :, r * sH:r * sH + kH, c * sW:c * sW + kW]      # (N, C_in, kH, kW)
            out[:, :, r, c] = np.einsum("nchw,ochw->no", window, weight) + bias
    return out
    ### END SOLUTION

# %% tags=["check:conv2d"]
check("conv2d", conv2d)

# %% [markdown]
# Six filters on the photograph: for vertical edges, horizontal edges, spots, a blur, and two that compare
# colours. The result has the shape 6×28×28, one map for each filter. Each brings out something else: the
# skin is bright in red − green, the background in blue − yellow.

# %%
blur = np.full((5, 5), 1 / 25)
spot = np.pad(np.full((3, 3), 1 / 9), 1) - blur                       # centre against surround
mean, red_green, blue_yellow = np.array([1, 1, 1]) / 3, np.array([1, -1, 0]), np.array([-0.5, -0.5, 1])
six = {"vertical": (mean, edge), "horizontal": (mean, edge.T), "spots": (mean, spot),
       "blur": (mean, blur), "red − green": (red_green, blur), "blue − yellow": (blue_yellow, blur)}
weight = np.stack([np.multiply.outer(colour, pattern) for colour, pattern in six.values()])  # (6, 3, 5, 5)
six_maps = conv2d(image[None], weight, np.zeros(6))                   # (1, 6, 28, 28)
plots.images(tiny, *six_maps[0], titles=["image", *six], height=1.7)
print("shape:", six_maps.shape)

# %% [markdown]
# **Predict.** How does the output at stride 2 differ from every second row and column of the output at
# stride 1?

# %%
stride_1 = conv2d(image[None], weight, np.zeros(6))                   # (1, 6, 28, 28)
stride_2 = conv2d(image[None], weight, np.zeros(6), stride=2)         # (1, 6, 14, 14)
stride_subsamples = np.allclose(stride_2, stride_1[:, :, ::2, ::2])
print("stride 2 equals stride 1 subsampled:", stride_subsamples)

# %% [markdown]
# Not at all: a stride computes some of the outputs and leaves the others out. At stride 2 that is a
# quarter of the work.
#
# **Predict.** A 32×32 colour image goes through ten 5×5 filters with stride 1 and padding 2. What are the
# shape of the output and the number of weights and biases? The same for 33×33 with 5 channels, ten 3×3
# filters, stride 2 and no padding.

# %%
def shape_and_parameters(x_shape, weight_shape, **setting):
    """The output shape of a layer, and how many numbers it learns."""
    weight, bias = np.zeros(weight_shape), np.zeros(weight_shape[0])
    return conv2d(np.zeros(x_shape), weight, bias, **setting).shape, weight.size + bias.size


first_shape, first_count = shape_and_parameters((1, 3, 32, 32), (10, 3, 5, 5), padding=2)
second_shape, second_count = shape_and_parameters((1, 5, 33, 33), (10, 5, 3, 3), stride=2)
print(f"first:  {first_shape}, {first_count} parameters, {first_count // 10} in each filter")
print(f"second: {second_shape}, {second_count} parameters, {second_count // 10} in each filter")

# %% [markdown]
# The first: 10×32×32, and each filter has 5·5·3 weights and one bias, 76; ten have 760. The second:
# 10×16×16, with 3·3·5 + 1 = 46 parameters in a filter, 460 in all.
#
# In general K filters of $kH\times kW$ on 3 channels have $K\cdot(kH\cdot kW\cdot 3 + 1)$ parameters: four
# of 3×3 have 112. The size of the image does not occur.
#
# A layer is settled by four hyper-parameters, numbers that are chosen and not learned: **K, F, S, P**. K is
# usually a power of two. What is common for the others, with the output for a 32×32 image:

# %%
common = [(3, 1, 1), (5, 1, 2), (5, 2, 0), (5, 2, 2), (1, 1, 0)]
common_sizes = [output_size(32, F, S, P) for F, S, P in common]
print(" F   S   P   output")
for (F, S, P), size in zip(common, common_sizes):
    print(f" {F}   {S}   {P}   {size}×{size}")

# %% [markdown]
# The first, second and last keep the size. For F = 5 and S = 2 the usual advice is "P: whatever fits". On
# an even size nothing fits, as you saw; P = 2 halves the size exactly.

# %% [markdown]
# ## 1×1 convolutions
#
# The last row of that list looks pointless: a window of a single pixel. On one channel it would only scale
# the image. But a filter reaches through the full depth, so a 1×1 filter is a dot product over the
# **channels** of one pixel. It mixes channels and leaves space alone.
#
# **Predict.** A volume of 64×56×56 goes through 32 filters of 1×1. Which shape comes out, and how long is
# each dot product?

# %% [markdown]
# ### Exercise: 1×1 convolution
#
# Write `pointwise(x, weight, bias)`.
#
# - `x` (N, C_in, H, W), `weight` (C_out, C_in, 1, 1), `bias` (C_out,), all float64;
# - return (N, C_out, H, W), float64.
#
# Try it without a loop: a matrix of shape (C_out, C_in) times the channels of every pixel at once.

# %% tags=["exercise:pointwise"]
def pointwise(x, weight, bias):
    """A 1x1 convolution: mix the channels of every pixel.

    x (N, C_in, H, W), weight (C_out, C_in, 1, 1), bias (C_out,), all float64.
    Returns (N, C_out, H, W) float64.
    """
    ### BEGIN SOLUTION
    return np.einsum("nchw,oc->nohw", x, weight[:, :, 0, 0]) + bias[:, None, None]
    ### END SOLUTION

# %% tags=["check:pointwise"]
check("pointwise", pointwise)

# %%
weight_1x1 = np.random.default_rng(1).normal(size=(32, 64, 1, 1))
narrower = pointwise(np.ones((1, 64, 56, 56)), weight_1x1, np.zeros(32))
dot_length = weight_1x1[0].size
print(f"shape {narrower.shape}, dot products of {dot_length}")

# %% [markdown]
# 32×56×56, from dot products of 64 terms. Turning a colour image to grey is a 1×1 convolution too, with
# the weights 0.299, 0.587 and 0.114. Below, a second filter subtracts green from red: the petals stand out
# against the leaves. A third is the negative of the blue channel, with the bias 1.

# %%
mixing = np.array([[0.299, 0.587, 0.114], [1, -1, 0], [0, 0, -1]])[:, :, None, None]   # (3, 3, 1, 1)
petals = photo("flower")[::2, ::2].transpose(2, 0, 1)[None]                            # (1, 3, 214, 320)
mixed = pointwise(petals, mixing, np.array([0.0, 0, 1]))                               # (1, 3, 214, 320)
grey_is_pointwise = np.allclose(mixed[0, 0], grey(petals[0].transpose(1, 2, 0)))
plots.images(petals[0].transpose(1, 2, 0), *mixed[0], titles=["image", "grey", "red − green", "1 − blue"])

# %% [markdown]
# ## Dilation
#
# A dilated convolution (also called *à trous*, French for "with holes") spreads its kernel: at dilation 2 it
# reads every second pixel of a larger window. A 3×3 kernel then reaches over 5×5 pixels, still with 9 weights;
# small frames mark the pixels it reads.

# %%
animation.sliding_window(large, np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]]), dilation=2)

# %% [markdown]
# Do not confuse it with stride. Stride is the distance **between** windows and makes the output coarser.
# Dilation is the distance **within** a window and makes it reach further.

# %% [markdown]
# ### Exercise: dilated convolution
#
# Write `conv2d_dilated(x, weight, bias, dilation=1)`, at stride 1 and without padding.
#
# - `x` (N, C_in, H, W), `weight` (C_out, C_in, kH, kW), `bias` (C_out,), all float64;
# - `dilation` is an int, or a pair `(rows, columns)`;
# - return (N, C_out, H_out, W_out), float64, with the sizes of `output_size`.
#
# Two ways are open: read the pixels that lie `dilation` apart, or put zeros between the entries of the
# kernel and call `conv2d`.

# %% tags=["exercise:conv2d_dilated"]
def conv2d_dilated(x, weight, bias, dilation=1):
    """A dilated convolution layer at stride 1, without padding.

    x (N, C_in, H, W), weight (C_out, C_in, kH, kW), bias (C_out,), all float64; dilation an int or a pair.
    Returns (N, C_out, H_out, W_out) float64.
    """
    ### BEGIN SOLUTION
    dH, dW = dilation if isinstance(dilation, tuple) else (dilation, dilation)
    C_out, C_in, kH, kW = weight.shape
    spread = np.zeros((C_out, C_in, dH * (kH - 1) + 1, dW * (kW - 1) + 1))
    spread[:, :, ::dH, ::dW] = weight
    return conv2d(x, spread, bias)
    ### END SOLUTION

# %% tags=["check:conv2d_dilated"]
check("conv2d_dilated", conv2d_dilated)

# %% [markdown]
# **Predict.** The same nine weights compare left with right in a photograph, at dilation 1, 4 and 12. How
# much smaller than the image is each map? And does the widest kernel give a blurred map, or one full of
# detail?

# %%
china = grey(photo("china"))[::4, ::4]                                # (107, 160)
sobel = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])[None, None]  # (1, 1, 3, 3)
scales = {d: conv2d_dilated(china[None, None], sobel, np.zeros(1), dilation=d)[0, 0] for d in (1, 4, 12)}
sizes = [f"dilation {d}, {m.shape[0]}×{m.shape[1]}" for d, m in scales.items()]
plots.images(china, *scales.values(), titles=["image, 107×160", *sizes])

# %% [markdown]
# Each map is smaller by twice the dilation: 2, 8 and 24. At dilation 1 the two neighbours of a pixel are
# compared, and outlines remain. At 12 the compared pixels lie 24 apart. The map is not blurred: the pixels
# between are not averaged but skipped. So every thin line appears twice, once bright and once dark, 24 pixels
# apart.

# %% [markdown]
# All of it in one place, to try out: drag the window, change the kernel, stride, padding and dilation. The lines below
# the grids say which pixels the current output reads, and what of them lies in the padding.
#
# **Predict** before you set it: at dilation 2, which padding keeps the size? At which strides is a column of the image
# never read? Which kernel moves the image one pixel to the left?

# %%
widgets.convolution(large, [[1, 0, -1], [2, 0, -2], [1, 0, -1]], padding=1)

# %% [markdown]
# ## Groups
#
# So far every filter reads every channel. With `groups=g` the input channels are cut into g blocks of
# neighbours, and so are the filters: the first block of filters reads the first block of channels, and so
# on. A filter is then only `C_in / g` deep, and `weight` has the shape (C_out, C_in / g, kH, kW). Both
# `C_in` and `C_out` must be multiples of g.
#
# The other extreme is `groups = C_in`, a **depthwise** convolution: each filter reads a single channel.

# %%
fig, axes = plt.subplots(1, 3, figsize=(9, 2.9), layout="constrained")
for ax, groups in zip(axes, (1, 2, 4)):
    connected = np.kron(np.eye(groups), np.ones((8 // groups, 4 // groups)))    # (C_out, C_in) = (8, 4)
    ax.imshow(connected, cmap="gray_r", vmin=0, vmax=2, aspect="auto")
    ax.set(xticks=range(4), yticks=range(8), xlabel="input channel", ylabel="filter",
           title=f"groups={groups}" + (" = C_in: depthwise" if groups == 4 else ""))
plt.show()

# %% [markdown]
# Eight filters on four channels; a dark cell means that the filter reads the channel. More groups mean
# fewer connections, hence fewer weights.

# %% [markdown]
# ### Exercise: grouped convolution
#
# Write `conv2d_grouped(x, weight, bias, groups)`, at stride 1 and without padding.
#
# - `x` (N, C_in, H, W), `weight` (C_out, C_in / groups, kH, kW), `bias` (C_out,), all float64;
# - `groups` is an int that divides C_in and C_out;
# - return (N, C_out, H_out, W_out), float64: the maps of the first group come first.
#
# You may call `conv2d`.

# %% tags=["exercise:conv2d_grouped"]
def conv2d_grouped(x, weight, bias, groups):
    """A grouped convolution layer at stride 1, without padding.

    x (N, C_in, H, W), weight (C_out, C_in / groups, kH, kW), bias (C_out,), all float64; groups an int.
    Returns (N, C_out, H_out, W_out) float64.
    """
    ### BEGIN SOLUTION
    channels, filters = x.shape[1] // groups, len(weight) // groups
    maps = []
    for g in range(groups):
        part = x[:, g * channels:(g + 1) * channels]                      # (N, C_in / groups, H, W)
        own = slice(g * filters, (g + 1) * filters)
        maps.append(conv2d(part, weight[own], bias[own]))                 # (N, C_out / groups, H_out, W_out)
    return np.concatenate(maps, axis=1)
    ### END SOLUTION

# %% tags=["check:conv2d_grouped"]
check("conv2d_grouped", conv2d_grouped)

# %% [markdown]
# A depthwise convolution in action, with one filter for each colour. Red is spread from top to bottom,
# blue from left to right, and green stays as it is, so the colours come apart.

# %%
streak = np.zeros((3, 1, 25, 25))                                     # (C_out, C_in / groups, kH, kW)
streak[0, 0, :, 12] = streak[2, 0, 12, :] = 1 / 25
streak[1, 0, 12, 12] = 1
coloured = photo("flower")[::4, ::4].transpose(2, 0, 1)[None]         # (1, 3, 107, 160)
depthwise = conv2d_grouped(coloured, streak, np.zeros(3), groups=3)   # (1, 3, 83, 136)
colours = [f"{name} alone" for name in ("red", "green", "blue")]
plots.images(coloured[0].transpose(1, 2, 0), depthwise[0].transpose(1, 2, 0), *depthwise[0],
             titles=["image", "depthwise", *colours], vmin=0, vmax=1)

# %% [markdown]
# ## What a layer costs to store
#
# ### Exercise: parameter count
#
# Write `parameter_count(c_in, c_out, kernel_size, groups=1, bias=True)`: the number of weights and biases
# of a convolution layer.
#
# - `c_in`, `c_out` and `groups` are ints; `kernel_size` is an int, or a pair `(kH, kW)`; `bias` is a bool;
# - return an int.

# %% tags=["exercise:parameter_count"]
def parameter_count(c_in, c_out, kernel_size, groups=1, bias=True):
    """The number of weights and biases of a convolution layer.

    c_in, c_out, groups ints; kernel_size an int or a pair; bias a bool.  Returns an int.
    """
    ### BEGIN SOLUTION
    kH, kW = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
    weights = c_out * (c_in // groups) * kH * kW
    return weights + c_out if bias else weights
    ### END SOLUTION

# %% tags=["check:parameter_count"]
check("parameter_count", parameter_count)

# %% [markdown]
# **Predict.** A 3×3 layer from 64 to 64 channels has 36,928 parameters. Split it into a depthwise 3×3
# layer (each channel filtered on its own) and a 1×1 layer (channels mixed). Does that save a third, a
# half, or more?

# %%
counts = {"four 3×3 filters on 3 channels": parameter_count(3, 4, 3),
          "ten 5×5 filters on 3 channels": parameter_count(3, 10, 5),
          "ten 3×3 filters on 5 channels": parameter_count(5, 10, 3),
          "64 → 32, 1×1": parameter_count(64, 32, 1),
          "64 → 64, 3×3": parameter_count(64, 64, 3),
          "64 → 64, 3×3, groups=2": parameter_count(64, 64, 3, groups=2),
          "64 → 64, 3×3, depthwise": parameter_count(64, 64, 3, groups=64),
          "64 → 64, 1×1": parameter_count(64, 64, 1)}
separable = counts["64 → 64, 3×3, depthwise"] + counts["64 → 64, 1×1"]
saving = counts["64 → 64, 3×3"] / separable
for layer, count in counts.items():
    print(f"{layer:32}{count:8,}")
print(f"{'64 → 64, depthwise, then 1×1':32}{separable:8,}, {saving:.1f} times fewer than 3×3")

# %% [markdown]
# 640 + 4,160 = 4,800: 7.7 times fewer. This pair is the building block of MobileNet (Howard et al., 2017),
# and you will meet it again in notebook 14. Two groups do not quite halve the count, because the biases
# stay.

# %% [markdown]
# ## What a stack sees
#
# A **unit** is one number of a layer's output. Its **receptive field** is the part of the image that can change
# its value. After one layer it is one window. After two it is larger, since the unit reads units that each read
# a window of their own.
#
# Below, one unit (orange) is followed down to the image; count the squares in the lowest row. A stride
# makes neighbouring units of the layers above lie further apart in the image, so the same kernel of 3
# reaches further.

# %%
fig, axes = plt.subplots(1, 3, figsize=(10, 2.4), layout="constrained")
plots.stack(axes[0], [(3, 1, 1)] * 2, "3×3, 3×3")
plots.stack(axes[1], [(3, 1, 1)] * 3, "3×3, 3×3, 3×3")
plots.stack(axes[2], [(3, 2, 1), (3, 1, 1), (3, 1, 1)], "3×3 with stride 2, 3×3, 3×3")
for ax in axes:
    ax.set_xlim(-5.5, 5.5)
plt.show()

# %% [markdown]
# ### Exercise: receptive field
#
# Write `receptive_field(layers)`: how many pixels a unit of the last layer sees along one axis, from the
# first to the last, both included.
#
# - `layers` is a tuple of triples `(kernel_size, stride, dilation)`, all ints. The first triple is the
#   layer next to the image;
# - return an int. Padding does not matter: think of an image without end. Pixels that are skipped between
#   the first and the last count too.

# %% tags=["exercise:receptive_field"]
def receptive_field(layers):
    """How many pixels, from first to last, a unit at the end of a stack of layers sees along one axis.

    layers: a tuple of (kernel_size, stride, dilation), ints, from the image on.  Returns an int.
    """
    ### BEGIN SOLUTION
    seen, step = 1, 1  # pixels a unit sees; pixels between two neighbouring units
    for kernel_size, stride, dilation in layers:
        seen += dilation * (kernel_size - 1) * step
        step *= stride
    return seen
    ### END SOLUTION

# %% tags=["check:receptive_field"]
check("receptive_field", receptive_field)

# %% [markdown]
# **Predict.** How far do eight 3×3 layers see: at stride 1, with stride 2 in each, and with the dilations
# 1, 2, 4, 8, … at stride 1?

# %%
stacks = {"stride 1": [(3, 1, 1)] * 8, "stride 2": [(3, 2, 1)] * 8,
          "dilation 1, 2, 4, …": [(3, 1, 2**i) for i in range(8)]}
fields = {name: [receptive_field(tuple(stack[:n])) for n in range(1, 9)] for name, stack in stacks.items()}
fig, ax = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
for (name, field), style in zip(fields.items(), ("o-", "s--", "^:")):
    ax.semilogy(range(1, 9), field, style, color="0.3", label=f"{name}: {field[-1]}", base=2,
                markerfacecolor="tab:orange")
ax.set(xlabel="layers of 3×3", ylabel="receptive field in pixels")
ax.set_yticks([4, 16, 64, 256], labels=["4", "16", "64", "256"])
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# The units in the drawing of three stacks see 5, 7 and 11 pixels. At stride 1 the receptive field grows by 2
# with each layer: two 3×3 layers see 5×5, three see 7×7, eight see 17×17. Strides and growing dilations roughly
# double it with each layer: eight see 511×511 (the two curves coincide). They pay differently: strides give up
# resolution, dilation keeps it and skips pixels inside each window.

# %% [markdown]
# ## Drills
#
# Sizes, parameters and receptive fields should come without a computer. The first cell below asks for one of them;
# work it out on paper. Write the numbers between the brackets of the second cell and run it: it says whether you are
# right, shows the whole calculation and asks the next question. From then on you need the second cell only.
#
# Right answers make the questions harder. Nothing here counts towards your points. `drill("field")` asks for
# receptive fields alone; notebook 06 adds what `drill("pooling")` and `drill("stack")` ask for.

# %%
drill("shape", "padding", "parameters", "field")

# %%
answer()

# %% [markdown] tags=["written:see_five:4"]
# ## In your own words
#
# You need a block that maps 64 channels to 64 channels, keeps the height and the width, and whose units
# see 5×5 pixels. Three candidates, all at stride 1 with biases:
#
# - **A**: one 5×5 layer;
# - **B**: two 3×3 layers with a ReLU between them (negative numbers become 0);
# - **C**: one 3×3 layer with dilation 2.
#
# Give the padding each layer needs and the number of parameters of each block (use your functions). Then
# compare what the three read of the 5×5 pixels and what they can compute. Which would you take as the
# block of a deep network, and in which case would you take another? Ten sentences are enough.
#
# <!-- BEGIN SOLUTION -->
# **Answer.**
#
# A needs padding 2, both layers of B need padding 1, and C needs padding 2. A has 102,464 parameters, B has 2 ·
# 36,928 = 73,856, C has 36,928. A unit of A or B depends on all 25 pixels of each channel; C reads only 9 of
# them, and two outputs of C side by side share no pixel, so fine texture can fall through its holes. A can be
# any linear filter of 5×5. Without the ReLU, B could compute no more than A inside the image, and less, since
# two 3×3 layers in a row make only some 5×5 filters; with it, B is non-linear and computes functions that A
# cannot. I would take B: fewer parameters than A, all pixels read, and one non-linearity more. I would take C
# where context is needed at full resolution and parameters are scarce, for instance late in a network that
# labels every pixel; A if the block must be one linear filter, for instance to look at it.
#
# **Rubric.**
#
# - 1 point: paddings 2, 1 and 1, 2, and parameters 102,464, 73,856 and 36,928 (half a point for one slip).
# - 1 point: C reads 9 of the 25 pixels, A and B all of them.
# - 1 point: A is linear; B has a non-linearity between its layers, which is what makes it more than a
#   restricted 5×5 filter.
# - 1 point: a choice with a reason that follows from these facts, and a case for another choice.
# <!-- END SOLUTION -->

# %% [markdown]
# ## Summary
#
# | question | answer |
# |---|---|
# | output size, with dilation $d$ | $\lfloor (N + 2P - d(F-1) - 1)/S \rfloor + 1$ |
# | valid, stride 1 | $N - F + 1$ |
# | same, stride 1 | $P = (F-1)/2$ for odd $F$: 1, 2, 3 for 3, 5, 7 |
# | a remainder | the last rows and columns are not read, padding first |
# | stride larger than the kernel | pixels between windows are not read |
# | one position, one filter | a dot product over $C_\text{in}\cdot kH\cdot kW$ numbers, plus bias |
# | parameters | $C_\text{out}\cdot(kH\cdot kW\cdot C_\text{in}/\text{groups} + 1)$ |
# | 1×1 | mixes channels, leaves space alone |
# | dilation | distance within a window; stride: between windows |
# | groups | blocks of channels; depthwise: groups $= C_\text{in}$ |
# | receptive field | each layer adds $d(F-1)$ times the product of the strides before it |

# %% [markdown]
# ## Where to read more
#
# - Vincent Dumoulin and Francesco Visin, *A guide to convolution arithmetic for deep learning*, 2016: sizes,
#   strides and padding, with pictures.
# - Min Lin, Qiang Chen and Shuicheng Yan, *Network in network*, 2014: 1×1 convolutions.
# - Fisher Yu and Vladlen Koltun, *Multi-scale context aggregation by dilated convolutions*, 2016.
# - Alex Krizhevsky, Ilya Sutskever and Geoffrey Hinton, *ImageNet classification with deep convolutional
#   neural networks*, 2012: groups.
# - Andrew Howard and others, *MobileNets*, 2017: depthwise convolutions.
# - Kaiming He, Xiangyu Zhang, Shaoqing Ren and Jian Sun, *Deep residual learning for image recognition*,
#   2016.
# - Md Amirul Islam, Sen Jia and Neil Bruce, *How much position information do convolutional neural networks
#   encode?*, 2020: zero padding and the border.
