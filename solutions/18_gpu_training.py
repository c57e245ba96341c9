# %% [markdown]
# # 18 Backward and training on the GPU
#
# Notebook 17 brought a convolution's forward pass to the GPU. Training needs two more products for each layer, and
# everything around them: gradients that no two programs write at the same time, numbers of 16 bits, many small
# launches, several GPUs. At the end a network learns with the kernels that you have written here.

# %% [markdown]
# ## What you will be able to do
#
# - write the gradients of a convolution, a ReLU, a bias and a max pooling as kernels;
# - see where programs would race, and arrange the work so that they cannot;
# - split a long sum among programs, and say when the result is the same in every run;
# - make autograd use your kernels, and test that it does so rightly;
# - train with 16-bit numbers, and say what must stay at 32 bits, and why;
# - estimate what launches, copies and other GPUs cost before you measure it;
# - divide a batch among GPUs so that they compute the gradient of the whole batch, and schedule the learning rate.

# %%
import math
import textwrap
from contextlib import nullcontext

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import Function
from torch.utils._python_dispatch import TorchDispatchMode

from cnnlab import animation, augment, check, hint, plots
from cnnlab.data import digits, photo
from cnnlab.kernels import DEVICE, obstacle, tl, triton, watch
from cnnlab.notebook import quick
from cnnlab.train import Recipe, normalise, train

torch.set_num_threads(1)  # everything below is so small that threads would only wait for each other

# %%
print(obstacle() or f"Triton is there; kernels run on {DEVICE}" + (", in its interpreter." if DEVICE == "cpu" else "."))

# %% [markdown]
# As in notebook 17: without a GPU the kernels run in Triton's interpreter, slowly and with the same results, and the
# checks use it always. With a GPU the same cells compile them and run them there.
#
# If the line above says that Triton is not installed, the five exercises on kernels have to wait for another machine.
# For each of them there is the same thing in PyTorch, and the rest of the notebook uses that: the sections from
# "Telling autograd" on need no Triton.

# %% [markdown]
# ## Three products for each layer
#
# Tensors lie channels-last and packed, with the letters of notebook 17:
#
# | tensor | in memory | letters |
# |---|---|---|
# | `x`, `dx` | (N, H, W, C) | N images of H×W pixels, C channels |
# | `weight`, `dw` | (R, S, C, K) | windows of R×S, K filters |
# | `y`, `dy` | (N, P, Q, K) | P×Q output pixels, M = N·P·Q in all |
#
# `dy` is the gradient of the loss with respect to y, as in notebook 05, and comes from the layer above. Output pixel
# (p, q) meets with its weight (r, s) the pixel
#
# $$h = p \cdot \text{stride} - \text{padding} + r, \qquad w = q \cdot \text{stride} - \text{padding} + s .$$
#
# This one line is the whole address arithmetic, forwards and backwards.

# %% [markdown]
# All three go through the same triples: one output, one weight, one pixel of x. Of each triple two are multiplied, and
# added to the third. They differ in what is summed over:
#
# $$y[n,p,q,k] = \sum_{r,s,c} x[n,h,w,c]\; \text{weight}[r,s,c,k]$$
# $$\text{dx}[n,h,w,c] = \sum_{r,s,k} \text{dy}[n,p,q,k]\; \text{weight}[r,s,c,k]$$
# $$\text{dw}[r,s,c,k] = \sum_{n,p,q} \text{dy}[n,p,q,k]\; x[n,h,w,c]$$
#
# As matrices, each is (rows × sum) times (sum × columns). Below: the layers D, E and F of notebook 17 (64 channels on
# 224×224, 256 on 56×56, 512 on 14×14), and tiles of 128×128 results.
#
# **Predict.** Which of the three has the fewest tiles?

# %%
def products(N, C, H, K, R, stride, padding):
    """For a layer on square images: rows, columns and length of the sum of its three products."""
    P = (H + 2 * padding - R) // stride + 1
    return {"y": (N * P * P, K, R * R * C), "dx": (N * H * H, C, R * R * K), "dw": (R * R * C, K, N * P * P)}


LAYERS = {"D": (32, 64, 224, 64, 3, 1, 1), "E": (32, 256, 56, 256, 3, 1, 1), "F": (32, 512, 14, 512, 3, 1, 1)}
tiles = {}
for layer, sizes in LAYERS.items():
    for result, (rows, columns, length) in products(*sizes).items():
        tiles[layer, result] = math.ceil(rows / 128) * math.ceil(columns / 128)
        print(f"{layer}  {result:3} {rows:9,} × {columns:5,}, each a sum of {length:9,}: "
              f"{rows * columns * length / 1e9:6.1f} G multiply-adds in {tiles[layer, result]:6,} tiles")

# %% [markdown]
# The same number of multiply-adds three times: training a layer costs three times its forward pass. But the shapes
# differ. `dw` is small and its sums are long, up to 1.6 million products. Five tiles, for the 132 multiprocessors of an
# H100. We come back to that.

# %% [markdown]
# ## To begin with: bias and ReLU
#
# After a convolution come a bias and a ReLU, $y = \max(z + b, 0)$, which notebook 17 fused into the kernel. On the
# way back, with images and pixels as the rows of one matrix:
#
# $$\text{dz}[m, k] = \text{dy}[m, k] \text{ where } y[m, k] > 0, \text{ else } 0; \qquad
# \text{db}[k] = \sum_m \text{dz}[m, k] .$$
#
# Where y is positive, so was the sum before the ReLU. So y is all that must be kept, and the next layer keeps it
# anyway, as its x.

# %% [markdown]
# No two programs may write the same place. Here a program has BLOCK_K columns for itself, goes through **all** rows, a
# piece of BLOCK_M at a time, and is the only one to write its entries of `db`.

# %% [markdown]
# ### Exercise: back through ReLU and bias
#
# Write the kernel `relu_bias_backward_kernel`. Program i has the columns from i·BLOCK_K on.
#
# - `dy`, `y` and `dz` are (M, K), with **the same** strides: element (m, k) is at `m * stride_m + k * stride_k`. They
#   are float32 or float16 and may be views;
# - `db` (K,) is float32 and packed;
# - store dz, and db as the sum over all rows. The sum is kept in float32;
# - BLOCK_M and BLOCK_K need not divide M and K.
#
# If you are stuck, run `hint("relu_bias_backward")` in a cell of your own, and again for more.

# %% tags=["exercise:relu_bias_backward"]
@triton.jit
def relu_bias_backward_kernel(dy, y, dz, db, M, K, stride_m, stride_k, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr):
    """dz (M, K) from dy and y (M, K), and db (K,), the sum of its rows; program i has columns i·BLOCK_K …"""
    ### BEGIN SOLUTION
    k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    total = tl.zeros((BLOCK_K,), tl.float32)
    for first in range(0, M, BLOCK_M):
        m = first + tl.arange(0, BLOCK_M)
        there = m[:, None] * stride_m + k[None, :] * stride_k            # (BLOCK_M, BLOCK_K)
        inside = (m < M)[:, None] & (k < K)[None, :]
        given = tl.load(dy + there, inside, other=0.0)
        passed = tl.where(tl.load(y + there, inside, other=0.0) > 0, given, 0.0)
        tl.store(dz + there, passed, inside)
        total += tl.sum(passed.to(tl.float32), axis=0)                   # (BLOCK_K,)
    tl.store(db + k, total, k < K)
    ### END SOLUTION

# %% tags=["check:relu_bias_backward"]
check("relu_bias_backward", relu_bias_backward_kernel)

# %% [markdown]
# In PyTorch it is `dz = dy * (y > 0)` and `db = dz.sum(0)`: two or three kernels, each of which reads and writes whole
# tensors. Both take a few operations per number, so the bytes decide (notebook 17).
#
# **Predict.** How much less does the fused kernel move?

# %%
M, K = 32 * 56 * 56, 256
one_pass = 2 * M * K                                                     # bytes, at 16 bits a number
separate = {"y > 0": 1.5, "dy times that": 2.5, "sum of the rows": 1}    # passes; a bool has 8 bits
fused_passes, separate_passes = 3, sum(separate.values())
for name, passes in (("three kernels", separate_passes), ("one kernel", fused_passes)):
    print(f"{name:13} {passes} passes, {passes * one_pass / 1e6:5.1f} MB, "
          f"at 3.35 TB/s at least {passes * one_pass / 3.35e12 * 1e6:.0f} µs")

# %% [markdown]
# Three passes (read dy, read y, write dz) in place of five. The sums are free: each number is there already when it is
# needed. (3.35 TB/s is what NVIDIA states for the H100 SXM; floors, not measurements.)

# %% [markdown]
# ## The gradient of the weights
#
# $\text{dw}[j, k] = \sum_m X[m, j]\; \text{dy}[m, k]$: the matrix of windows of notebook 04, transposed, times `dy`. X
# has a row for each of the M output pixels, and a column for each of the R·S·C weights of a filter. As in notebook 17
# this matrix is never made: every number of a tile is fetched from where it lies in x.
#
# The pixel number m becomes n, p, q, and the weight number j becomes r, s, c. Both are taken apart with // and %, and
# what varies fastest is what lies side by side in memory.

