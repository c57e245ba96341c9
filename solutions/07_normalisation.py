# %% [markdown]
# # 07 Normalisation and regularisation
#
# A deep network trains well only while the numbers in it keep a sensible size. Batch normalisation sees to
# that, and it is the first layer in this course that behaves differently in training and in use. Around it
# stand four older parts of AlexNet: local response normalisation, and three means against overfitting, which is
# to learn the training images by heart: dropout, weight decay and data augmentation.

# %% [markdown]
# ## What you will be able to do
#
# - say which entries of a batch share a mean and a variance in batch, layer, instance and group norm;
# - write batch norm: forward, backward, running statistics, both modes, as a layer;
# - recognise a network that was left in training mode;
# - fold batch norm into the convolution before it;
# - say what is known and what is disputed about why batch norm helps;
# - write local response normalisation, dropout and AlexNet's colour augmentation, and say what weight decay
#   does.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cnnlab import animation, check, hint, plots
from cnnlab.data import digits, grey, photo

# %% [markdown]
# ## Why the size of the numbers matters
#
# A layer multiplies its input by weights. If the weights are a little too large, so is what comes out, and
# the next layer multiplies it again. Gradients pass the same weights on their way back.
#
# Here digits pass through 30 random layers, each followed by ReLU. The scale 1 is chosen so that the size is
# kept on average (He et al., 2015; notebook 08 derives it).
#
# **Predict.** With weights 1.25 times as large, or 0.8 times, how far from those of scale 1 are the numbers
# after 30 layers: a few times, a few hundred times, or a million times?

# %%
images, labels = digits()                                      # (1797, 8, 8), (1797,)
pixels = images.reshape(-1, 64)                                # (1797, 64)
standard = (pixels - pixels.mean()) / pixels.std()             # one mean and one scale for all pixels


def through_layers(scale, after=lambda z: z, layers=30):
    """The standard deviation after each of many random layers; `after` is applied before the ReLU."""
    rng, x, sizes = np.random.default_rng(0), standard[:256], []
    for _ in range(layers):
        weight = rng.normal(size=(64, 64)) * scale * np.sqrt(2 / 64)
        x = np.maximum(after(x @ weight), 0)
        sizes.append(x.std())
    return sizes


def draw_sizes(sizes):
    """The standard deviations, layer by layer, one curve for each scale."""
    fig, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
    for (scale, values), style in zip(sizes.items(), ("v:", "o-", "^--")):
        ax.semilogy(range(1, 31), values, style, color="0.3", markerfacecolor="tab:orange",
                    label=f"scale {scale}")
    ax.set(xlabel="layer", ylabel="standard deviation", ylim=(3e-4, 2e3))
    ax.legend(frameon=False, loc="upper left")
    plt.show()

# %%
sizes = {scale: through_layers(scale) for scale in (0.8, 1.0, 1.25)}
draw_sizes(sizes)
growth = sizes[1.25][-1] / sizes[1.0][-1]
print(f"after 30 layers, scale 1.25 over scale 1: {growth:.0f}; 1.25 to the power 30: {1.25 ** 30:.0f}")

# %% [markdown]
# The axis is in powers of ten, and the curves are about straight: the factor multiplies, layer after layer.
# 808 times too large at scale 1.25, and 808 times too small at 0.8. Only scale 1 stays in range, and training
# changes the weights, so a good start alone does not keep it there.

# %% [markdown]
# ## Normalise each feature
#
# Ioffe and Szegedy (2015) make the scale part of the layer. Take a table `x` of shape (N, D): N examples in
# the batch, D features. For each feature, over the batch:
#
# $$\mu = \frac1N\sum_n x_n, \qquad v = \frac1N\sum_n (x_n - \mu)^2, \qquad
# \hat x_n = \frac{x_n - \mu}{\sqrt{v + \varepsilon}}, \qquad y_n = \gamma\,\hat x_n + \beta .$$
#
# $v$ is the **biased** variance, divided by N. The small ε keeps the root away from 0. γ and β are learned,
# one pair for each feature, so that the next layer can have any scale and centre that serves it. PyTorch
# calls γ the `weight` and β the `bias` of the layer.

# %% [markdown]
# ### Exercise: batch norm of a table
#
# Write `batch_norm_dense(x, gamma, beta, eps=1e-5)`.
#
# - `x` (N, D), `gamma` (D,), `beta` (D,), all float64; N is at least 2, `eps` a float above 0;
# - a feature may be constant over the batch;
# - return (N, D), float64.
#
# If you are stuck, run `hint("batch_norm_dense")` in a cell of your own, and again for more.

# %% tags=["exercise:batch_norm_dense"]
def batch_norm_dense(x, gamma, beta, eps=1e-5):
    """Batch norm of a table, with the statistics of the batch.

    x (N, D), gamma (D,), beta (D,), all float64; eps a float.  Returns (N, D) float64.
    """
    ### BEGIN SOLUTION
    xhat = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps)
    return gamma * xhat + beta
    ### END SOLUTION

# %% tags=["check:batch_norm_dense"]
check("batch_norm_dense", batch_norm_dense)

# %% [markdown]
# **Predict.** Put batch norm before every ReLU of the 30 layers. What do the three curves look like now?

# %%
def normalise(z):
    """Batch norm with gamma 1 and beta 0."""
    return batch_norm_dense(z, np.ones(64), np.zeros(64))


normalised_sizes = {scale: through_layers(scale, after=normalise) for scale in (0.8, 1.0, 1.25)}
draw_sizes(normalised_sizes)
z = standard[:256] @ np.random.default_rng(1).normal(size=(64, 64))
scale_effect = np.abs(normalise(100 * z) - normalise(z)).max()
print(f"largest change of the output when the weights grow 100 times: {scale_effect:.1g}")

# %% [markdown]
# One flat curve: the three lie on each other. Batch norm divides by whatever scale arrives, so a layer before
# it may multiply its weights by 100 and nothing changes but the part of ε. We shall need this twice more, for
# the gradient and for weight decay.

# %% [markdown]
# ## Which entries share a mean
#
# The output of a convolution has four axes, (N, C, H, W). A filter is the same at every position, so its map
# is **one** feature, measured at many places. Batch norm therefore takes its statistics over the images and
# over both spatial axes, three of the four, and has one mean, variance, γ and β for each channel.
#
# Other norms share differently. Below, a batch is drawn as a block: channels to the right, the H·W positions
# downwards, images into the depth. The filled entries share **one** mean and **one** variance.

# %%
N, C, P = 4, 6, 5
n, c, _ = np.indices((N, C, P))
shared = {"batch norm": c == 5, "layer norm": n == 0, "instance norm": (n == 0) & (c == 5),
          "group norm, 2 groups": (n == 0) & (c >= 3)}
fig, axes = plt.subplots(1, 4, figsize=(10, 2.8), layout="constrained")
for ax, (name, entries) in zip(axes, shared.items()):
    plots.block(ax, entries, name)
plt.show()

# %% [markdown]
# - **Batch norm** (2015): one channel, all images.
# - **Layer norm** (Ba et al., 2016): one image, all channels.
# - **Instance norm** (Ulyanov et al., 2016): one image, one channel.
# - **Group norm** (Wu and He, 2018): one image, a block of neighbouring channels.
#
# Every one of them includes all positions. Only batch norm joins images; the other three treat each image on
# its own, so to them the rest of the batch does not matter.
#
# **Predict.** A batch has N = 3 images and C = 4 channels. How many means does each norm compute, group norm
# with 2 groups?

