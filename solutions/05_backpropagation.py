# %% [markdown]
# # 05 Backpropagation through convolution
#
# Notebooks 02 to 04 computed what a convolution layer answers. To learn, the layer must also find out how its
# answer should have been different, and which weights and pixels are to blame. That runs backwards through the
# same products, and turns out to be convolution again.

# %% [markdown]
# ## What you will be able to do
#
# - send a gradient backwards through sums, products and maxima, also where a value is used twice;
# - derive both gradients of a convolution from its indices, and have the derivation checked symbol by symbol;
# - say why one gradient is a cross-correlation and the other a convolution;
# - handle channels, batches, bias, padding, stride and pixels that no window reads;
# - check a gradient numerically, and know what such a check cannot see;
# - find typical bugs of a backward pass by their symptoms;
# - write a convolution layer that can be trained.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cnnlab import animation, check, hint, plots, symbolic, widgets
from cnnlab.data import grey, photo

# %% [markdown]
# ## Backwards, gate by gate
#
# Training a network means making one number small, the **loss** $L$. For every value $v$ on the way to $L$ we
# want $\partial L/\partial v$: how fast $L$ grows when $v$ grows a little. It is called the gradient of $v$.
#
# The chain rule finds all of them in one walk from the end to the beginning (Rumelhart, Hinton and Williams,
# 1986). Each operation, or **gate**, is handed the gradient of its output, the **upstream gradient**. It
# multiplies that by its own derivative, and hands the product on to its inputs. No gate needs to know the rest
# of the network.

# %% [markdown]
# A small example has three kinds of gate: $f = 2\,(xy + \max(z, w))$.

# %%
nodes = {"x": (0, 3.2, "x"), "y": (0, 2.1, "y"), "z": (0, 1.1, "z"), "w": (0, 0, "w"), "times": (1.5, 2.65, " × "),
         "max": (1.5, 0.55, "max"), "plus": (3, 1.6, " + "), "double": (4.5, 1.6, "× 2"), "f": (6, 1.6, "f")}
starts_ends = [("x", "times"), ("y", "times"), ("z", "max"), ("w", "max"), ("times", "plus"), ("max", "plus"),
               ("plus", "double"), ("double", "f")]
values = [2, -3, 1, 4, -6, 4, -2, -4]
fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
plots.flow(ax, nodes, [(*wire, value, None) for wire, value in zip(starts_ends, values)])
plt.show()

# %% [markdown]
# Forwards, from left to right: 2 · (−3) = −6, the larger of 1 and 4 is 4, their sum is −2, doubled −4.
#
# **Predict.** Increase one input by 0.01 and leave the others. By how much does $f$ change if it is $w$? If it
# is $z$? If it is $x$?

# %% [markdown]
# ### Exercise: the gates
#
# Write `gate_gradients(x, y, z, w, upstream)` for $f = 2\,(xy + \max(z, w))$.
#
# - All five arguments are numbers. $f$ is a part of a longer computation; `upstream` is $\partial L/\partial f$.
# - Return a tuple of four numbers: the gradients of $L$ with respect to x, y, z and w, in this order.
# - If z = w, the whole gradient of the maximum goes to z.
#
# If you are stuck, run `hint("gate_gradients")` in a cell of your own, and again for more.

# %% tags=["exercise:gate_gradients"]
def gate_gradients(x, y, z, w, upstream):
    """The gradients of L with respect to the inputs of f = 2 (x y + max(z, w)).

    x, y, z, w, upstream numbers; upstream is dL/df.  Returns four numbers, for x, y, z and w.
    """
    ### BEGIN SOLUTION
    of_sum = 2 * upstream
    z_wins = z >= w
    return y * of_sum, x * of_sum, of_sum * z_wins, of_sum * (not z_wins)
    ### END SOLUTION

# %% tags=["check:gate_gradients"]
check("gate_gradients", gate_gradients)

# %%
gradients = [*gate_gradients(2, -3, 1, 4, upstream=1), 2, 2, 2, 1]
fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
plots.flow(ax, nodes, [(*wire, value, slope) for wire, value, slope in zip(starts_ends, values, gradients)])
ax.text(4.5, 3.1, "above: value\nbelow, slanted: gradient", ha="center", fontsize=10)
plt.show()

# %% [markdown]
# Read the slanted numbers from right to left. Each kind of gate has a pattern:
#
# - **Add distributes.** The 2 that arrives goes to both inputs unchanged.
# - **Max routes.** The larger input gets all of it, the other gets 0: a little more $z$ changes nothing.
# - **Multiply switches.** Each input gets the upstream gradient times the *other* input: −3 · 2 for $x$, 2 · 2
#   for $y$.
#
# So $f$ changes by 0.02 for $w$, by 0 for $z$, and by −0.06 for $x$.

# %% [markdown]
# ## A value that is used twice
#
# In the example every value has one use. Real layers reuse everything: here is one with a **skip connection**,
# as in notebook 13, whose input goes two ways:
#
# $$y = x + \max(h, 0), \qquad h = a\,x + b .$$
#
# `x`, `h` and `y` are arrays; the numbers `a` and `b` are used by every element. We write `dy` for the array of
# all $\partial L/\partial y$, and likewise `dx`, `da`, `db`.

# %% [markdown]
# If $v$ is used in two places, a change of $v$ acts along both ways, and the changes of $L$ **add up**. So at a
# fork the gradients are summed.
#
# **Predict.** Along which ways does `x` act on `y`? How many numbers are summed up for `a`?

# %% [markdown]
# Backward runs after forward, and needs some of its values: multiply needs the other input, max needs to know
# who won. So **layers keep what backward needs**. That is why training takes more memory than using a network.
#
# Here is a backward pass for the layer, with **two bugs**.

# %%
def skip_forward(x, a, b):
    """y = x + max(a x + b, 0), for each element."""
    return x + np.maximum(a * x + b, 0)


def broken_skip_backward(x, a, b, dy):
    """The gradients of x, a and b, with two bugs."""
    dx = dy                                    # along the skip
    mask = x > 0                               # where the maximum lets the gradient through
    dx = a * (mask * dy)                       # along the other way
    return dx, float((x * mask * dy).sum()), float((mask * dy).sum())

# %% [markdown]
# A gradient can always be measured: change one element a little, up and down, and see how $L$ moves. For an
# upstream gradient `dy` that does not change, $L = \sum \text{dy}\cdot y$ has just this upstream gradient.

# %%
def slopes(loss, x, step=1e-3):
    """How fast loss(x) grows with each element of x, measured by small steps: an array like x."""
    found = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        nudge = np.zeros(x.shape)
        nudge[place] = step
        found[place] = (loss(x + nudge) - loss(x - nudge)) / (2 * step)
    return found

