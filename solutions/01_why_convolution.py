# %% [markdown]
# # 01 Why convolution
#
# A layer of a neural network takes numbers in and gives numbers out. For images, one kind of layer has served
# better than all others: the convolution. This notebook starts from the plainest layer there is and changes it
# three times, each time because of something that is true of photographs. The layer at the end is a
# convolution.
#
# You need to have done notebook 00, and nothing else. Welcome.

# %% [markdown]
# ## What you will be able to do
#
# - count the parameters of a dense, a locally connected and a convolutional layer;
# - say what each unit of the three reads, and what the units share;
# - show on a photograph why that suits images, and when it would not;
# - turn one kernel into the weights of a locally connected layer, and get a convolution;
# - write a convolution as a matrix, in one dimension and in two;
# - say what shuffling the pixels does to each layer.

# %%
import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cnnlab import animation, check, hint, plots
from cnnlab.data import digits, grey, photo

# %% [markdown]
# ## A layer that reads everything
#
# Put the pixels of a grey image one after the other, row by row: `image.ravel()` makes a list of $M$ numbers
# $x_0, x_1, \dots$ of it. A **unit** multiplies each of them by a **weight** of its own, adds the products, and
# adds one more number, its **bias**:
#
# $$y = w_0x_0 + w_1x_1 + \dots + w_{M-1}x_{M-1} + b$$
#
# $N$ such units side by side make a **dense** layer, also called *fully connected* or *linear*. Its weights
# form a table $W$ with a row for each unit and a column for each pixel, so the whole layer is $y = Wx + b$. Weights
# and biases are its **parameters**: nobody sets them, they are learned from examples.

# %%
image = np.array([[0.0, 1, 2], [3, 4, 5]])                            # 2x3 pixels
W = np.array([[1.0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]])              # 2 units, 6 pixels
b = np.array([10.0, 0])
first_outputs = W @ image.ravel() + b
print("pixels", image.ravel(), "\noutputs", first_outputs)

# %% [markdown]
# The first unit looks at pixel 0 only and adds 10. The second adds up all pixels.
#
# ### Exercise: parameters of a dense layer
#
# Write `dense_parameters(height, width, units)`: the number of weights and biases of a dense layer with `units`
# units, on a grey image of `height` × `width` pixels.
#
# All three are ints. Return an int.
#
# If you are stuck, run `hint("dense_parameters")` in a cell of your own, and again for more. Every exercise has
# four hints under its name.

# %% tags=["exercise:dense_parameters"]
def dense_parameters(height, width, units):
    """The number of weights and biases of a dense layer on a grey image.

    height, width, units ints.  Returns an int.
    """
    ### BEGIN SOLUTION
    pixels = height * width
    return pixels * units + units
    ### END SOLUTION

# %% tags=["check:dense_parameters"]
check("dense_parameters", dense_parameters)

# %% [markdown]
# **Predict.** An image of 1024×1024 pixels is smaller than what any telephone takes. How many parameters has a
# dense layer of 256 units on it: thousands, millions, or more? And a layer that makes an image of the same size,
# with one unit for each pixel?

# %%
pixels = 1024 * 1024
dense = {units: dense_parameters(1024, 1024, units) for units in (1, 256, pixels)}
for units, count in dense.items():
    print(f"units {units:9,}: {count:21,} parameters, {4 * count / 1e9:10,.3f} GB at 4 bytes each")

# %% [markdown]
# A single unit has a million weights. 256 units have 268 million parameters, more than a gigabyte for one layer.
# From image to image it is about a million times a million.
#
# Memory is not the worst of it. Every parameter has to be found from examples, and **more parameters need more
# data**; you will measure that below. So which of these weights could be left out?

# %% [markdown]
# ## What photographs are like
#
# A dense layer makes no difference between two neighbours and two pixels at opposite ends of the image: each has
# its own weight, and that is all. In a photograph there is a difference. Below, the same photograph twice: the
# second has the very same pixels, in a random order.

# %%
rng = np.random.default_rng(0)
china = grey(photo("china"))                                                   # (427, 640)
shuffled_china = rng.permutation(china.ravel()).reshape(china.shape)
plots.images(china, shuffled_china, titles=["photograph", "the same pixels, shuffled"], height=3.2)

# %% [markdown]
# What is lost is the relation of each pixel to the others. The **correlation** measures it over many pairs of
# pixels: 1 if the two always rise and fall together, 0 if they do so no more than by chance.
#
# **Predict.** What is it for a pixel and its right-hand neighbour? For two pixels 128 columns apart? After
# shuffling?

# %%
def correlation(picture, distance):
    """How closely a pixel and the one `distance` columns to its right go together: 1 wholly, 0 not at all."""
    return np.corrcoef(picture[:, :-distance].ravel(), picture[:, distance:].ravel())[0, 1]

# %%
distances = [1, 2, 4, 8, 16, 32, 64, 128]
pictures = {name: grey(photo(name)) for name in ("china", "flower", "hopper")} | {"shuffled": shuffled_china}
decay = {name: [correlation(p, d) for d in distances] for name, p in pictures.items()}
fig, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
for (name, values), style in zip(decay.items(), ("o-", "s--", "^-.", "x:")):
    ax.plot(distances, values, style, color="0.3", label=name, markerfacecolor="tab:orange")
ax.set_xscale("log", base=2)
ax.set_xticks(distances, distances)
ax.set(xlabel="distance in pixels", ylabel="correlation", ylim=(-0.1, 1.05))
ax.legend(frameon=False)
plt.show()
print("neighbours:", *(f"{name} {values[0]:.3f}" for name, values in decay.items()))

# %% [markdown]
# In all three photographs neighbours are almost equal, and the relation fades with distance. Shuffled pixels
# tell nothing of each other at any distance. This is **locality**: what belongs together lies together. An
# edge, a spot of colour, a corner can be seen in a small window.

