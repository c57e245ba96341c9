# %% [markdown]
# # 14 After ResNet
#
# With residual blocks depth was no longer the obstacle. The networks that followed kept the skip and asked other
# questions: how wide, in how many groups, which channels, and above all: at what price? This notebook builds their
# blocks and counts what they cost, puts all networks of the course into one chart, lets a program search for a
# network, and takes a trained one apart again.

# %% [markdown]
# ## What you will be able to do
#
# - widen a ResNet, group its convolutions, gate its channels, concatenate instead of adding;
# - split a convolution into a depthwise and a 1×1 part, and say what that saves, and what it does not;
# - write the blocks of MobileNet v1 and v2, and build both networks;
# - scale a network in width, depth and resolution, with EfficientNet's rounding;
# - read a chart of accuracy against operations and parameters, and say what it leaves out;
# - search for an architecture by evolution, and judge the search honestly;
# - prune a trained network by magnitude.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cnnlab import check, hint, plots, results, summary
from cnnlab.data import digits
from cnnlab.notebook import quick
from cnnlab.timing import median_seconds
from cnnlab.train import Recipe, evaluate, normalise, train

torch.set_num_threads(1)  # the networks below are so small that threads would only wait for each other

# %% [markdown]
# ## Wider
#
# A ResNet with 1,001 layers has 4.92 % error on CIFAR-10 (notebook 13). Sergey Zagoruyko and Nikos Komodakis (2016)
# asked whether so much depth is needed. Their **Wide ResNet** has few layers and multiplies the channels of all blocks
# by a factor k (in this section k is not the size of a kernel):
#
# | part | channels | blocks | stride of the first |
# |---|---|---|---|
# | stem, 3×3 | 16 | | 1 |
# | stage 1 | 16·k | n | 1 |
# | stage 2 | 32·k | n | 2 |
# | stage 3 | 64·k | n | 2 |
#
# Each block has two 3×3 convolutions. The depth is written 6n + 4, the name WRN-depth-k: WRN-28-10 has n = 4 and
# k = 10.

# %% [markdown]
# ### Exercise: the blocks of a wide network
#
# Write `wide_blocks(depth, k)`.
#
# - `depth` is an int of the form 6n + 4 with n at least 1, `k` an int, at least 1;
# - return the 3·n blocks in order, a tuple with one tuple `(c_in, c_out, stride)` of ints for each: the channels that
#   reach the block, those that leave it, and its stride. The first block reads the channels of the stem.
#
# If you are stuck, run `hint("wide_blocks")` in a cell of your own, and again for more.

# %% tags=["exercise:wide_blocks"]
def wide_blocks(depth, k):
    """The blocks of a Wide ResNet: a tuple of (c_in, c_out, stride), 3n of them for depth = 6n + 4."""
    ### BEGIN SOLUTION
    n, c_in, blocks = (depth - 4) // 6, 16, []
    for stage in range(3):
        c_out = 16 * k * 2**stage
        for i in range(n):
            blocks.append((c_in, c_out, 2 if stage > 0 and i == 0 else 1))
            c_in = c_out
    return tuple(blocks)
    ### END SOLUTION

# %% tags=["check:wide_blocks"]
check("wide_blocks", wide_blocks)

# %% [markdown]
# **Predict.** Twice the depth, or twice the width: by how much do the parameters grow, each time?

# %%
def wide_parameters(depth, k, classes=10):
    """What a Wide ResNet learns: blocks with batch norm first, and a 1×1 on the skip where the channels change."""
    total, c_out = 3 * 16 * 9, 16
    for c_in, c_out, _ in wide_blocks(depth, k):
        total += 2 * c_in + 9 * c_in * c_out + 2 * c_out + 9 * c_out * c_out
        total += c_in * c_out if c_in != c_out else 0
    return total + 2 * c_out + c_out * classes + classes


wide_sizes = {name: wide_parameters(*name) for name in [(16, 1), (28, 1), (16, 2), (28, 10), (40, 4)]}
for (depth, k), parameters in wide_sizes.items():
    print(f"WRN-{depth}-{k:<2} {parameters:11,} parameters")
deeper, wider = (wide_sizes[name] / wide_sizes[16, 1] for name in [(28, 1), (16, 2)])
print(f"from 2 to 4 blocks a stage: {deeper:.1f} times as many; from k = 1 to k = 2: {wider:.1f} times")

# %% [markdown]
# Parameters grow with the depth, and with the *square* of the width, as a convolution has weights for each pair of
# channels. So does the work. Still, WRN-28-10 with its 36.5 million parameters has 4.00 % error on CIFAR-10: with 28
# layers, better than ResNet with 1,001.
#
# Wide layers have a practical side as well. Layers have to wait for each other, channels do not: a processor with
# thousands of arithmetic units is better used by a few large products than by many small ones.

# %% [markdown]
# ## In groups: ResNeXt
#
# Saining Xie, Ross Girshick, Piotr Dollár, Zhuowen Tu and Kaiming He (2017) split the bottleneck into many narrow
# paths that work side by side and are added up. The number of paths is the **cardinality**. Since each path has the
# same shape, all of them together are one block with a **grouped** 3×3 convolution (notebook 03): filters of group g
# read only the channels of group g. AlexNet had two groups because it lay on two cards (notebook 10); these are there
# for their own sake.
#
# The figure shows how many channels there are after each step. Hatched: each filter reads only a part of them.

# %%
def draw_channels(ax, steps, title):
    """The channels after each step of a block, as bars around the middle; hatched where the layer has groups."""
    for y, (label, channels, grouped) in enumerate(steps):
        ax.barh(-y, channels, left=-channels / 2, height=0.5, color="0.85", edgecolor="0.3",
                hatch="///" if grouped else "")
        ax.text(0, -y - 0.42, f"{label}: {channels}", ha="center", va="center", fontsize=9)
    widest = max(channels for _, channels, _ in steps)
    ax.set(xlim=(-0.55 * widest, 0.55 * widest), ylim=(0.5 - len(steps), 0.5), title=title)
    ax.title.set_fontsize(10)
    ax.axis("off")


fig, axes = plt.subplots(1, 2, figsize=(plots.WIDTH, 2.6), layout="constrained")
draw_channels(axes[0], [("in", 256, False), ("1×1", 64, False), ("3×3", 64, False), ("1×1", 256, False)], "ResNet")
draw_channels(axes[1], [("in", 256, False), ("1×1", 128, False), ("3×3, 32 groups of 4", 128, True),
                        ("1×1", 256, False)], "ResNeXt, cardinality 32, d = 4")
plt.show()

# %% [markdown]
# ### Exercise: the grouped bottleneck
#
# Write the module `GroupedBottleneck(channels, cardinality, d)`, the block of ResNeXt that keeps the shape.
#
# - Body: 1×1 convolution from `channels` to `cardinality·d` channels, batch norm, ReLU; 3×3 convolution that keeps this
#   number, padding 1, in `cardinality` groups, so with `d` channels in each, batch norm, ReLU; 1×1 back to `channels`,
#   batch norm. No biases in the convolutions;
# - add the input, then ReLU;
# - `forward(x)`: x (N, channels, H, W) gives the same shape, and is not changed.
#
# In this notebook, create the layers of a module in the order in which they are used, and name them as you like.

# %% tags=["exercise:grouped_bottleneck"]
class GroupedBottleneck(nn.Module):
    """1×1, grouped 3×3, 1×1, and the identity around them (Xie et al., 2017)."""

    def __init__(self, channels, cardinality, d):
        super().__init__()
        ### BEGIN SOLUTION
        inner = cardinality * d
        self.conv1, self.bn1 = nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, groups=cardinality, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, channels, 1, bias=False), nn.BatchNorm2d(channels)
        ### END SOLUTION

    def forward(self, x):
        """x (N, channels, H, W).  Returns the same shape."""
        ### BEGIN SOLUTION
        y = F.relu(self.bn1(self.conv1(x)))                # (N, cardinality · d, H, W)
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(x + self.bn3(self.conv3(y)))         # (N, channels, H, W)
        ### END SOLUTION

# %% tags=["check:grouped_bottleneck"]
check("grouped_bottleneck", GroupedBottleneck)

# %% [markdown]
# **Predict.** ResNet's bottleneck on 256 channels has 64 channels in the middle and 69,632 weights. With the same
# budget, how wide can the middle be with 1, 4, 32 paths?