# %%
x, a, b, dy = np.array([-3.0, -1, 0.5, 2, -0.5]), 2.0, 1.5, np.array([1.0, -2, 3, 1, 2])
measured = slopes(lambda v: (dy * skip_forward(v, a, b)).sum(), x)
broken = broken_skip_backward(x, a, b, dy)[0] + 0                    # + 0 makes −0 a plain 0
plots.grids(*(row[None] for row in (x, a * x + b, dy, measured, broken)),
            titles=["x", "h", "dy", "dx, measured", "dx, broken"])

# %% [markdown]
# **Symptoms.** No element of the broken `dx` is right. In the first two columns, where `h` is negative, the
# measured `dx` is `dy` itself, for only the skip is left; the broken one is 0. In the next two it is too small. In
# the last column `h` is positive and both ways count, yet the broken one is 0 again.

# %% [markdown]
# ### Exercise: find the bugs (skip)
#
# Write `skip_backward(x, a, b, dy)`, the mended function.
#
# - `x` and `dy` are float64 arrays of the same shape, `a` and `b` floats.
# - Return `(dx, da, db)`: a float64 array like `x`, and two numbers.
# - Where $h$ is exactly 0, no gradient goes through the maximum.
#
# Do not change `x` or `dy`.

# %% tags=["exercise:skip_backward"]
def skip_backward(x, a, b, dy):
    """The gradients of y = x + max(a x + b, 0).

    x, dy float64 arrays of one shape; a, b floats.  Returns (dx, da, db): an array like x, two numbers.
    """
    ### BEGIN SOLUTION
    dh = dy * (a * x + b > 0)
    return dy + a * dh, (x * dh).sum(), dh.sum()
    ### END SOLUTION

# %% tags=["check:skip_backward"]
check("skip_backward", skip_backward)

# %%
mended = skip_backward(x, a, b, dy)
measured_a = slopes(lambda v: (dy * skip_forward(x, v, b)).sum(), np.array(a))
plots.grids(measured[None], mended[0][None], titles=["dx, measured", "dx, mended"])
print(f"da: measured {measured_a:.4f}, computed {mended[1]:.4f}, a sum of {x.size} terms")

# %% [markdown]
# Both agree now. Remember two things from this layer, for everything below rests on them. The value `x` has two
# uses, so its gradient has two terms. The number `a` is **shared** by all elements, so its gradient is a sum
# over all elements. A convolution shares its weights too, and its windows overlap.

# %% [markdown]
# ## Which product belongs to which gradient
#
# One channel, stride 1, no padding:
#
# $$y(r, c) = \sum_{a,b} x(r + a,\, c + b)\;k(a, b) .$$
#
# Only sums and products, so the patterns suffice. Take one weight, $k(a, b)$. In which outputs does it occur? In
# all of them, once each. Multiply switches: from $y(r, c)$ the weight gets $\partial L/\partial y(r, c)$ times
# the pixel it meets there. Add these up over all outputs.

# %% [markdown]
# ### Exercise: indices for the kernel
#
# $$\frac{\partial L}{\partial k(a, b)} = \sum_{r,c} \text{dy}(\,?\,)\;x(\,?\,)$$
#
# Write `kernel_indices(a, b, r, c)`, which fills in the question marks.
#
# - All arguments are whole numbers: the weight at (a, b), the output at (r, c).
# - Return two pairs, `(row, column), (row, column)`: which element of `dy` and which pixel of `x` are
#   multiplied in this term.
#
# One line without `if` will do; it must also work with symbols in place of numbers.

# %% tags=["exercise:kernel_indices"]
def kernel_indices(a, b, r, c):
    """Which element of dy and which pixel of x meet, at output (r, c), in the gradient of k(a, b).

    a, b, r, c ints.  Returns two pairs: (row, column) in dy, (row, column) in x.
    """
    ### BEGIN SOLUTION
    return (r, c), (r + a, c + b)
    ### END SOLUTION

# %% tags=["check:kernel_indices"]
check("kernel_indices", kernel_indices)

# %% [markdown]
# Now let a machine that knows nothing of patterns do the derivation. SymPy writes out $L = \sum \text{dy}\cdot y$
# for an image of 3×4 and a kernel of 2×2 with a symbol for every number, differentiates it, and sets the terms
# beside yours.

# %%
symbolic.kernel_derivative(kernel_indices, a=1, b=0)

# %% [markdown]
# Six outputs, so six terms. Each row of the table is a product that SymPy found, and 1 in both columns means that
# your sum has it once too. Change a sign in your function, run both cells again, and see which terms go missing.

# %% [markdown]
# Now the input. Take one pixel and call its place (r, c). It is read by several windows: in each of them it meets
# another weight.
#
# **Predict.** Which window reads the pixel (r, c) with its first weight, $k(0, 0)$? Where does the window lie
# that reads it with $k(1, 0)$: further up or further down?

# %% [markdown]
# ### Exercise: indices for the input
#
# $$\frac{\partial L}{\partial x(r, c)} = \sum_{a,b} \text{dy}(\,?\,)\;k(\,?\,)$$
#
# Write `input_indices(r, c, a, b)`.
#
# - All arguments are whole numbers: the pixel at (r, c), and the weight (a, b) it meets.
# - Return two pairs, `(row, column), (row, column)`: which element of `dy` and which weight of `k` are
#   multiplied in this term.
# - An index may come out negative or too large. There is no such output, and the sum leaves the term out; your
#   function need not care.

# %% tags=["exercise:input_indices"]
def input_indices(r, c, a, b):
    """Which element of dy and which weight meet, at weight (a, b), in the gradient of x(r, c).

    r, c, a, b ints.  Returns two pairs: (row, column) in dy, (row, column) in k.
    """
    ### BEGIN SOLUTION
    return (r - a, c - b), (a, b)
    ### END SOLUTION

# %% tags=["check:input_indices"]
check("input_indices", input_indices)

# %% [markdown]
# **Predict.** In the middle of the image a pixel has four terms for a kernel of 2×2. How many has the pixel in
# the top right corner, (0, 3)?

# %%
symbolic.input_derivative(input_indices, r=1, c=2)

# %%
symbolic.input_derivative(input_indices, r=0, c=3)

# %% [markdown]
# Four, and one: a single window reads the corner. It is the coverage of notebook 03 again.
#
# As a derivative, the step you took is $\partial y(r - a,\, c - b)\,/\,\partial x(r, c) = k(a, b)$: the window that
# meets the pixel with the weight (a, b) lies a rows further up and b columns further left.

# %% [markdown]
# **Predict.** A frequent first guess has plus signs, dy(r + a, c + b) · k(a, b). Which of the four terms does it get
# right? Here is its table, on an image of 4×5.

