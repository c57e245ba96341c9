"""FCN-32s, 16s and 8s: a classifier without its end, which gives scores of classes for every pixel of any image.

Long, Shelhamer and Darrell, Fully convolutional networks for semantic segmentation, 2015, figure 3 and section 4, on
VGG-16; the image is padded by 99 pixels (with conv1_1's own 1, the authors' 100):

    maps             stride   where unit i stands   scores
    pool3                 8    8i - 95.5            1×1 convolution of 256 maps
    pool4                16   16i - 91.5            1×1 convolution of 512 maps
    pool5, fc6, fc7      32   32i + 12.5            7×7 and 1×1 convolutions of 4096 filters, 1×1 of those

    FCN-32s   up-sampled 32 times, of which rows and columns 19 on are the image's
    FCN-16s   up-sampled twice, plus pool4's scores from 5 on; then 16 times, from 27 on
    FCN-8s    that up-sampled twice, plus pool3's scores from 9 on; then 8 times, from 31 on

"Where" is the middle of what a unit sees, in pixels from the image's first, and so all numbers of rows and columns are
computed.  Up-sampling is transposed convolution, which starts as bilinear interpolation; the last one stays so.
"""

from __future__ import annotations

import copy
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solutions.gpu.models import resnet, vgg
from solutions.gpu.models.network import Network, Published


def as_convolution(fc: nn.Linear, in_channels: int, kernel_size: int) -> nn.Conv2d:
    """The convolution that computes at every place what `fc` computes from flattened maps of kernel_size×kernel_size.

    It has the same weights (copies of them) in the same order.  Section 3.1.  Raises ValueError where they do not fit.
    """
    if fc.in_features != in_channels * kernel_size**2:
        raise ValueError(f"the layer takes {fc.in_features} values; {in_channels} maps of {kernel_size}×{kernel_size} "
                         f"have {in_channels * kernel_size**2}")
    conv = nn.Conv2d(in_channels, fc.out_features, kernel_size, bias=fc.bias is not None, device=fc.weight.device,
                     dtype=fc.weight.dtype)
    weight = fc.weight.detach().view_as(conv.weight)               # (C_out, C_in, kernel_size, kernel_size)
    conv.load_state_dict({"weight": weight} | ({} if fc.bias is None else {"bias": fc.bias.detach()}))
    return conv


class VGGBackbone(nn.Module):
    """The maps of strides 8, 16 and 32 of a VGG network, with fc6 and fc7 as convolutions; its weights are copied.

    Its pools take windows that lie only partly on their input too, as the authors' do, so the maps cover the image.
    """

    starts = {8: 3.5 - 99, 16: 7.5 - 99, 32: 15.5 + 3 * 32 - 99}   # where unit 0 stands: see the table above

    def __init__(self, classifier: vgg.VGG):
        super().__init__()
        layers = copy.deepcopy(classifier.features)
        ends, channels = [0], []
        for i, layer in enumerate(layers):
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = True
                ends.append(i + 1)
                channels.append(width)
            elif isinstance(layer, nn.Conv2d):
                width = layer.out_channels
        self.to_8, self.to_16, self.to_32 = layers[:ends[3]], layers[ends[3]:ends[4]], layers[ends[4]:]
        fc6, fc7 = classifier.classifier[0], classifier.classifier[3]
        self.fc = nn.Sequential(as_convolution(fc6, channels[-1], 7), nn.ReLU(), nn.Dropout(0.5),
                                as_convolution(fc7, fc6.out_features, 1), nn.ReLU(), nn.Dropout(0.5))
        self.channels = {8: channels[2], 16: channels[3], 32: fc7.out_features}

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        pool3 = self.to_8(F.pad(x, (99, 99, 99, 99)))              # (N, 256, (H + 198) / 8, ...), rounded up
        pool4 = self.to_16(pool3)                                  # (N, 512, (H + 198) / 16, ...)
        return {8: pool3, 16: pool4, 32: self.fc(self.to_32(pool4))}  # (N, 4096, (H + 198) / 32 - 6, ...)


