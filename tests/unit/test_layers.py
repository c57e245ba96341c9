"""cnnlab.layers gives what torch gives: forward and every gradient, over shapes that separate wrong versions."""

import contextlib
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnlab import layers
from cnnlab.layers import columns, parallel, pool, winograd
from cnnlab.probes import strided

TOLERANCE = {np.float64: 1e-10, np.float32: 2e-5}
dtypes = st.sampled_from([np.float64, np.float64, np.float32])
seeds = st.integers(0, 2**32 - 1)
many = settings(max_examples=150, deadline=None)


def two(least, most):
    return st.tuples(st.integers(least, most), st.integers(least, most))


def near(ours, theirs, dtype):
    """max|Δ| is within TOLERANCE of the rms of theirs, or of 1, as the inputs are: what is left of them is rounded."""
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else theirs
    assert ours.shape == theirs.shape and ours.dtype == dtype
    rms = np.sqrt(np.mean(np.square(theirs, dtype=np.float64))) if theirs.size else 0
    assert np.abs(ours - theirs).max(initial=0) <= TOLERANCE[dtype] * max(rms, 1)


def same_as_torch(layer, module, x, dtype=np.float64, seed=0):
    """Forward and backward of `layer` beside torch's `module`, whose parameters get the layer's values."""
    parameters = {"weight": getattr(layer, "weight", None), "bias": getattr(layer, "bias", None)}
    parameters = {name: p for name, p in parameters.items() if p is not None}
    module = module.to(torch.float64 if dtype == np.float64 else torch.float32)
    for name, p in parameters.items():
        getattr(module, name).data = torch.tensor(p)
    before = [a.copy() for a in (x, *parameters.values())]

    xt = torch.tensor(np.ascontiguousarray(x), requires_grad=True)
    yt = module(xt)
    y = layer.forward(x)
    near(y, yt, dtype)
    dy = strided(np.random.default_rng(seed).normal(size=y.shape).astype(dtype))
    yt.backward(torch.tensor(np.ascontiguousarray(dy)))
    kept, y0 = dy.copy(), y.copy()
    for _ in range(2):
        near(layer.backward(dy), xt.grad, dtype)
        for name in parameters:
            near(getattr(layer, f"grad_{name}"), getattr(module, name).grad, dtype)
    assert all((a == b).all() for a, b in zip(before, (x, *parameters.values()), strict=True))
    assert (dy == kept).all() and (y == y0).all()


def draw_image(data, rng, N, C, H, W, dtype):
    x = rng.normal(size=(N, C, H, W)).astype(dtype)
    how = data.draw(st.sampled_from(["plain", "strided", "channels last"]))
    if how == "channels last":
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return strided(x) if how == "strided" else x


@contextlib.contextmanager
def every_way(data):
    """Small shapes take every way through the code: either algorithm, several blocks, several threads."""
    fewest, can = data.draw(st.sampled_from([False, True])), winograd.Winograd.can
    with contextlib.ExitStack() as stack:
        if fewest:
            stack.enter_context(patch.object(winograd.Winograd, "pays", lambda w, s, d, *_: can(w, s, d)))
        for module in (winograd, columns, pool):
            stack.enter_context(patch.object(module, "BLOCK", data.draw(st.sampled_from([5, 60, module.BLOCK]))))
        stack.enter_context(patch.object(parallel, "SMALL", data.draw(st.sampled_from([0, parallel.SMALL]))))
        yield


