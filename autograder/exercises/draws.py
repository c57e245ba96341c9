"""What the exercises make their inputs of: small exact numbers from a seed.  For oracles: pairs, and float64 tensors."""

from __future__ import annotations

import numpy as np


def ints(seed, *shape, most=4, dtype=float):
    """Whole numbers from -most to most: exact sums, both signs, no pattern."""
    return np.random.default_rng(seed).integers(-most, most + 1, shape).astype(dtype)


def quarters(seed, *shape, most=2, dtype=float):
    """Fractions from -most to most in steps of 1/4: exact in binary and short in JSON."""
    return (np.random.default_rng(seed).integers(-4 * most, 4 * most + 1, shape) / 4).astype(dtype)


def quarters_by_shape(seed, *shape):
    """`quarters`, and for each shape others: arrays of one seed do not begin alike."""
    return quarters([seed, *shape], *shape)


def pair(value):
    """A number twice, or the two numbers of a pair."""
    return tuple(value) if isinstance(value, tuple | list) else (value, value)


def tensor(array, grad=False):
    """A float64 tensor of its own: torch takes no view with negative strides."""
    import torch

    return torch.tensor(np.array(array, dtype=float, order="C"), requires_grad=grad)
