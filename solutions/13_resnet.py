# %% [markdown]
# # 13 ResNet
#
# VGG had up to 19 layers and GoogLeNet 22. In 2015 Kaiming He, Xiangyu Zhang, Shaoqing Ren and Jian Sun won the
# ImageNet challenge with networks of up to 152 layers and a top-5 error of 3.57 %. What they changed is one addition
# in every block. This notebook shows what went wrong without it, builds the networks, and keeps apart what is known
# about the reason and what is only supposed.

# %% [markdown]
# ## What you will be able to do
#
# - tell a network that overfits from one that is hard to train;
# - make a network deeper without changing what it computes;
# - write residual blocks: basic, pre-activation and bottleneck, with both kinds of shortcut;
# - build the ResNets of 6n + 2 layers for small images, and the same networks without skips;
# - follow a gradient through a chain of layers with skips and without;
# - count the parameters of ResNet-18 to ResNet-152, and say where their multiply-adds are;
# - say which explanations of residual learning are shown, and which are not.

# %%
from math import comb

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cnnlab import check, hint, plots, results, summary, widgets
from cnnlab.data import digits, grey, photo
from cnnlab.train import Recipe, normalise, train

torch.set_num_threads(1)  # the networks below are so small that threads would only wait for each other

# %% [markdown]
# ## Deeper, and worse
#
# In 2015 it was known how to start the training of a network with dozens of layers: first weights of the right size
# (notebook 08) and batch norm (notebook 07). So one could ask whether more layers of the same kind make it better.
#
# He and colleagues trained **plain** networks on CIFAR-10, nothing but 3×3 convolutions, batch norm and ReLU, with
# 20 and with 56 layers. The deeper one made more errors on the test images.
#
# **Predict.** The obvious suspicion is overfitting. If it is right, which of the two has the lower error on the
# images it was trained on?

# %% [markdown]
# We repeated their experiment in a small form: 16×16 pixels instead of 32×32, 20,000 images instead of 50,000, half
# as many channels, about 1,900 steps instead of 64,000, no augmentation. All this makes the errors larger than the
# paper's. Where the numbers come from stands below the figure.

# %%
def draw_errors(axes, table, kind):
    """Training and test error by epoch, on two axes: a line for each depth, which stands at its end."""
    for ax, part in zip(axes, ("train", "test")):
        for depth, style in zip(np.unique(table["depth"]), (":", "--", "-")):
            rows = table["depth"] == depth
            error = 100 * table[f"{kind}_{part}_error"][rows]
            ax.plot(table["epoch"][rows], error, style, color="0.2", linewidth=1.8, label=f"{depth} layers")
        ax.set(xlabel="epoch", ylim=(0, 92), title=f"{kind}: {'training' if part == 'train' else part} error in %")
        ax.grid(axis="y", color="0.9")
    axes[0].legend(frameon=False, loc="lower left", fontsize=9)


def last_errors(table, kind, part):
    """The error in % after the last epoch, by depth."""
    last = table["epoch"] == table["epoch"].max()
    return {int(d): 100 * float(e) for d, e in zip(table["depth"][last], table[f"{kind}_{part}_error"][last])}

# %%
measured = results.load("plain_residual")
plain_errors = {part: last_errors(measured, "plain", part) for part in ("train", "test")}
fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.2), layout="constrained")
draw_errors(axes, measured, "plain")
plt.show()
for part, errors in plain_errors.items():
    print(f"{part:5} error after {measured['epoch'].max()} epochs:",
          ", ".join(f"{depth} layers {error:.1f} %" for depth, error in errors.items()))
print(f"{measured.command}; {measured.device}; {measured.date}")

# %% [markdown]
# Every step in depth makes it worse, on the training images as well as on the test images. The network of 56 layers
# still gets most of its *training* images wrong, of which the one of 8 layers has learned about two thirds.
#
# So it is **not overfitting**. A network that overfits is good on its training images and bad on others. This one is
# worse on its training images too. He and colleagues call it **degradation**, and found it on ImageNet as well: 28.54 %
# top-1 error with 34 plain layers, 27.94 % with 18.

# %% [markdown]
# ## A deeper network need not be worse
#
# Is the deeper network unable to do what the shallow one does? It is able, and one can write down how. Take the
# shallow network with its weights, and insert layers that copy their input. The result is deeper and computes the same.
#
# **Predict.** Which weights make a 3×3 convolution on 16 channels copy its input?

# %% [markdown]
# ### Exercise: a layer that copies its input
#
# Write `identity_conv(channels, kernel_size)`.
#
# - `channels` is an int, `kernel_size` an odd int;
# - return an `nn.Conv2d` from `channels` to `channels` channels: stride 1, zero padding that keeps the size, one
#   group, and a bias. Its output equals its input, exactly, whatever the input is.
#
# To set weights by hand, do it in a block `with torch.no_grad():`, for instance `layer.bias.fill_(3)` or
# `layer.weight[0, 1] = 2`.
#
# If you are stuck, run `hint("identity_conv")` in a cell of your own, and again for more.

# %% tags=["exercise:identity_conv"]
def identity_conv(channels, kernel_size):
    """A convolution, with a bias, that copies its input.

    channels int; kernel_size odd int.  Returns an nn.Conv2d: (N, channels, H, W) to the same shape.
    """
    ### BEGIN SOLUTION
    layer = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2)
    middle = kernel_size // 2
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
        for c in range(channels):
            layer.weight[c, c, middle, middle] = 1
    return layer
    ### END SOLUTION

# %% tags=["check:identity_conv"]
check("identity_conv", identity_conv)

# %% [markdown]
# (PyTorch has it as `nn.init.dirac_`.)
#
# Now a network of two layers, and a deeper one: the same two layers with 20 copying layers between them, each followed
# by a ReLU like every layer of a plain network.
#
# **Predict.** How much do the two outputs differ? And if the copying layers came *before* the first layer, where the
# image has negative values?

# %%
torch.manual_seed(0)
picture = torch.tensor(grey(photo("flower"))[::8, ::8] - 0.5, dtype=torch.float32)[None, None]  # (1, 1, 54, 80)
first, second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1)
copies = [part for _ in range(20) for part in (identity_conv(16, 3), nn.ReLU())]
copies_of_image = [part for _ in range(20) for part in (identity_conv(1, 3), nn.ReLU())]
with torch.no_grad():
    shallow = nn.Sequential(first, nn.ReLU(), second)(picture)
    deeper = nn.Sequential(first, nn.ReLU(), *copies, second)(picture)
    cut = nn.Sequential(*copies_of_image, first, nn.ReLU(), second)(picture)
largest, spoilt_by = (float((other - shallow).abs().max()) for other in (deeper, cut))
negative = float((picture < 0).float().mean())
print(f"20 more layers after the first ReLU: largest difference {largest}")
print(f"20 more layers before the first layer: {spoilt_by:.2f}; {negative:.0%} of the image are negative")

