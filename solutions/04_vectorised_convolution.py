# %% [markdown]
# # 04 Vectorised convolution
#
# The layer of notebook 03 is right, and slow. Here it becomes one product of two matrices, which every
# computer does well. That costs memory, and sometimes it is not worth it. So the second half measures: what
# your machine can do, how much of it a layer uses, and which method wins where.

# %% [markdown]
# ## What you will be able to do
#
# - lay the windows of a batch out as rows of a matrix, and a layer's filters as columns;
# - say what that costs in memory, and bound it;
# - read the strides of an array, and make windows without copying a number;
# - handle groups, and go the way back (col2im), which notebook 05 needs for its gradients;
# - test that two functions are adjoint;
# - count the operations and bytes of a layer, place it under the roof of your machine, and choose between
#   loops, matrix products and Fourier transforms.

# %%
import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from cnnlab import animation, check, hint, plots, timing

# %% [markdown]
# ## Where the time goes
#
# This is a convolution layer by loops, one number of the output at a time. Each step multiplies one window
# with one filter.

# %%
def pair(value):
    """An int as the pair (value, value); a pair as it is."""
    return value if isinstance(value, tuple) else (value, value)


def conv2d_loops(x, weight, bias, stride=1, padding=0):
    """The layer of notebook 03, one output at a time."""
    (N, _, H, W), (C_out, _, kH, kW) = x.shape, weight.shape
    (stepH, stepW), (padH, padW) = pair(stride), pair(padding)
    x = np.pad(x, [(0, 0), (0, 0), (padH, padH), (padW, padW)])
    out = np.zeros((N, C_out, (H + 2 * padH - kH) // stepH + 1, (W + 2 * padW - kW) // stepW + 1))
    for n, o, r, c in np.ndindex(out.shape):
        window = x[n, :, r * stepH:r * stepH + kH, c * stepW:c * stepW + kW]     # (C_in, kH, kW)
        out[n, o, r, c] = (window * weight[o]).sum() + bias[o]
    return out

# %% [markdown]
# How fast is that? We count **operations**, a multiplication and an addition being two, and divide by the
# time: FLOP/s, *floating-point operations per second*; a GFLOP/s is a billion of them.
#
# NumPy loops and copies on one core only. To be fair, all times in this notebook are processor time on one
# core, medians over a few runs.
#
# **Predict.** Compare with the product of two large matrices, the thing that computers are tuned for. Does
# the loop reach a half of that rate, a tenth, a hundredth?

# %%
rng = np.random.default_rng(0)
side = 6 if timing.quick() else 32                     # tiny while a grader runs this, when nobody looks
x = rng.normal(size=(1, 16, side, side))
weight, bias = rng.normal(size=(32, 16, 3, 3)), rng.normal(size=32)
steps = 32 * side * side                               # one for each output; padding 1 keeps the size
operations = 2 * steps * 16 * 3 * 3
loop_seconds = timing.median_seconds(conv2d_loops, x, weight, bias, 1, 1)
loop_rate, product_rate = operations / loop_seconds, timing.gemm_rate()
print(f"loops            {loop_rate / 1e9:8.3f} GFLOP/s, {1e6 * loop_seconds / steps:.1f} microseconds a step")
print(f"matrix product   {product_rate / 1e9:8.3f} GFLOP/s, {product_rate / loop_rate:.0f} times as fast")

# %% [markdown]
# A step multiplies and adds 144 numbers, which takes a processor far less than a microsecond. The rest of
# the time Python prepares: it cuts out a window, makes an array for the products, calls a function. There
# are 32,768 steps. To be fast, do much in each step, and best of all one thing: a matrix product.

# %% [markdown]
# ## Patches as rows, kernels as columns
#
# The entry in row $i$, column $j$ of a matrix product is the dot product of row $i$ of the first matrix
# with column $j$ of the second. An output of a layer is the dot product of a window with a filter. So lay
# each window out as a **row**, each filter as a **column**, and multiply: row $i$, column $j$ of the
# product is filter $j$ at position $i$.

# %% [markdown]
# Chellapilla, Puri and Simard (2006) did this to convolutional networks, and it is still one of the ways in
# which libraries compute them. A window laid out as a row is called a **patch**, the step that makes the
# matrix **im2col**, and the product **GEMM**, for *general matrix multiply*.

# %%
two_channels = np.array([[[1, 0, 2, 1], [3, 1, 0, 2], [0, 2, 1, 0]], [[2, 1, 0, 3], [0, 1, 1, 0], [1, 0, 2, 2]]])
two_filters = np.array([[[[1, 0], [0, -1]], [[1, 1], [0, 0]]], [[[0, 1], [1, 0]], [[-1, 0], [0, 2]]]])
animation.patches_as_rows(two_channels, two_filters)

# %% [markdown]
# Step through it. Each window, through both channels, becomes one row: first the window in channel 0, row
# by row, then the window in channel 1 (after the thick line). Each column of `kernels` is one filter in the
# same order. The windows overlap, so the same pixel stands in several rows.

# %% [markdown]
# Two orders have to be fixed, and everything depends on them.
#
# - **Within a row**: channel, row of the window, column of the window; the last changes fastest. It is
#   the order of `weight.reshape(C_out, -1)`, so filters and patches fit together.
# - **The rows**: image, output row, output column; the last changes fastest. All positions of image 0 come
#   first. A batch is just more rows.
#
# With (N, C, H, W) for the input, the matrix has N·H_out·W_out rows and C·kH·kW columns. Some libraries
# keep its transpose, patches as columns, which is where the name im2col comes from.

# %% [markdown]
# ### Exercise: im2col
#
# Write `im2col(x, kernel_size, stride=1, padding=0)`.
#
# - `x` has shape (N, C, H, W), float64; `kernel_size` is a pair `(kH, kW)`;
# - `stride` and `padding` are each an int or a pair `(rows, columns)`. Padding is zeros, on both sides; a
#   stride that does not fit is rounded down; at least one window fits;
# - return (N·H_out·W_out, C·kH·kW), float64, in the two orders above.
#
# A loop over the positions is right. One over the kH·kW pixels of a window is right and fast: each step
# copies one pixel of **all** windows.
#
# If you are stuck, run `hint("im2col")` in a cell of your own, and again for more.

# %% tags=["exercise:im2col"]
def im2col(x, kernel_size, stride=1, padding=0):
    """Every window of a batch as a row: rows in the order n, r, c; columns in the order channel, a, b.

    x (N, C, H, W) float64; kernel_size a pair; stride and padding ints or pairs.
    Returns (N * H_out * W_out, C * kH * kW) float64.
    """
    ### BEGIN SOLUTION
    (kH, kW), (sH, sW), (pH, pW) = kernel_size, pair(stride), pair(padding)
    x = np.pad(x, ((0, 0), (0, 0), (pH, pH), (pW, pW)))
    N, C, H, W = x.shape
    H_out, W_out = (H - kH) // sH + 1, (W - kW) // sW + 1
    cols = np.empty((C, kH, kW, N, H_out, W_out), x.dtype)
    for a in range(kH):
        for b in range(kW):  # pixel (a, b) of every window
            cols[:, a, b] = x[:, :, a:a + sH * H_out:sH, b:b + sW * W_out:sW].swapaxes(0, 1)
    return cols.reshape(C * kH * kW, N * H_out * W_out).T
    ### END SOLUTION

# %% tags=["check:im2col"]
check("im2col", im2col)

# %% [markdown]
# ## One matrix product
#
# **Predict.** 5 images, 3 channels, 8×8 pixels; 4 filters of 3×3, without padding. What are the shapes of
# the patches, of the kernels as columns, and of their product?

# %%
patches = im2col(rng.normal(size=(5, 3, 8, 8)), (3, 3))
kernels = rng.normal(size=(4, 3, 3, 3)).reshape(4, -1).T
print("patches", patches.shape, "  kernels", kernels.shape, "  product", (patches @ kernels).shape)

# %% [markdown]
# 5·6·6 = 180 positions, and 3·3·3 = 27 numbers in a window. The product has one row for each position and
# one column for each filter.
#
# What is left is to bring it into the shape (N, C_out, H_out, W_out). Here is the most common mistake of
# this notebook: `reshape` keeps the numbers in their order and only cuts the sequence into other pieces.
# Moving an axis is the work of `transpose` (or `moveaxis`).

# %% [markdown]
# ### Exercise: convolution by matrix product
#
# Write `conv2d_gemm(x, weight, bias, stride=1, padding=0)`, with the layouts of notebook 03:
#
# - `x` (N, C_in, H, W), `weight` (C_out, C_in, kH, kW), `bias` (C_out,), all float64;
# - `stride` and `padding` as for `im2col`, which you may call;
# - return (N, C_out, H_out, W_out), float64.
#
# The check looks at values only. How much faster it is than the loops, the cell after it prints.

# %% tags=["exercise:conv2d_gemm"]
def conv2d_gemm(x, weight, bias, stride=1, padding=0):
    """A convolution layer as one matrix product.

    x (N, C_in, H, W), weight (C_out, C_in, kH, kW), bias (C_out,), all float64;
    stride and padding ints or pairs.  Returns (N, C_out, H_out, W_out) float64.
    """
    ### BEGIN SOLUTION
    C_out, _, kH, kW = weight.shape
    H_out, W_out = ((size + 2 * p - k) // s + 1 for size, k, s, p in
                    zip(x.shape[2:], (kH, kW), pair(stride), pair(padding)))
    patches = im2col(x, (kH, kW), stride, padding)                     # (N*H_out*W_out, C_in*kH*kW)
    out = patches @ weight.reshape(C_out, -1).T + bias                 # (N*H_out*W_out, C_out)
    return out.reshape(len(x), H_out, W_out, C_out).transpose(0, 3, 1, 2)
    ### END SOLUTION

# %% tags=["check:conv2d_gemm"]
check("conv2d_gemm", conv2d_gemm)

# %%
gemm_seconds = timing.median_seconds(conv2d_gemm, x, weight, bias, 1, 1)
speedup = loop_seconds / gemm_seconds
difference = np.abs(conv2d_gemm(x, weight, bias, 1, 1) - conv2d_loops(x, weight, bias, 1, 1)).max()
print(f"loops {1000 * loop_seconds:.1f} ms, one product {1000 * gemm_seconds:.2f} ms: {speedup:.0f} times faster")
print(f"largest difference {difference:.0e}; {operations / gemm_seconds / 1e9:.2f} GFLOP/s")

# %% [markdown]
# The same numbers up to rounding: sums in another order round differently. The arithmetic is the same too,
# 9.4 million operations; what is gone is 32,768 steps of Python.
#
# If the ratio is small, say below ten, your `im2col` probably still visits every position, or every number,
# in Python. Its second and third hints show loops over the 9 pixels of a window.

# %% [markdown]
# ## Strides
#
# Memory is one long row of bytes. An array is a start, a shape, and for each axis a **stride**: how many
# bytes further the next element along this axis lies. (This stride is not the stride of a layer, though the
# two are about to meet.) Other shapes and strides give another array on the **same** bytes, a *view*.
#
# **Predict.** An array of 3×4 float64 numbers, 8 bytes each. What are its two strides? And those of its
# transpose, and of every second column?

# %%
image = np.arange(12.0).reshape(3, 4)
views = {"image": image, "image.T": image.T, "image[:, ::2]": image[:, ::2], "image[1:, 1:]": image[1:, 1:]}
print("                 shape    strides   shares memory")
for name, view in views.items():
    print(f"{name:16} {view.shape!s:8} {view.strides!s:9} {np.shares_memory(view, image)}")

# %% [markdown]
# A row is 4·8 = 32 bytes long, so one step down is 32 bytes and one step right 8. The transpose exchanges
# the strides and moves nothing. A slice starts elsewhere, or takes longer strides. None of them copies.
#
# Windows can be views as well. Below is the same image as it lies in memory, and what each 2×2 window
# reads.

# %%
fig, ax = plt.subplots(figsize=(8, 3.1), layout="constrained")
plots.addresses(ax, (3, 4), (2, 2), title="memory, with the row and column of each number")
plt.show()

# %% [markdown]
# Every line has the same pattern: a pixel, its right neighbour, and the same again one image row (4
# numbers) further. From one window to the next the pattern moves by one number, and by 4 to the window
# below. So the matrix of patches needs no memory of its own: its entries are addresses in the image, and
# these follow from strides. The stride of a layer only makes the steps between windows longer.

# %% [markdown]
# ### Exercise: windows as a view
#
# Write `window_view(shape, strides, kernel_size, stride=1)`: shape and strides, in bytes, of the array of
# all windows.
#
# - `shape` (N, C, H, W) and `strides`, a tuple of four ints, are those of the image batch. It need **not**
#   lie packed: it may be a slice or a transpose;
# - `kernel_size` is a pair, `stride` an int or a pair. A stride that does not fit is rounded down, and at
#   least one window fits;
# - return two tuples of six ints: the shape (N, H_out, W_out, C, kH, kW), and the strides that go with it.

# %% tags=["exercise:window_view"]
def window_view(shape, strides, kernel_size, stride=1):
    """Shape and strides of the view that holds every window of an array.

    shape and strides (in bytes) of (N, C, H, W); kernel_size a pair; stride an int or a pair.
    Returns the shape (N, H_out, W_out, C, kH, kW) and its six strides, as tuples of ints.
    """
    ### BEGIN SOLUTION
    (N, C, H, W), (bN, bC, bH, bW) = shape, strides
    (kH, kW), (sH, sW) = kernel_size, pair(stride)
    sizes = (N, (H - kH) // sH + 1, (W - kW) // sW + 1, C, kH, kW)
    return sizes, (bN, bH * sH, bW * sW, bC, bH, bW)
    ### END SOLUTION

# %% tags=["check:window_view"]
check("window_view", window_view)

# %% [markdown]
# `as_strided` makes an array from any shape and strides, and checks nothing: wrong numbers read whatever
# lies outside the array, or end Python. So we look first.

# %%
def strided_view(x, shape, strides):
    """A read-only view of x with this shape and these strides, refused if it would leave x."""
    reach = sum((size - 1) * step for size, step in zip(shape, strides))
    if min(strides) < 0 or reach > sum((size - 1) * step for size, step in zip(x.shape, x.strides)):
        raise ValueError(f"shape {shape} with strides {strides} would read outside the array")
    return as_strided(x, shape, strides, writeable=False)

# %% [markdown]
# **Predict.** All 3×3 windows of the 16-channel image above, as a view and as a matrix of patches: how much
# memory does each take beside the image? Does `reshape` of the view copy?

# %%
windows = strided_view(x, *window_view(x.shape, x.strides, (3, 3)))        # (N, H_out, W_out, C, kH, kW)
rows = windows.reshape(-1, 16 * 3 * 3)                                     # (N*H_out*W_out, C*kH*kW)
view_shares, rows_share = np.shares_memory(windows, x), np.shares_memory(rows, x)
same_patches = np.array_equal(rows, im2col(x, (3, 3)))
copied = rows.nbytes / x.nbytes
print(f"view: shape {windows.shape}, shares the image's memory: {view_shares}")
print(f"reshaped: shape {rows.shape}, shares: {rows_share}, {copied:.1f} times the image's bytes")
print("equal to im2col:", same_patches)

# %% [markdown]
# The view takes nothing. To make its last three axes one, `reshape` has to copy: no single stride leads
# from pixel to pixel through a window. So this is im2col in one line, and the copy is its price.
#
# NumPy's `sliding_window_view` makes such views safely, with the axes (N, C, H_out, W_out, kH, kW).
#
# **Predict.** `np.einsum` can multiply the view with the filters directly, without copying. Is that faster
# than copying and then one GEMM?

# %%
def conv2d_view(x, weight, bias):
    """A layer at stride 1 on a view of the windows; nothing is copied."""
    windows = sliding_window_view(x, weight.shape[2:], axis=(2, 3))        # (N, C, H_out, W_out, kH, kW)
    return np.einsum("nchwab,ocab->nohw", windows, weight) + bias[:, None, None]

# %%
view_seconds = timing.median_seconds(conv2d_view, x, weight, bias)
copy_seconds = timing.median_seconds(conv2d_gemm, x, weight, bias)
view_ratio = view_seconds / copy_seconds
print(f"view and einsum {1000 * view_seconds:.1f} ms, im2col and GEMM {1000 * copy_seconds:.1f} ms, "
      f"ratio {view_ratio:.1f}")

# %% [markdown]
# Copying wins, as a rule by a lot. GEMM does not just multiply: it cuts both matrices into blocks that fit
# the processor's caches and registers, so that each number, once fetched, is used many times (Goto and van
# de Geijn, 2008). `einsum` walks through the view in plain loops. Saving memory is not the same as saving
# time.

# %% [markdown]
# ## What the patches cost
#
# A pixel stands in as many patches as windows read it. At stride 1 that is kH·kW away from the border, and
# a stride of s thins the windows out by s in both directions: the patches take about **kH·kW/s²** times the
# memory of the image.

# %%
growth = {}
for name, size, k, s, p in [("1×1", 224, 1, 1, 0), ("3×3, padding 1", 224, 3, 1, 1), ("3×3, stride 2", 224, 3, 2, 1),
                            ("5×5, padding 2", 224, 5, 1, 2), ("AlexNet, 11×11, stride 4", 227, 11, 4, 0)]:
    positions = ((size + 2 * p - k) // s + 1) ** 2
    growth[name] = positions * k * k / size ** 2, k * k / s ** 2
    print(f"{name:26} {growth[name][0]:6.2f} times the input; kH·kW/s² = {growth[name][1]:.2f}")

# %% [markdown]
# Nine times for the most common layer. Does that matter? VGG-16 (Simonyan and Zisserman, 2015), which
# notebook 11 builds, has thirteen 3×3 layers with padding 1.
#
# **Predict.** Which of the thirteen needs most memory for its patches: the first, which reads the image;
# the second, which reads 64 maps of 224×224; or one of the last, which read 512 maps of 14×14?

# %%
vgg = [(3, 224), (64, 224), (64, 112), (128, 112), (128, 56), (256, 56), (256, 56),
       (256, 28), (512, 28), (512, 28), (512, 14), (512, 14), (512, 14)]                  # C_in, height and width
maps_mb = np.array([4 * channels * size ** 2 / 1e6 for channels, size in vgg])            # float32: 4 bytes
patches_mb = 9 * maps_mb
fig, ax = plt.subplots(figsize=(8, 2.8), layout="constrained")
ax.bar(range(1, 14), patches_mb, color="0.8", edgecolor="0.3", label="patches")
ax.bar(range(1, 14), maps_mb, color="0.3", width=0.4, label="input")
ax.set(xticks=range(1, 14), xlabel="convolution layer of VGG-16", ylabel="MB for one image, float32")
ax.legend(frameon=False)
plt.show()
print(f"layer 2: {9 * 64 * 224 ** 2:,} numbers, {patches_mb[1]:.1f} MB for one image, "
      f"{64 * patches_mb[1] / 1000:.1f} GB for 64")

# %% [markdown]
# The second layer: 115.6 MB of patches for one image of 224×224, against 12.8 MB for its input and 0.15 MB
# for its weights. A batch of 64 images would need 7.4 GB for this one matrix.
#
# There is no need to have all patches at once. Rows of a matrix product do not depend on each other, so a
# **tile** of them, a few images or a few output rows, can be made, multiplied and thrown away.

# %%
def conv2d_tiled(x, weight, bias, rows):
    """A 3x3 layer with padding 1, `rows` rows of the output at a time."""
    H = x.shape[2]
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.empty((len(x), len(weight), H, x.shape[3] - 2))
    for top in range(0, H, rows):
        strip = x[:, :, top:top + rows + 2]            # what these output rows read
        out[:, :, top:top + rows] = conv2d_gemm(strip, weight, bias)
    return out

# %% [markdown]
# **Predict.** The second layer of VGG-16 on one image, once all at once and then in strips of 56, 14 and 4
# rows. How does the peak of memory change, and how the time? Our numbers are float64, so everything is
# twice as large.

# %%
size = 8 if timing.quick() else 224
maps, filters = rng.normal(size=(1, 64, size, size)), rng.normal(size=(64, 64, 3, 3))
peaks = {}
for strip in [rows for rows in (224, 56, 14, 4) if rows <= size]:
    call = conv2d_tiled, maps, filters, np.zeros(64), strip
    peaks[strip] = timing.peak_bytes(*call) / 1e6
    print(f"{strip:4} rows at a time: peak {peaks[strip]:6.1f} MB, {timing.median_seconds(*call, budget=0):.2f} s")

# %% [markdown]
# The peak falls with the strips, from several hundred MB to little more than the padded copy of the input
# and the output, 26 MB each. The time hardly suffers: a tile of about a thousand rows is large enough for
# GEMM, and a small tile may even be faster, because its patches are still in the cache when they are
# multiplied.
#
# This is what libraries do, and notebook 17 takes it to its end: a tile so small that it fits the fastest
# memory of a GPU, where the matrix of patches exists nowhere as a whole.

# %% [markdown]
# ## Groups
#
# With `groups=g` the channels are cut into g blocks of neighbours, and each block of filters reads its own
# (notebook 03). In the matrix of patches channel 0 comes first, then channel 1, so a block of channels is a
# **block of columns**. As one product the kernels would be block-diagonal:

# %%
fig, axes = plt.subplots(1, 3, figsize=(7.5, 3), layout="constrained")
for ax, groups in zip(axes, (1, 2, 4)):
    used = np.kron(np.eye(groups), np.ones((4 * 9 // groups, 8 // groups)))          # (C_in*kH*kW, C_out)
    ax.imshow(used, cmap="gray_r", vmin=0, vmax=2, aspect="auto")
    ax.set(xticks=range(8), yticks=np.arange(4) * 9 + 4, yticklabels=[f"channel {c}" for c in range(4)],
           xlabel="filter", title=f"groups={groups}: {used.mean():.0%} used")
plt.show()

# %% [markdown]
# The kernels as columns, for 4 channels, 3×3 windows and 8 filters; white is zero. With g groups only 1/g
# of the matrix is used. So one does not multiply it as a whole, but each dark block with its columns of the
# patches.

# %% [markdown]
# ### Exercise: grouped product
#
# Write `grouped_product(patches, weight, groups)`.
#
# - `patches` (P, C_in·kH·kW), float64: P rows as `im2col` makes them;
# - `weight` (C_out, C_in / groups, kH, kW), float64; `groups` is an int that divides C_in and C_out;
# - return (P, C_out), float64, without bias: the filters in the order of `weight`, so those of the first
#   group come first.

# %% tags=["exercise:grouped_product"]
def grouped_product(patches, weight, groups):
    """The product of patches with the filters of a grouped convolution.

    patches (P, C_in * kH * kW), weight (C_out, C_in / groups, kH, kW), float64; groups an int.
    Returns (P, C_out) float64.
    """
    ### BEGIN SOLUTION
    blocks = np.split(patches, groups, axis=1)                            # each (P, C_in/groups * kH * kW)
    own = np.split(weight.reshape(len(weight), -1), groups)               # each (C_out/groups, C_in/groups * kH * kW)
    return np.concatenate([block @ filters.T for block, filters in zip(blocks, own)], axis=1)
    ### END SOLUTION

# %% tags=["check:grouped_product"]
check("grouped_product", grouped_product)

# %% [markdown]
# The number of multiplications falls to 1/g, but a product of narrow blocks runs at a lower rate. You will
# see how much lower: the measurements below include a depthwise layer, where each block is 9 columns wide.

# %% [markdown]
# ## The way back: col2im
#
# Notebook 05 needs the gradient of a layer. By the chain rule it arrives as one number for each entry of
# the patches, and has to go back to the pixels. A pixel that was copied into several patches influenced all
# of them, so its gradient is the **sum** of what comes back.
#
# That is **col2im**: add each entry of the patches to the pixel it was copied from. Add, never overwrite.
# Entries that were copied from the padding belong to no pixel, and are dropped.

# %% [markdown]
# ### Exercise: col2im
#
# Write `col2im(columns, x_shape, kernel_size, stride=1, padding=0)`.
#
# - `columns` has the shape of `im2col`'s result, (N·H_out·W_out, C·kH·kW), and its two orders; float64;
# - `x_shape` is the tuple (N, C, H, W) of the image batch; the others are as for `im2col`;
# - return (N, C, H, W), float64. A pixel that no window reads gets 0.
#
# Three parts are worth a third each: windows side by side, overlapping windows, and padding.

# %% tags=["exercise:col2im"]
def col2im(columns, x_shape, kernel_size, stride=1, padding=0):
    """Add each entry of the patches to the pixel that im2col copied it from: the adjoint of im2col.

    columns (N * H_out * W_out, C * kH * kW) float64; x_shape the tuple (N, C, H, W);
    kernel_size a pair; stride and padding ints or pairs.  Returns (N, C, H, W) float64.
    """
    ### BEGIN SOLUTION
    (N, C, H, W), (kH, kW), (sH, sW), (pH, pW) = x_shape, kernel_size, pair(stride), pair(padding)
    H_out, W_out = (H + 2 * pH - kH) // sH + 1, (W + 2 * pW - kW) // sW + 1
    back = columns.reshape(N, H_out, W_out, C, kH, kW).transpose(0, 3, 4, 5, 1, 2)
    image = np.zeros((N, C, H + 2 * pH, W + 2 * pW))
    for a in range(kH):
        for b in range(kW):
            image[:, :, a:a + sH * H_out:sH, b:b + sW * W_out:sW] += back[:, :, a, b]
    return image[:, :, pH:pH + H, pW:pW + W]
    ### END SOLUTION

# %% tags=["check:col2im"]
check("col2im", col2im)

# %% [markdown]
# **Predict.** An image of 5×5 ones goes through `im2col` with 3×3 windows, and the patches straight back
# through `col2im`. Do we get the ones again? What stands in a corner, and what in the middle?

# %%
ones = np.ones((1, 1, 5, 5))
there_and_back = col2im(im2col(ones, (3, 3)), ones.shape, (3, 3))[0, 0]
strided_back = col2im(im2col(ones, (3, 3), 2), ones.shape, (3, 3), 2)[0, 0]
plots.grids(there_and_back, strided_back, titles=["stride 1", "stride 2"], vmin=0, vmax=9)

# %% [markdown]
# Each pixel counts the windows that read it: the coverage of notebook 03, 1 in a corner and 9 in the
# middle. Along a border it is 1, 2, 3, 2, 1. A col2im that overwrites gives ones everywhere here, and looks
# as if it undid im2col. But col2im is not the inverse of im2col. It is something else.

# %% [markdown]
# ## The adjoint
#
# im2col only copies, so it is linear: for one row of pixels $x$ there is a matrix $A$ of zeros and ones
# with `A @ x` as the patches, one after the other. Each row of $A$ picks one pixel.
#
# ### Exercise: im2col as a matrix
#
# Write `im2col_matrix(size, kernel_size, stride=1, padding=0)` for one row of `size` pixels.
#
# - All arguments are ints; `padding` is smaller than `kernel_size`, and at least one window fits;
# - return float64 of shape (windows · kernel_size, size): all pixels of window 0 first, then those of
#   window 1. A pixel of the padding is 0 whatever `x` is, so its row is all zeros.

# %% tags=["exercise:im2col_matrix"]
def im2col_matrix(size, kernel_size, stride=1, padding=0):
    """The matrix A of zeros and ones for which A @ x lists the windows of a row of pixels x.

    size, kernel_size, stride, padding ints.  Returns (windows * kernel_size, size) float64.
    """
    ### BEGIN SOLUTION
    windows = (size + 2 * padding - kernel_size) // stride + 1
    A = np.zeros((windows * kernel_size, size))
    for w in range(windows):
        for b in range(kernel_size):
            pixel = w * stride + b - padding
            if 0 <= pixel < size:
                A[w * kernel_size + b, pixel] = 1
    return A
    ### END SOLUTION

# %% tags=["check:im2col_matrix"]
check("im2col_matrix", im2col_matrix)

# %% [markdown]
# **Predict.** What is the product $A^\top A$, for 5 pixels and windows of 3?

# %%
A = im2col_matrix(5, 3)                                                   # (9, 5)
plots.grids(A, A.T, A.T @ A, titles=["A: im2col", "A transposed: col2im", "A transposed times A"], cell=0.4)

# %% [markdown]
# The transpose sends every number back to where it was copied from, and adds: that is col2im. $A^\top A$
# holds the coverage 1, 2, 3, 2, 1 on its diagonal, so the transpose is not the inverse.
#
# For functions instead of matrices the transpose is called the **adjoint**. It is defined without
# writing the matrix down: for all $x$ and $c$,
#
# $$\langle Ax,\, c\rangle = \langle x,\, A^\top c\rangle, \qquad
# \text{here}\quad \langle \text{im2col}(x),\, c\rangle = \langle x,\, \text{col2im}(c)\rangle ,$$
#
# where $\langle u, v\rangle$ is the sum of the products of all entries. The proof is one line: both are
# $\sum_{i,j} c_i A_{ij} x_j$.

# %% [markdown]
# The identity is a strong test that needs no known answer: take random $x$ and $c$ and compare two numbers.
#
# **Predict.** Below, a col2im that overwrites is tested as well, on 3×3 windows at stride 1 and on
# 2×2 windows at stride 2. Does the test find it out both times?

# %%
def overwriting_col2im(columns, x_shape, kernel_size, stride):
    """The wrong one, without padding: the last window to write a pixel wins."""
    image, k = np.zeros(x_shape), kernel_size[0]
    H_out, W_out = (x_shape[2] - k) // stride + 1, (x_shape[3] - k) // stride + 1
    for row, (n, r, c) in zip(columns, np.ndindex(x_shape[0], H_out, W_out)):
        image[n, :, r * stride:r * stride + k, c * stride:c * stride + k] = row.reshape(-1, k, k)
    return image


def mismatch(back, k, stride):
    """How far <im2col(x), c> and <x, back(c)> are apart, relative to the lengths of the vectors in them."""
    x = rng.normal(size=(2, 3, 6, 8))
    patches = im2col(x, (k, k), stride)
    c = rng.normal(size=patches.shape)
    return abs((patches * c).sum() - (x * back(c, x.shape, (k, k), stride)).sum()) / np.linalg.norm(patches)

# %%
mismatches = {(f.__name__, k): mismatch(f, k, s) for f in (col2im, overwriting_col2im) for k, s in [(3, 1), (2, 2)]}
for (name, k), value in mismatches.items():
    print(f"{name:20} {k}×{k} windows: mismatch {value:.0e}")

# %% [markdown]
# Yours agrees up to rounding. The overwriting one fails on overlapping windows, and passes where windows do
# not overlap: there nothing is ever added. A test is only as good as its inputs.

# %% [markdown]
# ## What a layer asks of the machine
#
# A layer computes, and it moves numbers between memory and processor. Count both. The number of operations
# per byte moved is the **arithmetic intensity**. If it is high, the processor is the limit; if it is low,
# it waits for the memory.

# %% [markdown]
# ### Exercise: operations and bytes
#
# Write `flops_and_bytes(x_shape, weight_shape, stride=1, padding=0, itemsize=8)` for a layer without bias.
#
# - `x_shape` (N, C_in, H, W) and `weight_shape` (C_out, C_in / groups, kH, kW) are tuples; `stride` and
#   `padding` are each an int or a pair; a number takes `itemsize` bytes;
# - return a tuple of two ints, `(flops, bytes)`;
# - **flops**: a multiplication and the addition that goes with it are two operations. Products with the
#   zeros of the padding count like others;
# - **bytes**: what has to be moved at least: the whole input, the weights and the output, each number once;
#   not the padding, and no patches.

# %% tags=["exercise:flops_and_bytes"]
def flops_and_bytes(x_shape, weight_shape, stride=1, padding=0, itemsize=8):
    """The operations of a convolution layer, and the bytes it has to move at least.

    x_shape (N, C_in, H, W), weight_shape (C_out, C_in / groups, kH, kW); stride, padding ints or pairs.
    Returns (flops, bytes), two ints.
    """
    ### BEGIN SOLUTION
    (N, C_in, H, W), (C_out, depth, kH, kW) = x_shape, weight_shape
    (sH, sW), (pH, pW) = pair(stride), pair(padding)
    outputs = N * C_out * ((H + 2 * pH - kH) // sH + 1) * ((W + 2 * pW - kW) // sW + 1)
    numbers = N * C_in * H * W + C_out * depth * kH * kW + outputs
    return 2 * outputs * depth * kH * kW, itemsize * numbers
    ### END SOLUTION

# %% tags=["check:flops_and_bytes"]
check("flops_and_bytes", flops_and_bytes)

# %% [markdown]
# Six layers. E and F are fully connected layers, written as 1×1 convolutions of a single pixel with 1024
# channels.
#
# **Predict.** Order A to F by their intensity. Which two are the lowest?

# %%
layers = {"A": ("3×3, 64 → 64", (1, 64, 56, 56), (64, 64, 3, 3), 1),         # name, x, weight, padding
          "B": ("3×3, 3 → 64 (a first layer)", (1, 3, 112, 112), (64, 3, 3, 3), 1),
          "C": ("1×1, 64 → 64", (1, 64, 56, 56), (64, 64, 1, 1), 0),
          "D": ("3×3 depthwise, 64", (1, 64, 56, 56), (64, 1, 3, 3), 1),
          "E": ("1024 → 1024, one image", (1, 1024, 1, 1), (1024, 1024, 1, 1), 0),
          "F": ("1024 → 1024, 64 images", (64, 1024, 1, 1), (1024, 1024, 1, 1), 0)}
intensity, with_patches = {}, {}
for letter, (name, x_shape, w_shape, padding) in layers.items():
    flops, moved = flops_and_bytes(x_shape, w_shape, 1, padding)
    patch_bytes = 8 * int(np.prod(x_shape)) * w_shape[2] * w_shape[3]        # padding keeps the size in all six
    intensity[letter], with_patches[letter] = flops / moved, flops / (moved + 2 * patch_bytes)
    print(f"{letter}  {name:28} {intensity[letter]:6.2f} operations per byte, {with_patches[letter]:6.2f} with patches")

# %% [markdown]
# E reads a million weights and uses each once, D uses each number of the input for only nine products: both
# are low. F uses each weight 64 times. A is the highest: each number of its input is in nine
# windows, and each window meets 64 filters.
#
# The last column counts what our method moves: the patches are written once and read once more. A falls
# from 66 to 7, D from 1.1 to 0.1.

# %% [markdown]
# ## The roof of your machine
#
# Two numbers limit every program: how many operations per second the processor can do, and how many bytes
# per second the memory delivers. With intensity $I$, a program runs at most at
#
# $$\min(\text{peak},\; I\cdot\text{bandwidth}) .$$
#
# Drawn over $I$ that is a sloping line, then a flat one: the **roofline** (Williams, Waterman and
# Patterson, 2009). Measure both: the bandwidth by copying an array larger than the caches, the peak by a
# product of two large matrices.
#
# **Predict.** How does the peak change if numbers have 4 bytes instead of 8? And which of the two grows
# more if all cores work?

# %%
bandwidth, peak, peak_32 = timing.bandwidth(), timing.gemm_rate(), timing.gemm_rate(np.float32)
everything = (timing.bandwidth(all_cores=True), timing.gemm_rate(all_cores=True),
              timing.gemm_rate(np.float32, all_cores=True))
print("             GB/s   GFLOP/s, float64   GFLOP/s, float32   the roof bends at (operations per byte)")
for name, (b, p, p_32) in {"one core": (bandwidth, peak, peak_32), "all cores": everything}.items():
    print(f"{name:9} {b / 1e9:7.1f} {p / 1e9:18.1f} {p_32 / 1e9:18.1f} {p / b:14.1f}, {p_32 / b:.1f}")

# %% [markdown]
# Expect about twice the rate in float32: a register that holds four numbers of 8 bytes holds eight of 4.
# Such a number also takes half as long to move. Networks are therefore trained in float32 or shorter types.
#
# Each core has its own arithmetic, but all share the memory. So with more cores the flat part rises by more
# than the slope, and the bend moves to the right: waiting for memory becomes the usual case. (If other
# programs are busy now, the second line of numbers is too low.)

# %% [markdown]
# Now run the six layers with your own functions, and with PyTorch if it is installed.

# %%
def run_layer(x, weight, padding):
    """A layer by im2col and the grouped product, as a matrix of positions and filters."""
    return grouped_product(im2col(x, weight.shape[2:], 1, padding), weight, x.shape[1] // weight.shape[1])

# %%
ours, torchs = {}, {}
for letter, (name, x_shape, w_shape, padding) in layers.items():
    if timing.quick():
        break
    inputs, weights = rng.normal(size=x_shape), rng.normal(size=w_shape)
    flops, _ = flops_and_bytes(x_shape, w_shape, 1, padding)
    ours[letter] = intensity[letter], flops / timing.median_seconds(run_layer, inputs, weights, padding)
    seconds = timing.torch_seconds(inputs.astype("f"), weights.astype("f"), 1, padding, x_shape[1] // w_shape[1])
    if seconds is not None:
        torchs[letter] = 2 * intensity[letter], flops / seconds              # half the bytes

# %%
panels = [("your im2col and GEMM, float64", peak, ours), ("PyTorch, float32", peak_32, torchs)]
panels = [panel for panel in panels if panel[2]]
if panels:
    fig, axes = plt.subplots(1, len(panels), figsize=(5 * len(panels), 3.6), layout="constrained", sharey=True,
                             squeeze=False)
    for ax, (title, top, points) in zip(axes[0], panels):
        plots.roofline(ax, bandwidth, top, points)
        ax.set_title(title, fontsize=10)
    plt.show()
for title, top, points in panels:
    shares = [f"{letter} {rate / min(top, i * bandwidth):.0%}" for letter, (i, rate) in points.items()]
    print(f"{title}, share of the roof: {', '.join(shares)}")

# %% [markdown]
# How to read it: each letter is one layer, its height how fast it ran. The thick line is the roof; left of
# the dotted line memory is the limit, right of it the processor. A point **on** the roof is as fast as this
# machine allows. A point **below** it can be improved by a better method.
#
# The roof is only as high as we could measure. A point above the slope has found its data in the caches,
# which are faster than memory; one above the flat part comes from a library with faster instructions, or
# fewer operations, than the product that measured the peak.

# %% [markdown]
# Look for three things:
#
# - E, and on most machines D, lie left of the bend, where the roof itself is low and better arithmetic does
#   not help;
# - D lies far below its roof with im2col: patches are moved that the layer does not need, and its products
#   are only 9 columns wide. A, which uses each patch 64 times, suffers less;
# - E and F do the same with each image. Sixty-four images together use each weight 64 times.

# %% [markdown]
# ## Which method wins where
#
# One method is left from notebook 02: the Fourier transform. In a layer each channel of an image and of a
# filter is transformed once, and the products are summed over the channels before going back (Mathieu,
# Henaff and LeCun, 2014). A conjugate gives cross-correlation instead of convolution.

# %%
def conv2d_fft(x, weight, bias):
    """A layer at stride 1, without padding, by Fourier transform."""
    H, W = x.shape[2:]
    kH, kW = weight.shape[2:]
    spectra = np.fft.rfft2(x)                                                     # (N, C_in, H, W//2 + 1)
    kernels = np.fft.rfft2(weight, s=(H, W)).conj()                               # (C_out, C_in, H, W//2 + 1)
    product = np.einsum("nchw,ochw->nohw", spectra, kernels)                      # summed over the channels
    out = np.fft.irfft2(product, s=(H, W))[:, :, :H - kH + 1, :W - kW + 1]        # what wraps around is cut off
    return out + bias[:, None, None]

# %%
fft_error = np.abs(conv2d_fft(x, weight, bias) - conv2d_gemm(x, weight, bias)).max()
print(f"largest difference from the matrix product: {fft_error:.0e}")

# %%
def compare(n, k, channels=16):
    """The seconds of each method for one n x n image and k x k kernels; NaN where it was not run."""
    x, weight = rng.normal(size=(1, channels, n, n)), rng.normal(size=(channels, channels, k, k))
    bias, outputs = np.zeros(channels), channels * (n - k + 1) ** 2
    methods = {"im2col, GEMM": conv2d_gemm, "view, einsum": conv2d_view, "loops": conv2d_loops, "FFT": conv2d_fft}
    seconds = {name: timing.median_seconds(method, x, weight, bias, budget=0.04, least=2)
               if name != "loops" or outputs < 20_000 else np.nan for name, method in methods.items()}
    return seconds | {"torch": timing.torch_seconds(x, weight, budget=0.04) or np.nan}

# %% [markdown]
# All in float64, 16 channels and 16 filters: first 3×3 kernels on images of growing size, then growing
# kernels on an image of 48×48.
#
# **Predict.** In the first figure, which lines are parallel? In the second, which line stays flat, and
# which rise? Do they cross?

# %%
image_sizes = [6] if timing.quick() else [8, 16, 32, 64, 128]
kernel_sizes = [3] if timing.quick() else [1, 3, 5, 9, 15, 21, 27]
by_image = [compare(n, 3) for n in image_sizes]
by_kernel = [compare(6 if timing.quick() else 48, k) for k in kernel_sizes]

fig, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
for ax, sizes, rows, label in [(axes[0], image_sizes, by_image, "image size n (3×3 kernels)"),
                               (axes[1], kernel_sizes, by_kernel, "kernel size k (48×48 image)")]:
    plots.times(ax, sizes, {name: [row[name] for row in rows] for name in rows[0]}, label)
    fastest = [min(row, key=lambda name: np.nan_to_num(row[name], nan=np.inf)) for row in rows]
    print(f"{label}, fastest:", ", ".join(f"{size} {name}" for size, name in zip(sizes, fastest)))
axes[0].legend(fontsize=9)
plt.show()

# %% [markdown]
# What to look for on the left, whatever your times are:
#
# - All lines rise like the number of pixels, once the images are not tiny. The methods do work in
#   proportion to it, and differ by a factor: the distance between the lines.
# - The loops lie far above the rest, and are not run where they would take too long.

# %% [markdown]
# On the right:
#
# - The work of im2col grows like k² until the kernel is so large that few positions remain.
# - The FFT hardly notices k, because a small kernel is transformed at the size of the image too. It loses
#   for small kernels, and wins for large ones.
# - The loops come closer to the view: with a large kernel each step of Python does more work.

# %% [markdown]
# If you have PyTorch, its line may surprise you by lying close to yours. For float64 on a processor it too
# makes patches and calls GEMM. In float32 it calls a library with methods of its own, among them
# direct ones that copy no patches: compare D in the two rooflines.
#
# No method is best everywhere. Libraries choose by the sizes of a layer, and some try several and time
# them, as you have just done.

# %% [markdown] tags=["written:which_roof:4"]
# ## In your own words
#
# A machine reaches 100 GFLOP/s and moves 20 GB/s. Two layers of a network, both 3×3 with padding 1, in
# float32 (4 bytes), on one image, run there by im2col and GEMM:
#
# - **P**: 64 → 64 channels on 56×56 pixels, at 40 GFLOP/s;
# - **Q**: depthwise, 64 channels on 112×112 pixels, at 4 GFLOP/s.
#
# A colleague wants to buy a processor with twice the GFLOP/s and the same memory. For each layer, give the
# intensity and the roof, and say what limits it now. Which layer gains from the new processor, and how much
# at most? What would you do for the other? Use your functions; ten sentences are enough.
#
# <!-- BEGIN SOLUTION -->
# **Answer.**
#
# P has 231.2 million operations and moves 1.75 MB, so 132 operations per byte; Q has 14.5 million and moves
# 6.4 MB, so 2.25. The roof bends at 100/20 = 5 operations per byte. P lies to the right of it, with a roof
# of 100 GFLOP/s, and reaches 40 % of it. Q lies to the left, with a roof of 2.25 · 20 = 45 GFLOP/s, and
# reaches 9 %.
#
# The patches explain Q: written and read they add 57.8 MB, so im2col does 0.225 operations per byte, for
# which memory allows 4.5 GFLOP/s; it runs at 4. P with its patches still does 14 operations per byte and
# stays to the right of the bend. So the processor limits P, and the new one can double it at most. Q gains
# nothing: neither its roof nor the limit of its method rises. For Q I would change the method and read the
# windows in place, by a direct loop in compiled code or in tiles small enough for the cache; that allows up
# to 45 GFLOP/s, ten times as much, on the old machine.
#
# **Rubric.**
#
# - 1 point: intensities of about 132 and 2.25 (half a point for one).
# - 1 point: roofs of 100 and 45 GFLOP/s, from the bend at 5.
# - 1 point: Q is limited by memory and gains nothing; P by the processor, and gains at most a factor of 2.
# - 1 point: the patches are what slows Q down, and not making them (all at once) is the remedy.
# <!-- END SOLUTION -->

# %% [markdown]
# ## Summary
#
# | question | answer |
# |---|---|
# | im2col | (N, C, H, W) → (N·H_out·W_out, C·kH·kW); rows n, r, c; columns channel, a, b |
# | the layer | patches @ `weight.reshape(C_out, -1).T` + bias, split into (N, H_out, W_out, C_out), C_out moved |
# | `reshape` | cuts the same sequence into other pieces; moving an axis is `transpose` |
# | memory | about kH·kW/s² times the input; bounded by tiles |
# | strides | bytes to the next element of an axis; windows as a view copy nothing |
# | groups | blocks of columns, each with its own filters |
# | col2im | adds every entry to its pixel: the adjoint of im2col, not its inverse |
# | adjoint | ⟨im2col(x), c⟩ = ⟨x, col2im(c)⟩ for all x, c |
# | intensity | operations per byte moved |
# | roof | the smaller of peak and intensity · bandwidth |
# | what wins | small kernels: im2col and GEMM, or direct methods; large kernels: FFT |

# %% [markdown]
# ## Where to read more
#
# - Kumar Chellapilla, Sidd Puri and Patrice Simard, *High performance convolutional neural networks for
#   document processing*, 2006: patches as rows and one product.
# - Kazushige Goto and Robert van de Geijn, *Anatomy of high-performance matrix multiplication*, 2008: why
#   GEMM is fast.
# - Samuel Williams, Andrew Waterman and David Patterson, *Roofline: an insightful visual performance model
#   for multicore architectures*, 2009.
# - Michael Mathieu, Mikael Henaff and Yann LeCun, *Fast training of convolutional networks through FFTs*,
#   2014.
# - Karen Simonyan and Andrew Zisserman, *Very deep convolutional networks for large-scale image
#   recognition*, 2015: VGG.
# - Vincent Dumoulin and Francesco Visin, *A guide to convolution arithmetic for deep learning*, 2016:
#   convolution and its transpose as matrices.
