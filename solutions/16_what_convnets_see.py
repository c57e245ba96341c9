# %% [markdown]
# # 16 What convnets see
#
# A trained network answers, and does not say why. This notebook looks inside: at filters, at activations, at what a
# network cannot do without, at the images it likes best. Then it asks whether two networks compute alike, and whether
# a network and a monkey's brain do. Each method answers a narrow question, and each can mislead, so each is tested.

# %% [markdown]
# ## What you will be able to do
#
# - bring an image into exactly the form with which a network was trained;
# - read the activations of any layer, without rewriting the network;
# - find out what a network's answer depends on, by covering parts of an image and by gradients;
# - make images that a unit likes, and say why they look as they do;
# - tell the gradient from the deconvnet and from guided backpropagation;
# - compare two networks by what they hold for alike: linear CKA and representational similarity;
# - say what a famous comparison with the monkey's visual cortex has shown, and what not;
# - mislead a network by a change that would not mislead us.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cnnlab import animation, check, hint, plots, results
from cnnlab.data import class_names, digits, photo
from cnnlab.train import Recipe, evaluate, normalise, train

torch.set_num_threads(1)  # the networks below are so small that threads would only wait for each other

# %% [markdown]
# ## The image must be right
#
# Before we ask what a network sees, we must be sure of what it is shown. Most mistakes are made here, and no message
# tells of them.
#
# CIFAR-10 comes as rows of 3,072 whole numbers from 0 to 255, one row an image of 32×32. First stand the 1,024
# **red** values, row by row, then the green ones, then the blue ones. To draw an image, Matplotlib wants the three
# colours of a pixel side by side: (height, width, 3).

# %% [markdown]
# ### Exercise: rows to images
#
# Write `rows_to_images(rows, height, width)`.
#
# - `rows` is a uint8 tensor (N, 3·height·width): in each row all red values, then all green, then all blue ones, each
#   of the three row by row. For CIFAR-10 `height` and `width` are 32;
# - return a float32 tensor (N, height, width, 3), red first, from 0 to 1: 255 becomes 1.
#
# If you are stuck, run `hint("rows_to_images")` in a cell of your own, and again for more.

# %% tags=["exercise:rows_to_images"]
def rows_to_images(rows, height, width):
    """Images to be drawn, from rows in which the colours stand one after the other.

    rows (N, 3·height·width) uint8.  Returns (N, height, width, 3) float32, from 0 to 1.
    """
    ### BEGIN SOLUTION
    return rows.reshape(-1, 3, height, width).permute(0, 2, 3, 1) / 255
    ### END SOLUTION

# %% tags=["check:rows_to_images"]
check("rows_to_images", rows_to_images)

# %% [markdown]
# Three photographs at CIFAR-10's size, stored as its rows are. Shown is the second one, a flower.
#
# **Predict.** What will the flower look like if one forgets the order and writes `rows.reshape(-1, 32, 32, 3)`? And
# what if one takes the first plane for blue?

# %%
corners = {"china": (5, 150), "flower": (0, 110), "hopper": (40, 60)}
small = np.stack([photo(name)[r:r + 416, c:c + 416].reshape(32, 13, 32, 13, 3).mean((1, 3))
                  for name, (r, c) in corners.items()])
rows = torch.from_numpy((small * 255).astype(np.uint8).transpose(0, 3, 1, 2).reshape(3, -1))      # (3, 3072)
right = rows_to_images(rows, 32, 32)
wrong = rows.reshape(-1, 32, 32, 3)
plots.images(right[1].numpy(), wrong[1].numpy(), right[1].flip(-1).numpy(),
             titles=["right", "reshaped at once", "red and blue exchanged"])

# %% [markdown]
# In the middle, three neighbours in a row have become the colours of one pixel. So a row of the picture holds three
# rows of one colour plane, each a third as wide: three small flowers across. The upper third is the red plane, then
# come the green and the blue one.
#
# That is seen at once. On the right it is not: the petals are blue, and blue flowers exist. Files read by OpenCV come
# in this order, blue first. Draw what you give to a network.

# %% [markdown]
# A network also expects the numbers to have a certain range, and to be normalised with certain numbers: mean and
# standard deviation of its **training** images, by channel. They belong to the network as its weights do.
#
# And it expects a certain size. The usual way is to scale an image so that its shorter side is a little too long, and
# to cut out the middle.

# %% [markdown]
# ### Exercise: prepare an image
#
# Write `prepare_image(image, mean, std, size)`.
#
# - `image` is a uint8 tensor (H, W, 3), red first; `size` is an int, at most H and at most W;
# - cut out `size`×`size` pixels in the middle: (H − size) // 2 rows go above them, (W − size) // 2 columns to their
#   left;
# - bring the values to 0 to 1, subtract `mean` and divide by `std`. Both are tuples of three floats, for red, green
#   and blue, for values from 0 to 1;
# - return a float32 tensor (1, 3, size, size), red first.

# %% tags=["exercise:prepare_image"]
def prepare_image(image, mean, std, size):
    """An image as a network wants it.

    image (H, W, 3) uint8; mean, std three floats each; size int.  Returns (1, 3, size, size) float32.
    """
    ### BEGIN SOLUTION
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    x = image[top:top + size, left:left + size] / 255                     # (size, size, 3)
    x = (x - torch.tensor(mean)) / torch.tensor(std)
    return x.permute(2, 0, 1)[None]                                       # (1, 3, size, size)
    ### END SOLUTION

# %% tags=["check:prepare_image"]
check("prepare_image", prepare_image)

# %% [markdown]
# What do mistakes cost? The network that we shall look into was trained on CIFAR-10 (here, and below, on images that
# had been recompressed as JPEG, so its accuracy is not to be compared with published ones). It was tested on the
# 10,000 test images, prepared in seven ways.
#
# **Predict.** Which mistake costs most, and which nothing?

# %%
prepared = results.load("cifar_inputs")
cost = dict(zip(prepared["prepared"].tolist(), prepared["accuracy"].tolist()))
fig, ax = plt.subplots(figsize=(8, 2.9), layout="constrained")
bars = ax.barh(list(cost)[::-1], [100 * a for a in cost.values()][::-1], color="0.75", edgecolor="0.2")
ax.bar_label(bars, fmt="%.1f %%", padding=3, fontsize=9)
ax.axvline(10, color="tab:orange", linestyle="--")
ax.text(11, 6.55, "guessing", fontsize=9, va="bottom")
ax.set(xlim=(0, 100), xlabel="test accuracy in %")
plt.show()
print(f"{prepared.command}; {prepared.device}; {prepared.date}; {prepared.header['data']}")

# %% [markdown]
# Numbers 255 times too large are the worst: that is guessing. Exchanged colours cost 17 points, and would be taken
# for a mediocre network; so would images that are each normalised by themselves (9 points).
#
# Mean and standard deviation of the **test** images cost nothing here, because both sets come from the same source.
# They are wrong all the same: with other test images they would be others, and a single image has none. What is
# computed from test images must not go into the test.

# %% [markdown]
# ## The first layer
#
# The network: a convolution of 7×7 with 32 filters, three more of 3×3, pooling after the first two, the mean over all
# places, and ten classes. Its weights come with the course. (It was trained with batch norm. In evaluation mode batch
# norm only scales and shifts each map, so it has been folded into the convolutions, as in notebook 07.)
#
# `Scale` prepares inside the network: it is given images from 0 to 1, and nobody can forget it.

# %%
class Scale(nn.Module):
    """Subtract a mean and divide by a standard deviation, each one number a channel."""

    def __init__(self, mean, std):
        super().__init__()
        self.mean, self.std = (torch.tensor(v).view(-1, 1, 1) for v in (mean, std))

    def forward(self, x):
        return (x - self.mean) / self.std


def colour_net():
    """For images (N, 3, H, W) from 0 to 1: the name of a part is its number."""
    return nn.Sequential(
        Scale((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),                   # "0"
        nn.Conv2d(3, 32, 7, padding=3), nn.ReLU(), nn.MaxPool2d(2),                  # "1" to "3"
        nn.Conv2d(32, 48, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),                 # "4" to "6"
        nn.Conv2d(48, 64, 3, padding=1), nn.ReLU(),                                  # "7", "8"
        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),                                  # "9", "10"
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))                    # "11" to "13"