# %%
symbolic.input_derivative(lambda r, c, a, b: ((r + a, c + b), (a, b)), r=1, c=2, size=(4, 5))

# %% [markdown]
# Only the one with a = b = 0, where the sign does not matter. The others belong to windows that do not contain the
# pixel at all.

# %% [markdown]
# ## The duality
#
# Both results in full:
#
# $$\frac{\partial L}{\partial k(a, b)} = \sum_{r,c} \text{dy}(r, c)\;x(r + a,\, c + b), \qquad
# \frac{\partial L}{\partial x(r, c)} = \sum_{a,b} \text{dy}(r - a,\, c - b)\;k(a, b) .$$
#
# Look at the signs, as in notebook 02. In the first the indices grow together: a **cross-correlation** of the
# input with `dy`, which takes the place of the kernel. In the second one index falls while the other grows: a
# **convolution** of `dy` with the kernel. The layer cross-correlates forwards and convolves backwards. Had it
# convolved forwards, it would cross-correlate backwards.

# %%
image = np.array([[2, 0, 1, 3, 1], [1, 3, 2, 0, 2], [0, 2, 4, 1, 0], [1, 0, 2, 2, 3]])
fig, axes = plt.subplots(1, 4, figsize=(10, 2.7), layout="constrained", width_ratios=[5, 4, 5, 4])
titles = ["x: pixels that meet k(1, 0)", "dy: all outputs", "x: one pixel, (2, 3)", "dy: outputs that read it"]
touched = [(1, 0, 3, 4), (0, 0, 3, 4), (2, 3, 1, 1), (1, 2, 2, 2)]
upstream = np.array([[1, -1, 2, 0], [0, 1, -2, 1], [3, 0, 1, -1]])
for ax, numbers, title, place in zip(axes, [image, upstream] * 2, titles, touched):
    plots.grid(ax, numbers, title, vmin=-4, vmax=4)
    plots.frame(ax, *place, clip_on=False)
plt.show()

# %% [markdown]
# For a 2×2 kernel: a weight meets nearly the whole image and **all** outputs (left), so its gradient is a long
# sum. A pixel touches a **neighbourhood** of outputs, as large as the kernel (right), so its gradient is a short
# one.
#
# There is only one set of products, though. Each is made of one output, one weight and one pixel. Step through
# them below. Every step takes one such triple and adds a product to each of the three results; the heavy frames
# are the triple, the dashed ones the windows.

# %%
animation.three_convolutions(np.array([[1, 2, 0, 1], [0, 1, 3, -1], [2, 0, 1, 1]]), np.array([[1, 2], [0, -1]]),
                             np.array([[1, 0, -1], [2, 1, 0]]))

# %% [markdown]
# The top row collects by output, the middle row by weight, the bottom row by pixel. In the bottom row the
# kernel is rotated and `dy` has a ring of zeros: there the sum over a and b has become a sliding window again.
# We come back to it.

# %% [markdown]
# ## The gradients of weights and bias
#
# With a batch and channels, more is shared. Filter o is used for every image n and at every position; each of its
# slices reads one input channel i:
#
# $$\frac{\partial L}{\partial W(o, i, a, b)} = \sum_{n,r,c} \text{dy}(n, o, r, c)\;x(n, i, r + a, c + b), \qquad
# \frac{\partial L}{\partial \text{bias}(o)} = \sum_{n,r,c} \text{dy}(n, o, r, c) .$$
#
# Nothing is averaged here. If the loss is a mean over the batch, as it usually is, then the factor 1/N is already
# in `dy`.
#
# **Predict.** Suppose `dy` is 1 everywhere, with N = 2 and maps of 3×4. What is the gradient of each bias?

# %% [markdown]
# ### Exercise: the gradients of weights and bias
#
# Write `weight_gradient(x, dy)` for a layer with stride 1 and no padding.
#
# - `x` (N, C_in, H, W) and `dy` (N, C_out, H_out, W_out), float64. The size of the kernel follows from them.
# - Return `(grad_weight, grad_bias)`, float64 of shapes (C_out, C_in, kH, kW) and (C_out,).
#
# Loops are fine.

# %% tags=["exercise:weight_gradient"]
def weight_gradient(x, dy):
    """The gradients of the weights and biases of a convolution layer with stride 1 and no padding.

    x (N, C_in, H, W), dy (N, C_out, H_out, W_out), both float64.
    Returns grad_weight (C_out, C_in, kH, kW) and grad_bias (C_out,), both float64.
    """
    ### BEGIN SOLUTION
    (H, W), (H_out, W_out) = x.shape[2:], dy.shape[2:]
    grad_weight = np.zeros((dy.shape[1], x.shape[1], H - H_out + 1, W - W_out + 1))
    for a, b in np.ndindex(grad_weight.shape[2:]):
        met = x[:, :, a:a + H_out, b:b + W_out]                     # (N, C_in, H_out, W_out)
        grad_weight[:, :, a, b] = np.einsum("norc,nirc->oi", dy, met)
    return grad_weight, dy.sum(axis=(0, 2, 3))
    ### END SOLUTION

# %% tags=["check:weight_gradient"]
check("weight_gradient", weight_gradient)

# %%
ones_weight, ones_bias = weight_gradient(np.ones((2, 1, 4, 6)), np.ones((2, 1, 3, 4)))
print(f"dy all ones: the gradient of the bias is {ones_bias[0]:g}")

# %% [markdown]
# 2 · 3 · 4 = 24: every output of every image counts.

# %% [markdown]
# ## The gradient of the input, by stamping
#
# There are two ways to compute `dx`. The first goes from output to output and hands out: output (r, c) gives to
# each pixel of its window what the weight there demands. It **stamps** `dy(r, c)` times the kernel onto `dx`, at
# the place it was read from.
#
# The following function does so for whole batches, with a forward pass to go with it. It has **two bugs**.

# %%
def correlate(x, weight):
    """Cross-correlate at stride 1: (N, C_in, H, W) with (C_out, C_in, kH, kW) to (N, C_out, H_out, W_out)."""
    windows = sliding_window_view(x, weight.shape[2:], axis=(2, 3))      # (N, C_in, H_out, W_out, kH, kW)
    return np.einsum("nircab,oiab->norc", windows, weight, optimize=True)


def broken_input_gradient(weight, dy):
    """dx (N, C_in, H, W) from weight (C_out, C_in, kH, kW) and dy (N, C_out, H_out, W_out), with two bugs."""
    kH, kW = weight.shape[2:]
    H_out, W_out = dy.shape[2:]
    rotated = weight[:, :, ::-1, ::-1]                                   # backward convolves
    dx = np.zeros((len(dy), weight.shape[1], H_out + kH - 1, W_out + kW - 1))
    for r in range(H_out):
        for c in range(W_out):
            stamp = np.tensordot(dy[:, :, r, c], rotated, axes=1)        # (N, C_in, kH, kW)
            dx[:, :, r:r + kH, c:c + kW] = stamp
    return dx

