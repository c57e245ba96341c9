# %% [markdown]
# # 12 GoogLeNet
#
# VGG made one decision, 3×3 everywhere, and repeated it. GoogLeNet, which won the same challenge of 2014, refuses to
# decide: each layer looks through windows of several sizes at once. Done plainly, that explodes. This notebook shows
# the explosion, the small convolution that tames it, and the network that came out: 22 layers, and a fraction of the
# parameters of AlexNet.

# %% [markdown]
# ## What you will be able to do
#
# - say why one layer would want filters of several sizes, and put their outputs together;
# - count the parameters and multiply-adds of such a module, with and without 1×1 bottlenecks;
# - write the Inception module and an auxiliary classifier as PyTorch modules;
# - replace fully connected layers by global average pooling, and say what that saves;
# - build GoogLeNet from its table, and train with a loss that has three parts.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cnnlab import check, hint, plots
from cnnlab.data import digits, photo
from cnnlab.training import fit

torch.set_num_threads(1)  # the network trained at the end is so small that threads would only wait for each other

# %% [markdown]
# ## One layer, several sizes
#
# A face may fill a picture or be a dozen pixels wide. A filter has one size. Which one should a layer have?
#
# Here is a picture with dots of three sizes, and three filters: each is a disc with a ring of the same area around it,
# +1 inside and −1 outside, scaled so that it answers 1 to its own dot.
#
# **Predict.** Which filter answers most to which dot? Does the largest filter not see the small dots as well?

