# %% [markdown]
# # 08 LeNet from scratch
#
# All the parts are there: convolution forward and backward, pooling, fast code for both. This notebook puts them
# together. You rebuild LeNet-5, the network that read handwritten digits on bank cheques in the 1990s, write what is
# still missing, and train it on real handwriting, in NumPy, in less than a minute.

# %% [markdown]
# ## What you will be able to do
#
# - give the shape and the number of parameters after every layer of a network;
# - say what LeNet-5 was in 1998, and what a "LeNet" of today changed;
# - write a fully connected layer, ReLU and the cross-entropy loss, forward and backward;
# - choose the size of the first weights, and say what the first loss must be;
# - write the step of gradient descent with momentum;
# - test a training set-up before trusting it, train, and look at what the network has learned.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

from cnnlab import check, hint, layers, own, plots
from cnnlab.data import digits
from cnnlab.training import fit

# %% [markdown]
# ## The network
#
# LeNet-5 comes from *Gradient-based learning applied to document recognition* (LeCun, Bottou, Bengio and Haffner,
# 1998). Its layers are named by what they do and by their place: **C** for convolution, **S** for subsampling, **F**
# for fully connected.
#
# All convolutions have 5×5 filters at stride 1 without padding. Subsampling turns each 2×2 block into one pixel, at
# stride 2. There are 6 filters in C1 and 16 in C3.
#
# **Predict.** A 32×32 image goes through C1, S2, C3 and S4. What is the size of the maps after each of them?

# %%
volumes = {"image": (1, 32, 32), "C1": (6, 28, 28), "S2": (6, 14, 14), "C3": (16, 10, 10), "S4": (16, 5, 5)}
vectors = {"C5": 120, "F6": 84, "output": 10}
fig, ax = plt.subplots(figsize=(10, 3), layout="constrained")
x = 0
for name, shape in volumes.items():
    label = f"{name}\n" + "×".join(map(str, shape))
    plots.volume(ax, x, (32 - shape[1]) / 2, shape, label, depth=0.8)
    x += shape[2] + 0.56 * shape[0] + 9
for name, length in vectors.items():
    height = length / 4
    plots.volume(ax, x, 16 - height / 2, (1, height, 1.5), f"{name}\n{length}")
    x += 12
ax.set(aspect="equal", xlim=(-2, x), ylim=(-9, 42))
ax.axis("off")
plt.show()

# %% [markdown]
# 28, 14, 10 and 5: a 5×5 filter takes 4 pixels, subsampling halves, and nothing is ever left over. That is one reason
# for 32. Space shrinks while channels grow, until 120 numbers describe the whole image; two fully connected layers
# turn these into 10 scores, one for each digit.
#
# C5 is a convolution in the paper, with 5×5 filters on maps of 5×5. There is one place for each filter, so it is a
# fully connected layer on the 16·5·5 = 400 numbers of S4, and is written as one here. Notebook 15 comes back to this.

# %% [markdown]
# ### Exercise: shapes and parameters of a network
#
# Write `network_table(input_shape, layers)`.
#
# - `input_shape` is `(C, H, W)`, ints;
# - `layers` is a tuple of triples `(kind, outputs, kernel_size)`:
#   - `("conv", filters, k)`: k×k filters, stride 1, no padding, with biases;
#   - `("pool", None, k)`: k×k windows side by side, so at stride k; no padding, rounded down, nothing learned;
#   - `("flatten", None, None)`: all values of a volume in one row;
#   - `("linear", outputs, None)`: fully connected, with biases; its input is flat.
# - return a tuple with one pair `(shape, parameters)` for each layer: the shape it gives, `(C, H, W)` or `(length,)`,
#   and how many numbers it learns, an int.

