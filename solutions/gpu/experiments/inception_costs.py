"""What the 1x1 bottlenecks save in each of GoogLeNet's nine modules: parameters, multiply-adds and time.

Szegedy et al., Going deeper with convolutions, 2015: figure 2 (the naive module and the one with bottlenecks), table 1.
"""

from functools import partial

import torch
from torch import nn

from cnnlab.timing import median_seconds
from solutions.gpu.models.googlenet import INCEPTIONS, Inception, conv
from solutions.gpu.models.network import count_multiply_adds, count_parameters

WHAT = ("Each inception module with bottlenecks, naive, and naive with naive ones before it; "
        "time is that of the forward pass over that of the module with bottlenecks")

FIRST = 192  # channels that reach 3a
SIZES = {"3": 28, "4": 14, "5": 7}  # height and width of the maps


class Naive(nn.Module):
    """Figure 2(a): the same filters on all channels; pooling hands all of them on, so the output is ever wider."""

    def __init__(self, in_channels: int, widths: tuple[int, int, int, int, int, int]):
        super().__init__()
        one, _, three, _, five, _ = widths
        self.convs = nn.ModuleList([conv(in_channels, one, 1, batch_norm=False),
                                    conv(in_channels, three, 3, batch_norm=False),
                                    conv(in_channels, five, 5, batch_norm=False)])
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)

    def forward(self, x):
        return torch.cat([*(c(x) for c in self.convs), self.pool(x)], 1)  # (N, one + three + five + C_in, H, W)


def run(quick: bool) -> list[dict]:
    return measure(INCEPTIONS, partial(forward_seconds, budget=0.2 if quick else 1.0))


def measure(modules, seconds) -> list[dict]:
    """Three rows a module: with bottlenecks, naive on the same input, and naive where all those before it are too.

    modules: the widths of each, as in table 1.
    seconds(create, size): how long create() takes for an image of that size (C_in, H, W).
    """
    rows, channels, grown = [], FIRST, FIRST
    for name, widths in modules.items():
        one, _, three, _, five, pool = widths
        kinds = {"bottlenecks": (Inception, channels), "naive": (Naive, channels), "all naive": (Naive, grown)}
        times = {}
        for kind, (module, in_channels) in kinds.items():
            size = in_channels, SIZES[name[0]], SIZES[name[0]]
            with torch.device("meta"):  # counting needs no weights
                counted = module(in_channels, widths)
            times[kind] = seconds(partial(module, in_channels, widths), size)
            rows.append({"module": name, "kind": kind, "in_channels": in_channels,
                         "out_channels": one + three + five + (pool if kind == "bottlenecks" else in_channels),
                         "parameters": count_parameters(counted), "multiply_adds": count_multiply_adds(counted, size),
                         "time": round(times[kind] / times["bottlenecks"], 2)})
        channels, grown = one + three + five + pool, one + three + five + grown
    return rows


def forward_seconds(create, size, budget: float) -> float:
    """The median seconds of a forward pass on one core."""
    with torch.inference_mode():
        return median_seconds(create(), torch.randn(1, *size), budget=budget)
