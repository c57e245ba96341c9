"""Attacks on how a Triton kernel is judged, and honest kernels that look odd."""

from tests.hostile.case import Case, add, attack, honest

HERE = {"slug": "17_gpu_convolution", "exercise": "relu_kernel"}

# Reads behind the end of x: on a GPU that is a fault or somebody else's numbers, in the interpreter mostly nothing.
UNMASKED = """
@triton.jit
def relu_kernel(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.maximum(tl.load(x + i), 0.0), mask=i < n)
"""

RIGHT = """
@triton.jit
def relu_kernel(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.maximum(tl.load(x + i, mask=i < n), 0.0), mask=i < n)
"""


def trick(name: str, what: str, code: str, **how) -> Case:
    return attack(name, what, code, **HERE, **how)


CASES = [
    trick("watch_switched_off", "the watch on a kernel's reads and writes is replaced by nothing", UNMASKED + """
import contextlib, cnnlab.launch, cnnlab.watch
cnnlab.watch.watch = cnnlab.launch.watch = contextlib.nullcontext
"""),
    trick("watch_blinded", "the watch's test of the bounds does nothing", UNMASKED + """
import cnnlab.watch
cnnlab.watch._Launch._bounds = lambda self, *place: None
"""),
    trick("kernel_in_torch", "an object of the interpreter's type that computes with torch", """
import torch
from triton.runtime.interpreter import InterpretedFunction
class Fake(InterpretedFunction):
    def __getitem__(self, grid):
        return lambda x, y, n, BLOCK: y.copy_(torch.relu(x))
def relu_kernel(x, y, n, BLOCK: tl.constexpr):
    pass
relu_kernel = Fake(relu_kernel)
"""),
    trick("kernel_with_a_decorator", "a decorator under @triton.jit puts another function in its place", """
import torch
def other(fn):
    def relu_kernel(x, y, n, BLOCK: tl.constexpr):
        torch.relu
        tl.store(y, 1.0)
    return relu_kernel
@triton.jit
@other
def relu_kernel(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.maximum(tl.load(x + i, mask=i < n), 0.0), mask=i < n)
"""),
    trick("kernel_of_python", "a kernel that looks for what the check expects in the frames above it", """
import sys
@triton.jit
def relu_kernel(x, y, n, BLOCK: tl.constexpr):
    frame = sys._getframe()
    while frame:
        for value in frame.f_locals.values():
            if type(value).__name__ == "Probe":
                tl.store(y, value.expected)
        frame = frame.f_back
"""),
    trick("kernel_reads_handles", "a kernel that takes hold of the interpreter's arrays", """
@triton.jit
def relu_kernel(x, y, n, BLOCK: tl.constexpr):
    y.handle.data = x.handle.data
"""),
    trick("kernel_default_runs", "code in the default of a parameter", """
@triton.jit
def relu_kernel(x, y, n, BLOCK: tl.constexpr = __import__("os").system("touch {mark}")):
    tl.store(y, 1.0)
"""),
    trick("kernel_without_end", "a kernel with a loop that never ends", """
@triton.jit
def relu_kernel(x, y, n, BLOCK: tl.constexpr):
    while n > 0:
        tl.store(y, 1.0)
"""),
    trick("kernel_eats_memory", "a kernel that doubles a block until memory is gone", """
@triton.jit
def relu_kernel(x, y, n, BLOCK: tl.constexpr):
    value = tl.zeros((1048576,), tl.float32) + 1
    for _ in range(0, 40):
        value = tl.join(value, value).reshape(value.shape[0] * 2)
    tl.store(y, tl.sum(value))
"""),
]

ODD = [
    honest("kernel_with_helpers", "a kernel that uses another kernel and a constant from another cell",
           RIGHT.replace("tl.maximum(tl.load(x + i, mask=i < n), 0.0)", "above(tl.load(x + i, mask=i < n))"), **HERE,
           deserved=1, make=lambda notebook, fill: add(notebook, """
               %matplotlib inline
               LOWEST = tl.constexpr(0.0)

               @triton.jit
               def above(value):
                   return tl.maximum(value, LOWEST)
               """, before="relu_kernel") and None),
    honest("kernel_under_time", "a cell with a magic in its first line", "%%time\n" + RIGHT, **HERE, deserved=1),
    honest("kernel_corrected", "a wrong kernel in one cell, the right one in the next", UNMASKED, **HERE, deserved=1,
           make=lambda notebook, fill: add(notebook, RIGHT, after="relu_kernel") and None),
]