# %%
def grouped_weights(cardinality, d, channels=256):
    """The weights of a block's three convolutions."""
    block = GroupedBottleneck(channels, cardinality, d)
    return sum(p.numel() for p in block.parameters() if p.ndim == 4)


budget = {(c, d): grouped_weights(c, d) for c, d in [(1, 64), (2, 40), (4, 24), (8, 14), (32, 4)]}
for (cardinality, d), weights in budget.items():
    print(f"{cardinality:3} paths of {d:2} channels: {cardinality * d:4} in the middle, {weights:,} weights")

# %% [markdown]
# These are the pairs of the paper's table 2, all near 70,000 weights. With 32 paths the middle is twice as wide as
# with one. On ImageNet ResNeXt-50 (32 paths of 4) has 22.2 % top-1 error, where the authors' ResNet-50, with as many
# parameters, has 23.9 %. At twice the cost, too, more paths helped more than more depth or more width.

# %% [markdown]
# ## Gates: squeeze and excitation
#
# A convolution sees its window. It does not know whether the image is a landscape or a face. Jie Hu, Li Shen and Gang
# Sun (2018) give each channel a **gate** between 0 and 1 that depends on the whole image:
#
# 1. **squeeze**: the mean of each channel over all places, C numbers;
# 2. **excitation**: a fully connected layer to C/r numbers, ReLU, one back to C, sigmoid; r is the **reduction**;
# 3. **scale**: each channel is multiplied by its gate.
#
# It can stand after any block's last batch norm, before the addition. An ensemble of networks with such gates (r = 16)
# won the ImageNet challenge of 2017, the last one: 2.25 % top-5 error.

# %% [markdown]
# ### Exercise: squeeze and excitation
#
# Write the module `SqueezeExcitation(channels, reduction)`.
#
# - two layers `nn.Linear` with biases: from `channels` to `channels // reduction`, and back. `channels` is a multiple
#   of `reduction`;
# - `forward(x)`: x (N, channels, H, W), any H and W. Take the mean over height and width; first layer, ReLU, second
#   layer, sigmoid; multiply each channel of x by its gate. Return the same shape as x, which is not
#   changed.

# %% tags=["exercise:squeeze_excitation"]
class SqueezeExcitation(nn.Module):
    """A gate for each channel, from the means of all channels (Hu et al., 2018)."""

    def __init__(self, channels, reduction):
        super().__init__()
        ### BEGIN SOLUTION
        self.down = nn.Linear(channels, channels // reduction)
        self.up = nn.Linear(channels // reduction, channels)
        ### END SOLUTION

    def forward(self, x):
        """x (N, channels, H, W).  Returns the same shape."""
        ### BEGIN SOLUTION
        means = x.mean(dim=(2, 3))                                       # (N, C)
        gates = torch.sigmoid(self.up(F.relu(self.down(means))))         # (N, C)
        return x * gates[:, :, None, None]
        ### END SOLUTION

# %% tags=["check:squeeze_excitation"]
check("squeeze_excitation", SqueezeExcitation)

# %% [markdown]
# **Predict.** ResNet-50 has 16 blocks, whose outputs have 256, 512, 1024 and 2048 channels. A gate for each, with
# r = 16: by how much do parameters and multiply-adds grow?

# %%
with torch.device("meta"):
    gates = [SqueezeExcitation(c, 16) for c in [256] * 3 + [512] * 4 + [1024] * 6 + [2048] * 3]
gate_parameters = sum(p.numel() for gate in gates for p in gate.parameters())
gate_products = sum(p.numel() for gate in gates for p in gate.parameters() if p.ndim == 2)
print(f"{gate_parameters:,} parameters more: {25_557_032:,} become {25_557_032 + gate_parameters:,}, "
      f"{gate_parameters / 25_557_032:.0%} more")
print(f"{gate_products:,} multiply-adds more, {gate_products / 3_857_973_248:.2%} of ResNet-50's; "
      f"{gate_products / gate_parameters:.1%} of the parameters are multiplied, once each")

# %% [markdown]
# A tenth more parameters, and hardly any work: each weight of a gate is used once per image, and not at every place.
# (Scaling the maps costs one multiplication for each value; like all elementwise operations it is not counted here.)
# In the paper the top-1 error of ResNet-50 falls from 24.80 to 23.29 %, that of ResNet-101 to 22.38 %.

# %% [markdown]
# ## Side by side: DenseNet
#
# Notebook 13 counted the channels of a **dense block** (Gao Huang, Zhuang Liu, Laurens van der Maaten and Kilian
# Weinberger, 2017): each layer reads everything before it, and adds `growth` channels to what there is. ("Dense" means
# the many connections between layers; all of them are convolutions, none is fully connected.) Here is the first block
# of DenseNet-121, a row for each layer, with what it reads.

# %%
hatches = ["", "//", "..", "xx", "--", "oo"]
fig, ax = plt.subplots(figsize=(plots.WIDTH, 2.6), layout="constrained")
for layer in range(7):
    ax.barh(-layer, 64, color="0.6", edgecolor="0.2")
    for i in range(layer):
        ax.barh(-layer, 32, left=64 + 32 * i, color="0.95", edgecolor="0.2", hatch=hatches[i])
    ax.text(70 + 32 * layer, -layer, f"{64 + 32 * layer}", va="center", fontsize=9)
ax.set_yticks([-i for i in range(7)], [*(f"layer {i} reads" for i in range(6)), "the block gives"])
ax.set(xlabel="channels", xlim=(0, 280))
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# Dark is the input of the block; plain, then hatched, the output of one layer each. Nothing is ever overwritten: what
# layer 0 found is still there, as it was, for whatever comes after the block.

# %% [markdown]
# ### Exercise: the dense block
#
# Write the module `DenseBlock(c_in, growth, layers)`.
#
# - Each of the `layers` layers is batch norm, ReLU, and a 3×3 convolution with padding 1 and no bias that gives
#   `growth` channels, in this order. It reads all channels so far: `c_in` and those of the layers before it;
# - the output of a layer is put **after** the channels it has read;
# - `forward(x)`: x (N, c_in, H, W) gives (N, c_in + layers·growth, H, W): x itself first, then the output of layer 0,
#   of layer 1, and so on. x is not changed.

# %% tags=["exercise:dense_block"]
class DenseBlock(nn.Module):
    """Layers that read everything before them (Huang et al., 2017), without bottlenecks."""

    def __init__(self, c_in, growth, layers):
        super().__init__()
        ### BEGIN SOLUTION
        self.layers = nn.ModuleList()
        for i in range(layers):
            c = c_in + i * growth
            conv = nn.Conv2d(c, growth, 3, padding=1, bias=False)
            self.layers.append(nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), conv))
        ### END SOLUTION

    def forward(self, x):
        """x (N, c_in, H, W).  Returns (N, c_in + layers · growth, H, W)."""
        ### BEGIN SOLUTION
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return x
        ### END SOLUTION

# %% tags=["check:dense_block"]
check("dense_block", DenseBlock)

# %% [markdown]
# Between two blocks a **transition** halves the channels by a 1×1 convolution, and height and width by 2×2 average
# pooling. And in DenseNet-121 a 1×1 convolution to 4·growth channels stands before each 3×3, a bottleneck once more.
#
# **Predict.** DenseNet-121 has four blocks of 6, 12, 24 and 16 layers, growth 32. Has it more or fewer parameters than
# ResNet-50 with 25.6 million?