# %%
def windows_of_dw(H, W, R, S, stride, padding):
    """For one image and channel: which pixel, by its number, meets weight j at output pixel m; −1 in the padding."""
    P, Q = (H + 2 * padding - R) // stride + 1, (W + 2 * padding - S) // stride + 1
    m, j = np.arange(P * Q)[:, None], np.arange(R * S)
    h, w = m // Q * stride - padding + j // S, m % Q * stride - padding + j % S
    inside = (h >= 0) & (h < H) & (w >= 0) & (w < W)
    return np.where(inside, h * W + w, -1)

# %%
X = windows_of_dw(4, 5, 3, 2, 2, 1)                                      # (P·Q, R·S)
fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.4), layout="constrained", width_ratios=[5, 6])
plots.grid(axes[0], np.arange(20).reshape(4, 5), "x, 4×5: the pixels' numbers", vmin=0, vmax=80)
title = "windows of 3×2, stride 2, padding 1; rows m, columns j"
plots.grid(axes[1], np.where(X < 0, np.nan, X), title, vmin=0, vmax=80)
for m, j in np.argwhere(X < 0):
    axes[1].text(j, m, "×", ha="center", va="center", color="0.5")
plots.frame(axes[1], 3, 2, 3, 2)
axes[1].set_xticks(range(6), [f"{j // 2}, {j % 2}" for j in range(6)])
axes[1].set_yticks(range(6), [f"{m // 3}, {m % 3}" for m in range(6)])
axes[1].grid(visible=False)
plt.show()

# %% [markdown]
# Right: the matrix that is never made. Beside the rows stand (p, q), below the columns (r, s); × is padding, masked to
# 0. Framed is a piece of 3 output pixels by 2 weights, as one step of a program's loop loads it. The program multiplies
# it with the same 3 pixels of `dy`, for the filters of its tile, and goes on downwards.

# %% [markdown]
# ### Exercise: the gradient of the weights
#
# Write `grad_weight_kernel`. The grid is (R·S·C / BLOCK_J, K / BLOCK_K), rounded up: program (a, b) makes the tile of
# `dw` with the weights j from a·BLOCK_J on, of the filters from b·BLOCK_K on, where j = (r·S + s)·C + c. It goes
# through all M = N·P·Q output pixels, BLOCK_M at a time.
#
# - `dy` (N, P, Q, K) and `x` (N, H, W, C), both float32 or both float16, and `dw` (R, S, C, K), float32, are packed;
# - `stride` and `padding` are ints, for both axes; the stride need not fit;
# - sums are float32; `tl.dot(a, b, input_precision="ieee")` as in notebook 17.

# %% tags=["exercise:grad_weight_kernel"]
@triton.jit
def grad_weight_kernel(dy, x, dw, M, H, W, C, K, P, Q, R, S, stride, padding,
                       BLOCK_J: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_M: tl.constexpr):
    """A tile of dw (R, S, C, K): BLOCK_J weights of BLOCK_K filters, summed over all M output pixels."""
    ### BEGIN SOLUTION
    j = tl.program_id(0) * BLOCK_J + tl.arange(0, BLOCK_J)
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    r, s, c = j // (S * C), j // C % S, j % C
    total = tl.zeros((BLOCK_J, BLOCK_K), tl.float32)
    for first in range(0, M, BLOCK_M):
        m = first + tl.arange(0, BLOCK_M)
        n, p, q = m // (P * Q), m // Q % P, m % Q
        h = (p * stride - padding)[None, :] + r[:, None]                 # (BLOCK_J, BLOCK_M)
        w = (q * stride - padding)[None, :] + s[:, None]
        met = (j < R * S * C)[:, None] & (m < M)[None, :] & (h >= 0) & (h < H) & (w >= 0) & (w < W)
        a = tl.load(x + ((n[None, :] * H + h) * W + w) * C + c[:, None], met, other=0.0)
        b = tl.load(dy + m[:, None] * K + k[None, :], (m < M)[:, None] & (k < K)[None, :], other=0.0)
        total += tl.dot(a, b, input_precision="ieee")                    # (BLOCK_J, BLOCK_M) (BLOCK_M, BLOCK_K)
    tl.store(dw + j[:, None] * K + k[None, :], total, (j < R * S * C)[:, None] & (k < K)[None, :])
    ### END SOLUTION

# %% tags=["check:grad_weight_kernel"]
check("grad_weight_kernel", grad_weight_kernel)

# %% [markdown]
# ## Five tiles for 132 multiprocessors
#
# In the table above, `dw` of layer D has 5 tiles. So at most 5 programs work, each on 1.6 million pixels,
# while 127 multiprocessors have nothing to do.
#
# The remedy is **split-K**: cut the long sum (of length K in the language of matrix products; here it is the pixels)
# into shares. Each share of each tile gets a program of its own, and the shares' sums are added at the end.

# %%
fig, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
for z, hatch in enumerate(["", "///", "...", "xxx"]):
    style = {"facecolor": str(0.95 - 0.1 * z), "edgecolor": "0.3", "hatch": hatch}
    ax.add_patch(plt.Rectangle((3 * z, 4), 2.9, 0.8, **style))
    ax.add_patch(plt.Rectangle((3 * z + 0.95, 2.4), 1, 0.8, **style))
    ax.text(3 * z + 1.45, 4.95, f"program {z}", ha="center", fontsize=9)
    ax.annotate("", (3 * z + 1.45, 3.25), (3 * z + 1.45, 3.95), arrowprops={"arrowstyle": "->", "color": "0.3"})
    ax.annotate("", (5.7 + 0.2 * z, 0.85), (3 * z + 1.45, 2.35), arrowprops={"arrowstyle": "->", "color": "0.3"})
ax.add_patch(plt.Rectangle((5.5, 0), 1, 0.8, facecolor="0.6", edgecolor="0.3"))
ax.plot([-2.6, 12], [1.75, 1.75], color="tab:orange", linestyle="--")
for y_at, text in [(4.4, "pixels, summed over"), (2.8, "partial sums"), (1.85, "end of the kernel"),
                   (0.4, "one tile of dw")]:
    ax.text(-0.2, y_at, text, ha="right", va="bottom" if y_at == 1.85 else "center", fontsize=9)
ax.set(xlim=(-2.8, 12.1), ylim=(-0.1, 5.3))
ax.axis("off")
plt.show()

# %% [markdown]
# One tile of dw: four programs sum up a share of the pixels each, and write what they have into places of their own, a
# **workspace**. Below the dashed line a second, small kernel adds the four. Why not in the first kernel? Because its
# programs cannot wait for each other.

# %%
@triton.jit
def impatient_kernel(x, part, out, n, BLOCK: tl.constexpr):
    z = tl.program_id(0)
    at = tl.arange(0, BLOCK) + BLOCK * z
    tl.store(part + z, tl.sum(tl.load(x + at, at < n, other=0.0), axis=0))
    if z == tl.num_programs(0) - 1:                                      # the last program adds the partial sums up
        tl.store(out, tl.sum(tl.load(part + tl.arange(0, 4)), axis=0))


@triton.jit
def hasty_kernel(x, out, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK) + BLOCK * tl.program_id(0)
    tl.store(out, tl.load(out) + tl.sum(tl.load(x + at, at < n, other=0.0), axis=0))


@triton.jit
def atomic_kernel(x, out, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK) + BLOCK * tl.program_id(0)
    tl.atomic_add(out, tl.sum(tl.load(x + at, at < n, other=0.0), axis=0))

# %% [markdown]
# Three ways to add up 13 numbers, 4 to a program: "impatient" lets the last program add the partial sums, "hasty" lets
# each read the total, add its own and write it back, "atomic" does the same with an instruction that nobody can
# interrupt. `watch` is what the checks use: it follows every access to memory.
#
# **Predict.** The sum is 91. Which of the three would give it in the interpreter, and which on a GPU, always?

# %%
def under_watch(kernel, *tensors):
    """Launch with four programs on the numbers 1 to 13, under the watch: the total, or what is wrong."""
    x = torch.arange(1.0, 14)
    try:
        with watch():
            kernel[(4,)](x, *tensors, 13, BLOCK=4)
    except Exception as fault:
        return f"{type(fault).__name__}: {fault}"
    return f"{tensors[-1].item():g}"


if not obstacle() and DEVICE == "cpu":                                   # the watch looks at the interpreter
    races = {kernel.__name__: under_watch(kernel, *[torch.zeros(4)] * (kernel is impatient_kernel), torch.zeros(1))
             for kernel in (impatient_kernel, hasty_kernel, atomic_kernel)}
    print(*(textwrap.fill(f"{name}: {says}", 110) for name, says in races.items()), sep="\n\n")

# %% [markdown]
# Without the watch all three give 91 in the interpreter, because it runs one program after the other. On a GPU
# the last program need not be the last to finish, and two programs may read the same total before either has written.
# Such a kernel passes its tests on some days. The watch finds it because it asks who wrote what, not what came out.
#
# Atomics are right. They have one weakness: the order.

# %%
partial = torch.randn(64, generator=torch.Generator().manual_seed(0))    # the partial sums of 64 programs
in_order = np.random.default_rng(0)
sums = []
for _ in range(100 if quick() else 1000):
    total = np.float32(0)
    for value in partial.numpy()[in_order.permutation(64)]:
        total += value
    sums.append(float(total))
different = sorted(set(sums))
print(f"{len(sums)} orders, {len(different)} different sums, from {different[0]:.7g} to {different[-1]:.7g}")

