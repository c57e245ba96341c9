"""Elementwise layers: ReLU, Tanh, Dropout.  Each takes an array of any shape and returns one of the same shape."""

from __future__ import annotations

import numpy as np

from cnnlab.layers import given
from cnnlab.layers.parallel import share


class ReLU:
    """max(x, 0); the gradient at 0 is 0, as in PyTorch.  Raises ValueError for backward before forward."""

    def __init__(self):
        self.kept = None

    def forward(self, x):
        x = given.floats(self, x)
        self.kept = y = np.empty_like(x)
        share(lambda some: np.maximum(x[some], 0, out=y[some]), len(x), 10 * x.size)
        return y

    def backward(self, dy):
        y = given.kept(self)
        dy, dx = given.gradient(self, dy, y.shape, y.dtype), np.empty_like(y)
        share(lambda some: np.multiply(dy[some], y[some] > 0, out=dx[some]), len(y), 10 * y.size)
        return dx


class Tanh:
    """tanh(x).  Raises ValueError for backward before forward."""

    def __init__(self):
        self.kept = None

    def forward(self, x):
        self.kept = np.tanh(given.floats(self, x))
        return self.kept

    def backward(self, dy):
        kept = given.kept(self)
        return given.gradient(self, dy, kept.shape, kept.dtype) * (1 - kept * kept)


class Dropout:
    """In training, each value is 0 with probability p and else divided by 1 - p; after `eval()`, x as it is.

    rng: a numpy.random.Generator; None makes one of its own.  Srivastava et al., 2014, in the "inverted" form.
    Raises ValueError for a p outside [0, 1) and backward before forward.
    """

    def __init__(self, p=0.5, rng=None):
        if not 0 <= p < 1:
            raise ValueError(f"p is {p!r}; it must be at least 0 and less than 1.")
        self.p, self.training, self.kept = p, True, None
        self.rng = np.random.default_rng() if rng is None else rng

    def train(self):
        self.training = True
        return self

    def eval(self):
        self.training = False
        return self

    def forward(self, x):
        x = given.floats(self, x)
        if not self.training:
            self.kept = np.ones_like(x)
            return x
        self.kept = (self.rng.random(x.shape) >= self.p) / x.dtype.type(1 - self.p)
        return x * self.kept

    def backward(self, dy):
        kept = given.kept(self)
        return given.gradient(self, dy, kept.shape, kept.dtype) * kept
