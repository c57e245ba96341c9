"""Every kernel gives what PyTorch gives in float64, for any sizes, strides and dtypes, and touches nothing else."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from solutions.gpu.kernels import batch_norm as bn
from solutions.gpu.kernels import conv2d as conv
from solutions.gpu.kernels import cross_entropy as ce
from solutions.gpu.kernels import depthwise as dw
from solutions.gpu.kernels import pooling as pool
from tests.gpu.memory import DEVICE, TOLERANCE, draw, near, poisoned

dtypes = st.sampled_from(list(TOLERANCE))
seeds = st.integers(0, 2**20)
small = st.integers(1, 3)
pairs = st.tuples(small, small)
# Few examples of some hundred pixels: the interpreter takes about 10 ms for a tile.
few = settings(max_examples=15, deadline=None, derandomize=True)


layouts = st.sampled_from(["first", "last", "view"])
windows = st.fixed_dictionaries({"stride": pairs, "padding": st.tuples(st.integers(0, 2), st.integers(0, 2)),
                                 "dilation": pairs})


def fits(size, kernel_size, stride, padding, dilation):
    """Whether the window fits into the image at least once."""
    return all(n + 2 * p >= d * (k - 1) + 1
               for n, k, p, d in zip(size, kernel_size, padding, dilation, strict=True))


@few
@given(N=small, C=st.sampled_from([1, 3, 17]), K=st.sampled_from([1, 2, 19]), groups=st.sampled_from([1, 2, 3]),
       size=st.tuples(st.integers(1, 9), st.integers(1, 9)), kernel_size=st.tuples(small, small), window=windows,
       bias=st.booleans(), relu=st.booleans(), dtype=dtypes, layout=layouts, seed=seeds)
def test_convolution_and_its_gradients(N, C, K, groups, size, kernel_size, window, bias, relu, dtype, layout, seed):
    assume(fits(size, kernel_size, **window))
    x = draw(seed, N, C * groups, *size, dtype=dtype, layout=layout)
    weight = draw(seed + 1, K * groups, C, *kernel_size, dtype=dtype, layout=layout)
    b = draw(seed + 2, K * groups, dtype=dtype) if bias else None
    x64, w64 = x.double().requires_grad_(), weight.double().requires_grad_()
    plain = F.conv2d(x64, w64, None if b is None else b.double(), groups=groups, **window)
    with poisoned(conv, dw, pool, bn, ce):
        near(conv.conv2d(x, weight, b, groups=groups, relu=relu, **window), plain.relu() if relu else plain, "forward")
        dy = draw(seed + 3, *plain.shape, dtype=dtype, layout=layout)
        plain.backward(dy.double())
        near(conv.conv2d_grad_input(dy, weight, size, groups=groups, **window), x64.grad, "to the input")
        near(conv.conv2d_grad_weight(dy, x, kernel_size, groups=groups, **window), w64.grad, "to the weights")


def test_more_pixels_channels_and_filters_than_a_tile_holds():
    x, weight = draw(0, 2, 70, 9, 11), draw(1, 67, 70, 3, 2)
    y = F.conv2d(x.double(), weight.double(), padding=1)
    near(conv.conv2d(x, weight, padding=1), y)
    near(conv.conv2d_grad_input(draw(2, *y.shape), weight, (9, 11), padding=1),
         F.conv_transpose2d(draw(2, *y.shape).double(), weight.double(), padding=1))


@few
@given(N=small, C=st.sampled_from([1, 5, 67]), size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
       kernel_size=st.tuples(small, small), window=windows, bias=st.booleans(), relu=st.booleans(), dtype=dtypes,
       layout=layouts, seed=seeds)
def test_depthwise_convolution_and_its_gradients(N, C, size, kernel_size, window, bias, relu, dtype, layout, seed):
    assume(fits(size, kernel_size, **window))
    x = draw(seed, N, C, *size, dtype=dtype, layout=layout)
    weight, b = draw(seed + 1, C, 1, *kernel_size, dtype=dtype, layout=layout), draw(seed + 2, C, dtype=dtype)
    x64, w64 = x.double().requires_grad_(), weight.double().requires_grad_()
    plain = F.conv2d(x64, w64, b.double() if bias else None, groups=C, **window)
    with poisoned(conv, dw, pool, bn, ce):
        near(dw.depthwise_conv2d(x, weight, b if bias else None, relu=relu, **window),
             plain.relu() if relu else plain, "forward")
        dy = draw(seed + 3, *plain.shape, dtype=dtype, layout=layout)
        plain.backward(dy.double())
        near(dw.depthwise_grad_input(dy, weight, size, **window), x64.grad, "to the input")
        near(dw.depthwise_grad_weight(dy, x, kernel_size, **window), w64.grad, "to the weights")


@few
@given(N=small, C=st.sampled_from([1, 5, 67]), size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
       kernel_size=st.tuples(small, small), stride=pairs, dilation=pairs, padding=st.tuples(st.integers(0, 1),
       st.integers(0, 1)), whole=st.booleans(), dtype=dtypes, layout=layouts, seed=seeds)
def test_max_pooling(N, C, size, kernel_size, stride, dilation, padding, whole, dtype, layout, seed):
    padding = tuple(min(p, k // 2) for p, k in zip(padding, kernel_size, strict=True))
    assume(fits(size, kernel_size, stride, padding, dilation))
    x = draw(seed, N, C, *size, dtype=dtype, layout=layout)
    x = x.round() if whole else x  # whole numbers: many ties
    x64 = x.double().requires_grad_()
    plain = F.max_pool2d(x64, kernel_size, stride, padding, dilation)
    with poisoned(conv, dw, pool, bn, ce):
        y, winner = pool.max_pool2d(x, kernel_size, stride, padding, dilation)
        assert torch.equal(y.double(), plain)
        dy = draw(seed + 3, *plain.shape, dtype=dtype, layout=layout)
        plain.backward(dy.double())
        near(pool.max_pool2d_backward(dy, winner, size, kernel_size, stride, padding, dilation), x64.grad)


@few
@given(N=small, C=st.sampled_from([1, 5, 67]), size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
       kernel_size=st.tuples(small, small), stride=pairs, padding=st.tuples(st.integers(0, 1), st.integers(0, 1)),
       dtype=dtypes, layout=layouts, seed=seeds)
def test_average_pooling(N, C, size, kernel_size, stride, padding, dtype, layout, seed):
    padding = tuple(min(p, k // 2) for p, k in zip(padding, kernel_size, strict=True))
    assume(fits(size, kernel_size, stride, padding, (1, 1)))
    x = draw(seed, N, C, *size, dtype=dtype, layout=layout)
    x64 = x.double().requires_grad_()
    plain = F.avg_pool2d(x64, kernel_size, stride, padding)
    with poisoned(conv, dw, pool, bn, ce):
        near(pool.avg_pool2d(x, kernel_size, stride, padding), plain)
        dy = draw(seed + 3, *plain.shape, dtype=dtype, layout=layout)
        plain.backward(dy.double())
        near(pool.avg_pool2d_backward(dy, size, kernel_size, stride, padding), x64.grad)


def test_a_nan_is_the_maximum_of_its_window():
    x = draw(0, 1, 2, 4, 4)
    x[0, 0, 1, 2] = float("nan")
    y, _ = pool.max_pool2d(x, 2)
    assert y.isnan().nonzero().tolist() == [[0, 0, 0, 1]]
    assert torch.equal(y.nan_to_num(), F.max_pool2d(x, 2).nan_to_num())


def test_a_window_of_more_than_255_positions_still_knows_its_winner():
    x = draw(0, 1, 1, 17, 17).abs()
    x[0, 0, 16, 15] = 9
    y, winner = pool.max_pool2d(x, 17)
    assert y.item() == 9 and winner.item() == 16 * 17 + 15
    assert pool.max_pool2d_backward(torch.ones_like(y), winner, (17, 17), 17).nonzero().tolist() == [[0, 0, 16, 15]]


@few
@given(N=small, C=st.sampled_from([1, 5, 67]), size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
       offset=st.sampled_from([0, 3]), residual=st.booleans(), relu=st.booleans(), dtype=dtypes, layout=layouts,
       seed=seeds)
def test_batch_norm(N, C, size, offset, residual, relu, dtype, layout, seed):
    assume(N * size[0] * size[1] > 1)
    x = draw(seed, N, C, *size, dtype=dtype, layout=layout) + offset
    weight, bias = draw(seed + 1, C), draw(seed + 2, C)
    other, eps = draw(seed + 3, *x.shape, dtype=dtype, layout=layout), 1e-2
    x64, w64, b64 = x.double().requires_grad_(), weight.double().requires_grad_(), bias.double().requires_grad_()
    plain = F.batch_norm(x64, None, None, w64, b64, training=True, eps=eps)
    expected = plain + other.double() if residual else plain
    with poisoned(conv, dw, pool, bn, ce):
        mean, var = bn.statistics(x)
        near(mean, x.double().mean((0, 2, 3)), "mean")
        near(var, x.double().var((0, 2, 3), correction=0), "variance")
        near(bn.batch_norm(x, mean, var, weight, bias, eps, residual=other if residual else None, relu=relu),
             expected.relu() if relu else expected, "forward")
        dy = draw(seed + 4, *x.shape, dtype=dtype, layout=layout)
        plain.backward(dy.double())
        dx, grad_weight, grad_bias = bn.batch_norm_backward(dy, x, mean, var, weight, eps)
        near(dx, x64.grad, "to the input")
        near(grad_weight, w64.grad, "to the weight")
        near(grad_bias, b64.grad, "to the bias")


def test_a_variance_is_not_lost_under_a_large_mean():
    x = draw(0, 4, 3, 8, 8) + 3000
    _, var = bn.statistics(x)
    torch.testing.assert_close(var.double(), x.double().var((0, 2, 3), correction=0), rtol=1e-3, atol=0)


@few
@given(N=st.integers(1, 7), K=st.sampled_from([1, 2, 10, 65]), scale=st.sampled_from([1, 300]), dtype=dtypes,
       layout=layouts, seed=seeds)
def test_cross_entropy(N, K, scale, dtype, layout, seed):
    logits = draw(seed, N, K, dtype=dtype, layout=layout) * scale
    labels = torch.randint(K, (N,), generator=torch.Generator().manual_seed(seed)).to(DEVICE)
    z64 = logits.double().requires_grad_()
    plain = F.cross_entropy(z64, labels)
    plain.backward()
    with poisoned(conv, dw, pool, bn, ce):
        loss, log_sums = ce.cross_entropy(logits, labels)
        near(loss, plain.detach())
        near(3 * ce.cross_entropy_backward(logits, labels, log_sums, torch.ones((), device=DEVICE)), 3 * z64.grad)


@pytest.mark.parametrize(("arguments", "sentence"), [
    ({"kernel_size": 0}, "kernel_size is 0; it is a whole number of at least 1, or a pair"),
    ({"kernel_size": 3, "stride": (1, 0)}, r"stride is \(1, 0\); it is a whole number of at least 1"),
    ({"kernel_size": 9}, r"does not fit into an image of 4×5"),
    ({"kernel_size": 2, "padding": 2}, "padding is 2; it is at most half of the kernel_size 2")])
def test_sizes_that_cannot_be_are_refused_in_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        pool.max_pool2d(draw(0, 1, 1, 4, 5), **arguments)


def test_channels_that_do_not_fit_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="4 channels of x, 3 channels in each of 6 filters and 2 groups do not fit"):
        conv.conv2d(draw(0, 1, 4, 5, 5), draw(1, 6, 3, 3, 3), groups=2)
    with pytest.raises(ValueError, match=r"weight has shape \(3, 1, 3, 3\); with 4 channels it is \(4, 1, R, S\)"):
        dw.depthwise_conv2d(draw(0, 1, 4, 5, 5), draw(1, 3, 1, 3, 3))