# %% [markdown]
# The second network is LeNet, trained on MNIST with distortions, known from notebook 09.

# %%
def lenet():
    """For digits (N, 1, 32, 32), from 0, the background, to 1."""
    return nn.Sequential(
        Scale((0.1307,), (0.3081,)), nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))


def with_weights(net, name):
    """The network with the weights that are kept under this name, in evaluation mode."""
    with torch.no_grad():
        for parameter, array in zip(net.parameters(), results.arrays(name).values(), strict=True):
            parameter.copy_(torch.from_numpy(array))
    return net.eval()

# %%
colour, reader = with_weights(colour_net(), "cifar_net"), with_weights(lenet(), "mnist_lenet")
answers = results.load("cifar_net")
counts = np.stack([answers[name] for name in answers["label"]], axis=1)                  # (label, answer)
accuracy = float(np.trace(counts) / counts.sum())
most = np.unravel_index((counts - np.diag(np.diag(counts))).argmax(), counts.shape)
print(f"the colour network: {sum(p.numel() for p in colour.parameters()):,} parameters, "
      f"{accuracy:.1%} of {counts.sum():,} test images right")
print(f"its most frequent error: {counts[most]} of 1,000 images of a {answers['label'][most[0]]} "
      f"taken for a {answers['label'][most[1]]}")

# %% [markdown]
# A filter of the first layer has three input channels, so it can be drawn as a small colour image: it responds most
# to a patch that looks like itself (notebook 02: a dot product measures likeness).
#
# **Predict.** Nobody told the network what to look for. What will its 32 filters look like?

# %%
filters = colour[1].weight.detach()                                      # (32, 3, 7, 7)
grey_part = filters.mean(1, keepdim=True)                                # what is common to the three colours
coloured = 1 - 3 * grey_part.pow(2).sum((1, 2, 3)) / filters.pow(2).sum((1, 2, 3))
order = coloured.argsort()
fig, axes = plt.subplots(3, 11, figsize=(10, 3.3), layout="constrained")
for ax in axes.flat:
    ax.axis("off")
for ax, i in zip(axes.flat, order.tolist()):
    one = filters[i].permute(1, 2, 0)                                    # (7, 7, 3)
    ax.imshow((0.5 + one / one.abs().max() / 2).numpy())                 # 0 is grey
    ax.set_title(f"{100 * coloured[i]:.0f} %", fontsize=9)
plt.show()
print(f"{int((coloured < 0.2).sum())} filters are nearly grey, {int((coloured > 0.8).sum())} nearly all colour")

# %% [markdown]
# The number is the share of colour: what is left of a filter's squares when the mean of its three channels is taken
# away. The first row and a half is nearly grey: light and dark stripes, in several directions, like Sobel's kernels
# of notebook 02, but smoother. The last ones are nearly all colour: blobs, and edges between blue and orange or green
# and magenta.
#
# AlexNet's first layer looks much the same (Krizhevsky, Sutskever and Hinton, 2012), and stripes with a direction are
# what Hubel and Wiesel's simple cells respond to (notebook 01). Nobody asked for it: edges and colours are useful for
# telling photographs apart, and in a first layer little else can be expressed.

# %% [markdown]
# ## Activations through depth
#
# The deeper filters have 32 or more input channels, and cannot be drawn as images. What they respond to can be seen
# only with images. For that we need the output of a layer in the middle.
#
# A **hook** is a function that PyTorch calls whenever a layer has been run: `handle = layer.register_forward_hook(f)`
# makes it call `f(layer, inputs, output)` after each run, until `handle.remove()`. `f` returns nothing.
#
# The exercises that look into a network are methods of classes that inherit from `Inspector`. It holds any network as
# `self.net`; without one it makes a small one to try things on. (Its ReLUs work in place, like those of many
# published networks.)

# %%
class Inspector(nn.Module):
    """Holds the network to be looked into, in evaluation mode: logits by self.net(x), or by self(x)."""

    def __init__(self, net=None):
        super().__init__()
        if net is None:
            net = nn.Sequential(
                nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(inplace=True)),
                nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(inplace=True)),
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))
        self.net = net
        self.eval()

    def forward(self, x):
        return self.net(x)

    def hooks(self):
        """How many hooks the layers have."""
        return sum(len(layer._forward_hooks) + len(layer._forward_pre_hooks) for layer in self.net.modules())


print([name for name, _ in Inspector().net.named_modules()])

# %% [markdown]
# ### Exercise: read a layer
#
# Write the method `activation(name, x)`.
#
# - `name` is the name of a layer in `self.net`, one of those just printed except the empty one: `"0.0"` is the first
#   convolution, `"0"` the first convolution with its ReLU. `self.net.get_submodule(name)` is the layer;
# - `x` (N, C, H, W) is an input of the network;
# - run the network on x and return what the layer gave, a tensor, **as the layer gave it**: another layer may work in
#   place on it later, in the same memory;
# - afterwards there are no more hooks than before.

# %% tags=["exercise:activation"]
class Recorder(Inspector):
    """Reads what layers compute."""

    def activation(self, name, x):
        """What the layer called `name` gives when the network is run on x (N, C, H, W)."""
        ### BEGIN SOLUTION
        kept = []
        layer = self.net.get_submodule(name)
        handle = layer.register_forward_hook(lambda layer, inputs, output: kept.append(output.clone()))
        with torch.no_grad():
            self.net(x)
        handle.remove()
        return kept[0]
        ### END SOLUTION

# %% tags=["check:activation"]
check("activation", Recorder)

# %% [markdown]
# Now a photograph on its way through the colour network. It has 200×160 pixels; up to the mean the network is fully
# convolutional (notebook 15), so any size will do.
#
# **Predict.** What will the maps of the first, the second and the fourth layer look like? In which can you still
# recognise the person?

# %%
def picture(name, step, rows=slice(None), columns=slice(None)):
    """A photograph (1, 3, H, W) from 0 to 1, made smaller by the mean over step×step pixels."""
    image = torch.from_numpy(photo(name)[rows, columns]).float().permute(2, 0, 1)[None]
    return F.avg_pool2d(image, step)

# %%
hopper = picture("hopper", 3, slice(0, 600), slice(16, 496))                        # (1, 3, 200, 160)
stages = {}
for title, name in {"layer 1": "2", "layer 2": "5", "layer 3": "8", "layer 4": "10"}.items():
    maps = Recorder(colour).activation(name, hopper)[0].detach()                    # (C, H, W)
    strongest = maps.amax((1, 2)).argsort(descending=True)[:8]
    stages[title] = maps[strongest].numpy()
fig, axes = plt.subplots(4, 8, figsize=(10, 6.6), layout="constrained")
for row, (title, maps) in zip(axes, stages.items()):
    for ax, one in zip(row, maps):
        ax.imshow(one, cmap="gray_r", interpolation="nearest")
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(f"{title}\n{maps.shape[1]}×{maps.shape[2]}", fontsize=9)
plt.show()

# %% [markdown]
# Darker is larger; of each layer the eight maps with the largest values. Layer 1 has edges, each map those of one
# direction, and at the right a map of one shade. In layer 2 there are fewer and longer contours. From layer 3 on the
# maps consist of spots: something is there, at the tie, at the eyes or at the medals, and nothing nearby. The person
# can still be recognised in layer 4. Where something is, is kept until the mean over all places forgets it.

# %% [markdown]
# What does such a unit respond to? The direct way, which needs no idea about how networks work: show it many patches,
# and look at those for which it is largest. Here they come from the three photographs. A unit of layer 4 sees 30×30
# pixels (notebook 03), one of layer 1 only 7×7.

# %%
pool = [picture(name, step) for name in ("china", "flower", "hopper") for step in (2, 4)]
FIELDS = {"2": (7, 1, -3), "5": (12, 2, -5), "10": (30, 4, -13)}         # pixels seen, step, where unit 0 begins


