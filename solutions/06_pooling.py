# %% [markdown]
# # 06 Pooling
#
# A convolution says where a feature is, pixel by pixel. Later layers often need less: that it is there, and
# roughly where. A pooling layer cuts a map into windows and keeps one number of each. This notebook builds
# the common kinds, sends gradients back through them, and then measures what they are said to be good for:
# that the output changes little when the image moves.

# %% [markdown]
# ## What you will be able to do
#
# - write max, average and L2 pooling, over space and over features, and give the size of their outputs;
# - send gradients back through max and average pooling, with ties, overlaps and padding;
# - say which pixels a unit sees after convolution and pooling;
# - tell equivariance from invariance, and measure both;
# - say for which shifts a strided layer is exact, where padding breaks equivariance, and how invariant a
#   pooled map really is;
# - replace pooling by strided convolution, and say what that costs.

# %%
import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cnnlab import animation, check, hint, plots, widgets
from cnnlab.data import digits, grey, photo


def pair(value):
    """A pair (rows, columns) from a pair or from one number for both."""
    return tuple(value) if isinstance(value, tuple | list) else (value, value)


def output_size(size, kernel_size, stride, padding=0):
    """The number of windows along one axis, as in notebook 03."""
    return (size + 2 * padding - kernel_size) // stride + 1

# %% [markdown]
# You may call these two in every exercise.

# %% [markdown]
# ## Is there an eye here?
#
# In notebook 02 a response was a similarity: a kernel cut out of a portrait, at the eye, answered most strongly
# to that eye once its mean was subtracted. We make such a kernel again. The face then moves to the right.
#
# Below each map of responses stands its maximum over every block of 16×16 places.
#
# **Predict.** The strongest response follows the face. What does the brightest block do if the face moves by
# 4 pixels, and what if it moves by 12?

# %%
hopper = grey(photo("hopper"))


def portrait(right):
    """The face, moved `right` pixels to the right: (80, 112)."""
    left = 160 - 2 * right
    return hopper[136:296, left:left + 224].reshape(80, 2, 112, 2).mean(axis=(1, 3))


eye = portrait(0)[14:34, 20:46]                                              # (20, 26)
detector = (eye - eye.mean()) / np.linalg.norm(eye - eye.mean())
faces = {right: portrait(right) for right in (0, 4, 12)}
maps = {right: np.einsum("hwab,ab->hw", sliding_window_view(face, eye.shape), detector)
        for right, face in faces.items()}                                    # (61, 87)
blocks = {right: m[:48, :80].reshape(3, 16, 5, 16).max(axis=(1, 3)) for right, m in maps.items()}   # (3, 5)
peaks = {right: tuple(map(int, np.unravel_index(m.argmax(), m.shape))) for right, m in maps.items()}
brightest = {right: tuple(map(int, np.unravel_index(b.argmax(), b.shape))) for right, b in blocks.items()}

# %%
fig, axes = plt.subplots(3, 3, figsize=(8.5, 5.6), layout="constrained")
rows = {"face": faces, "response": maps, "maximum of each block": blocks}
for row, (name, pictures) in zip(axes, rows.items()):
    for ax, (right, picture) in zip(row, pictures.items()):
        ax.imshow(picture, cmap="gray", vmin=-1.5 if name != "face" else None)
        ax.set_title(f"{name}, moved by {right}", fontsize=10)
        ax.axis("off")
        if name == "response":
            ax.plot(*peaks[right][::-1], "o", markersize=12, markerfacecolor="none", color="tab:orange")
plt.show()
for right in faces:
    print(f"moved by {right:2}: strongest response at {peaks[right]}, brightest block {brightest[right]}, "
          f"value {blocks[right].max():.3f}")

# %% [markdown]
# The strongest response (circled) moves from column 20 to 24 and to 32. After the small move the same block
# is the brightest, with the same value: **whether** there is an eye in the region is kept, **where** in the
# region is given up. After the large move the eye has crossed into the next block.
#
# That is the use of pooling: the map is smaller, so what follows is cheaper, later units see more of the
# image, and the output is somewhat robust to where a feature sits. How robust, we measure below.

# %% [markdown]
# ## One number for each window
#
# **Predict.** This is a window you know from notebook 02. What are its maximum and its mean?

# %%
window = np.array([[200.0, 150, 150], [100, 50, 100], [25, 25, 10]])
window_max, window_mean = window.max(), window.mean()
plots.grids(window, np.array([[window_max]]), np.array([[window_mean]]), titles=["window", "max", "mean"], cell=0.6,
            vmin=0, vmax=200)

# %% [markdown]
# 200 and 90. A pooling layer does that for every window:
#
# - It acts on **each channel alone**, so there are as many channels after it as before.
# - It has **no parameters**: nothing in it is learned.
# - It is settled by the window F (`kernel_size`) and the stride S, which is F if not given. From width $W$ it
#   makes $(W - F)/S + 1$, rounded down, as a convolution does. Common are F = 2, S = 2, and F = 3, S = 2,
#   where windows overlap, as in AlexNet (notebook 10).
#
# **Predict.** 64 maps of 224×224 are pooled with F = 2 and S = 2. What comes out, and which share of the
# numbers is left?

# %%
pooled_side = output_size(224, 2, 2)
left_over = (64 * pooled_side**2) / (64 * 224**2)
overlapping_side = output_size(224, 3, 2)
print(f"F=2, S=2: 64×{pooled_side}×{pooled_side}, {left_over:.0%} of the numbers")
print(f"F=3, S=2: 64×{overlapping_side}×{overlapping_side}")

# %% [markdown]
# 64×112×112, a quarter of the numbers. F = 3 gives 111: it does not fit, so the last row and column are not
# read.
#
# Here F = 3 and S = 2 at work. The orange frame is the window, the black one its largest value.
#
# **Predict.** The 9 lies where windows overlap. How many times will it be in the output?

# %%
numbers = np.array([[1, 4, -2, 0, 3], [2, 0, 5, -1, 1], [-3, 1, 9, 2, -4], [0, 6, 2, -5, 1], [7, -1, 0, 2, 2]])
animation.max_pooling(numbers, 3, stride=2)

# %%
four = sliding_window_view(numbers, (3, 3))[::2, ::2].max(axis=(2, 3))
print(four)

# %% [markdown]
# Four times: it is in all four windows. With overlap, one strong response can fill a neighbourhood.
#
# **Padding** is uncommon in pooling. Where it is used, a padded place must never win a maximum. A zero would,
# against negative numbers. So max pooling pads with −∞, and PyTorch allows at most half the kernel, so that
# every window holds at least one real value.