# %% [markdown]
# Adding floats is not associative, so each order may end in other last bits. With atomics the programs decide the
# order, by who comes first: two runs with the same seed differ. That is no race and no bug, but after a few thousand
# steps the two networks are different ones. (`torch.use_deterministic_algorithms(True)` makes PyTorch avoid such
# kernels.) A workspace has a fixed order, costs its memory, and one launch more.

# %% [markdown]
# A **1×1 convolution** shows split-K best: the matrix of windows is x itself, and there is no address arithmetic.

# %% [markdown]
# ### Exercise: partial sums
#
# Write `partial_sums_kernel`. The grid is (C / BLOCK_C, K / BLOCK_K, shares), the first two rounded up:
# program (a, b, z) makes, of `part[z]`, the tile with the channels from a·BLOCK_C and the filters from b·BLOCK_K on.
#
# $$\text{part}[z, c, k] = \sum_m x[m, c]\; \text{dy}[m, k], \qquad
# \text{over the rows } m \text{ from } z \cdot \text{share} \text{ to below } (z + 1) \cdot \text{share} .$$
#
# - `dy` (M, K) and `x` (M, C), both float32 or both float16, and `part` (shares, C, K), float32, are packed;
# - the last share may be shorter, or empty: then its sum is 0. `share` need not be a multiple of BLOCK_M, the rows of
#   one step;
# - sums are float32; `input_precision="ieee"`.

# %% tags=["exercise:partial_sums_kernel"]
@triton.jit
def partial_sums_kernel(dy, x, part, M, C, K, share,
                        BLOCK_C: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_M: tl.constexpr):
    """A tile of part[z] (C, K): the product of share z of the rows of x (M, C), transposed, and dy (M, K)."""
    ### BEGIN SOLUTION
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    z = tl.program_id(2)
    end = tl.minimum(M, (z + 1) * share)
    total = tl.zeros((BLOCK_C, BLOCK_K), tl.float32)
    for first in range(z * share, end, BLOCK_M):
        m = first + tl.arange(0, BLOCK_M)
        a = tl.load(x + m[None, :] * C + c[:, None], (m < end)[None, :] & (c < C)[:, None], other=0.0)
        b = tl.load(dy + m[:, None] * K + k[None, :], (m < end)[:, None] & (k < K)[None, :], other=0.0)
        total += tl.dot(a, b, input_precision="ieee")                    # (BLOCK_C, BLOCK_M) (BLOCK_M, BLOCK_K)
    tl.store(part + (z * C + c[:, None]) * K + k[None, :], total, (c < C)[:, None] & (k < K)[None, :])
    ### END SOLUTION

# %% tags=["check:partial_sums_kernel"]
check("partial_sums_kernel", partial_sums_kernel)

# %% [markdown]
# The second kernel adds the parts, always in the same order. In PyTorch it is `part.sum(0)`.
#
# How many shares? Enough that all multiprocessors have work; not more, since each costs a workspace of the size of dw
# in float32, written once and read once.

