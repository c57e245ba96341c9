# %% [markdown]
# # 02 Convolution versus cross-correlation
#
# Convolutional networks are named after an operation that most deep-learning libraries do not compute. This
# notebook builds both operations, finds the one difference between them, and shows when it matters and when
# it does not.

# %% [markdown]
# ## What you will be able to do
#
# - compute a convolution by hand, in one dimension and in two, and write it as loops;
# - say how cross-correlation differs, and tell from one call which of the two a function computes;
# - explain why libraries leave the flip out, and what convolution has that cross-correlation has not;
# - blur an image and find its edges with classical filters, and know when a filter can be split into two
#   cheap ones;
# - read a response as a similarity;
# - convolve by Fourier transform, and judge when that saves work.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cnnlab import animation, check, hint, plots
from cnnlab.data import grey, photo

# %% [markdown]
# ## Reflect, shift, multiply, integrate
#
# The convolution of two functions is a function of a shift $t$:
#
# $$(f * g)(t) = \int f(a)\,g(t - a)\,da .$$
#
# Read $g(t-a)$ as a function of $a$. The minus reflects $g$, left to right; the $t$ then shifts it. Multiply
# with $f$, and take the area under the product. Every $t$ gives one area, and the areas make up the new
# function.
#
# **Predict.** Let $f$ and $g$ both be a box: height 1 from −½ to ½, and 0 elsewhere. For which $t$ is the
# area not zero? Where is it largest, and how large?

# %%
def box(a):
    """Height 1 on an interval of width 1 around 0."""
    return (np.abs(a) < 0.5).astype(float)

# %%
plots.overlaps(box, box, shifts=[-1, -0.75, 0, 0.5, 1], span=(-2, 2))

# %% [markdown]
# Each picture on top has the fixed box (solid) and the shifted one (dashed); the area they share is shaded.
# It grows in proportion to the overlap, so below the areas form a **triangle**: $1 - |t|$ between −1 and 1.
#
# The same with sums in place of integrals: sample the box at a thousand points, convolve, and compare.

# %%
step = 0.001
samples = np.ones(1000)                            # the box, one sample a step
areas = np.convolve(samples, samples) * step       # (1999,), a sum times the step for the integral
t = step * (np.arange(1999) - 999)                 # the shifts, from -0.999 to 0.999
triangle_error = np.abs(areas - (1 - np.abs(t))).max()
print(f"largest difference from the triangle: {triangle_error:.1g}")

# %% [markdown]
# A box looks the same after reflection. A ramp does not.
#
# **Predict.** The ramp rises from 0 to 1 between $a = 0$ and $a = 1$ and then drops to 0. When it is
# reflected and moves into the box from the left, does its low or its high end enter first? So does the area
# grow slowly or quickly at the beginning?

# %%
def ramp(a):
    """Rises from 0 to 1 on an interval of width 1, then drops."""
    return np.where((a >= 0) & (a <= 1), a, 0.0)

# %%
animation.reflect_and_shift(box, ramp, span=(-1.2, 2.2))

# %% [markdown]
# Play it, or step through it. The reflected ramp leads with its low end, so the area starts to grow slowly.
# The high end leaves last, so it returns to 0 steeply.
#
# **Convolution commutes.** Put $u = t - a$ for the variable of integration, so $a = t - u$ and $da = -du$;
# the limits change places, which takes the minus away again:
#
# $$\int_{-\infty}^{\infty} f(a)\,g(t-a)\,da = \int_{-\infty}^{\infty} f(t-u)\,g(u)\,du .$$
#
# The right-hand side reflects $f$ and leaves $g$. It makes no difference which of the two is turned round.

# %% [markdown]
# ## One dimension, discrete
#
# For sequences the integral becomes a sum, $y_n = \sum_i h_i\,x_{n-i}$. Written out for four elements each:
#
# | output | sum |
# |---|---|
# | $y_0$ | $h_0x_0$ |
# | $y_1$ | $h_1x_0 + h_0x_1$ |
# | $y_2$ | $h_2x_0 + h_1x_1 + h_0x_2$ |
# | $y_3$ | $h_3x_0 + h_2x_1 + h_1x_2 + h_0x_3$ |
#
# and then on, with fewer and fewer terms, to $y_6 = h_3x_3$. In every product the two indices sum to the
# index of the output.

# %% [markdown]
# ### Exercise: convolution in one dimension
#
# Write `convolve1d(x, h)`, the **full** convolution: every output to which at least one product belongs.
#
# - `x` and `h` are float64 arrays of any length from 1 up; `h` may be longer than `x`.
# - Return a float64 array of length `len(x) + len(h) - 1`. Leave `x` and `h` unchanged.
#
# Use loops. `np.convolve` would pass, and you would miss the point.
#
# If you are stuck, run `hint("convolve1d")` in a cell of your own, and again for more.

# %% tags=["exercise:convolve1d"]
def convolve1d(x, h):
    """The full convolution of two sequences.

    x (n,) float64; h (m,) float64.  Returns (n + m - 1,) float64.
    """
    ### BEGIN SOLUTION
    y = np.zeros(len(x) + len(h) - 1)
    for i in range(len(x)):
        for j in range(len(h)):
            y[i + j] += x[i] * h[j]
    return y
    ### END SOLUTION

# %% tags=["check:convolve1d"]
check("convolve1d", convolve1d)

# %% [markdown]
# **Predict.** You throw two dice. The probability of each number on one die is ⅙. The probability that they
# sum to $n$ adds up the products $p_i\,p_{n-i}$, so it is a convolution. Which shape do the probabilities
# of the sums have, and which sum is the most likely?

