"""Stacks of layers that the calculator offers: those of the papers, convolutions and pooling alike."""

from __future__ import annotations


def _layers(*rows):
    """Layers from (name, kernel, stride, padding)."""
    return [{"name": name, "kernel": kernel, "stride": stride, "padding": padding, "dilation": 1}
            for name, kernel, stride, padding in rows]


def _vgg(*blocks):
    for block, count in enumerate(blocks, 1):
        yield from ((f"conv {block}-{i}", 3, 1, 1) for i in range(1, count + 1))
        yield f"pool {block}", 2, 2, 0


STACKS = {
    "LeNet-5": {"size": 32, "layers": _layers(
        ("C1", 5, 1, 0), ("S2", 2, 2, 0), ("C3", 5, 1, 0), ("S4", 2, 2, 0), ("C5", 5, 1, 0))},
    "AlexNet": {"size": 227, "layers": _layers(
        ("conv 1", 11, 4, 0), ("pool 1", 3, 2, 0), ("conv 2", 5, 1, 2), ("pool 2", 3, 2, 0), ("conv 3", 3, 1, 1),
        ("conv 4", 3, 1, 1), ("conv 5", 3, 1, 1), ("pool 5", 3, 2, 0))},
    "VGG-16": {"size": 224, "layers": _layers(*_vgg(2, 2, 3, 3, 3))},
}