# %% [markdown]
# ### Exercise: max pooling
#
# Write `max_pool2d(x, kernel_size, stride=None, padding=0)`.
#
# - `x` (N, C, H, W), float64, finite;
# - `kernel_size`, `stride` and `padding` are each an int, or a pair `(rows, columns)`. `stride=None` means
#   the kernel size;
# - `padding`, on both sides, is at most half the kernel, rounded down, and never wins;
# - at least one window fits; a stride that does not fit is rounded down;
# - return a new array (N, C, H_out, W_out), float64.
#
# Loops over the output are fine. Three parts: without `stride`, with it, and with padding and pairs. If you
# are stuck, run `hint("max_pool2d")` in a cell of your own, and again for more.

# %% tags=["exercise:max_pool2d"]
def max_pool2d(x, kernel_size, stride=None, padding=0):
    """The largest value of each window, as torch.nn.functional.max_pool2d.

    x (N, C, H, W) float64; kernel_size, stride and padding ints or pairs; stride None: the kernel size.
    Returns (N, C, H_out, W_out) float64.
    """
    ### BEGIN SOLUTION
    (kH, kW), (pH, pW) = pair(kernel_size), pair(padding)
    sH, sW = pair(kernel_size if stride is None else stride)
    H_out, W_out = output_size(x.shape[2], kH, sH, pH), output_size(x.shape[3], kW, sW, pW)
    x = np.pad(x, ((0, 0), (0, 0), (pH, pH), (pW, pW)), constant_values=-np.inf)
    out = np.full((*x.shape[:2], H_out, W_out), -np.inf)
    for a, b in np.ndindex(kH, kW):                                   # each place in the window, for all windows
        np.maximum(out, x[:, :, a:a + sH * H_out:sH, b:b + sW * W_out:sW], out=out)
    return out
    ### END SOLUTION

# %% tags=["check:max_pool2d"]
check("max_pool2d", max_pool2d)

# %% [markdown]
# **Predict.** A map of negative numbers is pooled with F = 3, S = 2 and padding 1. Which outputs would be
# wrong if the padding were zeros?

# %%
below_zero = -np.array([[4.0, 7, 2, 9, 5], [6, 3, 8, 1, 7], [5, 9, 4, 6, 2], [8, 2, 7, 3, 9], [1, 6, 5, 8, 4]])
with_infinity = max_pool2d(below_zero[None, None], 3, 2, 1)[0, 0]            # (3, 3)
zeros_around = np.pad(below_zero, 1)
with_zeros = max_pool2d(zeros_around[None, None], 3, 2)[0, 0]                # (3, 3)
plots.grids(below_zero, with_infinity, with_zeros, vmin=-9, vmax=0,
            titles=["map", "padded with −∞", "padded with 0"])

# %% [markdown]
# All but the middle one. Every window at the border would answer 0, a number that is nowhere in the map.

# %% [markdown]
# ## Average pooling
#
# The mean in place of the maximum:
#
# $$y(r, c) = \frac{1}{kH\cdot kW}\sum_{a=0}^{kH-1}\sum_{b=0}^{kW-1} x(r\,sH + a,\; c\,sW + b) .$$
#
# A slip to know: this formula is often printed with "max" where the sum belongs.
#
# Padding is with zeros here, and there are two ways to count it. With `count_include_pad=True`, PyTorch's
# default, a padded zero is a value like any other and the divisor is always $kH\cdot kW$. With False, the
# divisor is the number of the window's pixels that lie on the image.

# %% [markdown]
# ### Exercise: average pooling
#
# Write `avg_pool2d(x, kernel_size, stride=None, padding=0, count_include_pad=True)`.
#
# - `x`, `kernel_size`, `stride` and `padding` are as for `max_pool2d`, but padding is with zeros;
# - `count_include_pad` is a bool, and means what was just said;
# - return (N, C, H_out, W_out), float64.
#
# Half the points are for calls without padding.

