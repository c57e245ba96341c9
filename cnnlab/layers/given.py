"""What a layer was given, checked: each function returns it in the form the layer uses, or raises ValueError."""

from __future__ import annotations

import operator

import numpy as np


def pair(value, name: str, least: int) -> tuple[int, int]:
    """`value`, an int or two of them, as (vertical, horizontal).  Raises ValueError if one is below `least`."""
    try:
        two = (value, value) if np.ndim(value) == 0 else tuple(value)
        h, w = (operator.index(v) for v in two)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {value!r}; it must be an int or a pair of ints.") from None
    if min(h, w) < least:
        raise ValueError(f"{name} is {value!r}; it must be at least {least}.")
    return h, w


def image(layer, x, channels: int | None = None) -> np.ndarray:
    """`x` if it is (N, C, H, W) of float64 or float32, with C = `channels` where these are given."""
    x = floats(layer, x)
    if x.ndim != 4:
        raise ValueError(f"{name(layer)} was given an input of shape {x.shape}; it takes 4 axes, (N, C, H, W).")
    if channels is not None and x.shape[1] != channels:
        raise ValueError(f"{name(layer)} was given {x.shape[1]} channels (shape {x.shape}); "
                         f"its weights are for {channels}.")
    return x


def floats(layer, x) -> np.ndarray:
    """`x` if it is an array of float64 or float32, not a single number."""
    if not isinstance(x, np.ndarray) or not x.ndim:
        what = "single number" if isinstance(x, np.ndarray | np.number | int | float) else type(x).__name__
        raise ValueError(f"{name(layer)} was given a {what}; it takes a NumPy array.")
    if x.dtype not in (np.float64, np.float32):
        raise ValueError(f"{name(layer)} was given an array of {x.dtype}; it takes float64 or float32: "
                         "x.astype(np.float64).")
    return x


def parameter(layer, value, which: str, shape: tuple) -> np.ndarray:
    """`value` as an array of floats, if it has `shape`; a None there stands for any length but 0."""
    value = np.asarray(value)
    if value.dtype not in (np.float64, np.float32):
        value = value.astype(np.float64)
    if value.ndim != len(shape) or any(n == 0 or want not in (None, n) for n, want in zip(value.shape, shape)):
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"{name(layer)} was given a {which} of shape {value.shape}; it takes ({wanted}).")
    return value


def window(layer, x, kernel, stride, padding, dilation=(1, 1)) -> tuple[int, int]:
    """Height and width of the output for images x (..., H, W), if the (dilated) kernel fits into the padded image."""
    padded = tuple(n + 2 * p for n, p in zip(x.shape[-2:], padding))
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation))
    if reach[0] > padded[0] or reach[1] > padded[1]:
        raise ValueError(f"{name(layer)}: the kernel covers {reach[0]}x{reach[1]} pixels, "
                         f"more than the padded input of {padded[0]}x{padded[1]}.")
    Ho, Wo = ((n - r) // s + 1 for n, r, s in zip(padded, reach, stride))
    return Ho, Wo


def kept(layer):
    """What `forward` of the layer kept."""
    if layer.kept is None:
        raise ValueError(f"{name(layer)}.backward was called before forward, which keeps what it needs.")
    return layer.kept


def gradient(layer, dy, shape, dtype) -> np.ndarray:
    """`dy` as an array of `dtype`, if it has `shape`: those of what `forward` returned."""
    if np.shape(dy) != shape:
        raise ValueError(f"{name(layer)}.backward was given a gradient of shape {np.shape(dy)}; "
                         f"forward returned {shape}.")
    return np.asarray(dy, dtype=dtype)


def name(layer) -> str:
    return type(layer).__name__