# %%
animation.norm_groups((3, 4, 5), groups=2)

# %% [markdown]
# Step through it: C = 4 for batch norm, N = 3 for layer norm, N·C = 12 for instance norm, and N·2 = 6 for
# group norm. A block turns grey when its groups are through. γ and β belong to a channel in all four, as Wu and
# He write them. (`torch.nn.LayerNorm` has a pair of its own for every entry it normalises over.)

# %% [markdown]
# ### Exercise: batch norm of maps
#
# Write `batch_norm_conv(x, gamma, beta, eps=1e-5)`.
#
# - `x` (N, C, H, W), `gamma` (C,), `beta` (C,), all float64; `eps` is a float above 0;
# - each channel holds at least 2 numbers, N·H·W ≥ 2, and N may be 1;
# - return (N, C, H, W), float64.

# %% tags=["exercise:batch_norm_conv"]
def batch_norm_conv(x, gamma, beta, eps=1e-5):
    """Batch norm of maps, with the statistics of the batch.

    x (N, C, H, W), gamma (C,), beta (C,), all float64; eps a float.  Returns (N, C, H, W) float64.
    """
    ### BEGIN SOLUTION
    mean = x.mean(axis=(0, 2, 3), keepdims=True)                          # (1, C, 1, 1)
    var = x.var(axis=(0, 2, 3), keepdims=True)
    xhat = (x - mean) / np.sqrt(var + eps)
    return gamma[:, None, None] * xhat + beta[:, None, None]
    ### END SOLUTION

# %% tags=["check:batch_norm_conv"]
check("batch_norm_conv", batch_norm_conv)

# %% [markdown]
# **Predict.** Three photographs, one of them much darker than the others, form a batch with one channel.
# After batch norm, is the dark one still darker than the others? And after instance norm?

# %%
def thumbnail(name):
    """A grey photograph, (1, 100, 128)."""
    return grey(photo(name))[::4, ::4][:100, :128][None]

# %%
three = np.stack([thumbnail(name) for name in ("china", "flower", "hopper")])     # (3, 1, 100, 128)
one, zero = np.ones(1), np.zeros(1)
by_batch = batch_norm_conv(three, one, zero)
by_instance = np.concatenate([batch_norm_conv(image[None], one, zero) for image in three])   # N = 1 each
brightness = {"batch norm": by_batch.mean(axis=(1, 2, 3)), "instance norm": by_instance.mean(axis=(1, 2, 3))}
for name, out in [("batch norm", by_batch), ("instance norm", by_instance)]:
    titles = [f"{name}: garden", "flower", "portrait"]
    plots.images(*out[:, 0], titles=titles, height=2, vmin=-2.5, vmax=2.5)
for name, means in brightness.items():
    print(f"{name:14} mean of each image:", means.round(2) + 0.0)

# %% [markdown]
# Batch norm keeps the differences between images: the flower stays dark, with a mean of −0.46, and the garden
# bright, with 0.58. Instance norm gives every image mean 0 and standard deviation 1; which one was dark can
# no longer be told. That is welcome where brightness and contrast are a nuisance, as in style transfer or when
# a kernel answers to a bright window (notebook 02), and a loss where they carry information.
#
# With a batch of one image, batch norm **is** instance norm. That is how the cell computed it.

# %% [markdown]
# ## The company an image keeps
#
# Batch norm joins the images of a batch, so what comes out for one image depends on the others.
#
# The portrait is normalised twice: in a batch with two bright photographs, and in a batch with two dark ones.
# Both results are drawn with the same grey scale.
#
# **Predict.** In which of the two does it come out darker?

# %%
china, flower, hopper = three                                     # (1, 100, 128) each
company = {"bright": np.stack([hopper, china, china]), "dark": np.stack([hopper, flower, flower])}
trained = {name: batch_norm_conv(batch, one, zero)[0, 0] for name, batch in company.items()}
plots.images(*trained.values(), titles=["in bright company", "in dark company"], vmin=-2.5, vmax=2.5)
company_means = {name: out.mean() for name, out in trained.items()}
company_stds = {name: out.std() for name, out in trained.items()}
for name in company:
    print(f"the portrait in {name:6} company: mean {company_means[name]:5.2f}, "
          f"standard deviation {company_stds[name]:.2f}")

# %% [markdown]
# Darker in bright company: its mean is −0.45 there and 0.27 among dark photographs, and its contrast differs
# too, with a standard deviation of 0.84 against 1.09. The same image gives two inputs to the next layer. In
# training this noise does little harm, and it may even regularise. In use it is a fault: what a network says
# of an image must not depend on which images happen to be processed together, and a single image may be all
# there is.
#
# So the layer has two **modes**. In **training mode** it uses the statistics of the batch. In **evaluation
# mode** it uses **running statistics**, collected during training and then fixed.

# %% [markdown]
# ## Running statistics
#
# They start as mean 0 and variance 1. Each forward pass in training mode moves them a little towards the
# batch:
#
# $$\text{running} \leftarrow (1 - m)\cdot\text{running} + m\cdot\text{batch}, \qquad m = 0.1 .$$
#
# Two conventions need care:
#
# - PyTorch's **momentum** $m$ is the weight of the *new* batch. Keras gives the weight of the *old* value,
#   0.99 unless told otherwise, under the same name.
# - The batch's variance enters **unbiased**, divided by the count less one. The layer normalises with the
#   biased one all the same. The biased one describes the batch itself, the unbiased one estimates the
#   variance of all the data.

# %% [markdown]
# ### Exercise: running statistics
#
# Write `update_running(running_mean, running_var, x, momentum=0.1)`, one step of both.
#
# - `running_mean` (C,), `running_var` (C,), `x` (N, C, H, W), all float64, with N·H·W ≥ 2; `momentum` is a
#   float, in PyTorch's convention;
# - return a tuple of two new arrays, the mean (C,) and the variance (C,), float64. Leave the arguments as
#   they are.

# %% tags=["exercise:update_running"]
def update_running(running_mean, running_var, x, momentum=0.1):
    """Move the running statistics one step towards those of a batch.

    running_mean (C,), running_var (C,), x (N, C, H, W), all float64; momentum a float.
    Returns (mean, var), each (C,) float64.
    """
    ### BEGIN SOLUTION
    mean = x.mean(axis=(0, 2, 3))                                         # (C,)
    var = x.var(axis=(0, 2, 3), ddof=1)
    return (1 - momentum) * running_mean + momentum * mean, (1 - momentum) * running_var + momentum * var
    ### END SOLUTION

# %% tags=["check:update_running"]
check("update_running", update_running)

# %% [markdown]
# **Predict.** A fresh layer sees the four numbers 1, 2, 3, 4 of one channel. What are its running mean and
# variance after this one step?

# %%
four = np.array([1.0, 2, 3, 4]).reshape(4, 1, 1, 1)
one_mean, one_var = (float(value[0]) for value in update_running(np.zeros(1), np.ones(1), four))
biased_var = 0.9 * 1 + 0.1 * float(four.var())
print(f"running mean {one_mean:.4g}, running variance {one_var:.4f}; with the biased variance {biased_var:.4g}")