# %% [markdown]
# The second property: what occurs in one place occurs in others. Take a small window of another photograph, at the
# rim of a flower (frame 0), and look through the whole photograph for the windows most like it.

# %%
flower = grey(photo("flower"))[:426].reshape(213, 2, 320, 2).mean(axis=(1, 3))  # (213, 320), half the size
side, top, left = 12, 44, 116
windows = sliding_window_view(flower, (side, side))                             # (202, 309, 12, 12)
patches = windows - windows.mean(axis=(2, 3), keepdims=True)                    # brightness does not count
lengths = np.sqrt((patches**2).sum(axis=(2, 3))) + 0.1                          # nor contrast, unless there is none
likeness = np.einsum("rcab,ab->rc", patches, patches[top, left]) / (lengths * lengths[top, left])
places = [(top, left)]
while len(places) < 7:
    for r, c in places:                                                         # no two may overlap
        likeness[max(r - side, 0):r + side, max(c - side, 0):c + side] = -1
    places.append(tuple(int(i) for i in np.unravel_index(likeness.argmax(), likeness.shape)))

# %%
fig, axes = plt.subplot_mosaic([["photo", *"0123"], ["photo", *"456."]], figsize=(9.5, 3.4),
                               width_ratios=[5.5, 1, 1, 1, 1], layout="constrained")
axes["photo"].imshow(flower, cmap="gray")
axes["photo"].set_title("one window, and the six most like it", fontsize=10)
for i, (r, c) in enumerate(places):
    plots.frame(axes["photo"], r, c, side, side, linewidth=2, edgecolor="white" if i else "tab:orange")
    axes["photo"].text(c + side / 2, r - 3, i, color="white", ha="center", fontsize=9)
    axes[str(i)].imshow(windows[r, c], cmap="gray")
    axes[str(i)].set_title(i, fontsize=10)
for ax in axes.values():
    ax.axis("off")
plt.show()

# %% [markdown]
# Further along the rim, on the second flower, on a blurred one far behind: windows that look almost the same. This
# is **stationarity**: the same features recur anywhere in an image. What is worth detecting in one place, such as
# an edge of this slope, is worth detecting in all others.
#
# Locality and stationarity each allow a large saving.

# %% [markdown]
# ## Idea 1: receptive fields
#
# If what matters is local, a unit need not read the whole image. Let it read a **window** of $kH$ rows and $kW$
# columns, its **receptive field** (lectures write $K_1\times K_2$). The first unit gets the window in the top
# left corner, the next one the window a pixel further right, and so on; then one row further down. Windows stay
# inside the image.

# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 2.2), layout="constrained")
plots.connections(axes[0], "dense", title="dense: each unit reads all 7 pixels")
plots.connections(axes[1], "local", title="receptive fields: each unit reads 3")
plt.show()

# %% [markdown]
# Squares are pixels, circles are units, and every line is a weight of its own: 35 on the left, 15 on the right.
#
# **Predict.** A window of 2×3 lies on an image of 5 rows and 7 columns. In how many places can it lie, from top
# to bottom and from left to right?

# %%
starts = [(r, c) for r in range(5) for c in range(7) if r + 2 <= 5 and c + 3 <= 7]    # windows inside the image
down, across = len({r for r, _ in starts}), len({c for _, c in starts})
print(f"{down} places down, {across} across, {len(starts)} in all")

# %% [markdown]
# From top to bottom the window can start at row 0, 1, 2 or 3: 5 − 2 + 1 = 4 places. From left to right it is
# 7 − 3 + 1 = 5. In general
#
# $$H_\text{out} = H - kH + 1, \qquad W_\text{out} = W - kW + 1 .$$
#
# There is a unit at each place, $N = H_\text{out}\cdot W_\text{out}$ in all. Their outputs make up an image
# again: neighbouring units saw neighbouring windows. A dense layer forgets where things were; here **space is
# kept**.

# %% [markdown]
# ### Exercise: a locally connected layer
#
# Write `locally_connected(x, weight, bias)`. The unit at row r, column c reads the window of `x` whose top left
# pixel is (r, c), and has its own weights `weight[r, c]` and bias `bias[r, c]`. It multiplies pixel by pixel, adds
# up, and adds the bias.
#
# - `x` (H, W), `weight` (H_out, W_out, kH, kW), `bias` (H_out, W_out), all float64, with
#   H_out = H − kH + 1 and W_out = W − kW + 1;
# - return (H_out, W_out), float64. Leave the arguments unchanged.
#
# Two loops over the units are fine.

# %% tags=["exercise:locally_connected"]
def locally_connected(x, weight, bias):
    """A layer whose units read one window each, with weights of their own.

    x (H, W), weight (H_out, W_out, kH, kW), bias (H_out, W_out), all float64.
    Returns (H_out, W_out) float64.
    """
    ### BEGIN SOLUTION
    H_out, W_out, kH, kW = weight.shape
    out = np.zeros((H_out, W_out))
    for r in range(H_out):
        for c in range(W_out):
            window = x[r:r + kH, c:c + kW]                            # (kH, kW)
            out[r, c] = (window * weight[r, c]).sum() + bias[r, c]
    return out
    ### END SOLUTION

# %% tags=["check:locally_connected"]
check("locally_connected", locally_connected)

# %% [markdown]
# ## Idea 2: shared weights
#
# If the same features recur anywhere, a unit that finds a vertical edge is of use in every place. Why should
# each place learn it anew? Give **all units the same weights** and the same bias. The weights are then called a
# **kernel**.

# %%
fig, axes = plt.subplots(1, 3, figsize=(10, 2.2), layout="constrained")
titles = ["dense\n35 weights, 5 biases: 40", "locally connected\n15 weights, 5 biases: 20",
          "shared weights\n3 weights, 1 bias: 4"]
for ax, kind, title in zip(axes, ("dense", "local", "shared"), titles):
    plots.connections(ax, kind, title=title)
plt.show()