# %% tags=["exercise:avg_pool2d"]
def avg_pool2d(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    """The mean of each window, as torch.nn.functional.avg_pool2d.

    x (N, C, H, W) float64; kernel_size, stride and padding ints or pairs; stride None: the kernel size.
    Returns (N, C, H_out, W_out) float64.
    """
    ### BEGIN SOLUTION
    (kH, kW), (pH, pW) = pair(kernel_size), pair(padding)
    sH, sW = pair(kernel_size if stride is None else stride)
    H_out, W_out = output_size(x.shape[2], kH, sH, pH), output_size(x.shape[3], kW, sW, pW)

    def window_sums(values):
        values = np.pad(values, ((0, 0), (0, 0), (pH, pH), (pW, pW)))
        return sum(values[:, :, a:a + sH * H_out:sH, b:b + sW * W_out:sW] for a, b in np.ndindex(kH, kW))

    return window_sums(x) / (kH * kW if count_include_pad else window_sums(np.ones_like(x)))
    ### END SOLUTION

# %% tags=["check:avg_pool2d"]
check("avg_pool2d", avg_pool2d)

# %% [markdown]
# If the window is the whole map, one number per channel is left: **global average pooling**. Networks from
# notebook 12 on end with it.

# %% [markdown]
# ## L2 pooling
#
# A third rule takes the length of the window as a vector:
#
# $$y = \sqrt{\textstyle\sum_{a,b} x_{a,b}^2} .$$
#
# Squares lose the sign. PyTorch has it as `LPPool2d` with `norm_type=2`; like there, the squares are summed,
# not averaged.

# %% [markdown]
# ### Exercise: L2 pooling over space
#
# Write `l2_pool2d(x, kernel_size, stride=None)`.
#
# - `x` (N, C, H, W), float64; `kernel_size` and `stride` as for `max_pool2d`; there is no padding;
# - return (N, C, H_out, W_out), float64.
#
# You may call `avg_pool2d`.

# %% tags=["exercise:l2_pool2d"]
def l2_pool2d(x, kernel_size, stride=None):
    """The square root of the sum of squares of each window, as torch.nn.LPPool2d(2, ...).

    x (N, C, H, W) float64; kernel_size and stride ints or pairs; stride None: the kernel size.
    Returns (N, C, H_out, W_out) float64.
    """
    ### BEGIN SOLUTION
    kH, kW = pair(kernel_size)
    return np.sqrt(avg_pool2d(x**2, kernel_size, stride) * (kH * kW))
    ### END SOLUTION

# %% tags=["check:l2_pool2d"]
check("l2_pool2d", l2_pool2d)

# %% [markdown]
# Now on the edges of a photograph. The column of weights (−1, 0, 1) answers with a positive number where the
# image turns brighter downwards, and with a negative one where it turns darker. A thin line gives both, one above
# the other.
#
# **Predict.** The map of responses is pooled in three ways. Which loses thin lines? Which loses the roof against the
# bright sky?

# %%
china = grey(photo("china"))[:400:2, :400:2]                                 # (200, 200)
edges = china[2:] - china[:-2]                                               # (198, 200): below minus above
kinds = {"max": max_pool2d, "average": avg_pool2d, "L2": l2_pool2d}
pooled = {name: pool(edges[None, None], 5)[0, 0] for name, pool in kinds.items()}   # (39, 40)
survives = np.abs(pooled["average"]).mean() / np.abs(edges).mean()
smallest = -max_pool2d(-edges[None, None], 5)[0, 0]
unseen = (-smallest > pooled["max"]).mean()

pictures = {"image": china, "edges, 0 is mid-grey": edges, "max": pooled["max"],
            "average, 0 is mid-grey": pooled["average"], "L2": pooled["L2"]}
fig, axes = plt.subplots(1, 5, figsize=(10, 2.5), layout="constrained")
for ax, (title, picture) in zip(axes, pictures.items()):
    reach = np.quantile(np.abs(picture), 0.99)
    ax.imshow(picture, cmap="gray", vmin=-reach if "0" in title else 0, vmax=reach)
    ax.set_title(title, fontsize=10)
    ax.axis("off")
plt.show()
print(f"average pooling keeps {survives:.0%} of the mean size of a response")
print(f"in {unseen:.0%} of the windows the strongest response is negative, and the maximum does not see it")

# %% [markdown]
# The average keeps broad steps, such as the roof against the sky, which is black because it is darker below. Thin
# lines cancel, and 36 % of the mean size of a response is left.
#
# The maximum keeps one sign only. Where the slope of the top roof meets the sky it is a faint grey, though the
# responses there are among the strongest; in 48 % of the windows the strongest response is one it does not see.
#
# L2 keeps both signs and lets every pixel have a say. It shows how much edge there is in a window, and no longer which
# way it goes. After a ReLU, which sets negative values to 0 (notebook 08), nothing cancels and the maximum misses
# nothing.

# %% [markdown]
# ## L2 pooling over features
#
# So far a window lay in space. It can also lie across **channels**: groups of neighbouring channels, each
# group pooled at every pixel on its own. If the channels of a group answer to the same thing in two versions,
# the pooled map answers to the thing, whichever version it is.

# %% [markdown]
# ### Exercise: L2 pooling over features
#
# Write `l2_pool_features(x, size)`.
#
# - `x` (N, C, H, W), float64; `size`, an int, divides C;
# - group 0 is the channels 0 to `size − 1`, group 1 the next `size`, and so on;
# - return (N, C / size, H, W), float64: at each pixel the root of the sum of squares over the group.

# %% tags=["exercise:l2_pool_features"]
def l2_pool_features(x, size):
    """The square root of the sum of squares over groups of `size` neighbouring channels.

    x (N, C, H, W) float64; size an int that divides C.  Returns (N, C / size, H, W) float64.
    """
    ### BEGIN SOLUTION
    N, C, H, W = x.shape
    groups = x.reshape(N, C // size, size, H, W)
    return np.sqrt((groups**2).sum(axis=2))
    ### END SOLUTION

# %% tags=["check:l2_pool_features"]
check("l2_pool_features", l2_pool_features)

# %% [markdown]
# Two kernels that respond to vertical stripes: a sine and a cosine of the same width, under the same bell
# curve. One is shifted against the other by a quarter of a period. Stripes now move past them.
#
# **Predict.** How does the response of each kernel change as the stripes move? And the L2 pool of the two?

# %%
place = np.arange(-16, 17)
stripes = {name: wave(2 * np.pi * place / 8) for name, wave in (("sine", np.sin), ("cosine", np.cos))}
bell = np.exp(-place**2 / (2 * 5**2))
kernels = {name: bell * wave / (bell * wave**2).sum() for name, wave in stripes.items()}
shifts = np.arange(0, 16.5, 0.5)
moving = np.cos(2 * np.pi * (place - shifts[:, None]) / 8)                   # (33 shifts, 33 pixels)
responses = np.stack([moving @ k for k in kernels.values()], axis=1)         # (33, 2)
energy = l2_pool_features(responses[:, :, None, None], 2)[:, 0, 0, 0]        # (33,)
fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 2.9), layout="constrained", width_ratios=[2, 3])
for name, style, values in zip(kernels, ("o-", "s--"), responses.T):
    left.plot(place, kernels[name], style, color="0.4", markersize=3)
    right.plot(shifts, values, style, color="0.4", markersize=4, label=name)
right.plot(shifts, energy, "^-", color="tab:orange", label="L2 of both")
left.set(title="the two kernels", xlabel="pixel")
right.set(title="their responses", xlabel="stripes moved by, pixels")
right.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=9)
plt.show()

# %% [markdown]
# Each response swings between −1 and 1, and one is zero when the other is largest. The L2 pool stays at 1:
# $\sin^2 + \cos^2 = 1$. It answers to "stripes of this width" wherever they are. This is the *energy model*
# of Adelson and Bergen (1985), and a usual description of the complex cells that Hubel and Wiesel found
# (notebook 01).

# %% [markdown]
# ## Backward through the maximum
#
# Near the present values, the maximum is a copy of one pixel. Raise that pixel a little and the output
# follows; raise another a little and nothing happens. So the gradient from above goes to the **winner**,
# whole, and the others get 0. In the patterns of notebook 05: max routes.
#
# Two things need care.
#
# - **Overlap.** A pixel that wins in several windows gets the gradients of all of them, added up.
# - **Ties.** If two pixels share the maximum, a rule must choose. Ours: **the first in row-major order**,
#   along the first row of the window, then the second, and so on. PyTorch on a CPU does the same.

# %% [markdown]
# Almost the numbers from before, now with a tie. Every window sends its gradient to the black frame.
#
# **Predict.** How much does the 6 in the middle get in the end? And which of the two 7s at the lower left?

# %%
tied = np.array([[1, 4, -2, 0, 3], [2, 0, 5, -1, 3], [-3, 1, 6, 2, -4], [0, 7, 2, -5, 1], [7, -1, 0, 2, 2]])
from_above = np.array([[10, 20], [30, 40]])
animation.max_pooling(tied, 3, stride=2, dy=from_above)

# %% [markdown]
# ### Exercise: max pooling, backward
#
# Write `max_pool2d_backward(dy, x, kernel_size, stride=None, padding=0)`.
#
# - `dy` (N, C, H_out, W_out), float64: the gradient of the loss with respect to the output of
#   `max_pool2d(x, kernel_size, stride, padding)`;
# - the other arguments are the ones of that call;
# - return the gradient of `x`, (N, C, H, W), float64. Padding gets nothing, and overlaps add up;
# - where several values of a window are equal and the largest, the first in row-major order gets everything.
#
# Four parts of a point each: one winner without overlap, ties, overlaps, and padding with pairs.