# %% [markdown]
# The mean is 0.1 · 2.5 = 0.25. The four numbers have the unbiased variance 5/3, so the running variance is
# 0.9 + 0.1 · 1.6667 = 1.0667. That is what PyTorch gives; with the biased variance 5/4 it would be 1.025. The
# smaller the batch, the larger this difference.
#
# After $t$ steps the weight left on the start is $0.9^t$.
#
# **Predict.** How many steps does it take until the start hardly counts? And with momentum 0.01?

# %%
def run_batches(momentum, steps):
    """The running mean and variance of the digits after each of many batches of 32: (steps, 2)."""
    rng, mean, var, path = np.random.default_rng(0), np.zeros(1), np.ones(1), []
    for _ in range(steps):
        batch = images[rng.integers(0, len(images), 32)][:, None]         # (32, 1, 8, 8)
        mean, var = update_running(mean, var, batch, momentum)
        path.append((mean[0], var[0]))
    return np.array(path)

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 2.7), layout="constrained")
targets = images.mean(), images.var()
curves = {momentum: run_batches(momentum, 150) for momentum in (0.1, 0.01)}
for i, (ax, name) in enumerate(zip(axes, ("running mean", "running variance"))):
    ax.axhline(targets[i], color="0.6", linewidth=4, label="all digits")
    for (momentum, path), style in zip(curves.items(), ("-", "--")):
        ax.plot(range(1, 151), path[:, i], style, color="tab:orange" if momentum == 0.1 else "0.2",
                label=f"momentum {momentum}")
    ax.set(xlabel="step", title=name)
axes[1].legend(frameon=False)
plt.show()

# %% [markdown]
# With momentum 0.1 both reach the grey line of the whole data within about 40 steps ($0.9^{40} \approx
# 0.015$). With 0.01 they are still on their way after 150 ($0.99^{150} \approx 0.22$). A small momentum
# averages over more batches and needs more of them.
#
# **Predict.** Evaluation right after the **first** step: digits normalised with the running statistics should
# have mean 0 and standard deviation 1. What do they have?

# %%
def evaluate(x, mean, var, eps=1e-5):
    """Batch norm in evaluation mode, gamma 1 and beta 0: the given statistics, whatever the batch."""
    return (x - mean[:, None, None]) / np.sqrt(var[:, None, None] + eps)

# %%
whole = images[:, None]                                                   # (1797, 1, 8, 8)
after = {}
for steps in (1, 10, 50, 150):
    mean, var = run_batches(0.1, steps)[-1]
    out = evaluate(whole, np.array([mean]), np.array([var]))
    after[steps] = round(out.mean(), 2) + 0.0, round(out.std(), 2)
    print(f"after {steps:3} steps: mean {after[steps][0]:.2f}, standard deviation {after[steps][1]:.2f}")

# %% [markdown]
# After one step it is far off, with mean 2.08 and standard deviation 2.85: nine tenths of the start remain. A
# network that is evaluated before its running statistics have settled looks broken, although its weights may
# be good. The same happens when the data change their range after training, say from 0 … 1 to 0 … 255: in
# training mode the layer would adapt, in evaluation mode it does not.

# %% [markdown]
# ## Backward
#
# One feature, N examples. $L$ is the loss, `dy` holds $\partial L/\partial y_n$, and $s = \sqrt{v +
# \varepsilon}$ is the root. First the easy parts. γ and β are used by every example, so their gradients are
# sums:
#
# $$\frac{\partial L}{\partial\beta} = \sum_n \frac{\partial L}{\partial y_n}, \qquad
# \frac{\partial L}{\partial\gamma} = \sum_n \frac{\partial L}{\partial y_n}\,\hat x_n, \qquad
# g_n = \frac{\partial L}{\partial\hat x_n} = \gamma\,\frac{\partial L}{\partial y_n} .$$
#
# Now from $g$ to $x$. Three paths lead from $x_i$ to the loss: directly through its own $\hat x_i$, through
# $\mu$, and through $s$. The last two reach **every** $\hat x_n$.

# %% [markdown]
# **Directly**, with $\mu$ and $s$ held fixed, $\hat x_i = (x_i - \mu)/s$ gives $g_i / s$.
#
# **Through the mean.** $\partial\hat x_n/\partial\mu = -1/s$ for every $n$, and $\partial\mu/\partial x_i =
# 1/N$:
#
# $$-\frac1s\cdot\frac1N\sum_n g_n .$$
#
# **Through the root.** $\partial\hat x_n/\partial s = -(x_n-\mu)/s^2 = -\hat x_n/s$. From $s^2 = v +
# \varepsilon$ follows $\partial s/\partial v = 1/(2s)$. And $\partial v/\partial x_i = \frac2N(x_i - \mu)$:
# the part of it that goes through $\mu$ vanishes, because $\sum_n (x_n - \mu) = 0$. Together $\partial
# s/\partial x_i = \hat x_i/N$, so
#
# $$-\frac1s\,\hat x_i\cdot\frac1N\sum_n g_n\hat x_n .$$

# %% [markdown]
# The sum of the three:
#
# $$\frac{\partial L}{\partial x_i} = \frac1s\Bigl(g_i - \operatorname{mean}(g) - \hat x_i\cdot
# \operatorname{mean}(g\,\hat x)\Bigr) .$$
#
# Forget the second term, and you treat the mean as a constant; forget the third, and it is the variance.
# Neither mistake raises an error, and a network may learn all the same, so they can stay unnoticed for long.
#
# Two facts show whether anything was forgotten. Sum the formula over $i$, and use $\sum_i \hat x_i = 0$:
#
# $$\sum_i \frac{\partial L}{\partial x_i} = 0 .$$
#
# It holds exactly, because adding a constant to a whole feature changes no output.

# %% [markdown]
# For the other, multiply by $\hat x_i$ first, then sum. Since $\sum_i\hat x_i^2 = N\,v/(v+\varepsilon)$,
#
# $$\sum_i \frac{\partial L}{\partial x_i}\,\hat x_i = \frac1s\cdot\frac{\varepsilon}{v + \varepsilon}
# \sum_i g_i\,\hat x_i .$$
#
# Without ε this would be 0 as well: stretching a feature about its mean would change no output. With ε it is
# 0 only up to the factor $\varepsilon/(v+\varepsilon)$, which is about $10^{-5}$ when the variance is about
# 1.

# %% [markdown]
# ### Exercise: batch norm backward
#
# Write `batch_norm_backward(dy, x, gamma, eps=1e-5)` for a table, with the statistics of the batch.
#
# - `dy` (N, D) is the gradient of the loss with respect to the output; `x` (N, D) and `gamma` (D,) are what
#   the forward pass had; all float64; N ≥ 2, `eps` a float above 0;
# - return a tuple of three arrays, `(dx, dgamma, dbeta)`, of shapes (N, D), (D,) and (D,), float64.

# %% tags=["exercise:batch_norm_backward"]
def batch_norm_backward(dy, x, gamma, eps=1e-5):
    """The gradients of batch norm of a table.

    dy (N, D), x (N, D), gamma (D,), all float64; eps a float.
    Returns (dx, dgamma, dbeta): (N, D), (D,), (D,), float64.
    """
    ### BEGIN SOLUTION
    root = np.sqrt(x.var(axis=0) + eps)                                   # (D,)
    xhat = (x - x.mean(axis=0)) / root                                    # (N, D)
    g = dy * gamma
    dx = (g - g.mean(axis=0) - xhat * (g * xhat).mean(axis=0)) / root
    return dx, (dy * xhat).sum(axis=0), dy.sum(axis=0)
    ### END SOLUTION

