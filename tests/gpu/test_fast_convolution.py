"""The fast convolution kernels give what PyTorch gives in float64, for all tiles, and do no product that is zero."""

import itertools
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from triton.runtime import interpreter

from solutions.gpu.kernels import batch_norm as bn
from solutions.gpu.kernels import conv2d as plain
from solutions.gpu.kernels import convolution
from solutions.gpu.kernels.fast import blocks, launch, tiles
from solutions.gpu.kernels.fast import conv2d as fast
from solutions.gpu.kernels.fast.tiles import Part, Tile
from tests.gpu.memory import DEVICE, TOLERANCE, draw, float32_as, near, poisoned

MODULES = plain, fast, launch, blocks
dtypes, seeds, small = st.sampled_from(list(TOLERANCE)), st.integers(0, 2**20), st.integers(1, 3)
few = settings(max_examples=8, deadline=None, derandomize=True)
sizes = st.tuples(st.integers(3, 7), st.integers(3, 7))
windows = st.fixed_dictionaries({"stride": st.tuples(small, small), "dilation": st.tuples(st.integers(1, 2), small),
                                 "padding": st.tuples(st.integers(0, 2), st.integers(0, 3))})


@pytest.fixture(autouse=True, scope="module")
def small_batches_in_tf32():
    """Kernels also take few images, and float32: products in tf32 on a GPU, in full in the interpreter."""
    tolerance = {torch.float32: 2e-3} if DEVICE == "cuda" else {}
    with float32_as("tf32"), patch.object(launch, "BATCH", 1), patch.dict(TOLERANCE, tolerance):
        yield


def images(seed, N, C, H, W, dtype, gaps=False):
    """Random channels-last images; with gaps: every other row, column and image of a larger tensor of NaN."""
    x = draw(seed, N, C, H, W, dtype=dtype, layout="last")
    if not gaps:
        return x
    larger = torch.full((2 * N, 2 * H + 1, 2 * W + 1, C + 16), float("nan"), dtype=dtype, device=DEVICE)
    return larger[1::2, 1::2, 1::2, 8 : 8 + C].permute(0, 3, 1, 2).copy_(x)


def fits(size, kernel_size, stride, padding, dilation):
    return all(n + 2 * p >= d * (k - 1) + 1
               for n, k, p, d in zip(size, kernel_size, padding, dilation, strict=True))


def tiled(tile=None, part=None):
    """In the block the kernels use this tile, or this one of dw."""
    patches = {"candidates": lambda *args, **kwargs: [tile]} if tile else {}
    return patch.multiple(tiles, **patches | ({"parts": lambda *args: [part]} if part else {}))


@few
@given(N=small, C=st.sampled_from([8, 16, 40]), K=st.sampled_from([1, 7, 19]), size=sizes,
       kernel_size=st.tuples(small, small), window=windows, bias=st.booleans(), affine=st.booleans(),
       residual=st.booleans(), relu=st.booleans(), dtype=dtypes, gaps=st.booleans(), persistent=st.booleans(),
       seed=seeds)
def test_forward(N, C, K, size, kernel_size, window, bias, affine, residual, relu, dtype, gaps, persistent, seed):
    assume(fits(size, kernel_size, **window))
    x, weight = images(seed, N, C, *size, dtype, gaps), draw(seed + 1, K, C, *kernel_size, dtype=dtype)
    b = draw(seed + 2, K, dtype=dtype) if bias else None
    expected = F.conv2d(x.double(), weight.double(), None if b is None else b.double(), **window)
    other = images(seed + 3, *expected.shape, dtype, gaps) if residual else None
    scale, shift = draw(seed + 4, K), draw(seed + 5, K)
    if affine:
        expected = expected * scale.double()[:, None, None] + shift.double()[:, None, None]
    expected = expected + other.double() if residual else expected
    with poisoned(*MODULES), tiled(tiles.INTERPRETED._replace(persistent=persistent)):
        y = fast.conv2d(x, weight, b, **window, affine=(scale, shift) if affine else None, residual=other, relu=relu)
    near(y, expected.relu() if relu else expected)


@few
@given(N=small, C=st.sampled_from([8, 24]), K=st.sampled_from([8, 40]), size=sizes,
       kernel_size=st.tuples(small, small), window=windows, dtype=dtypes, gaps=st.booleans(), seed=seeds)