@many
@given(st.data(), dtypes, seeds)
def test_convolution_is_torchs(data, dtype, seed):
    rng = np.random.default_rng(seed)
    kernel, stride, padding, dilation = (data.draw(two(*r)) for r in ((1, 6), (1, 3), (0, 3), (1, 3)))
    if data.draw(st.booleans()):  # as most layers have it
        stride = dilation = (1, 1)
    groups = data.draw(st.sampled_from([1, 1, 2, 3]))
    into, out = (groups * data.draw(st.integers(1, most)) for most in (6, 3))
    H, W = (max(1, d * (k - 1) + 1 - 2 * p) + data.draw(st.integers(0, 9))
            for k, p, d in zip(kernel, padding, dilation))
    x = draw_image(data, rng, data.draw(st.integers(1, 3)), into, H, W, dtype)
    bias = rng.normal(size=out).astype(dtype) if data.draw(st.booleans()) else None
    weight = strided(rng.normal(size=(out, into // groups, *kernel)).astype(dtype))
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    module = torch.nn.Conv2d(into, out, kernel, bias=bias is not None, **how)
    with every_way(data):
        same_as_torch(layers.Conv2d(weight, bias, **how), module, x, dtype, seed)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape, out, kernel, how", [
    ((3, 40, 27, 22), 48, (3, 3), {"padding": 1}), ((2, 36, 9, 14), 40, (5, 4), {"padding": (2, 0), "groups": 2}),
    ((2, 3, 47, 35), 20, (11, 7), {"stride": (4, 2)}), ((4, 12, 10, 9), 12, (3, 3), {"padding": 1, "groups": 12}),
    ((1, 20, 8, 7), 24, (1, 1), {}), ((5, 18, 6, 5), 30, (6, 5), {})])
def test_convolution_of_real_size_is_torchs(shape, out, kernel, how, dtype):
    rng = np.random.default_rng(0)
    module = torch.nn.Conv2d(shape[1], out, kernel, **how)
    weight = rng.normal(size=module.weight.shape).astype(dtype)
    layer = layers.Conv2d(weight, rng.normal(size=out).astype(dtype), **how)
    same_as_torch(layer, module, rng.normal(size=shape).astype(dtype), dtype)


@many
@given(st.data(), st.sampled_from([(layers.MaxPool2d, torch.nn.MaxPool2d), (layers.AvgPool2d, torch.nn.AvgPool2d)]),
       dtypes, seeds)
def test_pooling_is_torchs_ties_included(data, kinds, dtype, seed):
    rng = np.random.default_rng(seed)
    kernel = data.draw(two(1, 4))
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    stride = data.draw(st.one_of(st.none(), two(1, 4)))
    H, W = (max(1, k - 2 * p) + data.draw(st.integers(0, 7)) for k, p in zip(kernel, padding))
    x = draw_image(data, rng, data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3)), H, W, dtype)
    if data.draw(st.booleans()):
        x[...] = np.round(x)  # many ties
    ours, theirs = kinds
    with every_way(data):
        same_as_torch(ours(kernel, stride, padding), theirs(kernel, stride, padding), x, dtype, seed)


@many
@given(st.data(), dtypes, st.booleans(), seeds)
def test_batch_norm_is_torchs_in_training_and_after(data, dtype, image, seed):
    rng = np.random.default_rng(seed)
    C, rest = data.draw(st.integers(1, 4)), data.draw(two(1, 5)) if image else ()
    shape = (data.draw(st.integers(1 + (rest in ((), (1, 1))), 4)), C, *rest)
    layer = layers.BatchNorm2d(*rng.normal(size=(2, C)).astype(dtype), eps=1e-3, momentum=0.3)
    module = (torch.nn.BatchNorm2d if image else torch.nn.BatchNorm1d)(C, eps=1e-3, momentum=0.3)
    for _ in range(2):
        same_as_torch(layer, module, strided(rng.normal(3, 2, shape).astype(dtype)), dtype, seed)
        module.zero_grad()
    near(layer.running_mean, module.running_mean, dtype)
    near(layer.running_var, module.running_var, dtype)
    layer.eval()
    same_as_torch(layer, module.eval(), rng.normal(3, 2, (1, C, *rest)).astype(dtype), dtype, seed)
    near(layer.running_var, module.running_var, dtype)


@many
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.booleans(), dtypes, seeds)
def test_linear_is_torchs(N, into, out, biased, dtype, seed):
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(out, into)).astype(dtype), rng.normal(size=out).astype(dtype) if biased else None
    x = strided(rng.normal(size=(N, into)).astype(dtype))
    same_as_torch(layers.Linear(weight, bias), torch.nn.Linear(into, out, bias=biased), x, dtype, seed)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ["ReLU", "Tanh", "Flatten"])