# %% [markdown]
# Two inputs make it easy to see what a backward pass does. With a kernel of ones and `dy` of ones, `dx` must be
# the coverage of notebook 03. With a single 1 in `dy`, exactly one stamp remains.
#
# **Predict.** A kernel of 3×3 and `dy` of 3×3: how large is `dx`, and what are its corner and its middle in the
# first test?

# %%
ones, one = np.ones((1, 1, 3, 3)), np.zeros((1, 1, 3, 3))
one[0, 0, 0, 1] = 1
counting = np.arange(1.0, 10).reshape(1, 1, 3, 3)
all_ones = broken_input_gradient(ones, ones)[0, 0]
single = broken_input_gradient(counting, one)[0, 0]
measured_single = slopes(lambda v: (one * correlate(v, counting)).sum(), np.zeros((1, 1, 5, 5)))[0, 0]
cover = np.array([1, 2, 3, 2, 1])
plots.grids(np.outer(cover, cover), all_ones, titles=["coverage", "broken, all ones"], vmin=0, vmax=9)
plots.grids(measured_single, single, titles=["measured", "broken, a single 1"], vmin=0, vmax=9)

# %% [markdown]
# **Symptoms.** First row: 1 everywhere, instead of a middle of 9. Second row: `dy` is 1 at row 0, column 1, and 0
# elsewhere. The measured `dx` has the kernel, upright, where that window lies. The broken one has something else
# in that place, and not much of it. Mend one bug, look again, and the other shows more clearly.

# %% [markdown]
# ### Exercise: find the bugs (stamping)
#
# Write `input_gradient(weight, dy)`, the mended function, for stride 1 and no padding.
#
# - `weight` (C_out, C_in, kH, kW) and `dy` (N, C_out, H_out, W_out), float64.
# - Return `dx`, float64 of shape (N, C_in, H_out + kH − 1, W_out + kW − 1).
#
# You may start from the broken function or afresh.

# %% tags=["exercise:input_gradient"]
def input_gradient(weight, dy):
    """The gradient of the input of a convolution layer with stride 1 and no padding.

    weight (C_out, C_in, kH, kW), dy (N, C_out, H_out, W_out), both float64.
    Returns (N, C_in, H_out + kH - 1, W_out + kW - 1) float64.
    """
    ### BEGIN SOLUTION
    kH, kW = weight.shape[2:]
    (N, _, H_out, W_out), C_in = dy.shape, weight.shape[1]
    dx = np.zeros((N, C_in, H_out + kH - 1, W_out + kW - 1))
    for r, c in np.ndindex(H_out, W_out):
        dx[:, :, r:r + kH, c:c + kW] += np.tensordot(dy[:, :, r, c], weight, axes=1)
    return dx
    ### END SOLUTION

# %% tags=["check:input_gradient"]
check("input_gradient", input_gradient)

# %%
plots.grids(input_gradient(ones, ones)[0, 0], input_gradient(counting, one)[0, 0],
            titles=["mended, all ones", "mended, a single 1"])

# %% [markdown]
# Stamping needs no rotation: forwards the window is read with the upright kernel, and backwards each pixel gets its
# own weight's share. A pixel under several stamps gets their **sum**. The rotation appears when you ask from the
# side of the pixel, which is the second way.

# %% [markdown]
# ## The gradient of the input, as a full convolution
#
# The second way goes from pixel to pixel and collects: pixel (r, c) asks every output that read it. Those
# outputs lie at (r − a, c − b), so as a and b grow, the window in `dy` is walked *backwards*. Rotate the kernel
# and it is walked forwards: a cross-correlation of `dy` with the **rotated** kernel.
#
# At the border some of these outputs do not exist. Zeros take their place, and the output of such a convolution
# is larger than its input: a **full** convolution, as in notebook 02.

# %% [markdown]
# With channels, the gradient of input channel i collects from all filters o. So in this backward layer C_out
# channels go in and C_in come out.
#
# **Predict.** How many rows of zeros are needed on each side of `dy`, for a kernel with kH rows?

# %% [markdown]
# ### Exercise: the operands of the full convolution
#
# Write `full_convolution(weight, dy)`. It returns two arrays, `(padded, kernel)`, such that
# `correlate(padded, kernel)` is `dx`.
#
# - `weight` (C_out, C_in, kH, kW) and `dy` (N, C_out, H_out, W_out), float64.
# - `padded` is `dy` with as many zeros above, below, left and right as needed, and no more.
# - `kernel` has the shape that `correlate` expects of a layer from C_out to C_in channels. It is made of the
#   numbers of `weight`.
#
# No loop is needed.

# %% tags=["exercise:full_convolution"]
def full_convolution(weight, dy):
    """The two operands whose cross-correlation at stride 1 is the gradient of a layer's input.

    weight (C_out, C_in, kH, kW), dy (N, C_out, H_out, W_out), both float64.  Returns (padded, kernel), float64.
    """
    ### BEGIN SOLUTION
    kH, kW = weight.shape[2:]
    padded = np.pad(dy, ((0, 0), (0, 0), (kH - 1, kH - 1), (kW - 1, kW - 1)))
    return padded, weight[:, :, ::-1, ::-1].swapaxes(0, 1)
    ### END SOLUTION

# %% tags=["check:full_convolution"]
check("full_convolution", full_convolution)

# %%
rng = np.random.default_rng(5)
weight = rng.normal(size=(4, 3, 2, 3))                               # (C_out, C_in, kH, kW)
dy = rng.normal(size=(2, 4, 5, 6))                                   # (N, C_out, H_out, W_out)
stamped = input_gradient(weight, dy)                                 # (2, 3, 6, 8)
collected = correlate(*full_convolution(weight, dy))                 # (2, 3, 6, 8)
two_ways_error = np.abs(stamped - collected).max()
print(f"stamped {stamped.shape}, collected {collected.shape}, largest difference {two_ways_error:.1g}")

# %% [markdown]
# The same numbers by two ways. kH − 1 rows of zeros make an output of H_out + kH − 1 rows, which is H again. To
# hand out or to collect is a choice of the programmer; on a GPU one collects, because then no two workers write to
# the same place (notebook 18).

# %% [markdown]
# ## The same thing as a matrix
#
# Notebook 01 wrote a convolution as $y = T x$, with a banded matrix. For any product with a matrix, the chain rule
# gives $\text{dx} = T^\top\,\text{dy}$.
#
# **Predict.** Each row of $T$ holds the kernel, once. What does each row of $T^\top$ hold?