# %% [markdown]
# After a ReLU nothing is negative, so another ReLU changes nothing, and the difference is exactly 0. On the image
# itself the first ReLU cuts off four fifths of the values.
#
# (Batch norm does not spoil this: its scale and shift can undo what it does.)
#
# So among all settings of the deeper network's weights there is one that is as good as the shallow network. Its best
# training error cannot be higher. That training ended with a higher one means that this method, in this time, **did not
# find** such a setting. The difficulty is one of optimisation. This much is shown. Why it is hard to find is another
# question, to which we come back.

# %% [markdown]
# ## The residual block
#
# A plain block of two convolutions has to learn a function $H(x)$. He and colleagues let it learn the difference to its
# input instead, the **residual** $F(x) = H(x) - x$, and add the input afterwards:
#
# $$y = x + F(x).$$
#
# Whatever $H$ is, both forms can express it. But the identity, which costs a plain layer a precise arrangement of ones
# and zeros, now only needs $F = 0$: all weights 0. The authors' hypothesis was that layers in a deep network should
# often do little, and that little is easier to learn as a small correction.

# %%
def draw_block(ax, parts, title, skip="identity"):
    """A block as boxes from top to bottom; if "+" is among them, a skip runs from the input to it."""
    for y, part in enumerate(parts):
        shape = "circle,pad=0.25" if part == "+" else "round,pad=0.3"
        plain = {"boxstyle": shape, "facecolor": "white" if part in ("BN", "ReLU", "+") else "0.85", "edgecolor": "0.3"}
        ax.annotate("", (0, -y + 0.3), (0, -y + 0.72), arrowprops={"arrowstyle": "->", "color": "0.3"})
        ax.text(0, -y, part, ha="center", va="center", fontsize=9, bbox=plain)
    ax.annotate("", (0, -len(parts) + 0.3), (0, -len(parts) + 0.72), arrowprops={"arrowstyle": "->", "color": "0.3"})
    ax.text(0, 0.8, "x", ha="center", va="bottom", fontsize=10)
    if "+" in parts:
        at = -parts.index("+")
        ax.plot([0, 1.3, 1.3], [0.72, 0.72, at], color="tab:orange", linewidth=2)
        ax.annotate("", (0.2, at), (1.32, at), arrowprops={"arrowstyle": "->", "color": "tab:orange", "linewidth": 2})
        ax.text(1.4, at / 2, skip, rotation=90, va="center", fontsize=9)
    ax.set(xlim=(-1.3, 1.9), ylim=(-len(parts), 1.3), title=title)
    ax.title.set_fontsize(10)
    ax.axis("off")

# %%
conv_norm = ["conv 3×3", "BN", "ReLU", "conv 3×3", "BN"]
fig, axes = plt.subplots(1, 4, figsize=(10, 4.6), layout="constrained")
draw_block(axes[0], [*conv_norm, "ReLU"], "plain")
draw_block(axes[1], [*conv_norm, "+", "ReLU"], "residual (2015)")
draw_block(axes[2], ["BN", "ReLU", "conv 3×3", "BN", "ReLU", "conv 3×3", "+"], "pre-activation (2016)")
bottleneck_parts = ["conv 1×1", "BN", "ReLU", "conv 3×3", "BN", "ReLU", "conv 1×1", "BN", "+", "ReLU"]
draw_block(axes[3], bottleneck_parts, "bottleneck (2015)")
plt.show()

# %% [markdown]
# The second differs from the first by the orange line alone: the **skip**, or shortcut. It has no weights, and costs
# one addition for each value. The boxes beside it are the **body** (BN is batch norm). Note where the last ReLU is:
# after the addition. The two blocks on the right come later in this notebook.

# %% [markdown]
# ## When the shapes differ
#
# Now and then a block halves height and width (stride 2) and doubles the channels. Then $x$ and $F(x)$ have different
# shapes, and the skip has to change $x$. The paper compares:
#
# - **option A**: take every second row and column, and append channels of zeros. No weights;
# - **option B**: a 1×1 convolution with stride 2 and more channels, a **projection**, followed by batch norm;
# - **option C**: projections on all skips, also where the shapes agree.
#
# With ResNet-34 on ImageNet they gave 25.03, 24.52 and 24.19 % top-1 error: a small difference, so the projections are
# not what matters. CIFAR networks take A, ImageNet networks B.

# %% [markdown]
# ### Exercise: the shortcut without weights
#
# Write `zero_shortcut(x, c_out, stride=1)`, option A.
#
# - `x` (N, C, H, W), a tensor, float32 or float64; `c_out` is an int, at least C; `stride` is an int;
# - rows 0, stride, 2·stride, … are kept, and columns likewise, also when H or W is not a multiple of the stride;
# - channels of zeros follow **after** those of x;
# - return a tensor (N, c_out, H', W') of the dtype of x, with as many rows and columns as were kept. x itself is not
#   changed.

# %% tags=["exercise:zero_shortcut"]
def zero_shortcut(x, c_out, stride=1):
    """The skip of a block that changes the shape, without weights (option A).

    x (N, C, H, W); c_out int, at least C; stride int.  Returns (N, c_out, ceil(H / stride), ceil(W / stride)).
    """
    ### BEGIN SOLUTION
    x = x[:, :, ::stride, ::stride]                        # (N, C, H', W')
    return F.pad(x, (0, 0, 0, 0, 0, c_out - x.shape[1]))   # last axis first: width, height, channels
    ### END SOLUTION

# %% tags=["check:zero_shortcut"]
check("zero_shortcut", zero_shortcut)

# %% [markdown]
# ### Exercise: the basic block
#
# Write the module `BasicBlock(c_in, c_out, stride=1, residual=True)`.
#
# - Body: a 3×3 convolution from `c_in` to `c_out` channels with this stride, batch norm, ReLU, a 3×3 convolution from
#   `c_out` to `c_out` at stride 1, batch norm. Padding 1; no biases in the convolutions;
# - `residual=True`: add `zero_shortcut(x, c_out, stride)`, then ReLU;
# - `residual=False`: nothing is added; the ReLU follows the body. This is the plain block;
# - `forward(x)`: x (N, c_in, H, W) gives (N, c_out, H', W') and is not changed.
#
# Create the layers in `__init__` in the order in which they are used: the check sets their weights in this order. You
# may call `zero_shortcut`. The plain and the residual block are worth half of the points each.

# %% tags=["exercise:basic_block"]
class BasicBlock(nn.Module):
    """Two 3×3 convolutions with batch norm, and a skip without weights unless residual is False."""

    def __init__(self, c_in, c_out, stride=1, residual=True):
        super().__init__()
        ### BEGIN SOLUTION
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.c_out, self.stride, self.residual = c_out, stride, residual
        ### END SOLUTION

    def forward(self, x):
        """x (N, c_in, H, W).  Returns (N, c_out, H', W')."""
        ### BEGIN SOLUTION
        y = F.relu(self.bn1(self.conv1(x)))                # (N, c_out, H', W')
        y = self.bn2(self.conv2(y))
        if self.residual:
            y = y + zero_shortcut(x, self.c_out, self.stride)
        return F.relu(y)
        ### END SOLUTION