# %% [markdown]
# On the right, lines drawn alike carry the same weight: there are three, used five times each. The bias is
# shared as well.
#
# All units doing the same is the same as *one* unit that moves. So the layer with shared weights has a second
# description: **slide the window over the image, multiply, add.** Play it, or step through it.

# %%
numbers = np.array([[3, 3, 3, 9, 9], [3, 3, 9, 9, 9], [3, 9, 9, 9, 9], [9, 9, 9, 9, 9]])
animation.sliding_window(numbers, np.array([[-1, 1], [-1, 1]]))

# %% [markdown]
# Each output compares the right column of the window with the left: it is large where the image gets brighter
# to the right, and 0 where nothing changes.
#
# This is what deep-learning libraries call a **convolution**. Notebook 02 tells what mathematicians mean by that
# word; the difference will not matter here.

# %% [markdown]
# ### Exercise: tie the weights
#
# Write `tied_weights(kernel, bias, height, width)`: the weights and biases with which `locally_connected`
# computes a convolution. All its units get the same kernel and the same bias.
#
# - `kernel` is float64 of shape (kH, kW), never larger than the image; `bias` is a float; `height` and `width`,
#   ints, are the size of the image;
# - return a tuple `(weight, biases)` of float64 arrays: `weight` (H_out, W_out, kH, kW) and `biases`
#   (H_out, W_out).

# %% tags=["exercise:tied_weights"]
def tied_weights(kernel, bias, height, width):
    """The weights and biases of a locally connected layer that computes a convolution.

    kernel (kH, kW) float64, bias a float, height and width ints: the size of the image.
    Returns (weight, biases): (H_out, W_out, kH, kW) and (H_out, W_out), float64.
    """
    ### BEGIN SOLUTION
    kH, kW = kernel.shape
    H_out, W_out = height - kH + 1, width - kW + 1
    return np.tile(kernel, (H_out, W_out, 1, 1)), np.full((H_out, W_out), bias)
    ### END SOLUTION

# %% tags=["check:tied_weights"]
check("tied_weights", tied_weights)

# %% [markdown]
# With it, a convolution is one line. To see that it is the sliding window, compare with the last picture of the
# animation: 6 where the window stands on the step, 0 elsewhere.

# %%
def convolution(x, kernel, bias=0.0):
    """A convolution as a locally connected layer with tied weights: (H, W) -> (H_out, W_out)."""
    return locally_connected(x, *tied_weights(kernel, bias, *x.shape))

# %%
stepped = convolution(numbers.astype(float), np.array([[-1.0, 1], [-1, 1]]))
plots.grids(numbers, stepped, titles=["image", "tied weights"])

# %% [markdown]
# ## The same picture through three layers
#
# A handwritten 3 on a dark field, and the same 3 moved by 5 pixels to the right. Both go through a dense, a
# locally connected and a convolutional layer. All weights are random: nothing has been learned yet.
#
# **Predict.** In which outputs will you still see a 3? And what becomes of each output when the digit moves?

# %%
three = digits()[0][3] / 16                                           # (8, 8)
here = np.zeros((14, 20))
here[3:11, 3:11] = three
moved = np.roll(here, 5, axis=1)                                      # 5 columns to the right

rng = np.random.default_rng(4)
dense_weight = rng.normal(size=(12 * 18, 14 * 20))                    # (units, pixels)
local_weight = rng.normal(size=(12, 18, 3, 3))
random_kernel = rng.normal(size=(3, 3))
layers = {"dense": lambda x: (dense_weight @ x.ravel()).reshape(12, 18),
          "locally connected": lambda x: locally_connected(x, local_weight, np.zeros((12, 18))),
          "convolution": lambda x: convolution(x, random_kernel)}
sizes = {"dense": dense_weight.size, "locally connected": local_weight.size, "convolution": random_kernel.size}

# %%
titles = ["image", *(f"{name}, {size:,} weights" for name, size in sizes.items())]
through = {name: [layer(here), layer(moved)] for name, layer in layers.items()}
plots.images(here, *(pair[0] for pair in through.values()), titles=titles, height=1.7)
plots.images(moved, *(pair[1] for pair in through.values()), titles=["moved"], height=1.7)
moves_along = {name: np.allclose(after[:, 5:], before[:, :-5]) for name, (before, after) in through.items()}
print("output moves along with the digit:", moves_along)

# %% [markdown]
# The dense layer mixes everything with everything: nothing is left to see, and the moved digit gives a different
# pattern. The locally connected layer keeps the digit's place, but every unit answers in its own way, and the
# shape is lost. The convolution answers to each stroke in the same way wherever it is: the 3 is still there, and
# when it moves, the output moves along, unchanged.
#
# What a dense layer has learned about a 3 on the left is of no use to it for a 3 on the right. A convolution
# need not learn it twice. And it has 9 weights, not 60,480.

# %% [markdown]
# ## Idea 3: many features
#
# One kernel looks for one feature. An image has many: edges of every slope, spots, corners. So a layer has
# several kernels, each with its own bias. Each makes a **feature map**, and the maps are stacked. Here are four
# kernels made by hand; a network learns its own.

# %%
kernels = {"vertical edges": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
           "horizontal edges": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
           "slanting edges": [[0, 1, 2], [-1, 0, 1], [-2, -1, 0]], "spots": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]]}
tower = china[:420].reshape(105, 4, 160, 4).mean(axis=(1, 3))[5:85, 15:95]     # (80, 80)
maps = {name: convolution(tower, np.array(k, dtype=float)) for name, k in kernels.items()}
plots.images(tower, *maps.values(), titles=["80×80", *(f"{name}, 78×78" for name in maps)])

# %% [markdown]
# The even grey of the sky is 0. White and black are strong answers: white where the window resembles the kernel,
# black where it is its opposite. Each map shows something else of the same picture, and all keep its layout.
#
# So a dense layer maps a vector to a vector. A convolutional layer maps a **volume to a volume**: an image, with
# one channel or the three of a colour image, becomes a stack of maps, which is the input of the next layer.
# Notebook 03 takes up volumes.