# %% tags=["check:batch_norm_backward"]
check("batch_norm_backward", batch_norm_backward)

# %% [markdown]
# Both invariants on random numbers, with three sizes of ε; the variance is about 1.
#
# **Predict.** Which of the two columns depends on ε?

# %%
rng = np.random.default_rng(2)
x, dy, gamma = rng.normal(size=(50, 1)), rng.normal(size=(50, 1)), np.array([2.0])
invariants = {}
for eps in (1.0, 1e-2, 1e-5):
    dx, _, _ = batch_norm_backward(dy, x, gamma, eps)
    xhat = batch_norm_dense(x, np.ones(1), np.zeros(1), eps)
    v = float(x.var())
    promised = float((gamma * dy * xhat).sum() * eps / (v + eps) ** 1.5)
    invariants[eps] = float(dx.sum()), float((dx * xhat).sum()), promised
    total, along, promised = invariants[eps]
    print(f"eps {eps:<6g} Σ dx = {abs(total):.0e}   Σ dx·x̂ = {along:9.2e}   by the formula {promised:9.2e}")

# %% [markdown]
# The sum of `dx` is 0 up to rounding for every ε. The other sum follows the formula and fades with ε.
#
# There is a consequence. Put a convolution with a bias $b$ before batch norm. $b$ is added to every entry of
# its channel, so its gradient is the sum of `dx` over that channel.
#
# **Predict.** How large is the gradient of that bias? And what does it do to the output if it is 100?

# %%
def conv(x, weight, bias):
    """A convolution at stride 1 without padding: (N, C_in, H, W) to (N, C_out, H_out, W_out)."""
    windows = sliding_window_view(x, weight.shape[2:], axis=(2, 3))       # (N, C_in, H_out, W_out, kH, kW)
    return np.einsum("nchwab,ocab->nohw", windows, weight, optimize=True) + bias[:, None, None]


def as_table(maps):
    """Channels as columns: (N, C, H, W) to (N H W, C), so that the functions for tables apply."""
    return maps.transpose(0, 2, 3, 1).reshape(-1, maps.shape[1])

# %%
rng = np.random.default_rng(3)
batch, weight = whole[:32] / 16, rng.normal(size=(4, 1, 3, 3))            # (32, 1, 8, 8), (4, 1, 3, 3)
maps = conv(batch, weight, np.zeros(4))                                   # (32, 4, 6, 6)
upstream = rng.normal(size=maps.shape)
dmaps, _, dbeta = batch_norm_backward(as_table(upstream), as_table(maps), np.ones(4))
bias_gradient = dmaps.sum(axis=0)                                         # what reaches the convolution's bias
ones, zeros = np.ones(4), np.zeros(4)
bias_effect = np.abs(batch_norm_conv(conv(batch, weight, zeros + 100), ones, zeros)
                     - batch_norm_conv(maps, ones, zeros)).max()
print(f"gradients of the bias before batch norm: at most {np.abs(bias_gradient).max():.0e}")
print(f"gradients of beta after it: {dbeta.round(1)}")
print(f"a bias of 100 changes the output by at most {bias_effect:.0e}")

# %% [markdown]
# Zero but for rounding: the mean takes the bias away again. A bias before batch norm learns nothing and does
# nothing in training mode; β does its work. Networks with batch norm therefore create their convolutions with
# `bias=False`.

# %% [markdown]
# ## The layer
#
# Now everything goes into one class, with PyTorch's name and signature. Notebook 08 trains with classes like
# it.

# %% [markdown]
# ### Exercise: a layer with two modes
#
# Write the class `BatchNorm2d(weight, bias, eps=1e-5, momentum=0.1)`; `weight` (C,) is γ, `bias` (C,) is β.
#
# - A new layer has `training = True`, `running_mean` zeros and `running_var` ones, (C,).
# - `forward(x)`, (N, C, H, W) with N·H·W ≥ 2, returns that shape. In training mode it normalises with the
#   batch and moves the running statistics, as `update_running` does; in evaluation mode it normalises with
#   them and leaves them.
# - `backward(dy)` returns `dx`, and sets `grad_weight` and `grad_bias`, (C,), anew at each call. It follows a
#   `forward` in training mode.
# - `train()` and `eval()` are given, and return nothing; leave them.
#
# All float64. You may call your functions. Four parts count a quarter each.

# %% tags=["exercise:batch_norm_layer"]
class BatchNorm2d:
    """Batch norm of maps, as torch.nn.BatchNorm2d; weight (C,) and bias (C,) are gamma and beta."""

    def __init__(self, weight, bias, eps=1e-5, momentum=0.1):
        self.weight, self.bias, self.eps, self.momentum = weight, bias, eps, momentum
        self.training = True
        ### BEGIN SOLUTION
        self.running_mean, self.running_var = np.zeros(len(weight)), np.ones(len(weight))
        ### END SOLUTION

    def train(self):
        self.training = True

    def eval(self):
        self.training = False

    def forward(self, x):
        """x (N, C, H, W) float64.  Returns the same shape; keeps what backward needs."""
        ### BEGIN SOLUTION
        if self.training:
            mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
            running = update_running(self.running_mean, self.running_var, x, self.momentum)
            self.running_mean, self.running_var = running
        else:
            mean, var = self.running_mean, self.running_var
        self.root = np.sqrt(var + self.eps)[:, None, None]                # (C, 1, 1)
        self.xhat = (x - mean[:, None, None]) / self.root
        return self.weight[:, None, None] * self.xhat + self.bias[:, None, None]
        ### END SOLUTION

    def backward(self, dy):
        """dy (N, C, H, W) float64.  Returns dx of the same shape; sets grad_weight and grad_bias (C,)."""
        ### BEGIN SOLUTION
        self.grad_weight, self.grad_bias = (dy * self.xhat).sum(axis=(0, 2, 3)), dy.sum(axis=(0, 2, 3))
        g = self.weight[:, None, None] * dy
        along = (g * self.xhat).mean(axis=(0, 2, 3), keepdims=True)
        return (g - g.mean(axis=(0, 2, 3), keepdims=True) - self.xhat * along) / self.root
        ### END SOLUTION

# %% tags=["check:batch_norm_layer"]
check("batch_norm_layer", BatchNorm2d)

# %% [markdown]
# The portrait once more, with the layer. It first trains on all three photographs, then sees the portrait in
# both companies, in both modes.
#
# **Predict.** In which mode are the two outputs equal?

# %%
layer = BatchNorm2d(np.ones(1), np.zeros(1))
for _ in range(60):
    layer.forward(three)
layer.eval()
evaluated = {name: layer.forward(batch)[0, 0] for name, batch in company.items()}
layer.train()
in_training = {name: layer.forward(batch)[0, 0] for name, batch in company.items()}
mode_gap = {mode: np.abs(out["bright"] - out["dark"]).max() for mode, out in
            (("training", in_training), ("evaluation", evaluated))}
rows = [*in_training.values(), *evaluated.values()]
titles = [f"{mode}, {name}" for mode in ("training", "evaluation") for name in company]
plots.images(*rows, titles=titles, height=2, vmin=-2.5, vmax=2.5)
print("largest difference:", ", ".join(f"{gap:.2g} in {mode} mode" for mode, gap in mode_gap.items()))

# %% [markdown]
# All four are drawn with the same grey scale. In training mode the portrait is darker in bright company and
# lighter in dark company; in evaluation mode the two are equal to the last bit.