# %% tags=["exercise:max_pool2d_backward"]
def max_pool2d_backward(dy, x, kernel_size, stride=None, padding=0):
    """The gradient of the input of max pooling; of equal maxima the first in row-major order gets it.

    dy (N, C, H_out, W_out), x (N, C, H, W), float64; kernel_size, stride and padding as in max_pool2d.
    Returns (N, C, H, W) float64.
    """
    ### BEGIN SOLUTION
    (kH, kW), (pH, pW), (H, W) = pair(kernel_size), pair(padding), x.shape[2:]
    sH, sW = pair(kernel_size if stride is None else stride)
    H_out, W_out = dy.shape[2:]
    x = np.pad(x, ((0, 0), (0, 0), (pH, pH), (pW, pW)), constant_values=-np.inf)
    slices = [np.s_[:, :, a:a + sH * H_out:sH, b:b + sW * W_out:sW] for a, b in np.ndindex(kH, kW)]
    best, winner = np.full(dy.shape, -np.inf), np.zeros(dy.shape, dtype=int)
    for number, place in enumerate(slices):                           # each place in the window, for all windows
        winner[x[place] > best] = number                              # only > keeps the first of equals
        best = np.maximum(best, x[place])
    dx = np.zeros(x.shape)
    for number, place in enumerate(slices):
        dx[place] += dy * (winner == number)
    return dx[:, :, pH:pH + H, pW:pW + W]
    ### END SOLUTION

# %% tags=["check:max_pool2d_backward"]
check("max_pool2d_backward", max_pool2d_backward)

# %%
tied_gradient = max_pool2d_backward(from_above[None, None] * 1.0, tied[None, None] * 1.0, 3, 2)[0, 0]
print(tied_gradient.astype(int))

# %% [markdown]
# The 6 wins in three windows and gets 10 + 20 + 40 = 70. In the lower left window the 7 in the upper of the
# two rows comes first and gets all 30. The other 7 gets nothing, though the output depends on it just as
# much.
#
# Are ties rare? In random real numbers, yes. In real images, and after a ReLU, no.
#
# **Predict.** In what share of the 2×2 windows of the handwritten digits, whole numbers from 0 to 16, do
# several pixels share the maximum?

# %%
scans, _ = digits()                                                          # (1797, 8, 8)
quads = sliding_window_view(scans, (2, 2), axis=(1, 2))[:, ::2, ::2]         # (1797, 4, 4, 2, 2)
winners = (quads == quads.max(axis=(3, 4), keepdims=True)).sum(axis=(3, 4))  # (1797, 4, 4)
tied_share = (winners > 1).mean()
empty_share = (quads.max(axis=(3, 4)) == 0).mean()
print(f"{tied_share:.0%} of the windows have a tie; {empty_share / tied_share:.0%} of those hold only zeros")

# %% [markdown]
# In four of ten, and two thirds of those are empty paper. There another rule would give another gradient. No rule is
# wrong, because at a tie the maximum has no derivative. But whoever compares two programs must know which rule each
# follows.

# %% [markdown]
# ## Backward through the mean
#
# Each of the $kH\cdot kW$ pixels of a window makes up the same share of its mean. So the gradient from above
# is **spread**: every pixel of the window gets $1/(kH\cdot kW)$ of it. Where windows overlap, the shares add
# up. The values of `x` do not matter, only its shape.

# %% [markdown]
# ### Exercise: average pooling, backward
#
# Write `avg_pool2d_backward(dy, x_shape, kernel_size, stride=None, padding=0)`.
#
# - `dy` (N, C, H_out, W_out), float64: the gradient of the output of `avg_pool2d` with these settings and
#   `count_include_pad=True`;
# - `x_shape`: the tuple (N, C, H, W);
# - return the gradient of the input, (N, C, H, W), float64. What goes to the padding is dropped.

# %% tags=["exercise:avg_pool2d_backward"]
def avg_pool2d_backward(dy, x_shape, kernel_size, stride=None, padding=0):
    """The gradient of the input of average pooling, padding counted.

    dy (N, C, H_out, W_out) float64; x_shape (N, C, H, W); kernel_size, stride and padding as in avg_pool2d.
    Returns (N, C, H, W) float64.
    """
    ### BEGIN SOLUTION
    (kH, kW), (pH, pW), (N, C, H, W) = pair(kernel_size), pair(padding), x_shape
    sH, sW = pair(kernel_size if stride is None else stride)
    dx = np.zeros((N, C, H + 2 * pH, W + 2 * pW))
    for a, b in np.ndindex(kH, kW):
        dx[:, :, a:a + sH * dy.shape[2]:sH, b:b + sW * dy.shape[3]:sW] += dy / (kH * kW)
    return dx[:, :, pH:pH + H, pW:pW + W]
    ### END SOLUTION

# %% tags=["check:avg_pool2d_backward"]
check("avg_pool2d_backward", avg_pool2d_backward)

# %% [markdown]
# Both on one handwritten digit, with F = 3, S = 2 and padding 1, so that windows overlap. Every output sends
# back a 1.
#
# **Predict.** Sixteen windows send sixteen ones. How large is the sum of all gradients, for max and for
# average?

# %%
digit = scans[1][None, None]                                                 # (1, 1, 8, 8)
ones = np.ones((1, 1, 4, 4))
by_max = max_pool2d_backward(ones, digit, 3, 2, 1)[0, 0]                     # (8, 8)
by_average = avg_pool2d_backward(ones, digit.shape, 3, 2, 1)[0, 0]           # (8, 8)
plots.grids(digit[0, 0], by_max, by_average * 9,
            titles=["digit", "max: gradient", "average: gradient times 9"], cell=0.36)
print(f"sums: max {by_max.sum():g}, average {by_average.sum():.3f}")

# %% [markdown]
# Max: 16, and few pixels get it; some win in two windows or more. In the empty corners the winner is simply
# the first zero. Average: every pixel gets a ninth for each window that reads it: the coverage of notebook
# 03. The sum is below 16, because part of it went to the padding.

# %% [markdown]
# All three rules, forward and backward, in one place. Drag the window, and change its size, stride and padding. A dot
# marks each maximum; the grid on the right is the gradient if every output sends back a 1.
#
# **Predict.** A window of 3 at stride 1 instead of 2: do more pixels get a gradient from max pooling, or do the same
# ones get more? And can the gradient of L2 pooling be negative?

# %%
widgets.pooling(tied, 3, stride=2)