# %% tags=["check:basic_block"]
check("basic_block", BasicBlock)

# %% [markdown]
# Why is the last ReLU after the addition? If it came before, the body could only give numbers from 0 up, and the block
# could never lower a value.
#
# **Predict.** All learned numbers of a block are set to 0: the weights of the convolutions, scale and shift of batch
# norm. What does the plain block give for an image without negative values, and what the residual one?

# %%
outputs = {}
for residual in (False, True):
    block = BasicBlock(1, 1, residual=residual)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
        outputs["residual" if residual else "plain"] = block(picture + 0.5)[0, 0].numpy()
plots.images((picture + 0.5)[0, 0].numpy(), *outputs.values(), titles=["input", *outputs], height=1.7, vmin=0, vmax=1)

# %% [markdown]
# The plain block forgets everything; the residual one is the identity. A deep residual network can therefore begin as
# a shallow one. It is enough to set the scale of the last batch norm of each block to 0 at the start, which is common
# practice (Goyal et al., 2017).

# %% [markdown]
# ## Networks of 6n + 2 layers
#
# For small images He and colleagues built a family of very regular networks:
#
# - the **stem**: a 3×3 convolution from 3 to 16 channels at stride 1, batch norm, ReLU;
# - three **stages** of n basic blocks each, with 16, 32 and 64 channels. The first block of the second and of the third
#   stage has stride 2, all others stride 1;
# - the mean over height and width, and a fully connected layer with a bias.
#
# Layers with weights: 1 + 3·2n + 1 = 6n + 2. With n = 3 that is ResNet-20, with n = 9 ResNet-56, with n = 18
# ResNet-110.

# %% [markdown]
# ### Exercise: the network
#
# Write the module `CifarNet(n, width=16, classes=10, residual=True)`: the network just described, where the stages have
# `width`, `2·width` and `4·width` channels and the stem has `width`.
#
# - `residual` is that of all blocks;
# - `forward(x)`: x (N, 3, H, W) gives logits (N, classes), for any H and W from 4 on.
#
# Create the layers in the order in which they are used, and call your `BasicBlock`.

# %% tags=["exercise:cifar_net"]
class CifarNet(nn.Module):
    """The network of 6n + 2 layers for small images; plain if residual is False."""

    def __init__(self, n, width=16, classes=10, residual=True):
        super().__init__()
        ### BEGIN SOLUTION
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        blocks, channels = [], width
        for stage in range(3):
            for i in range(n):
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(BasicBlock(channels, width * 2**stage, stride, residual))
                channels = width * 2**stage
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, classes)
        ### END SOLUTION

    def forward(self, x):
        """x (N, 3, H, W).  Returns logits (N, classes)."""
        ### BEGIN SOLUTION
        x = F.relu(self.bn(self.stem(x)))                  # (N, width, H, W)
        x = self.blocks(x)                                 # (N, 4 width, H / 4, W / 4), rounded up
        return self.fc(x.mean(dim=(2, 3)))
        ### END SOLUTION

# %% tags=["check:cifar_net"]
check("cifar_net", CifarNet)

# %% [markdown]
# **Predict.** How many more parameters has the residual network of 56 layers than the plain one?

# %%
sizes = {}
for n in (3, 5, 7, 9, 18):
    with torch.device("meta"):                             # shapes without values: enough for counting
        sizes[6 * n + 2] = [sum(p.numel() for p in CifarNet(n, residual=r).parameters()) for r in (False, True)]
for depth, (plain, residual) in sizes.items():
    print(f"{depth:4} layers: plain {plain:9,}, residual {residual:9,}")

# %% [markdown]
# None. (The paper gives 0.27, 0.46, 0.66, 0.85 and 1.7 million.) With option A the two networks have the same layers,
# the same parameters and, but for the additions, the same cost. Whatever differs between them is the work of the skip.

# %% [markdown]
# ## The experiment
#
# **Predict.** The same networks as in the first figure, now with skips, on the same images in the same order. What will
# the training errors of 8, 20 and 56 layers look like?

# %%
measured = results.load("plain_residual")
residual_errors = {part: last_errors(measured, "residual", part) for part in ("train", "test")}
fig, axes = plt.subplots(2, 2, figsize=(9.5, 5.6), layout="constrained", sharex=True)
draw_errors(axes[0], measured, "plain")
draw_errors(axes[1], measured, "residual")
plt.show()
for part, errors in residual_errors.items():
    print(f"{part:5} error after {measured['epoch'].max()} epochs:",
          ", ".join(f"{depth} layers {error:.1f} %" for depth, error in errors.items()))
print(f"{measured.command}; {measured.device}; {measured.date}")

# %% [markdown]
# Skips mend most of it. With 8 layers there was nothing to mend: the skips bring no gain. With 20 layers the error falls
# far below that of the plain network, and with 56 layers by about half. After so few steps 56 residual layers are not
# better than 20 yet. In the paper, with thirty times as many steps, they are.

# %% [markdown]
# The paper's full-size networks, with 32×32 pixels, all images and 64,000 steps, ended at these test errors: residual
# nets with 20, 32, 44, 56 and 110 layers at 8.75, 7.51, 7.17, 6.97 and 6.43 %. One with 1,202 layers trained as
# easily, to a training error below 0.1 %, and was worse on the test images: 7.93 %. *That*, the authors say, may be
# overfitting.
#
# Now your own networks, small enough to watch: the 8×8 digits, 8 channels, four epochs. The three runs take some
# ten seconds.
#
# **Predict.** Where will the loss of the plain network of 44 layers be when the others have learned the digits?