def test_gradients(N, C, K, size, kernel_size, window, dtype, gaps, seed):
    assume(fits(size, kernel_size, **window))
    x64 = draw(seed, N, C, *size, dtype=dtype).double().requires_grad_()
    weight = draw(seed + 1, K, C, *kernel_size, dtype=dtype)
    w64 = weight.double().requires_grad_()
    y = F.conv2d(x64, w64, **window)
    dy = images(seed + 2, *y.shape, dtype, gaps)
    y.backward(dy.double())
    with poisoned(*MODULES):
        near(fast.conv2d_grad_input(dy, weight, size, **window), x64.grad, "to the input")
        if gaps:  # within an image there may be none for this kernel
            dy = images(seed + 2, 2 * N, *y.shape[1:], dtype)[::2].copy_(dy)
        x = images(seed, 2 * N, C, *size, dtype)[1::2].copy_(x64.detach())
        near(fast.conv2d_grad_weight(dy, x, kernel_size, **window), w64.grad, "to the weights")


@few
@given(N=st.integers(1, 2), C=st.integers(1, 4), size=sizes, kernel_size=st.tuples(st.integers(2, 5), small),
       stride=st.tuples(small, small), padding=st.tuples(st.integers(0, 2), small), relu=st.booleans(), dtype=dtypes,
       layout=st.sampled_from(["first", "last", "view"]), folded=st.booleans(), seed=seeds)
def test_first_layers(N, C, size, kernel_size, stride, padding, relu, dtype, layout, folded, seed):
    assume(fits(size, kernel_size, stride, padding, (1, 1)))
    x = draw(seed, N, C, *size, dtype=dtype, layout=layout)
    weight, bias = draw(seed + 1, 8, C, *kernel_size, dtype=dtype, layout=layout), draw(seed + 2, 8, dtype=dtype)
    x64, w64 = x.double().requires_grad_(), weight.double().requires_grad_()
    y = F.conv2d(x64, w64, bias.double(), stride, padding)
    dy = images(seed + 3, *y.shape, dtype)
    y.backward(dy.double())
    with poisoned(*MODULES), patch.object(launch, "folds", launch.folds if folded else lambda *args: False):
        near(fast.conv2d(x, weight, bias, stride, padding, relu=relu), y.relu() if relu else y, "forward")
        near(fast.conv2d_grad_input(dy, weight, size, stride, padding), x64.grad, "to the input")
        near(fast.conv2d_grad_weight(dy, x, kernel_size, stride, padding), w64.grad, "to the weights")


@pytest.mark.parametrize("conv2d", [plain.conv2d, fast.conv2d], ids=["plain", "fast"])
def test_every_combination_of_what_comes_behind(conv2d):
    x, weight, dtype = images(0, 2, 8, 3, 5, torch.float16), draw(1, 5, 8, 3, 2, dtype=torch.float16), torch.float16
    statistics = draw(2, 5), draw(3, 5).abs() + 0.1, draw(4, 5), draw(5, 5)
    for bias, norm, residual, relu in itertools.product([False, True], repeat=4):
        b, other = draw(6, 5, dtype=dtype) if bias else None, draw(7, 2, 5, 3, 6, dtype=dtype) if residual else None
        expected = F.conv2d(x.double(), weight.double(), b.double() if bias else None, padding=1)
        if norm:
            expected = F.batch_norm(expected, *(s.double() for s in statistics))
        expected = expected + other.double() if residual else expected
        affine = bn.affine(*statistics) if norm else None
        near(conv2d(x, weight, b, padding=1, affine=affine, residual=other, relu=relu),
             expected.relu() if relu else expected, (bias, norm, residual, relu))


@pytest.mark.parametrize("tile", [Tile(16, 64, 16, 4, 3), Tile(64, 64, 32, 4, 2), Tile(128, 16, 16, 4, 2, True),
                                  Tile(32, 128, 64, 8, 3, True)], ids=str)
def test_every_shape_of_tile(tile):
    x, weight = images(0, 5, 40, 4, 6, torch.float16), draw(1, 72, 40, 3, 3, dtype=torch.float16)
    y = F.conv2d(x.double(), weight.double(), stride=2, padding=1)
    dy = images(2, *y.shape, torch.float16)
    with poisoned(*MODULES), tiled(tile):
        near(fast.conv2d(x, weight, stride=2, padding=1), y)
        near(fast.conv2d_grad_input(dy, weight, (4, 6), stride=2, padding=1), torch.nn.grad.conv2d_input(
            x.shape, weight.double(), dy.double(), stride=2, padding=1))


@pytest.mark.parametrize("part", [Part(64, 16, 16, 4, 3, 1), Part(16, 128, 16, 4, 3, 2), Part(16, 32, 32, 4, 3, 5)],
                         ids=str)