# %% [markdown]
# ## A layer
#
# Layers of this course have two methods. `forward(x)` returns the output and remembers what the gradient will
# need; `backward(dy)` takes the gradient of the output and returns that of the input. `Conv2d` in notebook
# 05 also kept the gradients of its weights; a pooling layer has none.

# %% [markdown]
# ### Exercise: the max pooling layer
#
# Write the class `MaxPool2d(kernel_size, stride=None, padding=0)`:
#
# - `forward(x)` returns what `max_pool2d` gives;
# - `backward(dy)` returns the gradient of the `x` of the **latest** `forward`. It may be called more than
#   once after one `forward`, and each call gives its own answer.
#
# You may call your functions.

# %% tags=["exercise:max_pool2d_layer"]
class MaxPool2d:
    """Max pooling as a layer: forward(x) -> y, backward(dy) -> dx; arguments as for max_pool2d."""

    def __init__(self, kernel_size, stride=None, padding=0):
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x):
        ### BEGIN SOLUTION
        self.x = x
        return max_pool2d(x, self.kernel_size, self.stride, self.padding)
        ### END SOLUTION

    def backward(self, dy):
        ### BEGIN SOLUTION
        return max_pool2d_backward(dy, self.x, self.kernel_size, self.stride, self.padding)
        ### END SOLUTION

# %% tags=["check:max_pool2d_layer"]
check("max_pool2d_layer", MaxPool2d)

# %% [markdown]
# `AvgPool2d` differs in what it remembers. It is given, because notebook 08 can use it.

# %%
class AvgPool2d:
    """Average pooling as a layer: forward(x) -> y, backward(dy) -> dx; arguments as for avg_pool2d."""

    def __init__(self, kernel_size, stride=None, padding=0):
        self.settings = kernel_size, stride, padding

    def forward(self, x):
        self.x_shape = x.shape
        return avg_pool2d(x, *self.settings)

    def backward(self, dy):
        return avg_pool2d_backward(dy, self.x_shape, *self.settings)

# %% [markdown]
# Notebook 05 checked gradients along one random direction. To see every pixel, this check moves one at a time up
# and down by a small step, and looks how a weighted sum of the outputs changes.
#
# **Predict.** Without ties it agrees. In the second case the window holds 3, 3, 1, 0. `backward` gives 1 and
# 0 to the two 3s. What does the check find?

# %%
def numerical_gradient(layer, x, dy, step=1e-3):
    """The gradient of (layer.forward(x) * dy).sum() with respect to x, from differences in both directions."""
    dx = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        dx[place] = ((layer.forward(up) - layer.forward(down)) * dy).sum() / (2 * step)
    return dx


rng = np.random.default_rng(1)
x, dy = rng.normal(size=(2, 3, 6, 7)), rng.normal(size=(2, 3, 3, 4))
disagreement = {}
for layer in (MaxPool2d(3, 2, 1), AvgPool2d(3, 2, 1)):
    layer.forward(x)
    disagreement[type(layer).__name__] = np.abs(layer.backward(dy) - numerical_gradient(layer, x, dy)).max()
print("largest difference without ties:", {name: f"{value:.0e}" for name, value in disagreement.items()})
at_a_tie = numerical_gradient(MaxPool2d(2), np.array([[[[3.0, 3], [1, 0]]]]), np.ones((1, 1, 1, 1)))[0, 0]
print("at a tie:", at_a_tie.round(6).tolist())

# %% [markdown]
# A half for each: up, the output follows; down, the other 3 holds it. A gradient check of max pooling must
# use inputs in which the two largest values of a window differ by more than the step, or it will blame a
# correct program. Where all pixels move at once, they must differ by more than they can move towards each other.

# %% [markdown]
# ## What a unit sees
#
# Pooling widens the receptive field. A unit after F×F pooling reads F×F units below it. If those come from a
# $k\times k$ convolution at stride 1, each reads $k$ pixels along an axis and each next one starts one further,
# so together they see $(F + k - 1)\times(F + k - 1)$.
#
# **Predict.** LeNet begins with a 5×5 convolution and 2×2 pooling. How many pixels does a unit see? How far
# apart are the pixels of two neighbours?

# %%
fig, axes = plt.subplots(1, 3, figsize=(10, 2.6), layout="constrained")
stacks = {"5×5, then pool 2×2": [(5, 1, 1), (2, 2, 1)], "3×3, then pool 3×3 at stride 2": [(3, 1, 1), (3, 2, 1)],
          "5×5, pool 2×2, twice": [(5, 1, 1), (2, 2, 1)] * 2}
for ax, (title, layers) in zip(axes, stacks.items()):
    plots.stack(ax, layers, title)
plt.show()

# %% [markdown]
# Six, and two pixels apart, the stride of the pooling. Notebook 03 gave the size of such a field. For what
# follows we also need its **place**.

# %% [markdown]
# ### Exercise: the pixels a unit sees
#
# Write `seen_by(unit, layers)`, along one axis.
#
# - `unit`, an int: the number of a unit of the last layer, counted from 0;
# - `layers`, a tuple of triples `(kernel_size, stride, padding)` of ints, from the image on, for convolution
#   and pooling alike;
# - return `(first, last)`, two ints: the first and the last position of the image that the unit sees.
#   Position 0 is the first pixel. What lies in the padding counts too: positions may be negative, or beyond
#   the image, whose size is not given.
#
# Think of every layer as running along an endless row, so that padding only says where unit 0 lies.

# %% tags=["exercise:seen_by"]
def seen_by(unit, layers):
    """The first and the last position of the image that a unit sees, along one axis.

    unit an int; layers a tuple of (kernel_size, stride, padding), ints, from the image on.
    Returns (first, last), two ints; negative ones lie in the padding.
    """
    ### BEGIN SOLUTION
    first = last = unit
    for kernel_size, stride, padding in reversed(layers):
        first = first * stride - padding
        last = last * stride - padding + kernel_size - 1
    return first, last
    ### END SOLUTION

# %% tags=["check:seen_by"]
check("seen_by", seen_by)

# %%
lenet_front = ((5, 1, 0), (2, 2, 0), (5, 1, 0), (2, 2, 0))
for depth in (2, 4):
    spans = [seen_by(unit, lenet_front[:depth]) for unit in range(3)]
    print(f"after {depth} layers of LeNet, units 0, 1, 2 see {spans}: {spans[0][1] - spans[0][0] + 1} pixels")

# %% [markdown]
# After the second pooling a unit sees 16 of LeNet's 32 pixels, and neighbours are 4 pixels apart. With 5×5
# convolutions alone it would see 9.

# %% [markdown]
# ## Equivariant or invariant?
#
# Two words that are often mixed up. Write $T$ for a move of the image by some pixels, and $f$ for a layer.
#
# - $f$ is **equivariant** if its output moves along: $f(Tx) = T f(x)$.
# - $f$ is **invariant** if its output stays the same: $f(Tx) = f(x)$.
#
# Invariance forgets the place, equivariance keeps it. Both can hold in part, so we measure how far a layer is off.