# %%
def densenet_parameters(blocks, growth=32, classes=1000):
    """What a DenseNet with bottlenecks learns: convolutions, batch norms (two numbers a channel), the last layer."""
    c = 2 * growth
    total = 3 * c * 49 + 2 * c                                          # the stem is that of ResNet
    for block, layers in enumerate(blocks):
        for _ in range(layers):
            total += 2 * c + 4 * c * growth + 2 * 4 * growth + 9 * 4 * growth * growth
            c += growth
        if block < len(blocks) - 1:                                     # the transition
            total += 2 * c + c * (c // 2)
            c //= 2
    return total + 2 * c + c * classes + classes


dense_sizes = {121: densenet_parameters((6, 12, 24, 16)), 201: densenet_parameters((6, 12, 48, 32))}
print({f"DenseNet-{depth}": f"{parameters:,}" for depth, parameters in dense_sizes.items()})

# %% [markdown]
# Fewer than a third: 8.0 million, and still 74.4 % of the ImageNet images are classified rightly, against 76.1 % for
# ResNet-50 (torchvision's first weights, one crop). The price is memory: every layer's output has to be kept until the
# end of its block, and is read again by every later layer.

# %% [markdown]
# ## Cheaper: depthwise separable convolutions
#
# In 2017 Andrew Howard and colleagues at Google wanted a network for telephones. A convolution does two things at
# once: it compares a place with its neighbours, and it mixes channels. **MobileNet** does one after the other:
#
# - **depthwise**: a 3×3 convolution with as many groups as channels, so each channel has one filter of its own;
# - **pointwise**: a 1×1 convolution, which mixes the channels at each place.
#
# In notebook 03 the pair had 7.7 times fewer parameters than a 3×3 layer, from 64 to 64 channels and with biases.
#
# **Predict.** With 3×3 windows and many channels, how many times cheaper can the pair be, at most?

# %% [markdown]
# ### Exercise: the price of the pair
#
# Write `separable_costs(c_in, c_out, kernel_size, height, width)`, all ints. Return two ints, multiply-adds for one
# image:
#
# - a full convolution with `kernel_size` × `kernel_size` filters, from `c_in` to `c_out` channels;
# - the pair: a depthwise convolution with such windows on `c_in` channels, and the 1×1 from `c_in` to `c_out`.
#
# Stride 1, and padding that keeps `height` × `width`. Count the products with zeros at the border like all others, and
# no biases.

# %% tags=["exercise:separable_costs"]
def separable_costs(c_in, c_out, kernel_size, height, width):
    """Multiply-adds of a full convolution, and of a depthwise one with a 1×1 after it: two ints."""
    ### BEGIN SOLUTION
    places, window = height * width, kernel_size * kernel_size
    return places * window * c_in * c_out, places * (window * c_in + c_in * c_out)
    ### END SOLUTION

# %% tags=["check:separable_costs"]
check("separable_costs", separable_costs)

# %%
channels = 2 ** np.arange(2, 11)
fig, ax = plt.subplots(figsize=(6.5, 2.9), layout="constrained")
savings = {}
for k, style in [(3, "-"), (5, "--"), (7, ":")]:
    pairs = [separable_costs(int(c), int(c), k, 14, 14) for c in channels]
    savings[k] = np.array([full / pair for full, pair in pairs])
    ax.plot(channels, savings[k], style, color="0.2", linewidth=2, label=f"{k}×{k}")
    ax.axhline(k * k, color="0.8", linewidth=1)
ax.set(xscale="log", xlabel="channels, in and out", ylabel="times cheaper")
ax.set_xticks(channels, channels)
ax.minorticks_off()
ax.legend(frameon=False)
plt.show()
print({k: f"{s[-1]:.1f} times at 1024 channels" for k, s in savings.items()})

# %% [markdown]
# The price falls to $\frac{1}{C_\text{out}} + \frac{1}{k^2}$ of the full one, for k×k windows. So 3×3 windows become
# at most nine times cheaper (grey lines: $k^2$), however many channels there are: then nearly all of the work is in
# the 1×1. Larger windows are nearly free, which is why later networks for telephones often have 5×5.

# %% [markdown]
# ### Exercise: the block of MobileNet
#
# Write the module `DepthwiseSeparable(c_in, c_out, stride=1)`.
#
# - 3×3 depthwise convolution on `c_in` channels **with the stride** and padding 1, batch norm, ReLU; 1×1 convolution
#   from `c_in` to `c_out` channels, batch norm, ReLU. No biases in the convolutions, and no skip;
# - `forward(x)`: x (N, c_in, H, W) gives (N, c_out, H', W').

# %% tags=["exercise:depthwise_separable"]
class DepthwiseSeparable(nn.Module):
    """A depthwise 3×3 and a 1×1 convolution, each with batch norm and ReLU (Howard et al., 2017)."""

    def __init__(self, c_in, c_out, stride=1):
        super().__init__()
        ### BEGIN SOLUTION
        self.depthwise = nn.Conv2d(c_in, c_in, 3, stride=stride, padding=1, groups=c_in, bias=False)
        self.bn1 = nn.BatchNorm2d(c_in)
        self.pointwise, self.bn2 = nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out)
        ### END SOLUTION

    def forward(self, x):
        """x (N, c_in, H, W).  Returns (N, c_out, H', W')."""
        ### BEGIN SOLUTION
        x = F.relu(self.bn1(self.depthwise(x)))            # (N, c_in, H', W')
        return F.relu(self.bn2(self.pointwise(x)))         # (N, c_out, H', W')
        ### END SOLUTION

# %% tags=["check:depthwise_separable"]
check("depthwise_separable", DepthwiseSeparable)

# %% [markdown]
# MobileNet is a stem (3×3 with stride 2, 32 channels), thirteen such blocks, the mean, and a fully connected layer.
#
# **Predict.** Which part of its multiply-adds is in the 1×1 convolutions?

# %%
MOBILENET = [(32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2),
             *[(512, 512, 1)] * 5, (512, 1024, 2), (1024, 1024, 1)]


def mobilenet(classes=1000):
    """MobileNet v1 for images of 224×224."""
    stem = [nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    blocks = [DepthwiseSeparable(*row) for row in MOBILENET]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, classes))


with torch.device("meta"):
    table = summary(mobilenet(), (3, 224, 224))
mobile_work = {kind: sum(row.multiply_adds for row in table.rows if test(row.kind)) for kind, test in {
    "1×1": lambda kind: kind.startswith("conv 1×1"), "depthwise": lambda kind: "groups" in kind,
    "rest": lambda kind: not kind.startswith("conv 1×1") and "groups" not in kind}.items()}
print(f"{table.parameters:,} parameters, {table.multiply_adds:,} multiply-adds")
print({kind: f"{work / table.multiply_adds:.1%}" for kind, work in mobile_work.items()})

# %% [markdown]
# 569 million multiply-adds, a seventh of ResNet-50's, and 95 % of them in the 1×1 convolutions. The paper compares
# with the same network made of full 3×3 convolutions: 4,866 million, and 71.7 % instead of 70.6 % top-1. A ninth of the
# work, for one point of accuracy.

# %% [markdown]
# ## Multiply-adds are not seconds
#
# With nine times fewer multiply-adds one expects to be nine times faster. Let us measure, on one core of this machine:
# a full 3×3 convolution, the depthwise one, and the 1×1.
#
# **Predict.** With 64 channels the depthwise convolution makes 12 % of the pair's multiply-adds. Which part of the
# pair's time does it take?

# %%
measured = {}
for channels, side in [(64, 56), (128, 28)]:
    image = torch.randn(1, channels, side, side)
    layers = [nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.Conv2d(channels, channels, 1, bias=False),
              nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)]
    with torch.inference_mode():
        full, pointwise, depthwise = (median_seconds(layer, image, budget=0.3) for layer in layers)
    work = separable_costs(channels, channels, 3, side, side)
    measured[channels] = work[0] / work[1], full / (pointwise + depthwise), 9 / (9 + channels), depthwise / (
        pointwise + depthwise)
    print(f"{channels} channels, {side}×{side}: {measured[channels][0]:.1f} times fewer multiply-adds, "
          f"{measured[channels][1]:.1f} times faster; depthwise: {measured[channels][2]:.0%} of the work, "
          f"{measured[channels][3]:.0%} of the time")

# %% [markdown]
# The pair is faster, but by far less than the count says, and the depthwise part takes a much larger share of the time
# than of the work. The reason is the **arithmetic intensity** of notebook 04. Reading an image from memory takes the
# same time, whatever is done with it:

# %%
values = 2 * 128 * 28 * 28                                             # of the input and the output
intensity = {"full": separable_costs(128, 128, 3, 28, 28)[0] / (values + 9 * 128 * 128),
             "depthwise": 9 * 128 * 28 * 28 / (values + 9 * 128)}
print("multiply-adds for each number read or written:", {name: round(value, 1) for name, value in intensity.items()})

# %% [markdown]
# The full convolution has 332 multiply-adds for each number that is moved, so the processor is busy. The depthwise one
# has 4.5, so the processor waits for memory. (Notebook 04 has operations per byte: two for each multiply-add, and in
# float32 four bytes for each number, so half of these figures.)
#
# GoogLeNet's modules show the same from the other side. For each of them (notebook 12) the table has the cost of the
# naive module, without bottlenecks on the same input, over that of the real one: multiply-adds and time.