def test_every_shape_of_a_part_of_dw(part):
    x, dy = images(0, 17, 24, 4, 3, torch.float16), images(1, 17, 40, 2, 2, torch.float16)
    with poisoned(*MODULES), tiled(part=part):
        near(fast.conv2d_grad_weight(dy, x, (3, 2), 2, 1), torch.nn.grad.conv2d_weight(
            x.double(), (40, 24, 3, 2), dy.double(), 2, 1))


@pytest.mark.parametrize(("stride", "padding", "dilation", "dtype"), [
    (1, 1, 1, torch.float16), ((1, 2), (0, 2), (1, 2), torch.bfloat16), ((2, 1), 3, 2, torch.float32)], ids=str)
def test_three_positions_of_a_row_at_once(stride, padding, dilation, dtype):
    x64, w64 = draw(0, 5, 24, 4, 5, dtype=dtype).double(), draw(1, 40, 24, 2, 3).double().requires_grad_()
    y = F.conv2d(x64, w64, None, stride, padding, dilation)
    dy = images(2, *y.shape, dtype)
    y.backward(dy.double())
    with poisoned(*MODULES), tiled(part=Part(64, 16, 16, 4, 3, 2, True)):
        x = x64.to(dtype).to(memory_format=torch.channels_last)
        near(fast.conv2d_grad_weight(dy, x, (2, 3), stride, padding, dilation), w64.grad)


@pytest.mark.skipif(DEVICE == "cuda", reason="products are counted in the interpreter")
@pytest.mark.parametrize(("stride", "forward", "to_input", "to_weights"), [
    # 16 images by one pixel a tile.  3×3 over 3×3, padding 1: 7 of 9 positions in each direction are in the image.
    (1, 7**2, 7**2, 7**2),
    # 2×2 outputs read 2 + 2 positions in each direction, whoever gathers them.
    (2, 4**2, 4**2, 4**2)])
def test_no_product_is_with_padding_or_between_windows(stride, forward, to_input, to_weights):
    x, weight = images(0, 16, 8, 3, 3, torch.float32), draw(1, 8, 8, 3, 3)
    y = F.conv2d(x.double(), weight.double(), stride=stride, padding=1)
    dy, dot, counts = y.float().to(memory_format=torch.channels_last), interpreter.InterpreterBuilder.create_dot, []
    calls = [lambda: fast.conv2d(x, weight, None, stride, 1),
             lambda: fast.conv2d_grad_input(dy, weight, (3, 3), stride, 1),
             lambda: fast.conv2d_grad_weight(dy, x, (3, 3), stride, 1)]
    with tiled(Tile(16, 16, 16, 4, 1), Part(16, 16, 16, 4, 1, 1)):
        for call in calls:
            with patch.object(interpreter.InterpreterBuilder, "create_dot", autospec=True, side_effect=dot) as counted:
                call()
            counts.append(counted.call_count)
    assert counts == [forward, to_input, to_weights]


@pytest.mark.parametrize(("side", "line"), [(1, (5, 1, 1, 1, 3, 5)), (2, (5, 1, 1, 1, 3, 5)), (4, (7, 2, 3, 2, 5, 13)),
                                              (2, (5, 2, 0, 1, 3, 11)), (2, (6, 1, 0, 1, 1, 5))])
def test_the_products_of_a_cover_are_counted_right(side, line):
    count, stride, pad, dilation, R, size = line
    done = 0
    for p in range(0, count, side):
        rows = range(p, min(p + side, count))
        for r in range(R):
            reads = [o * stride - pad + r * dilation for o in rows]
            done += not (max(reads) < 0 or min(reads) >= size)
    assert tiles.products(side, *line) == done


def test_a_patch_is_chosen_that_wastes_nothing():
    assert tiles.cover(128, 128, (13, 1, 1, 1, 3, 13), (13, 1, 1, 1, 3, 13), 16, 16) == (128, 1, 1)
    assert tiles.cover(128, 32, (56, 1, 1, 1, 3, 56), (56, 1, 1, 1, 3, 56), 64, 64)[0] == 32
    assert tiles.cover(128, 1, (24, 1, 0, 1, 1, 24), (16, 1, 0, 1, 1, 16), 32, 16) == (1, 8, 16)
    assert tiles.cover(64, 2, (9, 2, 1, 1, 3, 17), (9, 2, 1, 1, 3, 17), 1, 1) == (64, 1, 1)


def far(memory, start, N, C, H, W):
    """Channels-last images that are 2³¹ values apart in `memory`."""
    return memory[start:].as_strided((N, C, H, W), (2**31, 1, W * C, C))


