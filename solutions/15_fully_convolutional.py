# %% [markdown]
# # 15 Fully convolutional networks
#
# LeNet looks at 32×32 pixels and names one digit. A page holds many digits, at places that nobody has told the network,
# and a photograph has any size. This notebook takes a trained classifier, changes none of its weights, and lets it run
# over images of any size. Then it trains a network that gives every single pixel a label.

# %% [markdown]
# ## What you will be able to do
#
# - write a fully connected layer as a convolution, with exactly its weights;
# - turn a classifier into a network for images of any size, with equal outputs;
# - say which window of the image each number of its map looks at;
# - count and measure what this saves over sliding the classifier across the image;
# - enlarge maps, bilinearly and by transposed convolution, and get sizes and places right;
# - judge a segmentation by its mean intersection over union;
# - join coarse and fine maps by skips that lie exactly on one another.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cnnlab import animation, check, hint, plots, results, summary, timing
from cnnlab.data import digits
from cnnlab.notebook import quick
from cnnlab.training import fit

torch.set_num_threads(1)  # the networks below are so small that threads would only wait for each other

# %% [markdown]
# ## A classifier for one size
#
# Here is a LeNet that learned from MNIST, 60,000 handwritten digits (notebook 09); its ten arrays come with the course.
# It has a name for whatever fills a field of 32×32 pixels.

# %%
images, labels = digits()                                              # (1797, 8, 8), from 0 to 16
LENET = [torch.from_numpy(array) for array in results.arrays("mnist_lenet").values()]
classifier = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
                           nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
                           nn.Linear(84, 10))
with torch.no_grad():
    for parameter, array in zip(classifier.parameters(), LENET, strict=True):
        parameter.copy_(array)


def as_in_mnist(ink):
    """Images of ink from 0 to 1 as LeNet was trained on them: of mean about 0 and deviation about 1."""
    return (ink - 0.1307) / 0.3081


print("weights:", *(tuple(array.shape) for array in LENET if array.ndim > 1))

# %% [markdown]
# And a page: nine of the course's own small digits, enlarged to 20×20 pixels, which is the height of those in MNIST.
#
# **Predict.** What will the classifier say if it is given the whole page of 100×240 pixels?

# %%
large = F.interpolate(torch.from_numpy(images).float()[:, None] / 16, (20, 20), mode="bilinear")
CORNERS = [(10, 12), (14, 60), (6, 110), (20, 160), (12, 205), (62, 30), (70, 84), (58, 130), (66, 186)]
chosen = np.random.default_rng(0).choice(len(images), len(CORNERS), replace=False)
page = torch.zeros(1, 1, 100, 240)
for (row, column), i in zip(CORNERS, chosen):
    page[0, 0, row:row + 20, column:column + 20] = large[i, 0]
plots.images(1 - page[0, 0].numpy(), height=3)
try:
    classifier(as_in_mnist(page))
except RuntimeError as error:
    print(error)

# %% [markdown]
# Nothing: an error. The convolutions and poolings take any size and give maps of 16×22×57 here. But the first fully
# connected layer has weights for 16·5·5 = 400 numbers, and gets 20,064. This one layer ties the whole network to one
# size.

# %% [markdown]
# ## A fully connected layer is a convolution
#
# After the flattening of maps (C, H, W), output $o$ of a fully connected layer is
#
# $$y(o) = \text{bias}(o) + \sum_{i,a,b} \text{weight}(o,\; iHW + aW + b)\;\, x(i, a, b) .$$
#
# A weight for each channel, row and column, products, a sum: this is a filter of C×H×W at the one place where it fits.
# The only thing to do is to write the row of weights as a volume.

# %%
row_of_weights = np.arange(12)
fig, axes = plt.subplots(1, 3, figsize=(9.5, 1.5), layout="constrained", width_ratios=[12, 4, 4])
plots.grid(axes[0], row_of_weights[None], "a row of weights, for maps of 2×2×3", vmin=0, vmax=24)
for c, ax in enumerate(axes[1:]):
    plots.grid(ax, row_of_weights.reshape(2, 2, 3)[c], f"as a filter: channel {c}", vmin=0, vmax=24)
plt.show()

# %% [markdown]
# The numbers say where each weight stood in the row. Flattening goes channel by channel, and within a channel row by
# row, so the filter is filled in the same order.

# %% [markdown]
# ### Exercise: a fully connected layer as a convolution
#
# Write `as_convolution(weight, bias, shape)`.
#
# - `weight` (out, C·H·W) and `bias` (out,) are those of an `nn.Linear` after `x.flatten(1)` of maps x (N, C, H, W),
#   float32; `shape` is the tuple `(C, H, W)`;
# - return an `nn.Conv2d` with a bias, stride 1, no padding and one group. On maps (N, C, H, W) it gives the numbers of
#   the linear layer, as (N, out, 1, 1). On larger maps it gives them for every window of H×W.
#
# Values are set in a block `with torch.no_grad():`, for instance with `layer.bias.copy_(…)`.
#
# If you are stuck, run `hint("as_convolution")` in a cell of your own, and again for more.

# %% tags=["exercise:as_convolution"]
def as_convolution(weight, bias, shape):
    """A convolution that computes what a fully connected layer after a flattening does.

    weight (out, C·H·W); bias (out,); shape (C, H, W).  Returns an nn.Conv2d with kernels of C×H×W.
    """
    ### BEGIN SOLUTION
    C, H, W = shape
    layer = nn.Conv2d(C, len(weight), (H, W))
    with torch.no_grad():
        layer.weight.copy_(weight.reshape(-1, C, H, W))
        layer.bias.copy_(bias)
    return layer
    ### END SOLUTION

# %% tags=["check:as_convolution"]
check("as_convolution", as_convolution)

# %% [markdown]
# What about the *next* fully connected layer, from 120 to 84? After the convolution it finds maps (N, 120, H', W'): at
# each place 120 numbers. Its shape is (120, 1, 1), and it becomes a **1×1 convolution**.
#
# So the whole network can be written with convolutions and poolings alone: it is **fully convolutional**. LeCun and
# colleagues wrote C5 that way in 1998, and let the network run over rows of digits; Matan, Burges, LeCun and Denker had
# done so in 1992. In 2015 Long, Shelhamer and Darrell made the same of AlexNet, VGG and GoogLeNet.

# %% [markdown]
# ### Exercise: LeNet for images of any size
#
# Write the module `FullyConvLeNet(c1=6, c3=16, c5=120, f6=84, classes=10)`; the arguments say how many channels the
# five layers give.
#
# - C1, C3 and C5 are 5×5 convolutions, F6 and the output are 1×1; all have biases, stride 1 and no padding;
# - ReLU follows C1, C3, C5 and F6. Max pooling, 2×2 at stride 2, follows the ReLUs of C1 and C3;
# - `forward(x)`: x (N, 1, H, W), H and W at least 32, gives logits (N, classes, H', W'), a score for each class at each
#   place.
#
# Create the layers in the order in which they are used.