# %%
die = np.full(6, 1 / 6)                       # faces 1 to 6
two_dice = convolve1d(die, die)               # sums 2 to 12
most_likely = 2 + int(two_dice.argmax())
fig, ax = plt.subplots(figsize=(5, 2.2), layout="constrained")
ax.bar(range(2, 13), two_dice, color="0.6", edgecolor="0.2")
ax.set(xticks=range(2, 13), xlabel="sum of two dice", ylabel="probability")
plt.show()
print(f"most likely: {most_likely}, with probability {two_dice.max():.4f} = 6/36")

# %% [markdown]
# A box convolved with itself, and a triangle again.

# %% [markdown]
# ## Leave the reflection out: cross-correlation
#
# Slide a short sequence of **weights**, the **kernel** $k$, along $x$ **without** reflecting it:
#
# $$y_i = \sum_a x_{i+a}\,k_a .$$
#
# Both indices now grow together. This is cross-correlation. Often only the places where the kernel lies
# fully inside $x$ count; such an output is called **valid**. From a kernel of 2 on it is shorter than $x$.

# %% [markdown]
# ### Exercise: cross-correlation in one dimension
#
# Write `cross_correlate1d(x, kernel)`, the valid cross-correlation.
#
# - `x` and `kernel` are float64 arrays; the kernel is never longer than `x`.
# - Return a float64 array with one element for each place where the kernel fits into `x`.

# %% tags=["exercise:cross_correlate1d"]
def cross_correlate1d(x, kernel):
    """The valid cross-correlation of a sequence with a kernel.

    x (n,) float64; kernel (k,) float64 with k <= n.  Returns (n - k + 1,) float64.
    """
    ### BEGIN SOLUTION
    y = np.zeros(len(x) - len(kernel) + 1)
    for i in range(len(y)):
        y[i] = (x[i:i + len(kernel)] * kernel).sum()
    return y
    ### END SOLUTION

# %% tags=["check:cross_correlate1d"]
check("cross_correlate1d", cross_correlate1d)

# %% [markdown]
# **Predict.** Both of your functions get the same signal, 0 everywhere but for a single 1 (an *impulse*), and
# the same kernel (1, 2, 3). One answers 1, 2, 3 at the impulse, the other 3, 2, 1. Which is which?

# %%
impulse = np.array([0.0, 0, 0, 1, 0, 0, 0])
kernel = np.array([1.0, 2, 3])
answer_convolution = convolve1d(impulse, kernel)[2:-2]          # without the ends, to compare
answer_correlation = cross_correlate1d(impulse, kernel)
print("convolution      ", answer_convolution)
print("cross-correlation", answer_correlation)

# %% [markdown]
# Convolution puts a copy of the kernel where the impulse is. Cross-correlation meets the impulse first with
# the *last* weight of the kernel, since the window comes from the left: the copy is reversed.

# %% [markdown]
# ## Two dimensions: one window
#
# In an image, the kernel covers a window of pixels. The **response** of the kernel to the window is the sum
# of the products of what lies at the same place, plus a bias:
#
# $$\text{response} = \sum_{a,b} \text{window}(a, b)\,k(a, b) + \text{bias} .$$
#
# With window and kernel written as two long vectors, that is a dot product plus the bias. In the grids below
# a larger number has a darker cell.

# %%
window = np.array([[200.0, 150, 150], [100, 50, 100], [25, 25, 10]])
vertical_edge = np.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
plots.grids(window, vertical_edge, window * vertical_edge, titles=["window", "kernel", "products"], cell=0.6)

# %% [markdown]
# **Predict.** Add up the nine products before you run the check below: with bias 0, what is the response?

# %% [markdown]
# ### Exercise: the response to one window
#
# Write `window_response(window, kernel, bias)`.
#
# - `window` and `kernel` are float64 arrays of the same shape, not necessarily square; `bias` is a number.
# - Return one number.

# %% tags=["exercise:window_response"]
def window_response(window, kernel, bias):
    """The response of a kernel to one window: sum of products plus bias.

    window (kH, kW) float64; kernel (kH, kW) float64; bias a float.  Returns a float.
    """
    ### BEGIN SOLUTION
    return float((window * kernel).sum() + bias)
    ### END SOLUTION

# %% tags=["check:window_response"]
check("window_response", window_response)

# %%
response = window_response(window, vertical_edge, 0.0)
print(f"response: {response:g} + bias")

# %% [markdown]
# ## Slide the window
#
# Now move the window over the image, one pixel at a time, and write each response where the window is. In
# the formula the corner of the window is at row $r$, column $c$:
#
# $$y(r, c) = \sum_{a=0}^{kH-1} \sum_{b=0}^{kW-1} x(r + a,\, c + b)\;k(a, b) .$$
#
# **Predict.** A 2×2 kernel slides over an image of 4 rows and 5 columns, and stays inside. How many rows and
# columns does the output have?

# %%
small_image = np.array([[3.0, 3, 3, 9, 9], [3, 3, 3, 9, 9], [3, 3, 9, 9, 9], [3, 9, 9, 9, 9]])
step_right = np.array([[-1.0, 1], [-1, 1]])
animation.sliding_window(small_image, step_right, interval=500)

# %% [markdown]
# The window has 4 − 2 + 1 = 3 places from top to bottom and 5 − 2 + 1 = 4 from left to right, so the output is
# 3×4. The kernel answers where the numbers rise to the right, and with 0 where they stay the same.

# %% [markdown]
# ### Exercise: cross-correlation in two dimensions
#
# Write `cross_correlate2d(x, kernel)`, valid.
#
# - `x` has shape (H, W). It is float64 or, like a photograph from a file, integer (uint8).
# - `kernel` is float64 of shape (kH, kW), never larger than `x` in either direction.
# - Return float64 of shape (H − kH + 1, W − kW + 1).
#
# Two loops over the output are enough if each step multiplies a whole window.