# %%
def disc(size, radius):
    """1 inside a circle in the middle of a square of `size` pixels, else 0."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return (x ** 2 + y ** 2 <= radius ** 2).astype(np.float32)

radii, sizes = (1.5, 3.5, 6.5), (7, 13, 21)
dots = np.zeros((40, 96), np.float32)
for i, radius in enumerate(radii):
    dots[10:31, 6 + 30 * i:27 + 30 * i] = disc(21, radius)
answers = []
for radius, size in zip(radii, sizes):
    inside, around = disc(size, radius), disc(size, 1.4142 * radius) - disc(size, radius)
    kernel = torch.from_numpy(inside / inside.sum() - around / around.sum())
    answers.append(F.conv2d(torch.from_numpy(dots)[None, None], kernel[None, None], padding="same")[0, 0].numpy())
plots.images(dots, *answers, titles=["dots", *(f"{k}×{k} filter" for k in sizes)], height=1.2, vmin=-1, vmax=1)
peaks = np.array([[a[20, 16 + 30 * i] for i in range(3)] for a in answers])  # (filter, dot)
print("answer in the middle of each dot, a filter a row:\n", peaks.round(2) + 0)

# %% [markdown]
# Each filter is brightest on the dot of its own size, where it answers 1. A filter that is too small finds nothing but
# the middle of a dot, which is flat, and answers 0. One that is too large takes in the dot and what is around it, and
# the answer is weak.
#
# We could stack 3×3 layers until the window is right, as VGG does. But at any depth there is then one window. The
# *Inception module* (Szegedy et al., 2014) has several side by side, and lets training decide which to use.

# %% [markdown]
# ## The naive module
#
# Four branches see the same input:
#
# - a 1×1 convolution,
# - a 3×3 convolution,
# - a 5×5 convolution,
# - 3×3 max pooling at stride 1.
#
# All keep height and width, so their outputs fit on top of each other: they are **concatenated** along the channels.

# %%
def draw_module(ax, columns, title):
    """Branches side by side, each from the input below to the concatenation above."""
    boxes, arrows = {"in": (1.5, 0, "input"), "cat": (1.5, 3, "concatenate")}, []
    for x, column in enumerate(columns):
        for level, label in enumerate(column):
            boxes[x, level] = (x, 1 + level if len(column) > 1 else 1.5, label)
        arrows += [("in", (x, 0)), ((x, len(column) - 1), "cat")]
        arrows += [((x, 0), (x, 1))] if len(column) > 1 else []
    plots.diagram(ax, boxes, arrows)
    ax.set_title(title, fontsize=10)

fig, axes = plt.subplots(1, 2, figsize=(plots.WIDTH, 3.4), layout="constrained")
draw_module(axes[0], [["1×1"], ["3×3"], ["5×5"], ["3×3 pool"]], "naive")
draw_module(axes[1], [["1×1"], ["1×1", "3×3"], ["1×1", "5×5"], ["3×3 pool", "1×1"]], "with bottlenecks")
plt.show()

# %% [markdown]
# On the left the naive module; the one on the right will follow from its price. Read both from below.

# %% [markdown]
# ### Exercise: the naive module
#
# Write `naive_inception(x, w1, w3, w5)`.
#
# - `x` (N, C, H, W); `w1` (n1, C, 1, 1), `w3` (n3, C, 3, 3), `w5` (n5, C, 5, 5), tensors; no biases and no ReLU;
# - the convolutions have stride 1 and zeros around the input, so that height and width stay; the max pooling has 3×3
#   windows at stride 1 and keeps height and width too;
# - return (N, n1 + n3 + n5 + C, H, W): the channels of the 1×1, the 3×3, the 5×5 branch and the pooling, in this
#   order.
#
# You may use `F.conv2d` and `F.max_pool2d`.

# %% tags=["exercise:naive_inception"]
def naive_inception(x, w1, w3, w5):
    """Filters of three sizes and max pooling, concatenated along the channels.

    x (N, C, H, W); w1, w3, w5 (n, C, k, k) for k = 1, 3, 5.  Returns (N, n1 + n3 + n5 + C, H, W).
    """
    ### BEGIN SOLUTION
    one = F.conv2d(x, w1)                                     # (N, n1, H, W)
    three = F.conv2d(x, w3, padding=1)                        # (N, n3, H, W)
    five = F.conv2d(x, w5, padding=2)                         # (N, n5, H, W)
    pooled = F.max_pool2d(x, 3, stride=1, padding=1)          # (N, C, H, W)
    return torch.cat([one, three, five, pooled], dim=1)
    ### END SOLUTION

# %% tags=["check:naive_inception"]
check("naive_inception", naive_inception)

# %% [markdown]
# ## What it costs
#
# A convolution with $n$ filters of k×k on $C$ channels has $k^2Cn$ weights, and at each of the $H \cdot W$ places of
# its output each weight is multiplied once: $k^2Cn \cdot HW$ multiply-adds. Biases are left out here.
#
# Take a layer in the middle of a network: 28×28 places, 256 channels, and 128 filters 1×1, 192 filters 3×3, 96 filters
# 5×5.
#
# **Predict.** Which branch costs most? And how many channels does the module hand to the next layer?

# %% [markdown]
# ### Exercise: the price of the naive module
#
# Write `naive_cost(c_in, n1, n3, n5, height, width)`. All arguments are ints. Return three ints:
#
# - the channels of the output, pooling included;
# - the weights of all three convolutions, no biases;
# - the multiply-adds of one image of `height` × `width`. Pooling multiplies nothing.

# %% tags=["exercise:naive_cost"]
def naive_cost(c_in, n1, n3, n5, height, width):
    """Output channels, weights and multiply-adds of a naive module, ints."""
    ### BEGIN SOLUTION
    weights = c_in * (n1 + 9 * n3 + 25 * n5)
    return n1 + n3 + n5 + c_in, weights, weights * height * width
    ### END SOLUTION

# %% tags=["check:naive_cost"]
check("naive_cost", naive_cost)

# %%
channels, weights, naive_total = naive_cost(256, 128, 192, 96, 28, 28)
for name, n in {"1×1": (128, 0, 0), "3×3": (0, 192, 0), "5×5": (0, 0, 96)}.items():
    print(f"{name}: {naive_cost(256, *n, 28, 28)[2] / 1e6:5.0f} million multiply-adds")
print(f"all: {naive_total / 1e6:5.0f} million, and {channels} channels go on")

# %% [markdown]
# The 5×5 branch costs most with the fewest filters: 25 weights for each pair of channels. 854 million multiply-adds
# go into one module, when the authors had allowed themselves 1.5 billion for a whole network. And 672 channels go on,
# since pooling passes on all 256 it gets: a module cannot have fewer channels than its input. After a few modules
# nothing is affordable any more.

# %% [markdown]
# ## The bottleneck
#
# A 1×1 convolution is a small fully connected layer over the channels, the same at every place (notebook 03): it
# mixes $C$ channels into fewer. Put one **before** the expensive filters and let these work on what is left; put one
# **after** the pooling, to choose how many of its channels go on.
#
# With $r$ channels in between, a 5×5 branch has $Cr + 25rn$ weights in place of $25Cn$. The large filters get cheaper
# by the factor $C/r$; the 1×1 convolution before them has to be paid from that.

# %% [markdown]
# ### Exercise: the price with bottlenecks
#
# Write `bottleneck_cost(c_in, n1, r3, n3, r5, n5, proj, height, width)`, all ints. `r3` and `r5` are the channels
# between the 1×1 convolution and the 3×3 or 5×5 one, `proj` those of the 1×1 convolution after the pooling. Return,
# as before, the output's channels, the weights and the multiply-adds; no biases.

# %% tags=["exercise:bottleneck_cost"]
def bottleneck_cost(c_in, n1, r3, n3, r5, n5, proj, height, width):
    """Output channels, weights and multiply-adds of an Inception module, ints."""
    ### BEGIN SOLUTION
    weights = c_in * (n1 + r3 + r5 + proj) + 9 * r3 * n3 + 25 * r5 * n5
    return n1 + n3 + n5 + proj, weights, weights * height * width
    ### END SOLUTION

# %% tags=["check:bottleneck_cost"]
check("bottleneck_cost", bottleneck_cost)

# %% [markdown]
# **Predict.** The same 128, 192 and 96 filters, with 64 channels before the 3×3, 64 before the 5×5 and 64
# after the pooling. By which factor do the multiply-adds fall?

# %%
channels, weights, total = bottleneck_cost(256, 128, 64, 192, 64, 96, 64, 28, 28)
print(f"{total / 1e6:.0f} million multiply-adds, {naive_total / total:.1f} times fewer; {channels} channels go on")

# %% [markdown]
# 3.1 times fewer, not $256/64 = 4$: the 1×1 convolutions cost something too, and the 1×1 branch is as it was. The
# module now hands on 480 channels. That number is chosen, where before it could only grow.
#
# The 1×1 convolutions are followed by ReLU like all others, so each also adds a non-linearity. Nobody claims that
# nothing is lost by going through 64 channels; the bet is that the channels of an image are so much alike that little
# is.

# %% [markdown]
# ## The nine modules
#
# Table 1 of the paper lists the modules with their channels: (1×1, 3×3 reduce, 3×3, 5×5 reduce, 5×5, pool proj). Three
# sizes of maps occur; a max pooling at stride 2 stands between them.

# %%
MODULES = {"3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64),
           "4a": (192, 96, 208, 16, 48, 64), "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64),
           "4d": (112, 144, 288, 32, 64, 64), "4e": (256, 160, 320, 32, 128, 128),
           "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128)}
SIDE = {"3": 28, "4": 14, "5": 7}
c, c_naive, costs = 192, 192, {}
print("module   in  out   weights   multiply-adds   naive    chained naive: channels")
for name, (n1, r3, n3, r5, n5, proj) in MODULES.items():
    side = SIDE[name[0]]
    out, weights, adds = bottleneck_cost(c, n1, r3, n3, r5, n5, proj, side, side)
    _, _, naive = naive_cost(c, n1, n3, n5, side, side)
    c_naive, _, chained = naive_cost(c_naive, n1, n3, n5, side, side)
    costs[name] = adds, naive, chained
    print(f"{name:6} {c:4} {out:5} {weights:9,} {adds / 1e6:11.0f} M {naive / 1e6:8.0f} M {c_naive:17}")
    c = out
sums = np.array(list(costs.values())).sum(axis=0) / 1e6
print(f"in all {sums[0]:27.0f} M {sums[1]:8.0f} M")

# %%
fig, ax = plt.subplots(figsize=(plots.WIDTH, 3), layout="constrained")
at = np.arange(len(costs))
for i, (label, shade, hatch) in enumerate([("with bottlenecks", "0.25", ""), ("naive, same input", "0.6", ""),
                                           ("naive, all the way", "white", "///")]):
    ax.bar(at + 0.27 * (i - 1), [cost[i] / 1e6 for cost in costs.values()], 0.27, label=label, facecolor=shade,
           edgecolor="0.25", hatch=hatch)
ax.set_xticks(at, list(costs))
ax.set(ylabel="million multiply-adds", xlabel="module")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# Dark: the modules as they are, together 1,104 million multiply-adds. Grey: the same filters without bottlenecks on
# the same inputs, 3,881 million, 3.5 times as much. Hatched: naive modules all the way, each on the output of the one
# before. From 3b on the channels that pooling keeps passing on make everything wider; the last module would put out
# 4,944 channels instead of 1,024.

# %% [markdown]
# ### Exercise: the Inception module
#
# Write the module as a class `Inception(c_in, n1, r3, n3, r5, n5, proj)`.
#
# - branch 1: 1×1 to `n1`; branch 2: 1×1 to `r3`, then 3×3 to `n3`; branch 3: 1×1 to `r5`, then 5×5 to `n5`;
#   branch 4: 3×3 max pooling at stride 1, then 1×1 to `proj`;
# - **every** convolution has a bias and is followed by ReLU; height and width stay as they are;
# - `forward(x)` takes (N, c_in, H, W) and returns (N, n1 + n3 + n5 + proj, H, W), the branches in this order.
#
# Use the layers of `nn`; name and order them as you like, here and below.

# %% tags=["exercise:inception_module"]
class Inception(nn.Module):
    """An Inception module with bottlenecks (Szegedy et al., 2014, figure 2b)."""

    def __init__(self, c_in, n1, r3, n3, r5, n5, proj):
        super().__init__()
        ### BEGIN SOLUTION
        self.one = nn.Conv2d(c_in, n1, 1)
        self.reduce3, self.three = nn.Conv2d(c_in, r3, 1), nn.Conv2d(r3, n3, 3, padding=1)
        self.reduce5, self.five = nn.Conv2d(c_in, r5, 1), nn.Conv2d(r5, n5, 5, padding=2)
        self.project = nn.Conv2d(c_in, proj, 1)
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        one = F.relu(self.one(x))                                      # (N, n1, H, W)
        three = F.relu(self.three(F.relu(self.reduce3(x))))            # (N, n3, H, W)
        five = F.relu(self.five(F.relu(self.reduce5(x))))              # (N, n5, H, W)
        pooled = F.max_pool2d(x, 3, stride=1, padding=1)               # (N, c_in, H, W)
        return torch.cat([one, three, five, F.relu(self.project(pooled))], dim=1)
        ### END SOLUTION

# %% tags=["check:inception_module"]
check("inception_module", Inception)

# %% [markdown]
# ## The end of the network
#
# AlexNet and VGG flatten the last maps and put three fully connected layers on top. VGG-16 has 123.6 of its 138.4
# million parameters there. GoogLeNet takes the **mean of each map**, and one fully connected layer turns these 1024
# numbers into the scores.

# %% [markdown]
# ### Exercise: global average pooling
#
# Write `global_average_pool(x)`: from maps (N, C, H, W) to the mean of each, (N, C). Any height and width.

# %% tags=["exercise:global_average_pool"]
def global_average_pool(x):
    """The mean of each map: (N, C, H, W) -> (N, C)."""
    ### BEGIN SOLUTION
    return x.mean(dim=(2, 3))
    ### END SOLUTION

# %% tags=["check:global_average_pool"]
check("global_average_pool", global_average_pool)

# %% [markdown]
# **Predict.** The last maps are 1024 of 7×7. How many parameters does the scoring layer for 1000 classes have after
# global average pooling? How many would one need on the flattened maps?

# %%
pooled_head = 1024 * 1000 + 1000
flat_head = 1024 * 7 * 7 * 1000 + 1000
print(f"after pooling {pooled_head:,}; on the flattened maps {flat_head:,}, {flat_head / pooled_head:.0f} times as many")

# %% [markdown]
# One million against fifty. The pooled layer also takes maps of any size, and does not care where in the picture
# something was found. The idea is from *Network in network* (Lin, Chen and Yan, 2014), as are the 1×1 convolutions.
# The paper says that it gained 0.6 % of top-1 accuracy.

# %% [markdown]
# ## Help half-way up
#
# In 2014, without batch norm and without residual connections, nobody was sure that gradients would reach the first of
# 22 layers. GoogLeNet has two **auxiliary classifiers**: small networks on the output of modules 4a and 4d that
# already try to name the class. Their losses are added during training; afterwards they are thrown away.

# %% [markdown]
# ### Exercise: an auxiliary classifier
#
# Write the class `AuxiliaryHead(c_in, num_classes, channels=128, hidden=1024, dropout=0.7)`, for maps of 14×14. In this
# order:
#
# - average pooling 5×5 at stride 3, without padding: to 4×4;
# - a 1×1 convolution to `channels`, with bias; ReLU;
# - flatten to (N, 16 · channels), in PyTorch's order;
# - a fully connected layer to `hidden`; ReLU; dropout, in training only: `dropout` is the share that is dropped, from 0
#   to 1;
# - a fully connected layer to `num_classes`. `forward` returns its logits.

# %% tags=["exercise:auxiliary_head"]
class AuxiliaryHead(nn.Module):
    """An auxiliary classifier on maps of 14×14 (Szegedy et al., 2014, section 5)."""

    def __init__(self, c_in, num_classes, channels=128, hidden=1024, dropout=0.7):
        super().__init__()
        ### BEGIN SOLUTION
        self.reduce = nn.Conv2d(c_in, channels, 1)
        self.hidden = nn.Linear(16 * channels, hidden)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(hidden, num_classes)
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        x = F.avg_pool2d(x, 5, stride=3)                     # (N, c_in, 4, 4)
        x = F.relu(self.reduce(x)).flatten(1)                # (N, 16 · channels)
        x = self.dropout(F.relu(self.hidden(x)))             # (N, hidden)
        return self.classify(x)                              # (N, num_classes)
        ### END SOLUTION

# %% tags=["check:auxiliary_head"]
check("auxiliary_head", AuxiliaryHead)

# %% [markdown]
# ### Exercise: the loss with three parts
#
# Write `googlenet_loss(logits, aux1, aux2, labels, weight=0.3)`.
#
# - `logits`, `aux1`, `aux2` (N, K): scores of the network and of its two auxiliary classifiers; `labels` (N,), ints;
# - each part is a cross-entropy, the mean over the batch; the two auxiliary ones are each multiplied by `weight` and
#   added to the first. Return the sum, a tensor without dimensions.

# %% tags=["exercise:googlenet_loss"]
def googlenet_loss(logits, aux1, aux2, labels, weight=0.3):
    """The loss of GoogLeNet in training: cross-entropy of the scores plus `weight` times each auxiliary one's."""
    ### BEGIN SOLUTION
    main, first, second = (F.cross_entropy(z, labels) for z in (logits, aux1, aux2))
    return main + weight * (first + second)
    ### END SOLUTION