# %%
stack = [convolution(tower, np.array(k, dtype=float)) for k in kernels.values()]
fig, ax = plt.subplots(figsize=(7.5, 2.8), layout="constrained")
ax.imshow(tower, cmap="gray", extent=(0, 80, 0, 80))
for i, feature_map in enumerate(reversed(stack)):                     # the last map lies at the back
    shift = 18 * (3 - i)
    ax.imshow(feature_map, cmap="gray", extent=(150 + shift, 228 + shift, shift / 2, 78 + shift / 2), zorder=i)
    ax.add_patch(plt.Rectangle((150 + shift, shift / 2), 78, 78, fill=False, edgecolor="white", zorder=i))
ax.annotate("", (140, 45), (90, 45), arrowprops={"arrowstyle": "->"})
ax.text(115, 50, "4 kernels", ha="center", fontsize=10)
ax.text(40, -4, "in: 1 × 80 × 80", ha="center", va="top", fontsize=10)
ax.text(200, -4, "out: 4 × 78 × 78", ha="center", va="top", fontsize=10)
ax.set(xlim=(-2, 285), ylim=(-14, 108), aspect="equal")
ax.axis("off")
plt.show()

# %% [markdown]
# ### Exercise: parameters of layers with windows
#
# Write `window_parameters(height, width, kH, kW, features)` for a grey image of `height` × `width` pixels and
# windows of `kH` × `kW`. Return a tuple of three ints, the weights and biases of
#
# 1. a locally connected layer: one unit at each place of the window, nothing shared;
# 2. a layer with shared weights: one kernel and one bias;
# 3. a layer with shared weights and `features` features.
#
# All arguments are ints, and the window fits into the image.

# %% tags=["exercise:window_parameters"]
def window_parameters(height, width, kH, kW, features):
    """Weights and biases of three layers: locally connected, shared, shared with several features.

    All arguments ints.  Returns a tuple of three ints.
    """
    ### BEGIN SOLUTION
    unit = kH * kW + 1
    units = (height - kH + 1) * (width - kW + 1)
    return unit * units, unit, unit * features
    ### END SOLUTION

# %% tags=["check:window_parameters"]
check("window_parameters", window_parameters)

# %% [markdown]
# **Predict.** Back to the image of 1024×1024, with windows of 5×5 and 64 features. The dense layer below has
# as many units as the locally connected one. How many times fewer parameters does each idea leave?

# %%
local, shared, several = window_parameters(1024, 1024, 5, 5, 64)
everywhere = dense_parameters(1024, 1024, 1020 * 1020)
costs = {"dense": everywhere, "locally connected": local, "shared weights": shared, "64 features": several}
fig, ax = plt.subplots(figsize=(7.5, 2.2), layout="constrained")
ax.barh(list(costs), costs.values(), color="0.75", edgecolor="0.3", log=True)
for row, count in enumerate(costs.values()):
    ax.text(count * 1.4, row, f"{count:,}", va="center", fontsize=9)
ax.set(xlabel="parameters (each mark is a hundred times the one before)", xlim=(1, 1e16))
ax.set_xticks([10.0**e for e in range(0, 17, 2)])
ax.invert_yaxis()
plt.show()
fewer = {"receptive fields": everywhere / local, "sharing": local / shared}
for idea, ratio in fewer.items():
    print(f"{idea}: {ratio:,.0f} times fewer")

# %% [markdown]
# From a million millions to 27 million, forty thousand times fewer, because units read windows; from there to 26,
# a million times fewer, because they share what they learn. Features cost: 64 of them need 64 times 26, which is
# 1,664. The size of the image no longer matters.
#
# Nothing is free. The second layer is a special case of the first, and the third of the second: it can compute
# less. What it can no longer compute is what photographs hardly need.

# %% [markdown]
# ## Fewer parameters need fewer examples
#
# Let the three layers learn the same task. The inputs are patches of 8×8 pixels from the photograph; the
# desired outputs, 6×6, were made by a 3×3 kernel and a bias that the layers do not know. All three could do it
# without error. Each is fitted to $n$ examples (by least squares: the parameters with the smallest squared error
# on the examples) and tested on patches of another photograph, a portrait.

# %%
def random_patches(picture, count, rng):
    """`count` patches of 8x8 pixels from random places: (count, 8, 8)."""
    rows, columns = rng.integers(0, picture.shape[0] - 7, count), rng.integers(0, picture.shape[1] - 7, count)
    return sliding_window_view(picture, (8, 8))[rows, columns]


def what_units_read(layer, x):
    """The pixels that each unit of the layer reads: (examples, units, pixels), for x (examples, 8, 8)."""
    if layer == "dense":
        return np.repeat(x.reshape(len(x), 1, 64), 36, axis=1)
    return sliding_window_view(x, (3, 3), axis=(1, 2)).reshape(len(x), 36, 9)

# %%
rng = np.random.default_rng(0)
hidden_kernel, hidden_bias = np.array([[2.0, 1, 0], [1, -3, -1], [0, -1, 2]]), -0.5
seen, new = random_patches(china, 100, rng), random_patches(grey(photo("hopper")), 300, rng)
seen_y, new_y = (what_units_read("local", x) @ hidden_kernel.ravel() + hidden_bias for x in (seen, new))

# %% [markdown]
# **Predict.** A dense unit has 64 weights and a bias to find, a locally connected one 9 and a bias. Each example
# gives one equation for each unit. How many examples will each layer need? And the convolution, whose 36 units
# are all the same unit?

# %%
def missed(layer, x, y, x_new, y_new):
    """Fit the layer to examples x, y; the error on new ones, in percent of their spread."""
    a, a_new = (np.insert(what_units_read(layer, p), 0, 1, axis=2) for p in (x, x_new))  # a 1 for the bias
    if layer == "convolution":                                  # one unit, which sees every window
        a, a_new, y = a.reshape(-1, 1, 10), a_new.reshape(-1, 1, 10), y.reshape(-1, 1)
    answers = [a_new[:, u] @ np.linalg.lstsq(a[:, u], y[:, u])[0] for u in range(a.shape[1])]
    error = np.stack(answers, axis=1).reshape(y_new.shape) - y_new
    return 100 * np.sqrt((error**2).mean()) / y_new.std()