# %% tags=["exercise:cross_correlate2d"]
def cross_correlate2d(x, kernel):
    """The valid cross-correlation of an image with a kernel.

    x (H, W) float64 or integer; kernel (kH, kW) float64.  Returns (H - kH + 1, W - kW + 1) float64.
    """
    ### BEGIN SOLUTION
    height, width = kernel.shape
    out = np.zeros((x.shape[0] - height + 1, x.shape[1] - width + 1))
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[r, c] = (x[r:r + height, c:c + width] * kernel).sum()
    return out
    ### END SOLUTION

# %% tags=["check:cross_correlate2d"]
check("cross_correlate2d", cross_correlate2d)

# %% [markdown]
# ## Three ways to write it
#
# Textbooks write the operation in two dimensions in three ways:
#
# 1. a sum over the **image**: $\sum_{p,q} x(p, q)\,k(r - p,\, c - q)$
# 2. a sum over a **centred kernel**: $\sum_{a,b} x(r - a,\, c - b)\,k(a, b)$, where $a$ runs from
#    $-\frac{kH-1}{2}$ to $\frac{kH-1}{2}$, and $b$ likewise with $kW$
# 3. a sum over the kernel **from its corner**: $\sum_{a,b} x(r + a,\, c + b)\,k(a, b)$, where $a$ and $b$
#    start at 0
#
# **Predict.** Two of the three are the same operation. Which one is not, and which sign gives it away?

# %%
x = np.array([[2.0, 7, 1, 8], [2, 8, 1, 8], [2, 8, 4, 5], [9, 0, 4, 5]])
k = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
r, c = 1, 1                                     # a pixel whose neighbours all lie inside x
around = range(-1, 2)                           # k(0, 0) is the centre, so add 1 for Python's index
over_image = sum(x[p, q] * k[r - p + 1, c - q + 1]
                 for p in range(4) for q in range(4) if abs(r - p) <= 1 and abs(c - q) <= 1)
over_kernel = sum(x[r - a, c - b] * k[a + 1, b + 1] for a in around for b in around)
from_corner = sum(x[r - 1 + a, c - 1 + b] * k[a, b] for a in range(3) for b in range(3))
print(f"over the image {over_image:g}, centred kernel {over_kernel:g}, from the corner {from_corner:g}")

# %% [markdown]
# The first two are convolution: one index falls while the other grows. The third, with its plus signs, is
# cross-correlation. The corner is not the cause: the two differ by the direction in which the
# kernel is read, in both of its axes.

# %% [markdown]
# ### Exercise: half a turn
#
# Reading a kernel backwards along both axes rotates it by 180°. Write `rotate180(kernel)`.
#
# - `kernel` is float64 of shape (kH, kW).
# - Return an array of the same shape and dtype. The kernel that was passed in stays as it is.

# %% tags=["exercise:rotate180"]
def rotate180(kernel):
    """The kernel turned by half a turn.

    kernel (kH, kW) float64.  Returns (kH, kW) float64.
    """
    ### BEGIN SOLUTION
    return kernel[::-1, ::-1]
    ### END SOLUTION

# %% tags=["check:rotate180"]
check("rotate180", rotate180)

# %%
plots.grids(k, rotate180(k), k.T, titles=["kernel", "rotated by 180°", "transposed: not the same"])

# %% [markdown]
# Half a turn moves every weight to the opposite place, so 1 and 9 change corners. Transposing leaves both where
# they are.

# %% [markdown]
# ### Exercise: convolution in two dimensions
#
# A convolution is a cross-correlation with the rotated kernel. Write `convolve2d(x, kernel)`, valid.
#
# - `x` is float64 of shape (H, W), `kernel` float64 of shape (kH, kW), never larger than `x`.
# - Return float64 of shape (H − kH + 1, W − kW + 1).
#
# Use the two functions you have just written.

# %% tags=["exercise:convolve2d"]
def convolve2d(x, kernel):
    """The valid convolution of an image with a kernel.

    x (H, W) float64; kernel (kH, kW) float64.  Returns (H - kH + 1, W - kW + 1) float64.
    """
    ### BEGIN SOLUTION
    return cross_correlate2d(x, rotate180(kernel))
    ### END SOLUTION

# %% tags=["check:convolve2d"]
check("convolve2d", convolve2d)

# %% [markdown]
# ## Which one does this function compute?
#
# **Predict.** A *delta image* is 0 everywhere and 1 at one pixel. Both operations get it, with the kernel
# 1 … 9. Which one gives the kernel back upright?

# %%
delta = np.zeros((5, 5))
delta[2, 2] = 1
delta_correlated = cross_correlate2d(delta, k)
delta_convolved = convolve2d(delta, k)
plots.grids(delta, k, delta_correlated, delta_convolved,
            titles=["delta image", "kernel", "cross-correlation", "convolution"])

# %% [markdown]
# **Convolution returns the kernel upright, cross-correlation returns it rotated.** This one call tells you
# which of the two any function computes. The kernel must not look the same after half a turn: with a box or a
# Gaussian you would learn nothing.
#
# `torch.nn.functional.conv2d` returns it rotated. What deep-learning libraries call convolution is
# cross-correlation; `scipy.signal.convolve2d` and `np.convolve` do rotate.

# %% [markdown]
# ## Why libraries skip the flip
#
# In a network nobody writes the kernel by hand; it is learned from examples.
#
# **Predict.** A true convolution with kernel `k` produced the output `y` from the image `x` below. A layer
# that computes cross-correlation now learns from `x` and `y`. Can it reproduce `y` exactly? Which kernel
# will it find?

# %%
rng = np.random.default_rng(0)
x = rng.normal(size=(12, 12))
y = convolve2d(x, k)                                     # (10, 10), made by a convolution
windows = sliding_window_view(x, (3, 3)).reshape(-1, 9)  # (100, 9), what a cross-correlation sees
weights = np.linalg.lstsq(windows, y.ravel())[0]         # (9,), the least squared error
learned = weights.reshape(3, 3)
learning_error = np.abs(cross_correlate2d(x, learned) - y).max()
plots.grids(k, learned, titles=["made the data", "learned"])
print(f"largest error of the learned layer: {learning_error:.1g}")

