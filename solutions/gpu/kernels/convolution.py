"""The convolution and its gradients that layers call: the fast kernels where they apply, the plain ones elsewhere.

Both stay reachable: `solutions.gpu.kernels.conv2d` is always plain, and `solutions.gpu.kernels.fast.conv2d` is fast or
raises Unsuitable.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from solutions.gpu.kernels import conv2d as plain
from solutions.gpu.kernels.fast import conv2d as fast


def _either(quick: Callable, sure: Callable) -> Callable:
    @functools.wraps(sure)
    def call(*args, **settings):
        try:
            return quick(*args, **settings)
        except fast.Unsuitable:
            return sure(*args, **settings)

    return call


conv2d = _either(fast.conv2d, plain.conv2d)
conv2d_grad_input = _either(fast.conv2d_grad_input, plain.conv2d_grad_input)
conv2d_grad_weight = _either(fast.conv2d_grad_weight, plain.conv2d_grad_weight)
