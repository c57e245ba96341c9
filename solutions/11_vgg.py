# %% [markdown]
# # 11 VGG
#
# AlexNet has eight layers, with windows of 11×11, 5×5 and 3×3. In 2014 Karen Simonyan and Andrew Zisserman, of the
# Visual Geometry Group in Oxford, asked a simple question: what does **depth** alone bring? They fixed everything else,
# windows of 3×3 throughout, and went from 11 to 19 layers. You build their networks from one line of configuration
# each, count what they cost, and find out why the deep ones would not start to learn.

# %% [markdown]
# ## What you will be able to do
#
# - say why several small windows may replace a large one, what that saves, and when it saves nothing;
# - give the receptive field of every layer of a network with pooling;
# - write a network as a list, and build all VGGs from it, with and without batch norm;
# - make a classifier that drops values in training and only there;
# - find where a network's memory, parameters and arithmetic are;
# - say why a deep network may not learn from its first weights, and name two remedies.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cnnlab import animation, check, hint, plots, results, summary, widgets
from cnnlab.data import digits, grey, photo
from cnnlab.train import Recipe, train

torch.set_num_threads(1)  # the networks trained here are small: several threads would only wait for each other

# %% [markdown]
# ## Two rules
#
# Every VGG follows two rules:
#
# - **convolution**: 3×3, stride 1, padding 1, then ReLU. It keeps height and width;
# - **pooling**: the maximum of 2×2 at stride 2. It halves height and width, five times in all: 224 → 112 → 56 → 28 →
#   14 → 7.
#
# There are 64 filters at first, and twice as many after each pooling layer, up to 512. At the end come AlexNet's three
# fully connected layers. What differs from network to network is only how many convolutions stand between two pooling
# layers.
#
# 3×3 is the smallest window that knows left, right, above, below and middle. Why so small?

# %%
fig, axes = plt.subplots(1, 3, figsize=(10, 2.5), layout="constrained")
plots.stack(axes[0], [(5, 1, 1)], "one 5×5")
plots.stack(axes[1], [(3, 1, 1)] * 2, "two 3×3")
plots.stack(axes[2], [(3, 1, 1)] * 3, "three 3×3")
for ax in axes:
    ax.set_xlim(-4, 4)
plt.show()

# %% [markdown]
# Follow the orange unit down to the image: two 3×3 layers see 5 pixels along each axis, as one 5×5 layer does, and
# three see 7. So depth alone gives large windows.
#
# **Predict.** All layers read 64 channels and give 64. Which has fewer parameters: two 3×3 layers or one 5×5 layer? By
# how much? And if the layers read 3 channels, the colours, and give 64?

# %% [markdown]
# ### Exercise: a stack and its equal
#
# Write `stack_parameters(c_in, c_out, depth)`. It compares
#
# - a **stack** of `depth` layers of 3×3, the first from `c_in` to `c_out` channels, the others from `c_out` to `c_out`;
# - **one** layer from `c_in` to `c_out` channels whose window is as large as what the stack sees.
#
# All layers have biases and stride 1. All arguments are ints from 1 on. Return a tuple of two ints: the parameters of
# the stack, and those of the one layer.

# %% tags=["exercise:stack_parameters"]
def stack_parameters(c_in, c_out, depth):
    """The parameters of `depth` 3x3 layers, and of the one layer that sees as much.

    c_in, c_out, depth ints.  Returns (stack, one), two ints.
    """
    ### BEGIN SOLUTION
    def layer(channels, kernel_size):
        return c_out * (channels * kernel_size**2 + 1)

    return layer(c_in, 3) + (depth - 1) * layer(c_out, 3), layer(c_in, 2 * depth + 1)
    ### END SOLUTION

# %% tags=["check:stack_parameters"]
check("stack_parameters", stack_parameters)

# %%
cases = [(64, 64, 2), (64, 64, 3), (3, 64, 2), (64, 128, 2), (128, 256, 3)]
stacks = {case: stack_parameters(*case) for case in cases}
for (c_in, c_out, depth), (stack, one) in stacks.items():
    side = 2 * depth + 1
    print(f"{c_in:3} → {c_out:3}   {depth} of 3×3: {stack:9,}   one {side}×{side}: {one:9,}   "
          f"one / stack {one / stack:.2f}")

# %% [markdown]
# With as many channels in as out, the weights are as 25 to 2·9: one 5×5 layer has 39 % more. For 7×7 it is 49 to 27,
# or 81 % more, as the paper says. And the stack has more ReLUs: one function for each layer instead of one in all.
#
# The third and fourth row say something that is easily overlooked. Where a block **widens**, only its first layer reads
# few channels; the others read as many as the block gives. From 3 to 64 channels the stack has eight times **more**
# parameters, and two layers from 64 to 128 still have 8 % more. The saving comes with depth, or with channels that
# stay.

# %% [markdown]
# The saving is real, but does the stack learn as well? The paper compared network B, which has ten convolutions in
# five pairs, with a network in which each pair was replaced by one 5×5 layer. The shallow one had a top-1 error 7 %
# higher.
#
# Here is the experiment in small, on CIFAR-10 (ten classes of small photographs): networks with two blocks, each of one
# large layer or of several small ones, otherwise alike.
#
# **Predict.** Which is better on new images? And on the training images?

# %%
measured = results.load("two_3x3_one_5x5")
kinds = {stage: measured["stage"] == stage for stage in ("one 5x5", "two 3x3", "one 7x7", "three 3x3")}
labels = [f"{stage.replace('x', '×')}\n{measured['parameters'][rows][0] / 1e3:.0f} thousand\n"
          f"{measured['multiply_adds'][rows][0] / 1e6:.1f} million" for stage, rows in kinds.items()]
errors = {column: {stage: 100 * measured[column][rows] for stage, rows in kinds.items()}
          for column in ("train_error", "test_error")}
fig, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained", sharey=True)
for ax, column, title in zip(axes, errors, ("training images", "test images")):
    for place, runs in enumerate(errors[column].values()):
        ax.plot(place, runs.mean(), "_", color="tab:orange", markersize=32, markeredgewidth=3)
        ax.plot([place] * len(runs), runs, "o", color="0.3", markerfacecolor="white")
    ax.set_xticks(range(4), labels, fontsize=8)
    ax.set(xlim=(-0.5, 3.5), title=title, xlabel="layers of a block, parameters, multiply-adds for an image")
    ax.grid(axis="y", color="0.9")
