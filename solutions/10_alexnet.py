# %% [markdown]
# # 10 ImageNet, AlexNet and ZFNet
#
# LeNet read digits of 32×32 pixels. In 2012 a network built on the same plan named what is on a photograph, out of
# 1000 kinds of things, so much better than anything before it that within two years nearly everybody in the field used
# convolutional networks. This notebook takes that network apart: what it is made of, what it costs, why it was cut in
# two, how it was trained, and how its errors were counted.

# %% [markdown]
# ## What you will be able to do
#
# - compute the top-5 error, and say what it does and does not measure;
# - give size, parameters and receptive field of every layer of AlexNet;
# - write local response normalisation as a PyTorch module, and AlexNet in one tower and in two;
# - look at a network of 60 million parameters without the memory for it;
# - say where its parameters, its arithmetic and its memory are;
# - lower the learning rate by a rule, and average the answers of several networks;
# - derive ZFNet from AlexNet, and read the published error rates without comparing what cannot be compared.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cnnlab import check, hint, plots, summary, widgets
from cnnlab.data import digits, photo

torch.set_num_threads(1)  # the networks that run here are tiny: sharing their work out would take longer than doing it

# %% [markdown]
# ## A thousand kinds of things
#
# **ImageNet** (Deng et al., 2009) is a collection of 14,197,122 photographs, sorted by the nouns of WordNet, a
# dictionary in which words are linked by meaning. From 2010 to 2017 part of it was the material of a yearly
# competition, the ImageNet challenge: about 1.2 million images to train on, each with one of 1000 labels, among them
# 120 breeds of dogs. The labels of the test images stayed secret.

# %% [markdown]
# A photograph shows more than one thing, but has one label. A network that says "desk" for a photograph of a monitor
# on a desk is not really wrong. So the challenge counts an answer as right if the label is among the **five** classes
# that the network holds for most likely. The share of wrong answers is the **top-5 error**.

# %% [markdown]
# **Predict.** A network that knows nothing names five of the 1000 classes at random. What is its top-5 error? And
# what should be that of a network that gives all classes the same score?

# %%
guessing = 1 - 5 / 1000
print(f"{guessing:.1%}")

# %% [markdown]
# It is 99.5 %: the label is among five of 1000 with probability 0.005.
#
# For the second there is no answer until somebody says what **ties** mean. If "no class is better than the label" is
# enough to be right, a network that gives all classes the same score has error 0. That is no small matter: a network
# whose weights have all become 0 does just that. So let ties count against the network.

# %% [markdown]
# ### Exercise: top-k error
#
# Write `top_k_error(logits, labels, k)`: the share of images whose label is not among the k best classes.
#
# - `logits` (N, K), float32: a row of scores for each image; `labels` (N,), int64; `k` an int from 1 to K;
# - an image counts as right if **fewer than k other classes** have a score as large as the label's or larger. So ties
#   count against the network;
# - return a float from 0 to 1, not per cent.
#
# If you are stuck, run `hint("top_k_error")` in a cell of your own, and again for more.

# %% tags=["exercise:top_k_error"]
def top_k_error(logits, labels, k):
    """The share of images whose label is not among the k best classes; ties count against the network.

    logits (N, K) float32; labels (N,) int64; k an int.  Returns a float from 0 to 1.
    """
    ### BEGIN SOLUTION
    own = logits.gather(1, labels[:, None])                               # (N, 1)
    others = (logits >= own).sum(dim=1) - 1                               # (N,): without the label itself
    return (others >= k).float().mean().item()
    ### END SOLUTION

# %% tags=["check:top_k_error"]
check("top_k_error", top_k_error)

# %% [markdown]
# Here are the winners of the challenge, with their top-5 error on the test images (Russakovsky et al., 2015, and He et
# al., 2016; for 2014 also the second, VGG, of which notebook 11 tells).
#
# **Predict.** In which year did the error fall most, in points? And did a network ever do better than a person?

# %%
winners = [("2010", "", 28.2), ("2011", "", 25.8), ("2012", "AlexNet\n8 layers", 16.4), ("2013", "from ZFNet\n8", 11.7),
           ("2014", "VGG\n19", 7.3), ("2014", "GoogLeNet\n22", 6.7), ("2015", "ResNet\n152", 3.57)]
person = 5.1
errors = [error for *_, error in winners]
fig, ax = plt.subplots(figsize=(8.5, 3.4), layout="constrained")
bars = ax.bar(range(len(winners)), errors, color=["0.8" if not net else "0.5" for _, net, _ in winners])
ax.bar_label(bars, fmt="%g", padding=3, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})
ax.axhline(person, color="tab:orange", linestyle="--", linewidth=2)
ax.text(-0.45, person + 0.5, f"a trained person, {person}", color="0.1")
ax.set_xticks(range(len(winners)), [f"{year}\n{net}" for year, net, _ in winners])
ax.set(ylabel="top-5 error in %", ylim=(0, 32))
plt.show()
largest_fall = max(zip(np.subtract(errors[:-1], errors[1:]), [year for year, *_ in winners[1:]]))
print(f"the largest fall: {largest_fall[0]:.1f} points, in {largest_fall[1]}")

# %% [markdown]
# In 2012, by 9.4 points. The light bars are systems without a convolutional network, the dark ones networks, and the
# number below a name is the number of layers that learn. The second in 2012, still without a network, had 26.2 %.
#
# The 5.1 % are those of one person, on 1500 of the images, after practice (Russakovsky et al., 2015); a second person
# reached 12.0 %. A good part of their errors came from classes that are alike, such as breeds of dogs, and from
# classes they did not know existed. So the line is no law of nature, and being below it on this test does not mean
# seeing as people do.

# %% [markdown]
# ## AlexNet
#
# The network of 2012 is by Alex Krizhevsky, Ilya Sutskever and Geoffrey Hinton. Its plan is LeNet's: convolutions and
# pooling, then fully connected layers. New are the size, and parts that made this size trainable: ReLU throughout,
# local response normalisation, dropout, much data augmentation, and two graphics cards.

# %%
volumes = {"image": (3, 227, 227), "CONV1": (96, 55, 55), "POOL1": (96, 27, 27), "CONV2": (256, 27, 27),
           "POOL2": (256, 13, 13), "CONV3": (384, 13, 13), "CONV4": (384, 13, 13), "CONV5": (256, 13, 13),
           "POOL3": (256, 6, 6)}
fig, ax = plt.subplots(figsize=(10, 3.4), layout="constrained")
x = 0
for i, (name, shape) in enumerate(volumes.items()):
    plots.volume(ax, x, (227 - shape[1]) / 2, shape, depth=0.3)
    label = f"{name}\n" + "×".join(map(str, shape))
    ax.text(x + shape[2] / 2, -20 - 55 * (i % 2), label, ha="center", va="top", fontsize=9)
    x += shape[2] + 0.21 * shape[0] + 42