# %% [markdown]
# It reproduces `y` up to rounding, with the rotated kernel. Whatever one operation can compute, the other can
# compute with the kernel turned round, and learning finds it either way. The flip would be work without
# effect, so libraries leave it out.
#
# Then why keep the word *convolution*, and its theory?
#
# - **Backpropagation.** The gradient of a cross-correlation with respect to its input *is* a convolution, and
#   the other way round (notebook 05).
# - **Algebra.** Convolution can be reordered and regrouped, as the next section shows, and the Fourier
#   transform turns it into a product.
# - **History.** The word comes from signal processing, along with most of the filters below.

# %% [markdown]
# ## What the flip buys: algebra
#
# To compare fairly, take full outputs. Reversing `h` turns your `convolve1d` into a full cross-correlation.
#
# **Predict.** Write $\circ$ for one of the two operations. For which does $u \circ v = v \circ u$ hold? And
# $(u \circ v) \circ w = u \circ (v \circ w)$?

# %%
def correlate1d(x, h):
    """The full cross-correlation: every overlap of x and h counts."""
    return convolve1d(x, h[::-1])

# %%
u, v, w = np.array([1.0, 4, 2]), np.array([3.0, -1, 2]), np.array([2.0, 0, -5])
for name, op in [("convolution", convolve1d), ("cross-correlation", correlate1d)]:
    print(f"{name}\n  u∘v      {op(u, v)}\n  v∘u      {op(v, u)}"
          f"\n  (u∘v)∘w  {op(op(u, v), w)}\n  u∘(v∘w)  {op(u, op(v, w))}")

# %% [markdown]
# Convolution **commutes** and **associates**. Cross-correlation does neither: exchanging its arguments
# reverses the result, and regrouping changes the values.
#
# What does hold is a mixed law. With $\star$ for cross-correlation it reads
# $(x \star h) \star g = x \star (h * g)$: two cross-correlations in a row are one, whose kernel is the
# *convolution* of the two. For images, two 3×3 filters act like one 5×5 filter.

# %%
h, g = rng.integers(-3, 4, (3, 3)).astype(float), rng.integers(-3, 4, (3, 3)).astype(float)
combined = convolve2d(np.pad(h, 2), g)                         # (5, 5), the full convolution of h and g
twice = cross_correlate2d(cross_correlate2d(x, h), g)          # (8, 8)
once = cross_correlate2d(x, combined)                          # (8, 8)
mixed_law_error = np.abs(twice - once).max()
plots.grids(h, g, combined, titles=["h", "g", "h * g"])
print(f"largest difference between two 3x3 filters and one 5x5: {mixed_law_error:.1g}")

# %% [markdown]
# ## In your own words

# %% [markdown] tags=["written:flip:4"]
# A network was trained with library A, which computes true convolutions. Its weights are loaded, unchanged,
# into library B, which computes cross-correlations.
#
# 1. Do the predictions change? For which kernels would they not?
# 2. What has to be done to the weights so that B gives A's predictions?
# 3. Would a network *trained* in B from the start be worse? Why?
# 4. Describe a test with one call that finds out which operation a library computes: the image, the kernel,
#    what to look for. Why would a Gaussian kernel not do?
#
# Answer in one or two sentences each.
#
# <!-- BEGIN SOLUTION -->
# **Answer.**
#
# 1. In general they change, because every kernel now acts as if rotated by 180°. They stay the same only
#    where a kernel equals its own rotation, as a box, a Gaussian or the Laplacian does.
# 2. Rotate every kernel by 180° in its two spatial axes, within each channel; biases and fully connected
#    weights stay.
# 3. No. For every kernel of A there is a kernel of B, the rotated one, with the same outputs. Training finds
#    that one instead; the set of functions the network can compute is the same.
# 4. Give it an image that is 0 but for a single 1, and a kernel that differs from its rotation, such as 1 …
#    9. If the kernel comes back upright it is a convolution, if rotated a cross-correlation. A Gaussian
#    looks the same in both cases.
#
# **Rubric.**
#
# - 1 point: they change in general; unchanged for kernels equal to their rotation by 180° (an example will
#   do; "symmetric" counts if it is clear that half a turn is meant).
# - 1 point: rotate by 180°, which is both spatial axes. Transposing or flipping one axis: 0.
# - 1 point: no, because learning finds the rotated kernel; the two sets of functions are equal.
# - 1 point: ½ for the delta image with a kernel that is not its own rotation, and what to look for; ½ for
#   why a Gaussian cannot tell.
# <!-- END SOLUTION -->

# %% [markdown]
# ## Classical filters
#
# Before kernels were learned, people designed them. Three small ones on a photograph:

# %%
# The mean of each 2x2 block of pixels: half the size, so that your loops take less time.
scene = grey(photo("china"))[:426].reshape(213, 2, 320, 2).mean(axis=(1, 3))      # (213, 320)
tower = scene[5:105, 40:190]                                                      # (100, 150)
box_blur = np.full((5, 5), 0.04)
neighbours = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]) / 4
edges = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]]) / 4
plots.grids(box_blur, neighbours, edges, titles=["5×5 box blur", "mean of 4 neighbours", "pixel minus mean"],
            cell=0.55)

# %% [markdown]
# The box gives each of 25 pixels the weight 1/25 = 0.04. The second kernel replaces a pixel by the **mean of
# its four neighbours**. In the third the pixel **loses** that mean: 1 at the centre, −¼ around it.
#
# **Predict.** What do the weights of each kernel sum to? What does each kernel make of a patch of even sky,
# and which of the three pictures will be almost uniform grey?

# %%
plots.images(tower, cross_correlate2d(tower, box_blur), cross_correlate2d(tower, neighbours),
             titles=["photograph", "5×5 box blur", "mean of 4 neighbours"])
