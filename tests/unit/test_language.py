"""What is Triton's language, and what only its interpreter takes."""

import ast
import re

import numpy as np
import pytest

from cnnlab import language
from cnnlab.kernels import tl, triton

SIZE = tl.constexpr(4)
PLAIN = 4


@triton.jit
def half(v):
    return v / 2


@triton.jit
def all_of_it(x, y, n, stride, FLAG: tl.constexpr, BLOCK: tl.constexpr = 8):
    """Everything that a kernel of the course needs."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    rows, mask = (i // SIZE)[:, None], (i < n) & (i >= 0)
    total = tl.zeros((BLOCK,), tl.float32)
    for k in range(0, n, BLOCK):
        total += tl.load(x + (k + i).to(tl.int64) * stride, mask=mask & (k + i < n), other=-float("inf"))
    if FLAG:
        total = tl.where(total > 0, half(total), 0.0)
    elif n is not None:
        total = -tl.math.exp(total.to(tl.float32))
    tl.static_assert(BLOCK >= 1, "too small")
    best: tl.constexpr = min(BLOCK, 16)
    tl.store(y + i, total.to(y.dtype.element_ty) + best, mask=mask)
    tl.atomic_add(y, tl.sum(rows, axis=0), mask=True)
    return None


@triton.jit
def with_numpy(x):
    tl.store(x, np.float32(1))


@triton.jit
def with_a_global(x):
    tl.store(x, PLAIN)


@triton.jit
def with_a_helper_in_numpy(x):
    with_numpy(x)


def text(body, parameters="x, n, BLOCK: tl.constexpr"):
    (function,) = language.kernels(ast.parse(f"@triton.jit\ndef f({parameters}):\n    {body}\n")).values()
    return language.problem_of_text(function, {"half"})


def test_a_kernel_in_tritons_language_passes():
    assert language.problem(all_of_it) == ""


@pytest.mark.parametrize("kernel, says", [
    (with_numpy, "`with_numpy` cannot be a kernel: it uses `np`"),
    (with_a_global, "`with_a_global` cannot be a kernel: it uses `PLAIN`, and a kernel knows only"),
    (with_a_helper_in_numpy, "`with_numpy` cannot be a kernel: it uses `np`")])
def test_what_a_kernel_reads_from_outside_is_named(kernel, says):
    assert language.problem(kernel).startswith(says)


@pytest.mark.parametrize("body, says", [
    ("tl.store(x, 0 <= n < BLOCK)", "Write two comparisons with `&` between them, each in brackets, as in `(0 <= n) & (…)`"),
    ("for i in [1, 2]: tl.store(x, i)", "goes over a `range`"),
    ("for i in range(n):\n        break", "have no `break`. A mask says"),
    ("import os", "nothing can be imported"),
    ("with x: pass", "`with x:` is Python"),
    ("def g(): pass", "is Python"),
    ("y = [i for i in range(3)]", "is Python"),
    ("y = lambda: 1", "is Python"),
    ("y = f'{x}'", "is Python"),
    ("y = (z := 3)", "is Python"),
    ("y = x in n", "is Python"),
    ("y = __import__('os')", "it uses `__import__`|neither a kernel"),
    ("y = eval('1')", "neither a kernel nor"),
    ("y = open", "it uses `open`"),
    ("y = x.handle.data", "have no `.handle`"),
    ("y = x.__class__", "have no `.__class__`"),
    ("y = ''.format", "have no `.format`"),
    ("x.dtype = 3", "have no `.dtype`"),
    ("y = tl.core.inspect", "there is no `tl.core`"),
    ("y = tl.core", "there is no `tl.core`"),
    ("y = tl.math.core", "there is no `tl.math.core`"),
    ("y = tl.tensor(x, n)", "there is no `tl.tensor`"),
    ("y = tl.__builtins__", "there is no `tl.__builtins__`"),
    ("y = triton.runtime", "`triton.runtime` is not for use"),
    ("y = triton.jit", "`triton.jit` is not for use"),
    ("tl = x", "it uses `tl`"),
    ("y = range.__self__", "have no `.__self__`"),
    ("y = (x + n)(3)", "is Python"),
    ("y = x(3)", "neither a kernel nor"),
    ("raise ValueError()", "is Python"),
    ("try:\n        pass\n    finally:\n        pass", "is Python"),
    ("y = 1j", "is Python"),
    ("del x", "is Python"),
    ("global x", "is Python"),
    ("assert x", "is Python")])
def test_python_that_is_not_triton_is_refused_with_what_it_is(body, says):
    assert re.search("|".join(map(re.escape, says.split("|"))), text(body)), text(body)


@pytest.mark.parametrize("parameters", ["*x", "x, *, n", "x, /", "**x", "tl", "x=open", "x: print('hello')", "x=[].append"])
def test_parameters_are_plain(parameters):
    assert text("pass", parameters)


def test_a_stub_is_in_the_language_and_so_can_be_called_unfinished():
    assert text("raise NotImplementedError()") == ""


def test_kernels_and_constants_are_found_by_what_stands_above_and_in_them():
    tree = ast.parse("A = tl.constexpr(3)\nB: tl.constexpr = -1\nC = tl.constexpr(open('x'))\nD = 3\n"
                     "@triton.jit\ndef f(): pass\n@triton.jit\n@other\ndef g(): pass\ndef h(): pass\n"
                     "@triton.jit(print())\ndef i(): pass\n")
    assert set(language.kernels(tree)) == {"f"}
    assert set(language.constants(tree)) == {"A", "B"}