# %%
examples = [1, 2, 4, 6, 8, 9, 10, 12, 15, 20, 30, 40, 50, 60, 64, 65, 66, 70, 80]
errors = {layer: np.array([missed(layer, seen[:n], seen_y[:n], new, new_y) for n in examples])
          for layer in ("dense", "locally connected", "convolution")}
enough = {layer: examples[int(np.argmax(error < 1e-6))] for layer, error in errors.items()}

# %%
fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for (layer, error), style in zip(errors.items(), ("o-", "s--", "^:")):
    ax.plot(examples, error, style, color="0.3", markerfacecolor="tab:orange", markersize=5,
            label=f"{layer}: {enough[layer]} example{'s' * (enough[layer] > 1)}")
ax.set_xscale("log", base=2)
ax.set_xticks([1, 2, 4, 10, 20, 40, 65], [1, 2, 4, 10, 20, 40, 65])
ax.set(xlabel="number of examples", ylabel="error on new patches, %")
ax.legend(title="no error from", frameon=False)
plt.show()

# %% [markdown]
# 100 % is the error of always answering with the mean; with very few examples two of the layers do worse. The
# errors end at 65, 10 and 1 examples. For the first two layers that is as many as a unit has unknowns. For the
# convolution a single patch is enough: it holds 36 windows, and each is an equation for the same ten unknowns.
# That is what sharing buys: **every place of every image teaches the same few parameters.**
#
# Real tasks are not as neat. Examples are noisy, and no small layer is exactly right. But the order usually
# stays, and the dense layer here had only 64 pixels to read.

# %% [markdown]
# ## A convolution is a matrix
#
# A dense layer is a matrix $W$. So are the other two: a unit that reads a window is a row of the matrix with
# zeros for all pixels outside. In one dimension this is easy to see. Slide a kernel of 3 over 7 numbers, and
# watch the row that does the same.

# %%
animation.matrix_rows(np.array([3, 1, 4, 1, 5, 9, 2]), np.array([-1, 1, 2]))

# %% [markdown]
# The lit row, times the input above it, gives the number to its right; empty cells are zeros. From row to row
# the kernel moves by one, so every diagonal holds a single value. Such a matrix is called a **Toeplitz matrix**,
# and **banded**, since all but a band of it is zero.
#
# Here are the matrices of all three layers, on 12 numbers and with windows of 3. The darker, the larger the
# weight; white is 0.

# %%
rng = np.random.default_rng(2)
full = rng.uniform(0.1, 1, (10, 12))
in_window = (np.arange(12) >= np.arange(10)[:, None]) & (np.arange(12) < np.arange(10)[:, None] + 3)   # (10, 12)
gap = np.clip(np.arange(12) - np.arange(10)[:, None], 0, 2)              # place in the window: 0, 1 or 2
matrices = {"dense": full, "locally connected": full * in_window,
            "convolution": np.array([0.3, 1, 0.6])[gap] * in_window}
different = {name: len(np.unique(m[m > 0])) for name, m in matrices.items()}
fig, axes = plt.subplots(1, 3, figsize=(9.5, 2.8), layout="constrained")
for ax, (name, matrix) in zip(axes, matrices.items()):
    ax.imshow(matrix, cmap="gray_r", vmin=0, vmax=1)
    ax.set_title(f"{name}: {different[name]} different weights", fontsize=10)
    ax.set(xticks=[], yticks=[], xlabel="pixels", ylabel="units")
plt.show()

# %% [markdown]
# Idea 1 puts zeros into the matrix, idea 2 makes the rest repeat.
#
# ### Exercise: the matrix in one dimension
#
# Write `toeplitz_matrix(kernel, size)`, so that `toeplitz_matrix(kernel, len(x)) @ x` slides the kernel over
# `x`.
#
# - `kernel` is float64 of shape (k,), and `size`, an int, is the length of `x`; the kernel is never longer;
# - return float64 of shape (size − k + 1, size).
#
# NumPy is enough; SciPy's functions for such matrices are not allowed.

# %% tags=["exercise:toeplitz_matrix"]
def toeplitz_matrix(kernel, size):
    """The matrix that slides a kernel over a sequence, without padding.

    kernel (k,) float64, size an int.  Returns (size - k + 1, size) float64.
    """
    ### BEGIN SOLUTION
    k = len(kernel)
    matrix = np.zeros((size - k + 1, size))
    for i in range(len(matrix)):
        matrix[i, i:i + k] = kernel
    return matrix
    ### END SOLUTION

# %% tags=["check:toeplitz_matrix"]
check("toeplitz_matrix", toeplitz_matrix)

# %% [markdown]
# ### Two dimensions
#
# For an image, the input of the matrix is `x.ravel()`, row after row. A window is no longer one run of
# neighbours: below a pixel lies the pixel that comes a whole row later.
#
# **Predict.** A 2×3 kernel slides over a 4×5 image. How many rows and columns does the matrix have? Where in a
# row do the six weights stand? What happens at the end of a row of windows?

# %%
rng = np.random.default_rng(0)
animation.matrix_rows(rng.integers(-3, 5, (4, 5)), np.array([[1, 2, 3], [4, 5, 6]]))

# %% [markdown]
# 3·3 = 9 windows and 4·5 = 20 pixels: 9 rows of 20. The weights stand in two runs of three, one for each row of
# the kernel, five columns apart, as the two frames above the matrix show. After the third row the window returns
# to the left edge, one image row lower, and its row of the matrix moves on by three at once.
#
# Look at the matrix in blocks of 3×5. Each block is a small Toeplitz matrix made of one kernel row, and the
# blocks themselves repeat along diagonals: a **doubly blocked** Toeplitz matrix.