lost = cross_correlate2d(scene, edges)                                            # (211, 318)
plots.images(lost, titles=["pixel minus mean: grey is 0"], height=3.6, vmin=-0.15, vmax=0.15)
print("sums of the weights:", *(f"{kernel.sum():.3g}" for kernel in (box_blur, neighbours, edges)))

# %% [markdown]
# Weights that sum to 1 keep the brightness, so both means are blurred copies. Weights that sum to 0 erase
# whatever is constant, and only edges remain.
#
# **Predict.** What does the third kernel answer on a smooth ramp, where each pixel is brighter than its left
# neighbour by the same amount? And beside a step?

# %%
flat = np.full((3, 8), 5.0)
slope = np.tile(np.arange(8.0), (3, 1))
jump = np.tile([0.0, 0, 0, 0, 8, 8, 8, 8], (3, 1))
on_flat, on_slope, on_jump = (cross_correlate2d(patch, edges)[0] for patch in (flat, slope, jump))
print("flat ", on_flat, "\nslope", on_slope, "\njump ", on_jump)

# %% [markdown]
# The mean of the neighbours equals the pixel on a flat patch and on a steady slope: nothing is left. At a
# jump the answer is negative on the dark side and positive on the bright side. So this edge detector answers
# to *changes of slope*; up to its factor −¼ it is the discrete Laplacian.

# %% [markdown]
# ## Gaussian blur
#
# A box gives a far pixel as much weight as a near one, and then suddenly none. A Gaussian lets the weight
# fall off with the distance $d$ from the centre, in proportion to $e^{-d^2 / 2\sigma^2}$.

# %% [markdown]
# ### Exercise: a Gaussian kernel
#
# Write `gaussian_kernel(size, sigma)`.
#
# - `size` is a whole number from 1 up, odd or even; `sigma` a positive number, in pixels.
# - The centre is at (`size` − 1)/2 in both axes, which for an even size lies between elements.
# - Return float64 of shape (`size`, `size`). Its weights sum to 1.

# %% tags=["exercise:gaussian_kernel"]
def gaussian_kernel(size, sigma):
    """A square Gaussian kernel whose weights sum to 1.

    size an int; sigma a float.  Returns (size, size) float64.
    """
    ### BEGIN SOLUTION
    offsets = np.arange(size) - (size - 1) / 2                    # (size,)
    squares = offsets[:, None] ** 2 + offsets ** 2                # (size, size)
    weights = np.exp(-squares / (2 * sigma ** 2))
    return weights / weights.sum()
    ### END SOLUTION

# %% tags=["check:gaussian_kernel"]
check("gaussian_kernel", gaussian_kernel)

# %% [markdown]
# **Predict.** A white dot, one pixel, is blurred by a 7×7 box and by a Gaussian with the same spread, σ =
# 2. Which shape does the dot take in each case? Where in the photograph will you see the difference?

# %%
box7, gauss13 = np.full((7, 7), 1 / 49), gaussian_kernel(13, 2.0)
middle = scene[90:160, 40:150]                                                   # (70, 110)
for image, name in [(np.pad([[1.0]], 14), "dot"), (middle, "photograph")]:
    by_box = cross_correlate2d(image, box7)[3:-3, 3:-3]                           # the same part as beside it
    by_gauss = cross_correlate2d(image, gauss13)
    plots.images(image[6:-6, 6:-6], by_box, by_gauss, titles=[name, "box 7×7", "Gaussian σ = 2"], height=2.2)

# %% [markdown]
# The dot becomes a square or a round spot: every point of a picture turns into a copy of the (rotated) kernel,
# weighted by its brightness, and the copies add up. Look at the thin bright line below the windows: the box
# turns it into a band with sharp edges, the Gaussian into a line that fades out.
#
# **Predict.** A box convolved with itself is a triangle. What do four boxes convolved in a row look like?

# %%
line = np.full(5, 1 / 5)
lines = [line]
for _ in range(3):
    lines.append(convolve1d(lines[-1], line))
gauss_line = gaussian_kernel(17, np.sqrt(8)).sum(axis=0)  # each box has variance 2, and variances add
fig, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
for n, values in enumerate(lines, start=1):
    ax.plot(np.arange(len(values)) - len(values) // 2, values, "o-", color=str(0.8 - 0.2 * n), markersize=3,
            label=f"{n} box{'es' * (n > 1)}")
ax.plot(np.arange(17) - 8, gauss_line, "--", color="tab:orange", label="Gaussian")
ax.set_xlabel("offset")
ax.legend()
plt.show()
four_boxes_error = np.abs(lines[3] - gauss_line).max()
print(f"largest difference of four boxes from the Gaussian: {four_boxes_error:.3f}")

# %% [markdown]
# Two boxes (grey) make the triangle, four (black) almost the Gaussian (dashed). Blurring again and again with
# any small symmetric kernel of positive weights that sum to 1 approaches a Gaussian blur: the central limit
# theorem, for filters.

# %% [markdown]
# ## Edges
#
# The Sobel kernels measure how fast the image gets brighter to the right, and downwards:
#
# $$S_x = \begin{pmatrix} -1 & 0 & 1 \\ -2 & 0 & 2 \\ -1 & 0 & 1 \end{pmatrix} \qquad
# S_y = \begin{pmatrix} -1 & -2 & -1 \\ 0 & 0 & 0 \\ 1 & 2 & 1 \end{pmatrix}$$
#
# The kernel of the worked example above is $-S_x$, which is also $S_x$ rotated by 180°: for these kernels
# the flip only changes the sign.

# %% [markdown]
# ### Exercise: the magnitude of the gradient
#
# Let $g_x$ and $g_y$ be the valid cross-correlations of the image with $S_x$ and $S_y$. Write
# `sobel_magnitude(x)`, the length of the vector $(g_x, g_y)$ at every pixel: $\sqrt{g_x^2 + g_y^2}$.
#
# - `x` is float64 of shape (H, W), at least 3×3.
# - Return float64 of shape (H − 2, W − 2), without padding or scaling.