# %% [markdown]
# ### Exercise: equivariance error
#
# Write `equivariance_error(y, y_moved, shift, margin=0)`. A layer gave `y` for an image and `y_moved` for the
# moved image; `shift` is how far the output should have moved.
#
# - `y` and `y_moved`: (N, C, H, W), float64. `shift`: a pair of ints `(rows, columns)`, positive is down and
#   to the right;
# - move `y` by `shift` **circularly**: what leaves on one side comes in on the other. Call that `expected`;
# - leave out the outermost `margin` rows and columns at all four sides of `expected` and of `y_moved`;
# - return the root mean square (RMS) of their difference, divided by the RMS of `expected`: a float. That RMS
#   is never 0.

# %% tags=["exercise:equivariance_error"]
def equivariance_error(y, y_moved, shift, margin=0):
    """How far y_moved is from y moved circularly by shift: RMS of the difference over RMS of the moved y.

    y, y_moved (N, C, H, W) float64; shift (rows, columns) ints; margin: rows and columns left out at each side.
    Returns a float.
    """
    ### BEGIN SOLUTION
    H, W = y.shape[2:]
    inside = np.s_[:, :, margin:H - margin, margin:W - margin]
    expected = np.roll(y, shift, axis=(2, 3))[inside]
    return float(np.sqrt(((y_moved[inside] - expected)**2).mean() / (expected**2).mean()))
    ### END SOLUTION

# %% tags=["check:equivariance_error"]
check("equivariance_error", equivariance_error)

# %% [markdown]
# With the shift (0, 0) the same function measures how far a layer is from invariant. 0 is exact; maps that
# have nothing in common give about 1 or more.
#
# To move an image without losing anything, we join its opposite sides: the image moves circularly, and layers
# pad circularly. The first layer has eight random 3×3 kernels and a ReLU.
#
# **Predict.** The image moves by 3 pixels. How large are both errors of the convolution?