# %%
SMS = 132                                                                # multiprocessors of an H100 SXM
shares_of = {}
for layer, sizes in LAYERS.items():
    rows, columns, length = products(*sizes)["dw"]
    shares_of[layer] = shares = max(1, SMS // tiles[layer, "dw"])
    workspace = 4 * shares * rows * columns if shares > 1 else 0         # bytes
    print(f"{layer} {tiles[layer, 'dw']:4} tiles × {shares:2} shares = {tiles[layer, 'dw'] * shares:4} programs, each "
          f"{length / shares:9,.0f} pixels; workspace {workspace / 1e6:.1f} MB")

# %% [markdown]
# In layer D 130 of 132 multiprocessors have work now in place of 5, for a workspace of some megabytes; in layer E 108
# in place of 36. F has enough tiles. What this gains has to be measured, layer by layer.

# %% [markdown]
# ## The gradient of the input
#
# In notebook 05 there were two ways. Stamping: each output adds its share to all pixels of its window. Collecting: each
# pixel adds up what it gets from the outputs that read it. On a GPU windows overlap, stamping programs write to the
# same pixels, and that is the race of above, for every pixel. So one collects: a pixel is written once, by one
# program.

# %% [markdown]
# But which outputs have read pixel h? Solve $h = p \cdot \text{stride} - \text{padding} + r$ for p:
#
# $$p = \frac{h + \text{padding} - r}{\text{stride}}, \quad
# \text{if nothing is left over and } 0 \le p < P; \text{ otherwise nobody, for this } r .$$
#
# **Predict.** With windows of 3×3 at stride 2: how many outputs have read a pixel? Is it the same for all?

# %%
animation.gathering((5, 6), 3, stride=2, padding=1)

# %%
def heard_by(size, kernel_size, stride, padding):
    """For each pixel of a row, how many windows read it."""
    outputs = (size + 2 * padding - kernel_size) // stride + 1
    return np.array([sum((h + padding - r) % stride == 0 and 0 <= (h + padding - r) // stride < outputs
                         for r in range(kernel_size)) for h in range(size)])


row = heard_by(56, 3, 2, 1)
count = np.outer(row, row)
print("a row of 8 pixels:", heard_by(8, 3, 2, 1))
print(f"an image of 56×56: 1 to {count.max()} outputs for a pixel, {count.mean():.2f} on average, of 9 that are asked")

# %% [markdown]
# One, two or four, in a chequered pattern: even pixels lie in the middle of one window, odd ones at the edge of two,
# and that for rows and for columns. At stride 1 all nine outputs have read an inner pixel; at stride 2 for 9 questions
# there are 2.2 answers. A kernel that asks for all (r, s) multiplies zeros for the others, three quarters of its work.
# Fast libraries treat the four kinds of pixels separately, each with a small kernel without gaps.

# %% [markdown]
# One trap: in Triton, as in C, `//` and `%` round towards 0. −1 // 2 is 0 there, while Python says −1. So ask whether
# h + padding − r is negative *before* it is divided.

# %% [markdown]
# ### Exercise: the gradient of the input
#
# Write `grad_input_kernel`. The grid is (M / BLOCK_M, C / BLOCK_C), rounded up: program (a, b) makes the tile of `dx`
# with the pixels from a·BLOCK_M on, numbered as they lie in memory, **M = N·H·W** of them, and the channels from
# b·BLOCK_C on. It goes through all (r, s), and for each through the K filters, BLOCK_K at a time.
#
# - `dy` (N, P, Q, K) and `weight` (R, S, C, K), both float32 or both float16, and `dx` (N, H, W, C), float32, are
#   packed;
# - `stride` and `padding` are ints, for both axes; the stride need not fit, and a pixel that no window read gets 0.
#   What `dx` holds before does not matter;
# - sums are float32; `input_precision="ieee"`.

# %% tags=["exercise:grad_input_kernel"]
@triton.jit
def grad_input_kernel(dy, weight, dx, M, H, W, C, K, P, Q, R, S, stride, padding,
                      BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_K: tl.constexpr):
    """A tile of dx (N, H, W, C): BLOCK_M of M pixels by BLOCK_C channels, gathered from the outputs that read them."""
    ### BEGIN SOLUTION
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    n, h, w = m // (H * W), m // W % H, m % W
    total = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    for r in range(R):
        for s in range(S):
            up, left = h + padding - r, w + padding - s
            p, q = up // stride, left // stride
            read = (m < M) & (up >= 0) & (left >= 0) & (p < P) & (q < Q)
            read = read & (p * stride == up) & (q * stride == left)      # between two windows nothing comes back
            for first in range(0, K, BLOCK_K):
                k = first + tl.arange(0, BLOCK_K)
                a = tl.load(dy + ((n * P + p) * Q + q)[:, None] * K + k[None, :],
                            read[:, None] & (k < K)[None, :], other=0.0)                       # (BLOCK_M, BLOCK_K)
                b = tl.load(weight + ((r * S + s) * C + c)[None, :] * K + k[:, None],
                            (k < K)[:, None] & (c < C)[None, :], other=0.0)                    # (BLOCK_K, BLOCK_C)
                total += tl.dot(a, b, input_precision="ieee")
    tl.store(dx + m[:, None] * C + c[None, :], total, (m < M)[:, None] & (c < C)[None, :])
    ### END SOLUTION

# %% tags=["check:grad_input_kernel"]
check("grad_input_kernel", grad_input_kernel)

# %% [markdown]
# In PyTorch the two gradients are `torch.nn.grad.conv2d_input` and `torch.nn.grad.conv2d_weight`.

# %% [markdown]
# ## Back through a maximum
#
# Max pooling has no weights. Forwards each window keeps its largest value, and notes which place in the window had won,
# r·size + s: one small number, and x itself need not be kept. Backwards the gradient goes to the winner (notebook 06).
#
# Handing out would race again where windows overlap, as in AlexNet: 3×3 at stride 2. So each pixel collects: it looks
# at the windows that hold it, and takes the gradient of those in which **it** has won.

# %% [markdown]
# ### Exercise: back through max pooling
#
# Write `max_pool_backward_kernel`. Program i has the pixels from i·BLOCK on, of n = planes·H·W. A plane is one channel
# of one image.
#
# - `dy` and `winner` are (planes, P, Q), float32 and int32; `dx` is (planes, H, W), float32; all are packed;
# - window (p, q) has `size`×`size` pixels, from row p·stride and column q·stride on, without padding. They may overlap
#   or leave gaps;
# - `winner` is r·size + s of the pixel that won;
# - `dx` is, for each pixel, the sum of dy over the windows in which it won, and 0 if there are none. What `dx` holds
#   before does not matter.

# %% tags=["exercise:max_pool_backward_kernel"]
@triton.jit
def max_pool_backward_kernel(dy, winner, dx, n, H, W, P, Q, size, stride, BLOCK: tl.constexpr):
    """dx (planes, H, W), n pixels in all, from dy and winner (planes, P, Q); program i has pixels i·BLOCK …"""
    ### BEGIN SOLUTION
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    plane, h, w = i // (H * W), i // W % H, i % W
    total = tl.zeros((BLOCK,), tl.float32)
    for r in range(size):
        for s in range(size):
            up, left = h - r, w - s
            p, q = up // stride, left // stride
            holds = (i < n) & (up >= 0) & (left >= 0) & (p < P) & (q < Q) & (p * stride == up) & (q * stride == left)
            there = (plane * P + p) * Q + q
            won = tl.load(winner + there, holds, other=-1) == r * size + s
            total += tl.where(won, tl.load(dy + there, holds, other=0.0), 0.0)
    tl.store(dx + i, total, i < n)
    ### END SOLUTION

# %% tags=["check:max_pool_backward_kernel"]
check("max_pool_backward_kernel", max_pool_backward_kernel)

# %% [markdown]
# ## Telling autograd
#
# Autograd knows nothing of kernels. A `torch.autograd.Function` tells it: a `forward` that may do anything, and a
# `backward` that is handed the gradient of what forward returned, and returns one gradient for **each argument** of
# forward, in the same order. What is no tensor gets `None`, and so does what nobody wants a gradient for.
#
# Both are given `ctx`, an object that lives from forward to backward. Tensors are kept with
# `ctx.save_for_backward(…)`, and come back as `ctx.saved_tensors`; other things are attributes of ctx.
# `ctx.needs_input_grad` says for each argument whether its gradient is wanted.
#
# The layer shall work with any **operations**: by torch, or by our kernels. First those of torch. They note what was
# run, for the check.

# %%
class Operations:
    """A convolution and its two gradients by torch; stride and padding ints.  `ran` lists what was run."""

    def __init__(self):
        self.ran = []

    def forward(self, x, weight, bias, stride, padding):
        """x (N, C, H, W), weight (K, C, R, S), bias (K,): y (N, K, P, Q)."""
        self.ran.append("forward")
        return F.conv2d(x, weight, bias, stride, padding)

    def grad_input(self, dy, weight, size, stride, padding):
        """dx (N, C, H, W), H and W = size, from dy (N, K, P, Q)."""
        self.ran.append("grad_input")
        return torch.nn.grad.conv2d_input((len(dy), weight.shape[1], *size), weight, dy, stride, padding)

    def grad_weight(self, dy, x, kernel_size, stride, padding):
        """dw (K, C, R, S), R and S = kernel_size."""
        self.ran.append("grad_weight")
        return torch.nn.grad.conv2d_weight(x, (dy.shape[1], x.shape[1], *kernel_size), dy, stride, padding)

# %%
class HandLayer(nn.Module):
    """A convolution layer whose `convolve` a subclass says; the methods below `forward` are for the check."""

    def __init__(self, c_in, c_out, kernel_size, stride=1, padding=0, ops=None):
        super().__init__()
        layer = nn.Conv2d(c_in, c_out, kernel_size)                      # for its first weights
        self.weight, self.bias = layer.weight, layer.bias
        self.settings, self.ops = (stride, padding), ops or Operations()

    def forward(self, x):
        return self.convolve(x, self.weight, self.bias, *self.settings, self.ops)

    def gradients(self, x, dy):
        """The gradients for x, weight and bias."""
        inputs = x.clone().requires_grad_(), self.weight, self.bias
        grads = torch.autograd.grad((self(inputs[0]) * dy).sum(), inputs, allow_unused=True)
        return tuple("nothing" if g is None else g for g in grads)

# %% [markdown]
# Two more trials for the check: what backward runs if only some gradients are wanted, and whether anybody notices that
# x was changed between forward and backward. Then the gradients would be those of another x.

# %%
class TriedLayer(HandLayer):
    """A layer with two more trials."""

    def runs(self, x, dy, wanted):
        """What backward runs if only the gradients named in `wanted` are, of x, weight and bias."""
        x = x.clone().requires_grad_("x" in wanted.split())
        self.weight.requires_grad_("weight" in wanted.split())
        self.bias.requires_grad_("bias" in wanted.split())
        total = (self(x) * dy).sum()
        self.ops.ran.clear()
        total.backward()
        return " and ".join(sorted(self.ops.ran)) or "nothing"

    def changed_in_between(self, x, dy):
        """What backward does if x has been changed in place since forward."""
        self.weight.requires_grad_()
        x = x.clone()
        total = (self(x) * dy).sum()
        x.add_(1)
        try:
            total.backward()
        except RuntimeError:
            return "refused"
        return "gradients of another x"

# %% [markdown]
# ### Exercise: a Function for the convolution
#
# Write `forward` and `backward` of `Convolve`. The class below it is given, and is what the check looks at.
#
# - forward's arguments: `x` (N, C, H, W), `weight` (K, C, R, S) and `bias` (K,), tensors; `stride` and `padding`, ints;
#   `ops`, an object with the three methods above. It returns what `ops.forward` gives;
# - `backward` gets `dy` (N, K, P, Q) and returns six gradients. Those of x and weight come from `ops.grad_input` and
#   `ops.grad_weight`, each called only if it is needed; that of bias is the sum over images, rows and columns;
# - keep tensors with `save_for_backward`: it notices if they are changed in place.

# %% tags=["exercise:conv_function"]
class Convolve(Function):
    """A convolution that runs on `ops`, forwards and backwards."""

    @staticmethod
    def forward(ctx, x, weight, bias, stride, padding, ops):
        ### BEGIN SOLUTION
        ctx.save_for_backward(x, weight)
        ctx.settings, ctx.ops = (stride, padding), ops
        return ops.forward(x, weight, bias, stride, padding)
        ### END SOLUTION

    @staticmethod
    def backward(ctx, dy):
        ### BEGIN SOLUTION
        (x, weight), needs = ctx.saved_tensors, ctx.needs_input_grad
        dx = ctx.ops.grad_input(dy, weight, x.shape[2:], *ctx.settings) if needs[0] else None
        dw = ctx.ops.grad_weight(dy, x, weight.shape[2:], *ctx.settings) if needs[1] else None
        db = dy.sum((0, 2, 3)) if needs[2] else None
        return dx, dw, db, None, None, None
        ### END SOLUTION


class HandConv2d(TriedLayer):
    """A layer that convolves with `Convolve`."""

    def convolve(self, *arguments):
        return Convolve.apply(*arguments)

# %% tags=["check:conv_function"]
check("conv_function", HandConv2d)

# %% [markdown]
# Why `save_for_backward`, when an attribute would do? It notices changes in place, as the check has tried, and it lets
# the memory go after backward.
#
# And why ask what is needed? The first layer's `dx` is the gradient of the images, which nobody wants in training, and
# it would be a third of that layer's work.

# %% [markdown]
# ## Our kernels as operations
#
# Now the operations by kernels. `permute` gives the channels-last view, and `contiguous` copies only if the tensor does
# not lie like that already.
#
# For the forward pass at stride 1 there is a present: no new kernel is needed. Backwards, the layer *convolves* where
# forwards it cross-correlates (notebook 05). So the gradient's kernel, given the rotated weights with channels and
# filters exchanged, computes the forward pass.
#
# **Predict.** With which padding? For a 3×3 kernel that runs with padding 1, and for one without padding?

# %%
# In the interpreter a large tile costs hardly more than a small one.
PIXELS, CHANNELS = (64, 32) if DEVICE == "cuda" else (256, 32)


def launch(kernel, grid, *arguments, **constants):
    """kernel[grid](*arguments, **constants), under the watch if it runs in the interpreter."""
    with watch() if DEVICE == "cpu" else nullcontext():
        kernel[grid](*arguments, **constants)

# %%
def launch_grad_input(dy, weight, size, stride, padding):
    """dx (N, C, H, W), H and W = size, from dy (N, K, P, Q) and weight (K, C, R, S), by your kernel."""
    (N, K, P, Q), (_, C, R, S), (H, W) = dy.shape, weight.shape, size
    dx, M = torch.empty((N, H, W, C), device=dy.device), N * H * W
    dy, weight = dy.permute(0, 2, 3, 1).contiguous(), weight.permute(2, 3, 1, 0).contiguous()
    launch(grad_input_kernel, (triton.cdiv(M, PIXELS), triton.cdiv(C, CHANNELS)), dy, weight, dx, M, H, W, C, K, P, Q,
           R, S, stride, padding, BLOCK_M=PIXELS, BLOCK_C=CHANNELS, BLOCK_K=16)
    return dx.permute(0, 3, 1, 2)                                        # channels-last in memory


def launch_grad_weight(dy, x, kernel_size, stride, padding):
    """dw (K, C, R, S), R and S = kernel_size, from dy (N, K, P, Q) and x (N, C, H, W), by your kernel."""
    (N, K, P, Q), (_, C, H, W), (R, S) = dy.shape, x.shape, kernel_size
    dw = torch.empty((R, S, C, K), device=dy.device)
    dy, x = dy.permute(0, 2, 3, 1).contiguous(), x.permute(0, 2, 3, 1).contiguous()
    launch(grad_weight_kernel, (triton.cdiv(R * S * C, 64), triton.cdiv(K, CHANNELS)), dy, x, dw, N * P * Q, H, W, C, K,
           P, Q, R, S, stride, padding, BLOCK_J=64, BLOCK_K=CHANNELS, BLOCK_M=PIXELS)
    return dw.permute(3, 2, 0, 1)

# %%
class KernelOperations(Operations):
    """The same by this notebook's kernels, in float32; forward at a stride over 1 is torch's."""

    def forward(self, x, weight, bias, stride, padding):
        R, S = weight.shape[2:]
        if stride != 1 or R != S or padding >= R:
            return super().forward(x, weight, bias, stride, padding)
        size = x.shape[2] + 2 * padding - R + 1, x.shape[3] + 2 * padding - S + 1
        rotated = weight.flip(2, 3).transpose(0, 1)                      # (C, K, R, S)
        return self.grad_input(x, rotated, size, 1, R - 1 - padding) + bias.view(-1, 1, 1)

    def grad_input(self, dy, weight, size, stride, padding):
        return launch_grad_input(dy, weight, size, stride, padding)

    def grad_weight(self, dy, x, kernel_size, stride, padding):
        return launch_grad_weight(dy, x, kernel_size, stride, padding)

# %% [markdown]
# R − 1 − padding: 1 for the first, 2 for the second, the full convolution of notebook 05. Now the test, as it should be
# for every Function: forward alone first, since backward may be wrong in the same way (notebook 05); then all gradients
# against another implementation. `torch.autograd.gradcheck` compares with measured slopes, in float64; it suits the
# operations of torch. Our kernels compute in float32, in which measured slopes are too coarse, so their gradients are
# compared with torch's.

# %%
def worst_difference(stride, padding):
    """Our kernels against torch: the largest difference of y, dx, dw, db, relative to the largest value."""
    layer = HandConv2d(3, 5, 3, stride, padding, KernelOperations()).to(DEVICE)
    images = torch.randn(2, 3, 9, 8, device=DEVICE)
    y = F.conv2d(images, layer.weight, layer.bias, stride, padding).detach()
    other, dy = HandConv2d(3, 5, 3, stride, padding).to(DEVICE), torch.randn_like(y)
    other.load_state_dict(layer.state_dict())
    pairs = zip((layer(images), *layer.gradients(images, dy)), (y, *other.gradients(images, dy)))
    return max(float(((a - b).abs().max() / b.abs().max()).detach()) for a, b in pairs)

# %%
torch.manual_seed(0)
tried = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in ((2, 3, 5, 4), (4, 3, 3, 3), (4,))]
gradcheck_passes = torch.autograd.gradcheck(lambda *v: Convolve.apply(*v, 2, 1, Operations()), tried)
print("gradcheck with torch's operations:", gradcheck_passes)
if not obstacle():
    differences = {(stride, padding): worst_difference(stride, padding) for stride, padding in ((1, 1), (2, 0), (2, 1))}
    print({f"stride {s}, padding {p}": f"{d:.1g}" for (s, p), d in differences.items()})