# %% tags=["exercise:fully_conv_lenet"]
class FullyConvLeNet(nn.Module):
    """LeNet as convolutions and poolings alone: a map of scores for an image of any size."""

    def __init__(self, c1=6, c3=16, c5=120, f6=84, classes=10):
        super().__init__()
        ### BEGIN SOLUTION
        self.c1, self.c3, self.c5 = nn.Conv2d(1, c1, 5), nn.Conv2d(c1, c3, 5), nn.Conv2d(c3, c5, 5)
        self.f6, self.out = nn.Conv2d(c5, f6, 1), nn.Conv2d(f6, classes, 1)
        ### END SOLUTION

    def forward(self, x):
        """x (N, 1, H, W).  Returns (N, classes, H', W')."""
        ### BEGIN SOLUTION
        for conv in (self.c1, self.c3):
            x = F.max_pool2d(conv(x).relu(), 2)
        x = self.f6(self.c5(x).relu()).relu()              # (N, f6, H', W')
        return self.out(x)
        ### END SOLUTION

# %% tags=["check:fully_conv_lenet"]
check("fully_conv_lenet", FullyConvLeNet)

# %% [markdown]
# Now the trained weights. The first two convolutions keep theirs; the three linear layers go through your function.

# %%
def converted():
    """LeNet as a fully convolutional network, with its trained weights."""
    shapes = {4: (16, 5, 5), 6: (120, 1, 1), 8: (84, 1, 1)}            # of what C5, F6 and the output read
    dense = [as_convolution(LENET[i], LENET[i + 1], shape) for i, shape in shapes.items()]
    net = FullyConvLeNet()
    with torch.no_grad():
        new = [*LENET[:4], *(p for layer in dense for p in layer.parameters())]
        for parameter, array in zip(net.parameters(), new, strict=True):
            parameter.copy_(array)
    return net.requires_grad_(False)

# %% [markdown]
# **Predict.** How many parameters has each of the two networks? And how far apart are their logits, on all 1,797
# digits, each in the middle of a field of 32×32?

# %%
net = converted()
with torch.no_grad():
    fields = as_in_mnist(F.pad(large, [6] * 4))                        # (1797, 1, 32, 32)
    by_linear, by_convolution = classifier(fields), net(fields)        # (1797, 10), (1797, 10, 1, 1)
parameters = [sum(p.numel() for p in model.parameters()) for model in (classifier, net)]
largest = float((by_linear - by_convolution.flatten(1)).abs().max())
right = float((by_linear.argmax(1).numpy() == labels).mean())
print(f"{parameters} parameters; logits up to {by_linear.abs().max():.0f}, largest difference {largest:.0e}")
print(f"{right:.0%} of the digits are read correctly")

# %% [markdown]
# Equal parameters, 61,706, and logits that differ in the last digit of float32 only, because sums are taken in another
# order. It is the same network. But the second also takes the page:

# %%
scores = converted()(as_in_mnist(page))                                # (1, 10, 18, 53)
probabilities = scores.softmax(1)[0]                                   # (10, 18, 53)
print("page", tuple(page.shape), "-> map", tuple(scores.shape))
animation.scan(page[0, 0].numpy(), probabilities.numpy(), window=32, stride=4, row=2)

# %% [markdown]
# Each number of the map belongs to a window of 32×32. The film goes along one row of the map. Watch the bars while a
# digit comes into the window and leaves it, and while the window is empty.

# %% [markdown]
# ## Which window?
#
# To mark a digit on the page, one must know which window a place of the map looks at. From layer to layer, along one
# axis, four numbers are enough:
#
# - **count**, the number of places: $\lfloor (n + 2p - k)/s \rfloor + 1$, as ever;
# - **stride**, how many pixels of the image lie between neighbours: the product of the strides so far;
# - **window**, how many pixels a place sees: the receptive field of notebook 03;
# - **start**, the first pixel of the window of place 0. It is negative if that window begins in the padding.

# %% [markdown]
# ### Exercise: the geometry of a map
#
# Write `map_geometry(size, layers)`, along one axis.
#
# - `size` is the number of pixels of the image, an int; `layers` is a tuple of `(kernel_size, stride, padding)`, ints,
#   one for each convolution or pooling, from the image on. It may be empty. Windows that do not fit are left out;
# - return a tuple of four ints, `(count, stride, window, start)`, for the map after the last layer. Place i then looks
#   at the pixels from `start + i * stride` to `start + i * stride + window - 1`.
#
# Each layer's padding is counted in steps of *its* input, which may be several pixels of the image.

# %% tags=["exercise:map_geometry"]
def map_geometry(size, layers):
    """Where the places of a map lie in the image, along one axis.

    size int; layers a tuple of (kernel_size, stride, padding).  Returns (count, stride, window, start), ints.
    """
    ### BEGIN SOLUTION
    count, step, window, start = size, 1, 1, 0
    for k, s, p in layers:
        count = (count + 2 * p - k) // s + 1
        window += (k - 1) * step
        start -= p * step
        step *= s
    return count, step, window, start
    ### END SOLUTION

# %% tags=["check:map_geometry"]
check("map_geometry", map_geometry)

# %% [markdown]
# **Predict.** Along the 240 pixels of the page, how many windows does LeNet look at, and how far apart are they? And
# VGG-16, whose 3×3 convolutions are padded by 1: how many pixels does one of its outputs see, when it is trained on
# images of 224×224?

# %%
LENET_LAYERS = ((5, 1, 0), (2, 2, 0), (5, 1, 0), (2, 2, 0), (5, 1, 0))
VGG_LAYERS = tuple(layer for convs in (2, 2, 3, 3, 3) for layer in [*[(3, 1, 1)] * convs, (2, 2, 0)])
geometry = {"LeNet": map_geometry(240, LENET_LAYERS), "VGG-16, 224 pixels": map_geometry(224, (*VGG_LAYERS, (7, 1, 0))),
            "VGG-16, 512 pixels": map_geometry(512, (*VGG_LAYERS, (7, 1, 0)))}
for name, (count, stride, window, start) in geometry.items():
    print(f"{name:19} {count:2} places, {stride} pixels apart, each sees {window}, the first from pixel {start}")

# %% [markdown]
# LeNet has 53 windows, 4 pixels apart: two poolings of stride 2. VGG-16's single output sees 404 pixels, from −90 on:
# the image and a wide frame of zeros around it. We shall come back to that frame.
#
# Now find the digits. The picture below holds, for each place of the map, the class with the highest probability where
# that is at least 90 %, darker where it is higher.

# %%
net = converted()
best, name = net(as_in_mnist(page)).softmax(1)[0].max(0)               # (18, 53) each
sure = best >= 0.9
fig, ax = plt.subplots(figsize=(plots.WIDTH, 3.7), layout="constrained")
ax.imshow(best.numpy(), cmap="gray_r", vmin=0.3, vmax=1.6)
for i, j in sure.nonzero().tolist():
    ax.text(j, i, str(int(name[i, j])), ha="center", va="center", fontsize=9)
nearest = []
for (row, column), i in zip(CORNERS, chosen):
    at = [min(max(round((v - 6) / 4), 0), n - 1) for v, n in zip((row, column), best.shape)]
    nearest.append((int(labels[i]), int(name[at[0], at[1]]), float(best[at[0], at[1]])))
    plots.frame(ax, at[0], at[1], 1, 1, linewidth=2)
ax.axis("off")
plt.show()
empty = net(as_in_mnist(torch.zeros(1, 1, 32, 32))).softmax(1).max(1)
print(f"{sum(label == said for label, said, _ in nearest)} of 9 digits right, at {min(p for *_, p in nearest):.0%} to "
      f"{max(p for *_, p in nearest):.0%}; at least 90 % sure in {int(sure.sum())} of {sure.numel()} places")