# %% [markdown]
# ### Exercise: the matrix in two dimensions
#
# Write `convolution_matrix(kernel, height, width)`: the matrix `T` for which `T @ x.ravel()` is the output of
# the sliding window on the image `x`, flattened too. The outputs come row by row, as in `x.ravel()`.
#
# - `kernel` is float64 of shape (kH, kW); `height` and `width`, ints, are the size of the image, and the kernel
#   fits into it;
# - return float64 of shape (H_out · W_out, height · width).
#
# Again without SciPy. Loops are fine.

# %% tags=["exercise:convolution_matrix"]
def convolution_matrix(kernel, height, width):
    """The matrix that slides a kernel over an image, without padding.

    kernel (kH, kW) float64, height and width ints.
    Returns (H_out * W_out, height * width) float64.
    """
    ### BEGIN SOLUTION
    kH, kW = kernel.shape
    H_out, W_out = height - kH + 1, width - kW + 1
    matrix = np.zeros((H_out, W_out, height, width))
    for r in range(H_out):
        for c in range(W_out):
            matrix[r, c, r:r + kH, c:c + kW] = kernel
    return matrix.reshape(H_out * W_out, height * width)
    ### END SOLUTION

# %% tags=["check:convolution_matrix"]
check("convolution_matrix", convolution_matrix)

# %% [markdown]
# Three descriptions of one thing should agree: tied weights, the sliding window, the matrix. And a row of the
# matrix, folded back into an image, should be the kernel lying on the picture.

# %%
x = np.random.default_rng(1).integers(-3, 5, (4, 5)).astype(float)
kernel = np.array([[1.0, 2, 3], [4, 5, 6]])
T = convolution_matrix(kernel, 4, 5)                                  # (9, 20)
by_matrix = (T @ x.ravel()).reshape(3, 3)
all_agree = np.array_equal(by_matrix, convolution(x, kernel))
plots.grids(*(T[i].reshape(4, 5) for i in (0, 1, 4)), by_matrix, convolution(x, kernel),
            titles=["row 0, folded", "row 1, folded", "row 4, folded", "T @ x.ravel()", "tied weights"], cell=0.36)
print("they agree:", all_agree)

# %% [markdown]
# **Predict.** How much of the matrix is zero for a 3×3 kernel on 28×28 pixels? On 1024×1024?

# %%
small = convolution_matrix(np.ones((3, 3)), 28, 28)
zeros = {28: 1 - np.count_nonzero(small) / small.size, 1024: 1 - 9 / 1024**2}
stored = 1022**2 * 1024**2 * 8 / 1e12
fig, ax = plt.subplots(figsize=(4.6, 4), layout="constrained")
ax.imshow(small[:112, :140], cmap="gray_r", interpolation="nearest")
ax.set(title="first 112 rows and 140 columns, of 676×784", xlabel="pixels", ylabel="units")
plt.show()
print(*(f"{size}×{size}: {share:.4%} zeros" for size, share in zeros.items()), sep="\n")
print(f"the matrix for 1024×1024 would take {stored:.1f} terabytes")

# %% [markdown]
# Three broken diagonal lines, one for each row of the kernel, and zeros. Nobody stores such a matrix; the window
# does the same with nine numbers. But it is good to know that it is there. A convolution is **linear**: the
# answer to a sum of images is the sum of the answers. And when gradients flow back through the layer in notebook
# 05, they flow through the transpose of this matrix.

# %% [markdown]
# ## Shuffle the pixels
#
# You saw that shuffling destroys locality. Suppose that *every* image that a layer gets, in training and in use,
# has its pixels shuffled in the same fixed way. `order` says how: `shuffled = image.ravel()[order]`, so that
# place j holds what was pixel `order[j]`.
#
# **Predict.** Does that harm a dense layer? Does it harm a convolution?

# %% [markdown]
# ### Exercise: a dense layer for shuffled images
#
# Write `weights_for_shuffled(weight, order)`: the weights with which a dense layer answers to the shuffled image
# as it did with `weight` to the original one. For every vector `x` of pixels,
# `weights_for_shuffled(weight, order) @ x[order]` equals `weight @ x`.
#
# - `weight` is float64 of shape (N, M): a row for each unit, a column for each pixel;
# - `order` is an int array of shape (M,) that holds each of 0 … M − 1 once;
# - return a new float64 array of shape (N, M).

# %% tags=["exercise:weights_for_shuffled"]
def weights_for_shuffled(weight, order):
    """The weights that do to a shuffled image what `weight` does to the original.

    weight (N, M) float64, order (M,) int, a permutation.  Returns (N, M) float64.
    """
    ### BEGIN SOLUTION
    return weight[:, order]
    ### END SOLUTION

# %% tags=["check:weights_for_shuffled"]
check("weights_for_shuffled", weights_for_shuffled)

# %% [markdown]
# So for a dense layer shuffled images are as good as any. Whatever it can learn from the originals, it can learn
# from the shuffled ones, with the same weights in other places. It never knew which pixels are neighbours.
#
# A convolution cannot follow: its window reads nine pixels that have nothing to do with each other. Below, the
# dense layer from before and a vertical-edge kernel, on the digit and on its shuffled copy.

# %%
order = np.random.default_rng(5).permutation(here.size)
shuffled = here.ravel()[order].reshape(here.shape)
edge = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
dense_before = layers["dense"](here)
dense_after = (weights_for_shuffled(dense_weight, order) @ shuffled.ravel()).reshape(12, 18)
dense_agrees = np.allclose(dense_before, dense_after)
plots.images(here, dense_before, convolution(here, edge), titles=["image", "dense", "convolution"], height=1.7)
plots.images(shuffled, dense_after, convolution(shuffled, edge), titles=["shuffled"], height=1.7)
print("dense outputs equal:", dense_agrees)

