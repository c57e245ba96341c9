"""What a check does with a kernel in Triton: launch it in the interpreter, under a watch.

Nothing here imports Triton before there is a kernel: most notebooks do without.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from types import FunctionType

from cnnlab.watch import watch

MISSING = ("Triton is not installed here, and without it no kernel runs. It exists for Linux (on Windows: in WSL2): "
           "{python} -m pip install triton==3.7.1")


def obstacle() -> str:
    """Why no kernel can be launched here, in a sentence with what to do; "" if one can."""
    return "" if importlib.util.find_spec("triton") else MISSING.format(python=sys.executable)


class Missing(ImportError):
    """A kernel was launched where there is no Triton."""

    def _render_traceback_(self):  # IPython shows this in the place of a traceback
        return [str(self)]


class Unlaunched:
    """What `@triton.jit` makes of a function where there is no Triton."""

    def __init__(self, fn: Callable):
        self.fn = fn

    def __getitem__(self, grid):
        return self

    def __call__(self, *args, **kwargs):
        raise Missing(obstacle())


def is_kernel(function) -> bool:
    """Is this what `@triton.jit` makes?"""
    kinds = (Unlaunched,)
    if "triton" in sys.modules:
        from triton.runtime.interpreter import InterpretedFunction
        from triton.runtime.jit import JITFunction

        kinds += (InterpretedFunction, JITFunction)
    return issubclass(type(function), kinds)  # and not isinstance, which an object of the student's may answer itself


def as_function(kernel, grid: tuple[int, ...], written: tuple[int, ...]) -> Callable:
    """The kernel as a function that launches it on `grid` in the interpreter, under a watch (`cnnlab.watch`).

    written: positions of the arguments that it writes; the function returns them, or the one.
    The function raises Missing without Triton, what the kernel raises, and the faults of `cnnlab.watch`.
    """
    def launched(*args, **constants):
        if problem := obstacle():
            raise Missing(problem)
        with watch():
            interpreted(kernel)[grid](*args, **constants)
        results = tuple(args[i] for i in written)
        return results if len(results) > 1 else results[0]

    return launched


def interpreted(kernel):
    """The kernel for the interpreter, also if it was compiled for a GPU; so are the kernels that it calls."""
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    if not isinstance(kernel, JITFunction):
        return kernel
    fn = kernel.fn
    copy = FunctionType(fn.__code__, dict(fn.__globals__), fn.__name__, fn.__defaults__, fn.__closure__)
    copy.__annotations__, copy.__wrapped__ = fn.__annotations__, fn
    for name in fn.__code__.co_names:
        if isinstance(value := fn.__globals__.get(name), JITFunction):
            copy.__globals__[name] = interpreted(value)
    return InterpretedFunction(copy)