# %%
def as_matrix(forward, size):
    """The matrix of a linear map of `size` numbers, one column for each unit vector."""
    return np.stack([forward(unit) for unit in np.eye(size)], axis=1)


def three_weights(row, stride=1):
    """Cross-correlate a row of pixels with the kernel 1, 2, 3, without padding."""
    return correlate(row.reshape(1, 1, 1, -1), np.array([1.0, 2, 3]).reshape(1, 1, 1, 3)).ravel()[::stride]

# %%
T = as_matrix(three_weights, 5)                                      # (3, 5)
plots.grids(T, T.T, titles=["T, from 5 pixels to 3 outputs", "T transposed"], vmin=0, vmax=3)

# %% [markdown]
# In $T$ the kernel 1, 2, 3 runs along the rows, one step further in each: reading windows. In $T^\top$ it
# runs **down** the columns, which is stamping. Along a row of $T^\top$ stands 3, 2, 1, the rotated kernel,
# cut off at the border: collecting. Both ways of computing `dx` are there, depending on how you read it.

# %%
weight_2d, dy_2d = rng.normal(size=(1, 1, 2, 3)), rng.normal(size=(1, 1, 3, 3))
T_2d = as_matrix(lambda v: correlate(v.reshape(1, 1, 4, 5), weight_2d).ravel(), 20)     # (9, 20)
transposed_error = np.abs(T_2d.T @ dy_2d.ravel() - input_gradient(weight_2d, dy_2d).ravel()).max()
x_2d = rng.normal(size=(1, 1, 4, 5))
forwards = (correlate(x_2d, weight_2d) * dy_2d).sum()
backwards = (x_2d * input_gradient(weight_2d, dy_2d)).sum()
print(f"difference from the transposed matrix {transposed_error:.1g}")
print(f"⟨Tx, dy⟩ = {forwards:.12f}\n⟨x, Tᵀdy⟩ = {backwards:.12f}")

# %% [markdown]
# In two dimensions too. The second pair of numbers is the test of notebook 04 for an adjoint: multiply either the
# outputs with `dy` or the inputs with `dx`, and the sum is the same.
#
# A layer whose *forward* pass is this $T^\top$ is called a **transposed convolution**. It makes maps larger
# and comes back in notebook 15. Some texts say "deconvolution", but it does not undo a convolution:
# $T^\top T$ is not the identity.

# %% [markdown]
# ## Checking a gradient
#
# A backward pass with a wrong sign does not crash. The network just learns badly. So every backward pass is
# compared with measured slopes before it is used.
#
# Measuring each element by itself, as `slopes` does, takes two forward passes for each. One **direction** $u$, an
# array like $x$ of random numbers, tests all elements at once:
#
# $$\frac{L(x + hu) - L(x - hu)}{2h} \approx \sum_i \frac{\partial L}{\partial x_i}\,u_i .$$
#
# The left side is the measured slope along $u$ for the step $h$, the right side the slope that the gradient
# claims. If the gradient is wrong anywhere, a random direction shows it, almost surely.

# %%
def half_squares(x, weight, target):
    """A loss: half the sum of squared differences between the layer's output and a target."""
    return 0.5 * ((correlate(x, weight) - target) ** 2).sum()

# %% [markdown]
# ### Exercise: two slopes
#
# Write `two_slopes(x, weight, target, gradient, direction, step)` for the loss `half_squares(x, weight, target)`
# above, which you may call.
#
# - `x`, `gradient` and `direction` have the same shape, (N, C_in, H, W); `weight` and `target` fit `x`; all are
#   float64; `step` is a positive float, the $h$ of the formula.
# - `gradient` is what some backward pass claims to be the gradient of `x`. It may be wrong.
# - Return two numbers, `(measured, claimed)`: the left and the right side of the formula.
#
# Use `direction` as it is, and leave all inputs unchanged.

# %% tags=["exercise:two_slopes"]
def two_slopes(x, weight, target, gradient, direction, step):
    """The slope of half_squares along a direction, measured by a central difference, and as claimed.

    x, gradient, direction (N, C_in, H, W), weight (C_out, C_in, kH, kW), target (N, C_out, H_out, W_out), all
    float64; step a float.  Returns (measured, claimed), two numbers.
    """
    ### BEGIN SOLUTION
    ahead = half_squares(x + step * direction, weight, target)
    behind = half_squares(x - step * direction, weight, target)
    return (ahead - behind) / (2 * step), (gradient * direction).sum()
    ### END SOLUTION

# %% tags=["check:two_slopes"]
check("two_slopes", two_slopes)

# %%
x, target, direction = rng.normal(size=(2, 3, 6, 8)), rng.normal(size=dy.shape), rng.normal(size=(2, 3, 6, 8))
claims = {"right": input_gradient(weight, correlate(x, weight) - target)}
claims["one element off by 1 %"] = claims["right"] * (1 + 0.01 * (np.arange(288) == 100).reshape(x.shape))
claims["broken"] = broken_input_gradient(weight, correlate(x, weight) - target)
slope_errors = {}
for name, claim in claims.items():
    along, claimed = two_slopes(x, weight, target, claim, direction, step=1.0)
    slope_errors[name] = abs(along - claimed) / abs(along)
    print(f"{name:24} measured {along:.6f}, claimed {claimed:.6f}, relative error {slope_errors[name]:.1g}")

# %% [markdown]
# A right gradient agrees to about fifteen digits. An error of 1 % in a single one of 288 elements already shows in
# the fourth, and broken code in the first.

# %% [markdown]
# ### How large a step?
#
# The step above was 1. Advice for gradient checks usually says 1e-5 or so.
#
# **Predict.** The smaller the step, the closer a central difference comes to a derivative, in exact arithmetic.
# What happens in floating-point numbers? And does a convolution need a small step at all?

# %%
def slope_error(loss, gradient, x, direction, step):
    """The relative error of the slope that is measured along a direction, against the one that is claimed."""
    claimed = float((gradient * direction).sum())
    return abs(float(loss(x + step * direction) - loss(x - step * direction)) / (2 * step) / claimed - 1)

# %%
steps, directions = [10.0 ** e for e in range(-12, 4)], rng.normal(size=(10, *x.shape))
through_tanh = input_gradient(weight, dy * (1 - np.tanh(correlate(x, weight)) ** 2))
linear = lambda v: (dy.astype(v.dtype) * correlate(v, weight.astype(v.dtype))).sum()
bent = lambda v: (dy * np.tanh(correlate(v, weight))).sum()
cases = {"tanh after it, float64": (bent, through_tanh, x, directions),
         "convolution, float32": (linear, stamped, x.astype(np.float32), directions.astype(np.float32)),
         "convolution, float64": (linear, stamped, x, directions)}