# %% tags=["exercise:network_table"]
def network_table(input_shape, layers):
    """The output shape and the parameters of every layer of a network.

    input_shape (C, H, W); layers a tuple of (kind, outputs, kernel_size).
    Returns a tuple of (shape, parameters), one for each layer.
    """
    ### BEGIN SOLUTION
    shape, rows = input_shape, []
    for kind, outputs, k in layers:
        parameters = 0
        if kind == "conv":
            parameters = outputs * (shape[0] * k * k + 1)
            shape = (outputs, shape[1] - k + 1, shape[2] - k + 1)
        elif kind == "pool":
            shape = (shape[0], shape[1] // k, shape[2] // k)
        elif kind == "flatten":
            shape = (shape[0] * shape[1] * shape[2],)
        else:
            parameters = outputs * (shape[0] + 1)
            shape = (outputs,)
        rows.append((shape, parameters))
    return tuple(rows)
    ### END SOLUTION

# %% tags=["check:network_table"]
check("network_table", network_table)

# %% [markdown]
# **Predict.** Which layer has the most parameters: one of the convolutions, C5, or F6?

# %%
LENET = (("conv", 6, 5), ("pool", None, 2), ("conv", 16, 5), ("pool", None, 2), ("flatten", None, None),
         ("linear", 120, None), ("linear", 84, None), ("linear", 10, None))
names = ["C1", "S2", "C3", "S4", "flatten", "C5", "F6", "output"]
table = network_table((1, 32, 32), LENET)
modern = sum(parameters for _, parameters in table)
for name, (shape, parameters) in zip(names, table):
    print(f"{name:8} {'×'.join(map(str, shape)):10} {parameters:7,} {'█' * round(40 * parameters / modern)}")
print(f"{'in all':19} {modern:7,}")

# %% [markdown]
# C5 has 48,120 of 61,706 parameters, more than three quarters. It is the layer where no weights are shared: each of
# its 120 units has its own 400. The two convolutions, which do most of the arithmetic, need 2,572.

# %% [markdown]
# ## What was different in 1998
#
# This is the LeNet that textbooks and libraries show today. The original had four things that have gone out of use.
#
# **1. Subsampling that learns.** S2 and S4 do not take a maximum. Each adds up the four pixels of a block, multiplies
# by a coefficient and adds a bias; every channel learns its own two numbers. The result then goes through the
# squashing function below.

# %% [markdown]
# ### Exercise: trainable subsampling
#
# Write `subsample(x, coefficient, bias)`.
#
# - `x` (N, C, H, W), float64, with even H and W; `coefficient` (C,) and `bias` (C,), float64;
# - each output is the **sum** of a 2×2 block, times the coefficient of its channel, plus the bias of its channel.
#   Blocks lie side by side;
# - return (N, C, H / 2, W / 2), float64. The squashing function is not part of it.

# %% tags=["exercise:subsample"]
def subsample(x, coefficient, bias):
    """The subsampling layer of LeNet-5, before its squashing function.

    x (N, C, H, W), coefficient (C,), bias (C,), all float64.  Returns (N, C, H / 2, W / 2) float64.
    """
    ### BEGIN SOLUTION
    N, C, H, W = x.shape
    total = x.reshape(N, C, H // 2, 2, W // 2, 2).sum(axis=(3, 5))        # (N, C, H / 2, W / 2)
    return total * coefficient[:, None, None] + bias[:, None, None]
    ### END SOLUTION

# %% tags=["check:subsample"]
check("subsample", subsample)

# %% [markdown]
# **2. A sparse C3.** Of the 16 maps of C3 only the last reads all six maps of S2. The others read three or four, so
# that each sees different inputs and has to look for something else; it also saved work. With the maps numbered from
# 0:
#
# - C3 maps 0 to 5 read three neighbours: map $i$ reads $i$, $i+1$, $i+2$. The maps stand in a circle: after 5 comes 0.
# - C3 maps 6 to 11 read four neighbours: map $6+i$ reads $i$, $i+1$, $i+2$, $i+3$, in the same circle.
# - C3 maps 12, 13 and 14 read 0, 1, 3, 4, then 1, 2, 4, 5, then 0, 2, 3, 5.
# - C3 map 15 reads all six.

# %% [markdown]
# ### Exercise: the connections of C3
#
# Write `c3_table()`. It takes no arguments and returns an array of shape (16, 6) with dtype int: 1 where a map of C3
# (row) reads a map of S2 (column), and 0 elsewhere.

# %% tags=["exercise:c3_table"]
def c3_table():
    """Which maps of S2 each map of C3 reads: (16, 6) int, 1 or 0."""
    ### BEGIN SOLUTION
    table = np.zeros((16, 6), dtype=int)
    for i in range(6):
        table[i, np.arange(i, i + 3) % 6] = 1
        table[6 + i, np.arange(i, i + 4) % 6] = 1
    for row, inputs in [(12, (0, 1, 3, 4)), (13, (1, 2, 4, 5)), (14, (0, 2, 3, 5)), (15, range(6))]:
        table[row, list(inputs)] = 1
    return table
    ### END SOLUTION

# %% tags=["check:c3_table"]
check("c3_table", c3_table)

# %% [markdown]
# **Predict.** A map of C3 has one 5×5 kernel for each map it reads, and one bias. How many parameters has C3 with this
# table? Fully connected it has 2,416.

# %%
connected = c3_table()                                                # (16, 6)
each_map = connected.sum(axis=1) * 5 * 5 + 1                          # (16,)
sparse_c3 = int(each_map.sum())
fig, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
ax.imshow(connected.T, cmap="gray_r", vmin=0, vmax=1.6)
ax.set(xticks=range(16), yticks=range(6), xlabel="map of C3, and its parameters", ylabel="map of S2",
       xticklabels=[f"{i}\n{n}" for i, n in enumerate(each_map)], title=f"{connected.sum()} kernels of 5×5")
ax.set_xticks(np.arange(17) - 0.5, minor=True)
ax.set_yticks(np.arange(7) - 0.5, minor=True)
ax.grid(which="minor", color="0.6")
plt.show()
print(f"{sparse_c3:,} parameters; each map of S2 is read {connected.sum(axis=0)} times")

# %% [markdown]
# 60 kernels instead of 96, and 60·25 + 16 = 1,516 parameters. The dark cells of a column are the maps that one map of
# C3 reads. No two columns are alike, and every row has ten dark cells.
#
# Groups (notebook 03) and this table are the same idea: leave connections out. Groups do it in blocks, which
# suits a GPU better.

# %% [markdown]
# **3. A squashing function.** After each layer up to F6 comes $f(a) = 1.7159\,\tanh(\tfrac{2}{3}a)$, where today
# stands ReLU.
#
# **Predict.** The two numbers look arbitrary. What might $f(1)$ be?

# %%
def squash(a):
    """The activation function of LeNet-5."""
    return 1.7159 * np.tanh(2 / 3 * a)


at_one = squash(1.0)
a = np.linspace(-4, 4, 201)
fig, ax = plt.subplots(figsize=(5, 2.8), layout="constrained")
ax.plot(a, squash(a), color="0.2", label="1.7159 tanh(2a/3)")
ax.plot(a, np.tanh(a), color="0.5", linestyle="--", label="tanh(a)")
ax.plot(a, np.maximum(a, 0), color="tab:orange", linestyle=":", linewidth=2, label="ReLU")
ax.plot([-1, 1], [squash(-1.0), at_one], "o", color="0.2")
ax.set(ylim=(-2, 3), xlabel="a")
ax.legend(frameon=False)
plt.show()
print(f"f(1) = {at_one:.5f}")

# %% [markdown]
# $f(1) = 1$ and $f(-1) = -1$ (the dots). So the targets ±1 lie where the function bends most, well inside its range of
# ±1.7159, and a unit need not go to its limits, where the slope vanishes, to reach them. ReLU avoids this question for
# positive inputs: its slope there is always 1.

# %% [markdown]
# **4. Outputs that measure a distance.** For each digit the authors drew a picture of 7×12 pixels, black or white: 84
# numbers, +1 or −1. Output $i$ is the squared distance between the 84 values of F6 and the picture of digit $i$ (a
# *radial basis function*); the smallest wins. So F6 learns to redraw the digit. These 840 numbers are fixed and not
# learned.
#
# **Predict.** The paper says the network has 60,000 trainable parameters. Is that rounded?

# %%
original = {"C1": 6 * (1 * 5 * 5 + 1), "S2": 6 * 2, "C3": int(c3_table().sum()) * 5 * 5 + 16, "S4": 16 * 2,
            "C5": 120 * (16 * 5 * 5 + 1), "F6": 84 * (120 + 1)}
trainable, fixed = sum(original.values()), 10 * 84
print("  ".join(f"{name} {count:,}" for name, count in original.items()))
print(f"together {trainable:,}, and {fixed} fixed numbers in the outputs")

# %% [markdown]
# It is exactly 60,000. The modern version, with max pooling, a dense C3 and ten ordinary outputs, has 61,706.

# %% [markdown]
# ## The layers that are missing
#
# You have built `Conv2d` and `MaxPool2d`. As there, `forward(x)` returns the output and keeps what is needed later;
# `backward(dy)` takes the gradient of the loss with respect to the output and returns the one with respect to the
# input. A layer with parameters then also holds `grad_weight` and `grad_bias`.

# %% [markdown]
# ### Exercise: a fully connected layer
#
# Write the class `Linear(weight, bias)`.
#
# - `weight` (out, in) and `bias` (out,), float64, are kept as attributes of these names;
# - `forward(x)`: x (N, in) gives (N, out). Output $o$ is the dot product of the input with row $o$ of `weight`, plus
#   `bias[o]`;
# - `backward(dy)`: dy (N, out) gives dx (N, in), and sets `grad_weight` (out, in) and `grad_bias` (out,). Both add up
#   over the samples; each call starts anew and belongs to the forward before it.
#
# Forward and backward are worth half of the points each.

# %% tags=["exercise:linear"]
class Linear:
    """y = x times weight transposed, plus bias.  weight (out, in), bias (out,), float64."""

    def __init__(self, weight, bias):
        self.weight, self.bias = weight, bias

    def forward(self, x):
        """x (N, in) float64.  Returns (N, out) float64."""
        ### BEGIN SOLUTION
        self.x = x
        return x @ self.weight.T + self.bias
        ### END SOLUTION

    def backward(self, dy):
        """dy (N, out) float64.  Returns dx (N, in); sets grad_weight (out, in) and grad_bias (out,)."""
        ### BEGIN SOLUTION
        self.grad_weight = dy.T @ self.x                                  # sum over the samples
        self.grad_bias = dy.sum(axis=0)
        return dy @ self.weight
        ### END SOLUTION

# %% tags=["check:linear"]
check("linear", Linear)

# %% [markdown]
# ### Exercise: ReLU
#
# Write the class `ReLU()`: max(x, 0) for each value. Its slope is 1 where the input was positive and 0 elsewhere, also
# where it was exactly 0.
#
# - `forward(x)`: x float64 of any shape gives a new array of that shape;
# - `backward(dy)`: dy of that shape gives dx of that shape, for the forward before it.

# %% tags=["exercise:relu"]
class ReLU:
    """max(x, 0) for each value."""

    def forward(self, x):
        """x of any shape, float64.  Returns a new array of the same shape."""
        ### BEGIN SOLUTION
        self.positive = x > 0
        return np.where(self.positive, x, 0.0)
        ### END SOLUTION

    def backward(self, dy):
        """dy of the shape of x.  Returns dx of the same shape."""
        ### BEGIN SOLUTION
        return np.where(self.positive, dy, 0.0)
        ### END SOLUTION

# %% tags=["check:relu"]
check("relu", ReLU)

# %% [markdown]
# ## From scores to a loss
#
# The last layer gives a score for each class, a **logit**, of any size and sign. **Softmax** makes probabilities of
# them, and the **cross-entropy** loss of a sample is minus the logarithm of the probability of its label $y$:
#
# $$p_k = \frac{e^{z_k}}{\sum_j e^{z_j}}, \qquad L = -\log p_y = \log\sum_j e^{z_j} - z_y .$$
#
# A probability of 1 costs nothing, one of ½ costs 0.69, one of 0.01 costs 4.6. Together the two have a simple
# gradient, $\partial L/\partial z_k = p_k - 1$ at the label and $p_k$ elsewhere: what the network said minus what is
# true.

# %% [markdown]
# **Predict.** Ten logits are equal. How large is the loss? And what does the formula give, typed in as it stands, for
# the logits 1000, 999 and 0 and the label 0?

# %%
uniform_loss = -np.log(1 / 10)
with np.errstate(all="ignore"):
    e = np.exp(np.array([1000.0, 999.0, 0.0]))
    typed_in = -np.log(e[0] / e.sum())
print(f"ten equal logits: {uniform_loss:.4f}; large logits: {typed_in}")

# %% [markdown]
# Ten equal logits cost $\ln 10 = 2.3026$. Remember this number: it is the loss of a network that knows nothing.
#
# $e^{1000}$ is too large for a float, so the second result is infinity divided by infinity, which is not a number. The
# remedy: softmax stays the same if one number is subtracted from all logits of a sample. Subtract the largest, and no
# exponent is above 0.

# %% [markdown]
# ### Exercise: the cross-entropy loss
#
# Write the class `CrossEntropyLoss()`.
#
# - `forward(logits, labels)`: logits (N, K) float64, labels (N,) ints from 0 to K − 1. Return one float, the **mean**
#   of the losses of the samples;
# - `backward()`: return the gradient of that mean, dlogits (N, K) float64.
#
# Softmax is part of the loss: it gets plain logits. Three parts count the same: the loss, the gradient, and both for
# large logits, where nothing may overflow and no logarithm may meet a 0.

# %% tags=["exercise:cross_entropy"]
class CrossEntropyLoss:
    """The mean over the batch of minus log softmax(logits) at the label."""

    def forward(self, logits, labels):
        """logits (N, K) float64; labels (N,) int.  Returns a float."""
        ### BEGIN SOLUTION
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))  # (N, K)
        self.p, self.labels = np.exp(log_p), labels
        return float(-log_p[np.arange(len(labels)), labels].mean())
        ### END SOLUTION

    def backward(self):
        """Returns dlogits (N, K) float64, for the forward before it."""
        ### BEGIN SOLUTION
        dlogits = self.p.copy()
        dlogits[np.arange(len(self.labels)), self.labels] -= 1
        return dlogits / len(self.labels)
        ### END SOLUTION