print(f"on empty paper: {empty.indices.item()}, at {empty.values.item():.0%}")

# %% [markdown]
# The orange frames are the places whose window has a digit in its middle. All nine are read correctly, although
# the probability of the last is only 34 %. But the network is sure of 5s and 7s at many other places, where the window
# holds the edge of a digit. And on empty paper it says 1, with 46 %.
#
# It cannot say "nothing here". It was trained on digits that fill the field, and its ten probabilities always add up
# to 1. To find things, a network needs a class for **background**, and training images of it. The last part of this
# notebook has one.

# %% [markdown]
# ## Equal to sliding, and cheaper
#
# The obvious way to get the same map is to cut out all 18·53 = 954 windows and classify each. This was for years how
# things were found in images. Here it is, with the original classifier.

# %%
def cut_windows(x, size=32, stride=4):
    """All windows of one image x (1, C, H, W), row by row: (rows * columns, C, size, size)."""
    windows = x.unfold(2, size, stride).unfold(3, size, stride)        # (1, C, rows, columns, size, size)
    return windows.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def one_by_one(x):
    with torch.no_grad():
        return torch.cat([classifier(window[None]) for window in cut_windows(x)])


def in_one_batch(x):
    with torch.no_grad():
        return classifier(cut_windows(x))


def unrolled(x):
    with torch.no_grad():
        return net(x)

# %% [markdown]
# **Predict.** By how much do the two maps differ? And which way takes longer, by which factor?

# %%
x, net = as_in_mnist(page), converted()
slid = in_one_batch(x).reshape(18, 53, 10).permute(2, 0, 1)            # (10, 18, 53)
apart = float((slid - unrolled(x)[0]).abs().max())
seconds = {way.__name__: timing.median_seconds(way, x) for way in (one_by_one, in_one_batch, unrolled)}
print(f"largest difference {apart:.0e}")
for way, taken in seconds.items():
    print(f"{way.replace('_', ' '):13} {1000 * taken:7.1f} ms, {taken / seconds['unrolled']:5.1f} times")

# %% [markdown]
# **Unrolled** is the converted network, run over the whole page at once. The maps are equal. Sliding takes tens of
# times as long if the windows come as one batch, and about a hundred times as long if they come one by one, as a
# program that walks over the image would do it.
#
# Where does it come from? Neighbouring windows share most of their pixels, and the slid network computes everything
# about the shared ones again.

# %%
for_page = summary(converted(), (1, 100, 240)).multiply_adds
per_window = summary(classifier, (1, 32, 32)).multiply_adds
slid_work = 954 * per_window
print(f"{slid_work:,} multiply-adds for 954 windows, {for_page:,} unrolled: {slid_work / for_page:.1f} times")
again = {"C1": 28**2 // 4**2, "C3": 10**2 // 2**2, "C5": 1}            # in the window, over new ones for each place
print("computed again and again:", ", ".join(f"{layer} {times} times" for layer, times in again.items()))
windows, front, rest = cut_windows(x), classifier[:3], classifier[3:]  # front: C1, its ReLU and its pooling
with torch.no_grad():
    front_time, rest_time = timing.median_seconds(front, windows), timing.median_seconds(rest, front(windows))
front_share = front_time / (front_time + rest_time)
front_work = summary(front, (1, 32, 32)).multiply_adds / per_window
print(f"C1 and its pooling: {front_work:.0%} of a window's multiply-adds, {front_share:.0%} of the batch's time")

# %% [markdown]
# In multiply-adds the factor is only 5.5. A step of the window by 4 pixels needs 4×4 new outputs of C1, and the window
# computes 28×28: 49 times as many. For C3 it is 25 times. C5, which does most of the unrolled network's work, has one
# output in either way.
#
# Measured, the factor is larger. The sliding classifier spends most of its time in C1 and the first pooling, although
# little of its arithmetic is there: with few channels and large maps a processor is slow for each multiply-add, and
# pooling is not counted as any. Just these layers share most. One by one, 954 times twelve calls come on top.

# %% [markdown]
# How much can be shared depends on the network. Suppose we want a score for a window at **every pixel**. Sliding then
# costs the multiply-adds of one window for each pixel. Unrolled, each weight is used once for each pixel, not more. So
# the ratio is
#
# $$\frac{\text{multiply-adds of a window}}{\text{weights}}:$$
#
# how many times the network uses a weight, on average, in one window.
#
# **Predict.** VGG-16 has 138 million weights and needs 15.5 billion multiply-adds. And LeNet?

# %%
def vgg16():
    """VGG-16 without its ReLUs, which have no weights."""
    layers, c_in = [], 3
    for width, convs in [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]:
        for _ in range(convs):
            layers.append(nn.Conv2d(c_in, width, 3, padding=1))
            c_in = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * 49, 4096), nn.Linear(4096, 4096), nn.Linear(4096, 1000))


with torch.device("meta"):
    large_net = vgg16()
sharing = {}
for title, model, size in [("LeNet", classifier, (1, 32, 32)), ("VGG-16", large_net, (3, 224, 224))]:
    weights = sum(p.numel() for p in model.parameters() if p.ndim > 1)
    used = summary(model, size).multiply_adds
    sharing[title] = used / weights
    print(f"{title:7} {used:14,} multiply-adds / {weights:11,} weights = {sharing[title]:.0f}")

# %% [markdown]
# Seven for LeNet, in which C5 has most of the weights. 112 for VGG-16, even in plain arithmetic.
#
# Two remarks. First, a map with a place for every pixel needs a network whose total stride is 1. One gets it from a
# trained network by leaving out the strides and spreading the later kernels instead, by **dilation** (notebook 03); or
# by running the strided network on 4×4 shifted copies of the page and interlacing the maps. Either way no weight
# changes.
#
# Second, the frame of zeros.
#
# **Predict.** A small classifier of 8×8 windows whose convolution has no padding, and one with padding 1. Is the
# unrolled map still the slid one?

# %%
torch.manual_seed(0)
picture, gaps = torch.randn(1, 1, 20, 20), {}
for padding in (0, 1):
    side = 3 + padding                                                 # of the maps that the linear layer reads
    front = nn.Sequential(nn.Conv2d(1, 4, 3, padding=padding), nn.ReLU(), nn.MaxPool2d(2))
    linear = nn.Linear(4 * side * side, 5)
    with torch.no_grad():
        small_slid = linear(front(cut_windows(picture, 8, 2)).flatten(1))                           # (49, 5)
        small_map = as_convolution(linear.weight, linear.bias, (4, side, side))(front(picture))     # (1, 5, 7, 7)
    gaps[padding] = float((small_map[0].flatten(1).T - small_slid).abs().max() / small_slid.std())
    print(f"padding {padding}: largest difference {gaps[padding]:.7f} of the scores' standard deviation")

# %% [markdown]
# Without padding it is. With padding it is not, and no mistake was made: a window that is cut out has zeros around it,
# while in the unrolled network it has its real neighbours. Only windows at the edge of the image still meet zeros.
#
# For VGG the difference was even of use. Running the unrolled network over a larger image is the **dense evaluation**
# of notebook 11. Simonyan and Zisserman (2015) found its scores and those of crops to complement each other, for this
# reason.