# %% [markdown]
# ## Folded away
#
# In evaluation mode the statistics are fixed numbers. Then batch norm multiplies each channel by one number and
# adds another. The convolution before it multiplies and adds too, and the two together are **one** convolution
# with other weights. In use batch norm costs nothing.

# %% [markdown]
# ### Exercise: fold
#
# Write `fold_batch_norm(weight, bias, gamma, beta, mean, var, eps=1e-5)`.
#
# - `weight` (C_out, C_in, kH, kW) and `bias` (C_out,) belong to the convolution; `gamma`, `beta` and the
#   running `mean` and `var`, each (C_out,), to the batch norm after it; all float64; a `var` may be 0, and
#   `eps` is a float above 0;
# - return a tuple `(weight, bias)` of new arrays of the same shapes, such that the new convolution alone
#   gives what the two gave.

# %% tags=["exercise:fold_batch_norm"]
def fold_batch_norm(weight, bias, gamma, beta, mean, var, eps=1e-5):
    """One convolution in place of a convolution and a batch norm in evaluation mode.

    weight (C_out, C_in, kH, kW); bias, gamma, beta, mean, var (C_out,); all float64; eps a float.
    Returns (weight, bias) of the same shapes, float64.
    """
    ### BEGIN SOLUTION
    scale = gamma / np.sqrt(var + eps)                                    # (C_out,)
    return weight * scale[:, None, None, None], (bias - mean) * scale + beta
    ### END SOLUTION

# %% tags=["check:fold_batch_norm"]
check("fold_batch_norm", fold_batch_norm)

# %%
rng = np.random.default_rng(4)
layer = BatchNorm2d(rng.normal(size=4), rng.normal(size=4))
conv_bias = rng.normal(size=4)
for _ in range(50):
    layer.forward(conv(batch, weight, conv_bias))
layer.eval()
two_layers = layer.forward(conv(batch, weight, conv_bias))
folded_weight, folded_bias = fold_batch_norm(weight, conv_bias, layer.weight, layer.bias,
                                             layer.running_mean, layer.running_var)
fold_error = np.abs(conv(batch, folded_weight, folded_bias) - two_layers).max()
print(f"largest difference between one layer and two: {fold_error:.0e}")

# %% [markdown]
# Equal up to rounding. Here the bias of the convolution did matter: it is part of what the running mean takes
# away. And the folded convolution needs a bias even if the first had none.

# %% [markdown]
# ## Does it help?
#
# A network of six layers of 64 units, without and with batch norm, learns the digits in 150 steps. Its loss,
# the cross-entropy, is the subject of notebook 08. The **learning rate**, the factor of the gradient in a step,
# is varied, and the weights start either well scaled (He) or at half of that. A table (N, D) is a batch of maps
# of one pixel, so your layer serves as it is. Where batch norm is left out, a bias takes its place.

# %%
class AddBias(BatchNorm2d):
    """In the place of batch norm: adds a bias.  weight has no effect, and both modes are the same."""

    def forward(self, x):
        return x + self.bias[:, None, None]

    def backward(self, dy):
        self.grad_weight, self.grad_bias = np.zeros(len(self.weight)), dy.sum(axis=(0, 2, 3))
        return dy


def make_network(kind, scale, seed=0):
    """Seven weights, from 64 pixels over six times 64 units to 10 classes, and six layers of `kind`."""
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=(64, n)) * scale * np.sqrt(2 / 64) for n in [64] * 6 + [10]]
    return weights, [kind(np.ones(64), np.zeros(64)) for _ in range(6)]

# %%
def forward(network, x):
    """The inputs of every weight, from the image on, and the scores of the classes (N, 10)."""
    weights, layers = network
    inputs = [x]
    for weight, layer in zip(weights, layers):
        z = (inputs[-1] @ weight)[:, :, None, None]                       # (N, 64, 1, 1)
        inputs.append(np.maximum(layer.forward(z)[:, :, 0, 0], 0))
    return inputs, inputs[-1] @ weights[-1]


def step(network, x, y, rate):
    """One step of gradient descent on the cross-entropy of a batch."""
    weights, layers = network
    inputs, scores = forward(network, x)
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    d = (p - np.eye(10)[y]) / len(x)                                      # gradient of the scores (N, 10)
    for i in range(6, -1, -1):
        dweight, d = inputs[i].T @ d, d @ weights[i].T
        weights[i] -= rate * dweight
        if i > 0:
            d = layers[i - 1].backward((d * (inputs[i] > 0))[:, :, None, None])[:, :, 0, 0]
            layers[i - 1].weight = layers[i - 1].weight - rate * layers[i - 1].grad_weight
            layers[i - 1].bias = layers[i - 1].bias - rate * layers[i - 1].grad_bias

# %% [markdown]
# The inputs are standardised with the mean and the standard deviation of the **training** images. To use the
# test images for that would let them take part in training; to standardise them by their own statistics would
# give the network another input than it has learned.
#
# **Predict.** At which learning rates does batch norm help most: small, medium or large ones?

# %%
order = np.random.default_rng(5).permutation(len(pixels))
train, test = order[:1400], order[1400:]
train_mean, train_std = pixels[train].mean(), pixels[train].std()
inputs_all = (pixels - train_mean) / train_std

# %%
def accuracy(network, x, y):
    """The share of right answers, in the mode the layers are in."""
    return float((forward(network, x)[1].argmax(axis=1) == y).mean())


STEPS = 10 if os.environ.get("NBGRADER_EXECUTION") else 150   # short while nbgrader grades: nobody is looking


def fit(kind, scale, rate, steps=STEPS):
    """A trained network in evaluation mode, and its accuracy on the test images."""
    network, rng = make_network(kind, scale), np.random.default_rng(6)
    with np.errstate(all="ignore"):                                       # a run may diverge
        for _ in range(steps):
            chosen = rng.choice(train, 64)
            step(network, inputs_all[chosen], labels[chosen], rate)
        for layer in network[1]:
            layer.eval()
        return network, accuracy(network, inputs_all[test], labels[test])

# %%
rates = [0.01, 0.03, 0.1, 0.3, 1, 3]
results = {(kind, scale): [fit(kind, scale, rate)[1] for rate in rates]
           for scale in (1.0, 0.5) for kind in (AddBias, BatchNorm2d)}
fig, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained", sharey=True)
for ax, scale in zip(axes, (1.0, 0.5)):
    for kind, style, name in [(AddBias, "s--", "without"), (BatchNorm2d, "o-", "with batch norm")]:
        ax.semilogx(rates, results[kind, scale], style, color="0.3", label=name,
                    markerfacecolor="tab:orange" if kind is BatchNorm2d else "white")
    ax.set(xlabel="learning rate", ylim=(0, 1.02), title=f"{'half of ' if scale < 1 else ''}He's weights")
axes[0].set_ylabel("test accuracy")
axes[0].legend(frameon=False, loc="lower left")
plt.show()

# %% [markdown]
# With He's weights and small steps batch norm gains nothing here; both learn. Without it the network falters
# at learning rate 0.3 and breaks down at 1; with it even 3 works. With half the weights the plain network
# learns slowly, since the signal fades through six layers, and still breaks down at 1; the normalised one
# learns as well as before.
#
# So in this experiment it buys **tolerance**: of large steps and of the start. This is one small network, no
# law.