# %% tags=["check:googlenet_loss"]
check("googlenet_loss", googlenet_loss)

# %% [markdown]
# **Predict.** GoogLeNet starts with all logits near 0. What is its first loss for 1000 classes, in training?

# %%
silent = torch.zeros(4, 1000)
first_loss = googlenet_loss(silent, silent, silent, torch.arange(4)).item()
print(f"{first_loss:.3f} = 1.6 · ln 1000; one head alone would give {np.log(1000):.3f}")

# %% [markdown]
# ## The whole network
#
# What comes before the modules is small and ordinary, and given here. The network of 2014 also has local response
# normalisation at two places of this stem; notebooks 07 and 10 showed what it does, and why it went out of use. It
# learns nothing, so all counts stay the same.

# %%
def stem(c_in, c1, c2, c3):
    """From the image to maps of an eighth of its height and width: (N, c_in, H, W) -> (N, c3, H/8, W/8)."""
    return nn.Sequential(
        nn.Conv2d(c_in, c1, 7, stride=2, padding=3), nn.ReLU(), nn.MaxPool2d(3, stride=2, ceil_mode=True),
        nn.Conv2d(c1, c2, 1), nn.ReLU(), nn.Conv2d(c2, c3, kernel_size=3, padding=1), nn.ReLU(),
        nn.MaxPool2d(3, stride=2, ceil_mode=True))

