# %% [markdown]
# # 17 Convolution on the GPU
#
# Notebook 04 made a convolution layer one matrix product, and paid with a matrix of patches many times as large as
# the input. Here the same product is computed on a GPU, in tiles, and the patches are nowhere. You write the
# functions that run on the GPU, its **kernels**, in Triton, a language inside Python.
#
# You need no GPU for it. Without one the kernels run in Triton's interpreter on the processor: slowly, with the
# same numbers.

# %% [markdown]
# ## What you will be able to do
#
# - say what a GPU is good at, and how a kernel is cut into programs, blocks and masks;
# - find the address of any number of a tensor, in either memory layout, and say which addresses are read together;
# - write a matrix product in tiles, and say why its sums are float32;
# - write a convolution as an implicit matrix product, with padding, stride, bias and ReLU in one kernel;
# - turn it into max pooling by changing three things;
# - time work on a GPU without fooling yourself;
# - work out how fast a layer could be at best, and what an optimisation can give before you write it.

# %%
import json
from contextlib import nullcontext
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F

from cnnlab import animation, check, hint, plots, results
from cnnlab.data import digits
from cnnlab.kernels import DEVICE, obstacle, tl, triton, watch

torch.set_num_threads(1)  # what follows is so small that threads would only wait for each other

# %%
where = {"cuda": "on the GPU, compiled", "cpu": "in Triton's interpreter, on the processor"}[DEVICE]
print(obstacle() or f"Kernels run {where}.")

# %% [markdown]
# On a machine with a GPU the same cells compile and run there; the checks use the interpreter everywhere.
#
# If the line above says that Triton is not installed, as on macOS and Windows, you can still go through the whole
# notebook. Every step is given in PyTorch too, and cells that need a kernel take that. Four of the exercises are
# plain Python (tiles, TF32, timing and floors). The kernels you can read and write, but the checks that launch them
# have to wait until you work where Triton exists: Linux, or WSL on Windows.

# %% [markdown]
# ## What a GPU is good at
#
# The GPU of our examples is an NVIDIA H100 (SXM). Its data sheet says: 132 multiprocessors, each with its own
# arithmetic and 256 KB of fast memory; 989 TFLOP/s for products of matrices of 16-bit numbers; one large memory
# that delivers 3.35 TB/s to all of them together.
#
# **Predict.** Two vectors of a million float32 numbers are added. What share of the arithmetic can be used at best?

# %%
PEAK, BANDWIDTH = 989e12, 3.35e12                      # operations and bytes per second: H100 SXM, bf16, dense
ridge = PEAK / BANDWIDTH
numbers = 1_000_000
add_intensity = numbers / (3 * 4 * numbers)            # read two, write one, 4 bytes each
print(f"the roof bends at {ridge:.0f} operations per byte")
print(f"an addition has {add_intensity:.3f} operations per byte: at most {add_intensity / ridge:.2%} of the peak")

# %% [markdown]
# While one byte comes from memory, the chip can do 295 operations. The roof of notebook 04 bends where a layer does
# 295 operations per byte, far to the right of a processor's.
#
# So nearly everything a network does on a GPU (additions, ReLU, normalisation, pooling) waits for memory, and its
# arithmetic is free. Convolutions and matrix products can be the exception, if each number that comes from memory
# is used some hundred times. This notebook is about how to get there.

# %% [markdown]
# ## Programs, blocks and masks
#
# In Triton you write what **one program** does, to a **block** of numbers at once. Many programs run at the same
# time, in any order, on the multiprocessors; each asks for its number and works out which block is its own.

# %%
@triton.jit
def double_kernel(source, target, count, SIZE: tl.constexpr):
    lanes = tl.program_id(0) * SIZE + tl.arange(0, SIZE)           # (SIZE,) the elements of this program
    inside = lanes < count                                         # (SIZE,) the mask
    tl.store(target + lanes, 2 * tl.load(source + lanes, mask=inside), mask=inside)

# %% [markdown]
# Line by line:
#
# - `@triton.jit` makes the function a kernel: it is compiled for the GPU, or interpreted;
# - `source` and `target` are **addresses** of first elements. A kernel sees no shape;
# - `tl.program_id(0)` is the number of this program; `tl.arange(0, SIZE)` is the block 0, 1, …, SIZE − 1. Its size
#   is a power of 2 and known when the kernel is compiled: `tl.constexpr`;
# - `source + lanes` is a block of addresses, `tl.load` reads a block of numbers there, `tl.store` writes one. Where
#   the mask is false, a lane touches nothing.
#
# `double_kernel[(3,)](x, y, 19, SIZE=8)` launches three programs: the **grid**.

# %%
lanes = np.arange(3)[:, None] * 8 + np.arange(8)                   # (programs, lanes)
fig, ax = plt.subplots(figsize=(6, 2.4), layout="constrained")
plots.grid(ax, np.where(lanes < 19, lanes, np.nan), title="the element of each lane; empty: kept back by the mask")
ax.set(xlabel="lane", ylabel="program")
plt.show()

# %% [markdown]
# 19 numbers in blocks of 8: each row is a program. The last one has work for three of its eight lanes. The others
# compute something too, but neither read nor write.
#
# **Predict.** What happens without the mask?

# %%
@triton.jit
def double_without_mask(source, target, count, SIZE: tl.constexpr):
    everywhere = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    tl.store(target + everywhere, 2 * tl.load(source + everywhere))

# %%
x = torch.arange(19.0, device=DEVICE)
y = torch.zeros_like(x)
if not obstacle():
    double_kernel[(3,)](x, y, 19, SIZE=8)
    print("with the mask:", torch.equal(y, 2 * x))
if not obstacle() and DEVICE == "cpu":
    with watch():
        try:
            double_without_mask[(3,)](x, y, 19, SIZE=8)
        except Exception as problem:
            print(f"without:       {type(problem).__name__}: {problem}")

# %% [markdown]
# A GPU would not have told. It would have read and overwritten what lies behind the tensors, quietly, or ended the
# program some time later. `watch()` makes the interpreter look at every address; the checks of this notebook do the
# same. They give NaN or huge numbers to lanes that a mask keeps back: a GPU may give anything. They notice when one
# program reads what another one writes.

# %% [markdown]
# ### Exercise: a first kernel
#
# Write `relu_kernel(x, y, n, BLOCK)`.
#
# - `x` and `y` are addresses of n float32 numbers that lie one after the other; `n` is an int; `BLOCK` is a
#   constant, a power of 2;
# - it is launched on n / BLOCK programs, rounded up. Together they write the larger of x and 0 into y, for elements
#   0 to n − 1, each by one program;
# - nothing is read or written past element n − 1, and x stays as it is. A kernel returns nothing.
#
# If you are stuck, run `hint("relu_kernel")` in a cell of your own, and again for more.

# %% tags=["exercise:relu_kernel"]
@triton.jit
def relu_kernel(x, y, n, BLOCK: tl.constexpr):
    """y = max(x, 0) for n numbers.

    x, y addresses of n float32 numbers; n int; BLOCK a power of 2.  Grid: n / BLOCK programs, rounded up.
    """
    ### BEGIN SOLUTION
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)                 # (BLOCK,)
    value = tl.load(x + i, mask=i < n)
    tl.store(y + i, tl.maximum(value, 0.0), mask=i < n)
    ### END SOLUTION

# %% tags=["check:relu_kernel"]
check("relu_kernel", relu_kernel)

# %% [markdown]
# Around a kernel there is always a function like `relu` below. It makes room for the result, works out the grid,
# and launches. (`triton.cdiv` divides and rounds up.) `launch` puts the watch around it where the kernel is
# interpreted.

# %%
def launch(kernel, grid, *arguments, **constants):
    """kernel[grid](*arguments, **constants), under the watch if it runs in the interpreter."""
    with watch() if DEVICE == "cpu" else nullcontext():
        kernel[grid](*arguments, **constants)


def relu(x):
    """max(x, 0) by your kernel; x any float32 tensor that lies packed in memory."""
    if obstacle():
        return torch.relu(x)
    y = torch.empty_like(x)
    launch(relu_kernel, (triton.cdiv(x.numel(), 1024),), x, y, x.numel(), BLOCK=1024)
    return y

# %%
generator = torch.Generator().manual_seed(17)


def normal(*shape):
    """Normally distributed numbers on the device."""
    return torch.randn(shape, generator=generator).to(DEVICE)

# %%
x = normal(3, 997)
print("as torch.relu:", torch.equal(relu(x), torch.relu(x)))

# %% [markdown]
# ## Rows, and what a masked lane holds
#
# A block may have two axes. With `r` of shape (4,) and `c` of shape (8,), `r[:, None]` is a column and `c[None, :]`
# a row, and together they make (4, 8), as in NumPy. Reductions take an axis: `tl.sum(v, axis=1)` gives one number
# for each row of the block.
#
# **Predict.** A row has 5 numbers, the block 8 lanes. Which value should the three lanes have that the mask keeps
# back, if we want the sum? And for the maximum?

# %% [markdown]
# `tl.load(…, mask=…, other=0.0)` gives them 0, which changes no sum. For a maximum it would have to be −∞: all of
# the row may be negative. Without `other` a lane may hold anything. That is harmless if only its own masked store
# follows, as in the ReLU. As soon as lanes are put together, by a sum or a product of matrices, it matters.

