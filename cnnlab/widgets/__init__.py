"""Widgets: figures that answer to mouse, finger and keyboard, in JupyterLab and on the pages of the website.

Each is written once, as an ES module beside this file.  Where anywidget is installed, JupyterLab shows it with that;
the website loads the same file with `static.js`; and where no scripts run there is a still figure.  While nbgrader
grades nothing is drawn.

    widgets.convolution(image, kernel)      a kernel on an input, the indices written out
    widgets.sizes("VGG-16")                 output sizes and receptive fields of a stack
    widgets.backward((6, 6), 3, padding=1)  which outputs a pixel touches, and through which weight
    widgets.pooling(image)                  max, average or L2, and where the gradient goes
    widgets.architecture("resnet50")        the stages of a network: shapes, parameters, operations
"""

from __future__ import annotations

from operator import index

import numpy as np

from cnnlab.widgets import stills
from cnnlab.widgets.shown import Widget
from cnnlab.widgets.stages import known, stages
from cnnlab.widgets.stacks import STACKS

__all__ = ["Widget", "architecture", "backward", "convolution", "pooling", "sizes"]


def convolution(image=None, kernel=None, stride: int = 1, padding: int = 0, dilation: int = 1) -> Widget:
    """The convolution explorer: change the kernel, move the window, read the index arithmetic.

    image (H, W), at most 12×12, and kernel (kH, kW), at most 5×5; without them an edge and a kernel that finds it.
    The output is the cross-correlation, with zeros as padding.
    """
    if image is None:
        image = np.array([[0, 0, 0, 0, 1, 3, 3]] * 2 + [[0, 0, 0, 2, 3, 3, 3]] * 2 + [[0, 1, 3, 3, 3, 2, 3]] * 3)
    image = _array(image, "image", 12)
    kernel = _array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]] if kernel is None else kernel, "kernel", 5)
    setting = _setting(stride=stride, padding=padding, dilation=dilation)
    middle = [n // 2 for n in _windows(image.shape, kernel.shape, **setting)]
    state = {"image": image.tolist(), "kernel": kernel.tolist(), **setting, "at": middle}
    return Widget("convolution", state, stills.convolution,
                  f"A {_by(kernel.shape)} kernel on an input of {_by(image.shape)}: {_words(setting)}")


def sizes(layers="VGG-16", size: int | None = None) -> Widget:
    """The calculator of output sizes and receptive fields, along one axis.

    layers: the name of a stack, "LeNet-5", "AlexNet" or "VGG-16"; or a list of (kernel_size, stride, padding[,
    dilation]).  size: pixels of the image; without it that of the stack, or 224.
    """
    if isinstance(layers, str):
        if layers not in STACKS:
            raise ValueError(f"There is no stack {layers!r}; there are {', '.join(STACKS)}.")
        name, stack = layers, STACKS[layers]
    else:
        rows = [_setting(**dict(zip(("kernel", "stride", "padding", "dilation"), (*layer, *(1, 1, 0, 1)[len(layer):]))))
                for layer in layers]
        name, stack = "", {"size": 224, "layers": [{"name": f"layer {i}", **row} for i, row in enumerate(rows, 1)]}
    if size is not None:
        stack, name = {**stack, "size": _whole("size", size, 1)}, name if size == stack["size"] else ""
    state = {"presets": STACKS, "preset": name, **stack, "at": len(stack["layers"]) - 1}
    return Widget("sizes", state, stills.sizes, f"Sizes and receptive fields of {name or 'a stack'}")


def backward(size=(6, 6), kernel_size=3, stride: int = 1, padding: int = 0, dilation: int = 1) -> Widget:
    """The backward overlay: which outputs a pixel touches, and through which entry of the kernel.

    size (H, W), at most 12×12; kernel_size an int or a pair, at most 5×5.
    """
    size, kernel_size = _pair("size", size, 12), _pair("kernel_size", kernel_size, 5)
    setting = _setting(stride=stride, padding=padding, dilation=dilation)
    _windows(size, kernel_size, **setting)
    state = {"size": size, "kernel_size": kernel_size, **setting, "side": "input", "at": [n // 2 for n in size]}
    return Widget("backward", state, stills.backward,
                  f"Which outputs a pixel touches: kernel {_by(kernel_size)}, {_by(size)} pixels, {_words(setting)}")


def pooling(image=None, window: int = 2, stride: int | None = None, padding: int = 0, kind: str = "max") -> Widget:
    """The pooling explorer: where the maxima are, and where the gradient goes.

    image (H, W), at most 12×12; window an int up to 5; stride: the window unless given; kind "max", "average" or "L2".
    """
    if kind not in stills.POOLS:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(stills.POOLS)}.")
    if image is None:
        image = [[1, 4, -2, 0, 3, 1], [2, 0, 5, -1, 3, 0], [-3, 1, 6, 2, -4, 2], [0, 7, 2, -5, 1, 4],
                 [7, -1, 0, 2, 2, 0], [3, 0, 1, -2, 4, 5]]
    image = _array(image, "image", 12)
    setting = _setting(window=window, stride=window if stride is None else stride, padding=padding)
    if 2 * setting["padding"] > setting["window"]:
        raise ValueError(f"padding is {padding}; it must be at most half of the window, {window}.")
    _windows(image.shape, (setting["window"],) * 2, setting["stride"], setting["padding"], 1)
    state = {"image": image.tolist(), "kind": kind, **setting, "at": [0, 0]}
    return Widget("pooling", state, stills.pooling, f"{kind} pooling of {_by(image.shape)} pixels: {_words(setting)}")


def architecture(network) -> Widget:
    """The architecture browser: the stages of a network as blocks, with shape, parameters and operations.

    network: what `cnnlab.summary` gives for one of yours, or the name of one that comes with the course, "resnet50";
    the others can then be chosen in the widget.
    """
    if isinstance(network, str):
        networks, name = known(), network
        if name not in networks:
            raise ValueError(f"There is no network {name!r} here; there are {', '.join(networks)}.")
    else:
        name, networks = network.model, {network.model: stages(network.lecture().rows)}
    return Widget("architecture", {"networks": networks, "name": name, "at": 1}, stills.architecture,
                  f"The stages of {name}")


def _array(values, name, most):
    values = np.asarray(values)
    if values.ndim != 2 or values.dtype.kind not in "iuf" or not np.isfinite(values).all() or not values.size:
        raise ValueError(f"{name} must be an array of numbers with rows and columns; it is {values!r}.")
    if max(values.shape) > most:
        raise ValueError(f"{name} is {_by(values.shape)}; the widget has room for {most}×{most}.")
    return values


def _pair(name, value, most):
    pair = list(value) if isinstance(value, tuple | list) else [value, value]
    if len(pair) != 2:
        raise ValueError(f"{name} is {value!r}; it must be an int or a pair (rows, columns).")
    if max(pair := [_whole(name, n, 1) for n in pair]) > most:
        raise ValueError(f"{name} is {_by(pair)}; the widget has room for {most}×{most}.")
    return pair


def _setting(**numbers):
    return {name: _whole(name, value, 0 if name == "padding" else 1) for name, value in numbers.items()}


def _whole(name, value, least):
    try:
        whole = index(value)
    except TypeError:
        whole = least - 1
    if whole < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number from {least}.")
    return whole


def _windows(size, kernel_size, stride, padding, dilation):
    """The number of windows along each axis."""
    counts = []
    for pixels, taps in zip(size, kernel_size):
        starts = range(0, pixels + 2 * padding - dilation * (taps - 1), stride)
        if not starts:
            raise ValueError(f"No window fits: the kernel reaches over {dilation * (taps - 1) + 1} pixels, and the "
                             f"padded input has {pixels + 2 * padding}.")
        counts.append(len(starts))
    return counts


def _by(shape):
    return "×".join(map(str, shape))


def _words(setting):
    return ", ".join(f"{name} {value}" for name, value in setting.items())
