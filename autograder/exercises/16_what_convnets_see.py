"""Exercises of notebook 16: looking into networks, and comparing what they compute.

Methods of a class are checked on a small network that the class makes itself, with weights from the check.  The
oracles take other ways than the solutions: NumPy and SciPy for images and similarities, Jacobians for gradients
(Zeiler & Fergus, 2014; Simonyan, Vedaldi & Zisserman, 2014; Springenberg et al., 2015; Kornblith et al., 2019;
Kriegeskorte, Mur & Bandettini, 2008; Goodfellow, Shlens & Szegedy, 2015).
"""

from textwrap import dedent

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from autograder.exercise import FORBIDDEN_TORCH, Exercise, Mistake, call
from autograder.exercises.draws import quarters_by_shape as quarters
from cnnlab.probes import strided


def pixels(seed, *shape):
    """Whole numbers from 0 to 255, uint8."""
    return np.random.default_rng([seed, *shape]).integers(0, 256, shape).astype(np.uint8)


def numpy(tensor):
    return tensor.detach().numpy() if isinstance(tensor, torch.Tensor) else np.asarray(tensor)


def some(rng, low, high, count=None):
    """Whole numbers from low to high, both possible."""
    drawn = rng.integers(low, high + 1, count)
    return int(drawn) if count is None else tuple(int(v) for v in drawn)


class Inspector(nn.Module):
    """The class that the notebook gives."""

    def __init__(self, net=None):
        super().__init__()
        self.net = nn.Sequential(
            nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(inplace=True)),
            nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(inplace=True)),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)) if net is None else net
        self.eval()

    def forward(self, x):
        return self.net(x)

    def hooks(self):
        return sum(len(layer._forward_hooks) + len(layer._forward_pre_hooks) for layer in self.net.modules())


def with_method(name, method):
    """A class like the student's, in other words: with this method."""
    return lambda: type("Answer", (Inspector,), {name: method})()


def jacobian(net, x):
    """The derivative of every output of one image for every pixel: (outputs, C, H, W)."""
    return torch.autograd.functional.jacobian(lambda image: net(image[None])[0], x)


# ---------------------------------------------------------------------------- rows_to_images

def rows_to_images(rows, height, width):
    """Oracle: pixel by pixel."""
    rows = numpy(rows)
    images = np.zeros((len(rows), height, width, 3), np.float32)
    for n, i, j, c in np.ndindex(*images.shape):
        images[n, i, j, c] = rows[n, c * height * width + i * width + j] / 255
    return images


def rows_by_stack(rows, height, width):
    red, green, blue = rows.float().div(255).chunk(3, dim=1)
    return torch.stack([plane.reshape(-1, height, width) for plane in (red, green, blue)], dim=-1)


def rows_by_unflatten(rows, height, width):
    return rows.unflatten(1, (3, height, width)).movedim(1, -1) / 255


def _rows(order=lambda planes: planes.permute(0, 2, 3, 1), scale=lambda x: x / 255,
          cut=lambda rows, h, w: rows.reshape(-1, 3, h, w)):
    """A mistake: another way to cut rows into planes, to order the axes, or to scale."""
    return lambda rows, height, width: scale(order(cut(rows, height, width)).float()).contiguous()


def rows_probe(seed, n, h, w):
    return call(pixels(seed, n, 3 * h * w), h, w, device="cpu")


ROWS_TO_IMAGES = Exercise(
    id="rows_to_images", points=1, forbidden=FORBIDDEN_TORCH,
    oracle=rows_to_images,
    probes=[call(np.uint8([[255, 204, 51, 0, 102, 153]]), 1, 2, device="cpu"), rows_probe(1, 2, 4, 3),
            rows_probe(2, 1, 2, 5), call(strided(pixels(3, 4, 18)), 3, 2, device="cpu")],
    random=lambda rng: rows_probe(some(rng, 0, 1 << 30), *some(rng, 2, 5, 3)),
    mistakes=[
        Mistake("reshaped_to_h_w_3", "Neighbours in a row are taken for red, green and blue of one pixel. In the file "
                "all red values come first, then all green ones, then all blue ones.",  # 111
                _rows(lambda x: x, cut=lambda rows, h, w: rows.reshape(-1, h, w, 3))),
        Mistake("bgr", "Red and blue are exchanged. The file has red first, and an image to be drawn too.",  # 112
                _rows(lambda x: x.permute(0, 2, 3, 1).flip(-1))),
        Mistake("not_scaled", "The values still go from 0 to 255. They are to go from 0 to 1.",  # 113
                _rows(scale=lambda x: x)),
        Mistake("by_256", "The values are divided by 256, so white is not 1. The largest uint8 is 255.",  # 113
                _rows(scale=lambda x: x / 256)),
        Mistake("by_the_maximum", "Everything is divided by the largest value there is. Then a dark image and a bright "
                "one look alike: divide by 255.",  # 113
                _rows(scale=lambda x: x / x.max())),
        Mistake("minus_1_to_1", "The values go from −1 to 1. They are to go from 0 to 1.",  # 113
                _rows(scale=lambda x: x / 127.5 - 1)),
        Mistake("channels_first", "The channels stand before height and width. That is what a network wants; to be "
                "drawn, an image has them last.",
                _rows(lambda x: x)),
        Mistake("transposed", "Rows and columns of each image are exchanged: the order of the axes is not right yet.",
                _rows(lambda x: x.permute(0, 3, 2, 1))),
        Mistake("filled_by_columns", "Each plane is filled column by column. In the file it stands row by row.",
                _rows(lambda x: x.permute(0, 3, 2, 1), cut=lambda rows, h, w: rows.reshape(-1, 3, w, h))),
        Mistake("images_mixed", "Planes of different images are mixed up: the axis of the images must stay the first "
                "one.",
                _rows(lambda x: x.permute(1, 2, 3, 0), cut=lambda rows, h, w: rows.reshape(3, -1, h, w))),
        Mistake("grey", "All three channels are equal: each is the mean of the three planes.",
                _rows(lambda x: x.permute(0, 2, 3, 1).float().mean(-1, keepdim=True).expand(-1, -1, -1, 3))),
        Mistake("first_image", "Only the first image is there.",
                lambda rows, height, width: _rows()(rows[:1], height, width)),
    ],
    alternatives=[rows_by_stack, rows_by_unflatten],
    hints=[
        "Where in the row stands the green value of the very first pixel? And the red value of the pixel below it?",
        dedent("""\
        An image of 1×2 pixels, six numbers:

        ```
        row             255 204    51   0    102 153
                        red        green     blue

        pixel (0, 0)    255  51 102
        pixel (0, 1)    204   0 153
        ```"""),
        dedent("""\
        ```
        rows (N, 3·H·W)  ->  cut into planes        (N, 3, H, W)
                         ->  the channels last      (N, H, W, 3)
                         ->  float, over 255
        ```"""),
        "`reshape` keeps the numbers in the order in which they lie in memory and only says where a new row begins. "
        "To bring an axis to another place the numbers must change their order: that is what `permute` does.",
    ])


# ---------------------------------------------------------------------------- prepare_image

def prepare_image(image, mean, std, size):
    """Oracle: in NumPy, channel by channel."""
    image = numpy(image)
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    out = np.zeros((1, 3, size, size), np.float32)
    for c in range(3):
        out[0, c] = (image[top:top + size, left:left + size, c] / 255 - mean[c]) / std[c]
    return out