for i, (name, length) in enumerate({"FC6": 4096, "FC7": 4096, "FC8": 1000}.items()):
    plots.volume(ax, x, (227 - length / 20) / 2, (1, length / 20, 6))
    ax.text(x, -20 - 55 * ((i + 1) % 2), f"{name}\n{length}", ha="center", va="top", fontsize=9)
    x += 62
ax.set(aspect="equal", xlim=(-10, x), ylim=(-135, 260))
ax.axis("off")
plt.show()

# %% [markdown]
# Channels first, as always here: 96×55×55 is what lectures write as 55×55×96. The first layer takes steps of four
# pixels, so the maps shrink at once; channels grow to 384 and then stay. The last 256·6·6 = 9216 numbers go into three
# fully connected layers, whose output is one score for each class.

# %% [markdown]
# The layers as data, in one tower (what a tower is comes below). Each has six entries, `(kind, outputs, kernel_size,
# stride, padding, groups)`, and `None` where an entry means nothing. The kinds are:
#
# - `"conv"`: as many filters as `outputs`, square kernels, with biases; `"pool"`: max pooling, padding 0;
# - `"norm"`: changes no size, learns nothing, and reads only the pixel itself;
# - `"flatten"`: all numbers in one row; `"linear"`: fully connected, with biases, on flat input.
#
# ReLU follows every layer that learns but the last; it changes no size and is not in the list.

# %%
NORM, POOL, FLATTEN = ("norm", *[None] * 5), ("pool", None, 3, 2, 0, None), ("flatten", *[None] * 5)


def alexnet_layers(groups=1):
    """AlexNet as a tuple of layers; two towers have two groups in CONV2, CONV4 and CONV5."""
    return (("conv", 96, 11, 4, 0, 1), NORM, POOL, ("conv", 256, 5, 1, 2, groups), NORM, POOL,
            ("conv", 384, 3, 1, 1, 1), ("conv", 384, 3, 1, 1, groups), ("conv", 256, 3, 1, 1, groups), POOL,
            FLATTEN, *(("linear", outputs, *[None] * 4) for outputs in (4096, 4096, 1000)))


LAYER_NAMES = ("CONV1", "NORM1", "POOL1", "CONV2", "NORM2", "POOL2", "CONV3", "CONV4", "CONV5", "POOL3", "flatten",
               "FC6", "FC7", "FC8")

# %% [markdown]
# ### Exercise: the table of a network
#
# Write `layer_table(input_shape, layers)`. `input_shape` is `(C, H, W)`; `layers` is a tuple of layers as above, of any
# sizes.
#
# Sizes that do not fit are rounded down. Return a tuple with one triple `(shape, parameters, field)` for each layer:
#
# - `shape`: `(C, H, W)`, or `(length,)` from `flatten` on; `parameters`: an int;
# - `field`: the receptive field, how many pixels of the image a unit of this layer sees along one axis; from
#   `flatten` on, `None`. As in notebook 03, padding does not change it.

