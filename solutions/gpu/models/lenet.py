"""LeNet-5, as it is built today and as it was in 1998.

LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition, 1998, section II.B and
figure 2, for an image of 32×32:

    layer                       output      parameters: 1998    today
    C1      5×5, 6              28×28×6                  156       156
    S2      2×2, stride 2       14×14×6                   12         0
    C3      5×5, 16             10×10×16               1,516     2,416      1998: connected by a table
    S4      2×2, stride 2       5×5×16                    32         0
    C5      5×5, 120            1×1×120               48,120    48,120      one place for each filter: fully connected
    F6      84                  84                    10,164    10,164
    output  10                  10                         0       850      1998: distances to fixed codes
                                                      60,000    61,706
"""

from __future__ import annotations

import math
import random

import torch
from torch import Tensor, nn

from solutions.gpu.models import initialise
from solutions.gpu.models.network import Network, Published

# Table I: which maps of S2 each of the maps 0 to 5, 6 to 14 and 15 of C3 reads.
THREE = [(0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)]
FOUR = [(0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
        (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)]

# Ten digits of 7×12 pixels, drawn for this course after figure 3.
DIGITS = """
  ###      ##     ###     ###      ##   #######   ####  #######   ###     ###
 #   #    ###    #   #   #   #    # #   #        #            #  #   #   #   #
#     #  # ##   #     # #     #   # #   #       #             # #     # #     #
#     #    ##         #       #  #  #   #       #            #  #     # #     #
#     #    ##         #      #   #  #   # ###   # ###       #    #   #  #     #
#     #    ##        #    ###   #   #   ##   #  ##   #     #      ###    #   ##
#     #    ##       #        #  ####### #     # #     #    #     #   #    ### #
#     #    ##      #          #     #         # #     #   #     #     #       #
#     #    ##     #           #     #         # #     #   #     #     #       #
#     #    ##    #      #     #     #   #     # #     #  #      #     #      #
 #   #     ##   #        #   #      #    #   #   #   #   #       #   #      #
  ###    ###### #######   ###       #     ###     ###    #        ###   ####
"""


def check_size(x: Tensor) -> None:
    """Raises ValueError unless x is (N, C, 32, 32)."""
    if x.ndim != 4 or x.shape[2:] != (32, 32):
        raise ValueError(f"the image has shape {tuple(x.shape)}; LeNet-5 takes (N, C, 32, 32), so pad or resize it")


class LeNet(nn.Module):
    """LeNet-5 with ReLU, max pooling, a C3 that reads all maps, and ordinary outputs.

    Takes images (N, in_channels, 32, 32); returns logits (N, num_classes).  First weights: He's.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(in_channels, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
                                      nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2))
        self.classifier = nn.Sequential(nn.Linear(16 * 5 * 5, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
                                        nn.Linear(84, num_classes))
        initialise.he(self)

    def forward(self, x: Tensor) -> Tensor:
        check_size(x)
        x = self.features(x)                                       # (N, 16, 5, 5)
        return self.classifier(x.flatten(1))                       # (N, num_classes)


class Squash(nn.Module):
    """1.7159·tanh(2x/3), which is 1 at 1 and −1 at −1.  Appendix A."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(2 / 3 * x)


class Subsample(nn.Module):
    """The sum of each 2×2 block, times one trainable coefficient a map, plus one trainable bias a map."""

    def __init__(self, channels: int):
        super().__init__()
        self.coefficient = nn.Parameter(torch.empty(channels, 1, 1))
        self.bias = nn.Parameter(torch.empty(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return 4 * nn.functional.avg_pool2d(x, 2) * self.coefficient + self.bias       # (N, C, H / 2, W / 2)


class TableConv(nn.Module):
    """C3: 16 filters of 5×5, each on the maps that table I gives it.

    Maps that read equally many are one grouped convolution, so there is no weight, and no work, without a connection.
    """

    def __init__(self):
        super().__init__()
        self.three = nn.Conv2d(18, 6, 5, groups=6)
        self.four = nn.Conv2d(36, 9, 5, groups=9)
        self.six = nn.Conv2d(6, 1, 5)

    def forward(self, x: Tensor) -> Tensor:
        three = x[:, [i for inputs in THREE for i in inputs]]      # (N, 18, H, W)
        four = x[:, [i for inputs in FOUR for i in inputs]]        # (N, 36, H, W)
        return torch.cat([self.three(three), self.four(four), self.six(x)], dim=1)     # (N, 16, H - 4, W - 4)


class Distances(nn.Module):
    """Minus the squared distances of (N, 84) values to the fixed code of each class: (N, num_classes).

    A code is a picture of 7×12 pixels, +1 where there is ink and −1 where there is none.  There are pictures of the
    ten digits; further classes get random codes, which the paper mentions too.  The paper's output is the distance,
    where the least wins; with the sign changed, the largest wins and cross-entropy applies, as in all other networks.
    """

    def __init__(self, num_classes: int):
        super().__init__()
        rng = random.Random(1998)
        codes = [digit_code(i) if i < 10 else rng.choices((-1.0, 1.0), k=84) for i in range(num_classes)]
        self.register_buffer("codes", torch.tensor(codes))         # (num_classes, 84)

    def forward(self, x: Tensor) -> Tensor:
        return -(x[:, None] - self.codes).square().sum(dim=2)


def digit_code(digit: int) -> list[float]:
    """The 84 pixels of a digit, row by row: 1 or −1."""
    rows = DIGITS.strip("\n").split("\n")
    return [1.0 if pixel == "#" else -1.0 for row in rows for pixel in row.ljust(80)[8 * digit:8 * digit + 7]]


class HistoricLeNet(nn.Module):
    """LeNet-5 of 1998: trainable subsampling, a sparse C3, a scaled tanh, and outputs that measure distances.

    Takes images (N, in_channels, 32, 32); returns minus the squared distances (N, num_classes), see `Distances`.
    First weights: uniform within ±2.4 / fan-in, biases likewise, as in appendix A.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1):
        super().__init__()
        self.c1, self.s2 = nn.Conv2d(in_channels, 6, 5), Subsample(6)
        self.c3, self.s4 = TableConv(), Subsample(16)
        self.c5, self.f6 = nn.Linear(16 * 5 * 5, 120), nn.Linear(120, 84)
        self.squash = Squash()
        self.output = Distances(num_classes)
        for module in self.modules():
            for parameter in module.parameters(recurse=False):
                fan_in = 4 if isinstance(module, Subsample) else math.prod(module.weight.shape[1:])
                nn.init.uniform_(parameter, -2.4 / fan_in, 2.4 / fan_in)

    def forward(self, x: Tensor) -> Tensor:
        check_size(x)
        x = self.squash(self.s2(self.squash(self.c1(x))))          # (N, 6, 14, 14)
        x = self.squash(self.s4(self.squash(self.c3(x))))          # (N, 16, 5, 5)
        x = self.squash(self.c5(x.flatten(1)))                     # (N, 120)
        x = self.squash(self.f6(x))                                # (N, 84)
        return self.output(x)                                      # (N, num_classes)


NETWORKS = {
    "lenet": Network(LeNet, (1, 32, 32)),
    "lenet_1998": Network(HistoricLeNet, (1, 32, 32), Published("60,000", "paper, section II.B")),
}