# %% [markdown]
# ### Exercise: centre the rows
#
# Write `centre_kernel(x, y, R, C, BLOCK_R, BLOCK_C)`. Layer normalisation (notebook 07) begins like this.
#
# - `x` and `y` are addresses of arrays (R, C), float32, row after row without gaps: element (r, c) lies at r·C + c;
# - `BLOCK_R`, `BLOCK_C` are powers of 2, and C is at most BLOCK_C, so a row fits into a block;
# - it is launched on R / BLOCK_R programs, rounded up; program i does rows i·BLOCK_R to (i + 1)·BLOCK_R − 1, as far
#   as there are such;
# - y is x minus the mean of its row. Nothing outside of the R·C elements is read or written.

# %% tags=["exercise:centre_rows"]
@triton.jit
def centre_kernel(x, y, R, C, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr):
    """y = x minus the mean of its row.

    x, y addresses of (R, C) float32, packed row by row; C <= BLOCK_C.  Grid: R / BLOCK_R programs, rounded up.
    """
    ### BEGIN SOLUTION
    r = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)             # (BLOCK_R,)
    c = tl.arange(0, BLOCK_C)                                          # (BLOCK_C,)
    at = r[:, None] * C + c[None, :]                                   # (BLOCK_R, BLOCK_C)
    there = (r < R)[:, None] & (c < C)[None, :]
    value = tl.load(x + at, there, other=0.0)
    mean = tl.sum(value, axis=1) / C                                   # (BLOCK_R,)
    tl.store(y + at, value - mean[:, None], there)
    ### END SOLUTION

# %% tags=["check:centre_rows"]
check("centre_rows", centre_kernel)

# %%
def centre(x):
    """x (R, C) minus the mean of each row, by your kernel."""
    if obstacle():
        return x - x.mean(1, keepdim=True)
    y = torch.empty_like(x)
    launch(centre_kernel, (triton.cdiv(len(x), 8),), x, y, *x.shape,
           BLOCK_R=8, BLOCK_C=triton.next_power_of_2(x.shape[1]))
    return y

# %%
x = normal(37, 100)
print(f"largest difference from torch: {(centre(x) - (x - x.mean(1, keepdim=True))).abs().max():.0e}")

# %% [markdown]
# One kernel, one trip through memory. `x - x.mean(1, keepdim=True)` in PyTorch is two kernels: the first reads x,
# the second reads it again. For work that waits for memory, that is 3 trips (two to read, one to write) against 2.

# %% [markdown]
# ## Where the numbers lie
#
# A kernel sees addresses only. So we must know where the number `x[n, c, h, w]` lies, and that depends on the
# **layout**. PyTorch's usual one is NCHW: an image is one channel after the other. In NHWC, which PyTorch calls
# **channels-last**, the channels of a pixel lie side by side.

# %%
first, last = np.repeat(np.arange(3), 8), np.tile(np.arange(3), 8)           # 3 channels of 2×4 pixels
fig, ax = plt.subplots(figsize=(10, 1.5), layout="constrained")
plots.grid(ax, np.stack([first, last]), title="memory of 3 channels with 8 pixels: which channel lies at each address")
for row, layout in enumerate(("NCHW", "NHWC")):
    ax.text(-0.8, row, layout, ha="right", va="center")
plt.show()

# %% [markdown]
# In the upper row eight pixels of channel 0 come first; in the lower row come the three channels of pixel 0, then
# those of pixel 1.
#
# In PyTorch the shape stays (N, C, H, W) in both, and only the **strides** change: how many elements further the
# next one of an axis lies (notebook 04 had them in bytes).
#
# **Predict.** A tensor of shape (2, 3, 4, 5): its four strides, in both layouts?

# %%
x = normal(2, 3, 4, 5)
for name, tensor in {"NCHW": x, "NHWC": x.to(memory_format=torch.channels_last), "x[:, :, ::2]": x[:, :, ::2]}.items():
    print(f"{name:12} shape {tuple(tensor.shape)}, strides {tensor.stride()}")

# %% [markdown]
# The address of `x[n, c, h, w]` is the sum of n, c, h, w, each times its stride. A kernel that is given the strides
# works for every layout, and for parts of tensors like the last line, without a copy.
#
# It also has to go from a number to a place. A program has a block of **pixels**, numbered through all images: m =
# (n·H + h)·W + w. The column changes fastest, so w is the rest of m by W; and so on, as with hours, minutes and
# seconds.

# %% [markdown]
# One more thing can go wrong. Numbers in a kernel are int32 where they fit, and a product of two int32 numbers is
# an int32 number.
#
# **Predict.** 129 images of 64 channels with 512×512 pixels. Where does the last image begin, counted in elements,
# and where if the product is cut to 32 bits?

# %%
image = 64 * 512 * 512
with np.errstate(over="ignore"):
    cut = np.int32(128) * np.int32(image)
print(f"image 128 begins at element {128 * image:,}; in 32 bits that is {cut:,}")

# %% [markdown]
# 128·64·512·512 is exactly 2³¹, one more than the largest int32 number. The kernel would read 2³¹ elements **before**
# the tensor. With a smaller batch it works, so tests do not find it. `m.to(tl.int64)` before the first multiplication
# makes all that follows 64 bits wide.

# %% [markdown]
# ### Exercise: from a pixel to its offset
#
# Write `pixel_offsets_kernel(offsets, M, H, W, x_n, x_h, x_w, BLOCK)`.
#
# - There are M pixels, numbered through images of H×W: image by image, row by row;
# - `x_n`, `x_h`, `x_w` are strides: how many elements further the next image, row and column lie. Each fits into 32
#   bits. What they make together need not;
# - `offsets` is the address of M int64 numbers. Pixel m's is n·x_n + h·x_h + w·x_w for its image n, row h and
#   column w;
# - it is launched on M / BLOCK programs, rounded up, and writes nothing past element M − 1.

# %% tags=["exercise:pixel_offsets"]
@triton.jit
def pixel_offsets_kernel(offsets, M, H, W, x_n, x_h, x_w, BLOCK: tl.constexpr):
    """Where each of M pixels begins: image n · x_n + row h · x_h + column w · x_w.

    offsets address of (M,) int64; H, W, x_n, x_h, x_w ints.  Grid: M / BLOCK programs, rounded up.
    """
    ### BEGIN SOLUTION
    m = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    n, h, w = m // (H * W), m // W % H, m % W
    tl.store(offsets + m, n * x_n + h * x_h + w * x_w, m < M)
    ### END SOLUTION

# %% tags=["check:pixel_offsets"]
check("pixel_offsets", pixel_offsets_kernel)

# %% [markdown]
# ### Exercise: to channels-last
#
# Write `to_channels_last_kernel(x, y, M, C, H, W, x_n, x_c, x_h, x_w, BLOCK_M, BLOCK_C)`, a copy into the other
# layout.
#
# - `x` is the address of images with C channels and H×W pixels, with any strides `x_n`, `x_c`, `x_h`, `x_w`; M is
#   the number of pixels of all images together;
# - `y` is the address of (M, C), packed: channel c of pixel m lies at m·C + c;
# - the grid is (M / BLOCK_M, C / BLOCK_C), both rounded up. `tl.program_id(0)` says which BLOCK_M pixels a program
#   does, `tl.program_id(1)` which BLOCK_C channels;
# - offsets fit into 32 bits here. Only elements of x are read, and only y's M·C elements written.

# %% tags=["exercise:to_channels_last"]
@triton.jit
def to_channels_last_kernel(x, y, M, C, H, W, x_n, x_c, x_h, x_w, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr):
    """Copy images with any strides to y (M, C): all channels of a pixel side by side.

    x, y addresses of numbers of one dtype.  Grid: (M / BLOCK_M, C / BLOCK_C), both rounded up.
    """
    ### BEGIN SOLUTION
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)             # (BLOCK_M,) pixels
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)             # (BLOCK_C,) channels
    n, h, w = m // (H * W), m // W % H, m % W
    there = (n * x_n + h * x_h + w * x_w)[:, None] + (c * x_c)[None, :]
    both = (m < M)[:, None] & (c < C)[None, :]
    tl.store(y + (m * C)[:, None] + c[None, :], tl.load(x + there, both), both)
    ### END SOLUTION

# %% tags=["check:to_channels_last"]
check("to_channels_last", to_channels_last_kernel)

# %%
def to_channels_last(x):
    """x (N, C, H, W), any strides, as a channels-last tensor of the same shape, by your kernel."""
    if obstacle():
        return x.contiguous(memory_format=torch.channels_last)
    N, C, H, W = x.shape
    y = torch.empty((N, H, W, C), dtype=x.dtype, device=x.device)
    grid = triton.cdiv(N * H * W, 64), triton.cdiv(C, 16)
    launch(to_channels_last_kernel, grid, x, y, N * H * W, C, H, W, *x.stride(), BLOCK_M=64, BLOCK_C=16)
    return y.permute(0, 3, 1, 2)

# %%
part = normal(2, 20, 9, 14)[:, 3:, :, ::2]
copy = to_channels_last(part)
print("equal:", torch.equal(copy, part), "  strides", part.stride(), "->", copy.stride())