# %% tags=["exercise:sobel_magnitude"]
def sobel_magnitude(x):
    """The magnitude of the gradient, from both Sobel kernels.

    x (H, W) float64.  Returns (H - 2, W - 2) float64.
    """
    ### BEGIN SOLUTION
    horizontal = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    gx = cross_correlate2d(x, horizontal)
    gy = cross_correlate2d(x, horizontal.T)
    return np.sqrt(gx ** 2 + gy ** 2)
    ### END SOLUTION

# %% tags=["check:sobel_magnitude"]
check("sobel_magnitude", sobel_magnitude)

# %% [markdown]
# **Predict.** In the picture of $g_x$ an even area is grey, larger values are lighter, smaller ones darker. Does
# the left edge of the bright flower look white or black? And in the magnitude, where an even area is black?

# %%
flower = grey(photo("flower"))[40:400, 150:450].reshape(180, 2, 150, 2).mean(axis=(1, 3))   # (180, 150)
sobel_x = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
gx, gy = cross_correlate2d(flower, sobel_x), cross_correlate2d(flower, sobel_x.T)
plots.images(flower, gx, gy, sobel_magnitude(flower), height=3.2,
             titles=["photograph", r"$g_x$", r"$g_y$", "magnitude"])

# %% [markdown]
# Going right, the image becomes brighter at the left side of the flower (white) and darker at its right side
# (black). The magnitude has no sign and sees edges of every direction.

# %% [markdown]
# ## Separable filters
#
# Sobel's kernel is the product of a column and a row:
#
# $$\begin{pmatrix} 1 \\ 2 \\ 1 \end{pmatrix} \begin{pmatrix} -1 & 0 & 1 \end{pmatrix} =
# \begin{pmatrix} -1 & 0 & 1 \\ -2 & 0 & 2 \\ -1 & 0 & 1 \end{pmatrix}$$
#
# Such a kernel is called **separable**. All its rows are multiples of one row: as a matrix it has rank 1.
#
# **Predict.** Which of these are separable: the 5×5 box, the Gaussian, Sobel, the edge detector with −¼?

# %%
candidates = {"box": box_blur, "Gaussian": gaussian_kernel(13, 2.0), "Sobel": sobel_x, "edge detector": edges}
ranks = {name: int(np.linalg.matrix_rank(kernel)) for name, kernel in candidates.items()}
print("\n".join(f"{name:14}rank {rank}" for name, rank in ranks.items()))

# %% [markdown]
# The edge detector is not separable: its first row, 0, −¼, 0, is no multiple of its second. The others have
# rank 1. A separable filter can be applied in two cheap passes: first along the columns, then along the rows of
# the result.

# %% [markdown]
# ### Exercise: filter in two passes
#
# Write `separable_filter(x, column, row)`, the valid cross-correlation of `x` with the kernel whose weight at
# $(a, b)$ is `column[a] * row[b]`.
#
# - `x` is float64 of shape (H, W), `column` float64 of shape (kH,), `row` float64 of shape (kW,).
# - Return float64 of shape (H − kH + 1, W − kW + 1).
#
# The check accepts any correct result; the point is to do it in two passes.

# %% tags=["exercise:separable_filter"]
def separable_filter(x, column, row):
    """The valid cross-correlation with the product of a column and a row.

    x (H, W) float64; column (kH,) float64; row (kW,) float64.
    Returns (H - kH + 1, W - kW + 1) float64.
    """
    ### BEGIN SOLUTION
    tall = cross_correlate2d(x, column[:, None])         # (H - kH + 1, W)
    return cross_correlate2d(tall, row[None, :])         # (H - kH + 1, W - kW + 1)
    ### END SOLUTION

# %% tags=["check:separable_filter"]
check("separable_filter", separable_filter)

# %% [markdown]
# ### Exercise: what it saves
#
# Count multiplications for a whole image. Write
# `separable_cost(height, width, kernel_height, kernel_width)`.
#
# - All four are whole numbers; the kernel fits into the image.
# - Return a tuple of two ints: the multiplications of the valid cross-correlation with the full kernel, and
#   those of two passes, the **column first**, then the row.
#
# Every output of a pass costs one multiplication for each weight, weights of 0 or 1 included. Mind the size
# of what the first pass produces.

# %% tags=["exercise:separable_cost"]
def separable_cost(height, width, kernel_height, kernel_width):
    """Multiplications of a filter applied directly, and in two passes (column first).

    All arguments ints.  Returns (direct, separable), two ints.
    """
    ### BEGIN SOLUTION
    rows, columns = height - kernel_height + 1, width - kernel_width + 1
    direct = rows * columns * kernel_height * kernel_width
    separable = rows * width * kernel_height + rows * columns * kernel_width
    return direct, separable
    ### END SOLUTION

# %% tags=["check:separable_cost"]
check("separable_cost", separable_cost)

# %% [markdown]
# **Predict.** A 15×15 Gaussian blurs a 427×640 photograph. How many times fewer multiplications do two
# passes need: about 2, 7 or 15? And how does the factor grow with the kernel?

# %%
widths = np.arange(1, 32, 2)
costs = np.array([separable_cost(427, 640, k, k) for k in widths.tolist()])       # (16, 2)
saving = costs[:, 0] / costs[:, 1]
saving_15 = saving[widths == 15].item()
fig, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
ax.plot(widths, saving, "o-", color="0.3", label="427×640 image")
ax.plot(widths, widths / 2, "--", color="tab:orange", label="k / 2")
ax.set(xlabel="kernel size k", ylabel="times fewer")
ax.legend()
plt.show()
print(f"15×15: {costs[7, 0]:,} against {costs[7, 1]:,}, {saving_15:.2f} times fewer")

# %% [markdown]
# Per output pixel it is $k^2$ against about $2k$, so the saving grows like $k/2$. At $k = 1$ the second
# pass only adds work.