errors = {name: [np.median([slope_error(loss, gradient, at, u, h) for u in many]) for h in steps]
          for name, (loss, gradient, at, many) in cases.items()}
fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
for (name, error), style in zip(errors.items(), ("s--", "^:", "o-")):
    ax.loglog(steps, error, style, color="0.3", markerfacecolor="tab:orange", label=name)
ax.set(xlabel="step h", ylabel="relative error of the measured slope", ylim=(1e-17, 1e3))
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# **A convolution is linear in its input**, and likewise in its weights. For a straight line the central
# difference is exact at any step, and only rounding is left, divided by $2h$. So its error falls with larger
# steps, down to rounding itself: take 1 or 10, and demand agreement to ten digits.
#
# With a bend, here a tanh, a large step leaves the straight part. Then the best step is a small one, between 1e-6
# and 1e-5, and some ten digits are all one gets. In float32 no step gives more than seven, and small steps give
# none: always check in **float64**.

# %% [markdown]
# ### What a gradient check cannot see
#
# A colleague believes that layers convolve, and rotates the kernel in the forward pass. The backward pass is
# derived from that, without a slip.
#
# **Predict.** Does a gradient check find the mistake?

# %%
def rotating_forward(x, weight):
    """What the colleague's layer answers."""
    return correlate(x, weight[:, :, ::-1, ::-1])


def rotating_backward(weight, dy):
    """The gradient of the colleague's input."""
    return input_gradient(weight[:, :, ::-1, ::-1], dy)

# %%
window = np.array([[200.0, 150, 150], [100, 50, 100], [25, 25, 10]])[None, None]
vertical_edge = np.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])[None, None]
rotating = slope_error(lambda v: (dy * rotating_forward(v, weight)).sum(), rotating_backward(weight, dy),
                       x, direction, step=1.0)
answers = [layer(window, vertical_edge).item() for layer in (correlate, rotating_forward)]
print(f"gradient check of the rotating layer: relative error {rotating:.1g}")
print(f"the window of notebook 02: expected 65, correlate {answers[0]:g}, rotating layer {answers[1]:g}")

# %% [markdown]
# The check passes. It compares the backward pass with the **forward pass that is there**, not with the one that
# should be there: a pair that is wrong consistently agrees with itself.
#
# So a gradient check never comes alone. Compare the forward pass with known numbers too: a window worked out by
# hand, as here, or the output of another library.

# %% [markdown]
# ## Padding and stride
#
# Both fit in by seeing them as small layers of their own.
#
# **Padding** copies the image into the middle of a larger one. Backwards, the gradient of the padded image is
# **cropped**: what belongs to the zeros is dropped.
#
# **Stride** s keeps every s-th output of stride 1 and leaves the others out (notebook 03). An output that is left
# out has no influence on $L$, so its gradient is 0. Put these zeros back, s − 1 between neighbours, and the layer
# is one of stride 1 again. That is called **dilating** the upstream gradient.