# %%
def he_start(net):
    """Draw the weights of all convolutions by Kaiming's rule, as the paper does."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return net


images, labels = digits()
images = np.repeat((images * 255 / 16).astype(np.uint8)[:, None], 3, axis=1)  # (1797, 3, 8, 8): grey in three channels
order = np.random.default_rng(0).permutation(len(images))
train_set, test_set = ((images[part], labels[part]) for part in (order[:1437], order[1437:]))
recipe = Recipe(epochs=4, batch_size=64, lr=0.05, weight_decay=1e-4)

# %%
runs = {}
for n, residual in [(3, False), (7, False), (7, True)]:
    torch.manual_seed(0)
    net = he_start(CifarNet(n, width=8, residual=residual))
    name = f"{'residual' if residual else 'plain'}, {6 * n + 2} layers"
    runs[name] = train(net, train_set, test_set, recipe, quiet=True)
    print(f"{name}: loss {np.mean(runs[name].loss[-20:]):.2f}, test error {100 * (1 - runs[name].score[-1]):.1f} %")
fig, ax = plt.subplots(figsize=(7.5, 3.2), layout="constrained")
for (name, history), style in zip(runs.items(), (":", "-", "--")):
    smooth = [np.mean(history.loss[max(0, i - 9):i + 1]) for i in range(len(history.loss))]
    ax.plot(smooth, style, color="tab:orange" if "residual" in name else "0.2", linewidth=2, label=name)
ax.set(xlabel="step", ylabel="training loss, mean of 10", ylim=(0, None))
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# The plain network of 20 layers and the residual one of 44 have nearly learned the digits. The plain one of 44 layers
# is nearer to the 2.30 of guessing than to them, after the same number of steps on the same images. It has exactly as
# many parameters as the residual one, and it is bad on its training images.
#
# To try: more epochs; another seed; n = 5; `weight_decay=0`. One run with one seed proves little.

# %% [markdown]
# ## What the skip does to a gradient
#
# The explanation one hears most often is about gradients. Let us see how far it goes, first with single numbers in
# place of images. A plain layer multiplies by a slope, $x \mapsto a x$. A residual layer is $x \mapsto x + a x$. Chains
# of such layers, each with a slope of its own:
#
# $$\frac{\partial x_L}{\partial x_l} = a_l\,a_{l+1}\cdots a_{L-1}
# \qquad\text{and}\qquad
# \frac{\partial x_L}{\partial x_l} = (1 + a_l)(1 + a_{l+1})\cdots(1 + a_{L-1}) .$$

# %% [markdown]
# ### Exercise: gradients in a chain
#
# Write `chain_gradients(slopes)`.
#
# - `slopes` is a float32 tensor of shape (L,): the slopes of the layers, the first one first;
# - return a tuple of two tensors of shape (L,), `(plain, residual)`. Entry $l$ is the derivative of the chain's
#   output with respect to the **input** of layer $l$. So entry 0 belongs to the whole chain and the last entry to the
#   last layer alone.

# %% tags=["exercise:chain_gradients"]
def chain_gradients(slopes):
    """The derivatives of a chain's output with respect to the input of each layer, without and with skips.

    slopes (L,).  Returns (plain, residual), each (L,).
    """
    ### BEGIN SOLUTION
    def from_the_end(factors):
        return torch.flip(torch.cumprod(torch.flip(factors, [0]), 0), [0])

    return from_the_end(slopes), from_the_end(1 + slopes)
    ### END SOLUTION

# %% tags=["check:chain_gradients"]
check("chain_gradients", chain_gradients)

# %% [markdown]
# **Predict.** 50 layers with the slope 0.1 each, or −0.1, or 0.5. In which cases does the gradient reach the first
# layer in a plain chain, in which in a residual one? Does it ever become too large?

# %%
fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.2), layout="constrained", sharey=True)
reach = {}
for slope, style in [(0.5, "-"), (0.1, "--"), (-0.1, ":")]:
    reach[slope] = [g.abs().numpy() for g in chain_gradients(torch.full((50,), slope))]
    for ax, gradient in zip(axes, reach[slope]):
        ax.semilogy(np.maximum(gradient, 1e-16), style, color="0.2", label=f"a = {slope}".replace("-", "−"))
for ax, title in zip(axes, ("plain: the product of a", "residual: the product of 1 + a")):
    ax.axhline(1, color="0.7", linewidth=1)
    ax.set(xlabel="input of layer", title=title, ylim=(1e-16, 1e11))
axes[0].set_ylabel("size of the gradient")
axes[1].legend(frameon=False)
plt.show()
print({slope: [f"{g[0]:.1g}" for g in gradients] for slope, gradients in reach.items()})

# %% [markdown]
# In the plain chain the gradient vanishes in all three cases; at ±0.1 it leaves the figure after 16 layers, and 50
# such factors are 0 in float32. In the residual chain it arrives at ±0.1, though not unchanged: 117 times as large,
# or 0.005 times. At 0.5 it becomes huge. A skip does not make gradients right; it makes layers that do **little**
# harmless. Products of $1 + a$ may explode or, near $a = -1$, vanish.
#
# Multiply out the product: $(1 + a_0)(1 + a_1) = 1 + a_0 + a_1 + a_0 a_1$. Each term is a **path** from input to
# output, which at every layer takes the skip or the body. L layers have $2^L$ paths.

# %% [markdown]
# **Predict.** ResNet-110 has 54 blocks. How many bodies does an average path pass? And if each body multiplies by 0.1,
# which paths contribute most to the sum?

# %%
blocks, slope = 54, 0.1
bodies = np.arange(blocks + 1)
paths = np.array([comb(blocks, k) for k in bodies], dtype=float)
weighted = paths * slope**bodies                                      # they add up to (1 + slope) ** blocks
fig, ax = plt.subplots(figsize=(7.5, 3), layout="constrained")
ax.bar(bodies, paths / paths.sum(), color="0.8", edgecolor="0.5", label="share of the paths")
ax.plot(bodies, weighted / weighted.sum(), "o-", color="tab:orange", markeredgecolor="0.2", markersize=5,
        label="share of the gradient, a = 0.1")
ax.set(xlabel="bodies on the path")
ax.legend(frameon=False)
plt.show()
average = [float((bodies * share).sum() / share.sum()) for share in (paths, weighted)]
print(f"{2**blocks:.2g} paths; on average {average[0]:g} bodies on a path, {average[1]:.1f} weighted by gradient")

# %% [markdown]
# Most paths pass about 27 bodies, but most of the gradient comes along paths of about 5. In a real ResNet-110 Veit,
# Wilber and Belongie (2016) measured paths of 10 to 34 layers, of 110. They read a residual network as a collection
# of shallow ones: a way of looking at it, supported by measurements, and not a proof of why it trains.

# %% [markdown]
# ## Gradients in the networks
#
# Now real networks of 56 layers, before the first step: the norm of the loss's gradient in the weights of each
# convolution. Once without batch norm, once with it.
#
# **Predict.** Our plain networks have batch norm. If vanishing gradients are what hinders them, what must their curve
# look like?

# %%
def without_batch_norm(net):
    """The same network with nothing in the place of each batch norm."""
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return net


def gradient_norms(net, images, labels):
    """The norm of the gradient of the loss in the weights of each convolution, first to last."""
    loss = F.cross_entropy(net.train()(normalise(images)), torch.tensor(labels))
    weights = [layer.weight for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    return np.array([float(g.norm()) for g in torch.autograd.grad(loss, weights)])

# %%
norms = {}
for kind in ("without batch norm", "with batch norm"):
    for residual in (False, True):
        torch.manual_seed(0)
        net = he_start(CifarNet(9, width=8, residual=residual))
        net = without_batch_norm(net) if kind.startswith("without") else net
        norms[kind, residual] = gradient_norms(net, images[:64], labels[:64])
fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.2), layout="constrained")
for ax, kind in zip(axes, ("without batch norm", "with batch norm")):
    for residual, style, colour in [(False, "-", "0.2"), (True, "--", "tab:orange")]:
        norm = norms[kind, residual]
        ax.semilogy(range(1, len(norm) + 1), norm, style, color=colour, linewidth=2,
                    label="residual" if residual else "plain")
    ax.set(xlabel="convolution", title=kind)
axes[0].set_ylabel("norm of the gradient")
axes[0].legend(frameon=False)
plt.show()
for (kind, residual), norm in norms.items():
    print(f"{'residual' if residual else 'plain':8} {kind:18}  first {norm[0]:.1g}  last {norm[-1]:.1g}")

# %% [markdown]
# **Without batch norm** the plain network's gradients are of the order of $10^{-5}$, in all layers: the signal fades
# on its way forward, the gradient on its way back, and a weight's gradient is a product of the two. With skips they
# are above 900: now they explode, as in the chain with $a = 0.5$.
#
# **With batch norm** the plain network's gradients do not vanish. They *grow* towards the image, from 0.3 in the last
# convolution to over 100 in the first (Yang et al., 2019, derive why). Those of the residual network lie between 0.4
# and 2.1 in all layers.

# %% [markdown]
# So the plain networks of our experiment do not start with vanishing gradients. (The paper says the same of its own.)
# But gradients that differ so much from the first layer to the last are not healthy either.
#
# **Predict.** The same with CIFAR images, and then after one epoch of training. The first layers have had by far the
# largest gradients. How large will their gradients be then, compared with those of the other layers?

# %%
table = results.load("gradient_norms")
deepest = table["depth"] == table["depth"].max()
fig, axes = plt.subplots(1, 3, figsize=(10, 3.1), layout="constrained")
panels = {"": "without batch norm", "_batch_norm": "with batch norm", "_batch_norm_trained": "… after one epoch"}
for ax, (ending, title) in zip(axes, panels.items()):
    for kind, style, colour in [("plain", "-", "0.2"), ("residual", "--", "tab:orange")]:
        norm = table[kind + ending][deepest]
        ax.semilogy(table["layer"][deepest], norm, style, color=colour, linewidth=2, label=kind)
    ax.set(xlabel="layer", title=title)
axes[0].set_ylabel("norm of the gradient")
axes[0].legend(frameon=False)
plt.show()
print(f"{table.command}; {table.device}; {table.date}")

# %% [markdown]
# Before training, the picture is that of the digits. After one epoch it has turned round: in the first half of the
# plain network the gradients are 2 to 9 times smaller than in the residual one, and they fall towards the image.
# (Each curve is the geometric mean of several networks.)
#
# Have they vanished after all? Look at the weights. Batch norm takes the scale out of what a convolution gives, so a
# convolution with weights c times as large computes the same, and its gradient is c times *smaller*.
#
# **Predict.** What do large gradients at the start do to the size of the weights?

# %%
grown, later = {}, {}
for residual in (False, True):
    torch.manual_seed(0)
    net = he_start(CifarNet(9, width=8, residual=residual))
    convolutions = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    before = np.array([float(layer.weight.detach().norm()) for layer in convolutions])
    train(net, train_set, test_set, Recipe(epochs=1, batch_size=64, lr=0.05, schedule="constant"), quiet=True)
    grown[residual] = np.array([float(layer.weight.detach().norm()) for layer in convolutions]) / before
    later[residual] = gradient_norms(net, images[:64], labels[:64])
fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.2), layout="constrained")
for residual, style, colour in [(False, "-", "0.2"), (True, "--", "tab:orange")]:
    look = {"linestyle": style, "color": colour, "linewidth": 2, "label": "residual" if residual else "plain"}
    axes[0].semilogy(range(1, 56), grown[residual], **look)
    axes[1].semilogy(range(1, 56), later[residual], **look)
axes[0].set(xlabel="convolution", title="size of the weights after 23 steps, 1 at the start")
axes[1].set(xlabel="convolution", title="norm of the gradient after 23 steps", ylim=(0.01, 1))
axes[0].legend(frameon=False)
plt.show()
print({"residual" if r else "plain": f"first layer {g[0]:.1f} times, last {g[-1]:.1f} times" for r, g in grown.items()})

# %% [markdown]
# In the plain network the weights of the early layers have become up to 40 times as large, within one epoch. In the
# residual network no layer's have grown by more than 13 %. So the gradients of the early plain layers are small *now*
# because they were so large *before*: their weights were blown up, and steps of the usual size hardly turn them any
# more.
#
# This is one account of why the plain network learns slowly. It fits the numbers of this small experiment; it has not
# been shown here to be the cause, and even less for the networks of the paper.

# %% [markdown]
# ## What is shown, and what is not
#
# **Shown**, by experiments anybody can repeat: plain networks get worse with depth on their own training images; the
# same networks with skips train far better; a setting as good as the shallow network's exists.
#
# **Not shown**: that gradients vanish on their way back, and that skips cure this. With batch norm they do not vanish
# at the start. The paper says so too, and conjectures that deep plain networks converge very slowly.

# %% [markdown]
# **Explanations**, each with evidence, none complete: the identity is easy to reach; the loss surface is
# smoother (Li et al., 2018); gradients of deep plain networks resemble noise, those of residual ones do not (Balduzzi
# et al., 2017); at the start a block is close to the identity, so a deep network begins like a shallow one (De and
# Smith, 2020).

# %% [markdown]
# ## Pre-activation: a clear path
#
# In the block of 2015 a ReLU follows each addition, so what the skip carries is cut off at 0 in every block. In a
# second paper (*Identity mappings in deep residual networks*, 2016) the authors moved everything into the body: batch
# norm and ReLU come **before** each convolution, and nothing after the addition. Then
#
# $$x_L = x_l + \sum_{i=l}^{L-1} F_i(x_i), \qquad
# \frac{\partial x_L}{\partial x_l} = 1 + \frac{\partial}{\partial x_l} \sum_{i=l}^{L-1} F_i(x_i) :$$
#
# the input of each block arrives at all later ones as it is, and the gradient comes back the same way.

# %% [markdown]
# ### Exercise: a pre-activation unit
#
# Write `pre_activation(x, weight1, weight2)`. To have the order alone in front of us, batch norm is left out.
#
# - `x` (N, C, H, W), `weight1` (M, C, 3, 3), `weight2` (C, M, 3, 3), all float32 tensors;
# - body: ReLU, convolution with `weight1`, ReLU, convolution with `weight2`. Both at stride 1 with padding 1, without
#   biases (`F.conv2d` does them);
# - add x to what the body gives, and return that, (N, C, H, W). x itself is not changed.

# %% tags=["exercise:pre_activation"]
def pre_activation(x, weight1, weight2):
    """A residual unit with its ReLUs before the convolutions.

    x (N, C, H, W), weight1 (M, C, 3, 3), weight2 (C, M, 3, 3).  Returns (N, C, H, W).
    """
    ### BEGIN SOLUTION
    y = F.conv2d(F.relu(x), weight1, padding=1)            # (N, M, H, W)
    y = F.conv2d(F.relu(y), weight2, padding=1)            # (N, C, H, W)
    return x + y
    ### END SOLUTION

# %% tags=["check:pre_activation"]
check("pre_activation", pre_activation)

# %% [markdown]
# `nn.ReLU(inplace=True)` saves memory by overwriting its input. After a convolution or batch norm this is safe. At the
# beginning of this body it is not.
#
# **Predict.** What does the unit give if its first ReLU works in place? Is there an error message?

# %%
values = torch.tensor([[[[1.0, -2.0, 3.0]]]])              # (1, 1, 1, 3)
kernels = torch.zeros(2, 1, 1, 3, 3)
kernels[:, 0, 0, 1, 1] = torch.tensor([2.0, -1.0])         # they multiply by 2 and by -1
right = pre_activation(values, *kernels)
overwritten = values.clone()
body = F.conv2d(F.relu(F.conv2d(F.relu(overwritten, inplace=True), kernels[0], padding=1)), kernels[1], padding=1)
spoilt = overwritten + body
print(f"right: {right.flatten().tolist()}, with a ReLU in place: {spoilt.flatten().tolist()}")
print(f"x is now {overwritten.flatten().tolist()}")

# %% [markdown]
# No message: a wrong result, where the input is negative. The skip adds what x has become. When a gradient is needed,
# PyTorch sometimes notices that a saved tensor was changed; do not count on it.

# %% [markdown]
# Where to put ReLU and batch norm can be tried. Test errors on CIFAR-10 in %, with 110 and 164 layers, from the
# second paper:
#
# | order | 110 | 164 |
# |---|---|---|
# | ReLU after the addition (2015) | 6.61 | 5.93 |
# | batch norm and ReLU after the addition | 8.17 | 6.50 |
# | ReLU before the addition | 7.84 | 6.14 |
# | only ReLU moved to the front | 6.71 | 5.91 |
# | batch norm and ReLU to the front | 6.37 | 5.46 |
#
# (164 layers: with bottlenecks.) The third row is a slip from the exercises: such a network trains, and is
# worse. With 1,001 layers the front wins clearly: 4.92 against 7.61 %.

# %% [markdown]
# ## Bottlenecks
#
# For more than 50 layers on ImageNet the basic block is too dear. The **bottleneck** has three convolutions: a 1×1 that
# reduces the channels, a 3×3 on the few, a 1×1 that restores them to four times as many. The same idea saves work in
# GoogLeNet (notebook 12).
#
# **Predict.** From 256 to 256 channels: two 3×3 convolutions, or a bottleneck over 64. How many times fewer weights?

# %%
basic_weights = 2 * 256 * 256 * 9
bottleneck_weights = {"1×1, 256 → 64": 256 * 64, "3×3, 64 → 64": 64 * 64 * 9, "1×1, 64 → 256": 64 * 256}
saved = basic_weights / sum(bottleneck_weights.values())
print(bottleneck_weights)
print(f"together {sum(bottleneck_weights.values()):,}; basic: {basic_weights:,}, {saved:.1f} times more")
print(f"basic on 64 channels: {2 * 64 * 64 * 9:,}")

# %% [markdown]
# Seventeen times fewer. A bottleneck that carries 256 channels costs about as much as a basic block that carries 64.
# The skip runs between the wide ends; so identity skips matter here: a projection from 256 to 256 channels would cost
# 65,536 weights, nearly as many as the body.

# %% [markdown]
# ### Exercise: the bottleneck
#
# Write the module `Bottleneck(c_in, width, stride=1)`.
#
# - Body: 1×1 convolution from `c_in` to `width` channels, batch norm, ReLU; 3×3 from `width` to `width` **with the
#   stride** and padding 1, batch norm, ReLU; 1×1 from `width` to `4·width`, batch norm;
# - skip: the identity if the stride is 1 and `c_in` is `4·width`. Otherwise option B: a 1×1 convolution from `c_in` to
#   `4·width` with the stride, then batch norm;
# - add, then ReLU. No convolution has a bias;
# - `forward(x)`: x (N, c_in, H, W) gives (N, 4·width, H', W') and is not changed.
#
# Create the layers of the body in the order in which they are used.

# %% tags=["exercise:bottleneck"]
class Bottleneck(nn.Module):
    """1×1, 3×3 with the stride, 1×1 to four times the width; a projection on the skip where the shape changes."""

    def __init__(self, c_in, width, stride=1):
        super().__init__()
        ### BEGIN SOLUTION
        self.conv1, self.bn1 = nn.Conv2d(c_in, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.shortcut = nn.Identity()
        if stride != 1 or c_in != 4 * width:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, 4 * width, 1, stride=stride, bias=False),
                                          nn.BatchNorm2d(4 * width))
        ### END SOLUTION

    def forward(self, x):
        """x (N, c_in, H, W).  Returns (N, 4 width, H', W')."""
        ### BEGIN SOLUTION
        y = F.relu(self.bn1(self.conv1(x)))                # (N, width, H, W)
        y = F.relu(self.bn2(self.conv2(y)))                # (N, width, H', W')
        y = self.bn3(self.conv3(y))                        # (N, 4 width, H', W')
        return F.relu(y + self.shortcut(x))
        ### END SOLUTION

# %% tags=["check:bottleneck"]
check("bottleneck", Bottleneck)

# %% [markdown]
# The authors' own networks have the stride in the first 1×1; most implementations today have it in the 3×3, as you do.
#
# **Predict.** A block with stride 2 on 6×6 pixels. How many of the 36 pixels does a 1×1 convolution with stride 2 read,
# and how many a 3×3 with padding 1?

# %%
reads = {}
for k in (1, 3):
    pixels = torch.zeros(1, 1, 6, 6, requires_grad=True)
    F.conv2d(pixels, torch.ones(1, 1, k, k), stride=2, padding=k // 2).sum().backward()
    reads[k] = pixels.grad[0, 0].numpy().astype(int)       # how many windows read each pixel
plots.grids(*reads.values(), titles=[f"{k}×{k}, stride 2: {(r > 0).sum()} of 36 read" for k, r in reads.items()])

# %% [markdown]
# The numbers count the windows that read each pixel. With the stride in the first 1×1, three quarters of the pixels are
# read by nobody: not by the body, nor by the skip, whose projection is a 1×1 with stride 2 as well. With the stride in
# the 3×3 the body reads them all. That costs a little more, as we shall see.

# %% [markdown]
# ## The ResNets for ImageNet
#
# An image of 224×224 first goes through a 7×7 convolution with 64 filters and stride 2, batch norm, ReLU, and 3×3 max
# pooling with stride 2. Four stages of blocks follow, then the mean and a fully connected layer. Blocks in each stage:
#
# | stage | width | maps | 18 | 34 | 50 | 101 | 152 |
# |---|---|---|---|---|---|---|---|
# | 1 | 64 | 56×56 | 2 | 3 | 3 | 3 | 3 |
# | 2 | 128 | 28×28 | 2 | 4 | 4 | 4 | 8 |
# | 3 | 256 | 14×14 | 2 | 6 | 6 | 23 | 36 |
# | 4 | 512 | 7×7 | 2 | 3 | 3 | 3 | 3 |
#
# They are **basic** in 18 and 34, **bottlenecks** in the others. The first block of stages 2, 3 and 4 has stride 2. No
# convolution has a bias; batch norm follows each.

# %% [markdown]
# ### Exercise: parameters by stage
#
# Write `stage_parameters(counts, bottleneck, classes=1000)`.
#
# - `counts` is a tuple of four ints, the numbers of blocks; `bottleneck` is a bool: bottlenecks of the given width,
#   whose output is four times as wide, or basic blocks, whose output is `width` wide;
# - where a block changes the shape, its skip is a projection with batch norm (option B), with basic blocks too;
# - return a tuple of six ints, what each part learns: the stem (7×7 from 3 to 64 channels, and its batch norm), the
#   four stages, the fully connected layer.
#
# Plain arithmetic is enough. Count what training changes: running means and variances are not learned.

# %% tags=["exercise:stage_parameters"]
def stage_parameters(counts, bottleneck, classes=1000):
    """What the parts of a ResNet for ImageNet learn: stem, four stages, fully connected layer.

    counts (four ints); bottleneck bool; classes int.  Returns a tuple of six ints.
    """
    ### BEGIN SOLUTION
    def layer(c_in, c_out, k):                             # a convolution without bias, and its batch norm
        return c_in * c_out * k * k + 2 * c_out

    parts, c_in = [layer(3, 64, 7)], 64
    for stage, count in enumerate(counts):
        width, total = 64 * 2**stage, 0
        c_out = 4 * width if bottleneck else width
        for _ in range(count):
            if bottleneck:
                total += layer(c_in, width, 1) + layer(width, width, 3) + layer(width, c_out, 1)
            else:
                total += layer(c_in, width, 3) + layer(width, width, 3)
            if c_in != c_out:
                total += layer(c_in, c_out, 1)
            c_in = c_out
        parts.append(total)
    return (*parts, c_in * classes + classes)
    ### END SOLUTION

# %% tags=["check:stage_parameters"]
check("stage_parameters", stage_parameters)

# %% [markdown]
# **Predict.** VGG-16 has 138 million parameters. Has ResNet-152, with nine times as many layers, more or fewer?

# %%
RESNETS = {18: ((2, 2, 2, 2), False), 34: ((3, 4, 6, 3), False), 50: ((3, 4, 6, 3), True),
           101: ((3, 4, 23, 3), True), 152: ((3, 8, 36, 3), True)}
totals = {}
for depth, (counts, deep) in RESNETS.items():
    parts = stage_parameters(counts, deep)
    layers = 2 + (3 if deep else 2) * sum(counts)          # with weights, projections not counted
    totals[depth] = sum(parts)
    print(f"ResNet-{depth:<4} {layers:3} layers {totals[depth]:11,} =", " + ".join(f"{p:,}" for p in parts))

# %% [markdown]
# Fewer than half: 60 million. These are the numbers that implementations give: 11,689,512 for ResNet-18 and
# 25,557,032 for ResNet-50. There are no large fully connected layers, and the mean over all positions has no weights.
# Most parameters are in the last stages, as ever: channels count squared.

# %% [markdown]
# Now put ResNet-50 together from your bottlenecks, row by row: channels that come in, width, stride. It is made on the
# meta device, without memory for its weights.

# %%
ROWS = [(64, 64, 1), *[(256, 64, 1)] * 2, (256, 128, 2), *[(512, 128, 1)] * 3, (512, 256, 2), *[(1024, 256, 1)] * 5,
        (1024, 512, 2), *[(2048, 512, 1)] * 2]


def resnet50(classes=1000):
    """ResNet-50: the stem is parts 0 to 3, the blocks are parts 4 to 19."""
    stem = [nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1)]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, classes)]
    return nn.Sequential(*stem, *(Bottleneck(*row) for row in ROWS), *end)

# %% [markdown]
# **Predict.** In which stage are most of its multiply-adds? And in which kernels: 3×3 or 1×1?

# %%
with torch.device("meta"):
    net = resnet50()
report = summary(net, (3, 224, 224))
STAGE = [0] * 4 + [1] * 3 + [2] * 4 + [3] * 6 + [4] * 3 + [5] * 3    # of each part of net: stem, stages 1 to 4, end
work = {kernel: np.zeros(6) for kernel in ("1×1", "3×3", "7×7")}      # multiply-adds by stage
learned = np.zeros(6)                                                 # parameters by stage
for row in report.rows[1:]:
    if (number := row.name.split(".")[0]).isdigit():
        learned[STAGE[int(number)]] += row.parameters
        for kernel in work:
            work[kernel][STAGE[int(number)]] += row.multiply_adds * row.kind.startswith(f"conv {kernel}")
print(f"{report.parameters:,} parameters, {report.multiply_adds:,} multiply-adds")

# %%
with torch.device("meta"):
    resnet50()                                                        # so that this cell waits for your Bottleneck
fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.2), layout="constrained")
bottom, places = np.zeros(6), ["stem", *(f"stage {i}" for i in range(1, 5)), "end"]
for (kernel, values), (colour, hatch) in zip(work.items(), [("0.85", ""), ("tab:orange", "//"), ("0.4", "..")]):
    axes[0].bar(places, values / 1e6, bottom=bottom / 1e6, color=colour, hatch=hatch, edgecolor="0.2", label=kernel)
    bottom += values
axes[0].set_title("multiply-adds in millions")
axes[0].legend(frameon=False, fontsize=9, loc="upper right")
axes[1].bar(places, learned / 1e6, color="0.85", edgecolor="0.2")
axes[1].set_title("parameters in millions")
plt.show()
share = {kernel: float(values.sum() / report.multiply_adds) for kernel, values in work.items()}
print({kernel: f"{value:.0%}" for kernel, value in share.items()})

# %% [markdown]
# Each block that keeps the shape costs the same in every stage, 218 million: half the height, half the width, twice the
# channels in and out. So the work is spread over the stages, and stage 3 has most because it has most blocks.
# Parameters do not shrink with the image: 59 % of them are in stage 4. And the 1×1 kernels, which are there to save
# work, now do half of it.

# %% [markdown]
# Browse ResNet-50 block by block, and choose other networks to compare. Height is the resolution, width the number of
# channels; the two bars are the parameters (filled) and the multiply-adds (hatched).
#
# **Predict.** Which bars are level from left to right, and which grow? Is it the same in VGG-16?

# %%
widgets.architecture("resnet50")

# %% [markdown]
# The paper's table says 3.8 billion for ResNet-50. With the stride in the first 1×1 this layer, in the first block of
# stages 2, 3 and 4, works on a quarter of the positions.
#
# **Predict.** How much does that save?

# %%
saving = sum(c_in * width * size**2 * 3 // 4 for c_in, width, size in [(256, 128, 56), (512, 256, 28), (1024, 512, 14)])
by_paper = 4_089_184_256 - saving
print(f"{saving:,} multiply-adds; {by_paper:,} remain")

# %% [markdown]
# 231 million, 6 %, and 3.86 billion remain. So two networks go by the name ResNet-50, with equal parameters and
# different costs. When you compare numbers, ask which.
#
# ## Concatenate instead of adding
#
# Adding is one way to keep what came before. DenseNet (Huang, Liu, van der Maaten and Weinberger, 2017) puts it
# **beside** the new instead. In a dense block each layer reads the block's input and the outputs of all layers before
# it, side by side along the channels, and gives `growth` new channels. Notebook 14 has more on it.

# %% [markdown]
# ### Exercise: channels of a dense block
#
# Write `dense_channels(c_in, growth, layers)`, all ints: the number of channels that each layer reads, and after
# them that of the block's output, which is everything side by side.
#
# Return a tuple of `layers + 1` ints.

# %% tags=["exercise:dense_channels"]
def dense_channels(c_in, growth, layers):
    """The channels that each layer of a dense block reads, and those that the block gives.

    c_in, growth, layers ints.  Returns a tuple of layers + 1 ints.
    """
    ### BEGIN SOLUTION
    return tuple(c_in + growth * i for i in range(layers + 1))
    ### END SOLUTION

# %% tags=["check:dense_channels"]
check("dense_channels", dense_channels)

# %%
first_block = dense_channels(64, 32, 6)
joined = torch.zeros(1, 64, 1, 1)
for _ in range(6):
    joined = torch.cat([joined, torch.zeros(1, 32, 1, 1)], dim=1)
print(f"first block of DenseNet-121: {first_block}; by torch.cat: {joined.shape[1]}")
dense_weights, residual_weights = 9 * 32 * sum(first_block[:-1]), 6 * 9 * 64 * 64
print(f"weights of six 3×3 layers: dense {dense_weights:,}, on 64 channels that are added {residual_weights:,}")

# %% [markdown]
# The number of channels grows by the same amount with each layer, and so does the cost of a layer. In return a layer
# can be narrow, since what was computed before is still there: with 32 new channels each, six layers have about as
# many weights as six layers that add to 64 channels. (DenseNet-121 saves more, with a 1×1 bottleneck before each
# 3×3, and halves the channels between its blocks.)

# %% [markdown] tags=["written:why_skips:4"]
# ## In your own words
#
# Somebody writes: *"Deep plain networks fail because their gradients vanish. A skip adds 1 to every slope, so in a
# ResNet gradients cannot vanish. That is why ResNets can be trained."*
#
# Judge these three sentences one by one: what in this notebook speaks for each, what against it? Then propose one
# experiment whose outcome would tell this explanation from another one of your choice, and say what each of the two
# would lead you to expect. Twelve sentences are enough.
#
# <!-- BEGIN SOLUTION -->
# **Answer.**
#
# First sentence: true without batch norm, where the gradients of the plain network of 56 layers are near 10⁻⁵ in all
# layers. But the plain networks that degrade have batch norm, and their gradients do not vanish:
# at the start they are larger in the first layers than in the last. After an epoch they are small there, but
# because the weights have grown, not because they vanish on their way.
#
# Second: a slope becomes 1 + a, that is right. But products of 1 + a can vanish (a near −1) or explode (a = 0.5 in 50
# layers), and without batch norm the residual network's gradients are far too large. What is right is that a layer
# that does little lets the gradient through.
#
# Third: that ResNets train where the same plain networks do not is shown. The "why" does not follow. Other
# explanations fit as well: the identity is easy to reach, the loss surface is smoother, gradients are less like
# noise.
#
# Experiment: scale the gradient of each layer of the plain network to the norm that it has in the residual one (or
# use an optimiser that divides by the gradient's size), and train. If the size of gradients is the reason, the
# degradation should vanish; if their direction or the loss surface is, it should stay. Or: start the plain network
# near the identity (`identity_conv` plus small noise). If an easily reached identity is the reason, it should train
# nearly as well as the residual one.
#
# **Rubric.**
#
# - 1 point: batch norm's gradients do not vanish (or the paper's statement), against the first sentence; half a point
#   if only "it is disputed" is said.
# - 1 point: 1 + a is right, "cannot vanish" is wrong, with an example.
# - 1 point: tells what is shown (degradation, and that skips remove it) from the explanation.
# - 1 point: an experiment with two different expectations, one for each explanation.
# <!-- END SOLUTION -->

# %% [markdown]
# ## Summary
#
# | question | answer |
# |---|---|
# | degradation | deeper plain networks have a higher *training* error: hard to optimise, not overfitted |
# | why this need not be | shallow network + copying layers after a ReLU: the same function, deeper |
# | residual block | $y = \text{ReLU}(x + F(x))$; identity if $F = 0$; ReLU after the addition |
# | skip where shapes differ | A: every stride-th pixel, zeros for new channels; B: 1×1 with the stride, batch norm |
# | CIFAR networks | 6n + 2 layers: stem, 3 stages of n blocks, mean, fully connected; no parameters in the skips |
# | stage | the first block strides and widens, the others keep the shape |
# | gradient in a chain | plain: product of $a$; residual: product of $1 + a$, which is a sum over $2^L$ paths |
# | vanishing gradients | without batch norm, yes; with it they first *grow* towards the image, and depth still hurts |
# | pre-activation | batch norm and ReLU before each convolution, nothing after the addition; no ReLU in place on x |
# | bottleneck | 1×1, 3×3, 1×1 to 4 times the width; stride in the 3×3 today, at first in the first 1×1 |
# | parameters | ResNet-18 11,689,512; ResNet-50 25,557,032; ResNet-152 60,192,808 |
# | multiply-adds of ResNet-50 | 4.09 billion (3.86 with the first stride); 218 million a block that keeps the shape |
# | DenseNet | concatenates: after $i$ layers $C_\text{in} + i\cdot\text{growth}$ channels |

# %% [markdown]
# ## Where to read more
#
# - Kaiming He, Xiangyu Zhang, Shaoqing Ren and Jian Sun, *Deep residual learning for image recognition*, CVPR 2016.
# - The same, *Identity mappings in deep residual networks*, ECCV 2016.
# - Priya Goyal and others, *Accurate, large minibatch SGD: training ImageNet in 1 hour*, 2017: batch norms that start
#   at 0.
# - Gao Huang, Zhuang Liu, Laurens van der Maaten and Kilian Weinberger, *Densely connected convolutional networks*,
#   2017.

# %% [markdown]
# On why it works:
#
# - Andreas Veit, Michael Wilber and Serge Belongie, *Residual networks behave like ensembles of relatively shallow
#   networks*, 2016.
# - David Balduzzi and others, *The shattered gradients problem*, 2017.
# - Hao Li, Zheng Xu, Gavin Taylor, Christoph Studer and Tom Goldstein, *Visualizing the loss landscape of neural nets*,
#   2018.
# - Greg Yang and others, *A mean field theory of batch normalization*, 2019: gradients that grow.
# - Soham De and Samuel Smith, *Batch normalization biases residual blocks towards the identity function in deep
#   networks*, 2020.