# %% [markdown]
# Some 1e-7: rounding in float32. The layer can go into any network. At the end of the notebook it does.

# %% [markdown]
# ## Sixteen bits
#
# A tensor core multiplies 16-bit numbers: on an H100 989 TFLOP/s, against 67 TFLOP/s for float32 without tensor cores
# (NVIDIA's figures). And half as many bytes move. There are two ways to spend 16 bits:

# %%
formats = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
limits = {}
for name, dtype in formats.items():
    info = torch.finfo(dtype)
    limits[name] = smallest = info.smallest_normal * info.eps
    print(f"{name:9} largest {info.max:8.3g}, smallest with all its digits {info.smallest_normal:8.3g}, "
          f"smallest {smallest:8.3g}")

# %% [markdown]
# float16 has more digits, bfloat16 has the range of float32. Notebook 17 was about digits: factors may be short, sums
# may not. In training the range matters too, at its lower end: float16 ends at 6e-8.
#
# What does a network need? Below are the gradients of all activations of a small network that has learned the digits:
# real ones, in float32.
#
# **Predict.** How many of them does float16 turn into 0? And how many bfloat16?

# %%
images, labels = digits()
shuffled = np.random.default_rng(18).permutation(len(images))
pixels, labels = (images[shuffled] * 255 / 16).astype(np.uint8), labels[shuffled]
seen, unseen = slice(0, 1437), slice(1437, None)
torch.manual_seed(0)
example = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
                        nn.MaxPool2d(2), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10))
learned = train(example, (pixels[seen], labels[seen]), (pixels[unseen], labels[unseen]),
                Recipe(epochs=6, batch_size=32, lr=0.05, seed=1), quiet=True)
layer_outputs, value = [], normalise(pixels[:256])
for layer in example:
    value = layer(value)
    value.retain_grad()
    layer_outputs.append(value)
F.cross_entropy(value, torch.from_numpy(labels[:256])).backward()
gradients = torch.cat([v.grad.flatten() for v in layer_outputs]).abs()
zeros = float((gradients == 0).double().mean())
gradients = gradients[gradients > 0]

# %%
SCALE = 2.0**14
lost = {name: float((gradients.to(dtype) == 0).double().mean()) for name, dtype in formats.items()}
lost["float16, scaled"] = float(((SCALE * gradients).half() == 0).double().mean())
largest, shortened = float(gradients.max()), float(((gradients > 2**-25) & (gradients < 2**-14)).double().mean())

# %%
fig, (strip, ax) = plt.subplots(2, 1, figsize=(9, 4), layout="constrained", height_ratios=[1, 4], sharex=True)
for left, right, y_at, text, hatch in [(-25, -14, 1, "fewer digits", "///"), (-14, 16, 1, "float16", ""),
                                       (-60, 16, 0, "bfloat16", "")]:
    strip.barh(y_at, right - left, 0.8, left, color="0.92", edgecolor="0.3", hatch=hatch)
    strip.text((max(left, -60) + right) / 2, y_at, text, ha="center", va="center", fontsize=9,
               bbox={"facecolor": "0.92", "edgecolor": "none", "pad": 1})
strip.text(-26, 1, "becomes 0", ha="right", va="center", fontsize=9)
strip.axis("off")
bins = np.arange(-60, 5)
ax.hist(gradients.log2().numpy(), bins, color="0.75", edgecolor="0.4", linewidth=0.5, label="gradients as they are")
ax.hist((SCALE * gradients).log2().numpy(), bins, histtype="step", color="tab:orange", linewidth=2,
        label=f"of the loss times {SCALE:,.0f}")
ax.axvline(-25, color="0.2", linestyle="--")
ax.set(xlim=(-60, 16), xlabel="log₂ of the absolute value", ylabel="how many")
ax.legend(frameon=False, loc="center left")
plt.show()
print(f"{len(gradients):,} gradients that are not 0, up to {largest:.2g}. Of these become 0, in")
print(", ".join(f"{name} {share:.1%}" for name, share in lost.items()))

# %% [markdown]
# Grey: two thirds of the gradients lie below $2^{-25}$ and become 0 in float16, and nearly all others lose digits. The
# largest is 0.0008: of the range from there to 65,504 nothing is used. (Half of all entries, not counted here, are 0
# anyway: behind a ReLU and a maximum most get nothing.) bfloat16 loses none; its range goes on far to the left.
#
# Orange: the same gradients if the loss is multiplied by $2^{14} = 16{,}384$ before backward. The histogram moves to
# the right, and 4 % are lost.

# %% [markdown]
# The remedy for float16 is **loss scaling** (Micikevicius et al., 2018): multiply the loss by a large number, and by
# the chain rule all gradients are multiplied by it. Divide before the step. The range that is used moves to the right,
# and the small ones survive.
#
# Too large a scale overflows: a gradient beyond 65,504 becomes infinite, and infinite or NaN weights cannot be
# repaired. As the right scale is not known and changes, one tries: if anything is not finite, skip the step and halve
# the scale; after many good steps in a row double it.
#
# The weights that are updated stay float32, **master weights**. You see below why.

# %% [markdown]
# ### Exercise: a step with loss scaling
#
# Write `loss_scale_step(weights, grads, scale, good, lr, patience)`. It returns the tuple (weights, scale, good) after
# the step.
#
# - `weights` (n,) is float32; `grads` (n,) is float16 and holds the gradients of `scale` times the loss;
# - `scale` and `lr` are floats; `good` is how many good steps in a row there have been, less than `patience`, both
#   ints;
# - if a gradient is infinite or NaN: the weights stay, the scale is halved, and good is 0;
# - otherwise: plain gradient descent with the gradients of the loss itself, in float32. good is one more. If it has
#   reached `patience` the scale doubles, and good is 0.
#
# Do not change `weights` itself; return new ones, float32.

# %% tags=["exercise:loss_scale_step"]
def loss_scale_step(weights, grads, scale, good, lr, patience):
    """One step with loss scaling: (weights, scale, good).

    weights (n,) float32, grads (n,) float16 of scale times the loss; scale, lr floats; good, patience ints.
    """
    ### BEGIN SOLUTION
    if not grads.isfinite().all():
        return weights.clone(), scale / 2, 0
    weights = weights - lr * grads.float() / scale
    return (weights, 2 * scale, 0) if good + 1 == patience else (weights, scale, good + 1)
    ### END SOLUTION