# %%
inception = results.load("inception_costs")
real, naive = (inception["kind"] == kind for kind in ("bottlenecks", "naive"))
more_work = inception["multiply_adds"][naive] / inception["multiply_adds"][real]
more_time = inception["time"][naive]
fig, ax = plt.subplots(figsize=(4.6, 3.2), layout="constrained")
ax.plot([1, 6], [1, 6], ":", color="0.6", label="as the count says")
ax.plot(more_work, more_time, "o", color="tab:orange", markeredgecolor="0.2")
for name, x, y in zip(inception["module"][naive], more_work, more_time):
    ax.annotate(name, (x, y), xytext=(5, -3), textcoords="offset points", fontsize=8)
ax.set(xlabel="times the multiply-adds", ylabel="times the seconds", xlim=(1, 6), ylim=(1, 6))
ax.legend(frameon=False)
plt.show()
print(f"{inception.command}; {inception.device}; {inception.date}")

# %% [markdown]
# All points lie below the line: bottlenecks save less time than multiply-adds. More and smaller layers have more to
# read, to write and to start. A count is a property of the network; seconds belong to a network, a
# library and a machine together. Report both.

# %% [markdown]
# ## Inverted: MobileNet v2
#
# ResNet's bottleneck is wide, narrow, wide, with the skip between the wide ends. Mark Sandler and colleagues (2018)
# turn it round: narrow, wide, narrow. What is kept and carried along is small, which saves memory; the work is done on
# many channels, by a depthwise convolution, which is cheap. And the last 1×1 has **no** activation: they call it a
# linear bottleneck.

# %%
fig, axes = plt.subplots(1, 2, figsize=(plots.WIDTH, 2.6), layout="constrained")
draw_channels(axes[0], [("in", 256, False), ("1×1", 64, False), ("3×3", 64, False), ("1×1", 256, False)],
              "bottleneck: the skip joins wide ends")
draw_channels(axes[1], [("in", 24, False), ("1×1", 144, False), ("3×3, depthwise", 144, True), ("1×1", 24, False)],
              "inverted residual: the skip joins narrow ends")
plt.show()

# %% [markdown]
# Why no activation at the narrow end? The experiment is theirs: a spiral of points in the plane goes through a random
# matrix into n channels, through ReLU, and back by the inverse of the matrix (for n > 2 its pseudo-inverse).
#
# **Predict.** With n = 2 and with n = 30 channels: what is left of the spiral?

# %%
turn = np.linspace(0, 5 * np.pi, 400)
spiral = np.stack([turn * np.cos(turn), turn * np.sin(turn)]) / turn.max()      # (2, 400)
fig, axes = plt.subplots(1, 5, figsize=(plots.WIDTH, 1.9), layout="constrained")
lost = {}
for ax, n in zip(axes, (None, 2, 3, 5, 30)):
    back = spiral
    if n:
        into = np.random.default_rng(5).normal(size=(n, 2))
        back = np.linalg.pinv(into) @ np.maximum(into @ spiral, 0)              # (2, 400)
        back *= (spiral * back).sum() / (back**2).sum()                         # ReLU halves it; compare the shapes
        lost[n] = float(((back - spiral)**2).sum() / (spiral**2).sum())
    ax.plot(*back, color="0.2", linewidth=1.2)
    ax.set(xticks=[], yticks=[], aspect="equal", title=f"n = {n}" if n else "spiral")
plt.show()
print({f"n = {n}": f"{share:.0%} of the variance lost" for n, share in lost.items()})

# %% [markdown]
# With few channels ReLU destroys: whole parts of the plane become one line or one point, and no later layer can tell
# them apart. With 30 channels each direction survives in some of them. So ReLU belongs where the block is wide.
#
# The activation inside is **ReLU6**, min(max(x, 0), 6): bounded numbers suit arithmetic of few bits on a telephone.

# %% [markdown]
# ### Exercise: the inverted residual
#
# Write the module `InvertedResidual(c_in, c_out, stride=1, expansion=6)`. Let m be `expansion·c_in`.
#
# - Body: 1×1 convolution from `c_in` to m channels, batch norm, ReLU6 (left out, all three, if `expansion` is 1); 3×3
#   depthwise convolution on m channels **with the stride** and padding 1, batch norm, ReLU6; 1×1 from m to `c_out`,
#   batch norm. No biases in the convolutions;
# - the input is added if the stride is 1 **and** `c_in` equals `c_out`. Otherwise the block gives what the body gives.
#   Nothing follows the addition;
# - `forward(x)`: x (N, c_in, H, W) gives (N, c_out, H', W') and is not changed.

# %% tags=["exercise:inverted_residual"]
class InvertedResidual(nn.Module):
    """Narrow, wide, narrow, with a linear end (Sandler et al., 2018)."""

    def __init__(self, c_in, c_out, stride=1, expansion=6):
        super().__init__()
        ### BEGIN SOLUTION
        m, parts = expansion * c_in, []
        if expansion != 1:
            parts += [nn.Conv2d(c_in, m, 1, bias=False), nn.BatchNorm2d(m), nn.ReLU6()]
        parts += [nn.Conv2d(m, m, 3, stride=stride, padding=1, groups=m, bias=False), nn.BatchNorm2d(m), nn.ReLU6()]
        parts += [nn.Conv2d(m, c_out, 1, bias=False), nn.BatchNorm2d(c_out)]
        self.body = nn.Sequential(*parts)
        self.skip = stride == 1 and c_in == c_out
        ### END SOLUTION

    def forward(self, x):
        """x (N, c_in, H, W).  Returns (N, c_out, H', W')."""
        ### BEGIN SOLUTION
        y = self.body(x)
        return x + y if self.skip else y
        ### END SOLUTION

# %% tags=["check:inverted_residual"]
check("inverted_residual", InvertedResidual)

# %%
MOBILENET_V2 = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
                (6, 320, 1, 1)]


def mobilenet_v2(classes=1000):
    """MobileNet v2: rows of (expansion, channels, blocks, stride of the first)."""
    parts, c_in = [nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU6()], 32
    for expansion, c_out, blocks, stride in MOBILENET_V2:
        for i in range(blocks):
            parts.append(InvertedResidual(c_in, c_out, stride if i == 0 else 1, expansion))
            c_in = c_out
    parts += [nn.Conv2d(c_in, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU6()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, classes))


with torch.device("meta"):
    second = summary(mobilenet_v2(), (3, 224, 224))
print(f"{second.parameters:,} parameters, {second.multiply_adds:,} multiply-adds: "
      f"{568_740_352 / second.multiply_adds:.1f} times fewer than MobileNet v1")

# %% [markdown]
# 3.5 million parameters and 301 million multiply-adds: a little more than half of the first MobileNet's, and a better
# accuracy (71.9 % with torchvision's weights, against 70.6 % in the first paper). The counts are the published ones, so
# your block is right in its layers, the first one included, which does not expand. A count says nothing about skips:
# they cost nothing. That is why the check compares values too.

# %% [markdown]
# ## Larger by rule: EfficientNet
#
# Given a good small network, how should one enlarge it? Deeper, wider, or with larger images? Mingxing Tan and Quoc Le
# (2019) found that each alone soon stops helping, and enlarge all three together, with one exponent φ:
#
# $$\text{depth } \alpha^\varphi, \quad \text{width } \beta^\varphi, \quad \text{resolution } \gamma^\varphi .$$
#
# A search on the small network gave α = 1.2, β = 1.1, γ = 1.15.
#
# **Predict.** By how much does the cost grow with each of the three? And with one step of φ?

# %%
def cost(depth=1.0, width=1.0, resolution=1.0):
    """Multiply-adds of a 3×3 layer, repeated, over those of the plain one: full convolutions, no rounding."""
    return depth * width**2 * resolution**2


step = cost(1.2, 1.1, 1.15)
print(f"twice as deep {cost(depth=2):g}, twice as wide {cost(width=2):g}, twice the resolution {cost(resolution=2):g}")
print(f"one step of φ: {step:.2f} times the cost; seven steps: {step**7:.0f} times")

