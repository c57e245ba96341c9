"""What training needs beside layers: the loss, layers one after another, and the step."""

from __future__ import annotations

import numpy as np

from cnnlab.layers import given


class CrossEntropyLoss:
    """The mean over the batch of -log softmax(logits)[label].

    forward: logits (N, classes), labels (N,) of whole numbers below `classes` -> a float.
    backward: dlogits (N, classes).  The largest logit is subtracted first, so that large ones do not overflow.
    Raises ValueError for shapes or labels that do not fit and backward before forward.
    """

    def __init__(self):
        self.kept = None

    def forward(self, logits, labels) -> float:
        logits, labels = given.floats(self, logits), np.asarray(labels)
        if logits.ndim != 2 or not len(logits) or labels.shape != logits.shape[:1]:
            raise ValueError(f"CrossEntropyLoss was given logits of shape {logits.shape} and labels of shape "
                             f"{labels.shape}; it takes (N, classes) and (N,).")
        N, classes = logits.shape
        if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
            raise ValueError(f"CrossEntropyLoss was given labels of {labels.dtype} from {labels.min()} to "
                             f"{labels.max()}; they must be whole numbers from 0 to {classes - 1}.")
        below = logits - logits.max(1, keepdims=True)
        log_p = below - np.log(np.exp(below).sum(1, keepdims=True))
        self.kept = log_p, labels
        return float(-log_p[np.arange(N), labels].mean())

    def backward(self):
        log_p, labels = given.kept(self)
        dlogits = np.exp(log_p)
        dlogits[np.arange(len(labels)), labels] -= 1
        return dlogits / len(labels)


class Sequential:
    """Layers one after another.  layers: a list of anything with forward(x) and backward(dy)."""

    def __init__(self, layers):
        self.layers = list(layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dy):
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy

    def train(self):
        return self._set_training(True)

    def eval(self):
        return self._set_training(False)

    def _set_training(self, training):
        for layer in self.layers:
            if isinstance(layer, Sequential):
                layer._set_training(training)
            elif hasattr(layer, "training"):
                layer.training = training
        return self


class SGD:
    """Stochastic gradient descent as torch.optim.SGD does it: g += weight_decay p;  v = momentum v + g;  p -= lr v.

    layers: a list of layers; those with a weight are trained.  Parameters are replaced, so the arrays that the layers
    were made with stay as they are.  Raises ValueError if a layer has a weight but no gradient yet.
    """

    def __init__(self, layers, lr, momentum=0.0, weight_decay=0.0):
        self.layers = list(_flat(layers))
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.velocity = {}

    def step(self):
        for number, layer in enumerate(self.layers):
            for which in ("weight", "bias"):
                p = getattr(layer, which, None)
                if p is None:
                    continue
                g = getattr(layer, f"grad_{which}", None)
                if g is None:
                    raise ValueError(f"SGD.step: layer {number}, {given.name(layer)}, has no grad_{which} yet; "
                                     "call backward first.")
                g = g + self.weight_decay * p
                if self.momentum:
                    g = self.velocity[number, which] = self.momentum * self.velocity.get((number, which), 0) + g
                setattr(layer, which, (p - self.lr * g).astype(p.dtype, copy=False))


def _flat(layers):
    for layer in layers:
        yield from _flat(layer.layers) if isinstance(layer, Sequential) else [layer]