# %% tags=["exercise:layer_table"]
def layer_table(input_shape, layers):
    """What every layer of a network gives, learns and sees.

    input_shape (C, H, W); layers a tuple of tuples, kind first.
    Returns a tuple of (shape, parameters, field), one for each layer.
    """
    ### BEGIN SOLUTION
    shape, field, step, rows = input_shape, 1, 1, []
    for kind, outputs, k, stride, padding, groups in layers:
        parameters = 0
        if kind == "conv":
            parameters = outputs * (shape[0] // groups * k * k + 1)
        elif kind == "linear":
            parameters = outputs * (shape[0] + 1)
        if kind in ("conv", "pool"):
            H, W = ((size + 2 * padding - k) // stride + 1 for size in shape[1:])
            shape = (outputs or shape[0], H, W)
            field, step = field + (k - 1) * step, step * stride
        elif kind == "flatten":
            shape, field = (shape[0] * shape[1] * shape[2],), None
        elif kind == "linear":
            shape = (outputs,)
        rows.append((shape, parameters, field))
    return tuple(rows)
    ### END SOLUTION

# %% tags=["check:layer_table"]
check("layer_table", layer_table)

# %% [markdown]
# **Predict.** CONV1 has 96 filters of 11×11 on three colours. How many parameters is that? And which layer has more
# than half of all?

# %%
one_tower = layer_table((3, 227, 227), alexnet_layers())
total = sum(parameters for _, parameters, _ in one_tower)
for name, (shape, parameters, field) in zip(LAYER_NAMES, one_tower):
    seen = f"sees {field:3}" if field else ""
    print(f"{name:8}{'×'.join(map(str, shape)):12}{seen:10}{parameters:12,} {'█' * round(50 * parameters / total)}")
in_convolutions = sum(row[1] for name, row in zip(LAYER_NAMES, one_tower) if name.startswith("CONV"))
print(f"{'in all':30}{total:12,}, in convolutions {in_convolutions:,}")

# %% [markdown]
# CONV1 has 96·(11·11·3 + 1) = 34,944, "35K" in lectures. FC6 has 37,752,832 of 62,378,344: it connects 9216 numbers
# with 4096. All five convolutions together have 3,747,200.
#
# The paper and many lectures put the pooling and the normalisation after CONV1 in different orders. The paper: first
# NORM, then POOL. Lecture tables, and a widely used later copy of the network, have POOL first: a quarter of the
# numbers to normalise. For sizes and parameters it makes no difference. Here the paper's order is used.

# %% [markdown]
# **Predict.** The paper says that the image has 224×224 pixels. What does CONV1 then give, with an 11×11 kernel at
# stride 4 and no padding? What reaches FC6?

# %%
from_224 = layer_table((3, 224, 224), alexnet_layers())
for name, *rows in zip(LAYER_NAMES, one_tower, from_224):
    if name in ("CONV1", "POOL1", "POOL2", "POOL3", "flatten"):
        print(f"{name:8} from 227: {'×'.join(map(str, rows[0][0])):12} from 224: {'×'.join(map(str, rows[1][0]))}")

# %% [markdown]
# (224 − 11)/4 + 1 is 54.25. Rounded down that is 54, not the 55 of the paper, and 6400 numbers reach FC6 in place of
# 9216. Only 227 fits: 55, 27, 13 and 6, with no remainder anywhere. That 224 stands in the paper is a known slip, and
# this is why implementations take 227, or pad. torchvision's AlexNet takes 224 with padding 2 and has fewer filters;
# it follows a paper of 2014.

# %% [markdown]
# ## What a unit sees
#
# The third column of the table, drawn on a photograph of 227×227 pixels: each frame is what one unit in the middle of
# a layer sees.
#
# **Predict.** Is there a unit in the convolutional part that sees the whole image?

# %%
rows = zip(LAYER_NAMES, layer_table((3, 227, 227), alexnet_layers()))
fields = {name: field for name, (_, _, field) in rows if field and "NORM" not in name}
crop = photo("flower")[100:327, 200:427]                              # (227, 227, 3)
fig, ax = plt.subplots(figsize=(4.6, 4.6), layout="constrained")
ax.imshow(crop.mean(axis=2), cmap="gray", alpha=0.6)
for i, (name, field) in enumerate(fields.items()):
    low = 113 - field / 2
    ax.add_patch(plt.Rectangle((low, low), field, field, fill=False, edgecolor="black" if i % 2 else "tab:orange",
                               linewidth=2, linestyle="-" if "CONV" in name else "--"))
    ax.text(low + field - 2, low + field - 2, f"{name} {field}" if field > 60 else "", ha="right", va="bottom",
            fontsize=8, fontweight="bold")
ax.axis("off")
plt.show()
print("  ".join(f"{name} {field}" for name, field in fields.items()))

# %% [markdown]
# None: a unit of POOL3 sees 195 of 227 pixels. The three frames without a name are CONV1 (11), POOL1 (19) and CONV2
# (51). From POOL2 on, neighbouring units lie 16 pixels apart in the image, so each further 3×3 kernel adds 32 pixels:
# the product of the strides is what counts. The layer that puts the whole image together is FC6.

# %% [markdown]
# ## Local response normalisation
#
# Notebook 07 wrote it in NumPy. At every pixel the response $a_i$ of channel $i$ is divided by a term that grows with
# the responses of its neighbours:
#
# $$b_i = a_i \Big/ \Bigl(k + \alpha\sum_{j=\max(0,\,i-(n-1)/2)}^{\min(C-1,\,i+(n-1)/2)} a_j^2\Bigr)^{\beta},
# \qquad n = 5,\; \alpha = 10^{-4},\; \beta = 0.75,\; k = 2 .$$
#
# `F.local_response_norm(x, size, alpha, beta, k)` and `nn.LocalResponseNorm` compute almost this. In place of the sum
# they have $\alpha$ times the **mean** over $n$ channels, so $\alpha$ is divided by $n$, also where the window hangs
# over the first or last channel. The exercise asks for the paper's formula.

# %% [markdown]
# ### Exercise: local response normalisation as a module
#
# Write the module `ResponseNorm(n=5, alpha=1e-4, beta=0.75, k=2.0)`.
#
# - `n` is an odd int, which may be larger than the number of channels; `alpha`, `beta` and `k` are floats;
# - `forward(x)`: x (N, C, H, W) gives a new tensor of this shape and dtype, by the formula above;
# - nothing is learned, and gradients must pass, also through the denominator.
#
# Write the sum yourself, or use `F.local_response_norm`, with an alpha that makes it the paper's.

# %% tags=["exercise:local_response_norm_module"]
class ResponseNorm(nn.Module):
    """Divides each value by (k + alpha · the sum of the squares of n neighbouring channels) ** beta."""

    def __init__(self, n=5, alpha=1e-4, beta=0.75, k=2.0):
        super().__init__()
        ### BEGIN SOLUTION
        self.n, self.alpha, self.beta, self.k = n, alpha, beta, k
        ### END SOLUTION

    def forward(self, x):
        """x (N, C, H, W).  Returns a new tensor of the same shape and dtype."""
        ### BEGIN SOLUTION
        side, C = self.n // 2, x.shape[1]
        squares = F.pad(x ** 2, (0, 0, 0, 0, side, side))                 # zeros before and after the channels
        total = sum(squares[:, i:i + C] for i in range(self.n))           # (N, C, H, W)
        return x / (self.k + self.alpha * total) ** self.beta
        ### END SOLUTION

# %% tags=["check:local_response_norm_module"]
check("local_response_norm_module", ResponseNorm)

# %% [markdown]
# What does it do to a pattern? Below are the responses of 16 channels at one pixel: a response of 40 alone (channel 2),
# and the same 40 beside a response of 100 (channel 9). Since all channels are divided by at least $2^{0.75}$, the
# results are shown times $2^{0.75}$: without neighbours, and if it is small itself, a response would keep its height.
#
# **Predict.** Which of the two responses of 40 loses more? And what happens if the whole pattern is 100 times smaller?

# %%
pattern = torch.zeros(16)
pattern[[2, 9, 10]] = torch.tensor([40.0, 40, 100])
kept = {}
fig, axes = plt.subplots(1, 2, figsize=(9.5, 2.6), layout="constrained")
for ax, scale in zip(axes, (1.0, 0.01)):
    before = scale * pattern                                          # (16,)
    after = ResponseNorm()(before[None, :, None, None])[0, :, 0, 0] * 2 ** 0.75
    kept[scale] = (after / before)[[2, 9, 10]].tolist()
    before, after = before.numpy(), after.numpy()
    ax.bar(range(16), before, color="white", edgecolor="0.2", linestyle="--", label="before")
    ax.bar(range(16), after, color="0.6", label="after")
    for i, share in zip((2, 9, 10), kept[scale]):
        ax.text(i, before[i] + 3 * scale, f"{share:.2f}", ha="center", fontsize=9)
    ax.set(xlabel="channel", title=f"pattern times {scale:g}", ylim=(0, 120 * scale))
axes[0].legend(frameon=False, loc="upper left")
plt.show()

# %% [markdown]
# The number above a bar is the share that is kept. Alone, the 40 keeps 94 %; beside the 100 only 71 %. A strong
# response makes its neighbours smaller: *lateral inhibition*, known from nerve cells.
#
# In the smaller pattern nothing of the kind happens: every response keeps its height. With $\alpha = 10^{-4}$ the sum
# of squares must reach thousands before it counts beside $k = 2$. AlexNet's inputs are pixels from 0 to 255, less
# their mean, so its responses are that large. In a network whose inputs have standard deviation 1, this layer is
# little more than a division by $2^{0.75} = 1.68$.

# %% [markdown]
# ## Pooling that overlaps
#
# LeNet's pooling windows lie side by side. AlexNet's are 3×3 at stride 2, so neighbours share a row or a column of
# pixels. The paper reports 0.3 points less top-5 error than with 2×2 windows at stride 2, which give nearly the same
# size, and that the network overfits a little less.

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 2.6), layout="constrained")
plots.row_windows(axes[0], 11, 2, 2, title="2×2, stride 2: side by side")
plots.row_windows(axes[1], 11, 3, 2, title="3×3, stride 2: overlapping")
plt.show()
remainders = {size: ((size - 2) % 2, (size - 3) % 2) for size in (55, 27, 13)}
for size, (side_by_side, overlapping) in remainders.items():
    print(f"{size}: 2×2 leaves {side_by_side} row, 3×3 leaves {overlapping} and gives {(size - 3) // 2 + 1}")

