"""Kernels under a watch: faults that a GPU would hide are found, right kernels pass, and a check says what is wrong."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from autograder.exercise import Exercise, Mistake, call, ship
from cnnlab import report
from cnnlab.calls import Local
from cnnlab.checks import judge
from cnnlab.kernels import tl, triton, watch
from cnnlab.probes import from_json, strided, to_json
from cnnlab.watch import ManyTruths, MissingBarrier, OutOfBounds, Race


@triton.jit
def relu(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.maximum(tl.load(x + i, mask=i < n, other=0.0), 0.0), mask=i < n)


@triton.jit
def relu_without_mask(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.maximum(tl.load(x + i), 0.0), mask=i < n)


@triton.jit
def relu_stored_everywhere(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.maximum(tl.load(x + i, mask=i < n, other=0.0), 0.0))


@triton.jit
def relu_of_half(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * (BLOCK // 2) + tl.arange(0, BLOCK)
    tl.store(y + i, tl.maximum(tl.load(x + i, mask=i < n, other=0.0), 0.0), mask=i < n)


@triton.jit
def relu_to_come(x, y, n, BLOCK: tl.constexpr):
    raise NotImplementedError()


@triton.jit
def positive(v):
    return tl.maximum(v, 0.0)


@triton.jit
def relu_by_a_helper(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, positive(tl.load(x + i, mask=i < n)), mask=i < n)


@triton.jit
def total(x, y, n, BLOCK: tl.constexpr, OTHER: tl.constexpr):
    i = tl.arange(0, BLOCK)
    if OTHER:
        v = tl.load(x + i, mask=i < n, other=0.0)
    else:
        v = tl.load(x + i, mask=i < n)
    tl.store(y, tl.sum(v))


@triton.jit
def sum_up(x, y, n, BLOCK: tl.constexpr, ATOMIC: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    part = tl.sum(tl.load(x + i, mask=i < n, other=0.0))
    if ATOMIC:
        tl.atomic_add(y, part)
    else:
        tl.store(y, tl.load(y) + part)


@triton.jit
def shift_in_place(x, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x + i, tl.load(x + i + 1, mask=i + 1 < n, other=0.0), mask=i < n)


@triton.jit
def turn_round(x, y, BLOCK: tl.constexpr, BARRIER: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i))
    if BARRIER:
        tl.debug_barrier()
    tl.store(x + i, tl.load(y + BLOCK - 1 - i))


@triton.jit
def all_in_one_place(x, y, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(y + i * 0, tl.load(x + i))


@triton.jit
def far(x, y, stride, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i * stride))


def numbers(n):
    return torch.arange(n, dtype=torch.float32) - n // 2


def test_a_watched_kernel_gives_what_it_gives_unwatched():
    x = numbers(19)
    watched, free = torch.empty(2, 19)
    relu[(3,)](x, free, 19, BLOCK=8)
    with watch(), watch():
        relu[(3,)](x, watched, 19, BLOCK=8)
    relu[(3,)](x, free, 19, BLOCK=8)  # and leaves nothing behind
    assert torch.equal(watched, free) and torch.equal(free, x.clamp(min=0))


@pytest.mark.parametrize("kernel, says", [
    (relu_without_mask, "Program 2 reads elements 19 to 23 of `x`; `x` has 19 (0 to 18)."),
    (relu_stored_everywhere, "Program 2 writes elements 19 to 23 of `y`; `y` has 19 (0 to 18).")])
def test_an_access_outside_of_its_tensor_is_an_error_wherever_the_next_tensor_lies(kernel, says):
    both = torch.zeros(64)  # the neighbour in memory would forgive
    with watch(), pytest.raises(OutOfBounds) as e:
        kernel[(3,)](both[:19], both[32:51], 19, BLOCK=8)
    assert str(e.value) == says


def test_between_the_elements_of_a_strided_view_there_is_nothing():
    view = torch.from_numpy(strided(np.ones(4, np.float32)))
    with watch():
        far[(1,)](view, torch.empty(4), 2, BLOCK=4)
        with pytest.raises(OutOfBounds, match=r"reads elements 1, 3 of `x`; `x` has 4 \(0 to 6; its strides are \(2,\)\)"):
            far[(1,)](view, torch.empty(4), 1, BLOCK=4)


@pytest.mark.parametrize("stride", [-1, 2**31 - 1, 2**40, 2**60])
def test_no_offset_is_too_wrong(stride):
    with watch(), pytest.raises(OutOfBounds):
        far[(1,)](numbers(4), torch.empty(4), stride, BLOCK=4)


def test_a_lane_that_is_masked_out_gives_no_number_unless_other_says_which():
    x, y = numbers(5) + 10, torch.zeros(1)
    with watch():
        total[(1,)](x, y, 5, BLOCK=8, OTHER=True)
        assert y.item() == x.sum().item()
        total[(1,)](x, y, 5, BLOCK=8, OTHER=False)
    assert y.isnan().all()


@triton.jit
def one_by_one(x, y, n):
    i = tl.program_id(0)
    tl.store(y + i, tl.load(x + i, i < n, other=0.0))


def test_other_is_seen_also_where_a_tile_has_one_element():
    y = numbers(4)
    with watch():
        one_by_one[(4,)](numbers(3), y, 3)
    assert y.tolist() == [*numbers(3).tolist(), 0]


@triton.jit
def square(y, M, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    inside = (i < 3)[:, None] & (i < 2)[None, :]
    tl.store(y + i[:, None] * BLOCK + i[None, :], tl.zeros((BLOCK, BLOCK), tl.float32),
             inside & (tl.program_id(0) < M))


def test_a_mask_may_have_a_condition_that_is_one_number():
    y = torch.ones(4, 4)
    with watch():
        square[(2,)](y, 1, BLOCK=4)
    assert not y[:3, :2].any() and y.sum() == 10


@triton.jit
def largest(x, y, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(y, tl.max(tl.load(x + i, mask=i < n)))


def test_a_maximum_sees_lanes_that_are_masked_out():
    y = torch.zeros(1)
    with watch():
        largest[(1,)](numbers(5), y, 5, BLOCK=8)
    assert y.item() > 1e38


def test_adding_up_in_memory_is_a_race_unless_it_is_atomic():
    x, y = numbers(19), torch.zeros(1)
    with watch():
        sum_up[(3,)](x, y, 19, BLOCK=8, ATOMIC=True)
        assert y.item() == x.sum().item()
        with pytest.raises(Race, match="Program 1 reads element 0 of `y`, which program 0 wrote"):
            sum_up[(3,)](x, y, 19, BLOCK=8, ATOMIC=False)
        sum_up[(1,)](x, y, 19, BLOCK=32, ATOMIC=False)  # one program races with nobody


def test_writing_what_another_program_reads_is_a_race():
    with watch(), pytest.raises(Race, match="Program 1 overwrites element 8 of `x`, which program 0 reads"):
        shift_in_place[(2,)](numbers(16), 16, BLOCK=8)


def test_two_lanes_that_store_different_values_in_one_place_race():
    with watch():
        all_in_one_place[(1,)](torch.ones(4), torch.zeros(4), BLOCK=4)
        with pytest.raises(Race, match="Two lanes of program 0 store different values in element 0 of `y`"):
            all_in_one_place[(1,)](numbers(4), torch.zeros(4), BLOCK=4)


def test_reading_what_another_lane_stored_needs_a_barrier():
    x = numbers(8)
    with watch():
        turn_round[(1,)](x, torch.zeros(8), BLOCK=8, BARRIER=True)
        assert torch.equal(x, numbers(8).flip(0))
        with pytest.raises(MissingBarrier, match="debug_barrier"):
            turn_round[(1,)](x, torch.zeros(8), BLOCK=8, BARRIER=False)


def exercise():
    x = numbers(19).numpy()
    probe = call(x, np.full(19, -99, np.float32), 19, BLOCK=8, grid=(3,), written=(1,), device="cpu")
    return ship(Exercise("relu", 2, lambda x, y, n, BLOCK: x.clamp(min=0), [probe], None,
                         [Mistake("no_mask", "There is no mask.", relu_without_mask),
                          Mistake("stored_everywhere", "The store has no mask.", relu_stored_everywhere)], [], [], ()),
                "relu")


def said(answer):
    verdict = judge(from_json(to_json(exercise())), Local(answer))
    return verdict, report.text(verdict)


@pytest.mark.parametrize("kernel", [relu, relu_by_a_helper])
def test_a_check_launches_a_kernel_and_compares_what_it_wrote(kernel):
    assert said(kernel)[0].score == 2


@pytest.mark.parametrize("kernel, name", [(relu_without_mask, "no_mask"), (relu_stored_everywhere, "stored_everywhere")])
def test_a_mistake_that_only_ends_in_a_fault_is_named_by_where_it_does(kernel, name):
    verdict, text = said(kernel)
    assert (verdict.mistake, verdict.score) == (name, 0)
    assert "The line: " in text and "Called: `relu[(3,)](x, y, 19, BLOCK=8)`" in text


def test_a_check_says_what_was_never_written():
    text = said(relu_of_half)[1]
    assert "In `y` afterwards: 3 of 19 values are wrong" in text
    assert "3 of these were never written" in text


def test_a_kernel_that_is_not_written_yet_is_not_called_wrong():
    verdict, text = said(relu_to_come)
    assert verdict.shown.unfinished and "not written yet" in text


def test_a_function_that_is_no_kernel_is_refused_in_a_sentence():
    assert "write `@triton.jit`" in said(lambda x, y, n, BLOCK: None)[1]


def test_a_kernel_with_other_parameters_is_refused_in_a_sentence():
    assert "It is called as `relu[grid](x, y, n, BLOCK=8)`, but your function is `relu(x, y, BLOCK:" in said(turn_like)[1]


@triton.jit
def turn_like(x, y, BLOCK: tl.constexpr):
    tl.store(y, tl.load(x))


COMPILED = """
import torch
torch.cuda.is_available = lambda: True
import os, os.path
there = os.path.exists
os.path.exists = lambda path: path == "/dev/nvidiactl" or there(path)
import runpy
from triton.runtime.jit import JITFunction
tests = runpy.run_path({file!r})
from cnnlab import kernels
assert kernels.DEVICE == "cuda" and type(tests["relu"]) is JITFunction
assert tests["said"](tests["relu_by_a_helper"])[0].score == 2
assert tests["said"](tests["relu_without_mask"])[0].mistake == "no_mask"
assert tests["said"](tests["relu_to_come"])[0].shown.unfinished
assert tests["judged"]().item() == 10
assert type(kernels.tl.sum) is JITFunction
"""


def judged():
    from cnnlab.launch import as_function

    return as_function(total, (1,), (1,))(torch.ones(10), torch.zeros(1), 10, BLOCK=16, OTHER=True)


def test_with_a_gpu_a_check_interprets_the_kernel_that_was_compiled_for_it():
    ended = subprocess.run([sys.executable, "-W", "error", "-c", COMPILED.format(file=__file__)], text=True,
                           stderr=subprocess.PIPE, env={k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"})
    assert ended.returncode == 0, ended.stderr


@triton.jit
def column_sums(x, y, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i[:, None] * BLOCK + i[None, :]).sum(axis=0))


LATE = """
import triton.language
import importlib.util, torch
spec = importlib.util.spec_from_file_location("late", {file!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
y = torch.zeros(4)
module.column_sums[(1,)](torch.ones(4, 4), y, BLOCK=4)
assert y.tolist() == [4, 4, 4, 4]
"""


def test_a_tensors_methods_are_interpreted_also_if_triton_was_imported_before():
    ended = subprocess.run([sys.executable, "-c", LATE.format(file=__file__)], text=True, stderr=subprocess.PIPE,
                           env={k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"})
    assert ended.returncode == 0, ended.stderr


WITHOUT = """
import sys
sys.modules["triton"] = None
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "triton" else find(name, *rest)
from cnnlab.kernels import obstacle, tl, triton
@triton.jit
def kernel(x, BLOCK: tl.constexpr):
    tl.store(x, 1)
assert triton.cdiv(19, 8) == 3 and triton.next_power_of_2(19) == 32
try:
    kernel[(1,)](None, BLOCK=8)
except ImportError as e:
    assert str(e) == obstacle() and "Linux" in str(e)
    assert e._render_traceback_() == [obstacle()]
else:
    raise AssertionError
"""


def test_without_triton_kernels_can_be_defined_and_a_launch_says_what_is_missing():
    ended = subprocess.run([sys.executable, "-W", "error", "-c", WITHOUT], text=True, stderr=subprocess.PIPE)
    assert ended.returncode == 0, ended.stderr


def test_checks_of_other_exercises_do_not_import_triton():
    code = "import sys, cnnlab; from cnnlab.checks import check; assert 'triton' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@triton.jit
def relu_by_max(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, max(tl.load(x + i, mask=i < n), 0.0), mask=i < n)


@triton.jit
def relu_with_and(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    keep = i >= 0 and i < n
    tl.store(y + i, tl.maximum(tl.load(x + i, mask=keep), 0.0), mask=keep)


@triton.jit
def relu_by_if(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + i, mask=i < n)
    if value < 0:
        value = value * 0
    tl.store(y + i, value, mask=i < n)


@triton.jit
def relu_number_by_number(x, y, n, BLOCK: tl.constexpr):
    first = tl.program_id(0) * BLOCK
    for i in range(first, min(first + BLOCK, n)):
        value = tl.load(x + i)
        if value < 0 and i >= 0:
            value = 0.0
        tl.store(y + i, value)


@pytest.mark.parametrize("kernel", [relu_by_max, relu_with_and, relu_by_if])
def test_the_truth_of_a_block_is_a_fault(kernel):
    x, y = torch.randn(5), torch.full((5,), -99.0)
    with watch(), pytest.raises(ManyTruths, match=r"take single values, and this is a block of shape \(4,\)"):
        kernel[(2,)](x, y, 5, BLOCK=4)


def test_single_values_have_a_truth():
    x, y = torch.randn(5), torch.full((5,), -99.0)
    with watch():
        relu_number_by_number[(2,)](x, y, 5, BLOCK=4)
    assert torch.equal(y, torch.relu(x))