# %% [markdown]
# ### Known and disputed
#
# **Known**, because it was measured often: networks with batch norm train at higher learning rates and depend
# less on their start. The authors matched an Inception network in 14 times fewer steps.

# %% [markdown]
# **Disputed** is why. The paper's explanation is *internal covariate shift*: each layer must follow its
# inputs, which change whenever the layers before it learn; fixing their mean and variance makes this easier.
# Santurkar et al. (2018) added noise of changing mean and variance *after* batch norm. The inputs of the
# layers then shifted more than without batch norm, and the network still trained almost as well as with it.
# They found instead a **smoother** loss: it and its gradients change less along a step, so larger steps are
# safe. That is well supported and not the last word; the noise from the batch and the invariance to scale are
# discussed as well.

# %% [markdown]
# ### Left in training mode
#
# The trained network is now used on the test images by someone who forgot `eval()`: the layers normalise with
# whatever batch comes.
#
# **Predict.** Does the accuracy suffer more from small batches of mixed digits, or from batches of one class
# each?

# %%
def in_batches(network, indices, size):
    """The accuracy when images come in batches of `size`; what is left over is dropped."""
    batches = [indices[i:i + size] for i in range(0, len(indices) - size + 1, size)]
    return float(np.mean([accuracy(network, inputs_all[b], labels[b]) for b in batches]))

# %%
network, eval_accuracy = fit(BatchNorm2d, 1.0, 0.3)
for layer in network[1]:
    layer.train()
by_class = test[np.argsort(labels[test], kind="stable")]
batch_sizes = [2, 4, 8, 16, 32, 64]
left_on = {"mixed": [in_batches(network, test, size) for size in batch_sizes],
           "sorted by class": [in_batches(network, by_class, size) for size in batch_sizes]}
fig, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
ax.axhline(eval_accuracy, color="0.6", linewidth=3, label="evaluation mode")
for (name, values), style in zip(left_on.items(), ("o-", "s--")):
    ax.semilogx(batch_sizes, values, style, color="0.3", markerfacecolor="tab:orange", base=2,
                label=f"training mode, {name}")
ax.set(xlabel="batch size", ylabel="test accuracy", ylim=(0, 1.02))
ax.set_xticks(batch_sizes, batch_sizes)
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# Large mixed batches look like training and hide the fault. Small ones lose accuracy, since two images make a
# poor mean. Sorted batches are worse: what the images of one class have in common is in the mean, and the
# mean is subtracted. (The test set has 33 to 50 images of each class, so a sorted batch of 64 spans two or
# three.) A batch of **one** image gives x̂ = 0 here, the same answer to every image; PyTorch raises an error
# in that case.
#
# Nothing crashed, and no weight was wrong. Meanwhile each of these passes also moved the running statistics.

# %% [markdown]
# ## Local response normalisation
#
# Before batch norm, AlexNet (2012) let neighbouring channels compete. At each pixel the response $a_i$ of
# channel $i$ becomes
#
# $$b_i = a_i \Big/ \Bigl(k + \alpha\sum_{j=\max(0,\,i-n/2)}^{\min(C-1,\,i+n/2)} a_j^2\Bigr)^{\beta},
# \qquad k = 2,\; n = 5,\; \alpha = 10^{-4},\; \beta = 0.75 ,$$
#
# with $n/2$ rounded down: $n$ channels, itself in the middle, fewer at the ends. This β is a power and has
# nothing to do with batch norm's.
#
# **A convention to know.** `torch.nn.LocalResponseNorm` divides α by $n$; the paper's formula, and this
# course, do not. To get the paper's layer from PyTorch, pass 5e-4.

# %% [markdown]
# ### Exercise: local response normalisation
#
# Write `local_response_norm(x, n=5, k=2.0, alpha=1e-4, beta=0.75)` as in the formula above.
#
# - `x` (N, C, H, W), float64; `n` is an odd int and may be larger than C; `k`, `alpha` and `beta` are floats;
# - return (N, C, H, W), float64.