# %%
def pair(value):
    """(rows, columns) from a number or a pair."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def dilate(dy, stride):
    """Put zeros between neighbouring outputs, for those that the stride left out."""
    (N, C, H_out, W_out), (sH, sW) = dy.shape, pair(stride)
    spread = np.zeros((N, C, (H_out - 1) * sH + 1, (W_out - 1) * sW + 1))
    spread[:, :, ::sH, ::sW] = dy
    return spread

# %%
few = np.array([[1.0, 2, 3], [4, 5, 6]])[None, None]
spread = dilate(few, (2, 3))
plots.grids(few[0, 0], spread[0, 0], np.pad(spread[0, 0], 1),
            titles=["dy, stride (2, 3)", "dilated", "padded, for a 2×2 kernel"], vmin=0, vmax=6)

# %% [markdown]
# **Predict.** A kernel of 3 runs at stride 2 over a row of 5 pixels, and over one of 6. How many outputs does
# each give? Can backward tell from `dy` how long the row was?

# %%
strided = {size: as_matrix(lambda row: three_weights(row, stride=2), size) for size in (5, 6)}
plots.grids(*strided.values(), titles=[f"T at stride 2, {size} pixels" for size in strided], vmin=0, vmax=3)

# %% [markdown]
# Two outputs in both cases, so `dy` does not tell, and the layer has to remember the size of its input.
#
# The last column on the right is 0 throughout: no window reads that pixel, so $L$ does not depend on it, and its
# gradient is **exactly 0**. In notebook 03 its coverage was 0. Such rows and columns must still be in `dx`, which
# has the shape of `x`.

# %% [markdown]
# The weights meet strided windows too: in $\partial L/\partial k(a, b)$ the pixel is $x(rs + a,\, cs + b)$, in the
# *padded* image. Or, with the dilated `dy` in the place of the kernel, it is the cross-correlation from above.
#
# Here is `dx` for stride and padding, built from the full convolution. It has **two bugs**.

# %%
def broken_strided_gradient(weight, dy, size, stride, padding):
    """dx for an image of `size` (H, W), with two bugs."""
    dx = correlate(*full_convolution(weight, dilate(dy, stride)))
    return dx[:, :, :size[0], :size[1]]

# %%
plus = np.array([[0.0, 1, 0], [1, 2, 1], [0, 1, 0]])[None, None]
up = np.array([[1.0, 0, 0], [0, 0, 3]])[None, None]
ring = ((0, 0), (0, 0), (1, 1), (1, 1))
measured_padded = slopes(lambda v: (up * correlate(np.pad(v, ring), plus)[:, :, ::2, ::2]).sum(),
                         np.zeros((1, 1, 3, 5)))[0, 0]
broken_padded = broken_strided_gradient(plus, up, (3, 5), 2, 1)[0, 0]
plots.grids(measured_padded, broken_padded, titles=["measured", "broken"])
broken_shape = broken_strided_gradient(plus, up, (6, 8), 2, 0).shape
print("an image of (6, 8), stride 2, padding 0: dx has the shape", broken_shape)

# %% [markdown]
# **Symptoms.** The image is 3×5, stride 2, padding 1. The measured `dx` has the 1 of `dy` at the first pixel, and
# the 3 at the last one, each with its neighbours. In the broken one everything lies one row too low and one
# column too far right, and the 3 has fallen off. And for the image of 6×8 the result is too small.

# %% [markdown]
# ### Exercise: find the bugs (stride and padding)
#
# Write `strided_input_gradient(weight, dy, size, stride, padding)`.
#
# - `weight` (C_out, C_in, kH, kW) and `dy` (N, C_out, H_out, W_out), float64;
# - `size` is the pair (H, W) of the input, without its padding;
# - `stride` and `padding` are each an int, or a pair `(rows, columns)`. The padding is smaller than the kernel.
# - Return `dx`, float64 of shape (N, C_in, H, W).
#
# You may call `pair`, `dilate`, `correlate` and `full_convolution`, or stamp.

# %% tags=["exercise:strided_input_gradient"]
def strided_input_gradient(weight, dy, size, stride, padding):
    """The gradient of the input of a convolution layer with stride and padding.

    weight (C_out, C_in, kH, kW), dy (N, C_out, H_out, W_out), both float64; size (H, W) ints; stride, padding
    ints or pairs.  Returns (N, C_in, H, W) float64.
    """
    ### BEGIN SOLUTION
    (H, W), (pH, pW) = size, pair(padding)
    read = correlate(*full_convolution(weight, dilate(dy, stride)))     # what the windows read
    dx = np.zeros((*read.shape[:2], H + 2 * pH, W + 2 * pW))            # with what they did not read
    dx[:, :, :read.shape[2], :read.shape[3]] = read
    return dx[:, :, pH:pH + H, pW:pW + W]
    ### END SOLUTION

# %% tags=["check:strided_input_gradient"]
check("strided_input_gradient", strided_input_gradient)

# %%
mended_padded = strided_input_gradient(plus, up, (3, 5), 2, 1)[0, 0]
uncovered = strided_input_gradient(plus, up, (6, 8), 2, 0)[0, 0]
plots.grids(mended_padded, uncovered, titles=["mended, 3×5, padding 1", "mended, 6×8, no padding"])

# %% [markdown]
# On 6×8 the last row and column are 0: no window gets there.

# %% [markdown]
# Point at a pixel to see which outputs it touches, and through which weight; its gradient is written out below. Point
# at an output to see what it reads. The arrow keys do the same.
#
# **Predict** before you point: at stride 2 and padding 1, how many outputs does a pixel in an odd row and an odd column
# touch, and how many one in an even row and an even column? Which pixels touch none at stride 4? And which weights
# never meet the first pixel without padding?

# %%
widgets.backward((6, 8), 3, stride=2, padding=1)

# %% [markdown]
# ## The layer
#
# All the parts are there. A layer puts them together: one object that keeps what its backward pass needs.
#
# Notebook 08 trains LeNet with your class, thousands of times forwards and backwards. Any way passes the check, but
# loops over pixels or images would be slow there. Use `sliding_window_view` with `np.tensordot`, and for `dx` a loop
# over the few weights (a, b).

# %% [markdown]
# ### Exercise: a convolution layer that can be trained
#
# Complete the class `Conv2d`, with PyTorch's names. `__init__` is given.
#
# - `forward(x)` takes (N, C_in, H, W) and returns (N, C_out, H_out, W_out); a stride that does not fit is rounded
#   down. It keeps what backward needs.
# - `backward(dy)` takes the gradient of that output and returns the gradient of that input. Afterwards
#   `grad_weight` and `grad_bias` hold the gradients, replaced at each call.
# - `stride` and `padding` are each an int or a pair `(rows, columns)`; the padding is smaller than the kernel. All
#   arrays are float64; neither method changes its input or the weights.

# %% tags=["exercise:conv2d_layer"]
class Conv2d:
    """A convolution layer: weight (C_out, C_in, kH, kW), bias (C_out,), stride and padding ints or pairs.

    After backward, grad_weight and grad_bias hold the gradients of weight and bias.
    """

    def __init__(self, weight, bias, stride=1, padding=0):
        self.weight, self.bias = weight, bias
        self.stride, self.padding = pair(stride), pair(padding)

    def forward(self, x):  # (N, C_in, H, W) to (N, C_out, H_out, W_out)
        ### BEGIN SOLUTION
        (sH, sW), (pH, pW) = self.stride, self.padding
        padded = np.pad(x, ((0, 0), (0, 0), (pH, pH), (pW, pW)))
        self.padded_shape = padded.shape
        every = sliding_window_view(padded, self.weight.shape[2:], axis=(2, 3))
        self.windows = every[:, :, ::sH, ::sW]                             # (N, C_in, H_out, W_out, kH, kW)
        y = np.tensordot(self.windows, self.weight, axes=([1, 4, 5], [1, 2, 3]))
        return (y + self.bias).transpose(0, 3, 1, 2)                       # (N, C_out, H_out, W_out)
        ### END SOLUTION

    def backward(self, dy):  # (N, C_out, H_out, W_out) to (N, C_in, H, W)
        ### BEGIN SOLUTION
        self.grad_weight = np.tensordot(dy, self.windows, axes=([0, 2, 3], [0, 2, 3]))
        self.grad_bias = dy.sum(axis=(0, 2, 3))
        (sH, sW), (pH, pW), (H_out, W_out) = self.stride, self.padding, dy.shape[2:]
        shares = np.tensordot(self.weight, dy, axes=([0], [1]))            # (C_in, kH, kW, N, H_out, W_out)
        dx = np.zeros(self.padded_shape)
        for a, b in np.ndindex(self.weight.shape[2:]):                     # all pixels that weight (a, b) read
            dx[:, :, a:a + sH * H_out:sH, b:b + sW * W_out:sW] += shares[:, a, b].swapaxes(0, 1)
        return dx[:, :, pH:dx.shape[2] - pH, pW:dx.shape[3] - pW]
        ### END SOLUTION

# %% tags=["check:conv2d_layer"]
check("conv2d_layer", Conv2d)

# %% [markdown]
# Is it fast enough? The first layer of LeNet, on eight images:

# %%
layer = Conv2d(rng.normal(size=(6, 1, 5, 5)), np.zeros(6))
eight = rng.normal(size=(8, 1, 32, 32))
seconds = []
for _ in range(3):
    start = time.perf_counter()
    layer.backward(layer.forward(eight))
    seconds.append(time.perf_counter() - start)
print(f"forward and backward: {1000 * min(seconds):.1f} ms")

# %% [markdown]
# Some milliseconds are plenty. If it takes more than a tenth of a second, notebook 08 will be slow: come back then
# and replace the loops.

# %% [markdown]
# ## What the two gradients are for
#
# **The gradient of the weights** is for learning. A hidden layer answers to random images, and ours is to answer
# alike. Each step changes weights and bias a little against their gradients.
#
# **Predict.** The hidden kernel is the vertical edge detector from above, its bias 0.5. Will ours be found upright
# or rotated? (In notebook 02 a cross-correlation learned from the outputs of a convolution.)

# %%
images = rng.normal(size=(8, 1, 12, 12))
wanted = Conv2d(vertical_edge, np.array([0.5])).forward(images)          # (8, 1, 10, 10)
learner = Conv2d(rng.normal(size=(1, 1, 3, 3)), np.zeros(1))
losses = []
for _ in range(60):
    error = learner.forward(images) - wanted
    losses.append(0.5 * (error ** 2).mean())
    learner.backward(error / error.size)                                 # the gradient of this mean
    learner.weight = learner.weight - 0.3 * learner.grad_weight
    learner.bias = learner.bias - 0.3 * learner.grad_bias
plots.grids(vertical_edge[0, 0], learner.weight[0, 0].round(3) + 0, titles=["hidden", "learned"], cell=0.6)
print(f"bias {learner.bias[0]:.3f}, loss {losses[0]:.2g} at the start, {losses[-1]:.1g} after {len(losses)} steps")

# %% [markdown]
# Upright: both layers cross-correlate. Note the mean in the loss; its 1/size goes into `dy`, and the layer itself
# averages nothing.

# %% [markdown]
# **The gradient of the input** is for the layers before: it is their `dy`. But it can also be used by itself, to
# change the image (as in notebook 16). Below, a photograph went through a blurring layer. We know the layer and
# its output, and look for the image: start with grey, and change the *pixels* against their gradient.
#
# **Predict.** Can blur be undone in this way? What comes back first, large shapes or fine detail?

# %%
scene = grey(photo("china"))[:426].reshape(213, 2, 320, 2).mean(axis=(1, 3))[95:143, 60:132]     # (48, 72)
bell = np.exp(-np.arange(-3, 4) ** 2 / 3)
blur = Conv2d((np.outer(bell, bell) / bell.sum() ** 2)[None, None], np.zeros(1), padding=3)
seen = blur.forward(scene[None, None])                                   # (1, 1, 48, 72)
guess, stages, distances = np.full(seen.shape, 0.5), {}, []
for step in range(201):
    if step in (0, 5, 200):
        stages[f"after {step} steps"] = guess[0, 0].copy()
    distances.append(np.sqrt(((guess - scene) ** 2).mean()))
    guess = guess - 1.5 * blur.backward(blur.forward(guess) - seen)
plots.images(scene, seen[0, 0], *stages.values(), titles=["photograph", "what is known", *stages], vmin=0, vmax=1)
blurred_distance = np.sqrt(((seen - scene) ** 2).mean())
print(f"distance from the photograph: blurred {blurred_distance:.3f}, grey {distances[0]:.3f}, "
      f"after 5 steps {distances[5]:.3f}, after 200 {distances[-1]:.3f}")

# %% [markdown]
# Large shapes come first; after 5 steps the guess is about as blurred as what we know. Edges sharpen slowly, and the
# finest detail does not return: it left hardly a trace in the blurred output, so hardly any gradient asks for it.

# %% [markdown]
# ## In your own words
#
# A friend has written a convolution layer in NumPy. Its gradient check, in float32 with a step of 1e-5, ends with a
# relative error of 3 %. Your friend says "close enough" and trains, and the network learns rather badly.

# %% [markdown] tags=["written:trust:4"]
# 1. What is wrong with the check? Which precision and which step do you propose for this layer, and why may the
#    step be so large?
# 2. Now the check gives 1e-14. Name a bug that can still be there, and a test that finds it.
# 3. In the layer, `dx` of a 7×7 image with a 2×2 kernel and stride 3 has zeros in one row and one column in the
#    middle, and your friend takes them for a bug. Are they? And what do the last two rows and columns hold?
# 4. Why is the gradient of a weight a sum over all positions, but that of a pixel a sum over a few?
#
# Two or three sentences for each are enough.
#
# <!-- BEGIN SOLUTION -->
# **Answer.**
#
# 1. With so small a step, the two losses agree in nearly all their digits, and float32 has only about seven: the
#    difference is mostly rounding, so 3 % says nothing, good or bad. Check in float64, with a step of about 1. The
#    layer is linear in its input and in its weights, so the central difference is exact for any step, and a large
#    one makes rounding unimportant.
# 2. Forward and backward can be wrong consistently, as with a kernel that is rotated in both, or padding on one
#    side only. A gradient check passes, since it compares backward with the forward pass that is there. Compare the
#    forward pass with a window computed by hand or with another library.
# 3. They are right. The windows start at 0 and 3 and read pixels 0, 1 and 3, 4. Row and column 2 lie between two
#    windows, so $L$ does not depend on them, and the gradient is exactly 0. Rows 5 and 6: the next window
#    would start at 6 and need pixel 7, so both are left over, and 0 as well.
# 4. A weight is shared: it is used once at every position (and for every image), and the gradient sums over all
#    uses. A pixel is used only by the windows that contain it, at most kH·kW of them.
#
# **Rubric.**
#
# - 1 point: float64 and a large step (½), because the function is linear (½).
# - 1 point: a consistent error in both passes (½) and an absolute check of the forward pass (½).
# - 1 point: row and column 2 are read by no window and are rightly 0 (½); so are rows and columns 5 and 6 (½).
# - 1 point: a weight is used at all positions, a pixel by the windows that contain it; gradients of uses add up.
# <!-- END SOLUTION -->

# %% [markdown]
# ## Summary
#
# | question | answer |
# |---|---|
# | add, max, multiply | distributes, routes, switches |
# | a value used several times | the gradients of its uses add up |
# | gradient of a weight | cross-correlation of the input with dy: $\sum \text{dy}(r, c)\,x(r + a, c + b)$ |
# | gradient of a bias | the sum of dy over batch, rows and columns |
# | gradient of a pixel | full convolution of dy with the kernel: $\sum \text{dy}(r - a, c - b)\,k(a, b)$ |
# | by stamping | kernel upright, add, never overwrite |
# | by collecting | kernel rotated, channels swapped, dy padded by $k - 1$ |
# | as a matrix | $T^\top$: transposed convolution |
# | padding | crop the gradient of the padded image |
# | stride $s$ | put $s - 1$ zeros between the elements of dy |
# | a pixel no window reads | gradient exactly 0 |
# | gradient check | float64, a random direction, for a linear layer a large step |
# | what it cannot see | forward and backward wrong alike: check the forward pass by itself |

# %% [markdown]
# ## Where to read more
#
# - David Rumelhart, Geoffrey Hinton and Ronald Williams, *Learning representations by back-propagating errors*,
#   1986.
# - Yann LeCun and others, *Backpropagation applied to handwritten zip code recognition*, 1989: shared weights,
#   trained.
# - Atılım Güneş Baydin and others, *Automatic differentiation in machine learning: a survey*, 2018: what libraries
#   do.
# - Vincent Dumoulin and Francesco Visin, *A guide to convolution arithmetic for deep learning*, 2016: transposed
#   convolution, with pictures.
# - Ian Goodfellow, Yoshua Bengio and Aaron Courville, *Deep learning*, 2016, chapters 6 and 9.