class ResNetBackbone(nn.Module):
    """The maps of strides 8, 16 and 32 of a ResNet, whose weights are copied.

    Its kernels of odd size stand on every second pixel from the first on, and so do all units; no padding is needed.
    """

    starts = {8: 0.0, 16: 0.0, 32: 0.0}

    def __init__(self, classifier: resnet.ResNet):
        super().__init__()
        net = copy.deepcopy(classifier)
        self.to_8 = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.conv2_x, net.conv3_x)
        self.to_16, self.to_32 = net.conv4_x, net.conv5_x
        widest = net.fc.in_features
        self.channels = {8: widest // 4, 16: widest // 2, 32: widest}

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        eighth = self.to_8(x)                                      # (N, 128·expansion, H / 8, ...), rounded up
        sixteenth = self.to_16(eighth)                             # (N, 256·expansion, H / 16, ...)
        return {8: eighth, 16: sixteenth, 32: self.to_32(sixteenth)}  # (N, 512·expansion, H / 32, ...)


class Upsample(nn.ConvTranspose2d):
    """Maps `factor` times as large; bilinear interpolation of each map, until it is trained.

    start: where unit 0 of the small maps stands, in units of the large ones.  The first row and column of the result
    stand at `offset`.
    """

    def __init__(self, channels: int, factor: int, start: float, groups: int = 1):
        # Half a unit off, as in VGG, a kernel has an even size, otherwise an odd one; its middle is on the unit.
        size = 2 * factor if start % 1 == 0.5 else 2 * factor - 1
        super().__init__(channels, channels, size, stride=factor, groups=groups, bias=False)
        self.offset = int(start - (size - 1) / 2)
        line = 1 - (torch.arange(size) - (size - 1) / 2).abs() / factor     # a triangle
        with torch.no_grad():
            self.weight.zero_()                                             # (C, C / groups, size, size)
            for i in range(channels):
                self.weight[i, i % (channels // groups)] = torch.outer(line, line)


class FCN(nn.Module):
    """A segmentation network for images (N, in_channels, H, W) of any size; returns logits (N, num_classes, H, W).

    backbone: gives maps of strides 8, 16 and 32, as `VGGBackbone` does.  stride: of the finest maps that are used, 32,
    16 or 8.  The scores of classes start with weights of 0, as in section 4.3; so skip connections change nothing at
    first.
    """

    def __init__(self, backbone: nn.Module, stride: int, num_classes: int = 21):
        if stride not in (32, 16, 8):
            raise ValueError(f"stride is {stride}; the paper has 32, 16 and 8")
        super().__init__()
        self.backbone = backbone
        self.skips = [s for s in (16, 8) if s >= stride]
        self.score, self.up = nn.ModuleDict(), nn.ModuleDict()
        at, start = 32, backbone.starts[32]
        for finer in self.skips:
            self.up[str(finer)] = up = Upsample(num_classes, at // finer, (start - backbone.starts[finer]) / finer)
            at, start = finer, backbone.starts[finer] + finer * max(up.offset, 0)
        for s in (32, *self.skips):
            self.score[str(s)] = score = nn.Conv2d(backbone.channels[s], num_classes, 1)
            nn.init.zeros_(score.weight)
            nn.init.zeros_(score.bias)
        self.up["1"] = Upsample(num_classes, at, start, groups=num_classes).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.backbone(x)
        scores = self.score["32"](maps[32])                        # (N, num_classes, h, w)
        for s in self.skips:
            finer = self.score[str(s)](maps[s])
            up = self.up[str(s)]
            scores, finer = overlap(up(scores), finer, up.offset)
            scores = scores + finer                                # (N, num_classes, about 2h, about 2w)
        up = self.up["1"]
        return overlap(up(scores), x, up.offset)[0]                # (N, num_classes, H, W)


def overlap(a: Tensor, b: Tensor, offset: int) -> tuple[Tensor, Tensor]:
    """The parts of two maps that lie on each other, when the first row and column of `a` lie on b's row `offset`."""
    cut_a, cut_b = max(-offset, 0), max(offset, 0)
    h, w = (min(a.shape[i] - cut_a, b.shape[i] - cut_b) for i in (2, 3))
    return a[:, :, cut_a:cut_a + h, cut_a:cut_a + w], b[:, :, cut_b:cut_b + h, cut_b:cut_b + w]


def fcn_vgg16(stride: int, num_classes: int = 21, in_channels: int = 3, classifier: vgg.VGG | None = None) -> FCN:
    """FCN-`stride`s on VGG-16; classifier: the VGG-16 whose weights it starts with, in place of fresh ones."""
    return FCN(VGGBackbone(classifier or vgg.vgg("D", in_channels=in_channels)), stride, num_classes)


def fcn_resnet50(stride: int, num_classes: int = 21, in_channels: int = 3,
                 classifier: resnet.ResNet | None = None) -> FCN:
    """FCN-`stride`s on ResNet-50; classifier: the ResNet whose weights it starts with, in place of fresh ones."""
    return FCN(ResNetBackbone(classifier or resnet.resnet(50, in_channels=in_channels)), stride, num_classes)


IMAGE = (3, 500, 500)
NETWORKS = {
    "fcn32s_vgg16": Network(partial(fcn_vgg16, 32), IMAGE, Published("134M", "paper, table 1"), segmentation=True),
    "fcn16s_vgg16": Network(partial(fcn_vgg16, 16), IMAGE, segmentation=True),
    "fcn8s_vgg16": Network(partial(fcn_vgg16, 8), IMAGE, segmentation=True),
    "fcn8s_resnet50": Network(partial(fcn_resnet50, 8), IMAGE, segmentation=True),
}