# %% [markdown]
# ### Exercise: GoogLeNet from its table
#
# Write the class `GoogLeNet(table, num_classes, widths, dropout=0.4, head=(128, 1024, 0.7))`. It begins with
# `stem(3, *widths)`. Then it follows `table`, a tuple; its entries are
#
# - six ints: an `Inception` with these widths, on the channels that there are;
# - `"pool"`: max pooling 3×3 at stride 2, with `ceil_mode=True`;
# - `"head"`: an `AuxiliaryHead(c, num_classes, *head)` on the `c` channels here; the maps go on unchanged.
#
# At the end: the mean of each map, dropout with probability `dropout`, a fully connected layer to `num_classes`.
#
# `forward(x)` takes (N, 3, H, W). In training it returns a tuple, also for a table without heads: the logits, then
# those of each head, in the table's order. In evaluation it returns the logits alone and computes no head.

# %% tags=["exercise:googlenet"]
class GoogLeNet(nn.Module):
    """GoogLeNet (Szegedy et al., 2014, table 1) from a table of its modules."""

    def __init__(self, table, num_classes, widths, dropout=0.4, head=(128, 1024, 0.7)):
        super().__init__()
        ### BEGIN SOLUTION
        self.layers, c = nn.ModuleList([stem(3, *widths)]), widths[-1]
        for entry in table:
            if entry == "pool":
                self.layers.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
            elif entry == "head":
                self.layers.append(AuxiliaryHead(c, num_classes, *head))
            else:
                n1, r3, n3, r5, n5, proj = entry
                self.layers.append(Inception(c, *entry))
                c = n1 + n3 + n5 + proj
        self.end = nn.Sequential(nn.Dropout(dropout), nn.Linear(c, num_classes))
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        heads = []
        for layer in self.layers:
            if not isinstance(layer, AuxiliaryHead):
                x = layer(x)
            elif self.training:
                heads.append(layer(x))
        logits = self.end(x.mean(dim=(2, 3)))
        return (logits, *heads) if self.training else logits
        ### END SOLUTION