# %% [markdown]
# One step about doubles the cost; that was the condition under which the three were searched.
#
# Channels and repeats have to be whole numbers, and hardware likes multiples of 8. The published code rounds so:
#
# - **channels** times width: to the nearest multiple of 8, half way up, and at least 8. If that is **below 90 %** of
#   the wanted number, the next multiple is taken;
# - **repeats** times depth: always up.

# %% [markdown]
# ### Exercise: compound scaling
#
# Write `compound_scale(channels, repeats, width, depth)` by this rule.
#
# - `channels` and `repeats` are ints, at least 1; `width` and `depth` are floats above 0;
# - return a tuple of two ints, the new channels and the new repeats.
#
# Take the products as Python gives them.

# %% tags=["exercise:compound_scale"]
def compound_scale(channels, repeats, width, depth):
    """Channels times width, a multiple of 8, and repeats times depth, rounded up: two ints."""
    ### BEGIN SOLUTION
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    if rounded < 0.9 * wanted:
        rounded += 8
    return rounded, int(np.ceil(repeats * depth))
    ### END SOLUTION

# %% tags=["check:compound_scale"]
check("compound_scale", compound_scale)

# %% [markdown]
# B0 is the small network: seven stages of inverted residuals with squeeze and excitation. The factors below are those
# of the released networks B1 to B7, roughly powers of α, β and γ.

# %%
B0 = {"channels": (16, 24, 40, 80, 112, 192, 320), "repeats": (1, 2, 2, 3, 3, 4, 1)}
RELEASED = {"B0": (1.0, 1.0, 224), "B1": (1.0, 1.1, 240), "B2": (1.1, 1.2, 260), "B3": (1.2, 1.4, 300),
            "B4": (1.4, 1.8, 380), "B5": (1.6, 2.2, 456), "B6": (1.8, 2.6, 528), "B7": (2.0, 3.1, 600)}
scaled = {}
print("     width  depth  image  channels of the stages            blocks")
for name, (width, depth, image) in RELEASED.items():
    rows = [compound_scale(c, r, width, depth) for c, r in zip(B0["channels"], B0["repeats"])]
    scaled[name] = tuple(c for c, _ in rows), sum(r for _, r in rows)
    print(f"{name} {width:7} {depth:6} {image:6}  {str(scaled[name][0])[1:-1]:33} {scaled[name][1]}")

# %% [markdown]
# Look at B1: depth 1.1 makes two repeats of one in the first stage, since repeats are rounded up, and its channels are
# those of B0. B7 has 55 blocks and images of 600×600. B0 was itself found by a search, to which we come after a look
# at all networks together.

# %% [markdown]
# ## The chart
#
# Alfredo Canziani, Adam Paszke and Eugenio Culurciello (2016) drew accuracy against operations, with discs whose area
# is the number of parameters. Here is their chart with the networks of this course. Parameters and multiply-adds are
# our own counts. Accuracies are published ones, top-1 on ImageNet with a single crop: torchvision's first weights, or
# the paper's figure where it has none. The table has the source of each.
#
# **Predict.** Where will VGG lie? Which of the new networks lie furthest to the left, which highest?

# %%
NAMES_AT = {"AlexNet": (0.45, 58.5), "ZFNet": (3.8, 64.5), "VGG": (33, 69), "VGG with batch norm": (46, 75.2),
            "GoogLeNet": (1.0, 67.5), "Inception-v3": (3.1, 80.3), "ResNet": (2.7, 69.5), "Wide ResNet": (40, 77.6),
            "ResNeXt": (9, 81), "SE-ResNet": (2, 78.6), "DenseNet": (1.5, 76), "MobileNet v1": (0.13, 67.5),
            "MobileNet v2": (0.19, 74.5), "NASNet-A": (42, 80.3), "EfficientNet": (0.9, 83.5)}


def draw_chart(ax, table):
    """Accuracy against multiply-adds: a disc for each network, a line through each family, its name beside it."""
    known = ~np.isnan(table["top1"])
    for family in dict.fromkeys(table["family"][known]):
        rows = np.flatnonzero(known & (table["family"] == family))
        rows = rows[np.argsort(table["multiply_adds"][rows])]
        x, y = table["multiply_adds"][rows] / 1e9, table["top1"][rows]
        ax.plot(x, y, "-", color="0.6", linewidth=1, zorder=1)
        ax.scatter(x, y, s=table["parameters"][rows] / 2e5, facecolor="0.85", edgecolor="0.2", alpha=0.8, zorder=2)
        ax.plot(x, y, ".", color="0.1", markersize=3, zorder=3)
        at = NAMES_AT.get(family, (x[0], y[0] - 2))
        near = np.argmin(np.hypot(10 * np.log(x / at[0]), y - at[1]))
        ax.annotate(family, (x[near], y[near]), at, ha="center", va="center", fontsize=9, zorder=4,
                    arrowprops={"arrowstyle": "-", "color": "tab:orange", "linewidth": 1})

# %%
costs = results.load("network_costs")
fig, ax = plt.subplots(figsize=(plots.WIDTH, 5), layout="constrained")
ax.set_xscale("log")
draw_chart(ax, costs)
for million, x in [(10, 2.6), (50, 5), (140, 10)]:
    ax.scatter(x, 54.5, s=million * 5, facecolor="0.85", edgecolor="0.2", zorder=2)
    ax.text(x, 50.3, f"{million} M" + " parameters" * (million == 140), ha="center", fontsize=8)
ax.set_xticks([0.03, 0.1, 0.3, 1, 3, 10, 30], [0.03, 0.1, 0.3, 1, 3, 10, 30])
ax.minorticks_off()
ax.grid(color="0.93")
ax.set(xlim=(0.025, 100), ylim=(49, 88), xlabel="10⁹ multiply-adds for one image", ylabel="top-1 accuracy in %")
plt.show()
print(f"{costs.command}; {costs.device}; {costs.date}")

# %% [markdown]
# VGG lies on the right, with the largest discs: dear, and passed by networks with a tenth of its cost. (Batch norm
# raises its accuracy, and costs nothing that is counted here.) The families form a front that rises from the MobileNets
# on the left to EfficientNet: no other network here is both cheaper and better than one of these eight.
#
# Note that the axis is logarithmic. From B0 to B4 EfficientNet gains 5.7 points for eleven times the work, from B4 to
# B7 another 0.7 points for nine times the work.

# %% [markdown]
# How to read it with care:
#
# - the networks were not trained alike. EfficientNet's accuracy includes years of better augmentation and longer
#   training; torchvision's second weights for the *same* ResNet-50 reach 80.9 % instead of 76.1 %;
# - the size of the image differs: 224×224 for most, 600×600 for EfficientNet-B7 (and for B2 288×288, not 260×260);
# - all were chosen by looking at the same 50,000 validation images, for years;
# - multiply-adds are not seconds, parameters are not memory.
#
# The cost of one image, for the networks of notebooks 08 to 14 (`no_heads`: without the heads that help in training,
# notebook 12; `v1_5`: the usual ResNet today, with the stride of a bottleneck in its 3×3 convolution):

# %%
SHOWN = ["lenet", "cifar_resnet20", "cifar_resnet110", "efficientnet_b0", "mobilenet_v2", "mobilenet_v1", "alexnet",
         "nasnet_mobile", "zfnet", "googlenet_no_heads", "resnet18", "densenet121", "resnet34", "se_resnet50",
         "resnet50_v1_5", "resnext50_32x4d", "efficientnet_b4", "inception_v3_no_heads", "resnet101_v1_5",
         "wide_resnet50_2", "resnet152_v1_5", "vgg16", "vgg19", "efficientnet_b7"]
place = {name: i for i, name in enumerate(costs["network"])}
shown = sorted((name for name in SHOWN if name in place), key=lambda name: costs["multiply_adds"][place[name]])
fig, ax = plt.subplots(figsize=(plots.WIDTH, 4.8), layout="constrained")
for y, name in enumerate(shown):
    operations = costs["multiply_adds"][place[name]] / 1e9
    ax.barh(y, operations, color="0.8", edgecolor="0.4")
    ax.text(operations * 1.1, y, f"{operations:.3g}", va="center", fontsize=8)
ax.set_yticks(range(len(shown)), shown, fontsize=8)
ax.set(xscale="log", xlabel="10⁹ multiply-adds for one image", xlim=(2e-4, 150))
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# From LeNet to EfficientNet-B7 the cost of one image grows by a factor of about ninety thousand. And between
# networks of about the same accuracy there is easily a factor of ten. This is what the blocks of this notebook are for.