# %% [markdown]
# ## A label for every pixel
#
# A map of scores is nearly a picture in which every pixel has a label: a **semantic segmentation**. What is missing is
# training with such labels, a class for background, and the pixels between the places.
#
# Our material: scenes of 24×24 pixels with a few of the 8×8 digits at random places, none over another, and some noise.
# A pixel's label is 0 for background, and 1 to 10 for the ink of a 0 to 9. Training and test scenes use different
# digits.

# %%
SIDE = 24


def scenes(count, among, seed):
    """Scenes (count, 1, SIDE, SIDE) float32 of the digits with the numbers `among`, and labels (count, SIDE, SIDE)."""
    rng = np.random.default_rng(seed)
    pictures, classes = np.zeros((count, 1, SIDE, SIDE), np.float32), np.zeros((count, SIDE, SIDE), np.int64)
    for picture, truth in zip(pictures, classes):
        for i in rng.choice(among, 8):                                 # eight tries; two to four mostly find room
            row, column = rng.integers(0, SIDE - 7, 2)
            place = slice(row, row + 8), slice(column, column + 8)
            if not picture[0][place].any():                            # otherwise there is a digit already
                picture[0][place] = images[i] / 16
                truth[place][images[i] > 5] = labels[i] + 1
        picture += 0.1 * rng.standard_normal(picture.shape)
    return torch.from_numpy(pictures), torch.from_numpy(classes)


order = np.random.default_rng(0).permutation(len(images))
train_scenes, train_classes = scenes(60 if quick() else 1200, order[:1437], seed=1)
test_scenes, test_classes = scenes(30 if quick() else 300, order[1437:], seed=2)

# %%
fig, axes = plt.subplots(1, 4, figsize=(10, 2.8), layout="constrained")
for n, (left, truth) in enumerate(axes.reshape(2, 2)):
    left.imshow(test_scenes[n, 0].numpy(), cmap="gray_r")
    left.set_title("scene", fontsize=10)
    truth.imshow(test_classes[n].numpy() > 0, cmap="gray_r", vmax=6)
    truth.set_title("whose ink it is", fontsize=10)
    for i, j in test_classes[n].nonzero().tolist():
        truth.text(j, i, f"{test_classes[n, i, j] - 1}", fontsize=7, ha="center", va="center")
    left.axis("off")
    truth.axis("off")
plt.show()
background = float((test_classes == 0).float().mean())
print(f"{len(train_scenes)} scenes to train on; {background:.0%} of the test pixels are background")

# %% [markdown]
# The network gets the grey values and has to give every pixel its label. To know *that* there is ink a look at one
# pixel is nearly enough; to know *whose*, one has to see the digit. Keep the two apart, what and where: the rest of
# this notebook is about bringing them together.
#
# **Predict.** A network says "background" everywhere. How many of the test pixels has it right?

# %% [markdown]
# ## How good is a segmentation?
#
# 87 %. So the share of right pixels is of no use. Instead one looks at each class by itself. Take the pixels that the
# network gives to class k, and those whose label is k:
#
# $$\text{IoU}_k = \frac{\text{pixels in both}}{\text{pixels in at least one}} ,$$
#
# the **intersection over union**. Both kinds of error make it smaller: pixels missed and pixels wrongly claimed. The
# mean over classes is the **mIoU**.

# %% [markdown]
# ### Exercise: mean intersection over union
#
# Write `mean_iou(predicted, labels, classes, ignore=255)`.
#
# - `predicted` and `labels` are int64 tensors (N, H, W); `classes` is an int. Predictions are from 0 to
#   `classes - 1`; labels too, or `ignore`;
# - pixels with the label `ignore` (outlines, where people did not agree) do not count, whatever was predicted there. At
#   least one pixel counts;
# - all N images are counted together; background, class 0, is a class like the others;
# - a class that is neither in the labels nor predicted, at any pixel that counts, is left out of the mean. One that is
#   predicted but not in the labels has an IoU of 0;
# - return a float.

# %% tags=["exercise:mean_iou"]
def mean_iou(predicted, labels, classes, ignore=255):
    """The mean over classes of intersection over union, over all pixels whose label is not `ignore`.

    predicted, labels (N, H, W) int64; classes int.  Returns a float from 0 to 1.
    """
    ### BEGIN SOLUTION
    counts = labels != ignore
    predicted, labels = predicted[counts], labels[counts]                 # (pixels,)
    ious = []
    for k in range(classes):
        both = ((predicted == k) & (labels == k)).sum().item()
        either = ((predicted == k) | (labels == k)).sum().item()
        if either:
            ious.append(both / either)
    return sum(ious) / len(ious)
    ### END SOLUTION

# %% tags=["check:mean_iou"]
check("mean_iou", mean_iou)

# %%
nothing = mean_iou(torch.zeros_like(test_classes), test_classes, 11)
print(f"background everywhere: {background:.3f} of the pixels right, mIoU {nothing:.3f}")

# %% [markdown]
# An eleventh of 0.87: ten classes have 0. (Often a data set's IoU is reported over *all* its images together, as here.
# The mean over images of each one's mIoU is another number.)
#
# ## Making maps larger
#
# A network that pools twice gives a score for every fourth pixel, 6×6 of them for 24×24. The labels have 24×24. So the
# scores have to be enlarged, inside the network, where the loss is computed.
#
# The simplest way is **bilinear** interpolation: each new value is a weighted mean of the four nearest old ones. But
# where, between the old ones, does a new one lie?

# %%
fig, axes = plt.subplots(2, 1, figsize=(8, 2.6), layout="constrained", sharex=True)
for ax, corners in zip(axes, (False, True)):
    old = np.arange(4) + 0.5
    new = np.linspace(0.5, 3.5, 12) if corners else (np.arange(12) + 0.5) / 3
    ax.plot(old, [1] * 4, "s", color="0.3", markersize=11, label="4 old values")
    ax.plot(new, [0] * 12, "o", color="tab:orange", markeredgecolor="0.2", label="12 new values")
    ax.vlines(np.arange(5), -0.5, 1.5, color="0.8", zorder=0)
    ax.set(ylim=(-0.8, 1.8), xlim=(-0.1, 5.4), title=f"align_corners={corners}")
    ax.axis("off")
    ax.title.set_fontsize(10)
axes[0].legend(frameon=False, loc="center right", fontsize=9)
plt.show()

# %% [markdown]
# Two conventions. Above, a pixel is a small **area**: each old one, between two lines, is split into three, and a new
# value lies in the middle of its third. Old and new maps cover the same area. Below, pixels are **points**, and the
# first and last points of both maps coincide; the new ones then lie 3/11 of an old pixel apart, not a third, and drift.
#
# The first fits poolings of 2×2, and is PyTorch's default. New row $i$ reads at row
#
# $$\frac{i + \frac12}{f} - \frac12$$
#
# of the old map, for the factor $f$. Before the middle of the first row, and after that of the last, the border's
# value is kept.

# %% [markdown]
# ### Exercise: bilinear up-sampling
#
# Write `upsample_bilinear(x, factor)`.
#
# - `x` (N, C, H, W), float32; `factor` is an int, at least 1;
# - new row i reads at row $r = (i + ½)/f - ½$ of x. If $r$ lies between rows a and a + 1, it is a mean of the two, with
#   the weights $a + 1 - r$ and $r - a$. Where $r$ is less than 0 or more than H − 1, it is the first or the last row
#   alone. Columns likewise;
# - return a tensor (N, C, factor·H, factor·W), float32.
#
# `torch.nn.functional` would do it in one call. Here it is locked; you will compare with it in a moment.