# %% tags=["check:googlenet"]
check("googlenet", GoogLeNet)

# %%
m = MODULES
TABLE = (m["3a"], m["3b"], "pool", m["4a"], "head", m["4b"], m["4c"], m["4d"], "head", m["4e"], "pool", m["5a"], m["5b"])
torch.manual_seed(0)
net = GoogLeNet(TABLE, num_classes=1000, widths=(64, 64, 192))
inceptions = dict(zip(MODULES, (part for part in net.modules() if isinstance(part, Inception))))
parts = {"stem": [stem(3, 64, 64, 192)], "modules": inceptions.values(),
         "heads": [part for part in net.modules() if isinstance(part, AuxiliaryHead)]}
parts = {name: sum(p.numel() for part in given for p in part.parameters()) for name, given in parts.items()}
parts["scoring layer"] = sum(p.numel() for p in net.parameters()) - sum(parts.values())
kept = sum(parts.values()) - parts["heads"]
for name, count in parts.items():
    print(f"{name:14} {count:10,}")
print(f"kept after training: {kept:,}, {60_965_224 / kept:.1f} times fewer than AlexNet")

# %% [markdown]
# 7.0 million parameters are kept; the two heads have almost as many again and are thrown away. AlexNet has 60,965,224
# (notebook 10), 8.7 times as many. The paper speaks of 12 times fewer: that would be 5 million, but the rows of its
# own table add up to 6.8 million. Both numbers are quoted everywhere; now you can count.

