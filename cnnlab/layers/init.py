"""Random weights to start from, with PyTorch's conventions.

shape: (out, in, ...), so that fan_in = in · kH · kW and fan_out = out · kH · kW.  rng: a numpy.random.Generator.
Each returns float64 of that shape and raises ValueError for a shape with fewer than two axes.
"""

from __future__ import annotations

import math

import numpy as np


def kaiming_normal(shape, rng, gain=math.sqrt(2)) -> np.ndarray:
    """Normal with standard deviation gain / √fan_in (He et al., 2015; √2 suits ReLU)."""
    fan_in, _ = _fans(shape)
    return rng.normal(0, gain / math.sqrt(fan_in), shape)


def kaiming_uniform(shape, rng, gain=math.sqrt(2)) -> np.ndarray:
    """Uniform in ±gain √(3 / fan_in).  With gain = √(1/3) it is what nn.Conv2d and nn.Linear start from."""
    fan_in, _ = _fans(shape)
    bound = gain * math.sqrt(3 / fan_in)
    return rng.uniform(-bound, bound, shape)


def xavier_uniform(shape, rng, gain=1.0) -> np.ndarray:
    """Uniform in ±gain √(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010; 5/3 suits tanh)."""
    bound = gain * math.sqrt(6 / sum(_fans(shape)))
    return rng.uniform(-bound, bound, shape)


def _fans(shape) -> tuple[int, int]:
    if len(shape) < 2:
        raise ValueError(f"The shape is {tuple(shape)}; a weight has at least 2 axes, (out, in, ...).")
    out, into, *kernel = shape
    return into * math.prod(kernel), out * math.prod(kernel)