# %% tags=["check:loss_scale_step"]
check("loss_scale_step", loss_scale_step)

# %% [markdown]
# In PyTorch that is `torch.amp.GradScaler`. With bfloat16 it is not needed: its range is float32's. That is why most
# training today uses bfloat16, and accepts fewer digits.
#
# **Predict.** A weight of 1 gets 100 steps of −0.001 each. What is it at the end, in each of the three formats?

# %%
ends = {}
for name, dtype in formats.items():
    weight = torch.ones((), dtype=dtype)
    for _ in range(100):
        weight = weight - torch.tensor(0.001, dtype=dtype)
    ends[name] = weight.item()
print({name: round(end, 5) for name, end in ends.items()})

# %% [markdown]
# In bfloat16 it has not moved at all: below 1 its numbers are 2^−8 apart, and a step of less than half of that rounds
# back to where it was, 100 times. In float16 each step is rounded to 0.00098. Learning steps are often that small. So
# the weights are kept in float32, and copied to 16 bits for each forward pass.
#
# Sums have the same trouble (notebook 17: a sum of ones stops at 2048 in float16). So have squares and exponentials, at
# the other end of the range:

# %%
with np.errstate(over="ignore"):
    square, power = np.float16(300) ** 2, np.exp(np.float16(12))
print(f"in float16: 300² = {square}, e¹² = {power}")

# %% [markdown]
# 300² is more than 65,504: a variance may need that. e¹² is one entry of a softmax. So what is **mixed** in mixed
# precision: convolutions and matrix products of 16-bit factors, with sums in float32; softmax, cross-entropy, the sums
# of batch norm and the weights' update in float32. `torch.autocast("cuda", torch.bfloat16)` chooses by a list of
# operations.
#
# And float32 itself? In TF32 its products have float16's digits (notebook 17). Compare your gradients with it switched
# off: otherwise differences of a thousandth look like a bug, or hide one.

# %% [markdown]
# ## Memory once more: channels-last
#
# Our kernels want the C channels of a pixel side by side, so that a tile's row is one long piece of memory (notebook
# 17). PyTorch's name for it is a memory format: the shape stays (N, C, H, W), only the strides change.

# %%
usual = torch.zeros(2, 3, 4, 5)                                          # (N, C, H, W)
last = usual.contiguous(memory_format=torch.channels_last)
after = nn.Conv2d(3, 8, 3, padding=1).to(memory_format=torch.channels_last)(last)
print("usual        ", usual.stride(), "   channels-last", last.stride())
print("after a convolution:", tuple(after.shape), after.stride())
print("permuted view:", tuple(last.permute(0, 2, 3, 1).shape), "contiguous:", last.permute(0, 2, 3, 1).is_contiguous())

# %% [markdown]
# One stride is 1: that of the channels. Convert the network and the images once, and convolution, ReLU, pooling and
# batch norm hand the format on. `reshape` and `view` mix axes, and may copy; flatten only at the end. In
# `KernelOperations` `contiguous` then costs nothing.

# %% [markdown]
# ## Fewer passes, fewer launches
#
# Between the convolutions stand many small operations: batch norm's scale and shift, the skip's addition, ReLU. Each
# by itself reads its inputs from memory and writes its result back. `torch.compile` looks at the operations of a
# function, and makes one kernel of those that can be fused: it writes Triton, as you do. Here a "compiler" of our own
# only shows what it is given.

# %%
seen_operations = []


def show(graph, example_inputs):
    """A backend for torch.compile that notes the operations and runs them as they are."""
    seen_operations.extend(node.name for node in graph.graph.nodes if node.op.startswith("call"))
    return graph.forward


def end_of_block(z, scale, shift, skip):
    return torch.relu(z * scale + shift + skip)


# %%
if not quick():
    torch.compile(end_of_block, backend=show)(*torch.randn(4, 2, 3))
    print("torch.compile sees:", seen_operations)
passes = {"each by itself": 2 + 2 + 3 + 2, "fused": 3}                   # of a whole tensor, read or written
block_bytes = 2 * 32 * 256 * 56 * 56
for name, number in passes.items():
    print(f"{name:15} {number} passes of {block_bytes / 1e6:.0f} MB: at 3.35 TB/s at least "
          f"{1e6 * number * block_bytes / 3.35e12:.0f} µs")

# %% [markdown]
# The whole graph of four operations, without any Python between them. Nine passes become three: read z, read the skip,
# write the result. (Scale and shift are small.) The first call takes seconds to minutes, since kernels are compiled;
# for a new input shape it may compile again.

# %% [markdown]
# For small networks something else dominates: launching. Let us count how many operations PyTorch issues in one
# training step of LeNet, views left out. On a GPU each is at least one kernel.
#
# **Predict.** A step on 64 digits is 0.16 G operations, and an H100 can do 989,000 G a second in 16 bits. If a launch
# takes 5 µs, what does the step take, arithmetic and launches?

# %%
class Counting(TorchDispatchMode):
    """Counts the operations that PyTorch issues, those left out that only look at memory otherwise."""

    VIEWS = ("view", "t", "detach", "expand", "transpose", "unsqueeze", "alias", "empty")

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.__name__.split(".")[0].strip("_")
        if name not in self.VIEWS:
            self.names.append(name)
        return operation(*args, **(kwargs or {}))


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))

# %%
net, batch, answers = lenet(), torch.randn(64, 1, 32, 32), torch.randint(0, 10, (64,))
optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
for _ in range(2):                                                       # the second step: momentum is there
    with Counting() as counted:
        optimiser.zero_grad()
        F.cross_entropy(net(batch), answers).backward()
        optimiser.step()
multiply_adds = 6 * 28**2 * 25 + 16 * 10**2 * 150 + 400 * 120 + 120 * 84 + 84 * 10
step_operations = 3 * 2 * 64 * multiply_adds
LAUNCH = 5e-6                                                            # a round number for a launch from Python
arithmetic_us, launches_us = 1e6 * step_operations / 989e12, 1e6 * LAUNCH * len(counted.names)
print(f"{len(counted.names)} operations in a step; {step_operations / 1e9:.2f} G multiplications and additions")
print(f"arithmetic at least {arithmetic_us:.2f} µs; launches, at 5 µs each, {launches_us:.0f} µs")

# %% [markdown]
# The arithmetic is next to nothing; nearly all of the time a GPU would wait for the next launch. (5 µs is an
# assumption: measure yours below.) With larger layers a kernel takes longer than a launch, launches run ahead, and
# nobody notices them.
#
# A **CUDA graph** records all launches of a step once, and then issues them with a single call. What it demands: always
# the same shapes, the same memory, and nothing in between that asks the GPU for a number, such as `loss.item()`.

# %%
def seconds_of(step, repeats=100):
    """The median time of a step on the GPU (events, as in notebook 17)."""
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        step()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return np.median(times)