# %% [markdown]
# The paper calls this network *22 layers deep*.
#
# **Predict.** The stem has three convolutions, each of the nine modules six, and there is the scoring layer. That makes
# 58 layers with weights. How is 22 counted?

# %%
in_stem, on_the_way, poolings = 3, 2, 2 + 2 + 1  # convolutions of the stem; of the longest way through a module
layers_in_all, depth = in_stem + 6 * len(MODULES) + 1, in_stem + on_the_way * len(MODULES) + 1
print(f"{layers_in_all} layers with weights; one after another {in_stem} + {on_the_way}·{len(MODULES)} + 1 = {depth}, "
      f"with {poolings} poolings {depth + poolings}")

# %% [markdown]
# Depth is the **longest way** from the image to the scores, counted in layers that have weights. Branches side by side
# count once: the longest way through a module is a 1×1 convolution and the 3×3 or 5×5 after it, two layers. ReLU,
# dropout and the auxiliary classifiers do not count, nor does pooling; with pooling the paper, too, comes to 27. VGG-16
# and AlexNet are counted in the same way, but they are chains: depth and number of layers are one thing there.

# %% [markdown]
# ## What the heads are for
#
# The heads were meant to bring gradients to the lower modules. We can look, at least at the start: the real network,
# four crops of photographs with arbitrary labels, and the norm of the gradient in each module, once for the network's
# own loss and once for the two auxiliary losses. We do so for two ways to choose the first weights: PyTorch's default,
# whose standard deviation is $1/\sqrt{6}$ of He's, and He's (notebook 08).
#
# **Predict.** In which of the two cases do the heads help module 3a more?

