"""Triton in the course: its names, on a GPU or in its interpreter on the CPU, and what a check does with a kernel.

    from cnnlab.kernels import DEVICE, tl, triton

Where there is no GPU, kernels run in Triton's interpreter: slowly, one program after the other, with the same results.
Where Triton cannot be installed (macOS, Windows) they can be defined, and say at the launch what is missing.
"""

from __future__ import annotations

import os
from types import SimpleNamespace

from cnnlab.launch import Unlaunched, obstacle
from cnnlab.watch import watch

__all__ = ["DEVICE", "obstacle", "tl", "triton", "watch"]


def _device() -> str:
    """Where kernels run.  torch is asked only where there may be a GPU, since its import takes seconds."""
    if not any(map(os.path.exists, ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))):
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def interpret_library() -> list[tuple[object, str, object]]:
    """Make Triton's own functions (tl.sum, tl.cdiv …) ones of the interpreter; returns what stood where, to undo it.

    They are made when Triton is imported, and by then it may not be known that kernels will be interpreted.
    """
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    there = [(place, name, value) for place in (tl, tl.standard, tl.math, tl.core, tl.tensor)
             for name, value in vars(place).items() if isinstance(value, JITFunction)]
    made = {id(value): InterpretedFunction(value.fn) for _, _, value in there}
    for place, name, value in there:
        setattr(place, name, _method(made[id(value)]) if place is tl.tensor else made[id(value)])
    return there


def _method(function):
    """As a function of Python, which a tensor's method must be: x.sum(axis=0)."""
    return lambda *args, **kwargs: function(*args, **kwargs)


DEVICE = _device()
try:
    if DEVICE == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined
    import triton
    import triton.language as tl

    if DEVICE == "cpu":
        interpret_library()
except ModuleNotFoundError:
    triton = SimpleNamespace(jit=Unlaunched, cdiv=lambda a, b: -(-a // b),
                             next_power_of_2=lambda n: 1 << max(n - 1, 0).bit_length())
    tl = SimpleNamespace(constexpr=lambda value: value)