def best_patches(name, unit, count=5):
    """The patches (field, field, 3) for which a unit of a layer is largest; each but one place of its kind."""
    field, step, start = FIELDS[name]
    found = []
    for image in pool:
        values = Recorder(colour).activation(name, image)[0, unit].detach()
        peak = F.max_pool2d(values[None, None], 2 * (field // step) + 1, 1, field // step)[0, 0]
        for i, j in ((values == peak) & (values > 0)).nonzero().tolist():
            r, c = start + step * i, start + step * j
            if min(r, c) >= 0 and r + field <= image.shape[2] and c + field <= image.shape[3]:
                found.append((float(values[i, j]), image[0, :, r:r + field, c:c + field].permute(1, 2, 0)))
    return [patch.numpy() for _, patch in sorted(found, key=lambda pair: -pair[0])[:count]]

# %%
chosen = {("2", "layer 1, 7×7"): (0, 1, 2), ("5", "layer 2, 12×12"): (12, 10, 29),
          ("10", "layer 4, 30×30"): (29, 28, 61)}
fig, axes = plt.subplots(3, 17, figsize=(10, 2.4), layout="constrained")
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
for row, ((name, title), units) in zip(axes, chosen.items()):
    row[0].set_ylabel(title.replace(", ", "\n"), fontsize=8)
    for k, unit in enumerate(units):
        for ax, patch in zip(row[6 * k:], best_patches(name, unit)):
            ax.imshow(patch)
        row[6 * k + 2].set_title(f"unit {unit}", fontsize=9)
plt.show()

# %% [markdown]
# - Layer 1: a dark line between light ones; light above dark; a colour.
# - Layer 2: stripes, a soft edge of green and yellow, a point: combinations of edges.
# - Layer 4: bushes; white in the shape of a V; a roof against the sky. Larger parts and textures, no longer a simple
#   arrangement of light and dark.
#
# Low-, mid- and high-level features, it is often said. But three photographs show what a unit responds to **among
# their patches**. The V is a collar for us. The network has never been told of collars, and other pictures might show
# that it means something else. A unit need not have one meaning at all.

# %% [markdown]
# ## What can it not do without?
#
# Activations show what is computed, not what it is used for. To learn that, take something away and look at the
# answer. Zeiler and Fergus (2014) moved a grey square over an image and wrote down, for each place of the square, the
# probability of the right class.

# %% [markdown]
# ### Exercise: occlusion
#
# Write the method `occlusion_map(x, label, size, stride, fill)`.
#
# - `x` (1, C, H, W) is an image, which is not to be changed; `label` is an int; `size` and `stride` are ints, `fill`
#   is a float;
# - a square of `size`×`size` pixels has its upper left corner at rows 0, stride, 2·stride, … and columns likewise,
#   wherever it lies inside the image completely. It is filled with `fill`, in all channels;
# - return a tensor (rows, columns): for each place, the probability (softmax) of `label` for x **minus** that for the
#   covered x. So positive where covering harms.

# %% tags=["exercise:occlusion_map"]
class Occluder(Inspector):
    """Covers parts of an image and looks at the answer."""

    def occlusion_map(self, x, label, size, stride, fill):
        """How far the probability of label falls, for each place of the square: (rows, columns).

        x (1, C, H, W); label, size, stride ints; fill float.
        """
        ### BEGIN SOLUTION
        drops = []
        with torch.no_grad():
            whole = self.net(x).softmax(1)[0, label]
            for r in range(0, x.shape[2] - size + 1, stride):
                drops.append([])
                for c in range(0, x.shape[3] - size + 1, stride):
                    covered = x.clone()
                    covered[:, :, r:r + size, c:c + size] = fill
                    drops[-1].append(whole - self.net(covered).softmax(1)[0, label])
        return torch.stack([torch.stack(row) for row in drops])
        ### END SOLUTION

# %% tags=["check:occlusion_map"]
check("occlusion_map", Occluder)

# %% [markdown]
# A test of the method, on networks of which we know what they should look at. The scenes: a digit, and below it a
# small bright **dot** at one of ten places.
#
# - For network A the dot lies anywhere, and says nothing.
# - For network B it lies, in all training images, at the place that belongs to the digit: left for 0, right for 9.
#
# Nobody plans such a dot. But in a well-known set of photographs many of the horses carried the tag of the same
# archive, and a classifier had learned the tag (Lapuschkin and others, 2019).

# %%
def scenes(images, places):
    """Digits (N, 8, 8) made three times as large in (N, 32, 32) uint8, with a dot at a place from 0 to 9 below."""
    out = np.zeros((len(images), 32, 32), np.uint8)
    out[:, 2:26, 4:28] = images.repeat(3, axis=1).repeat(3, axis=2) * 255 / 16
    for image, place in zip(out, places):
        image[28:31, 3 * place + 1:3 * place + 4] = 255
    return out


def scene_net():
    """A small network for the scenes; its inputs go through cnnlab.train.normalise."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 5, padding=2), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1024, 10))


# %%
images, labels = digits()
rng = np.random.default_rng(16)
shuffled = rng.permutation(len(images))
learn, unseen = shuffled[:1437], shuffled[1437:]
anywhere = rng.integers(0, 10, len(images))
plots.images(*scenes(images[learn[:4]], anywhere[learn[:4]]), *scenes(images[learn[:4]], labels[learn[:4]]),
             titles=["A", "A", "A", "A", "B", "B", "B", "B"], height=1.6)

# %% [markdown]
# **Predict.** On scenes like those it learned from, which of the two networks makes fewer errors? And where the dot
# lies anywhere?

# %%
scene_nets, scene_accuracy = {}, {}
for name, places in {"A": anywhere, "B": labels}.items():
    torch.manual_seed(1)
    scene_nets[name] = scene_net()
    tests = {kind: (scenes(images[unseen], at), labels[unseen]) for kind, at in
             {"as in training": places[unseen], "dot anywhere": anywhere[unseen], "no dot": []}.items()}
    train(scene_nets[name], (scenes(images[learn], places[learn]), labels[learn]), tests["as in training"],
          Recipe(epochs=4, batch_size=32, lr=0.02, seed=1), quiet=True)
    scene_accuracy[name] = {kind: evaluate(scene_nets[name], test) for kind, test in tests.items()}
    print(f"network {name}:", ", ".join(f"{kind} {100 * a:.1f} %" for kind, a in scene_accuracy[name].items()))

# %% [markdown]
# On images like those it learned from, B is the better network. With the dot anywhere it is close to guessing: it
# reads the dot. (Without any dot it reads six digits of ten: it has learned something about digits too, and uses it
# when nothing else is there.)
#
# No test on images from the same source tells such a network from an honest one. Now the occlusion maps: for three
# digits with the dot in **their** place, a black square of 5×5 on every pixel. The cross marks where covering costs
# most.

# %%
BACKGROUND = -0.1307 / 0.3081                                            # black, after normalise
looked_at = [int(np.flatnonzero(labels[unseen] == k)[0]) for k in (0, 3, 7)]
fig, axes = plt.subplots(3, 3, figsize=(7, 7), layout="constrained")
for row, i in zip(axes, looked_at):
    scene = scenes(images[unseen[[i]]], labels[unseen[[i]]])             # the dot at the digit's place
    row[0].imshow(scene[0], cmap="gray")
    for ax, (name, net) in zip(row[1:], scene_nets.items()):
        drop = Occluder(net).occlusion_map(normalise(scene), int(labels[unseen[i]]), 5, 1, BACKGROUND).detach().numpy()
        ax.imshow(drop, cmap="gray_r", vmin=0, extent=(1.5, 29.5, 29.5, 1.5))             # at the square's middle
        r, c = np.unravel_index(drop.argmax(), drop.shape)
        ax.plot(c + 2, r + 2, "x", color="tab:orange", markersize=10, markeredgewidth=2)
        ax.set(xlim=(-0.5, 31.5), ylim=(31.5, -0.5), title=f"{name}: falls by up to {drop.max():.2f}")
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# Network A loses most where a stroke is covered that tells this digit from others, network B where the dot is. The
# method has found what we had hidden.
#
# Look at the numbers too. In B's first two rows the probability falls by only 0.14 and 0.12, although the network
# decides by the dot: without it there is still the digit, which it can read if it must. For A's 3 no square costs
# more than 0.06. Where two things say the same, neither is missed, and a map of small numbers does not mean that
# nothing was important.
#
# Nor is black nothing. A black square on a bright stroke makes new edges.

# %% [markdown]
# ## Saliency: all pixels at once
#
# Occlusion needs a forward pass for every place. A gradient needs one backward pass for all pixels: how much would
# the score change if this pixel changed a little? Simonyan, Vedaldi and Zisserman (2014) draw its absolute value, the
# largest of the three channels.
#
# ### Exercise: saliency
#
# Write the method `saliency(x, labels)`.
#
# - `x` (N, C, H, W); `labels` (N,) int64;
# - for each image take the gradient of the **logit** of its label, with respect to its own pixels, in absolute value,
#   and the largest of these over the channels;
# - return a tensor (N, H, W). It does not depend on which images are in the batch together.

# %% tags=["exercise:saliency"]
class Tracer(Inspector):
    """Follows a score back to the pixels."""

    def saliency(self, x, labels):
        """|slope| of each image's own logit at its label, the largest over the channels: (N, H, W).

        x (N, C, H, W); labels (N,) int64.
        """
        ### BEGIN SOLUTION
        x = x.clone().requires_grad_()
        scores = self.net(x).gather(1, labels[:, None])                  # (N, 1)
        (slopes,) = torch.autograd.grad(scores.sum(), x)                 # (N, C, H, W)
        return slopes.abs().amax(1)
        ### END SOLUTION

# %% tags=["check:saliency"]
check("saliency", Tracer)

# %% [markdown]
# **Predict.** Network B decides by the dot alone. Will its saliency be large at the dot only? And that of a network
# that was never trained?

# %%
torch.manual_seed(5)
shown = {"A": scene_nets["A"], "B": scene_nets["B"], "never trained": scene_net()}
batch = normalise(scenes(images[unseen], labels[unseen]))
dots, maps = {}, {}
for name, net in shown.items():
    maps[name] = Tracer(net).saliency(batch, torch.from_numpy(labels[unseen])).detach().numpy()
    dots[name] = float((maps[name][:, 27:].sum((1, 2)) / maps[name].sum((1, 2))).mean())
fig, axes = plt.subplots(3, 4, figsize=(8.6, 6.4), layout="constrained")
for row, i in zip(axes, looked_at):
    row[0].imshow(batch[i, 0].detach().numpy(), cmap="gray")
    for ax, name in zip(row[1:], shown):
        ax.imshow(maps[name][i], cmap="gray_r")
        ax.set_title(name, fontsize=10)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
plt.show()
print("share of the saliency in the dots' rows, 5 of 32:", {name: f"{share:.0%}" for name, share in dots.items()})

# %% [markdown]
# B's maps are darkest at the dot, but only 37 % of its saliency lies in the dot's rows. The rest lies on the digit,
# to which the answer pays little attention. For A it is 5 %. For the network that was never trained it is 13 %, about
# the share of these rows: 5 of 32.
#
# So saliency is not a picture of what the answer rests on. It says what an infinitesimal change of each pixel would
# do to one logit, at this image, and no more. A dot that is there and is needed may have a small slope; a stroke that
# decides nothing may have a large one.

# %% [markdown]
# ## What it likes best
#
# A third way asks the network itself. Fix the weights, take any image, and change the **image** so that a unit's
# score rises: gradient ascent, the training loop with image and weights exchanged. Notebook 05 changed the pixels of
# an image like that, downhill.

# %% [markdown]
# ### Exercise: one step uphill
#
# Write the method `ascend(x, unit, lr, decay)`.
#
# - `x` (1, C, H, W) is the image so far, which is not to be changed; `unit` is an int, `lr` and `decay` are floats;
# - $g$ is the gradient of the logit of `unit` with respect to x, at x. It is not 0. $\|g\|$ is its length, the root
#   of the sum of the squares of all its values;
# - return $(1 - \text{decay})\,x + \text{lr}\; g / \|g\|$, a tensor of the shape of x.

# %% tags=["exercise:gradient_ascent"]
class Climber(Inspector):
    """Makes images for which a unit is large."""

    def ascend(self, x, unit, lr, decay):
        """One step of gradient ascent on the image x (1, C, H, W): (1, C, H, W)."""
        ### BEGIN SOLUTION
        y = x.clone().requires_grad_()
        (slopes,) = torch.autograd.grad(self.net(y)[0, unit], y)
        return (1 - decay) * x + lr * slopes / slopes.norm()
        ### END SOLUTION

# %% tags=["check:gradient_ascent"]
check("gradient_ascent", Climber)

# %% [markdown]
# **Predict.** LeNet reads 99.4 % of MNIST's test images. From a black image we climb the logit of 3. Will a 3 appear?

# %%
def climb(net, x, unit, steps, lr, decay=0.0, shift=0, seed=0):
    """Every image on the way uphill, moved by up to `shift` pixels before each step and back after it."""
    climber, generator, path = Climber(net), torch.Generator().manual_seed(seed), [x]
    for _ in range(steps):
        by = tuple(torch.randint(-shift, shift + 1, (2,), generator=generator).tolist())
        x = climber.ascend(x.roll(by, (2, 3)), unit, lr, decay).detach().roll((-by[0], -by[1]), (2, 3))
        path.append(x)
    return torch.cat(path)

# %%
path = climb(reader, torch.zeros(1, 1, 32, 32), 3, steps=20, lr=0.5)
with torch.no_grad():
    belief = reader(path).softmax(1).numpy()
animation.recognition(path[:, 0].clip(-1, 1).numpy(), belief, [f"step {i}" for i in range(21)], label=3, interval=250)

# %%
fig, axes = plt.subplots(2, 10, figsize=(10, 2.5), layout="constrained")
certain = {}
for row, (name, options) in zip(axes, {"plain": {}, "shifted": {"shift": 3, "decay": 0.02}}.items()):
    made = torch.cat([climb(reader, torch.zeros(1, 1, 32, 32), k, steps=40, lr=0.5, **options)[-1:] for k in range(10)])
    with torch.no_grad():
        certain[name] = reader(made).softmax(1).diagonal().numpy()
    for k, ax in enumerate(row):
        ax.imshow(made[k, 0].numpy(), cmap="gray", vmin=-1, vmax=1)
        ax.set(xticks=[], yticks=[], title=k if name == "plain" else "")
    row[0].set_ylabel(name)
plt.show()
print({name: f"least certain of the ten: {p.min():.3f}" for name, p in certain.items()})

# %% [markdown]
# LeNet is certain of all ten, at least 99.9 %, plain or with small shifts between the steps. Something of the digits
# is in them: a ring for 0, slanted strokes for 1. But nobody would read these pictures, and nobody would write them.
# The training set holds no such image, so nothing ever told the network not to be certain here. (Black, at step 0, it
# takes for a 1, if not surely: it has no answer "none".)

# %% [markdown]
# The same with the colour network, for five of its classes: from grey, without and with small random shifts. A shift
# before each step leaves only what is liked at every place nearby.

# %%
names = class_names("cifar10")
fig, axes = plt.subplots(2, 5, figsize=(10, 4.3), layout="constrained")
for row, (title, options) in zip(axes, {"plain": {}, "shifted": {"shift": 4, "decay": 0.01}}.items()):
    for ax, unit in zip(row, (0, 1, 5, 7, 8)):
        made = climb(colour, torch.full((1, 3, 48, 48), 0.5), unit, 40, 1.0, **options)[-1, :, 8:40, 8:40]
        ax.imshow(made.clip(0, 1).permute(1, 2, 0).numpy())
        ax.set(xticks=[], yticks=[], title=names[unit])
    row[0].set_ylabel(title)
plt.show()

# %% [markdown]
# The dog gets eyes and noses, several of them; the ship horizontal lines with something upright on them; the horse
# vertical shapes before green; the aeroplane edges in front of something even. What is *like* each class for this
# network are local parts and textures, anywhere and repeated. No wonder: the mean over all places at its end does not
# ask where something is, and the more often it is there, the larger is the mean.
#
# The shifts, and the decay, remove the finest noise. With more such constraints one gets beautiful pictures (Olah,
# Mordvintsev and Schubert, 2017). How much of them is the network and how much the constraints is then a question of
# its own.

# %% [markdown]
# ## The deconvnet
#
# Zeiler and Fergus wanted to see which part of an image made a unit in the middle respond. They sent its value back
# through the network: through the same kernels, transposed (notebook 05), to the winners of each pooling, for which
# they kept where these had been. All that is what backpropagation does. Only at a **ReLU** they did something else:
# what comes back is itself passed through a ReLU. (In the name "deconvnet" lives on what others call transposed
# convolution.) With it they found the artefacts in AlexNet that ZFNet mends (notebook 10).

# %% [markdown]
# Springenberg and colleagues (2015) put the two together and called it guided backpropagation: a value passes only if
# both the deconvnet and the gradient let it through.

# %% [markdown]
# ### Exercise: three ways back through a ReLU
#
# Write `relu_backward(x, dy, rule)`.
#
# - `x` is what the ReLU was given in the forward pass, `dy` what comes back to its output: tensors of one shape;
# - `rule` is `"gradient"`, `"deconvnet"` or `"guided"`;
# - return a tensor of the shape of dy. `"gradient"`: dy where x is above 0. `"deconvnet"`: dy where dy is above 0,
#   whatever x was. `"guided"`: dy where both are above 0. Everything else is 0.
#
# Each rule is worth a third of the points.

# %% tags=["exercise:relu_backward"]
def relu_backward(x, dy, rule):
    """What goes back from the output of a ReLU to its input.

    x, dy tensors of one shape; rule "gradient", "deconvnet" or "guided".  Returns a tensor of the same shape.
    """
    ### BEGIN SOLUTION
    keep = {"gradient": x > 0, "deconvnet": dy > 0, "guided": (x > 0) & (dy > 0)}
    return dy * keep[rule]
    ### END SOLUTION

# %% tags=["check:relu_backward"]
check("relu_backward", relu_backward)

# %% [markdown]
# `torch.autograd.Function` lets us write a backward of our own; with it we put your rules into the colour network in
# place of its ReLUs.

# %%
class RuledReLU(torch.autograd.Function):
    """A ReLU whose backward follows a rule."""

    @staticmethod
    def forward(ctx, x, rule):
        ctx.save_for_backward(x)
        ctx.rule = rule
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, dy):
        return relu_backward(*ctx.saved_tensors, dy, ctx.rule), None

# %%
def sent_back(net, image, rule, at):
    """What arrives at the image's pixels from one unit of layer 4: at is its channel, row and column."""
    leaf = image.clone().requires_grad_()
    y = leaf
    for layer in list(net)[:10]:                                         # up to the fourth convolution, before its ReLU
        y = RuledReLU.apply(y, rule) if isinstance(layer, nn.ReLU) else layer(y)
    y[(0, *at)].backward()
    return leaf.grad[0]                                                  # (3, H, W)


def strongest(image):
    """Channel, row and column of the largest value of layer 4, and the 30×30 pixels that it sees."""
    with torch.no_grad():
        inner = colour[:10](image)[0, :, 4:-4, 4:-4]                     # whose pixels lie all in the image
    unit, i, j = (int(v) for v in np.unravel_index(int(inner.argmax()), inner.shape))
    r, c = 4 * (i + 4) - 13, 4 * (j + 4) - 13
    return (unit, i + 4, j + 4), (slice(r, r + 30), slice(c, c + 30))

# %% [markdown]
# **Predict.** Which of the three pictures will look best to you? And does that mean that it says most about the
# network?
#
# As a test, the same again after the last two layers have been given random weights. A picture that explains what the
# trained network does should change.

# %%
def to_show(values):
    """(3, H, W) as an image around grey."""
    return (0.5 + values / values.abs().max().clamp(min=1e-12) / 2).permute(1, 2, 0).numpy()

# %%
torch.manual_seed(3)
broken = with_weights(colour_net(), "cifar_net")
for place in (7, 9):
    broken[place].reset_parameters()
views = [picture("hopper", 3, slice(0, 600), slice(16, 496)), picture("china", 3), picture("flower", 3)]
fig, axes = plt.subplots(3, 7, figsize=(10, 4.9), layout="constrained")
likeness = {rule: [] for rule in ("gradient", "deconvnet", "guided")}
for row, image in zip(axes, views):
    at, (seen_rows, seen_columns) = strongest(image)
    row[0].imshow(image[0, :, seen_rows, seen_columns].permute(1, 2, 0).numpy())
    for k, rule in enumerate(likeness):
        back = [sent_back(net, image, rule, at)[:, seen_rows, seen_columns] for net in (colour, broken)]
        likeness[rule].append(float(torch.corrcoef(torch.stack([b.abs().flatten() for b in back]))[0, 1]))
        for place, values, of in zip((k + 1, k + 4), back, ("", ", broken")):
            row[place].imshow(to_show(values))
            axes[0, place].set_title(rule + of, fontsize=9)
for ax in axes.flat:
    ax.axis("off")
plt.show()
likeness = {rule: float(np.mean(values)) for rule, values in likeness.items()}
print("correlation of trained and broken:", {rule: f"{value:.2f}" for rule, value in likeness.items()})

# %% [markdown]
# The guided picture looks best: clean contours of the eye, the stairs, the petals. But it hardly changes when two of
# the four layers are random: correlation 0.83, against 0.42 for the gradient (of absolute values, mean of the three).
# What it shows are the edges of the image, of which the trained first layers let those through that can be drawn
# well. It looks like an explanation, and is mostly a picture of the input.
#
# Adebayo and others (2018) made this test for many such methods. It is cheap, and belongs to every use of one.

# %% [markdown]
# ## Do two networks see alike?
#
# Train the same network twice, from other first weights: it is about as good, but no unit of the one is to be found
# in the other. Which unit learns what is chance. So units cannot be compared one by one. What can be compared is what
# the two hold for **alike**.

# %% [markdown]
# Show both the same $n$ images. The outputs of a layer, flattened, are the rows of $X$ $(n, p)$, those of a layer of
# the other network the rows of $Y$ $(n, q)$. From every column its mean is subtracted. Linear **centred kernel
# alignment** (Kornblith, Norouzi, Lee and Hinton, 2019) is
#
# $$\text{CKA}(X, Y) = \frac{\|Y^\top X\|^2}{\|X^\top X\|\;\|Y^\top Y\|},$$
#
# where $\|M\|$ is the root of the sum of all squares. It goes from 0 to 1.

# %% [markdown]
# ### Exercise: linear CKA
#
# Write `linear_cka(x, y)`.
#
# - `x` (n, p) and `y` (n, q) are tensors, float32 or float64, of the same dtype; a row is an image, a column a
#   feature. They have not been centred yet, and are not to be changed. Neither is the same for all images;
# - return the linear CKA, a float or a tensor without dimensions.

# %% tags=["exercise:linear_cka"]
def linear_cka(x, y):
    """How alike two representations of the same images are, from 0 to 1.

    x (n, p), y (n, q).  Returns a float.
    """
    ### BEGIN SOLUTION
    x, y = x - x.mean(0), y - y.mean(0)
    shared = (y.T @ x).pow(2).sum()
    return float(shared / ((x.T @ x).norm() * (y.T @ y).norm()))
    ### END SOLUTION

# %% tags=["check:linear_cka"]
check("linear_cka", linear_cka)

# %% [markdown]
# **Predict.** What becomes of the CKA with x if y is x with its columns in another order; x times 3 plus 5; x turned
# by a rotation in the space of its features; x with one column a hundred times as large; and other random numbers?

# %%
random = np.random.default_rng(0)
x, y, few, square = (torch.from_numpy(random.standard_normal((n, 10))) for n in (200, 200, 10, 10))
turn, _ = torch.linalg.qr(square)
stretch = torch.from_numpy(np.r_[100, np.ones(9)])
trials = {"other order": x[:, random.permutation(10)], "3 x + 5": 3 * x + 5, "turned": x @ turn,
          "one column times 100": x * stretch, "other numbers": y, "other numbers, 10 images": few}
alike = {name: float(linear_cka(x[:len(y)], y)) for name, y in trials.items()}
for name, value in alike.items():
    print(f"{name:25} {value:.3f}")

# %% [markdown]
# Order, scale, shift and rotation do not matter: so units need not be matched, and CKA is exactly 1. One large column
# does matter. Linear CKA weighs directions by how much varies along them, and is not the same after every linear map.
#
# Unrelated numbers have a CKA near 0, but only if there are many more images than features: with 10 of each it is
# 0.56, for nothing. Always ask what CKA unrelated features of this size would have.

# %% [markdown]
# Now the colour network; a second one, trained in the same way from another seed, but only for 8 epochs of 20; and a
# third one that was never trained. 1,000 test images of CIFAR-10, each layer after its ReLU against each.
#
# **Predict.** Where will the large values lie in the middle picture? Will the third one be white?

# %%
table = results.load("cifar_cka")
stage_names = list(dict.fromkeys(table["layer"].tolist()))
cka = {kind: table[f"cka_{kind}"].reshape(7, 7) for kind in ("itself", "seed", "untrained")}
fig, axes = plt.subplots(1, 3, figsize=(10, 3.9), layout="constrained")
for ax, (kind, title) in zip(axes, {"itself": "itself", "seed": "another seed", "untrained": "never trained"}.items()):
    plots.grid(ax, cka[kind].round(2), f"the network and {title}", vmin=0, vmax=1)
    ax.set_xticks(range(7), stage_names, rotation=60, minor=True, fontsize=9)
    ax.set_yticks(range(7), stage_names if kind == "itself" else [""] * 7, minor=True, fontsize=9)
plt.show()
by_ranks = table["ranks_seed"].reshape(7, 7).diagonal()
print("another seed, the same layer: CKA", cka["seed"].diagonal()[1:].round(2), "by ranks", by_ranks[1:].round(2))
print(f"{table.command}; {table.device}; {table.date}; {table.header['data']}")

# %% [markdown]
# In the middle each layer is most like the **same** layer of the other network: 0.87 to 0.98 on the diagonal. From
# other first weights, with images in another order, both have come to hold the same images for alike, step by step,
# although no unit has a counterpart. (The measure of the next section, by ranks, says the same.)
#
# The third is not white. What was never trained stays near the image, 0.69 and more in all four layers, and so does
# our layer 1: 0.73 for the two first layers, for nothing. Only where it is deep does training show: 0.25 in layer 4,
# 0.08 at the logits. Without the third picture one would take 0.73 for a finding.

# %% [markdown]
# ## Convnets and monkeys
#
# The same can be asked of a network and a brain. Cadieu and colleagues (2014) showed 1,960 images to macaques, each
# for 100 milliseconds: objects of seven categories, 49 objects in all, in many positions, sizes and poses, on
# backgrounds that had nothing to do with them. Electrodes recorded how many spikes groups of cells fired at 168
# places in **IT**, the inferior temporal cortex, the last stage of the visual pathway for objects, and at 128 in
# **V4**, the stage before it. The same images went through models of vision, among them AlexNet and the network of
# Zeiler and Fergus.

# %% [markdown]
# They compared in three ways:
#
# - **performance**: how well can the category be told from the features, for a given complexity of what tells it?
#   Sites, noise and number of images were made equal on both sides;
# - **similarity**: are the same images alike for both?
# - **prediction**: can the responses at single places in IT be predicted, linearly, from the features?
#
# The best networks rivalled IT in performance, which no earlier model inspired by biology had. And models that did
# well in the first way also did well in the other two.

# %% [markdown]
# What that shows: networks trained to name objects in photographs, and never on a brain, arrive at features that on
# this task are as good as a sample of IT, and partly like it.
#
# What it does **not** show: that they work in the same way. The authors say so: it is yet to be determined, it only
# cannot be excluded any more on grounds of performance. IT was sampled at 168 places, for images shown for a tenth of
# a second, from seven categories. Equal performance does not mean equal errors on single images, and of the responses
# in IT a good part remained unpredicted.

# %% [markdown]
# We have no recordings, so a network stands in for the monkey. The measure is an older one: **representational
# dissimilarity** (Kriegeskorte, Mur and Bandettini, 2008).
#
# ### Exercise: the dissimilarity matrix
#
# Write `rdm(features)`.
#
# - `features` (n, …) holds what a layer gives for n images, n ≥ 2: rows or maps, float32 or float64. Each image is
#   flattened, and all of its values count. No image has all values equal;
# - return a tensor (n, n): in row i, column j, 1 minus Pearson's correlation of image i's values with image j's. On
#   the diagonal that is 0.

# %% tags=["exercise:rdm"]
def rdm(features):
    """How unlike every two images are: 1 minus the correlation of their features, (n, n).

    features (n, ...).
    """
    ### BEGIN SOLUTION
    return 1 - torch.corrcoef(features.flatten(1))
    ### END SOLUTION

# %% tags=["check:rdm"]
check("rdm", rdm)

# %% [markdown]
# Two such matrices are compared by the **rank** correlation of their entries (Spearman's): replace every value by its
# rank, 0 for the smallest, and take Pearson's correlation of the ranks.
#
# ### Exercise: do two matrices agree?
#
# Write `rdm_agreement(first, second)`.
#
# - both are (n, n), float64, symmetric, with zeros on the diagonal, n ≥ 3. Above the diagonal no two entries of a
#   matrix are equal;
# - return Spearman's rank correlation of the entries **above** the diagonal, each pair of images once: a float, or a
#   tensor without dimensions. Use PyTorch or NumPy; SciPy would do it for you.

# %% tags=["exercise:rdm_agreement"]
def rdm_agreement(first, second):
    """Spearman's rank correlation of two dissimilarity matrices (n, n), above the diagonal.  Returns a float."""
    ### BEGIN SOLUTION
    i, j = torch.triu_indices(len(first), len(first), offset=1)
    ranks = [matrix[i, j].argsort().argsort().double() for matrix in (first, second)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])
    ### END SOLUTION

# %% tags=["check:rdm_agreement"]
check("rdm_agreement", rdm_agreement)

# %% [markdown]
# The "monkey" is LeNet, trained on MNIST. We "record" 40 of the 84 units of its last hidden layer, each response with
# noise half as large as the responses vary. The images are 120 of the built-in digits, sorted by class.
#
# The candidates: the pixels; a LeNet that was never trained; and a **student**, a LeNet that learns now, from the
# other built-in digits, with other first weights and other images than the monkey.

# %%
big = F.pad(F.interpolate(torch.from_numpy(images).float()[:, None] / 16, (20, 20), mode="bilinear"), [6] * 4)
sorted_by_class = [np.flatnonzero(labels[unseen] == k)[:12] for k in range(10)]
stimuli = big[unseen[np.concatenate(sorted_by_class)]]                   # (120, 1, 32, 32)
torch.manual_seed(7)
novice, student = lenet().eval(), lenet()
student[0] = nn.Identity()                                               # `train` normalises, by the same numbers
as_bytes = (255 * big[:, 0]).round().to(torch.uint8)
train(student, (as_bytes[learn], labels[learn]), (as_bytes[unseen], labels[unseen]),
      Recipe(epochs=6, batch_size=32, lr=0.02, seed=7), quiet=True)
student[0] = Scale((0.1307,), (0.3081,))
reads = {}
for name, net in {"monkey": reader, "student": student}.items():
    with torch.no_grad():
        reads[name] = float((net(big[unseen]).argmax(1).numpy() == labels[unseen]).mean())
    print(f"{name}: {100 * reads[name]:.1f} % of {len(unseen)} digits right")

# %%
def record(seed, units=40, noise=0.5):
    """Responses (120, units) of the monkey's last hidden layer, with noise."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        responses = reader[:12](stimuli)[:, torch.randperm(84, generator=random)[:units]]
    return responses + noise * responses.std() * torch.randn(responses.shape, generator=random)


def stages_of(net):
    """What a LeNet gives for the stimuli: convolutions and hidden layers after their ReLUs, and logits."""
    with torch.no_grad():
        return {title: net[:end](stimuli) for title, end in
                {"C1": 3, "C3": 6, "C5": 10, "F6": 12, "output": 13}.items()}

# %%
same_class = np.kron(np.eye(10), np.ones((12, 12))) - np.eye(120)
fig, axes = plt.subplots(1, 4, figsize=(10, 2.9), layout="constrained")
within_class = {}
for ax, (title, values) in zip(axes, {"pixels": stimuli, "never trained, F6": stages_of(novice)["F6"],
                                      "student, F6": stages_of(student)["F6"], "recorded": record(0)}.items()):
    unlike = rdm(values).numpy()
    ax.imshow(unlike, cmap="gray", vmin=0, vmax=np.quantile(unlike, 0.99))
    ax.set(title=title, xticks=range(6, 120, 12), xticklabels=range(10), yticks=[])
    within_class[title] = float(unlike[same_class == 1].mean() / unlike[same_class + np.eye(120) == 0].mean())
plt.show()
print("unlike within a class, over that between classes:", {k: round(v, 2) for k, v in within_class.items()})

# %% [markdown]
# Dark is alike, and each picture has its own scale. In the student's, dark blocks stand on the diagonal: digits of
# one class are alike for it, whoever wrote them; on average they are about a fifth as unlike as digits of two classes.
# The pixels have such blocks too, but there it is half, and the network that was never trained has weakened them. The
# recording's are blurred by the noise.

# %% [markdown]
# **Predict.** Which stage of the student is closest to the recording? And how high can agreement be? Two yardsticks:
# ten more recordings, of other units and with other noise; and the monkey's own layer, all 84 units without noise. No
# model can be expected to do better than that one.

# %%
recorded = rdm(record(0)).double()
agreement = {name: {title: float(rdm_agreement(rdm(v).double(), recorded)) for title, v in stages_of(net).items()}
             for name, net in {"never trained": novice, "student": student}.items()}
pixel_agreement = float(rdm_agreement(rdm(stimuli).double(), recorded))
with torch.no_grad():
    ceiling = float(rdm_agreement(rdm(reader[:12](stimuli)).double(), recorded))
again = float(np.mean([float(rdm_agreement(rdm(record(seed)).double(), recorded)) for seed in range(1, 11)]))
fig, ax = plt.subplots(figsize=(8, 3.1), layout="constrained")
for (name, values), (shade, hatch, move) in zip(agreement.items(), [("0.85", "", -0.2), ("tab:orange", "//", 0.2)]):
    ax.bar(np.arange(5) + move, list(values.values()), 0.38, color=shade, hatch=hatch, edgecolor="0.2", label=name)
ax.axhline(pixel_agreement, color="0.2", linestyle=":", label="pixels")
ax.axhline(again, color="0.2", linestyle="--", label="another recording")
ax.axhline(ceiling, color="0.2", label="without noise")
ax.set(xticks=range(5), xticklabels=agreement["student"], ylabel="rank correlation", ylim=(0, 1.1))
ax.legend(frameon=False, fontsize=9, ncols=5, loc="upper left")
plt.show()
print(f"pixels {pixel_agreement:.2f}, another recording {again:.2f}, the monkey without noise {ceiling:.2f}")
for name, values in agreement.items():
    print(f"{name:14}", "  ".join(f"{title} {v:.2f}" for title, v in values.items()))

# %% [markdown]
# With depth the student comes closer to the recording, 0.42 to 0.48, and the untrained network moves away, 0.43 to
# 0.10. Learning the same task from other images has brought two networks nearer to each other.
#
# But see how much that is. The pixels alone reach 0.43. So most of what the student reaches is not learned at all. And
# even the monkey's own layer reaches only 0.80, because one recording has noise and few units. A second recording,
# with noise of its own, reaches 0.65: a good model without noise could come above it.

# %% [markdown]
# A similarity by itself says little; it needs beside it what simple alternatives reach, and what can be reached. The
# study had both: older models of vision on one side, the noise of the recordings on the other.
#
# To try: `noise=0`, all 84 units, the student after one epoch.

# %% [markdown]
# ## What they do not see as we do
#
# In notebook 06 we measured how little a network is invariant to a shift, in notebook 09 how robust it is to shifts,
# turns and noise, on average. Somebody who wants to mislead it does not take the average.
#
# The gradient of the loss tells for every pixel which way is worse. **Fast gradient sign** (Goodfellow, Shlens and
# Szegedy, 2015) moves each pixel by the same small amount that way.

# %% [markdown]
# ### Exercise: the worst small noise
#
# Write the method `attack(x, labels, epsilon)`.
#
# - `x` (N, C, H, W) holds images from 0 to 1, which are not to be changed; `labels` (N,) int64; `epsilon` is a float;
# - move each value by `epsilon` in the direction in which the cross-entropy of its image's label grows. Where its
#   slope is 0 it stays;
# - cut off what leaves 0 to 1, and return a tensor of the shape of x.

# %% tags=["exercise:fast_gradient_sign"]
class Attacker(Inspector):
    """Looks for small changes that mislead."""

    def attack(self, x, labels, epsilon):
        """The images moved by epsilon along the sign of the loss's slope, from 0 to 1: (N, C, H, W)."""
        ### BEGIN SOLUTION
        y = x.clone().requires_grad_()
        (slopes,) = torch.autograd.grad(F.cross_entropy(self.net(y), labels), y)
        return (x + epsilon * slopes.sign()).clamp(0, 1)
        ### END SOLUTION

# %% tags=["check:fast_gradient_sign"]
check("fast_gradient_sign", Attacker)

# %% [markdown]
# The images: 500 of the built-in digits that LeNet from MNIST reads rightly, so every curve begins at 100 %. Against
# each attack stands an average of the same size: random signs in place of the gradient's, a random shift in place of
# the worst of all shifts by up to so many pixels.
#
# **Predict.** How far must each pixel move until half of the digits are misread: by random signs, and by the
# gradient's?

# %%
def read_rightly(x):
    """Which of the images (500, 1, 32, 32) LeNet reads rightly."""
    with torch.no_grad():
        return (reader(x).argmax(1) == truth).double()

# %%
with torch.no_grad():
    readable = (reader(big).argmax(1) == torch.from_numpy(labels)).nonzero()[:500, 0]
victims, truth = big[readable], torch.from_numpy(labels)[readable]
epsilons, reaches = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3), (0, 1, 2, 3)
signs = torch.randn(victims.shape, generator=torch.Generator().manual_seed(2)).sign()
shifted = {(i, j): read_rightly(victims.roll((i, j), (2, 3))) for i in range(-3, 4) for j in range(-3, 4)}
within = [torch.stack([good for by, good in shifted.items() if max(map(abs, by)) <= d]) for d in reaches]
still = {"random signs": [float(read_rightly((victims + e * signs).clamp(0, 1)).mean()) for e in epsilons],
         "random shift": [float(good.mean()) for good in within],
         "worst shift": [float(good.amin(0).mean()) for good in within]}