# %% tags=["exercise:upsample_bilinear"]
def upsample_bilinear(x, factor):
    """x enlarged by bilinear interpolation between the middles of its pixels.

    x (N, C, H, W); factor int.  Returns (N, C, factor·H, factor·W), of the dtype of x.
    """
    ### BEGIN SOLUTION
    def along(x, axis):
        size = x.shape[axis]
        r = ((torch.arange(factor * size) + 0.5) / factor - 0.5).clamp(0, size - 1)
        a = r.floor().long()                                              # the row before, and the row after:
        b = (a + 1).clamp(max=size - 1)
        share = (r - a).reshape([-1 if k == axis else 1 for k in range(4)])
        return (1 - share) * x.index_select(axis, a) + share * x.index_select(axis, b)

    return along(along(x, 2), 3)
    ### END SOLUTION

# %% tags=["check:upsample_bilinear"]
check("upsample_bilinear", upsample_bilinear)

# %%
row = torch.tensor([[[[0.0, 12, 0, 6]]]])
enlarged = {"areas": upsample_bilinear(row, 3),
            "corners": F.interpolate(row, (3, 12), mode="bilinear", align_corners=True)}
by_torch = float((F.interpolate(row, scale_factor=3, mode="bilinear") - enlarged["areas"]).abs().max())
for kind, values in enlarged.items():
    print(f"{kind:8}", " ".join(f"{v:5.1f}" for v in values[0, 0, 0].tolist()))
print(f"largest difference from F.interpolate: {by_torch:.0e}")

# %% [markdown]
# The 12 of the old row is the fifth new value in the first line; in the second nowhere, since no point lies there. A
# map enlarged with the wrong convention is right in its corners and shifted by up to a fraction of an old pixel
# elsewhere, which no shape will tell you.
#
# ## Up-sampling that can be learned
#
# Bilinear weights are fixed. A layer with weights that enlarges is the **transposed convolution** of notebook 05: the
# backward pass of a strided convolution, used as a forward pass. It **stamps**. Each input value multiplies the kernel,
# and puts it down `stride` pixels further than its neighbour; where stamps overlap, they add up.

# %%
values, kernel = torch.tensor([[1.0, 2, 3]]), torch.tensor([[1.0, 2, 1, 1]])
stamps = torch.zeros(4, 8)
for i in range(3):
    stamps[i, 2 * i:2 * i + 4] = values[0, i] * kernel[0]
stamps[3] = stamps[:3].sum(0)
shown = np.where(stamps.numpy() == 0, np.nan, stamps.numpy())
plots.grids(values.numpy(), kernel.numpy(), shown, titles=["input", "kernel", "three stamps, and their sum"])

# %% [markdown]
# Three values, stride 2, a kernel of 4: the stamps reach over $(3 - 1)\cdot 2 + 4 = 8$ pixels. What a convolution with
# padding $p$ adds at the border, its transposed takes off: $p$ on either side. So
#
# $$H_\text{out} = (H - 1)\,s + k - 2p + o .$$
#
# What is the last term for, the **output padding** $o$?
#
# **Predict.** A 3×3 convolution, stride 2, padding 1. Which sizes does it turn into 4? And which of them does the
# formula give back, without the last term?