# %% [markdown]
# The dense outputs are equal. The convolution showed the outline of the digit, and now shows noise.
#
# The same in an experiment. Two classifiers learn the ten digits from 1,200 images of 8×8. The first is one dense
# layer on the pixels. The second begins with 32 kernels of 3×3 (random, not learned), sets negative outputs to 0,
# and averages each map over blocks of 2×2; a dense layer then reads all that.

# %%
images, labels = digits()
images, targets = images / 16, np.eye(10)[labels]                     # (1797, 8, 8), (1797, 10)
many = np.random.default_rng(0).normal(size=(9, 32))
many -= many.mean(axis=0)                                             # even patches give 0


def feature_maps(x):
    """What the second classifier's dense layer reads: (images, 3 * 3 * 32)."""
    maps = np.maximum(what_units_read("local", x) @ many, 0)          # (images, 36, 32)
    return maps.reshape(len(x), 3, 2, 3, 2, 32).mean(axis=(2, 4)).reshape(len(x), -1)


def accuracy(inputs):
    """Fit a dense layer to the first 1,200 images; the share of the others that it gets right."""
    a = np.insert(inputs, 0, 1, axis=1)                               # a 1 for the bias
    normal = a[:1200].T @ a[:1200] + 0.1 * np.eye(a.shape[1])         # least squares; 0.1 keeps weights small
    scores = a[1200:] @ np.linalg.solve(normal, a[:1200].T @ targets[:1200])
    return (scores.argmax(axis=1) == labels[1200:]).mean()

# %% [markdown]
# **Predict.** Which classifier is better on the original images? What does shuffling, with five different
# orders, do to each?

# %%
orders = [np.arange(64), *(np.random.default_rng(seed).permutation(64) for seed in range(5))]
scores = {name: [] for name in ("dense", "convolution")}
for order in orders:
    x = images.reshape(-1, 64)[:, order]
    scores["dense"].append(accuracy(x))
    scores["convolution"].append(accuracy(feature_maps(x.reshape(-1, 8, 8))))
for name, (original, *others) in scores.items():
    print(f"{name:12} original {original:.1%}   shuffled " + " ".join(f"{s:.1%}" for s in others))
wrong_before, wrong_after = 1 - scores["convolution"][0], 1 - np.mean(scores["convolution"][1:])
print(f"the convolution errs {wrong_after / wrong_before:.1f} times as often on shuffled images")

# %% [markdown]
# The dense classifier does not notice: the same share, to the last digit. The one with kernels is much better
# while neighbours are neighbours, and errs more than twice as often when they are not. What is left of its
# advantage needs no neighbours: it has more numbers to combine, and they are no longer linear in the pixels.
#
# A convolution is a bet that neighbours belong together. On photographs the bet is won. On a table whose columns
# could stand in any order there is nothing to win.

# %% [markdown]
# ## Where the idea comes from
#
# In 1959 David Hubel and Torsten Wiesel reported what single cells in the visual cortex of a cat answer to, when
# spots and bars of light are shown on a screen. Each cell answered to one small part of the screen only, its
# receptive field, and there most of them best to a bar of one orientation. Neighbouring cells see neighbouring
# parts: the cortex holds a **map** of what the eye sees.
#
# In 1962 they told two kinds apart. **Simple cells** want the bar at an exact place; **complex cells** accept it
# anywhere in a larger field. They proposed a hierarchy: complex cells collect from simple ones, simple ones from
# the round fields of earlier cells.

# %% [markdown]
# Repeat the experiment on a unit. Its kernel has a bright upright stripe and dark sides; as a cell cannot answer
# with less than nothing, negative outputs count as 0. For a complex cell, take the largest answer of the 13 units
# around it in the same row.
#
# **Predict.** A bar turns in the middle of the field: at which angle is the answer largest? Then an upright bar
# moves from left to right: how do the two cells differ?

# %%
profile = np.zeros(15)
profile[3:12] = [-1, -1, -1, 2, 2, 2, -1, -1, -1]                     # sums to 0
stripe = np.tile(profile, (15, 1)) / 90                               # (15, 15); the best bar gives 1
grid_y, grid_x = np.mgrid[-7:8, -13:14]                               # a field of 15x27 pixels


def bar(angle, shift=0):
    """A bright bar, 3 wide, turned by `angle` degrees from upright and moved `shift` pixels to the right."""
    t = np.deg2rad(angle)
    return (np.abs((grid_x - shift) * np.cos(t) + grid_y * np.sin(t)) < 1.6).astype(float)


def simple(picture):
    """13 simple cells in a row; the middle one is number 6."""
    return np.maximum(convolution(picture, stripe)[0], 0)

# %%
angles, shifts = np.arange(-90, 91, 10), np.arange(-10, 11)
turning = [simple(bar(a))[6] for a in angles]
moving = {"simple": [simple(bar(0, s))[6] for s in shifts], "complex": [simple(bar(0, s)).max() for s in shifts]}
fig, axes = plt.subplots(1, 4, figsize=(10, 2.5), layout="constrained", width_ratios=[1.3, 1.3, 2, 2])
for ax, angle in zip(axes, (0, 30)):
    ax.imshow(bar(angle), cmap="gray")
    plots.frame(ax, 0, 6, 15, 15, linewidth=2)
    ax.set_title(f"bar at {angle}°", fontsize=10)
    ax.axis("off")
axes[2].plot(angles, turning, "o-", color="0.3", markersize=4)
axes[2].set(xlabel="angle of the bar, degrees", xticks=[-90, -45, 0, 45, 90], title="simple cell")
for (name, answers), style in zip(moving.items(), ("o-", "s--")):
    axes[3].plot(shifts, answers, style, color="0.3", markersize=4, markerfacecolor="tab:orange", label=name)
axes[3].set(xlabel="place of the bar, pixels", title="upright bar, moving", ylim=(-0.06, 1.4))
axes[3].legend(fontsize=9, frameon=False, ncols=2, loc="upper center")
plt.show()