axes[0].set_ylabel("error in %")
plt.show()
gains = {stack: errors["test_error"][one].mean() - errors["test_error"][stack].mean()
         for stack, one in (("two 3x3", "one 5x5"), ("three 3x3", "one 7x7"))}
print(f"{measured.command}\n{measured.device}, {measured.date}; {measured.header['data']}")

# %% [markdown]
# Circles are runs from three seeds, bars their means. Two 3×3 layers make 2.3 points fewer errors on test images than
# one 5×5, three make 1.4 points fewer than one 7×7, with 73 % and 56 % of the parameters; on the training images it is
# the same. For the second pair one seed says the opposite: the difference is small against the chance in a run.
#
# This is far from the paper's experiment. The networks have 16 channels and batch norm; the images, from a copy of
# CIFAR-10 recompressed as JPEG, are reduced to 16×16 pixels; there are 10,000 to learn from, for eight epochs. Hence
# the errors of about 50 %. Look at the differences.

# %% [markdown]
# The same live, smaller: the built-in digits, 8×8 pixels, one block and a few epochs.

# %%
def small_net(kernel_sizes, width=12):
    """1 channel to `width`, a convolution for each kernel size, and ten scores."""
    torch.manual_seed(0)
    made, channels = [], 1
    for k in (1, *kernel_sizes):
        made += [nn.Conv2d(channels, width, k, padding=k // 2, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*made, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


# %%
images, classes = digits()
images = (images * 255 / 16).astype(np.uint8)                             # (1797, 8, 8), from 0 to 255
train_set, test_set = (images[:1437], classes[:1437]), (images[1437:], classes[1437:])
small_recipe = Recipe(epochs=5, batch_size=64, lr=0.1)
live = {}
for name, kernel_sizes in {"one 5×5": (5,), "two 3×3": (3, 3), "one 7×7": (7,), "three 3×3": (3, 3, 3)}.items():
    net = small_net(kernel_sizes)
    history = train(net, train_set, test_set, small_recipe, quiet=True)
    live[name] = sum(p.numel() for p in net.parameters()), 1 - history.score[-1]
    print(f"{name:10} {live[name][0]:6,} parameters, test error {100 * live[name][1]:.1f} %")

# %% [markdown]
# The same picture: the stacks make fewer errors than the large windows, with fewer parameters. One run of a small
# network on 360 test images is weak evidence, but other seeds say the same (try it: change `manual_seed`).

# %% [markdown]
# ## What a unit sees
#
# Pooling is a window too, 2 wide. And after it two neighbouring units lie 2 pixels apart in the image, so the windows
# of all later layers reach twice as far. After the next pooling layer it is 4 pixels, then 8.
#
# From here on a network is a **list**: a number stands for a 3×3 convolution with so many filters (and its ReLU),
# `"M"` for a 2×2 max pooling. This is how the well-known libraries write VGG down.

# %%
CONFIGS = {
    "A": (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "B": (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "D": (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"),
    "E": (64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512, 512, 512, 512, "M"),
}
for letter, config in CONFIGS.items():
    convolutions = sum(entry != "M" for entry in config)
    print(f"{letter}: {convolutions} convolutions and 3 fully connected layers: {convolutions + 3} layers with weights")

# %% [markdown]
# D is the famous **VGG-16**, E is VGG-19: layers are counted where they have weights. C comes below. There is also
# A-LRN, which is A with AlexNet's local response normalisation after the first layer; it brought nothing (29.7 %
# instead of 29.6 % top-1 error), and VGG left it out.
#
# **Predict.** How large is the part of the 224×224 image that one unit of the last map of VGG-16 sees: a tenth of the
# side, half, all of it?

# %% [markdown]
# ### Exercise: receptive fields of a list
#
# Write `vgg_receptive_fields(config)`: how many pixels a unit sees along one axis, after each entry of the list.
#
# - `config` is a tuple of ints and `"M"`: an int is a 3×3 convolution at stride 1, `"M"` a 2×2 pooling at stride 2;
# - return a tuple of ints, one for each entry. As in notebook 03, think of an image without end, so padding does not
#   matter.

# %% tags=["exercise:vgg_receptive_fields"]
def vgg_receptive_fields(config):
    """The receptive field after each entry of a configuration list, along one axis.

    config a tuple of ints and "M".  Returns a tuple of ints, one for each entry.
    """
    ### BEGIN SOLUTION
    seen, step, fields = 1, 1, []        # pixels a unit sees; pixels between two neighbouring units
    for entry in config:
        kernel_size, stride = (2, 2) if entry == "M" else (3, 1)
        seen += (kernel_size - 1) * step
        step *= stride
        fields.append(seen)
    return tuple(fields)
    ### END SOLUTION

# %% tags=["check:vgg_receptive_fields"]
check("vgg_receptive_fields", vgg_receptive_fields)

# %% [markdown]
# Step through VGG-16 on a photograph of 224×224 pixels. The frame is what the unit in the middle sees.

# %%
fields = vgg_receptive_fields(CONFIGS["D"])
hopper = grey(photo("hopper"))[:448, 32:480].reshape(224, 2, 224, 2).mean(axis=(1, 3))   # (224, 224), means of 2x2
animation.growing_field(hopper, fields, CONFIGS["D"])

# %% [markdown]
# In the first two blocks a unit sees no more than an edge or a corner, in the third a part such as the nose, in the
# fourth most of the face; only in the fifth does it see face and hat. The same as a curve, beside convolutions without
# pooling:

# %%
fields = vgg_receptive_fields(CONFIGS["D"])
without_pooling = [1 + 2 * layer for layer in range(1, 14)]               # thirteen 3×3 layers alone
fig, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
ax.plot(range(1, 19), fields, "o-", color="0.3", markerfacecolor="tab:orange", label="VGG-16")
ax.plot(range(1, 14), without_pooling, "s:", color="0.3", markerfacecolor="white", label="13 layers of 3×3, no pooling")
pools = [i for i, entry in enumerate(CONFIGS["D"]) if entry == "M"]
for i in pools:
    ax.text(i + 1, fields[i] + 9, f"{fields[i]}", ha="center", fontsize=9)
ax.set_xticks(range(1, 19), ["M" if entry == "M" else "3×3" for entry in CONFIGS["D"]], fontsize=8)
ax.axhline(224, color="0.7", linewidth=1)
ax.text(0.6, 217, "image: 224", va="top", fontsize=9)
ax.set(xlabel="entry of the list", ylabel="receptive field in pixels", ylim=(0, 240))
ax.legend(frameon=False, loc="center left")
plt.show()

# %% [markdown]
# Between two pooling layers the field grows along a straight line, and each pooling layer doubles the slope: 2 pixels a
# layer in the first block, 32 in the last. A unit of the last map sees 212 of 224 pixels, nearly the whole image. The
# same thirteen convolutions without pooling would see 27.
#
# A pooling layer itself adds little, one step. It is the product of the strides that does it.

# %% [markdown]
# A calculator for any stack: sizes, receptive field, **jump** (pixels between two neighbouring units) and **centre** (of
# what the first unit sees). Change a number, add or remove layers, or choose AlexNet or LeNet-5.
#
# **Predict.** What happens to the last receptive field if the first pooling layer is removed: a little less, or half?
# And with an image of 100 pixels, which layers lose a row?

# %%
widgets.sizes("VGG-16")

# %% [markdown]
# ## The block
#
# What stands between two pooling layers, with the pooling at its end, is a **block**. VGG brought a habit that has
# stayed: think in blocks, and repeat them.
#
# Configuration **C** has a third layer in its last three blocks, with windows of 1×1 (notebook 03): it mixes the
# channels of each pixel, followed by a ReLU, and sees nothing new. D has 3×3 in these places. So B, C and D show what
# a further non-linearity brings, and what a further window.
#
# **Batch norm** (notebook 07) came a year after VGG, and today the networks are used with it as well: it stands between
# a convolution and its ReLU.

# %% [markdown]
# ### Exercise: the VGG block
#
# Write the module `VGGBlock(c_in, c_out, kernel_sizes, batch_norm=False)`.
#
# - For each `k` of the tuple `kernel_sizes` (odd ints, at least one) a convolution: `k`×`k`, stride 1, padding
#   `(k - 1) / 2`, **with bias, also before batch norm**. The first goes from `c_in` to `c_out` channels, the
#   others from `c_out` to `c_out`;
# - after each convolution an `nn.BatchNorm2d` if `batch_norm` is true, then ReLU;
# - last a max pooling, 2×2 at stride 2, rounded down.
#
# Make the layers in the order of use: the check gives them weights in that order. `forward(x)` takes (N, c_in, H, W)
# and returns (N, c_out, H // 2, W // 2). Without and with batch norm count half each.

# %% tags=["exercise:vgg_block"]
class VGGBlock(nn.Module):
    """Convolutions that keep the size, each with ReLU and perhaps batch norm, and a 2x2 max pooling.

    c_in, c_out ints; kernel_sizes a tuple of odd ints; batch_norm a bool.
    """

    def __init__(self, c_in, c_out, kernel_sizes, batch_norm=False):
        super().__init__()
        ### BEGIN SOLUTION
        made = []
        for k in kernel_sizes:
            made.append(nn.Conv2d(c_in, c_out, k, padding=(k - 1) // 2))
            if batch_norm:
                made.append(nn.BatchNorm2d(c_out))
            made.append(nn.ReLU())
            c_in = c_out
        self.layers = nn.Sequential(*made, nn.MaxPool2d(2))
        ### END SOLUTION

    def forward(self, x):
        """x (N, c_in, H, W).  Returns (N, c_out, H // 2, W // 2)."""
        ### BEGIN SOLUTION
        return self.layers(x)
        ### END SOLUTION

# %% tags=["check:vgg_block"]
check("vgg_block", VGGBlock)

# %% [markdown]
# **Predict.** Batch norm subtracts the mean of each channel. What was then, in notebook 07, the gradient of the bias of
# a convolution before it?

# %%
torch.manual_seed(0)
block = VGGBlock(3, 4, (3, 3), batch_norm=True)
target = torch.randn(8, 4, 4, 4)
F.mse_loss(block(torch.randn(8, 3, 8, 8)), target).backward()
largest = [(layer.weight.grad.abs().max().item(), layer.bias.grad.abs().max().item())
           for layer in block.modules() if isinstance(layer, nn.Conv2d)]
for number, (weight, bias) in enumerate(largest, 1):
    print(f"convolution {number}: largest gradient of a weight {weight:.1e}, of a bias {bias:.1e}")

# %% [markdown]
# It is zero; what you see are rounding errors. Such a bias is useless, and later networks leave it out (`bias=False`).
# VGG with batch norm, as torchvision distributes it, has kept it, so that its parameter counts include it. The
# exercises here follow that.

# %% [markdown]
# Now B, C and D: their third block, from 128 to 256 channels.

# %%
third = {"B": (3, 3), "C": (3, 3, 1), "D": (3, 3, 3)}
top5 = {"B": 9.9, "C": 9.4, "D": 8.8}                                     # the paper, table 3, images scaled to 256
block_counts = {}
for letter, kernel_sizes in third.items():
    block_counts[letter] = sum(p.numel() for p in VGGBlock(128, 256, kernel_sizes).parameters())
    sees = 1 + sum(k - 1 for k in kernel_sizes)
    print(f"{letter} {str(kernel_sizes):10} sees {sees}×{sees}, {block_counts[letter]:9,} parameters, "
          f"top-5 error of the whole network {top5[letter]} %")

# %% [markdown]
# C is better than B: more non-linearity helps, even where it sees nothing new. D is better than C: seeing more helps as
# well. A 1×1 layer is cheap, with a ninth of the weights of a 3×3 layer. Notebook 12 puts that to use.

# %% [markdown]
# ## From a list to a network
#
# Blocks are one way to build VGG. The list is another: one function goes through it, entry by entry, and depth becomes
# data.
#
# ### Exercise: the features of a list
#
# Write `vgg_features(config, c_in=3, batch_norm=False)`. It returns a module.
#
# - An int in `config` stands for a 3×3 convolution with so many filters, stride 1, padding 1, with bias (also before
#   batch norm), then `nn.BatchNorm2d` if `batch_norm` is true, then ReLU. The first reads `c_in` channels, each
#   other one what the one before gave;
# - `"M"` stands for a max pooling, 2×2 at stride 2, rounded down.
#
# Make the layers in the order of the list. Without and with batch norm count half each.

# %% tags=["exercise:vgg_features"]
def vgg_features(config, c_in=3, batch_norm=False):
    """The convolution and pooling layers of a configuration list, as one module.

    config a tuple of ints and "M"; c_in an int; batch_norm a bool.
    The module takes (N, c_in, H, W) and returns (N, filters of the last convolution, H', W').
    """
    ### BEGIN SOLUTION
    made = []
    for entry in config:
        if entry == "M":
            made.append(nn.MaxPool2d(2))
            continue
        made.append(nn.Conv2d(c_in, entry, 3, padding=1))
        if batch_norm:
            made.append(nn.BatchNorm2d(entry))
        made.append(nn.ReLU(inplace=True))
        c_in = entry
    return nn.Sequential(*made)
    ### END SOLUTION

# %% tags=["check:vgg_features"]
check("vgg_features", vgg_features)

# %% [markdown]
# The shapes of all four, in a moment and without half a gigabyte of weights for each, on the meta device (notebook 10):

# %%
with torch.device("meta"):
    shapes = {letter: tuple(vgg_features(config)(torch.zeros(1, 3, 224, 224)).shape)
              for letter, config in CONFIGS.items()}
    wide = tuple(vgg_features(CONFIGS["D"])(torch.zeros(1, 3, 256, 340)).shape)
print(shapes)
print("an image of 256×340:", wide)

# %%
volumes = {"image": (3, 224, 224), "conv1": (64, 224, 224), "conv2": (128, 112, 112), "conv3": (256, 56, 56),
           "conv4": (512, 28, 28), "conv5": (512, 14, 14), "features": (512, 7, 7)}
fig, ax = plt.subplots(figsize=(10, 3.3), layout="constrained")
x = 0
for name, (channels, height, width) in volumes.items():
    plots.volume(ax, x, (224 - height) / 2, (channels, height, width), depth=0.25)
    ax.text(x + width / 2, -22, f"{name}\n{channels}×{height}×{width}", ha="center", va="top", fontsize=9)
    x += max(width + 0.175 * channels, 110) + 25
ax.set(aspect="equal", xlim=(-10, x), ylim=(-105, 270))
ax.axis("off")
plt.show()

# %% [markdown]
# What the blocks of VGG-16 hold, to scale (a channel is drawn a quarter as thick as a pixel is wide), and what is left
# after the last pooling. Space shrinks while channels grow: each block's maps have a quarter of the pixels of the
# block before, and twice the channels, up to 512.

# %% [markdown]
# ## The classifier, and dropout that stops
#
# The features of all VGGs end with 512 maps of 7×7. They are flattened and go through three linear layers: 4096, 4096
# and 1000 units. After the first two come a ReLU and **dropout** with rate 0.5, as in AlexNet.
#
# Dropout (notebook 07) belongs to training. In PyTorch a module is told by `net.train()` or `net.eval()` which of the
# two it is; forgetting `eval()` is among the commonest mistakes in practice, because nothing fails: the results are
# just worse, and different each time.

# %% [markdown]
# ### Exercise: the classifier
#
# Write the module `VGGClassifier(shape, hidden, classes, dropout=(0.5, 0.5))`.
#
# - `shape` is (C, H, W), the shape of the features of one image; they are flattened in PyTorch's order: channel, row,
#   column;
# - a linear layer to `hidden` units, ReLU, dropout with rate `dropout[0]`; one from `hidden` to `hidden`, ReLU, dropout
#   with rate `dropout[1]`; one to `classes` scores. All with biases, and no softmax: the loss has its own;
# - dropout is PyTorch's: in training a value is dropped or else divided by the part that is kept; in evaluation it does
#   nothing.
#
# Make the layers in the order of use. `forward(x)` takes (N, C, H, W) and returns (N, classes). Evaluation and training
# count half each.

# %% tags=["exercise:vgg_classifier"]
class VGGClassifier(nn.Module):
    """Three linear layers on flattened features, with ReLU and dropout after the first two.

    shape (C, H, W) of one image's features; hidden, classes ints; dropout two rates from 0 to 1.
    """

    def __init__(self, shape, hidden, classes, dropout=(0.5, 0.5)):
        super().__init__()
        ### BEGIN SOLUTION
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(shape), hidden), nn.ReLU(inplace=True), nn.Dropout(dropout[0]),
            nn.Linear(hidden, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout[1]),
            nn.Linear(hidden, classes))
        ### END SOLUTION

    def forward(self, x):
        """x (N, C, H, W).  Returns (N, classes)."""
        ### BEGIN SOLUTION
        return self.layers(x)
        ### END SOLUTION

# %% tags=["check:vgg_classifier"]
check("vgg_classifier", VGGClassifier)

# %% [markdown]
# **Predict.** The same features twice through a classifier in training mode, and twice in evaluation mode. Which pairs
# agree?

# %%
torch.manual_seed(0)
classifier, same_features = VGGClassifier((8, 2, 2), 64, 3), torch.randn(1, 8, 2, 2)
with torch.no_grad():
    dropped = [classifier.train()(same_features) for _ in range(2)]
    kept = [classifier.eval()(same_features) for _ in range(2)]
for mode, pair in [("training", dropped), ("evaluation", kept)]:
    print(f"{mode:10}", *(str([round(v, 3) for v in scores[0].tolist()]) for scores in pair))

# %% [markdown]
# In training every pass is another network, with another half of its units. In evaluation all units are there and the
# scores are always the same.
#
# PyTorch divides by the part that is kept while it trains, so that nothing is left to do afterwards. AlexNet's authors
# did it the other way round (notebook 07), and halved the outputs in evaluation. Weights from such a training can be
# **converted** once: the layer after the dropout gets its weights times $1 - p$, its bias stays.

# %%
generator = torch.Generator().manual_seed(0)
h = torch.rand(200, generator=generator)
weight, bias = torch.randn(5, 200, generator=generator) / 10, torch.randn(5, generator=generator)
p = 0.5
masks = (torch.rand(20000, 200, generator=generator) >= p).float()       # 20,000 passes, nothing divided
old_training = (masks * h) @ weight.T + bias                             # (20000, 5)
converted = h @ ((1 - p) * weight).T + bias                              # no dropout, weights times 1 - p
off = (old_training.mean(0) - converted).abs().max().item()
print(f"passes differ by {old_training.std(0).mean():.2f}; their mean is the converted layer's output up to {off:.3f}")

# %% [markdown]
# The mean over all passes is what the converted layer gives in one. (Through the ReLUs of a deeper network this holds
# only roughly, and works well all the same.)

# %% [markdown]
# ## All of VGG
#
# ### Exercise: the network
#
# Write the module `VGG(config, size=224, hidden=4096, classes=1000, batch_norm=False)`: the features of the list, for
# colour images, and the classifier with dropout 0.5. You may call `vgg_features` and `VGGClassifier`.
#
# - `size` is the height and width of the images, an int. Each `"M"` halves it, rounded down, and what is left is at
#   least 1;
# - the features are flattened as they come, whatever their size: no averaging to 7×7;
# - `forward(x)` takes (N, 3, size, size) and returns (N, classes) scores.
#
# Small networks are compared by value; A, B, D and E by structure, on the meta device. Both count half.

# %% tags=["exercise:vgg"]
class VGG(nn.Module):
    """A VGG network from its configuration list, for colour images of size x size.

    config a tuple of ints and "M"; size, hidden, classes ints; batch_norm a bool.
    """

    def __init__(self, config, size=224, hidden=4096, classes=1000, batch_norm=False):
        super().__init__()
        ### BEGIN SOLUTION
        self.features = vgg_features(config, 3, batch_norm)
        side = size // 2 ** config.count("M")
        last = [entry for entry in config if entry != "M"][-1]
        self.classifier = VGGClassifier((last, side, side), hidden, classes)
        ### END SOLUTION

    def forward(self, x):
        """x (N, 3, size, size).  Returns (N, classes)."""
        ### BEGIN SOLUTION
        return self.classifier(self.features(x))
        ### END SOLUTION

# %% tags=["check:vgg"]
check("vgg", VGG)

# %% [markdown]
# **Predict.** E has three convolutions more than D, each with 256 or 512 filters. The paper gives 138 million
# parameters for D. How many has E: 140, 160, 200 million?

# %%
paper = {"A": 133, "B": 133, "C": 134, "D": 138, "E": 144}               # millions, table 2
with torch.device("meta"):
    nets = {letter: VGG(config).eval() for letter, config in CONFIGS.items()}
    widths, windows = (3, 64, 128, 256, 512, 512), [(3, 3)] * 2 + [(3, 3, 1)] * 3
    blocks = [VGGBlock(a, b, k) for a, b, k in zip(widths, widths[1:], windows)]
    nets["C"] = nn.Sequential(*blocks, VGGClassifier((512, 7, 7), 4096, 1000))
counts = {letter: sum(p.numel() for p in nets[letter].parameters()) for letter in paper}
for letter, count in counts.items():
    print(f"{letter}: {count:11,} parameters; the paper says {paper[letter]} million")

# %% [markdown]
# 144: the convolutions of a deeper network hardly count. VGG-16 has exactly 138,357,544 parameters, biases included; A
# and E differ by 8 % although E has eight layers more. A-LRN has as many as A, since its normalisation learns nothing.
# C is built from your blocks.
#
# The convolutions of VGG-16 hold 14.7 million of them. Where are the others?

# %% [markdown]
# ## What it costs

# %% [markdown]
# ### Exercise: the table of a network
#
# Write `vgg_table(image, config, linear=())`: a row of three ints for each layer.
#
# - `image` is (C, H, W); `config` a tuple as above; `linear` the outputs of the linear layers that follow, a tuple of
#   ints, perhaps empty. The first reads all values of the features;
# - a row is `(values, parameters, multiply_adds)`: how many numbers the layer gives for one image, how many it learns
#   (weights and biases), how many products it adds up (biases not counted);
# - pooling halves height and width, rounded down; its row is `(values, 0, 0)`.
#
# Return a tuple of rows, for each entry of `config`, then of `linear`. Without and with linear layers
# count half each.

# %% tags=["exercise:vgg_table"]
def vgg_table(image, config, linear=()):
    """What each layer of a VGG gives, learns and multiplies, for one image.

    image (C, H, W); config a tuple of ints and "M"; linear a tuple of ints.
    Returns a tuple of (values, parameters, multiply_adds), three ints for each entry.
    """
    ### BEGIN SOLUTION
    (c, h, w), rows = image, []
    for entry in config:
        if entry == "M":
            h, w = h // 2, w // 2
            rows.append((c * h * w, 0, 0))
        else:
            values, products = entry * h * w, c * 3 * 3
            rows.append((values, entry * (products + 1), values * products))
            c = entry
    n = c * h * w
    for outputs in linear:
        rows.append((outputs, outputs * (n + 1), outputs * n))
        n = outputs
    return tuple(rows)
    ### END SOLUTION

# %% tags=["check:vgg_table"]
check("vgg_table", vgg_table)

# %% [markdown]
# **Predict.** Which layer of VGG-16 gives the most values? Which has the most parameters? And are those the layers that
# do the most work?

# %%
table = np.array(vgg_table((3, 224, 224), CONFIGS["D"], linear=(4096, 4096, 1000)))   # (21, 3)
names, block_number, place = [], 1, 1
for entry in CONFIGS["D"]:
    names.append(f"pool{block_number}" if entry == "M" else f"conv{block_number}_{place}")
    block_number, place = (block_number + 1, 1) if entry == "M" else (block_number, place + 1)
names += ["fc6", "fc7", "fc8"]
titles = ["values of one image, millions", "parameters, millions", "multiply-adds, billions"]
fig, axes = plt.subplots(3, 1, figsize=(9, 5.4), layout="constrained", sharex=True)
for ax, column, title, unit in zip(axes, table.T, titles, (1e6, 1e6, 1e9)):
    ax.bar(range(21), column / unit, color=["0.6" if n.startswith("pool") else "0.35" for n in names])
    ax.set_title(title, fontsize=10, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
axes[-1].set_xticks(range(21), names, rotation=60, ha="right", fontsize=8)
plt.show()

# %%
table = np.array(vgg_table((3, 224, 224), CONFIGS["D"], linear=(4096, 4096, 1000)))   # (21, 3)
values, parameters, multiply_adds = table.sum(axis=0)
with_image = values + 3 * 224 * 224
first_block, last_layers = table[:3, 0].sum() / with_image, table[-3:].sum(axis=0)
print(f"values with the image: {with_image:,}, {with_image * 4 / 1e6:.1f} MB in float32; "
      f"block 1 gives {100 * first_block:.0f} %")
print(f"parameters: {parameters:,}; the three linear layers hold {100 * last_layers[1] / parameters:.0f} %, "
      f"fc6 alone {100 * table[-3, 1] / parameters:.0f} %")
print(f"multiply-adds: {multiply_adds:,}; the linear layers do {100 * last_layers[2] / multiply_adds:.1f} %")

# %% [markdown]
# **Most memory early, most parameters late.** The first block gives almost half of all values. The first linear layer,
# which reads 7·7·512 values 4096 times, has 102,760,448 weights: three quarters of the network. The arithmetic is in
# the convolutions. Where height and width are halved and the channels doubled, in and out, the number of products stays
# the same; in block 5 the channels are not doubled, and a layer costs a quarter.
#
# Notebook 12 averages each of the last maps to one number in place of flattening, and needs no such layer.

# %% [markdown]
# `cnnlab.summary` makes this table for any network, from the layers as they run. With `.lecture()` it counts as
# lectures do: sizes as height×width×channels, and an activation as part of its layer.

# %%
with torch.device("meta"):
    vgg16 = VGG(CONFIGS["D"]).eval()
report = summary(vgg16, (3, 224, 224)).lecture()
report

# %%
table = np.array(vgg_table((3, 224, 224), CONFIGS["D"], linear=(4096, 4096, 1000)))   # (21, 3)
by_summary = np.array([(math.prod(row.output), row.parameters, row.multiply_adds) for row in report.rows[1:]])
agrees = np.array_equal(by_summary, table)
print("your table and the summary agree:", agrees)

# %% [markdown]
# Two slips are in wide use. Lecture notes say "24M × 4 bytes ≈ 93 MB per image" for the forward activations of VGG-16;
# adding up the column gives 15.2 million values, 61 MB. And for the second layer with 128 filters they print
# (3·3·64)·128 weights, as for the first: it reads 128 channels, so it has (3·3·128)·128 = 147,456.

# %% [markdown]
# **Predict.** The networks were trained with batches of 256, on four graphics cards with 6 GB each. Does a quarter of
# a batch fit on one card: its activations, the weights, their gradients and their momentum, all in float32?

# %%
values, parameters, _ = np.sum(vgg_table((3, 224, 224), CONFIGS["D"], linear=(4096, 4096, 1000)), axis=0)
share_images = 256 // 4
activations = share_images * (values + 3 * 224 * 224) * 4 / 1e9           # GB
weights = parameters * 4 / 1e9
needed = activations + 3 * weights
print(f"{share_images} images: {activations:.1f} GB of activations, and 3 × {weights:.2f} GB: {needed:.1f} GB")

# %% [markdown]
# Barely. This counts each value once, with ReLU in place, and leaves no room for the gradients of the activations, of
# which only a layer or two are needed at a time. (The last column above is larger by the positions of the maxima, which
# PyTorch keeps for the way back.) Training one network took two to three weeks (NVIDIA Titan Black).
#
# At 15.5 billion multiply-adds an image VGG-16 is heavy even today: ResNet-50 (notebook 13) is more accurate with about
# a quarter of that.

# %% [markdown]
# ### Images of another size
#
# The features take images of any size, as you saw with 256×340. The classifier does not: its first layer wants exactly
# 512·7·7 numbers. `VGG(…, size=…)` is therefore made for one size.
#
# The paper has a better idea for testing. A linear layer on maps of 7×7 is a convolution with windows of 7×7; written
# as one, with the same weights, it slides over larger maps and gives scores at several places of the image. That is
# **dense evaluation**. Notebook 15 builds it.

# %% [markdown]
# ## Why the deep ones would not learn
#
# The authors could train A, with its 11 layers, from random weights. B to E started from a trained A: its first four
# convolutions and its linear layers were copied, and only the layers between were random. Otherwise, they write, bad
# first weights can stall learning, because the gradient is unstable in deep networks.
#
# Notebook 08 showed the reason on fully connected layers: each layer multiplies the size of the signal by a factor, and
# depth raises this factor to a power. Measure it on convolutions.

# %% [markdown]
# ### Exercise: the size of the signal by depth
#
# Write `activation_sizes(x, weights)`.
#
# - `x` is a float tensor (N, C, H, W); `weights` is a float tensor (L, C, C, 3, 3): the weights of L layers, each from
#   C to C channels;
# - each layer is a convolution with padding 1, without bias, followed by ReLU, and reads what the layer before gave;
#   the first reads `x`;
# - return a tensor (L,): for each layer the root mean square of **all** values after its ReLU,
#   $\sqrt{\text{mean}(y^2)}$.

# %% tags=["exercise:activation_sizes"]
def activation_sizes(x, weights):
    """The root mean square of what each of L layers of 3x3 convolution and ReLU gives.

    x (N, C, H, W), weights (L, C, C, 3, 3), float tensors.  Returns (L,).
    """
    ### BEGIN SOLUTION
    sizes = []
    for weight in weights:
        x = F.relu(F.conv2d(x, weight, padding=1))
        sizes.append(x.square().mean().sqrt())
    return torch.stack(sizes)
    ### END SOLUTION

# %% tags=["check:activation_sizes"]
check("activation_sizes", activation_sizes)

# %% [markdown]
# **Predict.** Sixteen layers with 32 channels, and random weights with standard deviation
#
# - 0.01, as AlexNet's authors drew them;
# - 0.1: VGG's paper says "variance $10^{-2}$";
# - Glorot and Bengio's (2010), $\sqrt{2 / (\text{fan-in} + \text{fan-out})}$, here $\sqrt{1/288}$;
# - He's (2015), $\sqrt{2/\text{fan-in}}$, here $\sqrt{2/288}$, made for ReLU.
#
# Where is the signal after sixteen layers in each case?

# %%
torch.manual_seed(0)
signal, random_weights = torch.randn(4, 32, 28, 28), torch.randn(16, 32, 32, 3, 3)
fan = 32 * 3 * 3
stds = {"0.01": 0.01, "Glorot": math.sqrt(1 / fan), "He": math.sqrt(2 / fan), "0.1": 0.1}
by_depth = {name: activation_sizes(signal, std * random_weights).numpy() for name, std in stds.items()}
normed, x = [], signal
for weight in 0.01 * random_weights:
    x = F.relu(F.batch_norm(F.conv2d(x, weight, padding=1), None, None, training=True))
    normed.append(x.square().mean().sqrt().item())
fig, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
for (name, sizes), style in zip({**by_depth, "0.01 with batch norm": normed}.items(), ("v:", "s--", "o-", "^-.", "x-")):
    ax.semilogy(range(1, 17), sizes, style, color="0.3", markerfacecolor="tab:orange", markersize=6, label=name)
ax.set(xlabel="layer", ylabel="root mean square", ylim=(1e-17, 1e3))
ax.legend(frameon=False, ncols=2, title="standard deviation of the weights", loc="lower left")
plt.show()
print({name: f"{sizes[-1]:.1g}" for name, sizes in by_depth.items()})

# %% [markdown]
# 0.01 loses nearly nine tenths of the signal in each layer. Glorot's rule was made for units whose slope at zero is 1;
# ReLU sets half of the values to zero, which costs it a factor $\sqrt{1/2}$ a layer. He's rule has this factor built
# in: the signal keeps its order of magnitude (chance and the zeros of the padding make it sink to 0.3). 0.1 happens to
# suit 32 channels. With batch norm every layer starts afresh, whatever the weights.

# %% [markdown]
# Whether a fixed number suits depends on the width of the layer:

# %%
factors = {width: {std: std * math.sqrt(width * 9 / 2) for std in (0.01, 0.1)} for width in (32, 64, 128, 256, 512)}
for width, factor in factors.items():
    print(f"{width:3} channels: a layer multiplies the signal by {factor[0.01]:.2f} (0.01) or {factor[0.1]:.1f} (0.1)")
he_std = [math.sqrt(2 / (9 * filters)) for filters in (64, 128, 256, 512)]
too_small = 0.01**9 / (he_std[0] * he_std[1]**2 * he_std[2]**2 * he_std[3]**4)
print(f"He et al., for B with std 0.01: on its way back from layer 10 to layer 2 a gradient is divided by "
      f"{1 / too_small:,.0f}")

# %% [markdown]
# In VGG's widths 0.1 is too large, up to fivefold a layer, and 0.01 too small. He et al. (2015) worked it out for B and
# the way back, where a layer's filters take the place of its inputs: with 0.01 the gradient shrinks to about 1/17,000
# over nine layers. Whether the signal or the gradient is scaled right makes little difference; that it is done at every
# layer makes all.

# %% [markdown]
# **Predict.** A narrow network with twelve convolutions, on the digits, with the same recipe. How does it learn from
# weights of 0.01, from He's, and from 0.01 with batch norm?

# %%
DEEP = (16, 16, 16, 16, "M", 32, 32, 32, 32, "M", 32, 32, 32, 32)


def deep_net(std, batch_norm=False):
    """Twelve convolutions and a linear layer, for 1x8x8; normal weights of this std ("He": his), biases 0."""
    torch.manual_seed(0)
    net = nn.Sequential(vgg_features(DEEP, 1, batch_norm), nn.Flatten(), nn.Linear(32 * 2 * 2, 10))
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, 0, math.sqrt(2 / layer.weight[0].numel()) if std == "He" else std)
            nn.init.zeros_(layer.bias)
    return net


# %%
starts = {"0.01": deep_net(0.01), "He": deep_net("He"), "0.01 with batch norm": deep_net(0.01, batch_norm=True)}
recipe = Recipe(epochs=6, batch_size=64, lr=0.01, schedule="constant")
losses, scores = {}, {}
for name, net in starts.items():
    history = train(net, train_set, test_set, recipe, quiet=True)
    losses[name], scores[name] = history.loss, history.score[-1]
    print(f"{name}: test accuracy {100 * scores[name]:.0f} %")
fig, ax = plt.subplots(figsize=(8, 3), layout="constrained")
for (name, loss), style in zip(losses.items(), (":", "-", "--")):
    smooth = min(10, len(loss))
    ax.plot(np.convolve(loss, np.full(smooth, 1 / smooth), "valid"), style, color="0.2", label=name)
ax.axhline(math.log(10), color="0.7", linewidth=1)
ax.text(0, math.log(10) + 0.05, "ln 10", fontsize=9)
ax.set(xlabel="step", ylabel="training loss, mean of 10", ylim=(0, 2.7))
ax.legend(frameon=False, title="first weights")
plt.show()

# %% [markdown]
# From 0.01 the loss never leaves $\ln 10$: no signal arrives, so no gradient returns. Nothing is wrong with the layers,
# the data or the learning rate. From He's weights the same network learns, and with batch norm it learns even from
# 0.01, and faster.

# %% [markdown]
# The same on CIFAR-10, with VGG-A and VGG-D at an eighth of their width, at three learning rates:

# %%
curves = results.load("vgg_batch_norm")
columns = {"std_0.01": "0.01", "he": "He", "std_0.01_batch_norm": "0.01 with batch norm"}
rates = np.unique(curves["lr"])
fig, axes = plt.subplots(2, len(rates), figsize=(10, 4.8), layout="constrained", sharex=True, sharey=True)
for row, letter in zip(axes, "AD"):
    for ax, lr in zip(row, rates):
        here = (curves["configuration"] == letter) & (curves["lr"] == lr)
        for (column, name), style in zip(columns.items(), (":", "-", "--")):
            ax.plot(curves["step"][here], curves[column][here], style, color="0.2", label=name)
        ax.axhline(math.log(10), color="0.7", linewidth=1)
        ax.set_title(f"VGG-{letter}, learning rate {lr:g}", fontsize=10)
axes[1, 2].legend(frameon=False, fontsize=8, title="first weights", title_fontsize=8, loc="lower left")
axes[1, 1].set_xlabel("step")
fig.supylabel("training loss", fontsize=10)
plt.show()
print(f"{curves.command}\n{curves.device}, {curves.date}; {curves.header['data']}")

# %% [markdown]
# From 0.01 nothing learns without batch norm, whatever the depth and the learning rate. From He's weights the 8
# convolutions of A learn, slowly at 0.2. The 13 of D are slower at 0.01, fall back to $\ln 10$ at 0.05 after a good
# beginning, and never start at 0.2. With batch norm all six learn: it forgives both the first weights and a learning
# rate that is too large, one reason why it is used nearly everywhere.
#
# Again small: 5,000 images of 32×32, 200 steps, one seed, and a single linear layer in place of three.

# %% [markdown]
# ## How they were trained
#
# | | |
# |---|---|
# | batch, momentum, weight decay | 256, 0.9, 5·10⁻⁴ |
# | dropout | 0.5, after the first two linear layers |
# | learning rate | 10⁻², divided by 10 three times; 74 epochs |
# | images | random 224×224 crops, shorter side scaled to 256, to 384 or at random from 256 to 512; flips, colours |
# | first weights | B to E from a trained A; after submission also Glorot and Bengio's, without A |
# | challenge 2014 | 7.3 % top-5 error with seven networks: second to GoogLeNet's 6.7 %; first in localisation |
#
# On images scaled to 256 the top-5 error falls from 10.4 % (A) over 9.9, 9.4 and 8.8 % (B, C, D) and then rises to 9.0
# % (E). With scales drawn at random E is best, 8.0 %. Depth had brought what it could: to go on, something new was
# needed (notebook 13).

# %% [markdown] tags=["written:vgg_diet:4"]
# ## In your own words
#
# A team wants VGG-16 for 20 classes, on a small device with 256 MB of memory, and trains it on one card with 8 GB.
# Three changes are proposed:
#
# - **P**: replace flattening and the three linear layers by the average of each of the 512 maps and one linear layer to
#   20 scores;
# - **Q**: halve the number of filters in all convolutions of the first block;
# - **R**: take images of 112×112 instead of 224×224.
#
# For each, say what it does to the parameters, the activations and the multiply-adds, with numbers (use your
# functions). Which would you take for the device, which to train with larger batches, and what would you check before
# deciding? About ten sentences.
#
# <!-- BEGIN SOLUTION -->
# **Answer.**
#
# With 20 classes VGG-16 has 134.3 million parameters, 537 MB. P leaves 14.7 million of them, 59 MB. Activations and
# multiply-adds hardly change, since the linear layers give few values and do 0.8 % of the arithmetic. Q changes the
# parameters by less than 0.1 %: the layers it touches have few. But it halves the values of the first block, 47 % of
# all, so nearly a quarter of the activations goes, and 12 % of the multiply-adds, most of them in the second layer,
# which then reads half and gives half. R leaves the convolutions' parameters as they are and divides their activations
# and multiply-adds by four; maps of 3×3 instead of 7×7 also shrink the first linear layer to less than a fifth. For the
# device I would take P: without it the weights do not fit. For larger batches Q or R, because there the activations
# count; R saves most. All three may cost accuracy, so I would train each and compare the error on images kept aside; R
# above all if the objects are small, since details are lost before the first layer.
#
# **Rubric.**
#
# - 1 point: P removes about 90 % of the parameters (119.6 of 134.3 million) and next to nothing else.
# - 1 point: Q removes about a quarter of the activations and some multiply-adds, but no noticeable part of the
#   parameters.
# - 1 point: R divides the activations and multiply-adds of the convolutions by four; their parameters stay.
# - 1 point: a choice for each of the two purposes that follows from where the memory is (weights on the device,
#   activations in training), and that the error has to be measured.
# <!-- END SOLUTION -->

# %% [markdown]
# ## Summary
#
# | question | answer |
# |---|---|
# | VGG's two rules | 3×3, stride 1, padding 1; max pooling 2×2 at stride 2 |
# | what two and three 3×3 see | 5×5 and 7×7 |
# | weights, C channels in and out | 18C² against 25C²; 27C² against 49C² |
# | when the stack saves nothing | where a block widens: 3 → 64, or two layers 64 → 128 |
# | receptive field | each layer adds (window − 1) times the product of the strides before it; VGG-16: 212 |
# | parameters | A 133, B 133, C 134, D 138, E 144 million; VGG-16: 138,357,544, of them 102,760,448 weights in fc6 |
# | activations | VGG-16: 15.2 million values, 61 MB an image; half of them in block 1 |
# | multiply-adds | VGG-16: 15.5 billion, in the convolutions |
# | dropout | only in training; `net.eval()` switches it off |
# | bias before batch norm | useless: its gradient is 0 |
# | first weights | standard deviation $\sqrt{2/\text{fan-in}}$ for ReLU, or batch norm |

# %% [markdown]
# ## Where to read more
#
# - Karen Simonyan and Andrew Zisserman, *Very deep convolutional networks for large-scale image recognition*, 2015: the
#   reasons for 3×3 are in section 2.3, the comparison with 5×5 in 4.1.
# - Xavier Glorot and Yoshua Bengio, *Understanding the difficulty of training deep feedforward neural networks*, 2010.
# - Kaiming He, Xiangyu Zhang, Shaoqing Ren and Jian Sun, *Delving deep into rectifiers*, 2015: section 2.2 has the
#   calculation for network B.
# - Sergey Ioffe and Christian Szegedy, *Batch normalization*, 2015.
