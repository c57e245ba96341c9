"""A network of the zoo, what has been published about it, and how both are counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

UNITS = {"K": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True)
class Published:
    """A number as its source prints it, such as "11,689,512", "0.27M" or "3.8G", and the source in a word or two.

    but: why our count does not round to the printed digits, where it does not.
    """

    text: str
    source: str
    but: str = ""

    @property
    def exact(self) -> bool:
        """Whether all digits are printed."""
        return self.text[-1] not in UNITS

    @property
    def value(self) -> Fraction:
        """The number."""
        unit = 1 if self.exact else UNITS[self.text[-1]]
        return Fraction(self.text.rstrip("KMG").replace(",", "")) * unit

    @property
    def step(self) -> Fraction:
        """What one more in the last printed digit is worth."""
        decimals = len(self.text.rstrip("KMG").partition(".")[2])
        return Fraction(1 if self.exact else UNITS[self.text[-1]], 10**decimals)

    def agrees(self, count: int) -> bool:
        """Whether `count`, rounded to the printed digits, is this number."""
        return abs(count - self.value) <= (0 if self.exact else self.step / 2)


@dataclass(frozen=True)
class Network:
    """A network of the zoo: how to create it, its usual input (C, H, W), and what others have counted.

    create: takes num_classes and in_channels, and what the architecture's file says.
    torchvision: the name of the same network in torchvision, where it has it.
    segmentation: whether it returns logits for every pixel (N, num_classes, H, W), not for the image (N, num_classes).
    """

    create: Callable[..., nn.Module]
    input: tuple[int, int, int]
    parameters: Published | None = None
    multiply_adds: Published | None = None
    torchvision: str | None = None
    segmentation: bool = False


def count_parameters(model: nn.Module) -> int:
    """The number of trainable parameters: weights, biases, and the scale and shift of batch norm."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def count_multiply_adds(model: nn.Module, input_size: tuple[int, int, int]) -> int:
    """The multiply-adds of `model`, in evaluation mode, for one image of input_size (C, H, W).

    One multiplication and the addition behind it count as one.  Convolutions and matrix products are counted; biases,
    normalisation, activation functions and pooling are not.  Nothing
    is computed where the model is on the meta device.
    """
    image = torch.empty(1, *input_size, device=next(model.parameters()).device)
    was_training = model.training
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(image)
    model.train(was_training)
    return counter.get_total_flops() // 2