def test_elementwise_layers_and_flatten_are_torchs(name, dtype):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(dtype)
    x[0, 0] = 0
    same_as_torch(getattr(layers, name)(), getattr(torch.nn, name)(), strided(x), dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_dropout_zeroes_a_share_p_keeps_the_mean_and_passes_everything_after_eval(dtype):
    x, layer = np.ones((100, 1000), dtype), layers.Dropout(0.3, np.random.default_rng(0))
    y = layer.forward(x)
    assert y.dtype == dtype and abs((y == 0).mean() - 0.3) < 0.01 and abs(y.mean() - 1) < 0.01
    assert (layer.backward(x) == y).all() and (x == 1).all()
    layer.eval()
    assert (layer.forward(x) == x).all() and (layer.backward(2 * x) == 2).all()


@many
@given(st.integers(1, 4), st.integers(1, 5), st.sampled_from([1, 1e3]), dtypes, seeds)
def test_cross_entropy_is_torchs_and_stays_finite(N, classes, scale, dtype, seed):
    rng = np.random.default_rng(seed)
    logits, labels = (scale * rng.normal(size=(N, classes))).astype(dtype), rng.integers(classes, size=N)
    lt = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(lt, torch.tensor(labels))
    expected.backward()
    loss = layers.CrossEntropyLoss()
    value = loss.forward(logits, labels)
    assert type(value) is float and abs(value - expected.item()) <= TOLERANCE[dtype] * max(1, value)
    for _ in range(2):
        near(loss.backward(), lt.grad, dtype)


def small_net(rng, dtype):
    def random(*shape):
        return rng.normal(size=shape).astype(dtype)
    inner = layers.Sequential([layers.Conv2d(random(4, 2, 3, 3), random(4), padding=1),
                               layers.BatchNorm2d(random(4), random(4)), layers.ReLU(), layers.MaxPool2d(2)])
    return layers.Sequential([inner, layers.Dropout(0.0), layers.Flatten(), layers.Linear(random(3, 24))])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("momentum, decay", [(0, 0), (0.9, 0), (0, 0.1), (0.9, 0.1)])
def test_five_steps_of_training_are_torchs(momentum, decay, dtype):
    rng = np.random.default_rng(0)
    net, nn = small_net(rng, dtype), torch.nn
    twin = nn.Sequential(nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
                         nn.Dropout(0.0), nn.Flatten(), nn.Linear(24, 3, bias=False)).to(
                             torch.float64 if dtype == np.float64 else torch.float32)
    conv, norm = net.layers[0].layers[:2]
    ours = [(conv, "weight"), (conv, "bias"), (norm, "weight"), (norm, "bias"), (net.layers[3], "weight")]
    for (layer, name), p in zip(ours, twin.parameters(), strict=True):
        p.data = torch.tensor(getattr(layer, name))
    first = [(getattr(layer, name), getattr(layer, name).copy()) for layer, name in ours]
    step = layers.SGD(net.layers, 0.05, momentum, decay)
    their_step = torch.optim.SGD(twin.parameters(), 0.05, momentum, weight_decay=decay)
    loss = layers.CrossEntropyLoss()
    for _ in range(5):
        x, labels = rng.normal(size=(5, 2, 4, 6)).astype(dtype), rng.integers(3, size=5)
        loss.forward(net.forward(x), labels)
        net.backward(loss.backward())
        step.step()
        their_step.zero_grad()
        nn.functional.cross_entropy(twin(torch.tensor(x)), torch.tensor(labels)).backward()
        their_step.step()
    for (layer, name), p in zip(ours, twin.parameters(), strict=True):
        got, want = getattr(layer, name), p.detach().numpy()
        assert got.dtype == dtype and np.abs(got - want).max() <= 10 * TOLERANCE[dtype]
    assert all((p == copy).all() for p, copy in first)  # the arrays the layers were made with
    x = rng.normal(size=(2, 2, 4, 6)).astype(dtype)
    assert not net.eval().layers[1].training and not norm.training
    near(net.forward(x), twin.eval()(torch.tensor(x)), dtype)
    assert net.train().layers[1].training and norm.training


class Recorder:
    """A generator that returns what it was asked for."""

    def normal(self, mean, deviation, shape):
        return mean, deviation, shape

    def uniform(self, low, high, shape):
        return low, high, shape


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3, 2)])
def test_initialisations_have_torchs_spread(shape):
    fan_in, fan_out = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
    gain = torch.nn.init.calculate_gain("relu")
    assert layers.kaiming_normal(shape, Recorder()) == (0, pytest.approx(gain / fan_in**0.5), shape)
    bound = pytest.approx(gain * (3 / fan_in) ** 0.5)
    low, high, _ = layers.kaiming_uniform(shape, Recorder())
    assert high == bound and low == -high
    assert layers.kaiming_uniform(shape, Recorder(), 3**-0.5)[1] == pytest.approx(fan_in**-0.5)  # as nn.Conv2d starts
    assert layers.xavier_uniform(shape, Recorder())[1] == pytest.approx((6 / (fan_in + fan_out)) ** 0.5)
    for make in (layers.kaiming_normal, layers.kaiming_uniform, layers.xavier_uniform):
        w = make(shape, np.random.default_rng(0))
        assert w.shape == shape and (w == make(shape, np.random.default_rng(0))).all()