# %% tags=["exercise:local_response_norm"]
def local_response_norm(x, n=5, k=2.0, alpha=1e-4, beta=0.75):
    """AlexNet's normalisation across neighbouring channels; alpha is not divided by n.

    x (N, C, H, W) float64; n an odd int; k, alpha, beta floats.  Returns (N, C, H, W) float64.
    """
    ### BEGIN SOLUTION
    out = np.zeros(x.shape)
    for i in range(x.shape[1]):
        near = x[:, max(0, i - n // 2):i + n // 2 + 1]                    # (N, up to n, H, W)
        out[:, i] = x[:, i] / (k + alpha * (near ** 2).sum(axis=1)) ** beta
    return out
    ### END SOLUTION

# %% tags=["check:local_response_norm"]
check("local_response_norm", local_response_norm)

# %% [markdown]
# **Predict.** All channels of a pixel answer with 1, but channel 6 with 10. Which channels change most,
# relative to a pixel without the strong one? α is 1 here, so that something can be seen.

# %%
def of_channels(values):
    """LRN of one pixel with 13 channels."""
    return local_response_norm(np.reshape(values, (1, 13, 1, 1)), alpha=1.0).ravel()

# %%
flat = np.ones(13)
peak = np.where(np.arange(13) == 6, 10.0, 1.0)
lrn_flat, lrn_peak = of_channels(flat), of_channels(peak)
fig, ax = plt.subplots(figsize=(6, 2.4), layout="constrained")
ax.bar(np.arange(13) - 0.2, lrn_flat, 0.4, color="0.85", edgecolor="0.3", label="all 1")
ax.bar(np.arange(13) + 0.2, lrn_peak, 0.4, color="tab:orange", edgecolor="0.3", hatch="///",
       label="channel 6 is 10")
ax.set(xlabel="channel", ylabel="after LRN", xticks=range(13), ylim=(0, 0.42))
ax.legend(frameon=False, ncols=2)
plt.show()

# %% [markdown]
# The two neighbours on either side of channel 6 are pushed down to about an eighth; beyond them nothing
# changes. Channel 6 itself, ten times as strong as before, comes out only 1.3 times as strong. The channels
# at the ends come out a little higher, because they have fewer neighbours.
#
# AlexNet's authors measured 1.4 points less error with it (top-1; notebook 10). Two years later VGG found no
# gain, and batch norm replaced it.

# %% [markdown]
# ## Dropout
#
# A large network can learn its training set by heart. Dropout (Srivastava et al., 2014) sets each value of a
# layer to 0 with probability $p$, anew in every training step. No unit can rely on a particular other one,
# and what is trained is an ensemble of thinned networks that share their weights.
#
# In use nothing is dropped. So that the next layer finds the size it is used to, **inverted dropout** divides
# what is kept by $1 - p$ during training. The expectation stays: $(1-p)\cdot\frac{x}{1-p} + p\cdot 0 = x$.
# (AlexNet did it the other way: it did not scale in training, and multiplied by 0.5 in use.)

# %% [markdown]
# ### Exercise: dropout
#
# The forward pass draws a mask, and the backward pass uses the same one. So that your function gives the same
# result every time, the random numbers are passed in. Write `dropout(x, dy, u, p)`, both passes in training
# mode at once:
#
# - `x`, `dy` and `u` have the same shape, any number of axes, float64, with 0 ≤ u < 1; `p` is a float, 0 ≤ p
#   < 1, the rate of **dropping**;
# - a value is kept where `u >= p`;
# - return a tuple `(y, dx)` of two new arrays of that shape, float64: the output for `x`, and the gradient
#   with respect to `x` when `dy` arrives from above.

# %% tags=["exercise:dropout"]
def dropout(x, dy, u, p):
    """Inverted dropout in training mode, forward and backward with the same mask.

    x, dy, u float64 of one shape, u from 0 to 1; p a float, the rate of dropping.
    Returns (y, dx), float64 of that shape.
    """
    ### BEGIN SOLUTION
    mask = (u >= p) / (1 - p)
    return x * mask, dy * mask
    ### END SOLUTION

# %% tags=["check:dropout"]
check("dropout", dropout)

# %% [markdown]
# A digit passes through dropout with p = 0.5 again and again; the middle shows the mean of the passes so far.
#
# **Predict.** What does the middle picture come to: the digit, or the digit at half its brightness? And does
# a single pass look like it?

# %%
animation.dropping(images[5], p=0.5)

# %%
rng = np.random.default_rng(7)
five = images[5]
passes = np.stack([dropout(five, five, rng.random(five.shape), 0.5)[0] for _ in range(4000)])   # (4000, 8, 8)
mean_error = np.abs(passes.mean(axis=0) - five).max()
spread = passes.std(axis=0)[five > 0] / five[five > 0]
print(f"mean of 4000 passes: off by at most {mean_error:.2f}, where the brightest pixel is {five.max():g}")
print(f"standard deviation of one pass: {spread.mean():.2f} times the pixel")

# %% [markdown]
# The mean is the digit itself, at its full brightness. A single pass is not: each pixel is either 0 or twice
# as bright, so its spread is as large as the pixel. That noise is what regularises, and in use it is a fault.
# A network left in training mode gives another answer each time the **same** image is asked about, whatever
# the batch.

# %% [markdown]
# ## Weight decay
#
# Weight decay shrinks every weight a little in each step:
#
# $$w \leftarrow w - \text{lr}\cdot\Bigl(\frac{\partial L}{\partial w} + \lambda w\Bigr) .$$
#
# This is gradient descent on $L + \frac\lambda2\lVert w\rVert^2$, so large weights must earn their place.
# AlexNet used λ = 0.0005, and its authors wrote that it lowered even the training error. (With plain SGD the
# penalty and the decay are the same; with Adam they are not: Loshchilov and Hutter, 2019.)
#
# Before batch norm it acts differently. The output does not depend on the scale of the weights, so shrinking
# them restricts nothing.
#
# **Predict.** What happens to the gradient of weights before batch norm if the weights are three times as
# large?

# %%
def weight_gradient(weight, x, dy):
    """The gradient of the loss with respect to the weight of a dense layer that batch norm follows."""
    d = weight.shape[1]
    return x.T @ batch_norm_backward(dy, x @ weight, np.ones(d), eps=1e-12)[0]

# %%
rng = np.random.default_rng(8)
x, weight, dy = rng.normal(size=(100, 20)), rng.normal(size=(20, 8)), rng.normal(size=(100, 8))
gradient, at_three = weight_gradient(weight, x, dy), weight_gradient(3 * weight, x, dy)
gradient_ratio = float(np.linalg.norm(gradient) / np.linalg.norm(at_three))
cosine = (weight * gradient).sum(axis=0) / np.linalg.norm(weight, axis=0) / np.linalg.norm(gradient, axis=0)
print(f"gradient at w over gradient at 3w: {gradient_ratio:.4f}")
print(f"cosine between a unit's weights and their gradient: at most {np.abs(cosine).max():.0e}")

# %% [markdown]
# The gradient is a third, and it is perpendicular to the weights: along them there is nothing to gain. So
# each step of the gradient makes the weights longer, and longer weights mean smaller gradients: training
# slows down by itself. Weight decay works against that. Here it controls the **effective learning rate**, not
# the size of the function (van Laarhoven, 2017).

# %% [markdown]
# ## More data from the same data
#
# The best regulariser is more data. Augmentation makes new training images from old ones by changes that
# leave the **label** alone. AlexNet took random crops of 224×224 from images of 256×256, and flipped half of
# them left to right; in use it averaged ten crops: the corners and the centre, each also flipped.
#
# **Predict.** How many different training images does one image give, flips counted?

# %%
rng = np.random.default_rng(9)
face = photo("hopper")[::2, ::2][:256]                                    # (256, 256, 3)
crops, titles = [], []
for _ in range(5):
    r, c = rng.integers(0, 33, 2)                                         # 33 places on each axis
    crop, flip = face[r:r + 224, c:c + 224], rng.random() < 0.5
    crops.append(crop[:, ::-1] if flip else crop)
    titles.append("crop, flipped" if flip else "crop")
plots.images(face, *crops, titles=["256×256", *titles], height=2)
places = 2 * (256 - 224 + 1) ** 2
print(f"different crops and flips: {places:,}")

# %% [markdown]
# Five versions of one image, some flipped; each frames the portrait a little differently. There are 33 places
# on each axis and so 2,178 versions. (The paper says 2,048 = 2·32².) They are far from independent, but to
# the network each is new.
#
# **Predict.** Which of the digits below still mean the same after a flip from left to right?

# %%
some = [images[labels == digit][0] for digit in (0, 2, 3, 5, 6, 8)]
plots.images(*some, titles=["0", "2", "3", "5", "6", "8"], height=1.4)
plots.images(*[digit[:, ::-1] for digit in some], titles=["flipped"] * 6, height=1.4)

# %% [markdown]
# 0 and 8 do. The others become something else: the 2 turns into an S, and the 5 resembles a 2. Whether a
# change leaves the label alone depends on the task, and no library knows it.

# %% [markdown]
# ### The colour of the light
#
# AlexNet also changed the colours, along the directions in which they really vary. From the covariance of
# red, green and blue (3×3) come eigenvectors $p_i$ with eigenvalues $\lambda_i$, and to **every** pixel of
# the image the same vector is added:
#
# $$\sum_{i=1}^3 \alpha_i\,\lambda_i\,p_i .$$
#
# The $\alpha_i$ are drawn anew for each image, with mean 0 and standard deviation 0.1.
#
# (AlexNet took the covariance over the whole training set; we take that of the one image.)
#
# An eigenvector is defined only up to its sign, and the order is a choice: `np.linalg.eigh` gives the smallest
# eigenvalue first. For random $\alpha_i$ neither matters. For an α that is given, as in the exercise, both must
# be agreed on, and the function below settles them.

# %%
def principal_colours(covariance):
    """The eigenvalues (3,), largest first, and the eigenvectors as the columns of a (3, 3) array.

    Each eigenvector has length 1 and the sign that makes its sum positive.
    """
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    return values, vectors * np.where(vectors.sum(axis=0) < 0, -1, 1)

# %% [markdown]
# ### Exercise: colour augmentation
#
# Write `pca_colour(image, alpha)`.
#
# - `image` (3, H, W), float64; `alpha` (3,), float64, for the eigenvalues from the largest on;
# - the covariance of the three channels is taken over the H·W pixels and divided by H·W;
# - take eigenvalues and eigenvectors from `principal_colours`, called with this covariance: its order and its
#   signs are part of the answer, and those of NumPy's own functions differ;
# - return a new image (3, H, W), float64. Nothing is clipped, and the pixels need not lie between 0 and 1.

# %% tags=["exercise:pca_colour"]
def pca_colour(image, alpha):
    """Shift all pixels along the principal colours of the image, as AlexNet's augmentation does.

    image (3, H, W) float64; alpha (3,) float64, the largest eigenvalue's first.  Returns (3, H, W) float64.
    """
    ### BEGIN SOLUTION
    flat = image.reshape(3, -1)                                           # (3, H W)
    centred = flat - flat.mean(axis=1, keepdims=True)
    values, vectors = principal_colours(centred @ centred.T / flat.shape[1])
    return image + (vectors @ (alpha * values))[:, None, None]
    ### END SOLUTION

# %% tags=["check:pca_colour"]
check("pca_colour", pca_colour)

# %% [markdown]
# **Predict.** The first principal colour of a photograph is the direction of its largest variation. Is it a
# colour, or brightness?

# %%
garden = photo("china")[::3, ::3].transpose(2, 0, 1)                      # (3, 143, 214)
colour_values, colour_vectors = principal_colours(np.cov(garden.reshape(3, -1), bias=True))
print("eigenvalues ", colour_values.round(4), "\nfirst vector", colour_vectors[:, 0].round(2))
draws = {"α₁ = 1": (1, 0, 0), "α₁ = −1": (-1, 0, 0), "α₂ = 15": (0, 15, 0), "α₂ = −15": (0, -15, 0)}
shifted = [np.clip(pca_colour(garden, np.array(alpha)), 0, 1).transpose(1, 2, 0) for alpha in draws.values()]
plots.images(garden.transpose(1, 2, 0), *shifted, titles=["image", *draws], height=2)
usual = 0.1 * colour_values[0] * colour_vectors[:, 0]
print("shift at the usual α = 0.1:", usual.round(3))

# %% [markdown]
# All three components of the first vector have the same sign and nearly the same size: it is brightness. The
# second sets red against blue, warm light against cold, and its eigenvalue is so small that it takes an α of
# 15 to show it.
#
# The formula multiplies by λ, a variance, so its strength depends on the range of the pixels. From 0 to 1, α
# = 0.1 shifts this image by 0.02. With pixels from 0 to 255 every λ is 65,025 times as large and the shift
# 255 times as strong, measured against the range. Say which range you use.

# %% [markdown]
# ## In your own words
#
# A network with batch norm and dropout was trained well. Tested in a notebook, in mixed batches of 100, it
# reaches 97 %. In the product images arrive one at a time, and it reaches 41 %. Two observations:
#
# - in the product, the same image sent twice gets exactly the same answer;
# - in the notebook, the same image gets slightly different answers in different batches.

# %% [markdown] tags=["written:wrong_company:4"]
# ### What is wrong with this network?
#
# 1. What is wrong? Explain the fall and both observations by it.
# 2. Dropout is found to be off. Which observation already showed that, and why?
# 3. What is the remedy, and what must hold of the running statistics for it to work?
# 4. A colleague proposes to process images in batches of 100 in the product too. Would that help? Name a case
#    in which it fails.
#
# Ten to fifteen sentences are enough.
#
# <!-- BEGIN SOLUTION -->
# **Answer.**
#
# 1. Batch norm was left in training mode: it normalises with the statistics of the batch. In batches of 100
#    mixed images these are close to those of training, so the notebook reaches 97 %, with small differences
#    from batch to batch. With one image the statistics run over its own positions only (instance norm): what
#    distinguishes the image as a whole is subtracted and divided away, the following layers see inputs they
#    never met, and accuracy falls. An image alone always has the same statistics, so the same image gets the
#    same answer.
# 2. The first. Dropout in training mode draws a new mask in each pass, so the same image sent twice would get
#    different answers.
# 3. Put the layers in evaluation mode (`eval()`). The running statistics must have been collected over enough
#    training steps to have forgotten their start, with data prepared as in use (same range, same
#    standardisation), and they must not have been moved since by passes in training mode over other data,
#    such as the test images or single images.
# 4. It would help as long as the 100 images are a mixture like that in training. It fails if the images of a
#    batch are alike (one class, one camera, one night), since what they share is then subtracted, or if fewer
#    images arrive. And the answer for one image would still depend on others' images.
#
# **Rubric.**
#
# - 1 point: batch norm in training mode, with the reason for the fall (statistics of a single image) and for
#   both observations (half a point if one of the three is missing).
# - 1 point: the repeated answer rules out dropout, because its mask is drawn anew each time.
# - 1 point: evaluation mode, and a true condition on the running statistics (settled, same data range, or not
#   spoilt by passes in training mode).
# - 1 point: helps with mixed batches only, with a case in which it fails.
# <!-- END SOLUTION -->

# %% [markdown]
# ## Summary
#
# | question | answer |
# |---|---|
# | batch norm | $\hat x = (x-\mu)/\sqrt{v+\varepsilon}$, $y = \gamma\hat x+\beta$; $v$ divided by the count |
# | statistics over, for a table; for maps | N; N, H and W: one pair for each channel |
# | layer, instance, group norm | one image: all channels; one channel; a block of channels |
# | running statistics | $(1-m)\cdot$ old $+\;m\cdot$ batch, unbiased variance; 1, 2, 3, 4 give 0.25 and 1.0667 |
# | evaluation mode | running statistics, not moved; the batch does not matter |
# | backward | $dx = (g - \operatorname{mean} g - \hat x\operatorname{mean}(g\hat x))/s$, $g = \gamma\,dy$ |
# | invariants | $\sum dx = 0$ exactly; $\sum dx\,\hat x = 0$ up to the factor $\varepsilon/(v+\varepsilon)$ |
# | a bias before batch norm | gradient 0: leave it out |
# | in use | folds into the convolution |
# | local response norm | $a_i/(k+\alpha\sum a_j^2)^\beta$ over $n$ channels; torch divides α by $n$ |
# | dropout | zero with probability $p$, divide by $1-p$; off in evaluation |
# | weight decay | shrinks weights; before batch norm it sets the effective learning rate |
# | augmentation | changes that leave the label alone |

# %% [markdown]
# ## Where to read more
#
# On normalisation:
#
# - Sergey Ioffe and Christian Szegedy, *Batch normalization: accelerating deep network training by reducing
#   internal covariate shift*, 2015.
# - Shibani Santurkar, Dimitris Tsipras, Andrew Ilyas and Aleksander Mądry, *How does batch normalization help
#   optimization?*, 2018.
# - Twan van Laarhoven, *L2 regularization versus batch and weight normalization*, 2017.
# - Yuxin Wu and Kaiming He, *Group normalization*, 2018: with the figure of the blocks.
# - Jimmy Ba, Jamie Kiros and Geoffrey Hinton, *Layer normalization*, 2016.
# - Dmitry Ulyanov, Andrea Vedaldi and Victor Lempitsky, *Instance normalization*, 2016.

# %% [markdown]
# On the rest:
#
# - Alex Krizhevsky, Ilya Sutskever and Geoffrey Hinton, *ImageNet classification with deep convolutional
#   neural networks*, 2012: local response normalisation, dropout, weight decay and augmentation in one
#   network.
# - Karen Simonyan and Andrew Zisserman, *Very deep convolutional networks for large-scale image recognition*,
#   2015.
# - Nitish Srivastava and others, *Dropout: a simple way to prevent neural networks from overfitting*, 2014.
# - Ilya Loshchilov and Frank Hutter, *Decoupled weight decay regularization*, 2019.
# - Kaiming He, Xiangyu Zhang, Shaoqing Ren and Jian Sun, *Delving deep into rectifiers*, 2015.
