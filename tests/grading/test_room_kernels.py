"""Triton kernels in a room: interpreted, watched, judged by value; a wrong address ends a call and not the room."""

import numpy as np
import pytest

from autograder.sandbox.kernel import Kernel
from autograder.sandbox.nursery import Nursery
from autograder.sandbox.room import Spec
from cnnlab.probes import Probe

SPEC = Spec()
PROBE = Probe((np.arange(5, dtype=np.float32), np.full(5, -99, np.float32), 5), {"BLOCK": 4}, device="cpu", grid=(2,),
              written=(1,))
KERNEL = """
import torch
from cnnlab.kernels import DEVICE, tl, triton

@triton.jit
def double(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, 2 * tl.load(x + i, mask=i < {end}), mask=i < n)

x, y = torch.ones(5), torch.zeros(5)
double[(2,)](x, y, 5, BLOCK=4)
print(DEVICE, y)
"""


@pytest.fixture(scope="module")
def nursery():
    warm = Nursery(())
    yield warm
    warm.close()


@pytest.fixture(params=["warm", "cold"])
def kernel(request, nursery):
    one = Kernel(SPEC, nursery if request.param == "warm" else None)
    yield one
    one.close()


def test_a_kernel_is_launched_and_what_it_wrote_comes_back(kernel):
    ran = kernel.execute(KERNEL.format(end="n"), 60)
    assert [o.text for o in ran.outputs] == ["cpu tensor([2., 2., 2., 2., 2.])\n"]
    complaint, names = kernel.look("double", "double", ("x", "y", "n", "BLOCK"), (PROBE,))
    assert not complaint and "program_id" in names
    reply = kernel.call({"name": "double"}, PROBE, 5)
    assert reply.failure is None and not reply.changed
    assert np.array_equal(reply.value, 2 * PROBE.args[0]) and reply.value.dtype == np.float32


def test_a_fault_is_told_and_the_kernel_lives_on(kernel):
    kernel.execute(KERNEL.format(end="8").split("x, y =")[0], 60)
    failure = kernel.call({"name": "double"}, PROBE, 5).failure
    assert failure.name == "OutOfBounds: reads 0 5 to 7 in (1, 0, 0)"
    assert failure.says.startswith("Program 1 reads elements 5 to 7 of `x`; `x` has 5 (0 to 4).\nThe line: tl.store(y")
    assert kernel.execute("print(1)", 5).outputs[0].text == "1\n"