# %%
def gradient_norms(net, x):
    """The norm of the gradient in each module, for the network's own loss and for the auxiliary ones."""
    torch.manual_seed(0)  # of the dropout
    labels = torch.tensor([1, 2, 3, 4])
    logits, aux1, aux2 = net(x)
    losses = {"the network's own loss": F.cross_entropy(logits, labels),
              "auxiliary losses, × 0.3": 0.3 * (F.cross_entropy(aux1, labels) + F.cross_entropy(aux2, labels))}
    norms = {}
    for name, loss in losses.items():
        net.zero_grad()
        loss.backward(retain_graph=True)
        norms[name] = [sum(p.grad.pow(2).sum().item() for p in part.parameters() if p.grad is not None) ** 0.5
                       for part in net.modules() if isinstance(part, Inception)]
    return norms

def start_as_he(net):
    """He's first weights for all layers, biases 0."""
    for p in net.parameters():
        nn.init.kaiming_normal_(p, nonlinearity="relu") if p.dim() > 1 else nn.init.zeros_(p)

# %%
images = np.stack([photo(name)[:224, at:at + 224] for name in ("china", "flower") for at in (0, 200)])
x = torch.from_numpy(images).permute(0, 3, 1, 2).float() - 0.45                     # (4, 3, 224, 224)
torch.manual_seed(0)
net = GoogLeNet(TABLE, num_classes=1000, widths=(64, 64, 192))
by_start = {"PyTorch's default": gradient_norms(net, x)}
start_as_he(net)
by_start["He's"] = gradient_norms(net, x)
fig, axes = plt.subplots(1, 2, figsize=(plots.WIDTH, 3), sharey=True, layout="constrained")
for ax, (start, norms) in zip(axes, by_start.items()):
    for (name, values), style in zip(norms.items(), ("o-", "s--")):
        ax.semilogy(list(MODULES), [v or np.nan for v in values], style, color="0.2", mfc="white", label=name)
    ax.set(xlabel="module", title=f"{start} first weights")
    ax.grid(color="0.9")
axes[0].set_ylabel("norm of the gradient")
axes[0].legend(frameon=False)
plt.show()
shares = {start: norms["auxiliary losses, × 0.3"][0] / norms["the network's own loss"][0]
          for start, norms in by_start.items()}
for start, share in shares.items():
    own = by_start[start]["the network's own loss"]
    print(f"{start}: the network's own gradient falls {own[-1] / own[0]:,.1f} times from 5b to 3a;\n"
          f"    there the auxiliary losses give {share:,.1f} times as much")

# %% [markdown]
# On the left the network's own gradient (circles) shrinks more than a thousandfold on its way from 5b to 3a. The
# auxiliary losses (squares) enter half-way, at 4d and 4a, and bring 3a about a hundred times as much. On the right
# the network's own gradient falls only a few times, and the heads bring about as much again. (Other first weights give
# somewhat other numbers.) So the heads help where the first weights are too small. He's rule was published only in 2015.

# %% [markdown]
# Whether they are *needed* is another question. The authors themselves later found that the heads change little early
# in training, and argued that they act as a regulariser (Szegedy et al., 2015, *Rethinking the Inception
# architecture*, section 4). An idea can work for another reason than the one it was built for.

# %% [markdown]
# ## A small one, trained
#
# The handwritten digits of notebook 08 are 8×8 pixels, too small for the stem. Three modules before a global
# average are enough for them.
#
# **Predict.** The LeNet of notebook 08 has 61,706 parameters and got more than 97 % of the digits kept for testing
# right. How many parameters will this network have?

# %%
pictures, y = digits()
order = np.random.default_rng(0).permutation(len(y))
pictures, y = torch.from_numpy(pictures[order]).float()[:, None] / 16 - 0.3, torch.from_numpy(y[order])
train, test = slice(0, 1437), slice(1437, None)

def step(batch, done):
    optimiser.param_groups[0]["lr"] = 0.05 * (1 - done) + 0.001
    loss = F.cross_entropy(small(pictures[train][batch]), y[train][batch])
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()