# %%
into_four = [n for n in range(1, 20) if (n + 2 - 3) // 2 + 1 == 4]
print("sizes that become 4:", into_four, "  back from 4:", (4 - 1) * 2 + 3 - 2)

# %% [markdown]
# 7 and 8 both become 4, since windows that do not fit are left out. The way back does not know which it was. It gives
# the smaller one; `output_padding=1` asks for 8. In spite of its name it pads nothing: it takes off one row and column
# less, **at the end**, from what was stamped.

# %% [markdown]
# ### Exercise: transposed convolution
#
# Write `conv_transpose(x, weight, stride=1, padding=0, output_padding=0)`.
#
# - `x` (N, C_in, H, W) and `weight` (C_in, C_out, kH, kW), float32; the others are ints, for rows and columns alike;
# - each value of x multiplies its channel's kernels, one for each output channel, and is stamped with the corner at row
#   `stride * i`, column `stride * j`. All stamps add up;
# - from this area, (H − 1)·stride + kH rows high, take (H − 1)·stride + kH − 2·padding + output_padding rows, from row
#   `padding` on (at least one). Where the area has ended, rows are 0. Columns likewise;
# - return a tensor (N, C_out, H_out, W_out), float32.
#
# Write the stamping yourself; you will compare with PyTorch's in a moment.

# %% tags=["exercise:conv_transpose"]
def conv_transpose(x, weight, stride=1, padding=0, output_padding=0):
    """Transposed convolution, by stamping.

    x (N, C_in, H, W); weight (C_in, C_out, kH, kW); ints.  Returns (N, C_out, H_out, W_out).
    """
    ### BEGIN SOLUTION
    N, _, H, W = x.shape
    _, C_out, kH, kW = weight.shape
    high, wide = (H - 1) * stride + kH, (W - 1) * stride + kW
    area = x.new_zeros(N, C_out, high + output_padding, wide + output_padding)
    for a in range(kH):
        for b in range(kW):                                               # one pixel of the kernel, for all stamps
            rows, columns = slice(a, a + (H - 1) * stride + 1, stride), slice(b, b + (W - 1) * stride + 1, stride)
            area[:, :, rows, columns] += torch.einsum("nihw,io->nohw", x, weight[:, :, a, b])
    return area[:, :, padding:high - padding + output_padding, padding:wide - padding + output_padding]
    ### END SOLUTION

# %% tags=["check:conv_transpose"]
check("conv_transpose", conv_transpose)

# %%
torch.manual_seed(0)
x, weight = torch.randn(2, 3, 5, 4), torch.randn(3, 2, 3, 3)
settings = {"stride": 2, "padding": 1, "output_padding": 1}
by_library = F.conv_transpose2d(x, weight, **settings)
from_torch = float((conv_transpose(x, weight, **settings) - by_library).abs().max())
print(tuple(x.shape), "->", tuple(by_library.shape), f"  largest difference {from_torch:.0e}")

# %% [markdown]
# **Predict.** A map of ones, a kernel of ones, stride 2. Is the enlarged map even? With a kernel of 3×3? Of 4×4?

# %%
ones = {k: conv_transpose(torch.ones(1, 1, 4, 5), torch.ones(1, 1, k, k), stride=2)[0, 0].numpy() for k in (3, 4)}
plots.grids(*ones.values(), titles=[f"kernel {k}×{k}, stride 2" for k in ones], cell=0.38, vmin=0, vmax=8)

# %% [markdown]
# With 3×3 a pixel is under one, two or four stamps by turns: a **checkerboard**, which networks that paint pictures are
# known to leave in them (Odena, Dumoulin and Olah, 2016). With 4×4 each pixel, but for the border, is under four. So
# take kernels whose size is a multiple of the stride.
#
# Which kernel enlarges bilinearly? A single 1 among zeros must become the roof that interpolation makes of it: highest
# in the middle, falling evenly to 0 at the middles of the neighbours. Down the rows and along the columns, so it is a
# product.

# %% [markdown]
# ### Exercise: the bilinear kernel
#
# Write `bilinear_kernel(factor)`: the kernel with which a transposed convolution of stride `factor` interpolates.
#
# - `factor` is an int, at least 1; the kernel has k rows and columns, k = 2·factor if `factor` is even, 2·factor − 1 if
#   it is odd: the values that are not 0;
# - let m = (k − 1)/2 be the middle. Along one axis, the value at place i is 1 − |i − m| / factor;
# - the value at (i, j) is the product of the two. Return a tensor (k, k), float32.

# %% tags=["exercise:bilinear_kernel"]
def bilinear_kernel(factor):
    """The kernel with which a transposed convolution of stride `factor` interpolates bilinearly.

    factor int.  Returns (k, k), k = 2 factor, or 2 factor - 1 for an odd factor.
    """
    ### BEGIN SOLUTION
    k = 2 * factor - factor % 2
    roof = 1 - (torch.arange(k) - (k - 1) / 2).abs() / factor             # (k,)
    return torch.outer(roof, roof)
    ### END SOLUTION

# %% tags=["check:bilinear_kernel"]
check("bilinear_kernel", bilinear_kernel)

# %% [markdown]
# The transposed convolution with this kernel, at stride $f$ and with padding $(k - f)/2$, makes $f\cdot H$ rows of H.
# It leaves no checkerboard, not even for odd factors: with a row and a column of zeros more the kernel has a size of
# 2f.
#
# **Predict.** Is the result that of `upsample_bilinear`, everywhere?

# %%
torch.manual_seed(1)
coarse_map = torch.randn(1, 1, 3, 4)
kernel = bilinear_kernel(4)[None, None]
stamped, exact = conv_transpose(coarse_map, kernel, stride=4, padding=2), upsample_bilinear(coarse_map, 4)
off = (stamped - exact).abs()[0, 0] > 1e-5
plots.images(coarse_map[0, 0].numpy(), exact[0, 0].numpy(), stamped[0, 0].numpy(), 1 - off.numpy(),
             titles=["3×4", "interpolated", "stamped", "black: they differ"], height=1.6)
print(f"{int(off.sum())} of {off.numel()} pixels differ, all within 2 of the border: {not off[2:-2, 2:-2].any()}")

# %% [markdown]
# In the interior it is. At the border interpolation keeps the last value, while the stamps run out and the map fades to
# 0.
#
# Long and colleagues start their up-sampling layers with these weights, and let the network learn all but the last. A
# kernel for each pair of classes: bilinear for a class with itself, 0 for two different ones.

# %%
def bilinear_start(layer):
    """Let a transposed convolution begin as bilinear interpolation, each channel by itself."""
    with torch.no_grad():
        layer.weight.zero_()
        for c in range(layer.in_channels):
            layer.weight[c, c] = bilinear_kernel(layer.stride[0])
    return layer

# %% [markdown]
# ## Skips, from where the places are known
#
# Deep maps know *what* is there. But a network that has halved its maps twice, let alone five times as VGG has, no
# longer knows *where* exactly. Maps from before the poolings know where. **Skips** bring them together. In the network
# **FCN-16s** of Long and colleagues:
#
# - from the deepest maps, at stride 32, a 1×1 convolution makes scores for the classes, which are enlarged by 2;
# - from the maps of the fourth pooling, at stride 16, another 1×1 convolution makes scores;
# - the two are added, and the sum is enlarged by 16.
#
# **FCN-8s** does this once more with the third pooling. **FCN-32s** has no skip.

# %%
nodes = {"pool3": (0, 0, "pool3\nstride 8"), "pool4": (1.5, 0, "pool4\nstride 16"),
         "pool5": (3, 0, "pool5, fc\nstride 32"), "s3": (0, -1, "1×1"), "s4": (1.5, -1, "1×1"), "s5": (3, -1, "1×1"),
         "a4": (1.5, -2, "+"), "a3": (0, -2, "+"), "32": (4.5, -1, "×32: FCN-32s"), "16": (1.5, -3, "×16: FCN-16s"),
         "8": (0, -3, "×8: FCN-8s")}
fig, ax = plt.subplots(figsize=(9, 3.8), layout="constrained")
plots.diagram(ax, nodes, [("pool3", "pool4"), ("pool4", "pool5"), ("pool3", "s3"), ("pool4", "s4"), ("pool5", "s5"),
                          ("s5", "32"), ("s5", "a4"), ("s4", "a4"), ("a4", "16"), ("a4", "a3"), ("s3", "a3"),
                          ("a3", "8")])
ax.text(2.45, -1.62, "×2", fontsize=10)
ax.text(0.75, -1.92, "×2", fontsize=10, ha="center")
plt.show()

# %% [markdown]
# Two maps can be added if they have equal sizes, and *should* be added only if equal places lie on one another. With
# padded convolutions and sizes that are divisible they do. But the fully connected layer of VGG, as a convolution of
# 7×7 without padding, makes the map smaller, so the larger map of the skip must be cropped. By how much on the left?
#
# Place 0 of the deep map has its middle at $\text{start} + (\text{window} - 1)/2$, in rows of the skip's map. Its stamp
# covers rows $-p$ to $k - 1 - p$ of the enlarged map. The middle of the stamp belongs on the middle of the window.

# %% [markdown]
# ### Exercise: where to crop
#
# Write `crop_offset(layers, kernel_size, padding)`: which row of the skip's map lies under row 0 of the enlarged map.
#
# - `layers` is a tuple of `(kernel_size, stride, padding)`, ints: the convolutions and poolings that lead from the
#   skip's map to the deep map;
# - the deep map is enlarged by a transposed convolution with this `kernel_size` and `padding` (and no output padding),
#   whose stride is the product of the strides of `layers`. So afterwards rows are as far apart as in the skip's map;
# - return an int. It is negative if row 0 lies before the skip's map. It is always a whole number here.
#
# You may call `map_geometry`.

# %% tags=["exercise:crop_offset"]
def crop_offset(layers, kernel_size, padding):
    """Which row of a map lies under row 0 of what `layers` and an enlargement by their stride make of it.

    layers a tuple of (kernel_size, stride, padding); kernel_size and padding of the transposed convolution.
    Returns an int.
    """
    ### BEGIN SOLUTION
    _, _, window, start = map_geometry(10**6, layers)                     # the size does not matter
    return (2 * start + window - kernel_size + 2 * padding) // 2
    ### END SOLUTION

# %% tags=["check:crop_offset"]
check("crop_offset", crop_offset)

# %% [markdown]
# The published FCNs pad the image by 100 pixels before the first convolution, so that small images survive the 7×7, and
# do not pad what they enlarge. Their files contain five crops that look like magic: 5 and 9 for the skips, and 19, 27
# and 31 for the final cut to the size of the image.

# %%
FCN_VGG = [(3, 1, 100), *VGG_LAYERS[1:]]                               # 18 layers up to pool5; then fc6, 7×7
to_pool3, to_pool4 = tuple(FCN_VGG[:10]), tuple(FCN_VGG[:14])
skip4 = crop_offset((*FCN_VGG[14:], (7, 1, 0)), 4, 0)                  # ×2: a kernel of 4, stride 2
skip3 = crop_offset(tuple(FCN_VGG[10:14]), 4, 0) + 2 * skip4           # the crop of pool4, in rows of pool3
whole = {"FCN-32s": crop_offset((*FCN_VGG, (7, 1, 0)), 64, 0), "FCN-16s": crop_offset(to_pool4, 32, 0) + 16 * skip4,
         "FCN-8s": crop_offset(to_pool3, 16, 0) + 8 * skip3}
print("skips from pool4 and pool3:", skip4, skip3, "  image:", whole)

# %% [markdown]
# Your function gives them all. A crop before adds up: after the first skip, row 0 of the sum is row 5 of pool4, which
# lies 2·5 rows of pool3, or 16·5 rows of the image, further down. The three for the image are negative: row 0 of
# the enlarged scores lies 19, 27 or 31 rows *before* it, so that many are cut off.

# %% [markdown]
# ### Exercise: joining two maps
#
# Write the module `FuseSkip(c_skip, classes, padding=0, offset=0)`.
#
# - Layers: a transposed convolution from `classes` to `classes` channels, 4×4, stride 2, with this `padding`, without
#   bias and in one group; and a 1×1 convolution from `c_skip` to `classes` channels, with bias;
# - `forward(scores, skip)`: `scores` (N, classes, h, w) is enlarged by the first. From `skip` (N, c_skip, H, W) the
#   second makes scores. Of these the rows and columns from `offset` on are taken, as many as the enlarged map has
#   (there are enough). Return the sum of the two, without an activation.
#
# Use the layers of `nn`; name and order them as you like.

# %% tags=["exercise:fuse_skip"]
class FuseSkip(nn.Module):
    """Coarse scores enlarged by 2, plus scores from a finer map, cropped to lie under them."""

    def __init__(self, c_skip, classes, padding=0, offset=0):
        super().__init__()
        ### BEGIN SOLUTION
        self.up = nn.ConvTranspose2d(classes, classes, 4, stride=2, padding=padding, bias=False)
        self.score = nn.Conv2d(c_skip, classes, 1)
        self.offset = offset
        ### END SOLUTION

    def forward(self, scores, skip):
        """scores (N, classes, h, w); skip (N, c_skip, H, W).  Returns (N, classes, h', w')."""
        ### BEGIN SOLUTION
        up = self.up(scores)
        rows, columns = (slice(self.offset, self.offset + n) for n in up.shape[2:])
        return up + self.score(skip)[:, :, rows, columns]
        ### END SOLUTION

# %% tags=["check:fuse_skip"]
check("fuse_skip", FuseSkip)

# %% [markdown]
# ## Four segmenters
#
# Now a network for the scenes, with maps at stride 1, 2 and 4 (`width`, `2·width` and `2·width` channels). Its
# convolutions are padded, so nothing has to be cropped. Four versions:
#
# - **stride 4**: scores from the deepest maps, enlarged by 4 bilinearly;
# - **stride 4, learned**: the same, enlarged by a transposed convolution that starts bilinear;
# - **stride 2**: one skip, then enlarged by 2 bilinearly; **stride 1**: two skips.

# %%
def conv_norm(c_in, c_out):
    """A 3×3 convolution that keeps the size, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU())

# %%
class Segmenter(nn.Module):
    """Scores (N, classes, H, W) for every pixel of images (N, 1, H, W) whose sizes are multiples of 4."""

    def __init__(self, skips=0, learned=False, width=24, classes=11):
        super().__init__()
        self.parts = nn.ModuleList([conv_norm(1, width), conv_norm(width, 2 * width),
                                    nn.Sequential(conv_norm(2 * width, 2 * width), conv_norm(2 * width, 2 * width))])
        self.score = nn.Conv2d(2 * width, classes, 1)
        self.fuses = nn.ModuleList([FuseSkip(c, classes, padding=1) for c in (2 * width, width)[:skips]])
        self.up = nn.Upsample(scale_factor=4 >> skips, mode="bilinear")
        if learned:
            self.up = nn.ConvTranspose2d(classes, classes, 8, stride=4, padding=2, bias=False)
        for layer in self.modules():
            if isinstance(layer, nn.ConvTranspose2d):
                bilinear_start(layer)

    def forward(self, x):
        maps = [self.parts[0](x)]                                         # stride 1
        for part in self.parts[1:]:
            maps.append(part(F.max_pool2d(maps[-1], 2)))                  # stride 2, then 4
        scores = self.score(maps.pop())
        for fuse in self.fuses:
            scores = fuse(scores, maps.pop())
        return self.up(scores)

# %% [markdown]
# The loss is cross-entropy again, now the mean over all pixels: `F.cross_entropy` takes scores (N, K, H, W) and labels
# (N, H, W). The optimiser is Adam (Kingma and Ba, 2015), which divides each weight's step by the recent size of its
# gradients. Four epochs, the same scenes in the same order for all four; together they take less than a minute.
#
# **Predict.** Which of the four will have the highest mIoU, and will the skips or the learned up-sampling make more of
# a difference?

# %%
def train_segmenter(model, epochs=4, batch_size=10, rate=0.01):
    """Train in place on the scenes; a few steps only while the notebook is graded."""
    optimiser = torch.optim.Adam(model.parameters(), rate)

    def step(batch, done):
        for group in optimiser.param_groups:
            group["lr"] = rate * (1 + np.cos(np.pi * done)) / 2
        loss = F.cross_entropy(model(train_scenes[batch]), train_classes[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    return fit(step, len(train_scenes), epochs=epochs, batch_size=batch_size, quiet=True)


def segment(model, pictures):
    """The label (N, H, W) that the model gives each pixel."""
    model.eval()
    with torch.no_grad():
        return model(pictures).argmax(1)

# %%
def draw_segmentations(segmented, quality):
    """Two test scenes, and what each network made of them: dark is right, light is wrong."""
    fig, axes = plt.subplots(2, 5, figsize=(10, 4.3), layout="constrained")
    for n, line in enumerate(axes):
        line[0].imshow(test_scenes[n, 0].numpy(), cmap="gray_r")
        line[0].set_title("scene", fontsize=10)
        truth = test_classes[n].numpy()
        for ax, (title, answers) in zip(line[1:], segmented.items()):
            said = answers[n].numpy()
            shades = np.where((said > 0) | (truth > 0), np.where(said == truth, 0.3, 0.8), 1.0)
            ax.imshow(shades, cmap="gray", vmin=0, vmax=1)
            rows, columns = ((said != truth) & (said > 0)).nonzero()
            ax.plot(columns, rows, "x", color="tab:orange", markersize=4)
            ax.set_title(f"{title}: {quality[title]:.2f}", fontsize=10)
        for ax in line:
            ax.axis("off")
    plt.show()

# %%
VERSIONS = {"stride 4": (0, False), "stride 4, learned": (0, True), "stride 2": (1, False), "stride 1": (2, False)}
networks, segmented, quality, errors, began = {}, {}, {}, {}, time.perf_counter()
for title, (skips, learned) in VERSIONS.items():
    torch.manual_seed(0)
    networks[title] = Segmenter(skips, learned)
for title, segmenter in networks.items():
    train_segmenter(segmenter)
    segmented[title] = said = segment(segmenter, test_scenes)
    quality[title] = mean_iou(said, test_classes, 11)
    drawn = (said > 0) == (test_classes > 0)
    errors[title] = [float(wrong.float().mean()) for wrong in (~drawn, drawn & (said != test_classes))]
    learns = sum(p.numel() for p in segmenter.parameters())
    print(f"{title:17} mIoU {quality[title]:.3f}; ink in the wrong place {errors[title][0]:.1%} of the pixels, "
          f"taken for another digit's {errors[title][1]:.1%}; {learns:,} parameters")
draw_segmentations(segmented, quality)
print(f"{time.perf_counter() - began:.0f} seconds")

# %% [markdown]
# Dark is ink with the right class. Light is wrong: with an orange cross a class was claimed that is not the label,
# without one the ink was missed. The number is the mIoU over all 300 test scenes.
#
# The network at stride 4 cannot draw: strokes are one or two pixels wide, and it has one place for 4×4 pixels. Learned
# up-sampling helps, since kernels of 8×8 can draw something of a shape. The skips help more, with fewer weights.

# %% [markdown]
# Look at the two kinds of error. Ink in the wrong place, missed or invented, falls from a tenth of the pixels to little
# more than a hundredth. Ink that is taken for another digit's does not fall, about a hundredth as soon as there is much
# ink to be mistaken. That is what skips do: they say *where*. *What* it is, the deepest maps must know.

# %% [markdown]
# It is the same order as in the paper, on photographs of 21 classes (PASCAL VOC 2011, mean IoU on the authors'
# validation images): FCN-32s 59.4, FCN-16s 62.4, FCN-8s 62.7. There the objects are large, and the skips are worth
# little more than three points. Here strokes are thin.
#
# To try: another seed; larger digits, each pixel doubled; `width=12`; the segmenter on a scene of 64×96 pixels. (It
# takes it without a change. Why?)

# %% [markdown]
# ## What came after
#
# **U-Net** (Ronneberger, Fischer and Brox, 2015), made for cells under the microscope, goes up as gradually as it came
# down, and its skips **concatenate** whole maps in place of adding scores. Its convolutions are not padded: an image of
# 572 pixels gives labels for the inner 388, and each skip is cropped in the middle.

# %%
size, kept = 572, []
for _ in range(4):                                                     # down: two 3×3 without padding, then pooling
    kept.append(size - 4)
    size = (size - 4) // 2
size -= 4
cropped = []
for skip in reversed(kept):                                            # up: twice as large, a skip, two 3×3
    cropped.append((skip, 2 * size))
    size = 2 * size - 4
print(f"skips are cropped {', '.join(f'{a} to {b}' for a, b in cropped)}; labels for {size}×{size} pixels")

# %% [markdown]
# Others leave out the last strides and spread the kernels instead: with **dilated** convolutions the maps stay fine and
# the windows large (Yu and Koltun, 2016; DeepLab, by Chen and colleagues). That costs arithmetic and memory, where
# skips cost next to nothing.

# %% [markdown] tags=["written:run_everywhere:4"]
# ## In your own words
#
# A colleague wants to find ships in satellite images of 10,000×10,000 pixels. She has a VGG-16, trained with great
# success on photographs of 224×224, each filled by one of 1000 objects, some of them ships. Her plan: cut out a window
# of 224×224 around every fourth pixel, classify each, and mark those called a ship.
#
# Advise her. What would she gain by converting the network? In which way will its answers differ from those of her
# plan, and why? How far apart are its places, and how could she get closer ones? What will go wrong in *either* way,
# and what would you do about it? Ten sentences are enough.
#
# <!-- BEGIN SOLUTION -->
# **Answer.**
#
# About 2445² = 6 million windows at 15.5 billion multiply-adds each are hopeless. Converted, with the fully connected
# layers as 7×7 and 1×1 convolutions and the same weights, shared pixels are computed once: some tens of times cheaper
# at the network's own stride, 112 times at most if every pixel is wanted. The image is still too large to be held with
# all its maps, so it is cut into overlapping tiles.
#
# The answers differ, since the convolutions are padded: a cut-out window has zeros around it, in the unrolled network
# it has its real neighbours. That is no mistake, but the network was trained with zeros there.
#
# The places are 32 pixels apart, not 4. Closer ones: dilation in place of the last strides, or the network on shifted
# copies, interlaced; or up-sampling with skips, which needs training.
#
# Either way it has no class for "nothing", and must name one of 1000 objects for every piece of open sea; and it knows
# ships that fill the window, seen from the side. So: train further on satellite images with a background class, best
# with labels for pixels, and judge by IoU and not by the share of right pixels, which "sea everywhere" wins.
#
# **Rubric.**
#
# - 1 point: the conversion is exact in weights and saves because windows overlap; with a number (tens to a hundred).
# - 1 point: padding is why the two maps differ.
# - 1 point: stride 32, and a way to finer places (dilation, shifted copies, skips).
# - 1 point: no background class, or windows filled by one object; and a remedy.
# <!-- END SOLUTION -->

# %% [markdown]
# ## Summary
#
# | question | answer |
# |---|---|
# | fully connected on C×H×W | a convolution with kernels of C×H×W: the row of weights, reshaped |
# | the next one | a 1×1 convolution |
# | equal to sliding | yes, at the total stride and without padding; with padding the neighbours replace zeros |
# | saved at every pixel | multiply-adds of a window / weights: LeNet 7, VGG-16 112 |
# | place i of a map | sees `window` pixels from start + i·stride; padding counts times the stride before it |
# | no class for nothing | a classifier is sure of something everywhere; train with background |
# | IoU of a class | pixels in both / in at least one; mIoU: the mean over classes that occur |
# | bilinear, `align_corners=False` | new row i reads at (i + ½)/f − ½, border kept |
# | transposed convolution | stamps add up; (H − 1)·s + k − 2p + output_padding |
# | `output_padding` | crops less at the end: several sizes become one under a stride |
# | checkerboard | kernel size not a multiple of the stride |
# | bilinear kernel | (1 − \|i − m\|/f) in both directions; 2f, or 2f − 1 for odd f |
# | skip | 1×1 scores of a finer map, cropped so that middles coincide, added; U-Net concatenates |

# %% [markdown]
# ## Where to read more
#
# - Ofer Matan, Christopher Burges, Yann LeCun and John Denker, *Multi-digit recognition using a space displacement
#   neural network*, 1992; and section VII of *Gradient-based learning applied to document recognition*, 1998: LeNet
#   over rows of digits.
# - Pierre Sermanet and others, *OverFeat: integrated recognition, localization and detection using convolutional
#   networks*, 2014: a large classifier run over the whole image.
# - Jonathan Long, Evan Shelhamer and Trevor Darrell, *Fully convolutional networks for semantic segmentation*, CVPR
#   2015: the conversion, the skips, and segmentation trained end to end.
# - Olaf Ronneberger, Philipp Fischer and Thomas Brox, *U-Net: convolutional networks for biomedical image
#   segmentation*, 2015: as gradually up as down.
# - Fisher Yu and Vladlen Koltun, *Multi-scale context aggregation by dilated convolutions*, 2016: large windows on fine
#   maps.

# %% [markdown]
# On up-sampling:
#
# - Vincent Dumoulin and Francesco Visin, *A guide to convolution arithmetic for deep learning*, 2016: all the sizes, in
#   pictures.
# - Augustus Odena, Vincent Dumoulin and Chris Olah, *Deconvolution and checkerboard artifacts*, Distill, 2016: where
#   the pattern comes from, and how to avoid it.