# %% tags=["check:cross_entropy"]
check("cross_entropy", CrossEntropyLoss)

# %% [markdown]
# ## How large the first weights should be
#
# Weights start as random numbers, or all units of a layer would learn the same. Of which size? In notebook 07 a wrong
# one multiplied from layer to layer. Here random data with root mean square 1 passes through twelve fully connected
# layers of width 256, each followed by ReLU. The weights are normal, with standard deviation ½, 1 or 2 times
# $\sqrt{2/256}$.
#
# **Predict.** By which factor does the signal change over twelve layers in each of the three cases?

# %%
def sizes_by_depth(scale, gain, act, depth=12, width=256):
    """The root mean square of the data and of what each layer gives; and the last output."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, width))
    sizes = [np.sqrt((x**2).mean())]
    for _ in range(depth):
        weight = rng.normal(0, scale * np.sqrt(gain / width), (width, width))
        x = act(x @ weight.T)
        sizes.append(np.sqrt((x**2).mean()))
    return np.array(sizes), x


def positive_part(a):
    return np.maximum(a, 0)


# %%
through_relu = {s: sizes_by_depth(s, 2, positive_part)[0] for s in (0.5, 1, 2)}
through_tanh = {s: sizes_by_depth(s, 1, np.tanh) for s in (0.5, 1, 4)}
slopes = {s: (1 - y**2).mean() for s, (_, y) in through_tanh.items()}
fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.1), layout="constrained")
for ax, curves, title in [(axes[0], through_relu, "ReLU, weights scale·√(2/256)"),
                          (axes[1], {s: c for s, (c, _) in through_tanh.items()}, "tanh, weights scale·√(1/256)")]:
    for (scale, curve), style in zip(curves.items(), ("v:", "o-", "^--")):
        ax.semilogy(curve, style, color="0.3", markerfacecolor="tab:orange", markersize=5, label=f"scale {scale:g}")
    ax.set(xlabel="layer", ylabel="root mean square", title=title)
    ax.legend(frameon=False, fontsize=9)
plt.show()
print("ReLU, size after 12 layers:", {s: f"{c[-1]:.3g}" for s, c in through_relu.items()})
print("tanh, mean slope in the last layer:", {s: f"{v:.2f}" for s, v in slopes.items()})

# %% [markdown]
# With ReLU, half the size loses a factor of $2^{12} = 4096$ and twice the size gains it: the factor per layer is
# raised to the power of the depth. Only the middle choice keeps the signal. Gradients on their way back share this
# fate.
#
# tanh cannot explode; too large weights drive it to ±1 instead. There its slope, with which every gradient is
# multiplied, is near 0: on average 0.22 in the last layer at scale 4, and a gradient meets twelve such layers.

# %% [markdown]
# Where does the 2/256 come from? An output adds up as many products as it has inputs, its **fan-in**. If the weights
# are independent, with mean 0 and variance $\sigma^2$, and the inputs have the mean square $m$, each product has the
# mean square $\sigma^2 m$, and the sum has $\text{fan-in}\cdot\sigma^2 m$. The sum is as often negative as positive, so
# ReLU leaves half of that. It is $m$ again if $\sigma^2 = 2/\text{fan-in}$.
#
# - **Kaiming** or He (He et al., 2015), for ReLU: standard deviation $\sqrt{2/\text{fan-in}}$;
# - **Xavier** or Glorot (Glorot and Bengio, 2010), for tanh: $\sqrt{2/(\text{fan-in} + \text{fan-out})}$, a compromise
#   between the way forward and the way back.

# %% [markdown]
# ### Exercise: Kaiming's standard deviation
#
# Write `kaiming_std(shape)`, the standard deviation $\sqrt{2/\text{fan-in}}$ for a weight of this shape. The fan-in is
# the number of inputs that one output adds up.
#
# `shape` is a tuple of ints: `(out, in)` for a fully connected layer, `(C_out, C_in, kH, kW)` for a convolution.
# Return a float.

# %% tags=["exercise:kaiming_std"]
def kaiming_std(shape):
    """The standard deviation of the first weights of a layer before a ReLU.

    shape (out, in) or (C_out, C_in, kH, kW).  Returns a float.
    """
    ### BEGIN SOLUTION
    fan_in = np.prod(shape[1:])
    return float(np.sqrt(2 / fan_in))
    ### END SOLUTION

# %% tags=["check:kaiming_std"]
check("kaiming_std", kaiming_std)

# %% [markdown]
# `layers.kaiming_normal(shape, rng)`, from the course's own library `cnnlab.layers`, draws weights with this standard
# deviation. With it, the ten arrays that LeNet starts from; biases start at 0. What `last` is for comes below.

# %%
def start(seed, last=1.0):
    """Weights and biases of C1, C3, C5, F6 and the output: ten arrays.  `last` scales the output's weights."""
    rng = np.random.default_rng(seed)
    shapes = [(6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84)]
    weights = [layers.kaiming_normal(shape, rng) for shape in shapes]
    weights[-1] *= last
    return [array for weight in weights for array in (weight, np.zeros(len(weight)))]