# %%
attacked = [Attacker(reader).attack(victims, truth, e).detach() for e in epsilons]
still["gradient's signs"] = [float(read_rightly(x).mean()) for x in attacked]
fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.2), layout="constrained", sharey=True)
for ax, at, which, unit in [(axes[0], epsilons, ("gradient's signs", "random signs"), "change of each pixel; ink is 1"),
                            (axes[1], reaches, ("worst shift", "random shift"), "shift by up to so many pixels")]:
    for name, style, shade in zip(which, ("o-", "s--"), ("tab:orange", "0.2")):
        ax.plot(at, 100 * np.array(still[name]), style, color=shade, label=name)
    ax.set(xlabel=unit, ylim=(0, 104))
    ax.legend(frameon=False, loc="upper right" if ax is axes[0] else "lower left")
axes[0].set_ylabel("still read rightly, in %")
plt.show()
for name, values in still.items():
    print(f"{name:17}", "  ".join(f"{100 * v:5.1f}" for v in values))

# %% [markdown]
# About half of the digits are misread if each pixel moves by 0.2 at random; along the signs of the gradient, less
# than 0.05 is enough. (Beyond 0.15 the orange curve rises a little: slopes hold only nearby, and the step is made in
# one go.)
#
# A shift by up to 2 pixels costs 7 points on average. But for 44 % of the digits there is *one* among the 25 shifts
# that misleads. This closes the circle to notebooks 06 and 09: convolution moves along with the image, pooling
# forgives a little, distorted training images help on average, and none of it makes the answer invariant. Robust on
# average and robust in the worst case are two different properties.