# %% [markdown]
# ## A response is a similarity
#
# The response is a dot product of window and kernel, so
#
# $$\text{response} = |\text{window}|\,|\text{kernel}|\,\cos\theta .$$
#
# $|\cdot|$ is the length of a vector, $\theta$ the angle between the two. A kernel is a **template**: the more a
# window looks like it, the smaller the angle and the larger the cosine. Cut an eye out of a portrait and use it
# as the kernel.

# %%
portrait = grey(photo("hopper")).reshape(150, 4, 128, 4).mean(axis=(1, 3))        # (150, 128)
top, left = 42, 44
template = portrait[top:top + 11, left:left + 16]                                 # (11, 16)
fig, axes = plt.subplots(1, 2, figsize=(6, 3.6), layout="constrained", width_ratios=[3, 2])
axes[0].imshow(portrait, cmap="gray")
plots.frame(axes[0], top, left, *template.shape, linewidth=2)
axes[1].imshow(template, cmap="gray")
for ax, title in zip(axes, ["portrait", "template"]):
    ax.set_title(title, fontsize=10)
    ax.axis("off")
plt.show()

# %% [markdown]
# **Predict.** The window in the frame equals the template exactly. Is the largest response there?

# %%
raw = cross_correlate2d(portrait, template)                                       # (140, 113)
centred = cross_correlate2d(portrait, template - template.mean())                 # weights that sum to 0
# The length of every window: the root of the sum of its squares, which is a cross-correlation too.
lengths = np.sqrt(cross_correlate2d(portrait ** 2, np.ones(template.shape)))
cosine = raw / (lengths * np.linalg.norm(template))
maps = {"response": raw, "template minus its mean": centred, "cosine": cosine}
places = {name: tuple(map(int, np.unravel_index(m.argmax(), m.shape))) for name, m in maps.items()}
fig, axes = plt.subplots(1, 3, figsize=(10, 4), layout="constrained")
for ax, (name, values) in zip(axes, maps.items()):
    row, column = places[name]
    ax.imshow(values, cmap="gray")
    ax.plot(column, row, "o", markersize=14, markerfacecolor="none", color="tab:orange", markeredgewidth=2)
    ax.set_title(f"{name}\nlargest at row {row}, column {column}", fontsize=10)
    ax.axis("off")
plt.show()

# %% [markdown]
# A circle marks the maximum of each map; the template was cut at row 42, column 44. The plain response is
# largest on the white of the cap, because a longer window vector raises it too. A template whose weights
# sum to 0 ignores the mean brightness and finds the eye, though a window of stronger contrast could still
# win. Divide by both lengths, and the cosine remains: 1 at the eye and less everywhere else.
#
# A convolutional layer uses the plain response. So "this kernel responds strongly" can mean a good match,
# or a bright window. Normalisation, in notebook 07, can take the brightness out.

# %% [markdown]
# ## The convolution theorem
#
# The Fourier transform describes a signal by the waves it is made of: how much of each frequency, and with which
# phase. The FFT, *fast Fourier transform*, computes it for $n$ samples in about $n \log_2 n$ steps.
#
# It turns a convolution into a product: $\mathcal{F}(f * g) =
# \mathcal{F}(f)\cdot\mathcal{F}(g)$. So there is a second way to convolve: transform both, multiply element
# by element, transform back.
#
# The discrete transform treats a sequence as one period of a periodic one.
#
# **Predict.** For $x = (3, -1, 2)$ and $h = (2, -4)$ the full convolution is 6, −14, 8, −8. Transforms of
# length 3 have room for three results. What becomes of the −8?

# %%
signal, taps = np.array([3.0, -1, 2]), np.array([2.0, -4])
results = {}
for length in (3, 4):
    product = np.fft.fft(signal, length) * np.fft.fft(taps, length)   # fft pads with zeros up to `length`
    results[length] = np.fft.ifft(product).real.round(12)
    print(f"length {length}:", results[length])

# %% [markdown]
# With length 3 the −8 wrapped around and was added to the 6: a *circular* convolution. With length 4 there
# is room for everything.

# %% [markdown]
# ### Exercise: convolution by FFT
#
# Write `fft_convolve2d(x, kernel)`, the **full** convolution, with `np.fft.fft2` and `np.fft.ifft2` (or
# `rfft2` and `irfft2`).
#
# - `x` is float64 of shape (H, W), `kernel` float64 of shape (kH, kW); either may be the larger.
# - Return float64 (not complex) of shape (H + kH − 1, W + kW − 1).

# %% tags=["exercise:fft_convolve2d"]
def fft_convolve2d(x, kernel):
    """The full convolution of an image with a kernel, by Fourier transform.

    x (H, W) float64; kernel (kH, kW) float64.  Returns (H + kH - 1, W + kW - 1) float64.
    """
    ### BEGIN SOLUTION
    shape = (x.shape[0] + kernel.shape[0] - 1, x.shape[1] + kernel.shape[1] - 1)
    product = np.fft.rfft2(x, s=shape) * np.fft.rfft2(kernel, s=shape)
    return np.fft.irfft2(product, s=shape)
    ### END SOLUTION

# %% tags=["check:fft_convolve2d"]
check("fft_convolve2d", fft_convolve2d)

# %%
blur = gaussian_kernel(13, 2.0)
tower_full = convolve2d(np.pad(tower, 12), blur)                      # the full convolution by your loops
fft_error = np.abs(fft_convolve2d(tower, blur) - tower_full).max()
print(f"largest difference between FFT and loops on the photograph: {fft_error:.1g}")

# %% [markdown]
# ## When it wins
#
# To be fair to the direct method, give it NumPy's speed: one shifted copy of the whole image for each weight.