# %%
def convolve(x, weight, stride=1, mode="wrap"):
    """A convolution without bias that keeps the size at stride 1, then a ReLU; "wrap" is circular padding."""
    p = weight.shape[-1] // 2
    x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)), mode)
    windows = sliding_window_view(x, weight.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    return np.maximum(np.tensordot(windows, weight, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2), 0)


rng = np.random.default_rng(0)
weights = [rng.normal(size=(8, c, 3, 3)) * np.sqrt(2 / (9 * c)) for c in (1, 8, 8, 8, 8, 8)]
weights[0] -= weights[0].mean(axis=(2, 3), keepdims=True)                    # answers to changes, not to brightness
whole = hopper[:600, 2:512].reshape(200, 3, 170, 3).mean(axis=(1, 3))        # (200, 170)
whole = (whole - whole.mean()) / whole.std()
scene = whole[30:94, 50:114][None, None]                                     # (1, 1, 64, 64)
y, y_moved = convolve(scene, weights[0]), convolve(np.roll(scene, 3, axis=3), weights[0])
errors_at_3 = equivariance_error(y, y_moved, (0, 3)), equivariance_error(y, y_moved, (0, 0))
print(f"convolution: from equivariant {errors_at_3[0]:.1g}, from invariant {errors_at_3[1]:.2f}")

# %% [markdown]
# The convolution is equivariant up to rounding, and far from invariant: place by place, the map is another one.

# %% [markdown]
# ## A stride is exact for its multiples only
#
# Now the output has fewer places. If the image moves by $d$, an output at stride $s$ should move by $d/s$.
# Where that is not whole, we take what lies between two neighbours, in proportion.
#
# **Predict.** For which of the shifts 0 to 8 is the error zero: after pooling at stride 1, at stride 2, and
# after two poolings at stride 2?

# %%
def moved(y, distance):
    """The map moved to the right, circularly; between two places, their mean weighted by nearness."""
    steps = int(np.floor(distance))
    part = distance - steps
    return (1 - part) * np.roll(y, steps, axis=3) + part * np.roll(y, steps + 1, axis=3)


def curves(lines, ylabel):
    """One line for each entry of `lines`, which tells them apart by marker and dash as well."""
    fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for (name, values), style in zip(lines.items(), ("o-", "s--", "^:", "D-.", "v-", "x--")):
        ax.plot(range(len(values)), values, style, color="0.25", markerfacecolor="tab:orange", label=name)
    ax.set(xlabel="image moved by, pixels", ylabel=ylabel, ylim=(-0.03, None))
    ax.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    plt.show()

# %%
def max_then_max(x):
    return max_pool2d(convolve(max_pool2d(convolve(x, weights[0]), 2), weights[1]), 2)


def pool_at_every_place(y):
    return max_pool2d(np.pad(y, ((0, 0), (0, 0), (0, 1), (0, 1)), "wrap"), 2, stride=1)


networks = {"max 2×2, stride 1": (lambda x: pool_at_every_place(convolve(x, weights[0])), 1),
            "max 2×2, stride 2": (lambda x: max_pool2d(convolve(x, weights[0]), 2), 2),
            "the same twice": (max_then_max, 4)}
distances = range(9)
errors = {name: [equivariance_error(moved(f(scene), d / s), f(np.roll(scene, d, axis=3)), (0, 0)) for d in distances]
          for name, (f, s) in networks.items()}
curves(errors, "equivariance error")

# %% [markdown]
# At stride 1, always. At stride 2, for even shifts: then the same values come out, half as far on. At odd
# shifts the windows cut the image in other places, and the maxima are others. After two poolings only multiples
# of 4 are exact. That holds for every layer with a stride, convolutions too.

# %% [markdown]
# ### Exercise: exact shifts
#
# Write `exact_shifts(strides, largest)`.
#
# - `strides`, a tuple of ints: the strides of a stack of convolution and pooling layers, from the image on,
#   with general weights. Image and padding are circular, and every stride divides the size it meets;
# - `largest`, an int;
# - return a tuple of ints: all shifts from 0 to `largest`, both included, in order, for which the output is
#   exactly a circularly moved copy of the output for the unmoved image. Other shifts by chance do not count.

# %% tags=["exercise:exact_shifts"]
def exact_shifts(strides, largest):
    """The shifts of the image, from 0 to `largest`, after which a stack's output is an exact moved copy.

    strides a tuple of ints, from the image on; largest an int.  Returns a tuple of ints.
    """
    ### BEGIN SOLUTION
    step = 1
    for stride in strides:
        step *= stride
    return tuple(range(0, largest + 1, step))
    ### END SOLUTION

# %% tags=["check:exact_shifts"]
check("exact_shifts", exact_shifts)

# %%
vgg_exact = exact_shifts((1, 1, 2) + (1, 1, 2) + (1, 1, 1, 2) * 3, 64)
print(f"VGG-16 has five poolings at stride 2; its last map is exact for shifts by {vgg_exact}")

# %% [markdown]
# For one shift in 32, along each axis. In between, a deep network is neither equivariant nor invariant, and its answer
# can change when the image moves by a single pixel. Azulay and Weiss (2019) show this on well-known networks and name
# the reason: a stride takes fewer samples than the detail in the map needs.

# %% [markdown]
# ## An aside: blur before the stride
#
# The smallest example is in Zhang (2019).
#
# **Predict.** The row 0 0 1 1 0 0 1 1 is pooled with F = 2 and S = 2, and once more after it has moved by one.
# What comes out?

# %%
row = np.array([0.0, 0, 1, 1, 0, 0, 1, 1])[None, None, None]                 # (1, 1, 1, 8)


def blur_pool(y):
    """Max pooling 2×2 at stride 1, a blur by 1 2 1 along both axes, then stride 2; all circular."""
    for axis in (2, 3):
        y = np.maximum(y, np.roll(y, -1, axis))
    for axis in (2, 3):
        y = (np.roll(y, 1, axis) + 2 * y + np.roll(y, -1, axis)) / 4
    return y[:, :, ::2, ::2]


row_moved = np.roll(row, 1, axis=3)
zhang = {"max": [max_pool2d(r, (1, 2)).ravel().tolist() for r in (row, row_moved)],
         "blurred": [blur_pool(r).ravel().tolist() for r in (row, row_moved)]}
for name, (still, after) in zhang.items():
    print(f"{name:8} {still}, moved {after}")

# %% [markdown]
# Max pooling gives 0 1 0 1, but 1 1 1 1 after a move by one pixel. Zhang splits the layer: first the maximum
# at stride 1, which is equivariant, then a stride. Between the two he blurs, as signal processing does before
# it takes fewer samples. The second pair of rows differs less. On our image:

# %%
networks = {"strided convolution": (lambda x: convolve(x, weights[0], stride=2), 2),
            "max 2×2": (lambda x: max_pool2d(convolve(x, weights[0]), 2), 2),
            "max 3×3": (lambda x: max_pool2d(np.pad(convolve(x, weights[0]), ((0, 0), (0, 0), (1, 0), (1, 0)), "wrap"),
                                             3, 2), 2),
            "average 2×2": (lambda x: avg_pool2d(convolve(x, weights[0]), 2), 2),
            "max, blur, stride": (lambda x: blur_pool(convolve(x, weights[0])), 2)}
at_one = {name: equivariance_error(moved(f(scene), 1 / s), f(np.roll(scene, 1, axis=3)), (0, 0))
          for name, (f, s) in networks.items()}
fig, ax = plt.subplots(figsize=(6.5, 2.2), layout="constrained")
bars = ax.barh(list(at_one), list(at_one.values()), color="0.7", edgecolor="0.2")
ax.bar_label(bars, fmt="%.2f", padding=3)
ax.invert_yaxis()
ax.set(xlabel="equivariance error, image moved by 1, stride 2", xlim=(0, 0.75))
plt.show()

# %% [markdown]
# With a blur before the stride the error is less than half of max pooling's, 0.15 against 0.34. It is not zero:
# a short blur removes only part of the detail that is too fine for stride 2. Overlapping windows help a little.
# Worst is the plain stride, which looks at every second place and ignores the rest.

# %% [markdown]
# ## Zero padding breaks it at the border
#
# Real images do not wrap around, and most layers pad with zeros. Here a window of 64×64 pixels lies on a
# larger photograph. The scene moves 3 down and 5 to the right, and new pixels come in at the top and the
# left.
#
# **Predict.** Six 3×3 convolutions with zero padding, all at stride 1. In which part of the map is the
# equivariance exact?

# %%
def padded_stack(x, depth):
    for weight in weights[:depth]:
        x = convolve(x, weight, mode="constant")
    return x


crop, crop_moved = (whole[None, None, r:r + 64, c:c + 64] for r, c in ((30, 50), (27, 45)))
fig, axes = plt.subplots(1, 5, figsize=(10, 2.4), layout="constrained")
axes[0].imshow(crop[0, 0], cmap="gray")
axes[1].imshow(crop_moved[0, 0], cmap="gray")
differs, border_errors, titles = {}, {}, ["image", "moved"]
for ax, depth in zip(axes[2:], (1, 3, 6)):
    y, y_moved = padded_stack(crop, depth), padded_stack(crop_moved, depth)
    border_errors[depth] = [equivariance_error(y, y_moved, (3, 5), margin) for margin in (0, 5 + depth)]
    off = np.abs(np.roll(y, (3, 5), axis=(2, 3)) - y_moved).max(axis=1)[0] > 1e-9        # (64, 64)
    ax.imshow(off, cmap="gray_r", vmax=2)
    differs[depth] = off.mean()
    titles.append(f"depth {depth}: {off.mean():.0%} differ")
for ax, title in zip(axes, titles):
    ax.set_title(title, fontsize=10)
    ax.set(xticks=[], yticks=[])
plt.show()

# %%
for depth, (everywhere, inside) in border_errors.items():
    print(f"depth {depth}: error {everywhere:.2f}, without the outermost {5 + depth} rows and columns {inside:.1g}; "
          f"unit 0 sees {seen_by(0, ((3, 1, 1),) * depth)}")

# %% [markdown]
# Grey is where the two maps differ. At the top and the left that is first of all the new part of the scene, 3 rows
# and 5 columns, on which no layer could agree. (At the white specks in the grey both maps are 0 in all channels,
# because of the ReLU.)
#
# Zero padding adds a frame on all four sides, one pixel wider with each layer: after six, unit 0 sees position −6,
# and units 0 to 5 all look into the padding. There one map was made from zeros and the other from the scene.
#
# Inside, the equivariance is exact. At depth 6 almost half of a 64×64 map differs; of the small maps late in a
# network, little inside is left.

# %% [markdown]
# ## How invariant is it?
#
# Now compare the output for the moved image with the output for the unmoved one, place by place, and do the
# same with the image itself.
#
# **Predict.** Order these by how much they change when the image moves by one pixel: a convolution;
# convolution and pooling 2×2; convolution and pooling 8×8; three blocks of convolution and pooling 2×2;
# convolution and the mean over the whole map.

# %%
def three_blocks(x):
    for weight in weights[:3]:
        x = max_pool2d(convolve(x, weight), 2)
    return x


networks = {"image": lambda x: x,
            "convolution": lambda x: convolve(x, weights[0]),
            "convolution, max 2×2": lambda x: max_pool2d(convolve(x, weights[0]), 2),
            "convolution, max 8×8": lambda x: max_pool2d(convolve(x, weights[0]), 8),
            "three blocks with max 2×2": three_blocks,
            "convolution, global average": lambda x: avg_pool2d(convolve(x, weights[0]), 64)}
changes = {name: [equivariance_error(f(scene), f(np.roll(scene, d, axis=3)), (0, 0)) for d in range(9)]
           for name, f in networks.items()}
curves(changes, "change of the output")

# %% [markdown]
# At one pixel: convolution 0.73, pooling 2×2 0.48, three blocks 0.34, pooling 8×8 0.17, global average 0. The
# convolution changes even more than the image (0.31), because it answers to fine detail. Pooling takes some
# of that back, more with a larger window and a smaller shift. The global average is invariant exactly, since
# it sums the same numbers in another order.
#
# So "convolution and pooling make a network translation-invariant" is half true, and for small shifts. The
# three blocks have a stride of 8 in all, as pooling 8×8 has, and still change twice as much. (The kernels here
# are random; learned ones would give other numbers.)

# %% [markdown]
# ## Getting rid of pooling
#
# Average pooling is a convolution: each channel alone (`groups = C`), equal weights, and a stride.
#
# **Predict.** If the weights were learned and every channel could read all others, what would be gained, and
# what would be paid?

# %%
features = convolve(scene, weights[0])                                       # (1, 8, 64, 64)
box = np.full((2, 2), 1 / 4)
windows = sliding_window_view(features, (2, 2), axis=(2, 3))[:, :, ::2, ::2] # (1, 8, 32, 32, 2, 2)
as_convolution = np.einsum("nchwab,ab->nchw", windows, box)                  # depthwise, stride 2
average_is_convolution = np.allclose(as_convolution, avg_pool2d(features, 2))
strided_parameters = 64 * (64 * 3 * 3) + 64
print("average pooling is a strided depthwise convolution:", average_is_convolution)
print(f"a 3×3 convolution with stride 2, 64 → 64: {strided_parameters:,} parameters; pooling: 0")

# %% [markdown]
# Springenberg et al. (2015) put a convolution of stride 2 in the place of each max pooling and lost no
# accuracy on several image benchmarks. The network then learns how to reduce a map; it pays with parameters and
# with work. ResNet (notebook 13) keeps one max pooling and a global average, and strides otherwise.
#
# A maximum is not linear, so no convolution is equal to it. And a stride is a stride: the bar chart above
# shows that a strided convolution is off at odd shifts too.
#
# The first pooling had weights as well: LeNet's subsampling layers learned a factor and a bias for each map.
# Notebook 08 returns to them.

# %% [markdown] tags=["written:same_answer:4"]
# ## In your own words
#
# A colleague has built a classifier: four blocks of 3×3 convolution (zero padding 1), ReLU and 2×2 max pooling; then
# the last map is flattened, and a linear layer gives a score for each class. She writes: "Convolution and pooling are
# translation-invariant, so the scores are the same wherever the object is."
#
# Correct her in about ten sentences. What do convolution and pooling really give? For which shifts is the last map an
# exact moved copy, and where not even then? Do the scores stay the same for such a shift? Name two changes that make
# the scores depend less on the place, each with its price, and a task for which you would not want that.
#
# <!-- BEGIN SOLUTION -->
# **Answer.**
#
# Convolution is equivariant, not invariant: the map moves with the image. Max pooling keeps a value only
# while the winner stays in its window and nothing larger comes in, so it is invariant in part and for small
# shifts; in our measurement a map pooled once changed less than the convolution alone but was far from
# unchanged after one pixel. The four strides multiply to 16: only shifts by multiples of 16 give an exact
# moved copy. Even then not at the border, where zero padding and new pixels change the values, and that zone
# grows with every layer. The scores change even for a shift of 16, since the flattened map moves and the
# linear layer has its own weight for each place. A global average in place of flattening removes the place
# from the scores, at the price that the linear layer no longer knows where anything was. Blurring before each
# stride makes shifts in between less harmful, and costs work and fine detail; training on shifted images also
# helps, near what was seen in training, and costs training time. I would not want invariance where the place
# is the answer: detection, segmentation, reading a gauge.
#
# **Rubric.**
#
# - 1 point: convolution is equivariant; pooling is invariant only in part, for small shifts (both, with a
#   reason or a measurement).
# - 1 point: multiples of 16, and not at the border.
# - 1 point: the scores still change, because flatten and linear weigh each place differently.
# - 1 point: two sensible changes with a price each, and a task where place matters (half for one change).
# <!-- END SOLUTION -->

# %% [markdown]
# ## Summary
#
# | question | answer |
# |---|---|
# | output size | $\lfloor (W + 2P - F)/S \rfloor + 1$ with padding P; S = F if not given |
# | parameters, channels | none; each channel alone |
# | common | F = 2, S = 2; F = 3, S = 2 (overlapping) |
# | padding | uncommon; −∞ for max, zeros for average, which may count or not |
# | max, average, L2 | largest value; mean; root of the sum of squares |
# | L2 over features | the same over groups of channels of one pixel |
# | backward, max | all to the winner; the first of equals in row-major order; overlaps add up |
# | backward, average | $1/(kH\cdot kW)$ to every pixel of the window; overlaps add up |
# | after a $k\times k$ convolution and F×F pooling | a unit sees $(F + k - 1)\times(F + k - 1)$ |
# | convolution at stride 1 | equivariant, except near a zero-padded border |
# | strides $s_1, s_2, \ldots$ | exact for multiples of $s_1 s_2\cdots$ only |
# | pooling | somewhat invariant, for small shifts; global average: invariant |
# | instead of pooling | convolution with a stride: learned, costs parameters |

# %% [markdown]
# ## Where to read more
#
# - Edward Adelson and James Bergen, *Spatiotemporal energy models for the perception of motion*, 1985.
# - Aharon Azulay and Yair Weiss, *Why do deep convolutional networks generalize so poorly to small image
#   transformations?*, 2019.
# - Ian Goodfellow and others, *Maxout networks*, 2013: the maximum over features.
# - Alex Krizhevsky, Ilya Sutskever and Geoffrey Hinton, *ImageNet classification with deep convolutional
#   neural networks*, 2012: overlapping pooling.
# - Jost Tobias Springenberg, Alexey Dosovitskiy, Thomas Brox and Martin Riedmiller, *Striving for simplicity:
#   the all convolutional net*, 2015.
# - Richard Zhang, *Making convolutional networks shift-invariant again*, 2019: blur before the stride.