# %% [markdown]
# ## Which addresses are read together
#
# Why another layout, if the kernel takes any? Because of how memory delivers. It does not deliver numbers but
# **sectors** of 32 bytes that start at multiples of 32. When the lanes of a block read neighbours, one sector
# serves many of them: the access is **coalesced**. When they read far apart, each fetches 32 bytes and uses 2.
#
# A convolution reads a tile of x, some output pixels by some channels, once for each position (r, s) of the window.
# Here are the addresses of a small one in both layouts.

# %%
def tile_addresses(layout, r, s, stride=1, C=16, size=12, pixels=8, channels=16, row=2):
    """The elements that a tile reads at window position (r, s): outputs 0 to pixels − 1 of a row, and some channels.

    The image has C channels of size×size; layout "NCHW" or "NHWC".  Returns (pixels, channels) ints.
    """
    m = np.arange(pixels)[:, None]
    outputs = (size - 3) // stride + 1                                     # in a row, for windows of 3×3
    h, w = (row + m // outputs) * stride + r, m % outputs * stride + s
    c = np.arange(min(channels, C))[None, :]
    return (h * size + w) * C + c if layout == "NHWC" else (c * size + h) * size + w

# %%
fig, axes = plt.subplots(2, 1, figsize=(10, 4.4), layout="constrained", sharex=True)
for ax, layout in zip(axes, ("NCHW", "NHWC")):
    for step in range(9):
        addresses = tile_addresses(layout, *divmod(step, 3))
        ax.plot(addresses.ravel(), np.full(addresses.size, step), "|", color="0.2", markersize=7)
    ax.set(yticks=range(9), yticklabels=[f"({r}, {s})" for r in range(3) for s in range(3)], ylabel="step (r, s)",
           title=f"{layout}: 16 channels of 12×12 pixels, a tile of 8 pixels by 16 channels", xlim=(0, 2304))
    ax.invert_yaxis()
axes[1].set_xlabel("address, in elements")
plt.show()

# %% [markdown]
# Each line is one step and has 128 marks, one for each number that is read. In NCHW a line falls into 16 pieces,
# one for each channel, of 8 pixels each. In NHWC it is one piece of 128 neighbours. From one s to the next it moves
# by 16 (one pixel), from one r to the next by 192 (one row).
#
# **Predict.** How many bytes does memory deliver for each byte that is used? What if the convolution has a stride
# of 2?

# %%
def share_used(layout, **tile):
    """Bytes used over bytes in the sectors fetched, and the share that comes in whole aligned pieces of 16 bytes."""
    used = sectors = whole = 0
    for step in range(9):
        at = 2 * tile_addresses(layout, *divmod(step, 3), **tile).ravel()      # in bytes: 16-bit numbers
        used, sectors = used + 2 * at.size, sectors + np.unique(at // 32).size
        whole += 16 * (np.unique(at // 16, return_counts=True)[1] == 8).sum()
    return used / (32 * sectors), whole / used


coalescing = {}
tiles = {"64 channels, 58×58": {"C": 64, "size": 58}, "the same, stride 2": {"C": 64, "size": 57, "stride": 2},
         "64 channels, 16×16": {"C": 64, "size": 16},
         "3 channels, 227×227, stride 4": {"C": 3, "size": 227, "stride": 4}}
print(f"{'64 pixels by up to 32 channels':32}" + "".join(f"{layout:>28}" for layout in ("NCHW", "NHWC")))
for name, tile in tiles.items():
    coalescing[name] = [share_used(layout, pixels=64, channels=32, **tile) for layout in ("NCHW", "NHWC")]
    print(f"{name:32}" + "".join(f"{a:14.0%} used, {b:4.0%} ×16" for a, b in coalescing[name]))

# %% [markdown]
# The first number is the share of the fetched bytes that is used, the second the share that comes in whole pieces
# of 16 bytes, the most that one thread can load at once.
#
# NCHW is not hopeless at stride 1: neighbours along a row are neighbours in memory. At stride 2 it fetches 2.7
# bytes for each it uses, and on small images its rows are short. In NHWC a pixel's 64 channels are 128 bytes in one
# piece, whatever stride, padding and size do. That is why NVIDIA recommends channels-last for 16-bit networks.

# %% [markdown]
# The last line is the exception: with 3 channels a pixel is 6 bytes, and at stride 4 the next one that is needed
# lies 24 bytes further. We come back to first layers. (What caches keep from one step to the next is not counted
# here.)

# %% [markdown]
# ## A product in tiles
#
# Now the matrix product, (M, D) times (D, K), to which all comes down: M output pixels, K filters, a **depth** D
# that is summed over. (Elsewhere these are called M, N and K.)
#
# If each output were computed alone it would read a row of D numbers and a column of D numbers for its 2·D
# operations: with 2 bytes each that is half an operation per byte, and the roof is at 295.
#
# A **tile** of outputs, BLOCK_M by BLOCK_K, reads BLOCK_M rows and BLOCK_K columns, once each, and uses every
# number of a row BLOCK_K times.
#
# **Predict.** How large must a square tile be for 295 operations per byte?

# %%
tile_intensity = {}
for block_m, block_k in [(1, 1), (16, 16), (64, 64), (128, 64), (128, 128), (256, 128), (512, 512)]:
    tile_intensity[block_m, block_k] = 2 * block_m * block_k / (2 * (block_m + block_k))     # per step of the depth
    sums = 4 * block_m * block_k / 1024
    print(f"{block_m:4}×{block_k:<4} {tile_intensity[block_m, block_k]:6.1f} operations per byte, "
          f"float32 sums of {sums:7.1f} KB")

# %% [markdown]
# 590 by 590, and its sums alone would take more than a megabyte: a multiprocessor has 256 KB for registers and as
# much for the rest. So real tiles have sides of 64 to 256, and read several times what has to be read. That this
# works is due to the **L2 cache**, 50 MB on an H100, shared by all multiprocessors and faster than memory: programs
# that run at the same time and need the same rows or columns find them there.
#
# Below, which program computes which outputs, for M = 10 and K = 6 in tiles of 4×4.

# %%
m, k = np.indices((10, 6))
pixels = np.arange(10).reshape(2, 5)                                      # the same 10 pixels, as an image of 2×5
plots.grids(m // 4, k // 4, pixels, pixels // 4, cell=0.4,
            titles=["tl.program_id(0)", "tl.program_id(1)", "the pixels: m", "their program_id(0)"])

# %% [markdown]
# Left, the output matrix twice: rows are pixels, columns are filters. Six programs, and those at the lower and the
# right edge hang over. Right, the same ten pixels in their image: a tile of rows is a run of pixels that goes from
# one row of the image to the next and, in a batch, on into the next image. It is no rectangle.

# %% [markdown]
# ### Exercise: how many tiles
#
# Write `tile_grid(M, K, block_m, block_k)`, all ints.
#
# - The outputs (M, K) are covered by tiles of block_m×block_k. Tiles may hang over at the end of either axis;
# - return a tuple of three: the number of tiles along M and along K, two ints, and a float: of all outputs in these
#   tiles, the share that exists, from 0 to 1.

# %% tags=["exercise:tile_grid"]
def tile_grid(M, K, block_m, block_k):
    """The tiles along both axes of (M, K), and the share of their outputs that is needed.

    All ints.  Returns (int, int, float).
    """
    ### BEGIN SOLUTION
    rows, columns = -(-M // block_m), -(-K // block_k)
    return rows, columns, M * K / (rows * block_m * columns * block_k)
    ### END SOLUTION

# %% tags=["check:tile_grid"]
check("tile_grid", tile_grid)

# %% [markdown]
# **Predict.** One image of VGG-16's last stage has 14×14 pixels and 512 filters. How many tiles of 128×128 is that,
# and how many of the 132 multiprocessors work?

# %%
grids = {}
for images in (1, 4, 32):
    rows, columns, share = grids[images] = tile_grid(images * 14 * 14, 512, 128, 128)
    rounds = -(-rows * columns // 132)
    print(f"{images:3} images: {rows:3} × {columns} tiles, {share:.0%} of their outputs needed; "
          f"rounds: {rounds}, {rows * columns / (132 * rounds):.0%} of the multiprocessors busy")

# %% [markdown]
# For one image, 8 of 132 work. That is why a GPU wants batches. With 32 images there are 196 tiles: one round of
# 132, and a second of 64. (As if each multiprocessor took one tile at a time; small tiles share one.)
#
# A remedy is **split-K**: several programs share the depth of a tile, and their sums are added afterwards. It costs
# traffic for the sums, and pays where tiles are few and deep. Notebook 18 meets the case where it is always so.

# %% [markdown]
# ### Exercise: a matrix product
#
# Write `matmul_kernel(a, b, c, M, K, D, a_m, a_d, b_d, b_k, BLOCK_M, BLOCK_K, BLOCK_D)`.
#
# - `a` is the address of (M, D) with strides `a_m`, `a_d`; `b` of (D, K) with strides `b_d`, `b_k`; both float32,
#   or both float16. `c` is the address of (M, K), float32, packed row by row;
# - the grid is (M / BLOCK_M, K / BLOCK_K), rounded up; a program writes its tile of c = a @ b;
# - D is walked through in steps of BLOCK_D, and need not be a multiple of it. `tl.dot(p, q,
#   input_precision="ieee")` multiplies two blocks and gives float32; sums are kept in float32;
# - nothing outside of the three matrices is touched. Offsets fit into 32 bits.

# %% tags=["exercise:matmul_kernel"]
@triton.jit
def matmul_kernel(a, b, c, M, K, D, a_m, a_d, b_d, b_k,
                  BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr):
    """c = a @ b, a (M, D), b (D, K) with any strides, c (M, K) float32 packed.

    Grid: (M / BLOCK_M, K / BLOCK_K), both rounded up.
    """
    ### BEGIN SOLUTION
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    total = tl.zeros((BLOCK_M, BLOCK_K), tl.float32)
    for first in range(0, D, BLOCK_D):
        d = first + tl.arange(0, BLOCK_D)
        p = tl.load(a + m[:, None] * a_m + d[None, :] * a_d, (m < M)[:, None] & (d < D)[None, :], other=0.0)
        q = tl.load(b + d[:, None] * b_d + k[None, :] * b_k, (d < D)[:, None] & (k < K)[None, :], other=0.0)
        total += tl.dot(p, q, input_precision="ieee")                  # (BLOCK_M, BLOCK_K)
    tl.store(c + m[:, None] * K + k[None, :], total, (m < M)[:, None] & (k < K)[None, :])
    ### END SOLUTION

# %% tags=["check:matmul_kernel"]
check("matmul_kernel", matmul_kernel)

# %%
def matmul(a, b):
    """a (M, D) times b (D, K), float32 or float16, in float32, by your kernel."""
    if obstacle():
        return a.float() @ b.float()
    (M, D), K = a.shape, b.shape[1]
    c = torch.empty((M, K), device=a.device)
    launch(matmul_kernel, (triton.cdiv(M, 64), triton.cdiv(K, 32)), a, b, c, M, K, D, *a.stride(), *b.stride(),
           BLOCK_M=64, BLOCK_K=32, BLOCK_D=32)
    return c

# %%
a, b = normal(150, 70), normal(45, 70)
print(f"largest difference from torch: {(matmul(a, b.T) - a @ b.T).abs().max():.0e}, b given as a transposed view")

# %% [markdown]
# `tl.dot` is where the 989 TFLOP/s are. **Tensor cores** multiply small matrices of 16-bit numbers, and add up in
# float32. On an H100 they do about 15 times what the ordinary float32 units do (67 TFLOP/s by the same data sheet).
# On a GPU the sides of a block for `tl.dot` are at least 16; the interpreter takes smaller ones, and the checks use
# them.

# %% [markdown]
# ## Short numbers, long sums
#
# A floating-point number is a sign, an exponent and a **fraction**, the digits after the leading 1. Networks are
# trained in short formats because those move and multiply faster.
#
# **Predict.** We add 1 to a float16 number, 5000 times. What comes out?

# %%
formats = {"float32": (8, 23), "TF32": (8, 10), "float16": (5, 10), "bfloat16": (8, 7)}      # bits of both parts
for name, (exponent, fraction) in formats.items():
    largest = (2 - 2.0**-fraction) * 2.0 ** (2 ** (exponent - 1) - 1)
    print(f"{name:9} exponent {exponent}, fraction {fraction:2}: largest {largest:8.1e}, "
          f"all whole numbers up to {2 ** (fraction + 1):,}")
stuck = np.float16(0)
for _ in range(5000):
    stuck = np.float16(stuck + np.float16(1))
print("5000 times 1, summed in float16:", int(stuck))

# %% [markdown]
# 2048: there the neighbours of a float16 number are 2 apart, and 2048 + 1 is rounded back to 2048. bfloat16 would
# stop at 256. A filter of a 3×3 layer with 512 channels sums 4,608 products. So the factors may be short, but sums
# are kept in float32, and rounded once, when the result is stored.

# %%
rng = np.random.default_rng(17)
errors = {}
for depth in (64, 576, 4608):
    u, v = rng.uniform(size=(2, 200, depth)).astype(np.float16)
    exact = (u.astype(float) * v).sum(1)
    sums = {"float32": np.float32, "float16": np.float16}
    for name, kind in sums.items():
        total = np.zeros(200, kind)
        for d in range(depth):
            total += (u[:, d].astype(np.float32) * v[:, d]).astype(kind)
        errors[depth, name] = float(np.abs(total - exact).max() / exact.mean())
    print(f"{depth:5} products of float16 numbers from 0 to 1: relative error "
          f"{errors[depth, 'float32']:.0e} with float32 sums, {errors[depth, 'float16']:.0e} with float16 sums")

# %% [markdown]
# Then there is **TF32**: float32 numbers whose fraction is cut to 10 bits on their way into a tensor core, about
# seven times as fast as float32. The tensors stay float32, so nothing shows it. On a GPU it is what `tl.dot` does
# with float32 unless told `input_precision="ieee"`, and what cuDNN does for PyTorch's convolutions unless
# `torch.backends.cudnn.conv.fp32_precision` says otherwise.
#
# ### Exercise: round to TF32
#
# Write `round_to_tf32(x)`.
#
# - `x` is a float32 tensor of any shape; its numbers are not 0, and neither so large nor so small that their
#   exponent would become a problem;
# - return a float32 tensor of the same shape: each number rounded to the nearest that has only 10 bits of fraction.
#   Exactly half-way between two of them it goes to the one further from 0.

# %% tags=["exercise:round_to_tf32"]
def round_to_tf32(x):
    """x rounded to 10 bits of fraction, halves away from 0; x float32, any shape."""
    ### BEGIN SOLUTION
    half, kept = 1 << 12, -1 << 13                       # of the 13 bits that go; a mask of the 19 that stay
    return ((x.view(torch.int32) + half) & kept).view(torch.float32)
    ### END SOLUTION

# %% tags=["check:round_to_tf32"]
check("round_to_tf32", round_to_tf32)

# %% [markdown]
# **Predict.** A product of matrices with depth 1152 in TF32. By how much do its results differ from float32's,
# relative to their size? How could you tell such a difference from a bug?

# %%
a, b = torch.randn(64, 1152, generator=generator), torch.randn(1152, 64, generator=generator)
exact = a.double() @ b.double()
off = {"float32": a @ b, "TF32": round_to_tf32(a) @ round_to_tf32(b),
       "bfloat16": a.bfloat16().float() @ b.bfloat16().float(), "rounded to float16": (a @ b).half()}
off = {name: float((result - exact).abs().max() / exact.std()) for name, result in off.items()}
for name, error in off.items():
    print(f"{name:21} largest error {error:.1e} of the results' size")

# %% [markdown]
# TF32 is off by a thousandth of the results' size, nine times less than bfloat16. A test with the tolerance of
# float32 fails, although nothing is wrong: TF32 is **taken for a bug**. And the last line is a real mistake, a
# result that goes through float16 on its way, of about the same size: in a test that is wide enough for TF32 it
# passes.
#
# So tests of kernels switch TF32 off (or use small whole numbers, as the checks here do: products and sums of those
# are exact in every format), and compare with a float64 result, within an error that fits the format.

# %% [markdown]
# ## The patches, and how to do without
#
# A convolution on a GPU could now be done as in notebook 04: a kernel writes the patches, one row for each output
# pixel, and your product multiplies them with the weights.
#
# **Predict.** The fourth layer of the table at the end is VGG-16's second one, for 32 images. How large is its
# input in bfloat16, and how large are its patches?

# %%
pixels_in_batch, channels = 32 * 224 * 224, 64
input_bytes, patch_bytes = 2 * pixels_in_batch * channels, 2 * pixels_in_batch * 9 * channels
print(f"input {input_bytes / 1e6:,.0f} MB, patches {patch_bytes / 1e6:,.0f} MB; written and read once at 3.35 TB/s: "
      f"{2 * patch_bytes / BANDWIDTH * 1e6:,.0f} microseconds")
arithmetic = 2 * pixels_in_batch * 9 * channels * 64 / PEAK
print(f"the arithmetic of the layer at the peak: {arithmetic * 1e6:.0f} microseconds")

# %% [markdown]
# Moving the patches would take nine times as long as the whole layer. So we use what we know about them: every row
# of the matrix of windows is a window, column d of it is one position (r, s) and one channel c, and where that lies
# in the image is a short calculation:
#
# - row m: image n, output row p, output column q, as in your exercise on offsets;
# - column d = (r·S + s)·C + c. We choose this order, channels fastest, because channels-last has them side by side;
# - the number is x[n, c, p·stride + r − padding, q·stride + s − padding], or 0 in the padding.

# %% [markdown]
# A program that needs a tile of the matrix reads it from the image. The matrix exists nowhere: **implicit GEMM**
# (Chetlur and others, 2014, in the first cuDNN).

# %%
animation.implicit_gemm((4, 5), channels=4, filters=6, kernel_size=(3, 3), padding=1)

# %% [markdown]
# A tile of 8 pixels by 4 filters. At every step, left, the numbers 0 to 7 show what each output pixel reads: the
# whole tile is shifted with (r, s). The two channels of a step are columns of the matrix in the middle, and rows of
# the weights on the right. Each step multiplies the two dark blocks and adds the result to the tile of sums.
#
# Dotted places lie in the padding. Which ones those are changes from step to step:

# %%
P, Q, p, q = 4, 5, *np.indices((4, 5))
fig, axes = plt.subplots(3, 3, figsize=(7, 6), layout="constrained")
for (r, s), ax in np.ndenumerate(axes):
    h, w = p + r - 1, q + s - 1                                           # stride 1, padding 1
    plots.grid(ax, ((h >= 0) & (h < 4) & (w >= 0) & (w < 5)).astype(int), f"r = {r}, s = {s}", vmin=0, vmax=1)
plt.show()

# %% [markdown]
# The mask of each step, drawn over the output pixels: 1 where the pixel that is read exists. For (0, 0) the first
# row and the first column of outputs look outside, for (1, 1) none, for (2, 2) the last ones. Padding is nowhere
# stored. It is a mask with `other=0.0`.

# %% [markdown]
# ### Exercise: bias and ReLU on a tile
#
# First the end of the kernel. Write `bias_relu_kernel(total, bias, y, M, K, BLOCK_M, BLOCK_K)`.
#
# - `total` is the address of sums (M, K), float32, packed row by row: rows are pixels, columns filters; `bias` of K
#   float32 numbers, one for each filter;
# - `y` is the address of (M, K), float16, packed: the larger of sum + bias and 0. It is computed in float32 and
#   rounded once, by the store;
# - the grid is (M / BLOCK_M, K / BLOCK_K), rounded up; only elements that exist are read and written.

# %% tags=["exercise:bias_relu_kernel"]
@triton.jit
def bias_relu_kernel(total, bias, y, M, K, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr):
    """y = max(total + bias, 0); total (M, K) float32, bias (K,) float32, y (M, K) float16, all packed.

    Grid: (M / BLOCK_M, K / BLOCK_K), both rounded up.
    """
    ### BEGIN SOLUTION
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    at, exists = m[:, None] * K + k[None, :], (m < M)[:, None] & (k < K)[None, :]
    summed = tl.load(total + at, exists) + tl.load(bias + k, k < K)[None, :]       # (BLOCK_M, BLOCK_K)
    tl.store(y + at, tl.maximum(summed, 0.0), exists)
    ### END SOLUTION

# %% tags=["check:bias_relu_kernel"]
check("bias_relu_kernel", bias_relu_kernel)

# %% [markdown]
# As a kernel of its own it reads and writes the whole output once more. At the end of the convolution, while the
# sums are still in registers, it costs nothing: the **epilogue** is **fused**.

# %% [markdown]
# ### Exercise: the convolution
#
# Write `conv_kernel`, with the parameters that stand in its cell.
#
# - `x`: images with C channels, H×W, strides `x_n`, `x_h`, `x_w`, `x_c`; `weight` (R, S, C, K) packed, which is a
#   matrix (R·S·C, K); `bias` (K,). All float32 or all float16;
# - `y` (M, K) float32, packed; M = N·P·Q output pixels, in the order image, row p, column q;
# - y is the ReLU of the convolution plus bias. `stride` and `padding` are ints, for both axes;
# - the grid is (M / BLOCK_M, K / BLOCK_K), rounded up; BLOCK_C is how many channels a step takes. Sums are float32,
#   `tl.dot(a, b, input_precision="ieee")` as before. Only what exists is read or written. Offsets fit into 32 bits.

# %% tags=["exercise:conv_kernel"]
@triton.jit
def conv_kernel(x, weight, bias, y, M, H, W, C, K, P, Q, R, S, stride, padding, x_n, x_h, x_w, x_c,
                BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_C: tl.constexpr):
    """y = ReLU of the convolution of x with weight, plus bias, as an implicit matrix product.

    x images of C channels, H×W, any strides; weight (R, S, C, K), bias (K,); y (M, K) float32, all packed.
    Grid: (M / BLOCK_M, K / BLOCK_K), both rounded up.
    """
    ### BEGIN SOLUTION
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)                 # (BLOCK_M,) output pixels
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)                 # (BLOCK_K,) filters
    n, p, q = m // (P * Q), m // Q % P, m % Q
    total = tl.zeros((BLOCK_M, BLOCK_K), tl.float32)
    for r in range(R):
        for s in range(S):
            h, w = p * stride - padding + r, q * stride - padding + s      # (BLOCK_M,) the place that is read
            inside = (m < M) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
            for first in range(0, C, BLOCK_C):
                c = first + tl.arange(0, BLOCK_C)
                a = tl.load(x + (n * x_n + h * x_h + w * x_w)[:, None] + c[None, :] * x_c,
                            inside[:, None] & (c < C)[None, :], other=0.0)                     # (BLOCK_M, BLOCK_C)
                b = tl.load(weight + ((r * S + s) * C + c)[:, None] * K + k[None, :],
                            (c < C)[:, None] & (k < K)[None, :], other=0.0)                    # (BLOCK_C, BLOCK_K)
                total += tl.dot(a, b, input_precision="ieee")
    total += tl.load(bias + k, k < K, other=0.0)[None, :]
    tl.store(y + m[:, None] * K + k[None, :], tl.maximum(total, 0.0), (m < M)[:, None] & (k < K)[None, :])
    ### END SOLUTION

# %% tags=["check:conv_kernel"]
check("conv_kernel", conv_kernel)

# %% [markdown]
# Now it takes the place of a layer. LeNet as notebook 09 trained it, on MNIST with distortions, reads the digits
# that come with the course; its images of 8×8 are made larger. Convolutions and ReLU are your kernel.

# %%
BLOCK_M = 1024 if DEVICE == "cpu" else 64              # the interpreter is quickest with few large tiles


def conv_relu(x, weight, bias, stride=1, padding=0, blocks=(BLOCK_M, 16, 16)):
    """ReLU of a convolution of x (N, C, H, W), any strides, weight (K, C, R, S), by your kernel: (N, K, P, Q)."""
    if obstacle():
        return F.relu(F.conv2d(x, weight, bias, stride, padding))
    (N, C, H, W), (K, _, R, S) = x.shape, weight.shape
    P, Q = (H + 2 * padding - R) // stride + 1, (W + 2 * padding - S) // stride + 1
    y = torch.empty((N, P, Q, K), device=x.device)
    x_n, x_c, x_h, x_w = x.stride()
    launch(conv_kernel, (triton.cdiv(N * P * Q, blocks[0]), triton.cdiv(K, blocks[1])),
           x, weight.permute(2, 3, 1, 0).contiguous(), bias, y, N * P * Q, H, W, C, K, P, Q, R, S, stride, padding,
           x_n, x_h, x_w, x_c, BLOCK_M=blocks[0], BLOCK_K=blocks[1], BLOCK_C=blocks[2])
    return y.permute(0, 3, 1, 2)                                           # channels-last, seen as (N, K, P, Q)

# %%
images, labels = digits()
large = F.interpolate(torch.from_numpy(images[:5, None] / 16).float(), size=(20, 20), mode="bicubic").clamp(0, 1)
large = ((F.pad(large, (6, 6, 6, 6)) - 0.1307) / 0.3081).to(DEVICE)        # (5, 1, 32, 32), normalised as in training
w1, b1, w2, b2, *dense = (torch.from_numpy(v).float().to(DEVICE) for v in results.arrays("mnist_lenet").values())
maps = conv_relu(large, w1, b1)                                            # (5, 6, 28, 28)
print(f"C1: {tuple(maps.shape)}, largest difference from torch "
      f"{(maps - F.relu(F.conv2d(large, w1, b1))).abs().max():.0e}")

# %% [markdown]
# Its channels lie side by side already, ready for the next layer: a network stays channels-last by itself.

# %% [markdown]
# ## Max pooling: three changes
#
# A pooling window reads the same pixels as a convolution's. So the kernel is the same, but
#
# - there are no weights, and a block of channels takes the place of the block of filters: each is pooled alone;
# - the sum becomes a maximum;
# - what does not count is no longer 0.

# %% [markdown]
# ### Exercise: max pooling
#
# Write `max_pool_kernel(x, y, M, C, H, W, P, Q, R, S, stride, padding, BLOCK_M, BLOCK_C)`.
#
# - `x` (N, H, W, C) float32, packed: channels-last; `y` (M, C) float32, packed, M = N·P·Q output pixels in the
#   order image, row, column;
# - windows of R×S, `stride` and `padding` ints for both axes, as in the convolution. Padding never wins: every
#   window has a pixel of the image, and y is the largest of those it has;
# - the grid is (M / BLOCK_M, C / BLOCK_C), rounded up; only what exists is read or written.

# %% tags=["exercise:max_pool_kernel"]
@triton.jit
def max_pool_kernel(x, y, M, C, H, W, P, Q, R, S, stride, padding, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr):
    """The maxima of windows: x (N, H, W, C), y (M, C), float32, packed.

    Grid: (M / BLOCK_M, C / BLOCK_C), both rounded up.
    """
    ### BEGIN SOLUTION
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    n, p, q = m // (P * Q), m // Q % P, m % Q
    best = tl.full((BLOCK_M, BLOCK_C), float("-inf"), tl.float32)
    for r in range(R):
        for s in range(S):
            h, w = p * stride - padding + r, q * stride - padding + s
            inside = ((m < M) & (h >= 0) & (h < H) & (w >= 0) & (w < W))[:, None] & (c < C)[None, :]
            at = (((n * H + h) * W + w) * C)[:, None] + c[None, :]
            best = tl.maximum(best, tl.load(x + at, inside, other=float("-inf")))
    tl.store(y + (m * C)[:, None] + c[None, :], best, (m < M)[:, None] & (c < C)[None, :])
    ### END SOLUTION

# %% tags=["check:max_pool_kernel"]
check("max_pool_kernel", max_pool_kernel)

# %%
def max_pool(x, size, stride, padding=0):
    """The maxima of windows of size×size of x (N, C, H, W), channels-last, by your kernel: (N, C, P, Q)."""
    if obstacle():
        return F.max_pool2d(x, size, stride, padding)
    N, C, H, W = x.shape
    P, Q = (H + 2 * padding - size) // stride + 1, (W + 2 * padding - size) // stride + 1
    x, y = x.permute(0, 2, 3, 1).contiguous(), torch.empty((N, P, Q, C), device=x.device)
    launch(max_pool_kernel, (triton.cdiv(N * P * Q, BLOCK_M), triton.cdiv(C, 16)),
           x, y, N * P * Q, C, H, W, P, Q, size, size, stride, padding, BLOCK_M=BLOCK_M, BLOCK_C=16)
    return y.permute(0, 3, 1, 2)

# %%
def lenet(x, conv_relu, max_pool):
    """The scores of LeNet for x (N, 1, 32, 32), by these functions for its layers."""
    x = max_pool(conv_relu(max_pool(conv_relu(x, w1, b1), 2, 2), w2, b2), 2, 2).flatten(1)
    for i in (0, 2, 4):
        x = F.linear(x, dense[i], dense[i + 1])
        x = x if i == 4 else F.relu(x)
    return x

# %%
ours = lenet(large, conv_relu, max_pool)
theirs = lenet(large, lambda x, w, b: F.relu(F.conv2d(x, w, b)), F.max_pool2d)
print("digits     ", labels[:5].tolist())
print("your layers", ours.argmax(1).tolist())
print(f"largest difference of a score from torch: {(ours - theirs).abs().max():.0e}")

# %% [markdown]
# Five digits, read by LeNet with four kernel launches of yours, and the scores agree with PyTorch's up to rounding.

# %% [markdown]
# ## How to time a GPU
#
# Few things are measured wrongly as often. Four traps:
#
# - **The launch comes back at once.** Python only puts work into a queue. Whoever reads the clock then has measured
#   the queue: some microseconds, for any kernel. Before the clock is read, `torch.cuda.synchronize()` has to wait;
# - **The first launch compiles**, and the next ones fill caches and raise the clock. They do not count: the
#   warm-up;
# - **Some launches are disturbed.** Take the median of several, each timed on its own;
# - **The second run finds its data in the L2 cache.** In a network other layers run in between. So one overwrites
#   the cache before each run.

# %% [markdown]
# For practice, a device in simulation, with a clock in microseconds. To launch takes the host 5 of them; when the
# work is done is another matter.

# %%
class Device:
    """A device that works through a queue.

    durations: microseconds of the first launch, the second, and so on; the last one repeats.
    """

    def __init__(self, durations):
        self.durations, self.launches = durations, 0
        self.now = self.free = 0.0                       # the host's clock; when the queue will be empty

    def clock(self):
        """What the clock of the host shows, in microseconds."""
        return self.now

    def launch(self):
        """Put the kernel into the queue."""
        self.now += 5.0
        self.free = max(self.now, self.free) + self.durations[min(self.launches, len(self.durations) - 1)]
        self.launches += 1

    def synchronise(self):
        """Wait until the queue is empty."""
        self.now = max(self.now, self.free)

# %%
device = Device((900.0, 60.0, 30.0, 32.0, 31.0, 210.0, 33.0))
start = device.clock()
device.launch()
naive = device.clock() - start
device.synchronise()
print(f"a launch, and the clock at once: {naive:.0f} µs; after waiting: {device.clock() - start:.0f} µs")

# %% [markdown]
# Neither 5 nor 905 is what we want to know: the kernel takes about 32.
#
# ### Exercise: the median of launches
#
# Write the method `median_time(warmup, repeats)`.
#
# - It launches the kernel `warmup` times without looking at the clock (it may be 0 times), and then `repeats`
#   times, at least once, each timed on its own;
# - a launch's time is from before `launch()` until the device is done with it, and nothing else is in the queue
#   meanwhile. So the 5 µs of the host are in it;
# - it returns the median of these `repeats` times, a float, in microseconds: with an even number of them, the mean
#   of the two in the middle.

# %% tags=["exercise:median_time"]
class Stopwatch(Device):
    """Measures how long a kernel takes."""

    def median_time(self, warmup, repeats):
        """The median time of a launch in microseconds, after a warm-up; warmup, repeats ints."""
        ### BEGIN SOLUTION
        for _ in range(warmup):
            self.launch()
        times = []
        for _ in range(repeats):
            self.synchronise()
            begin = self.clock()
            self.launch()
            self.synchronise()
            times.append(self.clock() - begin)
        return float(np.median(times))
        ### END SOLUTION

# %% tags=["check:median_time"]
check("median_time", Stopwatch)

# %% [markdown]
# The same for a real GPU, with **events**, marks in the queue to which the GPU itself gives its time, and with a
# cache that is overwritten before each run. It is used below, where there is a GPU.

# %%
def gpu_seconds(work, warmup=5, repeats=30):
    """The median seconds of work() on the GPU, when the L2 cache holds other things."""
    flush = torch.empty(256 * 2**20, dtype=torch.int8, device="cuda")       # 256 MB, more than any L2 cache
    for _ in range(warmup):
        work()
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    for begin, end in events:
        flush.zero_()
        begin.record()
        work()
        end.record()
    torch.cuda.synchronize()
    return float(np.median([begin.elapsed_time(end) for begin, end in events])) / 1000

# %% [markdown]
# ## How fast and why: the two floors
#
# How fast could a layer be? Two times cannot be undercut, whatever the method: its operations at the peak of the
# arithmetic, and its bytes at the bandwidth, where each number of the input and of the weights is read once and
# each output written once. The longer one is the layer's **floor**.

# %% [markdown]
# ### Exercise: the floors of a layer
#
# Write `layer_floors(layer, itemsize, peak, bandwidth)`.
#
# - `layer` is a tuple of ints (N, C, H, W, K, R, S, stride, padding): N images, C channels, H×W pixels, K filters
#   of R×S; `itemsize` is the bytes of a number; `peak` is in operations per second, `bandwidth` in bytes per
#   second;
# - return a tuple of three: the operations, an int (a multiplication with its addition is two, those with padding
#   count); the bytes as said above, an int (the whole input, without padding; no bias); and the floor in seconds, a
#   float.

# %% tags=["exercise:layer_floors"]
def layer_floors(layer, itemsize, peak, bandwidth):
    """The operations of a convolution layer, its least bytes, and the seconds that neither allows to undercut.

    layer (N, C, H, W, K, R, S, stride, padding).  Returns (int, int, float).
    """
    ### BEGIN SOLUTION
    N, C, H, W, K, R, S, stride, pad = layer
    M = N * ((H + 2 * pad - R) // stride + 1) * ((W + 2 * pad - S) // stride + 1)
    flops = 2 * M * K * R * S * C
    moved = itemsize * (N * H * W * C + R * S * C * K + M * K)
    return flops, moved, max(flops / peak, moved / bandwidth)
    ### END SOLUTION

# %% tags=["check:layer_floors"]
check("layer_floors", layer_floors)

# %% [markdown]
# Fourteen layers, from networks that you know: A, B and C are AlexNet's (without groups), D to F VGG's, G to M
# ResNet's, and N is as small as LeNet's. All in bfloat16, 2 bytes a number.
#
# **Predict.** Which layers wait for memory, even at their best?

# %%
sizes = {"A": (128, 3, 227, 96, 11, 4, 0), "B": (128, 96, 27, 256, 5, 1, 2), "C": (128, 256, 13, 384, 3, 1, 1),
         "D": (32, 64, 224, 64, 3, 1, 1), "E": (32, 256, 56, 256, 3, 1, 1), "F": (32, 512, 14, 512, 3, 1, 1),
         "G": (128, 3, 224, 64, 7, 2, 3), "H": (128, 256, 56, 64, 1, 1, 0), "I": (128, 64, 56, 64, 3, 1, 1),
         "J": (128, 128, 56, 128, 3, 2, 1), "K": (128, 256, 14, 256, 3, 1, 1), "L": (128, 256, 14, 1024, 1, 1, 0),
         "M": (128, 512, 7, 512, 3, 1, 1), "N": (128, 16, 28, 32, 5, 1, 2)}
layers = {letter: (N, C, H, H, K, R, R, stride, padding) for letter, (N, C, H, K, R, stride, padding) in sizes.items()}


def all_floors():
    """Operations, bytes and floor of every layer, by your function, for the H100 and 2 bytes a number."""
    return {letter: layer_floors(layer, 2, PEAK, BANDWIDTH) for letter, layer in layers.items()}

# %%
floors = all_floors()
print("   N    C → K      pixels   window        GFLOP     MB   op/byte    arithmetic    bytes")
for letter, (N, C, H, K, R, stride, padding) in sizes.items():
    flops, moved, _ = floors[letter]
    print(f"{letter}  {N:3} {C:4} → {K:4}  {f'{H}×{H}':>7}  {f'{R}×{R} /{stride}':8} {flops / 1e9:11.1f} "
          f"{moved / 1e6:6.0f} {flops / moved:9.0f} {1e6 * flops / PEAK:10.0f} µs {1e6 * moved / BANDWIDTH:5.0f} µs")

# %%
floors = all_floors()
fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for shift, (name, color, hatch, of) in enumerate([("arithmetic", "0.35", "", lambda f: f[0] / PEAK),
                                                  ("bytes", "0.9", "///", lambda f: f[1] / BANDWIDTH)]):
    ax.bar(np.arange(14) + 0.4 * shift, [1e6 * of(f) for f in floors.values()], 0.4, label=name, color=color,
           edgecolor="0.2", hatch=hatch)
ax.set(xticks=np.arange(14) + 0.2, xticklabels=list(floors), ylabel="microseconds at least")
ax.legend(fontsize=9)
plt.show()

# %% [markdown]
# The two floors of each layer. The longer bar is the one that counts. Now under the roof:

# %%
places = {}
for letter, (flops, moved, seconds) in all_floors().items():
    places.setdefault(round(6 * np.log(flops / moved)), []).append((letter, flops / moved, flops / seconds / 1e12))
fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
intensity = np.array([20, ridge, 4000])
ax.loglog(intensity, np.minimum(PEAK, BANDWIDTH * intensity) / 1e12, color="0.2", linewidth=2)
ax.axvline(ridge, color="0.6", linewidth=1, linestyle=":")
for near in places.values():
    letters, x, y = zip(*near)
    ax.plot(x, y, "o", color="tab:orange", markeredgecolor="0.2", markersize=6)
    high = 1.25 if letters == ("C",) else 0.84                               # above, where there is more room
    ax.text(np.mean(x), high * np.mean(y), " " + ", ".join(letters), va="top", fontsize=10)
ax.set(xlabel="operations per byte that has to be moved", ylabel="TFLOP/s at best", ylim=(50, 1500))
ax.grid(which="major", color="0.9")
plt.show()

# %% [markdown]
# Each layer at the rate that its floor allows; letters at one place belong to the dots beside them. Left of the
# dotted line memory is the limit, right of it arithmetic.
#
# Eight of the fourteen have fewer than 295 operations per byte and wait for memory: the first layers A and G, the
# 1×1 layers H and L, J with its stride, and D, I and N closely. The others, with many channels and 3×3 or 5×5
# windows, can use the arithmetic. A network is as fast as the sum of its floors at best, so both kinds matter.

# %% [markdown]
# ## What each optimisation can give
#
# A floor is what remains. Each optimisation removes something on top of it, and what that is can be computed before
# a line is written. First, bytes that are moved in vain: the patches of explicit im2col, written and read once; and
# bias and ReLU as a kernel of their own, which reads and writes the output once more.
#
# **Predict.** For which layers do patches cost most? And a separate ReLU?

# %%
def output_pixels(layer):
    """M: the output pixels of all images."""
    N, _, H, W, _, R, S, stride, padding = layer
    return N * len(range(-padding, H + padding - R + 1, stride)) * len(range(-padding, W + padding - S + 1, stride))

# %%
floors, with_patches, with_relu = all_floors(), {}, {}
for letter, layer in layers.items():
    (N, C, H, W, K, R, S, stride, padding), (flops, moved, floor), M = layer, floors[letter], output_pixels(layer)
    patches = 2 * 2 * M * R * S * C if (R, S, stride) != (1, 1, 1) else 0        # a 1×1 layer's patches are its input
    with_patches[letter] = max(flops / PEAK, (moved + patches) / BANDWIDTH) / floor
    with_relu[letter] = (floor + 2 * 2 * M * K / BANDWIDTH) / floor
print(" " * 18 + "".join(f"{letter:>5}" for letter in layers))
for name, factors in {"with patches": with_patches, "with another ReLU": with_relu}.items():
    print(f"{name:18}" + "".join(f"{factor:5.1f}" for factor in factors.values()))

# %% [markdown]
# In times of the floor: with patches N could at best be 18 times as slow as its floor, D and I 10 times. For the
# 1×1 layers nothing changes: their input is the matrix already. A separate ReLU costs 13 to 168 per cent, most
# where there is much output for little arithmetic: G, L, A and N.
#
# Both vanish in your kernel.

# %% [markdown]
# Second, **reuse**. A tile reads the same numbers as its neighbours. In tiles of 128 pixels by up to 128 filters,
# how many bytes do all programs ask for, over those that have to be moved? The L2 cache answers most of these
# requests, but it is not infinitely fast either.
#
# Third, **idle** arithmetic: outputs of tiles that hang over, multiprocessors without a tile in the last round, and
# a depth that is filled up: `tl.dot` takes channels by the 16, and C = 3 fills 3 of them.

# %%
floors, asked, busy, filled = all_floors(), {}, {}, {}
for letter, layer in layers.items():
    (N, C, H, W, K, R, S, stride, padding), M = layer, output_pixels(layer)
    block_k = min(128, triton.next_power_of_2(K))
    rows, columns, _ = tile_grid(M, K, 128, block_k)
    asked[letter] = 2 * R * S * C * 128 * block_k * (1 / 128 + 1 / block_k) * rows * columns / floors[letter][1]
    busy[letter] = rows * columns / (132 * -(-rows * columns // 132))
    filled[letter] = C / (16 * -(-C // 16)), S * C / (16 * -(-S * C // 16))
print(" " * 18 + "".join(f"{letter:>5}" for letter in layers))
print(f"{'asked for / least':18}" + "".join(f"{v:5.0f}" for v in asked.values()))
for name, shares in {"processors busy": busy.values(), "filled, C": [v for v, _ in filled.values()],
                     "filled, S·C": [v for _, v in filled.values()]}.items():
    print(f"{name:18}" + "".join(f"{v:5.0%}" for v in shares))
for letter in "AG":
    flops, moved, _ = floors[letter]
    by_channel, by_row = (1e6 * flops / PEAK / share for share in filled[letter])
    print(f"{letter}: bytes {1e6 * moved / BANDWIDTH:.0f} µs; arithmetic {by_channel:.0f} µs with C at a time, "
          f"{by_row:.0f} µs with S·C at a time")

# %% [markdown]
# What follows from it:
#
# - layers with a large window and many channels (B, F, M) ask for 26 or 27 times their bytes. Larger tiles help,
#   and an order of programs in which neighbours run together;
# - F and M have one round of tiles and a half: 74 % busy. Split-K, or smaller tiles, can win up to a third there,
#   and elsewhere next to nothing;
# - A and G fill 3 of 16 channels. A row of the window, S·C = 33 or 21 numbers that lie side by side in
#   channels-last, fills 69 and 66 %, and comes in one piece: a **first-layer path**.

# %% [markdown]
# For both (the last two lines above) memory is the floor. With five times the arithmetic they would be limited by
# arithmetic that is mostly zeros; by rows they are near their floor.
#
# And **channels-last** we have counted above: at stride 2, layer J's tiles would fetch 2.7 times the bytes in NCHW.
#
# | optimisation | removes | predicted |
# |---|---|---|
# | tiles of 128×128 | reading a row and a column for each output | 0.5 → 64 operations per byte asked for |
# | channels-last | parts of sectors that nobody uses | up to 2.7 times the bytes, at stride 2 |
# | implicit instead of explicit | writing and reading patches | 1 to 18 times the time |
# | bias and ReLU in the kernel | one more trip of the output | 1.1 to 2.7 times the time |
# | split-K | idle multiprocessors | up to 1.35 times, for F and M |
# | first-layer path | channels that are not there | 19 % → 69 % of the products useful, for A |
#
# These are bounds: no program gains more from it. What each **gives** can only be measured.

# %% [markdown]
# ## What was measured
#
# **No measurement on a GPU is in this course yet**: everything above was computed. From elsewhere we know two
# things about the H100, in bfloat16 and channels-last. A plain implicit GEMM in Triton, not unlike yours, ran at
# 0.64 of the speed of NVIDIA's library cuDNN (geometric mean over these fourteen layers). And cuDNN is not at the
# floor everywhere: on first layers it reached 30 TFLOP/s and 0.1 to 0.3 TB/s.
#
# **Predict.** By which factor is cuDNN above the floor of layer G, if it does 30 TFLOP/s?

# %%
flops, moved, floor = all_floors()["G"]
print(f"G at 30 TFLOP/s: {1e6 * flops / 30e12:.0f} µs; its floor: {1e6 * floor:.0f} µs, "
      f"{flops / 30e12 / floor:.0f} times less")

# %% [markdown]
# So a first layer written by hand can be a good deal faster than the best library. On a machine with a GPU, the
# next cell measures your kernel and PyTorch's convolution with ReLU on the fourteen layers, and draws both under a
# roof that it measures too. Elsewhere it says so.

# %%
def on_gpu(letter):
    """Seconds of your kernel and of PyTorch's convolution and ReLU on a layer, bfloat16, channels-last."""
    N, C, H, W, K, R, S, stride, padding = layers[letter]
    x = torch.randn(N, C, H, W, device="cuda").bfloat16().to(memory_format=torch.channels_last)
    weight, bias = torch.randn(K, C, R, S, device="cuda").bfloat16(), torch.randn(K, device="cuda").bfloat16()
    weight_last = weight.to(memory_format=torch.channels_last)
    blocks = 128, min(64, max(16, triton.next_power_of_2(K))), min(64, max(16, triton.next_power_of_2(C)))
    torch.backends.cudnn.benchmark = True
    ours = gpu_seconds(lambda: conv_relu(x, weight, bias, stride, padding, blocks))
    return ours, gpu_seconds(lambda: F.relu(F.conv2d(x, weight_last, bias, stride, padding)))


def measured_roof():
    """This GPU's operations per second in a large product, and bytes per second in a large copy."""
    a, b = torch.randn(2, 8192, 8192, device="cuda").bfloat16()
    big = torch.empty(2**30, dtype=torch.int8, device="cuda")
    return 2 * 8192**3 / gpu_seconds(lambda: a @ b), 2 * big.numel() / gpu_seconds(lambda: big.clone())

# %%
if DEVICE == "cuda" and not obstacle():
    measured, (top, bytes_per_second) = {letter: on_gpu(letter) for letter in layers}, measured_roof()
    fig, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
    for ax, who, name in zip(axes, (0, 1), ("your kernel", "PyTorch (cuDNN)")):
        rates = {letter: (floors[letter][0] / floors[letter][1], floors[letter][0] / seconds[who])
                 for letter, seconds in measured.items()}
        plots.roofline(ax, bytes_per_second, top, rates)
        ax.set_title(f"{name}, {torch.cuda.get_device_name()}", fontsize=10)
    plt.show()
    ratios = {letter: theirs / ours for letter, (ours, theirs) in measured.items()}
    print("speed over cuDNN's: " + "  ".join(f"{letter} {ratio:.2f}" for letter, ratio in ratios.items()),
          f"\ngeometric mean {np.exp(np.mean(np.log(list(ratios.values())))):.2f}")
else:
    print("There is no GPU here, so nothing is measured.")

# %% [markdown]
# If you have measured: compare each letter with its floor and with the table of predictions. Where your kernel is
# far below the roof, one of the rows of the table should say why. Two things it does not say: your kernel stores
# float32, twice the bytes; and its wrapper turns the weights round for each call.
#
# The course's own kernels, a plain version and a fast one, are measured by `python -m benchmarks.gpu_conv` in its
# repository. Where its record is there, it is drawn here.

# %%
def draw_record(path):
    """The forward times in a record of benchmarks.gpu_conv, by layer, with the floors; a sentence if there is none."""
    if not path.is_file():
        print("There is no record of the course's own kernels on a GPU here.")
        return
    record = json.loads(path.read_text(encoding="utf-8"))
    rows = [row for row in record["layers"] if row["pass"] == "forward"]
    fig, ax = plt.subplots(figsize=(10, 4), layout="constrained")
    looks = {"plain_us": ("plain", "s"), "ours_us": ("fast", "o"), "cudnn_us": ("cuDNN", "x")}
    for key, (label, marker) in looks.items():
        ax.semilogy([row[key] for row in rows], marker, label=label, color="tab:orange" if key == "ours_us" else "0.3")
    ax.semilogy([max(row["arithmetic_floor_us"], row["bytes_floor_us"]) for row in rows], "_", markersize=18,
                color="0.2", label="floor")
    ax.set(xticks=range(len(rows)), xticklabels=list(layers)[:len(rows)], ylabel="microseconds")
    ax.legend(fontsize=9, ncols=4)
    plt.show()
    ratio = record["geometric_mean_ratio_to_cudnn"]["forward"]
    print(f"{record['command']}; {record['device']}; {record['date']}. "
          f"Speed over cuDNN's, geometric mean: plain {ratio['plain']:.2f}, fast {ratio['ours']:.2f}")

# %%
draw_record(Path(plots.__file__).parents[1] / "benchmarks" / "results" / "gpu_conv.json")

# %% [markdown] tags=["written:which_optimisation:4"]
# ## In your own words
#
# On an H100 (989 TFLOP/s, 3.35 TB/s) two layers take most of a network's time, with 16 images, in bfloat16 and
# NCHW:
#
# - **P**: 3 → 32 channels on 512×512 pixels, 3×3, stride 2, padding 1, measured 400 µs;
# - **Q**: 512 → 512 channels on 8×8 pixels, 3×3, padding 1, measured 40 µs.
#
# Each is followed by a ReLU in a kernel of its own, included. The clock was read before and after a loop of 100
# calls, after a warm-up.
#
# For each layer give intensity and floor, and what limits it. Which optimisations would you try first, and what can
# each give at most, in numbers? What would you ask about the measurement? Ten sentences are enough.
#
# <!-- BEGIN SOLUTION -->
# **Answer.**
#
# P does 1.81 billion operations and has to move 92.3 MB: 20 operations per byte. Its floor is 27.5 µs, set by
# memory (the arithmetic would take 1.8 µs). Q does 4.83 billion and moves 6.8 MB: 709 per byte, floor 4.9 µs, set
# by arithmetic.
#
# P first: the separate ReLU moves the output (67 MB) twice more, 40 µs, so fusing it saves that and no more than
# that. The rest, some 330 µs, is the layer itself, 12 times its floor: a first layer at stride 2 in NCHW. There I
# would go to channels-last with a path for three channels that reads the S·C = 9 numbers of a window's row
# together; C alone fills 3 of 16 lanes of the depth. At most from 360 to 27.5 µs. Patches must not be made.
#
# Q: M = 1024 pixels and 512 filters are 8 × 4 = 32 tiles of 128×128 on 132 multiprocessors, 24 % of them. So with
# these tiles at least 20 µs. Split-K by 4, or tiles of 64×64, gives up to 4 times. The ReLU costs 0.6 µs of traffic
# and a launch; fusing it is right and small. Channels-last helps on such small images.
#
# About the measurement: was the device waited for before the second look at the clock? If not, it is the time to
# queue 200 kernels. The inputs of Q (5.8 MB) stay in the L2 cache from call to call, which flatters it; and a
# median of single calls is safer than a mean.
#
# **Rubric.**
#
# - 1 point: intensities of about 20 and 709, floors of about 27 and 5 µs, memory and arithmetic as the limits.
# - 1 point: P: the fused ReLU is worth about 40 µs; the rest is for channels-last and a first-layer path.
# - 1 point: Q: 32 tiles for 132 multiprocessors; split-K or smaller tiles, at most 4 times.
# - 1 point: synchronisation before the clock is read, and one of: warm cache, mean instead of median.
# <!-- END SOLUTION -->

# %% [markdown]
# ## Summary
#
# | question | answer |
# |---|---|
# | a program | does a block of numbers at once; knows its number; runs in any order |
# | the mask | which lanes touch memory; a block's size is a power of 2, n is not |
# | `other` | what masked lanes hold: 0 for sums and products, −∞ for a maximum |
# | an address | first element + each index times its stride; never assumed, int64 where tensors are large |
# | pixel m | its column is the rest of m by the width; the whole part, taken on, gives row and image |
# | coalescing | memory delivers 32 bytes at a time; channels-last reads whole ones |
# | a tile | BLOCK_M rows by BLOCK_K columns: BLOCK_M·BLOCK_K / (BLOCK_M + BLOCK_K) operations per byte, at 2 bytes |
# | number formats | factors in 16 bits or TF32, sums in float32, rounded once |
# | implicit GEMM | the matrix of windows is addressed, not stored; padding is a mask |
# | epilogue | bias and ReLU while the sums are in registers: no traffic |
# | max pooling | the same addresses, maximum for sum, −∞ for 0 |
# | timing | warm-up, wait before each look at the clock, median; cold L2 |
# | floor | the longer of operations / peak and least bytes / bandwidth |

# %% [markdown]
# ## Where to read more
#
# - Philippe Tillet, H. T. Kung and David Cox, *Triton: an intermediate language and compiler for tiled neural
#   network computations*, 2019; and the tutorials of the Triton project, from vector addition on.
# - Sharan Chetlur and others, *cuDNN: efficient primitives for deep learning*, 2014: implicit GEMM.
# - Samuel Williams, Andrew Waterman and David Patterson, *Roofline: an insightful visual performance model for
#   multicore architectures*, 2009.
# - Andrew Lavin and Scott Gray, *Fast algorithms for convolutional neural networks*, 2016: Winograd's way, with
#   fewer multiplications.
# - NVIDIA, *H100 Tensor Core GPU architecture*, 2022: the numbers of the chip; and *CUDA C++ best practices guide*:
#   coalescing.
# - The full kernels of this course, with dilation, groups and gradients, are in its repository under
#   `solutions/gpu`.