# %%
def direct_convolve2d(x, kernel):
    """The full convolution: a shifted and scaled copy of the image for each weight."""
    (height, width), (rows, columns) = x.shape, kernel.shape
    out = np.zeros((height + rows - 1, width + columns - 1))
    for (a, b), weight in np.ndenumerate(kernel):
        out[a:a + height, b:b + width] += weight * x
    return out


def seconds(function, *arguments):
    """The shortest of three runs: the others were disturbed."""
    runs = []
    for _ in range(3):
        start = time.perf_counter()
        function(*arguments)
        runs.append(time.perf_counter() - start)
    return min(runs)

# %% [markdown]
# **Predict.** On a 250×250 image the kernel grows from 3×3 to 51×51. How does the time of the direct method
# grow with the kernel size $k$? How does the time of the FFT?

# %%
image = rng.normal(size=(250, 250))
ks = [3, 7, 11, 15, 21, 31, 51]        # 250 + k - 1 has no large prime factor, which suits the FFT
times = np.array([[seconds(method, image, rng.normal(size=(k, k)))
                   for method in (direct_convolve2d, fft_convolve2d)] for k in ks])      # (7, 2)
fig, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
ax.loglog(ks, 1000 * times[:, 0], "o-", color="0.3", label="direct")
ax.loglog(ks, 1000 * times[:, 1], "s--", color="tab:orange", label="FFT")
ax.set_xticks(ks, ks, minor=False)
ax.xaxis.minorticks_off()
ax.set(xlabel="kernel size k", ylabel="milliseconds")
ax.legend()
plt.show()
time_ratios = times[:, 0] / times[:, 1]
print("direct / FFT:", ", ".join(f"{k}×{k} {ratio:.1f}" for k, ratio in zip(ks, time_ratios)))

# %% [markdown]
# The times depend on your machine. What stays is the shape: the direct line rises like $k^2$, the FFT line
# hardly rises, so from some kernel size on the FFT wins.

# %% [markdown]
# ### In a layer
#
# A layer has many images, channels and filters. Mathieu, Henaff and LeCun (2014) used the fact that each channel
# of an image and of a filter needs to be transformed only **once**, and each output transformed back once,
# however many pairs are multiplied. Count it, with $4n^2\log_2 n$ multiplications for a transform of $n \times
# n$ and 4 for a complex product. The image's own size is enough for the transforms here: what wraps around
# misses the valid outputs.

# %%
def direct_count(images, channels, filters, n, k):
    """Multiplications of a layer computed directly; images n x n, kernels k x k, valid."""
    return images * channels * filters * (n - k + 1) ** 2 * k ** 2


def fft_count(images, channels, filters, n):
    """Multiplications of the same layer through transforms of n x n, each used as often as possible."""
    transforms = images * channels + channels * filters + images * filters
    return transforms * 4 * n ** 2 * np.log2(n) + images * channels * filters * 4 * n ** 2

# %% [markdown]
# **Predict.** For 32×32 images and 3×3 kernels: does the FFT save multiplications for one image and one
# filter? For a layer with 128 images, 64 channels and 64 filters?

# %%
ratios = {layer: [direct_count(*layer, 32, k) / fft_count(*layer, 32) for k in (3, 5, 7, 11)]
          for layer in [(1, 1, 1), (128, 64, 64)]}
print("images, channels, filters     3×3     5×5     7×7   11×11")
for layer, row in ratios.items():
    print(f"{str(layer):25}" + "".join(f"{ratio:8.2f}" for ratio in row))

# %% [markdown]
# The table shows how many times more multiplications the direct method needs. For one image the FFT does
# not pay, up to 11×11: its three transforms cost too much. In the layer they are shared, and even 3×3
# kernels need fewer multiplications by FFT.
#
# Fewer multiplications is not yet less time. The spectra of small kernels are as large as the image and
# must be stored and moved. Today libraries mostly run small kernels as matrix products (notebooks 04 and
# 17) or with Winograd's minimal filtering (Lavin and Gray, 2016), and keep the FFT for large kernels.

# %% [markdown]
# ## Summary
#
# | | convolution | cross-correlation |
# |---|---|---|
# | 1-D | $\sum_i h_i\,x_{n-i}$ | $\sum_a x_{i+a}\,k_a$ |
# | 2-D | $\sum x(r-a, c-b)\,k(a,b)$ | $\sum x(r+a, c+b)\,k(a,b)$ |
# | kernel | rotated by 180° | as it is |
# | delta image gives | the kernel upright | the kernel rotated |
# | commutes, associates | yes | no |
# | who computes it | `np.convolve`, `scipy.signal.convolve2d` | `torch.nn.Conv2d`, `np.correlate` |
#
# | fact | value |
# |---|---|
# | output size, valid | (H − kH + 1) × (W − kW + 1) |
# | output size, full | (H + kH − 1) × (W + kW − 1) |
# | blur: weights sum to | 1 |
# | edges: weights sum to | 0 |
# | separable (rank 1), per pixel | about 2k in place of k² multiplications |
# | FFT | time hardly depends on k; pad, or it wraps around |

# %% [markdown]
# ## Where to read more
#
# - James Cooley and John Tukey, *An algorithm for the machine calculation of complex Fourier series*, 1965:
#   the FFT.
# - David Marr and Ellen Hildreth, *Theory of edge detection*, 1980: Gaussians, Laplacians and what edges are for.
# - Yann LeCun, Léon Bottou, Yoshua Bengio and Patrick Haffner, *Gradient-based learning applied to document
#   recognition*, 1998: learned kernels in place of designed ones.
# - Michael Mathieu, Mikael Henaff and Yann LeCun, *Fast training of convolutional networks through FFTs*, 2014.
# - Andrew Lavin and Scott Gray, *Fast algorithms for convolutional neural networks*, 2016: Winograd's filtering
#   for small kernels.
# - Ian Goodfellow, Yoshua Bengio and Aaron Courville, *Deep learning*, 2016, chapter 9: says plainly that
#   libraries cross-correlate.