def prepare_by_broadcast(image, mean, std, size):
    height, width, _ = image.shape
    x = image.permute(2, 0, 1).float() / 255
    x = x.narrow(1, (height - size) // 2, size).narrow(2, (width - size) // 2, size)
    return ((x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)).unsqueeze(0)


def prepare_with_channels_last(image, mean, std, size):
    r, c = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    x = (image[r:r + size, c:c + size] / 255.0 - torch.tensor(mean)) / torch.tensor(std)
    return x.movedim(-1, 0)[None]


def _prepared(crop=None, scale=lambda x: x / 255, norm=lambda x, m, s: (x - m) / s, order=None):
    """A mistake in one of the four steps; the image is (size, size, 3) until the last one."""
    def run(image, mean, std, size):
        half = [(n - size) // 2 for n in image.shape[:2]]
        r, c = half if crop is None else crop(image.shape[0] - size, image.shape[1] - size)
        x = scale(image[r:r + size, c:c + size].float())
        x = norm(x, torch.tensor(mean), torch.tensor(std))
        return (x.permute(2, 0, 1)[None] if order is None else order(x)).float().contiguous()

    return run


def _of_the_image(x, mean, std):
    return (x - x.mean((0, 1))) / x.std((0, 1))


def prepare_probe(image, size, mean=(0.5, 0.25, 0.75), std=(0.25, 0.5, 0.125)):
    return call(image, mean, std, size, device="cpu")


def random_prepare(rng):
    size = some(rng, 2, 4)
    h, w = size + some(rng, 0, 3), size + some(rng, 1, 5)
    mean, std = (tuple(v / 8 for v in some(rng, 1, most, 3)) for most in (7, 3))
    return prepare_probe(rng.integers(0, 256, (h, w, 3)).astype(np.uint8), size, mean, std)


PREPARE_IMAGE = Exercise(
    id="prepare_image", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=prepare_image,
    probes=[prepare_probe(np.uint8([[[0, 255, 51], [255, 0, 102], [51, 102, 153], [204, 153, 255]],
                                    [[102, 51, 0], [153, 255, 204], [0, 51, 255], [255, 204, 0]]]), 2),
            prepare_probe(pixels(11, 7, 4, 3), 3), prepare_probe(pixels(12, 3, 8, 3), 3, (0.5, 0.5, 0.25)),
            prepare_probe(strided(pixels(13, 6, 5, 3)), 4, (0.375, 0.5, 0.625), (0.25, 0.125, 0.5)),
            prepare_probe(pixels(14, 4, 4, 3) // 2, 4)],
    random=random_prepare,
    mistakes=[
        Mistake("reshaped", "The channels were brought to the front by a reshape, which keeps the order in memory and "
                "mixes pixels with colours. The axis has to be moved.",  # 27, 111
                _prepared(order=lambda x: x.contiguous().reshape(1, 3, *x.shape[:2]))),
        Mistake("bgr", "The channels come out as blue, green, red. The network was trained with red first.",  # 112
                _prepared(order=lambda x: x.permute(2, 0, 1).flip(0)[None])),
        Mistake("bgr_with_rgb_statistics", "The channels are reversed before mean and std of red, green and blue are "
                "applied. All are in the order red, green, blue already.",  # 112
                _prepared(scale=lambda x: x.flip(-1) / 255)),
        Mistake("statistics_reversed", "The pixels are in the right order, but red gets the mean and the std of blue, "
                "and the other way round.",  # 112
                _prepared(norm=lambda x, m, s: (x - m.flip(0)) / s.flip(0))),
        Mistake("not_scaled", "Mean and std are those of values from 0 to 1, but the pixels still go from 0 to "
                "255.",  # 113
                _prepared(scale=lambda x: x)),
        Mistake("scaled_last", "The division by 255 comes after mean and std. They are those of values from 0 to 1, so "
                "it comes first.",  # 113
                _prepared(scale=lambda x: x, norm=lambda x, m, s: (x - m) / s / 255)),
        Mistake("by_the_maximum", "The image is divided by its own largest value. Divide by 255, whatever the image "
                "holds.",  # 113
                _prepared(scale=lambda x: x / x.max())),
        Mistake("own_statistics", "The image is normalised with its own mean and standard deviation. The network "
                "expects those it was trained with: they are arguments.",  # 114
                _prepared(norm=_of_the_image)),
        Mistake("no_mean", "The mean is not subtracted.", _prepared(norm=lambda x, m, s: x / s)),
        Mistake("no_std", "It is not divided by the standard deviation.", _prepared(norm=lambda x, m, s: x - m)),
        Mistake("variance", "It is divided by the square of `std`. `std` is the standard deviation already.",  # 79
                _prepared(norm=lambda x, m, s: (x - m) / s**2)),
        Mistake("mean_after_std", "It is divided by std first, and then the mean is subtracted. The other way round: "
                "the mean is one of pixels, not of scaled pixels.",
                _prepared(norm=lambda x, m, s: x / s - m)),
        Mistake("corner", "The upper left corner is cut out. Cut out the middle.",  # 110
                _prepared(crop=lambda h, w: (0, 0))),
        Mistake("rounded_up", "Where the border cannot be divided evenly, the smaller part belongs above and left.",
                _prepared(crop=lambda h, w: ((h + 1) // 2, (w + 1) // 2))),
        Mistake("offsets_exchanged", "The offsets of rows and columns are exchanged.",  # 5
                _prepared(crop=lambda h, w: (min(w // 2, h), min(h // 2, w)))),
        Mistake("transposed", "Rows and columns are exchanged.",  # 4
                _prepared(order=lambda x: x.permute(2, 1, 0)[None])),
        Mistake("channels_last", "The channels are still last. A network of PyTorch wants (N, C, H, W).",  # 27
                _prepared(order=lambda x: x[None])),
        Mistake("no_batch", "The axis of the batch is missing: a network is given (N, C, H, W), here with N = 1.",
                _prepared(order=lambda x: x.permute(2, 0, 1))),
    ],
    alternatives=[prepare_by_broadcast, prepare_with_channels_last],
    hints=[
        "Which shape has the image, and which one does the network want? How do you bring three numbers, one for each "
        "channel, to act on the right axis?",
        dedent("""\
        One white pixel with mean 0.5, 0.25, 0.75 and std 0.25, 0.5, 0.125:

        ```
        (255, 255, 255)  ->  (1, 1, 1)  ->  (0.5, 0.75, 0.25)  ->  (2, 1.5, 2)
        ```

        Cutting 3 rows out of 6: the rest is 3, so 1 row above goes, and 2 below."""),
        dedent("""\
        ```
        top, left <- (H - size) // 2, (W - size) // 2
        x <- image, rows top … top + size, columns likewise            # (size, size, 3)
        x <- as float, over 255
        x <- (x - mean) / std, for each channel
        return x with the channels in front, and a batch axis         # (1, 3, size, size)
        ```"""),
        "The network learned from numbers that were made in exactly this way. Any other number is an image it has "
        "never seen: brighter, in other colours, of another contrast. Nothing will complain; the answers get worse.",
    ])


# ---------------------------------------------------------------------------- activation

def _activation(self, name, x):
    """Oracle: walk down the nested chains by name, on a copy in which nothing is done in place."""
    import copy

    net = copy.deepcopy(self.net)
    for layer in net.modules():
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    chain = [(key, layer) for key, layer in net.named_modules() if not list(layer.children())]
    wanted = [key for key, _ in chain if key == name or key.startswith(name + ".")]
    with torch.no_grad():
        for key, layer in chain:
            x = layer(x)
            if key == wanted[-1]:
                return x


def activation_by_dict(self, name, x):
    found = {}
    handle = self.net.get_submodule(name).register_forward_hook(lambda layer, args, out: found.update(out=out.clone()))
    with torch.no_grad():
        self.net(x)
    handle.remove()
    return found["out"]


def activation_by_list(self, name, x):
    kept = []

    def keep(layer, given, output):
        kept.append(output.detach().clone().numpy())

    handle = dict(self.net.named_modules())[name].register_forward_hook(keep)
    try:
        self(x)
    finally:
        handle.remove()
    return torch.from_numpy(kept[0])


def _recorded(keep=lambda given, out: out.clone(), after=lambda kept, out: kept[-1], remove=True, pick=None):
    """A mistake: keep something else, return something else, leave the hook."""
    def activation(self, name, x):
        kept = self.__dict__.setdefault("kept", [])
        layer = (pick or (lambda net, name: net.get_submodule(name)))(self.net, name)
        handle = layer.register_forward_hook(lambda layer, given, out: kept.append(keep(given[0], out)))
        with torch.no_grad():
            out = self.net(x)
        if remove:
            handle.remove()
        return after(kept, out)

    return with_method("activation", activation)


def _next(net, name):
    names = [key for key, layer in net.named_modules() if not list(layer.children())]
    inner = [i for i, key in enumerate(names) if key == name or key.startswith(name + ".")]
    return net.get_submodule(names[min(inner[-1] + 1, len(names) - 1)])


def activation_probe(seed, first, second, x):
    return call(steps=[("set_weights", {"seed": seed}), ("activation", {"name": first, "x": x}), ("hooks", {}),
                       ("activation", {"name2": second, "x2": x + 0.5}), ("hooks", {})], device="cpu")


def random_activation(rng):
    names = ["0", "0.0", "0.1", "1", "1.0", "1.1", "2", "3", "4"]
    first, second = (str(v) for v in rng.choice(names, 2, replace=False))
    return activation_probe(some(rng, 0, 999), first, second, quarters(some(rng, 0, 1 << 30), *some(rng, 1, 3, 1), 2,
                                                                       *some(rng, 2, 4, 2)))


ACTIVATION = Exercise(
    id="activation", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=with_method("activation", _activation),
    probes=[activation_probe(1, "4", "0.0", quarters(20, 1, 2, 1, 2)),
            activation_probe(2, "0.0", "1.0", quarters(21, 2, 2, 3, 2)),
            activation_probe(3, "1", "2", quarters(22, 2, 2, 2, 4)),
            activation_probe(4, "1.0", "4", strided(quarters(23, 3, 2, 3, 3)))],
    random=random_activation,
    mistakes=[
        Mistake("not_copied", "A convolution's output has no negative values: what you kept was changed later. The "
                "ReLU after it works in place, in the same memory. Keep a copy.",  # 92
                _recorded(lambda given, out: out)),
        Mistake("hook_left", "The values are right, but the hook is still there after the call. Every further forward "
                "pass would call it, and it would keep its memory: remove it.",
                _recorded(remove=False)),
        Mistake("input", "It is what the layer was given, not what it gave. A hook's arguments are the layer, its "
                "inputs, and its output.",
                _recorded(lambda given, out: given.clone())),
        Mistake("output_of_the_network", "It is the output of the whole network. The hook gets to see that of the "
                "layer; let it keep that.",
                _recorded(after=lambda kept, out: out)),
        Mistake("first_of_all_calls", "The second call gives the value of the first one again. What was kept before "
                "must not be returned: begin anew in each call.",  # 57
                _recorded(after=lambda kept, out: kept[0])),
        Mistake("first_image", "Only the first image of the batch is there.",
                _recorded(lambda given, out: out[:1].clone())),
        Mistake("no_batch", "Only the first image of the batch is there, and the axis of the batch is gone.",
                _recorded(lambda given, out: out[0].clone())),
        Mistake("rectified", "Negative values are 0 also where no ReLU follows. Return what the layer gave, as it "
                "is.",  # 37
                _recorded(lambda given, out: F.relu(out))),
        Mistake("next_layer", "It is the output of the layer after the one that was named.",
                _recorded(pick=_next)),
        Mistake("mean_of_channels", "The channels are averaged. Return all of them.",
                _recorded(lambda given, out: out.mean(1))),
        Mistake("flattened", "The maps are flattened into rows. Keep the shape.",
                _recorded(lambda given, out: out.clone().flatten(1))),
    ],
    alternatives=[with_method("activation", activation_by_dict), with_method("activation", activation_by_list)],
    hints=[
        "When does a hook run: when it is registered, or when an image passes the layer? How does what it sees get out "
        "of it?",
        dedent("""\
        ```
        x -> [0.0 conv] -> a -> [0.1 ReLU in place] -> a -> …
                  |              the same tensor, its
                hook(layer,      negative values now 0
                     inputs, a)
        ```"""),
        dedent("""\
        ```
        kept   <- empty list
        layer  <- self.net.get_submodule(name)
        handle <- layer.register_forward_hook(a function that appends a copy of its third argument to kept)
        run self.net on x, without gradients
        remove the hook: handle.remove()
        return what was kept
        ```"""),
        "A network gives only its last output away. A hook lets you read in the middle without rewriting the network. "
        "It is handed the tensor itself, though, not a copy, and whoever works in place afterwards changes it.",
    ])


# ---------------------------------------------------------------------------- occlusion_map

def _occlusion(self, x, label, size, stride, fill):
    """Oracle: all covered images in one batch, made with a mask."""
    height, width = x.shape[2:]
    rows, columns = range(0, height - size + 1, stride), range(0, width - size + 1, stride)
    masks = torch.zeros(len(rows), len(columns), 1, height, width, dtype=torch.bool)
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            masks[i, j, 0, r:r + size, c:c + size] = True
    covered = torch.where(masks, torch.tensor(fill, dtype=x.dtype), x[0])     # (rows, columns, C, H, W)
    p = F.softmax(self.net(torch.cat([x, covered.flatten(0, 1)])), dim=1)[:, label]
    return (p[0] - p[1:]).reshape(len(rows), len(columns)).detach()


def occlusion_by_loop(self, x, label, size, stride, fill):
    with torch.no_grad():
        whole = self(x).softmax(1)[0, label]
        drops = []
        for r in range((x.shape[2] - size) // stride + 1):
            for c in range((x.shape[3] - size) // stride + 1):
                y = x.clone()
                y[..., r * stride:r * stride + size, c * stride:c * stride + size] = fill
                drops.append(whole - self(y).softmax(1)[0, label])
    return torch.stack(drops).view((x.shape[2] - size) // stride + 1, -1)


def occlusion_by_pad(self, x, label, size, stride, fill):
    grid = []
    for top in range(0, x.shape[2] - size + 1, stride):
        line = []
        for left in range(0, x.shape[3] - size + 1, stride):
            hole = F.pad(x.new_ones(size, size), (left, x.shape[3] - size - left, top, x.shape[2] - size - top))
            y = x * (1 - hole) + fill * hole
            line.append((self.net(x).softmax(-1) - self.net(y).softmax(-1))[0, label].item())
        grid.append(line)
    return torch.tensor(grid, dtype=x.dtype)


def _occluded(score=lambda z, label: z.softmax(1)[:, label], drop=lambda whole, covered: whole - covered, cover=None,
              places=None, end=lambda m: m, keep=False):
    """A mistake: another score, another difference, another way to cover, other places."""
    def occlusion_map(self, x, label, size, stride, fill):
        with torch.no_grad():
            whole, y, table = score(self.net(x), label)[0], x.clone(), []
            where = places or (lambda n, size, stride: [(a, a + size) for a in range(0, n - size + 1, stride)])
            for top, bottom in where(x.shape[2], size, stride):
                table.append([])
                for left, right in where(x.shape[3], size, stride):
                    y = y if keep else x.clone()
                    if cover is None:
                        y[:, :, top:bottom, left:right] = fill
                    else:
                        y = cover(y, top, bottom, left, right, fill)
                    table[-1].append(drop(whole, score(self.net(y), label)[0]))
            return end(torch.tensor(table, dtype=x.dtype))

    return with_method("occlusion_map", occlusion_map)


def _first_channel(y, top, bottom, left, right, fill):
    y[:, 0, top:bottom, left:right] = fill
    return y


def _with_zeros(y, top, bottom, left, right, fill):
    y[:, :, top:bottom, left:right] = 0
    return y


def _outside(y, top, bottom, left, right, fill):
    z = torch.full_like(y, fill)
    z[:, :, top:bottom, left:right] = y[:, :, top:bottom, left:right]
    return z


def _added(y, top, bottom, left, right, fill):
    y[:, :, top:bottom, left:right] += fill
    return y


def _of_the_answer(self, x, label, size, stride, fill):
    return _occlusion(self, x, int(self.net(x).argmax()), size, stride, fill)


def occlusion_probe(seed, x, *arguments):
    return call(steps=[("set_weights", {"seed": seed}), ("occlusion_map", dict(zip(
        ("x", "label", "size", "stride", "fill"), (x, *arguments))))], device="cpu")


def random_occlusion(rng):
    size = some(rng, 1, 3)
    h, w = size + some(rng, 1, 4), size + some(rng, 1, 4)
    return occlusion_probe(some(rng, 0, 999), quarters(some(rng, 0, 1 << 30), 1, 2, h, w), some(rng, 0, 2), size,
                           some(rng, 1, 3), some(rng, -4, 4) / 4)


OCCLUSION_MAP = Exercise(
    id="occlusion_map", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=with_method("occlusion_map", _occlusion),
    probes=[occlusion_probe(1, quarters(30, 1, 2, 2, 3), 2, 2, 1, 0.5),
            occlusion_probe(2, quarters(31, 1, 2, 5, 4), 0, 2, 1, 0.25),
            occlusion_probe(3, quarters(32, 1, 2, 6, 8), 1, 3, 2, -0.5),
            occlusion_probe(4, strided(quarters(33, 1, 2, 4, 7)), 2, 1, 3, 0.0)],
    random=random_occlusion,
    mistakes=[
        Mistake("logits", "The drop is that of the logit. Asked is that of the probability: softmax first.",
                _occluded(lambda z, label: z[:, label])),
        Mistake("log_probability", "The drop is that of the logarithm of the probability.",
                _occluded(lambda z, label: z.log_softmax(1)[:, label])),
        Mistake("probability_itself", "These are the probabilities of the covered images. Asked is how far they fall "
                "below that of the whole image.",
                _occluded(drop=lambda whole, covered: covered)),
        Mistake("sign", "Every sign is the other way round: where covering hurts, the entry is to be positive.",
                _occluded(drop=lambda whole, covered: covered - whole)),
        Mistake("absolute", "The sign is lost. Covering may also raise the probability; then the entry is negative.",
                _occluded(drop=lambda whole, covered: (whole - covered).abs())),
        Mistake("cut_at_zero", "Negative drops have become 0. Covering may raise the probability, and that is worth "
                "knowing.",
                _occluded(drop=lambda whole, covered: (whole - covered).clamp(min=0))),
        Mistake("ratio", "The drop is divided by the probability of the whole image.",
                _occluded(drop=lambda whole, covered: (whole - covered) / whole)),
        Mistake("of_the_answer", "It follows the class with the largest score. Follow `label`, also where the network "
                "would answer something else.",
                with_method("occlusion_map", _of_the_answer)),
        Mistake("squares_stay", "The first entry is right, then more and more is covered: the squares of earlier "
                "places are still there. Begin with a fresh copy at each place.",  # 32
                _occluded(keep=True)),
        Mistake("first_channel", "Only the first channel is covered. The square covers all of them.",
                _occluded(cover=_first_channel)),
        Mistake("zeros", "The square is filled with 0. Fill it with `fill`.", _occluded(cover=_with_zeros)),
        Mistake("added", "`fill` is added to what is in the square. It takes its place.", _occluded(cover=_added)),
        Mistake("outside", "Everything but the square is covered.", _occluded(cover=_outside)),
        Mistake("stride_ignored", "The square moves by one pixel, whatever the stride.",  # 17
                _occluded(places=lambda n, size, stride: [(a, a + size) for a in range(n - size + 1)])),
        Mistake("stride_is_size", "The square moves by its own size. It moves by `stride`.",  # 62
                _occluded(places=lambda n, size, stride: [(a, a + size) for a in range(0, n - size + 1, size)])),
        Mistake("last_place_missing", "The last row and the last column of places are missing: a square that ends "
                "exactly at the edge still fits.",  # 10
                _occluded(places=lambda n, size, stride: [(a, a + size) for a in range(0, n - size, stride)])),
        Mistake("places_beyond_the_edge", "There are places at which the square hangs over the edge. Count only those "
                "where it lies inside.",  # 9
                _occluded(places=lambda n, size, stride: [(a, a + size) for a in range(0, n, stride)])),
        Mistake("transposed", "Rows and columns of the map are exchanged.",  # 4
                _occluded(end=lambda m: m.T.contiguous())),
    ],
    alternatives=[with_method("occlusion_map", occlusion_by_loop), with_method("occlusion_map", occlusion_by_pad)],
    hints=[
        "How many places has a square of this size with this stride? It is the formula of notebook 03, without "
        "padding.",
        dedent("""\
        3×4 pixels, size 2, stride 1: the square at row 0, columns 0, 1 and 2, then at row 1.

        ```
        ■ ■ . .    . ■ ■ .    . . ■ ■
        ■ ■ . .    . ■ ■ .    . . ■ ■        a map of 2×3
        . . . .    . . . .    . . . .
        ```"""),
        dedent("""\
        ```
        whole <- probability of the label, of x
        for each row r = 0, stride, …, while r + size <= H:
            for each column c likewise:
                covered <- copy of x, with fill in [:, :, r:r+size, c:c+size]
                entry   <- whole - probability of the label, of covered
        return all entries                                        # (rows, columns)
        ```
        A block `with torch.no_grad():` around it saves memory."""),
        "Covering is an experiment on the network: something is taken away, and one looks at what changes. It needs no "
        "gradient and no look inside. But what is put into its place is an image too, and the network may see "
        "something in it.",
    ])


# ---------------------------------------------------------------------------- saliency

def _saliency(self, x, labels):
    """Oracle: one Jacobian for each image, of which the label's part is taken."""
    return torch.stack([jacobian(self.net, image)[int(label)].abs().amax(0) for image, label in zip(x, labels)])


def saliency_by_sum(self, x, labels):
    x = x.clone().requires_grad_()
    self.net(x)[torch.arange(len(x)), labels].sum().backward()
    return x.grad.abs().max(dim=1).values


def saliency_by_one_hot(self, x, labels):
    leaf = x.detach().clone().requires_grad_(True)
    logits = self(leaf)
    (g,) = torch.autograd.grad(logits, leaf, F.one_hot(labels, logits.shape[1]).to(logits.dtype))
    return torch.linalg.vector_norm(g, ord=float("inf"), dim=1)


def _traced(score=lambda z, labels: z.gather(1, labels[:, None]), end=lambda g, x: g.abs().amax(1)):
    """A mistake: the gradient of another score, or something else made of it."""
    def saliency(self, x, labels):
        leaf = x.clone().requires_grad_()
        return end(torch.autograd.grad(score(self.net(leaf), labels).sum(), leaf)[0], x)

    return with_method("saliency", saliency)


def _mean_loss(z, labels):
    return F.cross_entropy(z, labels)


def saliency_probe(seed, x, labels):
    return call(steps=[("set_weights", {"seed": seed}), ("saliency", {"x": x, "labels": np.array(labels)})],
                device="cpu")


def random_saliency(rng):
    n, h, w = some(rng, 1, 3, 3)
    return saliency_probe(some(rng, 0, 999), quarters(some(rng, 0, 1 << 30), n, 2, h + 1, w + 1),
                          rng.integers(0, 3, n).tolist())


SALIENCY = Exercise(
    id="saliency", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=with_method("saliency", _saliency),
    probes=[saliency_probe(4, quarters(42, 1, 2, 2, 3), [1]), saliency_probe(2, quarters(41, 3, 2, 3, 2), [0, 2, 1]),
            saliency_probe(5, strided(quarters(43, 2, 2, 4, 3)), [1, 0])],
    random=random_saliency,
    mistakes=[
        Mistake("probability", "It is the gradient of the probability. Asked is that of the logit: a probability near "
                "1 hardly moves, and it also rises when other logits fall.",
                _traced(lambda z, labels: z.softmax(1).gather(1, labels[:, None]))),
        Mistake("loss", "It is the gradient of the cross-entropy. Asked is that of the label's logit.",
                _traced(lambda z, labels: F.cross_entropy(z, labels, reduction="sum"))),
        Mistake("mean_loss", "It is the gradient of the cross-entropy, a mean over the batch. Asked is that of the "
                "label's logit, for each image by itself.",  # 40
                _traced(_mean_loss)),
        Mistake("all_logits", "It is the gradient of the sum of all logits. Only the label's logit counts.",
                _traced(lambda z, labels: z)),
        Mistake("largest_logit", "It is the gradient of the largest logit. Take the one at the label, also where the "
                "network would answer something else.",
                _traced(lambda z, labels: z.amax(1))),
        Mistake("labels_across", "For each image the logits at the labels of **all** images are added up: `logits[:, "
                "labels]` takes every label's column in every row. Wanted is one logit a row.",
                _traced(lambda z, labels: z[:, labels])),
        Mistake("batch_mean", "The gradient is divided by the number of images. The map of an image does not depend on "
                "how many others there are.",  # 40
                _traced(lambda z, labels: z.gather(1, labels[:, None]) / len(z))),
        Mistake("signed", "The largest value over the channels is taken without absolute values. A large negative "
                "slope matters just as much.",
                _traced(end=lambda g, x: g.amax(1))),
        Mistake("absolute_too_late", "The absolute value comes after the maximum over the channels. It comes first: of "
                "−3 and 1 the larger one is −3.",
                _traced(end=lambda g, x: g.amax(1).abs())),
        Mistake("sum_of_channels", "The absolute slopes of the channels are added up. Take the largest one.",
                _traced(end=lambda g, x: g.abs().sum(1))),
        Mistake("mean_of_channels", "The absolute slopes of the channels are averaged. Take the largest one.",
                _traced(end=lambda g, x: g.abs().mean(1))),
        Mistake("length_over_channels", "The slopes of the channels are combined by squares. Take the largest absolute "
                "value.",
                _traced(end=lambda g, x: g.norm(dim=1))),
        Mistake("times_the_input", "The gradient is multiplied by the image. Asked is the gradient alone.",
                _traced(end=lambda g, x: (g * x).abs().amax(1))),
        Mistake("normalised", "Each map is divided by its largest value.",
                _traced(end=lambda g, x: g.abs().amax(1) / g.abs().amax((1, 2, 3))[:, None, None])),
        Mistake("channels_kept", "Every channel has a map of its own. Take the largest value over the channels.",
                _traced(end=lambda g, x: g.abs())),
        Mistake("maximum_over_the_batch", "The maximum is taken over the wrong axis: over the images in place of the "
                "channels.",
                _traced(end=lambda g, x: g.abs().amax(0))),
    ],
    alternatives=[with_method("saliency", saliency_by_sum), with_method("saliency", saliency_by_one_hot)],
    hints=[
        "Of which number do you want the slope, and for what? `backward` needs a single number; how do you get one "
        "from a batch in which every image has its own?",
        dedent("""\
        One pixel, three channels: the slopes of the label's logit are

        ```
        red −3      green 1      blue 2      ->  the pixel's saliency is 3
        ```"""),
        dedent("""\
        ```
        x      <- a copy of x that asks for a gradient
        score  <- of each image the logit at its label              # (N,)
        g      <- gradient of the sum of all scores, for x          # (N, C, H, W)
        return the largest |g| over the channels                    # (N, H, W)
        ```
        `logits[torch.arange(N), labels]` picks one logit from each row."""),
        "In evaluation mode no image influences another one's logits. So the gradient of the sum of all scores has, at "
        "the pixels of an image, just the slopes of that image's own score, and one backward pass does for all.",
    ])


# ---------------------------------------------------------------------------- gradient_ascent

def _ascend(self, x, unit, lr, decay):
    """Oracle: by the Jacobian, and the norm by NumPy."""
    g = jacobian(self.net, x[0])[unit]
    return (x * (1 - decay) + lr * g / float(np.sqrt((g.numpy() ** 2).sum()))).detach()


def ascend_by_grad(self, x, unit, lr, decay):
    leaf = x.detach().requires_grad_()
    (g,) = torch.autograd.grad(self.net(leaf)[0, unit], leaf)
    return x - decay * x + lr * g / g.norm()


def ascend_by_backward(self, x, unit, lr, decay):
    y = x.clone().requires_grad_()
    self(y)[:, unit].sum().backward()
    return torch.lerp(x, torch.zeros_like(x), decay).add(F.normalize(y.grad.flatten(), dim=0).view_as(x), alpha=lr)


def _climbed(score=lambda z, unit: z[0, unit], step=lambda g: g / g.norm(),
             join=lambda x, s, lr, decay: (1 - decay) * x + lr * s, at=lambda x, decay: x):
    """A mistake: another score, step, sum, or place at which the slope is taken."""
    def ascend(self, x, unit, lr, decay):
        leaf = at(x.detach(), decay).clone().requires_grad_()
        (g,) = torch.autograd.grad(score(self.net(leaf), unit), leaf)
        return join(x, step(g), lr, decay)

    return with_method("ascend", ascend)


def ascent_probe(seed, x, *arguments):
    return call(steps=[("set_weights", {"seed": seed}), ("ascend", dict(zip(("x", "unit", "lr", "decay"),
                                                                            (x, *arguments))))], device="cpu")


def random_ascent(rng):
    return ascent_probe(some(rng, 0, 999), quarters(some(rng, 0, 1 << 30), 1, 2, *some(rng, 2, 4, 2)), some(rng, 0, 2),
                        some(rng, 1, 8) / 4, some(rng, 0, 3) / 8)


GRADIENT_ASCENT = Exercise(
    id="gradient_ascent", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=with_method("ascend", _ascend),
    probes=[ascent_probe(4, quarters(50, 1, 2, 1, 2), 1, 1.0, 0.0),
            ascent_probe(2, quarters(51, 1, 2, 3, 2), 2, 0.5, 0.25),
            ascent_probe(3, quarters(52, 1, 2, 2, 4), 0, 2.0, 0.125),
            ascent_probe(5, strided(quarters(53, 1, 2, 3, 3)), 1, 0.25, 0.5)],
    random=random_ascent,
    mistakes=[
        Mistake("descent", "The step goes down: the unit's score falls. Uphill is along the gradient.",
                _climbed(join=lambda x, s, lr, decay: (1 - decay) * x - lr * s)),
        Mistake("not_normalised", "The gradient is not divided by its length, so the step is of no definite size: tiny "
                "on a plateau, huge at a cliff.",
                _climbed(step=lambda g: g)),
        Mistake("by_the_maximum", "The gradient is divided by its largest absolute value. Divide by its length, the "
                "root of the sum of all squares.",
                _climbed(step=lambda g: g / g.abs().max())),
        Mistake("by_the_mean_square", "The gradient is divided by the root of the **mean** square. Divide by its "
                "length, the root of the sum of all squares.",
                _climbed(step=lambda g: g / g.pow(2).mean().sqrt())),
        Mistake("by_the_square", "The gradient is divided by the sum of its squares. The length is the root of it.",
                _climbed(step=lambda g: g / g.pow(2).sum())),
        Mistake("by_the_absolute_sum", "The gradient is divided by the sum of its absolute values. Divide by the root "
                "of the sum of squares.",
                _climbed(step=lambda g: g / g.abs().sum())),
        Mistake("per_channel", "Each channel of the gradient is divided by its own length. The length is that of the "
                "whole gradient.",
                _climbed(step=lambda g: g / g.norm(dim=(2, 3), keepdim=True))),
        Mistake("per_pixel", "The gradient is divided by its length over the channels, pixel by pixel. The length is "
                "that of the whole gradient.",
                _climbed(step=lambda g: g / g.norm(dim=1, keepdim=True))),
        Mistake("signs", "Only the signs of the gradient are used.", _climbed(step=lambda g: g.sign())),
        Mistake("probability", "It climbs the probability of the unit. Climb its logit: a probability can also grow "
                "because others fall.",
                _climbed(lambda z, unit: z.softmax(1)[0, unit])),
        Mistake("all_units", "It climbs the sum of all logits. Only the unit's counts.",
                _climbed(lambda z, unit: z.sum())),
        Mistake("largest_unit", "It climbs the largest logit. Climb that of `unit`.",
                _climbed(lambda z, unit: z.max())),
        Mistake("no_decay", "The image does not decay: x itself is to be multiplied by 1 − decay.",
                _climbed(join=lambda x, s, lr, decay: x + lr * s)),
        Mistake("decay_only", "x is multiplied by `decay`. What remains of it is the share 1 − decay.",
                _climbed(join=lambda x, s, lr, decay: decay * x + lr * s)),
        Mistake("grows", "x grows: it is multiplied by 1 + decay.",
                _climbed(join=lambda x, s, lr, decay: (1 + decay) * x + lr * s)),
        Mistake("step_decays_too", "The step decays as well. Only x is multiplied by 1 − decay; the step is added "
                "afterwards.",
                _climbed(join=lambda x, s, lr, decay: (1 - decay) * (x + lr * s))),
        Mistake("decay_times_lr", "The decay is multiplied by the learning rate. Here it is not.",
                _climbed(join=lambda x, s, lr, decay: (1 - lr * decay) * x + lr * s)),
        Mistake("gradient_after_decay", "The gradient is taken at the image that has decayed already. Take it at x.",
                _climbed(at=lambda x, decay: (1 - decay) * x)),
        Mistake("step_alone", "It is the step alone. Return the new image.",
                _climbed(join=lambda x, s, lr, decay: lr * s)),
    ],
    alternatives=[with_method("ascend", ascend_by_grad), with_method("ascend", ascend_by_backward)],
    hints=[
        "In training, the weights move and the image is fixed, downhill. What moves here, what is fixed, and in which "
        "direction?",
        dedent("""\
        A gradient of two numbers, lr = 1, decay = 0.5:

        ```
        g = (3, −4)        length 5        g / length = (0.6, −0.8)
        x = (2,  2)        0.5·x + 1·(0.6, −0.8) = (1.6, 0.2)
        ```"""),
        dedent("""\
        ```
        y <- a copy of x that asks for a gradient
        g <- gradient of self.net(y)[0, unit], for y             # (1, C, H, W)
        return (1 - decay) · x + lr · g / length of g            # (1, C, H, W)
        ```
        `g.norm()` is the length: the root of the sum of all squares."""),
        "The gradient says which small change raises the score most. Its direction matters; its length differs a "
        "thousandfold between units and along the way, so it is normalised away. The decay holds back pixels that "
        "nothing pushes, or they would keep whatever they were given at the start.",
    ])


# ---------------------------------------------------------------------------- relu_backward

RULES = ("gradient", "deconvnet", "guided")


def relu_backward(x, dy, rule):
    """Oracle: products of masks in NumPy."""
    x, dy = numpy(x), numpy(dy)
    return dy * {"gradient": x > 0, "deconvnet": dy > 0, "guided": (x > 0) & (dy > 0)}[rule]


def relu_backward_by_where(x, dy, rule):
    keep = torch.ones_like(x, dtype=torch.bool)
    if rule != "deconvnet":
        keep &= x > 0
    if rule != "gradient":
        keep &= dy > 0
    return torch.where(keep, dy, torch.zeros_like(dy))


def relu_backward_by_clamp(x, dy, rule):
    dx = dy.clone() if rule == "gradient" else F.relu(dy)
    if rule in ("gradient", "guided"):
        dx[x <= 0] = 0
    return dx


def _ruled(gradient=lambda x, dy: dy * (x > 0), deconvnet=lambda x, dy: dy * (dy > 0),
           guided=lambda x, dy: dy * (x > 0) * (dy > 0)):
    """A mistake in one or more of the rules."""
    rules = {"gradient": gradient, "deconvnet": deconvnet, "guided": guided}
    return lambda x, dy, rule: rules[rule](x, dy)


def rule_probe(rule, x, dy):
    return call(x, dy, rule, part=rule, device="cpu")


def random_rule(rng):
    shape = some(rng, 1, 4, some(rng, 1, 4))
    return rule_probe(RULES[some(rng, 0, 2)], rng.integers(-2, 3, shape).astype(np.float32),
                      (rng.integers(-8, 9, shape) / 4).astype(np.float32))


RULE_X = np.float32([-2, -1, 0, 1, 2, 3, 0, -3])
RULE_DY = np.float32([3, -2, 1, -1, 2, 0, -4, 5])

RELU_BACKWARD = Exercise(
    id="relu_backward", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=relu_backward,
    probes=[probe for rule in RULES for probe in (
        rule_probe(rule, RULE_X, RULE_DY),
        rule_probe(rule, np.random.default_rng(60).integers(-2, 3, (2, 3, 2, 4)) * 0.75, quarters(61, 2, 3, 2, 4)))],
    random=random_rule,
    mistakes=[
        Mistake("plain_gradient_everywhere", "All three rules give the gradient. The other two also ask for the sign "
                "of dy.",
                _ruled(deconvnet=lambda x, dy: dy * (x > 0), guided=lambda x, dy: dy * (x > 0))),
        Mistake("gradient_and_deconvnet_exchanged", "\"gradient\" and \"deconvnet\" are exchanged. The gradient asks "
                "what went **in** at the time of the forward pass; the deconvnet rectifies what comes **back**.",
                _ruled(lambda x, dy: dy * (dy > 0), lambda x, dy: dy * (x > 0))),
        Mistake("deconvnet_and_guided_exchanged", "\"deconvnet\" and \"guided\" are exchanged. Guided backpropagation "
                "asks for both signs, the deconvnet for that of dy alone.",
                _ruled(deconvnet=lambda x, dy: dy * (x > 0) * (dy > 0), guided=lambda x, dy: dy * (dy > 0))),
        Mistake("deconvnet_is_guided", "\"deconvnet\" drops values where x was negative. It does not look at x: it "
                "passes dy through a ReLU.",
                _ruled(deconvnet=lambda x, dy: dy * (x > 0) * (dy > 0))),
        Mistake("guided_is_deconvnet", "\"guided\" lets values through where x was negative. It asks for both signs.",
                _ruled(guided=lambda x, dy: dy * (dy > 0))),
        Mistake("either_sign", "\"guided\" lets a value through where x **or** dy is positive. Both have to be.",
                _ruled(guided=lambda x, dy: dy * ((x > 0) | (dy > 0)))),
        Mistake("zero_passes", "Where x is exactly 0 the value comes through. The slope there is taken as 0.",  # 56
                _ruled(lambda x, dy: dy * (x >= 0), guided=lambda x, dy: dy * (x >= 0) * (dy > 0))),
        Mistake("forward", "It returns relu(x) or parts of it, the forward pass. What flows backward is dy.",
                _ruled(lambda x, dy: x * (x > 0), lambda x, dy: x * (dy > 0), lambda x, dy: x * (x > 0) * (dy > 0))),
        Mistake("absolute", "Negative values of dy come out positive. They become 0.",
                _ruled(deconvnet=lambda x, dy: dy.abs(), guided=lambda x, dy: dy.abs() * (x > 0))),
        Mistake("negative_kept", "The mask is the wrong way round: it keeps what is to be dropped.",
                _ruled(lambda x, dy: dy * (x <= 0), lambda x, dy: dy * (dy <= 0),
                       lambda x, dy: dy * ~((x > 0) & (dy > 0)))),
        Mistake("mask_alone", "It returns the mask, ones and zeros. Multiply dy by it.",
                _ruled(lambda x, dy: (x > 0).to(dy), lambda x, dy: (dy > 0).to(dy),
                       lambda x, dy: ((x > 0) & (dy > 0)).to(dy))),
        Mistake("times_x", "dy is multiplied by relu(x). The slope of a ReLU is 0 or 1.",
                _ruled(lambda x, dy: dy * F.relu(x), lambda x, dy: dy * (dy > 0) * x,
                       lambda x, dy: dy * F.relu(x) * (dy > 0))),
    ],
    alternatives=[relu_backward_by_where, relu_backward_by_clamp],
    hints=[
        "In \"gradient\", which values of dy reach the other side? In \"deconvnet\", what is done to dy if the input x "
        "is not known at all?",
        dedent("""\
        ```
        x             -2  -1   1   2
        dy             3  -2  -1   2

        gradient       0   0  -1   2
        deconvnet      3   0   0   2
        guided         0   0   0   2
        ```"""),
        dedent("""\
        ```
        "gradient":   dy where x > 0, else 0
        "deconvnet":  dy where dy > 0, else 0
        "guided":     dy where both are, else 0
        ```
        A comparison gives a mask of bools; `dy * mask` keeps what is true."""),
        "The true gradient tells what a small change of a pixel does to the unit, up or down. The other two throw away "
        "what would push the unit down. So they are no gradients of anything; they are rules for drawing.",
    ])


# ---------------------------------------------------------------------------- linear_cka

def linear_cka(x, y):
    """Oracle: by the Gram matrices, centred from both sides."""
    x, y = numpy(x), numpy(y)
    h = np.eye(len(x)) - 1 / len(x)
    k, l = h @ x @ x.T @ h, h @ y @ y.T @ h
    return float((k * l).sum() / np.sqrt((k * k).sum() * (l * l).sum()))


def cka_by_features(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    return ((y.T @ x).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())).item()


def cka_by_cosine(x, y):
    def gram(v):
        k = v @ v.T
        return (k - k.mean(0) - k.mean(1, keepdim=True) + k.mean()).flatten()

    return F.cosine_similarity(gram(x), gram(y), dim=0)


def _aligned(centre_x=lambda v: v - v.mean(0), centre_y=None, ratio=lambda a, b, c: a**2 / (b * c), end=lambda v: v):
    """A mistake: another centring, or another combination of the three norms."""
    def run(x, y):
        x, y = centre_x(x), (centre_y or centre_x)(y)
        return float(end(ratio((y.T @ x).norm(), (x.T @ x).norm(), (y.T @ y).norm())))

    return run


def _gram_cosine(x, y):
    k, l = x @ x.T, y @ y.T
    k, l = k - k.mean(), l - l.mean()
    return float((k * l).sum() / (k.norm() * l.norm()))


def _feature_grams(x, y):
    """Correlation of single features, as far as there are pairs of them."""
    d = min(x.shape[1], y.shape[1])
    x, y = x[:, :d] - x[:, :d].mean(0), y[:, :d] - y[:, :d].mean(0)
    return float(F.cosine_similarity(x, y, dim=0).mean())


def cka_probe(seed, n, p, q):
    x = quarters(seed, n, p) + np.arange(p)
    return call(x, quarters(seed + 1, n, q) + x[:, :1] - 2, device="cpu")


CKA_X, CKA_Y = np.array([[1.0, 0], [0, 2], [3, 1]]), np.array([[2.0, 1], [0, 1], [1, 4]])

LINEAR_CKA = Exercise(
    id="linear_cka", points=3, forbidden=FORBIDDEN_TORCH,
    oracle=linear_cka,
    probes=[call(CKA_X, CKA_Y, device="cpu"), cka_probe(70, 5, 3, 2), cka_probe(72, 4, 6, 7),
            call(strided(quarters(74, 6, 2) + 1), quarters(75, 6, 4) - 1, device="cpu"),
            call(quarters(76, 5, 3) + 1, -2 * (quarters(76, 5, 3) + 1)[:, ::-1].copy() + 3, device="cpu")],
    random=lambda rng: cka_probe(some(rng, 0, 1 << 30), some(rng, 4, 7), *some(rng, 2, 5, 2)),
    mistakes=[
        Mistake("not_centred", "The features are not centred. Then their means count most, and any two layers after a "
                "ReLU look alike: subtract from each column its mean over the images.",
                _aligned(lambda v: v)),
        Mistake("rows_centred", "Each image's features are centred, the rows. Subtract from each **column** its mean "
                "over the images.",
                _aligned(lambda v: v - v.mean(1, keepdim=True))),
        Mistake("one_mean", "One mean of all numbers is subtracted. Each column has a mean of its own.",
                _aligned(lambda v: v - v.mean())),
        Mistake("only_x_centred", "Only x is centred; y has to be too.", _aligned(centre_y=lambda v: v)),
        Mistake("only_y_centred", "Only y is centred; x has to be too.",
                _aligned(lambda v: v, lambda v: v - v.mean(0))),
        Mistake("standardised", "The columns are divided by their standard deviation. Then features that hardly vary "
                "count as much as the others; centring is all that is asked for.",
                _aligned(lambda v: (v - v.mean(0)) / v.std(0))),
        Mistake("rows_normalised", "The rows are scaled to length 1 after the centring.",
                _aligned(lambda v: F.normalize(v - v.mean(0), dim=1))),
        Mistake("not_squared", "The norm in the numerator is not squared.",
                _aligned(ratio=lambda a, b, c: a / (b * c))),
        Mistake("root_of_the_denominator", "The numerator is not squared, and the denominator has a root: the result "
                "is the square root of CKA.",
                _aligned(ratio=lambda a, b, c: a / (b * c).sqrt())),
        Mistake("denominator_squared", "The norms in the denominator are squared.",
                _aligned(ratio=lambda a, b, c: a**2 / (b * c) ** 2)),
        Mistake("no_denominator", "It is the numerator alone. Divide by the two norms, or the result depends on the "
                "size of the features.",
                _aligned(ratio=lambda a, b, c: a**2)),
        Mistake("mean_of_norms", "The denominator is the mean of the squared norms. It is the product of the norms.",
                _aligned(ratio=lambda a, b, c: 2 * a**2 / (b**2 + c**2))),
        Mistake("distance", "It is 1 − CKA. Equal features have CKA 1.", _aligned(end=lambda v: 1 - v)),
        Mistake("gram_centred_by_one_number", "From the matrices of inner products only one mean is subtracted. Centre "
                "the features, column by column, before the products.",
                _gram_cosine),
        Mistake("feature_by_feature", "Feature 0 is compared with feature 0, 1 with 1, and so on. Two networks have no "
                "common order of features; compare all with all.",
                _feature_grams),
    ],
    alternatives=[cka_by_features, cka_by_cosine],
    hints=[
        "Which of the two axes are the images? A feature that is 5 for every image tells nothing about them; what must "
        "become of it?",
        dedent("""\
        Three images, two features in each network:

        ```
        x    1  0     centred   −1/3  −1        y    2  1     centred    1  −1
             0  2               −4/3   1             0  1               −1  −1
             3  1                5/3   0             1  4                0   2
        ```
        Of the centred ones, yᵀx has the rows (1, −2) and (5, 0), and the sum of its squares is 30."""),
        dedent("""\
        ```
        x <- x minus the mean of each column                   # (n, p)
        y <- y minus the mean of each column                   # (n, q)
        return |yᵀ x|² / (|xᵀ x| · |yᵀ y|)                     # (q, p), (p, p), (q, q)
        ```
        |M| is the root of the sum of all squares, `M.norm()`."""),
        "|yᵀx|² is the same as the sum over all pairs of images of ⟨xᵢ, xⱼ⟩·⟨yᵢ, yⱼ⟩. So CKA asks: are images that are "
        "alike for the one network alike for the other? For this the features need no common order, and not even the "
        "same number.",
    ])


# ---------------------------------------------------------------------------- rdm

def rdm(features):
    """Oracle: NumPy's correlation coefficients of the rows."""
    rows = numpy(features).reshape(len(features), -1)
    return 1 - np.corrcoef(rows)


def rdm_by_product(features):
    rows = features.flatten(1)
    rows = rows - rows.mean(1, keepdim=True)
    rows = rows / rows.norm(dim=1, keepdim=True)
    return 1 - rows @ rows.T


def rdm_by_pairs(features):
    flat = [f.flatten() for f in features]
    return torch.stack([torch.stack([1 - torch.corrcoef(torch.stack([a, b]))[0, 1] for b in flat]) for a in flat])


def _dissimilar(rows=lambda f: f.flatten(1), measure=lambda r: 1 - torch.corrcoef(r)):
    return lambda features: measure(rows(features))


def _cosine(r):
    r = F.normalize(r, dim=1)
    return r @ r.T


def _columns_centred(r):
    return 1 - _cosine(r - r.mean(0))


def rdm_probe(seed, *shape):
    return call(quarters(seed, *shape) + np.arange(shape[1]).reshape(-1, *[1] * (len(shape) - 2)), device="cpu")


RDM = Exercise(
    id="rdm", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=rdm,
    probes=[call(np.array([[1.0, 2, 3], [2, 4, 6], [3, 0, 0]]), device="cpu"), rdm_probe(80, 4, 6),
            rdm_probe(81, 3, 2, 2, 3), call(strided(quarters(84, 5, 4) + 1), device="cpu")],
    random=lambda rng: rdm_probe(some(rng, 0, 1 << 30), some(rng, 2, 5), some(rng, 3, 5), *some(rng, 2, 4, 2)),
    mistakes=[
        Mistake("similarity", "These are the correlations. A dissimilarity is 0 where two images are alike: 1 minus "
                "the correlation.",
                _dissimilar(measure=torch.corrcoef)),
        Mistake("cosine", "The rows are not centred before they are compared. A correlation is the cosine after each "
                "row's own mean is subtracted.",
                _dissimilar(measure=lambda r: 1 - _cosine(r))),
        Mistake("columns_centred", "The mean over the images is subtracted, column by column. For the correlation of "
                "two images each **row** loses its own mean.",
                _dissimilar(measure=_columns_centred)),
        Mistake("covariance", "The products of the centred rows are not divided by their lengths: that is a "
                "covariance, not a correlation.",
                _dissimilar(measure=lambda r: 1 - torch.cov(r))),
        Mistake("euclidean", "These are Euclidean distances. They also grow with the size of the activations; asked is "
                "1 minus the correlation.",
                _dissimilar(measure=lambda r: torch.cdist(r, r))),
        Mistake("features_compared", "Features are compared with each other, over the images. Compare the images, over "
                "the features: an n×n matrix.",
                _dissimilar(lambda f: f.flatten(1).T.contiguous())),
        Mistake("mean_over_places", "The maps are averaged over their places first. Every place is a feature of its "
                "own.",
                _dissimilar(lambda f: f.flatten(2).mean(2) if f.ndim > 2 else f)),
        Mistake("absolute", "The absolute correlation is used. Opposite patterns are as unlike as can be: 2.",
                _dissimilar(measure=lambda r: 1 - torch.corrcoef(r).abs())),
        Mistake("squared", "The correlation is squared. Then opposite patterns would count as alike.",
                _dissimilar(measure=lambda r: 1 - torch.corrcoef(r) ** 2)),
        Mistake("halved", "The dissimilarity is halved. With 1 minus the correlation it goes from 0 to 2.",
                _dissimilar(measure=lambda r: (1 - torch.corrcoef(r)) / 2)),
        Mistake("lower_half_missing", "The lower half of the matrix is 0. Fill it too: it is symmetric.",
                _dissimilar(measure=lambda r: torch.triu(1 - torch.corrcoef(r)))),
        Mistake("angle", "These are angles. Asked is 1 minus the correlation.",
                _dissimilar(measure=lambda r: torch.arccos(torch.corrcoef(r).clamp(-1, 1)))),
    ],
    alternatives=[rdm_by_product, rdm_by_pairs],
    hints=[
        "Which two things are compared in an entry: two images, or two features? How long are the vectors whose "
        "correlation is taken?",
        dedent("""\
        Three images with three features:

        ```
        1 2 3        1 − r(0, 1) = 0, the pattern is the same, only stronger
        2 4 6        1 − r(0, 2) = 1 + 0.87 = 1.87, nearly opposite
        3 0 0
        ```"""),
        dedent("""\
        ```
        rows <- features, each image flattened                  # (n, d)
        rows <- each row minus its mean, over its length        # (n, d)
        return 1 - rows · rowsᵀ                                 # (n, n)
        ```
        `torch.corrcoef` does the second and half of the third line."""),
        "The features of two networks, or of a network and a brain, cannot be matched one to one. But both sort the "
        "same images, and which images they hold for alike can be compared. Correlation forgets how strong a response "
        "is, and keeps its pattern.",
    ])


# ---------------------------------------------------------------------------- rdm_agreement

def rdm_agreement(first, second):
    """Oracle: SciPy's rank correlation of the upper triangles."""
    from scipy.stats import spearmanr

    upper = np.triu_indices(len(first), 1)
    return float(spearmanr(numpy(first)[upper], numpy(second)[upper]).statistic)


def _upper(matrix):
    i, j = torch.triu_indices(len(matrix), len(matrix), offset=1)
    return matrix[i, j]


def _ranks(values):
    return values.argsort().argsort().double()


def agreement_by_formula(first, second):
    d = _ranks(_upper(first)) - _ranks(_upper(second))
    m = len(d)
    return 1 - 6 * float((d * d).sum()) / (m * (m * m - 1))


def agreement_by_loop(first, second):
    n = len(first)
    pairs = [(i, j) for i in range(n) for j in range(i)]

    def ranks(matrix):
        values = [float(matrix[i, j]) for i, j in pairs]
        return torch.tensor([float(sorted(values).index(v)) for v in values])

    return torch.corrcoef(torch.stack([ranks(first), ranks(second)]).double())[0, 1]


def _agreeing(pick=_upper, rank=_ranks, measure=lambda a, b: torch.corrcoef(torch.stack([a, b]))[0, 1]):
    return lambda first, second: float(measure(rank(pick(first)), rank(pick(second))))


def _with_diagonal(matrix):
    i, j = torch.triu_indices(len(matrix), len(matrix))
    return matrix[i, j]


def _kendall(a, b):
    from scipy.stats import kendalltau

    return kendalltau(a.numpy(), b.numpy()).statistic


def dissimilarities(seed, n, noise):
    """Two symmetric matrices with 0 on the diagonal; all values above it differ, and the two are alike."""
    rng = np.random.default_rng([seed, n])
    upper, count = np.triu_indices(n, 1), n * (n - 1) // 2
    values = rng.permutation(count) + 1.0
    order = np.argsort(np.argsort(values + noise * rng.standard_normal(count)))
    matrices = np.zeros((2, n, n))
    matrices[0][upper], matrices[1][upper] = values**2 / 64, (order + 1) * (order + 2) / 32
    return matrices + matrices.transpose(0, 2, 1)


def agreement_probe(seed, n, noise):
    return call(*dissimilarities(seed, n, noise), device="cpu")


SMALL = np.array([[0, 3, 1, 7], [3, 0, 2, 9], [1, 2, 0, 4], [7, 9, 4, 0]]) / 4
OTHER = np.array([[0, 5, 4, 2], [5, 0, 1, 9], [4, 1, 0, 3], [2, 9, 3, 0]]) / 2

RDM_AGREEMENT = Exercise(
    id="rdm_agreement", points=2, forbidden=(*FORBIDDEN_TORCH, "scipy"),
    oracle=rdm_agreement,
    probes=[call(SMALL, OTHER, device="cpu"), agreement_probe(90, 5, 4), agreement_probe(91, 6, 8),
            call(*(strided(m) for m in dissimilarities(92, 4, 3)), device="cpu")],
    random=lambda rng: agreement_probe(some(rng, 0, 1 << 30), some(rng, 4, 7), some(rng, 3, 8)),
    mistakes=[
        Mistake("pearson", "The values themselves are correlated. Asked is the rank correlation: replace each value by "
                "its rank first.",
                _agreeing(rank=lambda v: v)),
        Mistake("diagonal", "The zeros of the diagonal are among the values. They are equal in every such matrix, so "
                "they say nothing and make all agree.",
                _agreeing(_with_diagonal)),
        Mistake("whole_matrix", "All n·n entries are used, the zeros of the diagonal among them. Each pair counts "
                "once: take the entries above the diagonal.",
                _agreeing(lambda m: m.flatten())),
        Mistake("one_argsort", "`argsort` tells which entry has rank 0, 1, 2, …; asked is which rank each entry has. "
                "Those are inverse to each other.",
                _agreeing(rank=lambda v: v.argsort().double())),
        Mistake("sorted_values", "Both lists are sorted before they are compared, so it is lost which pair of images a "
                "value belongs to.",
                _agreeing(rank=lambda v: v.sort().values)),
        Mistake("not_centred", "The ranks are not centred: it is their cosine. A correlation can be negative.",
                _agreeing(measure=lambda a, b: F.cosine_similarity(a + 1, b + 1, dim=0))),
        Mistake("squared", "The correlation is squared.",
                _agreeing(measure=lambda a, b: torch.corrcoef(torch.stack([a, b]))[0, 1] ** 2)),
        Mistake("distance", "It is 1 minus the correlation. Equal orders are to have 1.",
                _agreeing(measure=lambda a, b: 1 - torch.corrcoef(torch.stack([a, b]))[0, 1])),
        Mistake("only_one_ranked", "Only the values of the first matrix were replaced by their ranks.",
                lambda a, b: float(torch.corrcoef(torch.stack([_ranks(_upper(a)), _upper(b)]))[0, 1])),
        Mistake("kendall", "It counts in how many pairs of entries the order agrees: Kendall's τ. Asked is Spearman's "
                "ρ, the correlation of the ranks.",
                _agreeing(measure=_kendall)),
        Mistake("first_row", "Only the first row is compared. Take all entries above the diagonal.",
                _agreeing(lambda m: m[0, 1:])),
        Mistake("mean_of_rows", "The rows are compared one by one, and the results averaged. Take all entries above "
                "the diagonal as one list.",
                lambda a, b: float(np.mean([_agreeing(lambda m: m)(*(torch.cat([r[:i], r[i + 1:]]) for r in (x, y)))
                                            for i, (x, y) in enumerate(zip(a, b))]))),
    ],
    alternatives=[agreement_by_formula, agreement_by_loop],
    hints=[
        "Which entries of a symmetric matrix with zeros on its diagonal tell something new? And what is the rank of "
        "the smallest of them?",
        dedent("""\
        Four images, six pairs:

        ```
        0 3 1 7
        . 0 2 9        values   3  1  7  2  9  4
        . . 0 4        ranks    2  0  4  1  5  3
        . . . 0
        ```
        `argsort` of the values gives 1 3 0 5 2 4: the smallest is at place 1, the next one at place 3, …
        What is `argsort` of that?"""),
        dedent("""\
        ```
        i, j  <- torch.triu_indices(n, n, offset=1)
        a, b  <- first[i, j], second[i, j]                      # (n(n-1)/2,) each
        a, b  <- the ranks of a, the ranks of b
        return the correlation of a and b
        ```"""),
        "The size of a dissimilarity depends on how each side was measured: on noise, on the number of units, on "
        "scale. Its order, which pair is more alike than which other, depends less on that. So one compares orders.",
    ])


# ---------------------------------------------------------------------------- fast_gradient_sign

def _attack(self, x, labels, epsilon):
    """Oracle: the gradient of the loss from softmax and Jacobian, in NumPy."""
    out = []
    for image, label in zip(x, labels):
        p = F.softmax(self.net(image[None]), dim=1)[0].detach().clone()
        p[int(label)] -= 1
        g = torch.einsum("k,kchw->chw", p, jacobian(self.net, image))
        out.append(np.clip(image.numpy() + epsilon * np.sign(g.detach().numpy()), 0, 1))
    return torch.from_numpy(np.stack(out))


def attack_by_loss(self, x, labels, epsilon):
    leaf = x.clone().requires_grad_()
    F.cross_entropy(self.net(leaf), labels).backward()
    return (x + epsilon * leaf.grad.sign()).clamp(0, 1)


def attack_by_where(self, x, labels, epsilon):
    leaf = x.detach().requires_grad_()
    loss = -self(leaf).log_softmax(1)[range(len(x)), labels].sum()
    (g,) = torch.autograd.grad(loss, leaf)
    moved = torch.where(g > 0, x + epsilon, torch.where(g < 0, x - epsilon, x))
    return moved.clip(min=0, max=1).detach()


def _attacked(loss=F.cross_entropy, step=lambda g: g.sign(), end=lambda x, s, e: (x + e * s).clamp(0, 1)):
    """A mistake: another loss, step or end."""
    def attack(self, x, labels, epsilon):
        leaf = x.clone().requires_grad_()
        (g,) = torch.autograd.grad(loss(self.net(leaf), labels), leaf)
        return end(x, step(g), epsilon)

    return with_method("attack", attack)


def _picked(z, labels):
    return z.gather(1, labels[:, None]).sum()


def attack_probe(seed, x, labels, epsilon):
    return call(steps=[("set_weights", {"seed": seed}), ("attack", {"x": x, "labels": np.array(labels),
                                                                    "epsilon": epsilon})], device="cpu")


def eighths(seed, *shape):
    """Fractions from 0 to 1 in steps of 1/8, float64."""
    return np.random.default_rng([seed, *shape]).integers(0, 9, shape) / 8


def random_attack(rng):
    n, h, w = some(rng, 1, 3, 3)
    return attack_probe(some(rng, 0, 999), eighths(some(rng, 0, 1 << 30), n, 2, h + 1, w + 1),
                        rng.integers(0, 3, n).tolist(), some(rng, 1, 4) / 16)


FAST_GRADIENT_SIGN = Exercise(
    id="fast_gradient_sign", points=2, forbidden=FORBIDDEN_TORCH,
    oracle=with_method("attack", _attack),
    probes=[attack_probe(1, eighths(100, 1, 2, 2, 2), [1], 0.25),
            attack_probe(2, eighths(101, 3, 2, 3, 2), [0, 2, 1], 0.125),
            attack_probe(3, eighths(102, 2, 2, 2, 4), [1, 0], 0.0625),
            attack_probe(4, strided(eighths(103, 2, 2, 3, 3)), [2, 2], 0.25)],
    random=random_attack,
    mistakes=[
        Mistake("downhill", "It goes downhill: the loss falls, and the network becomes surer of the label. To mislead "
                "it, let the loss grow.",
                _attacked(end=lambda x, s, e: (x - e * s).clamp(0, 1))),
        Mistake("uphill_on_the_logit", "It climbs the logit of the label, which makes the network surer. It is the "
                "loss that is to grow.",
                _attacked(_picked)),
        Mistake("logit_alone", "It descends on the label's logit alone. The cross-entropy also sees the other logits, "
                "which may rise.",
                _attacked(lambda z, labels: -_picked(z, labels))),
        Mistake("softmax_before_the_loss", "A softmax is applied before the cross-entropy, which has one of its own. "
                "It wants logits.",  # 104
                _attacked(lambda z, labels: F.cross_entropy(z.softmax(1), labels))),
        Mistake("own_answer", "The loss is that of the network's own answers. Take the labels that are given.",
                _attacked(lambda z, labels: F.cross_entropy(z, z.argmax(1)))),
        Mistake("no_sign", "The gradient itself is added. Take its sign: every pixel moves by epsilon.",
                _attacked(step=lambda g: g)),
        Mistake("unit_length", "The gradient is scaled to length 1. Take its sign: every pixel moves by epsilon.",
                _attacked(step=lambda g: g / g.norm())),
        Mistake("largest_is_epsilon", "The gradient is divided by its largest value. Take its sign: every pixel moves "
                "by epsilon.",
                _attacked(step=lambda g: g / g.abs().max())),
        Mistake("not_clamped", "Some values lie outside 0 to 1. Those are no images; cut them off there.",
                _attacked(end=lambda x, s, e: x + e * s)),
        Mistake("minus_1_to_1", "The values are cut off at −1 and 1. Images go from 0 to 1.",  # 113
                _attacked(end=lambda x, s, e: (x + e * s).clamp(-1, 1))),
        Mistake("stretched", "The image is stretched to the range from 0 to 1. Cut off what leaves it, and keep the "
                "rest.",
                _attacked(end=lambda x, s, e: (x + e * s - (x + e * s).min()) / (
                    (x + e * s).max() - (x + e * s).min()))),
        Mistake("over_255", "epsilon is divided by 255. Pixels go from 0 to 1 here, and so does epsilon.",  # 113
                _attacked(end=lambda x, s, e: (x + e / 255 * s).clamp(0, 1))),
        Mistake("channels_summed", "All channels of a pixel move the same way. Every value has its own sign.",
                _attacked(step=lambda g: g.sum(1, keepdim=True).sign().expand_as(g))),
        Mistake("change_alone", "It is the change alone. Return the changed images.",
                _attacked(end=lambda x, s, e: e * s)),
    ],
    alternatives=[with_method("attack", attack_by_loss), with_method("attack", attack_by_where)],
    hints=[
        "The loss is a function of the image too. If each pixel may move by epsilon, up or down, which of the two "
        "raises the loss?",
        dedent("""\
        ```
        slope of the loss      0.02   −7    0    −0.1
        pixel                  0.5    0.9   0.3   0.05
        moved by ±0.125        0.625  0.775 0.3  −0.075
        inside 0 to 1          0.625  0.775 0.3   0
        ```"""),
        dedent("""\
        ```
        y    <- a copy of x that asks for a gradient
        loss <- cross-entropy of the logits of y and the labels
        g    <- gradient of the loss, for y                          # (N, C, H, W)
        return x + epsilon · sign(g), cut off at 0 and 1
        ```"""),
        "For small steps the loss changes by the sum of slope times change over all pixels. If no pixel may change by "
        "more than epsilon, that sum is largest when each moves by epsilon in the direction of its slope's sign. "
        "Thousands of tiny changes add up.",
    ])


EXERCISES = [ROWS_TO_IMAGES, PREPARE_IMAGE, ACTIVATION, OCCLUSION_MAP, SALIENCY, GRADIENT_ASCENT, RELU_BACKWARD,
             LINEAR_CKA, RDM, RDM_AGREEMENT, FAST_GRADIENT_SIGN]