def test_more_than_2_to_the_31_values():
    # Pages of the 4 GiB are only there once they are touched, and few are.
    memory = torch.empty(2**31 + 4096, dtype=torch.float16, device=DEVICE)
    N, C, K, H, W = 2, 8, 8, 3, 4
    x, residual, dy = (far(memory, start, N, C, H, W).copy_(draw(start, N, C, H, W, dtype=torch.float16))
                       for start in (0, 512, 1024))
    weight = draw(1, K, C, 3, 3, dtype=torch.float16)
    x64, w64 = x.double().requires_grad_(), weight.double().requires_grad_()
    y64 = F.conv2d(x64, w64, padding=1)
    y64.backward(dy.double())
    with patch.object(fast.torch, "empty", lambda *args, **kwargs: far(memory, 2048, N, C, H, W)):
        y = fast.conv2d(x, weight, padding=1, residual=residual)
        near(y, y64 + residual.double(), "forward")
        near(fast.conv2d_grad_input(dy, weight, (H, W), padding=1), x64.grad, "to the input")
    near(fast.conv2d_grad_weight(dy, x, (3, 3), padding=1), w64.grad, "to the weights")
    assert tiles.index_type(y).name == "int64" and tiles.index_type(weight).name == "int32"


@pytest.mark.parametrize("conv2d", [plain.conv2d, fast.conv2d], ids=["plain", "fast"])
def test_what_cannot_come_behind_is_refused_in_one_sentence(conv2d):
    x, weight = images(0, 1, 8, 3, 3, torch.float16), draw(1, 8, 8, 3, 3, dtype=torch.float16)
    with pytest.raises(ValueError, match=r"shift has shape \(7,\) and torch.float32; it is a contiguous float32"):
        conv2d(x, weight, affine=(draw(2, 8), draw(2, 7)))
    with pytest.raises(ValueError, match=r"residual has shape \(1, 8, 3, 3\); the convolution gives \(1, 8, 1, 1\)"):
        conv2d(x, weight, residual=x)
    with pytest.raises(ValueError, match="8 channels of x, 3 channels in each of 8 filters and 1 groups do not fit"):
        conv2d(x, weight[:, :3])


UNSUITABLE = {
    "it has groups": {"groups": 2, "C": 16},
    "float32 in full is not for tensor cores": {"dtype": torch.float32, "precision": "ieee"},
    "channels are not last in memory": {"layout": "first"},
    "the channels of a pixel do not start and end at multiples of 16 bytes": {"C": 12},
    "few channels and a dilation": {"C": 2, "dilation": 2},
}


@pytest.mark.parametrize("reason", UNSUITABLE)
def test_where_the_fast_kernels_do_not_apply_the_plain_ones_do_it(reason):
    case = {"groups": 1, "C": 8, "dtype": torch.float16, "precision": "tf32", "layout": "last", "dilation": 1}
    case |= UNSUITABLE[reason]
    more = case["dilation"], case["groups"]
    x = draw(0, 2, case["C"], 5, 6, dtype=case["dtype"], layout=case["layout"])
    weight = draw(1, 16, case["C"] // case["groups"], 3, 3, dtype=case["dtype"])
    x64, w64 = x.double().requires_grad_(), weight.double().requires_grad_()
    y = F.conv2d(x64, w64, None, 1, 1, *more)
    dy = draw(2, *y.shape, dtype=case["dtype"], layout=case["layout"])
    y.backward(dy.double())
    with float32_as(case["precision"]):
        with pytest.raises(fast.Unsuitable, match=reason):
            fast.conv2d(x, weight, None, 1, 1, *more)
        near(convolution.conv2d(x, weight, None, 1, 1, *more), y)
        near(convolution.conv2d_grad_input(dy, weight, (5, 6), 1, 1, *more), x64.grad)
        near(convolution.conv2d_grad_weight(dy, x, (3, 3), 1, 1, *more), w64.grad)


def test_no_images_give_no_images():
    x, weight = images(0, 2, 8, 5, 6, torch.float16)[:0], draw(1, 16, 8, 3, 3, dtype=torch.float16)
    assert convolution.conv2d(x, weight).shape == (0, 16, 3, 4)
    assert convolution.conv2d(x[:, :3], weight[:, :3]).shape == (0, 16, 3, 4)
    assert convolution.conv2d_grad_input(x.new_empty(0, 16, 3, 4), weight, (5, 6)).shape == (0, 8, 5, 6)


def test_where_they_apply_they_are_what_layers_call():
    x, weight = images(0, 2, 8, 5, 6, torch.float16), draw(1, 16, 8, 3, 3, dtype=torch.float16)
    with patch.object(launch, "forward_kernel", side_effect=AssertionError) as kernel:
        kernel.__getitem__.return_value.side_effect = ZeroDivisionError
        with pytest.raises(ZeroDivisionError):
            convolution.conv2d(x, weight)