# %%
drawn = start(0)
for weight in drawn[::2]:
    print(f"{str(weight.shape):15} standard deviation {weight.std():.3f}")

# %% [markdown]
# ## Put it together
#
# ### Exercise: LeNet
#
# Write `lenet(w1, b1, w2, b2, w3, b3, w4, b4, w5, b5, nn=layers)`.
#
# - The ten arrays are weight and bias of C1, C3, C5, F6 and the output, shaped as in `start`; the network also has to
#   work for other sizes. C5 is fully connected.
# - `nn` is where the classes come from, by default the course's library. Write `nn.Conv2d(w1, b1)`, not `Conv2d(…)`:
#   so the same network can be made of your own layers. It has `Conv2d(weight, bias)`, `ReLU()`,
#   `MaxPool2d(kernel_size)`, `Flatten()`, `Linear(weight, bias)` and `Sequential(list_of_layers)`.
# - Return a `nn.Sequential` of: convolution, ReLU, 2×2 max pooling, twice; then three fully connected layers, with a
#   ReLU between each two. It ends with logits.

# %% tags=["exercise:lenet"]
def lenet(w1, b1, w2, b2, w3, b3, w4, b4, w5, b5, nn=layers):
    """LeNet with ReLU and max pooling, from the weights and biases of C1, C3, C5, F6 and the output.

    nn: the module or object that has the classes.  Returns a nn.Sequential: (N, C, H, W) to logits (N, classes).
    """
    ### BEGIN SOLUTION
    return nn.Sequential([
        nn.Conv2d(w1, b1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(w2, b2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(w3, b3), nn.ReLU(),
        nn.Linear(w4, b4), nn.ReLU(),
        nn.Linear(w5, b5)])
    ### END SOLUTION

# %% tags=["check:lenet"]
check("lenet", lenet)

# %% [markdown]
# ## The data
#
# 1,797 handwritten digits come with scikit-learn (Alpaydin and Kaynak, 1998): 8×8 pixels, with values from 0 to 16. As
# they are they are too small for LeNet: C1 and S2 leave 2×2 pixels, in which no 5×5 filter fits.
#
# In the paper, digits of at most 20×20 lie in the middle of 32×32. The border lets the centre of a filter reach the
# ends of the strokes, also for the units of C3. Here every pixel becomes a block of 3×3, which gives 24×24, and a
# border of 4 is laid around it. 80 % of the images are for training, the rest for testing.

# %%
def enlarge(images):
    """(N, 8, 8) to (N, 32, 32): every pixel three times as high and wide, and a border of 4."""
    return np.pad(images.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (4, 4), (4, 4)))


# %%
images, labels = digits()
order = np.random.default_rng(1998).permutation(len(images))
train, test = order[:1437], order[1437:]
y_train, y_test = labels[train], labels[test]
plots.images(images[train[0]], *enlarge(images[train[:6]]), height=1.5,
             titles=["8×8", *(f"32×32, a {label}" for label in y_train[:6])])
print(f"{len(train)} for training, {len(test)} for testing")

# %% [markdown]
# The split is at random, so both parts hold digits by the same 13 people. Digits by a stranger would be harder; keep
# that in mind when the result looks good.
#
# Learning is easiest when the inputs have mean 0 and standard deviation 1, for the same reason as in notebook 07.
# LeCun and colleagues chose −0.1 for the background and 1.175 for the strokes to this end.

# %% [markdown]
# ### Exercise: standardise
#
# Write `standardise(train, test)`: shift and scale the pixels so that the training set has mean 0 and standard
# deviation 1.
#
# - `train` (N, H, W) and `test` (M, H, W) are arrays of float64 or integers; the training set is not constant;
# - mean and standard deviation are **two numbers**, taken over all pixels of the training set, with NumPy's default
#   for the standard deviation. The test set is treated with the same two numbers;
# - return two new float64 arrays of the same shapes.

# %% tags=["exercise:standardise"]
def standardise(train, test):
    """Both sets, shifted and scaled to mean 0 and standard deviation 1 of the training set.

    train (N, H, W), test (M, H, W), float64 or int.  Returns two float64 arrays of these shapes.
    """
    ### BEGIN SOLUTION
    mean, std = train.mean(), train.std()
    return (train - mean) / std, (test - mean) / std
    ### END SOLUTION

# %% tags=["check:standardise"]
check("standardise", standardise)

# %%
x_train, x_test = standardise(enlarge(images[train]), enlarge(images[test]))
x_train, x_test = x_train[:, None], x_test[:, None]                   # (N, 1, 32, 32): one channel
print(f"{x_train.shape}, mean {abs(x_train.mean()):.2f}, standard deviation {x_train.std():.2f}")

# %% [markdown]
# ## The first loss
#
# **Predict.** Before any training the network should hold all ten digits for equally likely. Which loss do you expect?
# Which do you get from weights drawn by Kaiming's rule?

# %%
def first_loss(seed, last):
    """The loss on 256 training images before the first step, and the spread of the logits."""
    logits = lenet(*start(seed, last)).forward(x_train[:256])         # (256, 10)
    return layers.CrossEntropyLoss().forward(logits, y_train[:256]), logits.std()


# %%
first = {last: [first_loss(seed, last) for seed in range(3)] for last in (1.0, 0.01)}
for last, results in first.items():
    print(f"last={last:<5}", ", ".join(f"loss {loss:.3f} (logits ±{spread:.2f})" for loss, spread in results))

# %% [markdown]
# Not 2.303, but up to 8.5. The max pooling layers, of which Kaiming's rule knows nothing, have let the signal grow, so
# the logits are several units wide, and the network is convinced of answers that are right once in ten times. The
# first steps of training would be spent on unlearning this.
#
# The remedy is to make the weights of the **last** layer small. With `last=0.01` all logits are near 0 and the loss is
# $\ln 10$.
#
# This is worth a look before every training: **the first loss of a K-class network should be near $\ln K$.** If it is
# far off, look at the first weights, at the scale of the data, and at the loss.

# %% [markdown]
# ## One step of learning
#
# Gradient descent subtracts a multiple of the gradient, the **learning rate** times it, from each weight. *Stochastic*
# gradient descent (SGD) takes the gradient from a small random part of the data, a **mini-batch**: rough, but cheap,
# so there can be many steps.
#
# **Momentum** remembers earlier gradients. In PyTorch's convention, with velocity $v$, gradient $g$, momentum $\mu$
# and learning rate $\eta$:
#
# $$v \leftarrow \mu\,v + g, \qquad w \leftarrow w - \eta\,v .$$

# %% [markdown]
# ### Exercise: SGD with momentum
#
# Write `sgd_momentum(weight, grad, velocity, lr, momentum)`: one step.
#
# - `weight`, `grad` and `velocity` are float64 arrays of one shape; `lr` and `momentum` are floats;
# - return a tuple of two new arrays, `(weight, velocity)`, both after the step. The arrays that were passed in stay as
#   they are.

# %% tags=["exercise:sgd_momentum"]
def sgd_momentum(weight, grad, velocity, lr, momentum):
    """One step of gradient descent with momentum, in PyTorch's convention.

    weight, grad, velocity float64 arrays of one shape; lr, momentum floats.  Returns the new (weight, velocity).
    """
    ### BEGIN SOLUTION
    velocity = momentum * velocity + grad
    return weight - lr * velocity, velocity
    ### END SOLUTION

# %% tags=["check:sgd_momentum"]
check("sgd_momentum", sgd_momentum)

# %% [markdown]
# **Predict.** A long, narrow valley: steep across, nearly flat along. The learning rate must be small, or the walk
# would jump out across the valley. Forty steps without momentum and forty with 0.9: which gets closer to the bottom?

# %%
steepness = np.array([1.0, 25.0])                                     # along, across


def walk(momentum, steps=40, lr=0.03):
    """The places visited on the way down steepness · w² / 2, from (-10, 1.5): (steps + 1, 2)."""
    w, v = np.array([-10.0, 1.5]), np.zeros(2)
    path = [w]
    for _ in range(steps):
        w, v = sgd_momentum(w, steepness * w, v, lr, momentum)
        path.append(w)
    return np.array(path)


# %%
paths = {momentum: walk(momentum) for momentum in (0.0, 0.9)}
ends = {momentum: np.abs(path[-1]).max() for momentum, path in paths.items()}
along, across = np.meshgrid(np.linspace(-11, 5, 100), np.linspace(-2.5, 2.5, 60))
fig, ax = plt.subplots(figsize=(9, 3), layout="constrained")
ax.contour(along, across, (along**2 + 25 * across**2) / 2, levels=np.arange(1, 10) ** 2, colors="0.85")
for (momentum, path), style in zip(paths.items(), ("o:", "s-")):
    ax.plot(*path.T, style, color="0.3", markersize=4, linewidth=1, label=f"momentum {momentum:g}",
            markerfacecolor="white" if momentum else "tab:orange")
ax.plot(0, 0, "k+", markersize=12)
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# Without momentum the walk settles in the valley at once and then creeps, each step shorter than the last; after 40
# steps it is still 3 away from the bottom (the cross). With momentum, the small gradients along the valley agree and
# add up, so it is much faster there. The price is visible: it swings across the valley, and it runs past the bottom
# and comes back.

# %% [markdown]
# ## First test: overfit one small batch
#
# Before hours of training comes a test of a second: **can the network learn 32 images by heart?** It has 61,706
# parameters for them, so the loss must go to 0. If it does not, something is broken, and no amount of data or patience
# will mend it.
#
# A common bug to try it on: softmax is applied to the logits, and the result goes into a loss that applies softmax
# again.
#
# **Predict.** After the first softmax all values lie between 0 and 1. How small can the loss become at best, when the
# right class has 1 and the nine others 0?

# %%
class SoftmaxBefore(layers.CrossEntropyLoss):
    """The bug: a softmax before a loss that has its own."""

    def forward(self, logits, labels):
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        self.p = e / e.sum(axis=1, keepdims=True)                     # (N, 10)
        return super().forward(self.p, labels)

    def backward(self):
        dp = super().backward()
        return self.p * (dp - (dp * self.p).sum(axis=1, keepdims=True))


def by_heart(criterion, lr=0.02, steps=40):
    """The losses of training on the first 32 images only."""
    net, losses = lenet(*start(0, last=0.01)), []
    optimiser = layers.SGD(net.layers, lr=lr, momentum=0.9)
    for _ in range(steps):
        losses.append(criterion.forward(net.forward(x_train[:32]), y_train[:32]))
        net.backward(criterion.backward())
        optimiser.step()
    return losses

# %%
right, buggy = by_heart(layers.CrossEntropyLoss()), by_heart(SoftmaxBefore())
floor = np.log(np.e + 9) - 1                                          # -log(e / (e + 9))
fig, ax = plt.subplots(figsize=(7, 2.8), layout="constrained")
ax.plot(right, color="0.2", label="logits into the loss")
ax.plot(buggy, "--", color="tab:orange", linewidth=2, label="softmax before the loss")
ax.axhline(floor, color="0.6", linewidth=1)
ax.text(40, floor - 0.05, f"ln(e + 9) − 1 = {floor:.3f}", ha="right", va="top", fontsize=9)
ax.set(xlabel="step", ylabel="loss on 32 images")
ax.legend(frameon=False)
plt.show()
print(f"after 40 steps: {right[-1]:.1g} and {buggy[-1]:.2f}")

# %% [markdown]
# Both start at 2.30. The right one falls below a thousandth. The other one is not obviously broken: it goes down, and
# on real data it would even reach some accuracy. But it can never fall below 1.461, and it does not come near: where
# the first softmax is sure of a wrong class, it is flat, and lets hardly any gradient through. Only the knowledge that
# the loss **must** reach 0 here tells you that something is wrong.
#
# **Predict.** The same test with the learning rate 1 in place of 0.02. What does the loss do?

# %%
with np.errstate(all="ignore"):
    exploded = by_heart(layers.CrossEntropyLoss(), lr=1.0, steps=30)
print("  ".join(f"{loss:.3g}" for loss in exploded[:9]), "…", f"{exploded[-1]:.3g}")

# %% [markdown]
# It explodes within a few steps, and what remains of it is a network that gives every image the same scores: the large
# steps have left no ReLU that any image can still switch on, so no gradient passes any more. A loss that shoots up and
# comes to rest near $\ln 10$ has nothing left to learn with. Divide the learning rate by ten and start again.

# %% [markdown]
# ### Exercise: accuracy
#
# The loss is for the optimiser. People want to know how often the network is right.
#
# Write `accuracy(logits, labels)`: the share of samples whose largest logit is that of the label.
#
# - `logits` (N, K) float64, without two equal numbers in a row; `labels` (N,) ints;
# - return a float from 0 to 1.

# %% tags=["exercise:accuracy"]
def accuracy(logits, labels):
    """The share of samples whose largest logit is at the label.

    logits (N, K) float64; labels (N,) int.  Returns a float from 0 to 1.
    """
    ### BEGIN SOLUTION
    return float((logits.argmax(axis=1) == labels).mean())
    ### END SOLUTION

# %% tags=["check:accuracy"]
check("accuracy", accuracy)

# %% [markdown]
# ## Library or your own layers
#
# LeNet can be trained with the layers you wrote. Set `USE_MY_LAYERS` to `True`: `Conv2d` is then taken from your
# notebook 05 and `MaxPool2d` from your notebook 06, which must lie beside this one, saved and finished; `Linear`,
# `ReLU` and `CrossEntropyLoss` are those above.
#
# The cell below trains both for ten steps, from the same weights and on the same images.
#
# **Predict.** Will the losses be equal, nearly equal, or merely alike?

# %%
USE_MY_LAYERS = False

nn = layers
if USE_MY_LAYERS:
    nn = own.layers({"05_backpropagation": ["Conv2d"], "06_pooling": ["MaxPool2d"]},
                    Linear=Linear, ReLU=ReLU, CrossEntropyLoss=CrossEntropyLoss)

# %%
def ten_steps(nn):
    """Ten losses on batches of 16, and the seconds they took."""
    began, losses = time.perf_counter(), []
    net, criterion = lenet(*start(1, last=0.01), nn=nn), nn.CrossEntropyLoss()
    optimiser = layers.SGD(net.layers, lr=0.02, momentum=0.9)
    for i in range(0, 160, 16):
        losses.append(criterion.forward(net.forward(x_train[i:i + 16]), y_train[i:i + 16]))
        net.backward(criterion.backward())
        optimiser.step()
    return np.array(losses), time.perf_counter() - began


# %%
library, seconds = ten_steps(layers)
print(f"cnnlab.layers: {library[0]:.4f} … {library[-1]:.4f} in {seconds:.2f} s")
if USE_MY_LAYERS:
    mine, seconds = ten_steps(nn)
    print(f"your layers:   {mine[0]:.4f} … {mine[-1]:.4f} in {seconds:.2f} s")
    print(f"largest difference: {np.abs(mine - library).max():.1g}")

# %% [markdown]
# They should agree to ten digits or more: the mathematics is the same, only the order of the additions differs. If the
# first loss already differs, a forward pass is wrong; if the first agrees and the second does not, a backward pass is.
#
# `nn` now stands for the layers of your choice, and the training below uses it. If yours are slow, set the flag back
# first, or reduce `epochs`.

# %% [markdown]
# ## Train
#
# Two more ingredients. Each training image is moved by up to 2 pixels in each direction, differently every time it is
# seen, so that the network cannot learn 1,437 images by heart (augmentation, notebook 07). And the learning rate falls
# from 0.02 to 0 along the way, as it fell in the paper: large steps to get there, small ones to settle.

# %%
def shifted(x, rng, most=2):
    """Each image of x (N, 1, 32, 32) moved by up to `most` pixels; the border is wide enough for it."""
    moves = rng.integers(-most, most + 1, (len(x), 2))                # rows, columns
    return np.stack([np.roll(image, move, axis=(1, 2)) for image, move in zip(x, moves)])


# %%
weights = start(1, last=0.01)                                         # what the training begins with
same_image = enlarge(images[train[:1]])[:, None].repeat(6, axis=0)    # (6, 1, 32, 32)
plots.images(same_image[0, 0], *shifted(same_image, np.random.default_rng(0))[:, 0], height=1.5,
             titles=["image", *["shifted"] * 6])

# %% [markdown]
# All of training is the four lines of `step` that follow on the learning rate: forward, loss, backward, update. `fit`
# only draws the mini-batches, calls `step` and shows the curves.
#
# **Predict.** How many of the 360 test images will be right after one pass through the data (one **epoch**), and how
# many after ten?

# %%
def step(batch, done):
    """One mini-batch: batch holds the numbers of its images, done is the share of the training so far."""
    optimiser.lr = 0.02 * (1 - done)
    x, y = shifted(x_train[batch], shifts), y_train[batch]
    loss = criterion.forward(net.forward(x), y)
    net.backward(criterion.backward())
    optimiser.step()
    return loss

# %%
net, shifts = lenet(*weights, nn=nn), np.random.default_rng(1)
criterion, optimiser = nn.CrossEntropyLoss(), layers.SGD(net.layers, lr=0.02, momentum=0.9)
history = fit(step, len(x_train), epochs=10, batch_size=32, seed=1,
              evaluate=lambda: accuracy(net.forward(x_test), y_test))
weights = [array for layer in net.layers if hasattr(layer, "weight") for array in (layer.weight, layer.bias)]

# %% [markdown]
# On the left the loss of each mini-batch (pale) and its mean over 20 (dark), on a logarithmic axis: it starts at
# $\ln 10$. On the right the accuracy on the test images after each epoch. One epoch is enough for most digits, and in
# the end about 98 of 100 are right. Single epochs jump by a few images up and down, since one of 360 is 0.28 %.
#
# With another seed the result is a little different. And if you tried ten settings and kept the one with the best test
# accuracy, that number would flatter you: for choosing, put part of the training set aside.
#
# To try: `most=0`, no shifts. The training loss falls further, the test accuracy does not rise with it. Why?

# %% [markdown]
# ## What it got wrong
#
# The eight test images to whose true class the network gives the least probability. An answer in brackets is wrong.

# %%
net = lenet(*weights, nn=nn)
logits = net.forward(x_test)
test_accuracy = accuracy(logits, y_test)
p = np.exp(logits - logits.max(axis=1, keepdims=True))
p /= p.sum(axis=1, keepdims=True)                                     # (360, 10)
hardest = np.argsort(p[np.arange(len(p)), y_test])[:8]
said = p.argmax(axis=1)
answers = [f"a {k}" if k == label else f"(a {k})" for k, label in zip(said, y_test)]
plots.images(*images[test[hardest]], height=1.6,
             titles=[f"is a {y_test[i]}\n{answers[i]}: {p[i].max():.0%}" for i in hardest])
print(f"{np.sum(said != y_test)} of {len(y_test)} wrong")

# %% [markdown]
# Most of these are hard for people too, at 8×8 pixels. Look at the probabilities too: a network can be wrong and
# sure of it. Cross-entropy rewards being sure of what is right, and on the training images, by the end, nearly all is
# right.

# %% [markdown]
# ## What it learned
#
# The six filters of C1 before and after training, and the difference. A larger weight is darker.
#
# **Predict.** Nobody told the network which filters to use. How much will they have changed?

# %%
before, after = start(1, last=0.01)[0], weights[0]                    # (6, 1, 5, 5) each
change = after - before
fig, axes = plt.subplots(3, 6, figsize=(7, 3.8), layout="constrained")
for row, filters, name in zip(axes, (before, after, change), ("before", "after", "change")):
    limit = np.abs(change if name == "change" else after).max()
    for i, (ax, kernel) in enumerate(zip(row, filters[:, 0])):
        ax.imshow(kernel, cmap="gray_r", vmin=-limit, vmax=limit)
        ax.set(xticks=[], yticks=[], title=f"filter {i}" if name == "before" else "")
    row[0].set_ylabel(name)
plt.show()
alike = {name: np.corrcoef(filters[..., 1:].ravel(), filters[..., :-1].ravel())[0, 1]
         for name, filters in [("before", before), ("change", change)]}
print("correlation of neighbouring weights:", ", ".join(f"{name} {value:.2f}" for name, value in alike.items()))

# %% [markdown]
# Less than one might think: the random start still shows. What training has added (last row, on its own scale) is not
# random. Neighbouring weights have moved together, so the change is made of light and dark areas rather than of single
# cells. A light area beside a dark one answers to edges, like the filters of notebook 02.
#
# Filters that differ from each other, even random ones, already carry information forward; the layers after them
# adapt. Notebook 16 looks at the filters of larger networks.

# %% [markdown]
# Now send one test image through the network and look at the output of every stage. A larger value is darker.

# %%
net = lenet(*weights, nn=nn)
one = x_test[:1]                                                      # (1, 1, 32, 32)
values = [one[0]]
for layer in net.layers:
    one = layer.forward(one)
    values.append(one[0])
stages = {"image": 0, "C1": 2, "S2": 3, "C3": 5, "S4": 6, "C5": 9, "F6": 11, "logits": 12}
plots.feature_maps({name: values[i] for name, i in stages.items()})
print(f"It is a {y_test[0]}; the network says {values[12].argmax()}.")

# %% [markdown]
# Each map of C1 shows the same strokes with another emphasis, and S2 keeps them at half the size. In C3 the digit can
# hardly be recognised: its maps say where a certain arrangement of strokes is. From S4 on there is no picture any more
# but a pattern of activity, sparse because of ReLU. The darkest of the ten logits, counted from 0, is the answer.

# %% [markdown] tags=["written:three_curves:4"]
# ## In your own words
#
# Four people train a network on ten classes and ask you for help.
#
# - **A.** The first loss is 14.2.
# - **B.** The first loss is 2.30. On a single batch of 32 images the loss falls to about 1.8 within minutes, and then
#   hardly any further.
# - **C.** The first loss is 2.30. The second is 9, the fifth `nan`.
# - **D.** The training loss falls to 0.01, and the accuracy on the training images is 100 %. On the test images it is
#   12 %.
#
# For each, name one likely cause, and one quick experiment or print-out that would confirm it or rule it out. Two or
# three sentences for each are enough.
#
# <!-- BEGIN SOLUTION -->
# **Answer.**
#
# A: The network should start near ln 10 = 2.30; 14.2 means that it is confident and wrong, so its logits are large.
# Likely causes are first weights that are too large, or data that were not scaled (0 to 255). Print the mean and
# standard deviation of the inputs and of the logits; or scale the last layer by 0.01 and see whether 2.30 appears.
#
# B: A correct set-up must learn 32 images by heart. A floor between 1.46 and 1.8 points to a softmax before a loss
# that contains one: its loss cannot go below ln(e + 9) − 1 = 1.461. Print what goes into the loss: if the rows are
# positive and sum to 1, that is it. (Also possible: labels that do not belong to the images.)
#
# C: The steps are too large. Divide the learning rate by ten and look whether the loss falls. Otherwise an exp or a
# log overflows: print the largest logit.
#
# D: 12 % is guessing, which no overfitting explains on data of the same kind; the test images are treated differently.
# Likely they are not standardised, or with other numbers, or the labels are in another order, or layers such as batch
# norm or dropout are still in training mode. Compare mean and standard deviation of both sets; or run the evaluation
# code on training images: if it gives 12 % there too, the evaluation is wrong.
#
# **Rubric.** One point for each of A to D: half for a cause that explains the symptom, half for an experiment that
# separates it from another cause. For D, "overfitting" alone earns nothing.
# <!-- END SOLUTION -->

# %% [markdown]
# ## Summary
#
# | question | answer |
# |---|---|
# | LeNet-5 | 32×32 → C1 6@28 → S2 6@14 → C3 16@10 → S4 16@5 → C5 120 → F6 84 → 10 |
# | parameters in 1998 | 156 + 12 + 1,516 + 32 + 48,120 + 10,164 = 60,000, and 840 fixed |
# | parameters of the modern version | 61,706, of which 48,120 in C5 |
# | fully connected | $y = xW^\top + b$; $dx = dy\,W$, $dW = dy^\top x$, $db = \sum_n dy_n$ |
# | softmax and cross-entropy | $\log\sum_j e^{z_j} - z_y$, gradient $(p - \text{one-hot})/N$ |
# | first weights before ReLU | standard deviation $\sqrt{2/\text{fan-in}}$, the last layer much smaller |
# | first loss of K classes | $\ln K$; for ten, 2.303 |
# | SGD with momentum | $v \leftarrow \mu v + g$, $w \leftarrow w - \eta v$ |
# | first test | a small batch must be learned by heart: loss to 0 |
# | scaling | mean and standard deviation of the training set, for all data |

# %% [markdown]
# ## Where to read more
#
# - Yann LeCun, Léon Bottou, Yoshua Bengio and Patrick Haffner, *Gradient-based learning applied to document
#   recognition*, Proceedings of the IEEE, 1998: section II and figure 2 are LeNet-5, table I the connections of C3.
# - Xavier Glorot and Yoshua Bengio, *Understanding the difficulty of training deep feedforward neural networks*, 2010.
# - Kaiming He, Xiangyu Zhang, Shaoqing Ren and Jian Sun, *Delving deep into rectifiers*, 2015.
# - Yann LeCun, Léon Bottou, Genevieve Orr and Klaus-Robert Müller, *Efficient BackProp*, 1998: scaled inputs, the
#   choice of 1.7159 and 2/3, and much else that still holds.
# - Ethem Alpaydin and Cenk Kaynak, *Optical recognition of handwritten digits*, UCI Machine Learning Repository, 1998.