# %% [markdown]
# On the right every second pixel is read by two windows. Odd sizes fit a 3×3 window at stride 2 (notebook 03), and
# 55, 27 and 13 are odd: nothing is lost. A 2×2 window at stride 2 would drop the last row each time (crossed out).

# %% [markdown]
# ## Two cards
#
# The graphics cards of AlexNet, GTX 580, had 3 GB of memory. The authors used two, and laid **half of the maps** of
# every layer on each: CONV1 gives 48×55×55 on either card. One half is called a *tower*.

# %% [markdown]
# Passing maps between the cards takes time, so it was done in few places. CONV2, CONV4 and CONV5 read only the maps on
# their own card. CONV3 reads the maps of both, and so do the fully connected layers. CONV1 reads the image, of which
# each card has a copy.
#
# Reading only one's own half is a **grouped convolution** with two groups (notebook 03). That is where `groups` in
# PyTorch comes from; today one card is enough, and groups are used for other reasons (notebook 14).

# %% [markdown]
# Which maps of CONV1 does a later map depend on, through all layers in between? For eight maps in each layer: a dark
# cell means that the map (row) depends on that map of CONV1 (column).
#
# **Predict.** How does the picture change from CONV2 to CONV3, and from CONV3 to CONV4?

# %%
depends, pictures = np.eye(8), {"CONV1": np.eye(8)}
for name, groups in [("CONV2", 2), ("CONV3", 1), ("CONV4", 2), ("CONV5", 2)]:
    reads = np.kron(np.eye(groups), np.ones((8 // groups, 8 // groups)))  # (maps of this layer, maps before)
    depends = (reads @ depends > 0).astype(float)
    pictures[name] = depends
fig, axes = plt.subplots(1, 5, figsize=(9.5, 2.3), layout="constrained")
for ax, (name, cells) in zip(axes, pictures.items()):
    ax.imshow(cells, cmap="gray_r", vmin=0, vmax=1.8)
    ax.axhline(3.5, color="tab:orange", linewidth=2)
    ax.axvline(3.5, color="tab:orange", linewidth=2)
    ax.set(xticks=[], yticks=[], title=f"{name}: {cells.mean():.3g}", xlabel="maps of CONV1")
axes[0].set_ylabel("maps of the layer")
plt.show()

# %% [markdown]
# The lines are the seam between the towers, the number in the title is the share of dark cells. Up to CONV2 the towers
# know nothing of each other. CONV3 reads both, and from then on every map depends on everything: CONV4 and CONV5 read
# only their own tower, but what they read has already been mixed. One exchange is enough for that; what is saved is
# half of the weights and of the products in three layers.

# %% [markdown]
# ## A network without memory
#
# To look at a network of this size, its numbers are not needed. On PyTorch's **meta** device a tensor has a shape and a
# dtype, but no memory, and layers compute shapes alone. The checks below use it for the network in full size.
#
# **Predict.** FC6 connects 9216 numbers with 4096. How much memory do its weights take in float32?

# %%
fc6 = nn.Linear(9216, 4096, device="meta")
scores = fc6(torch.empty(128, 9216, device="meta"))
fc6_bytes = 4 * fc6.weight.numel()
print(f"on {scores.device}: output {tuple(scores.shape)}; elsewhere its weights would take {fc6_bytes / 1e6:.0f} MB")

# %% [markdown]
# 151 MB for a single layer, and here none. The numbers that come out are not there either, only their shape is.

# %% [markdown]
# In the exercise, NORM is `nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)`, PyTorch's name for the paper's. It
# runs over all maps, also across the seam between the towers. POOL is the maximum over 3×3 at stride 2, not padded,
# rounded down.

# %% [markdown]
# ### Exercise: AlexNet's convolutional part
#
# Write the module `AlexNetFeatures(channels=(3, 96, 256, 384, 384, 256), groups=1)`.
#
# - `channels`: of the image, and of what CONV1 to CONV5 give. All convolutions have biases;
# - CONV1 is 11×11 at stride 4, not padded; CONV2 5×5 with padding 2; CONV3, CONV4 and CONV5 3×3 with padding 1;
# - `groups` is for CONV2, CONV4 and CONV5. CONV1 and CONV3 read everything;
# - ReLU follows each convolution. After the ReLU of CONV1 and of CONV2 come NORM, then POOL; after that of CONV5, POOL;
# - `forward(x)`: (N, channels[0], H, W) gives (N, channels[5], H', W'), for any H and W from 67 on.
#
# One tower and two towers are worth half of the points each.

# %% tags=["exercise:alexnet_features"]
class AlexNetFeatures(nn.Module):
    """AlexNet up to its last pooling, in one tower (groups=1) or two (groups=2)."""

    def __init__(self, channels=(3, 96, 256, 384, 384, 256), groups=1):
        super().__init__()
        ### BEGIN SOLUTION
        c0, c1, c2, c3, c4, c5 = channels

        def norm_and_pool():
            return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0), nn.MaxPool2d(3, stride=2)

        self.layers = nn.Sequential(
            nn.Conv2d(c0, c1, 11, stride=4), nn.ReLU(), *norm_and_pool(),
            nn.Conv2d(c1, c2, 5, padding=2, groups=groups), nn.ReLU(), *norm_and_pool(),
            nn.Conv2d(c2, c3, 3, padding=1), nn.ReLU(),
            nn.Conv2d(c3, c4, 3, padding=1, groups=groups), nn.ReLU(),
            nn.Conv2d(c4, c5, 3, padding=1, groups=groups), nn.ReLU(), nn.MaxPool2d(3, stride=2))
        ### END SOLUTION

    def forward(self, x):
        """x (N, channels[0], H, W).  Returns (N, channels[5], H', W')."""
        ### BEGIN SOLUTION
        return self.layers(x)
        ### END SOLUTION

# %% tags=["check:alexnet_features"]
check("alexnet_features", AlexNetFeatures)

# %% [markdown]
# ## The fully connected part
#
# The maps are flattened: channel 0 row by row, then channel 1, and so on. The order does not matter to a network that
# learns with it from the start. It matters as soon as weights come from elsewhere (notebook 09).

# %% [markdown]
# FC6 and FC7 hold most of the parameters, so here the network would learn the training images by heart. **Dropout**
# with probability ½ works against it. It follows the ReLU of both: half of the 4096 outputs are set to 0, and the
# others doubled. (In 2012 nothing was doubled in training, and everything halved in the test: notebook 07.)

# %% [markdown]
# ### Exercise: AlexNet's classifier
#
# Write the module `AlexNetClassifier(c_in=256, side=6, hidden=4096, classes=1000, p=0.5)`.
#
# - `forward(x)`: x (N, c_in, side, side), flattened in PyTorch's order, goes through FC6 and FC7, with `hidden`
#   outputs each, and FC8, with `classes` outputs. All have biases;
# - after FC6 and after FC7 come ReLU and then dropout with probability `p`, from 0 to 1, in training mode only, as
#   `nn.Dropout` does it: what is kept is divided by 1 − p;
# - return logits (N, classes): nothing follows FC8.
#
# The check uses `p=1` too. What must then come out in training mode?

# %% tags=["exercise:alexnet_classifier"]
class AlexNetClassifier(nn.Module):
    """FC6, FC7 and FC8: from the last maps to one logit for each class."""

    def __init__(self, c_in=256, side=6, hidden=4096, classes=1000, p=0.5):
        super().__init__()
        ### BEGIN SOLUTION
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(c_in * side * side, hidden), nn.ReLU(), nn.Dropout(p),
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(p),
            nn.Linear(hidden, classes))
        ### END SOLUTION

    def forward(self, x):
        """x (N, c_in, side, side).  Returns (N, classes)."""
        ### BEGIN SOLUTION
        return self.layers(x)
        ### END SOLUTION

# %% tags=["check:alexnet_classifier"]
check("alexnet_classifier", AlexNetClassifier)

# %% [markdown]
# ## The whole network
#
# In one tower its parameters take 250 MB in float32, and training needs several times that; on the meta device nothing.
# `summary` prints the table that lectures show. A **multiply-add** is one multiplication with its addition, so two of
# the operations of notebook 04. The last two columns are the memory for one image: what a layer and its ReLU give, and
# what of it must be kept for the way back.

# %%
def alexnet(groups=1):
    """AlexNet in one tower or in two, on the meta device."""
    with torch.device("meta"):
        return nn.Sequential(AlexNetFeatures(groups=groups), AlexNetClassifier())


def tables():
    """The table of AlexNet by the number of towers."""
    return {groups: summary(alexnet(groups), (3, 227, 227)) for groups in (1, 2)}


tables()[2].lecture()

# %% [markdown]
# **Predict.** In one tower the convolutions hold 6 % of the parameters. What share of the arithmetic do they do?

# %%
def by_layer(table, number):
    """`number` of each of the eight layers that learn."""
    return np.array([getattr(row, number) for row in table.rows if row.parameters])


learning = [name for name in LAYER_NAMES if name[:2] in ("CO", "FC")]
towers = tables()
fig, axes = plt.subplots(1, 2, figsize=(9.5, 3), layout="constrained")
for ax, number in zip(axes, ("parameters", "multiply_adds")):
    for groups, shift, look in [(1, -0.2, {"color": "0.8", "edgecolor": "0.3"}), (2, 0.2, {"color": "0.4"})]:
        counts = by_layer(towers[groups], number) / 1e6
        bars = ax.barh(np.arange(8) + shift, counts, 0.4, label=f"{groups} tower{'s' * (groups > 1)}", **look)
        ax.bar_label(bars, [f"{c:.3g}" for c in counts], padding=2, fontsize=8)
    ax.set_yticks(range(8), learning)
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.set_title(f"{number.replace('_', '-')} in millions", fontsize=10)
axes[1].legend(frameon=False)
plt.show()

# %%
shares = {}
for groups, table in tables().items():
    parameters, products = by_layer(table, "parameters"), by_layer(table, "multiply_adds")
    shares[groups] = parameters[:5].sum() / parameters.sum(), products[:5].sum() / products.sum()
    print(f"{groups} tower(s): {table.parameters:,} parameters, {shares[groups][0]:.0%} of them in convolutions; "
          f"{table.multiply_adds:,} multiply-adds, {shares[groups][1]:.0%} of them in convolutions")

# %% [markdown]
# What is long on the left is short on the right, and the other way round. The convolutions have 6 % of the parameters
# and do 95 % of the arithmetic (4 % and 92 % in two towers): each of their weights is used at every position of a
# map, each weight of FC6 once.
#
# Two towers save 1.4 million parameters, of little account beside FC6, and more than a third of the products. The
# original network has 60,965,224 parameters; the paper says 60 million. To make a network smaller, look at the left
# picture, to make it faster, at the right one.

# %% [markdown]
# The same network to browse. Point at a block, or move with the arrow keys: height is the resolution, width the number
# of channels, and the two bars are its parameters and its multiply-adds.
#
# **Predict.** Which layer shrinks what goes through it by the largest factor?

# %%
widgets.architecture(tables()[2])

# %% [markdown]
# **Predict.** A batch of 128 images, in float32. Which takes more memory in training: all that belongs to the weights
# (value, gradient and velocity of each), or what the layers must keep until the way back?

# %%
batch = summary(alexnet(2), (128, 3, 227, 227))
for_weights, kept_bytes = 3 * 4 * batch.parameters, batch.backward_bytes
largest = max(row.forward_bytes for row in batch.rows)
print(f"weights, gradients and velocities {for_weights / 1e9:.2f} GB; kept for the way back {kept_bytes / 1e9:.2f} GB")
print(f"together {(for_weights + kept_bytes) / 1e9:.2f} GB; the largest single tensor {largest / 1e9:.2f} GB")

# %% [markdown]
# About twice as much is kept for the way back, and nearly all of that early in the network, where the maps are large;
# LRN alone keeps about a billion bytes. Together 2.33 GB, by today's bookkeeping, before the gradients of the maps,
# the next batch and any working memory. On a card of 3 GB that is tight, and for anything larger there is no room.
# The authors say that only the memory of the cards and their patience limited the size of their network.
#
# Half of the maps on each of two cards makes room. The paper found 1.2 points less top-5 error than with a network of
# half the maps on one card.

# %% [markdown]
# A network in two towers is a network in one tower in which some weights are 0 and stay 0. To see it, take a small
# one, with few channels, and copy its weights into full ones.

# %%
def convolutions(net):
    return [m for m in net.modules() if isinstance(m, nn.Conv2d)]


torch.manual_seed(0)
few = (3, 8, 12, 16, 20, 24)
two, one = AlexNetFeatures(few, groups=2), AlexNetFeatures(few, groups=1)
with torch.no_grad():
    for grouped, full in zip(convolutions(two), convolutions(one)):
        full.weight.zero_()
        full.bias.copy_(grouped.bias)
        rows, depth = len(full.weight) // grouped.groups, grouped.weight.shape[1]
        for g in range(grouped.groups):
            own = slice(g * rows, (g + 1) * rows)
            full.weight[own, g * depth:(g + 1) * depth] = grouped.weight[own]
    x = torch.randn(1, 3, 227, 227)
    difference = (two(x) - one(x)).abs().max().item()
zeros, weights = (sum(f(c.weight) for c in convolutions(one)) for f in (lambda w: int((w == 0).sum()), torch.numel))
print(f"largest difference {difference:.1g}; {zeros:,} weights of {weights:,} are 0")

# %% [markdown]
# The outputs agree. So one tower can do whatever two can, and more; two towers are the cheaper of the two.
#
# The famous picture of AlexNet's 96 first filters is not here: it takes the trained weights, which this course would
# have to download. In it the 48 filters of one card are mostly grey edges in many directions, those of the other mostly
# coloured blobs, in every run, whatever the first weights (Krizhevsky et al., 2012). The towers, kept apart, had shared
# out the work. Notebook 16 looks at first layers of networks trained here.

# %% [markdown]
# ## How it was trained
#
# | | AlexNet |
# |---|---|
# | optimiser | SGD, batch 128, momentum 0.9, weight decay 5·10⁻⁴ |
# | learning rate | 10⁻², divided by ten when the validation error stops falling (three times) |
# | first weights | normal, standard deviation 0.01; biases 1 in CONV2, CONV4, CONV5, FC6 and FC7, else 0 |
# | activation | ReLU everywhere; a smaller network learned six times faster with it than with tanh |
# | against overfitting | dropout ½, weight decay, augmentation: crops, mirror images, colours (notebook 07) |
# | time | five to six days on two GTX 580, about 90 passes through 1.2 million images |
#
# It was the first network of this size with ReLU. The validation error is that on images kept aside from training, to
# choose by (notebook 08).

# %% [markdown]
# ### Exercise: divide by ten on plateaus
#
# Write `plateau_rates(errors, lr=0.01, patience=3)`: the learning rates that this rule gives.
#
# - `errors` is a tuple of floats, the validation errors after epochs 1, 2, 3, …; it may be empty;
# - the first epoch is trained with `lr`. After each epoch its error is looked at. It is an improvement if it is
#   **smaller** than all errors before it (the first always is one);
# - after `patience` epochs in a row without improvement (an int, at least 1) the rate is divided by ten for the epochs
#   that follow, and the counting starts anew;
# - return a tuple of `len(errors) + 1` floats: the rates of all these epochs, and that of the next one.

# %% tags=["exercise:plateau_rates"]
def plateau_rates(errors, lr=0.01, patience=3):
    """The learning rate of each epoch, and of the next: divided by ten when the error has stopped falling.

    errors a tuple of floats; lr a float; patience an int.  Returns a tuple of len(errors) + 1 floats.
    """
    ### BEGIN SOLUTION
    rates, best, waited = [lr], float("inf"), 0
    for error in errors:
        waited = 0 if error < best else waited + 1
        best = min(best, error)
        if waited == patience:
            lr, waited = lr / 10, 0
        rates.append(lr)
    return tuple(rates)
    ### END SOLUTION

# %% tags=["check:plateau_rates"]
check("plateau_rates", plateau_rates)

# %% [markdown]
# Why does the error stop falling, and why does a smaller rate help? Not because the bottom is reached. A model of it,
# not a network: 20 weights in a round bowl, whose bottom is at 0, and gradients that are wrong by random amounts, as
# those of mini-batches are. The error is the mean of the squared weights; all begin at 10.
#
# **Predict.** With the rate kept at 0.1: does the error go to 0, level off, or grow?

# %%
def descend(rule, epochs=60, seed=11):
    """The error after each epoch of 50 noisy steps; rule(errors) gives the rate of the next epoch."""
    rng, w, errors = np.random.default_rng(seed), np.full(20, 10.0), ()
    for _ in range(epochs):
        rate = rule(errors)
        for _ in range(50):
            w = w - rate * (w + 2 * rng.normal(size=20))              # the gradient, and noise
        errors += ((w ** 2).mean(),)
    return errors


def constant(errors):
    return 0.1


def by_plateaus(errors):
    return plateau_rates(errors, lr=0.1, patience=8)[-1]

# %%
kept_at, cut = descend(constant), descend(by_plateaus)
rates = plateau_rates(cut, lr=0.1, patience=8)
cuts = [i for i in range(1, len(cut)) if rates[i] < rates[i - 1]]
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.semilogy([100, *kept_at], "o:", color="0.6", markersize=4, label="rate 0.1 throughout")
ax.semilogy([100, *cut], "-", color="0.1", linewidth=2, label="divided by ten on plateaus")
for i in cuts:
    ax.axvline(i + 0.5, color="tab:orange", linestyle="--", linewidth=1.5)
ax.set(xlabel="epochs", ylabel="error")
ax.legend(frameon=False)
plt.show()
last_ten = [np.mean(e[-10:]) for e in (kept_at, cut)]
print(f"mean error of the last ten epochs: {last_ten[0]:.3f} and {last_ten[1]:.4f}; cuts after epochs {cuts}")

# %% [markdown]
# It levels off. Near the bottom the true gradient is small and the noise is not, so each step shakes the weights about
# as much as it corrects them. The height of this floor is proportional to the learning rate, so each cut (dashed line)
# lowers it. With the smallest rate from the start, the way there would take a hundred times as long.
#
# The rule can be fooled. A low error by mere luck counts as the best, nothing beats it for a while, and the next cut
# comes too early: try `seed=5`. Hence the patience.
#
# PyTorch has the rule as `torch.optim.lr_scheduler.ReduceLROnPlateau`. Its `patience` is one less: the number of bad
# epochs that are still put up with.

# %% [markdown]
# ## Ten views and seven networks
#
# In the test AlexNet looks at each image ten times: the four corners and the middle, and the mirror image of each. The
# ten answers are averaged.

# %%
def ten_crops(image, size):
    """Four corners and the middle, then their mirror images: (C, H, W) to (10, C, size, size)."""
    bottom, right = image.shape[1] - size, image.shape[2] - size
    places = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    crops = torch.stack([image[:, r:r + size, c:c + size] for r, c in places])
    return torch.cat([crops, crops.flip(3)])


picture = torch.tensor(photo("hopper")[20:532].transpose(2, 0, 1))[None]                    # (1, 3, 512, 512)
stored = F.interpolate(picture, (256, 256), mode="area")[0]
views = ten_crops(stored, 224)                                        # (10, 3, 224, 224)
titles = ["top left", "top right", "bottom left", "bottom right", "middle"]
plots.images(*views[:5].permute(0, 2, 3, 1).numpy(), titles=titles)
plots.images(*views[5:].permute(0, 2, 3, 1).numpy())

# %% [markdown]
# Each view is almost the whole image, moved by up to 32 pixels and mirrored in the second row. A network is only
# roughly invariant (notebook 06), so its ten answers differ a little. In the paper, on the data of 2010, their
# average brings the top-5 error from 18.3 to 17.0 %.
#
# The same works for **several networks**, trained from different first weights. What is averaged are probabilities,
# softmax first, not logits.

# %%
opinions = torch.tensor([[2.0, 0], [2, 0], [0, 30]])                  # logits of three networks for two classes
of_probabilities = opinions.softmax(dim=1).mean(dim=0)
of_logits = opinions.mean(dim=0).softmax(dim=0)
print("mean of the probabilities: ", "  ".join(f"{p:.4f}" for p in of_probabilities))
print("softmax of the mean logits:", "  ".join(f"{p:.4f}" for p in of_logits))

# %% [markdown]
# Two networks are fairly sure of the first class, 88 % each, and one is absurdly sure of the second. As a probability
# even that is no more than 1, so every network has one vote, and the first class wins. Logits have no upper limit: one
# loud network decides alone. Both kinds of average are used; what matters is to say which.

# %% [markdown]
# ### Exercise: average the answers
#
# Write `average_probabilities(logits)`.
#
# - `logits` (M, N, K), float32: from M networks (or views), for N images and K classes. They may be as large as 1000;
# - turn them into probabilities, for each network and image on its own, and average over the networks;
# - return (N, K), float32, rows that sum to 1.

# %% tags=["exercise:average_probabilities"]
def average_probabilities(logits):
    """The mean over networks of their softmax probabilities.

    logits (M, N, K) float32.  Returns (N, K) float32.
    """
    ### BEGIN SOLUTION
    return logits.softmax(dim=2).mean(dim=0)
    ### END SOLUTION

# %% tags=["check:average_probabilities"]
check("average_probabilities", average_probabilities)

# %% [markdown]
# Seven small networks, each trained on the same 100 digits of 8×8 pixels from its own first weights, and tested on the
# other 1,697. So few images make them err, and that is what we want here.
#
# **Predict.** One network has about 20 % top-1 error. What is the error of all seven together: also about 20 %, that
# of the best of them, or less than the best?

# %%
images, labels = digits()
pixels = torch.tensor(images, dtype=torch.float32)[:, None]           # (1797, 1, 8, 8)
pixels, labels = (pixels - pixels.mean()) / pixels.std(), torch.tensor(labels)
order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(2012))
few_digits, others = order[:100], order[100:]
STEPS = 5 if os.environ.get("NBGRADER_EXECUTION") else 200            # short while nbgrader grades: nobody is looking