def recorded(step):
    """The step as a CUDA graph: run it a few times beside, record it once; call what comes back to replay it."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay

# %%
if DEVICE == "cuda":
    net, batch, answers = net.to(DEVICE), batch.to(DEVICE), answers.to(DEVICE)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

    def lenet_step():
        optimiser.zero_grad(set_to_none=False)
        F.cross_entropy(net(batch), answers).backward()
        optimiser.step()

    one_by_one, replayed = seconds_of(lenet_step), seconds_of(recorded(lenet_step))
    print(f"{torch.cuda.get_device_name()}: launched one by one {1e6 * one_by_one:.0f} µs, "
          f"as a graph {1e6 * replayed:.0f} µs")
else:
    print("There is no GPU here, so nothing was measured.")

# %% [markdown]
# ## Data where the network is
#
# The next thing to wait for is data. It comes over PCIe, nominally 64 GB/s in each direction for an H100 (PCIe 5 × 16),
# a fiftieth of its memory's rate.

# %%
PCIE = 64e9
transfers = {"256 images, 3×224×224, float32": 256 * 3 * 224**2 * 4, "the same as uint8": 256 * 3 * 224**2,
             "all of CIFAR-10, uint8, once": 60_000 * 3 * 32**2, "all of MNIST, uint8, once": 70_000 * 28**2}
for name, size in transfers.items():
    print(f"{name:32} {size / 1e6:6.1f} MB, at least {1e3 * size / PCIE:5.2f} ms")

# %% [markdown]
# So send bytes, not floats: a quarter of the transfer; scale and normalise on the device. If everything fits, send it
# once: CIFAR-10 is 184 MB of an H100's 80 GB. If it does not, prepare the next batch while the GPU computes: pinned
# memory, `non_blocking=True`, worker processes.
#
# Augmentation on the device must do without a loop over images. A crop is an address computation, a gather with an
# offset for each image; `cnnlab.augment` does all of them so. One image, eight draws in one call:

# %%
small = torch.from_numpy(photo("flower")[0:416, 110:526].reshape(52, 8, 52, 8, 3).mean((1, 3)))          # (52, 52, 3)
eight = small.permute(2, 0, 1)[None].repeat(8, 1, 1, 1)
cropped = augment.named("crop-flip")(eight, torch.Generator().manual_seed(3))
plots.images(*cropped.permute(0, 2, 3, 1).numpy(), height=1.3)

# %% [markdown]
# All eight differ in where they are cut (black comes in at the borders), and some are mirrored. `cnnlab.train`, which
# you have used since notebook 09, works like this: the data set lies on the device as uint8, and each batch is picked,
# augmented and normalised there.

# %% [markdown]
# ## Several GPUs
#
# In **data parallel** training each GPU has a process of its own with the whole network, the same weights, and its own
# share of each batch. Each runs forward and backward on its share. Then the processes average their gradients, and all
# make the same step. PyTorch's `DistributedDataParallel` (DDP) does that, layer by layer, while backward still runs.
#
# What each process must do itself is take other images than the others, and equally many: it waits for all others
# after each step, and if one has a step more, it waits for ever.

# %% [markdown]
# ### Exercise: the share of a process
#
# Write `shard(order, rank, world)`.
#
# - `order` (N,) int64 is this epoch's order of images, shuffled, the same for all processes; `world` is how many there
#   are, at most N, and `rank`, from 0, which one this is;
# - all get the same number of images, as few as possible, but none is left out. If N does not divide, the order is
#   continued from its beginning;
# - they are dealt out like cards: the first process gets the first one, the second the next, and so on around;
# - return the images of process `rank`, a tensor int64, in the order in which they are dealt.

# %% tags=["exercise:shard"]
def shard(order, rank, world):
    """The images of process rank, of world processes: (ceil(N / world),) int64.  order (N,) int64."""
    ### BEGIN SOLUTION
    missing = -len(order) % world
    return torch.cat([order, order[:missing]])[rank::world]
    ### END SOLUTION

# %% tags=["check:shard"]
check("shard", shard)

# %% [markdown]
# That is what `torch.utils.data.DistributedSampler` does. Its `set_epoch` must be called before every epoch: without
# it, the order is the same in all of them.
#
# **Predict.** The loss is a mean over the batch. Is the average of the processes' gradients the gradient of the whole
# batch? Also if the shares are of different sizes?

# %%
def gradient_of(net, images, labels):
    """The gradient of the mean loss on these images, as one vector."""
    loss = F.cross_entropy(net(images), labels)
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, net.parameters())])

# %%
torch.manual_seed(3)
judge = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).double()
batch, answers = normalise(pixels[:12]).double(), torch.from_numpy(labels[:12])
whole = gradient_of(judge, batch, answers)
equal = [gradient_of(judge, batch[at], answers[at]) for at in (shard(torch.arange(12), rank, 3) for rank in range(3))]
sizes = [7, 3, 2]
unequal = [gradient_of(judge, batch[at], answers[at]) for at in torch.arange(12).split(sizes)]
averages = {"3 shares of 4, averaged": sum(equal) / 3, "shares of 7, 3, 2, averaged": sum(unequal) / 3,
            "shares of 7, 3, 2, weighted": sum(n / 12 * g for n, g in zip(sizes, unequal))}
averages = {name: float((g - whole).norm() / whole.norm()) for name, g in averages.items()}
print(*(f"{name:28} off by {d:.1g}" for name, d in averages.items()), sep="\n")

# %% [markdown]
# With equal shares it is the gradient of the whole batch, to the last digits: a mean of means of equally many is the
# mean. With shares of 7, 3 and 2 it is not: each of the two images of the last process counts 7/2 times as much as
# those of the first. Weighted by size it is right again; DDP does not weight, it averages. So make the shares equal.
#
# Summing up losses in place of averaging them, or forgetting that DDP averages, changes the step by a factor of the
# number of processes.

# %% [markdown]
# One layer sees more than its own image: batch norm. Each process takes the statistics of **its** share.
#
# **Predict.** A batch of 256 images. How far from the values normalised as a whole are those normalised in shares of 4,
# of 16, of 64?

# %%
kernels = torch.randn(8, 1, 3, 3, generator=torch.Generator().manual_seed(4))
features = F.conv2d(normalise(pixels[:256]), kernels)                    # (256, 8, 6, 6)
together, off = F.batch_norm(features, None, None, training=True), {}
for size in (4, 16, 64):
    by_share = torch.cat([F.batch_norm(part, None, None, training=True) for part in features.split(size)])
    off[size] = float((by_share - together).pow(2).mean().sqrt())
print("root mean square of the difference; the values have a standard deviation of 1")
print(*(f"{size:3} images a process: {value:.3f}" for size, value in off.items()), sep="\n")

# %% [markdown]
# The fewer images a process has, the noisier are its statistics: as far as batch norm is concerned, one trains with
# small batches. Goyal et al. (2017) keep 32 images for each GPU whatever the total, so that this noise stays the same.
# `nn.SyncBatchNorm` exchanges the sums, at the price of one more wait in each layer.

# %% [markdown]
# ## Adding up in a ring
#
# How do p processes add up their gradients, so that all have the sum? If all send to one, that one receives p − 1 whole
# gradients. In a **ring** each sends only to its neighbour, and always a p-th part.

# %%
animation.ring_all_reduce(np.array([[1, 2, 3, 4], [10, 20, 30, 40], [5, 6, 7, 8], [50, 60, 70, 80]]))

# %% [markdown]
# Rows are processes, columns chunks of the gradient; framed is what has just arrived. In the first p − 1 rounds sums
# travel, each collecting on its way. Then every process has one finished chunk (bold), and in p − 1 more rounds these
# are handed on. Each process sends 2(p − 1) chunks, a p-th of the gradient each: 2(p − 1)/p gradients. That is never
# more than two, however many processes there are.

# %%
parameters = 25_557_032                                                  # ResNet-50, notebook 13
ring_bytes = {p: 2 * (p - 1) / p * 4 * parameters for p in (2, 4, 8, 64)}
links = {"NVLink of an H100, 450 GB/s each way": 450e9, "a network of 100 Gbit/s": 12.5e9}
for p, size in ring_bytes.items():
    print(f"{p:2} processes: each sends {size / 1e6:5.1f} MB; " +
          ", ".join(f"{name}: {1e3 * size / rate:4.1f} ms" for name, rate in links.items()))

# %% [markdown]
# Floors again, from nominal rates. DDP begins to send while backward still runs: the last layers' gradients are ready
# first. If backward takes longer than the sending, the sending is nearly free.
#
# The course's program runs on several GPUs like this, one process for each:
#
# ```
# torchrun --nproc-per-node=2 -m solutions.gpu.train RECIPE
# ```

# %% [markdown]
# ## The learning rate
#
# With 8 GPUs and 32 images on each, a step averages over 256 images, and an epoch has an eighth of the steps. Goyal et
# al. (2017) scale the learning rate **in proportion** to the batch: as long as the weights hardly change, one step on
# 8 batches goes as far as 8 steps on one each. At the beginning they do change, fast; therefore the rate first rises
# along a line, the **warm-up**. So they trained ResNet-50 with 8,192 images a step, on 256 GPUs in an hour, to the same
# error as with 256. Beyond that it got worse: the rule has its limits.

# %% [markdown]
# Afterwards the rate falls: by steps of 10, as in He et al. (2016), or along half a wave of a cosine (Loshchilov and
# Hutter, 2017).

# %% [markdown]
# ### Exercise: warm-up and cosine
#
# Write `learning_rate(step, steps, warmup, batch_size)`, the rate of step `step`, from 0 to `steps` − 1.
#
# - the peak is 0.1 for a batch of 256 images, and in proportion to `batch_size` for others;
# - in the first `warmup` steps (there may be 0) it rises along a line: in step 0 it is 1/`warmup` of the peak, in step
#   `warmup` − 1 the whole peak;
# - from step `warmup` on it is peak · (1 + cos(π·t)) / 2, where t goes from 0, at step `warmup`, evenly to 1, which it
#   would reach at step `steps`;
# - all arguments are ints, `warmup` < `steps`; return a float.

# %% tags=["exercise:learning_rate"]
def learning_rate(step, steps, warmup, batch_size):
    """The learning rate of a step: linear warm-up to 0.1 · batch_size / 256, then half a cosine."""
    ### BEGIN SOLUTION
    peak = 0.1 * batch_size / 256
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2
    ### END SOLUTION

# %% tags=["check:learning_rate"]
check("learning_rate", learning_rate)

# %%
fig, ax = plt.subplots(figsize=(9, 3), layout="constrained")
PER_EPOCH = 1_281_167                                                    # training images of ImageNet
for size, style, shade in [(256, "-", "0.2"), (1024, "--", "0.5"), (8192, "-", "tab:orange")]:
    steps, warm = 90 * PER_EPOCH // size, 5 * PER_EPOCH // size
    at = np.linspace(0, steps - 1, 300).astype(int)
    ax.plot(90 * at / steps, [learning_rate(int(t), steps, warm, size) for t in at], style, color=shade,
            label=f"{size:,} images a step, {steps:,} steps")
fallen = [0.1 * min(1, (e + 1) / 5) * 0.1 ** sum(e >= at for at in (30, 60, 80)) for e in range(90)]
ax.step(range(90), fallen, ":", color="0.2", where="post", label="256, by steps of 10")
ax.set(xlabel="epoch", ylabel="learning rate", yscale="log", ylim=(1e-5, 6))
ax.legend(frameon=False, fontsize=9, loc="lower left")
plt.show()

# %% [markdown]
# Five epochs of warm-up and 90 in all, as in the paper. The vertical axis is logarithmic: the three curves are the same
# one, 1 : 4 : 32. The dotted one falls at once to a tenth, three times.

# %% [markdown]
# ## All of it together
#
# A small network learns the digits. Both of its convolutions are your layer: your `Function`, your two gradient
# kernels, and forwards the one of dx with the rotated weights. The images lie on the device; the rate follows your schedule.
#
# In the interpreter a step takes about a second, so without a GPU the first steps run on the kernels and the others on
# torch's operations. With a GPU all steps run on the kernels. As a test, a second network with the same first weights
# runs on torch's operations from the beginning.

# %%
def digit_net(ops):
    torch.manual_seed(18)
    return nn.Sequential(
        HandConv2d(1, 16, 3, padding=1, ops=ops), nn.ReLU(), nn.MaxPool2d(2),
        HandConv2d(16, 32, 3, padding=1, ops=ops), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10))


def learn(net, steps, by_hand=0, batch_size=64):
    """Train on the digits; the first `by_hand` steps on kernels, the others on torch's operations.  The losses."""
    x, y = normalise(pixels[seen]).to(DEVICE), torch.from_numpy(labels[seen]).to(DEVICE)
    net.to(DEVICE, memory_format=torch.channels_last)
    random, losses = torch.Generator().manual_seed(1), []
    optimiser = torch.optim.SGD(net.parameters(), lr=1.0, momentum=0.9)
    for step in range(steps):
        for layer in net[0], net[3]:
            layer.ops = KernelOperations() if step < by_hand else Operations()
        optimiser.param_groups[0]["lr"] = 2 * learning_rate(step, steps, steps // 10, batch_size)     # a small network
        batch = torch.randint(len(x), (batch_size,), generator=random).to(DEVICE)
        loss = F.cross_entropy(net(x[batch]), y[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses

# %%
STEPS = 4 if quick() else 200
BY_HAND = 0 if obstacle() else STEPS if DEVICE == "cuda" else 1 if quick() else 5
net, twin = digit_net(None), digit_net(None)
losses, twin_losses = learn(net, STEPS, BY_HAND), learn(twin, STEPS)
with torch.no_grad():
    answers = net(normalise(pixels[unseen]).to(DEVICE)).argmax(1).cpu().numpy()
right = float((answers == labels[unseen]).mean())
early = max([abs(a - b) for a, b in zip(losses[:BY_HAND], twin_losses)], default=0.0)
fig, ax = plt.subplots(figsize=(8, 2.9), layout="constrained")
ax.plot(np.arange(1, STEPS + 1), losses, color="0.3", linewidth=1, label="loss")
ax.plot(np.arange(1, BY_HAND + 1), losses[:BY_HAND], "o", color="tab:orange", markersize=5, label="on your kernels")
ax.set(xlabel="step", ylabel="training loss", yscale="log")
ax.legend(frameon=False)
plt.show()
print(f"loss {losses[0]:.2f} in the first step, {np.mean(losses[-20:]):.3f} in the last ones; "
      f"{right:.1%} of the test digits right")
print(f"{BY_HAND} steps on the kernels: the loss differs from the twin's by at most {early:.1g}")

# %% [markdown]
# The loss falls to about a hundredth, and 99 % of the unseen digits are read rightly. On the first steps, those of your
# kernels, the twin's loss is the same, to the last digit or nearly. So it does not matter who computed the gradients:
# you, or a library on which many people have worked for ten years. It matters for how long it takes.

# %% [markdown]
# ## In your own words
#
# A group trains a network on one GPU: batches of 256, learning rate 0.1, float32. It moves to 8 GPUs with DDP, 256
# images on each, and to float16. Four observations:
#
# 1. With the old rate, 0.1, the loss falls, but after as many *epochs* as before the error is higher. With 0.8 from the
#    first step on, the loss is soon NaN.
# 2. In float16 without loss scaling the loss stops falling earlier than in float32.
# 3. Two runs with the same seed differ from about the hundredth step on. Somebody says: a race.
# 4. The test images do not divide by 8. With the same weights the 8 processes report another accuracy than one.

# %% [markdown] tags=["written:scaling_up:4"]
# For each of the four: what is the likely cause, how would you find out, and what would you change? Two or three
# sentences each.
#
# <!-- BEGIN SOLUTION -->
# **Answer.**
#
# 1. A step averages over 2,048 images now, so an epoch has an eighth of the steps. With 0.1 the network goes an eighth
#    of the way in each epoch; 0.8 is right in proportion, but too much at the beginning, when the weights change fast:
#    it needs a warm-up of some epochs. (In float16 a NaN may also be an overflow: look whether a gradient is infinite
#    before the weights are.) To find out: 0.8 with warm-up, and the same in float32.
# 2. Gradients below about 2^−25 become 0 in float16, more of them the smaller the loss. Count the zeros, layer by
#    layer, or draw the histogram. Scale the loss, with a scale that adapts, or use bfloat16, and keep float32 master
#    weights.
# 3. Not necessarily. Sums whose order is not fixed, atomics or the reduction between the GPUs, end in other last bits,
#    and training makes small differences large. Switch to deterministic algorithms: if the runs agree, it was the
#    order. A race would give wrong values, not only other last bits: compare one step with a reference in float64.
# 4. To make the shares equal some images are counted twice. (Or the mean of the processes' accuracies is taken, with
#    shares of different sizes.) Add up the numbers of right answers and of images, without repeated ones.
#
# **Rubric.**
#
# - 1 point: fewer steps, scaling in proportion (½), and warm-up (½).
# - 1 point: underflow, how it is seen (½), and loss scaling or bfloat16 (½).
# - 1 point: the order of float additions (½), and a test that tells it from a race (½).
# - 1 point: repeated images or unequal shares (½), and counts added up in place of averages (½).
# <!-- END SOLUTION -->

# %% [markdown]
# ## Summary
#
# | question | answer |
# |---|---|
# | cost of training a layer | three products of as many multiply-adds: y, dx, dw |
# | dw as a product | (R·S·C × M) times (M × K), M = N·P·Q pixels: few tiles, long sums |
# | too few tiles | split-K: a workspace and a second kernel, or atomics |
# | between programs | no waiting: the end of the kernel is the only barrier |
# | same result in every run | needs a fixed order of additions; atomics have none |
# | dx | gather: p = (h + padding − r)/stride, if nothing is left over; never stamp |
# | forward at stride 1 | the kernel of dx with rotated weights and padding R − 1 − padding |
# | max pooling | keep the winner's place, one byte; each pixel looks at its windows |
# | autograd.Function | one gradient for each argument, None for what is no tensor; compute only what is needed |
# | float16 | range 6e-8 to 65,504: scale the loss, skip steps that overflow |
# | bfloat16 | float32's range, about two digits: no scaling |
# | stays float32 | master weights, sums, softmax, loss, statistics |

# %% [markdown]
# | question | answer |
# |---|---|
# | small networks | launches cost more than arithmetic: fuse, or record a CUDA graph |
# | data | uint8 to the device, once if it fits; augment there, without loops |
# | data parallel | averages of equal shares give the gradient of the whole batch; of unequal ones they do not |
# | batch norm | takes the statistics of each process's share |
# | ring all-reduce | each sends 2(p − 1)/p gradients, however many there are |
# | learning rate | in proportion to the batch, warm-up, then cosine or steps |

# %% [markdown]
# ## Where to read more
#
# - Philippe Tillet, Hsiang-Tsung Kung and David Cox, *Triton: an intermediate language and compiler for tiled neural
#   network computations*, MAPL 2019.
# - Sharan Chetlur and others, *cuDNN: efficient primitives for deep learning*, 2014: implicit GEMM.

# %% [markdown]
# On training with short numbers, large batches and many GPUs:
#
# - Paulius Micikevicius and others, *Mixed precision training*, ICLR 2018: loss scaling and master weights.
# - Priya Goyal and others, *Accurate, large minibatch SGD: training ImageNet in 1 hour*, 2017: scaling, warm-up, and
#   what goes wrong with several GPUs (a list worth reading).
# - Ilya Loshchilov and Frank Hutter, *SGDR: stochastic gradient descent with warm restarts*, ICLR 2017: the cosine.
# - Pitch Patarasuk and Xin Yuan, *Bandwidth optimal all-reduce algorithms for clusters of workstations*, Journal of
#   Parallel and Distributed Computing 2009: the ring.
# - Shen Li and others, *PyTorch distributed: experiences on accelerating data parallel training*, VLDB 2020: DDP.

# %% [markdown]
# ## Nineteen notebooks
#
# You began with an image that was too large for a fully connected layer, and end with kernels that train a convnet. On
# the way you have written most of what a library offers for that yourself, once, small and slow: convolution, its
# gradients, pooling, batch norm, LeNet; then the networks of twenty years as blocks whose parameters you counted; then
# instruments to look into them, and what makes them fast.
#
# What the course has not shown you: detection, video, self-supervised learning, generative models, and attention
# beyond a paragraph. Its own experiments were small, often with one seed, and said so. Little of what they show is
# certain for your data.

# %% [markdown]
# Where to go on:
#
# - **Read a paper and rebuild it.** Count its parameters, compare with what it states, and train it on something small.
#   ConvNeXt (Liu et al., 2022) and ViT (Dosovitskiy et al., 2021) are within reach.
# - **Use it.** Take a data set of your own, a pretrained network, and everything of notebook 16 before you believe the
#   accuracy.
# - **Make it faster.** The course's repository holds complete kernels, with dilation and groups, and their tests, under
#   `solutions/gpu`. Measure first, compute the floor, then change one thing.
#
# And keep the habit: predict, then run.