# %% [markdown]
# ## Learning architectures
#
# So many choices, and all were made by people. Could a program make them? Barret Zoph and Quoc Le (2017) let a
# recurrent network propose networks and trained it by **reinforcement learning**, with the accuracy as reward. To make
# that affordable, **NASNet** (Zoph, Vasudevan, Shlens and Le, 2018) searches for two small
# *cells* on small images, and repeats them: the repetition is taken from people's networks.
#
# Esteban Real, Alok Aggarwal, Yanping Huang and Quoc Le (2019) found **evolution** to do as well. Theirs is simple
# enough for us.

# %% [markdown]
# A network is a tuple of whole numbers, its genes. A population of them is kept, oldest first. One step:
#
# 1. a few networks are drawn from the population, the **sample**; the best of them is the parent;
# 2. the child is a copy of the parent in which one gene is changed. It is trained and scored;
# 3. the child joins the population, and the **oldest** network leaves, however good it is.
#
# **Predict.** Why the oldest, and not the worst?

# %% [markdown]
# A network may have been lucky in its one training. If only the worst leave, it stays for ever. Here every network dies
# soon, and what is good has to prove it again in its children.

# %% [markdown]
# ### Exercise: a step of evolution
#
# Write `evolution_step(population, scores, sample, gene, value)`.
#
# - `population` is a tuple of networks, the oldest first, each a tuple of ints; `scores` is a tuple with the score of
#   each; `sample` is a tuple of different places in the population;
# - the parent is the one with the highest score among those in the sample, of equal ones the first in `sample`;
# - the child is the parent with gene number `gene` set to `value`;
# - return the new population, a tuple of tuples: without its oldest, the child at the end. Nothing that was given is
#   changed.

# %% tags=["exercise:evolution_step"]
def evolution_step(population, scores, sample, gene, value):
    """The population after one step: the best of the sample has a child, the oldest leaves."""
    ### BEGIN SOLUTION
    parent = population[max(sample, key=lambda place: scores[place])]
    child = (*parent[:gene], value, *parent[gene + 1:])
    return (*population[1:], child)
    ### END SOLUTION

# %% tags=["check:evolution_step"]
check("evolution_step", evolution_step)

# %% [markdown]
# Our search space has five genes with four values each, $4^5 = 1024$ networks for the 8×8 digits: the channels of two
# stages, the kind of block in each (3×3, 5×5, depthwise separable, inverted residual), and how often the second is
# repeated.

# %%
CHANNELS, REPEATS = ((4, 8, 16, 32), (8, 16, 32, 64)), (1, 2, 3, 4)


def full_convolution(kernel_size):
    """A function that makes a convolution with batch norm and ReLU."""
    return lambda c_in, c_out, stride: nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel_size, stride, kernel_size // 2, bias=False), nn.BatchNorm2d(c_out), nn.ReLU())


def digit_network(genes):
    """The network of five genes: widths of two stages, kinds of two stages, blocks of the second."""
    kinds = [full_convolution(3), full_convolution(5), DepthwiseSeparable,
             lambda *sizes: InvertedResidual(*sizes, expansion=4)]
    first, second = CHANNELS[0][genes[0]], CHANNELS[1][genes[1]]
    blocks = [kinds[genes[2]](first, first, 1), kinds[genes[3]](first, second, 2)]
    blocks += [kinds[genes[3]](second, second, 1) for _ in range(REPEATS[genes[4]] - 1)]
    return nn.Sequential(full_convolution(3)(1, first, 1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(second, 10))

# %% [markdown]
# What is a good network? One that is accurate *and* cheap. In the search that found B0, as in MnasNet (Tan and others,
# 2019), the accuracy is multiplied by a power of the cost over a target. Our target is 100,000 multiply-adds:
#
# $$\text{score} = \text{accuracy} \cdot \left(\frac{\text{cost}}{100{,}000}\right)^{-0.07}$$
#
# Twice the cost is worth it if the accuracy grows by 5 % of itself, from 0.90 to 0.945, say.

# %%
def split_digits():
    """The digits as pairs (images, labels): 1,097 to train on, 350 to choose by, 350 to test."""
    images, labels = digits()
    images = (images * 255 / 16).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images))
    return [(images[part], labels[part]) for part in (order[:1097], order[1097:1447], order[1447:])]


def search_score(accuracy, multiply_adds):
    """The accuracy, worth less where the cost is high."""
    return accuracy * (multiply_adds / 100_000) ** -0.07


def train_and_score(genes):
    """Train a network for four epochs and score it on the validation images."""
    torch.manual_seed(0)
    net = digit_network(genes)
    history = train(net, train_set, validation_set, Recipe(epochs=4, batch_size=64, lr=0.1), quiet=True)
    return search_score(history.score[-1], summary(net, (1, 8, 8)).multiply_adds)

# %%
def evolve(score, budget, rng, size=10, tournament=5):
    """Score `budget` different networks, random ones first, then children.  Returns {network: score}, in order."""
    known = random_search(score, size, rng)
    population = tuple(known)
    for _ in range(50 * budget):                           # a child may be one that is known; then nothing is trained
        if len(known) == budget:
            break
        sample = tuple(int(i) for i in rng.permutation(size)[:tournament])
        scores = tuple(known[network] for network in population)
        population = evolution_step(population, scores, sample, int(rng.integers(5)), int(rng.integers(4)))
        if (child := tuple(population[-1])) not in known:
            known[child] = score(child)
    return known


def random_search(score, budget, rng):
    """Score `budget` different networks drawn at random.  Returns {network: score}, in order."""
    known = {}
    while len(known) < budget:
        genes = tuple(int(g) for g in rng.integers(4, size=5))
        if genes not in known:
            known[genes] = score(genes)
    return known

# %% [markdown]
# Now the search runs: 10 random networks, then children, 25 networks in all, each trained on the digits. It takes some
# fifteen seconds.
#
# **Predict.** By how much will the best of the 25 beat the best of the 10 random ones? Which kind of block
# will win?

# %%
train_set, validation_set, test_set = split_digits()
START, BUDGET = (3, 5) if quick() else (10, 25)            # a few only while nbgrader grades: nobody is looking
found = evolve(train_and_score, BUDGET, np.random.default_rng(31), size=START)
history = np.array(list(found.values()))
best = max(found, key=found.get)
fig, ax = plt.subplots(figsize=(6.5, 2.9), layout="constrained")
ax.plot(range(1, len(history) + 1), history, "o", color="0.75", markeredgecolor="0.3", label="a network")
ax.step(range(1, len(history) + 1), np.maximum.accumulate(history), where="post", color="tab:orange", linewidth=2,
        label="best so far")
ax.axvline(START + 0.5, color="0.6", linestyle=":")
ax.set(xlabel="networks trained", ylabel="score")
ax.legend(frameon=False, loc="lower right")
plt.show()
kinds = ("3×3", "5×5", "depthwise separable", "inverted residual")
print(f"best of the random start {history[:START].max():.3f}, best of all {history.max():.3f}: "
      f"{CHANNELS[0][best[0]]} channels, {kinds[best[2]]}; "
      f"{CHANNELS[1][best[1]]} channels, {REPEATS[best[4]]} times {kinds[best[3]]}")
print(f"mean of the random start {history[:START].mean():.2f}, of the children {history[START:].mean():.2f}")

# %% [markdown]
# Left of the dotted line the random start, right of it the children. They are better on average, since their parents
# are, and the best of them beats the best of the start by a few hundredths. The line below the figure names the
# winner's blocks; this is one run with one seed, and another gives another winner.

# %% [markdown]
# Does evolution deserve the credit? Twenty-five *random* networks also have a better best than ten. The honest
# comparison is **random search with the same budget**, over many runs. With trained networks this would take hours. But
# all 1,024 networks have been trained once and put into a table (the idea of NAS-Bench-101, Ying and others, 2019), so
# that a search can look scores up.

# %%
tabled = results.load("digit_search")
genomes = list(zip(*(tabled[gene].tolist() for gene in ("width1", "width2", "kind1", "kind2", "repeats"))))
table_scores = dict(zip(genomes, search_score(tabled["validation"], tabled["multiply_adds"]).tolist()))
print(f"{len(genomes)} networks; {tabled.command}; {tabled.device}; {tabled.date}")