def trained(seed):
    """A small network, trained on the 100 digits."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(8, 16, 3, padding=1),
                        nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 10))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(STEPS):
        batch = few_digits[torch.randint(100, (20,))]
        optimiser.zero_grad()
        F.cross_entropy(net(pixels[batch]), labels[batch]).backward()
        optimiser.step()
    return net.eval()

# %%
answers = torch.stack([trained(seed)(pixels[others]).detach() for seed in range(7)])        # (7, 1697, 10)
truth = labels[others]
single = [100 * top_k_error(logits, truth, 1) for logits in answers]
together = [100 * top_k_error(average_probabilities(answers[:m]), truth, 1) for m in range(1, 8)]
fig, ax = plt.subplots(figsize=(6.5, 2.9), layout="constrained")
ax.bar(range(1, 8), single, color="0.8", edgecolor="0.4", label="this network alone")
ax.plot(range(1, 8), together, "o-", color="tab:orange", markeredgecolor="0.1", linewidth=2,
        label="average of this and those before it")
ax.set(xlabel="network", ylabel="top-1 error in %", ylim=(0, 30))
ax.legend(frameon=False)
plt.show()
print(f"alone {np.mean(single):.1f} % on average, the best {min(single):.1f} %; all seven {together[-1]:.1f} %; "
      f"with mean logits {100 * top_k_error(answers.mean(dim=0), truth, 1):.1f} %")

# %% [markdown]
# Less than the best: together they make about half as many errors as one. They have learned the same digits, but their
# errors are not the same; where they disagree, the average tends to side with those that are right. The first few help
# most. Here the mean of the logits does about as well.
#
# AlexNet gained less, with ten thousand times as many images: one network 18.2 % top-5 error on the validation
# images, five 16.4 %, seven 15.4 %. Two of the seven had one layer more, and had first been trained on all of ImageNet,
# more than the challenge provides. The list of winners above has 16.4 %, the entry without such help.

# %%
for k in range(1, 6):
    print(f"top-{k} error: one network {100 * top_k_error(answers[0], truth, k):4.1f} %, "
          f"seven {100 * top_k_error(average_probabilities(answers), truth, k):4.1f} %")

# %% [markdown]
# The top-k error falls quickly with k. With ten classes a top-5 error says little; a guess has 50 %. Always ask how
# many classes there are.

# %% [markdown]
# ## ZFNet
#
# Matthew Zeiler and Rob Fergus looked into a trained AlexNet, with a method that notebook 16 takes up. In CONV1 they
# found filters for very fine and very coarse patterns and few between, and in CONV2 artefacts of the large stride.
# Their network of 2013, ZFNet, mends this with a smaller kernel and a smaller stride, and has more filters further
# up:
#
# | | AlexNet, one tower | ZFNet |
# |---|---|---|
# | image | 227×227 | 224×224 |
# | CONV1 | 11×11, stride 4 | 7×7, stride 2, padding 1 |
# | CONV2 | 5×5, stride 1, padding 2 | 5×5, stride 2, no padding |
# | CONV3, 4, 5 | 384, 384, 256 filters | 512, 1024, 512 filters |
# | POOL | rounded down | rounded up |
# | after CONV1 and CONV2 | NORM, then POOL | POOL, then NORM |

# %% [markdown]
# Everything else stays, the fully connected layers too. It was trained for twelve days on one GTX 580.
#
# Two remarks. The figure of the paper has 384, 384 and 256 filters; the wider version is one of its experiments, and is
# what lectures call ZFNet. And the paper gives sizes but not how they round: padding CONV1 by 1 and rounding up the
# pooling is one way to get its 110, 55, 26, 13 and 6.
#
# Rounding up is `nn.MaxPool2d(…, ceil_mode=True)`: a last window that hangs over the edge is used, with the pixels that
# it has.

# %% [markdown]
# ### Exercise: ZFNet from the differences
#
# Write the module `ZFNetFeatures(channels=(3, 96, 256, 512, 1024, 512))`: as `AlexNetFeatures` with `groups=1`, but for
# the differences in the table.
#
# So: POOL is the maximum over 3×3 at stride 2, rounded up, all three times. CONV3, CONV4 and CONV5 are 3×3, padded by
# one pixel. ReLU follows each convolution, and NORM is the same as in `AlexNetFeatures`.
#
# `forward(x)`: (N, channels[0], H, W) gives (N, channels[5], H', W'), for any H and W from 67 on.

# %% tags=["exercise:zfnet_features"]
class ZFNetFeatures(nn.Module):
    """ZFNet up to its last pooling."""

    def __init__(self, channels=(3, 96, 256, 512, 1024, 512)):
        super().__init__()
        ### BEGIN SOLUTION
        c0, c1, c2, c3, c4, c5 = channels

        def pool():
            return nn.MaxPool2d(3, stride=2, ceil_mode=True)

        def norm():
            return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)

        self.stem = nn.Sequential(nn.Conv2d(c0, c1, 7, stride=2, padding=1), nn.ReLU(), pool(), norm(),
                                  nn.Conv2d(c1, c2, 5, stride=2), nn.ReLU(), pool(), norm())
        self.body = nn.Sequential(nn.Conv2d(c2, c3, 3, padding=1), nn.ReLU(),
                                  nn.Conv2d(c3, c4, 3, padding=1), nn.ReLU(),
                                  nn.Conv2d(c4, c5, 3, padding=1), nn.ReLU(), pool())
        ### END SOLUTION

    def forward(self, x):
        """x (N, channels[0], H, W).  Returns (N, channels[5], H', W')."""
        ### BEGIN SOLUTION
        return self.body(self.stem(x))
        ### END SOLUTION

# %% tags=["check:zfnet_features"]
check("zfnet_features", ZFNetFeatures)

# %% [markdown]
# **Predict.** ZFNet's first filters are smaller, 7×7 in place of 11×11. Does the whole network cost more arithmetic
# than AlexNet in one tower, or less?

# %%
with torch.device("meta"):
    zfnet = summary(nn.Sequential(ZFNetFeatures(), AlexNetClassifier(c_in=512)), (3, 224, 224))
before = tables()[1]
ratios = {n: getattr(zfnet, n) / getattr(before, n) for n in ("parameters", "multiply_adds")}
print(f"{'':8}{'AlexNet':>16}{'ZFNet':>16}   multiply-adds")
for name, a, z in zip(learning, by_layer(before, "multiply_adds"), by_layer(zfnet, "multiply_adds")):
    print(f"{name:8}{a:16,}{z:16,}   × {z / a:.2f}")
print(f"in all: {ratios['multiply_adds']:.2f} times the multiply-adds and {ratios['parameters']:.2f} times the "
      f"{before.parameters:,} parameters: {zfnet.parameters:,}")

# %% [markdown]
# More: 2.18 times the arithmetic. Half the stride means four times as many positions in CONV1, which outweighs the
# smaller kernel. And in CONV4 and CONV5 both the maps that are read and the maps that are made have become more, so the
# products of the two have grown most.
#
# Of the error rates that are quoted for ZFNet two pairs exist, and they compare different things:
#
# | pair, top-5 test error | what it compares |
# |---|---|
# | 15.4 → 14.8 % | two papers: AlexNet's seven networks, two with extra data, and ZFNet's six |
# | 16.4 → 11.7 % | the winning entries of 2012 and 2013; the second, by the company Clarifai, was built on ZFNet |
#
# (15.4 is AlexNet's number on the validation images; on the test images it is 15.3.) Lectures use either pair without
# saying which.

# %% [markdown] tags=["written:which_number:4"]
# ## In your own words
#
# A magazine writes: "In 2012 AlexNet had an error of 18.2 %. A year later ZFNet had 11.7 %. So a smaller first filter
# makes networks 6.5 points better. People, with 5.1 %, are still far ahead, as they will be for years."
#
# Name what is wrong or missing: what each of the two numbers is, and what else differs between them; what the step from
# 11×11 to 7×7 can be credited with; and what the 5.1 % are. Then describe an experiment that would measure what the
# smaller first filter is worth. Ten sentences are enough.
#
# <!-- BEGIN SOLUTION -->
# **Answer.**
#
# 18.2 % is the top-5 error of one AlexNet on the validation images; 11.7 % is that of the winning entry of 2013 on
# the test images, several networks averaged, by a company that started from ZFNet. So one network is set against an
# ensemble, and the sets of images differ. Fairer pairs are 16.4 and 11.7 % (both challenge entries) or 15.4 and 14.8
# % (both ensembles of papers, though AlexNet's seven had extra training data in two). Even these do not isolate the
# first filter: stride, CONV2, the number of filters, rounding and training changed too. Both errors are top-5, which
# should be said. The 5.1 % are one trained person's, on 1500 images; another had 12.0 %, so "people" have no single
# error, and ResNet was below 5.1 % in 2015, two years later.
#
# Experiment: train AlexNet, and AlexNet with only CONV1 changed (7×7, stride 2, and the least that is needed to keep
# the later sizes), same data, recipe and epochs, several seeds each, one network and the same number of views, and
# compare the top-5 errors on the same images with their spread. Change kernel and stride separately, since the stride
# alone quadruples the arithmetic.
#
# **Rubric.**
#
# - 1 point: single network against ensemble (or challenge entry), validation against test: at least two of these.
# - 1 point: more than the first filter changed (two further differences named), so it cannot be credited.
# - 1 point: 5.1 % is one trained person on part of the images (or: another had 12.0 %); or that ResNet passed it in
#   2015.
# - 1 point: an experiment that changes one thing, with equal training and evaluation, and repeats it over seeds.
# <!-- END SOLUTION -->

# %% [markdown]
# ## Summary
#
# | question | answer |
# |---|---|
# | ImageNet | 14,197,122 images; the challenge: 1.2 million for training, 1000 classes |
# | winners, top-5 error in % | 28.2, 25.8, 16.4, 11.7, 7.3 and 6.7 (2014), 3.57; one trained person 5.1 |
# | sizes of AlexNet | 227 → 55 → 27 → 27 → 13 → 13 → 13 → 13 → 6, then 4096, 4096, 1000 |
# | parameters | 62,378,344 in one tower, 60,965,224 in two; CONV1 34,944, FC6 37,752,832 |
# | multiply-adds | 1.14 and 0.72 billion; 95 and 92 % in the convolutions |
# | towers | groups 2 in CONV2, 4, 5; CONV3 and the FC layers read both |
# | receptive field | CONV1 11, CONV5 163, POOL3 195 of 227 |
# | LRN | torch divides α by n: the paper's 10⁻⁴ is 5·10⁻⁴ there |
# | learning rate | 10⁻², divided by ten on plateaus |
# | averaging | probabilities of ten views and seven networks: 18.2 → 15.4 % |
# | ZFNet | 7×7 at stride 2, more filters: 107,627,624 parameters |

# %% [markdown]
# ## Where to read more
#
# - Alex Krizhevsky, Ilya Sutskever and Geoffrey Hinton, *ImageNet classification with deep convolutional neural
#   networks*, 2012: section 3 is the network, figure 3 its first filters.
# - Olga Russakovsky and others, *ImageNet large scale visual recognition challenge*, International Journal of Computer
#   Vision, 2015: how the images were collected, five years of results, and section 6.4 on people.
# - Matthew Zeiler and Rob Fergus, *Visualizing and understanding convolutional networks*, 2014: ZFNet.
# - Jia Deng and others, *ImageNet: a large-scale hierarchical image database*, 2009.
# - Alex Krizhevsky, *One weird trick for parallelizing convolutional neural networks*, 2014: the version that
#   torchvision has.
# - Kaiming He, Xiangyu Zhang, Shaoqing Ren and Jian Sun, *Deep residual learning for image recognition*, 2016: the
#   winner of 2015.