# %%
hit, same_size = Attacker(reader).attack(victims, truth, 0.1).detach(), (victims + 0.1 * signs).clamp(0, 1)
with torch.no_grad():
    said = reader(hit).argmax(1)
misread = [int(((truth == k) & (said != k)).nonzero()[0]) for k in range(10) if ((truth == k) & (said != k)).any()]
fig, axes = plt.subplots(3, len(misread), figsize=(10, 3.5), layout="constrained", squeeze=False)
for column, i in zip(axes.T, misread):
    for ax, image in zip(column, (victims[i], same_size[i], hit[i])):
        ax.imshow(image[0].numpy(), cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
    column[2].set_title(f"{truth[i]}→{said[i]}", fontsize=9)
for row, title in zip(axes, ("as it is", "random", "gradient")):
    row[0].set_ylabel(title)
plt.show()

# %% [markdown]
# Label → answer below each other: the same digit as it is, with random signs, and with those of the gradient, each
# pixel moved by 0.1. For us the second and third row are equally noisy. The network reads 95 % of the second and 6 %
# of the third. The changes are not larger; they all pull in one direction. With 1,024 pixels, 1,024 small pushes add
# up.

# %% [markdown]
# ## With weights from ImageNet
#
# Everything above works for larger networks too. If you have AlexNet's weights as a file for torchvision, put its
# path into the environment variable `CNNLAB_ALEXNET`, or into the cell after the next. Without a file that cell only
# says so. `weights_only=True` matters: a weight file from somewhere else could otherwise run any code when it is
# read.

# %%
class AlexNet(nn.Module):
    """AlexNet as torchvision has it, with its names, so that its weights fit."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2))
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(inplace=True),
            nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Linear(4096, 1000))

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))

# %%
def look_into(file):
    """AlexNet's first filters, its answer for a photograph, and where it looks for that."""
    with torch.device("meta"):
        net = AlexNet()
    net.load_state_dict(torch.load(file, weights_only=True, map_location="cpu"), assign=True)
    image = 255 * F.interpolate(torch.from_numpy(photo("hopper")).permute(2, 0, 1)[None], (300, 256), mode="area")[0]
    x = prepare_image(image.permute(1, 2, 0).round().byte(), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224)
    best = Inspector(net)(x).detach().softmax(1)[0].topk(3)
    print("classes and probabilities:", [(int(k), round(float(p), 3)) for k, p in zip(best.indices, best.values)])
    drop = Occluder(net).occlusion_map(x, int(best.indices[0]), 64, 32, 0.0).detach()
    first = net.features[0].weight.detach().permute(0, 2, 3, 1)           # (64, 11, 11, 3)
    first = (0.5 + first / first.abs().amax((1, 2, 3), keepdim=True) / 2).numpy()
    tiles = np.pad(first, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1).reshape(8, 8, 13, 13, 3)
    plots.images(tiles.transpose(0, 2, 1, 3, 4).reshape(104, 104, 3), drop.numpy(), titles=["filters", "occlusion"])

# %%
weights_file = os.environ.get("CNNLAB_ALEXNET", "")
if os.path.isfile(weights_file):
    look_into(weights_file)
else:
    print("No weights of AlexNet are given, so there is nothing to look into.")

# %% [markdown] tags=["written:what_is_shown:4"]
# ## In your own words
#
# A company offers a network that finds pneumonia in chest X-rays: 95 % right, on images from the hospital where it
# was trained. To show that it has understood, they present: (a) saliency maps that lie mostly inside the lungs; (b)
# an image made by gradient ascent, for which the network is certain: pneumonia; (c) a CKA of 0.8 between its last
# layer and that of an approved network, on 60 images.
#
# What does each of the three show, and what not? Use what you have measured in this notebook. Then name two
# experiments that you would make before you trust it, and say what you would expect if it has learned something else
# than pneumonia. Ten sentences are enough.
#
# <!-- BEGIN SOLUTION -->
# **Answer.**
#
# (a) Saliency says where a small change of a pixel would change the score, not what the answer depends on. Network B,
# which reads the dot, has most of its saliency outside the dot; and pictures that lie on edges come from networks
# with random layers too. The maps should at least be compared with those of an untrained or broken network.
#
# (b) Gradient ascent makes an image of probability 1 for any class of any network, ours as well, and nobody would
# read the digits in them. It shows what raises the score, not what pneumonia looks like to the network.
#
# (c) CKA says that both hold the same images for alike. With 60 images and perhaps hundreds of features it is high
# for unrelated numbers. Both may also rely on the same wrong clue. Missing are: what pixels reach, what an untrained
# network reaches, and more images.
#
# Experiments: test on images from other hospitals and devices; if it has learned the hospital's marks, the accuracy
# falls towards guessing, like that of B when the dot lies anywhere. Cover parts: marks at the border, then the lungs;
# if covering the marks costs much, or covering the lungs little, it looks at the wrong place. (Or exchange the clue:
# put one hospital's mark on the other's images.)
#
# **Rubric.**
#
# - 1 point: (a) with a reason from a measurement: B's saliency outside the dot, or pictures that survive random
#   layers.
# - 1 point: (b) and (c): certain images are made for any class; CKA needs many images and something to compare with.
# - 1 point: an experiment with data from elsewhere, or with the clue removed or exchanged, and its expected outcome.
# - 1 point: a second experiment of another kind, and its expected outcome.
# <!-- END SOLUTION -->

# %% [markdown]
# ## Summary
#
# | question | answer |
# |---|---|
# | rows of CIFAR-10 | all red, all green, all blue: `reshape(-1, 3, 32, 32)`, then move the axis |
# | an image for a network | size, 0 to 1, the mean and std of **its** training images, red first |
# | read a layer | a forward hook; keep a copy, since a later layer may work in place; remove the hook |
# | first-layer filters | edges without colour, blobs and edges of colour |
# | occlusion | an experiment: cover, and see how far the probability falls; misses what is there twice |
# | saliency | slope of a logit for the pixels: what a small change would do, not what the answer rests on |
# | activation maximisation | ascent on the image, gradient normalised; certain, and not recognisable |
# | back through a ReLU | gradient: x > 0; deconvnet: dy > 0; guided: both, and no gradient of anything |
# | test of such pictures | break the network: what does not change does not explain it |
# | linear CKA | $\|Y^\top X\|^2/(\|X^\top X\|\,\|Y^\top Y\|)$, columns centred; same after rotation and scaling |
# | representational similarity | which images are alike: 1 − r, compared by ranks above the diagonal |
# | network and monkey | performance as IT on one task, and some likeness; not the same mechanism |
# | fast gradient sign | each pixel by ε along the sign of the loss's slope: far worse than random noise |
# | robust on average | says little about the worst case |

# %% [markdown]
# ## Where to read more
#
# - Matthew Zeiler and Rob Fergus, *Visualizing and understanding convolutional networks*, ECCV 2014: occlusion,
#   the deconvnet, and what they showed in AlexNet.
# - Karen Simonyan, Andrea Vedaldi and Andrew Zisserman, *Deep inside convolutional networks: visualising image
#   classification models and saliency maps*, ICLR workshop 2014: the gradient of a score, drawn and climbed.
# - Jost Tobias Springenberg and others, *Striving for simplicity: the all convolutional net*, ICLR workshop 2015:
#   guided backpropagation.
# - Julius Adebayo and others, *Sanity checks for saliency maps*, NeurIPS 2018: pictures from networks with
#   random layers.
# - Sebastian Lapuschkin and others, *Unmasking Clever Hans predictors and assessing what machines really learn*,
#   Nature Communications 2019: the horses.
# - Chris Olah and others, *Feature visualization*, Distill 2017: what becomes of gradient ascent with many
#   constraints.

# %% [markdown]
# On comparing, and on misleading:
#
# - Nikolaus Kriegeskorte, Marieke Mur and Peter Bandettini, *Representational similarity analysis – connecting the
#   branches of systems neuroscience*, Frontiers in Systems Neuroscience 2008: the dissimilarity matrix.
# - Charles Cadieu and others, *Deep neural networks rival the representation of primate IT cortex for core visual
#   object recognition*, PLoS Computational Biology 2014: convnets and monkeys.
# - Simon Kornblith, Mohammad Norouzi, Honglak Lee and Geoffrey Hinton, *Similarity of neural network representations
#   revisited*, ICML 2019: CKA, and what measures before it could not do.
# - Christian Szegedy and others, *Intriguing properties of neural networks*, ICLR 2014; Ian Goodfellow, Jonathon
#   Shlens and Christian Szegedy, *Explaining and harnessing adversarial examples*, ICLR 2015: the discovery,
#   and the fast gradient sign.
