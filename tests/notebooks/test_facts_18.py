"""Notebook 18: every number in its prose, its kernels and functions against PyTorch, and what its runs show."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DistributedSampler

from cnnlab.kernels import tl, triton, watch

SLUG = "18_gpu_training"
few = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
some = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 10_000)
sizes = st.integers(1, 4)


@pytest.fixture
def nb(names_of):
    return names_of(SLUG)


def draw(seed, *shape):
    return torch.tensor(np.random.default_rng([seed, *shape]).normal(size=shape), dtype=torch.float32)


# ------------------------------------------------------------------ kernels

@few
@given(seeds, st.integers(1, 9), st.integers(1, 6))
def test_back_through_relu_and_bias(nb, seed, m, k):
    z, bias, dy = draw(seed, m, k).requires_grad_(), draw(seed, k).requires_grad_(), draw(seed + 1, m, k)
    y = F.relu(z + bias)
    y.backward(dy)
    dz, db = torch.full_like(dy, np.nan), torch.full((k,), np.nan)
    with watch():
        nb["relu_bias_backward_kernel"][(-(-k // 4),)](dy, y.detach(), dz, db, m, k, k, 1, BLOCK_M=4, BLOCK_K=4)
    torch.testing.assert_close(dz, z.grad)
    torch.testing.assert_close(db, bias.grad)


@few
@given(seeds, st.tuples(sizes, sizes, sizes), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3),
       st.integers(0, 2))
def test_the_operations_by_kernels_are_torchs(nb, seed, channels, kernel, more, stride, padding):
    n, c, k = channels
    padding, size = min(padding, kernel - 1), kernel + more
    layer, other = (nb["HandConv2d"](c, k, kernel, stride, padding, ops) for ops in (nb["KernelOperations"](), None))
    other.load_state_dict(layer.state_dict())
    x = draw(seed, n, c, size, size + 1)
    with watch():
        y = layer(x)
        dy = draw(seed + 1, *y.shape)
        gradients = layer.gradients(x, dy)
    torch.testing.assert_close(y, F.conv2d(x, layer.weight, layer.bias, stride, padding), atol=1e-4, rtol=1e-4)
    for mine, theirs in zip(gradients, other.gradients(x, dy)):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


@few
@given(seeds, st.integers(1, 12), sizes, sizes, st.integers(1, 6))
def test_partial_sums_add_up_to_the_product(nb, seed, m, k, c, share):
    dy, x, splits = draw(seed, m, k), draw(seed + 1, m, c), -(-m // share)
    part = torch.full((splits, c, k), np.nan)
    with watch():
        nb["partial_sums_kernel"][(1, 1, splits)](dy, x, part, m, c, k, share, BLOCK_C=4, BLOCK_K=4, BLOCK_M=4)
    torch.testing.assert_close(part.sum(0), x.T @ dy, atol=1e-5, rtol=1e-4)


@few
@given(seeds, st.integers(1, 3), st.integers(1, 3), st.integers(0, 3))
def test_back_through_a_maximum(nb, seed, size, stride, more):
    h, w = size + more, size + stride
    x = draw(seed, 2, 3, h, w).requires_grad_()
    y, at = F.max_pool2d(x, size, stride, return_indices=True)
    dy, (P, Q) = draw(seed + 1, *y.shape), y.shape[2:]
    y.backward(dy)
    winner = (at // w - stride * torch.arange(P)[:, None]) * size + at % w - stride * torch.arange(Q)
    dx = torch.full(x.shape, np.nan)
    with watch():
        nb["max_pool_backward_kernel"][(-(-x.numel() // 64),)](
            dy, winner.int(), dx, x.numel(), h, w, P, Q, size, stride, BLOCK=64)
    torch.testing.assert_close(dx, x.grad)


def test_three_products_and_their_tiles(nb):
    assert [nb["tiles"][layer, "dw"] for layer in "DEF"] == [5, 36, 144]
    assert nb["products"](*nb["LAYERS"]["D"])["dw"] == (576, 64, 1_605_632)
    for layer in nb["LAYERS"].values():
        assert len({math.prod(sizes) for sizes in nb["products"](*layer).values()}) == 1
    assert [nb["shares_of"][layer] * nb["tiles"][layer, "dw"] for layer in "DEF"] == [130, 108, 144]
    assert nb["SMS"] == 132 and (nb["fused_passes"], nb["separate_passes"]) == (3, 5)


def test_the_matrix_of_windows_is_that_of_unfold(nb):
    numbers = torch.arange(1.0, 21).view(1, 1, 4, 5)
    X = F.unfold(numbers, (3, 2), padding=1, stride=2)[0].T.numpy() - 1
    np.testing.assert_array_equal(nb["X"], X)


def test_two_of_three_ways_to_add_up_race(nb):
    races = nb["races"]
    assert all(races[name].startswith("Race") for name in ("impatient_kernel", "hasty_kernel"))
    assert races["atomic_kernel"] == "91" == str(sum(range(1, 14)))
    x, part, out = torch.arange(1.0, 14), torch.zeros(4), torch.zeros(1)
    nb["impatient_kernel"][(4,)](x, part, out, 13, BLOCK=4)                  # unwatched, in the interpreter
    assert out.item() == 91
    assert len(nb["different"]) > 5 and nb["different"][-1] - nb["different"][0] < 2e-5


def test_who_hears_a_pixel(nb):
    assert nb["heard_by"](8, 3, 2, 1).tolist() == [1, 2, 1, 2, 1, 2, 1, 1]
    assert set(nb["count"].ravel()) == {1, 2, 4} and nb["count"].mean() == pytest.approx(2.2, abs=0.01)
    assert nb["heard_by"](56, 3, 1, 1)[1:-1].tolist() == [3] * 54


@triton.jit
def divide(out, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(out + i, (i - 4) // 2)


def test_division_rounds_towards_zero_in_triton():
    out = torch.zeros(8, dtype=torch.int32)
    divide[(1,)](out, BLOCK=8)
    assert out.tolist() == [-2, -1, -1, 0, 0, 0, 1, 1] and -1 // 2 == -1


# ------------------------------------------------------------------ autograd

def test_gradcheck_passes_and_kernels_differ_by_rounding_only(nb):
    assert nb["gradcheck_passes"] and max(nb["differences"].values()) < 1e-6


def test_only_what_is_needed_is_run(nb):
    layer, x = nb["HandConv2d"](2, 3, 3), draw(1, 1, 2, 5, 5)
    layer(x).sum().backward()
    assert layer.ops.ran == ["forward", "grad_weight"]


# ------------------------------------------------------------------ sixteen bits

def test_what_float16_loses(nb):
    lost = nb["lost"]
    assert lost["float16"] == pytest.approx(2 / 3, abs=0.05) and lost["bfloat16"] < 1e-6 and lost["float32"] == 0
    assert lost["float16, scaled"] == pytest.approx(0.04, abs=0.02)
    assert nb["zeros"] == pytest.approx(0.5, abs=0.05) and lost["float16"] + nb["shortened"] > 0.97
    assert nb["largest"] == pytest.approx(0.0008, abs=0.0003) and nb["SCALE"] == 16_384
    assert nb["SCALE"] * nb["largest"] < torch.finfo(torch.float16).max == 65_504
    assert nb["limits"]["float16"] == pytest.approx(6e-8, rel=0.01) and math.log2(nb["limits"]["bfloat16"]) == -133


def test_small_steps_are_lost_in_bfloat16(nb):
    assert nb["ends"]["bfloat16"] == 1 and nb["ends"]["float32"] == pytest.approx(0.9, abs=1e-5)
    assert nb["ends"]["float16"] == pytest.approx(0.9, abs=0.01)
    below = torch.nextafter(torch.tensor(1.0, dtype=torch.bfloat16), torch.tensor(0.0, dtype=torch.bfloat16))
    assert 1 - below.item() == 2**-8 and 0.001 < 2**-9
    assert np.isinf(nb["square"]) and np.isinf(nb["power"])


@some
@given(seeds, st.integers(0, 2), st.booleans())
def test_a_step_with_loss_scaling_is_gradscalers(nb, seed, good, overflow):
    weights, gradient = draw(seed, 4), torch.tensor(np.random.default_rng(seed).integers(-9, 10, 4)).half()
    if overflow:
        gradient[seed % 4] = (math.inf, math.nan)[seed % 2]
    parameter = torch.nn.Parameter(weights.clone())
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)
    optimiser = torch.optim.SGD([parameter], 0.5)
    for last in (False,) * good + (True,):
        given_here = gradient if last else torch.zeros_like(gradient)
        parameter.grad = None
        scaler.scale((parameter * 0).sum()).backward()
        parameter.grad = given_here.float()
        scaler.step(optimiser)
        scaler.update()
    new, scale, count = nb["loss_scale_step"](weights, gradient, 8.0, good, 0.5, 3)
    torch.testing.assert_close(new, parameter.detach())
    assert scale == scaler.get_scale() and count == scaler._get_growth_tracker()


# ------------------------------------------------------------------ passes, launches, data

def test_channels_are_side_by_side_and_stay_so(nb):
    assert nb["last"].stride(1) == nb["after"].stride(1) == 1 and nb["usual"].stride(3) == 1
    assert nb["last"].permute(0, 2, 3, 1).is_contiguous()


def test_passes_and_launches(nb):
    assert nb["passes"] == {"each by itself": 9, "fused": 3}
    assert nb["seen_operations"] == ["mul", "add", "add_1", "relu"]
    assert nb["step_operations"] == pytest.approx(0.16e9, rel=0.01) and nb["arithmetic_us"] < 0.2
    assert 50 <= len(nb["counted"].names) <= 90 and nb["launches_us"] > 1000 * nb["arithmetic_us"]
    assert sum(p.numel() for p in nb["lenet"]().parameters()) == 61_706


def test_transfers(nb):
    sizes = list(nb["transfers"].values())
    assert sizes[0] == 4 * sizes[1] and sizes[2] == pytest.approx(184e6, rel=0.01) and 3.35e12 / nb["PCIE"] > 50


# ------------------------------------------------------------------ several GPUs

@some
@given(st.integers(2, 20), st.integers(1, 6))
def test_shares_are_those_of_the_distributed_sampler(nb, n, world):
    world = min(n, world)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(n))
    shares = [nb["shard"](order, rank, world) for rank in range(world)]
    for rank, share in enumerate(shares):
        sampler = DistributedSampler(range(n), world, rank, shuffle=False)
        assert share.tolist() == [int(order[i]) for i in sampler]
    assert set(torch.cat(shares).tolist()) == set(range(n))


def test_averages_of_equal_shares_only(nb):
    equal, unequal, weighted = nb["averages"].values()
    assert equal < 1e-14 and weighted < 1e-14 and unequal == pytest.approx(0.5, abs=0.2)
    assert 4 > nb["off"][4] * 20 and nb["off"][4] > nb["off"][16] > nb["off"][64]


def test_bytes_in_a_ring(nb):
    sent = {p: size / (4 * nb["parameters"]) for p, size in nb["ring_bytes"].items()}
    assert sent == {p: pytest.approx(2 * (p - 1) / p) for p in sent} and max(sent.values()) < 2


@some
@given(st.integers(0, 20), st.integers(1, 50), st.sampled_from([64, 256, 1024]))
def test_the_schedule_is_that_of_torch(nb, warmup, rest, batch_size):
    peak, steps = 0.1 * batch_size / 256, warmup + rest
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], peak)
    parts = [torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, rest)]
    got = [nb["learning_rate"](t, steps, warmup, batch_size) for t in range(steps)]
    expected = [peak * (t + 1) / warmup for t in range(warmup)]
    for _ in range(rest):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        parts[0].step()
    assert got == pytest.approx(expected, abs=1e-9)


def test_the_schedules_that_are_drawn_are_one(nb):
    rates = [nb["learning_rate"](0, 90, 0, size) for size in (256, 1024, 8192)]
    assert [rate / rates[0] for rate in rates] == pytest.approx([1, 4, 32])


# ------------------------------------------------------------------ all of it

def test_the_digits_are_learned(nb):
    losses = nb["losses"]
    assert losses[0] == pytest.approx(math.log(10), abs=0.3) and np.mean(losses[-20:]) < losses[0] / 50
    assert nb["right"] > 0.97 and nb["BY_HAND"] == 5 and nb["early"] < 1e-5
