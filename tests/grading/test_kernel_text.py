"""A kernel is taken out of a notebook as text: what it needs comes along, and nothing else does."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell

from autograder.kernel_text import kernel_text

GOOD = """%matplotlib inline
import os; os.system("echo hello")
WIDTH = tl.constexpr(4)

@triton.jit
def helper(v):
    return v * WIDTH

@triton.jit
def other(v):
    return v

@triton.jit
def f(x):
    # a comment
    tl.store(x, helper(tl.load(x)))

f = something_else(f)
"""


def cells(*sources):
    return [new_markdown_cell("@triton.jit\ndef f(x): pass"), *map(new_code_cell, sources)]


def test_the_kernel_comes_with_what_it_uses_and_without_the_rest():
    source, problem = kernel_text(cells(GOOD), "f")
    assert not problem
    assert "# a comment" in source and "WIDTH = tl.constexpr(4)" in source and "def helper" in source
    assert "os" not in source and "other" not in source and "something_else" not in source
    assert source.startswith("from cnnlab.kernels import tl, triton\n")


def test_the_last_definition_counts_and_a_cell_that_is_no_python_is_passed_over():
    later = "%%time\n@triton.jit\ndef helper(v):\n    return v + 1\n"
    source, problem = kernel_text(cells(GOOD, "def (", later, "x = '\0'"), "f")
    assert not problem and "v + 1" in source and "v * WIDTH" not in source


@pytest.mark.parametrize("source", ["", "def f(x): pass", "@jit\ndef f(x): pass", "@triton.jit\n@cache\ndef f(x): pass",
                                    "if True:\n    @triton.jit\n    def f(x): pass", "f = triton.jit(g)",
                                    "class f:\n    pass", "@triton.jit\nasync def f(x): pass"])
def test_without_a_plain_kernel_of_that_name_it_says_what_to_write(source):
    text, problem = kernel_text(cells(source), "f")
    assert text == "" and "defines the kernel `f`: it takes `@triton.jit` alone on one line" in problem


def test_a_helper_that_is_not_tritons_language_is_named():
    text, problem = kernel_text(cells("@triton.jit\ndef g(v):\n    return open(v)\n@triton.jit\ndef f(x):\n    g(x)\n"), "f")
    assert text == "" and problem.startswith("`g` cannot be a kernel: `open` is neither a kernel")


def test_kernels_that_call_each_other_come_along_once():
    text, problem = kernel_text(cells("@triton.jit\ndef g(v):\n    return f(v)\n@triton.jit\ndef f(x):\n    g(x)\n"), "f")
    assert not problem and text.count("def g") == text.count("def f") == 1