# %% [markdown]
# Like the cells in the cat, the unit answers to one orientation, and falls silent when the bar is turned. The simple
# cell wants the bar at its place; the complex cell answers all the same over 13 pixels. Taking the largest of
# several units returns in notebook 06 under the name of pooling.
#
# One thing is *not* in the brain: its cells do not share weights. Each has connections of its own, as in a locally
# connected layer. Sharing is the engineers' addition.

# %% [markdown]
# | year | step |
# |---|---|
# | 1959, 1962 | Hubel and Wiesel: receptive fields, simple and complex cells |
# | 1980 | Fukushima's neocognitron: layers of simple and complex units with shared weights |
# | 1989 | LeCun and others: shared weights trained by gradient descent, on postal codes |
# | 1998 | LeCun and others: LeNet-5 reads handwritten digits (notebook 08) |
# | 2012 | Krizhevsky, Sutskever and Hinton win the ImageNet challenge (notebook 10) |
#
# The ideas were there in the 1980s. What came with the years were millions of labelled images and processors fast
# enough to learn from them.

# %% [markdown]
# ## What convnets are used for
#
# - **Classification**: what is in this image?
# - **Detection**: where is it, and how many are there?
# - **Segmentation**: which pixels belong to it? In medicine, to outline cells or organs (U-Net: Ronneberger and
#   others, 2015).
# - **Reading** what stands in the street: traffic signs (Sermanet and LeCun, 2011), house numbers (Goodfellow and
#   others, 2014).
# - **Go**: judging a position, which is an image of 19×19 points (AlphaGo: Silver and others, 2016).
# - **Style transfer**: one picture's content in the manner of another (Gatys and others, 2016).
#
# What they share is an input laid out on a grid, in which neighbours belong together. A recorded sound is a grid
# in one dimension, a film one in three.

# %% [markdown]
# ## In your own words

# %% [markdown] tags=["written:which_layer:4"]
# Four data sets. For each, say which of the three layers (dense, locally connected, convolutional) you would
# begin with. Give the reason in terms of **locality** and **stationarity**: does the data have the one, the
# other, both, or neither? Two or three sentences each.
#
# 1. Photographs of birds, which can be anywhere in the picture.
# 2. Passport photographs, cut so that eyes, nose and mouth are always at the same pixels; a few hundred thousand
#    of them.
# 3. Forty blood values of each patient, in alphabetical order.
# 4. The photographs of 1, but to protect privacy every one has been delivered with its pixels in the same
#    unknown order. What can still learn from them? What in the data could help to find the order?
#
# <!-- BEGIN SOLUTION -->
# **Answer.**
#
# 1. Convolutional. Feathers and edges show in small windows (locality), and they look the same wherever the bird
#    is (stationarity), so every place can share its weights and every example teaches all of them.
# 2. Locality holds, stationarity does not: what is useful at the eyes is of no use at the chin. A locally
#    connected layer fits, and there are enough examples for its parameters. (A convolution with enough features
#    would be a sound choice too, as edges still recur; so would convolutions first and a locally connected layer
#    after them.)
# 3. Dense. The order of the values means nothing, so there are no neighbours and no windows, and nothing recurs
#    from place to place. Forty inputs are few, so a dense layer is cheap.
# 4. As they stand, only the dense layer does as well as on the originals, because its columns can be reordered;
#    it needs many parameters and many examples. But pixels that were neighbours are still strongly correlated, so
#    correlations between all pairs of places, over many images, tell which places lie close to each other. With
#    the order found (up to turning or mirroring the picture), a convolution can be used; and privacy was never
#    protected.
#
# **Rubric.** 1 point for each part: ½ for a sensible choice, ½ for the reason.
#
# - 1: convolutional; both properties named.
# - 2: locally connected because stationarity fails, or another choice that says plainly what fails and why it is
#   worth it.
# - 3: dense; neither property, since the order is arbitrary.
# - 4: dense, since shuffling does not matter to it (½); correlations between places reveal neighbours (½).
# <!-- END SOLUTION -->

# %% [markdown]
# ## Summary
#
# With $N$ units on $M$ pixels, windows of $kH\times kW$, and $K$ features:
#
# | layer | a unit reads | units share | parameters | matrix |
# |---|---|---|---|---|
# | dense | all pixels | nothing | $M\cdot N + N$ | full |
# | locally connected | a window | nothing | $(kH\cdot kW + 1)\cdot N$ | banded |
# | shared weights | a window | kernel and bias | $kH\cdot kW + 1$ | Toeplitz |
# | several features | a window | within each map | $(kH\cdot kW + 1)\cdot K$ | $K$ of them |
#
# | fact | |
# |---|---|
# | locality | neighbouring pixels are alike: read windows |
# | stationarity | features recur anywhere: share weights |
# | places of a window | $(H - kH + 1)\times(W - kW + 1)$ |
# | moved image | the output of a convolution moves along |
# | matrix of a convolution | Toeplitz in 1-D, doubly blocked in 2-D, nearly all zeros |
# | shuffled pixels | nothing to a dense layer, everything to a convolution |

# %% [markdown]
# ## Where to read more
#
# - David Hubel and Torsten Wiesel, *Receptive fields of single neurones in the cat's striate cortex*, 1959, and
#   *Receptive fields, binocular interaction and functional architecture in the cat's visual cortex*, 1962.
# - Kunihiko Fukushima, *Neocognitron: a self-organizing neural network model for a mechanism of pattern
#   recognition unaffected by shift in position*, 1980.
# - Yann LeCun and others, *Backpropagation applied to handwritten zip code recognition*, 1989.
# - Yann LeCun, Léon Bottou, Yoshua Bengio and Patrick Haffner, *Gradient-based learning applied to document
#   recognition*, 1998: sections I and II give the reasons of this notebook.
# - Daniel Ruderman, *The statistics of natural images*, 1994: locality, measured.
# - Yaniv Taigman and others, *DeepFace*, 2014: locally connected layers, for faces that have been aligned.