# %%
RUNS = 10 if quick() else 300
curves = {name: np.array([np.maximum.accumulate(list(run(table_scores.get, 100, np.random.default_rng(seed)).values()))
                          for seed in range(RUNS)])                    # (RUNS, 100): the best score so far
          for name, run in [("evolution", evolve), ("random search", random_search)]}
fig, ax = plt.subplots(figsize=(6.5, 2.9), layout="constrained")
for (name, runs), style, colour in zip(curves.items(), ("-", "--"), ("tab:orange", "0.2")):
    ax.plot(range(1, 101), runs.mean(0), style, color=colour, linewidth=2, label=name)
ax.axhline(max(table_scores.values()), color="0.6", linestyle=":", label="the best network there is")
ax.set(xlabel="networks scored", ylabel="best score so far, mean of the runs", ylim=(0.84, None))
ax.legend(frameon=False, loc="lower right")
plt.show()
evolved, drawn = curves.values()
better, worse = (float((sign * (evolved - drawn)[:, -1] > 0).mean()) for sign in (1, -1))
needed = 1 + int(np.argmax(evolved.mean(0) >= drawn.mean(0)[-1]))
print(f"{RUNS} runs each, after 100 networks: evolution {evolved[:, -1].mean():.3f}, random search "
      f"{drawn[:, -1].mean():.3f}; evolution better in {better:.0%} of the runs, worse in {worse:.0%}")
print(f"evolution is after {needed} networks where random search is after 100; after 25 it beats its own start in "
      f"{(evolved[:, 24] > evolved[:, 9]).mean():.0%} of the runs")

# %% [markdown]
# Both begin alike, with ten random networks. Then evolution is ahead: on average 41 networks bring it as far as 100
# bring random search. But a single run says little: after 100 networks evolution is better in 69 % of the pairs of
# runs, and worse in 22 %. Published searches often left this comparison out; where it was made, random search within
# the same well-chosen space was hard to beat (Li and Talwalkar, 2019). People choose the
# space, and with it much of the result.
#
# **Predict.** The winner was chosen for its accuracy on the 350 validation images. What will its accuracy be on the 350
# test images: the same, higher, lower?

# %%
accuracy = {part: dict(zip(genomes, tabled[part].tolist())) for part in ("validation", "test")}
winners = []
for seed in range(10 if quick() else 300):                             # the same runs again
    run = evolve(table_scores.get, 100, np.random.default_rng(seed))
    winners.append(max(run, key=run.get))
lead = {}
for part, of in accuracy.items():
    of_winners, of_all = np.mean([of[network] for network in winners]), np.mean(list(of.values()))
    lead[part] = of_winners - of_all
    print(f"{part:10} winners {of_winners:.1%}, all networks {of_all:.1%}")
optimism = lead["validation"] - lead["test"]
print(f"the winners' lead over the average is {100 * optimism:.1f} points smaller on the test images")

# %% [markdown]
# Lower than it looked. All networks together do slightly *better* on the test images, the winners worse: part of their
# lead was luck with these 350 images. Whoever chooses by a number may not report that number. This holds for a hundred
# networks tried by hand as well.

# %% [markdown]
# ## Pruning
#
# The other way round: train a large network, and take away what it does not need. Song Han, Jeff Pool, John Tran and
# William Dally (2015) removed nearly nine tenths of AlexNet's weights without losing accuracy, in three steps: train;
# set the weights of smallest **magnitude** to 0; train those that are left a little more (**fine-tuning**). The idea is
# older (LeCun, Denker and Solla, *Optimal brain damage*, 1990).

# %% [markdown]
# ### Exercise: which weights stay
#
# Write `magnitude_masks(keep, *weights)`.
#
# - `weights` are one or more float32 tensors of any shapes, `keep` an int from 1 to the number of all their elements;
# - the threshold is the `keep`-th largest magnitude among the elements of **all** tensors together. A weight stays if
#   its magnitude is at least the threshold (so a few more than `keep` stay if some are equal to it);
# - return a tuple of bool tensors, one for each tensor and of its shape, True where a weight stays. The tensors
#   themselves are not changed.

# %% tags=["exercise:magnitude_masks"]
def magnitude_masks(keep, *weights):
    """Which of all the weights are among the `keep` largest in magnitude: a tuple of bool tensors."""
    ### BEGIN SOLUTION
    magnitudes = torch.cat([w.abs().flatten() for w in weights])
    threshold = magnitudes.sort(descending=True).values[keep - 1]
    return tuple(w.abs() >= threshold for w in weights)
    ### END SOLUTION

# %% tags=["check:magnitude_masks"]
check("magnitude_masks", magnitude_masks)

# %% [markdown]
# A network that is larger than it need be, trained on the digits:

# %%
def large_network():
    """Four convolutions and two fully connected layers."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))


def matrices(net):
    """The weights of all layers, without biases."""
    return [p for p in net.parameters() if p.ndim > 1]

# %%
def fine_tune(net, masks, steps, lr=0.05):
    """Train the weights that are left; those taken away stay 0."""
    images, labels, random = normalise(train_set[0]), torch.tensor(train_set[1]), torch.Generator().manual_seed(0)
    optimiser = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = lr * (1 - step / steps)
        batch = torch.randint(len(labels), (64,), generator=random)
        optimiser.zero_grad()
        F.cross_entropy(net(images[batch]), labels[batch]).backward()
        optimiser.step()
        with torch.no_grad():
            for weight, mask in zip(matrices(net), masks):
                weight.mul_(mask)

# %%
torch.manual_seed(0)
large = large_network()
train(large, train_set, validation_set, Recipe(epochs=15, batch_size=64, lr=0.05), quiet=True)
trained_state = {name: value.clone() for name, value in large.state_dict().items()}
all_weights = sum(w.numel() for w in matrices(large))
print(f"{all_weights:,} weights, test accuracy {evaluate(large, test_set):.1%}")

# %% [markdown]
# **Predict.** Which share of the weights can go before the accuracy falls, without fine-tuning and with it? And if
# weights are taken away at random instead?

# %%
def prune(share, chosen, steps):
    """The accuracies of the trained network with this share of weights, before and after fine-tuning."""
    large.load_state_dict(trained_state)
    weights = matrices(large)
    if chosen == "random":                                             # masks of random numbers in place of weights
        weights = [torch.rand(w.shape, generator=torch.Generator().manual_seed(i)) for i, w in enumerate(weights)]
    masks = magnitude_masks(round(share * all_weights), *(w.detach() for w in weights))
    with torch.no_grad():
        for weight, mask in zip(matrices(large), masks):
            weight.mul_(mask)
    before = evaluate(large, test_set)
    fine_tune(large, masks, steps)
    return before, evaluate(large, test_set), [float(mask.float().mean()) for mask in masks]

# %%
shares = [0.5, 0.1] if quick() else [1, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02]
STEPS = 2 if quick() else 100                                          # of fine-tuning
pruned = {chosen: [prune(share, chosen, STEPS) for share in shares] for chosen in ("magnitude", "random")}
fig, ax = plt.subplots(figsize=(plots.WIDTH, 3.2), layout="constrained")
for chosen, colour in [("magnitude", "tab:orange"), ("random", "0.35")]:
    for i, (when, style) in enumerate([("before", "o:"), ("after", "s-")]):
        ax.plot(np.multiply(100, shares), [100 * result[i] for result in pruned[chosen]], style, color=colour,
                markeredgecolor="0.2", label=f"{chosen}, {when} fine-tuning")
ax.set(xscale="log", xlabel="weights kept, in %", ylabel="test accuracy in %", ylim=(0, 102))
ax.set_xticks([2, 5, 10, 20, 50, 100], [2, 5, 10, 20, 50, 100])
ax.minorticks_off()
ax.invert_xaxis()
ax.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()
for i, share in enumerate(shares):
    print(f"{share:4.0%}:", "; ".join(f"{chosen} {result[i][0]:6.1%} → {result[i][1]:6.1%}"
                                      for chosen, result in pruned.items()))

# %% [markdown]
# By magnitude nine tenths of the weights can go at a loss of a few points. With one weight in twenty left the network
# gets half of the images wrong; a little training of what is left brings it back to within three points. At random,
# half of the weights are already too many: before fine-tuning most of the answers are wrong, and with a fifth left
# even fine-tuning does not mend it. So it matters *which* weights go, and size is a good guess.
#
# (With 350 test images, differences of a point or two mean little.)

# %%
kept_by_layer = prune(0.1, "magnitude", steps=0)[2]
for weight, share in zip(matrices(large), kept_by_layer):
    print(f"{str(tuple(weight.shape)):18} {weight.numel():6,} weights, {share:5.1%} kept")

# %% [markdown]
# One threshold for all, and the layers keep very different shares. The first, small one,
# on which everything depends, keeps almost four fifths; the large fully connected one keeps 7 %. Nobody had to choose
# these numbers.
#
# What is gained? Zeros in a weight tensor save nothing by themselves: a convolution multiplies by 0 as slowly as by
# anything else. Weights that are 0 take little room in a file; for speed one takes away whole channels, or uses
# hardware made for it.

# %% [markdown]
# Two findings that should make one think. Jonathan Frankle and Michael Carbin (2019) put the surviving weights back to
# their values from *before* training; trained from there, the small network does as well as the large one
# (the **lottery ticket**), but not from other first weights. And Zhuang Liu and colleagues (2019) found that where
# whole channels are taken away, the small network trained from scratch is as good: then pruning had found an
# architecture, which is again a search.

# %% [markdown]
# ## And without convolutions?
#
# Alexey Dosovitskiy and colleagues (2021) cut an image into patches of 16×16 pixels, turn each into a vector, and from
# there on use what was made for language: layers of **attention**, in which each patch reads all others. This **vision
# transformer** (ViT) gives up locality, except in its first layer: a patch may read any other from the start.
#
# **Predict.** Which layer that you know cuts an image into patches of 16×16 and multiplies each by the same matrix?

# %%
torch.manual_seed(0)
patches = nn.Conv2d(3, 768, 16, stride=16)                             # 16×16 filters that do not overlap
tokens = patches(torch.randn(1, 3, 224, 224)).flatten(2).transpose(1, 2)                  # (1, 196, 768)
width, hidden, count = 768, 3072, tokens.shape[1] + 1                  # one more: the token that is classified
block = 2 * 2 * width + 4 * (width * width + width) + 2 * width * hidden + hidden + width
vit = sum(p.numel() for p in patches.parameters()) + width + count * width + 12 * block + 2 * width + 769 * 1000
print(f"{tokens.shape[1]} patches of {tokens.shape[2]} numbers; ViT-B/16 has {vit:,} parameters")

# %% [markdown]
# A convolution with stride 16. That neighbours belong together, which convolution builds in, a transformer has to learn
# from data. Trained on ImageNet alone it did worse than a ResNet of its size; after training on 300 million images it
# did better. Notebook 01 gives the reason: what is built in need not be learned. With enough data it need not be built
# in.

# %% [markdown] tags=["written:accuracy_and_cost:4"]
# ## In your own words
#
# A colleague chooses a network for an app that recognises plants on telephones: *"Network B has half the multiply-adds
# of A, a third of its parameters, and one point more top-1 accuracy on ImageNet. So on the telephone it will be twice
# as fast, need a third of the memory, and know more plants."*
#
# Judge the three conclusions, with what you saw in this notebook. Then say what you would measure before you decide.
# Ten sentences are enough.
#
# <!-- BEGIN SOLUTION -->
# **Answer.**
#
# Speed: multiply-adds are not seconds. Layers with few multiply-adds for each number they move (depthwise and 1×1
# convolutions, gates, concatenations) wait for memory; here a depthwise convolution took a far larger share of a pair's
# time than of its work. B may be faster, but by how much depends on the telephone and its library.
#
# Memory: parameters are what has to be stored. While it runs a network also needs its activations, which depend on the
# size of the image and on what must be kept (a DenseNet has few parameters and needs much).
#
# Accuracy: the two figures may come from different trainings (augmentation, epochs, size of the image), which make
# several points for the same network. One point on validation images at which everybody has looked for years is
# little, and plants are not ImageNet: it need not carry over.
#
# I would measure: seconds for one image and peak memory on the telephone itself, with its library; accuracy on
# photographs of plants like those of the app, kept apart from training, after training both networks in the same way;
# with several seeds, to see which differences are larger than chance.
#
# **Rubric.**
#
# - 1 point: multiply-adds and seconds, with a reason (memory traffic, arithmetic intensity) or the measurement above.
# - 1 point: parameters are not the memory needed; names activations.
# - 1 point: accuracies are comparable only with the same training and image size, or need not carry over to plants.
# - 1 point: measures time on the device and accuracy on the app's own kind of images, both networks trained alike.
# <!-- END SOLUTION -->

# %% [markdown]
# ## Summary
#
# | question | answer |
# |---|---|
# | Wide ResNet | 6n + 4 layers; stages 16k, 32k, 64k, stem 16; parameters grow with the square of k |
# | ResNeXt | the 3×3 in groups, as many as the cardinality, of d channels: cardinality · d between the 1×1 |
# | squeeze and excitation | means over space, C → C/r → C, sigmoid; a tenth more parameters, hardly any work |
# | DenseNet | concatenates; DenseNet-121 has 7,978,856 parameters |
# | depthwise separable | depthwise, then 1×1: $1/C_\text{out} + 1/k^2$ of the full price |
# | MobileNet v1 | 4,231,976 parameters, 569 million multiply-adds, 95 % of them in 1×1 convolutions |
# | MobileNet v2 | narrow, wide, narrow; linear end; skip at stride 1 and equal channels; 3,504,872 parameters |
# | compound scaling | depth, width and resolution together; channels in multiples of 8, not below 90 %; repeats up |
# | multiply-adds and seconds | not the same: a depthwise convolution waits for memory |
# | evolution | best of a sample has a child, the oldest leaves; compare with random search |
# | pruning | smallest magnitudes to 0, then fine-tune |
# | ViT | its first layer is a 16×16 convolution with stride 16; ViT-B/16 has 86,567,656 parameters |

# %% [markdown]
# ## Where to read more
#
# - Sergey Zagoruyko and Nikos Komodakis, *Wide residual networks*, 2016: width against depth, dropout in the block.
# - Saining Xie and others, *Aggregated residual transformations for deep neural networks*, 2017: ResNeXt.
# - Jie Hu, Li Shen and Gang Sun, *Squeeze-and-excitation networks*, 2018: also where to put gates, and what they do.
# - Gao Huang and others, *Densely connected convolutional networks*, 2017: DenseNet.

# %% [markdown]
# On small networks, and on all of them:
#
# - Andrew Howard and others, *MobileNets: efficient convolutional neural networks for mobile vision applications*,
#   2017: with thinner versions and smaller images.
# - Mark Sandler and others, *MobileNetV2: inverted residuals and linear bottlenecks*, 2018: the spiral is figure 1.
# - Mingxing Tan and Quoc Le, *EfficientNet: rethinking model scaling for convolutional neural networks*, 2019.
# - Alfredo Canziani, Adam Paszke and Eugenio Culurciello, *An analysis of deep neural network models for practical
#   applications*, 2016: the chart, and the same against time, memory and power.

# %% [markdown]
# On search:
#
# - Barret Zoph, Vijay Vasudevan, Jonathon Shlens and Quoc Le, *Learning transferable architectures for scalable image
#   recognition*, 2018: NASNet.
# - Esteban Real and others, *Regularized evolution for image classifier architecture search*, 2019: why the oldest go.
# - Mingxing Tan and others, *MnasNet: platform-aware neural architecture search for mobile*, 2019: seconds measured on
#   a telephone in the score.
# - Chris Ying and others, *NAS-Bench-101: towards reproducible neural architecture search*, 2019: 423,624 trained
#   networks in a table.
# - Liam Li and Ameet Talwalkar, *Random search and reproducibility for neural architecture search*, 2019.

# %% [markdown]
# On pruning and transformers:
#
# - Song Han, Jeff Pool, John Tran and William Dally, *Learning both weights and connections for efficient neural
#   networks*, 2015: the three steps.
# - Jonathan Frankle and Michael Carbin, *The lottery ticket hypothesis*, 2019: the same weights, put back.
# - Zhuang Liu and others, *Rethinking the value of network pruning*, 2019: trained from scratch instead.
# - Alexey Dosovitskiy and others, *An image is worth 16×16 words: transformers for image recognition at scale*, 2021.