def accuracy():
    with torch.no_grad():
        return (small(pictures[test]).argmax(dim=1) == y[test]).float().mean().item()

# %%
torch.manual_seed(0)
small = nn.Sequential(Inception(1, 8, 4, 8, 4, 8, 4), Inception(28, 8, 12, 16, 4, 8, 8), nn.MaxPool2d(2),
                      Inception(40, 16, 16, 24, 6, 12, 12), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
start_as_he(small[:-1])
optimiser = torch.optim.SGD(small.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
history = fit(step, len(y[train]), epochs=15, batch_size=64, evaluate=accuracy)
print(f"{sum(p.numel() for p in small.parameters()):,} parameters")
with torch.no_grad():
    maps = small[:2](pictures[test])                                           # (360, 40, 8, 8)
branches = dict(zip(("1×1", "3×3", "5×5", "pool"), maps.split([8, 16, 8, 8], dim=1)))
plots.feature_maps({"digit": pictures[test][3].numpy(), **{k: v[3].numpy() for k, v in branches.items()}})

# %% [markdown]
# 12,616 parameters, a fifth of LeNet's, for about the same accuracy: most of LeNet's stand in its first fully connected
# layer, and here there is none.
#
# Each row shows one branch of the second module for one digit; darker is larger, and some maps are blank for this
# digit. Several 3×3 maps light up at a few places only, some of the 5×5 along a whole side, and the pooled ones are
# broad. The next module gets all 40 maps at once, whatever the size of the window they come from.

# %% [markdown] tags=["written:which_branch:3"]
# ## In your own words
#
# A friend builds a network from naive modules, eight in a row, and runs out of memory. To save some, she leaves out
# the 5×5 branch, since "two 3×3 layers see 5×5 anyway". It still runs out of memory. Explain, with numbers for an
# input of 256 channels and 64 filters in each remaining branch, what really fills her memory, what a single change
# would help most, and what her argument about 3×3 overlooks. Four to six sentences.
#
# <!-- BEGIN SOLUTION -->
# **Answer.** What grows is the number of channels: the pooling branch passes on all it gets, so a module with 64 1×1
# and 64 3×3 filters puts out 256 + 128 = 384 channels, the next 512, and after eight 256 + 8·128 = 1,280. The
# activations of each layer, and the weights of the next module, grow with it. Leaving out the 5×5 branch only slows
# the growth, by 64 channels a module. One change stops it: a 1×1 convolution after the pooling, to 64 channels say;
# every module then puts out 192 channels whatever came in. Her argument overlooks that two 3×3 layers in *successive
# modules* see 5×5, but then nothing in the same layer does: the point of the module is that windows of several sizes
# are available at the same depth. (Within the branch two 3×3 layers would do: Inception-v2 and -v3 do that.)
#
# **Rubric.** One point for the growth through pooling with right numbers, one for the projection after pooling, one
# for several sizes at one depth.
# <!-- END SOLUTION -->

# %% [markdown]
# ## Summary
#
# | question | answer |
# |---|---|
# | Inception module | 1×1, 3×3, 5×5 and pooling side by side, concatenated along the channels |
# | weights of a k×k branch | $k^2Cn$; with a bottleneck of r channels $Cr + k^2rn$ |
# | why 1×1 after the pooling | or the channels can only grow |
# | the nine modules | widths 256 to 1024; 1,104 million multiply-adds, naive 3,881 million |
# | global average pooling | (N, C, H, W) to (N, C); the scoring layer has 1,025,000 parameters |
# | auxiliary classifiers | after 4a and 4d, loss × 0.3 each, in training only |
# | GoogLeNet in all | 22 layers on the longest way, 58 in all; 7.0 million parameters |
# | ImageNet, 2014 | top-5 error 6.7 %, by seven such networks on 144 crops of each image |

# %% [markdown]
# ## Where to read more
#
# - Christian Szegedy and others, *Going deeper with convolutions*, 2014 (CVPR 2015): section 4 is the module, table 1
#   the network, section 5 the auxiliary classifiers.
# - Min Lin, Qiang Chen and Shuicheng Yan, *Network in network*, 2014: 1×1 convolutions and global average pooling.
# - Christian Szegedy and others, *Rethinking the Inception architecture for computer vision*, 2015 (CVPR 2016): 5×5 as
#   two 3×3, and what the auxiliary classifiers really do.
